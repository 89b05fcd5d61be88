"""Random lives of a memory of steps beside the oracle, and trajectories written as text."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

import recollect as rc
from oracle import STREAM_SHIFT, AnyLook, Chosen, Look, Relabelled, Steps, Whole, Windows, leaves
from recollect.views.episodes import Episodes
from recollect.views.hindsight import Hindsight
from recollect.views.sequence import Sequence
from selfproving import ends, fields, length, observe, schema, stacked
from selfproving import reward as known_reward
from selfproving import view as view_of_steps


def view(look: AnyLook) -> Any:
    """The engine's view that looks as the oracle does."""
    if isinstance(look, Chosen):
        return view(look.look)
    if isinstance(look, Look):
        return view_of_steps(look)
    if isinstance(look, Relabelled):

        def reward(achieved: Any, desired: Any, info: Any) -> Any:
            return np.array([look.reward(*each) for each in zip(achieved, desired, strict=True)])

        inner = view(look.look)
        return Hindsight(inner, look.goal, look.goal, reward=reward, strategy="final", ratio=1)
    make = Sequence if isinstance(look, Windows) else Episodes
    return make(**dataclasses.asdict(look))


def reader(memory: Any, look: AnyLook) -> Any:
    """A reader of all that it can draw, oldest first. It asks about no episode twice."""
    where = None
    if isinstance(look, Chosen):
        asked = set()

        def where(episode: Any) -> bool:
            which = episode.stream, int(episode.keys[-1])
            assert which not in asked
            asked.add(which)
            assert episode.ended
            return bool(look.wanted(episode))

    return memory.reader(view=view(look), sampler=rc.Oldest(), where=where)


def all_of(reader: Any) -> dict[int, dict[str, Any]]:
    """Each example of a reader with `Oldest`, by key: its values by flat name."""
    eligible = reader.eligible
    if not eligible:
        return {}
    batch = reader.sample(eligible)
    columns = dict(leaves(batch))
    assert len(set(batch.key.tolist())) == eligible
    for name, column in columns.items():
        assert column.flags.c_contiguous, name
    return {
        int(key): {name: column[i] for name, column in columns.items()}
        for i, key in enumerate(batch.key)
    }


def agree(found: dict[int, dict[str, Any]], expected: dict[int, dict[str, Any]]) -> None:
    """Asserts that a reader's examples, by key, are what the oracle expects."""
    assert found.keys() == expected.keys()
    if not expected:
        return
    names = next(iter(expected.values())).keys()
    for row in found.values():
        assert row.keys() == names | {"key", "weight", "probability"}
    for name in names:
        # all rows at once: one comparison costs far more than one row
        got = np.stack([found[key][name] for key in expected])
        wanted = np.stack([row[name] for row in expected.values()])
        assert got.shape == wanted.shape, name
        if name in ("reward", "discount"):
            np.testing.assert_allclose(got, wanted, 1e-5, 1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=name)


def prove(batch: rc.Batch, kind: str, look: Windows | Whole) -> None:
    """Asserts that each window of a batch from known worlds is what its first action says."""
    mask = batch.mask
    stream, episode, step = at(batch.action)
    last = step + 1 == length(stream, episode)
    terminated, truncated = ends(stream, episode)
    np.testing.assert_array_equal(batch.terminated, last & terminated & mask)
    np.testing.assert_array_equal(batch.truncated, last & truncated & mask)
    np.testing.assert_array_equal(batch.first, (step == 0) & mask)
    np.testing.assert_array_equal(
        batch.reward, np.where(mask, known_reward(stream, episode, step), 0)
    )
    np.testing.assert_array_equal(batch.row_key[mask] >> STREAM_SHIFT, stream[mask])
    assert (batch.row_key[~mask] == -1).all()
    # each step follows the one before, in its episode or as the next one's first
    before, after = slice(None, -1), slice(1, None)
    both = mask[:, after]
    assert (mask[:, before] | ~both).all()
    begins = np.where(last[:, before], episode[:, before] + 1, episode[:, before])
    np.testing.assert_array_equal(stream[:, after][both], stream[:, before][both])
    np.testing.assert_array_equal(episode[:, after][both], begins[both])
    goes_on = np.where(last[:, before], 0, step[:, before] + 1)
    np.testing.assert_array_equal(step[:, after][both], goes_on[both])
    if isinstance(look, Whole) or not look.cross_episodes:
        assert not (last[:, before] & both).any()
    count = mask.sum(axis=1)
    final = (np.arange(len(mask)), count - 1)
    for path, leaf in leaves(batch.obs, "obs"):
        shown = dict(leaves(observe(kind, stream, episode, step), "obs"))[path]
        steps = leaf[:, : mask.shape[1]]
        np.testing.assert_array_equal(steps[mask], shown[mask])
        if look.bootstrap:
            successor = observe(kind, stream[final], episode[final], step[final] + 1)
            expected = dict(leaves(successor, "obs"))[path]
            np.testing.assert_array_equal(leaf[np.arange(len(mask)), count], expected)


def at(code: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(stream, episode, step) of an action of a known world."""
    return code >> 40, code >> 20 & (1 << 20) - 1, code & (1 << 20) - 1


def parse(trajectory: str) -> list[tuple[int, str]]:
    return [(int(episode[:-1]), episode[-1]) for episode in trajectory.split()]


def reward(episode: int, t: int) -> float:
    return 2.0 ** min(t, 20) + 100 * episode


def step(episode: int, t: int, end: str = "") -> dict[str, Any]:
    return {
        "obs": np.array([episode, t]),
        "action": 1000 * episode + t,
        "reward": reward(episode, t),
        "next_obs": np.array([episode, t + 1]),
        "terminated": end in ("T", "B"),
        "truncated": end in ("U", "B"),
    }


def play(trajectory: str, memory: Any, first: int = 0, **chosen: Any) -> None:
    """Adds "3T 2U 1B 4C 2X 3.": so many steps, then how they end: T terminated, U truncated, B
    both, C `memory.cut`, X a reset that nobody told the memory of, "." still going on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
        for episode, (length, end) in enumerate(parse(trajectory), start=first):
            for t in range(length):
                memory.add(**chosen, **step(episode, t, end if t + 1 == length else ""))
            if end == "C":
                memory.cut(*chosen.values())


def small_schema(**extras: Any) -> rc.Schema:
    return rc.Schema.steps(obs=rc.Field((2,), np.int64), action=rc.Field((), np.int64), **extras)


class Life:
    """A memory with an `Oldest` reader for each look, and the oracle beside it.

    Episodes are 1 to `longest` steps long and end in every way there is; steps come one by one, in
    runs that may be longer than the ring, or to all streams at once; now and then rows are removed,
    rewritten, cleared or moved to a ring of another size.
    """

    def __init__(
        self, seed: int, looks: list[Any], kind: str, streams: int | None, size: int, longest: int
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind, self.streams, self.width = kind, streams, streams or 1
        self.longest, self.size, self.first_size = longest, size, size
        self.memory = rc.Memory(
            schema(kind, state=rc.Field((2,), np.float32)),
            size * self.width,
            streams=streams,
            seed=seed,
        )
        self.looks = looks
        self.readers = [reader(self.memory, look) for look in looks]
        self.oracle = Steps(size, self.width)
        self.at = [[0, 0] for _ in range(self.width)]
        self.plan = [self._plan() for _ in range(self.width)]
        self.keys = [0]
        self.seen = 0

    def _plan(self) -> tuple[int, str]:
        return int(self.rng.integers(1, self.longest + 1)), str(self.rng.choice(list("TUBCX")))

    def _next(self, stream: int) -> tuple[dict[str, Any], str]:
        """The stream's next step, and how its episode ends with it, if it does."""
        at, (length, end) = self.at[stream], self.plan[stream]
        last = at[1] + 1 == length
        taken = fields(
            self.kind,
            (stream, *at),
            terminated=last and end in "TB",
            truncated=last and end in "UB",
            state=self.rng.random(2).astype(np.float32),
        )
        at[:] = (at[0] + 1, 0) if last else (at[0], at[1] + 1)
        if last:
            self.plan[stream] = self._plan()
        return taken, end if last else ""

    def _expect(self, stream: int, taken: dict[str, Any]) -> None:
        self.keys.append(self.oracle.add(stream=stream, **taken))

    def add(self) -> None:
        pairs = [self._next(stream) for stream in range(self.width)]
        taken = [pair[0] for pair in pairs]
        self.memory.add(**(taken[0] if self.streams is None else stacked(taken)))
        for stream, (one, end) in enumerate(pairs):
            self._expect(stream, one)
            if end == "C":
                self.memory.cut(None if self.streams is None else stream)
                self.oracle.cut(stream)

    def extend(self, most: int) -> None:
        stream = int(self.rng.integers(self.width))
        run = []
        end = ""
        for _ in range(int(self.rng.integers(1, most + 1))):
            one, end = self._next(stream)
            run.append(one)
            if end == "C":
                break
        chosen = {} if self.streams is None else {"stream": stream}
        self.memory.extend(**chosen, **stacked(run))
        for one in run:
            self._expect(stream, one)
        if end == "C":
            self.memory.cut(chosen.get("stream"))
            self.oracle.cut(stream)

    def remove(self) -> None:
        keys = self.rng.choice(self.keys[-2 * self.size :], 3).tolist()
        assert self.memory.remove(np.array(keys)) == self.oracle.remove(keys)

    def update(self) -> None:
        keys = self.rng.choice(self.keys[-2 * self.size :], 3).tolist()
        state = self.rng.random((3, 2)).astype(np.float32)
        assert self.memory.update(np.array(keys), state=state) == self.oracle.update(
            keys, state=list(state)
        )

    def clear(self) -> None:
        self.memory.clear()
        self.oracle.clear()
        for stream, at in enumerate(self.at):
            at[:] = (at[0] + 1, 0) if at[1] else at
            # only that keys are never used twice is promised, not which number comes next
            one, end = self._next(stream)
            chosen = {} if self.streams is None else {"stream": stream}
            key = self.memory.add(**chosen, **one)
            self.oracle.rings[stream].number = key & (1 << STREAM_SHIFT) - 1
            self._expect(stream, one)
            if end == "C":
                self.memory.cut(chosen.get("stream"))
                self.oracle.cut(stream)

    def resize(self) -> None:
        # all readers look once more before rows are dropped
        for one, look in zip(self.readers, self.looks, strict=True):
            self.compare(one, look)
        self.size = int(self.rng.integers(2, 2 * self.first_size + 3))
        self.memory.resize(self.size * self.width)
        self.oracle.resize(self.size)

    def live(self, moves: int) -> None:
        rare = [self.remove, self.update, self.clear, self.resize]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
            for _ in range(moves):
                kind = self.rng.random()
                if kind < 0.5:
                    self.add()
                elif kind < 0.8:
                    self.extend(self.longest if self.rng.random() < 0.9 else 3 * self.size)
                else:
                    weights = [0.4, 0.4, 0.08, 0.12]
                    rare[int(self.rng.choice(4, p=weights))]()
                for one, look in zip(self.readers, self.looks, strict=True):
                    if self.rng.random() < 0.3:
                        self.compare(one, look)
            for one, look in zip(self.readers, self.looks, strict=True):
                self.compare(one, look)
                # one that is opened only now sees the same, or asks anew
                afresh = Chosen(look.look, look.wanted) if isinstance(look, Chosen) else look
                self.compare(reader(self.memory, afresh), afresh)

    def compare(self, one: Any, look: AnyLook) -> None:
        found, expected = all_of(one), self.oracle.examples(look)
        agree(found, expected)
        self.seen += len(found)
