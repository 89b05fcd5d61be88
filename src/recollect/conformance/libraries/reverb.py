"""Reverb: https://github.com/google-deepmind/reverb (with its server in this process).

Items are written by a `TrajectoryWriter` for each stream, into a table with a signature: single
steps with a next observation of their own, or the last few steps of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import reverb  # type: ignore[import-not-found]
import tensorflow as tf  # type: ignore[import-untyped]
from numpy.typing import NDArray
from reverb.platform.default.checkpointers import DefaultCheckpointer  # type: ignore[import-not-found]

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps

NAMES = ("action", "next_obs", "obs", "reward", "terminated", "truncated")
"""In the order in which Reverb flattens a dictionary."""

TABLE = "rows"

FOLDERS: list[TemporaryDirectory[str]] = []
"""Of checkpoints; they outlive their servers, and are removed in the end."""


class Reverb(Adapter):
    """A table with a uniform or a prioritized selector; the oldest item leaves first."""

    name = "reverb"
    package = "dm-reverb"
    offers = frozenset(
        {"transitions", "truncation", "streams", "ragged streams", "sequence", "dtypes"}
        | {"proportional", "zero priority", "probability", "save", "save priorities"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "n-step": "returns are left to who writes the items",
        "stack": "stacks are left to who writes the items",
        "bulk": "a writer takes one step at a time",
        "stable keys": "keys come with what is drawn, not from adding",
        "seed": "its selectors cannot be seeded",
        "largest priority": "whoever writes an item gives its priority",
        "weights over batch": "it gives probabilities, and leaves weights to the user",
        "weights over memory": "it gives probabilities, and leaves weights to the user",
        "raw weights": "it gives probabilities, and leaves weights to the user",
        "save generator": "its selectors cannot be seeded, nor saved",
    }

    def make(self, settings: Settings) -> None:
        if settings.path is None:
            FOLDERS.append(TemporaryDirectory(prefix="conformance-"))
        self._serve(settings, settings.path or Path(FOLDERS[-1].name))

    def _serve(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        if settings.sampler == "proportional":
            selector = reverb.selectors.Prioritized(settings.alpha)
        else:
            selector = reverb.selectors.Uniform()
        table = reverb.Table(
            TABLE,
            sampler=selector,
            remover=reverb.selectors.Fifo(),
            max_size=settings.capacity,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature=self._signature(settings),
        )
        self.folder = folder
        checkpointer = DefaultCheckpointer(str(folder))  # loads the latest, if there is one
        self.server = reverb.Server([table], checkpointer=checkpointer)
        self.client = self.server.localhost_client()
        keep = max(settings.length, 1)
        self.writers = [self.client.trajectory_writer(keep) for _ in range(settings.streams)]
        self.written = [0] * settings.streams

    def _signature(self, settings: Settings) -> dict[str, Any]:
        obs = (settings.obs_shape, settings.obs_dtype)
        fields: dict[str, Any] = {
            "obs": obs,
            "next_obs": obs,
            "action": ((1,), np.float32),
            "reward": ((), np.float32),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
        }
        length = settings.length or 1
        return {name: tf.TensorSpec([length, *s], d) for name, (s, d) in fields.items()}

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        length = self.settings.length or 1
        for row, stream in enumerate(streams):
            writer = self.writers[stream]
            writer.append({name: steps[name][row] for name in NAMES})
            self.written[stream] += 1
            if self.written[stream] >= length:
                item = {name: writer.history[name][-length:] for name in NAMES}
                writer.create_item(TABLE, priority=1.0, trajectory=item)
            writer.flush()

    def end(self, streams: Sequence[int]) -> None:
        for stream in streams:
            self.writers[stream].end_episode()
            self.written[stream] = 0

    def sample(self, n: int) -> Drawn:
        found = list(self.client.sample(TABLE, num_samples=n, emit_timesteps=False))
        # (B, T, ...), T being 1 of single steps
        drawn: Drawn = {
            name: np.stack([item.data[k] for item in found]) for k, name in enumerate(NAMES)
        }
        if not self.settings.length:
            drawn = {name: value[:, 0] for name, value in drawn.items()}
        else:
            del drawn["next_obs"]
        info = [item.info for item in found]
        drawn["key"] = np.array([int(np.ravel(each.key)[0]) for each in info], np.uint64)
        drawn["probability"] = np.array([float(np.ravel(each.probability)[0]) for each in info])
        return drawn

    def update(self, keys: Any, priority: NDArray[np.float64]) -> None:
        updates = {int(key): float(p) for key, p in zip(keys, priority, strict=True)}
        self.client.mutate_priorities(TABLE, updates=updates)

    def save(self, path: Path) -> None:
        # checkpoints go to the folder that the server was made with
        self.client.checkpoint()
        if not path.exists():
            path.symlink_to(self.folder, target_is_directory=True)

    def load(self, path: Path, settings: Settings) -> None:
        self._serve(settings, path.resolve())

    def close(self) -> None:
        if hasattr(self, "server"):
            for writer in self.writers:
                writer.close()
            self.server.stop()
            del self.server, self.client, self.writers
