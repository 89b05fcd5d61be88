"""What the disk costs us: saving a memory, loading it, and keeping it in a directory.

`python -m benchmarks.disk SMALL LARGE` is a process that loads two snapshots, and prints how much
RAM it took for the large one at most, beside the bytes of the memory that it got.
"""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.libraries import OURS
from benchmarks.results import Table
from benchmarks.saved import remove, settled
from benchmarks.timing import FEW_TURNS, TURNS, Timing, interleaved, spread, timed

ROWS = 283_000
"""Frames of two gigabytes."""
FEW = 1_000
VECTORS, FRAMES, ADDED = 1_000_000, 100_000, 20_000

SAVE, AGAIN = "save", "save again, after 1 % has changed"
COPY, COPY_SYNCED = "cp", "cp, until the copy is on the disk"
LOADED = "open a snapshot"
IN_RAM, IN_DIRECTORY = "Ram", "Directory"
UNIFORM, STACKS = "256 uniform transitions of 1 M", "32 transitions of four stacked frames"
ADD, ADD_FRAME = "add one step", "add one frame"

ROOT = Path(__file__).parent.parent
STATUS = Path("/proc/self/status")


def saving(scale: float = 1.0, turns: int = TURNS, *, folder: Path) -> Table:
    """Saving two gigabytes of frames, and copying the files with `cp`.

    Args:
        folder: on the disk that is meant; it is left as it was found.
    """
    memory, frames = _stored(max(int(ROWS * scale), FEW))
    changed = max(len(memory) // 100, 1)
    source, target = folder / "source", folder / "target"
    memory.save(source)

    def copy_to(path: Path) -> None:
        subprocess.run(["cp", "-r", source, path], check=True)

    calls: list[tuple[str, Callable[[], object]]] = [
        (SAVE, lambda: memory.save(target)),
        (COPY, lambda: copy_to(target)),
        (COPY_SYNCED, lambda: settled(copy_to, target)),
    ]
    taken: dict[str, list[float]] = {name: [] for name in (SAVE, AGAIN, COPY, COPY_SYNCED)}
    for turn in range(min(turns, FEW_TURNS) + 1):
        gc.collect()
        for name, call in calls:
            seconds = _alone(call)
            if name == SAVE:
                _extend(memory, frames, changed)
                again = _alone(lambda: memory.save(target))
            remove(target)
            if turn > 0:  # the first one warms up
                taken[name].append(seconds)
        if turn > 0:
            taken[AGAIN].append(again)
        # what comes first gets pages that the system has to find
        calls.append(calls.pop(0))
    remove(source)
    memory.close()
    times = {name: spread(values) for name, values in taken.items()}
    return Table("saving", "saving 2 GB of frames, beside `cp`", times, "seconds", "what is done")


def loading(scale: float = 1.0, turns: int = 1, *, folder: Path) -> Table:
    """Measured once, in a process of its own: it does not vary."""
    title = "RAM that loading 2 GB of frames takes at most, for each byte of the memory"
    table = Table("loading", title, {}, "bytes", "what is done")
    if not STATUS.exists():
        table.missing[LOADED] = f"needs {STATUS}"
        return table
    paths = folder / "small", folder / "large"
    for path, rows in zip(paths, (FEW, max(int(ROWS * scale), FEW)), strict=True):
        memory, _ = _stored(rows)
        memory.save(path)
        memory.close()
    del memory
    gc.collect()
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.disk", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"loading: {done.stderr}")
    for path in paths:
        remove(path)
    ratio = float(done.stdout.split()[-1])
    table.times[LOADED] = Timing(ratio, ratio, ratio)
    return table


def directory(scale: float = 1.0, turns: int = TURNS, *, folder: Path) -> Table:
    """Sampling and adding in a directory whose pages the system holds, and in RAM."""
    ours, rc = _modules()
    vectors, frames, few = (max(int(n * scale), FEW) for n in (VECTORS, FRAMES, ADDED))
    step, frame = ours.repeated_step(), ours.repeated_frame()
    calls: dict[str, Callable[[], object]] = {}
    with ExitStack() as opened:

        def store(place: str, name: str) -> Any:
            return rc.Ram() if place == IN_RAM else rc.Directory(folder / name)

        def kept(memory: Any) -> Any:
            memory.flush()
            return opened.enter_context(memory)

        for place in (IN_RAM, IN_DIRECTORY):
            drawn = kept(ours.filled(vectors, store=store(place, "vectors")))
            grown = kept(ours.filled(vectors, store=store(place, "more-vectors")))
            stacks = kept(_stored(frames, store=store(place, "frames"))[0])
            images = kept(_stored(few, store=store(place, "more-frames"))[0])
            calls |= {
                f"{UNIFORM}, {place}": partial(drawn.sample, 256),
                f"{STACKS}, {place}": partial(stacks.sample, 32),
                f"{ADD}, {place}": partial(grown.add, **step),
                f"{ADD_FRAME}, {place}": partial(images.add, **frame),
            }
        times = interleaved(dict(sorted(calls.items())), turns)
    for path in folder.iterdir():
        remove(path)
    title = "a directory whose pages are cached, beside RAM"
    return Table("directory", title, times, column="what is done")


def peak(small: str, large: str) -> float:
    """How many bytes of RAM it takes at most to load the large snapshot, for each of its own."""
    rc = importlib.import_module("recollect")
    rc.open(small).close()
    before = _status("VmRSS")
    memory = rc.open(large)
    return float((_status("VmHWM") - before) / memory.stats()["bytes"])


def _alone(call: Callable[[], object]) -> float:
    """Seconds, from when nothing else waits to be written."""
    os.sync()
    return timed(call)


def _stored(rows: int, **settings: Any) -> tuple[Any, Any]:
    """A memory of frames, and the frames of one episode."""
    ours, _ = _modules()
    frames = data.frames(data.EPISODE)
    return ours.stored_frames(rows, [frames], **settings), frames


def _extend(memory: Any, frames: Any, steps: int) -> None:
    ours, _ = _modules()
    for episode in data.played(steps, [frames]):
        ours.extend_frames(memory, episode)


def _status(name: str) -> int:
    """Bytes, of this process."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no line {name} in {STATUS}")


def _modules() -> tuple[Any, Any]:
    """Our driver and our library."""
    return (
        importlib.import_module(f"benchmarks.libraries.{OURS}"),
        importlib.import_module("recollect"),
    )


if __name__ == "__main__":
    print(peak(sys.argv[1], sys.argv[2]))
