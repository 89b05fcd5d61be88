"""`Episodes`: whole episodes, padded to one length."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ConfigurationError
from recollect.schema import Schema
from recollect.stores.base import Slots
from recollect.views import windows
from recollect.views.base import Fields, Gamma, Rows, Spans, View, checked_gamma, gamma_at


class Episodes(View):
    """Finished episodes from their first step on: every field is (B, T, ...), T = `max_length`.

    Beside the fields there are

        length   (B,), the steps that are there
        mask     (B, T), whether there is a step; padding is zeros in every field
        first    (B, T), True at the episode's first step
        row_key  (B, T), the key of the step's row, -1 in padding

    and no `next_obs`. An episode can be drawn once it has ended and while its first row is held;
    when that is overwritten, the whole episode leaves.

    Which rows are drawn decides how probable an episode is:

        by="episode"  its first row alone is drawn, under `Uniform` each episode alike.
            `probability`, `weight`, `key` and the priority that `update(batch.key, ...)` gives
            are the episode's; `remove` of its first row removes it.
        by="step"  each of its steps is drawn, and brings its whole episode: under `Uniform` in
            proportion to `length`. `probability`, `weight`, `key` and priority are those of the
            step that was drawn; the episode's probability is the sum over its steps, under
            `Uniform` `probability * length` (as long as `remove` took none of them out).

    Args:
        max_length: T, at least 1.
        by: "episode" or "step".
        longer: what becomes of longer episodes. "cut": their first `max_length` steps stand for
            them, the last of which has then not ended (and, by step, only those are drawn);
            "skip": they are never drawn.
        bootstrap: obs is (B, T + 1, ...) and holds after the last step its successor, the true
            final observation.
        gamma: discount of one step, 0 to 1, or a schedule over sample calls, for a `discount`
            (B, T), 0 where a step terminated.

    Costs O(B * T) a batch, whatever the number of episodes.

    Raises:
        ConfigurationError: a setting is out of range; or the schema has a field `length`.
    """

    has_next_obs = False

    def __init__(
        self,
        max_length: int,
        by: Literal["episode", "step"] = "episode",
        longer: Literal["cut", "skip"] = "cut",
        bootstrap: bool = False,
        gamma: Gamma | None = None,
    ) -> None:
        self.max_length = windows.checked_length("Episodes", "max_length", max_length)
        for name, value, known in (
            ("by", by, ("episode", "step")),
            ("longer", longer, ("cut", "skip")),
        ):
            if value not in known:
                raise ConfigurationError(
                    f'Episodes: {name}: expected "{known[0]}" or "{known[1]}", got {value!r}'
                )
        self.by = by
        self.longer = longer
        self.bootstrap = windows.checked_flag("Episodes", "bootstrap", bootstrap)
        self.gamma = None if gamma is None else checked_gamma("Episodes", gamma)

    def __repr__(self) -> str:
        settings = {"bootstrap": (self.bootstrap, False), "gamma": (self.gamma, None)}
        changed = [f", {name}={now}" for name, (now, usual) in settings.items() if now != usual]
        return (
            f"Episodes({self.max_length}, by={self.by!r}, longer={self.longer!r}{''.join(changed)})"
        )

    @property
    def needs(self) -> str:
        limit = f" of at most {self.max_length} steps" if self.longer == "skip" else ""
        return f"a finished episode{limit} whose first step is still held"

    def open(self, schema: Schema) -> None:
        if "length" in schema.fields:
            raise ConfigurationError(
                "Episodes: its batches have a `length` of their own; rename the schema's field"
            )

    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        drawn = 1 if self.by == "episode" else self.max_length
        whole = episodes.ended
        if self.longer == "skip":
            whole = whole & (episodes.steps <= self.max_length)
        first = np.where(episodes.lost > 0, drawn, 0)
        return first, np.minimum(episodes.steps, drawn) * whole, 1

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        if self.by == "step":
            _, mark = rows.scan(anchors)
            anchors = rows.move(anchors, -marks.offsets(mark))
        found = windows.within_episode(rows, anchors, self.max_length)
        fields = windows.gather(rows, found, self.bootstrap)
        fields["length"] = found.steps
        if self.gamma is not None:
            gamma = gamma_at("Episodes", self.gamma, call)
            fields["discount"] = windows.discounts(fields, gamma)
        return fields
