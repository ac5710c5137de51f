"""The store: whole memories or none, at whatever moment a writer dies; damage is refused by name; the format is PEFT's.

Run as a program, this file makes the writers that are killed: one Python that has imported what they need and forks.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memsci.adapters.lora import Adapter
from memsci.adapters.peft_format import save_peft
from memsci.data import Asked
from memsci.errors import MemsciError
from memsci.memory import Question, text_hash
from memsci.store import record as record_module
from memsci.store import sync
from memsci.store.compress import compress
from memsci.store.store import Remembered, Store

HEADER = {"base": {"name": "tiny-llama", "fingerprint": "ab" * 32}, "encoding": {"rank": 2}, "seed": 3}
TEXT = "Nora hid the letter in the piano on 3 May."
FILES = ("adapter_config.json", "adapter_model.safetensors", "key.safetensors", "memory.json")
HIDDEN = (".new-", ".gone-", ".was-")


def made(id: str, text: str | None = None) -> tuple[Remembered, Adapter]:
    """A memory whose every number follows from its id, so that any reader can tell whether it is whole."""
    generator = torch.Generator().manual_seed(int(hashlib.sha256(id.encode()).hexdigest()[:8], 16))
    paths = ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj")
    deltas = {path: (torch.randn(2, 4, generator=generator), torch.randn(6, 2, generator=generator)) for path in paths}
    record = Remembered(id, f"about {id}", torch.randn(5, generator=generator), "0" * 64, 3, (2.0, 1.0), text)
    return record, Adapter(deltas, 2, 2)


def check_whole(store: Store, ids) -> None:
    for record in (record for record in store.records if record.id in set(ids)):
        expected, adapter = made(record.id)
        assert torch.equal(record.key, expected.key)
        stored = store.adapter(record.id)
        assert stored.deltas.keys() == adapter.deltas.keys() and stored.scale == adapter.scale
        for path, pair in adapter.deltas.items():
            assert all(map(torch.equal, stored.deltas[path], pair))


def forget_catalogue(path: Path) -> None:
    for folder in path.glob(".catalogue-*"):
        shutil.rmtree(folder)


def leftovers(path: Path) -> list[str]:
    return [p.name for p in (*path.iterdir(), *(path / "memories").glob("*")) if p.name.startswith(HIDDEN)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.create(tmp_path / "store", HEADER)


@pytest.fixture
def two(store) -> Store:
    for id in ("nora", "omar"):
        store.add(*made(id))
    return store


# What it keeps


def test_what_is_added_comes_back_after_reopening(two):
    opened = Store.open(two.path)
    assert opened.ids == two.ids == ("nora", "omar")
    assert [record.order for record in opened.records] == [0, 1]
    assert torch.equal(opened.keys(), torch.stack([made("nora")[0].key, made("omar")[0].key]))
    check_whole(opened, opened.ids)
    first = opened.records[0]
    assert (first.label, first.text_hash, first.seed, first.losses) == ("about nora", "0" * 64, 3, (2.0, 1.0))
    assert first.created.endswith("+00:00") and "T" in first.created
    assert {key: opened.header[key] for key in HEADER} == HEADER
    assert {"memsci", "torch", "safetensors", "python"} == set(opened.header["versions"])
    assert len(opened) == 2 and "nora" in opened and "zoe" not in opened
    opened.verify()


def test_add_returns_the_record_as_stored(store):
    stored = store.add(*made("nora"))
    assert stored.order == 0 and stored.created == Store(store.path).records[0].created


def test_ids_keep_the_order_of_adding(store):
    ids = [f"m{i}" for i in (9, 10, 2, 1)]
    for id in ids:
        store.add(*made(id))
    store.forget("m10")
    store.add(*made("m0"))
    assert Store(store.path).ids == ("m9", "m2", "m1", "m0")


def test_empty_store(store):
    assert store.ids == () and not store.records and store.keys().shape == (0, 0) and store.nbytes == 0
    shutil.rmtree(store.path / "memories", ignore_errors=True)  # as git leaves an empty folder out
    assert Store(store.path).ids == ()
    store.add(*made("nora"))
    assert Store(store.path).ids == ("nora",)


def test_size_is_that_of_adapters_and_keys_on_disk(two):
    files = [f for id in two.ids for f in (two.path / "memories" / id).iterdir() if f.name != "memory.json"]
    assert two.nbytes == sum(f.stat().st_size for f in files) > 0
    assert "2 memories" in repr(two) and "tiny-llama" in repr(two)


def test_text_is_kept_only_if_asked(store):
    store.add(*made("plain"))
    store.add(*made("kept", text=TEXT))
    assert [record.text for record in Store(store.path).records] == [None, TEXT]
    holding = {f.parent.name for f in store.path.rglob("*") if f.is_file() and b"piano" in f.read_bytes()}
    assert holding == {"kept"}
    store.forget("kept")
    assert not any(b"piano" in f.read_bytes() for f in store.path.rglob("*") if f.is_file())


def test_questions_are_kept_with_their_memory_and_go_with_it(store, tmp_path):
    asked = (
        Question("Where is the letter?", "in the piano"),
        Question("Who, of both?", "Nora", ("kept", "plain"), {"delay": 7}),
    )
    record, adapter = made("kept")
    store.add(*made("plain"))
    assert store.add(replace(record, questions=asked), adapter).questions == asked
    for opened in (Store(store.path), compress(store, tmp_path / "small")):
        assert [one.questions for one in opened.records] == [(), asked]
        opened.verify()
    holding = {f.parent.name for f in store.path.rglob("*") if f.is_file() and b"in the piano" in f.read_bytes()}
    assert holding == {"kept"}
    store.forget("kept")
    assert not any(b"in the piano" in f.read_bytes() for f in store.path.rglob("*") if f.is_file())


def test_a_memory_without_questions_is_written_as_ever_and_others_come_to_it(two):
    content = json.loads((two.path / "memories" / "nora" / "memory.json").read_text())
    about = {"id", "label", "order", "created", "text_hash", "seed", "losses", "base", "files", "checksum"}
    assert set(content) == about  # so that stores of before there were questions are just these
    record, adapter = made("ada")
    Store(two.path).add(replace(record, questions=(Question("Who?", "Ada"),)), adapter)
    assert [len(one.questions) for one in Store(two.path).records] == [0, 0, 1]


@pytest.mark.parametrize("harm", [{"question": "Who?"}, {"question": "", "answer": "Ada"}, 7])
def test_a_question_that_is_none_is_damage(store, harm):
    record, adapter = made("ada")
    store.add(replace(record, questions=(Question("Who?", "Ada"),)), adapter)
    file = store.path / "memories" / "ada" / "memory.json"
    content = json.loads(file.read_text()) | {"questions": [harm]}
    del content["checksum"]
    file.write_text(json.dumps(content | {"checksum": record_module._checksum(content)}))
    with pytest.raises(MemsciError, match="Memory 'ada' is damaged.*memory.json is truncated or altered"):
        Store(store.path).records[0]


def test_reading_writes_nothing_and_reads_adapters_only_when_asked(two, monkeypatch):
    (two.path / ".lock").unlink()
    before = sorted(two.path.rglob("*"))
    monkeypatch.setattr(record_module, "load_peft", lambda folder: pytest.fail("an adapter was read"))
    opened = Store(two.path)
    assert opened.keys().shape == (2, 5) and opened.nbytes
    monkeypatch.undo()
    opened.adapter("nora")
    opened.verify()
    assert sorted(two.path.rglob("*")) == before


def test_a_store_sees_others_after_refresh_and_its_picture_is_consistent(two):
    other = Store(two.path)
    other.forget("nora")
    other.add(*made("zoe"))
    assert two.ids == ("nora", "omar") and len(two.keys()) == 2
    with pytest.raises(MemsciError, match=r"'nora' is gone .*Refresh"):
        two.adapter("nora")
    assert two.refresh().ids == ("omar", "zoe") and len(two.keys()) == 2


def test_key_is_a_copy_in_float32():
    key = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    record = Remembered("a", "a", key, "h")
    assert record.key.dtype == torch.float32 and not record.key.requires_grad
    same = torch.ones(3)
    record = Remembered("a", "a", same, "h")
    same.zero_()
    assert record.key.sum() == 3


# What it refuses


@pytest.mark.parametrize("id", ["../x", "a/b", "/etc", "..", ".hidden", "", "a\\b", "a\0", "x" * 101, "é", "a b", "a."])
def test_ids_that_are_no_names_are_refused(two, id):
    with pytest.raises(MemsciError, match="cannot be the id of a memory"):
        Remembered(id, "label", torch.ones(5), "h")
    with pytest.raises(MemsciError, match="cannot be the id of a memory"):
        two.forget(id)
    with pytest.raises(MemsciError, match="There is no memory"):
        two.adapter(id)
    assert two.ids == ("nora", "omar")


@pytest.mark.parametrize("id", ["a", "a.b", "-a", "a-", "_a", "x" * 100, "x" * 101, "a.", ".a", "é", "a/b"])
def test_ids_follow_the_rule_of_memories(id):
    from memsci.memory import Memory

    def accepted(make) -> bool:
        try:
            make()
        except MemsciError:
            return False
        return True

    assert accepted(lambda: Memory("text", id=id)) == accepted(lambda: Remembered(id, "l", torch.ones(1), "h"))


@pytest.mark.parametrize("key", [torch.ones(2, 3), torch.tensor(1.0), torch.ones(0), torch.tensor([1.0, float("nan")])])
def test_keys_that_are_no_finite_row_are_refused(key):
    with pytest.raises(MemsciError, match="key of memory 'a' must be one row of finite numbers"):
        Remembered("a", "a", key, "h")


def test_losses_must_be_finite():
    with pytest.raises(MemsciError, match="losses of memory 'a'"):
        Remembered("a", "a", torch.ones(2), "h", losses=(1.0, float("nan")))


def test_an_id_is_added_once_and_nothing_is_lost(two):
    before = {f: f.read_bytes() for f in (two.path / "memories").rglob("*") if f.is_file()}
    for id in ("nora", "Nora"):
        with pytest.raises(MemsciError, match=r"'nora' is in .* already.*forget 'nora' first"):
            two.add(Remembered(id, "other", torch.ones(5), "h"), made("other")[1])
    assert {f: f.read_bytes() for f in (two.path / "memories").rglob("*") if f.is_file()} == before
    assert leftovers(two.path) == []


def test_keys_of_one_store_have_one_width(two):
    with pytest.raises(MemsciError, match="'zoe' has 7 numbers.* have 5"):
        two.add(Remembered("zoe", "z", torch.ones(7), "h"), made("zoe")[1])
    assert Store(two.path).ids == ("nora", "omar")


def test_unknown_memories_are_refused_with_the_known_ones(two):
    for ask in (two.adapter, two.forget):
        with pytest.raises(MemsciError, match=r"no memory 'zoe' .* it holds: 'nora', 'omar'"):
            ask("zoe")


def test_another_base_is_refused_with_both_names(two):
    two.check("ab" * 32, "tiny-llama under another name")
    said = r"for the base model 'tiny-llama' .* is 'other' .*load 'tiny-llama', or encode"
    with pytest.raises(MemsciError, match=said):
        two.check("cd" * 32, "other")


def test_a_memory_of_another_base_is_refused(two, tmp_path):
    foreign = Store.create(tmp_path / "foreign", {"base": {"name": "other", "fingerprint": "cd"}})
    shutil.copytree(two.path / "memories" / "nora", foreign.path / "memories" / "nora")
    with pytest.raises(MemsciError, match=r"'nora'.*belongs to another base model than 'other'"):
        foreign.refresh().keys()


def test_a_full_disk_changes_nothing(two, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_module, "flush", full)
    with pytest.raises(MemsciError, match="'zoe' could not be written .*No space left"):
        two.add(*made("zoe"))
    monkeypatch.undo()
    assert leftovers(two.path) == [] and Store(two.path).ids == ("nora", "omar")
    two.add(*made("zoe"))


def test_a_writer_does_not_wait_for_ever(two, monkeypatch):
    monkeypatch.setattr(sync, "LOCK_SECONDS", 0.05)
    with sync.FileLock(two.path / ".lock"), pytest.raises(MemsciError, match="'zoe': another process"):
        two.add(*made("zoe"))
    two.add(*made("zoe"))


def test_what_a_dead_writer_of_version_0_1_0_left_among_the_memories_is_swept(two):
    (two.path / "memories" / ".new-0123").mkdir()
    two.refresh()
    assert leftovers(two.path) == [] and two.ids == ("nora", "omar")


# Paths that are no store


def test_create_leaves_what_is_there_alone(tmp_path, two):
    with pytest.raises(MemsciError, match="is a store already: open it"):
        Store.create(two.path, HEADER)
    assert Store(two.path).ids == ("nora", "omar")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("text")
    with pytest.raises(MemsciError, match=r"not empty \(it holds 'chapter.tex'\)"):
        Store.create(tmp_path / "thesis", HEADER)
    with pytest.raises(MemsciError, match="is a file"):
        Store.create(tmp_path / "thesis" / "chapter.tex", HEADER)
    (tmp_path / "empty").mkdir()
    assert Store.create(tmp_path / "empty", HEADER).ids == ()
    assert Store.create(tmp_path / "new" / "deep", HEADER).ids == ()


@pytest.mark.parametrize("base", [None, "a", {"name": "a"}, {"name": "", "fingerprint": "a"}, {"fingerprint": "a"}])
def test_a_header_must_name_the_base(tmp_path, base):
    with pytest.raises(MemsciError, match="header of a store needs"):
        Store.create(tmp_path / "s", {**HEADER, "base": base})
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("value", [torch.ones(1), float("nan"), {1, 2}])
def test_a_header_must_be_json(tmp_path, value):
    with pytest.raises(MemsciError, match="Only plain values can be kept as JSON"):
        Store.create(tmp_path / "s", {**HEADER, "seed": value})


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for name, why in [("file", "is a file"), ("folder", "has no store.json"), ("nothing", "does not exist")]:
        with pytest.raises(MemsciError, match=f"{name} is not a store: it {why}.*encoding memories makes one"):
            Store(tmp_path / name)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("text", ["", '{"format": 1, "ba', "[]", "{}", '{"format": 1}', '{"format": 1, "base": 7}'])
def test_a_damaged_header_is_refused(two, text):
    (two.path / "store.json").write_text(text)
    with pytest.raises(MemsciError, match="store.json is truncated or altered .*Restore it from a copy"):
        Store(two.path)


def test_another_format_is_refused(two):
    header = json.loads((two.path / "store.json").read_text())
    (two.path / "store.json").write_text(json.dumps({**header, "format": 2, "versions": {"memsci": "9.1"}}))
    with pytest.raises(MemsciError, match=r"format 2, this memsci reads format 1.*\(9.1\)"):
        Store(two.path)


# Damage


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [truncate, alter, Path.unlink])
def test_damage_is_refused_by_name_and_can_be_forgotten(two, name, harm):
    harm(two.path / "memories" / "nora" / name)
    said = rf"Memory 'nora' is damaged: .*{name}.*forget .nora. and encode"
    for read in (Store.verify, lambda s: s.adapter("nora"), lambda s: s.adapters(["omar", "nora"])):
        with pytest.raises(MemsciError, match=said):
            read(Store(two.path))
    assert Store(two.path).ids == ("nora", "omar")  # damage within a folder that is known is found when it is read
    forget_catalogue(two.path)
    if harm is not alter or not name.startswith("adapter"):  # this alone is too much to read even then
        for read in (
            lambda s: s.ids, lambda s: s.records, lambda s: s.nbytes, len, lambda s: s.add(*made("zoe")), Store.keys,
            lambda s: s.nearest(torch.ones(1, 5), 1), lambda s: s.named([0]), lambda s: "omar" in s,
        ):  # fmt: skip
            with pytest.raises(MemsciError, match=said):
                read(Store(two.path))
        assert "1 damaged" in repr(Store(two.path))
    opened = Store(two.path)
    opened.forget("nora")
    opened.verify()
    assert opened.ids == ("omar",) and not (two.path / "memories" / "nora").exists()
    check_whole(opened, opened.ids)


def test_a_damaged_memory_is_as_it_was_once_its_files_are_restored(two):
    file = two.path / "memories" / "nora" / "memory.json"
    content = file.read_bytes()
    truncate(file)
    forget_catalogue(two.path)
    with pytest.raises(MemsciError, match="'nora' is damaged"):
        Store(two.path).keys()
    file.write_bytes(content)
    check_whole(Store(two.path), two.ids)
    assert Store(two.path).ids == ("nora", "omar")


def test_damage_after_opening_is_found_when_the_adapter_is_read(two):
    alter(two.path / "memories" / "nora" / "adapter_model.safetensors")
    check_whole(two, ["omar"])
    with pytest.raises(MemsciError, match="'nora' is damaged: .*adapter_model.safetensors was altered"):
        two.adapter("nora")


def test_verify_names_every_damaged_memory(two):
    for id in two.ids:
        alter(two.path / "memories" / id / "adapter_config.json")
    with pytest.raises(MemsciError, match=r"(?s)'nora' is damaged.*\n.*'omar' is damaged"):
        two.verify()


def test_a_memory_under_another_name_is_refused(two):
    (two.path / "memories" / "nora").rename(two.path / "memories" / "zoe")
    with pytest.raises(MemsciError, match="'zoe' is damaged: .*memory.json .*describes memory 'nora'"):
        Store(two.path).keys()


def test_a_manifest_cannot_point_out_of_its_folder(two):
    manifest = two.path / "memories" / "nora" / "memory.json"
    content = json.loads(manifest.read_text())
    content["files"]["../../store.json"] = {"bytes": 1, "sha256": ""}
    content["checksum"] = record_module._checksum({k: v for k, v in content.items() if k != "checksum"})
    manifest.write_text(json.dumps(content))
    with pytest.raises(MemsciError, match="'nora' is damaged: .*store.json is missing"):
        Store(two.path).adapter("nora")


def test_a_bare_peft_folder_put_there_by_hand_is_refused_with_the_way_in(two):
    folder = two.path / "memories" / "zoe"
    folder.mkdir()
    save_peft(made("zoe")[1], folder, "tiny")
    with pytest.raises(MemsciError, match="'zoe' .*memory.json is missing .*add_peft"):
        Store(two.path).keys()


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_nothing_is_unpickled(two, tmp_path, name):
    folder = tmp_path / "peft"
    folder.mkdir()
    save_peft(made("zoe")[1], folder, "tiny")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(Bomb(tmp_path / "burst"), folder / name)
    with pytest.raises(MemsciError):
        two.add_peft(folder, made("zoe")[0])
    for file in FILES:
        (two.path / "memories" / "nora" / file).write_bytes(pickle.dumps(Bomb(tmp_path / "burst")))
    with pytest.raises(MemsciError):
        Store(two.path).verify()
    assert not (tmp_path / "burst").exists() and "zoe" not in os.listdir(two.path / "memories")


# PEFT


def merged(model, adapter: Adapter):
    """The model with W + γ B A written into its weights: the definition, without PEFT and without hooks."""
    with torch.no_grad():
        for path, (A, B) in adapter.deltas.items():
            model.get_submodule(path).weight += adapter.scale * B @ A
    return model


@pytest.mark.parametrize("rslora", [True, False])
def test_a_memory_opens_in_peft_and_a_peft_folder_opens_here(store, tmp_path, rslora):
    from conftest import make_model, random_adapter
    from peft import LoraConfig, PeftModel, get_peft_model

    from memsci.models.sites import targets

    tokens = torch.arange(12).view(2, 6)
    base = make_model()(tokens).logits
    adapter = random_adapter(make_model(), targets(make_model()), rank=3, alpha=5, rslora=rslora)
    store.add(made("here")[0], adapter)
    expected = merged(make_model(), adapter)(tokens).logits
    there = PeftModel.from_pretrained(make_model(), str(store.path / "memories" / "here"))(tokens).logits
    assert torch.allclose(there, expected, atol=1e-5) and not torch.allclose(there, base, atol=1e-2)

    config = LoraConfig(
        r=3, lora_alpha=5, use_rslora=rslora, target_modules=["up_proj", "down_proj"], init_lora_weights=False
    )
    theirs = get_peft_model(make_model(), config)
    theirs.save_pretrained(tmp_path / "theirs")
    before = {f.name: f.read_bytes() for f in (tmp_path / "theirs").iterdir()}
    store.add_peft(tmp_path / "theirs", made("there")[0])
    assert {f.name: f.read_bytes() for f in (tmp_path / "theirs").iterdir()} == before
    reached = merged(make_model(), Store(store.path).adapter("there"))(tokens).logits
    assert torch.allclose(reached, theirs(tokens).logits, atol=1e-5) and not torch.allclose(reached, base, atol=1e-2)


# Replacing, and sharing an adapter


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


def test_a_memory_that_replaces_another_keeps_its_place_and_leaves_nothing_of_it(two):
    old, _ = made("nora")
    assert old.key.numpy().tobytes() in bytes_of(two.path)
    record, adapter = made("ivy", text=TEXT)
    stored = two.replace(replace(record, id="nora"), adapter)
    assert two.ids == ("nora", "omar") == Store(two.path).ids and stored.order == 0
    assert two.records[0].text == TEXT and torch.equal(two.keys()[0], record.key)
    check_whole(two, ["omar"])
    for path, pair in adapter.deltas.items():
        assert all(map(torch.equal, two.adapter("nora").deltas[path], pair))
    two.verify()
    assert old.key.numpy().tobytes() not in bytes_of(two.path) and leftovers(two.path) == []


def test_questions_come_to_stored_memories_all_or_none(two):
    two.add(*made("ivy"))
    two.share(made("both")[1], ["omar", "ivy"])
    who, where = Question("Who?", "Nora"), Question("Where?", "here", extra={"list": 2})
    before, manifest = {id: two.adapter(id) for id in two.ids}, two.path / "memories" / "ivy" / "memory.json"
    untouched = manifest.read_bytes()
    text = made("omar")[0].text_hash
    asked = [Asked("nora", None, (who, where), "Row 2"), Asked("omar", None, (who,), "Row 3")]
    assert two.add_questions(asked) == {"nora": 2, "omar": 1}
    for store in (two, Store(two.path)):
        assert store.ids == ("nora", "omar", "ivy") and store.records[1].text_hash == text
        assert [one.questions for one in store.records] == [(who, where), (who,), ()]
        assert all(
            torch.equal(one, other)
            for id in store.ids
            for path, pair in before[id].deltas.items()
            for one, other in zip(store.adapter(id).deltas[path], pair)
        )
        store.verify()
    assert manifest.read_bytes() == untouched and leftovers(two.path) == []
    # The same again changes nothing; another answer is refused, with all that stands beside it.
    whole = bytes_of(two.path)
    assert two.add_questions(asked) == {"nora": 0, "omar": 0} and bytes_of(two.path) == whole
    further, other = Question("When?", "now"), Question("Who?", "Omar")
    for wrong, says in (
        (
            Asked("nora", None, (other,), "Row 3"),
            "Row 3: .Who.* is kept for memory 'nora' with the answer .Nora.*again=True",
        ),
        (Asked("kai", None, (who,), "Row 3"), "Row 3: There is no memory 'kai'.*it holds: 'nora', 'omar', 'ivy'"),
        (Asked("nora", "Another text.", (who,), "Row 3"), "Row 3: memory 'nora' has another text"),
        (Asked(None, "Another text.", (who,), "Row 3"), "Row 3: no memory of .* has this text to the letter"),
    ):
        with pytest.raises(MemsciError, match=f"{says}.*Nothing was changed"):
            two.add_questions([Asked("ivy", None, (further,), "Row 2"), wrong])
        assert bytes_of(two.path) == whole
    assert two.add_questions([Asked("nora", None, (other,), "Row 3")], again=True) == {"nora": 1}
    assert [one.questions for one in two.records] == [(other,), (who,), ()]


def test_questions_kept_twice_stay_when_others_come(store):
    record, adapter = made("nora")
    twice = (Question("Who?", "Nora", extra={"list": 1}), Question("Who?", "Nora", extra={"list": 2}))
    store.add(replace(record, questions=twice), adapter)
    where = Question("Where?", "here")
    assert store.add_questions([Asked("nora", None, (where, twice[0]), "Row 2")]) == {"nora": 1}
    assert store.records[0].questions == (*twice, where) and store.records[0].questions[1].extra == {"list": 2}


def test_questions_find_their_memory_by_its_text(store):
    record, adapter = made("nora")
    store.add(replace(record, text_hash=text_hash(TEXT)), adapter)
    for id in (None, "nora"):
        store.add_questions([Asked(id, TEXT, (Question(f"Who, {id}?", "Nora"),), "Row 2")])
    assert [one.text for one in store.records[0].questions] == ["Who, None?", "Who, nora?"]


def test_only_what_is_stored_can_be_replaced_or_share(two):
    with pytest.raises(MemsciError, match="no memory 'ivy'.*'nora', 'omar'"):
        two.replace(*made("ivy"))
    with pytest.raises(MemsciError, match="no memory 'ivy'"):
        two.share(made("ivy")[1], ["nora", "ivy"])
    with pytest.raises(MemsciError, match="no id was given"):
        two.share(made("ivy")[1], [])
    record, adapter = made("nora")
    with pytest.raises(MemsciError, match="inf or nan"):
        two.share(replace(adapter, deltas={path: (A / 0, B) for path, (A, B) in adapter.deltas.items()}), ["nora"])
    with pytest.raises(MemsciError, match="7 numbers"):
        two.replace(replace(record, key=torch.ones(7)), adapter)
    check_whole(Store(two.path), two.ids)
    assert leftovers(two.path) == [] and not (two.path / "shared").exists()


def test_memories_that_share_an_adapter_keep_their_keys_and_count_it_once(two):
    two.add(*made("ivy"))
    name = two.share(made("both")[1], ["omar", "nora"])
    for store in (two, Store(two.path)):
        assert store.ids == ("nora", "omar", "ivy")
        assert [one.shared for one in store.records] == [name, name, None]
        assert store.adapter("nora") is store.adapter("omar")
        for path, pair in made("both")[1].deltas.items():
            assert all(map(torch.equal, store.adapter("nora").deltas[path], pair))
        assert torch.equal(store.keys(), torch.stack([made(id)[0].key for id in store.ids]))
        assert store.adapter_names(["ivy", "omar", "nora"]) == [store.checksums(["ivy"])[0], name, name]
        check_whole(store, ["ivy"])
        store.verify()
        files = [*store.path.glob("memories/*/*.safetensors"), *store.path.glob("memories/*/adapter_config.json")]
        assert store.nbytes == sum(file.stat().st_size for file in (*files, *store.path.glob("shared/*/*")))
    assert len(list(two.path.glob("memories/*/adapter_model.safetensors"))) == 1 and leftovers(two.path) == []


def test_a_shared_adapter_goes_with_the_last_memory_that_has_it(two):
    first = two.share(made("both")[1], ["nora", "omar"])
    second = two.share(made("other")[1], ["nora"])
    assert sorted(path.name for path in (two.path / "shared").iterdir()) == sorted([first, second])
    two.forget("omar")
    assert [path.name for path in (two.path / "shared").iterdir()] == [second]
    two.replace(*made("nora"))
    assert list((two.path / "shared").iterdir()) == []
    check_whole(two, ["nora"])


def test_damage_of_a_shared_adapter_is_named_and_healed(two):
    name = two.share(made("both")[1], ["nora"])
    file = two.path / "shared" / name / "adapter_model.safetensors"
    whole = file.read_bytes()
    alter(file)
    with pytest.raises(MemsciError, match=f"'nora' is damaged: .*shared/{name}/adapter_model.safetensors was altered"):
        Store(two.path).verify()
    file.write_bytes(whole)
    Store(two.path).verify()


def test_a_damaged_shared_adapter_is_not_signed_by_a_change_and_other_files_are_not_taken_along(two):
    name = two.share(made("both")[1], ["nora", "omar"])
    folder = two.path / "shared" / name
    (folder / ".DS_Store").write_bytes(b"?")
    asked = lambda answer: [Asked("nora", None, [Question("Who?", answer)], "row 1")]
    assert two.add_questions(asked("Nora")) == {"nora": 1}
    two.verify()
    alter(folder / "adapter_model.safetensors")
    with pytest.raises(MemsciError, match="'nora' is damaged: .*adapter_model.safetensors is not as it was written"):
        two.add_questions(asked("Omar"), again=True)
    assert leftovers(two.path) == []


def test_an_id_that_a_correction_names_is_not_given_again(two):
    two.add(replace(made("ivy")[0], corrects=("nora",)), made("ivy")[1])
    with pytest.raises(MemsciError, match="already"):  # while it stands
        two.add(*made("nora"))
    two.forget("nora")
    with pytest.raises(MemsciError, match="'ivy' corrects a memory 'nora' that was forgotten.*Choose another id"):
        two.add(*made("nora"))
    assert two.ids == ("omar", "ivy")


def test_a_header_is_changed_by_what_lies_there_and_not_by_an_old_view(store):
    other = Store(store.path)
    other.add(*made("nora"))
    with pytest.raises(MemsciError, match="holds memories of another encoding"):
        store.note(encoding={"rank": 99})
    store.note(gate={"beta": 2.0})
    assert Store(store.path).header["gate"] == {"beta": 2.0}


@pytest.mark.parametrize("name", ["@eaDir", "copy of nora", ".hidden"])
def test_folders_of_other_programs_are_no_memories(two, name):
    (two.path / "memories" / name).mkdir()
    assert Store(two.path).ids == ("nora", "omar") == two.refresh().ids
    two.verify()


def test_the_name_of_a_shared_adapter_cannot_point_elsewhere(two):
    two.share(made("both")[1], ["nora"])
    file = two.path / "memories" / "nora" / "memory.json"
    content = json.loads(file.read_text()) | {"shared": "../../../omar"}
    content.pop("checksum")
    file.write_text(json.dumps(content | {"checksum": record_module._checksum(content)}))
    with pytest.raises(MemsciError, match="no name of a shared adapter"):
        Store(two.path).adapters(["nora"])


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5])  # the shared adapter is put in its place by the first
def test_a_full_disk_leaves_memories_that_were_to_share_as_they_were(two, monkeypatch, fails_at):
    rename, calls = os.rename, itertools.count(1)

    def fail(*paths):
        if next(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(*paths)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(MemsciError, match="nothing stored before was changed"):
        two.share(made("both")[1], ["nora", "omar"])
    monkeypatch.setattr(os, "rename", rename)
    for store in (two, Store(two.path)):
        assert store.ids == ("nora", "omar") and leftovers(two.path) == []
        check_whole(store, store.ids)


def test_a_smaller_copy_of_shared_adapters_shares_them_too(two, tmp_path):
    two.share(made("both")[1], ["nora", "omar"])
    small = compress(two, tmp_path / "small", rank=1, energy=None, dtype="float32")
    assert len({one.shared for one in small.records}) == 1 and small.records[0].shared
    assert small.adapter("nora").rank == 1 and small.nbytes < two.nbytes


# Writers that die, and writers at once


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")


@pytest.fixture(scope="module")
def run():
    """This file as a program: takes the name of a function below and a path, gives back what it returns."""
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as program:

        def ask(name: str, path: Path) -> dict:
            print(json.dumps([name, str(path)]), file=program.stdin, flush=True)
            reply = json.loads(program.stdout.readline())
            assert "failed" not in reply, reply["failed"]
            return reply

        yield ask
        program.stdin.close()


@needs_fork
def test_writers_killed_at_random_moments_leave_every_finished_memory(tmp_path, run):
    Store.create(tmp_path / "store", HEADER)
    found = run("kills", tmp_path / "store")
    assert found["kills"] == KILLS
    # If no kill had come amid a write or after a finished one, the test would have shown nothing.
    assert found["amid_writing"] >= 5 and found["finished"] >= KILLS // 2


@needs_fork
def test_a_writer_killed_before_any_of_its_file_operations_leaves_a_whole_store(tmp_path, run):
    steps = run("steps", tmp_path)
    assert steps["create"] >= 5 and steps["add"] >= 15 and steps["forget"] >= 8
    assert steps["replace"] >= 20 and steps["share"] >= 30


@needs_fork
def test_two_writers_at_once_get_distinct_orders(tmp_path, run):
    Store.create(tmp_path / "store", HEADER)
    assert run("race", tmp_path / "store")["readings"] > 0
    store = Store(tmp_path / "store")
    store.verify()
    assert sorted(store.ids) == sorted(f"w{writer}-{n}" for writer in range(2) for n in range(RACE))
    orders = [record.order for record in store.records]
    assert len(set(orders)) == len(orders) == 2 * RACE
    for writer in range(2):
        own = [id for id in store.ids if id.startswith(f"w{writer}-")]
        assert own == [f"w{writer}-{n}" for n in range(RACE)]
    assert leftovers(store.path) == []


RACE = 8
KILLS = 40


def fork(work) -> int:
    """Run `work` in a child process; returns its process id. A child that fails exits with 1."""
    if pid := os.fork():
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def was_killed(pid: int) -> bool:
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the writer failed"
    return os.WIFSIGNALED(status)


def kills(path: Path) -> dict:
    """Kill writers that add and forget without end; after each, compare what is there with what they had reported."""
    randomly = random.Random(5)
    counts = {"kills": 0, "amid_writing": 0, "finished": 0}
    alive: set[str] = set()
    for round in range(KILLS):
        reader, writer = os.pipe()

        def work():
            store = Store(path)
            for n in itertools.count():
                id = f"r{round}-{n}"
                store.add(*made(id))
                os.write(writer, f"added {id}\n".encode())
                if n % 3 != 2:
                    os.write(writer, f"forgetting {id}\n".encode())
                    store.forget(id)
                    os.write(writer, f"forgot {id}\n".encode())

        pid = fork(work)
        os.close(writer)
        with os.fdopen(reader) as stream:
            # Every other writer has finished a memory before its time is up, however slow the machine.
            lines = [stream.readline()] if round % 2 else []
            time.sleep(randomly.uniform(0.0, 0.06))
            os.kill(pid, signal.SIGKILL)
            counts["kills"] += was_killed(pid)
            reports = [line.split() for line in (*lines, *stream)]
        said = {what: {id for word, id in reports if word == what} for what in ("added", "forgetting", "forgot")}
        added, forgetting, forgot = said.values()
        counts["finished"] += len(added)
        counts["amid_writing"] += bool(leftovers(path))

        store = Store(path)
        ids = set(store.ids)
        assert alive | (added - forgetting) <= ids, "a finished memory is lost"
        assert not ids & forgot, "a forgotten memory is back"
        unreported = ids - alive - added
        assert len(unreported) <= 1, "only the last one can be finished and not yet reported"
        check_whole(store, ids - alive)
        alive = ids
    store.add(*made("after"))
    store.verify()
    assert leftovers(path) == [], "leftovers are swept by the next writer"
    orders = [record.order for record in store.records]
    assert len(set(orders)) == len(orders)
    return counts


def steps(path: Path) -> dict:
    """Kill a writer before its first, second, … operation on files, until it comes through; count the operations."""
    operations = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir", "os.utime"}
    operations.add("sqlite3.connect")  # what SQLite does itself is seen by the kills at random moments alone
    work = {
        "create": lambda place: Store.create(place, HEADER),
        "add": lambda place: Store(place).add(*made("new")),
        "forget": lambda place: Store(place).forget("new"),
        "replace": lambda place: Store(place).replace(replace(made("other")[0], id="new"), made("other")[1]),
        "share": lambda place: Store(place).share(made("other")[1], ["kept", "new"]),
    }

    def dies_at(step: int, operation: str, place: Path) -> bool:
        def child():
            seen = itertools.count(1)

            def hook(event, args):
                # Paths in the store and the bare names by which a folder is removed, but not Python's own modules.
                counts = event in operations and (str(path) in str(args[0]) or "/" not in str(args[0]))
                if counts and next(seen) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            work[operation](place)

        return was_killed(fork(child))

    before = {name: Store.create(path / name, HEADER).path for name in work if name != "create"}
    for name in before:
        for id in ["kept"] if name == "add" else ["kept", "new"]:
            Store(before[name]).add(*made(id))

    counts = {}
    for operation in work:
        killed = True
        for step in itertools.takewhile(lambda _: killed, itertools.count(1)):
            place = path / f"{operation}-{step}"
            if operation in before:
                shutil.copytree(before[operation], place)
            killed = dies_at(step, operation, place)
            if operation == "create":
                if not (place / "store.json").exists():
                    Store.create(place, HEADER)
                assert Store(place).ids == ()
            else:
                store = Store(place)
                assert set(store.ids) in ({"kept"}, {"kept", "new"}), f"{operation}, step {step}"
                store.verify()
                if operation in ("replace", "share"):
                    assert store.ids == ("kept", "new"), f"{operation}, step {step}: a memory is lost"
                    for record in store.records:  # each is the old one or the new one
                        for map_, (has, _) in store.adapter(record.id).deltas.items():
                            assert any(torch.equal(has, made(name)[1].deltas[map_][0]) for name in (record.id, "other"))
                else:
                    check_whole(store, store.ids)
                # No leftover is in the way of the next writer, who sweeps it.
                if "new" in store and not store.sharers("new"):
                    store.forget("new")
                else:
                    store.add(*made("third" if "new" in store else "new"))
                assert leftovers(place) == []
            shutil.rmtree(place)
        counts[operation] = step - 1
    return counts


def race(path: Path) -> dict:
    """Two writers at once, and a reader between them that must never see anything but whole memories."""

    def work(writer: int):
        store = Store(path)
        for n in range(RACE):
            store.add(*made(f"w{writer}-{n}"))
            store.add(*made(f"w{writer}-passing"))
            store.forget(f"w{writer}-passing")

    running = [fork(lambda: work(0)), fork(lambda: work(1))]
    readings = 0
    while running:
        store = Store(path)
        assert len(store.keys()) == len(store.ids)
        readings += 1
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            assert status == 0, "a writer failed"
            running.remove(pid)
    return {"readings": readings}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        name, place = json.loads(line)
        try:
            reply = {"kills": kills, "steps": steps, "race": race}[name](Path(place))
        except Exception:
            reply = {"failed": traceback.format_exc()}
        print(json.dumps(reply), flush=True)
