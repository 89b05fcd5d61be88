"""The benchmark runs from end to end, on tiny memories and with whatever libraries are there."""

import sys

import numpy as np
import pytest
from benchmarks.libraries import recollect as ours
from benchmarks.timing import interleaved
from benchmarks.workloads import WORKLOADS

from benchmarks import __main__ as command


def test_the_page_is_written(tmp_path, monkeypatch, capsys):
    page = tmp_path / "benchmarks.md"
    arguments = ["--scale", "0.0001", "--turns", "1", "--out", str(page)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    command.main()
    text = page.read_text()
    for workload in WORKLOADS:
        assert workload.title[1:] in text
    assert text.count("| **recollect** |") == len(WORKLOADS)
    assert "| three-step returns, beside our single step | 2.00 |" in text
    assert "plain copy" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sample_vectors", "sample_nstep", "sample_frames"])
def test_our_draws_are_what_they_claim(name):
    batch = getattr(ours, name)(3200)()
    assert batch.obs.shape[0] == (32 if name == "sample_frames" else 256)
    assert batch.next_obs.shape == batch.obs.shape
    if name == "sample_frames":
        assert batch.obs.shape == (32, 4, 84, 84)
    if name == "sample_nstep":
        assert batch.steps.max() == 3


def test_callables_take_turns():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = interleaved(calls, turns=3, seconds=1e-5)
    assert set(times) == {"a", "b"}
    assert all(time.low <= time.median <= time.high for time in times.values())
    assert "ba" in "".join(np.array(order[-10_000:]))
