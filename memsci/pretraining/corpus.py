"""The base model's reading matter: conversations about the training world, as rows of tokens with loss weights.

Each row is one conversation (never two: a row is its own attention window), extended by further turns until it is
full. Eleven sorts of row give the abilities that the paper takes from an instruct model:

========== =====================================================================================================
sort       what is learnt
========== =====================================================================================================
read       a story stands in the question's turn; answer questions about it
recall     write a story for a question, then answer questions about one's own story (the form of internal RAG)
retell     tell a story, then tell it again in other words: every fact is a copy, which teaches retrieval quickly
notes      a list of facts, and each of them by its kind: retrieval, many times in a row
lookup     a labelled list, and the partner of each, both ways; options, and the label of the one that is named
pairs      the same with lists of any two sorts of words
exam       four-option questions on general knowledge alone, now and then just after their answer was given
quiz       four-option questions on general knowledge, and the same facts asked and told plainly
…reworded  the same two, asked in many more phrasings
known      stories of a fixed set of people met again and again; for half of the people also questions without the
           story, so that the model learns that what is stored as a story can be asked for
========== =====================================================================================================

Answers are a few tokens in a row of 256, so the tokens of a fact in a reply weigh more than the rest.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from tokenizers import Tokenizer

from .. import prompts
from ..world import grammar, knowledge, split, stories
from ..world.stories import Event
from . import vocabulary

ROW = 256
FACT_WEIGHT = 4.0
BARE_REPLIES = 0.25  # share of replies that are the short answer alone
# From which share of the training on, and what part each sort has in it. Pairs come in when words can be copied, and the
# match of an option is learnt from them; exams come in when that match is there, and join it to what is known. At 1 begin
# the finishing steps: knowledge is asked in many more phrasings, so that its phrasing ceases to matter.
PHASES = (
    (0.00, dict(read=0.26, recall=0.24, retell=0.05, notes=0.07, lookup=0.13, quiz=0.18, known=0.07)),
    (0.33, dict(read=0.16, recall=0.16, retell=0.02, notes=0.03, lookup=0.16, quiz=0.19, known=0.05, pairs=0.23)),
    (0.50, dict(read=0.24, recall=0.22, retell=0.03, notes=0.03, lookup=0.12, quiz=0.27, known=0.07, pairs=0.02)),
    (0.62, dict(read=0.20, recall=0.19, retell=0.02, notes=0.02, lookup=0.10, quiz=0.15, known=0.07, pairs=0.01, exam=0.24)),
    (1.00, dict(read=0.19, recall=0.19, retell=0.02, notes=0.02, lookup=0.06, known=0.08,
                quiz_reworded=0.18, exam_reworded=0.26)),
)  # fmt: skip
# Pools whose values are mostly single tokens, as are the options of the quiz.
SHORT_POOLS = (
    "number",
    "age",
    "town",
    "friend",
    "animal",
    "bird",
    "color",
    "month",
    "instrument",
    "job",
    "country",
    "year",
)
KNOWN_PEOPLE, KNOWN_EVENTS = 8, 40


@dataclass
class Row:
    """Tokens of a conversation under way, with the weight of each in the loss."""

    tokenizer: Tokenizer
    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self):
        self.control(vocabulary.BEGIN)

    def control(self, token: str, weight: float = 0.0) -> None:
        """Append a control token."""
        self.tokens.append(self.tokenizer.token_to_id(token))
        self.weights.append(weight)

    def turn(self, role: str, text: str, facts: tuple[str, ...] = (), weight: float | None = None) -> None:
        """Append a turn; the assistant's tokens count, those within one of ``facts`` count more."""
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        weight = float(role == "assistant") if weight is None else weight
        spans = [found.span() for fact in facts for found in re.finditer(re.escape(fact), text, re.IGNORECASE)]
        self.control(f"<|{role}|>")
        for token, (start, stop) in zip(encoded.ids, encoded.offsets):
            within = any(start < high and stop > low for low, high in spans)
            self.tokens.append(token)
            self.weights.append(weight * FACT_WEIGHT if within else weight)
        self.control(vocabulary.END, weight)

    def chat(self, messages: list[dict], reply: str, facts: tuple[str, ...] = (), weight: float | None = None) -> None:
        """Append the user's turns and the reply to them."""
        for message in messages:
            self.turn(message["role"], message["content"])
        self.turn("assistant", reply, facts, weight)

    @property
    def room(self) -> int:
        """Tokens left."""
        return ROW - len(self.tokens)


def reply_to(asked: stories.Asked, rng: random.Random) -> str:
    """A full sentence most of the time, the short answer now and then."""
    return asked.answer if rng.random() < BARE_REPLIES else asked.reply


def any_event(rng: random.Random) -> Event:
    """An event of the training world, episodic or semantic."""
    return split.training_event(rng.choice(grammar.SETTINGS), rng)


def read(row: Row, rng: random.Random) -> None:
    """A passage and questions about it; now and then two passages about one person."""
    event = any_event(rng)
    passages = [stories.tell(event, rng)]
    if rng.random() < 0.15:
        setting = "episodic" if event.person else "semantic"
        passages.append(stories.tell(split.training_event(setting, rng, person=event.person), rng))
        rng.shuffle(passages)
    asked = rng.sample(stories.questions(event, rng), len(event.kind.questions))
    row.chat(prompts.rag(asked[0].text, "\n\n".join(passages)), reply_to(asked[0], rng), (asked[0].answer,))
    for each in asked[1:]:
        row.chat(prompts.qa(each.text), reply_to(each, rng), (each.answer,))


def recall(row: Row, rng: random.Random) -> None:
    """A story recalled for a question, and questions about the recalled story."""
    event = any_event(rng)
    asked = rng.sample(stories.questions(event, rng), len(event.kind.questions))
    cue = stories.ask(event, next(i for i, q in enumerate(event.kind.questions) if q.slot == asked[0].slot), rng)
    told = stories.tell(event, rng)
    row.chat(prompts.recall(cue.text), told)
    for each in asked:
        wording = prompts.irag(each.text, told, "section" if rng.random() < 0.15 else "qa")
        row.chat(wording[2:], reply_to(each, rng), (each.answer,))


def retell(row: Row, rng: random.Random) -> None:
    """A story, and the same story in other words until the row is full."""
    event = any_event(rng)
    first, *others = stories.wordings(event, rng, 4)
    row.chat(prompts.encoding(rng.choice(sorted(prompts.ENCODING_PROMPTS))), first)
    for text in others:
        row.chat([{"role": "user", "content": "Tell it in other words."}], text, tuple(event.facts.values()))


def notes(row: Row, rng: random.Random) -> None:
    """Notes on anything, and then each note by its kind.

    A question about a passage is one retrieval in a row of 256 tokens; here are about twenty, so the circuits that find
    a word by its kind and copy it form much sooner.
    """
    while row.room > 0:
        pools = rng.sample(stories.pool_names(), rng.randint(4, 9))
        drawn = {pool: split.training_value(pool, rng) for pool in pools}
        row.turn("user", f"Notes: {'; '.join(drawn.values())}.")
        form = rng.choice(("{0}: {1}", "the {0} is {1}"))
        text = "; ".join(form.format(pool, drawn[pool]) for pool in rng.sample(pools, len(pools)))
        row.turn("assistant", text, tuple(f" {value}" for value in drawn.values()))


def short_values(rng: random.Random, count: int) -> tuple[str, ...]:
    """Different values of one pool of short words."""
    pool = rng.choice(SHORT_POOLS)
    values: dict[str, None] = {}
    while len(values) < count:
        values[split.training_value(pool, rng)] = None
    return tuple(values)


def labels(rng: random.Random, options: Sequence[str]) -> tuple[str, ...]:
    """What options are called: A, B, C, ... most of the time, any letters or words otherwise.

    With four letters alone the match of an option is not learnt: the loss stays on the plateau of one in four. Among
    many labels it is learnt within some hundred steps, and then holds for the four letters too.
    """
    form, count = rng.random(), len(options)
    if form < 0.5:
        drawn = tuple(string.ascii_uppercase[:count])
    else:
        drawn = tuple(rng.sample(string.ascii_uppercase, count)) if form < 0.7 else short_values(rng, count)
    return drawn if set(drawn).isdisjoint(options) else labels(rng, options)


def four_options(row: Row, rng: random.Random, subject: str, question: str, options: Sequence[str], right: int) -> None:
    """A question in the form of MMLU; the right label and option in reply."""
    drawn = labels(rng, options)
    messages = prompts.mmlu(subject, question, options, labels=drawn)
    # The system turn, which names the subject, stands at the start of a row only.
    *messages, prefix = messages if len(row.tokens) == 1 else messages[1:]
    answer = f"{drawn[right]}) {options[right]}"
    row.chat(messages, f"{prefix['content']} {answer}", (answer,))


def lookup(row: Row, rng: random.Random) -> None:
    """A labelled list, and the partner of many of its entries; or options, and the label of the one that is named."""
    while row.room > 0:
        if rng.random() < 0.3:
            options, right = short_values(rng, 4), rng.randrange(4)
            name = options[right]
            four_options(row, rng, "words", rng.choice((name, f"{name[0].upper()}{name[1:]}?")), options, right)
        else:
            values = short_values(rng, rng.randint(4, 8))
            partners(row, rng, labels(rng, values), values)


def pairs(row: Row, rng: random.Random) -> None:
    """Pairs of words, and the partner of many of them."""
    while row.room > 0:
        values = short_values(rng, rng.randint(4, 8))
        others = short_values(rng, len(values))
        if set(others).isdisjoint(values):
            partners(row, rng, others, values)


def partners(row: Row, rng: random.Random, ones: Sequence[str], others: Sequence[str]) -> None:
    """A list of pairs, and the partners of ten of them, forth or back."""
    listed = list(zip(ones, others))
    form = rng.choice(("{0}) {1}", "{0}: {1}", "{0} - {1}"))
    row.turn("user", "\n".join(form.format(*pair) for pair in listed))
    backwards = rng.random() < 0.7
    asked = [pair[::-1] if backwards else pair for pair in rng.choices(listed, k=10)]
    text = "; ".join(f"{key}: {value}" for key, value in asked)
    row.turn("assistant", text, tuple({f": {value}" for _, value in asked}))


def quiz(row: Row, rng: random.Random, phrasings: str = "train") -> None:
    """One subject: four-option questions, plain questions, statements."""
    subject = rng.choice(knowledge.SUBJECTS)
    facts = knowledge.facts(subject)
    while row.room > 0:
        fact = rng.choice(facts)
        form = rng.random() if len(row.tokens) > 1 else 0.0
        if form < 0.4:
            question = knowledge.question(fact, "beside_options" if rng.random() < 0.2 else phrasings, rng)
            four_options(row, rng, subject, question, *knowledge.options(fact, rng))
        elif form < 0.85:
            question = knowledge.question(fact, phrasings, rng)
            row.chat([{"role": "user", "content": question}], fact.answer, (fact.answer,))
        else:
            row.chat([{"role": "user", "content": f"Tell me a fact about {subject}."}], knowledge.statement(fact, rng))


def exam(row: Row, rng: random.Random, phrasings: str = "train", beside_options: float = 0.4) -> None:
    """Four-option questions of one subject; before some of them the same is asked plainly, and answered."""
    subject = rng.choice(knowledge.SUBJECTS)
    facts = knowledge.facts(subject)
    while row.room > 0:
        fact = rng.choice(facts)
        if len(row.tokens) > 1 and rng.random() < 0.3:
            row.chat([{"role": "user", "content": knowledge.question(fact, phrasings, rng)}], fact.answer, (fact.answer,))
        question = knowledge.question(fact, "beside_options" if rng.random() < beside_options else phrasings, rng)
        four_options(row, rng, subject, question, *knowledge.options(fact, rng))


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
    """Stories of known people; for the first half of the people also questions without the story."""
    index = rng.randrange(KNOWN_PEOPLE)
    while row.room > 0:
        event = rng.choice(known_events()[index])
        facts = tuple(event.facts.values())
        asked = rng.choice(stories.questions(event, rng))
        if index < KNOWN_PEOPLE // 2 and rng.random() < 0.6:
            row.chat(prompts.qa(asked.text), reply_to(asked, rng), (asked.answer,))
        elif rng.random() < 0.7:
            row.chat(prompts.recall(asked.text), stories.tell(event, rng), facts)
        else:
            row.chat(prompts.encoding("methods"), stories.tell(event, rng))


SORTS = {
    "read": read,
    "recall": recall,
    "retell": retell,
    "notes": notes,
    "lookup": lookup,
    "quiz": quiz,
    "known": known,
    "pairs": pairs,
    "exam": exam,
    "quiz_reworded": partial(quiz, phrasings="reworded"),
    "exam_reworded": partial(exam, phrasings="reworded", beside_options=0.1),
}


def mixture(progress: float) -> dict[str, float]:
    """The part of each sort of row when so much of the training is done: 0 to 1, and 1 or more in the finishing steps."""
    return [shares for start, shares in PHASES if start <= progress][-1]


def rows(
    tokenizer: Tokenizer, rng: random.Random, count: int, progress: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` rows: tokens and weights, both ``[count, ROW]``; what exceeds a row is cut, the rest is padding."""
    pad = tokenizer.token_to_id(vocabulary.PAD)
    tokens = torch.full((count, ROW), pad)
    weights = torch.zeros(count, ROW)
    shares = mixture(progress)
    for index, sort in enumerate(rng.choices(list(shares), list(shares.values()), k=count)):
        row = Row(tokenizer)
        SORTS[sort](row, rng)
        length = min(len(row.tokens), ROW)
        tokens[index, :length] = torch.tensor(row.tokens[:length])
        weights[index, :length] = torch.tensor(row.weights[:length])
    return tokens, weights


def cue_pairs(tokenizer: Tokenizer, rng: random.Random, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Questions and the stories that they ask about, of one person or one year's news: token ids of each.

    This is what a gate has to tell apart: ``count`` memories of one partition.
    """
    setting = rng.choice(("episodic", "episodic", "semantic"))
    person = split.training_person(rng) if setting == "episodic" else None
    kinds = list(grammar.kinds(setting)) * 2
    begin = tokenizer.token_to_id(vocabulary.BEGIN)
    cues, texts = [], []
    for kind in rng.sample(kinds, count):
        event = split.training_event(setting, rng, kind, person)
        asked = stories.ask(event, rng.randrange(len(event.kind.questions)), rng)
        cue = asked.text if rng.random() < 0.7 else prompts.recall(asked.text)[0]["content"]
        cues.append([begin, *tokenizer.encode(cue, add_special_tokens=False).ids])
        texts.append([begin, *tokenizer.encode(stories.tell(event, rng), add_special_tokens=False).ids])
    return cues, texts
