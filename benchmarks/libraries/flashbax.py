"""Flashbax: https://github.com/instadeepai/flashbax (compiled, on the CPU)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flashbax
import jax
import jax.numpy as jnp
import numpy as np
from flashbax.vault import Vault

from benchmarks import data

_computed: Any = jax.block_until_ready

NOT_OFFERED = {
    "sample_nstep": "n-step returns are left to the user",
    "sample_frames": "frames are not stacked when they are drawn",
    "stored_frames": "frames are not stacked when they are drawn",
    "hindsight": "goals are left to the user",
    "saved_frames": "frames are not stacked when they are drawn",
}
_RUNNING_ON = "windows run on across episodes"
REMARKS = {
    "sequence_frames": _RUNNING_ON,
    "sequence_vectors": _RUNNING_ON,
    "saved_vectors": "a Vault, compressed; priorities, cursor and generator are lost",
}


def _steps(rows: int) -> dict[str, Any]:
    steps = data.vectors(rows)
    return {
        name: jnp.asarray(steps[name])
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated")
    }


class _Buffer:
    """A pure buffer with its state, as a training loop would hold it."""

    def __init__(self, rows: int, batches: int | None = None) -> None:
        buffer = flashbax.make_item_buffer(
            max_length=rows,
            min_length=256,
            sample_batch_size=256,
            add_sequences=False,
            add_batches=batches is not None,
        )
        steps = _steps(batches or 1)
        self.steps = steps if batches else {name: value[0] for name, value in steps.items()}
        state = buffer.init({name: value[0] for name, value in steps.items()})
        # adding a million steps one by one takes minutes: full arrays, and the cursor at the end
        full = _steps(rows)
        experience = {
            name: full[name].reshape(state.experience[name].shape) for name in state.experience
        }
        self.state = state.replace(experience=experience, is_full=jnp.asarray(True))
        self._add = jax.jit(buffer.add, donate_argnums=0)
        self._sample = jax.jit(buffer.sample)
        self._key = jax.random.PRNGKey(0)

    def add(self) -> None:
        self.state = _computed(self._add(self.state, self.steps))

    def sample(self) -> object:
        self._key, key = jax.random.split(self._key)
        return _computed(self._sample(self.state, key))


def sample_vectors(rows: int) -> Callable[[], object]:
    return _Buffer(rows).sample


def sequence_frames(rows: int) -> Callable[[], object]:
    episode = data.images()
    repeated = {
        name: np.resize(values, (rows, *values.shape[1:]))
        for name, values in episode.items()
        if name != "next_obs"
    }
    return _trajectories(repeated, *data.IMAGES)


def sequence_vectors(rows: int) -> Callable[[], object]:
    steps = data.vectors(rows)
    del steps["next_obs"]
    return _trajectories(steps, *data.WINDOWS)


def _trajectories(steps: dict[str, Any], batch: int, length: int) -> Callable[[], object]:
    rows = len(steps["reward"])
    buffer = flashbax.make_trajectory_buffer(
        add_batch_size=1,
        sample_batch_size=batch,
        sample_sequence_length=length,
        period=1,
        min_length_time_axis=length,
        max_length_time_axis=rows,
    )
    state = buffer.init({name: jnp.asarray(values[0]) for name, values in steps.items()})
    add, sample = jax.jit(buffer.add, donate_argnums=0), jax.jit(buffer.sample)
    for begin in range(0, rows, data.EPISODE):
        part = {name: values[None, begin : begin + data.EPISODE] for name, values in steps.items()}
        state = add(state, part)
    key = jax.random.PRNGKey(0)

    def call() -> object:
        nonlocal key
        key, now = jax.random.split(key)
        return _computed(sample(state, now))

    return call


def saved_vectors(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    steps = {name: values[None] for name, values in _steps(rows).items()}
    buffer = flashbax.make_trajectory_buffer(
        add_batch_size=1,
        sample_batch_size=256,
        sample_sequence_length=1,
        period=1,
        min_length_time_axis=1,
        max_length_time_axis=rows + 1,  # a ring that has come round is at its beginning
    )
    state = buffer.init({name: values[0, 0] for name, values in steps.items()})
    state = buffer.add(state, steps)

    # a Vault prints where it is
    def save(path: Path) -> None:
        with contextlib.redirect_stdout(None):
            Vault(path.name, state.experience, str(path.parent), "vault").write(state)

    def load(path: Path) -> object:
        with contextlib.redirect_stdout(None):
            vault = Vault(path.name, rel_dir=str(path.parent), vault_uid="vault")
            return _computed(vault.read())

    return save, load


def prioritized(rows: int) -> Callable[[], object]:
    buffer = flashbax.make_prioritised_item_buffer(
        max_length=rows,
        min_length=256,
        sample_batch_size=256,
        add_sequences=False,
        add_batches=False,
        priority_exponent=0.6,
    )
    full = _steps(rows)
    state = buffer.init({name: value[0] for name, value in full.items()})
    experience = {name: full[name].reshape(state.experience[name].shape) for name in full}
    state = state.replace(experience=experience, is_full=jnp.asarray(True))
    update = jax.jit(buffer.set_priorities, donate_argnums=0)
    sample = jax.jit(buffer.sample)
    state = update(state, jnp.arange(rows), jnp.asarray(data.priorities(rows), jnp.float32))
    key, given = jax.random.PRNGKey(0), data.priority_batches()

    def turn() -> None:
        nonlocal key, state
        key, now = jax.random.split(key)
        batch = sample(state, now)
        priorities = jnp.asarray(next(given), jnp.float32)
        state = _computed(update(state, batch.indices, priorities))

    return turn


def add_one(rows: int) -> Callable[[], object]:
    return _Buffer(rows).add


def add_sixteen(rows: int) -> Callable[[], object]:
    return _Buffer(rows // 16 * 16, batches=16).add


def loop(rows: int) -> Callable[[], object]:
    buffer = _Buffer(rows)

    def turn() -> None:
        buffer.add()
        buffer.sample()

    return turn
