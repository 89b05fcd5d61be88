"""`Hindsight`: what happened, as if what was reached later had been the goal all along.

Nothing is copied into the memory: a batch's new goals are drawn when it is sampled, and the view
inside reads the rows through `_Relabelled`, which shows it those goals, and rewards and ends
computed anew. So it makes its examples as ever, and its n-step returns are sums of new rewards.

The one hard thing is that a window reads a row for the sake of an example: the same row, drawn
twice, stands there under two goals. So what the inner view takes for slots says which example a row
is read for, and how far it lies from that example's anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ConfigurationError
from recollect.schedules import Schedule
from recollect.schema import Schema
from recollect.stores.base import Block, Slots
from recollect.views.base import Fields, Rows, Spans, View

Strategy = Literal["future", "final", "episode"]

OfGoals = Callable[[NDArray[Any], NDArray[Any], "Extras"], Any]
"""(achieved, desired, info) of M steps, goals (M, ...) each, to M values."""

Int64s = NDArray[np.int64]


class Hindsight(View):
    """Hindsight experience replay (Andrychowicz et al. 2017) over another view.

    Observations are as in Gymnasium's GoalEnv: a Dict with a goal and what was achieved. An example
    of step t of an episode of T steps is left as it is, or, with probability `ratio`, gets for a
    goal what was achieved in the observation after step t', `obs.achieved_goal[t' + 1]`:

        "future"   t' uniform among t to T - 1
        "final"    t' = T - 1: the episode's final observation
        "episode"  t' uniform among all steps of the episode that are still held

    That goal then stands in obs and next_obs, in every row the example is made of, and each of its
    steps gets the reward that `reward` gives for the step's own next achieved goal. Only steps of
    finished episodes are drawn; those that were cut count. The memory itself is never changed.

    With `terminated`, the ends are computed anew as well: a step terminates where it says so, and
    an n-step window ends there. An episode's last step that does not terminate under the new goal
    is truncated: its next_obs has a value. With None, both flags are as they were stored.

    Costs a few reads for each example of an episode that lasted as long as most, O(log T) others.

    Args:
        view: makes the examples, of rows with new goals; none that runs on across episodes.
        goal: path within obs of the goal to be reached.
        achieved: path within obs of what was reached; of the goal's shape.
        reward: `reward(achieved, desired, info)`, vectorised: the next achieved goals (M, ...), the
            goals (M, ...), and a mapping of the steps' own extras by flat name, (M, ...) each,
            read when asked for. Returns (M,) rewards, or (M, ...) of the schema's reward shape.
        terminated: likewise, (M,) bool; or None.
        strategy: "future", "final" or "episode".
        ratio: from 0 (nothing is relabelled) to 1; or a schedule over sample calls.
    """

    random = True

    def __init__(
        self,
        view: View,
        goal: str = "desired_goal",
        achieved: str = "achieved_goal",
        *,
        reward: OfGoals,
        terminated: OfGoals | None = None,
        strategy: Strategy = "future",
        ratio: float | Schedule = 0.8,
    ) -> None:
        if not isinstance(view, View) or view.kind != "steps":
            raise ConfigurationError(f"Hindsight: expected a view of steps, got {view!r}")
        if view.ahead:
            raise ConfigurationError(
                f"Hindsight: a goal is one episode's, and {view!r} runs on into the next"
            )
        for name, function in (("reward", reward), ("terminated", terminated)):
            if not callable(function) and (name == "reward" or function is not None):
                raise ConfigurationError(
                    f"Hindsight: {name}: expected a function of achieved, desired and info, "
                    f"got {function!r}"
                )
        if strategy not in get_args(Strategy):
            known = ", ".join(f'"{each}"' for each in get_args(Strategy))
            raise ConfigurationError(f"Hindsight: strategy: expected {known}; got {strategy!r}")
        self.view = view
        self.has_next_obs = view.has_next_obs
        self.goal = goal
        self.achieved = achieved
        self.goal_name = f"obs.{goal}"
        self.achieved_name = f"obs.{achieved}"
        self.reward = reward
        self.terminated = terminated
        self.strategy = strategy
        self.ratio = ratio if callable(ratio) else _checked_ratio(ratio)
        self.looks_back = strategy == "episode"
        self._usual = 1

    def __repr__(self) -> str:
        return f'Hindsight({self.view!r}, strategy="{self.strategy}", ratio={self.ratio})'

    @property
    def needs(self) -> str:
        return ", ".join(filter(None, ("a finished episode", self.view.needs)))

    def open(self, schema: Schema) -> None:
        goal, achieved = (_leaf(schema, name) for name in (self.goal_name, self.achieved_name))
        if goal.shape != achieved.shape:
            raise ConfigurationError(
                f"Hindsight: {self.achieved_name} has shape {achieved.shape}, {self.goal_name} has "
                f"{goal.shape}: what was achieved can be no goal"
            )
        if not np.can_cast(achieved.dtype, goal.dtype, "same_kind"):
            raise ConfigurationError(
                f"Hindsight: {self.achieved_name} is {achieved.dtype}, {self.goal_name} is "
                f"{goal.dtype}: what was achieved can be no goal"
            )
        self._goal_dtype = goal.dtype
        self.extras = [
            name for name in schema.flat if name.split(".")[0] not in ("obs", "action", "reward")
        ]
        self.view.open(schema)

    def starts(self, episodes: Spans) -> tuple[Int64s, Int64s, int]:
        first, stop, step = self.view.starts(episodes)
        return first, np.where(episodes.ended, stop, 0), step

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        assert rng is not None
        ratio = _checked_ratio(self.ratio(call)) if callable(self.ratio) else self.ratio
        whether, which = rng.random((2, len(anchors)))
        search = _Search(rows, anchors)
        left, self._usual = search.left(self._usual)
        before = search.before() if self.strategy == "episode" else 0
        if self.strategy == "final":
            distance = left
        else:
            distance = 1 - before + (which * (before + left)).astype(np.int64)
        (reached,) = rows.read(rows.move(anchors, distance))
        goals = reached[self.achieved_name].astype(self._goal_dtype, copy=False)
        changed = _Relabelled(self, rows, anchors, left, whether < ratio, goals)
        return self.view.gather(changed, changed.anchors, call, rng)


class Extras(Mapping[str, NDArray[Any]]):
    """The extras of some steps by flat name; read when first asked for one."""

    def __init__(self, names: Sequence[str], rows: Rows, slots: Slots) -> None:
        self._names = names
        self._rows = rows
        self._slots = slots
        self._block: Block | None = None

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        if self._block is None:
            (self._block,) = self._rows.read(self._slots)
        return self._block[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


EXAMPLE_SHIFT = 32
DISTANCE_MASK = (1 << EXAMPLE_SHIFT) - 1
ANCHOR = 1 << (EXAMPLE_SHIFT - 1)
"""The distance of an anchor from itself: those before it are smaller."""


class _Relabelled:
    """Rows under the goals of a batch. What stands for a row's slot is

        63 ..... 32   31 .......... 0
         example     ANCHOR + distance       in rows, from the example's anchor

    Args:
        left: (B,), steps of the episode from each anchor on.
        chosen: (B,) bool, which examples get the new goals.
        goals: (B, ...).
    """

    def __init__(
        self,
        hindsight: Hindsight,
        rows: Rows,
        anchors: Slots,
        left: Int64s,
        chosen: NDArray[np.bool_],
        goals: NDArray[Any],
    ) -> None:
        self.schema = rows.schema
        self.anchors = (np.arange(len(anchors)) << EXAMPLE_SHIFT) + ANCHOR
        self._hindsight = hindsight
        self._rows = rows
        self._slots = anchors
        self._left = left
        self._chosen = chosen
        self._goals = goals

    def move(self, slots: Slots, by: int | NDArray[Any]) -> Slots:
        return slots + by

    def read(self, *slots: Slots) -> Sequence[Block]:
        examples = [part >> EXAMPLE_SHIFT for part in slots]
        blocks = self._rows.read(*(self._stored(part) for part in slots))
        return [
            _Block(block, self._hindsight.goal_name, self._chosen[example], example, self._goals)
            for block, example in zip(blocks, examples, strict=True)
        ]

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        example, stored = slots >> EXAMPLE_SHIFT, self._stored(slots)
        reward, mark = self._rows.scan(stored)
        left = self._left[example] + ANCHOR - (slots & DISTANCE_MASK)
        # what lies behind the episode's end is none of the example's
        changed = self._chosen[example] & (left > 0)
        if not changed.any():
            return reward, mark
        reward, mark = reward.copy(), mark.copy()
        hindsight, at = self._hindsight, stored[changed]
        (later,) = self._rows.read(self._rows.move(at, 1))
        given = (
            later[hindsight.achieved_name],
            self._goals[example[changed]],
            Extras(hindsight.extras, self._rows, at),
        )
        shape = (len(at), *reward.shape[changed.ndim :])
        reward[changed] = _returned("reward", hindsight.reward(*given), shape, reward.dtype)
        if hindsight.terminated is not None:
            flag = np.dtype(np.bool_)
            ended = _returned("terminated", hindsight.terminated(*given), (len(at),), flag)
            mark[changed] = _with_end(mark[changed], ended, left[changed] == 1)
        return reward, mark

    def keys(self, slots: Slots) -> Int64s:
        return self._rows.keys(self._stored(slots))

    def _stored(self, slots: Slots) -> Slots:
        """Where these rows are stored."""
        distance = (slots & DISTANCE_MASK) - ANCHOR
        return self._rows.move(self._slots[slots >> EXAMPLE_SHIFT], distance)


class _Block:
    """A block whose goals are those of the examples that its rows are read for."""

    __slots__ = ("_block", "_chosen", "_example", "_goal", "_goals")

    def __init__(
        self,
        block: Block,
        goal: str,
        chosen: NDArray[np.bool_],
        example: Int64s,
        goals: NDArray[Any],
    ) -> None:
        self._block = block
        self._goal = goal
        self._chosen = chosen
        self._example = example
        self._goals = goals

    def __getitem__(self, name: str) -> NDArray[Any]:
        stored = self._block[name]
        if name != self._goal:
            return stored
        changed: NDArray[Any] = stored.copy()
        changed[self._chosen] = self._goals[self._example[self._chosen]]
        return changed


def _with_end(
    mark: NDArray[np.uint32], terminated: NDArray[np.bool_], last: NDArray[np.bool_]
) -> NDArray[np.uint32]:
    """Marks of steps that now terminate or not; the last one of an episode ends it either way."""
    stays = mark & ~np.uint32(marks.TERMINATED)
    changed = stays | marks.TRUNCATED * (last & ~terminated) | marks.TERMINATED * terminated
    narrow: NDArray[np.uint32] = changed.astype(np.uint32)
    return narrow


def _returned(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """What the user's function returned, if it is as many values as were asked for."""
    array = np.asarray(value)
    if array.shape != shape or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ConfigurationError(
            f"Hindsight: {name}(achieved, desired, info) of {shape[0]} steps: expected {dtype} "
            f"of shape {shape}, got {array.dtype} of {array.shape}"
        )
    return array


def _checked_ratio(ratio: Any) -> float:
    number = isinstance(ratio, (int, float, np.number)) and not isinstance(ratio, bool)
    if not number or not 0 <= ratio <= 1:
        raise ConfigurationError(f"Hindsight: ratio: expected 0 to 1 or a schedule, got {ratio!r}")
    return float(ratio)


def _leaf(schema: Schema, name: str) -> Any:
    """The field with this flat name."""
    if name not in schema.flat:
        known = ", ".join(schema.select("obs"))
        raise ConfigurationError(
            f"Hindsight: {name} is no field; goals are fields of a Dict obs, which has {known}"
        )
    return schema.flat[name]


PROBES = 8
"""How many rows are looked at in each round of a search."""


class _Search:
    """Where the episodes of some steps, all of them finished, begin and end."""

    def __init__(self, rows: Rows, slots: Slots) -> None:
        self._rows = rows
        self._slots = slots
        self._number = rows.keys(slots)
        self._offset = marks.offsets(rows.scan(slots)[1])

    def before(self) -> Int64s:
        """(B,), rows of the episode that are held before each step."""
        return _furthest(lambda by: self._reach(slice(None), -by), len(self._slots))

    def left(self, usual: int) -> tuple[Int64s, int]:
        """(B,), steps from each on, itself included: that far ahead is the closing row.

        Args:
            usual: steps of most episodes, as far as is known. They are looked for there first:
                where a time limit ends nearly all, that is all the search there is.

        Returns:
            also what `usual` should be the next time.
        """
        left = np.maximum(usual - self._offset, 0)
        there = self._rows.move(self._slots, left)
        held = self._rows.keys(there) == self._number + left
        mark = self._rows.scan(there)[1]
        closes = marks.closing(mark) & (mark >> marks.OFFSET_SHIFT == usual)
        others = np.flatnonzero(~(held & closes))
        if len(others):
            left[others] = _furthest(lambda by: self._reach(others, by), len(others))
            usual = np.sort(self._offset + left).item(len(left) // 2)
        return left, usual

    def _reach(self, which: NDArray[np.intp] | slice, by: Int64s) -> NDArray[np.bool_]:
        """Whether so many rows ahead of these steps the same episode is held."""
        there = self._rows.move(self._slots[which], by)
        # where rows stand first, then what they are: a thread that writes rows meanwhile can make
        # a row look overwritten that was not, but not the other way round
        held = self._rows.keys(there) == self._number[which] + by
        mark = self._rows.scan(there)[1]
        before_its_end = (by > 0) | ((mark & marks.CLOSING) == 0)
        further = marks.offsets(mark) == self._offset[which] + by
        same: NDArray[np.bool_] = held & further & before_its_end
        return same


def _furthest(reach: Callable[[Int64s], NDArray[np.bool_]], count: int) -> Int64s:
    """(count,), the largest distance that each reaches, which reaches all smaller ones, from 0."""
    probe = np.arange(PROBES)[:, None]
    low, width = np.zeros(count, np.int64), np.ones(count, np.int64)
    powers = 1 << probe
    while True:
        reached = reach(np.broadcast_to(powers, (PROBES, count))).sum(axis=0)
        # between the last power of two that is reached and the next
        low = np.where(reached > 0, powers[reached - 1, 0], low)
        width = np.maximum(low, width)
        if (reached < PROBES).all():
            break
        powers = powers << PROBES
    while width.max(initial=1) > 1:
        steps = reach(low + (width * probe[1:]) // PROBES).sum(axis=0)
        begin = (width * steps) // PROBES
        low, width = low + begin, (width * (steps + 1)) // PROBES - begin
    return low
