"""The base model's reading matter: conversations about the training world, as rows of tokens with loss weights.

Each row is one conversation (never two: a row is its own attention window), extended by further turns until it is
full. Fifteen sorts of row give the abilities that the paper takes from an instruct model:

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
from . import cues, plain, vocabulary, words

ROW = 288
FACT_WEIGHT = 4.0
BARE_REPLIES = 0.25  # share of replies that are the short answer alone
# From which share of the training on, and what part each sort has in it. Pairs come in when words can be copied, and the
# match of an option is learnt from them; exams come in when that match is there, and join it to what is known. At 1 begin
# the finishing steps: knowledge is asked in many more phrasings, so that its phrasing ceases to matter.
PHASES = (
    (0.00, dict(read=0.20, recall=0.17, retell=0.05, notes=0.05, lookup=0.10, quiz=0.11, known=0.05,
                two=0.05, everyday=0.12, spell=0.05, copy=0.05)),
    (0.30, dict(read=0.15, recall=0.13, retell=0.03, notes=0.02, lookup=0.11, quiz=0.12, known=0.04, pairs=0.16,
                two=0.12, everyday=0.07, spell=0.03, copy=0.02)),
    (0.48, dict(read=0.20, recall=0.15, retell=0.03, notes=0.02, lookup=0.08, quiz=0.16, known=0.05, pairs=0.02,
                two=0.18, everyday=0.07, spell=0.02, copy=0.02)),
    (0.60, dict(read=0.17, recall=0.14, retell=0.02, notes=0.02, lookup=0.07, quiz=0.09, known=0.06, pairs=0.01, exam=0.15,
                two=0.18, everyday=0.06, spell=0.02, copy=0.01)),
    (1.00, dict(read=0.16, recall=0.14, retell=0.02, notes=0.01, lookup=0.04, known=0.07, quiz_reworded=0.12,
                exam_reworded=0.17, two=0.18, everyday=0.06, spell=0.02, copy=0.01)),
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
_SAY = ("Say this again:", "Repeat:", "Remember this:", "Read it out:", "Copy this:", "Again:")


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
    """A passage and questions about it, until the row is full; now and then two passages about one person."""
    while row.room > 90:
        event = any_event(rng)
        passages = [stories.tell(event, rng)]
        if rng.random() < 0.15:
            passages.append(stories.tell(any_event(rng, event.person), rng))
            rng.shuffle(passages)
        first, *others = some_questions(event, rng)
        row.chat(prompts.rag(first.text, "\n\n".join(passages)), reply_to(first, rng), (first.answer,))
        for each in others:
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
    """Two or three stories in any order, or recalled, and a question that needs two of them, answered in one sentence."""
    while row.room > 180:
        person = split.training_person(rng) if rng.random() < 0.6 else None
        compared = None
        if person and rng.random() < 0.3:
            events = dated(rng, person)
            compared = which_first(events, rng)
        else:
            events = [any_event(rng, person) for _ in range(2)]
        one, other = (rng.choice(some_questions(event, rng, plainly=True)) for event in events)
        if compared:
            text, reply, *facts = compared
        else:
            (text, reply), facts = both(one, other, rng), [one.answer, other.answer]
            text = text if rng.random() < 0.6 else cues.voiced(text, rng)
        told = [stories.tell(event, rng) for event in events]
        form = rng.random()
        if form < 0.6:
            if rng.random() < 0.25:
                told.append(stories.tell(plain.event(rng, person), rng))
            rng.shuffle(told)
            row.chat(prompts.rag(text, "\n\n".join(told)), reply, tuple(facts))
        elif form < 0.8:  # as one list
            rng.shuffle(told)
            row.chat(prompts.recall(text), "\n\n".join(told), weight=0.5)
            row.chat(prompts.qa(text), reply, tuple(facts))
        else:  # one after another
            for asked, story in rng.sample(list(zip((one, other), told)), 2):
                row.chat(prompts.recall(asked.text if rng.random() < 0.5 else "And what else?"), story, weight=0.5)
            row.chat(prompts.qa(text), reply, tuple(facts))
        if not compared and row.room > 40:
            row.chat(prompts.qa(other.text), reply_to(other, rng), (other.answer,))


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


def copy(row: Row, rng: random.Random) -> None:
    """Pieces in an order that no text has, said again: so every token of the vocabulary is read and said."""
    size, first = row.tokenizer.get_vocab_size(), len(vocabulary.CONTROL)
    while row.room > 60:
        if rng.random() < 0.5:
            pieces = [rng.randrange(first, size) for _ in range(rng.randint(8, 24))]
        else:
            pieces = [piece for _ in range(4) for piece in vocabulary.pieces(row.tokenizer, f" {words.word(rng)}", rng)]
        for role, weight in (("user", 0.0), ("assistant", 2.0)):
            row.control(f"<|{role}|>")
            row.tokens += pieces
            row.weights += [weight] * len(pieces)
            row.control(vocabulary.END, weight / 2)


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


SORTS = {
    "read": read,
    "recall": recall,
    "retell": retell,
    "notes": notes,
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
