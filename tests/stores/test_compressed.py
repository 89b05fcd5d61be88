"""The compressed column beside a plain array, with threads, and what it packs."""

import json
import os
import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.errors import DamagedError
from recollect.stores.codecs import codec
from recollect.stores.compressed import FEWEST, PATIENCE, CompressedColumn
from recollect.stores.pieces import joined, parsed
from recollect.stores.runs import SHARE
from recollect.stores.teams import in_parts

ZSTD, LZ4 = codec("zstd"), codec("lz4")
FORMS = [((5,), np.uint8), ((2, 3), np.int16), ((), np.int64), ((3, 2, 2), ">u4"), ((7,), "i1")]


class Counting:
    """A codec that counts what it is asked for, and has no machine code."""

    name = "zstd"
    native = None

    def __init__(self):
        self.encoded = self.decoded = 0

    def encode(self, data):
        self.encoded += 1
        return ZSTD.encode(data)

    def decode(self, data, size):
        self.decoded += 1
        return ZSTD.decode(data, size)


def fill(number, shape, dtype):
    """Rows that each number makes, (N, *shape)."""
    number = np.asarray(number)
    size = int(np.prod(shape, dtype=int))
    values = number[:, None] * 7 + np.arange(size) * 3
    return values.astype(dtype).reshape(len(number), *shape)


def proof(slots, turn, width):
    """(M, width) int64: slot and turn, and sums that only they have."""
    slots, turn = np.broadcast_arrays(slots, turn)
    places = np.arange(width)
    return (slots[:, None] * 1_000_003 + turn[:, None] * 601) * (places + 1)


def state(column):
    return column[np.arange(len(column))]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_it_is_an_array(data):
    shape, dtype = data.draw(st.sampled_from(FORMS))
    run = data.draw(st.integers(1, 9))
    capacity = data.draw(st.integers(1, 70))
    used = data.draw(st.sampled_from([ZSTD, LZ4]))
    column = CompressedColumn(capacity, shape, dtype, used, run)
    plain = np.zeros((capacity, *shape), dtype)
    number = 0
    for _ in range(data.draw(st.integers(1, 25))):
        capacity = len(plain)
        slots = st.integers(0, capacity - 1)
        action = data.draw(
            st.sampled_from(["one", "some", "range", "range", "pack", "move", "foreign"])
        )
        if action == "one":
            slot = data.draw(slots)
            row = fill([number], shape, dtype)[0]
            column[slot] = row
            plain[slot] = row
        elif action in ("some", "range"):
            if action == "some":
                chosen = np.array(data.draw(st.lists(slots, max_size=20)), np.int64)
            else:
                begin, length = data.draw(slots), data.draw(st.integers(0, 40))
                chosen = (begin + np.arange(min(length, capacity))) % capacity
            rows = fill(number + np.arange(len(chosen)), shape, dtype)
            column[chosen] = rows
            for slot, row in zip(chosen, rows, strict=True):
                plain[slot] = row
        elif action == "move":
            # rotated, shuffled, or kept in place, into a column that may be smaller
            new = data.draw(st.integers(1, 70))
            held = np.random.default_rng(number).permutation(capacity)[: min(new, capacity)]
            kind = data.draw(st.sampled_from(["kept", "rotated", "shuffled"]))
            if kind == "shuffled":
                target = np.random.default_rng(number + 1).permutation(new)[: len(held)]
            else:
                held = np.sort(held)
                by = data.draw(st.sampled_from([0, run, 2 * run, 1])) if kind == "rotated" else 0
                held = np.arange(min(new, capacity))
                target = (held + by) % new
            column = column.moved(new, held, target)
            moved = np.zeros((new, *shape), dtype)
            moved[target] = plain[held]
            plain = moved
        elif action == "pack":
            begin = data.draw(slots)
            stop = data.draw(st.integers(begin, capacity))
            to = data.draw(st.integers(0, capacity - (stop - begin)))
            piece = column.packed(np.arange(begin, stop))
            column.unpack(np.arange(to, to + stop - begin), piece)
            plain[to : to + stop - begin] = plain[begin:stop].copy()
        else:
            other = CompressedColumn(
                capacity,
                shape,
                dtype,
                data.draw(st.sampled_from([ZSTD, LZ4])),
                data.draw(st.integers(1, 9)),
            )
            other.unpack(np.arange(0, capacity), column.packed(np.arange(0, capacity)))
            column = other
        number += 50
        assert column.shape == plain.shape and column.dtype == plain.dtype
        asked = np.array(data.draw(st.lists(st.integers(0, len(plain) - 1), max_size=24)), int)
        if len(asked) % 2 == 0:
            asked = asked.reshape(2, -1)
        np.testing.assert_array_equal(column[asked], plain[asked], strict=True)
        if asked.size:
            one = int(asked.flat[0])
            np.testing.assert_array_equal(column[one], plain[one], strict=True)
    np.testing.assert_array_equal(state(column), plain, strict=True)
    assert column.nbytes >= 0


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("used", [ZSTD, LZ4], ids=lambda used: used.name)
def test_large_takes_are_divided_and_put_together(used, threads):
    capacity, width, rng = 5 * SHARE * 8, 12, np.random.default_rng(threads)
    column = CompressedColumn(capacity, (width,), np.int64, used, threads=threads)
    written = np.arange(0, capacity - 100)
    column[written] = proof(written, 1, width)
    slots = rng.integers(0, capacity, (2, 500, 4))
    out = np.full((*slots.shape, width), -1)
    assert column.take(slots, out) is out
    expected = proof(slots.reshape(-1), 1, width).reshape(*slots.shape, width)
    expected[slots >= capacity - 100] = 0
    np.testing.assert_array_equal(out, expected)


def test_what_is_read_and_what_is_written_belong_to_the_caller():
    column = CompressedColumn(64, (6,), np.uint8, ZSTD)
    whole = np.ones((64, 6), np.uint8)
    column[np.arange(64)] = whole
    read = [column[3], column[np.array([3])], column[60], column[np.array([60])]]
    whole[:] = 2
    for array in read:
        array[...] = 3
    assert (state(column) == 1).all()
    column[np.arange(64)] = 5
    assert (read[0] == 3).all()


def test_slots_beyond_either_end_and_wrong_outputs_are_refused():
    column = CompressedColumn(12, (6,), np.uint8, ZSTD)
    for wrong in (-1, 12, np.array([0, -1]), np.array([3, 15])):
        with pytest.raises(IndexError, match="column of 12 rows"):
            column[wrong]
        with pytest.raises(IndexError, match="column of 12 rows"):
            column[wrong] = 1
    with pytest.raises(IndexError, match="column of 12 rows"):
        column.take(np.array([[3, 15]]), np.zeros((1, 2, 6), np.uint8))
    assert not state(column).any()
    for out in (np.zeros((2, 5), np.uint8), np.zeros((2, 12), np.uint8)[:, ::2]):
        with pytest.raises(ValueError, match="take: expected"):
            column.take(np.array([1, 2]), out)
    with pytest.raises(ValueError, match="take: expected"):
        column.take(np.array([1, 2]), np.zeros((2, 6), np.int8))


def test_few_runs_stay_raw_and_a_run_that_fills_is_encoded_once():
    used = Counting()
    column = CompressedColumn(8000, (1000,), np.uint8, used)
    for row in range(8000):
        # as a stream writes: the provisional row, and then the row once more
        column[row] = row % 251
        if row:
            column[row - 1] = (row - 1) % 251
    assert used.encoded == 1000 - FEWEST and used.decoded == 0
    assert column.nbytes < 1000 * 100 + FEWEST * 8000 + 1000 * 16
    np.testing.assert_array_equal(state(column)[:, 0], np.arange(8000) % 251)


@pytest.mark.parametrize("streams", [32, 256])
def test_streams_that_take_turns_do_not_thrash(streams):
    used = Counting()
    size = 160
    column = CompressedColumn(streams * size, (64,), np.uint8, used)
    base = np.arange(streams) * size
    for step in range(size):
        column[base + step] = step
    per_row = (used.encoded + used.decoded) / (streams * size)
    assert per_row < 1.3 / 8, "each run is encoded once, and few are opened again"
    assert used.encoded + streams >= streams * size // 8

    # one stream alone goes through all the rows, and fewer and fewer runs are left open
    assert streams <= len(column._open) <= streams + FEWEST
    rows = np.arange(streams * size)
    for turn in range(4):
        column[rows] = turn
    assert len(column._open) <= max(streams - streams * size // 8 * 3 // PATIENCE, FEWEST)
    assert (state(column) == 3).all()


def test_a_run_that_is_written_now_and_then_stays_open():
    used = Counting()
    column = CompressedColumn(800, (20,), np.uint8, used)
    for row in range(8, 800):
        column[0] = row % 256
        column[row] = row % 256
    assert used.decoded == 0 and used.encoded == 100 - FEWEST


def test_of_rows_for_the_same_slot_the_last_stays():
    rng = np.random.default_rng(3)
    column = CompressedColumn(100, (30,), np.int64, ZSTD)
    plain = np.zeros((100, 30), np.int64)
    for _ in range(5):
        slots = rng.integers(0, 100, 3000)
        rows = rng.integers(0, 1 << 40, (3000, 1)) + np.arange(30)
        column[slots] = rows
        for slot, row in zip(slots, rows, strict=True):
            plain[slot] = row
        np.testing.assert_array_equal(state(column), plain)


def test_rows_in_random_order_leave_a_bounded_number_of_runs_raw():
    rng = np.random.default_rng(0)
    column = CompressedColumn(1600, (40,), np.uint8, ZSTD)
    plain = np.zeros((1600, 40), np.uint8)
    for turn in range(3000):
        slot = int(rng.integers(1600))
        column[slot] = turn % 256
        plain[slot] = turn % 256
        assert len(column._open) <= 200 // 4
    np.testing.assert_array_equal(state(column), plain)


def test_bytes_are_counted_as_they_come_and_go():
    rng = np.random.default_rng(1)
    column = CompressedColumn(400, (50,), np.uint8, ZSTD)
    beside = column.nbytes
    for turn in range(300):
        kind = turn % 3
        first = int(rng.integers(0, 380))
        if kind == 0:
            column[first] = turn % 256
        elif kind == 1:
            column[np.arange(first, first + 20)] = turn % 256
        else:
            column.unpack(np.arange(0, 40), column.packed(np.arange(40, 80)))
        held = [entry for entry in column._runs if entry is not None]
        sizes = [sys.getsizeof(e) if isinstance(e, bytes) else e.nbytes for e in held]
        assert column.nbytes == beside + sum(sizes)
        assert len(column._open) == sum(isinstance(e, np.ndarray) for e in held)


def test_runs_that_move_whole_are_not_decoded():
    used = Counting()
    column = CompressedColumn(800, (30,), np.uint8, used)
    rows = np.arange(800)
    column[rows] = (rows % 256).astype(np.uint8)[:, None]
    used.decoded = used.encoded = 0
    larger = column.moved(1600, rows, rows + 80)
    assert used.decoded == used.encoded == 0
    np.testing.assert_array_equal(larger[rows + 80], column[rows])
    assert not larger[np.arange(80)].any()
    # the two go on separately, their open runs too
    for row in range(879, 79, -1):
        larger[row] = 7
    np.testing.assert_array_equal(column[rows][:, 0], rows % 256)


def test_packing_keeps_what_is_compressed():
    used = Counting()
    column = CompressedColumn(240, (100,), np.uint8, used)
    column[np.arange(120)] = 9
    used.decoded = used.encoded = 0
    piece = column.packed(np.arange(0, 240))
    assert used.decoded == 0 and used.encoded == FEWEST
    assert len(piece) < 240 * 100 / 10
    assert parsed(piece).entries[:2] == column._runs[:2]
    assert parsed(piece).entries[15:] == [b""] * 15

    other = CompressedColumn(240, (100,), np.uint8, used)
    other.unpack(np.arange(0, 240), memoryview(piece))
    assert other._runs[:2] == column._runs[:2]
    np.testing.assert_array_equal(state(other), state(column))


@pytest.mark.parametrize("used", [ZSTD, LZ4], ids=lambda used: used.name)
def test_damaged_pieces_are_refused_and_change_nothing(used):
    rng = np.random.default_rng(0)
    source = CompressedColumn(50, (40,), np.uint8, used)
    source[np.arange(50)] = rng.integers(0, 256, (50, 40), np.uint8)
    piece = source.packed(np.arange(3, 45))
    column = CompressedColumn(50, (40,), np.uint8, used)
    column[np.arange(50)] = rng.integers(0, 256, (50, 40), np.uint8)
    before = state(column)

    for length in {0, 1, 3, 7, 8, 9, *range(0, len(piece), 41), len(piece) - 1}:
        with pytest.raises(DamagedError):
            column.unpack(np.arange(3, 45), piece[:length])
    with pytest.raises(DamagedError):
        column.unpack(np.arange(3, 45), piece + b"\0")
    for wrong in ((3, 44), (2, 45), (0, 0)):
        with pytest.raises(DamagedError, match="rows: expected"):
            column.unpack(np.arange(*wrong), piece)
    for header in (
        dict(codec="gzip"),
        dict(dtype="|i1"),
        dict(shape=[20, 2]),
        dict(run=0),
        dict(run=4),
        dict(first=-1),
        dict(first=8),
        dict(rows=-1),
        dict(rows="42"),
    ):
        with pytest.raises(DamagedError, match="rows: "):
            column.unpack(np.arange(3, 45), joined(parsed(piece)._replace(**header)))
    assert (state(column) == before).all()

    # any one byte: refused, or rows of the right shape, but never anything worse
    for place in range(0, len(piece), 7):
        broken = bytearray(piece)
        broken[place] ^= 1 << (place % 8)
        other = CompressedColumn(50, (40,), np.uint8, used)
        try:
            other.unpack(np.arange(3, 45), bytes(broken))
        except DamagedError:
            assert not state(other).any()
        assert state(other).shape == (50, 40)


def test_the_format_is_what_is_written_down():
    column = CompressedColumn(20, (6,), np.uint8, ZSTD, run=4)
    column[np.arange(8)] = np.arange(48, dtype=np.uint8).reshape(8, 6)
    piece = column.packed(np.arange(2, 11))
    assert piece[:4] == b"RCP1"
    stop = 8 + int.from_bytes(piece[4:8], "little")
    header = json.loads(piece[8:stop])
    assert header == dict(codec="zstd", dtype="|u1", shape=[6], run=4, first=2, rows=9)
    lengths = np.frombuffer(piece[stop : stop + 12], "<u4")
    assert lengths[2] == 0 and stop + 12 + lengths.sum() == len(piece)
    first = ZSTD.decode(piece[stop + 12 : stop + 12 + lengths[0]], 24)
    assert first == bytes(range(24))


def test_readers_never_see_another_runs_rows():
    """One thread writes every row again and again; what others read proves where it is from."""
    capacity, width, turns = 96, 300, 150
    column = CompressedColumn(capacity, (width,), np.int64, ZSTD)
    column[np.arange(capacity)] = proof(np.arange(capacity), 0, width)
    done, wrong = threading.Event(), []

    def check(slots, rows):
        # element 0 is slot * 1000003 + turn * 601; a torn row mixes turns of the same slot
        slot, turn = np.divmod(rows // np.arange(1, width + 1), 1_000_003)
        if (slot != slots[:, None]).any() or (turn % 601).any() or (turn > turns * 601).any():
            wrong.append(slots)

    def read(seed):
        rng = np.random.default_rng(seed)
        while not done.is_set():
            slots = rng.integers(0, capacity, 20)
            check(slots, column[slots])
            one = int(slots[0])
            check(slots[:1], column[one][None])
            piece = column.packed(np.arange(8, 40))
            copy = CompressedColumn(32, (width,), np.int64, ZSTD)
            copy.unpack(np.arange(0, 32), piece)
            check(np.arange(8, 40), state(copy))

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        rng = np.random.default_rng(9)
        for turn in range(1, turns):
            if turn % 3:
                for slot in range(0, capacity, 2):
                    column[slot] = proof(np.array([slot]), turn, width)[0]
            else:
                slots = rng.permutation(capacity)
                column[slots] = proof(slots, turn, width)
    finally:
        done.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)
    assert not wrong


def test_parts_are_all_done_before_an_error_arrives():
    seen = []

    def work(first, stop):
        seen.extend(range(first, stop))
        if first == 0:
            raise DamagedError("the first part")

    with pytest.raises(DamagedError, match="the first part"):
        in_parts(10, 3, work)
    assert sorted(seen) == list(range(10))
    with pytest.raises(ZeroDivisionError):
        in_parts(10, 2, lambda first, stop: 1 // (first - 5) and None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_decodes_with_threads_of_its_own():
    column = CompressedColumn(4 * SHARE * 8, (4,), np.int64, ZSTD, threads=3)
    rows = np.arange(len(column))
    column[rows] = proof(rows, 1, 4)
    expected = state(column)  # the threads are there now
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # one that waits for threads that it has not would wait for ever
        os._exit(0 if (state(column) == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(expected, proof(rows, 1, 4))
