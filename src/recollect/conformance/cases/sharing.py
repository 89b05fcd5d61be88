"""S: what else happens to a memory: its process is killed (S3), others look into it (S4), and
threads work for it (S5)."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.judge import has_true_successor, inspect, starts
from recollect.conformance.processes import start_child
from recollect.conformance.world import Stage, Unfit

ROOM = 4000


def settings_at(path: Path) -> Settings:
    """What parent and child agree on."""
    return Settings(capacity=ROOM, path=path)


@case("S3", "killed at any moment: every step whose add returned is there, whole", "crash-safe")
def killed(make: Make) -> None:
    for when in (40, 311, 1200):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "memory"
            stage = make(Settings(path=Path(folder) / "unused"))
            stage.adapter.close()
            child = start_child("add", stage.adapter, path)
            assert child.stdout is not None
            returned = 0
            for line in child.stdout:
                returned = int(line)
                if returned >= when:
                    break
            child.kill()
            rest = child.stdout.read().splitlines()
            child.wait()
            child.stdout.close()
            # a line that was not written to its end says nothing
            returned = max([returned, *[int(line) for line in rest[:-1]]])
            reopened = type(stage.adapter)()
            reopened.reopen(path, settings_at(path))
            other = Stage.of(reopened, settings_at(path))
            for step in range(returned + 400):
                episode, at = divmod(step, 25)
                other.world.append((0, episode, at), "T" if at == 24 else "")
            sure = other.world.places[: returned + 1]
            starts(other, sure, other.world.places[returned + 1 :])
            inspect(other, has_true_successor)
            reopened.close()


@case("S4", "a reader in another process never sees half a row", "second process")
def read_by_another_process(make: Make) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "memory"
        stage = make(settings_at(path))
        for step in range(ROOM):
            stage.add([(0, step // 25 % 200, step % 25)], ["T" if step % 25 == 24 else ""])
        child = start_child("read", stage.adapter, path)
        deadline = time.monotonic() + 60
        step = ROOM
        while child.poll() is None and time.monotonic() < deadline:
            stage.add([(0, step // 25 % 200, step % 25)], ["T" if step % 25 == 24 else ""])
            step += 1
        child.kill()
        said, _ = child.communicate()
        stage.adapter.close()
        if said.strip() != "right":
            raise Unfit(said.strip() or "the reader stopped without a word")


@case("S5", "an error on a background thread reaches the caller", "background")
def background_errors(make: Make) -> None:
    stage = make(Settings())
    stage.play("3T 4T 2T")
    try:
        stage.adapter.background_error()
    except ArithmeticError:
        return
    raise Unfit("an error on the background thread was swallowed")
