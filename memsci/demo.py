"""``make demo``: Base, RAG, MEGa and iRAG on the 50 memories of a built-in partition, with figures and recalls to read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from memsci import data, evaluate
from memsci.config import Embedding
from memsci.figures import gate_map, save
from memsci.learners import RAG, BaseAlone, MEGa
from memsci.measures.methods import GATES, WAYS, labels
from memsci.measures.metrics import METRICS
from memsci.memory import Partition, text_hash
from memsci.models.base import Base, load

QUIZ_PER_SUBJECT = 25  # a standard error of about 2 points at 90 %


def demo(
    setting: str = "episodic", partition: int = 0, figures: str | Path = "figures", base: Base | None = None
) -> dict[str, pd.DataFrame]:
    """Encode the 50 memories of a built-in partition, ask about them, draw the gate and write recall examples.

    Returns
    -------
    dict
        The tables ``summary``, ``gates``, ``responses``, ``scores`` and ``examples``.
    """
    world = data.builtin(setting, partition)
    mind = MEGa(base or load())
    items = data.quiz("test", QUIZ_PER_SUBJECT)
    asked, quiz = [], []
    for learner in (BaseAlone(mind.base), RAG(mind.base, mind.embedding, mind.rule.similarity), mind):
        learner.learn(world)
        modes = [(WAYS, gate) for gate in GATES] if learner.gated else [(("direct",), "own")]
        for ways, gate in tqdm(modes, desc=f"asking {learner.name}"):
            asked.append(evaluate.ask(learner, world, ways, gate=gate).assign(method=learner.name))
        quiz.append(evaluate.ask_quiz(learner, items).assign(method=learner.name))
    responses = pd.concat(asked, ignore_index=True)
    scores = evaluate.score(responses, pd.concat(quiz, ignore_index=True))
    opened = mind.gate([memory.questions[0].text for memory in world]).frame()
    # In the order of the memories, so that the figure can be drawn again from its table.
    opened = opened.sort_values("id", key=lambda column: column.map(mind.ids.index), kind="stable")
    folder = Path(figures)
    save(gate_map(opened), folder / "demo_gate", opened)
    recalls = responses.assign(recall_cos=scores.loc[scores["metric"] == "recall cos", "value"].to_numpy())
    shown = recalls[labels(recalls) == "iRAG"].drop_duplicates("memory_id").head(10)
    tables = {
        "summary": evaluate.summary(scores),
        "gates": evaluate.gates(mind.base, world.memories),
        "responses": responses,
        "scores": scores,
        "examples": shown[["question", "target", "recalled", "original", "answer", "recall_cos"]].reset_index(drop=True),
    }
    for name, table in tables.items():
        stem = "recall" if name == "examples" else name
        table.to_csv(folder / f"demo_{stem}.csv", index=False, float_format="%.6g")
    (folder / "demo_recall.md").write_text(_as_text(tables["examples"]), encoding="utf-8")
    (folder / "demo_protocol.json").write_text(json.dumps(protocol(mind, world), indent=2) + "\n", encoding="utf-8")
    return tables


def protocol(mind: MEGa, world: Partition) -> dict:
    """All that decides the numbers: model, data, settings, seed, measures, versions."""
    texts = "\n".join(memory.text for memory in world)
    return {
        **mind.store.header,
        "data": {"name": world.name, "memories": len(world), "sha256": text_hash(texts)},
        "questions per memory": evaluate.QUESTIONS,
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
