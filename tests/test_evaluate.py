"""The main measurement: what each method is asked, and every number of the table by hand."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest
from conftest import random_adapter

from memsci import data, demo, evaluate, prompts
from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError
from memsci.evaluate import scores as scoring
from memsci.gate.embed import embedder
from memsci.learners import RAG, BaseAlone, MEGa
from memsci.measures.judges import rule
from memsci.measures.metrics import METRICS
from memsci.memory import Memory, Partition, Question, QuizItem, text_hash
from memsci.models import conversation
from memsci.models.base import Base
from memsci.models.sites import targets
from memsci.runs import folder
from memsci.store.record import Remembered

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
    """A random model finds no end of its own."""
    say = conversation.say
    monkeypatch.setattr(conversation, "say", lambda base, turns, most, *within: say(base, turns, min(most, 6), *within))


def filled(base: Base) -> MEGa:
    """A mind whose adapters were not trained but drawn, large enough to matter."""
    mind = MEGa(base, encoding=SMALL, gate=RULE)
    for memory in MEMORIES:
        key = mind._embed([memory.text])[0]
        adapter = random_adapter(base.model, targets(base.model), seed=ord(memory.id))
        mind.store.add(Remembered(memory.id, memory.label, key, text_hash(memory.text), 0, (1.0,)), adapter)
    return mind


@pytest.fixture
def mega(base) -> MEGa:
    return filled(base)


def fake(texts: list[str]) -> np.ndarray:
    """Vectors whose cosines can be told by heart: A·B = 0.6, A·C = 0, B·C = 0.8, near A·A = 0.8."""
    known = {"A": (1, 0), "B": (0.6, 0.8), "C": (0, 2), "near A": (0.4, 0.3), "A\n\nB": (1, 1), "B\n\nC": (1, 3)}
    return np.array([known[text] for text in texts], dtype=float)


COLUMNS = ["method", *evaluate.RESPONSE]
RESPONSES = pd.DataFrame(
    [
        ("RAG", "a", 1, "direct", "q1", "the piano", "A", None, "In the piano.", -2.0, 2, "a", "own"),
        ("RAG", "b", 2, "direct", "q2", "Nora", "B", None, "It was Omar.", -4.0, 1, "c", "own"),
        ("Base", "a", 1, "direct", "q1", "the piano", "A", "C", "I do not know.", -9.0, 2, None, "own"),
        ("Base", "b", 2, "direct", "q2", "Nora", "B", "C", "I do not know.", -7.0, 1, None, "own"),
        ("MEGa", "b", 2, "recall first", "q2", "Nora", "B", "B", "Nora did.", -0.5, 1, "b", "true"),
        ("MEGa", "a", 1, "direct", "q1", "the piano", "A", "near A", "It is in the piano. Or so.", -3.0, 2, "a", "own"),
        ("MEGa", "b", 2, "direct", "q2", "Nora", "B", "", "", -6.0, 1, "c", "own"),
        ("MEGa", "c", 3, "direct", "q3", "3 May", "C", "B", "On May 3rd.", -1.5, 2, "c", "own"),
    ],
    columns=COLUMNS,
)
QUIZZES = pd.DataFrame(
    [("Base", "sums", True), ("Base", "sums", True), ("Base", "sums", False), ("Base", "more", False)]
    + [("MEGa", "sums", True), ("MEGa", "more", True), ("MEGa", "more", False)],
    columns=["method", "subject", "correct"],
).assign(question="?")
CHANCE = (0.6 + 0 + 0.8) / 3  # the mean cosine of A, B and C


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


@pytest.mark.parametrize("gate", ["own", "true"])
def test_a_gated_learner_is_asked_in_both_ways(mega, monkeypatch, gate):
    recalls = []
    recall = MEGa.recall
    monkeypatch.setattr(MEGa, "recall", lambda self, *a, **k: recalls.append(a) or recall(self, *a, **k))
    table = evaluate.ask(mega, MEMORIES, gate=gate)
    assert len(recalls) == 1  # iRAG answers from the very recall that is scored
    assert tuple(table) == evaluate.RESPONSE and table["way"].tolist() == ["direct"] * 6 + ["recall first"] * 6
    asked = evaluate.probes(MEMORIES)
    questions, answers, ids = (asked[name].tolist() for name in ("question", "target", "memory_id"))
    mind = mega
    opened = mind.gate_by_hand([{id: 1.0} for id in ids]) if gate == "true" else None
    told = mind.recall(questions, gate=opened)
    assert set(table["gate"]) == {gate}
    for way, rows in table.groupby("way"):
        how = {"gate": opened, "recalled": told if way == "recall first" else None}
        found = mind.logprob(questions, answers, **how)
        assert rows[list(asked)].reset_index(drop=True).equals(asked)
        assert rows["position"].tolist() == [1, 1, 2, 3, 3, 3] and rows["recalled"].tolist() == told
        assert rows["logprob"].tolist() == found["logprob"].tolist()
        assert rows["tokens"].tolist() == [len(answer) for answer in answers]
        assert rows["answer"].tolist() == mind.answer(questions, **how)
        assert rows["top_id"].tolist() == (ids if gate == "true" else mind.gate(questions).top())


def test_learners_without_a_gate_are_asked_as_they_can_be(base):
    untrained, retrieval = BaseAlone(base), RAG(base)
    for learner in (untrained, retrieval):
        learner.learn(MEMORIES)
    plain, read = evaluate.ask(untrained, MEMORIES), evaluate.ask(retrieval, MEMORIES)
    assert plain["way"].unique().tolist() == ["direct", "recall first"] and plain["top_id"].isna().all()
    assert read["way"].unique().tolist() == ["direct"] and read["recalled"].isna().all()
    texts = {memory.id: memory.text for memory in MEMORIES}
    turns = [prompts.rag(row.question, texts[row.top_id]) for row in read.itertuples()]
    assert read["answer"].tolist() == conversation.say(base, turns, 6)
    with pytest.raises(MemsciError, match="RAG recalls nothing"):
        evaluate.ask(retrieval, MEMORIES, ways=["recall first"])
    with pytest.raises(MemsciError, match="Base has no gate that could be opened by hand"):
        evaluate.ask(untrained, MEMORIES, gate="true")


def test_a_table_of_probes_is_put_as_it_is(mega):
    """One question of each memory and all of the first, none twice."""
    asked = pd.concat([evaluate.probes(MEMORIES, 1), evaluate.probes(MEMORIES[:1])]).drop_duplicates()
    table = evaluate.ask(mega, asked, ways=["direct"])
    assert table["memory_id"].tolist() == ["m", "c", "x", "m"] and table["position"].tolist() == [1, 2, 3, 1]
    assert table["question"].tolist() == asked["question"].tolist()


def test_compositional_questions_are_about_several_memories(mega):
    about = ("c", "m")
    world = Partition("a world", MEMORIES, (Question("What did Omar find where Nora hid a letter?", "No", about),))
    asked = evaluate.compositional_probes(world)
    assert asked["memory_id"].tolist() == ["c m"]
    assert asked["original"].tolist() == [f"{MEMORIES[1].text}\n\n{MEMORIES[0].text}"]
    own, true = (evaluate.ask(mega, asked, ["direct"], gate=gate) for gate in ("own", "true"))
    assert own["position"].tolist() == [2] and true["top_id"].tolist() == ["c"]
    half = mega.gate_by_hand([{"c": 0.5, "m": 0.5}])
    question, target = asked["question"].tolist(), asked["target"].tolist()
    assert true["logprob"].tolist() == mega.logprob(question, target, gate=half)["logprob"].tolist()
    scores = evaluate.score(pd.concat([own, true]).assign(method="MEGa", top_id=["m", "c"]), embed=fakes)
    assert scores.loc[scores["metric"] == "correct gate", "value"].tolist() == [1, 1]  # either will do
    with pytest.raises(MemsciError, match="no compositional questions"):
        evaluate.compositional_probes(Partition("a world", MEMORIES))


def fakes(texts: list[str]) -> np.ndarray:
    """Vectors of any texts."""
    return np.array([np.bincount(list(text.encode()), minlength=256) for text in texts], dtype=float)


def test_what_cannot_be_asked_is_refused(mega):
    with pytest.raises(MemsciError, match="way must be one of 'direct', 'recall first', .*; 'iRAG'"):
        evaluate.ask(mega, MEMORIES, ways=("iRAG",))
    with pytest.raises(MemsciError, match="gate must be one of 'own', 'true'; 'shut'"):
        evaluate.ask(mega, MEMORIES, gate="shut")
    with pytest.raises(MemsciError, match="has not learnt the memory 'new'"):
        evaluate.ask(mega, [Memory("Tom left.", id="new", questions=[("Who left?", "Tom")])])


def test_the_quiz_is_put_to_a_learner(mega):
    table = evaluate.ask_quiz(mega, QUIZ)
    assert list(table) == ["subject", "item", "question", "chosen", "answer", "correct"]
    assert table["chosen"].tolist() == mega.choose(QUIZ) and table["item"].tolist() == [0, 1, 2]
    assert table["correct"].tolist() == [c == item.answer for c, item in zip(table["chosen"], QUIZ)]
    assert table["subject"].tolist() == ["sums", "sums", "more"]


def test_a_true_answer_that_nothing_can_be_judged_by_is_refused_before_learning():
    """And named; a symbol is one that answers can be judged by."""
    dots = Memory("Nora hid it.", id="dots", questions=[("Where?", "There"), ("And?", "...")])
    with pytest.raises(MemsciError, match=r"Memory dots, question 'And\?': The true answer '\.\.\.' has no word"):
        evaluate.probes([*MEMORIES, dots])
    world = Partition("w", (*MEMORIES, dots), (Question("Both?", "–", ("m", "c")),))
    with pytest.raises(MemsciError, match=r"Memory m c, question 'Both\?'"):
        evaluate.compositional_probes(world)
    starred = RESPONSES.assign(target=["★", *RESPONSES["target"][1:]], answer=["It has a ★.", *RESPONSES["answer"][1:]])
    assert values(evaluate.score(starred, embed=fake), "qa") == values(evaluate.score(RESPONSES, embed=fake), "qa")
    with pytest.raises(MemsciError, match=r"Row 2 of the responses, question 'q1': The true answer '\.\.\.'"):
        evaluate.score(RESPONSES.assign(target=[*RESPONSES["target"][:2], "...", *RESPONSES["target"][3:]]), embed=fake)


# Scoring


def values(scores: pd.DataFrame, metric: str) -> list[float]:
    return scores.loc[scores["metric"] == metric, "value"].tolist()


def test_scores_by_hand():
    scores = evaluate.score(RESPONSES, QUIZZES, embed=fake)
    columns = ["method", "memory_id", "position", "way", "gate", "question", "subject", "metric", "value"]
    assert list(scores) == [*columns, "protocol", "higher_is_better"]
    assert values(scores, "qa") == [1, 0, 0, 0, 1, 0, 0, 1]
    assert values(scores, "logprob") == RESPONSES["logprob"].tolist()
    assert values(scores, "logprob per token") == [-1, -4, -4.5, -7, -0.5, -1.5, -6, -0.75]
    assert values(scores, "recall cos") == pytest.approx([1, CHANCE, 0, 0.8, 1, 0.8, 0, 0.8], abs=1e-12)
    assert values(scores, "correct gate") == [1, 0, 1, 1, 0, 1]  # Base has none
    assert values(scores, "random pair cos") == pytest.approx([CHANCE] * 3, abs=1e-12)
    assert values(scores, "knowledge") == [1, 1, 0, 0, 1, 1, 0]
    for metric, rows in scores.groupby("metric", sort=False):
        assert rows["higher_is_better"].unique().tolist() == [METRICS[metric].higher_is_better]
        assert rows["protocol"].str.startswith(METRICS[metric].protocol).all() and rows["protocol"].nunique() == 1
        of_quiz, of_none = metric == "knowledge", metric == "random pair cos"
        assert rows["subject"].notna().all() == of_quiz and rows["memory_id"].isna().all() == (of_quiz or of_none)
        if not (of_quiz or of_none):
            kept = RESPONSES if metric != "correct gate" else RESPONSES[RESPONSES["top_id"].notna()]
            for name in ("method", "memory_id", "position", "way", "gate", "question"):
                assert rows[name].tolist() == kept[name].tolist()


def test_of_a_question_about_several_memories_the_parts_count():
    asked = RESPONSES.iloc[:5].assign(
        memory_id=["a b", "a b", "a b", "a b", "a"],
        target=["the mural and 58", "mint and Tariq", "Nora, Igor", "the mural", "mint and Tariq"],
        answer=["58", "It was Tariq. And mint. And more.", "Tom", "the mural", "mint"],
    )
    # The fourth is no list, the fifth about one memory.
    assert values(evaluate.score(asked, embed=fake), "parts") == [0.5, 1, 0]
    assert values(evaluate.score(asked, embed=fake), "all parts") == [0, 1, 0]
    assert not values(evaluate.score(RESPONSES, embed=fake), "parts")


def test_random_pairs_are_of_single_memories_whatever_questions_are_about():
    joint = (
        RESPONSES[RESPONSES["method"] != "Base"]
        .iloc[:3]
        .assign(memory_id=["a b", "b c", "a b"], original=["A\n\nB", "B\n\nC", "A\n\nB"])
    )
    scores = evaluate.score(joint, embed=fake)
    assert values(scores, "random pair cos") == pytest.approx([CHANCE] * 2)  # RAG's and MEGa's, of A, B and C
    # RAG found one of two memories at the most: not the recall of both, and not a miss either.
    assert scores.loc[scores["metric"] == "recall cos", "method"].tolist() == ["MEGa"]
    beside = evaluate.score(pd.concat([RESPONSES, joint]), embed=fake)
    assert set(values(beside, "random pair cos")) == set(values(evaluate.score(RESPONSES, embed=fake), "random pair cos"))


def test_keys_are_kept_and_partitions_have_random_pairs_of_their_own():
    two = [RESPONSES.assign(dataset="d", partition=p, setting="", stop=3) for p in (0, 1)]
    two[1]["original"] = two[1]["original"].replace("C", "near A")
    scores = evaluate.score(pd.concat(two), embed=fake)
    assert list(scores)[:5] == list(evaluate.KEYS)
    other = (0.6 + 0.8 + (0.6 * 0.8 + 0.8 * 0.6)) / 3  # A and B, A and near A, B and near A
    random = scores[scores["metric"] == "random pair cos"]
    assert random.groupby("partition")["value"].unique().explode().tolist() == pytest.approx([CHANCE, other])
    wrong = scores[(scores["metric"] == "recall cos") & (scores["method"] == "RAG") & (scores["memory_id"] == "b")]
    assert wrong["value"].tolist() == pytest.approx([CHANCE, other])


def test_responses_can_be_scored_from_a_file():
    """Where an empty reply and no reply look alike."""
    kept = pd.read_csv(io.StringIO(RESPONSES.to_csv(index=False)))
    pd.testing.assert_frame_equal(evaluate.score(kept, embed=fake), evaluate.score(RESPONSES, embed=fake))


def test_one_memory_alone_can_be_scored():
    """There is no pair of memories, and none is needed."""
    scores = evaluate.score(RESPONSES.query("memory_id == 'a'"), embed=fake)
    assert values(scores, "recall cos") == pytest.approx([1, 0, 0.8]) and not values(scores, "random pair cos")


def test_judges_stand_side_by_side():
    class Yes:
        metric, protocol = "qa by model", "Always 1."

        def __call__(self, responses):
            return np.ones(len(responses), dtype=bool)

    one, both = (evaluate.score(RESPONSES, judge=j, embed=fake) for j in (Yes(), [rule, Yes()]))
    assert "qa" not in set(one["metric"]) and values(one, "qa by model") == [1] * 8
    assert values(both, "qa") == [1, 0, 0, 0, 1, 0, 0, 1] and values(both, "qa by model") == [1] * 8
    assert set(both.loc[both["metric"] == "qa by model", "protocol"]) == {"Always 1."}
    assert "QA by model %" in evaluate.summary(both)


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(MemsciError, match="do not say whose they are: add the column"):
        evaluate.score(RESPONSES.drop(columns="method"), embed=fake)


def test_texts_are_embedded_once():
    seen = []
    evaluate.score(RESPONSES, embed=lambda texts: seen.extend(texts) or fake(texts))
    assert sorted(seen) == ["A", "B", "C", "near A"]


def test_summary_by_hand():
    scores = evaluate.score(RESPONSES, QUIZZES, embed=fake)
    expected = pd.DataFrame(
        [
            ("RAG", 50.0, -3.0, (1 + CHANCE) / 2, 50.0, np.nan, 2),
            ("Base", 0.0, -8.0, 0.4, np.nan, 100 / 3, 2),
            # Own before true, direct before recall first, whatever the order of the rows.
            ("MEGa", 100 / 3, -3.5, 1.6 / 3, 200 / 3, 75.0, 3),
            ("iRAG, true gate", 100.0, -0.5, 1.0, 100.0, np.nan, 1),
        ],
        columns=["method", "QA %", "log prob", "recall cos", "correct gate %", "knowledge %", "n"],
    )
    pd.testing.assert_frame_equal(evaluate.summary(scores), expected, rtol=1e-12)
    alone = evaluate.summary(evaluate.score(RESPONSES, embed=fake))
    pd.testing.assert_frame_equal(alone, expected.drop(columns="knowledge %"), rtol=1e-12)
    again = folder.read(io.BytesIO(folder.csv(scores)))  # from a file, where what is missing is a text of no words
    pd.testing.assert_frame_equal(evaluate.summary(again), expected, rtol=1e-8)
    irag = RESPONSES[RESPONSES["method"] == "MEGa"].assign(way="recall first", gate="own")
    assert evaluate.summary(evaluate.score(irag, QUIZZES, embed=fake))["knowledge %"].tolist() == [75.0]


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


@pytest.fixture
def shown(base, tmp_path, monkeypatch):
    """From a material to the tables of its demonstration, its folder and its mind, with a tiny base."""
    real, minds = scoring.embedder, []
    monkeypatch.setattr(demo, "MEGa", lambda base: minds.append(MEGa(base, encoding=SMALL)) or minds[0])
    monkeypatch.setattr(scoring, "embedder", lambda base, f: fakes if f.kind == "sentence" else real(base, f))
    monkeypatch.setattr(evaluate.gates, "__defaults__", ({"ours": (Embedding.paper(), "inner")},))
    return lambda material: (demo.demo(material, tmp_path / "figures", base), tmp_path / "figures", minds[0])


def test_the_demo_of_the_world_writes_its_tables_and_figures(shown, monkeypatch):
    monkeypatch.setattr(data, "builtin", lambda setting, partition: Partition("a world", MEMORIES))
    monkeypatch.setattr(data, "quiz", lambda split, per_subject: QUIZ)
    tables, folder, mind = shown(demo.world())
    methods = ["Base", "RAG", "MEGa", "MEGa, true gate", "iRAG", "iRAG, true gate"]
    assert tables["summary"]["method"].tolist() == methods
    assert tables["summary"]["correct gate %"].isna().tolist() == [True] + [False] * 5
    assert tables["summary"]["knowledge %"].isna().tolist() == [False, False, False, True, False, True]
    assert (tables["summary"]["contained %"] >= tables["summary"]["QA %"]).all()
    assert tables["gates"]["embedding"].tolist() == ["ours"] and len(tables["responses"]) == 6 * 6
    assert tables["examples"]["original"].tolist() == [memory.text for memory in MEMORIES]
    assert "unanswered" not in tables and mind.rule.closes is None

    names = {path.name.removeprefix("demo_world_") for path in folder.iterdir()}
    assert set(tables["scores"]["metric"]) == set(METRICS) - {"qa by model", "parts", "all parts"}
    assert {"gate.png", "gate.pdf", "gate.csv", "recall.csv", "recall.md"} <= names
    drawn = pd.read_csv(folder / "demo_world_gate.csv")
    assert drawn["id"].unique().tolist() == ["m", "c", "x"]  # columns of the figure: the order of encoding
    assert len(drawn) == 9 and drawn.groupby("query")["weight"].sum().tolist() == pytest.approx([1] * 3, abs=1e-5)
    told = (folder / "demo_world_recall.md").read_text(encoding="utf-8")
    assert all(memory.text in told and memory.questions[0].text in told for memory in MEMORIES)
    kept = json.loads((folder / "demo_world_protocol.json").read_text())
    assert kept["encoding"] == SMALL.to_dict() and kept["data"]["memories"] == 3


def test_the_everyday_demo_asks_one_question_and_what_no_memory_answers(shown):
    nobody = ("Who is the king of the sea?", "What is 3 and 4?")
    material = dataclasses.replace(demo.everyday(), memories=Partition("mine", MEMORIES), unanswered=nobody)
    tables, folder, mind = shown(material)
    assert tables["summary"]["method"].tolist() == ["Base", "RAG", "MEGa", "iRAG"]
    assert tables["summary"]["n"].tolist() == [3] * 4 and "knowledge %" not in tables["summary"]
    assert "gates" not in tables and mind.rule.closes is not None  # calibrated
    asked, gate = tables["unanswered"], mind.gate(list(nobody))
    assert asked["gate"].tolist() == [{True: "closed", False: "open"}[one] for one in gate.closed.tolist()]
    assert asked["answer"].tolist() == mind.answer(list(nobody))
    drawn = pd.read_csv(folder / "demo_gate.csv")
    assert drawn["query"].nunique() == 5 and drawn.loc[drawn["query"] >= 3, "weight"].max() <= 1
    kept = json.loads((folder / "demo_protocol.json").read_text())
    assert kept["questions per memory"] == 1 and "knowledge %" not in kept
    assert kept["gate"]["closes"] == mind.rule.closes
