"""Figures: a tidy table in, matplotlib Axes out, without torch. `memsci.runs.report` draws those of a whole run."""

from __future__ import annotations

from memsci.figures.caption import caption
from memsci.figures.conditions import conditions
from memsci.figures.draw import APART, COSINES, displaced
from memsci.figures.gates import NAMED, confusion, embedding_curve, gate_by_layer, gate_map, gate_per_partition
from memsci.figures.methods import (
    differences,
    forgetting_curve,
    knowledge_curve,
    method_bars,
    prompt_categories,
    retention_curve,
    sweep,
)
from memsci.figures.network import memory_graph
from memsci.figures.series import WAYLESS
from memsci.figures.style import COLORS, METHODS_STYLE, SIZES, WIDTHS, look, save, style

__all__ = [
    "APART", "COLORS", "COSINES", "METHODS_STYLE", "NAMED", "SIZES", "WAYLESS", "WIDTHS", "caption", "conditions",
    "confusion", "differences", "displaced", "embedding_curve", "forgetting_curve", "gate_by_layer", "gate_map",
    "gate_per_partition", "knowledge_curve", "look", "memory_graph", "method_bars", "prompt_categories",
    "retention_curve", "save", "style", "sweep",
]  # fmt: skip
