"""The gates that questions open in a mind, under the store's embedding or another one; each text is read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from memsci.config import Embedding
from memsci.embed import Embedder, embedders, weighted
from memsci.errors import MemsciError
from memsci.gate import Gate, gate
from memsci.memory import Memory, text_hash
from memsci.mind import MEGa
from memsci.record import Remembered


class Gates:
    """What a probe asks for again and again: the gate of a question, for any embedding, similarity and β.

    Parameters
    ----------
    mind
        Its memories may come and go.
    memories
        Where to find the texts of the memories, which other embeddings than the store's are made from. A store that keeps
        texts needs none. They are recognised by their text.
    """

    def __init__(self, mind: MEGa, memories: Iterable[Memory] = ()) -> None:
        self.mind = mind
        self._texts = {text_hash(memory.text): memory.text for memory in memories}
        self.layers: int = mind.base.model.config.get_text_config().num_hidden_layers
        self.stored = self.settled(mind.embedding)
        # Both by what is stored: what is fitted to all texts, and the weights of words, change with it.
        self._keys: dict[tuple, tuple[Embedder, Tensor]] = {}
        self._cues: dict[tuple, Tensor] = {}

    @property
    def state(self) -> tuple[tuple[str, str, str], ...]:
        """What tells the memories stored from those of another time."""
        return tuple(map(_name, self.mind.store.records))

    @property
    def lacking(self) -> str:
        """Why only the store's own embedding can be used, as a sentence; empty if others can be, too."""
        records = self.mind.store.records
        missing = sum(self._text(record) is None for record in records)
        if not missing:
            return ""
        which = (
            f"the texts of {missing} of the {len(records)} memories are" if missing > 1 else "the text of a memory is"
        )
        return f"Keys of other embeddings are made from texts, and {which} neither in the store nor given (memories=…)."

    def settled(self, embedding: Embedding) -> Embedding:
        """The same embedding with its layer counted from 0, and without the settings that its kind does not use."""
        kept = {"kind": embedding.kind, "model": embedding.model}
        if embedding.kind != "activations":
            return Embedding(**kept)
        return replace(embedding, layer=embedding.layer % self.layers)

    def ready(self, query: str, embedding: Embedding) -> bool:
        """Whether `gate` needs no model for this question."""
        state = self.state
        return (state, self.settled(embedding), query) in self._cues

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

        Raises
        ------
        MemsciError
            The embedding is not the store's and texts are lacking, or it cannot be made.
        """
        embedding = self.settled(embedding)
        records = self.mind.store.records
        state = tuple(map(_name, records))
        keys, cue = self._keys.get((state, embedding)), self._cues.get((state, embedding, query))
        if keys is None or cue is None:
            # An older state never comes back: a memory that is encoded again has another time.
            for kept in (self._keys, self._cues):
                for key in [key for key in kept if key[0] != state]:
                    del kept[key]
            if keys is None:
                keys = self._keys[state, embedding] = self._embedder(embedding, records)
            cue = self._cues[state, embedding, query] = keys[0]([query])
        ids, labels = [record.id for record in records], [record.label for record in records]
        return gate(*weighted(embedding, cue, keys[1]), beta, similarity, ids, labels)

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


def _name(record: Remembered) -> tuple[str, str, str]:
    return record.id, record.text_hash, f"{record.created} {record.order}"
