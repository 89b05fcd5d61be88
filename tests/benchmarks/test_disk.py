"""What is measured of saving, sharing and loading is what its name says."""

import numpy as np
import pytest
from benchmarks.libraries import recollect as ours

import recollect as rc
from benchmarks import actors, data, disk, games, loader, saved


def numbered(*streams):
    """A memory whose streams have steps with these numbers as rewards."""
    memory = rc.Memory(ours.VECTORS, 100 * len(streams), streams=len(streams))
    for stream, numbers in enumerate(streams):
        steps = data.vectors(len(numbers))
        steps["reward"] = np.array(numbers, np.float32)
        memory.extend(stream=stream, **steps)
    return memory


@pytest.mark.parametrize(
    "second", [[0, 1, 2], [0, 1, 3, 2], [0, 1, 2, 3, 4], [0, 1, 1, 3], [1, 2, 3, 4]]
)
def test_a_step_that_is_lost_or_wrong_is_found(second):
    actors.check(numbered(range(4), range(4)), 2, 4)
    with pytest.raises(RuntimeError, match="stream 1"):
        actors.check(numbered(range(4), second), 2, 4)
    with pytest.raises(RuntimeError, match="stream 0"):
        actors.check(numbered(second, range(4)), 2, 4)


def test_an_actor_that_fails_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(actors, "ROOT", tmp_path)  # where there is nothing to run
    with pytest.raises(RuntimeError, match="ended with 1"):
        actors.added(tmp_path / "memory", 1, 10)


@pytest.mark.parametrize("kind", ["saved_vectors", "saved_frames"])
def test_what_is_loaded_is_what_was_saved(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "atari", lambda steps: [data.frames(steps)])
    save, load = getattr(ours, kind)(1000)
    original = save.__self__
    original.sample(8)  # what is saved draws on from here
    saved.settled(save, tmp_path / "memory")
    memory = load(tmp_path / "memory")
    assert len(memory) > 990
    assert saved.size_of(tmp_path / "memory") > memory.stats()["bytes"] * 0.9
    np.testing.assert_array_equal(memory.sample(8).key, original.sample(8).key)


def test_one_per_cent_changes_between_two_saves(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "ROWS", 2000)
    monkeypatch.setattr(disk.os, "sync", lambda: None)
    changed, added, save = [], [0], rc.Memory.save

    def watched(memory, path):
        now = memory.stats()["added"]
        changed.append((now - added[0], path.exists()))
        added[0] = now
        save(memory, path)

    monkeypatch.setattr(rc.Memory, "save", watched)
    table = disk.saving(1.0, 1, folder=tmp_path)
    # what is copied; a warm-up and a turn: each saves to a new place, changes some, saves again
    assert [there for _, there in changed] == [False, False, True, False, True]
    assert [count for count, _ in changed[1:]] == [0, 20, 0, 20]
    assert list(table.times) == [disk.SAVE, disk.AGAIN, disk.COPY, disk.COPY_SYNCED]
    assert not list(tmp_path.iterdir())


def test_directories_and_ram_are_measured_alike(tmp_path, monkeypatch):
    measured = {}
    monkeypatch.setattr(disk, "interleaved", lambda calls, turns: measured.update(calls) or {})
    disk.directory(0.002, folder=tmp_path)
    for kind in (disk.UNIFORM, disk.STACKS, disk.ADD, disk.ADD_FRAME):
        for place, store in ((disk.IN_RAM, rc.Ram), (disk.IN_DIRECTORY, rc.Directory)):
            memory = measured[f"{kind}, {place}"].func.__self__
            assert type(memory.shared.store) is store
    assert len(measured) == 8


def test_games_are_compressed_or_not_as_the_row_says(monkeypatch):
    monkeypatch.setattr(data, "atari", lambda steps, name: [data.frames(steps)])
    measured = {}
    monkeypatch.setattr(games, "interleaved", lambda calls, turns: measured.update(calls) or {})
    games.decoding(0.01)
    assert len(measured) == 4 * len(games.GAMES)
    for game in games.GAMES:
        for codec, name in ((games.PLAIN, None), (games.CODEC, "zstd")):
            draw = measured[games.row(games.DRAW, game, codec)]
            assert draw.func.__self__.shared.store.codec == name
            assert draw().obs.shape == (32, 4, 84, 84)
            measured[games.row(games.ADD, game, codec)]()
    sizes = {name: time.median for name, time in games.compressed(0.01).times.items()}
    assert sizes.pop(games.MEAN) == np.mean(list(sizes.values()))
    assert list(sizes) == list(games.GAMES) and max(sizes.values()) < 84 * 84


class Clock:
    """Stands still, unless something takes its time."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def taking(self, seconds):
        def take():
            self.now += seconds

        return take


def test_waiting_is_the_share_of_the_time_that_batches_take(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loader, "time", clock)
    assert loader.waited(clock.taking(1.0), clock.taking(3.0), 400.0) == 0.25
    assert loader.each(clock.taking(2.0), 100.0) == 2.0


def test_loaders_are_as_their_names_say(monkeypatch):
    memory = ours.stored_frames(1000, [data.frames(500)])
    made, make = [], rc.Memory.loader

    def watched(memory, size, threads, deterministic):
        made.append((threads, deterministic))
        return make(memory, size, threads=threads, deterministic=deterministic)

    monkeypatch.setattr(rc.Memory, "loader", watched)
    names = []
    for name, source in loader.sources(memory, 16).items():
        names.append(name)
        with source as batches:
            assert batches().obs.shape == (16, 4, 84, 84)
    assert names == [loader.PLAIN, loader.ONE, loader.TWO, loader.DETERMINISTIC]
    assert made == [(1, False), (2, False), (2, True)]
