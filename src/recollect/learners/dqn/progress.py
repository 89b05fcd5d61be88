"""How far a DQN has come: what is counted, what is reported of it, and what comes out.

A checkpoint keeps the counts, and a run goes on from them. Even reports are counted: those made
after the checkpoint are made again, so a log must know how many of its lines stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from recollect.errors import DamagedError, RecollectError
from recollect.learners.checkpoints import Checkpoint
from recollect.learners.networks import QNetwork


@dataclass
class Counts:
    """How far training has come."""

    step: int = 0
    """Steps taken in all environments together."""
    episode: int = 0
    """Episodes ended."""
    updates: int = 0
    """Gradient steps taken."""
    evaluated: int = 0
    """The step of the latest greedy evaluation."""
    reports: int = 0
    """Reports made."""
    loss: float | None = None
    """What the latest report said of it."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Counts:
        """Those of a run as of a checkpoint.

        Raises:
            DamagedError: it is another learner's, or of another version.
        """
        with fitting():
            return cls(**checkpoint.state["counts"])


@dataclass(frozen=True)
class Progress:
    """Where training stands: after each episode, each evaluation, and every `HEARTBEAT` steps."""

    step: int
    """Steps taken."""
    episode: int
    """Episodes ended."""
    epsilon: float
    """Share of random actions now."""
    rows: int
    """Rows of the memory in use."""
    bytes: int = 0
    """That these rows take."""
    updates: int = 0
    """Gradient steps taken."""
    replay_ratio: float = 0.0
    """Transitions drawn from the memory for each step added to it."""
    loss: float | None = None
    """Mean over the gradient steps since the report before, if there were any; else as in that."""
    episode_return: float | None = None
    """Sum of rewards of the episode that has just ended, if one has."""
    evaluation: float | None = None
    """Mean return of the greedy evaluation that has just ended, if one has."""


class Trained(NamedTuple):
    """What came out of training."""

    network: QNetwork
    """With the weights of the best evaluation, or the present ones if there was none yet."""
    score: float | None
    """Mean return in that evaluation: a choice among many, so flattering. Measure afresh."""
    steps: int
    """Steps taken."""
    interrupted: bool
    """Whether Ctrl-C ended it."""


@contextmanager
def fitting() -> Iterator[None]:
    """Says so where a checkpoint does not fit what it is put into."""
    try:
        yield
    except RecollectError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedError(f"the checkpoint is of another configuration: {error}") from error
