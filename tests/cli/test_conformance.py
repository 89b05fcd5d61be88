"""`recollect conformance`: what it prints, and how it ends."""

from __future__ import annotations

import sys

import pytest
import tyro

from recollect.cli.conformance import RunConformance
from recollect.conformance.report import read
from recollect.errors import ConfigurationError


def run(*arguments):
    return tyro.cli(RunConformance, args=arguments).run()


def test_our_own_cases_are_right(capsys, tmp_path):
    out = tmp_path / "verdicts.json"
    assert run("recollect", "--case", "B3", "P7", "--json", str(out)) == 0
    printed = capsys.readouterr().out
    assert "B3.transitions  right" in printed
    assert "3 right, 0 wrong, 0 not offered" in printed
    assert [verdict.case for verdict in read(out)[0].verdicts] == [
        "B3.transitions",
        "B3.stack",
        "P7",
    ]


def test_a_wrong_one_is_told_with_its_reason(capsys):
    assert run("conformance.mistakes.probabilities:TheFirstWins", "--case", "P7", "P1.ranked") == 1
    printed = capsys.readouterr().out
    assert "P7         wrong        after an update with duplicates" in printed


def test_an_adapter_in_the_working_directory_is_found(capsys, tmp_path, monkeypatch):
    (tmp_path / "my_own.py").write_text("from conformance.toys import Right as Mine\n")
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    assert run("my_own:Mine", "--case", "B2.tr") == 0
    assert "1 right, 0 wrong, 0 not offered" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("numpy", "expected recollect, stable-baselines3"),
        ("nowhere:Adapter", "nowhere"),
        ("conformance.toys:Nothing", "expected a subclass"),
        ("cpprb", "not installed"),
    ],
)
def test_what_cannot_be_run_is_said_so(library, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "cpprb", None)
    monkeypatch.delitem(sys.modules, "recollect.conformance.libraries.cpprb", raising=False)
    with pytest.raises(ConfigurationError, match=words):
        run(library)
