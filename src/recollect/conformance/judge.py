"""What must hold of examples that were drawn, in closed form, and how sure a count makes us.

Each function looks at one kind of mistake alone, so that a library that makes one of them fails
one case and not all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.conformance.adapter import Drawn
from recollect.conformance.world import Episode, Place, Stage, Unfit, World, place_of, reward

CONFIDENCE = 1e-6
"""A right library fails a test of chance once in a million runs; seeds are fixed besides."""


@dataclass(frozen=True)
class Window:
    """One n-step example, beside what is known of its episode."""

    world: World
    place: Place
    episode: Episode
    reward: float
    discount: float
    reached: Place
    """What next_obs is an observation of; nonsense if it is none."""

    @property
    def left(self) -> int:
        """Steps of the episode from here on."""
        return self.episode.length - self.place[2]

    @property
    def steps(self) -> int:
        """How many must be summed."""
        return min(self.world.settings.n, self.left)

    @property
    def whole(self) -> bool:
        """Whether that is already certain: not so where an open episode may go on."""
        return self.episode.end != "." or self.steps == self.world.settings.n

    @property
    def ends(self) -> bool:
        """Whether it runs to the end of an ended episode."""
        return self.episode.end != "." and self.steps == self.left

    @property
    def terminates(self) -> bool:
        return self.ends and self.episode.end in ("T", "B")

    def total(self, steps: int) -> float:
        """The sum of so many rewards."""
        stream, episode, step = self.place
        gamma = self.world.settings.gamma
        return float(sum(gamma**k * reward(stream, episode, step + k) for k in range(steps)))

    def after(self, steps: int) -> Place:
        stream, episode, step = self.place
        return stream, episode, step + steps

    def __str__(self) -> str:
        stream, _, step = self.place
        end = {"T": "terminated", "B": "terminated", "U": "truncated", "X": "cut off"}
        kind = end.get(self.episode.end, "open")
        where = f" of stream {stream}" if self.world.settings.streams > 1 else ""
        return f"step {step} of a {kind} episode of {self.episode.length} steps{where}"


def windows(stage: Stage, drawn: Drawn) -> Iterator[Window]:
    """The examples, each beside its episode.

    Raises:
        Unfit: one begins at a step that was never added.
    """
    settings = stage.settings
    obs, next_obs = np.asarray(drawn["obs"]), np.asarray(drawn["next_obs"])
    if settings.stack > 1:
        obs, next_obs = obs[:, -1], next_obs[:, -1]
    starts, reached = place_of(obs), place_of(next_obs)
    discount = drawn.get("discount")
    if discount is None:
        discount = settings.gamma**settings.n * (1.0 - np.asarray(drawn["terminated"], np.float64))
    rows = zip(starts.tolist(), reached.tolist(), drawn["reward"], discount, strict=True)
    for start, end, total, factor in rows:
        place = (start[0], start[1], start[2])
        episode = stage.world.at(place)
        if episode is None or place[2] == episode.length:
            raise Unfit(f"drew an observation that no step began with: {_shown(place)}")
        yield Window(
            stage.world,
            place,
            episode,
            float(np.asarray(total).item()),
            float(np.asarray(factor).item()),
            (end[0], end[1], end[2]),
        )


def _shown(place: Sequence[Any]) -> str:
    return f"(stream {place[0]}, episode {place[1]}, step {place[2]})"


def stays_apart(each: Window) -> None:
    """Neither rewards nor the next observation are another episode's or stream's."""
    limit = min(each.world.settings.n, each.left)
    sums = [each.total(k) for k in range(1, limit + 1)]
    beyond = each.world.at(each.reached)
    other = beyond is not None and each.reached[:2] != each.place[:2]
    if other and each.discount != 0:
        raise Unfit(f"{each}: its next observation is {_shown(each.reached)}")
    if each.reward not in sums and each.reward > max(sums):
        raise Unfit(f"{each}: reward {each.reward:g}, but its episode only has {sums[-1]:g} left")


def has_true_successor(each: Window) -> None:
    """next_obs is the observation after the last step summed; in an open episode any number of
    steps up to n may be summed, if all else agrees."""
    if each.terminates:
        return
    gamma = each.world.settings.gamma
    possible = [each.steps] if each.ends else range(1, each.steps + 1)
    for steps in possible:
        same = (each.reward, each.discount) == (each.total(steps), gamma**steps)
        if same and each.reached == each.after(steps):
            return
    raise Unfit(
        f"{each}: reward {each.reward:g}, discount {each.discount:g}, next observation "
        f"{_shown(each.reached)}; expected e. g. {each.total(each.steps):g}, "
        f"{gamma**each.steps:g}, {_shown(each.after(each.steps))}"
    )


def bootstraps_from_final(each: Window) -> None:
    """Where a truncated episode ends, next_obs is its final observation."""
    if each.ends and not each.terminates and each.reached != each.after(each.steps):
        known = each.world.at(each.reached)
        got = _shown(each.reached) if known else "no observation that was ever added"
        raise Unfit(f"{each}: next observation is {got}, not {_shown(each.after(each.steps))}")


def masks_termination_alone(each: Window) -> None:
    """The discount is zero exactly if the window holds a termination."""
    if each.terminates and each.discount != 0:
        raise Unfit(f"{each}: terminates within {each.steps} steps, discount {each.discount:g}")
    if each.whole and not each.terminates and each.discount == 0:
        raise Unfit(f"{each}: does not terminate within {each.steps} steps, but discount is 0")


def discounts_what_it_summed(each: Window) -> None:
    """A tail's discount is that of its own length."""
    expected = each.world.settings.gamma**each.steps
    if each.ends and not each.terminates and not math.isclose(each.discount, expected):
        raise Unfit(f"{each}: discount {each.discount:g}, but it sums {each.steps} steps")


def sums_to_the_end(each: Window) -> None:
    """The reward is the sum over the window, and the window ends with its episode."""
    if each.whole and not math.isclose(each.reward, each.total(each.steps)):
        expected = each.total(each.steps)
        raise Unfit(f"{each}: reward {each.reward:g}, its {each.steps} steps sum to {expected:g}")


def inspect(stage: Stage, *rules: Callable[[Window], None], n: int = 512) -> None:
    """Draws n examples and holds each rule against each."""
    for each in windows(stage, stage.draw(n)):
        for rule in rules:
            rule(each)


def starts(stage: Stage, expected: Iterable[Place], optional: Iterable[Place] = ()) -> None:
    """Exactly these steps are drawn, and perhaps some of the optional ones."""
    wanted, allowed = set(expected), set(optional)
    seen = {tuple(place) for place in stage.drawn(40 * len(wanted) + 64).tolist()}
    if missing := sorted(wanted - seen):
        raise Unfit(f"{len(missing)} of {len(wanted)} steps are never drawn: {_some(missing)}")
    if extra := sorted(seen - wanted - allowed):
        raise Unfit(f"{len(extra)} steps are drawn that must not be: {_some(extra)}")


def _some(places: Sequence[Sequence[Any]]) -> str:
    return ", ".join(map(_shown, places[:3])) + (", ..." if len(places) > 3 else "")


def fits(counts: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    """Counts agree with the numbers expected, by chi-square; expected 0 allows none at all."""
    counts, expected = np.asarray(counts, np.float64), np.asarray(expected, np.float64)
    if (counts[expected == 0] > 0).any():
        number = int(counts[expected == 0].sum())
        raise Unfit(f"{what}: {number} of {int(counts.sum())} draws are of rows never to be drawn")
    counts, expected = counts[expected > 0], expected[expected > 0]
    expected = expected / expected.sum() * counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    if chi_square_tail(statistic, len(counts) - 1) < CONFIDENCE:
        worst = int(np.argmax((counts - expected) ** 2 / expected))
        raise Unfit(
            f"{what}: of {int(counts.sum())} draws one row has {int(counts[worst])}, expected are "
            f"{expected[worst]:.0f} (chi-square {statistic:.0f}, {len(counts) - 1} degrees)"
        )


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The chance of a larger statistic: the regularized upper incomplete gamma function.

    By its series or its continued fraction (Press et al., Numerical Recipes, 2007, section 6.2).
    """
    if degrees < 1 or statistic <= 0:
        return 1.0
    a, x = degrees / 2, statistic / 2
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        k = a
        while abs(term) > abs(total) * 1e-15:
            k += 1
            term *= x / k
            total += term
        return max(0.0, 1 - total * scale)
    b = x + 1 - a
    c, d = 1e300, 1 / b
    fraction = d
    for i in range(1, 10_000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return fraction * scale
