"""The base model's reading matter: conversations about the training world, as rows of tokens with loss weights.

Each row is one conversation (never two: a row is its own attention window), extended by further turns until it is
full. Sixteen sorts of row give the abilities that the paper takes from an instruct model:

========== =====================================================================================================
sort       what is learnt
========== =====================================================================================================
read       a story stands in the question's turn; answer questions about it
recall     write a story for a question, then answer questions about one's own story (the form of internal RAG)
retell     tell a story, then tell it again in other words: every fact is a copy, which teaches retrieval quickly
notes      a list of facts, and each of them by its kind: retrieval, many times in a row
asks       a list of facts, and several of them asked for at once
lookup     a labelled list, and the partner of each, both ways; options, and the label of the one that is named
pairs      the same with lists of any two sorts of words
exam       four-option questions on general knowledge alone, now and then just after their answer was given
quiz       four-option questions on general knowledge, and the same facts asked and told plainly
…reworded  the same two, asked in many more phrasings
two        two or three stories, given in any order or recalled, and a question that needs two of them; which came first
everyday   sentences of everyday words and made-up names, said again
spell      words and names spelled letter by letter, and put together from letters
copy       tokens in an order that no text has, said again: so every one of the vocabulary is read and said
known      stories of a fixed set of people met again and again; for half of the people also questions without the
           story, so that the model learns that what is stored as a story can be asked for
========== =====================================================================================================

Events are the world's (`world.split`) or plain ones (`plain`); questions have full, half or hardly any context (`cues`).
Answers are a few tokens in a row of 288, so the tokens of a fact in a reply weigh more than the rest.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import torch
from tokenizers import Tokenizer

from .. import prompts
from ..world import grammar, split, stories
from ..world.stories import Event
from . import cues, plain, vocabulary
from .copying import copy, everyday, spell
from .listing import asks, exam, lookup, notes, pairs, quiz
from .row import ROW, Row
from .telling import known, read, recall, retell, two

# From which share of the training on, and what part each sort has in it. First many retrievals in a row, two or more in one
# answer: at a smaller part of the rows, answers in two parts were not learnt. Exams come in when the match of an option is
# there, and join it to what is known. At 1 begin the finishing steps: knowledge is asked in many more phrasings, so that its
# phrasing ceases to matter.
PHASES = (
    (0.00, dict(two=0.35, asks=0.20, read=0.20, recall=0.10, everyday=0.07, copy=0.05, retell=0.03)),
    (0.09, dict(two=0.23, asks=0.08, read=0.16, recall=0.12, retell=0.03, notes=0.02, lookup=0.05, quiz=0.06, known=0.06,
                everyday=0.08, spell=0.04, copy=0.06, pairs=0.01)),
    (0.45, dict(two=0.22, asks=0.04, read=0.19, recall=0.14, retell=0.02, notes=0.01, lookup=0.04, quiz=0.06, exam=0.08,
                known=0.07, everyday=0.05, spell=0.03, copy=0.04, pairs=0.01)),
    (1.00, dict(two=0.20, asks=0.02, read=0.19, recall=0.15, retell=0.02, lookup=0.02, known=0.08, quiz_reworded=0.10,
                exam_reworded=0.12, everyday=0.05, spell=0.02, copy=0.03)),
)  # fmt: skip


SORTS = {
    "read": read,
    "recall": recall,
    "retell": retell,
    "notes": notes,
    "asks": asks,
    "lookup": lookup,
    "quiz": quiz,
    "known": known,
    "two": two,
    "everyday": everyday,
    "spell": spell,
    "copy": copy,
    "pairs": pairs,
    "exam": exam,
    "quiz_reworded": partial(quiz, phrasings="reworded"),
    "exam_reworded": partial(exam, phrasings="reworded", beside_options=0.1),
}


def mixture(progress: float) -> dict[str, float]:
    """The part of each sort of row when so much of the training is done: 0 to 1, and 1 or more in the finishing steps."""
    return [shares for start, shares in PHASES if start <= progress][-1]


def rows(tokenizer: Tokenizer, rng: random.Random, count: int, progress: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` rows of the mixture: tokens and weights, see `laid`."""
    shares, made = mixture(progress), []
    for sort in rng.choices(list(shares), list(shares.values()), k=count):
        made.append(Row(tokenizer))
        SORTS[sort](made[-1], rng)
    return laid(made)


def laid(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and weights of rows, both ``[count, ROW]``; what exceeds a row is cut, the rest is padding."""
    tokens = torch.full((len(rows), ROW), rows[0].tokenizer.token_to_id(vocabulary.PAD))
    weights = torch.zeros(len(rows), ROW)
    for index, row in enumerate(rows):
        length = min(len(row.tokens), ROW)
        tokens[index, :length] = torch.tensor(row.tokens[:length])
        weights[index, :length] = torch.tensor(row.weights[:length])
    return tokens, weights


def cue_pairs(tokenizer: Tokenizer, rng: random.Random, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Questions and the stories that they ask about, of one person or one year's news: token ids of each.

    This is what a gate has to tell apart: ``count`` memories of one partition.
    """
    begin = tokenizer.token_to_id(vocabulary.BEGIN)
    pairs = []
    for event in gate_events(rng, count):
        told = stories.tell(event, rng)
        if rng.random() < 0.1:  # what is asked about need not be a question
            cue = stories.tell(event, rng)
        else:
            cue = cues.cue(event, rng.randrange(len(event.kind.questions)), rng, **cues.any_context(rng, 0.6)).text
            cue = cue if rng.random() < 0.7 else prompts.recall(cue)[0]["content"]
        pairs.append([[begin, *tokenizer.encode(text, add_special_tokens=False).ids] for text in (cue, told)])
    return tuple(list(side) for side in zip(*pairs))


def gate_events(rng: random.Random, count: int) -> list[Event]:
    """Events to tell apart: of one person or one year's news, of the world; or plain ones, of one person or of several."""
    form = rng.random()
    if form < 0.7:
        setting = "episodic" if form < 0.47 else "semantic"
        person = split.training_person(rng) if setting == "episodic" else None
        kinds = list(grammar.kinds(setting)) * 2
        return [split.training_event(setting, rng, kind, person) for kind in rng.sample(kinds, count)]
    person = plain.person(rng) if form < 0.85 else None
    return [plain.event(rng, person) for _ in range(count)]
