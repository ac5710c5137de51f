"""Bars of a gate that can be dragged, one per memory."""

from __future__ import annotations

from pathlib import Path

from anywidget import AnyWidget
from traitlets import Bool, Dict, Float, Int, List, Unicode

from memsci.widgets.panel import number

_HERE = Path(__file__).parent


class GateBars(AnyWidget):
    """Horizontal bars from 0 to 1, one per memory, each moved by dragging it or by the arrow keys.

    Attributes
    ----------
    ids, labels : list of n str
        The memories.
    weights : list of n float
        How far each is open.
    marked : list of str
        Ids of the memories to be marked with a dot.
    mark : str
        What the dot says of a memory.
    rest : str
        What stands below the bars; empty for nothing.
    title : str
        Name of the bars for screen readers.
    editable : bool
        Whether bars can be moved.
    by_hand : dict of str to float
        What the user has set, by id; empty until a bar is moved. A program that sets other bars empties it.
    round, of : int
        A program that undoes what the user has set begins a new round, and ignores a move that is `of` an earlier one: a
        browser holds moves back while the kernel is busy, so that the last may come after the click that undoes it.
    """

    _esm = _HERE / "bars.js"
    _css = _HERE / "bars.css"

    ids = List(Unicode()).tag(sync=True)
    labels = List(Unicode()).tag(sync=True)
    weights = List(Float()).tag(sync=True)
    marked = List(Unicode()).tag(sync=True)
    mark = Unicode("the memory asked about").tag(sync=True)
    rest = Unicode().tag(sync=True)
    title = Unicode("Gate").tag(sync=True)
    editable = Bool(True).tag(sync=True)
    by_hand = Dict(key_trait=Unicode(), value_trait=Float()).tag(sync=True)
    round = Int().tag(sync=True)
    of = Int().tag(sync=True)

    def __repr__(self) -> str:
        lines = [f"{label}  {number(weight)}" for label, weight in zip(self.labels, self.weights)]
        return "\n".join([*lines, *([self.rest] if self.rest else [])]) or "no bars"
