"""What stands under a figure: what a point and a bar are, n, the test, and which lines lie at an end of the scale."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from memsci.figures.draw import many
from memsci.figures.series import swept, values_of
from memsci.measures.methods import labels
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import FEWEST_UNITS

BOOTSTRAP = "95 % interval of that mean (expanded percentile bootstrap)"
WITHIN = "95 % interval within {}s, for comparing conditions (Cousineau and Morey)"


def caption(
    title: str,
    table: pd.DataFrame,
    metric: str | None = None,
    unit: str = "partition",
    interval: str = BOOTSTRAP,
    test: str = "",
    displaced: Sequence[str] = (),
    paper: bool = False,
) -> str:
    """The caption of a figure, from the table that it is drawn from.

    Parameters
    ----------
    title
        What the figure shows.
    table
        Means with the columns mean, low, high and n, or differences with difference, low, high, p adjusted and n; without n,
        and with a column of the units, single values.
    metric
        Whose means they are: of shares it is told which lines are at 0 or 100 % throughout.
    unit
        What n counts, in the singular.
    interval
        What the bars or bands are.
    test
        The test and its result. Default: what the column "p adjusted" says; without one, that none is shown.
    displaced
        Lines that are drawn beside where they are (`memsci.figures.displaced`).
    paper
        Whether the paper's values stand in it.

    Examples
    --------
    >>> means = pd.DataFrame({"method": ["RAG", "Full"], "mean": [1, 0.4], "low": [1, 0.3], "high": [1, 0.5], "n": 20})
    >>> caption("Answers after 50 memories", means, "qa")  # doctest: +NORMALIZE_WHITESPACE
    'Answers after 50 memories. Means over n = 20 partitions; bars or bands: 95 % interval of that mean (expanded percentile
    bootstrap). No test is shown. At 100 % throughout: RAG.'
    """
    said = [title.rstrip(".") + "."]
    if not {"mean", "difference"} & set(table):
        return f"{said[0]} No means and no test are shown."
    middle = "difference" if "mean" not in table else "mean"
    what = "Mean differences" if middle == "difference" else "Means"
    counts = sorted(set(table["n"].dropna().astype(int))) if "n" in table else []
    over = f"{what} over n = {many(counts[0], counts[-1], unit)}" if counts else what
    if "low" in table and table["low"].notna().any():
        said.append(f"{over}; bars or bands: {interval}.")
    elif counts and counts[-1] < FEWEST_UNITS:
        said.append(f"{over}: too few for an interval (fewer than {FEWEST_UNITS}).")
    elif not counts and unit in table:
        said.append(f"A point is one {unit}, n = {table[unit].nunique()}.")
    else:
        said.append(f"{over}.")
    if not test and "p adjusted" in table and table["p adjusted"].notna().any():
        p = table["p adjusted"]
        ends = " to ".join(dict.fromkeys((f"{p.min():.2g}", f"{p.max():.2g}")))
        test = f"Exact sign-flip test on the same {unit}s, p after Holm's correction {ends}"
    said.append(f"{test.rstrip('.')}." if test else "No test is shown.")
    if metric is not None and METRICS[metric].unit == "share" and middle == "mean":
        said += _at_an_end(table)
    if displaced:
        said.append(f"Drawn a little beside their places, as they coincide with others: {', '.join(displaced)}.")
    if paper:
        said.append("The paper's values are of another base model (Llama-3.1-8B), judge and embedding: compare the orders.")
    return " ".join(said)


def _at_an_end(table: pd.DataFrame) -> list[str]:
    """Which lines are at 0 or 100 % throughout: a panel that shows no difference is to say so."""
    names = labels(table) if "method" in table else pd.Series("", index=table.index)
    if "setting" in table:
        names = names + [f" ({one})" if isinstance(one, str) and one else "" for one in _in_common(table["setting"])]
    said = []
    for share in (0, 1):
        at = table["mean"].eq(share).groupby(names, sort=False).all()
        if at.all():
            return [f"Every value is {100 * share} %: no difference can be seen here."]
        if at.any() and "method" in table:
            said.append(f"At {100 * share} % throughout: {', '.join(at.index[at])}.")
    return said


def _in_common(settings: pd.Series) -> pd.Series:
    """Settings without the one that is swept: of three or more numbers it is the axis."""
    axes = swept(settings.dropna().unique())
    rest = lambda one: "; ".join(f"{name}={value}" for name, value in values_of(one).items() if name not in axes)
    return settings.fillna("").map(rest)
