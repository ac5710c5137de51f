"""In context: the texts themselves, in the order in which they were studied, before every question (*not in the paper*)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from memsci import prompts
from memsci.errors import check_whole
from memsci.learners.base import Learner, Trained
from memsci.memory import Memory
from memsci.models.base import Base


class InContext(Learner, method="In context"):
    """The base model with all texts studied in its prompt, the first studied first; with none it is the base.

    RAG puts its texts in the order of their likeness to the question; here their order is that of study, so that what the
    order of a list does to a model that reads it can be seen.

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

    def _turns(self, queries: list[str], recalled: list[str] | None) -> list[prompts.Messages]:
        if not self._texts:
            return super()._turns(queries, None)
        passage = "\n\n".join(self._texts[-self._newest if self._newest else None :])
        return [prompts.rag(query, passage) for query in queries]
