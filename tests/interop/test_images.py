"""MNIST, CIFAR and .npz files: read as they were written, refused where they are damaged."""

from __future__ import annotations

import gzip
import os
import pickle
import struct

import numpy as np
import pytest

from recollect.errors import ConfigurationError, SchemaError
from recollect.interop.images import read, read_arrays, read_cifar, read_idx, read_mnist, unpickle

RNG = np.random.default_rng(0)
MNIST = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
         "t10k-labels-idx1-ubyte")  # fmt: skip
CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array, dtype="u1"):
    array = np.asarray(array)
    head = bytes([0, 0, CODES[dtype], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(dtype).tobytes()


def images(count, shape=(5, 4)):
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.fixture
def mnist(tmp_path):
    """A folder with MNIST's files, and what they hold."""
    arrays = [images(6), RNG.integers(0, 10, 6), images(3), RNG.integers(0, 10, 3)]
    for name, array in zip(MNIST, arrays, strict=True):
        (tmp_path / name).write_bytes(idx(array))
    return tmp_path, arrays


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4)])
def test_idx_files_of_every_type(tmp_path, dtype, shape):
    array = (100 * RNG.standard_normal(shape)).astype(dtype)
    path = tmp_path / "file"
    for content in (idx(array, dtype), gzip.compress(idx(array, dtype))):
        path.write_bytes(content)
        found = read_idx(path)
        assert found.dtype == np.dtype(dtype).newbyteorder("=") and np.array_equal(found, array)
        assert found.flags.writeable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no IDX file"),
        (b"\0\0\x08", "is no IDX file"),
        (b"\x89PNG and so on", "is no IDX file: .*got .137, 80, 78, 71"),
        (b"\0\0\x07\x01\0\0\0\x01a", "is no IDX file"),
        (b"\0\0\x08\x00", "is no IDX file"),
        (b"\0\0\x08\x02\0\0\0\x01", "ends within its header"),
        (idx(np.zeros((3, 4)))[:-1], r"expected 12 bytes for \(3, 4\) uint8, got 11"),
        (idx(np.zeros((3, 4))) + b"\0", "expected 12 bytes .*got 13"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79228162458924105385300197375 bytes"),
        (gzip.compress(idx(np.zeros(9)), mtime=0)[:-9], "is damaged"),
        (gzip.compress(idx(np.zeros(9)), mtime=0)[:-8] + b"\1\2\3\4\5\6\7\0", "is damaged"),
        (b"\x1f\x8bnothing that was ever zipped", "is damaged"),
    ],
)
def test_damaged_idx_files(tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=words):
        read_idx(path)


def test_mnist(mnist):
    folder, arrays = mnist
    for found in (read_mnist(folder), read(folder)):
        flat = [*found.train, *found.test]
        assert all(np.array_equal(*pair) for pair in zip(flat, arrays, strict=True))
        assert found.train.image.dtype == np.uint8 and found.train.label.dtype == np.int64


def test_mnist_gzipped_and_under_other_names(mnist):
    folder, arrays = mnist
    for name in MNIST[:2]:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    (folder / MNIST[2]).rename(folder / "t10k-images.idx3-ubyte")
    found = read(folder)
    flat = [*found.train, *found.test]
    assert all(np.array_equal(*pair) for pair in zip(flat, arrays, strict=True))


def test_mnist_whose_files_do_not_go_together(mnist):
    folder, _ = mnist
    (folder / MNIST[3]).write_bytes(idx([1, 2]))
    with pytest.raises(SchemaError, match=r"label of each of 3 images, got uint8 \(2,\)"):
        read(folder)
    (folder / MNIST[3]).unlink()
    with pytest.raises(ConfigurationError, match="lacks t10k-labels-idx1-ubyte"):
        read(folder)


def write_cifar(folder, hundred, pickled):
    """Small CIFAR files, and what they hold: images and labels of training and test."""
    train = ["train"] if hundred else [f"data_batch_{part}" for part in range(1, 6)]
    held = []
    for number, name in enumerate([*train, "test" if hundred else "test_batch"]):
        image = images(number + 2, (3, 32, 32))
        label = RNG.integers(0, 100 if hundred else 10, len(image))
        held.append((image, label))
        rows = image.reshape(len(image), -1)
        coarse = np.full(len(image), 55)
        if pickled:
            names = {"fine_labels": label.tolist(), "coarse_labels": coarse.tolist()}
            names = names if hundred else {"labels": label.tolist()}
            content = {"batch_label": "some", "data": rows, "filenames": ["a"], **names}
            content = {key.encode() if number % 2 else key: x for key, x in content.items()}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        else:
            columns = [coarse[:, None]] * hundred + [label[:, None], rows]
            (folder / f"{name}.bin").write_bytes(np.hstack(columns).astype(np.uint8).tobytes())
    image, label = (np.concatenate(part) for part in zip(*held[:-1], strict=True))
    return image, label, *held[-1]


@pytest.mark.parametrize("hundred", [False, True])
@pytest.mark.parametrize("pickled", [False, True])
def test_cifar(tmp_path, hundred, pickled):
    arrays = write_cifar(tmp_path, hundred, pickled)
    for found in (read_cifar(tmp_path), read(tmp_path)):
        flat = [*found.train, *found.test]
        assert all(np.array_equal(*pair) for pair in zip(flat, arrays, strict=True))
        assert found.test.image.flags.writeable and found.test.label.dtype == np.int64


@pytest.mark.parametrize("pickled", [False, True])
def test_cifar_with_a_file_missing(tmp_path, pickled):
    write_cifar(tmp_path, False, pickled)
    name = "data_batch_3" + ".bin" * (not pickled)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigurationError, match=f"lacks {name}"):
        read(tmp_path)


@pytest.mark.parametrize("size", [0, 3072, 2 * 3073 - 1, 2 * 3073 + 1])
def test_damaged_binary_cifar(tmp_path, size):
    write_cifar(tmp_path, False, pickled=False)
    (tmp_path / "test_batch.bin").write_bytes(b"\0" * size)
    with pytest.raises(SchemaError, match=f"images of 3073 bytes each, got {size} bytes"):
        read(tmp_path)


GOOD = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "expected a dictionary, got list"),
        ({**GOOD, "data": None}, r"data: expected \(N, 3072\) uint8"),
        ({**GOOD, "data": np.zeros((2, 3071), np.uint8)}, "data: expected"),
        ({**GOOD, "data": np.zeros((2, 3072))}, "data: expected"),
        ({**GOOD, "labels": "12"}, "labels: expected a list of whole numbers"),
        ({**GOOD, "labels": [1, 2.5]}, "labels: expected a list of whole numbers"),
        ({**GOOD, "labels": [1]}, "label of each of 2 images"),
        ({"data": GOOD["data"]}, "labels: expected a list of whole numbers"),
    ],
)
def test_pickled_cifar_that_holds_something_else(tmp_path, content, words):
    write_cifar(tmp_path, False, pickled=True)
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps(content))
    with pytest.raises(SchemaError, match=words):
        read(tmp_path)


def test_a_pickle_of_python_2(tmp_path):
    # written by hand as Python 2 does it: text is bytes, and so are an array's contents
    def short(content):
        return b"U" + bytes([len(content)]) + content

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + short(b"b") + b"tR"
        b"(K\1(K\2K\3t" + b"cnumpy\ndtype\n(" + short(b"u1") + b"K\0K\1tR(K\3" + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb" + b"\x89" + short(b"abcdef") + b"tb"
    )  # fmt: skip
    path = tmp_path / "file"
    path.write_bytes(b"\x80\2}" + short(b"data") + array + b"s.")
    found = unpickle(path)
    assert [*found] == [b"data"] and found[b"data"].dtype == np.uint8
    assert found[b"data"].tolist() == [[97, 98, 99], [100, 101, 102]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_plain_things_come_back(tmp_path, protocol, order):
    array = np.asarray(RNG.standard_normal((3, 4)).astype(">f4"), order=order)
    content = {"a": [1, 2.5, "text", True, None], "b": {"c": (array, array.astype("<i2"))}}
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = unpickle(path)
    assert found["a"] == content["a"]
    for one, other in zip(found["b"]["c"], content["b"]["c"], strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


MARK = "recollect-was-here"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Evil(os.mkdir, (MARK,)), "refused to load (posix|nt).mkdir"),
        ({"data": Evil(os.system, (f"mkdir {MARK}",))}, "refused to load (posix|nt).system"),
        (
            Evil(eval, (f"__import__('os').mkdir('{MARK}')",)),
            r"refused to load (builtins|__builtin__).eval",
        ),
        (Evil(getattr, (np.ndarray, "tofile")), r"refused to load (builtins|__builtin__).getattr"),
        (np.array([Evil(os.mkdir, (MARK,))], dtype=object), "dtype 'O8'|refused to load"),
        (np.array(["text"]), "dtype 'U4'"),
        (np.zeros(2, [("a", "i4")]), "dtype 'V4'"),
        (np.float64(3), "refused to load numpy.*scalar"),
        (Evil(np.ndarray, ((3,),)), "expected an array of numbers"),
        ({"a": np.dtype("u1")}, "expected arrays, numbers"),
        (b"".__class__, "refused to load (builtins|__builtin__).bytes"),
        ({1, 2}, "expected arrays, numbers|refused to load"),
    ],
)
def test_a_pickle_can_do_nothing_but_hold_data(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4):
        path = tmp_path / "file"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(SchemaError, match=words):
            unpickle(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_pickle_that_calls_by_another_way(tmp_path):
    path = tmp_path / "file"
    for content in (
        b"c_codecs\nencode\n(Va\nVrot13\ntR.",  # a codec of its own choice
        b"cnumpy\ndtype\n(Vu1\ntR(K\0Vx\nt}b.",
        b"cnumpy\ndtype\n.",
        b"(inumpy\nndarray\n.",
        b"Ptelephone\n.",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ):
        path.write_bytes(content)
        with pytest.raises(SchemaError):
            unpickle(path)


def test_a_pickle_cut_anywhere_is_refused(tmp_path):
    content = pickle.dumps({"data": images(2), "labels": [1, 2]}, protocol=2)
    path = tmp_path / "file"
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        with pytest.raises(SchemaError, match="damaged"):
            unpickle(path)


def test_an_array_that_says_it_is_larger_than_it_is(tmp_path):
    path = tmp_path / "file"
    content = pickle.dumps(np.zeros((3, 5), np.uint8), protocol=2)
    path.write_bytes(content.replace(b"K\x03K\x05\x86", b"K\x03K\x06\x86"))
    with pytest.raises(SchemaError, match="cannot reshape"):
        unpickle(path)


@pytest.mark.parametrize(
    ("x", "y"), [("x", "y"), ("images", "labels"), ("x_train", "y_train")], ids=str
)
def test_npz_files(tmp_path, x, y):
    image, label = images(4), np.array([3, 1, 2, 1], np.uint8)
    path = tmp_path / "file.npz"
    np.savez(path, **{x: image, y: label})
    found = read(path)
    assert np.array_equal(found.train.image, image)
    assert found.train.label.tolist() == [3, 1, 2, 1] and found.train.label.dtype == np.int64
    assert found.test is None
    first = x.split("_")[0], y.split("_")[0]
    test = dict(zip([f"{name}_test" for name in first], (image[:2], label[:2]), strict=True))
    np.savez(path, **{x: image, y: label}, **test)
    assert read(path).test.label.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        (dict(z=np.zeros(3)), ConfigurationError, "expected arrays x and y, .*got z"),
        (dict(), ConfigurationError, "got nothing"),
        (dict(x=np.zeros((3, 2)), y=[1, 2]), SchemaError, "label of each of 3 images"),
        (dict(x=np.zeros((3, 2)), y=[0.0, 1.0, 2.0]), SchemaError, "whole number"),
        (dict(x=np.zeros(3), y=[1, 2, 3]), SchemaError, r"expected numbers \(N, ...\)"),
        (dict(x=np.zeros((0, 2)), y=[]), SchemaError, "expected numbers"),
        (dict(x=[["a"]], y=[1]), SchemaError, "expected numbers"),
        (dict(x=[[np.nan, 1]], y=[1]), SchemaError, "NaN or infinity"),
        (
            dict(x=np.zeros((2, 3)), y=[1, 2], x_test=np.zeros((2, 4)), y_test=[1, 2]),
            SchemaError,
            r"x_test: expected images \(3,\), as in training, got \(4,\)",
        ),
        (dict(x=np.array([[Evil(os.mkdir, (MARK,))]]), y=[1]), SchemaError, "of numbers"),
    ],
)
def test_npz_files_that_do_not_fit(tmp_path, monkeypatch, arrays, error, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.npz"
    np.savez(path, **arrays)
    with pytest.raises(error, match=words):
        read_arrays(path)
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\3\4 but cut"])
def test_damaged_npz_files(tmp_path, content):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"expected an \.npz file of numbers"):
        read_arrays(path)


def test_npz_files_cut_or_changed_anywhere(tmp_path):
    path = tmp_path / "file.npz"
    np.savez_compressed(path, x=images(20), y=np.arange(20))
    content = path.read_bytes()
    for end in range(0, len(content) - 1, 40):
        path.write_bytes(content[:end])
        with pytest.raises(SchemaError):
            read_arrays(path)
    middle = len(content) // 3
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(SchemaError):
        read_arrays(path)


def test_an_array_alone_is_no_npz_file(tmp_path):
    path = tmp_path / "file.npy"
    np.save(path, images(3))
    with pytest.raises(ConfigurationError, match="expected arrays x and y"):
        read(path)


def test_nothing_of_the_kind(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no file or folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"neither MNIST .* nor CIFAR"):
        read(tmp_path)
    with pytest.raises(ConfigurationError, match="no files of CIFAR"):
        read_cifar(tmp_path)
