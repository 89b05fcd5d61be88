"""What compressing frames saves, and what it costs: four Atari games, played at random."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.libraries import OURS
from benchmarks.results import Table
from benchmarks.timing import TURNS, Timing, interleaved

GAMES = ("Breakout", "Pong", "Seaquest", "MsPacman")
MEAN = "mean of the four"
DRAW, ADD = "32 transitions of four stacked frames", "add one frame"
PLAIN, CODEC = "as they are", "zstd"


def compressed(scale: float = 1.0, turns: int = 1) -> Table:
    """Bytes that a memory has for each step; measured once: it does not vary."""
    title = 'bytes per step of four games, `Ram(codec="zstd")` (84 x 84: 7056 bytes as they are)'
    table = Table("compressed", title, {}, "bytes", "game")
    try:
        memories = {game: _memory(game, scale, CODEC) for game in GAMES}
    except ImportError as error:
        table.missing[MEAN] = f"not installed: {error}"
        return table
    sizes = {game: memory.stats()["bytes"] / len(memory) for game, memory in memories.items()}
    sizes[MEAN] = float(np.mean(list(sizes.values())))
    table.times.update({name: Timing(size, size, size) for name, size in sizes.items()})
    return table


def decoding(scale: float = 1.0, turns: int = TURNS) -> Table:
    """What drawing and adding take, with the codec and without."""
    title = "what compressing costs"
    calls: dict[str, Callable[[], object]] = {}
    try:
        for game in GAMES:
            for codec in (PLAIN, CODEC):
                memory, more = (_memory(game, scale, codec) for _ in range(2))
                calls[row(DRAW, game, codec)] = partial(memory.sample, 32)
                calls[row(ADD, game, codec)] = _adding(more, game, scale)
    except ImportError as error:
        missing = {CODEC: f"not installed: {error}"}
        return Table("decoding", title, {}, column="what is done", missing=missing)
    times = interleaved(dict(sorted(calls.items())), turns)
    return Table("decoding", title, times, column="what is done")


def row(what: str, game: str, codec: str) -> str:
    """The row of a cost that is measured for each game."""
    return f"{what}, {game}, {codec}"


def _memory(game: str, scale: float, codec: str) -> Any:
    """Of what was played, each step once."""
    ours = importlib.import_module(f"benchmarks.libraries.{OURS}")
    rc = importlib.import_module("recollect")
    episodes = _episodes(game, scale)
    rows = sum(len(frames) - 1 for frames in episodes)
    return ours.stored_frames(rows, episodes, store=rc.Ram(None if codec == PLAIN else codec))


def _adding(memory: Any, game: str, scale: float) -> Callable[[], object]:
    """A call that adds the next step of the game, over and over."""
    steps = cycle(list(_steps(_episodes(game, scale))))
    return lambda: memory.add(**next(steps))


def _steps(episodes: list[np.ndarray]) -> Iterator[dict[str, Any]]:
    for frames in episodes:
        last = len(frames) - 2
        for step in range(last + 1):
            yield {
                "obs": frames[step],
                "action": 0,
                "reward": 0.0,
                "next_obs": frames[step + 1],
                "terminated": step == last,
                "truncated": False,
            }


def _episodes(game: str, scale: float) -> list[np.ndarray]:
    return data.atari(max(int(data.PLAYED * scale), 100), game)
