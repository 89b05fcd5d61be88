"""How `recollect info` says what a memory's folder holds, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from recollect.cli.compare import print_table

WIDTH = 80
MOST_STREAMS = 20
"""More of them are left to --json."""


def print_memory(told: Mapping[str, Any]) -> None:
    """Prints what `recollect.saving.summary` told."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(told["path"], style="bold")
    print_facts(console, facts(told))
    print()
    print_table(("field", "shape", "dtype", "bytes"), map(field, told["schema"]["fields"]))
    if "streams" in told:
        print()
        shown = told["streams"][:MOST_STREAMS]
        columns = ["stream", "steps", "episodes", "open", "last return", "last length"]
        if told["kind"] == "directory":
            columns.append("written by")
        print_table(columns, (stream(number, one) for number, one in enumerate(shown)))
        if more := len(told["streams"]) - len(shown):
            print(f"and {more} more streams; --json tells of all")


def facts(told: Mapping[str, Any]) -> dict[str, str]:
    """Each fact by its name."""
    steps = told["schema"]["kind"] == "steps"
    flushed = datetime.fromisoformat(told["flushed"])
    lines = {
        "kind": f"{told['kind']} of {told['schema']['kind']}, format {told['format']}",
        "flushed" if told["kind"] == "directory" else "saved": f"{flushed:%Y-%m-%d %H:%M:%S}",
    }
    if "learner" in told:
        lines["learner"] = process(told["learner"])
    for part in ("view", "sampler", "retention", "transforms", "limiter", "max_draws"):
        if told[part] not in (None, []):
            lines[part.replace("_", " ")] = setting(told[part])
    capacity = f"{told['capacity']:,} {'rows' if steps else 'examples'}"
    lines["capacity"] = capacity + (", grows as needed" if told["grows"] else "")
    held = f"{told['steps']:,} of {told['added']:,} that were added"
    if steps:
        lines["steps"] = f"{held}, in {told['rows']:,} rows"
        lines["episodes"] = f"{told['episodes']:,}"
        lines["returns"] = spread(told["returns"], "whole episodes", ",.2f")
        lines["lengths"] = spread(told["lengths"], "ended episodes")
        broken = sum(one["chain_breaks"] for one in told["streams"])
        dropped = sum(one["dropped"] for one in told["streams"])
        lines["refused"] = f"{dropped:,} steps, {broken:,} broken chains"
    else:
        lines["examples"] = held
        lines["refused"] = f"{told['dropped']:,} examples"
    lines["ages"] = spread(told["ages"], "rows")
    priorities = told["priorities"]
    lines["priorities"] = spread(priorities, f"rows ({priorities['of']:,} are held)", ".4g")
    if priorities["count"]:
        lines["priorities"] += f", {priorities['zero']:.1%} are 0"
    counters = told["counters"]
    lines["counters"] = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counters.items())
    lines["bytes"] = f"{size(told['bytes']['row'])} a row, {size(told['bytes']['disk'])} on disk"
    return {name: _wrapped(line, max(map(len, lines))) for name, line in lines.items()}


def spread(told: Mapping[str, Any], of: str, form: str = ",.1f") -> str:
    """What is told of some numbers: "mean 20.00, 9.00 to 51.00, of 25 whole episodes"."""
    if not told["count"]:
        return "none"
    low, mean, high = (format(told[name], form) for name in ("min", "mean", "max"))
    return f"mean {mean}, {low} to {high}, of {told['count']:,} {of}"


def field(told: Mapping[str, Any]) -> list[str]:
    """A line of the table of fields."""
    shape = " x ".join(map(str, told["shape"])) or "-"
    return [told["name"], shape, told["dtype"], f"{told['bytes']:,}"]


def stream(number: int, told: Mapping[str, Any]) -> list[str]:
    """A line of the table of streams."""
    last, length = told["last_return"], told["last_length"]
    writer = [process(told["writer"])] if "writer" in told else []
    return [
        f"{number}",
        f"{told['steps']:,}",
        f"{told['episodes']:,}",
        "yes" if told["open"] else "no",
        "-" if last is None else f"{last:,.2f}",
        "-" if length is None else f"{length:,}",
        *writer,
    ]


def process(told: Mapping[str, Any] | None) -> str:
    """Who holds something."""
    return f"process {told['pid']}" if told is not None and told["holds"] else "nobody"


def setting(described: Any) -> str:
    """What settings describe, as one would write it: "NStep(n=3, gamma=0.99)"."""
    if isinstance(described, list):
        return f"[{', '.join(map(setting, described))}]"
    if not isinstance(described, dict):
        return repr(described)
    kind = described.get("type")
    inside = {n: value for n, value in described.items() if n != "type" and value is not None}
    if kind == "number":
        return str(described["value"])
    if isinstance(kind, str):
        return f"{kind}({', '.join(f'{n}={setting(value)}' for n, value in inside.items())})"
    for what in ("function", "class"):
        if isinstance(described.get(what), str):
            return f"<{what} {described[what]}>"
    return f"{{{', '.join(f'{n!r}: {setting(value)}' for n, value in inside.items())}}}"


def print_facts(console: Console, lines: Mapping[str, str]) -> None:
    """A line for each fact, or several where its text has them."""
    width = max(map(len, lines))
    for name, fact in lines.items():
        first, *more = fact.split("\n")
        console.print(f"  {name:{width}}", style="dim", end="")
        console.print(f"  {first}")
        for line in more:
            console.print(f"  {'':{width}}  {line}")


def size(count: float) -> str:
    """Bytes as one says them: "842 B", "1.5 kB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _wrapped(line: str, indent: int) -> str:
    return "\n".join(textwrap.wrap(line, WIDTH - indent - 4, break_on_hyphens=False))
