"""The command line: `recollect train dqn --env CartPole-v1 --seed 1`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import recollect as rc


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    0: done. 1: it failed. 2: the command line was wrong. 130: Ctrl-C. What went wrong is said in
    one line on stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        print(f"recollect {rc.__version__}")
        return 0
    try:
        from recollect.cli.commands import UsageError, parse
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("recollect"):
            raise
        package = error.name.split(".")[0]
        return _fail(f'{package} is not installed: pip install "recollect[train]"', 1)
    try:
        return parse(arguments).run()
    except UsageError as error:
        return _fail(str(error), 2)
    except rc.RecollectError as error:
        return _fail(str(error), 1)
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        return _fail(f"{about}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(message: str, status: int) -> int:
    print("recollect:", " ".join(message.split()), file=sys.stderr)
    return status
