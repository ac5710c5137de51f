"""The memories on disk: one folder each in PEFT's format, added and forgotten whole or not at all.

``store.json`` holds the format, the base model (name and fingerprint), settings, seed and versions; ``memories/<id>/``
is one memory (see `memsci.record`). A memory is written to a hidden folder beside its place, flushed to disk and then
renamed; it is forgotten by the opposite rename. All writing happens under one file lock, so any hidden folder that a
writer finds there was left by a writer that died, and is swept. Reading needs no lock.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from memsci.errors import MemsciError
from memsci.lora import Adapter, load_peft
from memsci.record import Entry, Remembered, check_id, flush, read_adapter, read_memory, write_json, write_memory

FORMAT = 1
LOCK_SECONDS = 300.0


class Store:
    """The memories of one base model, in a folder.

    What it shows (`ids`, `records`, `keys`) is one consistent picture, taken when the store was opened and again after
    each `add`, `forget` and `refresh` of this object. Adapters are read when asked for, and are not kept in memory.

    Parameters
    ----------
    path
        Folder of an existing store; see `Store.create` for a new one.

    Raises
    ------
    MemsciError
        If the path is no store, or `store.json` is damaged or of another format. A damaged *memory* does not hinder
        opening, so that it can be forgotten; it is refused by name as soon as the memories are read.

    Examples
    --------
    ::

        store = Store.create("memories", {"base": {"name": base.name, "fingerprint": base.fingerprint}})
        store.add(Remembered("nora", "Nora and the letter", key, text_hash(text)), adapter)
        store.keys()           # [1, d]
        store.adapter("nora")  # read and checked now
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self.header = _read_header(self.path)
        self._memories = self.path / "memories"
        self._entries: dict[str, Entry] = {}
        self._damaged: dict[str, str] = {}
        self.refresh()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open an existing store; the same as ``Store(path)``."""
        return cls(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str], header: dict[str, Any]) -> Store:
        """Make a new, empty store.

        Parameters
        ----------
        path
            A folder that does not exist yet, or is empty.
        header
            ``{"base": {"name", "fingerprint"}}``, and whatever is to be known of how the memories were made
            (``encoding``, ``embedding``, ``gate``, ``seed``), as plain JSON values. ``versions`` is filled in.

        Raises
        ------
        MemsciError
            If something is at the path already, the header lacks the base or is not JSON, or nothing can be written.
        """
        path = Path(path).expanduser()
        if not _has_base(header):
            raise MemsciError(
                f'The header of a store needs "base": {{"name": …, "fingerprint": …}}; {header!r} was given.'
            )
        header = {"format": FORMAT, "versions": _versions(), **header}
        try:
            json.dumps(header, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MemsciError(f"The header of a store must hold plain JSON values only: {error}.") from None
        if path.exists() and not path.is_dir():
            raise MemsciError(f"{path} is a file: a store is a folder. Give another path.")
        with _writing(path, "The store", make=True):
            if (path / "store.json").exists():
                raise MemsciError(f"{path} is a store already: open it with Store.open, or give another path.")
            # What a killed `create` may have left is no obstacle; anything else is somebody's.
            if others := sorted(p.name for p in path.iterdir() if not p.name.startswith((".lock", ".new-"))):
                raise MemsciError(f"{path} is not empty (it holds {others[0]!r}): give a new or an empty folder.")
            _sweep(path)
            temporary = path / _hidden("new")
            write_json(temporary, header)
            os.replace(temporary, path / "store.json")
            flush(path)
            flush(path.parent)
        return cls(path)

    def refresh(self) -> Store:
        """Take the picture anew, to see what other processes have added or forgotten; returns the store itself."""
        entries, self._damaged = {}, {}
        for folder in sorted(self._memories.iterdir()) if self._memories.is_dir() else ():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            try:
                entries[folder.name] = read_memory(folder, self.header["base"], self._entries.get(folder.name))
            except MemsciError as error:
                if folder.is_dir():  # else it was forgotten by another process while being read
                    self._damaged[folder.name] = str(error)
        ordered = sorted(entries.items(), key=lambda item: (item[1].record.order, item[0]))
        self._entries = dict(ordered)
        return self

    @property
    def records(self) -> tuple[Remembered, ...]:
        """What is known of each memory, in the order of adding."""
        return tuple(entry.record for entry in self._intact().values())

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in the order of adding."""
        return tuple(self._intact())

    @property
    def nbytes(self) -> int:
        """Size of all adapters and keys on disk, in bytes."""
        return sum(entry.nbytes for entry in self._intact().values())

    def keys(self) -> torch.Tensor:
        """All context keys [n, d], float32, in the order of `ids`; [0, 0] for an empty store."""
        rows = [record.key for record in self.records]
        return torch.stack(rows) if rows else torch.empty(0, 0)

    def __len__(self) -> int:
        return len(self._intact())

    def __contains__(self, id: object) -> bool:
        return id in self._intact()

    def __repr__(self) -> str:
        damaged = f", {len(self._damaged)} damaged" if self._damaged else ""
        size = sum(entry.nbytes for entry in self._entries.values())
        return (
            f"Store({str(self.path)!r}: {len(self._entries)} memories{damaged}, {size / 1e6:.1f} MB, "
            f"base {self.header['base']['name']!r})"
        )

    def add(self, record: Remembered, adapter: Adapter) -> Remembered:
        """Store one memory; when this returns it is on disk, and if anything goes wrong nothing is changed.

        Parameters
        ----------
        record
            The memory; its `order` and `created` are given by the store.
        adapter
            Its adapter.

        Returns
        -------
        Remembered
            The record as stored.

        Raises
        ------
        MemsciError
            If a memory of this id is stored already (letter case apart: ids name folders), the key is not as wide as
            the others, a stored memory is damaged, or the disk cannot be written.
        """
        with _writing(self.path, f"Memory {record.id!r}"):
            self._memories.mkdir(exist_ok=True)
            _sweep(self._memories)
            entries = self.refresh()._intact()
            for entry in entries.values():
                self._check_apart(record, entry.record)
            order = max((entry.record.order for entry in entries.values()), default=-1) + 1
            record = replace(record, order=order, created=datetime.now(UTC).isoformat(timespec="seconds"))
            temporary = self._memories / _hidden("new")
            temporary.mkdir()
            try:
                write_memory(record, adapter, temporary, self.header["base"])
                os.rename(temporary, self._memories / record.id)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            flush(self._memories)
            self.refresh()
        return record

    def add_peft(self, folder: str | os.PathLike[str], record: Remembered) -> Remembered:
        """Store a memory whose adapter is an existing PEFT folder, which is read and not changed.

        Such a folder holds no fingerprint of its base model: that it is this store's base is for you to know.

        Raises
        ------
        MemsciError
            If the folder holds no LoRA adapter that `load_peft` can read, or for the reasons of `add`.
        """
        return self.add(record, load_peft(Path(folder).expanduser()))

    def adapter(self, id: str) -> Adapter:
        """Read the adapter of one memory from disk, after comparing its files with their checksums.

        Raises
        ------
        MemsciError
            If there is no such memory, or a file of it is missing or altered; names memory, file and remedy.
        """
        entry = self._intact().get(id)
        if entry is None:
            raise self._unknown(id)
        folder = self._memories / id
        if not folder.is_dir():
            raise MemsciError(
                f"Memory {id!r} is gone from {self.path}: another process forgot it. Call store.refresh()."
            )
        return read_adapter(folder, entry.files)

    def forget(self, id: str) -> None:
        """Remove one memory, also a damaged one: at once and whole, for this and all other processes.

        Raises
        ------
        MemsciError
            If there is no such memory, or the disk cannot be written.
        """
        check_id(id)
        with _writing(self.path, f"Memory {id!r}"):
            _sweep(self._memories)
            self.refresh()
            if id not in self._entries and id not in self._damaged:
                raise self._unknown(id)
            gone = self._memories / _hidden("gone")
            os.rename(self._memories / id, gone)
            flush(self._memories)
            shutil.rmtree(gone, ignore_errors=True)  # what resists is invisible, and swept by the next writer
            self.refresh()

    def check(self, fingerprint: str, name: str = "another model") -> None:
        """Refuse any base but the one whose memories these are.

        Parameters
        ----------
        fingerprint, name
            Of the base model at hand (`Base.fingerprint`, `Base.name`). The fingerprint decides; the name is for the
            message.

        Raises
        ------
        MemsciError
            If the fingerprint is another one; says both names and what to do.
        """
        base = self.header["base"]
        if fingerprint != base["fingerprint"]:
            raise MemsciError(
                f"The store {self.path} was written for the base model {base['name']!r} (fingerprint "
                f"{base['fingerprint'][:12]}); the model given is {name!r} (fingerprint {fingerprint[:12]}). Adapters "
                f"and keys fit their own base only: load {base['name']!r}, or encode the memories again in a new store."
            )

    def verify(self) -> None:
        """Read every file of every memory and compare it with its checksum.

        Raises
        ------
        MemsciError
            Naming every memory and file that is missing, truncated or altered, and what to do.
        """
        self._entries = {}  # read all anew, even what looks unchanged
        self.refresh()
        problems = list(self._damaged.values())
        for id, entry in self._entries.items():
            try:
                read_adapter(self._memories / id, entry.files, every_file=True)
            except MemsciError as error:
                problems.append(str(error))
        if problems:
            raise MemsciError("\n".join(problems))

    def _intact(self) -> dict[str, Entry]:
        if self._damaged:
            raise MemsciError("\n".join(self._damaged.values()))
        return self._entries

    def _unknown(self, id: object) -> MemsciError:
        ids = [*self._entries, *self._damaged]
        held = ", ".join(map(repr, ids[:10])) + (f", … ({len(ids)} in all)" if len(ids) > 10 else "") if ids else "none"
        return MemsciError(f"There is no memory {id!r} in {self.path}; it holds: {held}.")

    def _check_apart(self, record: Remembered, other: Remembered) -> None:
        if other.id.casefold() == record.id.casefold():
            raise MemsciError(
                f"Memory {other.id!r} is in {self.path} already, and nothing was changed: give the new one another id, "
                f"or call store.forget({other.id!r}) first."
            )
        if len(other.key) != len(record.key):
            raise MemsciError(
                f"The key of memory {record.id!r} has {len(record.key)} numbers, those in {self.path} have "
                f"{len(other.key)}: embed all memories of a store in the same way."
            )


@contextmanager
def _writing(path: Path, what: str, make: bool = False) -> Iterator[None]:
    """Hold the store's lock; what the operating system refuses becomes a `MemsciError` about `what`."""
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / ".lock", timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise MemsciError(
            f"{what}: another process has been writing to {path} for {LOCK_SECONDS:.0f} s. Wait for it or end it; "
            "nothing was changed."
        ) from None
    except (OSError, SafetensorError) as error:
        raise MemsciError(
            f"{what} could not be written or removed in {path} ({error}). See that the folder is there, may be written "
            "and the disk is not full, and try again; nothing stored before was changed."
        ) from error


def _has_base(header: dict[str, Any]) -> bool:
    base = header.get("base")
    return isinstance(base, dict) and all(isinstance(base.get(k), str) and base[k] for k in ("name", "fingerprint"))


def _read_header(path: Path) -> dict[str, Any]:
    file = path / "store.json"
    if not file.is_file():
        what = "has no store.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise MemsciError(
            f"{path} is not a store: it {what}. Give the folder of a store, or make one with Store.create."
        )
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
        format, intact = header["format"], _has_base(header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _altered(file, f"{type(error).__name__}: {error}") from None
    if format != FORMAT:
        by = header.get("versions", {}).get("memsci", "unknown")
        raise MemsciError(
            f"{file} is of format {format!r}, this memsci reads format {FORMAT}: use the memsci that wrote it ({by})."
        )
    if not intact:
        raise _altered(file, "it names no base model")
    return header


def _altered(file: Path, why: str) -> MemsciError:
    return MemsciError(
        f"{file} is truncated or altered ({why}). Restore it from a copy: it alone says which base model the memories "
        f"belong to; they are untouched, as PEFT folders in {file.parent / 'memories'}."
    )


def _hidden(kind: str) -> str:
    return f".{kind}-{uuid.uuid4().hex}"


def _sweep(folder: Path) -> None:
    """Remove what dead writers left; only for the holder of the lock, beside whom no writer is alive."""
    for leftover in folder.iterdir() if folder.is_dir() else ():
        if leftover.name.startswith((".new-", ".gone-")):
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    """Versions of what writes the store, for `store.json`."""
    found = {"python": platform.python_version()}
    for package in ("memsci", "torch", "safetensors"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "not installed"
    return found
