"""`python -m recollect.conformance [LIBRARY | MODULE:CLASS ...]`: puts libraries through the cases.

With `--json PATH` the verdicts are written, too; `--page PATH FILE ...` makes a page of them.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from recollect.conformance.cases import load_cases
from recollect.conformance.libraries import LIBRARIES
from recollect.conformance.report import page, read, reports_of, table, write


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recollect.conformance", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(LIBRARIES)}, or module:Class")
    parser.add_argument("--case", action="append", help="only cases whose id begins so")
    parser.add_argument("--json", type=Path, help="where verdicts are written")
    parser.add_argument("--page", type=Path, help="where a page of verdicts (the names) is written")
    options = parser.parse_args()
    if options.page:
        reports = [report for name in options.names for report in read(Path(name))]
        options.page.write_text(page(reports, options.page.parent), encoding="utf-8")
        print(f"written to {options.page}")
        return
    logging.disable()
    wanted = tuple(options.case or [""])
    cases = [case for case in load_cases().values() if case.id.startswith(wanted)]
    reports = []
    for name in options.names or LIBRARIES:
        for report in reports_of(name, cases):
            reports.append(report)
            print("\n".join(table(report)), flush=True)
    if options.json:
        write(reports, options.json)


if __name__ == "__main__":
    main()
