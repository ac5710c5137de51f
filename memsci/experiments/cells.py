"""The work of one cell: a learner is made, learns, and is asked; tables come out (see `memsci.runs.tables` for columns)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from memsci import evaluate
from memsci.config import GateRule
from memsci.errors import MemsciError, check_in, check_whole
from memsci.evaluate import gate_accuracy
from memsci.experiments.settings import of_learner, parse
from memsci.experiments.spec import Cell
from memsci.learners import by_name as learners
from memsci.measures import methods, paper
from memsci.memory import Memory, Partition, QuizItem
from memsci.models.base import Base, load, without_bars
from memsci.phenomena import experiment as phenomena

KINDS = ("single", "compositional")  # of questions that a setting of the measure "beta" may put
OPENS = {"beta": 1.0, "similarity": "inner", "top_k": None, "epsilon": 0.0, "closes": None}  # of no account in a true gate
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
    """The tables of one cell on a base model as `identity` tells it, which a process loads once."""
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
        return load(base, dtype=dtype, device=device)


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
        trials = phenomena.measure(cell.dataset, cell.method, base, cell.partitions[0], cell.seed, report,
                                   **parse(cell.setting))  # fmt: skip
        return {"trials": trials.assign(dataset=cell.dataset)}
    memories, changes = chosen_memories(cell, partitions[0]), overrides(cell, layer_count(base))
    learner = learners.make(cell.method, base, seed=cell.seed, memories=memories, **changes)
    do = _continual if cell.measure == "continual" else _at_the_end
    made: dict[str, list[pd.DataFrame]] = {"responses": [], "quiz": [], "training": []}
    for name, table in do(cell, learner, memories, partitions[0], quiz, report):
        made[name].append(table)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in made.items() if tables}


def learner_settings(cell: Cell, world: Partition, base_name: str, layers: int, size: int | None = None) -> dict[str, Any]:
    """All settings of the cell's learner of this partition, on a base of this name with so many layers and parameters, as
    plain values; {} if none learns."""
    if cell.measure == "gates":
        return {}
    about = {"size": size, "memories": chosen_memories(cell, world)}
    changed = {} if cell.measure == "phenomenon" else overrides(cell, layers)  # its settings are the phenomenon's
    given = learners.resolve(cell.method, base_name, seed=cell.seed, **about, **changed)
    for rule in cell.rules:
        gate_rule(given.rule, rule)
    how = {"protocol": phenomena.EXPERIMENTS[cell.dataset].protocol} if cell.measure == "phenomenon" else {}
    return given.to_dict() | how


def layer_count(base: Base) -> int:
    """How many layers the model has."""
    return base.model.config.get_text_config().num_hidden_layers


def overrides(cell: Cell, layers: int) -> dict[str, Any]:
    """What a cell changes of its learner; of what all share, as much as the learner reads."""
    read = learners.settings(cell.method)
    common = {name: value for name, value in of_learner(cell.common, layers).items() if name in read}
    return common | of_learner(cell.setting, layers)


def gate_rule(rule: GateRule, text: str) -> tuple[GateRule, str]:
    """A rule with what a setting of the measure "beta" changes of it, and which questions are put, one of `KINDS`."""
    values = parse(text)
    kind = values.pop("questions", "single")
    check_in("questions", kind, KINDS)
    for name in values:
        check_in("a setting of the gate", name, [field.name for field in dataclasses.fields(GateRule)])
    return dataclasses.replace(rule, **values), kind


def chosen_memories(cell: Cell, partition: Partition) -> list[Memory]:
    """The memories in their order, with as many paraphrases as the setting says."""
    keep = parse(cell.setting).get("paraphrases")
    if keep is None:
        return list(partition)
    check_whole(f"paraphrases of {partition.name}", keep, 0, min(len(memory.paraphrases) for memory in partition))
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


def _continual(cell, learner, memories, partition, quiz, report) -> Iterator[tuple[str, pd.DataFrame]]:
    """Learn from stop to stop, and ask at each."""
    stops, learnt = cell.stops_for(len(memories)), 0
    for number, stop in enumerate(stops):
        report(number, len(stops))
        yield "training", _learn(learner, memories[learnt:stop], cell)
        learnt = stop
        asked = evaluate.probes(memories[:stop], cell.questions)
        if stop < stops[-1]:
            first = asked["memory_id"] == memories[0].id
            asked = asked[first | ~asked.duplicated("memory_id")].reset_index(drop=True)
        # The true gate tells what of MEGa's loss is the gate's.
        for gate in ("own", "true") if learner.gated and stop == stops[-1] else ("own",):
            yield "responses", _keyed(evaluate.ask(learner, asked, cell.ways, gate=gate), cell, stop)
        if quiz:
            yield "quiz", _keyed(evaluate.ask_quiz(learner, quiz, cell.quiz_by), cell, stop)


class Round(NamedTuple):
    """Questions of one kind that are put to a learner at the end, in some ways, under one gate; `rule` and `setting` are
    those of the gate, None where there is only one."""

    gate: str
    kind: str
    ways: tuple[str, ...]
    rule: GateRule | None = None
    setting: str | None = None


def rounds(cell: Cell, given: GateRule | None) -> list[Round]:
    """What is asked at the end: compositional questions, each memory under its true gate, or under each rule of the gate.

    `given` is the learner's own rule. Under the true gate only rules that differ in more than whom they open are tried; one
    that says how many memories are recalled is asked after recalls alone.
    """
    method, asked = methods.get(cell.method), []
    if cell.measure == "single":
        return [Round("true", "single", cell.ways)]
    if cell.measure == "beta":
        ruled = ((text, *gate_rule(given, text)) for text in cell.rules)
        return [Round("own", kind, cell.ways, rule, text) for text, rule, kind in ruled]
    gates = ("true",) if method.oracle else ("own", "true") if method.gated else ("own",)
    if not cell.rules:
        return [Round(gate, "compositional", cell.ways) for gate in gates]
    tried = set()
    for text in cell.rules:
        rule, _ = gate_rule(given, text)
        ways = tuple(way for way in cell.ways if not way.startswith("direct")) if "k" in parse(text) else cell.ways
        alike = dataclasses.replace(rule, **OPENS)
        for gate in gates if alike not in tried else gates[:1]:
            asked.append(Round(gate, "compositional", ways, rule, text))
        tried.add(alike)
    return asked


def _at_the_end(cell, learner, memories, partition, quiz, report) -> Iterator[tuple[str, pd.DataFrame]]:
    """Learn all, then ask, round by round."""
    todo = rounds(cell, learner.rule if cell.rules else None)
    report(0, len(todo) + 1)
    yield "training", _learn(learner, memories, cell)
    for number, one in enumerate(todo, start=1):
        report(number, len(todo) + 1)
        if one.rule is not None:
            learner.rule = one.rule
        single = one.kind == "single"
        asked = evaluate.probes(memories, cell.questions) if single else evaluate.compositional_probes(partition)
        said = evaluate.ask(learner, asked, one.ways, gate=one.gate)
        yield "responses", _keyed(said, cell, len(memories), one.setting)


def _gates(cell: Cell, base: Base, partitions: Sequence[Partition]) -> pd.DataFrame:
    if cell.method == "by layer":
        options = {name: value if isinstance(value, tuple) else (value,) for name, value in parse(cell.setting).items()}
        table = gate_accuracy.by_layer(base, partitions[0].memories, **options)
    elif cell.method == "by embedding":
        table = gate_accuracy.by_embedding(base, partitions[0].memories)
    else:
        table = gate_accuracy.by_count(base, named_memories(cell, partitions))
    for name, value in (("partition", cell.partition), ("dataset", cell.dataset)):
        if name not in table:
            table.insert(0, name, value)
    table.insert(2, "comparison", cell.method)
    return table


def named_memories(cell: Cell, partitions: Sequence[Partition]) -> dict[int, list[Memory]]:
    """The memories of each partition; where each is about one person, that is the same one for all (paper, Fig. 9)."""
    named = {number: list(world) for number, world in zip(cell.partitions, partitions, strict=True)}
    return gate_accuracy.unify_names(named) if cell.dataset in paper.ONE_PERSON and len(named) > 1 else named
