"""The gates that questions open in a mind, under the store's embedding or another one; each text is read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from memsci.config import Embedding
from memsci.errors import MemsciError
from memsci.gate.embed import Embedder, embedders, weighted
from memsci.gate.softmax import Gate, gate
from memsci.learners.mega import MEGa
from memsci.memory import Memory, text_hash
from memsci.store.record import Remembered


class Gates:
    """What a probe asks for again and again: the gate of a question, for any embedding, similarity and β.

    Parameters
    ----------
    mind
        Its memories may come and go.
    memories
        Where to find the texts of the memories, which other embeddings than the store's are made from. A store that keeps
        texts needs none. They are recognised by their text.
    remedy
        What is to be done where texts are lacking.
    """

    def __init__(self, mind: MEGa, memories: Iterable[Memory] = (), remedy: str = "") -> None:
        self.mind, self._remedy = mind, remedy
        self._texts = {text_hash(memory.text): memory.text for memory in memories}
        self.layers: int = mind.base.model.config.get_text_config().num_hidden_layers
        self.stored = self.settled(mind.embedding)
        self._ids: tuple[str, ...] = ()
        self._picture = _Picture((), {}, (), 0)

    @property
    def names(self) -> dict[str, _Name]:
        """By id, what tells each memory stored from all others, also from those that had its id before."""
        return self._look().names

    @property
    def lacking(self) -> str:
        """Why only the store's own embedding can be used, as a sentence; empty if others can be, too."""
        picture = self._look()
        missing, n = picture.missing, len(picture.names)
        if not missing:
            return ""
        which = f"the texts of {missing} of the {n} memories are" if missing > 1 else "the text of a memory is"
        told = f"Other embeddings need the texts of the memories, and {which} neither in the store nor given."
        return f"{told} {self._remedy}".strip()

    def settled(self, embedding: Embedding) -> Embedding:
        """The same embedding with its layer counted from 0, and without the settings that its kind does not use."""
        kept = {"kind": embedding.kind, "model": embedding.model}
        if embedding.kind != "activations":
            return Embedding(**kept)
        return replace(embedding, layer=embedding.layer % self.layers)

    def ready(self, query: str, embedding: Embedding) -> bool:
        """Whether `gate` needs no model for this question."""
        return (self.settled(embedding), query) in self._look().cues

    def gate(self, query: str, embedding: Embedding, similarity: str, beta: float) -> Gate:
        """How far a question opens each memory.

        Parameters
        ----------
        query
            Embedded as it is.
        embedding
            The store's own, or any other.
        similarity, beta
            As for `memsci.gate.gate`.
        """
        embedding = self.settled(embedding)
        picture = self._look()
        if embedding not in picture.keys:
            picture.keys[embedding] = self._embedder(embedding, picture.records)
        embed, keys = picture.keys[embedding]
        if (embedding, query) not in picture.cues:
            picture.cues[embedding, query] = embed([query])
        cue = picture.cues[embedding, query]
        return gate(*weighted(embedding, cue, keys), beta, similarity, picture.names, picture.labels)

    def _look(self) -> _Picture:
        """What is stored. The store gives the same ids, not equal ones alone, until it is changed or refreshed; to read all
        records at each move of a slider would take too long."""
        store = self.mind.store
        if store.ids is not self._ids:
            ids, records = store.ids, store.records
            every = list(records)
            names = {one.id: (one.id, one.text_hash, f"{one.created} {one.order}") for one in every}
            if names != self._picture.names:
                missing = sum(self._text(one) is None for one in every)
                self._picture = _Picture(records, names, tuple(one.label for one in every), missing)
            self._ids = ids
        return self._picture

    def _embedder(self, embedding: Embedding, records: Sequence[Remembered]) -> tuple[Embedder, Tensor]:
        """f of this embedding, and the keys [n, d] of all memories."""
        own = embedding == self.stored
        texts = [self._text(record) for record in records]
        if not own and None in texts:
            raise MemsciError(self.lacking)
        embed = embedders(self.mind.base, [embedding], stored=None if own else texts)
        f = lambda some: embed(some)[0]
        if own:
            width = self.mind.base.width
            return f, torch.stack([record.key for record in records]) if records else torch.zeros(0, width)
        return f, f(texts)

    def _text(self, record: Remembered) -> str | None:
        return self._texts.get(record.text_hash) if record.text is None else record.text


_Name = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class _Picture:
    """What is stored at one time, and what was embedded then: what is fitted to all texts, and the weights of words, change
    with what is stored."""

    records: Sequence[Remembered]
    names: dict[str, _Name]
    labels: tuple[str, ...]
    missing: int  # texts
    keys: dict[Embedding, tuple[Embedder, Tensor]] = field(default_factory=dict)
    cues: dict[tuple[Embedding, str], Tensor] = field(default_factory=dict)
