"""R: mistakes about what is kept where, and whose arrays are whose."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from conformance.mistakes.registry import fails
from conformance.toys import NAMES, Right


@fails("R1")
class KeepsTheFirst(Right):
    def add_many(self, steps: Any, stream: int) -> Any:
        return super().add_many({n: v[: self.room()] for n, v in steps.items()}, stream)


@fails("R2", "R3")
class KeysArePlaces(Right):
    def add_row(self, row: dict[str, Any], stream: int) -> int:
        key = super().add_row(row, stream) % self.settings.capacity
        row["key"] = key
        return key


@fails("R4")
class KeepsWhatItWasGiven(Right):
    def check(self, steps: Any) -> Any:
        return dict(steps)


@fails("R5", "R5.prioritized")
class GivesAwayItsOwn(Right):
    def sample(self, n: int) -> Any:
        drawn = super().sample(n)
        if not hasattr(self, "out"):
            self.out = drawn
        for name, value in drawn.items():
            self.out[name][...] = value
        return dict(self.out)


@fails("R6.shape", "R6.dtype")
class TakesAnything(Right):
    def check(self, steps: Any) -> Any:
        shape, dtype = self.settings.obs_shape, self.settings.obs_dtype
        obs = {name: np.resize(steps[name], (1, *shape)).astype(dtype) for name in ("obs",)}
        return {name: np.array(value) for name, value in steps.items()} | obs


@fails("R6.shape")
class RefusesTooLate(Right):
    def add(self, steps: Any, streams: Any) -> Any:
        if steps["obs"].shape[1:] != self.settings.obs_shape:
            super().add(steps | {"obs": np.ones((1, 3), np.float32)}, streams)
        return super().add(steps, streams)

    def check(self, steps: Any) -> Any:
        if steps["obs"].shape[1:] == self.settings.obs_shape:
            return {name: np.array(value) for name, value in steps.items()}
        return super().check(steps)


@fails("R7")
class ImagesBecomeFloats(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        return drawn | {"obs": drawn["obs"].astype(np.float32)}


@fails("R8")
class LooksAtEveryRow(Right):
    def sample(self, n: int) -> Any:
        time.sleep(5e-7 * len(self.rows))
        return {name: np.array([self.rows[0][name]] * n) for name in NAMES}


@fails("R9")
class StreamsAreDrawnAlike(Right):
    def masses(self, rows: Any) -> Any:
        streams = np.array([row["stream"] for row in rows])
        return 1 / np.bincount(streams)[streams]


@fails("R3.save")
class KeysBeginAnew(Right):
    def state(self) -> Any:
        rows = [row | {"key": k + 5} for k, row in enumerate(self.rows)]
        return super().state() | {"rows": rows}
