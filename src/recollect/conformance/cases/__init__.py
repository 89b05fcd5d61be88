"""The cases: what real replay libraries got wrong, each with the right behaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recollect.conformance.adapter import FEATURES, Settings
from recollect.conformance.world import Stage

Make = Callable[[Settings], Stage]
"""Opens an empty memory of the library that is looked at."""


@dataclass(frozen=True)
class Case:
    """One thing that must hold."""

    id: str
    """The mistake's letter and number, and where it has several sides which of them."""
    title: str
    """The right behaviour."""
    needs: frozenset[str]
    """Features that a library must offer for this to be asked of it."""
    check: Callable[[Make], None]
    """Raises `Unfit` where it does not hold."""


CASES: dict[str, Case] = {}
"""By id; `load_cases` brings all."""

GROUPS = {
    "B": "Boundaries",
    "R": "Ring and keys",
    "P": "Probabilities",
    "H": "Hindsight",
    "S": "Saving and sharing",
    "C": "Closed forms",
}
"""By the first letter of a case's id."""


def case(id: str, title: str, *needs: str) -> Callable[[Callable[[Make], None]], Case]:
    """Registers a check as a case."""
    unknown = set(needs) - FEATURES.keys()
    assert not unknown, f"{id} needs {unknown}, which is no feature"

    def register(check: Callable[[Make], None]) -> Case:
        CASES[id] = Case(id, title, frozenset(needs), check)
        return CASES[id]

    return register


def load_cases() -> dict[str, Case]:
    """All cases there are, in the order in which they are shown."""
    from recollect.conformance.cases import (  # noqa: F401
        boundaries,
        closed_forms,
        hindsight,
        probabilities,
        retention,
        ring,
        saving,
        sharing,
        windows,
    )

    order = list(GROUPS)
    for name in sorted(CASES, key=lambda id: (order.index(id[0]), _number(id))):
        CASES[name] = CASES.pop(name)
    return CASES


def _number(id: str) -> int:
    return int(id[1:].split(".")[0].split(" ")[0])
