"""What a replay memory must get right, as cases that any library can be put through.

A case plays a script of steps, ends, overwrites, updates and saves to a memory, and judges what is
drawn from it: every observation tells its stream, episode and step, so every example shows by
itself whether it is right. Of recollect itself nothing is used but in its own adapter.

    from recollect.conformance import Adapter, run

    class Mine(Adapter): ...

    for verdict in run(Mine).verdicts:
        print(verdict.case, verdict.outcome, verdict.reason)
"""

from recollect.conformance.adapter import FEATURES, Adapter, Drawn, Settings, Steps
from recollect.conformance.cases import Case, load_cases
from recollect.conformance.run import Report, Verdict, judge, load_adapter, run

__all__ = [
    "FEATURES",
    "Adapter",
    "Case",
    "Drawn",
    "Report",
    "Settings",
    "Steps",
    "Verdict",
    "judge",
    "load_adapter",
    "load_cases",
    "run",
]
