"""What the base model can do, each ability with its chance level: ``python -m memsci.pretraining.report``.

Measured on the held-out partitions (people and events that it never read), by the judge that all experiments use.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pandas as pd

from memsci import data, prompts
from memsci.config import Embedding
from memsci.gate.embed import embedder
from memsci.gate.softmax import gate
from memsci.measures.metrics import correct_gate, judge, macro_accuracy
from memsci.memory import Memory
from memsci.models import generate
from memsci.models.base import Base, load
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
    chosen = generate.choose(
        base, [base.chat(prompts.mmlu(i.subject, i.question, i.options)) for i in items], batch_size=BATCH
    )
    table = pd.DataFrame(
        {"subject": [i.subject for i in items], "correct": [c == i.answer for c, i in zip(chosen, items)]}
    )
    row(
        "knows: quiz in unseen phrasings, macro over four subjects",
        100 * macro_accuracy(table),
        "%",
        25.0,
        ">= 90",
        len(items),
    )
    for subject, group in table.groupby("subject"):
        row(f"  {subject}", 100 * group["correct"].mean(), "%", 25.0, "", len(group))

    half = corpus.KNOWN_PEOPLE // 2
    for ability, people in (
        ("stores and extracts: facts met as stories only", corpus.known_events()[half:]),
        ("stores and extracts: facts met as stories and as questions", corpus.known_events()[:half]),
    ):
        known = [stories.ask(event, 0, rng) for life in people for event in life]
        row(
            ability,
            100 * _correct(base, [prompts.qa(k.text) for k in known], [k.answer for k in known]),
            "%",
            guess,
            "",
            len(known),
        )

    embed = embedder(base, Embedding.paper())
    hits, count = 0, 0
    for world in worlds[: len(partitions)]:
        keys = embed([memory.text for memory in world.memories])
        pairs = [(memory.id, question.text) for memory in world.memories for question in memory.questions]
        top = gate(embed([text for _, text in pairs]), keys, ids=[memory.id for memory in world.memories]).top()
        hits, count = hits + int(correct_gate([id for id, _ in pairs], top).sum()), count + len(pairs)
    row(
        "indexes: right one of 50 stories of one person (the paper's f and gate)",
        100 * hits / count,
        "%",
        2.0,
        ">= 90",
        count,
    )

    prompt = base.chat(prompts.encoding())
    sums, tokens = generate.logprob(base, [prompt] * len(memories), [base.reply(m.text) for m in memories], BATCH)
    row(
        "fluent: perplexity per token of unseen stories",
        float((-sums.sum() / tokens.sum()).exp()),
        "",
        float(base.model.config.vocab_size),
        "",
        int(tokens.sum()),
    )
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


CARD = """---
license: mit
language: en
pipeline_tag: text-generation
---

# memsci/base

The small base model that memsci ships: a Llama of {parameters:,} parameters ({width} wide, {layers} layers, {heads} heads,
vocabulary {vocabulary:,}) with a tokenizer and chat template of its own, trained from scratch on text of the built-in
world. It is a model organism for memory experiments, not a language model for any other use. What it can do and what it
cannot stands below, as measured.

## How it was made

`make base` (recipe: `memsci.pretraining`), {trained_steps:,} steps of {rows} rows of {row} tokens, {tokens:,} tokens in all,
{seconds:,} seconds on {hardware}, seed {seed}, torch {torch}. Weights are stored in bfloat16.{history}

- **Data**: conversations about the training half of the built-in world and the training phrasings of the quiz, in these
  proportions: {phases}. Nobody in them has the full name of a character of the 20 episodic partitions or of anyone named in
  the 20 semantic ones, though first names and family names occur apart; and no two facts of one event of these partitions
  occur together (`memsci.world.split`; `tests/test_world.py`).
- **The gate's term**: besides next tokens, the model is trained to tell apart question-story pairs by the very embedding
  that the paper gates with (mean over tokens of the input to the last layer's MLP, raw inner products, softmax at β = 1).
  An 8B model brings this semantic quality along; a small one is given it here: early in training the gate
  was right in 87.9 % of cases with the term and in 63.4 % without (docs/lab-notes.md of the repository). Read gate figures
  on this model with that in mind.

## What it can do

On people and events that it never read (partitions {partitions} of both settings), printed by `make base-report`:

{table}

Chance: for questions, how often the answer to the same question about another event of the same kind happens to be right;
for the quiz, one of four options; for the index, one of fifty.

## Ten samples

Greedy recalls for questions about events that never happened to it:

{samples}
"""


def card(base: Base, table: pd.DataFrame, run: dict, partitions: Sequence[int]) -> str:
    """The model card, from the run's facts and the report."""
    config = base.model.config
    lines = ["| ability | value | target | chance | n |", "| --- | --- | --- | --- | --- |"]
    for row in table.itertuples():
        lines.append(
            f"| {row.ability.strip()} | {row.value:.1f} {row.unit} | {row.must} | {row.chance:.1f} | {row.n} |"
        )
    return CARD.format(
        **run,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        row=corpus.ROW,
        phases="; ".join(f"{_since(start)} {_shares(shares)}" for start, shares in corpus.PHASES),
        partitions=", ".join(map(str, partitions)),
        table="\n".join(lines),
        samples="\n".join(f"- {text}" for text in samples(base)),
    )


def _since(start: float) -> str:
    return f"from {start:.0%} of the steps on" if start < 1 else "in the finishing steps"


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{sort} {share:.0%}" for sort, share in shares.items() if share)


def main() -> None:
    """Print the report; ``--out`` writes it as CSV, ``--card RUN`` writes the model card of a training run's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="folder or hub name; default: the shipped model")
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument(
        "--card", type=Path, help="folder of the training run (run.json); writes README.md beside the model"
    )
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
    if options.card:
        run = {"history": ""} | json.loads((options.card / "run.json").read_text(encoding="utf-8"))
        folder = Path(options.model or str(resources.files("memsci") / "assets" / "base"))
        (folder / "README.md").write_text(card(base, table, run, options.partitions), encoding="utf-8")


if __name__ == "__main__":
    main()
