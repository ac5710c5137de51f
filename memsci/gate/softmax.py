"""The gate: which memories a query opens, and how far. Pure arithmetic on vectors, no model.

Shapes: b queries, n memories, d width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor

from memsci.config import SIMILARITIES
from memsci.errors import MemsciError, check_in, check_whole
from memsci.later import later

pd = later("pandas")

SORTED_FIRST = 1024  # the best memories of many that are sorted first


@dataclass(frozen=True, eq=False)
class Gate:
    """Scores and weights of b queries over n memories, from :func:`gate`.

    Attributes
    ----------
    scores : Tensor [b, n]
        Similarity of query and key, before β.
    weights : Tensor [b, n]
        g, each row summing to 1 (no columns if nothing is stored).
    ids, labels : tuple of n str
        The memories, in the order of the columns.
    beta : float
        β that was used.
    """

    scores: Tensor
    weights: Tensor
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    beta: float

    def frame(self) -> pd.DataFrame:
        """One row per query and memory: query (its number), id, label, score, weight, rank (1 = best score).

        Rows of a query are in order of rank; equal scores keep the order of the memories.
        """
        order = self.scores.argsort(dim=1, descending=True, stable=True)
        b, n = order.shape
        columns = order.flatten().tolist()
        return pd.DataFrame(
            {
                "query": [k for k in range(b) for _ in range(n)],
                "id": [self.ids[i] for i in columns],
                "label": [self.labels[i] for i in columns],
                "score": self.scores.gather(1, order).flatten().tolist(),
                "weight": self.weights.gather(1, order).flatten().tolist(),
                "rank": list(range(1, n + 1)) * b,
            }
        )

    def top(self) -> list[str]:
        """Id of the best memory of each query, the earlier one of equals."""
        if not self.ids:
            raise MemsciError("The gate has no memories to choose from. Encode one first.")
        # argmax does not promise which of equal scores it names.
        return [self.ids[i] for i in self.scores.argsort(dim=1, descending=True, stable=True)[:, 0].tolist()]

    @property
    def closed(self) -> Tensor:
        """Which queries open no memory, so that the base speaks alone, [b] of bool; see `memsci.gate.null`."""
        return ~self.weights.ne(0).any(dim=1)

    def entropy(self) -> Tensor:
        """Entropy of each query's weights in nats, [b]: 0 = one memory open, ln n = all alike."""
        return torch.special.entr(self.weights).sum(dim=1)

    def __repr__(self) -> str:
        return self._best().to_string(index=False, float_format="{:.4g}".format)

    def _repr_html_(self) -> str:
        return self._best().to_html(index=False, float_format="{:.4g}".format)

    def _best(self) -> pd.DataFrame:
        return self.frame().query("rank <= 5")


def gate(
    queries: Tensor,
    keys: Tensor,
    beta: float = 1.0,
    similarity: str = "inner",
    ids: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Gate:
    """How far each query opens each memory: g = softmax(β · s), s = f(q)ᵀK (paper, Methods).

    Computed in float64, since inner products of activations run into the thousands.

    Parameters
    ----------
    queries : Tensor [b, d]
        f(q), the cues.
    keys : Tensor [n, d]
        K, the memories' keys; n may be 0.
    beta : float
        β, inverse temperature. 1 in the paper's main experiments, 0.1 for compositional questions. 0 opens all alike;
        infinity opens the best alone (equal ones open equally).
    similarity : {"inner", "cosine"}
        Inner product without normalisation (the paper's), or cosine (*not in the paper*; 0 for a zero vector).
    ids, labels : sequence of n str, optional
        The memories' names; by default the numbers from 0, and the ids.

    Returns
    -------
    Gate
        Scores and weights are float64, on the device of the queries.

    Examples
    --------
    >>> import torch
    >>> keys = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> gate(torch.tensor([[1.0, 0.0]]), keys, ids=["nora", "omar"])
     query   id label  score  weight  rank
         0 nora  nora      2  0.8808     1
         0 omar  omar      0  0.1192     2
    """
    check_in("similarity", similarity, SIMILARITIES)
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise MemsciError(
            f"queries have shape {list(queries.shape)} and keys {list(keys.shape)}; [b, d] and [n, d] are needed. "
            "Embed both with the same embedder."
        )
    if not (isinstance(beta, Real) and beta >= 0):
        raise MemsciError(f"beta must be a number from 0 up, or infinity; {beta!r} was given.")
    ids = tuple(map(str, range(len(keys)))) if ids is None else tuple(ids)
    labels = ids if labels is None else tuple(labels)
    if not len(ids) == len(labels) == len(keys):
        raise MemsciError(f"{len(keys)} keys, {len(ids)} ids and {len(labels)} labels were given; give one of each.")
    queries, keys = queries.double(), keys.double().to(queries.device)
    for name, vectors in (("queries", queries), ("keys", keys)):
        if not vectors.isfinite().all():
            raise MemsciError(f"{name} hold a number that is not finite. Load the model in float32, and embed again.")
    if similarity == "cosine":
        queries, keys = (torch.nn.functional.normalize(vectors, dim=1) for vectors in (queries, keys))
    scores = queries @ keys.T
    return Gate(scores, _softmax(scores, beta), ids, labels, float(beta))


def reweighted(gate: Gate) -> Gate:
    """The same gate with the softmax of its scores as weights."""
    return replace(gate, weights=_softmax(gate.scores, gate.beta))


def top_k(gate: Gate, k: int) -> Gate:
    """The same gate with the k best memories of each query open and all others closed (weight 0); scores stay.

    The weights that stay are scaled so that their sum does not change. For a gate of this module that is the softmax over
    the k best scores alone. *Not in the paper.*

    Parameters
    ----------
    gate : Gate
        Of any number of queries.
    k : int
        Memories that stay open; of equal scores the earlier ones. From the number of all memories on, nothing changes.

    Examples
    --------
    >>> import torch
    >>> top_k(gate(torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0], [2.0]])), 2).weights.tolist()
    [[0.5, 0.0, 0.5]]
    """
    check_whole("k", k, 1)
    if k >= len(gate.ids):
        return gate
    best = gate.scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    kept = torch.zeros_like(gate.weights).scatter(1, best, gate.weights.gather(1, best))
    before, after = (weights.sum(dim=1, keepdim=True) for weights in (gate.weights, kept))
    scale = torch.where(after > 0, before / after, 0.0)  # all k best may be closed, in a gate set by hand
    return replace(gate, weights=kept * scale)


def best(gate: Gate, k: int | float, closed: bool = True) -> list[list[str]]:
    """Ids of the memories of each query that are recalled one by one, the most open first. *Not in the paper.*

    Parameters
    ----------
    gate : Gate
        Of any number of queries.
    k : int or float
        The k best of those that are open; or, between 0 and 1, the fewest whose weights sum to this share of Σ_i g_i.
    closed : bool
        A memory of weight 0 is closed. False: its weight may be too small for a number, so only a query without any weight
        has closed memories.

    Examples
    --------
    >>> import torch
    >>> weighed = gate(torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0], [0.0]]), ids=["nora", "omar", "ada"])
    >>> weighed.weights.round(decimals=2).tolist(), best(weighed, 2), best(weighed, 0.9), best(weighed, 0.6)
    ([[0.67, 0.24, 0.09]], [['nora', 'omar']], [['nora', 'omar']], [['nora']])
    """
    if not gate.ids:
        return [[] for _ in gate.weights]
    by_score = gate.scores.argsort(dim=1, descending=True, stable=True)
    weights, place = gate.weights.gather(1, by_score).sort(dim=1, descending=True, stable=True)
    order, held = by_score.gather(1, place), weights.cumsum(dim=1)
    found = []
    for row in range(len(weights)):
        many = k if k >= 1 else int((held[row] < k * held[row, -1]).sum()) + 1
        open_ = weights[row] != 0 if closed else held[row, -1:].ne(0).expand_as(weights[row])
        found.append([gate.ids[i] for i in order[row][open_][:many].tolist()])
    return found


def nucleus(gate: Gate, epsilon: float) -> Gate:
    """The same gate with the memories of least weight closed, as many as together weigh at most ε of each query's sum.

    What stays open keeps its weight, so that the gate moves by ‖g − g′‖₁ ≤ ε Σ_i g_i. Any quantity z that is computed from
    the mixture, a logit say, then moves by |z(g) − z(g′)| ≤ ε L, L the largest |∂z/∂g_i| over the closed memories i and
    the line between g and g′ (mean value theorem; for a softmax gate Σ_i g_i = 1). *Not in the paper.*

    Parameters
    ----------
    gate : Gate
        Of any number of queries.
    epsilon : float
        ε, from 0 (nothing is closed) up to, but not, 1.

    Examples
    --------
    >>> import torch
    >>> nucleus(gate(torch.tensor([[1.0]]), torch.tensor([[3.0], [0.0]])), 0.05).weights.round(decimals=3).tolist()
    [[0.953, 0.0]]
    """
    if not 0 <= epsilon < 1:
        raise MemsciError(f"epsilon must be a number from 0 up to, but not, 1; {epsilon!r} was given.")
    ordered, order = gate.weights.sort(dim=1, stable=True)  # the least first
    spent = ordered.cumsum(dim=1) <= epsilon * gate.weights.sum(dim=1, keepdim=True)
    closed = torch.zeros_like(spent).scatter(1, order, spent)
    return replace(gate, weights=gate.weights.masked_fill(closed, 0.0))


def holding(scores: Tensor, beta: float, mass: float, error: Tensor | float = 0.0) -> Tensor:
    """Indices of the fewest memories that hold a mass m of each query's softmax, for all queries together, ascending.

    Scores that are off by e change a weight by the factor exp(2 β e) at most. The memories that are left out have weights
    that sum to m' by the scores given, so at most to m' exp(2 β e) by the true ones; this is kept to 1 − m. For β = ∞ the
    memories within 2 e of the best remain: no other can be the best by the true scores.

    Parameters
    ----------
    scores : Tensor [b, n]
        Similarities; minus infinity for a memory that must not open.
    beta : float
        β.
    mass : float
        m, from 0 to 1.
    error : Tensor [b] or float
        e, the most by which a score of each query may differ from the true one.

    Returns
    -------
    Tensor
        Indices of columns.

    Examples
    --------
    >>> import torch
    >>> holding(torch.tensor([[5.0, 0.0, 4.0]]), beta=1.0, mass=0.9).tolist()
    [0, 2]
    """
    if not scores.numel():
        return torch.empty(0, dtype=torch.int64)
    reach = 2 * torch.as_tensor(error, dtype=torch.float64).reshape(-1, 1)
    below = scores.double() - scores.max(dim=1, keepdim=True).values
    if math.isinf(beta):
        return (below >= -reach).any(dim=0).nonzero()[:, 0]
    # In logarithms, since exp(2 β e) may be any number.
    logits, spare = beta * below, torch.tensor(1.0 - mass, dtype=torch.float64).log() - beta * reach
    n = scores.shape[1]
    k = min(SORTED_FIRST, n)
    while True:
        columns = scores.topk(k, dim=1).indices  # sorting all of 100,000 takes longer than comparing with them
        others = logits.scatter(1, columns, -math.inf).logsumexp(dim=1, keepdim=True)
        # From each of the best on, and of all others together.
        left = torch.cat([logits.gather(1, columns), others], dim=1).flip(1).logcumsumexp(dim=1).flip(1)
        needed = left - left[:, :1] > spare
        if k == n or not needed[:, -1].any():
            return columns[needed[:, :-1]].unique()
        k = n


def _softmax(scores: Tensor, beta: float) -> Tensor:
    """softmax(β s) over the last dimension, with its limit at β = ∞."""
    if not scores.numel():
        return torch.zeros_like(scores)
    below = scores - scores.max(dim=1, keepdim=True).values  # before β: neither ∞ − ∞ nor 0 · ∞ can then arise
    open_ = (below == 0).double() if math.isinf(beta) else (beta * below).exp()
    return open_ / open_.sum(dim=1, keepdim=True)
