"""The paper's tables as it prints them, labels of methods, and how an order is compared with the paper's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from memsci.errors import MemsciError
from memsci.measures import methods, paper, statistics


@pytest.mark.parametrize(
    ("given", "label"),
    [
        (("MEGa",), "MEGa"),
        (("MEGa", "recall first"), "iRAG"),
        (("Full+L2", "recall first"), "iRAG on Full+L2"),
        (("MEGa", "direct", "true"), "MEGa, true gate"),
        (("MEGa", "recall first", "true"), "iRAG, true gate"),
    ],
)
def test_labels(given, label):
    assert methods.label(*given) == label


def test_a_way_or_gate_that_there_is_not():
    with pytest.raises(MemsciError, match="'direct', 'recall first', .*; 'iRAG' was given"):
        methods.label("MEGa", "iRAG")
    with pytest.raises(MemsciError, match="gate must be one of 'own', 'true'"):
        methods.label("MEGa", "direct", "shut")


def test_labels_of_a_table_take_missing_ways_and_gates_as_the_plain_ones():
    frame = pd.DataFrame({"method": ["MEGa", "MEGa", "Full"], "way": ["recall first", np.nan, ""]}, index=[3, 1, 2])
    assert paper.labels(frame).to_dict() == {3: "iRAG", 1: "MEGa", 2: "Full"}
    assert paper.labels(frame.assign(gate="true")).iloc[0] == "iRAG, true gate"


# Read off the paper's Table 1 by hand: dataset, method, metric, printed mean and SD.
PRINTED = [
    ("fictional", "Base", "qa", "0.13", "0.27"),
    ("fictional", "RAG", "logprob", "-2.57", "0.46"),
    ("fictional", "Full+EWC", "recall cos", "0.542", "0.064"),
    ("fictional", "LoRA+L2", "knowledge", "47.49", "2.53"),
    ("fictional", "MEGa", "qa", "72.53", "6.79"),
    ("fictional", "iRAG", "logprob", "-2.84", "0.33"),
    ("wiki", "Base", "knowledge", "62.56", None),
    ("wiki", "Full", "qa", "17.90", "9.57"),
    ("wiki", "Full batch", "recall cos", "0.926", "0.011"),
    ("wiki", "LoRA", "logprob", "-3.02", "0.49"),
    ("wiki", "iRAG", "knowledge", "61.99", "0.57"),
]


@pytest.mark.parametrize(("dataset", "method", "metric", "mean", "sd"), PRINTED)
def test_the_main_table_is_the_printed_one(dataset, method, metric, mean, sd):
    rows = paper.table(1).set_index(["dataset", "method", "metric"])
    row = rows.loc[(dataset, method, metric)]
    per_cent = 100 if metric in ("qa", "knowledge") else 1
    assert row["mean"] * per_cent == pytest.approx(float(mean), abs=1e-9)
    assert np.isnan(row["sd"]) if sd is None else row["sd"] * per_cent == pytest.approx(float(sd), abs=1e-9)


def test_each_table_is_whole_and_each_row_there_once():
    tables = {number: paper.table(number) for number in (1, 2, 3, 4)}
    assert [len(table) for table in tables.values()] == [2 * 10 * 4, 2 * 7, 2 * 6, 2 * 10]
    for table in tables.values():
        assert list(table.columns) == list(paper.COLUMNS)
        assert not table.duplicated(["dataset", "method", "setting", "metric"]).any()
        assert set(table["dataset"]) == {"fictional", "wiki"}
        assert set(table["method"]) <= {*methods.METHODS, "MEGa, true gate"}
        assert table["mean"].notna().all()
    assert {*tables[1]["method"], "In context"} == set(methods.METHODS)  # which the paper does not have
    shares = pd.concat(tables.values()).query("metric in ('qa', 'knowledge')")["mean"]
    assert shares.between(0, 1).all()
    at = lambda number, *key: tables[number].set_index(["dataset", "method", "setting"])["mean"][key]
    assert at(2, "wiki", "MEGa", "beta=0.1") == 0.704 and at(2, "fictional", "Full batch", "") == 0.544
    alone = "MEGa, true gate"
    assert at(3, "fictional", alone, "where=attention") == 0.8653 and at(3, "wiki", alone, "layers=late") == 0.6013
    assert at(4, "wiki", "Full+L2", "strength=1") == 0.4543 and at(4, "fictional", "LoRA+L2", "strength=0.001") == 0.0103
    with pytest.raises(MemsciError, match="table must be one of 1, 2, 3, 4; 5 was given"):
        paper.table(5)


def ours(metric: str = "qa", dataset: str = "episodic", **means: float) -> pd.DataFrame:
    rows = [{"dataset": dataset, "method": name, "metric": metric, "mean": mean} for name, mean in means.items()]
    return pd.DataFrame(rows)


def test_results_stand_beside_the_papers():
    """Paper, fictional: RAG 82.57, iRAG 80.67, MEGa 72.53, LoRA 0.80."""
    frame = ours(MEGa=0.9, LoRA=0.02, RAG=0.95, mine=1.0).assign(way="direct", n=20)
    told = frame[frame["method"] == "MEGa"].assign(way="recall first", mean=0.96)
    found = paper.compare(pd.concat([frame, told]))
    assert found["method"].tolist() == ["RAG", "LoRA", "MEGa", "iRAG"]  # in the paper's order; what it has not is left out
    assert found["paper"].tolist() == [0.8257, 0.008, 0.7253, 0.8067]
    assert found["rank"].tolist() == [2, 4, 3, 1] and found["paper rank"].tolist() == [1, 4, 3, 2]
    assert found["n"].tolist() == [20] * 4 and set(found["setting"]) == {""}
    all_rows = paper.beside(pd.concat([frame, told]))
    assert all_rows["method"].tolist() == ["MEGa", "LoRA", "RAG", "mine", "iRAG"] and all_rows["paper"].isna().sum() == 1


def test_datasets_find_their_counterpart_and_settings_their_number():
    frame = pd.concat([ours(MEGa=0.5), ours(dataset="semantic", MEGa=0.5), ours(dataset="my.csv", MEGa=0.5)])
    assert paper.compare(frame)[["dataset", "paper"]].to_numpy().tolist() == [["episodic", 0.7253], ["semantic", 0.7803]]
    swept = ours(**{"LoRA+L2": 0.1}).assign(setting="strength=1.0")
    assert paper.compare(swept, 4)[["setting", "paper"]].to_numpy().tolist() == [["strength=1.0", 0.2007]]
    assert paper.beside(swept, 1)["paper"].isna().all()


def test_the_order_is_compared_pair_by_pair():
    """Paper, fictional: RAG > iRAG > MEGa > LoRA. We have iRAG before RAG, and MEGa and LoRA alike: 4 of 6 pairs agree."""
    found = paper.compare(ours(RAG=0.9, iRAG=0.95, MEGa=0.3, LoRA=0.3))
    pairs = paper.pairs(found).set_index(["better", "worse"])
    assert len(pairs) == 6 and not pairs.loc[("RAG", "iRAG"), "agrees"] and pairs.loc[("iRAG", "MEGa"), "agrees"]
    assert pairs.loc[("RAG", "iRAG"), "difference"] == pytest.approx(-0.05)
    assert pairs.loc[("RAG", "iRAG"), "paper difference"] == pytest.approx(0.019)
    assert pairs.loc[("MEGa", "LoRA"), "agrees"] is pd.NA
    (row,) = paper.ordering(found).to_dict("records")
    assert (row["agree"], row["disagree"], row["tied"], row["methods"]) == (4, 1, 1, 4)
    assert row["reversed"] == "RAG > iRAG"
    # τ_b by its definition: (4 − 1) / √(5 · 6).
    assert row["tau"] == pytest.approx(3 / np.sqrt(30))


def values(**by_method: list[float]) -> pd.DataFrame:
    """QA of each method on partitions 0, 1, 2 …, iRAG as MEGa that recalls first."""
    rows = [
        {"dataset": "episodic", "method": name.replace("iRAG", "MEGa"),
         "way": "recall first" if name == "iRAG" else "direct", "metric": "qa", "partition": place, "value": value}
        for name, each in by_method.items()
        for place, value in enumerate(each)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def means(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby(["dataset", "method", "way", "metric"])["value"].mean().rename("mean").reset_index()


def test_each_pair_is_tested_on_its_partitions():
    """The paper: iRAG > MEGa > Full. Here MEGa is above Full on all of 8 partitions, and iRAG and MEGa take turns."""
    draw = np.random.default_rng(0)
    mega = draw.uniform(0.7, 0.8, 8)
    frame = values(MEGa=mega, iRAG=mega + 0.01 * np.array([1, -1, 1, -1, 1, -1, 1, -1.5]), Full=draw.uniform(0.0, 0.1, 8))
    compared = paper.compare(means(frame))
    found = paper.tested(compared, frame).set_index(["better", "worse"])
    assert len(found) == 3
    one = found.loc["MEGa", "Full"]
    alone = statistics.paired(frame[frame["way"] == "direct"], "MEGa", "Full").iloc[0]
    assert one[["difference", "sd", "low", "high", "p", "wins", "n"]].tolist() == pytest.approx(
        alone[["difference", "sd", "low", "high", "p", "wins", "n"]].tolist()
    )
    assert one["p"] == 2 / 2**8 and one["order"] == "the paper's" and one["low"] > 0 and one["paper difference"] > 0.5
    assert found["p adjusted"].tolist() == statistics.holm(found["p"]).tolist()
    assert found.loc[("iRAG", "MEGa"), "order"] == "open" and found.loc[("iRAG", "MEGa"), "p"] > 0.5
    # The other way round it is shown that the order is not the paper's.
    turned = values(MEGa=frame["value"][16:], iRAG=frame["value"][8:16], Full=frame["value"][:8])
    found = paper.tested(paper.compare(means(turned)), turned).set_index(["better", "worse"])
    assert found.loc[("MEGa", "Full"), "order"] == "the other" and found.loc[("MEGa", "Full"), "high"] < 0


def test_pairs_are_tested_where_both_are_known():
    frame = values(MEGa=[0.7, 0.8, 0.75], Full=[0.1, 0.2])
    found = paper.tested(paper.compare(means(frame)), frame).iloc[0]
    assert found["n"] == 2 and found["difference"] == pytest.approx(0.6) and found["order"] == "open"
    one = frame[frame["partition"] == 0]
    found = paper.tested(paper.compare(means(one)), one).iloc[0]
    assert (found["n"], found["p"], found["order"]) == (1, 1, "open") and np.isnan(found["low"])
    apart = frame[(frame["method"] == "MEGa") == (frame["partition"] == 2)]
    with pytest.raises(MemsciError, match="'MEGa' and 'Full' have no partition of 'episodic' in common"):
        paper.tested(paper.compare(means(apart)), apart)


def test_where_the_paper_has_a_tie_there_is_no_order_to_agree_with():
    """Both answer 8.4 % of its questions about two memories."""
    draw = np.random.default_rng(0)
    frame = values(**{"Full+EWC": draw.uniform(0.4, 0.5, 12), "LoRA+L2": draw.uniform(0.1, 0.2, 12)})
    found = paper.tested(paper.compare(means(frame), 2), frame).iloc[0]
    assert (found["paper difference"], found["p adjusted"]) == (0, 2 / 2**12) and found["order"] == "a tie in the paper"


def test_means_that_differ_in_the_last_bits_alone_are_a_tie():
    found = paper.compare(ours("knowledge", MEGa=0.1 + 0.2, Base=0.3, Full=0.2))
    assert found.set_index("method")["rank"].to_dict() == {"Base": 1.5, "Full": 3, "MEGa": 1.5}
    assert paper.ordering(found)["tied"].item() == 1 and paper.pairs(found)["agrees"].isna().sum() == 1


def test_tau_is_that_of_scipy():
    draw = np.random.default_rng(0)
    for metric in ("qa", "logprob", "recall cos"):
        frame = ours(metric, **{name: draw.integers(0, 6) / 10 for name in methods.METHODS})
        found = paper.compare(frame)
        tau = stats.kendalltau(found["mean"], found["paper"]).statistic
        assert paper.ordering(found)["tau"].item() == pytest.approx(tau)


def test_the_papers_own_table_agrees_with_itself():
    itself = paper.table(1)
    agreement = paper.ordering(paper.compare(itself))
    assert len(agreement) == 8 and np.allclose(agreement["tau"], 1) and not agreement["disagree"].any()
    one = paper.ordering(paper.compare(ours(MEGa=0.5)))
    assert np.isnan(one["tau"].item()) and one["methods"].item() == 1


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (ours(MEGa=0.5).drop(columns="mean"), "no column 'mean'"),
        (pd.concat([ours(MEGa=0.5)] * 2), "more than one row for"),
        (ours(mine=0.5), "No row of the results stands in Table 1"),
        (ours(dataset="my.csv", MEGa=0.5), "Its datasets are beside episodic"),
    ],
)
def test_what_cannot_be_compared(frame, says):
    with pytest.raises(MemsciError, match=says):
        paper.compare(frame)
