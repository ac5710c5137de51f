"""How small a memory may be: bytes, recall and answers of the same memories compressed in many ways.

    python -m benchmarks.size                                  # the curve, on the partition for tuning
    python -m benchmarks.size --partition 0 --variants "as encoded" "energy 0.9, float8" \\
        --name size_confirmed

A folder (--work) keeps the encoded memories and every row that is measured, so that an interrupted call goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

import memsci
from benchmarks.common import keep
from memsci import data, evaluate, prompts
from memsci.adapters.lora import Adapter
from memsci.adapters.truncate import cast, truncate
from memsci.config import FLOAT8
from memsci.memory import Partition
from memsci.models import conversation as speak
from memsci.store.store import Store

Change = Callable[[Sequence[Adapter]], tuple[list[Adapter], float]]  # the adapters, and bytes they share, per memory


def each(rank: int | None = None, energy: float | None = None, dtype: str = "float32") -> Change:
    """Every memory by itself, as `memsci.store.compress` does it."""

    def change(adapters: Sequence[Adapter]) -> tuple[list[Adapter], float]:
        whole = rank is None and energy is None
        cut = [one if whole else truncate(one, rank, energy) for one in adapters]
        return [cast(one, dtype) for one in cut], 0.0

    return change


def shared(k: int, rank: int) -> Change:
    """Common bases U [out, k] and V [in, k] for each linear map, and of each memory a core Uᵀ Δ V of a lower rank.

    U and V hold as much energy of all memories as k vectors can (HOSVD). The adapters given back compute the same as the
    cores, but are larger; what the cores would take is counted: rank · 2k numbers (k² if that is less) and an equal share
    of the bases, all in float8.
    """

    def change(adapters: Sequence[Adapter]) -> tuple[list[Adapter], float]:
        cut = [truncate(one, energy=1.0) for one in adapters]
        deltas: list[dict[str, tuple[Tensor, Tensor]]] = [{} for _ in cut]
        counted = 0.0
        for path in cut[0].deltas:
            V = _leading([one.deltas[path][0].T * one.scale for one in cut], k)
            U = _leading([one.deltas[path][1] * one.scale for one in cut], k)
            for one, projected in zip(cut, deltas, strict=True):
                A, B = one.deltas[path]
                projected[path] = (A @ V @ V.T, U @ (U.T @ B))
            numbers = min(2 * k * rank, k * k) + k * (len(U) + len(V)) / len(cut)
            held = rank * (len(U) + len(V))
            counted += numbers - held
        made = [replace(one, deltas=projected) for one, projected in zip(cut, deltas, strict=True)]
        return [cast(truncate(one, rank), FLOAT8) for one in made], counted

    return change


def sparse(k: int, kept: int) -> Change:
    """The bases of `shared` as one dictionary of k² directions u vᵀ for each linear map, and of each memory a sparse code.

    The code is the `kept` largest numbers of its cores Uᵀ Δ V on all linear maps together. Counted: for a number a byte
    (float8) and two for its place, and an equal share of the bases.
    """

    def change(adapters: Sequence[Adapter]) -> tuple[list[Adapter], float]:
        cut = [truncate(one, energy=1.0) for one in adapters]
        cores: list[dict[str, Tensor]] = [{} for _ in cut]
        bases, counted = {}, 3.0 * kept
        for path in cut[0].deltas:
            V = _leading([one.deltas[path][0].T * one.scale for one in cut], k)
            U = _leading([one.deltas[path][1] * one.scale for one in cut], k)
            bases[path] = U, V
            counted += V.shape[1] * (len(U) + len(V)) / len(cut)
            for one, core in zip(cut, cores, strict=True):
                A, B = one.deltas[path]
                core[path] = (U.T @ B) @ (A @ V)
        made = []
        for one, core in zip(cut, cores, strict=True):
            sizes = torch.cat([part.flatten().abs() for part in core.values()])
            least = sizes.topk(min(kept, len(sizes))).values[-1]
            coded = {path: part * (part.abs() >= least) for path, part in core.items()}
            deltas = {path: (V.T.contiguous(), U @ coded[path]) for path, (U, V) in bases.items()}
            rank = max(len(A) for A, _ in deltas.values())
            alpha = one.scale * (rank**0.5 if one.rslora else rank)
            made.append(replace(one, deltas=deltas, rank=rank, alpha=alpha))
        return made, counted - sum(one.nbytes for one in made) / len(made)

    return change


def _leading(halves: Sequence[Tensor], k: int) -> Tensor:
    """The k directions with the most energy: columns hold √σ of each singular vector, so they are weighted by another."""
    weighted = torch.cat([half * half.norm(dim=0) for half in halves], dim=1).double()
    return torch.linalg.eigh(weighted @ weighted.T).eigenvectors[:, -k:].float()


VARIANTS: dict[str, Change] = {
    "as encoded": each(),
    "bfloat16": each(dtype="bfloat16"),
    "float8": each(dtype=FLOAT8),
    "rank 8, bfloat16": each(rank=8, dtype="bfloat16"),
    **{f"rank {rank}, float8": each(rank=rank, dtype=FLOAT8) for rank in (16, 12, 8, 4)},
    **{f"energy {energy}, float8": each(energy=energy, dtype=FLOAT8) for energy in (0.95, 0.9, 0.8, 0.7)},
    **{f"common basis {k}, rank {rank}, float8": shared(k, rank) for k, rank in ((128, 8), (64, 16))},
    **{f"dictionary {k}, {kept} numbers": sparse(k, kept) for k, kept in ((256, 12_000), (128, 12_000), (128, 6_000))},
}


def measure(source: Store, change: Change, world: Partition, base: memsci.models.Base, per_memory: int) -> dict:
    """One row of the table: what the memories take on disk, and what they still know."""
    with tempfile.TemporaryDirectory() as folder:
        made = Store.create(Path(folder) / "store", source.header)
        adapters, counted = change([source.adapter(id) for id in source.ids])
        made.add_all(zip(source.records, adapters, strict=True))
        mind = memsci.open(made.path, base)
        size = made.nbytes / len(made) + counted
        ranks = [len(A) for one in adapters for A, _ in one.deltas.values()]
        whole = 4 * 128 * sum(A.shape[1] + len(B) for A, B in adapters[0].deltas.values())
        texts = {memory.id: memory.text for memory in world}
        turns = [prompts.encoding(mind.encoding.prompt)] * len(texts)
        alone = mind.within(list(texts), turns, gate=mind.gate_by_hand([{id: 1.0} for id in texts]))
        told = speak.logprob(base, turns, list(texts.values()), alone)
        said = evaluate.ask(mind, world, per_memory=per_memory).assign(method="MEGa")
    found = evaluate.summary(evaluate.score(said)).set_index("method")
    return {
        "mean rank": sum(ranks) / len(ranks),
        "kB": size / 1e3,
        "share of rank 128": size / whole,
        "recall cos": found.loc["MEGa", "recall cos"],
        "QA %": found.loc["MEGa", "QA %"],
        "iRAG %": found.loc["iRAG", "QA %"],
        "log prob": found.loc["MEGa", "log prob"],
        "text, nats per token": -told["logprob"].sum() / told["tokens"].sum(),
    }


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = Path(tempfile.gettempdir()) / "memsci-size"
    parser.add_argument("--work", type=Path, default=kept, help="folder for the memories and the rows measured")
    parser.add_argument("--partition", type=int, default=10, help="of the episodic half; 10 is for tuning")
    parser.add_argument("--questions", type=int, default=3, help="of each memory")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), help="only these")
    parser.add_argument("--name", default="size", help="of the table in benchmarks/results")
    return parser


def main(given: argparse.Namespace) -> None:
    world, base = data.builtin("episodic", given.partition), memsci.load()
    mind = memsci.MEGa(base, given.work / f"episodic-{given.partition}")
    mind.encode(world, progress=False)
    log = given.work / "rows.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    asked = {"partition": given.partition, "questions": given.questions}
    known = {row["variant"]: row for row in rows if asked.items() <= row.items()}
    for name in given.variants:
        if name not in known:
            found = measure(mind.store, VARIANTS[name], world, base, given.questions)
            known[name] = {"variant": name, **asked, **found}
            with log.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
    table = pd.DataFrame([known[name] for name in given.variants]).drop(columns=list(asked))
    made_with = {name: mind.store.header[name] for name in ("base", "encoding", "embedding", "gate", "seed")}
    title = f"Bytes of a memory, episodic partition {given.partition}"
    keep(given.name, table, title, memories=len(world), questions=given.questions * len(world), **made_with)


if __name__ == "__main__":
    main(parser().parse_args())
