"""Where a disk is full, or a folder is not ours: one clear error, and nothing is lost (S2)."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import home, snapshot
from recollect.stores import files
from saving.actors import Child
from saving.worlds import EXAMPLES, STEPS, examples, prove_examples, prove_steps, steps

NOBODY = 65534


class Full:
    """A disk on which only so many more pieces of bytes can be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        container = files.container

        def pieces(*content: Any) -> Any:
            for piece in container(*content):
                self.left -= 1
                if self.left < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                yield piece

        sync = files.sync

        def synced(descriptor: int) -> None:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, "Input/output error")
            sync(descriptor)

        for module in (home, snapshot):
            monkeypatch.setattr(module, "container", pieces)
        monkeypatch.setattr(files, "sync", synced)


@pytest.mark.parametrize("kind", ["steps", "examples"])
def test_S2_a_save_that_fails_anywhere_leaves_the_one_before(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Full(monkeypatch)
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 20_000)
    memory = rc.Memory(STEPS, 60) if kind == "steps" else rc.Memory(EXAMPLES, 60)

    def go_on(first: int, many: int) -> None:
        numbers = np.arange(first, first + many)
        memory.extend(**(steps(0, numbers) if kind == "steps" else examples(numbers)))

    def numbers_in(found: rc.Memory) -> list[int]:
        if kind == "steps":
            return list(prove_steps(found)[0][0])
        return sorted(prove_examples(found).values())

    go_on(0, 70)
    memory.save(folder / "snapshot")
    before = numbers_in(memory)
    at, pieces, failures = 70, 0, 0
    while True:
        go_on(at, 5)
        at += 5
        disk.left = pieces
        try:
            if not refused(lambda: memory.save(folder / "snapshot"), str(folder)):
                break
        finally:
            disk.left = 10**9
        failures += 1
        with rc.open(folder / "snapshot") as found:
            # or that one already, where only waiting for its name to last failed
            there = numbers_in(found)
            assert there in (before, numbers_in(memory))
            before = there
        if pieces % 3 == 0:
            memory.save(folder / "snapshot")
            before = numbers_in(memory)
            with rc.open(folder / "snapshot") as found:
                assert numbers_in(found) == before
        pieces += 1
    assert failures > 20
    with rc.open(folder / "snapshot") as found:
        assert numbers_in(found) == numbers_in(memory)
    left = {path.name for path in (folder / "snapshot").iterdir()}
    assert not any(name.endswith(".new") for name in left)
    assert len([name for name in left if name.startswith("state")]) == 1


@pytest.mark.parametrize("failing", range(4))
def test_S2_a_segment_that_does_not_reach_the_disk_fails_the_save(
    failing: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments are synced while others are written, and all that follows goes well."""
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 20_000)
    memory = rc.Memory(STEPS, 60)
    memory.extend(**steps(0, np.arange(40)))
    memory.save(folder / "snapshot")
    memory.extend(**steps(0, np.arange(40, 130)))
    sync, synced, failed = files.sync, list[int](), list[int]()

    def fails_once(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            synced.append(descriptor)
        if len(synced) == failing + 1 and not failed:
            failed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(files, "sync", fails_once)
    with pytest.raises(rc.StorageError, match=r"rows-\d+: writing: Input/output error"):
        memory.save(folder / "snapshot")
    assert failed
    with rc.open(folder / "snapshot") as found:
        assert prove_steps(found)[0][0][-1] == 39
    monkeypatch.undo()
    memory.save(folder / "snapshot")
    with rc.open(folder / "snapshot") as found:
        assert prove_steps(found)[0][0][-1] == 129


def test_a_flush_or_close_that_fails_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Full(monkeypatch)
    memory = rc.Memory(STEPS, 60, store=rc.Directory(folder / "memory"))
    memory.extend(**steps(0, np.arange(30)))
    disk.left = 3
    with pytest.raises(rc.StorageError, match="No space left on device; free some space"):
        memory.flush()
    memory.extend(**steps(0, np.arange(30, 50)))
    with pytest.raises(rc.StorageError, match=str(folder / "memory")):
        memory.close()
    disk.left = 10**9
    with rc.open(folder / "memory") as memory:
        assert prove_steps(memory)[0][0][-1] == 49


def test_a_full_disk_is_told_before_anything_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 0, 10))
        with pytest.raises(rc.StorageError, match=r"takes .* bytes, on the disk 10 are free"):
            rc.Memory(STEPS, 100, store=rc.Directory(folder / "memory"))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(rc.StorageError, match="No space left on device; free some space"):
            rc.Memory(STEPS, 100, store=rc.Directory(folder / "memory"))
    # and the next attempt works
    with rc.Memory(STEPS, 100, store=rc.Directory(folder / "memory")) as memory:
        memory.extend(**steps(0, np.arange(50)))
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full)
            with pytest.raises(rc.StorageError, match="No space left on device"):
                memory.resize(200)
        memory.extend(**steps(0, np.arange(50, 90)))
        prove_steps(memory)
        memory.resize(200)
        memory.extend(**steps(0, np.arange(90, 130)))
    with rc.open(folder / "memory") as memory:
        assert memory.capacity == 200
        assert prove_steps(memory)[0][0][-1] == 129
    assert [path.name for path in (folder / "memory").glob("rows-*")] == ["rows-2"]


def test_a_path_that_is_no_memory(folder: Path) -> None:
    memory = rc.Memory(STEPS, 60)
    memory.extend(**steps(0, np.arange(30)))
    with pytest.raises(rc.StorageError, match="there is no such folder"):
        rc.open(folder / "nothing")
    (folder / "empty").mkdir()
    with pytest.raises(rc.StorageError, match=r"no memory is here: it has no recollect\.json"):
        rc.open(folder / "empty")
    (folder / "file").write_text("mine")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes").write_text("mine")
    for name in ("file", "mine", "file/below", "missing/below"):
        with pytest.raises(rc.StorageError, match=str(folder / name)):
            rc.Memory(STEPS, 60, store=rc.Directory(folder / name))
        with pytest.raises(rc.StorageError):
            rc.open(folder / name)
        if not name.startswith("missing"):
            with pytest.raises(rc.StorageError, match=str(folder / name)):
                memory.save(folder / name)
    assert (folder / "file").read_text() == "mine"
    assert os.listdir(folder / "mine") == ["notes"]
    rc.Memory(STEPS, 60, store=rc.Directory(folder / "memory")).close()
    with pytest.raises(rc.StorageError, match="a memory lives here"):
        memory.save(folder / "memory")
    memory.save(folder / "snapshot")
    with pytest.raises(rc.StorageError, match=r"a snapshot is here: recollect\.open"):
        rc.Memory(STEPS, 60, store=rc.Directory(folder / "snapshot"))
    with pytest.raises(rc.StorageError, match="a memory is here already"):
        rc.open(folder / "snapshot", store=rc.Directory(folder / "memory"))
    memory.save(folder / "snapshot")


def refused(attempt: Callable[[], Any], message: str) -> bool:
    try:
        attempt()
    except rc.StorageError as error:
        return message in str(error)
    return False


def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    os.chmod(folder, 0o755)
    with rc.Memory(STEPS, 60, store=rc.Directory(folder / "memory")) as memory:
        memory.extend(**steps(0, np.arange(30)))
        memory.save(folder / "snapshot")
        other = rc.Memory(STEPS, 60)
        other.extend(**steps(0, np.arange(20)))
    (folder / "secret").mkdir(mode=0o700)
    paths = [folder, folder / "memory", folder / "snapshot", folder / "secret"]

    def try_all() -> None:
        if os.getuid() == 0:
            os.setuid(NOBODY)  # to root nothing is forbidden
        else:
            for path in paths:
                path.chmod(0o555)
        with rc.open(folder / "snapshot") as found:
            prove_steps(found)
        for attempt in (
            lambda: rc.open(folder / "memory"),
            lambda: rc.open(folder / "memory", stream=0),
            lambda: rc.Memory(STEPS, 60, store=rc.Directory(folder / "new")),
            lambda: rc.Memory(STEPS, 60, store=rc.Directory(folder / "memory")),
            lambda: other.save(folder / "new"),
            lambda: other.save(folder / "snapshot"),
            lambda: other.save(folder / "secret"),
        ):
            with pytest.raises(rc.StorageError, match="Permission denied"):
                attempt()
        with rc.open(folder / "memory", mode="r") as found:
            assert len(found) == 30

    Child(try_all).join()
    for path in paths:
        path.chmod(0o755)
    with rc.open(folder / "memory") as memory:
        assert len(memory) == 30
