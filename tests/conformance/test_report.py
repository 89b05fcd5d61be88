"""Verdicts as text, as JSON and as a page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recollect.conformance import Report, Verdict, load_cases
from recollect.conformance.report import counts, page, read, table, write

TESTS = Path(__file__).parent.parent

REPORTS = [
    Report("mine", "1.0", [Verdict("B2.transitions", "right"), Verdict("R4", "right")], 1.0),
    Report(
        "their-own (fast)",
        "2.0",
        [
            Verdict("B2.transitions", "wrong", "step 3 | its next_obs is *odd*"),
            Verdict("R4", "not offered", "it never copies"),
        ],
        2.0,
    ),
]


def test_text():
    lines = list(table(REPORTS[1]))
    assert lines[0] == "their-own (fast) 2.0 (2 s)"
    assert lines[1].split() == "B2.transitions wrong step 3 | its next_obs is *odd*".split()
    assert lines[-1].strip() == "0 right, 1 wrong, 1 not offered"
    assert counts(REPORTS[0]) == {"right": 2, "wrong": 0, "not offered": 0}


def test_json_brings_back_what_was_written(tmp_path):
    path = tmp_path / "folder" / "verdicts.json"
    write(REPORTS, path)
    assert read(path) == REPORTS
    assert json.loads(path.read_text())[1]["verdicts"][0]["outcome"] == "wrong"


def test_the_page_has_a_column_for_each_and_a_line_for_each_case(tmp_path):
    (tmp_path / "conformance").mkdir()
    script = tmp_path / "conformance" / "their_own_B2.py"
    script.write_text("# Cases: B1.streams, B2.transitions\n")
    text = page(REPORTS, tmp_path)
    assert "| case | right behaviour | mine | their-own (fast) |" in text
    for case in load_cases().values():
        assert f"| {case.id} | {case.title} |" in text
    line = next(line for line in text.splitlines() if line.startswith("| B2.transitions"))
    assert line.endswith("| ✓ | **✗** |")
    assert (
        r"- **B2.transitions**: step 3 \| its next\_obs is \*odd\*. "
        "[Shown](conformance/their_own_B2.py)." in text
    )
    assert "- **their-own (fast)**: it never copies (R4)." in text


def test_the_page_that_stands_shows_all_libraries_and_a_script_for_each_failure():
    page = TESTS.parent / "docs" / "conformance.md"
    text = page.read_text()
    sources = (TESTS.parent / "src/recollect/conformance/libraries").glob("*.py")
    columns = re.findall(
        r'^    name = "(.*)"', "\n".join(each.read_text() for each in sources), re.M
    )
    head = next(line for line in text.splitlines() if line.startswith("| case |"))
    assert sorted(columns) == sorted(part.strip() for part in head.split("|")[3:-1])
    assert set(re.findall(r"^\| ([A-Z]\d\S*(?: [a-z]\S*)*) \|", text, re.M)) == load_cases().keys()
    failures = re.findall(r"^- \*\*([A-Z]\d.*?)\*\*: (.*)$", text, re.M)
    linked = set()
    for case, line in failures:
        (target,) = re.findall(r"\[Shown\]\((.*?)\)", line)
        first = (page.parent / target).read_text().split("\n", 1)[0]
        assert case in [part.strip() for part in first.removeprefix("# Cases: ").split(",")]
        linked.add((page.parent / target).name)
    assert len(failures) == text.count("**✗** |")
    assert linked == {path.name for path in (page.parent / "conformance").glob("*.py")}


@pytest.mark.parametrize("library", ["recollect", "conformance.toys:Right"])
def test_the_module_runs_without_the_command_line(tmp_path, library):
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "recollect.conformance", library, "--case", "B4.tr"]
    done = subprocess.run(
        [*command, "--json", str(out)], capture_output=True, text=True, cwd=TESTS, check=True
    )
    assert "2 right, 0 wrong, 0 not offered" in done.stdout
    assert {verdict.case for verdict in read(out)[0].verdicts} == {
        "B4.transitions",
        "B4.truncation",
    }
    made = tmp_path / "page.md"
    command = [sys.executable, "-m", "recollect.conformance", str(out), "--page", str(made)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| B4.truncation |" in made.read_text()
