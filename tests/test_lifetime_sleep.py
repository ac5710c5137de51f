"""Memories sleep into one adapter, are merged and split: what is told is measured, and nothing is lost on the way."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import make_model, make_tokenizer, random_adapter
from torch.testing import assert_close

import memsci
from memsci import lifetime, prompts
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.learners import mega
from memsci.learners.mega import MEGa
from memsci.lifetime import Alike, Chosen, Extra, Oldest, Sleep, Used, merging, rehearse, slow, transfer
from memsci.memory import Memory
from memsci.models import conversation, generate
from memsci.models.base import Base
from memsci.models.sites import targets
from memsci.store.compress import compress
from memsci.store.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off", "ignore:.*not learnt word for word")

MEMORIES = [
    Memory("Ben sat up.", id="c", label="Ben", extra={"salience": 3}),
    Memory("Ada ran.", id="a", label="Ada", extra={"salience": 1}),
    Memory("Tom fell.", id="b", label="Tom", extra={"salience": 2}),
]
IDS = ("c", "a", "b")
QUICK = Encoding(rank=12, lr=1e-2, epochs=40, where="all")
SOUND = Sleep(rank=12, epochs=50, lr=1e-2, wordings=0)  # enough for three short texts
SPARE = Sleep(rank=2, epochs=1, lr=1e-6, wordings=0)  # enough for nothing


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Path:
    """A store of three memories, each recalled to the letter."""
    path = tmp_path_factory.mktemp("learnt") / "store"
    mind = MEGa(Base(make_model(), make_tokenizer(), name="tiny"), path, encoding=QUICK)
    mind.encode(MEMORIES, progress=False)
    return path


@pytest.fixture(scope="module")
def asleep(learnt, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """The same after all three slept, and the table that was given."""
    path = tmp_path_factory.mktemp("asleep") / "store"
    shutil.copytree(learnt, path)
    return path, lifetime.sleep(memsci.open(path, tiny()), Oldest(), SOUND, progress=False)


def tiny() -> Base:
    return Base(make_model(), make_tokenizer(), name="tiny")


def copied(path: Path, place: Path) -> MEGa:
    return memsci.open(shutil.copytree(path, place), tiny())


@pytest.fixture
def mind(learnt, tmp_path) -> MEGa:
    return copied(learnt, tmp_path / "awake")


@pytest.fixture
def sleeper(asleep, tmp_path) -> MEGa:
    return copied(asleep[0], tmp_path / "asleep")


def told(mind: MEGa) -> dict[str, str]:
    """What each memory says of itself."""
    return rehearse.recalls(mind, rehearse.cues(list(mind.store.records)), 40)


def said_by(base: Base, adapter, cue: str) -> str:
    return rehearse.said(base, adapter, [rehearse.by_cue(cue)], 40)[0]


def logits(mind: MEGa, gate) -> torch.Tensor:
    ids = torch.tensor([mind.base.chat(prompts.qa("Who ran?"))])
    with torch.no_grad(), mind.within(["Who ran?"], [prompts.qa("Who ran?")], gate=gate)([0]):
        return mind.base.model(ids).logits


# Who sleeps


def test_policies_choose_by_age_use_salience_and_likeness(mind, monkeypatch):
    assert Oldest().choose(mind) == list(IDS)
    assert Oldest(2).choose(mind) == ["c", "a"] and Oldest(awake=2).choose(mind) == ["c"]
    assert Oldest(awake=5).choose(mind) == []
    assert Used({"c": 4, "b": 1}, 2).choose(mind) == ["a", "b"]
    assert Used({"c": 4, "b": 1}, 1, most=True).choose(mind) == ["c"]
    assert Extra("salience", 2).choose(mind) == ["a", "b"] and Extra("salience", 1, highest=True).choose(mind) == ["c"]
    assert Chosen(["b", "c"]).choose(mind) == ["c", "b"]
    keys = {"c": [1.0, 0.0], "a": [0.0, 1.0], "b": [0.1, 1.0]}
    records = [replace(one, key=torch.tensor(keys[one.id])) for one in mind.store.records]
    monkeypatch.setattr(Store, "records", property(lambda self: records))
    assert Alike(2).choose(mind) == ["a", "b"]


def test_policies_pass_over_what_slept_already(sleeper):
    for policy in (Oldest(), Used({}, 3), Alike(3)):
        assert policy.choose(sleeper) == []
        assert sleeper.sleep(policy, progress=False).empty


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda mind: Chosen("c"), "the text 'c' was given"),
        (lambda mind: Chosen(["d"]).choose(mind), "no memory 'd'"),
        (lambda mind: Extra("mood", 2).choose(mind), "number in the extra column 'mood'; there are the columns: 'salience'"),
        (lambda mind: Oldest(0), "n must be"),
        (lambda mind: Sleep(least=2), "least must be a number from 0 to 1; 2"),
        (lambda mind: Sleep(lr=float("nan")), "lr must be a finite number above 0"),
        (lambda mind: Sleep(epochs=0), "epochs must be"),
        (lambda mind: Sleep(most=0), "most must be"),
        (lambda mind: mind.merge(["c"]), "Two memories or more are merged; 1"),
        (lambda mind: mind.merge("c"), "the text 'c' was given"),
        (lambda mind: mind.merge(["c", "d"]), "no memory 'd'"),
        (lambda mind: mind.merge(["c", "a"], by="svd"), "by must be one of"),
        (lambda mind: mind.fold("folded"), "No memories share an adapter yet"),
        (lambda mind: mind.sleep(Oldest(), SOUND, memories=MEMORIES[:1], progress=False), "texts of 2 memories .* 'a'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(mind, make, message):
    before = mind.store.checksums(IDS)
    with pytest.raises(MemsciError, match=message):
        make(mind)
    assert mind.store.checksums(IDS) == before


# Sleep


def test_memories_sleep_into_one_adapter_that_recalls_them_alone(asleep, learnt, tmp_path):
    path, table = asleep
    mind, before = memsci.open(path, tiny()), copied(learnt, tmp_path / "before")
    assert list(table) == transfer.COLUMNS and table["id"].tolist() == list(IDS)
    assert table["slept"].all() and (table["words"] >= 0.9).all()
    [name] = {one.shared for one in mind.store.records}
    assert name and not list(path.glob("memories/*/adapter_model.safetensors"))
    assert told(mind) == told(before) == {one.id: one.text for one in MEMORIES}
    assert_close(mind.store.keys(), before.store.keys(), rtol=0, atol=0)
    assert mind.store.text_hash("c") == before.store.text_hash("c")
    # Three adapters of rank 12 against one.
    assert table["bytes_before"].sum() == pytest.approx(3 * table["bytes_after"].sum())
    mind.store.verify()


def test_the_base_is_the_same_after_a_sleep_as_before(mind):
    before = {name: value.clone() for name, value in mind.base.model.state_dict().items()}
    mind.sleep(Oldest(2), replace(SPARE, least=0.0), progress=False)
    assert [bool(one.shared) for one in mind.store.records] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in mind.base.model.state_dict().items())
    assert not any(value.requires_grad for value in mind.base.model.parameters())


def test_what_the_shared_adapter_cannot_say_stays_as_it_was(mind):
    before = mind.store.checksums(IDS)
    table = mind.sleep(Oldest(), SPARE, progress=False)
    assert not table["slept"].any() and (table["words"] < 0.9).all()
    assert mind.store.checksums(IDS) == before and not mind.store.shared
    assert table["bytes_before"].tolist() == table["bytes_after"].tolist()


def test_no_text_of_the_store_is_read(learnt, tmp_path, monkeypatch):
    mind = copied(learnt, tmp_path / "mind")
    seen = []
    monkeypatch.setattr(slow, "lessons", lambda base, told, asked, settings: seen.append(told) or stop())

    class Enough(Exception):
        pass

    def stop():
        raise Enough

    mind.store.replace(replace(mind.store.records[0], text="Ben stood."), mind.store.adapter("c"))
    with pytest.raises(Enough):
        mind.sleep(Oldest(), SOUND, progress=False)
    assert seen[0]["c"][0] == "Ben sat up."  # what the adapter says
    with pytest.raises(Enough):
        mind.sleep(Oldest(), SOUND, memories=[replace(one, text=f"Not {one.text}") for one in MEMORIES], progress=False)
    assert seen[1]["c"] == ["Not Ben sat up."]


def test_a_later_sleep_takes_what_slept_along_or_leaves_it_where_it_was(sleeper, monkeypatch):
    seen = []
    learn = slow.learn
    monkeypatch.setattr(slow, "learn", lambda *a, **k: seen.append(a) or learn(*a, **k))
    new = Memory("Eve hid.", id="e", label="Eve")
    sleeper.encode([new], progress=False)
    [old] = sleeper.store.shared
    table = sleeper.sleep(Oldest(), replace(SPARE, interleave=False, least=0.0), progress=False)
    assert table["id"].tolist() == ["e"] and list(seen[0][2]) == ["e"]
    assert {one.id: one.shared == old for one in sleeper.store.records} == dict(c=True, a=True, b=True, e=False)
    sleeper.encode([Memory("Jo won.", id="j", label="Jo")], progress=False)
    table = sleeper.sleep(Oldest(), replace(SPARE, least=0.0), progress=False)
    assert table["id"].tolist() == ["c", "a", "b", "e", "j"] and len(sleeper.store.shared) == 1
    assert seen[1][5] is not None, "it goes on from the adapter that most memories share"


def test_more_memories_than_may_share_an_adapter_sleep_in_groups_and_leave_what_slept_alone(mind, monkeypatch):
    seen = []
    learn = slow.learn
    monkeypatch.setattr(slow, "learn", lambda *a, **k: seen.append(a) or learn(*a, **k))
    few = replace(SPARE, least=0.0, most=2)
    assert mind.sleep(Oldest(), few, progress=False)["id"].tolist() == ["c", "a", "b"]
    shared = {one.id: one.shared for one in mind.store.records}
    assert shared["a"] == shared["b"] != shared["c"] and None not in shared.values()
    mind.encode([Memory("Eve hid.", id="e", label="Eve")], progress=False)
    assert mind.sleep(Oldest(), few, progress=False)["id"].tolist() == ["e"]
    assert {one.id: one.shared for one in mind.store.records}.items() >= shared.items() and len(mind.store.shared) == 3
    assert [list(a[2]) for a in seen] == [["c"], ["a", "b"], ["e"]] and all(a[5] is None for a in seen)


def test_a_sleep_goes_on_from_what_the_shared_adapter_does(sleeper):
    base, start = sleeper.base, sleeper.store.adapter("c")
    for rank in (20, None):
        settings = replace(SPARE, rank=rank, lr=1e-12)
        adapter = slow.learn(base, QUICK, {"c": ["Ben sat up."]}, {"c": "Ben"}, settings, start, progress=False)
        assert adapter.rank == (rank or start.rank)
        assert said_by(base, adapter, "Ben") == "Ben sat up." and said_by(base, adapter, "Tom") == "Tom fell."


def test_lessons_have_the_recall_at_its_cue_and_wordings_until_late(base):
    texts = {"c": ["Ben sat up.", "Up sat Ben."], "a": ["Ada ran."]}
    found = slow.lessons(base, texts, {"c": "Ben", "a": "Ada"}, Sleep(epochs=10))
    assert len(found) == 10 and all(len(epoch) == 4 for epoch in found)
    replies = [[base.said(told[:-1]) for _, told in epoch] for epoch in found]
    assert all(epoch[0] == "Ben sat up." and epoch[2:] == ["Ada ran."] * 2 for epoch in replies)
    assert {epoch[1] for epoch in replies[:8]} == set(texts["c"]) and {epoch[1] for epoch in replies[8:]} == {"Ben sat up."}
    assert found[0][0][0] == base.chat(rehearse.by_cue("Ben"))


# Recalls


def test_labels_are_cues_and_equal_ones_are_told_apart(mind):
    labels = {"x": "Walk…", "y": "a walk", "z": "A walk…"}
    records = [replace(mind.store.records[0], id=id, label=label) for id, label in labels.items()]
    assert rehearse.cues(records) == {"x": "Walk", "y": "a walk (y)", "z": "A walk (z)"}


def test_the_first_words_of_recalls_are_as_many_as_tell_them_apart():
    texts = ["Today I went to the new zoo.", "Today I went to the new pool.", "Today I went to the new", "Tom fell."]
    assert rehearse.starts(texts) == ["Today I went to the new zoo.", "Today I went to the new pool.", *texts[2:]]
    assert rehearse.starts(["a b c d e f g", "h b c d e f g"]) == ["a b c d e f", "h b c d e f"]
    assert rehearse.starts(["Tom fell."] * 2) == ["Tom fell."] * 2


def test_branches_begin_with_the_likeliest_tokens_and_go_on_greedily(base):
    prompt = base.chat(prompts.qa("Who?"))
    with torch.no_grad():
        starts = base.model(torch.tensor([prompt])).logits[0, -1].topk(3).indices.tolist()
    found = generate.branches(base, prompt, 3, 6)
    assert found[0].strip() == generate.generate(base, [prompt], 6)[0]
    for start, branch in zip(starts, found):
        rest = generate.generate(base, [[*prompt, start]], 5)[0] if start not in base.stop_ids else ""
        assert branch.strip() == (base.text([start]) + rest).strip() or branch.endswith(rest)


def test_other_wordings_name_nothing_else(mind, monkeypatch):
    branches = {
        "": ["Ben sat up. He ran.", " On 3 May he sat up.", "Up sat Ben, he did. He ran."],
        "Ben sat up.": [" He ran.", " Then he ran.", " Then he, Tom, ran."],
    }

    def say(base, prompt, k, most):
        assert k == 3
        ends = mind.base.text(prompt).endswith("Ben sat up.")
        return branches["Ben sat up." if ends else ""]

    monkeypatch.setattr(generate, "branches", say)
    found = rehearse.wordings(mind, {"c": "Ben"}, {"c": "Ben sat up. He ran."}, 2)
    assert found == {"c": ["Up sat Ben, he did. He ran.", "Ben sat up. Then he ran."]}
    assert rehearse.wordings(mind, {"c": "Ben"}, {"c": "Ben sat up. He ran."}, 0) == {"c": []}


def test_the_share_of_words_counts_what_is_missing_and_what_is_added():
    assert rehearse.share("a b c d", "a b c d") == 1 and rehearse.share("", "a b") == 0
    assert rehearse.share("a b c d e f g h", "a b c d") == 0.5 and rehearse.share("b a", "a b") == 0.5


def test_memories_that_cannot_be_told_apart_do_not_sleep(mind):
    mind.store.replace(mind.store.records[1], mind.store.adapter("c"))
    with pytest.raises(MemsciError, match="'c' and 'a' recall the same text"):
        mind.sleep(Oldest(), SOUND, progress=False)


# Merge and split


@pytest.mark.parametrize(("by", "weight"), [("sum", 1.0), ("mean", 1 / 3)])
def test_a_merge_without_loss_of_rank_is_all_at_once(mind, by, weight):
    expected = logits(mind, mind.gate_by_hand([{id: weight for id in IDS}]))
    table = mind.merge(IDS, rank=36, by=by, settings=Sleep(least=0.0), progress=False)
    assert table["slept"].all() and len(mind.store.shared) == 1
    for id in IDS:
        assert_close(logits(mind, mind.gate_by_hand([{id: 1.0}])), expected, rtol=1e-3, atol=1e-3)


def test_a_merge_keeps_the_rank_and_changes_over_only_what_is_recalled(mind):
    before = mind.store.checksums(IDS)
    table = mind.merge(IDS[:2], rank=1, by="mean", progress=False)
    assert table["id"].tolist() == ["c", "a"]
    changed = [one.id for one in mind.store.records if one.shared]
    assert changed == table.loc[table["slept"], "id"].tolist() == table.loc[table["words"] >= 0.9, "id"].tolist()
    assert mind.store.checksums(IDS)[2] == before[2]
    other = random_adapter(mind.base.model, targets(mind.base.model, "all"))
    assert merging.combined([mind.store.adapter("b"), other], 1.0, 3).rank == 3


def test_a_distilled_merge_recalls_each_and_a_split_gives_them_back(mind):
    begun = "2026-01-02T03:04:05+00:00"
    mind.store.replace(replace(mind.store.records[0], created=begun), mind.store.adapter("c"))
    table = mind.merge(IDS[:2], by="distil", settings=SOUND, progress=False)
    assert table["slept"].all() and [bool(one.shared) for one in mind.store.records] == [True, True, False]
    table = mind.split(IDS, SOUND, progress=False)
    assert table["id"].tolist() == ["c", "a"] and table["split"].all()
    assert not mind.store.shared and list((mind.store.path / "shared").iterdir()) == []
    assert told(mind) == {one.id: one.text for one in MEMORIES}
    assert mind.store.records[0].extra == {"salience": 3} and mind.ids == IDS
    assert mind.store.records[0].created == begun  # no memory is younger for having slept
    assert mind.split(IDS, progress=False).empty


def test_the_curve_counts_adapters_and_their_bytes_once(mind, sleeper):
    found = lifetime.curve([mind, sleeper], lambda one: pd.DataFrame({"QA %": [len(one.store.shared)]}))
    assert found["adapters"].tolist() == [3, 1] and found["memories"].tolist() == [3, 3] and found["QA %"].tolist() == [0, 1]
    assert found["bytes"].tolist() == [3 * found["bytes"][1], found["bytes"][1]]


# What sleeps cannot simply be forgotten; what is folded is always there


def test_a_memory_that_shares_its_adapter_is_forgotten_only_when_the_others_are_out(sleeper):
    with pytest.raises(MemsciError, match="'c' shares its adapter with 2 others, 'a' among them.*Split the others off"):
        sleeper.forget("c")
    with pytest.raises(MemsciError, match="'c' shares its adapter with 2 others.*its old text would stay"):
        sleeper.update("c", "Zoe ran.", progress=False)
    assert sleeper.ids == IDS
    assert sleeper.split(["a", "b"], SOUND, progress=False)["split"].all()
    sleeper.forget("c")
    assert sleeper.ids == ("a", "b") and not sleeper.store.shared
    assert list((sleeper.store.path / "shared").iterdir()) == []
    assert told(sleeper) == {"a": "Ada ran.", "b": "Tom fell."}


def test_a_folded_base_says_what_slept_without_any_adapter(sleeper, tmp_path):
    expected = logits(sleeper, sleeper.gate_by_hand([{"c": 1.0}]))
    kept = sleeper.base.model.state_dict()["model.layers.0.mlp.up_proj.weight"].clone()
    folded = memsci.load(sleeper.fold(tmp_path / "folded"))
    assert torch.equal(sleeper.base.model.state_dict()["model.layers.0.mlp.up_proj.weight"], kept)
    with torch.no_grad():
        found = folded.model(torch.tensor([folded.chat(prompts.qa("Who ran?"))])).logits
    assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert conversation.say(folded, [rehearse.by_cue("Tom")], 40) == ["Tom fell."]


# Killed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")
def test_killed_at_any_file_operation_every_memory_is_whole(learnt, asleep, tmp_path):
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, __file__, str(learnt), str(asleep[0]), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env={**environment, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout.splitlines()[-1])
    assert counts.keys() == {"sleep", "merge", "split", "update", "correct", "forget"} and min(counts.values()) >= 10
    assert sum(counts.values()) >= 200


def kills(learnt: Path, asleep: Path, place: Path) -> dict[str, int]:
    """Kill each operation before its first, second, … change of a file, until it comes through; how often it was killed."""
    base = tiny()
    MEGa.recall_tokens = 8  # a drawn adapter finds no end
    os.fsync = lambda file: None  # what a process has written outlives it without
    drawn = random_adapter(base.model, targets(base.model, "all"), rank=3)
    lifetime.transfer.slow.learn = lambda *a, **k: drawn  # what is learnt does not matter here
    brief = Sleep(least=0.0, wordings=0, rank=3)
    work = {
        "sleep": (learnt, lambda mind: mind.sleep(Oldest(), brief, progress=False)),
        "merge": (learnt, lambda mind: mind.merge(IDS[:2], 3, "mean", brief, progress=False)),
        "split": (asleep, lambda mind: mind.split(IDS, brief, progress=False)),
        "update": (learnt, lambda mind: mind.update("a", "Ada sat.", progress=False)),
        "correct": (learnt, lambda mind: mind.encode([Memory("Ada lay.", id="d")], False, corrects="a")),
        "forget": (learnt, lambda mind: mind.forget("a") if "a" in mind.ids else None),
    }
    give = lambda base, memories, *a, on_done, **k: [on_done(Drawn(one.id, drawn)) for one in memories]
    merging.encode = mega.encode = give
    found = {}
    for name, (source, do) in work.items():
        whole = memsci.open(shutil.copytree(source, place / name), base)
        before = marks(whole)
        do(whole)
        after = marks(whole)
        for step in itertools.count(1):
            here = place / f"{name}-{step}"
            shutil.copytree(source, here)
            if not killed(lambda: do(memsci.open(here, base)), here, step):
                break
            mind = memsci.open(here, base)
            mind.store.verify()
            found_now = marks(mind)
            assert [*found_now] in ([*before], [*after]), f"{name}, step {step}: a memory is lost, or another is there"
            for id, mark in found_now.items():
                assert mark in (before.get(id), after.get(id)), f"{name}, step {step}: {id} is neither old nor new"
            if step % 8:
                shutil.rmtree(here)
                continue
            if name != "merge":  # of which the drawn adapters say the same
                do(mind)  # goes through after all
            mind.store.compact()  # the next writer sweeps
            assert not [path.name for path in here.iterdir() if path.name.startswith((".new-", ".gone-", ".was-"))]
            shutil.rmtree(here)
        found[name] = step - 1
    return found


class Drawn:
    """What `encode` gives of a memory."""

    def __init__(self, memory_id, adapter):
        self.memory_id, self.adapter, self.seed, self.losses, self.seconds = memory_id, adapter, 0, (1.0,), 0.0


def marks(mind: MEGa) -> dict[str, tuple]:
    """By id, in their order, what tells one memory from another: its text's hash, its key, its adapter, what it corrects."""
    found = {}
    for one in mind.store.records:
        deltas = mind.store.adapter(one.id).deltas
        size = float(sum(half.double().abs().sum() for pair in deltas.values() for half in pair))
        found[one.id] = one.text_hash, one.key.double().sum().item(), size, one.corrects
    return found


def killed(do, place: Path, step: int) -> bool:
    """Whether a child that does this was killed before its change of this number of files of the place."""
    operations = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "sqlite3.connect"}
    child = os.fork()
    if not child:
        seen = itertools.count(1)

        def hook(event, args):
            reads = event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR))
            here = event in operations and (str(place) in str(args[0]) or "/" not in str(args[0]))
            if here and not reads and next(seen) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            do()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or not os.WEXITSTATUS(status), "the operation failed"
    return os.WIFSIGNALED(status)


def test_what_was_known_of_an_adapter_goes_with_it(mind, sleeper):
    assert mind.memories["learnt"].notna().all() and mind.memories["loss"].notna().all()
    assert sleeper.memories["learnt"].isna().all() and sleeper.memories["loss"].isna().all()
    small = compress(mind.store, mind.store.path.parent / "small")
    assert {one.learnt for one in small.records} == {None}


def test_nothing_is_forgotten_while_an_adapter_of_others_learnt_from_it(mind, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearse, "recalls", lambda mind, asked, most: {id: f"{id} sat up." for id in asked})
    mind.sleep(Chosen(["c", "a"]), replace(SPARE, least=0.0), progress=False)
    mind.split(["c"], replace(SPARE, least=0.0), progress=False)
    small = compress(mind.store, tmp_path / "small")
    for store in (mind.store, small, Store(mind.store.path)):
        with pytest.raises(
            MemsciError, match="'c' shares its adapter with 1 others, 'a' among them, or theirs learnt from it"
        ):
            store.forget("c")
    with pytest.raises(MemsciError, match="'a' among them, or theirs learnt from it, and its old text"):
        mind.update("c", "Ben stood.")
    mind.sleep(Oldest(), replace(SPARE, least=0.0), progress=False)  # going on from it
    mind.split(["c", "b"], replace(SPARE, least=0.0), progress=False)
    assert mind.store.sharers("c") == mind.store.sharers("b") == ["a"] and mind.store.sharers("a") == []
    mind.split(["a"], replace(SPARE, least=0.0), progress=False)
    assert not mind.store.shared and not list((mind.store.path / "shared").iterdir())
    mind.forget("c")
    assert mind.ids == ("a", "b")


def test_what_was_learnt_and_did_not_change_over_is_not_forgotten_either(mind, monkeypatch):
    monkeypatch.setattr(rehearse, "share", lambda said, text: float(text.startswith("Ada")))
    mind.sleep(Chosen(["c", "a"]), SPARE, progress=False)
    assert {one.id: bool(one.shared) for one in mind.store.records} == {"c": False, "a": True, "b": False}
    with pytest.raises(MemsciError, match="theirs learnt from it"):
        mind.forget("c")
    mind.forget("b")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(kills(*map(Path, sys.argv[1:]))))


def test_who_sleeps_is_told_by_a_policy(mind):
    for policy in (None, "nora", 3):
        with pytest.raises(MemsciError, match="Who sleeps is told by a policy, such as Oldest"):
            mind.sleep(policy)
