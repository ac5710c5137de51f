"""Forgetting, on matrices small enough to be read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from memsci.errors import MemsciError
from memsci.measures.forgetting import backward_transfer, first_memory_curve, over_groups, retention_by_lag
from memsci.measures.statistics import mean_table

# (stop, position): scores of its questions. Memory 3 is first asked about at stop 4, where memory 4 is known already.
KNOWN = {
    (1, 1): [1.0, 0.5],
    (2, 1): [0.5, 0.5],
    (2, 2): [1.0],
    (4, 1): [0.0, 0.5],
    (4, 2): [0.5],
    (4, 3): [1.0],
    (4, 4): [0.75],
}
MATRIX = [[0.75, np.nan, np.nan, np.nan], [0.5, 1.0, np.nan, np.nan], [0.25, 0.5, 1.0, 0.75]]


def scores(known=KNOWN, metric="qa", **columns) -> pd.DataFrame:
    group = {"dataset": "episodic", "partition": 0, "method": "LoRA", "setting": "", "way": "direct", "gate": "own"}
    rows = [
        {**group, "stop": stop, "position": position, "question": f"{position}.{k}", "metric": metric, "value": value}
        for (stop, position), values in known.items()
        for k, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(**columns)


def matrix(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The matrix that measures are given."""
    seen = []
    over_groups(table[table["metric"] == metric], lambda known: seen.append(known) or np.nan)
    [known] = seen
    return known


def test_the_matrix_by_hand():
    known = matrix(scores(), "qa")
    assert known.index.tolist() == [1, 2, 4] and known.columns.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(known, MATRIX)
    pd.testing.assert_frame_equal(matrix(scores().sample(frac=1, random_state=0), "qa"), known)


def test_only_questions_asked_at_every_stop_count():
    more = {**KNOWN, (4, 2): [0.5, 0.0, 0.0], (4, 3): [1.0, 1.0]}
    known = matrix(scores(more), "qa")
    assert known.loc[4, 2] == 0.5  # the two questions put at the last stop alone are left out
    assert known.loc[4, 3] == 1.0  # memory 3 was asked about at one stop: all its questions count


def test_the_same_question_twice_is_two_questions():
    """As in some published data: the answers differ, and only the first is asked about at every stop."""
    twice = {(1, 1): [1.0], (2, 1): [0.5, 0.0], (2, 2): [1.0, 0.0]}
    known = matrix(scores(twice).assign(question=lambda frame: frame["position"].astype(str)), "qa")
    assert known[1].tolist() == [1.0, 0.5] and known.loc[2, 2] == 0.5


@pytest.mark.parametrize("kind", ["float", "Int64"])
def test_positions_may_be_decimals_and_truth_values_count_as_numbers(kind):
    frame = scores({(1, 1): [True], (2, 1): [False], (2, 2): [True]}).astype({"position": kind})
    known = matrix(frame, "qa")
    assert known.columns.tolist() == [1, 2] and known.columns.dtype.kind == "i"
    assert known[1].tolist() == [1.0, 0.0]


def test_the_curve_of_the_first_memory():
    curve = first_memory_curve(matrix(scores(), "qa"))
    assert curve.to_dict("list") == {"stop": [1, 2, 4], "value": [0.75, 0.5, 0.25]}
    later = {key: values for key, values in KNOWN.items() if key[1] > 1}
    with pytest.raises(MemsciError, match="first memory must be one of 2, 3, 4"):
        first_memory_curve(matrix(scores(later), "qa"))


def test_retention_by_lag():
    table = retention_by_lag(matrix(scores(), "qa"))
    assert table["lag"].tolist() == [0, 1, 2, 3]
    # lag 0: (1,1), (2,2), (4,4); lag 1: (2,1), (4,3); lag 2: (4,2); lag 3: (4,1)
    assert table["value"].tolist() == pytest.approx([2.5 / 3, 0.75, 0.5, 0.25])
    assert table["n"].tolist() == [3, 2, 1, 1]


def test_backward_transfer():
    # memory 1: 0.25 - 0.75; memory 2: 0.5 - 1; memories 3 and 4 were first asked about at the last stop
    assert backward_transfer(matrix(scores(), "qa")) == pytest.approx(-0.5)
    assert np.isnan(backward_transfer(matrix(scores({(4, 1): [1.0], (4, 2): [0.5]}), "qa")))
    gained = {(1, 1): [0.0], (2, 1): [0.5], (2, 2): [0.5]}
    assert backward_transfer(matrix(scores(gained), "qa")) == 0.5


def test_a_memory_without_a_last_score_does_not_count():
    known = {(1, 1): [1.0], (2, 1): [1.0], (2, 2): [1.0], (4, 1): [0.5]}
    assert backward_transfer(matrix(scores(known), "qa")) == -0.5


def test_every_group_and_metric_by_itself():
    table = pd.concat(
        [
            scores(),
            scores(partition=1, setting=np.nan),  # "" comes back from a CSV file as a missing value
            scores(metric="logprob"),
            scores().assign(metric="knowledge", position=np.nan, question=np.nan),
        ],
        ignore_index=True,
    )
    curves = over_groups(table, first_memory_curve)
    assert len(curves) == 9 and set(curves["metric"]) == {"qa", "logprob"}
    names = ["dataset", "partition", "method", "setting", "way", "gate", "metric", "stop", "value"]
    assert curves.columns.tolist() == names
    assert curves.loc[:2, "value"].tolist() == [0.75, 0.5, 0.25]
    assert over_groups(table, backward_transfer)["value"].tolist() == [-0.5] * 3
    assert over_groups(table, retention_by_lag)["lag"].tolist() == [0, 1, 2, 3] * 3
    means = mean_table(curves[curves["metric"] == "qa"], ["dataset", "method", "stop"])
    assert means["mean"].tolist() == [0.75, 0.5, 0.25] and means["n"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (scores().drop(columns="stop"), "no column 'stop'"),
        (scores().assign(position=np.nan), "No row of the table of scores has a position"),
        (scores().assign(value=np.nan), "lack a question or a value"),
        (scores({(1, 2): [1.0]}), "position 2 has scores at stop 1"),
        (scores().assign(question=[str(n) for n in range(len(scores()))]), "position 1 was asked at all of its stops"),
    ],
)
def test_matrix_refuses(table, says):
    with pytest.raises(MemsciError) as caught:
        matrix(table, "qa")
    assert says in str(caught.value)


def test_general_knowledge_alone_cannot_be_forgotten():
    with pytest.raises(MemsciError, match="No row"):
        over_groups(scores().assign(position=np.nan), backward_transfer)
