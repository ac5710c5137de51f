"""Figures of the gate: which memory it opens, by layer, embedding and number of memories. Tidy tables in, Axes out.

metric, ax, title and size are those of `memsci.figures.methods`. Embeddings stand in the order in which a table names them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from memsci.errors import MemsciError, check_columns
from memsci.figures import draw
from memsci.figures.style import cycle, style, variant

NAMED = 24  # so many memories have their names at a map of their gates

_SITES = {  # of the gate's embedding (paper, Fig 7)
    "mlp": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "attention": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    "both": {"color": "#009E73", "marker": "^", "linestyle": "-."},
}


def gate_by_layer(curves: pd.DataFrame, ax: Axes | None = None, *, title: str = "", size: str = "print") -> Axes:
    """Correct-gate rate by the layer whose activations are the embedding, MLP input against attention input (paper, Fig 7).

    Parameters
    ----------
    curves
        Columns layer (counted from 0), site ("mlp", "attention" or "both"), metric ("correct gate"), mean, low, high; lines
        are also told apart by pooling and similarity where the table has several.
    """
    frame = draw.rows_of(curves, "correct gate", "layer", "site")
    kinds = [name for name in ("pooling", "similarity") if name in frame and frame[name].nunique() > 1]
    variants = frame[kinds].astype(str).agg(", ".join, axis=1) if kinds else pd.Series("", index=frame.index)
    variants = variants.str.replace("idf^0.5", "√IDF", regex=False).str.replace("idf", "IDF", regex=False)
    rules = list(dict.fromkeys(variants))
    sites = [site for site in _SITES if (frame["site"] == site).any()]
    alone = len(sites) == 1 and len(rules) > 1
    if alone:
        title = ", ".join(filter(None, (title, _site(sites[0]))))
    with draw.canvas(ax, title, size, across=1.2) as ax:  # names are long
        if alone:
            frame, looks = frame.assign(series=variants), cycle(rules)
        else:
            named = frame["site"].map(_site)
            frame = frame.assign(series=named.where(variants == "", named + ", " + variants))
            looks = {
                ", ".join(filter(None, (_site(site), rule))): variant(_SITES[site], index, len(rules))
                if len(rules) > 1
                else _SITES[site]
                for site in sites
                for index, rule in enumerate(rules)
            }
        notes = draw.lines(ax, frame, "layer", looks)
        layers = sorted(frame["layer"].unique())
        ax.set_xticks(layers[:: 1 + len(layers) // 16])
        ax.set_xlabel("layer of the embedding, counted from 0")
        draw.value_axis(ax, "correct gate", shown=frame)
        draw.legend(ax, notes)
    return ax


def _site(site: str) -> str:
    return {"mlp": "MLP input", "both": "both inputs"}.get(site, f"{site} input")


def embedding_curve(
    curves: pd.DataFrame, metric: str = "correct gate", ax: Axes | None = None, *, x: str = "stop", title: str = "",
    size: str = "print",
) -> Axes:  # fmt: skip
    """A metric against the number of memories stored, a line per embedding of the gate (paper, Figs 8 and 9).

    Parameters
    ----------
    curves
        Columns embedding, `x`, metric, mean, low, high.
    x
        Column with the number of memories.
    """
    frame = draw.rows_of(curves, metric, "embedding", x)
    frame = frame.assign(series=frame["embedding"].map(_wrapped))
    with draw.canvas(ax, title, size, across=1.2) as ax:  # names are long
        notes = draw.lines(ax, frame, x, cycle(dict.fromkeys(frame["series"])))
        draw.value_axis(ax, metric, shown=frame)
        draw.memory_axis(ax, frame[x])
        draw.legend(ax, notes)
    return ax


def _wrapped(name: str) -> str:
    """A long name in several lines, so that it leaves room for the axes."""
    return textwrap.fill(name, 36)


def gate_per_partition(rates: pd.DataFrame, ax: Axes | None = None, *, title: str = "", size: str = "print") -> Axes:
    """Correct-gate rate of every partition, by embedding (paper, Fig 9).

    Parameters
    ----------
    rates
        Columns embedding, partition, mean: a dot each. The line across is their mean. The axis begins at the ten per cent
        below the lowest.
    """
    check_columns("The table", ["embedding", "partition", "mean"], rates.columns)
    draw.check_single(rates, ["embedding", "partition"])
    embeddings = list(dict.fromkeys(rates["embedding"]))
    with draw.canvas(ax, title, size, down=0.3 + 0.1 * len(embeddings)) as ax:
        for index, (embedding, one) in enumerate(cycle(embeddings).items()):
            values = rates.loc[rates["embedding"] == embedding, "mean"].sort_values()
            # Partitions of the same rate stand beside one another.
            same = values.groupby(values).cumcount() - (values.groupby(values).transform("size") - 1) / 2
            dots = {"color": one["color"], "alpha": 0.75, "markeredgewidth": 0, "clip_on": False}
            ax.plot(values, index + 0.085 * same.clip(-4, 4), one["marker"], **dots)
            ax.vlines(values.mean(), index - 0.38, index + 0.38, color="black", linewidth=1.2)
        draw.rows_axis(ax, [_wrapped(name) for name in embeddings], margin=0.5)
        draw.value_axis(ax, "correct gate", "x")
        start = draw.ten_below(rates["mean"].min())
        ax.set_xlim(left=start)
        ax.xaxis.set_major_locator(MultipleLocator(0.02 if start > 0.85 else 0.1))
        joint = "\n" if size == "column" else " "  # beside long names
        ax.set_xlabel(f"{ax.get_xlabel()}\na point per partition,{joint}their mean as a line")
    return ax


def confusion(
    shares: pd.DataFrame, ax: Axes | None = None, *, ids: Sequence[str] | None = None, title: str = "",
    size: str = "print",
) -> Axes:  # fmt: skip
    """Which memory the gate opens most for questions about each memory (paper, Fig 8).

    Parameters
    ----------
    shares
        Columns memory_id (asked about), top_id (highest gate) and share (fraction of the questions about memory_id), as
        `memsci.measures.metrics.gate_confusion` has them once it is stacked; pairs that are not there never occurred.
    ids
        Order of the memories; by default that in which column memory_id first names them, then top_id.
    """
    check_columns("The table", ["memory_id", "top_id", "share"], shares.columns)
    draw.check_single(shares, ["memory_id", "top_id"])
    named = list(dict.fromkeys([*shares["memory_id"], *shares["top_id"]]))
    ids = named if ids is None else list(ids)
    if lacking := [id for id in named if id not in ids]:
        raise MemsciError(f"ids must name every memory of the table, and {lacking[0]!r} is not among the {len(ids)} given.")
    grid = shares.pivot(index="memory_id", columns="top_id", values="share").reindex(index=ids, columns=ids).fillna(0)
    edge, ticks = len(ids) + 0.5, _numbers(len(ids))
    with draw.canvas(ax, title, size, across=0.72, down=1.15) as ax:
        # A power scale: a third of the questions of one memory must be seen beside a diagonal of ones.
        scale = mpl.colors.PowerNorm(0.6, 0, 1)
        image = ax.imshow(grid.to_numpy(), cmap="Blues", norm=scale, extent=(0.5, edge, edge, 0.5), interpolation="nearest")
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.7, ticks=[0, 0.1, 0.33, 0.67, 1])
        bar.set_label("share of the questions (%)")
        bar.ax.yaxis.set_major_formatter(draw.per_cent)
        bar.outline.set_visible(False)
        ax.set_xticks(ticks)
        ax.set_yticks(ticks)
        ax.spines[["top", "right"]].set_visible(True)
        ax.set(xlabel="memory with the highest gate", ylabel="memory asked about")
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
        Order of the memories, e.g. that of `memsci.MEGa.ids`; by default that in which the table first names them. Rows and
        columns are counted from 1, as in `confusion`; up to 24 memories have their labels beside their numbers.
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
