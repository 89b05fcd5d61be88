"""The recorder on single and vector environments, against what witnesses saw."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    Autoreset,
    FrameStackObservation,
    RecordEpisodeStatistics,
    TimeLimit,
    TransformObservation,
)
from gymnasium.wrappers import vector as vector_wrappers

import recollect as rc
from environments import (
    ACTIONS,
    OBSERVATIONS,
    SCRIPTS,
    Native,
    Proof,
    Witness,
    assert_holds,
    everything,
    sync,
)
from recollect.errors import ConfigurationError, SchemaError

MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)


def memory_of(env: Any, capacity: int = 8_000, **schema: Any) -> rc.Memory:
    """A memory that holds all that these tests add."""
    streams = env.num_envs if isinstance(env, gymnasium.vector.VectorEnv) else None
    return rc.Memory(rc.Schema.from_env(env, **schema), capacity, streams=streams, seed=0)


def play(env: Any, steps: int) -> None:
    """The loop of a user with one environment, who adds nothing himself."""
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()


def play_vector(env: Any, mode: AutoresetMode, steps: int) -> None:
    """The loop of a user with a vector environment."""
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            env.reset(options={"reset_mask": terminated | truncated})


class Shows(gymnasium.Env[Any, Any]):
    """An environment that only has spaces."""

    def __init__(self, obs: spaces.Space[Any], action: spaces.Space[Any] | None = None) -> None:
        self.observation_space = obs
        self.action_space = spaces.Discrete(2) if action is None else action


# schema_from_env


@pytest.mark.parametrize(
    ("space", "field"),
    [
        (spaces.Box(0, 255, (8, 6, 3), np.uint8), rc.Field((8, 6, 3), np.uint8)),
        (spaces.Box(-1, 1, (), np.float64), rc.Field((), np.float64)),
        (spaces.Discrete(5, start=-2), rc.Field((), np.int64)),
        (spaces.Discrete(5, dtype=np.int16), rc.Field((), np.int16)),
        (spaces.MultiDiscrete([[2, 3], [4, 5]], dtype=np.int32), rc.Field((2, 2), np.int32)),
        (spaces.MultiBinary((3, 4)), rc.Field((3, 4), np.int8)),
    ],
    ids=lambda value: value.__class__.__name__,
)
def test_schema_has_the_spaces_own_shape_and_dtype(space: Any, field: rc.Field) -> None:
    schema = rc.Schema.from_env(Shows(space, space))
    assert schema == rc.Schema.steps(obs=field, action=field)


def test_schema_of_nested_spaces() -> None:
    schema = rc.Schema.from_env(
        Proof(obs="nested", action="tuple"), cost=rc.Field((2,), np.float64)
    )
    assert {name: (field.shape, field.dtype.name) for name, field in schema.flat.items()} == {
        "obs.eye.bits": ((8,), "int8"),
        "obs.eye.left": ((36, 30), "uint8"),
        "obs.rest.0": ((), "int32"),
        "obs.rest.1": ((3,), "int32"),
        "action.0": ((2,), "int64"),
        "action.1": ((2,), "float32"),
        "reward": ((), "float32"),
        "cost": ((2,), "float64"),
    }


def test_schema_takes_a_reward_of_the_users() -> None:
    schema = rc.Schema.from_env(Proof(), reward=rc.Field((), np.float64))
    assert schema.flat["reward"].dtype == np.float64


@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_schema_of_a_vector_environment_is_that_of_one(obs: str) -> None:
    envs = sync(AutoresetMode.NEXT_STEP, obs=obs, action="dict")
    assert rc.Schema.from_env(envs) == rc.Schema.from_env(Proof(obs=obs, action="dict"))


class Strange(spaces.Space[Any]):
    """A space of a kind that nobody knows."""


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Graph(spaces.Box(0, 1, (2,)), None),
        spaces.Sequence(spaces.Discrete(3)),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1, (2,))]),
        Strange((3,), np.float32),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_space_without_fixed_size_is_refused_with_its_path(space: spaces.Space[Any]) -> None:
    inside = spaces.Dict(image=spaces.Box(0, 1, (2,)), words=space)
    with pytest.raises(SchemaError) as refusal:
        rc.Schema.from_env(Shows(inside))
    for part in ("obs.words", str(space), "TransformObservation"):
        assert part in str(refusal.value)
    with pytest.raises(SchemaError, match=r"action\.1.*TransformAction"):
        rc.Schema.from_env(Shows(spaces.Discrete(2), spaces.Tuple((spaces.Discrete(2), space))))


def test_an_empty_box_is_refused_with_its_path() -> None:
    with pytest.raises(SchemaError, match=r"obs\.0"):
        rc.Schema.from_env(Shows(spaces.Tuple((spaces.Box(0, 1, (0,)),))))


def test_schema_from_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="str"):
        rc.Schema.from_env("CartPole-v1")


def test_schema_of_stacked_observations_stores_one_of_them() -> None:
    for obs in ("box", "number", "nested"):
        env = Proof(obs=obs)
        stacked = FrameStackObservation(env, 4)
        assert rc.Schema.from_env(stacked, stack=4) == rc.Schema.from_env(env)
        assert rc.Schema.from_env(stacked, stack={"obs": 4}) == rc.Schema.from_env(env)


def test_schema_unstacks_only_the_leaves_that_are_named() -> None:
    box = spaces.Box(0, 1, (3, 2))
    env = Shows(spaces.Dict(eye=spaces.Dict(left=box, right=box), pose=box))
    for stack in ({"obs.eye": 3}, {"obs.eye.left": 3, "obs.eye.right": 3}):
        flat = rc.Schema.from_env(env, stack=stack).flat
        assert [flat[f"obs.{name}"].shape for name in ("eye.left", "eye.right", "pose")] == [
            (2,),
            (2,),
            (3, 2),
        ]


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (4, r"obs: expected shape \(4, \.\.\.\).*\(3,\)"),
        ({"obs.image": 3}, r"'obs\.image' is none of obs"),
        ({"action": 3}, "'action' is none of obs"),
        (0, "positive whole number, got 0"),
        (True, "positive whole number, got True"),
        (2.5, r"positive whole number, got 2\.5"),
    ],
)
def test_a_stack_that_the_environment_does_not_have_is_refused(stack: Any, message: str) -> None:
    with pytest.raises((SchemaError, ConfigurationError), match=message):
        rc.Schema.from_env(Proof(), stack=stack)


# one environment


def test_cartpole() -> None:
    env = Witness(gymnasium.make("CartPole-v1"))
    memory = memory_of(env)
    recorder = rc.record(env, memory)
    play(recorder, 600)
    assert_holds(memory, [env])
    assert any(step["terminated"] for step in env.steps)


def test_B3_pendulum_only_truncates() -> None:
    env = Witness(gymnasium.make("Pendulum-v1", max_episode_steps=25))
    memory = memory_of(env)
    play(rc.record(env, memory), 120)
    assert_holds(memory, [env])
    found = everything(memory).values()
    assert sum(step["truncated"] for step in found) == 4
    assert not any(step["terminated"] for step in found)
    # 0 at every step but the last of an episode, whose successor is no reset and no repetition
    assert all(not np.array_equal(step["obs"], step["next_obs"]) for step in found)


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("obs", ["box", "dict", "tuple", "nested"])
def test_B3_B5_every_step_of_nested_spaces(obs: str, action: str, reuse: bool) -> None:
    env = Witness(Proof(2, obs=obs, action=action, reuse=reuse))
    memory = memory_of(env)
    play(rc.record(env, memory), 40)
    assert_holds(memory, [env])


def test_B5_one_step_episodes() -> None:
    env = Witness(Proof(script=SCRIPTS[3]))
    memory = memory_of(env)
    play(rc.record(env, memory), 30)
    assert_holds(memory, [env])
    assert len(memory) == memory.stats()["eligible"] == memory.stats()["episodes"] == 30


def test_B9_reset_in_the_middle_of_an_episode_is_no_broken_chain() -> None:
    env = Witness(Proof(script=[(9, "terminated")]))
    memory = memory_of(env)
    recorder = rc.record(env, memory)
    for steps in (3, 0, 1, 9, 4):
        recorder.reset()
        for _ in range(steps):
            recorder.step(0)
    recorder.reset()
    assert_holds(memory, [env])
    ends = [step for step in everything(memory).values() if step["truncated"]]
    assert [step["obs"].tolist() for step in ends] == [[0, 0, 2], [0, 2, 0], [0, 4, 3]]


def test_B9_a_step_that_the_memory_refused_breaks_the_chain() -> None:
    class Spoiled(Proof):
        def step(self, action: Any) -> Any:
            obs, gain, *rest = super().step(action)
            return obs, np.nan if obs.tolist() == [0, 0, 3] else gain, *rest

    env = Witness(Spoiled(script=[(6, "terminated")]))
    memory = memory_of(env, reward=rc.Field((), np.float32, finite=True))
    recorder = rc.record(env, memory)
    recorder.reset()
    for _ in range(2):
        recorder.step(0)
    with pytest.raises(SchemaError, match="reward"):
        recorder.step(0)
    assert recorder.key == -1
    with pytest.warns(rc.ChainBreakWarning):
        recorder.step(0)
    recorder.step(0)
    found = list(everything(memory).values())
    assert [step["obs"].tolist()[2] for step in found] == [0, 1, 3, 4]
    assert [step["next_obs"].tolist()[2] for step in found] == [1, 2, 4, 5]
    assert [bool(step["truncated"]) for step in found] == [False, True, False, False]
    assert memory.stats()["chain_breaks"] == 1


def test_the_key_of_the_newest_step() -> None:
    env = Witness(Proof())
    memory = memory_of(env)
    recorder = rc.record(env, memory)
    recorder.reset()
    assert recorder.key == -1
    keys = []
    for _ in range(3):
        recorder.step(0)
        keys.append(recorder.key)
    assert list(everything(memory)) == keys


def test_extras_go_through_step() -> None:
    env = Witness(Proof(reuse=True))
    memory = memory_of(
        env, log_prob=rc.Field(), state=(rc.Field((2,), np.int32), rc.Field((), np.int64))
    )
    recorder = rc.record(env, memory)
    obs, _ = recorder.reset()
    for index in range(3):
        # a view of the observation, which the environment overwrites
        obs, *_ = recorder.step(0, log_prob=index / 2, state=(obs[1:], index))
    found = list(everything(memory).values())
    assert [step["log_prob"].item() for step in found] == [0, 0.5, 1]
    assert [step["state.0"].tolist() for step in found] == [[0, 0], [0, 1], [0, 2]]
    assert [step["state.1"].item() for step in found] == [0, 1, 2]


def test_an_environment_may_overwrite_the_action() -> None:
    class Clips(Proof):
        def step(self, action: Any) -> Any:
            action[:] = 0
            return super().step(action)

    schema = rc.Schema.from_env(Clips(action="continuous"))
    memory, memories = rc.Memory(schema, 100), rc.Memory(schema, 100, streams=1)
    env = rc.record(Clips(action="continuous"), memory)
    envs = rc.record(SyncVectorEnv([lambda: Clips(action="continuous")]), memories)
    env.reset()
    envs.reset()
    env.step(np.ones(2, np.float32))
    envs.step(np.ones((1, 2), np.float32))
    for held in (memory, memories):
        assert [step["action"].tolist() for step in everything(held).values()] == [[1, 1]]


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({}, "missing log_prob"),
        ({"log_prob": 0.0, "logits": 1.0}, "unknown logits"),
        ({"logits": 1.0}, "missing log_prob; unknown logits"),
    ],
)
def test_wrong_extras_are_refused_before_the_step(extras: dict[str, Any], message: str) -> None:
    env = Witness(Proof())
    memory = memory_of(env, log_prob=rc.Field())
    recorder = rc.record(env, memory)
    recorder.reset()
    with pytest.raises(SchemaError, match=message):
        recorder.step(0, **extras)
    envs = sync(AutoresetMode.NEXT_STEP)
    vector_memory = memory_of(envs, log_prob=rc.Field())
    vector_recorder = rc.record(envs, vector_memory)
    vector_recorder.reset()
    with pytest.raises(SchemaError, match=message):
        vector_recorder.step(np.zeros(4, np.int64), **extras)
    assert not env.steps
    assert not envs.envs[0].steps
    assert not len(memory)
    assert not len(vector_memory)


def test_there_is_no_step_without_an_episode() -> None:
    env = Witness(Proof(script=[(1, "terminated")]))
    recorder = rc.record(env, memory_of(env))
    with pytest.raises(ResetNeeded):
        recorder.step(0)
    recorder.reset()
    recorder.step(0)
    with pytest.raises(ResetNeeded):
        recorder.step(0)
    assert len(env.steps) == 1
    envs = sync(AutoresetMode.NEXT_STEP)
    with pytest.raises(ResetNeeded):
        rc.record(envs, memory_of(envs)).step(np.zeros(4, np.int64))


@pytest.mark.parametrize("named", [None, "NextStep"])
def test_B10_a_single_environment_that_resets_itself(named: str | None) -> None:
    env = Witness(Proof())
    memory = memory_of(env)
    resets_itself = Autoreset(env)
    if named:
        resets_itself = TransformObservation(resets_itself, lambda obs: obs, None)
    recorder = rc.record(resets_itself, memory, autoreset=named)
    recorder.reset()
    for _ in range(50):
        recorder.step(0)
    assert_holds(memory, [env])


def test_usual_wrappers_inside_and_outside() -> None:
    witness = Witness(gymnasium.make("CartPole-v1"))
    memory = memory_of(witness)
    recorder = rc.record(RecordEpisodeStatistics(witness), memory)
    env = RecordEpisodeStatistics(TimeLimit(recorder, 30), stats_key="outer")
    play(env, 300)
    # the outer limit ends episodes that the recorder sees reset in the middle
    assert_holds(memory, [witness])
    assert env.get_wrapper_attr("memory") is memory
    assert recorder.get_wrapper_attr("steps") is witness.steps
    assert recorder.unwrapped is witness.unwrapped
    assert recorder.observation_space == witness.observation_space
    assert recorder.spec is not None
    assert recorder.spec.id == "CartPole-v1"


def test_what_step_and_reset_return_is_untouched() -> None:
    env = Proof(obs="dict", action="dict")
    recorder = rc.record(env, memory_of(env))
    twin = Proof(obs="dict", action="dict")
    for got, expected in [
        (recorder.reset(seed=3), twin.reset(seed=3)),
        *(
            (recorder.step({"move": np.zeros(2, np.float32), "fire": 1}), twin.step(0))
            for _ in "ab"
        ),
    ]:
        np.testing.assert_equal(got, expected)


def test_single_environments_feed_the_streams_of_one_memory_from_threads() -> None:
    envs = [Witness(Proof(number, SCRIPTS[number])) for number in range(4)]
    memory = rc.Memory(rc.Schema.from_env(envs[0]), 8_000, streams=4, seed=0)
    actors = [rc.record(env, memory, stream=stream) for stream, env in enumerate(envs)]
    threads = [threading.Thread(target=play, args=(actor, 60)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_holds(memory, envs)


# frame stacks


@pytest.mark.parametrize("obs", ["box", "number", "dict", "tuple", "nested"])
@pytest.mark.parametrize("depth", [1, 3])
def test_B8_stacks_are_rebuilt_as_the_agent_saw_them(obs: str, depth: int) -> None:
    env = Witness(FrameStackObservation(Proof(1, obs=obs), depth))
    memory = memory_of(env, stack=depth)
    play(rc.record(env, memory), 40)
    assert_holds(memory, [env], stack=depth)


@every_mode
def test_B8_B10_stacks_in_a_vector_environment(mode: AutoresetMode) -> None:
    makers = [
        partial(lambda i: Witness(FrameStackObservation(Proof(i, SCRIPTS[i], "dict"), 3)), number)
        for number in range(4)
    ]
    envs = SyncVectorEnv(makers, copy=False, autoreset_mode=mode)
    memory = memory_of(envs, stack={"obs": 3})
    play_vector(rc.record(envs, memory), mode, 40)
    assert_holds(memory, envs.envs, stack={"obs": 3})


def test_whole_stacks_can_be_stored_as_they_are() -> None:
    env = Witness(FrameStackObservation(Proof(), 3, padding_type="zero"))
    memory = memory_of(env)
    play(rc.record(env, memory), 20)
    assert_holds(memory, [env])


def test_a_stack_that_pads_with_zeros_is_refused() -> None:
    env = FrameStackObservation(Proof(1), 3, padding_type="zero")
    with pytest.raises(ConfigurationError, match="padding_type"):
        rc.record(env, memory_of(env, stack=3))
    envs = SyncVectorEnv([lambda: FrameStackObservation(Proof(1), 3, padding_type="zero")])
    with pytest.raises(ConfigurationError, match="padding_type"):
        rc.record(envs, memory_of(envs, stack=3))


def test_B8_a_stack_that_is_none_is_refused_at_the_first_observation() -> None:
    env = gymnasium.make("CartPole-v1")
    memory = rc.Memory(rc.Schema.steps(obs=rc.Field(), action=rc.Field((), np.int64)), 100)
    recorder = rc.record(env, memory)
    with pytest.raises(SchemaError, match=r"obs: expected a stack to begin.*4 times.*stack=4"):
        recorder.reset(seed=0)
    assert len(memory) == 0


class Skips(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Stacks every second frame."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(FrameStackObservation(env, 5))
        self.observation_space = gymnasium.vector.utils.batch_space(env.observation_space, 3)

    def observation(self, observation: Any) -> Any:
        return observation[::2]


@every_mode
def test_B8_a_stack_of_other_frames_than_the_last_is_refused(mode: AutoresetMode) -> None:
    env = Skips(Proof())
    memory = memory_of(env, stack=3)
    with pytest.raises(SchemaError, match="obs: expected a stack of the last 3 observations"):
        play(rc.record(env, memory), 3)
    envs = SyncVectorEnv([lambda: Skips(Proof())] * 2, autoreset_mode=mode)
    memories = memory_of(envs, stack=3)
    with pytest.raises(SchemaError, match="obs: expected a stack of the last 3 observations"):
        play_vector(rc.record(envs, memories), mode, 3)
    assert (len(memory), len(memories)) == (1, 2)


def test_after_a_reset_that_failed_there_is_no_step() -> None:
    class Fails(Proof):
        fails = False

        def reset(self, **how: Any) -> Any:
            if self.fails:
                raise OSError("no connection")
            return super().reset(**how)

    env = Fails()
    envs = SyncVectorEnv([lambda: env])
    for recorder, action in (
        (rc.record(env, memory_of(env)), 0),
        (rc.record(envs, memory_of(envs)), np.zeros(1, np.int64)),
    ):
        env.fails = False
        recorder.reset()
        recorder.step(action)
        env.fails = True
        with pytest.raises(OSError, match="no connection"):
            recorder.reset()
        with pytest.raises(ResetNeeded):
            recorder.step(action)


class RunsOn(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Stacks frames, and forgets to empty the stack at every reset but the first."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.vector.utils.batch_space(env.observation_space, 3)
        self._frames: list[Any] = []

    def observation(self, observation: Any) -> Any:
        self._frames = [*(self._frames or [observation] * 3), observation][-3:]
        return np.stack(self._frames)


@every_mode
def test_B8_B10_a_stack_that_runs_on_into_the_next_episode_is_refused(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([lambda: RunsOn(Proof())] * 2, autoreset_mode=mode)
    with pytest.raises(
        SchemaError, match="obs: expected a stack to begin an episode with one frame 3 times"
    ):
        play_vector(rc.record(envs, memory_of(envs, stack=3)), mode, 5)
    env = Autoreset(RunsOn(Proof()))
    recorder = rc.record(env, memory_of(env, stack=3))
    recorder.reset()
    for _ in range(3):
        recorder.step(0)
    with pytest.raises(
        SchemaError, match="obs: expected a stack to begin an episode with one frame 3 times"
    ):
        recorder.step(0)


# vector environments


@every_mode
@pytest.mark.parametrize("copy", [True, False], ids=["copied", "shared"])
@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_B10_B3_B5_every_mode_and_observation(mode: AutoresetMode, copy: bool, obs: str) -> None:
    envs = sync(mode, copy=copy, obs=obs)
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory), mode, 60)
    assert_holds(memory, envs.envs)


@every_mode
@pytest.mark.parametrize("action", ACTIONS)
def test_B10_every_mode_and_action(mode: AutoresetMode, action: str) -> None:
    envs = sync(mode, action=action)
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory), mode, 30)
    assert_holds(memory, envs.envs)


@every_mode
@pytest.mark.parametrize("obs", ["box", "dict", "nested"])
def test_B10_native_environments_with_plain_final_observations(
    mode: AutoresetMode, obs: str
) -> None:
    envs = Native(SCRIPTS, mode, mode, obs=obs)
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory), mode, 60)
    assert_holds(memory, envs.envs)


def test_B10_under_disabled_nothing_is_stored_until_the_reset() -> None:
    envs = Native(SCRIPTS, AutoresetMode.DISABLED, AutoresetMode.DISABLED)
    memory = memory_of(envs)
    recorder = rc.record(envs, memory)
    for _ in range(4):
        recorder.reset()
        over = np.zeros(4, np.bool_)
        while not over.all():
            _, _, terminated, truncated, _ = recorder.step(np.zeros(4, np.int64))
            assert ((recorder.keys < 0) == over).all()
            over |= terminated | truncated
        recorder.step(np.zeros(4, np.int64))
        assert (recorder.keys == -1).all()
    assert_holds(memory, envs.envs)


@every_mode
def test_B9_B10_resets_in_the_middle_end_only_the_episodes_they_name(mode: AutoresetMode) -> None:
    envs = sync(mode, [((50, "terminated"),)] * 3)
    memory = memory_of(envs)
    recorder = rc.record(envs, memory)
    recorder.reset()
    for mask in ([1, 0, 0], [0, 1, 1], None, [1, 0, 0]):
        for _ in range(3):
            recorder.step(np.zeros(3, np.int64))
        recorder.reset(options=None if mask is None else {"reset_mask": np.array(mask, np.bool_)})
    recorder.step(np.zeros(3, np.int64))
    assert_holds(memory, envs.envs)
    assert [env.steps[-1]["episode"] for env in envs.envs] == [3, 2, 2]


@every_mode
def test_B10_reset_when_some_environments_are_over(mode: AutoresetMode) -> None:
    envs = sync(mode)
    memory = memory_of(envs)
    recorder = rc.record(envs, memory)
    for steps in (1, 3, 2, 5, 1, 1, 4):
        recorder.reset()
        for index in range(steps):
            _, _, terminated, truncated, _ = recorder.step(np.zeros(4, np.int64))
            ended = terminated | truncated
            if mode is AutoresetMode.DISABLED and ended.any() and index < steps - 1:
                recorder.reset(options={"reset_mask": ended})
    assert_holds(memory, envs.envs)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_B3_environments_that_reuse_their_arrays(mode: AutoresetMode) -> None:
    envs = sync(mode, copy=False, reuse=True)
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory), mode, 40)
    assert_holds(memory, envs.envs)


def test_B3_a_final_observation_overwritten_by_its_reset_is_refused() -> None:
    envs = sync(AutoresetMode.SAME_STEP, reuse=True)
    memory = memory_of(envs)
    with pytest.raises(ConfigurationError, match="environment 3 returns the same array"):
        play_vector(rc.record(envs, memory), AutoresetMode.SAME_STEP, 2)
    assert len(memory) == 0


def test_a_constant_observation_may_be_one_array() -> None:
    class Bandit(Proof):
        constant = np.zeros(3, np.int32)

        def _observe(self) -> Any:
            return self.constant

    envs = SyncVectorEnv(
        [lambda: Witness(Bandit(script=[(1, "terminated")]))],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory), AutoresetMode.SAME_STEP, 5)
    assert_holds(memory, envs.envs)


def test_B10_keys_of_the_newest_steps() -> None:
    envs = sync(AutoresetMode.NEXT_STEP)
    memory = memory_of(envs, turn=rc.Field((), np.int64))
    recorder = rc.record(envs, memory)
    recorder.reset()
    assert (recorder.keys == -1).all()
    turns: dict[int, int] = {}
    for turn in range(20):
        recorder.step(np.zeros(4, np.int64), turn=np.full(4, turn))
        turns |= {key: turn for key in recorder.keys.tolist() if key != -1}
    found = everything(memory)
    assert {key: step["turn"].item() for key, step in found.items()} == turns


# who says how a vector environment resets


@pytest.mark.parametrize("states", [None, "SomeDay", 3])
def test_B10_unknown_modes_are_refused(states: Any) -> None:
    envs = Native(SCRIPTS, AutoresetMode.NEXT_STEP, states)
    with pytest.raises(ConfigurationError, match="does not say how it resets"):
        rc.record(envs, memory_of(envs))


@every_mode
@pytest.mark.parametrize("name", ["member", "name", "value", "lower"])
def test_B10_the_mode_can_be_named(mode: AutoresetMode, name: str) -> None:
    named = {"member": mode, "name": mode.name, "value": mode.value, "lower": mode.name.lower()}
    envs = Native(SCRIPTS, mode)
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory, autoreset=named[name]), mode, 20)
    assert_holds(memory, envs.envs)


def test_B10_a_mode_that_does_not_exist_is_refused() -> None:
    envs = sync(AutoresetMode.NEXT_STEP)
    with pytest.raises(ConfigurationError, match="NEXT_STEP, SAME_STEP, DISABLED, got 'later'"):
        rc.record(envs, memory_of(envs), autoreset="later")
    env = Proof()
    for mode in ("later", AutoresetMode.SAME_STEP):
        with pytest.raises(ConfigurationError, match="autoreset"):
            rc.record(env, memory_of(env), autoreset=mode)


def test_B10_a_mode_stated_for_another_environment_does_not_count() -> None:
    """Some environments write their mode into the dictionary that all of them share."""

    class Modest(Native):
        def __init__(self) -> None:
            super().__init__(SCRIPTS, AutoresetMode.NEXT_STEP)
            del self.metadata

    envs = Modest()
    shared = gymnasium.vector.VectorEnv.metadata
    assert envs.metadata is shared
    before = dict(shared)
    shared["autoreset_mode"] = AutoresetMode.SAME_STEP
    try:
        with pytest.raises(ConfigurationError, match="does not say how it resets"):
            rc.record(envs, memory_of(envs))
    finally:
        shared.clear()
        shared.update(before)


@pytest.mark.parametrize("how", ["absent", "masked", "listed"])
def test_B10_same_step_without_final_observations_is_refused(how: str) -> None:
    class Hides(Native):
        def step(self, actions: Any) -> Any:
            *result, info = super().step(actions)
            if how == "listed":
                return *result, [{"final_obs": None}] * self.num_envs
            info = {"final_obs": self._final, "_final_obs": np.zeros(self.num_envs, np.bool_)}
            return *result, info if how == "masked" else {}

    envs = Hides(SCRIPTS, AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP)
    memory = memory_of(envs)
    with pytest.raises(ConfigurationError, match=r"environment 3 .*final_obs"):
        play_vector(rc.record(envs, memory), AutoresetMode.SAME_STEP, 5)
    assert len(memory) == 0


# Gymnasium's own vector environments


@every_mode
@pytest.mark.parametrize("shared", [True, False], ids=["shared-memory", "pipes"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_B10_environments_in_other_processes(mode: AutoresetMode, shared: bool) -> None:
    def use(recorder: Any) -> None:
        for steps in (2, 1, 9, 3, 14):  # reset while some are over and others in the middle
            play_vector(recorder, mode, steps)

    scripts = SCRIPTS[:2]
    twins = sync(mode, scripts, obs="tuple")
    use(rc.record(twins, memory_of(twins)))
    makers = [partial(Proof, number, script, "tuple") for number, script in enumerate(scripts)]
    envs = AsyncVectorEnv(makers, shared_memory=shared, copy=False, autoreset_mode=mode)
    memory = memory_of(envs)
    try:
        use(rc.record(envs, memory))
    finally:
        envs.close()
    found = everything(memory)
    assert memory.stats()["chain_breaks"] == 0
    if shared or mode is not AutoresetMode.NEXT_STEP:
        for stream, twin in enumerate(twins.envs):
            got = [step for key, step in found.items() if key >> 40 == stream]
            assert len(got) == len(twin.steps)
            for step, expected in zip(got, twin.steps, strict=True):
                assert step["obs.0"].tolist() == expected["obs"][0].tolist()
    for step in found.values():
        for name, value in step.items():
            if name.startswith("obs."):
                later = step[f"next_{name}"]
                if value.shape == (3,):
                    assert (later - value).tolist() == [0, 0, 1]


@every_mode
def test_B10_cartpole_of_unequal_lengths(mode: AutoresetMode) -> None:
    makers = [
        partial(
            lambda limit: Witness(gymnasium.make("CartPole-v1", max_episode_steps=limit)), limit
        )
        for limit in (1, 7, 12, 500)
    ]
    envs = SyncVectorEnv(makers, autoreset_mode=mode)
    memory = memory_of(envs)
    play_vector(rc.record(envs, memory), mode, 150)
    assert_holds(memory, envs.envs)
    ends = [(step["terminated"], step["truncated"]) for env in envs.envs for step in env.steps]
    assert {(True, False), (False, True)} <= set(ends)


def test_B10_native_cartpole() -> None:
    envs = gymnasium.make_vec("CartPole-v1", num_envs=3, max_episode_steps=20)
    assert not isinstance(envs, SyncVectorEnv)
    memory = memory_of(envs)
    recorder = vector_wrappers.RecordEpisodeStatistics(rc.record(envs, memory))
    seen: list[list[dict[str, Any]]] = [[], [], []]
    recorder.action_space.seed(1)
    obs, _ = recorder.reset(seed=1)
    over = np.zeros(3, np.bool_)
    for _ in range(120):
        actions = recorder.action_space.sample()
        later, rewards, terminated, truncated, _ = recorder.step(actions)
        for index in np.flatnonzero(~over):
            seen[index].append(
                {
                    "obs": obs[index],
                    "action": actions[index],
                    "reward": rewards[index],
                    "next_obs": later[index],
                    "terminated": terminated[index],
                    "truncated": truncated[index],
                }
            )
        obs, over = later, terminated | truncated
    assert_holds(memory, seen)
    assert any(step["truncated"] for step in seen[0] + seen[1] + seen[2])


@every_mode
def test_usual_vector_wrappers_inside_and_outside(mode: AutoresetMode) -> None:
    envs = sync(mode)
    memory = memory_of(envs)
    inner = vector_wrappers.RecordEpisodeStatistics(envs)
    recorder = vector_wrappers.RecordEpisodeStatistics(rc.record(inner, memory), stats_key="outer")
    recorder.reset()
    for _ in range(30):
        _, _, terminated, truncated, _ = recorder.step(np.zeros(4, np.int64))
        if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            recorder.reset(options={"reset_mask": terminated | truncated})
    assert_holds(memory, envs.envs)
    assert recorder.num_envs == 4
    assert recorder.unwrapped is envs


# what does not fit


def test_streams_must_match_the_environments() -> None:
    envs, env = sync(AutoresetMode.NEXT_STEP), Proof()
    schema = rc.Schema.from_env(env)
    for streams in (None, 3):
        with pytest.raises(ConfigurationError, match=rf"num_envs=4.*streams={streams}"):
            rc.record(envs, rc.Memory(schema, 100, streams=streams))
    with pytest.raises(ConfigurationError, match=r"single environment.*streams=3"):
        rc.record(env, rc.Memory(schema, 100, streams=3))
    for stream in (3, -1, True, "a"):
        with pytest.raises(ConfigurationError, match="stream"):
            rc.record(env, rc.Memory(schema, 100, streams=3), stream=stream)
    with pytest.raises(ConfigurationError, match=r"stream=0.*streams=None"):
        rc.record(env, rc.Memory(schema, 100), stream=0)
    with pytest.raises(ConfigurationError, match="stream"):
        rc.record(envs, rc.Memory(schema, 100, streams=4), stream=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"obs": rc.Field((4,), np.int32)}, r"obs: .*\(3,\).*\(4,\)"),
        ({"obs": rc.Field((3,), np.bool_)}, "obs: .*int32.*bool"),
        ({"obs": {"where": rc.Field((3,), np.int32)}}, "obs: .*where"),
        ({"obs": (rc.Field((3,), np.int32),)}, "obs: "),
        ({"action": rc.Field((5,), np.float32)}, r"action: .*\(\).*\(5,\)"),
        ({"action": rc.Field((), np.bool_)}, "action: .*int64.*bool"),
    ],
)
def test_spaces_must_fit_the_schema(fields: dict[str, Any], message: str) -> None:
    given = {"obs": rc.Field((3,), np.int32), "action": rc.Field((), np.int64)} | fields
    memory = rc.Memory(rc.Schema.steps(**given), 100)
    with pytest.raises(SchemaError, match=message):
        rc.record(Proof(), memory)


def test_nested_spaces_must_fit_the_schema() -> None:
    env = Proof(obs="dict")
    fields = dict(rc.Schema.from_env(env).fields["obs"])
    for name, field in {
        "image": rc.Field((36, 31), np.uint8),
        "count": rc.Field((), np.bool_),
    }.items():
        schema = rc.Schema.steps(obs=fields | {name: field}, action=rc.Field((), np.int64))
        with pytest.raises(SchemaError, match=rf"obs\.{name}: "):
            rc.record(env, rc.Memory(schema, 100))


def test_a_schema_may_be_wider_than_the_space() -> None:
    env = Witness(Proof())
    schema = rc.Schema.steps(obs=rc.Field((3,), np.float32), action=rc.Field((), np.uint8))
    memory = rc.Memory(schema, 1_000, seed=0)
    play(rc.record(env, memory), 20)
    assert_holds(memory, [env])


def test_a_memory_of_examples_is_refused() -> None:
    memory = rc.Memory(rc.Schema.examples(x=rc.Field()), 10)
    with pytest.raises(ConfigurationError, match="examples"):
        rc.record(Proof(), memory)


def test_something_else_than_an_environment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="str"):
        rc.record("CartPole-v1", memory_of(Proof()))  # type: ignore[call-overload]
