"""Choosing a codec: frames of four Atari games, compressed in runs by every candidate.

    python -m benchmarks.compression [frames]

prints bytes per step and times for each library and length of run, then what the compressed column
costs beside an array. The frames are the emulator's, preprocessed as in the DQN paper, played at
random. Candidates that are not installed are left out; the machine should have nothing else to do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import recollect as rc
from benchmarks.timing import interleaved
from recollect.learners.environments import make_env
from recollect.stores.codecs import CODECS, codec
from recollect.stores.compressed import CompressedColumn

GAMES = ("Breakout", "Pong", "Seaquest", "MsPacman")
FRAMES = 8000
RUNS = (1, 4, 8, 16)
SAMPLED = 100
"""Runs of each game and length that are measured."""
TURNS = 9
BATCHES = (32, 256)


class Candidate(NamedTuple):
    """A library with its settings."""

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], Any]
    prepare: Callable[[np.ndarray], np.ndarray] = np.asarray
    """What is done to a run first; undoing it is not in the time to decode."""


def play(game: str, frames: int) -> np.ndarray:
    """(frames, 84, 84) uint8, episode after episode, actions at random."""
    env = make_env(f"ALE/{game}-v5")
    env.action_space.seed(0)
    rows = np.empty((frames, 84, 84), np.uint8)
    over, seed = True, 0
    for row in rows:
        if over:
            obs, _ = env.reset(seed=seed)
            over, seed = False, seed + 1
        else:
            obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
        row[:] = obs[-1]
    env.close()
    return rows


def xored(rows: np.ndarray) -> np.ndarray:
    """Each frame xor the one before."""
    result = rows.copy()
    result[1:] ^= rows[:-1]
    return result


def transposed(rows: np.ndarray) -> np.ndarray:
    """The bytes of one pixel side by side."""
    return np.ascontiguousarray(np.moveaxis(rows, 0, -1))


def candidates() -> Iterator[tuple[str, Candidate]]:
    """Those that are installed."""
    for level in (-1, 1, 3):
        zstd = _library("zstandard")
        if zstd is not None:
            encode = zstd.ZstdCompressor(level=level).compress
            decode = zstd.ZstdDecompressor().decompress
            yield f"zstd {level}", Candidate(encode, decode)
            if level == -1:
                yield f"zstd {level}, xor", Candidate(encode, decode, xored)
                yield f"zstd {level}, transposed", Candidate(encode, decode, transposed)
    lz4 = _library("lz4.block")
    if lz4 is not None:
        yield "lz4", Candidate(lz4.compress, lz4.decompress)
        yield "lz4, xor", Candidate(lz4.compress, lz4.decompress, xored)
        yield (
            "lz4 hc",
            Candidate(
                lambda data: lz4.compress(data, mode="high_compression", compression=4),
                lz4.decompress,
            ),
        )
    blosc = _library("blosc2")
    if blosc is not None:
        for name, inside in (("lz4", blosc.Codec.LZ4), ("zstd", blosc.Codec.ZSTD)):
            settings = {
                "codec": inside,
                "clevel": 1 if name == "zstd" else 5,
                "typesize": 1,
                "nthreads": 1,
                "filters": [blosc.Filter.NOFILTER],
                "filters_meta": [0],
                "splitmode": blosc.SplitMode.NEVER_SPLIT,
            }
            yield (
                f"blosc2 {name}",
                Candidate(
                    lambda data, settings=settings: blosc.compress2(data, **settings),
                    lambda data: blosc.decompress2(data, nthreads=1),
                ),
            )


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def libraries(frames: dict[str, np.ndarray]) -> None:
    """Prints bytes per step and times of every candidate."""
    raw = next(iter(frames.values()))[0].nbytes
    print(f"raw: {raw} bytes per step. Times: microseconds to encode a step, to decode a run\n")
    print("| codec | run | " + " | ".join(frames) + " | mean | encode | decode |")
    print("|---|---:|" + "---:|" * (len(frames) + 3))
    for run in RUNS:
        for name, candidate in candidates():
            sizes, encoding, decoding = [], [], []
            for rows in frames.values():
                rng = np.random.default_rng(run)
                starts = rng.choice(len(rows) // run, min(SAMPLED, len(rows) // run), False) * run
                runs = [candidate.prepare(rows[a : a + run]).tobytes() for a in starts]
                encoded = [candidate.encode(data) for data in runs]
                sizes.append(sum(map(len, encoded)) / len(runs) / run)
                encoding.append(_best(candidate.encode, runs) / run)
                decoding.append(_best(candidate.decode, encoded))
            shown = " | ".join(f"{size:.0f} (1/{raw / size:.0f})" for size in sizes)
            mean = float(np.mean(sizes))
            times = f"{min(encoding):.1f} to {max(encoding):.1f} | {min(decoding):.1f} to "
            times += f"{max(decoding):.1f}"
            print(f"| {name} | {run} | {shown} | {mean:.0f} (1/{raw / mean:.1f}) | {times} |")
    print()


def _best(call: Callable[[Any], object], arguments: list[Any]) -> float:
    """Microseconds a call, of the quickest of several rounds."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        for argument in arguments:
            call(argument)
        taken.append(time.perf_counter() - begun)
    return min(taken) / len(arguments) * 1e6


def columns(frames: dict[str, np.ndarray]) -> None:
    """Prints what the column costs beside an array: bytes, writing, taking stacked transitions."""
    print("The column, one thread. Times in microseconds; take: obs and next_obs, stacks of 4,")
    print("random places; sample: that of a whole memory, its take replaced by the column's.\n")
    takes = " | ".join(f"take {batch} | array's" for batch in BATCHES)
    print(f"| game | codec | bytes per step | write a step | {takes} | sample 32 | plain |")
    print("|---|---|---:|---:|" + "---:|" * (2 * len(BATCHES) + 2))
    for game, rows in frames.items():
        memory = _memory(rows)
        for name in CODECS:
            column = CompressedColumn(len(rows), rows.shape[1:], rows.dtype, codec(name), threads=1)
            begun = time.perf_counter()
            for slot, row in enumerate(rows):
                column[slot] = row
            write = (time.perf_counter() - begun) / len(rows) * 1e6
            measured = []
            for batch in BATCHES:
                calls = _takes(rows, column, batch)
                if batch == BATCHES[0]:
                    calls["sample"] = partial(memory.sample, BATCHES[0])
                times = interleaved(calls, TURNS)
                measured += [times["column"].median, times["array"].median]
                if batch == BATCHES[0]:
                    plain = times["sample"].median
                    sample = plain - times["array"].median + times["column"].median
            shown = " | ".join(f"{time:.0f}" for time in measured)
            size = column.nbytes / len(rows)
            print(
                f"| {game} | {name} | {size:.0f} (1/{rows[0].nbytes / size:.0f}) | {write:.1f} | "
                f"{shown} | {sample:.0f} ({sample / plain:.1f} x) | {plain:.0f} |"
            )


def _takes(
    rows: np.ndarray, column: CompressedColumn, batch: int
) -> dict[str, Callable[[], object]]:
    """The same random stacked transitions from an array and from the column."""
    rng = np.random.default_rng(batch)
    out = np.empty((2, batch, 4, *rows.shape[1:]), rows.dtype)

    def places() -> np.ndarray:
        last = rng.integers(4, len(rows) - 1, batch)
        return last[:, None] + np.arange(-3, 1) + np.arange(2)[:, None, None]

    def from_array() -> None:
        for part, slots in zip(out, places(), strict=True):
            rows.take(slots, axis=0, out=part, mode="clip")

    return {"array": from_array, "column": lambda: column.take(places(), out)}


def _memory(rows: np.ndarray) -> rc.Memory:
    """All frames as one truncated episode, uncompressed."""
    schema = rc.Schema.steps(
        obs=rc.Field(rows.shape[1:], rows.dtype), action=rc.Field((), np.int64)
    )
    view = rc.NStep(1, gamma=0.99, stack={"obs": 4})
    memory = rc.Memory(schema, capacity=len(rows) + 2, view=view, seed=0)
    steps = len(rows) - 1
    truncated = np.zeros(steps, np.bool_)
    truncated[-1] = True
    memory.extend(
        obs=rows[:-1],
        action=np.zeros(steps, np.int64),
        reward=np.zeros(steps, np.float32),
        next_obs=rows[1:],
        terminated=np.zeros(steps, np.bool_),
        truncated=truncated,
    )
    return memory


def coloured(frames: int) -> np.ndarray:
    """(frames, 64, 64, 3) uint8: a square on a gradient, as a simulator without noise draws it."""
    rows = np.empty((frames, 64, 64, 3), np.uint8)
    rows[:] = np.add.outer(np.arange(64), np.arange(64))[..., None] * np.array([1, 2, 0])
    for number, row in enumerate(rows):
        y, x = number * 3 % 50, number * 2 % 47
        row[y : y + 12, x : x + 12] = (200, 30, number // 100 % 256)
    return rows


def main() -> None:
    """Plays, measures and prints."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES
    games = {game: play(game, frames) for game in GAMES}
    libraries(games)
    columns(games)
    print("\nNo game: 64 x 64 colour frames without noise\n")
    libraries({"square": coloured(1000)})


if __name__ == "__main__":
    main()
