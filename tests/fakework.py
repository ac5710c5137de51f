"""Work for runs that is quick and needs no model: tables made from the cell's name alone.

It is in a module of its own because workers, which are other processes, must find it by name. Its environment says how
long a cell takes (FAKE_SECONDS), and which cell kills its process, once or always (FAKE_KILL, FAKE_MARKS). Each makes a
semaphore, as progress bars do, and a temporary folder, as MEGa does.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

import pandas as pd

from memsci import runs
from memsci.experiments import Experiment

WORK = "fakework:work"
BASE = {"name": "fake", "fingerprint": "f" * 64, "tokenizer": "t" * 64, "dtype": "float32", "device": "cpu"}


def experiment(table: Path, **changes) -> Experiment:
    values = {
        "name": "fake", "title": "A fake", "measure": "continual", "methods": ("Base", "MEGa"), "stops": (1, 2),
        "datasets": (str(table),), "partitions": (0, 1, 2),
    }  # fmt: skip
    return Experiment(**{**values, **changes})


def prepare(table: Path, folder: Path, **changes) -> runs.Prepared:
    made = experiment(table, **changes)
    return runs.lay_out(made, BASE, made.tasks(lambda *_: {}), 0, folder, work=WORK).begin()


def work(cell, partitions, quiz, base, device, report):
    marks = Path(os.environ["FAKE_MARKS"])
    with (marks / "begun").open("a") as file:
        file.write(f"{cell.label}\n")
    if cell.label == os.environ.get("FAKE_KILL") and not (marks / "killed").exists():
        if not os.environ.get("FAKE_ALWAYS"):
            (marks / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.label == os.environ.get("FAKE_ERROR"):
        raise ZeroDivisionError("not that")
    with tempfile.TemporaryDirectory(prefix="fake-", dir=marks):
        lock = multiprocessing.get_context("spawn").RLock()
        for step in range(4):
            report(step, 4)
            with lock:
                time.sleep(float(os.environ.get("FAKE_SECONDS", "0")) / 4)
    return tables(cell, partitions[0])


def tables(cell, partition):
    keys = {"dataset": cell.dataset, "partition": cell.partition, "method": cell.method, "setting": cell.setting}
    rows, scores = [], []
    for stop in cell.stops_for(3):
        for position, memory in enumerate(list(partition)[:stop], start=1):
            number = int(hashlib.sha256(f"{cell.label} {stop} {memory.id}".encode()).hexdigest()[:6], 16) / 2**24
            where = {**keys, "stop": stop, "memory_id": memory.id, "position": position, "way": "direct"}
            said = {"question": f"What of {memory.id}?", "target": "a, \"b\"\nc", "original": memory.text, "recalled": "",
                    "answer": "nan", "logprob": -number, "tokens": 2, "top_id": None, "gate": "own"}  # fmt: skip
            rows.append({**where, **said})
            scored = {"gate": "own", "question": said["question"], "subject": None, "metric": "qa", "value": number}
            scores.append({**where, **scored, "protocol": "fake", "higher_is_better": True})
    training = [{**keys, "memory_id": memory.id, "position": k, "loss": k / 7} for k, memory in enumerate(partition, 1)]
    return {"responses": pd.DataFrame(rows), "scores": pd.DataFrame(scores), "training": pd.DataFrame(training)}
