"""CONFORMANCE.md, Ring and keys: R1 to R9 under `Uniform`; and `remove`, `max_draws`, `finite`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from costs import cost
from oracle import STREAM_SHIFT, Look, Steps, chi_square_tail, leaves
from selfproving import KINDS, agree, everything, fields, known_world, prove, schema, stacked, view

KIND = "dict"


def filled(count: int, capacity: int, *, look: Look | None = None, **more: Any) -> rc.Memory:
    """A single stream of the known world."""
    memory = rc.Memory(schema(KIND), capacity, view=view(look or Look()), seed=5, **more)
    if count:
        memory.extend(**stacked(known_world(KIND, 0, count)))
    return memory


def bare(**extras: Any) -> rc.Schema:
    return rc.Schema.steps(obs=rc.Field((), np.int64), action=rc.Field((), np.int64), **extras)


def count_up(first: int, count: int, **more: Any) -> dict[str, Any]:
    """`extend`'s fields for steps of one endless episode whose observations count up."""
    t = np.arange(first, first + count)
    never = np.zeros(count, bool)
    reward = t.astype(np.float32)
    both = {"obs": t, "action": t, "reward": reward, "next_obs": t + 1}
    return both | {"terminated": never, "truncated": never} | more


@pytest.mark.parametrize("count", [9, 10, 11, 20, 37, 64])
@pytest.mark.parametrize("before", [0, 1, 7])
def test_R1_extend_by_more_than_fits_keeps_the_newest_in_order(before: int, count: int) -> None:
    memory = rc.Memory(bare(), 10, seed=0)
    if before:
        memory.extend(**count_up(0, before))
    keys = memory.extend(**count_up(before, count))
    np.testing.assert_array_equal(keys, np.arange(before, before + count))
    last = before + count
    found = everything(memory)
    assert sorted(found) == list(range(last - 9, last))
    assert all(row["obs"] == key and row["next_obs"] == key + 1 for key, row in found.items())
    memory.extend(**count_up(last, 1))
    assert memory.stats()["chain_breaks"] == 0
    assert memory.stats()["added"] == last + 1


@pytest.mark.parametrize("count", [13, 50, 200])
def test_R1_extend_by_more_than_fits_with_ends_inside(count: int) -> None:
    look = Look(3, 0.9, 2)
    oracle = Steps(12)
    memory = filled(0, 12, look=look)
    world = known_world(KIND, 0, count)
    keys = memory.extend(**stacked(world))
    assert keys.tolist() == [oracle.add(**step) for step in world]
    agree(everything(memory), oracle.examples(look))


def test_R1_extend_is_the_same_as_adding_one_by_one() -> None:
    look = Look(2, 0.9, 3)
    one, other = filled(0, 20, look=look), filled(0, 20, look=look)
    world = known_world(KIND, 0, 90)
    keys = [one.add(**step) for step in world]
    assert other.extend(**stacked(world[:33])).tolist() == keys[:33]
    assert other.extend(**stacked(world[33:])).tolist() == keys[33:]
    same_batch(one.sample(200), other.sample(200))
    assert one.stats() == other.stats()


def test_R1_examples_by_more_than_fits_keep_the_newest() -> None:
    memory = rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), 7, seed=0)
    for first in (0, 3, 40):
        keys = memory.extend(x=np.arange(first, first + 20))
        held = {key: int(row["x"]) for key, row in everything(memory).items()}
        assert held == dict(zip(keys[-7:].tolist(), range(first + 13, first + 20), strict=True))


def test_R2_updates_of_overwritten_rows_are_ignored_and_counted() -> None:
    memory = rc.Memory(bare(mark=rc.Field((), np.int64)), 5, seed=0)
    keys = memory.extend(**count_up(0, 20, mark=np.zeros(20, int)))
    assert memory.update(keys, mark=np.arange(100, 120)) == 4
    stats = memory.stats()
    assert (stats["updated"], stats["stale_updates"]) == (4, 16)
    marks = {key: int(row["mark"]) for key, row in everything(memory).items()}
    assert marks == {16: 116, 17: 117, 18: 118, 19: 119}


def test_R2_keys_that_never_were_are_stale() -> None:
    """A closing row's number, a provisional row's, other streams, other generations, negatives."""
    memory = rc.Memory(bare(mark=rc.Field((), np.int64)), 40, streams=2, seed=0)
    memory.add(**stacked([ended(count_up(0, 1, mark=[0]))] * 2))
    memory.add(stream=1, **only(count_up(0, 1, mark=[0])))
    bad = [1, 2, (1 << STREAM_SHIFT) + 1, (1 << STREAM_SHIFT) + 3, 2 << STREAM_SHIFT, 20, -1, -2]
    assert memory.update(np.array(bad), mark=np.full(8, 9)) == 0
    assert memory.stats()["stale_updates"] == 8
    assert memory.remove(np.array(bad)) == 0
    assert {int(row["mark"]) for row in everything(memory).values()} == {0}
    assert len(everything(memory)) == 3


def only(steps: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(column)[0] for name, column in steps.items()}


def ended(steps: dict[str, Any]) -> dict[str, Any]:
    return only(steps) | {"terminated": True}


def test_R2_the_last_of_duplicate_keys_wins() -> None:
    memory = rc.Memory(bare(mark=rc.Field((), np.int64)), 9, seed=0)
    memory.extend(**count_up(0, 3, mark=np.zeros(3, int)))
    memory.update(np.array([1, 0, 1, 0, 1]), mark=np.array([10, 20, 30, 40, 50]))
    marks = {key: int(row["mark"]) for key, row in everything(memory).items()}
    assert marks == {0: 40, 1: 50, 2: 0}


def test_R2_a_held_row_that_is_not_yet_eligible_is_live() -> None:
    memory = rc.Memory(bare(mark=rc.Field((), np.int64)), 9, view=rc.NStep(3, gamma=0.9), seed=0)
    keys = memory.extend(**count_up(0, 2, mark=np.zeros(2, int)))
    assert memory.update(keys, mark=np.array([7, 8])) == 2
    memory.extend(**count_up(2, 2, mark=np.zeros(2, int)))
    marks = {key: int(row["mark"]) for key, row in everything(memory).items()}
    assert marks == {0: 7, 1: 8}


@pytest.mark.parametrize("streams", [None, 1, 3])
def test_R3_keys_are_unique_across_wrap_around(streams: int | None) -> None:
    width = streams or 1
    memory = rc.Memory(schema("flat"), 6 * width, streams=streams, seed=0)
    worlds = [known_world("flat", stream, 200) for stream in range(width)]
    seen: set[int] = set()
    for steps in zip(*worlds, strict=True):
        keys = np.atleast_1d(memory.add(**(stacked(list(steps)) if streams else steps[0])))
        assert [key >> STREAM_SHIFT for key in keys] == list(range(width))
        assert not seen & set(keys.tolist())
        seen |= set(keys.tolist())
    assert len(seen) == 200 * width


def test_R3_keys_are_unique_across_clear_and_remove() -> None:
    for memory, add in (
        (rc.Memory(bare(), 6, seed=0), lambda m: m.extend(**count_up(0, 9))),
        (
            rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), 6, seed=0),
            lambda m: m.extend(x=np.arange(9)),
        ),
    ):
        seen: list[int] = []
        for _ in range(5):
            seen += add(memory).tolist()
            memory.remove(np.array(seen[-2:]))
            assert memory.update(np.array(seen[:-9])) == 0
            memory.clear()
            assert memory.remove(np.array(seen)) == 0
        kept = [key for key in seen if key != -1]  # what never fitted has no key
        assert len(set(kept)) == len(kept) >= 30


def test_R4_the_caller_may_reuse_its_arrays() -> None:
    look = Look(2, 0.9, 2)
    memory, oracle = filled(0, 30, look=look), Steps(30)
    batched = rc.Memory(schema(KIND), 30, streams=1, view=view(look), seed=0)
    world = known_world(KIND, 0, 25)
    for step in world:
        oracle.add(**step)
        mine = own(step)
        memory.add(**mine)
        scribble(mine)
        mine = own(stacked([step]))
        batched.add(**mine)
        scribble(mine)
    agree(everything(memory), oracle.examples(look))
    agree(everything(batched), oracle.examples(look))
    memory.clear()
    mine = own(stacked(world))
    memory.extend(**mine)
    scribble(mine)
    prove(memory.sample(100), KIND, look)


def own(tree: Any) -> Any:
    """A copy whose leaves are writable arrays."""
    if isinstance(tree, dict):
        return {name: own(branch) for name, branch in tree.items()}
    return np.array(tree)


def scribble(tree: Any) -> None:
    for _, leaf in leaves(tree):
        leaf[...] = 1 - leaf if leaf.dtype != bool else ~leaf


def test_R4_updates_and_examples_are_copied_in() -> None:
    memory = rc.Memory(rc.Schema.examples(x=rc.Field((300,), np.int64)), 4, seed=0)
    mine = np.full((2, 300), 5)
    keys = memory.extend(x=mine)
    mine[:] = 6
    assert (memory.sample(20).x == 5).all()
    mine[:] = 7
    memory.update(keys, x=mine)
    mine[:], keys[:] = 8, -1
    assert (memory.sample(20).x == 7).all()


LOOKS = [Look(), Look(None, 0.9, {"obs.image": 2}), Look(3, 0.9), Look(2, 0.5, 3)]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("look", LOOKS, ids=range(len(LOOKS)))
def test_R5_what_sample_gave_is_the_callers(kind: str, look: Look) -> None:
    if isinstance(look.stack, dict):
        look = Look(look.n, look.gamma, {"obs": 2})
    memory = rc.Memory(schema(kind, mark=rc.Field((), int)), 40, view=view(look), seed=0)
    world = [step | {"mark": 1} for step in known_world(kind, 0, 120)]
    memory.extend(**stacked(world[:50]))
    batches = [memory.sample(16), memory.sample(16), memory.sample(1)]
    arrays = [leaf for batch in batches for _, leaf in leaves(batch)]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        assert array.flags.c_contiguous
        assert array.flags.writeable
    for i, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:i])
    memory.update(batches[0].key, mark=np.full(16, 2))
    memory.extend(**stacked(world[50:]))
    memory.sample(16)
    memory.clear()
    memory.extend(**stacked(world[:50]))
    memory.sample(16)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_R5_writing_into_a_batch_changes_nothing_else() -> None:
    look = Look(2, 0.9, 2)
    memory = filled(30, 40, look=look)
    before = everything(memory)
    for _, leaf in leaves(memory.sample(200)):
        leaf[...] = 0
    agree(everything(memory), {key: without_draw(row) for key, row in before.items()})


def without_draw(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() - {"key", "weight", "probability"}}


def test_R5_a_batch_is_a_read_only_mapping() -> None:
    batch = filled(20, 40).sample(4)
    with pytest.raises((TypeError, AttributeError)):
        batch["obs"] = 1
    with pytest.raises((TypeError, AttributeError)):
        batch.obs = 1
    with pytest.raises((TypeError, AttributeError)):
        batch.obs["image"] = 1
    assert batch.obs["image"] is batch.obs.image
    assert (
        set(batch)
        == set(batch.keys())
        == {
            *("obs", "action", "reward", "next_obs", "steps", "terminated", "truncated"),
            *("weight", "probability", "key"),
        }
    )


def same_batch(one: rc.Batch, other: rc.Batch) -> None:
    columns = dict(leaves(other))
    assert [name for name, _ in leaves(one)] == list(columns)
    for name, column in leaves(one):
        assert column.dtype == columns[name].dtype
        np.testing.assert_array_equal(column, columns[name], err_msg=name)


IMAGE = rc.Field((2, 3), np.uint8)
REFUSED: dict[str, tuple[str, Any]] = {
    "scalar for a vector": ("vector", 1.0),
    "three scalars for one": ("scalar", [[1, 2, 3]]),
    "leading axis of one": ("scalar", [1.0]),
    "missing axis": ("image", np.zeros(6, np.uint8)),
    "transposed": ("image", np.zeros((3, 2), np.uint8)),
    "broadcastable": ("image", np.zeros((1, 3), np.uint8)),
    "extra axis": ("vector", np.zeros((1, 3), np.float32)),
    "short": ("vector", np.zeros(2, np.float32)),
    "ragged": ("vector", [1.0, [2.0], 3.0]),
    "float for integer": ("count", np.float32(1.5)),
    "float array for image": ("image", np.zeros((2, 3), np.float32)),
    "python float for integer": ("count", 1.5),
    "complex for float": ("scalar", np.complex64(1j)),
    "text": ("scalar", "fast"),
    "object": ("scalar", object()),
    "none": ("scalar", None),
    "python overflow": ("byte", 256),
    "python underflow": ("byte", -1),
    "array overflow": ("image", np.full((2, 3), 256)),
    "array underflow": ("image", np.full((2, 3), -1, np.int8)),
    "wide overflow": ("count", np.uint64(2**63)),
    "huge python integer": ("count", 2**70),
    "integer for flag": ("flag", np.int64(3)),
    "float for flag": ("flag", np.float32(0.5)),
}


def grid_schema() -> rc.Schema:
    return bare(
        vector=rc.Field((3,), np.float32),
        scalar=rc.Field((), np.float32),
        image=IMAGE,
        byte=rc.Field((), np.uint8),
        count=rc.Field((), np.int64),
        flag=rc.Field((), np.bool_),
    )


def grid_step(t: int) -> dict[str, Any]:
    return only(count_up(t, 1)) | {
        "vector": np.full(3, t, np.float32),
        "scalar": float(t),
        "image": np.full((2, 3), t, np.uint8),
        "byte": t,
        "count": t,
        "flag": bool(t % 2),
    }


def twins(steps: int = 8) -> tuple[rc.Memory, rc.Memory]:
    pair = []
    for _ in range(2):
        memory = rc.Memory(grid_schema(), 12, seed=11)
        for t in range(steps):
            memory.add(**grid_step(t))
        pair.append(memory)
    return pair[0], pair[1]


def unchanged(memory: rc.Memory, twin: rc.Memory) -> None:
    """`memory`, to which something bad was done, is still what its twin is."""
    assert memory.stats() == twin.stats()
    assert len(memory) == len(twin)
    if len(twin):
        same_batch(memory.sample(100), twin.sample(100))


@pytest.mark.parametrize("case", list(REFUSED))
@pytest.mark.parametrize("call", ["add", "extend", "update"])
def test_R6_what_does_not_fit_raises_and_nothing_is_stored(call: str, case: str) -> None:
    name, value = REFUSED[case]
    memory, twin = twins()

    def act() -> None:
        if call == "add":
            memory.add(**grid_step(8) | {name: value})
        elif call == "extend":
            # The bad value comes last, when good rows could already have been written.
            try:
                wrong = np.stack([np.asarray(grid_step(8)[name]), np.asarray(value)])
            except ValueError:
                wrong = [grid_step(8)[name], value]
            memory.extend(**stacked([grid_step(8), grid_step(9)]) | {name: wrong})
        else:
            wrong = [value] if isinstance(value, (list, str)) else np.asarray(value)[None]
            memory.update(np.array([7]), **{name: wrong})

    with pytest.raises(rc.errors.SchemaError) as caught:
        act()
    assert name in str(caught.value)
    unchanged(memory, twin)
    memory.add(**grid_step(8))
    twin.add(**grid_step(8))
    unchanged(memory, twin)


@pytest.mark.parametrize("name", ["obs", "next_obs", "action", "reward", "terminated", "truncated"])
def test_R6_every_step_field_is_checked(name: str) -> None:
    memory, twin = twins()
    with pytest.raises(rc.errors.SchemaError, match=rf"\b{name}\b"):
        memory.add(**grid_step(8) | {name: np.zeros((2, 2))})
    unchanged(memory, twin)


@pytest.mark.parametrize("leaf", ["image", "place", "speed"])
def test_R6_a_bad_leaf_is_named_by_its_path(leaf: str) -> None:
    memory, twin = filled(5, 20), filled(5, 20)
    step = known_world(KIND, 0, 6)[5]
    step["next_obs"][leaf] = step["next_obs"][leaf][:1]
    with pytest.raises(rc.errors.SchemaError, match=rf"next_obs\.{leaf}"):
        memory.add(**step)
    unchanged(memory, twin)


def test_R6_the_message_says_expected_and_got() -> None:
    memory, _ = twins()
    with pytest.raises(rc.errors.SchemaError) as shape:
        memory.add(**grid_step(8) | {"vector": np.zeros(4, np.float32)})
    assert "(3,)" in str(shape.value)
    assert "(4,)" in str(shape.value)
    with pytest.raises(rc.errors.SchemaError) as dtype:
        memory.add(**grid_step(8) | {"image": np.ones((2, 3))})
    assert "uint8" in str(dtype.value)
    assert "float64" in str(dtype.value)


FITS: dict[str, tuple[str, Any, Any]] = {
    "double for single": ("vector", np.array([1, 2, 3], np.float64), [1, 2, 3]),
    "half for single": ("vector", np.array([1, 2, 3], np.float16), [1, 2, 3]),
    "integers for floats": ("vector", np.array([1, 2, 3]), [1, 2, 3]),
    "list": ("vector", [1.0, 2.0, 3.0], [1, 2, 3]),
    "python integer for float": ("scalar", 3, 3),
    "zero axes": ("scalar", np.array(3.0), 3),
    "wide integers that fit": ("image", np.full((2, 3), 255, np.int64), np.full((2, 3), 255)),
    "signed that fits": ("byte", np.int8(127), 127),
    "unsigned that fits": ("count", np.uint64(2**63 - 1), 2**63 - 1),
    "flag for integer": ("count", np.bool_(True), 1),
    "fortran order": ("image", np.asfortranarray([[1, 2, 3], [4, 5, 6]]), [[1, 2, 3], [4, 5, 6]]),
    "big endian": ("vector", np.array([1, 2, 3], ">f4"), [1, 2, 3]),
    "strided": ("vector", np.arange(9, dtype=np.float32)[::3], [0, 3, 6]),
}


@pytest.mark.parametrize("case", list(FITS))
@pytest.mark.parametrize("call", ["add", "extend", "update"])
def test_R6_what_fits_is_taken(call: str, case: str) -> None:
    name, value, expected = FITS[case]
    memory, _ = twins()
    if call == "add":
        key = memory.add(**grid_step(8) | {name: value})
    elif call == "extend":
        key = int(memory.extend(**stacked([grid_step(8) | {name: value}]))[0])
    else:
        key = 7
        memory.update(np.array([key]), **{name: np.asarray(value)[None]})
    found = everything(memory)[key][name]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == grid_schema().flat[name].dtype


DTYPES = [
    *(np.bool_, np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64),
    *(np.float16, np.float32, np.float64, np.complex64, np.complex128),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=[np.dtype(d).name for d in DTYPES])
@pytest.mark.parametrize("stack", [None, 2])
@pytest.mark.parametrize("size", [3, 2000])
def test_R7_dtypes_come_back_exactly(dtype: Any, stack: int | None, size: int) -> None:
    """The bits survive, in small and in large fields, in obs, action and extras."""
    field = rc.Field((size,), dtype)
    memory = rc.Memory(
        rc.Schema.steps(obs={"x": field}, action=field, extra=field),
        20,
        view=rc.NStep(2, gamma=0.5, stack=stack),
        seed=0,
    )
    values = np.resize(extremes(np.dtype(dtype)), (12, size))
    for t in range(10):
        memory.add(
            obs={"x": values[t]},
            action=values[t],
            reward=t,
            next_obs={"x": values[t + 1]},
            terminated=False,
            truncated=t == 4,
            extra=values[t],
        )
    batch = memory.sample(100)
    t = np.where(batch.key >= 6, batch.key - 1, batch.key)
    follows = np.where(t <= 4, np.minimum(t + 2, 5), t + 2)
    last = (slice(None), -1) if stack else slice(None)
    for column, at in (
        (batch.obs.x[last], t),
        (batch.next_obs.x[last], follows),
        (batch.action, t),
        (batch.extra, t),
    ):
        assert column.dtype == np.dtype(dtype)
        assert np.ascontiguousarray(column).tobytes() == values[at].tobytes()


def extremes(dtype: np.dtype[Any]) -> np.ndarray:
    if dtype.kind == "b":
        return np.array([True, False, True, True, False])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([info.min, info.max, 0, 1, info.max // 3, info.min + 1, 7], dtype)
    real = np.finfo(dtype)
    values = [real.min, real.max, real.tiny, -0.0, 1 / 3, np.inf, -np.inf, np.nan, 3, 5, 7]
    return np.array(values).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape", [(), (2,)])
def test_R7_rewards_and_the_other_columns(dtype: Any, shape: tuple[int, ...]) -> None:
    memory = rc.Memory(bare(reward=rc.Field(shape, dtype)), 20, seed=0)
    summed = memory.reader(view=rc.NStep(2, gamma=0.5))
    for t in range(6):
        memory.add(**only(count_up(t, 1)) | {"reward": np.full(shape, t, dtype)})
    batch = memory.sample(64)
    assert batch.reward.dtype == dtype
    assert batch.reward.shape == (64, *shape)
    np.testing.assert_array_equal(batch.reward.reshape(64, -1)[:, 0], batch.obs)
    assert (batch.steps.dtype, batch.key.dtype) == (np.int64, np.int64)
    assert (batch.terminated.dtype, batch.truncated.dtype) == (np.bool_, np.bool_)
    assert (batch.weight.dtype, batch.probability.dtype) == (np.float32, np.float64)
    batch = summed.sample(64)
    assert batch.reward.dtype == (np.float32 if dtype == np.float16 else dtype)
    assert batch.reward.shape == (64, *shape)
    assert batch.discount.dtype == np.float32
    np.testing.assert_array_equal(batch.reward.reshape(64, -1)[:, 0], batch.obs * 1.5 + 0.5)


def test_R7_examples_come_back_exactly() -> None:
    named = {np.dtype(d).name: rc.Field((4,), d) for d in DTYPES}
    memory = rc.Memory(rc.Schema.examples(**named), 5, seed=0)
    values = {name: np.resize(extremes(f.dtype), (5, 4)) for name, f in named.items()}
    keys = memory.extend(**values)
    batch = memory.sample(50)
    at = np.searchsorted(keys, batch.key)
    for name, field in named.items():
        assert batch[name].dtype == field.dtype
        assert batch[name].tobytes() == values[name][at].tobytes()


def test_R8_a_call_does_the_same_work_whatever_the_capacity() -> None:
    """In bytes and calls, since time is nobody's to promise."""
    costs = []
    for capacity in (1_000, 1_000_000):
        memory = rc.Memory(bare(mark=rc.Field((), np.int64)), capacity, seed=0)
        stacks = memory.reader(view=rc.NStep(3, gamma=0.9, stack=2))
        for first in range(0, capacity + 500, 100_000):
            count = min(100_000, capacity + 500 - first)
            memory.extend(**count_up(first, count, mark=np.zeros(count, int)))
        assert len(memory) == capacity - 1
        at = iter(range(capacity + 500, capacity + 600))

        def add(memory: rc.Memory = memory, at: Any = at) -> None:
            memory.add(**only(count_up(next(at), 1, mark=[0])))

        many, one = memory.sample(64).key, memory.sample(1).key
        work = {
            "sample": lambda m=memory: m.sample(64),
            "reader": lambda r=stacks: r.sample(64),
            "add": add,
            "update": lambda m=memory, k=many: m.update(k, mark=np.ones(64, int)),
            "remove": lambda m=memory, k=one: m.remove(k),
            "cut": memory.cut,
        }
        for call in (*work.values(), *work.values()):
            call()
        costs.append({name: cost(call) for name, call in work.items()})
    small, large = costs
    for name, (peak, calls) in small.items():
        # Numbers of a million take a few bytes more than those of a thousand.
        assert abs(large[name][0] - peak) < 2_048, name
        assert abs(large[name][1] - calls) <= 4, name


@pytest.mark.parametrize("n", [1, 4])
def test_R9_streams_are_drawn_in_proportion_to_their_eligible_rows(n: int) -> None:
    look = Look(n, 0.9)
    lengths = [5, 40, 160, 300]
    memory = rc.Memory(schema("flat"), 4 * 120, streams=4, view=view(look), seed=n)
    oracle = Steps(120, 4)
    for stream, count in enumerate(lengths):
        world = known_world("flat", stream, count)
        memory.extend(stream=stream, **stacked(world))
        for step in world:
            oracle.add(stream=stream, **step)
    keys = oracle.eligible(look)
    rows = np.bincount([key >> STREAM_SHIFT for key in keys], minlength=4)
    assert rows.min() >= 2
    assert rows[0] < rows[1] < rows[2]
    draws = 60_000
    drawn = np.concatenate([memory.sample(500).key for _ in range(draws // 500)])
    counts = np.bincount(drawn >> STREAM_SHIFT, minlength=4)
    assert chi_square_tail(counts, draws * rows / rows.sum()) > 1e-3


def test_R9_a_stream_that_nobody_adds_to_is_never_drawn() -> None:
    memory = rc.Memory(schema("flat"), 60, streams=3, seed=0)
    memory.extend(stream=1, **stacked(known_world("flat", 1, 10)))
    assert (memory.sample(500).key >> STREAM_SHIFT == 1).all()


def test_removed_rows_start_nothing_in_any_reader_but_windows_run_over_them() -> None:
    memory = rc.Memory(bare(), 20, seed=0)
    summed = memory.reader(view=rc.NStep(3, gamma=1.0, stack=2))
    memory.extend(**count_up(0, 10))
    assert memory.remove(np.array([2, 4, 4, 99])) == 2
    assert memory.remove(np.array([2])) == 0
    assert set(everything(memory)) == set(range(10)) - {2, 4}
    found = everything(summed)
    assert set(found) == set(range(8)) - {2, 4}
    assert {key: float(row["reward"]) for key, row in found.items()} == {
        key: 3.0 * key + 3 for key in found
    }
    assert found[3]["obs"].tolist() == [2, 3]


def test_removed_before_it_was_eligible_never_becomes_so() -> None:
    memory = rc.Memory(bare(), 20, view=rc.NStep(3, gamma=1.0), seed=0)
    memory.extend(**count_up(0, 4))
    assert memory.remove(np.array([3])) == 1
    memory.extend(**count_up(4, 4))
    assert set(everything(memory)) == {0, 1, 2, 4, 5}


def test_removing_all_leaves_nothing_to_sample() -> None:
    memory = rc.Memory(bare(), 20, seed=0)
    keys = memory.extend(**count_up(0, 10))
    assert memory.remove(keys) == 10
    with pytest.raises(rc.errors.EmptyMemoryError):
        memory.sample(1)
    memory.extend(**count_up(10, 2))
    assert set(everything(memory)) == {10, 11}


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_max_draws_gives_each_row_so_often_and_no_more(draws: int) -> None:
    memory = rc.Memory(bare(), 20, max_draws=draws, seed=draws)
    memory.extend(**count_up(0, 12))
    drawn: list[int] = []
    while True:
        try:
            batch = memory.sample(5)
        except rc.errors.EmptyMemoryError:
            break
        assert 0 < len(batch.key) <= 5
        drawn += batch.key.tolist()
    assert np.bincount(drawn).tolist() == [draws] * 12
    assert memory.stats()["eligible"] == 0
    memory.extend(**count_up(12, 1))
    assert set(memory.sample(draws + 3).key.tolist()) == {12}


def test_max_draws_begin_anew_where_a_slot_is_used_again() -> None:
    """In a ring of four rows, of which an endless episode's newest observation takes one."""
    rings = (
        (rc.Memory(bare(), 4, max_draws=3, seed=0), lambda m, at: m.extend(**count_up(at, 3))),
        (
            rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), 3, max_draws=3, seed=0),
            lambda m, at: m.extend(x=np.arange(3)),
        ),
    )
    for memory, add in rings:
        for at in range(0, 12, 3):
            add(memory, at)
            memory.sample(2)
        keys = add(memory, 12).tolist()
        drawn: list[int] = []
        while memory.stats()["eligible"]:
            drawn += memory.sample(2).key.tolist()
        assert sorted(drawn) == sorted(keys * 3)


def test_max_draws_are_counted_over_all_readers() -> None:
    memory = rc.Memory(bare(), 20, max_draws=2, seed=0)
    other = memory.reader(view=rc.NStep(2, gamma=0.9))
    memory.extend(**count_up(0, 3))
    drawn = [*memory.sample(2).key.tolist(), *other.sample(3).key.tolist()]
    while memory.stats()["eligible"]:
        drawn += memory.sample(1).key.tolist()
    assert np.bincount(drawn).tolist() == [2, 2, 2]
    with pytest.raises(rc.errors.EmptyMemoryError):
        other.sample(1)


def test_values_that_are_not_finite_are_refused_or_dropped() -> None:
    memory = rc.Memory(
        bare(
            strict=rc.Field((2,), np.float32, finite=True),
            loose=rc.Field((), np.float32, finite="drop"),
            any=rc.Field((), np.float32),
        ),
        20,
        seed=0,
    )

    def step(t: int, **more: Any) -> dict[str, Any]:
        plain = {"strict": np.zeros(2), "loose": 0.0, "any": np.nan}
        return only(count_up(t, 1)) | plain | more

    assert memory.add(**step(0)) == 0
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(rc.errors.SchemaError, match="strict"):
            memory.add(**step(1, strict=np.array([0, bad])))
    assert memory.add(**step(1)) == 1
    for bad in (np.nan, np.inf, -np.inf):
        assert memory.add(**step(2, loose=bad)) == -1
    assert (len(memory), memory.stats()["dropped"]) == (2, 3)
    # Row 2 closes the episode that the dropped step would have gone on with; 5 does so again.
    rows = stacked([step(3), step(4), step(5, loose=np.nan), step(6)])
    assert memory.extend(**rows).tolist() == [3, 4, -1, 6]
    assert (memory.stats()["chain_breaks"], memory.stats()["episodes"]) == (0, 3)
    ends = {key: bool(row["truncated"]) for key, row in everything(memory).items()}
    assert ends == {0: False, 1: True, 3: False, 4: True, 6: False}
    assert memory.extend(**stacked([step(7, loose=np.nan), step(8, loose=np.nan)])).max() == -1
    assert everything(memory)[6]["truncated"]
    assert memory.stats()["dropped"] == 6


def test_ages_are_counted_in_steps_added() -> None:
    memory = rc.Memory(bare(), 5, seed=0)
    for t, age in enumerate([0, 0.5, 1, 1.5, 1.5, 1.5]):
        memory.add(**only(count_up(t, 1)))
        assert memory.stats()["mean_age"] == pytest.approx(age)


def test_fields_of_every_kind_fit_twice_the_ring() -> None:
    for kind in KINDS:
        memory = rc.Memory(schema(kind), 9, seed=0)
        for at in range(20):
            memory.add(**fields(kind, (0, 0, at)))
        assert memory.stats()["rows"] == 9
        assert len(memory) == 8
