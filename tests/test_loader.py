"""Batches prepared ahead: right, in step where asked, and over when they should be."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import Look, leaves
from recollect.stores.buffers import Buffers
from selfproving import endless_world, known_world, prove, schema, stacked, view

KIND = "dict"
LOOK = Look(3, 0.9, {"obs.image": 3})
NUMBERS = rc.Schema.examples(number=rc.Field((), np.int64))


def threads_of_loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "recollect-loader"]


def all_left(seconds: float = 20) -> bool:
    """Whether the threads of every loader end soon."""
    end = time.monotonic() + seconds
    while threads_of_loaders() and time.monotonic() < end:
        time.sleep(0.005)
    return not threads_of_loaders()


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    assert all_left()
    yield
    gc.collect()
    assert all_left(), "threads that nobody needs any more"


def numbers(count: int, **options: Any) -> rc.Memory:
    memory = rc.Memory(NUMBERS, max(count, 1), seed=0, **options)
    if count:
        memory.extend(number=np.arange(count))
    return memory


# --- what it gives


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_right_while_rows_are_overwritten(threads: int, deterministic: bool) -> None:
    memory = rc.Memory(schema(KIND), 40, view=view(LOOK), seed=0)
    world = endless_world(KIND, 0)
    memory.extend(**stacked(list(islice(world, 30))))
    with memory.loader(24, threads=threads, deterministic=deterministic) as loader:
        assert iter(loader) is loader
        for batch in islice(loader, 60):
            prove(batch, KIND, LOOK)
            assert len(batch.key) == 24
            memory.extend(**stacked(list(islice(world, 5))))
            assert memory.remove(batch.key[:1]) <= 1
    assert memory.stats()["chain_breaks"] == 0


def test_priorities_count_for_what_is_drawn_after_them() -> None:
    memory = numbers(50, sampler=rc.Prioritized(alpha=1.0, epsilon=0.0))
    seen = []
    with memory.loader(16, prefetch=2) as loader:
        memory.update(memory.sample(1).key, priority=1.0)
        for number, batch in enumerate(loader):
            assert memory.update(batch.key, priority=(batch.number == 7) + 0.0) == 16
            seen.append(set(batch.number.tolist()))
            if seen[-1] == {7} or number == 500:
                break
    assert seen[-1] == {7}, "sooner or later all others were given priority zero"


def test_a_further_reader_has_loaders_too() -> None:
    memory = rc.Memory(schema(KIND), 40, seed=0)
    memory.extend(**stacked(known_world(KIND, 0, 30)))
    with memory.reader(view=view(LOOK)).loader(8) as loader:
        prove(next(loader), KIND, LOOK)


def test_what_is_held_never_changes() -> None:
    """Frames are large enough for their memory to be used again."""
    count = 300
    memory = rc.Memory(rc.Schema.examples(image=rc.Field((64, 64), np.uint8)), count, seed=0)
    shade = (np.arange(count) % 251).astype(np.uint8)
    memory.extend(image=np.broadcast_to(shade[:, None, None], (count, 64, 64)))
    kept: deque[rc.Batch] = deque(maxlen=5)
    with memory.loader(40, prefetch=4, threads=2) as loader:
        for batch in islice(loader, 60):
            kept.append(batch)
            for held in kept:
                slot = held.key & 0xFFFFFFFF
                assert (held.image == shade[slot][:, None, None]).all()


def test_memory_of_large_batches_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: list[int] = []
    unused = Buffers._unused

    def counted(buffers: Buffers, size: int) -> Any:
        found = unused(buffers, size)
        if found is None:
            fresh.append(size)
        return found

    monkeypatch.setattr(Buffers, "_unused", counted)
    memory = rc.Memory(rc.Schema.examples(image=rc.Field((64, 64), np.uint8)), 100, seed=0)
    memory.extend(image=np.zeros((100, 64, 64), np.uint8))
    held: deque[rc.Batch] = deque(maxlen=6)
    prefetch, threads = 12, 4
    with memory.loader(40, prefetch=prefetch, threads=threads) as loader:
        held.extend(islice(loader, 150))
    # those in use, those on their way, and one that is let go while another is made
    assert len(fresh) <= 6 + prefetch + threads + 1


def test_a_thread_without_work_holds_no_batch() -> None:
    together = threading.Barrier(3)
    calls = iter(range(100))

    def each_thread_makes_one(batch: rc.Batch) -> dict[str, Any]:
        if next(calls) < 3:
            together.wait(20)
        return {}

    memory = numbers(9, transforms=[each_thread_makes_one])
    with memory.loader(4, prefetch=2, threads=3) as loader:
        batch = next(loader)
        array = weakref.ref(batch.number)
        del batch
        end = time.monotonic() + 20
        while array() is not None and time.monotonic() < end:
            time.sleep(0.001)
        assert array() is None


def test_several_callers_share_the_batches() -> None:
    """Rows that may be drawn once, whoever draws and whoever takes."""
    memory = numbers(600, max_draws=1)
    taken: list[list[int]] = [[], [], []]
    loader = memory.loader(10, prefetch=4, threads=3)

    def take(mine: list[int]) -> None:
        try:
            for batch in loader:
                mine.extend(batch.number.tolist())
        except rc.EmptyMemoryError:
            pass

    callers = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    loader.close()
    assert sorted(row for of_one in taken for row in of_one) == list(range(600))


@pytest.mark.parametrize(
    "wrong",
    [
        dict(batch_size=0),
        dict(batch_size=2.5),
        dict(prefetch=0),
        dict(threads=True),
        dict(deterministic=1),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(rc.ConfigurationError, match=next(iter(wrong))):
        numbers(3).loader(**{"batch_size": 4} | wrong)


# --- in step


class Late:
    """Mixed into a view: gathers so late that whatever may happen before it does."""

    def gather(self, rows: Any, anchors: Any, call: int, rng: Any) -> Any:
        time.sleep((anchors[0] * 7919 % 5) / 1000)
        return super().gather(rows, anchors, call, rng)  # type: ignore[misc]


class LateNStep(Late, rc.NStep):
    pass


class LateHindsight(Late, rc.Hindsight):
    pass


class LateExample(Late, rc.Example):
    pass


class Ahead:
    """What a deterministic loader must equal: `sample`, called so much too early."""

    def __init__(self, memory: rc.Memory, size: int, prefetch: int) -> None:
        self.memory, self.size, self.prefetch = memory, size, prefetch
        self.drawn: deque[rc.Batch] = deque()

    def __call__(self) -> rc.Batch:
        while len(self.drawn) <= self.prefetch:
            self.drawn.append(self.memory.sample(self.size))
        return self.drawn.popleft()


def same(ours: rc.Batch, expected: rc.Batch) -> None:
    found, wanted = dict(leaves(ours)), dict(leaves(expected))
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def both(make: Callable[[bool], rc.Memory], live: Callable[..., None], prefetch: int) -> None:
    """Lives through the same with a loader and with the oracle, and compares every batch."""
    expected: list[rc.Batch] = []
    memory = make(False)
    live(memory, Ahead(memory, 16, prefetch), expected)
    for threads in (1, 3):
        ours: list[rc.Batch] = []
        memory = make(True)
        with memory.loader(16, prefetch=prefetch, threads=threads, deterministic=True) as loader:
            live(memory, loader.__next__, ours)
        assert len(ours) == len(expected) > 20
        for found, wanted in zip(ours, expected, strict=True):
            same(found, wanted)


def test_S5_deterministic_batches_do_not_depend_on_time_while_a_ring_is_overwritten() -> None:
    def make(late: bool) -> rc.Memory:
        kind = LateNStep if late else rc.NStep
        return rc.Memory(
            schema(KIND, note=rc.Field((), np.int64)),
            60,
            streams=2,
            view=kind(2, gamma=0.9, stack={"obs.image": 2}),
            sampler=rc.Prioritized(alpha=0.7, beta=rc.linear(0.4, 1.0, over=20)),
            transforms=[rc.Normalize("obs.speed")],
            seed=3,
        )

    def live(memory: rc.Memory, take: Callable[[], rc.Batch], batches: list[rc.Batch]) -> None:
        worlds = [endless_world(KIND, stream) for stream in range(2)]

        def feed(count: int) -> None:
            for stream, world in enumerate(worlds):
                steps = [step | {"note": 0} for step in islice(world, count)]
                memory.extend(stream=stream, **stacked(steps))

        feed(25)
        for turn in range(30):
            batch = take()
            batches.append(batch)
            memory.update(batch.key, priority=np.abs(batch.reward))
            if turn % 3 == 0:
                feed(4)
            elif turn % 3 == 1:
                memory.update(batch.key[:5], note=np.full(5, turn))
            if turn % 7 == 0:
                memory.remove(batch.key[-2:])
            if turn % 11 == 5:
                memory.cut(0)
            if turn == 20:
                memory.resize(90)

    both(make, live, prefetch=3)


def test_S5_deterministic_with_randomness_in_view_and_transform() -> None:
    fields = {name: rc.Field((2,)) for name in ("observation", "achieved_goal", "desired_goal")}

    def reward(achieved: Any, desired: Any, info: Any) -> Any:
        return -np.abs(achieved - desired).sum(axis=-1)

    def make(late: bool) -> rc.Memory:
        kind = LateHindsight if late else rc.Hindsight
        return rc.Memory(
            rc.Schema.steps(obs=fields, action=rc.Field((), np.int64)),
            80,
            view=kind(rc.Transition(gamma=0.9), reward=reward),
            transforms=[rc.Noise(0.1, "obs.observation")],
            seed=5,
        )

    def live(memory: rc.Memory, take: Callable[[], rc.Batch], batches: list[rc.Batch]) -> None:
        rng = np.random.default_rng(1)

        def feed() -> None:
            states = rng.random((9, 3, 2), np.float32)
            trees = [dict(zip(fields, state, strict=True)) for state in states]
            memory.extend(
                obs=stacked(trees[:-1]),
                action=np.arange(8),
                reward=np.zeros(8, np.float32),
                next_obs=stacked(trees[1:]),
                terminated=np.zeros(8, np.bool_),
                truncated=np.arange(8) == 7,
            )

        for _ in range(6):
            feed()
        for _ in range(25):
            batches.append(take())
            feed()

    both(make, live, prefetch=2)


@pytest.mark.parametrize("options", [{}, {"max_draws": 40}], ids=str)
def test_S5_deterministic_of_examples(options: dict[str, Any]) -> None:
    def make(late: bool) -> rc.Memory:
        kind = LateExample if late else rc.Example
        return rc.Memory(NUMBERS, 30, retention=rc.Reservoir(), view=kind(), seed=1, **options)

    def live(memory: rc.Memory, take: Callable[[], rc.Batch], batches: list[rc.Batch]) -> None:
        memory.extend(number=np.arange(40))
        for turn in range(25):
            batches.append(take())
            memory.extend(number=np.arange(5) + 100 * turn)

    both(make, live, prefetch=2)


def test_rows_wait_for_what_was_drawn_ahead() -> None:
    gate = threading.Event()
    entered = threading.Semaphore(0)

    class Gated(rc.Example):
        def gather(self, *arguments: Any) -> Any:
            entered.release()
            assert gate.wait(20)
            return super().gather(*arguments)

    memory = rc.Memory(NUMBERS, 4, view=Gated(), seed=0)
    memory.extend(number=np.arange(4))
    with memory.loader(2, prefetch=1, deterministic=True) as loader:
        calls: dict[str, Callable[[], Any]] = {
            "next": lambda: next(loader),
            "add": lambda: memory.add(number=9),
        }
        caller, adder = (threading.Thread(target=call) for call in calls.values())
        caller.start()
        assert entered.acquire(timeout=20)
        adder.start()
        adder.join(0.1)
        assert adder.is_alive(), "a row changed under a batch that was drawn before"
        assert len(memory) == 4
        gate.set()
        adder.join(20)
        caller.join(20)
        assert not adder.is_alive()


def test_a_draw_that_is_forgotten_holds_nobody_up() -> None:
    memory = numbers(4)
    memory._first.draw(2, ahead=True)
    memory.add(number=1)
    loader = memory.loader(2, prefetch=3, deterministic=True)
    next(loader)
    del loader
    memory.add(number=1)


# --- errors


def test_an_empty_memory_says_so_and_goes_on_when_it_is_filled() -> None:
    for deterministic in (False, True):
        memory = numbers(0)
        loader = memory.loader(4, prefetch=3, threads=2, deterministic=deterministic)
        for _ in range(3):
            with pytest.raises(rc.EmptyMemoryError):
                next(loader)
        memory.add(number=5)
        for batch in islice(loader, 10):
            assert batch.number.tolist() == [5] * 4
        loader.close()


@pytest.mark.parametrize("deterministic", [False, True])
def test_every_draw_that_is_allowed_is_handed_out(deterministic: bool) -> None:
    memory = numbers(20, max_draws=3)
    drawn: list[int] = []
    with (
        memory.loader(7, prefetch=4, threads=2, deterministic=deterministic) as loader,
        pytest.raises(rc.EmptyMemoryError),
    ):
        for batch in loader:
            drawn += batch.number.tolist()
    assert np.bincount(drawn).tolist() == [3] * 20


@pytest.mark.parametrize("deterministic", [False, True])
def test_S5_an_error_on_a_thread_reaches_the_caller_with_its_traceback(
    deterministic: bool,
) -> None:
    calls = iter(range(1000))

    def fails_the_third_time(batch: rc.Batch) -> dict[str, Any]:
        if next(calls) == 2:
            raise ZeroDivisionError("of the third batch")
        return {}

    memory = numbers(9, transforms=[fails_the_third_time])
    with memory.loader(4, prefetch=2, deterministic=deterministic) as loader:
        next(loader)
        next(loader)
        with pytest.raises(ZeroDivisionError, match="third") as caught:
            next(loader)
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-1] == "fails_the_third_time"
        assert len(next(loader).key) == 4, "the one after it is made"


def test_errors_leave_no_cycle_behind() -> None:
    """What failed is freed when nobody holds it, without the collector."""

    def fails(batch: rc.Batch) -> dict[str, Any]:
        raise ZeroDivisionError

    memory = numbers(9, transforms=[fails])
    gc.collect()
    gc.disable()
    try:
        loader = memory.loader(4)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                next(loader)
        loader.close()
        del loader
        assert all_left()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            failed = [thing for thing in gc.get_objects() if type(thing) is ZeroDivisionError]
        assert not failed
    finally:
        gc.enable()


@pytest.mark.parametrize("deterministic", [False, True])
def test_S5_a_memory_that_is_closed_ends_its_loaders(deterministic: bool) -> None:
    memory = numbers(9)
    loader = memory.loader(4, prefetch=3, threads=2, deterministic=deterministic)
    next(loader)
    memory.close()
    with pytest.raises(rc.ClosedError, match="memory"):
        for _ in islice(loader, 5):
            pass
    loader.close()


# --- the end


def test_S5_closing_twice_and_asking_after_it() -> None:
    loader = numbers(9).loader(4, threads=2)
    next(loader)
    assert len(threads_of_loaders()) == 2
    loader.close()
    assert not threads_of_loaders()
    loader.close()
    assert "closed" in repr(loader)
    with pytest.raises(rc.ClosedError, match="loader"):
        next(loader)
    never_used = numbers(9).loader(4)
    never_used.close()
    with pytest.raises(rc.ClosedError):
        next(never_used)


@pytest.mark.parametrize("deterministic", [False, True])
def test_S5_a_loop_that_is_left_lets_the_threads_go(deterministic: bool) -> None:
    memory = numbers(9)

    def loader() -> rc.Loader:
        return memory.loader(4, prefetch=3, threads=3, deterministic=deterministic)

    def by_return() -> rc.Batch:
        for batch in loader():
            return batch
        raise AssertionError

    for _ in loader():
        break
    assert all_left()
    by_return()
    assert all_left()
    with pytest.raises(ZeroDivisionError):
        for _ in loader():
            1 / 0  # noqa: B018
    gc.collect()
    assert all_left()
    with pytest.raises(KeyboardInterrupt), loader() as left:
        next(left)
        raise KeyboardInterrupt
    assert not threads_of_loaders()


def test_S5_a_loader_in_a_cycle_is_collected() -> None:
    memory = numbers(9)
    loader = memory.loader(4)
    next(loader)
    cycle: list[Any] = [loader]
    cycle.append(cycle)
    del loader, cycle
    gc.collect()
    assert all_left()


def test_S5_closing_while_somebody_is_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads have left when the batch is ordered."""
    memory = numbers(9)
    loader = memory.loader(4, deterministic=True)
    draw = rc.Reader.draw

    def closing(reader: rc.Reader, *arguments: Any, **options: Any) -> Any:
        loader.close()
        return draw(reader, *arguments, **options)

    next(loader)
    monkeypatch.setattr(rc.Reader, "draw", closing)
    with pytest.raises(rc.ClosedError, match="loader"):
        for _ in islice(loader, 5):
            pass
    memory.add(number=1)


@pytest.mark.parametrize("deterministic", [False, True])
def test_S5_closing_while_somebody_waits_for_the_limiter(deterministic: bool) -> None:
    memory = numbers(0, limiter=rc.ReplayRatio(1.0, min_size=100))
    loader = memory.loader(4, threads=2, deterministic=deterministic)
    ended: list[type[BaseException]] = []

    def wait() -> None:
        try:
            next(loader)
        except BaseException as error:
            ended.append(type(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    loader.close()
    waiting.join(20)
    assert ended == [rc.ClosedError]
    assert not threads_of_loaders()


def test_a_limiter_that_was_waited_for_too_long_says_so() -> None:
    memory = numbers(0, limiter=rc.ReplayRatio(1.0, min_size=3, timeout=0.05))
    for deterministic in (False, True):
        with (
            memory.loader(2, deterministic=deterministic) as loader,
            pytest.raises(rc.LimiterTimeoutError),
        ):
            next(loader)


def test_the_limiter_counts_only_what_was_taken() -> None:
    for deterministic in (False, True):
        limiter = rc.ReplayRatio(1.0, tolerance=64, timeout=0.01)
        memory = rc.Memory(NUMBERS, 100, limiter=limiter, seed=0)
        memory.extend(number=np.arange(65))
        with memory.loader(8, prefetch=3, deterministic=deterministic) as loader:
            next(loader)
            next(loader)
        # 64 rows earned as many draws, and 64 more may be borrowed
        for _ in range((64 + 64) // 8 - 2):
            memory.sample(8)
        with pytest.raises(rc.LimiterTimeoutError):
            memory.sample(8)


def test_the_limiter_does_not_count_batches_that_failed() -> None:
    calls = iter(range(100))

    def fails_at_first(batch: rc.Batch) -> dict[str, Any]:
        if next(calls) < 3:
            raise ZeroDivisionError
        return {}

    limiter = rc.ReplayRatio(1.0, tolerance=16, timeout=0.01)
    memory = rc.Memory(NUMBERS, 100, limiter=limiter, transforms=[fails_at_first], seed=0)
    memory.extend(number=np.arange(17))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            memory.sample(8)
    assert memory.stats()["sampled"] == 0
    # 16 rows earned as many draws, and 16 more may be borrowed
    for _ in range((16 + 16) // 8):
        memory.sample(8)
    assert memory.stats()["sampled"] == 32
    with pytest.raises(rc.LimiterTimeoutError):
        memory.sample(8)


def test_one_thread_may_add_and_take_in_turn_under_a_limiter() -> None:
    """What cannot be drawn ahead yet is no reason to wait, where drawing is the caller's."""
    limiter = rc.ReplayRatio(4.0, min_size=4, tolerance=20, timeout=5)
    memory = rc.Memory(NUMBERS, 100, limiter=limiter, seed=0)
    with memory.loader(4, prefetch=8, deterministic=True) as loader:
        memory.extend(number=np.arange(4))
        for number in range(40):
            assert len(next(loader).key) == 4
            memory.add(number=number)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("deterministic", [False, True])
def test_S5_a_forked_process_is_not_held_up(deterministic: bool) -> None:
    memory = numbers(9)
    loader = memory.loader(4, deterministic=deterministic)
    next(loader)
    for task in loader._work._pending:
        task.exception(20)
    time.sleep(0.05)
    with warnings.catch_warnings():
        # newer Pythons warn of threads that the child will not have
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(20)
            try:
                next(loader)
            except rc.ClosedError:
                loader.close()
                memory.add(number=1)
                code = 0 if len(memory.sample(3).key) == 3 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(next(loader).key) == 4
    loader.close()


PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
import recollect as rc

memory = rc.Memory(
    rc.Schema.examples(image=rc.Field((200, 200), np.uint8)), 100, seed=0, {options}
)
memory.extend(image=np.zeros((50, 200, 200), np.uint8))
loader = memory.loader(64, prefetch=3, threads=2, deterministic={deterministic})
{body}
"""
ENDINGS = {
    "at work": ("", "for _ in range(5): next(loader)", 0, ""),
    "in a loop left by an error": (
        "",
        "for batch in loader: raise SystemExit(3)",
        3,
        "",
    ),
    "while a thread waits for the limiter": (
        "limiter=rc.ReplayRatio(1.0, tolerance=200)",
        "next(loader); time.sleep(0.1)",
        0,
        "",
    ),
    "by Ctrl-C while it waits for a batch": (
        "limiter=rc.ReplayRatio(1.0, tolerance=200)",
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "for batch in loader: pass",
        -signal.SIGINT,
        "KeyboardInterrupt",
    ),
    "by Ctrl-C while it works": (
        "",
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "for batch in loader: pass",
        -signal.SIGINT,
        "KeyboardInterrupt",
    ),
    "while another thread takes batches": (
        "",
        "def take():\n    for batch in loader: pass\n"
        "threading.Thread(target=take, daemon=True).start(); time.sleep(0.1)",
        0,
        "",
    ),
}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_S5_the_interpreter_leaves(ending: str, deterministic: bool) -> None:
    options, body, code, said = ENDINGS[ending]
    if deterministic and "limiter" in ending:
        body = "next(loader)"
    program = PROGRAM.format(options=options, body=body, deterministic=deterministic)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    if said:
        assert done.stderr.strip().splitlines()[-1] == said
    elif ending != "while another thread takes batches":
        assert done.stderr == ""
