"""The abilities of the base model, each measured beside its chance level.

Measured on the held-out partitions (people and events that it never read), on plain events of held-out kinds, and on new
sentences of everyday words, by the judge that all experiments use.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

import memsci
from memsci import data, prompts
from memsci.config import Embedding, Encoding
from memsci.gate.embed import embedder
from memsci.gate.softmax import gate
from memsci.measures.metrics import correct_gate, judge, macro_accuracy
from memsci.memory import Memory, Partition
from memsci.models import generate
from memsci.models.base import Base
from memsci.pretraining import cues, plain, telling, train, words
from memsci.world import grammar, split, stories

BATCH, ANSWER_TOKENS, SENTENCE_TOKENS = 32, 48, 96
PLAIN_EVENTS, SENTENCES = 200, 200


@dataclass
class Row:
    """A row of the report."""

    ability: str
    value: float
    unit: str
    chance: float
    must: str
    n: int


@dataclass
class Examiner:
    """A base model and the held-out partitions that it is examined on."""

    base: Base
    partitions: Sequence[int]
    rng: random.Random = field(default_factory=lambda: random.Random("report"))

    @cached_property
    def worlds(self) -> list[Partition]:
        """The partitions, of both settings."""
        return [data.builtin(setting, index) for setting in grammar.SETTINGS for index in self.partitions]

    @cached_property
    def memories(self) -> list[Memory]:
        """All their memories."""
        return [memory for world in self.worlds for memory in world.memories]

    @cached_property
    def events(self) -> list[stories.Event]:
        """The events behind the memories, in the same order."""
        return [event for setting in grammar.SETTINGS for k in self.partitions for event in split.held_out(setting, k)]

    @cached_property
    def guess(self) -> float:
        """How often, in %, the answer to a question answers the same question about another event of that kind."""
        by_kind: dict[tuple[str, int], list[str]] = {}
        for memory in self.memories:
            for index, question in enumerate(memory.questions):
                by_kind.setdefault((memory.label, index), []).append(question.answer)
        same = [one == other for answers in by_kind.values() for k, one in enumerate(answers) for other in answers[:k]]
        return 100 * sum(same) / len(same)

    def says(self, turns: list[prompts.Messages], tokens: int = ANSWER_TOKENS) -> list[str]:
        """The model's greedy replies."""
        return generate.generate(self.base, [self.base.chat(turn) for turn in turns], tokens, BATCH)

    def correct(self, turns: list[prompts.Messages], truths: Sequence[str], questions: Sequence[str] | None = None) -> float:
        """Right answers in %."""
        questions = questions or [""] * len(truths)
        return 100 * sum(map(judge, self.says(turns), truths, questions)) / len(truths)


def reading(of: Examiner) -> Iterator[Row]:
    """Answers to questions about a story in the prompt, about its own recall, and about a story it was never told."""
    asked = [(memory, of.rng.choice(memory.questions)) for memory in of.memories]
    truths = [question.answer for _, question in asked]
    for ability, turns, must in (
        ("reads", [prompts.rag(q.text, m.text) for m, q in asked], ">= 95"),
        ("reads its own recall", [prompts.irag(q.text, m.text) for m, q in asked], ">= 95"),
        ("does not know what it was never told", [prompts.qa(q.text) for _, q in asked], "<= 10"),
    ):
        yield Row(ability, of.correct(turns, truths), "%", of.guess, must, len(asked))
    for context, must in (("half", ">= 90"), ("hardly", "")):
        rng = random.Random(f"report {context}")
        about = [(m, e, cues.cue(e, rng.randrange(4), rng, context)) for m, e in zip(of.memories, of.events, strict=True)]
        turns = [prompts.irag(cue.text, memory.text) for memory, _, cue in about]
        ability = f"reads its own recall, asked with {context} {'the' if context == 'half' else 'any'} context"
        yield Row(ability, of.correct(turns, [cue.answer for *_, cue in about]), "%", of.guess, must, len(about))


def held_out_kinds(of: Examiner) -> Iterator[Row]:
    """Answers about plain events whose action, thing and consequences occur in no training row."""
    rng = random.Random("report plain")
    told = [plain.event(rng, held_out=True) for _ in range(PLAIN_EVENTS)]
    asked = [(stories.tell(e, rng), cues.cue(e, rng.randrange(len(e.kind.questions)), rng, plainly=True), e) for e in told]
    guesses = [plain.value(e.kind.slots[cue.slot], rng, True) == cue.answer for _, cue, e in asked for _ in range(50)]
    turns = [prompts.rag(cue.text, text) for text, cue, _ in asked]
    value, chance = of.correct(turns, [cue.answer for _, cue, _ in asked]), 100 * sum(guesses) / len(guesses)
    yield Row("reads stories of held-out kinds of event", value, "%", chance, ">= 85", len(asked))


def two_memories(of: Examiner) -> Iterator[Row]:
    """Questions that need two stories, both in the prompt: two parts, each of which must be right, and what came first."""
    texts = {memory.id: memory.text for memory in of.memories}
    asked = [question for world in of.worlds for question in world.compositional]
    order = [question for question in asked if judge(question.text, question.answer)]  # the answer is one of two named
    parts = [question for question in asked if question not in order]
    for ability, some, chance, must in (
        ("answers two questions in one from both texts, both parts right", parts, of.guess**2 / 100, ">= 85"),
        ("says which of two came first from both texts", order, 50.0, ""),
    ):
        passages = ["\n\n".join(texts[id] for id in of.rng.sample(question.about, 2)) for question in some]
        turns = [prompts.rag(q.text, passage) for q, passage in zip(some, passages, strict=True)]
        value = of.correct(turns, [q.answer for q in some], [q.text for q in some])
        yield Row(ability, value, "%", chance, must, len(some))


def sentences(held_out: bool) -> list[str]:
    """Sentences of everyday words that the world never uses; of words read in no row of sentences, if so asked."""
    rng = random.Random("report sentences")
    pool = words.beyond_the_world(words.held_out() if held_out else words.training())
    return [words.sentence(rng, pool) for _ in range(SENTENCES)]


def words_right(said: Sequence[str], truths: Sequence[str]) -> float:
    """Words of the true texts that were said, in order, in %."""
    right = [
        sum(block.size for block in difflib.SequenceMatcher(None, one.split(), other.split(), False).get_matching_blocks())
        for one, other in zip(said, truths, strict=True)
    ]
    return 100 * sum(right) / sum(len(truth.split()) for truth in truths)


def everyday(of: Examiner) -> Iterator[Row]:
    """Sentences of everyday words that stand in the prompt, said again."""
    for held_out in (False, True):
        told = sentences(held_out)
        said = of.says([[{"role": "user", "content": f"Repeat: {text}"}] for text in told], SENTENCE_TOKENS)
        ability = f"says sentences of {'held-out' if held_out else 'everyday'} words again, words right"
        yield Row(ability, words_right(said, told), "%", 0.0, ">= 90", len(told))


def stored_sentences(of: Examiner) -> Iterator[Row]:
    """The same sentences stored as memories and recalled, each under its own gate. Slow: an adapter for each."""
    told = sentences(held_out=False)
    mind = memsci.MEGa(of.base, encoding=Encoding.embedded())
    mind.encode([Memory(text, f"s{index}") for index, text in enumerate(told)], progress=False)
    prompt = prompts.ENCODING_PROMPTS["methods"]
    gates = mind.gate_by_hand([{f"s{index}": 1.0} for index in range(len(told))])
    said = mind.recall([prompt] * len(told), gate=gates)
    yield Row("recalls sentences of everyday words under the true gate, words right", words_right(said, told), "%", 0.0,
              ">= 90", len(told))  # fmt: skip


def knowledge(of: Examiner, quiz_items: int = 50) -> Iterator[Row]:
    """The quiz, and the facts of known people."""
    items = data.quiz("test", quiz_items)
    asked = [of.base.chat(prompts.mmlu(i.subject, i.question, i.options)) for i in items]
    chosen = generate.choose(of.base, asked, batch_size=BATCH)
    table = pd.DataFrame({"subject": [i.subject for i in items], "correct": [c == i.answer for c, i in zip(chosen, items)]})
    ability = "knows: quiz in unseen phrasings, macro over four subjects"
    yield Row(ability, 100 * macro_accuracy(table), "%", 25.0, ">= 90", len(items))
    for subject, group in table.groupby("subject"):
        yield Row(f"  {subject}", 100 * group["correct"].mean(), "%", 25.0, "", len(group))
    lives, half = telling.known_events(), telling.KNOWN_PEOPLE // 2
    for met, people in (("stories only", lives[half:]), ("stories and as questions", lives[:half])):
        known = [stories.ask(event, 0, of.rng) for life in people for event in life]
        value = of.correct([prompts.qa(k.text) for k in known], [k.answer for k in known])
        yield Row(f"stores and extracts: facts met as {met}", value, "%", of.guess, "", len(known))


def index(of: Examiner) -> Iterator[Row]:
    """How often the paper's gate opens the right one of a person's 50 stories."""
    embed = embedder(of.base, Embedding.paper())
    hits, count = 0, 0
    for world in of.worlds[: len(of.partitions)]:
        keys = embed([memory.text for memory in world.memories])
        pairs = [(memory.id, question.text) for memory in world.memories for question in memory.questions]
        top = gate(embed([text for _, text in pairs]), keys, ids=[memory.id for memory in world.memories]).top()
        hits, count = hits + int(correct_gate([id for id, _ in pairs], top).sum()), count + len(pairs)
    ability = "indexes: right one of 50 stories of one person (the paper's f and gate)"
    yield Row(ability, 100 * hits / count, "%", 2.0, ">= 90", count)


def language(of: Examiner) -> Iterator[Row]:
    """Perplexity of unseen stories, and tokens that were never trained."""
    prompt = of.base.chat(prompts.encoding())
    replies = [of.base.reply(memory.text) for memory in of.memories]
    sums, tokens = generate.logprob(of.base, [prompt] * len(replies), replies, BATCH)
    size = of.base.model.config.vocab_size
    perplexity = float((-sums.sum() / tokens.sum()).exp())
    yield Row("fluent: perplexity per token of unseen stories", perplexity, "", float(size), "", int(tokens.sum()))
    dead = len(train.dead_tokens(of.base.model.get_input_embeddings().weight.cpu()))
    yield Row("tokens without training", float(dead), "", float(size), "<= 0", size)


ABILITIES = (reading, held_out_kinds, two_memories, everyday, knowledge, index, language)
