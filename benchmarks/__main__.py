"""`python -m benchmarks`: measures, and writes docs/benchmarks.md, its pictures and its JSON.

With `--only` some of it is measured and printed, and nothing is written unless `--json` says where.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import alone
from benchmarks.figures import draw
from benchmarks.footprint import bytes_per_step
from benchmarks.page import page
from benchmarks.results import Report, Table, about
from benchmarks.timing import TURNS
from benchmarks.workloads import WORKLOADS, measure

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"

MEASURED: dict[str, Callable[[float, int], Table]] = {
    **{workload.name: partial(measure, workload) for workload in WORKLOADS},
    "bytes": bytes_per_step,
    "capacity": alone.capacity,
    "episodes": alone.episodes,
    "opening": alone.opening,
    "parts": alone.parts,
}
"""What can be measured, in the order of the page; each of (scale, turns)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    parser.add_argument("--scale", type=float, default=1.0, help="smaller memories, for a trial")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is timed")
    parser.add_argument(
        "--only", nargs="+", choices=list(MEASURED), metavar="WORKLOAD", help="print these alone"
    )
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="where the page is written")
    parser.add_argument("--json", type=Path, help="where the numbers go; default: beside the page")
    options = parser.parse_args()
    logging.disable()  # torchrl tells of each storage it makes

    report = Report(about(options.turns, options.scale), {})
    for name in options.only or MEASURED:
        table = MEASURED[name](options.scale, options.turns)
        report.tables[name] = table
        print("", *table.lines(), sep="\n", flush=True)
    if options.json or not options.only:
        report.save(options.json or options.out.with_suffix(".json"))
    if not options.only:
        draw(report, options.out.parent)
        options.out.write_text(page(report), encoding="utf-8")
        print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
