"""Which toy must fail which case."""

from __future__ import annotations

from typing import Any

from conformance.toys import Right

MISTAKES: list[tuple[type[Right], str]] = []
"""A toy, and a case that it must fail."""


def fails(*cases: str) -> Any:
    def register(toy: type[Right]) -> type[Right]:
        MISTAKES.extend((toy, case) for case in cases)
        return toy

    return register
