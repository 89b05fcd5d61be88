"""Every Python example in README and docs runs as printed."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_run_as_printed(document):
    """The examples of one document run one after the other, in one namespace."""
    examples = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S)
    namespace: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for example in examples:
            exec(compile(example, document.name, "exec"), namespace)


def test_readme_shows_the_two_commands_and_an_example():
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text
    assert text.count("```python") >= 2
