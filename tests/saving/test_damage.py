"""Files that are damaged, cut short or of another version are refused (CONFORMANCE.md, S7).

Of a snapshot every byte counts, and so of a directory's manifest and state. What is mapped is
another matter: rows change with every step, and have no checksum. There a changed byte is not found
in the fields, rewards and ledgers of a memory of steps (`packed`, `field.*`, `beside.*`, the
rewards in `narrow`), in all rows of a memory of examples (`recollect verify` finds these), in words
of `cursors` that are counters, and in flags of marks that could have been set. But whatever is
there, what comes of it is an error that names the file, or a memory that works.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import manifest
from saving.worlds import EXAMPLES, STEPS, examples, steps

pytestmark = pytest.mark.filterwarnings("ignore::recollect.ChainBreakWarning")

FLIPS = 14
"""Of each file."""
HOWS = ["flip"] * FLIPS + ["short"] * 4 + ["long"] * 2


def fill(memory: rc.Memory) -> None:
    if memory.schema.kind == "steps":
        for stream in range(2):
            memory.extend(stream=stream, **steps(stream, np.arange(70)))
    else:
        memory.extend(**examples(np.arange(90)))
    batch = memory.sample(30)
    memory.update(batch.key, priority=np.arange(30.0))


def made(kind: str, **more: Any) -> rc.Memory:
    if kind == "compressed":
        more = {"store": rc.Ram(codec="zstd")}
    if kind != "examples":
        memory = rc.Memory(STEPS, 80, streams=2, sampler=rc.Prioritized(), **more)
    else:
        memory = rc.Memory(EXAMPLES, 40, sampler=rc.Prioritized(), retention=rc.Reservoir(), **more)
    fill(memory)
    return memory


def use(path: Path) -> None:
    """All that goes through what is in there."""
    with rc.open(path) as memory:
        for _ in range(3):
            if memory.eligible:
                batch = memory.sample(30)
                memory.update(batch.key, priority=np.ones(30))
            fill_on(memory)
        memory.stats()
        memory.reader(sampler=rc.Shuffled()).sample(8)
        memory.resize(60)
        memory.clear()


def refusal(path: Path) -> str:
    """Why the memory there is refused; "" if it works."""
    try:
        use(path)
    except rc.DamagedError as error:
        return str(error)
    return ""


def fill_on(memory: rc.Memory) -> None:
    if memory.schema.kind == "steps":
        for stream in range(2):
            memory.extend(stream=stream, **steps(stream, 100 + np.arange(40)))
    else:
        memory.extend(**examples(np.arange(100, 140)))


def damaged(file: Path, rng: np.random.Generator, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "flip":
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    elif how == "short":
        del content[int(rng.integers(len(content))) :]
    else:
        content += bytes(int(rng.integers(1, 200)))
    file.write_bytes(content)


@pytest.mark.parametrize("kind", ["steps", "examples", "compressed"])
def test_S7_a_damaged_snapshot_is_refused(kind: str, folder: Path) -> None:
    rng = np.random.default_rng(1)
    memory = made(kind)
    memory.save(folder / "good")
    fill_on(memory)
    memory.save(folder / "good")
    names = sorted(file.name for file in (folder / "good").iterdir())
    assert len(names) >= 3
    for name in names:
        for how in HOWS:
            shutil.copytree(folder / "good", folder / "bad")
            file = folder / "bad" / name
            damaged(file, rng, how)
            if name == manifest.MANIFEST and _means_the_same(file, folder / "good" / name):
                use(folder / "bad")
            else:
                with pytest.raises(rc.DamagedError) as error:
                    rc.open(folder / "bad")
                assert str(file) in str(error.value)
            shutil.rmtree(folder / "bad")
        shutil.copytree(folder / "good", folder / "bad")
        (folder / "bad" / name).unlink()
        with pytest.raises(rc.StorageError, match=str(folder / "bad")):
            rc.open(folder / "bad")
        shutil.rmtree(folder / "bad")


def _means_the_same(file: Path, good: Path) -> bool:
    """White space may differ."""
    try:
        return bool(json.loads(file.read_bytes()) == json.loads(good.read_bytes()))
    except ValueError:
        return False


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("kind", ["steps", "examples"])
def test_S7_a_damaged_directory_is_refused_or_works(kind: str, closed: bool, folder: Path) -> None:
    rng = np.random.default_rng(2)
    good = folder / "good"
    memory = made(kind, store=rc.Directory(good))
    memory.flush()
    if closed:
        memory.close()
    else:
        fill_on(memory)
        shutil.copytree(good, folder / "killed")
        memory.close()
        good = folder / "killed"
    files = [file.relative_to(good) for file in sorted(good.rglob("*")) if file.is_file()]
    files = [file for file in files if file.name.partition("-")[0] not in LOCKS]
    assert {"cursors", "narrow", "packed", "state", "recollect.json"} <= {f.name for f in files}
    refused: dict[str, int] = {}
    for name in files:
        for how in HOWS:
            shutil.copytree(good, folder / "bad")
            file = folder / "bad" / name
            damaged(file, rng, how)
            reason = refusal(folder / "bad")
            if reason:
                assert str(folder / "bad") in reason
                refused[name.name] = refused.get(name.name, 0) + 1
            else:
                assert how == "flip"
            shutil.rmtree(folder / "bad")
        shutil.copytree(good, folder / "bad")
        (folder / "bad" / name).unlink()
        with pytest.raises(rc.StorageError, match=str(folder / "bad")):
            rc.open(folder / "bad")
        shutil.rmtree(folder / "bad")
    assert refused["state"] == FLIPS + 6
    assert refused["recollect.json"] > FLIPS


LOCKS = ("learner", "rows.lock", "stream")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("HEAD", -1), ("HEAD", 0), ("HEAD", 1 << 39), ("HEAD", 5), ("HEAD", (1 << 62) + 40),
        ("TAIL", -1), ("TAIL", 1 << 39), ("TAIL", 0), ("TAIL", 1 << 45),
        ("ENDED", 1 << 50), ("ENDED", -(1 << 50)), ("LOST", 1 << 50), ("LOST", -(1 << 50)),
    ],
)  # fmt: skip
def test_S7_cursors_that_cannot_be_are_refused(word: str, value: int, folder: Path) -> None:
    from recollect import cursors

    path = folder / "memory"
    made("steps", store=rc.Directory(path)).close()
    words = np.fromfile(path / "cursors", np.int64).reshape(-1, cursors.WORDS)
    words[1, getattr(cursors, word)] = value
    words.tofile(path / "cursors")
    for mode in ("r", "a"):
        with pytest.raises(rc.DamagedError, match=r"cursors: damaged|narrow: damaged"):
            rc.open(path, mode=mode)  # type: ignore[call-overload]


@pytest.mark.parametrize("version", [[0, 9], [2, 0], [1, 99], ["1", "0"], [1], 1])
def test_S7_another_version_is_refused(version: Any, folder: Path) -> None:
    made("steps", store=rc.Directory(folder / "memory")).close()
    content = json.loads((folder / "memory" / manifest.MANIFEST).read_bytes())
    content.pop("crc")
    content["version"] = version
    whole = {**content, "crc": manifest._crc(content)}
    (folder / "memory" / manifest.MANIFEST).write_text(json.dumps(whole))
    with pytest.raises(rc.DamagedError, match=r"recollect.json.*(version|manifest)"):
        rc.open(folder / "memory")


@pytest.mark.parametrize("kind", ["steps", "examples"])
def test_S7_a_later_minor_version_reads_an_earlier_one(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made(kind, store=rc.Directory(folder / "memory")) as memory:
        memory.save(folder / "snapshot")
        keys = memory.sample(8).key
    larger, smaller = manifest.VERSION
    monkeypatch.setattr(manifest, "VERSION", (larger, smaller + 1))
    with rc.open(folder / "memory") as found, rc.open(folder / "snapshot") as copy:
        assert len(found) == len(copy) == len(memory)
        np.testing.assert_array_equal(copy.sample(8).key, keys)
    # from now on it is one of the later version
    monkeypatch.setattr(manifest, "VERSION", (larger, smaller))
    with pytest.raises(rc.DamagedError, match=r"version 1\.1, this release reads 1\.0 to 1\.0"):
        rc.open(folder / "memory")
    rc.open(folder / "snapshot").close()


def test_S7_marks_that_cannot_be_are_refused(folder: Path) -> None:
    rng = np.random.default_rng(4)
    path = folder / "memory"
    with made("steps", store=rc.Directory(path)) as memory:
        held = memory.shared.rows.held()
        dtype = memory.shared.store.arrays["narrow"].dtype  # type: ignore[attr-defined]
    good = (path / "rows-1" / "narrow").read_bytes()
    for slot in rng.choice(held, 12, replace=False):
        for change in (1 << 5, 1 << 30, 4):
            narrow = np.frombuffer(bytearray(good), dtype)
            narrow["mark"][slot] ^= np.uint32(change)
            (path / "rows-1" / "narrow").write_bytes(narrow.tobytes())
            with pytest.raises(rc.DamagedError, match="narrow"):
                rc.open(path)
