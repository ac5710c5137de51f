"""Smaller memories: the few ranks that hold the energy of an adapter, and fewer bytes for each number.

Nothing is trained and no text is needed. A compressed adapter is an `Adapter` like any other, and its folder PEFT's.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from memsci.adapters.lora import Adapter
from memsci.config import FLOAT8, STORED
from memsci.errors import MemsciError, check_in, check_whole

LARGEST = 16.0  # number of a float8 adapter: well within its range, 2⁻⁹ to 448


def truncate(adapter: Adapter, rank: int | None = None, energy: float | None = None) -> Adapter:
    """The nearest adapter of lower ranks: on each linear map the best approximation of γ B A in the Frobenius norm.

    Parameters
    ----------
    adapter
        What is to be made smaller.
    rank
        The largest rank that a linear map may keep; None sets no limit.
    energy
        Fraction of the squared singular values of the whole adapter that is kept, by as few of them as can: a linear map
        that changes much keeps more ranks than one that changes little. Σ ‖Δ − Δ'‖² ≤ (1 − energy) Σ ‖Δ‖² over the linear
        maps, unless `rank` forbids it. None keeps all up to `rank`.

    Returns
    -------
    Adapter
        In float32, of the same scale γ. A and B take equal parts of each singular value; each map has at least rank 1.


    Notes
    -----
    B A is never formed: with B = Q R and Aᵀ = P S, both thin, its singular values are those of R Sᵀ [r, r].
    """
    if rank is None and energy is None:
        raise MemsciError("Truncation needs a rank, an energy or both; neither was given.")
    if rank is not None:
        check_whole("rank", rank, 1)
    if energy is not None and not 0 < energy <= 1:
        raise MemsciError(f"energy must be above 0 and at most 1; {energy!r} was given.")
    factors = {path: _factors(A.double(), B.double()) for path, (A, B) in adapter.deltas.items()}
    least = _least(torch.cat([values for _, values, _ in factors.values()]), 1.0 if energy is None else energy)
    deltas = {}
    for path, (A, values, B) in factors.items():
        kept = max(1, int((values >= least).sum()))
        kept = kept if rank is None else min(kept, rank)
        root = values[:kept].sqrt()
        deltas[path] = ((root[:, None] * A[:kept]).float(), (B[:, :kept] * root).float())
    largest = max(len(A) for A, _ in deltas.values())
    ratio = largest / adapter.rank
    alpha = adapter.alpha * (math.sqrt(ratio) if adapter.rslora else ratio)
    return dataclasses.replace(adapter, deltas=deltas, rank=largest, alpha=alpha)


def _factors(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of B A: right vectors [r, in], values [r], the largest first, left ones [out, r]."""
    Q, R = torch.linalg.qr(B)
    P, S = torch.linalg.qr(A.T)
    U, values, Vh = torch.linalg.svd(R @ S.T)
    return Vh @ P.T, values, Q @ U


def _least(values: Tensor, energy: float) -> float:
    """The smallest of the fewest singular values that hold so much of their energy; infinity if all are 0."""
    values = values.sort(descending=True).values
    left = values.square().flip(0).cumsum(0).flip(0)  # energy from each value on
    needed = int((left > (1 - energy) * left[0]).sum())
    return float(values[needed - 1]) if needed else math.inf


def cast(adapter: Adapter, dtype: str) -> Adapter:
    """The same adapter in another precision.

    Parameters
    ----------
    dtype
        One of `STORED`. For "float8_e4m3fn" the numbers are first brought to where it is finest, by one factor for all
        linear maps, which γ takes back.
    """
    check_in("dtype", dtype, STORED)
    deltas, alpha = adapter.deltas, adapter.alpha
    if dtype == FLOAT8:
        # The largest numbers of A and B become equal on each map, and the largest of all maps becomes LARGEST.
        sizes = {path: [float(half.float().abs().max()) for half in pair] for path, pair in deltas.items()}
        largest = max(math.sqrt(a * b) for a, b in sizes.values()) or 1.0
        factors = {path: (math.sqrt(b / a) if a and b else 1.0) for path, (a, b) in sizes.items()}
        deltas = {
            path: (A.float() * (LARGEST / largest * factors[path]), B.float() * (LARGEST / largest / factors[path]))
            for path, (A, B) in deltas.items()
        }
        alpha *= (largest / LARGEST) ** 2
    deltas = {path: tuple(half.to(getattr(torch, dtype)) for half in pair) for path, pair in deltas.items()}
    if not all(half.float().isfinite().all() for pair in deltas.values() for half in pair):
        raise MemsciError(f"The adapter has numbers that {dtype} cannot hold. Use bfloat16, whose range is float32's.")
    return dataclasses.replace(adapter, deltas=deltas, alpha=alpha)
