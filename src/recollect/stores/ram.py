"""`Ram`: rows in this process's memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from recollect.stores.arrays import Arrays
from recollect.stores.codecs import codec as codec_named


class Ram(Arrays):
    """Rows in memory, allocated when the memory is made (the system commits pages as they fill).

    Args:
        codec: compresses large integer fields, as images are: "zstd", or "lz4", which is faster and
            compresses less. A frame of an Atari game takes about a fortieth of its bytes, sampling
            about three times as long. Needs `recollect[codec]`. None: nothing is compressed.

    Raises:
        ConfigurationError: there is no such codec.
        MissingExtraError: its package is not installed.
    """

    outside = None

    def __init__(self, codec: str | None = None) -> None:
        super().__init__()
        self.codec = codec
        self._codec = None if codec is None else codec_named(codec)

    def __repr__(self) -> str:
        return "Ram()" if self.codec is None else f"Ram(codec={self.codec!r})"

    def _allocate(self, capacity: int) -> dict[str, Any]:
        arrays: dict[str, Any] = {}
        for name, dtype in self.layout.dtypes.items():
            if self._codec is not None and name.startswith("field.") and dtype.base.kind in "iu":
                from recollect.stores.compressed import CompressedColumn

                column = CompressedColumn(capacity, dtype.shape, dtype.base, self._codec)
                arrays[name] = column
            else:
                arrays[name] = np.zeros(capacity, dtype)
        return arrays
