"""``make demo``: what a base remembers of memories that it learns, beside the base alone and RAG.

One demonstration, two materials: `everyday`, memories that somebody might write down, on a public instruct model; `world`, a
partition of the built-in world, on the shipped base. Each gives tables, a figure of the gate, and recalls to read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from memsci import data, evaluate
from memsci.config import Embedding
from memsci.figures import gate_map, save
from memsci.learners import RAG, BaseAlone, MEGa
from memsci.measures.methods import GATES, WAYS, labels
from memsci.measures.metrics import METRICS
from memsci.measures.text_match import contains
from memsci.memory import Partition, QuizItem, text_hash
from memsci.models.base import Base, load
from memsci.models.gguf import SMOLLM2

QUIZ_PER_SUBJECT = 25  # a standard error of about 2 points at 90 %
EVERYDAY_TOKENS = 72  # the longest everyday memory has 62 on SmolLM2, and its base goes on without an end
EXAMPLES = 10  # memories whose recall is written out


@dataclass(frozen=True)
class Material:
    """What is learnt and asked.

    Parameters
    ----------
    name
        Beginning of the names of all files.
    memories
        What is learnt.
    base
        Name of the base, for `memsci.load`.
    questions
        So many of each memory are asked, its first.
    gates
        MEGa's: "own", "true" or both, see `memsci.evaluate.ask`.
    recall_tokens
        Longest recall; None: as long as the memories need.
    quiz
        Questions of general knowledge.
    unanswered
        Questions that no memory answers. If there are any, the gate is calibrated, so that it can close.
    embeddings
        Also compare how often each embedding finds the right memory.
    """

    name: str
    memories: Partition
    base: str | None
    questions: int
    gates: Sequence[str]
    recall_tokens: int | None = None
    quiz: Sequence[QuizItem] = ()
    unanswered: Sequence[str] = ()
    embeddings: bool = False


def everyday() -> Material:
    """24 everyday memories of one wording each on SmolLM2-135M-Instruct, one question of each."""
    return Material(
        "demo", data.everyday(), SMOLLM2, 1, ("own",), recall_tokens=EVERYDAY_TOKENS, unanswered=data.unanswered()
    )


def world(setting: str = "episodic", partition: int = 0) -> Material:
    """The 50 memories of a built-in partition on the shipped base, three questions of each."""
    return Material(
        "demo_world", data.builtin(setting, partition), None, evaluate.QUESTIONS, GATES,
        quiz=data.quiz("test", QUIZ_PER_SUBJECT), embeddings=True,
    )  # fmt: skip


def demo(material: Material, figures: str | Path = "figures", base: Base | None = None) -> dict[str, pd.DataFrame]:
    """Learn the memories, ask Base, RAG, MEGa and iRAG about them, draw the gate and write recalls to read.

    Parameters
    ----------
    material
        From `everyday` or `world`.
    figures
        Folder for the tables and figures.
    base
        Instead of the material's own base.

    Returns
    -------
    dict
        The tables ``summary``, ``responses``, ``scores`` and ``examples``; ``gates`` of a material that compares
        embeddings, ``unanswered`` of one with such questions.
    """
    memories, folder = material.memories, Path(figures)
    mind = MEGa(base or load(material.base))
    asked, quiz = [], []
    for learner in (BaseAlone(mind.base), RAG(mind.base, mind.embedding, mind.rule.similarity), mind):
        learner.learn(memories)
        if learner is mind and material.unanswered:
            mind.calibrate(memories)
        modes = [(WAYS, gate) for gate in material.gates] if learner.gated else [(("direct",), "own")]
        for ways, gate in tqdm(modes, desc=f"asking {learner.name}"):
            said = evaluate.ask(learner, memories, ways, material.questions, gate, material.recall_tokens)
            asked.append(said.assign(method=learner.name))
        if material.quiz:
            quiz.append(evaluate.ask_quiz(learner, material.quiz).assign(method=learner.name))
    responses = pd.concat(asked, ignore_index=True)
    scores = evaluate.score(responses, pd.concat(quiz, ignore_index=True) if quiz else None)
    opened = mind.gate([*(memory.questions[0].text for memory in memories), *material.unanswered]).frame()
    # In the order of the memories, so that the figure can be drawn again from its table.
    opened = opened.sort_values("id", key=lambda column: column.map(mind.ids.index), kind="stable")
    ax = gate_map(opened)
    if none := len(material.unanswered):
        ax.set_title(f"Gating weights; no memory answers the last {none} questions", loc="left")
    save(ax, folder / f"{material.name}_gate", opened)
    recalls = responses.assign(recall_cos=scores.loc[scores["metric"] == "recall cos", "value"].to_numpy())
    shown = recalls[labels(recalls) == "iRAG"].drop_duplicates("memory_id").head(EXAMPLES)
    tables = {
        "summary": _summary(responses, scores),
        "responses": responses,
        "scores": scores,
        "examples": shown[["question", "target", "recalled", "original", "answer", "recall_cos"]].reset_index(drop=True),
    }
    if material.embeddings:
        tables["gates"] = evaluate.gates(mind.base, memories.memories)
    if material.unanswered:
        tables["unanswered"] = _unanswered(mind, list(material.unanswered))
    for name, table in tables.items():
        stem = "recall" if name == "examples" else name
        table.to_csv(folder / f"{material.name}_{stem}.csv", index=False, float_format="%.6g")
    for ending, text in (
        ("recall.md", _as_text(tables["examples"])),
        ("protocol.json", json.dumps(protocol(mind, material), indent=2) + "\n"),
    ):
        (folder / f"{material.name}_{ending}").write_text(text, encoding="utf-8")
    return tables


def protocol(mind: MEGa, material: Material) -> dict:
    """All that decides the numbers: model, data, settings, seed, measures, versions."""
    texts = "\n".join(memory.text for memory in material.memories)
    measured = {
        "QA %": METRICS["qa"].protocol,
        "contained %": "1 if the answer contains the true answer, however long it is, else 0.",
        "log prob": METRICS["logprob"].protocol,
        "recall cos": f"{METRICS['recall cos'].protocol} Embedding: {Embedding().model}.",
        "correct gate %": METRICS["correct gate"].protocol,
    }
    if material.quiz:
        asked = f"Built-in quiz, unseen phrasings, {QUIZ_PER_SUBJECT} per subject."
        measured["knowledge %"] = f"{METRICS['knowledge'].protocol} {asked}"
    return {
        **mind.store.header,
        "data": {"name": material.memories.name, "memories": len(material.memories), "sha256": text_hash(texts)},
        "questions per memory": material.questions,
        **measured,
    }


def _summary(responses: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The summary of the scores, and beside QA % how many answers contain the true one, whatever else they say."""
    held = [100.0 * contains(*pair) for pair in zip(responses["answer"], responses["target"])]
    means = pd.Series(held).groupby(labels(responses)).mean()
    summary = evaluate.summary(scores)
    summary.insert(summary.columns.get_loc("QA %") + 1, "contained %", summary["method"].map(means))
    return summary


def _unanswered(mind: MEGa, questions: list[str]) -> pd.DataFrame:
    """What the gate makes of questions that no memory answers, and what is said: where it is closed, the base's words."""
    gate = mind.gate(questions)
    best = gate.frame().query("rank == 1")
    return pd.DataFrame(
        {
            "question": questions,
            "nearest": best["label"].tolist(),
            "score": best["score"].tolist(),
            "limit": mind.rule.closes,
            "gate": ["closed" if closed else "open" for closed in gate.closed.tolist()],
            "answer": mind.answer(questions),
        }
    )


def _as_text(examples: pd.DataFrame) -> str:
    """Recall examples to read, as Markdown."""
    parts = ["# What the model recalls\n"]
    for row in examples.itertuples():
        parts.append(
            f"**{row.question}**\n\n- memory: {row.original}\n- recalled: {row.recalled} (cosine {row.recall_cos:.3f})\n"
            f"- answer from the recall: {row.answer} (true: {row.target})\n"
        )
    return "\n".join(parts)
