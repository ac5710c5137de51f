"""Second and third step of the main measurement: every score of every response, and their summary. No model is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from memsci.config import Embedding
from memsci.errors import MemsciError, check_columns
from memsci.gate.embed import embedder
from memsci.measures import plugins
from memsci.measures.judges import Judge, rule
from memsci.measures.methods import GATES, IN_PARTS, WAYS, label
from memsci.measures.metrics import KEYS, METRICS, macro_accuracy, protocol_of
from memsci.memory import RESERVED


def score(
    responses: pd.DataFrame,
    quiz: pd.DataFrame | None = None,
    judge: Judge | Sequence[Judge] = rule,
    embed: Callable[[list[str]], Any] | None = None,
) -> pd.DataFrame:
    """Every score of every response, in long form; no model is needed, and a file read back will do.

    Parameters
    ----------
    responses
        Tables of `ask`, with the column method and what else there is of `KEYS`. A missing `original` (of a memory whose
        text is not kept) leaves out what recalls are compared with it for.
    quiz
        Tables of `ask_quiz`, with the same.
    judge
        Who says whether answers are right, or several: each gives a metric of its own name, see `memsci.measures.judges`.
    embed
        Embedding of recalls and originals, from b texts to [b, d]. Default: MiniLM-L6.

    Returns
    -------
    pandas.DataFrame
        The keys, then memory_id, position, way, gate, question, subject, metric, value, protocol, higher_is_better: for
        every metric of `memsci.measures.metrics.METRICS` a row for each response that it applies to, in their order. After
        the question stand the extra columns of the responses, whose names are not in `memsci.memory.RESERVED`.
    """
    plugins.load()
    rows = responses.reset_index(drop=True)
    if "method" not in rows:
        raise MemsciError(
            "The responses do not say whose they are: add the column 'method', with the name of who answered in each row."
        )
    needed = ("memory_id", "way", "gate", "question", "original", "target", "answer", "recalled", "top_id")
    check_columns("The table of responses", needed, rows.columns)
    # A reply of no words comes back from a CSV file as a missing value.
    rows["answer"] = rows["answer"].fillna("")
    sentence = cache(lambda: embedder(None, Embedding(kind="sentence")))  # loaded where it is needed alone
    vectors = _each_once(embed or (lambda texts: sentence()(texts)))
    embedding = Embedding().model if embed is None else getattr(embed, "name", "one that was given")
    scores = [_long(rows, one.metric, one(rows), one.protocol) for one in ([judge] if callable(judge) else judge)]
    for name, metric in METRICS.items():
        table = quiz if metric.of == "quiz" else rows
        if metric.measure is None or table is None:
            continue
        values = metric.measure(table, vectors)
        scored = table.loc[values.index, [key for key in KEYS if key in table] if metric.of == "group" else table.columns]
        protocol = protocol_of(metric, table) + (f" Embedding: {embedding}." if metric.embeds else "")
        scores.append(_long(scored, name, values, protocol))
    return pd.concat([part for part in scores if len(part)], ignore_index=True)


def _long(rows: pd.DataFrame, metric: str, values: Any, protocol: str) -> pd.DataFrame:
    """Rows of the table of scores for one metric; what does not apply to it is missing."""
    rows = rows.reset_index(drop=True)
    extra = [] if "correct" in rows else [name for name in rows if name not in RESERVED]
    names = ("memory_id", "position", "way", "gate", "question", *extra, "subject")
    columns = {name: rows[name] if name in rows else None for name in (*[key for key in KEYS if key in rows], *names)}
    frame = pd.DataFrame(columns, index=rows.index)
    return frame.assign(
        position=frame["position"].astype("Int64"),
        metric=metric,
        value=np.asarray(values, dtype=float),
        protocol=protocol,
        higher_is_better=METRICS[metric].higher_is_better,
    )


def _each_once(embed: Callable[[list[str]], Any]) -> Callable[[list[str]], np.ndarray]:
    """The same embedding, each text embedded once."""
    known: dict[str, np.ndarray] = {}

    def vectors(texts: list[str]) -> np.ndarray:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, np.asarray(embed(new), dtype=float), strict=True))
        return np.stack([known[text] for text in texts])

    return vectors


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per method, prompting mode and gate of a table of `score`: means over all questions, and over subjects.

    Columns method (its `label`), QA %, log prob (of sums, nats), recall cos, correct gate %, knowledge %, n (questions), and
    those of other metrics with a `column`, as far as there are scores. The quiz is put once to a learner: its figure stands
    at all prompting modes by its own gate.
    """
    asked = scores[scores["position"].notna()]  # the quiz and random pairs belong to no memory
    order = {name: place for place, name in enumerate(asked["method"].unique())}
    groups = sorted(
        asked.groupby(["method", "way", "gate"], sort=False),
        key=lambda group: (order[group[0][0]], (*WAYS, *IN_PARTS).index(group[0][1]), GATES.index(group[0][2])),
    )
    shown = {name: METRICS[name] for name in METRICS if METRICS[name].column and (scores["metric"] == name).any()}
    of_quiz = {
        (name, method): macro_accuracy(rows.rename(columns={"value": "correct"}))
        for name, metric in shown.items()
        if metric.of == "quiz"
        for method, rows in scores[scores["metric"] == name].groupby("method")
    }
    table = []
    for (method, way, gate), rows in groups:
        means = rows.groupby("metric")["value"].mean()
        row: dict[str, Any] = {"method": label(method, way, gate)}
        for name, metric in shown.items():
            known = of_quiz.get((name, method), np.nan) if gate == "own" else np.nan
            row[metric.column] = metric.factor * (known if metric.of == "quiz" else means.get(name, np.nan))
        row["n"] = int((rows["metric"] == "logprob").sum())
        table.append(row)
    return pd.DataFrame(table)
