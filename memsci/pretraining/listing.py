"""Rows of lists and of general knowledge: notes, labels and their partners, four-option questions."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

from .. import prompts
from ..world import knowledge, split, stories
from .row import Row

# Pools whose values are mostly single tokens, as are the options of the quiz.
SHORT_POOLS = ("number", "age", "town", "friend", "animal", "bird", "color", "month", "instrument", "job", "country", "year")


def notes(row: Row, rng: random.Random) -> None:
    """Notes on anything, and then each note by its kind.

    A question about a passage is one retrieval in a row; here are about twenty, so the circuits that find
    a word by its kind and copy it form much sooner.
    """
    while row.room > 0:
        pools = rng.sample(stories.pool_names(), rng.randint(4, 9))
        drawn = {pool: split.training_value(pool, rng) for pool in pools}
        row.turn("user", f"Notes: {'; '.join(drawn.values())}.")
        form = rng.choice(("{0}: {1}", "the {0} is {1}"))
        text = "; ".join(form.format(pool, drawn[pool]) for pool in rng.sample(pools, len(pools)))
        row.turn("assistant", text, tuple(f" {value}" for value in drawn.values()))


def asks(row: Row, rng: random.Random) -> None:
    """Notes on anything; then two to four of them asked for at once, and given in that order: many asks in a row.

    What a question in two parts needs: to answer the second part after the first.
    """
    while row.room > 40:
        pools = rng.sample(stories.pool_names(), rng.randint(4, 7))
        drawn = {pool: split.training_value(pool, rng) for pool in pools}
        row.turn("user", f"Notes: {'; '.join(drawn.values())}.")
        row.turn("assistant", "Noted.", weight=0.1)
        for _ in range(rng.randint(3, 6)):
            wanted = rng.sample(pools, rng.choice((2, 2, 2, 3, 4)))
            joined = lambda parts: f"{', '.join(parts[:-1])}{rng.choice((' and', ', and'))} {parts[-1]}"
            row.turn("user", f"{rng.choice(('Which', 'What was the', 'Give me the'))} {joined(wanted)}?")
            values = [drawn[pool] for pool in wanted]
            named = rng.random() < 0.4
            text = joined([f"{pool} {drawn[pool]}" for pool in wanted] if named else values)
            row.turn("assistant", text, tuple(values))


def short_values(rng: random.Random, count: int) -> tuple[str, ...]:
    """Different values of one pool of short words."""
    pool = rng.choice(SHORT_POOLS)
    values: dict[str, None] = {}
    while len(values) < count:
        values[split.training_value(pool, rng)] = None
    return tuple(values)


def labels(rng: random.Random, options: Sequence[str]) -> tuple[str, ...]:
    """What options are called: A, B, C, ... most of the time, any letters or words otherwise.

    With four letters alone the match of an option is not learnt: the loss stays on the plateau of one in four. Among
    many labels it is learnt within some hundred steps, and then holds for the four letters too.
    """
    form, count = rng.random(), len(options)
    if form < 0.5:
        drawn = tuple(string.ascii_uppercase[:count])
    else:
        drawn = tuple(rng.sample(string.ascii_uppercase, count)) if form < 0.7 else short_values(rng, count)
    return drawn if set(drawn).isdisjoint(options) else labels(rng, options)


def four_options(row: Row, rng: random.Random, subject: str, question: str, options: Sequence[str], right: int) -> None:
    """A question in the form of MMLU; the right label and option in reply."""
    drawn = labels(rng, options)
    messages = prompts.mmlu(subject, question, options, labels=drawn)
    # The system turn, which names the subject, stands at the start of a row only.
    *messages, prefix = messages if len(row.tokens) == 1 else messages[1:]
    answer = f"{drawn[right]}) {options[right]}"
    row.chat(messages, f"{prefix['content']} {answer}", (answer,))


def lookup(row: Row, rng: random.Random) -> None:
    """A labelled list, and the partner of many of its entries; or options, and the label of the one that is named."""
    while row.room > 0:
        if rng.random() < 0.3:
            options, right = short_values(rng, 4), rng.randrange(4)
            name = options[right]
            four_options(row, rng, "words", rng.choice((name, f"{name[0].upper()}{name[1:]}?")), options, right)
        else:
            values = short_values(rng, rng.randint(4, 8))
            partners(row, rng, labels(rng, values), values)


def pairs(row: Row, rng: random.Random) -> None:
    """Pairs of words, and the partner of many of them."""
    while row.room > 0:
        values = short_values(rng, rng.randint(4, 8))
        others = short_values(rng, len(values))
        if set(others).isdisjoint(values):
            partners(row, rng, others, values)


def partners(row: Row, rng: random.Random, ones: Sequence[str], others: Sequence[str]) -> None:
    """A list of pairs, and the partners of ten of them, forth or back."""
    listed = list(zip(ones, others))
    form = rng.choice(("{0}) {1}", "{0}: {1}", "{0} - {1}"))
    row.turn("user", "\n".join(form.format(*pair) for pair in listed))
    backwards = rng.random() < 0.7
    asked = [pair[::-1] if backwards else pair for pair in rng.choices(listed, k=10)]
    text = "; ".join(f"{key}: {value}" for key, value in asked)
    row.turn("assistant", text, tuple({f": {value}" for _, value in asked}))


def quiz(row: Row, rng: random.Random, phrasings: str = "train") -> None:
    """One subject: four-option questions, plain questions, statements."""
    subject = rng.choice(knowledge.SUBJECTS)
    facts = knowledge.facts(subject)
    while row.room > 0:
        fact = rng.choice(facts)
        form = rng.random() if len(row.tokens) > 1 else 0.0
        if form < 0.4:
            question = knowledge.question(fact, "beside_options" if rng.random() < 0.2 else phrasings, rng)
            four_options(row, rng, subject, question, *knowledge.options(fact, rng))
        elif form < 0.85:
            question = knowledge.question(fact, phrasings, rng)
            row.chat([{"role": "user", "content": question}], fact.answer, (fact.answer,))
        else:
            row.chat([{"role": "user", "content": f"Tell me a fact about {subject}."}], knowledge.statement(fact, rng))


def exam(row: Row, rng: random.Random, phrasings: str = "train", beside_options: float = 0.4) -> None:
    """Four-option questions of one subject; before some of them the same is asked plainly, and answered."""
    subject = rng.choice(knowledge.SUBJECTS)
    facts = knowledge.facts(subject)
    while row.room > 0:
        fact = rng.choice(facts)
        if len(row.tokens) > 1 and rng.random() < 0.3:
            row.chat([{"role": "user", "content": knowledge.question(fact, phrasings, rng)}], fact.answer, (fact.answer,))
        question = knowledge.question(fact, "beside_options" if rng.random() < beside_options else phrasings, rng)
        four_options(row, rng, subject, question, *knowledge.options(fact, rng))
