"""Bad input: one clear error that names what is wrong, and the memory unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import leaves
from recollect.errors import (
    ClosedError,
    ConfigurationError,
    EmptyMemoryError,
    PriorityError,
    RecollectError,
    SchemaError,
)
from selfproving import fields, known_world, schema, stacked

KIND = "dict"
STREAMS = 3


def steps_memory(streams: int | None = None, **more: Any) -> rc.Memory:
    memory = rc.Memory(
        schema(KIND, mark=rc.Field((2,), np.int64)), 60, streams=streams, seed=4, **more
    )
    for t in range(10):
        if streams is None:
            memory.add(**one_step(0, t))
        else:
            memory.add(**stacked([one_step(stream, t) for stream in range(streams)]))
    return memory


def one_step(stream: int, t: int, **more: Any) -> dict[str, Any]:
    return known_world(KIND, stream, 1, first=t)[0] | {"mark": np.full(2, t)} | more


def many(count: int = STREAMS, **more: Any) -> dict[str, Any]:
    return stacked([one_step(stream, 10) for stream in range(count)]) | more


def without(step: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != name}


def refused(
    make: Callable[[], rc.Memory],
    act: Callable[[rc.Memory], Any],
    error: type[Exception],
    *mentions: str,
) -> None:
    """`act` raises, says what about, and leaves the memory as its untouched twin is."""
    memory, twin = make(), make()
    with pytest.raises(error) as caught:
        act(memory)
    assert isinstance(caught.value, RecollectError)
    for mention in mentions:
        assert mention in str(caught.value)
    assert memory.stats() == twin.stats()
    one, other = dict(leaves(memory.sample(200))), dict(leaves(twin.sample(200)))
    assert one.keys() == other.keys()
    for name, column in one.items():
        np.testing.assert_array_equal(column, other[name])
    assert memory.stats() == twin.stats()


Act = Callable[[rc.Memory], Any]
REFUSAL = (SchemaError, ConfigurationError)  # where either class tells it rightly
SINGLE: dict[str, tuple[Act, type[Exception], tuple[str, ...]]] = {
    **{
        f"missing {name}": (
            lambda m, name=name: m.add(**without(one_step(0, 10), name)),
            SchemaError,
            (name,),
        )
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "mark")
    },
    "unknown field": (lambda m: m.add(**one_step(0, 10, surprise=1)), SchemaError, ("surprise",)),
    "unknown field in extend": (
        lambda m: m.extend(**stacked([one_step(0, 10)]), surprise=[1]),
        SchemaError,
        ("surprise",),
    ),
    "missing field in extend": (
        lambda m: m.extend(**without(stacked([one_step(0, 10)]), "mark")),
        SchemaError,
        ("mark",),
    ),
    "missing leaf": (
        lambda m: m.add(**one_step(0, 10, obs=without(one_step(0, 10)["obs"], "speed"))),
        SchemaError,
        ("speed",),
    ),
    "unknown leaf": (
        lambda m: m.add(**one_step(0, 10, next_obs={**one_step(0, 10)["next_obs"], "smell": 1})),
        SchemaError,
        ("smell",),
    ),
    "array for a dict": (
        lambda m: m.add(**one_step(0, 10, obs=np.zeros(3))),
        SchemaError,
        ("obs",),
    ),
    "none for a dict": (lambda m: m.add(**one_step(0, 10, obs=None)), SchemaError, ("obs",)),
    "tuple for a dict": (
        lambda m: m.add(**one_step(0, 10, obs=tuple(one_step(0, 10)["obs"].values()))),
        SchemaError,
        ("obs",),
    ),
    "dict for an array": (
        lambda m: m.add(**one_step(0, 10, mark={"a": 1})),
        SchemaError,
        ("mark",),
    ),
    "wrong shape": (lambda m: m.add(**one_step(0, 10, mark=[1, 2, 3])), SchemaError, ("mark",)),
    "wrong dtype": (lambda m: m.add(**one_step(0, 10, mark=[1.5, 2])), SchemaError, ("mark",)),
    "does not fit": (
        lambda m: m.add(**one_step(0, 10, mark=np.array([1, 2**63], np.uint64))),
        SchemaError,
        ("mark",),
    ),
    "leading axis without streams": (lambda m: m.add(**many(1)), SchemaError, ()),
    "extend without leading axis": (lambda m: m.extend(**one_step(0, 10)), SchemaError, ()),
    "extend with unequal lengths": (
        lambda m: m.extend(**stacked([one_step(0, 10), one_step(0, 11)]) | {"reward": np.zeros(3)}),
        SchemaError,
        ("reward",),
    ),
    "priority without priorities": (
        lambda m: m.update(np.array([9]), priority=np.ones(1)),
        PriorityError,
        ("Uniform",),
    ),
    "update of an unknown field": (
        lambda m: m.update(np.array([9]), surprise=np.ones(1)),
        SchemaError,
        ("surprise",),
    ),
    "update of a core field": (
        lambda m: m.update(np.array([9]), reward=np.ones(1)),
        SchemaError,
        ("reward",),
    ),
    "update of too few": (
        lambda m: m.update(np.array([8, 9]), mark=np.ones((1, 2), int)),
        SchemaError,
        ("mark",),
    ),
    "update without the leading axis": (
        lambda m: m.update(np.array([9]), mark=np.ones(2, int)),
        SchemaError,
        ("mark",),
    ),
    "update of a wrong dtype": (
        lambda m: m.update(np.array([9]), mark=np.full((1, 2), 0.5)),
        SchemaError,
        ("mark",),
    ),
    **{
        f"{call} keys {what}": (
            (lambda m, keys=keys: m.update(keys, mark=np.ones((2, 2), int)))
            if call == "update"
            else (lambda m, keys=keys: m.remove(keys)),
            REFUSAL,
            ("key",),
        )
        for call in ("update", "remove")
        for what, keys in (
            ("of floats", np.array([8.0, 9.0])),
            ("of text", ["8", "9"]),
            ("of flags", np.array([True, False])),
            ("of two axes", np.array([[8], [9]])),
        )
    },
    **{
        f"sample({n!r})": (lambda m, n=n: m.sample(n), ConfigurationError, (repr(n),))
        for n in (0, -1, 2.5, "8", None, np.float64(3))
    },
    "unknown stream of cut": (lambda m: m.cut(stream=5), REFUSAL, ("5",)),
    "unknown stream": (lambda m: m.add(stream=5, **one_step(0, 10)), REFUSAL, ("5",)),
    "view of examples": (lambda m: m.reader(view=rc.Example()), ConfigurationError, ("Example",)),
    "no view": (lambda m: m.reader(view=3), REFUSAL, ("view",)),
    "no sampler": (lambda m: m.reader(sampler="best"), ConfigurationError, ("sampler",)),
    "stack of nothing": (
        lambda m: m.reader(view=rc.Transition(stack={"obs.smell": 2})),
        REFUSAL,
        ("obs.smell",),
    ),
    "stack of what is not observed": (
        lambda m: m.reader(view=rc.Transition(stack={"reward": 2})),
        REFUSAL,
        ("reward",),
    ),
}


@pytest.mark.parametrize("case", list(SINGLE))
def test_one_stream_refuses(case: str) -> None:
    act, error, mentions = SINGLE[case]
    refused(steps_memory, act, error, *mentions)


SEVERAL: dict[str, tuple[Act, Any, tuple[str, ...]]] = {
    "no leading axis": (lambda m: m.add(**one_step(0, 10)), SchemaError, ()),
    "too few streams": (lambda m: m.add(**many(2)), SchemaError, ("2", "3")),
    "too many streams": (lambda m: m.add(**many(4)), SchemaError, ("4", "3")),
    "one field of another length": (
        lambda m: m.add(**many(reward=np.zeros(2))),
        SchemaError,
        ("reward",),
    ),
    "leading axis with one stream": (
        lambda m: m.add(stream=1, **stacked([one_step(1, 10)])),
        SchemaError,
        (),
    ),
    "no leading axis with a list of one": (
        lambda m: m.add(stream=[1], **one_step(1, 10)),
        SchemaError,
        (),
    ),
    "fewer rows than streams named": (
        lambda m: m.add(stream=[0, 1, 2], **many(2)),
        SchemaError,
        (),
    ),
    "a stream twice": (lambda m: m.add(stream=[1, 1], **many(2)), REFUSAL, ("stream",)),
    **{
        f"stream {stream!r}": (
            lambda m, stream=stream: m.add(stream=stream, **one_step(0, 10)),
            REFUSAL,
            ("stream",),
        )
        for stream in (3, -1, 1.5, "first")
    },
    "a stream of the list": (
        lambda m: m.add(stream=[0, 3], **many(2)),
        REFUSAL,
        ("stream", "3"),
    ),
    "streams of floats": (
        lambda m: m.add(stream=[0.5, 1.0], **many(2)),
        REFUSAL,
        ("stream",),
    ),
    "extend without a stream": (lambda m: m.extend(**many()), REFUSAL, ("stream",)),
    "extend of a stream that is none": (
        lambda m: m.extend(stream=3, **many()),
        REFUSAL,
        ("3",),
    ),
    "cut of a stream that is none": (lambda m: m.cut(stream=3), REFUSAL, ("3",)),
    "mask of another length": (
        lambda m: m.add(valid=np.ones(2, bool), **many()),
        SchemaError,
        ("valid",),
    ),
    "mask of numbers": (
        lambda m: m.add(valid=np.array([0.5, 1, 1]), **many()),
        SchemaError,
        ("valid",),
    ),
    "one bad row among good ones": (
        lambda m: m.add(**many(mark=np.array([[1, 1], [2, 2], [3, 2**63]], np.uint64))),
        SchemaError,
        ("mark",),
    ),
}


@pytest.mark.parametrize("case", list(SEVERAL))
def test_several_streams_refuse(case: str) -> None:
    act, error, mentions = SEVERAL[case]
    refused(lambda: steps_memory(STREAMS), act, error, *mentions)


def examples_memory() -> rc.Memory:
    memory = rc.Memory(
        rc.Schema.examples(image=rc.Field((2, 2), np.uint8), label=rc.Field((), np.int64)),
        8,
        seed=0,
    )
    memory.extend(image=np.arange(20, dtype=np.uint8).reshape(5, 2, 2), label=np.arange(5))
    return memory


ONE = np.ones((2, 2), np.uint8)
EXAMPLES: dict[str, tuple[Act, Any, tuple[str, ...]]] = {
    "missing": (lambda m: m.add(image=ONE), SchemaError, ("label",)),
    "unknown": (lambda m: m.add(image=ONE, label=1, reward=1), SchemaError, ("reward",)),
    "shape": (lambda m: m.add(image=ONE[0], label=1), SchemaError, ("image", "(2, 2)", "(2,)")),
    "dtype": (lambda m: m.add(image=ONE / 2, label=1), SchemaError, ("image", "uint8", "float64")),
    "overflow": (lambda m: m.add(image=ONE.astype(int) * 300, label=1), SchemaError, ("image",)),
    "unequal lengths": (
        lambda m: m.extend(image=np.stack([ONE] * 3), label=np.arange(2)),
        SchemaError,
        ("label",),
    ),
    "no leading axis": (lambda m: m.extend(image=ONE, label=1), SchemaError, ()),
    "a view of steps": (
        lambda m: m.reader(view=rc.Transition()),
        ConfigurationError,
        ("Transition",),
    ),
    "a stream": (
        lambda m: m.add(image=ONE, label=1, stream=1),
        REFUSAL,
        ("stream",),
    ),
}


@pytest.mark.parametrize("case", list(EXAMPLES))
def test_examples_refuse(case: str) -> None:
    act, error, mentions = EXAMPLES[case]
    refused(examples_memory, act, error, *mentions)


@pytest.mark.parametrize(
    ("settings", "mention"),
    [
        *(({"capacity": c}, "capacity") for c in (0, -1, 2.5, "10", [10], True)),
        *(({"streams": s}, "streams") for s in (0, -1, 1.5, "2")),
        ({"capacity": 3, "streams": 4}, "streams"),
        ({"chain": "maybe"}, "chain"),
        ({"max_draws": 0}, "max_draws"),
        ({"max_draws": 1.5}, "max_draws"),
        ({"view": rc.Example()}, "Example"),
        ({"view": "newest"}, "view"),
        ({"sampler": "best"}, "sampler"),
        ({"view": rc.Transition(stack={"obs.smell": 4})}, "obs.smell"),
    ],
    ids=str,
)
def test_memory_settings_are_checked(settings: dict[str, Any], mention: str) -> None:
    with pytest.raises(REFUSAL) as caught:
        rc.Memory(schema(KIND), **{"capacity": 100, **settings})
    assert mention in str(caught.value)


def test_memory_needs_a_schema() -> None:
    with pytest.raises(REFUSAL, match="schema"):
        rc.Memory({"obs": rc.Field((), np.int64)}, 10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rc.NStep(0, gamma=0.9),
        lambda: rc.NStep(-1, gamma=0.9),
        lambda: rc.NStep(1.5, gamma=0.9),
        lambda: rc.NStep(True, gamma=0.9),
        lambda: rc.NStep(2, gamma=1.5),
        lambda: rc.NStep(2, gamma=-0.1),
        lambda: rc.NStep(2, gamma=float("nan")),
        lambda: rc.NStep(2, gamma="high"),
        lambda: rc.Transition(gamma=2),
        lambda: rc.Transition(stack=0),
        lambda: rc.Transition(stack=-1),
        lambda: rc.Transition(stack=1.5),
        lambda: rc.Transition(stack={"obs": 0}),
        lambda: rc.NStep(2, gamma=0.9, stack={"obs": 2.5}),
    ],
)
def test_view_settings_are_checked(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert any(word in str(caught.value) for word in ("n ", "n=", "n:", "gamma", "stack"))


def test_nstep_needs_gamma() -> None:
    with pytest.raises(TypeError, match="gamma"):
        rc.NStep(3)


OWNED = ["key", "keys", "values", "items", "get", "weight", "probability", "torch"]


@pytest.mark.parametrize("name", [*OWNED, "steps", "discount", "stream", "valid", "priority"])
def test_names_that_batch_or_add_own_are_refused_for_extras(name: str) -> None:
    with pytest.raises(SchemaError, match=name):
        schema("flat", **{name: rc.Field((), np.float32)})


@pytest.mark.parametrize("name", [*OWNED, "stream", "valid", "priority"])
def test_names_that_batch_or_add_own_are_refused_for_examples(name: str) -> None:
    with pytest.raises(SchemaError, match=name):
        rc.Schema.examples(**{name: rc.Field((), np.float32)})


@pytest.mark.parametrize("name", OWNED)
def test_names_that_batch_owns_are_read_by_item_where_they_are_nested(name: str) -> None:
    """An environment may call its observations so; a mapping's own methods go on working."""
    memory = rc.Memory(rc.Schema.examples(obs={name: rc.Field((), np.int64)}), 4, seed=0)
    memory.extend(obs={name: np.arange(4)})
    obs = memory.sample(30).obs
    assert list(obs) == list(obs.keys()) == [name]
    assert set(obs[name].tolist()) == {0, 1, 2, 3}
    assert set(obs.get(name).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "make",
    [
        lambda: rc.Field((2.5,), np.float32),
        lambda: rc.Field((-1,), np.float32),
        lambda: rc.Field("wide", np.float32),
        lambda: rc.Field((2,), "no such type"),
        lambda: rc.Field((2,), object),
        lambda: rc.Field((2,), np.float32, finite="maybe"),
        lambda: rc.Schema.examples(),
        lambda: rc.Schema.examples(x=np.float32),
        lambda: rc.Schema.examples(x={}),
        lambda: rc.Schema.steps(obs=3, action=rc.Field((), np.int64)),
        lambda: rc.Schema.steps(
            obs=rc.Field((), int), action=rc.Field((), int), terminated=rc.Field((), bool)
        ),
    ],
)
def test_schemas_are_checked(make: Callable[[], Any]) -> None:
    with pytest.raises((SchemaError, TypeError)) as caught:
        make()
    assert isinstance(caught.value, SchemaError) or "terminated" in str(caught.value)


def test_sampling_from_nothing() -> None:
    for view in (rc.Transition(), rc.NStep(3, gamma=0.9)):
        memory = rc.Memory(schema("flat"), 20, view=view, seed=0)
        with pytest.raises(EmptyMemoryError):
            memory.sample(1)
        for t in range(3):
            memory.add(**fields("flat", (0, 0, t)))
            if isinstance(view, rc.Transition) or t == 2:
                assert len(memory.sample(2).key) == 2
            else:
                with pytest.raises(EmptyMemoryError):
                    memory.sample(1)
        memory.clear()
        with pytest.raises(EmptyMemoryError):
            memory.sample(1)
    with pytest.raises(EmptyMemoryError):
        rc.Memory(rc.Schema.examples(x=rc.Field((), int)), 3).sample(1)


@pytest.mark.parametrize(
    "use",
    [
        lambda m, r: m.add(**one_step(0, 10)),
        lambda m, r: m.extend(**stacked([one_step(0, 10)])),
        lambda m, r: m.sample(1),
        lambda m, r: m.update(np.array([1]), mark=np.ones((1, 2), int)),
        lambda m, r: m.remove(np.array([1])),
        lambda m, r: m.cut(),
        lambda m, r: m.clear(),
        lambda m, r: m.reader(view=rc.Transition()),
        lambda m, r: r.sample(1),
        lambda m, r: r.update(np.array([1]), mark=np.ones((1, 2), int)),
    ],
    ids=[
        "add",
        "extend",
        "sample",
        "update",
        "remove",
        "cut",
        "clear",
        "reader",
        "reader.sample",
        "reader.update",
    ],
)
def test_a_closed_memory_refuses(use: Callable[[rc.Memory, Any], Any]) -> None:
    with steps_memory() as memory:
        reader = memory.reader(view=rc.Transition())
        reader.sample(1)
    with pytest.raises(ClosedError, match="closed"):
        use(memory, reader)
    memory.close()
