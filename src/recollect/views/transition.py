"""`Transition`: one step and its successor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.schema import Schema
from recollect.stores.base import Slots
from recollect.views.base import Fields, Gamma, Rows, Spans, View, checked_gamma, gamma_at
from recollect.views.stack import Stack


class Transition(View):
    """(obs, action, reward, next_obs), with `discount = gamma * (1 - terminated)`.

    Args:
        gamma: discount of one step, 0 to 1, or a schedule over sample calls; without it the batch
            has no `discount`.
        stack: stacks the last k observations, `{"obs": 4}`; see `recollect.views.stack`.
    """

    def __init__(
        self, gamma: Gamma | None = None, stack: int | Mapping[str, int] | None = None
    ) -> None:
        self.gamma = None if gamma is None else checked_gamma("Transition", gamma)
        self.stack = dict(stack) if isinstance(stack, Mapping) else stack
        self._stack = Stack(stack)

    def __repr__(self) -> str:
        return f"Transition(gamma={self.gamma}{self._stack})"

    def open(self, schema: Schema) -> None:
        self._stack.open(schema)

    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        # a row's successor is always there; its history must not be overwritten
        first = episodes.lost + self._stack.history * (episodes.lost > 0)
        return first, episodes.steps, 1

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        reward, mark = rows.scan(anchors)
        fields = self._stack.gather(rows, anchors, mark, 1)
        terminated = marks.terminated(mark)
        fields["reward"] = reward
        fields["terminated"] = terminated
        fields["truncated"] = marks.truncated(mark)
        fields["steps"] = steps = np.empty(len(anchors), np.int64)
        steps.fill(1)
        if self.gamma is not None:
            discount = np.full(len(anchors), gamma_at("Transition", self.gamma, call), np.float32)
            discount[terminated] = 0
            fields["discount"] = discount
        return fields
