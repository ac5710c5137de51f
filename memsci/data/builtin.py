"""The built-in world as partitions of memories, and its quiz on general knowledge.

Twenty partitions of each setting, 50 memories each, made anew from a fixed seed whenever they are asked for. None of
their people, events or pairs of facts occurs in the text that the shipped base model was trained on
(`memsci.world.split`).
"""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations

from memsci.errors import MemsciError, check_in
from memsci.memory import Memory, Partition, Question, QuizItem
from memsci.world import grammar, knowledge, split, stories
from memsci.world.stories import Event

PARAPHRASES = 9
COMPOSITIONAL = 25
QUIZ_ITEMS = 50  # of each subject

# Slots by which two events can be compared, and how one asks; only in the episodic setting, where one life holds both.
_COMPARISONS = {
    "year": "Which came first in the life of {name}: the {one} or the {other}?",
    "age": "At which of the two was {name} younger, the {one} or the {other}?",
}
# First words of a question that can follow "and" once they have lost their capital; others are names.
_SMALL = frozenset(
    "A After Along Among An As At Because Before Besides By Despite During For From How In Inside Into Near Of On Out Over "
    "Since The Thanks Through To Under What When Where Which While Who Whom Whose Why With".split()
)


@cache
def builtin(setting: str = "episodic", partition: int = 0) -> Partition:
    """A partition of the built-in world: 50 memories with paraphrases and questions, and 25 compositional questions.

    Parameters
    ----------
    setting
        "episodic": fictional stories about one person (the counterpart of the paper's fictional-character set);
        "semantic": public events, less correlated with one another (of its Wikipedia set).
    partition
        0 to 19.
    """
    check_in("setting", setting, grammar.SETTINGS)
    if isinstance(partition, bool) or partition not in range(split.PARTITIONS):
        raise MemsciError(f"partition must be a whole number from 0 to {split.PARTITIONS - 1}; {partition!r} was given.")
    rng = random.Random(f"told {setting} {partition}")
    events = split.held_out(setting, partition)
    memories = tuple(_memory(event, f"{setting}-{partition:02d}-{index:02d}", rng) for index, event in enumerate(events))
    return Partition(f"{setting}-{partition:02d}", memories, tuple(_compose(events, memories, rng)))


def quiz(split_name: str = "test", per_subject: int = QUIZ_ITEMS) -> list[QuizItem]:
    """Questions on general knowledge in the form of MMLU: capitals, elements, opposites, sums.

    A smaller quiz is part of every larger one, and both splits ask for the same facts.

    Parameters
    ----------
    split_name
        "test": phrasings that the base model has never seen; "train": those it was trained on.
    per_subject
        Number of facts of each subject, the first of an order drawn once.
    """
    check_in("split", split_name, ("train", "test"))
    items = []
    for subject in knowledge.SUBJECTS:
        facts = knowledge.facts(subject)
        if not 1 <= per_subject <= len(facts):
            raise MemsciError(f"per_subject must be from 1 to {len(facts)} for {subject}; {per_subject!r} was given.")
        order = random.Random(f"quiz {subject}").sample(range(len(facts)), len(facts))
        for place in order[:per_subject]:
            rng = random.Random(f"quiz {split_name} {subject} {place}")
            options, right = knowledge.options(facts[place], rng)
            items.append(QuizItem(subject, knowledge.question(facts[place], split_name, rng), tuple(options), right))
    return items


def _memory(event: Event, id: str, rng: random.Random) -> Memory:
    text, *paraphrases = stories.wordings(event, rng, 1 + PARAPHRASES)
    questions = tuple(Question(asked.text, asked.answer) for asked in stories.questions(event, rng))
    return Memory(text, id, event.kind.label, tuple(paraphrases), questions)


def _compose(events: tuple[Event, ...], memories: tuple[Memory, ...], rng: random.Random) -> list[Question]:
    """Questions that need exactly two memories: comparisons where two events share a kind of number, else both facts."""
    comparisons = [pair for pair in combinations(range(len(events)), 2) if _compared(events, *pair)]
    found = [_comparison(events, memories, *pair, rng) for pair in rng.sample(comparisons, min(8, len(comparisons)))]
    asked_together = {question.about for question in found}
    while len(found) < COMPOSITIONAL:
        first, second = rng.sample(range(len(events)), 2)
        about = (memories[first].id, memories[second].id)
        if about in asked_together:
            continue
        asked_together.add(about)
        ones = [question for question in memories[first].questions if ";" not in question.text]
        others = [q for q in memories[second].questions if q.text.split()[0] in _SMALL and ";" not in q.text]
        if not ones or not others:
            continue
        one, other = rng.choice(ones), rng.choice(others)
        text = f"{one.text.removesuffix('?')}, and {other.text[0].lower()}{other.text[1:]}"
        found.append(Question(text, f"{one.answer} and {other.answer}", about))
    return found


def _compared(events: tuple[Event, ...], first: int, second: int) -> str | None:
    """The pool of numbers by which two events of one person can be compared, if there is one."""
    one, other = events[first], events[second]
    labels = [event.kind.label for event in events]
    if one.person is None or labels.count(one.kind.label) > 1 or labels.count(other.kind.label) > 1:
        return None
    for pool in _COMPARISONS:
        values = [_value(event, pool) for event in (one, other)]
        if None not in values and values[0] != values[1]:
            return pool
    return None


def _comparison(events, memories, first: int, second: int, rng: random.Random) -> Question:
    pool = _compared(events, first, second)
    smaller = min((first, second), key=lambda index: _value(events[index], pool))
    one, other = rng.sample((first, second), 2)
    text = _COMPARISONS[pool].format(
        name=events[first].person.name, one=events[one].kind.label, other=events[other].kind.label
    )
    return Question(text, f"the {events[smaller].kind.label}", (memories[first].id, memories[second].id))


def _value(event: Event, pool: str) -> int | None:
    return next((int(event.facts[slot]) for slot, drawn in event.kind.slots.items() if drawn == pool), None)
