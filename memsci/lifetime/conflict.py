"""Which of two answers is given: the newer memory's or the older one's, the memory's or the one that the base knows.

Two questions. `corrected`: does a correction win over the memory that it corrects, and by what gain? `conflicts`: does a
memory win over general knowledge that it contradicts, and how strong must its gate be? Conflicts are graded by what the base
alone holds of the old answer: its mean log probability per token, after the question in the form "Question: … Answer:", in
which an answer is a few words and not a sentence. *Not in the paper.*
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from memsci import prompts
from memsci.errors import check_columns
from memsci.gate.softmax import Gate
from memsci.measures.text_match import contains
from memsci.memory import Memory, Question
from memsci.models import conversation
from memsci.models.base import Base

GAINS = (None, 0.0, 1.0, 2.0, 5.0, 10.0)
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0)
SUBJECT = "general knowledge"  # what the prompt names that knowledge is graded by


@dataclass(frozen=True)
class Fact:
    """An everyday fact as a memory tells it, against what is known.

    Parameters
    ----------
    memory
        Its one question is answered by the new fact.
    known
        What a base may know instead; None where there is nothing to know.
    """

    memory: Memory
    known: str | None

    @property
    def question(self) -> Question:
        return self.memory.questions[0]


@cache
def facts() -> tuple[Fact, ...]:
    """Eighteen invented changes to everyday facts: twelve contradict what is known, six tell of what never was."""
    return tuple(
        Fact(Memory(one["text"], one["id"], questions=[(one["question"], one["answer"])]), one.get("known"))
        for one in _content()["fact"]
    )


@cache
def elsewhere() -> tuple[Question, ...]:
    """Ten everyday facts of the same kinds that no memory of `facts` contradicts."""
    return tuple(Question(one["question"], one["answer"]) for one in _content()["elsewhere"])


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads((resources.files("memsci") / "lifetime" / "conflicts.toml").read_text(encoding="utf-8"))


def said(mind: Any, probes: pd.DataFrame, via_recall: bool = False, gate: Gate | None = None) -> pd.DataFrame:
    """What a mind answers to questions with two answers, and what it holds of each.

    Parameters
    ----------
    mind
        A `memsci.MEGa`, or another learner.
    probes
        Columns question, new and old (the two answers; old may be missing), and any others, which come along.
    via_recall
        Recall first, then answer (iRAG).
    gate
        Instead of the mind's own, a row for each question.

    Returns
    -------
    pandas.DataFrame
        The probes with answer; says new, says old: whether it contains either (missing where there is none); and nats new,
        nats old: mean log probability of each per token, in nats.
    """
    check_columns("The table of probes", ("question", "new", "old"), probes.columns)
    rows = probes.reset_index(drop=True)
    asked, how = rows["question"].tolist(), {} if gate is None else {"gate": gate}
    recalled = mind.recall(asked, **how) if via_recall else None
    rows["answer"] = mind.answer(asked, recalled=recalled, **how)
    for name in ("new", "old"):
        there = rows[name].notna().to_numpy()
        truths = rows[name].where(there, rows["new"]).tolist()
        weighed = mind.logprob(asked, truths, recalled=recalled, **how)
        says = [contains(answer, truth) if known else None for answer, truth, known in zip(rows["answer"], truths, there)]
        rows[f"says {name}"] = pd.array(says, dtype="boolean")
        rows[f"nats {name}"] = np.where(there, weighed["logprob"] / weighed["tokens"], np.nan)
    return rows


def corrected(
    mind: Any, probes: pd.DataFrame, gains: Sequence[float | None] = GAINS, ways: Sequence[str] = ("direct", "recall first")
) -> pd.DataFrame:
    """Who wins, a memory or its correction, by the gain of the gate.

    Parameters
    ----------
    mind
        A `memsci.MEGa` with memories that correct others; its rule is as before afterwards.
    probes
        As in `said`: new is the answer of the correction, old that of what it corrects.
    gains
        λ, see `memsci.gate.newer`; None: no gain.
    ways
        "direct", "recall first".

    Returns
    -------
    pandas.DataFrame
        A row per gain, way and question: gain (text, "none" without), way, then as `said` gives them.
    """
    rule, tables = mind.rule, []
    try:
        for gain in gains:
            mind.rule = replace(rule, gain=gain)
            for way in ways:
                table = said(mind, probes, way == "recall first")
                tables.append(table.assign(gain="none" if gain is None else f"{gain:g}", way=way))
    finally:
        mind.rule = rule
    return _first(pd.concat(tables, ignore_index=True), "gain", "way")


def grades(base: Base, facts: Sequence[Fact]) -> pd.DataFrame:
    """How firmly a base knows what each fact contradicts.

    Returns
    -------
    pandas.DataFrame
        memory_id; nats: mean log probability per token of the known answer, without any memory; says known: whether the
        base, asked as a memory is, gives it; grade: "novel" without a known answer, else "weak" below the median of nats,
        "strong" from it on.
    """
    known = [f" {one.known or one.question.answer}" for one in facts]
    weighed = conversation.logprob(base, [prompts.cloze(SUBJECT, one.question.text) for one in facts], known)
    answers = conversation.say(base, [prompts.qa(one.question.text) for one in facts], conversation.ANSWER_TOKENS)
    novel = np.array([one.known is None for one in facts])
    nats = np.where(novel, np.nan, weighed["logprob"] / weighed["tokens"])
    strong = nats >= np.median(nats[~novel]) if not novel.all() else novel
    return pd.DataFrame(
        {
            "memory_id": [one.memory.id for one in facts],
            "nats": nats,
            "says known": pd.array(
                [None if one.known is None else contains(said, one.known) for one, said in zip(facts, answers)], "boolean"
            ),
            "grade": np.where(novel, "novel", np.where(strong, "strong", "weak")),
        }
    )


def conflicts(
    mind: Any,
    contradicted: Sequence[Fact] | None = None,
    others: Sequence[Question] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    progress: bool = True,
) -> pd.DataFrame:
    """Does a memory win over what the base knows? Facts are encoded, and asked for under gates of several strengths.

    A strength w multiplies the weights of the mind's own gate: at 1 the paper's, above it the memories that a question opens
    speak louder than they were learnt to. The same w is put to questions about other facts, to see what it costs there.

    Parameters
    ----------
    mind
        A `memsci.MEGa`; what is not stored yet is encoded.
    contradicted, others
        Default: `facts`, `elsewhere`.
    strengths
        w, 0 or more.
    progress
        Show a bar while encoding.

    Returns
    -------
    pandas.DataFrame
        A row per strength and question: strength, grade ("novel", "weak", "strong", "elsewhere"), memory_id (missing
        elsewhere), base nats (of the known answer, see `grades`), then as from `said`: new is the memory's answer, old
        the known one. Elsewhere the known one alone.
    """
    contradicted, others = facts() if contradicted is None else contradicted, elsewhere() if others is None else others
    mind.encode([one.memory for one in contradicted], progress=progress)
    graded = grades(mind.base, contradicted)
    told = pd.DataFrame(
        {
            "memory_id": graded["memory_id"],
            "grade": graded["grade"],
            "base nats": graded["nats"],
            "question": [one.question.text for one in contradicted],
            "new": [one.question.answer for one in contradicted],
            "old": [one.known for one in contradicted],
        }
    )
    # Elsewhere there is one answer: it stands as the old one, and its log probability alone is of interest.
    rest = pd.DataFrame({"grade": "elsewhere", "question": [q.text for q in others], "old": [q.answer for q in others]})
    probes = pd.concat([told, rest.assign(new=rest["old"])], ignore_index=True)
    opened, tables = mind.gate(probes["question"].tolist()), []
    for strength in strengths:
        table = said(mind, probes, gate=replace(opened, weights=opened.weights * strength))
        tables.append(table.assign(strength=float(strength)))
    table = pd.concat(tables, ignore_index=True)
    table.loc[table["grade"] == "elsewhere", ["new", "says new", "nats new"]] = None
    return _first(table, "strength", "grade")


def winning(table: pd.DataFrame) -> pd.DataFrame:
    """The least strength at which each memory of a table of `conflicts` is answered, and what is known is not said.

    Returns
    -------
    pandas.DataFrame
        memory_id, grade, base nats, strength (missing where none won).
    """
    rows = table[table["grade"] != "elsewhere"]
    won = rows["says new"].astype("boolean").fillna(False) & ~rows["says old"].astype("boolean").fillna(False)
    least = rows[won].groupby("memory_id")["strength"].min()
    known = rows.drop_duplicates("memory_id")[["memory_id", "grade", "base nats"]].reset_index(drop=True)
    return known.assign(strength=known["memory_id"].map(least))


def _first(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    return table[[*names, *(name for name in table if name not in names)]]
