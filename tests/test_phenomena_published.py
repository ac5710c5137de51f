"""What is told of the fits is what the published table says."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import DATA

from memsci.errors import MemsciError
from memsci.measures.statistics import paired
from memsci.phenomena import attribute, humanlikeness
from memsci.phenomena.reference import human

ROOT = Path(__file__).parents[1]
if not (ROOT / "docs").is_dir():
    pytest.skip("documents and figures are not in a source distribution", allow_module_level=True)

FITS = pd.read_csv(ROOT / "figures" / "phenomena" / "peers_fits.csv")
NOTE = (ROOT / "docs" / "notes" / "phenomena.md").read_text(encoding="utf-8").split("The gate's context, fitted")[1]


def test_nats_of_each_model_are_those_of_the_table():
    rows = re.findall(r"^\| (uniform|item|context|both)[^|]*\| \d+ \| ([\d.]+) \| ([\d.]+),", NOTE, re.MULTILINE)
    means = FITS.groupby("model")[["fitted", "held_out"]].mean().round(2)
    assert {(model, float(a), float(b)) for model, a, b in rows} == set(means.itertuples(name=None))


def test_how_many_people_are_better_with_items_is_what_the_table_says():
    row = paired(FITS, "both", "context", value="held_out", unit="subject", column="model").iloc[0]
    assert f"better for {row['losses']} of {row['n']}\n  people, worse for {row['wins']}" in NOTE
    assert f"{row['difference']:.2f} nats a list".replace("-", "−") in NOTE and row["p"] < 1e-4


def of_lists(run: str) -> pd.Series:
    """Means over the lists of a published run, by method, condition and measure, in percent."""
    values = pd.read_csv(ROOT / "figures" / "runs" / run / "partitions.csv.gz")
    return 100 * values.groupby(["method", "condition", "measure"])["value"].mean()


def section(title: str) -> str:
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").split(f"**{title}**")[1]
    return " ".join(told.split("<!-- table")[0].split())


def test_where_effects_come_from():
    table = lambda run, name: pd.read_csv(ROOT / "figures" / "runs" / run / f"{name}.csv")
    for run in ("interference", "interference_plain"):
        means = table(run, run.replace("_", "-"))
        assert attribute(means, "harm", "RI") == attribute(means, "harm", "PI") == "gate"
        assert attribute(means[means["method"] != "MEGa, true gate"], "harm", "RI") == ""  # without it nothing tells
    both = pd.concat([table("misinformation", "misinformation"), table("misinformation-full", "misinformation")])
    assert attribute(both, "loss", "standard, no source") == "gate"
    plain = pd.concat(
        [table("misinformation_plain", "misinformation-plain"), table("misinformation-full", "misinformation")]
    )
    assert attribute(plain, "loss", "modified") == "shared storage" and attribute(plain, "loss", "standard") != "gate"
    with pytest.raises(MemsciError, match="condition must be one of"):
        attribute(both, "loss", "RI")


def test_interference_in_plain_english_is_told_as_it_is_in_the_tables():
    told, found = section("Interference, in plain English, on SmolLM2"), of_lists("interference_plain")
    free, both = (
        {method: round(found[method, condition, "answer"]) for method in ("MEGa", "RAG", "In context")}
        for condition in ("D–E, A–C", "A–B, A–C")
    )
    assert f"in {free['MEGa']} % of the controls and in {both['MEGa']} % after A–C" in told
    assert f"RAG's in {free['RAG']} and {both['RAG']} %" in told
    free["In context"] = round(found["In context"].unstack("measure")["answer"].loc[["A–B, D–E", "D–E, A–C"]].mean())
    assert f"in context {free['In context']} and {both['In context']} %" in told
    harm = {side: round(found["In context", side, "harm"] + 1e-9) for side in ("RI", "PI")}
    assert f"what comes later costs {harm['RI']} points" in told and harm["PI"] < 0
    tests = pd.read_csv(ROOT / "figures" / "runs" / "interference_plain" / "interference-plain_tests.csv").set_index("claim")
    assert f"p = {tests.loc['In context: PI above RI', 'p_holm']:.3f}".replace("0.", ".") in told
    assert tests.loc["In context: PI above RI", "verdict"] == "opposite"
    assert tests.loc["MEGa knows B against a foil after A–C as after D–E", "verdict"] == "holds"
    assert f"so that its {round(found['MEGa', 'RI', 'harm'])} points are which of two facts is said" in told


def test_interference_of_all_weights_is_told_as_it_is_in_the_tables():
    told, found = section("Interference, all weights trained"), of_lists("interference-full")["Full"]
    tests = pd.read_csv(ROOT / "figures" / "runs" / "interference-full" / "interference_tests.csv").set_index("claim")
    more, foil = (tests.loc[name] for name in tests.index if name.startswith("Full"))
    points = lambda row: [round(100 * row[name] + 1e-9) for name in ("estimate", "low", "high")]
    assert "above its PI by {} points ({} to {}; p < .0001)".format(*points(more)) in told and more["p_holm"] < 1e-4
    assert "B loses {} points ({} to {}; p = .0007)".format(*points(foil)) in told and round(foil["p_holm"], 4) == 0.0007
    assert {more["verdict"], foil["verdict"]} == {"holds"}
    controls = {side: found[side, "answer"] for side in ("A–B, D–E", "D–E, A–C")}
    b, c = controls["A–B, D–E"] - found["RI", "harm"], controls["D–E, A–C"] - found["PI", "harm"]
    assert f"(B in {round(b)} %, C in {int(c)} % after both)" in told
    assert f"{round(-found['PI', 'harm'] + 1e-9)} of the points are a PI below 0" in told
    assert f"what came first harms C by {found['PI', 'harm, recall']:.0f} points" in told
    assert f"B falls to 0 from {found['A–B, D–E', 'recall']:.0f} %" in told
    assert found["A–B, D–E", "recall"] == found["RI", "harm, recall"]  # so that nothing of it is left
    beside = of_lists("interference").xs("harm, foil", level="measure")
    assert f"(MEGa {beside['MEGa', 'RI']:.0f} points, RAG, which has the text, {beside['RAG', 'RI']:.0f})" in told
    more = found["RI", "harm, foil"] - beside["MEGa", "RI"]
    assert f"Full loses more than MEGa is not shown ({more:.0f} points more;" in told
    assert f"after A–B ({c / 100:.2f}) than after D–E ({controls['D–E, A–C'] / 100:.2f})".replace("0.", ".") in told
    assert f"and C gains {round(-found['PI', 'harm, foil'])}" in told


def test_interference_on_the_next_base_is_told_as_it_is_in_the_tables():
    told, found = section("Interference, on the next base"), of_lists("interference-base-2")
    tests = pd.read_csv(ROOT / "figures" / "runs" / "interference-base-2" / "interference_tests.csv").set_index("claim")
    points = lambda claim: [round(100 * v + 1e-9) for v in tests.loc[claim, ["estimate", "low", "high"]]]
    minus = lambda text: text.replace("-", "−")
    for method, unit in (("Full", " points"), ("LoRA", "")):
        row = tests.loc[f"{method}: RI above PI"]
        assert "{}{unit} ({} to {}; p < .0001".format(*points(row.name), unit=unit) in told
        assert row["verdict"] == "holds" and row["p_holm"] < 0.0001
    harm = found.xs("harm", level="measure")
    assert f": {round(-harm['LoRA', 'PI'])} of its points are" in told
    foil = points("Full knows B against a foil less after A–C than after D–E")
    assert minus("its B loses {} points ({} to {}), where it".format(*foil)) in told
    later, earlier = harm["In context"][["RI", "PI"]]
    assert f"harmed by {later:.0f} points by what came later and by {earlier:.0f} by what came first" in told
    weighed = tests.loc["MEGa knows B against a foil after A–C as after D–E"]
    assert "its B loses {} points against a foil".format(round(100 * weighed["estimate"])) in told
    assert weighed["verdict"] == "differs"
    order = tests.loc["In context: PI above RI"]
    assert minus("(the difference: {} to {})".format(*points(order.name)[1:])) in told and order["verdict"] == "open"
    controls = lambda method: found[method].xs("answer", level="measure")[["A–B, D–E", "D–E, A–C"]].round().astype(int)
    assert "(Full answers {} and {} % of".format(*controls("Full")) in told and set(controls("MEGa")) == {86}
    assert "the context {} and {}.)".format(*controls("In context")) in told
    assert "to be drawn ({} and {} %)".format(*controls("LoRA")) in told and controls("LoRA").mean() < 20


def test_a_lifetime_is_told_as_it_is_in_the_tables():
    told = section("A lifetime")
    rows = pd.read_csv(ROOT / "figures" / "runs" / "lifetime" / "lifetime.csv").query("condition == 'day 8'")
    last = 100 * rows.set_index(["method", "measure"])["mean"]
    both = lambda method: [round(last[method, measure]) for measure in ("qa", "recalled qa")]
    groups, one, never = "MEGa, slept in groups", "MEGa, slept", "MEGa"
    assert '("MEGa") answers {} % directly and {} % after a recall'.format(*both(never)) in told
    direct, after = both(groups)
    assert f"it answers {after} % after a recall, with .{last[groups, 'share of bytes']:.0f} of the bytes" in told
    assert f"and {last[groups, 'slept']:.0f} % of its memories asleep" in told and f"are direct answers, {direct} %" in told
    opens = [round(last[method, "correct gate"]) for method in (groups, never)]
    assert "the right memory opening as often ({} and {} %)".format(*opens) in told
    assert round(last[never, "knowledge"] - last[groups, "knowledge"], 6) == 2 and "general knowledge 2 points lower" in told
    assert both(one)[0] == 59 and f"as many directly and {both(one)[1]} % after a recall" in told
    assert f"takes .{last[one, 'share of bytes']:.0f} of the bytes" in told and last[one, "knowledge"] == 52.5
    assert "leaves {} % and {} %, one LoRA".format(*both("MEGa, merged")) in told
    assert "all in turn {} and {} %, all texts".format(*both("LoRA")) in told
    assert "in all weights {} and {} %, and general".format(*both("Full batch")) in told
    assert last["Full batch", "knowledge"] == pytest.approx(30.5)


def test_misinformation_of_all_weights_is_told_as_it_is_in_the_tables():
    told, found = section("Misinformation, all weights trained"), of_lists("misinformation-full")
    loss = found.xs("loss", level="measure")
    both = lambda method: [round(loss[method, test]) for test in ("standard", "standard, no source")]
    assert "Full {} points of the standard test with its source, {} without".format(*both("Full")) in told
    assert "LoRA {} and {})".format(*both("LoRA")) in told
    for method, shown in (("Full", "in {} and {} % of events (Full)"), ("LoRA", "in {} and {} % (LoRA)")):
        misled = [round(found[method, c, "standard"]) for c in ("misled", "misled, no source")]
        assert shown.format(*misled) in told
    beside = of_lists("misinformation")["MEGa", "modified, no source", "loss"]
    assert f"MEGa loses {beside:.0f} by its own gate, as many as Full ({loss['Full', 'modified, no source']:.0f})" in told
    tests = pd.read_csv(ROOT / "figures" / "runs" / "misinformation-full" / "misinformation_tests.csv").set_index("claim")
    full, lora = (tests.loc[f"{method}: a report costs in the modified test"] for method in ("Full", "LoRA"))
    percent = lambda value: f"{100 * value + 1e-9:.0f}".replace("-", "−")
    assert f"Of the modified test Full loses {round(100 * full['estimate'])} points ({percent(full['low'])} to" in told
    assert f"p = {full['p']:.2f}, {full['p_holm']:.2f} after Holm: open".replace("0.", ".") in told
    assert f"LoRA {round(100 * lora['estimate'])} ({percent(lora['low'])} to {percent(lora['high'])})" in told
    assert set(tests.loc[[full.name, lora.name], "verdict"]) == {"open"}
    assert f"fact in {round(found['Full', 'control', 'modified'])} %" in told


def test_misinformation_in_plain_english_is_told_as_it_is_in_the_tables():
    told, found = section("Misinformation, in plain English, on SmolLM2"), of_lists("misinformation_plain")
    loss = found.xs("loss", level="measure")
    assert f"costs MEGa {round(loss['MEGa', 'standard, no source'])} points of the standard test" in told
    for method in ("MEGa", "In context"):
        assert loss[method][["modified", "modified, no source"]].tolist() == [0, 0]
    assert found["MEGa", "control", "modified"] == found["MEGa", "misled, no source", "modified"] == 100
    assert f"a report costs {round(loss['MEGa', 'standard'])} points (0 to 10)" in told
    half_up = lambda value: int(value + 0.5)
    misled, free = (
        [half_up(found["In context", c, "standard"]) for c in cs] for cs in (("misled", "misled, no source"), ("control",))
    )
    assert "chooses the original in {} and {} % of events".format(*misled) in told and free == [100]
    assert f"hardly answer ({round(found['In context', 'control', 'answer'])} % of the controls)" in told
    assert f"its {round(loss['RAG', 'modified, no source'])} points in the modified test" in told
    base = [round(found["Base", "misled", test]) for test in ("standard", "modified")]
    assert "prefers the original in {} and {} % of these events".format(*base) in told


def test_peoples_questions_are_told_as_they_are_in_the_tables():
    told, found = section("People's questions about what they read"), of_lists("human_qa")
    of = lambda name, measure="correct": [found[name, kind, measure] for kind in ("factual", "narrative")]
    right = {name: [round(value) for value in of(name)] for name in found.index.unique("method")}
    for place, what in enumerate(("the whole passage", "the whole story")):
        shown = f"MEGa{' has' * (not place)} {{}} %{' right' * (not place)}, RAG {{}} %, {what} in context {{}} %"
        assert shown.format(*(right[name][place] for name in ("MEGa", "RAG", "In context"))) in told
    assert "told nothing, has {} and {} % where".format(*right["Base"]) in told
    assert "After its recall MEGa has {} and {} %, not more".format(*right["MEGa, after recall"]) in told
    people = human("human_qa").set_index(["measure", "condition"])["value"]
    assert "from memory {:.0f} and {:.0f} %".format(*100 * people["correct"]) in told
    bare = lambda text: text.replace("0.", ".").replace("-", "−")
    half = people["agreement"]
    assert bare("by {:.2f} and {:.2f} only".format(*half)) in told
    assert bare("would reach {:.2f} and {:.2f}.".format(*(2 * half / (1 + half)) ** 0.5)) in told
    folder = ROOT / "figures" / "runs" / "human_qa"
    curves = pd.read_csv(folder / "human-qa.csv").set_index(["method", "measure", "condition"])
    shown = [curves.loc[("MEGa", "agreement", kind), ["mean", "low", "high"]] for kind in ("factual", "narrative")]
    assert bare("MEGa has {:.2f} ({:.2f} to {:.2f}) and {:.2f} ({:.2f} to {:.2f})".format(*shown[0], *shown[1])) in told
    assert set(curves["n"]) == {10}
    tests = pd.read_csv(folder / "human-qa_tests.csv").set_index("claim")
    holding = tests[tests["verdict"] == "holds"]
    assert holding.index.tolist() == [
        f"MEGa knows more of {kind} passages than the base" for kind in ("factual", "narrative")
    ]
    assert (
        bare("(p = {:.2f} and {:.2f} after Holm over eight claims)".format(*holding["p_holm"])) in told and len(tests) == 8
    )
    facts, story = (
        tests.loc[f"In context: more is right of {k} passages than MEGa has right"] for k in ("factual", "narrative")
    )
    points = lambda row, sign: sorted(round(sign * 100 * row[name]) for name in ("low", "high"))
    shown = "learnt ({:.0f} points; {} to {}; p = {:.2f}, {:.2f} after Holm)"
    assert bare(shown.format(-100 * story["estimate"], *points(story, -1), story["p"], story["p_holm"])) in told
    shown = "more ({:.0f}; {} to {}; {:.2f} after Holm)"
    assert bare(shown.format(100 * facts["estimate"], *points(facts, 1), facts["p_holm"])) in told


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "human" / "factual_qa.csv").exists(), reason="needs people's answers: MEMSCI_DATA")
def test_how_humanlike_scores_are_is_told_as_the_formula_has_it(monkeypatch):
    monkeypatch.setenv("MEMSCI_DATA", str(DATA))
    told = section("People's questions about what they read")
    found = humanlikeness(pd.read_csv(ROOT / "figures" / "runs" / "human_qa" / "partitions.csv.gz"))
    alike = found.set_index(["condition", "method"])["humanlikeness"].round(2)
    mean, facts, stories = "People's mean", alike["factual"], alike["narrative"]
    shown = f"(humanlikeness {facts['MEGa']:.2f} for MEGa, {facts['RAG']:.2f} for RAG; {facts[mean]:.2f} for a reader"
    assert shown.replace("0.", ".") in told
    shown = f"({stories['MEGa']:.2f} and {stories['RAG']:.2f} against {stories[mean]:.2f})"
    assert shown.replace("0.", ".") in told


def test_list_strength_in_plain_english_is_told_as_it_is_in_the_tables():
    told, found = section("List strength, in plain English, on SmolLM2"), of_lists("list_strength_plain")["MEGa"]
    of = lambda task: [round(found[f"pure {strength}", task]) for strength in ("weak", "strong")]
    assert "{} % of the questions are answered, with all steps {} %".format(*of("cued recall")) in told
    assert "tell {} and {} % of their facts".format(*of("free recall, w = 0")) in told
    ratio = found["free recall, w = 1", "ratio of ratios"] / 100
    assert f"{ratio:.2f} in free recall where activation is put in" in told
    assert found.xs("ratio of ratios", level="measure").drop("free recall, w = 1").round(2).eq(100).all()


def test_cues_in_plain_english_are_told_as_they_are_in_the_tables():
    told, gate = (section("Cues, in plain English, on SmolLM2"), of_lists("cues_plain").xs("gate", level="measure").round())
    share = {method: int(gate[method, "0.2"]) for method in ("MEGa", "MiniLM keys")}
    assert (
        f"find it in {share['MEGa']} % with the practical gate" in told and f"{share['MiniLM keys']} % with MiniLM" in told
    )
    own, other = (gate[method].astype(int) for method in ("MEGa", "MiniLM keys"))
    assert f"(what, where and who 100 %, when {own['when']} %)" in told and set(own[["what", "where", "who"]]) == {100}
    assert f"by what {other['what']} %, who {other['who']}, where {other['where']}, when {other['when']}." in told
