"""RAG: the stored texts that are nearest to a question, in its prompt (paper, baselines)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from memsci import prompts
from memsci.config import Embedding
from memsci.errors import check_whole
from memsci.gate.embed import embedder, weighted
from memsci.gate.softmax import Gate, gate
from memsci.learners.base import Learner, Trained, several
from memsci.memory import Memory
from memsci.models.base import Base


class RAG(Learner, method="RAG"):
    """The base model with the nearest stored texts in its prompt; with no memories stored it is the base.

    The quiz of general knowledge is put to the base alone, as in the paper, where RAG's score is Base's.

    Parameters
    ----------
    base
        The model that reads and answers.
    embedding
        f of texts and questions: the paper's RAG retrieves by the f of MEGa.
    similarity
        "inner" product (the paper's) or "cosine".
    k
        How many texts are put into the prompt, the best first, with blank lines between: 1 in the paper.
    """

    def __init__(
        self, base: Base, embedding: Embedding | None = None, similarity: str = "inner", k: int = 1, seed: int = 0
    ) -> None:
        super().__init__(base, seed)
        check_whole("k", k, 1)
        self._embedding = embedding or Embedding.paper()
        self._embed = embedder(base, self._embedding)
        self._similarity, self._k = similarity, k
        self._texts: list[str] = []
        self._keys = torch.empty(0)

    @classmethod
    def preset(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"embedding": given["embedding"], "similarity": given["rule"].similarity, "k": 1}

    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        begun = time.perf_counter()
        if texts := [memory.text for memory in memories]:
            keys = self._embed(texts)
            self._keys = torch.cat([self._keys, keys]) if self._texts else keys
            self._texts += texts
        return [(math.nan, (time.perf_counter() - begun) / len(texts)) for _ in texts]

    def top(self, query: str | Sequence[str]) -> list[str | None]:
        return self._compare(several(query)).top() if self._texts else super().top(query)

    def _compare(self, queries: list[str]) -> Gate:
        compared = weighted(self._embedding, self._embed(queries), self._keys)
        return gate(*compared, similarity=self._similarity, ids=self.learnt)

    def _turns(self, queries: list[str], recalled: list[str] | None) -> list[prompts.Messages]:
        if not self._texts:
            return super()._turns(queries, None)
        best = self._compare(queries).scores.argsort(dim=1, descending=True, stable=True)[:, : self._k].tolist()
        passages = ["\n\n".join(self._texts[i] for i in row) for row in best]
        return [prompts.rag(*pair) for pair in zip(queries, passages, strict=True)]
