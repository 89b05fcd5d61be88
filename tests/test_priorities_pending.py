"""Priorities of rows that are held and have yet to enter; and who is told of priorities at all."""

from __future__ import annotations

import numpy as np
import pytest

import recollect as rc
from selfproving import known_world, schema


def test_a_priority_given_too_early_is_kept_until_the_row_enters() -> None:
    memory = rc.Memory(
        schema("flat"), 200, view=rc.NStep(3, gamma=0.9), sampler=rc.HighestPriority(), seed=0
    )
    keys = [memory.add(**step) for step in known_world("flat", 0, 60)]
    entered = set(memory.sample(memory.eligible).key.tolist())
    waiting = [key for key in keys if key not in entered]
    assert waiting, "the world should end in an open episode"
    assert memory.update(waiting[:1], priority=[7.0]) == 1
    assert memory.update([waiting[0], keys[0]], priority=[99.0, 98.0]) == 2
    assert memory.sample(1).key.tolist() == [keys[0]]
    for step in known_world("flat", 0, 20, first=60):
        memory.add(**step)
    assert memory.sample(2).key.tolist() == [waiting[0], keys[0]]


def test_what_is_overwritten_before_it_enters_is_forgotten() -> None:
    memory = rc.Memory(
        schema("flat"), 8, view=rc.NStep(3, gamma=0.9), sampler=rc.HighestPriority(), seed=0
    )
    reader = memory._first
    for step in known_world("flat", 0, 5_000):
        memory.update([memory.add(**step)], priority=[1.0])
    assert len(reader._pending) <= 2_000


@pytest.mark.parametrize(
    ("sampler", "refused"),
    [
        (rc.Weighted(lowest_first=True), 0.0),
        (rc.Prioritized(alpha=3), 1e200),
        (rc.Mixture({rc.Uniform(): 0.5, rc.Prioritized(alpha=3): 0.5}), 1e200),
    ],
    ids=["Weighted", "Prioritized", "Mixture"],
)
def test_what_the_sampler_refuses_is_refused_before_the_row_enters(
    sampler: rc.samplers.base.Sampler, refused: float
) -> None:
    memory = rc.Memory(schema("flat"), 100, view=rc.NStep(3, gamma=0.9), sampler=sampler, seed=0)
    keys = [memory.add(**step) for step in known_world("flat", 0, 60)]
    entered = set(memory.sample(2_000).key.tolist())
    waiting = [key for key in keys if key not in entered]
    with pytest.raises(rc.PriorityError):
        memory.update([keys[0], waiting[0]], priority=[5.0, refused])
    assert np.ptp(memory.sample(2_000).probability) == 0
    for step in known_world("flat", 0, 20, first=60):
        memory.add(**step)
    memory.sample(1)


def test_a_sampler_without_priorities_says_so() -> None:
    memory = rc.Memory(schema("flat"), 50, view=rc.NStep(3, gamma=0.9), seed=0)
    key = memory.add(**known_world("flat", 0, 1)[0])
    for keys in ([key], [], [-1]):
        with pytest.raises(rc.PriorityError, match="Uniform"):
            memory.update(keys, priority=np.ones(len(keys)))
    assert memory.stats()["updated"] == 0
