"""What memories still know once they have slept into shared adapters. ``python -m benchmarks.sleep``

The shipped model on the first memories of episodic partition 10: each in its own adapter, then slept from what they recall
of themselves into adapters of a twelfth of the ranks, and, as a control, from their true texts; with all changed over,
however little is recalled ("all slept"), and all of these in one; and merged by weights alone. QA over three questions a
memory by the mind's own gate, direct and after recall; the built-in quiz; bytes of the store. With ``--ranks 16 32 64`` a
sleep with each; with ``--compress`` each row also as a smaller copy of its store (`compress`).
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

import memsci
from benchmarks.common import keep
from memsci import evaluate
from memsci.lifetime import Oldest, Sleep
from memsci.memory import Partition
from memsci.store.compress import compress

WAYS = ("separate", "slept", "all slept", "slept from texts", "slept in one", "sum", "mean")
OPTIONS = {name: value for name, value in Sleep().to_dict().items() if name != "interleave"}


def change(world: Partition, settings: Sleep) -> dict[str, Callable[[memsci.MEGa], pd.DataFrame | None]]:
    """What is done to a copy of the mind, by the name of the row."""
    ids = [one.id for one in world]
    forced = replace(settings, least=0.0)  # all change over, however little the adapter recalls
    return {
        "separate": lambda mind: None,
        "slept": lambda mind: mind.sleep(Oldest(), settings),
        "all slept": lambda mind: mind.sleep(Oldest(), forced),
        "slept in one": lambda mind: mind.sleep(Oldest(), replace(forced, most=None)),
        "slept from texts": lambda mind: mind.sleep(Oldest(), settings, memories=world),
        "sum": lambda mind: mind.merge(ids, by="sum", settings=forced),
        "mean": lambda mind: mind.merge(ids, by="mean", settings=forced),
    }


def row(way: str, mind: memsci.MEGa, world: Partition, done: pd.DataFrame | None, seconds: float) -> dict:
    """What the mind knows now."""
    asked = [replace(one, questions=one.questions[: evaluate.QUESTIONS]) for one in world]
    marks = evaluate.marks(evaluate.examine(mind, asked, progress=False)).set_index("method")
    quiz = evaluate.ask_quiz(mind, memsci.data.quiz())
    return {
        "adapters": way,
        "memories": len(world),
        "slept": 0 if done is None else int(done["slept"].sum()),
        "words": None if done is None else done["words"].mean(),
        "QA direct %": marks.loc["MEGa", "QA %"],
        "QA after recall %": marks.loc["iRAG", "QA %"],
        "recall cos": marks.loc["MEGa", "recall cos"],
        "knowledge %": 100 * quiz.groupby("subject")["correct"].mean().mean(),
        "MB": mind.store.nbytes / 1e6,
        "seconds": seconds,
    }


def todo(ways: Sequence[str], ranks: Sequence[int] | None) -> list[tuple[str, int | None]]:
    """The ways, those that learn an adapter once for each rank."""
    several = [None] if ranks is None else list(ranks)
    return [(way, rank) for way in ways for rank in (several if "slept" in way else [None])]


def parser() -> argparse.ArgumentParser:
    """Options of the command; those of `Sleep` by their names."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--memories", type=int, default=50)
    made.add_argument("--partition", type=int, default=10)
    made.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    made.add_argument("--store", type=Path, default=Path("runs/sleep"), help="folder for the minds, gone on with")
    made.add_argument("--name", default="sleep")
    made.add_argument("--ranks", nargs="+", type=int, help="of the adapter slept into, one after another")
    made.add_argument("--compress", action="store_true", help="measure smaller copies too: energy 0.9, float8")
    for name, value in OPTIONS.items():
        kind = float if name in ("lr", "least") else int
        made.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value)
    return made


def main() -> None:
    given = vars(parser().parse_args())
    settings = Sleep(**{name: given[name] for name in OPTIONS})
    base = memsci.load()
    world = memsci.data.builtin("episodic", given["partition"])
    world = world.first(given["memories"]) if given["memories"] < len(world) else world
    source = given["store"] / f"{world.name}-{len(world)}"
    memsci.MEGa(base, source).encode(world)
    rows = []
    for way, rank in todo(given["ways"], given["ranks"]):
        name = way if rank is None else f"{way}, rank {rank}"
        place = given["store"] / f"{source.name}-{name.replace(', ', '-').replace(' ', '-')}"
        shutil.rmtree(place, ignore_errors=True)
        mind = memsci.open(memsci.open(source, base).save(place), base)
        begun = time.perf_counter()
        done = change(world, replace(settings, rank=rank or settings.rank))[way](mind)
        rows.append(row(name, mind, world, done, time.perf_counter() - begun))
        print(rows[-1], flush=True)
        if given["compress"]:
            shutil.rmtree(small := place.with_name(f"{place.name}-small"), ignore_errors=True)
            begun = time.perf_counter()
            compress(mind.store, small)
            mind = memsci.open(small, base)
            rows.append(row(f"{name}, compressed", mind, world, done, time.perf_counter() - begun))
            print(rows[-1], flush=True)
    title = f"{len(world)} memories of {world.name} in adapters of their own and in one"
    keep(given["name"], pd.DataFrame(rows), title, settings=settings.to_dict())


if __name__ == "__main__":
    main()
