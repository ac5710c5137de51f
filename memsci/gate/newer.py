"""The newer wins: a memory that corrects another is at least as like every cue as that one, and by a gain more.

Memory i, which corrects j_1, j_2, … (what j_1 corrected itself, and so on), has the score

    β s'_i = max(β s_i, λ + β max_k s'_{j_k})

so that g_i ≥ e^λ g_j for every cue, the paper's gate being taken of s' instead of s. Where the cue is like none of them,
s'_j is low and so is s'_i: what is not linked loses nothing but what the linked ones gain, whose weight together grows by a
factor of 1 + e^λ at most for each link. *Not in the paper.*

Shapes: b queries, n memories.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from memsci.gate.softmax import Gate, reweighted


def prefer(gate: Gate, corrects: Mapping[str, Sequence[str]], gain: float) -> Gate:
    """The same gate with the scores of memories that correct others raised, and the weights that follow.

    Parameters
    ----------
    gate : Gate
        The softmax of its scores; of any number of queries.
    corrects : mapping
        From the id of a memory to the ids of those that it corrects: the nearest first, then what that one corrected in its
        turn. Ids that are not in the gate are passed over, so that what is left of a chain still holds.
    gain : float
        λ in nats, 0 or more. At β = ∞ any gain above 0 lets the newer win alone; at β = 0 all open alike as before.

    Returns
    -------
    Gate
        The gate itself, if none of its memories corrects another of them.

    Examples
    --------
    >>> import torch
    >>> from memsci.gate import gate
    >>> two = gate(torch.tensor([[1.0]]), torch.tensor([[3.0], [1.0]]), ids=["old", "new"])
    >>> prefer(two, {"new": ["old"]}, gain=3.0)
     query  id label  score  weight  rank
         0 new   new      6  0.9526     1
         0 old   old      3 0.04743     2
    """
    place = {id: column for column, id in enumerate(gate.ids)} if corrects else {}
    links = [
        (len(olds), place[id], known)
        for id, olds in corrects.items()
        if id in place and (known := [place[old] for old in olds if old in place])
    ]
    if not links or not gate.beta:
        return gate
    scores = gate.scores.clone()
    for _, new, olds in sorted(links):  # a correction of a correction has the longer chain, and comes after it
        least = scores[:, olds].amax(dim=1) + gain / gate.beta
        if math.isinf(gate.beta) and gain:
            least = torch.nextafter(least, torch.full_like(least, math.inf))
        scores[:, new] = torch.maximum(scores[:, new], least)
    return reweighted(replace(gate, scores=scores))
