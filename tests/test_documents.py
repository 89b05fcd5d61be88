"""Every Python example in README and docs runs as printed."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
DOCUMENTS = [*READMES, *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_run_as_printed(document):
    """The examples of one document run one after the other, in one namespace."""
    examples = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S)
    namespace: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for example in examples:
            exec(compile(example, document.name, "exec"), namespace)


def test_readmes_say_the_same_in_both_languages():
    english, chinese = (path.read_text() for path in READMES)
    for pattern in (
        r"^#+ ",
        r"^\| ",
        r"^- ",
        r"^```",
        r"!\[",
        r"\]\((docs/[^)]*)\)",
        r"^recollect [^#]*",
    ):
        ours, theirs = (re.findall(pattern, text, re.M) for text in (english, chinese))
        assert ours == theirs, pattern
    code = r"^```python\n(.*?)^```"
    bare = [
        [re.sub(r" *#.*", "", example) for example in re.findall(code, text, re.M | re.S)]
        for text in (english, chinese)
    ]
    assert bare[0] == bare[1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
