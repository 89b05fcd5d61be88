"""Verdicts as plain text, as JSON, and as the page docs/conformance.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from recollect.conformance.adapter import FEATURES
from recollect.conformance.cases import GROUPS, Case, load_cases
from recollect.conformance.libraries import LIBRARIES, adapters
from recollect.conformance.run import Report, Verdict, load_adapter, run

NOT_JUDGED = """\
## What cannot be judged from outside

- Sums of priorities after a million updates, and a draw that equals their total (P2): the case
  makes 24,000 updates, and nobody can ask for a particular draw.
- That an update of an overwritten row is counted (R2): only where `update` says how many were live.
- Schedules and counters that were saved (S1): only as far as the next batches show them.
- A kill between any two instructions (S3), and any moment at which another process looks (S4): some
  moments of each are tried.
- That closing never hangs (S5): a library that hangs would hold up the run.
- A file of another version (S7): there is no older version to write one."""

MARKS = {"right": "✓", "wrong": "**✗**", "not offered": "·"}


def reports_of(name: str, cases: Sequence[Case] | None = None) -> Iterator[Report]:
    """Runs all adapters of a library, or the one named "module:Class"."""
    for each in adapters(name) if name in LIBRARIES else [name]:
        yield run(load_adapter(each), cases)


def table(report: Report, all_cases: bool = True) -> Iterator[str]:
    """Lines: a case, its outcome, and why."""
    yield f"{report.name} {report.version}".strip() + f" ({report.seconds:.0f} s)"
    width = max((len(verdict.case) for verdict in report.verdicts), default=0)
    for verdict in report.verdicts:
        line = f"  {verdict.case:{width}}  {verdict.outcome:11}  {verdict.reason}"
        if all_cases or verdict.outcome == "wrong":
            yield line.rstrip()
    yield "  " + ", ".join(f"{count} {name}" for name, count in counts(report).items())


def counts(report: Report) -> dict[str, int]:
    """How many cases came out how."""
    return {
        outcome: sum(verdict.outcome == outcome for verdict in report.verdicts)
        for outcome in ("right", "wrong", "not offered")
    }


def write(reports: Iterable[Report], path: Path) -> None:
    """Keeps verdicts as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(report) for report in reports], indent=1), encoding="utf-8")


def read(path: Path) -> list[Report]:
    """Verdicts that `write` kept."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return [
        Report(**(report | {"verdicts": [Verdict(**v) for v in report["verdicts"]]}))
        for report in found
    ]


def page(reports: Sequence[Report], folder: Path) -> str:
    """The page of all verdicts; `folder` is where it will stand, beside the folder of scripts."""
    return "\n".join(_page(reports, folder)) + "\n"


def _page(reports: Sequence[Report], folder: Path) -> Iterator[str]:
    cases = load_cases()
    yield "# Conformance"
    yield ""
    yield (
        "What a replay memory must get right, and who does. Each case replays a mistake that a "
        "real library made or makes; `make conformance` runs all of them on all libraries and "
        "writes this page, `recollect conformance LIBRARY` runs one, and "
        "[own-buffer.md](conformance/own-buffer.md) says how to run them on a buffer of yours."
    )
    yield ""
    yield (
        "✓ right. **✗** wrong: the reason stands below, with a few lines that show it against the "
        "library's own interface. · not offered: the library does not claim it, which is no fault."
    )
    yield ""
    yield (
        "Each library is driven as its own documentation says, in its best way; if we drive one "
        "wrongly, that is our mistake, and we want to know."
    )
    yield ""
    for report in reports:
        here = counts(report)
        yield (
            f"- **{report.name}** {report.version}: {here['right']} right, {here['wrong']} wrong, "
            f"{here['not offered']} not offered ({report.seconds:.0f} s)."
        )
    yield ""
    for letter, group in GROUPS.items():
        yield f"## {group}"
        yield ""
        yield "| case | right behaviour | " + " | ".join(r.name for r in reports) + " |"
        yield "|---|---|" + ":-:|" * len(reports)
        for case in cases.values():
            if case.id.startswith(letter):
                marks = [MARKS[_outcome(report, case.id)] for report in reports]
                yield f"| {case.id} | {case.title} | " + " | ".join(marks) + " |"
        yield ""
    yield from _failures(reports, folder)
    yield from _not_offered(reports)
    yield NOT_JUDGED


def _outcome(report: Report, case: str) -> str:
    return next((v.outcome for v in report.verdicts if v.case == case), "not offered")


def _failures(reports: Sequence[Report], folder: Path) -> Iterator[str]:
    yield "## What is wrong"
    for report in reports:
        wrong = [verdict for verdict in report.verdicts if verdict.outcome == "wrong"]
        if not wrong:
            continue
        yield ""
        yield f"### {report.name} {report.version}"
        yield ""
        for verdict in wrong:
            script = _script(report.name, verdict.case, folder)
            link = f" [Shown]({script})." if script else ""
            yield f"- **{verdict.case}**: {_escaped(verdict.reason)}.{link}"
    yield ""


def _script(name: str, case: str, folder: Path) -> str:
    """The script conformance/<library>_*.py that names the case in its first line,
    "# Cases: ..."; empty if there is none."""
    library = name.split(" ")[0].replace("-", "_")
    for path in sorted((folder / "conformance").glob(f"{library}_*.py")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        if case in [part.strip() for part in first.partition("# Cases: ")[2].split(",")]:
            return f"conformance/{path.name}"
    return ""


def _not_offered(reports: Sequence[Report]) -> Iterator[str]:
    yield "## What is not offered"
    yield ""
    yield (
        "Each case asks for features (`recollect.conformance.FEATURES`), and is run on libraries "
        "that claim them. Where there is more to say than that a feature is not there:"
    )
    yield ""
    for report in reports:
        missing: dict[str, list[str]] = {}
        for verdict in report.verdicts:
            if verdict.outcome == "not offered" and verdict.reason not in FEATURES.values():
                missing.setdefault(verdict.reason, []).append(verdict.case)
        reasons = [f"{reason} ({', '.join(cases)})" for reason, cases in missing.items()]
        if reasons:
            yield f"- **{report.name}**: {'; '.join(map(_escaped, reasons))}."
    yield ""


def _escaped(text: str) -> str:
    return text.replace("*", r"\*").replace("_", r"\_").replace("<", r"\<").replace("|", r"\|")
