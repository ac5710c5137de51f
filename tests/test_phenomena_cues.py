"""Cues and misinformation: materials that are what they say, planted effects found."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import make_model, make_tokenizer

from memsci.config import Encoding
from memsci.measures.text_match import contains
from memsci.models.base import Base
from memsci.phenomena import keys
from memsci.phenomena.cues import SHARES, SLOTS
from memsci.phenomena.cues import material as of_cues
from memsci.phenomena.cues import measured as completed
from memsci.phenomena.experiment import run
from memsci.phenomena.misinformation import CONTROL, MISLED, NO_SOURCE, reported, sessions
from memsci.phenomena.misinformation import material as of_reports
from memsci.phenomena.misinformation import measured as misled

matplotlib.use("Agg")


def test_cues_are_parts_of_a_story_in_other_words_or_facts_of_one_story_alone():
    memories, probes, facts = of_cues(3)
    for own, condition, text in probes.itertuples(index=False):
        memory, others = memories[own], [one for k, one in enumerate(memories) if k != own]
        if condition in map(str, SHARES):
            words = memory.paraphrases[0].split()
            assert len(text.split()) == round(float(condition) * len(words)) and text != memory.text
            iterator = iter(words)
            assert all(word in iterator for word in text.split())  # in their order
        else:
            assert condition in ("what", *SLOTS) and contains(memory.text, text)
            assert not any(contains(one.text, text) for one in others)
    for memory, own in zip(memories, facts):
        assert all(contains(memory.text, fact) for fact in own)
    assert set(probes["condition"]) == {*map(str, SHARES), "what", *SLOTS}


def test_what_is_completed_is_counted_without_what_was_given():
    probes = pd.DataFrame(
        [(0, "0.4", "a kite in May"), (0, "1.0", "a kite in May with Ivo")], columns=["own", "condition", "text"]
    )
    facts = [["kite", "May", "Ivo", "Bergen"]]
    table = completed(probes, facts, ["Ivo flew a kite.", "Ivo flew a kite in May in Bergen."])
    values = table.set_index(["condition", "measure"])["value"]
    assert values["0.4", "cued"] == 0.5 and values["0.4", "gain"] == 0.0 and values["0.4", "recalled"] == 0.5
    assert dict(zip(table["question"], table["response"]))["a kite in May"] == "Ivo flew a kite."
    assert values["1.0", "cued"] == 0.75 and values["1.0", "gain"] == 0.25 and values["1.0", "recalled"] == 1.0
    whole = completed(probes.tail(1), [["kite", "May"]], [""])
    assert set(whole["measure"]) == {"cued", "gain"}  # nothing was left to recall


def test_a_report_tells_the_event_but_for_one_fact_and_names_its_source():
    for number in range(6):
        pairs, sources = of_reports(number)
        assert len(set(sources)) == len(pairs)
        for pair, source in zip(pairs, sources):
            event, plain = pair.twins
            report, other = reported(plain, source), reported(pair.other, source)
            assert report.text == f"According to {source}: {plain.text}" and report.id != plain.id
            assert contains(event.text, pair.answers[0]) and not contains(event.text, pair.answers[1])
            assert report.text.startswith(f"According to {source}: ") and contains(report.text, pair.answers[1])
            assert all(text.startswith(f"According to {source}: ") for text in (other.text, *report.paraphrases))
            assert not any(contains(event.text, part) for part in source.split())
            assert not contains(event.text + report.text, pair.foil)


def test_events_come_before_reports():
    pairs, sources = of_reports(0)
    made = sessions(pairs, sources)
    assert [session.condition for session in made] == [MISLED, MISLED + NO_SOURCE, CONTROL, CONTROL + NO_SOURCE]
    named = [session.study[-1].text.startswith("According to ") for session in made]
    assert named == [True, False, True, False]
    for session in made:
        assert session.study[: len(pairs)] == tuple(pair.twins[0] for pair in pairs) and len(session.study) == 2 * len(pairs)


# A learner that lost the fact, one that has both, one that was not asked about it.
@pytest.mark.parametrize(
    ("fact", "reported", "new", "standard", "modified"),
    [(-9, -1, -5, 1.0, 1.0), (-2, -1, -5, 1.0, 0.0), (-1, -2, -5, 0.0, 0.0)],
)
def test_overwriting_and_competition_are_told_apart(fact, reported, new, standard, modified):
    common = {
        "method": "Full",
        "answer": "x",
        "recalled": None,
        "fact": "a kite",
        "reported": "a drum",
        "source": "Olga Berg",
        "studied": "a b",
        "question": "What?",
    }
    rows = [
        {**common, "item": k, "condition": MISLED, "logprob fact": fact, "logprob reported": reported, "logprob new": new}
        for k in range(3)
    ]
    rows += [
        {**common, "item": k, "condition": CONTROL, "logprob fact": -1, "logprob reported": -5, "logprob new": -5}
        for k in range(3)
    ]
    rows += [{**row, "condition": row["condition"] + NO_SOURCE} for row in rows]
    loss = misled(pd.DataFrame(rows)).query("measure == 'loss'").set_index("condition")["value"]
    assert loss["standard"] == standard and loss["modified"] == modified and loss["answer"] == 0
    assert loss["standard, no source"] == standard and loss["modified, no source"] == modified


def test_only_recalls_that_tell_the_report_are_asked_for_its_source():
    common = {"method": "MEGa", "condition": MISLED, "answer": "a drum", "fact": "a kite", "reported": "a drum",
              "source": "Olga Berg", "studied": "a b", "question": "What?",
              "logprob fact": -1, "logprob reported": -1, "logprob new": -2}  # fmt: skip
    said = ["According to Olga Berg: it was a drum.", "It was a drum.", "It was a kite."]
    rows = [{**common, "item": k, "recalled": text} for k, text in enumerate(said)]
    rows += [
        {**row, "condition": name, "recalled": said[0]}
        for name in (MISLED + NO_SOURCE, CONTROL, CONTROL + NO_SOURCE)
        for row in rows[:3]
    ]
    table = misled(pd.DataFrame(rows))
    sourced = table.query("measure == 'sourced'")
    assert sourced["value"].tolist() == [True, False] and sourced["response"].tolist() == said[:2]
    assert table.query("measure == 'reported'")["value"].all() and table.query("measure == 'loss'")["value"].eq(0).all()


@pytest.mark.filterwarnings("ignore:.*recalls of .* were cut off")
@pytest.mark.parametrize("name", ["cues", "misinformation"])
def test_each_runs_is_tested_and_drawn(monkeypatch, name):
    monkeypatch.setattr(Encoding, "paper", classmethod(lambda cls: Encoding(rank=1, epochs=1)))
    cues, reports = (sys.modules[f"memsci.phenomena.{one}"] for one in ("cues", "misinformation"))
    monkeypatch.setattr(cues, "STUDIED", 2)
    monkeypatch.setattr(reports, "PAIRS", 1)
    monkeypatch.setattr(cues, "finders", lambda base: keys.finders(base)[::2])
    monkeypatch.setattr("memsci.models.conversation.RECALL_TOKENS", 8)
    for cached in (of_cues, of_reports):
        cached.cache_clear()
    base = Base(make_model(layers=1), make_tokenizer(), name="tiny")
    found = run(name, base, 1, methods=["MEGa"], progress=False)
    assert np.isfinite(found.table["value"]).all() and {"MEGa", "MEGa, true gate"} <= set(found.table["method"])
    assert set(found.test()["verdict"]) <= {"open", "not run"} and len(found.figure().axes) >= 2
    for cached in (of_cues, of_reports):
        cached.cache_clear()
