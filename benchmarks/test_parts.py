"""The small parts, each by itself: ``pytest benchmarks --benchmark-only``. Nothing is asserted of time."""

from __future__ import annotations

import pytest
import torch

from benchmarks.ask import memories
from memsci import data
from memsci.adapters.lora import stack
from memsci.adapters.mixture import mixture
from memsci.gate.softmax import gate, nucleus
from memsci.memory import text_hash
from memsci.models.base import load
from memsci.models.generate import generate
from memsci.store.record import Remembered
from memsci.store.store import Store


@pytest.fixture(scope="module")
def base():
    return load()


@pytest.fixture(scope="module")
def fifty(base):
    return memories(base, 50)


@pytest.mark.parametrize("n", [50, 1_000, 100_000])
def test_dense_gate(benchmark, n):
    cues, keys = torch.randn(1, 256), torch.randn(n, 256)
    found = benchmark(gate, cues, keys)
    assert found.weights.shape == (1, n)


def test_nucleus(benchmark):
    full = gate(torch.randn(32, 256), torch.randn(50, 256))
    assert benchmark(nucleus, full, 1e-3).weights.shape == (32, 50)


def test_stack(benchmark, fifty):
    assert len(benchmark(stack, fifty)) == 50


@pytest.mark.parametrize("open_", [0, 1, 50])
def test_one_token(benchmark, base, fifty, open_):
    """A pass of one token in each of 32 rows, so many memories open in each."""
    stacked, ids = stack(fifty), torch.randint(8, 8000, (32, 1))
    weights = torch.zeros(32, 50)
    for row in range(32):
        weights[row, torch.arange(row, row + open_) % 50] = 0.1 + row / 32

    @torch.no_grad()
    def run():
        return base.model(input_ids=ids, use_cache=False).logits

    with mixture(base.model, stacked, weights):
        assert benchmark(run).shape[0] == 32


def test_one_answer(benchmark, base):
    prompt = base.chat([{"role": "user", "content": "Who filmed the talent show?"}])
    assert isinstance(benchmark(generate, base, [prompt], 8)[0], str)


@pytest.fixture
def store(base, fifty, tmp_path):
    store = Store.create(tmp_path / "store", {"base": {"name": base.name, "fingerprint": base.fingerprint}})
    for k, (memory, adapter) in enumerate(zip(data.builtin("episodic", 10), fifty)):
        store.add(Remembered(memory.id, memory.label, torch.randn(256), text_hash(str(k))), adapter)
    return store


def test_open_a_store(benchmark, store):
    assert len(benchmark(Store.open, store.path)) == 50


def test_nearest(benchmark, store):
    assert benchmark(store.nearest, torch.randn(1, 256), 8)[0].shape == (1, 8)


def test_read_an_adapter(benchmark, store):
    assert benchmark(store.adapter, store.ids[0]).rank == 32
