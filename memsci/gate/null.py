"""A gate that can close: where no memory is like the query, all weights are zero and the base speaks alone.

The softmax always opens something. A null key stands for "none of them": it has one score for every query, the threshold,
and where no memory scores as high the gate is closed. *Not in the paper.*

Shapes: b queries, n memories, c cues.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from memsci.gate.softmax import Gate

FALSE_OPENS = 0.01  # of the cues that belong to no memory, so many may open the gate
QUESTION = 0.5  # a question may be so much less like its memory than a half of the memory's own text is


def close(gate: Gate, threshold: float, found: Gate | None = None) -> Gate:
    """The same gate with all weights 0 for each query whose best score is below the threshold.

    The scores are those of `found`, the gate as it was before strengths were added (`memsci.gate.activation`): how old a
    memory is says nothing about whether the query is about it, nor was a threshold fitted to that.
    """
    if not gate.ids:
        return gate
    closed = (found or gate).scores.max(dim=1, keepdim=True).values < threshold  # [b, 1]
    return replace(gate, weights=gate.weights.masked_fill(closed, 0.0))


def threshold(own: Tensor, others: Tensor) -> float:
    """A threshold fitted without any question.

    The lower of two: that which lets `FALSE_OPENS` of the foreign cues pass, and `QUESTION` times the median score of the
    memories' own cues, so that questions, which name less of a memory, still open it. Both numbers were chosen on Wiki
    partition 9 and the everyday memories.

    Parameters
    ----------
    own
        [c], scores of cues with the memory that they come from.
    others
        Best scores of cues that belong to no memory stored: those of memories taken away, and of the built-in quiz.
    """
    foreign = math.nextafter(others.double().quantile(1 - FALSE_OPENS).item(), math.inf)  # what scores as high is shut
    typical = QUESTION * own.double().median().item()
    return min(foreign, typical) if typical > 0 else foreign
