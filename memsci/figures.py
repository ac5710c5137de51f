"""Figures: a tidy table in, matplotlib Axes out. No torch here: a figure can be redrawn from its CSV."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

# Without dates, so that the same numbers give the same bytes.
_METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}


def style() -> AbstractContextManager:
    """The style sheet of all figures, for a ``with`` block."""
    return mpl.rc_context(fname=str(resources.files("memsci") / "memsci.mplstyle"))


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
        Rows are queries, columns are memories in their order, colour is the weight from 0 to 1.
    """
    labels = frame.drop_duplicates("id").set_index("id")["label"]
    labels = labels if ids is None else labels.loc[list(ids)]
    grid = frame.pivot(index="query", columns="id", values="weight")[labels.index]
    with style():
        if ax is None:
            width = 2.2 + 0.13 * grid.shape[1]
            _, ax = plt.subplots(figsize=(width, 1.6 + 0.13 * grid.shape[0]), layout="constrained")
        sns.heatmap(
            grid, vmin=0, vmax=1, cmap=mpl.rcParams["image.cmap"], ax=ax, cbar_kws={"label": "gate g", "shrink": 0.6},
            xticklabels=labels.tolist(), yticklabels=5,
        )  # fmt: skip
        ax.tick_params(axis="x", labelsize=5, rotation=90)
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
    files = []
    with style():
        for ending in ("png", "pdf"):
            files.append(stem.with_name(f"{stem.name}.{ending}"))
            ax.figure.savefig(files[-1], metadata=_METADATA[ending])
    plt.close(ax.figure)
    files.append(stem.with_name(f"{stem.name}.csv"))
    table.to_csv(files[-1], index=False, float_format="%.6g")
    return files
