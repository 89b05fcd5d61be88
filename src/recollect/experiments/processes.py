"""The runs of an experiment, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from recollect.errors import RecollectError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    *,
    ordered: bool = True,
    hint: str = "",
) -> Iterator[Result]:
    """The result of each task, in the order of the tasks or, as soon as it is there, in any.

    What comes back should be no tensor: PyTorch would send it through shared memory, and complain
    when the interpreter leaves. One job is done here. If the caller stops early, or anything fails,
    the processes are stopped.

    Raises:
        RecollectError: a process died; the message ends with the hint.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    before = {*multiprocessing.active_children()}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            futures = [pool.submit(work, task) for task in tasks]
            for future in futures if ordered else as_completed(futures):
                yield future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            children = {*multiprocessing.active_children()} - before
            for child in children:
                child.terminate()
            for child in children:
                child.join()
            if isinstance(error, BrokenProcessPool):
                message = f"a process died, perhaps for want of memory{hint}"
                raise RecollectError(message) from error
            raise
