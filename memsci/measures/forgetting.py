"""Forgetting: how well each memory is known at each time, and what becomes of it as others are learnt.

Everything rests on one matrix per run, a(t, p): the score, after t memories have been learnt, on the memory that was learnt
at place p. It exists for p ≤ t. `over_groups` makes it of every group of a table of scores; the other functions read it.

a(t, p) is the mean score at checkpoint t over the questions of the memory at place p that were asked at *every* checkpoint
at which this memory was asked about. Questions that were put at some only would change the mean without anything being
forgotten; they are left out. The paper asks about the first memory at each checkpoint; which questions of the others are
asked is *not stated*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from memsci.errors import MemsciError, check_columns, check_in

# Within one group there is one learner, one prompting mode and one order of memories, hence one matrix per metric.
GROUP = ("dataset", "partition", "method", "setting", "way", "gate")
# The first lag of each bin: narrow where most is forgotten.
BINS = (0, 1, 5, 10, 20, 30, 40, 50, 100, 200, 500)


def first_memory_curve(known: pd.DataFrame) -> pd.DataFrame:
    """The paper's forgetting curve, a(t, 1) against t, of a matrix: the memory learnt first, as others are added (Figs 2,
    3, 6).

    Columns stop and value, without the checkpoints at which the first memory was not asked about.
    """
    check_in("the position of the first memory", 1, known.columns.tolist())
    return known[1].dropna().rename("value").rename_axis("stop").reset_index()


def retention_by_lag(known: pd.DataFrame) -> pd.DataFrame:
    """How well a memory is known by the number of memories learnt since: the mean of a(t, p) over all t − p = lag.

    Columns lag (ascending), value and n (cells of the matrix that the mean is over). Different lags rest on different
    memories wherever checkpoints are further apart than one. *Not in the paper*, which follows the first memory alone.
    """
    cells = known.stack().dropna()
    lags = cells.index.get_level_values("stop") - cells.index.get_level_values("position")
    table = cells.groupby(lags.to_numpy()).agg(["mean", "size"])
    return table.set_axis(["value", "n"], axis=1).rename_axis("lag").reset_index()


def bin_lags(values: pd.DataFrame, firsts: Sequence[int] = BINS) -> pd.DataFrame:
    """Lags in bins, each named by its first and its last lag: a single lag rests on few memories.

    Parameters
    ----------
    values
        A column lag, and any others: the values of partitions by lag, see `memsci.runs.tables.per_partition`.
    firsts
        The first lag of every bin, ascending from 0.

    Returns
    -------
    pandas.DataFrame
        The same rows, with the first lag of the bin in the column lag, and in a new column until its last; no bin ends after
        the largest lag of the table. `mean_table` by both columns pools the lags of a bin within each partition first.

    Examples
    --------
    >>> bin_lags(pd.DataFrame({"lag": [0, 3, 7]})).to_numpy().tolist()
    [[0, 0], [1, 4], [5, 7]]
    """
    check_columns("The table of values", ["lag"], values.columns)
    if values["lag"].isna().any() or (values["lag"] < firsts[0]).any():
        raise MemsciError(f"Every row needs a lag of {firsts[0]} or more to stand in a bin. Choose the rows that have one.")
    lags = values["lag"].to_numpy(int)
    ends = np.append(np.array(firsts[1:], int) - 1, lags.max(initial=0))
    places = np.searchsorted(firsts, lags, side="right") - 1
    binned = values.assign(lag=np.array(firsts)[places])
    binned.insert(binned.columns.get_loc("lag") + 1, "until", np.minimum(ends[places], ends[-1]))
    return binned


def backward_transfer(known: pd.DataFrame) -> float:
    """What later learning did to what was known: the mean over memories of a(T, p) − a(s_p, p).

    T is the last checkpoint and s_p < T the first at which memory p was asked about, when it was just learnt as far as
    checkpoints tell. Below zero memories were forgotten, above zero they gained; missing (NaN) if none was asked about at
    both. Lopez-Paz and Ranzato 2017 with checkpoints in the place of tasks; *not in the paper*.
    """
    last = known.iloc[-1]
    before = known.iloc[:-1].bfill().iloc[:1]
    changes = (last - before.iloc[0]).dropna() if len(before) else pd.Series(dtype=float)
    return float(changes.mean()) if len(changes) else float("nan")


def over_groups(scores: pd.DataFrame, measure: Callable[[pd.DataFrame], pd.DataFrame | float]) -> pd.DataFrame:
    """A measure of the matrix for every group and metric of a table of scores, ready for `mean_table`.

    Parameters
    ----------
    scores
        Columns stop, position, question, metric, value, and those of `GROUP`; rows that belong to no memory (general
        knowledge) are passed over.
    measure
        `first_memory_curve`, `retention_by_lag`, `backward_transfer`, or any function of a matrix (index stop and columns
        position, both ascending; missing where p > t or nothing was asked) that gives a table or a number.

    Returns
    -------
    pandas.DataFrame
        Columns of `GROUP`, metric, and those that the measure gives (value alone for a number), groups in the order of
        their first rows.

    Examples
    --------
    >>> rows = pd.DataFrame({"stop": [1, 2, 2], "position": [1, 1, 2], "question": ["a", "a", "b"], "value": [1, 0, 1]})
    >>> rows = rows.assign(metric="qa", **dict.fromkeys(GROUP, ""))
    >>> over_groups(rows, first_memory_curve)[["stop", "value"]].values.tolist()
    [[1.0, 1.0], [2.0, 0.0]]
    >>> over_groups(rows, backward_transfer)["value"].item()
    -1.0
    """
    check_columns("The table of scores", (*GROUP, "stop", "position", "question", "metric", "value"), scores.columns)
    about = scores[scores["position"].notna()].reset_index(drop=True)
    if about.empty:
        raise MemsciError("No row of the table of scores has a position, so there is nothing that could be forgotten.")
    names = [*GROUP, "metric"]
    number = about.groupby(names, sort=False, dropna=False).ngroup()
    tables = []
    for _, cells in _cells(about, number).groupby(level="group"):
        values = measure(cells.droplevel("group").unstack("position"))
        tables.append(values if isinstance(values, pd.DataFrame) else pd.DataFrame({"value": [values]}))
    groups = about.loc[~number.duplicated(), names]
    values = pd.concat(tables, ignore_index=True)
    owners = groups.loc[groups.index.repeat([len(table) for table in tables])].reset_index(drop=True)
    return pd.concat([owners, values], axis=1)


def _cells(rows: pd.DataFrame, group: pd.Series) -> pd.Series:
    """a(t, p) of every group: values by group, stop and position, all ascending."""
    if (lacking := rows[["question", "value"]].isna().any(axis=1)).any():
        metric = rows.loc[lacking, "metric"].iloc[0]
        raise MemsciError(f"Scores of {metric!r} lack a question or a value, and cannot stand in a matrix.")
    # Beside rows without a position, pandas keeps positions as decimals.
    rows = rows[["stop", "position", "question", "value"]].astype({"stop": int, "position": int, "value": float})
    rows["group"] = group
    if (early := rows["position"] > rows["stop"]).any():
        one = rows[early].iloc[0]
        raise MemsciError(
            f"The memory at position {one['position']} has scores at stop {one['stop']}, before it was learnt."
        )
    memory = ["group", "position"]
    # Published data have memories with the same question twice: the first is the first at every stop.
    rows["time"] = rows.groupby([*memory, "stop", "question"]).cumcount()
    asked = rows.groupby([*memory, "question", "time"])["stop"].transform("nunique")
    always = asked == rows.groupby(memory)["stop"].transform("nunique")
    if (lost := ~always.groupby([rows[name] for name in memory]).transform("any")).any():
        raise MemsciError(
            f"No question about the memory at position {rows.loc[lost, 'position'].iloc[0]} was asked at all of its stops, "
            "so its scores at different times cannot be compared. Ask the same question of a memory at every checkpoint."
        )
    return rows[always].groupby(["group", "stop", "position"])["value"].mean()
