"""recollect: experience replay memory that is fast, small, never wrong and never lost."""

from typing import TYPE_CHECKING, Any

from recollect.batch import Batch
from recollect.errors import (
    ChainBreakWarning,
    ChainError,
    ClosedError,
    ConfigurationError,
    EmptyMemoryError,
    MissingExtraError,
    PriorityError,
    RecollectError,
    SchemaError,
    StaleError,
)
from recollect.memory import Memory
from recollect.reader import Reader
from recollect.retention.fifo import Fifo
from recollect.samplers.uniform import Uniform
from recollect.schedules import constant, linear
from recollect.schema import Field, Schema
from recollect.stores.ram import Ram
from recollect.views.example import Example
from recollect.views.nstep import NStep
from recollect.views.transition import Transition

if TYPE_CHECKING:
    from recollect.gym import Recorder, VectorRecorder, record

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "ChainBreakWarning",
    "ChainError",
    "ClosedError",
    "ConfigurationError",
    "EmptyMemoryError",
    "Example",
    "Field",
    "Fifo",
    "Memory",
    "MissingExtraError",
    "NStep",
    "PriorityError",
    "Ram",
    "Reader",
    "RecollectError",
    "Recorder",
    "Schema",
    "SchemaError",
    "StaleError",
    "Transition",
    "Uniform",
    "VectorRecorder",
    "constant",
    "linear",
    "record",
]


def __getattr__(name: str) -> Any:
    if name in ("Recorder", "VectorRecorder", "record"):
        from recollect import gym

        return getattr(gym, name)
    raise AttributeError(f"module 'recollect' has no attribute {name!r}")
