"""People's questions about what they read: the passages, what people knew, what a learner makes of them."""

from __future__ import annotations

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from conftest import DATA
from scipy.stats import spearmanr

from memsci import phenomena
from memsci.data import readings as source
from memsci.errors import MemsciError
from memsci.phenomena.experiment import measure

module = import_module("memsci.phenomena.human_qa")  # the function of the same name hides it
pytestmark = pytest.mark.filterwarnings("ignore:.*recalls of .* were cut off")
needs_data = pytest.mark.skipif(not (DATA / "human").is_dir(), reason="no answers of people: set MEMSCI_DATA")
RIGHT = ("Ada", "Ben", "Cal")


def passage(kind: str, number: int) -> dict:
    text, options = ("excerpt_first_600_words_plus_sentence", "choices") if kind == "factual" else ("story_text", "options")
    asked = [
        {"question": f"Who was number {k} of {kind} {number}?", options: dict(zip("ABCD", (*others, right))), "answer": "D"}
        for k, right in enumerate(RIGHT)
        for others in [[name for name in ("Ada", "Ben", "Cal", "Dot") if name != right]]
    ]
    told = " ".join(f"Number {k} of {kind} {number} was {name}." for k, name in enumerate(RIGHT))
    return {"title": f"{kind} {number}", text: told, "questions": asked}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten small passages of each kind, and two people who read the first: one knows all, one the first answer alone."""
    human = tmp_path / "human"
    (human / "materials").mkdir(parents=True)
    for kind, name in source.KINDS.items():
        passages = [passage(kind, number) for number in range(10)]
        within = "results" if kind == "factual" else "items"
        (human / "materials" / name).write_text(json.dumps({within: passages}), encoding="utf-8")
        rows = [
            {"participant": who, "title": "", "item": k + 1, "question": asked["question"], "response": "D", "answer": "D",
             "correct": int(who == "p1" or k == 0)}
            for who in ("p1", "p2")
            for k, asked in enumerate(passages[0]["questions"])
        ]  # fmt: skip
        rows.append(rows[0] | {"question": "Of no passage?"})
        pd.DataFrame(rows).to_csv(human / f"{kind}_qa.csv", index=False)
    monkeypatch.setenv("MEMSCI_DATA", str(tmp_path))
    for cached in (module._passages, module.shares):
        cached.cache_clear()
    yield tmp_path
    for cached in (module._passages, module.shares):
        cached.cache_clear()


def test_answers_belong_to_the_passage_whose_question_they_answer(folder):
    found = source.answers("narrative")
    assert len(found) == 6 and set(found["reading"]) == {0} and found["item"].tolist() == [0, 1, 2] * 2
    assert found.groupby("participant")["correct"].mean().tolist() == [1, pytest.approx(1 / 3)]
    assert source.readings("factual")[3].items[1].options[source.readings("factual")[3].items[1].answer] == "Ben"
    assert module.shares(0) == (1.0, 0.5, 0.5) and np.isnan(module.shares(1)).all()


def test_without_the_data_it_is_said_where_they_are_from(monkeypatch, tmp_path):
    module._passages.cache_clear()
    monkeypatch.delenv("MEMSCI_DATA", raising=False)
    with pytest.raises(MemsciError, match="do not come with the package.*simulating-memory.*MEMSCI_DATA"):
        source.readings()
    with pytest.raises(MemsciError, match="does not hold the passages.*simulating-memory"):
        source.readings(folder=tmp_path)


def test_a_learner_that_knows_is_right_and_one_that_reverses_is_not(folder):
    rows = pd.DataFrame(module.measured([2.0, 1.0, -1.0], 0)).set_index(["measure", "item"])["value"]
    assert rows["correct"].tolist() == [1, 1, 0]
    assert rows["agreement"].item() == pytest.approx(0.866, abs=1e-3)  # 1, .5, .5 against 2, 1, -1
    assert not any(row["measure"] == "agreement" for row in module.measured([2.0, 1.0, -1.0], 1))  # nobody read it


def test_humanlikeness_is_one_for_the_same_scores(folder):
    shares = {"like people": [1.0, 1 / 3], "all right": [1.0, 1.0]}
    table = pd.DataFrame(
        [
            {"method": method, "condition": "factual", "list": number, "measure": "correct", "value": value}
            for method, values in shares.items()
            for number, value in enumerate(values)
        ]
    )
    found = phenomena.humanlikeness(table).set_index("method")["humanlikeness"]
    assert found["like people"] == pytest.approx(1) and found["all right"] == pytest.approx(2 / 3)
    assert found["all right"] <= found["People's mean"] == pytest.approx(2 / 3)  # both a third off
    of_a_run = table.rename(columns={"list": "partition"})
    pd.testing.assert_frame_equal(phenomena.humanlikeness(of_a_run), phenomena.humanlikeness(table))


def test_it_runs_is_tested_and_drawn(folder, base):
    found = phenomena.human_qa(base, lists=[0, 10], methods=["Base", "In context", "MEGa"], progress=False)
    assert set(found.table["method"]) == {"Base", "In context", "MEGa", module.AFTER_RECALL}
    right = found.table[found.table["measure"] == "correct"]
    assert right.groupby(["method", "list"]).size().eq(3).all() and set(right["condition"]) == {"factual", "narrative"}
    assert found.test()["n"].max() == 1 and len(found.figure().axes) == 2


def test_the_shipped_base_and_a_passage_that_is_none_are_refused(folder, base, monkeypatch):
    with pytest.raises(MemsciError, match="20 passages.*20 was asked for"):
        module.material(20)
    monkeypatch.setattr(base, "name", "memsci/base")
    with pytest.raises(MemsciError, match="reads ordinary English"):
        measure("human_qa", "Base", base, 0)


def halves(answers: pd.DataFrame, draws: int = 200) -> float:
    """How far one half of the people agrees with the other, mean over passages."""
    draw, means = np.random.default_rng(0), []
    for _, own in answers.groupby("reading"):
        wide = own.pivot(index="participant", columns="item", values="correct").to_numpy(float)
        found = []
        for _ in range(draws):
            mixed = wide[draw.permutation(len(wide))]
            half = len(wide) // 2
            found.append(spearmanr(mixed[:half].mean(axis=0), mixed[half : 2 * half].mean(axis=0)).statistic)
        means.append(np.nanmean(found))
    return float(np.mean(means))


@needs_data
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_what_people_knew_is_what_the_package_says(monkeypatch):
    monkeypatch.setenv("MEMSCI_DATA", str(DATA))
    module._passages.cache_clear()
    told = phenomena.human("human_qa").set_index(["measure", "condition"])["value"]
    for kind in module.KINDS:
        assert source.answers(kind)["correct"].mean() == pytest.approx(told["correct", kind], abs=5e-4)
        assert halves(source.answers(kind)) == pytest.approx(told["agreement", kind], abs=0.03)
    sizes = [len(memory.text.split()) for number in range(20) for memory in module.material(number)]
    assert 40 <= min(sizes) <= max(sizes) <= 140
    assert " ".join(m.text for m in module.material(3)).split() == source.readings("factual")[3].text.split()
