"""What another process does in cases S2 to S4 and S6.

`python -m recollect.conformance.child WHAT MODULE:CLASS PATH [sys.path as JSON]`. WHAT is add
(steps, for ever, printing the number of each), read (and print what is wrong, or "right"), save
(onto a full disk, and print whether that "raised" or "saved"), or "load N" (that many rows, again
and again, and print as JSON how much RAM that took).
"""

from __future__ import annotations

import json
import os
import sys
from itertools import count
from pathlib import Path

from recollect.conformance.adapter import Adapter


def main(what: str, name: str, folder: str, places: str = "[]") -> None:
    sys.path[:] = json.loads(places) or sys.path
    from recollect.conformance.cases.saving import load_again, save_onto_full_disk
    from recollect.conformance.run import load_adapter

    adapter, path = load_adapter(name)(), Path(folder)
    if what == "add":
        add(adapter, path)
    if what == "save":
        said = save_onto_full_disk(adapter, path)
    elif what == "read":
        said = read(adapter, path)
    else:
        said = json.dumps(load_again(adapter, path, int(what.removeprefix("load "))))
    print(said, flush=True)
    os._exit(0)  # a library that failed to save may fail to leave


def add(adapter: Adapter, path: Path) -> None:
    """Adds steps, for ever."""
    from recollect.conformance.cases.sharing import settings_at
    from recollect.conformance.world import Stage

    stage = Stage(adapter, settings_at(path))
    for step in count():
        stage.add([(0, step // 25, step % 25)], ["T" if step % 25 == 24 else ""])
        print(step, flush=True)


def read(adapter: Adapter, path: Path) -> str:
    """Draws while another process adds; what was wrong, or "right"."""
    from recollect.conformance.cases.sharing import settings_at
    from recollect.conformance.judge import has_true_successor, inspect
    from recollect.conformance.world import Stage, Unfit

    adapter.reopen(path, settings_at(path))
    stage = Stage.of(adapter, settings_at(path))
    for step in range(25 * 200):
        stage.world.append((0, step // 25, step % 25), "T" if step % 25 == 24 else "")
    try:
        for _ in range(200):
            inspect(stage, has_true_successor, n=64)
    except Unfit as fault:
        return str(fault)
    return "right"


if __name__ == "__main__":
    main(*sys.argv[1:])
