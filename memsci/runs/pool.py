"""Jobs on this machine, each in a process of its own that lives on from job to job.

`concurrent.futures` gives up all work in hand when one process is killed; here only the job of that process is lost, and
is done again once. The pool is our own because pebble's leaves the semaphores of a worker that it ends behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

from memsci.runs.worker import Job, Outcome, work

TICK = 0.5  # seconds between two looks at how far jobs are
AGAIN = 2.0  # seconds before a job that another runner holds is tried again
PATIENCE = 10.0  # seconds that a process has to end
LIVES = 2  # how often a job may be begun whose process is killed


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    device: str | None
    job: Job | None = None


def locally(jobs: Iterable[Job], processes: int, devices: Sequence[str | None] = (None,)) -> Iterator[tuple]:
    """Run jobs, in their order, in so many processes on this machine, to which devices are dealt out in turn.

    Yields ("end", job, outcome) as each ends, and ("tick", jobs at work) now and then.
    """
    waiting = deque((0.0, job) for job in jobs)
    deaths: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads hangs
    workers = [_begin(context, devices[k % len(devices)]) for k in range(min(processes, len(waiting)))]
    try:
        while waiting or any(worker.job for worker in workers):
            for worker in workers:
                if worker.job is None and waiting and waiting[0][0] <= time.monotonic():
                    worker.job = waiting.popleft()[1]
                    _send(worker, replace(worker.job, device=worker.job.device or worker.device))
            for connection in wait([worker.connection for worker in workers], timeout=TICK):
                k = next(k for k, worker in enumerate(workers) if worker.connection is connection)
                job = workers[k].job
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):  # the process is gone
                    workers[k].process.join()
                    code = workers[k].process.exitcode
                    workers[k] = _begin(context, workers[k].device)
                    if job is None:
                        continue
                    deaths[job.id] += 1
                    if deaths[job.id] < LIVES:
                        waiting.appendleft((0.0, job))
                        continue
                    workers[k].job = None
                    outcome = Outcome("failed", error=f"its process was killed {LIVES} times, with exit code {code}.")
                else:
                    workers[k].job = None
                if outcome.status == "busy":
                    waiting.append((time.monotonic() + AGAIN, job))
                else:
                    yield "end", job, outcome
            yield "tick", [worker.job for worker in workers if worker.job]
    finally:
        for worker in workers:
            if worker.job:
                worker.process.terminate()
            worker.connection.close()  # at which one without a job ends by itself, leaving nothing of its own behind
        for worker in workers:
            worker.process.join(PATIENCE)
            worker.process.kill()  # of a process that has ended: nothing
            worker.process.join()


def _begin(context: multiprocessing.context.BaseContext, device: str | None) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, device)


def _send(worker: _Worker, job: Job) -> None:
    try:
        worker.connection.send(job)
    except OSError:  # it died while idle: its end is seen at once by those who wait for it
        pass


def _serve(connection: Connection) -> None:
    """What a process does: jobs, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Told to stop, it ends as if by itself: locks, temporary folders and semaphores are given back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            job = connection.recv()
            try:
                outcome = work(job)
            except Exception as error:  # outside the cell itself, such as of a file system without locks
                outcome = Outcome("failed", error=f"{type(error).__name__}: {error}")
            connection.send(outcome)
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    """End this process when the program is gone, whatever ended it: a cell may have hours to go."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
