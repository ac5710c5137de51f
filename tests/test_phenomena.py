"""The frame of phenomena: tidy tables, claims put to the test, people's values, plain files."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

from memsci import phenomena
from memsci.errors import MemsciError
from memsci.figures.caption import caption
from memsci.learners import BaseAlone, MEGa
from memsci.measures.statistics import holm, sign_flip
from memsci.phenomena import experiment, figures, reference, result
from memsci.phenomena.result import ABOUT, Claim, Phenomenon, tidy
from memsci.runs import report

matplotlib.use("Agg")

CLAIMS = (
    Claim("A is above B", "share", {"method": "A", "condition": "x"}, {"method": "B"}),
    Claim("B is below A", "share", {"method": "B"}, {"method": "A"}, kind="less"),
    Claim("A is above one half", "share", {"method": "A"}, 0.5, by_construction=True),
    Claim("A is as A", "share", {"method": "A", "condition": "x"}, {"condition": "y"}, kind="equal"),
    Claim("C is above A", "share", {"method": "C"}, {"method": "A"}),
)


@pytest.fixture
def made(monkeypatch) -> Phenomenon:
    monkeypatch.setattr(result, "ABOUT", dict(ABOUT))
    phenomena.result.about("planted", "A planted effect", CLAIMS)
    rng = np.random.default_rng(0)
    rows = [
        {"list": k, "method": m, "condition": c, "measure": "share", "item": "NULL", "value": level + rng.normal(0, 0.02)}
        for k in range(10) for m, level in (("A", 0.8), ("B", 0.6)) for c in "xy" for _ in range(3)
    ]  # fmt: skip
    return Phenomenon("planted", tidy(rows, phenomenon="planted", seed=0), protocol={"seed": 0})


def test_claims_are_tested_over_lists_never_over_queries(made):
    tests = made.test().set_index("claim")
    assert tests["n"].tolist() == [10, 10, 10, 10, 0]
    rows = made.table[(made.table["condition"] == "x")]
    by_list = rows.pivot_table(index="list", columns="method", values="value")
    d = by_list["A"] - by_list["B"]
    assert tests.loc["A is above B", "estimate"] == pytest.approx(d.mean())
    assert tests.loc["A is above B", "p"] == sign_flip(d)
    assert tests["verdict"].tolist() == ["holds", "holds", "holds", "holds", "not run"]
    assert tests["by_construction"].tolist() == [False, False, True, False, False]


def test_an_interval_without_width_shows_that_nothing_differs_only_where_it_must(made):
    floor = Phenomenon("planted", made.table.assign(value=0.0))
    [claim] = [one for one in CLAIMS if one.kind == "equal"]
    found = floor.test([claim, replace(claim, by_construction=True)])
    assert found[["low", "high"]].eq(0).all(axis=None) and found["verdict"].tolist() == ["open", "holds"]
    assert [result.told(row) for row in found.itertuples()] == ["open", "holds, by construction"]


def test_a_caption_counts_the_lists_of_what_is_drawn(made):
    other = made.table[made.table["list"] < 2].assign(measure="undrawn")
    both = Phenomenon("planted", pd.concat([made.table, other]))
    assert "Means over n = 2 to 10 lists" in report._of_phenomenon(both, []).replace("–", " to ")
    result.about("planted", "A planted effect", CLAIMS, drawn=("share",))
    assert "Means over n = 10 lists" in report._of_phenomenon(both, [])


def test_a_caption_tells_what_holds_by_construction_and_what_could_not_hold(made):
    said = report._of_phenomenon(made, [])
    assert "Two-sided sign-flip tests (exact), a 90 % interval for what is to be within a margin; p after Holm's" in said
    assert "A is above one half (n = 10): holds, by construction; A is as A (n = 10, within ± 0.05): holds;" in said
    assert "not run: C is above A." in said and "could hold" not in said
    assert "over the claims of this figure, but for those by construction: " in said
    few = Phenomenon("planted", made.table[made.table["list"] < 6])  # twice 2/2^6, the least that Holm leaves, is above .05
    assert "With n = 6 no p of these tests can be below 0.05" in report._of_phenomenon(few, [])
    assert few.test()["verdict"].tolist()[:3] == ["open", "open", "holds"]


def test_intervals_within_lists_pass_no_end_of_a_scale_and_the_caption_says_so(made, monkeypatch):
    table = made.table.assign(value=[0.0 if c == "x" else float(k % 20 > 2) for k, c in enumerate(made.table["condition"])])
    ends = {}
    for bounds in ({}, {"share": result.SHARE}):
        phenomena.result.about("planted", "Planted", (), within=True, bounds=bounds)
        ends[bool(bounds)] = Phenomenon("planted", table).shown()[["low", "high"]]
        said = report._of_phenomenon(Phenomenon("planted", table), [])
        assert "Holm" not in said  # nothing is corrected
        assert ("(Cousineau and Morey), cut where the scale ends." in said) == bool(bounds)
    assert ends[False]["low"].min() < 0 and ends[False]["high"].max() > 1
    assert ends[True].to_numpy().tolist() == ends[False].clip(0, 1).to_numpy().tolist()


BUILT = {  # what likeness, arithmetic or the material must give
    "recognition": {"lures of a studied kind are harder to tell", "stories with one fact changed are harder than with all"},
    "cues": {
        *(f"Of {share} of the words MEGa recalls more facts than they hold" for share in (0.4, 0.2)),
        *(f"what happened is a better cue than {sort}" for sort in ("who", "where", "when")),
    },
    "list_length": {
        "of 200 memories the right one is found less often than of 10", "recognition is worse among 200 than among 10",
    },
    "misinformation": {"a report without its source costs in the standard test", "a report costs nothing"},
    "false_memory": {"the lure is more familiar than other lists' lures", "and than the list's own words left out"},
    "free_recall": {
        "Without a context recall knows no order in time", "People's context begins late in the list",
        "Without a context like follows like, more than with shuffled keys",
        "People's context brings neighbours in time together",
        "Without a context kinds come together, more than with shuffled keys",
        "Kinds come together in people's context, too",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BUILT))
def test_what_must_hold_is_marked_and_what_can_fail_is_not(name):
    claims = ABOUT[name].claims
    text = lambda claim: re.sub("^(MEGa|MEGa, true gate|paper's keys|MiniLM keys|TF-IDF keys): ", "", claim.text)
    assert {text(claim) for claim in claims if claim.by_construction} == BUILT[name]
    # Keys that know no meanings need not take a lure for its list, nor keys that were not trained so find by what happened.
    free = {claim.text.split(":")[0] for claim in claims if text(claim) in BUILT[name] and not claim.by_construction}
    others = {"false_memory": {"paper's keys", "TF-IDF keys"}, "cues": {"MiniLM keys", "TF-IDF keys"}}
    assert free == others.get(name, set())


def test_a_fan_of_words_is_arithmetic_but_for_the_place_of_foils():
    built = {claim.text for claim in ABOUT["fan"].claims if claim.by_construction}
    assert len(built) == 4 and all(text.startswith("TF-IDF keys: ") for text in built)
    assert not any("foils" in text and "place" in text for text in built)


def test_one_life_is_not_lives():
    one, five = ({"n": [n], "low": [low]} for n, low in ((1, np.nan), (5, 0.5)))
    assert figures.bars(pd.DataFrame(one), unit="life") == "1 life: no interval"
    assert figures.bars(pd.DataFrame(five), unit="life") == "95 % interval over 5 lives"
    assert figures.bars(pd.DataFrame(five), unit="person") == "95 % interval over 5 people"
    assert ABOUT["lifetime"].unit == "life"
    means = pd.DataFrame({"mean": [0.5], "low": [np.nan], "high": [np.nan], "n": [1]})
    assert caption("A life", means, unit="life").startswith("A life. Means over n = 1 life: too few")


@pytest.mark.parametrize("name", sorted(ABOUT))
def test_a_caption_says_whose_values_are_drawn_beside_the_models(name):
    cited = set(reference.human(name)["citation"])
    assert (
        not cited or any(re.split(r"[ ,]", source)[0] in ABOUT[name].note for source in cited) or "arXiv" in ABOUT[name].note
    )


def test_p_of_the_claims_that_could_fail_are_adjusted_together(made):
    tests = made.test()
    family = tests["p"].notna() & ~tests["by_construction"]
    assert tests.loc[family, "p_holm"].tolist() == holm(tests.loc[family, "p"]).tolist()
    assert tests.loc[~family, "p_holm"].isna().all()


@pytest.mark.parametrize(
    ("kind", "of", "over", "verdict"),
    [
        ("more", "B", "A", "opposite"), ("equal", "A", "B", "differs"), ("less", "A", "B", "opposite"),
    ],
)  # fmt: skip
def test_what_is_the_other_way_round_is_told(made, kind, of, over, verdict):
    claim = Claim("so", "share", {"method": of}, {"method": over}, kind=kind)
    assert made.test([claim])["verdict"].item() == verdict


def test_few_or_noisy_lists_show_no_equality(made):
    few = Phenomenon("planted", made.table[made.table["list"] < 3])
    assert few.test()["verdict"].tolist()[:4] == ["open"] * 4
    noisy = made.table.assign(value=np.random.default_rng(1).normal(0, 1, len(made.table)))
    assert Phenomenon("planted", noisy).test([CLAIMS[3]])["verdict"].item() == "open"


def test_both_sides_need_the_same_lists(made):
    lacking = made.table[(made.table["method"] == "A") | (made.table["list"] < 9)]
    with pytest.raises(MemsciError, match="same lists"):
        Phenomenon("planted", lacking).test()


def test_a_result_comes_back_from_plain_files(made, tmp_path):
    events = pd.DataFrame({"subject": [1], "list": [1], "position": [1], "trial_type": ["study"], "item": ["NA"]})
    made = Phenomenon("planted", made.table, events, {"lists": 10})
    back = phenomena.open(made.save(tmp_path / "planted"))
    pd.testing.assert_frame_equal(back.table, made.table, check_dtype=False)
    pd.testing.assert_frame_equal(back.events, events, check_dtype=False)
    pd.testing.assert_frame_equal(back.test(), made.test())
    assert back.protocol == {"lists": 10}
    assert {path.name for path in (tmp_path / "planted").iterdir()} == {
        "table.csv", "tests.csv", "human.csv", "events.csv", "phenomenon.json",
    }  # fmt: skip
    with pytest.raises(MemsciError, match="exists already"):
        made.save(tmp_path / "planted")
    with pytest.raises(MemsciError, match="cannot be read"):
        phenomena.open(tmp_path)


def test_a_table_is_refused_where_it_lacks_something(made):
    with pytest.raises(MemsciError, match="no finite value"):
        tidy([{"list": 0, "measure": "a", "value": float("nan")}], phenomenon="planted")
    with pytest.raises(MemsciError, match="column"):
        Phenomenon("planted", made.table.drop(columns="possible"))
    with pytest.raises(MemsciError, match="phenomenon must be one of"):
        Phenomenon("unheard of", made.table)


FILE = """
[[value]]
measure = "share"
condition = ["x", "y"]
value = [0.5, 0.25]
checked = "read"
citation = "Somebody 1999"
[[value]]
measure = "share"
condition = "z"
value = 0.125
checked = "memory"
citation = "Somebody else"
"""


def test_what_nobody_checked_is_never_shown(made, monkeypatch, tmp_path):
    whole = reference.parse("planted", FILE)
    assert whole["value"].tolist() == [0.5, 0.25, 0.125] and whole["condition"].tolist() == ["x", "y", "z"]
    (tmp_path / "planted.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert made.human["value"].tolist() == [0.5, 0.25]
    assert reference.human("planted", unchecked=True)["value"].tolist() == [0.5, 0.25, 0.125]
    figure = made.figure()
    drawn = [text.get_text() for ax in figure.axes for text in ax.get_xticklabels()]
    assert "z" not in drawn and drawn.count("y") == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('checked = "read"', "checked of 'share'"), ('citation = "Somebody 1999"', "lacks"), ("[0.5, 0.25]", "2 conditions"),
    ],
)  # fmt: skip
def test_a_file_of_values_is_refused_where_it_is_wrong(change, says):
    wrong = {"checked": 'checked = "surely"', "citation": "", "[0.5, 0.25]": "0.5"}
    text = FILE.replace(change, next(new for start, new in wrong.items() if change.startswith(start)))
    with pytest.raises(MemsciError, match=says):
        reference.parse("planted", text)


def test_every_value_of_people_says_where_it_is_from():
    names = [path.name.removesuffix(".toml") for path in reference.FOLDER.iterdir()]
    assert "free_recall" in names
    for name in names:
        rows = reference.human(name, unchecked=True)
        assert len(rows) and rows["citation"].str.len().gt(10).all(), name


def test_a_figure_has_a_panel_for_each_measure_and_one_for_people(made):
    figure = figures.by_condition(made)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["share"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], "that each come once"), ([0, 0], "that each come once"), ([-1], "the number of a list must be a whole number"),
        ("2", "lists must be a whole number"), (0, "lists must be a whole number from 1 up"),
    ],
)  # fmt: skip
def test_a_list_counts_once_and_there_is_one(base, lists, message):
    for run in (phenomena.fan, phenomena.free_recall):
        with pytest.raises(MemsciError, match=message):
            run(base, lists, progress=False)


def test_learners_of_a_phenomenon_are_some_and_each_once(base):
    with pytest.raises(MemsciError, match="A learner of interference is needed, such as 'MEGa'"):
        phenomena.interference(base, 1, methods=[], progress=False)
    with pytest.raises(MemsciError, match="a learner of fan must be one of 'MEGa'; 'Full' was given"):
        experiment.run("fan", base, 1, methods="Full", progress=False)
    assert experiment.run("fan", base, 1, methods=["MEGa", "MEGa"], progress=False).protocol["methods"] == ["MEGa"]


def test_half_a_result_is_none(base, tmp_path):
    phenomena.fan(base, 1, progress=False).save(tmp_path / "fan")
    table = tmp_path / "fan" / "table.csv"
    table.write_bytes(table.read_bytes().rpartition(b'"')[0])
    with pytest.raises(MemsciError, match="no whole result of a phenomenon"):
        phenomena.open(tmp_path / "fan")


def test_a_base_is_not_its_name():
    for base in ("smollm2", None):
        for make in (MEGa, BaseAlone, lambda base: phenomena.fan(base, 1, progress=False)):
            with pytest.raises(MemsciError, match="A base is needed, not .*: load it first"):
                make(base)
