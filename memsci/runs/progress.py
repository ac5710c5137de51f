"""How a run is watched: a bar for all cells with the time left, one for each at work; without a terminal a line per cell."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from memsci.runs import folder as files
from memsci.runs.prepare import Prepared
from memsci.runs.worker import Job, Outcome

BARS = 16  # of cells at work


class TimeLeft:
    """Time left of a run: seconds planned for each cell (by its id), times how much longer cells of its method took.

    Examples
    --------
    >>> left = TimeLeft({"a": 100.0, "b": 400.0, "c": 30.0}, {"a": "MEGa", "b": "Full", "c": "Base"})
    >>> left.end("c", 10.0)  # a third of what was planned
    >>> left(processes=2)
    '83 s left'
    """

    def __init__(self, expected: Mapping[str, float], methods: Mapping[str, str]) -> None:
        self._expected, self._left = expected, dict(methods)
        self._taken: dict[str, list[tuple[float, float]]] = {}

    def end(self, cell_id: str, seconds: float = 0.0) -> None:
        """A cell is done, after so many seconds; 0 if it failed, or was done by another."""
        method = self._left.pop(cell_id, "")
        if seconds and self._expected[cell_id]:
            self._taken.setdefault(method, []).append((seconds, self._expected[cell_id]))

    def __call__(self, processes: int) -> str:
        if not self._taken:
            return ""
        paces = {method: _pace(each) for method, each in self._taken.items()}
        overall = _pace([pair for each in self._taken.values() for pair in each])
        seconds = sum(paces.get(method, overall) * self._expected[id] for id, method in self._left.items()) / processes
        minutes = round(seconds / 60)
        return (
            f"{seconds:.0f} s left"
            if seconds < 90
            else f"{minutes} min left"
            if minutes < 120
            else f"{minutes / 60:.1f} h left"
        )


def _pace(taken: Sequence[tuple[float, float]]) -> float:
    seconds, expected = map(sum, zip(*taken))
    return seconds / expected


def follow(events: Generator[tuple], prepared: Prepared, todo: int, processes: int, progress: bool) -> dict[str, str]:
    """Show what happens (`memsci.runs.pool.locally`, `memsci.runs.cluster.on_cluster`) until all cells that are to do have
    ended; the errors of what failed, by cell."""
    console = Console(stderr=True, highlight=False)
    left = TimeLeft(prepared.expected, {job.id: job.cell.method for job in prepared.left})
    total, processes, failures = len(prepared.jobs), min(processes, todo), {}
    done = total - todo
    with closing(events), _bars(console, progress, prepared.folder.name, total) as (bars, whole):  # workers end with events
        tasks: dict[str, TaskID] = {}
        for kind, *what in events:
            if kind == "end":
                job, outcome = what
                done += 1
                left.end(job.id, outcome.seconds if outcome.status == "done" else 0.0)
                if job.id in tasks:
                    bars.remove_task(tasks.pop(job.id))
                if outcome.status == "failed":
                    failures[job.id] = f"{job.cell.label}: {outcome.error}"
                if progress and (line := _line(job, outcome, f"{done}/{total}", left(processes), console.is_terminal)):
                    console.print(line, soft_wrap=True)
                continue
            (at_work,) = what
            processes = max(processes, len(at_work))  # a scheduler that is there does not tell how many it has
            if whole is None:
                continue
            bars.update(whole, completed=done, left=left(processes))
            for job in at_work:
                steps, all_steps = files.reported(job.folder, job.id)
                if job.id not in tasks and len(tasks) < BARS:
                    tasks[job.id] = bars.add_task(job.cell.label, left="")
                if job.id in tasks:
                    bars.update(tasks[job.id], completed=steps, total=all_steps)
    return failures


def _line(job: Job, outcome: Outcome, count: str, left: str, is_terminal: bool) -> Text | None:
    """What is printed of a cell that has ended: where there are bars, only that it failed."""
    if outcome.status == "failed":
        return Text(f"failed: {job.cell.label}: {outcome.error}", style="red")
    after = f", {left}" if left else ""
    return None if is_terminal else Text(f"{count} {job.cell.label}: {outcome.seconds:.0f} s{after}")


@contextmanager
def _bars(console: Console, progress: bool, name: str, total: int) -> Iterator[tuple[Progress | None, TaskID | None]]:
    """Bars in a terminal, and the one of all cells; elsewhere None for both."""
    if not (progress and console.is_terminal):
        yield None, None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[left]}"))  # fmt: skip
    with Progress(*columns, console=console) as bars:
        yield bars, bars.add_task(name, total=total, left="")
