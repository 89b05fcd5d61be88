"""DQN (Mnih et al., 2015): learn the values of actions from replayed transitions.

The agent acts in an environment, every step goes into a memory, and now and then the network is
trained on transitions drawn from it:

    target = reward + discount * target_network(next_obs)[best next action]
    loss   = huber(network(obs)[action] - target)

Two things keep this stable. Replay breaks the correlation between one step and the next; and the
target network, a copy that lags behind, holds the goal still while the network moves towards it.
`replay="off"` and `target="off"` show what happens without.

What others have added since are options: which network finds the best next action (*double*, van
Hasselt et al., 2016), a head that tells a state's value from the advantages of its actions
(*dueling*, Wang et al., 2016), rewards summed over several steps (*n-step*), and replaying most
what was predicted worst (*prioritized*, Schaul et al., 2016).

What is missing below is what the memory does: `rc.record` adds each step, and the view makes
transitions of them. It sums n rewards, stacks frames that are stored once, and gives a `discount`
that is gamma**n, or 0 where the episode *terminated*. An episode that a time limit cut short
(*truncated*) would have had a future, so there the value of the true last observation still counts.

The weights that `train` returns are those of the best periodic greedy evaluation, not the last
ones: a DQN goes on fluctuating after it has become good. The winner's own score is flattered by
having been chosen; to measure the agent, `evaluate` it on `Seeds.of(config.seed).test`, which
nothing in training has seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import nn

import recollect as rc
from recollect import priorities
from recollect.errors import ConfigurationError, DamagedError, RecollectError
from recollect.gym import VectorRecorder
from recollect.learners.checkpoints import Checkpoint, Checkpoints
from recollect.learners.environment_states import restore, state_of
from recollect.learners.environments import Env, make_envs, stacked
from recollect.learners.environments import make_env as make_env
from recollect.learners.interrupts import Interrupts
from recollect.learners.networks import QNetwork
from recollect.samplers.base import Sampler

Switch = Literal["on", "off"]

HEARTBEAT = 1_000
"""Steps after which progress is reported even if nothing has happened."""


@dataclass(frozen=True)
class DQNConfig:
    """What a DQN is trained on, and how; the defaults are CartPole's.

    `presets.preset` has settings that suit other environments.
    """

    env: str = "CartPole-v1"
    """Gymnasium's name of the environment, such as MinAtar/Breakout-v1 or ALE/Pong-v5."""
    envs: int = 1
    """Environments that are played side by side."""
    seed: int = 1
    """Decides everything: first weights, environment, exploration, replay, evaluation."""
    steps: int = 40_000
    """Steps in all environments together."""
    device: str = "cpu"
    """Where the network lives: cpu, cuda, cuda:1, mps. The CPU is fastest for small networks."""
    threads: int = 1
    """CPU threads of PyTorch. Small products are over before a second thread has woken up."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers; images pass the convolutions that are usual for them first."""
    double: Switch = "on"
    """The network chooses the best next action, and the target network says what it is worth."""
    dueling: Switch = "off"
    """Two heads: what a state is worth, and by how much each action is better than the others."""
    n_step: int = 5
    """Rewards that are summed before the value of a next state is asked for."""
    n_step_end: int | None = None
    """What n-step becomes in the course of training; it stays as it is unless given."""
    n_step_over: int = 10_000
    """Gradient steps over which n-step moves to n-step-end."""
    gamma: float = 0.99
    """Discount: what a reward one step later is worth now."""
    learning_rate: float = 5e-4
    """Step size of Adam."""
    adam_epsilon: float = 1e-8
    """Adam's epsilon; a larger one calms the steps of weights with small gradients."""
    max_grad_norm: float = 10.0
    """A longer gradient is scaled down to this norm."""

    replay: Switch = "on"
    """Off: as many gradient steps, but only on the steps taken since the round before."""
    prioritized: Switch = "off"
    """Steps are replayed the more often the larger their TD error was when they were last."""
    alpha: float = 0.6
    """Of prioritized replay: how much the error matters, from 0 (not at all) up."""
    beta: float = 0.4
    """Of prioritized replay: how much of its bias is corrected at first, rising to all of it."""
    target: Switch = "on"
    """Off: no target network; the network, as it is now, says what next states are worth."""
    capacity: int = 100_000
    """Rows in memory; the oldest make room for the newest."""
    batch_size: int = 64
    """Transitions in a gradient step."""
    warmup: int = 1_000
    """Random steps before training begins."""
    train_every: int = 1
    """Steps between two rounds of training."""
    gradient_steps: int = 1
    """Gradient steps in a round of training."""
    target_every: int = 250
    """Gradient steps after which the target network becomes a copy of the network again."""

    epsilon_start: float = 1.0
    """Share of random actions at first."""
    epsilon_end: float = 0.05
    """Share of random actions in the end."""
    epsilon_steps: int = 10_000
    """Steps over which the one falls, evenly, to the other."""

    eval_every: int = 2_000
    """Steps between two greedy evaluations; the weights of the best one are kept."""
    eval_episodes: int = 20
    """Episodes of such an evaluation."""

    def __post_init__(self) -> None:
        for names, what, fits in _LIMITS:
            for name in names.split():
                value = getattr(self, name)
                if value is None:
                    continue
                if not all(map(fits, value if isinstance(value, tuple) else (value,))):
                    raise ConfigurationError(f"{name} must be {what}, got {value}")
        if self.prioritized == "on" and self.replay == "off":
            raise ConfigurationError("prioritized needs replay: it cannot be on where that is off")

    @property
    def most_steps(self) -> int:
        """The largest n of n-step."""
        return max(self.n_step, self.n_step_end or 1)

    def sampler(self) -> Sampler:
        """What decides which steps are trained on: all alike, the surprising, or the newest."""
        if self.replay == "off":
            return rc.Recent(window=max(self.train_every, self.envs))
        if self.prioritized == "off":
            return rc.Uniform()
        updates = max(self.steps - self.warmup, 1) * self.gradient_steps // self.train_every
        return rc.Prioritized(self.alpha, rc.linear(self.beta, 1.0, over=max(updates, 1)))


_COUNTS = """envs steps threads hidden n_step n_step_end n_step_over batch_size train_every
gradient_steps target_every epsilon_steps eval_every eval_episodes"""
_LIMITS: list[tuple[str, str, Callable[[Any], bool]]] = [
    (_COUNTS, "at least 1", lambda value: value >= 1),
    ("capacity", "at least 2", lambda value: value >= 2),
    ("seed warmup", "0 or more", lambda value: value >= 0),
    ("learning_rate adam_epsilon max_grad_norm", "more than 0", lambda v: 0 < v < math.inf),
    ("alpha", "0 or more", lambda value: 0 <= value < math.inf),
    ("beta gamma epsilon_start epsilon_end", "between 0 and 1", lambda value: 0 <= value <= 1),
]


class Seeds(NamedTuple):
    """A seed of its own for each source of chance, all from one number."""

    network: int
    env: int
    exploration: int
    memory: int
    selection: int
    test: int

    @classmethod
    def of(cls, seed: int, step: int = 0) -> Seeds:
        """Those of a run; where it begins anew at a later step, others."""
        source = np.random.SeedSequence([seed, step] if step else seed)
        return cls(*map(int, source.generate_state(len(cls._fields))))


@dataclass
class Counts:
    """How far training has come."""

    step: int = 0
    """Steps taken in all environments together."""
    episode: int = 0
    """Episodes ended."""
    updates: int = 0
    """Gradient steps taken."""
    evaluated: int = 0
    """The step of the latest greedy evaluation."""
    reports: int = 0
    """Reports made."""
    loss: float | None = None
    """What the latest report said of it."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Counts:
        """Those of a run as of a checkpoint.

        Raises:
            DamagedError: it is another learner's, or of another version.
        """
        with _fitting():
            return cls(**checkpoint.state["counts"])


@dataclass(frozen=True)
class Progress:
    """Where training stands: after each episode, each evaluation, and every `HEARTBEAT` steps."""

    step: int
    """Steps taken."""
    episode: int
    """Episodes ended."""
    epsilon: float
    """Share of random actions now."""
    rows: int
    """Rows of the memory in use."""
    bytes: int = 0
    """That these rows take."""
    updates: int = 0
    """Gradient steps taken."""
    replay_ratio: float = 0.0
    """Transitions drawn from the memory for each step added to it."""
    loss: float | None = None
    """Mean over the gradient steps since the report before, if there were any; else as in that."""
    episode_return: float | None = None
    """Sum of rewards of the episode that has just ended, if one has."""
    evaluation: float | None = None
    """Mean return of the greedy evaluation that has just ended, if one has."""


class Trained(NamedTuple):
    """What came out of training."""

    network: QNetwork
    """With the weights of the best evaluation, or the present ones if there was none yet."""
    score: float | None
    """Mean return in that evaluation: a choice among many, so flattering. Measure afresh."""
    steps: int
    """Steps taken."""
    interrupted: bool
    """Whether Ctrl-C ended it."""


def find_device(name: str) -> torch.device:
    """The device, once it has proved to work.

    Raises:
        ConfigurationError: there is none of that name on this machine.
    """
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ConfigurationError(f"cannot use the device {name!r}: {reason}") from error
    return torch.device(name)


def make_network(config: DQNConfig, env: Env) -> QNetwork:
    """The network that the configuration asks for, untrained."""
    return QNetwork(env, config.hidden, config.dueling == "on")


def td_error(
    network: nn.Module, target: nn.Module, batch: rc.Batch, double: bool = False
) -> torch.Tensor:
    """(B,), how far `network(obs)[action]` is above the target.

        target = reward + discount * target(next_obs)[best next action]

    The best next action is the target network's own choice, or, with `double`, the network's:
    whoever both chooses and values an action overrates it.
    """
    with torch.no_grad():
        values = target(batch.next_obs)
        best = (network(batch.next_obs) if double else values).argmax(dim=1, keepdim=True)
        goal = batch.reward + batch.discount * values.gather(1, best).squeeze(1)
    value = network(batch.obs).gather(1, batch.action.long().unsqueeze(1)).squeeze(1)
    error: torch.Tensor = value - goal
    return error


def weighted_huber(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The mean Huber loss of errors (B,), each with its importance weight (B,)."""
    loss = nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none")
    return (weight * loss).mean()


@torch.no_grad()
def greedy(network: nn.Module, obs: NDArray[Any], device: torch.device) -> NDArray[np.int64]:
    """The actions of the largest values, one for each of the observations (B, ...)."""
    actions: NDArray[np.int64] = (
        network(torch.as_tensor(obs, device=device)).argmax(dim=1).cpu().numpy()
    )
    return actions


def evaluate(
    network: nn.Module, env: Env, episodes: int, seed: int | None = None
) -> NDArray[np.float64]:
    """Returns of so many greedy episodes; without a seed the environment goes on from its last."""
    device = next(network.parameters()).device
    returns = np.zeros(episodes)
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed if episode == 0 else None)
        ended = False
        while not ended:
            action = greedy(network, obs[None], device)[0]
            obs, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += float(reward)
            ended = terminated or truncated
    return returns


class _Learner:
    """The network, what trains it, and its best weights so far."""

    def __init__(self, config: DQNConfig, env: Env, device: torch.device, now: Counts) -> None:
        self.network = make_network(config, env).to(device)
        self.best: tuple[float, dict[str, Any]] | None = None
        """The score of the best evaluation, and the weights that reached it."""
        self._target = copy.deepcopy(self.network) if config.target == "on" else self.network
        self._double = config.double == "on" and self._target is not self.network
        self._optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, eps=config.adam_epsilon, fused=True
        )
        self._losses: list[torch.Tensor] = []
        self._config, self._device, self._now = config, device, now

    def learn(self, memory: rc.Memory) -> None:
        """Takes one gradient step, on transitions drawn from the memory."""
        network, target, config = self.network, self._target, self._config
        batch = memory.sample(config.batch_size).torch(self._device)
        error = td_error(network, target, batch, self._double)
        loss = weighted_huber(error, batch.weight)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        self._optimizer.step()
        self._losses.append(loss.detach())
        if memory.sampler.takes_priorities:
            memory.update(batch.key, priority=priorities.td_error(error))
        self._now.updates += 1
        if target is not network and self._now.updates % config.target_every == 0:
            target.load_state_dict(network.state_dict())

    def note_loss(self) -> None:
        """Notes the mean loss of the gradient steps since it was noted last, if there were any."""
        if self._losses:
            self._now.loss = float(torch.stack(self._losses).mean())
            self._losses.clear()

    def note_score(self, score: float) -> None:
        """Keeps the present weights if none before were better."""
        if self.best is None or score >= self.best[0]:
            self.best = score, copy.deepcopy(self.network.state_dict())

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here."""
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        return {**parts, "losses": self._losses, "best": self.best}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where another was."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self._losses = [loss.to(self._device) for loss in state["losses"]]
        self.best = state["best"]

    @property
    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"network": self.network, "target": self._target, "optimizer": self._optimizer}


class _Player:
    """Plays in all environments side by side, now and then at random."""

    def __init__(self, envs: VectorRecorder, seed: int) -> None:
        self._envs = envs
        self._rng = np.random.default_rng(seed)
        self._obs: Any = None
        self._returns = np.zeros(envs.num_envs)

    def begin(self, seed: int) -> None:
        """Begins episodes, unless it is within some; the memory closes those that are open."""
        if self._obs is None:
            self._obs, _ = self._envs.reset(seed=seed)

    def step(self, network: QNetwork, epsilon: float | None, device: torch.device) -> list[float]:
        """Takes a step in each environment; gives the returns of the episodes that end by it.

        Args:
            epsilon: share of random actions; None if all are.
        """
        actions = self._rng.integers(network.actions, size=len(self._returns))
        if epsilon is not None:
            exploits = self._rng.random(len(actions)) >= epsilon
            if exploits.any():
                actions = np.where(exploits, greedy(network, self._obs, device), actions)
        self._obs, rewards, terminated, truncated, _ = self._envs.step(actions)
        self._returns += rewards
        ended = terminated | truncated
        finished: list[float] = self._returns[ended].tolist()
        self._returns[ended] = 0
        return finished

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; without the environments if that is unknown."""
        return {
            "exploration": self._rng.bit_generator.state,
            "envs": state_of(self._envs),
            "obs": self._obs,
            "returns": self._returns,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where another was, if it can within its episodes."""
        self._rng.bit_generator.state = state["exploration"]
        if state["envs"] is not None:
            restore(self._envs, state["envs"])
            self._obs, self._returns = state["obs"], state["returns"]


class _Examiner:
    """Measures the network now and then, in an environment of its own."""

    def __init__(self, env: Env, episodes: int) -> None:
        self.state: dict[str, Any] | None = None
        """What `restore` needs to go on from the latest examination; None if it cannot be had."""
        self._env, self._episodes = env, episodes

    def begin(self, seed: int) -> None:
        """Makes ready for the first examination, unless there is one to go on from."""
        if self.state is None:
            self._env.reset(seed=seed)
            self.state = state_of(self._env)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Goes on from where another was, if it can."""
        if state is not None:
            restore(self._env, state)
            self.state = state

    def examine(self, network: QNetwork) -> float:
        """The mean return of greedy episodes. If it is interrupted, `state` is as it was."""
        score = float(evaluate(network, self._env, self._episodes).mean())
        self.state = state_of(self._env)
        return score


def train(
    config: DQNConfig,
    report: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Checkpoints | None = None,
    begun: Checkpoint | None = None,
) -> Trained:
    """Trains as the configuration says. Ctrl-C ends it early; what was learned is returned.

    Sets the seed and the threads of PyTorch. The same configuration gives the same run, on the same
    device and versions. It gives it also where a run was stopped and goes on from a checkpoint,
    provided that `environment_states` knows the environment; if it does not, the open episodes are
    closed as truncated, new ones begin, and all else goes on.

    Args:
        report: called after each episode, each evaluation, and every `HEARTBEAT` steps.
        checkpoints: where to save the run every so many steps, at its end, and at Ctrl-C (a second
            one ends it at once, without).
        begun: a checkpoint of a run of this configuration, or of one with fewer steps, to go on
            from. Schedules over all steps, as that of beta, stay as they were.

    Raises:
        ConfigurationError: the environment or the device cannot be used.
        MissingExtraError: the package that the environment comes from is not installed.
        StorageError: a checkpoint cannot be written.
        DamagedError: the checkpoint is of another configuration.
    """
    now = Counts() if begun is None else Counts.of(begun)
    seeds = Seeds.of(config.seed, now.step)
    torch.manual_seed(seeds.network)
    torch.set_num_threads(config.threads)
    device = find_device(config.device)
    with closing(make_env(config.env)) as exam, closing(make_envs(config.env, config.envs)) as envs:
        memory = _memory(config, envs, seeds.memory) if begun is None else begun.memory
        learner = _Learner(config, exam, device, now)
        player = _Player(rc.record(envs, memory), seeds.exploration)
        examiner = _Examiner(exam, config.eval_episodes)
        if begun is not None:
            with _fitting():
                learner.restore(begun.state["learner"])
                player.restore(begun.state["player"])
                examiner.restore(begun.state["examiner"])
                torch.set_rng_state(begun.state["torch"])
        player.begin(seeds.env)
        examiner.begin(seeds.selection)

        epsilon_at = rc.linear(config.epsilon_start, config.epsilon_end, config.epsilon_steps)
        # before that there may be no step with all its n successors
        warmup = max(config.warmup, config.envs * config.most_steps)
        saved = now.step, now.evaluated

        def passed(every: int) -> int:
            """How many multiples of `every` the latest step in all environments has reached."""
            return now.step // every - (now.step - config.envs) // every

        def tell(**news: float) -> None:
            learner.note_loss()
            now.reports += 1
            stats = memory.stats()
            rows = int(stats["rows"])
            size = int(stats["bytes"] * rows / memory.capacity)
            ratio = stats["sampled"] / stats["added"]
            epsilon = epsilon_at(now.step)
            report(
                Progress(
                    now.step, now.episode, epsilon, rows, size, now.updates, ratio, now.loss, **news
                )
            )

        def save() -> None:
            nonlocal saved
            if checkpoints is None or not checkpoints.every or saved == (now.step, now.evaluated):
                return
            state = {
                "counts": asdict(now),
                "learner": learner.state(),
                "player": player.state(),
                "examiner": examiner.state,
                "torch": torch.get_rng_state(),
            }
            checkpoints.save(memory, state)
            saved = now.step, now.evaluated

        with Interrupts() as interrupts:
            torn = interrupted = False
            try:
                while not interrupts.asked:
                    over = now.step >= config.steps
                    due = over or passed(config.eval_every)
                    if due and now.updates and now.evaluated < now.step:
                        interrupts.waits = False
                        score = examiner.examine(learner.network)
                        interrupts.waits = True
                        now.evaluated = now.step
                        learner.note_score(score)
                        tell(evaluation=score)
                    if over:
                        break
                    if checkpoints is not None and checkpoints.every and passed(checkpoints.every):
                        save()

                    epsilon = epsilon_at(now.step) if now.step >= config.warmup else None
                    finished = player.step(learner.network, epsilon, device)
                    now.step += config.envs
                    for episode_return in finished:
                        now.episode += 1
                        tell(episode_return=episode_return)
                    if passed(HEARTBEAT):
                        tell()
                    rounds = passed(config.train_every) if now.step > warmup else 0
                    for _ in range(rounds * config.gradient_steps):
                        learner.learn(memory)
            except KeyboardInterrupt:
                torn, interrupted = interrupts.waits, True  # an evaluation tears nothing
            if not torn:
                with suppress(KeyboardInterrupt):
                    save()
            interrupted = interrupted or interrupts.asked
    if learner.best is not None:
        learner.network.load_state_dict(learner.best[1])
    return Trained(learner.network, learner.best and learner.best[0], now.step, interrupted)


def _memory(config: DQNConfig, envs: VectorEnv[Any, Any, Any], seed: int) -> rc.Memory:
    """An empty one, as the configuration asks for it."""
    stack = stacked(envs.single_observation_space)
    n: int | rc.linear = config.n_step
    if config.n_step_end is not None:
        n = rc.linear(config.n_step, config.n_step_end, over=config.n_step_over)
    return rc.Memory(
        rc.Schema.from_env(envs, stack=stack),
        config.capacity,
        streams=config.envs,
        view=rc.NStep(n, gamma=config.gamma, stack=stack),
        sampler=config.sampler(),
        seed=seed,
    )


@contextmanager
def _fitting() -> Iterator[None]:
    """Says so where a checkpoint does not fit what it is put into."""
    try:
        yield
    except RecollectError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedError(f"the checkpoint is of another configuration: {error}") from error
