"""What users do wrong or move about: adapters of another base, bases in folders, paths with ~, files for folders."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_tokenizer, random_adapter
from test_store import HEADER, made

import memsci
from memsci.adapters.lora import Adapter
from memsci.adapters.peft_format import save_peft
from memsci.errors import MemsciError
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.models.sites import targets
from memsci.store.compress import compress
from memsci.store.record import Remembered
from memsci.store.store import Store

STORIES = [Memory(f"{name} hid the {thing}.", id=name.lower()) for name, thing in (("Nora", "letter"), ("Omar", "kite"))]
QUERY = "Who hid the kite?"


@pytest.fixture
def mind(base, tmp_path) -> memsci.MEGa:
    mind = memsci.MEGa(base, tmp_path / "store", encoding=memsci.Encoding(rank=2, epochs=1))
    mind.encode(STORIES, progress=False)
    return mind


def foreign(**settings) -> Adapter:
    model = make_model(**settings)
    return random_adapter(model, targets(model), rank=2)


def remembered(id: str, like: Store) -> Remembered:
    return Remembered(id, id, like.keys()[0] if len(like) else torch.ones(5), "h")


def unchecked(store: Store, id: str, adapter: Adapter) -> None:
    """Put a memory into a store as earlier versions did, without comparing it with the base."""
    plain = Store.create(store.path.parent / f"other-{id}", {"base": store.header["base"]})
    plain.add(remembered(id, store), adapter)
    shutil.copytree(plain.path / "memories" / id, store.path / "memories" / id)
    store.refresh()


# Adapters of another base

FOREIGN = {"more layers": {"layers": 3}, "another width": {"width": 48}, "another architecture": {"architecture": "GPT2"}}


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("opened_by", ["MEGa", "memsci.open", "Store"])
def test_an_adapter_of_another_base_is_refused_when_it_is_added(mind, base, tmp_path, how, opened_by):
    stores = {"MEGa": lambda: mind.store, "memsci.open": lambda: memsci.open(mind.store.path, base).store}
    store = stores.get(opened_by, lambda: Store(mind.store.path))()
    if (opened_by, how) == ("Store", "another architecture"):
        pytest.skip("without the base nothing is known of maps that no memory has and no layer tells")
    adapter = foreign(**FOREIGN[how])
    (tmp_path / "peft").mkdir()
    save_peft(adapter, tmp_path / "peft", "elsewhere")
    record = remembered("alien", store)
    for add in (
        lambda: store.add(record, adapter),
        lambda: store.add_all([(record, adapter)]),
        lambda: store.add_peft(tmp_path / "peft", record),
    ):
        with pytest.raises(MemsciError, match="'alien' does not fit the base .*another base"):
            add()
    assert Store(store.path).ids == ("nora", "omar")
    store.verify()


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("first", [False, True])
def test_one_bad_memory_is_named_and_the_others_answer(mind, base, how, first, monkeypatch):
    expected = mind.logprob([QUERY], ["Omar"], gate=mind.gate_by_hand([{"omar": 1.0}]))["logprob"][0]
    unchecked(mind.store, "alien", foreign(**FOREIGN[how]))
    if first:  # the order of the memories
        for id in ("nora", "omar"):
            mind.forget(id)
        mind.encode(STORIES, progress=False)
        assert mind.ids[0] == "alien"
    again = memsci.open(mind.store.path, base)
    with pytest.raises(MemsciError, match="'alien' does not fit") as caught:
        again.store.verify()
    assert "'nora'" not in str(caught.value)
    with pytest.warns(UserWarning, match=r"'alien' does not fit .*forget it.* passed over"):
        assert isinstance(again.answer(QUERY, max_new_tokens=2, beta=0.0), str)
    by_hand = again.gate_by_hand([{"omar": 1.0, "alien": 1.0}])
    assert again.logprob([QUERY], ["Omar"], gate=by_hand)["logprob"][0] == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr("memsci.learners.mega.RESIDENT", 0)  # the adapters of each question alone are read
    with pytest.warns(UserWarning, match="'alien'"):
        again.recall(QUERY, gate=again.gate_by_hand([{"alien": 1.0}]), max_new_tokens=1)
    again.forget("alien")
    again.store.verify()


@pytest.mark.parametrize("how", ["more layers", "another width"])
def test_verify_names_the_odd_one_out_without_the_base(mind, how):
    unchecked(mind.store, "alien", foreign(**FOREIGN[how]))
    with pytest.raises(MemsciError, match="'alien' does not fit") as caught:
        Store(mind.store.path).verify()
    assert "Memory 'nora'" not in str(caught.value) and "Memory 'omar'" not in str(caught.value)


def test_memories_may_change_other_maps_of_the_same_base(mind, base):
    for id, where in (("attention", "attention"), ("all", "all")):
        adapter = random_adapter(base.model, targets(base.model, where), rank=3)
        mind.store.add(remembered(id, mind.store), adapter)
    mind.store.verify()
    Store(mind.store.path).verify()
    assert isinstance(mind.answer(QUERY, max_new_tokens=1), str)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: replace(a, deltas={}),
        lambda a: replace(a, deltas={p: (A * float("nan"), B) for p, (A, B) in a.deltas.items()}),
        lambda a: replace(a, deltas={p: (A, B / 0) for p, (A, B) in a.deltas.items()}),
        lambda a: replace(a, deltas={p: (A[:1], B) for p, (A, B) in a.deltas.items()}),
        lambda a: replace(a, alpha=float("inf")),
        lambda a: replace(a, rank=0),
    ],
)
def test_an_adapter_that_would_spoil_every_answer_is_refused(tmp_path, spoil):
    store = Store.create(tmp_path / "store", HEADER)
    record, adapter = made("nora")
    with pytest.raises(MemsciError, match="The adapter of memory 'nora' "):
        store.add(record, spoil(adapter))
    assert store.ids == ()


@pytest.mark.parametrize("field", ["label", "text", "text_hash"])
@pytest.mark.parametrize("bad", ["a\ud800", "a\0", "", 3])
def test_text_that_cannot_be_written_is_refused(tmp_path, field, bad):
    store = Store.create(tmp_path / "store", HEADER)
    record, adapter = made("nora")
    with pytest.raises(MemsciError, match="text|label"):
        store.add(replace(record, **{field: bad}), adapter)
    assert store.ids == () and len(list(store.path.iterdir())) == len(list(Store(store.path).path.iterdir()))


# Paths


def test_home_and_relative_paths_are_understood(tmp_path, monkeypatch, mind, base):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert mind.save("~/saved") == tmp_path / "saved"
    for path in ("~/saved", Path("~/saved"), "saved"):
        assert memsci.open(path, base).ids == Store(path).ids == Store.open(path).ids == mind.ids
    assert memsci.MEGa(base, "~/new").store.path == tmp_path / "new"
    assert memsci.MEGa(base, "~/new").ids == ()
    relative = Store("saved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    relative.forget("nora")
    assert Store(tmp_path / "saved").ids == ("omar",) and not os.listdir(tmp_path / "elsewhere")


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_file_where_a_folder_belongs_is_named(tmp_path, mind, base, below):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / below
    for make in (lambda: Store.create(path, HEADER), lambda: mind.save(path), lambda: memsci.MEGa(base, path)):
        with pytest.raises(MemsciError, match="file(/a)* (is a file|exists already)|file is a file"):
            make()
    for read in (Store, memsci.open):
        with pytest.raises(MemsciError, match="is not a store"):
            read(path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A base in the folder project/models/tiny, with the current folder project."""
    for name, seed in (("project/models/tiny", 0), ("other/models/tiny", 1)):
        make_model(seed=seed).save_pretrained(tmp_path / name)
        make_tokenizer().save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.parametrize("written_by", ["this version", "0.1.0"])
def test_a_base_with_a_relative_path_is_found_from_another_folder(folder, tmp_path, monkeypatch, written_by):
    mind = memsci.MEGa(memsci.load("models/tiny"), "store")
    header = json.loads((folder / "store" / "store.json").read_text())
    assert header["base"]["name"] == "models/tiny"
    if written_by == "0.1.0":
        del header["base"]["path"]
        (folder / "store" / "store.json").write_text(json.dumps(header))
    for there in (folder, tmp_path, tmp_path / "other"):  # where another base has that name
        monkeypatch.chdir(there)
        assert memsci.open(folder / "store").base.fingerprint == mind.base.fingerprint
    folder.rename(tmp_path / "moved")
    assert memsci.open(tmp_path / "moved" / "store").base.fingerprint == mind.base.fingerprint


@pytest.mark.parametrize("written_by", ["this version", "0.1.0"])
def test_a_base_that_is_gone_is_named_with_its_place(folder, written_by):
    memsci.MEGa(memsci.load("models/tiny"), "store")
    header = json.loads((folder / "store" / "store.json").read_text())
    if written_by == "0.1.0":
        del header["base"]["path"]
        (folder / "store" / "store.json").write_text(json.dumps(header))
    shutil.rmtree(folder / "models")
    said = str(folder / "models" / "tiny") if written_by == "this version" else "models/tiny"
    with pytest.raises(MemsciError, match=f"(?s){said}.*as the base of the store"):
        memsci.open("store")


def test_a_base_without_a_folder_has_no_path(tmp_path, base):
    assert isinstance(base, Base)
    assert memsci.MEGa(base, tmp_path / "s").store.header["base"] == {"name": "tiny", "fingerprint": base.fingerprint}


# What the store could not keep, or nobody could use


@pytest.mark.parametrize("answer", ["?!", " ; ", "–"])
def test_a_question_that_nothing_could_judge_is_refused_before_its_memory_is_learnt(mind, monkeypatch, answer):
    monkeypatch.setattr(memsci.learners.mega, "encode", lambda *given, **how: pytest.fail("learnt"))
    with pytest.raises(MemsciError, match="Memory 'ada', question 'Who sang\\?': The true answer .* has no word"):
        mind.encode([Memory("Ada sang.", "ada", questions=[("Who sang?", answer)])], progress=False)
    with pytest.raises(MemsciError, match="Memory 'nora', question 'Who hid it\\?'"):
        mind.update("nora", "Nora hid the ring.", [("Who hid it?", answer)], progress=False)
    assert mind.ids == ("nora", "omar")


def test_what_json_cannot_hold_is_refused_and_leaves_nothing(mind, tmp_path):
    adapter, record = mind.store.adapter("nora"), mind.store.records[0]
    for extra in ({"a": {1, 2}}, {"a": "\ud800"}):
        with pytest.raises(MemsciError, match="plain values"):
            mind.store.add(replace(record, id="x", extra=extra), adapter)
    with pytest.raises(MemsciError, match="plain values"):
        mind.store.note(gate=object())
    for name, more in (("tiny\ud800", {}), ("tiny", {"seed": float("nan")})):
        with pytest.raises(MemsciError, match="plain values"):
            Store.create(tmp_path / "new", {"base": {"name": name, "fingerprint": "f"}, **more})
    assert not (tmp_path / "new").exists() and Store(mind.store.path).ids == ("nora", "omar")


@pytest.mark.parametrize("energy", [0, 2, float("nan")])
def test_a_share_that_is_none_is_told_before_the_store_is_copied(mind, tmp_path, energy):
    with pytest.raises(MemsciError, match="energy must be above 0 and at most 1"):
        compress(mind.store, tmp_path / "small", energy=energy)
    assert not (tmp_path / "small").exists()
