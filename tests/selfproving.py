"""Data that proves itself: every value of a step is a function of (stream, episode, step), so any
sampled example shows by itself whether it is right. All functions take scalars or arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any

import numpy as np

import recollect as rc
from oracle import STREAM_SHIFT, Look, leaves

# A leaf of at least 1 KiB is stored apart from the small ones, so most kinds have both.
KINDS: dict[str, Any] = {
    "flat": rc.Field((3,), np.float32),
    "image": rc.Field((32, 36), np.uint8),
    "dict": {
        "image": rc.Field((32, 36), np.uint8),
        "place": rc.Field((3,), np.int32),
        "speed": rc.Field((2,), np.float64),
    },
    "tuple": (
        rc.Field((3,), np.int64),
        rc.Field((1100,), np.uint8),
        rc.Field((), np.float32),
    ),
    "nested": {
        "eye": {"left": rc.Field((1024,), np.uint8), "pose": rc.Field((3,), np.float32)},
        "rest": (rc.Field((3,), np.int16), rc.Field((), np.bool_)),
    },
}


def schema(kind: str, **extras: Any) -> rc.Schema:
    return rc.Schema.steps(obs=KINDS[kind], action=rc.Field((), np.int64), **extras)


def _noise(size: int, stream: Any, episode: Any, step: Any) -> np.ndarray:
    """(..., size) bytes that differ at nearly every place when any of the three differs."""
    seed = np.asarray(stream) * 73856093 + np.asarray(episode) * 19349663
    seed = (seed + np.asarray(step) * 83492791 + 12345).astype(np.uint64)[..., None]
    mixed = (seed ^ np.uint64(0x9E3779B9)) * (2 * np.arange(size, dtype=np.uint64) + 1)
    return (mixed >> np.uint64(7)).astype(np.uint8)


def observe(kind: str, stream: Any, episode: Any, step: Any) -> Any:
    """What is observed there, nested as the kind is, with the arguments' shape in front."""
    stream, episode, step = np.broadcast_arrays(stream, episode, step)

    def fill(field: rc.Field) -> np.ndarray:
        size = int(np.prod(field.shape, dtype=int))
        values = _noise(size, stream, episode, step).astype(field.dtype)
        if field.dtype == np.uint8:
            places = (stream, episode % 256, episode // 256, step % 256, step // 256)
        else:
            places = (stream, episode, step)
        if size >= len(places):
            values[..., : len(places)] = np.stack(places, axis=-1)
        return values.reshape(stream.shape + tuple(field.shape))

    def build(tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {name: build(branch) for name, branch in tree.items()}
        if isinstance(tree, tuple):
            return tuple(build(branch) for branch in tree)
        return fill(tree)

    return build(KINDS[kind])


def action(stream: Any, episode: Any, step: Any) -> np.ndarray:
    return np.asarray(stream) << 40 | np.asarray(episode) << 20 | np.asarray(step)


def reward(stream: Any, episode: Any, step: Any) -> np.ndarray:
    mixed = np.asarray(stream) * 5 + np.asarray(episode) * 3 + np.asarray(step) * 7
    return (mixed % 11 - 5 + np.asarray(step) / 16).astype(np.float32)


def length(stream: Any, episode: Any) -> np.ndarray:
    """Steps of an episode in the known world: 1 to 7."""
    return 1 + (np.asarray(stream) * 3 + np.asarray(episode) * 5 + np.asarray(episode) ** 2) % 7


def ends(stream: Any, episode: Any) -> tuple[np.ndarray, np.ndarray]:
    """(terminated, truncated) of an episode's last step in the known world."""
    kind = (np.asarray(stream) + np.asarray(episode)) % 3
    return kind != 1, kind != 0


def endless_world(kind: str, stream: int) -> Iterator[dict[str, Any]]:
    """The steps of a stream whose episodes `length` and `ends` describe."""
    for episode in count():
        terminated, truncated = ends(stream, episode)
        steps = int(length(stream, episode))
        for step in range(steps):
            last = step + 1 == steps
            yield fields(
                kind,
                (stream, episode, step),
                terminated=bool(last and terminated),
                truncated=bool(last and truncated),
            )


def known_world(kind: str, stream: int, steps: int, first: int = 0) -> list[dict[str, Any]]:
    """So many steps of the stream's endless world."""
    return list(islice(endless_world(kind, stream), first, first + steps))


def fields(kind: str, at: tuple[int, int, int], **more: Any) -> dict[str, Any]:
    """The fields of one step, of which neither end is flagged unless `more` says so."""
    stream, episode, step = at
    return {
        "obs": observe(kind, stream, episode, step),
        "action": action(stream, episode, step),
        "reward": reward(stream, episode, step),
        "next_obs": observe(kind, stream, episode, step + 1),
        "terminated": False,
        "truncated": False,
    } | more


def stacked(trees: list[Any]) -> Any:
    """One nesting whose leaves hold those of all trees along a new first axis."""
    head = trees[0]
    if isinstance(head, Mapping):
        return {name: stacked([tree[name] for tree in trees]) for name in head}
    if isinstance(head, tuple):
        return tuple(stacked([tree[k] for tree in trees]) for k in range(len(head)))
    return np.stack([np.asarray(tree) for tree in trees])


def view(look: Look) -> Any:
    """The engine's view that looks as the oracle's `Look` says."""
    stack = dict(look.stack) if isinstance(look.stack, Mapping) else look.stack
    if look.n is None:
        return rc.Transition(gamma=look.gamma, stack=stack)
    return rc.NStep(look.n, gamma=look.gamma, stack=stack)


def prove(batch: rc.Batch, kind: str, look: Look) -> None:
    """Asserts that each row of a batch sampled from known worlds is what its first action says.

    Rows of open episodes are proven too: they are drawn only once their window is full."""
    code = np.asarray(batch.action)
    stream, episode, step = code >> 40, code >> 20 & (1 << 20) - 1, code & (1 << 20) - 1
    steps = np.minimum(look.steps, length(stream, episode) - step)
    last = step + steps == length(stream, episode)
    terminated, truncated = ends(stream, episode)
    gamma = 1.0 if look.gamma is None else look.gamma
    total = np.zeros(len(code))
    for k in range(look.steps):
        total += np.where(k < steps, gamma**k * reward(stream, episode, step + k), 0)

    np.testing.assert_array_equal(batch.key >> STREAM_SHIFT, stream)
    np.testing.assert_array_equal(batch.steps, steps)
    np.testing.assert_array_equal(batch.terminated, last & terminated)
    np.testing.assert_array_equal(batch.truncated, last & truncated)
    np.testing.assert_allclose(batch.reward, total, rtol=1e-5, atol=1e-5)
    if look.gamma is not None:
        discount = np.where(batch.terminated, 0, gamma ** steps.astype(float))
        np.testing.assert_allclose(batch.discount, discount, rtol=1e-6)
    for name, offset in (("obs", 0), ("next_obs", steps)):
        for path, leaf in leaves(batch[name], "obs"):
            depth = look.depth_of(path)
            back = 0 if depth is None else np.arange(depth - 1, -1, -1)
            at = (step + offset)[:, None] - back if depth else step + offset
            wide = (lambda x: x[:, None]) if depth else (lambda x: x)
            expected = observe(kind, wide(stream), wide(episode), np.maximum(at, 0))
            np.testing.assert_array_equal(leaf, dict(leaves(expected, "obs"))[path])


def everything(reader: Any) -> dict[int, dict[str, Any]]:
    """Each example that the reader can draw, by key: its values by flat name. What is drawn more
    than once must be the same each time, and all must be as probable as they are many."""
    eligible = round(1 / reader.sample(1).probability[0])
    batch = reader.sample(32 * eligible + 32)
    keys, first, inverse = np.unique(batch.key, return_index=True, return_inverse=True)
    assert len(keys) == eligible
    np.testing.assert_allclose(batch.probability, 1 / eligible)
    np.testing.assert_array_equal(batch.weight, 1)
    columns = dict(leaves(batch))
    for column in columns.values():
        np.testing.assert_array_equal(column, column[first][inverse])
    return {
        int(key): {name: column[i] for name, column in columns.items()}
        for key, i in zip(keys, first, strict=True)
    }


def agree(found: dict[int, dict[str, Any]], expected: dict[int, dict[str, Any]]) -> None:
    """Asserts that what `everything` found is what the oracle's `examples` expect."""
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key].keys() == row.keys() | {"key", "weight", "probability"}
        for name, value in row.items():
            where = f"{name} of key {key}"
            assert np.shape(found[key][name]) == np.shape(value), where
            if name in ("reward", "discount"):
                np.testing.assert_allclose(found[key][name], value, 1e-5, 1e-5, err_msg=where)
            else:
                np.testing.assert_array_equal(found[key][name], value, err_msg=where)
