"""TorchRL: https://docs.pytorch.org/rl/ (batches come as TensorDicts of torch tensors)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from benchmarks import data

NOT_OFFERED = {
    "prioritized": "its compiled part, which prioritized sampling needs, does not load here",
    "sample_nstep": "n-step returns are made by a transform while steps are collected",
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
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(rows), batch_size=256)
    buffer.extend(_steps(data.vectors(rows)))
    return buffer


def sample_vectors(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    return lambda: buffer.sample()


def sample_frames(rows: int) -> Callable[[], object]:
    # frames are stored as stacks, and the next ones again; the rows are kept few to spare memory
    rows = min(rows, 50_000)
    shape = (rows, data.STACK, *data.FRAME)
    storage = TensorDict(
        {
            "observation": torch.ones(shape, dtype=torch.uint8),
            "action": torch.zeros(rows, dtype=torch.int64),
            "next": {
                "observation": torch.ones(shape, dtype=torch.uint8),
                "reward": torch.zeros(rows),
                "terminated": torch.zeros(rows, dtype=torch.bool),
                "done": torch.zeros(rows, dtype=torch.bool),
            },
        },
        batch_size=[rows],
    )
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(rows), batch_size=32)
    buffer.extend(storage)
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
