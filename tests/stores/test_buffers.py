"""Large outputs are recycled, and never while anybody holds them."""

import gc

import numpy as np
import pytest

import recollect as rc
from recollect.stores.buffers import LARGE, MOST, MOST_FREE, Buffers

BIG = (LARGE,)
BYTES = np.dtype(np.uint8)


def place(array):
    return array.ctypes.data


def test_what_nobody_holds_is_used_again():
    buffers = Buffers()
    first = place(buffers.empty(BIG, BYTES))
    assert place(buffers.empty(BIG, BYTES)) == first


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: array[3:5],
        lambda array: array.view(np.float32).reshape(2, -1)[:1].T,
        memoryview,
        lambda array: [{"deep": array}],
        lambda array: np.asarray(memoryview(array)),
        lambda array: pytest.importorskip("torch").from_numpy(array)[7:9],
    ],
)
def test_what_somebody_holds_is_left_alone(hold):
    buffers = Buffers()
    array = buffers.empty(BIG, BYTES)
    taken = place(array)
    held = hold(array)
    del array
    others = [buffers.empty(BIG, BYTES) for _ in range(2 * MOST)]
    assert taken not in map(place, others)
    assert len(set(map(place, others))) == len(others)
    del held


def test_small_arrays_and_other_sizes_are_fresh():
    buffers = Buffers()
    big = buffers.empty(BIG, BYTES)
    assert buffers.empty((4, 3), np.dtype(np.float32)).shape == (4, 3)
    assert len(buffers._remembered) == 1
    taken = place(big)
    del big
    larger = buffers.empty((LARGE * 2,), BYTES)
    assert place(larger) != taken
    assert len(buffers._remembered) == 2


def test_those_in_use_and_a_few_more_are_remembered():
    buffers = Buffers()
    held = [buffers.empty(BIG, BYTES) for _ in range(MOST_FREE + 3)]
    assert len(buffers._remembered) == len(held)
    assert len(set(map(place, held))) == len(held)
    held.clear()
    buffers.empty((LARGE * 2,), BYTES)
    assert len(buffers._remembered) == MOST_FREE + 1
    held = [buffers.empty(BIG, BYTES) for _ in range(2 * MOST)]
    assert len(buffers._remembered) == MOST
    assert len(set(map(place, held))) == len(held)


def test_batches_of_large_fields_survive_later_samples():
    schema = rc.Schema.examples(image=rc.Field((64, 64), np.uint8))
    memory = rc.Memory(schema, 300, seed=0)
    number = np.arange(300)
    memory.extend(image=np.broadcast_to(number.astype(np.uint8)[:, None, None], (300, 64, 64)))
    kept = []
    for _ in range(30):
        batch = memory.sample(100)
        kept.append((batch.image[::7], (batch.key & 0xFFFFFFFF).astype(np.uint8)[::7]))
        del batch
        gc.collect(0)
    for image, slot in kept:
        assert (image == slot[:, None, None]).all()
