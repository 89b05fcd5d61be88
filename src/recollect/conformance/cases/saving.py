"""S: saving and loading: S1, S2, S6 and S7, and R3 across both."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Adapter, Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import fits, has_true_successor, inspect, starts
from recollect.conformance.processes import run_child, watched
from recollect.conformance.world import Stage, Unfit, parse

LEAST_FILE = 1024
"""Bytes of a file that can still be written while the disk is full."""


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="conformance-") as name:
        yield Path(name) / "memory"


def _loaded(make: Make, stage: Stage, path: Path) -> Stage:
    """A second stage that holds what was saved there, and knows what was played."""
    other = make(stage.settings)
    other.world = stage.world
    other.adapter.close()
    other.adapter.load(path, stage.settings)
    return other


@case("S1.rows", "after loading, all rows are there, and it goes on where it was", "save")
def rows_come_back(make: Make) -> None:
    stage = make(Settings(capacity=40, batch=40))
    stage.play("4T 6T 9T 1T 5T 8T 3T 7.")
    held = {tuple(place) for place in stage.drawn(2000).tolist()}
    with _folder() as path:
        stage.adapter.save(path)
        other = _loaded(make, stage, path)
        starts(other, held)
        inspect(other, has_true_successor)
        for step in range(7, 12):
            other.add([(0, 7, step)], [""])
        newest = set(other.world.places[-5:])
        after = {tuple(place) for place in other.drawn(2000).tolist()}
        if not newest <= after or len(after) < len(held) - 2:
            raise Unfit("what is added after loading does not take the place of the oldest rows")
        gone = sorted(held - after)
        if gone != sorted(held)[: len(gone)]:
            raise Unfit(f"after loading, new rows take the place of {gone[:3]}, not of the oldest")
        inspect(other, has_true_successor)
        other.adapter.close()


@case("S1.n-step", "an episode that was open when saved goes on", "save", "n-step")
def open_episodes_go_on(make: Make) -> None:
    stage = make(Settings(n=3))
    stage.play("4T 3.")
    with _folder() as path:
        stage.adapter.save(path)
        other = _loaded(make, stage, path)
        for step in range(3, 9):
            other.add([(0, 1, step)], ["T" if step == 8 else ""])
        ended = list(other.world.places)
        other.play("4.", first=2)
        starts(other, ended, other.world.places[-4:])
        inspect(other, has_true_successor)
        other.adapter.close()


@case(
    "S1.priorities",
    "priorities come back, and the largest for new rows",
    *("save", "save priorities", "proportional"),
)
def priorities_come_back(make: Make) -> None:
    settings = Settings(capacity=40, sampler="proportional", batch=32)
    stage = make(settings)
    stage.play(" ".join(["1T"] * 12))
    priorities = np.linspace(2, 9, 12)
    stage.prioritize([(0, k, 0) for k in range(12)], priorities.tolist())
    with _folder() as path:
        stage.adapter.save(path)
        other = _loaded(make, stage, path)
        fits(_by_episode(other, 12), priorities, "after loading, draws")
        if "largest priority" in other.adapter.offers:
            other.play("1T 1T", first=12)
            entered = np.append(priorities, [9.0, 9.0])
            fits(_by_episode(other, 14), entered, "rows added after loading, beside others")
        other.adapter.close()


def _by_episode(stage: Stage, episodes: int) -> NDArray[np.int64]:
    counts = np.bincount(stage.drawn(16_000)[:, 1], minlength=episodes)
    if len(counts) > episodes:
        raise Unfit(f"episode {len(counts) - 1} is drawn, which was never added")
    return counts


@case(
    "S1.draws", "after loading, the next batches are those the saved memory draws", "save generator"
)
def draws_go_on(make: Make) -> None:
    samplers = ["uniform"] + ["proportional"] * ("proportional" in make(Settings()).adapter.offers)
    for sampler in samplers:
        stage = make(Settings(sampler=sampler, batch=32, seed=3))  # type: ignore[arg-type]
        stage.play("4T 6T 9T 1T 5T 8T")
        if sampler == "proportional":
            stage.prioritize([(0, 1, 0), (0, 2, 0)], [3.0, 7.0])
        stage.adapter.sample(32)
        with _folder() as path:
            stage.adapter.save(path)
            other = _loaded(make, stage, path)
            for turn in range(6):
                here, there = (s.adapter.sample(32) for s in (stage, other))
                if not np.array_equal(here["obs"], there["obs"]):
                    raise Unfit(f"batch {turn} after loading differs, drawn {sampler}")
                for each in (stage, other):
                    each.add([(0, 6, turn)], [""])
            other.adapter.close()


@case("R3.save", "keys are unique and stay valid across saving and loading", "stable keys", "save")
def keys_survive(make: Make) -> None:
    settings = Settings(capacity=24, sampler="proportional", batch=16)
    stage = make(settings)
    stage.play("4T 6T 5T")
    with _folder() as path:
        stage.adapter.save(path)
        other = _loaded(make, stage, path)
        before = list(stage.world.keys)
        live = other.adapter.update(np.array(before), np.where(np.arange(15) == 7, 50.0, 1.0))
        if live is not None and live != 15:
            raise Unfit(f"of 15 keys given before saving, {live} are live after loading")
        counts = np.zeros(15)
        for place in other.drawn(8000).tolist():
            counts[other.world.places.index(tuple(place))] += 1
        expected = np.where(np.arange(15) == 7, 50.0, 1.0)
        fits(counts, expected, "after an update by keys from before saving")
        other.play("6T 5T 3T", first=3)
        fresh = other.world.keys[len(before) :]
        if set(fresh) & set(before):
            raise Unfit("a key from before saving is given again after loading")
        other.adapter.close()


BEFORE = "4T 6T 9T"
BEYOND = " ".join(["20T"] * 40)


@case("S2", "a save that was interrupted leaves the previous one readable", "save")
def interrupted_saves(make: Make) -> None:
    """By a disk that is full: no file may grow beyond a kilobyte. In a process of its own, since
    compiled libraries may not be in their senses after that."""
    with TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        stage = make(Settings(capacity=1200))
        for script, first in ((BEFORE, 0), (BEYOND, 3)):
            for episode, step, end in parse(script):
                stage.world.append((0, first + episode, step), end)
        said = run_child("save", stage.adapter, folder)
        if said not in ("raised", "saved"):
            raise Unfit(f"the process that was saving broke down: {said or 'without a word'}")
        try:
            other = _loaded(make, stage, folder / "memory")
            seen = {tuple(place) for place in other.drawn(2000).tolist()}
        except Exception as error:
            raise Unfit(
                f"after a save onto a full disk nothing can be loaded any more: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            ) from error
        if said == "raised" and seen != set(stage.world.places[: len(list(parse(BEFORE)))]):
            raise Unfit("after a save onto a full disk, what is loaded is not what was saved")
        if said == "saved" and len(seen) < 500:
            raise Unfit("a save onto a full disk raised nothing, and is not whole")
        other.adapter.close()


def save_onto_full_disk(adapter: Adapter, folder: Path) -> str:
    """Saves to memory in this folder, and again when no file may grow any more."""
    import resource

    stage = Stage(adapter, Settings(capacity=1200, path=folder / "work"))
    stage.play(BEFORE)
    stage.adapter.save(folder / "memory")
    stage.play(BEYOND, first=3)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (LEAST_FILE, hard))
    try:
        stage.adapter.save(folder / "memory")
    except Exception:
        return "raised"
    return "saved"


@case("S6", "loading takes no second copy of the data", "save")
def loading_takes_no_second_copy(make: Make) -> None:
    """By how much more it takes to load twice as many rows, since some room is always taken. In
    processes of their own, since this one may give back or take at any moment what is no part of
    that."""
    peaks, sizes = [], []
    for rows in (8500, 17_000):  # 35 and 70 MB: so much is given back to the system when freed
        stage = make(_many(rows))
        _fill(stage, rows)
        with _folder() as path:
            stage.adapter.save(path)
            stage.adapter.close()
            tries = json.loads(run_child(f"load {rows}", stage.adapter, path) or "[]")
        del stage
        if not tries:
            raise Unfit("the process that was loading broke down")
        peaks.append([peak - before for before, peak, _ in tries])
        sizes.append(max(rows * 4096, *(after - before for before, _, after in tries)))
    # a peak may be missed by whoever watches: then in favour of the library
    more, data = min(peaks[1]) - max(peaks[0]), sizes[1] - sizes[0]
    if more > 1.5 * data:
        raise Unfit(
            f"to load {data / 2**20:.0f} MiB more takes {more / 2**20:.0f} MiB more at its peak"
        )


def load_again(adapter: Adapter, path: Path, rows: int) -> list[list[int]]:
    """Loads so many rows from this path; twice, what that took: before, at its peak, and after."""
    tries = []
    for _ in range(3):
        other = type(adapter)()
        with watched() as taken:
            other.load(path, _many(rows))
            other.sample(64)
        tries.append(taken)
        other.close()
        del other
        gc.collect()
    # what is imported or compiled at first is no part of the data
    return tries[1:]


def _many(rows: int) -> Settings:
    return Settings(capacity=rows + 50, obs="frames")


def _fill(stage: Stage, rows: int) -> None:
    """So many frames, in episodes of 60 steps that do not end."""
    for row in range(0, rows, 60):
        places = [(0, row // 60 % 200, step) for step in range(min(60, rows - row))]
        if "bulk" in stage.adapter.offers:
            stage.adapter.add_many(stage.world.steps(places, [""] * len(places)), 0)
        else:
            for place in places:
                stage.adapter.add(stage.world.steps([place], [""]), [0])


@case("S7.cut", "a file cut short is refused", "save")
def files_cut_short(make: Make) -> None:
    def cut(file: Path) -> None:
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)

    _damaged(make, cut, "cut to half its length")


@case("S7.damaged", "a damaged file is refused", "checked files")
def damaged_files(make: Make) -> None:
    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        for index in range(len(content) // 3, len(content) // 3 + 40):
            content[index % len(content)] ^= 0xFF
        file.write_bytes(content)

    _damaged(make, damage, "overwritten in its middle")


def _damaged(make: Make, change: object, how: str) -> None:
    stage = make(Settings(capacity=600))
    stage.play(" ".join(["20T"] * 25))
    assert callable(change)
    with _folder() as path:
        stage.adapter.save(path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        if not files:  # it was saved under a longer name
            files = [file for file in path.parent.rglob("*") if file.is_file()]
        change(max(files, key=lambda file: file.stat().st_size))
        other = type(stage.adapter)()
        try:
            other.load(path, stage.settings)
            other.sample(32)
        except Exception:
            return
        finally:
            other.close()
    raise Unfit(f"the largest file, {how}, is loaded without an error")
