"""The paper's printed results beside ours: its tables 1 to 4, the names and order of its methods, ranks and agreement.

Numbers are in the units of memsci's own tables: shares and cosines from 0 to 1 (the paper prints per cent), nats.
"""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pandas as pd

from memsci.errors import MemsciError, check_columns, check_in
from memsci.measures.methods import labels
from memsci.measures.statistics import holm, paired

# Which of the paper's two sets a dataset of ours stands beside.
COUNTERPARTS = {"episodic": "fictional", "fictional": "fictional", "semantic": "wiki", "wiki": "wiki"}

# Each partition of these is about a person of its own.
ONE_PERSON = tuple(ours for ours, theirs in COUNTERPARTS.items() if theirs == "fictional")

DIGITS = 12  # decimals to which means are compared: sums that are equal on paper may differ in the last bits
LEVEL = 0.05  # at which a difference is taken as shown


# As printed: Table 1 in per cent, nats, cosine, per cent (mean ± SD over 20 partitions); the others QA in per cent.
_SETS = ("fictional", "wiki")
_METRICS = {"qa": 100, "logprob": 1, "recall cos": 1, "knowledge": 100}  # by what the paper's figure is divided
_MAIN = """
Base       | 0.13±0.27 -4.85±0.39 0.587±0.024 62.56         | 8.17±2.38 -3.25±0.14 0.665±0.018 62.56
RAG        | 82.57±6.37 -2.57±0.46 0.881±0.002 62.56        | 88.83±2.71 -1.76±0.15 0.889±0.006 62.56
Full       | 12.60±11.03 -2.92±0.30 0.554±0.066 55.65±1.54  | 17.90±9.57 -2.00±0.28 0.526±0.149 56.28±1.03
Full+L2    | 25.47±10.32 -3.14±0.45 0.609±0.084 55.25±1.79  | 31.33±11.69 -2.07±0.33 0.623±0.163 55.98±1.48
Full+EWC   | 14.10±8.08 -2.82±0.29 0.542±0.064 55.24±1.75   | 21.43±13.47 -2.02±0.32 0.544±0.149 56.21±0.98
Full batch | 54.77±3.27 -2.77±0.28 0.853±0.013 60.62±1.05   | 76.87±5.72 -1.87±0.26 0.926±0.011 60.90±1.34
LoRA       | 0.80±1.20 -4.13±0.44 0.485±0.038 47.94±2.11    | 0.53±0.72 -3.02±0.49 0.243±0.055 46.88±1.42
LoRA+L2    | 12.27±6.98 -3.30±0.42 0.528±0.058 47.49±2.53   | 18.20±9.81 -2.35±0.41 0.454±0.144 49.12±2.30
MEGa       | 72.53±6.79 -2.12±0.25 0.901±0.011 61.75±0.53   | 78.03±3.50 -1.86±0.18 0.921±0.013 61.99±0.57
iRAG       | 80.67±6.09 -2.84±0.33 0.901±0.011 61.75±0.53   | 84.70±4.37 -2.24±0.21 0.921±0.013 61.99±0.57
"""
# QA of both sets by setting, in per cent: Tables 2, 3 and 4.
_COMPOSITIONAL = """
Full 9.6 20.0 | Full+L2 26.0 35.6 | Full+EWC 8.4 16.4 | Full batch 54.4 75.2
| LoRA 0.4 0.4 | LoRA+L2 8.4 18.4 | MEGa 49.6 70.4
"""
_WHERE = """
where=mlp 89.60 81.07 | where=attention 86.53 72.80 | where=all 81.07 51.60
| layers=early 51.33 73.17 | layers=middle 56.13 76.80 | layers=late 58.53 60.13
"""
_SWEEP = """
Full+L2 0.001 17.37 21.50 | Full+L2 0.01 18.20 22.10 | Full+L2 0.1 27.73 33.20 | Full+L2 1 29.50 45.43
| Full+L2 10 11.07 33.77 | LoRA+L2 0.001 1.03 2.30 | LoRA+L2 0.01 6.40 7.07 | LoRA+L2 0.1 17.03 19.63
| LoRA+L2 1 20.07 29.50 | LoRA+L2 10 9.12 13.90
"""
COLUMNS = ("dataset", "method", "setting", "metric", "mean", "sd")


def table(number: int) -> pd.DataFrame:
    """A results table of the paper, tidy (Llama-3.1-8B-Instruct, after 50 memories).

    Parameters
    ----------
    number
        1, the main results (mean and SD over 20 partitions); 2, compositional questions; 3, where the adapter sits (one
        memory at a time, hence "MEGa, true gate"; "early", "middle" and "late" layers of the MLP are 1–10, 10–21 and
        21–32); 4, strength of the L2 penalty. Its EWC sweep, of which only the range is known here, is left out.

    Returns
    -------
    pandas.DataFrame
        Columns dataset ("fictional" or "wiki"), method, setting ("", "where=attention", "strength=0.1"), metric (one of
        memsci's names; "knowledge" is MMLU), mean, sd (missing where none is printed), in the units of memsci's tables.
    """
    check_in("table", number, (1, 2, 3, 4))
    if number == 1:
        rows = [row for line in _MAIN.strip().splitlines() for row in _main_rows(line)]
    elif number == 2:  # the gate is opened wider for these questions, β 0.1
        rows = [(name, "beta=0.1" if name == "MEGa" else "", qa) for name, qa in _printed(_COMPOSITIONAL)]
    elif number == 3:
        rows = [("MEGa, true gate", where, qa) for where, qa in _printed(_WHERE)]
    else:
        named = [(*name.rsplit(" ", 1), qa) for name, qa in _printed(_SWEEP)]
        rows = [(method, f"strength={strength}", qa) for method, strength, qa in named]
    if number > 1:
        rows = [
            (dataset, method, setting, "qa", _share(figure, 100), np.nan)
            for method, setting, qa in rows
            for dataset, figure in zip(_SETS, qa)
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("dataset", kind="stable", ignore_index=True)


def beside(ours: pd.DataFrame, number: int = 1) -> pd.DataFrame:
    """Our results with those of a table of the paper in further columns.

    Parameters
    ----------
    ours
        One row per dataset, method, setting and metric: columns dataset, method, metric, mean; also setting, way and gate
        (taken as "", "direct" and "own" where missing), and any others.
    number
        Of the paper's table, 1 to 4.

    Returns
    -------
    pandas.DataFrame
        All rows and columns of `ours`, way and gate taken up into method (see `label`), and columns paper and paper sd,
        missing where that table has no counterpart.
    """
    check_columns("The table of results", ("dataset", "method", "metric", "mean"), ours.columns)
    results = ours.assign(method=labels(ours), setting=_settings(ours))
    results = results.drop(columns=[name for name in ("way", "gate") if name in results])
    key = ["dataset", "metric", "method", "setting"]
    if (repeated := results.duplicated(key)).any():
        row = results.loc[repeated, key].iloc[0].to_dict()
        raise MemsciError(f"The results hold more than one row for {row}. Choose one, e.g. the last checkpoint alone.")
    matched = {"dataset": results["dataset"].map(COUNTERPARTS), "setting": results["setting"].map(_plain)}
    theirs = table(number).set_index(["dataset", "method", "setting", "metric"])[["mean", "sd"]]
    printed = theirs.reindex(pd.MultiIndex.from_frame(results.assign(**matched)[theirs.index.names]))
    return results.assign(**{"paper": printed["mean"].to_numpy(), "paper sd": printed["sd"].to_numpy()})


def compare(ours: pd.DataFrame, number: int = 1) -> pd.DataFrame:
    """Our results beside those of a table of the paper (parameters as in `beside`), with the rank of every method in both.

    Rows without a counterpart in the paper's table are left out. To the columns of `beside` come rank and paper rank: from
    1, the best, among the rows of one dataset and metric that both have; ties share their mean rank. Methods stand in the
    paper's order. Absolute figures of two base models, judges and embeddings cannot be subtracted; orders can be compared.
    """
    results = beside(ours, number)
    both = results[results["paper"].notna()]
    if both.empty:
        raise MemsciError(
            f"No row of the results stands in Table {number} of the paper. Its datasets are beside "
            f"{', '.join(COUNTERPARTS)}; its metrics are {', '.join(table(number)['metric'].unique())}."
        )
    groups = both.groupby(["dataset", "metric"], sort=False)
    by = [both["dataset"], both["metric"]]
    ranks = both[["mean", "paper"]].round(DIGITS).groupby(by, sort=False).rank(ascending=False)
    both = both.assign(**{"rank": ranks["mean"], "paper rank": ranks["paper"]})
    place = [groups.ngroup(), both["method"].map(list(dict.fromkeys(table(number)["method"])).index)]
    return both.iloc[np.lexsort(place[::-1])].reset_index(drop=True)


def pairs(compared: pd.DataFrame) -> pd.DataFrame:
    """Every pair of rows of one dataset and metric of `compare`, and whether their order is the paper's.

    Columns dataset, metric, better and worse (in the paper, by method and setting), difference (ours, better less worse),
    paper difference, agrees (missing where the paper or we have a tie).
    """
    rows = []
    for (dataset, metric), group in compared.groupby(["dataset", "metric"], sort=False):
        for a, b in combinations(group.to_dict("records"), 2):
            better, worse = (a, b) if a["paper"] >= b["paper"] else (b, a)
            ours, theirs = (round(better[side] - worse[side], DIGITS) for side in ("mean", "paper"))
            agrees = None if not ours or not theirs else ours > 0
            names = [_name(row["method"], row["setting"]) for row in (better, worse)]
            rows.append((dataset, metric, *names, ours, theirs, agrees))
    columns = ["dataset", "metric", "better", "worse", "difference", "paper difference", "agrees"]
    return pd.DataFrame(rows, columns=columns).astype({"agrees": "boolean"})


def tested(compared: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Every pair of `pairs`, its difference tested on the partitions that both have (`memsci.measures.statistics.paired`).

    Parameters
    ----------
    compared
        As `compare` gives it.
    values
        One row per dataset, method, setting, metric and partition, with a column value: that of which the means in
        `compared` are taken. Way, gate and setting as in `beside`.

    Returns
    -------
    pandas.DataFrame
        Columns dataset, metric, better and worse (in the paper), paper difference, difference (ours, better less worse), sd,
        low, high (95 % interval), p, p adjusted (for all pairs of the dataset and metric, Holm), wins and losses
        (partitions), n, and order: "the paper's" or "the other" if p adjusted is below 0.05, else "open"; "a tie in the
        paper" where it has one.

    Notes
    -----
    With n partitions no p is below 2 / 2ⁿ, and with 45 pairs no adjusted one below 90 / 2ⁿ: all are open until there are
    11 partitions, however large a difference is. The interval tells how large it is.
    """
    named = values.assign(name=[_name(*one) for one in zip(labels(values), _settings(values))])
    by = ["dataset", "metric"]
    parts = []
    for (dataset, metric), group in pairs(compared).groupby(by, sort=False):
        rows = named[(named["dataset"] == dataset) & (named["metric"] == metric)]
        paired_tests = []
        for pair in group.itertuples():
            both = rows[rows["name"].isin([pair.better, pair.worse])]
            both = both[both.groupby("partition")["name"].transform("nunique") == 2]
            if both.empty:
                raise MemsciError(
                    f"{pair.better!r} and {pair.worse!r} have no partition of {dataset!r} in common with a value of "
                    f"{metric!r}. Measure both on the same partitions."
                )
            with warnings.catch_warnings(action="ignore"):  # of one partition alone: here it is open, and n says why
                paired_tests.append(paired(both, pair.better, pair.worse, column="name"))
        tests = pd.concat(paired_tests, ignore_index=True).drop(columns=["method", "against"]).fillna({"p": 1.0})
        adjusted = holm(tests["p"])
        tests.insert(tests.columns.get_loc("p") + 1, "p adjusted", adjusted)
        about = group[[*by, "better", "worse", "paper difference"]].reset_index(drop=True)
        cases = [about["paper difference"] == 0, adjusted >= LEVEL, tests["difference"] > 0]  # better is better in the paper
        order = np.select(cases, ["a tie in the paper", "open", "the paper's"], "the other")
        parts.append(pd.concat([about, tests.assign(order=order)], axis=1))
    return pd.concat(parts, ignore_index=True)


def ordering(compared: pd.DataFrame) -> pd.DataFrame:
    """How far the order of methods in `compare` agrees with the paper's, per dataset and metric.

    Kendall's τ_b = (C − D) / √((P − T)(P − T′)): C pairs in the same order, D in the other, of P pairs in all, T and T′ of
    them tied in ours and in the paper's. Columns dataset, metric, methods (how many), tau, agree (C), disagree (D), tied,
    reversed (the pairs of D as text, "better > worse" in the paper).
    """
    rows = []
    for (dataset, metric), results in compared.groupby(["dataset", "metric"], sort=False):
        group = pairs(results)
        agree, disagree = int(group["agrees"].sum()), int((~group["agrees"]).sum())
        untied = [int((group[name] != 0).sum()) for name in ("difference", "paper difference")]
        tau = (agree - disagree) / np.sqrt(untied[0] * untied[1]) if all(untied) else np.nan
        reversed_ = group[~group["agrees"].fillna(True)]
        text = "; ".join(f"{better} > {worse}" for better, worse in zip(reversed_["better"], reversed_["worse"]))
        rows.append((dataset, metric, len(results), tau, agree, disagree, len(group) - agree - disagree, text))
    columns = ["dataset", "metric", "methods", "tau", "agree", "disagree", "tied", "reversed"]
    return pd.DataFrame(rows, columns=columns)


def _settings(frame: pd.DataFrame) -> pd.Series:
    """The setting of every row, an empty one where there is none."""
    return frame["setting"].fillna("") if "setting" in frame else pd.Series("", index=frame.index)


def _plain(setting: str) -> str:
    """A setting with its numbers in one form: 1.0 and 1 are the same strength."""
    parts = [part.strip().partition("=") for part in setting.split(";")]
    return "; ".join(f"{name}={_number(value)}" if equals else name for name, equals, value in parts)


def _number(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _main_rows(line: str) -> list[tuple]:
    method, *halves = (part.strip() for part in line.split("|"))
    rows = []
    for dataset, half in zip(_SETS, halves):
        for (metric, unit), printed in zip(_METRICS.items(), half.split()):
            mean, _, sd = printed.partition("±")
            rows.append((dataset, method, "", metric, _share(mean, unit), _share(sd, unit) if sd else np.nan))
    return rows


def _share(printed: str | float, unit: int) -> float:
    return round(float(printed) / unit, 6)


def _printed(text: str) -> list[tuple[str, list[str]]]:
    """What each row of a small table is of, and its two figures."""
    rows = [row.rsplit(maxsplit=2) for row in text.split("|") if row.strip()]
    return [(name.strip(), figures) for name, *figures in rows]


def _name(method: str, setting: str) -> str:
    return f"{method} ({setting})" if setting else method
