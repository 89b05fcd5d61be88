"""The recorder on Atari games: the stacks that are sampled are those that the agent saw."""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    AtariPreprocessing,
    FrameStackObservation,
    TimeLimit,
    TransformObservation,
)

import recollect as rc
from environments import Witness, assert_holds, everything
from recollect.errors import SchemaError

gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def breakout(limit: int, preprocessing: str = "ale") -> Witness:
    """Breakout with frame skip and stacks of four frames (uint8), cut off after so many steps.

    Args:
        preprocessing: "ale" (grey and every fourth frame by ALE itself, every second pixel) or
            "gymnasium" (the largest of two frames, 84 x 84, an episode ends with a life).
    """
    if preprocessing == "ale":
        env = gymnasium.make("ALE/Breakout-v5", frameskip=4, obs_type="grayscale")
        space = gymnasium.spaces.Box(0, 255, (105, 80), np.uint8)
        env = TransformObservation(env, lambda frame: frame[::2, ::2], space)
    else:
        pytest.importorskip("cv2", reason="AtariPreprocessing needs opencv")
        env = gymnasium.make("ALE/Breakout-v5", frameskip=1)
        env = AtariPreprocessing(env, noop_max=5, frame_skip=4, terminal_on_life_loss=True)
    return Witness(FrameStackObservation(TimeLimit(env, limit), 4))


@pytest.mark.parametrize("preprocessing", ["ale", "gymnasium"])
def test_B8_stacks_of_a_game_are_those_that_the_agent_saw(preprocessing: str) -> None:
    env = breakout(70, preprocessing)
    memory = rc.Memory(rc.Schema.from_env(env, stack=4), 1_000, seed=0)
    assert memory.schema.flat["obs"].shape == env.observation_space.shape[1:]
    recorder = rc.record(env, memory)
    recorder.action_space.seed(1)
    recorder.reset(seed=1)
    for step in range(300):
        _, _, terminated, truncated, _ = recorder.step(recorder.action_space.sample())
        if terminated or truncated or step % 60 == 59:
            recorder.reset()
    assert_holds(memory, [env], stack=4)
    moving = [step for step in env.steps if not (step["obs"] == step["obs"][-1]).all()]
    assert len(moving) > 100


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
def test_B8_B10_stacks_of_several_games(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv(
        [lambda: breakout(limit=9), lambda: breakout(limit=14)], copy=False, autoreset_mode=mode
    )
    memory = rc.Memory(rc.Schema.from_env(envs, stack=4), 400, streams=2, seed=0)
    recorder = rc.record(envs, memory)
    recorder.action_space.seed(1)
    recorder.reset(seed=1)
    for _ in range(60):
        _, _, terminated, truncated, _ = recorder.step(recorder.action_space.sample())
        if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            recorder.reset(options={"reset_mask": terminated | truncated})
    assert_holds(memory, envs.envs, stack=4)


def native(stack: int, mode: AutoresetMode, limit: int) -> Any:
    return AtariVectorEnv(
        "breakout", 2, stack_num=stack, max_num_frames_per_episode=limit, autoreset_mode=mode
    )


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_B10_ales_own_vector_environment(mode: AutoresetMode) -> None:
    envs = native(1, mode, limit=48)
    other = AutoresetMode.SAME_STEP if mode is AutoresetMode.NEXT_STEP else AutoresetMode.NEXT_STEP
    native(1, other, limit=48).close()  # writes its mode into the metadata that both share
    memory = rc.Memory(rc.Schema.from_env(envs, stack=1), 400, streams=2, seed=0)
    recorder = rc.record(envs, memory)
    rng = np.random.default_rng(1)
    obs, _ = recorder.reset(seed=1)
    shadow: list[list[dict[str, Any]]] = [[], []]
    over = np.zeros(2, np.bool_)
    for _ in range(60):
        actions = rng.integers(0, 4, 2)
        before = obs.copy()
        obs, rewards, terminated, truncated, info = recorder.step(actions)
        ended = terminated | truncated
        for index in np.flatnonzero(~over):
            final = mode is AutoresetMode.SAME_STEP and ended[index]
            shadow[index].append(
                {
                    "obs": before[index, 0],
                    "action": actions[index],
                    "reward": rewards[index],
                    "next_obs": (info["final_obs"] if final else obs)[index, 0].copy(),
                    "terminated": terminated[index],
                    "truncated": truncated[index],
                }
            )
        over = ended if mode is AutoresetMode.NEXT_STEP else over
    assert_holds(memory, shadow)
    assert any(step["truncated"] for steps in shadow for step in steps)
    # read as stacks of four, every example starts at its episode's first frame again
    for example in everything(memory, stack=4).values():
        assert (example["obs"][1:] == example["next_obs"][:-1]).all()


def test_B8_stacks_that_begin_with_black_frames_are_refused() -> None:
    envs = native(4, AutoresetMode.NEXT_STEP, limit=48)
    recorder = rc.record(envs, rc.Memory(rc.Schema.from_env(envs, stack=4), 400, streams=2))
    with pytest.raises(SchemaError, match=r"obs: .*stack=4"):
        recorder.reset(seed=1)
