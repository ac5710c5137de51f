"""Runs of experiments: found by their content, resumed at the last finished cell, the same tables however they were run.

`prepare` turns an experiment into a folder and its jobs, `run` does those that are not done, `finish` makes the tables,
`ship` puts figures and what they are drawn from where others can have them (`memsci.runs.shipping`).
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text
from tqdm.auto import tqdm

from memsci import experiments, provenance
from memsci.errors import MemsciError, check_whole
from memsci.experiments.spec import Experiment, content
from memsci.measures.metrics import METRICS
from memsci.memory import QuizItem
from memsci.runs import folder as files
from memsci.runs.cluster import QUEUES, on_cluster
from memsci.runs.pool import locally
from memsci.runs.publish import ship
from memsci.runs.tables import curves, per_list, per_partition
from memsci.runs.worker import WORK, Job, Outcome, scored

__all__ = [
    "Failed", "Prepared", "choose", "command", "find", "finish", "lay_out", "prepare", "run", "score", "ship", "status",
]  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A run before its work: where it lies, what decides it, and a job per cell in the order of the grid.

    `expected` holds the seconds planned for each cell, by its id. Only their ratios count: cells that are done tell how
    fast the machine is. `device` is that on which the base was loaded here.
    """

    folder: Path
    config: Mapping[str, Any]
    jobs: Sequence[Job]
    expected: Mapping[str, float]
    device: str

    @property
    def left(self) -> list[Job]:
        """The jobs that are not finished."""
        return [job for job in self.jobs if not files.finished(self.folder, job.id)]


class Failed(MemsciError):
    """Some cells of a run failed; the others are finished."""


def choose(
    name: str | Path,
    datasets: Sequence[str] | None = None,
    partitions: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    stops: Sequence[int] | None = None,
    memories: int | None = None,
    common: str = "",
) -> Experiment:
    """An experiment with some of its parts replaced by those given.

    `common` comes after the setting that all methods of the experiment share already.
    """
    given = {"datasets": datasets, "partitions": partitions, "methods": methods, "stops": stops}
    experiment = experiments.load(name)
    changes = {key: tuple(value) for key, value in given.items() if value}
    if methods:
        changes["settings"] = {method: tried for method, tried in experiment.settings.items() if method in methods}
        changes["only_last"] = tuple(method for method in experiment.only_last if method in methods)
    if memories is not None:
        changes["memories"] = memories
    if common:
        changes["common"] = "; ".join(filter(None, (experiment.common, common)))
    return dataclasses.replace(experiment, **changes)


def prepare(
    experiment: Experiment,
    base: str | None = None,
    seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    quiz: str = "built-in",
    dtype: str | None = None,
) -> Prepared:
    """What a run of an experiment consists of; its folder is made if there is none.

    The folder's name is a hash of all that decides the numbers: the experiment, the settings of every learner, the
    memories and the quiz, the base's weights, their number type and its tokenizer, the seed. So is that of each cell, which
    can therefore be taken over from another run in the same folder `runs`.

    Parameters
    ----------
    experiment
        From `choose` or `memsci.experiments.load`.
    base
        Name of the base model, as for `memsci.load`.
    seed
        Seed of the run.
    runs
        Folder that holds the runs.
    quiz
        Where general knowledge comes from: "built-in", "mmlu", or a folder with MMLU.
    dtype
        Number type of the base's weights, on all workers. By default what `memsci.load` chooses here: float32 without a
        GPU, else the checkpoint's own.
    """
    from memsci.experiments.cells import check_common, check_memories, identity, layer_count, learner_settings
    from memsci.models.base import load
    from memsci.runs.plan import ACCELERATOR, PROCESSOR, Shape, planned, seconds

    check_common(experiment)
    # Workers may stand in another folder.
    model = load(str(Path(base).absolute()) if base and Path(base).is_dir() else base, dtype=dtype)
    about = {"name": model.name, **identity(model), "device": str(model.device)}
    layers, items = layer_count(model), experiments.quiz_items(quiz, experiment.quiz)
    settings = [learner_settings(cell, about["name"], layers) for cell in experiment.cells(seed)]
    worlds = experiment.worlds()
    for cell in experiment.cells(seed):
        check_memories(cell, [worlds[cell.dataset, number] for number in cell.partitions])
    machine, known = PROCESSOR if model.device.type == "cpu" else ACCELERATOR, Shape(model.name, model.model)
    expected = [seconds(cell, known, machine) for cell in planned(experiment, known, seed, len(items))]
    del model, known  # each worker loads its own
    return lay_out(experiment, about, settings, seed, runs, items, expected=expected)


def lay_out(
    experiment: Experiment,
    base: Mapping[str, str],
    settings: Sequence[Mapping[str, Any]],
    seed: int,
    runs: str | os.PathLike[str],
    quiz: Sequence[QuizItem] = (),
    work: str = WORK,
    expected: Sequence[float] | None = None,
) -> Prepared:
    """The part of `prepare` that needs no model.

    Parameters
    ----------
    experiment, seed, runs
        As for `prepare`.
    base
        Of the base model: name, fingerprint, tokenizer, dtype, device.
    settings
        All settings of the learner of each cell.
    quiz
        Items of general knowledge.
    work
        The function that does a cell, as "module:name".
    expected
        Seconds planned for each cell; None: as many for each.
    """
    from memsci.models.base import SHIPPED

    worlds = experiment.worlds()
    hashes = {key: content(world) for key, world in worlds.items()}
    common = {"base": base["fingerprint"], "quiz": content(quiz), "version": files.VERSION}
    # They came after results had been kept: the shipped model's tokenizer is one with it, and float32 the rule.
    if base["name"] != SHIPPED:
        common["tokenizer"] = base["tokenizer"]
    if base["dtype"] != "float32":
        common["dtype"] = base["dtype"]
    cells = experiment.cells(seed)
    ids, learners = [], {}
    for cell, learner in zip(cells, settings, strict=True):
        learners[f"{cell.method}; {cell.setting}" if cell.setting else cell.method] = learner
        own = [hashes[cell.dataset, number] for number in cell.partitions]
        ids.append(content({**common, "cell": cell, "data": own, "learner": learner})[: files.ID])
    config = {
        **common,
        "experiment": experiment.to_dict() | {"datasets": list(dict.fromkeys(cell.dataset for cell in cells))},
        "learners": learners,
        "data": {f"{dataset} {number}": hashed for (dataset, number), hashed in hashes.items()},
        "seed": seed,
    }
    path = Path(runs).expanduser().absolute() / f"{experiment.name}-{content(config)[: files.ID]}"
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "run.json").is_file():
        labels = [{"id": cell_id, "label": cell.label} for cell_id, cell in zip(ids, cells)]
        files.write_json(path / "run.json", _about(experiment, base, seed, content([*hashes.values()]), labels))
    if not (path / "config.json").is_file():
        files.write_json(path / "config.json", config)
    jobs = [
        Job(
            id=cell_id,
            cell=cell,
            partitions=[worlds[cell.dataset, number] for number in cell.partitions],
            quiz=quiz,
            folder=path,
            base={name: base[name] for name in ("name", "fingerprint", "tokenizer", "dtype")},
            work=work,
        )
        for cell_id, cell in zip(ids, cells)
    ]
    times = dict(zip(ids, expected or [1.0] * len(ids), strict=True))
    return Prepared(path, config, jobs, times, base["device"])


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
        From `prepare`.
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
    MemsciError
        The cluster cannot be used, or the number of its batch jobs is not told.
    """
    folder = prepared.folder
    bar = tqdm(prepared.left, desc="cells of other runs", unit="cell", leave=False, delay=2, disable=not progress)
    todo = [job for job in bar if not files.borrow(folder, job.id, _score_cell)]
    about = files.read_json(folder / "run.json")
    failures: dict[str, str] = {}
    if todo:
        on_gpu = not cluster and prepared.device.startswith("cuda")
        processes, threads, devices = _sizes(len(todo), processes, threads or about["threads"], cluster, on_gpu)
        about |= {"threads": threads, "status": "running", "failed": {}}
        files.write_json(folder / "run.json", about)
        jobs = [dataclasses.replace(job, threads=threads) for job in todo]
        events = (
            on_cluster(jobs, cluster, processes, threads, options) if cluster else locally(jobs, processes, devices)
        )
        try:
            failures = _follow(events, prepared, len(todo), processes, progress)
        finally:
            about["failed"] = failures
            finish(folder, about)
    elif about["status"] != "finished":
        finish(folder, about)
    if failures:
        cell_id, error = next(iter(failures.items()))
        told = folder / "failed" / f"{cell_id}.txt"
        raise Failed(
            f"{len(failures)} of {len(prepared.jobs)} cells failed, the others are finished. The first: "
            f"{error.rstrip('.')}{f' (see {told})' if told.is_file() else ''}. The same command tries them again."
        )
    return folder


def finish(folder: Path, about: dict[str, Any] | None = None) -> None:
    """Make the tables of a run from its finished cells, and write down how far it is; one runner does so at a time."""
    with files.finishing(folder):
        _finish(folder, about or files.read_json(folder / "run.json"))


def _finish(folder: Path, about: dict[str, Any]) -> None:
    cells = [(cell["id"], cell["label"]) for cell in about["cells"]]
    done = files.gather(folder, [cell_id for cell_id, _ in cells])
    # The protocol of each of a million scores would be most of the table.
    scores, gates = files.table(folder, "scores", without=["protocol"]), files.table(folder, "gates", without=["question"])
    if scores is not None:
        told = files.distinct(folder, "scores", ["metric", "protocol"]).groupby("metric", sort=False, observed=True)
        about["protocol"] = {metric: " | ".join(several) for metric, several in told["protocol"]}
        prompts = scores["setting"].str.startswith("prompt=").all()
        values = per_partition(scores, experiments.prompt_categories() if prompts else None)
        files.write_table(folder, "partitions", values)
    if gates is not None:
        from memsci.evaluate import gate_accuracy as gating

        about["protocol"] = {"correct gate": METRICS["correct gate"].protocol}
        files.write_table(folder, "partitions", gating.partition_rates(gates))
        if (compared := gates["comparison"] == "by embedding").any():
            files.write_table(folder, "confusion", gating.confusions(gates[compared]))
    if (trials := files.table(folder, "trials")) is not None:
        about["protocol"] = dict(trials[["dataset", "protocol"]].drop_duplicates().itertuples(index=False, name=None))
        files.write_table(folder, "partitions", per_list(trials))
    if (values := files.table(folder, "partitions")) is not None:
        # From the file, so that whoever has the file finds the same curves to the last digit.
        files.write_table(folder, "curves", curves(values))
    table = files.cells_table(folder, cells, done)
    files.write_table(folder, "cells", table)
    about["seconds"] = round(float(table["seconds"].sum()), 1)
    about["status"] = "finished" if table["finished"].all() else "unfinished"
    if about["status"] == "finished":
        files.sweep(folder)
        about |= files.made(folder, [cell["id"] for cell in about["cells"]])
    files.write_json(folder / "run.json", about)


def score(folder: Path, judges: Sequence[Any] = (), embed: Any = None) -> None:
    """Score the responses of a run anew, without any model: with further judges, or another embedding.

    Parameters
    ----------
    folder
        Of the run.
    judges
        Judges beside the rule judge, see `memsci.judging`.
    embed
        As in `memsci.evaluate.score`.
    """
    ids = [cell["id"] for cell in files.read_json(folder / "run.json")["cells"]]
    if not any((folder / "cells" / cell_id / "responses.csv.gz").is_file() for cell_id in ids):
        raise MemsciError(f"{folder} holds no responses to score. Give the folder of a run that asked questions.")
    if lacking := sum(not files.finished(folder, cell_id) for cell_id in ids):
        raise MemsciError(f"{lacking} of {len(ids)} cells of {folder} are not finished. Run it to its end first.")
    for cell_id in ids:
        _score_cell(folder, cell_id, judges, embed)
    finish(folder)


def _score_cell(folder: Path, cell_id: str, judges: Sequence[Any] = (), embed: Any = None) -> None:
    """Replace the scores of a finished cell."""
    kept = {name: files.cell_table(folder, cell_id, name) for name in ("responses", "quiz")}
    made = scored({name: table for name, table in kept.items() if table is not None}, judges, embed)
    if "scores" in made:
        files.write_cell_table(folder, cell_id, "scores", made["scores"])
        by = {"commit": provenance.commit(), "versions": provenance.versions(), "at": provenance.now()}
        files.note(folder, cell_id, {"scored": by})


def find(runs: str | os.PathLike[str] = "runs") -> pd.DataFrame:
    """The runs in a folder: run, status, cells (finished / all), hours, base, begun."""
    rows = []
    for path in sorted(Path(runs).expanduser().glob("*/run.json")):
        about = files.read_json(path)
        done = sum(files.finished(path.parent, cell["id"]) for cell in about["cells"])
        cells, hours = f"{done}/{len(about['cells'])}", about["seconds"] / 3600
        rows.append((path.parent.name, about["status"], cells, hours, about["base"]["name"], about["begun"]))
    return pd.DataFrame(rows, columns=["run", "status", "cells", "hours", "base", "begun"])


def command(folder: Path) -> str:
    """The command line by which a run, or a shipped one, is made again; what an experiment has by itself is left out.

    A data set of the user's own stands there by the name of its file. Where general knowledge came from is not told.
    """
    from memsci.models.base import SHIPPED

    config = files.read_json(folder / "config.json")
    ran, base = config["experiment"], files.read_json(folder / "run.json")["base"]["name"]
    own = experiments.load(ran["name"]) if ran["name"] in experiments.names() else None
    given = lambda name: ran[name] if own is None or list(getattr(own, name)) != list(ran[name]) else []
    parts = [f"--dataset {shlex.quote(dataset)}" for dataset in given("datasets")]
    if given("partitions"):
        parts.append(f"--partitions {experiments.show_numbers(ran['partitions'])}")
    for name in ("methods", "stops"):
        if given(name):
            parts.append(f"--{name} {shlex.quote(','.join(map(str, ran[name])))}")
    if (memories := ran.get("memories")) != (own and own.memories):
        parts.append(f"--memories {memories}")
    common = ran.get("common", "").removeprefix(own.common if own else "")
    parts += [f"--set {shlex.quote(text.strip())}" for text in common.split(";") if text.strip()]
    if base != SHIPPED:
        parts.append(f"--base {shlex.quote(base)}")
    if "dtype" in config:
        parts.append(f"--dtype {config['dtype']}")
    if config["seed"]:
        parts.append(f"--seed {config['seed']}")
    return " ".join(["memsci run", shlex.quote(ran["name"] if own else f"{ran['name']}.toml"), *parts])


def status(folder: Path) -> str:
    """How far a run is: "begun", "running", "unfinished" or "finished"."""
    return files.read_json(folder / "run.json")["status"]


# How a run is watched


def _follow(events: Generator[tuple], prepared: Prepared, todo: int, processes: int, progress: bool) -> dict[str, str]:
    """Show what happens until all has ended; the errors of what failed, by cell."""
    failures: dict[str, str] = {}
    watch = _Watch(prepared, todo, processes)
    with closing(events), _display(watch.console, progress) as bars:  # closed, whatever happens: workers end with it
        for kind, *what in events:
            if kind == "end":
                job, outcome = what
                if outcome.status == "failed":
                    failures[job.id] = f"{job.cell.label}: {outcome.error}"
                watch.ended(job, outcome, bars)
            else:
                watch.tick(what[0], bars)
    return failures


@contextmanager
def _display(console: Console, progress: bool) -> Iterator[Progress | None]:
    """Bars in a terminal; where there is none, None."""
    if not progress:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[left]}"))  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield bars


class _Watch:
    """The bars: one for all cells, with the time left, and one for each at work. Without a terminal a line per cell."""

    def __init__(self, prepared: Prepared, todo: int, processes: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.folder, self.all, self.done, self.todo = (
            prepared.folder,
            len(prepared.jobs),
            len(prepared.jobs) - todo,
            todo,
        )
        self.processes = min(processes, todo)
        self.expected = prepared.expected
        self.taken: dict[str, list[tuple[float, float]]] = {}
        self.left = {job.id: job.cell.method for job in prepared.left}
        self.whole: TaskID | None = None
        self.tasks: dict[str, TaskID] = {}

    def ended(self, job: Job, outcome: Outcome, bars: Progress | None) -> None:
        self.done += 1
        self.left.pop(job.id, None)
        if outcome.status == "done" and outcome.seconds and self.expected[job.id]:
            self.taken.setdefault(job.cell.method, []).append((outcome.seconds, self.expected[job.id]))
        if bars is None:
            return
        if (task := self.tasks.pop(job.id, None)) is not None:
            bars.remove_task(task)
        if outcome.status == "failed":
            self.console.print(Text(f"failed: {job.cell.label}: {outcome.error}", style="red"), soft_wrap=True)
        elif not self.console.is_terminal:
            line = f"{self.done}/{self.all} {job.cell.label}: {outcome.seconds:.0f} s{self.time_left(', ')}"
            self.console.print(Text(line), soft_wrap=True)

    def tick(self, at_work: Sequence[Job], bars: Progress | None) -> None:
        self.processes = max(self.processes, len(at_work))  # of a scheduler that is there nobody has told how many
        if bars is None or not self.console.is_terminal:
            return
        if self.whole is None:
            self.whole = bars.add_task(self.folder.name, total=self.all, left="")
        bars.update(self.whole, completed=self.done, left=self.time_left())
        for job in at_work:
            done, total = files.reported(self.folder, job.id)
            if job.id not in self.tasks and len(self.tasks) < 16:
                self.tasks[job.id] = bars.add_task(job.cell.label, total=total, left="")
            if job.id in self.tasks:
                bars.update(self.tasks[job.id], completed=done, total=total)

    def time_left(self, before: str = "") -> str:
        """From what was planned for the cells left, and how much longer cells of their method, or all, took than planned."""
        if not self.taken:
            return ""
        paces = {method: _pace(each) for method, each in self.taken.items()}
        overall = _pace([pair for each in self.taken.values() for pair in each])
        seconds = sum(paces.get(method, overall) * self.expected[id] for id, method in self.left.items())
        return f"{before}{_duration(seconds / self.processes)} left"


def _pace(taken: Sequence[tuple[float, float]]) -> float:
    seconds, expected = map(sum, zip(*taken))
    return seconds / expected


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


# What is written down


def _about(
    experiment: Experiment, base: Mapping[str, Any], seed: int, data: str, cells: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "paper": experiment.paper,
        "figures": list(experiment.figures),
        "paper_table": experiment.paper_table,
        "base": dict(base),
        "datasets": list(experiment.datasets),
        "partitions": experiments.show_numbers(experiment.partitions),
        **({} if experiment.memories is None else {"memories": experiment.memories}),
        "data": data,
        "seed": seed,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": {"system": platform.platform(), "cores": _cores()},
        "threads": None,
        "begun": provenance.now(),
        "seconds": 0.0,
        "status": "begun",
        "failed": {},
        "cells": list(cells),
    }


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sizes(
    todo: int, processes: int | None, threads: int | None, cluster: str | None, on_gpu: bool
) -> tuple[int, int, list[str | None]]:
    """Processes, threads of each, and the devices that they are dealt."""
    for name, value in (("processes", processes), ("threads", threads)):
        if value is not None:
            check_whole(name, value, 1)
    if cluster in QUEUES and processes is None:
        raise MemsciError(f"Say how many batch jobs {cluster} is to hold at a time: --processes 8, for example.")
    if cluster:
        return min(processes or (_cores() if cluster == "local" else 1), todo), threads or 1, [None]
    gpus = 0
    if on_gpu:
        import torch

        gpus = torch.cuda.device_count()
    processes = min(processes or gpus or _cores(), todo)
    return processes, threads or max(1, _cores() // processes), [f"cuda:{k}" for k in range(gpus)] or [None]
