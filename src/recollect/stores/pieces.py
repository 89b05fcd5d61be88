"""`Piece`: some rows of a compressed column as bytes that say themselves what they are.

4 bytes   "RCP1"
4 bytes   N, the header's length (unsigned, little-endian, as all numbers here)
N bytes   the header, JSON: codec; dtype (NumPy's `str`) and shape of a row; run, the rows of a
          run; first, how many rows of the first run come before the piece; rows, in the piece
4 bytes   for each run its length, 0 if all its rows are zeros
...       the runs, one after the other, each as the codec made it of run rows, C order
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from recollect.errors import DamagedError

MAGIC = b"RCP1"
LENGTH = struct.Struct("<I")
KINDS = {"codec": str, "dtype": str, "shape": list, "run": int, "first": int, "rows": int}


class Piece(NamedTuple):
    """What a piece holds."""

    codec: str
    dtype: str
    shape: list[int]
    run: int
    first: int
    rows: int
    entries: list[bytes]
    """Of each run its compressed bytes; none if all its rows are zeros."""

    @property
    def needed(self) -> int:
        """How many runs so many rows take."""
        return -(-(self.first + self.rows) // self.run) if self.rows else 0


def joined(piece: Piece) -> bytes:
    """The bytes of a piece."""
    header = json.dumps({name: getattr(piece, name) for name in KINDS}).encode()
    lengths = np.array([len(entry) for entry in piece.entries], "<u4").tobytes()
    return b"".join([MAGIC, LENGTH.pack(len(header)), header, lengths, *piece.entries])


def parsed(data: bytes) -> Piece:
    """The piece of these bytes; what its runs hold is not looked at.

    Raises:
        DamagedError: they are no piece, or not all of one.
    """
    begin = len(MAGIC) + LENGTH.size
    if data[: len(MAGIC)] != MAGIC or len(data) < begin:
        raise DamagedError(f"rows: expected compressed rows, found {data[:8]!r}")
    stop = begin + LENGTH.unpack_from(data, len(MAGIC))[0]
    piece = _described(data[begin:stop])
    begin, stop = stop, stop + 4 * piece.needed
    if stop > len(data):
        raise DamagedError(f"rows: cut short: {len(data)} bytes of {stop} and more")
    ends = stop + np.cumsum(np.frombuffer(data[begin:stop], "<u4"), dtype=np.int64)
    expected = int(ends[-1]) if len(ends) else stop
    if expected != len(data):
        raise DamagedError(f"rows: expected {expected} bytes, found {len(data)}")
    bounds = [stop, *ends.tolist()]
    entries = [data[a:b] for a, b in pairwise(bounds)]
    return piece._replace(entries=entries)


def _described(header: bytes) -> Piece:
    try:
        found: Any = json.loads(header)
    except ValueError as error:
        raise DamagedError(f"rows: the header of compressed rows is damaged: {error}") from error
    if not isinstance(found, dict) or found.keys() != KINDS.keys():
        raise DamagedError(f"rows: expected a header of {', '.join(KINDS)}, found {header!r}")
    typed = all(type(found[name]) is kind for name, kind in KINDS.items())
    if not typed or found["run"] < 1 or found["rows"] < 0 or found["first"] < 0:
        raise DamagedError(f"rows: the header of compressed rows says {header!r}")
    if found["first"] >= found["run"]:
        raise DamagedError(f"rows: the header of compressed rows says {header!r}")
    return Piece(**found, entries=[])
