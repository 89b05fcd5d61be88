"""Settings that change with the number of sample calls: beta, n, ...

A schedule is any callable from a call number (0, 1, 2, ...) to a value. `linear` and `constant`
also know their `largest` value, which a view needs that must decide how far ahead it can look.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from recollect.errors import ConfigurationError


class Schedule(Protocol):
    """A value for each sample call."""

    def __call__(self, call: int, /) -> float: ...


@dataclass(frozen=True)
class linear:  # noqa: N801 (used as a function)
    """From `start` to `end` over so many calls, then `end` for ever."""

    start: float
    end: float
    over: int

    def __post_init__(self) -> None:
        _make_plain(self)
        if self.over < 1:
            raise ConfigurationError(f"linear(over=...) must be at least 1 call, got {self.over}")

    def __call__(self, call: int, /) -> float:
        progress = min(max(call / self.over, 0.0), 1.0)
        return self.start + (self.end - self.start) * progress

    @property
    def largest(self) -> float:
        return max(self.start, self.end)


@dataclass(frozen=True)
class constant:  # noqa: N801 (used as a function)
    """The same value at every call."""

    value: float

    def __post_init__(self) -> None:
        _make_plain(self)

    def __call__(self, call: int, /) -> float:
        return self.value

    @property
    def largest(self) -> float:
        return self.value


def _make_plain(schedule: Any) -> None:
    """Python's numbers in place of NumPy's, which count less exactly than what a file holds."""
    for setting in fields(schedule):
        value = getattr(schedule, setting.name)
        if isinstance(value, np.generic):
            object.__setattr__(schedule, setting.name, value.item())
