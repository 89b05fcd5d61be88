"""`verify` finds what was damaged, names the file, and never takes a good memory for a bad one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect import marks
from recollect.cursors import COUNT_SHIFT, ENDED, HEAD, OPEN, TAIL, WORDS
from recollect.saving import contents, verify_directory
from recollect.saving import verify as verifying
from recollect.saving.findings import Finding, some
from recollect.saving.verify import verify
from recollect.stores.directory import ADDED, BOOT, ROWS, VERSION
from recollect.stores.files import container, read_container
from saving.worlds import EXAMPLES, STEPS, examples, steps

FINITE = rc.Schema.steps(
    obs={"place": rc.Field((2,), np.float32, finite=True), "wide": rc.Field((300,), finite="drop")},
    action=rc.Field((), np.int64),
    reward=rc.Field((), np.float64, finite=True),
    note=rc.Field((), np.float64, finite=True),
)


pytestmark = pytest.mark.filterwarnings("ignore::recollect.errors.ChainBreakWarning")


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch):
    """Even small memories are looked at in several parts; and nobody waits for the disk."""
    monkeypatch.setattr(contents, "PART_BYTES", 3_000)
    monkeypatch.setattr("recollect.stores.files.sync", lambda descriptor: None)
    monkeypatch.setattr("recollect.stores.directory._sync", lambda mapped, path: None)


def memory_of_steps(path: Path, count: int = 90, **more: Any) -> rc.Memory:
    """Two streams that have turned over, one with an open episode, with priorities."""
    settings: dict[str, Any] = dict(streams=2, sampler=rc.Prioritized(), seed=0)
    memory = rc.Memory(STEPS, 80, store=rc.Directory(path), **settings | more)
    for stream in range(2):
        memory.extend(stream=stream, **steps(stream, np.arange(count)))
    batch = memory.sample(16)
    memory.update(batch.key, priority=np.arange(16.0))
    return memory


def memory_of_examples(path: Path, **more: Any) -> rc.Memory:
    memory = rc.Memory(EXAMPLES, 50, store=rc.Directory(path), seed=0, **more)
    for first in range(0, 90, 9):
        keys = memory.extend(**examples(first + np.arange(9)))
        memory.remove(keys[:2])
    return memory


def mapped(path: Path, dtype: Any) -> Any:
    return np.memmap(path, dtype, "r+")


def words(path: Path) -> Any:
    return mapped(path / "cursors", np.int64).reshape(-1, WORDS)


NARROW = np.dtype([("reward", np.float32), ("mark", np.uint32)])
SIZE = 40 + 64
"""Slots of a stream."""


class Harm:
    """Ways of damaging a memory of steps, of which stream 0 holds rows up to `head`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.words = words(path)
        self.head = int(self.words[1, HEAD]) & (OPEN - 1)
        self.tail = int(self.words[1, TAIL]) & (OPEN - 1)
        self.mark = mapped(path / "rows-1" / "narrow", NARROW)["mark"]

    def slot(self, number: int) -> int:
        return number % SIZE

    def step(self, closing: bool = False) -> int:
        """A row in the middle that is (not) a closing row, and so is (not) the one after it."""
        for number in range(self.tail + 4, self.head):
            here, after = (self.mark[self.slot(number + k)] for k in (0, 1))
            ends = bool(here & marks.ENDED)
            if bool(here & marks.CLOSING) == closing and not (ends or after & marks.CLOSING):
                return number
        raise AssertionError

    def offset(self) -> str:
        number = self.step()
        self.mark[self.slot(number)] += np.uint32(1 << marks.OFFSET_SHIFT)
        return f"stream 0: rows {number} and {number + 1}: not as far into their episodes"

    def a_false_end(self) -> str:
        number = self.step()
        self.mark[self.slot(number)] |= np.uint32(marks.TERMINATED)
        return f"stream 0: rows {number + 1}: not the closing rows"

    def a_lost_closing_row(self) -> str:
        number = self.step(closing=True)
        self.mark[self.slot(number)] &= ~np.uint32(marks.CLOSING)
        return f"stream 0: rows {number}: not the closing rows"

    def a_closing_row_too_many(self) -> str:
        number = self.step()
        self.mark[self.slot(number)] |= np.uint32(marks.CLOSING)
        return f"stream 0: rows {number}: closing rows, though"

    def a_closing_row_with_an_end(self) -> str:
        number = self.step(closing=True)
        self.mark[self.slot(number)] |= np.uint32(marks.TRUNCATED)
        return f"stream 0: rows {number}: closing rows that are marked as steps"

    def a_count(self) -> str:
        self.words[1, HEAD] += 1 << COUNT_SHIFT
        return "rows that close an episode, its cursors say"

    def a_head_that_runs_ahead(self) -> str:
        self.words[1, HEAD] += 1
        return "stream 0"

    def a_head_far_ahead(self) -> str:
        self.words[1, HEAD] += 100
        return f"stream 0 holds rows {self.tail} to {self.head + 100}"

    def a_head_behind(self) -> str:
        self.words[1, HEAD] -= 5
        return f"stream 0 ends at row {self.head - 5}, before row {self.head}, which the state"

    def a_tail_in_front(self) -> str:
        self.words[1, TAIL] += 60
        return f"stream 0 holds rows {self.tail + 60} to {self.head}"

    def open_or_not(self) -> str:
        self.words[1, HEAD] ^= OPEN
        return f"stream 0: row {self.head - 1}: "

    def the_last_row(self) -> str:
        self.mark[self.slot(self.head)] += np.uint32(1 << marks.OFFSET_SHIFT)
        return f"stream 0: rows {self.head}: not as far"

    def a_word(self) -> str:
        self.words[0, VERSION] = -1
        return f"word {VERSION} of the first line is -1"

    def a_priority(self) -> str:
        ledger = mapped(self.path / "rows-1" / "beside.priority", np.dtype("i8,f8"))
        key = ledger["f0"][ledger["f0"] > 0].min() - 1
        ledger["f1"][self.slot(key)] = np.nan
        return f"stream 0: rows {key}: what is there is no priority"

    def a_negative_key(self) -> str:
        ledger = mapped(self.path / "rows-1" / "beside.priority", np.dtype("i8,f8"))
        ledger["f0"][self.slot(self.head - 1)] = -3
        return f"stream 0: rows {self.head - 1}: what is there is no priority"

    def a_file_cut_short(self) -> str:
        path = self.path / "rows-1" / "packed"
        os.truncate(path, 1_000)
        return "packed: cut short: 1000 bytes where"

    def a_file_too_long(self) -> str:
        path = self.path / "cursors"
        os.truncate(path, 1_000)
        return "cursors: too long: 1000 bytes where 192 belong"

    def a_missing_file(self) -> str:
        (self.path / "rows-1" / "field.obs.image").unlink()
        return "field.obs.image: opening: No such file"

    def a_missing_state(self) -> str:
        (self.path / "rows-1" / "state").unlink()
        return "state: reading: No such file"

    def the_state(self) -> str:
        path = self.path / "rows-1" / "state"
        mapped(path, np.uint8)[path.stat().st_size // 2] ^= 4
        return "state: its header is damaged"

    def an_array_of_the_state(self) -> str:
        path = self.path / "rows-1" / "state"
        mapped(path, np.uint8)[-1] ^= 4
        return "state: reader-0..member is damaged"

    def the_manifest(self) -> str:
        path = self.path / "recollect.json"
        path.write_text(path.read_text().replace('"capacity": 80', '"capacity": 82'))
        return "recollect.json: damaged: its checksum does not fit"


HARMS = [name for name in vars(Harm) if name[0] != "_" and name not in ("slot", "step")]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "memory"
    memory_of_steps(path).close()
    assert verify(path) == []
    return path


@pytest.mark.parametrize("harm", HARMS)
def test_damage_to_steps_is_found_and_named(tmp_path, good, harm):
    path = tmp_path / "memory"
    shutil.copytree(good, path)
    expected = getattr(Harm(path), harm)()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    findings = verify(path)
    assert any(expected in str(finding) for finding in findings), findings
    assert all(finding.path.is_relative_to(path) for finding in findings)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_damage_is_said_once_and_only_what_is_damaged(tmp_path, good):
    path = tmp_path / "memory"
    shutil.copytree(good, path)
    number = Harm(path).step()
    Harm(path).offset()
    (finding,) = verify(path)
    assert finding.path == path / "rows-1" / "narrow"
    rest = "not as far into their episodes as the rows before them say"
    assert finding.what == f"stream 0: rows {number} and {number + 1}: {rest}"
    assert some(np.arange(7)) == "0, 1, 2, 3, 4 and 2 more"


@pytest.mark.parametrize(
    ("array", "dtype", "field", "value", "expected"),
    [
        ("packed", None, "number", 7, "not as their checksums say"),
        ("field.image", None, None, 7, "not as their checksums say"),
        ("beside.arrival", np.int64, None, -1, "not as their checksums say"),
        ("beside.checksum", np.uint32, None, 5, "not as their checksums say"),
        ("beside.priority", "i8,f8", "f0", -1, "what is there is no priority"),
    ],
)
def test_damage_to_examples_is_found_and_named(tmp_path, array, dtype, field, value, expected):
    path = tmp_path / "memory"
    memory = memory_of_examples(path)
    if dtype is None:
        dtype = memory.shared.store.layout.dtypes[array]
    memory.close()
    assert verify(path) == []
    mark = mapped(path / "rows-1" / "narrow", np.uint32)
    slot = int(np.flatnonzero(mark & 1)[7])
    values = mapped(path / "rows-1" / array, dtype)
    if field is None:
        values[slot] = value
    else:
        values[field][slot] = value
    found = "\n".join(map(str, verify(path)))
    assert f"examples in slots {slot}: {expected}" in found


def test_keys_that_were_never_given(tmp_path):
    path = tmp_path / "memory"
    memory = memory_of_examples(path)
    dtypes = memory.shared.store.layout.dtypes
    memory.close()
    arrays = {name: mapped(path / "rows-1" / name, dtype) for name, dtype in dtypes.items()}
    mark, key = arrays["narrow"]["mark"], arrays["beside.key"]
    held = np.flatnonzero(mark & 1)
    slot = held[3]
    mark[slot] += 2
    number, twice, label = (arrays["packed"][name][slot] for name in ("number", "twice", "label"))
    image, arrival = arrays["field.image"][slot], arrays["beside.arrival"][slot]
    whole = [number, image, twice, label, key[slot], arrival, mark[slot]]
    arrays["beside.checksum"][slot] = zlib.crc32(b"".join(part.tobytes() for part in whole))
    key[held[5]] = key[held[6]]
    found = "\n".join(map(str, verify(path)))
    assert f"slots {slot}: these keys were never given to them" in found
    assert f"keys {key[held[5]]}: held more than once" in found
    words(path)[0, ADDED] = 3
    assert "3 examples were offered, the state knows of 90" in "\n".join(map(str, verify(path)))


def test_what_must_be_finite(tmp_path):
    path = tmp_path / "memory"
    memory = rc.Memory(FINITE, 60, store=rc.Directory(path), seed=0)
    values = {"place": np.zeros((40, 2), np.float32), "wide": np.zeros((40, 300), np.float32)}
    flags = np.zeros((2, 40), np.bool_)
    flags[0, 9::10] = True
    memory.extend(
        obs=values, next_obs=values, action=np.zeros(40, np.int64), reward=np.zeros(40),
        note=np.zeros(40), terminated=flags[0], truncated=flags[1],
    )  # fmt: skip
    arrays = memory.shared.store.arrays
    closing = int(np.flatnonzero(arrays["narrow"]["mark"] & marks.CLOSING)[1])
    arrays["packed"]["note"][closing] = np.nan  # which means nothing in a closing row
    assert verify(path) == []
    arrays["packed"]["note"][5] = np.inf
    arrays["packed"]["obs.place"][closing, 1] = np.nan
    arrays["field.obs.wide"][7, 299] = np.nan
    arrays["narrow"]["reward"][9] = -np.inf
    memory.save(tmp_path / "snapshot")
    memory.close()
    found = {(finding.path.name, finding.what) for finding in verify(path)}
    assert found == {
        ("packed", "stream 0: rows 5: note is not finite"),
        ("packed", f"stream 0: rows {closing}: obs.place is not finite"),
        ("field.obs.wide", "stream 0: rows 7: obs.wide is not finite"),
        ("narrow", "stream 0: rows 9: reward is not finite"),
    }
    found = {finding.what for finding in verify(tmp_path / "snapshot")}
    assert found == {
        "rows in slots 5: note is not finite",
        f"rows in slots {closing}: obs.place is not finite",
        "rows in slots 7: obs.wide is not finite",
        "rows in slots 9: reward is not finite",
    }


@pytest.fixture(scope="module", params=["steps", "examples", "compressed"])
def saved(request, tmp_path_factory):
    """A snapshot of several segments, and of two saves."""
    path = tmp_path_factory.mktemp("saved") / request.param
    if request.param == "examples":
        memory = rc.Memory(EXAMPLES, 50, seed=0)
        memory.extend(**examples(np.arange(40)))
    else:
        codec = "zstd" if request.param == "compressed" else None
        memory = rc.Memory(STEPS, 80, streams=2, store=rc.Ram(codec=codec), seed=0)
        for stream in range(2):
            memory.extend(stream=stream, **steps(stream, np.arange(33)))
    memory.save(path)
    if request.param == "examples":
        memory.extend(**examples(np.arange(40, 60)))
    else:
        memory.extend(stream=1, **steps(1, np.arange(33, 45)))
    memory.save(path)
    assert verify(path) == []
    return path


def test_any_flipped_bit_of_a_snapshot_is_found(tmp_path, saved):
    path = tmp_path / "snapshot"
    shutil.copytree(saved, path)
    rng = np.random.default_rng(0)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        places = {0, len(whole) - 1, *rng.integers(len(whole), size=12).tolist()}
        for place in sorted(places):
            harmed = bytearray(whole)
            harmed[place] ^= 1 << int(rng.integers(8))
            if file.suffix == ".json" and same_json(whole, bytes(harmed)):
                continue  # white space
            file.write_bytes(harmed)
            assert [f for f in verify(path) if f.path == file], (file, place)
        for size in (0, 7, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:size])
            if file.suffix == ".json" and same_json(whole, whole[:size]):
                continue
            assert [f for f in verify(path) if f.path == file], (file, size)
        file.write_bytes(whole)
    assert verify(path) == []


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def rewritten(path: Path, **changes: Any) -> None:
    """A container with other arrays under the right checksums."""
    meta, arrays = read_container(path)
    path.write_bytes(b"".join(map(bytes, container(meta, arrays | changes))))


def test_rows_that_no_segment_has(tmp_path, saved):
    path = tmp_path / "snapshot"
    shutil.copytree(saved, path)
    manifest = json.loads((path / "recollect.json").read_text())
    manifest["segments"] = manifest["segments"][1:]
    del manifest["crc"]
    manifest["crc"] = zlib.crc32(json.dumps(manifest).encode())
    (path / "recollect.json").write_text(json.dumps(manifest))
    assert "in use, but no segment has them" in "\n".join(map(str, verify(path)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: {"slots": rows["slots"] + 10_000}, "not the segment that the manifest names"),
        (lambda rows: {"slots": rows["slots"][:0]}, "this is no segment"),
        (lambda rows: {"slots": np.concatenate((rows["slots"][:1],) * 2)}, ""),
        (lambda rows: {"narrow": rows["narrow"][:3]}, "narrow: expected"),
        (lambda rows: {"other": rows["narrow"]}, "expected the arrays"),
    ],
)
def test_segments_that_are_not_what_they_should_be(tmp_path, saved, change, expected):
    path = tmp_path / "snapshot"
    shutil.copytree(saved, path)
    rewritten(path / "rows-1", **change(read_container(path / "rows-1")[1]))
    findings = verify(path)
    assert findings
    assert all(finding.path == path / "rows-1" for finding in findings)
    assert expected in str(findings[0])


def test_marks_and_states_of_snapshots(tmp_path, saved):
    path = tmp_path / "snapshot"
    shutil.copytree(saved, path)
    narrow = read_container(path / "rows-1")[1]["narrow"]
    harmed = narrow.copy()
    harmed["mark"][20] += 16
    rewritten(path / "rows-1", narrow=harmed)
    (finding, *_) = verify(path)
    if saved.name == "examples":
        assert finding.path == path / "rows-1"
        assert finding.what == "examples in slots 20: not the ones that the state knows of"
    else:
        assert finding.what.startswith("stream 0: rows ")
    rewritten(path / "rows-1", narrow=narrow)
    (state,) = path.glob("state-*")
    _, arrays = read_container(state)
    if saved.name != "examples":
        rewritten(state, **{"rows.head": arrays["rows.head"] + 1000})
        assert "stream 0 holds rows" in str(verify(path)[0])
    state.write_bytes(b"".join(map(bytes, container({}, {}))))
    found = "\n".join(map(str, verify(path)))
    assert "it lacks seeds" in found
    assert "it lacks rows." in found


@pytest.mark.parametrize("saved", ["compressed"], indirect=True)
def test_compressed_rows_that_cannot_be_decoded(tmp_path, saved):
    path = tmp_path / "snapshot"
    shutil.copytree(saved, path)
    piece = read_container(path / "rows-1")[1]["field.obs.image"].copy()
    piece[-200:] = 0
    rewritten(path / "rows-1", **{"field.obs.image": piece})
    (finding,) = verify(path)
    assert "zstd" in finding.what


def test_what_is_no_memory(tmp_path):
    with pytest.raises(rc.StorageError, match="no memory is here"):
        verify(tmp_path)
    with pytest.raises(rc.StorageError, match="there is no such folder"):
        verify(tmp_path / "nothing")


VIEWS = [rc.Transition, lambda: rc.NStep(3, gamma=0.9), lambda: rc.Sequence(4)]


@pytest.mark.parametrize("seed", range(6))
def test_a_life_of_steps_leaves_nothing_to_be_found(tmp_path, seed):
    """Overwriting, removal, cuts, breaks, resizing, saving, closing, opening, copying."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "memory"
    streams = int(rng.integers(1, 4))
    memory = rc.Memory(
        STEPS, streams * int(rng.integers(4, 60)), streams=streams, view=VIEWS[seed % 3](),
        sampler=rc.Prioritized(), store=rc.Directory(path), chain="warn", seed=seed,
    )  # fmt: skip
    at = np.zeros(streams, np.int64)
    keys = np.zeros(0, np.int64)
    for _ in range(60):
        match int(rng.integers(11)):
            case 0 | 1:
                stream = int(rng.integers(streams))
                count = int(rng.integers(1, 40))
                number = at[stream] + np.arange(count)
                keys = np.append(keys, memory.extend(stream=stream, **steps(stream, number)))
                at[stream] += count
            case 2 | 3:
                for _ in range(int(rng.integers(1, 9))):
                    keys = np.append(keys, memory.add(**steps(np.arange(streams), at)))
                    at += 1
            case 4:
                memory.cut()
                at += 1
            case 5:
                memory.remove(rng.choice(keys, min(len(keys), 4)) if len(keys) else [])
            case 6 if memory.eligible:
                batch = memory.sample(8)
                key = batch.key
                memory.update(key, priority=rng.random(8), note=rng.random((8, 2)))
            case 7:
                memory.resize(streams * int(rng.integers(4, 60)))
            case 8:
                memory.save(tmp_path / "snapshot")
                assert verify(tmp_path / "snapshot") == []
            case 9:
                memory.close()
                assert verify(path) == []
                memory = rc.open(path, episodes=["continue", "cut"][int(rng.integers(2))])
                at += 1
            case 10 if rng.random() < 0.3:
                memory.clear()
        assert verify(path) == []
    memory.save(tmp_path / "snapshot")
    memory.close()
    if memory.capacity < 150:
        rc.open(tmp_path / "snapshot", store=rc.Directory(tmp_path / "other")).close()
        assert verify(tmp_path / "other") == []


RULES = [rc.Fifo, rc.Reservoir, lambda: rc.Balanced("label"), rc.DropLowest]


@pytest.mark.parametrize("seed", range(4))
def test_a_life_of_examples_leaves_nothing_to_be_found(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "memory"
    memory = rc.Memory(
        EXAMPLES, 40, retention=RULES[seed](), sampler=rc.Prioritized(),
        store=rc.Directory(path), seed=seed,
    )  # fmt: skip
    number = 0
    for _ in range(60):
        match int(rng.integers(7)):
            case 0 | 1 | 2:
                count = int(rng.integers(1, 20))
                memory.extend(**examples(number + np.arange(count)))
                number += count
            case 3 if len(memory):
                keys = memory.sample(8).key
                memory.update(keys, priority=rng.random(8))
                memory.remove(keys[:2])
            case 4 if len(memory):
                key = np.unique(memory.sample(4).key)
                memory.update(key, label=np.arange(len(key)) % 3)
            case 5:
                memory.resize(int(rng.integers(5, 60)))
            case 6:
                memory.save(tmp_path / "snapshot")
                assert verify(tmp_path / "snapshot") == []
        assert verify(path) == []
    memory.close()
    with rc.open(path):
        assert verify(path) == []


def write_steps(path: Path, seed: int) -> None:
    """Until it is killed."""
    with rc.open(path) as memory:
        rng = np.random.default_rng(seed)
        at = np.array([1000, 1000])
        while True:
            if rng.random() < 0.1:
                memory.extend(stream=0, **steps(0, at[0] + np.arange(9)))
                at[0] += 9
            if rng.random() < 0.05:
                memory.cut()
            if rng.random() < 0.02:
                memory.resize(int(rng.integers(20, 60)) * 2)
            if rng.random() < 0.05:
                memory.update(memory.sample(8).key, priority=rng.random(8), note=np.ones((8, 2)))
            if rng.random() < 0.02:
                memory.save(path.parent / "snapshot")
            memory.add(**steps(np.arange(2), at))
            at += 1


def write_examples(path: Path, seed: int, rewrites: bool = False) -> None:
    with rc.open(path) as memory:
        number = 1000
        while True:
            memory.extend(**examples(number + np.arange(7)))
            keys = np.unique(memory.sample(6).key)
            memory.remove(keys[:1])
            if rewrites:
                memory.update(keys[1:], label=np.arange(len(keys) - 1) % 3)
            number += 7


def rewrite_examples(path: Path, seed: int) -> None:
    write_examples(path, seed, rewrites=True)


@pytest.mark.parametrize("kind", ["steps", "examples", "rewritten"])
def test_no_false_alarm_while_another_process_writes_nor_after_it_was_killed(tmp_path, kind):
    path = tmp_path / "memory"
    make, write = {
        "steps": (memory_of_steps, write_steps),
        "examples": (memory_of_examples, write_examples),
        "rewritten": (memory_of_examples, rewrite_examples),
    }[kind]
    made = make(path)
    made.save(tmp_path / "snapshot")
    made.close()
    for round_ in range(4):
        child = os.fork()
        if not child:
            try:
                write(path, round_)
            finally:
                os._exit(1)
        try:
            begun = rows_so_far(path)
            end = time.monotonic() + 20
            while rows_so_far(path) == begun and time.monotonic() < end:
                time.sleep(0.01)
            for _ in range(12):
                assert verify(path) == []
                assert verify(tmp_path / "snapshot") == []
            assert rows_so_far(path) != begun
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if kind == "rewritten":
            return  # whoever is killed while rewriting examples leaves checksums that do not fit
        assert verify(path) == []


def test_what_is_seen_while_the_learner_goes_over_to_other_rows_is_looked_at_again(
    tmp_path, monkeypatch
):
    """Its manifest names them already, and the word by which their lock can be taken does not."""
    path = tmp_path / "memory"
    memory_of_steps(path).close()
    found = verifying._found

    def rows_word(number):
        with open(path / "cursors", "r+b") as file:
            file.seek(8 * ROWS)
            file.write(int(number).to_bytes(8, "little"))

    def found_first(folder, content):
        monkeypatch.setattr(verifying, "_found", found)
        rows_word(content["rows"])
        return [Finding(folder, "overwritten while it was read")]

    rows_word(7)
    monkeypatch.setattr(verifying, "_found", found_first)
    assert verify(path) == []


def rows_so_far(path: Path) -> tuple[int, ...]:
    found = words(path)
    return (*(found[1:, HEAD]).tolist(), int(found[0, ADDED]))


def test_after_a_power_cut_what_will_be_dropped_is_passed_over(tmp_path):
    path = tmp_path / "memory"
    memory = memory_of_steps(path)
    memory.flush()
    whole = int(words(path)[1, HEAD]) & (OPEN - 1)
    memory.extend(stream=0, **steps(0, np.arange(90, 100)))
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    mark = mapped(path / "rows-1" / "narrow", NARROW)["mark"]
    mark[(whole + 2) % SIZE] = 0
    assert verify(path) != []
    words(path)[0, BOOT] += 1
    assert verify(path) == []
    mark[(whole - 3) % SIZE] ^= 64
    assert "stream 0" in str(verify(path)[0])


def test_examples_after_a_power_cut(tmp_path):
    path = tmp_path / "memory"
    memory_of_examples(path).close()
    mapped(path / "rows-1" / "field.image", np.dtype((np.uint8, 1100)))[:] ^= 1
    words(path)[0, BOOT] += 1
    assert "as after a power cut; opening the memory drops them" in str(verify(path)[0])


def test_a_half_done_cut_is_mended_and_no_damage(tmp_path, good):
    path = tmp_path / "memory"
    shutil.copytree(good, path)
    harm = Harm(path)
    if not harm.words[1, HEAD] & OPEN:
        pytest.fail("the world's stream 0 has no open episode here")
    harm.mark[harm.slot(harm.head - 1)] |= np.uint32(marks.TRUNCATED)
    assert verify(path) == []
    rc.open(path).close()
    assert verify(path) == []


def test_a_copy_without_its_locks_cannot_be_read(tmp_path, good):
    path = tmp_path / "memory"
    shutil.copytree(good, path)
    (path / "rows.lock").unlink()
    (finding,) = verify(path)
    assert finding.path == path / "rows.lock"


def test_counted_words_are_those_of_the_cursors(good):
    """So that the damages above are done where they are meant to be."""
    found = words(good)
    assert found.shape == (3, WORDS)
    assert (found[1:, ENDED] > 0).all()
    assert verify_directory.VERSION == VERSION
