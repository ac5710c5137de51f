"""β and the closing threshold, fitted on cues whose memory is known: no question is ever seen. *Not in the paper.*

Shapes: c cues, n memories.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from memsci.memory import Memory
from memsci.words import stretch, words

SHORT = 6  # words; a shorter text is a cue as it is
STRAY = 0.001  # of the cues; few, since a question is less like its memory than they are
BOUNDS = (1e-2, 1e4)  # of β times the spread of the scores


def cues(memories: Iterable[Memory]) -> tuple[list[str], list[str]]:
    """Texts that belong to a memory, and its id for each: paraphrases, or else both halves of the text.

    >>> cues([Memory("Nora hid the letter in the piano.", "a")])
    (['Nora hid the', 'letter in the piano.'], ['a', 'a'])
    """
    texts, owners = [], []
    for memory in memories:
        text, many = memory.text, len(words(memory.text))
        halves = [text] if many < SHORT else [stretch(text, 0, many // 2), stretch(text, many // 2, None)]
        found = list(memory.paraphrases) or halves
        texts += found
        owners += [memory.id] * len(found)
    return texts, owners


def surprise(scores: Tensor, own: Tensor, beta: float) -> float:
    """Mean −log g of the right memory in nats, g = softmax(β s); scores [c, n], own [c]; ∞ if β is and one goes astray."""
    if math.isinf(beta):
        best = scores.max(dim=1, keepdim=True).values == scores
        return -best.double().div(best.sum(dim=1, keepdim=True)).gather(1, own[:, None]).log().mean().item()
    return torch.nn.functional.cross_entropy(beta * scores.double(), own).item()


def fit_beta(scores: Tensor, own: Tensor) -> float:
    """The β of greatest likelihood, if a few cues went astray.

    Minimises (1 − ε) of the mean −log g of the right memory plus ε of the mean over all memories, ε = `STRAY`. Without the
    second part β would be infinite wherever every cue finds its memory; with it the right one weighs about 1 − ε there.

    Parameters
    ----------
    scores
        [c, n], similarities of cues and keys.
    own
        [c], number of the memory that each cue comes from.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and nothing else of a mind needs it

    scores = scores.double()
    spread = scores.std().clamp_min(1e-12).item()

    def cost(log_beta: float) -> float:
        logs = (math.exp(log_beta) * scores).log_softmax(dim=1)
        right = logs.gather(1, own[:, None]).mean()
        return -((1 - STRAY) * right + STRAY * logs.mean()).item()

    low, high = (math.log(bound / spread) for bound in BOUNDS)
    return math.exp(minimize_scalar(cost, bounds=(low, high), method="bounded").x)
