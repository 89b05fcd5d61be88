"""Other processes: one with the same adapter, and one that watches how much RAM this one takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recollect.conformance.adapter import Adapter


def start_child(what: str, adapter: Adapter, path: Path) -> subprocess.Popen[str]:
    """A process that does what `recollect.conformance.child` says of `what`."""
    kind = type(adapter)
    name = f"{kind.__module__}:{kind.__qualname__}"
    command = [sys.executable, "-m", "recollect.conformance.child", what, name, str(path)]
    # compiled libraries print what they cannot raise
    return subprocess.Popen(
        [*command, json.dumps(sys.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def run_child(what: str, adapter: Adapter, path: Path, seconds: float = 60) -> str:
    """The last line that it says; nothing if it takes longer."""
    child = start_child(what, adapter, path)
    try:
        said, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        said, _ = child.communicate()
    return said.strip().rpartition("\n")[2]


@contextmanager
def watched() -> Iterator[list[int]]:
    """Watches how many bytes this process has in RAM that are its own: pages of mapped files, which
    the system may take back at any moment, do not count.

    Yields:
        A list that afterwards holds how many there were before, at the most, and in the end.
    """
    command = [sys.executable, "-S", "-c", WATCH, f"/proc/{os.getpid()}/status"]
    found: list[int] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        found.append(int(watcher.stdout.readline()))
        try:
            yield found
        finally:
            watcher.stdin.close()
            found += map(int, watcher.stdout)


WATCH = """
import select, sys
def own():
    with open(sys.argv[1]) as status:
        rows = (line.split() for line in status)
        return 1024 * sum(int(row[1]) for row in rows if row[0] in ("RssAnon:", "RssShmem:"))
most = own()
print(most, flush=True)
while not select.select([sys.stdin], [], [], 0.0002)[0]:
    most = max(most, own())
last = own()
print(max(most, last), last, sep="\\n")
"""
