"""Ctrl-C that waits until it tears nothing."""

from __future__ import annotations

import signal
import threading

import pytest

from recollect.learners.interrupts import Interrupts


@pytest.fixture(autouse=True)
def _in_the_foreground():
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_the_first_is_noted_and_the_second_interrupts():
    with Interrupts() as interrupts:
        assert not interrupts.asked
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_where_nothing_can_be_torn_the_first_interrupts():
    with Interrupts() as interrupts:
        interrupts.waits = False
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not interrupts.asked


def test_all_is_as_before_afterwards_also_after_an_error():
    with pytest.raises(ValueError, match="within"), Interrupts():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        raise ValueError("within")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_somebody_else_does_about_it_stays():
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
    assert seen == [signal.SIGINT]
    assert not interrupts.asked


def test_other_threads_have_none():
    made = []

    def work():
        with Interrupts() as interrupts:
            made.append(interrupts)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not made[0].asked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
