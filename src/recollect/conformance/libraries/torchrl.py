"""TorchRL: https://docs.pytorch.org/rl/

n-step returns are made by `MultiStepTransform` when steps are added, sequences by `SliceSampler`;
hindsight gets its goals from the next achieved goal, as its `achieved_goal_key` may be told.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict  # type: ignore[import-not-found]
from torchrl.data import HERReplayBuffer, LazyTensorStorage, TensorDictReplayBuffer  # type: ignore[import-not-found]
from torchrl.data.replay_buffers.samplers import PrioritizedSampler, RandomSampler, SliceSampler  # type: ignore[import-not-found]
from torchrl.envs.transforms import MultiStepTransform  # type: ignore[import-not-found]

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps, goal_reward


class TorchRL(Adapter):
    """`TensorDictReplayBuffer` with the storages, samplers and transforms that go with it."""

    name = "torchrl"
    package = "torchrl"
    offers = frozenset(
        {"transitions", "truncation", "bulk", "n-step", "sequence", "dtypes", "proportional"}
        | {"largest priority", "largest live priority", "weights over memory", "seed"}
        | {"future", "final", "episode", "save", "save priorities", "save generator"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "streams": "its samplers of episodes want one stream; a second dimension is for collectors",
        "weights over batch": "weights are divided by the largest of the memory",
        "raw weights": "weights are divided by the largest of the memory",
        "zero priority": "a positive number is added to each priority",
        "stack": "of slices that were drawn, by CatFrames, which is not looked at here",
    }
    remarks: ClassVar[dict[str, str]] = {
        "R2": "known: github.com/pytorch/rl/issues/4041",
    }

    def make(self, settings: Settings) -> None:
        self.settings = settings
        size = settings.capacity
        options: dict[str, Any] = {
            "storage": LazyTensorStorage(size),
            "batch_size": settings.batch,
            "generator": torch.Generator().manual_seed(settings.seed),
        }
        if settings.goals:
            self.buffer: Any = HERReplayBuffer(
                _reward,
                strategy=settings.goals,
                achieved_goal_key=("next", "achieved_goal"),
                **options,
            )
            return
        sampler: Any = RandomSampler()
        if settings.length:
            sampler = SliceSampler(
                slice_len=settings.length, end_key=("next", "done"), strict_length=True
            )
            options["batch_size"] = settings.batch * settings.length
        elif settings.sampler == "proportional":
            sampler = PrioritizedSampler(
                size,
                alpha=settings.alpha,
                beta=settings.beta,
                max_priority_within_buffer=True,
            )
        if settings.n > 1:
            # the flags in done_keys stay those of the first step; the others move on with next_obs
            options["transform"] = MultiStepTransform(
                n_steps=settings.n, gamma=settings.gamma, done_keys=["done"]
            )
        self.buffer = TensorDictReplayBuffer(sampler=sampler, **options)

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        self.buffer.extend(self._steps(steps))

    def add_many(self, steps: Steps, stream: int) -> None:
        self.buffer.extend(self._steps(steps))

    def _steps(self, steps: Steps) -> TensorDict:
        def tensor(name: str) -> torch.Tensor:
            value = np.ascontiguousarray(steps[name])
            return torch.from_numpy(value if value.ndim > 1 else value[:, None])

        ended = tensor("terminated") | tensor("truncated")
        step = {
            "observation": tensor("obs"),
            "action": tensor("action"),
            "next": {
                "observation": tensor("next_obs"),
                "reward": tensor("reward"),
                "terminated": tensor("terminated"),
                "truncated": tensor("truncated"),
                "done": ended,
            },
        }
        if self.settings.goals:
            step |= {"achieved_goal": tensor("achieved"), "desired_goal": tensor("goal")}
            step["next"] |= {"achieved_goal": tensor("next_achieved")}  # type: ignore[operator]
            step["next"] |= {"desired_goal": tensor("goal")}  # type: ignore[operator]
        return TensorDict(step, batch_size=[len(steps["reward"])])

    def sample(self, n: int) -> Drawn:
        settings = self.settings
        if settings.length:
            batch = self.buffer.sample(n * settings.length).reshape(-1, settings.length)
        else:
            batch = self.buffer.sample(n)
        after = batch["next"]
        drawn = {
            "obs": batch["observation"].numpy(),
            "action": batch["action"].numpy(),
            "next_obs": after["observation"].numpy(),
            "reward": after["reward"].numpy()[..., 0],
            "terminated": after["terminated"].numpy()[..., 0],
            "truncated": after["truncated"].numpy()[..., 0],
        }
        if settings.length:
            # a slice's own end is written there as well
            del drawn["truncated"], drawn["terminated"]
            return drawn
        if settings.goals:
            goals = batch["desired_goal"].numpy(), after["desired_goal"].numpy()
            return drawn | {"goal": goals[0], "next_goal": goals[1]}
        # as its losses do
        steps = batch["steps_to_next_obs"].numpy() if settings.n > 1 else 1
        drawn["discount"] = settings.gamma**steps * (1.0 - drawn["terminated"])
        if settings.sampler == "proportional":
            drawn |= {"key": batch["index"].numpy(), "weight": batch["priority_weight"].numpy()}
        return drawn

    def update(self, keys: Any, priority: NDArray[np.float64]) -> None:
        index = torch.as_tensor(np.asarray(keys, np.int64)).reshape(-1)
        self.buffer.update_priority(index, torch.as_tensor(priority, dtype=torch.float32))

    def save(self, path: Path) -> None:
        self.buffer.dumps(path)

    def load(self, path: Path, settings: Settings) -> None:
        self.make(settings)
        self.buffer.loads(path)


def _reward(steps: Any) -> torch.Tensor:
    """Of relabelled steps, under the goal that stands in them."""
    achieved = steps["next", "achieved_goal"].numpy()
    reward = goal_reward(achieved, copy.copy(steps["desired_goal"].numpy()))
    return torch.from_numpy(reward)[:, None]
