"""What a view is: which rows can start an example, and how examples are made from rows.

A view knows rows and episode boundaries, never how rows were drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.schedules import Schedule
from recollect.schema import Schema
from recollect.stores.base import Block, Slots

Fields = dict[str, Any]
"""Gathered arrays by flat name, B first."""


@dataclass(frozen=True)
class Spans:
    """E episodes as far as they are known now; each attribute is (E,)."""

    steps: NDArray[np.int64]
    """Steps so far."""
    lost: NDArray[np.int64]
    """How many of its first rows were overwritten."""
    ended: NDArray[np.bool_]
    """Whether no more steps will come."""


class Rows(Protocol):
    """What a view reads from: slots stand for rows, which follow each other in a stream."""

    schema: Schema

    def move(self, slots: Slots, by: int | NDArray[Any]) -> Slots:
        """The slots so many rows later in their streams (earlier if negative), broadcast."""
        ...

    def read(self, *slots: Slots) -> Sequence[Block]:
        """A block of fields for each array of slots; the first axis of each is B."""
        ...

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        """Reward and mark (see `recollect.marks`) of each slot."""
        ...

    def keys(self, slots: Slots) -> NDArray[np.int64]:
        """The key of each slot's row."""
        ...


class View(ABC):
    """How the rows at and around an anchor become one training example."""

    kind: Literal["steps", "examples"] = "steps"
    """Of which kind of schema it makes examples."""

    random = False
    """Whether `gather` needs a generator."""

    has_next_obs = True
    """Whether examples of steps hold their successors."""

    looks_back = False
    """Whether rows are read that may be overwritten while the anchor is still held."""

    ahead = 0
    """How many more steps of its stream, in later episodes too, a start waits for."""

    def open(self, schema: Schema) -> None:  # noqa: B027 (most views have nothing to check)
        """Checks the view's settings against the schema, and raises `ConfigurationError`."""

    @property
    def needs(self) -> str:
        """What a row needs to start an example, for the error that no row can; "" if no more than
        to be there."""
        return ""

    @abstractmethod
    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Which offsets of each episode can start an example: `range(first, stop, step)`.

        Pure and vectorised; first and stop are (E,). While an episode grows, stop never falls and
        first rises only with `lost`, so rows enter and leave in time order. Rows before first
        leave, whatever stop is.
        """

    @abstractmethod
    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        """The examples that start at anchors (B,): fresh C-contiguous arrays, by flat name.

        Args:
            call: how many sample calls the reader made before, for settings that are schedules.
            rng: a generator of this call's own, where `random` asks for one.
        """


Gamma = float | Schedule
"""A discount of one step, 0 to 1, the same or another for each sample call."""


def checked_gamma(view: str, gamma: Any) -> Gamma:
    """A discount of one step, or a schedule of them."""
    return gamma if callable(gamma) else _discount(view, gamma)


def gamma_at(view: str, gamma: Gamma, call: int) -> float:
    """The discount at one sample call."""
    return _discount(view, gamma(call)) if callable(gamma) else gamma


def _discount(view: str, gamma: Any) -> float:
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float, np.number)):
        raise ConfigurationError(
            f"{view}: expected gamma from 0 to 1, or a schedule, got {gamma!r}"
        )
    if not 0 <= gamma <= 1:
        raise ConfigurationError(
            f"{view}: expected gamma from 0 to 1, or a schedule, got {gamma!r}"
        )
    return float(gamma)
