"""Curves of free recall are psifr's own on the same events, and known where they can be counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from memsci.errors import MemsciError
from memsci.phenomena import curves
from memsci.phenomena.people import long, people, psych101

pytestmark = pytest.mark.filterwarnings("ignore")  # psifr takes means of nothing
psifr = pytest.importorskip("psifr.fr", reason="psifr is not installed")


def rows(subject: int, one: int, studied: str, recalled: str) -> list[dict]:
    kinds = (("study", studied), ("recall", recalled))
    return [
        {"subject": subject, "list": one, "position": k, "trial_type": kind, "item": item, "category": item.lower() in "abc"}
        for kind, items in kinds
        for k, item in enumerate(items, start=1)
    ]


@pytest.fixture(scope="module")
def random() -> pd.DataFrame:
    """Recalls with repetitions, intrusions and empty lists, of lists of two lengths."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghij"))
    made = []
    for subject in (1, 2, 3):
        for one in range(1, 9):
            studied = rng.permutation(letters)[: 8 if one % 2 else 10]
            said = rng.choice([*letters, "x", "y"], size=rng.integers(0, 12))
            made += rows(subject, one, "".join(studied), "".join(said))
    return pd.DataFrame(made)


@pytest.fixture(scope="module", params=["random", "PEERS", "Morton 2013"])
def events(request, random) -> pd.DataFrame:
    if request.param == "random":
        return random
    found = people(request.param)
    found = found[found["subject"].isin(found["subject"].unique()[:8])]
    return found[found["list_type"] == "mixed"] if "list_type" in found else found


@pytest.fixture(scope="module")
def merged(events) -> pd.DataFrame:
    more = {"list_keys": ["category"]} if "category" in events else {}
    return psifr.merge_free_recall(events, **more)


def same(ours: pd.Series, theirs: pd.Series) -> None:
    ours, theirs = ours.sort_index(), theirs.dropna().sort_index()
    assert ours.index.tolist() == theirs.index.tolist()
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), atol=1e-12)


def test_serial_position_curve(events, merged):
    theirs = psifr.spc(merged).reset_index().set_index(["subject", "input"])["recall"]
    same(curves.serial_position(events).set_index(["subject", "position"])["value"], theirs)


def test_first_recall(events, merged):
    if len(events["list"].unique()) == 8:  # random lists have two lengths, where psifr wants one
        merged, events = merged[merged["list"] % 2 == 0], events[events["list"] % 2 == 0]
    theirs = psifr.pnr(merged).reset_index().query("output == 1").set_index(["subject", "input"])["prob"]
    same(curves.first_recall(events).set_index(["subject", "position"])["value"], theirs)


def test_lag_crp_and_temporal_factor(events, merged):
    chances = curves.opportunities(events)
    ours = curves.lag_crp(chances).set_index(["subject", "lag"])
    theirs = psifr.lag_crp(merged).reset_index().set_index(["subject", "lag"]).query("possible > 0")
    same(ours["value"], theirs["prob"])
    same(ours["actual"], theirs["actual"].astype(int))
    same(ours["possible"], theirs["possible"].astype(int))
    same(curves.temporal_factor(chances), psifr.lag_rank(merged).set_index("subject")["rank"])


def test_categories(events, merged):
    if "category" not in events:
        pytest.skip("these lists have no categories")
    same(
        curves.category_crp(curves.opportunities(events)),
        psifr.category_crp(merged, "category").reset_index().set_index("subject")["prob"],
    )
    same(curves.clustering(events), psifr.category_clustering(merged, "category").reset_index().set_index("subject")["arc"])


def test_semantic_factor(random):
    items = sorted(set(random["item"]))
    rng = np.random.default_rng(1)
    scores = rng.random((len(items), len(items)))
    scores = scores + scores.T
    merged = psifr.merge_free_recall(
        random.assign(item_index=[items.index(item) for item in random["item"]]), study_keys=["item_index"]
    )
    theirs = psifr.distance_rank(merged, "item_index", -scores).reset_index().set_index("subject")["rank"]
    same(curves.semantic_factor(curves.opportunities(random), items, scores), theirs)


def test_by_hand():
    events = pd.DataFrame(rows(1, 1, "abcd", "dcxca") + rows(1, 2, "abcd", ""))
    position = curves.serial_position(events)
    assert position["value"].tolist() == [0.5, 0.0, 0.5, 0.5] and position["possible"].tolist() == [2] * 4
    assert curves.first_recall(events)["value"].tolist() == [0, 0, 0, 1]
    chances = curves.opportunities(events)
    assert chances["lag"].tolist() == [-3, -2, -1] and chances["actual"].tolist() == [False, False, True]
    assert curves.temporal_factor(chances).tolist() == [1.0]
    assert curves.recalls(events).loc[1].tolist() == [1.5, 0.5]


def test_events_that_are_none_are_refused():
    events = pd.DataFrame(rows(1, 1, "abca", "a"))
    with pytest.raises(MemsciError, match="studied twice"):
        curves.sequences(events)
    with pytest.raises(MemsciError, match="trial_type"):
        curves.sequences(events.assign(trial_type="seen"))
    with pytest.raises(MemsciError, match="The table of events has no column"):
        curves.sequences(events.drop(columns="item"))
    with pytest.raises(MemsciError, match="study must be one of"):
        people("mine")


def test_the_forms_in_which_recalls_go_out():
    events = pd.DataFrame(rows(1, 1, "abcd", "dcxca") + rows(2, 1, "abcd", ""))
    texts = psych101(events)
    assert texts.columns.tolist() == ["text", "experiment", "participant"]
    assert "You recall <<d>>, <<c>>, <<x>>, <<c>>, <<a>>." in texts["text"][0] and "<<nothing>>" in texts["text"][1]
    table = long(events)
    assert table["position"].fillna(-1).tolist() == [4, 3, -1, 3, 1]
    assert table["lag"].fillna(0).tolist() == [0, -1, 0, 0, 0]  # no step from or to a repetition
    assert table["repeat"].tolist() == [False, False, False, True, False]
    assert table["intrusion"].tolist() == [False, False, True, False, False]


def test_steps_of_the_table_for_r_are_those_of_the_lag_crp(events):
    steps = long(events).dropna(subset=["lag"]).groupby(["subject", "lag"]).size()
    counted = curves.lag_crp(curves.opportunities(events)).set_index(["subject", "lag"])["actual"].astype(int)
    assert steps.to_dict() == counted[counted > 0].to_dict()


def test_what_a_gate_recalls_goes_out_with_the_texts_of_its_memories():
    events = pd.DataFrame(rows(1, 1, "ab", "b")).assign(text=lambda table: table["item"] + " is a story.")
    for one in (events, events.assign(method="MEGa", material=4)):
        transcript = psych101(one).iloc[0]
        assert transcript["text"].endswith("You study:\n- a is a story.\n- b is a story.\nYou recall:\n- <<b is a story.>>")
    assert transcript["participant"] == "MEGa, list 4"
