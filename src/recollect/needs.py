"""What a memory will need, before anything is allocated; and what this machine can hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recollect.draws import DrawLimit
from recollect.errors import TooLargeError
from recollect.examples import BESIDE, CHECKED
from recollect.retention.base import Retention
from recollect.retention.fifo import Fifo
from recollect.samplers.base import Sampler
from recollect.samplers.uniform import Uniform
from recollect.schema import Schema
from recollect.stores.arrays import Layout
from recollect.stores.base import Store
from recollect.stores.directory import LEDGER, Directory
from recollect.stores.ram import Ram

COMPRESSED = 10
"""By so much a codec is taken to make large integer fields smaller, at least: frames of Atari games
shrink 20 to 75 times, photographs less than this."""

MEMBER_BYTES = 1
"""A reader marks the rows that are eligible."""


@dataclass(frozen=True)
class Estimate:
    """Bytes that a memory needs when it is full, but for what a batch takes.

    Attributes:
        row: of one row, all fields and what is kept beside them.
        rows: of all rows.
        parts: what sampler, retention and limits keep in RAM.
        disk: on the disk, in a `Directory`.
    """

    row: int
    rows: int
    parts: int
    disk: int

    @property
    def ram(self) -> int:
        """In RAM; the rows of a `Directory` may be there or not, as the system likes."""
        return self.parts + (0 if self.disk else self.rows)

    def __str__(self) -> str:
        disk = f", {shown(self.disk)} on the disk" if self.disk else ""
        return f"{shown(self.ram)} of RAM{disk}: {self.row:,} bytes a row"


def estimate(
    schema: Schema,
    capacity: int,
    *,
    streams: int | None = None,
    sampler: Sampler | None = None,
    retention: Retention | None = None,
    store: Store | None = None,
    max_draws: int | None = None,
) -> Estimate:
    """What a memory of these settings will need, as `Memory` takes them; nothing is allocated.

    Fields that a codec compresses are counted with a tenth of their bytes.
    """
    store = Ram() if store is None else store
    sampler = Uniform() if sampler is None else sampler
    slots = capacity + store.spare * (streams or 1)
    lasting = isinstance(store, Directory)
    beside = {} if schema.kind == "steps" else CHECKED if lasting else BESIDE
    layout = Layout(schema, {**beside, "priority": LEDGER} if lasting else beside)
    row = layout.row_bytes
    if getattr(store, "codec", None):
        large = [layout.dtypes[f"field.{name}"] for name in layout.large]
        whole = sum(dtype.itemsize for dtype in large if dtype.base.kind in "iu")
        row -= whole - whole // COMPRESSED
    part = sampler.row_bytes + MEMBER_BYTES
    if schema.kind == "examples":
        part += (Fifo() if retention is None else retention).row_bytes
    if max_draws is not None:
        part += DrawLimit.row_bytes
    rows = row * slots
    return Estimate(row, rows, part * slots, rows if lasting else 0)


def check_room(needed: Estimate) -> None:
    """Raises `TooLargeError` where this machine has less RAM than that, used or not."""
    there = machine_ram()
    if there is not None and needed.ram > there:
        raise TooLargeError(
            f"capacity: this memory needs {needed}; this machine has {shown(there)} of RAM. "
            "Take a smaller capacity, Ram(codec='zstd') for images, or store=Directory(path)"
        )


def machine_ram() -> int | None:
    """Bytes of RAM that this process may use; None where the system does not say."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (Path("/sys/fs/cgroup") / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found = min(found, int(text))
    return found


def shown(size: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
