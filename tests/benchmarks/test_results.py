"""What is made of the numbers: goals, comparisons, JSON."""

import types

import pytest
from benchmarks.alone import EPISODES, READERS, at
from benchmarks.compare import differences
from benchmarks.footprint import COMPRESSED, REVERB
from benchmarks.goals import GOALS
from benchmarks.libraries import LIBRARIES, OURS, opened
from benchmarks.page import page
from benchmarks.results import Report, Table
from benchmarks.timing import Timing
from benchmarks.workloads import FLOOR

from benchmarks import actors, alone, disk, games, loader, workloads

ABOUT = {"date": "2026-01-01", "machine": "one", "scale": "1.0"}


def table(name, times, **settings):
    """Of medians, each with quartiles a tenth below and above."""
    return Table(
        name,
        f"title of {name}",
        {row: Timing(time, 0.9 * time, 1.1 * time) for row, time in times.items()},
        **settings,
    )


def ratios(*tables):
    found = {each.name: each for each in tables}
    measured = {goal.title: goal.measured(found) for goal in GOALS}
    return {title: ratio for title, ratio in measured.items() if ratio is not None}


def test_a_goal_without_its_rows_is_not_measured():
    assert ratios() == {}
    assert ratios(table("hindsight", {OURS: 5.0})) == {}


def test_peers_that_are_best_are_peers():
    times = {OURS: 90, FLOOR: 45, "rlox": 60, "cpprb": 100, "tianshou": 180}
    assert ratios(table("prioritized", times)) == {
        "prioritized, beside the best peer but rlox": 90 / 100,
        "prioritized, beside rlox": 90 / 60,
    }
    ahead = {OURS: 90, FLOOR: 60, "rlox": 120, "cpprb": 180}
    assert ratios(table("sequence_frames", ahead)) == {
        "sequences of frames, beside plain copy": 90 / 60,
        "sequences of frames, beside the best peer": 90 / 120,
    }


def test_goals_compare_our_parts_as_they_name_them():
    times = {
        alone.PRIORITIZED: 200,
        alone.RANKED: 380,
        alone.MIXTURE: 240,
        alone.IN_TURN: 160,
        alone.FIFO: 10,
        alone.RESERVOIR: 20,
        alone.BALANCED: 31,
        alone.DROP_LOWEST: 12,
    }
    assert ratios(table("parts", times)) == {
        "ranked, beside prioritized": 1.9,
        "mixture, beside its parts one after the other": 1.5,
        "offer 5, reservoir, beside first in, first out": 2.0,
        "offer 5, balanced, beside first in, first out": 3.1,
        "offer 5, lowest dropped, beside first in, first out": 1.2,
    }


def test_sizes_are_compared_in_the_right_order():
    grown = {at(alone.UNIFORM, "100 k rows"): 30, at(alone.UNIFORM, "10 M rows"): 45}
    assert ratios(table("capacity", grown)) == {"uniform transitions, 10 M rows beside 100 k": 1.5}
    costs = dict(zip(EPISODES, (40, 20, 10, 30), strict=True))
    by_episodes = {at(alone.GOALS, size): cost for size, cost in costs.items()}
    assert ratios(table("episodes", by_episodes)) == {
        "hindsight, the dearest number of episodes beside the cheapest": 4.0
    }
    opening = dict(zip(READERS, (0.1, 0.5, 0.2, 0.1, 0.3), strict=True))
    assert ratios(table("opening", opening, unit="seconds")) == {
        "opening a reader on 1 M rows, the dearest, in seconds": 0.5
    }


def test_the_disk_is_compared_in_the_right_order():
    saving = {disk.SAVE: 3.0, disk.AGAIN: 0.06, disk.COPY: 1.5, disk.COPY_SYNCED: 2.5}
    assert ratios(table("saving", saving)) == {
        "saving, beside `cp` until it is on the disk": 3.0 / 2.5,
        "saving, beside `cp` that waits for no disk": 2.0,
        "saving after 1 % has changed, beside the first time": 0.02,
    }
    added = {actors.ONE: 6.0, actors.FOUR: 3.0}
    assert ratios(table("actors", added)) == {
        "a step of four processes that add at once, beside one process": 0.5
    }
    cached = {f"{disk.ADD}, {disk.IN_RAM}": 4.0, f"{disk.ADD}, {disk.IN_DIRECTORY}": 5.0}
    assert ratios(table("directory", cached)) == {"add one, directory beside RAM": 1.25}


def test_the_dearest_game_counts():
    costs = {games.row(games.DRAW, game, games.PLAIN): 100.0 for game in games.GAMES}
    costs |= {
        games.row(games.DRAW, game, games.CODEC): cost
        for game, cost in zip(games.GAMES, (150.0, 350.0, 200.0, 250.0), strict=True)
    }
    assert ratios(table("decoding", costs)) == {
        "stacked frames, compressed beside not, the dearest game": 3.5
    }
    sizes = dict(zip((*games.GAMES, games.MEAN), (100.0, 800.0, 200.0, 100.0, 300.0), strict=True))
    assert ratios(table("compressed", sizes)) == {
        "compressed frames, bytes, mean": 300.0,
        "compressed frames, bytes, the largest": 800.0,
    }


def test_loaders_are_compared_with_their_absence():
    times = {loader.PLAIN: 9.0, loader.ONE: 3.0, loader.TWO: 6.0, loader.DETERMINISTIC: 7.0}
    assert ratios(table("waiting", times)) == {"waiting for a loader, in percent": 3.0}
    assert ratios(table("throughput", times)) == {
        "large batches, a loader of two threads beside `sample`": 6.0 / 9.0
    }


def test_the_page_tells_where_a_peer_is_ahead():
    tables = {
        "a": table(
            "a", {OURS: 10.0, FLOOR: 1.0, "rlox": 4.0, "stable_baselines3": 9.0, "cpprb": 11.0}
        ),
        "b": table("b", {OURS: 10.0, FLOOR: 1.0, "cpprb": 11.0}),
        "c": table("c", {"one": 1.0}),
    }
    text = page(Report({**ABOUT, "python": "3", "versions": "1", "turns": "1"}, tables))
    ahead = text.partition("## Where a peer is ahead")[2].partition("##")[0].split("\n")
    assert [line for line in ahead if line] == [
        "- title of a: rlox 0.40 x, stable-baselines3 0.90 x"
    ]


def test_every_goal_names_rows_that_there_are():
    known = {
        "capacity": {
            at(kind, size)
            for kind in (alone.UNIFORM, alone.BY_PRIORITY, alone.SEQUENCES)
            for size in alone.CAPACITIES
        },
        "episodes": {
            at(kind, size)
            for kind in (alone.WINDOWS, alone.WHOLE, alone.GOALS)
            for size in EPISODES
        },
        "opening": set(READERS),
        "bytes": {*LIBRARIES, COMPRESSED, REVERB},
        "saving": {disk.SAVE, disk.AGAIN, disk.COPY, disk.COPY_SYNCED},
        "loading": {disk.LOADED},
        "directory": {
            f"{kind}, {place}"
            for kind in (disk.UNIFORM, disk.STACKS, disk.ADD, disk.ADD_FRAME)
            for place in (disk.IN_RAM, disk.IN_DIRECTORY)
        },
        "actors": set(actors.PROCESSES),
        "compressed": {*games.GAMES, games.MEAN},
        "decoding": {
            games.row(kind, game, codec)
            for kind in (games.DRAW, games.ADD)
            for game in games.GAMES
            for codec in (games.PLAIN, games.CODEC)
        },
        "waiting": {loader.PLAIN, loader.ONE, loader.TWO},
        "throughput": {loader.PLAIN, loader.ONE, loader.TWO},
    }
    for goal in GOALS:
        for side in filter(None, (goal.of, goal.beside)):
            if side.table != "parts":
                assert set(side.names) <= known.get(side.table, {*LIBRARIES, FLOOR}), goal.title


def test_a_report_is_read_back_as_it_was(tmp_path):
    report = Report(
        ABOUT,
        {
            "a": table("a", {OURS: 3.0}, missing={"rlox": "no"}, remarks={OURS: "of 3"}),
            "b": table("b", {"x, 1": 1.0}, points={"x, 1": ("x", 1.0)}, unit="seconds"),
        },
    )
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


def test_a_comparison_tells_changes_from_noise():
    old = Report(
        ABOUT,
        {
            "faster": table("faster", {OURS: 100, "cpprb": 50}),
            "same": table("same", {OURS: 100, "cpprb": 50, "rlox": 10}),
            "parts": table("parts", {"one": 100, "two": 100, "gone": 1}),
            "forgotten": table("forgotten", {OURS: 1}),
        },
    )
    new = Report(
        ABOUT,
        {
            "faster": table("faster", {OURS: 70, "cpprb": 50}),
            "same": table("same", {OURS: 110, "cpprb": 55, "rlox": 12}),
            "parts": table("parts", {"one": 150, "two": 95, "new": 1}),
            "added": table("added", {OURS: 1}),
        },
    )
    text = list(differences(old, new))
    squeezed = [" ".join(line.split()) for line in text]
    assert "title of faster (the peers: 1.00 x)" in squeezed
    assert "recollect 0.70 x (0.57 to 0.86) faster" in squeezed
    assert "title of same (the peers: 1.15 x)" in squeezed
    assert "recollect 1.10 x (0.90 to 1.34)" in squeezed
    assert "one 1.50 x (1.23 to 1.83) SLOWER" in squeezed
    assert "two 0.95 x (0.78 to 1.16)" in squeezed
    assert not any(word in line for line in squeezed for word in ("gone", "new 1", "added"))


def test_a_library_that_lacks_a_workload_says_why(monkeypatch):
    modules = {
        "recollect": types.SimpleNamespace(),
        "cpprb": types.SimpleNamespace(NOT_OFFERED={"hindsight": "goals are not kept"}),
        "rlox": types.SimpleNamespace(REMARKS={"hindsight": "of 10 k rows"}),
    }

    def imported(name):
        try:
            return modules[name.rpartition(".")[2]]
        except KeyError:
            raise ImportError(name) from None

    monkeypatch.setattr("benchmarks.libraries.importlib.import_module", imported)
    offered, missing, remarks = opened("hindsight")
    assert list(offered) == ["recollect", "rlox"]
    assert missing.pop("cpprb") == "goals are not kept"
    assert set(missing) == {"stable_baselines3", "tianshou", "torchrl", "flashbax"}
    assert all(reason.startswith("not installed") for reason in missing.values())
    assert remarks == {"rlox": "of 10 k rows"}


@pytest.mark.parametrize("median", [0.012, 5.0, 31.25, 12345.0])
def test_rows_are_ordered_by_what_they_took(median):
    rows = table("a", {"cpprb": 2 * median, OURS: median, "rlox": median / 4}).fastest_first
    assert [name for name, _ in rows] == ["rlox", OURS, "cpprb"]
    parts = table("parts", {"one": 2 * median, "two": median})
    assert [name for name, _ in parts.fastest_first] == ["one", "two"]


def test_of_restless_measurements_the_quietest_counts(monkeypatch):
    def measured(median, spread):
        return {FLOOR: Timing(10.0, 10.0, 10.0 + spread), OURS: Timing(median, median, median)}

    runs, waits = [], []
    monkeypatch.setattr(workloads, "opened", lambda name: ({}, {}, {}))
    monkeypatch.setattr(workloads, "interleaved", lambda calls, turns: runs.pop(0))
    monkeypatch.setattr(workloads.time, "sleep", waits.append)
    floored = workloads.Workload("any", "any", 4_000, workloads.Copy(8, 2))
    for spreads, counts, asked in (
        ([0.9], 0, 0),
        ([3.0, 0.5, 9.0], 1, 1),
        ([3.0, 4.0, 2.0, 5.0, 0.1], 2, 3),
    ):
        runs[:] = [measured(float(number), spread) for number, spread in enumerate(spreads)]
        waits.clear()
        assert workloads.measure(floored, turns=2).times[OURS].median == counts
        assert len(waits) == asked
