"""The benchmark runs from end to end, on tiny memories and with whatever libraries are there."""

import gc
import json
import os
import sys
import types

import numpy as np
import pytest
from benchmarks.alone import READERS
from benchmarks.figures import CAPACITY, RATIOS, REACHED
from benchmarks.footprint import COMPRESSED, REVERB
from benchmarks.goals import GOALS
from benchmarks.libraries import LIBRARIES, OURS
from benchmarks.results import Report
from benchmarks.timing import interleaved
from benchmarks.workloads import FLOOR, WORKLOADS

from benchmarks import __main__ as command
from benchmarks import actors, data, footprint, timing

PNG = b"\x89PNG"
SAVED = ("save_vectors", "load_vectors", "save_frames", "load_frames")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(
        sys,
        "argv",
        ["benchmarks", "--one-process", "--scale", "0.0001", "--turns", "1", *arguments],
    )
    command.main()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a whole run has written."""
    written, disk = tmp_path_factory.mktemp("docs"), tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(timing, "SECONDS", 0.001)
        monkeypatch.setattr(gc, "collect", lambda: 0)
        monkeypatch.setattr(os, "sync", lambda: None)  # it waits for whatever others write
        monkeypatch.setattr(actors, "PROCESSES", {actors.ONE: 1, actors.FOUR: 2})
        monkeypatch.setattr(data, "atari", lambda steps, name="Breakout": [data.frames(steps)])
        monkeypatch.setattr(footprint, "REVERB_HOME", disk)
        run(monkeypatch, "--out", str(written / "benchmarks.md"), "--folder", str(disk))
    assert not list(disk.iterdir())
    return written


def test_the_page_shows_everything_that_was_measured(folder):
    text = (folder / "benchmarks.md").read_text()
    report = Report.load(folder / "benchmarks.json")
    assert list(report.tables) == list(command.MEASURED)
    for table in report.tables.values():
        assert table.title[1:] in text
        assert all(0 < time.low <= time.median <= time.high for time in table.times.values())
        for name in {*table.times, *table.missing} - {OURS}:
            assert f"| {name.replace('_', '-')} |" in text
    beside = [*(workload.name for workload in WORKLOADS), "bytes", *SAVED]
    for name in beside:
        table = report.tables[name]
        assert table.times[OURS].median > 0
        assert {*table.times, *table.missing} - {FLOOR, COMPRESSED, REVERB} == set(LIBRARIES)
    assert text.count("| **recollect** |") == len(beside)
    assert COMPRESSED in report.tables["bytes"].times


def test_the_page_shows_its_pictures(folder):
    text = (folder / "benchmarks.md").read_text()
    for picture in (RATIOS, CAPACITY, REACHED):
        assert f"({picture})" in text
        assert (folder / picture).read_bytes().startswith(PNG)


def test_a_goal_is_shown_wherever_both_sides_were_measured(folder):
    text = (folder / "benchmarks.md").read_text()
    tables = Report.load(folder / "benchmarks.json").tables
    for goal in GOALS:
        shown = f"| {goal.title} | {goal.limit:.2f} |"
        sides = [goal.of] + ([goal.beside] if goal.beside else [])
        alone = all(set(side.names).isdisjoint(LIBRARIES[1:]) for side in sides)
        assert goal.measured(tables) is not None or not alone, goal.title
        assert (shown in text) == (goal.measured(tables) is not None)


def test_some_workloads_alone_write_no_page(tmp_path, monkeypatch, capsys):
    page, numbers = tmp_path / "benchmarks.md", tmp_path / "new.json"
    run(monkeypatch, "--out", str(page), "--only", "prioritized", "parts")
    printed = capsys.readouterr().out
    assert "prioritized of 1 M" in printed and "Ranked, 1 M rows" in printed
    assert "add one step" not in printed and "cost by capacity" not in printed
    assert not list(tmp_path.iterdir())
    run(monkeypatch, "--out", str(page), "--only", "opening", "--json", str(numbers))
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]
    (table,) = json.loads(numbers.read_text())["tables"].values()
    assert tuple(table["times"]) == READERS


def test_an_unknown_workload_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--only", "prioritised")
    assert "prioritised" in capsys.readouterr().err


def test_a_disk_without_room_is_refused_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=5e5))
    with pytest.raises(SystemExit):
        run(monkeypatch, "--folder", str(tmp_path), "--only", "prioritized", "saving")
    told = capsys.readouterr()
    assert not told.out and str(tmp_path) in told.err and "0.0006 GB" in told.err
    run(monkeypatch, "--folder", str(tmp_path), "--only", "opening")


def test_callables_take_turns():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = interleaved(calls, turns=3, seconds=1e-5)
    assert set(times) == {"a", "b"}
    assert all(time.low <= time.median <= time.high for time in times.values())
    assert "ba" in "".join(np.array(order[-10_000:]))


def test_one_call_that_takes_long_does_not_decide_how_many_there_are(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    for late in range(1, 40):
        made = [0]

        def call(late=late, made=made):
            made[0] += 1
            now[0] += 1.0 if made[0] == late else 0.001

        assert timing._repeats(call, seconds=0.02) == 20, late
