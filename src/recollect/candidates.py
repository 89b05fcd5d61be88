"""Two-stage drawing: draw many candidates, score them, and keep the ones worth training on.

Methods whose scores are too dear to keep for every row look at a large batch first: LaBER (Lahire
et al. 2022) draws in proportion to fresh TD errors, maximally interfered retrieval (Aljundi et al.
2019) takes those whose loss a step would raise most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.batch import Batch, Fields
from recollect.errors import ConfigurationError, PriorityError
from recollect.schema import as_numpy

Score = Callable[[Batch], Any]
Choice = Literal["proportional", "highest"]


def choose_among(batch: Batch, n: int, score: Score, choose: Choice, rng: Any) -> Batch:
    """n of the candidates in `batch` (m, ...), as `score` says.

    Args:
        score: of a batch, (m,) numbers; from 0 up, where the choice is proportional to them.
        choose: "highest" takes the n of highest score, in that order, weights as they were;
            "proportional" draws with replacement. Its `probability` is then a candidate's own times
            m * score / sum(score), the expected share over both stages; the `weight` is divided by
            m * score / sum(score), so that weighted means over the n estimate those over the m.
        rng: a NumPy generator.

    Raises:
        PriorityError: scores that are not finite, negative, or all 0.
    """
    value = np.asarray(as_numpy(score(batch), "score"), np.float64)
    m = len(batch.key)
    if value.shape != (m,):
        raise ConfigurationError(
            f"score: expected {m} numbers, as many as candidates, got shape {value.shape}"
        )
    if not np.isfinite(value).all():
        raise PriorityError(f"score: expected finite numbers, got {value[~np.isfinite(value)][0]}")
    if choose == "highest":
        best: Batch = _taken(batch, np.argsort(-value, kind="stable")[:n])
        return best
    if (value < 0).any() or not value.any():
        raise PriorityError(
            f"score: expected numbers from 0 up, not all 0, got {value.min()} to {value.max()}"
        )
    share = value / value.sum()
    chosen = rng.choice(m, n, p=share)
    fields = dict(_taken(batch, chosen))
    ratio = m * share[chosen]
    fields["probability"] = fields["probability"] * ratio
    fields["weight"] = (fields["weight"] / ratio).astype(np.float32)
    return Batch(fields)


def checked(n: int, candidates: Any, score: Any, choose: Any) -> int:
    """The number of candidates, if all that two-stage drawing needs is there."""
    if candidates is None or not callable(score):
        raise ConfigurationError("sample: candidates=m and score=function go together")
    if choose not in ("proportional", "highest"):
        raise ConfigurationError(f'choose: expected "proportional" or "highest", got {choose!r}')
    if isinstance(candidates, bool) or not isinstance(candidates, (int, np.integer)):
        raise ConfigurationError(f"candidates: expected a whole number, got {candidates!r}")
    if candidates < n:
        raise ConfigurationError(f"candidates: expected at least n = {n}, got {candidates}")
    return int(candidates)


def _taken(tree: Any, rows: NDArray[np.intp]) -> Any:
    """These rows of every array in a batch, nested as it is."""
    if isinstance(tree, Fields):
        return type(tree)({name: _taken(child, rows) for name, child in tree.items()})
    if isinstance(tree, tuple):
        return tuple(_taken(child, rows) for child in tree)
    return tree[rows]
