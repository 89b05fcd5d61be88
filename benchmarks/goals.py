"""What we wanted to reach, as ratios within one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks import actors, alone, disk, games, loader
from benchmarks.alone import at
from benchmarks.footprint import COMPRESSED, REVERB
from benchmarks.libraries import LIBRARIES, OURS
from benchmarks.results import Table
from benchmarks.workloads import FLOOR, FRAME


@dataclass(frozen=True)
class Rows:
    """Some rows of a table; those that were not measured do not count."""

    table: str
    names: tuple[str, ...]

    def median(
        self, tables: Mapping[str, Table], choose: Callable[[Iterable[float]], float]
    ) -> float | None:
        """The largest or smallest of their medians, or None where none was measured."""
        times = tables[self.table].times if self.table in tables else {}
        measured = [times[name].median for name in self.names if name in times]
        return choose(measured) if measured else None


@dataclass(frozen=True)
class Goal:
    """The dearest of some rows takes at most `limit` times what the cheapest of others does.

    Without others it takes at most `limit`, in the table's unit.
    """

    title: str
    limit: float
    of: Rows
    beside: Rows | None = None

    def measured(self, tables: Mapping[str, Table]) -> float | None:
        """The ratio, or None where one of the two was not measured."""
        of = self.of.median(tables, max)
        if self.beside is None or of is None:
            return of
        beside = self.beside.median(tables, min)
        return of / beside if beside else None


BEST_PEER = {"the best peer": LIBRARIES[1:]}
BEST_BUT_RLOX = {"the best peer but rlox": tuple(peer for peer in LIBRARIES[1:] if peer != "rlox")}
COPY = {FLOOR: (FLOOR,)}
RLOX, CPPRB = {"rlox": ("rlox",)}, {"cpprb": ("cpprb",)}
AS_CP = 1 / 0.7
"""Seven tenths of the speed of `cp`."""
SB3 = {"Stable-Baselines3": ("stable_baselines3",)}


def _beside(title: str, table: str, limit: float, others: Mapping[str, tuple[str, ...]]) -> Goal:
    """Ours beside others in the same table."""
    ((spelled, names),) = others.items()
    return Goal(f"{title}, beside {spelled}", limit, Rows(table, (OURS,)), Rows(table, names))


def _grown(title: str, kind: str, limit: float) -> Goal:
    """Ours of ten million rows beside ours of a hundred thousand."""
    large, small = (Rows("capacity", (at(kind, size),)) for size in ("10 M rows", "100 k rows"))
    return Goal(f"{title}, 10 M rows beside 100 k", limit, large, small)


def _by_episodes(title: str, kind: str, limit: float) -> Goal:
    """The dearest number of episodes beside the cheapest."""
    rows = Rows("episodes", tuple(at(kind, size) for size in alone.EPISODES))
    return Goal(f"{title}, the dearest number of episodes beside the cheapest", limit, rows, rows)


def _on_disk(title: str, limit: float, part: str, other: str) -> Goal:
    """Saving, beside something that is measured with it."""
    return Goal(title, limit, Rows("saving", (part,)), Rows("saving", (other,)))


def _in_directory(title: str, limit: float, kind: str) -> Goal:
    """A directory beside RAM."""
    there, here = (f"{kind}, {place}" for place in (disk.IN_DIRECTORY, disk.IN_RAM))
    title = f"{title}, directory beside RAM"
    return Goal(title, limit, Rows("directory", (there,)), Rows("directory", (here,)))


def _games(what: str, codec: str) -> Rows:
    """Of all games."""
    return Rows("decoding", tuple(games.row(what, game, codec) for game in games.GAMES))


def _parts(title: str, limit: float, part: str, other: str) -> Goal:
    """One of our parts beside another."""
    return Goal(title, limit, Rows("parts", (part,)), Rows("parts", (other,)))


GOALS = (
    _beside("uniform transitions", "sample_vectors", 0.5, BEST_BUT_RLOX),
    _beside("uniform transitions", "sample_vectors", 1.0, RLOX),
    _beside("three-step returns", "sample_nstep", 0.5, BEST_BUT_RLOX),
    Goal(
        "three-step returns, beside our single step",
        2.0,
        Rows("sample_nstep", (OURS,)),
        Rows("sample_vectors", (OURS,)),
    ),
    _beside("stacked frames", "sample_frames", 1.3, COPY),
    _beside("stacked frames", "sample_frames", 1.0, BEST_PEER),
    _beside("sequences of frames", "sequence_frames", 1.3, COPY),
    _beside("sequences of frames", "sequence_frames", 1.0, BEST_PEER),
    _beside("sequences of vectors", "sequence_vectors", 0.5, BEST_PEER),
    _beside("prioritized", "prioritized", 0.45, BEST_BUT_RLOX),
    _beside("prioritized", "prioritized", 1.0, RLOX),
    _beside("hindsight", "hindsight", 0.5, SB3),
    _beside("hindsight", "hindsight", 0.5, BEST_BUT_RLOX),
    _beside("hindsight", "hindsight", 1.0, RLOX),
    _beside("add one", "add_one", 1.5, SB3),
    _beside("add sixteen", "add_sixteen", 1.5, SB3),
    _beside("add sixteen", "add_sixteen", 1.5, CPPRB),
    _beside("the usual loop", "loop", 0.6, SB3),
    _grown("uniform transitions", alone.UNIFORM, 2.0),
    _grown("prioritized", alone.BY_PRIORITY, 2.5),
    _grown("sequences of vectors", alone.SEQUENCES, 2.0),
    _by_episodes("sequences", alone.WINDOWS, 2.0),
    _by_episodes("whole episodes", alone.WHOLE, 2.0),
    _by_episodes("hindsight", alone.GOALS, 2.0),
    Goal(
        "opening a reader on 1 M rows, the dearest, in seconds", 1.0, Rows("opening", alone.READERS)
    ),
    _parts("ranked, beside prioritized", 2.0, alone.RANKED, alone.PRIORITIZED),
    _parts("mixture, beside its parts one after the other", 1.3, alone.MIXTURE, alone.IN_TURN),
    _parts("offer 5, reservoir, beside first in, first out", 3.0, alone.RESERVOIR, alone.FIFO),
    _parts("offer 5, balanced, beside first in, first out", 3.0, alone.BALANCED, alone.FIFO),
    _parts(
        "offer 5, lowest dropped, beside first in, first out", 3.0, alone.DROP_LOWEST, alone.FIFO
    ),
    _on_disk("saving, beside `cp` until it is on the disk", AS_CP, disk.SAVE, disk.COPY_SYNCED),
    _on_disk("saving, beside `cp` that waits for no disk", AS_CP, disk.SAVE, disk.COPY),
    _on_disk("saving after 1 % has changed, beside the first time", 0.05, disk.AGAIN, disk.SAVE),
    Goal("loading, bytes of RAM for each byte", 1.05, Rows("loading", (disk.LOADED,))),
    _in_directory("uniform transitions", 1.15, disk.UNIFORM),
    _in_directory("stacked frames", 1.15, disk.STACKS),
    _in_directory("add one", 1.3, disk.ADD),
    _in_directory("add a frame", 1.3, disk.ADD_FRAME),
    Goal(
        "a step of four processes that add at once, beside one process",
        1 / 1.5,
        Rows("actors", (actors.FOUR,)),
        Rows("actors", (actors.ONE,)),
    ),
    Goal("compressed frames, bytes, mean", FRAME / 20, Rows("compressed", (games.MEAN,))),
    Goal("compressed frames, bytes, the largest", FRAME / 10, Rows("compressed", games.GAMES)),
    Goal(
        "stacked frames, compressed beside not, the dearest game",
        4.0,
        _games(games.DRAW, games.CODEC),
        _games(games.DRAW, games.PLAIN),
    ),
    Goal(
        "add a compressed frame, in microseconds, the dearest game",
        30.0,
        _games(games.ADD, games.CODEC),
    ),
    Goal(
        "bytes per step of Breakout, compressed, beside the best peer",
        1.0,
        Rows("bytes", (COMPRESSED,)),
        Rows("bytes", (*LIBRARIES[1:], REVERB)),
    ),
    Goal("waiting for a loader, in percent", 5.0, Rows("waiting", (loader.ONE,))),
    Goal(
        "large batches, a loader of two threads beside `sample`",
        1 / 1.5,
        Rows("throughput", (loader.TWO,)),
        Rows("throughput", (loader.PLAIN,)),
    ),
)
