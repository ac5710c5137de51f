"""The memories on disk: one folder each in PEFT's format, added and forgotten whole or not at all.

``store.json`` holds the format, the base model (name and fingerprint), settings, seed and versions; ``memories/<id>/``
is one memory (see `memsci.record`). A memory is written to a hidden folder of the store, flushed to disk and then renamed
to its place; it is forgotten by the opposite rename. All writing happens under one file lock, so any hidden folder that a
writer finds there was left by a writer that died, and is swept.

What is asked of all memories at once is answered by a catalogue of them (see `memsci.catalogue`), which follows from the
folders. After each change the writer gives the folder of all memories a time of its own choice and notes it in the
catalogue: as long as it has that time nobody else, nor a writer that died, has put a memory there or taken one away, and
opening need not look at them. Else the catalogue is mended first, or made anew; on a disk that cannot be written, in a
temporary folder.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from memsci.adapters.lora import Adapter, load_peft
from memsci.errors import MemsciError
from memsci.gate import search
from memsci.models import gguf
from memsci.store import catalogue
from memsci.store.cache import Cache
from memsci.store.catalogue import Catalogue, Row
from memsci.store.record import Entry, Remembered, check_id, flush, read_adapter, read_memory, write_json, write_memory

FORMAT = 1
LOCK_SECONDS = 300.0
CACHE_BYTES = 2**30
TOGETHER = 256  # memories that `add_all` puts in their places at once


class Named(NamedTuple):
    """A memory's id and label."""

    id: str
    label: str


class Records(Sequence[Remembered]):
    """What is known of each memory, in the order of adding, read from the catalogue when asked for.

    Parameters
    ----------
    length
        Number of memories.
    read
        From places in the order to records.
    """

    def __init__(self, length: int, read: Callable[[Sequence[int]], list[Remembered]]) -> None:
        self._places, self._read = range(length), read

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return tuple(self._read(self._places[place]))
        return self._read([self._places[place]])[0]

    def __iter__(self) -> Iterator[Remembered]:
        for start in range(0, len(self), catalogue.CHUNK):
            yield from self._read(self._places[start : start + catalogue.CHUNK])


class Store:
    """The memories of one base model, in a folder.

    What it shows (`ids`, `records`, `keys`, `nearest`) is one consistent picture, taken when the store was opened and again
    after each `add`, `forget` and `refresh` of this object. Keys stay on the disk and are mapped into memory; adapters are
    read when asked for, and kept until their bytes are needed for others.

    Parameters
    ----------
    path
        Folder of an existing store; see `Store.create` for a new one.
    cache_bytes
        Most bytes of adapters to keep in memory.

    Raises
    ------
    MemsciError
        If the path is no store, or `store.json` is damaged or of another format. A damaged *memory* does not hinder
        opening, so that it can be forgotten. It is refused by name when the memories are read if its folder is new to the
        catalogue, else when its adapter is read; `verify` finds all damage.

    Examples
    --------
    ::

        store = Store.create("memories", {"base": {"name": base.name, "fingerprint": base.fingerprint}})
        store.add(Remembered("nora", "Nora and the letter", key, text_hash(text)), adapter)
        store.keys()           # [1, d]
        store.adapter("nora")  # read and checked now
    """

    def __init__(self, path: str | os.PathLike[str], cache_bytes: int = CACHE_BYTES) -> None:
        self.path = Path(path).expanduser()
        self.header = _read_header(self.path)
        self._memories = self.path / "memories"
        self._cache: Cache[Adapter] = Cache(cache_bytes)
        self._aside: tempfile.TemporaryDirectory | None = None
        self._catalogue: Catalogue | None = None
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
        with _locked(path, "The store", make=True):
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
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._look():
            try:
                with FileLock(self.path / ".lock", timeout=0.02):
                    self._mend()
                break
            except Timeout:  # a writer is at work, and will soon have made it good
                if time.monotonic() < deadline:
                    continue
            except (OSError, sqlite3.Error):  # a disk that is full or cannot be written
                pass
            self._look_aside()
            break
        return self

    @property
    def records(self) -> Records:
        """What is known of each memory, in the order of adding."""
        shown = self._shown()
        return Records(len(shown), lambda places: self._read(shown, places))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in the order of adding."""
        return self._shown().ids

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of adding."""
        return self._shown().labels

    @property
    def nbytes(self) -> int:
        """Size of all adapters and keys on disk, in bytes."""
        return self._shown().nbytes

    @property
    def cache_bytes(self) -> int:
        """Most bytes of adapters to keep in memory."""
        return self._cache.limit

    def keys(self, places: Sequence[int] | None = None) -> torch.Tensor:
        """Context keys [n, d], float32, of the memories at these places in the order of adding; None for all.

        Those at given places are read. All together are mapped from the disk, but copied if memories were forgotten
        since the last `compact`; of an empty store they are [0, 0]. Changes to them stay in this tensor.

        Raises
        ------
        MemsciError
            There is no such place.
        """
        shown = self._shown()
        if places is not None:
            self._check_places(shown, places)
            return torch.from_numpy(shown.matrix[shown.slots(places)])
        return torch.from_numpy(shown.matrix[shown.live] if len(shown.dead) else shown.map_keys())

    def nearest(self, cues: torch.Tensor, k: int, similarity: str = "inner") -> tuple[torch.Tensor, torch.Tensor]:
        """The k memories whose keys are most similar to each cue: exactly those that `memsci.gate.gate` puts first.

        Parameters
        ----------
        cues
            [b, d].
        k
            Memories for each cue; fewer if fewer are stored.
        similarity
            "inner" or "cosine".

        Returns
        -------
        scores, places
            [b, k] each, best first, of equals the earlier: the scores in float64, and the memories' places in the order of
            adding (see `named`).
        """
        shown = self._shown()
        scores, rows = search.nearest(cues, shown.matrix, k, similarity, shown.longest, shown.dead)
        return scores, rows - torch.searchsorted(torch.from_numpy(shown.dead), rows)

    def similarities(self, cues: torch.Tensor, similarity: str = "inner") -> tuple[torch.Tensor, torch.Tensor]:
        """Similarity of each cue to the key of every memory, in float32, and how far it may be off.

        The keys are read from where they are mapped; in float64, for few of them, it is `memsci.gate.gate`'s work.

        Parameters
        ----------
        cues, similarity
            As in `nearest`.

        Returns
        -------
        scores
            [b, n], the memories in the order of adding.
        error
            [b], the most by which rounding may have moved any score of a cue.
        """
        shown = self._shown()
        scores = search.similarities(cues, shown.matrix, similarity)
        error = search.rounding(cues, shown.matrix.shape[1], similarity, shown.longest)
        return scores[:, torch.from_numpy(shown.live)] if len(shown.dead) else scores, error

    def named(self, places: Sequence[int]) -> list[Named]:
        """Id and label of the memories at these places in the order of adding, as many and in the same order.

        Raises
        ------
        MemsciError
            There is no such place.
        """
        shown = self._shown()
        self._check_places(shown, places)
        return [Named(id, label) for id, label in shown.names(places)]

    def text_hash(self, id: str) -> str | None:
        """Hash of the text of one memory, by which it is known without its text; None if it is not stored."""
        row = self._shown().find(id)
        return None if row is None else row.text_hash

    def taken_by(self, id: str) -> str | None:
        """The stored id that is this one or differs from it in letter case alone; None if it is free."""
        row = self._shown().find(id, any_case=True)
        return None if row is None else row.id

    def checksums(self, ids: Sequence[str]) -> list[str]:
        """Checksums of these memories, as many and in the same order: what has the same is the same memory.

        Raises
        ------
        MemsciError
            There is no such memory.
        """
        found = self._shown().checksums(ids)
        for id in ids:
            if id not in found:
                raise self.unknown(id)
        return [found[id] for id in ids]

    def unknown(self, id: object) -> MemsciError:
        """The error for an id that is not stored: names the first that are."""
        first = [*(id for id, _ in self._catalogue.names(range(min(10, len(self._catalogue))))), *self._damaged]
        count = len(self._catalogue) + len(self._damaged)
        held = ", ".join(map(repr, first[:10])) + (f", … ({count} in all)" if count > 10 else "") if count else "none"
        return MemsciError(f"There is no memory {id!r} in {self.path}; it holds: {held}.")

    def __len__(self) -> int:
        return len(self._shown())

    def __contains__(self, id: object) -> bool:
        return self._shown().find(id) is not None

    def __repr__(self) -> str:
        damaged = f", {len(self._damaged)} damaged" if self._damaged else ""
        held = self._catalogue
        return (
            f"Store({str(self.path)!r}: {len(held)} memories{damaged}, {held.nbytes / 1e6:.1f} MB, "
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
            the others, a memory is known to be damaged, or the disk cannot be written.
        """
        return self._add([(record, adapter)], durable=True)[0]

    def add_all(self, memories: Iterable[tuple[Remembered, Adapter]], durable: bool = True) -> None:
        """Store many memories, each as by `add` but a few hundred at a time: those before a failure are kept.

        Parameters
        ----------
        memories
            Records and adapters; never more than a few hundred are in memory.
        durable
            Force each to the disk. Without it a loss of power (not the death of the process) can damage memories that were
            added shortly before; they are then refused by name.
        """
        memories = iter(memories)
        while group := list(islice(memories, TOGETHER)):
            self._add(group, durable)

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
        """The adapter of one memory, read after comparing all its files with their checksums unless it is in memory still.

        Raises
        ------
        MemsciError
            If there is no such memory, or a file of it is missing or altered; names memory, file and remedy.
        """
        shown = self._shown()
        row = shown.find(id)
        if row is None:
            raise self.unknown(id)
        folder = self._folder(id)
        return self._cache.get((id, row.checksum), lambda: read_adapter(folder, self._entry(shown, row).files))

    def adapters(self, ids: Iterable[str]) -> list[Adapter]:
        """The adapters of several memories, as many and in the same order; see `adapter`."""
        return [self.adapter(id) for id in ids]

    def forget(self, id: str) -> None:
        """Remove one memory, also a damaged one: at once and whole, for this and all other processes.

        In a large store its key and label stay in the catalogue, where nothing shows them, until it is rewritten: when a
        quarter is forgotten, or by `compact`.

        Raises
        ------
        MemsciError
            If there is no such memory, or the disk cannot be written.
        """
        check_id(id)
        with self._writing(f"Memory {id!r}"):
            row = self._catalogue.find(id)
            if row is None and id not in self._damaged:
                raise self.unknown(id)
            gone = self.path / _hidden("gone")
            os.rename(self._memories / id, gone)
            flush(self._memories)
            shutil.rmtree(gone, ignore_errors=True)  # what resists is invisible, and swept by the next writer
            if not self._damaged:
                with catalogue.changing(self._catalogue.folder) as change:
                    change.bury(row.slot)
                    change.stamp(_set_time(self._memories))
            self._mend()
            if self._catalogue.wasteful():
                with suppress(OSError, sqlite3.Error):  # the disk may be full: the memory is forgotten all the same
                    self._compact()

    def compact(self) -> None:
        """Rewrite the catalogue without the memories that were forgotten; `forget` does so itself now and then.

        Raises
        ------
        MemsciError
            If the disk cannot be written.
        """
        with self._writing("The catalogue"):
            self._compact()

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
            two = f" {gguf.TWO_BASES}" if {name, base["name"]} == {gguf.SMOLLM2, gguf.SMOLLM2_HUB} else ""
            raise MemsciError(
                f"The store {self.path} was written for the base model {base['name']!r} (fingerprint "
                f"{base['fingerprint'][:12]}); the model given is {name!r} (fingerprint {fingerprint[:12]}). Adapters "
                f"and keys fit their own base only: load {base['name']!r}, or encode the memories again in a new store.{two}"
            )

    def verify(self) -> None:
        """Read every file of every memory and compare it with its checksum, and with the catalogue.

        Raises
        ------
        MemsciError
            Naming every memory and file that is missing, truncated or altered, and what to do.
        """
        self.refresh()
        problems = list(self._damaged.values())
        for start in range(0, len(self._catalogue), catalogue.CHUNK):
            places = range(start, min(start + catalogue.CHUNK, len(self._catalogue)))
            for row in self._catalogue.rows(places):
                try:
                    files = self._entry(self._catalogue, row).files
                    read_adapter(self._memories / row.id, files, every_file=True)
                except MemsciError as error:
                    problems.append(str(error))
        if problems:
            raise MemsciError("\n".join(problems))

    # Reading

    def _shown(self) -> Catalogue:
        if self._damaged:
            raise MemsciError("\n".join(self._damaged.values()))
        return self._catalogue

    def _read(self, shown: Catalogue, places: Sequence[int]) -> list[Remembered]:
        return [self._record(shown, row) for row in shown.rows(places)]

    def _record(self, shown: Catalogue, row: Row) -> Remembered:
        if row.has_text:  # which is in the memory's own folder alone
            return self._entry(shown, row).record
        key = torch.from_numpy(shown.matrix[row.slot])
        return Remembered(
            row.id, row.label, key, row.text_hash, row.seed, row.losses, created=row.created, order=row.order
        )

    def _folder(self, id: str) -> Path:
        folder = self._memories / id
        if not folder.is_dir():
            raise MemsciError(
                f"Memory {id!r} is gone from {self.path}: another process forgot it. Call store.refresh()."
            )
        return folder

    def _entry(self, shown: Catalogue, row: Row) -> Entry:
        """A memory as its folder has it, which must be as the catalogue has it."""
        entry = read_memory(self._folder(row.id), self.header["base"])
        if entry.checksum != row.checksum or not np.array_equal(entry.record.key.numpy(), shown.matrix[row.slot]):
            raise MemsciError(
                f"Memory {row.id!r} in {self.path} is not the one in the catalogue. If another process replaced it, call "
                f"store.refresh(); else delete {shown.folder}: it is then made anew from the memories."
            )
        return entry

    def _check_places(self, shown: Catalogue, places: Sequence[int]) -> None:
        if wrong := [place for place in places if not 0 <= place < len(shown)]:
            raise MemsciError(
                f"There is no memory at place {wrong[0]}: {self.path} holds {len(shown)}, counted from 0."
            )

    # Writing

    def _add(self, group: Sequence[tuple[Remembered, Adapter]], durable: bool) -> list[Remembered]:
        """Write memories beside their places, then put all of them there."""
        with self._writing(f"Memory {group[0][0].id!r}"):
            shown = self._shown()
            width = shown.width or len(group[0][0].key)
            taken: dict[str, str] = {}
            for record, _ in group:
                self._check_free(record.id, self.taken_by(record.id) or taken.get(record.id.casefold()))
                taken[record.id.casefold()] = record.id
                catalogue.check_width(record.id, len(record.key), width)
            now, first = datetime.now(UTC).isoformat(timespec="seconds"), shown.next_order()
            if not self._memories.is_dir():
                self._memories.mkdir()
                flush(self.path)
            beside = self.path / _hidden("new")
            beside.mkdir()
            entries = []
            try:
                for order, (record, adapter) in enumerate(group, first):
                    (beside / record.id).mkdir()
                    record = replace(record, order=order, created=now)
                    entries.append(write_memory(record, adapter, beside / record.id, self.header["base"], durable))
                self._place(entries, beside, durable)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
            self._mend()
        return [entry.record for entry in entries]

    def _place(self, entries: Sequence[Entry], beside: Path, durable: bool) -> None:
        """Put memories in their places and into the catalogue, or leave both as they were."""
        ids = [entry.record.id for entry in entries]
        try:
            with catalogue.changing(self._catalogue.folder, durable) as change:
                for entry in entries:
                    change.append(entry)
                change.flush()
                for id in ids:
                    os.rename(beside / id, self._memories / id)
                flush(self._memories)
                change.stamp(_set_time(self._memories))
        except BaseException:  # the disk may be full as late as the end of the block, where the rows are written
            for id in ids:
                if not (beside / id).exists():
                    os.rename(self._memories / id, beside / id)
            raise

    def _check_free(self, id: str, other: str | None) -> None:
        if other is not None:
            raise MemsciError(
                f"Memory {other!r} is in {self.path} already, and nothing was changed: give the new one another id, "
                f"or call store.forget({other!r}) first."
            )

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Hold the lock, with nothing left of dead writers and a picture that is in step."""
        with _locked(self.path, what):
            _sweep(self.path)
            self._mend()
            yield

    # The catalogue

    def _look(self) -> bool:
        """Take the picture if there is a catalogue in step with the folders; returns whether there is."""
        stamp = _time(self._memories)  # before the catalogue is read: a writer in between then makes them differ
        for root in (self.path, *([Path(self._aside.name)] if self._aside else [])):
            with suppress(*catalogue.UNREADABLE):
                folder = catalogue.newest(root)
                found = Catalogue(folder) if folder else None
                if found is not None and found.stamp == stamp:
                    self._take(found, {})
                    return True
        return False

    def _look_aside(self) -> None:
        """Make a catalogue that only this object sees, and take the picture."""
        try:
            self._aside = tempfile.TemporaryDirectory(prefix="memsci-")
            self._build(Path(self._aside.name), _time(self._memories))
        except (OSError, sqlite3.Error) as error:
            raise MemsciError(
                f"The memories in {self.path} could not be listed, neither there nor in {tempfile.gettempdir()} ({error}). "
                "Make room on either disk, or let the environment variable TMPDIR name a folder that can be written."
            ) from error

    def _mend(self) -> None:
        """Bring the catalogue in step with the folders and take the picture; for the holder of the lock."""
        if self._look():
            return
        _sweep(self._memories)  # where version 0.1.0 made its hidden folders
        stamp, folder = _set_time(self._memories), catalogue.newest(self.path)
        if folder is not None:
            with suppress(*catalogue.UNREADABLE):
                return self._reconcile(folder, stamp)
        self._build(self.path, stamp)

    def _reconcile(self, folder: Path, stamp: int) -> None:
        with catalogue.changing(folder) as change:
            damaged = change.reconcile(self._memories, self.header["base"])
            change.stamp(None if damaged else stamp)  # what is damaged is looked at again each time
        found = Catalogue(folder)
        self._take(self._rewritten(folder, self.path) if change.disordered or found.wasteful() else found, damaged)

    def _build(self, root: Path, stamp: int) -> None:
        """Make a catalogue anew, from the folders alone."""
        found = root / _hidden("new")  # in the order in which the disk names them
        found.mkdir()
        try:
            catalogue.create(found)
            with catalogue.changing(found, durable=False) as change:
                damaged = change.reconcile(self._memories, self.header["base"])
                change.stamp(None if damaged else stamp)
            self._take(self._rewritten(found, root), damaged)
        finally:
            shutil.rmtree(found, ignore_errors=True)

    def _rewritten(self, old: Path, root: Path) -> Catalogue:
        """The next catalogue in the folder `root`, of what is in an old one."""
        temporary, new = root / _hidden("new"), catalogue.following(root)
        temporary.mkdir()
        try:
            catalogue.rewrite(old, temporary)
            os.rename(temporary, new)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        flush(root)
        for folder in catalogue.every(root):
            if folder != new:  # who reads it still can, but on Windows, where it stays until the next rewriting
                shutil.rmtree(folder, ignore_errors=True)
        return Catalogue(new)

    def _compact(self) -> None:
        self._take(self._rewritten(self._catalogue.folder, self.path), self._damaged)

    def _take(self, found: Catalogue, damaged: dict[str, str]) -> None:
        """Show this picture from now on."""
        before, self._catalogue, self._damaged = self._catalogue, found, damaged
        if before is not None and (before.folder, len(before.dead)) != (found.folder, len(found.dead)):
            self._cache.keep(lambda kept: (row := found.find(kept[0])) is not None and row.checksum == kept[1])


@contextmanager
def _locked(path: Path, what: str, make: bool = False) -> Iterator[None]:
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
    except (OSError, SafetensorError, sqlite3.Error) as error:
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


def _time(folder: Path) -> int:
    """When a folder was last changed, in nanoseconds; 0 if there is none."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _set_time(folder: Path) -> int:
    """Give a folder a time that no later change will give it; returns what it then has.

    The true time will not do: clocks of file systems are coarse, and the next change may fall into the same tick.
    """
    chosen = time.time_ns() - 10**10 - secrets.randbelow(3600 * 10**9)
    with suppress(OSError):  # only its owner may; to others the true time must do
        os.utime(folder, ns=(chosen, chosen))
    return _time(folder)


def _versions() -> dict[str, str]:
    """Versions of what writes the store, for `store.json`."""
    found = {"python": platform.python_version()}
    for package in ("memsci", "torch", "safetensors"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "not installed"
    return found
