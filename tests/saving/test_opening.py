"""What `rc.open` and `rc.Memory` refuse, and that nothing is held or changed after that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from saving.worlds import EXAMPLES, STEPS, prove_steps, steps


@pytest.fixture
def places(folder: Path) -> Path:
    """A directory of two streams, one of examples, and a snapshot."""
    with rc.Memory(STEPS, 60, streams=2, store=rc.Directory(folder / "steps")) as memory:
        memory.extend(stream=0, **steps(0, np.arange(20)))
        memory.save(folder / "snapshot")
    rc.Memory(EXAMPLES, 30, store=rc.Directory(folder / "examples")).close()
    return folder


@pytest.mark.parametrize(
    ("place", "arguments", "message"),
    [
        ("steps", {"mode": "w"}, 'mode: expected "a" or "r", got \'w\''),
        ("steps", {"episodes": "drop"}, 'episodes: expected "continue" or "cut"'),
        ("steps", {"stream": 2}, "stream: expected one of 0 to 1, got 2"),
        ("steps", {"stream": True}, "stream: expected one of 0 to 1, got True"),
        ("steps", {"stream": 0, "mode": "r"}, 'mode="r" only looks'),
        ("steps", {"stream": 0, "sampler": rc.Uniform()}, "sampler: a stream is only written"),
        ("steps", {"stream": 0, "store": rc.Ram()}, "store: a stream is only written"),
        ("examples", {"stream": 0}, "a memory of examples has no streams"),
        ("snapshot", {"mode": "r"}, 'a snapshot is loaded, mode="r" is for directories'),
    ],
)
def test_what_makes_no_sense_is_named(
    place: str, arguments: dict[str, Any], message: str, places: Path
) -> None:
    with pytest.raises(rc.ConfigurationError) as error:
        rc.open(places / place, **arguments)
    assert message in str(error.value)
    rc.open(places / place).close()


def test_a_snapshot_is_not_written_by_streams(places: Path) -> None:
    with pytest.raises(rc.StorageError, match="a snapshot is here, nobody can write into it"):
        rc.open(places / "snapshot", stream=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schema": EXAMPLES, "streams": None}, "schema.kind: this memory was made with 'steps'"),
        ({"capacity": 80}, "capacity: this memory was made with 60, got 80"),
        ({"streams": 3}, "streams: this memory was made with 2, got 3"),
    ],
)
def test_other_settings_are_refused(settings: dict[str, Any], message: str, places: Path) -> None:
    given = {"schema": STEPS, "capacity": 60, "streams": 2} | settings
    with pytest.raises(rc.ConfigurationError, match=message):
        rc.Memory(store=rc.Directory(places / "steps"), **given)
    with rc.open(places / "steps") as memory:
        assert len(prove_steps(memory)[0][0]) == 20


def test_parts_may_be_others(places: Path) -> None:
    """The rows are the same; how they are replayed is the reader's choice."""
    view, sampler = rc.NStep(3, gamma=0.9), rc.Ranked()
    for place in ("steps", "snapshot"):
        with rc.open(places / place, view=view, sampler=sampler) as memory:
            assert memory.sample(200).steps.max() == 3
        view, sampler = rc.NStep(3, gamma=0.9), rc.Ranked()


@pytest.mark.filterwarnings("ignore::recollect.ChainBreakWarning")
def test_functions_must_be_given_again(folder: Path) -> None:
    def double(batch: rc.Batch) -> dict[str, Any]:
        return {"reward": batch.reward * 2}

    memory = rc.Memory(STEPS, 60, store=rc.Directory(folder / "memory"), transforms=[double])
    memory.extend(**steps(0, np.arange(20)))
    memory.save(folder / "snapshot")
    expected = memory.sample(8)
    with pytest.raises(rc.LockedError):
        rc.open(folder / "memory", transforms=[double])
    memory.close()
    for place in ("memory", "snapshot"):
        with pytest.raises(rc.ConfigurationError, match=r"transforms.*function.*double"):
            rc.open(folder / place)
    with rc.open(folder / "snapshot", transforms=[double]) as again:
        np.testing.assert_array_equal(again.sample(8).reward, expected.reward)
    with rc.open(folder / "memory", transforms=[]) as again:
        batch = again.sample(8)
        np.testing.assert_array_equal(batch.reward, batch.action * 7 % 1000)
