"""recollect itself: in RAM, compressed, and on disk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import recollect as rc
from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps, goal_ends, goal_reward

BATCH = (
    *("obs", "action", "reward", "next_obs", "discount", "terminated", "truncated", "steps"),
    *("mask", "first", "key", "weight", "probability"),
)


class Ram(Adapter):
    """`rc.Memory(store=rc.Ram())`."""

    name = "recollect"
    package = "recollect"
    offers = frozenset(
        {"transitions", "truncation", "streams", "ragged streams", "bulk", "n-step", "stack"}
        | {"sequence", "running sequence", "chain check", "recorder", "dtypes", "stable keys"}
        | {"seed", "proportional", "largest priority", "zero priority", "weights over batch"}
        | {"raw weights", "probability", "ranked", "reservoir", "balanced", "pool"}
        | {"future", "final", "episode", "goal ends", "save", "save priorities", "save generator"}
        | {"checked files", "largest live priority", "background"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "weights over memory": "weights are divided by the largest of the batch, or left alone",
        "crash-safe": "what must survive a kill belongs in a Directory",
        "second process": "what several processes share belongs in a Directory",
    }

    def store(self, settings: Settings) -> Any:
        """Where rows live."""
        return rc.Ram()

    def make(self, settings: Settings) -> None:
        self.settings = settings
        self.examples = settings.retention != "fifo"
        obs: Any = rc.Field(settings.obs_shape, settings.obs_dtype)
        if settings.goals:
            goal = rc.Field((2,), np.float32)
            obs = {"observation": obs, "achieved_goal": goal, "desired_goal": goal}
        action = rc.Field((1,), np.float32)
        options: dict[str, Any] = {"seed": settings.seed}
        # a row more for each episode's end
        capacity = settings.capacity + settings.streams
        if self.examples:
            fields: dict[str, Any] = {"obs": obs, "number": rc.Field((), np.int64)}
            if settings.retention == "balanced":
                fields["label"] = rc.Field((), np.int64)
            schema = rc.Schema.examples(**fields)
            if settings.retention == "reservoir":
                options["retention"] = rc.Reservoir()
            if settings.retention == "balanced":
                options["retention"] = rc.Balanced(by="label")
            capacity = settings.capacity
        else:
            schema = rc.Schema.steps(obs=obs, action=action)
            options |= {"view": self.view(settings), "streams": settings.streams}
        self.memory = rc.Memory(
            schema, capacity, sampler=_sampler(settings), store=self.store(settings), **options
        )

    def view(self, settings: Settings) -> Any:
        stack: Any = {"stack": settings.stack} if settings.stack > 1 else {}
        if settings.length:
            return rc.Sequence(settings.length, cross_episodes=settings.running)
        if settings.goals:
            return rc.Hindsight(
                rc.Transition(gamma=settings.gamma),
                reward=goal_reward,
                terminated=goal_ends if settings.ends else None,
                strategy=settings.goals,
            )
        return rc.NStep(settings.n, gamma=settings.gamma, **stack)

    def add(self, steps: Steps, streams: Sequence[int]) -> Any:
        if self.examples:
            keys = self.memory.extend(**self._example(steps))
            return None if (keys < 0).any() else keys
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rc.ChainBreakWarning)
            return self.memory.add(stream=list(streams), **self._fields(steps))

    def add_many(self, steps: Steps, stream: int) -> Any:
        return self.memory.extend(stream=stream, **self._fields(steps))

    def _example(self, steps: Steps) -> dict[str, Any]:
        fields = {"obs": steps["obs"], "number": np.zeros(len(steps["obs"]), np.int64)}
        return fields | ({"label": steps["label"]} if "label" in steps else {})

    def _fields(self, steps: Steps) -> dict[str, Any]:
        fields: dict[str, Any] = dict(steps)
        if self.settings.goals:
            goal = fields.pop("goal")
            for name, achieved in (("obs", "achieved"), ("next_obs", "next_achieved")):
                fields[name] = {
                    "observation": fields[name],
                    "achieved_goal": fields.pop(achieved),
                    "desired_goal": goal,
                }
        return fields

    def sample(self, n: int) -> Drawn:
        batch = self.memory.sample(n)
        drawn = {name: batch[name] for name in BATCH if name in batch}
        if self.settings.goals:
            drawn["goal"] = batch.obs["desired_goal"]
            drawn["next_goal"] = batch.next_obs["desired_goal"]
            drawn["obs"] = batch.obs["observation"]
            drawn["next_obs"] = batch.next_obs["observation"]
        return drawn

    def update(self, keys: Any, priority: NDArray[np.float64]) -> int:
        return self.memory.update(keys, priority=priority)

    def breaks(self) -> int:
        return int(self.memory.stats()["chain_breaks"])

    def record(self, env: Any) -> Any:
        return rc.record(env, self.memory)

    def swap(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        obs = np.zeros((len(ids), *self.settings.obs_shape), self.settings.obs_dtype)
        return np.asarray(self.memory.swap(obs=obs, number=ids)["number"])

    def save(self, path: Path) -> None:
        self.memory.save(path)

    def load(self, path: Path, settings: Settings) -> None:
        self.settings, self.examples = settings, settings.retention != "fifo"
        self.memory = rc.open(path, store=self.store(settings))

    def background_error(self) -> None:
        def fail(batch: Any) -> Any:
            return 1 / 0

        reader = self.memory.reader(transforms=[fail])
        with reader.loader(8) as loader:
            next(loader)

    def close(self) -> None:
        if hasattr(self, "memory"):
            self.memory.close()


def _sampler(settings: Settings) -> Any:
    normalize: Any = None if settings.weights == "raw" else "batch"
    if settings.sampler == "proportional":
        epsilon = 0.0 if settings.zero else 1e-6
        return rc.Prioritized(settings.alpha, settings.beta, epsilon=epsilon, normalize=normalize)
    if settings.sampler == "ranked":
        # sorted after every update; else ranks are places in a heap, as in the paper
        return rc.Ranked(settings.alpha, settings.beta, sort_every=1)
    return rc.Uniform()


class Compressed(Ram):
    """`rc.Memory(store=rc.Ram(codec="zstd"))`."""

    name = "recollect (codec)"

    def store(self, settings: Settings) -> Any:
        return rc.Ram(codec="zstd")


class OnDisk(Ram):
    """`rc.Memory(store=rc.Directory(path))`."""

    name = "recollect (Directory)"
    offers = Ram.offers | {"crash-safe", "second process"}

    def store(self, settings: Settings) -> Any:
        if settings.path:
            return rc.Directory(settings.path)
        self.folder = TemporaryDirectory(prefix="conformance-")
        return rc.Directory(Path(self.folder.name) / "memory")

    def reopen(self, path: Path, settings: Settings) -> None:
        self.settings, self.examples = settings, False
        self.memory = rc.open(path, mode="r")

    def close(self) -> None:
        super().close()
        if hasattr(self, "folder"):
            self.folder.cleanup()
