"""The part of a DQN that learns: its network, how wrong that is, and the steps that mend it.

What an action should be worth depends on what the network says of the next state; so the goal would
move with every step towards it. A copy that lags behind, the target network, is asked instead.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

import recollect as rc
from recollect import priorities
from recollect.learners.dqn.progress import Counts
from recollect.learners.dqn.settings import DQNConfig
from recollect.learners.environments import Env
from recollect.learners.networks import QNetwork


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


class Learner:
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
