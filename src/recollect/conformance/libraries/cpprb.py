"""cpprb: https://ymd_h.gitlab.io/cpprb/

`on_episode_end` is called at every end, as its documentation asks. `done` is given for
terminations alone, as it says that episodes may end without it. Streams have a buffer each, since
n-step returns and compression need consecutive steps; what cannot be told apart by stream is asked
of one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cpprb  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps, goal_reward


class Cpprb(Adapter):
    """`ReplayBuffer`, `PrioritizedReplayBuffer` and `HindsightReplayBuffer`."""

    name = "cpprb"
    package = "cpprb"
    offers = frozenset(
        {"transitions", "truncation", "bulk", "n-step", "dtypes", "proportional"}
        | {"largest priority"}
        | {"weights over memory", "stack", "future", "final", "episode", "save"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "streams": "a buffer holds one stream; transitions of several may be mixed into one",
        "seed": "its generator cannot be seeded",
        "zero priority": "a positive number is added to each priority",
        "weights over batch": "weights are divided by the largest of the memory",
        "raw weights": "weights are always divided by the largest of the memory",
        "largest live priority": "new rows enter at the largest priority until then, as documented",
        "save priorities": "save_transitions promises transitions alone; priorities are lost",
        "second process": "its buffer for several processes is another class, not looked at here",
        "sequence": "only n-step returns are made of several steps",
    }

    def make(self, settings: Settings) -> None:
        self.settings = settings
        obs: dict[str, Any] = {"shape": settings.obs_shape, "dtype": settings.obs_dtype}
        options: dict[str, Any] = {}
        if settings.stack > 1:
            obs["shape"] = (*settings.obs_shape, settings.stack)
            options = {"next_of": "obs", "stack_compress": "obs"}
        if settings.n > 1:
            options["Nstep"] = {
                "size": settings.n,
                "gamma": settings.gamma,
                "rew": "rew",
                "next": "next_obs",
            }
        fields = {"obs": obs, "act": {"shape": 1}, "rew": {}, "next_obs": obs, "done": {}}
        if settings.stack > 1:
            del fields["next_obs"]
        self._history: list[NDArray[Any]] = []
        if settings.goals:
            self.buffer = self._hindsight(settings, obs)
        elif settings.sampler == "proportional":
            self.buffer = cpprb.PrioritizedReplayBuffer(
                settings.capacity, fields, alpha=settings.alpha, check_for_update=True, **options
            )
        else:
            self.buffer = cpprb.ReplayBuffer(settings.capacity, fields, **options)

    def _hindsight(self, settings: Settings, obs: dict[str, Any]) -> Any:
        # the goal is a function of the observation: episode and step
        return cpprb.HindsightReplayBuffer(
            settings.capacity * 5,  # each step is stored with four further goals
            {"obs": obs, "act": {"shape": 1}, "next_obs": obs},
            max_episode_len=settings.longest,
            reward_func=lambda after, action, goal: goal_reward(_achieved(after), goal)[:, None],
            goal_func=_achieved,
            goal_shape=(2,),
            strategy=settings.goals,
            additional_goals=4,
            prioritized=False,
        )

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        given = {"obs": steps["obs"], "act": steps["action"], "next_obs": steps["next_obs"]}
        if self.settings.goals:
            self._goal = steps["goal"][0]
        else:
            given |= {"rew": steps["reward"], "done": steps["terminated"].astype(np.float32)}
        if self.settings.stack > 1:
            depth = self.settings.stack
            if not self._history:
                self._history = [steps["obs"]] * depth
            self._history.append(steps["next_obs"])
            given["obs"] = np.stack(self._history[-depth - 1 : -1], axis=-1)
            given["next_obs"] = np.stack(self._history[-depth:], axis=-1)
        self.buffer.add(**given)

    def add_many(self, steps: Steps, stream: int) -> None:
        self.add(steps, [stream])

    def end(self, streams: Sequence[int]) -> None:
        self._history = []
        if self.settings.goals:
            self.buffer.on_episode_end(self._goal)
        else:
            self.buffer.on_episode_end()

    def sample(self, n: int) -> Drawn:
        beta = {"beta": self.settings.beta} if self.settings.sampler == "proportional" else {}
        batch = self.buffer.sample(n, **beta)
        drawn = {
            "obs": batch["obs"],
            "action": batch["act"],
            "next_obs": batch["next_obs"],
            "reward": batch["rew"][:, 0],
        }
        if self.settings.stack > 1:
            drawn |= {name: np.moveaxis(drawn[name], -1, 1) for name in ("obs", "next_obs")}
        if self.settings.goals:
            return drawn | {"goal": batch["goal"]}
        if "weights" in batch:
            drawn |= {"key": batch["indexes"], "weight": batch["weights"]}
        discount = (1 - batch["done"][:, 0]) * self._discounts(batch)
        return drawn | {"terminated": batch["done"][:, 0] > 0, "discount": discount}

    def _discounts(self, batch: Any) -> Any:
        if "discounts" in batch:
            return batch["discounts"][:, 0]
        return self.settings.gamma**self.settings.n

    def update(self, keys: Any, priority: NDArray[np.float64]) -> None:
        self.buffer.update_priorities(keys, priority)

    def save(self, path: Path) -> None:
        self.buffer.save_transitions(str(path))

    def load(self, path: Path, settings: Settings) -> None:
        self.make(settings)
        file = path if path.exists() else path.with_suffix(".npz")
        self.buffer.load_transitions(str(file))


def _achieved(obs: NDArray[Any]) -> NDArray[np.float32]:
    achieved: NDArray[np.float32] = (obs[..., 1:3] - np.array([50, 100])).astype(np.float32)
    return achieved
