"""Figures from tables, without torch."""

from __future__ import annotations

from memsci.figures.draw import (
    COLORS,
    COSINES,
    DASH,
    METHODS_STYLE,
    NAMED,
    SIZES,
    WAYLESS,
    confusion,
    differences,
    embedding_curve,
    forgetting_curve,
    gate_by_layer,
    gate_map,
    gate_per_partition,
    knowledge_curve,
    look,
    method_bars,
    prompt_categories,
    redraw,
    retention_curve,
    save,
    style,
    sweep,
)

__all__ = [
    "COLORS", "COSINES", "DASH", "METHODS_STYLE", "NAMED", "SIZES", "WAYLESS", "confusion", "differences",
    "embedding_curve", "forgetting_curve", "gate_by_layer", "gate_map", "gate_per_partition", "knowledge_curve",
    "look", "method_bars", "prompt_categories", "redraw", "retention_curve", "save", "style", "sweep",
]  # fmt: skip
