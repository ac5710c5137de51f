"""What keeps the folders of memories, their catalogue and the cache of adapters in step, also between processes.

A memory is written to a hidden folder of the store, flushed to disk and then renamed to its place; it is forgotten by the
opposite rename. All writing happens under one file lock, so any hidden folder that a writer finds was left by a writer
that died, and is removed. A memory that replaces another trades places with it: the old one is renamed to ``.was-<id>``
first, and put back by whoever finds it there without a successor.

The catalogue follows from the folders. After each change the writer gives the folder of all memories a time of its own
choice and notes it in the catalogue: as long as the folder has that time nobody has put a memory there or taken one away,
and opening need not look at the memories. Otherwise the catalogue is repaired first, or made anew; where the store cannot
be written, in a temporary folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from cachetools import LRUCache
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from memsci.adapters.lora import Adapter
from memsci.errors import MemsciError
from memsci.files import flush, hidden, make_folder, read_json, write_json
from memsci.store import catalogue
from memsci.store.catalogue import Catalogue
from memsci.store.record import Remembered, write_shared

LEARNT_FROM = "learnt_from.json"  # beside a shared adapter: ids
LOCK_SECONDS = 300.0
WAS = ".was-"
LEFT = (".new-", ".gone-", WAS)  # how the names begin of what a dead writer left


class Sync:
    """One consistent view of a store's folders, and all that changes them.

    Parameters
    ----------
    path
        The folder of the store.
    base
        Name and fingerprint of the base model.
    cache_bytes
        Most bytes of adapters to keep in memory; those used longest ago go first.

    Attributes
    ----------
    catalogue
        The memories that are whole.
    damaged
        What is wrong with each memory that is not, by id.
    """

    catalogue: Catalogue
    damaged: dict[str, str]

    def __init__(self, path: Path, base: Mapping[str, str], cache_bytes: int) -> None:
        self.path, self.base, self.memories = path, base, path / "memories"
        self._cache: LRUCache[tuple[str, str], Adapter] = LRUCache(cache_bytes, lambda adapter: adapter.nbytes)
        self._cache_lock = Lock()
        self._elsewhere: tempfile.TemporaryDirectory | None = None
        self.refresh()

    @property
    def cache_bytes(self) -> int:
        """Most bytes of adapters to keep in memory."""
        return self._cache.maxsize

    @property
    def whole(self) -> Catalogue:
        """The catalogue, if no memory is known to be damaged."""
        if self.damaged:
            raise MemsciError("\n".join(self.damaged.values()))
        return self.catalogue

    def refresh(self) -> None:
        """Take a new view, to see what other processes have added or forgotten."""
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._look():
            try:
                with FileLock(self.path / ".lock", timeout=0.02):
                    self._repair()
                break
            except Timeout:  # a writer is at work, and will soon have repaired it
                if time.monotonic() < deadline:
                    continue
            except (OSError, sqlite3.Error):  # a disk that is full or cannot be written
                pass
            self._build_elsewhere()
            break

    def cached(self, record: Remembered, read: Callable[[], Adapter]) -> Adapter:
        """The adapter of a memory, from the cache or else read; one that is larger than the cache is not kept."""
        key = ("", record.shared) if record.shared else (record.id, record.checksum)
        with self._cache_lock:
            if (kept := self._cache.get(key)) is not None:
                return kept
        adapter = read()
        with self._cache_lock, suppress(ValueError):
            return self._cache.setdefault(key, adapter)
        return adapter

    # Writing

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Hold the lock, with nothing left of dead writers and a view that is in step."""
        with locked(self.path, what):
            self._restore()
            remove_left(self.path)
            self._repair()
            yield

    def place(self, records: Sequence[Remembered], beside: Path, durable: bool) -> None:
        """Move memories from the folder `beside` to their places and into the catalogue, or leave both as they were."""
        ids = [record.id for record in records]
        try:
            with catalogue.changing(self.catalogue.folder, durable) as change:
                for record in records:
                    stat = (beside / record.id / "memory.json").stat()
                    change.append(record, stat.st_mtime_ns, stat.st_size)
                change.flush()
                for id in ids:
                    os.rename(beside / id, self.memories / id)
                flush(self.memories)
                change.stamp(_set_time(self.memories))
        except BaseException:  # the disk may be full as late as the end of the block, where the rows are written
            for id in ids:
                if not (beside / id).exists():
                    os.rename(self.memories / id, beside / id)
            raise
        self._repair()

    def exchange(self, records: Sequence[Remembered], beside: Path) -> None:
        """Let memories in the folder `beside` take the places of those of the same ids, one after the other.

        If anything goes wrong all of them stay as they were; a process that is killed leaves each as it was or as it is to
        be.
        """
        done: list[str] = []
        try:
            with catalogue.changing(self.catalogue.folder) as change:
                for record in records:
                    stat = (beside / record.id / "memory.json").stat()
                    change.remove(record.id)
                    change.append(record, stat.st_mtime_ns, stat.st_size)
                change.flush()
                for record in records:
                    done.append(record.id)
                    self._trade(record.id, beside)
                flush(self.memories)
                change.stamp(None)  # out of order until it is rewritten below, or by whoever comes next
        except BaseException:
            for id in reversed(done):
                if (was := self.path / f"{WAS}{id}").exists():
                    if (self.memories / id).exists():
                        os.rename(self.memories / id, beside / id)
                    os.rename(was, self.memories / id)
            raise
        for id in done:
            shutil.rmtree(self.path / f"{WAS}{id}", ignore_errors=True)
        try:
            self._repair()
            self.compact()  # the new ones stand last in the catalogue
            self._sweep()
        except (OSError, sqlite3.Error):  # the disk may be full: they have changed over all the same
            self._build_elsewhere()

    def _trade(self, id: str, beside: Path) -> None:
        os.rename(self.memories / id, self.path / f"{WAS}{id}")
        os.rename(beside / id, self.memories / id)

    def _restore(self) -> None:
        """Put back what a dead writer took out of its place without putting another there."""
        for was in self.path.glob(f"{WAS}*"):
            if not (place := self.memories / was.name.removeprefix(WAS)).exists():
                os.rename(was, place)

    # Adapters that memories share

    def shared(self, name: str) -> Path:
        """Where a shared adapter lies."""
        return self.path / "shared" / name

    def learnt_from(self, name: str) -> list[str]:
        """Ids of the memories that a shared adapter learnt from, whether they have it or not; [] for those of old stores."""
        path = self.shared(name) / LEARNT_FROM
        return read_json(path) if path.exists() else []

    def place_shared(self, adapter: Adapter, learnt_from: Iterable[str]) -> str:
        """Write an adapter that memories are to share, and whom it learnt from; returns its name."""
        unfinished = hidden(self.path / "shared")
        unfinished.mkdir()
        try:
            name = write_shared(adapter, unfinished, self.base)
            known = self.learnt_from(name)
            write_json(unfinished / LEARNT_FROM, sorted({*known, *learnt_from}))
            if self.shared(name).exists():
                os.replace(unfinished / LEARNT_FROM, self.shared(name) / LEARNT_FROM)
                flush(self.shared(name))
            else:
                make_folder(self.path / "shared")
                os.rename(unfinished, self.shared(name))
                flush(self.path / "shared")
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return name

    def _sweep(self) -> None:
        """Remove the shared adapters that no memory has any more."""
        if self.damaged:  # one of these may have it
            return
        folder = self.path / "shared"
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in self.catalogue.shared:
                gone = hidden(self.path / path.name, ".gone-")
                os.rename(path, gone)
                shutil.rmtree(gone, ignore_errors=True)

    def remove(self, id: str) -> None:
        """Take a memory out of its place and out of the catalogue."""
        gone = hidden(self.path / id, ".gone-")
        os.rename(self.memories / id, gone)
        flush(self.memories)
        shutil.rmtree(gone, ignore_errors=True)  # what resists is invisible, and removed by the next writer
        if not self.damaged:
            with catalogue.changing(self.catalogue.folder) as change:
                change.remove(id)
                change.stamp(_set_time(self.memories))
        self._repair()
        if self.catalogue.wasteful():
            with suppress(OSError, sqlite3.Error):  # the disk may be full: the memory is forgotten all the same
                self.compact()
        self._sweep()

    def compact(self) -> None:
        """Rewrite the catalogue without the memories that were forgotten; for the holder of the lock."""
        self._show(self._rewritten(self.catalogue.folder, self.path), self.damaged)

    # The catalogue

    def _look(self) -> bool:
        """Take a new view if there is a catalogue in step with the folders; returns whether there is."""
        stamp = _time(self.memories)  # before the catalogue is read: a writer in between then makes them differ
        for root in (self.path, *([Path(self._elsewhere.name)] if self._elsewhere else [])):
            with suppress(*catalogue.UNREADABLE):
                folder = catalogue.newest(root)
                newest = Catalogue(folder) if folder else None
                if newest is not None and newest.stamp == stamp:
                    self._show(newest, {})
                    return True
        return False

    def _build_elsewhere(self) -> None:
        """Make a catalogue that only this object sees."""
        try:
            self._elsewhere = tempfile.TemporaryDirectory(prefix="memsci-")
            self._build(Path(self._elsewhere.name), _time(self.memories))
        except (OSError, sqlite3.Error) as error:
            raise MemsciError(
                f"The memories in {self.path} could not be listed, neither there nor in {tempfile.gettempdir()} ({error}). "
                "Make room on either disk, or let the environment variable TMPDIR name a folder that can be written."
            ) from error

    def _repair(self) -> None:
        """Bring the catalogue in step with the folders and take a new view; for the holder of the lock."""
        if self._look():
            return
        self._restore()
        remove_left(self.memories)  # where version 0.1.0 made its hidden folders
        stamp, folder = _set_time(self.memories), catalogue.newest(self.path)
        if folder is not None:
            with suppress(*catalogue.UNREADABLE):
                return self._reconcile(folder, stamp)
        self._build(self.path, stamp)

    def _reconcile(self, folder: Path, stamp: int) -> None:
        with catalogue.changing(folder) as change:
            damaged = change.reconcile(self.memories, self.base)
            stamp = None if damaged else stamp  # what is damaged is looked at again each time
            change.stamp(None if change.disordered else stamp)  # whoever dies here leaves it to be put in order
        same = Catalogue(folder)
        rewrite = change.disordered or same.wasteful()
        self._show(self._rewritten(folder, self.path, stamp) if rewrite else same, damaged)

    def _build(self, root: Path, stamp: int) -> None:
        """Make a catalogue anew, from the folders alone."""
        unordered = hidden(root / "catalogue")  # in the order in which the disk names the folders
        unordered.mkdir()
        try:
            catalogue.create(unordered)
            with catalogue.changing(unordered, durable=False) as change:
                damaged = change.reconcile(self.memories, self.base)
                change.stamp(None if damaged else stamp)
            self._show(self._rewritten(unordered, root), damaged)
        finally:
            shutil.rmtree(unordered, ignore_errors=True)

    def _rewritten(self, old: Path, root: Path, stamp: int | None = None) -> Catalogue:
        """The next catalogue in the folder `root`, of what is in an old one, and of this stamp if it is given."""
        unfinished, new = hidden(root / "catalogue"), catalogue.following(root)
        unfinished.mkdir()
        try:
            catalogue.rewrite(old, unfinished)
            if stamp is not None:
                with catalogue.changing(unfinished) as change:
                    change.stamp(stamp)
            os.rename(unfinished, new)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        flush(root)
        for folder in catalogue.every(root):
            if folder != new:  # who reads it still can, except on Windows, where it stays until the next rewriting
                shutil.rmtree(folder, ignore_errors=True)
        return Catalogue(new)

    def _show(self, new: Catalogue, damaged: dict[str, str]) -> None:
        """Show this view from now on; the cache keeps the adapters of the memories that it has."""
        old = getattr(self, "catalogue", None)
        self.catalogue, self.damaged = new, damaged
        if old is not None and (old.folder, len(old.dead)) != (new.folder, len(new.dead)):
            with self._cache_lock:
                for id, checksum in list(self._cache):
                    record = new.find(id)  # of a shared adapter there is none
                    if checksum not in new.shared and (record is None or record.checksum != checksum):
                        del self._cache[id, checksum]


@contextmanager
def locked(path: Path, what: str, make: bool = False) -> Iterator[None]:
    """Hold the store's lock; what the operating system refuses becomes a `MemsciError` about `what`."""
    try:
        if make:
            make_folder(path)
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


def remove_left(folder: Path) -> None:
    """Remove what dead writers left; only for the holder of the lock, beside whom no writer is alive."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith(LEFT):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


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
