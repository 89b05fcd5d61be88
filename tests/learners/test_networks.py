"""The networks: their sizes as published, and what a dueling head does."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from recollect.learners.networks import QNetwork

VECTOR = spaces.Box(-1, 1, (4,), np.float32)
GRID = spaces.Box(0, 1, (10, 10, 4), bool)
FRAMES = spaces.Box(0, 255, (4, 84, 84), np.uint8)


def network(space, hidden, actions=3, dueling=False):
    torch.manual_seed(0)
    env = SimpleNamespace(observation_space=space, action_space=spaces.Discrete(actions))
    return QNetwork(env, hidden, dueling)


def size(module):
    return sum(weights.numel() for weights in module.parameters())


@pytest.mark.parametrize(
    ("space", "hidden", "weights"),
    [
        (VECTOR, (8, 6), (4 * 8 + 8) + (8 * 6 + 6) + (6 * 3 + 3)),
        # 16 filters of 3 x 3 over 10 x 10 leave 8 x 8
        (GRID, (128,), (9 * 4 * 16 + 16) + (64 * 16 * 128 + 128) + (128 * 3 + 3)),
        # 84 becomes 20, 9 and 7
        (
            FRAMES,
            (512,),
            (64 * 4 * 32 + 32)
            + (16 * 32 * 64 + 64)
            + (9 * 64 * 64 + 64)
            + (49 * 64 * 512 + 512)
            + (512 * 3 + 3),
        ),
    ],
    ids=["vector", "grid", "frames"],
)
@pytest.mark.parametrize("dueling", [False, True])
def test_every_kind_of_observation_is_valued(space, hidden, weights, dueling):
    net = network(space, hidden, dueling=dueling)
    obs = torch.as_tensor(np.stack([space.sample() for _ in range(5)]))
    assert net(obs).shape == (5, 3)
    assert net(obs).dtype == torch.float32
    if not dueling:
        assert size(net) == weights


def test_bytes_and_booleans_are_scaled_to_one():
    seen = []
    for space in (GRID, FRAMES):
        net = network(space, (8,))
        first = next(layer for layer in net.features if isinstance(layer, torch.nn.Conv2d))
        first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        net(torch.as_tensor(np.full((1, *space.shape), space.high.max(), space.dtype)))
    assert [float(x.max()) for x in seen] == [1.0, 1.0]
    assert [tuple(x.shape) for x in seen] == [(1, 4, 10, 10), (1, 4, 84, 84)]


@pytest.mark.parametrize("hidden", [(), (6,), (8, 6), (9, 8, 6)])
def test_advantages_are_told_from_the_value(hidden):
    net = network(VECTOR, hidden, dueling=True)
    head = net.values
    # the mean of the actions' values is the state's own
    obs = torch.randn(7, 4)
    torch.testing.assert_close(net(obs).mean(dim=1, keepdim=True), head.value(head.shared(obs)))
    # and the last hidden layer is there twice
    widths = [layer.out_features for layer in head.modules() if isinstance(layer, torch.nn.Linear)]
    assert sorted(widths) == sorted([*hidden, *hidden[-1:], 1, 3])


def test_dueling_networks_learn_through_both_heads():
    net = network(VECTOR, (8, 6), dueling=True)
    net(torch.randn(5, 4))[:, 0].sum().backward()
    assert all(weights.grad is not None for weights in net.parameters())
