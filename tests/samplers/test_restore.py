"""A sampler goes on from a saved state exactly as the saved one does (CONFORMANCE.md, S1).

Each lives through a random life, is saved, and a fresh one is restored; then both live on in the
same way, with generators of the same state, and have to agree in everything at every moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.samplers.base import Sampler

Random = np.random.Generator

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "uniform": rc.Uniform,
    "prioritized": rc.Prioritized,
    "prioritized-plain": lambda: rc.Prioritized(1.3, initial=0.2, epsilon=0.0, stratified=False),
    "ranked": rc.Ranked,
    "ranked-sorted": lambda: rc.Ranked(1.0, initial=1.5, sort_every=7, stratified=False),
    "weighted": lambda: rc.Weighted(2.0, initial=0.5),
    "weighted-cold": lambda: rc.Weighted(0.004),
    "weighted-lowest": lambda: rc.Weighted(0.004, lowest_first=True, stratified=False),
    "oldest": rc.Oldest,
    "newest": rc.Newest,
    "highest": rc.HighestPriority,
    "highest-number": lambda: rc.HighestPriority(0.5),
    "lowest": rc.LowestPriority,
    "lowest-number": lambda: rc.LowestPriority(0.5),
    "window": lambda: rc.Recent(window=5),
    "decay": lambda: rc.Recent(decay=0.8),
    "shuffled": rc.Shuffled,
    "mixture": lambda: rc.Mixture({rc.Newest(): 0.1, rc.Uniform(): 0.5, rc.Shuffled(): 0.4}),
    "mixture-priorities": lambda: rc.Mixture(
        {rc.Prioritized(): 0.3, rc.LowestPriority(): 0.3, rc.Recent(decay=0.5): 0.4}
    ),
}
every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)


class Life:
    """What happens to a sampler's rows, at random; `moments` can be told to several samplers."""

    def __init__(self, capacity: int, rng: Random, least: float) -> None:
        self.capacity = capacity
        self.members: list[int] = []
        self.rng = rng
        self.least = least

    def moments(self, count: int) -> Iterator[tuple[str, Any]]:
        kinds = ["enter", "enter", "leave", "update", "update", "draw", "draw", "resize"]
        chances = np.array([4, 4, 3, 4, 4, 4, 4, 0.3])
        for kind in self.rng.choice(kinds, count, p=chances / chances.sum()):
            yield str(kind), getattr(self, str(kind))()

    def some(self, slots: Any, most: int) -> Any:
        return self.rng.permutation(np.array(slots, np.int64))[: self.rng.integers(0, most)]

    def enter(self) -> Any:
        slots = self.some(sorted(set(range(self.capacity)) - set(self.members)), 8)
        self.members += slots.tolist()
        return (slots,)

    def leave(self) -> Any:
        slots = self.some(self.members, 6)
        self.members = [slot for slot in self.members if slot not in slots]
        return (slots,)

    def update(self) -> Any:
        if not self.members:
            return np.zeros(0, np.int64), np.zeros(0)
        slots = self.rng.choice(self.members, self.rng.integers(1, 9))
        values = self.rng.choice([self.least, 0.5, 1.0, self.rng.random() * 40, 1e-4], len(slots))
        return slots, values

    def draw(self) -> Any:
        return (int(self.rng.integers(1, 12)),)

    def resize(self) -> Any:
        capacity = int(self.rng.integers(max(len(self.members), 1), 40))
        place = np.full(self.capacity, -1, np.int64)
        place[self.members] = self.rng.permutation(capacity)[: len(self.members)]
        self.members = place[self.members].tolist()
        self.capacity = capacity
        return capacity, place


def tell(sampler: Sampler, what: str, given: Any, rng: Random) -> Any:
    """Lets it happen; returns what there is to see."""
    if what == "draw":
        if not len(sampler):
            return None
        slots, probability = sampler.draw(*given, rng)
        return slots.tolist(), probability.tobytes(), sampler.probability(slots).tobytes()
    if what != "update" or sampler.takes_priorities:
        getattr(sampler, what)(*given)
    return len(sampler)


def opened(make: Callable[[], Sampler], capacity: int) -> Sampler:
    sampler = make()
    sampler.open(capacity)
    return sampler


def assert_same(one: Sampler, other: Sampler) -> None:
    mine, theirs = one.state(), other.state()
    assert mine.keys() == theirs.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name, strict=True)


@every_sampler
@pytest.mark.parametrize("seed", range(15))
def test_S1_a_sampler_goes_on_as_the_saved_one(make: Callable[[], Sampler], seed: int) -> None:
    rng = np.random.default_rng(seed)
    least = 0.01 if make is SAMPLERS["weighted-lowest"] else 0.0
    life = Life(int(rng.integers(1, 40)), rng, least)
    saved, mine = opened(make, life.capacity), np.random.default_rng(99)
    for what, given in life.moments(40 if seed else 0):
        tell(saved, what, given, mine)

    state = saved.state()
    restored, theirs = opened(make, life.capacity), np.random.default_rng()
    restored.restore(state)
    theirs.bit_generator.state = mine.bit_generator.state
    assert_same(saved, restored)
    for array in state.values():
        array[...] = 0  # nobody looks at it again
    for what, given in life.moments(60):
        assert tell(saved, what, given, mine) == tell(restored, what, given, theirs), what
    assert_same(saved, restored)


@pytest.mark.parametrize("make", [rc.Prioritized, lambda: rc.Weighted(0.3)])
def test_S1_the_sums_of_masses_are_the_same_to_the_last_bit(make: Callable[[], Any]) -> None:
    rng = np.random.default_rng(0)
    saved, restored = opened(make, 5_000), opened(make, 5_000)
    saved.enter(rng.permutation(5_000))
    for _ in range(200):
        slots = rng.choice(5_000, 30, replace=False)
        saved.update(slots[:20], rng.random(20) ** 3 * 100)
        saved.leave(slots[20:])
        saved.enter(slots[20:])
    restored.restore(saved.state())
    np.testing.assert_array_equal(saved._tree._mass, restored._tree._mass)
    np.testing.assert_array_equal(saved._tree._blocks, restored._tree._blocks)


def changed(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**state, **changes}


@every_sampler
def test_a_state_that_does_not_fit_is_refused_by_name(make: Callable[[], Sampler]) -> None:
    saved = opened(make, 6)
    saved.enter(np.array([3, 0, 5]))
    state = saved.state()
    member = next(name for name in state if name.endswith("members"))
    wrong = [
        {},
        {n: v for n, v in state.items() if n != member},
        changed(state, more=np.zeros(3)),
        *(changed(state, **{n: v[:-1]}) for n, v in state.items() if v.ndim and "members" not in n),
        *(changed(state, **{n: v.astype(str)}) for n, v in state.items()),
        *(changed(state, **{n: v - 1000}) for n, v in state.items() if "reference" not in n),
        *(changed(state, **{n: v * np.nan}) for n, v in state.items() if v.dtype.kind == "f"),
        *(changed(state, **{member: np.array(v)}) for v in ([0, 3, 3], [1, 3, 6], [[0], [1], [2]])),
    ]
    names = {type(part).__name__ for part in getattr(saved, "parts", [saved])}
    for bad in wrong:
        with pytest.raises(rc.ConfigurationError, match="|".join({*names, type(saved).__name__})):
            opened(make, 6).restore(bad)
    with pytest.raises(rc.ConfigurationError, match=r"capacity: expected 7 rows, got 6"):
        opened(make, 7).restore(state)


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        ("ranked", {"priority": np.array([1.0, 2.0, 1.0])}),
        ("ranked", {"age": np.array([2, 1, 0])}),
        ("ranked", {"age": np.array([0, 1, 9])}),
        ("shuffled", {"drawn": np.array(3)}),
        ("weighted", {"reference": np.array(-1e3)}),
        ("weighted", {"reference": np.array(np.inf)}),
        ("weighted-lowest", {"weight": np.array([1.0, 0.0, 1.0])}),
        ("prioritized-plain", {"priority": np.array([1.0, 1e300, 1.0])}),
        ("mixture", {"1.members": np.array([3, 0])}),
        ("mixture", {"3.members": np.array([3, 0])}),
    ],
    ids=str,
)
def test_a_state_that_says_what_cannot_be_is_refused(make: str, changes: dict[str, Any]) -> None:
    saved = opened(SAMPLERS[make], 6)
    saved.enter(np.array([3, 0, 5]))
    with pytest.raises(rc.ConfigurationError, match="saved state"):
        opened(SAMPLERS[make], 6).restore(changed(saved.state(), **changes))
