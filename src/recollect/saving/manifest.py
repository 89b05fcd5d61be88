"""The manifest: the JSON file by which a folder is known to hold a memory, and what kind.

    {"format": "recollect", "version": [1, 0], "kind": "directory" | "snapshot", ..., "crc": 123}

The checksum is the CRC-32 of the same object without it, as Python's `json.dumps` writes it.
A reader of version (a, b) reads versions (a, 0) to (a, b).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recollect.errors import DamagedError, StorageError
from recollect.stores.directory import MANIFEST
from recollect.stores.files import named, replace

VERSION = (1, 0)
"""Of the formats of directories and snapshots: larger changes, additions."""


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Makes this the folder's manifest, at once and lasting."""
    whole = {"format": "recollect", "version": list(VERSION), **content}
    text = json.dumps({**whole, "crc": _crc(whole)}, indent=1)
    replace(folder / MANIFEST, [text.encode("ascii"), b"\n"])


def read(folder: Path) -> dict[str, Any]:
    """The folder's manifest.

    Raises:
        StorageError: there is none, or it cannot be read.
        DamagedError: it is damaged, or of a version that cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        what = "it has no recollect.json" if folder.is_dir() else "there is no such folder"
        raise StorageError(f"{folder}: no memory is here: {what}")
    with named(path, "reading"):
        data = path.read_bytes()
    try:
        content = json.loads(data)
        crc, version = content.pop("crc"), tuple(content["version"])
        whole = content["format"] == "recollect" and [*map(type, version)] == [int, int]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path}: damaged, or cut short: it is no manifest ({error})") from error
    if not whole:
        raise DamagedError(f"{path}: this is no manifest of recollect")
    if version[0] != VERSION[0] or version > VERSION:
        raise DamagedError(
            f"{path}: its format is version {'.'.join(map(str, version))}, this release reads "
            f"{VERSION[0]}.0 to {'.'.join(map(str, VERSION))}; use the release that wrote it"
        )
    if crc != _crc(content):
        raise DamagedError(f"{path}: damaged: its checksum does not fit")
    return dict(content)


def _crc(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode("ascii"))
