"""Streams of tasks: labelled images that a classifier meets one task after the other.

Three kinds (van de Ven & Tolias, 2019, call the first class-incremental and the others
domain-incremental learning):

classes    every task brings new classes; in the end all must be told apart
rotated    every task shows all classes, turned by a further angle
permuted   every task shows all classes, their pixels in another order; the first as they are

Images are (N, width), (N, height, width) or (N, channels, height, width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from recollect.errors import ConfigurationError, MissingExtraError
from recollect.interop.images import Images, Labelled, labelled, read

Scenario = Literal["classes", "rotated", "permuted"]

DIGITS = "digits"
"""What stands for scikit-learn's digits where a path could stand."""


class Task(NamedTuple):
    """What is learned at one time, and how it is tested."""

    name: str
    train: Labelled
    test: Labelled


@dataclass(frozen=True)
class Stream:
    """Tasks, in order. Labels are 0 to classes - 1 in all of them."""

    tasks: tuple[Task, ...]
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.tasks[0].train.image.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images."""
        return self.tasks[0].train.image.dtype

    @property
    def mean(self) -> float:
        """Of the numbers in the first task's images, all that is known when training begins."""
        return float(self.tasks[0].train.image.mean(dtype=np.float64))

    @property
    def deviation(self) -> float:
        """The standard deviation of these numbers; 1 where they are all the same."""
        return float(self.tasks[0].train.image.std(dtype=np.float64)) or 1.0


class Split(NamedTuple):
    """Images to train and to test on, with labels 0 to classes - 1."""

    train: Labelled
    test: Labelled
    names: tuple[str, ...]
    """What each class was called."""


def load(data: str, test_share: float, rng: np.random.Generator) -> Split:
    """The images that `data` stands for, in a part to train and a part to test on.

    Args:
        data: "digits", or the path of what `recollect.interop.images.read` reads.
        test_share: of each class, for testing, unless the data set has a test part of its own.
        rng: decides which ones these are.

    Raises:
        ConfigurationError: there is nothing of the kind, or too few images of a class.
        MissingExtraError: scikit-learn, which brings the digits, is not installed.
        SchemaError: what is there cannot be read.
    """
    train, test = digits() if data == DIGITS else read(Path(data))
    train = Labelled(_arranged(train.image), train.label)
    if test is None:
        train, test = split(train, test_share, rng)
    else:
        test = Labelled(_arranged(test.image), test.label)
    known = np.unique(train.label)
    strange = np.setdiff1d(test.label, known)
    if len(strange):
        raise ConfigurationError(f"{data}: class {strange[0]} is tested, but never trained on")
    train, test = (
        Labelled(part.image, np.searchsorted(known, part.label)) for part in (train, test)
    )
    return Split(train, test, tuple(map(str, known)))


def digits() -> Images:
    """1,797 handwritten digits, (8, 8) uint8 from 0 to 16 (Alpaydin & Kaynak, 1998)."""
    try:
        datasets = import_module("sklearn.datasets")  # it says nothing of its types
    except ImportError as error:
        raise MissingExtraError(
            "the digits come with scikit-learn, which is not installed: "
            'pip install "recollect[train]"'
        ) from error
    found = datasets.load_digits()
    return Images(labelled(found.images.astype(np.uint8), found.target, "digits"), None)


def split(data: Labelled, test_share: float, rng: np.random.Generator) -> tuple[Labelled, Labelled]:
    """A part to train and a part to test on, the latter with this share of each class.

    Raises:
        ConfigurationError: a class would be missing in one of them.
    """
    tested = np.zeros(len(data.label), np.bool_)
    for label in np.unique(data.label):
        places = rng.permutation(np.flatnonzero(data.label == label))
        count = round(test_share * len(places))
        if not 0 < count < len(places):
            raise ConfigurationError(
                f"of {len(places)} images of class {label} a share of {test_share} for testing "
                f"is {count}: some must be left for training and for testing"
            )
        tested[places[:count]] = True
    return _where(data, ~tested), _where(data, tested)


def make_stream(
    data: Split, scenario: Scenario, tasks: int, angle: float, rng: np.random.Generator
) -> Stream:
    """The stream of tasks.

    Args:
        scenario: see above.
        tasks: how many.
        angle: degrees by which a task's images are turned further than those of the one before,
            counter-clockwise.
        rng: decides the orders of pixels.

    Raises:
        ConfigurationError: the images cannot be turned, or there are fewer classes than tasks.
    """
    classes = len(data.names)
    if scenario == "classes":
        if classes < tasks:
            raise ConfigurationError(f"{classes} classes cannot be shared out to {tasks} tasks")
        parts = np.array_split(np.arange(classes), tasks)
        return Stream(tuple(_of_classes(data, part) for part in parts), classes)
    made = []
    for number in range(tasks):
        if scenario == "rotated":
            degrees = number * angle
            name = f"{degrees:g}°"
            images = [rotated(part.image, degrees) for part in (data.train, data.test)]
        else:
            name = f"order {number + 1}"
            width = math.prod(data.train.image.shape[1:])
            order = rng.permutation(width) if number else np.arange(width)
            images = [permuted(part.image, order) for part in (data.train, data.test)]
        train, test = images
        made.append(Task(name, Labelled(train, data.train.label), Labelled(test, data.test.label)))
    return Stream(tuple(made), classes)


def _of_classes(data: Split, classes: NDArray[np.intp]) -> Task:
    train, test = (_where(part, np.isin(part.label, classes)) for part in (data.train, data.test))
    names = [data.names[label] for label in classes]
    name = " ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"
    if not len(test.label):
        raise ConfigurationError(f"of the classes {name} there are no images to test on")
    return Task(name, train, test)


def joined(parts: list[Labelled]) -> Labelled:
    """One after the other."""
    return Labelled(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def rotated(images: NDArray[Any], degrees: float) -> NDArray[Any]:
    """Images turned about their middles, counter-clockwise; what comes in from outside is 0.

    Between pixels it is interpolated (bilinearly), and rounded where the images are whole numbers.

    Args:
        images: (N, height, width) or (N, channels, height, width).

    Raises:
        ConfigurationError: they have another shape.
    """
    if images.ndim not in (3, 4):
        raise ConfigurationError(
            f"only images can be turned: expected (N, height, width) or (N, channels, height, "
            f"width), got {images.shape}"
        )
    height, width = images.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # where each pixel comes from, in coordinates from -1 to 1 along either side
    turn = [[[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]]
    grid = functional.affine_grid(torch.tensor(turn), [1, 1, height, width], align_corners=False)
    # all images as the channels of one, which share one grid
    planes = torch.from_numpy(images.astype(np.float32)).reshape(1, -1, height, width)
    turned = functional.grid_sample(planes, grid, align_corners=False).reshape(images.shape)
    if images.dtype.kind != "f":
        turned = turned.round()
    return turned.numpy().astype(images.dtype)


def permuted(images: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """Images (N, ...) with their numbers in another order, the same in each."""
    return images.reshape(len(images), -1)[:, order].reshape(images.shape)


def _arranged(images: NDArray[Any]) -> NDArray[Any]:
    """Channels, the shorter of the first and the last axis, come first; floats as float32."""
    if images.ndim == 4 and images.shape[3] < images.shape[1]:
        images = np.moveaxis(images, 3, 1)
    return np.ascontiguousarray(images, np.float32 if images.dtype.kind == "f" else None)


def _where(data: Labelled, chosen: NDArray[np.bool_]) -> Labelled:
    return Labelled(data.image[chosen], data.label[chosen])
