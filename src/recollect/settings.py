"""Settings as JSON and back: what a file says of views, samplers and all else that can be chosen.

    describe(rc.NStep(3, gamma=0.99))  # {"type": "NStep", "n": 3, "gamma": 0.99, "stack": None}
    build(description, "view")         # such a view again

A part keeps each argument of its constructor under the argument's name, and need not be known here.
What a file cannot hold, a function or an object of somebody else's class, leaves its name there.

The hard thing is trust, as files may be damaged, or meant to harm. Only public classes of recollect
are made, only where they belong, only by constructors, which check what they are given; and what is
made must have kept exactly that. Everything else raises `ConfigurationError`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from recollect.errors import ConfigurationError
from recollect.schema import Field, Schema

ROOMS = {
    "schema": "recollect.schema",
    "view": "recollect.views",
    "sampler": "recollect.samplers",
    "retention": "recollect.retention",
    "transforms": "recollect.transforms",
    "store": "recollect.stores",
    "limiter": "recollect.limits",
    "schedule": "recollect.schedules",
}
"""The kinds of parts, and the modules that these are found in."""

NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""JSON has no such numbers."""


def describe(part: Any) -> Any:
    """A part, a list of parts or a setting as what JSON can hold: dict, list, str, number, None."""
    if part is None or isinstance(part, (bool, str)):
        return part
    if isinstance(part, np.generic):
        return describe(part.item())
    if isinstance(part, np.dtype):
        return part.str
    if isinstance(part, int):
        return int(part)
    if isinstance(part, float):
        number = float(part)
        return number if math.isfinite(number) else {"type": "number", "value": repr(number)}
    name = type(part).__name__
    if _classes().get(name) is type(part):
        return {"type": name} | {
            each: describe(getattr(part, each)) for each in _settings(type(part))
        }
    if isinstance(part, (list, tuple)):
        return [describe(item) for item in part]
    if isinstance(part, Mapping):
        if all(isinstance(key, str) for key in part):
            return {key: describe(value) for key, value in part.items()}
        return {"type": "pairs", "items": [describe(pair) for pair in part.items()]}
    if inspect.isroutine(part):
        return {"function": part.__qualname__}
    return {"class": name}


def build(description: Any, kind: str, given: Mapping[str, Any] | None = None) -> Any:
    """The part that was described; of "transforms" a list of them.

    Args:
        description: what `describe` returned, maybe by way of a file.
        kind: one of `ROOMS`, as errors name it.
        given: what a file cannot hold, in place of what the description says: a whole part by its
            kind, {"view": rc.Hindsight(...)}, or what is deep in it by its dotted path,
            {"view.reward": function, "transforms.0": function}.

    Raises:
        ConfigurationError: something cannot be held in a file and was not given; or the description
            is none of such a part.
    """
    builder = _Builder(kind, given or {})
    try:
        if kind == "transforms" and kind not in builder.given:
            if not isinstance(description, list):
                raise builder.unlike(kind, "a list", description)
            return [builder.part(each, f"{kind}.{i}") for i, each in enumerate(description)]
        return builder.part(description, kind)
    except RecursionError:
        raise ConfigurationError(f"{kind}: its description is nested too deeply") from None


def differences(one: Any, other: Any, path: str) -> list[str]:
    """The dotted paths at which two descriptions differ; none where they say the same.

    Args:
        path: of both, such as "schema".
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            different
            for name in one | other
            for different in (
                differences(one[name], other[name], f"{path}.{name}")
                if name in one and name in other
                else [f"{path}.{name}"]
            )
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            different
            for place, pair in enumerate(zip(one, other, strict=True))
            for different in differences(*pair, f"{path}.{place}")
        ]
    return [] if one == other and isinstance(one, bool) == isinstance(other, bool) else [path]


class _Builder:
    """Makes a part of one kind, and what is in it."""

    def __init__(self, kind: str, given: Mapping[str, Any]) -> None:
        self.kind = kind
        self.given = given
        inside = [
            one for one in _classes().values() if _is_in(one, kind) or _is_in(one, "schedule")
        ]
        self.inner = {one.__name__: one for one in inside}
        """What may stand in such a part: others of its kind, and schedules."""
        self.classes = [one.__name__ for one in inside if _is_in(one, kind) and one is not Field]

    def part(self, description: Any, path: str) -> Any:
        """What stands for itself, and is not a setting of another part."""
        if path in self.given:
            return self.given[path]
        known = ", ".join(self.classes)
        if not isinstance(description, dict):
            raise self.unlike(path, f"one of {known}", description)
        if isinstance(name := description.get("type"), str) and name not in self.classes:
            raise self.unlike(path, f"one of {known}", name)
        made = self.value(description, path, "")
        if isinstance(made, dict):
            raise self.unlike(path, f"one of {known}", description)
        return made

    def value(self, description: Any, path: str, owner: str) -> Any:
        """A setting of the `owner`, a class by name."""
        if path in self.given:
            return self.given[path]
        finite = not isinstance(description, float) or math.isfinite(description)
        if description is None or (isinstance(description, (bool, int, float, str)) and finite):
            return description
        if isinstance(description, list):
            return tuple(self.value(d, f"{path}.{i}", owner) for i, d in enumerate(description))
        if not isinstance(description, dict):
            raise self.unlike(path, "what JSON can hold", description)
        for mark in ("function", "class"):
            if isinstance(description.get(mark), str):
                raise self.missing(mark, description[mark], path, owner)
        kind = description.get("type")
        if not isinstance(kind, str):
            return {n: self.value(d, f"{path}.{n}", owner) for n, d in description.items()}
        if kind == "number" and isinstance(value := description.get("value"), str):
            if value in NOT_FINITE:
                return NOT_FINITE[value]
            raise self.unlike(path, f"one of {', '.join(NOT_FINITE)}", value)
        if kind == "pairs":
            return self.pairs(description.get("items"), path, owner)
        if kind not in self.inner:
            raise self.unlike(path, f"one of {', '.join(self.inner)}", kind)
        return self.made(self.inner[kind], description, path)

    def pairs(self, items: Any, path: str, owner: str) -> dict[Any, Any]:
        pairs = self.value(items, path, owner)
        try:
            return dict(pairs)
        except (TypeError, ValueError) as error:
            raise self.unlike(path, "pairs", items) from error

    def made(self, kind: type, description: dict[str, Any], path: str) -> Any:
        arguments = {
            name: self.value(setting, f"{path}.{name}", kind.__name__)
            for name, setting in description.items()
            if name != "type"
        }
        if unknown := arguments.keys() - _settings(kind):
            raise self.unlike(path, f"settings of {kind.__name__}", ", ".join(sorted(unknown)))
        try:
            made = _schema(**arguments) if kind is Schema else kind(**arguments)
            kept = {name: describe(getattr(made, name)) for name in arguments}
        except RecursionError:
            raise
        except Exception as error:
            # whatever a constructor makes of what it was not written for
            raise ConfigurationError(f"{path}: no {kind.__name__} can be made: {error}") from error
        for name, now in kept.items():
            if now != describe(arguments[name]):
                raise self.unlike(f"{path}.{name}", repr(now), arguments[name])
        return made

    def missing(self, mark: str, name: str, path: str, owner: str) -> ConfigurationError:
        what = f"a function ({name})" if mark == "function" else f"an object of the class {name}"
        *inside, setting = path.split(".")
        again = "[...]" if self.kind == "transforms" else "..."
        if owner and inside == [self.kind]:
            path, again = f"{self.kind}: {owner}'s {setting}", f"{owner}(..., {setting}=...)"
        return ConfigurationError(
            f"{path} is {what}, which a file cannot hold: pass {self.kind}={again}"
        )

    def unlike(self, path: str, expected: str, got: Any) -> ConfigurationError:
        shown = repr(got)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
        return ConfigurationError(f"{path}: its description: expected {expected}, got {shown}")


def _schema(kind: str, fields: dict[str, Any]) -> Schema:
    """By the functions that check names, as the constructor does not."""
    makers: dict[str, Callable[..., Schema]]
    makers = {"steps": Schema.steps, "examples": Schema.examples}
    return makers[kind](**fields)


def _settings(kind: type) -> list[str]:
    """The names of the arguments of a class's constructor."""
    return list(inspect.signature(kind).parameters)


def _is_in(kind: type, room: str) -> bool:
    return f"{kind.__module__}.".startswith(f"{ROOMS[room]}.")


@cache
def _classes() -> dict[str, type]:
    """The public classes of parts, by name, but those that would read or write where they say."""
    import recollect

    public = {name: vars(recollect).get(name) for name in recollect.__all__}
    return {
        name: kind
        for name, kind in public.items()
        if isinstance(kind, type)
        and any(_is_in(kind, room) for room in ROOMS)
        and "path" not in _settings(kind)
    }
