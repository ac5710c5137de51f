"""What the base model can do, each ability with its chance level: ``python -m memsci.pretraining.report``.

Measured on the held-out partitions (people and events that it never read), by the judge that all experiments use.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from memsci import data, generate, prompts
from memsci.config import Embedding
from memsci.embed import embedder
from memsci.gate import gate
from memsci.memory import Memory
from memsci.metrics import correct_gate, judge, macro_accuracy
from memsci.models import Base, load
from memsci.pretraining import corpus
from memsci.world import grammar, stories

BATCH, ANSWER_TOKENS = 32, 48


def report(base: Base, partitions: Sequence[int] = (16, 17, 18, 19), quiz_items: int = 50) -> pd.DataFrame:
    """Measure every ability.

    Parameters
    ----------
    base
        The model.
    partitions
        Held-out partitions of either setting to measure on. The demo shows partition 0; these are others.
    quiz_items
        Quiz questions per subject.

    Returns
    -------
    pandas.DataFrame
        Columns ability, value, unit, chance, must (the target), n.
    """
    worlds = [data.builtin(setting, index) for setting in grammar.SETTINGS for index in partitions]
    memories = [memory for world in worlds for memory in world.memories]
    rng = random.Random("report")
    asked = [(memory, rng.choice(memory.questions)) for memory in memories]
    rows = []

    def row(ability, value, unit, chance, must, n):
        rows.append(dict(ability=ability, value=value, unit=unit, chance=chance, must=must, n=n))

    # Chance for a question is the answer of another question about the same slot: what guessing its kind gives.
    guess = 100 * _guessing(memories)
    for ability, turns, must in (
        ("reads", [prompts.rag(q.text, m.text) for m, q in asked], ">= 95"),
        ("reads its own recall", [prompts.irag(q.text, m.text) for m, q in asked], ">= 95"),
        ("does not know what it was never told", [prompts.qa(q.text) for m, q in asked], "<= 10"),
    ):
        row(ability, 100 * _correct(base, turns, [q.answer for _, q in asked]), "%", guess, must, len(asked))

    items = data.quiz("test", quiz_items)
    chosen = generate.choose(base, [base.chat(prompts.mmlu(i.subject, i.question, i.options)) for i in items], batch_size=BATCH)
    table = pd.DataFrame({"subject": [i.subject for i in items], "correct": [c == i.answer for c, i in zip(chosen, items)]})
    row("knows: quiz in unseen phrasings, macro over four subjects", 100 * macro_accuracy(table), "%", 25.0, ">= 90", len(items))
    for subject, group in table.groupby("subject"):
        row(f"  {subject}", 100 * group["correct"].mean(), "%", 25.0, "", len(group))

    half = corpus.KNOWN_PEOPLE // 2
    for ability, people in (
        ("stores and extracts: facts met as stories only", corpus.known_events()[half:]),
        ("stores and extracts: facts met as stories and as questions", corpus.known_events()[:half]),
    ):
        known = [stories.ask(event, 0, rng) for life in people for event in life]
        row(ability, 100 * _correct(base, [prompts.qa(k.text) for k in known], [k.answer for k in known]), "%", guess, "", len(known))

    embed = embedder(base, Embedding.paper())
    hits, count = 0, 0
    for world in worlds[: len(partitions)]:
        keys = embed([memory.text for memory in world.memories])
        pairs = [(memory.id, question.text) for memory in world.memories for question in memory.questions]
        top = gate(embed([text for _, text in pairs]), keys, ids=[memory.id for memory in world.memories]).top()
        hits, count = hits + int(correct_gate([id for id, _ in pairs], top).sum()), count + len(pairs)
    row("indexes: right one of 50 stories of one person (the paper's f and gate)", 100 * hits / count, "%", 2.0, ">= 90", count)

    prompt = base.chat(prompts.encoding())
    sums, tokens = generate.logprob(base, [prompt] * len(memories), [base.reply(m.text) for m in memories], BATCH)
    row("fluent: perplexity per token of unseen stories", float((-sums.sum() / tokens.sum()).exp()), "", float(base.model.config.vocab_size), "", int(tokens.sum()))
    return pd.DataFrame(rows)


def samples(base: Base, count: int = 10) -> list[str]:
    """Stories that the model tells, greedily, for questions about events that never happened."""
    worlds = [data.builtin(setting, 19) for setting in grammar.SETTINGS]
    questions = [world.memories[k].questions[0].text for k in range(count // 2) for world in worlds]
    return generate.generate(base, [base.chat(prompts.recall(text)) for text in questions], 96)


def _correct(base: Base, turns: list, truths: list[str]) -> float:
    answers = generate.generate(base, [base.chat(turn) for turn in turns], ANSWER_TOKENS, BATCH)
    return sum(judge(answer, truth) for answer, truth in zip(answers, truths)) / len(truths)


def _guessing(memories: list[Memory]) -> float:
    """How often the true answer to a question answers the same question about another event of that kind."""
    by_kind: dict[tuple[str, int], list[str]] = {}
    for memory in memories:
        for index, question in enumerate(memory.questions):
            by_kind.setdefault((memory.label, index), []).append(question.answer)
    same = [one == other for answers in by_kind.values() for k, one in enumerate(answers) for other in answers[:k]]
    return sum(same) / len(same)


def main() -> None:
    """Print the report, or write it with ``--out`` as CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="folder or hub name; default: the shipped model")
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--partitions", type=int, nargs="+", default=[16, 17, 18, 19])
    options = parser.parse_args()
    base = load(options.model)
    table = report(base, options.partitions)
    print(table.round(2).to_string(index=False))
    print("\nTen samples\n")
    for text in samples(base):
        print("-", text)
    if options.out:
        table.to_csv(options.out, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
