"""Random lives of a sampler, beside a plain list of who should be a member of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from recollect.samplers.base import Sampler


@dataclass
class Moment:
    """What just happened; one of the first three, or nothing."""

    entered: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    moved: dict[int, int] = field(default_factory=dict)
    members: list[int] = field(default_factory=list)
    """Oldest first, after that."""


def live(data: st.DataObject, sampler: Sampler, largest: int = 9) -> Iterator[Moment]:
    """Opens the sampler, lets rows come and go and the memory change size, a moment at a time."""
    capacity = data.draw(st.integers(1, largest), "capacity")
    sampler.open(capacity)
    members: list[int] = []
    for _ in range(data.draw(st.integers(1, 30), "moments")):
        moment = Moment()
        kind = data.draw(st.sampled_from(["enter", "enter", "leave", "nothing", "resize"]))
        if kind == "enter":
            free = sorted(set(range(capacity)) - set(members))
            moment.entered = data.draw(st.permutations(free))[: data.draw(st.integers(0, 3))]
            sampler.enter(np.array(moment.entered, np.int64))
            members += moment.entered
        elif kind == "leave":
            moment.left = data.draw(st.permutations(members))[: data.draw(st.integers(0, 3))]
            sampler.leave(np.array(moment.left, np.int64))
            members = [slot for slot in members if slot not in moment.left]
        elif kind == "resize":
            size = data.draw(st.integers(max(1, len(members)), largest + 3))
            targets = data.draw(st.permutations(range(size)))
            moment.moved = dict(zip(members, targets, strict=False))
            place = np.full(capacity, -1, np.int64)
            place[members] = targets[: len(members)]
            capacity = size
            sampler.resize(capacity, place)
            members = [moment.moved[slot] for slot in members]
        moment.members = list(members)
        assert len(sampler) == len(members)
        yield moment
