"""`python -m benchmarks`: measures, and writes docs/benchmarks.md, its pictures and its JSON.

With `--only` some of it is measured and printed, and nothing is written unless `--json` says where.
What is put on the disk is removed again. Each part has a process of its own, so that no part is
slowed by threads or by the memory that an earlier one has left behind.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import actors, alone, disk, games, loader, saved
from benchmarks.figures import draw
from benchmarks.footprint import bytes_per_step
from benchmarks.page import page
from benchmarks.results import Report, Table, about
from benchmarks.timing import TURNS
from benchmarks.workloads import WORKLOADS, measure

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
FOLDER = ROOT / "runs"
NEEDED = 6e9
"""Bytes of the disk."""

ON_DISK: dict[str, Callable[..., Table]] = {
    "save_vectors": partial(saved.save, saved.VECTORS),
    "load_vectors": partial(saved.load, saved.VECTORS),
    "save_frames": partial(saved.save, saved.FRAMES),
    "load_frames": partial(saved.load, saved.FRAMES),
    "saving": disk.saving,
    "loading": disk.loading,
    "directory": disk.directory,
    "actors": actors.actors,
}
"""These also take a folder to write to."""

MEASURED: dict[str, Callable[..., Table]] = {
    **{workload.name: partial(measure, workload) for workload in WORKLOADS},
    "bytes": bytes_per_step,
    **ON_DISK,
    "compressed": games.compressed,
    "decoding": games.decoding,
    "waiting": loader.waiting,
    "throughput": loader.throughput,
    "capacity": alone.capacity,
    "episodes": alone.episodes,
    "opening": alone.opening,
    "parts": alone.parts,
}
"""What can be measured, in the order of the page; each of (scale, turns)."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"What can be measured: {', '.join(MEASURED)}.",
        prog="python -m benchmarks",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="smaller memories, for a trial")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is timed")
    parser.add_argument(
        "--only", nargs="+", choices=list(MEASURED), metavar="WORKLOAD", help="print these alone"
    )
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="where the page is written")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="on the disk to be measured; default: runs/"
    )
    parser.add_argument("--json", type=Path, help="where the numbers go; default: beside the page")
    parser.add_argument(
        "--one-process", action="store_true", help="measure all in this one: for a trial"
    )
    options = parser.parse_args()
    logging.disable()  # torchrl tells of each storage it makes
    names = options.only or list(MEASURED)
    if not ON_DISK.keys().isdisjoint(names):
        options.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(options.folder).free < NEEDED * options.scale:
            parser.error(
                f"--folder {options.folder}: {NEEDED * options.scale / 1e9:g} GB are needed"
            )

    report = Report(about(options.turns, options.scale), {})
    in_this_one = options.one_process or len(names) == 1
    for name in names:
        if in_this_one:
            begun = time.perf_counter()
            table = _measured(name, options.scale, options.turns, options.folder)
            took = f"  ({name} took {time.perf_counter() - begun:.0f} seconds to measure)"
            print("", *table.lines(), took, sep="\n", flush=True)
        else:
            table = _apart(name, options)
        report.tables[name] = table
    if options.json or not options.only:
        report.save(options.json or options.out.with_suffix(".json"))
    if not options.only:
        draw(report, options.out.parent)
        options.out.write_text(page(report), encoding="utf-8")
        print(f"\nwritten to {options.out}")


def _apart(name: str, options: argparse.Namespace) -> Table:
    """One table, measured and printed by a process of its own."""
    with TemporaryDirectory() as folder:
        numbers = Path(folder) / "numbers.json"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--only", name]
        given = {"scale": options.scale, "turns": options.turns, "folder": options.folder}
        for option, value in (given | {"json": numbers}).items():
            command += [f"--{option}", str(value)]
        subprocess.run(command, check=True)
        return Report.load(numbers).tables[name]


def _measured(name: str, scale: float, turns: int, within: Path) -> Table:
    """One table; what it takes of the disk is taken within this folder, and given back."""
    if name not in ON_DISK:
        return MEASURED[name](scale, turns)
    with TemporaryDirectory(prefix="benchmark-", dir=within) as folder:
        return MEASURED[name](scale, turns, folder=Path(folder))


if __name__ == "__main__":
    main()
