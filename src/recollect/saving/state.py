"""What decides a memory's next batches, besides the rows: taken out of it, and put back.

Everything is copied while the memory's lock is held, so that it is of one moment: cursors,
counters, generators, and what samplers, retention, limits and transforms know. The cost is that of
copying it, a few bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recollect.errors import DamagedError
from recollect.examples import Examples
from recollect.reader import Reader
from recollect.settings import describe
from recollect.shared import Shared

COUNTS = ("added", "latest", "refused", "held")
"""What `Examples.state` has that is not of each slot."""

COUNTERS = ("sampled", "updated", "stale_updates")


class State(NamedTuple):
    """A header of plain values, and arrays by name."""

    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def part(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of one part, without its name."""
        start = f"{name}."
        return {n.removeprefix(start): a for n, a in self.arrays.items() if n.startswith(start)}


def capture(shared: Shared, *, rows: bool = True) -> State:
    """The state of a memory now. Its lock is held.

    Args:
        rows: of examples also what each slot holds; a directory has that in place.
    """
    meta: dict[str, Any] = {
        "seeds": _seeds(shared.seeds),
        "counters": {name: getattr(shared, name) for name in COUNTERS},
        "readers": {},
    }
    arrays: dict[str, NDArray[Any]] = {}

    def keep(part: str, state: Mapping[str, NDArray[Any]]) -> None:
        arrays.update({f"{part}.{name}": array for name, array in state.items()})

    if isinstance(shared.rows, Examples):
        meta["rng"] = _generator(shared.rows.rng)
        whole = shared.rows.state()
        keep("rows", whole if rows else {name: whole[name] for name in COUNTS})
        keep("retention", shared.retention.state())
    else:
        keep("rows", shared.rows.state())
    if shared.limit is not None:
        keep("limit", shared.limit.state())
    if shared.limiter is not None:
        keep("limiter", shared.limiter.state())
    for reader in shared.readers:
        part = f"reader-{reader.index}"
        meta["readers"][part] = {
            "view": describe(reader.view),
            "sampler": describe(reader.sampler),
            "transforms": describe(reader.transform.transforms),
            "where": describe(reader.where),
            "calls": reader.calls,
            "rng": _generator(reader.rng),
        }
        keep(part, reader.state())
    if isinstance(shared.saved_reader, _ReadersToCome):
        for part, saved, state in shared.saved_reader.waiting(shared):
            meta["readers"][part] = saved
            keep(part, state)
    return State(meta, arrays)


def restore(shared: Shared, state: State, *, rows: bool = True) -> None:
    """Goes on from a state, in a memory of the same schema, sizes and rows that was just made.

    Args:
        rows: what the rows are is taken from the state too, not from the store.
    """
    try:
        if rows:
            shared.rows.restore(state.part("rows"))
        _restore_common(shared, state)
        if isinstance(shared.rows, Examples):
            shared.retention.restore(state.part("retention"))
        shared.saved_reader = _ReadersToCome(state, shared.rows.version)
        for reader in shared.readers:
            shared.saved_reader(reader)
    except (KeyError, TypeError, IndexError) as error:
        raise DamagedError(f"state: it lacks something, or is damaged: {error!r}") from error


def restore_after_crash(shared: Shared, state: State) -> None:
    """Goes on with rows as they were found: generators and what was learned as of the state."""
    _restore_common(shared, state)
    for reader in shared.readers:
        saved = state.meta["readers"].get(f"reader-{reader.index}")
        if saved is not None:
            reader.rng, reader.calls = _made_generator(saved["rng"]), int(saved["calls"])
            if saved["transforms"] == describe(reader.transform.transforms):
                reader.transform.restore(
                    State({}, state.part(f"reader-{reader.index}")).part("transforms")
                )


def _restore_common(shared: Shared, state: State) -> None:
    meta = state.meta
    for name in COUNTERS:
        setattr(shared, name, int(meta["counters"][name]))
    seeds = meta["seeds"]
    shared.seeds = np.random.SeedSequence(
        seeds["entropy"],
        spawn_key=tuple(seeds["spawn_key"]),
        n_children_spawned=seeds["spawned"],
    )
    if isinstance(shared.rows, Examples):
        shared.rows.rng = _made_generator(meta["rng"])
    if shared.limit is not None and (limit := state.part("limit")):
        shared.limit.restore(limit)
    if shared.limiter is not None and (limiter := state.part("limiter")):
        shared.limiter.restore(limiter)


class _ReadersToCome:
    """Puts readers where the saved ones were: the first at once, others when they are made."""

    def __init__(self, state: State, version: int) -> None:
        self._state = state
        self._version = version

    def waiting(self, shared: Shared) -> Iterator[tuple[str, Any, dict[str, NDArray[Any]]]]:
        """Name, header and state of those that were not made yet, as far as these still hold."""
        for name, saved in self._state.meta["readers"].items():
            if int(name.removeprefix("reader-")) >= shared.made:
                if shared.rows.version == self._version:
                    yield name, saved, self._state.part(name)
                else:
                    # only the generator is of use; nothing is like what has no view
                    yield name, {**saved, "view": None}, {}

    def __call__(self, reader: Reader) -> None:
        """Restores a reader that was just made, if one like it was saved in its place."""
        name = f"reader-{reader.index}"
        saved = self._state.meta["readers"].get(name)
        if saved is None:
            return
        reader.rng, reader.calls = _made_generator(saved["rng"]), int(saved["calls"])
        same = all(
            saved[kind] == description
            for kind, description in (
                ("view", describe(reader.view)),
                ("sampler", describe(reader.sampler)),
                ("transforms", describe(reader.transform.transforms)),
                ("where", describe(reader.where)),
            )
        )
        # what others learned is of no use to another sampler, nor are places that changed since
        if same and reader.rows_version == self._version:
            reader.restore(self._state.part(name))


def _seeds(seeds: np.random.SeedSequence) -> dict[str, Any]:
    entropy: Any = seeds.entropy
    return {
        "entropy": [int(word) for word in entropy] if np.ndim(entropy) else int(entropy),
        "spawn_key": [int(word) for word in seeds.spawn_key],
        "spawned": seeds.n_children_spawned,
    }


def _generator(rng: np.random.Generator) -> dict[str, Any]:
    bits: Any = rng.bit_generator
    return {"seeds": _seeds(bits.seed_seq), "state": bits.state}


def _made_generator(saved: Mapping[str, Any]) -> np.random.Generator:
    seeds = saved["seeds"]
    rng = np.random.default_rng(
        np.random.SeedSequence(
            seeds["entropy"],
            spawn_key=tuple(seeds["spawn_key"]),
            n_children_spawned=seeds["spawned"],
        )
    )
    rng.bit_generator.state = saved["state"]
    return rng
