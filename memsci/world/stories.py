"""Events drawn from the kinds, told in any number of wordings, and asked about.

An event is a kind with a value for every slot (and a person, in the episodic setting). All that happens to it is a
function of a seeded ``random.Random``, so a partition is the same on every machine.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product

from . import grammar
from .grammar import Kind

PRONOUNS = {"female": ("she", "her", "her"), "male": ("he", "him", "his")}

_PART = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Person:
    """A fictional character: full name and ``"female"`` or ``"male"``."""

    name: str
    gender: str

    def words(self) -> dict[str, str]:
        """The words for the person that frames use."""
        he, him, his = PRONOUNS[self.gender]
        return {"name": self.name, "first": self.name.split()[0], "he": he, "him": him, "his": his}


@dataclass(frozen=True)
class Event:
    """A kind of event with its facts (slot to value), and the person it happened to, if any."""

    kind: Kind
    facts: dict[str, str]
    person: Person | None

    def values(self) -> dict[str, str]:
        """Everything that a frame of this event may name."""
        return self.facts | (self.person.words() if self.person else {})


@dataclass(frozen=True)
class Asked:
    """A question about an event: text, short answer, full-sentence reply, and the slot it asks for."""

    text: str
    answer: str
    reply: str
    slot: str


@cache
def _pools() -> dict:
    return tomllib.loads((resources.files(__package__) / "pools.toml").read_text(encoding="utf-8"))


def pool_names() -> list[str]:
    """Names of the pools that a slot may draw from."""
    pools = _pools()
    return sorted([name for name in pools if isinstance(pools[name], list)] + list(pools["composed"]))


def draw_value(pool: str, rng: random.Random) -> str:
    """A value of a pool; composed pools draw each of their parts."""
    pools = _pools()
    if pool in pools["composed"]:
        fill = lambda part: rng.choice(pools["parts"].get(part[1]) or pools[part[1]])
        return _PART.sub(fill, pools["composed"][pool])
    return rng.choice(pools[pool])


def draw_person(rng: random.Random, gender: str | None = None) -> Person:
    """A fictional character, by default of either gender."""
    people = _pools()["people"]
    gender = gender or rng.choice(("female", "male"))
    return Person(f"{rng.choice(people[gender])} {rng.choice(people['surname'])}", gender)


def draw_event(kind: Kind, rng: random.Random, person: Person | None = None) -> Event:
    """An event of ``kind`` with facts drawn from the pools."""
    return Event(kind, {slot: draw_value(pool, rng) for slot, pool in kind.slots.items()}, person)


def tell(event: Event, rng: random.Random) -> str:
    """The story of an event, in one of its wordings."""
    values = event.values()
    return " ".join(grammar.realise(rng.choice(frames), values, rng) for frames in _sentences(event.kind))


def _sentences(kind: Kind) -> list[tuple[str, ...]]:
    """The frames of each sentence."""
    return [frames for frames in (kind.opening, kind.closing) if frames]


def wordings(event: Event, rng: random.Random, count: int) -> list[str]:
    """``count`` different tellings of one event; all state the same facts.

    Pairs of an opening and a closing frame are drawn without replacement first (frames, where there is no closing), so that
    wordings differ in structure before they differ in words.
    """
    values = event.values()
    pairs = list(product(*_sentences(event.kind)))
    told: list[str] = []
    for _ in range(8):
        for frames in rng.sample(pairs, len(pairs)):
            text = " ".join(grammar.realise(frame, values, rng) for frame in frames)
            if text not in told:
                told.append(text)
            if len(told) == count:
                return told
    raise ValueError(f"the kind {event.kind.name!r} has only {len(told)} wordings, {count} were asked for")


def questions(event: Event, rng: random.Random) -> list[Asked]:
    """One question for every slot that the kind asks about, in one of its phrasings each."""
    return [ask(event, index, rng) for index in range(len(event.kind.questions))]


def ask(event: Event, index: int, rng: random.Random) -> Asked:
    """The kind's question ``index`` about the event, phrasing and reply drawn with ``rng``."""
    asked, values = event.kind.questions[index], event.values()
    text = grammar.realise(rng.choice(asked.ask), values, rng, end="?")
    reply = grammar.realise(rng.choice(asked.reply), values, rng)
    return Asked(text, event.facts[asked.slot], reply, asked.slot)
