"""`codec("zstd")`: how a run of rows becomes fewer bytes, and how they become rows again.

Of the libraries that were measured on Atari frames (`benchmarks/compression.py` does it again), in
runs of 8 frames: zstd at level -1 takes 1/47 of the raw bytes and decodes a run in 4 to 9 us; lz4
takes 1/28 and 3 to 6 us, blosc2 with lz4 inside 1/23 and 4 to 10 us. Preparing the frames (each xor
the one before, bytes transposed) made zstd's results larger, because it finds the frame before by
itself. So zstd is the choice, and nothing is done to the frames.

The one hard thing is the interpreter's lock. The library's own `decompress` lets go of it for each
run, and a thread that lets go fifty times in a batch waits up to 5 ms each time to get it back from
one that computes: 160 ms measured where 0.4 would do. So the library is also asked where in memory
its C function is, for `decoding.py`, which decodes all runs of a batch without the interpreter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from recollect.errors import ConfigurationError, DamagedError, MissingExtraError

LEVEL = -1
"""zstd's: 1 saves a twelfth of the bytes, and takes a fifth longer to decode."""


class Native(NamedTuple):
    """A codec's decoder as machine code: what `ZSTD_decompressDCtx` takes and returns."""

    function: int
    """Its address."""
    context: Callable[[], int]
    """The address of a context of the calling thread's own, which lives as long as the thread."""


class Codec(Protocol):
    """Bytes to fewer bytes and back. Every method may be called from any thread."""

    @property
    def name(self) -> str:
        """What `codec` knows it as."""
        ...

    @property
    def native(self) -> Native | None:
        """For decoding many runs at once; None where the library does not say where it is."""
        ...

    def encode(self, data: Any) -> bytes:
        """From anything with a contiguous buffer."""
        ...

    def decode(self, data: bytes, size: int) -> bytes:
        """What `encode` was given, which must be `size` bytes.

        Raises:
            DamagedError: it is something else.
        """
        ...


def codec(name: str) -> Codec:
    """The codec of this name.

    Raises:
        ConfigurationError: there is none.
        MissingExtraError: its library is not installed.
    """
    if name not in CODECS:
        known = ", ".join(repr(known) for known in CODECS)
        raise ConfigurationError(f"codec: there is no {name!r}; known: {known}")
    try:
        return CODECS[name]()
    except ImportError as error:
        raise MissingExtraError(
            f"codec {name!r} needs a package that is not installed ({error}): "
            'pip install "recollect[codec]"'
        ) from error


class Zstd:
    """Zstandard, by python-zstandard. Its objects serve one thread, so each thread has its own."""

    name = "zstd"

    def __init__(self) -> None:
        self._library: Any = import_module("zstandard")
        self._own = threading.local()
        self.native = self._native()

    def encode(self, data: Any) -> bytes:
        if not hasattr(self._own, "compress"):
            self._own.compress = self._library.ZstdCompressor(level=LEVEL).compress
        encoded: bytes = self._own.compress(data)
        # the library asks for as much as there could be and gives back the rest: between results,
        # which stay, are then holes too small for the next, 5,700 bytes a frame instead of 235
        return bytes(memoryview(encoded))

    def decode(self, data: bytes, size: int) -> bytes:
        try:
            # asked first, because so much is allocated
            claimed = self._library.frame_content_size(data)
            if claimed == size:
                if not hasattr(self._own, "decompress"):
                    self._own.decompress = self._library.ZstdDecompressor().decompress
                decoded: bytes = self._own.decompress(data)
                return decoded
        except self._library.ZstdError as error:
            raise DamagedError(f"zstd: {error}") from error
        raise DamagedError(f"zstd: expected {size} bytes, got {claimed}")

    def _native(self) -> Native | None:
        try:
            # the library's second way to C, which knows the addresses of what it calls
            backend: Any = import_module("zstandard.backend_cffi")
            ffi, lib = backend.ffi, backend.lib
            function = ffi.addressof(lib, "ZSTD_decompressDCtx")
        except (ImportError, AttributeError):
            return None

        def context() -> int:
            if not hasattr(self._own, "context"):
                self._own.context = ffi.gc(lib.ZSTD_createDCtx(), lib.ZSTD_freeDCtx)
            return int(ffi.cast("uintptr_t", self._own.context))

        return Native(int(ffi.cast("uintptr_t", function)), context)


class Lz4:
    """LZ4 blocks, by python-lz4, which holds the interpreter's lock while it decodes."""

    name = "lz4"
    native = None

    def __init__(self) -> None:
        self._library: Any = import_module("lz4.block")

    def encode(self, data: Any) -> bytes:
        encoded: bytes = self._library.compress(data, store_size=False)
        return encoded

    def decode(self, data: bytes, size: int) -> bytes:
        try:
            decoded: bytes = self._library.decompress(data, uncompressed_size=size)
        except self._library.LZ4BlockError as error:
            raise DamagedError(f"lz4: {error}") from error
        if len(decoded) != size:
            raise DamagedError(f"lz4: expected {size} bytes, got {len(decoded)}")
        return decoded


CODECS: dict[str, Callable[[], Codec]] = {"zstd": Zstd, "lz4": Lz4}
