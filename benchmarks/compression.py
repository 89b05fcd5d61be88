"""Choosing a codec: frames of four Atari games, compressed in runs by every candidate.

    python -m benchmarks.compression [frames]

prints bytes per step and times for each library and length of run, then what memories with the
codec that was chosen take and cost. The frames are the emulator's, preprocessed as in the DQN
paper, played at random. Candidates that are not installed are left out; the machine should have
nothing else to do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from benchmarks import data, games

RUNS = (1, 4, 8, 16)
SAMPLED = 100
"""Runs of each game and length that are measured."""
TURNS = 9


class Candidate(NamedTuple):
    """A library with its settings."""

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], Any]
    prepare: Callable[[np.ndarray], np.ndarray] = np.asarray
    """What is done to a run first; undoing it is not in the time to decode."""


def xored(rows: np.ndarray) -> np.ndarray:
    """Each frame xor the one before."""
    result: np.ndarray = rows.copy()
    np.bitwise_xor(rows[1:], rows[:-1], out=result[1:])
    return result


def transposed(rows: np.ndarray) -> np.ndarray:
    """The bytes of one pixel side by side."""
    beside: np.ndarray = np.moveaxis(rows, 0, -1).copy()
    return beside


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
                    partial(blosc.compress2, **settings),
                    partial(blosc.decompress2, nthreads=1),
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
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else data.PLAYED
    libraries({game: np.concatenate(data.atari(frames, game))[:frames] for game in games.GAMES})
    scale = frames / data.PLAYED
    for table in (games.compressed(scale), games.decoding(scale, TURNS)):
        print("", *table.lines(), sep="\n")
    print("\nNo game: 64 x 64 colour frames without noise\n")
    libraries({"square": coloured(1000)})


if __name__ == "__main__":
    main()
