"""The paper's experiments, each a small TOML file in this folder, and the grid of cells that each unfolds into."""

from __future__ import annotations

from memsci.experiments.spec import (
    COMPARISONS,
    FIGURES,
    GATE_FIGURES,
    MEASURES,
    METHODS,
    PARTITIONS,
    SIZE,
    Cell,
    Experiment,
    content,
    dataset_name,
    load,
    names,
    numbers,
    parse,
    partition,
    prompt_categories,
    quiz_items,
    show_numbers,
)

__all__ = [
    "COMPARISONS", "Cell", "Experiment", "FIGURES", "GATE_FIGURES", "MEASURES", "METHODS", "PARTITIONS", "SIZE", "content",
    "dataset_name", "load", "names", "numbers", "parse", "partition", "prompt_categories", "quiz_items", "show_numbers",
]  # fmt: skip
