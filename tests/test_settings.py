"""Settings come back from JSON exactly as they were; what no file can hold is asked for by name."""

from __future__ import annotations

import copy
import inspect
import json
import math
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import recollect as rc
from recollect.retention.base import Retention
from recollect.samplers.base import Sampler
from recollect.settings import ROOMS, build, describe, differences
from recollect.transforms.base import Function
from recollect.views.base import View


def reward(achieved: Any, desired: Any, info: Any) -> Any:
    raise AssertionError("nobody asked for it")


def brighter(batch: rc.Batch) -> dict[str, Any]:
    raise AssertionError("nobody asked for it")


class Mine(rc.Uniform):
    """A sampler of one's own."""


class Slow(rc.Transform):
    """A transform of one's own."""

    def __call__(self, batch: rc.Batch, rng: Any = None) -> rc.Batch:
        raise AssertionError("nobody asked for it")


BETA = rc.linear(1 / 3, 1.0, over=100_000)
PARTS: dict[str, list[Any]] = {
    "schema": [
        rc.Schema.examples(image=rc.Field((8, 8), np.uint8), label=rc.Field((), np.int64)),
        rc.Schema.steps(
            obs={
                "type": rc.Field((84, 84), np.uint8),
                "function": (rc.Field((3,), ">f8", finite=True), rc.Field(2, np.complex64)),
                "dtype": {"items": (rc.Field((), np.bool_),)},
            },
            action=(rc.Field((), np.int8), rc.Field((2,))),
            reward=rc.Field((2,), np.float64, finite="drop"),
            log_prob=rc.Field(),
        ),
    ],
    "view": [
        rc.Transition(),
        rc.Transition(0.99, stack=4),
        rc.Transition(gamma=1 / 3, stack={"obs.image": 4, "obs.speed": 2}),
        rc.NStep(3, 0.99),
        rc.NStep(rc.linear(1, 5, over=100), gamma=0.1, stack={"obs": 4}),
        rc.NStep(np.int64(2), np.float64(0.3)),
        rc.Sequence(64),
        rc.Sequence(8, 2, 3, False, True, False, 5, 0.97),
        rc.Sequence(8, cross_episodes=True, n=rc.constant(2), gamma=0.5),
        rc.Episodes(100, by="step", longer="skip", bootstrap=True, gamma=0.9),
        rc.Example(),
    ],
    "sampler": [
        rc.Uniform(),
        rc.Prioritized(),
        rc.Prioritized(0.1 + 0.2, BETA, 3, 0, False, None),
        rc.Ranked(0.5, 1, 2.5, 1000, False, None),
        rc.Weighted(0.7, True, rc.constant(0.5), 2, False, None),
        rc.Oldest(),
        rc.Newest(),
        rc.HighestPriority(),
        rc.LowestPriority(0.25),
        rc.Recent(window=np.int32(50)),
        rc.Recent(decay=1 - 1e-6),
        rc.Shuffled(),
        rc.Mixture({rc.Newest(): 1 / 32, rc.Prioritized(beta=BETA): 31 / 32}),
        rc.Mixture({rc.Uniform(): 0.5, rc.Uniform(): 0.5}, beta=1, normalize=None),
    ],
    "retention": [
        rc.Fifo(),
        rc.Reservoir(),
        rc.Balanced("info.label"),
        rc.DropLowest(),
        rc.DropLowest(np.float32(0.1)),
    ],
    "transforms": [
        rc.Normalize(("obs", "reward"), center=False, clip=5, epsilon=1e-3),
        rc.Clip(None, 1, fields="reward"),
        rc.Clip(-1, None),
        rc.Scale(1 / 255, 0.5),
        rc.Noise(0.1, "action"),
        rc.Flip(0.3, "vertical", channels_last=True, together=True),
        rc.RandomShift(),
        rc.RandomCrop(64, ("obs.image", "obs.depth")),
        rc.RandomCrop((64, 48)),
        rc.Interpolate(0.2, ["obs", "action", "reward"], neighbours=3, near="obs"),
        rc.Blend(0.5, new=1),
        rc.Chain([rc.Scale(2), rc.Chain([rc.Noise(1)])]),
    ],
    "store": [rc.Ram()],
    "limiter": [
        rc.ReplayRatio(4),
        rc.ReplayRatio(0.1, 100, 20.5, 3),
        rc.ReplayRatio(1.0, tolerance=math.inf),
    ],
    "schedule": [BETA, rc.linear(1, 5, over=10), rc.constant(np.float32(0.1))],
}
EVERY = [pytest.param(kind, part, id=repr(part)) for kind in PARTS for part in PARTS[kind]]


def held(description: Any) -> Any:
    """By way of a file."""
    return json.loads(json.dumps(description, allow_nan=False))


def of_kind(part: Any, kind: str) -> Any:
    return [part] if kind == "transforms" else part


def kept(part: Any) -> Any:
    """All that a part knows, as what can be compared."""
    if isinstance(part, (list, tuple)):
        return [kept(each) for each in part]
    if isinstance(part, dict):
        return [(kept(key), kept(value)) for key, value in part.items()]
    if isinstance(part, np.ndarray):
        return part.dtype.str, part.tolist()
    if type(part).__module__.startswith("recollect.") and hasattr(part, "__dict__"):
        return type(part), kept({k: v for k, v in vars(part).items() if k != "_changed"})
    return type(part), part if part == part else "nan"


@pytest.mark.parametrize(("kind", "part"), EVERY)
def test_a_part_comes_back_exactly(kind: str, part: Any) -> None:
    description = describe(of_kind(part, kind))
    made = build(held(description), kind)
    assert repr(made) == repr(of_kind(part, kind))
    assert held(description) == description == describe(made)
    if kind != "store":
        assert kept(made) == kept(of_kind(part, kind))
    # an older file lacks what has been added since; usual values stand for it
    for each in description if kind == "transforms" else [description]:
        usual = {
            name: parameter.default
            for name, parameter in inspect.signature(type(part)).parameters.items()
        }
        short = {n: v for n, v in each.items() if n == "type" or v != describe(usual[n])}
        assert describe(build(of_kind(short, kind), kind)) == description


def test_every_public_part_is_tried() -> None:
    tried = {type(part).__name__ for parts in PARTS.values() for part in parts}
    bases = (View, Sampler, Retention, rc.Transform)
    public = {n: vars(rc).get(n) for n in rc.__all__}
    parts = {n for n, p in public.items() if isinstance(p, type) and issubclass(p, bases)}
    assert parts - tried == {"Transform", "Hindsight"}


def test_what_is_said_of_a_part_is_easy_to_read() -> None:
    expected = {"type": "Transition", "gamma": 0.99, "stack": {"obs": 4}}
    assert describe(rc.Transition(0.99, stack={"obs": 4})) == expected
    assert describe(rc.Transition(0.99, MappingProxyType({"obs": 4}))) == expected
    schema = rc.Schema.examples(x=rc.Field((2,), np.uint8))
    assert describe(schema)["fields"] == {
        "x": {"type": "Field", "shape": [2], "dtype": "|u1", "finite": False}
    }
    assert describe(None) is None


def test_the_order_of_fields_stays() -> None:
    schema = rc.Schema.examples(b=rc.Field(), a={"d": rc.Field(), "c": rc.Field()})
    assert list(build(held(describe(schema)), "schema").flat) == ["b", "a.d", "a.c"]


@hypothesis_settings(deadline=None, derandomize=True, database=None)
@given(start=st.floats(0, 1), over=st.integers(1, 2**70))
def test_numbers_come_back_to_the_last_bit(start: float, over: int) -> None:
    schedule = rc.linear(start, 1.0, over)
    made = build(held(describe(rc.Prioritized(beta=schedule))), "sampler").beta
    assert made == schedule and type(made.over) is int


HINDSIGHT = rc.Hindsight(
    rc.NStep(2, 0.9), "goal", "got", reward=reward, strategy="final", ratio=BETA
)


def test_a_function_is_asked_for_and_taken_as_it_is_given() -> None:
    description = held(describe(HINDSIGHT))
    assert description["reward"] == {"function": "reward"} and description["terminated"] is None
    with pytest.raises(rc.ConfigurationError) as error:
        build(description, "view")
    assert str(error.value) == (
        "view: Hindsight's reward is a function (reward), which a file cannot hold: "
        "pass view=Hindsight(..., reward=...)"
    )
    assert build(description, "view", {"view": HINDSIGHT}) is HINDSIGHT
    made = build(description, "view", {"view.reward": reward, "sampler": None})
    assert kept(made) == kept(HINDSIGHT)
    assert describe(made) == description


def test_what_is_missing_is_named() -> None:
    for part, kind, message in (
        (Mine(), "sampler", "^sampler is an object of the class Mine, .* pass sampler=...$"),
        (
            rc.Mixture({rc.Newest(): 0.5, Mine(): 0.5}),
            "sampler",
            r"^sampler.parts.1.0 is an object of the class Mine, .* pass sampler=\.\.\.$",
        ),
        (
            rc.Prioritized(beta=lambda call: 0.5),
            "sampler",
            r"Prioritized's beta is a function .*<lambda>\), .* sampler=Prioritized\(\.\.\., beta=",
        ),
        (
            [rc.Scale(2), brighter],
            "transforms",
            r"^transforms.1 is a function \(brighter\).*=\[\.\.\.\]",
        ),
        ([Slow()], "transforms", "^transforms.0 is an object of the class Slow"),
        (
            [rc.Blend(0.5, new=brighter)],
            "transforms",
            r"^transforms.0.new is a function.*=\[\.\.\.\]",
        ),
        (rc.Directory("x") if hasattr(rc, "Directory") else object(), "store", "^store is an"),
    ):
        with pytest.raises(rc.ConfigurationError, match=message):
            build(held(describe(part)), kind)
    given_chain = build(
        held(describe([rc.Scale(2), brighter])), "transforms", {"transforms.1": brighter}
    )
    assert given_chain[1] is brighter
    assert build([], "transforms", {"transforms": [brighter]}) == [brighter]


def test_a_chain_says_what_it_was_made_of() -> None:
    assert describe(rc.Chain([rc.Scale(2), brighter]))["transforms"][1] == {"function": "brighter"}
    assert describe(Function(brighter)) == {"class": "Function"}


def test_differences_are_found_where_they_are() -> None:
    one = describe(PARTS["schema"][1])
    other = copy.deepcopy(one)
    assert differences(one, other, "schema") == []
    other["fields"]["obs"]["type"]["shape"] = [84, 80]
    other["fields"]["obs"]["function"][0]["finite"] = 1
    del other["fields"]["log_prob"]
    other["fields"]["value"] = None
    assert differences(one, other, "schema") == [
        "schema.fields.obs.type.shape.1",
        "schema.fields.obs.function.0.finite",
        "schema.fields.log_prob",
        "schema.fields.value",
    ]
    assert differences([1], [1, 2], "x") == differences(1, None, "x") == ["x"]
    assert differences(describe(rc.NStep(3, 0.9)), describe(rc.NStep(3, 1.0)), "view") == [
        "view.gamma"
    ]


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        ("sampler", None),
        ("sampler", 3),
        ("sampler", "Uniform"),
        ("sampler", []),
        ("sampler", {}),
        ("sampler", {"type": ["Uniform"]}),
        ("sampler", {"type": "uniform"}),
        ("sampler", {"type": "Memory"}),
        ("sampler", {"type": "os.system"}),
        ("sampler", {"type": "NStep", "n": 3, "gamma": 0.9}),
        ("sampler", {"type": "linear", "start": 0, "end": 1, "over": 2}),
        ("sampler", {"type": "Uniform", "path": "x"}),
        ("sampler", {"type": "Prioritized", "alpha": "0.5"}),
        ("sampler", {"type": "Prioritized", "alpha": -1}),
        ("sampler", {"type": "Prioritized", "alpha": {"type": "number", "value": "nan"}}),
        ("sampler", {"type": "Prioritized", "alpha": {"type": "number", "value": "1e3"}}),
        ("sampler", {"type": "Prioritized", "stratified": "no"}),
        ("sampler", {"type": "Prioritized", "beta": {"type": "NStep", "n": 1, "gamma": 1.0}}),
        ("sampler", {"type": "Prioritized", "beta": {"type": "Scale", "factor": 1.0}}),
        ("sampler", {"type": "Prioritized", "beta": {"type": "linear", "start": 0.1}}),
        ("sampler", {"type": "Mixture", "parts": {"type": "pairs"}}),
        ("sampler", {"type": "Mixture", "parts": {"type": "pairs", "items": [[[{}], 1.0]]}}),
        ("sampler", {"type": "Mixture", "parts": {"type": "pairs", "items": [["x", 1.0]]}}),
        ("sampler", {"type": "Mixture", "parts": {"Uniform": 1.0}}),
        ("view", {"type": "NStep", "n": 3}),
        ("view", {"type": "NStep", "n": 3, "gamma": 0.9, "stack": {"obs": {"type": "Field"}}}),
        ("view", {"type": "NStep", "n": {1, 2}, "gamma": 0.9}),
        ("transforms", {"type": "Scale", "factor": 1.0}),
        ("transforms", [{"type": "Transform"}]),
        ("transforms", [{"type": "Scale", "factor": math.nan}]),
        ("transforms", [{"type": "Clip", "low": None}]),
        ("transforms", [[{"type": "Scale", "factor": 1.0}]]),
        ("store", {"type": "Directory", "path": "elsewhere"}),
        ("schema", {"type": "Field"}),
        ("schema", {"type": "Schema"}),
        ("schema", {"type": "Schema", "kind": "tables", "fields": {}}),
        ("schema", {"type": "Schema", "kind": [], "fields": {}}),
        ("schema", {"type": "Schema", "kind": "steps", "fields": {"x": {"type": "Field"}}}),
        ("schema", {"type": "Schema", "kind": "examples", "fields": {"_x": {"type": "Field"}}}),
        ("schema", {"type": "Schema", "kind": "examples", "fields": {"x": 3}}),
        (
            "schema",
            {
                "type": "Schema",
                "kind": "examples",
                "fields": {"x": {"type": "Field", "dtype": "O"}},
            },
        ),
        ("limiter", {"type": "ReplayRatio", "samples_per_insert": 0}),
        ("retention", {"type": "Balanced", "by": 3, "x": 4}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_describes_no_such_part_is_refused(kind: str, description: Any) -> None:
    with pytest.raises(rc.ConfigurationError, match=f"^{kind}"):
        build(description, kind)


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    for kind, description in (("sampler", {"type": "Recent", "window": deep}), ("schema", deep)):
        with pytest.raises(rc.ConfigurationError, match=f"^{kind}"):
            build(description, kind)


@hypothesis_settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_description_makes_a_part_or_an_error(data: st.DataObject) -> None:
    """One place of a good description is replaced by anything that JSON has."""
    kind = data.draw(st.sampled_from([k for k in ROOMS if k != "schedule"]))
    description = held(describe(of_kind(data.draw(st.sampled_from(PARTS[kind])), kind)))
    anything = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.floats(),
        st.sampled_from(["", "type", "inf", "Uniform", "NStep", "linear", "Chain", "max", "<f4"]),
        st.just([]),
        st.just({}),
        st.sampled_from([describe(part) for parts in PARTS.values() for part in parts]),
    )
    at = description
    while True:
        names = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not names:
            return
        name = data.draw(st.sampled_from(names))
        if not isinstance(at[name], (dict, list)) or not at[name] or data.draw(st.booleans()):
            break
        at = at[name]
    at[name] = data.draw(anything)
    try:
        made = build(description, kind)
    except rc.ConfigurationError:
        return
    assert describe(made) == description
