"""S: mistakes about saving, loading and other processes."""

from __future__ import annotations

import pickle
from typing import Any

from conformance.mistakes.registry import fails
from conformance.toys import Right
from recollect.conformance.world import World


@fails("S1.rows")
class LoadsTheNewestFirst(Right):
    def state(self) -> Any:
        return super().state() | {"rows": self.rows[::-1]}


@fails("S1.n-step")
class OpenStepsAreNotSaved(Right):
    def state(self) -> Any:
        return super().state() | {"rows": [r for r in self.rows if self.window(r) is not None]}


@fails("S1.priorities", "S1.draws")
class PrioritiesAreNotSaved(Right):
    def state(self) -> Any:
        return super().state() | {"rows": [row | {"priority": 1.0} for row in self.rows]}


@fails("S2")
class WritesInPlace(Right):
    def save(self, path: Any) -> None:
        path.write_bytes(pickle.dumps(self.state()))

    def load(self, path: Any, settings: Any) -> None:
        self.make(settings)
        vars(self).update(pickle.loads(path.read_bytes()))


@fails("S7.cut", "S7.damaged")
class LoadsWhatIsThere(Right):
    def load(self, path: Any, settings: Any) -> None:
        self.make(settings)
        self.add(World(settings).steps([(0, 0, 0)], ["T"]), [0])


@fails("S3")
class KeepsItToItself(Right):
    def add_row(self, row: dict[str, Any], stream: int) -> int:
        log, self.log = self.log, None
        key = super().add_row(row, stream)
        self.log = log
        if log is not None:
            pickle.dump(row, log)  # without a flush
        return key


@fails("S4")
class RowsAreTorn(Right):
    def reopen(self, path: Any, settings: Any) -> None:
        super().reopen(path, settings)
        for row, after in zip(self.rows[::7], self.rows[1::7], strict=False):
            row["next_obs"] = after["next_obs"]


@fails("S5")
class ErrorsAreSwallowed(Right):
    def background_error(self) -> None:
        return
