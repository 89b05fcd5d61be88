"""A small replay memory that gets everything right, and others that each make one mistake."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recollect.conformance import Adapter, Drawn, Settings, Steps
from recollect.conformance.adapter import goal_ends, goal_reward

NAMES = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
OFFERS = frozenset(
    {"transitions", "truncation", "streams", "ragged streams", "bulk", "n-step", "stack"}
    | {"sequence", "running sequence", "dtypes", "stable keys", "seed", "proportional"}
    | {"largest priority", "zero priority", "weights over batch", "raw weights", "probability"}
    | {"weights over memory", "ranked", "reservoir", "balanced", "pool", "future", "final"}
    | {"episode", "goal ends", "save", "save generator", "checked files", "background"}
    | {"crash-safe", "second process", "largest live priority", "save priorities"}
)


class Right(Adapter):
    """Steps in plain lists, one row after the other: nothing to get wrong but what is looked for.

    Each row is a dictionary with its stream, its number in the stream (which is its key), the
    number of its episode, whether it is the last of it, and its priority.
    """

    name = "toy"
    offers = OFFERS

    def make(self, settings: Settings) -> None:
        self.settings = settings
        self.rows: list[dict[str, Any]] = []
        self.episodes = [0] * settings.streams
        self.arrivals = 0
        self.rng = np.random.default_rng(settings.seed)
        self.log = None
        if settings.path is not None:
            self.log = settings.path.open("ab")

    def room(self) -> int:
        return self.settings.capacity // self.settings.streams

    def check(self, steps: Steps) -> dict[str, np.ndarray]:
        """The steps, checked and copied."""
        shape, dtype = self.settings.obs_shape, self.settings.obs_dtype
        for name in ("obs", "next_obs"):
            if steps[name].shape[1:] != shape or steps[name].dtype != dtype:
                raise ValueError(f"{name}: {steps[name].shape} {steps[name].dtype}")
        return {name: np.array(value) for name, value in steps.items()}

    def add(self, steps: Steps, streams: Sequence[int]) -> Any:
        given = self.check(steps)
        return [
            self.add_row({name: value[k] for name, value in given.items()}, stream)
            for k, stream in enumerate(streams)
        ]

    def add_many(self, steps: Steps, stream: int) -> Any:
        given = self.check(steps)
        count = len(given["reward"])
        rows = ({name: value[k] for name, value in given.items()} for k in range(count))
        return [self.add_row(row, stream) for row in rows]

    def add_row(self, row: dict[str, Any], stream: int) -> int:
        own = [each for each in self.rows if each["stream"] == stream]
        key = self.arrivals
        self.arrivals += 1
        last = bool(row["terminated"] or row["truncated"])
        row |= {"stream": stream, "key": key, "episode": self.episodes[stream], "last": last}
        row["priority"] = self.entry()
        self.episodes[stream] += last
        if self.settings.retention == "reservoir":
            self.keep(row)
            return key
        if self.settings.retention == "balanced":
            self.balance(row)
            return key
        if len(own) == self.room():
            self.rows = [each for each in self.rows if each is not own[0]]
        self.rows.append(row)
        if self.log is not None:
            pickle.dump(row, self.log)
            self.log.flush()
        return key

    def entry(self) -> float:
        """The priority at which a row enters."""
        return max((row["priority"] for row in self.rows), default=1.0) or 1.0

    def keep(self, row: dict[str, Any]) -> None:
        if len(self.rows) < self.room():
            self.rows.append(row)
            return
        place = int(self.rng.integers(0, self.arrivals))
        if place < self.room():
            self.rows[place] = row

    def balance(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) > self.room():
            labels = [int(each["label"]) for each in self.rows]
            # of the class that has most the oldest goes; the newest class of those does
            crowded = max(set(labels), key=lambda label: (labels.count(label), label))
            del self.rows[labels.index(crowded)]

    def window(self, row: dict[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of its n steps, None if some are yet to come."""
        own = [each for each in self.rows if each["stream"] == row["stream"]]
        at = next(k for k, each in enumerate(own) if each is row)
        steps = own[at : at + self.settings.n]
        for k, each in enumerate(steps):
            if each["last"]:
                return steps[: k + 1]
        return steps if len(steps) == self.settings.n else None

    def history(self, row: dict[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of its stack, the oldest first, None if some were overwritten."""
        own = [each for each in self.rows if each["stream"] == row["stream"]]
        own = [each for each in own if each["episode"] == row["episode"]]
        at = next(k for k, each in enumerate(own) if each is row)
        found = own[max(0, at + 1 - self.settings.stack) : at + 1]
        # the number of an episode's first step is kept in its rows, as obs tells it
        starts = int(found[0]["obs"][2]) == 100
        if len(found) < self.settings.stack and not starts:
            return None
        return [found[0]] * (self.settings.stack - len(found)) + found

    def run(self, row: dict[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of its sequence, None if it is cut off."""
        own = [each for each in self.rows if each["stream"] == row["stream"]]
        at = next(k for k, each in enumerate(own) if each is row)
        steps = own[at : at + self.settings.length]
        if len(steps) < self.settings.length:
            return None
        if not self.settings.running and any(each["last"] for each in steps[:-1]):
            return None
        return steps

    def eligible(self) -> list[dict[str, Any]]:
        settings = self.settings
        rows = self.rows
        if settings.length:
            return [row for row in rows if self.run(row) is not None]
        if settings.goals:
            ended = {(row["stream"], row["episode"]) for row in rows if row["last"]}
            return [row for row in rows if (row["stream"], row["episode"]) in ended]
        if settings.n > 1:
            rows = [row for row in rows if self.window(row) is not None]
        if settings.stack > 1:
            rows = [row for row in rows if self.history(row) is not None]
        return rows

    def masses(self, rows: list[dict[str, Any]]) -> np.ndarray:
        priorities = np.array([row["priority"] for row in rows])
        if self.settings.sampler == "proportional":
            return priorities**self.settings.alpha
        if self.settings.sampler == "ranked":
            ranks = len(rows) - np.argsort(np.argsort(priorities, kind="stable"))
            return ranks ** -float(self.settings.alpha)
        return np.ones(len(rows))

    def sample(self, n: int) -> Drawn:
        rows = self.eligible()
        masses = self.masses(rows)
        probability = masses / masses.sum()
        places = self.rng.choice(len(rows), n, p=probability)
        chosen = [rows[place] for place in places]
        drawn = self.gather(chosen)
        drawn["key"] = np.array([row["key"] for row in chosen])
        drawn["probability"] = probability[places]
        drawn["weight"] = self.weights(probability, places)
        return drawn

    def weights(self, probability: np.ndarray, places: np.ndarray) -> np.ndarray:
        every = np.full(len(probability), 0.0)
        live = probability > 0
        every[live] = (len(probability) * probability[live]) ** -self.settings.beta
        largest = {"batch": every[places].max(), "memory": every.max(), "raw": 1.0}
        return every[places] / largest[self.settings.weights]

    def gather(self, rows: list[dict[str, Any]]) -> Drawn:
        if self.settings.length:
            runs = [self.run(row) for row in rows]
            names = ("obs", "action", "reward", "terminated", "truncated")
            return {name: np.array([[r[name] for r in run] for run in runs]) for name in names}
        drawn = {name: np.array([row[name] for row in rows]) for name in NAMES}
        if self.settings.goals:
            return drawn | self.relabel(rows)
        gamma = self.settings.gamma
        if self.settings.n > 1:
            windows = [self.window(row) for row in rows]
            ends = [window[-1] for window in windows]
            drawn["reward"] = np.array(
                [sum(gamma**k * row["reward"] for k, row in enumerate(w)) for w in windows]
            )
            drawn |= {
                name: np.array([row[name] for row in ends])
                for name in ("next_obs", "terminated", "truncated")
            }
            steps = np.array([len(window) for window in windows])
        else:
            steps = np.ones(len(rows))
        drawn["discount"] = np.where(drawn["terminated"], 0, gamma**steps)
        if self.settings.stack > 1:
            stacks = [self.history(row) for row in rows]
            drawn["obs"] = np.array([[row["obs"] for row in stack] for stack in stacks])
            after = [self.following(stack) for stack in stacks]
            drawn["next_obs"] = np.array(after)
        return drawn

    def following(self, stack: list[dict[str, Any]]) -> list[np.ndarray]:
        """The stack after this one."""
        return [*[row["obs"] for row in stack[1:]], stack[-1]["next_obs"]]

    def relabel(self, rows: list[dict[str, Any]]) -> Drawn:
        goals = np.array([row["goal"] for row in rows])
        for k, row in enumerate(rows):
            if self.rng.random() < 0.8:
                goals[k] = self.goal(row)
        achieved = np.array([row["next_achieved"] for row in rows])
        ended = np.array([row["terminated"] for row in rows])
        return {
            "goal": goals,
            "next_goal": goals.copy(),
            "reward": goal_reward(achieved, goals),
            "terminated": goal_ends(achieved, goals) if self.settings.ends else ended,
        }

    def goal(self, row: dict[str, Any]) -> np.ndarray:
        episode = [each for each in self.rows if each["episode"] == row["episode"]]
        if self.settings.goals == "future":
            episode = [each for each in episode if each["key"] >= row["key"]]
        if self.settings.goals == "final":
            episode = episode[-1:]
        return episode[int(self.rng.integers(0, len(episode)))]["next_achieved"]

    def update(self, keys: Any, priority: np.ndarray) -> int:
        rows = {row["key"]: row for row in self.rows}
        live = {int(key) for key in keys} & rows.keys()
        for key, value in zip(keys, priority, strict=True):
            if int(key) in rows:
                rows[int(key)]["priority"] = float(value)
        return len(live)

    def swap(self, ids: np.ndarray) -> np.ndarray:
        if not hasattr(self, "pool"):
            self.pool: list[int] = []
        out = []
        for number in ids.tolist():
            if len(self.pool) < self.settings.capacity:
                self.pool.append(number)
            elif self.rng.random() < 0.5:
                place = int(self.rng.integers(0, len(self.pool)))
                number, self.pool[place] = self.pool[place], number
            out.append(number)
        return np.array(out)

    def state(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "episodes": self.episodes,
            "arrivals": self.arrivals,
            "rng": self.rng,
        }

    def save(self, path: Path) -> None:
        content = pickle.dumps(self.state())
        check = sum(content) % 2**32
        fresh = path.with_suffix(".new")
        fresh.write_bytes(json.dumps([len(content), check]).encode() + b"\n" + content)
        fresh.replace(path)

    def load(self, path: Path, settings: Settings) -> None:
        self.make(settings)
        head, _, content = path.read_bytes().partition(b"\n")
        if [len(content), sum(content) % 2**32] != json.loads(head):
            raise ValueError("the file is damaged")
        vars(self).update(pickle.loads(content))

    def reopen(self, path: Path, settings: Settings) -> None:
        self.settings = settings
        self.rows, self.rng, self.log = [], np.random.default_rng(0), None
        with path.open("rb") as log:
            while True:
                try:
                    self.rows.append(pickle.load(log))
                except (EOFError, pickle.UnpicklingError):
                    return

    def background_error(self) -> None:
        raise ZeroDivisionError

    def close(self) -> None:
        if getattr(self, "log", None) is not None:
            self.log.close()


class Checks(Right):
    """One that notices broken chains, too."""

    offers = OFFERS | {"chain check", "recorder"}

    def make(self, settings: Settings) -> None:
        super().make(settings)
        self.count = 0

    def broken(self, before: dict[str, Any], row: dict[str, Any]) -> bool:
        return not before["last"] and not np.array_equal(before["next_obs"], row["obs"])

    def add_row(self, row: dict[str, Any], stream: int) -> int:
        own = [each for each in self.rows if each["stream"] == stream]
        if own and self.broken(own[-1], row):
            self.count += 1
            own[-1]["last"] = own[-1]["truncated"] = True
            self.episodes[stream] += 1
        return super().add_row(row, stream)

    def breaks(self) -> int:
        return self.count


class Frames(Adapter):
    """Large rows in one array, for what it takes to load them."""

    name = "frames"
    offers = frozenset({"transitions", "bulk", "save"})

    def make(self, settings: Settings) -> None:
        self.rows = np.zeros((0, 4096), np.uint8)

    def add_many(self, steps: Steps, stream: int) -> None:
        self.parts = [*getattr(self, "parts", []), steps["obs"]]

    def sample(self, n: int) -> Drawn:
        return {"obs": self.rows[:n].copy()}

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.concatenate(self.parts))

    def load(self, path: Path, settings: Settings) -> None:
        self.rows = np.load(path)


class LoadsTwice(Frames):
    """One that takes a second copy on the way."""

    def load(self, path: Path, settings: Settings) -> None:
        first = np.load(path)
        self.rows = first.copy()
        time.sleep(0.2)  # so that whoever watches sees both
