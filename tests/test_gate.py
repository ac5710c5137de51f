"""The gate's identities."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from memsci.errors import MemsciError
from memsci.gate.softmax import Gate, gate, holding, nucleus, top_k


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 8, generator=generator), torch.randn(7, 8, generator=generator)


def test_by_hand():
    found = gate(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), beta=0.5)
    assert found.scores.tolist() == [[1.0, 2.0, 3.0]]
    parts = [math.exp(0.5), math.exp(1.0), math.exp(1.5)]
    assert found.weights[0].tolist() == pytest.approx([part / sum(parts) for part in parts], abs=1e-15)
    entropy = -sum(p / sum(parts) * math.log(p / sum(parts)) for p in parts)
    assert found.entropy().tolist() == pytest.approx([entropy], abs=1e-15)


@pytest.mark.parametrize("similarity", ["inner", "cosine"])
@pytest.mark.parametrize("beta", [0, 0.1, 1, 30.0, 1e300, math.inf])
def test_weights_sum_to_one(vectors, beta, similarity):
    weights = gate(*vectors, beta=beta, similarity=similarity).weights
    assert weights.min() >= 0
    assert_close(weights.sum(dim=1), torch.ones(5, dtype=torch.float64), atol=1e-14, rtol=0)


def test_beta_zero_is_uniform(vectors):
    found = gate(*vectors, beta=0)
    assert (found.weights == found.weights[0, 0]).all()
    assert_close(found.entropy(), torch.full((5,), math.log(7), dtype=torch.float64))


def test_beta_infinite_is_the_best_alone_and_equals_share(vectors):
    queries, keys = vectors
    found = gate(queries, keys, beta=math.inf)
    assert torch.equal(found.weights, torch.nn.functional.one_hot((queries @ keys.T).argmax(1), 7).double())
    assert found.entropy().tolist() == [0] * 5
    twins = gate(torch.ones(1, 2), torch.tensor([[3.0, 0.0], [1.0, 2.0], [1.0, 1.0]]), beta=math.inf)
    assert twins.weights.tolist() == [[0.5, 0.5, 0.0]]
    assert twins.top() == ["0"]


def test_a_large_beta_nears_infinity(vectors):
    assert_close(gate(*vectors, beta=1e6).weights, gate(*vectors, beta=math.inf).weights, atol=1e-12, rtol=0)


def test_order_of_memories_and_of_queries_does_not_matter(vectors):
    queries, keys = vectors
    memories, rows = torch.tensor([3, 0, 6, 1, 5, 2, 4]), torch.tensor([4, 2, 0, 1, 3])
    plain, moved = gate(queries, keys), gate(queries[rows], keys[memories])
    assert_close(moved.weights, plain.weights[rows][:, memories], atol=1e-14, rtol=0)
    for k in range(5):
        assert_close(gate(queries[k : k + 1], keys).weights[0], plain.weights[k], atol=1e-14, rtol=0)


def test_a_score_common_to_all_changes_nothing():
    queries, keys = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    shifted = keys + torch.tensor([1000.0, 0.0])
    assert_close(gate(queries, keys).weights, gate(queries, shifted).weights)


def test_huge_scores_stay_finite():
    keys = torch.tensor([[3e38, 3e38], [-3e38, 3e38], [0.0, 3e38]])
    for beta in (0, 1, 1e308, math.inf):
        found = gate(torch.tensor([[3e38, 0.0]]), keys, beta=beta)
        assert found.weights[0].tolist() == ([1 / 3] * 3 if beta == 0 else [1, 0, 0])


@pytest.mark.parametrize("beta", [0.1, 1.0, 1e300])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_top_k_is_the_softmax_over_the_k_best(vectors, beta, k):
    queries, keys = vectors
    full = gate(queries, keys, beta)
    cut = top_k(full, k)
    for row in range(len(queries)):
        best = full.scores[row].topk(k).indices
        alone = torch.zeros(7, dtype=torch.float64)
        alone[best] = gate(queries[row : row + 1], keys[best], beta).weights[0]
        assert_close(cut.weights[row], alone, atol=1e-14, rtol=0)
    assert torch.equal(cut.scores, full.scores) and (cut.ids, cut.labels, cut.beta) == (full.ids, full.labels, beta)


def test_top_k_of_equals_keeps_the_earlier_and_of_all_changes_nothing():
    twins = gate(torch.ones(1, 1), torch.tensor([[1.0], [2.0], [2.0], [2.0]]))
    assert top_k(twins, 2).weights.tolist() == [[0, 0.5, 0.5, 0]]
    for k in (4, 5):
        assert torch.equal(top_k(twins, k).weights, twins.weights)
    assert top_k(gate(torch.ones(2, 4), torch.zeros(0, 4)), 1).weights.shape == (2, 0)


def test_top_k_keeps_the_sum_of_a_gate_set_by_hand():
    weights = torch.tensor([[0.6, 0.1, 0.2], [0.0, 0.0, 0.0]], dtype=torch.float64)
    cut = top_k(Gate(weights, weights, ("a", "b", "c"), ("a", "b", "c"), math.nan), 2)
    assert_close(cut.weights, torch.tensor([[0.675, 0, 0.225], [0, 0, 0]], dtype=torch.float64))


@pytest.mark.parametrize("k", [0, -1, 1.0, True, None])
def test_top_k_refuses(vectors, k):
    with pytest.raises(MemsciError, match="k must be a whole number from 1 up"):
        top_k(gate(*vectors), k)


def test_cosine_forgets_length(vectors):
    queries, keys = vectors
    found = gate(queries, keys, similarity="cosine")
    assert_close(found.scores, torch.cosine_similarity(queries[:, None], keys[None], dim=2).double(), atol=1e-6, rtol=0)
    longer = gate(queries * 7, keys * torch.arange(1, 8)[:, None], similarity="cosine")
    assert_close(longer.scores, found.scores, atol=1e-6, rtol=0)
    assert gate(queries, torch.zeros(2, 8), similarity="cosine").scores.abs().max() == 0


def test_no_memories():
    found = gate(torch.ones(3, 4), torch.zeros(0, 4))
    assert found.weights.shape == found.scores.shape == (3, 0)
    assert found.entropy().tolist() == [0, 0, 0]
    assert found.frame().empty and list(found.frame()) == ["query", "id", "label", "score", "weight", "rank"]
    with pytest.raises(MemsciError, match="no memories"):
        found.top()


def test_no_queries():
    assert gate(torch.zeros(0, 4), torch.ones(2, 4)).weights.shape == (0, 2)


def test_frame_is_tidy_and_ranked():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    keys = torch.tensor([[1.0, 5.0], [2.0, 4.0], [2.0, 3.0]])
    found = gate(queries, keys, ids=["a", "b", "c"], labels=["Ann", "Bob", "Cid"])
    frame = found.frame()
    assert frame["query"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["id"].tolist() == ["b", "c", "a", "a", "b", "c"]
    assert frame["label"].tolist() == ["Bob", "Cid", "Ann", "Ann", "Bob", "Cid"]
    assert frame["score"].tolist() == [2, 2, 1, 5, 4, 3]
    assert frame["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert frame["weight"][3] == found.weights[1, 0].item()
    assert found.top() == ["b", "a"]
    html = found._repr_html_()
    assert html.count("<tr") == 7 and "Cid" in html


def test_display_shows_five_per_query_and_escapes():
    found = gate(torch.ones(2, 1), torch.arange(30.0)[:, None], labels=["<b>"] * 30)
    assert found._repr_html_().count("&lt;b&gt;") == 10
    assert repr(found).count("<b>") == 10


def test_a_gate_cannot_be_changed(vectors):
    with pytest.raises(AttributeError):
        gate(*vectors).beta = 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": torch.tensor([[1.0, math.nan]])}, "queries hold a number that is not finite"),
        ({"keys": torch.tensor([[1.0, math.inf]])}, "keys hold a number that is not finite"),
        ({"queries": torch.ones(2)}, r"shape \[2\] and keys \[1, 2\]"),
        ({"queries": torch.ones(1, 3)}, r"shape \[1, 3\] and keys \[1, 2\]"),
        ({"beta": -1.0}, "beta must be"),
        ({"beta": math.nan}, "beta must be"),
        ({"similarity": "dot"}, "'inner', 'cosine'"),
        ({"ids": ["a", "b"]}, "1 keys, 2 ids and 2 labels"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(MemsciError, match=message):
        gate(**{"queries": torch.ones(1, 2), "keys": torch.ones(1, 2), **changes})


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_nucleus_is_the_smallest_set_that_holds_the_mass(vectors, beta, epsilon):
    full = gate(*vectors, beta=beta)
    cut = nucleus(full, epsilon)
    open_ = cut.weights > 0
    assert torch.equal(cut.weights[open_], full.weights[open_])  # what stays open keeps its weight
    assert (full.weights - cut.weights).sum(dim=1).max() <= epsilon + 1e-15
    for row, kept in zip(full.weights, open_, strict=True):
        best = row.sort(descending=True).values
        smaller = best[: int(kept.sum()) - 1].sum()
        assert smaller <= 1 - epsilon + 1e-15, "a smaller set would have done"


def test_nucleus_of_nothing_and_of_a_gate_set_by_hand(vectors):
    full = gate(*vectors)
    assert torch.equal(nucleus(full, 0.0).weights, full.weights)
    weights = torch.tensor([[0.0, 2.0, 0.5, 1.5]])
    cut = nucleus(Gate(weights, weights, tuple("abcd"), tuple("abcd"), math.nan), 0.2)
    assert cut.weights.tolist() == [[0.0, 2.0, 0.0, 1.5]]  # 0.5 of 4 may go, 0.5 + 1.5 may not
    for epsilon in (-0.1, 1.0, math.nan):
        with pytest.raises(MemsciError, match="from 0 up to, but not, 1"):
            nucleus(full, epsilon)


@pytest.mark.parametrize("looked_at", [2, 1024])
@pytest.mark.parametrize("mass", [0.0, 0.5, 0.99, 1.0])
def test_holding_is_the_fewest_that_hold_the_mass(vectors, monkeypatch, looked_at, mass):
    monkeypatch.setattr("memsci.gate.softmax.SORTED_FIRST", looked_at)
    full = gate(*vectors)
    expected = set()
    for row in full.weights:
        values, columns = row.sort(descending=True)
        enough = int((values.cumsum(0) < mass).sum()) + 1 if mass else 0
        expected |= set(columns[:enough].tolist())
    assert holding(full.scores, 1.0, mass).tolist() == sorted(expected)
    scores = torch.cat([torch.full((5, 1), -math.inf), full.scores], dim=1)  # one that is out of the question
    assert holding(scores, 1.0, 0.99).tolist() == [1 + column for column in holding(full.scores, 1.0, 0.99).tolist()]


@pytest.mark.parametrize("sorted_first", [2, 1024])
@pytest.mark.parametrize("error", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("beta", [0.0, 0.5, 30.0, 1e4, 1e300, math.inf])
def test_holding_holds_the_mass_of_any_scores_within_the_error(monkeypatch, sorted_first, error, beta):
    monkeypatch.setattr("memsci.gate.softmax.SORTED_FIRST", sorted_first)
    generator = torch.Generator().manual_seed(0)
    for spread in (1e-3, 1.0, 10.0):
        seen = spread * torch.randn(30, 50, generator=generator, dtype=torch.float64)
        seen[:, 10:] = seen[:, 10:11]  # many alike weigh a lot together
        # At the worst the memory that is seen best is less, and all others are more.
        true = seen + error * torch.where(seen == seen.max(dim=1, keepdim=True).values, -1.0, 1.0)
        weights = gate(true, torch.eye(50), beta).weights
        for row, of_one in zip(weights, seen[:, None], strict=True):
            kept = holding(of_one, beta, 0.99, torch.tensor([error]))
            assert 1 - row[kept].sum() <= 0.01 + 1e-12


def test_holding_is_few_where_the_error_is_small(vectors):
    scores = gate(*vectors).scores
    exact = holding(scores[:1], 5.0, 0.9).tolist()
    assert exact == holding(scores[:1], 5.0, 0.9, torch.tensor([1e-9])).tolist() and len(exact) < 7
    assert holding(scores[:1], math.inf, 0.9, torch.tensor([1e-9])).tolist() == [int(scores[0].argmax())]


def test_examples():
    import doctest

    from memsci.gate import softmax

    assert doctest.testmod(softmax).failed == 0
