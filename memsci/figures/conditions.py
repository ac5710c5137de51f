"""A figure of conditions: what the participants of a design did in each, with intervals within participants."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from memsci.errors import MemsciError, check_columns, check_in
from memsci.figures import draw
from memsci.figures.style import cycle
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import FEWEST_UNITS, unit_means, within_table

APART = 0.12  # between the points of two series, in distances of conditions


def conditions(
    scores: pd.DataFrame,
    metric: str = "qa",
    ax: Axes | None = None,
    *,
    condition: str = "condition",
    unit: str = "participant",
    by: str | None = None,
    title: str = "",
    size: str = "print",
) -> Axes:
    """A point per condition with its interval within units (Cousineau and Morey), and a thin line per unit.

    Intervals of shares are cut at 0 and 100 % (`memsci.measures.statistics.within_table`).

    Parameters
    ----------
    scores
        Scores of the answers of a `memsci.Design`, see `memsci.evaluate.score`.
    metric
        Which of its metrics.
    ax
        Axes to draw into; by default a new figure.
    condition, unit
        Columns of the condition (within units) and of what was repeated.
    by
        A column whose values make series, such as "way" or "method"; default: one series, over all rows.
    title, size
        Over the axes; "print" or "slide".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = pd.DataFrame([{"participant": p, "condition": c, "metric": "logprob", "value": p + k + rng.normal()}
    ...                        for p in range(8) for k, c in enumerate(["near", "far"])])
    >>> conditions(scores, "logprob").get_xlabel()
    'condition'
    """
    check_columns("The table", [condition, unit, "metric", "value", *([by] if by else [])], scores.columns)
    rows = scores[scores["metric"] == metric]
    check_in("metric", metric, METRICS)
    if rows.empty:
        raise MemsciError(f"The table has no metric {metric!r}; it has {sorted(set(scores['metric']))}.")
    names = rows[condition].drop_duplicates().tolist()
    series = {None: rows} if by is None else dict(list(rows.groupby(by, sort=False)))
    bounds = (0.0, 1.0) if METRICS[metric].unit == "share" else (-np.inf, np.inf)
    with draw.canvas(ax, title, size, across=0.5 + 0.06 * len(names)) as ax:
        for k, (name, part) in enumerate(series.items()):
            means = within_table(part, condition, unit=unit, bounds=bounds).set_index(condition).loc[names]
            means.loc[means["n"] < FEWEST_UNITS, ["low", "high"]] = np.nan
            each = unit_means(part, condition, unit=unit).pivot(index=unit, columns=condition, values="value")[names]
            at = np.arange(len(names)) + APART * (k - (len(series) - 1) / 2)
            look = cycle(series)[name]
            ax.plot(at, each.T.to_numpy(), color=look["color"], alpha=0.25, linewidth=0.7, zorder=2)
            ax.errorbar(at, means["mean"], fmt="none", zorder=4, **draw.whiskers(means, "y"))
            shown = {"markersize": 6, "zorder": 5, **look, "linestyle": "-" if len(names) > 1 else ""}
            ax.plot(at, means["mean"], label=name if by else "mean", **shown)
        ax.set_xticks(range(len(names)), [str(name) for name in names])
        ax.set_xlim(-0.5, len(names) - 0.5)
        ax.set_xlabel(condition)
        draw.value_axis(ax, metric)
        units = rows[unit].nunique()
        text = (
            f"95 % interval\nwithin {units} {unit}s"
            if units >= FEWEST_UNITS
            else f"{units} {unit}s:\ntoo few for an interval"
        )
        notes = [draw.note(f"{text}\nthin: each {unit}")]
        draw.legend(ax, notes)
    return ax
