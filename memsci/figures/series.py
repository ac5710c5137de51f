"""Which rows of a table are drawn, in which lines, and what a figure calls them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from memsci.errors import MemsciError
from memsci.figures.style import look, variant
from memsci.measures.methods import labels, order

# Recall and knowledge are the same however a question is put afterwards: one line per learner.
WAYLESS = ("recall cos", "correct gate", "knowledge")

_SYMBOLS = {"rank": "r", "beta": "β", "strength": "λ"}
_WRITTEN = {
    "questions=compositional": "two memories asked about",
    "where=mlp": "MLP, every layer",
    "where=attention": "attention, every layer",
    "where=all": "both, every layer",
    "layers=early": "MLP, early layers",
    "layers=middle": "MLP, middle layers",
    "layers=late": "MLP, late layers",
    "kind=sentence": "MiniLM",
    "kind=words": "TF-IDF",
    "kind=hybrid": "MiniLM + TF-IDF",
    "similarity=cosine": "cosine",
    "similarity=inner": "inner product",
}


def chosen(frame: pd.DataFrame, metric: str, methods: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of the methods to draw, with a column label."""
    frame = frame.assign(label=labels(frame))
    present = set(frame["label"])
    if methods is None:
        left_out = {"iRAG", "iRAG, true gate"} if metric in WAYLESS and "MEGa" in present else set()
        methods = [name for name in present - left_out if not name.startswith("iRAG on ")]
    kept = frame[frame["label"].isin(list(methods))]
    if kept.empty:
        raise MemsciError(f"None of the methods {sorted(methods)} is in the table; it has {sorted(present)}.")
    return kept


def values_of(setting: str) -> dict[str, str]:
    """The names and values in the text of a setting.

    Examples
    --------
    >>> values_of("beta=0.1; questions=compositional")
    {'beta': '0.1', 'questions': 'compositional'}
    """
    return dict(part.strip().split("=", 1) for part in setting.split(";") if part.strip())


def swept(settings: Iterable[str]) -> list[str]:
    """The settings that take three or more numbers, and no words: one of them is the axis of a figure."""
    taken: dict[str, list[str]] = {}
    for name, value in (pair for one in settings for pair in values_of(one).items()):
        taken.setdefault(name, []).append(value)
    numbers = {name: pd.to_numeric(pd.Series(values), errors="coerce") for name, values in taken.items()}
    return [name for name, own in numbers.items() if own.notna().all() and own.nunique() > 2]


def series(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """A column series, the name of the line of each row, and the look of every line, in order.

    A line is a method; a method with several settings has a line for each, of one colour from dark to light.
    """
    settings = frame["setting"].fillna("") if "setting" in frame else pd.Series("", index=frame.index)
    present = sorted(dict.fromkeys(frame["label"]), key=order)
    names, looks = {}, {}
    for label in present:
        own = list(dict.fromkeys(settings[frame["label"] == label]))
        for index, setting in enumerate(own):
            written = _written(setting)
            if len(own) == 1 or not written:
                written = label
            elif len(present) > 1 or "" in own:
                written = f"{label}, {written}"
            names[label, setting] = written
            looks[written] = look(label) if len(own) == 1 else variant(look(label), index, len(own))
    return frame.assign(series=[names[pair] for pair in zip(frame["label"], settings)]), looks


def _written(setting: str) -> str:
    """A setting as a figure writes it; nothing for the preset."""
    # An embedding that is none of activations has unit length, so its inner products are cosines.
    parts = [part for part in values_of(setting).items() if "kind" not in setting or part[0] != "similarity"]
    return ", ".join(_WRITTEN.get(f"{name}={value}", f"{_SYMBOLS.get(name, name)} = {value}") for name, value in parts)
