"""Stores of 50 to 100,000 memories: how often the gate is right, and what opening, asking and holding them costs.

    python -m benchmarks.scale [FOLDER] [SIZE ...]

The memories of every store begin with the 50 of ``memsci.data.builtin("episodic", 0)``, of which 150 questions are asked.
Keys are real, those of the paper's embedding on the shipped base; adapters are random ones of rank 1, since nothing here
depends on what is in them. What was embedded and stored stays in FOLDER, and the next run goes on with it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.ask import silent
from benchmarks.common import compare, keep, seconds
from memsci import data
from memsci.adapters.lora import Adapter, init_adapter
from memsci.config import Embedding, Encoding, GateRule
from memsci.gate.embed import embedder
from memsci.learners.mega import MEGa
from memsci.memory import text_hash
from memsci.models.base import Base, load
from memsci.models.sites import targets
from memsci.store.store import Remembered, Store
from memsci.world import grammar, split, stories

SIZES = (50, 500, 5_000, 50_000, 100_000)
PART = 5_000  # texts that are embedded between two writings of a file
ASKED = 3  # questions of each memory, as in `memsci.evaluate`
NEAREST = 8
REPEATS = 30
TOKENS = 24


def told() -> Iterator[tuple[str, str, str]]:
    """Id, label and text of ever more memories: the built-in partitions, then stories of other people and other events."""
    seen = set()
    for setting in grammar.SETTINGS:
        for partition in range(split.PARTITIONS):
            for memory in data.builtin(setting, partition):
                seen.add(memory.text)
                yield memory.id, memory.label, memory.text
    rng, asked_about = random.Random("scale"), split.characters()[0]
    while True:
        setting = rng.choice(grammar.SETTINGS)
        person = stories.draw_person(rng) if setting == "episodic" else None
        event = stories.draw_event(rng.choice(grammar.kinds(setting)), rng, person)
        text = stories.tell(event, rng)
        if text not in seen and asked_about.name not in text:
            seen.add(text)
            yield f"other-{len(seen):06d}", event.kind.label, text


def embedded(base: Base, folder: Path, count: int) -> np.ndarray:
    """Keys of the first memories [count, d], from files where they were made before."""
    embed, texts, parts = embedder(base, Embedding.paper()), (text for _, _, text in told()), []
    for start in range(0, count, PART):
        part, file = list(islice(texts, PART)), folder / f"keys-{start:06d}.npy"
        if not file.exists():
            unfinished = file.with_suffix(".part.npy")
            np.save(unfinished, np.concatenate([embed(part[i : i + 250]).numpy() for i in range(0, PART, 250)]))
            os.replace(unfinished, file)
        parts.append(np.load(file))
    return np.concatenate(parts)[:count]


def small(base: Base, paths: list[str], seed: int) -> Adapter:
    """A random adapter of rank 1 in bfloat16 on the linear maps at these paths."""
    encoding = replace(Encoding.embedded(), rank=1, alpha=None)
    generator = torch.Generator().manual_seed(seed)
    adapter = init_adapter(base.model, paths, encoding, generator)
    halves = {
        path: (A.bfloat16(), 0.01 * torch.randn(B.shape, generator=generator).bfloat16())
        for path, (A, B) in adapter.deltas.items()
    }
    return replace(adapter, deltas=halves)


def grow(store: Store, base: Base, keys: np.ndarray) -> None:
    """Add memories until there are as many as keys."""
    held, paths = len(store), targets(base.model)
    store.add_all(
        (
            (Remembered(id, label, torch.from_numpy(keys[i]), text_hash(text)), small(base, paths, i))
            for i, (id, label, text) in enumerate(islice(told(), held, len(keys)), held)
        ),
        durable=False,
    )


def measured(path: Path) -> dict[str, float]:
    """All figures of one store; for a process of its own, whose memory is then that of this store."""
    base = load()
    embed = embedder(base, Embedding.paper())
    partition = data.builtin("episodic", 0)
    questions = [(i, question.text) for i, memory in enumerate(partition) for question in memory.questions[:ASKED]]
    cues = embed([text for _, text in questions])
    before = memory_use()
    opened: list[Store] = []
    taken = seconds(lambda: opened.append(Store.open(path)))
    (store,) = opened
    _, best = store.nearest(cues, 1)
    right = (best[:, 0] == torch.tensor([place for place, _ in questions])).double().mean()
    asked = [(text, cues[i : i + 1]) for i, (_, text) in enumerate(questions[:: len(questions) // REPEATS])]
    found = [[id for id, _ in store.named(store.nearest(cue, NEAREST)[1][0].tolist())] for _, cue in asked]
    uncached = Store(path, cache_bytes=0)
    figures = {
        "memories": len(store),
        "correct gate %": 100 * right.item(),
        "open s": taken,
        "gate ms": milliseconds(lambda one: store.nearest(embed(one[:1]), NEAREST), asked),
        "search ms": milliseconds(lambda one: store.nearest(one[1], NEAREST), asked),
        "adapters read ms": milliseconds(uncached.adapters, found),
    }
    for ids in found:
        store.adapters(ids)
    figures["adapters kept ms"] = milliseconds(store.adapters, found)
    own, mapped = (after - earlier for after, earlier in zip(memory_use(), before))
    sides = {str(n): partial(answer, mind) for n, mind in minds(base, path).items()}
    last = compare(sides, str(SIZES[0]), REPEATS // 3).iloc[-1]
    figures |= {"answer ms": 1e3 * last["seconds"], "to 50": last["ratio"], "low": last["low"], "high": last["high"]}
    size = sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, names in os.walk(path) for name in names)
    return {**figures, "memory MB": own, "mapped keys MB": mapped, "disk MB": size / 1e6}


def minds(base: Base, path: Path) -> dict[int, MEGa]:
    """The mind of a store, after that of the smallest beside it, with a gate that opens the nearest memories."""
    smallest = path.with_name(f"store-{SIZES[0]}")
    opened = (MEGa(silent(base), store, gate=GateRule(top_k=NEAREST)) for store in (smallest, path))
    return {len(mind): mind for mind in opened}


def answer(mind: MEGa) -> list[str]:
    """One question after the other: gate, adapters, and a reply of so many tokens."""
    asked = [memory.questions[0].text for memory in data.builtin("episodic", 0)][::10]
    return [mind.answer(question, max_new_tokens=TOKENS) for question in asked]


def milliseconds(run: Callable[[Any], Any], inputs: Sequence[Any]) -> float:
    """Median time of a call with each of the inputs."""
    return 1e3 * median(seconds(partial(run, one)) for one in inputs)


def memory_use() -> tuple[float, float]:
    """Memory of this process in MB: its own, and that of mapped files, which the system takes back when it needs it."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    except OSError:  # not on Linux
        return float("nan"), float("nan")
    own, mapped = (int(lines[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "RssFile"))
    return own, mapped


def main(folder: Path, sizes: list[int]) -> None:
    """Build what is not there yet, measure each size, and write the table."""
    folder.mkdir(parents=True, exist_ok=True)
    base = load()
    keys = embedded(base, folder, max(sizes))
    rows = []
    for size in sorted({SIZES[0], *sizes}):  # the smallest is what the others are compared with
        path = folder / f"store-{size}"
        store = Store(path) if path.exists() else Store.create(path, header(base))
        begun, held = time.perf_counter(), len(store)
        grow(store, base, keys[:size])
        if size > held:
            print(f"{size - held} memories added in {time.perf_counter() - begun:.0f} s", flush=True)
        command = [sys.executable, "-m", "benchmarks.scale", "--measure", str(path)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    keep(
        "scale",
        pd.DataFrame(rows),
        "Stores of many memories",
        questions=50 * ASKED,
        nearest=NEAREST,
        repeats=REPEATS,
        embedding=Embedding.paper().to_dict(),
        adapters="random, rank 1, bfloat16, on every up- and down-projection",
        open="first opening in a process of its own; files in the system's cache",
        gate=f"the {NEAREST} memories nearest to one question, embedding included; search: without it",
        adapters_read=f"those of {NEAREST} memories, checked and read from files in the system's cache; kept: in memory",
        answer=f"five questions, one by one: gate (top_k {NEAREST}), adapters, {TOKENS} tokens; to 50: times that of 50",
        memory="growth of the process by opening, 150 questions and their adapters; mapped keys can be taken back",
    )


def header(base: Base) -> dict:
    return {"base": {"name": base.name, "fingerprint": base.fingerprint}, "embedding": Embedding.paper().to_dict()}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where to keep keys and stores; default: nowhere")
    parser.add_argument("sizes", nargs="*", type=int, help=f"numbers of memories; default: {SIZES}")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    given = parser().parse_args()
    if given.measure:
        print(json.dumps(measured(given.measure)))
    elif given.folder:
        main(given.folder, given.sizes or list(SIZES))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary), list(SIZES))
