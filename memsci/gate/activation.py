"""Activation: a strength that each memory has whatever the cue, and that falls with the time since it was learnt.

    g_i = exp(β s_i + B_i) / (e^θ + Σ_k exp(β s_k + B_k)),        B_i = w ln Σ_j (t − t_j)^(−d_j)

t_j are the times at which memory i was learnt, d_j the decay of each. With one d for all, B with w = 1 is the base-level
activation of ACT-R (Anderson and Schooler 1991); with d_j = c e^{A_j} + a, A_j the activation (w = 1) just before t_j, that
of Pavlik and Anderson (2005), by which learning that comes while a memory is still active fades faster: spacing pays. θ is
the null's strength, a rival that opens nothing: a memory that is the only one is opened by 1 / (1 + exp(−(β s + B − θ))).
w = 0 without a null is the paper's gate, which forgets nothing. Below one unit of time all decay alike, by a, since t^(−d)
grows with d there: what fades faster would be stronger. Adapters stay as they are. *Not in the paper*; times and parameters
are put in, not found.

Shapes: b queries, n memories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from memsci.errors import MemsciError
from memsci.gate.softmax import Gate

DECAY = 0.5  # of ACT-R


def activation(
    learnt: Sequence[float], now: float, weight: float = 1.0, decay: float = DECAY, spacing: float = 0.0
) -> float:
    """B = w ln Σ_j (t − t_j)^(−d_j) in nats, d_j = c e^{A_j} + a.

    Parameters
    ----------
    learnt
        t_j, the times of learning, ascending.
    now
        t, later than all of them, in the same unit. Another unit of time adds the same to all memories if all decay alike;
        with spacing it counts (`memsci.MEGa` has hours).
    weight
        w. 0: nothing is forgotten.
    decay
        a, 0.5 in ACT-R.
    spacing
        c; 0: all decay alike.

    Raises
    ------
    MemsciError
        A time of learning is not before now, or times do not ascend.

    Examples
    --------
    >>> activation([0.0], 1.0), round(activation([0.0], math.e**2), 6), round(activation([0.0, 0.0], 1.0), 3)
    (0.0, -1.0, 0.693)
    """
    times = [float(time) for time in learnt]
    if not times or any(b < a for a, b in zip(times, times[1:])) or not times[-1] < now:
        raise MemsciError(f"learnt must be ascending times before now ({now}); {list(learnt)} was given.")
    if not weight:
        return 0.0
    decays = [float(decay)] * len(times)

    def active(at: float, learnt: Sequence[float]) -> float:
        """ln Σ t^(−d) over what was learnt before."""
        since = [at - time for time in learnt]
        traces = [-(d if gone > 1 else decay) * math.log(gone) for gone, d in zip(since, decays)]
        most = max(traces)
        return most + math.log(sum(math.exp(one - most) for one in traces))

    for j in range(1, len(times)) if spacing else ():
        # At the very moment of learning a memory is as active as can be: its copy decays at once.
        decays[j] += spacing * (math.exp(active(times[j], times[:j])) if times[j] > times[j - 1] else math.inf)
    return float(weight * active(now, times))


def strengthen(gate: Gate, strengths: Tensor, null: float = -math.inf) -> Gate:
    """The same gate with a strength of each memory, in nats, and a null: other scores, and the weights that follow.

    Parameters
    ----------
    gate : Gate
        The softmax of its scores; of any number of queries.
    strengths : Tensor [n]
        B, added to β s. At β = 0 they alone decide, and are the scores.
    null : float
        θ in nats; −∞: there is no null, and the weights of a query sum to 1.

    Returns
    -------
    Gate
        Its scores are s + B/β (at β = 0 B, by whose order memories are chosen).

    Examples
    --------
    >>> import torch
    >>> from memsci.gate import gate
    >>> two = gate(torch.tensor([[1.0]]), torch.tensor([[3.0], [3.0]]), ids=["old", "fresh"])
    >>> strengthen(two, torch.tensor([-2.0, 0.0]))
     query    id label  score  weight  rank
         0 fresh fresh      3  0.8808     1
         0   old   old      1  0.1192     2
    """
    if math.isinf(gate.beta):
        raise MemsciError("With strengths or a null, beta must be finite: give a large number instead.")
    strengths = strengths.to(gate.scores)
    scores = gate.scores + strengths / gate.beta if gate.beta else strengths.expand_as(gate.scores)
    return replace(gate, scores=scores, weights=against(gate.beta * gate.scores + strengths, null))


def against(logits: Tensor, null: float = -math.inf) -> Tensor:
    """The softmax of logits [..., n], in nats, with a null among the rivals that gets no column."""
    if null == -math.inf:
        return logits.softmax(dim=-1)
    rival = torch.full_like(logits[..., :1], null)
    return torch.cat([logits, rival], dim=-1).softmax(dim=-1)[..., :-1]
