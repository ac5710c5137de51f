"""A lifetime: what comes on which day, what is forgotten, who sleeps, and what is told of it."""

from __future__ import annotations

import functools
import re
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import make_model, make_tokenizer

from memsci import evaluate, experiments, phenomena, runs
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.evaluate.gate_accuracy import PERSON
from memsci.experiments.cells import run_cell
from memsci.learners import MEGa
from memsci.lifetime import Sleep, rehearse
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import materials
from memsci.phenomena.experiment import material, measure
from memsci.phenomena.lifetime import DAYS, LAST, Life, days
from memsci.runs.plan import plan as plan_of
from memsci.runs.tables import per_list

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off", "ignore:.*not learnt word for word")
QUICK = Encoding(rank=2, epochs=1, lr=1e-2)


@pytest.fixture
def tiny(monkeypatch) -> Base:
    """A base that learns next to nothing, fast, of texts of a few letters; whatever it recalls, what sleeps changes over."""
    monkeypatch.setattr(sys.modules["memsci.phenomena.lifetime"], "_told", short)
    monkeypatch.setattr(MEGa, "recall_tokens", 8)
    monkeypatch.setattr(rehearse, "recalls", lambda mind, asked, most: {id: f"{id} sat." for id in asked})
    monkeypatch.setattr(Encoding, "paper", classmethod(lambda cls: QUICK))
    monkeypatch.setattr(sys.modules["memsci.phenomena.lifetime"], "ITEMS", (1, 1))
    drawn = lambda texts: np.array([[len(text), 1.0] for text in texts])
    monkeypatch.setattr(evaluate, "score", functools.partial(evaluate.score, embed=drawn))
    brief = Sleep(rank=1, epochs=1, wordings=0, least=0.0)
    monkeypatch.setattr(Life, "__init__", functools.partialmethod(Life.__init__, settings=brief))
    return Base(make_model(), make_tokenizer(), name="tiny")


def short(partition: int, size: int) -> list[Memory]:
    """In the place of a partition's memories, event and correction."""
    told = lambda name, place, **more: Memory(
        f"{name} sat {place}.", f"p{partition}-{name}{place}", f"{name}{partition}{place}",
        questions=[(f"Where is {name}?", place)], **more,
    )  # fmt: skip
    plain = [told("Ada", f"{partition}{k}") for k in range(size)]
    event = told(f"Ben{partition}", "up")
    return [*plain, event, told(f"Ben{partition}", "by", corrects=event.id)]


def test_partitions_come_one_after_another_with_a_correction_a_day_after_its_event():
    plan = days(1, 3)
    assert len(plan) == DAYS and [today.night for today in plan] == [False, True] * 4
    assert [len(today.learn) for today in plan] == [3, 2] * 4
    for k, (first, second) in enumerate(zip(plan[::2], plan[1::2])):
        event, correction = first.learn[-1], second.learn[-1]
        assert correction.corrects == event.id and event.corrects is None
        assert event.questions[0].text == correction.questions[0].text
        assert event.questions[0].answer != correction.questions[0].answer
        assert {one.id.rsplit("-", 1)[0] for one in (*first.learn[:-1], *second.learn[:-1])} == {f"episodic-{4 + k:02d}"}
    assert [one.id for one in material("lifetime", 1, 3)] == [one.id for today in plan for one in today.learn]
    assert len(material("lifetime", 0)) == 4 * 52


def test_all_may_be_about_one_person():
    who = {materials.person(k).name for k in range(4)}
    texts = lambda persons: [one.text + one.questions[0].text for today in days(0, 4, persons) for one in today.learn]
    names = re.compile("|".join(name.split()[0] for name in who))
    assert all(names.search(text) for text in texts("own"))
    assert not any(names.search(text) for text in texts("one")) and PERSON.split()[0] in texts("one")[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"number": 5}, "list must be"), ({"memories": 1}, "memories must be"), ({"persons": "two"}, "persons must be"),
        ({"sleep": "nap"}, "sleep must be"), ({"nap": 1}, "a setting of lifetime must be"),
    ],
)  # fmt: skip
def test_a_life_that_cannot_be_is_refused(given, says):
    given = {"number": 0, "memories": 2, **given}
    with pytest.raises(MemsciError, match=says):
        measure("lifetime", "MEGa", None, given.pop("number"), **given)


def test_other_lists_have_a_size_of_their_own():
    with pytest.raises(MemsciError, match="size of their own"):
        material("fan", 0, 3)


def test_a_life_of_the_run_sleeps_and_is_measured(tiny):
    chosen = runs.choose("lifetime", partitions=(0,), methods=("MEGa",), memories=2)
    cells = [one for one in chosen.cells() if one.setting.startswith("sleep=recalls; memories")]
    assert [one.setting for one in cells] == ["sleep=recalls; memories=2"]
    world = chosen.worlds()["lifetime", 0]
    trials = run_cell(cells[0], tiny, [world])["trials"]
    assert set(trials["method"]) == {"MEGa, slept"}
    found = per_list(trials).set_index(["measure", "condition"])["value"]
    assert {f"day {k}" for k in (2, 4, 6, 8)} | {f"age {k}" for k in range(DAYS)} >= set(trials["condition"])
    # One is forgotten on each day from the second on, if any may be: what slept, today's and what is linked may not.
    gone = trials[(trials["measure"] == "forgotten") & (trials["condition"] == LAST)]
    assert len(gone) >= 3 and len(set(gone["item"])) == len(gone)
    living = set(trials[(trials["measure"] == "qa") & (trials["condition"] == LAST)]["item"])
    assert not living & set(gone["item"]) and len(living) == 4 * 2 + 4 - len(gone)
    assert not any(id.endswith("up") for id in living)  # the events that were corrected
    assert found["slept", LAST] > 0 and found["share of bytes", LAST] < 1 <= DAYS
    assert len(trials[(trials["measure"] == "new") & (trials["condition"] == LAST)]) == 4
    assert np.isfinite(found["knowledge"]).all() and found["seconds"].is_monotonic_increasing
    slow = trials[(trials["measure"] == "slow qa") & (trials["condition"] == LAST)]
    assert 0 < len(set(slow["item"])) < len(living)


def test_without_sleep_every_memory_has_its_own_bytes(tiny):
    trials = measure("lifetime", "MEGa", tiny, 0, memories=2, sleep="never")
    shares = trials[trials["measure"] == "share of bytes"]["value"]
    assert shares.between(0.95, 1.0).all() and "slow qa" not in set(trials["measure"])
    assert set(trials["method"]) == {"MEGa"}


@pytest.mark.parametrize("method", ["LoRA", "Full batch"])
def test_other_learners_are_asked_on_the_last_day(tiny, method):
    trials = measure("lifetime", method, tiny, 0, memories=2)
    assert set(trials["condition"]) == {LAST} | {f"age {k}" for k in range(DAYS)}
    assert set(trials["method"]) == {method} and "correct gate" not in set(trials["measure"])
    asked = trials[(trials["measure"] == "qa") & (trials["condition"] == LAST)]
    assert len(set(asked["item"])) == 4 * 2 + 4


def test_what_is_planned_counts_the_sleep():
    chosen = runs.choose("lifetime", partitions=(0,), methods=("MEGa",), memories=2)
    plan = lambda setting: plan_of(experiments.Experiment(**{**vars(chosen), "settings": {"MEGa": (setting,)}})).calls.iloc[
        0
    ]
    none, slept = plan("sleep=never"), plan("sleep=recalls")
    assert slept["examples"] > none["examples"] and slept["answers"] == none["answers"] == 3 * 3 * 16


def test_it_is_drawn_with_every_learner():
    rng = np.random.default_rng(0)
    rows = [
        {"list": k, "method": m, "condition": f"{by} {at}", "measure": measure, "item": "a", "value": rng.uniform()}
        for k in range(2) for m in ("MEGa", "MEGa, slept in groups", "LoRA") for by in ("day", "age") for at in (2, 8)
        for measure in ("qa", "recalled qa", "slow qa", "correct gate", "share of bytes", "knowledge", "seconds")
    ]  # fmt: skip
    table = phenomena.tidy(pd.DataFrame(rows), phenomenon="lifetime", seed=0)
    result = phenomena.Phenomenon("lifetime", table)
    figure = result.figure()
    told = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert told == ["MEGa", "MEGa, slept in groups", "LoRA"]
    assert figure.axes[2].get_legend().get_title().get_text() == "2 lives: no interval"
    single = phenomena.Phenomenon("lifetime", table[table["list"] == 0]).figure()
    assert single.axes[2].get_legend().get_title().get_text() == "1 life: no interval"
    assert set(result.test()["verdict"]) == {"open", "not run"}
