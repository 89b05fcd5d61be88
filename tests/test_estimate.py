"""What a memory will need is said before it is made, and too much is refused."""

import numpy as np
import pytest

import recollect as rc
from recollect import needs as module

SCHEMA = rc.Schema.steps(
    obs=rc.Field((84, 84), np.uint8), action=rc.Field((), np.int64), speed=rc.Field((3,))
)
SAMPLERS = [
    rc.Uniform(),
    rc.Prioritized(),
    rc.Ranked(),
    rc.Weighted(),
    rc.Recent(window=10),
    rc.Shuffled(),
    rc.Oldest(),
    rc.HighestPriority(),
    rc.Mixture({rc.Newest(): 0.5, rc.Uniform(): 0.5}),
]
RETENTIONS = [rc.Fifo(), rc.Reservoir(), rc.Balanced(by="label"), rc.DropLowest()]


def bytes_of(part, seen=None):
    """All arrays that an object holds, however deep."""
    seen = set() if seen is None else seen
    if id(part) in seen:
        return 0
    seen.add(id(part))
    if isinstance(part, np.ndarray):
        return bytes_of(part.base, seen) if isinstance(part.base, np.ndarray) else part.nbytes
    if isinstance(part, dict):
        return sum(bytes_of(one, seen) for pair in part.items() for one in pair)
    if isinstance(part, (list, tuple)):
        return sum(bytes_of(value, seen) for value in part)
    return sum(bytes_of(value, seen) for value in getattr(part, "__dict__", {}).values())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_samplers_keep_what_they_say(sampler):
    sampler.open(10_000)
    assert bytes_of(sampler) / 10_000 == pytest.approx(sampler.row_bytes, abs=1)


@pytest.mark.parametrize("rule", RETENTIONS[:2], ids=repr)
def test_retention_rules_keep_what_they_say(rule):
    rule.open(10_000, rc.Schema.examples(label=rc.Field((), np.int64)))
    assert bytes_of(rule) / 10_000 == pytest.approx(rule.row_bytes, abs=1)


@pytest.mark.parametrize("streams", [None, 3])
def test_rows_take_what_was_estimated(streams):
    memory = rc.Memory(SCHEMA, 999, streams=streams)
    said = rc.estimate(SCHEMA, 999, streams=streams)
    assert said.rows == memory.stats()["bytes"] == memory.estimate().rows
    assert said.disk == 0
    assert said.ram == said.rows + 999 * 9


def test_a_directory_takes_room_on_the_disk(tmp_path):
    store = rc.Directory(tmp_path / "memory")
    with rc.Memory(SCHEMA, 100, store=store) as memory:
        said = memory.estimate()
        on_disk = sum(path.stat().st_size for path in (tmp_path / "memory").rglob("*"))
        assert said.disk == memory.stats()["bytes"]
        assert on_disk == pytest.approx(said.disk, rel=0.02)
        assert said.ram < 10_000
        assert "on the disk" in str(said)


def test_more_than_the_machine_has_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(module, "machine_ram", lambda: 1_000_000)
    with pytest.raises(rc.TooLargeError, match=r"needs 7.* MB of RAM.*has 1 MB of RAM.*Directory"):
        rc.Memory(SCHEMA, 1_000)
    with pytest.raises(MemoryError):
        rc.Memory(SCHEMA, 1_000)
    assert rc.Memory(SCHEMA, 1_000, store=rc.Ram(codec="zstd")).capacity == 1_000
    monkeypatch.setattr(module, "machine_ram", lambda: None)
    assert rc.Memory(SCHEMA, 1_000).capacity == 1_000


def test_a_disk_that_is_too_small_is_refused(tmp_path):
    with pytest.raises(rc.StorageError, match=r"takes [0-9,]+ bytes, on the disk [0-9,]+ are free"):
        rc.Memory(SCHEMA, 10**9, store=rc.Directory(tmp_path / "memory"))
    with pytest.raises(rc.StorageError, match="no memory is here"):
        rc.open(tmp_path / "memory")


def test_this_machine_says_what_it_has():
    assert (module.machine_ram() or 0) > 10**8


def test_sizes_are_shown_as_people_read_them():
    assert [module.shown(size) for size in (5, 7_056, 7.06e9, 3e13)] == [
        "5 bytes",
        "7.06 KB",
        "7.06 GB",
        "30 TB",
    ]
