"""Where PyTorch computes."""

from __future__ import annotations

import torch

from recollect.errors import ConfigurationError


def find_device(name: str) -> torch.device:
    """The device, once it has proved to work.

    Raises:
        ConfigurationError: there is none of that name on this machine.
    """
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ConfigurationError(f"cannot use the device {name!r}: {reason}") from error
    return torch.device(name)
