"""Activation: the gate with a strength of each memory and a null, and without them the paper's bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from test_lifetime_correct import drawn
from test_mind import QUESTIONS, filled
from torch.testing import assert_close

from memsci.config import GateRule
from memsci.errors import MemsciError
from memsci.gate.activation import activation, strengthen

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off", "ignore:.*were not learnt word for word")
B = torch.linspace(-2, 1, 6, dtype=torch.float64)


def test_strengths_shift_the_odds_of_every_pair_whatever_the_cue():
    plain = drawn()
    strong = strengthen(plain, B)
    odds = lambda gate: gate.weights.log()[:, :, None] - gate.weights.log()[:, None, :]
    assert_close(odds(strong) - odds(plain), (B[:, None] - B[None, :]).expand(40, 6, 6))
    assert_close(strong.weights, (strong.beta * strong.scores).softmax(dim=1))
    assert_close(strong.weights.sum(dim=1), torch.ones(40, dtype=torch.float64))


def test_alone_against_a_null_a_memory_opens_as_act_r_has_it():
    one = drawn(n=1)
    opened = strengthen(one, torch.tensor([-0.7]), null=0.4).weights[:, 0]
    assert_close(opened, torch.sigmoid(one.beta * one.scores[:, 0] - 0.7 - 0.4))


def test_below_one_unit_of_time_what_fades_faster_is_no_stronger():
    spaced = lambda learnt, now: activation(learnt, now, spacing=0.25)
    assert spaced([0.0, 240.0], 960.0) == pytest.approx(math.log(960**-0.5 + 720 ** -(0.5 + 0.25 * 240**-0.5)))
    for learnt, now in (([0.0, 0.001], 0.011), ([0.0, 0.1], 0.6), ([0.0, 0.01, 0.02], 0.04), ([0.0, 0.0], 0.5)):
        assert spaced(learnt, now) == pytest.approx(activation(learnt, now))
    assert activation([0.0], 1e3, decay=200.0) == pytest.approx(-200 * math.log(1e3))
    assert spaced([0.0, 0.0], 9.0) == pytest.approx(activation([0.0], 9.0))  # the copy decays at once


def test_a_null_takes_the_same_share_from_all():
    plain, null = drawn(), 1.5
    left = strengthen(plain, torch.zeros(6), null)
    total = (plain.beta * plain.scores).exp().sum(dim=1, keepdim=True)
    assert_close(left.weights, plain.weights * total / (total + math.exp(null)))
    assert torch.equal(left.scores, plain.scores)


def test_at_beta_zero_strengths_alone_decide_and_at_infinity_they_are_refused():
    alone = strengthen(drawn(beta=0.0), B)
    assert_close(alone.weights, B.softmax(dim=0).expand(40, 6))
    assert set(alone.top()) == {alone.ids[5]}
    with pytest.raises(MemsciError, match="beta must be finite"):
        strengthen(drawn(beta=math.inf), B)
    for more in ({"activation": 1.0}, {"null": 3.0}):
        with pytest.raises(MemsciError, match="beta must be finite"):
            GateRule(beta=math.inf, **more)


@pytest.mark.parametrize(
    "wrong", [{"activation": -1.0}, {"decay": math.nan}, {"spacing": True}, {"null": math.inf}, {"activation": "1"}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(MemsciError, match=f"{next(iter(wrong))} must be"):
        GateRule(**wrong)


def test_the_settings_are_written_only_where_they_were_changed():
    assert not {"activation", "decay", "spacing", "null"} & GateRule.paper().to_dict().keys()
    rule = GateRule(activation=0.5, spacing=0.25, null=20.0)
    assert GateRule.from_dict(rule.to_dict()) == rule


@pytest.fixture
def mind(base, tmp_path):
    made = filled(base, tmp_path / "store")
    made.rule = GateRule(beta=0.02)
    return made


def test_off_it_is_the_gate_of_a_mind_bit_for_bit_and_ages_are_refused(mind):
    plain = mind.gate(QUESTIONS)
    mind.rule = GateRule(beta=0.02, activation=0.0, decay=0.9, spacing=1.0)
    off = mind.gate(QUESTIONS)
    assert torch.equal(off.weights, plain.weights) and torch.equal(off.scores, plain.scores)
    with pytest.raises(MemsciError, match="under a rule with activation"):
        mind.gate(QUESTIONS, ages={"m": [1.0]})


def test_what_was_learnt_often_or_lately_opens_wider(mind):
    plain = mind.gate(QUESTIONS)
    mind.rule = GateRule(beta=0.02, activation=2.0)
    ages = {"m": [24.0], "c": [48.0, 24.0], "x": [1.0]}
    strong = mind.gate(QUESTIONS, ages=ages)
    own = torch.tensor([activation(sorted(-x for x in ages[id]), 0.0, 2.0) for id in mind.ids], dtype=torch.float64)
    assert_close(strong.weights, strengthen(plain, own).weights)
    assert own[2] > own[1] > own[0]
    some = mind.gate(QUESTIONS, only=["m", "x"], ages=ages)
    assert_close(some.weights[:, 1] / some.weights[:, 0], strong.weights[:, 2] / strong.weights[:, 0])


def test_whether_it_closes_does_not_depend_on_how_old_memories_are(mind):
    scores = mind.gate(QUESTIONS).scores.amax(dim=1)
    closes = scores.median().item()
    for hours in (1 / 3600, 24.0 * 365):
        mind.rule = GateRule(beta=0.02, activation=2.0, closes=closes)
        gate = mind.gate(QUESTIONS, ages={id: [hours] for id in mind.ids})
        assert gate.closed.tolist() == (scores < closes).tolist()


def test_without_ages_the_time_since_storing_counts(mind):
    # Three memories stored in the same second or two: as good as nothing against one that was learnt a year ago.
    mind.rule = GateRule(beta=0.0, activation=1.0)
    weights = mind.gate("Who?", ages={"m": [24.0 * 365]}).weights[0]
    assert weights[0] < 0.01 and weights[1:].sum() > 0.99
    assert mind.recall("Who?", gate=mind.gate("Who?", ages={"m": [1.0]})) is not None


def test_the_null_shuts_by_degrees_and_a_sparse_rule_looks_at_all(mind):
    sums = []
    for null in (-30.0, 0.0, 60.0):
        mind.rule = GateRule(beta=0.02, null=null)
        sums.append(mind.gate(QUESTIONS).weights.sum(dim=1))
    assert (sums[0] > sums[1]).all() and (sums[1] > sums[2]).all() and (sums[2] < 1e-3).all()
    mind.rule = GateRule(beta=0.02, null=0.0, top_k=1)
    kept = mind.gate(QUESTIONS)
    assert len(kept.ids) == 3 and (kept.weights.ne(0).sum(dim=1) == 1).all()


@pytest.mark.parametrize("wrong", [[], [0.0], [-1.0], [math.inf]])
def test_ages_that_cannot_be_are_refused(mind, wrong):
    mind.rule = GateRule(beta=0.02, activation=1.0)
    with pytest.raises(MemsciError, match="Ages are hours since"):
        mind.gate(QUESTIONS, ages={"m": wrong})
    with pytest.raises(MemsciError, match="nobody"):
        mind.gate(QUESTIONS, ages={"nobody": [1.0]})


@pytest.mark.parametrize("hours", [24, "24", None, [], ["24"], [0.0]])
def test_ages_that_are_none_are_refused(mind, hours):
    mind.rule = GateRule(beta=0.02, activation=2.0)
    with pytest.raises(MemsciError, match="Ages are hours since a memory was learnt, above 0, at least one of each"):
        mind.gate(QUESTIONS, ages={"m": hours})
