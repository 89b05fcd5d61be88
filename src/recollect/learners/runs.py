"""The run folder: what was asked for, what happened, and what came of it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, Union, get_args, get_origin
from typing import get_type_hints as type_hints

import numpy as np
import torch

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.learners import dqn
from recollect.learners.checkpoints import Checkpoints
from recollect.learners.devices import find_device
from recollect.learners.environments import make_env
from recollect.stores.locks import FileLock

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LEARNERS = {"dqn": dqn.DQNConfig}
"""Each learner's name in `config.json`, and the class of its configuration."""


class RunFolder:
    """A folder that holds one run of a learner.

    - `config.json`: the learner, its configuration, the version of recollect, and when it began
    - `log.csv`: a line for each report of progress; what it says nothing of is left empty
    - `model.pt`: the weights, a PyTorch state dict
    - `curve.png`: the learning curve
    - `evaluation.json`: the final evaluation, even if it had 0 episodes; it is written last, so the
      run is finished
    - `tensorboard/`: the log once more, for TensorBoard
    - `checkpoint/`: what it takes to go on with the run; see `Checkpoints`
    - `lock`: the process that trains in it now
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.log = path / "log.csv"
        self.model = path / "model.pt"
        self.curve = path / "curve.png"
        self.evaluation = path / "evaluation.json"
        self.tensorboard = path / "tensorboard"
        self.checkpoint = path / "checkpoint"
        self.lock = path / "lock"

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are there, of all that a run leaves besides its checkpoint."""
        events = sorted(self.tensorboard.glob("events.out.tfevents.*"))
        singles = (self.config, self.log, self.model, self.curve, self.evaluation)
        return tuple(file for file in (*singles, *events) if file.is_file())

    @classmethod
    def create(cls, path: Path, overwrite: bool = False) -> RunFolder:
        """A new run folder.

        Args:
            path: a folder that does not exist or is empty.
            overwrite: a former run may be there as well, and is replaced. Other files stay.

        Raises:
            ConfigurationError: the folder holds something already.
            LockedError: the former run is still going on.
            OSError: the folder cannot be made or written to.
        """
        folder = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            if not folder._holds_run():
                raise ConfigurationError(f"{path} is not empty, and what it holds is not a run")
            if not overwrite:
                raise ConfigurationError(f"{path} holds a run already; --overwrite replaces it")
            with folder.held():
                folder._remove()
        return folder

    def _remove(self) -> None:
        for file in self.files:
            file.unlink(missing_ok=True)
        Checkpoints(self.checkpoint).remove()
        if self.tensorboard.is_dir() and not any(self.tensorboard.iterdir()):
            self.tensorboard.rmdir()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training here meanwhile.

        Raises:
            LockedError: one does already; the message says which.
            StorageError: the folder cannot be written.
        """
        lock = FileLock(self.lock, f"{self.path}: this run")
        lock.take()
        try:
            yield
        finally:
            self.lock.unlink(missing_ok=True)
            lock.close()

    @property
    def finished(self) -> bool:
        """Whether all was done that was asked for, and what came of it is here."""
        return self.evaluation.exists()

    def _holds_run(self) -> bool:
        try:
            return "recollect" in json.loads(self.config.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, TypeError):
            return False

    def save_config(
        self,
        learner: str,
        config: DataclassInstance,
        options: Mapping[str, int] | None = None,
        created: datetime | None = None,
    ) -> None:
        """Writes what was asked for.

        Args:
            options: of the run, such as how often it is saved, which change nothing of what is
                learned.
            created: when it began; now unless given.
        """
        began = datetime.now().astimezone() if created is None else created
        self._write(
            self.config,
            {
                "recollect": rc.__version__,
                "learner": learner,
                "created": began.isoformat(timespec="seconds"),
                **({} if options is None else {"options": dict(options)}),
                "config": asdict(config),
            },
        )

    def save_model(self, network: torch.nn.Module) -> None:
        """Writes the weights, all of them or nothing."""
        # not by torch itself, whose error on a full disk does not say so
        weights = io.BytesIO()
        torch.save(network.state_dict(), weights)
        whole = self.model.with_suffix(".new")
        try:
            whole.write_bytes(weights.getvalue())
            os.replace(whole, self.model)
        finally:
            whole.unlink(missing_ok=True)

    def save_evaluation(self, **results: float) -> None:
        """Writes the final evaluation, and thereby that the run is finished.

        Where there was to be none, its results are `episodes=0` alone.
        """
        self._write(self.evaluation, results)

    @staticmethod
    def _write(path: Path, content: dict[str, Any]) -> None:
        """All of it or nothing."""
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(whole, path)

    def load(self) -> Record:
        """What `save_config` wrote.

        Raises:
            ConfigurationError: there is no run, or it is damaged, or another version's.
            OSError: it cannot be read.
        """
        if not self.path.exists():
            raise ConfigurationError(f"there is no run folder {self.path}")
        if not self.config.is_file():
            raise ConfigurationError(f"{self.path} is not a run folder: it has no config.json")
        content = _json(self.config)
        if "recollect" not in content:
            raise ConfigurationError(f"{self.path} is not a run folder: its config.json is another")
        try:
            version, learner = str(content["recollect"]), str(content["learner"])
            created = datetime.fromisoformat(content["created"])
            config = dict(content["config"])
            options = {
                name: _read(value, int) for name, value in content.get("options", {}).items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(self.config, error) from error
        if learner not in LEARNERS:
            raise ConfigurationError(
                f"{self.path} is a run of the learner {learner!r} by recollect {version}, "
                f"which recollect {rc.__version__} does not know"
            )
        made = _configuration(self, version, learner, config)
        return Record(version, learner, created, made, options)

    def load_evaluation(self) -> dict[str, float] | None:
        """The final evaluation; None if the run is not finished, or that had 0 episodes.

        Raises:
            ConfigurationError: it is damaged.
        """
        if not self.finished:
            return None
        results = _json(self.evaluation)
        if results.get("episodes") == 0:
            return None
        for name in ("episodes", "mean", "standard_deviation", "min"):
            if not isinstance(results.get(name), (int, float)):
                raise _damaged(self.evaluation, f"{name} is {results.get(name)!r}")
        return results


@dataclass(frozen=True)
class Record:
    """What a run folder says of its run."""

    version: str
    """Of the recollect that wrote it."""
    learner: str
    created: datetime
    config: dqn.DQNConfig
    options: dict[str, int]
    """Of the run; those of an earlier version may be missing."""


def load(path: Path, device: str | None = None) -> tuple[dqn.DQNConfig, torch.nn.Module]:
    """The configuration of a run, and the network that it trained.

    Args:
        path: the run folder.
        device: where the network goes; where it was trained unless given.

    Raises:
        ConfigurationError: the folder holds no run, or a damaged one, or another version's, or one
            whose environment or device is not to be had here.
    """
    folder = RunFolder(path)
    config = folder.load().config
    target = find_device(config.device if device is None else device)
    env = make_env(config.env)
    network = dqn.make_network(config, env)
    env.close()
    if not folder.model.is_file():
        raise ConfigurationError(f"{path} holds no model.pt: its run was not finished")
    try:
        network.load_state_dict(torch.load(folder.model, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError) as error:
        raise _damaged(folder.model, "its weights do not fit the configuration") from error
    return config, network.to(target)


def _configuration(
    folder: RunFolder, version: str, learner: str, options: dict[str, Any]
) -> dqn.DQNConfig:
    kind = LEARNERS[learner]
    known = {field.name for field in fields(kind)}
    if options.keys() != known:
        foreign = ", ".join(sorted(options.keys() ^ known))
        raise ConfigurationError(
            f"{folder.path} belongs to recollect {version}, whose {learner} had other options than "
            f"that of recollect {rc.__version__}: {foreign}"
        )
    hints = type_hints(kind)
    try:
        return kind(**{name: _read(value, hints[name]) for name, value in options.items()})
    except (TypeError, ConfigurationError) as error:
        raise _damaged(folder.config, error) from error


def _read(value: Any, hint: Any) -> Any:
    """The value as its annotation says, after JSON has made lists of tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        fits = value in arguments
    elif origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return _read(value, option)
            except TypeError:
                continue
        fits = False
    elif origin is tuple and isinstance(value, list):
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) == len(value):
            return tuple(map(_read, value, hints))
        fits = False
    elif isinstance(value, bool):
        fits = hint is bool
    elif hint is float:
        fits = isinstance(value, (int, float))
    else:
        fits = isinstance(value, hint) if isinstance(hint, type) else False
    if not fits:
        raise TypeError(f"{value!r} is not {getattr(hint, '__name__', hint)}")
    return value


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not even text
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no object")
    return content


def _damaged(path: Path, why: Exception | str) -> ConfigurationError:
    reason = f"{why.args[0]} is missing" if isinstance(why, KeyError) else why
    return ConfigurationError(f"{path} is damaged: {reason}")


class Log:
    """A CSV file with a line for each report, and the same reports as lists of points.

    Each line is in the file when `write` returns, so that a run that was killed leaves its log.

    Args:
        path: of the file.
        keep: how many reports of a former log in its place stay, and are gone on from.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        former = path.read_bytes().splitlines(keepends=True) if keep and path.is_file() else []
        # the last line may be a part of one, after a crash
        whole = [line for line in former[: keep + 1] if line.endswith(b"\n")]
        with path.open("ab") as file:
            file.truncate(sum(map(len, whole)))
        self._file: TextIO = path.open("a", encoding="utf-8", newline="", buffering=1)
        self._headed = bool(whole)

    def write(self, report: DataclassInstance) -> None:
        """Adds a line. All reports are of one class, whose fields are the columns."""
        row = asdict(report)
        writer = csv.DictWriter(self._file, row, lineterminator="\n")
        if not self._headed:
            writer.writeheader()
            self._headed = True
        writer.writerow(row)

    def flush(self) -> None:
        """Waits until all lines would outlive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def points(log: Path, column: str) -> list[tuple[int, float]]:
    """The steps at which a log says something of `column`, and what.

    A last line that was not written to its end, as in a run that was killed, does not count.

    Raises:
        ConfigurationError: there is no log, or it is damaged.
    """
    try:
        text = log.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = csv.DictReader(whole.splitlines())
        return [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    except FileNotFoundError:
        raise ConfigurationError(f"{log.parent} holds no {log.name}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(log, error) from error


LAST = 0.2
"""The share of training, its last, over which a run's score is taken."""


def score(folder: RunFolder) -> float:
    """The mean return of the greedy evaluations in the last fifth of a run.

    Unlike the best evaluation it shows whether the agent stayed as good as it had become.

    Raises:
        ConfigurationError: there is none, or the log is damaged.
    """
    evaluations = points(folder.log, "evaluation")
    if not evaluations:
        raise ConfigurationError(f"{folder.path} was not evaluated yet: it has too few steps")
    end = evaluations[-1][0]
    returns = [value for step, value in evaluations if step > (1 - LAST) * end]
    return sum(returns) / len(returns)


class Interval(NamedTuple):
    """A mean over seeds, and its 95 % confidence interval by Student's t.

    Of a single seed there is no interval: `half` is NaN.
    """

    mean: float
    half: float
    """Half the interval's width."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Interval:
        array = np.array([*values], dtype=float)
        n = len(array)
        if n < 2:
            return cls(float(array.mean()), math.nan)
        return cls(float(array.mean()), student_t(n - 1) * float(array.std(ddof=1)) / math.sqrt(n))

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half


_STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: tabled to ten degrees of freedom, then expanded."""
    if degrees <= len(_STUDENT_T):
        return _STUDENT_T[degrees - 1]
    terms = (1.95996, 2.37227, 2.82250, 2.55585)  # Abramowitz & Stegun 26.7.5
    return sum(term * float(degrees) ** -power for power, term in enumerate(terms))
