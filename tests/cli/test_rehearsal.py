"""`recollect train rehearsal` and `recollect experiment rehearsal`."""

from __future__ import annotations

import csv
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import tyro

from recollect.cli.rehearsal import RunRehearsal, TrainRehearsal
from recollect.errors import ConfigurationError
from recollect.experiments import rehearsal as experiment
from recollect.experiments.rehearsal import CHAIN, METHODS, Comparison
from recollect.learners.rehearsal import (
    RehearsalConfig,
    Trained,
    average_accuracy,
    forgetting,
    make_network,
    tasks_of,
    train,
)


@pytest.fixture
def data(tmp_path):
    """Six classes of images, 20 of each; the path of their file."""
    rng = np.random.default_rng(0)
    label = np.arange(120) % 6
    image = 100 * (label[:, None, None] == np.arange(6)[:, None]) + rng.integers(0, 50, (120, 6, 6))
    np.savez(tmp_path / "mine.npz", images=image.astype(np.uint8), labels=label)
    return tmp_path / "mine.npz"


def command(kind, *arguments):
    return tyro.cli(kind, args=[*map(str, arguments)])


QUICK = ("--tasks", 3, "--hidden", 8, "--memory", 12)


def test_a_run_prints_the_matrix_and_leaves_a_folder(capsys, tmp_path, data):
    out = tmp_path / "run"
    arguments = (*QUICK, "--method", "der++", "--data", data, "--run-dir", out)
    assert command(TrainRehearsal, *arguments).run() == 0
    config = RehearsalConfig(method="der++", memory=12, data=str(data), tasks=3, hidden=(8,))
    expected = train(config)
    accuracy = expected.accuracy
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "der++ on mine.npz, new classes, seed 1: 3 tasks"
    assert [line.split("  ")[0] for line in lines[1:4]] == ["task 1/3", "task 2/3", "task 3/3"]
    assert lines[3].endswith(f"accuracy {100 * average_accuracy(accuracy)[-1]:.1f} %")
    assert lines[4].split() == "accuracy, % 0 1 2 3 4 5 average".split()
    for number in range(3):
        shares = [*accuracy[number, : number + 1], average_accuracy(accuracy)[number]]
        cells = [f"{100 * share:.1f}" for share in shares]
        assert lines[5 + number].split()[3:] == cells
    assert lines[8] == f"forgetting {100 * forgetting(accuracy):.1f} %"
    names = ["config.json", "curve.png", "evaluation.json", "log.csv", "model.pt"]
    assert sorted(file.name for file in out.iterdir()) == names
    assert sorted(lines[9:]) == [str(out / name) for name in names]

    found = json.loads((out / "evaluation.json").read_text())
    matrix = np.array([[np.nan if x is None else x for x in row] for row in found["accuracy"]])
    assert np.array_equal(matrix, accuracy, equal_nan=True)
    assert found["average_accuracy"] == average_accuracy(accuracy)[-1]
    assert found["forgetting"] == forgetting(accuracy)
    assert found["tasks"] == ["0 1", "2 3", "4 5"]
    held = json.loads((out / "config.json").read_text())
    assert held["learner"] == "rehearsal" and held["config"]["method"] == "der++"
    assert {field.name for field in fields(RehearsalConfig)} == held["config"].keys()
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    log = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    assert [row["task"] for row in log] == ["1", "2", "3"] and log[-1]["rows"] == "12"

    network = make_network(config, tasks_of(config))
    network.load_state_dict(torch.load(out / "model.pt", weights_only=True))
    for one, two in zip(network.parameters(), expected.network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_run_is_replaced_only_if_asked_for(tmp_path, data, capsys):
    arguments = (*QUICK, "--data", data, "--run-dir", tmp_path / "run")
    assert command(TrainRehearsal, *arguments).run() == 0
    with pytest.raises(ConfigurationError, match="--overwrite replaces it"):
        command(TrainRehearsal, *arguments).run()
    assert command(TrainRehearsal, *arguments, "--overwrite").run() == 0


def test_every_option_is_explained(capsys):
    with pytest.raises(SystemExit):
        command(TrainRehearsal, "--help")
    printed = capsys.readouterr().out
    for field in fields(RehearsalConfig):
        assert f"--{field.name.replace('_', '-')}" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "nowhere"), "there is no file or folder nowhere"),
        (("--tasks", "7"), "6 classes cannot be shared out to 7 tasks"),
        (("--device", "abacus"), "cannot use the device"),
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(tmp_path, data, arguments, words):
    out = tmp_path / "run"
    with pytest.raises(ConfigurationError, match=words):
        command(TrainRehearsal, "--data", data, "--run-dir", out, *arguments).run()
    assert not out.exists()


@pytest.mark.parametrize("finished", [0, 2])
def test_a_stopped_run_shows_what_it_has(monkeypatch, capsys, tmp_path, data, finished):
    def stopped(config, report, stream):
        accuracy = np.full((3, 3), np.nan)
        for after in range(finished):
            accuracy[after, : after + 1] = 0.5
        return Trained(make_network(config, stream), accuracy, ("a", "b", "c"), True)

    monkeypatch.setattr("recollect.cli.rehearsal.train", stopped)
    out = tmp_path / "run"
    arguments = (*QUICK, "--data", data, "--run-dir", out)
    assert command(TrainRehearsal, *arguments).run() == 130
    printed = capsys.readouterr().out
    assert f"stopped after {finished} of 3 tasks" in printed
    assert ("after b" in printed) == (finished == 2)
    assert (out / "model.pt").exists() and not (out / "evaluation.json").exists()


@pytest.fixture
def trained(monkeypatch):
    """Training that takes no time; the configurations that were trained."""
    configs = []

    def train(config):
        configs.append(config)
        level = 0.1 * METHODS.index(config.method) + 0.01 * config.seed
        accuracy = np.where(np.tri(3), level, np.nan)
        accuracy[0, 0] = 1.0
        return Trained(torch.nn.Identity(), accuracy, ("a", "b", "c"), interrupted=False)

    monkeypatch.setattr(experiment, "train", train)
    return configs


def test_the_experiment_trains_every_method_with_every_seed(capsys, tmp_path, data, trained):
    out = tmp_path / "out"
    arguments = ("--seeds", 2, "--data", data, "--jobs", 1, "--memory", 30, "--out", out)
    assert command(RunRehearsal, *arguments).run() == 0
    expected = [(method, seed) for seed in (1, 2) for method in METHODS]
    assert [(config.method, config.seed) for config in trained] == expected
    assert {replace(c, method="er", seed=1) for c in trained} == {
        RehearsalConfig(data=str(data), memory=30)
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == " 1/14  fine-tuning, seed 1: 1.0 %"
    assert lines[13] == "14/14  joint, seed 2: 62.0 %"
    # two seeds, 1 % apart: half the interval is t(1) / 2
    assert lines[15].split() == "fine-tuning 1.5 (-4.9 to 7.9) 49.2 (46.1 to 52.4)".split()
    assert (out / "rehearsal.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "rehearsal.md").read_text()
    assert "| joint | 61.5 (55.1 to 67.9) | 19.2 (16.1 to 22.4) |" in text
    assert "| FIFO rehearsal - fine-tuning | 10.0 (10.0 to 10.0) |" in text
    assert "mine.npz, new classes with each task, 5 tasks" in text


def test_the_experiment_for_real_in_two_processes(tmp_path, data):
    config = RehearsalConfig(data=str(data), tasks=3, hidden=(8,), memory=12)
    results = Comparison(1, tmp_path / "out", config).run(jobs=2)
    for method in METHODS:
        (accuracy,) = results[method]
        alone = train(replace(config, method=method)).accuracy
        assert np.array_equal(accuracy, alone, equal_nan=True)
    assert set(CHAIN) <= set(results)


@pytest.mark.parametrize(
    ("options", "words"),
    [(dict(seeds=0), "seeds must be at least 1"), (dict(jobs=0), "jobs must be at least 1")],
)
def test_bad_numbers_of_seeds_and_jobs(tmp_path, options, words):
    with pytest.raises(ConfigurationError, match=words):
        RunRehearsal(out=tmp_path, **options).run()
