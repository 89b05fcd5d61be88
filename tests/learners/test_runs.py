"""Run folders, logs, and the statistics of runs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.learners import dqn, runs
from recollect.learners.environments import make_env
from recollect.learners.runs import Interval, Log, RunFolder, points, score, student_t


@dataclass(frozen=True)
class Settings:
    env: str = "Somewhere-v0"
    hidden: tuple[int, ...] = (3, 4)


@dataclass(frozen=True)
class Report:
    step: int
    loss: float | None = None
    evaluation: float | None = None


CONFIG = dqn.DQNConfig(seed=7, hidden=(8, 4), replay="off", gamma=1, n_step_end=3)


@pytest.fixture
def saved(tmp_path):
    """A folder with a configuration."""
    folder = RunFolder.create(tmp_path / "run")
    folder.save_config("dqn", CONFIG)
    return folder


def change(folder, **options):
    """Changes or, with None, removes options in the file."""
    content = json.loads(folder.config.read_text())
    content["config"].update(options)
    folder.config.write_text(json.dumps(content))


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = RunFolder.create(tmp_path / "a" / "b")
    assert folder.path.is_dir()
    assert RunFolder.create(tmp_path / "a" / "b").path == folder.path  # empty: nothing to lose


def test_the_configuration_is_written_as_json(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.save_config("dqn", Settings())
    content = json.loads(folder.config.read_text())
    assert content.pop("created")
    assert content == {
        "recollect": rc.__version__,
        "learner": "dqn",
        "config": {"env": "Somewhere-v0", "hidden": [3, 4]},
    }
    assert [file.name for file in folder.path.iterdir()] == ["config.json"]


def test_a_former_run_is_replaced_only_on_request_and_other_files_stay(tmp_path):
    former = RunFolder.create(tmp_path)
    former.save_config("dqn", Settings())
    former.model.write_text("old")
    former.tensorboard.mkdir()
    (former.tensorboard / "events.out.tfevents.1").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(rc.ConfigurationError, match="holds a run already"):
        RunFolder.create(tmp_path)
    assert former.model.read_text() == "old"
    RunFolder.create(tmp_path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_other_files_beside_the_events_stay(saved):
    saved.tensorboard.mkdir()
    for name in ("events.out.tfevents.1", "notes.txt"):
        (saved.tensorboard / name).write_text("")
    assert [file.name for file in saved.files] == ["config.json", "events.out.tfevents.1"]
    RunFolder.create(saved.path, overwrite=True)
    assert [file.name for file in saved.tensorboard.iterdir()] == ["notes.txt"]


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


def test_the_configuration_comes_back(saved):
    record = saved.load()
    assert record.config == CONFIG
    assert isinstance(record.config.hidden, tuple)
    assert (record.version, record.learner) == (rc.__version__, "dqn")
    assert record.created.tzinfo is not None


def test_where_there_is_no_run(tmp_path):
    with pytest.raises(rc.ConfigurationError, match=r"there is no run folder .*nowhere"):
        RunFolder(tmp_path / "nowhere").load()
    with pytest.raises(rc.ConfigurationError, match=r"is not a run folder: it has no config.json"):
        RunFolder(tmp_path).load()
    (tmp_path / "config.json").write_text('{"model": "other"}')
    with pytest.raises(rc.ConfigurationError, match=r"is not a run folder: its config.json is"):
        RunFolder(tmp_path).load()


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[1]", b"3", b"\xff\xfe", b'{"recollect": 1']
)
def test_a_damaged_configuration(saved, content):
    saved.config.write_bytes(content)
    with pytest.raises(rc.ConfigurationError, match=r"config.json is damaged: "):
        saved.load()


@pytest.mark.parametrize("name", ["learner", "config", "created"])
def test_a_configuration_that_lacks_something(saved, name):
    content = json.loads(saved.config.read_text())
    del content[name]
    saved.config.write_text(json.dumps(content))
    with pytest.raises(rc.ConfigurationError, match=f"config.json is damaged: {name} is missing"):
        saved.load()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"seed": "one"}, "'one' is not int"),
        ({"seed": 1.5}, "1.5 is not int"),
        ({"seed": True}, "True is not int"),
        ({"gamma": "much"}, "'much' is not float"),
        ({"gamma": 2}, "gamma must be between 0 and 1, got 2"),
        ({"env": None}, "None is not str"),
        ({"hidden": 8}, "8 is not tuple"),
        ({"hidden": [8, "wide"]}, "'wide' is not int"),
        ({"replay": "perhaps"}, "'perhaps' is not "),
        ({"n_step_end": "late"}, "'late' is not "),
    ],
)
def test_a_value_of_the_wrong_kind(saved, option, message):
    change(saved, **option)
    with pytest.raises(rc.ConfigurationError, match=f"config.json is damaged: {message}"):
        saved.load()


def test_a_run_of_another_version(saved):
    content = json.loads(saved.config.read_text())
    del content["config"]["gamma"]
    content["config"]["magic"] = 3
    content["recollect"] = "9.0"
    saved.config.write_text(json.dumps(content))
    with pytest.raises(rc.ConfigurationError, match=r"belongs to recollect 9.0, .*: gamma, magic$"):
        saved.load()


def test_a_run_of_an_unknown_learner(saved):
    content = json.loads(saved.config.read_text()) | {"learner": "sac"}
    saved.config.write_text(json.dumps(content))
    with pytest.raises(rc.ConfigurationError, match="a run of the learner 'sac'"):
        saved.load()


def test_the_network_comes_back(saved):
    env = make_env(CONFIG.env)
    network = dqn.make_network(CONFIG, env)
    saved.save_model(network)
    config, loaded = runs.load(saved.path)
    assert config == CONFIG
    obs = torch.ones(2, 4)
    assert torch.equal(loaded(obs), network(obs))


def test_a_network_that_cannot_be_had(saved):
    with pytest.raises(rc.ConfigurationError, match=r"holds no model.pt"):
        runs.load(saved.path)
    wider = replace(CONFIG, hidden=(16,))
    saved.save_model(dqn.make_network(wider, make_env(CONFIG.env)))
    with pytest.raises(rc.ConfigurationError, match=r"model.pt is damaged"):
        runs.load(saved.path)
    with pytest.raises(rc.ConfigurationError, match="cannot use the device 'abacus'"):
        runs.load(saved.path, "abacus")
    change(saved, env="Nowhere-v0")
    with pytest.raises(rc.ConfigurationError, match="cannot make the environment 'Nowhere-v0'"):
        runs.load(saved.path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(saved):
    saved.model.with_suffix(".new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        saved.save_model(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 torn", b"\x80\x02]."])
def test_a_damaged_model(saved, content):
    saved.model.write_bytes(content)
    with pytest.raises(rc.ConfigurationError, match=r"model.pt is damaged"):
        runs.load(saved.path)


def test_a_model_is_never_executed(saved):
    torch.save({"x": Report(1)}, saved.model)  # any pickled object
    with pytest.raises(rc.ConfigurationError, match=r"model.pt is damaged"):
        runs.load(saved.path)


def test_the_evaluation_comes_back(saved):
    assert saved.load_evaluation() is None and not saved.finished
    saved.save_evaluation(episodes=0)  # there was to be none
    assert saved.load_evaluation() is None and saved.finished
    results = {"episodes": 2, "mean": 1.5, "standard_deviation": 0.5, "min": 1.0}
    saved.save_evaluation(**results)
    assert saved.load_evaluation() == results


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"episodes": 1, "mean": "high"}'])
def test_a_damaged_evaluation(saved, content):
    saved.evaluation.write_text(content)
    with pytest.raises(rc.ConfigurationError, match=r"evaluation.json is damaged"):
        saved.load_evaluation()


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


def test_a_line_that_was_not_finished_does_not_count(tmp_path):
    (tmp_path / "log.csv").write_text("step,loss\n10,0.5\n20,0.2")
    assert points(tmp_path / "log.csv", "loss") == [(10, 0.5)]


@pytest.mark.parametrize(
    "content",
    [b"step,evaluation\n1,2\n", b"step,loss\nx,1\n", b"step,loss\n1,x\n", b"\xff\n\xff\n"],
)
def test_a_damaged_log(tmp_path, content):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(rc.ConfigurationError, match=r"log.csv is damaged"):
        points(tmp_path / "log.csv", "loss")


def test_a_missing_log(tmp_path):
    with pytest.raises(rc.ConfigurationError, match=r"holds no log.csv"):
        points(tmp_path / "log.csv", "loss")


def test_the_score_is_taken_over_the_last_fifth(saved):
    log = Log(saved.log)
    for step in range(100, 1_100, 100):
        log.write(Report(step, evaluation=float(step)))
    log.close()
    assert score(saved) == (900 + 1_000) / 2


def test_the_score_of_a_run_without_evaluations(saved):
    Log(saved.log).close()
    with pytest.raises(rc.ConfigurationError, match="was not evaluated yet"):
        score(saved)


def test_an_interval_by_hand():
    mean, half = Interval.of([1, 2, 3, 4])
    assert mean == 2.5
    assert half == pytest.approx(3.182 * math.sqrt(5 / 3) / 2, rel=1e-3)
    value = Interval(10, 2)
    assert (value.low, value.high) == (8, 12)


def test_one_seed_has_no_interval():
    mean, half = Interval.of([3])
    assert mean == 3
    assert math.isnan(half)


@pytest.mark.parametrize("degrees", [1, 2, 4, 10, 11, 15, 40, 1000])
def test_students_t(degrees):
    t = student_t(degrees)
    # the share of Student's density within t, by the trapezium rule over x = tan(angle)
    angle = np.linspace(0, math.atan(t), 200_001)
    x = np.tan(angle)
    density = (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
    heights = density / np.cos(angle) ** 2
    area = (heights[1:] + heights[:-1]).sum() / 2 * (angle[1] - angle[0])
    assert 2 * area * scale / math.sqrt(degrees * math.pi) == pytest.approx(0.95, abs=2e-4)
