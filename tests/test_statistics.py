"""Means over partitions, intervals and paired tests, against sums by hand and against chance itself."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from memsci.errors import MemsciError
from memsci.measures.metrics import macro_accuracy
from memsci.measures.statistics import holm, mean_table, paired, share_interval, sign_flip, unit_means


def table(values: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Scores by method, partition and question: ``{method: [[values of partition 0], …]}``."""
    rows = [
        {"method": method, "partition": unit, "value": value}
        for method, units in values.items()
        for unit, part in enumerate(units)
        for value in part
    ]
    return pd.DataFrame(rows)


def test_partitions_count_alike_whatever_their_size():
    frame = table({"MEGa": [[1, 1, 1, 0], [0]], "Base": [[0.5], [0.5]]})
    result = mean_table(frame, "method")
    assert list(result.columns) == ["method", "mean", "sd", "low", "high", "n"]
    assert result["method"].tolist() == ["MEGa", "Base"]  # in the order of the table
    assert result["mean"].tolist() == [0.375, 0.5]  # not 3/5
    assert result["sd"].tolist() == pytest.approx([np.std([0.75, 0], ddof=1), 0])
    assert result["n"].tolist() == [2, 2]


def test_one_partition_has_no_spread():
    result = mean_table(table({"MEGa": [[1, 0]]}), "method").iloc[0]
    assert result["mean"] == 0.5 and result["n"] == 1
    assert result[["sd", "low", "high"]].isna().all()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_partitions_have_a_spread_but_no_interval(n):
    result = mean_table(table({"MEGa": [[k] for k in range(n)]}), "method").iloc[0]
    assert result["sd"] == pytest.approx(np.std(range(n), ddof=1))
    assert result[["low", "high"]].isna().all()


def test_the_interval_is_that_of_the_expanded_percentiles():
    x = np.random.default_rng(0).normal(size=(8, 1))
    row = mean_table(table({"MEGa": x.tolist()}), "method").iloc[0]
    # a = Φ(√(8/7) t), t = -2.3646 the quantile of 2.5 % with 7 degrees of freedom: Φ(-2.5279) = 0.005737.
    means = x[np.random.default_rng([0, 8]).integers(0, 8, (10_000, 8)), 0].mean(axis=1)
    assert row[["low", "high"]].tolist() == pytest.approx(np.quantile(means, [0.005737, 1 - 0.005737]), abs=1e-4)


def test_groups_are_of_all_other_columns_unless_named():
    frame = table({"MEGa": [[1, 0], [0]], "Base": [[0.5], [0.5]]}).assign(metric="qa", subject="x")
    result = mean_table(frame, within="subject")
    assert list(result.columns)[:2] == ["method", "metric"]
    pd.testing.assert_frame_equal(result, mean_table(frame, ["method", "metric"], within="subject"))
    pd.testing.assert_frame_equal(mean_table(unit_means(frame, "method")), mean_table(frame, "method"))


def test_without_groups_there_is_one_row():
    result = mean_table(table({"MEGa": [[1], [0]], "Base": [[1], [0]]}), [])
    assert result["mean"].tolist() == [0.5] and list(result.columns) == ["mean", "sd", "low", "high", "n"]


def test_subjects_count_alike_and_other_metrics_are_left_as_they_are():
    quiz = pd.DataFrame({"subject": ["x"] * 4 + ["y"], "correct": [1, 1, 1, 0, 0]})
    scores = pd.concat(
        [
            quiz.rename(columns={"correct": "value"}).assign(metric="knowledge", partition=0),
            pd.DataFrame({"value": [1, 1, 0], "metric": "qa", "partition": 0}),
        ]
    )
    result = mean_table(scores, "metric", within="subject").set_index("metric")["mean"]
    assert result["knowledge"] == pytest.approx(macro_accuracy(quiz)) == pytest.approx(0.375)
    assert result["qa"] == pytest.approx(2 / 3)


def test_missing_group_values_are_a_group():
    frame = table({"MEGa": [[1], [0]]}).assign(setting=np.nan)
    assert mean_table(frame, ["method", "setting"])["mean"].tolist() == [0.5]


def test_the_interval_knows_neither_the_order_of_rows_nor_the_other_groups():
    draw = np.random.default_rng(0)
    frame = table({name: draw.normal(size=(12, 3)).tolist() for name in ("MEGa", "Full", "LoRA")})
    result = mean_table(frame, "method")
    shuffled = mean_table(frame.sample(frac=1, random_state=1), "method").set_index("method")
    pd.testing.assert_frame_equal(shuffled.loc[result["method"]], result.set_index("method"))
    alone = mean_table(frame[frame["method"] == "Full"], "method")
    pd.testing.assert_frame_equal(alone, result[result["method"] == "Full"].reset_index(drop=True))
    pd.testing.assert_frame_equal(mean_table(frame, "method"), result)
    assert not mean_table(frame, "method", seed=1)["low"].equals(result["low"])


def test_a_wider_confidence_gives_a_wider_interval():
    frame = table({"MEGa": np.random.default_rng(0).normal(size=(20, 1)).tolist()})
    narrow, wide = (mean_table(frame, "method", confidence=c).iloc[0] for c in (0.5, 0.99))
    assert wide["low"] < narrow["low"] < narrow["mean"] < narrow["high"] < wide["high"]


@pytest.mark.parametrize(("n", "least"), [(5, 0.88), (8, 0.92), (20, 0.92)])
def test_the_interval_covers_the_true_mean_about_as_often_as_it_says(n, least):
    draw = np.random.default_rng(0)
    frame = table({str(name): draw.normal(3, 1, size=(n, 1)).tolist() for name in range(800)})
    result = mean_table(frame, "method")
    covered = ((result["low"] <= 3) & (3 <= result["high"])).mean()
    assert least < covered < 0.98  # plain percentiles of five units: 0.83


def test_paired_differences_by_hand():
    frame = table({"MEGa": [[3.0], [2, 2], [5]], "Full": [[1.0], [3], [2]]})
    row = paired(frame, "MEGa", "Full").iloc[0]
    assert (row["method"], row["against"]) == ("MEGa", "Full")
    assert row["difference"] == pytest.approx(4 / 3)  # 2, -1, 3
    assert row["sd"] == pytest.approx(np.std([2, -1, 3], ddof=1))
    assert (row["wins"], row["losses"], row["n"]) == (2, 1, 3)
    assert row["p"] == 0.5  # of 8 changes of sign, ±(2, 1, 3) and ±(2, -1, 3) reach 4
    back = paired(frame, "Full", "MEGa").iloc[0]
    assert back["difference"] == -row["difference"] and back["p"] == row["p"] and back["wins"] == 1


def test_paired_by_group_and_by_another_column():
    frame = table({"MEGa": [[1], [2]], "Full": [[0], [0]]})
    both = pd.concat([frame.assign(dataset="episodic"), frame.assign(dataset="wiki", value=-frame["value"])])
    only_rag = table({"RAG": [[1]]}).assign(dataset="other")
    result = paired(
        pd.concat([both, only_rag]).rename(columns={"method": "label"}), "MEGa", "Full", by="dataset", column="label"
    )
    assert result["dataset"].tolist() == ["episodic", "wiki"]
    assert result["difference"].tolist() == [1.5, -1.5]


def test_one_unit_has_no_test_and_that_is_said():
    frame = table({"MEGa": [[1]], "Full": [[0]]})
    with pytest.warns(UserWarning, match="^One unit has no test, so p is missing: .* several values of 'partition'"):
        row = paired(frame, "MEGa", "Full").iloc[0]
    assert row["difference"] == 1 and row["n"] == 1 and np.isnan(row["p"])
    both = pd.concat([frame.assign(dataset="one"), table({"MEGa": [[1]] * 2, "Full": [[0]] * 2}).assign(dataset="two")])
    with pytest.warns(UserWarning, match="^1 of 2 differences rest on one unit"):
        assert paired(both, "MEGa", "Full", by="dataset")["p"].isna().tolist() == [True, False]


def test_a_difference_everywhere_has_the_smallest_p_there_is():
    frame = table({"MEGa": [[1 + u / 100] for u in range(20)], "Full": [[0.5]] * 20})
    row = paired(frame, "MEGa", "Full").iloc[0]
    assert row["p"] == 2 / 2**20 and row["wins"] == 20
    assert 0.5 < row["low"] < row["difference"] < row["high"] < 0.7


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_sign_flip_is_the_count_over_all_signs(n):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=n)]
    assert sign_flip(d) == pytest.approx(np.mean([s >= abs(d.sum()) - 1e-9 for s in sums]))


@pytest.mark.parametrize(("right", "n"), [(0, 5), (3, 10), (45, 50), (50, 50)])
def test_the_interval_of_a_share_is_where_its_test_just_fails_to_reject(right, n):
    p, z = right / n, 1.959964
    for end, edge in zip(share_interval(p, n), (0, 1)):
        assert end == edge if p == edge else (p - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, rel=1e-5)


def test_sign_flip_counts_ties_however_they_are_rounded():
    assert sign_flip([0.1, 0.2, -0.3, 0.3]) == sign_flip([1, 2, -3, 3])
    assert sign_flip([0.0, 0.0]) == 1
    assert sign_flip([0.1] * 3) == 0.25


def test_sign_flip_of_many_units_is_drawn():
    d = np.random.default_rng(0).normal(0.25, 1, 40)
    drawn = sign_flip(d)
    assert drawn == sign_flip(d)
    # With 40 units the sum of random signs is nearly normal.
    z = abs(d.sum()) / np.sqrt((d**2).sum())
    from math import erfc, sqrt

    assert drawn == pytest.approx(erfc(z / sqrt(2)), abs=0.01)
    assert sign_flip([1.0] * 40) == pytest.approx(1 / 100_001)


def test_p_is_uniform_where_nothing_differs():
    draw = np.random.default_rng(0)
    p = np.array([sign_flip(draw.normal(size=10)) for _ in range(400)])
    assert (p <= 0.05).mean() < 0.08 and 0.4 < p.mean() < 0.6


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1] and holm([]).tolist() == []


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({}, {"by": "methode"}, "no column 'methode'"),
        ({}, {"by": "method", "value": "score"}, "no column 'score'"),
        ({}, {"by": "partition"}, "named twice"),
        ({"n": 1}, {"by": "n"}, "cannot be called 'n'"),
        ({"value": [1.0, np.nan]}, {"by": "method"}, "1 of 2 rows have no finite number"),
        ({"value": ["yes", "1"]}, {"by": "method"}, "1 of 2 rows"),
        ({"partition": [0, None]}, {"by": "method"}, "no 'partition'"),
        ({}, {"by": "method", "confidence": 95}, "between 0 and 1; 95"),
    ],
)
def test_mean_table_refuses(change, arguments, says):
    with pytest.raises(MemsciError) as caught:
        mean_table(table({"MEGa": [[1], [0]]}).assign(**change), **arguments)
    assert says in str(caught.value)


def test_an_empty_table_is_refused():
    with pytest.raises(MemsciError, match="no rows"):
        mean_table(pd.DataFrame(columns=["method", "partition", "value"]), "method")
    with pytest.raises(MemsciError, match="At least one"):
        sign_flip([])


def test_paired_refuses_methods_that_are_not_there_or_not_paired():
    frame = table({"MEGa": [[1], [2]], "Full": [[0]]})
    with pytest.raises(MemsciError, match="'LoRA' was given"):
        paired(frame, "MEGa", "LoRA")
    with pytest.raises(MemsciError, match="only 'MEGa' has 1"):
        paired(frame, "MEGa", "Full")
