"""Settings that suit an environment, by its name: where one setting does not serve all.

config = presets.preset("MinAtar/Breakout-v1", seed=3)
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from recollect.learners.dqn import DQNConfig

ANY = "*"

PRESETS: dict[str, dict[str, Any]] = {
    # DQNConfig's own defaults were chosen for it
    "CartPole-*": {},
    "Acrobot-*": {
        "steps": 60_000,
        "eval_every": 5_000,
    },
    # as in Young & Tian (2019), with Adam in place of RMSProp; they train for 5 million steps
    "MinAtar/*": {
        "steps": 1_000_000,
        "hidden": (128,),
        "n_step": 1,
        "learning_rate": 2.5e-4,
        "batch_size": 32,
        "warmup": 5_000,
        "target_every": 1_000,
        "epsilon_end": 0.1,
        "epsilon_steps": 100_000,
        "eval_every": 20_000,
    },
    # as in Mnih et al. (2015), with Adam's settings and the shorter copies of Rainbow (Hessel et
    # al., 2018); a million rows are 7 GB. They train for 50 million steps
    "ALE/*": {
        "steps": 10_000_000,
        "hidden": (512,),
        "n_step": 1,
        "learning_rate": 6.25e-5,
        "adam_epsilon": 1.5e-4,
        "capacity": 1_000_000,
        "batch_size": 32,
        "warmup": 20_000,
        "train_every": 4,
        "target_every": 2_000,
        "epsilon_end": 0.01,
        "epsilon_steps": 250_000,
        "eval_every": 250_000,
        "eval_episodes": 5,
    },
    # slower than CartPole's: a gradient step for every fourth step, a target that holds longer
    ANY: {
        "steps": 200_000,
        "n_step": 1,
        "train_every": 4,
        "target_every": 500,
        "epsilon_steps": 20_000,
        "eval_every": 10_000,
    },
}
"""What differs from DQNConfig's defaults, by a pattern of the name. The first that fits holds."""


def pattern(env: str) -> str:
    """The pattern whose preset holds for an environment."""
    return next(known for known in PRESETS if fnmatchcase(env, known))


def preset(env: str, **options: Any) -> DQNConfig:
    """The environment's preset, but with these options."""
    return DQNConfig(**{"env": env, **PRESETS[pattern(env)], **options})
