"""Checkpoints: both parts of one moment, whole or not there."""

from __future__ import annotations

import shutil
from collections import OrderedDict

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.learners.checkpoints import Checkpoints
from recollect.stores import files

SCHEMA = rc.Schema.steps(obs=rc.Field((2,), np.float32), action=rc.Field((), np.int64))


def new_memory():
    return rc.Memory(SCHEMA, 50, sampler=rc.Prioritized(), view=rc.NStep(2, gamma=0.9), seed=1)


def live(memory, steps):
    """So many further steps, in episodes of 7."""
    for _ in range(steps):
        number = int(memory.stats()["added"])
        memory.add(
            obs=np.full(2, number, np.float32),
            action=number,
            reward=1.0,
            next_obs=np.full(2, number + 1, np.float32),
            terminated=number % 7 == 6,
            truncated=False,
        )


def state_at(memory):
    return {"added": int(memory.stats()["added"]), "weights": torch.arange(100)}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoint")


def test_both_come_back(checkpoints):
    memory = new_memory()
    for steps in (30, 40, 1):
        live(memory, steps)
        memory.update(memory.sample(8).key, priority=np.arange(8.0))
        checkpoints.save(memory, state_at(memory))
    again, state = checkpoints.load()
    assert state["added"] == 71
    assert torch.equal(state["weights"], torch.arange(100))
    assert again.stats() == memory.stats()
    one, two = memory.sample(20), again.sample(20)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert [path.name for path in checkpoints.folder.glob("learner*")] == ["learner-71"]
    live(again, 5)  # and it goes on from there
    checkpoints.save(again, state_at(again))
    assert checkpoints.load().state["added"] == 76


def test_every_kind_of_value_comes_back(checkpoints):
    rng = np.random.default_rng(0)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(3)).sum().backward()
    optimizer.step()
    state = {
        "plain": [None, True, 3, -(2**100), 0.1, float("inf"), "text", b"\x00bytes"],
        "nested": {"tuple": (1, (2.5, [])), 5: {"none": None}},
        "generator": rng.bit_generator.state,
        "former": np.random.RandomState(3).get_state(legacy=False),
        "arrays": [
            np.array(5.0),
            np.zeros((0, 3), np.uint8),
            np.arange(6, dtype=np.int16).reshape(2, 3).T,
            np.array([True, False]),
            np.arange(3, dtype=np.uint32),
        ],
        "scalar": np.float64(0.1),
        "torch": torch.get_rng_state(),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    memory = new_memory()
    checkpoints.save(memory, state)
    network.weight.data.zero_()
    again = checkpoints.load().state
    assert again["plain"] == state["plain"]
    assert again["nested"] == state["nested"]
    assert again["generator"] == state["generator"]
    assert again["scalar"] == 0.1
    for one, two in zip(state["arrays"], again["arrays"], strict=True):
        assert one.dtype == two.dtype and one.shape == two.shape
        np.testing.assert_array_equal(one, two)
    np.testing.assert_equal(again["former"], state["former"])
    assert torch.equal(again["torch"], state["torch"])
    assert isinstance(again["network"], OrderedDict) and again["network"]["weight"].any()
    step = optimizer.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(again["optimizer"]["state"][0]["exp_avg"], step)


def test_what_could_not_be_read_again_is_not_written(checkpoints):
    memory = new_memory()
    checkpoints.save(memory, {"value": 1})
    live(memory, 1)
    with pytest.raises(TypeError, match="cannot hold SeedSequence"):
        checkpoints.save(memory, {"value": np.random.SeedSequence(1)})
    assert checkpoints.load().state == {"value": 1}


def test_killed_at_any_moment_both_are_of_one(checkpoints, tmp_path, monkeypatch):
    """Copies the folder as it is whenever something is about to reach the disk, or has a name."""
    copies, sync, sync_folder = [], files.sync, files.sync_folder

    def copied(function):
        def call(argument):
            for _ in range(2):
                copies.append(tmp_path / str(len(copies)))
                if checkpoints.folder.is_dir():
                    shutil.copytree(checkpoints.folder, copies[-1])
                function(argument)

        return call

    monkeypatch.setattr(files, "sync", copied(sync))
    monkeypatch.setattr("recollect.saving.snapshot.sync_folder", copied(sync_folder))
    monkeypatch.setattr(files, "sync_folder", copied(sync_folder))
    memory, found = new_memory(), set()
    for _ in range(3):
        live(memory, 11)
        checkpoints.save(memory, state_at(memory))
    monkeypatch.undo()
    assert len(copies) > 20
    reached = 0
    for copy in copies:
        if not reached and not (copy / "memory" / "recollect.json").exists():
            with pytest.raises(rc.StorageError, match="there is no checkpoint"):
                Checkpoints(copy).load()
            continue
        again, state = Checkpoints(copy).load()
        assert again.stats()["added"] == state["added"] >= reached
        reached = state["added"]
        found.add(reached)
        Checkpoints(copy).save(again, state)  # what was left over is no hindrance
        assert len(list(copy.glob("learner-*"))) == 1
    assert found == {11, 22, 33}


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(checkpoints, monkeypatch):
    memory = new_memory()
    live(memory, 10)
    checkpoints.save(memory, state_at(memory))
    live(memory, 10)
    for place in ("recollect.learners.checkpoints.replace", "recollect.memory.Saver.save"):
        with monkeypatch.context() as patch:

            def full(*args):
                raise rc.StorageError(28, "disk: writing: No space left on device")

            patch.setattr(place, full)
            with pytest.raises(rc.StorageError, match="No space left"):
                checkpoints.save(memory, state_at(memory))
        again, state = checkpoints.load()
        assert state["added"] == again.stats()["added"] == 10
    checkpoints.save(memory, state_at(memory))
    assert checkpoints.load().state["added"] == 20


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda c: shutil.rmtree(c.folder), rc.StorageError, "there is no checkpoint"),
        (lambda c: (c.memory / "recollect.json").unlink(), rc.StorageError, "no checkpoint"),
        (lambda c: (c.folder / "learner-9").unlink(), rc.DamagedError, "learner-9: the learner"),
        (lambda c: damage(c.folder / "learner-9"), rc.DamagedError, "learner-9: state is damaged"),
        (lambda c: damage(c.memory / "recollect.json"), rc.DamagedError, "recollect.json"),
        (lambda c: damage(next(c.memory.glob("rows-*"))), rc.DamagedError, "rows-"),
        (lambda c: damage(next(c.memory.glob("state-*"))), rc.DamagedError, "state-"),
    ],
)
def test_what_is_damaged_is_named(checkpoints, harm, error, message):
    memory = new_memory()
    live(memory, 9)
    checkpoints.save(memory, state_at(memory))
    harm(checkpoints)
    with pytest.raises(error, match=message):
        checkpoints.load()


def test_a_memory_without_rows(checkpoints):
    checkpoints.save(new_memory(), {"step": 0})
    again, state = checkpoints.load()
    assert (len(again), state) == (0, {"step": 0})


def test_it_is_removed_but_nothing_else(checkpoints):
    checkpoints.remove()  # nothing is there
    checkpoints.save(new_memory(), {})
    (checkpoints.folder / "notes.txt").write_text("mine")
    checkpoints.remove()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["notes.txt"]
    (checkpoints.folder / "notes.txt").unlink()
    checkpoints.save(new_memory(), {})
    checkpoints.remove()
    assert not checkpoints.folder.exists()


def test_logs_are_told_before(tmp_path):
    called = []
    folder = tmp_path / "checkpoint"
    checkpoints = Checkpoints(folder, before=lambda: called.append(folder.exists()))
    checkpoints.save(new_memory(), {})
    assert called == [False]
