"""The example of docs/conformance/own-buffer.md runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "conformance" / "own-buffer.md"


def test_the_example_passes_what_it_offers(tmp_path):
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (tmp_path / "my_buffer.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (command,) = re.findall(r"^pytest (.*)$", PAGE.read_text(), re.M)
    # what is timed must decide nothing here
    cases = [
        f"--replay-case={name}" for name in ("B", "R4", "R5", "R6", "R9", "P1", "P8", "H", "C")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *command.split(), *cases],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 13


def test_every_script_names_its_cases_and_links_lead_somewhere():
    from recollect.conformance import load_cases

    for path in PAGE.parent.glob("*.py"):
        first = path.read_text().split("\n", 1)[0]
        assert first.startswith("# Cases: "), path.name
        assert {case.strip() for case in first[9:].split(",")} <= load_cases().keys(), path.name
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text()):
        assert target == "../conformance.md" or (PAGE.parent / target).exists(), target
