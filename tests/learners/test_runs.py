"""Run folders, logs and learning curves."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

import recollect as rc
from recollect.learners import plots
from recollect.learners.runs import Log, RunFolder, points


@dataclass(frozen=True)
class Settings:
    env: str = "Somewhere-v0"
    hidden: tuple[int, ...] = (3, 4)


@dataclass(frozen=True)
class Report:
    step: int
    loss: float | None = None
    evaluation: float | None = None


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = RunFolder.create(tmp_path / "a" / "b")
    assert folder.path.is_dir()
    assert RunFolder.create(tmp_path / "a" / "b").path == folder.path  # empty: nothing to lose


def test_the_configuration_can_be_read_back(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.save_config("dqn", Settings())
    assert json.loads(folder.config.read_text()) == {
        "recollect": rc.__version__,
        "learner": "dqn",
        "config": {"env": "Somewhere-v0", "hidden": [3, 4]},
    }


def test_a_former_run_is_replaced_only_on_request_and_other_files_stay(tmp_path):
    former = RunFolder.create(tmp_path)
    former.save_config("dqn", Settings())
    former.model.write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(rc.ConfigurationError, match="holds a run already"):
        RunFolder.create(tmp_path)
    assert former.model.read_text() == "old"
    RunFolder.create(tmp_path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", [None, "{}", "[1]", "3", "not json", '{"model": "other"}'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_run_is_never_touched(tmp_path, content, overwrite):
    (tmp_path / "model.pt").write_text("precious")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(rc.ConfigurationError, match="what it holds is not a run"):
        RunFolder.create(tmp_path, overwrite)
    assert (tmp_path / "model.pt").read_text() == "precious"


def test_a_path_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        RunFolder.create(tmp_path / "file" / "run")


def test_a_log_is_on_disk_line_by_line_and_comes_back_as_points(tmp_path):
    path = tmp_path / "log.csv"
    log = Log(path)
    log.write(Report(10))
    log.write(Report(20, loss=0.5))
    assert path.read_text() == "step,loss,evaluation\n10,,\n20,0.5,\n"
    log.write(Report(30, evaluation=7.25))
    log.close()
    assert points(path, "loss") == [(20, 0.5)]
    assert points(path, "evaluation") == [(30, 7.25)]


def test_an_empty_log_has_no_points(tmp_path):
    Log(tmp_path / "log.csv").close()
    assert points(tmp_path / "log.csv", "loss") == []


@pytest.mark.parametrize("episodes", [0, 1, 5, 50])
@pytest.mark.parametrize("evaluations", [0, 1, 3])
def test_a_learning_curve_is_drawn_from_however_little_there_is(tmp_path, episodes, evaluations):
    path = tmp_path / "curve.png"
    plots.learning_curve(
        path,
        "A run",
        [(10 * i, float(i % 7)) for i in range(episodes)],
        [(100 * i, float(i)) for i in range(evaluations)],
    )
    assert path.read_bytes().startswith(b"\x89PNG")
