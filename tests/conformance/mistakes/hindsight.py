"""H: mistakes about goals that were reached later."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.mistakes.registry import fails
from conformance.toys import Right


@fails("H1.goal")
class GoalsOfBefore(Right):
    def goal(self, row: dict[str, Any]) -> Any:
        episode = [each for each in self.rows if each["episode"] == row["episode"]]
        later = [each for each in episode if each["key"] >= row["key"]]
        return later[int(self.rng.integers(0, len(later)))]["achieved"]


@fails("H1.reward future", "H1.reward final", "H1.reward episode")
class RewardsStay(Right):
    def relabel(self, rows: Any) -> Any:
        return super().relabel(rows) | {"reward": np.array([row["reward"] for row in rows])}


@fails("H2.future")
class FutureLooksBack(Right):
    def goal(self, row: dict[str, Any]) -> Any:
        episode = [each for each in self.rows if each["episode"] == row["episode"]]
        return episode[int(self.rng.integers(0, len(episode)))]["next_achieved"]


@fails("H2.final")
class FinalIsTheLastButOne(Right):
    def goal(self, row: dict[str, Any]) -> Any:
        return super().goal(row) - np.array([0, 1], np.float32)


@fails("H2.episode", "H2.ring future", "H2.ring final", "H2.ring episode")
class GoalsOfAnyEpisode(Right):
    def goal(self, row: dict[str, Any]) -> Any:
        return self.rows[int(self.rng.integers(0, len(self.rows)))]["next_achieved"]


@fails("H3")
class EndsStay(Right):
    def relabel(self, rows: Any) -> Any:
        return super().relabel(rows) | {"terminated": np.array([row["terminated"] for row in rows])}


@fails("H4 future", "H4 final", "H4 episode")
class WritesGoalsDown(Right):
    def relabel(self, rows: Any) -> Any:
        given = super().relabel(rows)
        for row, goal in zip(rows, given["goal"], strict=True):
            row["goal"] = goal
        return given
