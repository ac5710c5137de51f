"""What the figures share: axes, lines with their bands, whiskers, legends, and the checks of their tables.

A table has one row per point: what it is of in the first columns, then metric, mean, sd, low and high (the 95 % interval of
the mean, `memsci.measures.statistics.mean_table`) and n (how many partitions). Bands and bars show that interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import ScaledTranslation

from memsci.errors import MemsciError, check_in
from memsci.figures.style import WIDTHS, style
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import FEWEST_UNITS

COSINES = 0.2  # least that an axis of cosines spans: recalls that are all but the same look so

NARROW = 4.0  # inches: a style whose figures are less wide has no room for a legend at its side

LONG = 24  # characters of an entry of its legend, two of which do not stand side by side

DASH = 3.0  # length of a dash where lines take turns, in widths of a line

UNITS = {"share": " (%)", "nats": " (nats)", "nats per token": " (nats per token)", "cosine": ""}


def check_columns(frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raise unless the table has these columns."""
    if missing := [name for name in needed if name not in frame.columns]:
        raise MemsciError(f"The table needs the column {missing[0]!r} for this figure; it has {list(frame.columns)}.")


def check_single(frame: pd.DataFrame, key: list[str]) -> None:
    """Raise unless each point has one row."""
    if (repeated := frame.duplicated(key)).any():
        raise MemsciError(
            f"The table has more than one row for {frame.loc[repeated, key].iloc[0].to_dict()}. Choose the rows of one "
            "figure first: one dataset, one setting, one stop where stops are not its axis."
        )


def rows_of(curves: pd.DataFrame, metric: str, *columns: str) -> pd.DataFrame:
    """The rows of one metric, in a table that has these columns."""
    check_columns(curves, [*columns, "metric", "mean", "low", "high"])
    check_in("metric", metric, METRICS)
    frame = curves[curves["metric"] == metric]
    if frame.empty:
        raise MemsciError(f"The table has no metric {metric!r}; it has {sorted(set(curves['metric']))}.")
    return frame


@contextmanager
def canvas(ax: Axes | None, title: str, size: str, across: float = 1, down: float = 1) -> Iterator[Axes]:
    """The axes given, or those of a new figure, so many times the size that the style gives; in that style.

    A journal's figures have the width of its column or page, and their title in the caption.
    """
    with style(size):
        if ax is None:
            width, height = mpl.rcParams["figure.figsize"]
            width *= 1 if size in WIDTHS else across
            ax = plt.subplots(layout="constrained", figsize=(width, down * height))[1]
        ax.set_title("" if size in WIDTHS else title)
        yield ax


def lines(ax: Axes, frame: pd.DataFrame, x: str, looks: Mapping[str, Mapping[str, Any]]) -> list[Artist]:
    """Draw a line with its markers and the band of its interval for every series, the last on top.

    Lines that coincide take turns, a dash and a marker each.

    Returns
    -------
    list of matplotlib.artist.Artist
        What the legend says of all lines.
    """
    check_single(frame, ["series", x])
    turns = _turns(frame.pivot(index=x, columns="series", values="mean")[list(looks)])
    for index, (name, look) in enumerate(looks.items()):
        rows = frame[frame["series"] == name].sort_values(x)
        above = index / len(looks)
        band = {"color": look["color"], "zorder": 2 + above}
        if len(rows) == 1:  # a band has no width at a single point
            ax.vlines(rows[x], rows["low"], rows["high"], linewidth=1, **band)
        ax.fill_between(rows[x], rows["low"], rows["high"], alpha=0.13, linewidth=0, **band)
        turn, count = turns[name]
        if count > 1:
            dashes = ((count - turn) * DASH, (DASH, (count - 1) * DASH))
            look = {**look, "linestyle": dashes, "markevery": slice(turn, None, count)}
        # A single point is seen on any line.
        ax.plot(rows[x], rows["mean"], label=name, zorder=3 + above + (len(rows) == 1), **look)
    notes = [note("lines that coincide\ntake turns")] if any(count > 1 for _, count in turns.values()) else []
    if text := interval(frame, "\n"):
        bounded = frame["low"].notna().any()
        notes.append(Patch(color="#888888", alpha=0.3, linewidth=0, label=text) if bounded else note(text))
    return notes


def _turns(means: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """The turn of each line (a column) among those that are the same throughout, and how many these are.

    Lines that meet here and there are left alone, so that one which is above another is drawn above it.
    """
    groups: list[list[str]] = []
    for name, line in means.items():
        for group in groups:
            other = means[group[0]]
            fewest = min(line.count(), other.count())
            if fewest > 1 and np.isclose(line, other).sum() == fewest:
                group.append(name)
                break
        else:
            groups.append([name])
    return {name: (turn, len(group)) for group in groups for turn, name in enumerate(group)}


def whiskers(frame: pd.DataFrame, axis: str = "x", middle: str = "mean") -> dict[str, Any]:
    """The bars of intervals, for `errorbar`: from the middle to low and high, in proportion to the lines of the style."""
    lengths = np.abs(frame[["low", "high"]].sub(frame[middle], axis=0).T.to_numpy())
    width = 0.75 * mpl.rcParams["lines.linewidth"]
    looks = {"ecolor": "black", "elinewidth": width, "capthick": width, "capsize": 2.5 * width}
    return {f"{axis}err": lengths, **looks}


def rows_axis(ax: Axes, names: Sequence[str], margin: float = 0.6) -> None:
    """Names along the vertical axis, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 1 + margin, -margin)
    ax.tick_params(axis="y", length=0)


def value_axis(ax: Axes, metric: str, axis: str = "y") -> None:
    """Name and unit of the metric; fractions are written as per cent, from 0 to 100."""
    about = METRICS[metric]
    line = ax.yaxis if axis == "y" else ax.xaxis
    line.set_label_text(about.label + UNITS[about.unit])
    if about.unit == "share":
        line.set_major_formatter(per_cent)
        line.set_major_locator(FixedLocator(np.linspace(0, 1, 6)))
        # Lines at the very ends stay clear of the frame; bars stand on it.
        ax.set_ylim(-0.03, 1.03) if axis == "y" else ax.set_xlim(0, 1)
    elif about.unit == "cosine" and axis == "y" and np.ptp(ax.get_ylim()) < COSINES:
        high = min(np.mean(ax.get_ylim()) + COSINES / 2, 1.01)
        ax.set_ylim(high - COSINES, high)
    ax.grid(True, axis=axis)


def per_cent(fraction: float, _: int | None = None) -> str:
    """A fraction as a number of per cent.

    Examples
    --------
    >>> per_cent(0.875), per_cent(-0.1)
    ('87.5', '−10')
    """
    return f"{100 * fraction:.5g}".replace("-", "−")


def memory_axis(ax: Axes, counts: pd.Series, name: str = "memories stored") -> None:
    """Numbers of memories; ticks at those that stand far enough apart to be read."""
    kept: list[float] = []
    for count in sorted(counts.unique()):
        if not kept or count - kept[-1] >= 0.08 * counts.max():
            kept.append(count)
    ax.set_xticks(kept, [f"{count:,.0f}" for count in kept])
    ax.set_xlabel(name)


def between(first: float, last: float) -> str:
    """Whole numbers from the first to the last, in short.

    Examples
    --------
    >>> between(5, 9), between(5, 5)
    ('5–9', '5')
    """
    return "–".join(f"{end:,.0f}" for end in dict.fromkeys((first, last)))


def interval(frame: pd.DataFrame, joint: str = " ") -> str:
    """What the bands or bars of a figure are; nothing where none are drawn and no one can tell why."""
    counts = sorted(set(frame["n"].astype(int))) if "n" in frame else []
    if counts and counts[-1] < FEWEST_UNITS:
        many = "one partition" if counts[-1] == 1 else f"{between(counts[0], counts[-1])} partitions"
        return f"{many}:{joint}no interval"
    if frame["low"].isna().all():
        return ""
    return joint.join(["95 % interval", *([f"over {between(counts[0], counts[-1])} partitions"] if counts else [])])


def note(text: str) -> Artist:
    """Words in a legend, without a mark."""
    return Line2D([], [], linestyle="", label=text)


def legend(ax: Axes, notes: Sequence[Artist] = (), below: int = 0) -> None:
    """The legend, with notes on all that is drawn, at the right of the axes, or as many lines of text below them; in a
    figure as narrow as a column, below all."""
    handles = [*ax.get_legend_handles_labels()[0], *notes]
    figure = ax.figure
    narrow = mpl.rcParams["figure.figsize"][0] < NARROW and isinstance(
        figure.get_layout_engine(), ConstrainedLayoutEngine
    )
    if narrow and len(figure.axes) == 1:
        entries = [one.get_label().split("\n") for one in handles]
        columns = 1 if max(len(line) for entry in entries for line in entry) > LONG else 2
        figure.legend(handles=handles[::-1] if below else handles, loc="outside lower left", ncols=columns)
        # The axes keep their height.
        lines = sum(0.4 + len(entry) for entry in entries) / columns + 1
        room = lines * 1.2 * FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points() / 72
        figure.set_figheight(figure.get_figheight() + room)
    elif below:
        lower = ScaledTranslation(0, -below * mpl.rcParams["font.size"] / 72, ax.figure.dpi_scale_trans)
        where = {"bbox_to_anchor": (0, 0), "bbox_transform": ax.transAxes + lower}
        ax.legend(handles=handles[::-1], loc="upper left", borderaxespad=0, **where)
    else:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
