"""What every learner makes of the same memories (paper, Table 1), first step: it is asked, and every text is kept.

The table of responses is scored by `memsci.evaluate.scores`, which needs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from memsci.data import table
from memsci.errors import MemsciError, check_in
from memsci.learners.base import Learner
from memsci.learners.parts import Parts, join
from memsci.measures.methods import GATES, IN_PARTS, WAYS
from memsci.measures.metrics import BETWEEN
from memsci.measures.text_match import check_truth
from memsci.memory import Memory, Partition, QuizItem
from memsci.store.record import Remembered
from memsci.store.store import Records

RESPONSE = (
    "memory_id", "position", "way", "question", "target", "original", "recalled", "answer", "logprob", "tokens", "top_id",
    "gate",
)  # fmt: skip
QUESTIONS = 3  # of each memory, as in the paper


def probes(memories: Any, per_memory: int | None = QUESTIONS) -> pd.DataFrame:
    """The first questions of each memory (None: all): columns memory_id, question, target, original, and the extra ones.

    `memories` is whatever `memsci.data.table` takes, or what a store keeps of them, ``mind.store.records``; original is
    then None for those whose text it does not keep.
    """
    kept = isinstance(memories, Records) or (isinstance(memories, list) and isinstance((*memories, None)[0], Remembered))
    memories = memories if kept else table(memories)
    asked = [
        {"memory_id": memory.id, "question": question.text, "target": question.answer, "original": memory.text}
        | (memory.extra or {})
        | question.extra
        for memory in memories
        for question in memory.questions[:per_memory]
    ]
    if not asked:
        raise MemsciError(f"None of the {len(memories)} memories has a question. Give memories with questions.")
    return _judged(asked)


def compositional_probes(world: Partition) -> pd.DataFrame:
    """The questions of a partition that need several of its memories: columns as `probes`.

    memory_id names all of them, with spaces between, and original holds their texts, with blank lines between. An extra
    column has a value where it is the same for all of them.
    """
    if not world.compositional:
        raise MemsciError(f"The partition {world.name!r} has no compositional questions. Give one that has.")
    known = {memory.id: memory for memory in world}
    asked = [
        {
            "memory_id": " ".join(question.about),
            "question": question.text,
            "target": question.answer,
            "original": BETWEEN.join(known[id].text for id in question.about),
            **_shared([known[id] for id in question.about]),
            **question.extra,
        }
        for question in world.compositional
    ]
    return _judged(asked)


def _shared(memories: Sequence[Memory]) -> dict[str, Any]:
    """The extra columns in which memories agree."""
    first, *others = memories
    return {name: value for name, value in first.extra.items() if all(one.extra.get(name) == value for one in others)}


def _judged(asked: list[dict[str, Any]]) -> pd.DataFrame:
    """The table, once every true answer is known to be one that answers can be judged by."""
    for row in asked:
        try:
            check_truth(row["target"])
        except MemsciError as error:
            raise MemsciError(f"Memory {row['memory_id']}, question {row['question']!r}: {error}") from None
    return pd.DataFrame(asked)


def ask(
    learner: Learner,
    memories: Any,
    ways: Sequence[str] = WAYS,
    per_memory: int | None = QUESTIONS,
    gate: str = "own",
    recall_tokens: int | None = None,
) -> pd.DataFrame:
    """Put questions to a learner: let it recall each memory, answer, and weigh the true answer.

    Parameters
    ----------
    learner
        Who is asked.
    memories
        What is asked about: memories that it has learnt, in any form that it could learn them in, the records of its store
        (see `probes`), or the table of `probes`
        (or `compositional_probes`) to put.
    ways
        Prompting modes: "direct", the question alone; "recall first", after the learner's own recall (iRAG). A learner that
        recalls nothing (RAG) is asked directly only. "direct, in parts" and "recall first, in parts" put each part of a
        question ("Who …, and what …?") by itself and join the answers, see `memsci.learners.parts`.
    per_memory
        How many questions of each memory, None for all; a table is put as it is.
    gate
        "own": what the learner's own gate opens. "true": an oracle opens the right memory alone (several share it
        equally); for learners with a gate.
    recall_tokens
        Longest recall, in tokens. Default: as long as the memories need, see `Learner.recall`.

    Returns
    -------
    pandas.DataFrame
        One row per prompting mode and question: memory_id, position (in the order of learning, from 1; of several memories
        the last), way, question, target, original, recalled (None from RAG; the same for both modes; of several parts the
        recalls of all), answer, logprob (of the target, nats, sum over its tokens; of several parts, over what it names for
        each, missing where it does not name as many), tokens (of the target), top_id (the memory that the gate opens most,
        or that was retrieved; of several parts that of the first that is wrong, if one is; None without a gate), gate; then
        extra columns of the memories and their questions.
    """
    for way in ways:
        check_in("way", way, (*WAYS, *IN_PARTS))
    check_in("gate", gate, GATES)
    put = isinstance(memories, pd.DataFrame) and "memory_id" in memories
    asked = memories.reset_index(drop=True) if put else probes(memories, per_memory)
    about = [ids.split() for ids in asked["memory_id"]]
    position = {id: place for place, id in enumerate(learner.learnt, start=1)}
    if lacking := [id for ids in about for id in ids if id not in position]:
        raise MemsciError(f"{learner.name} has not learnt the memory {lacking[0]!r}. Let it learn what it is asked about.")
    ways = ways if learner.recalls else [way for way in ways if way.startswith("direct")]
    if not ways:
        raise MemsciError(f"{learner.name} recalls nothing, so it cannot be asked after a recall. Ask it directly.")
    questions, targets = asked["question"].tolist(), asked["target"].tolist()
    opened = learner.true_gate(about) if gate == "true" else None
    rows = pd.DataFrame(
        {
            "memory_id": asked["memory_id"].tolist(),
            "position": [max(position[id] for id in ids) for ids in about],
            "question": questions,
            "target": targets,
            "original": asked["original"].tolist(),
            "gate": gate,
        }
    )
    rows = pd.concat([rows, asked[[name for name in asked if name not in RESPONSE]]], axis=1)
    tables = []
    for apart, some in ((False, [way for way in ways if way in WAYS]), (True, [way for way in ways if way in IN_PARTS])):
        if not some:
            continue
        parts = Parts(questions, apart)
        how = {"gate": parts.gate(opened)}
        recalled = learner.recall(parts.questions, **how, max_new_tokens=recall_tokens)
        told = map(BETWEEN.join, parts.by_question(recalled)) if learner.recalls else [None] * len(asked)
        tops = [[ids[0]] for ids in about] if opened is not None else parts.by_question(learner.top(parts.questions))
        top = [next((id for id in ids if id not in of), ids[0]) for ids, of in zip(tops, about, strict=True)]
        known = rows.assign(recalled=pd.Series(list(told), dtype=object), top_id=pd.Series(top, dtype=object))
        for way in some:
            how["recalled"] = recalled if way.startswith("recall first") else None
            weighed = _weigh(learner, parts, targets, how)
            answers = map(join, parts.by_question(learner.answer(parts.questions, **how)))
            tables.append(known.assign(way=way, answer=list(answers), logprob=weighed["logprob"], tokens=weighed["tokens"]))
    return pd.concat(tables, ignore_index=True)[[*RESPONSE, *(name for name in asked if name not in RESPONSE)]]


def _weigh(learner: Learner, parts: Parts, targets: Sequence[str], how: dict[str, Any]) -> pd.DataFrame:
    """Log probability and tokens of the true answer to each question, see `ask`."""
    items = parts.items(targets)
    weighed = learner.logprob(parts.questions, [item or "-" for item in items], **how)
    known = pd.Series([item is not None for item in items])
    return weighed.where(known).groupby(pd.Series(parts.rows)).agg(lambda some: some.sum(skipna=False))


def ask_quiz(learner: Learner, items: Sequence[QuizItem], by: str = "letter") -> pd.DataFrame:
    """Put questions of general knowledge to a learner, its gate open to them if it has one.

    Parameters
    ----------
    items
        The questions, each with 2 to 26 options.
    by
        "letter" (the paper's) or "text", for models that are at chance with letters; see `Learner.choose`.

    Returns
    -------
    pandas.DataFrame
        One row per item: subject, item (its number from 0), question, chosen and answer (indices), correct; by="text" also
        by, so that the table of scores names its protocol.
    """
    chosen = learner.choose(items, by=by)
    rows = [
        (item.subject, number, item.question, choice, item.answer, choice == item.answer)
        for number, (item, choice) in enumerate(zip(items, chosen, strict=True))
    ]
    table = pd.DataFrame(rows, columns=["subject", "item", "question", "chosen", "answer", "correct"])
    return table if by == "letter" else table.assign(by=by)
