"""`Blend`: weights new and replayed examples so that the loss is an average of their two losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recollect.batch import Batch
from recollect.errors import ConfigurationError
from recollect.schema import as_numpy
from recollect.transforms.base import Transform, replaced
from recollect.transforms.fields import checked_number, like


class Blend(Transform):
    """Multiplies `weight`, such that however many of the batch are new and how many replayed

        mean(weight * loss) = portion * mean(weight * loss of the replayed)
                            + (1 - portion) * mean(weight * loss of the new)

    with the weights as they were on the right. So replayed examples are multiplied by
    `portion * B / how many are replayed`, new ones by `(1 - portion) * B / how many are new`. Where
    all of the batch is new, or none, there is nothing to average, and the weights stay.

    Which examples are new is known from where they came: `rc.mix` says so in `source`.

        both = rc.mix({recent: 0.5, memory: 0.5})
        blend = Blend(0.5)                                # source 0, `recent`, is what is new
        batch = blend(both.sample(64))

    Args:
        portion: of the replayed loss in the whole, 0 to 1.
        new: the place in the mix of what is new; or a function of a batch that says which are new,
            (B,) bool, such as `lambda batch: batch.task == task`.
    """

    def __init__(self, portion: float, new: int | Callable[[Batch], Any] = 0) -> None:
        self.portion = checked_number("Blend", "portion", portion, 0, 1)
        whole = isinstance(new, (int, np.integer)) and not isinstance(new, bool) and new >= 0
        if not whole and not callable(new):
            raise ConfigurationError(
                f"Blend: new: expected a place in a mix, or a function of a batch, got {new!r}"
            )
        self.new = new

    def __repr__(self) -> str:
        return f"Blend({self.portion:g}, new={self.new!r})"

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        if callable(self.new):
            new = as_numpy(self.new(batch), "new")
        elif "source" in batch:
            new = as_numpy(batch["source"], "source") == self.new
        else:
            raise ConfigurationError(
                "Blend: the batch has no field 'source', as batches of rc.mix do; pass "
                "new=function of a batch"
            )
        weight = batch["weight"]
        count = len(weight)
        if new.dtype != np.bool_ or new.shape != (count,):
            raise ConfigurationError(
                f"Blend: new: expected bool ({count},), got {new.dtype} {new.shape}"
            )
        fresh = int(new.sum())
        if fresh in (0, count):
            return batch
        factor = np.where(
            new, (1 - self.portion) * count / fresh, self.portion * count / (count - fresh)
        )
        return replaced(batch, {"weight": weight * like(weight, factor.astype(np.float32))})
