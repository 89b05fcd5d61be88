"""TorchRL: https://docs.pytorch.org/rl/ (batches come as TensorDicts of torch tensors)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torchrl.data import (
    HERReplayBuffer,
    LazyTensorStorage,
    ReplayBuffer,
    SliceSampler,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)
from torchrl.data.replay_buffers import samplers
from torchrl.envs.transforms import CatFrames, MultiStepTransform

from benchmarks import data

NOT_OFFERED: dict[str, str] = {}
if samplers.SumSegmentTreeFp32 is None:
    NOT_OFFERED["prioritized"] = (
        f"its compiled part does not load beside PyTorch {torch.__version__}"
    )
_SAVED = "`dumps` and `loads`; the generator is lost"
_CACHED = "slices, ends of episodes cached, as long as nothing is added"
REMARKS = {
    "sample_nstep": "`MultiStepTransform`: summed when steps are added",
    "sample_frames": "stacks, of 50 k rows",
    "sequence_frames": _CACHED,
    "sequence_vectors": _CACHED,
    "hindsight": "ends of episodes cached, as long as nothing is added",
    "stored_frames": "`CatFrames` on the buffer; the next frame once more",
    "saved_vectors": _SAVED,
    "saved_frames": f"{_SAVED}; the next frame once more; without `CatFrames`, which is not saved",
}


def _steps(steps: dict[str, Any]) -> TensorDict:
    rows = len(steps["reward"])
    return TensorDict(
        {
            "observation": torch.from_numpy(steps["obs"]),
            "action": torch.from_numpy(steps["action"]),
            "next": {
                "observation": torch.from_numpy(steps["next_obs"]),
                "reward": torch.from_numpy(steps["reward"]),
                "terminated": torch.from_numpy(steps["terminated"]),
                "done": torch.from_numpy(steps["terminated"] | steps["truncated"]),
            },
        },
        batch_size=[rows],
    )


def filled(rows: int) -> Any:
    buffer = _empty(rows)
    buffer.extend(_steps(data.vectors(rows)))
    return buffer


def _empty(rows: int) -> Any:
    return TensorDictReplayBuffer(storage=LazyTensorStorage(rows), batch_size=256)


def saved_vectors(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return _saved(filled(rows), lambda: _empty(rows))


def saved_frames(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    # `dumps` fails where `CatFrames` has not been called while steps were collected
    buffer = _empty(rows)
    for frames in data.played(rows, data.atari(min(rows, data.PLAYED))):
        buffer.extend(_framed("pixels", frames[:, None]))
    return _saved(buffer, lambda: _empty(rows))


def _saved(
    buffer: Any, empty: Callable[[], Any]
) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    def load(path: Path) -> object:
        loaded = empty()
        loaded.loads(path)
        return loaded

    return buffer.dumps, load


def sample_vectors(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    return lambda: buffer.sample()


def sample_nstep(rows: int) -> Callable[[], object]:
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(rows),
        batch_size=256,
        transform=MultiStepTransform(n_steps=3, gamma=0.99),
    )
    # a million steps at once would take the transform 64 GB
    for steps in _with_axis(_steps(data.vectors(rows))).split(data.EPISODE):
        buffer.extend(steps)
    return lambda: buffer.sample()


def prioritized(rows: int) -> Callable[[], object]:
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=0.6, beta=0.4, storage=LazyTensorStorage(rows), batch_size=256
    )
    buffer.extend(_steps(data.vectors(rows)))
    buffer.update_priority(torch.arange(rows), torch.from_numpy(data.priorities(rows)).float())
    given = map(torch.from_numpy, data.priority_batches())

    def turn() -> None:
        buffer.update_priority(buffer.sample()["index"], next(given).float())

    return turn


def sample_frames(rows: int) -> Callable[[], object]:
    # frames are stored as stacks, and the next ones again; the rows are kept few to spare memory
    rows = min(rows, 50_000)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(rows), batch_size=32)
    frames = data.frames(data.EPISODE)
    for episode in data.played(rows, [frames]):
        buffer.extend(_framed("observation", np.moveaxis(data.stacks(episode), -1, 1)))
    return lambda: buffer.sample()


def stored_frames(rows: int, episodes: list[np.ndarray]) -> Any:
    stack = CatFrames(
        N=data.STACK, dim=-3, in_keys=["pixels"], out_keys=["stack"], reset_key="_reset"
    )
    # the frames have to be told from their stacks by an axis of channels
    transform, sampler = stack.make_rb_transform_and_sampler(32, end_key=("next", "done"))
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(rows), sampler=sampler, transform=transform, batch_size=32
    )
    for frames in data.played(rows, episodes):
        buffer.extend(_framed("pixels", frames[:, None]))
    return buffer


def _framed(name: str, frames: np.ndarray) -> TensorDict:
    """An episode of so many frames or stacks, (T + 1, ...)."""
    rows = len(frames) - 1
    done = torch.from_numpy(data.ends(rows, rows))[:, None]
    obs = torch.from_numpy(np.ascontiguousarray(frames))
    return TensorDict(
        {
            name: obs[:-1],
            "action": torch.zeros(rows, dtype=torch.int64),
            "done": torch.zeros_like(done),
            "next": {
                name: obs[1:],
                "reward": torch.zeros(rows, 1),
                "terminated": torch.zeros_like(done),
                "done": done,
            },
        },
        batch_size=[rows],
    )


def sequence_frames(rows: int) -> Callable[[], object]:
    buffer, call = _slices(rows, *data.IMAGES)
    steps = _without_next(data.images())
    for _ in range(rows // data.EPISODE):
        buffer.extend(steps)
    return call


def sequence_vectors(rows: int) -> Callable[[], object]:
    buffer, call = _slices(rows, *data.WINDOWS)
    buffer.extend(_without_next(data.vectors(rows)))
    return call


def _slices(rows: int, batch: int, length: int) -> tuple[Any, Callable[[], object]]:
    sampler = SliceSampler(slice_len=length, end_key=("next", "done"), cache_values=True)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(rows), sampler=sampler, batch_size=batch * length
    )
    return buffer, lambda: buffer.sample().reshape(batch, length)


def _without_next(steps: dict[str, Any]) -> TensorDict:
    """Steps whose next observation is the next step's."""
    return _with_axis(_steps(steps).exclude(("next", "observation")))


def _with_axis(steps: TensorDict) -> TensorDict:
    """Rewards and ends as (T, 1), which slices and n-step returns want."""
    for name in ("reward", "terminated", "done"):
        steps["next", name] = steps["next", name][:, None]
    return steps


def hindsight(rows: int) -> Callable[[], object]:
    def reward(steps: TensorDict) -> Any:
        apart = (steps["next", "achieved_goal"] - steps["desired_goal"]).norm(dim=-1, keepdim=True)
        return -(apart > data.NEAR).float()

    buffer = HERReplayBuffer(reward, her_ratio=0.8, storage=LazyTensorStorage(rows), batch_size=256)
    steps = {name: torch.from_numpy(values) for name, values in data.fetch(rows).items()}
    names = ("observation", "achieved_goal", "desired_goal")
    buffer.extend(
        TensorDict(
            {
                **{name: steps[name] for name in names},
                "action": steps["action"],
                "next": {
                    **{name: steps.get(f"next_{name}", steps[name]) for name in names},
                    "reward": steps["reward"][:, None],
                    "terminated": steps["terminated"][:, None],
                    "done": (steps["terminated"] | steps["truncated"])[:, None],
                },
            },
            batch_size=[rows],
        )
    )
    return lambda: buffer.sample()


def add_one(rows: int) -> Callable[[], object]:
    buffer, step = filled(rows), _steps(data.vectors(1))[0]
    return lambda: buffer.add(step)


def add_sixteen(rows: int) -> Callable[[], object]:
    buffer, steps = filled(rows), _steps(data.vectors(16))
    return lambda: buffer.extend(steps)


def loop(rows: int) -> Callable[[], object]:
    buffer, step = filled(rows), _steps(data.vectors(1))[0]

    def turn() -> None:
        buffer.add(step)
        buffer.sample()

    return turn
