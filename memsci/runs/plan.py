"""What a run will take, before anything is started: model calls, hours, memory, disk. No weights are read.

Shapes are those of the real architecture, built without memory from its configuration, so adapters and parameters are
counted, not guessed. Calls are counted from the grid and the memories. Tokens are estimated from words, and hours from
arithmetic and bytes moved; they are right to a factor of two or so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import cached_file

from memsci.adapters import lora
from memsci.adapters.encode import PASS_TOKENS, TRAINING_BYTES, side_by_side
from memsci.adapters.mixture import ROW_BYTES
from memsci.adapters.study import LESSONS
from memsci.config import Encoding, GateRule
from memsci.errors import MemsciError, meant
from memsci.experiments import Cell, Experiment, Task, parse
from memsci.experiments.cells import learner_settings, rounds
from memsci.experiments.rehearsal import check
from memsci.files import as_path, read_json
from memsci.learners.parts import Parts
from memsci.lifetime import Sleep
from memsci.measures import methods
from memsci.measures.methods import Method
from memsci.memory import Partition
from memsci.models import sites
from memsci.models.base import OWN, SHIPPED, assets
from memsci.models.conversation import BATCH
from memsci.models.gguf import SMOLLM2, SMOLLM2_HUB
from memsci.phenomena.experiment import EXPERIMENTS
from memsci.words import words

TOKENS_PER_WORD = 1.4  # of English with punctuation
PROMPT_TOKENS = 45  # of a question, its instruction and the chat template
ENCODING_PROMPT_TOKENS = 18
ANSWER_TOKENS = 8
QUIZ_TOKENS = 110
GATE_TOKENS = 20
READINGS = {"by layer": 3, "by embedding": 11, "by count": 11}  # measured: texts are longer, and all is compared
RESPONSE_BYTES, QUIZ_BYTES = (800, 100)  # of a response or a quiz item with its scores, packed, in its cell and in the run

# Published shapes, for planning without a download. Each gives the published number of parameters (tests/test_plan.py).
_LLAMA = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}
_QWEN = {"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": True}
_SMOL = {"model_type": "llama", "vocab_size": 49152, "tie_word_embeddings": True}
KNOWN: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-3.1-8B-Instruct": {
        **_LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False,
    },
    "meta-llama/Llama-3.2-1B-Instruct": {
        **_LLAMA, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.2-3B-Instruct": {
        **_LLAMA, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "head_dim": 128, "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-0.5B-Instruct": {
        **_QWEN, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "Qwen/Qwen2.5-7B-Instruct": {
        **_QWEN, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    },
    SMOLLM2_HUB: {
        **_SMOL, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": {
        **_SMOL, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
}  # fmt: skip
KNOWN[SMOLLM2] = KNOWN[SMOLLM2_HUB]


@dataclass(frozen=True)
class Machine:
    """What a process computes with, as such models reach it: operations and bytes per second, seconds that the call of a
    layer takes whatever its size (`overhead`), "cpu" or "cuda", and bytes of a GPU."""

    name: str
    flops: float
    bandwidth: float
    overhead: float
    kind: str
    memory: float = math.inf


# Such that the processor time of the shipped runs (figures/runs) is that planned, within a factor of 1.2.
PROCESSOR = Machine("one processor core", 1.5e11, 2.5e10, 8e-5, "cpu")
ACCELERATOR = Machine("one GPU of the A100 class", 1e14, 1.2e12, 6e-5, "cuda", 8e10)


@dataclass
class Calls:
    """What a cell asks of the model: optimiser steps, counted per memory; texts trained on, a forward and a backward pass
    each; texts whose gradients are taken for the Fisher information; recalls and answers generated, answers weighed, quiz
    items read, texts embedded."""

    steps: int = 0
    examples: int = 0
    fisher: int = 0
    recalls: int = 0
    answers: int = 0
    scored: int = 0
    quiz: int = 0
    embedded: int = 0


@dataclass(frozen=True)
class Shape:
    """An architecture: the name of the base, and the real model, without weights if on torch's "meta" device."""

    name: str
    model: torch.nn.Module = field(repr=False)

    @cached_property
    def parameters(self) -> int:
        """Numbers in all weights, tied ones once."""
        return sum(tensor.numel() for tensor in self.model.parameters())

    @property
    def config(self) -> Any:
        return self.model.config.get_text_config()

    def adapter(self, encoding: Encoding) -> pd.DataFrame:
        """Shapes of one memory's adapter: columns map (name within a layer), A, B, layers, numbers (all layers)."""
        rows: dict[str, list] = {}
        for path in sites.targets(self.model, encoding.where, encoding.layers):
            module = self.model.get_submodule(path)
            width_out, width_in = module.weight.shape[::-1] if lora.is_transposed(module) else module.weight.shape
            name = path.split(".", path.split(".").index(next(p for p in path.split(".") if p.isdigit())) + 1)[-1]
            row = rows.setdefault(name, [f"{encoding.rank} × {width_in}", f"{width_out} × {encoding.rank}", 0, 0])
            row[2] += 1
            row[3] += encoding.rank * (width_in + width_out)
        return pd.DataFrame([(name, *row) for name, row in rows.items()], columns=["map", "A", "B", "layers", "numbers"])


@dataclass(frozen=True)
class Planned:
    """A cell before it is done: its method, what it asks of the model, and sizes.

    `encoding` is that by which its method learns, `adapter` the shapes of one memory's adapter (`Shape.adapter`); None if
    it has none. `memories` are those of one partition, `text` the mean tokens of a memory.
    """

    method: Method
    calls: Calls
    encoding: Encoding | None
    adapter: pd.DataFrame | None
    memories: int
    text: float

    @cached_property
    def numbers(self) -> int:
        """Numbers of one memory's adapter."""
        return 0 if self.adapter is None else int(self.adapter["numbers"].sum())


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    `calls` has a row per method: cells, what `Calls` counts, hours on one processor core and on one GPU; `adapter` the
    shapes of one adapter (`Shape.adapter`; None if no MEGa learns); `memory` a row per method: the most that a process
    holds, in bytes, on the processor (float32) and on a GPU (bfloat16); `facts` name and value of all else, ready to print.
    """

    calls: pd.DataFrame
    adapter: pd.DataFrame | None
    memory: pd.DataFrame
    facts: dict[str, str]


def shape(base: str | None = None) -> Shape:
    """The architecture of a base: shipped, in a folder, in the local cache of the hub, or one of `KNOWN`."""
    base = SHIPPED if base is None else base
    if base in OWN:
        return _shape(base, read_json(assets(base) / "config.json"))
    if (path := as_path(base) / "config.json").is_file():
        return _shape(base, read_json(path))
    if base in KNOWN:
        return _shape(base, KNOWN[base])
    try:
        found = cached_file(base, "config.json", local_files_only=True)
    except (OSError, ValueError):
        found = None
    if not found:
        raise MemsciError(
            f"The shapes of {base!r} are not known here, and a plan downloads nothing. Give a folder with its config.json, "
            f"or one of: {', '.join((*OWN, *KNOWN))}.{meant(base, (*OWN, *KNOWN))}"
        )
    return _shape(base, read_json(Path(found)))


def _shape(name: str, config: dict[str, Any]) -> Shape:
    try:
        with torch.device("meta"):
            return Shape(name, AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)))
    except (KeyError, TypeError, ValueError) as error:
        raise MemsciError(f"The configuration of {name!r} is not that of a causal language model ({error}).") from None


def plan(experiment: Experiment, base: str | None = None, seed: int = 0, quiz_items: int | None = None) -> Plan:
    """What a run of an experiment (`memsci.runs.choose`) will take on a base, by default the one that the experiment names;
    its memories are read, its model is not.

    `quiz_items` is the number of items of general knowledge at each stop; by default those of four subjects.
    """
    check(experiment)
    about = shape(base or experiment.base)
    sizes = about.config.num_hidden_layers, about.parameters
    tasks = experiment.tasks(lambda cell, world: learner_settings(cell, world, about.name, *sizes), seed)
    cells = planned(tasks, about, quiz_items)
    both = (PROCESSOR, ACCELERATOR)
    table = pd.DataFrame(
        {"method": one.method.name, "cells": 1, **vars(one.calls)}
        | {name: seconds(one, about, machine) / 3600 for name, machine in zip(("core hours", "GPU hours"), both)}
        for one in cells
    )
    table = table.groupby("method", sort=False, as_index=False).sum()
    held = pd.DataFrame([(one.method.name, *(peak(one, about, machine) for machine in both)) for one in cells])
    held = held.set_axis(["method", "RAM", "VRAM"], axis=1).groupby("method", sort=False, as_index=False).max()
    own = [one for one in cells if one.method.trains == "memories"]
    widest = max(own, key=lambda one: one.numbers, default=None)
    largest = max((one.memories * one.numbers * _width(one.encoding.dtype) for one in own), default=0)
    disk = RESPONSE_BYTES * int(table["scored"].sum()) + QUIZ_BYTES * int(table["quiz"].sum())
    sizes = {(task.cell.dataset, n): len(world) for task in tasks for n, world in zip(task.cell.partitions, task.partitions)}
    p = about.parameters
    facts = {
        "base": f"{about.name}, {p / 1e6:,.1f} million parameters: {size(4 * p)} in float32, {size(2 * p)} in bfloat16",
        "cells": f"{len(cells)}: {_several(len(table), 'method')}, {_several(len(sizes), 'partition')} of "
        f"{sum(sizes.values()) / len(sizes):.0f} memories",
        "time": f"{time(table['core hours'].sum())} on one core, {time(table['GPU hours'].sum())} on one GPU of the "
        "A100 class",
        "RAM": f"up to {size(held['RAM'].max())} for each process without a GPU",
        "VRAM": f"up to {size(held['VRAM'].max())} for each process on a GPU",
    }
    if disk:
        facts["disk"] = f"about {size(disk)} of tables; while MEGa learns also {size(largest)} of adapters for each process"
    if widest is not None:
        facts["adapter"] = f"{widest.numbers:,} numbers for each memory, {size(4 * widest.numbers)} in float32"
    return Plan(table, widest and widest.adapter, held, facts)


def planned(tasks: Sequence[Task], about: Shape, quiz_items: int | None = None) -> list[Planned]:
    """What each cell of a grid (`memsci.experiments.Experiment.tasks`) will do on this architecture."""
    memories = {id(world): world for task in tasks for world in task.partitions}.values()
    counts = [len(words(memory.text)) for world in memories for memory in world]
    text = TOKENS_PER_WORD * sum(counts) / len(counts)
    made = []
    for task in tasks:
        cell, method = task.cell, method_of(task.cell)
        learns = method.trains and "encoding" in task.learner
        encoding = Encoding.from_dict(task.learner["encoding"]) if learns else None
        items = (4 * cell.quiz if quiz_items is None else quiz_items) if cell.quiz else 0
        adapter = about.adapter(encoding) if method.trains in ("memories", "adapter") else None
        calls = count(cell, task.partitions, encoding, items)
        made.append(Planned(method, calls, encoding, adapter, len(task.partitions[0]), text))
    return made


def method_of(cell: Cell) -> Method:
    """What is known of a cell's method; a comparison of gates, or of keys alone, is one that does nothing."""
    by_keys = cell.measure == "phenomenon" and not EXPERIMENTS[cell.dataset].encodes
    return Method(name=cell.method) if by_keys or cell.measure == "gates" else methods.get(cell.method)


def count(cell: Cell, partitions: Sequence[Partition], encoding: Encoding | None, quiz_items: int) -> Calls:
    """The calls of one cell; see `memsci.experiments.cells` for what it does."""
    n, questions = len(partitions[0]), [len(memory.questions[: cell.questions]) for memory in partitions[0]]
    if cell.measure == "gates":
        texts = sum(len(world) + sum(len(memory.questions) for memory in world) for world in partitions)
        return Calls(embedded=texts)
    if cell.measure == "phenomenon":
        return _of_a_list(cell, partitions[0], encoding)
    method = method_of(cell)
    stops = cell.stops_for(n) if cell.measure == "continual" else [n]
    embeds = "embedding" in method.reads
    calls = Calls(embedded=n if embeds else 0)
    if encoding is not None:
        keep = parse(cell.setting).get("paraphrases")
        lessons = encoding.study != "text"  # several of every wording, each with a prompt of its own
        wordings = [encoding.text_copies + len(memory.paraphrases[:keep]) for memory in partitions[0]]
        sizes = [k * len(LESSONS) for k in wordings] if lessons else wordings
        for stop in stops if method.jointly else [n]:
            learnt = [sum(sizes[:stop])] if method.jointly else sizes[:stop]
            calls.steps += encoding.epochs * sum(math.ceil(k / encoding.batch_size) for k in learnt)
            # Where an epoch is one mini-batch, copies of the text are read once.
            copies = 0 if lessons else encoding.text_copies - 1
            calls.examples += encoding.epochs * sum(k - copies if k <= encoding.batch_size else k for k in learnt)
        if not method.jointly:  # else it has no epochs on the text alone
            calls.steps += encoding.text_epochs * n
            calls.examples += encoding.text_epochs * n
        if method.penalty == "EWC":
            calls.fisher = sum(sizes) if lessons else sum(k - encoding.text_copies + 1 for k in sizes)

    def asked(questions: int, parts: int, ways: Sequence[str] = cell.ways, recalls: int = 1) -> None:
        for put, all_ways in ((questions, methods.WAYS), (parts, methods.IN_PARTS)):
            count = sum(way in all_ways and (way.startswith("direct") or method.recalls) for way in ways)
            calls.recalls += put * recalls if count and method.recalls else 0
            calls.answers += put * count
            calls.scored += put * count
            calls.embedded += put * (2 * count + recalls) if count and embeds else 0  # each turn is gated anew

    if cell.measure == "continual":
        twice = 2 if method.gated else 1  # also under the true gate
        for stop in stops:
            several = twice * sum(questions) if stop == n else questions[0] + sum(min(q, 1) for q in questions[1:stop])
            asked(several, several)
            calls.quiz += quiz_items
    else:
        single = [question.text for memory in partitions[0] for question in memory.questions[: cell.questions]]
        texts = {"single": single, "compositional": [question.text for question in partitions[0].compositional]}
        for one in rounds(cell, GateRule()):
            k = one.rule.k if one.rule is not None else parse(cell.setting).get("k", 1)
            recalls = math.ceil(k) if method.gated else 1  # a share opens one at least
            asked(len(texts[one.kind]), len(Parts(texts[one.kind]).questions), one.ways, recalls)
    return calls


def _of_a_list(cell: Cell, world: Partition, encoding: Encoding | None) -> Calls:
    """The calls of one list of a phenomenon, as `memsci.phenomena.experiment.Experiment` counts its studies and probes."""
    known, method, memories = EXPERIMENTS[cell.dataset], methods.get(cell.method), len(world)
    paraphrases = max((len(memory.paraphrases) for memory in world), default=0)
    if not known.encodes:
        return Calls(embedded=memories + known.probes)
    count = memories if known.each else 1
    probes = count * known.probes * (3 if method.gated else 1)
    calls = Calls(answers=probes, scored=3 * probes, embedded=probes if "embedding" in method.reads else 0)
    calls.recalls = probes if method.recalls else 0
    if encoding is not None:
        learnt = memories if method.trains == "memories" else count * known.studies
        texts, read = encoding.text_copies + paraphrases, 1 + paraphrases
        if encoding.study != "text":
            texts = read = texts * len(LESSONS)
        calls.steps = learnt * (encoding.epochs * math.ceil(texts / encoding.batch_size) + encoding.text_epochs)
        calls.examples = learnt * (encoding.epochs * read + encoding.text_epochs)
        if method.trains == "memories" and parse(cell.setting).get("sleep") in ("recalls", "texts"):
            calls.examples += known.again * memories
            calls.steps += math.ceil(known.again * memories / Sleep().batch_size)
    return calls


def seconds(work: Planned, about: Shape, machine: Machine) -> float:
    """Estimated seconds of one cell, without scoring.

    Operations are 2 per number and token forwards, 4 more backwards through all weights, 2 more through those that
    only hand gradients on; bytes are the weights read once for each step, and moments moved by the optimiser.
    """
    p, deep = about.parameters, about.config.num_hidden_layers
    calls, numbers, text, full = work.calls, work.numbers, work.text, work.method.trains == "weights"
    bytes_each = 4 if machine.kind == "cpu" else 2
    mixed = work.memories * numbers if work.method.trains == "memories" else 0  # adapters that each token passes
    lessons = work.encoding is not None and work.encoding.study == "parts"
    asked = PROMPT_TOKENS if lessons else ENCODING_PROMPT_TOKENS * calls.steps / max(1, calls.examples)
    trained = calls.examples * (text + asked)
    operations = trained * (6 * p if full else 4 * p + 6 * numbers) + 6 * p * calls.fisher * text
    moved = calls.steps * (7 * 4 * p if full else 7 * 4 * numbers + bytes_each * p)
    passes = 3 * calls.steps
    read = (calls.recalls + calls.answers + calls.scored) * (PROMPT_TOKENS + text / 2) + calls.quiz * QUIZ_TOKENS
    said = calls.recalls * text + calls.answers * ANSWER_TOKENS
    operations += 2 * (p + mixed) * (read + said) + 2 * p * calls.embedded * GATE_TOKENS * READINGS.get(work.method.name, 1)
    turns = calls.recalls / BATCH * text * 1.3 + calls.answers / BATCH * ANSWER_TOKENS * 2 + calls.scored / BATCH
    turns += calls.quiz / BATCH + calls.embedded / 16
    moved += turns * bytes_each * (p + mixed)
    return operations / machine.flops + moved / machine.bandwidth + (passes + turns) * deep * machine.overhead


def peak(work: Planned, about: Shape, machine: Machine) -> int:
    """The most bytes that a process holds at once for a cell: weights, what training adds, activations.

    Whole-model tuning works on a float32 copy beside the base: weights, gradients and AdamW's two moments; the anchor of
    a penalty, and the Fisher information, as much again each. MEGa trains some adapters at once and speaks with all.
    """
    p, config = about.parameters, about.config
    encoding, numbers, n, text = work.encoding, work.numbers, work.memories, work.text
    width = 4 if machine.kind == "cpu" else 2
    held = p * width
    tokens = BATCH * (PROMPT_TOKENS + text)
    if encoding is not None:
        examples = min(encoding.batch_size, encoding.text_copies + 9)
        tokens = ENCODING_PROMPT_TOKENS + examples * text
    speaking = training = 0.0
    if work.method.trains == "memories":
        parallel = max(1, min(n, int(PASS_TOKENS[machine.kind] // tokens)))
        if machine.memory < math.inf:
            parallel = min(parallel, side_by_side(numbers, machine.memory - held))
        tokens *= parallel
        training, speaking = TRAINING_BYTES * numbers * parallel, n * numbers * width
        speaking += n * numbers * _width(encoding.dtype)  # read from the store, then stacked
        speaking += min(ROW_BYTES, BATCH * numbers * width)  # a true gate opens one for each row
    elif encoding is not None:
        held += 4 * p  # the copy
        learnt = p if work.method.trains == "weights" else numbers
        kept = {"L2": 1, "EWC": 2}.get(work.method.penalty, 0)
        training = 4 * learnt * (3 + kept + (0 if learnt == p else 1))
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    activations = tokens * config.num_hidden_layers * (12 * config.hidden_size + 4 * inner) * (4 if encoding else width)
    logits = 3 * tokens * config.vocab_size * 4
    return int(held + max(training + activations + logits, speaking))


def size(count: float) -> str:
    """A number of bytes to read."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def time(hours: float) -> str:
    """A number of hours to read: in minutes as long as these are few."""
    if hours < 2:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.3g} h" if hours < 1000 else f"{hours:,.0f} h ({hours / 8766:.2g} years)"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _width(dtype: str) -> int:
    return getattr(torch, dtype).itemsize
