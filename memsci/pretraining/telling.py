"""Rows about events: read, recalled, told again, known by heart, and two in one question."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from .. import prompts
from ..world import grammar, split, stories
from ..world.stories import Event
from . import cues, plain
from .row import Row

BARE_REPLIES = 0.25  # share of replies that are the short answer alone
KNOWN_PEOPLE, KNOWN_EVENTS = 8, 40
# How two events are compared by a slot's pool, and what follows "the first of them" in the reply.
_COMPARED = {
    "year": (
        ("Which came first in the life of {name}: the {one} or the {other}?", "The {first} came first."),
        ("Which came first, the {one} or the {other}?", "The {first} came first."),
        ("What happened to {name} earlier: the {one} or the {other}?", "The {first} happened earlier."),
        ("Which was earlier: the {one} or the {other}?", "The {first} was earlier."),
    ),
    "age": (
        ("At which of the two was {name} younger, the {one} or the {other}?", "{name} was younger at the {first}."),
        ("When was {name} younger: at the {one} or the {other}?", "{name} was younger at the {first}."),
        ("Which came first, the {one} or the {other}?", "The {first} came first."),
    ),
}  # fmt: skip


def reply_to(asked: stories.Asked, rng: random.Random) -> str:
    """A full sentence most of the time, the short answer now and then."""
    return asked.answer if rng.random() < BARE_REPLIES else asked.reply


def any_event(rng: random.Random, person: stories.Person | None = None) -> Event:
    """An event of the training world, episodic or semantic, or a plain one nearly as often; of ``person`` if given."""
    if rng.random() < 0.45:
        return plain.event(rng, person)
    setting = "episodic" if person else rng.choice(grammar.SETTINGS)
    return split.training_event(setting, rng, person=person)


def some_questions(event: Event, rng: random.Random, plainly: bool = False) -> list[stories.Asked]:
    """Up to four questions about an event in any order, with more or less context."""
    indices = rng.sample(range(len(event.kind.questions)), min(4, len(event.kind.questions)))
    return [cues.cue(event, index, rng, **cues.any_context(rng), plainly=plainly) for index in indices]


def read(row: Row, rng: random.Random) -> None:
    """A passage and questions about it, until the row is full, a third of them two in one; now and then two passages."""
    while row.room > 90:
        event = any_event(rng)
        passages = [stories.tell(event, rng)]
        if rng.random() < 0.15:
            passages.append(stories.tell(any_event(rng, event.person), rng))
            rng.shuffle(passages)
        first, *others = some_questions(event, rng)
        row.chat(prompts.rag(first.text, "\n\n".join(passages)), reply_to(first, rng), (first.answer,))
        for each in others:
            if rng.random() < 0.35 and row.room > 50:
                one, other = rng.sample(some_questions(event, rng, plainly=True), 2)
                text, reply = both(one, other, rng)
                row.chat(prompts.qa(text), reply, (one.answer, other.answer))
            else:
                row.chat(prompts.qa(each.text), reply_to(each, rng), (each.answer,))


def recall(row: Row, rng: random.Random) -> None:
    """A story recalled for a question, and questions about the recalled story, until the row is full."""
    while row.room > 110:
        event = any_event(rng)
        asked = some_questions(event, rng)
        told = stories.tell(event, rng)
        row.chat(prompts.recall(asked[0].text), told)
        for each in asked:
            wording = prompts.irag(each.text, told, "section" if rng.random() < 0.15 else "qa")
            row.chat(wording[2:], reply_to(each, rng), (each.answer,))


def both(one: stories.Asked, other: stories.Asked, rng: random.Random) -> tuple[str, str]:
    """Two questions as one, and the reply to it."""
    text = f"{one.text.rstrip('?.')}, and {cues.lower(other.text)}"
    if rng.random() < 0.35:
        return text, f"{one.answer} and {other.answer}"
    return text, f"{one.reply.removesuffix('.')}, and {cues.lower(other.reply)}"


def which_first(events: Sequence[Event], rng: random.Random) -> tuple[str, str, str] | None:
    """Which of one person's two events came first, the reply and the answer, if both tell a year or an age and have
    labels that differ."""
    for pool, frames in _COMPARED.items():
        times = [next((int(e.facts[slot]) for slot, drawn in e.kind.slots.items() if drawn == pool), None) for e in events]
        labels = [event.kind.label for event in events]
        if None in times or times[0] == times[1] or labels[0] in labels[1] or labels[1] in labels[0]:
            continue
        one, other = rng.sample(labels, 2)
        frame, reply = rng.choice(frames)
        first = labels[times.index(min(times))]
        values = dict(name=events[0].person.name, one=one, other=other, first=first)
        reply = f"the {first}" if rng.random() < BARE_REPLIES else reply.format(**values)
        return frame.format(**values), reply, f"the {first}"
    return None


def dated(rng: random.Random, person: stories.Person) -> list[Event]:
    """Two events of one person that both tell a year, or both an age."""
    pool = rng.choice(tuple(_COMPARED))
    events = []
    while len(events) < 2:
        if rng.random() < 0.5:
            event = plain.event(rng, person)
        else:
            kinds = [kind for kind in grammar.kinds("episodic") if pool in kind.slots.values()]
            event = split.training_event("episodic", rng, rng.choice(kinds), person)
        if pool in event.kind.slots.values():
            events.append(event)
    return events


def two(row: Row, rng: random.Random) -> None:
    """Two or three stories in any order, or recalled, and questions that need two of them, each answered in one sentence.

    A row asks as many such questions as it has room for: one in a row was not learnt.
    """
    person = split.training_person(rng) if rng.random() < 0.6 else None
    dated_ones = person is not None and rng.random() < 0.25
    events = dated(rng, person) if dated_ones else [any_event(rng, person) for _ in range(2)]
    parts, text, reply, facts = _needing(events, rng, dated_ones)
    told = [stories.tell(event, rng) for event in events]
    form = rng.random()
    if form < 0.6:
        if rng.random() < 0.15:
            told.append(stories.tell(plain.event(rng, person), rng))
        rng.shuffle(told)
        row.chat(prompts.rag(text, "\n\n".join(told)), reply, facts)
    elif form < 0.8:  # as one list
        rng.shuffle(told)
        row.chat(prompts.recall(text), "\n\n".join(told), weight=0.2)
        row.chat(prompts.qa(text), reply, facts)
    else:  # one after another
        for asked, story in rng.sample(list(zip(parts, told)), 2):
            row.chat(prompts.recall(asked.text if rng.random() < 0.5 else "And what else?"), story, weight=0.2)
        row.chat(prompts.qa(text), reply, facts)
    while row.room > 40:
        parts, text, reply, facts = _needing(events, rng, dated_ones and rng.random() < 0.3)
        if rng.random() < 0.15:
            text, reply, facts = parts[0].text, reply_to(parts[0], rng), (parts[0].answer,)
        row.chat(prompts.qa(text), reply, facts)


def _needing(events: Sequence[Event], rng: random.Random, compare: bool) -> tuple:
    """A question that needs both events: a part about each, its text, the reply and the facts in that."""
    parts = [rng.choice(some_questions(event, rng, plainly=True)) for event in events]
    if compare and (compared := which_first(events, rng)):
        text, reply, fact = compared
        return parts, text, reply, (fact,)
    text, reply = both(*rng.sample(parts, 2), rng)
    return parts, text if rng.random() < 0.8 else cues.voiced(text, rng), reply, tuple(part.answer for part in parts)


def retell(row: Row, rng: random.Random) -> None:
    """A story, and the same story in other words until the row is full."""
    event = any_event(rng)
    first, *others = dict.fromkeys(stories.tell(event, rng) for _ in range(5))
    row.chat(prompts.encoding(rng.choice(sorted(prompts.ENCODING_PROMPTS))), first)
    for text in others:
        row.chat([{"role": "user", "content": "Tell it in other words."}], text, tuple(event.facts.values()))


@cache
def known_events() -> tuple[tuple[Event, ...], ...]:
    """The lives that the model gets to know by heart: people's events, episodic."""
    rng = random.Random("known people")
    people = []
    for _ in range(KNOWN_PEOPLE):
        person = split.training_person(rng)
        kinds = rng.sample(grammar.kinds("episodic"), KNOWN_EVENTS)
        people.append(tuple(split.training_event("episodic", rng, kind, person) for kind in kinds))
    return tuple(people)


def known(row: Row, rng: random.Random) -> None:
    """Stories of known people; for the first half of the people also questions without the story, single or two in one."""
    index = rng.randrange(KNOWN_PEOPLE)
    life = known_events()[index]

    def asked_of(event: Event, plainly: bool = False) -> stories.Asked:
        index = rng.randrange(len(event.kind.questions))
        return cues.cue(event, index, rng, **cues.any_context(rng), plainly=plainly)

    while row.room > 0:
        event = rng.choice(life)
        asked = asked_of(event)
        if index < KNOWN_PEOPLE // 2 and rng.random() < 0.6:
            if rng.random() < 0.2:
                asked, other = asked_of(event, plainly=True), asked_of(rng.choice(life), plainly=True)
                text, reply = both(asked, other, rng)
                row.chat(prompts.qa(text), reply, (asked.answer, other.answer))
            else:
                row.chat(prompts.qa(asked.text), reply_to(asked, rng), (asked.answer,))
        elif rng.random() < 0.7:
            row.chat(prompts.recall(asked.text), stories.tell(event, rng), tuple(event.facts.values()))
        else:
            row.chat(prompts.encoding("methods"), stories.tell(event, rng))
