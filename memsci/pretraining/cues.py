"""Questions as people ask them: with full, half or hardly any context, in several voices, a detail wrong now and then.

The world's own questions name two facts and the person. Here the same frames lose their circumstances, so that what is asked
stays and what helps to find the memory goes.
"""

from __future__ import annotations

import random
import re

from ..world import grammar
from ..world.stories import Asked, Event
from . import plain

CONTEXTS = ("full", "half", "hardly")
VOICES = (
    "{0}?", "{0}?", "{0}?", "{0}?", "Do you remember: {1}?", "Tell me, {1}?", "I forgot, {1}?", "Quick question: {1}?",
    "Please tell me: {1}?", "Say, {1}?", "{0}? I cannot remember.", "Hm, {1}?", "{0}, please?",
)  # fmt: skip
_KEPT = r"name\}|first\}|he\}|him\}|his\}|it\}"  # people, and the thing itself: "plug in the {it}" is one verb
_PHRASE = re.compile(
    r",?(?: the one| and)? (?:one day in|together with|at the age of|in a copy of|in|on|at|for|by|with|from|to|of|about|"
    r"beside|near|through|under|along|across|into|behind|during|after|before|against|around|inside|over|between)"
    r"(?: (?:the|a|an|his|her))? \{(?:a:)?(?!" + _KEPT + r")\w+\}(?=[ ,?]|$)"
)
_CLAUSE = re.compile(r",? (?:when|after|while|before|where|as) [^,]*\{(?:a:)?(?!" + _KEPT + r")\w+\}.*$")
_FRONT = re.compile(r"^(?:In|On|At|When|After|During|With|For|Before|While|By|To|From|Among) [^,]*\{[^,]*, (?=[a-z])")
_WHO = frozenset({"friend", "bride", "person"})
_ASKED = {
    "town": "which town", "venue": "where", "hall": "where", "room": "which room", "chamber": "which room", "date": "when",
    "winterday": "when", "month": "which month", "summer": "which month", "year": "which year", "weekday": "which day",
    "age": "how old", "number": "how many", "crowd": "how many", "amount": "how much", "percent": "how many percent",
    "distance": "how far", "wait": "how long", "stay": "how long", "term": "how long", "period": "how long",
    "color": "which colour", "feeling": "what feeling", "beast": "which animal", "pet": "which animal",
    "wildbird": "which bird", "relic": "which object", "thing": "what", "odd": "which word", "madeup": "what name",
    "motor": "which vehicle", "trade": "which job", "nation": "which country", "land": "which country",
    "title": "what title", "infection": "which disease", "mishap": "what trouble", "delay": "what trouble",
}  # fmt: skip
_OTHERWISE = (
    ("Who was", "Which person was"), ("Who ", "What is the name of the one who "), ("Which ", "What "),
    ("When ", "At what time "), ("Where ", "In what place "), ("How much ", "What amount "), ("In which ", "In what "),
    ("What did", "What thing did"),
)  # fmt: skip


def trimmed(frame: str, rng: random.Random, pronoun: bool) -> str:
    """A question's frame without its circumstances; the person's name becomes a pronoun if so asked."""
    text = _FRONT.sub("", frame.removesuffix("?"))
    text = _CLAUSE.sub("", text)
    text = _PHRASE.sub(lambda match: match[0] if rng.random() < 0.15 else "", text)
    if pronoun:
        text = re.sub(r"\b(did|was|when|that|had|could|were|does|do) \{(?:name|first)\}", r"\1 {he}", text)
        text = re.sub(r" (?:of|by) \{name\}", "", text).replace("{name}", "{first}")
    return text[0].upper() + text[1:]


def bare(kind: grammar.Kind, slot: str) -> str:
    """What is asked, and the event's label alone."""
    asked = _asked(kind.slots[slot])
    return f"{asked[0].upper()}{asked[1:]} was it, the {kind.label}"


def reworded(frame: str) -> str:
    """The same question with another word to ask by, where there is one."""
    for word, other in _OTHERWISE:
        if frame.startswith(word):
            return other + frame.removeprefix(word)
    return frame


def _asked(pool: str) -> str:
    return "who" if pool in _WHO else _ASKED.get(pool, f"which {pool}")


def cue(
    event: Event, index: int, rng: random.Random, context: str = "full", mistaken: bool = False, plainly: bool = False
) -> Asked:
    """The kind's question ``index`` with so much context.

    Parameters
    ----------
    event, index, rng
        As in `stories.ask`.
    context
        "full" (the world's question), "half" (what happened, and to whom) or "hardly" (what happened).
    mistaken
        Let one fact be wrong that the question names and does not ask for.
    plainly
        In the question's own words, not in one of the several voices.
    """
    asked, values = event.kind.questions[index], event.values()
    frame = rng.choice(asked.ask)
    if context != "full":
        frame = trimmed(frame, rng, pronoun=context == "hardly")
        alike = [_asked(pool) for pool in event.kind.slots.values()].count(_asked(event.kind.slots[asked.slot]))
        if context == "hardly" and rng.random() < 0.4 and alike == 1 and asked.slot != "thing":
            frame = bare(event.kind, asked.slot)
    if rng.random() < 0.15:
        frame = reworded(frame)
    told = values
    named = sorted(grammar.slots_in(frame) & event.kind.slots.keys() - {asked.slot, "thing", "it", "who"})
    if mistaken and named:
        slot = rng.choice(named)
        told = values | {slot: plain.value(event.kind.slots[slot], rng)}
    text = grammar.realise(frame, told, rng, end="?")
    tail = event.kind.label.split()[-1]
    if context != "full" and tail not in text and asked.slot != "thing" and tail not in event.facts[asked.slot]:
        text = f"About the {event.kind.label}: {lower(text)}"
    text = text if plainly else voiced(text, rng)
    return Asked(text, event.facts[asked.slot], grammar.realise(rng.choice(asked.reply), values, rng), asked.slot)


def voiced(question: str, rng: random.Random) -> str:
    """The question in one of several voices."""
    text = question.removesuffix("?")
    first = text.split()[0]
    lower = text if first in ("I",) or first not in _SMALL else text[0].lower() + text[1:]
    return rng.choice(VOICES).format(text, lower)


_SMALL = frozenset(
    "A After Along Among An As At Because Before Beside Besides By Despite During For From How In Inside Into Near Of On "
    "Out Over Since The Through To Under What When Where Which While Who Whom Whose Why With About".split()
)


def lower(text: str) -> str:
    """Text that can follow "and": without its capital, unless it begins with a name."""
    return text[0].lower() + text[1:] if text.split()[0] in _SMALL | {"It", "There", "All", "This"} else text


def any_context(rng: random.Random, full: float = 0.5) -> dict:
    """How the next question is asked: with full context half of the time."""
    context = "full" if rng.random() < full else rng.choice(CONTEXTS[1:])
    return dict(context=context, mistaken=rng.random() < 0.12)
