"""Opening and saving 50 memories, with memsci and with PEFT: ``python -m benchmarks.store``

The same 50 folders for both: those of a memsci store are PEFT's. Adapters of the embedded preset with random numbers.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import torch
from peft import PeftModel

from benchmarks.ask import memories
from benchmarks.common import ROUNDS, compare, keep
from memsci import data
from memsci.config import Encoding
from memsci.learners.mega import open
from memsci.memory import text_hash
from memsci.models.base import load
from memsci.store.record import Remembered
from memsci.store.store import Store


def main(repeats: int) -> None:
    """Time all sides and keep the tables."""
    base = load()
    world = list(data.builtin("episodic", 10))
    adapters = memories(base, len(world))
    records = [Remembered(one.id, one.label, torch.randn(base.width), text_hash(one.text)) for one in world]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        header = {"base": {"name": base.name, "fingerprint": base.fingerprint}, "encoding": Encoding.embedded().to_dict()}

        Store.create(folder / "store", header).add_all(zip(records, adapters))
        mind = open(folder / "store", base)
        folders = [folder / "store" / "memories" / one.id for one in world]

        def peft() -> PeftModel:
            # The base is at hand on both sides; PEFT changes the model it is given.
            model = PeftModel.from_pretrained(copy.deepcopy(base.model), folders[0], adapter_name=world[0].id)
            for one, path in zip(world[1:], folders[1:]):
                model.load_adapter(path, adapter_name=one.id)
            return model

        opening = {
            "memsci: open": lambda: open(folder / "store", base),
            "memsci: open, all adapters read and checked": lambda: Store(folder / "store").adapters(mind.ids),
            "PEFT: from_pretrained and load_adapter": peft,
        }
        loaded = peft()

        def fresh(name: str) -> Path:
            shutil.rmtree(folder / name, ignore_errors=True)
            return folder / name

        saving = {
            "memsci: MEGa.save, which copies the files": lambda: mind.save(fresh("copy")),
            "memsci: each memory flushed to the disk as it is finished": lambda: [
                store.add(record, adapter)
                for store in [Store.create(fresh("each"), header)]
                for record, adapter in zip(records, adapters)
            ],
            "PEFT: save_pretrained": lambda: loaded.save_pretrained(fresh("peft")),
        }
        tables = [
            compare(opening, "PEFT: from_pretrained and load_adapter", repeats).assign(work="open"),
            compare(saving, "PEFT: save_pretrained", repeats).assign(work="save"),
        ]
    table = pd.concat(tables, ignore_index=True)
    keep(
        "store", table[["work", *table.columns[:-1]]], f"{len(world)} memories of rank {adapters[0].rank}, opened and saved"
    )


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=ROUNDS, help="rounds that count")
    return parser


if __name__ == "__main__":
    main(parser().parse_args().repeats)
