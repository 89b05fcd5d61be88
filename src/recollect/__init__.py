"""recollect: experience replay memory that is fast, small, never wrong and never lost."""

from typing import TYPE_CHECKING, Any

from recollect.batch import Batch
from recollect.episodes import Episode
from recollect.errors import (
    ChainBreakWarning,
    ChainError,
    ClosedError,
    ConfigurationError,
    DamagedError,
    EmptyMemoryError,
    LimiterTimeoutError,
    LockedError,
    MissingExtraError,
    PriorityError,
    ReadOnlyError,
    RecollectError,
    SchemaError,
    StaleError,
    StorageError,
    TooLargeError,
)
from recollect.limits import ReplayRatio
from recollect.loader import Loader
from recollect.memory import Memory
from recollect.mix import Mix, mix
from recollect.needs import Estimate, estimate
from recollect.reader import Reader
from recollect.retention.balanced import Balanced
from recollect.retention.droplowest import DropLowest
from recollect.retention.fifo import Fifo
from recollect.retention.reservoir import Reservoir
from recollect.samplers.age import Newest, Oldest
from recollect.samplers.mixture import Mixture
from recollect.samplers.prioritized import Prioritized
from recollect.samplers.queues import HighestPriority, LowestPriority
from recollect.samplers.ranked import Ranked
from recollect.samplers.recent import Recent
from recollect.samplers.shuffled import Shuffled
from recollect.samplers.uniform import Uniform
from recollect.samplers.weighted import Weighted
from recollect.saving.opening import open_memory as open
from recollect.saving.writer import StreamWriter
from recollect.schedules import constant, linear
from recollect.schema import Field, Schema
from recollect.stores.directory import Directory
from recollect.stores.ram import Ram
from recollect.transforms.base import Chain, Transform
from recollect.transforms.blend import Blend
from recollect.transforms.clip import Clip
from recollect.transforms.crop import RandomCrop
from recollect.transforms.flip import Flip
from recollect.transforms.interpolate import Interpolate
from recollect.transforms.noise import Noise
from recollect.transforms.normalize import Normalize
from recollect.transforms.scale import Scale
from recollect.transforms.shift import RandomShift
from recollect.views.episodes import Episodes
from recollect.views.example import Example
from recollect.views.hindsight import Hindsight
from recollect.views.nstep import NStep
from recollect.views.sequence import Sequence
from recollect.views.transition import Transition

if TYPE_CHECKING:
    from recollect.gym import Recorder, VectorRecorder, record

__version__ = "0.1.0"

__all__ = [
    "Balanced",
    "Batch",
    "Blend",
    "Chain",
    "ChainBreakWarning",
    "ChainError",
    "Clip",
    "ClosedError",
    "ConfigurationError",
    "DamagedError",
    "Directory",
    "DropLowest",
    "EmptyMemoryError",
    "Episode",
    "Episodes",
    "Estimate",
    "Example",
    "Field",
    "Fifo",
    "Flip",
    "HighestPriority",
    "Hindsight",
    "Interpolate",
    "LimiterTimeoutError",
    "Loader",
    "LockedError",
    "LowestPriority",
    "Memory",
    "MissingExtraError",
    "Mix",
    "Mixture",
    "NStep",
    "Newest",
    "Noise",
    "Normalize",
    "Oldest",
    "Prioritized",
    "PriorityError",
    "Ram",
    "RandomCrop",
    "RandomShift",
    "Ranked",
    "ReadOnlyError",
    "Reader",
    "Recent",
    "RecollectError",
    "Recorder",
    "ReplayRatio",
    "Reservoir",
    "Scale",
    "Schema",
    "SchemaError",
    "Sequence",
    "Shuffled",
    "StaleError",
    "StorageError",
    "StreamWriter",
    "TooLargeError",
    "Transform",
    "Transition",
    "Uniform",
    "VectorRecorder",
    "Weighted",
    "constant",
    "estimate",
    "linear",
    "mix",
    "open",
    "record",
]


def __getattr__(name: str) -> Any:
    if name in ("Recorder", "VectorRecorder", "record"):
        from recollect import gym

        return getattr(gym, name)
    raise AttributeError(f"module 'recollect' has no attribute {name!r}")
