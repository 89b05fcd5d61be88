"""`python -m benchmarks.compare OLD.json NEW.json`: what has changed between two runs.

A ratio is new beside old. Its spread is what the quartiles of the two runs leave open; a change is
marked where that does not reach 1. How the peers did, whose code has not changed, tells how far the
machine was another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.libraries import LIBRARIES, OURS
from benchmarks.results import Report, Table
from benchmarks.timing import Timing

LATEST = Path(__file__).parent.parent / "docs" / "benchmarks.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.compare")
    parser.add_argument("old", type=Path, help="JSON of an earlier run")
    parser.add_argument("new", type=Path, nargs="?", default=LATEST, help="default: docs/")
    options = parser.parse_args()
    reports = []
    for path in (options.old, options.new):
        try:
            reports.append(Report.load(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{path}: expected what `make bench` writes as JSON: {error}")
    for line in differences(*reports):
        print(line)


def differences(old: Report, new: Report) -> Iterator[str]:
    """Lines of text: each of our rows that both runs have, and the peers beside it."""
    for name, report in (("old", old), ("new", new)):
        about = report.about
        yield f"{name}: {about['date']}, {about['machine']}, at scale {about['scale']}"
    for name, table in new.tables.items():
        if name not in old.tables:
            continue
        before = old.tables[name]
        ours = [row for row in table.times if row == OURS or row not in LIBRARIES]
        rows = [OURS] if OURS in ours else ours
        shared = [row for row in rows if row in before.times]
        if shared:
            yield ""
            yield f"{table.title}{_of_peers(before, table)}"
        for row in shared:
            yield f"  {row:58}{_change(before.times[row], table.times[row])}"


def ratio(old: Timing, new: Timing) -> tuple[float, float, float]:
    """New beside old, and from where to where it may be."""
    return new.median / old.median, new.low / old.high, new.high / old.low


def _change(old: Timing, new: Timing) -> str:
    now, low, high = ratio(old, new)
    mark = "  faster" if high < 1 else "  SLOWER" if low > 1 else ""
    return f"{now:6.2f} x ({low:.2f} to {high:.2f}){mark}"


def _of_peers(old: Table, new: Table) -> str:
    """How the median peer did."""
    peers = [name for name in LIBRARIES[1:] if name in old.times and name in new.times]
    if not peers:
        return ""
    moved = median(ratio(old.times[name], new.times[name])[0] for name in peers)
    return f" (the peers: {moved:.2f} x)"


if __name__ == "__main__":
    main()
