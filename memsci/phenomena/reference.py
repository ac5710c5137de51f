"""What people did: published or computed values, each with its source, from `human/*.toml`.

A file is named after its phenomenon and holds tables ``[[value]]``: measure, condition, value, and sd, n, unit, checked,
citation. ``condition`` and ``value`` may be lists of one length, for a curve. ``checked`` says how sure we are: "read" in
the source cited, "computed" from the data cited, or "memory". What is from memory is never shown: it is for whoever looks
it up.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import pandas as pd

from memsci.errors import MemsciError, check_in

COLUMNS = ("phenomenon", "measure", "condition", "value", "sd", "n", "unit", "checked", "citation")
FOLDER = resources.files("memsci.phenomena") / "human"
CHECKED = ("read", "computed", "memory")
_NEEDED = ("measure", "condition", "value", "checked", "citation")


def human(phenomenon: str, unchecked: bool = False) -> pd.DataFrame:
    """People's values for a phenomenon; without any, a table without rows.

    Parameters
    ----------
    phenomenon
        Name of a file in `human/`.
    unchecked
        Give also what is from memory. No figure and no result asks for it.

    Returns
    -------
    pandas.DataFrame
        The columns `COLUMNS`: condition is text (a position as "1"), n the number of people or samples, unit what the
        value is measured in, citation where it is from.

    Examples
    --------
    >>> human("free_recall").query("measure == 'temporal factor'")[["value", "n", "checked"]].to_dict("records")
    [{'value': 0.701, 'n': 126, 'checked': 'computed'}]
    """
    file = FOLDER / f"{phenomenon}.toml"
    rows = parse(phenomenon, file.read_text(encoding="utf-8")) if file.is_file() else pd.DataFrame(columns=list(COLUMNS))
    return rows if unchecked else rows[rows["checked"] != "memory"].reset_index(drop=True)


@cache
def _parsed(phenomenon: str, text: str) -> tuple[dict, ...]:
    rows = []
    for entry in tomllib.loads(text).get("value", []):
        if wrong := [name for name in _NEEDED if name not in entry] + sorted(set(entry) - set(COLUMNS)):
            raise MemsciError(f"human/{phenomenon}.toml: a value lacks, or has the unknown field, {wrong[0]!r}: {entry}.")
        check_in(f"checked of {entry['measure']!r} in human/{phenomenon}.toml", entry["checked"], CHECKED)
        conditions, values = (_list(entry[name]) for name in ("condition", "value"))
        if len(conditions) != len(values):
            raise MemsciError(f"human/{phenomenon}.toml: {len(conditions)} conditions and {len(values)} values: {entry}.")
        rows += [
            {**entry, "phenomenon": phenomenon, "condition": str(condition), "value": float(value)}
            for condition, value in zip(conditions, values)
        ]
    return tuple(rows)


def parse(phenomenon: str, text: str) -> pd.DataFrame:
    """The table of a file's text; see `human`."""
    return pd.DataFrame(_parsed(phenomenon, text), columns=list(COLUMNS))


def _list(value: object) -> list:
    return value if isinstance(value, list) else [value]
