"""The paper's experiments, each a small TOML file in this folder, and the grid of cells that each unfolds into."""

from __future__ import annotations

from memsci.experiments.settings import numbers, parse, prompt_categories, show_numbers
from memsci.experiments.sources import (
    BUILT_IN,
    PARTITIONS,
    PHENOMENA,
    PUBLISHED,
    SIZE,
    dataset_name,
    partition,
    quiz_items,
)  # fmt: skip
from memsci.experiments.spec import COMPARISONS, FIGURES, GATE_FIGURES, MEASURES, Cell, Experiment, Task, load, names

__all__ = [
    "BUILT_IN", "COMPARISONS", "Cell", "Experiment", "FIGURES", "GATE_FIGURES", "MEASURES", "PARTITIONS", "PHENOMENA",
    "PUBLISHED", "SIZE", "Task", "dataset_name", "load", "names", "numbers", "parse", "partition", "prompt_categories",
    "quiz_items", "show_numbers",
]  # fmt: skip
