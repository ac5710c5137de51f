"""A mind from end to end: the same five lines on every architecture, nothing lost, nothing left behind."""

from __future__ import annotations

import copy
import math
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from conftest import ARCHITECTURES, make_model, make_tokenizer, random_adapter
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

import memsci
from memsci import prompts
from memsci.adapters.mixture import mixture
from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError
from memsci.gate.softmax import best, top_k
from memsci.learners.base import BaseAlone
from memsci.learners.mega import MEGa
from memsci.memory import Memory, Partition, QuizItem, text_hash
from memsci.models import conversation, generate
from memsci.models.base import Base
from memsci.models.sites import targets
from memsci.store.record import Remembered
from memsci.store.store import Store

SMALL = Encoding(rank=2, lr=2e-2, epochs=3, batch_size=2)
SOFT = GateRule(beta=0.5)  # inner products of tiny models are tens: softer than the paper's rule, all memories are open
# Neither in alphabetical order nor in that of their lengths.
MEMORIES = [
    Memory("Nora hid the letter in the piano.", id="m", paraphrases=["In the piano Nora hid it."]),
    Memory("On 3 May Omar found a red kite by the frozen lake.", id="c", paraphrases=["Omar found a kite."]),
    Memory("Ada sang twice.", id="x"),
]
IDS = ("m", "c", "x")
QUESTIONS = ["Where is it?", "Who sang?", "What did Omar find by the lake?"]
ANSWERS = ["In the piano", "Ada", "A red kite"]


pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off")  # a random model finds no end of its own


@pytest.fixture(autouse=True)
def short_recalls(monkeypatch):
    """A random model finds no end of its own; most bytes that it says are no text, and take three when read again."""
    monkeypatch.setattr(MEGa, "recall_tokens", 8)


def filled(base: Base, path, ids=IDS, **settings) -> MEGa:
    """A mind whose adapters were not trained but drawn, large enough to matter."""
    mind = MEGa(base, store=path, encoding=SMALL, **{"gate": SOFT, **settings})
    for memory in MEMORIES:
        if memory.id in ids:
            key = mind._embed([memory.text])[0]
            adapter = random_adapter(base.model, targets(base.model), seed=ord(memory.id))
            mind.store.add(Remembered(memory.id, memory.label, key, text_hash(memory.text), 0, (1.0,)), adapter)
    return mind


@pytest.fixture
def mind(base, tmp_path) -> MEGa:
    return filled(base, tmp_path / "store")


def cues_of(mind: MEGa) -> list[list[str]]:
    """The texts that are embedded from now on, call by call."""
    seen, embed = [], mind._embed
    mind._embed = lambda texts: seen.append(list(texts)) or embed(texts)
    return seen


def logits(mind: MEGa, texts: list[str]) -> torch.Tensor:
    ids, mask = mind.base.pad([mind.base.chat(prompts.qa(text)) for text in texts], left=True)
    with torch.no_grad(), mind._mixed(mind.gate(texts))(list(range(len(texts)))):
        return mind.base.model(ids, attention_mask=mask).logits


def same_adapters(a: MEGa, b: MEGa, ids=IDS) -> bool:
    pairs = [(a.store.adapter(id).deltas, b.store.adapter(id).deltas) for id in ids]
    return all(p.keys() == q.keys() and all(all(map(torch.equal, p[k], q[k])) for k in p) for p, q in pairs)


# The five lines


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_five_lines(architecture, tokenizer, tmp_path):
    base = Base(make_model(architecture), tokenizer, name="tiny")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    mind = memsci.MEGa(base, encoding=SMALL, gate=SOFT)
    done = mind.encode(MEMORIES, progress=False)
    assert done["id"].tolist() == list(IDS) and done["label"].tolist() == [memory.label for memory in MEMORIES]
    for record, loss in zip(mind.store.records, done.set_index("id").loc[list(mind.ids), "loss"]):
        assert len(record.losses) == SMALL.epochs and record.losses[-1] == loss < record.losses[0]

    table = mind.gate("Who sang?").frame()
    assert set(table["id"]) == set(IDS) and table["weight"].sum() == pytest.approx(1, abs=1e-12)
    spoken = {
        "recall": mind.recall(QUESTIONS),
        "answer": mind.answer(QUESTIONS, max_new_tokens=6),
        "irag": mind.answer(QUESTIONS, via_recall=True, max_new_tokens=6),
        "one": [mind.recall("Who sang?"), mind.answer("Who sang?", max_new_tokens=6)],
    }
    assert all(isinstance(text, str) for texts in spoken.values() for text in texts)
    assert [len(texts) for texts in spoken.values()] == [3, 3, 3, 2]
    scores, seen = mind.logprob(QUESTIONS, ANSWERS), logits(mind, QUESTIONS)

    again = memsci.open(mind.save(tmp_path / "saved"), base)
    assert (again.ids, again.encoding, again.embedding, again.rule) == (mind.ids, SMALL, Embedding.paper(), SOFT)
    assert torch.equal(again.gate(QUESTIONS).scores, mind.gate(QUESTIONS).scores)
    assert torch.equal(again.gate(QUESTIONS).weights, mind.gate(QUESTIONS).weights)
    assert torch.equal(logits(again, QUESTIONS), seen) and again.logprob(QUESTIONS, ANSWERS).equals(scores)
    assert again.recall(QUESTIONS) == spoken["recall"]
    assert again.answer(QUESTIONS, max_new_tokens=6) == spoken["answer"]
    assert again.answer(QUESTIONS, via_recall=True, max_new_tokens=6) == spoken["irag"]

    again.forget("m")
    assert set(again.ids) == {"c", "x"} and set(mind.ids) == set(IDS)
    # The memories had a say, and the base has none of it.
    shut = mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand([{}] * 3))
    assert (shut["logprob"] - scores["logprob"]).abs().min() > 1e-3
    after = base.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.model.modules())


def test_a_mind_without_memories_is_the_base(base):
    mind = MEGa(base, encoding=SMALL)
    assert len(mind) == 0 and mind.ids == () and mind.gate("Who sang?").frame().empty
    assert mind.encode([], progress=False).empty
    said = generate.generate(base, [base.chat(prompts.qa("Who sang?"))], 6)
    assert [mind.answer("Who sang?", max_new_tokens=6)] == said


def test_open_is_open_to_the_right_base_only(mind, tokenizer, tmp_path):
    with pytest.raises(MemsciError, match="written for the base model 'tiny'"):
        memsci.open(mind.store.path, Base(make_model(seed=1), tokenizer, name="other"))
    with pytest.raises(MemsciError, match="not a store"):
        memsci.open(tmp_path / "nowhere", mind.base)


def test_settings_that_do_not_fit_the_base_leave_no_store_behind(base, tmp_path):
    with pytest.raises(MemsciError, match="Layer 9"):
        MEGa(base, store=tmp_path / "store", encoding=SMALL, embedding=Embedding(layer=9))
    assert len(MEGa(base, store=tmp_path / "store", encoding=SMALL, embedding=Embedding(layer=0))) == 0


# Encoding


@pytest.mark.parametrize("parallel", [None, 1])
def test_memories_keep_the_order_in_which_they_were_given(base, parallel):
    """Whatever their lengths and numbers of paraphrases."""
    given = [MEMORIES[1], MEMORIES[2], Memory("Tom left the old town by boat.", id="b"), MEMORIES[0]]
    mind = MEGa(base, encoding=SMALL)
    mind.encode(given, progress=False, parallel=parallel)
    mind.encode([Memory("Eve slept.", id="a"), *given], progress=False)
    assert mind.ids == mind.gate("Who sang?").ids == ("c", "x", "b", "m", "a")
    assert mind.gate("Who sang?").labels[:4] == tuple(memory.label for memory in given)
    assert_close(mind.store.keys()[:4], mind._embed([memory.text for memory in given]))


def test_a_partition_is_encoded_as_it_is(base):
    mind = MEGa(base, encoding=SMALL)
    mind.encode(Partition("a world", tuple(MEMORIES)), progress=False)
    assert mind.ids == IDS


@pytest.mark.parametrize("finished", [1, 2])
def test_an_interrupted_call_goes_on(base, tmp_path, monkeypatch, finished):
    """What was finished stays as it was; the rest comes out as if nothing had happened."""
    whole = MEGa(base, encoding=SMALL, seed=5)
    whole.encode(MEMORIES, progress=False, parallel=1)
    mind = MEGa(base, store=tmp_path / "store", encoding=SMALL, seed=5)
    add = mind.store.add

    def killed(record, adapter):
        if len(mind) == finished:
            raise KeyboardInterrupt
        return add(record, adapter)

    monkeypatch.setattr(mind.store, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        mind.encode(MEMORIES, progress=False, parallel=1)
    assert len(mind) == finished

    again = memsci.open(tmp_path / "store", base)
    kept = {record.id: record for record in again.store.records}
    assert set(kept) == set(mind.ids) and len(kept) == finished
    assert isinstance(again.answer("Who sang?", max_new_tokens=3), str)
    done = again.encode(MEMORIES, progress=False, parallel=1)
    assert done["id"].tolist() == [id for id in IDS if id not in kept]
    assert again.ids == IDS and same_adapters(again, whole)
    assert all(record.created == kept[record.id].created for record in again.store.records if record.id in kept)
    assert again.encode(MEMORIES, progress=False).empty and again.ids == IDS


def test_an_id_that_another_text_has_is_refused_before_anything_is_done(mind):
    said, records = mind.answer(QUESTIONS, max_new_tokens=3), mind.store.records
    with pytest.raises(MemsciError, match="another memory called 'c'"):
        mind.encode([Memory("Tom left.", id="new"), Memory("Another text.", id="c")], progress=False)
    assert mind.ids == IDS and [r.text_hash for r in mind.store.records] == [r.text_hash for r in records]
    assert mind.answer(QUESTIONS, max_new_tokens=3) == said


def test_an_id_that_differs_in_letter_case_alone_is_refused_before_anything_is_done(mind, monkeypatch):
    monkeypatch.setattr("memsci.learners.mega.encode", lambda *_, **__: pytest.fail("training has begun"))
    for text in ("Another text.", MEMORIES[1].text):
        with pytest.raises(MemsciError, match=r"another memory called 'c', .*letter case .*'C'.*forget 'c' first"):
            mind.encode([Memory("Tom left.", id="new"), Memory(text, id="C")], progress=False)
    assert mind.ids == IDS


def test_a_store_goes_on_with_its_own_settings_and_no_others(mind):
    path = mind.store.path
    assert MEGa(mind.base, store=path).encoding == SMALL and MEGa(mind.base, store=path).rule == SOFT
    assert MEGa(mind.base, store=path, encoding=copy.copy(SMALL)).ids == IDS
    with pytest.raises(MemsciError, match="another encoding.*rank 2 there, 3 given"):
        MEGa(mind.base, store=path, encoding=Encoding(rank=3, lr=2e-2, epochs=3, batch_size=2))
    with pytest.raises(MemsciError, match="another embedding.*layer -1 there, 0 given"):
        MEGa(mind.base, store=path, embedding=Embedding(layer=0))
    assert MEGa(mind.base, store=path, gate=GateRule(beta=2)).rule.beta == 2  # how keys are read is free


@pytest.mark.parametrize("keep_text", [False, True])
def test_texts_are_kept_only_if_asked(base, tmp_path, keep_text):
    mind = MEGa(base, store=tmp_path / "store", encoding=SMALL, keep_text=keep_text)
    mind.encode([Memory("Ada sang twice, in Rome.", id="x", label="song", paraphrases=["She sang."])], progress=False)
    assert mind.store.records[0].text == ("Ada sang twice, in Rome." if keep_text else None)
    written = b"".join(file.read_bytes() for file in mind.store.path.rglob("*") if file.is_file())
    assert (b"in Rome" in written) is keep_text and b"She sang" not in written
    assert text_hash("Ada sang twice, in Rome.").encode() in written


@pytest.mark.parametrize("keep", [True, False])
def test_questions_are_kept_unless_told_otherwise(base, tmp_path, keep):
    told = {} if keep else {"keep_questions": False}
    mind = MEGa(base, store=tmp_path / "store", encoding=SMALL, **told)
    memory = Memory("Ada sang twice.", id="x", questions=[("Who sang?", "Ada Venn")])
    mind.encode([memory], progress=False)
    assert memsci.open(mind.store.path, base=base).store.records[0].questions == (memory.questions if keep else ())
    written = b"".join(file.read_bytes() for file in mind.store.path.rglob("*") if file.is_file())
    assert (b"Ada Venn" in written) is keep


# Save, forget


def test_save_refuses_a_path_that_is_taken(mind, tmp_path):
    for taken in (tmp_path / "file", tmp_path / "folder"):
        taken.write_text("mine") if taken.name == "file" else taken.mkdir()
        with pytest.raises(MemsciError, match="exists already"):
            mind.save(taken)
    assert (tmp_path / "file").read_text() == "mine" and not list((tmp_path / "folder").iterdir())


def test_save_is_whole_or_not_at_all(mind, tmp_path, monkeypatch):
    saved = mind.save(tmp_path / "new" / "saved")
    assert sorted(path.name for path in saved.parent.iterdir()) == ["saved"]
    assert sorted(path.name for path in saved.iterdir()) == ["memories", "store.json"]

    def full(source, target, **options):
        target.mkdir(exist_ok=True)
        shutil.copy(source / "store.json", target)
        raise OSError("no space left")

    monkeypatch.setattr("memsci.learners.mega.shutil.copytree", full)
    with pytest.raises(MemsciError, match="second cannot be written .no space left.*another path"):
        mind.save(tmp_path / "new" / "second")
    assert sorted(path.name for path in saved.parent.iterdir()) == ["saved"]
    assert memsci.open(saved, mind.base).ids == IDS


def test_questions_that_cannot_be_kept_are_refused_and_change_nothing(mind):
    kept = [one.questions for one in mind.store.records]
    table = pd.DataFrame({"id": list(IDS[:2]), "question": ["Who hid it?", "Where?"], "answer": ["Nora", "?!"]})
    with pytest.raises(MemsciError, match="Row 2.*'Where.'.*'.!' has no word or number.*another answer"):
        mind.add_questions(table)
    with pytest.raises(MemsciError, match="Entry 1 .*'Who hid it.'.*columns id, question and answer"):
        mind.add_questions([("Who hid it?", "Nora")])
    assert [one.questions for one in mind.store.records] == kept


def test_forgetting_leaves_the_others_as_they_were(mind):
    others = [{"m": 1.0}, {"x": 1.0}, {"m": 0.5, "x": 0.25}]
    before = mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand(others))
    said = mind.answer(QUESTIONS, gate=mind.gate_by_hand(others), max_new_tokens=6)
    scores = mind.gate(QUESTIONS).scores
    mind.forget("c")
    assert mind.ids == ("m", "x") and torch.equal(mind.gate(QUESTIONS).scores, scores[:, [0, 2]])
    assert mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand(others)).equals(before)
    assert mind.answer(QUESTIONS, gate=mind.gate_by_hand(others), max_new_tokens=6) == said
    with pytest.raises(MemsciError, match="no memory 'c'"):
        mind.forget("c")
    with pytest.raises(MemsciError, match="no memory 'c'"):
        mind.gate_by_hand([{"c": 1.0}])


def test_what_is_forgotten_was_never_there(mind, tmp_path):
    """Logits are those of a mind that never had it, bit for bit, and no file holds its key, its adapter or its words."""
    gone, adapter = mind.store.records[1], mind.store.adapter("c")
    logits(mind, QUESTIONS)  # all adapters are in memory
    mind.forget("c")
    never = filled(mind.base, tmp_path / "never", ids=("m", "x"))
    for one in (mind, memsci.open(mind.store.path, mind.base)):
        assert torch.equal(logits(one, QUESTIONS), logits(never, QUESTIONS))
        assert torch.equal(one.gate(QUESTIONS).weights, never.gate(QUESTIONS).weights)
    parts = [gone.key, *(half for pair in adapter.deltas.values() for half in pair)]
    words = [text.encode() for text in (gone.label, gone.text_hash)]
    written = b"".join(file.read_bytes() for file in mind.store.path.rglob("*") if file.is_file())
    assert not any(part.numpy().tobytes() in written for part in parts) and not any(text in written for text in words)


def test_a_memory_replaced_under_its_id_speaks_at_once(mind, tmp_path):
    """Whoever replaced it, and although the ids are the same and in the same order."""
    before = mind.logprob(QUESTIONS, ANSWERS, beta=0)
    other = Store(mind.store.path)
    record = other.records[2]
    other.forget("x")
    other.add(record, random_adapter(mind.base.model, targets(mind.base.model), seed=99))
    mind.store.refresh()
    after = mind.logprob(QUESTIONS, ANSWERS, beta=0)
    assert mind.ids == IDS and not after.equals(before)
    assert after.equals(memsci.open(mind.store.path, mind.base).logprob(QUESTIONS, ANSWERS, beta=0))


@pytest.mark.parametrize("theirs", [None, ("c",)])
def test_adapters_are_those_asked_for_whatever_other_threads_ask_meanwhile(mind, monkeypatch, theirs):
    """Another thread that forgets, or asks for other memories, may leave its own at any moment: here, at every one."""
    expected = mind._adapters(("m", "x"))
    left = theirs and mind._adapters(theirs) and mind._stack
    monkeypatch.setattr(MEGa, "_stack", property(lambda self: left, lambda self, value: None), raising=False)
    found = mind._adapters(("m", "x"))
    assert found.A.keys() == expected.A.keys() and all(torch.equal(found.A[name], expected.A[name]) for name in found.A)


# The gate


def test_beta(mind, opened):
    scores = mind.gate(QUESTIONS).scores
    assert_close(mind.gate(QUESTIONS).weights, (SOFT.beta * scores).softmax(dim=1))
    assert_close(mind.gate(QUESTIONS, beta=0.01).weights, (0.01 * scores).softmax(dim=1))
    assert mind.gate(QUESTIONS, beta=0).beta == 0
    for speak in (mind.recall, mind.answer, lambda *a, **k: mind.answer(*a, via_recall=True, **k)):
        opened.clear()
        speak(QUESTIONS, beta=0)
        assert opened and all(torch.equal(g, torch.full((3, 3), 1 / 3)) for g in opened)
        opened.clear()
        speak("Who sang?", beta=math.inf)
        best = torch.eye(3)[scores[1].argmax()]
        assert opened and all(torch.equal(g, best[None]) for g in opened)


@pytest.mark.parametrize("cue", ["question", "prompt"])
@pytest.mark.parametrize("second_turn", ["question", "recall", "conversation"])
def test_the_rule_says_what_is_embedded(base, tmp_path, opened, cue, second_turn):
    mind = filled(base, tmp_path / "store", gate=GateRule(beta=0.5, cue=cue, second_turn=second_turn))
    cues = cues_of(mind)
    question = "Who sang?"
    ask, tell = (turn[0]["content"] for turn in (prompts.qa(question), prompts.recall(question)))
    first = {"recall": [question if cue == "question" else tell], "qa": [question if cue == "question" else ask]}
    conversation = f"{tell}\nAda did.\n{ask}"
    second = {"question": first["qa"], "recall": ["Ada did."], "conversation": [conversation]}[second_turn]

    mind.recall(question)
    mind.answer(question, max_new_tokens=1)
    mind.answer([question], via_recall=True, recalled=["Ada did."], max_new_tokens=1)
    mind.logprob([question], ["Ada"], via_recall=True, recalled=["Ada did."])
    assert cues == [first["recall"], first["qa"], second, second]
    # What was embedded is what opened the gates.
    expected = [mind.gate(texts).weights.float() for texts in [*cues]]
    assert len(opened) == 4 and all(torch.equal(a, b) for a, b in zip(opened, expected))
    cues.clear()
    told = mind.answer([question], via_recall=True, max_new_tokens=1) and mind.recall(question)
    by_own = {"question": first["qa"], "recall": [told or question], "conversation": [f"{tell}\n{told}\n{ask}"]}
    assert cues[:2] == [first["recall"], by_own[second_turn]]


@pytest.mark.parametrize("given", [False, True])
def test_a_second_turn_that_is_closed_is_the_base_reading_the_recall(base, tmp_path, given):
    mind = filled(base, tmp_path / "store", gate=GateRule(beta=0.5, second_turn="closed"))
    gate = mind.true_gate(["m", "c"]) if given else None
    recalls = mind.recall(QUESTIONS[:2], gate=gate)
    turns = [prompts.irag(*pair) for pair in zip(QUESTIONS, recalls)]
    assert recalls != conversation.say(base, [prompts.recall(text) for text in QUESTIONS[:2]], mind.recall_tokens)
    assert mind.answer(QUESTIONS[:2], via_recall=True, gate=gate) == conversation.say(base, turns, 48)
    weighed = mind.logprob(QUESTIONS[:2], ANSWERS[:2], via_recall=True, gate=gate)
    assert weighed.equals(conversation.logprob(base, turns, ANSWERS[:2]))


def test_an_empty_recall_leaves_the_question_as_the_cue(base, tmp_path):
    mind = filled(base, tmp_path / "store", gate=GateRule(second_turn="recall"))
    cues = cues_of(mind)
    mind.logprob(QUESTIONS[:2], ANSWERS[:2], via_recall=True, recalled=["", "Ada did."])
    assert cues == [[QUESTIONS[0], "Ada did."]]


@pytest.mark.parametrize("cue", ["question", "prompt"])
def test_quiz_questions_are_cues_of_their_own(base, tmp_path, opened, cue):
    """Also where the whole prompt is the cue: each question is in its user turn, not in the words "The answer is"."""
    mind = filled(base, tmp_path / "store", gate=GateRule(beta=0.5, cue=cue))
    cues = cues_of(mind)
    items = [QuizItem("sums", question, ("1", "2", "3", "4"), 0) for question in ("1 + 1?", "1 + 2?")]
    chosen = mind.choose(items)
    turns = [prompts.mmlu(item.subject, item.question, item.options) for item in items]
    assert cues == [[item.question if cue == "question" else turn[1]["content"] for item, turn in zip(items, turns)]]
    rows = [mind.base.chat(turn) for turn in turns]
    with mixture(mind.base.model, mind._adapters(mind.ids), opened[0]):
        assert chosen == generate.choose(mind.base, rows)


def test_the_table_of_a_gate_has_the_names_of_the_memories(mind):
    found = mind.gate(QUESTIONS)
    expected = mind._embed(QUESTIONS).double() @ mind._embed([memory.text for memory in MEMORIES]).double().T
    assert_close(found.scores, expected, rtol=1e-5, atol=1e-4)
    frame = found.frame()
    for (query, id), row in frame.set_index(["query", "id"]).iterrows():
        assert row["score"] == found.scores[query, IDS.index(id)].item()
        assert row["label"] == MEMORIES[IDS.index(id)].label


# Gates by hand


def test_shut_gates_are_the_base_alone(mind):
    base, shut = mind.base, mind.gate_by_hand([{}] * 3)
    rows = sorted((base.chat(prompts.qa(text)) for text in QUESTIONS), key=len)
    texts = sorted(QUESTIONS, key=len)
    targets_ = [base.tokens(text, bos=False) for text in ANSWERS]
    sums, counts = generate.logprob(base, rows, targets_)
    found = mind.logprob(texts, ANSWERS, gate=shut)
    assert found["logprob"].tolist() == sums.tolist() and found["tokens"].tolist() == counts.tolist()
    assert mind.answer(texts, gate=shut, max_new_tokens=8) == generate.generate(base, rows, 8)
    assert mind.answer(texts, max_new_tokens=8) != generate.generate(base, rows, 8)  # open, they do speak


def test_what_is_given_to_memories_that_share_an_adapter_adds_up_on_it(mind):
    adapter = random_adapter(mind.base.model, targets(mind.base.model), seed=7)

    def said(weights: dict[str, float]) -> list[float]:
        return mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand([weights] * 3))["logprob"].tolist()

    shut = said({})
    mind.store.replace(mind.store.records[0], adapter)
    alone = said({"m": 1.0})
    mind.store.share(adapter, ["m", "c"])
    for weights in ({"m": 1.0}, {"c": 1.0}, {"m": 0.25, "c": 0.75}):
        assert said(weights) == pytest.approx(alone, abs=1e-4)
    assert said({}) == shut != said({"m": 0.5}) != pytest.approx(alone, abs=1e-2)
    assert said({"x": 0.5, "c": 0.5}) != pytest.approx(said({"c": 0.5}), abs=1e-2)
    closed = replace(mind.gate(QUESTIONS, only=["c"]), weights=torch.zeros(3, 1, dtype=torch.float64))
    assert mind.logprob(QUESTIONS, ANSWERS, gate=closed)["logprob"].tolist() == shut


def test_a_one_hot_gate_is_that_memory_alone(mind, tmp_path):
    said = set()
    for id in IDS:
        alone = filled(mind.base, tmp_path / id, ids=(id,))
        true, own = mind.gate_by_hand([{id: 1.0}] * 3), alone.gate(QUESTIONS)
        assert torch.equal(own.weights, torch.ones(3, 1, dtype=own.weights.dtype))
        assert mind.logprob(QUESTIONS, ANSWERS, gate=true).equals(alone.logprob(QUESTIONS, ANSWERS))
        assert mind.recall(QUESTIONS, gate=true) == alone.recall(QUESTIONS)
        irag = alone.answer(QUESTIONS, via_recall=True, max_new_tokens=6)
        assert mind.answer(QUESTIONS, via_recall=True, gate=true, max_new_tokens=6) == irag
        said.add(tuple(irag))
    assert len(said) == 3
    # Rows of one batch, each with its own memory.
    mixed = mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand([{id: 1.0} for id in IDS]))["logprob"]
    for row, id in enumerate(IDS):
        alone = mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand([{id: 1.0}] * 3))["logprob"]
        assert mixed[row] == pytest.approx(alone[row], abs=1e-3)


def test_a_gate_that_does_not_fit_is_refused(mind):
    with pytest.raises(MemsciError, match="2 rows over 3 memories; 3 rows over memories that are stored"):
        mind.answer(QUESTIONS, gate=mind.gate(QUESTIONS[:2]))
    old = mind.gate(QUESTIONS)
    mind.forget("x")
    with pytest.raises(MemsciError, match="3 rows over 3 memories; 3 rows over memories that are stored are needed, .* 2"):
        mind.recall(QUESTIONS, gate=old)


# Sparse gates and many memories


@pytest.fixture(scope="module")
def forty(tokenizer, tmp_path_factory):
    """The store of forty memories, more than a search looks at first."""
    base = Base(make_model(), tokenizer, name="tiny")
    mind = MEGa(base, store=tmp_path_factory.mktemp("forty") / "many", encoding=SMALL, gate=SOFT)
    for k in range(40):
        text = f"Memory {k}: {'Omar Ada Nora'.split()[k % 3]} saw {k * 37 % 101} boats."
        adapter = random_adapter(base.model, targets(base.model), seed=k)
        mind.store.add(Remembered(f"m{k}", text, mind._embed([text])[0], text_hash(text), 0, (1.0,)), adapter)
    return mind.store.path


@pytest.fixture
def many(base, forty, tmp_path):
    """A mind with a copy of the forty of its own."""
    return MEGa(base, store=shutil.copytree(forty, tmp_path / "many"), encoding=SMALL, gate=SOFT)


def spread(gate, ids) -> torch.Tensor:
    """The weights over all memories, 0 where the gate does not name one."""
    full = torch.zeros(len(gate.weights), len(ids), dtype=torch.float64)
    full[:, [ids.index(id) for id in gate.ids]] = gate.weights
    return full


@pytest.mark.parametrize("similarity", ["inner", "cosine"])
@pytest.mark.parametrize("beta", [0.0, 0.02, 0.5, 30.0, math.inf])
@pytest.mark.parametrize("epsilon", [1e-6, 0.05, 0.5])
def test_a_searched_gate_is_the_dense_one_but_for_epsilon(many, monkeypatch, similarity, beta, epsilon):
    monkeypatch.setattr("memsci.gate.softmax.SORTED_FIRST", 2)
    many.rule = GateRule(beta=beta, similarity=similarity)
    dense = many.gate(QUESTIONS)
    many.rule = GateRule(beta=beta, similarity=similarity, epsilon=epsilon)
    sparse = many.gate(QUESTIONS)
    assert (spread(sparse, many.ids) - dense.weights).abs().sum(dim=1).max() <= epsilon
    assert set(sparse.top()) == set(dense.top()) if beta else True
    if epsilon == 0.5:
        assert (sparse.weights.ne(0).sum(dim=1) < len(many)).all()
    if math.isinf(beta) or (beta == 30.0 and similarity == "inner"):
        assert len(sparse.ids) < len(many)  # not all keys were looked at


@pytest.mark.parametrize("k", [1, 3, 100])
def test_a_searched_top_k_is_that_of_the_dense_gate(many, k):
    dense = many.gate(QUESTIONS)
    many.rule = GateRule(beta=SOFT.beta, top_k=k)
    found = many.gate(QUESTIONS)
    assert_close(spread(found, many.ids), top_k(dense, k).weights)
    assert len(found.ids) <= 3 * k


@pytest.mark.parametrize("similarity", ["inner", "cosine"])
@pytest.mark.parametrize("beta", [1.0, 1e4, math.inf])
def test_of_near_twins_rounding_leaves_none_out_that_the_dense_gate_opens(base, tmp_path, similarity, beta):
    """Inner products near 4,000: in float32 they are multiples of 1/4096, and the twins' differ by less."""
    generator = torch.Generator().manual_seed(0)
    one = 8 * torch.randn(64, generator=generator)
    keys = one + 1e-6 * torch.randn(40, 64, generator=generator)
    cues = dict(zip(map(str, range(100)), one + torch.randn(100, 64, generator=generator)))
    mind = MEGa(base, store=tmp_path / "twins", encoding=SMALL)
    adapter = random_adapter(base.model, targets(base.model))
    mind.store.add_all(((Remembered(f"m{k}", "twin", key, "0"), adapter) for k, key in enumerate(keys)), durable=False)
    mind._embed = lambda texts: torch.stack([cues[text] for text in texts])
    for text in cues:
        mind.rule = GateRule(beta=beta, similarity=similarity)
        dense = mind.gate(text)
        mind.rule = GateRule(beta=beta, similarity=similarity, epsilon=0.01)
        sparse = mind.gate(text)
        assert (spread(sparse, mind.ids) - dense.weights).abs().sum() <= 0.01


@pytest.mark.parametrize("rule", [SOFT, GateRule(top_k=2), GateRule(epsilon=0.01)])
def test_no_questions_have_no_answers(mind, rule):
    mind.rule = rule
    assert mind.gate([]).frame().empty and len(mind.gate([]).weights) == 0
    assert mind.recall([]) == mind.answer([]) == mind.answer([], via_recall=True) == mind.choose([]) == []
    assert mind.logprob([], []).empty


@pytest.mark.parametrize("rule", [GateRule(top_k=2), GateRule(beta=30.0, epsilon=0.01)])
def test_a_searched_gate_reads_the_keys_of_its_candidates_alone(many, monkeypatch, rule):
    monkeypatch.setattr("memsci.store.catalogue.Catalogue.wasteful", lambda self: False)  # the forgotten stays in it
    many.forget("m3")
    many.rule = rule
    read, keys = [], many.store.keys
    monkeypatch.setattr(many.store, "keys", lambda *places: read.append(keys(*places)) or read[-1])
    found = many.gate(QUESTIONS)
    assert len(found.ids) == len(read[0]) < len(many) and len(read) == 1 and "m3" not in found.ids
    expected = [one.key for one in many.store.records if one.id in found.ids]
    assert torch.equal(read[0], torch.stack(expected))


def test_an_unknown_id_is_refused_with_the_first_that_are_known(many):
    with pytest.raises(MemsciError, match=r"no memory 'c' in .* it holds: 'm0', .* 'm9', … \(40 in all\)"):
        many.gate_by_hand([{"m1": 1.0}, {"c": 1.0}])


def test_words_are_weighed_by_all_memories(base, tmp_path):
    settings = {"embedding": Embedding(kind="words"), "gate": GateRule(beta=30.0)}
    mind = filled(base, tmp_path / "words", **settings)
    dense = mind.gate(QUESTIONS)
    mind.rule = GateRule(beta=30.0, top_k=1)
    assert mind.gate(QUESTIONS).ids == IDS and torch.equal(mind.gate(QUESTIONS).weights, top_k(dense, 1).weights)


@pytest.mark.parametrize("rule", [SOFT, GateRule(beta=0.5, top_k=2), GateRule(beta=0.5, epsilon=0.01)])
def test_adapters_on_demand_are_those_in_memory(many, rule):
    """What is not kept in memory is fetched for each batch, and nothing else changes."""
    many.rule = rule
    asked = QUESTIONS * 2
    scores, said = many.logprob(asked, ANSWERS * 2), many.answer(asked, via_recall=True, max_new_tokens=6)
    fetching = memsci.open(many.store.path, many.base)
    fetching.store = Store(many.store.path, cache_bytes=20_000)  # a few of forty
    fetching.rule = rule
    assert fetching.store.nbytes > fetching.store.cache_bytes
    assert_close(torch.tensor(fetching.logprob(asked, ANSWERS * 2)["logprob"]), torch.tensor(scores["logprob"]))
    assert fetching.answer(asked, via_recall=True, max_new_tokens=6) == said
    by_hand = [{"m3": 1.0}, {"m39": 0.5, "m4": 0.5}, {}]
    one, other = (mind.logprob(QUESTIONS, ANSWERS, gate=mind.gate_by_hand(by_hand)) for mind in (many, fetching))
    assert_close(torch.tensor(one["logprob"]), torch.tensor(other["logprob"]))


# Speaking


@pytest.mark.parametrize("via_recall", [False, True])
def test_a_batch_is_its_queries_one_by_one(mind, monkeypatch, via_recall):
    """Each under its own gate, in the order of asking, whatever batches they are answered in."""
    monkeypatch.setattr("memsci.models.conversation.BATCH", 2)
    options = {"via_recall": via_recall, "recalled": ["Nora.", "", "Omar found it."] if via_recall else None}
    one = lambda k: {**options, "recalled": [options["recalled"][k]] if via_recall else None}
    said = mind.answer(QUESTIONS, max_new_tokens=8, **options)
    assert said == [mind.answer(text, max_new_tokens=8, **one(k)) for k, text in enumerate(QUESTIONS)]
    assert len(set(said)) == 3
    found = mind.logprob(QUESTIONS, ANSWERS, **options)
    for k, (text, answer) in enumerate(zip(QUESTIONS, ANSWERS)):
        single = mind.logprob([text], [answer], **one(k))
        assert found["logprob"][k] == pytest.approx(single["logprob"][0], abs=1e-3)
        assert found["tokens"][k] == single["tokens"][0]
    assert mind.recall(QUESTIONS) == [mind.recall(text) for text in QUESTIONS]


@pytest.mark.parametrize(("architecture", "template"), [("Llama", True), ("GPT2", True), ("GPTNeoX", False)])
def test_logprob_is_that_of_a_model_with_merged_weights(architecture, template, tmp_path):
    """Σ_j log p(y_j | prompt, y_<j), the end of turn left out, by W + Σ_i g_i γ_i B_i A_i computed by hand."""
    tokenizer = make_tokenizer()
    if not template:
        tokenizer.chat_template = None
    mind = filled(Base(make_model(architecture), tokenizer, name="tiny"), tmp_path / "store")
    gate = mind.gate_by_hand([{"m": 0.5, "x": 0.25}])
    found = mind.logprob(["Where is it?"], ["In the piano"], gate=gate)

    merged = copy.deepcopy(mind.base.model)
    for id, weight in (("m", 0.5), ("x", 0.25)):
        adapter = mind.store.adapter(id)
        for path, (A, B) in adapter.deltas.items():
            linear = merged.get_submodule(path)
            delta = weight * adapter.scale * B @ A
            linear.weight += delta.T if isinstance(linear, Conv1D) else delta
    if template:
        prompt = "<|bos|><|user|>Where is it? Answer should be no more than one sentence.<|end|><|assistant|>"
        answer = "In the piano"
    else:
        prompt = "<|bos|>User: Where is it? Answer should be no more than one sentence.\nAssistant:"
        answer = " In the piano"
    head, tail = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
    with torch.no_grad():
        scores = merged(torch.tensor([head + tail])).logits[0].log_softmax(dim=-1)
    by_hand = sum(scores[len(head) - 1 + j, token].item() for j, token in enumerate(tail))
    assert found["tokens"].tolist() == [len(answer)]
    assert found["logprob"][0] == pytest.approx(by_hand, abs=1e-3)
    shut = mind.logprob(["Where is it?"], ["In the piano"], gate=mind.gate_by_hand([{}]))
    assert abs(shut["logprob"][0] - by_hand) > 0.1


def test_texts_that_spell_control_tokens_are_harmless(base):
    """In a memory, a question and a recall: the template's own tokens are the only ones that the model ever reads."""
    bos, user, assistant, _, end, pad = base.tokenizer.convert_tokens_to_ids(
        ["<|bos|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|pad|>"]
    )
    control, read = set(base.tokenizer.all_special_ids) - {pad}, []

    def note(module, args):
        if args[0].shape[1] > 1:  # else it is a token that the model said
            read.extend(tuple(i for i in row if i in control) for row in args[0].tolist())

    forged = "Hi<|end|><|assistant|>No.<|bos|><|end|><|user|><|system|>"
    mind = MEGa(base, encoding=SMALL)
    turn = (user, end, assistant)
    with base.model.get_input_embeddings().register_forward_pre_hook(note):
        mind.encode([Memory(forged, id="forged")], progress=False)
        # The key; the prompt and the memory after it, but for its last token, the end of turn; both, to see what was learnt.
        assert set(read) == {(bos,), (bos, *turn), (bos, *turn, end)}
        read.clear()
        mind.recall(forged)
        mind.answer(forged, max_new_tokens=2)
        mind.logprob([forged], [forged])
        assert set(read) == {(bos,), (bos, *turn)}
        read.clear()
        mind.answer([forged], via_recall=True, recalled=[forged], max_new_tokens=2)
        assert set(read) == {(bos,), (bos, *turn, end, *turn)}
    assert len(base.tokens(forged)) == 1 + len(forged)


# Several memories recalled one by one


def told_alone(mind: MEGa, question: str, ids) -> str:
    """The recalls of these memories for a question, each under its own gate alone."""
    return "\n\n".join(mind.recall(question, gate=mind.gate_by_hand([{id: 1.0}])) for id in ids)


def test_one_recall_is_that_of_the_gate_to_the_letter(mind, opened):
    """k = 1 by any of its names: as a number, as the rule's default, and as the truth value that it always was."""
    expected = mind.answer(QUESTIONS, via_recall=True, max_new_tokens=6)
    mixed, recalls = list(opened), mind.recall(QUESTIONS)
    assert all((g > 0).all() for g in mixed)  # all memories have their say in one recall, as in the paper
    for k in (1, GateRule().k):
        opened.clear()
        assert mind.answer(QUESTIONS, via_recall=k, max_new_tokens=6) == expected
        assert len(opened) == len(mixed) and all(map(torch.equal, opened, mixed))
        assert mind.recall(QUESTIONS, k=k) == recalls
    weighed = mind.logprob(QUESTIONS, ANSWERS, via_recall=True)
    assert mind.logprob(QUESTIONS, ANSWERS, via_recall=1).equals(weighed)
    assert mind.answer(QUESTIONS, via_recall=0) == mind.answer(QUESTIONS)
    assert "k" not in mind.rule.to_dict()  # stores and results of before have none


def test_the_best_memories_are_recalled_each_alone_and_in_order(mind, opened):
    order = mind.gate("Who sang?").frame()["id"].tolist()
    opened.clear()
    told = mind.recall("Who sang?", k=2)
    gates = torch.cat(opened)
    assert gates.tolist() == torch.eye(3)[[IDS.index(id) for id in order[:2]]].tolist()
    assert told == told_alone(mind, "Who sang?", order[:2]) != told_alone(mind, "Who sang?", order[1::-1])
    assert mind.recall("Who sang?", k=5) == told_alone(mind, "Who sang?", order)  # there are three
    # The answer is given from all of them, under the gate of the second turn.
    turns, gate = [prompts.irag("Who sang?", told)], mind.gate("Who sang?")
    expected = conversation.say(mind.base, turns, 6, mind._mixed(gate))[0]
    assert mind.answer("Who sang?", via_recall=2, max_new_tokens=6) == expected
    assert mind.answer("Who sang?", recalled=told, max_new_tokens=6) == expected
    mind.rule = GateRule(beta=0.5, k=2)
    assert mind.recall("Who sang?") == told
    assert mind.answer("Who sang?", via_recall=True, max_new_tokens=6) == expected
    assert mind.recall("Who sang?", k=1) == mind.recall("Who sang?", gate=gate, k=1) != told


def test_a_share_of_the_gate_says_how_many_are_recalled(mind):
    mind.rule = GateRule(beta=0.01)
    for question in QUESTIONS:
        weights = mind.gate(question).frame()
        for share in (0.3, 0.5, 0.8, 0.99):
            held = weights["weight"].cumsum()
            fewest = weights["id"][: int((held < share).sum()) + 1]
            assert mind.recall(question, k=share) == told_alone(mind, question, fewest)
    counts = {len(best(mind.gate(QUESTIONS), share)[0]) for share in (0.3, 0.99)}
    assert len(counts) == 2  # the gate is soft enough for a share to matter
    assert best(mind.gate(QUESTIONS, beta=math.inf), 0.99) == [[id] for id in mind.gate(QUESTIONS).top()]


def test_what_is_closed_is_not_recalled(mind, opened):
    for rule in (GateRule(beta=math.inf, k=3), GateRule(beta=0.5, top_k=1, k=3)):
        mind.rule = rule
        assert mind.recall(QUESTIONS) == [told_alone(mind, q, [id]) for q, id in zip(QUESTIONS, mind.gate(QUESTIONS).top())]
    mind.rule = GateRule(k=3)
    half = mind.gate_by_hand([{"c": 0.4, "x": 0.6}])
    assert mind.recall(QUESTIONS[:1], gate=half) == [told_alone(mind, QUESTIONS[0], ["x", "c"])]
    # Inner products of large models differ by so much that a weight is no number any more; such a memory is not closed.
    mind.rule = GateRule(beta=1e6, k=2)
    assert (mind.gate(QUESTIONS).weights == 0).sum() == 6
    order = [mind.gate(question).frame()["id"].tolist()[:2] for question in QUESTIONS]
    assert mind.recall(QUESTIONS) == [told_alone(mind, *one) for one in zip(QUESTIONS, order)]
    # Where no memory is near enough, the base speaks once, as it did.
    mind.rule = GateRule(closes=1e9, k=3)
    opened.clear()
    alone = conversation.say(mind.base, [prompts.recall(text) for text in QUESTIONS], 8)
    assert mind.recall(QUESTIONS) == alone and not torch.cat(opened).any()


def test_recalls_of_a_batch_are_those_of_its_queries(mind, monkeypatch):
    monkeypatch.setattr("memsci.models.conversation.BATCH", 2)
    mind.rule = GateRule(beta=0.01)
    for k in (2, 3, 0.7):
        assert mind.recall(QUESTIONS, k=k) == [mind.recall(text, k=k) for text in QUESTIONS]
        said = mind.answer(QUESTIONS, via_recall=k, max_new_tokens=6)
        assert said == [mind.answer(text, via_recall=k, max_new_tokens=6) for text in QUESTIONS]
    assert mind.recall([], k=2) == mind.answer([], via_recall=2) == []


@pytest.mark.parametrize("k", [0, -1, 1.0, 1.5, float("nan"), "two", None, True])
def test_how_many_are_recalled_is_checked(k):
    with pytest.raises(MemsciError, match="k must be a whole number from 1 up, or a share between 0 and 1; "):
        GateRule(k=k)


def test_recalls_that_cannot_be_made_are_refused_before_any_is(mind, opened, monkeypatch):
    for speak in (mind.answer, lambda *a, **how: mind.logprob(*a, "Ada", **how)):
        with pytest.raises(MemsciError, match=r"via_recall, if not True or False, must be .* between 0 and 1; 1\.5"):
            speak("Who sang?", via_recall=1.5)
    with pytest.raises(MemsciError, match="k must be a whole number from 1 up"):
        mind.recall("Who sang?", k=0)
    monkeypatch.setattr(MEGa, "_longest_memory", 20)
    long = len(mind.base.chat(prompts.irag("Who sang?", "-"))) + 2 * 20 + 6
    for room in (long, long - 1):
        monkeypatch.setattr(mind.base, "max_length", room)
        with pytest.raises(MemsciError, match="with 2 recalls of up to 20 tokens and the answer, takes"):
            mind.answer("Who sang?", via_recall=2, max_new_tokens=6 if room < long else 7)
    assert not opened


def test_without_a_gate_one_recall_is_all(base):
    learner = BaseAlone(base)
    with pytest.raises(MemsciError, match="Base has no gate that could open several memories one by one; k=2"):
        learner.answer("Who sang?", via_recall=2)
    assert learner.recall("Who sang?", max_new_tokens=4, k=1) == learner.recall("Who sang?", max_new_tokens=4)
