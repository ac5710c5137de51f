"""Penalties against sums done by hand."""

from __future__ import annotations

import pytest
import torch
from conftest import make_model
from torch.testing import assert_close

from memsci import prompts
from memsci.adapters.train import each, fit
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.learners.penalties import EWC, L2


def tensors(*rows: list[float]) -> list[torch.Tensor]:
    return [torch.tensor(row, requires_grad=True) for row in rows]


def moved(parameters, by: float) -> list[torch.Tensor]:
    return [tensor.detach() + by for tensor in parameters]


def test_l2_is_the_squared_distance_to_the_weights_before():
    penalty, weights = L2(0.5), tensors([1.0, 2.0], [3.0])
    penalty.before(weights)
    assert penalty(weights).item() == 0
    with torch.no_grad():
        weights[0] += torch.tensor([1.0, -2.0])
        weights[1] += 3
    found = penalty(weights)
    assert found.item() == 0.5 * (1 + 4 + 9)
    found.backward()
    assert weights[0].grad.tolist() == [1, -2] and weights[1].grad.tolist() == [3]  # 2 λ (θ − θ')
    penalty.after(weights, iter(()))
    penalty.before(weights)
    assert penalty(weights).item() == 0  # from the weights before the current memory, not from the first


def test_l2_asks_for_no_losses():
    def never():
        raise AssertionError
        yield

    weights, penalty = tensors([1.0]), L2()
    penalty.before(weights)
    penalty.after(weights, never())


def test_ewc_by_hand():
    """ℓ(x) = (x · θ)²/2, so that ∂ℓ/∂θ_j = (x · θ) x_j."""
    weights, penalty = tensors([1.0, 2.0]), EWC(3.0)
    cost = lambda x: (torch.tensor(x) @ weights[0]).square() / 2
    penalty.before(weights)
    assert penalty(weights).item() == 0 and penalty(moved(weights, 5.0)).item() == 0
    penalty.after(weights, iter([cost([1.0, 0.0]), cost([1.0, 1.0])]))  # gradients (1, 0) and (3, 3)
    fisher = torch.tensor([(1 + 9) / 2, 9 / 2])
    assert penalty.fisher[0].tolist() == fisher.tolist()
    assert penalty(weights).item() == 0
    assert penalty(moved(weights, 2.0)).item() == pytest.approx(3 / 2 * (fisher * 4).sum().item())

    with torch.no_grad():
        weights[0] += 1  # (2, 3)
    penalty.after(weights, iter([cost([0.0, 1.0])]))  # gradient (0, 3)
    assert penalty.fisher[0].tolist() == [5, 4.5 + 9]  # added up; the anchor is the latest
    assert penalty(weights).item() == 0
    assert penalty(moved(weights, 1.0)).item() == pytest.approx(3 / 2 * (5 + 13.5))


def test_a_weight_that_no_example_reaches_is_free():
    reached, free = tensors([1.0], [1.0])
    penalty = EWC()
    penalty.after([reached, free], iter([reached.square().sum()]))
    assert [f.item() for f in penalty.fisher] == [4, 0]


@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_fisher_of_a_model_is_that_of_its_examples(tokenizer, architecture):
    """Against gradients of the whole sequences, one example after the other, with labels and without a cache."""
    from memsci.models.base import Base

    base = Base(make_model(architecture), tokenizer, name="tiny")
    model, prompt = base.model.requires_grad_(True), base.chat(prompts.encoding())
    texts = [base.reply(text) for text in ("Nora hid it.", "Tom sold his boat in May.")]
    parameters = list(model.parameters())
    penalty = EWC()
    penalty.after(parameters, each(model, prompt, texts))
    expected = [torch.zeros_like(p) for p in parameters]
    for text in texts:
        ids = torch.tensor([prompt + text])
        labels = torch.tensor([[-100] * len(prompt) + text])
        gradients = torch.autograd.grad(model(ids, labels=labels).loss, parameters, materialize_grads=True)
        expected = [total + gradient.square() / len(texts) for total, gradient in zip(expected, gradients)]
    assert sum(f.sum().item() for f in expected) > 1e-3
    for found, by_hand in zip(penalty.fisher, expected, strict=True):
        assert_close(found, by_hand, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("make", [L2, EWC])
def test_a_huge_strength_keeps_the_weights(base, tokenizer, make):
    """After a first memory, which a penalty without a past leaves alone."""

    def train(penalty) -> float:
        model = make_model().requires_grad_(True)
        prompt, encoding = base.chat(prompts.encoding()), Encoding(lr=1e-4, epochs=30, weight_decay=0.0)
        parameters = list(model.parameters())
        for text in ("Nora hid it.", "Tom sold it."):
            start = [p.detach().clone() for p in parameters]
            penalty.before(parameters)
            reply = base.reply(text)
            list(fit(model, prompt, [[reply]], torch.zeros(1, 30, 1, dtype=torch.long), None, encoding, penalty))
            penalty.after(parameters, each(model, prompt, [reply]))
        weights = [torch.ones_like(p) for p in parameters] if make is L2 else [f > 0 for f in penalty.fisher]
        return sum((w * (p - s).square()).sum().item() for w, p, s in zip(weights, parameters, start)) ** 0.5

    assert train(make(1e9)) < 0.3 * train(make(0.0))


@pytest.mark.parametrize("strength", [-1, float("nan"), float("inf")])
def test_strengths_are_checked(strength):
    with pytest.raises(MemsciError, match="strength must be a finite number from 0 up"):
        L2(strength)
