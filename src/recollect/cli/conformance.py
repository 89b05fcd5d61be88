"""`recollect conformance LIBRARY`: what a replay library gets right, and what not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recollect.conformance.cases import load_cases
from recollect.conformance.libraries import LIBRARIES
from recollect.conformance.report import reports_of, table, write
from recollect.errors import ConfigurationError


@dataclass(frozen=True)
class RunConformance:
    """Put a replay library through the cases of docs/conformance.md."""

    library: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="LIBRARY", help_behavior_hint="(required)"),
    ]
    """recollect, stable-baselines3, cpprb, tianshou, torchrl, flashbax, rlox or reverb, if it is
    installed; or MODULE:CLASS, an adapter of your own."""
    case: tuple[str, ...] = ()
    """Only cases whose id begins so: B, P5, ..."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Where the verdicts are kept as well."""

    def run(self) -> int:
        if self.library not in LIBRARIES and ":" not in self.library:
            known = ", ".join(LIBRARIES)
            raise ConfigurationError(f"expected {known} or MODULE:CLASS, got {self.library!r}")
        cases = [c for c in load_cases().values() if c.id.startswith(self.case or ("",))]
        reports = []
        try:
            for report in reports_of(self.library, cases):
                reports.append(report)
                print("\n".join(table(report)), flush=True)
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"{self.library} is not installed: {error}") from error
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if self.json:
            write(reports, self.json)
        wrong = any(verdict.outcome == "wrong" for report in reports for verdict in report.verdicts)
        return 1 if wrong else 0
