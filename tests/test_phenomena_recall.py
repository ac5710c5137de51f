"""Free recall by the gate: a walk of keys, or of what is said."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partialmethod

import matplotlib
import numpy as np
import pytest
import torch

import memsci
from memsci import experiments
from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError
from memsci.phenomena import curves, recall
from memsci.phenomena.context import Parameters, walk
from memsci.phenomena.experiment import measure
from memsci.phenomena.recall import CONTEXT, KEYS, SHUFFLED, circle, free_recall, studied, told
from memsci.runs.plan import plan

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def by_words():
    """Free recall with keys that the tiny model does not make: words and their rarity."""
    from conftest import make_model, make_tokenizer

    from memsci.models.base import Base

    base = Base(make_model(), make_tokenizer(), name="tiny")
    return free_recall(base, 8, embedding=Embedding(kind="words"), rule=GateRule(beta=10.0), progress=False)


def test_a_list_is_of_one_person_and_as_many_events_of_each_kind():
    one, again, other = studied(3), studied(3), studied(4)
    assert [memory.text for memory in one] == [memory.text for memory in again]
    assert Counter(Counter(memory.label for memory in one).values()) == {4: 4}
    assert len({memory.text for memory in one}) == len({memory.id for memory in one}) == 16
    assert not {memory.id for memory in one} & {memory.id for memory in other}
    with pytest.raises(MemsciError, match="categories"):
        studied(0, 4, 5)


def test_without_context_kinds_come_together_and_order_is_unknown(by_words):
    tests = by_words.test().set_index("claim")
    assert tests["verdict"].iloc[1] == tests["verdict"].iloc[2] == tests["verdict"].iloc[3] == "holds"
    means = by_words.means().set_index(["method", "measure", "condition"])["mean"]
    assert means[KEYS, "arc", "all"] > 0.5 > means[CONTEXT, "arc", "all"]
    assert means[CONTEXT, "temporal factor", "all"] > 0.6 > means[KEYS, "temporal factor", "all"]
    assert means[CONTEXT, "pfr", "16"] > 0.3 > means[KEYS, "pfr", "16"]
    assert abs(means[SHUFFLED, "semantic factor", "all"] - 0.5) < 0.15
    assert means[KEYS, "recalls", "all"] == means[CONTEXT, "recalls", "all"]  # the same draws of stopping
    assert by_words.table.query("measure == 'late first'")["value"].between(0, 1).all()


def test_events_are_psifrs_as_they_are(by_words):
    psifr = pytest.importorskip("psifr.fr", reason="psifr is not installed")
    merged = psifr.merge_free_recall(by_words.events)
    theirs = psifr.lag_crp(merged).reset_index()
    subjects = by_words.events.query("method == @CONTEXT").drop_duplicates("subject").set_index("subject")["material"]
    table = by_words.table.query("method == @CONTEXT and measure == 'lag crp'")
    for subject, material in subjects.items():
        ours = table[table["list"] == material].set_index("condition")["value"]
        own = theirs[theirs["subject"] == subject].set_index("lag")["prob"]
        assert all(own[float(lag)] == pytest.approx(value) for lag, value in ours.items())


def test_a_list_of_a_run_is_a_list_of_the_call(base):
    whole = free_recall(base, [2, 5], progress=False)
    for number in (5, 2):
        alone = measure("free_recall", "MEGa", base, number)
        own = whole.table[whole.table["list"] == number]
        for name in ("method", "measure", "condition", "value"):
            assert alone[name].tolist() == own[name].tolist()
    assert alone["protocol"].str.contains("nothing encoded").all() and set(alone["method"]) == {KEYS, CONTEXT, SHUFFLED}
    events = whole.events.groupby("subject")[["method", "material"]].agg(["nunique", "first"])
    assert events.index.tolist() == [1, 2, 3, 4, 5, 6]  # psifr's subjects: a method of a list
    assert events["material", "first"].tolist() == [2, 2, 2, 5, 5, 5]


def test_a_run_of_keys_alone_is_planned_without_learning():
    found = plan(experiments.load("free_recall"), "memsci/base")
    assert found.calls[["steps", "recalls", "answers"]].to_numpy().sum() == 0 and found.adapter is None
    assert found.calls["embedded"].item() == 20 * 32 and "disk" not in found.facts
    assert plan(experiments.load("cues"), "memsci/base").calls["steps"].item() > 0


@pytest.mark.parametrize("size", ["print", "column", "page"])
def test_people_have_panels_of_their_own_and_the_gate_without_context_is_in_all_others(by_words, size):
    figure = by_words.figure(size)
    sides = {who: [ax for ax in figure.axes if ax.get_title(loc="left").startswith(who)] for who in ("MEGa", "people")}
    assert len(figure.axes) == 8 and [len(axes) for axes in sides.values()] == [4, 4]
    names = lambda ax: {label for label in ax.get_legend_handles_labels()[1] if label != "chance"}
    assert all({KEYS, CONTEXT} <= names(ax) and "people" not in names(ax) for ax in sides["MEGa"])
    assert all(names(ax) == {"people"} for ax in sides["people"])
    for one, other in zip(*sides.values()):
        assert one.get_xlim() == other.get_xlim() and one.get_ylabel() == other.get_ylabel() != ""
        assert one.get_xlabel() == other.get_xlabel() != ""


def test_a_result_comes_back_with_its_events(by_words, tmp_path):
    back = memsci.phenomena.open(by_words.save(tmp_path / "recall"))
    assert back.test().equals(by_words.test())
    assert curves.sequences(back.events)["recalls"].tolist() == curves.sequences(by_words.events)["recalls"].tolist()
    assert back.protocol["context"] == "people's" and back.protocol["n"] == 16


def test_what_is_said_is_the_next_cue_and_what_is_told_is_counted(base, monkeypatch):
    memories = studied(0, 4, 2)
    cues = []

    def recalls(self, query, gate=None, **_):
        cues.append(query)
        ids = [gate.ids[k] for k in gate.weights.argmax(dim=1).tolist()]
        said = {memory.id: memory.text for memory in memories}
        return ["nothing of the kind" if id == memories[0].id else said[id] for id in ids]

    monkeypatch.setattr(memsci.MEGa, "recall", recalls)
    monkeypatch.setattr(memsci.MEGa, "encode", lambda self, given, progress: None)
    monkeypatch.setattr(
        memsci.MEGa, "true_gate",
        lambda self, ids: memsci.gate.Gate(*[torch.eye(4)[[[m.id for m in memories].index(i) for i in ids]]] * 2,
                                           tuple(m.id for m in memories), ("",) * 4, 1.0),
    )  # fmt: skip
    never = Parameters(beta=0.0, tau=4.0, stop=0.0)
    result = free_recall(base, 1, 4, 2, walks=3, spoken=True, context=never, embedding=Embedding(kind="words"),
                         rule=GateRule(beta=5.0), progress=False)  # fmt: skip
    own = result.events[result.events["method"] == CONTEXT]
    said = own[own["trial_type"] == "recall"].groupby("list")["item"].agg(list)
    assert all(sorted(one) == sorted(["intrusion", *(m.id for m in memories[1:])]) for one in said)
    assert set(cues[0]) == {recall.FIRST_CUE} and recall.FIRST_CUE not in cues[1]
    assert result.means().set_index(["method", "measure"]).loc[(CONTEXT, "intrusions"), "mean"].item() == 1.0


def test_a_real_walk_is_spoken(base, monkeypatch):
    monkeypatch.setattr(memsci.MEGa, "recall", partialmethod(memsci.MEGa.recall, max_new_tokens=20))  # it knows no end
    quick = replace(Encoding.embedded(), rank=2, epochs=1)
    mind = memsci.MEGa(base, encoding=quick, embedding=Embedding(kind="words"))
    speaker = recall.Speaker(mind, studied(0, 3, 3), 2)
    drawn = walk(speaker, Parameters(), shape=(2, 3), stops=False)
    assert drawn.sort(dim=1).values.tolist() == [[0, 1, 2]] * 2
    assert [len(said) for said in speaker.said] == [3, 3]


def test_a_recall_is_told_by_the_words_that_it_shares():
    memories = studied(0, 4, 2)
    assert told(memories[2].text, memories) == memories[2].id
    assert told(memories[1].text.rsplit(" ", 8)[0], memories) == memories[1].id
    assert told("Nothing at all.", memories) == "intrusion"


def test_walks_without_noise_follow_the_law_where_likenesses_are_drawn_at_random():
    rng = np.random.default_rng(0)
    for size in (16, 64):
        found = []
        for _ in range(300):
            scores = rng.normal(size=(size, size))
            found.append(circle(scores + scores.T, 0))
        assert np.mean(found) == pytest.approx(math.sqrt(1.5 * math.pi * size), rel=0.12)


def test_capacity_is_counted_over_all_first_memories(base):
    table = memsci.phenomena.capacity(base, sizes=(4, 6), lists=2, categories=2, embedding=Embedding(kind="words"))
    assert table["size"].tolist() == [4, 4, 6, 6] and (table["recalls"] <= table["size"]).all()
    assert table["law"].iloc[0] == pytest.approx(math.sqrt(6 * math.pi))


def test_what_cannot_be_walked_is_refused(base):
    with pytest.raises(MemsciError, match="finite"):
        free_recall(base, 1, rule=GateRule(beta=math.inf), embedding=Embedding(kind="words"), progress=False)
    with pytest.raises(MemsciError, match="that each come once"):
        free_recall(base, [])
    with pytest.raises(MemsciError, match="finite"):
        walk(torch.zeros(1, 3, 3), replace(Parameters(), beta=math.inf))
