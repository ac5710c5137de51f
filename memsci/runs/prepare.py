"""A run before its work: an experiment becomes a folder and a job per cell, once all that it needs has been tried."""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memsci import experiments, provenance
from memsci.experiments import Experiment, Task
from memsci.files import as_folder, as_path, content, make_folder, write_json
from memsci.memory import QuizItem
from memsci.runs import folder as files
from memsci.runs.worker import WORK, Job, cores


@dataclass(frozen=True)
class Prepared:
    """A run before its work: its folder, what decides its numbers (`config`), what run.json says at the beginning (`about`),
    a job per cell in the order of the grid, and the device on which the base was loaded here.

    `expected` holds the seconds planned for each cell, by its id. Only their ratios count: finished cells tell how fast the
    machine is.
    """

    folder: Path
    config: Mapping[str, Any]
    about: Mapping[str, Any]
    jobs: Sequence[Job]
    expected: Mapping[str, float]
    device: str

    @property
    def left(self) -> list[Job]:
        """The jobs that are not finished."""
        return [job for job in self.jobs if not files.finished(self.folder, job.id)]

    def begin(self) -> Prepared:
        """Make the folder, if there is none."""
        make_folder(self.folder)
        for name, value in (("run.json", self.about), ("config.json", self.config)):
            if not (self.folder / name).is_file():
                write_json(self.folder / name, value)
        return self


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
    can therefore be taken over from another run in the same folder `runs`. What the cells that are left will need is tried
    first, see `memsci.experiments.rehearsal`.

    Parameters
    ----------
    experiment
        From `choose` or `memsci.experiments.load`.
    base
        Name of the base model, as for `memsci.load`. Default: the one that the experiment names, else the shipped one.
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
    from memsci.experiments.cells import identity, layer_count, learner_settings
    from memsci.experiments.rehearsal import check, rehearse
    from memsci.models.base import load
    from memsci.runs.plan import ACCELERATOR, PROCESSOR, Shape, planned, seconds

    as_folder(runs)
    check(experiment)
    items = experiments.quiz_items(quiz, experiment.quiz)
    experiment.worlds()  # what cannot be read is told before the model is
    base = base or experiment.base
    # Workers may stand in another folder.
    model = load(str(as_path(base)) if base and as_path(base).exists() else base, dtype=dtype)
    sizes = layer_count(model), model.model.num_parameters()
    tasks = experiment.tasks(lambda cell, world: learner_settings(cell, world, model.name, *sizes), seed)
    known, machine = Shape(model.name, model.model), PROCESSOR if model.device.type == "cpu" else ACCELERATOR
    expected = [seconds(one, known, machine) for one in planned(tasks, known, len(items))]
    about = {"name": model.name, **identity(model), "device": str(model.device)}
    prepared = lay_out(experiment, about, tasks, seed, runs, items, expected=expected)
    if prepared.left:
        rehearse(tasks, model, items)
    return prepared.begin()


def lay_out(
    experiment: Experiment,
    base: Mapping[str, str],
    tasks: Sequence[Task],
    seed: int,
    runs: str | os.PathLike[str],
    quiz: Sequence[QuizItem] = (),
    work: str = WORK,
    expected: Sequence[float] | None = None,
) -> Prepared:
    """The part of `prepare` that needs no model; nothing is written.

    `base` holds name, fingerprint, tokenizer, dtype and device of the base model, `tasks` is the grid (`Experiment.tasks`),
    `work` the function that does a cell, as "module:name", `expected` the seconds planned for each; None: all alike.
    """
    from memsci.models.base import SHIPPED

    hashes: dict[tuple[str, int], str] = {}
    for task in tasks:
        for number, world in zip(task.cell.partitions, task.partitions):
            if (task.cell.dataset, number) not in hashes:
                hashes[task.cell.dataset, number] = content(world)
    common = {"base": base["fingerprint"], "quiz": content(quiz), "version": files.VERSION}
    # They came after results had been kept: the shipped model's tokenizer is one with it, and float32 the rule.
    if base["name"] != SHIPPED:
        common["tokenizer"] = base["tokenizer"]
    if base["dtype"] != "float32":
        common["dtype"] = base["dtype"]
    ids, learners = [], {}
    for cell, learner in ((task.cell, task.learner) for task in tasks):
        learners[f"{cell.method}; {cell.setting}" if cell.setting else cell.method] = learner
        own = [hashes[cell.dataset, number] for number in cell.partitions]
        ids.append(content({**common, "cell": cell, "data": own, "learner": learner})[: files.ID])
    config = {
        **common,
        "experiment": experiment.to_dict() | {"datasets": list(dict.fromkeys(task.cell.dataset for task in tasks))},
        "learners": learners,
        "data": {f"{dataset} {number}": hashed for (dataset, number), hashed in hashes.items()},
        "seed": seed,
    }
    path = as_folder(runs) / f"{experiment.name}-{content(config)[: files.ID]}"
    model = {name: base[name] for name in ("name", "fingerprint", "tokenizer", "dtype")}
    jobs = [
        Job(id=cell_id, cell=task.cell, partitions=task.partitions, quiz=quiz, folder=path, base=model, work=work)
        for cell_id, task in zip(ids, tasks)
    ]
    about = {
        "experiment": experiment.name,
        "title": experiment.title,
        "paper": experiment.paper,
        "figures": list(experiment.figures),
        "paper_table": experiment.paper_table,
        "base": dict(base),
        "datasets": list(experiment.datasets),
        "partitions": experiments.show_numbers(experiment.partitions),
        **({} if experiment.memories is None else {"memories": experiment.memories}),
        "data": content([*hashes.values()]),
        "seed": seed,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": {"system": platform.platform(), "cores": cores()},
        "threads": None,
        "begun": provenance.now(),
        "seconds": 0.0,
        "status": "begun",
        "failed": {},
        "cells": [{"id": job.id, "label": job.cell.label} for job in jobs],
    }
    times = dict(zip(ids, expected or [1.0] * len(ids), strict=True))
    return Prepared(path, config, about, jobs, times, base["device"])


def command(folder: Path) -> str:
    """The command line by which a run, or a published one, is made again; what an experiment has by itself is left out.

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
