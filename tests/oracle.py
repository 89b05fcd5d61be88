"""A reference memory of plain Python lists: slow, obvious, and too simple to be wrong.

It knows nothing of the engine. `Steps` and `Examples` take the same rows as a memory does, one at a
time, and say which keys may be drawn under a `Look` and what each drawn row has to hold.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STREAM_SHIFT = 40  # a step's key is stream << 40 | number of its row in the stream
GENERATION_SHIFT = 32  # an example's key is generation << 32 | slot


@dataclass(frozen=True)
class Look:
    """How a reader looks at the rows. `n` None: a plain transition. `stack`: one depth for every
    leaf of `obs`, or depths by dotted path."""

    n: int | None = None
    gamma: float | None = None
    stack: int | Mapping[str, int] | None = None

    @property
    def steps(self) -> int:
        return self.n or 1

    def depth_of(self, leaf: str) -> int | None:
        """Frames stacked for this leaf (such as "obs.image"); None: the leaf is not stacked."""
        if self.stack is None or isinstance(self.stack, int):
            return self.stack
        for path, depth in self.stack.items():
            if leaf == path or leaf.startswith(path + "."):
                return depth
        return None

    @property
    def depth(self) -> int:
        if isinstance(self.stack, Mapping):
            return max(self.stack.values())
        return self.stack or 1


@dataclass(frozen=True)
class Windows:
    """A look at windows of steps, as `Sequence` gives them."""

    length: int
    burn_in: int = 0
    stride: int = 1
    pad: bool = True
    bootstrap: bool = False
    cross_episodes: bool = False
    n: int = 1
    gamma: float | None = None


@dataclass(frozen=True)
class Whole:
    """A look at whole episodes, as `Episodes` gives them."""

    max_length: int
    by: str = "episode"
    longer: str = "cut"
    bootstrap: bool = False
    gamma: float | None = None


@dataclass(frozen=True)
class Relabelled:
    """A look at finished episodes as if the last thing achieved had been the goal all along: an
    entry of obs that says both what is sought and what was achieved. `reward` of two such."""

    look: Look | Windows | Whole
    goal: str
    reward: Callable[[Any, Any], Any]


@dataclass
class Chosen:
    """A look at the finished episodes for which `wanted` was true when first asked. It must be
    asked for its examples whenever the reader that looks so is asked for anything."""

    look: Look | Windows | Whole | Relabelled
    wanted: Callable[[Any], bool]
    answers: dict[tuple[int, int], bool] = field(default_factory=dict)


AnyLook = Look | Windows | Whole | Relabelled | Chosen


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(flat name, leaf) of a nesting of mappings and tuples; names are joined by dots."""
    if isinstance(tree, (Mapping, tuple)):
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for name, branch in items:
            yield from leaves(branch, f"{path}.{name}" if path else str(name))
    else:
        yield path, tree


def same_bytes(one: Any, other: Any) -> bool:
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for (_, a), (_, b) in zip(leaves(one), leaves(other), strict=True)
    )


@dataclass
class Row:
    """A step, or (with `step` None) the row that holds what followed an episode's newest step."""

    number: int
    offset: int  # in its episode
    obs: Any
    step: dict[str, Any] | None = None
    born: int = 0
    removed: bool = False
    open: bool = False  # of a row without a step: the next step may take its place


@dataclass
class Ring:
    size: int
    rows: list[Row] = field(default_factory=list)  # oldest first
    number: int = 0  # that the next row takes
    added: int = 0

    @property
    def open(self) -> bool:
        return bool(self.rows) and self.rows[-1].open

    def close(self) -> None:
        self.rows[-1].open = False
        self.rows[-2].step["truncated"] = True
        self.number += 1

    def write(self, obs: Any, next_obs: Any, step: dict[str, Any]) -> int:
        offset = self.rows.pop().offset if self.open else 0
        number = self.number
        going_on = not (step["terminated"] or step["truncated"])
        self.rows.append(Row(number, offset, obs, step, self.added))
        self.added += 1
        self.rows.append(Row(number + 1, offset + 1, next_obs, open=going_on))
        self.number = number + 1 if going_on else number + 2
        del self.rows[: -self.size]
        return number

    def steps_left(self, i: int) -> int:
        """How many steps of its episode, row i included, are known."""
        left = 0
        while self.rows[i + left].step is not None:
            left += 1
        return left


class Steps:
    def __init__(self, size: int, streams: int = 1) -> None:
        self.rings = [Ring(size) for _ in range(streams)]
        self.added = self.chain_breaks = self.dropped = self.updated = self.stale_updates = 0

    def add(self, *, stream: int = 0, drop: bool = False, **fields: Any) -> int:
        """The step's key; -1 where it is dropped for a value that is not finite, which leaves a gap
        that no episode goes on over."""
        ring = self.rings[stream]
        if drop:
            self.dropped += 1
            self.cut(stream)
            return -1
        obs, next_obs = fields.pop("obs"), fields.pop("next_obs")
        if ring.open and not same_bytes(ring.rows[-1].obs, obs):
            self.cut(stream)
            self.chain_breaks += 1
        number = ring.write(obs, next_obs, fields)
        self.added += 1
        return stream << STREAM_SHIFT | number

    def cut(self, stream: int | None = None) -> int:
        rings = self.rings if stream is None else [self.rings[stream]]
        open_rings = [ring for ring in rings if ring.open]
        for ring in open_rings:
            ring.close()
        return len(open_rings)

    def clear(self) -> None:
        for ring in self.rings:
            ring.rows.clear()

    def resize(self, size: int) -> None:
        for ring in self.rings:
            ring.size = size
            del ring.rows[:-size]

    def find(self, key: int) -> Row | None:
        for stream, ring in enumerate(self.rings):
            for row in ring.rows:
                if row.step is not None and stream << STREAM_SHIFT | row.number == key:
                    return None if row.removed else row
        return None

    def remove(self, keys: list[int]) -> int:
        live = 0
        for key in keys:
            row = self.find(key)
            if row is not None:
                row.removed = True
                live += 1
        return live

    def update(self, keys: list[int], **extras: Any) -> int:
        """`extras`: one value for each key; where a key comes twice, the last one stays."""
        live = 0
        for i, key in enumerate(keys):
            row = self.find(key)
            if row is not None:
                row.step.update({name: values[i] for name, values in extras.items()})
                live += 1
        self.updated += live
        self.stale_updates += len(keys) - live
        return live

    def __len__(self) -> int:
        return sum(row.step is not None for ring in self.rings for row in ring.rows)

    def examples(self, look: AnyLook) -> dict[int, dict[str, Any]]:
        """What each drawable row must hold, by key."""
        if isinstance(look, Relabelled):
            return self._relabelled(look)
        if isinstance(look, Chosen):
            return self._chosen(look)
        found = {}
        for stream, ring in enumerate(self.rings):
            for i, row in enumerate(ring.rows):
                if row.step is None or row.removed:
                    continue
                example = None
                if not isinstance(look, Look):
                    window = (_window if isinstance(look, Windows) else _whole)(ring, i, look)
                    if window is not None:
                        example = _padded(ring, stream << STREAM_SHIFT, window, look)
                elif _eligible(ring, i, look):
                    example = _example(ring, i, look)
                if example is not None:
                    found[stream << STREAM_SHIFT | row.number] = example
        return found

    def eligible(self, look: AnyLook) -> set[int]:
        return set(self.examples(look))

    def example(self, key: int, look: AnyLook) -> dict[str, Any]:
        return self.examples(look)[key]

    def episodes(self) -> list[Episode]:
        """Those of which a step is held, stream by stream, oldest first."""
        found = []
        for stream, ring in enumerate(self.rings):
            first = 0
            for i, row in enumerate(ring.rows):
                if row.step is None:
                    if first < i:
                        found.append(Episode(stream, ring.rows[first : i + 1]))
                    first = i + 1
        return found

    def _finished(self) -> dict[int, Episode]:
        """The finished episode that each step belongs to, by key."""
        return {
            int(key): episode
            for episode in self.episodes()
            if episode.ended
            for key in episode.keys
        }

    def _relabelled(self, look: Relabelled) -> dict[int, dict[str, Any]]:
        other = copy.deepcopy(self)
        for episode in other.episodes():
            final = episode.rows[-1].obs[look.goal]
            for row, later in zip(episode.rows, episode.rows[1:], strict=False):
                row.step["reward"] = look.reward(later.obs[look.goal], final)
            for row in episode.rows:
                row.obs = row.obs | {look.goal: final}
        examples, finished = other.examples(look.look), self._finished()
        return {key: example for key, example in examples.items() if key in finished}

    def _chosen(self, look: Chosen) -> dict[int, dict[str, Any]]:
        examples, finished = self.examples(look.look), self._finished()
        found = {}
        for key, example in examples.items():
            episode = finished.get(key)
            if episode is None:
                continue
            last = episode.rows[-2].number
            if isinstance(look.look, Windows) and look.look.cross_episodes:
                # such a reader is late: it sees an end when the last step's window is whole
                rows = self.rings[episode.stream].rows
                following = [row for row in rows if row.step is not None and row.number >= last]
                if len(following) < look.look.length:
                    continue
            which = episode.stream, last
            if which not in look.answers:
                look.answers[which] = look.wanted(episode)
            if look.answers[which]:
                found[key] = example
        return found

    def stats(self) -> dict[str, float]:
        held = [(ring, row) for ring in self.rings for row in ring.rows if row.step is not None]
        return {
            "rows": sum(len(ring.rows) for ring in self.rings),
            "steps": len(held),
            "episodes": sum(
                row.step is not None and (i == 0 or ring.rows[i - 1].step is None)
                for ring in self.rings
                for i, row in enumerate(ring.rows)
            ),
            "added": self.added,
            "updated": self.updated,
            "stale_updates": self.stale_updates,
            "chain_breaks": self.chain_breaks,
            "dropped": self.dropped,
            # in steps of the row's own stream
            "mean_age": sum(ring.added - 1 - row.born for ring, row in held) / max(len(held), 1),
        }


class Episode:
    """What is held of one, and what `memory.episodes` says of it."""

    def __init__(self, stream: int, rows: list[Row]) -> None:
        *steps, last = self.rows = rows
        self.stream, self.held, self.length = stream, len(steps), last.offset
        self.ended = not last.open
        self.terminated = bool(steps[-1].step["terminated"])
        self.truncated = bool(steps[-1].step["truncated"])
        self.end = "terminated" if self.terminated else "truncated" if self.truncated else "open"
        self.episode_return = sum(np.asarray(row.step["reward"], np.float64) for row in steps)
        self.keys = [stream << STREAM_SHIFT | row.number for row in steps]

    def __getitem__(self, name: str) -> Any:
        assert name not in ("obs", "next_obs")
        return np.stack([row.step[name] for row in self.rows[:-1]])


def _eligible(ring: Ring, i: int, look: Look) -> bool:
    row = ring.rows[i]
    left = ring.steps_left(i)
    episode_open = ring.rows[i + left].open
    history_held = i >= min(row.offset, look.depth - 1)
    return history_held and (left >= look.steps or not episode_open)


def _example(ring: Ring, i: int, look: Look) -> dict[str, Any]:
    steps = min(look.steps, ring.steps_left(i))
    window = [row.step for row in ring.rows[i : i + steps]]
    gamma = 1.0 if look.gamma is None else look.gamma
    terminated, truncated = bool(window[-1]["terminated"]), bool(window[-1]["truncated"])
    example = dict(window[0])
    example["obs"] = _observation(ring, i, look)
    example["next_obs"] = _observation(ring, i + steps, look)
    example["reward"] = sum(
        gamma**k * np.asarray(step["reward"], np.float64) for k, step in enumerate(window)
    )
    example["steps"] = steps
    example["terminated"], example["truncated"] = terminated, truncated
    if look.gamma is not None:
        example["discount"] = 0.0 if terminated else gamma**steps
    return {name: leaf for top in example for name, leaf in leaves(example[top], top)}


def _observation(ring: Ring, i: int, look: Look) -> Any:
    def frames(name: str) -> Any:
        depth = look.depth_of(name)
        if depth is None:
            return dict(leaves(ring.rows[i].obs, "obs"))[name]
        offsets = [min(back, ring.rows[i].offset) for back in range(depth - 1, -1, -1)]
        return np.stack([dict(leaves(ring.rows[i - back].obs, "obs"))[name] for back in offsets])

    def build(tree: Any, path: str) -> Any:
        if isinstance(tree, Mapping):
            return {name: build(branch, f"{path}.{name}") for name, branch in tree.items()}
        if isinstance(tree, tuple):
            return tuple(build(branch, f"{path}.{k}") for k, branch in enumerate(tree))
        return frames(path)

    return build(ring.rows[i].obs, "obs")


def _window(ring: Ring, i: int, look: Windows) -> list[int] | None:
    """Which rows are the steps of the window that starts at row i, if one does."""
    if ring.rows[i].offset % look.stride:
        return None
    left = ring.steps_left(i)
    if look.cross_episodes:
        following = [j for j in range(i, len(ring.rows)) if ring.rows[j].step is not None]
    else:
        following = list(range(i, i + left))
    window = following[: look.length]
    if len(window) == look.length:
        return window
    ended = not ring.rows[i + left].open
    shorter = look.pad and not look.cross_episodes and ended and len(window) > look.burn_in
    return window if shorter else None


def _whole(ring: Ring, i: int, look: Whole) -> list[int] | None:
    """Which rows are the steps of the episode that row i brings, if it may be drawn."""
    offset = ring.rows[i].offset
    length = offset + ring.steps_left(i)
    begin = i - offset
    if begin < 0 or ring.rows[begin + length].open:
        return None
    if offset >= (1 if look.by == "episode" else look.max_length):
        return None
    if look.longer == "skip" and length > look.max_length:
        return None
    return list(range(begin, begin + min(length, look.max_length)))


def _padded(ring: Ring, base: int, window: list[int], look: Windows | Whole) -> dict[str, Any]:
    length = look.length if isinstance(look, Windows) else look.max_length
    rows = [ring.rows[j] for j in window]
    observed = [*window, window[-1] + 1] if look.bootstrap else window

    def padded(values: list[Any], size: int = length) -> np.ndarray:
        values = [np.asarray(value) for value in values]
        return np.stack(values + [np.zeros_like(values[0])] * (size - len(values)))

    example: dict[str, Any] = {}
    for name, _ in leaves(rows[0].obs, "obs"):
        values = [dict(leaves(ring.rows[j].obs, "obs"))[name] for j in observed]
        example[name] = padded(values, length + look.bootstrap)
    for field_name in rows[0].step:
        for name, _ in leaves(rows[0].step[field_name], field_name):
            values = [dict(leaves(row.step[field_name], field_name))[name] for row in rows]
            example[name] = padded(values)
    example["mask"] = padded([True] * len(rows))
    example["first"] = padded([row.offset == 0 for row in rows])
    example["row_key"] = padded([base + row.number for row in rows])
    example["row_key"][len(rows) :] = -1
    if isinstance(look, Whole):
        example["length"] = len(rows)
    if look.gamma is not None:
        terminated = [bool(row.step["terminated"]) for row in rows]
        if isinstance(look, Windows) and look.n > 1:
            returns = [_return(ring, window, observed, t, look) for t in range(len(window))]
            for name, values in zip(
                ("reward", "steps", "discount"), zip(*returns, strict=True), strict=True
            ):
                example[name] = padded(list(values))
        else:
            example["discount"] = padded([0.0 if end else look.gamma for end in terminated])
    return example


def _return(
    ring: Ring, window: list[int], observed: list[int], t: int, look: Windows
) -> tuple[Any, int, float]:
    """(reward, steps, discount) of step t: the longest return whose target the batch can make."""
    for steps in range(min(look.n, len(window) - t), 0, -1):
        rows = [ring.rows[j].step for j in window[t : t + steps]]
        if any(row["terminated"] or row["truncated"] for row in rows[:-1]):
            continue
        if (
            rows[-1]["terminated"]
            or window[t + steps - 1] + 1 in observed[t + steps : t + steps + 1]
        ):
            total = sum(look.gamma**k * np.asarray(row["reward"]) for k, row in enumerate(rows))
            return total, steps, 0.0 if rows[-1]["terminated"] else look.gamma**steps
    return np.zeros_like(ring.rows[window[t]].step["reward"]), 0, 1.0


class Examples:
    """Independent examples, first in, first out. The slot the engine chose is read off its key."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.slots: dict[int, tuple[int, dict[str, Any]]] = {}  # slot: key and fields, oldest first
        self.keys: set[int] = set()
        self.added = self.updated = self.stale_updates = 0

    def extend(self, keys: list[int], examples: list[dict[str, Any]]) -> None:
        """Of more than fit at once only the newest are kept; the others have -1 for a key."""
        overflow = max(0, len(keys) - self.capacity)
        assert keys[:overflow] == [-1] * overflow
        kept = keys[overflow:]
        assert min(kept) >= 0
        assert not self.keys.intersection(kept), "a key came twice"
        slots = [key & (1 << GENERATION_SHIFT) - 1 for key in kept]
        assert max(slots) < self.capacity
        assert len(set(slots)) == len(slots)
        room = [slot for slot in self.slots if slot in slots]
        assert room == list(self.slots)[: len(room)], "a newer example made room, not the oldest"
        for slot in room:
            del self.slots[slot]
        for slot, key, fields in zip(slots, kept, examples[overflow:], strict=True):
            self.slots[slot] = key, dict(fields)
        self.keys.update(kept)
        self.added += len(keys)

    def find(self, key: int) -> dict[str, Any] | None:
        held, fields = self.slots.get(key & (1 << GENERATION_SHIFT) - 1, (None, None))
        return fields if held == key else None

    def update(self, keys: list[int], **columns: Any) -> int:
        live = 0
        for i, key in enumerate(keys):
            fields = self.find(key)
            if fields is not None:
                fields.update({name: values[i] for name, values in columns.items()})
                live += 1
        self.updated += live
        self.stale_updates += len(keys) - live
        return live

    def remove(self, keys: list[int]) -> int:
        live = 0
        for key in keys:
            if self.find(key) is not None:
                del self.slots[key & (1 << GENERATION_SHIFT) - 1]
                live += 1
        return live

    def clear(self) -> None:
        self.slots.clear()

    def __len__(self) -> int:
        return len(self.slots)

    def examples(self) -> dict[int, dict[str, Any]]:
        return {key: dict(leaves(fields)) for key, fields in self.slots.values()}


def chi_square_tail(counts: np.ndarray, expected: np.ndarray) -> float:
    """The chance that counts drawn from the expected ones lie at least as far from them."""
    counts, expected = np.asarray(counts, np.float64), np.asarray(expected, np.float64)
    assert counts.shape == expected.shape
    assert expected.min() >= 5
    assert math.isclose(counts.sum(), expected.sum())
    half = float(np.sum((counts - expected) ** 2 / expected)) / 2
    freedom = counts.size - 1
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    for k in range(freedom % 2, freedom, 2):
        log_term = (k / 2) * math.log(half) - half - math.lgamma(k / 2 + 1) if half else -math.inf
        tail += math.exp(log_term) if half or k else 1.0
    return tail
