"""Blind Cliffwalk: how much sooner values are learned when the right transitions are replayed.

Schaul et al., "Prioritized experience replay", ICLR 2016, section 3.1, figures 1 and 2, appendix
B.1. In each of n states one of two actions goes on to the next state, the other ends the episode,
and which is which alternates; only whoever takes all n right actions is rewarded, with 1. A memory
holds what all 2**n sequences of actions lead to, in random order: N = 2**(n + 1) - 2 transitions,
one of them with a reward. From it tabular Q-learning learns, one transition at a time, with
gamma = 1 - 1/n and step size 1/4, from values drawn from N(0, 0.1), until the mean squared error
against the true values is below 0.001. What is counted are the updates that this takes.

All rules but one are samplers of a `rc.Memory`, asked for one transition at a time and told its
absolute TD error afterwards; new transitions stand at the largest priority, so that each is seen.
The oracle is no sampler, as it looks at the learner: it takes the transition after which the error
is least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

import recollect as rc
from recollect.errors import ConfigurationError, RecollectError
from recollect.experiments.processes import in_processes
from recollect.learners import plots
from recollect.samplers.base import Sampler
from recollect.samplers.prioritized import Prioritized
from recollect.samplers.queues import HighestPriority
from recollect.samplers.ranked import Ranked

STEP_SIZE = 0.25
SPREAD = 0.1
"""Standard deviation of the first values."""
ENOUGH = 1e-3
"""The mean squared error at which values count as learned."""
LARGEST = 20
"""Of sizes: 2**21 transitions."""

BLOCK = 4096
"""Transitions drawn at once where no update changes what is drawn next."""
PATIENCE = 1000
"""Updates for each transition after which a rule is taken to be stuck; uniform takes 10 to 20."""

CHECKED = 10
"""The size for which there are ranges to compare with."""

DOI = "https://arxiv.org/abs/1511.05952"


class Rule(NamedTuple):
    """A way to choose what is replayed, and how many updates it should take at n = 10."""

    label: str
    color: str
    style: str | tuple[int, tuple[float, ...]]
    make: Callable[[], Sampler] | None
    """None: the oracle."""
    least: float
    most: float
    """Of the median over ten seeds."""
    unit: Literal["N", "updates"] = "N"
    adapts: bool = True
    """Whether priorities decide what is drawn next."""

    def verdict(self, updates: float) -> str:
        """Whether so many updates at n = 10 are within the range."""
        if updates / self._scale < self.least:
            return "no, fewer"
        return "yes" if updates / self._scale <= self.most else "no, more"

    def text(self, updates: float) -> str:
        """So many updates at n = 10, in the unit of the range."""
        return f"{updates / self._scale:.2f} N" if self.unit == "N" else f"{updates:,.0f}"

    @property
    def expected(self) -> str:
        return f"{self.least:g} to {self.most:g}" + (" N" if self.unit == "N" else "")

    @property
    def _scale(self) -> int:
        return transitions(CHECKED) if self.unit == "N" else 1


RULES = {
    "uniform": Rule("uniform", plots.BLUE, "-", rc.Uniform, 10, 19, adapts=False),
    "rank": Rule(
        "rank-based", plots.PALETTE[2], (0, (5, 1.5)), lambda: Ranked(alpha=0.7, beta=0.0), 2.2, 2.7
    ),
    "proportional": Rule(
        "proportional", plots.ORANGE, "-", lambda: Prioritized(alpha=0.6, beta=0.0), 1.5, 2.2
    ),
    "greedy": Rule("greedy", plots.PALETTE[3], "-.", HighestPriority, 1.1, 1.3),
    "oracle": Rule("oracle", plots.PALETTE[4], ":", None, 420, 490, unit="updates"),
}
"""In the order of what they take. The ranges are those of a tabular reference of this project;
the paper gives its results only as a picture. `Ranked` sorts now and then; the oftener it does, the
fewer updates it takes, so that its range says something of one way of sorting alone."""


def transitions(n: int) -> int:
    """N, how many transitions there are of n states."""
    return int(2 ** (n + 1) - 2)


def experience(n: int, rng: np.random.Generator) -> dict[str, Any]:
    """The fields of all N steps, (N,) each: 2**n episodes in random order.

    Bit i of an episode's number says whether its action in state i is the wrong one. States are
    0 to n - 1; n stands for the end.
    """
    number = rng.permutation(2**n)
    # of the lowest bit set; where none is, all actions are right, and the episode ends as late
    lowest = np.where(number == 0, 2 ** (n - 1), number & -number)
    length = np.log2(lowest).astype(np.int64) + 1
    end = np.repeat(np.cumsum(length), length)
    count = np.repeat(length, length)
    state = np.arange(len(end)) - (end - count)
    ends = state == count - 1
    rewarded = ends & np.repeat(number == 0, length)
    right = ~ends | rewarded
    return {
        "obs": state,
        "action": np.where(right, state % 2, 1 - state % 2),
        "reward": rewarded.astype(np.float32),
        "next_obs": np.where(ends, n, state + 1),
        "terminated": ends,
        "truncated": np.zeros(len(end), np.bool_),
    }


def true_values(n: int) -> NDArray[np.float64]:
    """(n, 2): the right action in state i is worth gamma**(n - 1 - i), the wrong one nothing."""
    values = np.zeros((n, 2))
    state = np.arange(n)
    values[state, state % 2] = (1 - 1 / n) ** (n - 1 - state)
    return values


class Learner:
    """Tabular Q-learning that knows how far it is from the truth."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._truth: list[list[float]] = true_values(n).tolist()
        self._values: list[list[float]] = [*rng.normal(0, SPREAD, (n, 2)).tolist(), [0.0, 0.0]]
        self._enough = ENOUGH * 2 * n
        self._error = sum(self._square(state, action) for state in range(n) for action in (0, 1))
        self.updates = 0

    @property
    def finished(self) -> bool:
        return self._error < self._enough

    def error(self, state: int, action: int, reward: float, discount: float, next: int) -> float:
        """The TD error of a transition."""
        return reward + discount * max(self._values[next]) - self._values[state][action]

    def learn(self, state: int, action: int, error: float) -> None:
        """Moves a value by its TD error."""
        self._error -= self._square(state, action)
        self._values[state][action] += STEP_SIZE * error
        self._error += self._square(state, action)
        self.updates += 1

    def gain(self, state: int, action: int, error: float) -> float:
        """By how much `learn` would lower the sum of squared errors."""
        moved = self._values[state][action] + STEP_SIZE * error - self._truth[state][action]
        return self._square(state, action) - moved * moved

    def _square(self, state: int, action: int) -> float:
        distance = self._values[state][action] - self._truth[state][action]
        return distance * distance


def count_updates(rule: str, n: int, seed: int) -> int:
    """The updates until the values of n states are learned.

    The same seed gives every rule the same first values and the same order of the transitions.

    Raises:
        RecollectError: the rule seems to be stuck.
    """
    seeds = np.random.SeedSequence([seed, n])
    first, order, draws = seeds.generate_state(3)
    learner = Learner(n, np.random.default_rng(first))
    make = RULES[rule].make
    if make is None:
        _follow_oracle(learner, n)
    else:
        steps = experience(n, np.random.default_rng(order))
        _replay(learner, filled(n, make(), steps, int(draws)), RULES[rule].adapts)
    if not learner.finished:
        raise RecollectError(f"{rule}, n = {n}, seed {seed}: stuck after {learner.updates} updates")
    return learner.updates


def filled(n: int, sampler: Sampler, steps: dict[str, Any], seed: int) -> rc.Memory:
    """A memory of these steps, as rows of one stream: each episode takes one row more."""
    schema = rc.Schema.steps(obs=rc.Field((), np.int64), action=rc.Field((), np.int64))
    view = rc.Transition(gamma=1 - 1 / n)
    memory = rc.Memory(schema, transitions(n) + 2**n, view=view, sampler=sampler, seed=seed)
    memory.extend(**steps)
    return memory


def _replay(learner: Learner, memory: rc.Memory, adapts: bool) -> None:
    """Learns from what the memory's sampler draws, until all is learned or patience ends."""
    patience = PATIENCE * len(memory)
    while not learner.finished and learner.updates < patience:
        batch = memory.sample(1 if adapts else BLOCK)
        columns = (batch.obs, batch.action, batch.reward, batch.discount, batch.next_obs)
        for state, action, *rest in zip(*(column.tolist() for column in columns), strict=True):
            error = learner.error(state, action, *rest)
            learner.learn(state, action, error)
            if adapts:
                memory.update(batch.key, priority=abs(error))
            if learner.finished:
                break


def _follow_oracle(learner: Learner, n: int) -> None:
    """Learns from whichever of the 2 n different transitions lowers the error most."""
    gamma = 1 - 1 / n
    choices = [(state, 1 - state % 2, 0.0, 0.0, n) for state in range(n)]
    choices += [(state, state % 2, 0.0, gamma, state + 1) for state in range(n - 1)]
    choices += [(n - 1, (n - 1) % 2, 1.0, 0.0, n)]
    while not learner.finished and learner.updates < PATIENCE * transitions(n):
        errors = [(choice[0], choice[1], learner.error(*choice)) for choice in choices]
        learner.learn(*max(errors, key=lambda candidate: learner.gain(*candidate)))


class Quartiles(NamedTuple):
    """Of the updates over seeds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[int]) -> Quartiles:
        return cls(*np.quantile(values, (0.25, 0.5, 0.75)).tolist())


Results = dict[str, dict[int, Quartiles]]
"""For each rule and size."""


@dataclass(frozen=True)
class Cliffwalk:
    """The experiment, and where its picture and table go."""

    sizes: tuple[int, ...]
    seeds: int
    out: Path

    def __post_init__(self) -> None:
        if not self.sizes or not all(2 <= n <= LARGEST for n in self.sizes):
            raise ConfigurationError(f"sizes must be 2 to {LARGEST} states, got {self.sizes}")
        if self.seeds < 1:
            raise ConfigurationError(f"seeds must be at least 1, got {self.seeds}")

    def run(self, jobs: int, say: Callable[[str], None] = lambda line: None) -> Results:
        """Counts updates under every rule, in so many processes.

        Raises:
            RecollectError: a rule is stuck, or a process died.
        """
        sizes, seeds = sorted({*self.sizes}), range(1, self.seeds + 1)
        found = in_processes(count_all_rules, [(n, seed) for n in sizes for seed in seeds], jobs)
        results: Results = {rule: {} for rule in RULES}
        for n in sizes:
            counts = [next(found) for _ in seeds]
            for rule, of_rule in results.items():
                of_rule[n] = Quartiles.of([count[rule] for count in counts])
            medians = (f"{rule} {of_rule[n].median:,.0f}" for rule, of_rule in results.items())
            say(f"n = {n:2}, {transitions(n):7,} transitions: {', '.join(medians)} updates")
        return results

    def draw(self, results: Results) -> Path:
        """Saves the picture: updates against N, as in the paper's figure, and updates for each."""
        path = self.out / "cliffwalk.png"
        figure = Figure(figsize=(9.5, 4.9), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        for name, of_rule in results.items():
            rule = RULES[name]
            points = [(transitions(n), quartiles) for n, quartiles in of_rule.items()]
            _draw(left, rule, points)
            if rule.unit == "N":
                _draw(right, rule, [(N, Quartiles(*(q / N for q in qs))) for N, qs in points])
                if CHECKED in of_rule:
                    ends = [rule.least, rule.most]
                    right.plot(
                        [transitions(CHECKED)] * 2, ends, color=rule.color, alpha=0.35,
                        linewidth=7, solid_capstyle="butt",
                    )  # fmt: skip
        _dress(left, "updates until learned")
        _dress(right, "updates for each transition")
        right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.legend(frameon=False, loc="upper left", fontsize=10, handlelength=3)
        figure.suptitle(
            "Blind Cliffwalk: what is replayed decides how soon values are learned",
            x=0.008, ha="left", fontweight="bold", fontsize=13,
        )  # fmt: skip
        caption = f"Lines: median over {self._seeds}; bands: between the quartiles."
        if CHECKED in self.sizes:
            caption += f" Bars: the ranges to compare with at n = {CHECKED}."
        figure.supxlabel(caption, x=0.008, ha="left", fontsize=8.5, color=plots.GREY)
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        return path

    def verdicts(self, results: Results) -> list[tuple[str, str, str, str]]:
        """Of every rule at n = 10: label, median (quartiles), range, and whether it holds."""
        rows = []
        for name, rule in RULES.items():
            if CHECKED not in results[name]:
                return []
            low, median, high = results[name][CHECKED]
            found = f"{rule.text(median)} ({rule.text(low)} to {rule.text(high)})"
            rows.append((rule.label, found, rule.expected, rule.verdict(median)))
        return rows

    def tabulate(self, results: Results) -> Path:
        """Saves the tables as Markdown."""
        path = self.out / "cliffwalk.md"
        verdicts = self.verdicts(results)
        text = [
            "# Blind Cliffwalk",
            "",
            f"recollect {rc.__version__}, `recollect experiment cliffwalk`. Updates of tabular "
            "Q-learning until the mean squared",
            f"error is below {ENOUGH:g}, as in section 3.1 and appendix B.1 of Schaul et al., "
            f"[Prioritized experience replay]({DOI}),",
            f"ICLR 2016: median over {self._seeds}, in brackets the quartiles. Every rule had the "
            "same first values and the same",
            "transitions.",
            "",
            "![Updates until the values are learned](cliffwalk.png)",
            "",
        ]
        if verdicts:
            text += [
                f"## At n = {CHECKED}, N = {transitions(CHECKED):,}",
                "",
                "The ranges are for the median over ten seeds. Rank-based replay takes the fewer "
                "updates, the oftener its",
                "ranks are sorted.",
                "",
                "| replayed | updates | range | within |",
                "|---|---:|---:|---|",
                *(f"| {' | '.join(row)} |" for row in verdicts),
                "",
            ]
        text += [
            "## All sizes",
            "",
            "| n | N | " + " | ".join(rule.label for rule in RULES.values()) + " |",
            "|---:|---:|" + "---:|" * len(RULES),
            *(
                f"| {n} | {transitions(n):,} | "
                + " | ".join(_cell(results[rule][n]) for rule in RULES)
                + " |"
                for n in results["uniform"]
            ),
            "",
        ]
        self.out.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(text), encoding="utf-8")
        return path

    @property
    def _seeds(self) -> str:
        return f"{self.seeds} seeds" if self.seeds > 1 else "one seed"


def count_all_rules(task: tuple[int, int]) -> dict[str, int]:
    """The updates of each rule, for a size and a seed."""
    return {rule: count_updates(rule, *task) for rule in RULES}


def _draw(axes: Axes, rule: Rule, points: Sequence[tuple[int, Quartiles]]) -> None:
    size = [N for N, _ in points]
    low, median, high = zip(*(quartiles for _, quartiles in points), strict=True)
    axes.fill_between(size, low, high, color=rule.color, alpha=0.2, linewidth=0)
    axes.plot(
        size, median, color=rule.color, linestyle=rule.style, linewidth=2, marker="o",
        markersize=3.5, label=rule.label,
    )  # fmt: skip


def _dress(axes: Axes, what: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(what, loc="left", fontsize=11)
    axes.set_xlabel("N, transitions in memory")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _cell(quartiles: Quartiles) -> str:
    low, median, high = quartiles
    return f"{median:,.0f} ({low:,.0f} to {high:,.0f})"
