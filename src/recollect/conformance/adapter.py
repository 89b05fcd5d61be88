"""`Adapter`: the few calls through which every replay memory is put through the same cases.

An adapter is thin. It hands arrays on as they are, and says what the library's own documentation
says about them; whatever it mends or breaks on the way would be held against the wrong side. What
a library does not claim to do is left out of `offers`, and the cases that need it are not run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

FEATURES = {
    "transitions": "draws single steps: obs, action, reward, next_obs, and whether they terminated",
    "truncation": "tells the end of an episode from the end of what it is worth",
    "streams": "several environments side by side, one step of each at a time",
    "ragged streams": "steps of some of the streams alone",
    "bulk": "several steps of one stream in one call",
    "n-step": "n-step returns",
    "stack": "stacks of the latest observations, made when they are drawn",
    "sequence": "sequences of steps that stay within an episode",
    "running sequence": "sequences that run on into the stream's next episode",
    "chain check": "notices that an episode was reset without being told so",
    "recorder": "records a Gymnasium vector environment",
    "dtypes": "observations of integers",
    "stable keys": "add returns keys of rows that are never used again",
    "seed": "a seed for each memory",
    "proportional": "draws in proportion to a power of priorities, which update changes",
    "largest priority": "gives a new row the largest priority by itself",
    "largest live priority": "gives a new row the largest priority that any row has now",
    "zero priority": "a priority of exactly zero",
    "weights over batch": "importance weights divided by the largest of the batch",
    "weights over memory": "importance weights divided by the largest of the memory",
    "raw weights": "importance weights as they are",
    "probability": "the probability of each row that was drawn",
    "ranked": "draws by the rank of priorities",
    "reservoir": "keeps a uniform random sample of all that was ever added",
    "balanced": "keeps as many examples of each class",
    "pool": "swaps images, as the image pool of CycleGAN does",
    "future": "hindsight: goals from later in the episode",
    "final": "hindsight: goals from the episode's end",
    "episode": "hindsight: goals from all of the episode",
    "goal ends": "hindsight: termination under the new goal",
    "save": "saves itself to a file or folder, and loads from there",
    "save priorities": "saves priorities, too",
    "save generator": "saves the state of its generator, too",
    "checked files": "says of a damaged file that it is damaged",
    "crash-safe": "keeps what was added when the process is killed",
    "second process": "another process may draw while this one adds",
    "background": "draws on a background thread",
}
"""What a library may offer, in words."""

Steps = Mapping[str, NDArray[Any]]
"""Steps of several streams: obs, action, reward, next_obs, terminated, truncated; for hindsight
also goal, achieved and next_achieved, (N, 2); for retention by class also label. (N, ...) each."""

Drawn = dict[str, Any]
"""What a library drew: (B, ...) arrays by name. Those of `Steps`, and discount (what the value of
next_obs is multiplied by), key, weight and probability; of sequences, which are (B, T, ...), also
mask and first; of hindsight goal and next_goal. What is not there is not judged."""


def goal_reward(achieved: NDArray[Any], desired: NDArray[Any], info: object = None) -> Any:
    """(M, 2) goals that were achieved and desired, to (M,) rewards that tell which these were."""
    return (achieved @ np.array([3.0, 0.25]) - desired @ np.array([64.0, 0.5])).astype(np.float32)


def goal_ends(achieved: NDArray[Any], desired: NDArray[Any], info: object = None) -> Any:
    """(M, 2) goals that were achieved and desired, to (M,) whether that is the same."""
    return (achieved == desired).all(axis=-1)


@dataclass(frozen=True)
class Settings:
    """The memory that a case asks for."""

    capacity: int = 256
    """Rows over all streams. Where nothing is to be overwritten there is room for a row more for
    each episode, as some libraries need; otherwise a library may keep one or two for itself."""
    streams: int = 1
    obs: Literal["vector", "bytes", "frames"] = "vector"
    """(3,) float32, (8,) uint8 or (4096,) uint8. Actions are (1,) float32."""
    n: int = 1
    gamma: float = 0.5
    stack: int = 1
    """How many observations; more than one are (B, stack, ...)."""
    length: int = 0
    """Of sequences; 0 asks for transitions."""
    running: bool = False
    """Sequences run on into the next episode."""
    sampler: Literal["uniform", "proportional", "ranked"] = "uniform"
    alpha: float = 1.0
    beta: float = 0.0
    zero: bool = False
    """A priority of zero must mean that a row is never drawn."""
    weights: Literal["batch", "memory", "raw"] = "batch"
    retention: Literal["fifo", "reservoir", "balanced", "pool"] = "fifo"
    """With others than fifo, rows are examples that have nothing to do with each other."""
    goals: Literal["future", "final", "episode"] | None = None
    """Hindsight, of four examples in five."""
    ends: bool = False
    """Hindsight: recompute whether a step terminates, by `goal_ends`."""
    longest: int = 32
    """No episode is longer."""
    batch: int = 64
    """How many will be drawn at a time."""
    seed: int = 0
    path: Path | None = None
    """Where a memory on disk belongs."""

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return {"vector": (3,), "bytes": (8,), "frames": (4096,)}[self.obs]

    @property
    def obs_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.obs == "vector" else np.uint8)


class Adapter:
    """One library, or one way of using it. Subclasses say what it offers and how it is called."""

    name: ClassVar[str]
    """The column's title."""
    package: ClassVar[str | None] = None
    """The distribution whose version is shown."""
    offers: ClassVar[frozenset[str]] = frozenset({"transitions"})
    """Among `FEATURES`."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Why a feature is not among them, where there is more to say than that."""
    remarks: ClassVar[Mapping[str, str]] = {}
    """By case: what should be known of a failure, such as that it is documented."""
    goal_reward: ClassVar[Callable[..., Any]] = staticmethod(goal_reward)
    """The reward under a goal, for libraries that have one of their own."""
    own_reward: ClassVar[bool] = False
    """Whether that is so, and rewards under original goals are those of the steps."""

    def make(self, settings: Settings) -> None:
        """Opens an empty memory."""
        raise NotImplementedError

    def add(self, steps: Steps, streams: Sequence[int]) -> Any:
        """Adds one step of each of these streams; all of them, unless "ragged streams" is offered.

        Returns:
            The keys, (N,), if it offers stable ones.
        """
        raise NotImplementedError

    def add_many(self, steps: Steps, stream: int) -> Any:
        """Adds (T, ...) steps of one stream in one call: "bulk"."""
        raise NotImplementedError

    def end(self, streams: Sequence[int]) -> None:
        """Is called after the last step of an episode, for libraries that want to be told."""

    def sample(self, n: int) -> Drawn:
        """n examples (or somewhat more or fewer), (B, ...) each."""
        raise NotImplementedError

    def update(self, keys: Any, priority: NDArray[np.float64]) -> int | None:
        """New priorities of what was drawn; how many keys were live, if the library says so."""
        raise NotImplementedError

    def breaks(self) -> int:
        """How many broken chains were noticed: "chain check"."""
        raise NotImplementedError

    def record(self, env: Any) -> Any:
        """The vector environment, recorded into this memory: "recorder"."""
        raise NotImplementedError

    def swap(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Hands in images, known by number, and gets as many: "pool"."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Saves all there is to save to this path, where nothing is or where it saved before."""
        raise NotImplementedError

    def load(self, path: Path, settings: Settings) -> None:
        """Becomes the memory that was saved there; called instead of `make`."""
        raise NotImplementedError

    def reopen(self, path: Path, settings: Settings) -> None:
        """Becomes the memory that another process left, or is filling, there."""
        raise NotImplementedError

    def background_error(self) -> None:
        """Lets drawing in the background fail, and waits for a batch: "background".

        Raises:
            ArithmeticError: what went wrong over there (1 / 0) has reached the caller.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what was opened."""
