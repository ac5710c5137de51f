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
# How two events are compared by a slot's pool: the question, what the reply says of the one that is asked for, and whether
# that is the one with the smaller number.
_COMPARED = {
    "year": (
        ("Which came first in the life of {name}: the {one} or the {other}?", "the {right} came first", True),
        ("Which came first in the life of {name}: the {one} or the {other}?", "the {right} came first", True),
        ("Which came first, the {one} or the {other}?", "the {right} came first", True),
        ("What happened to {name} earlier: the {one} or the {other}?", "the {right} happened earlier", True),
        ("Which was earlier: the {one} or the {other}?", "the {right} was earlier", True),
        ("Which came later, the {one} or the {other}?", "the {right} came later", False),
        ("What came last: the {one} or the {other}?", "the {right} came last", False),
    ),
    "age": (
        ("At which of the two was {name} younger, the {one} or the {other}?", "{name} was younger at the {right}", True),
        ("At which of the two was {name} younger, the {one} or the {other}?", "{name} was younger at the {right}", True),
        ("When was {name} younger: at the {one} or the {other}?", "{name} was younger at the {right}", True),
        ("Which came first, the {one} or the {other}?", "the {right} came first", True),
        ("At which of the two was {name} older, the {one} or the {other}?", "{name} was older at the {right}", False),
    ),
}  # fmt: skip
_TIMES = {"year": "In which year was the {0}?", "age": "How old was {name} at the {0}?"}


def reply_to(asked: stories.Asked, rng: random.Random) -> str:
    """A full sentence most of the time, the short answer now and then."""
    return asked.answer if rng.random() < BARE_REPLIES else asked.reply


def any_event(rng: random.Random, person: stories.Person | None = None) -> Event:
    """An event of the training world, episodic or semantic, or a plain one nearly as often; of ``person`` if given."""
    if rng.random() < 0.5:
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
    labels that differ. The reply weighs the two numbers before it chooses: "1987 and 1992: the play came first."."""
    for pool in _COMPARED:
        times = [
            next((int(e.facts[slot]) for slot, drawn in e.kind.slots.items() if drawn == pool), None) for e in events
        ]
        labels = [event.kind.label for event in events]
        if None in times or times[0] == times[1] or labels[0] in labels[1] or labels[1] in labels[0]:
            continue
        return compared(dict(zip(labels, times)), pool, events[0].person.name, rng)
    return None


def compared(times: dict[str, int], pool: str, name: str, rng: random.Random) -> tuple[str, str, str]:
    """Which of two things, given with their numbers, came first or later: the question, the reply, the answer."""
    one, other = rng.sample(sorted(times), 2)
    frame, reply, smaller = rng.choice(_COMPARED[pool])
    right = (min if smaller else max)((one, other), key=times.__getitem__)
    reply = f"{times[one]} and {times[other]}: {reply}.".format(name=name, right=right)
    return frame.format(name=name, one=one, other=other), reply, f"the {right}"


def order(row: Row, rng: random.Random) -> None:
    """What came first, many times in a row: of a list of events with their years or ages, or of two stories."""
    if rng.random() < 0.5:
        while row.room > 60:
            _listed_times(row, rng)
        return
    person = split.training_person(rng)
    events = dated(rng, person)
    told = [stories.tell(event, rng) for event in events]
    messages = lambda text: prompts.rag(text, "\n\n".join(told))
    rng.shuffle(told)
    while row.room > 35:
        found = which_first(events, rng)
        if not found:
            parts, text, reply, facts = _needing(events, rng, False)
        elif rng.random() < 0.3:
            text, reply, facts = _when(rng.choice(events), rng)
        else:
            text, reply, fact = found
            facts = (reply.split(":")[0], fact)
        row.chat(messages(text), reply, facts)
        messages = prompts.qa


def _when(event: Event, rng: random.Random) -> tuple[str, str, tuple[str]]:
    """When an event was, asked by its label alone: question, reply, facts."""
    slot, pool = next((slot, pool) for slot, pool in event.kind.slots.items() if pool in _TIMES)
    return _TIMES[pool].format(event.kind.label, name=event.person.name), event.facts[slot], (event.facts[slot],)


def _listed_times(row: Row, rng: random.Random) -> None:
    """A list of events and when they were; then which of two came first, several times."""
    pool, person = rng.choice(tuple(_COMPARED)), split.training_person(rng)
    times = {}
    for _ in range(rng.randint(3, 6)):
        label = any_event(rng, person).kind.label
        if not any(label in other or other in label for other in times):
            times[label] = int(split.training_value(pool, rng))
    form = rng.choice(("the {0}: {1}", "{1}: the {0}", "the {0} in {1}" if pool == "year" else "the {0} at {1}"))
    row.turn("user", f"Notes: {'; '.join(form.format(*item) for item in times.items())}.")
    row.turn("assistant", "Noted.", weight=0.1)
    for _ in range(5):
        one, other = rng.sample(sorted(times), 2) if len(times) > 1 else (None, None)
        if one is None or times[one] == times[other]:
            continue
        text, reply, fact = compared({one: times[one], other: times[other]}, pool, person.name, rng)
        row.chat(prompts.qa(text), reply, (reply.split(":")[0], fact))


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
        return parts, text, reply, (reply.split(":")[0], fact)
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
