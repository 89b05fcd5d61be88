"""Networks that value actions, for each kind of observation that `environments` knows.

what is seen           features                                      hidden layers
a vector               the vector itself                             MLP, 128-128 say
a grid of booleans     16 filters of 3 x 3 (Young & Tian, 2019)      128
four frames, 84 x 84   the three convolutions of Mnih et al., 2015   512
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import nn


class QNetwork(nn.Module):
    """Observations (B, *shape) to the values of all actions (B, actions).

    Args:
        env: with a Box of one of the shapes above, and Discrete actions.
        hidden: widths of the layers between the features and the values.
        dueling: whether the state's value and the actions' advantages are told apart (`Dueling`).
    """

    def __init__(
        self, env: gym.Env[object, object], hidden: Sequence[int], dueling: bool = False
    ) -> None:
        super().__init__()
        assert isinstance(env.action_space, spaces.Discrete)
        self.actions = int(env.action_space.n)
        self.features, width = features(env.observation_space)
        head = Dueling if dueling else mlp
        self.values = head(width, hidden, self.actions)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.values(self.features(obs.float()))
        return values


class Dueling(nn.Module):
    """The dueling head (Wang et al., 2016): value + advantage - mean advantage.

    The last hidden layer is there twice, once for each; those before it are shared.
    """

    def __init__(self, width: int, hidden: Sequence[int], actions: int) -> None:
        super().__init__()
        shared, last = hidden[:-1], hidden[-1:]
        self.shared = mlp(width, shared[:-1], shared[-1], nn.ReLU()) if shared else nn.Identity()
        width = shared[-1] if shared else width
        self.value = mlp(width, last, 1)
        self.advantage = mlp(width, last, actions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(x)
        advantage = self.advantage(x)
        values: torch.Tensor = self.value(x) + advantage - advantage.mean(dim=1, keepdim=True)
        return values


def mlp(width: int, hidden: Sequence[int], outputs: int, *after: nn.Module) -> nn.Sequential:
    """Linear layers with ReLUs between them, and what comes after."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs), *after)


def features(space: spaces.Space[object]) -> tuple[nn.Module, int]:
    """What turns observations (B, *shape), as floats, into features (B, width); and the width."""
    shape = tuple(space.shape or ())
    layers: nn.Module
    if len(shape) == 1:
        return nn.Identity(), shape[0]
    if space.dtype == bool:
        layers = nn.Sequential(
            ChannelsFirst(), nn.Conv2d(shape[2], 16, kernel_size=3), nn.ReLU(), nn.Flatten()
        )
    else:
        layers = nn.Sequential(
            Brightness(),
            nn.Conv2d(shape[0], 32, kernel_size=8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, kernel_size=3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
        )
    return layers, int(layers(torch.zeros(1, *shape)).shape[1])


class ChannelsFirst(nn.Module):
    """(B, height, width, channels) to (B, channels, height, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 1, 2)


class Brightness(nn.Module):
    """0 to 255 becomes 0 to 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 255
