"""Labelled images from the files that people have: MNIST, CIFAR-10, CIFAR-100, and NumPy's `.npz`.

`read` finds out which of them a path is. The formats are those of the data sets' own pages: IDX
(LeCun, Cortes & Burges), and CIFAR's binary and Python versions (Krizhevsky, 2009).

CIFAR's Python version is pickled, and unpickling can run whatever code the file names. So nothing
that a file names is ever called: of all names only those that a pickled array needs are known, and
they stand for `_Array` and `_Dtype` below, which take plain numbers and bytes and nothing else.
"""

from __future__ import annotations

import gzip
import math
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError, SchemaError

GZIP = b"\x1f\x8b"
"""How a gzipped file begins."""

IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""What the third byte of an IDX file says of its numbers."""

CIFAR_SHAPE = (3, 32, 32)
"""Channels (red, green, blue), height, width."""


class Labelled(NamedTuple):
    """Images and what they show."""

    image: NDArray[Any]
    """(N, ...)."""
    label: NDArray[np.int64]
    """(N,)."""


class Images(NamedTuple):
    """A data set. `test` is None where nobody has set images apart for testing."""

    train: Labelled
    test: Labelled | None


def read(path: Path) -> Images:
    """The data set that a path holds.

    Args:
        path: an `.npz` file (`read_arrays`), or a folder with the files of MNIST (`read_mnist`) or
            of CIFAR (`read_cifar`), under their original names.

    Raises:
        ConfigurationError: there is nothing of the kind.
        SchemaError: a file is damaged, or holds something else.
        OSError: a file cannot be read.
    """
    if path.is_file():
        return read_arrays(path)
    if not path.is_dir():
        raise ConfigurationError(f"there is no file or folder {path}")
    if _find(path, MNIST[0][0]) is not None:
        return read_mnist(path)
    if any((path / file).is_file() for version in CIFAR for file in version.train):
        return read_cifar(path)
    raise ConfigurationError(
        f"{path} holds neither MNIST (train-images-idx3-ubyte, ...) nor CIFAR "
        "(data_batch_1, data_batch_1.bin, train, train.bin, ...) under the original names"
    )


def read_arrays(path: Path) -> Images:
    """The arrays of an `.npz` file.

    They are called x and y, or images and labels: (N, ...) numbers and (N,) whole numbers. If
    there are also x_test and y_test (images_test, labels_test), the former may be called x_train
    and y_train (images_train, labels_train) too.

    Raises:
        ConfigurationError: the file holds no such arrays.
        SchemaError: it is damaged, or they do not go together.
    """
    with path.open("rb") as file:
        try:
            found = np.load(file, allow_pickle=False)
            arrays = {} if isinstance(found, np.ndarray) else dict(found)
        except Exception as error:  # a damaged archive can raise anything
            raise SchemaError(f"{path}: expected an .npz file of numbers ({error})") from error
    for x, y in (("x", "y"), ("images", "labels")):
        for end in ("", "_train"):
            if x + end in arrays and y + end in arrays:
                train = labelled(arrays[x + end], arrays[y + end], f"{path}: {x + end}")
                if f"{x}_test" not in arrays or f"{y}_test" not in arrays:
                    return Images(train, None)
                test = labelled(arrays[f"{x}_test"], arrays[f"{y}_test"], f"{path}: {x}_test")
                if test.image.shape[1:] != train.image.shape[1:]:
                    raise SchemaError(
                        f"{path}: {x}_test: expected images {train.image.shape[1:]}, as in "
                        f"training, got {test.image.shape[1:]}"
                    )
                return Images(train, test)
    held = ", ".join(sorted(arrays)) or "nothing"
    raise ConfigurationError(f"{path}: expected arrays x and y, or images and labels, got {held}")


def labelled(image: NDArray[Any], label: NDArray[Any], name: str) -> Labelled:
    """Images and labels, if they go together.

    Raises:
        SchemaError: they do not: names `name`.
    """
    if image.ndim < 2 or not image.size or image.dtype.kind not in "biuf":
        raise SchemaError(f"{name}: expected numbers (N, ...), got {image.dtype} {image.shape}")
    if not np.isfinite(image).all():
        raise SchemaError(f"{name}: expected finite numbers, got NaN or infinity")
    if label.shape != image.shape[:1] or label.dtype.kind not in "iu":
        raise SchemaError(
            f"{name}: expected a whole number as label of each of {len(image)} images, "
            f"got {label.dtype} {label.shape}"
        )
    return Labelled(image, label.astype(np.int64))


MNIST = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
"""Images and labels, of training and test."""


def read_mnist(folder: Path) -> Images:
    """MNIST, or whatever comes in its format, as Fashion-MNIST: images (N, height, width) uint8.

    Args:
        folder: holds the four IDX files, plain or gzipped (`.gz`).

    Raises:
        ConfigurationError: one is missing.
        SchemaError: one is damaged, or they do not go together.
    """
    parts = []
    for images, labels in MNIST:
        paths = [_find(folder, name) for name in (images, labels)]
        for path, name in zip(paths, (images, labels), strict=True):
            if path is None:
                raise ConfigurationError(f"{folder} lacks {name}, or {name}.gz")
        first, second = cast("list[Path]", paths)
        parts.append(labelled(read_idx(first), read_idx(second), str(first)))
    return Images(*parts)


def _find(folder: Path, name: str) -> Path | None:
    """The file, plain or gzipped; unpacking tools write the name's last dash as a dot, too."""
    for stem in (name, name.replace("-idx", ".idx")):
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    return None


def read_idx(path: Path) -> NDArray[Any]:
    """The array of an IDX file, plain or gzipped, in the processor's byte order.

    An IDX file is two zero bytes, the numbers' type, how many axes there are, the length of each
    (big-endian, 32 bits), and the numbers, the last axis fastest.

    Raises:
        SchemaError: another file, or a damaged one.
    """
    with path.open("rb") as plain:
        zipped = plain.read(2) == GZIP
        plain.seek(0)
        try:
            with gzip.GzipFile(fileobj=plain) if zipped else plain as file:
                return _idx(cast(BinaryIO, file), path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SchemaError(f"{path} is damaged: {error}") from error


def _idx(file: BinaryIO, path: Path) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_DTYPES or not magic[3]:
        raise SchemaError(f"{path} is no IDX file: expected bytes 0 0 type axes, got {[*magic]}")
    lengths = file.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise SchemaError(f"{path} is damaged: it ends within its header")
    shape = struct.unpack(f">{magic[3]}I", lengths)
    dtype = np.dtype(IDX_DTYPES[magic[2]])
    content = file.read()
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise SchemaError(
            f"{path} is damaged: expected {expected} bytes for {shape} {dtype.name}, "
            f"got {len(content)}"
        )
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


class _Version(NamedTuple):
    """One of the ways in which CIFAR comes."""

    train: tuple[str, ...]
    """Names of files."""
    test: str
    labels: int
    """Bytes of labels before each image, in the binary version; the last is the finest."""
    key: bytes | None
    """What the labels are called, in the Python version."""


CIFAR = (
    _Version(tuple(f"data_batch_{part}" for part in range(1, 6)), "test_batch", 0, b"labels"),
    _Version(tuple(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin", 1, None),
    _Version(("train",), "test", 0, b"fine_labels"),
    _Version(("train.bin",), "test.bin", 2, None),
)
"""CIFAR-10 and CIFAR-100, each in the Python and in the binary version."""


def read_cifar(folder: Path) -> Images:
    """CIFAR-10 or CIFAR-100, in its Python or its binary version: images (N, 3, 32, 32) uint8.

    Args:
        folder: holds the files as they were unpacked. Of CIFAR-100 the fine labels are read.

    Raises:
        ConfigurationError: a file is missing.
        SchemaError: one is damaged, or another kind of file.
    """
    versions = [v for v in CIFAR if any((folder / name).is_file() for name in v.train)]
    if not versions:
        raise ConfigurationError(f"{folder} holds no files of CIFAR under their original names")
    version = versions[0]
    parts = []
    for name in (*version.train, version.test):
        path = folder / name
        if not path.is_file():
            raise ConfigurationError(f"{folder} lacks {name}")
        if version.key is None:
            parts.append(_read_binary(path, version.labels))
        else:
            parts.append(_read_pickled(path, version.key))
    images, labels = (np.concatenate(part) for part in zip(*parts[:-1], strict=True))
    return Images(Labelled(images, labels), parts[-1])


def _read_binary(path: Path, labels: int) -> Labelled:
    """Records of so many labels and an image, a byte for each number."""
    content = np.fromfile(path, np.uint8)
    size = labels + math.prod(CIFAR_SHAPE)
    if not len(content) or len(content) % size:
        raise SchemaError(
            f"{path} is damaged: expected images of {size} bytes each, got {len(content)} bytes"
        )
    records = content.reshape(-1, size)
    return Labelled(
        records[:, labels:].reshape(-1, *CIFAR_SHAPE), records[:, labels - 1].astype(np.int64)
    )


def _read_pickled(path: Path, key: bytes) -> Labelled:
    content = unpickle(path)
    if not isinstance(content, dict):
        raise SchemaError(f"{path}: expected a dictionary, got {type(content).__name__}")
    # of Python 2 its names come as bytes, of Python 3 as text
    image, label = (content.get(k, content.get(k.decode())) for k in (b"data", key))
    width = math.prod(CIFAR_SHAPE)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[1:] != (width,):
        raise SchemaError(f"{path}: data: expected (N, {width}) uint8")
    if not isinstance(label, list) or not all(type(one) is int for one in label):
        raise SchemaError(f"{path}: {key.decode()}: expected a list of whole numbers")
    return labelled(image.reshape(-1, *CIFAR_SHAPE), np.array(label, np.int64), str(path))


def unpickle(path: Path) -> Any:
    """What a pickle holds, where that is arrays of numbers, bytes, text, numbers, lists and dicts.

    Raises:
        SchemaError: it holds anything else, or is damaged. Nothing that it names was called.
    """
    with path.open("rb") as file:
        try:
            return _plain(_Unpickler(file, encoding="bytes").load())
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from None
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            raise SchemaError(f"{path} is no pickle, or damaged: {error}") from error


class _Dtype:
    """Stands for `numpy.dtype` while unpickling."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if text not in ("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"):
            raise SchemaError(f"expected an array of numbers, got dtype {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (b">", ">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands for `numpy.ndarray` while unpickling."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Dtype) or not isinstance(content, bytes):
            raise SchemaError("expected an array of numbers")
        array = np.frombuffer(content, kind.dtype).copy()
        self.array = array.reshape(shape, order="F" if fortran else "C")


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 pickles bytes for Python 2: as text, and a call of `_codecs.encode`."""
    if encoding != "latin1":
        raise SchemaError(f"expected bytes, got text in {encoding!r}")
    return text.encode("latin1")


_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{(module, "_reconstruct"): _Array for module in _ARRAYS},
    ("_codecs", "encode"): _latin1,
}


class _Unpickler(pickle.Unpickler):
    """Knows the names that a pickled array needs, and gives each a harmless meaning."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise SchemaError(f"refused to load {module}.{name}") from None


def _plain(value: Any) -> Any:
    """The value with its arrays in place of what stood for them."""
    if isinstance(value, _Array):
        if value.array is None:
            raise SchemaError("expected an array of numbers")
        return value.array
    if isinstance(value, dict):
        return {_plain(name): _plain(child) for name, child in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if value is None or isinstance(value, (bytes, str, int, float)):
        return value
    raise SchemaError(f"expected arrays, numbers, text, lists and dicts, got {value!r}")
