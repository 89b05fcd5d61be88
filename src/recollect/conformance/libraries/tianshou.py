"""Tianshou: https://tianshou.org/

n-step returns are those of `Algorithm.compute_nstep_return`, asked with values that tell where they
were looked up. Frames are stacked as its Atari examples do, by `stack_num` with `ignore_obs_next`
and `save_only_last_obs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tianshou.algorithm import Algorithm  # type: ignore[import-not-found]
from tianshou.data import (  # type: ignore[import-not-found]
    Batch,
    HERReplayBuffer,
    PrioritizedReplayBuffer,
    PrioritizedVectorReplayBuffer,
    ReplayBuffer,
    VectorReplayBuffer,
)

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps, goal_reward


class Tianshou(Adapter):
    """`ReplayBuffer`, its vector, prioritized and hindsight kinds."""

    name = "tianshou"
    package = "tianshou"
    offers = frozenset(
        {"transitions", "truncation", "streams", "ragged streams", "n-step", "stack", "dtypes"}
        | {"seed", "proportional", "largest priority", "weights over batch"}
        | {"weights over memory", "future", "save", "save priorities"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "largest live priority": "new rows enter at the largest priority there ever was",
        "zero priority": "a positive number is added to each priority",
        "sequence": "buffers draw single steps",
        "bulk": "add takes one step of each environment",
        "final": "only goals from later in the episode",
        "save generator": "prioritized draws come from NumPy's global generator",
        "raw weights": "weights are divided by that of the smallest priority, or the batch's",
    }
    remarks: ClassVar[dict[str, str]] = {
        "B3.stack": "without ignore_obs_next B8.next is wrong instead: it repeats what follows",
    }

    def make(self, settings: Settings) -> None:
        self.settings = settings
        options: dict[str, Any] = {"random_seed": settings.seed}
        if settings.stack > 1:
            options |= {
                "stack_num": settings.stack,
                "ignore_obs_next": True,
                "save_only_last_obs": True,
            }
        if settings.sampler == "proportional":
            options |= {
                "alpha": settings.alpha,
                "beta": settings.beta,
                "weight_norm": settings.weights == "batch",
            }
        self._history: list[NDArray[Any]] = []
        size, streams = settings.capacity, settings.streams
        if settings.goals:
            self.buffer: Any = HERReplayBuffer(
                size, goal_reward, horizon=settings.longest, future_k=5, **options
            )
        elif settings.sampler == "proportional":
            self.buffer = (
                PrioritizedReplayBuffer(size, **options)
                if streams == 1
                else PrioritizedVectorReplayBuffer(size, streams, **options)
            )
        else:
            self.buffer = (
                ReplayBuffer(size, **options)
                if streams == 1
                else VectorReplayBuffer(size, streams, **options)
            )

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        obs, obs_next = self._observations(steps)
        done = steps["terminated"] | steps["truncated"]
        batch = Batch(
            obs=obs,
            act=steps["action"],
            rew=steps["reward"],
            terminated=steps["terminated"],
            truncated=steps["truncated"],
            done=done,
            obs_next=obs_next,
            info=Batch(),
        )
        self.buffer.add(batch, buffer_ids=np.array(streams))
        if done.any():
            self._history = []

    def _observations(self, steps: Steps) -> tuple[Any, Any]:
        if self.settings.goals:
            names = ("", "next_")
            return tuple(
                Batch(
                    observation=steps[f"{which}obs"],
                    achieved_goal=steps[f"{which}achieved"],
                    desired_goal=steps["goal"],
                )
                for which in names
            )
        depth = self.settings.stack
        if depth == 1:
            return steps["obs"], steps["next_obs"]
        if not self._history:
            self._history = [steps["obs"]] * depth
        self._history.append(steps["next_obs"])
        before, after = self._history[-depth - 1 : -1], self._history[-depth:]
        return np.stack(before, axis=1), np.stack(after, axis=1)

    def sample(self, n: int) -> Drawn:
        batch, indices = self.buffer.sample(n)
        if self.settings.goals:
            return {
                "obs": batch.obs.observation,
                "next_obs": batch.obs_next.observation,
                "goal": batch.obs.desired_goal,
                "next_goal": batch.obs_next.desired_goal,
                "reward": batch.rew,
                "terminated": batch.terminated,
            }
        drawn = {"obs": batch.obs, "action": batch.act, "key": indices}
        if "weight" in batch:
            drawn["weight"] = batch.weight
        if self.settings.n == 1:
            return drawn | {
                "reward": batch.rew,
                "next_obs": batch.obs_next,
                "terminated": batch.terminated,
                "truncated": batch.truncated,
                "discount": self.settings.gamma * (1.0 - batch.terminated),
            }
        return drawn | self._returns(batch, indices)

    def _returns(self, batch: Any, indices: NDArray[np.int64]) -> Drawn:
        looked_up: list[NDArray[np.int64]] = []

        def value(constant: float) -> Any:
            def look_up(buffer: Any, at: NDArray[np.int64]) -> torch.Tensor:
                looked_up.append(at)
                return torch.full((len(at), 1), constant, dtype=torch.float64)

            return look_up

        settings = self.settings
        sums = [
            Algorithm.compute_nstep_return(
                batch, self.buffer, indices, value(constant), settings.gamma, settings.n
            )
            .returns.numpy()[:, 0]
            .copy()
            for constant in (0.0, 1.0)
        ]
        return {
            "reward": sums[0],
            "discount": sums[1] - sums[0],
            "next_obs": self.buffer[looked_up[0]].obs_next,
            "terminated": sums[1] == sums[0],
        }

    def update(self, keys: Any, priority: NDArray[np.float64]) -> None:
        self.buffer.update_weight(keys, priority)

    def save(self, path: Path) -> None:
        self.buffer.save_hdf5(str(path))

    def load(self, path: Path, settings: Settings) -> None:
        self.make(settings)
        self.buffer = type(self.buffer).load_hdf5(str(path))
