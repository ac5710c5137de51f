"""Figures: a tidy table in, matplotlib Axes out. No torch here: a figure can be redrawn from its CSV.

The figures of results take curves (see `memsci.statistics.mean_table`): one row per point, with what it is of in the first
columns, then metric, mean, sd, low and high (the 95 % interval of the mean) and n (how many partitions). Bands and bars show
that interval. A table must hold one dataset, and one row per line and point; colours, markers and order of the methods are
those of `METHODS_STYLE` in every figure.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MultipleLocator
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from memsci.errors import MemsciError, check_in
from memsci.measures import paper
from memsci.measures.forgetting import bin_lags
from memsci.measures.methods import learner_of, order
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import FEWEST_UNITS, mean_table

COLORS = 256  # of a PNG, chosen for it: no difference is seen, and it takes a third of the bytes

COSINES = 0.2  # least that an axis of cosines spans: recalls that are all but the same look so

DASH = 3.0  # length of a dash where lines take turns, in widths of a line

NAMED = 20  # so many memories have their names at a map of their gates

SIZES = {"print": ("memsci.mplstyle",), "slide": ("memsci.mplstyle", "memsci-slide.mplstyle")}

# Okabe and Ito's colours, two of them darkened; no two methods share a marker, so that none is known by its colour alone.
METHODS_STYLE: dict[str, dict[str, Any]] = {
    "Base": {"color": "#8A8A8A", "marker": "x", "linestyle": ":"},
    "RAG": {"color": "#000000", "marker": "D", "linestyle": "--"},
    "Full": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "Full+L2": {"color": "#56B4E9", "marker": "s", "linestyle": "--"},
    "Full+EWC": {"color": "#00406B", "marker": "^", "linestyle": "-."},
    "Full batch": {"color": "#009E73", "marker": "P", "linestyle": "--"},
    "LoRA": {"color": "#E69F00", "marker": "v", "linestyle": "-"},
    "LoRA+L2": {"color": "#8C6100", "marker": "<", "linestyle": "--"},
    "MEGa": {"color": "#D55E00", "marker": "X", "linestyle": "-"},
    "iRAG": {"color": "#CC79A7", "marker": "h", "linestyle": "-"},
}
_SITES = {  # of the gate's embedding (paper, Fig 7)
    "mlp": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "attention": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    "both": {"color": "#009E73", "marker": "^", "linestyle": "-."},
}
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = "osD^vPXh<>"
_REFERENCE = {"color": "#555555", "linestyle": (0, (1, 1.5)), "linewidth": 1.2}  # lines that are no method

# Recall and knowledge are the same however a question is put afterwards: one line per learner.
WAYLESS = ("recall cos", "correct gate", "knowledge")
_UNITS = {"share": " (%)", "nats": " (nats)", "nats per token": " (nats per token)", "cosine": ""}
_DIFFERENCES = {"share": " (points)"}  # of per cent
_DECIMALS = {"share": 1, "cosine": 3}  # 2 for all others
_SYMBOLS = {"rank": "r", "beta": "β", "strength": "λ"}
# Which of the paper's tables an experiment repeats.
_TABLES = {"main": 1, "compositional": 2, "where-lora": 3, "regularisation": 4}
_WRITTEN = {
    "questions=compositional": "two memories asked about",
    "where=mlp": "MLP, every layer",
    "where=attention": "attention, every layer",
    "where=all": "both, every layer",
    "layers=early": "MLP, early layers",
    "layers=middle": "MLP, middle layers",
    "layers=late": "MLP, late layers",
    "kind=sentence": "MiniLM",
    "kind=words": "TF-IDF",
    "kind=hybrid": "MiniLM + TF-IDF",
    "similarity=cosine": "cosine",
    "similarity=inner": "inner product",
}
_SWEPT = {
    "rank": "rank r of the adapter",
    "beta": "inverse temperature β of the gate",
    "strength": "strength λ of the penalty",
    "paraphrases": "paraphrases per memory",
}


@contextmanager
def style(size: str = "print") -> Iterator[None]:
    """The style sheets of all figures, for a ``with`` block: size "print" or "slide".

    Raises
    ------
    MemsciError
        The size is neither.
    """
    check_in("size", size, SIZES)
    with plt.style.context([str(resources.files("memsci.figures") / name) for name in SIZES[size]]):
        yield
        # Jupyter's backend is loaded at the first figure and makes matplotlib interactive, which must outlast the style.
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)


def look(label: str) -> dict[str, Any]:
    """Colour, marker and line of a method by its label (`memsci.measures.methods.label`).

    "iRAG on X" and "X, true gate" have X's, with hollow markers and a dotted line. Other names are grey.
    """
    base = METHODS_STYLE.get(learner_of(label), {"color": "#666666", "marker": ".", "linestyle": "-"})
    return dict(base) if learner_of(label) == label else {**base, "linestyle": ":", "markerfacecolor": "white"}


def forgetting_curve(
    curves: pd.DataFrame,
    metric: str = "recall cos",
    ax: Axes | None = None,
    *,
    methods: Sequence[str] | None = None,
    random: float | None = None,
    title: str = "The first memory, as more are stored",
    size: str = "print",
) -> Axes:
    """A metric of the first memory against the number of memories stored, a line per method (paper, Figs 2, 3 and 6).

    Parameters
    ----------
    curves
        Columns method (way and gate too, where there are several), stop, metric, mean, low, high. Where a method comes with
        several settings, each has its line.
    metric
        Which of the table's metrics.
    ax
        Axes to draw into; by default a new figure.
    methods
        Labels of the methods to draw; by default all but "iRAG on X", and "iRAG" where the way of asking changes nothing.
    random
        Height of the line for random pairs of memories, what the recall of a wrong memory would score; by default the mean
        of the metric "random pair cos" in the table, if it is there. For "recall cos" alone.
    title
        Over the axes.
    size
        "print" or "slide".

    Raises
    ------
    MemsciError
        A column, the metric or every method is missing, or there is more than one row for a method at a stop.
    """
    if random is None and (curves["metric"] == "random pair cos").any():
        random = curves.loc[curves["metric"] == "random pair cos", "mean"].mean()
    references = {"random pair": random if metric == "recall cos" else None}
    return _over_memories(curves, "stop", metric, ax, methods, references, title, size)


def retention_curve(
    curves: pd.DataFrame,
    metric: str = "qa",
    ax: Axes | None = None,
    *,
    methods: Sequence[str] | None = None,
    title: str = "All memories, by how many memories were learnt since",
    size: str = "print",
) -> Axes:
    """A metric against the lag, the number of memories learnt since (not in the paper).

    The table is of means of `memsci.forgetting.retention_by_lag`. Parameters and errors are those of `forgetting_curve`,
    with a column lag instead of stop. With a column until (`memsci.forgetting.bin_lags`) the bins stand at equal distances.
    """
    return _over_memories(curves, "lag", metric, ax, methods, {}, title, size)


def knowledge_curve(
    curves: pd.DataFrame,
    ax: Axes | None = None,
    *,
    methods: Sequence[str] | None = None,
    chance: float | None = 0.25,
    title: str = "General knowledge, as more memories are stored",
    size: str = "print",
) -> Axes:
    """General knowledge (the metric "knowledge") along the sequence of memories (paper, Fig 4).

    Parameters and errors are those of `forgetting_curve`; `chance` is the height of the line for guesses among four options.
    """
    return _over_memories(curves, "stop", "knowledge", ax, methods, {"chance": chance}, title, size)


def method_bars(
    curves: pd.DataFrame,
    metric: str = "qa",
    ax: Axes | None = None,
    *,
    methods: Sequence[str] | None = None,
    title: str = "",
    size: str = "print",
) -> Axes:
    """A bar per method or setting, with the interval of its mean, and mean ± SD in figures (paper, Tables 1 to 3).

    Parameters
    ----------
    curves
        Columns method (way, gate, setting too, where there are several), metric, mean, sd, low, high, n. Values in a
        column ``paper`` (see `memsci.paper.compare`) are set beside ours as hollow diamonds.
    metric, ax, methods, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column, the metric or every method is missing, or there is more than one row for a bar.
    """
    frame, looks = _series(_wanted(_of(curves, metric, "method", "sd"), metric, methods))
    _check_single(frame, ["series"])
    frame = frame.set_index("series").loc[list(looks)]
    with style(size):
        ax = _axes(ax, down=0.3 + 0.075 * len(frame))
        places = np.arange(len(frame))
        # Another way of asking, or another gate, has an empty bar, beside the filled ones of the learner.
        empty = ["markerfacecolor" in look(label) for label in frame["label"]]
        for place, mean, one, hollow in zip(places, frame["mean"], looks.values(), empty):
            # Paler than the lines of the same methods, so that the interval is seen on every bar.
            fill = "white" if hollow and not all(empty) else _paler(one["color"], 0.45)
            ax.barh(place, mean, height=0.66, color=fill, edgecolor=one["color"], linewidth=1, clip_on=False)
        told = _interval(frame)
        if bounded := frame["low"].notna().any():
            whiskers = np.abs(frame[["low", "high"]].sub(frame["mean"], axis=0).T.to_numpy())
            ax.errorbar(frame["mean"], places, xerr=whiskers, fmt="none", label=told, **_whiskers())
        if "paper" in frame and frame["paper"].notna().any():
            ax.plot(
                frame["paper"], places, linestyle="", marker="D", markerfacecolor="white", markeredgecolor="black",
                clip_on=False, label="the paper's value (Llama-3.1-8B)",
            )  # fmt: skip
        for place, mean, sd in zip(places, frame["mean"], frame["sd"]):
            ax.annotate(
                _printed(mean, sd, metric), (1, place), xycoords=ax.get_yaxis_transform(), xytext=(6, 0),
                textcoords="offset points", va="center", annotation_clip=False,
            )  # fmt: skip
        ax.set_yticks(places, frame.index)
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        _value_axis(ax, metric, "x")
        ax.set_title(title)
        beside = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
        ax.annotate("mean ± SD" if frame["sd"].notna().any() else "mean", (1, 1), xytext=(6, 2), **beside)
        _legend(ax, [_note(told)] if told and not bounded else [], below=4)
    return ax


def differences(
    tests: pd.DataFrame,
    metric: str = "qa",
    ax: Axes | None = None,
    *,
    methods: Sequence[str] = ("MEGa", "iRAG"),
    title: str = "",
    size: str = "print",
) -> Axes:
    """By how much a method, or several, is above each of the others, partition by partition, with the interval of that.

    Parameters
    ----------
    tests
        `memsci.paper.tested` for one dataset: columns metric, better, worse, difference, low, high, n.
    metric, ax, title, size
        As in `forgetting_curve`. Points whose interval is missing (few partitions) have none.
    methods
        The methods that the others are set against.

    Raises
    ------
    MemsciError
        A column or the metric is missing, none of the methods was tested, or a pair is there twice.
    """
    _check_columns(tests, ["metric", "better", "worse", "difference", "low", "high", "n"])
    check_in("metric", metric, list(dict.fromkeys(tests["metric"])))
    tests = tests[tests["metric"] == metric]
    turned = tests.assign(better=tests["worse"], worse=tests["better"], difference=-tests["difference"])
    turned = turned.assign(low=-tests["high"], high=-tests["low"])
    both = pd.concat([tests, turned])
    if metric in WAYLESS and "MEGa" in methods:  # iRAG is the same there
        both, methods = both[(both[["better", "worse"]] != "iRAG").all(axis=1)], [name for name in methods if name != "iRAG"]
    both = both[both["better"].isin(list(methods)) & ~both["worse"].isin(list(methods))]
    if both.empty:
        raise MemsciError(f"None of the methods {list(methods)} was tested against another.")
    _check_single(both, ["better", "worse"])
    others = sorted(dict.fromkeys(both["worse"]), key=order)
    there = [name for name in methods if name in set(both["better"])]
    with style(size):
        ax = _axes(ax, down=0.3 + 0.075 * len(others))
        ax.axvline(0, zorder=1, **_REFERENCE)
        for place, name in enumerate(there):
            rows = both[both["better"] == name].set_index("worse").reindex(others)
            heights = np.arange(len(others)) + 0.3 * (place - (len(there) - 1) / 2)
            one = look(name)
            whiskers = np.abs(rows[["low", "high"]].sub(rows["difference"], axis=0).T.to_numpy())
            ax.errorbar(
                rows["difference"], heights, xerr=whiskers, label=name, **{**_whiskers(), "ecolor": one["color"]},
                **{**one, "linestyle": ""},
            )  # fmt: skip
        ax.set_yticks(range(len(others)), others)
        ax.set_ylim(len(others) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        unit = METRICS[metric].unit
        what = f"{METRICS[metric].label}: {' and '.join(there)} less this method"
        ax.set_xlabel(what + _DIFFERENCES.get(unit, _UNITS[unit]))
        if unit == "share":
            ax.xaxis.set_major_formatter(_per_cent)
        ax.grid(True, axis="x")
        ax.set_title(title)
        told = _interval(both, "\n")
        _legend(ax, [_note(told)] if told else [])
    return ax


def sweep(
    curves: pd.DataFrame,
    setting: str,
    metric: str = "qa",
    ax: Axes | None = None,
    *,
    methods: Sequence[str] | None = None,
    title: str = "",
    size: str = "print",
) -> Axes:
    """A metric against the values of one setting, a line per method: rank, β, λ, paraphrases (paper, Table 4).

    Parameters
    ----------
    curves
        Columns method (way and gate too, where there are several), setting ("name=value; name=value"), metric, mean, low,
        high. Rows whose setting does not name the swept one are left out.
    setting
        Name of the swept setting, e.g. "rank". Its values stand in order and at equal distances, "inf" last.
    metric, ax, methods, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column, the metric, the setting or every method is missing, or there is more than one row for a point.
    """
    frame = _wanted(_of(curves, metric, "method", "setting"), metric, methods)
    parts = [_parts(text) for text in frame["setting"].fillna("")]
    if not any(setting in one for one in parts):
        raise MemsciError(f"No row has the setting {setting!r}; settings of the table: {sorted(set(frame['setting']))}.")
    frame = frame.assign(value=[float(one.pop(setting, "nan")) for one in parts])
    frame["setting"] = ["; ".join(f"{name}={value}" for name, value in one.items()) for one in parts]
    frame, looks = _series(frame.dropna(subset="value"))
    values = sorted(frame["value"].unique())
    frame = frame.assign(place=frame["value"].map(values.index))
    with style(size):
        ax = _axes(ax)
        told = _lines(ax, frame, "place", looks)
        ax.set_xticks(range(len(values)), ["∞" if np.isinf(value) else f"{value:g}" for value in values])
        ax.set_xlabel(_SWEPT.get(setting, setting))
        _value_axis(ax, metric)
        ax.set_title(title)
        _legend(ax, told)
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
    metric, ax, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column or the metric is missing, or a category has not exactly one row of its own.
    """
    frame = _of(curves, metric, "category", "prompt").fillna({"prompt": ""})
    _check_single(frame, ["category", "prompt"])
    whole, single = frame[frame["prompt"] == ""], frame[frame["prompt"] != ""]
    order = list(dict.fromkeys(frame["category"]))
    if sorted(order) != sorted(whole["category"]):
        raise MemsciError(f"Each of the categories {order} needs a row with an empty prompt, for all its prompts together.")
    with style(size):
        ax = _axes(ax)
        for place, category in enumerate(order):
            dots = single.loc[single["category"] == category, "mean"].sort_values()
            # From left to right in order of height: no two dots hide one another.
            across = place + np.linspace(-0.22, 0.22, len(dots)) if len(dots) > 1 else [place] * len(dots)
            together = ", ".join(filter(None, ("all prompts", _interval(whole))))
            named = ("one prompt", together) if place == 0 else (None, None)
            ax.plot(across, dots, "o", color="#56B4E9", alpha=0.8, markeredgewidth=0, label=named[0])
            row = whole[whole["category"] == category].iloc[0]
            ax.errorbar(
                place + 0.36, row["mean"], yerr=[[row["mean"] - row["low"]], [row["high"] - row["mean"]]], fmt="D",
                color="black", label=named[1], **_whiskers(),
            )  # fmt: skip
        counts = [int((single["category"] == category).sum()) for category in order]
        written = [f"{name} ({count})".replace(" ", "\n") for name, count in zip(order, counts)]
        ax.set_xticks(range(len(order)), written)
        ax.set_xlim(-0.5, len(order) - 0.35)
        ax.set_xlabel("kind of encoding prompt (number of prompts)")
        _value_axis(ax, metric)
        ax.set_title(title)
        _legend(ax, below=6)
    return ax


def gate_by_layer(curves: pd.DataFrame, ax: Axes | None = None, *, title: str = "", size: str = "print") -> Axes:
    """Correct-gate rate by the layer whose activations are the embedding, MLP input against attention input (paper, Fig 7).

    Parameters
    ----------
    curves
        Columns layer (counted from 0), site ("mlp", "attention" or "both"), metric ("correct gate"), mean, low, high; lines
        are also told apart by pooling and similarity where the table has several.
    ax, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column or the metric is missing, or there is more than one row for a point.
    """
    frame = _of(curves, "correct gate", "layer", "site")
    kinds = [name for name in ("pooling", "similarity") if name in frame and frame[name].nunique() > 1]
    variants = frame[kinds].astype(str).agg(", ".join, axis=1) if kinds else pd.Series("", index=frame.index)
    variants = variants.str.replace("idf^0.5", "√IDF", regex=False).str.replace("idf", "IDF", regex=False)
    rules = list(dict.fromkeys(variants))
    sites = [site for site in _SITES if (frame["site"] == site).any()]
    named = frame["site"].map(_site)
    with style(size):
        if len(sites) == 1 and len(rules) > 1:
            frame, looks = frame.assign(series=variants), _cycle(rules)
            title = ", ".join(filter(None, (title, _site(sites[0]))))
        else:
            frame = frame.assign(series=named.where(variants == "", named + ", " + variants))
            looks = {
                f"{_site(site)}, {rule}" if rule else _site(site): _variant(_SITES[site], place, len(rules))
                if len(rules) > 1
                else _SITES[site]
                for site in sites
                for place, rule in enumerate(rules)
            }
        ax = _axes(ax, across=1.2)  # names are long
        told = _lines(ax, frame, "layer", looks)
        layers = sorted(frame["layer"].unique())
        ax.set_xticks(layers[:: 1 + len(layers) // 16])
        ax.set_xlabel("layer of the embedding, counted from 0")
        _value_axis(ax, "correct gate")
        ax.set_title(title)
        _legend(ax, told)
    return ax


def _site(site: str) -> str:
    return {"mlp": "MLP input", "both": "both inputs"}.get(site, f"{site} input")


def embedding_curve(
    curves: pd.DataFrame,
    metric: str = "correct gate",
    ax: Axes | None = None,
    *,
    x: str = "stop",
    title: str = "",
    size: str = "print",
) -> Axes:
    """A metric against the number of memories stored, a line per embedding of the gate (paper, Figs 8 and 9).

    Parameters
    ----------
    curves
        Columns embedding, `x`, metric, mean, low, high. Embeddings keep the order in which they are first named.
    x
        Column with the number of memories.
    metric, ax, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column or the metric is missing, or there is more than one row for a point.
    """
    frame = _of(curves, metric, "embedding", x)
    frame = frame.assign(series=frame["embedding"].map(_in_lines))
    with style(size):
        ax = _axes(ax, across=1.2)  # names are long
        told = _lines(ax, frame, x, _cycle(dict.fromkeys(frame["series"])))
        _value_axis(ax, metric)
        _memory_axis(ax, frame[x], "memories stored")
        ax.set_title(title)
        _legend(ax, told)
    return ax


def _in_lines(name: str) -> str:
    """A long name in several lines, so that it leaves room for the axes."""
    return textwrap.fill(name, 36)


def gate_per_partition(rates: pd.DataFrame, ax: Axes | None = None, *, title: str = "", size: str = "print") -> Axes:
    """Correct-gate rate of every partition, by embedding (paper, Fig 9).

    Parameters
    ----------
    rates
        Columns embedding, partition, mean: a dot each. The line across is their mean. The axis begins at the ten per cent
        below the lowest.
    ax, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column is missing, or an embedding has more than one row for a partition.
    """
    _check_columns(rates, ["embedding", "partition", "mean"])
    _check_single(rates, ["embedding", "partition"])
    with style(size):
        looks = _cycle(dict.fromkeys(rates["embedding"]))
        ax = _axes(ax, down=0.3 + 0.1 * len(looks))
        for place, (embedding, one) in enumerate(looks.items()):
            values = rates.loc[rates["embedding"] == embedding, "mean"].sort_values()
            # Partitions of the same rate stand beside one another.
            same = values.groupby(values).cumcount() - (values.groupby(values).transform("size") - 1) / 2
            ax.plot(
                values, place + 0.085 * same.clip(-4, 4), one["marker"], color=one["color"], alpha=0.75, markeredgewidth=0,
                clip_on=False,
            )  # fmt: skip
            ax.vlines(values.mean(), place - 0.38, place + 0.38, color="black", linewidth=1.2)
        ax.set_yticks(range(len(looks)), [_in_lines(name) for name in looks])
        ax.set_ylim(len(looks) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        _value_axis(ax, "correct gate", "x")
        ax.set_xlim(left=max(np.ceil(10 * rates["mean"].min() - 1) / 10, 0))
        ax.xaxis.set_major_locator(MultipleLocator(0.1))
        ax.set_xlabel(f"{ax.get_xlabel()}\na point per partition, their mean as a line")
        ax.set_title(title)
    return ax


def confusion(
    shares: pd.DataFrame,
    ax: Axes | None = None,
    *,
    ids: Sequence[str] | None = None,
    title: str = "",
    size: str = "print",
) -> Axes:
    """Which memory the gate opens most for questions about each memory (paper, Fig 8).

    Parameters
    ----------
    shares
        Columns memory_id (asked about), top_id (highest gate) and share, as `memsci.metrics.gate_confusion` has them once
        it is stacked; pairs that are not there never occurred.
    ids
        Order of the memories; by default that in which column memory_id first names them, then top_id.
    ax, title, size
        As in `forgetting_curve`.

    Raises
    ------
    MemsciError
        A column is missing, a pair is there twice, or `ids` lacks a memory.
    """
    _check_columns(shares, ["memory_id", "top_id", "share"])
    _check_single(shares, ["memory_id", "top_id"])
    named = list(dict.fromkeys([*shares["memory_id"], *shares["top_id"]]))
    ids = named if ids is None else list(ids)
    if lacking := [id for id in named if id not in ids]:
        raise MemsciError(f"ids must name every memory of the table, and {lacking[0]!r} is not among the {len(ids)} given.")
    grid = shares.pivot(index="memory_id", columns="top_id", values="share").reindex(index=ids, columns=ids).fillna(0)
    with style(size):
        ax = _axes(ax, across=0.72, down=1.15)
        # A power scale: a third of the questions of one memory must be seen beside a diagonal of ones.
        edge = len(ids) + 0.5
        image = ax.imshow(
            grid.to_numpy(), cmap="Blues", norm=mpl.colors.PowerNorm(0.6, 0, 1), extent=(0.5, edge, edge, 0.5),
            interpolation="nearest",
        )  # fmt: skip
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.7, ticks=[0, 0.1, 0.33, 0.67, 1])
        bar.set_label("share of the questions (%)")
        bar.ax.yaxis.set_major_formatter(_per_cent)
        bar.outline.set_visible(False)
        ticks = _numbers(len(ids))
        ax.set_xticks(ticks)
        ax.set_yticks(ticks)
        ax.spines[["top", "right"]].set_visible(True)
        ax.set(xlabel="memory with the highest gate", ylabel="memory asked about", title=title)
    return ax


def _numbers(count: int) -> list[int]:
    """Which of so many memories, counted from 1, have their number at an axis."""
    if count <= NAMED:
        return [*range(1, count + 1)]
    step = 10 * (1 + count // 100)
    return [1, *range(step, count + 1, step)]


def gate_map(frame: pd.DataFrame, ax: Axes | None = None, ids: Sequence[str] | None = None) -> Axes:
    """Heat map of gating weights, queries by memories.

    Parameters
    ----------
    frame
        As `memsci.gate.Gate.frame` gives it: columns query, id, label, weight, score.
    ax
        Axes to draw into; by default a new figure.
    ids
        Order of the memories, e.g. that of `memsci.MEGa.ids`; by default that in which the table first names them.

    Returns
    -------
    matplotlib.axes.Axes
        Rows are queries, columns are memories in their order, colour is the weight from 0 to 1. Both are counted from 1, as
        in `confusion`; up to 20 memories have their labels beside their numbers.
    """
    labels = frame.drop_duplicates("id").set_index("id")["label"]
    labels = labels if ids is None else labels.loc[list(ids)]
    grid = frame.pivot(index="query", columns="id", values="weight")[labels.index]
    named = len(labels) <= NAMED
    with style():
        if ax is None:
            cell, below = (0.2, 1.2) if named else (0.13, 0)  # inches: of a row or column, for the names
            height, width = (cell * count for count in grid.shape)
            _, ax = plt.subplots(figsize=(2.2 + width, 1.6 + below + height), layout="constrained")
        sns.heatmap(
            grid, vmin=0, vmax=1, cmap=mpl.rcParams["image.cmap"], ax=ax, cbar_kws={"label": "gate g", "shrink": 0.6},
            xticklabels=False, yticklabels=False,
        )  # fmt: skip
        rows, columns = map(_numbers, grid.shape)
        ax.set_yticks([number - 0.5 for number in rows], rows)
        ax.set_xticks([number - 0.5 for number in columns], columns)
        if named:
            ax.set_xticklabels([f"{name} {number}" for number, name in enumerate(labels, 1)], rotation=90)
        ax.set(xlabel="memory", ylabel="question about memory", title="Gating weights, one row per question")
    return ax


def save(ax: Axes, stem: str | Path, table: pd.DataFrame) -> list[Path]:
    """Write a figure as PNG and PDF, and the table it was drawn from as CSV, beside one another.

    Parameters
    ----------
    ax
        Any axes of the figure.
    stem
        Path without an ending, e.g. ``figures/demo_gate``.
    table
        The numbers of the figure.

    Returns
    -------
    list of Path
        The files, the same bytes for the same numbers.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with style():
        files = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "pdf")]
        ax.figure.savefig(drawn := BytesIO(), format="png")
        picture = Image.open(drawn)
        flat = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        flat.save(files[0], optimize=True, dpi=picture.info["dpi"])
        ax.figure.savefig(files[1], metadata={"CreationDate": None})  # the same numbers give the same bytes
    plt.close(ax.figure)
    files.append(stem.with_name(f"{stem.name}.csv"))
    table.to_csv(files[-1], index=False, float_format="%.6g")
    return files


def redraw(run: str | Path, out: str | Path = "figures", size: str = "print") -> list[Path]:
    """Draw all figures of a run anew from its tables, and set its results beside the paper's.

    What is drawn follows from what the tables hold: forgetting, retention and knowledge where there are several stops; a
    curve over each setting with three or more numbers; kinds of encoding prompts; bars for all else; and the figures of the
    gate by layer, embedding and number of memories.

    Parameters
    ----------
    run
        Folder of a run, or one that `memsci.runs.ship` has filled. Its curves.csv is read, partitions.csv.gz for lags (drawn
        in bins, see `memsci.forgetting.bin_lags`) and single partitions, and confusion.csv of a run of gates. The experiment
        is that of its run.json; without one, that of the folder's name, such as "main-0123456789ab".
    out
        Folder for the figures: ``main_episodic_first-memory_qa.pdf``, .png and .csv (the rows that are drawn), and for
        results that have a counterpart in the paper ``main_paper.csv`` (`memsci.paper.compare`), ``main_order.csv``
        (`memsci.paper.ordering`) and ``main_tests.csv`` (`memsci.paper.tested`), which is drawn where there are several
        partitions.
    size
        "print" or "slide".

    Returns
    -------
    list of Path
        The files, the same bytes for the same tables.

    Raises
    ------
    MemsciError
        The folder has no curves.
    """
    folder, out = Path(run), Path(out)
    check_in("size", size, SIZES)
    if not (folder / "curves.csv").is_file():
        raise MemsciError(f"{folder} has no curves.csv. Give the folder of a run that 'memsci run' made and finished.")
    experiment = folder.name.rpartition("-")[0] or folder.name
    if (folder / "run.json").is_file():
        experiment = json.loads((folder / "run.json").read_text(encoding="utf-8"))["experiment"]
    curves = _read(folder / "curves.csv")
    of_gates = "comparison" in curves.columns
    files = []
    for dataset, rows in curves.groupby("dataset", sort=False):
        plan = _gate_results(rows, folder, dataset) if of_gates else _results(rows, folder, dataset, experiment)
        named = dataset.capitalize() if dataset in paper.COUNTERPARTS else str(dataset)
        for name, metric, title, drawn, draw in plan:
            ax = draw(drawn, title=f"{named}, {METRICS[metric].label}: {title}", size=size)
            files += save(ax, out / "_".join(map(_slug, (experiment, str(dataset), *name))), drawn)
    if not of_gates and experiment in _TABLES and curves["dataset"].isin(list(paper.COUNTERPARTS)).any():
        compared = paper.compare(_last(curves), _TABLES[experiment])
        tests = paper.tested(compared, _last(_read(folder / "partitions.csv.gz")))
        for name, table in (("paper", compared), ("order", paper.ordering(compared)), ("tests", tests)):
            files.append(out / f"{_slug(experiment)}_{name}.csv")
            table.to_csv(files[-1], index=False, float_format="%.6g")
        against = tests[tests["n"].gt(1) & tests[["better", "worse"]].isin(["MEGa", "iRAG"]).any(axis=1)]
        for (dataset, metric), drawn in against.groupby(["dataset", "metric"], sort=False):
            title = f"{dataset.capitalize()}, {METRICS[metric].label}: differences"
            ax = differences(drawn, metric, title=title, size=size)
            files += save(ax, out / "_".join(map(_slug, (experiment, dataset, "differences", metric))), drawn)
    return files


def _slug(name: str) -> str:
    """A name as a part of a file's: lower-case letters, digits, and single hyphens between them."""
    return re.sub(r"[\W_]+", "-", name.lower().replace("'", "")).strip("-")


# Of figures: parts of the file's name, the metric, what the title says of it, rows, how they are drawn.
_Plan = Iterator[tuple[tuple[str, ...], str, str, pd.DataFrame, Callable[..., Axes]]]


def _results(curves: pd.DataFrame, folder: Path, dataset: str, experiment: str) -> _Plan:
    """The figures of a run in which memories were learnt and asked about, for one dataset."""
    known = [name for name in METRICS if name not in ("random pair cos", "logprob per token")]
    curves = curves[(curves["metric"] != "correct gate") | (curves["gate"] != "true")]  # which is correct by construction
    last = _last(curves)
    first = curves[(curves["over"] == "first memory") & curves["metric"].isin(known)]
    for metric, drawn in first.groupby("metric", sort=False):
        drawn = _wanted(drawn, metric, None).drop(columns="label")
        if metric == "recall cos":
            drawn = pd.concat([drawn, last[last["metric"] == "random pair cos"].head(1)])
        draw = partial(forgetting_curve, metric=metric)
        yield ("first memory", metric), metric, "the first memory, as more are stored", drawn, draw
    if (curves["over"] == "lag").any():
        values = _read(folder / "partitions.csv.gz").query("dataset == @dataset and over == 'lag' and metric in @known")
        for metric, rows in values.groupby("metric", sort=False):
            binned = bin_lags(_wanted(rows, metric, None).drop(columns="label"))
            drawn = mean_table(binned, [name for name in binned if name not in ("partition", "value")])
            draw = partial(retention_curve, metric=metric)
            yield ("lag", metric), metric, "by how many memories were learnt since", drawn, draw
    rows = curves[(curves["over"] == "all memories") & (curves["metric"] == "knowledge")]
    if rows["stop"].nunique() > 1:
        yield ("knowledge curve",), "knowledge", "as more memories are stored", rows, knowledge_curve
    kinds = curves[(curves["category"] != "") & (curves["way"] != "recall first")]
    if (kinds["over"] == "category").any():
        kinds = kinds.assign(prompt=kinds["setting"].str.removeprefix("prompt="))
        for metric, drawn in kinds[kinds["metric"].isin(known)].groupby("metric", sort=False):
            title = f"by encoding prompt, {_asked(drawn)}"
            yield ("prompts", metric), metric, title, drawn, partial(prompt_categories, metric=metric)
        return
    swept = _swept(last)
    for metric in (name for name in known if (last["metric"] == name).any()):
        rows = last[last["metric"] == metric]
        drawn = _wanted(rows, metric, None).drop(columns="label")
        title = _asked(drawn)
        if swept:
            yield (swept, metric), metric, title, drawn, partial(sweep, setting=swept, metric=metric)
            continue
        beside = paper.beside(drawn, _TABLES[experiment]) if experiment in _TABLES else drawn
        yield ("bars", metric), metric, title, beside, partial(method_bars, metric=metric)
        told = rows[rows["way"] == "recall first"]
        if metric not in WAYLESS and set(told["method"]) - {"MEGa"}:
            both = rows[rows["method"].isin(told["method"])]
            labels = list(dict.fromkeys(paper.labels(both)))
            draw = partial(method_bars, metric=metric, methods=labels)
            yield ("ways", metric), metric, "by way of asking", both, draw


def _gate_results(curves: pd.DataFrame, folder: Path, dataset: str) -> _Plan:
    """The figures of a run in which the gate alone was measured, for one dataset."""
    metric = "correct gate"
    for comparison, drawn in curves.groupby("comparison", sort=False):
        if comparison == "by layer":
            title = "by the layer that is embedded"
            plain = (drawn["pooling"] == "mean") & (drawn["similarity"] == "inner")  # the paper's
            if plain.any():
                yield ("layers",), metric, title, drawn[plain], gate_by_layer
            for site, rows in drawn.groupby("site", sort=False) if not plain.all() else ():
                yield ("layers", site), metric, title, rows, gate_by_layer
        elif comparison == "by count":
            unified = dataset in paper.ONE_PERSON and drawn["n"].max() > 1  # see `memsci.gating.unify_names`
            title = f"by number of memories{', one name for all persons' if unified else ''}"
            yield ("count",), metric, title, drawn, embedding_curve
    if "by embedding" not in set(curves["comparison"]):
        return
    rates = _read(folder / "partitions.csv.gz").query("dataset == @dataset and comparison == 'by embedding'")
    rates = rates[["embedding", "partition", "value"]].rename(columns={"value": "mean"})
    yield ("partitions",), metric, "every partition", rates, gate_per_partition
    shares = _read(folder / "confusion.csv").query("dataset == @dataset")
    ids = list(dict.fromkeys([*shares["memory_id"], *shares["top_id"]]))
    names = list(dict.fromkeys(shares["embedding"]))
    for name in dict.fromkeys((names[0], names[-1])):  # the paper's own and the strongest, if they stand so
        drawn = shares.loc[shares["embedding"] == name, ["memory_id", "top_id", "share"]]
        title = f"{name}, partition {shares['partition'].iloc[0]}"
        yield ("confusion", name), metric, title, drawn, partial(confusion, ids=ids)


def _asked(drawn: pd.DataFrame) -> str:
    """After how many memories it was asked, or of how many each was asked about alone."""
    count = f"{drawn['stop'].max():.0f} memories"
    return f"{count}, each under its true gate" if set(drawn["gate"]) == {"true"} else f"after {count}"


def _last(curves: pd.DataFrame) -> pd.DataFrame:
    """What is known of all memories at the end of each dataset."""
    rows = curves[curves["over"] == "all memories"]
    return rows[rows["stop"] == rows.groupby("dataset")["stop"].transform("max")]


def _swept(curves: pd.DataFrame) -> str | None:
    """The setting that takes three or more numbers, if there is one."""
    values: dict[str, set[float]] = {}
    for setting in curves["setting"].unique():
        for name, value in _parts(setting).items():
            try:
                values.setdefault(name, set()).add(float(value))
            except ValueError:
                continue
    return next((name for name, taken in values.items() if len(taken) > 2), None)


def _read(path: Path) -> pd.DataFrame:
    """A table of a run: texts are never missing, numbers may be."""
    numbers = dict.fromkeys(("stop", "lag", "layer", "memories", "mean", "sd", "low", "high", "n"), [""])
    texts = dict.fromkeys(("memory_id", "top_id", "setting", "category", "embedding"), str)
    return pd.read_csv(path, keep_default_na=False, na_values=numbers, dtype=texts)


def _over_memories(
    curves: pd.DataFrame,
    x: str,
    metric: str,
    ax: Axes | None,
    methods: Sequence[str] | None,
    references: Mapping[str, float | None],
    title: str,
    size: str,
) -> Axes:
    """A metric against a number of memories, and level lines to compare it with."""
    frame, looks = _series(_wanted(_of(curves, metric, "method", x), metric, methods))
    bins = frame.groupby("lag")["until"].first() if x == "lag" and "until" in frame else None
    if bins is not None:
        frame = frame.assign(lag=frame["lag"].map(list(bins.index).index))
    with style(size):
        ax = _axes(ax)
        told = _lines(ax, frame, x, looks)
        for name, height in references.items():
            if height is not None:
                ax.axhline(height, label=name, zorder=1, **_REFERENCE)
        _value_axis(ax, metric)
        _memory_axis(ax, frame[x], "memories learnt since" if x == "lag" else "memories stored")
        if bins is not None:
            ax.set_xticks(range(len(bins)), [_between(first, last) for first, last in bins.items()])
        ax.set_title(title)
        _legend(ax, told)
    return ax


def _axes(ax: Axes | None, across: float = 1, down: float = 1) -> Axes:
    """The axes given, or those of a new figure, so many times the size that the style gives."""
    if ax is not None:
        return ax
    width, height = mpl.rcParams["figure.figsize"]
    return plt.subplots(layout="constrained", figsize=(across * width, down * height))[1]


def _check_columns(frame: pd.DataFrame, needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in frame.columns]:
        raise MemsciError(f"The table needs the column {missing[0]!r} for this figure; it has {list(frame.columns)}.")


def _check_single(frame: pd.DataFrame, key: list[str]) -> None:
    if (twice := frame.duplicated(key)).any():
        raise MemsciError(
            f"The table has more than one row for {frame.loc[twice, key].iloc[0].to_dict()}. Choose the rows of one figure "
            "first: one dataset, one setting, one stop where stops are not its axis."
        )


def _of(curves: pd.DataFrame, metric: str, *columns: str) -> pd.DataFrame:
    """The rows of one metric."""
    _check_columns(curves, [*columns, "metric", "mean", "low", "high"])
    check_in("metric", metric, METRICS)
    frame = curves[curves["metric"] == metric]
    if frame.empty:
        raise MemsciError(f"The table has no metric {metric!r}; it has {sorted(set(curves['metric']))}.")
    return frame


def _wanted(frame: pd.DataFrame, metric: str, methods: Sequence[str] | None) -> pd.DataFrame:
    """The rows of the methods to draw, with their labels."""
    frame = frame.assign(label=paper.labels(frame))
    there = set(frame["label"])
    if methods is None:
        left_out = {"iRAG", "iRAG, true gate"} if metric in WAYLESS and "MEGa" in there else set()
        methods = [name for name in there - left_out if not name.startswith("iRAG on ")]
    kept = frame[frame["label"].isin(list(methods))]
    if kept.empty:
        raise MemsciError(f"None of the methods {sorted(methods)} is in the table; it has {sorted(there)}.")
    return kept


def _series(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """A column series, the name of the line of each row, and the look of every line, in order.

    A line is a method; a method with several settings has a line for each, of one colour from dark to light.
    """
    settings = frame["setting"].fillna("") if "setting" in frame else pd.Series("", index=frame.index)
    labels = sorted(dict.fromkeys(frame["label"]), key=order)
    names, looks = {}, {}
    for label in labels:
        own = list(dict.fromkeys(settings[frame["label"] == label]))
        for place, setting in enumerate(own):
            written = _written(setting)
            if len(own) == 1 or not written:
                written = label
            elif len(labels) > 1 or "" in own:
                written = f"{label}, {written}"
            names[label, setting] = name = written
            looks[name] = look(label) if len(own) == 1 else _variant(look(label), place, len(own))
    return frame.assign(series=[names[pair] for pair in zip(frame["label"], settings)]), looks


def _parts(setting: str) -> dict[str, str]:
    """The names and values of a setting's text, "name=value; name=value"."""
    return dict(part.split("=", 1) for part in setting.split("; ") if part)


def _written(setting: str) -> str:
    """A setting as a figure writes it; nothing for the preset."""
    # An embedding that is none of activations has unit length, so its inner products are cosines.
    parts = [part for part in _parts(setting).items() if "kind" not in setting or part[0] != "similarity"]
    return ", ".join(_WRITTEN.get(f"{name}={value}", f"{_SYMBOLS.get(name, name)} = {value}") for name, value in parts)


def _variant(base: Mapping[str, Any], place: int, of: int) -> dict[str, Any]:
    """The look of the variant at this place: lighter, dashed otherwise, hollow unless it is the first."""
    color = _paler(base["color"], 0.45 * place / max(of - 1, 1))
    varied = {**base, "color": color, "linestyle": _DASHES[place % len(_DASHES)]}
    return varied if place == 0 else {**varied, "markerfacecolor": "white"}


def _paler(color: str, share: float) -> str:
    """A colour with this share of white."""
    return to_hex(np.array(to_rgb(color)) * (1 - share) + share)


def _cycle(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A look for each name, in the order of the style's colours."""
    colors = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    kinds = {"color": colors, "marker": _MARKERS, "linestyle": _DASHES}
    return {name: {kind: of[i % len(of)] for kind, of in kinds.items()} for i, name in enumerate(names)}


def _lines(ax: Axes, frame: pd.DataFrame, x: str, looks: Mapping[str, Mapping[str, Any]]) -> list[Artist]:
    """A line with its markers and the band of its interval for every series, the last on top; lines that coincide take
    turns, a dash and a marker each.

    Returns
    -------
    list of matplotlib.artist.Artist
        What the legend says of all lines.
    """
    _check_single(frame, ["series", x])
    turns = _turns(frame.pivot(index=x, columns="series", values="mean")[list(looks)])
    for place, (name, one) in enumerate(looks.items()):
        rows = frame[frame["series"] == name].sort_values(x)
        above = place / len(looks)
        if len(rows) == 1:  # a band has no width at a single point
            ax.vlines(rows[x], rows["low"], rows["high"], color=one["color"], linewidth=1, zorder=2 + above)
        ax.fill_between(rows[x], rows["low"], rows["high"], color=one["color"], alpha=0.13, linewidth=0, zorder=2 + above)
        turn, of = turns[name]
        if of > 1:
            one = {**one, "linestyle": ((of - turn) * DASH, (DASH, (of - 1) * DASH)), "markevery": slice(turn, None, of)}
        # A single point is seen on any line.
        ax.plot(rows[x], rows["mean"], label=name, zorder=3 + above + (len(rows) == 1), **one)
    told = [_note("lines that coincide\ntake turns")] if any(of > 1 for _, of in turns.values()) else []
    if interval := _interval(frame, "\n"):
        bounded = frame["low"].notna().any()
        told.append(Patch(color="#888888", alpha=0.3, linewidth=0, label=interval) if bounded else _note(interval))
    return told


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


def _value_axis(ax: Axes, metric: str, axis: str = "y") -> None:
    """Name and unit of the metric; shares are written as per cent, from 0 to 100."""
    one = METRICS[metric]
    line = ax.yaxis if axis == "y" else ax.xaxis
    line.set_label_text(one.label + _UNITS[one.unit])
    if one.unit == "share":
        line.set_major_formatter(_per_cent)
        line.set_major_locator(FixedLocator(np.linspace(0, 1, 6)))
        # Lines at the very ends stay clear of the frame; bars stand on it.
        ax.set_ylim(-0.03, 1.03) if axis == "y" else ax.set_xlim(0, 1)
    elif one.unit == "cosine" and axis == "y" and np.ptp(ax.get_ylim()) < COSINES:
        high = min(np.mean(ax.get_ylim()) + COSINES / 2, 1.01)
        ax.set_ylim(high - COSINES, high)
    ax.grid(True, axis=axis)


def _per_cent(share: float, _: int | None = None) -> str:
    return f"{100 * share:.5g}".replace("-", "−")


def _memory_axis(ax: Axes, counts: pd.Series, name: str) -> None:
    """Numbers of memories; ticks at those that stand far enough apart to be read."""
    kept: list[float] = []
    for count in sorted(counts.unique()):
        if not kept or count - kept[-1] >= 0.08 * counts.max():
            kept.append(count)
    ax.set_xticks(kept, [f"{count:,.0f}" for count in kept])
    ax.set_xlabel(name)


def _between(first: float, last: float) -> str:
    """Whole numbers from the first to the last, in short."""
    return "–".join(f"{end:,.0f}" for end in dict.fromkeys((first, last)))


def _legend(ax: Axes, told: Sequence[Artist] = (), below: int = 0) -> None:
    """The legend, with what is told of all that is drawn, at the right of the axes, or as many lines of text below them."""
    handles = [*ax.get_legend_handles_labels()[0], *told]
    if below:
        lower = ScaledTranslation(0, -below * mpl.rcParams["font.size"] / 72, ax.figure.dpi_scale_trans)
        where = {"bbox_to_anchor": (0, 0), "bbox_transform": ax.transAxes + lower}
        ax.legend(handles=handles[::-1], loc="upper left", borderaxespad=0, **where)
    else:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def _note(text: str) -> Artist:
    """Words in a legend, without a mark."""
    return Line2D([], [], linestyle="", label=text)


def _whiskers() -> dict[str, Any]:
    """Bars of intervals, in proportion to the lines of the style."""
    width = 0.75 * mpl.rcParams["lines.linewidth"]
    return {"ecolor": "black", "elinewidth": width, "capthick": width, "capsize": 2.5 * width}


def _interval(frame: pd.DataFrame, joint: str = " ") -> str:
    """What the bands or bars of a figure are; nothing where none are drawn and no one can tell why."""
    counts = sorted(set(frame["n"].astype(int))) if "n" in frame else []
    if counts and counts[-1] < FEWEST_UNITS:
        many = "one partition" if counts[-1] == 1 else f"{_between(counts[0], counts[-1])} partitions"
        return f"{many}:{joint}no interval"
    if frame["low"].isna().all():
        return ""
    return joint.join(["95 % interval", *([f"over {_between(counts[0], counts[-1])} partitions"] if counts else [])])


def _printed(mean: float, sd: float, metric: str) -> str:
    unit = METRICS[metric].unit
    factor, decimals = 100 if unit == "share" else 1, _DECIMALS.get(unit, 2)
    spread = "" if np.isnan(sd) else f" ± {factor * sd:.{decimals}f}"
    return f"{factor * mean:.{decimals}f}{spread}".replace("-", "−")
