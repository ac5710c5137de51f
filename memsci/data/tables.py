"""Memories of the user's own, from a CSV, JSON Lines or Parquet file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from memsci.errors import MemsciError
from memsci.files import as_path
from memsci.memory import Memory, from_frame


def table(path: str | os.PathLike[str]) -> list[Memory]:
    """Read memories from a file, one per row.

    Parameters
    ----------
    path
        ``.csv`` (commas, UTF-8, header line), ``.jsonl`` or ``.ndjson`` (one object per line), or ``.parquet``.
        Column ``text``; optional columns ``id``, ``label``, ``paraphrases`` (a list of strings) and ``questions`` (a
        list of [question, answer] or {"question", "answer"}). In a CSV file the two lists are written as JSON. See
        `Memory` for what a value left out becomes.

    Returns
    -------
    list of Memory
        In the order of the file. Errors name the row, counted from 1 without the header and blank lines.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "memories.csv")
    >>> lines = ["text,id,questions", 'Nora hid the letter.,nora,"[[""Who hid the letter?"", ""Nora""]]"']
    >>> _ = file.write_text("\\n".join(lines))
    >>> [memory] = table(file)
    >>> memory.id, memory.text, memory.questions[0].answer
    ('nora', 'Nora hid the letter.', 'Nora')
    """
    path = as_path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise MemsciError(f"{path}: the name of a table must end in {', '.join(_READERS)}, not in {path.suffix!r}.")
    try:
        frame = reader(path)
        if frame.empty:
            raise MemsciError("the table has no rows.")
        return from_frame(frame)
    except UnicodeDecodeError as error:
        raise MemsciError(f"{path}: not valid UTF-8 text (byte {error.start}). Save the file as UTF-8.") from None
    except OSError as error:
        raise MemsciError(f"{path}: the file cannot be read ({error.strerror or error}).") from None
    except MemsciError as error:
        raise MemsciError(f"{path}: {error}") from None


def _csv(path: Path) -> pd.DataFrame:
    # The csv module, since pandas makes missing values of texts such as "NA" and shifts the columns of rows too long.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            rows = [(reader.line_num, row) for row in reader if any(row)]
        except csv.Error as error:
            raise MemsciError(f"line {reader.line_num}: not a well-formed CSV file ({error}).") from None
    if not rows:
        raise MemsciError("the file is empty.")
    header = rows[0][1]
    for number, (line, row) in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise MemsciError(
                f"Row {number} (it ends on line {line}) has {len(row)} cells where the header has "
                f"{len(header)}: put quotes around a cell that contains commas."
            )
    return pd.DataFrame([row for _, row in rows[1:]], columns=header, dtype=object)


def _jsonl(path: Path) -> pd.DataFrame:
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            raise MemsciError(f"line {number}: not valid JSON ({error}).") from None
        except MemsciError as error:
            raise MemsciError(f"line {number}: {error}") from None
        if not isinstance(record, dict):
            raise MemsciError(f'line {number}: an object such as {{"text": "…"}} is needed, not {line.strip()[:60]}.')
        records.append(record)
    if not records:
        raise MemsciError("the file is empty.")
    return pd.DataFrame(records, dtype=object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise MemsciError(f"{repeated[0]!r} stands twice in one object: keep one.")
    return dict(pairs)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise MemsciError("reading Parquet needs the package pyarrow: pip install pyarrow.") from None
    except ValueError as error:
        raise MemsciError(f"not a well-formed Parquet file ({error}).") from None


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
