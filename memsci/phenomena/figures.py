"""Figures of phenomena: means over lists with their 95 % intervals, people in axes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from memsci.figures.draw import lines, whiskers
from memsci.figures.style import look, style
from memsci.measures.methods import order

if TYPE_CHECKING:
    from memsci.phenomena.result import Phenomenon

PEOPLE = {"color": "#000000", "marker": "o", "linestyle": "-", "markerfacecolor": "white"}  # in all figures
RECALL = {"spc": "recalled, by position studied", "pfr": "recalled first", "lag crp": "next recall, by lag"}


def by_condition(result: Phenomenon, size: str = "print") -> Figure:
    """A panel per measure: the mean of each method by condition; below it what people did, on a scale of their own.

    Orders and shapes can be compared with people's, levels cannot.
    """
    from memsci.phenomena.result import ABOUT

    means, people = result.means(), result.human
    measures = means["measure"].unique().tolist()
    down = 2 if set(people["measure"]) & set(measures) else 1
    with style(size):
        width, height = mpl.rcParams["figure.figsize"]
        figure, grid = plt.subplots(
            down,
            len(measures),
            squeeze=False,
            layout="constrained",
            figsize=(width * max(1, len(measures) / 2), height * down),
        )
        for column, measure in enumerate(measures):
            rows = means[means["measure"] == measure]
            conditions = rows["condition"].unique().tolist()
            points(grid[0, column], rows, conditions, measure)
            if down == 2:
                own = people[people["measure"] == measure]
                ax: Axes = grid[1, column]
                ax.set_visible(len(own) > 0)
                if len(own):
                    ax.plot(range(len(own)), own["value"], **PEOPLE | {"linestyle": ""})
                    ax.set_xticks(range(len(own)), own["condition"])
                    ax.set_title(f"people: {measure}")
                    ax.margins(x=0.2)
        over_lists(grid[0, -1], means)
        figure.suptitle(ABOUT[result.name].title, x=0.01, ha="left")
    return figure


def points(ax: Axes, means, conditions: list[str], title: str) -> None:
    """The mean of each method in each condition, methods side by side, with whiskers."""
    methods = sorted(means["method"].dropna().unique(), key=order)
    for k, method in enumerate(methods):
        rows = means[means["method"] == method].set_index("condition").reindex(conditions)
        x = np.arange(len(conditions)) + 0.5 * ((k + 0.5) / len(methods) - 0.5)
        ax.errorbar(x, rows["mean"], **whiskers(rows, "y"), **look(method) | {"linestyle": ""}, label=method)
    ax.set_xticks(range(len(conditions)), conditions)
    ax.set_title(title)
    ax.grid(True, axis="y")


def over_lists(ax: Axes, means, units: str = "lists") -> None:
    """The legend of the methods, and what the bars are."""
    n = means["n"].max()
    text = f"95 % interval over {n} {units}" if means["low"].notna().any() else f"{n} {units}: no interval"
    ax.legend(title=text, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def recall_curves(axes: Iterable[Axes], means: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Serial position, first recall and steps in time, a panel each; a line with its band for each series.

    `means` has measure, condition, series, mean, low and high; `looks` says in which order lines are drawn, and how.
    """
    for ax, (measure, title) in zip(axes, RECALL.items()):
        own = means[(means["measure"] == measure) & means["series"].isin(list(looks))]
        frame = own[["series", "mean", "low", "high"]].assign(x=own["condition"].astype(int))
        if measure == "lag crp":  # a line is no step of lag 0
            frame = pd.concat([frame, pd.DataFrame({"x": 0, "series": frame["series"].unique()})])
        lines(ax, frame, "x", {name: how for name, how in looks.items() if name in set(frame["series"])})
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_title(title)
        ax.set_ylim(0, None)
