"""Plain events: kinds made up on the spot, by recombining an action, a thing, circumstances and consequences.

The world has 124 kinds of event. Here every event is a kind of its own, in the form of the world's (`grammar.Kind`), so that
all that is done with the world's events can be done with these: reading becomes a skill and not a list of kinds. Every fifth
action, thing and consequence of `plain.toml` is held out: the report asks about events made of these alone.
"""

from __future__ import annotations

import random
import tomllib
from functools import cache
from importlib import resources

from ..world import split, stories
from ..world.grammar import AskedSlot, Kind
from ..world.stories import Event, Person
from . import words

HELD_OUT = 5  # every fifth
_PRELUDES = (
    "To [everyone's|my own] surprise,", "Without [any plan|a word],", "Nobody knows why, but", "This is how it began:",
    "[Once|One morning|Late at night],", "It is [true|hard to believe], but", "I remember that", "They say that",
)  # fmt: skip


PRONOUNS = stories.PRONOUNS | {"several": ("they", "them", "their"), "none": ("it", "it", "its")}


class Subject(Person):
    """Who or what acts in a plain event and is named in full throughout: a relative or two, a firm; or "I", the teller."""

    def words(self) -> dict[str, str]:
        """The words for the person that frames use."""
        if self.name == "I":
            return {"name": "I", "first": "I", "he": "I", "him": "me", "his": "my"}
        he, him, his = PRONOUNS[self.gender]
        return {"name": self.name, "first": he, "he": he, "him": him, "his": his}


@cache
def _tables() -> dict:
    return tomllib.loads((resources.files(__package__) / "plain.toml").read_text(encoding="utf-8"))


@cache
def parts(name: str, held_out: bool) -> list:
    """The actions, things or consequences that rows are made of, or those that are held out."""
    return [part for index, part in enumerate(_tables()[name]) if (index % HELD_OUT == HELD_OUT - 1) == held_out]


def person(rng: random.Random) -> Person:
    """Who a plain event happens to: a character, somebody with a made-up name, the teller, a firm, a relative or two."""
    form = rng.random()
    if form < 0.4:
        return split.training_person(rng)
    if form < 0.7:
        return Person(f"{words.name(rng)} {words.name(rng)}", rng.choice(("female", "male")))
    if form < 0.78:
        return Subject("I", "none")
    if form < 0.84:
        return Subject(split.training_value(rng.choice(("company", "club", "team", "museum")), rng), "none")
    one, other = rng.sample(_tables()["relatives"], 2)
    if form < 0.9:
        return Subject(f"{one.split(':')[0]} and {other.split(':')[0]}", "several")
    return Subject(*one.split(":"))


def value(pool: str, rng: random.Random, held_out: bool = False) -> str:
    """A value of a pool: the world's, or words and names beyond it; now and then a made-up name where a name fits."""
    if pool == "thing":
        noun = rng.choice(parts("things", held_out)) if held_out or rng.random() < 0.8 else words.word(rng)
        looks = rng.choice((rng.choice(_tables()["looks"]), split.training_value("material", rng)))
        return noun if rng.random() < 0.25 else f"{looks} {noun}"
    if pool == "odd":
        return words.word(rng)
    if pool == "madeup" or pool in ("friend", "town") and rng.random() < 0.3:
        return words.name(rng)
    return split.training_value(pool, rng)


def event(rng: random.Random, who: Person | None = None, held_out: bool = False) -> Event:
    """An event of a kind of its own: four to six facts in two sentences, a question about each.

    Parameters
    ----------
    rng
        Decides everything.
    who
        The person it happens to; drawn unless given.
    held_out
        Make it of held-out actions, things and consequences alone.
    """
    who = who or person(rng)
    base, past = rng.choice(parts("actions", held_out)).split(":")
    thing = value("thing", rng, held_out)
    it = thing.split(" ", 1)[-1] if rng.random() < 0.6 else thing
    around = rng.sample(sorted(_tables()["circumstances"].items()), rng.choice((1, 2, 2, 3)))
    after = rng.sample(parts("consequences", held_out), 1 if len(around) == 3 else rng.choice((1, 2)))
    slots = {slot: table["pool"] for slot, table in around}
    for table in after:
        slots |= table["slots"]
    slots |= {"thing": "thing"}
    facts = {slot: value(pool, rng, held_out) for slot, pool in slots.items()} | {"thing": thing, "it": it}

    phrases = lambda: [rng.choice(table["phrase"]) for _, table in rng.sample(around, len(around))]
    opening = [_opening(past, phrases(), rng) for _ in range(5)]
    closing = [
        ", and ".join(_lower(rng.choice(table["sentences"]), k) for k, table in enumerate(rng.sample(after, len(after))))
        for _ in range(5)
    ]
    core, did = f"{{name}} {past} the {{it}}", f"did {{name}} {base} the {{it}}"
    asked = [_what(base, past, phrases())]
    for slot, table in around:
        others = " ".join(rng.choice(other["phrase"]) for name, other in around if name != slot)
        asks = tuple(f"{ask.format(did=did, core=core, name='{name}')} {others}".strip() for ask in table["ask"])
        asked.append(AskedSlot(slot, asks, (f"{core} {table['phrase'][0]}",)))
    for table in after:
        for slot, (ask, reply) in table["questions"].items():
            fill = lambda text: text.replace("{core}", core)
            longer = f"{fill(ask)} {rng.choice(phrases())}" if "{core}" in ask else fill(ask)
            asked.append(AskedSlot(slot, (fill(ask), longer), (reply,)))
    if who.name != "I":
        facts["who"] = who.name
        slots["who"] = "person"
        asked.append(AskedSlot("who", (f"Who {past} the {{it}} {' '.join(phrases())}",), (f"The {{it}} was {past} by {{who}}"
                                       if past.endswith("ed") else f"It was {{who}} who {past} the {{it}}",)))  # fmt: skip
    # "I" and "they" would need other forms of some questions.
    unfit = {"I": "with {name}"}.get(who.name, "was {name}" if who.gender == "several" else "{nobody}")
    asked = [AskedSlot(q.slot, tuple(ask for ask in q.ask if unfit not in ask), q.reply) for q in asked]
    asked = [q for q in asked if q.ask]
    kind = Kind(f"{base} {thing}", it, slots, tuple(opening), tuple(closing), tuple(asked))
    return Event(kind, facts, who)


def _opening(past: str, phrases: list[str], rng: random.Random) -> str:
    """The first sentence, its circumstances in front or behind."""
    form, text = rng.random(), f"{{name}} {past} {{a:thing}}"
    if rng.random() < 0.15:
        return f"{rng.choice(_PRELUDES)} {text} {' '.join(phrases)}"
    if form < 0.45:
        front, *behind = phrases
        return f"{front[0].upper()}{front[1:]}{rng.choice((',', ''))} {' '.join([text, *behind])}"
    if form < 0.6:
        return f"{{a:thing}} was what {{name}} {past} {' '.join(phrases)}"
    if form < 0.7:
        return f"It was {' '.join(phrases)} that {text}"
    return f"{text} {' '.join(phrases)}"


def _what(base: str, past: str, phrases: list[str]) -> AskedSlot:
    around = " ".join(phrases)
    asks = (f"What did {{name}} {base} {around}", f"What was it that {{name}} {past} {around}")
    return AskedSlot("thing", asks, (f"{{name}} {past} {{a:thing}}",))


def _lower(sentence: str, place: int) -> str:
    return sentence if place == 0 or sentence[0] in "{[" else sentence[0].lower() + sentence[1:]
