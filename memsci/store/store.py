"""The memories on disk: one folder each in PEFT's format, added and forgotten whole or not at all.

``store.json`` holds the format, the base model (name, fingerprint, and where it lay if it was a folder), settings, seed
and versions; ``memories/<id>/`` is one memory (see `memsci.store.record`), ``shared/<name>/`` an adapter that several have
in common. What is asked of all memories at once is
answered by a catalogue of them (see `memsci.store.catalogue`); `memsci.store.sync` keeps the two in step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memsci import provenance
from memsci.adapters.lora import Adapter
from memsci.adapters.peft_format import load_peft
from memsci.data import Asked
from memsci.errors import MemsciError, meant
from memsci.files import as_json, as_path, flush, hidden, write_json
from memsci.gate import search
from memsci.memory import Question, check_id, short, text_hash
from memsci.models import gguf
from memsci.store import catalogue
from memsci.store.catalogue import Catalogue
from memsci.store.fit import Fit
from memsci.store.record import Remembered, Widths, check_new, read_adapter, read_memory, widths, write_memory
from memsci.store.sync import LEFT, Sync, locked, remove_left

if TYPE_CHECKING:
    from memsci.models.base import Base

FORMAT = 1
CACHE_BYTES = 2**30
FEW = 10_000  # ids that a mistyped one is compared with
TOGETHER = 256  # memories that `add_all` puts in their places at once


class Records(Sequence[Remembered]):
    """What is known of each memory, in the order of adding, read from the catalogue when asked for.

    Parameters
    ----------
    length
        Number of memories.
    read
        From indices in the order of adding to records.
    """

    def __init__(self, length: int, read: Callable[[Sequence[int]], list[Remembered]]) -> None:
        self._indices, self._read = range(length), read

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self._read(self._indices[index]))
        return self._read([self._indices[index]])[0]

    def __iter__(self) -> Iterator[Remembered]:
        for start in range(0, len(self), catalogue.CHUNK):
            yield from self._read(self._indices[start : start + catalogue.CHUNK])


class Store:
    """The memories of one base model, in a folder.

    What it shows (`ids`, `records`, `keys`, `nearest`) is one consistent view, taken when the store was opened and again
    after each `add`, `forget` and `refresh` of this object. Keys stay on the disk and are mapped into memory; adapters are
    read when asked for, and kept until their bytes are needed for others.

    A damaged memory does not hinder opening, so that it can be forgotten. It is refused by name when the memories are read
    if its folder is new to the catalogue, else when its adapter is read; `verify` finds all damage.

    Parameters
    ----------
    path
        Folder of an existing store; see `Store.create` for a new one.
    cache_bytes
        Most bytes of adapters to keep in memory.

    Examples
    --------
    ::

        store = Store.create("memories", {"base": {"name": base.name, "fingerprint": base.fingerprint}})
        store.add(Remembered("nora", "Nora and the letter", key, text_hash(text)), adapter)
        store.keys()           # [1, d]
        store.adapter("nora")  # read and checked now
    """

    def __init__(self, path: str | os.PathLike[str], cache_bytes: int = CACHE_BYTES) -> None:
        self.path = as_path(path)
        self.header = _read_header(self.path)
        self._sync = Sync(self.path, self.header["base"], cache_bytes)
        self._fit = Fit(every_layer=_every_layer(self.header))
        self._first: tuple[str, Widths] | None = None  # checksum of the first memory, and widths of its linear maps

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
            (``encoding``, ``embedding``, ``gate``, ``seed``), as plain JSON values. ``versions`` is filled in, and where
            the base lies if its name is that of a folder.
        """
        path = as_path(path)
        if not _has_base(header):
            raise MemsciError(f'The header of a store needs "base": {{"name": …, "fingerprint": …}}; {header!r} was given.')
        header = {"format": FORMAT, "versions": provenance.versions(("torch", "safetensors")), **header}
        if (folder := as_path(header["base"]["name"])).is_dir():
            header["base"] = {"path": str(folder), **header["base"]}
        as_json(header, allow_nan=False)  # refused before anything is made
        if path.exists() and not path.is_dir():
            raise MemsciError(f"{path} is a file: a store is a folder. Give another path.")
        with locked(path, "The store", make=True):
            if (path / "store.json").exists():
                raise MemsciError(f"{path} is a store already: open it, or give another path.")
            # What a killed `create` may have left is no obstacle; anything else is somebody's.
            if others := sorted(p.name for p in path.iterdir() if not p.name.startswith((".lock", *LEFT))):
                raise MemsciError(f"{path} is not empty (it holds {others[0]!r}): give a new or an empty folder.")
            remove_left(path)
            write_json(path / "store.json", header)
            flush(path)
            flush(path.parent)
        return cls(path)

    def note(self, **settings: Any) -> None:
        """Replace settings in the header, such as ``gate``; ``encoding`` of an empty store alone."""
        with self._sync.writing("The store"):
            old = _read_header(self.path)
            header = old | settings
            if len(self) and header.get("encoding") != old.get("encoding"):
                raise MemsciError(f"{self.path} holds memories of another encoding. Use a new store.")
            write_json(self.path / "store.json", header)
            flush(self.path)
        self.header = header
        if not self._fit.whole:  # what is known of the base itself stays known
            self._fit = Fit(every_layer=_every_layer(header))

    def refresh(self) -> Store:
        """Take the view anew, to see what other processes have added or forgotten; returns the store itself."""
        self._sync.refresh()
        return self

    @property
    def records(self) -> Records:
        """What is known of each memory, in the order of adding."""
        shown = self._sync.whole
        return Records(len(shown), lambda indices: self._read(shown, indices))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in the order of adding."""
        return self._sync.whole.ids

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of adding."""
        return self._sync.whole.labels

    @property
    def tokens(self) -> int:
        """Tokens of the longest text, 0 if no memory tells its own (as those written by earlier versions)."""
        return self._sync.whole.tokens

    @property
    def corrections(self) -> dict[str, tuple[str, ...]]:
        """By id of each memory that corrects others, their ids: the nearest first, then what that one corrected."""
        return self._sync.whole.corrections

    @property
    def nbytes(self) -> int:
        """Size of all adapters and keys on disk, in bytes; an adapter that memories share counts once."""
        shown = self._sync.whole
        return shown.nbytes + sum(file.stat().st_size for one in shown.shared for file in self._sync.shared(one).iterdir())

    @property
    def cache_bytes(self) -> int:
        """Most bytes of adapters to keep in memory."""
        return self._sync.cache_bytes

    def keys(self, indices: Sequence[int] | None = None) -> torch.Tensor:
        """Context keys [n, d], float32, of the memories at these indices in the order of adding; None for all.

        Those at given indices are read. All together are mapped from the disk, but copied if memories were forgotten
        while the disk was full; of an empty store they are [0, 0]. Changes to them stay in this tensor.
        """
        shown = self._sync.whole
        if indices is not None:
            self._check_indices(shown, indices)
            return torch.from_numpy(shown.matrix[shown.slots(indices)])
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
        scores, indices
            [b, k] each, best first, of equals the earlier: the scores in float64, and the memories' indices in the order
            of adding (see `named`).
        """
        shown = self._sync.whole
        scores, rows = search.nearest(cues, shown.matrix, k, similarity, shown.longest, shown.dead)
        return scores, rows - torch.searchsorted(torch.from_numpy(shown.dead), rows)

    def similarities(self, cues: torch.Tensor, similarity: str = "inner") -> tuple[torch.Tensor, torch.Tensor]:
        """Similarity of each cue to the key of every memory in float32, and how far it may be off.

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
        shown = self._sync.whole
        scores = search.similarities(cues, shown.matrix, similarity)
        error = search.rounding(cues, shown.matrix.shape[1], similarity, shown.longest)
        return scores[:, torch.from_numpy(shown.live)] if len(shown.dead) else scores, error

    def named(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        """Id and label of the memories at these indices in the order of adding, as many and in the same order."""
        shown = self._sync.whole
        self._check_indices(shown, indices)
        return shown.names(indices)

    def text_hash(self, id: str) -> str | None:
        """Hash of the text of one memory, by which it is known without its text; None if it is not stored."""
        record = self._sync.whole.find(id)
        return record and record.text_hash

    def taken_by(self, id: str) -> str | None:
        """The stored id that is this one or differs from it in letter case alone; None if it is free."""
        record = self._sync.whole.find(id, any_case=True)
        return record and record.id

    def checksums(self, ids: Sequence[str]) -> list[str]:
        """Checksums of these memories, as many and in the same order: what has the same is the same memory."""
        checksums = self._sync.whole.checksums(ids)
        for id in ids:
            if id not in checksums:
                raise self.unknown(id)
        return [checksums[id] for id in ids]

    @property
    def shared(self) -> frozenset[str]:
        """Names of the adapters that several memories have in common, see `share`."""
        return self._sync.whole.shared

    def adapter_names(self, ids: Sequence[str]) -> list[str]:
        """What tells the adapters of these memories apart, as many and in the same order: the name of one that is shared,
        else the memory's checksum."""
        own, sharing = self.checksums(ids), self._sync.whole.sharing(ids)
        return [sharing.get(id, checksum) for id, checksum in zip(ids, own, strict=True)]

    def sharers(self, id: str) -> list[str]:
        """Ids of the other memories that share the adapter of this one, or one that learnt from it."""
        sharing = self._sync.catalogue.sharing(self._sync.catalogue.ids)
        learnt = {name for name in set(sharing.values()) if name == sharing.get(id) or id in self._sync.learnt_from(name)}
        return [other for other, name in sharing.items() if name in learnt and other != id]

    def learnt_from(self, ids: Iterable[str]) -> list[str]:
        """These ids, and those of all that the adapters which they share learnt from."""
        ids = list(ids)
        shared = set(self._sync.whole.sharing(ids).values())
        return sorted({*ids, *(one for name in shared for one in self._sync.learnt_from(name))})

    def unknown(self, id: object) -> MemsciError:
        """The error for an id that is not stored: names the first that are."""
        stored, damaged = self._sync.catalogue, self._sync.damaged
        first = [*(id for id, _ in stored.names(range(min(10, len(stored))))), *damaged]
        count = len(stored) + len(damaged)
        ids = ", ".join(map(repr, first[:10])) + (f", … ({count} in all)" if count > 10 else "") if count else "none"
        near = meant(id, [*stored.ids, *damaged]) if count <= FEW else ""
        return MemsciError(f"There is no memory {id!r} in {self.path}; it holds: {ids}.{near}")

    def __len__(self) -> int:
        return len(self._sync.whole)

    def __contains__(self, id: object) -> bool:
        return self._sync.whole.find(id) is not None

    def __repr__(self) -> str:
        stored, damaged = self._sync.catalogue, self._sync.damaged
        return (
            f"Store({str(self.path)!r}: {len(stored)} memories{f', {len(damaged)} damaged' if damaged else ''}, "
            f"{stored.nbytes / 1e6:.1f} MB, base {self.header['base']['name']!r})"
        )

    def add(self, record: Remembered, adapter: Adapter) -> Remembered:
        """Store one memory; when this returns it is on disk, and if anything goes wrong nothing is changed.

        Parameters
        ----------
        record
            The memory; its `order` is given by the store, and `created` if it has none.
        adapter
            Its adapter. Its linear maps must be those of the base, as far as they are known: from `check`, else from the
            first memory.

        Returns
        -------
        Remembered
            The record as stored.
        """
        return self._add([(record, adapter)], durable=True)[0]

    def replace(self, record: Remembered, adapter: Adapter) -> Remembered:
        """Put a memory in the place of the one of the same id, with an adapter of its own.

        Until this returns the old one stands, whole; a process killed at any moment leaves the one or the other.

        Parameters
        ----------
        record, adapter
            As in `add`; the memory keeps its place in the order of adding, and the time in `created` if it has one.
        """
        check_new(record, adapter)
        with self._sync.writing(f"Memory {record.id!r}"):
            self._check_fit(record.id, adapter)
            made = replace(record, shared=None, created=record.created or provenance.now())
            return self._exchange([(made, adapter)])[0]

    def add_questions(self, asked: Iterable[Asked], again: bool = False) -> dict[str, int]:
        """Keep questions about memories that are stored already: all of them, or, if one cannot be kept, none.

        Parameters
        ----------
        asked
            Of each memory its id, or its text, and the questions (`memsci.data.questions`). Those that are kept already,
            with the same answer, are passed over.
        again
            Put them in the place of all questions of these memories that are kept, instead of beside them.

        Returns
        -------
        dict
            By id of each memory, how many of its questions are new.
        """
        with self._sync.writing("The questions"):
            shown = self._sync.whole
            by_text: dict[str, str] | None = None
            kept: dict[str, list[Question]] = {}
            new: dict[str, int] = {}
            records: dict[str, Remembered] = {}
            for id, text, questions, where in asked:
                hashed = None if text is None else text_hash(text)
                if id is None:
                    if by_text is None:
                        by_text = {one.text_hash: one.id for one in self.records}
                    if (id := by_text.get(hashed)) is None:
                        raise MemsciError(
                            f"{where}: no memory of {self.path} has this text to the letter: {short(text)}. Give its id in "
                            "a column 'id', or encode it first. Nothing was changed."
                        )
                if (known := shown.find(id)) is None:
                    raise MemsciError(f"{where}: {self.unknown(id)} Nothing was changed.")
                if hashed is not None and hashed != known.text_hash:
                    raise MemsciError(
                        f"{where}: memory {id!r} has another text in {self.path}. Leave the text out, or give the table "
                        "that was encoded. Nothing was changed."
                    )
                if id not in records:
                    records[id] = self._from_folder(shown, known)
                    kept[id] = [] if again else list(records[id].questions)
                    new[id] = 0
                for one in questions:
                    answers = [old.answer for old in kept[id] if old.text == one.text]
                    if answers and one.answer not in answers:
                        raise MemsciError(
                            f"{where}: {short(one.text)} is kept for memory {id!r} with the answer {short(answers[0])}, not "
                            f"{short(one.answer)}. Correct one of them, or put the table's questions in the place of those "
                            "that are kept: again=True. Nothing was changed."
                        )
                    if not answers:
                        new[id] += 1
                        kept[id].append(one)
            changed = [id for id, record in records.items() if tuple(kept[id]) != record.questions]
            with_adapter = lambda record: (record, None if record.shared else self.adapter(record.id))
            if changed:
                self._exchange(with_adapter(replace(records[id], questions=tuple(kept[id]))) for id in changed)
        return new

    def share(self, adapter: Adapter, ids: Iterable[str], learnt_from: Iterable[str] = ()) -> str:
        """Let memories use one adapter together, instead of their own; these are removed.

        The memories keep their keys, so that the gate still tells them apart; what it gives to all of them opens the
        shared adapter. One memory changes over after the other: a process killed at any moment leaves each with its own
        adapter or the shared one, whole. An adapter that no memory has any more is removed.

        Parameters
        ----------
        adapter
            Its linear maps must be those of the base, as in `add`.
        ids
            Of the memories.
        learnt_from
            Ids of others that the adapter learnt from: what they say stands in it, so that they cannot be forgotten while
            memories have it.

        Returns
        -------
        str
            Name of the adapter, which follows from its content; the records have it as `shared`.
        """
        ids = list(dict.fromkeys(ids))
        with self._sync.writing("The shared adapter"):
            records = {}
            for id in ids:
                if (known := self._sync.whole.find(id)) is None:
                    raise self.unknown(id)
                records[id] = self._from_folder(self._sync.whole, known)
                check_new(records[id], adapter)
            if not ids:
                raise MemsciError("An adapter is shared by one memory or more; no id was given.")
            self._check_fit(ids[0], adapter)
            name = self._sync.place_shared(adapter, {*ids, *learnt_from})
            told = {"losses": (), "learnt": None}  # of the adapter that they had
            self._exchange([(replace(record, shared=name, **told), None) for record in records.values()])
        return name

    def add_all(self, memories: Iterable[tuple[Remembered, Adapter]], durable: bool = True, again: bool = False) -> None:
        """Store many memories, each as by `add` but a few hundred at a time: those before a failure are kept.

        Parameters
        ----------
        memories
            Records and adapters; never more than a few hundred are in memory.
        durable
            Force each to the disk. Without it a loss of power (not the death of the process) can damage memories that were
            added shortly before; they are then refused by name.
        again
            They come from a store, in which a memory may correct one that stands after it.
        """
        memories = iter(memories)
        while group := list(islice(memories, TOGETHER)):
            self._add(group, durable, again)

    def add_peft(self, folder: str | os.PathLike[str], record: Remembered) -> Remembered:
        """Store a memory whose adapter is an existing PEFT folder, which is read and not changed.

        Such a folder holds no fingerprint of its base model: that it is this store's base is for you to know.
        """
        return self.add(record, load_peft(as_path(folder)))

    def adapter(self, id: str) -> Adapter:
        """The adapter of one memory, from the cache, or read after comparing all its files with their checksums."""
        shown = self._sync.whole
        record = shown.find(id)
        if record is None:
            raise self.unknown(id)
        folder = self._folder(id)
        return self._sync.cached(record, lambda: read_adapter(folder, self._from_folder(shown, record)))

    def adapters(self, ids: Iterable[str]) -> list[Adapter]:
        """The adapters of several memories, as many and in the same order.

        One that does not fit the base (see `check`) would make every answer fail: it is named in a warning, and an adapter
        that changes nothing stands in its place.
        """
        return [self._fit.or_nothing(id, self.adapter(id)) for id in ids]

    def forget(self, id: str) -> None:
        """Remove one memory, also a damaged one: at once and whole, for this and all other processes.

        No file of the store holds its adapter, key, label or text afterwards. Only where there is no room to rewrite the
        catalogue do key and label stay in it, where nothing shows them, until the next change or `compact`. A memory is
        refused while others have an adapter that learnt from it, shared with it or not: its content would stay in there.
        """
        check_id(id)
        with self._sync.writing(f"Memory {id!r}"):
            if id not in self._sync.damaged and self._sync.catalogue.find(id) is None:
                raise self.unknown(id)
            if others := self.sharers(id):
                raise MemsciError(
                    f"Memory {id!r} shares its adapter with {len(others)} others, {others[0]!r} among them, or theirs "
                    "learnt from it, and what it says would stay in there. Split the others off first, so that each has an "
                    "adapter of its own; nothing was changed."
                )
            self._sync.remove(id)

    def compact(self) -> None:
        """Rewrite the catalogue without the memories that were forgotten; `forget` does so itself if there is room."""
        with self._sync.writing("The catalogue"):
            self._sync.compact()

    def check(self, fingerprint: str, name: str = "another model", model: torch.nn.Module | None = None) -> None:
        """Refuse any base but the one whose memories these are.

        Parameters
        ----------
        fingerprint, name
            Of the base model at hand (`Base.fingerprint`, `Base.name`). The fingerprint decides; the name is for the
            message.
        model
            The model itself, if each adapter is to be compared with its linear maps from now on.
        """
        base = self.header["base"]
        if fingerprint != base["fingerprint"]:
            two = f" {gguf.TWO_BASES}" if {name, base["name"]} == {gguf.SMOLLM2, gguf.SMOLLM2_HUB} else ""
            raise MemsciError(
                f"The store {self.path} was written for the base model {base['name']!r} (fingerprint "
                f"{base['fingerprint'][:12]}); the model given is {name!r} (fingerprint {fingerprint[:12]}). Adapters "
                f"and keys fit their own base only: load {base['name']!r}, or encode the memories again in a new store.{two}"
            )
        if model is not None:
            self._fit = Fit.to_model(model)

    def load_base(self) -> Base:
        """Load the base of these memories: by its name, or from the folder with its fingerprint where it lay or lies now.

        A folder is looked for where it was when the store was made, and by its name from the current folder and from all
        folders above the store, since the two may have been moved together.
        """
        from memsci.models.base import OWN, load  # slow to import

        base = self.header["base"]
        name = base["name"]
        if name in OWN:
            return load(name)
        folders = [Path(base.get("path", name)), as_path(name), *(folder / name for folder in self.path.parents)]
        for folder in dict.fromkeys(folder for folder in folders if folder.is_dir()):
            try:
                if (model := load(str(folder))).fingerprint == base["fingerprint"]:
                    return model
            except MemsciError:  # a folder of something else
                pass
        try:
            if "path" in base:
                raise MemsciError(f"no folder {base['path']}, and none of that name near the store")
            return load(name)
        except MemsciError as error:
            raise MemsciError(
                f"The base of {self.path}, {name!r}, was not found: {error} Give the folder where it lies now as "
                "the base of the store."
            ) from error

    def verify(self) -> None:
        """Compare every file of every memory with its checksum and the catalogue, and every adapter with the base."""
        self.refresh()
        shown, problems = self._sync.catalogue, list(self._sync.damaged.values())
        alike: defaultdict[frozenset, list[str]] = defaultdict(list)  # ids by the widths of their linear maps
        for start in range(0, len(shown), catalogue.CHUNK):
            for record, _ in shown.records(range(start, min(start + catalogue.CHUNK, len(shown)))):
                try:
                    adapter = read_adapter(self._folder(record.id), self._from_folder(shown, record), every_file=True)
                    alike[frozenset(widths(adapter).items())].append(record.id)
                except MemsciError as error:
                    problems.append(str(error))
        # Without the base, what most memories have counts as right.
        fit = self._fit.known_or({} if not alike else dict(max(alike, key=lambda one: len(alike[one]))))
        problems += [fit.misfit(id, dict(one)) for one, ids in alike.items() for id in ids if fit.misfit(id, dict(one))]
        if problems:
            raise MemsciError("\n".join(problems))

    # Reading

    def _read(self, shown: Catalogue, indices: Sequence[int]) -> list[Remembered]:
        # Texts and questions are in the memories' own folders alone.
        return [self._from_folder(shown, one) if more else one for one, more in shown.records(indices)]

    def _folder(self, id: str) -> Path:
        folder = self._sync.memories / id
        if not folder.is_dir():
            raise MemsciError(
                f"Memory {id!r} is gone from {self.path}: another process forgot it. Refresh the store, or open it anew."
            )
        return folder

    def _from_folder(self, shown: Catalogue, known: Remembered) -> Remembered:
        """A memory as its folder has it, which must be as the catalogue has it."""
        record = read_memory(self._folder(known.id), self.header["base"])
        if record.checksum != known.checksum or not torch.equal(record.key, known.key):
            raise MemsciError(
                f"Memory {known.id!r} in {self.path} is not the one in the catalogue. If another process replaced it, open "
                f"the store anew; else delete {shown.folder}: it is then made anew from the memories."
            )
        return record

    def _check_indices(self, shown: Catalogue, indices: Sequence[int]) -> None:
        if wrong := [index for index in indices if not 0 <= index < len(shown)]:
            raise MemsciError(f"There is no memory {wrong[0]}: {self.path} holds {len(shown)}, counted from 0.")

    # Writing

    def check_uncorrected(self, id: str) -> None:
        """Raise if a stored memory corrects one of this id, which is not stored: a new one would count as corrected."""
        if self._sync.whole.find(id) is not None:
            return
        if corrects := [other for other, chain in self.corrections.items() if id in chain]:
            raise MemsciError(
                f"{corrects[0]!r} corrects a memory {id!r} that was forgotten, so that a new one of this id would count as "
                "corrected. Choose another id. Nothing was changed."
            )

    def _add(self, group: Sequence[tuple[Remembered, Adapter]], durable: bool, again: bool = False) -> list[Remembered]:
        """Write memories beside their places, then put all of them there."""
        for record, adapter in group:
            check_new(record, adapter)
        with self._sync.writing(f"Memory {group[0][0].id!r}"):
            shown = self._sync.whole
            width = shown.width or len(group[0][0].key)
            fit = self._fit.known_or(self._first_widths(shown) or widths(group[0][1]))
            taken: dict[str, str] = {}
            for record, adapter in group:
                self._check_free(record.id, self.taken_by(record.id) or taken.get(record.id.casefold()))
                if not again:
                    self.check_uncorrected(record.id)
                taken[record.id.casefold()] = record.id
                catalogue.check_width(record.id, len(record.key), width)
                if problem := fit.misfit(record.id, widths(adapter)):
                    raise MemsciError(f"{problem} Nothing was changed.")
            memories = self._sync.memories
            if not memories.is_dir():
                memories.mkdir()
                flush(self.path)
            beside, stored = hidden(self.path / "memories"), []
            beside.mkdir()
            try:
                for order, (record, adapter) in enumerate(group, shown.next_order()):
                    (beside / record.id).mkdir()
                    record = replace(record, order=order, created=record.created or provenance.now(), shared=None)
                    stored.append(write_memory(record, adapter, beside / record.id, self.header["base"], durable))
                self._sync.place(stored, beside, durable)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        return stored

    def _exchange(self, group: Iterable[tuple[Remembered, Adapter | None]]) -> list[Remembered]:
        """Write memories beside those of the same ids, then let them trade places; without an adapter they share theirs."""
        beside, stored = hidden(self.path / "memories"), []
        beside.mkdir()
        try:
            for record, adapter in group:
                if (old := self._sync.whole.find(record.id)) is None:
                    raise self.unknown(record.id)
                catalogue.check_width(record.id, len(record.key), self._sync.whole.width)
                (beside / record.id).mkdir()
                record = replace(record, order=old.order)
                stored.append(write_memory(record, adapter, beside / record.id, self.header["base"]))
            self._sync.exchange(stored, beside)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return stored

    def _check_fit(self, id: str, adapter: Adapter) -> None:
        fit = self._fit.known_or(self._first_widths(self._sync.whole) or widths(adapter))
        if problem := fit.misfit(id, widths(adapter)):
            raise MemsciError(f"{problem} Nothing was changed.")

    def _first_widths(self, shown: Catalogue) -> Widths | None:
        """Widths of the first memory's linear maps; None if there is none, or it is damaged."""
        if self._fit.known or not len(shown):
            return None
        [(first, _)] = shown.records([0])
        if self._first is None or self._first[0] != first.checksum:
            try:
                adapter = read_adapter(self._folder(first.id), self._from_folder(shown, first))
            except MemsciError:
                return None
            self._first = first.checksum, widths(adapter)
        return self._first[1]

    def _check_free(self, id: str, other: str | None) -> None:
        if other is not None:
            raise MemsciError(
                f"Memory {other!r} is in {self.path} already, and nothing was changed: give the new one another id, "
                f"or forget {other!r} first."
            )


def _every_layer(header: dict[str, Any]) -> bool:
    """Whether the store's own encoding changes every layer of the base."""
    encoding = header.get("encoding")
    return isinstance(encoding, dict) and encoding.get("layers") is None


def _has_base(header: dict[str, Any]) -> bool:
    base = header.get("base")
    return isinstance(base, dict) and all(isinstance(base.get(k), str) and base[k] for k in ("name", "fingerprint"))


def _read_header(path: Path) -> dict[str, Any]:
    file = path / "store.json"
    if not file.is_file():
        what = "has no store.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        around = path.parent.iterdir() if path.parent.is_dir() else ()
        near = meant(path.name, [one.name for one in around if (one / "store.json").is_file()])
        raise MemsciError(
            f"{path} is not a store: it {what}.{near} Give the folder of a store; encoding memories makes one."
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
