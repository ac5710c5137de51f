"""Participants, conditions and counterbalancing, and their figure."""

from __future__ import annotations

import doctest

import matplotlib
import numpy as np
import pandas as pd
import pytest

import memsci
from memsci import evaluate, figures
from memsci.errors import MemsciError
from memsci.experiments import design as module
from memsci.experiments.design import Design
from memsci.measures.statistics import within_table

NAMES = ["Ann", "Ben", "Cal", "Dee", "Eve", "Fay"]
ROWS = pd.DataFrame(
    [
        {"item": k, "condition": where, "text": f"{name} ran {where}.", "question": f"Who ran {where}?", "answer": name}
        for k, name in enumerate(NAMES)
        for where in ("near", "far", "away")
    ]
)
ONCE = ROWS.drop(columns="item").iloc[[0, 4, 8, 9, 13, 17]].reset_index(drop=True)  # each row in one condition


def counts(plan: pd.DataFrame, *by: str) -> set[int]:
    return set(plan.groupby(list(by)).size())


def test_a_latin_square_counterbalances_the_materials():
    design = Design(ROWS, participants=6, item="item", seed=3)
    plan = design.table
    assert design.conditions == ["near", "far", "away"] and design.groups == 3 and len(plan) == 6 * 6
    assert counts(plan, "participant", "item") == {1} and counts(plan, "participant", "condition") == {2}
    assert counts(plan, "item", "condition") == {2} and counts(plan, "group", "item", "condition") == {2}
    assert plan.groupby("participant")["seed"].first().tolist() == [3, 4, 5, 6, 7, 8]
    orders = plan.groupby("participant")["item"].agg(tuple)
    assert orders.nunique() > 4 and set(plan.groupby("participant")["position"].agg(tuple)) == {(1, 2, 3, 4, 5, 6)}
    assert Design(ROWS, participants=6, item="item", seed=3).table.equals(plan)


def test_conditions_that_rows_have_and_conditions_between_participants():
    design = Design(ONCE, participants=5)
    assert design.groups == 1 and counts(design.table, "participant") == {6}
    assert counts(design.table, "participant", "condition") == {2}
    assert (design.table["item"] == design.table["memory_id"]).all()
    between = Design(ONCE, participants=6, between=True).table
    assert set(between.groupby("participant")["condition"].nunique()) == {1} and counts(between, "participant") == {2}
    versions = Design(ROWS, participants=3, item="item", between=True).table
    assert counts(versions, "participant", "condition") == {6}


def test_conditions_may_be_settings():
    items = ROWS[ROWS["condition"] == "near"].drop(columns=["condition", "item"])
    plan = Design(items, 4, conditions={"one": {"epochs": 1}, "two": {"epochs": 2}}).table
    assert counts(plan, "memory_id", "condition") == {2} and counts(plan, "participant", "condition") == {3}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"participants": 4, "item": "item"}, "4 participants cannot be put into 3 groups .* Take 3 or 6"),
        ({"participants": 2, "item": "item"}, "Take 3 or 3"),
        ({"participants": 0}, "participants must be a whole number from 1"),
        ({"conditions": "size", "item": "item"}, "no extra column 'size'; they have: item, condition"),
        ({"item": None}, "a column 'item', which the design makes itself: .* item='item'"),
        ({"materials": ROWS.drop(index=1), "item": "item"}, "Item 0 has no row in condition 'far'"),
        ({"materials": ROWS.assign(condition=[*ROWS["condition"][:-1], None]), "item": "item"}, "1 memories have no"),
        ({"materials": ROWS.assign(item=0), "item": "item"}, "Item 0 has two rows in condition 'near'"),
        ({"materials": ROWS.assign(seed=1), "item": "item"}, "a column 'seed', which the design makes"),
        ({"materials": ["Ann ran."]}, "has a question"),
        ({"materials": ONCE.drop(columns="condition"), "conditions": {"one": {}}}, "two or more"),
    ],
)
def test_what_cannot_be_a_design_is_refused(change, says):
    with pytest.raises(MemsciError, match=says):
        Design(**{"materials": ROWS, "participants": 3, **change})


@pytest.fixture
def quick(monkeypatch):
    from memsci.learners.mega import MEGa

    monkeypatch.setattr(MEGa, "recall_tokens", 3)
    return {"encoding": memsci.Encoding(rank=2, epochs=1), "progress": False}


def scored(answers: pd.DataFrame) -> pd.DataFrame:
    return evaluate.score(answers, embed=lambda texts: [[1.0, len(text)] for text in texts])


@pytest.mark.filterwarnings("ignore")
def test_from_a_table_to_a_figure_and_a_mixed_model(base, quick):
    """The way that the documentation shows, in ten lines."""
    smf = pytest.importorskip("statsmodels.formula.api")
    matplotlib.use("Agg")
    design = memsci.Design(ROWS, participants=6, item="item")
    answers = design.run(base, **quick)
    assert list(answers)[:6] == ["participant", "group", "seed", "condition", "item", "method"]
    assert len(answers) == 36 and set(answers["participant"]) == {f"P{k:02}" for k in range(1, 7)}
    plan = design.table.set_index(["participant", "memory_id"])
    found = plan.loc[list(zip(answers["participant"], answers["memory_id"]))].reset_index()
    for name in ("group", "seed", "position", "item", "condition"):
        assert answers[name].tolist() == found[name].tolist()
    assert all(f"ran {condition}" in text for condition, text in zip(answers["condition"], answers["original"]))
    scores = scored(answers)
    assert {"participant", "group", "item", "condition"} <= set(scores)
    ax = figures.conditions(scores, "logprob")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [*dict.fromkeys(answers["condition"])]
    assert ax.get_ylabel() == "log prob of the answer (nats)"
    long = scores[scores["metric"] == "logprob"]
    fitted = smf.mixedlm("value ~ condition", long, groups="participant").fit()
    means = long.groupby("condition")["value"].mean()
    assert fitted.params["condition[T.near]"] == pytest.approx(means["near"] - means["away"])
    matplotlib.pyplot.close("all")


@pytest.mark.filterwarnings("ignore")
def test_settings_are_those_of_the_condition(base, quick, monkeypatch):
    seen = []
    make = module.by_name.make
    monkeypatch.setattr(module.by_name, "make", lambda *what, **how: seen.append(how) or make(*what, **how))
    items = ROWS[ROWS["condition"] == "near"].drop(columns=["condition", "item"])
    design = Design(items, 2, conditions={"flat": {"beta": 0.0}, "sharp": {"beta": 9.0}}, seed=5)
    answers = design.run(base, ways=("direct", "recall first"), similarity="cosine", **quick)
    assert [(how["beta"], how["seed"]) for how in seen] == [(0.0, 5), (9.0, 5), (0.0, 6), (9.0, 6)]
    assert all(how["similarity"] == "cosine" for how in seen) and len(answers) == 2 * 6 * 2
    assert answers.groupby(["participant", "way"])["condition"].value_counts().eq(3).all()
    with pytest.raises(MemsciError, match="a setting of MEGa"):
        Design(items, 2, conditions={"a": {"size": 1}, "b": {}}).run(base)
    assert len(Design(ONCE, 1).run(base, "Base", progress=False)) == 6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by_settings", [False, True])
def test_a_run_that_was_stopped_goes_on_and_gives_the_same(base, quick, monkeypatch, tmp_path, by_settings):
    made = []
    make = module.by_name.make
    monkeypatch.setattr(module.by_name, "make", lambda *what, **how: made.append(how["seed"]) or make(*what, **how))
    once = ONCE.assign(answer=["NA", "1.50", *ONCE["answer"][2:]], rating=[0.1, None, 3, 4, 5, 6])
    conditions = {"flat": {"beta": 0.0}, "sharp": {"beta": 9.0}} if by_settings else "condition"
    design = Design(once.drop(columns="condition") if by_settings else once, 2, conditions)
    whole = design.run(base, ways=("direct", "recall first"), **quick)
    of_each, ask = (2 if by_settings else 1), evaluate.ask
    made.clear()

    def stopped(*given, **how):
        if len(made) > of_each:
            raise KeyboardInterrupt
        return ask(*given, **how)

    monkeypatch.setattr(module.evaluate, "ask", stopped)
    again = {"ways": ("direct", "recall first"), "keep": tmp_path / "kept", **quick}
    with pytest.raises(KeyboardInterrupt):
        design.run(base, **again)
    monkeypatch.setattr(module.evaluate, "ask", ask)
    made.clear()
    pd.testing.assert_frame_equal(design.run(base, **again), whole, rtol=0, atol=0)
    assert made == [1] * of_each  # the first participant's answers were there
    pd.testing.assert_frame_equal(design.run(base, **again), whole, rtol=0, atol=0)
    assert len(made) == of_each
    with pytest.raises(MemsciError, match="another design .its run differ"):
        design.run(base, **{**again, "ways": ("direct",)})
    with pytest.raises(MemsciError, match="another design .its plan differ"):
        Design(once.drop(columns="condition") if by_settings else once, 4, conditions).run(base, **again)


def test_intervals_within_units_are_those_of_the_difference():
    """Of two conditions the interval times √2 is that of the paired difference; levels of units play no part."""
    rng = np.random.default_rng(1)
    near, far = rng.normal(size=(2, 9)) + 10 * rng.normal(size=9)
    frame = pd.DataFrame({"participant": [*range(9)] * 2, "condition": ["near"] * 9 + ["far"] * 9, "value": [*near, *far]})
    made = within_table(frame)
    half = 2.306004 * np.std(near - far, ddof=1) / 3
    assert made["condition"].tolist() == ["near", "far"] and made["n"].tolist() == [9, 9]
    assert (made["high"] - made["mean"]).tolist() == pytest.approx([half / np.sqrt(2)] * 2, rel=1e-6)
    assert made["mean"].tolist() == pytest.approx([near.mean(), far.mean()])
    assert made["sd"].tolist() == pytest.approx([near.std(ddof=1), far.std(ddof=1)])
    moved = frame.assign(value=frame["value"] + 100 * frame["participant"])
    assert (within_table(moved)["high"] - within_table(moved)["low"]).tolist() == pytest.approx([2 * half / np.sqrt(2)] * 2)
    two = within_table(pd.concat([frame.assign(way="a"), frame.assign(way="b")]), ["condition", "way"])
    assert two[["condition", "way"]].values.tolist() == [["near", "a"], ["far", "a"], ["near", "b"], ["far", "b"]]
    with pytest.raises(MemsciError, match="participant 8 has no values in condition 'far'"):
        within_table(frame.iloc[:-1])
    with pytest.raises(MemsciError, match="one condition only"):
        within_table(frame.iloc[:9])


def test_intervals_within_units_end_where_the_scale_ends():
    rng = np.random.default_rng(2)
    shares = {"easy": rng.choice([0.96, 1.0], 12), "middle": rng.uniform(0.2, 0.8, 12), "hard": rng.choice([0.0, 0.04], 12)}
    frame = pd.DataFrame([{"participant": p, "condition": c, "value": v} for c in shares for p, v in enumerate(shares[c])])
    free, cut = (within_table(frame, bounds=bounds).set_index("condition") for bounds in ((-np.inf, np.inf), (0.0, 1.0)))
    assert free.loc["easy", "high"] > 1 and free.loc["hard", "low"] < 0
    assert cut.loc["easy", "high"] == 1 and cut.loc["hard", "low"] == 0
    ends = ["low", "high"]
    assert cut[ends].to_numpy().tolist() == free[ends].clip(0, 1).to_numpy().tolist()
    assert (cut["low"] < cut["mean"]).all() and (cut["mean"] < cut["high"]).all()
    assert cut[["mean", "sd", "n"]].equals(free[["mean", "sd", "n"]])
    with pytest.raises(MemsciError, match="beyond the bounds"):
        within_table(frame, bounds=(0.0, 0.5))


def test_the_figure_of_conditions():
    matplotlib.use("Agg")
    rows = [
        {"participant": p, "condition": c, "way": w, "metric": "qa", "value": (p + k) % 2}
        for p in range(6) for k, c in enumerate(["near", "far"]) for w in ("direct", "recall first")
    ]  # fmt: skip
    ax = figures.conditions(pd.DataFrame(rows), by="way")
    assert ax.get_xlabel() == "condition" and ax.get_ylabel() == "QA accuracy (%)"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["direct", "recall first"] and "within 6 participants" in labels[-1]
    with pytest.raises(MemsciError, match="has no metric 'logprob'"):
        figures.conditions(pd.DataFrame(rows), "logprob")
    with pytest.raises(MemsciError, match="no column 'list'"):
        figures.conditions(pd.DataFrame(rows), condition="list")
    matplotlib.pyplot.close("all")


def test_examples():
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_a_memory_that_was_not_learnt_is_told_of(tmp_path):
    """One epoch teaches nothing."""
    base = memsci.load()
    design = Design(ONCE, participants=1)
    hardly = memsci.Encoding(rank=2, epochs=1)
    with pytest.warns(UserWarning, match="6 of 6 memories of all participants were not learnt word for word"):
        answers = design.run(base, encoding=hardly, keep=tmp_path / "kept", progress=False)
    assert answers["learnt"].tolist() == [False] * 6
    with pytest.warns(UserWarning, match="6 of 6"):
        again = design.run(base, encoding=hardly, keep=tmp_path / "kept", progress=False)
    assert again.equals(answers) and "learnt" not in design.run(base, "RAG", progress=False)


def test_a_few_participants_have_no_interval():
    scores = pd.DataFrame(
        {"participant": [1, 1, 2, 2], "condition": ["near", "far"] * 2, "metric": "qa", "value": [1, 0, 1, 1]}
    )
    ax = figures.conditions(scores, "qa")
    assert "too few for an interval" in str([text.get_text() for text in ax.get_legend().get_texts()])
    bars = [line for box in ax.containers for line in box.lines[2] or ()]
    assert not any(len(segment) and np.ptp(segment, axis=0).any() for bar in bars for segment in bar.get_segments())
