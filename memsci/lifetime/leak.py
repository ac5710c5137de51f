"""What the others tell of a memory that was forgotten.

`memsci.MEGa.forget` leaves a mind that never had the memory, bit for bit; what is still answered right about it comes from
the base, which may guess, and from the other memories, which may be about the same. Both are measured here without
forgetting anything: the gate over all memories but one (``only`` of `memsci.MEGa.gate`) is that of the mind that forgot it.
*Not in the paper.*
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from memsci.data import table
from memsci.errors import MemsciError
from memsci.measures.text_match import contains

STATES = ("remembered", "forgotten", "base")


def leak(mind: Any, memories: Any, per_memory: int | None = None) -> pd.DataFrame:
    """The questions about each memory, as answered with it, without it, and by the base alone.

    Parameters
    ----------
    mind
        A `memsci.MEGa` that has learnt them; nothing in it changes.
    memories
        Whose questions are asked, in any form that `memsci.MEGa.encode` takes, or records of its store
        (``mind.store.records``). Each is taken away by itself.
    per_memory
        How many questions of each; None: all.

    Returns
    -------
    pandas.DataFrame
        A row per question and state: memory_id, question, target, state ("remembered": all memories; "forgotten": all but
        this one; "base": all gates shut), answer, correct (it contains the target), logprob (of the target, nats), tokens,
        top_id and top_weight (of the memory that opens most; missing for the base). What the neighbours leak is
        "forgotten" less "base", see `leaked`.
    """
    known = isinstance(memories, Sequence) and not isinstance(memories, str) and all(map(_asks, memories))
    memories = list(memories) if known else table(memories)
    memories = list({one.id: one for one in memories}.values())
    asked = [(one.id, q.text, q.answer) for one in memories for q in one.questions[:per_memory]]
    if not asked:
        raise MemsciError(f"None of the {len(memories)} memories has a question. Give memories with questions.")
    for one in memories:
        if one.id not in mind.store:
            raise mind.store.unknown(one.id)
    rows = pd.DataFrame(asked, columns=["memory_id", "question", "target"])
    questions, all_ids = rows["question"].tolist(), list(mind.ids)
    opened = mind.gate(questions, only=all_ids)
    weights = {"remembered": _by_id(opened), "forgotten": [], "base": [{} for _ in questions]}
    for id, own in rows.groupby("memory_id", sort=False)["question"]:
        weights["forgotten"] += _by_id(mind.gate(own.tolist(), only=[other for other in all_ids if other != id]))
    tables = []
    for state in STATES:
        gate = mind.gate_by_hand(weights[state])
        answers, weighed = (mind.answer(questions, gate=gate), mind.logprob(questions, rows["target"].tolist(), gate=gate))
        best = [max(one, key=one.get) if one else None for one in weights[state]]
        tables.append(
            rows.assign(
                state=state,
                answer=answers,
                correct=[contains(answer, truth) for answer, truth in zip(answers, rows["target"])],
                logprob=weighed["logprob"],
                tokens=weighed["tokens"],
                top_id=pd.Series(best, dtype=object),
                top_weight=[one[id] if id else None for one, id in zip(weights[state], best)],
            )
        )
    return pd.concat(tables, ignore_index=True)


def leaked(table: pd.DataFrame) -> pd.DataFrame:
    """Means of a table of `leak` by memory, and what the neighbours of each leak about it.

    Returns
    -------
    pandas.DataFrame
        A row per memory: memory_id; of remembered, forgotten and base the share of correct answers (``correct remembered``
        …) and the mean log probability per token (``nats remembered`` …); ``leaked correct`` and ``leaked nats``,
        "forgotten" less "base".
    """
    means = table.assign(nats=table["logprob"] / table["tokens"], correct=table["correct"].astype(float))
    means = means.pivot_table(index="memory_id", columns="state", values=["correct", "nats"], sort=False)
    told = pd.DataFrame({f"{name} {state}": means[name, state] for name in ("correct", "nats") for state in STATES})
    for name in ("correct", "nats"):
        told[f"leaked {name}"] = told[f"{name} forgotten"] - told[f"{name} base"]
    return told.reset_index()


def _asks(one: Any) -> bool:
    return hasattr(one, "questions") and hasattr(one, "id")


def _by_id(gate: Any) -> list[dict[str, float]]:
    return [{id: float(w) for id, w in zip(gate.ids, row) if w} for row in gate.weights.tolist()]
