"""B: where episodes end, and where the ring does. Transitions, stacks and recorded environments;
windows of several steps are in `windows`."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import (
    bootstraps_from_final,
    has_true_successor,
    inspect,
    masks_termination_alone,
    starts,
    stays_apart,
    sums_to_the_end,
    windows,
)
from recollect.conformance.world import Stage, Unfit, World, place_of

TERMINATED = "3T 1T 4T 2T 5T 1T 1T 3T"
ENDED = "3T 2U 5T 1T 1U 4U 3T 2B"
SIDE_BY_SIDE = ("3T 2U 5T 1U 4T 2.", "1U 4T 4U 2T 5U 1.", "6U 1T 1T 3U 2T 4.")


@case("B1.streams", "no example mixes two streams", "transitions", "streams", "truncation")
def streams_stay_apart(make: Make) -> None:
    stage = make(Settings(capacity=120, streams=3))
    stage.play(*SIDE_BY_SIDE)
    inspect(stage, stays_apart, has_true_successor)


@case(
    "B2.transitions", "newest row has its true successor, at every turn of the ring", "transitions"
)
def the_seam_of_the_ring(make: Make) -> None:
    stage = make(Settings(capacity=7, batch=32))
    _around_the_ring(stage, 7, 3)


def _around_the_ring(stage: Stage, capacity: int, turns: int) -> None:
    """One endless episode, looked at after each step."""
    for step in range(turns * capacity + 2):
        stage.add([(0, 0, step)], [""])
        if step >= capacity // 2:
            for each in windows(stage, stage.draw(32)):
                has_true_successor(each)
                if each.place[2] <= step - capacity:
                    raise Unfit(f"after {step + 1} steps, {each} is drawn from {capacity} rows")


@case("B3.transitions", "at a truncation, next_obs is the final observation", "truncation")
def final_observations(make: Make) -> None:
    stage = make(Settings())
    stage.play(ENDED)
    inspect(stage, bootstraps_from_final)


@case("B4.transitions", "termination masks, and nothing else does", "transitions")
def termination_masks(make: Make) -> None:
    stage = make(Settings())
    stage.play(TERMINATED)
    inspect(stage, masks_termination_alone)


@case("B4.truncation", "truncation never masks", "truncation")
def truncation_does_not_mask(make: Make) -> None:
    stage = make(Settings())
    stage.play(ENDED)
    inspect(stage, masks_termination_alone)


@case(
    "B5.transitions", "an episode of T steps gives T rows, each with its own reward", "transitions"
)
def each_step_is_a_row(make: Make) -> None:
    stage = make(Settings())
    stage.play(TERMINATED)
    starts(stage, stage.world.places)
    inspect(stage, sums_to_the_end)


@case("B8.start", "a stack at an episode's start repeats its first observation", "stack")
def stacks_at_starts(make: Make) -> None:
    stage = make(Settings(stack=3))
    stage.play("6T 2T 5T 1T 4T")
    _stacks(stage, lambda step: [max(0, step - 2), max(0, step - 1), step])


@case("B8.next", "so does the stack of next observations", "stack")
def stacks_of_next(make: Make) -> None:
    stage = make(Settings(stack=3))
    stage.play("6T 2T 5T 1T 4T")
    for start, end in _pairs(stage):
        stream, episode, step = start[-1]
        known = stage.world.at((stream, episode, step))
        if known is None or step == known.length - 1:
            continue  # what follows a termination has no value, so nobody looks at it
        expected = [max(0, step + k) for k in (-1, 0, 1)]
        if [place[2] for place in end] != expected or {tuple(p[:2]) for p in end} != {(0, episode)}:
            raise Unfit(
                f"after step {step} of an episode, next_obs stacks steps "
                f"{[place[2] for place in end]}, expected {expected}"
            )


@case("B3.stack", "at a truncation, stacked next_obs ends with the final observation", "stack")
def stacks_at_truncations(make: Make) -> None:
    stage = make(Settings(stack=3))
    stage.play("6U 2T 5U 4T 7U 3T")
    inspect(stage, bootstraps_from_final)


@case("B8.ring", "a stack never reaches into overwritten rows or another episode", "stack")
def stacks_in_the_ring(make: Make) -> None:
    stage = make(Settings(stack=3, capacity=12))
    stage.play("9T 3T 6T 4T 11T")
    held = {(e, t) for _, e, t in stage.world.places[-12:]}
    for start, _ in _pairs(stage):
        episode, step = start[-1][1:]
        shown = [(place[1], place[2]) for place in start]
        if shown == [(episode, max(0, step - back)) for back in (2, 1, 0)]:
            continue
        # where history is lost its oldest step that is left may stand in for it
        steps = [place[2] for place in start]
        fine = all(b - a in (0, 1) for a, b in pairwise(steps))
        if not fine or not held.issuperset(shown):
            raise Unfit(f"step {step} of episode {episode} is stacked of (episode, step) {shown}")


def _pairs(stage: Stage) -> Any:
    """(3, 3) places each of obs and next_obs."""
    drawn = stage.draw(512)
    return zip(place_of(drawn["obs"]).tolist(), place_of(drawn["next_obs"]).tolist(), strict=True)


def _stacks(stage: Stage, expected: Any) -> None:
    for start, _ in _pairs(stage):
        stream, episode, step = start[-1]
        if stage.world.at((stream, episode, step)) is None:
            raise Unfit("drew a stack whose newest observation was never added")
        steps = [place[2] for place in start]
        if steps != expected(step) or {tuple(place[:2]) for place in start} != {(0, episode)}:
            places = [tuple(place[1:]) for place in start]
            raise Unfit(
                f"step {step} of episode {episode} is stacked of (episode, step) {places}, "
                f"expected steps {expected(step)}"
            )


@case("B9", "a reset that nobody told of closes the episode, and is counted", "chain check")
def broken_chains(make: Make) -> None:
    stage = make(Settings(n=3))
    stage.play("3T 5X 2U 4X 6T")
    inspect(stage, stays_apart, bootstraps_from_final, sums_to_the_end)
    if stage.adapter.breaks() != 2:
        raise Unfit(f"two chains were broken, {stage.adapter.breaks()} counted")


@case("B10", "all of Gymnasium's autoreset modes are recorded alike", "recorder")
def autoreset_modes(make: Make) -> None:
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    from recollect.conformance.environment import LENGTHS, Counting

    for mode in AutoresetMode:
        stage = make(Settings(streams=2, capacity=400))
        env: Any = SyncVectorEnv([partial(Counting, k) for k in range(2)], autoreset_mode=mode)
        env = stage.adapter.record(env)
        env.reset()
        for _ in range(60):
            _, _, terminated, truncated, _ = env.step(np.zeros((2, 1), np.float32))
            done = np.logical_or(terminated, truncated)
            if mode is AutoresetMode.DISABLED and done.any():
                env.reset(options={"reset_mask": done})
        _remember(stage.world, LENGTHS)
        drawn = stage.draw(1024)
        for each in windows(stage, drawn):
            for rule in (stays_apart, bootstraps_from_final, masks_termination_alone):
                rule(each)
            sums_to_the_end(each)
        env.close()


@case("B10.unknown", "a mode that is none of these is refused", "recorder")
def unknown_modes(make: Make) -> None:
    from gymnasium.vector import SyncVectorEnv

    from recollect.conformance.environment import Counting

    stage = make(Settings(streams=2, capacity=400))
    env: Any = SyncVectorEnv([partial(Counting, k) for k in range(2)])
    env.metadata = env.metadata | {"autoreset_mode": "now and then"}
    try:
        recorded = stage.adapter.record(env)
        recorded.reset()
        recorded.step(np.zeros((2, 1), np.float32))
    except Exception:
        return
    finally:
        env.close()
    raise Unfit("an environment that resets in an unknown way is recorded without an error")


def _remember(world: World, lengths: Any) -> None:
    """What the counting environments do, whatever the mode."""
    for stream in range(2):
        for episode in range(60):
            length = int(lengths[episode % len(lengths)])
            end = "TU"[(stream + episode) % 2]
            for step in range(length):
                world.append((stream, episode, step), end if step == length - 1 else "")
