"""What is memorised: memories and the questions about them, as plain immutable values.

A memory is a short paragraph D_i (about 42 words in the paper), up to nine rewordings of it, and questions whose
answers it contains (paper, section "Data"). Every text is checked here, once, before anything is learnt from it.
Nothing here knows of models; `memsci.data.table` makes memories of tables, `to_frame` tables of memories.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memsci.errors import MemsciError, check_whole
from memsci.later import later
from memsci.words import stretch, words

pd = later("pandas")

COLUMNS = ("text", "id", "label", "paraphrases", "questions")
# Columns of the tables of responses, scores and training, beside which extra columns stand.
RESERVED = frozenset(
    "memory_id position way question target original recalled answer logprob tokens top_id gate dataset partition method "
    "setting stop subject metric value protocol higher_is_better loss seconds learnt about corrects".split()
)
LABEL_WORDS = 6
# An id names the folder of its memory in a store, so it must be a file name on every system.
_ID = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
_UNWRITABLE = re.compile("[\ud800-\udfff\0]")  # lone surrogates have no UTF-8 form; tables end at a null character


@dataclass(frozen=True)
class Question:
    """A question with its true answer.

    Parameters
    ----------
    text
        The question, with enough context to tell which memory is meant.
    answer
        The true answer, a few words.
    about
        Ids of the memories needed to answer it. Empty for a question that belongs to one memory (its owner is meant);
        two ids for a compositional question.
    extra
        What else is known of it, as of a memory.
    """

    text: str
    answer: str
    about: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        check_text("the text of a question", self.text)
        check_text(f"the answer to the question {short(self.text)}", self.answer)
        about = _strings(f"memory ids in `about` of the question {short(self.text)}", self.about)
        object.__setattr__(self, "about", about)
        object.__setattr__(self, "extra", _extra(f"of the question {short(self.text)}", self.extra))


@dataclass(frozen=True)
class Memory:
    """One memory: the paragraph, its name, its rewordings and the questions about it.

    Parameters
    ----------
    text
        The paragraph, kept exactly as given.
    id
        Unique name of letters, digits, ``_``, ``.`` and ``-`` (at most 100), since it also names a folder of the store.
        Default: the first 12 hexadecimal digits of the SHA-256 of the text.
    label
        What figures and tables show. Default: the first six words of the text.
    paraphrases
        Other wordings of the same facts, trained on together with the text.
    questions
        `Question` objects, or pairs (question, answer), or dicts with the keys ``question`` and ``answer``.
    extra
        What else is known of it, such as its condition, by name: texts, numbers or truth values. Stores, responses and
        scores have them as columns; nothing is learnt from them.
    corrects
        Id of the memory that this one corrects: both are kept, and the newer goes before the older at the gate.

    Examples
    --------
    >>> Memory("Nora hid the letter in the piano on 3 May.", questions=[("Where is the letter?", "In the piano")]).label
    'Nora hid the letter in the…'
    """

    text: str
    id: str = ""
    label: str = ""
    paraphrases: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict, hash=False, repr=False)
    corrects: str | None = None

    def __post_init__(self) -> None:
        check_text("the text of a memory", self.text)
        if not isinstance(self.id, str) or not isinstance(self.label, str):
            raise MemsciError(f"id and label of a memory must be strings, not {self.id!r} and {self.label!r}.")
        # The dataclass is frozen for its users; defaults and sequences are brought to one form once, here.
        object.__setattr__(self, "id", self.id or text_hash(self.text)[:12])
        object.__setattr__(self, "label", self.label.strip() or short(self.text, quote=False))
        check_id(self.id)
        check_text(f"the label of memory {self.id!r}", self.label)
        object.__setattr__(self, "paraphrases", _strings(f"paraphrases of memory {self.id!r}", self.paraphrases))
        if not is_sequence(self.questions):
            raise MemsciError(f"questions of memory {self.id!r} must be a list, not {type(self.questions).__name__}.")
        object.__setattr__(self, "questions", tuple(_question(q) for q in self.questions))
        object.__setattr__(self, "extra", _extra(f"of memory {self.id!r}", self.extra))
        if self.corrects is not None:
            check_id(self.corrects)
            if self.corrects.casefold() == self.id.casefold():
                raise MemsciError(f"Memory {self.id!r} cannot correct itself: give the id of another.")


@dataclass(frozen=True)
class Partition:
    """A set of memories that belong together and are stored by one model (50 of them in the paper).

    Parameters
    ----------
    name
        How tables and figures call it, e.g. ``wiki-0``.
    memories
        The memories, in the order in which they are stored.
    compositional
        Questions that need more than one of the memories; their `about` names the memories by id.
    """

    name: str
    memories: tuple[Memory, ...]
    compositional: tuple[Question, ...] = ()

    def __post_init__(self) -> None:
        check_text("the name of a partition", self.name)
        object.__setattr__(self, "memories", tuple(check_memories(self.memories)))
        if not is_sequence(self.compositional):
            raise MemsciError(f"compositional questions must be a list, not {type(self.compositional).__name__}.")
        object.__setattr__(self, "compositional", tuple(_question(q) for q in self.compositional))
        known = {memory.id for memory in self.memories}
        for question in self.compositional:
            if len(set(question.about)) < 2 or not known.issuperset(question.about):
                raise MemsciError(
                    f"The compositional question {short(question.text)} of partition {self.name!r} must "
                    f"name at least two of its memories by id in `about`; not {list(question.about)}."
                )

    def __iter__(self) -> Iterator[Memory]:
        return iter(self.memories)

    def __len__(self) -> int:
        return len(self.memories)

    def first(self, n: int) -> Partition:
        """The first n memories, and the compositional questions that are about them alone."""
        check_whole(f"memories of {self.name}", n, 1, len(self.memories))
        kept = self.memories[:n]
        known = {memory.id for memory in kept}
        asked = tuple(question for question in self.compositional if known.issuperset(question.about))
        return Partition(self.name, kept, asked)


@dataclass(frozen=True)
class QuizItem:
    """A multiple-choice question of general knowledge: 2 to 26 options, `answer` is the index of the right one, from 0."""

    subject: str
    question: str
    options: tuple[str, ...]
    answer: int

    def __post_init__(self) -> None:
        check_text("the subject of a quiz question", self.subject)
        check_text("the text of a quiz question", self.question)
        object.__setattr__(self, "options", _strings(f"options of the question {short(self.question)}", self.options))
        if not 2 <= len(self.options) <= 26:
            raise MemsciError(
                f"The question {short(self.question)} has {len(self.options)} options; 2 to 26 are needed, a letter each."
            )
        if isinstance(self.answer, bool) or self.answer not in range(len(self.options)):
            raise MemsciError(
                f"The answer to the question {short(self.question)} must be the index 0 to {len(self.options) - 1} of the "
                f"right option, not {self.answer!r}."
            )
        object.__setattr__(self, "answer", int(self.answer))


def check_text(what: str, value: Any) -> None:
    """Refuse what is no text, has no words, or cannot be written to every file and read back the same."""
    if not isinstance(value, str):
        raise MemsciError(f"{what} must be a string, not {value!r}.")
    if not value.strip():
        raise MemsciError(f"{what} is empty.")
    if match := _UNWRITABLE.search(value):
        raise MemsciError(
            f"{what} holds {match[0]!r} at character {match.start() + 1}, which is not valid Unicode in a text file: "
            f"{value[: match.end()][-40:]!r}. Remove it, or read the text from its source with the right encoding."
        )


def is_id(id: Any) -> bool:
    """Whether this can be the id of a memory."""
    return isinstance(id, str) and _ID.fullmatch(id) is not None


def check_id(id: Any) -> None:
    """Refuse an id that cannot be the name of a folder, or would be a path out of the store."""
    if not is_id(id):
        raise MemsciError(
            f"{id!r} cannot be the id of a memory: it also names a folder, so use 1 to 100 letters, digits, '_', '-' "
            "or '.', with no '.' at either end."
        )


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_memories(memories: Iterable[Memory], rows: Sequence[str] = ()) -> list[Memory]:
    """Return the memories as a list after checking that they can be told apart.

    Two memories with one text would share their key, so that no gate could separate them. `rows` says where each stands, if
    they are from a table.
    """
    if isinstance(memories, (str, Memory)):
        raise MemsciError(f"A list of Memory objects is needed, not one {type(memories).__name__}: put it in a list.")
    memories = list(memories)
    seen_ids: dict[str, int] = {}
    seen_texts: dict[str, int] = {}
    for place, memory in enumerate(memories):
        if not isinstance(memory, Memory):
            raise MemsciError(
                f"Memory {place + 1} is a {type(memory).__name__}, not a Memory: write Memory(text) around it."
            )
        # Texts first: equal texts also have equal default ids, and the text is then the true cause.
        text = " ".join(memory.text.split())
        for what, key, seen in (("text", text, seen_texts), ("id", memory.id.casefold(), seen_ids)):
            if key in seen:
                shown = repr(memory.id) if what == "id" else short(memory.text)
                two = f"{rows[seen[key]]} and {rows[place]}" if rows else f"Memories {seen[key] + 1} and {place + 1}"
                raise MemsciError(
                    f"{two} have the same {what} {shown}: each memory must have its own. Remove or change one of them."
                )
            seen[key] = place
    return memories


def to_frame(memories: Iterable[Memory]) -> pd.DataFrame:
    """Memories as a table: one row each, columns text, id, label, paraphrases (list), questions (list of dicts), and those
    of `Memory.extra`.

    `memsci.data.table` gives the same memories back; so it does after a way through JSON Lines or Parquet.
    """
    rows = [
        {
            "text": m.text,
            "id": m.id,
            "label": m.label,
            "paraphrases": list(m.paraphrases),
            "questions": [{"question": q.text, "answer": q.answer, "about": list(q.about), **q.extra} for q in m.questions],
            **({} if m.corrects is None else {"corrects": m.corrects}),
            **m.extra,
        }
        for m in memories
    ]
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])))


def _question(value: Any) -> Question:
    """A question from any of the forms in which tables hold one."""
    if isinstance(value, Question):
        return value
    if isinstance(value, dict) and {"question", "answer"} <= set(value):
        extra = {name: one for name, one in value.items() if name not in ("question", "answer", "about")}
        about = value.get("about")
        return Question(value["question"], value["answer"], () if about is None else about, extra)
    if is_sequence(value) and len(value) == 2:
        return Question(value[0], value[1])
    raise MemsciError(f'a question must be [question, answer] or {{"question": …, "answer": …}}, not {value!r}.')


def _strings(what: str, values: Any) -> tuple[str, ...]:
    if not is_sequence(values):
        raise MemsciError(f"{what} must be a list of strings, not {values!r}.")
    for value in values:
        check_text(f"one of the {what}", value)
    return tuple(values)


def _extra(whose: str, values: Any) -> dict[str, Any]:
    """Extra columns as plain values, those that are missing left out."""
    if not isinstance(values, Mapping):
        raise MemsciError(f"extra {whose} must be a dict of names and values, not {values!r}.")
    found = {}
    for name, value in values.items():
        check_text(f"the name of an extra column {whose}", name)
        if name in RESERVED or name in COLUMNS:
            raise MemsciError(
                f"The extra column {name!r} {whose} has a name that tables of memories, responses or scores use for "
                f"something else: rename it, for instance my_{name}."
            )
        if isinstance(value, np.datetime64):
            value = pd.Timestamp(value)  # .item() makes a number of nanoseconds
        elif isinstance(value, np.generic) and not isinstance(value, np.timedelta64):
            value = value.item()
        if is_missing(value) or isinstance(value, str) and not value.strip():
            continue
        if isinstance(value, (datetime.date, datetime.time)):
            value = value.isoformat().removesuffix("T00:00:00")
        if not isinstance(value, (str, bool, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
            raise MemsciError(f"The extra column {name!r} {whose} must hold texts, numbers or truth values, not {value!r}.")
        if isinstance(value, str):
            check_text(f"the extra column {name!r} {whose}", value)
        found[name] = value
    return found


def is_sequence(value: Any) -> bool:
    """Whether it is a list of some kind, and no text; Parquet gives lists back as arrays."""
    return isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes)))


def is_missing(value: Any) -> bool:
    """Whether a cell of a table is empty."""
    return not is_sequence(value) and not isinstance(value, dict) and bool(pd.isna(value) or value == "")


def short(text: str, quote: bool = True) -> str:
    """The first words of a text, for labels and messages."""
    first = stretch(text, 0, LABEL_WORDS) + ("…" if len(words(text)) > LABEL_WORDS else "")
    return repr(first) if quote else first
