"""recollect, this library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import recollect as rc
from benchmarks import data

VECTORS = rc.Schema.steps(obs=rc.Field((data.OBS,)), action=rc.Field((data.ACTION,)))
REMARKS = {
    "saved_vectors": "everything, the generator included",
    "saved_frames": "everything, the generator included",
}

FRAMES = rc.Schema.steps(obs=rc.Field(data.FRAME, np.uint8), action=rc.Field((), np.int64))


def filled(rows: int, view: Any = None, **settings: Any) -> rc.Memory:
    """A full ring of so many rows."""
    memory = rc.Memory(VECTORS, rows, view=view or rc.Transition(gamma=0.99), seed=0, **settings)
    chunk = min(rows, 100_000)
    for _ in range(rows // chunk + 1):
        memory.extend(**data.vectors(chunk), **({"stream": 0} if memory.streams else {}))
    return memory


def sample_vectors(rows: int) -> Callable[[], object]:
    memory = filled(rows)
    return lambda: memory.sample(256)


def sample_nstep(rows: int) -> Callable[[], object]:
    memory = filled(rows, rc.NStep(3, gamma=0.99))
    return lambda: memory.sample(256)


def sample_frames(rows: int) -> Callable[[], object]:
    memory = stored_frames(rows, [data.frames(data.EPISODE)])
    return lambda: memory.sample(32)


def stored_frames(rows: int, episodes: list[np.ndarray], **settings: Any) -> rc.Memory:
    view = rc.Transition(gamma=0.99, stack=data.STACK)
    # each episode takes a row more, for its last observation
    closing = sum(1 for _ in data.played(rows, episodes))
    memory = rc.Memory(FRAMES, rows + closing, view=view, seed=0, **settings)
    for frames in data.played(rows, episodes):
        extend_frames(memory, frames)
    return memory


def stored_compressed(rows: int, episodes: list[np.ndarray]) -> rc.Memory:
    return stored_frames(rows, episodes, store=rc.Ram(codec="zstd"))


def extend_frames(memory: rc.Memory, frames: np.ndarray) -> None:
    """Adds a truncated episode (T + 1, 84, 84)."""
    steps = len(frames) - 1
    memory.extend(
        obs=frames[:-1],
        action=np.zeros(steps, np.int64),
        reward=np.zeros(steps, np.float32),
        next_obs=frames[1:],
        terminated=np.zeros(steps, np.bool_),
        truncated=data.ends(steps, steps),
    )


def sequence_frames(rows: int) -> Callable[[], object]:
    batch, length = data.IMAGES
    schema = rc.Schema.steps(obs=rc.Field(data.IMAGE, np.uint8), action=rc.Field((data.ACTION,)))
    memory = rc.Memory(schema, rows, view=rc.Sequence(length), seed=0)
    episode = data.images()
    for _ in range(rows // data.EPISODE + 1):
        memory.extend(**episode)
    return lambda: memory.sample(batch)


def sequence_vectors(rows: int) -> Callable[[], object]:
    batch, length = data.WINDOWS
    memory = filled(rows, rc.Sequence(length))
    return lambda: memory.sample(batch)


def hindsight_view() -> rc.Hindsight:
    return rc.Hindsight(rc.Transition(gamma=0.98), reward=data.fetch_reward)


def with_goals(
    rows: int, episode: int, view: Any = None, observation: int = data.OBSERVATION
) -> rc.Memory:
    """A memory of exactly so many steps in episodes of so many."""
    steps = data.fetch(rows, episode, observation)
    names = ("observation", "achieved_goal", "desired_goal")
    schema = rc.Schema.steps(
        obs={name: rc.Field(steps[name].shape[1:]) for name in names},
        action=rc.Field((data.FETCH_ACTION,)),
    )
    memory = rc.Memory(schema, rows + -(-rows // episode), view=view, seed=0)
    memory.extend(
        obs={name: steps[name] for name in names},
        next_obs={name: steps.get(f"next_{name}", steps[name]) for name in names},
        **{name: steps[name] for name in ("action", "reward", "terminated", "truncated")},
    )
    return memory


def hindsight(rows: int) -> Callable[[], object]:
    memory = with_goals(rows, data.FETCH_EPISODE, hindsight_view())
    return lambda: memory.sample(256)


def by_episodes(steps: int, episodes: int, length: int) -> tuple[Callable[[], object], ...]:
    """Calls that draw sequences of so many steps, episodes as long, and with hindsight."""
    memory = with_goals(steps, steps // episodes, observation=1)
    # what an episode is too short for is not drawn, so that all draw as much
    windows = memory.reader(rc.Sequence(length, pad=False))
    whole, goals = memory.reader(rc.Episodes(length)), memory.reader(hindsight_view())
    return lambda: windows.sample(64), lambda: whole.sample(64), lambda: goals.sample(256)


def by_capacity(rows: int) -> tuple[Callable[[], object], ...]:
    """Calls that draw transitions, draw and update by priority, and draw sequences."""
    memory = filled(rows)
    batch, length = data.WINDOWS
    by_priority = _prioritized(memory.reader(rc.Transition(gamma=0.99), _sampler()), memory)
    windows = memory.reader(rc.Sequence(length))
    return lambda: memory.sample(256), by_priority, lambda: windows.sample(batch)


def prioritized(rows: int, sampler: Any = None, batch_size: int = 256) -> Callable[[], object]:
    # a sampler without members yet is false
    memory = filled(rows, sampler=_sampler() if sampler is None else sampler)
    return _prioritized(memory, memory, batch_size)


def keys_of(memory: rc.Memory) -> np.ndarray:
    """The key of every step held, in time order."""
    return np.concatenate([episode.keys for episode in memory.episodes])


def _sampler() -> rc.Prioritized:
    return rc.Prioritized(alpha=0.6, beta=0.4)


def _prioritized(reader: Any, memory: rc.Memory, batch_size: int = 256) -> Callable[[], object]:
    """Gives every row a priority of its own; then a call that draws and updates."""
    keys = keys_of(memory)
    several = max(len(keys) // 100_000, 1)
    for part, priority in zip(
        np.array_split(keys, several),
        np.array_split(data.priorities(len(keys)), several),
        strict=True,
    ):
        reader.update(part, priority=priority)
    given = data.priority_batches()

    def turn() -> object:
        batch = reader.sample(batch_size)
        reader.update(batch.key, priority=next(given)[:batch_size])
        return batch

    return turn


def ranked(rows: int) -> Callable[[], object]:
    return prioritized(rows, rc.Ranked(alpha=0.7, beta=0.4))


def mixture(rows: int) -> Callable[[], object]:
    return prioritized(rows, rc.Mixture({rc.Uniform(): 0.5, rc.Prioritized(): 0.5}))


def parts_of_mixture(rows: int) -> Callable[[], object]:
    memory, by_priority = filled(rows), prioritized(rows, batch_size=128)

    def turn() -> object:
        return memory.sample(128), by_priority()

    return turn


def offer_five(rows: int, retention: Any) -> Callable[[], object]:
    """Five examples to a full memory."""
    schema = rc.Schema.examples(obs=rc.Field((data.OBS,)), label=rc.Field((), np.int64))
    memory = rc.Memory(schema, rows, retention=retention, seed=0)
    obs, labels = data.vectors(rows)["obs"], np.arange(rows) % 10
    memory.extend(obs=obs, label=labels)
    five = {"obs": obs[:5], "label": labels[:5]}
    return lambda: memory.extend(**five)


def saved_vectors(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return filled(rows).save, rc.open


def saved_frames(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return stored_frames(rows, data.atari(min(rows, data.PLAYED))).save, rc.open


def add_one(rows: int) -> Callable[[], object]:
    memory, step = filled(rows), repeated_step()
    return lambda: memory.add(**step)


def repeated_step() -> dict[str, Any]:
    """A step that goes on where the last one ended, again and again."""
    return _repeated(*(data.vectors(1)[name][0] for name in ("obs", "action")))


def repeated_frame() -> dict[str, Any]:
    """The same of frames."""
    return _repeated(data.frames(1)[0], np.int64(0))


def _repeated(obs: np.ndarray, action: Any) -> dict[str, Any]:
    ends = {"terminated": False, "truncated": False}
    return {"obs": obs, "action": action, "reward": 1.0, "next_obs": obs, **ends}


def add_sixteen(rows: int) -> Callable[[], object]:
    memory = rc.Memory(VECTORS, rows, streams=16, view=rc.Transition(gamma=0.99), seed=0)
    steps = data.vectors(16)
    steps |= {"next_obs": steps["obs"], "truncated": np.zeros(16, np.bool_)}
    return lambda: memory.add(**steps)


def loop(rows: int) -> Callable[[], object]:
    memory, step = filled(rows), repeated_step()

    def turn() -> None:
        memory.add(**step)
        memory.sample(256)

    return turn
