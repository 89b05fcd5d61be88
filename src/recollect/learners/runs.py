"""The run folder: what was asked for, what happened, and what came of it."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import recollect as rc
from recollect.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class RunFolder:
    """A folder that holds one run of a learner.

    - `config.json`: the learner, its configuration, and the version of recollect
    - `log.csv`: a line for each report of progress; what it says nothing of is left empty
    - `model.pt`: the weights, a PyTorch state dict
    - `curve.png`: the learning curve
    - `evaluation.json`: the final evaluation
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.log = path / "log.csv"
        self.model = path / "model.pt"
        self.curve = path / "curve.png"
        self.evaluation = path / "evaluation.json"

    @property
    def files(self) -> tuple[Path, ...]:
        return self.config, self.log, self.model, self.curve, self.evaluation

    @classmethod
    def create(cls, path: Path, overwrite: bool = False) -> RunFolder:
        """A new run folder.

        Args:
            path: a folder that does not exist or is empty.
            overwrite: a former run may be there as well, and is replaced. Other files stay.

        Raises:
            ConfigurationError: the folder holds something already.
            OSError: the folder cannot be made or written to.
        """
        folder = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            if not folder._holds_run():
                raise ConfigurationError(f"{path} is not empty, and what it holds is not a run")
            if not overwrite:
                raise ConfigurationError(f"{path} holds a run already; --overwrite replaces it")
            for file in folder.files:
                file.unlink(missing_ok=True)
        return folder

    def _holds_run(self) -> bool:
        try:
            return "recollect" in json.loads(self.config.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, TypeError):
            return False

    def save_config(self, learner: str, config: DataclassInstance) -> None:
        """Writes what was asked for."""
        self._write(
            self.config,
            {"recollect": rc.__version__, "learner": learner, "config": asdict(config)},
        )

    def save_evaluation(self, **results: float) -> None:
        """Writes the final evaluation."""
        self._write(self.evaluation, results)

    @staticmethod
    def _write(path: Path, content: dict[str, Any]) -> None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


class Log:
    """A CSV file with a line for each report, and the same reports as lists of points.

    Each line reaches the disk when it is written, so that a run that was killed leaves its log.
    """

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._writer: csv.DictWriter[str] | None = None

    def write(self, report: DataclassInstance) -> None:
        """Adds a line. All reports are of one class, whose fields are the columns."""
        row = asdict(report)
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, row, lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)

    def close(self) -> None:
        self._file.close()


def points(log: Path, column: str) -> list[tuple[int, float]]:
    """The steps at which a log says something of `column`, and what."""
    with log.open(encoding="utf-8", newline="") as lines:
        return [
            (int(row["step"]), float(row[column])) for row in csv.DictReader(lines) if row[column]
        ]
