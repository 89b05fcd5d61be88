"""P: which examples are held, where not simply the newest are."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import fits
from recollect.conformance.world import Stage, Unfit

ROOM, ARRIVALS, MEMORIES = 12, 48, 80


@case("P9", "reservoir: every arrival has the same chance to be held", "reservoir")
def reservoir(make: Make) -> None:
    _reservoirs(make, saved=False)


@case("P9.save", "also when it was saved and loaded in mid-stream", "reservoir", "save")
def saved_reservoir(make: Make) -> None:
    _reservoirs(make, saved=True)


def _reservoirs(make: Make, saved: bool) -> None:
    held = np.zeros(ARRIVALS, np.int64)
    for seed in range(MEMORIES):
        stage = make(Settings(capacity=ROOM, retention="reservoir", seed=seed))
        stage.play(" ".join(["1T"] * (ARRIVALS // 2)))
        if saved:
            with TemporaryDirectory() as folder:
                stage.adapter.save(Path(folder) / "memory")
                stage.adapter.close()
                stage.adapter.load(Path(folder) / "memory", stage.settings)
        stage.play(" ".join(["1T"] * (ARRIVALS // 2)), first=ARRIVALS // 2)
        episodes = _held(stage)
        if len(episodes) != ROOM:
            raise Unfit(f"a reservoir of {ROOM} holds {len(episodes)} different examples")
        held[episodes] += 1
        stage.adapter.close()
    fits(held, np.ones(ARRIVALS), f"held by {MEMORIES} reservoirs")


def _held(stage: Stage) -> list[int]:
    return sorted(set(stage.drawn(ROOM * 40)[:, 1].tolist()))


@case("P10", "balanced retention: a new class gets its share, and none is emptied", "balanced")
def balanced(make: Make) -> None:
    stage = make(Settings(capacity=ROOM, retention="balanced"))
    shares = []
    for first in (0, 40, 80):
        stage.play(" ".join(["1T"] * 40), first=first)
        held = np.array(_held(stage))
        classes = np.where(held < 80, held % 2, 2)
        shares.append(np.bincount(classes, minlength=3).tolist())
    if shares != [[6, 6, 0], [6, 6, 0], [4, 4, 4]]:
        raise Unfit(f"of {ROOM} examples, by class: {shares}; expected 6, 6 and in the end 4 each")


@case("C3", "image pool: one swapped out is on average two pool sizes old", "pool")
def image_pool(make: Make) -> None:
    """A full pool hands out each image with chance 1 / (2 size) a query: that is 2 size queries on
    average (Shrivastava et al. 2017, section 2.3; Zhu et al. 2017)."""
    size = 50
    stage = make(Settings(capacity=size, retention="pool"))
    ages, same, count = 0.0, 0, 0
    for query in range(20_000):
        out = int(stage.adapter.swap(np.array([query]))[0])
        if query >= 1000:
            same += out == query
            ages += query - out
            count += out != query
    if not 0.45 < same / 19_000 < 0.55:
        raise Unfit(f"{same} of 19000 images are handed straight back, not one half")
    if not 0.9 * 2 * size < ages / count < 1.1 * 2 * size:
        raise Unfit(f"an image swapped out is {ages / count:.0f} queries old, expected {2 * size}")
