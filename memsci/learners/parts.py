"""A question in several parts, put part by part: taken apart by rule, and the answers joined (*not in the paper*).

"Who filmed the talent show, and what did Nora lose at the lake?" asks for two memories. Each part opens a gate of its own,
so none has to open two, and is answered by itself, so a base need not have learnt to answer two questions in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from memsci.errors import MemsciError
from memsci.gate.softmax import Gate

_ASKS = re.compile(r"\b(?:who|whom|whose|what|which|when|where|why|how)\b", re.IGNORECASE)
_AND = re.compile(rf"(,? and (?=(?:[a-z]+ )?{_ASKS.pattern})|, and )", re.IGNORECASE)


def split(question: str) -> list[str]:
    """The parts of a question, each a question; the question as it is if it has one.

    A part begins after ", and" where a question word stands on both sides of it, or after "and" right before one. What a
    later part does not repeat ("and what did *she* lose?") it does not know.

    Notes
    -----
    Of the 840 questions of the built-in world that ask for two facts at once, all are taken apart into the two that they
    were made of, and none of its 8,000 questions about one memory is (tests/test_in_parts.py looks at two partitions).

    Examples
    --------
    >>> split("Who filmed the talent show, and at which lake did Nora lose a shoe?")
    ['Who filmed the talent show?', 'At which lake did Nora lose a shoe?']
    >>> split("Which came first, the mural and the play, or the hike?")
    ['Which came first, the mural and the play, or the hike?']
    """
    first, *others = _AND.split(question)
    found = [first]
    for between, text in zip(others[::2], others[1::2]):
        if _ASKS.search(found[-1]) and _ASKS.search(text):
            found.append(text)
        else:
            found[-1] += between + text
    if len(found) == 1:
        return [question]
    return [f"{part[:1].upper()}{part[1:]}".rstrip(" ?.") + "?" for part in found]


def join(answers: Sequence[str]) -> str:
    """One sentence of the answers to the parts.

    Examples
    --------
    >>> join(["Karim did.", "A shoe."]), join(["Karim."])
    ('Karim did and A shoe.', 'Karim.')
    """
    *first, last = answers
    return " and ".join([*(answer.rstrip().rstrip(".!?") for answer in first), last])


class Parts:
    """All parts of several questions, to be put as so many questions; with ``apart=False`` each question is its only part.

    Attributes
    ----------
    questions : list of str
        The parts, question by question.
    rows : list of int
        Of which question each is.
    """

    def __init__(self, questions: Sequence[str], apart: bool = True) -> None:
        each = [split(question) if apart else [question] for question in questions]
        self.questions = [part for parts in each for part in parts]
        self.rows = [row for row, parts in enumerate(each) for _ in parts]
        self._apart, self._count = apart, len(each)

    def each(self, values: Sequence | None) -> list | None:
        """What belongs to the questions, once for each part."""
        return None if values is None else [values[row] for row in self.rows]

    def gate(self, gate: Gate | None) -> Gate | None:
        """The gate of each question, once for each of its parts."""
        if gate is None or not self._apart:
            return gate
        if len(gate.weights) != self._count:
            raise MemsciError(f"The gate given has {len(gate.weights)} rows; {self._count}, one a question, are needed.")
        return replace(gate, scores=gate.scores[self.rows], weights=gate.weights[self.rows])

    def by_question(self, values: Sequence) -> list[list]:
        """What belongs to the parts, question by question."""
        found: list[list] = [[] for _ in range(self._count)]
        for row, value in zip(self.rows, values, strict=True):
            found[row].append(value)
        return found

    def items(self, answers: Sequence[str]) -> list[str | None]:
        """The answer to each part: what an answer ("A and B") names for it; None where it does not name as many things."""
        found: list[str | None] = []
        for parts, answer in zip(self.by_question(self.questions), answers, strict=True):
            named = answer.split(" and ") if len(parts) > 1 else [answer]
            found += named if len(named) == len(parts) else [None] * len(parts)
        return found
