"""The catalogue beside the memories: it follows from them, is mended by whoever opens the store, and shows one picture."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import sqlite3
import tracemalloc
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_store import HEADER, check_whole, forget_catalogue, leftovers, made

from memsci.errors import MemsciError
from memsci.gate.softmax import SIMILARITIES, gate
from memsci.store import catalogue, sync
from memsci.store import store as store_module
from memsci.store.catalogue import Catalogue
from memsci.store.store import Remembered, Store

IDS = tuple(f"m{i}" for i in range(12))


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store.create(tmp_path / "store", HEADER)
    store.add_all(map(made, IDS))
    return store


@pytest.fixture
def no_room(monkeypatch) -> None:
    """Do not rewrite by itself, as on a disk that is full for a while."""
    monkeypatch.setattr(catalogue.Catalogue, "wasteful", lambda self: False)


def folders(store: Store) -> list[str]:
    return sorted(folder.name for folder in catalogue.every(store.path))


def shows(store: Store, ids) -> None:
    """Everything that the store says of all its memories is right."""
    ids = list(ids)
    keys = [made(id)[0].key for id in ids]
    assert list(store.ids) == ids and len(store) == len(ids) and all(id in store for id in ids)
    assert list(store.labels) == [f"about {id}" for id in ids] == [label for _, label in store.named(range(len(ids)))]
    assert [record.id for record in store.records] == ids
    assert torch.equal(store.keys(), torch.stack(keys)) and store.keys().dtype == torch.float32
    assert all(torch.equal(record.key, key) for record, key in zip(store.records, keys, strict=True))
    assert store.nbytes == sum(
        file.stat().st_size for id in ids for file in (store.path / "memories" / id).iterdir() if file.suffix != ".json"
    ) + sum((store.path / "memories" / id / "adapter_config.json").stat().st_size for id in ids)
    cues = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    for similarity in SIMILARITIES:
        scores, places = store.nearest(cues, 3, similarity)
        expected = gate(cues, torch.stack(keys), 1.0, similarity).scores
        order = expected.argsort(dim=1, descending=True, stable=True)[:, :3]
        assert torch.equal(places, order) and torch.allclose(scores, expected.gather(1, order))
        assert [id for id, _ in store.named(places[0].tolist())] == [ids[i] for i in places[0]]
    check_whole(store, ids)


def forbid(monkeypatch, *names: str) -> None:
    for name in names:
        monkeypatch.setattr(catalogue, name, lambda *_: pytest.fail("the memories were looked at"))


# What it shows


def test_a_store_shows_what_is_in_its_folders(store):
    shows(store, IDS)
    shows(Store(store.path), IDS)
    store.forget("m3")
    store.add(*made("zoe"))
    shows(Store(store.path), [id for id in IDS if id != "m3"] + ["zoe"])


def test_records_are_a_sequence(store):
    records = store.records
    assert len(records) == 12 and records[-1].id == "m11" and records[2].label == "about m2"
    assert [record.id for record in records[2:9:3]] == ["m2", "m5", "m8"]
    with pytest.raises(IndexError):
        records[12]
    store.forget("m0")
    assert [record.id for record in records] == list(IDS), "records are of the picture in which they were asked for"


@pytest.mark.parametrize("place", [-1, 12])
def test_a_place_that_is_not_there_is_refused(store, place):
    for ask in (store.named, store.keys):
        with pytest.raises(MemsciError, match=f"no memory {place}: .* holds 12, counted from 0"):
            ask([0, place])


def test_changes_to_keys_stay_with_the_caller(store):
    store.keys().zero_()
    shows(store, IDS)
    shows(Store(store.path), IDS)


def test_a_store_in_step_is_opened_and_added_to_without_a_look_at_its_memories(store, monkeypatch):
    forbid(monkeypatch, "read_memory", "_folders")
    opened = Store(store.path)
    opened.add(*made("zoe"))
    opened.forget("m0")
    shows(Store(store.path), [*IDS[1:], "zoe"])


def test_opening_and_asking_take_no_memory_for_each_memory(tmp_path):
    count, width = 20_000, 64
    catalogue.create(tmp_path)
    keys = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    with catalogue.changing(tmp_path, durable=False) as change:
        for i in range(count):
            change.append(Remembered(f"m{i}", f"label {i}", keys[i], "0", order=i), 0, 0)
    tracemalloc.start()
    found = Catalogue(tmp_path)
    assert len(found) == count and found.find("m777").order == 777 and found.names([5]) == [("m5", "label 5")]
    assert found.longest == pytest.approx(keys.norm(dim=1).max())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found.matrix, keys.numpy()) and peak < 200_000 < keys.nbytes


# Mending


def test_a_store_without_a_catalogue_gets_one(store):
    forget_catalogue(store.path)
    shows(Store(store.path), IDS)
    assert folders(store) == [".catalogue-1"] and leftovers(store.path) == []


@pytest.mark.parametrize("by", ["removing", "renaming away", "copying", "replacing"])
def test_what_is_done_by_hand_is_seen_at_the_next_opening_however_soon(tmp_path, store, by):
    memories = store.path / "memories"
    if by == "removing":
        shutil.rmtree(memories / "m4")
    elif by == "renaming away":
        (memories / "m4").rename(tmp_path / "m4")
    else:
        other = Store.create(tmp_path / "other", HEADER)
        other.add_all(map(made, [*IDS, "zoe", "m4b"]))
        name = "zoe" if by == "copying" else "m4"
        if by == "replacing":
            shutil.rmtree(memories / name)
        shutil.copytree(other.path / "memories" / name, memories / name)
    expected = {"copying": [*IDS, "zoe"], "replacing": IDS}.get(by, [id for id in IDS if id != "m4"])
    shows(Store(store.path), expected)
    shows(store.refresh(), expected)


def test_a_memory_put_back_takes_its_old_place(tmp_path, store):
    (store.path / "memories" / "m4").rename(tmp_path / "m4")
    assert "m4" not in Store(store.path)
    (tmp_path / "m4").rename(store.path / "memories" / "m4")
    shows(Store(store.path), IDS)


def harm_layout(folder: Path) -> None:
    with sqlite3.connect(folder / "rows.sqlite") as rows:
        rows.execute("PRAGMA user_version = 99")
    rows.close()


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "keys").write_bytes(b"too short"),
        lambda folder: (folder / "keys").unlink(),
        lambda folder: (folder / "rows.sqlite").unlink(),
        lambda folder: (folder / "rows.sqlite").write_bytes(b"no database at all" * 1000),
        lambda folder: os.truncate(folder / "rows.sqlite", 5000),
        harm_layout,
    ],
)
def test_a_catalogue_that_cannot_be_read_is_made_anew(store, harm):
    harm(store.path / folders(store)[-1])
    shows(Store(store.path), IDS)
    Store(store.path).add(*made("zoe"))
    shows(Store(store.path), [*IDS, "zoe"])


def test_a_key_that_was_altered_in_the_catalogue_is_found(store):
    file = store.path / folders(store)[-1] / "keys"
    content = bytearray(file.read_bytes())
    content[3 * 5 * 4] ^= 1
    file.write_bytes(content)
    said = r"'m3' .*is not the one in the catalogue.*open the store anew; else delete .*\.catalogue"
    for read in (Store.verify, lambda s: s.adapter("m3")):
        with pytest.raises(MemsciError, match=said):
            read(Store(store.path))
    forget_catalogue(store.path)
    Store(store.path).verify()


def test_damage_of_the_catalogue_while_it_is_open_is_refused_with_the_remedy(store):
    (store.path / folders(store)[-1] / "rows.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(MemsciError, match=r"catalogue .* is truncated or altered .*Delete it"):
        store.ids  # noqa: B018


@pytest.mark.parametrize("why", [errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_opens_all_the_same(store, monkeypatch, why):
    def refuse(*_, **__):
        raise OSError(why, os.strerror(why))

    forget_catalogue(store.path)
    before = sorted(store.path.rglob("*"))
    monkeypatch.setattr(sync, "FileLock", refuse)
    opened = Store(store.path)
    shows(opened, IDS)
    with pytest.raises(MemsciError, match="'zoe' could not be written"):
        opened.add(*made("zoe"))
    forbid(monkeypatch, "read_memory")
    shows(opened.refresh(), IDS)
    assert sorted(store.path.rglob("*")) == before
    monkeypatch.undo()
    opened.add(*made("zoe"))
    shows(opened, [*IDS, "zoe"])


def test_a_store_whose_memories_can_be_listed_nowhere_is_refused(store, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    forget_catalogue(store.path)
    monkeypatch.setattr(catalogue, "create", full)
    with pytest.raises(MemsciError, match="could not be listed, neither there nor in .*No space left.*TMPDIR"):
        Store(store.path)


def test_a_reader_does_not_wait_for_ever_for_a_writer(store, monkeypatch):
    monkeypatch.setattr(sync, "LOCK_SECONDS", 0.05)
    forget_catalogue(store.path)
    with sync.FileLock(store.path / ".lock"):
        shows(Store(store.path), IDS)
        assert folders(store) == []


# Forgetting and rewriting


def test_nothing_is_kept_of_what_is_forgotten(store):
    key = made("m5")[0].key.numpy().tobytes()
    store.forget("m5")
    written = b"".join(file.read_bytes() for file in store.path.rglob("*") if file.is_file())
    assert key not in written and b"about m5" not in written and len(folders(store)) == 1


def test_what_could_not_be_rewritten_is_when_there_is_room(store, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(catalogue.Catalogue, "wasteful", lambda self: False)
        store.forget("m3")
        shows(store, [id for id in IDS if id != "m3"])
    store.forget("m7")
    left = [id for id in IDS if id not in ("m3", "m7")]
    shows(store, left)
    shows(Store(store.path), left)
    written = b"".join(file.read_bytes() for file in store.path.rglob("*") if file.is_file())
    assert all(made(id)[0].key.numpy().tobytes() not in written for id in ("m3", "m7"))


def test_a_memory_is_forgotten_even_if_there_is_no_room_to_rewrite(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(catalogue, "rewrite", full)
    store.forget("m3")
    shows(store, [id for id in IDS if id != "m3"])
    with pytest.raises(MemsciError, match="catalogue could not be written .*No space left"):
        store.compact()
    assert leftovers(store.path) == []


def test_compact_leaves_the_dead_out(store, no_room):
    store.forget("m3")
    before = (store.path / folders(store)[-1] / "keys").stat().st_size
    store.compact()
    assert (store.path / folders(store)[-1] / "keys").stat().st_size == before * 11 // 12
    shows(store, [id for id in IDS if id != "m3"])
    shows(Store(store.path), [id for id in IDS if id != "m3"])


def test_a_reader_keeps_its_picture_while_others_forget_add_and_rewrite(store, no_room):
    reader = Store(store.path)
    keys = reader.keys()
    store.forget("m3")
    store.add(*made("zoe"))
    store.compact()
    store.forget("m5")
    expected = torch.stack([made(id)[0].key for id in IDS])
    assert reader.ids == IDS and len(reader) == 12 and "m3" in reader and "zoe" not in reader
    assert torch.equal(keys, expected) and torch.equal(reader.keys(), expected)
    assert reader.nearest(expected[3:4], 1, "cosine")[1].item() == 3 and reader.named([3]) == [("m3", "about m3")]
    check_whole(reader, ["m4"])
    with pytest.raises(MemsciError, match="'m3' is gone .*Refresh"):
        reader.adapter("m3")
    shows(reader.refresh(), [id for id in IDS if id not in ("m3", "m5")] + ["zoe"])


def test_a_memory_forgotten_and_added_again_is_another(store, no_room):
    reader = Store(store.path)
    store.forget("m3")
    record, adapter = made("zoe")
    store.add(Remembered("m3", "new", record.key, "1" * 64), adapter)
    assert store.ids[-1] == "m3" and store.labels[-1] == "new"
    assert torch.equal(store.keys()[-1], record.key)
    with pytest.raises(MemsciError, match=r"'m3' .*is not the one in the catalogue.*open the store anew"):
        reader.adapter("m3")
    assert reader.refresh().labels == store.labels


def test_keys_of_an_emptied_store_may_have_another_width(store):
    for id in IDS:
        store.forget(id)
    assert store.ids == () and store.nbytes == 0 and store.keys().shape == (0, 0)
    store.add(Remembered("wide", "w", torch.ones(9), "h"), made("wide")[1])
    assert Store(store.path).keys().shape == (1, 9)


# A full disk


def nothing_is_added(store: Store, monkeypatch, error=MemsciError) -> None:
    """Two memories at once are refused and leave no trace, and are added when there is room."""
    with pytest.raises(error):
        store.add_all(map(made, ("zoe", "yan")))
    monkeypatch.undo()
    assert leftovers(store.path) == []
    shows(store, IDS)
    shows(Store(store.path), IDS)
    store.add_all(map(made, ("zoe", "yan")))
    shows(Store(store.path), [*IDS, "zoe", "yan"])


def test_a_disk_too_full_for_the_keys_adds_nothing(store, monkeypatch):
    keys, fsync = (store.path / folders(store)[-1] / "keys").stat().st_ino, os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_ino == keys:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    nothing_is_added(store, monkeypatch)


def test_a_disk_too_full_for_the_rows_adds_nothing(store, monkeypatch):
    class Full(sqlite3.Connection):
        def execute(self, query, *values):
            if query == "COMMIT" and self.total_changes:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(query, *values)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Full))
    nothing_is_added(store, monkeypatch)


@pytest.mark.parametrize("moment", [1, 2])
def test_a_writer_interrupted_amid_putting_memories_in_place_adds_nothing(store, monkeypatch, moment):
    rename, seen = os.rename, itertools.count(1)

    def interrupted(*paths):
        rename(*paths)
        if next(seen) == moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    nothing_is_added(store, monkeypatch, KeyboardInterrupt)


def test_half_a_key_that_a_full_disk_left_is_no_obstacle(store, no_room):
    with (store.path / folders(store)[-1] / "keys").open("ab") as keys:
        keys.write(b"half")
    store.forget("m3")
    store.compact()
    shows(Store(store.path), [id for id in IDS if id != "m3"])


def test_the_name_of_the_folder_of_all_memories_is_forced_to_the_disk(tmp_path, monkeypatch):
    store, flushed = Store.create(tmp_path / "store", HEADER), []
    monkeypatch.setattr(store_module, "flush", flushed.append)
    store.add(*made("nora"))
    assert flushed.count(store.path) == 1
    store.add(*made("omar"))
    assert flushed.count(store.path) == 1, "it was there already"


def test_keys_at_some_places_are_those_of_the_memories_there(store, no_room):
    store.forget("m3")
    left = [id for id in IDS if id != "m3"]
    assert torch.equal(store.keys([7, 0, 3, 0]), torch.stack([made(left[i])[0].key for i in (7, 0, 3, 0)]))
    assert store.keys([]).shape == (0, 5)
    keys = store.keys([0])
    keys.zero_()
    shows(store, left)


def test_checksums_tell_memories_of_one_id_apart(store, no_room, monkeypatch):
    monkeypatch.setattr(catalogue, "CHUNK", 5)
    before = store.checksums(IDS)
    assert len(set(before)) == 12 and store.checksums(["m7", "m0"]) == [before[7], before[0]]
    store.forget("m3")
    for ids in (["m1", "m3"], ["M1"]):
        with pytest.raises(MemsciError, match=f"no memory {ids[-1]!r} .* it holds: 'm0', .* \\(11 in all\\)"):
            store.checksums(ids)
    record, adapter = made("zoe")
    store.add(Remembered("m3", "new", record.key, "1" * 64), adapter)
    assert store.checksums(["m2", "m3"])[0] == before[2] and store.checksums(["m3"]) != before[3:4]


def test_ids_are_taken_letter_case_apart(store):
    assert [store.taken_by(id) for id in ("m3", "M3", "m33")] == ["m3", "m3", None]
    store.forget("m3")
    assert store.taken_by("M3") is None


# Adapters


def test_adapters_are_read_once_and_their_bytes_bounded(store, monkeypatch):
    reads, read = [], store_module.read_adapter
    monkeypatch.setattr(store_module, "read_adapter", lambda folder, files: reads.append(folder.name) or read(folder, files))
    size = store.adapter("m0").nbytes
    opened = Store(store.path, cache_bytes=3 * size)
    reads.clear()
    assert len(opened.adapters(["m1", "m2", "m1", "m3"])) == 4 and reads == ["m1", "m2", "m3"]
    assert opened.adapters(["m2"])[0] is opened.adapter("m2") and reads == ["m1", "m2", "m3"]
    opened.adapters(["m4", "m1"])  # m1 was used longest ago, and gave way to m4
    assert reads == ["m1", "m2", "m3", "m4", "m1"] and opened.cache_bytes == 3 * size
    opened.add(*made("zoe"))
    opened.adapter("m1")
    assert reads.count("m1") == 2, "adding a memory leaves the others in the cache"


def test_what_is_forgotten_is_gone_from_the_cache(store):
    store.adapters(["m1", "m2"])
    other = Store(store.path)
    store.forget("m1")
    assert len(store._sync._cache) == 1
    other.adapters(["m2", "m3"])
    store.forget("m2")
    with pytest.raises(MemsciError, match="'m2' is gone"):
        other.adapter("m2")
    other.refresh()
    assert len(other._sync._cache) == 1
    with pytest.raises(MemsciError, match="no memory 'm2'"):
        other.adapters(["m3", "m2"])


# Many at once


def test_many_are_added_like_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "TOGETHER", 5)
    store = Store.create(tmp_path / "store", HEADER)
    store.add_all((made(id) for id in IDS), durable=False)
    shows(store, IDS)
    assert [record.order for record in store.records] == list(range(12)) and leftovers(store.path) == []
    store.add_all([])
    store.verify()


def test_of_many_those_before_a_failure_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "TOGETHER", 5)
    store = Store.create(tmp_path / "store", HEADER)
    with pytest.raises(MemsciError, match=r"'m7' is in .* already"):
        store.add_all(map(made, (*IDS[:8], "M7")))
    shows(store, IDS[:5])
    with pytest.raises(MemsciError, match=r"'m1' is in .* already"):
        store.add_all(map(made, ("zoe", "m1")))
    shows(Store(store.path), IDS[:5])
    assert leftovers(store.path) == []


def test_the_length_of_the_longest_text_is_kept(store):
    assert store.tokens == 0
    for id, tokens in (("zoe", 40), ("yan", 7)):
        record, adapter = made(id)
        store.add(replace(record, tokens=tokens), adapter)
    forget_catalogue(store.path)
    assert store.tokens == Store(store.path).tokens == 40 and [r.tokens for r in store.records][-3:] == [None, 40, 7]


def test_the_seed_may_be_any_whole_number(store):
    record, adapter = made("zoe")
    store.add(Remembered("zoe", "z", record.key, "h", seed=2**80), adapter)
    assert Store(store.path).records[-1].seed == 2**80
    assert json.loads((store.path / "memories" / "zoe" / "memory.json").read_text())["seed"] == 2**80
