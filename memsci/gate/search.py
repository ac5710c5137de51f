"""Exact search: the keys nearest to a cue, straight from the mapped matrix.

Shapes: b cues, n keys, d width, k found.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from usearch.index import MetricKind, search

from memsci.config import SIMILARITIES
from memsci.errors import MemsciError, check_in, check_whole

SPARE = 24  # candidates beyond k
PART = 8192  # keys that are compared at a time
_METRICS = {"inner": MetricKind.IP, "cosine": MetricKind.Cos}
_SHORTEST = 1e-12  # no vector is divided by less, as in torch's `normalize`


def nearest(
    cues: Tensor, keys: np.ndarray, k: int, similarity: str, longest: float, dead: np.ndarray
) -> tuple[Tensor, Tensor]:
    """The k keys most similar to each cue, best first; of equals the earlier.

    usearch finds candidates in float32, whose similarities are then taken in float64, as `memsci.gate.gate` does. Where
    rounding could have hidden a better one, all keys are compared in float64.

    Parameters
    ----------
    cues : Tensor [b, d]
    keys : array [n, d] of float32
    k : int
        Fewer are found if fewer are alive.
    similarity : {"inner", "cosine"}
        As in `memsci.gate.gate`.
    longest : float
        Length of the longest key, or more.
    dead : array of int64, ascending
        Rows of `keys` that are not searched.

    Returns
    -------
    scores : Tensor [b, k], float64
    rows : Tensor [b, k], int64
        Numbers of rows of `keys`.
    """
    check_in("similarity", similarity, SIMILARITIES)
    check_whole("k", k, 1)
    _check_cues(cues, keys)
    error = rounding(cues, keys.shape[1], similarity, longest).numpy()
    cues = cues.detach().to("cpu", torch.float64).numpy()
    k = min(k, len(keys) - len(dead))
    fetch = k + SPARE + min(len(dead), k + SPARE)
    scores, rows = np.empty((len(cues), k)), np.empty((len(cues), k), np.int64)
    sure = np.zeros(len(cues), bool)
    if k and len(cues) and fetch < len(keys):
        near = cues.astype(np.float32)
        matches = search(keys, near, fetch, _METRICS[similarity], exact=True, threads=torch.get_num_threads())
        candidates = np.asarray(matches.keys).reshape(len(cues), fetch).astype(np.int64)
        last = 1 - np.asarray(matches.distances).reshape(len(cues), fetch).max(axis=1).astype(np.float64)
        for i, cue in enumerate(cues):
            tried = np.sort(candidates[i])
            scores[i], rows[i] = _best(_exact(cue, keys[tried], similarity), tried, k, dead)
        sure = scores[:, -1] > last + error
    for i in np.flatnonzero(~sure) if k else ():
        parts = (keys[start : start + PART] for start in range(0, len(keys), PART))
        every = np.concatenate([_exact(cues[i], part, similarity) for part in parts])
        scores[i], rows[i] = _best(every, np.arange(len(keys)), k, dead)
    return torch.from_numpy(scores), torch.from_numpy(rows)


def similarities(cues: Tensor, keys: np.ndarray, similarity: str) -> Tensor:
    """Similarity of each cue to every key, in float32 and part by part, so that the keys are never copied as a whole.

    Parameters
    ----------
    cues, keys, similarity
        As in `nearest`.

    Returns
    -------
    Tensor [b, n], float32
        No similarity is off by more than :func:`rounding`.
    """
    check_in("similarity", similarity, SIMILARITIES)
    _check_cues(cues, keys)
    near = cues.detach().to("cpu", torch.float32)
    if similarity == "cosine":
        near = normalize(near, dim=1)
    scores = torch.empty(len(near), len(keys))
    for start in range(0, len(keys), PART):
        part = torch.from_numpy(keys[start : start + PART])
        products = near @ part.T
        scores[:, start : start + PART] = (
            products / part.norm(dim=1).clamp_min(_SHORTEST) if similarity == "cosine" else products
        )
    return scores


def rounding(cues: Tensor, width: int, similarity: str, longest: float) -> Tensor:
    """The most by which rounding moves a similarity that is computed in float32, for each cue: [b] in float64.

    It holds for sums of d products in any order, and leaves room for roots and quotients.

    Parameters
    ----------
    cues : Tensor [b, d]
    width : int
        d.
    similarity, longest
        As in `nearest`.
    """
    lengths = cues.detach().to("cpu", torch.float64).norm(dim=1)
    reach = torch.ones_like(lengths) if similarity == "cosine" else lengths * longest  # no similarity is larger
    return 4 * (width + 2) * 2.0**-24 * (1 + reach)


def _check_cues(cues: Tensor, keys: np.ndarray) -> None:
    if cues.ndim != 2 or (len(keys) and cues.shape[1] != keys.shape[1]):
        raise MemsciError(
            f"Cues of shape {list(cues.shape)} were given; the keys are {list(keys.shape)}: give [b, {keys.shape[1]}], "
            "embedded as the keys were."
        )
    if not cues.isfinite().all():
        raise MemsciError("cues hold a number that is not finite. Load the model in float32, and embed again.")


def _exact(cue: np.ndarray, keys: np.ndarray, similarity: str) -> np.ndarray:
    # Summed row by row, not by a matrix product, so that equal keys have equal scores wherever they stand.
    keys = keys.astype(np.float64)
    scores = (keys * cue).sum(axis=1)
    if similarity == "cosine":
        lengths = np.sqrt((keys * keys).sum(axis=1))
        scores /= np.maximum(lengths, _SHORTEST) * max(np.linalg.norm(cue), _SHORTEST)
    return scores


def _best(scores: np.ndarray, rows: np.ndarray, k: int, dead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k best of some rows (ascending) that are alive; scores of missing ones are -inf."""
    scores = np.where(np.isin(rows, dead), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")[:k]
    return scores[order], rows[order]
