"""Rehearsal: a classifier learns tasks one after the other, and a small memory of what went before
keeps it from forgetting them.

Every batch of new images is learned together with some drawn from the memory, and is then offered
to it. Methods differ in what the memory keeps, and in what is made of it:

finetune   no memory: each task overwrites the ones before
fifo       the newest examples are kept, and some replayed with each new batch
er         a random sample of all seen so far is kept (experience replay with a reservoir, Chaudhry
           et al., 2019, "On tiny episodic memories in continual learning")
balanced   as many are kept of every class
der++      as er; each example also keeps the network's outputs (logits) of when it was new, and
           the network is held to them (Buzzega et al., 2020, section 3)
mir        as er; of many candidates those are replayed whose loss a step on the new images alone
           would raise most (maximally interfered retrieval, Aljundi et al., 2019, section 3)
joint      after each task a fresh network that learned from all tasks so far, mixed, with as many
           steps and as many images in each as `er`: what there is to reach without forgetting

What is missing below is what the memory does: its retention keeps a fair sample of a stream whose
length nobody knows, and `update` rewrites the logits of an example by its key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.interop.images import Labelled
from recollect.learners import limits
from recollect.learners.devices import find_device
from recollect.learners.networks import mlp
from recollect.learners.tasks import Scenario, Stream, Task, joined, load, make_stream
from recollect.retention.balanced import Balanced
from recollect.retention.base import Retention
from recollect.retention.fifo import Fifo
from recollect.retention.reservoir import Reservoir

Method = Literal["finetune", "fifo", "er", "balanced", "der++", "mir", "joint"]
Switch = Literal["on", "off"]

HEARTBEAT = 100
"""Steps after which progress is reported even if no task has ended meanwhile."""


@dataclass(frozen=True)
class RehearsalConfig:
    """What a classifier is trained on, and how; the defaults suit the digits."""

    method: Method = "er"
    """What keeps old tasks from being forgotten: nothing (finetune), a memory, or all data at once
    (joint)."""
    memory: int = 200
    """Examples in memory."""
    data: str = "digits"
    """Scikit-learn's digits, an .npz file with images and labels (or x and y), or a folder with the
    files of MNIST, CIFAR-10 or CIFAR-100."""
    scenario: Scenario = "classes"
    """What a new task brings: new classes, images turned further, or pixels in another order."""
    tasks: int = 5
    """Tasks in the stream; of new classes each brings its share."""
    angle: float = 30.0
    """Degrees by which rotated images are turned further with each task."""
    test_share: float = 0.25
    """Share of the images to test on, where the data has no test part of its own."""
    seed: int = 1
    """Decides everything: first weights, test images, orders of pixels and images, replay."""
    device: str = "cpu"
    """Where the network lives: cpu, cuda, cuda:1, mps. The CPU is fastest for small networks."""
    threads: int = 1
    """CPU threads of PyTorch."""

    network: Literal["mlp", "cnn"] = "mlp"
    """Fully connected layers alone, or two convolutions before them."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the hidden layers."""
    learning_rate: float = 0.1
    """Step size of stochastic gradient descent."""
    epochs: int = 1
    """How often each task's images are seen; 1 is a stream that does not come back."""
    batch_size: int = 10
    """New images in a gradient step."""
    replay_size: int = 10
    """Replayed images in a gradient step; der++ draws twice so many."""

    alpha: float = 0.3
    """Of der++: what the squared distance from the stored logits counts."""
    beta: float = 1.0
    """Of der++: what the loss of the replayed labels counts."""
    refresh_logits: Switch = "off"
    """Of der++: on rewrites the logits of replayed examples, by their keys, with those of now."""
    candidates: int = 50
    """Of mir: examples that are drawn, for `replay-size` of them to be chosen."""

    def __post_init__(self) -> None:
        limits.check(self, _LIMITS)
        if self.method == "mir" and self.candidates < self.replay_size:
            raise ConfigurationError(
                f"candidates must be at least replay_size, {self.replay_size}, "
                f"got {self.candidates}"
            )
        if self.method != "der++" and self.refresh_logits == "on":
            raise ConfigurationError(f"{self.method} stores no logits to refresh; der++ does")

    @property
    def remembers(self) -> bool:
        """Whether there is a memory."""
        return self.method not in ("finetune", "joint")

    def retention(self) -> Retention:
        """What decides which examples the memory keeps."""
        if self.method == "fifo":
            return Fifo()
        return Balanced(by="label") if self.method == "balanced" else Reservoir()


_COUNTS = "memory tasks threads hidden epochs batch_size replay_size candidates"
_LIMITS: limits.Limits = [
    (_COUNTS, "at least 1", lambda value: value >= 1),
    ("seed", "0 or more", lambda value: value >= 0),
    ("learning_rate", "more than 0", lambda value: 0 < value < math.inf),
    ("alpha beta", "0 or more", lambda value: 0 <= value < math.inf),
    ("angle", "finite", math.isfinite),
    ("test_share", "between 0 and 1", lambda value: 0 < value < 1),
]


class Seeds(NamedTuple):
    """A seed of its own for each source of chance, all from one number."""

    network: int
    split: int
    pixels: int
    order: int
    memory: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        return cls(*map(int, np.random.SeedSequence(seed).generate_state(len(cls._fields))))


@dataclass(frozen=True)
class Progress:
    """Where training stands: after each task, and before that every `HEARTBEAT` steps."""

    step: int
    """Gradient steps taken, of `joint` those of the network at hand."""
    task: int
    """The task that is being learned, from 1."""
    rows: int
    """Examples in memory."""
    loss: float
    """Mean over the gradient steps since the report before."""
    accuracy: float | None = None
    """Mean over the tasks seen so far, if one has just ended."""


class Trained(NamedTuple):
    """What came out of training."""

    network: nn.Module
    accuracy: NDArray[np.float64]
    """(T, T): after each task (row) the share of right answers on each task (column); NaN for tasks
    not met yet."""
    tasks: tuple[str, ...]
    """Their names."""
    interrupted: bool
    """Whether Ctrl-C ended it."""


def average_accuracy(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """After each task the mean over all tasks so far: (T, T) to (T,)."""
    return np.array([row[: after + 1].mean() for after, row in enumerate(accuracy)])


def forgetting(accuracy: NDArray[np.float64]) -> float:
    """How much less is right in the end than once was: (T, T) to a number; 0 of a single task.

    The mean over all tasks but the last of the best accuracy before the last task minus that after
    it (Chaudhry et al., 2018, "Riemannian walk for incremental learning", section 3).
    """
    *before, last = accuracy[:, :-1]
    return float(np.mean(np.nanmax(before, axis=0) - last)) if before else 0.0


class Classifier(nn.Module):
    """Images (B, *shape), of any dtype, to logits (B, classes).

    Args:
        shape: (width,), (height, width) or (channels, height, width).
        classes: how many.
        mean: of the numbers in images; it becomes 0.
        deviation: the standard deviation of the numbers in images; it becomes 1.
        kind: "mlp", or "cnn": two 3 x 3 convolutions, each followed by max-pooling, come first.
        hidden: widths of the layers before the last.

    Raises:
        ConfigurationError: convolutions of what is not an image, or of one smaller than 4 x 4.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        mean: float,
        deviation: float,
        kind: Literal["mlp", "cnn"],
        hidden: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        self.shape = shape
        width = math.prod(shape)
        layers: list[nn.Module] = [nn.Flatten()]
        if kind == "cnn":
            if len(shape) not in (2, 3) or min(shape[-2:]) < 4:
                raise ConfigurationError(f"a cnn needs images of 4 x 4 pixels or more, got {shape}")
            self.shape = shape if len(shape) == 3 else (1, *shape)
            width = 64 * (shape[-2] // 4) * (shape[-1] // 4)
            layers = [
                nn.Conv2d(self.shape[0], 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(),
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers, mlp(width, hidden, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = (image.float() - self.mean) / self.deviation
        logits: torch.Tensor = self.layers(x.reshape(len(x), *self.shape))
        return logits


def make_network(config: RehearsalConfig, stream: Stream) -> Classifier:
    """The network that the configuration asks for, untrained.

    Raises:
        ConfigurationError: convolutions cannot look at what the stream holds.
    """
    return Classifier(
        stream.shape,
        stream.classes,
        stream.mean,
        stream.deviation,
        config.network,
        config.hidden,
    )


def interference(
    network: nn.Module, image: torch.Tensor, label: torch.Tensor, learning_rate: float
) -> Callable[[rc.Batch], NDArray[np.float32]]:
    """What scores a batch by how much a gradient step on new images would raise each one's loss.

    The step is only imagined: the network stays as it is (Aljundi et al., 2019, section 3.1). An
    example that was drawn twice counts once: the second is scored below all others.

    Args:
        image: the new ones, (B, ...).
        label: theirs, (B,).
        learning_rate: of the step.

    Returns:
        A function of a batch of m candidates, which gives (m,) increases.
    """
    now = dict(network.named_parameters())
    slopes = torch.autograd.grad(cross_entropy(network(image), label), [*now.values()])
    then = {
        name: value.detach() - learning_rate * slope
        for (name, value), slope in zip(now.items(), slopes, strict=True)
    }

    @torch.no_grad()
    def score(candidates: rc.Batch) -> NDArray[np.float32]:
        batch = candidates.torch(image.device)
        before = network(batch.image)
        after = torch.func.functional_call(network, then, (batch.image,))
        increase: NDArray[np.float32] = (
            (
                cross_entropy(after, batch.label, reduction="none")
                - cross_entropy(before, batch.label, reduction="none")
            )
            .cpu()
            .numpy()
        )
        _, first = np.unique(candidates.key, return_index=True)
        repeated = np.delete(np.arange(len(increase)), first)
        increase[repeated] = increase.min() - 1
        return increase

    return score


class Learner:
    """A network, its optimizer, and what they remember."""

    def __init__(self, config: RehearsalConfig, stream: Stream, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.network = make_network(config, stream).to(device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=config.learning_rate)
        self.memory: rc.Memory | None = None
        if config.remembers:
            fields = {
                "image": rc.Field(stream.shape, stream.dtype),
                "label": rc.Field((), np.int64),
            }
            if config.method == "der++":
                fields["logits"] = rc.Field((stream.classes,), np.float32)
            self.memory = rc.Memory(
                rc.Schema.examples(**fields),
                config.memory,
                retention=config.retention(),
                seed=Seeds.of(config.seed).memory,
            )

    def learn(self, new: Labelled) -> torch.Tensor:
        """One gradient step on new examples and replayed ones; then the new ones are offered.

        Returns:
            The loss.
        """
        image = torch.as_tensor(new.image, device=self.device)
        label = torch.as_tensor(new.label, device=self.device)
        logits = self.network(image)
        loss = self.loss(logits, image, label)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        if self.memory is not None:
            extras = {"logits": logits.detach()} if self.config.method == "der++" else {}
            self.memory.extend(image=new.image, label=new.label, **extras)
        return loss.detach()

    def loss(self, logits: torch.Tensor, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The loss of new examples (B, ...), whose logits these are, and of replayed ones."""
        if self.memory is None or not len(self.memory):
            return cross_entropy(logits, label)
        if self.config.method == "der++":
            return cross_entropy(logits, label) + self._dark_experience(self.memory)
        replayed = self._replayed(self.memory, image, label).torch(self.device)
        return cross_entropy(
            torch.cat((logits, self.network(replayed.image))), torch.cat((label, replayed.label))
        )

    def _replayed(self, memory: rc.Memory, image: torch.Tensor, label: torch.Tensor) -> rc.Batch:
        config = self.config
        if config.method != "mir":
            return memory.sample(config.replay_size)
        score = interference(self.network, image, label, config.learning_rate)
        return memory.sample(
            config.replay_size, candidates=config.candidates, score=score, choose="highest"
        )

    def _dark_experience(self, memory: rc.Memory) -> torch.Tensor:
        """alpha * |network(image) - logits|^2 + beta * cross entropy, of two independent draws."""
        config = self.config
        first, second = (memory.sample(config.replay_size).torch(self.device) for _ in range(2))
        logits = self.network(first.image)
        loss = config.alpha * mse_loss(logits, first.logits)
        loss = loss + config.beta * cross_entropy(self.network(second.image), second.label)
        if config.refresh_logits == "on":
            memory.update(first.key, logits=logits)
        return loss


@torch.no_grad()
def evaluate(network: nn.Module, data: Labelled, batch_size: int = 1_000) -> float:
    """The share of the images whose largest logit is that of their label."""
    device = next(network.parameters()).device
    right = 0
    for begin in range(0, len(data.label), batch_size):
        part = slice(begin, begin + batch_size)
        logits = network(torch.as_tensor(data.image[part], device=device))
        right += int((logits.argmax(dim=1).cpu().numpy() == data.label[part]).sum())
    return right / len(data.label)


def shuffled(data: Labelled, size: int, rng: np.random.Generator) -> Iterator[Labelled]:
    """Batches of so many examples, each once in an epoch, epoch after epoch without end.

    The last batch of an epoch has what is left over.
    """
    while True:
        order = rng.permutation(len(data.label))
        for begin in range(0, len(order), size):
            part = order[begin : begin + size]
            yield Labelled(data.image[part], data.label[part])


def tasks_of(config: RehearsalConfig) -> Stream:
    """The stream of tasks that the configuration asks for; see `tasks`.

    Raises:
        ConfigurationError, MissingExtraError, SchemaError: as `tasks.load` and `make_stream` do.
    """
    seeds = Seeds.of(config.seed)
    data = load(config.data, config.test_share, np.random.default_rng(seeds.split))
    rng = np.random.default_rng(seeds.pixels)
    return make_stream(data, config.scenario, config.tasks, config.angle, rng)


def train(
    config: RehearsalConfig,
    report: Callable[[Progress], None] = lambda progress: None,
    stream: Stream | None = None,
) -> Trained:
    """Trains as the configuration says. Ctrl-C ends it early; what was learned is returned.

    Sets the seed and the threads of PyTorch. The same configuration gives the same run, on the same
    device and versions.

    Args:
        report: is told how it goes.
        stream: the tasks, instead of those that the configuration names.

    Raises:
        ConfigurationError: the data, the network or the device cannot be used.
        MissingExtraError: scikit-learn, which brings the digits, is not installed.
        SchemaError: the data cannot be read.
    """
    seeds = Seeds.of(config.seed)
    torch.set_num_threads(config.threads)
    device = find_device(config.device)
    stream = tasks_of(config) if stream is None else stream
    rng = np.random.default_rng(seeds.order)
    torch.manual_seed(seeds.network)
    learner = Learner(config, stream, device)

    count = len(stream.tasks)
    accuracy = np.full((count, count), np.nan)
    step = 0
    interrupted = False
    losses: list[torch.Tensor] = []

    def tell(task: int, accuracy: float | None = None) -> None:
        rows = len(learner.memory) if learner.memory is not None else 0
        report(Progress(step, task, rows, float(torch.stack(losses).mean()), accuracy))
        losses.clear()

    try:
        for met in range(1, count + 1):
            seen = stream.tasks[:met]
            if config.method == "joint":
                torch.manual_seed(seeds.network)
                learner = Learner(config, stream, device)
                step = 0
            for new in batches(config, seen, rng):
                if len(losses) == HEARTBEAT:
                    tell(met)
                losses.append(learner.learn(new))
                step += 1
            accuracy[met - 1, :met] = [evaluate(learner.network, task.test) for task in seen]
            tell(met, float(accuracy[met - 1, :met].mean()))
    except KeyboardInterrupt:
        interrupted = True
    return Trained(
        learner.network, accuracy, tuple(task.name for task in stream.tasks), interrupted
    )


def batches(
    config: RehearsalConfig, tasks: tuple[Task, ...], rng: np.random.Generator
) -> Iterator[Labelled]:
    """What is new in each gradient step of the last of these tasks.

    For `joint`: of a network that learns all of them, in as many steps as the other methods have
    taken by then, with as many images in each as they have new and replayed ones.
    """

    def steps(task: Task) -> int:
        return config.epochs * math.ceil(len(task.train.label) / config.batch_size)

    if config.method == "joint":
        union = joined([task.train for task in tasks])
        size = config.batch_size + config.replay_size
        return islice(shuffled(union, size, rng), sum(map(steps, tasks)))
    return islice(shuffled(tasks[-1].train, config.batch_size, rng), steps(tasks[-1]))
