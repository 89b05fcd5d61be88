"""`verify`: everything about a memory's folder that can be checked, without changing it.

A directory may be in use meanwhile. What is only half done there is never taken for damage: rows
are looked at as by a reader, files that were replaced are read anew, and what the next opening
mends, as after a kill, is right.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recollect.errors import ConfigurationError, DamagedError, StorageError
from recollect.saving import manifest
from recollect.saving.contents import DirectoryContents, SnapshotContents
from recollect.saving.findings import Finding
from recollect.saving.verify_directory import in_directory
from recollect.saving.verify_snapshot import in_snapshot
from recollect.stores.directory import MANIFEST, Directory

ATTEMPTS = 20
"""How often a folder is looked at in which others replace files meanwhile."""

PAUSE = 0.01
"""Seconds before it is looked at again."""


def verify(folder: str | os.PathLike[str]) -> list[Finding]:
    """Looks for damage in a memory's folder, a directory or a snapshot. Costs reading all of it.

    Of a directory: the manifest, sizes of files, cursors, the state's checksums, and of all rows
    whether their marks tell of episodes one after the other, the checksums of examples, fields that
    must be finite, and priorities. What steps hold has no checksum there. Of a snapshot: checksums
    of everything, whether each row that is in use is there, and the same of its rows.

    Returns:
        What was found; nothing if all is well.

    Raises:
        StorageError: no memory is there, or its manifest cannot be read.
    """
    path = Path(folder)
    findings: list[Finding] = []
    for _ in range(ATTEMPTS):
        try:
            content = manifest.read(path)
            is_moving = _is_moving(path, content)
            findings = list(_found(path, content))
            if not findings or (not is_moving and manifest.read(path) == content):
                break
            time.sleep(PAUSE)
        except DamagedError as error:
            return [Finding.of(path / MANIFEST, error)]
    return findings


def _is_moving(folder: Path, content: dict[str, Any]) -> bool:
    """Whether a learner is going over to other rows just now, whose lock nobody can take yet."""
    with contextlib.suppress(StorageError):
        rows = content.get("rows")
        return rows is not None and Directory.generation_of(folder) != rows
    return False


def _found(folder: Path, content: dict[str, Any]) -> Iterator[Finding]:
    try:
        contents: DirectoryContents | SnapshotContents
        if content["kind"] == "directory":
            contents = DirectoryContents(folder, content)
        else:
            contents = SnapshotContents(folder, content)
    except (ConfigurationError, KeyError, TypeError) as error:
        yield Finding(folder / MANIFEST, f"it describes no memory: {error}")
        return
    if isinstance(contents, DirectoryContents):
        yield from in_directory(contents)
    else:
        yield from in_snapshot(contents)
