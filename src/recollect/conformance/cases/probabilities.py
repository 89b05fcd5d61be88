"""P: how often each row is drawn, and what its weight is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import CONFIDENCE, chi_square_tail, fits
from recollect.conformance.world import Stage, Unfit, place_of

DRAWS = 20_000


def _episodes(stage: Stage, rows: int, first: int = 0) -> None:
    """Rows as episodes of one step each, so that each stands for itself."""
    stage.play(" ".join(["1T"] * rows), first=first)


def _counts(stage: Stage, rows: int, first: int = 0) -> NDArray[np.int64]:
    """How often each of these episodes is drawn."""
    drawn = stage.drawn(DRAWS)[:, 1] - first
    if drawn.min() < 0 or drawn.max() >= rows:
        raise Unfit(f"episode {drawn.min() + first} or {drawn.max() + first} is drawn")
    return np.bincount(drawn, minlength=rows)


@case("P1.uniform", "uniform draws are uniform", "transitions")
def uniform(make: Make) -> None:
    stage = make(Settings(capacity=100))
    _episodes(stage, 50)
    fits(_counts(stage, 50), np.ones(50), "uniform draws of 50 rows")


@case("P1.episodes", "so they are where episodes differ in length", "transitions")
def uniform_over_steps(make: Make) -> None:
    stage = make(Settings(capacity=200))
    stage.play("1T 20T 2T 9T 3T 15T")
    episodes = np.bincount(stage.drawn(DRAWS)[:, 1], minlength=6)
    fits(episodes, np.array([1, 20, 2, 9, 3, 15]), "draws by episode")


@case("P1.proportional", "p is proportional to priority ** alpha", "proportional")
def proportional(make: Make) -> None:
    for alpha in (1.0, 0.5):
        stage = make(Settings(capacity=40, sampler="proportional", alpha=alpha))
        priorities = _prioritized(stage, 20)
        what = f"draws in proportion to priority ** {alpha:g}"
        fits(_counts(stage, 20), priorities**alpha, what)


def _prioritized(stage: Stage, rows: int) -> NDArray[np.float64]:
    """So many rows with priorities from 0.5 to 9; returns these."""
    _episodes(stage, rows)
    priorities = np.linspace(0.5, 9, rows)[np.random.default_rng(1).permutation(rows)]
    stage.prioritize([(0, k, 0) for k in range(rows)], priorities.tolist())
    return priorities


@case("P1.ranked", "p is proportional to rank ** -alpha", "ranked")
def by_rank(make: Make) -> None:
    stage = make(Settings(capacity=40, sampler="ranked", alpha=0.7))
    priorities = _prioritized(stage, 20)
    ranks = 20 - np.argsort(np.argsort(priorities))
    fits(_counts(stage, 20), ranks**-0.7, "draws by rank")


@case(
    "P1.probability", "the probability reported is that of the draw", "probability", "proportional"
)
def reported_probability(make: Make) -> None:
    stage = make(Settings(capacity=40, sampler="proportional", alpha=0.5))
    priorities = _prioritized(stage, 20)
    drawn = stage.draw(256)
    expected = priorities**0.5 / np.sum(priorities**0.5)
    episodes = place_of(drawn["obs"])[:, 1]
    if not np.allclose(np.asarray(drawn["probability"]).ravel(), expected[episodes], rtol=1e-3):
        raise Unfit("the probabilities reported are not those of priority ** alpha")


@case(
    "P2.updates",
    "after many thousand updates the sum is still the sum of its parts",
    "proportional",
)
def many_updates(make: Make) -> None:
    stage = make(Settings(capacity=32, sampler="proportional", batch=16))
    _episodes(stage, 16)
    keys = np.array(stage.keys_of([(0, k, 0) for k in range(16)]))
    random = np.random.default_rng(0)
    for turn in range(1500):
        order = random.permutation(16)
        stage.adapter.update(keys[order], 10.0 ** random.uniform(-3, 5 if turn % 2 else 1, 16))
    priorities = np.linspace(1, 4, 16)
    stage.adapter.update(keys, priorities)
    fits(_counts(stage, 16), priorities, "after 24,000 updates, draws")


@case("P2.zero", "a row of priority zero is never drawn", "zero priority")
def zero_priorities(make: Make) -> None:
    for rows in (8, 13):
        stage = make(Settings(capacity=rows * 2, sampler="proportional", zero=True, batch=16))
        _episodes(stage, rows)
        priorities = np.where(np.arange(rows) % 3 == 1, 1.0, 0.0)
        stage.prioritize([(0, k, 0) for k in range(rows)], priorities.tolist())
        fits(_counts(stage, rows), priorities, "with two rows of three at priority zero")


@case("P3", "any capacity will do: all rows are drawn, none beyond them", "proportional")
def any_capacity(make: Make) -> None:
    for capacity in (6, 13, 37):
        stage = make(Settings(capacity=capacity, sampler="proportional", batch=6))
        for step in range(2 * capacity + 1):
            stage.add([(0, 0, step)], [""])
        counts = np.bincount(stage.drawn(8000)[:, 2])
        held = np.flatnonzero(counts)
        if len(held) < capacity - 2 or held[-1] != 2 * capacity:
            raise Unfit(f"of {capacity} rows only steps {held.tolist()} are drawn")
        fits(counts[held], np.ones(len(held)), f"equal rows, capacity {capacity}")


@case("P4", "alpha is applied once, to new rows as well", "largest priority")
def alpha_once(make: Make) -> None:
    stage = make(Settings(capacity=40, sampler="proportional", alpha=0.5))
    priorities = _prioritized(stage, 10) * 10
    stage.prioritize([(0, k, 0) for k in range(10)], priorities.tolist())
    _episodes(stage, 4, first=10)
    entered = np.concatenate((priorities, np.full(4, priorities.max())))
    fits(_counts(stage, 14), entered**0.5, "new rows beside others")


@case("P5.ratio", "weights are in the ratio of P ** -beta", "weights over batch")
def weight_ratios(make: Make) -> None:
    _weights(make, "batch")


@case("P5.batch", "the largest weight of a batch is 1", "weights over batch")
def weights_over_batch(make: Make) -> None:
    stage = make(Settings(capacity=40, sampler="proportional", alpha=0.7, beta=0.5))
    _prioritized(stage, 20)
    for _ in range(20):
        largest = float(np.max(stage.adapter.sample(64)["weight"]))
        if not np.isclose(largest, 1, rtol=1e-4):
            raise Unfit(f"the largest weight of a batch is {largest:.4g}")


@case(
    "P5.memory",
    "the largest weight of the memory is 1, of what it holds now",
    "weights over memory",
)
def weights_over_memory(make: Make) -> None:
    _weights(make, "memory")
    stage = make(
        Settings(capacity=40, sampler="proportional", alpha=0.7, beta=0.5, weights="memory")
    )
    _episodes(stage, 20)
    places = [(0, k, 0) for k in range(20)]
    keys = np.array(stage.keys_of(places))
    for smallest in (0.01, 2.0):
        priorities = np.concatenate((np.full(10, smallest), np.linspace(3, 9, 10)))
        stage.adapter.update(keys, priorities)
    drawn = stage.draw(512)
    least = place_of(drawn["obs"])[:, 1] < 10
    got = np.asarray(drawn["weight"], np.float64).ravel()[least]
    if not np.allclose(got, 1, rtol=1e-3):
        raise Unfit(f"after the lowest priority rose, the largest weight is {got.max():.4g}, not 1")


@case("P5.raw", "unnormalized weights are (N P) ** -beta, of the present N", "raw weights")
def raw_weights(make: Make) -> None:
    stage = make(Settings(capacity=80, sampler="proportional", alpha=0.7, beta=0.5, weights="raw"))
    priorities = _prioritized(stage, 20)
    for rows in (20, 30):
        if rows > 20:
            _episodes(stage, 10, first=20)
            priorities = np.concatenate((priorities, np.full(10, priorities.max())))
        drawn = stage.draw(256)
        mass = priorities**0.7
        expected = (rows * mass / mass.sum()) ** -0.5
        got = np.asarray(drawn["weight"], np.float64).ravel()
        if not np.allclose(got, expected[place_of(drawn["obs"])[:, 1]], rtol=2e-3):
            raise Unfit(f"weights of {rows} rows are not (N P) ** -beta")


def _weights(make: Make, scope: str) -> None:
    stage = make(
        Settings(
            capacity=40,
            sampler="proportional",
            alpha=0.7,
            beta=0.5,
            weights="memory" if scope == "memory" else "batch",
        )
    )
    priorities = _prioritized(stage, 20)
    expected = priorities**-0.35
    for _ in range(8):
        drawn = stage.adapter.sample(64)
        own = np.asarray(drawn["weight"], np.float64).ravel()
        ratio = own / expected[place_of(drawn["obs"])[:, 1]]
        if not np.allclose(ratio, ratio[0], rtol=2e-3):
            off = float(np.max(ratio) / np.min(ratio))
            raise Unfit(f"weights are off the ratio of P ** -beta, by up to {off:.3g} times")


@case("P6", "a new row enters at the largest priority", "largest priority")
def largest_priority(make: Make) -> None:
    _enters_at(make, [2.0])


@case("P6.live", "the largest that any row has now, also once that fell", "largest live priority")
def largest_live_priority(make: Make) -> None:
    """Asked of those alone that offer it: others keep the largest there ever was, and the paper
    (Schaul et al. 2016, algorithm 1, line 6) can be read both ways."""
    _enters_at(make, [100.0, 2.0])


def _enters_at(make: Make, largest: Sequence[float]) -> None:
    """The largest priority is each of these in turn."""
    stage = make(Settings(capacity=64, sampler="proportional"))
    _episodes(stage, 8)
    places = [(0, k, 0) for k in range(8)]
    for priority in largest:
        stage.prioritize(places, [priority] * 4 + [1.0] * 4)
    _episodes(stage, 1, first=8)
    now = largest[-1]
    fits(_counts(stage, 9), np.array([now] * 4 + [1.0] * 4 + [now]), "a new row beside others")


@case("P7", "of a key twice in one update, the last wins", "proportional")
def duplicates(make: Make) -> None:
    stage = make(Settings(capacity=32, sampler="proportional"))
    _episodes(stage, 6)
    keys = stage.keys_of([(0, k, 0) for k in range(6)])
    order = [0, 1, 2, 3, 4, 5, 0, 3, 0]
    given = [1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 9.0, 1.0, 3.0]
    stage.adapter.update(np.array([keys[k] for k in order]), np.array(given))
    fits(_counts(stage, 6), np.array([3.0, 1, 1, 1, 1, 1]), "after an update with duplicates")


@case("P8.seed", "the same seed draws the same, another one otherwise", "seed")
def seeds(make: Make) -> None:
    _seeds(make, Settings())


@case("P8.seed prioritized", "so it does of priorities", "seed", "proportional")
def prioritized_seeds(make: Make) -> None:
    _seeds(make, Settings(sampler="proportional", batch=16))


def _seeds(make: Make, settings: Settings) -> None:
    drawn = []
    for seed in (1, 1, 2):
        stage = make(replace(settings, seed=seed))
        _episodes(stage, 50)
        drawn.append(stage.drawn(256)[:, 1])
    if not np.array_equal(drawn[0], drawn[1]):
        raise Unfit("two memories with the same seed draw differently")
    if np.array_equal(drawn[0], drawn[2]):
        raise Unfit("two memories with different seeds draw the same")


@case("P8.streams", "draws of one stream tell nothing of those of another", "streams")
def streams_are_independent(make: Make) -> None:
    stage = make(Settings(streams=2, capacity=200))
    stage.play(" ".join(["1T"] * 50), " ".join(["1T"] * 50))
    same = total = 0
    for _ in range(40):
        places = place_of(stage.adapter.sample(64)["obs"])
        one, other = (places[places[:, 0] == k, 1] for k in (0, 1))
        count = min(len(one), len(other))
        same += int((one[:count] == other[:count]).sum())
        total += count
    statistic = (same - total / 50) ** 2 / (total / 50 * 0.98)
    if chi_square_tail(statistic, 1) < CONFIDENCE:
        raise Unfit(f"{same} of {total} draws of two streams agree, expected are {total / 50:.0f}")
