"""Files and folders that appear whole or not at all, their hashes, and the paths that users give."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memsci.errors import MemsciError


def as_path(given: str | os.PathLike[str]) -> Path:
    """The path that a user gave: ``~`` expanded, and absolute, so that it stays right when the process changes folders.

    Examples
    --------
    >>> as_path("~/memories") == Path.home() / "memories"
    True
    """
    try:
        path = Path(given).expanduser().absolute()
    except (TypeError, RuntimeError) as error:  # RuntimeError: "~name" of nobody
        raise MemsciError(f"{given!r} is not a path ({error}). Give the path of a file or a folder.") from None
    if "\0" in str(path):
        raise MemsciError(f"{given!r} is not a path: it holds a null character.")
    return path


def as_folder(given: str | os.PathLike[str]) -> Path:
    """The path of a folder that is there or could be made, as `as_path` gives it; refused where a file is in its way."""
    path = as_path(given)
    nearest = next(part for part in (path, *path.parents) if os.path.lexists(part) or part == part.parent)
    if not nearest.is_dir():
        raise MemsciError(f"{path} cannot be a folder, since {nearest} is a file. Give another path.")
    return path


def make_folder(given: str | os.PathLike[str]) -> Path:
    """Make a folder with all folders above it, unless it is there; returns its path as `as_path` gives it."""
    path = as_folder(given)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MemsciError(f"The folder {path} cannot be made ({error.strerror or error}). Give another path.") from None
    return path


@contextmanager
def appearing(given: str | os.PathLike[str], exist_ok: bool = False) -> Iterator[Path]:
    """A new folder, hidden until the block ends; it then appears at its path, or nowhere if the block raises.

    Parameters
    ----------
    given
        Path of the folder. Folders above it are made.
    exist_ok
        If a folder with files is at the path when the block ends, keep that one and drop the new one.

    Raises
    ------
    MemsciError
        Also for any error of the operating system within the block.
    """
    path = as_path(given)
    if os.path.exists(path) and not exist_ok:  # Path.exists raises where a name is too long
        raise MemsciError(f"{path} exists already. Give a path where nothing is.")
    make_folder(path.parent)
    unfinished = hidden(path)
    try:
        unfinished.mkdir()
        yield unfinished
        try:
            os.replace(unfinished, path)
        except OSError:
            if not (exist_ok and path.is_dir()):
                raise
    except OSError as error:
        raise MemsciError(
            f"{path} cannot be written ({_reason(error)}). Make room or give yourself the right to write there, or give "
            "another path."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _reason(error: OSError) -> str:
    """What the system says; of the many errors of a copied tree the first."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return str(error.strerror or error)


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A hidden path to write a file to; it replaces the file at `path` when the block ends, or not if that raises.

    Parameters
    ----------
    path
        Path of the file.
    durable
        Force the content to the disk first. Without it a loss of power can leave an empty file.
    """
    unfinished = hidden(path)
    try:
        yield unfinished
        if durable:
            flush(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file; see `replacing`."""
    with replacing(path, durable) as unfinished:
        unfinished.write_bytes(content)


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write a value as indented JSON in UTF-8; see `replacing`."""
    write_bytes(path, as_json(value), durable)


def as_json(value: Any, allow_nan: bool = True) -> bytes:
    """A value as indented JSON in UTF-8; a `MemsciError` for what has no such form."""
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n").encode()
    except (TypeError, ValueError) as error:  # also a lone surrogate, which has no UTF-8
        raise MemsciError(f"Only plain values can be kept as JSON: texts, numbers, lists, dicts ({error}).") from None


def read_json(path: Path) -> Any:
    """The value in a JSON file; a `MemsciError` if the file is missing or holds no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MemsciError(f"{path} cannot be read ({error}).") from None


def flush(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk. On Windows folders cannot be flushed, and need not be."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content(value: Any) -> str:
    """SHA-256 of anything made of plain values and dataclasses, as 64 hexadecimal digits.

    Examples
    --------
    >>> content({"b": 1, "a": (2,)}) == content({"a": [2], "b": 1})
    True
    """
    # Fields younger than most hashes are no part of one at their defaults.
    young = {"extra": ({},), "quiz_by": ("letter",), "corrects": (None,)}
    told = lambda pairs: {name: one for name, one in pairs if one not in young.get(name, ())}
    plain = lambda one: dataclasses.asdict(one, dict_factory=told) if dataclasses.is_dataclass(one) else str(one)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def hidden(path: Path, mark: str = ".new-") -> Path:
    """A new hidden path beside `path`, with its suffix; what a killed process leaves begins with the mark."""
    return path.with_name(f"{mark}{uuid.uuid4().hex}-{path.name}")
