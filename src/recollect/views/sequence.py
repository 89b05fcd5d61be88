"""`Sequence`: windows of consecutive steps, for recurrent agents and world models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ConfigurationError
from recollect.schedules import Schedule, constant
from recollect.stores.base import Slots
from recollect.views import windows
from recollect.views.base import Fields, Gamma, Rows, Spans, View, checked_gamma, gamma_at
from recollect.views.windows import Windows


class Sequence(View):
    """Windows of T = `length` steps of one stream: every field is (B, T, ...).

    Beside the fields there are, (B, T) each,

        mask     whether there is a step; padding is zeros in every field
        first    whether the step is the first of its episode
        row_key  the key of the step's row, -1 in padding

    and no `next_obs`. `terminated` and `truncated` are those of each step. One window starts at
    each of an episode's steps 0, stride, 2 * stride, ...; `key`, `probability` and `weight` (B,)
    belong to that first step, so a window has one priority, `update(batch.key, priority=...)`.

    Recurrent state that was stored with the steps (Kapturowski et al. 2019, section 3) is an
    ordinary extra: `batch.state[:, 0]` is that of the window's first row, and
    `update(batch.row_key[mask], state=state[mask])` rewrites it. Windows overlap where stride is
    smaller than length. A window may run over rows that `remove` took out.

    With `gamma` there is a `discount` (B, T) of each step: gamma, or 0 where it terminated. With
    n > 1 also `steps` (B, T), and reward becomes an n-step return within the window:

        reward[t]   = sum of gamma**i * reward[t + i] for i < steps[t]
        discount[t] = gamma**steps[t], or 0 where the last step summed terminated
        target[t]   = reward[t] + discount[t] * V(obs[t + steps[t]])

    where steps[t] is the largest number up to n for which that target can be made of this very
    batch: it stays within the mask and the episode, and the observation that follows is there, or
    not needed as the episode terminated. The successor of a window's last step is there with
    `bootstrap`, and that of a truncated step which another episode follows never is; a return that
    could only go there stops one step earlier, and for the step itself steps is 0, reward 0 and
    discount 1: leave those steps out of the loss.

    Args:
        length: steps of a window, `burn_in` included.
        burn_in: how many steps at its beginning only warm up a recurrent state. They are gathered
            like all others; a window that would hold nothing else is not made.
        stride: steps between the starts of an episode's windows.
        pad: an episode's end is covered by shorter windows, at the same strides, padded with
            zeros. While an episode is open only full windows are made. False: full windows only.
        bootstrap: obs is (B, T + 1, ...) and holds after the last step its successor, at an
            episode's end the true final observation.
        cross_episodes: a window runs on into its stream's next episodes, `first` saying where they
            begin. Only whole windows are made then, whatever `pad` is, and a row starts one once
            all its steps exist. Observations after an episode's last step are left out.
        n: rewards to sum, at least 1; or a schedule over sample calls. Needs gamma.
        gamma: discount of one step, 0 to 1, or a schedule over sample calls; without it the batch
            has no `discount`.

    Costs O(B * T) a batch: little more than a copy of the bytes returned.

    Raises:
        ConfigurationError: a setting is out of range, a window without a step after its burn-in,
            n-step returns without gamma.
    """

    has_next_obs = False

    def __init__(
        self,
        length: int,
        burn_in: int = 0,
        stride: int = 1,
        pad: bool = True,
        bootstrap: bool = False,
        cross_episodes: bool = False,
        n: int | Schedule = 1,
        gamma: Gamma | None = None,
    ) -> None:
        self.length = windows.checked_length("Sequence", "length", length)
        self.burn_in = windows.checked_length("Sequence", "burn_in", burn_in, least=0)
        if self.burn_in >= self.length:
            raise ConfigurationError(
                f"Sequence: burn_in: expected less than the window's {self.length} steps, "
                f"got {burn_in}"
            )
        self.stride = windows.checked_length("Sequence", "stride", stride)
        self.pad = windows.checked_flag("Sequence", "pad", pad)
        self.bootstrap = windows.checked_flag("Sequence", "bootstrap", bootstrap)
        self.cross_episodes = windows.checked_flag("Sequence", "cross_episodes", cross_episodes)
        self.n = n
        self._summed: Schedule | None = None
        if callable(n):
            self._summed = n
        elif windows.checked_length("Sequence", "n", n) > 1:
            self._summed = constant(int(n))
        self.gamma = None if gamma is None else checked_gamma("Sequence", gamma)
        if self._summed is not None and self.gamma is None:
            raise ConfigurationError(f"Sequence: n={n!r}: n-step returns need gamma=...")
        self.ahead = self.length - 1 if self.cross_episodes else 0

    def __repr__(self) -> str:
        settings = {
            "burn_in": (self.burn_in, 0),
            "stride": (self.stride, 1),
            "pad": (self.pad, True),
            "bootstrap": (self.bootstrap, False),
            "cross_episodes": (self.cross_episodes, False),
            "n": (self.n, 1),
            "gamma": (self.gamma, None),
        }
        changed = [f", {name}={now}" for name, (now, usual) in settings.items() if now != usual]
        return f"Sequence({self.length}{''.join(changed)})"

    @property
    def needs(self) -> str:
        if self.cross_episodes:
            return f"{self.length} steps in a row in its stream"
        if self.pad:
            return f"{self.length} steps of its episode, or {self.burn_in + 1} once that has ended"
        return f"{self.length} steps of its episode (pad=True makes shorter windows too)"

    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        first = -(-episodes.lost // self.stride) * self.stride
        if self.cross_episodes:
            return first, episodes.steps, self.stride
        shortest = self.burn_in + 1 if self.pad else self.length
        missing = np.where(episodes.ended, shortest, self.length) - 1
        return first, episodes.steps - missing, self.stride

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        read = windows.across_episodes if self.cross_episodes else windows.within_episode
        found = read(rows, anchors, self.length)
        fields = windows.gather(rows, found, self.bootstrap)
        if self.gamma is not None:
            gamma = gamma_at("Sequence", self.gamma, call)
            if self._summed is not None:
                n = max(int(self._summed(call)), 1)
                fields |= self._returns(found, fields["reward"], n, gamma)
            else:
                fields["discount"] = windows.discounts(fields, gamma)
        return fields

    def _returns(
        self, found: Windows, reward: NDArray[Any], n: int, gamma: float
    ) -> dict[str, NDArray[Any]]:
        """The n-step `reward`, `steps` and `discount` of each step."""
        length, time = self.length, np.arange(self.length)
        terminated = marks.terminated(found.mark)
        last_of_window = time == found.steps[:, None] - 1
        last = marks.ended(found.mark) | last_of_window
        # the last step of the episode, within the window, that each step belongs to
        end = np.minimum.accumulate(np.where(last, time, length)[:, ::-1], axis=1)[:, ::-1]
        has_target = ~last | terminated
        if self.bootstrap:
            has_target |= last_of_window
        end = np.minimum(end, length - 1)
        end = end - ~np.take_along_axis(has_target, end, axis=1)
        steps = np.where(found.mask, np.minimum(end - time + 1, n), 0)

        total = np.zeros(reward.shape, np.result_type(reward.dtype, np.float32))
        wide = steps.reshape(steps.shape + (1,) * (reward.ndim - 2))
        for i in range(min(n, length)):
            stop = length - i
            # what is not summed may be anything, NaN too, so it is replaced, not multiplied by 0
            total[:, :stop] += np.where(wide[:, :stop] > i, reward[:, i:], 0) * gamma**i
        final = np.clip(time + steps - 1, 0, length - 1)
        masked = np.take_along_axis(terminated, final, axis=1) & (steps > 0)
        discount = np.where(masked | ~found.mask, 0, gamma ** steps.astype(np.float64))
        return {"reward": total, "steps": steps, "discount": discount.astype(np.float32)}
