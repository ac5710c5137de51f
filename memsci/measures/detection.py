"""Signal detection: how well scores of old and new items can be told apart, whatever the criterion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from memsci.errors import MemsciError


def auc(old: Sequence[float], new: Sequence[float]) -> float:
    """Area under the ROC: the chance that an old item scores above a new one, ties counting half.

    For normal scores of equal spread it is Φ(d / √2), d the distance of the means in standard deviations.

    Examples
    --------
    >>> auc([3, 2], [2, 1])
    0.875
    """
    old, new = _checked(old, new)
    ranks = rankdata(np.concatenate([old, new]))
    return float((ranks[: len(old)].sum() - len(old) * (len(old) + 1) / 2) / (len(old) * len(new)))


def distance(old: Sequence[float], new: Sequence[float]) -> float:
    """d_a = (mean of old − mean of new) / √((σ_old² + σ_new²) / 2): d′ where spreads may differ.

    Examples
    --------
    >>> distance([2.0, 4.0], [0.0, 2.0])
    1.414213562373095
    """
    old, new = _checked(old, new)
    return float((old.mean() - new.mean()) / np.sqrt((old.var(ddof=1) + new.var(ddof=1)) / 2))


def slope(old: Sequence[float], new: Sequence[float]) -> float:
    """σ_new / σ_old: the slope of the zROC of normal scores.

    Examples
    --------
    >>> slope([0.0, 4.0], [0.0, 2.0])
    0.5
    """
    old, new = _checked(old, new)
    return float(new.std(ddof=1) / old.std(ddof=1))


def operating_points(old: Sequence[float], new: Sequence[float], criteria: int = 5) -> np.ndarray:
    """Hits and false alarms at so many criteria, the strictest first, [criteria, 2].

    The criteria are the quantiles of all scores together that cut them into equal parts, as a rating scale that is used
    evenly does.

    Examples
    --------
    >>> operating_points([1, 2, 3, 4], [-1, 0, 1, 2], criteria=1).tolist()
    [[0.75, 0.25]]
    """
    old, new = _checked(old, new)
    cuts = np.quantile(np.concatenate([old, new]), np.arange(criteria, 0, -1) / (criteria + 1))
    return np.array([[(side > cut).mean() for side in (old, new)] for cut in cuts])


def _checked(old: Sequence[float], new: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    sides = np.asarray(old, dtype=float), np.asarray(new, dtype=float)
    if any(side.ndim != 1 or len(side) < 2 or not np.isfinite(side).all() for side in sides):
        raise MemsciError("At least two finite scores of old items, and two of new ones, are needed.")
    return sides
