"""Runs cases on adapters, and keeps the verdicts."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import random
import sys
import time
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recollect.conformance.adapter import FEATURES, Adapter, Settings
from recollect.conformance.cases import Case, load_cases
from recollect.conformance.world import Stage, Unfit

Outcome = Literal["right", "wrong", "not offered"]


@dataclass(frozen=True)
class Verdict:
    """What came of one case."""

    case: str
    outcome: Outcome
    reason: str = ""
    """Of anything but "right"."""


@dataclass(frozen=True)
class Report:
    """All verdicts on one adapter."""

    name: str
    version: str
    verdicts: list[Verdict]
    seconds: float = 0.0


def missing(adapter: type[Adapter], case: Case) -> str | None:
    """Why the case is not asked of the adapter, None if it is."""
    lacking = [feature for feature in FEATURES if feature in case.needs - adapter.offers]
    if not lacking:
        return None
    return adapter.lacks.get(lacking[0], FEATURES[lacking[0]])


def attempt(adapter: type[Adapter], case: Case) -> None:
    """Puts the adapter through one case.

    Raises:
        Unfit: it does not hold. What the library raises on the way comes through.
    """
    with ExitStack() as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        random.seed(0)
        # several libraries draw from NumPy's global generator
        np.random.seed(0)  # noqa: NPY002

        def make(settings: Settings) -> Stage:
            instance = adapter()
            opened.callback(instance.close)
            return Stage(instance, settings)

        case.check(make)


def judge(adapter: type[Adapter], case: Case) -> Verdict:
    """Puts the adapter through one case. What the library raises on the way is wrong, too."""
    reason = missing(adapter, case)
    if reason is not None:
        return Verdict(case.id, "not offered", reason)
    try:
        attempt(adapter, case)
    except Unfit as fault:
        return Verdict(case.id, "wrong", _with_remark(adapter, case, str(fault)))
    except Exception as error:
        message = f"raised {type(error).__name__}: {' '.join(str(error).split())}"
        return Verdict(case.id, "wrong", _with_remark(adapter, case, message[:300]))
    return Verdict(case.id, "right")


def _with_remark(adapter: type[Adapter], case: Case, reason: str) -> str:
    remark = adapter.remarks.get(case.id)
    return f"{reason} ({remark})" if remark else reason


def run(adapter: type[Adapter], cases: Iterable[Case] | None = None) -> Report:
    """Puts the adapter through these cases, or all of them."""
    unknown = (adapter.offers | adapter.lacks.keys()) - FEATURES.keys()
    if unknown:
        raise ValueError(f"{adapter.__name__} offers {sorted(unknown)}, which are no features")
    started = time.perf_counter()
    chosen = load_cases().values() if cases is None else cases
    verdicts = [judge(adapter, case) for case in chosen]
    return Report(adapter.name, version(adapter), verdicts, time.perf_counter() - started)


def version(adapter: type[Adapter]) -> str:
    """The installed version of the library, or an empty text."""
    try:
        return importlib.metadata.version(adapter.package) if adapter.package else ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def load_adapter(name: str) -> type[Adapter]:
    """The class that "package.module:Class" names; modules in the working directory are found, too.

    Raises:
        ValueError: there is none, or it is no adapter.
        ModuleNotFoundError: its library is not installed.
    """
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    module, _, attribute = name.partition(":")
    found: Any = getattr(importlib.import_module(module), attribute or "Adapter", None)
    if not (isinstance(found, type) and issubclass(found, Adapter)):
        raise ValueError(f"{name}: expected a subclass of recollect.conformance.Adapter")
    return found
