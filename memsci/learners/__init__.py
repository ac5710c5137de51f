"""Learners: MEGa and every baseline of the paper, under one contract."""

from __future__ import annotations

from memsci.learners.mega import MEGa, open
from memsci.learners.registry import (
    LEARNERS,
    Batch,
    Gated,
    Given,
    Learner,
    Retrieval,
    Tuned,
    Untrained,
    make,
    resolve,
    settings,
)

__all__ = [
    "Batch", "Gated", "Given", "LEARNERS", "Learner", "MEGa", "Retrieval", "Tuned", "Untrained", "make", "open",
    "resolve", "settings",
]  # fmt: skip
