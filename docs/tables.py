"""The tables of docs/results.md, made from those of the published runs: ``python -m docs.tables``.

A table stands between ``<!-- table KIND RUN DATASET -->`` and ``<!-- end -->``; the words name a function below, a folder of
figures/runs and a data set.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from memsci.figures.series import series
from memsci.measures import paper
from memsci.measures.methods import labels, order
from memsci.measures.metrics import METRICS
from memsci.phenomena.result import told

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
BLOCK = re.compile(r"(<!-- table ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("qa", "parts", "all parts", "recall cos", "logprob", "correct gate", "knowledge")


def page(text: str) -> str:
    """The page with its tables made anew."""

    def make(block: re.Match) -> str:
        kind, *words = block[2].split()
        return f"{block[1]}\n{markdown(KINDS[kind](*words))}\n\n{block[3]}"

    return BLOCK.sub(make, text)


def markdown(table: pd.DataFrame) -> str:
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(metric: str, mean: float, sd: float = float("nan")) -> str:
    """A value as its column says it, with its standard deviation where there is one."""
    of = METRICS[metric]
    decimals = 1 if of.factor == 100 else 3 if of.unit == "cosine" else 2
    if pd.isna(mean):
        return "–"
    spread = "" if pd.isna(sd) else f" ± {of.factor * sd:.{decimals}f}"
    return f"{of.factor * mean:.{decimals}f}{spread}"


def at_end(run: str, dataset: str, over: str = "all memories") -> pd.DataFrame:
    """What a run found after the last memory of a data set, with the names of methods as figures write them."""
    curves = pd.read_csv(ROOT / "figures" / "runs" / run / "curves.csv", keep_default_na=False, na_values={"sd": ""})
    rows = curves[(curves["over"] == over) & (curves["dataset"] == dataset) & curves["metric"].isin(SHOWN)]
    rows = rows[pd.to_numeric(rows["stop"]) == pd.to_numeric(rows["stop"]).max()]
    rows = rows[(rows["metric"] != "correct gate") | (rows["gate"] != "true")]  # right by construction
    return rows.assign(label=labels(rows), mean=rows["mean"].astype(float))


def cells(rows: pd.DataFrame, index: str) -> pd.DataFrame:
    """A row for every value of a column, a column for every metric."""
    value = [written(*one) for one in zip(rows["metric"], rows["mean"], rows["sd"])]
    wide = rows.assign(value=value).pivot_table("value", index, "metric", aggfunc="first", sort=False)
    columns = {name: METRICS[name].column for name in SHOWN if name in wide}
    return wide[list(columns)].rename(columns=columns).fillna("–")


def main(run: str, dataset: str) -> pd.DataFrame:
    """Every method after all memories, beside the paper; what others than MEGa answer after a recall is a column."""
    rows = at_end(run, dataset)
    table = cells(rows[~rows["label"].str.startswith("iRAG on ")], "label")
    recalled = rows[rows["label"].str.startswith("iRAG on ") & (rows["metric"] == "qa")]
    first = {row.method: written("qa", row.mean, row.sd) for row in recalled.itertuples()}
    theirs = paper.beside(rows.drop(columns=["label", "sd"]), 1)
    theirs = theirs[theirs["paper"].notna()].set_index(["method", "metric"])["paper"]
    shown = pd.DataFrame({"method": table.index}, index=table.index)
    for metric in [name for name in SHOWN if name in set(rows["metric"])]:
        column = METRICS[metric].column
        shown[column] = table[column]
        if metric in ("qa", "recall cos", "logprob"):
            shown[f"paper, {column}"] = [written(metric, theirs.get((name, metric))) for name in table.index]
        if metric == "qa":
            shown["recall first, QA %"] = [first.get(name, "–") for name in table.index]
    return shown.sort_index(key=lambda names: names.map(order), kind="stable")


def settings(run: str, dataset: str) -> pd.DataFrame:
    """A run with a row for every method and setting."""
    rows, _ = series(at_end(run, dataset))
    table = cells(rows, "series")
    return table.reset_index(names="setting")


def ways(run: str, dataset: str) -> pd.DataFrame:
    """How many questions have all parts right: a row for every method and setting, a column for every way of asking."""
    rows = at_end(run, dataset).query("metric == 'all parts'")
    named, _ = series(rows.assign(label=labels(rows.assign(way="direct"))))
    named["value"] = [written("all parts", value) for value in named["mean"]]
    wide = named.pivot_table("value", "series", "way", aggfunc="first", sort=False).fillna("–")
    return wide.reset_index(names="setting")


def categories(run: str, dataset: str) -> pd.DataFrame:
    """Means over the prompts of each kind."""
    return cells(at_end(run, dataset, "category"), "category").reset_index(names="kind of prompt")


def beside(run: str, dataset: str) -> pd.DataFrame:
    """A run whose settings stand in a table of the paper."""
    (file,) = (ROOT / "figures" / "runs" / run).glob("*_paper.csv")
    rows = pd.read_csv(file)
    rows = rows[rows["dataset"] == dataset].rename(columns={"method": "label"})
    named, _ = series(rows)
    pairs = zip(named["series"], named["metric"], named["mean"], named["paper"])
    return pd.DataFrame(
        [(name, written(metric, ours), written(metric, theirs)) for name, metric, ours, theirs in pairs],
        columns=["setting", "QA %", "paper, QA %"],
    )


def gates(*runs: str) -> pd.DataFrame:
    """How often each embedding puts the right memory first, among few and among all."""
    parts = {}
    for run in runs:
        curves = pd.read_csv(ROOT / "figures" / "runs" / run / "curves.csv")
        for dataset, rows in curves.groupby("dataset", sort=False):
            for how, of in (("by embedding", "min"), ("by count", "max")):
                some = rows[rows["comparison"] == how]
                count = some["stop"].agg(of)
                rates = some[some["stop"] == count].set_index("embedding")["mean"]
                parts[f"{dataset}, {count:,}"] = rates.map(lambda value: written("correct gate", value))
    return pd.DataFrame(parts).reset_index(names="embedding")


def layers(run: str) -> pd.DataFrame:
    """The paper's embedding read at every layer."""
    curves = pd.read_csv(ROOT / "figures" / "runs" / run / "curves.csv")
    rows = curves[(curves["pooling"] == "mean") & (curves["similarity"] == "inner")].copy()
    rows["value"] = [written("correct gate", value) for value in rows["mean"]]
    rows["column"] = rows["dataset"] + ", " + rows["site"].replace({"mlp": "MLP input", "attention": "attention input"})
    rows["layer"] = rows["layer"] + 1
    return rows.pivot_table("value", "layer", "column", aggfunc="first", sort=False).reset_index()


def claims(run: str) -> pd.DataFrame:
    """What a phenomenon was said to show, and what the test said."""
    (path,) = (ROOT / "figures" / "runs" / run).glob("*_tests.csv")
    rows = pd.read_csv(path).query("verdict != 'not run'")
    number = lambda value: "–" if pd.isna(value) else f"{value:.3g}"
    verdicts = [told(row) for row in rows.itertuples()]
    spread = [f"{number(row.low)} to {number(row.high)}" for row in rows.itertuples()]
    p = rows["p_holm"].map(number)
    return pd.DataFrame(
        {"claim": rows["claim"], "estimate": rows["estimate"].map(number), "interval": spread, "lists": rows["n"],
         "p (Holm)": p, "verdict": verdicts}
    )  # fmt: skip


def file(path: str) -> pd.DataFrame:
    """A table as it lies in the repository."""
    table = pd.read_csv(ROOT / path)
    decimals = {name: 2 if "prob" in name else 1 if "%" in name else 3 for name in table.select_dtypes("number")}
    texts = {
        name: [f"{x:.{d}f}" if pd.notna(x) else "–" for x in table[name]] for name, d in decimals.items() if name != "n"
    }
    return table.assign(**texts)


KINDS = {one.__name__: one for one in (main, settings, ways, categories, beside, gates, layers, claims, file)}

if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
