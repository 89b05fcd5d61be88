"""Runs in several processes: in order or as they finish, and what becomes of them on errors."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

import recollect as rc
from recollect.experiments.processes import in_processes


def late(number: int) -> int:
    """The larger, the sooner."""
    time.sleep(0.2 * (4 - number))
    return 10 * number


def stuck(number: int) -> int:
    if number == 0:
        return number
    time.sleep(600)
    return number


def failing(number: int) -> int:
    raise ArithmeticError(f"number {number}")


def dying(number: int) -> None:
    os._exit(number)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs):
    assert list(in_processes(late, [2, 3, 4], jobs)) == [20, 30, 40]


def test_or_as_soon_as_they_are_there():
    found = in_processes(stuck, [1, 0], 2, ordered=False)
    assert next(found) == 0
    found.close()


def test_who_stops_early_leaves_no_process_behind():
    before = {*multiprocessing.active_children()}
    found = in_processes(stuck, [0, 1, 2], 2)
    assert next(found) == 0
    begun = {*multiprocessing.active_children()} - before
    found.close()
    assert len(begun) == 2
    for process in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_work_is_raised(jobs):
    with pytest.raises(ArithmeticError, match="number 7"):
        list(in_processes(failing, [7], jobs))


def test_a_process_that_dies_is_said_in_one_line():
    with pytest.raises(rc.RecollectError, match=r"^a process died, .*memory; try again$"):
        list(in_processes(dying, [3], 2, hint="; try again"))
