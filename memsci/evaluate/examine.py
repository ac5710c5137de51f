"""A mind examined: the questions about its memories asked, each answer scored, and marks with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd
from tqdm.auto import tqdm

from memsci.errors import MemsciError, check_columns, check_in
from memsci.evaluate.responses import RESPONSE, ask, probes
from memsci.evaluate.scores import score
from memsci.learners import RAG, BaseAlone, MEGa
from memsci.learners.base import Learner
from memsci.lifetime.correct import standing, superseded
from memsci.measures.methods import WAYS, labels
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import share_interval
from memsci.memory import Memory
from memsci.models.conversation import BATCH
from memsci.store.record import Remembered

METHODS = ("MEGa", "iRAG", "Base", "RAG")
SCORED = ("qa", "logprob", "logprob per token", "recall cos", "correct gate")
_ALIKE = "which of equal questions"  # about one memory: 0 but where its table has a question twice
_KEYS = ["memory_id", "question", "method", "way", _ALIKE]


def examine(
    mind: MEGa,
    memories: Iterable[Memory | Remembered] | None = None,
    methods: Sequence[str] = ("MEGa", "iRAG"),
    progress: bool = True,
) -> pd.DataFrame:
    """Ask a mind all questions about its memories and score each answer by rule, with its own gate.

    Parameters
    ----------
    mind
        Who is asked.
    memories
        With their questions. Default: what its store keeps of them, but for those that another memory corrects, whose
        answers are no longer right.
    methods
        Some of "MEGa" (the question alone), "iRAG" (after its own recall), "Base" (the same model without memories) and
        "RAG" (with the text in the prompt, which must then be known).
    progress
        Show a bar for each learner.

    Returns
    -------
    pandas.DataFrame
        One row per method and question: memory_id, label, method, question, target, answer, recalled, top_id (the memory
        most open), and as far as they apply qa (1 = right), logprob (nats), logprob per token, recall cos (where the text
        is known) and correct gate (1 = the right memory is most open); then the extra columns of memories and questions,
        and superseded (whether another memory corrects this one) where any that was asked about is.
    """
    for name in methods:
        check_in("method", name, METHODS)
    memories = standing(mind.store) if memories is None else list(memories)
    asked, names = probes(memories, None), {one.id: one.label for one in memories}
    responses = []
    for learner, ways in _asked(mind, memories, methods):
        with tqdm(total=len(asked), desc=f"asking {learner.name}", unit="question", disable=not progress) as bar:
            for start in range(0, len(asked), BATCH):
                some = asked.iloc[start : start + BATCH]
                responses.append(ask(learner, some, ways).assign(method=learner.name))
                bar.update(len(some))
    rows = pd.concat(responses, ignore_index=True)
    rows[_ALIKE] = rows.groupby(_KEYS[:-1], sort=False).cumcount()
    values = score(rows).pivot_table("value", _KEYS, "metric").reindex(columns=list(SCORED)).dropna(axis=1, how="all")
    extra = [name for name in rows if name not in (*RESPONSE, "method", *SCORED, _ALIKE)]
    rows = rows[[*RESPONSE, "method", _ALIKE, *extra]].drop(columns="logprob").merge(values.reset_index(), on=_KEYS)
    rows["method"], rows["label"] = labels(rows), rows["memory_id"].map(names)
    rows = rows.sort_values("method", key=lambda column: column.map(METHODS.index), kind="stable", ignore_index=True)
    told = ["memory_id", "label", "method", "question", "target", "answer", "recalled", "top_id"]
    rows["superseded"] = rows["memory_id"].isin(superseded(mind.store))
    extra += ["superseded"] * bool(rows["superseded"].any())
    return rows[[*told, *(name for name in SCORED if name in rows), *extra]]


def extra_columns(memories: Iterable[Memory | Remembered]) -> list[str]:
    """Names of the extra columns of memories and of their questions, by which scores can be told apart."""
    names: dict[str, None] = {}
    for one in memories:
        names |= dict.fromkeys([*(one.extra or {}), *(name for question in one.questions for name in question.extra)])
    return list(names)


def marks(examined: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """One row per method of a table of `examine`; with `by` for each value of that column, in the order of their first rows.

    Each memory counts alike. The interval is Wilson's over memories (`memsci.measures.statistics.share_interval`):
    questions about one memory stand or fall together.

    Returns
    -------
    pandas.DataFrame
        method, the column `by`, QA %, low, high (95 %), the means of what else was scored, questions, memories.
    """
    if by is not None:
        check_columns("The table", [by], examined.columns)
    found = []
    # Where the column is empty is a value of its own.
    for (method, *value), rows in examined.groupby(["method", *([] if by is None else [by])], sort=False, dropna=False):
        means = rows.groupby("memory_id")[[name for name in SCORED if name in rows]].mean()
        low, high = share_interval(means["qa"].mean(), len(means))
        row = {"method": method} | ({} if by is None else {by: value[0]})
        row |= {"QA %": 100 * means["qa"].mean(), "low": 100 * low, "high": 100 * high}
        row |= {METRICS[k].column: METRICS[k].factor * means[k].mean() for k in means if k != "qa" and METRICS[k].column}
        found.append({**row, "questions": len(rows), "memories": len(means)})
    return pd.DataFrame(found)


def marks_by_memory(examined: pd.DataFrame) -> pd.DataFrame:
    """One row per memory of a table of `examine`: id, label, questions, and how many of them each method answered right."""
    right = examined.pivot_table("qa", ["memory_id", "label"], "method", "sum", sort=False).astype(int)
    asked = examined.groupby(["memory_id", "label", "method"], sort=False).size().groupby(level=[0, 1], sort=False).first()
    table = right[list(examined["method"].unique())].rename_axis(columns=None)
    table.insert(0, "questions", asked)
    return table.reset_index().rename(columns={"memory_id": "id"})


def _asked(
    mind: MEGa, memories: Sequence[Memory | Remembered], methods: Sequence[str]
) -> Iterator[tuple[Learner, tuple[str, ...]]]:
    """Who is asked, and in which ways."""
    if ways := tuple(way for name, way in zip(METHODS, WAYS) if name in methods):
        yield mind, ways
    if "RAG" in methods and any(one.text is None for one in memories):
        raise MemsciError(
            "RAG reads the texts of the memories, and the store does not keep them. Give the table of the memories, or "
            "leave RAG out."
        )
    # Base learns nothing from a text; an id will do where the text is not kept.
    texts = [Memory(one.text or one.id, one.id, one.label) for one in memories]
    for name, make in (
        ("Base", lambda: BaseAlone(mind.base)),
        ("RAG", lambda: RAG(mind.base, mind.embedding, mind.rule.similarity)),
    ):
        if name in methods:
            learner = make()
            learner.learn(texts, progress=False)
            yield learner, ("direct",)
