"""Training a DQN: play, learn, evaluate and save, until all steps are taken.

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

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any

import torch
from gymnasium.vector import VectorEnv

import recollect as rc
from recollect.learners.checkpoints import Checkpoint, Checkpoints
from recollect.learners.devices import find_device
from recollect.learners.dqn.learning import Learner
from recollect.learners.dqn.playing import Examiner, Player
from recollect.learners.dqn.progress import Counts, Progress, Trained, fitting
from recollect.learners.dqn.settings import DQNConfig, Seeds
from recollect.learners.environments import make_env, make_envs, stacked
from recollect.learners.interrupts import Interrupts

HEARTBEAT = 1_000
"""Steps after which progress is reported even if nothing has happened."""


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
        learner = Learner(config, exam, device, now)
        player = Player(rc.record(envs, memory), seeds.exploration)
        examiner = Examiner(exam, config.eval_episodes)
        if begun is not None:
            with fitting():
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
