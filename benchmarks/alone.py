"""What only our own parts are measured at, one beside the other."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import data
from benchmarks.libraries import OURS
from benchmarks.results import Table
from benchmarks.timing import FEW_TURNS, TURNS, Timing, interleaved

Calls = dict[str, Callable[[], object]]

RANKED = "Ranked, 1 M rows"
PRIORITIZED = "Prioritized, 1 M rows"
MIXTURE = "Mixture of Uniform and Prioritized, 128 of each"
IN_TURN = "Uniform and Prioritized, 128 of each, one after the other"
FIFO = "offer 5 to a full Fifo of 100 k"
RESERVOIR = "offer 5 to a full Reservoir of 100 k"
BALANCED = "offer 5 to a full Balanced of 100 k, 10 labels"
DROP_LOWEST = "offer 5 to a full DropLowest of 100 k"

CAPACITIES = {"10 k rows": 10_000, "100 k rows": 100_000, "1 M rows": 10**6, "10 M rows": 10**7}
UNIFORM = "256 uniform transitions"
BY_PRIORITY = "256 prioritized, drawn and updated"
SEQUENCES = "64 sequences of 80 steps"

EPISODES = {
    "10 episodes": 10,
    "1 k episodes": 1_000,
    "100 k episodes": 10**5,
    "1 M episodes": 10**6,
}
STEPS, LENGTH = 10**7, 10
"""Of all episodes together, which are short in steps and in bytes to spare memory, and of each
sequence: the shortest episode is one."""
WINDOWS = "64 sequences of 10 steps"
WHOLE = "the first 10 steps of 64 episodes"
GOALS = "256 transitions with hindsight"

READERS = (
    "Transition",
    "NStep(3), Prioritized",
    "Sequence(80)",
    "Episodes(1000)",
    "Hindsight(Transition)",
)


def parts(scale: float = 1.0, turns: int = TURNS) -> Table:
    """Samplers, and retention rules that are offered examples."""
    ours, rc = _modules()
    million, few = max(int(1_000_000 * scale), 1_000), max(int(100_000 * scale), 100)
    calls = {
        PRIORITIZED: ours.prioritized(million),
        RANKED: ours.ranked(million),
        MIXTURE: ours.mixture(million),
        IN_TURN: ours.parts_of_mixture(million),
        FIFO: ours.offer_five(few, rc.Fifo()),
        RESERVOIR: ours.offer_five(few, rc.Reservoir()),
        BALANCED: ours.offer_five(few, rc.Balanced(by="label")),
        DROP_LOWEST: ours.offer_five(few, rc.DropLowest()),
    }
    title = "what our own parts cost (samplers: draw and update 256 of HalfCheetah's shape)"
    return Table("parts", title, interleaved(calls, turns), column="part")


def capacity(scale: float = 1.0, turns: int = TURNS) -> Table:
    """What a draw costs us, by capacity."""
    ours, _ = _modules()
    sizes = {size: max(int(rows * scale), 1_000) for size, rows in CAPACITIES.items()}
    made = {size: ours.by_capacity(rows) for size, rows in sizes.items()}
    kinds = (UNIFORM, BY_PRIORITY, SEQUENCES)
    return _by("capacity", "cost by capacity (HalfCheetah)", kinds, made, CAPACITIES, turns)


def episodes(scale: float = 1.0, turns: int = TURNS) -> Table:
    """What a draw costs us, by how many episodes the same number of steps lies in."""
    ours, _ = _modules()
    steps = max(int(STEPS * scale), 1_000)
    made = {
        name: ours.by_episodes(steps, max(steps * count // STEPS, 1), LENGTH)
        for name, count in EPISODES.items()
    }
    kinds = (WINDOWS, WHOLE, GOALS)
    title = "cost by number of episodes, of 10 M small steps in all"
    return _by("episodes", title, kinds, made, EPISODES, turns)


def opening(scale: float = 1.0, turns: int = TURNS) -> Table:
    """How long it takes to open a reader on a full memory."""
    ours, rc = _modules()
    rows = max(int(1_000_000 * scale), 1_000)
    memory, goals = ours.filled(rows), ours.with_goals(rows, data.FETCH_EPISODE)
    readers: tuple[Callable[[], Any], ...] = (
        lambda: memory.reader(),
        lambda: memory.reader(rc.NStep(3, gamma=0.99), rc.Prioritized()),
        lambda: memory.reader(rc.Sequence(80)),
        lambda: memory.reader(rc.Episodes(1000)),
        lambda: goals.reader(ours.hindsight_view()),
    )
    # it is open once it knows what it can draw
    calls: Calls = {
        name: partial(_eligible, open_one) for name, open_one in zip(READERS, readers, strict=True)
    }
    times = interleaved(calls, min(turns, FEW_TURNS), seconds=0.001)
    seconds = {
        name: Timing(*(value / 1e6 for value in (time.median, time.low, time.high)))
        for name, time in times.items()
    }
    title = "opening a reader on a full memory of 1 M rows"
    return Table("opening", title, seconds, unit="seconds", column="reader")


def _eligible(open_one: Callable[[], Any]) -> int:
    return int(open_one().eligible)


def at(kind: str, size: str) -> str:
    """The row of a cost that is measured at several sizes."""
    return f"{kind}, {size}"


def _by(
    name: str,
    title: str,
    kinds: tuple[str, ...],
    made: dict[str, tuple[Callable[[], object], ...]],
    sizes: dict[str, int],
    turns: int,
) -> Table:
    """Each kind of call at each size."""
    calls: Calls = {}
    points: dict[str, tuple[str, float]] = {}
    for kind, *several in zip(kinds, *made.values(), strict=True):
        for size, call in zip(made, several, strict=True):
            calls[at(kind, size)] = call
            points[at(kind, size)] = (kind, sizes[size])
    return Table(name, title, interleaved(calls, turns), column="what is drawn", points=points)


def _modules() -> tuple[Any, Any]:
    """Our driver and our library."""
    return (
        importlib.import_module(f"benchmarks.libraries.{OURS}"),
        importlib.import_module("recollect"),
    )
