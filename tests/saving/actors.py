"""Processes that add to one memory, and what a batch drawn meanwhile must be."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import recollect as rc
from saving.worlds import STEPS, ends, image, steps

KNOWN = 256
"""Steps of a stream that are computed at a time."""

LOGITS = 150
VERSIONS = 1_000
SCHEMA = rc.Schema.steps(
    obs=STEPS.fields["obs"],
    action=rc.Field((), np.int64),
    note=rc.Field((2,), np.float64),
    logits=rc.Field((LOGITS,), np.int64),
)
"""Steps with a large extra, whose values all tell which step it is and how often it was updated."""


class Child:
    """A forked process, whose errors reach the parent."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._errors, into = os.pipe()
        self.pid = os.fork()
        self._ended = False
        if not self.pid:
            try:
                work()
                os._exit(0)
            except BaseException:
                os.write(into, traceback.format_exc().encode())
            finally:
                os._exit(1)
        os.close(into)

    def join(self) -> None:
        """Waits until it has come to its own end, without an error."""
        errors = b"".join(iter(lambda: os.read(self._errors, 1 << 16), b""))
        status = self._wait()
        assert status == 0, f"status {status}\n{errors.decode()}"

    def kill(self) -> None:
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()

    def stop(self) -> None:
        """Lets it stand still; it does when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self._ended = True
        os.close(self._errors)
        return status


@contextlib.contextmanager
def children(*works: Callable[[], Any]) -> Iterator[list[Child]]:
    """A process for each; those that are left at the end are killed."""
    started = [Child(work) for work in works]
    try:
        yield started
    finally:
        for child in started:
            child.kill()


def numbers(count: int) -> np.ndarray:
    """(count,) int64 zeros that forked processes share."""
    return np.frombuffer(mmap.mmap(-1, 8 * count), np.int64)


def wait_until(true: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def code(stream: Any, step: Any) -> Any:
    return np.asarray(stream) * 1_000_000 + np.asarray(step)


def logits(code: Any, version: Any = 0) -> np.ndarray:
    """(..., LOGITS), as first added or as updated later."""
    value = np.asarray(code) * VERSIONS + np.asarray(version)
    return np.repeat(value[..., None], LOGITS, axis=-1)


def rows(stream: int, step: Any) -> dict[str, Any]:
    """The fields of these steps."""
    return steps(stream, step) | {"logits": logits(code(stream, step))}


def one(block: Any, index: int) -> Any:
    if isinstance(block, dict):
        return {name: one(value, index) for name, value in block.items()}
    return block[index]


def add_from(
    writer: rc.StreamWriter, stream: int, first: int, done: np.ndarray, stop: Callable[[], Any]
) -> None:
    """Adds the stream's steps from `first` on, one by one or some at once; `done` follows."""
    rng = np.random.default_rng(first + stream)
    while True:
        block = rows(stream, np.arange(first, first + KNOWN))
        place = 0
        while place < KNOWN:
            if stop():
                return
            count = int(rng.integers(2, 9)) if rng.random() < 0.1 else 1
            if count == 1:
                writer.add(**one(block, place))
            else:
                part: Any = slice(place, min(place + count, KNOWN))
                writer.extend(**one(block, part))
            place = min(place + count, KNOWN)
            done[stream] = first + place
        first += KNOWN


def actor(path: Path, stream: int, done: np.ndarray, stop: Callable[[], Any]) -> None:
    """A process's work: opens a stream that is new, and adds."""
    with rc.open(path, stream=stream) as writer:
        add_from(writer, stream, 0, done, stop)


def _final(stream: Any, step: Any) -> Any:
    terminated, truncated = ends(stream, step)
    return terminated | truncated


def _begins(stream: Any, step: Any) -> Any:
    return (step == 0) | _final(stream, step - 1)


def prove_observed(found: Any, stream: Any, step: Any, final: Any) -> None:
    """Asserts that these are the observations there, of any leading shape."""
    stream, step, final = np.broadcast_arrays(stream, step, np.asarray(final, np.int64))
    np.testing.assert_array_equal(found["place"], np.stack((stream, step, final), axis=-1))
    np.testing.assert_array_equal(found["image"], image(stream, step, final))


def prove_own(batch: Any, where: Any = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Asserts what every step has, beside obs. Returns streams and steps."""
    found = batch.action[where]
    stream, step = np.divmod(found, 1_000_000)
    np.testing.assert_array_equal(batch.note[where][..., 0], step * 0.5)
    np.testing.assert_array_equal(batch.note[where][..., 1], stream + 0.25 * step)
    given = batch.logits[where]
    np.testing.assert_array_equal(given[..., 0] // VERSIONS, found)
    np.testing.assert_array_equal(given, np.repeat(given[..., :1], LOGITS, axis=-1))
    return stream, step


def _rewards(stream: Any, step: Any) -> Any:
    return ((step * 7 + stream) % 1000).astype(np.float64)


def prove_returns(batch: rc.Batch, n: int, gamma: float, stack: int = 1) -> None:
    """Asserts that a batch of `NStep(n, gamma, stack)` is whole, in order, of one episode."""
    stream, step = prove_own(batch)
    later = step[:, None] + np.arange(n)
    final = _final(stream[:, None], later)
    counted = np.cumsum(final, axis=1) - final == 0
    length = counted.sum(axis=1)
    np.testing.assert_array_equal(batch.steps, length)
    last = step + length - 1
    terminated, truncated = ends(stream, last)
    np.testing.assert_array_equal(batch.terminated, terminated)
    np.testing.assert_array_equal(batch.truncated, truncated)
    total = (np.where(counted, _rewards(stream[:, None], later), 0) * gamma ** np.arange(n)).sum(1)
    np.testing.assert_allclose(batch.reward, total, rtol=1e-5)
    np.testing.assert_allclose(
        batch.discount, np.where(terminated, 0, gamma ** length.astype(float)), rtol=1e-6
    )
    if stack == 1:
        prove_observed(batch.obs, stream, step, 0)
        prove_observed(batch.next_obs, stream, last + 1, terminated | truncated)
        return
    frames = [step]
    for _ in range(stack + n - 1):
        frames.append(frames[-1] - ~_begins(stream, frames[-1]))
    back = np.stack(frames[:stack][::-1], axis=1)
    prove_observed(batch.obs, stream[:, None], back, 0)
    begin = frames[-1]
    successors = (last + 1)[:, None] - np.arange(stack)[::-1]
    successors = np.maximum(successors, np.maximum(begin, successors.min(axis=1))[:, None])
    is_final = (successors == (last + 1)[:, None]) & (terminated | truncated)[:, None]
    prove_observed(batch.next_obs, stream[:, None], successors, is_final)


def prove_windows(batch: rc.Batch, length: int, cross: bool = False) -> None:
    """Asserts that a batch of `Sequence(length)` is whole, in order, of one episode.

    Args:
        cross: windows run on into the stream's next episode.
    """
    stream, step = np.divmod(batch.action[:, 0], 1_000_000)
    time = np.arange(length)
    later = step[:, None] + time
    final = _final(stream[:, None], later)
    inside = np.ones(final.shape, bool) if cross else np.cumsum(final, axis=1) - final == 0
    np.testing.assert_array_equal(batch.mask, inside)
    owner = np.broadcast_to(stream[:, None], inside.shape)
    prove_own(batch, inside)
    np.testing.assert_array_equal(batch.action[inside], code(owner, later)[inside])
    found = {name: value[inside] for name, value in batch.obs.items()}
    prove_observed(found, owner[inside], later[inside], 0)
    np.testing.assert_array_equal(batch.first, _begins(owner, later) & inside)
    np.testing.assert_array_equal(batch.reward[inside], _rewards(owner, later)[inside])
    terminated, truncated = ends(owner, later)
    np.testing.assert_array_equal(batch.terminated, terminated & inside)
    np.testing.assert_array_equal(batch.truncated, truncated & inside)
    np.testing.assert_array_equal(batch.row_key >= 0, inside)
    assert not batch.obs.image[~inside].any()
