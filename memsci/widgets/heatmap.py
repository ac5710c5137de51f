"""Which question opens which memory: a map of gating weights whose cells can be looked at and opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from anywidget import AnyWidget
from matplotlib.colors import to_hex
from traitlets import Float, Int, List, TraitError, Unicode, validate

from memsci.errors import MemsciError
from memsci.gate.softmax import Gate
from memsci.learners.mega import MEGa
from memsci.widgets.panel import plain

_HERE = Path(__file__).parent
_COLOURS = 64


class HeatMap(AnyWidget):
    """Gating weights, a row per query and a column per memory; usable by mouse and by keyboard.

    The arrow keys, Home and End (with Ctrl: of the whole map) and Page Up and Down move between cells, Enter selects one.
    The line below the map tells query, memory and weight. Colours are matplotlib's cividis, which reads alike for every kind
    of colour vision.

    Parameters
    ----------
    values
        q × n weights from 0 to 1: an array, or rows of numbers.
    rows
        The q queries.
    columns
        Labels of the n memories.
    ids
        Their ids; by default the labels.
    title
        Stands above the map.

    Attributes
    ----------
    selected : list of 2 int
        Row and column, counted from 0, of the cell that was selected last; empty before. Setting it selects a cell.
    selections : int
        How often the user has selected a cell; to be observed beside `selected`, which stays if a cell is selected again.

    See Also
    --------
    HeatMap.of : from a mind and questions.
    """

    _esm = _HERE / "heatmap.js"
    _css = _HERE / "heatmap.css"

    values = List(List(Float())).tag(sync=True)
    rows = List(Unicode()).tag(sync=True)
    columns = List(Unicode()).tag(sync=True)
    ids = List(Unicode())
    title = Unicode().tag(sync=True)
    colours = List(Unicode()).tag(sync=True)
    selected = List().tag(sync=True)
    selections = Int().tag(sync=True)

    def __init__(
        self,
        values: Any,
        rows: Sequence[str],
        columns: Sequence[str],
        ids: Sequence[str] | None = None,
        title: str = "Gating weights: a row per question, a column per memory",
    ) -> None:
        ids = columns if ids is None else ids
        grid = np.asarray(values, dtype=float).reshape(len(rows), -1) if len(rows) else np.empty((0, len(columns)))
        if grid.shape[1] != len(columns) or len(ids) != len(columns):
            raise MemsciError(
                f"The map has {len(rows)} rows, {len(columns)} columns and {len(ids)} ids, but {np.size(values)} values. "
                "Give a value for each row and column."
            )
        if not ((grid >= 0) & (grid <= 1)).all():
            raise MemsciError(f"Values of the map must be from 0 to 1; they reach from {grid.min()} to {grid.max()}.")
        super().__init__(
            values=grid.tolist(),
            rows=list(rows),
            columns=list(columns),
            ids=list(ids),
            title=title,
            colours=[to_hex(colour) for colour in mpl.colormaps["cividis"].resampled(_COLOURS)(range(_COLOURS))],
        )

    @classmethod
    def of(cls, source: MEGa | Gate, queries: Sequence[str], beta: float | None = None, **looks: Any) -> HeatMap:
        """The map of how far each query opens each memory.

        Parameters
        ----------
        source
            A mind, or a gate that was computed for these queries already (no adapters are needed for one).
        queries
            The questions, from top to bottom.
        beta
            Instead of the mind's β.
        **looks
            `title`, as above.
        """
        queries = [queries] if isinstance(queries, str) else list(queries)
        if isinstance(source, Gate) and beta is not None:
            raise MemsciError(f"The gate given was computed with β = {source.beta}; leave beta = {beta} out.")
        found = source if isinstance(source, Gate) else source.gate(queries, beta)
        if len(found.weights) != len(queries):
            raise MemsciError(f"The gate has {len(found.weights)} rows, and {len(queries)} queries were given.")
        return cls(found.weights.clamp(0, 1).tolist(), queries, found.labels, found.ids, **looks)

    @property
    def table(self) -> pd.DataFrame:
        """A row per query: query, the id and label of the memory that it opens most, weight, and margin to the next."""
        grid = np.array(self.values).reshape(len(self.rows), len(self.columns))
        if not self.columns:
            return pd.DataFrame(columns=["query", "id", "label", "weight", "margin"])
        best = grid.argmax(axis=1)
        ordered = np.sort(np.pad(grid, ((0, 0), (1, 0))), axis=1)  # with a column of 0, for a map of one memory
        return pd.DataFrame(
            {
                "query": self.rows,
                "id": [self.ids[k] for k in best],
                "label": [self.columns[k] for k in best],
                "weight": ordered[:, -1],
                "margin": ordered[:, -1] - ordered[:, -2],
            }
        )

    def __repr__(self) -> str:
        lines = [f"{len(self.rows)} queries, {len(self.columns)} memories"]
        if self.rows and self.columns:
            lines.append(plain(self.table.drop(columns="id")))
        if self.selected:
            row, column = self.selected
            lines.append(f"selected: {self.rows[row]} / {self.columns[column]}")
        return "\n".join(lines)

    @validate("selected")
    def _check_selected(self, proposal: Any) -> list[int]:
        cell = list(proposal["value"])
        size = (len(self.rows), len(self.columns))
        if cell and not (len(cell) == 2 and all(isinstance(k, int) and 0 <= k < n for k, n in zip(cell, size))):
            raise TraitError(f"selected must be [row, column] in a map of {size[0]} × {size[1]} cells; {cell} was given.")
        return cell
