"""What the base model may read, and what is held out for the experiments.

The 20 + 20 built-in partitions are drawn first. Training text is drawn afterwards and rejected when it would tell
anything about them, so the split holds by construction:

- nobody in it has the full name of a partition's character, or of a person named in a semantic partition;
- no event in it shares *two* facts with a held-out event of the same kind (so no pair of facts that a question could
  connect is ever read).
"""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations

from . import grammar, stories
from .stories import Event, Person

PARTITIONS = 20
MEMORIES = 50


@cache
def characters() -> tuple[Person, ...]:
    """The people of the 20 episodic partitions: ten women and ten men, in turn."""
    rng = random.Random("characters")
    people: dict[str, Person] = {}
    while len(people) < PARTITIONS:
        person = stories.draw_person(rng, ("female", "male")[len(people) % 2])
        if all(person.name.split()[0] != other.split()[0] for other in people):
            people[person.name] = person
    return tuple(people.values())


@cache
def held_out(setting: str, partition: int) -> tuple[Event, ...]:
    """The 50 events of a built-in partition.

    Episodic partitions are about one person, and a few kinds of event happen twice in a life; semantic partitions
    hold 50 kinds of public event once each, so their memories are less correlated.
    """
    rng = random.Random(f"{setting} {partition}")
    kinds = list(grammar.kinds(setting))
    person = characters()[partition] if setting == "episodic" else None
    if person:
        kinds += rng.sample(kinds, len(kinds) // 5)
    return tuple(stories.draw_event(kind, rng, person) for kind in rng.sample(kinds, MEMORIES))


@cache
def held_out_facts(setting: str) -> frozenset:
    """Every pair of facts of every held-out event: ``(kind, ((slot, value), (slot, value)))``."""
    return frozenset(
        pair for partition in range(PARTITIONS) for event in held_out(setting, partition) for pair in fact_pairs(event)
    )


def fact_pairs(event: Event) -> list:
    """The pairs of facts that an event connects."""
    return [(event.kind.name, pair) for pair in combinations(sorted(event.facts.items()), 2)]


@cache
def _held_out_names() -> frozenset[str]:
    """Full names of the characters, and of the people who are named in the semantic partitions."""
    named = {
        event.facts[slot]
        for partition in range(PARTITIONS)
        for event in held_out("semantic", partition)
        for slot, pool in event.kind.slots.items()
        if pool == "person"
    }
    return frozenset(named | {person.name for person in characters()})


def training_person(rng: random.Random) -> Person:
    """A character whose full name is in no partition."""
    while True:
        person = stories.draw_person(rng)
        if person.name not in _held_out_names():
            return person


def training_value(pool: str, rng: random.Random) -> str:
    """A value of a pool that is the full name of nobody in a partition."""
    while True:
        value = stories.draw_value(pool, rng)
        if value not in _held_out_names():
            return value


def training_event(setting: str, rng: random.Random, kind=None, person: Person | None = None) -> Event:
    """An event that tells nothing about a held-out one; kind and person are drawn unless given."""
    if setting == "episodic" and person is None:
        person = training_person(rng)
    kind = kind or rng.choice(grammar.kinds(setting))
    while True:
        event = stories.draw_event(kind, rng, person)
        if any(value in _held_out_names() for value in event.facts.values()):
            continue
        if not held_out_facts(setting).intersection(fact_pairs(event)):
            return event
