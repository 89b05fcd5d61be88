"""R: what is kept where, under which key, and whose arrays are whose."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import (
    fits,
    has_true_successor,
    inspect,
    stays_apart,
    sums_to_the_end,
)
from recollect.conformance.world import Stage, Unfit, code, observation, place_of


@case("R1", "more than fits in one call: the newest are kept in order, or it is refused", "bulk")
def more_than_fits(make: Make) -> None:
    stage = make(Settings(capacity=20, batch=20))
    _many(stage, 0, 7)
    try:
        _many(stage, 7, 50)
    except Exception as error:
        steps = sorted(set(stage.drawn(1000)[:, 2].tolist()))
        if steps == list(range(7)):
            return  # refused, and nothing was changed
        raise Unfit(f"50 steps for 20 rows raise {type(error).__name__}, but change it") from error
    newest = 56
    steps = sorted(set(stage.drawn(1000)[:, 2].tolist()))
    if steps != list(range(steps[0], newest + 1)) or not 15 <= len(steps) <= 20:
        raise Unfit(f"of steps 0 to {newest} in 20 rows, it holds {steps}")
    inspect(stage, has_true_successor)


def _many(stage: Stage, first: int, count: int) -> None:
    places = [(0, 0, first + k) for k in range(count)]
    stage.adapter.add_many(stage.world.steps(places, [""] * count), 0)
    for place in places:
        stage.world.append(place, "")


@case("R2", "a priority update for an overwritten row changes no other row", "proportional")
def late_updates(make: Make) -> None:
    capacity = 16
    stage = make(Settings(capacity=capacity, sampler="proportional", batch=16))
    _steps(stage, 0, capacity)
    old = stage.keys_of([(0, 0, step) for step in (3, 6, 11)])
    _steps(stage, capacity, 3 * capacity)
    live = stage.adapter.update(np.array(old), np.full(3, 50.0))
    if live:
        raise Unfit(f"{live} keys of overwritten rows were said to be live")
    counts = np.bincount(stage.drawn(8000)[:, 2])
    held = np.flatnonzero(counts)
    if len(held) < capacity - 2:
        raise Unfit(f"only {len(held)} of {capacity} rows are drawn")
    fits(counts[held], np.ones(len(held)), "after updates of overwritten rows, of equal rows")


def _steps(stage: Stage, first: int, stop: int) -> None:
    for step in range(first, stop):
        stage.add([(0, 0, step)], [""])


@case("R3", "keys are unique and stay valid when the ring has gone round", "stable keys")
def keys_are_never_used_again(make: Make) -> None:
    stage = make(Settings(capacity=12, batch=32))
    stage.play(" ".join(["4T 3U 1T"] * 8))
    keys = stage.world.keys
    if len(set(keys)) < len(keys):
        raise Unfit(f"{len(keys)} steps have only {len(set(keys))} different keys")
    numbers = [code(*place) for place in stage.world.places]
    of_key = dict(zip(keys, map(int, numbers), strict=True))
    drawn = stage.draw(256)
    for key, place in zip(drawn["key"], place_of(drawn["obs"]), strict=True):
        if of_key.get(int(key)) != int(code(*place)):
            raise Unfit(f"step {place.tolist()} is drawn under a key that add gave for another")


@case("R4", "what add was given is copied", "transitions")
def arrays_are_copied_in(make: Make) -> None:
    stage = make(Settings())
    shared = stage.world.steps([(0, 0, 0)], [""])
    for step in range(9):
        fresh = stage.world.steps([(0, 0, step)], ["T" if step == 8 else ""])
        for name, value in fresh.items():
            shared[name][...] = value
        stage.adapter.add(shared, [0])
        stage.world.append((0, 0, step), "T" if step == 8 else "")
    stage.adapter.end([0])
    for name in ("obs", "next_obs", "action", "reward"):
        shared[name][...] = 77
    inspect(stage, has_true_successor, sums_to_the_end)
    if len({step for _, _, step in stage.drawn(400).tolist()}) < 9:
        raise Unfit("steps that were added from the same arrays are all the same")


@case("R5", "what sample gave is the caller's: later calls never change it", "transitions")
def arrays_are_given_away(make: Make) -> None:
    stage = make(Settings(capacity=16, batch=16, sampler="uniform"))
    _given_away(stage)


@case("R5.prioritized", "so are keys and weights of prioritized batches", "proportional")
def prioritized_arrays_are_given_away(make: Make) -> None:
    stage = make(Settings(capacity=16, batch=16, sampler="proportional", beta=0.5))
    _given_away(stage)


def _given_away(stage: Stage) -> None:
    _steps(stage, 0, 16)
    prioritized = stage.settings.sampler == "proportional"
    if prioritized:
        stage.adapter.update(np.array(stage.adapter.sample(16)["key"]), np.arange(1.0, 17.0))
    batch = stage.adapter.sample(16)
    before = {name: np.array(value) for name, value in batch.items()}
    for turn in range(1, 4):
        later = stage.adapter.sample(16)
        if prioritized:
            stage.adapter.update(np.array(later["key"]), np.arange(1.0, 17.0) ** turn)
        _steps(stage, 16 * turn, 16 * turn + 8)
        stage.adapter.sample(16)
    for name, value in batch.items():
        if not np.array_equal(np.asarray(value), before[name]):
            raise Unfit(f"{name} of a batch changed when more was added and drawn")


@case("R6.shape", "a wrong shape raises, and nothing is stored", "transitions")
def wrong_shapes(make: Make) -> None:
    wrong = {
        "one number for three": np.full((1, 1), 33, np.float32),
        "four numbers for three": np.full((1, 4), 33, np.float32),
        "two observations for one": np.full((1, 2, 3), 33, np.float32),
    }
    for what, obs in wrong.items():
        stage = make(Settings())
        _refuses(stage, {"obs": obs, "next_obs": obs}, f"{what} in obs")


@case("R6.dtype", "an unsafe dtype raises, and nothing is stored", "dtypes")
def unsafe_dtypes(make: Make) -> None:
    obs = observation("bytes", [0], [9], [9]).astype(np.float64) + 0.5
    obs[0, 3] = 300.7
    stage = make(Settings(obs="bytes"))
    _refuses(stage, {"obs": obs, "next_obs": obs}, "real numbers up to 300.7 for uint8")


def _refuses(stage: Stage, wrong: dict[str, Any], what: str) -> None:
    stage.play("3T 2T")
    steps = stage.world.steps([(0, 9, 9)], [""]) | wrong
    try:
        stage.adapter.add(steps, [0])
    except Exception:
        pass
    else:
        raise Unfit(f"{what} is stored without an error")
    stage.play("3T", first=2)
    known = {tuple(place) for place in stage.world.places}
    for place in stage.drawn(300).tolist():
        if tuple(place) not in known:
            raise Unfit(f"{what} raises, but something is stored all the same")
    inspect(stage, has_true_successor)


@case("R7", "dtypes and values come back exactly as stored", "dtypes")
def integers_stay_integers(make: Make) -> None:
    stage = make(Settings(obs="bytes"))
    stage.play("5T 7T 4T")
    drawn = stage.draw(128)
    for name, later in (("obs", 0), ("next_obs", 1)):
        got = np.asarray(drawn[name])
        if got.dtype != np.uint8:
            raise Unfit(f"{name} was stored as uint8 and comes back as {got.dtype}")
        stream, episode, step = np.moveaxis(place_of(drawn["obs"]), -1, 0)
        expected = observation("bytes", stream, episode, step + later)
        open_ended = np.asarray(drawn["terminated"], bool).ravel() & bool(later)
        if not np.array_equal(got[~open_ended], expected[~open_ended]):
            raise Unfit(f"{name} comes back with other values than it was stored with")


@case("R8", "the cost of a sample does not depend on the size of the memory", "transitions")
def cost_by_capacity(make: Make) -> None:
    """Best of many, since only that tells of the work and not of the machine; a cost that is linear
    in capacity grows 32 times."""
    times = []
    for capacity in (256, 256 * 32):
        stage = make(Settings(capacity=capacity, batch=64))
        steps = stage.world.steps([(0, 0, 1)], [""])
        last = stage.world.steps([(0, 0, 1)], ["T"])
        if "bulk" in stage.adapter.offers:
            places = [(0, 0, 1)] * 256
            many = stage.world.steps(places, [""] * 255 + ["T"])
            for _ in range(capacity // 256):
                stage.adapter.add_many(many, 0)
                stage.adapter.end([0])
        else:
            for row in range(capacity):
                ended = row % 32 == 31
                stage.adapter.add(last if ended else steps, [0])
                if ended:
                    stage.adapter.end([0])
        best = float("inf")
        for _ in range(40):
            start = time.perf_counter()
            stage.adapter.sample(64)
            best = min(best, time.perf_counter() - start)
        times.append(best)
    if times[1] > 8 * times[0]:
        small, large = (1e6 * t for t in times)
        raise Unfit(f"64 of 256 rows take {small:.0f} us, of 32 times as many {large:.0f} us")


@case("R9", "streams are drawn in proportion to their rows", "ragged streams", "truncation")
def streams_in_proportion(make: Make) -> None:
    stage = make(Settings(streams=3, capacity=360))
    stage.play("5T 3U 4T", "9T 8U 7T 8T 9T 7U 8T 9T", "3T")
    counts = np.bincount(stage.drawn(20_000)[:, 0], minlength=3)
    fits(counts, np.array([12, 65, 3]), "by stream")
    inspect(stage, stays_apart)
