"""One file a library. Each offers some of these functions, and says why it lacks the others.

    sample_vectors(rows)    -> a call that draws 256 transitions of so many rows
    sample_nstep(rows)      -> the same as 3-step returns
    sample_frames(rows)     -> a call that draws 32 transitions of four stacked frames
    sequence_frames(rows)   -> a call that draws 16 sequences of 64 steps of 64 x 64 x 3 bytes
    sequence_vectors(rows)  -> a call that draws 64 sequences of 80 steps
    prioritized(rows)       -> a call that draws 256 by priority and gives them new priorities
    hindsight(rows)         -> a call that draws 256 transitions, four of five with a new goal
    add_one(rows)           -> a call that adds one step
    add_sixteen(rows)       -> a call that adds one step of each of sixteen environments
    loop(rows)              -> a call that adds one step and draws 256
    stored_frames(rows, episodes) -> a memory of so many steps of these episodes over and over, as
                               small as the library can keep 4 stacked frames; not a call
    saved_vectors(rows)     -> two calls: save(path) writes a memory of so many rows to a file or
                               folder that is not there, load(path) makes another one of it
    saved_frames(rows)      -> the same of as many stored frames

What is drawn is complete: obs, action, reward, next_obs, and how the step ended; a sequence holds
every observation once. `NOT_OFFERED` and `REMARKS` go by the name of the function.
"""

from __future__ import annotations

import importlib
from types import ModuleType

LIBRARIES = (
    "recollect",
    "cpprb",
    "stable_baselines3",
    "tianshou",
    "torchrl",
    "flashbax",
    "rlox",
)
OURS = LIBRARIES[0]


def opened(function: str) -> tuple[dict[str, ModuleType], dict[str, str], dict[str, str]]:
    """The libraries that are installed and offer this, why the others are not there, and remarks.

    Of each by the library's name.
    """
    offered: dict[str, ModuleType] = {}
    missing: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for library in LIBRARIES:
        try:
            module = importlib.import_module(f"benchmarks.libraries.{library}")
        except ImportError as error:
            missing[library] = f"not installed: {error}"
            continue
        reason = getattr(module, "NOT_OFFERED", {}).get(function)
        if reason:
            missing[library] = reason
            continue
        offered[library] = module
        remark = getattr(module, "REMARKS", {}).get(function)
        if remark:
            remarks[library] = remark
    return offered, missing, remarks
