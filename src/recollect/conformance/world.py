"""Scripts of what happens to agents, and the truth about each step of them.

A script is the episodes of one stream, "3T 2U 1B 4.": so many steps, then how they end: T
terminated, U truncated, B both, X a reset that nobody tells of, "." not yet. Every observation
tells its stream, episode and step, every reward differs from all others nearby, so that whatever
is drawn shows by itself whether it is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Adapter, Drawn, Settings, goal_reward

FIRST = np.array([10, 50, 100])
"""What the first stream, episode and step are called in an observation, so that neither zeros nor
ones, with which memories are filled, look like one."""

Place = tuple[int, int, int]
"""Stream, episode and step."""


def observation(kind: str, stream: Any, episode: Any, step: Any) -> NDArray[Any]:
    """(..., 3) float32, or (..., 8) or (..., 4096) uint8, for places of shape (...)."""
    place = np.stack(np.broadcast_arrays(stream, episode, step), axis=-1) + FIRST
    if kind == "vector":
        vector: NDArray[Any] = place.astype(np.float32)
        return vector
    rest = np.resize([255, 0, 128, 127, 254], 5 if kind == "bytes" else 4093)
    rest = np.broadcast_to(rest, (*place.shape[:-1], len(rest)))
    return np.concatenate((place, rest), axis=-1).astype(np.uint8)


def place_of(observations: NDArray[Any]) -> NDArray[np.int64]:
    """(..., 3) stream, episode and step of observations; nonsense gives nonsense."""
    places: NDArray[np.int64] = np.asarray(observations)[..., :3].astype(np.int64) - FIRST
    return places


def reward(stream: Any, episode: Any, step: Any) -> Any:
    """Exact in float32, as are its sums with gamma 1/2."""
    return np.float32(1) + step + 32 * (np.asarray(episode) + 1) + 4096 * (np.asarray(stream) + 1)


def code(stream: Any, episode: Any, step: Any) -> Any:
    """One number for each place; also the step's action."""
    return (np.asarray(stream) * 256 + episode) * 2048 + step


@dataclass
class Episode:
    """What is known of one."""

    length: int = 0
    end: str = "."


@dataclass
class World:
    """All that was played, by stream and episode, in order."""

    settings: Settings
    episodes: dict[tuple[int, int], Episode] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    """Of `places`, if the library returns any."""

    def steps(self, places: Sequence[Place], ends: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The `Steps` there, which end so ("" if they do not)."""
        kind = self.settings.obs
        stream, episode, step = np.array(places, np.int64).reshape(-1, 3).T
        flags = np.array([[end in ("T", "B"), end in ("U", "B")] for end in ends], bool)
        steps = {
            "obs": observation(kind, stream, episode, step),
            "action": code(stream, episode, step).astype(np.float32)[:, None],
            "reward": reward(stream, episode, step).astype(np.float32),
            "next_obs": observation(kind, stream, episode, step + 1),
            "terminated": flags.reshape(-1, 2)[:, 0],
            "truncated": flags.reshape(-1, 2)[:, 1],
        }
        if self.settings.goals:
            steps |= {
                "achieved": np.stack((episode, step), axis=-1).astype(np.float32),
                "next_achieved": np.stack((episode, step + 1), axis=-1).astype(np.float32),
                "goal": np.stack((-1 - episode, np.zeros_like(step)), axis=-1).astype(np.float32),
            }
            steps["reward"] = goal_reward(steps["next_achieved"], steps["goal"])
        if self.settings.retention == "balanced":
            steps["label"] = np.where(episode < 80, episode % 2, 2)
        return steps

    def append(self, place: Place, end: str) -> None:
        """Takes down that this step was added."""
        episode = self.episodes.setdefault(place[:2], Episode())
        episode.length = place[2] + 1
        episode.end = end or "."
        self.places.append(place)

    def at(self, place: Sequence[Any]) -> Episode | None:
        """The episode of a place, None if there is none, or it has no such observation."""
        episode = self.episodes.get((int(place[0]), int(place[1])))
        return episode if episode and 0 <= place[2] <= episode.length else None


def parse(script: str) -> Iterator[tuple[int, int, str]]:
    """(episode, step, end) of each step; end is "" but at an episode's last one."""
    for episode, text in enumerate(script.split()):
        length, end = int(text[:-1]), text[-1]
        for step in range(length):
            yield episode, step, end if step == length - 1 else ""


class Stage:
    """A memory, what was played to it, and drawing from it: what a case works with."""

    def __init__(self, adapter: Adapter, settings: Settings) -> None:
        self.adapter = adapter
        self.settings = settings
        self.world = World(settings)
        adapter.make(settings)

    @classmethod
    def of(cls, adapter: Adapter, settings: Settings) -> Stage:
        """With a memory that is open already, and nothing known of what was played to it."""
        stage = cls.__new__(cls)
        stage.adapter, stage.settings, stage.world = adapter, settings, World(settings)
        return stage

    def play(self, *scripts: str, first: int = 0) -> None:
        """Adds a script of each stream, one step of each at a time while they last.

        Streams whose scripts are over are left out, which asks for "ragged streams".

        Args:
            scripts: one a stream.
            first: the number of their first episodes.
        """
        runs = [list(parse(script)) for script in scripts]
        for tick in range(max(map(len, runs))):
            streams = [k for k, run in enumerate(runs) if tick < len(run)]
            steps = [runs[k][tick] for k in streams]
            places = [(k, first + e, t) for k, (e, t, _) in zip(streams, steps, strict=True)]
            self.add(places, [end for _, _, end in steps])

    def add(self, places: Sequence[Place], ends: Sequence[str]) -> None:
        """Adds these steps of as many streams, ended so ("." and X are not told)."""
        streams = [place[0] for place in places]
        keys = self.adapter.add(self.world.steps(places, ends), streams)
        if keys is not None:
            self.world.keys += [int(key) for key in np.asarray(keys).ravel()]
        for place, end in zip(places, ends, strict=True):
            self.world.append(place, end)
        ended = [stream for stream, end in zip(streams, ends, strict=True) if end in (*"TUB",)]
        if ended:
            self.adapter.end(ended)

    def draw(self, n: int = 256) -> Drawn:
        """At least n examples, in as many batches as that takes."""
        batches: list[Drawn] = []
        count = 0
        while count < n:
            batch = self.adapter.sample(self.settings.batch)
            # copied at once: whether they stay as they are is R5's to judge
            batches.append({name: np.array(value) for name, value in batch.items()})
            count += len(batch["obs"])
        return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}

    def drawn(self, n: int) -> NDArray[np.int64]:
        """(n or more, 3) places of the steps that were drawn (of stacks, the newest)."""
        obs = self.draw(n)["obs"]
        return place_of(obs[:, -1] if self.settings.stack > 1 else obs)

    def keys_of(self, places: Sequence[Place]) -> list[Any]:
        """The keys under which these steps are drawn, found by drawing."""
        wanted = {code(*place): index for index, place in enumerate(places)}
        keys: list[Any] = [None] * len(places)
        for _ in range(400):
            batch = self.adapter.sample(self.settings.batch)
            found = np.array(batch["key"])
            for number, key in zip(code(*place_of(batch["obs"]).T), found, strict=True):
                if int(number) in wanted:
                    keys[wanted[int(number)]] = key
            if all(key is not None for key in keys):
                return keys
        missing = [place for place, key in zip(places, keys, strict=True) if key is None]
        raise Unfit(f"step {missing[0]} was never drawn in {400 * self.settings.batch} draws")

    def prioritize(self, places: Sequence[Place], priorities: Sequence[float]) -> None:
        """Gives these steps these priorities."""
        keys = self.keys_of(places)
        self.adapter.update(np.array(keys), np.array(priorities, np.float64))


class Unfit(Exception):  # noqa: N818 - it is a verdict, no error of ours
    """What came out is not what must come out; says what came and what was expected."""
