"""Streams of tasks: what each task shows, and how data becomes tasks."""

from __future__ import annotations

import numpy as np
import pytest

from recollect.errors import ConfigurationError
from recollect.interop.images import Labelled
from recollect.learners.tasks import (
    Split,
    digits,
    joined,
    load,
    make_stream,
    permuted,
    rotated,
    split,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def data(classes=6, each=8, shape=(4, 4), dtype=np.uint8):
    """Images that differ in every number, with their labels in random order."""
    label = rng(1).permutation(np.repeat(np.arange(classes), each))
    size = len(label) * int(np.prod(shape))
    image = np.arange(size).reshape(len(label), *shape).astype(dtype)
    return Labelled(image, label)


def parts(classes=6, **options):
    train, test = split(data(classes, **options), 0.25, rng())
    return Split(train, test, tuple("abcdefghij"[:classes]))


def rows(images):
    return sorted(map(tuple, images.reshape(len(images), -1).tolist()))


def test_a_split_takes_its_share_of_each_class_and_loses_nothing():
    whole = data(each=10, dtype=np.int64)
    train, test = split(whole, 0.3, rng())
    assert np.bincount(test.label).tolist() == [3] * 6
    assert np.bincount(train.label).tolist() == [7] * 6
    assert rows(np.concatenate([train.image, test.image])) == rows(whole.image)
    for part in (train, test):
        for image, label in zip(part.image, part.label, strict=True):
            (place,) = np.flatnonzero((whole.image == image).all(axis=(1, 2)))
            assert whole.label[place] == label
    again, other = split(whole, 0.3, rng())[1], split(whole, 0.3, rng(5))[1]
    assert np.array_equal(again.image, test.image)
    assert not np.array_equal(other.image, test.image)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_split_leaves_some_of_every_class(share):
    with pytest.raises(ConfigurationError, match="of 8 images of class 0"):
        split(data(), share, rng())


def test_new_classes_are_shared_out_in_order():
    stream = make_stream(parts(), "classes", 4, 30.0, rng())
    assert [task.name for task in stream.tasks] == ["a b", "c d", "e", "f"]
    assert stream.classes == 6 and stream.shape == (4, 4) and stream.dtype == np.uint8
    found = [(set(t.train.label.tolist()), set(t.test.label.tolist())) for t in stream.tasks]
    assert found == [({0, 1}, {0, 1}), ({2, 3}, {2, 3}), ({4}, {4}), ({5}, {5})]
    for side in ("train", "test"):
        met = joined([getattr(task, side) for task in stream.tasks])
        assert rows(met.image) == rows(getattr(parts(), side).image)
    named = make_stream(parts(), "classes", 1, 30.0, rng()).tasks[0].name
    assert named == "a to f"


def test_the_first_task_decides_how_images_are_scaled():
    stream = make_stream(parts(), "classes", 3, 30.0, rng())
    first = stream.tasks[0].train.image.astype(float)
    assert stream.mean == pytest.approx(first.mean())
    assert stream.deviation == pytest.approx(first.std())
    blank = Labelled(np.zeros((4, 3), np.float32), np.array([0, 0, 1, 1]))
    assert make_stream(Split(blank, blank, ("a", "b")), "classes", 1, 0.0, rng()).deviation == 1


def test_pixels_are_in_one_order_for_each_task_and_as_they_were_in_the_first():
    plain = parts(shape=(3, 4), dtype=np.int64)
    stream = make_stream(plain, "permuted", 3, 30.0, rng())
    orders = []
    for task in stream.tasks:
        assert np.array_equal(task.train.label, plain.train.label)
        columns = []
        for before, after in ((plain.train, task.train), (plain.test, task.test)):
            flat = before.image.reshape(len(before.image), -1)
            moved = after.image.reshape(len(after.image), -1)
            columns.append([int(np.flatnonzero(flat[0] == value)[0]) for value in moved[0]])
            assert np.array_equal(flat[:, columns[-1]], moved)
        assert columns[0] == columns[1]
        orders.append(columns[0])
    assert orders[0] == list(range(12))
    assert all(sorted(order) == orders[0] for order in orders)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("shape", [(5, 5), (4, 4), (2, 3, 3)])
def test_a_quarter_turn_is_exact_and_goes_counter_clockwise(shape):
    for images in (
        rng().integers(0, 255, (6, *shape)).astype(np.uint8),
        rng().standard_normal((6, *shape)).astype(np.float32),
    ):
        for quarters in range(-2, 4):
            turned = rotated(images, 90 * quarters)
            expected = np.rot90(images, quarters, axes=(-2, -1))
            assert turned.dtype == images.dtype
            assert turned == pytest.approx(expected, abs=1e-5)


def test_half_a_turn_of_an_oblong_image():
    images = rng().integers(0, 255, (3, 4, 6)).astype(np.uint8)
    assert np.array_equal(rotated(images, 180), images[:, ::-1, ::-1])


def test_a_small_turn_of_an_oblong_image_moves_what_it_shows_on_a_circle():
    image = np.zeros((1, 21, 41), np.float32)
    image[0, 10, 28] = 1  # 8 to the right of the middle
    turned = rotated(image, 30)[0]
    place = np.array(
        [np.sum(turned.sum(axis=1 - side) * np.arange(n)) for side, n in ((0, 21), (1, 41))]
    )
    middle = place / turned.sum()
    assert middle == pytest.approx(
        [10 - 8 * np.sin(np.pi / 6), 20 + 8 * np.cos(np.pi / 6)], abs=0.2
    )


def test_each_task_turns_further():
    plain = parts(shape=(4, 4))
    stream = make_stream(plain, "rotated", 3, 90.0, rng())
    assert [task.name for task in stream.tasks] == ["0°", "90°", "180°"]
    for number, task in enumerate(stream.tasks):
        for before, after in ((plain.train, task.train), (plain.test, task.test)):
            assert np.array_equal(after.image, np.rot90(before.image, number, axes=(1, 2)))
            assert np.array_equal(after.label, before.label)


def test_what_cannot_be_done():
    with pytest.raises(ConfigurationError, match="6 classes cannot be shared out to 7 tasks"):
        make_stream(parts(), "classes", 7, 30.0, rng())
    with pytest.raises(ConfigurationError, match=r"only images can be turned: .*got \(36, 5\)"):
        make_stream(parts(shape=(5,)), "rotated", 2, 30.0, rng())
    plain = parts(classes=2)
    lacking = plain._replace(test=Labelled(plain.test.image[:0], plain.test.label[:0]))
    with pytest.raises(ConfigurationError, match="of the classes a there are no images to test"):
        make_stream(lacking, "classes", 2, 30.0, rng())


def test_arrays_of_ones_own(tmp_path):
    whole = data(classes=3, shape=(4, 4, 2), dtype=np.int64)
    labels = np.array([10, 7, 70])[whole.label]
    path = tmp_path / "mine.npz"
    np.savez(path, x=whole.image, y=labels)
    found = load(str(path), 0.25, rng())
    assert found.names == ("7", "10", "70")
    assert found.train.image.shape == (18, 2, 4, 4) and found.test.image.shape == (6, 2, 4, 4)
    assert found.train.image.flags.c_contiguous
    for part in found[:2]:
        for image, label in zip(part.image, part.label, strict=True):
            (place,) = np.flatnonzero((np.moveaxis(whole.image, 3, 1) == image).all(axis=(1, 2, 3)))
            assert found.names[label] == str(labels[place])


def test_a_test_part_of_its_own_is_kept(tmp_path):
    path = tmp_path / "mine.npz"
    arrays = dict(x=np.zeros((4, 3)), y=[5, 5, 6, 6], x_test=np.ones((2, 3)), y_test=[6, 5])
    np.savez(path, **arrays)
    found = load(str(path), 0.25, rng())
    assert found.train.image.dtype == np.float32 and len(found.train.label) == 4
    assert found.test.image.tolist() == [[1] * 3] * 2 and found.test.label.tolist() == [1, 0]
    np.savez(path, **{**arrays, "y_test": [6, 9]})
    with pytest.raises(ConfigurationError, match="class 9 is tested, but never trained on"):
        load(str(path), 0.25, rng())


def test_the_digits():
    pytest.importorskip("sklearn")
    images, test = digits()
    assert test is None
    assert images.image.shape == (1797, 8, 8) and images.image.dtype == np.uint8
    assert images.image.min() == 0 and images.image.max() == 16
    assert np.bincount(images.label).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert load("digits", 0.25, rng()).names == tuple("0123456789")


def test_a_permutation_by_hand():
    images = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert permuted(images, np.array([3, 0, 1, 2])).tolist() == [[[4, 1], [2, 3]], [[8, 5], [6, 7]]]
