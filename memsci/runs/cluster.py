"""Jobs on a cluster, through Dask: a scheduler that is there, one of this machine's own, or a queue of batch jobs.

All workers must see the folder of the run under the same path: each keeps what it has done there itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

from memsci.errors import MemsciError, meant
from memsci.runs import folder as files
from memsci.runs.pool import AGAIN, LIVES, TICK
from memsci.runs.worker import Job, Outcome, work

LOOK = 2.0  # seconds between two looks at how far jobs are
UNBEGUN = 10  # times that a worker may die before it begins a job, as against one that dies at work
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}


def on_cluster(
    jobs: Iterable[Job], cluster: str, workers: int, threads: int, options: Mapping[str, Any] | None = None
) -> Iterator[tuple]:
    """Run jobs on a Dask cluster; yields what `memsci.runs.pool.locally` does.

    Parameters
    ----------
    cluster
        Address of a scheduler ("tcp://..."), "local", or one of `QUEUES`.
    workers
        How many to start (batch jobs, or processes of this machine); none are started for an address.
    threads
        Cores of a batch job, and threads of torch.
    options
        What else a batch job asks for, as `dask_jobqueue` calls it: memory, walltime, queue, account ...; its own
        configuration file holds for what is left out, but for cores and processes.
    """
    distributed = _imported("distributed")
    deaths: Counter[str] = Counter()
    later: list[tuple[float, Job]] = []
    with connected(cluster, workers, threads, options) as (client, replenish):
        send = lambda job: client.submit(work, job, pure=False, retries=0)
        futures = {send(job): job for job in jobs}
        while futures or later:
            replenish()
            now = time.monotonic()
            futures |= {send(job): job for when, job in later if when <= now}
            later = [(when, job) for when, job in later if when > now]
            if not futures:
                time.sleep(TICK)
                continue
            try:
                ended = distributed.wait(list(futures), timeout=LOOK, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                ended = set()
            for future in ended:
                job, error = futures.pop(future), future.exception()
                if type(error).__name__ == "KilledWorker":
                    # Dask gives up with it whatever else was meant for that worker; those jobs had not begun.
                    deaths[job.id] += 1 if files.begun(job.folder, job.id) else 1 / UNBEGUN
                    files.forget(job.folder, job.id)
                    if deaths[job.id] < LIVES:
                        later.append((0.0, job))
                        continue
                    outcome = Outcome("failed", error=f"its worker was killed {LIVES} times.")
                elif error is not None:
                    outcome = Outcome("failed", error=f"{type(error).__name__}: {error}")
                else:
                    outcome = future.result()
                if outcome.status == "busy":
                    later.append((time.monotonic() + AGAIN, job))
                else:
                    yield "end", job, outcome
            yield "tick", [job for job in futures.values() if files.begun(job.folder, job.id)]


@contextmanager
def connected(
    cluster: str, workers: int, threads: int, options: Mapping[str, Any] | None = None
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A client of the cluster, and what asks for workers in the place of lost ones (a batch job ends with its walltime).

    The client is closed at the end, and with it what was started.
    """
    distributed, dask = _imported("distributed"), _imported("dask")
    rules = {
        # A job whose worker dies comes back at once, and it is for us to say what was lost.
        "distributed.scheduler.allowed-failures": 0,
        # A killed worker is begun again in its place; on a busy machine that takes longer than Dask would wait.
        "distributed.deploy.lost-worker-timeout": "5 minutes",
    }
    with dask.config.set(rules):
        if "://" in cluster:
            try:
                client = distributed.Client(cluster, timeout=30)
            except (OSError, ValueError) as error:
                raise MemsciError(f"No scheduler answers at {cluster} ({error}). Is it running, the port open?") from None
            with client:
                yield client, lambda: None
            return
        with started(cluster, workers, threads, options) as scheduler, distributed.Client(scheduler) as client:
            yield client, lambda: _scale(scheduler, cluster, workers)


def started(cluster: str, workers: int, threads: int, options: Mapping[str, Any] | None = None) -> AbstractContextManager:
    """A cluster that is begun now."""
    check_cluster(cluster)
    options = dict(options or {})
    if cluster == "local":
        distributed = _imported("distributed")
        ours = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
        try:
            return distributed.LocalCluster(**ours, **options)
        except (TypeError, ValueError) as error:
            raise MemsciError(f"local: {error} Workers of this machine need no --job.") from None
    jobqueue = getattr(_imported("dask_jobqueue"), QUEUES[cluster])
    file = _imported("dask").config.get(f"jobqueue.{cluster}")
    for name, usual in file.items():
        if isinstance(usual, list) and isinstance(given := options.get(name.replace("-", "_")), str):
            options[name.replace("-", "_")] = [given]  # such as job_extra_directives, of which one was given
    # However many cores a job has, it does one cell at a time; of two such options the last holds.
    extra = options.get("worker_extra_args", file.get("worker-extra-args"))
    options["worker_extra_args"] = [*(extra or ()), "--nthreads", "1"]
    try:
        begun = jobqueue(**{"cores": threads, "processes": 1, **options})
    except (TypeError, ValueError) as error:
        raise MemsciError(
            f"{cluster}: {error} Give what the queue needs with --job, e.g. --job memory=32GB --job walltime=08:00:00, or "
            "in dask-jobqueue's configuration file."
        ) from None
    _scale(begun, cluster, workers)
    return begun


def check_name(cluster: str) -> None:
    """Raise unless `on_cluster` knows this cluster."""
    if "://" not in cluster and cluster not in ("local", *QUEUES):
        known = ", ".join(["tcp://HOST:PORT", "local", *QUEUES])
        raise MemsciError(f"cluster must be one of {known}; {cluster!r} was given.{meant(cluster, ('local', *QUEUES))}")


def check_cluster(cluster: str) -> None:
    """Raise unless `on_cluster` knows this cluster and has what it needs for it."""
    check_name(cluster)
    _imported("dask_jobqueue" if cluster in QUEUES else "distributed")


def _scale(scheduler: Any, cluster: str, workers: int) -> None:
    """Bring a cluster to so many workers, or batch jobs; nothing happens if it has them."""
    scheduler.scale(workers) if cluster == "local" else scheduler.scale(jobs=workers)


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MemsciError(f"--cluster needs the extra 'cluster' ({error}): pip install 'memsci[cluster]'.") from None
