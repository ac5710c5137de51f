"""The main measurement: what each method is asked, and every number of the table by hand."""

from __future__ import annotations

import io
import json
from functools import partial, partialmethod

import numpy as np
import pandas as pd
import pytest
from conftest import make_model, make_tokenizer, random_adapter

from memsci import data, evaluate, generate, prompts
from memsci.config import Embedding, Encoding, GateRule
from memsci.embed import embedder
from memsci.errors import MemsciError
from memsci.lora import targets
from memsci.memory import Memory, Partition, QuizItem, text_hash
from memsci.mind import MEGa
from memsci.models import Base
from memsci.record import Remembered

SMALL = Encoding(rank=2, lr=1e-2, epochs=1, batch_size=1)
MEMORIES = (
    Memory("Nora hid the letter in the piano.", id="m", questions=[("Where is it?", "In the piano"), ("Who?", "Nora")]),
    Memory("On 3 May Omar found a red kite by the lake.", id="c", questions=[("What did Omar find?", "A kite")]),
    Memory("Ada sang.", id="x", questions=[("Who sang?", "Ada"), ("Did she?", "Yes"), ("Why?", "Joy"), ("Oh?", "Oh")]),
)
RULE = GateRule(beta=0.5, cue="prompt", second_turn="recall")
QUIZ = [QuizItem(subject, f"{k} + 1?", ("1", "2", "3", "4"), k) for k, subject in enumerate(("sums", "sums", "more"))]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(MEGa, "recall", partialmethod(MEGa.recall, max_new_tokens=6))
    monkeypatch.setattr(MEGa, "answer", partialmethod(MEGa.answer, max_new_tokens=6))
    monkeypatch.setattr(evaluate, "ANSWER_TOKENS", 6)


def filled(base: Base) -> MEGa:
    """A mind whose adapters were not trained but drawn, large enough to matter."""
    mind = MEGa(base, encoding=SMALL, gate=RULE)
    for memory in MEMORIES:
        key = mind._embed([memory.text])[0]
        adapter = random_adapter(base.model, targets(base.model), seed=ord(memory.id))
        mind.store.add(Remembered(memory.id, memory.label, key, text_hash(memory.text), 0, (1.0,)), adapter)
    return mind


@pytest.fixture
def mind(base) -> MEGa:
    return filled(base)


def fake(texts: list[str]) -> np.ndarray:
    """Vectors whose cosines can be told by heart: A·B = 0.6, A·C = 0, B·C = 0.8, near A·A = 0.8."""
    known = {"A": (1, 0), "B": (0.6, 0.8), "C": (0, 2), "near A": (0.4, 0.3)}
    return np.array([known[text] for text in texts], dtype=float)


COLUMNS = ["method", "memory_id", "question", "target", "original", "top_id", "recalled", "answer", "logprob", "tokens"]
RESPONSES = pd.DataFrame(
    [
        ("RAG", "a", "q1", "the piano", "A", "a", None, "In the piano.", -2.0, 2),
        ("RAG", "b", "q2", "Nora", "B", "c", None, "It was Omar.", -4.0, 1),
        ("Base", "a", "q1", "the piano", "A", "a", "C", "I do not know.", -9.0, 2),
        ("Base", "b", "q2", "Nora", "B", "c", "C", "I do not know.", -7.0, 1),
        ("MEGa", "a", "q1", "the piano", "A", "a", "near A", "It is in the piano. Or so.", -3.0, 2),
        ("MEGa", "b", "q2", "Nora", "B", "c", "", "", -6.0, 1),
        ("MEGa", "c", "q3", "3 May", "C", "c", "B", "On May 3rd.", -1.5, 2),
        ("iRAG, true gate", "b", "q2", "Nora", "B", "c", "B", "Nora did.", -0.5, 1),
    ],
    columns=COLUMNS,
)


# Asking


def test_probes_are_the_first_questions_of_each_memory():
    table = evaluate.probes(MEMORIES)
    assert list(table) == ["memory_id", "question", "target", "original"]
    assert table["memory_id"].tolist() == ["m", "m", "c", "x", "x", "x"]
    assert table["target"].tolist() == ["In the piano", "Nora", "A kite", "Ada", "Yes", "Joy"]
    assert table["original"].tolist() == [MEMORIES[i].text for i in (0, 0, 1, 2, 2, 2)]
    assert len(evaluate.probes(MEMORIES, None)) == 7 and evaluate.probes(MEMORIES, 1)["question"].iloc[2] == "Who sang?"
    with pytest.raises(MemsciError, match="None of the 1 memories has a question"):
        evaluate.probes([Memory("Tom left.")])


def test_every_method_is_asked_in_its_own_way(mind, monkeypatch):
    recalls = []
    recall = MEGa.recall
    spy = lambda self, query, beta=None, gate=None: recalls.append(gate) or recall(self, query, beta, gate)
    monkeypatch.setattr(MEGa, "recall", spy)
    table = evaluate.ask(mind, MEMORIES, progress=False)
    assert len(recalls) == 3  # shut, own and true gates: iRAG answers from the very recall that is scored
    assert set(table) == set(COLUMNS) and table["method"].unique().tolist() == list(evaluate.METHODS)
    asked = evaluate.probes(MEMORIES)
    questions, answers = asked["question"].tolist(), asked["target"].tolist()
    rows = {method: rows.reset_index(drop=True) for method, rows in table.groupby("method")}
    assert all(part[list(asked)].equals(asked) for part in rows.values())
    assert all(part["top_id"].tolist() == mind.gate(questions).top() for part in rows.values())

    true = mind.gate_by_hand([{id: 1.0} for id in asked["memory_id"]])
    gates = {
        "Base": mind.gate_by_hand([{}] * 6),
        "MEGa": None,  # the mind's own, by its own rule
        "iRAG": None,
        "MEGa, true gate": true,
        "iRAG, true gate": true,
    }
    for method, gate in gates.items():
        told = recall(mind, questions, gate=gate)
        how = {"gate": gate, "via_recall": method.startswith("iRAG"), "recalled": told}
        found = mind.logprob(questions, answers, **how)
        assert rows[method]["logprob"].tolist() == found["logprob"].tolist(), method
        assert rows[method]["tokens"].tolist() == [len(answer) for answer in answers]
        assert rows[method]["answer"].tolist() == mind.answer(questions, **how)
        assert rows[method]["recalled"].tolist() == told
    assert len({tuple(part["logprob"]) for part in rows.values()}) == len(evaluate.METHODS)


def test_base_and_rag_are_the_base_model_alone(mind):
    """RAG reads the text of the memory at the top of the gate, right or wrong."""
    table = evaluate.ask(mind, MEMORIES, methods=("RAG", "Base"), progress=False)
    texts = {memory.id: memory.text for memory in MEMORIES}
    base = mind.base
    for row in table.itertuples():
        turns = {"RAG": prompts.rag(row.question, texts[row.top_id]), "Base": prompts.qa(row.question)}[row.method]
        sums, counts = generate.logprob(base, [base.chat(turns)], [base.tokens(row.target, bos=False)])
        assert row.logprob == pytest.approx(sums.item(), abs=1e-3) and row.tokens == counts.item()
        assert row.answer == generate.generate(base, [base.chat(turns)], 6)[0]
        assert (row.recalled is None) == (row.method == "RAG")
    assert table["method"].tolist() == ["RAG"] * 6 + ["Base"] * 6


def test_rag_and_base_score_the_same_tokens_without_a_chat_template():
    """After the plain "Assistant:", an answer starts with a space."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    mind = filled(Base(make_model(), tokenizer))
    table = evaluate.ask(mind, MEMORIES, methods=("RAG", "Base"), progress=False)
    assert table["tokens"].tolist() == [len(target) + 1 for target in table["target"]]


def test_what_cannot_be_asked_is_refused(mind):
    with pytest.raises(MemsciError, match="method must be one of"):
        evaluate.ask(mind, MEMORIES, methods=("Rag",))
    with pytest.raises(MemsciError, match="'x' is not among those given"):
        evaluate.ask(mind, MEMORIES[:2])
    assert len(evaluate.ask(mind, MEMORIES[:2], methods=("Base",), progress=False)) == 3


def test_the_quiz_is_put_to_the_base_and_to_the_open_gates(mind):
    table = evaluate.ask_quiz(mind, QUIZ)
    base = generate.choose(mind.base, [mind.base.chat(prompts.mmlu(i.subject, i.question, i.options)) for i in QUIZ])
    expected = {"Base": base, "MEGa": mind.choose(QUIZ)}
    for method, chosen in expected.items():
        rows = table[table["method"] == method]
        assert rows["subject"].tolist() == ["sums", "sums", "more"]
        assert rows["correct"].tolist() == [c == item.answer for c, item in zip(chosen, QUIZ)]
    assert len(table) == 6


# Scoring


def test_scores_by_hand():
    scored = evaluate.score(RESPONSES, fake)
    assert list(scored) == [*COLUMNS, "correct", "correct_gate", "recall_cos"]
    assert scored["correct"].tolist() == [True, False, False, False, False, False, True, True]
    assert scored["correct_gate"].tolist() == [True, False, True, False, True, False, True, False]
    chance = (0.6 + 0 + 0.8) / 3  # of a wrong memory: hit · 1 + (1 − hit) · c
    expected = [1, chance, 0, 0.8, 0.8, 0, 0.8, 1]
    assert scored["recall_cos"].tolist() == pytest.approx(expected, abs=1e-12)
    assert "correct" not in RESPONSES


def test_responses_can_be_scored_from_a_file():
    """Where an empty reply and no reply look alike."""
    kept = pd.read_csv(io.StringIO(RESPONSES.to_csv(index=False)))
    pd.testing.assert_frame_equal(evaluate.score(kept, fake), evaluate.score(RESPONSES, fake))


def test_one_memory_alone_can_be_scored():
    """There is no pair of memories, and none is needed."""
    scored = evaluate.score(RESPONSES.query("memory_id == 'a'"), fake)
    assert scored["recall_cos"].tolist() == pytest.approx([1, 0, 0.8])


def test_summary_by_hand():
    quiz = pd.DataFrame(
        [("Base", "sums", True), ("Base", "sums", True), ("Base", "sums", False), ("Base", "more", False)]
        + [("MEGa", "sums", True), ("MEGa", "more", True), ("MEGa", "more", False)],
        columns=["method", "subject", "correct"],
    )
    scored = evaluate.score(RESPONSES, fake)
    table = evaluate.summary(scored, quiz)
    chance = 1.4 / 3
    expected = pd.DataFrame(
        [
            # Base has no gate; the true gate is right by definition, whatever the mind's own would have been.
            ("RAG", 50.0, -3.0, (1 + chance) / 2, 50.0, 100 / 3, 2),
            ("Base", 0.0, -8.0, 0.4, np.nan, 100 / 3, 2),
            ("MEGa", 100 / 3, -3.5, 1.6 / 3, 200 / 3, 75.0, 3),
            ("iRAG, true gate", 100.0, -0.5, 1.0, 100.0, np.nan, 1),
        ],
        columns=["method", "QA %", "log prob", "recall cos", "correct gate %", "knowledge %", "n"],
    )
    pd.testing.assert_frame_equal(table, expected, rtol=1e-12)
    pd.testing.assert_frame_equal(evaluate.summary(scored), expected.drop(columns="knowledge %"), rtol=1e-12)
    irag = scored[scored["method"] == "MEGa"].assign(method="iRAG")
    assert evaluate.summary(irag, quiz)["knowledge %"].tolist() == [75.0]


@pytest.mark.parametrize("similarity", ["inner", "cosine"])
def test_gates_counts_right_memories_over_all_questions(base, similarity):
    settings = {"last": (Embedding.paper(), similarity), "first": (Embedding(layer=0), similarity)}
    table = evaluate.gates(base, MEMORIES, settings)
    assert table["embedding"].tolist() == ["last", "first"] and table["n"].tolist() == [7, 7]
    asked = evaluate.probes(MEMORIES, None)
    for (embedding, _), found in zip(settings.values(), table["correct gate %"]):
        f = embedder(base, embedding)
        cues, keys = f(asked["question"].tolist()).numpy(), f([memory.text for memory in MEMORIES]).numpy()
        if similarity == "cosine":
            cues, keys = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (cues, keys))
        tops = [MEMORIES[k].id for k in (cues @ keys.T).argmax(axis=1)]
        assert found == pytest.approx(100 * np.mean([a == b for a, b in zip(tops, asked["memory_id"])]))


# The whole


def test_demo_writes_its_tables_and_figures(base, tmp_path, monkeypatch):
    world = Partition("a world", MEMORIES)
    monkeypatch.setattr(data, "builtin", lambda setting, partition: world)
    monkeypatch.setattr(data, "quiz", lambda split, per_subject: QUIZ)
    monkeypatch.setattr(evaluate, "MEGa", partial(MEGa, encoding=SMALL))
    bytes_ = lambda texts: np.array([np.bincount(list(text.encode()), minlength=256) for text in texts], dtype=float)
    real = evaluate.embedder
    monkeypatch.setattr(evaluate, "embedder", lambda base, f: bytes_ if f.kind == "sentence" else real(base, f))
    monkeypatch.setattr(evaluate, "GATES", {"ours": (Embedding.paper(), "inner")})
    monkeypatch.setattr(evaluate.gates, "__defaults__", (evaluate.GATES,))
    tables = evaluate.demo(base=base, figures=tmp_path / "figures")
    assert tables["summary"]["method"].tolist() == list(evaluate.METHODS)
    assert tables["gates"]["embedding"].tolist() == ["ours"] and len(tables["responses"]) == 6 * 6
    assert tables["examples"]["original"].tolist() == [memory.text for memory in MEMORIES]

    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"demo_gate.png", "demo_gate.pdf", "demo_gate.csv", "demo_recall.csv", "demo_recall.md"} <= names
    drawn = pd.read_csv(tmp_path / "figures" / "demo_gate.csv")
    assert drawn["id"].unique().tolist() == ["m", "c", "x"]  # columns of the figure: the order of encoding
    assert len(drawn) == 9 and drawn.groupby("query")["weight"].sum().tolist() == pytest.approx([1] * 3, abs=1e-5)
    told = (tmp_path / "figures" / "demo_recall.md").read_text(encoding="utf-8")
    assert all(memory.text in told and memory.questions[0].text in told for memory in MEMORIES)
    kept = json.loads((tmp_path / "figures" / "demo_protocol.json").read_text())
    assert kept["encoding"] == SMALL.to_dict() and kept["data"]["memories"] == 3
