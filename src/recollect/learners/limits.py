"""Which values the settings of a learner may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recollect.errors import ConfigurationError

Limits = Sequence[tuple[str, str, Callable[[Any], bool]]]
"""Names of settings, what they must be, and whether a value is."""


def check(settings: object, limits: Limits) -> None:
    """Looks at each setting, of a tuple at each value; one that is None says nothing.

    Raises:
        ConfigurationError: a value is out of range.
    """
    for names, what, fits in limits:
        for name in names.split():
            value = getattr(settings, name)
            values = value if isinstance(value, tuple) else (value,)
            if value is not None and not all(map(fits, values)):
                raise ConfigurationError(f"{name} must be {what}, got {value}")
