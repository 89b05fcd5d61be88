"""One file a library: its adapters, one for each way of using it. Nothing here is imported before
it is asked for."""

from __future__ import annotations

LIBRARIES = {
    "recollect": ("recollect:Ram", "recollect:Compressed", "recollect:OnDisk"),
    "stable-baselines3": (
        "stable_baselines3:Plain",
        "stable_baselines3:MemoryOptimised",
        "stable_baselines3:NStep",
        "stable_baselines3:Hindsight",
    ),
    "cpprb": ("cpprb:Cpprb",),
    "tianshou": ("tianshou:Tianshou",),
    "torchrl": ("torchrl:TorchRL",),
    "flashbax": ("flashbax:Flashbax",),
    "rlox": ("rlox:Rlox",),
    "reverb": ("reverb:Reverb",),
}
"""By name, in the order in which they are shown: "module:Class" within this package."""


def adapters(library: str) -> list[str]:
    """What `load_adapter` takes for each adapter of a library.

    Raises:
        ValueError: there is no such library.
    """
    if library not in LIBRARIES:
        raise ValueError(f"{library}: expected one of {', '.join(LIBRARIES)}")
    return [f"{__name__}.{name}" for name in LIBRARIES[library]]
