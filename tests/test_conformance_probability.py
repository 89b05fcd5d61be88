"""CONFORMANCE.md, Probabilities: P1 for `Uniform`, and P8. All seeds are fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Examples, Look, Steps, chi_square_tail, leaves
from selfproving import known_world, schema, stacked, view

DRAWS = 40_000
UNLIKELY = 1e-3


def test_the_chi_square_tail_agrees_with_its_tables() -> None:
    for freedom, critical in ((1, 3.8415), (2, 5.9915), (7, 14.067), (10, 18.307), (99, 123.225)):
        counts = np.full(freedom + 1, 1000.0)
        counts[:2] += np.array([1, -1]) * (critical * 500) ** 0.5
        assert chi_square_tail(counts, np.full(freedom + 1, 1000.0)) == pytest.approx(0.05, 1e-3)
    assert chi_square_tail(np.full(4, 50.0), np.full(4, 50.0)) == 1


def even(drawn: np.ndarray, expected: set[int]) -> float:
    """The tail of the draws (of keys) against an even distribution over the expected keys."""
    keys, counts = np.unique(drawn, return_counts=True)
    assert set(keys.tolist()) == expected
    return chi_square_tail(counts, np.full(len(keys), len(drawn) / len(keys)))


def draw(reader: Any, batch_size: int, expected: int, draws: int = DRAWS) -> np.ndarray:
    """Keys of many draws; each batch has to state the probability of its rows exactly."""
    keys = []
    for _ in range(draws // batch_size):
        batch = reader.sample(batch_size)
        assert (batch.probability == 1 / expected).all()
        assert (batch.weight == 1).all()
        keys.append(batch.key)
    return np.concatenate(keys)


@pytest.mark.parametrize("batch_size", [1, 7, 256, 4000])
def test_P1_uniform_draws_evenly_from_a_wrapped_ring(batch_size: int) -> None:
    look = Look(3, 0.9, 2)
    memory = rc.Memory(schema("flat"), 60, view=view(look), sampler=rc.Uniform(), seed=1)
    oracle = Steps(60)
    for step in known_world("flat", 0, 200):
        memory.add(**step)
        oracle.add(**step)
    expected = oracle.eligible(look)
    draws = 10_000 if batch_size == 1 else DRAWS
    assert even(draw(memory, batch_size, len(expected), draws), expected) > UNLIKELY


def test_P1_uniform_draws_evenly_over_streams_and_holes_in_each_reader() -> None:
    looks = [Look(None, 0.9), Look(4, 0.9, 3)]
    memory = rc.Memory(schema("flat"), 3 * 30, streams=3, view=view(looks[0]), seed=2)
    readers = [memory, memory.reader(view=view(looks[1]), sampler=rc.Uniform())]
    oracle = Steps(30, 3)
    for stream, count in enumerate((12, 50, 75)):
        world = known_world("flat", stream, count)
        memory.extend(stream=stream, **stacked(world))
        for step in world:
            oracle.add(stream=stream, **step)
    gone = sorted(oracle.eligible(looks[0]))[::4]
    memory.remove(np.array(gone))
    oracle.remove(gone)
    for reader, look in zip(readers, looks, strict=True):
        expected = oracle.eligible(look)
        assert even(draw(reader, 256, len(expected)), expected) > UNLIKELY


def test_P1_uniform_draws_evenly_while_the_memory_changes() -> None:
    """Rows come and go between draws; a row is drawn as often as the sum of what it was due."""
    memory = rc.Memory(schema("flat"), 24, seed=3)
    oracle = Steps(24)
    due: dict[int, float] = {}
    drawn: list[int] = []
    for i, step in enumerate(known_world("flat", 0, 120)):
        memory.add(**step)
        oracle.add(**step)
        if i % 10 == 9:
            gone = [sorted(oracle.eligible(Look()))[3]]
            memory.remove(np.array(gone))
            oracle.remove(gone)
        eligible = oracle.eligible(Look())
        drawn += memory.sample(300).key.tolist()
        for key in eligible:
            due[key] = due.get(key, 0) + 300 / len(eligible)
    keys = sorted(due)
    assert set(drawn) <= set(keys)
    index = {key: i for i, key in enumerate(keys)}
    counts = np.bincount([index[key] for key in drawn], minlength=len(keys))
    assert chi_square_tail(counts, np.array([due[key] for key in keys])) > UNLIKELY


def test_P1_uniform_draws_evenly_from_examples_with_holes() -> None:
    memory = rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), 40, seed=4)
    oracle = Examples(40)
    for first in (0, 30, 60):
        keys = memory.extend(x=np.arange(first, first + 30)).tolist()
        oracle.extend(keys, [{}] * 30)
        oracle.remove(keys[::3])
        memory.remove(np.array(keys[::3]))
    expected = set(oracle.examples())
    assert even(draw(memory, 100, len(expected)), expected) > UNLIKELY


def test_P1_uniform_draws_are_independent_within_a_batch_and_between_batches() -> None:
    memory = rc.Memory(schema("flat"), 100, seed=5)
    memory.extend(**stacked(known_world("flat", 0, 12)))
    keys = np.stack([memory.sample(2).key for _ in range(20_000)])
    _, at = np.unique(keys, return_inverse=True)
    at = at.reshape(keys.shape)
    for one, next_one in ((at[:, 0], at[:, 1]), (at[:-1, 1], at[1:, 0])):
        pairs = np.bincount(one * 12 + next_one, minlength=144)
        assert chi_square_tail(pairs, np.full(144, len(one) / 144)) > UNLIKELY


def pair(seeds: tuple[int | None, int | None], **more: Any) -> list[rc.Memory]:
    memories = []
    for seed in seeds:
        memory = rc.Memory(schema("dict"), 400, seed=seed, **more)
        memory.extend(**stacked(known_world("dict", 0, 250)))
        memories.append(memory)
    return memories


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2), (42, 43), (None, None)])
def test_P8_different_seeds_draw_differently(seeds: tuple[int | None, int | None]) -> None:
    one, other = pair(seeds)
    same = (one.sample(2000).key == other.sample(2000).key).mean()
    assert same < 0.05


def test_P8_the_same_seed_repeats_whatever_is_done_between() -> None:
    one, other = pair((7, 7), max_draws=40)
    readers = [m.reader(view=rc.NStep(3, gamma=0.9, stack=2)) for m in (one, other)]
    world = known_world("dict", 0, 400)
    for first in range(250, 400, 30):
        drawn = []
        for memory, reader in zip((one, other), readers, strict=True):
            memory.extend(**stacked(world[first : first + 30]))
            drawn.append([memory.sample(50), reader.sample(50), memory.sample(3)])
            memory.remove(drawn[-1][0].key[:5])
        for mine, theirs in zip(*drawn, strict=True):
            columns = dict(leaves(theirs))
            for name, column in leaves(mine):
                np.testing.assert_array_equal(column, columns[name])


def test_P8_two_readers_of_a_memory_draw_differently() -> None:
    memory = pair((0, 0))[0]
    first = memory.reader(view=rc.Transition())
    second = memory.reader(view=rc.Transition())
    keys = [reader.sample(2000).key for reader in (memory, first, second)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (keys[a] == keys[b]).mean() < 0.05


def test_P8_consecutive_batches_differ() -> None:
    memory = pair((0, 0))[0]
    assert (memory.sample(2000).key == memory.sample(2000).key).mean() < 0.05


def test_P8_streams_are_not_correlated() -> None:
    """Which row of a stream is drawn says nothing about which stream, nor about the next one's."""
    memory = rc.Memory(schema("flat"), 4 * 20, streams=4, seed=6)
    for stream in range(4):
        # Streams that are all alike, so that equal generators would draw equal rows.
        world = known_world("flat", 0, 10)
        memory.extend(stream=stream, **stacked(world))
    keys = memory.sample(40_000).key
    stream = keys >> STREAM_SHIFT
    _, at = np.unique(keys & (1 << STREAM_SHIFT) - 1, return_inverse=True)
    cells = np.bincount(stream * 10 + at, minlength=40)
    assert chi_square_tail(cells, np.full(40, 1000.0)) > UNLIKELY
    drawn = [at[stream == k][:9000] for k in range(4)]
    for a in range(4):
        for b in range(a):
            pairs = np.bincount(drawn[a] * 10 + drawn[b], minlength=100)
            assert chi_square_tail(pairs, np.full(100, 90.0)) > UNLIKELY
