"""The main measurement: what Base, RAG, MEGa and iRAG make of the same memories (paper, Table 1).

Three steps with a table between each two: `ask` (needs the model; every text is kept), `score` (needs none), `summary`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from memsci import data, generate, prompts
from memsci.config import Embedding
from memsci.embed import embedder
from memsci.errors import MemsciError, check_in
from memsci.gate import gate
from memsci.memory import Memory, Partition, QuizItem, text_hash
from memsci.metrics import correct_gate, judge, macro_accuracy, random_pair_cosine, recall_cosine
from memsci.mind import ANSWER_TOKENS, BATCH, MEGa
from memsci.models import Base, load

METHODS = ("Base", "RAG", "MEGa", "MEGa, true gate", "iRAG", "iRAG, true gate")
QUESTIONS = 3  # of each memory, as in the paper
QUIZ_PER_SUBJECT = 25  # items of each subject in the demo: a standard error of about 2 points at 90 %

# Embeddings by which a gate can be driven, the paper's first.
GATES = {
    "last MLP input, mean, inner product (the paper's)": (Embedding.paper(), "inner"),
    "last MLP input, mean, cosine": (Embedding.paper(), "cosine"),
    "last MLP input, by surprisal, cosine": (Embedding(pooling="surprisal"), "cosine"),
    "MiniLM-L6 sentence embedding, cosine": (Embedding(kind="sentence"), "cosine"),
    "words, cosine": (Embedding(kind="words"), "cosine"),
    "hybrid of MiniLM-L6 and words, cosine": (Embedding(kind="hybrid"), "cosine"),
}


def probes(memories: Sequence[Memory], per_memory: int | None = QUESTIONS) -> pd.DataFrame:
    """The questions put to every method: columns memory_id, question, target, original.

    Raises
    ------
    MemsciError
        No memory has a question.
    """
    asked = [
        {"memory_id": memory.id, "question": question.text, "target": question.answer, "original": memory.text}
        for memory in memories
        for question in memory.questions[:per_memory]
    ]
    if not asked:
        raise MemsciError(f"None of the {len(memories)} memories has a question. Give memories with questions.")
    return pd.DataFrame(asked)


def ask(
    mind: MEGa, memories: Sequence[Memory], methods: Sequence[str] = METHODS, progress: bool = True
) -> pd.DataFrame:
    """Put every question to every method.

    Base answers with all gates shut. RAG is given the memory whose key is nearest to the question (top-1, the gate's own
    embedding and similarity) in the prompt, gates shut. MEGa answers and recalls from the gated adapters, iRAG from its
    own recall, both under the mind's own rule; with the *true gate* the right memory alone is open.

    Returns
    -------
    pandas.DataFrame
        One row per method and probe: method, memory_id, question, target, original, top_id (best gate), recalled, answer,
        logprob (of the target, nats, sum over its tokens), tokens (of the target).

    Raises
    ------
    MemsciError
        A method is unknown, no memory has a question, or RAG lacks the text of a memory of the mind.
    """
    for method in methods:
        check_in("method", method, METHODS)
    if "RAG" in methods and (lacking := sorted(set(mind.ids) - {memory.id for memory in memories})):
        raise MemsciError(
            f"RAG reads the text of the memory it finds, and {lacking[0]!r} is not among those given. Give all memories "
            "of the mind, or leave RAG out of the methods."
        )
    asked = probes(memories)
    questions, targets = asked["question"].tolist(), asked["target"].tolist()
    top = mind.gate(questions).top()
    shut = mind.gate_by_hand([{}] * len(asked))
    true = mind.gate_by_hand([{id: 1.0} for id in asked["memory_id"]])
    recalls: dict[int, list[str]] = {}
    tables = []
    with tqdm(total=len(methods), desc="asking", disable=not progress) as bar:
        for method in methods:
            bar.set_postfix_str(method)
            if method == "RAG":
                said = _rag(mind.base, memories, questions, targets, top)
            else:
                opened = shut if method == "Base" else true if method.endswith("true gate") else None
                if id(opened) not in recalls:
                    recalls[id(opened)] = mind.recall(questions, gate=opened)
                told = recalls[id(opened)]
                how = {"gate": opened, "via_recall": method.startswith("iRAG"), "recalled": told}
                said = mind.logprob(questions, targets, **how)
                said["recalled"], said["answer"] = told, mind.answer(questions, **how)
            tables.append(asked.assign(method=method, top_id=top, **{name: said[name] for name in said}))
            bar.update()
    return pd.concat(tables, ignore_index=True)


def ask_quiz(mind: MEGa, items: Sequence[QuizItem]) -> pd.DataFrame:
    """General knowledge with gates shut (Base, RAG) and with the gates that each question opens (MEGa, iRAG)."""
    tables = []
    for method, opened in (("Base", mind.gate_by_hand([{}] * len(items))), ("MEGa", None)):
        chosen = mind.choose(items, gate=opened)
        rows = [{"method": method, "subject": i.subject, "correct": c == i.answer} for i, c in zip(items, chosen)]
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True)


def score(responses: pd.DataFrame, embed: Callable | None = None) -> pd.DataFrame:
    """Scores beside the responses: correct (rule judge), correct_gate, recall_cos (MiniLM-L6 unless `embed` is given).

    RAG recalls nothing; its recall_cos is the paper's formula, hit · 1 + (1 − hit) · c, with c the mean cosine of random
    pairs of the memories.
    """
    embed = embed or embedder(None, Embedding(kind="sentence"))
    scored = responses.copy()
    read = scored["method"] == "RAG"
    # A reply of no words comes back from a CSV file as a missing value.
    scored["answer"] = scored["answer"].fillna("")
    scored["recalled"] = scored["recalled"].fillna("").mask(read, None)
    scored["correct"] = [judge(answer, target) for answer, target in zip(scored["answer"], scored["target"])]
    scored["correct_gate"] = correct_gate(scored["memory_id"], scored["top_id"])
    scored["recall_cos"] = 1.0
    scored.loc[~read, "recall_cos"] = recall_cosine(
        scored.loc[~read, "recalled"].tolist(), scored.loc[~read, "original"].tolist(), embed
    )
    if (wrong := read & ~scored["correct_gate"]).any():
        scored.loc[wrong, "recall_cos"] = random_pair_cosine(scored["original"].unique().tolist(), embed)
    return scored


def summary(scored: pd.DataFrame, quiz: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per method: QA %, log prob (mean of sums, nats), recall cos, correct gate %, general knowledge %, n."""
    groups = scored.groupby("method", sort=False)
    table = pd.DataFrame(
        {
            "QA %": 100 * groups["correct"].mean(),
            "log prob": groups["logprob"].mean(),
            "recall cos": groups["recall_cos"].mean(),
            "correct gate %": 100 * groups["correct_gate"].mean(),
            "n": groups.size(),
        }
    )
    table.loc[["Base"] if "Base" in table.index else [], "correct gate %"] = np.nan
    table.loc[[name for name in table.index if name.endswith("true gate")], "correct gate %"] = 100.0
    if quiz is not None:
        accuracy = {method: 100 * macro_accuracy(rows) for method, rows in quiz.groupby("method")}
        owner = {"Base": "Base", "RAG": "Base", "MEGa": "MEGa", "iRAG": "MEGa"}
        table.insert(4, "knowledge %", [accuracy.get(owner.get(name), np.nan) for name in table.index])
    return table.reset_index()


def gates(base: Base, memories: Sequence[Memory], settings: dict = GATES) -> pd.DataFrame:
    """How often each embedding puts the right memory first: columns embedding, correct gate %, n (questions)."""
    asked = probes(memories, None)
    rows = []
    for name, (embedding, similarity) in settings.items():
        embed = embedder(base, embedding)
        cues, keys = embed(asked["question"].tolist()), embed([memory.text for memory in memories])
        top = gate(cues, keys, similarity=similarity, ids=[memory.id for memory in memories]).top()
        hits = correct_gate(asked["memory_id"], top)
        rows.append({"embedding": name, "correct gate %": 100 * hits.mean(), "n": len(hits)})
    return pd.DataFrame(rows)


def demo(
    setting: str = "episodic", partition: int = 0, figures: str | Path = "figures", base: Base | None = None
) -> dict[str, pd.DataFrame]:
    """Encode the 50 memories of a built-in partition, ask about them, draw the gate and write recall examples.

    Returns
    -------
    dict
        The tables ``summary``, ``gates``, ``responses`` and ``examples``.
    """
    from memsci.figures import gate_map, save

    world = data.builtin(setting, partition)
    mind = MEGa(base or load())
    mind.encode(world)
    scored = score(ask(mind, world.memories))
    table = summary(scored, ask_quiz(mind, data.quiz("test", QUIZ_PER_SUBJECT)))
    compared = gates(mind.base, world.memories)
    opened = mind.gate([memory.questions[0].text for memory in world]).frame()
    folder = Path(figures)
    # In the order of the memories, so that the figure can be drawn again from its table.
    opened = opened.sort_values("id", key=lambda column: column.map(mind.ids.index), kind="stable")
    save(gate_map(opened), folder / "demo_gate", opened)
    shown = scored[scored["method"] == "iRAG"].drop_duplicates("memory_id").head(10)
    examples = shown[["question", "target", "recalled", "original", "answer", "recall_cos"]].reset_index(drop=True)
    for name, result in (("summary", table), ("gates", compared), ("recall", examples), ("responses", scored)):
        result.to_csv(folder / f"demo_{name}.csv", index=False, float_format="%.6g")
    (folder / "demo_recall.md").write_text(_as_text(examples), encoding="utf-8")
    (folder / "demo_protocol.json").write_text(json.dumps(protocol(mind, world), indent=2) + "\n", encoding="utf-8")
    return {"summary": table, "gates": compared, "responses": scored, "examples": examples}


def protocol(mind: MEGa, world: Partition) -> dict:
    """All that decides the numbers: model, data, settings, seed, measures, versions."""
    texts = "\n".join(memory.text for memory in world)
    return {
        **mind.store.header,
        "data": {"name": world.name, "memories": len(world), "sha256": text_hash(texts)},
        "questions per memory": QUESTIONS,
        "QA %": "rule judge: contains the true answer, at most one sentence (memsci.metrics.judge)",
        "log prob": "of the true answer after the QA prompt, nats, sum over its tokens, mean over questions",
        "recall cos": f"cosine of {Embedding().model} embeddings; RAG: hit + (1 - hit) * random-pair cosine",
        "knowledge %": f"built-in quiz, unseen phrasings, {QUIZ_PER_SUBJECT} items of each subject, macro average",
    }


def _rag(base: Base, memories: Sequence[Memory], questions: list[str], targets: list[str], top: list[str]) -> dict:
    texts = {memory.id: memory.text for memory in memories}
    rows = [base.chat(prompts.rag(question, texts[id])) for question, id in zip(questions, top)]
    ended = len(base.stop_ids[:1])  # as everywhere, the end of the turn is not part of an answer
    replies = [base.reply(target)[: -ended or None] for target in targets]
    sums, counts = generate.logprob(base, rows, replies, BATCH)
    answers = generate.generate(base, rows, ANSWER_TOKENS, BATCH)
    return {"logprob": sums.tolist(), "tokens": counts.tolist(), "recalled": None, "answer": answers}


def _as_text(examples: pd.DataFrame) -> str:
    """Recall examples to read, as Markdown."""
    parts = ["# What the model recalls\n"]
    for row in examples.itertuples():
        parts.append(
            f"**{row.question}**\n\n- memory: {row.original}\n- recalled: {row.recalled} (cosine {row.recall_cos:.3f})\n"
            f"- answer from the recall: {row.answer} (true: {row.target})\n"
        )
    return "\n".join(parts)
