"""B: windows of several steps: n-step returns and sequences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from recollect.conformance.adapter import Drawn, Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.cases.boundaries import SIDE_BY_SIDE
from recollect.conformance.judge import (
    bootstraps_from_final,
    discounts_what_it_summed,
    has_true_successor,
    inspect,
    masks_termination_alone,
    starts,
    stays_apart,
    sums_to_the_end,
    windows,
)
from recollect.conformance.world import Stage, Unfit, place_of, reward

ENDED = "3T 2U 5T 1T 1U 4U 3T 6U 2T"
TERMINATED = "3T 5T 1T 4T 2T 6T"


@case("B1.n-step", "no n-step return mixes two episodes", "n-step")
def returns_stay_apart(make: Make) -> None:
    for n in (2, 3, 5):
        stage = make(Settings(n=n))
        stage.play(TERMINATED)
        inspect(stage, stays_apart)


@case("B1.n-step streams", "nor two streams", "n-step", "streams", "truncation")
def returns_of_streams_stay_apart(make: Make) -> None:
    stage = make(Settings(n=3, streams=3, capacity=120))
    stage.play(*SIDE_BY_SIDE)
    inspect(stage, stays_apart)


@case("B2.n-step", "no return runs over the seam of the ring", "n-step")
def returns_at_the_seam(make: Make) -> None:
    capacity = 11
    stage = make(Settings(n=3, capacity=capacity, batch=32))
    for step in range(3 * capacity + 2):
        stage.add([(0, 0, step)], [""])
        if step >= 8:
            for each in windows(stage, stage.draw(32)):
                has_true_successor(each)


@case(
    "B4.n-step",
    "zero exactly if a termination lies in the window, its last step included",
    "n-step",
)
def returns_are_masked(make: Make) -> None:
    for n in (2, 3):
        stage = make(Settings(n=n))
        stage.play(TERMINATED)
        inspect(stage, masks_termination_alone)


@case("B4.n-step truncation", "truncation never masks a return", "n-step", "truncation")
def truncated_returns_are_not_masked(make: Make) -> None:
    stage = make(Settings(n=3))
    stage.play(ENDED)
    inspect(stage, masks_termination_alone)


@case("B5.n-step", "each step starts a return, those of one-step episodes too", "n-step")
def each_step_starts_a_return(make: Make) -> None:
    stage = make(Settings(n=3))
    stage.play(TERMINATED)
    ended = list(stage.world.places)
    stage.play("4.", first=20)  # some need to see what comes next
    starts(stage, ended, stage.world.places[-4:])
    inspect(stage, sums_to_the_end)


@case(
    "B6", "a shortened tail has the final observation and its own discount", "n-step", "truncation"
)
def tails(make: Make) -> None:
    stage = make(Settings(n=3))
    stage.play(ENDED)
    inspect(stage, bootstraps_from_final, discounts_what_it_summed)


@case(
    "B7",
    "truncation ends a window, and nothing of the next episode leaks in",
    "n-step",
    "truncation",
)
def truncation_ends_windows(make: Make) -> None:
    stage = make(Settings(n=3))
    stage.play("4U 3U 1U 1U 5U 2U 6U")
    inspect(stage, stays_apart, sums_to_the_end)


@case("B1.sequence", "no sequence mixes two episodes", "sequence")
def sequences_stay_apart(make: Make) -> None:
    for script in ("7T 5T 4T 9T 6T", "5U 7T 6U 4U 8T 3."):
        stage = make(Settings(length=4))
        stage.play(script)
        _of_one_episode_each(_sequences(stage, stage.draw(256)))


@case("B1.running sequence", "a sequence that runs on marks each beginning", "running sequence")
def beginnings_are_marked(make: Make) -> None:
    stage = make(Settings(length=4, running=True))
    stage.play("3T 2U 5T 1T 4U 3T 2T 6U")
    drawn = stage.draw(256)
    places = place_of(drawn["obs"])
    ends = np.zeros(places.shape[:2], bool)
    for name in ("terminated", "truncated"):
        ends |= np.asarray(drawn.get(name, ends), bool)
    first = np.asarray(drawn.get("first", np.zeros_like(ends)), bool)
    for row, ended, begins in zip(places.tolist(), ends, first, strict=True):
        for k in range(1, len(row)):
            if row[k][1] != row[k - 1][1] and not (ended[k - 1] or begins[k]):
                raise Unfit(
                    f"a sequence goes from episode {row[k - 1][1]} to {row[k][1]} without a mark"
                )
            follows = row[k][2] == row[k - 1][2] + 1 or row[k][2] == 0
            if not follows:
                raise Unfit(f"after step {row[k - 1][1:]} of a sequence comes {row[k][1:]}")


@case("B2.sequence", "no sequence runs over the seam of the ring", "sequence")
def sequences_at_the_seam(make: Make) -> None:
    stage = make(Settings(length=4, capacity=20))
    stage.play(" ".join(["6T"] * 7) + " 3T 6T")
    for turn in range(6):
        stage.play("5T", first=20 + turn)
        _of_one_episode_each(_sequences(stage, stage.draw(128)))


@case("B1.sequence rewards", "each step of a sequence has its own reward", "sequence")
def sequences_have_their_rewards(make: Make) -> None:
    stage = make(Settings(length=4))
    stage.play("7T 5T 4T 9T 6T")
    drawn = stage.draw(128)
    mask = drawn.get("mask", np.ones(np.shape(drawn["reward"])[:2], bool))
    expected = reward(*np.moveaxis(place_of(drawn["obs"]), -1, 0))
    got = np.asarray(drawn["reward"]).reshape(np.shape(mask))
    if not np.array_equal(got[mask.astype(bool)], expected[mask.astype(bool)]):
        raise Unfit("a step of a sequence has the reward of another step")


def _sequences(stage: Stage, drawn: Drawn) -> list[list[list[int]]]:
    """The places of each sequence's valid steps, which follow one another."""
    places = place_of(drawn["obs"])
    mask = np.asarray(drawn.get("mask", np.ones(places.shape[:2])), bool)
    kept = [row[valid].tolist() for row, valid in zip(places, mask, strict=True)]
    for row in kept:
        for before, after in pairwise(row):
            if stage.world.at(after) is None:
                raise Unfit("a sequence has an observation that was never added")
            if before[:2] == after[:2] and after[2] != before[2] + 1:
                raise Unfit(f"in a sequence step {before[2]} is followed by step {after[2]}")
    return kept


def _of_one_episode_each(sequences: list[list[list[int]]]) -> None:
    for places in sequences:
        episodes = {(place[0], place[1]) for place in places}
        if len(episodes) > 1:
            raise Unfit(f"a sequence has steps of episodes {sorted(e for _, e in episodes)}")
