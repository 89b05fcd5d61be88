"""Every error and warning of recollect. Each is also the built-in kind that it is."""

from __future__ import annotations


class RecollectError(Exception):
    """The base of all errors that recollect raises on purpose."""


class SchemaError(RecollectError, ValueError):
    """A name, shape, dtype or value does not fit the schema."""


class ConfigurationError(RecollectError, ValueError):
    """A setting is out of range, or two settings do not go together."""


class ChainError(RecollectError, ValueError):
    """`obs` is not the `next_obs` of the step before, and `chain="raise"` was asked for."""


class TooLargeError(ConfigurationError, MemoryError):
    """A memory would need more than this machine has."""


class PriorityError(RecollectError, ValueError):
    """A priority is NaN, infinite, negative, or given to a sampler that has none."""


class EmptyMemoryError(RecollectError, LookupError):
    """Nothing is eligible to be sampled."""


class StaleError(RecollectError, KeyError):
    """What was asked for has been overwritten, removed, or was never there."""

    __str__ = Exception.__str__


class ClosedError(RecollectError, ValueError):
    """The memory was closed."""


class LockedError(RecollectError, RuntimeError):
    """Another process holds what was asked for: a memory's learner, or one of its streams."""


class ReadOnlyError(RecollectError, ValueError):
    """A memory that was opened to be looked at, or to be added to, cannot be changed otherwise."""


class StorageError(RecollectError, OSError):
    """The disk is full, a folder cannot be written, or no memory is where one was expected."""


class DamagedError(RecollectError, ValueError):
    """A file is damaged, cut short, or of a version that this one cannot read."""


class LimiterTimeoutError(RecollectError, TimeoutError):
    """Adding or sampling waited for the other side for longer than the limiter allows."""


class MissingExtraError(RecollectError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class ChainBreakWarning(UserWarning):
    """A step did not continue its episode, as after a reset that nobody reported."""
