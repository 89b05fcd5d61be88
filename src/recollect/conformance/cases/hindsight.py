"""H: goals that were reached later (Andrychowicz et al. 2017).

What was achieved at step t of episode e is (e, t), and the goal that it was played for is
(-1 - e, 0), which no step achieves: so each example shows whose goal it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import fits
from recollect.conformance.world import Stage, Unfit, place_of

SCRIPT = "5U 3U 7U 4U 6U 2U"
STRATEGIES = ("future", "final", "episode")


@dataclass(frozen=True)
class Example:
    """One example, and the goal that it was given."""

    episode: int
    step: int
    length: int
    goal: NDArray[np.float64]
    reward: float

    @property
    def original(self) -> bool:
        """Whether it has the goal that it was played for."""
        return bool((self.goal == [-1 - self.episode, 0]).all())

    def __str__(self) -> str:
        return f"step {self.step} of episode {self.episode} ({self.length} steps)"


def _examples(stage: Stage, n: int = 1024) -> Iterator[Example]:
    drawn = stage.draw(n)
    goals = np.asarray(drawn["goal"], np.float64)
    if "next_goal" in drawn and not np.array_equal(goals, drawn["next_goal"]):
        raise Unfit("obs and next_obs of an example have different goals")
    rewards = np.asarray(drawn["reward"], np.float64).ravel()
    for place, goal, reward in zip(place_of(drawn["obs"]).tolist(), goals, rewards, strict=True):
        episode = stage.world.at(place)
        if episode is None:
            raise Unfit("drew an observation that was never added")
        yield Example(place[1], place[2], episode.length, goal, float(reward))


def _played(make: Make, strategy: str, capacity: int = 256) -> Stage:
    stage = make(Settings(goals=strategy, capacity=capacity))  # type: ignore[arg-type]
    stage.play(SCRIPT)
    return stage


@case("H1.goal", "a goal is a next achieved goal: from the step's own to the final one", "future")
def goals_are_next_achieved(make: Make) -> None:
    stage = _played(make, "future")
    own = final = False
    for each in _examples(stage):
        if each.original or each.goal[0] != each.episode:
            continue
        if each.goal[1] == each.step:
            raise Unfit(f"{each} gets as goal what was achieved before it, not after")
        own |= each.goal[1] == each.step + 1
        final |= each.goal[1] == each.length
    if not final:
        raise Unfit("what an episode achieved in the end is never a goal")
    if not own:
        raise Unfit("what a step achieved itself is never its goal")


def _reward(strategy: str) -> None:
    def check(make: Make) -> None:
        stage = _played(make, strategy)
        for each in _examples(stage):
            achieved = np.array([each.episode, each.step + 1], np.float32)
            goal = each.goal.astype(np.float32)
            expected = float(stage.adapter.goal_reward(achieved[None], goal[None])[0])
            if each.original and stage.adapter.own_reward:
                continue
            if each.reward != expected:
                raise Unfit(
                    f"{each} has goal {each.goal.tolist()} and reward {each.reward:g}, expected "
                    f"{expected:g} for having achieved {achieved.tolist()}"
                )

    case(f"H1.reward {strategy}", f"the reward is computed anew for it: {strategy}", strategy)(
        check
    )


for _strategy in STRATEGIES:
    _reward(_strategy)


@case("H2.future", "future never looks back, nor into another episode", "future")
def future_looks_ahead(make: Make) -> None:
    _admissible(_played(make, "future"), "future")


@case("H2.final", "final is what was achieved last", "final")
def final_is_last(make: Make) -> None:
    _admissible(_played(make, "final"), "final")


@case("H2.episode", "goals are of the same episode", "episode")
def goals_stay_in_episodes(make: Make) -> None:
    _admissible(_played(make, "episode"), "episode")


def _ring(strategy: str) -> None:
    def check(make: Make) -> None:
        stage = _played(make, strategy, capacity=20)
        for turn in range(6):
            stage.play("5U 3U 4U", first=6 + 3 * turn)
            _admissible(stage, strategy, n=384)

    title = f"also once the ring has gone round: {strategy}"
    case(f"H2.ring {strategy}", title, strategy)(check)


for _strategy in STRATEGIES:
    _ring(_strategy)


def _admissible(stage: Stage, strategy: str, n: int = 1024) -> None:
    for each in _examples(stage, n):
        if each.original:
            continue
        episode, step = each.goal.tolist()
        if episode != each.episode:
            raise Unfit(f"{each} gets a goal of episode {episode:g}")
        allowed = {
            "future": step >= each.step,  # whether its own counts is H1.goal's to judge
            "final": step == each.length,
            "episode": 0 <= step <= each.length,
        }[strategy]
        if not allowed or step > each.length:
            raise Unfit(f"{each} gets the goal achieved at step {step:g}")


@case("H3", "termination under the new goal is computed anew", "goal ends", "future")
def termination_is_recomputed(make: Make) -> None:
    stage = make(Settings(goals="future", ends=True))
    stage.play(SCRIPT)
    drawn = stage.draw(1024)
    goals, places = np.asarray(drawn["goal"]), place_of(drawn["obs"])
    reached = (goals == places[:, 1:] + np.array([0, 1])).all(axis=-1)
    if not np.array_equal(np.asarray(drawn["terminated"], bool).ravel(), reached):
        raise Unfit("a step terminates that does not reach its goal, or does not though it does")


def _untouched(strategy: str) -> None:
    def check(make: Make) -> None:
        stage = _played(make, strategy)
        counts = []
        for _ in range(6):
            original = [each.original for each in _examples(stage, 1500)]
            counts.append([sum(original), len(original) - sum(original)])
        table = np.array(counts, np.float64)
        if (table[0] > 100).all():
            expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
            fits(table.ravel(), expected.ravel(), "original goals and new ones, from first to last")
        elif table[0].min() <= 100:
            raise Unfit(f"of 1500 examples {table[0].astype(int).tolist()} have old and new goals")

    case(f"H4 {strategy}", f"relabelling never changes what is stored: {strategy}", strategy)(check)


for _strategy in STRATEGIES:
    _untouched(_strategy)
