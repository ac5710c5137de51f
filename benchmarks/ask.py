"""Asking 32 queries with 32 gates: in a batch, one by one, and with PEFT. ``python -m benchmarks.ask``

The shipped model, 50 memories of rank 32 with random numbers (time does not depend on them), 32 questions of partition
10, 24 new tokens each, no stop token, so that every side does the same work. The gates are real: the questions' own, over
the keys of the partition's memories.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.common import ROUNDS, compare, keep, peak
from memsci import data, prompts
from memsci.adapters import mixture
from memsci.adapters.lora import Adapter, init_adapter, stack
from memsci.config import Embedding, Encoding
from memsci.gate.embed import embedder
from memsci.gate.softmax import gate, nucleus
from memsci.models.base import Base, load
from memsci.models.generate import converse, generate
from memsci.models.sites import targets

QUERIES, TOKENS, EPSILON = 32, 24, 1e-3
ENCODING = Encoding.embedded()


def memories(base: Base, n: int) -> list[Adapter]:
    """Adapters of the embedded preset, their B drawn too."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(n):
        fresh = init_adapter(base.model, targets(base.model), ENCODING, generator)
        deltas = {p: (A, 1e-3 * torch.randn(B.shape, generator=generator)) for p, (A, B) in fresh.deltas.items()}
        found.append(replace(fresh, deltas=deltas))
    return found


def silent(base: Base) -> Base:
    """The same base without stop tokens: every reply is as long as it may be."""
    base.stop_ids = ()
    return base


class Side(NamedTuple):
    """What is timed, the gates [32, n] that it runs (None: the base alone), and whether all queries run in one batch."""

    run: Callable[[], list[str]]
    gates: torch.Tensor | None
    batch: bool


class Peft:
    """The adapters in a PEFT model of their own, and the ways in which it can use them for queries."""

    def __init__(self, base: Base, adapters: list[Adapter]) -> None:
        model = AutoModelForCausalLM.from_config(base.model.config).to(base.dtype)
        model.load_state_dict(base.model.state_dict())
        # The same scale without rsLoRA: add_weighted_adapter gives its adapter alpha = rank, which rsLoRA would make √rank.
        alpha = adapters[0].scale * ENCODING.rank
        config = LoraConfig(r=ENCODING.rank, lora_alpha=alpha, target_modules=list(adapters[0].deltas))
        self.names = [f"m{i}" for i in range(len(adapters))]
        self.model = get_peft_model(model, config, adapter_name=self.names[0]).eval()
        for name in self.names[1:]:
            self.model.add_adapter(name, config)
        self.layers = {}
        for path in adapters[0].deltas:
            layer = self.layers[path] = self.model.get_submodule(f"base_model.model.{path}")
            for name, adapter in zip(self.names, adapters):
                A, B = adapter.deltas[path]
                layer.lora_A[name].weight.data.copy_(A)
                layer.lora_B[name].weight.data.copy_(B)
        self.base = silent(Base(self.model.base_model.model, base.tokenizer, name="peft"))

    def weighted(self, prompt: list[int], weights: torch.Tensor) -> str:
        """`add_weighted_adapter` with its exact combination, "cat", of the open memories, made for this query."""
        names, given = self._open(weights)
        self.model.add_weighted_adapter(names, given, "mixed", combination_type="cat")
        self.model.set_adapter("mixed")
        said = generate(self.base, [prompt], TOKENS)
        self.model.set_adapter(self.names[0])
        self.model.delete_adapter("mixed")
        return said[0]

    def scaled(self, prompt: list[int], weights: torch.Tensor) -> str:
        """The open memories as active adapters, each with its gate as scale."""
        names, given = self._open(weights)
        self.model.base_model.set_adapter(names)
        for layer in self.layers.values():
            for name, weight in zip(names, given):
                layer.set_scale(name, weight)
        return generate(self.base, [prompt], TOKENS)[0]

    def best(self, prompts: list[list[int]], weights: torch.Tensor) -> list[str]:
        """A batch in which each query has one adapter, that of its best memory, at its trained scale: no mixture."""
        names = [self.names[i] for i in weights.argmax(dim=1).tolist()]
        self.model.base_model.set_adapter(self.names[0])
        for layer in self.layers.values():
            layer.set_scale(self.names[0], 1.0)
        with self.model.base_model._enable_peft_forward_hooks(adapter_names=names):  # as its `generate` does
            return generate(self.base, prompts, TOKENS)

    def _open(self, weights: torch.Tensor) -> tuple[list[str], list[float]]:
        return [self.names[i] for i in weights.nonzero().flatten().tolist()], weights[weights != 0].tolist()


def asking(repeats: int) -> None:
    """The comparison itself, and what the floor of each side is."""
    base = silent(load())
    world = data.builtin("episodic", 10)
    questions = [memory.questions[0].text for memory in world][:QUERIES]
    rows = [base.chat(prompts.qa(text)) for text in questions]
    embed = embedder(base, Embedding.paper())
    full = gate(embed(questions), embed([memory.text for memory in world]))
    dense, sparse = full.weights.float(), nucleus(full, EPSILON).weights.float()
    adapters = memories(base, len(world))
    stacked, peft = stack(adapters), Peft(base, adapters)

    def batch(weights: torch.Tensor | None) -> list[str]:
        if weights is None:
            return generate(base, rows, TOKENS)
        with mixture.mixture(base.model, stacked, weights, TOKENS):
            return generate(base, rows, TOKENS)

    def singly(weights: torch.Tensor | None) -> list[str]:
        said = []
        for k, row in enumerate(rows):
            if weights is None:
                said += generate(base, [row], TOKENS)
            else:
                with mixture.mixture(base.model, stacked, weights[[k]], TOKENS):
                    said += generate(base, [row], TOKENS)
        return said

    each = lambda ask, weights: [ask(row, weights[k]) for k, row in enumerate(rows)]
    single = torch.nn.functional.one_hot(full.weights.argmax(dim=1), len(world)).float()
    # Sides with the same gates say the same, or the comparison would be of nothing.
    assert batch(sparse) == singly(sparse) == each(peft.weighted, sparse) == each(peft.scaled, sparse)
    assert batch(single) == peft.best(rows, single)
    sides = {
        "ours: a batch, sparse gates": Side(lambda: batch(sparse), sparse, True),
        "ours: a batch, dense gates": Side(lambda: batch(dense), dense, True),
        "ours: a batch, the best memory alone": Side(lambda: batch(single), single, True),
        "ours: one by one, sparse gates": Side(lambda: singly(sparse), sparse, False),
        "ours: one by one, dense gates": Side(lambda: singly(dense), dense, False),
        "PEFT: a batch with adapter_names, the best memory alone": Side(lambda: peft.best(rows, single), single, True),
        "PEFT: set_scale on active adapters, sparse gates": Side(lambda: each(peft.scaled, sparse), sparse, False),
        "PEFT: add_weighted_adapter, sparse gates": Side(lambda: each(peft.weighted, sparse), sparse, False),
        "PEFT: add_weighted_adapter, dense gates": Side(lambda: each(peft.weighted, dense), dense, False),
        "base alone: a batch": Side(lambda: batch(None), None, True),
        "base alone: one by one": Side(lambda: singly(None), None, False),
    }
    table = compare({name: side.run for name, side in sides.items()}, "ours: a batch, sparse gates", repeats)

    # The floor: multiplications and additions of the matrix products, and what must be read from memory for each pass.
    tokens = sum(map(len, rows)) + QUERIES * (TOKENS - 1)
    inner = sum(p.numel() for p in base.model.parameters()) - base.model.get_input_embeddings().weight.numel()
    words = base.model.get_input_embeddings().weight.numel()
    per_memory = sum(A.numel() + B.numel() for A, B in adapters[0].deltas.values())
    flop, bytes_ = [], []
    for side in sides.values():
        gates = torch.zeros(QUERIES, 1) if side.gates is None else side.gates
        each_opens, all_open = open_memories(gates), int(gates.ne(0).any(dim=0).sum())
        flop.append((2 * (inner + per_memory * each_opens) * tokens + 2 * words * QUERIES * TOKENS) / 1e9)
        passes, read = (TOKENS, all_open) if side.batch else (TOKENS * QUERIES, each_opens)
        bytes_.append(4 * passes * (inner + words + per_memory * read) / 1e9)
    top = peak(base.dtype)
    table = table.assign(gflop=flop, gigabytes=bytes_)
    table["share of peak"] = table["gflop"] * 1e9 / table["seconds"] / top
    table["tokens per s"] = QUERIES * TOKENS / table["seconds"]
    keep(
        "ask",
        table,
        f"{QUERIES} queries with {QUERIES} gates, {TOKENS} tokens each, {len(world)} memories of rank {ENCODING.rank}",
        model="the shipped model, float32",
        epsilon=EPSILON,
        open_per_query=open_memories(sparse),
        adapters="random numbers: time does not depend on them",
        matmul_peak_gflops=top / 1e9,
        reference="ours: a batch, sparse gates",
    )


def open_memories(gates: torch.Tensor) -> float:
    """How many memories a query opens: a mean."""
    return float(gates.ne(0).sum(dim=1).float().mean())


def rows_or_together(repeats: int) -> None:
    """From how many open memories a row on it is cheaper to run all rows through all: what ROW_COST is read off."""
    base = load()
    ids = torch.randint(8, 8000, (QUERIES, 1))
    many = torch.randint(8, 8000, (QUERIES, 64))
    stacked = stack(memories(base, 50))
    tables = []
    for k in (1, 4, 8, 12, 16, 24, 32):
        weights = torch.zeros(QUERIES, 50)
        for row in range(QUERIES):
            weights[row, torch.randperm(50)[:k]] = 1 / k

        @torch.no_grad()
        def run(cost: float, ids: torch.Tensor, times: int, weights: torch.Tensor = weights) -> None:
            own, mixture.ROW_COST = mixture.ROW_COST, cost
            try:
                with mixture.mixture(base.model, stacked, weights):
                    for _ in range(times):
                        base.model(input_ids=ids, use_cache=False, logits_to_keep=1)
            finally:
                mixture.ROW_COST = own

        for kind, given, times in (("24 passes of a token", ids, 24), ("one pass of 64", many, 1)):
            sides = {
                "row by row": lambda: run(0, given, times),  # noqa: B023
                "together": lambda: run(math.inf, given, times),  # noqa: B023
            }
            found = compare(sides, "together", repeats)
            tables.append(found.assign(work=kind, open=k, chosen="row by row" if mixture.ROW_COST * k < 50 else "together"))
    table = pd.concat(tables, ignore_index=True)
    keep("rows", table[["work", "open", *table.columns[:-3], "chosen"]], f"{QUERIES} rows, k of 50 memories open in each")


def folding(repeats: int) -> None:
    """One question: its gate carried beside the weights, or folded into a copy of them; which the cost model chooses."""
    base = silent(load())
    prompt = base.chat(prompts.qa("Who filmed Olivia at the talent show in Bergen?"))
    tables = []
    for n in (1, 8, 50):
        stacked = stack(memories(base, n))
        weights = torch.full((1, n), 1 / n)
        pairs = {path: (stacked.A[path].flatten(0, 1), stacked.B[path].flatten(0, 1)) for path in stacked.A}
        for tokens in (4, 16, 64, 128):

            def run(passes: float) -> None:
                with mixture.mixture(base.model, stacked, weights, passes):  # noqa: B023
                    generate(base, [prompt], tokens)  # noqa: B023

            found = compare({"carried": lambda: run(0), "folded": lambda: run(math.inf)}, "carried", repeats)  # noqa: B023
            chosen = "folded" if mixture.folding_pays(pairs, tokens) else "carried"
            tables.append(found.assign(open=n, tokens=tokens, chosen=chosen))
    table = pd.concat(tables, ignore_index=True)
    keep("fold", table[["open", "tokens", *table.columns[:-3], "chosen"]], "One query, a reply of so many tokens")


def twice(repeats: int) -> None:
    """Recall first, then answer: the second turn read anew, or after what the first has left."""
    base = load()
    world = data.builtin("episodic", 10)
    questions = [memory.questions[0].text for memory in world][:QUERIES]
    rows = [base.chat(prompts.recall(text)) for text in questions]
    own = lambda k, said: base.chat(prompts.irag(questions[k], said))

    def anew() -> None:
        told = generate(base, rows, 64)
        generate(base, [own(k, said) for k, said in enumerate(told)], TOKENS)

    sides = {"read anew": anew, "reused": lambda: converse(base, rows, own, (64, TOKENS))}
    keep("twice", compare(sides, "read anew", repeats), f"{QUERIES} questions, recalled and answered")


PARTS = {"ask": asking, "rows": rows_or_together, "fold": folding, "twice": twice}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="only these tables")
    parser.add_argument("--repeats", type=int, default=ROUNDS, help="rounds that count")
    return parser


if __name__ == "__main__":
    given = parser().parse_args()
    for part in given.part:
        PARTS[part](given.repeats)
