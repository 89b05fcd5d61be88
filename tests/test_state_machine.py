"""The engine beside the oracle, through random lives of a memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import recollect as rc
from oracle import (
    STREAM_SHIFT,
    AnyLook,
    Chosen,
    Examples,
    Look,
    Relabelled,
    Steps,
    Whole,
    Windows,
    leaves,
)
from selfproving import KINDS, everything, fields, observe, schema, stacked
from views.play import agree, all_of, reader, view

SETTINGS = settings(
    max_examples=80,
    stateful_step_count=25,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

LOGITS = 260  # float32: more than 1 KiB, so that one extra lies apart from the small ones

ends = st.sampled_from(["", "", "", "", "T", "U", "TU"])
chains = st.sampled_from(["", "", "", "", "", "", "reset", "tweak"])
drops = st.sampled_from([False] * 11 + [True])
move = st.tuples(ends, chains, drops)
three_moves = st.lists(move, min_size=3, max_size=3)
masks = st.none() | st.lists(st.booleans(), min_size=3, max_size=3)
picks = st.lists(st.integers(0, 10_000), max_size=8)


@st.composite
def looks(draw: st.DrawFn, kind: str) -> Look:
    paths = ["obs", *(name for name, _ in leaves(KINDS[kind], "obs"))]
    depth = st.integers(1, 4)
    stack = draw(
        st.none() | depth | st.dictionaries(st.sampled_from(paths[-2:]), depth, min_size=1)
        if len(paths) > 2
        else st.none() | depth | depth.map(lambda k: {"obs": k})
    )
    n = draw(st.none() | st.integers(1, 5))
    gamma = draw(st.sampled_from([0.9, 0.5] if n else [None, 0.9]))
    return Look(n, gamma, stack)


@st.composite
def windows(draw: st.DrawFn) -> Windows:
    length, n = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    return Windows(
        length,
        burn_in=draw(st.integers(0, length - 1)),
        stride=draw(st.integers(1, 4)),
        pad=draw(st.booleans()),
        bootstrap=draw(st.booleans()),
        cross_episodes=draw(st.booleans()),
        n=n,
        gamma=0.9 if n > 1 else draw(st.sampled_from([None, 0.5])),
    )


wholes = st.builds(
    Whole,
    st.integers(1, 9),
    by=st.sampled_from(["episode", "step"]),
    longer=st.sampled_from(["cut", "skip"]),
    bootstrap=st.booleans(),
    gamma=st.sampled_from([None, 0.9]),
)


def distance(achieved: Any, desired: Any) -> Any:
    return -np.abs(achieved - desired).sum() / 4


QUESTIONS = [
    lambda episode: episode.episode_return > 0,
    lambda episode: episode.length % 2 == 1,
    lambda episode: episode.held == episode.length,
    lambda episode: episode.end == "terminated" or episode.stream == 1,
    lambda episode: bool(episode["action"][0] % 2),
]


@st.composite
def any_looks(draw: st.DrawFn, kind: str) -> AnyLook:
    """One of every view, of all episodes or of chosen ones."""
    look = draw(st.one_of(looks(kind), windows(), wholes))
    runs_on = isinstance(look, Windows) and look.cross_episodes
    if kind == "dict" and not runs_on and draw(st.booleans()):
        look = Relabelled(look, "place", distance)
    return draw(st.just(look) | st.sampled_from(QUESTIONS).map(lambda ask: Chosen(look, ask)))


def tweaked(obs: Any, which: int) -> Any:
    """The observation with the last element of one leaf changed."""
    names = [name for name, _ in leaves(obs, "obs")]

    def build(tree: Any, path: str) -> Any:
        if isinstance(tree, dict):
            return {name: build(branch, f"{path}.{name}") for name, branch in tree.items()}
        if isinstance(tree, tuple):
            return tuple(build(branch, f"{path}.{k}") for k, branch in enumerate(tree))
        leaf = np.array(tree)
        if path == names[which % len(names)]:
            flat = leaf.reshape(-1)
            # of an array, so that the largest number becomes the smallest without a warning
            flat[-1:] = ~flat[-1:] if leaf.dtype == bool else flat[-1:] + leaf.dtype.type(1)
        return leaf

    return build(obs, "obs")


class StepsMachine(RuleBasedStateMachine):
    """Streams of steps under two readers: transitions by chance, and one of every view in order."""

    @initialize(
        data=st.data(),
        kind=st.sampled_from(list(KINDS)),
        streams=st.sampled_from([None, None, 1, 3]),
        size=st.integers(2, 14),
        spare=st.integers(0, 2),
        seed=st.integers(0, 99),
    )
    def build(self, data: Any, kind: str, streams: Any, size: int, spare: int, seed: int) -> None:
        self.kind, self.streams, self.width = kind, streams, streams or 1
        self.looks = [data.draw(looks(kind)), data.draw(any_looks(kind))]
        self.memory = rc.Memory(
            schema(
                kind,
                mark=rc.Field((), np.int64),
                logits=rc.Field((LOGITS,), np.float32),
                score=rc.Field((), np.float32, finite="drop"),
            ),
            capacity=size * self.width + min(spare, self.width - 1),
            streams=streams,
            view=view(self.looks[0]),
            seed=seed,
        )
        self.readers = [self.memory, reader(self.memory, self.looks[1])]
        self.oracle = Steps(size, self.width)
        self.at = [[0, 0] for _ in range(self.width)]  # episode and step each stream's world is at
        self.naps = [0, 0]
        self.keys = [-1, 99 << STREAM_SHIFT]
        self.marks = 0
        self.sampled = 0
        assert self.memory.capacity == size * self.width

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.naps = [0, 0]
            self.same()
            self.memory.close()

    def step(self, stream: int, moving: tuple[str, str, bool]) -> dict[str, Any]:
        """The fields of the stream's next step; its world moves on."""
        end, chain, drop = moving
        at = self.at[stream]
        if chain == "reset" and at[1]:
            at[:] = at[0] + 1, 0
        self.marks += 1
        step = fields(
            self.kind,
            (stream, *at),
            terminated="T" in end,
            truncated="U" in end,
            mark=self.marks,
            logits=np.full(LOGITS, self.marks, np.float32),
            score=np.float32(np.nan if drop else self.marks),
        )
        if chain == "tweak":
            step["obs"] = tweaked(step["obs"], self.marks)
        at[:] = (at[0] + 1, 0) if end else (at[0], at[1] + 1)
        return step

    def expect(self, stream: int, step: dict[str, Any]) -> int:
        return self.oracle.add(stream=stream, drop=bool(np.isnan(step["score"])), **step)

    def batched(self, streams: list[int], moves: list[Any], mask: list[bool] | None) -> None:
        """One `add` to these streams; what is masked out is garbage that nobody may look at."""
        valid = [True] * len(streams) if mask is None else mask[: len(streams)]
        steps, expected = [], []
        for stream, moving, taken in zip(streams, moves, valid, strict=False):
            if taken:
                steps.append(self.step(stream, moving))
                expected.append(self.expect(stream, steps[-1]))
            else:
                garbage = fields(self.kind, (7, 7, 7), mark=-1, logits=np.full(LOGITS, -1.0))
                steps.append(garbage | {"score": np.nan, "terminated": True})
                expected.append(-1)
        chosen = {} if streams == list(range(self.width)) else {"stream": streams}
        chosen |= {} if mask is None else {"valid": np.array(valid)}
        keys = self.memory.add(**chosen, **stacked(steps))
        assert keys.dtype == np.int64
        np.testing.assert_array_equal(keys, expected)
        self.keys += expected

    @rule(moves=three_moves, mask=masks)
    def add_to_all(self, moves: list[Any], mask: list[bool] | None) -> None:
        if self.streams is None:
            self.add_to_one(moves[0], 0)
        else:
            self.batched(list(range(self.width)), moves, mask)

    @rule(moving=move, pick=st.integers(0, 2))
    def add_to_one(self, moving: Any, pick: int) -> None:
        stream = pick % self.width
        step = self.step(stream, moving)
        expected = self.expect(stream, step)
        chosen = {} if self.streams is None else {"stream": stream}
        assert self.memory.add(**chosen, **step) == expected
        self.keys.append(expected)

    @precondition(lambda self: self.streams == 3)
    @rule(moves=three_moves, mask=masks, order=st.permutations([0, 1, 2]), some=st.integers(1, 3))
    def add_to_some(self, moves: list[Any], mask: Any, order: list[int], some: int) -> None:
        self.batched(list(order[:some]), moves, mask)

    @rule(
        moves=st.lists(move, min_size=1, max_size=12), laps=st.integers(1, 4), s=st.integers(0, 2)
    )
    def extend(self, moves: list[Any], laps: int, s: int) -> None:
        stream = s % self.width
        steps = [self.step(stream, moving) for moving in moves * laps]
        expected = [self.expect(stream, step) for step in steps]
        chosen = {} if self.streams is None else {"stream": stream}
        np.testing.assert_array_equal(self.memory.extend(**chosen, **stacked(steps)), expected)
        self.keys += expected[-6:]

    @rule(length=st.integers(1, 50), end=st.sampled_from(["T", "U", "TU", ""]), s=st.integers(0, 2))
    def live_an_episode(self, length: int, end: str, s: int) -> None:
        """Its steps one by one, so that the ring turns in its middle, as others look on."""
        for t in range(length):
            self.add_to_one((end if t + 1 == length else "", "", False), s)
            if t % 16 == 8:
                self.same()

    @rule(s=st.none() | st.integers(0, 2), goes_on=st.booleans())
    def cut(self, s: int | None, goes_on: bool) -> None:
        stream = None if s is None or self.streams is None else s % self.width
        assert self.memory.cut(stream) == self.oracle.cut(stream)
        if not goes_on:
            for at in self.at if stream is None else [self.at[stream]]:
                at[:] = (at[0] + 1, 0) if at[1] else at

    def pick(self, picks: list[int]) -> list[int]:
        """Keys mostly of late, now and then of rows that are no steps."""
        recent = self.keys[-20:] + self.keys[:2] + [self.keys[-1] + 1]
        return [recent[pick % len(recent)] for pick in picks]

    @rule(picks=picks, which=st.sampled_from(["mark", "logits", "both"]), reader=st.integers(0, 1))
    def update(self, picks: list[int], which: str, reader: int) -> None:
        keys = self.pick(picks)
        marks = np.arange(self.marks + 1, self.marks + 1 + len(keys))
        self.marks += len(keys)
        values: dict[str, Any] = {}
        if which != "logits":
            values["mark"] = marks
        if which != "mark":
            values["logits"] = np.repeat(marks[:, None], LOGITS, 1).astype(np.float32)
        live = self.readers[reader].update(np.array(keys, np.int64), **values)
        assert live == self.oracle.update(keys, **values)

    @rule(picks=picks)
    def remove(self, picks: list[int]) -> None:
        keys = self.pick(picks[:3])
        assert self.memory.remove(np.array(keys, np.int64)) == self.oracle.remove(keys)

    @precondition(lambda self: self.oracle.added > 10)
    @rule()
    def clear(self) -> None:
        self.memory.clear()
        self.oracle.clear()
        for stream, at in enumerate(self.at):
            at[:] = at[0] + 1, 0
            # Only that keys are never reused is promised; which number comes next is not.
            number = self.memory.add(
                **({} if self.streams is None else {"stream": stream}),
                **(step := self.step(stream, ("", "", False))),
            )
            ring = self.oracle.rings[stream]
            assert number & (1 << STREAM_SHIFT) - 1 >= ring.number
            ring.number = number & (1 << STREAM_SHIFT) - 1
            assert self.expect(stream, step) == number
            self.keys.append(number)

    @rule(size=st.integers(2, 20), spare=st.integers(0, 2))
    def resize(self, size: int, spare: int) -> None:
        # what has ended is asked about before rows are dropped
        self.naps[1] = 0
        self.same()
        self.memory.resize(size * self.width + min(spare, self.width - 1))
        self.oracle.resize(size)
        assert self.memory.capacity == size * self.width

    @rule(naps=st.tuples(st.integers(0, 6), st.integers(0, 6)))
    def look_away(self, naps: tuple[int, int]) -> None:
        """What a reader did not see in between it has to make up for at once."""
        self.naps = list(naps)

    @invariant()
    def same(self) -> None:
        assert len(self.memory) == len(self.oracle)
        for which, (one, look) in enumerate(zip(self.readers, self.looks, strict=True)):
            self.naps[which] -= 1
            if self.naps[which] >= 0:
                continue
            expected = self.oracle.examples(look)
            if which:
                agree(all_of(one), expected)
                self.sampled += len(expected)
            elif expected:
                agree(everything(one), expected)
                self.sampled += 1 + 32 * len(expected) + 32
            if not expected:
                with pytest.raises(rc.errors.EmptyMemoryError):
                    one.sample(1)
        if self.naps[0] >= 0:
            return  # counting what is eligible would wake the first reader
        stats = self.memory.stats()
        counts = self.oracle.stats() | {"sampled": self.sampled}
        counts["eligible"] = len(self.oracle.eligible(self.looks[0]))
        mean_age = counts.pop("mean_age")
        assert {name: stats[name] for name in counts} == counts
        assert stats["mean_age"] == pytest.approx(mean_age)
        assert len(self.memory.episodes) == counts["episodes"]


class ExamplesMachine(RuleBasedStateMachine):
    """Independent examples, first in, first out, under two readers."""

    @initialize(capacity=st.integers(1, 12), seed=st.integers(0, 99))
    def build(self, capacity: int, seed: int) -> None:
        self.memory = rc.Memory(
            rc.Schema.examples(
                image=rc.Field((32, 36), np.uint8),
                label=rc.Field((), np.int64),
                more={"a": rc.Field((2,), np.float32), "b": (rc.Field((), np.int16),)},
            ),
            capacity,
            retention=rc.Fifo(),
            seed=seed,
        )
        self.readers = [self.memory, self.memory.reader(view=rc.Example(), sampler=rc.Uniform())]
        self.oracle = Examples(capacity)
        self.keys: list[int] = [-1]
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.memory.close()

    def example(self) -> dict[str, Any]:
        self.count += 1
        image = observe("image", 0, self.count, 0)
        pair = np.array([self.count, -self.count], np.float32)
        return {
            "image": image,
            "label": self.count,
            "more": {"a": pair, "b": (np.int16(self.count % 999),)},
        }

    @rule()
    def add(self) -> None:
        example = self.example()
        key = self.memory.add(**example)
        self.oracle.extend([key], [example])
        self.keys.append(key)

    @rule(count=st.integers(1, 40))
    def extend(self, count: int) -> None:
        examples = [self.example() for _ in range(count)]
        keys = self.memory.extend(**stacked(examples))
        assert keys.shape == (count,)
        assert keys.dtype == np.int64
        self.oracle.extend(keys.tolist(), examples)
        self.keys += keys.tolist()

    @rule(picks=picks)
    def update(self, picks: list[int]) -> None:
        keys = [self.keys[-1 - pick % min(len(self.keys), 20)] for pick in picks]
        labels = np.arange(len(keys)) - 1000 * self.count
        live = self.memory.update(np.array(keys, np.int64), label=labels)
        assert live == self.oracle.update(keys, label=labels)

    @rule(picks=picks)
    def remove(self, picks: list[int]) -> None:
        keys = [self.keys[-1 - pick % min(len(self.keys), 20)] for pick in picks[:3]]
        assert self.memory.remove(np.array(keys, np.int64)) == self.oracle.remove(keys)

    @precondition(lambda self: self.count > 10)
    @rule()
    def clear(self) -> None:
        self.memory.clear()
        self.oracle.clear()

    @invariant()
    def same(self) -> None:
        for one in self.readers:
            if len(self.oracle):
                agree(everything(one), self.oracle.examples())
            else:
                with pytest.raises(rc.errors.EmptyMemoryError):
                    one.sample(1)
        stats = self.memory.stats()
        held = len(self.oracle)
        assert (len(self.memory), stats["rows"], stats["steps"], stats["eligible"]) == (held,) * 4
        assert stats["episodes"] == 0
        for name in ("added", "updated", "stale_updates"):
            assert stats[name] == getattr(self.oracle, name)


TestSteps = pytest.mark.filterwarnings("ignore::recollect.errors.ChainBreakWarning")(
    StepsMachine.TestCase
)
TestSteps.settings = SETTINGS
TestExamples = ExamplesMachine.TestCase
TestExamples.settings = settings(SETTINGS, max_examples=40)
