"""The commands there are, and how a command line becomes one of them."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Protocol, cast

from tyro.extras import SubcommandApp

from recollect.cli.bitflip import RunBitflip
from recollect.cli.cliffwalk import RunCliffwalk
from recollect.cli.compare import Compare
from recollect.cli.conformance import RunConformance
from recollect.cli.eval import Evaluate
from recollect.cli.experiment import RunAblation
from recollect.cli.info import Info
from recollect.cli.rehearsal import RunRehearsal, TrainRehearsal
from recollect.cli.train import train_dqn, with_learner
from recollect.cli.truncation import RunTruncation
from recollect.cli.verify import Verify


class UsageError(Exception):
    """The command line makes no sense."""


class Command(Protocol):
    """A command with its options, ready to run."""

    def run(self) -> int:
        """Does it, and returns the exit status."""
        ...


train = SubcommandApp()
train.command(name="rehearsal")(TrainRehearsal)

experiment = SubcommandApp()
experiment.command(name="ablation")(RunAblation)
experiment.command(name="bitflip")(RunBitflip)
experiment.command(name="cliffwalk")(RunCliffwalk)
experiment.command(name="rehearsal")(RunRehearsal)
experiment.command(name="truncation")(RunTruncation)

recollect = SubcommandApp()
recollect.command(train, name="train", help="Train an agent or a classifier with replay.")
recollect.command(name="eval")(Evaluate)
recollect.command(name="compare")(Compare)
recollect.command(name="info")(Info)
recollect.command(name="verify")(Verify)
recollect.command(name="conformance")(RunConformance)
recollect.command(experiment, name="experiment", help="Reproduce published results.")


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments ask for; `--help` prints and exits.

    Raises:
        UsageError: they make no sense; says why, in one line.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            return _parse(arguments)
    except SystemExit as stop:
        if stop.code:
            raise UsageError(_reason(errors.getvalue())) from None
    return _parse(arguments)  # for help, with the colours and frames that only a terminal gets


def _parse(arguments: Sequence[str]) -> Command:
    arguments = with_learner(arguments)
    # its defaults depend on --env and --resume
    train.command(name="dqn")(train_dqn(arguments))
    command = recollect.cli(
        prog="recollect",
        description="Experience replay. `recollect --version` prints the version.",
        args=arguments,
    )
    return cast(Command, command)


def _reason(printed: str) -> str:
    """tyro prints sections between rules: a title, the message, advice, and where to find help."""
    sections = [section.strip() for section in re.split(r"^ *-{3,} *$", printed, flags=re.M)]
    if len(sections) < 3:
        return printed
    return f"{sections[1].rstrip('.')}. {sections[-1]}"
