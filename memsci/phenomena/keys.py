"""What can be found, with nothing recalled: keys of texts and the gate over them, no adapter encoded.

The shipped base was trained so that its own embedding finds these kinds of event; MiniLM and a bag of words were not. What
is claimed of the gate is therefore shown with their keys too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memsci.config import Embedding, GateRule
from memsci.gate import softmax
from memsci.gate.embed import Embedder, embedder, weighted
from memsci.gate.softmax import Gate
from memsci.learners.mega import MEGa
from memsci.models.base import Base

OTHERS = {"MiniLM keys": Embedding(kind="sentence"), "TF-IDF keys": Embedding(kind="words")}
FINDERS = ("MEGa", *OTHERS)  # of all `finders`
SHARP = 50.0  # β of the cosines of these


@dataclass(frozen=True)
class Finder:
    """An embedding with its gate.

    Attributes
    ----------
    name : str
        What tables call it: "MEGa" for the one that MEGa has on this base.
    embed : callable
        From b texts to [b, d].
    """

    name: str
    embed: Embedder
    embedding: Embedding
    rule: GateRule

    def gate(self, cues: Tensor, keys: Tensor) -> Gate:
        """g over the keys, for cues that were embedded before; see `memsci.gate.gate`."""
        return softmax.gate(*weighted(self.embedding, cues, keys), self.rule.beta, self.rule.similarity)


def finders(base: Base) -> list[Finder]:
    """MEGa's own embedding and gate on this base, and the others."""
    mind = MEGa(base)
    made = [Finder("MEGa", embedder(base, mind.embedding), mind.embedding, mind.rule)]
    rule = GateRule(beta=SHARP, similarity="cosine")
    return made + [Finder(name, embedder(None, one), one, rule) for name, one in OTHERS.items()]


def familiarity(gate: Gate) -> Tensor:
    """How much of the cue is known, whichever memory it is: log Σ_i exp(β s_i), [b].

    The weights themselves sum to 1 whatever the cue, and so say of everything that it is old.
    """
    return torch.logsumexp(gate.beta * gate.scores, dim=1)


def right(gate: Gate, own: Sequence[int]) -> list[bool]:
    """Whether the best memory is the one of this number, for each cue."""
    best = gate.scores.argsort(dim=1, descending=True, stable=True)[:, 0].tolist()
    return [one == other for one, other in zip(best, own)]
