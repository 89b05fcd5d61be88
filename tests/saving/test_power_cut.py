"""After a power cut a directory is as it was flushed (CONFORMANCE.md, S3).

What has reached the disk is told from the calls that wait for it. Of what was written to a mapped
file later, each sector of 512 bytes may be there or not, whatever the others are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import home
from recollect.stores import directory
from saving.worlds import EXAMPLES, STEPS, examples, prove_examples, prove_steps, steps

SECTOR = 512


class Disk:
    """What is known of each mapped file: how it was when it was synced, and how since then."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.images: dict[str, list[bytes]] = {}
        sync = directory._sync

        def synced(mapped: Any, name: str) -> None:
            sync(mapped, name)
            if Path(name).is_relative_to(path):
                self.images[name] = [Path(name).read_bytes()]

        monkeypatch.setattr(directory, "_sync", synced)

    def look(self) -> None:
        """Something more may be on the disk from now on."""
        for name, images in self.images.items():
            images.append(Path(name).read_bytes())

    def cut(self, to: Path, rng: np.random.Generator) -> None:
        """What may be found after the power was cut now."""
        shutil.copytree(self.path, to)
        self.look()
        share = rng.random()
        for name, images in self.images.items():
            parts = [
                np.frombuffer(image + bytes(-len(image) % SECTOR), np.uint8) for image in images
            ]
            versions = np.stack([part.reshape(-1, SECTOR) for part in parts])
            sectors = versions.shape[1]
            chosen = np.where(
                rng.random(sectors) < share, rng.integers(len(versions), size=sectors), 0
            )
            mixed = versions[chosen, np.arange(sectors)].tobytes()
            (to / Path(name).relative_to(self.path)).write_bytes(mixed[: len(images[0])])


@pytest.fixture
def next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is started anew each time that a memory is opened."""
    runs = iter(range(100, 100_000))
    monkeypatch.setattr(home, "boot", lambda: next(runs))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("next_run")
def test_S3_steps_after_a_power_cut(
    seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    streams, room = 2, 60
    disk = Disk(folder / "memory", monkeypatch)
    memory = rc.Memory(
        STEPS,
        streams * room,
        streams=streams,
        store=rc.Directory(disk.path),
        sampler=rc.Prioritized(),
        seed=seed,
    )
    at = 0

    def go_on(many: int) -> None:
        nonlocal at
        for stream in range(streams):
            memory.extend(stream=stream, **steps(stream, at + np.arange(many)))
        at += many
        if rng.random() < 0.3:
            memory.cut(0)

    for turn in range(5):
        go_on(int(rng.integers(1, 70)))
        memory.flush()
        flushed = prove_steps(memory)
        for _ in range(int(rng.integers(0, 5))):
            go_on(int(rng.integers(1, 30)))
            disk.look()
        overwritten = memory.shared.rows.tail + room // 2  # type: ignore[union-attr]
        for attempt in range(4):
            to = folder / f"cut-{turn}-{attempt}"
            disk.cut(to, rng)
            with rc.open(to) as found:
                rows: Any = found.shared.rows
                held = prove_steps(found)
                for stream, (numbers, keys) in flushed.items():
                    # all up to the flush, but what the ring may have overwritten since
                    least = keys & (1 << 40) - 1 >= rows.tail[stream]
                    np.testing.assert_array_equal(held[stream][0], numbers[least])
                    np.testing.assert_array_equal(held[stream][1], keys[least])
                    assert rows.tail[stream] <= overwritten[stream]
                first = [int(numbers[-1]) + 1 for numbers, _ in flushed.values()]
                for stream in range(streams):
                    found.extend(stream=stream, **steps(stream, first[stream] + np.arange(30)))
                assert found.stats()["chain_breaks"] == 0
                prove_steps(found)
            shutil.rmtree(to)
    memory.close()


@pytest.mark.usefixtures("next_run")
def test_S3_what_was_closed_is_whole_after_a_start(folder: Path) -> None:
    """Not a row, not a draw is lost where nothing was in doubt."""
    expected = []
    for name in ("closed", "twin"):
        store, sampler = rc.Directory(folder / name), rc.Prioritized()
        with rc.Memory(STEPS, 80, store=store, sampler=sampler, seed=1) as memory:
            memory.extend(**steps(0, np.arange(300)))
            memory.update(memory.sample(20).key, priority=np.arange(20.0))
            held = prove_steps(memory)
            if name == "twin":
                expected = [memory.sample(8).key for _ in range(3)]
    for _ in range(2):
        with rc.open(folder / "closed", mode="r") as memory:
            np.testing.assert_array_equal(prove_steps(memory)[0][1], held[0][1])
    with rc.open(folder / "closed") as memory:
        np.testing.assert_array_equal([memory.sample(8).key for _ in expected], expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("retention", [rc.Fifo, rc.Reservoir, rc.DropLowest])
@pytest.mark.usefixtures("next_run")
def test_S3_examples_after_a_power_cut(
    retention: Any, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    disk = Disk(folder / "memory", monkeypatch)
    memory = rc.Memory(
        EXAMPLES,
        50,
        store=rc.Directory(disk.path),
        sampler=rc.Prioritized(),
        retention=retention(),
        seed=seed,
    )
    at = 0

    def go_on(most: int) -> None:
        nonlocal at
        many = int(rng.integers(1, most))
        memory.extend(**examples(np.arange(at, at + many)))
        at += many
        if rng.random() < 0.8:
            memory.remove(memory.sample(8).key)

    seen_whole = 0
    for turn in range(8):
        go_on(50)
        memory.flush()
        flushed, known = prove_examples(memory), at
        for _ in range(int(rng.integers(0, 4))):
            go_on(20)
            disk.look()
        now = prove_examples(memory)
        for attempt in range(4):
            to = folder / f"cut-{turn}-{attempt}"
            disk.cut(to, rng)
            with rc.open(to) as found:
                held = prove_examples(found)
                # nothing later, nothing torn; and what was not touched since is there
                assert held.items() <= flushed.items()
                untouched = flushed.items() & now.items()
                assert untouched <= held.items()
                seen_whole += held == flushed
                assert found.stats()["added"] == known
                assert found.eligible == len(held)
                found.extend(**examples(np.arange(known, known + 60)))
                found.sample(20)
                prove_examples(found)
            shutil.rmtree(to)
    assert 0 < seen_whole < 32
    memory.close()
