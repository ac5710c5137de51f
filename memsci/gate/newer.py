"""The newer wins: a memory that corrects another is at least as like every cue as that one, which stays a gain below it.

Of memory i, which corrects j_1, j_2, … (what j_1 corrected itself, and so on), the scores are

    s'_i = max(s_i, s_{j_1}, s_{j_2}, …),        s'_{j_1} ≤ s'_i − λ/β,        s'_{j_2} ≤ s'_{j_1} − λ/β, …

(lowered where they were higher), and the gate is the paper's of s' instead of s. So g_i ≥ e^λ g_{j_1} for every cue. The
best score of all is what it was, so that a gate that can close (`memsci.gate.null`) closes as before; and what is not linked
keeps all of its weight but a share of e^−λ at most for a link, wherever the cue points. *Not in the paper.*

Shapes: b queries, n memories.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from memsci.gate.softmax import Gate, reweighted


def prefer(gate: Gate, corrects: Mapping[str, Sequence[str]], gain: float) -> Gate:
    """The same gate in which memories go before those that they correct: other scores, and the weights that follow.

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
         0 new   new      3  0.9526     1
         0 old   old      0 0.04743     2
    """
    place = {id: column for column, id in enumerate(gate.ids)} if corrects else {}
    links = [
        (len(olds), place[id], known)
        for id, olds in corrects.items()
        if id in place and (known := [place[old] for old in olds if old in place])
    ]
    if not links or not gate.beta:
        return gate
    links.sort(reverse=True)  # a correction of a correction has the longer chain, and comes first
    scores = gate.scores.clone()
    for _, new, olds in links:
        scores[:, new] = gate.scores[:, [new, *olds]].amax(dim=1)
    for _, new, olds in links:
        for newer, older in zip([new, *olds], olds):
            most = scores[:, newer] - gain / gate.beta
            if math.isinf(gate.beta) and gain:
                most = torch.nextafter(most, torch.full_like(most, -math.inf))
            scores[:, older] = torch.minimum(scores[:, older], most)
    return reweighted(replace(gate, scores=scores))
