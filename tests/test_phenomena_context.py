"""The gate's context: what it is without one, what it is without items, and what it remembers of a list's order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from memsci.errors import MemsciError
from memsci.gate import gate as papers
from memsci.phenomena import context as ctx
from memsci.phenomena.context import Parameters, Study, gate, log_likelihood, log_stopping, stopping, walk

N = 8
FITTED = Parameters(beta=0.0, tau=4.2)


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similar(b: int, n: int = N, seed: int = 0) -> torch.Tensor:
    keys = torch.nn.functional.normalize(vectors(b, n, 5, seed=seed), dim=2)
    return keys @ keys.mT


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0, math.inf])
@pytest.mark.parametrize("similarity", ["inner", "cosine"])
def test_without_context_it_is_the_papers_gate_bit_for_bit(beta, similarity):
    queries, keys = vectors(3, 6) * 30, vectors(N, 6, seed=1) * 30
    ours = gate(queries, keys, Parameters(beta=beta), similarity=similarity)
    theirs = papers(queries, keys, beta, similarity)
    assert torch.equal(ours.weights, theirs.weights) and torch.equal(ours.scores, theirs.scores)
    assert (ours.ids, ours.beta) == (theirs.ids, theirs.beta)


def test_each_term_counts_and_zero_of_each_is_the_papers_gate_but_for_rounding():
    queries, keys = vectors(3, 6), vectors(N, 6, seed=1)
    plain = papers(queries, keys).weights
    close = lambda g: torch.allclose(g.weights, plain, atol=1e-15)
    assert close(gate(queries, keys, Parameters(), strengths=torch.zeros(N)))
    assert close(gate(queries, keys, Parameters(null=-1e9)))
    assert close(gate(queries, keys, Parameters(tau=1e-18)))
    for other in ({"strengths": torch.arange(N)}, {"parameters": Parameters(null=0.0)}, {"parameters": Parameters(tau=1.0)}):
        assert not close(gate(**{"queries": queries, "keys": keys, "parameters": Parameters(), **other}))


def test_a_null_takes_what_the_softmax_with_its_key_would_give_it():
    queries, keys = vectors(2, 6), vectors(N, 6, seed=1)
    shut = gate(queries, keys, Parameters(null=2.0))
    logits = torch.cat([queries @ keys.T, torch.full((2, 1), 2.0)], dim=1)
    assert torch.allclose(shut.weights, logits.softmax(dim=1)[:, :-1])
    one = gate(queries[:1], keys[:1], Parameters(null=2.0)).weights.item()
    assert one == pytest.approx(1 / (1 + math.exp(-(queries[0] @ keys[0]).item() + 2)))


def test_contexts_drift_as_their_recursion_says_and_stay_of_length_one():
    study = Study(N, Parameters(encode=0.6, bound=0.3, start=0.4))
    c = torch.eye(N + 1, dtype=torch.float64)[0]
    for i in range(N):
        unit = torch.eye(N + 1, dtype=torch.float64)[i + 1]
        c = math.sqrt(1 - 0.36) * c + 0.6 * unit
        assert torch.allclose(study.own[i], c)
        back = 0.7 * unit + 0.3 * c
        assert torch.allclose(study.back[i], back / back.norm())
    assert study.cue.norm() == pytest.approx(1) and study.cue[0] > c[0]
    after = study.after(study.cue.expand(2, -1), torch.tensor([0, 5]))
    assert torch.allclose(after.norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert (after @ study.back.T).argmax(dim=1).tolist() == [0, 5]


def test_the_gate_in_a_context_opens_what_was_learnt_about_then():
    queries, keys = torch.zeros(1, 4), vectors(N, 4)
    p = Parameters(tau=8.0, primacy=0.0, start=0.0)
    study = Study(N, p)
    assert gate(queries, keys, p).top() == [str(N - 1)]
    after = gate(queries, keys, p, context=study.after(study.cue[None], torch.tensor([2]))).weights[0]
    assert after.argmax() == 2 and after[3] > after[4] and after[3] > after[1] > after[0]


@pytest.mark.parametrize(("name", "value"), [("tau", -1.0), ("encode", 1.1), ("bound", -0.1), ("beta", float("nan"))])
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(MemsciError, match=name):
        Parameters(**{name: value})


def test_an_endless_beta_leaves_no_room_for_a_context():
    with pytest.raises(MemsciError, match="finite"):
        gate(vectors(1, 4), vectors(N, 4), Parameters(beta=math.inf, tau=1.0))


def test_walks_recall_each_memory_once_and_stop_as_often_as_they_should():
    p = replace(FITTED, stop=0.05, growth=0.4)
    recalled = walk(similar(4000), p, seed=3)
    for row in recalled[:200].tolist():
        said = [j for j in row if j >= 0]
        assert len(set(said)) == len(said) and row[len(said) :] == [-1] * (N - len(said))
    counts = (recalled >= 0).sum(dim=1)
    ends = stopping(N, p)
    expected = np.exp([log_stopping(torch.tensor(k), N, p).item() for k in range(N + 1)])
    assert expected.sum() == pytest.approx(1) and ends[-1] == 1
    observed = np.bincount(counts, minlength=N + 1) / len(counts)
    assert np.abs(observed - expected).max() < 0.03
    assert torch.equal(walk(similar(5), p, seed=1), walk(similar(5), p, seed=1))
    assert (walk(similar(3), p, stops=False) >= 0).all()


def test_likelihoods_of_all_recalls_of_a_length_sum_to_one_and_walks_follow_them():
    from itertools import permutations

    p = replace(FITTED, beta=2.0)
    orders = torch.tensor(list(permutations(range(4), 3)))
    scores = similar(1, 4)
    probabilities = log_likelihood(orders, scores.expand(len(orders), -1, -1), p).exp()
    assert probabilities.sum().item() == pytest.approx(1)
    walks = walk(scores.expand(20000, -1, -1), p, stops=False)[:, :3]
    seen = torch.stack([(walks == order).all(dim=1).double().mean() for order in orders])
    assert (seen - probabilities).abs().max() < 0.015


def test_with_no_term_all_memories_left_are_alike():
    orders = walk(similar(20), FITTED, stops=False)
    flat = Parameters(beta=0.0, tau=0.0)
    expected = -math.lgamma(N + 1)
    for given in (log_likelihood(orders, similar(20), flat), log_likelihood(orders, similar(20), FITTED, uniform=True)):
        assert torch.allclose(given, torch.full((20,), expected, dtype=torch.float64))


def cymrs(recalled: list[int], n: int, p: Parameters, items: np.ndarray | None = None) -> float:
    """log p of one list by cymr, another's implementation of the model."""
    cmr = pytest.importorskip("cymr.cmr", reason="cymr is not installed")
    definition, patterns = cmr.config_loc_cmr(n)
    if items is not None:
        patterns["similarity"] = {"items": items}
        definition.set_weights("ff", {("task", "item"): "w * items"})
    given = dict(
        B_enc=p.encode, B_start=p.start, B_rec=p.recall, Lfc=p.bound, Dfc=1 - p.bound, Afc=0, Lcf=1.0, Dcf=0.0, Acf=0,
        P1=p.primacy, P2=p.decay, T=2 / p.tau, X1=p.stop, X2=p.growth, w=p.beta / p.tau,
    )  # fmt: skip
    given = cmr.prepare_list_param(n, 1, given, definition, len(recalled))
    net = cmr.study_list(definition, given, np.arange(n), np.arange(n), patterns, np.arange(n + 1))
    p = net.p_recall(("task", "item"), np.array(recalled), net.c_sublayers, given["B_rec"], given["T"], given["p_stop"])
    return float(np.log(p).sum())


@pytest.mark.parametrize("seed", range(5))
def test_without_items_it_is_another_implementation_of_the_model_of_context(seed):
    rng = np.random.default_rng(seed)
    p = Parameters(0.0, *rng.uniform([1, 0.3, 0.3, 0.1, 0.1, 0, 0.5, 0.01, 0.1], [6, 0.9, 0.9, 0.9, 0.9, 3, 2, 0.1, 0.3]))
    for row in walk(similar(6, 16), p, seed=seed):
        said = row[row >= 0]
        ours = log_likelihood(said[None], similar(1, 16), p) + log_stopping(torch.tensor([len(said)]), 16, p)
        assert ours.item() == pytest.approx(cymrs(said.tolist(), 16, p), abs=1e-6)


def test_with_items_it_is_that_model_with_links_between_items():
    p = replace(FITTED, beta=3.0)
    scores = similar(1, 16).clamp_min(0)  # cymr lifts what is below nothing
    for row in walk(scores.expand(6, -1, -1), p):
        said = row[row >= 0]
        ours = log_likelihood(said[None], scores, p) + log_stopping(torch.tensor([len(said)]), 16, p)
        assert ours.item() == pytest.approx(cymrs(said.tolist(), 16, p, scores[0].numpy()), abs=1e-6)


def test_gradients_of_the_likelihood_are_those_of_its_differences():
    order = walk(similar(3), FITTED, stops=False)[:, :5]
    start = [0.5, 3.0, 0.7, 0.6, 0.3, 0.4, 1.0, 0.8]
    value = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_likelihood(order, similar(3), Parameters(*x)).sum(), (value,))


def test_drift_keeps_length_whatever_the_rate():
    a, b = (torch.nn.functional.normalize(vectors(7, 5, seed=k), dim=1) for k in (1, 2))
    for rate in (0.0, 0.3, 1.0):
        assert torch.allclose(ctx.drift(a, b, rate).norm(dim=1), torch.ones(7, dtype=torch.float64))
