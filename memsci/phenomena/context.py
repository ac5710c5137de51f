"""The gate's context: memories are opened by what the cue is like, and by when they were learnt.

    g_i ∝ exp(β f(q)·k_i + τ φ_i c·c_i + B_i)

The first term is the paper's gate. c_i is the context in which memory i was learnt and c the one now, unit vectors that
drift: c_i = ρ c_{i−1} + β_enc e_i, with c_0 = e_0, e_i a direction of memory i's own and ρ = √(1 − β_enc²). φ_i = 1 + φ_s
e^{−φ_d (i − 1)} favours the first memories, B_i is any further strength of a memory, and a null of strength e^θ may take
what no memory deserves. Recall begins with c ∝ c_n + β_start e_0; recalling memory j moves c to ρ′ c + β_rec ĉ, ĉ ∝
(1 − γ) e_j + γ c_j; after o recalls it stops with probability X₁ e^{X₂ o}. Keys stay as they are: of the list its order
alone is kept.

Without a context, strengths and null (τ = 0, B = 0, θ = −∞) it is the paper's gate to the last bit; without the item term
(β = 0) it is the localist context maintenance and retrieval model (Polyn, Norman and Kahana 2009) whose associations from
context to items are all learnt in the list. *Not in the paper.*

Shapes: b walks, n memories of a list, d width of the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from memsci.errors import MemsciError
from memsci.gate import Gate
from memsci.gate import gate as content_gate
from memsci.gate.activation import against

LEAST = 1e-6  # probability of stopping, and of not stopping


@dataclass(frozen=True)
class Parameters:
    """Of the gate with a context. What moves the context, and when recall ends, is by default as in one fit to all people of
    PEERS (docs/notes/phenomena.md).

    Attributes
    ----------
    beta : float
        β of the item term, as in `memsci.gate.gate`; 0 and more.
    tau : float
        τ, weight of the context; 0 and more. 0: the paper's gate.
    encode, recall, start : float
        β_enc, β_rec, β_start: how far context moves when a memory is learnt, when one is recalled, and back to the start
        of the list before the first recall; 0 to 1.
    bound : float
        γ: what a recall brings back, from 0, the memory's own direction alone, to 1, the whole context of its study.
    primacy, decay : float
        φ_s, φ_d: how much more the first memory counts, and how fast that fades; 0 and more.
    stop, growth : float
        X₁, X₂: probability of recalling nothing, and its growth per recall.
    null : float
        θ, in the same unit as β f(q)·k; −∞: there is no null.
    """

    beta: Any = 1.0
    tau: Any = 0.0
    encode: Any = 0.760
    recall: Any = 0.799
    start: Any = 0.350
    bound: Any = 0.590
    primacy: Any = 1.317
    decay: Any = 1.025
    stop: Any = 0.00777
    growth: Any = 0.290
    null: float = -math.inf

    def __post_init__(self) -> None:
        for name in ("beta", "tau", "primacy", "decay", "stop"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("encode", "recall", "start", "bound"):
            self._check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")

    def _check(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise MemsciError(f"{name} must be {allowed}; {float(getattr(self, name))!r} was given.")

    def without_context(self) -> Parameters:
        """The same with τ = 0: what the paper's gate does."""
        return replace(self, tau=0.0)


class Study:
    """The contexts of a list of n memories, as they follow from its order.

    Attributes
    ----------
    own : Tensor [n, n + 1]
        c_1 to c_n, rows of length 1; the first column is the start of the list.
    back : Tensor [n, n + 1]
        ĉ, what recalling each brings back.
    cue : Tensor [n + 1]
        c before the first recall.
    """

    def __init__(self, n: int, parameters: Parameters) -> None:
        p = self.parameters = parameters
        rates = [torch.as_tensor(x, dtype=torch.float64) for x in (p.encode, p.bound, p.primacy, p.decay)]
        encode, bound, primacy, decay = rates
        place = torch.arange(n + 1)
        since = place[1:, None] - place[None, :]
        faded = torch.sqrt(1 - encode**2) ** since.clamp_min(0)
        self.own = torch.where(since >= 0, faded, 0.0) * torch.where(place == 0, 1.0, encode)
        units = torch.eye(n + 1, dtype=torch.float64)
        back = (1 - bound) * units[1:] + bound * self.own
        self.back = back / back.norm(dim=1, keepdim=True)
        self.cue = drift(self.own[-1], units[0], p.start)
        self.favour = 1 + primacy * torch.exp(-decay * torch.arange(n))

    def after(self, context: Tensor, recalled: Tensor) -> Tensor:
        """c once memories (numbers [b], from 0) were recalled in contexts [b, n + 1]."""
        return drift(context, self.back[recalled], self.parameters.recall)

    def support(self, context: Tensor) -> Tensor:
        """τ φ_i c·c_i of contexts [..., n + 1]: [..., n]."""
        return self.parameters.tau * self.favour * (context @ self.own.T)


def drift(context: Tensor, to: Tensor, rate: Any) -> Tensor:
    """ρ c + rate · to, of length 1: ρ = √(1 + rate² ((c·to)² − 1)) − rate c·to; both of length 1, [..., n + 1].

    Examples
    --------
    >>> drift(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.6)
    tensor([0.8000, 0.6000])
    """
    along = (context * to).sum(dim=-1, keepdim=True)
    return (torch.sqrt(1 + rate**2 * (along**2 - 1)) - rate * along) * context + rate * to


def gate(
    queries: Tensor,
    keys: Tensor,
    parameters: Parameters,
    context: Tensor | None = None,
    study: Study | None = None,
    strengths: Tensor | None = None,
    similarity: str = "inner",
    ids: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Gate:
    """How far cues in a context open each memory: g_i ∝ exp(β f(q)·k_i + τ φ_i c·c_i + B_i).

    Parameters
    ----------
    queries, keys, similarity, ids, labels
        As in `memsci.gate.gate`: [b, d] and [n, d], keys in the order of study.
    parameters
        With τ = 0, without strengths and null, this is `memsci.gate.gate`, bit for bit.
    context
        c, [b, n + 1], in the study's contexts. Default: that of the study's end, `Study.cue`.
    study
        Contexts of the n memories. Default: from their number and the parameters.
    strengths
        B, [n].

    Returns
    -------
    Gate
        Its scores are the sums above, in nats, and its β is 1, unless it is the paper's. With a null weights sum to less
        than 1.
    """
    content = content_gate(queries, keys, float(parameters.beta), similarity, ids, labels)
    nothing = parameters.null == -math.inf
    if not float(parameters.tau) and strengths is None and nothing:
        return content
    if math.isinf(content.beta):
        raise MemsciError("With a context, strengths or a null, beta must be finite: give a large number instead.")
    logits = content.beta * content.scores
    if float(parameters.tau):
        study = study or Study(len(keys), parameters)
        logits = logits + study.support(study.cue if context is None else context).to(logits.device)
    if strengths is not None:
        logits = logits + strengths
    return replace(content, scores=logits, weights=against(logits, parameters.null), beta=1.0)


def stopping(n: int, parameters: Parameters) -> Tensor:
    """P(stop | o) = X₁ e^{X₂ o} for o = 0 to n recalls, [n + 1]; 1 when all are recalled."""
    x1, x2 = (torch.as_tensor(x, dtype=torch.float64) for x in (parameters.stop, parameters.growth))
    rising = (x1 * torch.exp(x2 * torch.arange(n))).clamp(LEAST, 1 - LEAST)
    return torch.cat([rising, torch.ones(1, dtype=torch.float64)])


@torch.no_grad()
def walk(
    scores: Tensor | Callable[[Tensor, Tensor], Tensor],
    parameters: Parameters,
    seed: int = 0,
    strengths: Tensor | None = None,
    stops: bool = True,
    shape: tuple[int, int] | None = None,
) -> Tensor:
    """Free recalls of lists: a memory is drawn from g, is the next cue, and does not come again.

    Before the first recall there is no cue, so context and strengths alone decide. Drawing from g is opening the best
    memory under Gumbel noise, of scale 1/β in units of f(q)·k: the noise has no further parameter.

    Parameters
    ----------
    scores
        f(k_j)·k_i of cue j and memory i, [b, n, n], one matrix per walk, memories in the order of study. Or a function that
        is told what was opened, [b], and which walks go on, [b], and gives the scores of the next cue, [b, n].
    parameters
        With τ = 0 nothing is known of the order.
    seed
        Of the draws.
    strengths
        B, [n].
    stops
        End by P(stop | o); without it, when all memories are recalled.
    shape
        b and n, where scores are a function.

    Returns
    -------
    Tensor [b, n]
        Numbers of the memories, from 0, in the order of recall, then −1.
    """
    if math.isinf(parameters.beta):
        raise MemsciError("Walks draw from the gate, so beta must be finite: give a large number instead.")
    b, n = scores.shape[:2] if shape is None else shape
    generator = torch.Generator().manual_seed(seed)
    rows, study = torch.arange(b), Study(n, parameters)
    following = scores if callable(scores) else lambda opened, going: scores[rows, opened]
    ends = stopping(n, parameters) if stops else torch.zeros(n + 1, dtype=torch.float64)
    context, content = study.cue.expand(b, -1), torch.zeros(b, n, dtype=torch.float64)
    free, going = torch.ones(b, n, dtype=torch.bool), torch.ones(b, dtype=torch.bool)
    recalled = torch.full((b, n), -1)
    base = torch.zeros(n, dtype=torch.float64) if strengths is None else strengths.double()
    for o in range(n):
        going = going & (torch.rand(b, generator=generator, dtype=torch.float64) >= ends[o])
        if not going.any():
            break
        logits = base + study.support(context) + content
        opened = torch.multinomial(logits.masked_fill(~free, -math.inf).softmax(dim=1), 1, generator=generator)[:, 0]
        recalled[going, o] = opened[going]
        free[rows, opened] = False
        context = study.after(context, opened)
        content = parameters.beta * following(opened, going).double()
    return recalled


def steps(recalled: Tensor, scores: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """The gate before each recall of walks that went so, and the context in which it stood.

    Parameters
    ----------
    recalled
        [b, t] as `walk` gives them; where they end, −1.
    scores
        f(k_j)·k_i, [b, n, n].

    Returns
    -------
    Tensor [b, t, n], Tensor [b, t, n + 1]
        log g before each recall, −∞ for what was recalled before, and c in the directions of the start of the list and of
        each memory. After the end of a walk they mean nothing, but for the first: what would have come.
    """
    b, n = recalled.shape[0], scores.shape[1]
    order, study = recalled.clamp_min(0), Study(n, parameters)
    contexts = [study.cue.expand(b, -1)]
    for o in range(recalled.shape[1] - 1):
        contexts.append(study.after(contexts[-1], order[:, o]))
    first = torch.zeros(b, 1, n, dtype=torch.float64)  # nothing is the cue of the first recall
    cued = torch.cat([first, scores[torch.arange(b)[:, None], order[:, :-1]].double()], dim=1)
    context = torch.stack(contexts, dim=1)
    return _log_weights(study.support(context) + parameters.beta * cued, recalled), context


def _log_weights(logits: Tensor, recalled: Tensor) -> Tensor:
    """log g of [b, t, n] sums, with what was recalled before shut."""
    before = torch.nn.functional.one_hot(recalled.clamp_min(0), logits.shape[2]).bool() & (recalled >= 0)[..., None]
    shut = torch.zeros_like(before)
    shut[:, 1:] = before.int().cumsum(dim=1).bool()[:, :-1]
    return logits.masked_fill(shut, -math.inf).log_softmax(dim=2)


def log_likelihood(recalled: Tensor, scores: Tensor, parameters: Parameters, uniform: bool = False) -> Tensor:
    """log p of which memories were recalled in turn, given that as many were: nats of each list, [b].

    Parameters
    ----------
    recalled
        As `walk` gives them.
    scores
        f(k_j)·k_i, [b, n, n].
    uniform
        All memories not recalled yet are alike.

    Returns
    -------
    Tensor [b]
        Without stopping, which is `log_stopping`'s.
    """
    if not recalled.shape[1]:
        return torch.zeros(len(recalled), dtype=torch.float64)
    if uniform:
        log_g = _log_weights(torch.zeros(*recalled.shape, scores.shape[1], dtype=torch.float64), recalled)
    else:
        log_g, _ = steps(recalled, scores, parameters)
    log_p = log_g.gather(2, recalled.clamp_min(0)[..., None])[..., 0]
    return torch.where(recalled >= 0, log_p, 0.0).sum(dim=1)


def log_stopping(counts: Tensor, n: int, parameters: Parameters) -> Tensor:
    """log p of ending after just so many recalls, of n memories: nats of each list, [b]."""
    ends = stopping(n, parameters)
    going = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-ends[:-1]).cumsum(dim=0)])
    return going[counts] + ends[counts].log()
