"""Flashbax: https://github.com/instadeepai/flashbax (compiled, on the CPU).

Transitions are items with a next observation of their own, sequences come from a trajectory buffer
that says by the flags stored with each step where episodes end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import flashbax  # type: ignore[import-not-found]
import jax
import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps

NAMES = ("obs", "action", "reward", "next_obs", "terminated", "truncated")


class Flashbax(Adapter):
    """`make_item_buffer`, `make_prioritised_item_buffer` and `make_trajectory_buffer`."""

    name = "flashbax"
    package = "flashbax"
    offers = frozenset(
        {"transitions", "truncation", "streams", "bulk", "running sequence", "dtypes", "seed"}
        | {"proportional", "largest priority", "zero priority", "probability"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "largest live priority": "new rows enter at the largest priority there ever was",
        "n-step": "returns are left to the user",
        "sequence": "its sequences run on across episodes",
        "weights over batch": "it gives probabilities, and leaves weights to the user",
        "weights over memory": "it gives probabilities, and leaves weights to the user",
        "raw weights": "it gives probabilities, and leaves weights to the user",
        "ragged streams": "a batch of all streams is added at a time",
        "save": "its Vault records experience, not the state of a buffer",
    }

    def make(self, settings: Settings) -> None:
        self.settings = settings
        # it refuses a batch larger than the buffer
        batch = min(settings.batch, settings.capacity // settings.streams)
        proportional = settings.sampler == "proportional"
        made = _compiled(
            settings.capacity,
            batch,
            settings.streams,
            settings.length,
            proportional,
            settings.alpha,
        )
        buffer, self._add, self._sample, self._update = made
        step = {
            "obs": np.zeros(settings.obs_shape, settings.obs_dtype),
            "action": np.zeros(1, np.float32),
            "reward": np.float32(0),
            "next_obs": np.zeros(settings.obs_shape, settings.obs_dtype),
            "terminated": np.bool_(False),
            "truncated": np.bool_(False),
        }
        self.state = buffer.init(step)
        self._key = jax.random.PRNGKey(settings.seed)

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        # (streams, time, ...)
        given = {name: steps[name][:, None] for name in NAMES}
        self._put(given)

    def add_many(self, steps: Steps, stream: int) -> None:
        given = {name: steps[name][None] for name in NAMES}
        self._put(given)

    def _put(self, given: Any) -> None:
        self.state = self._add(self.state, given)
        # what was given may be changed as soon as this returns
        wait: Any = jax.block_until_ready
        wait(self.state)

    def sample(self, n: int) -> Drawn:
        self._key, key = jax.random.split(self._key)
        batch = self._sample(self.state, key)
        drawn: Drawn = {name: np.asarray(batch.experience[name]) for name in NAMES}
        if self.settings.length:
            del drawn["next_obs"]
        if self.settings.sampler == "proportional":
            drawn |= {
                "key": np.asarray(batch.indices),
                "probability": np.asarray(batch.probabilities),
            }
        return drawn

    def update(self, keys: Any, priority: NDArray[np.float64]) -> None:
        indices = np.asarray(keys, np.int32)
        self.state = self._update(self.state, indices, priority.astype(np.float32))


@cache
def _compiled(
    capacity: int, batch: int, streams: int, length: int, proportional: bool, alpha: float
) -> tuple[Any, Any, Any, Any]:
    """A buffer, and its functions compiled."""
    if length:
        buffer: Any = flashbax.make_trajectory_buffer(
            add_batch_size=streams,
            sample_batch_size=batch,
            sample_sequence_length=length,
            period=1,
            min_length_time_axis=length,
            max_length_time_axis=capacity // streams,
        )
    elif proportional:
        buffer = flashbax.make_prioritised_item_buffer(
            max_length=capacity,
            min_length=1,
            sample_batch_size=batch,
            add_sequences=True,
            add_batches=True,
            priority_exponent=alpha,
            device="cpu",
        )
    else:
        buffer = flashbax.make_item_buffer(
            max_length=capacity,
            min_length=1,
            sample_batch_size=batch,
            add_sequences=True,
            add_batches=True,
        )
    update = jax.jit(buffer.set_priorities) if proportional else None
    return buffer, jax.jit(buffer.add), jax.jit(buffer.sample), update
