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
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import ScaledTranslation

from memsci.errors import MemsciError, check_columns, check_in
from memsci.figures.style import WIDTHS, style
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import FEWEST_UNITS

COSINES = 0.2  # least that an axis of cosines spans: recalls that are all but the same look so

NARROW = 4.0  # inches: a style whose figures are less wide has no room for a legend at its side

LONG = 24  # characters of an entry of its legend, two of which do not stand side by side

APART = 3.0  # points between lines that coincide, as they are drawn
MOST_APART = 15.0  # points between the outermost of many

CUT = 0.5  # an axis of shares of which none is below begins near the lowest

UNITS = {"share": " (%)", "nats": " (nats)", "nats per token": " (nats per token)", "cosine": ""}


def check_single(frame: pd.DataFrame, key: list[str]) -> None:
    """Raise unless each point has one row."""
    if (repeated := frame.duplicated(key)).any():
        raise MemsciError(
            f"The table has more than one row for {frame.loc[repeated, key].iloc[0].to_dict()}. Choose the rows of one "
            "figure first: one dataset, one setting, one stop where stops are not its axis."
        )


def rows_of(curves: pd.DataFrame, metric: str, *columns: str) -> pd.DataFrame:
    """The rows of one metric, in a table that has these columns."""
    check_columns("The table", [*columns, "metric", "mean", "low", "high"], curves.columns)
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


def lines(
    ax: Axes, frame: pd.DataFrame, x: str, looks: Mapping[str, Mapping[str, Any]], unit: str = "partition"
) -> list[Artist]:
    """Draw a line with its markers and the band of its interval for every series, the last on top.

    Lines that coincide are drawn `APART`, around where they are (`displaced` names them); bands stay in their places.
    `unit` is what was repeated, in the singular.

    Returns
    -------
    list of matplotlib.artist.Artist
        What the legend says of all lines.
    """
    check_single(frame, ["series", x])
    steps = _steps(frame.pivot(index=x, columns="series", values="mean")[list(looks)])
    for index, (name, look) in enumerate(looks.items()):
        rows = frame[frame["series"] == name].sort_values(x)
        above = index / len(looks)
        band = {"color": look["color"], "zorder": 2 + above}
        if len(rows) == 1:  # a band has no width at a single point
            ax.vlines(rows[x], rows["low"], rows["high"], linewidth=1, **band)
        ax.fill_between(rows[x], rows["low"], rows["high"], alpha=0.13, linewidth=0, **band)
        # A single point is seen on any line.
        (line,) = ax.plot(rows[x], rows["mean"], label=name, zorder=3 + above + (len(rows) == 1), **look)
        if steps[name]:
            displace(line, steps[name])
    notes = [note("lines that coincide\nare drawn apart")] if any(steps.values()) else []
    if text := interval(frame, "\n", unit):
        bounded = frame["low"].notna().any()
        notes.append(Patch(color="#888888", alpha=0.3, linewidth=0, label=text) if bounded else note(text))
    return notes


_DISPLACED = "displaced"  # id of a line that is drawn beside where it is


def displace(artist: Artist, up: float, across: float = 0) -> None:
    """Draw a line so many points up and to the right of where it is."""
    beside = ScaledTranslation(across / 72, up / 72, artist.figure.dpi_scale_trans)
    artist.set_transform(artist.get_transform() + beside)
    artist.set_gid(_DISPLACED)


def displaced(figure: Figure | SubFigure) -> list[str]:
    """The lines of a figure that are drawn beside where they are, as others lie there: for its caption."""
    found = [
        label
        for ax in figure.axes
        for handle, label in zip(*ax.get_legend_handles_labels())
        if any(part.get_gid() == _DISPLACED for part in (handle, *handle.get_children()) if isinstance(part, Artist))
    ]
    return list(dict.fromkeys(found))


def _steps(means: pd.DataFrame) -> dict[str, float]:
    """How far up each line (a column) is drawn, in points: 0 unless it shares a stretch with another.

    A stretch is two neighbouring points, or the only one of both. Lines that meet at single points are left alone.
    """
    groups: list[list[str]] = []
    for name, line in means.items():
        joined = [group for group in groups if any(_share_a_stretch(line, means[other]) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), name])
    steps = dict.fromkeys(means, 0.0)
    for group in groups:
        between = min(APART, MOST_APART / max(len(group) - 1, 1))
        ordered = [name for name in means if name in group]
        steps |= {name: between * ((len(group) - 1) / 2 - turn) for turn, name in enumerate(ordered)}
    return steps


def _share_a_stretch(one: pd.Series, other: pd.Series) -> bool:
    both = one.notna() & other.notna()
    same = np.isclose(one[both], other[both])
    return bool((same[1:] & same[:-1]).any() or (max(one.count(), other.count()) == 1 and same.any()))


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


def value_axis(ax: Axes, metric: str, axis: str = "y", shown: pd.DataFrame | None = None) -> None:
    """Name and unit of the metric; fractions are written as per cent, from 0 to 100.

    Where `shown` (columns mean and low) has no fraction below `CUT`, the vertical axis begins at the ten below the lowest.
    """
    about = METRICS[metric]
    line = ax.yaxis if axis == "y" else ax.xaxis
    line.set_label_text(about.label + UNITS[about.unit])
    if about.unit == "share":
        line.set_major_formatter(per_cent)
        lowest = 0 if shown is None else shown.reindex(columns=["mean", "low"]).min(axis=None)
        start = ten_below(lowest) if lowest >= CUT else 0
        step = next(step for step in (0.02, 0.05, 0.1, 0.2) if (1 - start) / step <= 5.5)
        line.set_major_locator(FixedLocator(np.arange(round((1 - start) / step) + 1)[::-1] * -step + 1))
        # Lines at the very ends stay clear of the frame; bars stand on it.
        clear = 0.03 * (1 - start)
        ax.set_ylim(start - clear, 1 + clear) if axis == "y" else ax.set_xlim(0, 1)
    elif about.unit == "cosine" and axis == "y" and np.ptp(ax.get_ylim()) < COSINES:
        high = min(np.mean(ax.get_ylim()) + COSINES / 2, 1.01)
        ax.set_ylim(high - COSINES, high)
    ax.grid(True, axis=axis)


def ten_below(fraction: float) -> float:
    """The multiple of ten per cent below a fraction.

    Examples
    --------
    >>> ten_below(0.93), ten_below(0.9), ten_below(0)
    (0.9, 0.8, 0.0)
    """
    return max(float(np.ceil(10 * fraction - 1)) / 10, 0.0)


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


def many(first: float, last: float, unit: str) -> str:
    """So many units, the unit given in the singular.

    Examples
    --------
    >>> many(1, 1, "life"), many(5, 5, "life"), many(5, 9, "list")
    ('1 life', '5 lives', '5–9 lists')
    """
    plural = {"life": "lives", "person": "people"}.get(unit, f"{unit}s")
    return f"{between(first, last)} {unit if last == 1 else plural}"


def between(first: float, last: float) -> str:
    """Whole numbers from the first to the last, in short.

    Examples
    --------
    >>> between(5, 9), between(5, 5)
    ('5–9', '5')
    """
    return "–".join(f"{end:,.0f}" for end in dict.fromkeys((first, last)))


def number_axis(ax: Axes, values: Sequence[float], name: str) -> dict[float, float]:
    """A horizontal axis of numbers at their true places: logarithmic where they span more than a decade.

    ∞ stands beyond the largest and, on a logarithmic axis, 0 before the smallest, at a place of their own behind a break.

    Returns
    -------
    dict
        The place of each value.
    """
    values = sorted(values)
    finite = [value for value in values if np.isfinite(value)]
    positive = [value for value in finite if value > 0]
    logarithmic = len(positive) > 1 and finite[0] >= 0 and positive[-1] > 10 * positive[0]
    scale = np.log10 if logarithmic else np.asarray
    inside = positive if logarithmic else finite
    low, high = (float(scale(inside[0])), float(scale(inside[-1]))) if inside else (0.0, 0.0)
    step = max((high - low) / max(len(inside) - 1, 1), 0.12 * (high - low)) or 1.0
    back = (lambda at: 10**at) if logarithmic else (lambda at: at)
    places = {value: value for value in inside}
    if logarithmic and finite[0] == 0:
        places[0.0] = back(low - step)
    if values[-1] == np.inf:
        places[np.inf] = back(high + step)
    if logarithmic:
        ax.set_xscale("log")
        ax.minorticks_off()
    marks: list[float] = []
    for value in values:  # the names of ticks that stand too near are left out
        at, span = float(scale(places[value])), high - low or 1.0
        if not marks or abs(at - scale(places[marks[-1]])) >= 0.06 * span:
            marks.append(value)
    ax.set_xticks([places[value] for value in marks], ["∞" if value == np.inf else f"{value:g}" for value in marks])
    for at in ([low - step / 2] if 0.0 in places and logarithmic else []) + ([high + step / 2] if np.inf in places else []):
        ax.annotate(
            "//", (back(at), 0), xycoords=ax.get_xaxis_transform(), ha="center", va="center", annotation_clip=False,
            zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    ax.set_xlabel(name)
    return places


def interval(frame: pd.DataFrame, joint: str = " ", unit: str = "partition") -> str:
    """What the bands or bars of a figure are; nothing where none are drawn and no one can tell why."""
    counts = sorted(set(frame["n"].dropna().astype(int))) if "n" in frame else []
    if counts and counts[-1] < FEWEST_UNITS:
        units = f"one {unit}" if counts[-1] == 1 else many(counts[0], counts[-1], unit)
        return f"{units}:{joint}no interval"
    if frame["low"].isna().all():
        return ""
    return joint.join(["95 % interval", *([f"over {many(counts[0], counts[-1], unit)}"] if counts else [])])


def note(text: str) -> Artist:
    """Words in a legend, without a mark."""
    return Line2D([], [], linestyle="", label=text)


def legend(ax: Axes, notes: Sequence[Artist] = (), below: int = 0) -> None:
    """The legend, with notes on all that is drawn, at the right of the axes, or as many lines of text below them; in a
    figure as narrow as a column, below all."""
    handles = [*ax.get_legend_handles_labels()[0], *notes]
    figure = ax.figure
    narrow = mpl.rcParams["figure.figsize"][0] < NARROW and isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
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
