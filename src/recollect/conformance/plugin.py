"""A pytest plug-in: every case as a test of one's own buffer.

    pytest -p recollect.conformance.plugin --replay-adapter=my_module:Adapter

A case that needs what the adapter does not offer is skipped, and says what that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recollect.conformance.adapter import Adapter
from recollect.conformance.cases import Case, load_cases
from recollect.conformance.run import attempt, load_adapter, missing
from recollect.conformance.world import Unfit


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("replay memories")
    group.addoption(
        "--replay-adapter",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="put this adapter of a replay memory through recollect's conformance cases",
    )
    group.addoption(
        "--replay-case",
        action="append",
        default=[],
        metavar="ID",
        help="only cases whose id begins so, such as B or P5",
    )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    for name in config.getoption("--replay-adapter"):
        items += _items(session, config, name)


def _items(session: pytest.Session, config: pytest.Config, name: str) -> Iterator[pytest.Item]:
    try:
        adapter = load_adapter(name)
    except (ImportError, ValueError) as error:
        raise pytest.UsageError(f"--replay-adapter={name}: {error}") from error
    wanted = tuple(config.getoption("--replay-case") or [""])
    for case in load_cases().values():
        if case.id.startswith(wanted):
            title = f"{adapter.__name__}[{case.id}]"
            yield ConformanceItem.from_parent(session, name=title, adapter=adapter, case=case)


class ConformanceItem(pytest.Item):
    """One case, as a test."""

    def __init__(self, *, adapter: type[Adapter], case: Case, **rest: Any) -> None:
        super().__init__(**rest)
        self.adapter = adapter
        self.case = case

    def runtest(self) -> None:
        reason = missing(self.adapter, self.case)
        if reason is not None:
            pytest.skip(f"not offered: {reason}")
        attempt(self.adapter, self.case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Unfit):
            return f"{self.case.id}: {self.case.title}\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return Path(__file__), None, f"conformance {self.name}"
