"""Figures of phenomena: means over lists with their 95 % intervals, people in axes of their own.

A figure is a row of panels; in a journal's column they stand below one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from memsci.figures.draw import lines, many, per_cent, whiskers
from memsci.figures.style import INCH, WIDTHS, look, style
from memsci.measures.methods import order

if TYPE_CHECKING:
    from memsci.phenomena.result import Phenomenon

HEIGHTS = {"column": 1.8, "page": 2.1}  # inches, least of a panel
PEOPLE = {"color": "#000000", "marker": "o", "linestyle": "-", "markerfacecolor": "white"}  # in all figures
# What is drawn of free recalls, and along what.
RECALL = {
    "spc": ("recalled (%)", "position studied"), "pfr": ("recalled first (%)", "position studied"),
    "lag crp": ("next recall (%)", "lag (positions)"),
}  # fmt: skip


def panels(
    count: int, size: str, width: float, height: float, across: int = 1, beside: int = 0
) -> tuple[Figure, np.ndarray]:
    """A figure and its panels, in their order.

    Parameters
    ----------
    count
        Of panels.
    size
        A key of `memsci.figures.SIZES`, whose style is in force.
    width, height
        Inches of the figure and of a row of it, in print and on slides.
    across, beside
        So many stand beside one another in a column (90 mm), and elsewhere; 0: all of them.
    """
    beside = across if size == "column" else beside or count
    down = -(-count // beside)
    height *= down
    if size in WIDTHS:
        width = WIDTHS[size] / INCH
        height = down * float(np.clip(0.8 * width / beside, HEIGHTS[size], 2.3))
    figure, grid = plt.subplots(down, beside, squeeze=False, layout="constrained", figsize=(width, height))
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    return figure, grid.flat[:count]


def legend(ax: Axes, handles: Sequence[Artist] | None = None, title: str | None = None, size: str = "print") -> None:
    """The legend of all panels: at the right of these, the last; for a journal below all, the figure as much higher."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if size not in WIDTHS:
        ax.legend(handles=handles, title=title, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
        return
    figure = ax.figure
    longest = max((len(line) for one in handles for line in one.get_label().split("\n")), default=0)
    room = figure.get_figwidth() * 72 / mpl.rcParams["legend.fontsize"]  # in widths of a letter, more or less
    columns = int(np.clip(room / (0.62 * longest + 5), 1, max(len(handles), 1)))
    figure.legend(handles=handles, title=title, loc="outside lower left", ncols=columns)
    tall = max((one.get_label().count("\n") + 1.4 for one in handles), default=0)
    lines = tall * -(-len(handles) // columns) + (1.6 if title else 0) + 1.6
    figure.set_figheight(figure.get_figheight() + lines * 1.2 * mpl.rcParams["legend.fontsize"] / 72)


def by_condition(result: Phenomenon, size: str = "print") -> Figure:
    """A panel per measure: the mean of each method by condition; below it what people did, on a scale of their own.

    Orders and shapes can be compared with people's, levels cannot.
    """
    from memsci.phenomena.result import ABOUT

    means, people = result.shown(), result.human
    measures = means["measure"].unique().tolist()
    shared = [measure for measure in measures if measure in set(people["measure"])]
    with style(size):
        width, height = mpl.rcParams["figure.figsize"]
        count = len(measures) + len(shared)
        figure, axes = panels(count, size, width * max(1, len(measures) / 2), height, beside=len(measures))
        for ax, measure in zip(axes, measures):
            rows = means[means["measure"] == measure]
            points(ax, rows, rows["condition"].unique().tolist(), measure)
        for ax, measure in zip(axes[len(measures) :], shared):
            own = people[people["measure"] == measure]
            ax.plot(range(len(own)), own["value"], **PEOPLE | {"linestyle": ""})
            ax.set_xticks(range(len(own)), own["condition"])
            ax.set_title(f"people: {measure}")
            ax.margins(x=0.2)
        for ax in axes:
            apart(ax)
        over_lists(axes[-1], means, size, axes[:1], ABOUT[result.name].within)
        if size not in WIDTHS:
            figure.suptitle(ABOUT[result.name].title, x=0.01, ha="left")
    return figure


def apart(ax: Axes) -> None:
    """Slant the names of conditions where they would run into one another."""
    names = [tick.get_text() for tick in ax.get_xticklabels()]
    width = ax.figure.get_figwidth() / ax.get_subplotspec().get_gridspec().ncols - 0.5
    if 0.62 * sum(map(len, names)) * mpl.rcParams["font.size"] / 72 > 0.9 * width:
        ax.set_xticks(ax.get_xticks(), names, rotation=30, ha="right", rotation_mode="anchor")


def over(ax: Axes, means: pd.DataFrame, x: str, title: str, looks: Mapping[str, Mapping[str, Any]] | None = None) -> list:
    """A line per method, or per value of the column series, over a number, with its band; what the legend says of all."""
    if looks is None:
        looks = {name: look(name) for name in sorted(means["method"].unique(), key=order)}
        means = means.assign(series=means["method"])
    notes = lines(ax, means, x, looks, "list")
    ax.set_title(title)
    return notes


def points(ax: Axes, means: pd.DataFrame, conditions: list[str], title: str) -> None:
    """The mean of each method in each condition, methods side by side, with whiskers."""
    methods = sorted(means["method"].dropna().unique(), key=order)
    for k, method in enumerate(methods):
        rows = means[means["method"] == method].set_index("condition").reindex(conditions)
        x = np.arange(len(conditions)) + 0.5 * ((k + 0.5) / len(methods) - 0.5)
        ax.errorbar(x, rows["mean"], **whiskers(rows, "y"), **look(method) | {"linestyle": ""}, label=method)
    ax.set_xticks(range(len(conditions)), conditions)
    ax.set_title(title)
    ax.grid(True, axis="y")


def over_lists(
    ax: Axes, means: pd.DataFrame, size: str, of: Sequence[Axes] = (), within: bool = False, unit: str = "list"
) -> None:
    """The legend of the methods (of these axes, or others), and what the bars are (`bars`)."""
    shown = {label: one for each in (of if len(of) else [ax]) for one, label in zip(*each.get_legend_handles_labels())}
    legend(ax, list(shown.values()), bars(means, within, unit), size)


def bars(means: pd.DataFrame, within: bool = False, unit: str = "list") -> str:
    """What bars and bands are: intervals over lists (or what `unit` names, in the singular), or within them.

    Examples
    --------
    >>> bars(pd.DataFrame({"n": [20], "low": [0.5]}), within=True), bars(pd.DataFrame({"n": [1], "low": [np.nan]}))
    ('95 % interval within 20 lists', '1 list: no interval')
    """
    n = means["n"].max()
    if means["low"].isna().all():
        return f"{many(n, n, unit)}: no interval"
    return f"95 % interval {'within' if within else 'over'} {many(n, n, unit)}"


def recall_curves(axes: Iterable[Axes], means: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Serial position, first recall and steps in time, a panel each; a line with its band for each series.

    `means` has measure, condition, series, mean, low and high; `looks` says in which order lines are drawn, and how.
    """
    for ax, (measure, (title, along)) in zip(axes, RECALL.items()):
        own = means[(means["measure"] == measure) & means["series"].isin(list(looks))]
        frame = own[["series", "mean", "low", "high"]].assign(x=own["condition"].astype(int))
        if measure == "lag crp":  # a line is no step of lag 0
            frame = pd.concat([frame, pd.DataFrame({"x": 0, "series": frame["series"].unique()})])
        lines(ax, frame, "x", {name: how for name, how in looks.items() if name in set(frame["series"])})
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 4, 5, 10]))
        ax.yaxis.set_major_formatter(per_cent)
        ax.set(title=title, xlabel=along, ylim=(0, 1.06 * ax.dataLim.y1))
