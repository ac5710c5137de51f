"""How frames become sentences: choices of wording, slots, articles.

The grammar is the smallest one that writes natural English: a frame is a sentence with ``[this|that]`` choices and
``{slots}``. Which kinds of event there are, and what fills their slots, is data (``episodic/``, ``semantic/``, ``plain/``,
``pools.toml``); ``FORMAT.md`` beside this file says how they are written.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

PERSON_WORDS = frozenset({"name", "first", "he", "him", "his"})
SETTINGS = ("episodic", "semantic")

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(a:)?(\w+)\}")
_AN = re.compile(r"(?:[aeiou]|hour|honest|heir|8|11\b|18\b)", re.IGNORECASE)
_NOT_AN = re.compile(r"(?:uni|use|usu|eu|one\b|once\b|ukulele)", re.IGNORECASE)


@dataclass(frozen=True)
class AskedSlot:
    """A question that a kind of event allows: the slot it asks for, phrasings, and full-sentence replies."""

    slot: str
    ask: tuple[str, ...]
    reply: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of event: its slots with their pools, frames of both sentences (or of one, no closing), and questions."""

    name: str
    label: str
    slots: dict[str, str]
    opening: tuple[str, ...]
    closing: tuple[str, ...]
    questions: tuple[AskedSlot, ...]


def slots_in(frame: str) -> set[str]:
    """Names of the slots of a frame, words for the person included."""
    return {name for _, name in _SLOT.findall(frame)}


def realise(frame: str, values: dict[str, str], rng: random.Random, end: str = ".") -> str:
    """One sentence from a frame: choices drawn with ``rng``, slots filled from ``values``."""
    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), frame)
    text = _SLOT.sub(lambda match: with_article(values[match[2]]) if match[1] else values[match[2]], text)
    text = " ".join(text.split()).removesuffix(end) + end
    return text[0].upper() + text[1:]


def with_article(phrase: str) -> str:
    """``phrase`` behind the indefinite article that its sound asks for."""
    return ("an " if _AN.match(phrase) and not _NOT_AN.match(phrase) else "a ") + phrase


def parse_kinds(text: str) -> list[Kind]:
    """Kinds of event from the text of one theme file."""
    return [
        Kind(
            name=name,
            label=table["label"],
            slots=dict(table["slots"]),
            opening=tuple(table["opening"]),
            closing=tuple(table.get("closing", ())),
            questions=tuple(
                AskedSlot(question["slot"], tuple(question["ask"]), tuple(question["reply"]))
                for question in table["questions"]
            ),
        )
        for name, table in tomllib.loads(text).items()
    ]


@cache
def kinds(setting: str) -> tuple[Kind, ...]:
    """All kinds of event of one of `SETTINGS`, or of "plain", ordered by theme file and place in it."""
    folder = resources.files(__package__) / setting
    themes = sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    return tuple(kind for theme in themes for kind in parse_kinds(theme.read_text(encoding="utf-8")))
