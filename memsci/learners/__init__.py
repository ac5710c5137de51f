"""Learners: MEGa and every baseline of the paper, under one contract."""

from __future__ import annotations

from memsci.learners.base import LEARNERS, BaseAlone, Learner
from memsci.learners.by_name import Given, make, resolve, settings
from memsci.learners.finetune import Full, FullBatch, FullEWC, FullL2, LoRA, LoRAL2
from memsci.learners.in_context import InContext
from memsci.learners.mega import MEGa, open
from memsci.learners.rag import RAG

__all__ = [
    "BaseAlone", "Full", "FullBatch", "FullEWC", "FullL2", "Given", "InContext", "LEARNERS", "Learner", "LoRA", "LoRAL2",
    "MEGa", "RAG", "make", "open", "resolve", "settings",
]  # fmt: skip
