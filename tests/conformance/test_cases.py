"""The conformance cases: a right memory passes all, and each finds the mistake it is for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from conformance.mistakes import MISTAKES
from conformance.toys import Checks, Frames, LoadsTwice, Right
from recollect.conformance import FEATURES, Adapter, judge, load_cases, run
from recollect.conformance.cases import GROUPS
from recollect.conformance.judge import CONFIDENCE, chi_square_tail, fits
from recollect.conformance.libraries import LIBRARIES, adapters
from recollect.conformance.libraries.recollect import Compressed, OnDisk, Ram
from recollect.conformance.world import Unfit, observation, parse, place_of

CASES = load_cases()
TIMED = ("R8",)
"""Says how long something takes, which here must not decide anything."""
LARGE = ("S6",)
"""Takes many rows; tried with a toy that is made for it."""
QUICK = [case for case in CASES if case not in (*TIMED, *LARGE)]
OWN = [Ram, Compressed, OnDisk]


@pytest.mark.parametrize(
    ("toy", "case"), MISTAKES, ids=[f"{case} {toy.__name__}" for toy, case in MISTAKES]
)
def test_each_mistake_is_found(toy, case):
    verdict = judge(toy, CASES[case])
    assert (verdict.case, verdict.outcome) == (case, "wrong")
    assert verdict.reason


@pytest.mark.parametrize("case", QUICK)
def test_a_right_memory_is_right(case):
    toy = Checks if case == "B9" else Right
    verdict = judge(toy, CASES[case])
    assert verdict.outcome == ("not offered" if case.startswith("B10") else "right"), verdict.reason


def test_a_second_copy_is_found_and_a_single_one_is_fine():
    assert judge(Frames, CASES["S6"]).outcome == "right"
    assert judge(LoadsTwice, CASES["S6"]).outcome == "wrong"


def test_every_case_has_found_a_mistake():
    assert CASES.keys() == {case for _, case in MISTAKES} | {"S6"}
    assert {case[0] for case in CASES} == GROUPS.keys()


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        pytest.param(adapter, case, id=f"{adapter.name} {case}")
        for adapter in OWN
        for case in QUICK
        # where rows live, and how, changes nothing about how they are drawn
        if adapter is Ram or case[0] not in ("P", "C")
    ],
)
def test_recollect_is_right(adapter, case):
    verdict = judge(adapter, CASES[case])
    assert verdict.outcome != "wrong", verdict.reason


def test_what_recollect_does_not_offer():
    missing = {case.id for case in CASES.values() if case.needs - OnDisk.offers}
    assert missing <= {"P5.memory", "S5"}


def test_what_is_not_offered_is_not_asked():
    class Little(Adapter):
        name = "little"
        lacks = {"seed": "it has no generator"}  # noqa: RUF012

    verdicts = {verdict.case: verdict for verdict in run(Little).verdicts}
    assert verdicts["P8.seed"].outcome == "not offered"
    assert verdicts["P8.seed"].reason == "it has no generator"
    assert FEATURES["stack"] in verdicts["B8.start"].reason
    # transitions are offered by all, and this one raises
    assert verdicts["B2.transitions"].outcome == "wrong"
    assert "NotImplementedError" in verdicts["B2.transitions"].reason


def test_unknown_features_are_refused():
    class Boastful(Adapter):
        name = "boastful"
        offers = frozenset({"transitions", "telepathy"})

    with pytest.raises(ValueError, match="telepathy"):
        run(Boastful, [])


def test_verdicts_repeat():
    """Seeds are fixed, so that a case of chance comes out the same again."""
    toy, case = next((toy, case) for toy, case in MISTAKES if case == "P6")
    assert judge(toy, CASES[case]) == judge(toy, CASES[case])


def test_nothing_heavy_is_imported():
    code = (
        "import sys, recollect.conformance as c, recollect.conformance.report; c.load_cases();"
        "heavy = {'torch', 'jax', 'gymnasium', 'numba', 'pytest', 'cpprb', 'tianshou', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_adapter_is_there():
    from pathlib import Path

    import recollect.conformance.libraries as libraries

    folder = Path(libraries.__file__).parent
    for library in LIBRARIES:
        for name in adapters(library):
            module, _, kind = name.rpartition(".")[2].partition(":")
            assert f"class {kind}(" in (folder / f"{module}.py").read_text()
    with pytest.raises(ValueError, match="expected one of recollect"):
        adapters("nothing")


def test_observations_tell_their_place():
    places = np.array([[0, 0, 0], [2, 30, 90], [1, 199, 60]])
    for kind in ("vector", "bytes", "frames"):
        seen = observation(kind, *places[:2].T)
        np.testing.assert_array_equal(place_of(seen), places[:2])
    assert list(parse("2T 1.")) == [(0, 0, ""), (0, 1, "T"), (1, 0, ".")]


@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [(3.841459, 1, 0.05), (18.307, 10, 0.05), (23.9281, 1, 1e-6), (135.807, 100, 0.01), (0, 5, 1)],
)
def test_chi_square_tail(statistic, degrees, tail):
    assert chi_square_tail(statistic, degrees) == pytest.approx(tail, rel=2e-4)


def test_counts_are_judged_at_the_stated_confidence():
    """Of one degree the limit is where a chi-square of 23.93 is: 10,346 of 20,000 in one half."""
    assert pytest.approx(1e-6) == CONFIDENCE
    fits(np.array([10_340, 9_660]), np.array([1, 1]), "halves")
    with pytest.raises(Unfit, match="halves"):
        fits(np.array([10_350, 9_650]), np.array([1, 1]), "halves")
    with pytest.raises(Unfit, match="never to be drawn"):
        fits(np.array([100, 1]), np.array([1, 0]), "a row")
