"""B: mistakes about where episodes end, and where the ring does."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.mistakes.registry import fails
from conformance.toys import Checks, Right


@fails("B1.n-step", "B1.n-step streams", "B7")
class WindowsRunOn(Right):
    def window(self, row: dict[str, Any]) -> Any:
        own = [each for each in self.rows if each["stream"] == row["stream"]]
        at = next(k for k, each in enumerate(own) if each is row)
        steps = own[at : at + self.settings.n]
        return steps if len(steps) == self.settings.n else None


@fails("B2.transitions", "B3.transitions", "B1.streams", "B7")
class NextRowIsTheSuccessor(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        after = {id(row): self.rows[(k + 1) % len(self.rows)] for k, row in enumerate(self.rows)}
        drawn["next_obs"] = np.array([after[id(row)]["obs"] for row in rows])
        return drawn


@fails("B2.n-step")
class WindowsRunOverTheSeam(Right):
    def window(self, row: dict[str, Any]) -> Any:
        at = next(k for k, each in enumerate(self.rows) if each is row)
        return [self.rows[(at + k) % len(self.rows)] for k in range(self.settings.n)]


@fails("B3.transitions", "B3.stack", "B6")
class TruncationLoopsBack(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        cut = np.asarray(drawn["truncated"], bool)
        drawn["next_obs"][cut] = drawn["obs"][cut]
        return drawn


@fails("B4.truncation", "B4.n-step truncation")
class TruncationMasks(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        if "discount" in drawn:
            drawn["discount"] = np.where(drawn["truncated"], 0, drawn["discount"])
        return drawn


@fails("B4.transitions", "B4.n-step")
class NothingMasks(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        drawn["discount"] = np.full(len(rows), self.settings.gamma**self.settings.n)
        return drawn


@fails("B4.n-step", "B4.n-step truncation")
class FlagsOfTheFirstStep(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        own = np.array([row["terminated"] for row in rows])
        steps = np.array([len(self.window(row) or [row]) for row in rows])
        drawn["discount"] = np.where(own, 0, self.settings.gamma**steps)
        return drawn


@fails("B5.transitions", "B5.n-step")
class OneStepEpisodesAreLost(Right):
    def eligible(self) -> Any:
        short = [row for row in super().eligible() if row["last"] and row["obs"][2] == 100]
        return [row for row in super().eligible() if not any(row is each for each in short)]


@fails("B6")
class TailsAreDiscountedInFull(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        live = drawn["discount"] > 0
        drawn["discount"] = np.where(live, self.settings.gamma**self.settings.n, 0)
        return drawn


@fails("B8.start", "B8.ring")
class StacksOfWhatLiesBefore(Right):
    def history(self, row: dict[str, Any]) -> Any:
        at = next(k for k, each in enumerate(self.rows) if each is row)
        return [self.rows[at - back] for back in range(self.settings.stack - 1, -1, -1)]


@fails("B8.next")
class NextStacksForgetThePadding(Right):
    def following(self, stack: Any) -> Any:
        newest = stack[-1]["next_obs"]
        distinct = [row["obs"] for k, row in enumerate(stack[1:]) if row is not stack[k]]
        return [newest] * (len(stack) - len(distinct) - 1) + [*distinct, newest]


@fails("B9")
class BreaksAreNotCounted(Checks):
    def breaks(self) -> int:
        return 0


@fails("B9")
class BreaksAreNotNoticed(Checks):
    def broken(self, before: dict[str, Any], row: dict[str, Any]) -> bool:
        self.count = 2
        return False


@fails("B10", "B10.unknown")
class TheResetIsAStep(Checks):
    def record(self, env: Any) -> Any:
        return Naive(env, self)


class Naive:
    """Adds each step as it comes, whatever it means."""

    def __init__(self, env: Any, toy: Right) -> None:
        self.env, self.toy = env, toy

    def reset(self, options: Any = None) -> Any:
        self.obs, info = self.env.reset(options=options)
        return self.obs, info

    def step(self, action: Any) -> Any:
        out = self.env.step(action)
        obs, rewards, terminated, truncated, _ = out
        step = {"obs": self.obs, "action": action, "reward": rewards, "next_obs": obs}
        self.toy.add(step | {"terminated": terminated, "truncated": truncated}, [0, 1])
        self.obs = obs
        return out

    def close(self) -> None:
        self.env.close()


@fails("B1.sequence", "B2.sequence")
class SequencesRunOn(Right):
    def run(self, row: dict[str, Any]) -> Any:
        at = next(k for k, each in enumerate(self.rows) if each is row)
        return [self.rows[(at + k) % len(self.rows)] for k in range(self.settings.length)]


@fails("B1.running sequence")
class BeginningsAreNotMarked(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        del drawn["terminated"], drawn["truncated"]
        return drawn


@fails("B1.sequence rewards")
class RewardsAreOneStepLate(Right):
    def gather(self, rows: Any) -> Any:
        drawn = super().gather(rows)
        return drawn | {"reward": np.roll(drawn["reward"], 1, axis=1)}
