"""Settings that change with the number of sample calls, beside views in which they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import leaves
from recollect.views.episodes import Episodes
from recollect.views.hindsight import Hindsight
from recollect.views.sequence import Sequence
from views.play import play, small_schema

VIEWS: dict[str, Callable[[Any], Any]] = {
    "Transition": lambda gamma: rc.Transition(gamma=gamma),
    "NStep": lambda gamma: rc.NStep(3, gamma=gamma),
    "Sequence": lambda gamma: Sequence(4, gamma=gamma),
    "Sequence of returns": lambda gamma: Sequence(4, n=3, gamma=gamma, bootstrap=True),
    "Episodes": lambda gamma: Episodes(6, gamma=gamma),
}


def memory_of(view: Any) -> rc.Memory:
    memory = rc.Memory(small_schema(), 60, view=view, sampler=rc.Oldest(), seed=0)
    play("5T 3U 6C 1T 4U", memory)
    return memory


@pytest.mark.parametrize("kind", VIEWS)
def test_the_number_of_the_call_decides_gamma(kind: str) -> None:
    schedule = rc.linear(0.5, 1.0, over=4)
    memory = memory_of(VIEWS[kind](schedule))
    count = memory.eligible
    second = memory.reader(view=VIEWS[kind](schedule), sampler=rc.Oldest())
    discounts = []
    for call in range(6):
        batch = memory.sample(count)
        constant = memory_of(VIEWS[kind](min(0.5 + call / 8, 1.0))).sample(count)
        for (name, found), (_, expected) in zip(leaves(batch), leaves(constant), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=name)
        discounts.append(batch.discount)
    assert not np.array_equal(discounts[0], discounts[1])
    np.testing.assert_array_equal(discounts[4], discounts[5])
    # each reader counts its own calls
    np.testing.assert_array_equal(second.sample(count).discount, discounts[0])


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan"), "0.9", True])
def test_a_schedule_that_leaves_the_range_is_an_error_when_it_does(kind: str, bad: Any) -> None:
    view = VIEWS[kind](lambda call: 0.9 if call == 0 else bad)
    memory = memory_of(view)
    memory.sample(2)
    name = kind.split()[0]
    with pytest.raises(rc.ConfigurationError, match=f"{name}: expected gamma from 0 to 1"):
        memory.sample(2)
    with pytest.raises(rc.ConfigurationError, match=f"{name}: expected gamma from 0 to 1"):
        VIEWS[kind](bad)


def test_a_view_in_a_view_sees_the_same_call() -> None:
    def reward(achieved: Any, desired: Any, info: Any) -> Any:
        return np.ones(len(achieved), np.float32)

    goal = rc.Field((2,), np.int64)
    schema = rc.Schema.steps(obs={"here": goal, "there": goal}, action=rc.Field((), np.int64))
    view = Hindsight(
        rc.NStep(2, gamma=rc.linear(0.0, 1.0, over=2)), "there", "here", reward=reward, ratio=1
    )
    memory = rc.Memory(schema, 20, view=view, seed=0)
    for t in range(4):
        memory.add(
            obs={"here": [t, t], "there": [9, 9]},
            action=t,
            reward=0.0,
            next_obs={"here": [t + 1, t + 1], "there": [9, 9]},
            terminated=False,
            truncated=t == 3,
        )
    for gamma in (0.0, 0.5, 1.0):
        batch = memory.sample(20)
        np.testing.assert_allclose(batch.reward, np.where(batch.steps == 2, 1 + gamma, 1))
