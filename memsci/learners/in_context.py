"""In context: the texts themselves, in the order in which they were studied, before every question (*not in the paper*)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import torch

from memsci import prompts
from memsci.errors import MemsciError, check_whole
from memsci.gate.softmax import Gate
from memsci.learners.base import Learner, Trained, check_gate, several
from memsci.measures.metrics import BETWEEN
from memsci.memory import Memory
from memsci.models.base import Base


class InContext(Learner, method="In context"):
    """The base model with all texts studied in its prompt, the first studied first; with none it is the base.

    RAG puts its texts in the order of their likeness to the question; here their order is that of study, so that what the
    order of a list does to a model that reads it can be seen. With a `true_gate` only the texts that it opens are there:
    what can be answered by who reads the right ones.

    Parameters
    ----------
    base
        The model that reads and answers.
    newest
        Only the texts studied last, so many of them; None for all.
    """

    def __init__(self, base: Base, newest: int | None = None, seed: int = 0) -> None:
        super().__init__(base, seed)
        if newest is not None:
            check_whole("newest", newest, 1)
        self._newest, self._texts = newest, []

    @classmethod
    def preset(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"newest": None}

    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        self._texts += [memory.text for memory in memories]
        return [(math.nan, 0.0)] * len(memories)

    def true_gate(self, ids: Sequence[str | Sequence[str]]) -> Gate:
        """The right texts and no others: for each question that of this id, or those of several."""
        about = [several(one, "id") for one in ([ids] if isinstance(ids, str) else ids)]
        if unknown := [id for one in about for id in one if id not in self.learnt]:
            raise MemsciError(f"{self.name} has not learnt the memory {unknown[0]!r}. Let it learn what it is asked about.")
        rows = torch.tensor([[1 / len(one) if id in one else 0.0 for id in self.learnt] for one in about])
        return Gate(rows, rows, tuple(self.learnt), tuple(self.learnt), math.nan)

    def _asked(self, queries, via_recall, beta, gate: Gate | None, recalled, passes=0):
        check_gate(gate)
        turns, within = super()._asked(queries, via_recall, beta, None, recalled, passes)
        if gate is None:
            return turns, within
        texts = dict(zip(self.learnt, self._texts, strict=True))
        open_ = [[texts[id] for id in compress(gate.ids, row)] for row in gate.weights.ne(0).tolist()]
        return [prompts.rag(query, BETWEEN.join(some)) for query, some in zip(queries, open_, strict=True)], within

    def _turns(self, queries: list[str], recalled: list[str] | None) -> list[prompts.Messages]:
        if not self._texts:
            return super()._turns(queries, None)
        passage = BETWEEN.join(self._texts[-self._newest if self._newest else None :])
        return [prompts.rag(query, passage) for query in queries]
