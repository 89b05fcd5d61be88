"""What was saved, closed or copied goes on as if nothing had been (CONFORMANCE.md, S1).

Of each kind of memory there are two with the same seed, that live through the same. One of them is
saved, and what is made of that has to do all that the other does, which never was: it draws the
same batches, byte for byte, gives the same keys, counts the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.transforms.base import flattened
from saving.worlds import abandon

GOALS = rc.Schema.steps(
    obs={
        "observation": rc.Field((2,), np.float32),
        "achieved_goal": rc.Field((2,), np.float32),
        "desired_goal": rc.Field((2,), np.float32),
    },
    action=rc.Field((), np.int64),
    note=rc.Field((), np.float32),
)
PLAIN = rc.Schema.steps(
    obs={"small": rc.Field((2,), np.float32), "image": rc.Field((20, 20, 3), np.uint8)},
    action=rc.Field((), np.int64),
    note=rc.Field((), np.float32),
)
EXAMPLES = rc.Schema.examples(
    x=rc.Field((3,), np.float32), image=rc.Field((1100,), np.uint8), label=rc.Field((), np.int64)
)


def near(achieved: Any, desired: Any, info: Any) -> Any:
    return -(np.abs(achieved - desired).max(axis=-1) > 1).astype(np.float32)


def brighter(batch: rc.Batch) -> dict[str, Any]:
    return {"note": batch.note + 1}


def steps(**more: Any) -> dict[str, Any]:
    return {"schema": PLAIN, "capacity": 90, "seed": 7, **more}


def of_examples(**more: Any) -> dict[str, Any]:
    return {"schema": EXAMPLES, "capacity": 40, "seed": 5, **more}


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "uniform": lambda: steps(),
    "n-step": lambda: steps(
        streams=3,
        view=rc.NStep(rc.linear(1, 4, over=40), gamma=rc.linear(0.9, 0.99, over=60), stack=3),
        sampler=rc.Prioritized(beta=rc.linear(0.4, 1.0, over=50)),
        transforms=[rc.Normalize(("obs.small", "reward"))],
    ),
    "sequences": lambda: steps(
        streams=2, view=rc.Sequence(6, burn_in=2, bootstrap=True), sampler=rc.Ranked(sort_every=5)
    ),
    "across episodes": lambda: steps(
        view=rc.Sequence(5, stride=2, cross_episodes=True), sampler=rc.Weighted(initial=0.5)
    ),
    "episodes": lambda: steps(view=rc.Episodes(max_length=20), sampler=rc.Shuffled()),
    "hindsight": lambda: steps(
        schema=GOALS,
        view=rc.Hindsight(rc.NStep(2, gamma=0.9), reward=near),
        sampler=rc.Recent(decay=0.9),
    ),
    "limits": lambda: steps(
        sampler=rc.Mixture({rc.Newest(): 0.25, rc.Prioritized(): 0.75}),
        max_draws=4,
        limiter=rc.ReplayRatio(8, min_size=20, tolerance=300, timeout=0.0),
    ),
    "growing": lambda: steps(
        capacity=None, streams=2, sampler=rc.Prioritized(), transforms=[rc.RandomShift(2), brighter]
    ),
    "highest": lambda: steps(streams=1, sampler=rc.HighestPriority()),
    "oldest": lambda: steps(streams=2, sampler=rc.Oldest(), view=rc.Transition(gamma=0.9)),
    "reservoir": lambda: of_examples(retention=rc.Reservoir(), sampler=rc.Prioritized()),
    "drop lowest": lambda: of_examples(retention=rc.DropLowest(), sampler=rc.Ranked()),
    "balanced": lambda: of_examples(retention=rc.Balanced("label"), sampler=rc.Shuffled()),
    "first in": lambda: of_examples(
        sampler=rc.LowestPriority(), transforms=[rc.Normalize("x")], max_draws=30
    ),
    "growing examples": lambda: of_examples(capacity=None),
}
AGAIN: dict[str, Callable[[], dict[str, Any]]] = {
    "hindsight": lambda: {"view": KINDS["hindsight"]()["view"]},
    "growing": lambda: {"transforms": KINDS["growing"]()["transforms"]},
}


def further_readers(memory: rc.Memory) -> list[rc.Reader]:
    if memory.schema.kind == "examples":
        return [memory.reader(sampler=rc.Prioritized(alpha=1.0))]
    return [
        memory.reader(rc.Sequence(3), rc.Prioritized(epsilon=0.1)),
        memory.reader(sampler=rc.Shuffled(), transforms=[rc.Noise(0.1, fields="note")]),
    ]


class Life:
    """What happens to memories, the same to each; and they have to agree in all that they say."""

    def __init__(self, memories: list[rc.Memory], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.memories = memories
        self.readers = [further_readers(memory) for memory in memories]
        self.schema = memories[0].schema
        self.streams = memories[0].streams
        self.last = {s: self._observation() for s in range(self.streams or 1)}
        self.keys: list[int] = []

    def replace(self, memory: rc.Memory) -> None:
        """Another takes the place of the first one, which lives on too, if it was not closed."""
        former = self.memories[0], self.readers[0]
        self.memories[0], self.readers[0] = memory, further_readers(memory)
        if not former[0].shared.closed:
            self.memories.append(former[0])
            self.readers.append(former[1])

    def live(self, moments: int) -> None:
        steps = ["add", "add", "extend", "cut"]
        common = ["sample", "sample", "update", "read", "remove", "rewrite", "resize"]
        kinds = [*(steps if self.schema.kind == "steps" else ["offer"] * 3), *common]
        for kind in self.rng.choice(kinds, moments):
            getattr(self, f"_{kind}")()
        self._agree("stats", lambda memory, readers: {
            name: value
            for name, value in memory.stats().items()
            if not name.endswith(("waited", "bytes"))
        })  # fmt: skip

    def _agree(self, what: str, do: Callable[[rc.Memory, list[rc.Reader]], Any]) -> Any:
        answers = []
        for memory, readers in zip(self.memories, self.readers, strict=True):
            try:
                answers.append(do(memory, readers))
            except rc.RecollectError as error:
                answers.append({"error": type(error).__name__})
        first = answers[0]
        for other in answers[1:]:
            assert type(first) is type(other), (what, first, other)
            if isinstance(first, dict):
                assert first.keys() == other.keys(), (what, first, other)
                for name in first:
                    np.testing.assert_array_equal(first[name], other[name], f"{what}: {name}")
            else:
                np.testing.assert_array_equal(first, other, what)
        return first

    def _observation(self) -> dict[str, Any]:
        return {
            name: (self.rng.random(field.shape) * 200).astype(field.dtype)
            for name, field in self.schema.fields.get("obs", {}).items()
        }

    def _step(self, stream: int) -> dict[str, Any]:
        after = self._observation()
        kind = self.rng.random()
        step = {
            "obs": self.last[stream],
            "action": int(self.rng.integers(5)),
            "reward": np.float32(self.rng.random()),
            "next_obs": after,
            "terminated": bool(kind < 0.1),
            "truncated": bool(0.08 < kind < 0.16),
            "note": np.float32(self.rng.random()),
        }
        self.last[stream] = self._observation() if kind < 0.16 else after
        return step

    def _remember(self, keys: Any) -> None:
        if not isinstance(keys, dict):
            self.keys += np.atleast_1d(keys).tolist()

    def _add(self) -> None:
        if self.streams is None:
            fields = self._step(0)
        else:
            fields = stacked([self._step(stream) for stream in range(self.streams)])
        self._remember(self._agree("add", lambda memory, _: memory.add(**fields)))

    def _extend(self) -> None:
        stream = 0 if self.streams is None else int(self.rng.integers(self.streams))
        fields = stacked([self._step(stream) for _ in range(int(self.rng.integers(1, 9)))])
        where = {} if self.streams is None else {"stream": stream}
        self._remember(self._agree("extend", lambda memory, _: memory.extend(**where, **fields)))

    def _cut(self) -> None:
        self._agree("cut", lambda memory, _: memory.cut())

    def _offer(self) -> None:
        count = int(self.rng.integers(1, 7))
        fields = {
            name: (self.rng.random((count, *field.shape)) * 5).astype(field.dtype)
            for name, field in self.schema.fields.items()
        }
        self._remember(self._agree("offer", lambda memory, _: memory.extend(**fields)))

    def _sample(self) -> None:
        which = int(self.rng.integers(-1, len(self.readers[0])))

        def draw(memory: rc.Memory, readers: list[rc.Reader]) -> Any:
            batch = memory.sample(16) if which < 0 else readers[which].sample(16)
            return {name: np.asarray(value) for name, value in flattened(batch).items()}

        self._agree(f"sample {which}", draw)

    def _update(self) -> None:
        """Also of rows that have yet to enter, and of rows that are gone."""
        if not self.keys:
            return
        which = int(self.rng.integers(-1, len(self.readers[0])))
        keys = self.rng.choice(self.keys[-60:], 12)
        priority = self.rng.random(12) * 9

        def update(memory: rc.Memory, readers: list[rc.Reader]) -> Any:
            return (memory if which < 0 else readers[which]).update(keys, priority=priority)

        self._agree("update", update)

    def _rewrite(self) -> None:
        if self.keys:
            keys = self.rng.choice(self.keys[-40:], 3)
            name = "note" if self.schema.kind == "steps" else "label"
            values = {name: np.arange(3, dtype=self.schema.flat[name].dtype)}
            self._agree("rewrite", lambda memory, _: memory.update(keys, **values))

    def _read(self) -> None:
        if self.keys:
            key = int(self.rng.choice(self.keys[-60:]))
            self._agree("contains", lambda memory, _: key in memory)

    def _resize(self) -> None:
        if self.rng.random() < 0.15:
            capacity = int(self.rng.integers(12, 100))
            self._agree("resize", lambda memory, _: memory.resize(capacity))

    def _remove(self) -> None:
        if self.keys and self.rng.random() < 0.3:
            keys = self.rng.choice(self.keys[-60:], 2)
            self._agree("remove", lambda memory, _: memory.remove(keys))


def stacked(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: stacked([item[name] for item in items])
        if isinstance(items[0][name], dict)
        else np.stack([np.asarray(item[name]) for item in items])
        for name in items[0]
    }


def saved(memory: rc.Memory, path: Path, again: dict[str, Any]) -> rc.Memory:
    memory.save(path / "snapshot")
    return rc.open(path / "snapshot", **again)


def saved_to_directory(memory: rc.Memory, path: Path, again: dict[str, Any]) -> rc.Memory:
    memory.save(path / "snapshot")
    other = rc.open(path / "snapshot", store=rc.Directory(path / "other"), **again)
    other.close()
    return rc.open(path / "other", **again_of(again))


def again_of(again: dict[str, Any]) -> dict[str, Any]:
    """Parts belong to one memory each: others like these."""
    for kind, make in AGAIN.items():
        if again.keys() == make().keys() and KINDS[kind]().keys() >= again.keys():
            return make()
    return {}


def closed(memory: rc.Memory, path: Path, again: dict[str, Any]) -> rc.Memory:
    memory.close()
    return rc.open(path / "directory", **again)


def flushed_and_killed(memory: rc.Memory, path: Path, again: dict[str, Any]) -> rc.Memory:
    memory.flush()
    abandon(memory)
    return rc.open(path / "directory", **again)


def copied(memory: rc.Memory, path: Path, again: dict[str, Any]) -> rc.Memory:
    memory.flush()
    return rc.open(path / "directory", store=rc.Ram(), **again)


WAYS: dict[str, Any] = {
    "saved": (False, saved),
    "saved to a directory": (False, saved_to_directory),
    "directory saved": (True, saved),
    "closed": (True, closed),
    "flushed and killed": (True, flushed_and_killed),
    "copied": (True, copied),
}


@pytest.mark.filterwarnings("ignore::recollect.ChainBreakWarning")
@pytest.mark.parametrize(
    ("kind", "way"), list(itertools.product(KINDS, WAYS)), ids=lambda name: name.replace(" ", "-")
)
def test_S1_goes_on_as_if_nothing_had_been(kind: str, way: str, folder: Path) -> None:
    in_directory, go_on = WAYS[way]
    stores = [
        rc.Directory(folder / name) if in_directory else rc.Ram() for name in ("directory", "twin")
    ]
    if way == "saved to a directory":  # slots, by which some samplers choose, are as there
        for store in stores:
            store.spare = 64
    memories = [rc.Memory(store=store, **KINDS[kind]()) for store in stores]
    life = Life(memories, seed=len(kind) + len(way))
    for _ in range(1 if way in ("copied", "saved to a directory") else 2):
        life.live(70)
        life.replace(go_on(life.memories[0], folder, AGAIN.get(kind, dict)()))
        life.live(50)
