"""Saved states of parts: flat dictionaries of arrays, and whether one fits who goes on from it.

A state comes back from a file, which may be another's or damaged, and compiled loops trust the
indices that they are given. So whoever restores takes each array through `Saved`, which checks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.stores.base import Slots

State = Mapping[str, NDArray[Any]]


class Saved:
    """What a part's `state` returned, each array checked as it is taken.

    Args:
        part: whose state it has to be, as errors name it.
        state: by name.
        names: what has to be there, and nothing else.
        capacity: if given, the rows of capacity that "capacity" has to say, too.

    Raises:
        ConfigurationError: something is missing, unknown, or does not fit; also from all methods.
    """

    def __init__(
        self, part: str, state: State, names: Iterable[str], capacity: int | None = None
    ) -> None:
        self._part = part
        self._state = {name: np.asarray(value) for name, value in state.items()}
        wanted = {*names} if capacity is None else {*names, "capacity"}
        if self._state.keys() != wanted:
            expected, got = ", ".join(sorted(wanted)) or "none", ", ".join(sorted(self._state))
            raise ConfigurationError(
                f"{part}: its saved state does not fit: expected {expected}, got {got or 'none'}"
            )
        self._capacity = capacity or 0
        if capacity is not None:
            self.check("capacity", self.number("capacity") == capacity, f"{capacity} rows")

    def number(self, name: str, least: int = 0) -> int:
        """A whole number, at least this."""
        (number,) = self.whole(name, (1,) if self._state[name].ndim else (), least).reshape(-1)
        return int(number)

    def whole(self, name: str, shape: tuple[int, ...], least: int = 0) -> NDArray[np.int64]:
        """Whole numbers of this shape, each at least this; a copy."""
        array = self._array(name, shape, "iu", "whole numbers")
        fits = array.min(initial=least) >= least and array.max(initial=0) < 2**63
        self.check(name, fits, f"whole numbers from {least} up")
        return array.astype(np.int64)

    def slots(self, name: str) -> Slots:
        """(N,) distinct slots; a copy."""
        slots = self.whole(name, (self._state[name].size,))
        inside = slots.max(initial=-1) < self._capacity
        self.check(name, inside, f"slots below {self._capacity}")
        self.check(name, are_distinct(slots, self._capacity), "distinct slots")
        return slots

    def floats(
        self, name: str, shape: tuple[int, ...], least: float | None = None
    ) -> NDArray[np.float64]:
        """Finite numbers of this shape, each at least this; a copy."""
        array = self._array(name, shape, "f", "numbers").astype(np.float64)
        fits = np.isfinite(array).all() and (least is None or array.min(initial=least) >= least)
        self.check(name, fits, f"finite numbers{'' if least is None else f' from {least:g} up'}")
        return array

    def check(self, name: str, fits: Any, expected: str) -> None:
        """Raises `ConfigurationError` unless the array of this name is found to fit."""
        if not fits:
            array = self._state[name]
            got = repr(array.item()) if array.ndim == 0 else f"{array.dtype} {array.shape}"
            raise ConfigurationError(
                f"{self._part}: its saved state does not fit: {name}: expected {expected}, "
                f"got {got}"
            )

    def _array(self, name: str, shape: tuple[int, ...], kinds: str, what: str) -> NDArray[Any]:
        array = self._state[name]
        self.check(name, array.dtype.kind in kinds and array.shape == shape, f"{what} {shape}")
        return array


def are_distinct(slots: Slots, capacity: int) -> bool:
    """Whether no slot (N,), each below the capacity, is there twice. O(capacity)."""
    seen = np.zeros(capacity, np.bool_)
    seen[slots] = True
    return int(seen.sum()) == len(slots)


def joined(states: Iterable[State]) -> dict[str, NDArray[Any]]:
    """The states of several parts in one, each name behind the part's number and a dot."""
    return {
        f"{number}.{name}": value
        for number, state in enumerate(states)
        for name, value in state.items()
    }


def parted(whole: str, state: State, count: int) -> list[dict[str, NDArray[Any]]]:
    """The states of so many parts, as they were `joined`; `whole` names them all in an error."""
    parts: dict[str, dict[str, NDArray[Any]]] = {str(number): {} for number in range(count)}
    for name, value in state.items():
        number, _, rest = name.partition(".")
        if number not in parts:
            raise ConfigurationError(
                f"{whole}: its saved state does not fit: {name} belongs to none of {count} parts"
            )
        parts[number][rest] = value
    return list(parts.values())
