"""Correcting a memory: the newer wins by the gain at least, and what is not linked is as it was."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from test_mind import ANSWERS, IDS, MEMORIES, QUESTIONS, SMALL, SOFT, filled, spread
from torch.testing import assert_close

import memsci
from memsci.config import GateRule
from memsci.data import table
from memsci.errors import MemsciError
from memsci.gate.newer import prefer
from memsci.gate.softmax import gate
from memsci.learners.mega import MEGa
from memsci.memory import Memory, text_hash, to_frame
from memsci.store.sync import Sync

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off", "ignore:.*were not learnt word for word")

NEW = Memory("Nora hid the letter in the oven.", id="new", questions=[("Where is the letter?", "In the oven")])


def drawn(n: int = 6, b: int = 40, beta: float = 0.7):
    """A gate of random cues and keys; the ids of its memories are letters."""
    generator = torch.Generator().manual_seed(3)
    queries, keys = (torch.randn(rows, 8, generator=generator) for rows in (b, n))
    return gate(queries, keys, beta, ids="abcdef"[:n])


@pytest.mark.parametrize("gain", [0.0, 2.0, 7.0])
def test_the_newer_opens_wider_by_the_gain_at_least_and_the_others_keep_their_shares(gain):
    plain = drawn()
    raised = prefer(plain, {"d": ["b"]}, gain)
    a, b, c, d, e, f = raised.weights.log().T
    assert (d - b >= gain - 1e-9).all()
    assert (d - b > gain + 0.1).any() or gain > 5  # where it is the more like the cue: its own score
    assert (raised.weights.sum(dim=1) - 1).abs().max() < 1e-12
    others = [0, 2, 4, 5]
    kept, before = (one.weights[:, others] / one.weights[:, others].sum(dim=1, keepdim=True) for one in (raised, plain))
    assert (kept - before).abs().max() < 1e-12
    assert torch.equal(raised.scores[:, others], plain.scores[:, others])
    assert (raised.weights[:, others] >= plain.weights[:, others] / (1 + math.exp(-gain)) - 1e-12).all()
    assert torch.equal(raised.scores.amax(dim=1), plain.scores.amax(dim=1))  # a gate that can close closes as before
    assert torch.equal(raised.scores[:, 3], plain.scores[:, [1, 3]].amax(dim=1))


def test_a_chain_of_corrections_has_the_gain_at_each_link_and_holds_without_one():
    raised = prefer(drawn(), {"f": ["c", "a"], "c": ["a"]}, 3.0).weights.log()
    assert (raised[:, 2] - raised[:, 0] >= 3 - 1e-9).all() and (raised[:, 5] - raised[:, 2] >= 3 - 1e-9).all()
    assert torch.equal(prefer(drawn(), {"f": ["gone", "a"]}, 3.0).weights, prefer(drawn(), {"f": ["a"]}, 3.0).weights)


def test_nothing_linked_is_the_same_gate():
    plain = drawn()
    assert prefer(plain, {}, 5.0) is plain and prefer(plain, {"a": ["gone"], "gone": ["b"]}, 5.0) is plain


def test_at_infinite_beta_any_gain_wins_and_at_zero_none():
    plain = drawn(beta=math.inf)
    won = plain.weights.argmax(dim=1)
    raised = prefer(plain, {"d": ["b"]}, 0.1).weights
    assert (won == 1).any() and torch.equal(raised.argmax(dim=1), won.where(won != 1, 3))
    assert raised.max(dim=1).values.eq(1).all()
    level = drawn(beta=0)
    assert prefer(level, {"d": ["b"]}, 5.0) is level


@pytest.mark.parametrize("gain", [-1, math.inf, math.nan, True, "2"])
def test_a_gain_that_is_none_is_refused(gain):
    with pytest.raises(MemsciError, match="gain must be None or a finite number from 0 up"):
        GateRule(gain=gain)


def test_the_gain_is_in_the_settings_only_where_it_was_changed():
    assert "gain" not in GateRule.paper().to_dict()
    for gain in (None, 2.0):
        assert GateRule.from_dict(GateRule(gain=gain).to_dict()).gain == gain


@pytest.fixture
def corrected(base, tmp_path) -> MEGa:
    """Three memories, and a fourth that corrects the first."""
    mind = filled(base, tmp_path / "store")
    mind.encode([NEW], progress=False, corrects="m")
    return mind


def test_a_correction_is_kept_beside_the_old_one_and_goes_before_it(corrected, base):
    told = json.loads((corrected.store.path / "memories" / "new" / "memory.json").read_text())
    assert told["corrects"] == ["m"] and "corrects" not in json.loads(
        (corrected.store.path / "memories" / "m" / "memory.json").read_text()
    )
    for mind in (corrected, memsci.open(corrected.store.path, base)):
        assert mind.ids == ("m", "c", "x", "new") and mind.store.corrections == {"new": ("m",)}
        assert mind.memories.set_index("id")["corrects"].dropna().to_dict() == {"new": "m"}
        assert mind.store.records[3].corrects == ("m",)
        weights = mind.gate(QUESTIONS).weights.log()
        assert (weights[:, 3] - weights[:, 0] >= mind.rule.gain - 1e-9).all()


def test_without_a_gain_or_without_its_fellow_a_correction_is_a_memory_like_others(corrected):
    raised = corrected.gate(QUESTIONS)
    corrected.rule = GateRule(beta=SOFT.beta, gain=None)
    plain = corrected.gate(QUESTIONS)
    assert not torch.equal(plain.weights, raised.weights)
    corrected.rule = SOFT
    assert_close(corrected.gate(QUESTIONS, only=["c", "x", "new"]).scores, plain.scores[:, 1:])
    corrected.forget("m")
    assert_close(corrected.gate(QUESTIONS).scores, plain.scores[:, 1:])


def test_to_forget_the_correction_brings_the_old_memory_back_bit_for_bit(base, tmp_path):
    mind = filled(base, tmp_path / "store")
    before, weights = mind.logprob(QUESTIONS, ANSWERS), mind.gate(QUESTIONS).weights
    mind.encode([NEW], progress=False, corrects="m")
    assert not mind.logprob(QUESTIONS, ANSWERS).equals(before)
    mind.forget("new")
    assert torch.equal(mind.gate(QUESTIONS).weights, weights) and mind.logprob(QUESTIONS, ANSWERS).equals(before)


def test_the_middle_of_a_chain_may_be_forgotten(corrected):
    corrected.encode([Memory("Nora hid the letter in the well.", id="third")], progress=False, corrects="new")
    assert corrected.store.corrections["third"] == ("new", "m")
    corrected.forget("new")
    weights = corrected.gate(QUESTIONS)
    old, third = (weights.weights[:, weights.ids.index(id)].log() for id in ("m", "third"))
    assert (third - old >= corrected.rule.gain - 1e-9).all()


@pytest.mark.parametrize("rule", [{"top_k": 1}, {"top_k": 2}, {"epsilon": 0.05}])
def test_a_searched_gate_is_the_dense_one_with_corrections_too(corrected, rule):
    corrected.rule = GateRule(beta=0.02, gain=4.0)
    dense = corrected.gate(QUESTIONS)
    corrected.rule = GateRule(beta=0.02, gain=4.0, **rule)
    sparse = corrected.gate(QUESTIONS)
    assert sparse.top() == dense.top()
    moved = (spread(sparse, corrected.ids) - dense.weights).abs().sum(dim=1)
    if "epsilon" in rule:
        assert moved.max() <= 0.05
    else:
        for row, whole in zip(spread(sparse, corrected.ids), dense.weights):
            assert set(row.nonzero()[:, 0].tolist()) == set(whole.topk(rule["top_k"]).indices.tolist())


def test_a_table_says_what_a_row_corrects(base, tmp_path):
    frame = pd.DataFrame(
        {"id": [1, 2, 3], "text": ["Ada sang.", "Ada sang twice.", "Ben slept."], "corrects": [None, 1, None]}
    )
    memories = table(frame)
    assert [one.corrects for one in memories] == [None, "1", None] and table(to_frame(memories)) == memories
    (tmp_path / "t.csv").write_text("id;Corrects;text;correct\n1;;Ada sang.;0\n2;1;Ada sang twice.;1\n")
    written = table(tmp_path / "t.csv")
    assert [one.corrects for one in written] == [None, "1"]
    assert [one.extra for one in written] == [{"correct": 0}, {"correct": 1}]  # a column of the user's own, as ever
    mind = MEGa(base, tmp_path / "store", SMALL, gate=SOFT)
    mind.encode(memories, progress=False)
    assert mind.store.corrections == {"2": ("1",)}
    assert mind.encode(memories, progress=False).empty  # an interrupted call goes on


def test_what_cannot_be_corrected_is_refused_before_anything_is_done(corrected, monkeypatch):
    monkeypatch.setattr(MEGa, "write", lambda *given: pytest.fail("something was done"))
    one = Memory("Ada sang at dawn.", id="dawn")
    with pytest.raises(MemsciError, match=r"There is no memory 'y' in .*; it holds: 'm', 'c', 'x', 'new'\."):
        corrected.encode([one], corrects="y")
    with pytest.raises(MemsciError, match="'dawn' cannot correct itself"):
        corrected.encode([one], corrects="dawn")
    later = Memory("Ada sang at noon.", id="noon", corrects="dawn")
    with pytest.raises(MemsciError, match="no memory 'dawn'"):
        corrected.encode([later, one])
    with pytest.raises(MemsciError, match="'c' is stored already, and not as a correction of 'm'"):
        corrected.encode([MEMORIES[1]], corrects="m")


# --------------------------------------------------------------------------------------------------------------- update


@pytest.fixture
def learnt(base, tmp_path) -> MEGa:
    mind = MEGa(base, tmp_path / "learnt", SMALL, gate=SOFT, seed=4)
    mind.encode([*MEMORIES[:2], replace(MEMORIES[2], corrects="m")], progress=False, parallel=1)
    return mind


def test_an_updated_memory_is_one_that_was_never_other(learnt, base, tmp_path):
    """The same mind bit for bit, and nothing of the old one on the disk."""
    id = MEMORIES[1].id
    old, adapter = learnt.store.records[1], learnt.store.adapter(id)
    text = "On 3 May Omar found a green kite by the frozen lake."
    done = learnt.update(id, text, [("What colour is the kite?", "green")], progress=False)
    assert done["id"].tolist() == [id] and learnt.ids == IDS
    whole = MEGa(base, tmp_path / "whole", SMALL, gate=SOFT, seed=4)
    whole.encode([MEMORIES[0], Memory(text, id), replace(MEMORIES[2], corrects="m")], progress=False, parallel=1)
    for mind in (learnt, memsci.open(learnt.store.path, base)):
        assert torch.equal(mind.gate(QUESTIONS).weights, whole.gate(QUESTIONS).weights)
        assert mind.logprob(QUESTIONS, ANSWERS).equals(whole.logprob(QUESTIONS, ANSWERS))
        new = mind.store.records[1]
        assert (new.text_hash, new.label, new.order) == (text_hash(text), "On 3 May Omar found a…", 1)
        assert [one.answer for one in new.questions] == ["green"]
    parts = [old.key, *(half for pair in adapter.deltas.values() for half in pair)]
    written = b"".join(file.read_bytes() for file in learnt.store.path.rglob("*") if file.is_file())
    assert not any(part.numpy().tobytes() in written for part in parts) and old.text_hash.encode() not in written


def test_what_interrupts_an_update_leaves_the_old_memory_whole(learnt, base, monkeypatch):
    before = learnt.logprob(QUESTIONS, ANSWERS)
    files = lambda: {str(file): file.read_bytes() for file in (learnt.store.path / "memories").rglob("*") if file.is_file()}
    there = files()
    monkeypatch.setattr("memsci.learners.mega.MEGa._is_learnt", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        learnt.update("c", "Ben slept.", progress=False)
    assert files() == there and learnt.logprob(QUESTIONS, ANSWERS).equals(before)
    assert memsci.open(learnt.store.path, base).logprob(QUESTIONS, ANSWERS).equals(before)


def test_a_disk_that_fills_up_when_the_old_one_has_gone_hinders_no_update(learnt, base, monkeypatch):
    """The memory has changed over, so it is not said that nothing was changed; the catalogue is put in order later."""

    rewritten = Sync._rewritten

    def full(sync, old, root, *stamp):
        if root == sync.path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rewritten(sync, old, root, *stamp)

    id, others = MEMORIES[1].id, [one for one in IDS if one != MEMORIES[1].id]
    kept = [learnt.store.checksums([one]) for one in others]
    with monkeypatch.context() as now:
        now.setattr(Sync, "_rewritten", full)
        done = learnt.update(id, "Ben slept.", progress=False)
    assert done["id"].tolist() == [id]
    for mind in (learnt, memsci.open(learnt.store.path, base)):
        assert mind.ids == IDS and mind.store.text_hash(id) == text_hash("Ben slept.")
        assert [mind.store.checksums([one]) for one in others] == kept
        mind.store.verify()
    learnt.update(id, "Ben woke.", progress=False)
    assert memsci.open(learnt.store.path, base).store.text_hash(id) == text_hash("Ben woke.")


def test_what_stays_and_what_goes_with_an_update(base, tmp_path):
    mind = MEGa(base, tmp_path / "store", SMALL, gate=SOFT, keep_text=True)
    first = Memory("Ada sang.", "a", "The song", questions=[("Who sang?", "Ada")], extra={"list": 3})
    mind.encode([first, Memory("Ada sang twice.", "b", corrects="a")], progress=False)
    opened = memsci.open(mind.store.path, base)  # keeps no texts of its own accord
    opened.update("b", "Ada sang three times.", progress=False)
    opened.update("a", "Ada hummed.", progress=False)
    a, b = opened.store.records
    assert (a.label, a.extra, a.text, a.questions) == ("The song", {"list": 3}, "Ada hummed.", ())
    assert (b.label, b.text, b.corrects) == ("Ada sang three times.", "Ada sang three times.", ("a",))
    opened.update("a", Memory("Ada whistled.", questions=[("Who?", "Ada")]), progress=False)
    a = opened.store.records[0]
    assert (a.id, a.label, a.extra, a.questions[0].answer) == ("a", "Ada whistled.", None, "Ada")


def test_an_update_that_cannot_be_is_refused_before_anything_is_done(learnt, monkeypatch):
    monkeypatch.setattr(MEGa, "write", lambda *given: pytest.fail("something was done"))
    with pytest.raises(MemsciError, match=r"There is no memory 'y' in .*; it holds: 'm', 'c', 'x'\."):
        learnt.update("y", "Ben slept.")
    with pytest.raises(MemsciError, match="is empty"):
        learnt.update("c", "  ")
    with pytest.raises(MemsciError, match="'x' corrects 'm' already, so 'm' cannot correct it"):
        learnt.update("m", Memory("Nora slept.", corrects="x"))


def test_what_would_count_as_corrected_is_refused_before_anything_is_learnt(corrected, monkeypatch):
    corrected.forget("m")
    monkeypatch.setattr(MEGa, "write", lambda *given: pytest.fail("something was done"))
    with pytest.raises(MemsciError, match="'new' corrects a memory 'm' that was forgotten.*Nothing was changed"):
        corrected.encode([Memory("Ada sang at dawn.", id="dawn"), MEMORIES[0]])


def test_a_label_made_of_a_text_with_odd_blanks_goes_with_it(base, tmp_path):
    mind = MEGa(base, tmp_path / "store", SMALL, gate=SOFT, seed=4, keep_text=True)
    mind.encode(["Ben  lost it. ", "Ada slept."], progress=False)
    assert mind.update(mind.ids[0], "Tom sold it.", progress=False)["label"].tolist() == ["Tom sold it."]
