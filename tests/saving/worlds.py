"""Steps and examples that prove themselves: every value of one tells which one it is."""

from __future__ import annotations

from typing import Any

import numpy as np

import recollect as rc
from recollect.rings import NUMBER_MASK, STREAM_SHIFT

LARGE = 1100
"""Bytes of a field that has an array of its own."""

STEPS = rc.Schema.steps(
    obs={"place": rc.Field((3,), np.int64), "image": rc.Field((LARGE,), np.uint8)},
    action=rc.Field((), np.int64),
    note=rc.Field((2,), np.float64),
)
EXAMPLES = rc.Schema.examples(
    number=rc.Field((), np.int64),
    image=rc.Field((LARGE,), np.uint8),
    twice=rc.Field((5,), np.int64),
    label=rc.Field((), np.int64),
)


def image(*code: Any) -> np.ndarray:
    """(..., LARGE) bytes, nearly all of which differ where the code does."""
    seed = np.uint64(12345)
    for part, factor in zip(code, (73856093, 19349663, 83492791), strict=False):
        seed = seed + np.asarray(part, np.int64).astype(np.uint64) * np.uint64(factor)
    spread = 2 * np.arange(LARGE, dtype=np.uint64) + np.uint64(1)
    return ((np.asarray(seed)[..., None] * spread) >> np.uint64(13)).astype(np.uint8)


def ends(stream: Any, step: Any) -> tuple[Any, Any]:
    """(terminated, truncated) of steps; an episode has 1 to 12 of them."""
    mixed = (np.asarray(step) * 2654435761 + np.asarray(stream) * 40503) >> 7
    return mixed % 9 == 0, mixed % 11 == 0


def _observed(stream: Any, step: Any, final: Any) -> dict[str, np.ndarray]:
    stream, step, final = np.broadcast_arrays(stream, step, np.asarray(final, np.int64))
    return {"place": np.stack((stream, step, final), axis=-1), "image": image(stream, step, final)}


def steps(stream: Any, step: Any) -> dict[str, Any]:
    """The fields of these steps of a world, of any shape, as `Memory.add` takes them."""
    stream, step = np.broadcast_arrays(np.asarray(stream, np.int64), np.asarray(step, np.int64))
    terminated, truncated = ends(stream, step)
    return {
        "obs": _observed(stream, step, 0),
        "action": stream * 1_000_000 + step,
        "reward": ((step * 7 + stream) % 1000).astype(np.float32),
        "next_obs": _observed(stream, step + 1, terminated | truncated),
        "terminated": terminated,
        "truncated": truncated,
        "note": np.stack((step * 0.5, stream + 0.25 * step), axis=-1),
    }


def examples(number: Any) -> dict[str, Any]:
    """The fields of these examples."""
    number = np.asarray(number, np.int64)
    return {
        "number": number,
        "image": image(number),
        "twice": number[..., None] * 2 + np.arange(5),
        "label": number % 3,
    }


def prove_steps(memory: rc.Memory) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Asserts that all that is held is whole, and in each stream one step after the other.

    Returns:
        By stream: which steps are held, oldest first, and their keys.
    """
    rows: Any = memory.shared.rows
    with memory.shared.lock:
        slots = rows.held()
        found, keys, mark = rows.whole(slots), rows.keys(slots), rows.mark[slots]
    stream, step, final = found["obs.place"].T
    expected = steps(stream, step)
    np.testing.assert_array_equal(final, 0)
    np.testing.assert_array_equal(found["obs.image"], expected["obs"]["image"])
    for name in ("action", "reward", "note"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_array_equal(mark & 1 != 0, expected["terminated"])
    assert ((mark & 2 != 0) >= expected["truncated"]).all()
    held = {}
    for each in range(rows.count):
        mine = keys >> STREAM_SHIFT == each
        np.testing.assert_array_equal(stream[mine], each)
        assert (np.diff(step[mine]) == 1).all()
        assert (np.diff(keys[mine] & NUMBER_MASK) >= 1).all()
        held[each] = step[mine], keys[mine]
    if len(memory) and memory.eligible:
        prove_batch(memory.sample(64))
    return held


def prove_batch(batch: rc.Batch) -> None:
    """Asserts that one-step transitions are what their actions say."""
    stream, step = np.divmod(batch.action, 1_000_000)
    expected = steps(stream, step)
    for name in ("obs", "next_obs"):
        place = np.array(batch[name]["place"])
        if name == "next_obs":  # where an episode was cut, its last observation was none of a final
            place[:, 2] = expected[name]["place"][:, 2]
        np.testing.assert_array_equal(place, expected[name]["place"])
    np.testing.assert_array_equal(batch.next_obs.image, expected["next_obs"]["image"])
    np.testing.assert_array_equal(batch.obs.image, expected["obs"]["image"])
    np.testing.assert_array_equal(batch.reward, expected["reward"])


def prove_examples(memory: rc.Memory) -> dict[int, int]:
    """Asserts that all examples held are whole. Returns the number in each slot that is filled."""
    rows: Any = memory.shared.rows
    with memory.shared.lock:
        slots = rows.in_use()
        found, keys = rows.whole(slots), rows.keys(slots)
    expected = examples(found["number"])
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    _, live = rows.find(keys)
    assert live.all()
    assert len(set(keys.tolist())) == len(keys)
    assert len(set(found["number"].tolist())) == len(keys) == len(memory)
    return dict(zip(slots.tolist(), found["number"].tolist(), strict=True))


def abandon(memory: rc.Memory) -> None:
    """What the system does for a process that was killed: others may have what it held."""
    memory.shared.closed = True
    memory.shared.store.close()  # type: ignore[attr-defined]
