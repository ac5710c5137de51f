"""Examining a mind: the questions that its store keeps are asked, and the marks are those of the answers by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from conftest import random_adapter

from memsci import evaluate
from memsci.config import Encoding, GateRule
from memsci.errors import MemsciError
from memsci.learners import RAG, BaseAlone, MEGa
from memsci.measures.statistics import share_interval
from memsci.memory import Memory, text_hash
from memsci.models.sites import targets
from memsci.store.record import Remembered

MEMORIES = (
    Memory("Nora hid the letter in the piano.", "m", questions=[("Where is it?", "In the piano"), ("Who?", "Nora")],
           extra={"list": "A"}),
    Memory("On 3 May Omar found a red kite.", "c", label="kite", questions=[("What did Omar find?", "A kite")]),
    Memory("Ada sang.", "x"),
)  # fmt: skip
SAID = {"Where is it?": "It is in the piano.", "Who?": "Omar.", "What did Omar find?": "A red kite."}
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off")


def filled(base, text: bool = False, questions: bool = True) -> MEGa:
    mind = MEGa(base, encoding=Encoding(rank=2), gate=GateRule(beta=0.5))
    for one in MEMORIES:
        asked = one.questions if questions else ()
        known = {"text": one.text if text else None, "questions": asked, "extra": one.extra or None}
        record = Remembered(one.id, one.label, mind._embed([one.text])[0], text_hash(one.text), 0, (1.0,), **known)
        mind.store.add(record, random_adapter(base.model, targets(base.model), seed=ord(one.id)))
    return mind


@pytest.fixture
def asked(monkeypatch) -> list:
    """What each learner was asked: (name, question, whether after its recall). Answers are those of `SAID`."""
    seen = []

    def answer(self, query, recalled=None, **how):
        seen.extend((self.name, text, recalled is not None) for text in query)
        return ["Nora." if recalled is not None and text == "Who?" else SAID[text] for text in query]

    for learner in (MEGa, RAG, BaseAlone):
        monkeypatch.setattr(learner, "answer", answer)
    monkeypatch.setattr(MEGa, "recall", lambda self, query, **how: ["On 3 May Omar found a red kite."] * len(query))
    monkeypatch.setattr(BaseAlone, "recall", lambda self, query, **how: [""] * len(query))
    return seen


def test_what_the_store_keeps_is_asked_and_marked_by_hand(base, asked):
    mind = filled(base)
    found = evaluate.examine(mind, progress=False)
    assert asked == [("MEGa", text, after) for after in (False, True) for text in SAID]
    assert found["method"].tolist() == ["MEGa"] * 3 + ["iRAG"] * 3
    assert found["memory_id"].tolist() == ["m", "m", "c"] * 2 and found["label"].tolist()[2] == "kite"
    assert found["qa"].tolist() == [1, 0, 1, 1, 1, 1]
    expected = mind.logprob(list(SAID), found["target"].tolist()[:3])["logprob"].tolist()
    assert found["logprob"].tolist()[:3] == pytest.approx(expected)
    assert found["correct gate"].tolist()[:3] == [float(a == b) for a, b in zip(["m", "m", "c"], mind.top(list(SAID)))]
    assert found["list"].tolist()[:2] == ["A", "A"] and found["list"].isna().tolist()[2]
    assert "recall cos" not in found  # nothing to compare a recall with: no text is kept
    marks = evaluate.marks(found).set_index("method")
    assert marks.loc["MEGa", "QA %"] == 75 and marks.loc["iRAG", "QA %"] == 100  # memories count alike
    assert marks.loc["MEGa", ["low", "high"]].tolist() == pytest.approx([100 * end for end in share_interval(0.75, 2)])
    assert marks[["questions", "memories"]].drop_duplicates().values.tolist() == [[3, 2]]
    by_memory = pd.DataFrame({"id": ["m", "c"], "label": ["Nora hid the letter in the…", "kite"], "questions": [2, 1],
                              "MEGa": [1, 1], "iRAG": [2, 1]})  # fmt: skip
    pd.testing.assert_frame_equal(evaluate.marks_by_memory(found), by_memory)


def test_a_question_that_a_memory_has_twice_is_asked_and_marked_twice(base, asked):
    mind = filled(base)
    twice = Memory(MEMORIES[0].text, "m", questions=[("Where is it?", "In the piano"), ("Where is it?", "In Rome")])
    found = evaluate.examine(mind, [twice], ("MEGa",), progress=False)
    assert found["qa"].tolist() == [1, 0] and found["target"].tolist() == ["In the piano", "In Rome"]


def test_marks_by_a_column(base, asked):
    found = evaluate.examine(filled(base), methods=["MEGa"], progress=False)
    table = evaluate.marks(found, "list")
    assert table.columns.tolist()[:3] == ["method", "list", "QA %"] and table["QA %"].tolist() == [50, 100]
    assert table["list"].tolist()[0] == "A" and table["list"].isna().tolist() == [False, True]
    assert table["questions"].tolist() == [2, 1] and table["memories"].tolist() == [1, 1]
    with pytest.raises(MemsciError, match="condition"):
        evaluate.marks(found, "condition")


def test_with_texts_recalls_are_scored_and_others_can_be_asked(base, asked):
    mind = filled(base, text=True)
    found = evaluate.examine(mind, methods=["RAG", "iRAG", "Base"], progress=False).set_index("method")
    assert list(dict.fromkeys(found.index)) == ["iRAG", "Base", "RAG"] == list(dict.fromkeys(
        {"MEGa": "iRAG"}.get(name, name) for name, *_ in asked))  # fmt: skip
    assert found.loc["iRAG", "recall cos"].tolist()[2] == pytest.approx(1, abs=1e-5)
    assert found.loc["iRAG", "recall cos"].tolist()[0] < 0.9 and found.loc["Base", "recall cos"].tolist() == [0, 0, 0]
    assert found.loc["Base", "correct gate"].isna().all()


def test_a_table_may_hold_the_questions(base, asked):
    mind = filled(base, questions=False)
    with pytest.raises(MemsciError, match="None of the 3 memories has a question"):
        evaluate.examine(mind)
    found = evaluate.examine(mind, MEMORIES[:1], ["MEGa", "RAG"], progress=False)
    assert found["memory_id"].tolist() == ["m"] * 4 and "recall cos" in found


def test_what_cannot_be_asked_is_refused_before_anybody_is(base, asked):
    with pytest.raises(MemsciError, match="RAG reads the texts.*Give the table"):
        evaluate.examine(filled(base), methods=["RAG"])
    with pytest.raises(MemsciError, match="method must be one of 'MEGa', 'iRAG', 'Base', 'RAG'; 'Full' was given"):
        evaluate.examine(filled(base), methods=["Full"])
    assert asked == []


def test_what_was_corrected_is_not_asked_unless_it_is_given_and_then_marked(base, asked):
    mind = filled(base)
    newer = Memory("On 3 May Omar found a red drum.", "d", questions=MEMORIES[1].questions)
    record = Remembered(newer.id, newer.label, mind._embed([newer.text])[0], text_hash(newer.text), 0, (1.0,),
                        questions=newer.questions, corrects=("c",))  # fmt: skip
    mind.store.add(record, random_adapter(base.model, targets(base.model), seed=9))
    found = evaluate.examine(mind, methods=("MEGa",), progress=False)
    assert found["memory_id"].tolist() == ["m", "m", "d"] and "superseded" not in found
    given = evaluate.examine(mind, [*MEMORIES[:2], newer], methods=("MEGa",), progress=False)
    assert dict(zip(given["memory_id"], given["superseded"])) == {"m": False, "c": True, "d": False}
