"""Bytes that a step of an Atari game takes, with its share of whatever the library keeps beside it.

Each library fills a memory in a process of its own, and what counts is by how much the memory that
the system gave this process has grown. A small memory is filled first, so that what a library
loads when it is first used does not count.

`python -m benchmarks.footprint LIBRARY FUNCTION EPISODES.npz ROWS` is that process.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.libraries import OURS, opened
from benchmarks.results import Table
from benchmarks.timing import Timing

STORED = 30_000
FEW = 100
COMPRESSED, REVERB = f"{OURS} with codec", "reverb"
ROOT = Path(__file__).parent.parent
REVERB_HOME = ROOT / ".venv-reverb"
"""It needs packages that the others do not get along with; the Makefile installs it there."""
ROLLUP = Path("/proc/self/smaps_rollup")


def bytes_per_step(scale: float = 1.0, turns: int = 1) -> Table:
    """Measured once: it does not vary."""
    offered, missing, remarks = opened("stored_frames")
    rows = max(int(STORED * scale), 1_000)
    processes = {library: (sys.executable, library, "stored_frames") for library in offered}
    if OURS in offered:
        processes[COMPRESSED] = (sys.executable, OURS, "stored_compressed")
        remarks[COMPRESSED] = '`Ram(codec="zstd")`'
    if (REVERB_HOME / "installed").exists():
        processes[REVERB] = (str(REVERB_HOME / "bin" / "python"), REVERB, "stored_frames")
        remarks[REVERB] = "items of five frames; its chunks are compressed"
    else:
        missing[REVERB] = "not installed"
    times: dict[str, Timing] = {}
    try:
        episodes = data.atari(max(int(data.PLAYED * scale), 100))
    except ImportError as error:
        missing |= dict.fromkeys(processes, f"no game to play: {error}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "episodes.npz"
            np.savez(path, *episodes)
            for name, process in processes.items():
                size = measured_apart(*process, path, rows)
                if size is None:
                    missing[name] = f"needs {ROLLUP}"
                else:
                    times[name] = Timing(size, size, size)
    title = "bytes per step of Breakout (84 x 84, four stacked when drawn)"
    return Table("bytes", title, times, unit="bytes", missing=missing, remarks=remarks)


def measured_apart(
    python: str, library: str, function: str, episodes: Path, rows: int
) -> float | None:
    """Bytes a step, measured in a process of its own; None where the system does not tell."""
    if not ROLLUP.exists():
        return None
    command = [python, "-W", "ignore", "-m", "benchmarks.footprint"]
    done = subprocess.run(
        [*command, library, function, str(episodes), str(rows)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"footprint of {library}: {done.stderr}")
    return float(done.stdout.split()[-1])


def main(library: str, function: str, path: str, rows: int) -> float:
    """Bytes a step that this process needed for a memory of so many steps."""
    stored_frames = getattr(importlib.import_module(f"benchmarks.libraries.{library}"), function)
    with np.load(path) as stored:
        episodes = [stored[name] for name in stored.files]
    stored_frames(FEW, episodes)
    before = _taken()
    memory = stored_frames(rows, episodes)
    grown = _taken() - before
    del memory
    return grown / rows


def _taken() -> int:
    """Bytes of this process that no file stands behind."""
    gc.collect()
    for line in ROLLUP.read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no line Anonymous in {ROLLUP}")


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
