"""Questions about a text, made of it by rules: its names, dates and numbers are asked for. *Not in the paper.*

No model is needed, and nothing of the questions that a memory may be tested by. Grammar is rough where a sentence is: a
question keeps the words of its sentence, with "what date", "who" or "how many" in the place of what is asked for, or in
front if there is an auxiliary to turn round.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DAYS = rf"{_DAY}(?: ?(?:–|-|to|and) ?{_DAY})?"
_CAPITAL = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶŁĽĻŃŇŌŐŒŘŚŞŠŢŤŪŮŰŹŻŽȘȚ"
_WORD = rf"(?<!\w)[{_CAPITAL}][\w'’.&-]*"
_NAME = rf"(?:(?:19|20)\d\d )?{_WORD}(?:(?: (?:of|the|de|la|van|von|for|and))* {_WORD})*"
_COUNT = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|a hundred|a dozen"
_RANK = r"\d+(?:st|nd|rd|th)|(?:\w+-)?(?:first|second|third|\w+(?:rth|fth|xth|nth|hth))"
# What is asked for, and by which words; names by those that suit the word before.
_KINDS = {
    "date": (
        rf"{_DAYS} {_MONTH}(?:,? \d{{4}})?|{_MONTH} {_DAYS}(?:,? \d{{4}})?|{_MONTH}(?: \d{{4}})?",
        ("what date", "when"),
    ),
    "money": (r"[$€£]\d[\d,.]*\d(?: [mb]illion)?", ("how much",)),
    "score": (r"\d+[–-]\d+(?:\(\d+[–-]\d+\))?(?:, \d+[–-]\d+(?:\(\d+[–-]\d+\))?)*", ("what score",)),
    "name": (_NAME, ("who", "what")),
    "rank": (rf"\b(?:{_RANK})\b", ("which",)),
    "year": (r"\b(?:1\d|20)\d\d\b", ("what year",)),
    "count": (rf"\b(?:\d[\d,.]*\d|\d|{_COUNT})\b", ("how many",)),
}
_SPAN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, (pattern, _) in _KINDS.items()))
_AUXILIARY = "is|was|are|were|has|have|had|will|can"
_TURNED = re.compile(rf"([^,]+?) ({_AUXILIARY}) ([^,]+)")
_CLAUSE = re.compile(r"\b(?:when|while|because|which|who|that|and)\b")
_SUBJECT = re.compile(
    rf"(.{{3,90}}?),? (?=(?:{_AUXILIARY}|won|took|became|follows|refers|serves|served|plays|played)\b)"
)
_PLACE, _PERSON = ("in", "at", "near", "from", "to"), ("by", "with", "against", "defeating")
_PRONOUNS = ("It", "He", "She", "They", "This", "I", "We", "You")
_NO_NAME = {*_PRONOUNS, *"The A An My Our Your His Her Their Its These On In At When During After Another".split()}
_SENTENCE_END = re.compile(rf"(?<=[.!?])\s+(?=[{_CAPITAL}\"“])")
_ABBREVIATED = re.compile(r"(?:^|[ (.])(?:Mrs?|Ms|Dr|St|Sr|Jr|Prof|Gen|vs|No|[A-Z])\.$")
SHORTEST = 6  # words of a sentence that later clauses are cut from


def sentences(text: str) -> list[str]:
    """The sentences of a text.

    >>> sentences("It rained. Tom stayed, e.g. at home! Mrs. Gray did not.")
    ['It rained.', 'Tom stayed, e.g. at home!', 'Mrs. Gray did not.']
    """
    found: list[str] = []
    for part in filter(None, _SENTENCE_END.split(text.strip())):
        if found and _ABBREVIATED.search(found[-1]):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def questions(text: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Questions about a text without end, each with a sentence that answers it; none if it has nothing to ask for.

    Every sentence comes up equally often; which of its names, dates and numbers is asked for is drawn. A pronoun at its head
    gives way to the subject of the text, and clauses behind what is asked for are left out.

    Examples
    --------
    >>> next(questions("Nora Gray was born in Bergen, where it rains.", random.Random(0)))
    ('In which place was Nora Gray born?', 'Nora Gray was born in Bergen.')
    """
    whole = sentences(text)
    subject = _SUBJECT.match(re.sub(r" ?\([^)]*\)", "", whole[0])) if whole else None
    told = [_named(sentence, subject and subject[1].rstrip(" ,")) for sentence in whole]
    told = [(sentence, spans) for sentence in told if (spans := list(_spans(sentence)))]
    while told:
        for sentence, spans in rng.sample(told, len(told)):
            yield _question(sentence, *rng.choice(spans), rng)


def _named(sentence: str, subject: str | None) -> str:
    head, _, rest = sentence.partition(" ")
    return f"{subject} {rest}" if subject and head in _PRONOUNS[:5] else sentence


def _spans(sentence: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of what can be asked for."""
    for match in _SPAN.finditer(sentence):
        start, end = match.span()
        if match.lastgroup == "name":
            end -= match[0].endswith((".", "'", "’"))
            if match[0].split()[0] in _NO_NAME:
                continue
        if sentence.count("(", 0, start) == sentence.count(")", 0, start):  # what stands in brackets is left out
            yield match.lastgroup, start, end


def _question(sentence: str, kind: str, start: int, end: int, rng: random.Random) -> tuple[str, str]:
    for comma in (match.start() for match in re.finditer(",", sentence) if match.start() >= end):
        head = sentence[:comma]
        if len(head.split()) >= SHORTEST and head.count("(") == head.count(")"):
            sentence = f"{head}."
            break
    before, after = sentence[:start].rstrip(), sentence[end:].rstrip(" .!?")
    words = rng.choice(_KINDS[kind][1])
    if kind == "name" and before.endswith(" the"):
        before = before.removesuffix(" the")
    last = before.split()[-1].lower() if before else ""
    if kind == "name":
        words = "which place" if last in _PLACE else "whom" if last in _PERSON else words
    turned = None if kind in ("count", "rank") or _CLAUSE.search(before) else _TURNED.fullmatch(before)
    if turned:
        subject, auxiliary, middle = turned.groups()
        if last in (*_PLACE, *_PERSON[:3], "on"):
            middle = middle[: -len(last)].rstrip()
            words = words if words == "when" else f"{last} {words}"
        if subject.split()[0] in _NO_NAME - {"I"}:
            subject = subject[0].lower() + subject[1:]
        asked = f"{words} {auxiliary} {subject} {middle}{after}"
    else:
        asked = f"{before} {words}{after}"
    asked = " ".join(re.sub(r" ?\([^)]*\)|[()]", "", asked).split()).replace(" ,", ",").lstrip(", ")
    return f"{asked[0].upper()}{asked[1:]}?", sentence
