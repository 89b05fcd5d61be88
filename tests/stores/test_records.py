"""Fields of records, beside NumPy's own way to take them."""

from __future__ import annotations

import numpy as np
import pytest

from recollect.stores.buffers import Buffers
from recollect.stores.copying import AHEAD, WHOLE
from recollect.stores.records import Records

DTYPES = {
    "narrow": [("reward", np.float32), ("mark", np.uint32)],
    "of all sizes": [
        ("flag", np.bool_),
        ("byte", np.uint8, (3,)),
        ("half", np.float16, (2, 2)),
        ("word", np.int32),
        ("long", np.int64),
        ("complex", np.complex128, (2,)),
        ("text", "U5"),
        ("vector", np.float32, (17,)),
    ],
    "wide": [("first", np.uint8, (WHOLE,)), ("second", np.float64, (100,)), ("last", np.int16)],
}
COUNTS = [0, 1, AHEAD - 1, AHEAD, AHEAD + 1, 300]


def filled(dtype, capacity=1000):
    array = np.zeros(capacity, np.dtype(dtype, align=True))
    rng = np.random.default_rng(0)
    for name in array.dtype.names:
        field = array[name]
        field[...] = rng.integers(0, 100, field.shape).astype(field.dtype)
    return array


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_fields_are_taken_as_they_are(dtype, count):
    array = filled(dtype)
    records = Records(array, Buffers())
    slots = np.random.default_rng(count).integers(0, len(array), count)
    slots[:2] = [0, len(array) - 1][:count]
    names = array.dtype.names
    for name in names:
        taken = records.take(name, slots)
        assert (taken.dtype, taken.flags.c_contiguous) == (array[name].dtype, True)
        np.testing.assert_array_equal(taken, array[name][slots])
        assert taken.base is not None
        assert taken.flags.writeable
    for name, other in zip(names, names[::-1], strict=True):
        for taken, expected in zip(
            records.take_two(name, other, slots), (array[name], array[other]), strict=True
        ):
            np.testing.assert_array_equal(taken, expected[slots])


def test_slots_of_any_shape_order_and_dtype():
    array = filled(DTYPES["of all sizes"])
    records = Records(array, Buffers())
    grid = np.random.default_rng(1).integers(0, 1000, (6, 5, 4))
    for slots in (
        grid,
        grid.transpose(2, 0, 1),
        grid[::2, ::-1],
        grid.astype(np.int32),
        grid[0, 0],
    ):
        for name in array.dtype.names:
            np.testing.assert_array_equal(records.take(name, slots), array[name][slots])


def test_what_is_read_may_be_read_only():
    array = filled(DTYPES["narrow"])
    array.flags.writeable = False
    slots = np.arange(50)
    np.testing.assert_array_equal(Records(array, Buffers()).take("mark", slots), array["mark"][:50])


@pytest.mark.parametrize("wrong", [-1, 1000, np.iinfo(np.int64).max, np.iinfo(np.int64).min])
def test_rows_that_there_are_not_are_never_read(wrong):
    records = Records(filled(DTYPES["narrow"]), Buffers())
    slots = np.arange(40)
    slots[17] = wrong
    with pytest.raises(IndexError, match="expected rows 0 to 999"):
        records.take("mark", slots)
    with pytest.raises(IndexError, match="expected rows 0 to 999"):
        records.take_two("mark", "reward", slots)


def test_later_changes_are_not_seen_in_what_was_taken():
    array = filled(DTYPES["narrow"])
    records = Records(array, Buffers())
    before = records.take("mark", np.arange(20))
    kept = before.copy()
    array["mark"] += 1
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(records.take("mark", np.arange(20)), kept + 1)
