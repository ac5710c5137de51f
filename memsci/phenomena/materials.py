"""Materials of experiments: events of the built-in world with their twins, lures and foils. All follows from seeds.

Everybody in them is one of the twenty held-out characters, whose names the shipped base never read; their facts are drawn
anew, so some of them may stand in its training text beside another name. What the base alone says is therefore always
measured too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from memsci.errors import check_whole
from memsci.measures.text_match import contains
from memsci.memory import Memory, Question
from memsci.world import grammar, split, stories
from memsci.world.stories import Event, Person

PARAPHRASES = 9  # of each memory, as in the built-in partitions
DRAWS = 1000  # before a value that tells nothing of another is given up


@dataclass(frozen=True)
class Pair:
    """A cue A with its twins B and C, and an event D–E that has nothing to do with them.

    Attributes
    ----------
    cue : str
        A question that fits both twins.
    twins : tuple of 2 Memory
        The same event in the same words; the fact that the cue asks for alone differs.
    answers : tuple of 2 str
        That fact in each of them.
    foil : str
        A value of the same sort that stands in neither.
    other : Memory
        An event of another kind.
    told : tuple of 3 str
        The text of the twins in the words of the first, with B, with C and with the foil: they differ in the fact alone.
    """

    cue: str
    twins: tuple[Memory, Memory]
    answers: tuple[str, str]
    foil: str
    other: Memory
    told: tuple[str, str, str] = ("", "", "")


def rng(*names: object) -> random.Random:
    """The source of chance of one piece of material: the same names give the same material on every machine."""
    return random.Random(" ".join(map(str, ("phenomena", *names))))


def person(number: int) -> Person:
    """The character of a list: one of the twenty held-out ones, in turn."""
    return split.characters()[number % split.PARTITIONS]


def kinds(draw: random.Random, count: int, plain: bool = False) -> list[grammar.Kind]:
    """So many different kinds of event, of the world or in plain English."""
    known = grammar.kinds("plain" if plain else "episodic")
    check_whole("kinds of event", count, 1, len(known))
    return draw.sample(known, count)


def told(event: Event, id: str, seed: str, paraphrases: int = PARAPHRASES) -> Memory:
    """A memory of an event; events of one kind are told in the same words under the same seed.

    Its questions are the kind's four, each in one of its phrasings.
    """
    draw = random.Random(seed)
    text, *others = stories.wordings(event, draw, 1 + paraphrases)
    asked = tuple(Question(one.text, one.answer) for one in stories.questions(event, random.Random(f"{seed} questions")))
    return Memory(text, id, event.kind.label, tuple(others), asked)


def with_fact(event: Event, slot: str, value: str, seed: str) -> str:
    """The text of `told` under this seed, with another value of one slot."""
    return told(replace(event, facts=event.facts | {slot: value}), "told", seed, 0).text


def other_value(event: Event, slot: str, draw: random.Random, *taken: str) -> str:
    """Another value of a slot: one that neither the event's facts nor the values taken contain, nor are contained in."""
    known = [*event.facts.values(), *(event.person.name.split() if event.person else ()), *taken]
    for _ in range(DRAWS):
        value = stories.draw_value(event.kind.slots[slot], draw)
        if not any(contains(one, value) or contains(value, one) for one in known):
            return value
    raise ValueError(f"the pool of {slot!r} of {event.kind.name!r} has no further value")


def twin(event: Event, slot: str, draw: random.Random, *taken: str) -> Event:
    """The same event with another value of one slot."""
    return replace(event, facts=event.facts | {slot: other_value(event, slot, draw, *taken)})


def lure(event: Event, draw: random.Random) -> Event:
    """Another event of the same kind and person: every fact is another."""
    facts: dict[str, str] = {}
    for slot in event.kind.slots:
        facts[slot] = other_value(event, slot, draw, *facts.values())
    return replace(event, facts=facts)


def pairs(number: int, count: int = 4, name: str = "pairs", plain: bool = False) -> tuple[Pair, ...]:
    """The A–B, A–C pairs of one list, each with an unrelated event D–E, all about one person.

    In plain English D–E is about another person, since a sentence is short and a name much of it, and no text of a list
    has an answer or a foil of another pair.

    Parameters
    ----------
    number
        Of the list; its person is the character of that number.
    count
        Pairs; each takes two kinds of event that occur nowhere else in the list.
    name
        Of the material: another gives other lists.
    plain
        In plain English, one sentence and one wording.

    Returns
    -------
    tuple of Pair
        Which of two twins is drawn first tells nothing: use both orders.
    """
    draw, who = rng(name, number), person(number)
    chosen, made = kinds(draw, 2 * count, plain), []
    for place, (kind, unlike) in enumerate(zip(chosen[:count], chosen[count:])):
        id = f"{name}-{number:02d}-{place}"
        if not plain:
            made.append(_pair(kind, unlike, who, who, draw, id, PARAPHRASES))
            continue
        made.append(next(
            pair for pair in (_pair(kind, unlike, who, _stranger(who, draw), draw, id, 0) for _ in range(DRAWS))
            if not any(_tells(pair, one) or _tells(one, pair) for one in made)
        ))  # fmt: skip
    return tuple(made)


def _stranger(who: Person, draw: random.Random) -> Person:
    """Somebody who has no name of this person's."""
    while not set((other := stories.draw_person(draw)).name.split()).isdisjoint(who.name.split()):
        pass
    return other


def _tells(one: Pair, other: Pair) -> bool:
    """Whether a text of one pair has an answer or the foil of another."""
    texts = (*(memory.text for memory in one.twins), one.other.text, one.cue)
    return any(contains(text, value) for text in texts for value in (*other.answers, other.foil))


def _pair(
    kind: grammar.Kind, unlike: grammar.Kind, who: Person, another: Person, draw: random.Random, id: str, paraphrases: int
) -> Pair:
    """One pair, drawn again until no text tells what another does: frames have words of their own."""
    for _ in range(DRAWS):
        event, asked = stories.draw_event(kind, draw, who), draw.randrange(len(kind.questions))
        slot = kind.questions[asked].slot
        first = twin(event, slot, draw)
        second = twin(first, slot, draw, event.facts[slot])
        answers = first.facts[slot], second.facts[slot]
        foil = other_value(first, slot, draw, answers[1])
        cue = stories.ask(first, asked, draw).text
        twins = tuple(told(one, f"{id}{letter}", id, paraphrases) for one, letter in ((first, "b"), (second, "c")))
        other = told(stories.draw_event(unlike, draw, another), f"{id}e", f"{id} other", paraphrases)
        # Of all texts, B stands in the first twin alone and C in the second.
        texts = twins[0].text, twins[1].text, other.text, cue
        places = [[contains(text, value) for text in texts] for value in (*answers, foil)]
        if places == [[True, False, False, False], [False, True, False, False], [False] * 4]:
            return Pair(cue, twins, answers, foil, other, tuple(with_fact(first, slot, one, id) for one in (*answers, foil)))
    raise ValueError(f"no pair of the kind {kind.name!r} could be drawn")
