"""Everyday words, made-up names, and sentences of them: what the base model learns to copy and to spell.

The words are the most frequent of English by ``wordfreq``, a list made from many sources. A twentieth of them, the held-out
words, are drawn for no sentence and no spelling; the report asks for sentences of these and of the others.
"""

from __future__ import annotations

import random
import re
from functools import cache
from importlib import resources

from .. import world
from ..world import grammar

COUNT = 12_000
SAFE = 1_000  # the most frequent words, none of which is held out
# Stems that a model which says random words should not say.
_RUDE = re.compile(
    r"fuck|shit|bitch|cunt|nigg|fag|slut|whore|porn|rape|rapi|cock|dick|pussy|pussi|ass$|asses$|asshole|tits|boob|penis|"
    r"vagin|sex|nazi|hitler|suicid|kill|murder|terror|nude|naked|cum$|anal|orgasm|erotic|retard|bastard|damn|negro|isis"
)
_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w y z".split()
_VOWELS = "a e i o u ai au ea ei ia io oa".split()
_CODAS = ["", "", "", "l", "m", "n", "nd", "r", "rk", "s", "sk", "st", "t", "th", "x", "z"]
# Words that hold a sentence together, and forms in which others stand between them.
_FORMS = (
    "On {day} my {w} and my {w} {w} the {w} {w} with {w} and {w}",
    "The {w} {w} of the {w} was {w} and {w} than a {w}",
    "When the {w} {w} came, {w} took the {w} to the {w}",
    "My {w} said that the {w} would never {w} a {w} {w} again",
    "A {w} {w} is in the {w} behind the {w}, near the {w} {w}",
    "They {w} {w} {w} and {w} until the {w} was {w}",
    "{w} {w} {w} {w} {w} {w} {w} {w}",
    "{w} {w} {w} {w} {w} {w} {w} {w} {w} {w} {w} {w}",
    "We did not {w} the {w} because of the {w} {w} at {w}",
    "If you {w} the {w}, a {w} will {w} your {w}",
    "{name} gave {name} a {w} {w} for the {w} in {name}",
    "Every {day} the {w} from {name} {w} {number} {w} of {w}",
    "There were {number} {w} on the {w}, and {name} {w} them all",
)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


@cache
def everyday() -> tuple[str, ...]:
    """The most frequent words of letters alone, the commonest first."""
    from wordfreq import top_n_list  # of the extra "pretraining": using the base does not need it

    found = [w for w in top_n_list("en", 2 * COUNT) if re.fullmatch("[a-z]+", w) and not _RUDE.search(w)]
    return tuple(w for w in found if len(w) > 1 or w in "ai")[:COUNT]


@cache
def held_out() -> tuple[str, ...]:
    """The words that no row draws."""
    return everyday()[SAFE::20]


@cache
def training() -> tuple[str, ...]:
    """All other words."""
    kept_away = set(held_out())
    return tuple(word for word in everyday() if word not in kept_away)


def beyond_the_world(pool: tuple[str, ...]) -> tuple[str, ...]:
    """Those words of ``pool`` that occur neither in the world's files nor in those of the plain events."""
    folders = [resources.files(__package__), resources.files(world), *(resources.files(world) / s for s in grammar.SETTINGS)]
    files = [file for folder in folders for file in folder.iterdir() if file.name.endswith(".toml")]
    used = {found for file in files for found in re.findall("[a-z]+", file.read_text(encoding="utf-8").lower())}
    return tuple(word for word in pool if word not in used)


def word(rng: random.Random, pool: tuple[str, ...] | None = None) -> str:
    """One word, the commoner ones more often."""
    pool = pool or training()
    return pool[int(len(pool) * rng.random() ** 1.5)]


def name(rng: random.Random) -> str:
    """A name that nobody has: two or three syllables."""
    syllables = rng.choices((1, 2, 3), (1, 5, 3))[0]
    text = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)) + rng.choice(_CODAS)
    return text.capitalize()


def sentence(rng: random.Random, pool: tuple[str, ...] | None = None) -> str:
    """A sentence of everyday words, most of them drawn from ``pool``; it need not mean anything."""
    fill = {
        "w": lambda: word(rng, pool),
        "name": lambda: name(rng),
        "day": lambda: rng.choice(_DAYS),
        "number": lambda: str(rng.randint(2, 999)),
    }
    text = re.sub(r"\{(\w+)\}", lambda slot: fill[slot[1]](), rng.choice(_FORMS))
    return text[0].upper() + text[1:] + "."
