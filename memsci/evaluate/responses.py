"""The main measurement: what every learner makes of the same memories (paper, Table 1).

Three steps with a table between each two: `ask` (needs the model; every text is kept), `score` (needs none), `summary`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from memsci import data
from memsci.config import Embedding
from memsci.errors import MemsciError, check_in
from memsci.evaluate.gate_accuracy import EMBEDDINGS, Embeddings, by_embedding
from memsci.gate.embed import embedder
from memsci.learners.mega import MEGa
from memsci.learners.registry import Gated, Learner, Retrieval, Untrained
from memsci.measures.judges import Judge, rule
from memsci.measures.methods import GATES, WAYS, label, labels
from memsci.measures.metrics import (
    METRICS,
    correct_gate,
    macro_accuracy,
    random_pair_cosine,
    recall_cosine,
    retrieval_cosine,
)
from memsci.measures.text_match import parts
from memsci.memory import Memory, Partition, QuizItem, text_hash
from memsci.models.base import Base, load

__all__ = [
    "KEYS", "QUESTIONS", "RESPONSE", "ask", "ask_quiz", "compositional_probes", "demo", "gates", "label", "probes",
    "protocol", "score", "summary",
]  # fmt: skip

KEYS = ("dataset", "partition", "method", "setting", "stop")  # what a row of a run's tables belongs to
RESPONSE = (
    "memory_id", "position", "way", "question", "target", "original", "recalled", "answer", "logprob", "tokens", "top_id",
    "gate",
)  # fmt: skip
BETWEEN = "\n\n"  # the texts of several memories that a question is about
QUESTIONS = 3  # of each memory, as in the paper
QUIZ_PER_SUBJECT = 25  # items of each subject in the demo: a standard error of about 2 points at 90 %


def probes(memories: Iterable[Memory], per_memory: int | None = QUESTIONS) -> pd.DataFrame:
    """The first questions of each memory (None: all): columns memory_id, question, target, original.

    Raises
    ------
    MemsciError
        No memory has a question.
    """
    memories = list(memories)
    asked = [
        {"memory_id": memory.id, "question": question.text, "target": question.answer, "original": memory.text}
        for memory in memories
        for question in memory.questions[:per_memory]
    ]
    if not asked:
        raise MemsciError(f"None of the {len(memories)} memories has a question. Give memories with questions.")
    return pd.DataFrame(asked)


def compositional_probes(world: Partition) -> pd.DataFrame:
    """The questions of a partition that need several of its memories: columns as `probes`.

    memory_id names all of them, with spaces between, and original holds their texts, with blank lines between.

    Raises
    ------
    MemsciError
        The partition has no such question.
    """
    if not world.compositional:
        raise MemsciError(f"The partition {world.name!r} has no compositional questions. Give one that has.")
    texts = {memory.id: memory.text for memory in world}
    asked = [
        {
            "memory_id": " ".join(question.about),
            "question": question.text,
            "target": question.answer,
            "original": BETWEEN.join(texts[id] for id in question.about),
        }
        for question in world.compositional
    ]
    return pd.DataFrame(asked)


def ask(
    learner: Learner,
    memories: Iterable[Memory] | pd.DataFrame,
    ways: Sequence[str] = WAYS,
    per_memory: int | None = QUESTIONS,
    gate: str = "own",
) -> pd.DataFrame:
    """Put questions to a learner: let it recall each memory, answer, and weigh the true answer.

    Parameters
    ----------
    learner
        Who is asked.
    memories
        What is asked about: memories that it has learnt, or the table of `probes` (or `compositional_probes`) to put.
    ways
        "direct": the question alone; "recall first": after the learner's own recall (iRAG). A learner that recalls
        nothing (RAG) is asked directly only.
    per_memory
        How many questions of each memory, None for all; a table is put as it is.
    gate
        "own": what the learner's own gate opens. "true": an oracle opens the right memory alone (several share it
        equally); for learners with a gate.

    Returns
    -------
    pandas.DataFrame
        One row per way and question: memory_id, position (its place in the order of learning, from 1; of several the
        last), way, question, target, original, recalled (None from RAG; the same for both ways), answer, logprob (of the
        target, nats, sum over its tokens), tokens (of the target), top_id (the memory that the gate opens most, or that
        was retrieved; None without a gate), gate.

    Raises
    ------
    MemsciError
        A way or gate is unknown, the learner has no gate to open, there is no question, or a memory was not learnt.
    """
    for way in ways:
        check_in("way", way, WAYS)
    check_in("gate", gate, GATES)
    if gate == "true" and not learner.gated:
        raise MemsciError(f"{learner.name} has no gate that could be opened by hand. Ask it with gate='own'.")
    asked = memories if isinstance(memories, pd.DataFrame) else probes(memories, per_memory)
    about = [ids.split() for ids in asked["memory_id"]]
    place = {id: position for position, id in enumerate(learner.learnt, start=1)}
    if lacking := [id for ids in about for id in ids if id not in place]:
        raise MemsciError(
            f"{learner.name} has not learnt the memory {lacking[0]!r}. Let it learn what it is asked about."
        )
    questions, targets = asked["question"].tolist(), asked["target"].tolist()
    opened = about if gate == "true" else None
    recalled = learner.recall(questions, about=opened)
    rows = pd.DataFrame(
        {
            "memory_id": asked["memory_id"].tolist(),
            "position": [max(place[id] for id in ids) for ids in about],
            "question": questions,
            "target": targets,
            "original": asked["original"].tolist(),
            "recalled": pd.Series(recalled, dtype=object),
            "top_id": pd.Series([ids[0] for ids in about] if opened else learner.found(questions), dtype=object),
            "gate": gate,
        }
    )
    tables = []
    for way in ways if learner.recalls else [way for way in ways if way == "direct"]:
        told = recalled if way == "recall first" else None
        found = learner.logprob(questions, targets, recalled=told, about=opened)
        answers = learner.answer(questions, recalled=told, about=opened)
        tables.append(rows.assign(way=way, answer=answers, logprob=found["logprob"], tokens=found["tokens"]))
    if not tables:
        raise MemsciError(f"{learner.name} recalls nothing, so it cannot be asked {list(ways)}. Ask it directly.")
    return pd.concat(tables, ignore_index=True)[list(RESPONSE)]


def ask_quiz(learner: Learner, items: Sequence[QuizItem]) -> pd.DataFrame:
    """Put questions of general knowledge to a learner, its gate open to them if it has one.

    Returns
    -------
    pandas.DataFrame
        One row per item: subject, item (its number from 0), question, chosen and answer (indices), correct.
    """
    chosen = learner.choose(items)
    rows = [
        (item.subject, number, item.question, choice, item.answer, choice == item.answer)
        for number, (item, choice) in enumerate(zip(items, chosen, strict=True))
    ]
    return pd.DataFrame(rows, columns=["subject", "item", "question", "chosen", "answer", "correct"])


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
        Tables of `ask`, with the column method and what else there is of `KEYS`.
    quiz
        Tables of `ask_quiz`, with the same.
    judge
        Who says whether answers are right, or several: each gives a metric of its own name, see `memsci.judging`.
    embed
        Embedding of recalls and originals, from b texts to [b, d]. Default: MiniLM-L6.

    Returns
    -------
    pandas.DataFrame
        The keys, then memory_id, position, way, gate, question, subject, metric, value, protocol, higher_is_better. Within
        a metric, rows are in the order of those that they score:

        - "qa" (rule), "qa by model": 0 or 1
        - "parts": of questions about several memories whose true answer is a list, the share of its items in the answer
        - "logprob", "logprob per token": of the true answer
        - "recall cos": of RAG, which recalls nothing, the paper's formula hit · 1 + (1 − hit) · c, c the mean cosine of
          random pairs of the memories asked about in that dataset and partition; it has none where a question is about
          several memories, of which it may have found one
        - "correct gate": 0 or 1, for learners with a gate and RAG
        - "random pair cos": c, one row for all others of the same keys; only where two memories are asked about
        - "knowledge": 0 or 1, a row per item of the quiz

    Raises
    ------
    MemsciError
        A column is missing, or a judge or the embedding cannot be used.
    """
    rows = responses.reset_index(drop=True)
    for name in ("method", "memory_id", "way", "gate", "question", "original", "target", "answer", "recalled", "top_id"):
        check_in("a column of the table of responses", name, rows.columns.tolist())
    # A reply of no words comes back from a CSV file as a missing value.
    rows["answer"] = rows["answer"].fillna("")
    vectors = _kept(embed or embedder(None, Embedding(kind="sentence")))
    embedding = Embedding().model if embed is None else getattr(embed, "name", "one that was given")

    scores = [_long(rows, one.metric, one(rows), one.protocol) for one in ([judge] if callable(judge) else judge)]
    several = rows["memory_id"].str.contains(" ")
    joint = rows[several]
    items = pd.Series([parts(*pair) for pair in zip(joint["answer"], joint["target"])], index=joint.index, dtype=object)
    items = items[items.map(len) > 1]
    scores.append(_long(rows.loc[items.index], "parts", items.map(np.mean)))
    scores.append(_long(rows, "logprob", rows["logprob"]))
    scores.append(_long(rows, "logprob per token", rows["logprob"] / rows["tokens"]))

    top = rows["top_id"].notna()
    hits = pd.Series(0.0, index=rows.index)
    hits[top] = correct_gate([ids.split() for ids in rows.loc[top, "memory_id"]], rows.loc[top, "top_id"]).astype(float)
    read = rows["method"] == "RAG"
    cosines = pd.Series(1.0, index=rows.index)
    told, originals = rows.loc[~read, "recalled"].fillna("").tolist(), rows.loc[~read, "original"].tolist()
    cosines[~read] = recall_cosine(told, originals, vectors)
    random = []
    worlds = [name for name in KEYS[:2] if name in rows]
    for _, world in rows.groupby(worlds, sort=False, dropna=False) if worlds else [((), rows)]:
        texts = _memories(world, several[world.index])
        missed = world.index[(read & ~several)[world.index] & (hits[world.index] == 0)]
        if len(texts) > 1 or len(missed):
            chance = random_pair_cosine(texts, vectors)
            cosines[missed] = retrieval_cosine(hits[missed], chance)
            owners = world[[name for name in KEYS if name in world]].drop_duplicates()
            random.append(_long(owners, "random pair cos", chance))
    protocol = f"{METRICS['recall cos'].protocol} Embedding: {embedding}."
    recalling = ~(read & several)
    scores.append(_long(rows[recalling], "recall cos", cosines[recalling], protocol))
    scores.append(_long(rows[top], "correct gate", hits[top]))
    scores += random
    if quiz is not None:
        scores.append(_long(quiz, "knowledge", quiz["correct"]))
    return pd.concat([part for part in scores if len(part)], ignore_index=True)


def _memories(responses: pd.DataFrame, several: pd.Series) -> list[str]:
    """Texts of the single memories that were asked about; `several` says which rows are about several at once."""
    alone = responses.loc[~several, "original"].unique().tolist()
    return alone or list(dict.fromkeys(text for joint in responses["original"] for text in joint.split(BETWEEN)))


def _long(rows: pd.DataFrame, metric: str, values: Any, protocol: str | None = None) -> pd.DataFrame:
    """Rows of the table of scores for one metric; what does not apply to it is missing."""
    rows = rows.reset_index(drop=True)
    names = ("memory_id", "position", "way", "gate", "question", "subject")
    found = {name: rows[name] if name in rows else None for name in (*[key for key in KEYS if key in rows], *names)}
    frame = pd.DataFrame(found, index=rows.index)
    return frame.assign(
        position=frame["position"].astype("Int64"),
        metric=metric,
        value=np.asarray(values, dtype=float),
        protocol=protocol or METRICS[metric].protocol,
        higher_is_better=METRICS[metric].higher_is_better,
    )


def _kept(embed: Callable[[list[str]], Any]) -> Callable[[list[str]], np.ndarray]:
    """The same embedding, each text embedded once."""
    known: dict[str, np.ndarray] = {}

    def vectors(texts: list[str]) -> np.ndarray:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, np.asarray(embed(new), dtype=float), strict=True))
        return np.stack([known[text] for text in texts])

    return vectors


# Columns of the summary: metric, name, factor.
_SUMMARY = (
    ("qa", "QA %", 100),
    ("qa by model", "QA by model %", 100),
    ("logprob", "log prob", 1),
    ("recall cos", "recall cos", 1),
    ("correct gate", "correct gate %", 100),
)


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per method, way and gate: means over all questions, macro average of general knowledge, n (questions).

    Parameters
    ----------
    scores
        From `score`.

    Returns
    -------
    pandas.DataFrame
        Columns method (its `label`), QA %, log prob (of sums, nats), recall cos, correct gate %, knowledge %, n: those for
        which there are scores. The quiz is put once to a learner: its figure stands at all ways of asking by its own gate.
    """
    asked = scores[scores["position"].notna()]  # the quiz and random pairs belong to no memory
    order = {name: place for place, name in enumerate(asked["method"].unique())}
    groups = sorted(
        asked.groupby(["method", "way", "gate"], sort=False),
        key=lambda group: (order[group[0][0]], WAYS.index(group[0][1]), GATES.index(group[0][2])),
    )
    quiz = scores[scores["metric"] == "knowledge"].rename(columns={"value": "correct"})
    known = {method: 100 * macro_accuracy(rows) for method, rows in quiz.groupby("method")}
    table = []
    for (method, way, gate), rows in groups:
        means = rows.groupby("metric")["value"].mean()
        row: dict[str, Any] = {"method": label(method, way, gate)}
        row |= {name: factor * means.get(metric, np.nan) for metric, name, factor in _SUMMARY}
        row["knowledge %"] = known.get(method, np.nan) if gate == "own" else np.nan
        row["n"] = int((rows["metric"] == "logprob").sum())
        table.append(row)
    metrics = set(scores["metric"])
    absent = [name for metric, name, _ in (*_SUMMARY, ("knowledge", "knowledge %", 100)) if metric not in metrics]
    return pd.DataFrame(table).drop(columns=absent)


def gates(base: Base, memories: Sequence[Memory], embeddings: Embeddings = EMBEDDINGS) -> pd.DataFrame:
    """How often each embedding puts the right memory first: columns embedding, correct gate %, n (questions)."""
    found = by_embedding(base, memories, embeddings)
    hits = found.assign(hit=correct_gate(found["memory_id"], found["top_id"])).groupby("embedding", sort=False)["hit"]
    return pd.DataFrame({"correct gate %": 100 * hits.mean(), "n": hits.size()}).reset_index()


def demo(
    setting: str = "episodic", partition: int = 0, figures: str | Path = "figures", base: Base | None = None
) -> dict[str, pd.DataFrame]:
    """Encode the 50 memories of a built-in partition, ask about them, draw the gate and write recall examples.

    Returns
    -------
    dict
        The tables ``summary``, ``gates``, ``responses``, ``scores`` and ``examples``.
    """
    from memsci.figures import gate_map, save

    world = data.builtin(setting, partition)
    mind = MEGa(base or load())
    mega = Gated(mind)
    quiz, items = [], data.quiz("test", QUIZ_PER_SUBJECT)
    responses = []
    for learner in (Untrained(mind.base), Retrieval(mind.base, mind.embedding, mind.rule.similarity), mega):
        learner.learn(world)
        asked = [(WAYS, gate) for gate in GATES] if learner is mega else [(("direct",), "own")]
        for ways, gate in tqdm(asked, desc=f"asking {learner.name}"):
            responses.append(ask(learner, world, ways, gate=gate).assign(method=learner.name))
        quiz.append(ask_quiz(learner, items).assign(method=learner.name))
    said = pd.concat(responses, ignore_index=True)
    scores = score(said, pd.concat(quiz, ignore_index=True))
    table = summary(scores)
    compared = gates(mind.base, world.memories)
    opened = mind.gate([memory.questions[0].text for memory in world]).frame()
    folder = Path(figures)
    # In the order of the memories, so that the figure can be drawn again from its table.
    opened = opened.sort_values("id", key=lambda column: column.map(mind.ids.index), kind="stable")
    save(gate_map(opened), folder / "demo_gate", opened)
    told = said.assign(recall_cos=scores.loc[scores["metric"] == "recall cos", "value"].to_numpy())
    shown = told[labels(told) == "iRAG"].drop_duplicates("memory_id").head(10)
    examples = shown[["question", "target", "recalled", "original", "answer", "recall_cos"]].reset_index(drop=True)
    tables = {"summary": table, "gates": compared, "responses": said, "scores": scores, "examples": examples}
    for name, result in tables.items():
        stem = "recall" if name == "examples" else name
        result.to_csv(folder / f"demo_{stem}.csv", index=False, float_format="%.6g")
    (folder / "demo_recall.md").write_text(_as_text(examples), encoding="utf-8")
    (folder / "demo_protocol.json").write_text(json.dumps(protocol(mind, world), indent=2) + "\n", encoding="utf-8")
    return tables


def protocol(mind: MEGa, world: Partition) -> dict:
    """All that decides the numbers: model, data, settings, seed, measures, versions."""
    texts = "\n".join(memory.text for memory in world)
    return {
        **mind.store.header,
        "data": {"name": world.name, "memories": len(world), "sha256": text_hash(texts)},
        "questions per memory": QUESTIONS,
        "QA %": METRICS["qa"].protocol,
        "log prob": METRICS["logprob"].protocol,
        "recall cos": f"{METRICS['recall cos'].protocol} Embedding: {Embedding().model}.",
        "correct gate %": METRICS["correct gate"].protocol,
        "knowledge %": f"{METRICS['knowledge'].protocol} Built-in quiz, unseen phrasings, {QUIZ_PER_SUBJECT} per subject.",
    }


def _as_text(examples: pd.DataFrame) -> str:
    """Recall examples to read, as Markdown."""
    parts = ["# What the model recalls\n"]
    for row in examples.itertuples():
        parts.append(
            f"**{row.question}**\n\n- memory: {row.original}\n- recalled: {row.recalled} (cosine {row.recall_cos:.3f})\n"
            f"- answer from the recall: {row.answer} (true: {row.target})\n"
        )
    return "\n".join(parts)
