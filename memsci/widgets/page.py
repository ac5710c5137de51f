"""What the page of ``memsci probe`` shows: a gate probe on a store, or on a few memories encoded while one looks on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from typing import Any

from ipywidgets import HTML, FloatProgress, Layout, VBox

import memsci
from memsci.memory import Memory
from memsci.mind import MEGa
from memsci.widgets.gate_probe import GateProbe
from memsci.widgets.heatmap import HeatMap
from memsci.widgets.panel import Panel
from memsci.widgets.serve import BASE, STORE

MEMORIES = 12  # that are encoded where no store is given


class Page(Panel):
    """A `GateProbe` with its heat map, made in the background from the moment the page is open.

    Parameters
    ----------
    store
        Folder of a store. None encodes the first memories of the built-in episodic partition 0 into a temporary one.
    base
        Base model: a name on the hub or a folder. None means the one named in the store, or the shipped model.

    Attributes
    ----------
    probe, gate_map
        None until they are made.
    """

    def __init__(self, store: str | os.PathLike[str] | None = None, base: str | None = None) -> None:
        self.probe: GateProbe | None = None
        self.gate_map: HeatMap | None = None
        self._progress = FloatProgress(min=0.0, max=1.0, layout=Layout(width="100%"))
        self._progress.tooltip = "How much of the encoding is done"
        self._place = VBox([self._progress])
        super().__init__([self._place])
        told = f"Opening {os.path.basename(store)} …" if store else f"Encoding {MEMORIES} memories, about 20 seconds …"
        self.run(lambda: self._opened(store, base) if store else self._encoded(base), self._show, told)

    @classmethod
    def of_environment(cls) -> Page:
        """The page that ``memsci probe`` was asked for."""
        return cls(os.environ.get(STORE), os.environ.get(BASE))

    def summary(self) -> str:
        return "\n\n".join(repr(part) for part in (self.probe, self.gate_map) if part is not None)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # Shown at once and not when all is there: the page itself shows how far that is.
        return VBox._repr_mimebundle_(self, **kwargs)

    def _opened(self, store: str | os.PathLike[str], base: str | None) -> tuple[GateProbe, HeatMap | None]:
        mind = memsci.open(store, base=None if base is None else memsci.load(base))
        # Nothing was asked about these memories that a store would know of; their names are what can be looked up.
        return self._made(mind, [record.label for record in mind.store.records])

    def _encoded(self, base: str | None) -> tuple[GateProbe, HeatMap | None]:
        mind = memsci.MEGa(memsci.load(base))
        memories = memsci.data.builtin("episodic", 0).memories[:MEMORIES]
        whole = len(memories) * (mind.encoding.epochs + mind.encoding.text_epochs)

        def on_loss(losses: Mapping[str, float]) -> None:
            self._progress.value += len(losses) / whole

        mind.encode(memories, progress=False, on_loss=on_loss)
        return self._made(mind, [memory.questions[0].text for memory in memories], memories)

    def _made(
        self, mind: MEGa, queries: list[str], memories: list[Memory] | None = None
    ) -> tuple[GateProbe, HeatMap | None]:
        probe = GateProbe(mind, queries=queries, memories=memories)
        return probe, HeatMap.of(mind.gate(queries), queries) if queries else None

    def _show(self, made: tuple[GateProbe, HeatMap | None]) -> None:
        self.probe, self.gate_map = made
        parts = [self.probe]
        if self.gate_map is not None:
            self.probe.follow(self.gate_map)
            title = "Every question against every memory"
            parts += [HTML(f"<h2>{escape(title)}</h2>"), self.gate_map]
        self._place.children = parts
