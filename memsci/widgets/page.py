"""What the page of ``memsci probe`` shows: a gate probe on a store, or on a few memories encoded while one looks on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ipywidgets import HTML, Layout, VBox

import memsci
from memsci.gate.softmax import Gate
from memsci.learners.mega import MEGa
from memsci.memory import Memory
from memsci.store.record import Remembered
from memsci.widgets.gate_probe import GateProbe
from memsci.widgets.heatmap import HeatMap
from memsci.widgets.panel import Panel
from memsci.widgets.serve import BASE, STORE

MEMORIES = 12  # that are encoded where no store is given
REMEDY = "Encode into a new store with --keep-text to have them here."
ON_MAP = 60  # questions and memories: each pair is an element of the page


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
        self._progress = HTML(layout=Layout(width="100%"))
        self._place = VBox()
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
        return self._made(mind, mind.store.records)

    def _encoded(self, base: str | None) -> tuple[GateProbe, HeatMap | None]:
        mind = memsci.MEGa(memsci.load(base))
        memories = memsci.data.builtin("episodic", 0).memories[:MEMORIES]
        whole = len(memories) * (mind.encoding.epochs + mind.encoding.text_epochs)
        done = 0

        def on_loss(losses: Mapping[str, float]) -> None:
            nonlocal done
            done += len(losses)
            self._progress.value = _progress(done / whole)

        self._progress.value = _progress(0.0)
        self._place.children = [self._progress]
        mind.encode(memories, progress=False, on_loss=on_loss)
        return self._made(mind, memories)

    def _made(self, mind: MEGa, memories: Sequence[Memory | Remembered]) -> tuple[GateProbe, HeatMap | None]:
        probe = GateProbe(mind, memories=[one for one in memories if isinstance(one, Memory)], remedy=REMEDY)
        queries = [one.questions[0].text for one in memories if one.questions][:ON_MAP]
        return probe, HeatMap.of(_first(mind.gate(queries), ON_MAP), queries) if queries else None

    def _show(self, made: tuple[GateProbe, HeatMap | None]) -> None:
        self.probe, self.gate_map = made
        parts = [self.probe]
        if self.gate_map is not None:
            self.probe.follow(self.gate_map)
            parts += [HTML(f"<h2>Every question against every memory</h2>{_left_out(len(self.probe.mind))}"), self.gate_map]
        self._place.children = parts


def _progress(share: float) -> str:
    """How far encoding is, for eyes and ears."""
    return f'<progress aria-label="Encoding" style="width: 100%" max="1" value="{share:.3f}"></progress>'


def _first(gate: Gate, n: int) -> Gate:
    """The same gate with its first n memories alone."""
    scores, weights = gate.scores[:, :n], gate.weights[:, :n]
    return replace(gate, scores=scores, weights=weights, ids=gate.ids[:n], labels=gate.labels[:n])


def _left_out(memories: int) -> str:
    """What the map does not show of so many memories, and of as many questions."""
    more = memories - ON_MAP
    told = f"The first {ON_MAP} of each; {more} left out. The probe above knows them all."
    return f'<p class="memsci-soft">{told}</p>' if more > 0 else ""
