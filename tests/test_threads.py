"""Threads that add, sample, update and remove at once; every sampled row proves itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Look
from selfproving import endless_world, known_world, prove, schema, stacked, view

KIND = "dict"
STREAMS = 3
SMALL, LARGE = 16, 300  # elements of two extras of int64, stored with the row and apart from it
VERSIONS = 1 << 12


@pytest.fixture(autouse=True)
def switch_threads_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(interval)


class Crew:
    """Threads whose errors reach the test. Workers do a fixed task; the others repeat theirs, so
    often at least, until every worker is done or anybody failed."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.done = threading.Event()
        self.workers: list[threading.Thread] = []
        self.others: list[threading.Thread] = []

    def work(self, task: Callable[[], None]) -> None:
        self.workers.append(threading.Thread(target=self._guard, args=(task,), daemon=True))

    def repeat(self, task: Callable[[int], None], at_least: int = 20) -> None:
        def repeating() -> None:
            i = 0
            while not self.errors and (i < at_least or not self.done.is_set()):
                task(i)
                i += 1

        self.others.append(threading.Thread(target=self._guard, args=(repeating,), daemon=True))

    def _guard(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self.errors.append(error)

    def run(self) -> None:
        for thread in self.others + self.workers:
            thread.start()
        for thread in self.workers:
            thread.join(60)
        self.done.set()
        for thread in self.others:
            thread.join(60)
        if self.errors:
            raise self.errors[0]
        assert not any(thread.is_alive() for thread in self.workers + self.others), "a hang"


def test_an_error_in_a_thread_reaches_the_test() -> None:
    crew = Crew()
    crew.work(lambda: 1 / 0)
    crew.repeat(lambda _: None)
    with pytest.raises(ZeroDivisionError):
        crew.run()


def marks(code: Any, version: int) -> dict[str, np.ndarray]:
    """Both extras of a row that is known by `code`: every element says whose it is, and which."""
    value = np.asarray(code, np.int64)[..., None] * VERSIONS + version % VERSIONS
    return {
        "small": np.repeat(value, SMALL, axis=-1),
        "large": np.repeat(value, LARGE, axis=-1),
    }


def check_marks(batch: rc.Batch) -> None:
    assert (batch.small == batch.small[:, :1]).all(), "a torn small extra"
    assert (batch.large == batch.large[:, :1]).all(), "a torn large extra"
    np.testing.assert_array_equal(batch.small[:, 0], batch.large[:, 0], "extras of two updates")


def marked_schema() -> rc.Schema:
    return schema(
        KIND,
        small=rc.Field((SMALL,), np.int64),
        large=rc.Field((LARGE,), np.int64),
    )


class Feed:
    """Adds a stream's endless world, step by step and now and then many steps at once."""

    def __init__(self, memory: rc.Memory, stream: int, marked: bool) -> None:
        self.memory, self.stream, self.marked = memory, stream, marked
        self.world = endless_world(KIND, stream)
        self.fed = 0

    def __call__(self, i: int) -> None:
        steps = list(islice(self.world, 11 if i % 5 == 4 else 1))
        if self.marked:
            steps = [step | marks(step["action"], 0) for step in steps]
        if len(steps) > 1:
            keys = self.memory.extend(stream=self.stream, **stacked(steps)).tolist()
        else:
            keys = [self.memory.add(stream=self.stream, **steps[0])]
        assert {key >> STREAM_SHIFT for key in keys} == {self.stream}
        self.fed += len(steps)


def sampled(reader: Any, n: int) -> rc.Batch | None:
    """None where a tiny ring has nothing eligible at the moment."""
    try:
        return reader.sample(n)
    except rc.errors.EmptyMemoryError:
        return None


LOOKS = [Look(3, 0.9, {"obs.image": 3}), Look(None, 0.5)]


@pytest.mark.parametrize("rows", [4, 7, 200])
def test_no_row_is_torn_or_mixed_while_others_add_update_and_remove(rows: int) -> None:
    memory = rc.Memory(
        marked_schema(), rows * STREAMS, streams=STREAMS, view=view(LOOKS[0]), seed=0
    )
    readers = [memory, memory.reader(view=view(LOOKS[1]), sampler=rc.Uniform())]
    feeds = [Feed(memory, stream, marked=True) for stream in range(STREAMS)]
    crew = Crew()
    tally = {"keys": 0, "live": 0}

    def look_on(which: int) -> Callable[[], None]:
        def task() -> None:
            proven = 0
            while proven < 40 and not crew.errors:
                if (batch := sampled(readers[which], 24)) is not None:
                    prove(batch, KIND, LOOKS[which])
                    check_marks(batch)
                    np.testing.assert_array_equal(batch.small[:, 0] // VERSIONS, batch.action)
                    proven += 1

        return task

    def rewrite(i: int) -> None:
        if (batch := sampled(readers[i % 2], 12)) is not None:
            live = readers[i % 2].update(batch.key, **marks(batch.action, i + 1))
            assert 0 <= live <= 12
            tally["keys"] += 12
            tally["live"] += live

    def take_out(i: int) -> None:
        if i % 3 or (batch := sampled(readers[i % 2], 2)) is None:
            return
        gone = batch.key[:1]
        memory.remove(gone)
        for reader in readers:
            after = sampled(reader, 24)
            assert after is None or gone[0] not in after.key, "drawn after it was removed"

    for feed in feeds:
        crew.repeat(feed, at_least=150)
    crew.work(look_on(0))
    crew.work(look_on(1))
    crew.repeat(rewrite)
    crew.repeat(take_out)
    crew.run()

    stats = memory.stats()
    assert stats["added"] == sum(feed.fed for feed in feeds)
    assert stats["chain_breaks"] == 0
    assert stats["updated"] == tally["live"]
    assert stats["updated"] + stats["stale_updates"] == tally["keys"]
    assert len(memory) == stats["steps"] <= rows * STREAMS
    for reader, look in zip(readers, LOOKS, strict=True):
        if (batch := sampled(reader, 400)) is not None:
            prove(batch, KIND, look)


def test_threads_that_add_to_one_stream_get_distinct_keys() -> None:
    """Each thread extends by whole episodes, which may follow each other in any order."""
    memory = rc.Memory(schema(KIND), 400, view=view(LOOKS[1]), seed=0)
    keys: list[list[int]] = [[], [], []]
    crew = Crew()

    def feed_episodes(mine: int) -> Callable[[], None]:
        def task() -> None:
            world = known_world(KIND, 0, 300)
            episode: list[dict[str, Any]] = []
            for step in world:
                episode.append(step)
                if step["terminated"] or step["truncated"]:
                    keys[mine] += memory.extend(**stacked(episode)).tolist()
                    episode = []

        return task

    for mine in range(3):
        crew.work(feed_episodes(mine))

    def look_on(i: int) -> None:
        batch = sampled(memory, 32)
        if batch is not None:
            prove(batch, KIND, LOOKS[1])

    crew.repeat(look_on)
    crew.run()
    flat = [key for of_one in keys for key in of_one]
    assert len(set(flat)) == len(flat) == memory.stats()["added"]
    assert all(of_one == sorted(of_one) for of_one in keys)
    assert memory.stats()["chain_breaks"] == 0


def test_examples_are_whole_while_others_add_and_update() -> None:
    memory = rc.Memory(
        rc.Schema.examples(
            number=rc.Field((), np.int64),
            small=rc.Field((SMALL,), np.int64),
            large=rc.Field((LARGE,), np.int64),
        ),
        16,
        seed=0,
    )
    crew = Crew()
    seen: list[int] = []

    def feed_examples() -> None:
        for first in range(0, 2000, 8):
            numbers = np.arange(first, first + 8)
            if first % 3:
                seen.extend(memory.extend(number=numbers, **marks(numbers, 0)).tolist())
            else:
                for number in numbers:
                    seen.append(memory.add(number=number, **marks(number, 0)))

    def look_on(i: int) -> None:
        batch = sampled(memory, 24)
        if batch is not None:
            check_marks(batch)
            np.testing.assert_array_equal(batch.small[:, 0] // VERSIONS, batch.number)
            memory.update(batch.key[:8], **marks(batch.number[:8], i + 1))

    crew.work(feed_examples)
    crew.repeat(look_on)
    crew.repeat(look_on)
    crew.run()
    assert len(set(seen)) == len(seen) == 2000


def test_max_draws_hold_across_threads() -> None:
    memory = rc.Memory(schema(KIND), 200, max_draws=3, seed=0)
    reader = memory.reader(view=view(LOOKS[1]))
    memory.extend(**stacked(known_world(KIND, 0, 100)))
    drawn: list[np.ndarray] = []
    crew = Crew()

    def drain(source: Any) -> Callable[[], None]:
        def task() -> None:
            while (batch := sampled(source, 16)) is not None:
                drawn.append(batch.key)

        return task

    for source in (memory, reader, memory, reader):
        crew.work(drain(source))
    crew.run()
    _, counts = np.unique(np.concatenate(drawn), return_counts=True)
    assert counts.tolist() == [3] * 100


def test_readers_may_come_while_others_add_and_sample() -> None:
    memory = rc.Memory(schema(KIND), STREAMS * 40, streams=STREAMS, seed=0)
    crew = Crew()
    for stream in range(STREAMS):
        crew.repeat(Feed(memory, stream, marked=False), at_least=150)

    def newcomers() -> None:
        for i in range(40):
            look = LOOKS[i % 2]
            if (batch := sampled(memory.reader(view=view(look)), 32)) is not None:
                prove(batch, KIND, look)

    crew.work(newcomers)
    crew.repeat(lambda _: [len(memory), memory.stats(), len(memory.episodes)])
    crew.run()


def test_closing_ends_every_thread_with_an_error_and_hangs_none() -> None:
    memory = rc.Memory(schema(KIND), 40, seed=0)
    memory.extend(**stacked(known_world(KIND, 0, 30)))
    calls: dict[str, Callable[[], Any]] = {
        "sample": lambda: memory.sample(8),
        "cut": memory.cut,
        "remove": lambda: memory.remove(np.array([-1])),
    }
    begun = {name: threading.Event() for name in calls}
    ended: list[str] = []
    crew = Crew()

    def until_closed(name: str) -> Callable[[], None]:
        def task() -> None:
            for _ in range(1_000_000):
                try:
                    calls[name]()
                except rc.errors.ClosedError:
                    ended.append(name)
                    return
                begun[name].set()

        return task

    def close() -> None:
        for event in begun.values():
            assert event.wait(20)
        memory.close()

    for name in calls:
        crew.work(until_closed(name))
    crew.work(close)
    crew.run()
    assert sorted(ended) == sorted(calls)
