"""Rows that copy: sentences of everyday words, spelled words, and every token of the vocabulary."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .. import prompts
from . import vocabulary, words
from .row import Row

_SAY = ("Say this again:", "Repeat:", "Remember this:", "Read it out:", "Copy this:", "Again:")


def everyday(row: Row, rng: random.Random) -> None:
    """Sentences of everyday words and made-up names, said again; the words that stand in them, spelled."""
    while row.room > 70:
        text = " ".join(words.sentence(rng) for _ in range(rng.choice((1, 1, 2))))
        if rng.random() < 0.5:
            row.turn("user", f"{rng.choice(_SAY)} {text}")
        else:
            row.turn("user", rng.choice((*prompts.ENCODING_PROMPTS.values(), "Say anything.")))
            row.turn("assistant", text, weight=0.1)
            row.turn("user", rng.choice(("Tell it again.", *prompts.ENCODING_PROMPTS.values())))
        row.turn("assistant", text, weight=2.0)


def spell(row: Row, rng: random.Random) -> None:
    """Words and names spelled letter by letter, and put together from their letters."""
    while row.room > 60:
        drawn = [words.name(rng) if rng.random() < 0.4 else words.word(rng) for _ in range(rng.randint(2, 5))]
        letters = [" ".join(word) for word in drawn]
        listed, replies = (drawn, letters) if rng.random() < 0.6 else (letters, drawn)
        row.turn("user", f"{'Spell' if listed is drawn else 'Join'}: {', '.join(listed)}.")
        row.turn("assistant", f"{', '.join(replies)}.", weight=2.0)


def copy(row: Row, rng: random.Random, rare: Sequence[int] = ()) -> None:
    """Pieces in an order that no text has, said again: so every one of the vocabulary is read and said.

    Most are of `rare`; if none are given, of the third that texts have least often. Drawn from all alike, such tokens were
    said a dozen times by the middle of a training and still had one embedding. Some are of all: what only questions have,
    such as "?", is said nowhere else.
    """
    settling, rare = bool(rare), rare or vocabulary.seldom(row.tokenizer)
    every = range(len(vocabulary.CONTROL), row.tokenizer.get_vocab_size())
    while row.room > 60:
        if not settling and rng.random() < 0.3:
            pieces = rng.choices(every, k=rng.randint(8, 24))
        elif rng.random() < 0.7:
            pieces = rng.choices(rare, k=rng.randint(8, 24))
        else:
            pieces = [piece for _ in range(4) for piece in vocabulary.pieces(row.tokenizer, f" {words.word(rng)}", rng)]
        for role, weight in (("user", 0.0), ("assistant", 2.0)):
            row.control(f"<|{role}|>")
            row.tokens += pieces
            row.weights += [weight] * len(pieces)
            row.control(vocabulary.END, weight / 2)
