"""Gymnasium: a schema from an environment's spaces, and wrappers that add what they see.

    env = gymnasium.make("CartPole-v1")
    memory = rc.Memory(rc.Schema.from_env(env), capacity=100_000)
    env = rc.record(env, memory)        # from here on `reset` and `step` fill the memory

The one hard thing is the end of an episode, which vector environments report in three ways;
`autoreset.py` says which, and `vector.py` follows them.
"""

from recollect.gym.recording import record
from recollect.gym.schemas import schema_from_env
from recollect.gym.single import Recorder
from recollect.gym.vector import VectorRecorder

__all__ = ["Recorder", "VectorRecorder", "record", "schema_from_env"]
