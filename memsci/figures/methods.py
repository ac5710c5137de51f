"""Figures of methods: a tidy table of their results in, matplotlib Axes out.

A table must hold one dataset, and one row per line and point (`memsci.figures.draw`). Order, colours and markers of the
methods are the same in every figure (`memsci.figures.look`). All functions take

- metric: which of the table's metrics
- ax: axes to draw into; by default a new figure
- methods: labels of the methods to draw; by default all but "iRAG on X", and "iRAG" where the metric is in `WAYLESS`
- title: over the axes
- size: "print", "slide", "column" or "page"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from memsci.errors import MemsciError, check_columns, check_in
from memsci.figures import draw
from memsci.figures.series import WAYLESS, chosen, series, values_of
from memsci.figures.style import REFERENCE, look, paler
from memsci.measures.methods import order
from memsci.measures.metrics import METRICS

_DIFFERENCES = {"share": " (points)"}  # of per cent
_ON_POINTS = ("nats", "nats per token")
_DECIMALS = {"share": 1, "cosine": 3}  # 2 for all others
_SWEPT = {
    "rank": "rank r of the adapter",
    "beta": "inverse temperature β of the gate",
    "strength": "strength λ of the penalty",
    "paraphrases": "paraphrases per memory",
}


def forgetting_curve(
    curves: pd.DataFrame, metric: str = "recall cos", ax: Axes | None = None, *, methods: Sequence[str] | None = None,
    random: float | None = None, title: str = "The first memory, as more are stored", size: str = "print",
) -> Axes:  # fmt: skip
    """A metric of the first memory against the number of memories stored, a line per method (paper, Figs 2, 3 and 6).

    Parameters
    ----------
    curves
        Columns method (way and gate too, where there are several), stop, metric, mean, low, high. Where a method comes with
        several settings, each has its line.
    random
        Height of the line for random pairs of memories, what the recall of a wrong memory would score; by default the mean
        of the metric "random pair cos" in the table, if it is there. For "recall cos" alone.
    """
    if random is None and (curves["metric"] == "random pair cos").any():
        random = curves.loc[curves["metric"] == "random pair cos", "mean"].mean()
    references = {"random pair": random if metric == "recall cos" else None}
    return _over_memories(curves, "stop", metric, ax, methods, references, title, size)


def retention_curve(
    curves: pd.DataFrame, metric: str = "qa", ax: Axes | None = None, *, methods: Sequence[str] | None = None,
    title: str = "All memories, by how many memories were learnt since", size: str = "print",
) -> Axes:  # fmt: skip
    """A metric against the lag, the number of memories learnt since (not in the paper).

    The table is of means of `memsci.measures.forgetting.retention_by_lag`. Parameters are those of `forgetting_curve`, with
    a column lag instead of stop. With a column until (`memsci.measures.forgetting.bin_lags`) a bin stands at its middle.
    """
    return _over_memories(curves, "lag", metric, ax, methods, {}, title, size)


def knowledge_curve(
    curves: pd.DataFrame, ax: Axes | None = None, *, methods: Sequence[str] | None = None, chance: float | None = 0.25,
    title: str = "General knowledge, as more memories are stored", size: str = "print",
) -> Axes:  # fmt: skip
    """General knowledge (the metric "knowledge") along the sequence of memories (paper, Fig 4).

    Parameters are those of `forgetting_curve`; `chance` is the height of the line for guesses among four options.
    """
    return _over_memories(curves, "stop", "knowledge", ax, methods, {"chance": chance}, title, size)


def _over_memories(
    curves: pd.DataFrame, x: str, metric: str, ax: Axes | None, methods: Sequence[str] | None,
    references: Mapping[str, float | None], title: str, size: str,
) -> Axes:  # fmt: skip
    """A metric against a number of memories, and level lines to compare it with."""
    frame, looks = series(chosen(draw.rows_of(curves, metric, "method", x), metric, methods))
    bins = frame.groupby("lag")["until"].first() if x == "lag" and "until" in frame else None
    if bins is not None:
        frame = frame.assign(lag=(frame["lag"] + frame["until"]) / 2)
    with draw.canvas(ax, title, size) as ax:
        notes = draw.lines(ax, frame, x, looks)
        for name, height in references.items():
            if height is None:
                continue
            if metric == "knowledge" and height < draw.CUT <= frame["mean"].min():
                notes.insert(0, draw.note(f"{name}: {draw.per_cent(height)} %, below"))
            else:
                ax.axhline(height, label=name, zorder=1, **REFERENCE)
        draw.value_axis(ax, metric, shown=frame)
        draw.memory_axis(ax, frame[x], "memories learnt since" if x == "lag" else "memories stored")
        if bins is not None:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.xaxis.set_major_formatter("{x:,.0f}")
            told = ", ".join(draw.between(first, last) for first, last in bins.items())
            ax.set_xlabel(f"memories learnt since (at the middle of bins\n{told})")
        draw.legend(ax, notes)
    return ax


def method_bars(
    curves: pd.DataFrame, metric: str = "qa", ax: Axes | None = None, *, methods: Sequence[str] | None = None,
    title: str = "", size: str = "print",
) -> Axes:  # fmt: skip
    """A bar per method or setting, with the interval of its mean, and mean ± SD in figures (paper, Tables 1 to 3).

    Log probabilities have points instead: a bar would be the longer, the worse, and none has a zero to stand on.

    Parameters
    ----------
    curves
        Columns method (way, gate, setting too, where there are several), metric, mean, sd, low, high, n. Values in a
        column ``paper`` (see `memsci.measures.paper.beside`) are set beside ours as hollow diamonds.
    """
    frame, looks = series(chosen(draw.rows_of(curves, metric, "method", "sd"), metric, methods))
    draw.check_single(frame, ["series"])
    frame = frame.set_index("series").loc[list(looks)]
    heights = np.arange(len(frame))
    # Another prompting mode, or another gate, has an empty bar, beside the filled ones of the learner.
    points = METRICS[metric].unit in _ON_POINTS
    empty = ["markerfacecolor" in look(label) for label in frame["label"]]
    with draw.canvas(ax, title, size, down=0.3 + 0.075 * len(frame)) as ax:
        for height, mean, one, hollow in zip(heights, frame["mean"], looks.values(), empty):
            if points:
                ax.plot(mean, height, zorder=3, **one | {"linestyle": ""})
                continue
            # Paler than the lines of the same methods, so that the interval is seen on every bar.
            fill = "white" if hollow and not all(empty) else paler(one["color"], 0.45)
            ax.barh(height, mean, height=0.66, color=fill, edgecolor=one["color"], linewidth=1, clip_on=False)
        text = draw.interval(frame)
        if bounded := frame["low"].notna().any():
            ax.errorbar(frame["mean"], heights, fmt="none", label=text, **draw.whiskers(frame))
        if "paper" in frame and frame["paper"].notna().any():
            ax.plot(
                frame["paper"], heights, linestyle="", marker="D", markerfacecolor="white", markeredgecolor="black",
                clip_on=False, label="the paper's value (Llama-3.1-8B)",
            )  # fmt: skip
        beside = {"textcoords": "offset points", "annotation_clip": False}
        for height, mean, sd in zip(heights, frame["mean"], frame["sd"]):
            at = {"xy": (1, height), "xycoords": ax.get_yaxis_transform(), "xytext": (6, 0)}
            ax.annotate(_printed(mean, sd, metric), **at, va="center", **beside)
        draw.rows_axis(ax, frame.index)
        draw.value_axis(ax, metric, "x")
        heading = "mean ± SD" if frame["sd"].notna().any() else "mean"
        ax.annotate(heading, (1, 1), xycoords="axes fraction", xytext=(6, 2), **beside)
        above = ax.get_title(loc="left")  # of the heading, too
        ax.set_title(above, loc="left", pad=2 * mpl.rcParams["font.size"] if above else None)
        draw.legend(ax, [draw.note(text)] if text and not bounded else [], below=4)
    return ax


def differences(
    tests: pd.DataFrame, metric: str = "qa", ax: Axes | None = None, *, methods: Sequence[str] = ("MEGa", "iRAG"),
    title: str = "", size: str = "print",
) -> Axes:  # fmt: skip
    """By how much a method, or several, is above each of the others, partition by partition, with the interval of that.

    Parameters
    ----------
    tests
        `memsci.measures.paper.tested` for one dataset: columns metric, better, worse, difference, low, high, n. Points
        whose interval is missing (few partitions) have none.
    methods
        The methods that the others are set against.
    """
    check_columns("The table", ["metric", "better", "worse", "difference", "low", "high", "n"], tests.columns)
    check_in("metric", metric, list(dict.fromkeys(tests["metric"])))
    tests = tests[tests["metric"] == metric]
    swapped = tests.assign(better=tests["worse"], worse=tests["better"], difference=-tests["difference"])
    both = pd.concat([tests, swapped.assign(low=-tests["high"], high=-tests["low"])])
    if metric in WAYLESS and "MEGa" in methods:  # iRAG is the same there
        both = both[(both[["better", "worse"]] != "iRAG").all(axis=1)]
        methods = [name for name in methods if name != "iRAG"]
    both = both[both["better"].isin(list(methods)) & ~both["worse"].isin(list(methods))]
    if both.empty:
        raise MemsciError(f"None of the methods {list(methods)} was tested against another.")
    draw.check_single(both, ["better", "worse"])
    others = sorted(dict.fromkeys(both["worse"]), key=order)
    present = [name for name in methods if name in set(both["better"])]
    unit, text = METRICS[metric].unit, draw.interval(both, "\n")
    with draw.canvas(ax, title, size, down=0.3 + 0.075 * len(others)) as ax:
        ax.axvline(0, zorder=1, **REFERENCE)
        for index, name in enumerate(present):
            rows = both[both["better"] == name].set_index("worse").reindex(others)
            heights = np.arange(len(others)) + 0.3 * (index - (len(present) - 1) / 2)
            looks = look(name) | {"linestyle": ""}
            bars = draw.whiskers(rows, middle="difference") | {"ecolor": looks["color"]}
            ax.errorbar(rows["difference"], heights, label=name, **bars, **looks)
        draw.rows_axis(ax, others)
        what = f"{METRICS[metric].label}: {' and '.join(present)} less this method"
        ax.set_xlabel(what + _DIFFERENCES.get(unit, draw.UNITS[unit]))
        if unit == "share":
            ax.xaxis.set_major_formatter(draw.per_cent)
        ax.grid(True, axis="x")
        draw.legend(ax, [draw.note(text)] if text else [])
    return ax


def sweep(
    curves: pd.DataFrame, setting: str, metric: str = "qa", ax: Axes | None = None, *,
    methods: Sequence[str] | None = None, title: str = "", size: str = "print",
) -> Axes:  # fmt: skip
    """A metric against the values of one setting, a line per method: rank, β, λ, paraphrases (paper, Table 4).

    Parameters
    ----------
    curves
        Columns method (way and gate too, where there are several), setting ("name=value; name=value"), metric, mean, low,
        high. Rows whose setting does not name the swept one are left out.
    setting
        Name of the swept setting, e.g. "rank". Its values stand at their true places, on a logarithmic axis where they span
        more than a decade; there "inf", and 0, have a place of their own behind a break.
    """
    frame = chosen(draw.rows_of(curves, metric, "method", "setting"), metric, methods)
    parts = [values_of(text) for text in frame["setting"].fillna("")]
    if not any(setting in one for one in parts):
        raise MemsciError(f"No row has the setting {setting!r}; settings of the table: {sorted(set(frame['setting']))}.")
    values = pd.Series([one.pop(setting, None) for one in parts], frame.index, dtype=object)
    frame = frame.assign(value=pd.to_numeric(values, errors="coerce"))
    if (words := values[values.notna() & frame["value"].isna()]).size:
        raise MemsciError(f"{setting!r} is not a number in all rows, such as {words.iloc[0]!r}: draw `method_bars` instead.")
    frame["setting"] = ["; ".join(f"{name}={value}" for name, value in one.items()) for one in parts]
    frame, looks = series(frame.dropna(subset="value"))
    with draw.canvas(ax, title, size) as ax:
        places = draw.number_axis(ax, frame["value"].unique(), _SWEPT.get(setting, setting))
        notes = draw.lines(ax, frame.assign(place=frame["value"].map(places)), "place", looks)
        draw.value_axis(ax, metric, shown=frame)
        draw.legend(ax, notes)
    return ax


def prompt_categories(
    curves: pd.DataFrame, metric: str = "qa", ax: Axes | None = None, *, title: str = "", size: str = "print"
) -> Axes:
    """A metric by kind of the prompt that memories were encoded under, and by prompt (paper, Fig 5).

    Parameters
    ----------
    curves
        Columns category, prompt, metric, mean, low, high: a row per prompt, drawn as a dot, and for each category a row
        with an empty prompt for all of them together, drawn with its interval. Categories stand as first named.
    """
    frame = draw.rows_of(curves, metric, "category", "prompt").fillna({"prompt": ""})
    draw.check_single(frame, ["category", "prompt"])
    whole, single = frame[frame["prompt"] == ""].set_index("category", drop=False), frame[frame["prompt"] != ""]
    categories = list(dict.fromkeys(frame["category"]))
    if sorted(categories) != sorted(whole["category"]):
        raise MemsciError(
            f"Each of the categories {categories} needs a row with an empty prompt, for all its prompts together."
        )
    together = ", ".join(filter(None, ("all prompts", draw.interval(whole))))
    with draw.canvas(ax, title, size) as ax:
        for index, category in enumerate(categories):
            dots = single.loc[single["category"] == category, "mean"].sort_values()
            # From left to right in order of height: no two dots hide one another.
            across = index + np.linspace(-0.22, 0.22, len(dots)) if len(dots) > 1 else [index] * len(dots)
            named = ("one prompt", together) if index == 0 else (None, None)
            ax.plot(across, dots, "o", color="#56B4E9", alpha=0.8, markeredgewidth=0, label=named[0])
            row = whole.loc[[category]]
            ax.errorbar(index + 0.36, row["mean"], fmt="D", color="black", label=named[1], **draw.whiskers(row, "y"))
        counts = [int((single["category"] == category).sum()) for category in categories]
        ticks = [f"{name} ({count})".replace(" ", "\n") for name, count in zip(categories, counts)]
        ax.set_xticks(range(len(categories)), ticks)
        ax.set_xlim(-0.5, len(categories) - 0.35)
        ax.set_xlabel("kind of encoding prompt (number of prompts)")
        draw.value_axis(ax, metric, shown=frame)
        draw.legend(ax, below=6)
    return ax


def _printed(mean: float, sd: float, metric: str) -> str:
    """A mean and its SD, fractions in per cent."""
    unit = METRICS[metric].unit
    factor, decimals = 100 if unit == "share" else 1, _DECIMALS.get(unit, 2)
    spread = "" if np.isnan(sd) else f" ± {factor * sd:.{decimals}f}"
    return f"{factor * mean:.{decimals}f}{spread}".replace("-", "−")
