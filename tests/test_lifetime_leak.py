"""What the others tell of a memory that was forgotten, and who wins where two answers compete."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from test_mind import MEMORIES, SMALL, SOFT

from memsci import prompts
from memsci.errors import MemsciError
from memsci.learners.mega import MEGa
from memsci.lifetime import conflict
from memsci.lifetime.leak import leak, leaked
from memsci.memory import Memory
from memsci.models import conversation

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off")

ASKED = [
    Memory(one.text, one.id, questions=questions)
    for one, questions in zip(
        MEMORIES,
        (
            [("Where is the letter?", "In the piano"), ("Who hid it?", "Nora")],
            [("What did Omar find?", "A kite")],
            [("Who sang?", "Ada")],
        ),
    )
]


@pytest.fixture
def mind(base, tmp_path, monkeypatch) -> MEGa:
    monkeypatch.setattr(MEGa, "recall_tokens", 6)
    mind = MEGa(base, tmp_path / "store", SMALL, gate=SOFT)
    mind.encode(ASKED, progress=False)
    return mind


def test_the_forgotten_state_is_that_of_a_mind_that_forgot_and_never_had(mind, base, tmp_path):
    table = leak(mind, ASKED)
    assert leak(mind, mind.store.records).equals(table) and len(table) == 3 * 4
    assert leak(mind, [*ASKED, ASKED[0]]).equals(table)  # each once
    alone = table[table["state"] == "base"]
    assert alone["top_id"].isna().all() and alone["answer"].tolist() == mind.answer(
        alone["question"].tolist(), gate=mind.gate_by_hand([{}] * 4)
    )
    whole = table[table["state"] == "remembered"]
    np.testing.assert_allclose(
        whole["logprob"], mind.logprob(whole["question"].tolist(), whole["target"].tolist())["logprob"], rtol=1e-5
    )
    mind.forget("m")
    never = MEGa(base, tmp_path / "never", SMALL, gate=SOFT)
    never.encode(ASKED[1:], progress=False)
    rows = table[(table["state"] == "forgotten") & (table["memory_id"] == "m")]
    for one in (mind, never):
        asked = rows["question"].tolist(), rows["target"].tolist()
        np.testing.assert_allclose(rows["logprob"], one.logprob(*asked)["logprob"], rtol=1e-5)
        assert rows["top_id"].tolist() == one.gate(asked[0]).top() and rows["answer"].tolist() == one.answer(asked[0])


def test_what_is_leaked_is_forgotten_less_base(mind):
    table = leak(mind, ASKED, per_memory=1)
    means = leaked(table).set_index("memory_id")
    assert list(means.index) == [one.id for one in ASKED]
    nats = (table["logprob"] / table["tokens"]).groupby([table["memory_id"], table["state"]]).mean()
    for id in means.index:
        assert means.loc[id, "leaked nats"] == pytest.approx(nats[id, "forgotten"] - nats[id, "base"])
        assert means.loc[id, "nats remembered"] == pytest.approx(nats[id, "remembered"])
    assert (means["nats remembered"] > means["nats base"]).all()  # it was learnt


def test_a_memory_that_is_the_only_one_leaves_the_base(mind):
    mind.forget("c")
    mind.forget("x")
    table = leak(mind, ASKED[:1])
    forgotten, alone = (table[table["state"] == state].reset_index(drop=True) for state in ("forgotten", "base"))
    assert forgotten["answer"].equals(alone["answer"]) and forgotten["logprob"].equals(alone["logprob"])


def test_questions_are_needed_and_memories_that_are_stored(mind):
    with pytest.raises(MemsciError, match="None of the 3 memories has a question"):
        leak(mind, MEMORIES)
    with pytest.raises(MemsciError, match="no memory 'z'"):
        leak(mind, [Memory("Zoe ran.", "z", questions=[("Who?", "Zoe")])])


# -------------------------------------------------------------------------------------------------- two answers compete


def test_gains_are_tried_and_the_rule_is_as_before(mind):
    mind.encode([Memory("Nora hid the letter in the oven.", "new")], progress=False, corrects="m")
    probes = pd.DataFrame({"question": ["Where is the letter?"], "new": ["In the oven"], "old": ["In the piano"]})
    rule = mind.rule
    table = conflict.corrected(mind, probes, gains=(None, 2.0, 50.0))
    assert mind.rule == rule and table["gain"].tolist() == ["none", "none", "2", "2", "50", "50"]
    direct = table[table["way"] == "direct"].set_index("gain")
    alone = conflict.said(mind, probes, gate=mind.gate_by_hand([dict(zip(*_without_old(mind, probes)))]))
    assert direct.loc["50", "nats new"] == pytest.approx(alone.loc[0, "nats new"], rel=1e-4)
    assert direct.loc["50", "nats new"] != direct.loc["none", "nats new"]


def _without_old(mind, probes) -> tuple[list[str], list[float]]:
    opened = mind.gate(probes["question"].tolist())  # at the rule's own gain the new one has the better score already
    scores = opened.scores.clone()
    scores[0, opened.ids.index("m")] = -torch.inf
    return list(opened.ids), (opened.beta * scores).softmax(dim=1)[0].tolist()


def test_facts_are_graded_and_each_is_told_by_its_own_text_alone():
    facts, others = conflict.facts(), conflict.elsewhere()
    assert sum(one.known is None for one in facts) == 6 and len(facts) == 18 and len(others) == 10
    for one in facts:
        told = [fact.memory.id for fact in facts if conflict.contains(fact.memory.text, one.question.answer)]
        assert told == [one.memory.id], one.memory.id
        assert one.known is None or not conflict.contains(one.memory.text, one.known), one.memory.id
    for one in others:
        assert not any(conflict.contains(fact.memory.text, one.answer) for fact in facts), one.text


def test_conflicts_are_asked_at_each_strength(base, tmp_path, monkeypatch):
    monkeypatch.setattr(MEGa, "recall_tokens", 6)
    monkeypatch.setattr("memsci.models.conversation.ANSWER_TOKENS", 6)
    mind = MEGa(base, tmp_path / "store", SMALL, gate=SOFT)
    facts = [one for one in conflict.facts() if one.memory.id in ("france", "japan", "vastoria")]
    table = conflict.conflicts(mind, facts, conflict.elsewhere()[:2], strengths=(0, 1.0, 2.0), progress=False)
    assert table.groupby("strength").size().tolist() == [5, 5, 5]
    assert table["grade"].tolist()[:5] == [*conflict.grades(base, facts)["grade"], "elsewhere", "elsewhere"]
    assert set(table["grade"]) == {"novel", "weak", "strong", "elsewhere"}
    shut = table[(table["strength"] == 0) & table["old"].notna() & table["memory_id"].notna()]
    asked = [prompts.qa(question) for question in shut["question"]]
    weighed = conversation.logprob(base, asked, shut["old"].tolist())  # at strength 0 the base speaks
    np.testing.assert_allclose(shut["nats old"], weighed["logprob"] / weighed["tokens"], rtol=1e-4)
    cloze = [prompts.cloze("general knowledge", question) for question in shut["question"]]
    weighed = conversation.logprob(base, cloze, [f" {known}" for known in shut["old"]])
    np.testing.assert_allclose(shut["base nats"].astype(float), weighed["logprob"] / weighed["tokens"], rtol=1e-4)
    other = table[table["grade"] == "elsewhere"]
    assert other["says new"].isna().all() and other["nats old"].notna().all()
    won = conflict.winning(table.assign(**{"says new": table["strength"] >= 1, "says old": table["strength"] < 2}))
    assert won["memory_id"].tolist() == ["france", "japan", "vastoria"] and won["strength"].tolist() == [2.0, 2.0, 2.0]
