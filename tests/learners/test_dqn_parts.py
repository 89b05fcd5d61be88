"""What DQN is made of: its formulas by hand, its seeds and settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.learners import dqn
from recollect.learners.devices import find_device
from recollect.learners.environments import make_env


class Line(torch.nn.Module):
    """Action values (slope_0 * obs, slope_1 * obs) of a scalar observation."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.tensor([slopes]))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return obs * self.slopes


@pytest.mark.parametrize(
    ("terminated", "truncated", "ends"),
    [
        (False, False, False),
        (False, True, False),  # the true last observation has a value
        (True, False, True),
        (True, True, True),
    ],
)
@pytest.mark.parametrize(("action", "slope"), [(0, 4.25), (1, 1.0)])
# of the target's values of the next state, -3 and 6, its own best, or that of the network's best
@pytest.mark.parametrize(("double", "future"), [(False, 6), (True, -3)])
def test_td_error_and_loss_by_hand(terminated, truncated, ends, action, slope, double, future):
    goal = 1.5 if ends else 1.5 + 0.5 * future
    schema = rc.Schema.steps(obs=rc.Field((1,), np.float32), action=rc.Field((), np.int64))
    memory = rc.Memory(schema, 10, view=rc.Transition(gamma=0.5), seed=0)
    memory.add(
        obs=np.ones(1, np.float32),
        action=action,
        reward=1.5,
        next_obs=np.full(1, 3, np.float32),
        terminated=terminated,
        truncated=truncated,
    )
    network, target = Line(4.25, 1.0), Line(-1.0, 2.0)
    errors = dqn.td_error(network, target, memory.sample(4).torch(), double=double)
    assert errors.tolist() == pytest.approx([slope - goal] * 4)
    error = abs(slope - goal)
    huber = 0.5 * error**2 if error <= 1 else error - 0.5
    loss = dqn.weighted_huber(errors, torch.tensor([1.0, 1.0, 1.5, 0.5]))
    assert loss.item() == pytest.approx(huber)
    assert dqn.weighted_huber(errors, torch.full((4,), 0.5)).item() == pytest.approx(huber / 2)

    loss.backward()
    slopes = network.slopes.grad.flatten()
    assert slopes[action].item() == pytest.approx(float(np.clip(slope - goal, -1, 1)))
    assert slopes[1 - action].item() == 0
    assert target.slopes.grad is None


def test_evaluation_is_decided_by_its_seed():
    network = dqn.train(dqn.DQNConfig(steps=100)).network
    env = make_env("CartPole-v1")
    first = dqn.evaluate(network, env, 6, seed=5)
    going_on = dqn.evaluate(network, env, 6)
    again = dqn.evaluate(network, env, 6, seed=5)
    np.testing.assert_array_equal(first, again)
    assert (first != going_on).any()


def test_every_source_of_chance_has_its_own_seed():
    assert len(set(dqn.Seeds.of(1)) | set(dqn.Seeds.of(2))) == 2 * len(dqn.Seeds._fields)
    assert dqn.Seeds.of(1) == dqn.Seeds.of(1)


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cpu:x", "meta"])
def test_devices_that_cannot_be_used(name):
    with pytest.raises(rc.ConfigurationError, match=f"cannot use the device '{name}'"):
        find_device(name)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("hidden", (64, 0)),
        ("capacity", 1),
        ("seed", -1),
        ("warmup", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("max_grad_norm", float("inf")),
        ("gamma", 1.01),
        ("epsilon_end", -0.1),
        ("envs", 0),
        ("n_step_end", 0),
        ("adam_epsilon", 0.0),
    ],
)
def test_settings_out_of_range(option, value):
    with pytest.raises(rc.ConfigurationError, match=f"{option} must be"):
        dqn.DQNConfig(**{option: value})
