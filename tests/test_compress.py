"""Compression: what truncation may lose, what precision may lose, and that all else of a store stays."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext

import peft
import pytest
import torch
from conftest import make_model, random_adapter
from typer.testing import CliRunner

import memsci
from memsci.adapters.lora import stack
from memsci.adapters.mixture import mixture
from memsci.adapters.peft_format import load_peft, save_peft
from memsci.adapters.truncate import cast, truncate
from memsci.cli import main as cli
from memsci.config import ENERGY, FLOAT8, STORED
from memsci.errors import MemsciError
from memsci.memory import Memory
from memsci.models.sites import targets
from memsci.store.compress import compress
from memsci.store.store import Store

IDS = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))
ROUNDING = {"float32": 0, "bfloat16": 2**-8, "float16": 2**-11, FLOAT8: 2**-4}  # relative, of one number


def delta(adapter, path) -> torch.Tensor:
    A, B = adapter.deltas[path]
    return adapter.scale * B.double() @ A.double()


def logits(model, adapter=None) -> torch.Tensor:
    within = mixture(model, stack([adapter]), torch.ones(1, 1)) if adapter else nullcontext()
    with torch.no_grad(), within:
        return model(IDS).logits


def gap(a, b) -> float:
    return float((a - b).abs().max())


@pytest.fixture
def adapter(model):
    """Rank 6 with a quickly falling spectrum of its own on each map, so that an energy gives several ranks."""
    made = random_adapter(model, targets(model, "all"), rank=6, alpha=3)
    for place, (path, (A, B)) in enumerate(made.deltas.items()):
        made.deltas[path] = (A, B * (1 / (1 + place)) ** torch.arange(6))
    return made


# Ranks


@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
@pytest.mark.parametrize("rslora", [True, False])
@pytest.mark.parametrize("how", [{"rank": 6}, {"rank": 99}, {"energy": 1.0}])
def test_at_full_rank_the_function_is_the_same(architecture, rslora, how):
    model = make_model(architecture)
    whole = random_adapter(model, targets(model), rank=6, alpha=3, rslora=rslora)
    cut = truncate(whole, **how)
    assert (cut.rank, cut.alpha, cut.rslora, cut.transposed) == (6, 3, rslora, whole.transposed)
    for path in whole.deltas:
        assert gap(delta(cut, path), delta(whole, path)) < 1e-6
    assert gap(logits(model, whole), logits(model)) > 0.1
    assert gap(logits(model, cut), logits(model, whole)) < 1e-5


@pytest.mark.parametrize("energy", [0.6, 0.8, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("rslora", [True, False])
def test_the_energy_bounds_the_error_and_no_fewer_ranks_would_do(adapter, energy, rslora):
    whole = dataclasses.replace(adapter, rslora=rslora)
    cut = truncate(whole, energy=energy)
    lost, total, pooled = 0.0, 0.0, []
    for path, (A, B) in cut.deltas.items():
        exact = delta(whole, path)
        values = torch.linalg.svdvals(exact).square()
        missed = float((exact - delta(cut, path)).square().sum())
        best = float(values[len(A) :].sum())  # of all maps of this rank (Eckart and Young)
        assert missed == pytest.approx(best, rel=1e-4, abs=1e-8) and B.shape[1] == len(A)
        lost, total, pooled = lost + missed, total + float(exact.square().sum()), [*pooled, values]
    assert lost <= (1 - energy) * total * (1 + 1e-6)
    ranks = [len(A) for A, _ in cut.deltas.values()]
    everything = torch.cat(pooled).sort(descending=True).values
    fewest = int((everything.cumsum(0) < energy * total).sum()) + 1
    assert ranks == [max(1, int((values >= everything[fewest - 1]).sum())) for values in pooled]
    assert cut.scale == pytest.approx(whole.scale, rel=1e-12) and cut.rank == max(ranks) > min(ranks)


def test_a_rank_caps_the_energy(adapter):
    free, capped = truncate(adapter, energy=0.99), truncate(adapter, rank=2, energy=0.99)
    assert free.rank > 2
    assert [len(A) for A, _ in capped.deltas.values()] == [min(2, len(A)) for A, _ in free.deltas.values()]


def test_a_map_that_does_nothing_keeps_one_rank_and_still_does_nothing(model):
    idle = random_adapter(model, targets(model))
    for path, (A, B) in idle.deltas.items():
        idle.deltas[path] = (A, torch.zeros_like(B))
    cut = cast(truncate(idle, energy=0.9), FLOAT8)
    assert cut.rank == 1 and torch.equal(logits(model, cut), logits(model))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "a rank, an energy or both; neither"),
        ({"rank": 0}, "rank must be a whole number from 1 up; 0 was given"),
        ({"rank": 2.5}, "rank must be a whole number from 1 up; 2.5 was given"),
        ({"energy": 0}, "energy must be above 0 and at most 1; 0 was given"),
        ({"energy": 1.1}, "energy must be above 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(adapter, how, message):
    with pytest.raises(MemsciError, match=message):
        truncate(adapter, **how)


# Precision


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("dtype", STORED)
def test_precision_loses_no_more_than_its_rounding(adapter, dtype, size):
    """Also float8, whatever the size of the numbers; float16 alone has too short a range for the smallest."""
    if dtype == "float16" and size < 1:
        return
    for path, (A, B) in adapter.deltas.items():
        adapter.deltas[path] = (A * size, B)
    small = cast(adapter, dtype)
    for path, pair in small.deltas.items():
        assert all(half.dtype == getattr(torch, dtype) for half in pair)
        exact = delta(adapter, path)
        assert (exact - delta(small, path)).norm() <= (2 * ROUNDING[dtype] + 1e-6) * exact.norm()
    assert small.rank == adapter.rank and small.nbytes == adapter.nbytes * small.deltas[path][0].itemsize // 4


def test_numbers_too_large_for_float16_are_refused(adapter):
    for path, (A, B) in adapter.deltas.items():
        adapter.deltas[path] = (A * 1e8, B)
    with pytest.raises(MemsciError, match="numbers that float16 cannot hold. Use bfloat16"):
        cast(adapter, "float16")
    with pytest.raises(MemsciError, match="dtype must be one of"):
        cast(adapter, "int4")


@pytest.mark.parametrize("dtype", STORED)
def test_adapters_of_any_rank_and_precision_run_side_by_side(model, adapter, dtype):
    small = cast(truncate(adapter, energy=0.9), dtype)
    other = random_adapter(model, targets(model), seed=1)
    with torch.no_grad(), mixture(model, stack([small, other]), torch.tensor([[1.0, 0.0]])):
        beside = model(IDS).logits
    assert gap(beside, logits(model, small)) < 1e-5
    plain = memsci.adapters.lora.Adapter(
        {path: (A.float(), B.float()) for path, (A, B) in small.deltas.items()}, small.rank, small.alpha
    )
    assert gap(logits(model, plain), logits(model, small)) < 1e-5


# Files


@pytest.mark.parametrize("rslora", [True, False])
@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
@pytest.mark.parametrize("dtype", STORED)
def test_peft_opens_it_with_the_same_logits_and_so_do_we(tmp_path, architecture, rslora, dtype):
    model = make_model(architecture)
    whole = random_adapter(model, targets(model), rank=6, alpha=3, rslora=rslora)
    for place, (path, (A, B)) in enumerate(whole.deltas.items()):
        whole.deltas[path] = (A, B * (1 / (1 + place)) ** torch.arange(6))
    small = cast(truncate(whole, energy=0.9), dtype)
    save_peft(small, tmp_path, "tiny")
    assert json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]
    again = load_peft(tmp_path)
    assert (again.rank, again.alpha, again.rslora) == (small.rank, small.alpha, rslora)
    for path, pair in small.deltas.items():
        for mine, read in zip(pair, again.deltas[path], strict=True):
            assert read.dtype == mine.dtype and torch.equal(read.float(), mine.float())
    ours = logits(model, small)
    assert gap(ours, logits(model)) > 0.1
    oracle = peft.PeftModel.from_pretrained(make_model(architecture), tmp_path)
    with torch.no_grad():
        assert gap(oracle(IDS).logits, ours) < 1e-5


# Stores

STORIES = [
    Memory(
        f"On {day} May, {name} hid the {thing} behind the old clock.",
        id=name.lower(),
        label=f"The {thing}",
        paraphrases=[f"The {thing} was hidden by {name}."],
    )
    for day, name, thing in ((3, "Nora", "letter"), (9, "Omar", "kite"), (21, "Ivy", "drum"))
]
QUERY = "Who hid the kite?"


@pytest.fixture
def mind(base, tmp_path):
    made = memsci.MEGa(base, tmp_path / "source", encoding=memsci.Encoding(rank=6, lr=1e-2, epochs=2), seed=5)
    made.encode(STORIES[:2], progress=False)
    return made


def test_a_compressed_store_opens_answers_forgets_and_goes_on(mind, base, tmp_path):
    begun = "2026-01-02T03:04:05+00:00"
    mind.store.replace(dataclasses.replace(mind.store.records[0], created=begun), mind.store.adapter("nora"))
    small = compress(mind.store, tmp_path / "new" / "small")
    assert small.path == tmp_path / "new" / "small" and small.nbytes < 0.6 * mind.store.nbytes
    for mine, theirs in zip(small.records, mind.store.records, strict=True):
        for name in ("id", "label", "text_hash", "seed", "losses", "text", "order", "created"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert torch.equal(mine.key, theirs.key)
    small.verify()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["small"]

    opened = memsci.open(small.path, base)
    assert opened.encoding == mind.encoding and opened.seed == 5
    assert torch.equal(opened.gate(QUERY).weights, mind.gate(QUERY).weights)
    near, exact = (one.logprob([QUERY], ["Omar"])["logprob"][0] for one in (opened, mind))
    assert near == pytest.approx(exact, abs=1.0) and isinstance(opened.answer(QUERY, max_new_tokens=4), str)
    opened.encode(STORIES, progress=False)
    assert opened.ids == ("nora", "omar", "ivy") and opened.store.adapter("ivy").rank == 6
    assert opened.store.adapter("nora").deltas.popitem()[1][0].dtype == torch.float8_e4m3fn
    assert torch.isfinite(torch.tensor(opened.logprob([QUERY], ["Omar"])["logprob"][0]))
    opened.forget("nora")
    assert memsci.open(small.path, base).ids == ("omar", "ivy")
    assert mind.store.refresh().ids == ("nora", "omar")


def test_the_header_says_what_was_done_each_time(mind, tmp_path):
    once = compress(mind.store, tmp_path / "once", rank=4, energy=None, dtype="bfloat16")
    twice = compress(once, tmp_path / "twice", energy=0.9, dtype="float16")
    assert twice.header["compression"] == [
        {"rank": 4, "energy": None, "dtype": "bfloat16"},
        {"rank": None, "energy": 0.9, "dtype": "float16"},
    ]
    assert {k: v for k, v in twice.header.items() if k != "compression"} == mind.store.header


def test_in_float32_without_a_rank_or_an_energy_it_is_a_copy(mind, tmp_path):
    copy = compress(mind.store, tmp_path / "copy", energy=None, dtype="float32")
    for id in mind.ids:
        for path, pair in mind.store.adapter(id).deltas.items():
            assert all(map(torch.equal, copy.adapter(id).deltas[path], pair))


def test_the_program_compresses(mind, tmp_path):
    call = lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    target = tmp_path / "small"
    done = call("compress", mind.store.path, target, "--rank", 5, "--energy", 0.9, "--dtype", "bfloat16")
    assert done.exit_code == 0 and "2 memories compressed into" in done.output and "MB to" in done.output
    assert Store.open(target).header["compression"] == [{"rank": 5, "energy": 0.9, "dtype": "bfloat16"}]
    assert call("compress", mind.store.path, tmp_path / "usual").exit_code == 0
    usual = {"rank": None, "energy": ENERGY, "dtype": FLOAT8}
    assert Store.open(tmp_path / "usual").header["compression"] == [usual]
    again = call("compress", mind.store.path, target)
    assert again.exit_code == 2 and "exists already" in again.output


@pytest.mark.parametrize("how", [{"rank": 0}, {"dtype": "int4"}])
def test_what_fails_leaves_nothing_behind(mind, tmp_path, how):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MemsciError):
        compress(mind.store, tmp_path / "small", **how)
    with pytest.raises(MemsciError, match="exists already"):
        compress(mind.store, mind.store.path)
    assert sorted(tmp_path.iterdir()) == before
    assert Store.open(mind.store.path).ids == mind.ids
