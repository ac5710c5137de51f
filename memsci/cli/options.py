"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from memsci.errors import MemsciError

if TYPE_CHECKING:
    from memsci.memory import Memory


def _folder(text: str) -> Path:
    """A path to a folder that is there or can be made; ``~`` is the home, also in ``--store=~/x``."""
    path = Path(text).expanduser()
    nearest = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise typer.BadParameter(f"{nearest} is a file, and a folder is needed. Name another place.")
    return path


def _file(text: str) -> Path:
    """A path to a file that is there or can be made."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder, and a file is needed. Name a file in it.")
    _folder(path.parent)
    return path


FOLDER: dict[str, Any] = {"parser": _folder, "metavar": "FOLDER"}
FILE: dict[str, Any] = {"parser": _file, "metavar": "FILE"}

STORE = Annotated[Path, Argument(help="Folder of a store, as written by 'memsci encode'.", **FOLDER)]
BASE = Annotated[str | None, Option(help="Base model: a name on the hub or a folder. Default: the one named in the store.")]
RUN_BASE = Annotated[
    str | None,
    Option(
        help="Base model: a name on the hub or a folder. Default: the one that the experiment names, else the shipped one."
    ),
]
BETA = Annotated[
    float | None, Option(min=0.0, help="Inverse temperature β of the gate: 0 is uniform, inf the best memory alone.")
]
EPSILON = Annotated[
    float | None, Option(min=0.0, max=1.0, help="Close the memories that together weigh no more than this: faster for many.")
]
K = Annotated[
    float | None,
    Option(
        "--k",
        help="How many memories are recalled before the answer, each alone: 2, 3 …; or 0.9: as many as hold this share of "
        "the gate.",
    ),
]
UNKNOWN = Annotated[
    str | None,
    Option(
        help="What is said where the gate is closed, such as 'I do not remember.' Default: the base speaks alone, and a "
        "line tells so."
    ),
]
COLUMN = Annotated[
    list[str] | None,
    Option(
        help="What a column of another name means, such as 'Frage=question'; again for a further one. Known: text, id, "
        "label, question, answer; others are yours.",
        metavar="NAME=MEANING",
    ),
]
SEP = Annotated[str | None, Option(help="What separates the columns of the table. Default: it is recognised.")]
ENCODING = Annotated[str | None, Option(help="Of the characters of the table, such as cp1252.")]
DECIMAL = Annotated[str | None, Option(help="The decimal mark of its numbers, '.' or ','.")]
SHEET = Annotated[str | None, Option(help="Sheet of a workbook.")]
SEED = Annotated[int, Option(help="Seed of the random numbers.")]
RUN = Annotated[str, Argument(help="A run: its folder, its name, or the beginning of its name.")]
RUNS = Annotated[Path, Option(help="Folder that holds the runs.", **FOLDER)]


def how_to_read(
    sep: str | None, encoding: str | None, decimal: str | None, sheet: str | None, column: list[str] | None
) -> dict[str, Any]:
    """How a table is read, as these options say it, for `memsci.data.table`."""
    how = {"sep": sep, "encoding": encoding, "decimal": decimal, "sheet": sheet}
    pairs = [one.rpartition("=")[::2] for one in column or ()]
    if wrong := [given for given, (name, meaning) in zip(column or (), pairs) if not (name.strip() and meaning.strip())]:
        raise MemsciError(f"--column takes NAME=MEANING, such as 'Frage=question'; {wrong[0]!r} was given.")
    return {name: value for name, value in how.items() if value is not None} | ({"columns": dict(pairs)} if pairs else {})


def read(table: Path, how: dict[str, Any]) -> list[Memory]:
    """The memories of a table, read as `how_to_read` says."""
    import memsci

    return memsci.data.table(table, **how)


def names(text: str) -> list[str]:
    """The names in a list with commas between, with or without spaces."""
    return [name.strip() for name in text.split(",")]
