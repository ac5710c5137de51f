"""The work of one cell: a learner is made, learns, and is asked; tables come out (see `memsci.runs.tables` for columns)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from memsci import evaluate
from memsci.config import GateRule
from memsci.errors import MemsciError, check_in, check_whole
from memsci.evaluate import gate_accuracy as gating
from memsci.experiments.spec import Cell, Experiment, parse
from memsci.learners import registry as learners
from memsci.measures import paper
from memsci.memory import Memory, Partition, QuizItem
from memsci.models.base import SHIPPED, Base, load, without_bars
from memsci.phenomena import experiment as phenomena

# Shares of the depth: layers 1–10, 10–21 and 21–32 of 32 (paper, Table 3).
REGIONS = {"early": (1, 10), "middle": (10, 21), "late": (21, 32)}
KINDS = ("single", "compositional")

Report = Callable[[int, int], None]  # steps done and all steps of a cell
Tables = dict[str, pd.DataFrame]


def work(
    cell: Cell,
    partitions: Sequence[Partition],
    quiz: Sequence[QuizItem],
    base: Mapping[str, str],
    device: str | None,
    report: Report,
) -> Tables:
    """The tables of one cell on a base model as `identity` tells it, which a process loads once.
    """
    found = _loaded(base["name"], base["dtype"], device)
    for what, here in identity(found).items():
        if here != base[what]:
            raise MemsciError(
                f"The {what} of {found.name} here is {here}, and {base[what]} where the run was begun: it is another model, "
                "or another version of it. Give all machines the same memsci, and the same folder of the model."
            )
    return run_cell(cell, found, partitions, quiz, report)


@cache
def _loaded(base: str, dtype: str, device: str | None) -> Base:
    with without_bars():  # a run has bars of its own
        return load(None if base == SHIPPED else base, dtype=dtype, device=device)


def identity(base: Base) -> dict[str, str]:
    """What decides the numbers of a base model, as plain values: fingerprint, tokenizer (its fingerprint), dtype."""
    told = {"fingerprint": base.fingerprint, "tokenizer": base.tokenizer_fingerprint}
    return told | {"dtype": str(base.dtype).removeprefix("torch.")}


def run_cell(
    cell: Cell,
    base: Base,
    partitions: Sequence[Partition],
    quiz: Sequence[QuizItem] = (),
    report: Report = lambda done, total: None,
) -> Tables:
    """What a cell measures, as tables.

    Parameters
    ----------
    cell
        The piece of work.
    base
        The base model; it stays as it is.
    partitions
        The memories of `cell.partitions`, in that order.
    quiz
        Items of general knowledge, asked at each stop.
    report
        Called with the steps done and their number, now and then.

    Returns
    -------
    dict
        "responses", "training" and, with a quiz, "quiz"; "gates" alone for the measure "gates", "trials" for
        "phenomenon".
    """
    if cell.measure == "gates":
        return {"gates": _gates(cell, base, partitions)}
    if cell.measure == "phenomenon":
        trials = phenomena.measure(cell.dataset, cell.method, base, cell.partitions[0], cell.seed, report)
        return {"trials": trials.assign(dataset=cell.dataset)}
    made = _MEASURES[cell.measure](cell, base, partitions[0], quiz, report)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in made.items() if tables}


def learner_settings(cell: Cell, base_name: str, layers: int) -> dict[str, Any]:
    """All settings of the cell's learner with its defaults filled in, as plain values; empty if nothing learns.

    Parameters
    ----------
    cell
        The cell.
    base_name
        Name of the base, on which the presets depend.
    layers
        How many layers it has.
    """
    if cell.measure == "gates":
        return {}
    given = learners.resolve(cell.method, base_name, seed=cell.seed, **_overrides(cell, layers))
    for rule in cell.rules:
        _gate_rule(given.rule, rule)
    how = {"protocol": phenomena.EXPERIMENTS[cell.dataset].protocol} if cell.measure == "phenomenon" else {}
    return given.to_dict() | how


def layer_count(base: Base) -> int:
    """How many layers the model has."""
    return base.model.config.get_text_config().num_hidden_layers


def region(name: str, layers: int) -> tuple[int, ...]:
    """Layers, counted from 0, of the "early", "middle" or "late" part of a model with so many."""
    check_in("layers", name, REGIONS)
    first, last = (max(1, round(edge * layers / 32)) for edge in REGIONS[name])
    return tuple(range(first - 1, last))


def check_common(experiment: Experiment) -> None:
    """Raise a `MemsciError` where a setting that all methods share is read by none of them."""
    read = [] if experiment.measure == "gates" else [name for m in experiment.methods for name in learners.settings(m)]
    for name in parse(experiment.common):
        check_in(f"a setting of {', '.join(experiment.methods)}", name, list(dict.fromkeys(read)))


def check_memories(cell: Cell, partitions: Sequence[Partition]) -> None:
    """Raise a `MemsciError` where the memories of a cell lack what will be asked, before anything is learnt."""
    kinds = [_gate_rule(GateRule(), rule)[1] for rule in cell.rules]
    if cell.measure == "compositional" or "compositional" in kinds:
        for world in partitions:
            evaluate.compositional_probes(world)
    if cell.measure in ("continual", "single") or "single" in kinds:
        for world in partitions:
            first = cell.stops_for(len(world))[0] if cell.measure == "continual" else len(world)
            evaluate.probes(world.memories[:first], cell.questions)
            evaluate.probes(world, cell.questions)  # every true answer


def _overrides(cell: Cell, layers: int) -> dict[str, Any]:
    """What a cell changes of its learner; of what all share, as much as the learner reads."""
    read = learners.settings(cell.method)
    common = {name: value for name, value in _values(cell.common, layers).items() if name in read}
    return common | _values(cell.setting, layers)


def _values(setting: str, layers: int) -> dict[str, Any]:
    """What a setting changes of the learner: those of its values that do not concern the data."""
    values = {name: value for name, value in parse(setting).items() if name not in ("paraphrases", "questions")}
    if isinstance(values.get("layers"), str):
        values["layers"] = region(values["layers"], layers)
    elif isinstance(values.get("layers"), int):
        values["layers"] = (values["layers"],)
    return values


def _gate_rule(rule: GateRule, text: str) -> tuple[GateRule, str]:
    """A rule with what a setting of the measure "beta" changes of it, and which questions are put, one of `KINDS`."""
    values = parse(text)
    kind = values.pop("questions", "single")
    check_in("questions", kind, KINDS)
    for name in values:
        check_in("a setting of the gate", name, [field.name for field in dataclasses.fields(GateRule)])
    return dataclasses.replace(rule, **values), kind


def _learner(cell: Cell, base: Base) -> learners.Learner:
    return learners.make(cell.method, base, seed=cell.seed, **_overrides(cell, layer_count(base)))


def _memories(cell: Cell, partition: Partition) -> list[Memory]:
    """The memories in their order, with as many paraphrases as the setting says."""
    keep = parse(cell.setting).get("paraphrases")
    if keep is None:
        return list(partition)
    fewest = min(len(memory.paraphrases) for memory in partition)
    check_whole(f"paraphrases of {partition.name}", keep, 0, fewest)
    return [dataclasses.replace(memory, paraphrases=memory.paraphrases[:keep]) for memory in partition]


def _keyed(table: pd.DataFrame, cell: Cell, stop: int | None = None, setting: str | None = None) -> pd.DataFrame:
    """The table with the columns in front that say what it is of."""
    keys: dict[str, Any] = {"dataset": cell.dataset, "partition": cell.partition, "method": cell.method}
    keys["setting"] = cell.setting if setting is None else setting
    if stop is not None:
        keys["stop"] = stop
    return pd.concat([pd.DataFrame(keys, index=table.index), table], axis=1)


def _learn(learner: learners.Learner, memories: Sequence[Memory], cell: Cell) -> pd.DataFrame:
    """One row per memory. Seconds are left out: tables of the same run are the same, on whatever machine."""
    return _keyed(learner.learn(memories, progress=False).drop(columns="seconds"), cell)


def _continual(cell: Cell, base: Base, partition: Partition, quiz: Sequence[QuizItem], report: Report) -> dict:
    learner, memories = _learner(cell, base), _memories(cell, partition)
    made: dict[str, list[pd.DataFrame]] = {"responses": [], "quiz": [], "training": []}
    stops, learnt = cell.stops_for(len(memories)), 0
    for place, stop in enumerate(stops):
        report(place, len(stops))
        made["training"].append(_learn(learner, memories[learnt:stop], cell))
        learnt = stop
        asked = evaluate.probes(memories[:stop], cell.questions)
        if stop < stops[-1]:
            first = asked["memory_id"] == memories[0].id
            asked = asked[first | ~asked.duplicated("memory_id")].reset_index(drop=True)
        # The true gate tells what of MEGa's loss is the gate's.
        gates = ("own", "true") if learner.gated and stop == stops[-1] else ("own",)
        for gate in gates:
            made["responses"].append(_keyed(evaluate.ask(learner, asked, cell.ways, gate=gate), cell, stop))
        if quiz:
            made["quiz"].append(_keyed(evaluate.ask_quiz(learner, quiz), cell, stop))
    return made


def _compositional(cell: Cell, base: Base, partition: Partition, quiz: Sequence[QuizItem], report: Report) -> dict:
    learner, memories = _learner(cell, base), _memories(cell, partition)
    report(0, 2)
    training = _learn(learner, memories, cell)
    report(1, 2)
    asked = evaluate.compositional_probes(partition)
    gates = ("own", "true") if learner.gated else ("own",)
    said = [evaluate.ask(learner, asked, cell.ways, gate=gate) for gate in gates]
    return {"responses": [_keyed(one, cell, len(memories)) for one in said], "training": [training]}


def _single(cell: Cell, base: Base, partition: Partition, quiz: Sequence[QuizItem], report: Report) -> dict:
    learner, memories = _learner(cell, base), _memories(cell, partition)
    report(0, 2)
    training = _learn(learner, memories, cell)
    report(1, 2)
    said = evaluate.ask(learner, evaluate.probes(memories, cell.questions), cell.ways, gate="true")
    return {"responses": [_keyed(said, cell, len(memories))], "training": [training]}


def _beta(cell: Cell, base: Base, partition: Partition, quiz: Sequence[QuizItem], report: Report) -> dict:
    learner, memories = _learner(cell, base), _memories(cell, partition)
    steps = len(cell.rules) + 1
    report(0, steps)
    made = {"training": [_learn(learner, memories, cell)], "responses": []}
    rule = learner.rule
    for place, text in enumerate(cell.rules):
        report(place + 1, steps)
        learner.rule, kind = _gate_rule(rule, text)
        if kind == "single":
            asked = evaluate.probes(memories, cell.questions)
        else:
            asked = evaluate.compositional_probes(partition)
        said = evaluate.ask(learner, asked, cell.ways)
        made["responses"].append(_keyed(said, cell, len(memories), text))
    return made


_MEASURES: Mapping[str, Callable] = {
    "continual": _continual, "compositional": _compositional, "single": _single, "beta": _beta,
}  # fmt: skip


def _gates(cell: Cell, base: Base, partitions: Sequence[Partition]) -> pd.DataFrame:
    options = {name: value if isinstance(value, tuple) else (value,) for name, value in parse(cell.setting).items()}
    if cell.method == "by layer":
        table = gating.by_layer(base, partitions[0].memories, **options)
    elif cell.method == "by embedding":
        table = gating.by_embedding(base, partitions[0].memories)
    else:
        named = {number: list(world) for number, world in zip(cell.partitions, partitions, strict=True)}
        if cell.dataset in paper.ONE_PERSON and len(named) > 1:
            named = gating.unify_names(named)
        table = gating.by_count(base, named)
    for name, value in (("partition", cell.partition), ("dataset", cell.dataset)):
        if name not in table:
            table.insert(0, name, value)
    table.insert(2, "comparison", cell.method)
    return table
