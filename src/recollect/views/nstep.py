"""`NStep`: the sum of up to n discounted rewards, and the observation after them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ConfigurationError
from recollect.schedules import Schedule, constant
from recollect.schema import Schema
from recollect.stores.base import Slots
from recollect.views.base import Fields, Gamma, Rows, Spans, View, checked_gamma, gamma_at
from recollect.views.stack import Stack


class NStep(View):
    """n-step returns (Sutton & Barto 2018, section 7.1) that never leave their episode.

    For an anchor at step t of an episode of T steps, k = min(n, T - t):

        reward   = sum of gamma**i * reward[t + i] for i < k
        next_obs = obs[t + k], at an episode's end its true final observation
        discount = gamma**k, or 0 where the last step summed terminated
        steps    = k;  terminated and truncated are those of the last step summed

    The target of value learning is `reward + discount * V(next_obs)`. In an open episode a row
    becomes eligible once its n successors exist.

    Args:
        n: how many steps, at least 1; or a schedule over sample calls that knows its `largest`
            value (`rc.linear`, `rc.constant`), which decides eligibility.
        gamma: discount of one step, 0 to 1; or a schedule over sample calls.
        stack: stacks the last k observations, `{"obs": 4}`; see `recollect.views.stack`.
    """

    def __init__(
        self,
        n: int | Schedule,
        gamma: Gamma,
        stack: int | Mapping[str, int] | None = None,
    ) -> None:
        whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
        if not whole and not callable(n):
            raise ConfigurationError(f"NStep: expected n of at least 1 whole step, got {n!r}")
        self.n = n if callable(n) else int(n)
        self._n: Schedule = n if callable(n) else constant(int(n))
        largest = getattr(self._n, "largest", None)
        if largest is None:
            raise ConfigurationError("NStep: a schedule for n must have the attribute `largest`")
        if largest < 1:
            raise ConfigurationError(f"NStep: expected n of at least 1 whole step, got {n!r}")
        self.largest = int(largest)
        self.gamma = checked_gamma("NStep", gamma)
        self.stack = dict(stack) if isinstance(stack, Mapping) else stack
        self._stack = Stack(stack)

    def __repr__(self) -> str:
        return f"NStep({self.n}, gamma={self.gamma}{self._stack})"

    def open(self, schema: Schema) -> None:
        self._stack.open(schema)

    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        first = episodes.lost + self._stack.history * (episodes.lost > 0)
        unfinished = (self.largest - 1) * ~episodes.ended
        return first, episodes.steps - unfinished, 1

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        n = min(max(int(self._n(call)), 1), self.largest)
        # (n, B): time first, so that each step of the loops below runs over contiguous memory
        window = rows.move(anchors, np.arange(n)[:, None])
        rewards, mark = rows.scan(window)
        ended = (mark & marks.ENDED) != 0
        # a step counts if no step of the window before it ended the episode
        counted = np.ones(ended.shape, np.bool_)
        np.logical_not(np.logical_or.accumulate(ended[:-1]), out=counted[1:])
        steps = counted.sum(axis=0)
        last = mark[steps - 1, np.arange(len(anchors))]
        terminated = (last & marks.TERMINATED) != 0
        powers = gamma_at("NStep", self.gamma, call) ** np.arange(n + 1)

        fields = self._stack.gather(rows, anchors, mark[0], steps)
        fields["reward"] = _discounted_sum(rewards, counted, powers)
        fields["terminated"] = terminated
        fields["truncated"] = (last & marks.TRUNCATED) != 0
        fields["steps"] = steps
        fields["discount"] = np.where(terminated, 0, powers[steps]).astype(np.float32)
        return fields


def _discounted_sum(
    rewards: NDArray[Any], counted: NDArray[np.bool_], powers: NDArray[Any]
) -> NDArray[Any]:
    """The sum of the rewards (n, B, ...) that count, in their own dtype, at least float32."""
    shape = counted.shape + (1,) * (rewards.ndim - 2)
    # what does not count may be anything, NaN too, so it is replaced rather than multiplied by 0
    kept = np.where(counted.reshape(shape), rewards, 0)
    weights = powers[: len(kept)].reshape((-1,) + (1,) * (rewards.ndim - 1))
    total: NDArray[Any] = (kept * weights).sum(axis=0)
    return total.astype(np.result_type(rewards.dtype, np.float32))
