"""A rehearsal: what a run will need is tried on its memories and its base before anything is learnt.

Whatever is found here would otherwise fail in a cell, after its learner has learnt for hours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from memsci import evaluate, prompts
from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError, check_in
from memsci.evaluate import gate_accuracy
from memsci.experiments.cells import chosen_memories, gate_rule, layer_count, named_memories, overrides, run_cell
from memsci.experiments.settings import parse
from memsci.experiments.spec import Experiment, Task
from memsci.gate.embed import embedder
from memsci.learners import by_name as learners
from memsci.measures import methods
from memsci.measures.metrics import BETWEEN
from memsci.measures.statistics import unit_means
from memsci.memory import Partition, QuizItem
from memsci.models import generate, sites
from memsci.models.base import Base
from memsci.models.conversation import ANSWER_TOKENS, RECALL_TOKENS
from memsci.phenomena.experiment import EXPERIMENTS
from memsci.prompts import Messages

OF_LAYERS = ("sites", "poolings", "similarities", "whiten")  # settings of the comparison "by layer"


def check(experiment: Experiment) -> None:
    """Raise a `MemsciError` where a phenomenon lacks a method, or where a setting that all share is read by none of them."""
    for dataset in experiment.datasets if experiment.measure == "phenomenon" else ():
        for method in experiment.methods:
            check_in(f"a learner of {dataset}", method, EXPERIMENTS[dataset].methods)
    read = [] if experiment.measure == "gates" else [name for m in experiment.methods for name in learners.settings(m)]
    for name in parse(experiment.common):
        check_in(f"a setting of {', '.join(experiment.methods)}", name, list(dict.fromkeys(read)))


def rehearse(tasks: Sequence[Task], base: Base, quiz: Sequence[QuizItem] = ()) -> None:
    """Raise a `MemsciError` where a run of these tasks, all of one experiment, would fail on this base with this quiz."""
    if tasks[0].cell.measure == "phenomenon":
        return
    each = _first(tasks, "dataset", "partitions", "method", "setting")
    for task in each:
        _try_questions(task)
    if tasks[0].cell.measure == "gates":
        for task in _first(tasks, "method", "setting"):
            _try_gates(task, base)
        return
    _try_learners(_first(tasks, "method", "setting"), base)
    frame = 4 * len(base.chat(prompts.qa("?")))  # more tokens than a template puts around the words of a conversation

    def fit(turns: Messages, more: int, what: str) -> None:
        """Raise if a conversation has no room. Tokens, of which no text has more than bytes, are counted if need be."""
        if sum(len(turn["content"].encode()) for turn in turns) + frame + more > base.max_length:
            base.check_length(len(base.chat(turns)) + more, what)

    for task in each:
        _try_lengths(task, base, fit)
    if quiz:
        generate.choose(base, [])  # its letters
        for item in quiz:
            fit(prompts.mmlu(item.subject, item.question, item.options), 1, f"The question {item.question!r}")
    _try_scoring(tasks)


def _first(tasks: Iterable[Task], *fields: str) -> Iterable[Task]:
    """Of the tasks whose cells have these fields alike, the first."""
    found: dict[tuple, Task] = {}
    for task in tasks:
        found.setdefault(tuple(getattr(task.cell, name) for name in fields), task)
    return found.values()


def _try_questions(task: Task) -> None:
    """The memories hold what will be asked, and every true answer is one that answers can be judged by."""
    cell, world = task.cell, task.partitions[0]
    if cell.measure == "gates":
        gate_accuracy.questions([memory for one in task.partitions for memory in one])
        named_memories(cell, task.partitions)
        return
    memories = chosen_memories(cell, world)
    kinds = [gate_rule(GateRule(), rule)[1] for rule in cell.rules]
    if cell.measure == "compositional" or "compositional" in kinds:
        evaluate.compositional_probes(world)
    if cell.measure in ("continual", "single") or "single" in kinds:
        first = cell.stops_for(len(memories))[0] if cell.measure == "continual" else len(memories)
        evaluate.probes(memories[:first], cell.questions)
        evaluate.probes(memories, cell.questions)


def _try_learners(tasks: Iterable[Task], base: Base) -> None:
    """The base carries such adapters, and has what the gate reads. Only learners that do not train are made."""
    adapters, embeddings = set(), set()
    for task in tasks:
        cell, method = task.cell, methods.get(task.cell.method)
        if not method.trains:
            learners.make(cell.method, base, seed=cell.seed, **overrides(cell, layer_count(base)))
        elif method.trains != "weights":
            encoding = Encoding.from_dict(task.learner["encoding"])
            adapters.add((encoding.where, encoding.layers))
            if "embedding" in method.reads:
                embeddings.add(Embedding.from_dict(task.learner["embedding"]))
    for where, layers in adapters:
        sites.targets(base.model, where, layers)
    for embedding in embeddings:
        embedder(base, embedding)


def _try_gates(task: Task, base: Base) -> None:
    """The comparison itself, on two memories with a question each."""
    cell, world = task.cell, task.partitions[0]
    for name in parse(cell.setting):
        if cell.method != "by layer":
            raise MemsciError(f"The comparison {cell.method} has no settings; {name!r} was given.")
        check_in("a setting of the comparison by layer", name, OF_LAYERS)
    few = [dataclasses.replace(memory, questions=memory.questions[:1]) for memory in world if memory.questions][:2]
    run_cell(dataclasses.replace(cell, partitions=cell.partitions[:1]), base, [Partition(world.name, tuple(few))])


def _try_lengths(task: Task, base: Base, fit: Callable[[Messages, int, str], None]) -> None:
    """Each conversation of the cell fits into the model, with the reply that it may have."""
    cell, recalls, world = task.cell, methods.get(task.cell.method).recalls, task.partitions[0]
    memories = chosen_memories(cell, world)
    if "encoding" in task.learner:
        prompt = prompts.encoding(task.learner["encoding"]["prompt"])
        for memory in memories:
            for text in (memory.text, *memory.paraphrases):
                fit([*prompt, {"role": "assistant", "content": text}], 1, f"Memory {memory.id} with its prompt")
    rules = [GateRule.from_dict(task.learner["rule"])] if "rule" in task.learner else []
    rules = [gate_rule(rules[0], text)[0] for text in cell.rules] or rules
    many = max((_most_recalls(rule, len(memories)) for rule in rules), default=1)
    together = max((len(one.about) for one in world.compositional), default=1) if methods.get(cell.method).oracle else 1
    texts = sorted((memory.text for memory in memories), key=len)[-max(task.learner.get("k", 1), together) :]
    passage = BETWEEN.join(texts)
    longest = RECALL_TOKENS if many == 1 else max(len(base.reply(memory.text)) for memory in memories)
    for question in (*world.compositional, *(one for memory in memories for one in memory.questions[: cell.questions])):
        what = f"The question {question.text!r}, with what stands before it and the longest reply,"
        said = question.answer if len(question.answer) > ANSWER_TOKENS else ""
        answer = max(ANSWER_TOKENS, len(base.reply(said)))
        if not recalls:
            fit(prompts.rag(question.text, passage), answer, what)
        elif "recall first" in cell.ways:
            fit(prompts.irag(question.text, "-"), many * longest + answer, what)
        else:
            fit(prompts.recall(question.text), max(RECALL_TOKENS, answer), what)


def _most_recalls(rule: GateRule, memories: int) -> int:
    """How many memories one question may recall under a rule."""
    most = rule.k if rule.k >= 1 else memories  # a share may take them all
    return min(most, rule.top_k or memories, memories)


def _try_scoring(tasks: Sequence[Task]) -> None:
    """A right answer to one question, by every method, is scored: the judge, every metric and the embedding of texts."""
    cell, world = tasks[0].cell, tasks[0].partitions[0]
    single = any(memory.questions for memory in world)
    asked = evaluate.probes(world) if single else evaluate.compositional_probes(world)
    right = asked.head(1).assign(
        dataset=cell.dataset, partition=0, setting="", stop=1, position=1, way="direct", gate="own", logprob=-1.0, tokens=1
    )
    right = right.assign(recalled=right["original"], answer=right["target"], top_id=right["memory_id"].str.split().str[0])
    known = dict.fromkeys(task.cell.method for task in tasks)
    scores = evaluate.score(pd.concat([right.assign(method=name) for name in known], ignore_index=True))
    unit_means(scores, ["method", "metric"])
