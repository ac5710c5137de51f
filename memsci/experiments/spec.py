"""The paper's experiments, each a small TOML file in this folder, and the grid of cells that each unfolds into.

A cell is one independent piece of work: one method with one setting on one partition of one data set. Nothing here needs
a model; `memsci.experiments.cells` does the work of a cell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from memsci import data
from memsci.errors import MemsciError, check_in, check_whole
from memsci.measures.methods import WAYS
from memsci.memory import Partition, QuizItem
from memsci.prompts import FINE_TUNING_PROMPTS

MEASURES = ("continual", "compositional", "single", "beta", "gates")
METHODS = ("Base", "RAG", "MEGa", "Full", "Full+L2", "Full+EWC", "LoRA", "LoRA+L2", "Full batch")
COMPARISONS = ("by layer", "by embedding", "by count")
# What `memsci.runs.report` draws of a run of learners, and of one that measures gates alone.
FIGURES = (
    "forgetting_curve", "retention_curve", "knowledge_curve", "prompt_categories", "sweep", "method_bars", "differences",
)  # fmt: skip
GATE_FIGURES = ("gate_by_layer", "embedding_curve", "gate_per_partition", "confusion")
BUILT_IN, PUBLISHED = ("episodic", "semantic"), ("wiki", "fictional")
PARTITIONS = 20  # of each of those four
SIZE = 50  # memories of a partition that is cut from a table of the user's own


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One independent piece of work of a grid.

    Parameters
    ----------
    measure
        What is done: one of `MEASURES`, see `Experiment`.
    dataset
        Name of the data set, or of the user's file.
    partitions
        The partition; several only where they are measured together ("by count").
    method
        A learner, or one of `COMPARISONS`.
    setting
        What departs from the learner's preset, see `parse`.
    common
        The same for all cells of the run, of which each learner takes what it reads.
    rules
        Settings under which the same learner is asked one after another, without learning anew (measure "beta").
    stops
        After how many memories there are questions; the last is the end of the partition.
    ways
        How each question is put.
    questions
        Questions of each memory.
    quiz
        Items of general knowledge per subject at each stop; 0 for none.
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
        "compositional": all memories are learnt, then the partition's compositional questions are asked.
        "single": MEGa, every memory asked under its true gate alone: what one adapter holds, without continual learning
        (adapters are independent of one another, so they are learnt side by side).
        "beta": MEGa learns all memories once and is asked under each setting of its gate.
        "gates": nothing is learnt; which memory comes first, see `memsci.gating`.
    methods
        Learners, or for the measure "gates" some of `COMPARISONS`.
    settings
        For each method the settings that are tried; methods left out have their preset, "".
    common
        A setting that all methods share, as far as they read it: "autocast=true".
    ways, stops, questions, quiz
        As in `Cell`.
    only_last
        Methods that are asked at the last stop alone.
    datasets
        Data sets; the run may name others.
    partitions
        Partitions of each; the run may name others.
    memories
        Only the first so many memories of each partition; None for all.
    figures
        What is drawn of its runs, some of `FIGURES` or, for the measure "gates", `GATE_FIGURES`; by default all for which
        the tables of a run have rows.
    paper_table
        The table of the paper, 1 to 4, that its results are set beside; None for none.
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
    memories: int | None = None
    figures: tuple[str, ...] = ()
    paper_table: int | None = None

    def __post_init__(self) -> None:
        check_in("measure", self.measure, MEASURES)
        allowed = (
            COMPARISONS if self.measure == "gates" else ("MEGa",) if self.measure in ("single", "beta") else METHODS
        )
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
            check_in(f"a method of the measure {self.measure!r}", method, allowed)
        for method, tried in self.settings.items():
            check_in("a method with settings of its own", method, METHODS if self.measure != "gates" else COMPARISONS)
            _check_list(f"settings of {method}", tried, str)
        for figure in self.figures:
            drawn = GATE_FIGURES if self.measure == "gates" else FIGURES
            check_in(f"a figure of the measure {self.measure!r}", figure, drawn)
        check_in("paper_table", self.paper_table, (None, 1, 2, 3, 4))
        for way in self.ways:
            check_in("way", way, WAYS)
        for stop in self.stops:
            check_whole("stops", stop, 1)
        if list(self.stops) != sorted(self.stops):
            raise MemsciError(f"stops must be in ascending order; {self.stops} was given.")
        for what, least in (("questions", 1), ("quiz", 0)):
            check_whole(what, getattr(self, what), least)
        if self.memories is not None:
            check_whole("memories", self.memories, 1)
        for setting in (self.common, *(setting for several in self.settings.values() for setting in several)):
            parse(setting)

    def cells(self, seed: int = 0) -> list[Cell]:
        """The grid, in the order of its tables: by data set, partition, method, setting."""
        common = {"measure": self.measure, "ways": self.ways, "questions": self.questions, "seed": seed,
                  "common": self.common}  # fmt: skip
        cells = []
        for dataset in self.datasets:
            named = dataset_name(dataset)
            for number in self.partitions:
                for method in self.methods:
                    if method == "by count":
                        continue
                    stops = () if method in self.only_last else self.stops
                    where = {"dataset": named, "partitions": (number,), "method": method, "stops": stops}
                    tried = self.settings.get(method, ("",))
                    if self.measure == "beta":
                        cells.append(Cell(**common, **where, quiz=self.quiz, rules=tuple(tried)))
                        continue
                    cells += [Cell(**common, **where, quiz=self.quiz, setting=setting) for setting in tried]
            if "by count" in self.methods:
                where = {"dataset": named, "partitions": self.partitions, "method": "by count"}
                cells += [Cell(**common, **where, setting=setting) for setting in self.settings.get("by count", ("",))]
        return cells

    def worlds(self) -> dict[tuple[str, int], Partition]:
        """The partitions by name of data set and number, each with as many memories as are taken.
        """
        worlds = {}
        for dataset in self.datasets:
            for number in self.partitions:
                world = partition(dataset, number)
                worlds[dataset_name(dataset), number] = world if self.memories is None else world.first(self.memories)
        return worlds

    def to_dict(self) -> dict[str, Any]:
        """All that decides its numbers, as plain JSON values."""
        values = dataclasses.asdict(self)
        shown = ("title", "paper", "figures", "paper_table")
        told = {key: value for key, value in values.items() if key not in shown and value is not None}
        return {key: value for key, value in told.items() if key != "common" or value}


def names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load(name: str | Path) -> Experiment:
    """An experiment by its name, or from a TOML file of the user's own.

    In a file, `settings` is a list for all methods or a table of lists by method, and `partitions` a list of numbers or a
    text such as "0-19". "each prompt" in the place of a list of settings means one for every fine-tuning prompt.
    """
    path = Path(name)
    if path.suffix != ".toml":
        check_in("experiment", str(name), names())
        text, name = (_folder() / f"{name}.toml").read_text(encoding="utf-8"), str(name)
    else:
        try:
            text, name = path.read_text(encoding="utf-8"), path.stem
        except OSError as error:
            raise MemsciError(f"{path}: the experiment cannot be read ({error.strerror or error}).") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
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
    values["settings"] = {method: _settings(tried) for method, tried in settings.items()}
    if isinstance(values.get("partitions"), str):
        values["partitions"] = numbers(values["partitions"])
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Experiment(name=name, **values)


def _settings(tried: Sequence[str] | str) -> tuple[str, ...]:
    if tried == "each prompt":
        return tuple(f"prompt={name}" for name in prompt_categories())
    return tuple(tried) if isinstance(tried, list) else tried


def _check_list(name: str, values: Any, kind: type) -> None:
    """Raise unless these are several values of a kind, each of them once."""
    listed = isinstance(values, (tuple, list)) and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    if not listed or len(set(values)) < len(values):
        kinds = "whole numbers" if kind is int else "texts"
        raise MemsciError(f"{name} must be a list of {kinds}, each of them once; {values!r} was given.")


def prompt_categories() -> dict[str, str]:
    """The category of each fine-tuning prompt, by the name that `Encoding.prompt` takes."""
    return {name: category for category, named in FINE_TUNING_PROMPTS.items() for name in named}


def parse(setting: str) -> dict[str, Any]:
    """What a setting such as "strength=0.1; where=attention" says: names and values.

    Values are read as whole numbers, numbers, true, false, none, or else text; commas make a tuple.
    """
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in setting.split(";"))):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not name or name in values:
            raise MemsciError(f"A setting is written 'name=value; name=value', each name once; {setting!r} was given.")
        read = tuple(_value(piece.strip()) for piece in text.split(",") if piece.strip())
        values[name] = read if "," in text else read[0] if read else ""
    return values


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from a text such as "0-3,7".
    """
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise MemsciError(f"Numbers are written like '0-3,7'; {text!r} was given.")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or len(set(found)) < len(found):
        raise MemsciError(f"Each number must come once, and ranges must rise; {text!r} was given.")
    return tuple(found)


def show_numbers(values: Sequence[int]) -> str:
    """The shortest text that `numbers` reads as these values."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][-1] + 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


# Data


def dataset_name(dataset: str) -> str:
    """What tables call a data set: its name, or the name of the file."""
    if dataset in (*BUILT_IN, *PUBLISHED):
        return dataset
    if not Path(dataset).suffix:
        check_in("dataset", dataset, [*BUILT_IN, *PUBLISHED, "the path of a table"])
    return Path(dataset).name


def partition(dataset: str, number: int) -> Partition:
    """One partition of a data set: of the built-in world, of the published data, or of a table of the user's own.

    A table is cut into partitions of 50 memories, the last one shorter.
    """
    name = dataset_name(dataset)
    if dataset in (*BUILT_IN, *PUBLISHED):
        return _published(dataset, number)
    try:
        status = os.stat(dataset)
    except OSError:
        status = None  # which its reader explains
    memories = _table(dataset, status and (status.st_mtime_ns, status.st_size))
    check_in(f"a partition of {dataset}", number, range(-(-len(memories) // SIZE)))
    return Partition(f"{name}-{number}", tuple(memories[number * SIZE : (number + 1) * SIZE]))


@cache
def _published(dataset: str, number: int) -> Partition:
    return data.builtin(dataset, number) if dataset in BUILT_IN else data.published(dataset, number)


@cache
def _table(path: str, state: tuple | None) -> tuple:
    """The memories of a table in this state: once it is changed, it is read anew."""
    return tuple(data.table(path))


def content(value: Any) -> str:
    """SHA-256 of anything made of plain values and the frozen values of `memsci.memory`, 64 hexadecimal digits."""
    told = lambda pairs: {name: one for name, one in pairs if name != "extra" or one}  # younger than most hashes
    plain = lambda one: dataclasses.asdict(one, dict_factory=told) if dataclasses.is_dataclass(one) else str(one)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def quiz_items(source: str, per_subject: int) -> list[QuizItem]:
    """General knowledge: of the built-in world ("built-in"), from MMLU on the hub ("mmlu"), or from a folder with MMLU.

    The paper's four subjects of MMLU are used whole up to `per_subject` items each.
    """
    if not per_subject:
        return []
    if source == "built-in":
        return data.quiz("test", per_subject)
    items = data.mmlu() if source == "mmlu" else data.mmlu(source=source)
    by_subject: dict[str, list[QuizItem]] = {}
    for item in items:
        by_subject.setdefault(item.subject, []).append(item)
    return [item for several in by_subject.values() for item in several[:per_subject]]


def _folder():
    return resources.files("memsci") / "experiments"
