"""Widgets for JupyterLab and Voila: look into a mind, change it, and see what changes.

    from memsci.widgets import GateProbe

    GateProbe(mind, memories=world)

They need the extra ``notebooks``. Each shows its numbers as ``text/plain`` too, and can be driven from cells. Names are
loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memsci.errors import MemsciError

if TYPE_CHECKING:
    from .bars import GateBars as GateBars
    from .editor import MemoryEditor as MemoryEditor
    from .explorer import InterferenceExplorer as InterferenceExplorer
    from .gate_probe import GateProbe as GateProbe
    from .heatmap import HeatMap as HeatMap
    from .recall_walk import RecallWalk as RecallWalk

_HOMES = {
    "GateProbe": "gate_probe",
    "HeatMap": "heatmap",
    "GateBars": "bars",
    "MemoryEditor": "editor",
    "InterferenceExplorer": "explorer",
    "RecallWalk": "recall_walk",
}
_NEEDED = ("anywidget", "ipywidgets", "traitlets")

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memsci.widgets' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    try:
        home = import_module(f"memsci.widgets.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        raise MemsciError(
            f"memsci.widgets.{name} needs the package {error.name}, which is not installed. Install the widgets: "
            f'pip install "memsci[notebooks]"'
        ) from error
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
