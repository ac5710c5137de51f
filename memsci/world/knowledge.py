"""General knowledge: real facts asked as four-option questions, in the form of MMLU.

Facts and phrasings are in ``knowledge.toml``. A fact is asked in training phrasings and examined in *other* phrasings,
so accuracy measures knowledge of the fact and not of the string.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

SUBJECTS = ("capitals", "elements", "opposites", "sums")
LETTERS = "ABCD"


@dataclass(frozen=True)
class Fact:
    """A fact: the values that its phrasings name, the key of the answer, and the relation it belongs to."""

    subject: str
    relation: str
    values: tuple[tuple[str, str], ...]
    answer: str


@dataclass(frozen=True)
class Relation:
    """One way in which facts of a subject are asked: phrasings by split, and statements.

    Training phrasings ``beside_options`` make sense only where options stand below them; ``reworded`` holds all that make
    sense alone, those of ``train`` among them.
    """

    train: tuple[str, ...]
    reworded: tuple[str, ...]
    beside_options: tuple[str, ...]
    test: tuple[str, ...]
    statement: tuple[str, ...]


@cache
def _tables() -> dict:
    return tomllib.loads((resources.files(__package__) / "knowledge.toml").read_text(encoding="utf-8"))


@cache
def relations(subject: str) -> dict[str, Relation]:
    """The relations of a subject by name."""
    tables = _tables()[subject]
    return {name: _relation(**tables[name]) for name in tables["relations"]}


def _relation(train, reworded, beside_options, test, statement, **_) -> Relation:
    return Relation(*map(tuple, (train, train + reworded, beside_options, test, statement)))


@cache
def facts(subject: str) -> tuple[Fact, ...]:
    """All facts of a subject."""
    found = []
    for name in _tables()[subject]["relations"]:
        table = _tables()[subject][name]
        if "range" in table:
            low, high = table["range"]
            numbers = range(low, high + 1)
            rows = [((("a", str(a)), ("b", str(b))), str(a + b)) for a in numbers for b in numbers]
        else:
            rows = [(((table["question_key"], asked),), answer) for asked, answer in table["facts"]]
        found += [Fact(subject, name, values + ((table["answer_key"], answer),), answer) for values, answer in rows]
    return tuple(found)


@cache
def _answers(subject: str, relation: str) -> tuple[str, ...]:
    return tuple(sorted({fact.answer for fact in facts(subject) if fact.relation == relation}))


@cache
def _alike(subject: str, relation: str) -> dict[str, frozenset[str]]:
    """The words near in meaning to each answer: as wrong options beside it they could pass for right."""
    near: dict[str, frozenset[str]] = {}
    for group in _tables()[subject][relation].get("alike", ()):
        for word in group:
            near[word] = near.get(word, frozenset()).union(group)
    return near


def phrase(frame: str, fact: Fact) -> str:
    """A phrasing of a fact, with a capital at its start."""
    text = frame.format(**dict(fact.values))
    return text[0].upper() + text[1:]


def options(fact: Fact, rng: random.Random) -> tuple[list[str], int]:
    """Four options in random order, three of them answers to other facts of the relation, and the right one's index.

    Wrong sums lie within five of the right one, so that they cannot be told by size. No wrong option is near in meaning
    to the right one.
    """
    near = _alike(fact.subject, fact.relation).get(fact.answer, frozenset()) | {fact.answer}
    others = [answer for answer in _answers(fact.subject, fact.relation) if answer not in near]
    if fact.subject == "opposites":
        others = [answer for answer in others if answer not in dict(fact.values).values()]
    if fact.subject == "sums":
        others = [answer for answer in others if abs(int(answer) - int(fact.answer)) <= 5]
    drawn = rng.sample(others, 3) + [fact.answer]
    rng.shuffle(drawn)
    return drawn, drawn.index(fact.answer)


def question(fact: Fact, split: str, rng: random.Random) -> str:
    """The fact asked in one of the phrasings of ``split``: "train", "reworded", "beside_options" or "test"."""
    return phrase(rng.choice(getattr(relations(fact.subject)[fact.relation], split)), fact)


def statement(fact: Fact, rng: random.Random) -> str:
    """The fact told."""
    return phrase(rng.choice(relations(fact.subject)[fact.relation].statement), fact)
