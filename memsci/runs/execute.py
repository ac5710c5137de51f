"""The work of a run: its cells are done here or on a cluster, what is finished stays, and its tables are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from memsci.errors import MemsciError, check_whole
from memsci.files import write_json
from memsci.runs import folder as files
from memsci.runs.cluster import QUEUES, check_cluster, on_cluster
from memsci.runs.finish import finish, score_cell
from memsci.runs.pool import locally
from memsci.runs.prepare import Prepared
from memsci.runs.progress import follow
from memsci.runs.worker import cores


class Failed(MemsciError):
    """Some cells of a run failed; the others are finished."""


def run(
    prepared: Prepared,
    processes: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Do the cells of a run that are not done yet, and make its tables.

    Parameters
    ----------
    prepared
        From `memsci.runs.prepare`.
    processes
        Processes on this machine, or workers of a cluster. Default: one per GPU if there are any, else one per core, never
        more than there are cells. Batch jobs have no default; workers of a scheduler that is there are as many as it has.
    threads
        Threads of each. Default: those that the run was begun with, since sums are rounded by them; at the beginning
        cores / processes, and 1 on a cluster.
    cluster, options
        See `memsci.runs.cluster.on_cluster`; None: this machine.
    progress
        Show a bar per cell at work and one for all, with the time left.

    Returns
    -------
    pathlib.Path
        The folder of the run.

    Raises
    ------
    Failed
        Cells failed; the others are finished, and the same call tries again those that are not.
    """
    check_workers(processes, threads, cluster)
    folder = prepared.folder
    bar = tqdm(prepared.left, desc="cells of other runs", unit="cell", leave=False, delay=2, disable=not progress)
    todo = [job for job in bar if not files.borrow(folder, job.id, score_cell)]
    about = files.read_json(folder / "run.json")
    failures: dict[str, str] = {}
    if todo:
        on_gpu = not cluster and prepared.device.startswith("cuda")
        processes, threads, devices = workers(len(todo), processes, threads or about["threads"], cluster, on_gpu)
        about |= {"threads": threads, "status": "running", "failed": {}}
        write_json(folder / "run.json", about)
        jobs = [dataclasses.replace(job, threads=threads) for job in todo]
        if cluster:
            events = on_cluster(jobs, cluster, processes, threads, options)
        else:
            events = locally(jobs, processes, devices)
        try:
            failures = follow(events, prepared, len(todo), processes, progress)
        finally:
            about["failed"] = failures
            finish(folder, about)
    elif about["status"] != "finished" or about.get("failed"):
        finish(folder, about | {"failed": {}})  # what had failed here another run has finished
    if failures:
        cell_id, error = next(iter(failures.items()))
        told = folder / "failed" / f"{cell_id}.txt"
        raise Failed(
            f"{len(failures)} of {len(prepared.jobs)} cells failed, the others are finished. The first: "
            f"{error.rstrip('.')}{f' (see {told})' if told.is_file() else ''}. The same command tries them again."
        )
    return folder


def check_workers(processes: int | None = None, threads: int | None = None, cluster: str | None = None) -> None:
    """Raise a `MemsciError` where `run` could not begin with these, before `prepare` reads a model."""
    for name, value in (("processes", processes), ("threads", threads)):
        if value is not None:
            check_whole(name, value, 1)
    if cluster:
        check_cluster(cluster)
        if cluster in QUEUES and processes is None:
            raise MemsciError(f"Say how many batch jobs {cluster} is to hold at a time: --processes 8, for example.")


def workers(
    todo: int, processes: int | None, threads: int | None, cluster: str | None, on_gpu: bool
) -> tuple[int, int, list[str | None]]:
    """How many processes do so many cells, threads of each, and the devices that they are dealt."""
    if cluster:
        return min(processes or (cores() if cluster == "local" else 1), todo), threads or 1, [None]
    gpus = 0
    if on_gpu:
        import torch

        gpus = torch.cuda.device_count()
    processes = min(processes or gpus or cores(), todo)
    return processes, threads or max(1, cores() // processes), [f"cuda:{k}" for k in range(gpus)] or [None]
