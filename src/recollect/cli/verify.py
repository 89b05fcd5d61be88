"""`recollect verify PATH`: is anything wrong with a memory's folder?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recollect.learners.runs import RunFolder
from recollect.saving.verify import verify
from recollect.stores.directory import MANIFEST


@dataclass(frozen=True)
class Verify:
    """Check a memory, which may be in use, and say what is wrong; nothing is changed."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """A directory or a snapshot; or a run folder, whose checkpoint has one."""

    def run(self) -> int:
        folder = self.path
        checkpoint = RunFolder(folder).checkpoint / "memory"
        if not (folder / MANIFEST).exists() and (checkpoint / MANIFEST).exists():
            folder = checkpoint
        findings = verify(folder)
        for finding in findings:
            print(finding)
        if not findings:
            print(f"{folder}: nothing is wrong")
        return 1 if findings else 0
