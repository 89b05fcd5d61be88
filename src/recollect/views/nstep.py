"""`NStep`: the sum of up to n discounted rewards, and the observation after them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

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
        from recollect.views.returns import Returns  # imports Numba

        self._stack.open(schema)
        self._returns = Returns(schema.flat["reward"].dtype)

    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        first = episodes.lost + self._stack.history * (episodes.lost > 0)
        unfinished = (self.largest - 1) * ~episodes.ended
        return first, episodes.steps - unfinished, 1

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        n = min(max(int(self._n(call)), 1), self.largest)
        reward, mark = rows.scan(rows.move(anchors, np.arange(n)[:, None]))
        returns = self._returns.of(reward, mark, gamma_at("NStep", self.gamma, call))
        return self._stack.gather(rows, anchors, mark[0], returns["steps"]) | returns
