"""The rehearsal learner: its formulas by hand, and that a memory keeps it from forgetting."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from recollect.errors import ConfigurationError
from recollect.interop.images import Labelled
from recollect.learners import rehearsal
from recollect.learners.rehearsal import (
    Learner,
    Method,
    RehearsalConfig,
    average_accuracy,
    batches,
    evaluate,
    forgetting,
    interference,
    make_network,
    shuffled,
    train,
)
from recollect.learners.tasks import Stream, Task
from recollect.retention.balanced import Balanced
from recollect.retention.fifo import Fifo
from recollect.retention.reservoir import Reservoir

METHODS = get_args(Method)
CONFIG = RehearsalConfig(memory=20, hidden=(16,), tasks=3, learning_rate=0.05, epochs=2)
CPU = torch.device("cpu")


def clouds(tasks=3, count=60, seed=0):
    """Tasks of two classes each; the classes are clouds about the corners of a polygon."""
    rng = np.random.default_rng(seed)
    made = []
    for task in range(tasks):
        parts = []
        for size in (count, 40):
            label = rng.integers(2 * task, 2 * task + 2, size)
            angle = np.pi * label / tasks
            corner = np.stack([np.cos(angle), np.sin(angle)], axis=1)
            image = corner + 0.1 * rng.standard_normal((size, 2))
            parts.append(Labelled(image.astype(np.float32), label))
        made.append(Task(f"task {task}", *parts))
    return Stream(tuple(made), 2 * tasks)


STREAM = clouds()


def learner(**options):
    return Learner(replace(CONFIG, **options), STREAM, CPU)


def batch(task, count):
    """The first examples of a task, as arrays and as tensors."""
    part = Labelled(*(array[:count] for array in STREAM.tasks[task].train))
    return part, torch.from_numpy(part.image), torch.from_numpy(part.label)


@pytest.mark.parametrize("method", METHODS)
def test_the_matrix_says_what_is_known_after_each_task(method):
    reports = []
    trained = train(replace(CONFIG, method=method), reports.append, STREAM)
    accuracy = trained.accuracy
    assert trained.tasks == ("task 0", "task 1", "task 2") and not trained.interrupted
    assert accuracy.shape == (3, 3)
    assert np.array_equal(np.isnan(accuracy), np.triu(np.ones((3, 3)), 1).astype(bool))
    assert np.nanmin(accuracy) >= 0 and np.nanmax(accuracy) <= 1
    network = trained.network
    for task, found in zip(STREAM.tasks, accuracy[-1], strict=True):
        with torch.no_grad():
            answers = [int(network(torch.from_numpy(x[None])).argmax()) for x in task.test.image]
        assert found == np.mean(answers == task.test.label)
    ends = [report for report in reports if report.accuracy is not None]
    assert [report.accuracy for report in ends] == pytest.approx(average_accuracy(accuracy))
    assert [report.task for report in ends] == [1, 2, 3]
    assert [report.step for report in ends] == [12, 24, 36]
    assert ends[-1].rows == (0 if method in ("finetune", "joint") else 20)


def test_without_a_memory_it_forgets_and_with_one_it_does_not():
    config = replace(CONFIG, epochs=10, learning_rate=0.2)
    found = {
        method: train(replace(config, method=method), stream=STREAM).accuracy for method in METHODS
    }
    # the newest examples are all of the task at hand
    for method in ("finetune", "fifo"):
        assert forgetting(found[method]) > 0.5, method
        assert average_accuracy(found[method])[-1] < 0.65, method
    for method in ("er", "balanced", "der++", "mir", "joint"):
        assert forgetting(found[method]) < 0.1, method
        assert average_accuracy(found[method])[-1] > 0.93, method


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_everything(method):
    config = replace(CONFIG, method=method)
    first, again, other = (
        train(replace(config, seed=seed), stream=STREAM).network for seed in (1, 1, 2)
    )
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert not any(torch.equal(one, two) for one, two in pairs)


def test_the_seed_decides_the_first_weights_too():
    config = replace(CONFIG, learning_rate=1e-12)
    one, other = (train(replace(config, seed=seed), stream=STREAM).network for seed in (1, 2))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert not any(torch.allclose(one, two) for one, two in pairs)


def test_ctrl_c_keeps_what_was_learned():
    def stop(progress):
        if progress.task == 2:
            raise KeyboardInterrupt

    trained = train(CONFIG, stop, STREAM)
    assert trained.interrupted
    assert np.isnan(trained.accuracy).all(axis=1).tolist() == [False, False, True]


def test_progress_is_reported_within_long_tasks(monkeypatch):
    monkeypatch.setattr(rehearsal, "HEARTBEAT", 5)
    reports = []
    train(CONFIG, reports.append, STREAM)
    assert [report.step for report in reports] == [5, 10, 12, 17, 22, 24, 29, 34, 36]
    assert [report.accuracy is None for report in reports] == [True, True, False] * 3


def test_average_and_forgetting_by_hand():
    nan = np.nan
    accuracy = np.array(
        [[0.9, nan, nan, nan], [0.95, 0.8, nan, nan], [0.7, 0.6, 1.0, nan], [0.5, 0.6, 0.8, 0.3]]
    )
    assert average_accuracy(accuracy) == pytest.approx([0.9, 0.875, 2.3 / 3, 0.55])
    # the best of the first task is what it once was, neither when it was new nor lately
    assert forgetting(accuracy) == pytest.approx((0.45 + 0.2 + 0.2) / 3)
    accuracy[3, 0] = 1.0
    assert forgetting(accuracy) == pytest.approx((-0.05 + 0.2 + 0.2) / 3)
    assert forgetting(np.array([[0.7]])) == 0


def test_what_each_memory_keeps():
    kinds = {"fifo": Fifo, "er": Reservoir, "der++": Reservoir, "mir": Reservoir}
    for method, kind in {**kinds, "balanced": Balanced}.items():
        assert type(replace(CONFIG, method=method).retention()) is kind
    assert learner(method="finetune").memory is None
    assert learner(method="joint").memory is None


def test_new_and_replayed_images_count_alike():
    one = learner(memory=1, method="er", replay_size=5)
    old, old_image, old_label = batch(0, 1)
    one.memory.extend(image=old.image, label=old.label)
    _, image, label = batch(1, 10)
    logits = one.network(image)
    each = cross_entropy(logits, label, reduction="none").sum()
    replayed = cross_entropy(one.network(old_image), old_label)
    expected = (each + 5 * replayed) / 15
    assert one.loss(logits, image, label).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_first_batch_has_nothing_to_replay():
    for method in METHODS:
        one = learner(method=method)
        _, image, label = batch(0, 10)
        logits = one.network(image)
        assert one.loss(logits, image, label).item() == cross_entropy(logits, label).item()


def test_der_plus_plus_adds_the_distance_from_stored_logits_and_the_loss_of_labels():
    one, another = (learner(memory=1, method="der++", alpha=0.7, beta=0.4) for _ in range(2))
    one.memory.extend(**held(0))
    another.memory.extend(**held(1))
    first, second = one.memory.sample(1), another.memory.sample(1)
    draws = iter([first, second])
    one.memory.sample = lambda n: next(draws)
    _, image, label = batch(1, 10)
    logits, again = one.network(image), one.network(torch.from_numpy(first.image))
    distance = float(np.mean((again.detach().numpy() - first.logits) ** 2))
    labels = torch.from_numpy(second.label)
    replayed = cross_entropy(one.network(torch.from_numpy(second.image)), labels)
    expected = cross_entropy(logits, label) + 0.4 * replayed
    assert one.loss(logits, image, label).item() == pytest.approx(
        expected.item() + 0.7 * distance, rel=1e-5
    )


def held(task):
    """An example as a memory of der++ takes it."""
    part, _, _ = batch(task, 1)
    logits = np.arange(6, dtype=np.float32)[None] - task
    return {"image": part.image, "label": part.label, "logits": logits}


def test_der_plus_plus_makes_two_independent_draws():
    one = learner(memory=20, method="der++", replay_size=7)
    new, image, label = batch(0, 20)
    one.learn(new)
    before = one.memory.stats()["sampled"]
    drawn = []
    sample = one.memory.sample
    one.memory.sample = lambda n: drawn.append(sample(n)) or drawn[-1]
    one.loss(one.network(image), image, label)
    assert one.memory.stats()["sampled"] - before == 14
    assert not np.array_equal(drawn[0].key, drawn[1].key)


def test_stored_logits_are_those_of_when_the_example_was_new():
    one = learner(memory=20, method="der++")
    new, image, _ = batch(0, 10)
    then = one.network(image).detach().numpy()
    one.learn(new)
    held = one.memory.sample(50)
    for place, row in enumerate(held.image):
        (source,) = np.flatnonzero((new.image == row).all(axis=1))
        assert held.logits[place] == pytest.approx(then[source], abs=1e-6)
        assert held.label[place] == new.label[source]


@pytest.mark.parametrize("refresh", ["off", "on"])
def test_logits_are_rewritten_by_key_only_if_asked_for(refresh):
    one = learner(memory=1, method="der++", refresh_logits=refresh)
    old, old_image, _ = batch(0, 1)
    stored = np.arange(6, dtype=np.float32)[None]
    one.memory.extend(image=old.image, label=old.label, logits=stored)
    _, image, label = batch(1, 10)
    now = one.network(old_image).detach().numpy()
    one.loss(one.network(image), image, label)
    held = one.memory.sample(1).logits
    assert held == pytest.approx(now if refresh == "on" else stored, abs=1e-6)


def test_interference_is_what_a_real_step_would_do_to_the_loss():
    one = learner(memory=20, method="mir")
    old, _, _ = batch(0, 20)
    one.learn(old)
    _, image, label = batch(1, 10)
    candidates = one.memory.sample(30)
    found = interference(one.network, image, label, 0.3)(candidates)

    stepped = copy.deepcopy(one.network)
    optimizer = torch.optim.SGD(stepped.parameters(), lr=0.3)
    optimizer.zero_grad()
    torch.autograd.backward(cross_entropy(stepped(image), label))
    optimizer.step()
    seen, fresh = set(), []
    for place, key in enumerate(candidates.key.tolist()):
        if key in seen:
            continue
        seen.add(key)
        fresh.append(place)
        x = torch.from_numpy(candidates.image[place : place + 1])
        y = torch.from_numpy(candidates.label[place : place + 1])
        with torch.no_grad():
            increase = cross_entropy(stepped(x), y) - cross_entropy(one.network(x), y)
        assert found[place] == pytest.approx(increase.item(), abs=1e-5)
    assert len(fresh) < 30
    repeated = np.setdiff1d(np.arange(30), fresh)
    assert found[repeated].max() < found[fresh].min()


def test_mir_replays_those_of_highest_interference_and_leaves_the_network_alone():
    one = learner(memory=20, method="mir", replay_size=3, candidates=50)
    old, _, _ = batch(0, 20)
    one.learn(old)
    _, image, label = batch(1, 10)
    before = [p.detach().clone() for p in one.network.parameters()]
    drawn = []
    sample = one.memory.sample
    one.memory.sample = lambda *n, **options: drawn.append(sample(*n, **options)) or drawn[-1]
    one.loss(one.network(image), image, label)
    assert all(torch.equal(p, q) for p, q in zip(one.network.parameters(), before, strict=True))
    (chosen,) = drawn
    assert len(set(chosen.key.tolist())) == 3
    score = interference(one.network, image, label, CONFIG.learning_rate)
    everything = sample(500)  # of 20 examples every one is among so many
    all_scores = dict(zip(everything.key.tolist(), score(everything).tolist(), strict=True))
    first = {}
    for key, value in zip(everything.key.tolist(), score(everything).tolist(), strict=True):
        first.setdefault(key, value)
    assert len(first) == len(all_scores) == 20
    # 50 draws of 20 miss each with probability 0.08: the chosen are among the best
    threshold = sorted(first.values())[-8]
    assert all(first[key] >= threshold for key in chosen.key.tolist())


def test_joint_takes_as_many_steps_as_the_others_on_all_tasks_mixed():
    rng = np.random.default_rng(0)
    config = replace(CONFIG, method="joint", batch_size=7, replay_size=5, epochs=3)
    parts = list(batches(config, STREAM.tasks[:2], rng))
    assert len(parts) == 2 * 3 * math.ceil(60 / 7)
    assert len(parts[0].label) == 12
    assert {label // 2 for label in parts[0].label.tolist()} == {0, 1}
    alone = list(batches(replace(config, method="er"), STREAM.tasks[:2], rng))
    assert len(alone) == 3 * math.ceil(60 / 7)
    assert {label // 2 for part in alone for label in part.label.tolist()} == {1}


def test_an_epoch_has_each_example_once():
    data = Labelled(np.arange(10)[:, None], np.arange(10))
    stream = shuffled(data, 4, np.random.default_rng(0))
    epochs = [[next(stream) for _ in range(3)] for _ in range(2)]
    orders = [np.concatenate([part.label for part in epoch]).tolist() for epoch in epochs]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1]
    assert [len(part.label) for part in epochs[0]] == [4, 4, 2]
    assert all((part.image[:, 0] == part.label).all() for part in epochs[0])


def test_evaluation_does_not_depend_on_the_size_of_its_batches():
    network = make_network(CONFIG, STREAM)
    test = STREAM.tasks[0].test
    assert evaluate(network, test) == evaluate(network, test, batch_size=7)


@pytest.mark.parametrize("shape", [(8, 8), (3, 9, 13), (1, 4, 4)])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_networks_take_images_of_any_shape_and_dtype(shape, kind):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (5, *shape)).astype(np.uint8)
    data = Labelled(image, np.array([0, 1, 2, 0, 1]))
    stream = Stream((Task("all", data, data),), 3)
    network = make_network(replace(CONFIG, network=kind), stream)
    logits = network(torch.from_numpy(image))
    assert logits.shape == (5, 3)
    # what comes to the first layer has mean 0 and deviation 1
    assert network.mean.item() == pytest.approx(image.mean(), rel=1e-5)
    assert network.deviation.item() == pytest.approx(image.std(), rel=1e-5)
    moved = replace_images(stream, 3.0 * image.astype(np.float32) + 5)
    torch.manual_seed(0)
    one = make_network(replace(CONFIG, network=kind), stream)
    torch.manual_seed(0)
    other = make_network(replace(CONFIG, network=kind), moved)
    scaled = other(torch.from_numpy(moved.tasks[0].train.image))
    assert torch.allclose(one(torch.from_numpy(image)), scaled, atol=1e-4)


def replace_images(stream, image):
    data = Labelled(image, stream.tasks[0].train.label)
    return Stream((Task("all", data, data),), stream.classes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(memory=0), "memory must be at least 1, got 0"),
        (dict(tasks=0), "tasks must be at least 1"),
        (dict(hidden=(16, 0)), "hidden must be at least 1"),
        (dict(epochs=0), "epochs must be at least 1"),
        (dict(seed=-1), "seed must be 0 or more"),
        (dict(learning_rate=0.0), "learning_rate must be more than 0"),
        (dict(learning_rate=math.nan), "learning_rate must be more than 0"),
        (dict(alpha=-0.1), "alpha must be 0 or more"),
        (dict(beta=math.inf), "beta must be 0 or more"),
        (dict(angle=math.nan), "angle must be finite"),
        (dict(test_share=1.0), "test_share must be between 0 and 1"),
        (dict(method="mir", candidates=9), "candidates must be at least replay_size, 10, got 9"),
        (dict(refresh_logits="on"), "er stores no logits to refresh"),
    ],
    ids=str,
)
def test_bad_options(options, words):
    with pytest.raises(ConfigurationError, match=words):
        RehearsalConfig(**options)


def test_bad_surroundings():
    with pytest.raises(ConfigurationError, match="cannot use the device"):
        train(replace(CONFIG, device="abacus"), stream=STREAM)
    with pytest.raises(ConfigurationError, match=r"a cnn needs images of 4 x 4 .*got \(2,\)"):
        train(replace(CONFIG, network="cnn"), stream=STREAM)
