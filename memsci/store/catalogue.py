"""The catalogue: what the folders of all memories say, but for the adapters, in one table and one matrix beside them.

``.catalogue-<n>/`` holds ``rows.sqlite``, a row per memory, and ``keys``, their keys as rows of float32. Both follow from
the folders and may be deleted at any time; no text of a memory and no question is in them.

Row and key of a memory have the same *slot*: 0, 1, … in the order of adding. Slots are appended and marked dead, and never
altered otherwise: so a number of slots and the dead among them, all that a reader keeps, stay right whatever is written
later. Rewriting leaves the dead out and makes a new catalogue with the next number, which appears whole or not at all;
whoever reads the old one goes on with it.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from memsci.errors import MemsciError
from memsci.files import flush
from memsci.memory import is_id
from memsci.store.record import Remembered, read_memory

# What reading a catalogue that is truncated, altered or just being removed raises.
UNREADABLE = (sqlite3.Error, OSError, ValueError, TypeError)
LAYOUT = 1
CHUNK = 500  # rows read at a time; SQLite takes 999 parameters at least
_BUSY_SECONDS = 60.0
_SHARED = "json_extract(about, '$.shared')"
_NAME = re.compile(r"\.catalogue-(\d+)")
_COLUMNS = 'id, label, "order", about, has_text, nbytes, checksum, mtime, size'
_SCHEMA = f"""
PRAGMA user_version = {LAYOUT};
CREATE TABLE memories (
    slot INTEGER PRIMARY KEY, id TEXT NOT NULL COLLATE NOCASE, label TEXT NOT NULL, "order" INTEGER NOT NULL,
    about TEXT NOT NULL, has_text INTEGER NOT NULL, nbytes INTEGER NOT NULL, checksum TEXT NOT NULL,
    mtime INTEGER NOT NULL, size INTEGER NOT NULL, dead INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX by_id ON memories (id);
CREATE INDEX the_dead ON memories (slot) WHERE dead;
CREATE TABLE store (stamp INTEGER, width INTEGER, nbytes INTEGER NOT NULL);
INSERT INTO store VALUES (NULL, NULL, 0);
"""


class Catalogue:
    """What a reader sees of a catalogue: its slots when it was opened, without those dead by then.

    Parameters
    ----------
    folder
        See `newest`. It is only read.

    Attributes
    ----------
    stamp
        Time of the folder of all memories when the two were last in step; None = never.
    width
        Numbers in a key; None as long as there is none.
    nbytes
        Bytes of all adapters and keys.
    dead
        The dead slots, ascending.

    Raises
    ------
    One of `UNREADABLE`
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows = _connect(folder, "ro")
        weakref.finalize(self, self._rows.close)
        self._rows.execute("BEGIN")
        if self._rows.execute("PRAGMA user_version").fetchone() != (LAYOUT,):
            raise ValueError(f"{folder} is of another layout")
        self.stamp, self.width, self.nbytes = self._rows.execute("SELECT stamp, width, nbytes FROM store").fetchone()
        self._slots = _slots(self._rows)
        self.dead = np.array([slot for (slot,) in self._rows.execute(_DEAD)], dtype=np.int64)
        self._rows.execute("COMMIT")
        self._keys = (folder / "keys").open("rb")
        self.matrix = self.map_keys()

    def __len__(self) -> int:
        return self._slots - len(self.dead)

    def map_keys(self) -> np.ndarray:
        """The keys of all slots [slots, width], the dead among them, mapped from the disk; changes stay in this array."""
        if not self._slots:
            return np.empty((0, 0), np.float32)
        return np.memmap(self._keys, np.float32, "c", shape=(self._slots, self.width))

    @cached_property
    def live(self) -> np.ndarray:
        """Slots of the memories, in the order of adding."""
        return np.delete(np.arange(self._slots), self.dead)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """All ids, in the order of adding."""
        return tuple(self._column("id"))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order of adding."""
        return tuple(self._column("label"))

    @cached_property
    def longest(self) -> float:
        """Length of the longest key."""
        squares = (np.einsum("nd,nd->n", part, part).max() for part in _parts(self.matrix))
        return float(max(squares, default=0.0)) ** 0.5

    @cached_property
    def tokens(self) -> int:
        """Tokens of the longest text, as far as they are known."""
        query = "SELECT max(json_extract(about, '$.tokens')) FROM memories WHERE slot < ?"
        return self._ask(query, (self._slots,))[0][0] or 0

    @cached_property
    def corrections(self) -> dict[str, tuple[str, ...]]:
        """By id of each memory that corrects others, their ids; see `memsci.store.record.Remembered`."""
        query = "SELECT slot, id, about FROM memories WHERE slot < ? AND about LIKE '%\"corrects\"%' ORDER BY slot"
        found = ((slot, id, json.loads(about)) for slot, id, about in self._ask(query, (self._slots,)))
        return {id: tuple(about["corrects"]) for slot, id, about in found if "corrects" in about and not self._is_dead(slot)}

    def slots(self, indices: Sequence[int]) -> list[int]:
        """Slots of the memories at these indices in the order of adding."""
        return self.live[np.asarray(indices, dtype=np.int64)].tolist() if len(self.dead) else list(map(int, indices))

    def names(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        """Id and label of the memories at these indices, as many and in the same order."""
        return [(id, label) for _, id, label in self._at(indices, "id, label")]

    def records(self, indices: Sequence[int]) -> list[tuple[Remembered, bool]]:
        """The memories at these indices, each with whether its folder tells more of it: its text, or questions."""
        return list(map(self._record, self._at(indices, _COLUMNS)))

    def find(self, id: object, any_case: bool = False) -> Remembered | None:
        """The memory of this id, if there is one."""
        if not isinstance(id, str) or not id.isascii():
            return None
        query = f"SELECT slot, {_COLUMNS} FROM memories WHERE id = ? AND slot < ?"
        for row in self._ask(query, (id, self._slots)):
            if (any_case or row[1] == id) and not self._is_dead(row[0]):
                return self._record(row)[0]
        return None

    def checksums(self, ids: Sequence[str]) -> dict[str, str]:
        """By id, the checksum of each of these memories that there is."""
        found = {}
        for start in range(0, len(ids), CHUNK):
            asked = ids[start : start + CHUNK]
            query = f"SELECT slot, id, checksum FROM memories WHERE id IN ({_marks(asked)}) AND slot < ?"
            rows = self._ask(query, (*asked, self._slots))
            found |= {id: checksum for slot, id, checksum in rows if not self._is_dead(slot)}
        return found

    def sharing(self, ids: Sequence[str]) -> dict[str, str]:
        """By id, the name of the shared adapter of those of these memories that have one."""
        found = {}
        for start in range(0, len(ids) if self.shared else 0, CHUNK):
            asked = ids[start : start + CHUNK]
            query = f"SELECT slot, id, {_SHARED} FROM memories WHERE id IN ({_marks(asked)}) AND slot < ?"
            rows = self._ask(query, (*asked, self._slots))
            found |= {id: name for slot, id, name in rows if name is not None and not self._is_dead(slot)}
        return found

    @cached_property
    def shared(self) -> frozenset[str]:
        """Names of the adapters that memories share."""
        query = f"SELECT slot, {_SHARED} FROM memories WHERE slot < ? AND {_SHARED} NOT NULL"
        return frozenset(name for slot, name in self._ask(query, (self._slots,)) if not self._is_dead(slot))

    def next_order(self) -> int:
        """The `order` of the memory that will be added next."""
        last = self._ask('SELECT "order" FROM memories ORDER BY slot DESC LIMIT 1')
        return last[0][0] + 1 if last else 0

    def wasteful(self) -> bool:
        """Whether it holds what was forgotten, and should be rewritten without."""
        return bool(len(self.dead))

    def _is_dead(self, slot: int) -> bool:
        at = np.searchsorted(self.dead, slot)
        return at < len(self.dead) and self.dead[at] == slot

    def _record(self, row: tuple) -> tuple[Remembered, bool]:
        slot, id, label, order, about, has_text, _, checksum, _, _ = row
        key = torch.from_numpy(self.matrix[slot])
        return Remembered(id, label, key, order=order, checksum=checksum, **json.loads(about)), bool(has_text)

    def _at(self, indices: Sequence[int], columns: str) -> list[tuple]:
        slots, found = self.slots(indices), {}
        for start in range(0, len(slots), CHUNK):
            asked = slots[start : start + CHUNK]
            for row in self._ask(f"SELECT slot, {columns} FROM memories WHERE slot IN ({_marks(asked)})", asked):
                found[row[0]] = row
        return [found[slot] for slot in slots]

    def _column(self, name: str) -> Iterator[str]:
        dead = set(self.dead.tolist())
        query = f"SELECT slot, {name} FROM memories WHERE slot < ? ORDER BY slot"
        return (value for slot, value in self._ask(query, (self._slots,)) if slot not in dead)

    def _ask(self, query: str, values: Sequence = ()) -> list[tuple]:
        # All at once: a query that is not read to its end would keep writers waiting.
        try:
            return self._rows.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise MemsciError(
                f"The catalogue {self.folder} is truncated or altered ({error}). Delete it: it is then made anew from the "
                "memories, which are untouched."
            ) from error


class Change:
    """What a writer does to a catalogue, see `changing`."""

    def __init__(self, rows: sqlite3.Connection, keys: BinaryIO, durable: bool) -> None:
        self._rows, self._keys, self._durable = rows, keys, durable
        self._slots = _slots(rows)
        (self._width,) = rows.execute("SELECT width FROM store").fetchone()
        query = 'SELECT "order", id FROM memories WHERE NOT dead ORDER BY slot DESC LIMIT 1'
        self._last = rows.execute(query).fetchone() or (-1, "")
        self.disordered = False  # whether slots are no longer in the order of adding, so that it must be rewritten

    def append(self, record: Remembered, mtime: int, size: int) -> None:
        """Give a memory the next slot.

        Parameters
        ----------
        record
            As `read_memory` and `write_memory` give it.
        mtime, size
            Of its memory.json: as long as both are the same, it need not be read again.
        """
        key = record.key.numpy()
        if self._width is None:
            self._width = len(key)
            self._rows.execute("UPDATE store SET width = ?", (self._width,))
        check_width(record.id, len(key), self._width)
        self._keys.seek(self._slots * key.nbytes)
        self._keys.write(key.tobytes())
        about = {name: getattr(record, name) for name in ("text_hash", "seed", "losses", "created", "tokens")}
        about |= {name: value for name in ("extra", "learnt", "shared") if (value := getattr(record, name)) is not None}
        about |= {"corrects": record.corrects} if record.corrects else {}
        self._rows.execute(
            f"INSERT INTO memories (slot, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._slots, record.id, record.label, record.order, json.dumps(about),
             record.text is not None or bool(record.questions), record.nbytes, record.checksum, mtime, size),
        )  # fmt: skip
        self._rows.execute("UPDATE store SET nbytes = nbytes + ?", (record.nbytes,))
        self._slots += 1
        self.disordered |= (record.order, record.id) < self._last
        self._last = (record.order, record.id)

    def flush(self) -> None:
        """Write out the keys: should the disk be full, it is better known before anything else is done."""
        self._keys.flush()
        if self._durable:
            os.fsync(self._keys.fileno())

    def remove(self, id: str) -> None:
        """Mark the slot of a memory dead."""
        one = "FROM memories WHERE id = ? AND id = ? COLLATE BINARY AND NOT dead"
        self._rows.execute(f"UPDATE store SET nbytes = nbytes - (SELECT nbytes {one})", (id, id))
        self._rows.execute(f"UPDATE memories SET dead = 1 WHERE slot = (SELECT slot {one})", (id, id))

    def stamp(self, time: int | None) -> None:
        """Note at which time of the folder of all memories the two were in step."""
        self._rows.execute("UPDATE store SET stamp = ?", (time,))

    def reconcile(self, memories: Path, base: dict[str, str]) -> dict[str, str]:
        """Bring the rows in line with the folders, reading those that are new or whose description was replaced.

        Returns
        -------
        dict
            What is wrong with each memory that is damaged, by id; such a one has no row.
        """
        execute = self._rows.execute
        execute("CREATE TEMP TABLE seen (id TEXT PRIMARY KEY, mtime INTEGER, size INTEGER) WITHOUT ROWID")
        self._rows.executemany("INSERT INTO seen VALUES (?, ?, ?)", _folders(memories))
        execute(
            "UPDATE memories SET dead = 1 WHERE NOT dead AND NOT EXISTS (SELECT 1 FROM seen "
            "WHERE seen.id = memories.id AND seen.mtime = memories.mtime AND seen.size = memories.size)"
        )
        execute("UPDATE store SET nbytes = (SELECT coalesce(sum(nbytes), 0) FROM memories WHERE NOT dead)")
        new = execute(
            "SELECT id, mtime, size FROM seen WHERE NOT EXISTS (SELECT 1 FROM memories "
            "WHERE memories.id = seen.id AND memories.id = seen.id COLLATE BINARY AND NOT dead)"
        ).fetchall()
        damaged = {}
        for id, mtime, size in new:
            try:
                self.append(read_memory(memories / id, base), mtime or 0, size or 0)
            except MemsciError as error:
                if (memories / id).is_dir():  # else it was forgotten while being read
                    damaged[id] = str(error)
        execute("DROP TABLE seen")
        orders = execute(
            'SELECT EXISTS (SELECT 1 FROM (SELECT "order" AS own, lag("order") OVER (ORDER BY slot) AS before '
            "FROM memories WHERE NOT dead) WHERE own < before)"
        )
        self.disordered |= bool(orders.fetchone()[0])
        return damaged


def newest(store: Path) -> Path | None:
    """The catalogue in the folder of a store that counts, if there is any."""
    return max(every(store), key=_number, default=None)


def every(store: Path) -> list[Path]:
    """All catalogues in the folder of a store: older ones may still be in use by a reader, or be left by a dead writer."""
    return [folder for folder in store.iterdir() if _NAME.fullmatch(folder.name)]


def following(store: Path) -> Path:
    """Where the next catalogue of a store belongs."""
    return store / f".catalogue-{max(map(_number, every(store)), default=0) + 1}"


def create(folder: Path) -> None:
    """Make an empty catalogue in an existing, empty folder."""
    with closing(_connect(folder, "rwc")) as rows:
        rows.executescript(_SCHEMA)
    (folder / "keys").touch()


@contextmanager
def changing(folder: Path, durable: bool = True) -> Iterator[Change]:
    """Change a catalogue, wholly or, if the block raises, not at all; only for the one who holds the store's lock.

    Parameters
    ----------
    durable
        Force the change to the disk.
    """
    with closing(_connect(folder, "rw")) as rows, (folder / "keys").open("r+b") as keys:
        rows.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        rows.execute("BEGIN IMMEDIATE")
        change = Change(rows, keys, durable)
        yield change
        change.flush()
        rows.execute("COMMIT")


def rewrite(old: Path, new: Path) -> None:
    """Write the memories of one catalogue, in the order of adding and without the dead, into an existing, empty folder."""
    order = 'ORDER BY "order", id COLLATE BINARY'
    create(new)
    with closing(_connect(new, "rw")) as rows, (new / "keys").open("wb") as keys:
        rows.execute("ATTACH ? AS old", (_uri(old, "ro"),))
        rows.execute("BEGIN IMMEDIATE")
        rows.execute(
            f"INSERT INTO memories (slot, {_COLUMNS}) "
            f"SELECT row_number() OVER ({order}) - 1, {_COLUMNS} FROM old.memories WHERE NOT dead"
        )
        # Of an empty catalogue the next key may have any width.
        rows.execute("UPDATE store SET (stamp, width, nbytes) = (SELECT stamp, width, nbytes FROM old.store)")
        rows.execute("UPDATE store SET width = NULL WHERE NOT EXISTS (SELECT 1 FROM memories)")
        slots = np.array([slot for (slot,) in rows.execute(f"SELECT slot FROM old.memories WHERE NOT dead {order}")])
        if len(slots):
            (width,) = rows.execute("SELECT width FROM store").fetchone()
            matrix = np.memmap(old / "keys", np.float32, "r", shape=(int(slots.max()) + 1, width))
            for part in _parts(slots):
                keys.write(matrix[part].tobytes())
        keys.flush()
        os.fsync(keys.fileno())
        rows.execute("COMMIT")
    flush(new)


def check_width(id: str, width: int, expected: int) -> None:
    """Refuse a key that cannot be compared with the others."""
    if width != expected:
        raise MemsciError(
            f"The key of memory {id!r} has {width} numbers, those in the store have {expected}: embed all memories of a "
            f"store in the same way."
        )


_DEAD = "SELECT slot FROM memories WHERE dead ORDER BY slot"


def _slots(rows: sqlite3.Connection) -> int:
    return rows.execute("SELECT coalesce(max(slot) + 1, 0) FROM memories").fetchone()[0]


def _marks(values: Sequence) -> str:
    return ", ".join("?" * len(values))


def _parts(rows: np.ndarray, size: int = 4096) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _folders(memories: Path) -> Iterable[tuple[str, int | None, int | None]]:
    """Each memory's id, and time and size of its description, None without one."""
    if not memories.is_dir():
        return
    with os.scandir(memories) as found:
        for folder in found:
            if not is_id(folder.name) or not folder.is_dir():  # of another program
                continue
            name = folder.name
            try:
                stat = os.stat(os.path.join(folder.path, "memory.json"))
            except OSError:
                yield name, None, None
            else:
                yield name, stat.st_mtime_ns, stat.st_size


def _number(folder: Path) -> int:
    return int(_NAME.fullmatch(folder.name)[1])


def _uri(folder: Path, mode: str) -> str:
    return f"{(folder / 'rows.sqlite').absolute().as_uri()}?mode={mode}"


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    # Readers may ask from several threads: SQLite itself lets one in after the other.
    return sqlite3.connect(
        _uri(folder, mode), uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
