"""Figures of phenomena: means over lists with their 95 % intervals, people in axes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memsci.figures.draw import whiskers
from memsci.figures.style import look, style
from memsci.measures.methods import order

if TYPE_CHECKING:
    from memsci.phenomena.result import Phenomenon

PEOPLE = {"color": "#000000", "marker": "o", "linestyle": "-", "markerfacecolor": "white"}  # in all figures


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


def over_lists(ax: Axes, means) -> None:
    """The legend of the methods, and what the bars are."""
    n = means["n"].max()
    text = f"95 % interval over {n} lists" if means["low"].notna().any() else f"{n} lists: no interval"
    ax.legend(title=text, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
