"""Experiments, each a small TOML file in this folder, and the grid of cells that each unfolds into.

A cell is one independent piece of work: one method with one setting on one partition of one data set. Nothing here needs
a model; `memsci.experiments.cells` does the work of a cell.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from memsci.config import GateRule
from memsci.errors import MemsciError, check_in, check_whole
from memsci.experiments.settings import numbers, parse, prompt_categories, show_numbers
from memsci.experiments.sources import BUILT_IN, PARTITIONS, PHENOMENA, SIZED, dataset_name, partition
from memsci.files import as_path
from memsci.measures import methods
from memsci.memory import Partition

MEASURES = ("continual", "compositional", "single", "beta", "gates", "phenomenon")
COMPARISONS = ("by layer", "by embedding", "by count")
# What `memsci.runs.report` draws of a run of learners, and of one that measures gates alone.
FIGURES = (
    "forgetting_curve", "retention_curve", "knowledge_curve", "prompt_categories", "sweep", "method_bars", "differences",
)  # fmt: skip
GATE_FIGURES = ("gate_by_layer", "embedding_curve", "gate_per_partition", "confusion")
_SHIPPED = resources.files("memsci") / "experiments"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One independent piece of work of a grid; what is not said here is as in `Experiment`.

    Parameters
    ----------
    dataset, partitions
        Name of the data set, and the partition; several only where they are measured together ("by count").
    method, setting
        A learner, or one of `COMPARISONS`, and what departs from its preset, see `memsci.experiments.settings.parse`.
    rules
        Settings under which the same learner is asked one after another, without learning anew (measure "beta").
    stops
        After how many memories there are questions; the last is the end of the partition.
    ways
        How each question is put.
    questions, quiz
        Questions of each memory; items of general knowledge per subject at each stop, 0 for none.
    quiz_by
        How these are chosen from, see `memsci.evaluate.ask_quiz`.
    seed
        Seed of the run.
    """

    measure: str
    dataset: str
    partitions: tuple[int, ...]
    method: str
    setting: str = ""
    common: str = ""
    rules: tuple[str, ...] = ()
    stops: tuple[int, ...] = ()
    ways: tuple[str, ...] = ("direct",)
    questions: int = 3
    quiz: int = 0
    quiz_by: str = "letter"
    seed: int = 0

    @property
    def partition(self) -> int | str:
        """The partition as tables show it: its number, or "0-19" for several together."""
        return self.partitions[0] if len(self.partitions) == 1 else show_numbers(self.partitions)

    @property
    def label(self) -> str:
        """How a progress bar calls it."""
        return f"{self.dataset} {self.partition}, {self.method}{f' ({self.setting})' if self.setting else ''}"

    def stops_for(self, n: int) -> list[int]:
        """The stops in a partition of n memories: those that it reaches, and its end."""
        return [stop for stop in self.stops if stop < n] + [n]


@dataclass(frozen=True)
class Task:
    """A cell with its partitions and all settings of its learner, as plain values (none if nothing learns)."""

    cell: Cell
    partitions: Sequence[Partition]
    learner: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is measured on which methods and data.

    Parameters
    ----------
    name, title, paper
        What it is called, what it shows, and which table or figure of the paper it repeats.
    measure
        "continual": memories are learnt one after another; at each stop one question of every memory learnt so far and
        all questions of the first, at the last stop all questions of all, and the quiz at each.
        "compositional": all memories are learnt, then the partition's compositional questions are asked; where the settings
        of a gated learner are all of its gate, it learns once and is asked under each. "In context" reads the right texts.
        "single": a gated learner, every memory asked under its true gate alone: what one adapter holds, without continual
        learning (adapters are independent of one another, so they are learnt side by side).
        "beta": a gated learner learns all memories once and is asked under each setting of its gate.
        "gates": nothing is learnt; which memory comes first, see `memsci.evaluate.gate_accuracy`.
        "phenomenon": an experiment on human memory, see `memsci.phenomena`; its name is that of the data set, a partition is
        a list.
    methods
        Learners, or for the measure "gates" some of `COMPARISONS`.
    settings
        For each method the settings that are tried; methods left out have their preset, "".
    common
        A setting that all methods share, as far as they read it: "autocast=true".
    ways, stops, questions, quiz, quiz_by
        As in `Cell`.
    only_last
        Methods that are asked at the last stop alone.
    datasets, partitions
        Data sets, and partitions of each; the run may name others.
    memories
        Only the first so many memories of each partition; None for all.
    figures
        What is drawn of its runs, some of `FIGURES` or, for the measure "gates", `GATE_FIGURES`; by default all for which
        the tables of a run have rows.
    paper_table
        The table of the paper, 1 to 4, that its results are set beside; None for none.
    base
        Name of the base model it is meant for, as for `memsci.load`; a run may name another. None: the shipped one. A run is
        known by the weights that it used, whoever named them.
    """

    name: str
    title: str
    measure: str
    methods: tuple[str, ...]
    paper: str = ""
    settings: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    common: str = ""
    ways: tuple[str, ...] = ("direct",)
    stops: tuple[int, ...] = ()
    only_last: tuple[str, ...] = ()
    datasets: tuple[str, ...] = BUILT_IN
    partitions: tuple[int, ...] = tuple(range(PARTITIONS))
    questions: int = 3
    quiz: int = 0
    quiz_by: str = "letter"
    memories: int | None = None
    figures: tuple[str, ...] = ()
    paper_table: int | None = None
    base: str | None = None

    def __post_init__(self) -> None:
        check_in("measure", self.measure, MEASURES)
        gates = self.measure == "gates"
        known = COMPARISONS if gates else methods.names()
        gated = [name for name in known if methods.get(name).gated] if self.measure in ("single", "beta") else known
        texts = ("methods", "datasets", "ways", "only_last", "figures")
        for kind, named in ((str, texts), (int, ("partitions", "stops"))):
            for what in named:
                _check_list(f"{what} of the experiment {self.name!r}", getattr(self, what), kind)
        for what in ("methods", "datasets", "partitions"):
            if not getattr(self, what):
                raise MemsciError(f"The experiment {self.name!r} has no {what}. Name at least one.")
        # Tables call a data set by the name of its file.
        _check_list("the names of the data sets", tuple(map(dataset_name, self.datasets)), str)
        for method in (*self.methods, *self.only_last):
            check_in(f"a method of the measure {self.measure!r}", method, gated)
        for method, tried in self.settings.items():
            check_in("a method with settings of its own", method, known)
            _check_list(f"settings of {method}", tried, str)
        for dataset in self.datasets:
            if (dataset in PHENOMENA) != (self.measure == "phenomenon"):
                raise MemsciError(
                    f"The experiment {self.name!r} measures {self.measure!r}, and {dataset!r} is "
                    f"{'a phenomenon' if dataset in PHENOMENA else 'none'}: {', '.join(PHENOMENA)} belong together with "
                    "the measure 'phenomenon'. Leave the data set out."
                )
        own = set(self.datasets) <= set(SIZED)
        if self.measure == "phenomenon" and (self.common or any(map(any, self.settings.values())) and not own):
            raise MemsciError(
                f"The experiment {self.name!r} has settings of its own for each learner. Leave other settings out."
            )
        for figure in self.figures:
            check_in(f"a figure of the measure {self.measure!r}", figure, GATE_FIGURES if gates else FIGURES)
        check_in("paper_table", self.paper_table, (None, 1, 2, 3, 4))
        if self.base is not None and not (isinstance(self.base, str) and self.base):
            raise MemsciError(
                f'base of the experiment {self.name!r} must be the name of a model, such as "smollm2", on the hub or of a '
                f"folder; {self.base!r} was given. Leave it out for the shipped model."
            )
        for way in self.ways:
            check_in("way", way, (*methods.WAYS, *methods.IN_PARTS))
        check_in("quiz_by", self.quiz_by, methods.CHOICES)
        for stop in self.stops:
            check_whole("stops", stop, 1)
        if list(self.stops) != sorted(self.stops):
            raise MemsciError(f"stops must be in ascending order; {self.stops} was given.")
        for what, least in (("questions", 1), ("quiz", 0), ("memories", 1)):
            if what != "memories" or self.memories is not None:
                check_whole(what, getattr(self, what), least)
        for setting in (self.common, *(setting for several in self.settings.values() for setting in several)):
            parse(setting)

    def cells(self, seed: int = 0) -> list[Cell]:
        """The grid, in the order of its tables: by data set, partition, method, setting."""
        common = {"measure": self.measure, "ways": self.ways, "questions": self.questions, "seed": seed,
                  "common": self.common, "quiz_by": self.quiz_by}  # fmt: skip
        cells = []
        for dataset in map(dataset_name, self.datasets):
            for number in self.partitions:
                for method in self.methods:
                    if method == "by count":
                        continue
                    stops = () if method in self.only_last else self.stops
                    where = {"dataset": dataset, "partitions": (number,), "method": method, "stops": stops}
                    tried = self.settings.get(method, ("",))
                    if self.measure == "phenomenon" and self.memories is not None:
                        tried = tuple("; ".join(filter(None, (one, f"memories={self.memories}"))) for one in tried)
                    once = self.measure == "beta" or self.measure == "compositional" and _of_gate(method, tried)
                    varied = [{"rules": tried}] if once else [{"setting": setting} for setting in tried]
                    cells += [Cell(**common, **where, quiz=self.quiz, **one) for one in varied]
            if "by count" in self.methods:
                where = {"dataset": dataset, "partitions": self.partitions, "method": "by count"}
                cells += [Cell(**common, **where, setting=setting) for setting in self.settings.get("by count", ("",))]
        return cells

    def worlds(self) -> dict[tuple[str, int], Partition]:
        """The partitions by name of data set and number, each with as many memories as are taken."""
        return {
            (dataset_name(name), number): partition(name, number, self.memories)
            for name in self.datasets
            for number in self.partitions
        }

    def tasks(self, settings: Callable[[Cell, Partition], Mapping[str, Any]], seed: int = 0) -> list[Task]:
        """The grid with its data, and what `settings` says of the learner of each cell: all that a run is made of."""
        worlds, tasks = self.worlds(), []
        for cell in self.cells(seed):
            partitions = [worlds[cell.dataset, number] for number in cell.partitions]
            tasks.append(Task(cell, partitions, settings(cell, partitions[0])))
        return tasks

    def to_dict(self) -> dict[str, Any]:
        """All that decides its numbers, as plain JSON values."""
        values = dataclasses.asdict(self)
        shown = ("title", "paper", "figures", "paper_table", "base")  # the weights themselves decide, not their name
        told = {key: value for key, value in values.items() if key not in shown and value is not None}
        usual = {"common": "", "quiz_by": "letter"}  # they came after runs had been kept
        return {key: value for key, value in told.items() if value != usual.get(key)}


def _of_gate(method: str, settings: Sequence[str]) -> bool:
    """Whether a learner is tried under several settings, all of them of its gate."""
    of_gate = {field.name for field in dataclasses.fields(GateRule)}
    return methods.get(method).gated and len(settings) > 1 and all(of_gate >= parse(one).keys() for one in settings)


def names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _SHIPPED.iterdir() if file.name.endswith(".toml"))


def load(name: str | Path) -> Experiment:
    """An experiment by its name, or from a TOML file of the user's own.

    In a file, `settings` is a list for all methods or a table of lists by method, and `partitions` a list of numbers or a
    text such as "0-19". "each prompt" in the place of a list of settings means one for every fine-tuning prompt.
    """
    if str(name).endswith(".toml"):
        path = as_path(name)
    else:
        check_in("experiment", str(name), names())
        path = _SHIPPED / f"{name}.toml"
    name = path.name.removesuffix(".toml")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MemsciError(f"{path}: the experiment cannot be read ({error.strerror or error}).") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise MemsciError(f"The experiment {name!r} is not valid TOML: {error}.") from None
    allowed = [field.name for field in dataclasses.fields(Experiment) if field.name != "name"]
    for key in values:
        check_in(f"a key of the experiment {name!r}", key, allowed)
    for key in ("title", "measure", "methods"):
        if key not in values:
            raise MemsciError(f"The experiment {name!r} lacks the key {key!r}.")
    settings = values.pop("settings", {})
    if not isinstance(settings, dict):
        _check_list(f"methods of the experiment {name!r}", values["methods"], str)
        settings = dict.fromkeys(values["methods"], settings)
    each = [f"prompt={prompt}" for prompt in prompt_categories()]
    settings = {method: each if tried == "each prompt" else tried for method, tried in settings.items()}
    if isinstance(values.get("partitions"), str):
        values["partitions"] = numbers(values["partitions"])
    return Experiment(name=name, settings=_with_tuples(settings), **_with_tuples(values))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _check_list(name: str, values: Any, kind: type) -> None:
    """Raise unless these are several values of a kind, each of them once."""
    listed = isinstance(values, (tuple, list)) and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    if not listed or len(set(values)) < len(values):
        kinds = "whole numbers" if kind is int else "texts"
        raise MemsciError(f"{name} must be a list of {kinds}, each of them once; {values!r} was given.")
