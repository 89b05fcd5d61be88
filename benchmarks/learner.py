"""`python -m benchmarks.learner`: where the time of `recollect train dqn` goes.

The environment, the network (acting and gradient steps) and the memory (adding, sampling, making
tensors) are timed where they are called; what is left is the loop around them. Nothing is
evaluated.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

import recollect as rc
from recollect.learners.dqn import Progress, learning, playing, train, training
from recollect.learners.presets import preset

STEPS = {"CartPole-v1": 8_000, "MinAtar/Breakout-v1": 3_000, "ALE/Breakout-v5": 3_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.learner")
    parser.add_argument("--env", nargs="+", default=list(STEPS), help="environments")
    options = parser.parse_args()
    print("| environment | steps a second | environment | network | memory | the loop |")
    print("|---|---:|---:|---:|---:|---:|")
    for env in options.env:
        total, parts, steps = measure(env)
        shares = [parts[part] / total for part in ("environment", "network", "memory")]
        cells = " | ".join(f"{share:.1%}" for share in [*shares, 1 - sum(shares)])
        print(f"| {env} | {steps / total:,.0f} | {cells} |", flush=True)


def measure(env: str) -> tuple[float, dict[str, float], int]:
    """Seconds of training in all, in each part, and the steps trained.

    Measured once training has settled: PyTorch imports much with the first gradient step.
    """
    steps, warmup, settled = STEPS.get(env, 3_000), 500, 1_000
    config = preset(env, steps=steps + settled, warmup=warmup, eval_every=10**9, capacity=50_000)
    parts: dict[str, float] = defaultdict(float)
    begun, first = 0.0, 0

    def report(progress: Progress) -> None:
        nonlocal begun, first
        if not begun and progress.step >= settled:
            begun, first = time.perf_counter(), progress.step
            parts.clear()

    with ExitStack() as stack:
        for part, owner, name in (
            ("network", playing, "greedy"),
            ("network", learning, "td_error"),
            ("network", learning, "weighted_huber"),
            ("network", torch.autograd, "backward"),
            ("network", nn.utils, "clip_grad_norm_"),
            ("memory", rc.Memory, "add"),
            ("memory", rc.Memory, "sample"),
            ("memory", rc.Memory, "update"),
            ("memory", rc.Batch, "torch"),
        ):
            stack.enter_context(_timed(owner, name, parts, part))
        for owner, name, methods in (
            (training, "make_envs", {"environment": ("step", "reset")}),
            (torch.optim, "Adam", {"network": ("step", "zero_grad")}),
        ):
            stack.enter_context(_made_timed(owner, name, parts, methods))
        stack.enter_context(mock.patch.object(playing, "evaluate", return_value=np.zeros(1)))
        train(config, report)
    return time.perf_counter() - begun, parts, config.steps - first


@contextmanager
def _timed(owner: Any, name: str, parts: dict[str, float], part: str) -> Iterator[None]:
    with mock.patch.object(owner, name, _timing(getattr(owner, name), parts, part)):
        yield


@contextmanager
def _made_timed(
    owner: Any, name: str, parts: dict[str, float], methods: Mapping[str, tuple[str, ...]]
) -> Iterator[None]:
    """Times methods of whatever `name` makes."""
    make = getattr(owner, name)

    def made(*arguments: Any, **options: Any) -> Any:
        thing = make(*arguments, **options)
        for part, names in methods.items():
            for method in names:
                setattr(thing, method, _timing(getattr(thing, method), parts, part))
        return thing

    with mock.patch.object(owner, name, made):
        yield


def _timing(function: Callable[..., Any], parts: dict[str, float], part: str) -> Any:
    def timed(*arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            parts[part] += time.perf_counter() - begun

    return timed


if __name__ == "__main__":
    main()
