"""Toy memories with one mistake each, and the cases that must find it."""

from conformance.mistakes import boundaries, hindsight, probabilities, ring, saving  # noqa: F401
from conformance.mistakes.registry import MISTAKES

__all__ = ["MISTAKES"]
