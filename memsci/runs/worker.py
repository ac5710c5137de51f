"""One cell, wherever a worker runs: hold it, do it, keep it."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from memsci import provenance
from memsci.errors import MemsciError
from memsci.experiments import Cell
from memsci.files import write_bytes
from memsci.memory import Partition, QuizItem
from memsci.runs import folder as files

WORK = "memsci.experiments.cells:work"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell with all that a worker needs to do it; it can be sent to another process or machine.

    `id` is the hash of all that decides the cell's numbers, and the name of its folder in that of the run; `base` holds name
    and `memsci.experiments.cells.identity` of the base model, `device` where it goes (None: what `memsci.load` chooses). The
    function `work`, named as "module:name", is called like `memsci.experiments.cells.work`, and gives tables.
    """

    id: str
    cell: Cell
    partitions: Sequence[Partition]
    quiz: Sequence[QuizItem]
    folder: Path
    base: Mapping[str, str]
    device: str | None = None
    threads: int = 1
    work: str = WORK


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done", "busy" (another runner has it), or "failed" with its error."""

    status: str
    seconds: float = 0.0
    error: str = ""


def work(job: Job) -> Outcome:
    """Do the cell of a job and keep its tables, unless that is done, or being done by another.

    An error in the cell is an outcome, not an exception: the other cells go on. Its traceback is kept in the run's
    folder, in `failed/`.
    """
    if not (job.folder / "config.json").is_file():
        told = f"{job.folder} is not to be seen by the worker {platform.node()}: it must be shared."
        return Outcome("failed", error=told)
    with files.held(job.folder, job.id) as mine:
        if not mine:
            return Outcome("busy")
        if files.finished(job.folder, job.id):
            return Outcome("done")
        about = {"label": job.cell.label, "commit": provenance.commit(), "versions": provenance.versions()}
        about |= {"machine": platform.node(), "threads": job.threads, "begun": provenance.now()}
        begun, used = time.perf_counter(), time.process_time()
        try:
            _set_threads(job.threads)
            _keep_memory()
            module, name = job.work.split(":")
            report = partial(files.report, job.folder, job.id)
            report(0, 1)
            do = getattr(importlib.import_module(module), name)
            tables = scored(do(job.cell, job.partitions, job.quiz, job.base, job.device, report))
            seconds = time.perf_counter() - begun
            about |= {
                "device": provenance.device(job.device),
                "finished": provenance.now(),
                "seconds": round(seconds, 3),
                # The clock runs on while a process is stopped or waits its turn; this does not.
                "processor_seconds": round(time.process_time() - used, 3),
            }
            files.keep(job.folder, job.id, tables, about)
        except Exception as error:
            _note_failure(job, traceback.format_exc())
            kind = "" if isinstance(error, MemsciError) else f"{type(error).__name__}: "
            return Outcome("failed", time.perf_counter() - begun, f"{kind}{error}")
        return Outcome("done", seconds)


def scored(tables: Mapping[str, pd.DataFrame], judges: Sequence[Any] = (), embed: Any = None) -> dict[str, pd.DataFrame]:
    """The tables with their scores, unless they have some or there is nothing to score; no model is needed.

    What is scored is what stands in the files, so that it can be scored again with the same result. Judges come beside the
    rule judge; `embed` is that of `memsci.evaluate.score`.
    """
    if "scores" in tables or "responses" not in tables:
        return dict(tables)
    from memsci import evaluate
    from memsci.measures.judges import rule

    written = {name: files.read(BytesIO(files.csv(table))) for name, table in tables.items()}
    return {**tables, "scores": evaluate.score(written["responses"], written.get("quiz"), [rule, *judges], embed)}


def _set_threads(threads: int) -> None:
    os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if "torch" in sys.modules:  # else it reads the environment once it is imported
        import torch

        torch.set_num_threads(threads)


def _keep_memory() -> None:
    """Have the C library keep what is freed: to give large tensors back to the system and be given them anew, page by page,
    is a fifth of a forward pass of a small model (docs/lab-notes.md). Numbers do not depend on it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library than glibc
        return
    for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        mallopt(parameter, 2**31 - 1)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _note_failure(job: Job, text: str) -> None:
    path = job.folder / "failed" / f"{job.id}.txt"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, f"{job.cell.label}\n{job.cell}\n\n{text}".encode())
