"""Exact search: what it finds is what the gate puts first, in the gate's order and with its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memsci.config import SIMILARITIES
from memsci.errors import MemsciError
from memsci.gate import search
from memsci.gate.softmax import gate

NONE = np.empty(0, np.int64)


def vectors(n: int, d: int, seed: int = 0, mean: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + mean


def found(cues, keys, k, similarity="inner", dead=NONE):
    keys = keys.numpy()
    return search.nearest(cues, keys, k, similarity, float(np.linalg.norm(keys, axis=1).max(initial=0)), dead)


def first(cues, keys, k, similarity="inner", dead=NONE):
    """By definition: all compared, sorted, equals in the order of the keys."""
    scores = gate(cues, keys, 1.0, similarity).scores
    scores[:, torch.from_numpy(dead)] = -torch.inf
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return scores.gather(1, order), order


def agree(got, expected):
    assert got[0].dtype == torch.float64 and got[1].dtype == torch.int64
    assert torch.equal(got[1], expected[1])
    assert torch.allclose(got[0], expected[0], rtol=1e-12, atol=1e-12)


@pytest.fixture
def compared(monkeypatch) -> list[int]:
    """Numbers of keys that were compared in float64 at a time."""
    seen, exact = [], search._exact
    monkeypatch.setattr(search, "_exact", lambda cue, keys, *more: seen.append(len(keys)) or exact(cue, keys, *more))
    return seen


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("n", "d", "k"), [(1, 3, 1), (7, 5, 3), (60, 8, 60), (3000, 16, 5), (3000, 64, 40)])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_what_is_found_is_what_the_gate_puts_first(similarity, n, d, k, mean):
    cues, keys = vectors(6, d, 1, mean), vectors(n, d, 2, mean)
    agree(found(cues, keys, k, similarity), first(cues, keys, k, similarity))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_few_keys_are_compared_in_float64(similarity, compared):
    found(vectors(4, 32, 1), vectors(5000, 32, 2), 8, similarity)
    assert compared == [8 + search.SPARE] * 4


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_dead_are_passed_over(similarity):
    cues, keys = vectors(5, 8, 1), vectors(2000, 8, 2)
    order = first(cues, keys, 2000, similarity)[1]
    for dead in (order[0, :3], order[0, :300], order[:, :20].flatten().unique(), torch.arange(1999)):
        dead = dead.sort().values.numpy()
        k = min(10, 2000 - len(dead))
        agree(found(cues, keys, 10, similarity, dead), first(cues, keys, k, similarity, dead))
    scores, rows = found(cues, keys, 3, similarity, np.arange(2000))
    assert scores.shape == rows.shape == (5, 0)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_of_equals_the_earlier_comes_first_however_many_there_are(similarity):
    keys = vectors(1500, 7, 2)
    keys[100] *= 10
    keys[200:1400] = keys[100]
    cue = keys[100:101]
    scores, rows = found(cue, keys, 6, similarity)
    assert rows.tolist() == [[100, 200, 201, 202, 203, 204]] and len(set(scores[0].tolist())) == 1


def test_what_float32_cannot_tell_apart_is_told_apart(compared):
    # The products are near 2^24, where float32 counts in twos; the keys differ by less.
    keys = torch.full((3000, 2), 4096.0)
    keys[:, 1] = torch.randperm(3000, generator=torch.Generator().manual_seed(0)) / 4096
    cue = torch.tensor([[4096.0, 1.0]])
    agree(found(cue, keys, 5), first(cue, keys, 5))
    assert sum(compared) > 3000


def test_zero_vectors_have_cosine_0():
    keys = -vectors(100, 4, 2).abs()
    keys[[5, 60]] = 0
    agree(found(torch.ones(1, 4), keys, 3, "cosine"), first(torch.ones(1, 4), keys, 3, "cosine"))
    scores, rows = found(torch.zeros(1, 4), keys, 3, "cosine")
    assert scores.tolist() == [[0, 0, 0]] and rows.tolist() == [[0, 1, 2]]


def test_no_keys_and_no_cues():
    for cues, keys in ((torch.ones(2, 4), torch.empty(0, 0)), (torch.empty(0, 4), torch.ones(3, 4))):
        scores, rows = found(cues, keys, 2)
        assert scores.shape == rows.shape == (len(cues), min(2, len(keys)))


def test_cues_may_be_of_any_precision_and_part_of_a_graph():
    cues, keys = vectors(2, 8, 1).bfloat16().requires_grad_(), vectors(500, 8, 2)
    agree(found(cues, keys, 3), first(cues.detach(), keys, 3))


@pytest.mark.parametrize("k", [0, -1, 1.0, True, None])
def test_k_is_a_whole_number(k):
    with pytest.raises(MemsciError, match=f"k must be a whole number from 1 up; {k!r} was given"):
        found(torch.ones(1, 4), torch.ones(3, 4), k)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(MemsciError, match=r"shape \[1, 5\].*\[3, 4\].*embedded as the keys"):
        found(torch.ones(1, 5), torch.ones(3, 4), 1)
    with pytest.raises(MemsciError, match=r"shape \[4\]"):
        found(torch.ones(4), torch.ones(3, 4), 1)
    with pytest.raises(MemsciError, match="not finite"):
        found(torch.full((1, 4), torch.nan), torch.ones(3, 4), 1)
    with pytest.raises(MemsciError, match="similarity"):
        found(torch.ones(1, 4), torch.ones(3, 4), 1, "euclid")


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_all_similarities_are_the_gates_part_by_part(similarity, monkeypatch):
    monkeypatch.setattr(search, "PART", 7)
    cues, keys = vectors(3, 16), vectors(40, 16, seed=1)
    keys[5] = 0
    scores = search.similarities(cues, keys.numpy(), similarity)
    expected = gate(cues, keys, 1.0, similarity).scores.float()
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)
    assert search.similarities(cues[:0], keys.numpy(), similarity).shape == (0, 40)
    assert search.similarities(cues, np.empty((0, 16), np.float32), similarity).shape == (3, 0)
    with pytest.raises(MemsciError, match=r"\[b, 16\]"):
        search.similarities(cues[:, :5], keys.numpy(), similarity)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("scale", "mean"), [(1e-15, 0.0), (1.0, 0.0), (1.0, 8.0), (1e4, 0.0)])
@pytest.mark.parametrize("width", [1, 16, 1000])
def test_similarities_are_off_by_no_more_than_rounding(similarity, scale, mean, width):
    cues, keys = scale * vectors(5, width, 1, mean), vectors(300, width, 2, mean)
    error = search.rounding(cues, width, similarity, float(keys.norm(dim=1).max()))
    scores = search.similarities(cues, keys.numpy(), similarity)
    off = (scores - gate(cues, keys, 1.0, similarity).scores).abs()
    assert error.shape == (5,) and (off <= error[:, None]).all()
