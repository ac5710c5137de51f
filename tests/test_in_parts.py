"""Questions in several parts: taken apart, put part by part, and joined."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from conftest import random_adapter

from memsci import data, evaluate
from memsci.config import Encoding, GateRule
from memsci.errors import MemsciError
from memsci.learners import make
from memsci.learners.mega import MEGa
from memsci.learners.parts import Parts, join, split
from memsci.measures.metrics import judge
from memsci.memory import Memory, text_hash
from memsci.models.sites import targets
from memsci.store.record import Remembered

MEMORIES = [
    Memory("Nora hid the letter in the piano.", id="m", questions=[("Where did Nora hide it?", "In the piano")]),
    Memory("On 3 May Omar found a red kite by the frozen lake.", id="c", questions=[("What did Omar find?", "A red kite")]),
    Memory("Ada sang twice.", id="x"),
]
TWO, ONE = "Where did Nora hide it, and what did Omar find by the lake?", "Which came first, the kite or the piano?"
PARTS = ["Where did Nora hide it?", "What did Omar find by the lake?"]

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off")


@pytest.fixture
def mind(base, tmp_path, monkeypatch) -> MEGa:
    monkeypatch.setattr(MEGa, "recall_tokens", 8)
    mind = MEGa(base, store=tmp_path / "store", encoding=Encoding(rank=2), gate=GateRule(beta=0.5))
    for memory in MEMORIES:
        adapter = random_adapter(base.model, targets(base.model), seed=ord(memory.id))
        key = mind._embed([memory.text])[0]
        mind.store.add(Remembered(memory.id, memory.label, key, text_hash(memory.text), 0, (1.0,)), adapter)
    return mind


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        (TWO, PARTS),
        (ONE, [ONE]),
        ("Who sang and who danced?", ["Who sang?", "Who danced?"]),
        ("who ate, in which inn did he sleep and why, and when?", ["Who ate, in which inn did he sleep?", "Why?", "When?"]),
        ("Who sang, and danced, and ate?", ["Who sang, and danced, and ate?"]),
        ("On the hike, and only there, who sang?", ["On the hike, and only there, who sang?"]),
        ("Who saw Ann and Ben on the mountain, and after the hike of Ben, in May, what was left?",
         ["Who saw Ann and Ben on the mountain?", "After the hike of Ben, in May, what was left?"]),
        ("Tell me of the lake", ["Tell me of the lake"]),
    ],
)  # fmt: skip
def test_a_question_is_taken_apart_where_another_begins(question, parts):
    assert split(question) == parts


@pytest.mark.parametrize("setting", ["episodic", "semantic"])
def test_questions_of_the_world_fall_into_those_that_they_were_made_of(setting):
    world = data.builtin(setting, 3)
    single = [question.text for memory in world for question in memory.questions]
    assert all(split(text) == [text] for text in single)
    two = [q for q in world.compositional if not judge(q.text, q.answer)]  # else one of two that the question names
    assert len(two) >= 15 and all(len(split(q.text)) == 2 and set(split(q.text)) <= set(single) for q in two)
    assert all(split(q.text) == [q.text] for q in world.compositional if q not in two)
    for question in two:  # and what the parts' answers make is right
        one, other = (next(q for m in world for q in m.questions if q.text == part) for part in split(question.text))
        assert judge(join([f"It was {one.answer}.", f"{other.answer}."]), question.answer)


def test_each_part_has_its_own_gate_recall_and_answer(mind, opened):
    for how in ({}, {"via_recall": True}, {"via_recall": 2}):
        alone = [mind.answer(part, max_new_tokens=6, **how) for part in PARTS]
        opened.clear()
        assert mind.answer(TWO, in_parts=True, max_new_tokens=6, **how) == join(alone)
        if not how:
            assert torch.cat(opened).equal(mind.gate(PARTS).weights.float())
    assert mind.answer(TWO, in_parts=True, max_new_tokens=6) != mind.answer(TWO, max_new_tokens=6)
    said = mind.answer([ONE, TWO], in_parts=True, max_new_tokens=6)
    assert said == [mind.answer(ONE, max_new_tokens=6), mind.answer(TWO, in_parts=True, max_new_tokens=6)]
    assert mind.answer([], in_parts=True) == []


def test_what_is_given_for_a_question_is_given_for_its_parts(mind):
    gate, told = mind.true_gate([["m", "c"], "x"]), ["Ada did.", "Omar."]
    each = mind.true_gate([["m", "c"], ["m", "c"], "x"])
    alone = mind.answer([*PARTS, ONE], gate=each, recalled=["Ada did.", "Ada did.", "Omar."], max_new_tokens=6)
    assert mind.answer([TWO, ONE], gate=gate, recalled=told, in_parts=True, max_new_tokens=6) == [join(alone[:2]), alone[2]]
    with pytest.raises(MemsciError, match="The gate given has 1 rows; 2, one a question, are needed"):
        mind.answer([TWO, ONE], gate=mind.gate(TWO), in_parts=True)


def test_any_learner_is_asked_in_parts(base):
    rag = make("RAG", base)
    rag.learn(MEMORIES)
    assert rag.answer(TWO, in_parts=True, max_new_tokens=6) == join(rag.answer(PARTS, max_new_tokens=6))


def table(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["memory_id", "question", "target", "original"])


def test_responses_in_parts(mind):
    """One row a question: recalls and log probabilities are those of its parts together."""
    asked = table(("m c", TWO, "piano and kite", "both"), ("x", ONE, "the kite and", "one"), ("m c", TWO, "kite", "both"))
    ways = ["direct", "recall first", "direct, in parts", "recall first, in parts"]
    said = evaluate.ask(mind, asked, ways)
    assert said["way"].tolist() == [way for way in ways for _ in range(3)]
    recalls = mind.recall(PARTS)
    for way, how in (("direct, in parts", {}), ("recall first, in parts", {"recalled": recalls})):
        two, one, unlike = said[said["way"] == way].to_dict("records")
        assert two["recalled"] == "\n\n".join(recalls) and two["answer"] == join(mind.answer(PARTS, **how))
        weighed = mind.logprob(PARTS, ["piano", "kite"], **how)
        assert two["logprob"] == pytest.approx(weighed["logprob"].sum()) and two["tokens"] == weighed["tokens"].sum()
        assert math.isnan(unlike["logprob"]) and unlike["answer"] == two["answer"]
        whole = said[said["way"] == way.removesuffix(", in parts")].iloc[1]
        assert {**one, "way": whole["way"]} == whole.to_dict()  # a question of one part is itself
    assert said["top_id"].tolist()[6] == next((id for id in mind.top(PARTS) if id not in ("m", "c")), mind.top(PARTS)[0])
    true = evaluate.ask(mind, asked.head(1), ways[2:3], gate="true")
    gate = mind.true_gate([["m", "c"]] * 2)
    assert true["answer"].tolist() == [join(mind.answer(PARTS, gate=gate))] and true["top_id"].tolist() == ["m"]
    assert "recall first, in parts" not in set(evaluate.ask(make_rag(mind.base), asked, ways)["way"])


def make_rag(base):
    rag = make("RAG", base)
    rag.learn(MEMORIES)
    return rag


def test_ways_that_there_are():
    parts = Parts([TWO, ONE], apart=False)
    assert parts.questions == [TWO, ONE] and parts.rows == [0, 1]
    with pytest.raises(MemsciError, match="way must be one of 'direct', 'recall first', 'direct, in parts'"):
        evaluate.ask(None, MEMORIES, ways=["in parts"])
