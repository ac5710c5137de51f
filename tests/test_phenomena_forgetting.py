"""Forgetting: activation in closed form, the gate's null, and curves told apart."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
import torch
from conftest import make_model, make_tokenizer

from memsci.errors import MemsciError
from memsci.gate.activation import activation
from memsci.models.base import Base
from memsci.phenomena import context, keys
from memsci.phenomena.experiment import run
from memsci.phenomena.forgetting import CURVES, DELAYS, held_out, measured, retained

matplotlib.use("Agg")
TIMES = np.array(list(DELAYS.values()))


def test_activation_is_that_of_act_r():
    assert activation([0.0], 9.0) == pytest.approx(-0.5 * np.log(9))
    assert activation([0.0, 3.0], 4.0, weight=2.0) == pytest.approx(2 * np.log(4**-0.5 + 1))
    assert activation([0.0, 1.0, 2.0], 5.0, weight=0.0) == 0.0
    assert activation([0.0], 7.0, decay=0.3, spacing=0.25) == pytest.approx(-0.3 * np.log(7))
    # The second learning decays by c e^A + a, A the activation that the first has left.
    d = 0.25 * 4.0**-0.5 + 0.5
    assert activation([0.0, 4.0], 10.0, spacing=0.25) == pytest.approx(np.log(10**-0.5 + 6.0**-d))


@pytest.mark.parametrize("learnt", [[], [1.0], [0.0, 2.0], [0.5, 0.2]])
def test_times_that_cannot_be_are_refused(learnt):
    with pytest.raises(MemsciError, match="ascending times before now"):
        activation(learnt, 1.0)


def test_recall_is_the_gate_of_one_memory_against_a_null():
    key, cue = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.5]])
    gate = context.gate(cue, key, context.Parameters(beta=3.0, null=6.0), strengths=torch.tensor([-0.7]))
    assert retained(np.array([3.0 * 2.5]), -0.7, 6.0).item() == pytest.approx(gate.weights.item(), rel=1e-6)


@pytest.mark.parametrize(("name", "x"), [("ACT-R", (2.0, 0.0)), ("exponential", (1.0, -3.0)), ("power", (3.0, 0.5, -0.8))])
def test_the_curve_that_made_the_data_is_among_the_best_on_other_memories(name, x):
    curve, count = CURVES[name]
    share = np.tile(curve(TIMES, np.array(x)), (40, 1))
    recalled = np.random.default_rng(0).binomial(50, share) / 50
    nats = held_out(TIMES, recalled).set_index("function")["nats"]
    assert nats.max() - nats[name] < 0.002
    if name == "ACT-R":
        assert nats[name] - nats["exponential"] > 0.005


def test_all_curves_are_probabilities():
    draw = np.random.default_rng(1)
    for curve, count in CURVES.values():
        for x in draw.uniform(-8, 8, (50, count)):
            assert ((curve(TIMES, x) >= 0) & (curve(TIMES, x) <= 1)).all()


def test_without_weight_nothing_is_forgotten_and_spacing_pays_by_activation_alone():
    draw = np.random.default_rng(0)
    table = measured(draw.normal(34, 3, 24), draw.normal(27, 3, 24)).set_index(["measure", "condition"])["value"]
    flat = [table["retained", f"w = 0, {name}"] for name in DELAYS]
    falling = [table["retained", f"w = 1, {name}"] for name in DELAYS]
    assert len(set(flat)) == 1 and (np.diff(falling) < 0).all() and flat[0] == pytest.approx(falling[0])
    assert table["loss", "w = 0"] == 0 and table["loss", "w = 1"] == pytest.approx(falling[0] - falling[-1])
    assert table["spacing", "d by activation"] > 0.01 > table["spacing", "d alike"]


def test_it_runs_is_tested_and_drawn(monkeypatch):
    monkeypatch.setattr(
        sys.modules["memsci.phenomena.forgetting"], "finders", lambda base: [keys.finders(base)[k] for k in (0, 2)]
    )
    base = Base(make_model(), make_tokenizer(), name="tiny")
    found = run("forgetting", base, 5, progress=False)
    tests = found.test().set_index("claim")
    assert tests.loc["MEGa, w = 0: nothing is forgotten", ["estimate", "verdict"]].tolist() == [0.0, "holds"]
    assert len(found.figure().axes) == 3 and found.human["value"].iloc[0] == 0.582
