"""The folder of a run: what was asked for, what is finished, and the tables made of it. Every file appears whole or not.

::

    runs/main-0123456789ab/
        config.json      all that decides the numbers; the name of the folder is its hash
        run.json         base, data, versions, machine, status; of the cells: commits, seconds
        cells/<id>/      one per finished cell: its tables, and cell.json (commit, versions, device, threads, seconds ...)
        responses.csv.gz, quiz.csv, training.csv, gates.csv, trials.csv.gz     all cells, in the order of the grid
        scores.csv.gz, partitions.csv.gz, confusion.csv, curves.csv
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
from filelock import FileLock, Timeout

from memsci import files
from memsci.errors import MemsciError, meant
from memsci.measures import methods
from memsci.memory import RESERVED

VERSION = 3  # of the tables: raised whenever the same cell would give other columns or other numbers
ID = 12  # hexadecimal digits of a name that stands for content

# Tables that cells make, and the files of a run that they become; the last is made of them.
FILES = {
    "responses": "responses.csv.gz",
    "quiz": "quiz.csv",
    "training": "training.csv",
    "gates": "gates.csv",
    "trials": "trials.csv.gz",
    "scores": "scores.csv.gz",
    "partitions": "partitions.csv.gz",
}
TEXTS = frozenset(
    "dataset method setting way gate memory_id question target original recalled answer top_id embedding label "
    "phenomenon condition item measure protocol response studied".split()
)


def read_json(path: Path) -> dict[str, Any]:
    """The value in run.json, config.json or cell.json."""
    try:
        return files.read_json(path)
    except MemsciError as error:
        raise MemsciError(f"{error} Is {path.parent} the folder of a run?") from None


def status(folder: Path) -> str:
    """How far a run is: "begun", "running", "unfinished" or "finished"."""
    return read_json(folder / "run.json")["status"]


def csv(table: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8: numbers with nine digits, which hold a float32 exactly."""
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def finished(folder: Path, cell_id: str) -> bool:
    """Whether a cell is finished."""
    return (folder / "cells" / cell_id / "cell.json").is_file()


def keep(folder: Path, cell_id: str, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> None:
    """Keep the tables of a finished cell: they are all there, or the cell is not."""
    with _appearing(folder, cell_id) as path:
        for name, table in tables.items():
            (path / f"{name}.csv.gz").write_bytes(_packed(csv(table)))
        files.write_json(path / "cell.json", about)
    forget(folder, cell_id)


def borrow(folder: Path, cell_id: str, score: Callable[[Path, str], None]) -> bool:
    """Take over a cell that another run beside this one has finished; whether it is there now.

    If it was scored anew there, perhaps by other judges than the other cells here, `score` scores it as those (called with
    this folder and the name that the cell bears until it is whole).
    """
    if finished(folder, cell_id):
        return True
    for other in sorted(folder.parent.glob(f"*/cells/{cell_id}/cell.json")):
        with _appearing(folder, cell_id) as path:
            shutil.copytree(other.parent, path, dirs_exist_ok=True)
            if "scored" in about_cell(folder, path.name):
                score(folder, path.name)
        return True
    return False


def about_cell(folder: Path, cell_id: str) -> dict[str, Any]:
    """What is known of how a finished cell was made: cell.json."""
    return read_json(folder / "cells" / cell_id / "cell.json")


def note(folder: Path, cell_id: str, more: Mapping[str, Any]) -> None:
    """Add to what is known of a finished cell."""
    files.write_json(folder / "cells" / cell_id / "cell.json", {**about_cell(folder, cell_id), **more})


def made(folder: Path, cell_ids: Sequence[str]) -> dict[str, Any]:
    """How the cells of a finished run were made, those of earlier runs that it took over included.

    Commits in the order of the cells, also those by which they were scored anew; when the first was begun; their threads,
    None if they differ; seconds of all, processor_seconds None if they are not known of all.
    """
    cells = [about_cell(folder, cell_id) for cell_id in cell_ids]
    threads, used = {cell["threads"] for cell in cells}, [cell["processor_seconds"] for cell in cells]
    scored_by = [cell["scored"]["commit"] for cell in cells if "scored" in cell]
    return {
        "commits": list(dict.fromkeys([*(cell["commit"] for cell in cells), *scored_by])),
        "begun": min(cell["begun"] for cell in cells),
        "threads": threads.pop() if len(threads) == 1 else None,
        "seconds": round(sum(cell["seconds"] for cell in cells), 1),
        "processor_seconds": None if None in used else round(sum(used), 1),
    }


@contextmanager
def held(folder: Path, cell_id: str) -> Iterator[bool]:
    """Hold a cell against other runners; False if another holds it. A runner that dies lets go.

    On a cluster the folder must lie on a file system whose locks hold across machines, as NFS 4 and Lustre are.
    """
    lock = FileLock(_cells(folder) / f".{cell_id}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def report(folder: Path, cell_id: str, done: int, total: int) -> None:
    """Leave a note of how far a cell is, for whoever watches."""
    files.write_bytes(_steps(folder, cell_id), f"{done} {total}".encode(), durable=False)


def reported(folder: Path, cell_id: str) -> tuple[int, int]:
    """How far a cell is: steps done, and all of them; (0, 1) if nothing is known."""
    try:
        done, total = _steps(folder, cell_id).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return 0, 1
    return int(done), int(total)


def begun(folder: Path, cell_id: str) -> bool:
    """Whether somebody has begun a cell, and not finished it."""
    return _steps(folder, cell_id).is_file()


def forget(folder: Path, cell_id: str) -> None:
    """Take away the note of how far a cell is."""
    _steps(folder, cell_id).unlink(missing_ok=True)


def _steps(folder: Path, cell_id: str) -> Path:
    return folder / "cells" / f".{cell_id}.steps"


def sweep(folder: Path) -> None:
    """Remove what killed runners have left, when nobody is at work any more."""
    for path in _cells(folder).glob(".*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def gather(folder: Path, cell_ids: Sequence[str]) -> list[str]:
    """Put the tables of the finished cells together, in the order of the grid; the cells that are in them.

    Lines are taken over as they are, so the files hold the same bytes in whatever order, and wherever, cells were done.
    """
    done = [cell_id for cell_id in cell_ids if finished(folder, cell_id)]
    for name, file in FILES.items():
        header, lines, alike = b"", [], True
        for cell_id in done:
            path = folder / "cells" / cell_id / f"{name}.csv.gz"
            if not path.is_file():
                continue
            head, _, body = gzip.decompress(path.read_bytes()).partition(b"\n")
            if header and ({*_names(head)} ^ {*_names(header)}) & RESERVED:
                raise MemsciError(f"{path} has other columns than its fellows. Remove its folder, and run again.")
            alike &= not header or head == header
            header = head
            lines.append(body)
        if not alike:  # tables of memories with other extra columns
            tables = [cell_table(folder, cell_id, name) for cell_id in done]
            _put(folder / file, csv(pd.concat([one for one in tables if one is not None], ignore_index=True)))
        elif lines:
            _put(folder / file, header + b"\n" + b"".join(lines))
    return done


def table(folder: Path, name: str, without: Sequence[str] = ()) -> pd.DataFrame | None:
    """A table of a run: one of `FILES`, "confusion", "curves" or "cells", without some columns; None if the run has none."""
    path = folder / file_name(name)
    return read(path, without) if path.is_file() else None


def distinct(folder: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """The different values that some columns of text have together, in the order of the table."""
    read = pd.read_csv(folder / file_name(name), usecols=list(columns), dtype="category", lineterminator="\n")
    return read.drop_duplicates(ignore_index=True)


def cell_table(folder: Path, cell_id: str, name: str) -> pd.DataFrame | None:
    """The same of one finished cell."""
    path = folder / "cells" / cell_id / f"{name}.csv.gz"
    return read(path) if path.is_file() else None


def file_name(name: str) -> str:
    """The file of a table of a run."""
    return FILES.get(name, f"{name}.csv")


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table of the run."""
    _put(folder / file_name(name), csv(table))


def write_cell_table(folder: Path, cell_id: str, name: str, table: pd.DataFrame) -> None:
    """Replace a table of one finished cell."""
    _put(folder / "cells" / cell_id / f"{name}.csv.gz", csv(table))


def all_runs(runs: str | os.PathLike[str] = "runs") -> list[Path]:
    """The folders of all runs in a folder."""
    return [path.parent for path in sorted(files.as_folder(runs).glob("*/run.json"))]


def locate(name: str, runs: str | os.PathLike[str] = "runs") -> Path:
    """The folder of a run by its path, or by a name, or its beginning, that fits one run."""
    if (path := files.as_path(name) / "run.json").is_file():
        return path.parent
    found = all_runs(runs)
    fitting = [path for path in found if path.name.startswith(name)]
    if len(fitting) != 1:
        shown = [path.name for path in fitting or found]
        what = f"{len(fitting)} runs begin with" if fitting else "no run is called"
        raise MemsciError(f"{what} {name!r}. In {runs} there are: {', '.join(shown) or 'none'}.{meant(name, shown)}")
    return fitting[0]


def find(runs: str | os.PathLike[str] = "runs") -> pd.DataFrame:
    """The runs in a folder: run, status, cells (finished / all), hours, base, begun."""
    rows = []
    for path in all_runs(runs):
        about = read_json(path / "run.json")
        done = sum(finished(path, cell["id"]) for cell in about["cells"])
        cells, hours = f"{done}/{len(about['cells'])}", about["seconds"] / 3600
        rows.append((path.name, about["status"], cells, hours, about["base"]["name"], about["begun"]))
    return pd.DataFrame(rows, columns=["run", "status", "cells", "hours", "base", "begun"])


def read(source: Path | BinaryIO, without: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of a run: empty strings, "None" and "nan" stay strings; only columns of numbers have missing values."""
    columns = lambda name: name not in without
    # A carriage return in an answer does not end the line.
    found = pd.read_csv(source, keep_default_na=False, na_values={}, dtype=str, usecols=columns, lineterminator="\n")
    texts = TEXTS - {"answer"} if "chosen" in found else TEXTS  # of a quiz it is a number
    for name in found.columns:
        if name not in texts:
            found[name] = _numbers(found[name])
    if "recalled" in found:  # some methods recall nothing, which is another thing than a recall of no words
        silent = [name for name in methods.names() if not methods.get(name).recalls]
        found["recalled"] = found["recalled"].where(~found["method"].isin(silent), None)
    if "top_id" in found:
        found["top_id"] = found["top_id"].where(found["top_id"] != "", None)
    return found


def _names(head: bytes) -> list[str]:
    return pd.read_csv(io.BytesIO(head + b"\n")).columns.tolist()


def _numbers(column: pd.Series) -> pd.Series:
    if set(column.unique()) <= {"True", "False"}:
        return column == "True"
    if column.name not in RESERVED and column.str.match(r"[+-]?0\d").any():  # codes, such as 007
        return column
    read = pd.to_numeric(column.where(column != "", None), errors="coerce")
    return column if (read.isna() & (column != "")).any() else read


def _cells(folder: Path) -> Path:
    cells = folder / "cells"
    cells.mkdir(exist_ok=True)
    return cells


def _appearing(folder: Path, cell_id: str) -> AbstractContextManager[Path]:
    """A folder to be filled, which then becomes that of the cell; of two at once the first, with the same tables."""
    return files.appearing(_cells(folder) / cell_id, exist_ok=True)


def _put(path: Path, content: bytes) -> None:
    files.write_bytes(path, _packed(content) if path.suffix == ".gz" else content)


def _packed(content: bytes) -> bytes:
    packed = io.BytesIO()
    # Without name and time, so that the same table is the same file.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(content)
    return packed.getvalue()
