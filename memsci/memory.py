"""What is memorised: memories and the questions about them, as plain immutable values.

A memory is a short paragraph D_i (about 42 words in the paper), up to nine rewordings of it, and questions whose
answers it contains (paper, section "Data"). Every text is checked here, once, before anything is learnt from it.
Nothing here knows of models; tables go in and out through pandas.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import numbers
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from memsci.errors import MemsciError, check_whole

COLUMNS = ("text", "id", "label", "paraphrases", "questions")
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
    """

    text: str
    answer: str
    about: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_text("the text of a question", self.text)
        check_text(f"the answer to the question {_short(self.text)}", self.answer)
        about = _strings(f"memory ids in `about` of the question {_short(self.text)}", self.about)
        object.__setattr__(self, "about", about)


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

    def __post_init__(self) -> None:
        check_text("the text of a memory", self.text)
        if not isinstance(self.id, str) or not isinstance(self.label, str):
            raise MemsciError(f"id and label of a memory must be strings, not {self.id!r} and {self.label!r}.")
        # The dataclass is frozen for its users; defaults and sequences are brought to one form once, here.
        object.__setattr__(self, "id", self.id or text_hash(self.text)[:12])
        object.__setattr__(self, "label", self.label.strip() or _short(self.text, quote=False))
        check_id(self.id)
        check_text(f"the label of memory {self.id!r}", self.label)
        object.__setattr__(self, "paraphrases", _strings(f"paraphrases of memory {self.id!r}", self.paraphrases))
        if not _is_sequence(self.questions):
            raise MemsciError(f"questions of memory {self.id!r} must be a list, not {type(self.questions).__name__}.")
        object.__setattr__(self, "questions", tuple(_question(q) for q in self.questions))


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
        if not _is_sequence(self.compositional):
            raise MemsciError(f"compositional questions must be a list, not {type(self.compositional).__name__}.")
        object.__setattr__(self, "compositional", tuple(_question(q) for q in self.compositional))
        known = {memory.id for memory in self.memories}
        for question in self.compositional:
            if len(set(question.about)) < 2 or not known.issuperset(question.about):
                raise MemsciError(
                    f"The compositional question {_short(question.text)} of partition {self.name!r} must "
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
    """A multiple-choice question of general knowledge: four options, `answer` is the index (0 to 3) of the right one."""

    subject: str
    question: str
    options: tuple[str, str, str, str]
    answer: int

    def __post_init__(self) -> None:
        check_text("the subject of a quiz question", self.subject)
        check_text("the text of a quiz question", self.question)
        object.__setattr__(self, "options", _strings(f"options of the question {_short(self.question)}", self.options))
        if len(self.options) != 4:
            raise MemsciError(f"The question {_short(self.question)} has {len(self.options)} options; four are needed.")
        if isinstance(self.answer, bool) or self.answer not in (0, 1, 2, 3):
            raise MemsciError(
                f"The answer to the question {_short(self.question)} must be the index 0 to 3 of the "
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


def check_id(id: Any) -> None:
    """Refuse an id that cannot be the name of a folder, or would be a path out of the store."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise MemsciError(
            f"{id!r} cannot be the id of a memory: it also names a folder, so use 1 to 100 letters, digits, '_', '-' "
            "or '.', with no '.' at either end."
        )


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_memories(memories: Iterable[Memory]) -> list[Memory]:
    """Return the memories as a list after checking that they can be told apart.

    Two memories with one text would share their key, so that no gate could separate them.
    """
    if isinstance(memories, (str, Memory)):
        raise MemsciError(f"A list of Memory objects is needed, not one {type(memories).__name__}: put it in a list.")
    memories = list(memories)
    seen_ids: dict[str, int] = {}
    seen_texts: dict[str, int] = {}
    for row, memory in enumerate(memories, start=1):
        if not isinstance(memory, Memory):
            raise MemsciError(f"Memory {row} is a {type(memory).__name__}, not a Memory: write Memory(text) around it.")
        # Texts first: equal texts also have equal default ids, and the text is then the true cause.
        text = " ".join(memory.text.split())
        for what, key, seen in (("text", text, seen_texts), ("id", memory.id.casefold(), seen_ids)):
            if key in seen:
                shown = repr(memory.id) if what == "id" else _short(memory.text)
                raise MemsciError(
                    f"Memories {seen[key]} and {row} have the same {what} {shown}: "
                    "each memory must have its own. Remove or change one of them."
                )
            seen[key] = row
    return memories


def to_frame(memories: Iterable[Memory]) -> pd.DataFrame:
    """Memories as a table: one row each, columns text, id, label, paraphrases (list), questions (list of dicts).

    `from_frame` gives the same memories back; so it does after a way through JSON Lines or Parquet.
    """
    rows = [
        {
            "text": m.text,
            "id": m.id,
            "label": m.label,
            "paraphrases": list(m.paraphrases),
            "questions": [{"question": q.text, "answer": q.answer, "about": list(q.about)} for q in m.questions],
        }
        for m in memories
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def from_frame(frame: pd.DataFrame) -> list[Memory]:
    """Memories from a table, one per row.

    Parameters
    ----------
    frame
        Column ``text``; optional columns ``id``, ``label``, ``paraphrases`` (list of strings) and ``questions`` (list
        of [question, answer] or {"question", "answer"}). Lists may also be JSON strings, as in a CSV file. Missing
        values in optional columns mean "not given". An index with one of these names is read as a column.
    """
    frame = _tidied(frame)
    memories = []
    for row, values in enumerate(frame.to_dict("records"), start=1):
        given = {column: _cell(row, column, value) for column, value in values.items() if not _is_missing(value)}
        if "text" not in given:
            raise MemsciError(f"Row {row}, column 'text': the cell is empty; every memory needs its text.")
        try:
            memories.append(Memory(**given))
        except MemsciError as error:
            raise MemsciError(f"Row {row}: {error}") from None
    return check_memories(memories)


def _tidied(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with known columns alone: its index read as columns, columns without a name dropped if they are empty."""
    if not isinstance(frame, pd.DataFrame):
        raise MemsciError(f"A pandas DataFrame is needed, not {type(frame).__name__}.")
    index = [(name, frame.index.get_level_values(level)) for level, name in enumerate(frame.index.names)]
    for name, values in index:
        if name is None and len(values) and not pd.api.types.is_integer_dtype(values.dtype):
            raise MemsciError(
                f"The index of the table has no name and holds {values[0]!r}, not row numbers: name it "
                "(frame.rename_axis('id')) to keep it, or drop it (frame.reset_index(drop=True))."
            )
    columns = [*((str(name), values) for name, values in index if name is not None)]
    for k, name in enumerate(frame.columns):
        values = frame.iloc[:, k]
        # Excel writes columns without a name where a cell was once used; pandas calls them "Unnamed: 3".
        if _is_missing(name) or re.fullmatch(r"\s*(Unnamed: \d+)?", str(name)):
            if (full := ~values.map(_is_missing)).any():
                raise MemsciError(f"Column {k + 1} has no name and holds {values[full].iloc[0]!r}: name or remove it.")
            continue
        columns.append((str(name), values.array))
    _check_columns([name for name, _ in columns])
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns})


def _check_columns(columns: list[str]) -> None:
    allowed = ", ".join(COLUMNS)
    if "text" not in columns:
        names = ", ".join(columns) or "none"
        raise MemsciError(f"The table has no column 'text' (found: {names}). Allowed: {allowed}.")
    if repeated := sorted({c for c in columns if columns.count(c) > 1}):
        raise MemsciError(f"The table has more than one column {repeated[0]!r} (or an index of that name): keep one.")
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column.strip().lower(), COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it."
            raise MemsciError(f"The table has a column {column!r} that means nothing here: {hint} Allowed: {allowed}.")


def _cell(row: int, column: str, value: Any) -> Any:
    """The value of one cell as `Memory` takes it."""
    where = f"Row {row}, column {column!r}"
    if column in ("paraphrases", "questions"):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                example = '["one wording", "another"]' if column == "paraphrases" else '[["Who?", "Nora"]]'
                raise MemsciError(f"{where}: not a JSON list ({error}); write for instance {example}.") from None
        if not _is_sequence(value):
            raise MemsciError(f"{where}: a list is needed, not {value!r}.")
        return list(value)
    if column == "id" and isinstance(value, numbers.Real) and not isinstance(value, bool):
        # A column of whole numbers with gaps arrives as floats: 7.0 is the id "7". Larger ones have lost digits.
        if isinstance(value, float) and abs(value) >= 2**53:
            raise MemsciError(f"{where}: the number {value!r} has lost its last digits; write ids as text.")
        return str(int(value)) if float(value).is_integer() else str(value)
    if not isinstance(value, str):
        raise MemsciError(f"{where}: a string is needed, not {value!r}.")
    if column == "text":
        try:
            check_text("the text of a memory", value)
        except MemsciError as error:
            raise MemsciError(f"{where}: {error}") from None
    return value


def _question(value: Any) -> Question:
    """A question from any of the forms in which tables hold one."""
    if isinstance(value, Question):
        return value
    if isinstance(value, dict) and {"question", "answer"} <= set(value) <= {"question", "answer", "about"}:
        about = value.get("about")
        return Question(value["question"], value["answer"], () if about is None else about)
    if _is_sequence(value) and len(value) == 2:
        return Question(value[0], value[1])
    raise MemsciError(f'a question must be [question, answer] or {{"question": …, "answer": …}}, not {value!r}.')


def _strings(what: str, values: Any) -> tuple[str, ...]:
    if not _is_sequence(values):
        raise MemsciError(f"{what} must be a list of strings, not {values!r}.")
    for value in values:
        check_text(f"one of the {what}", value)
    return tuple(values)


def _is_sequence(value: Any) -> bool:
    # Parquet gives lists back as arrays.
    return isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes)))


def _is_missing(value: Any) -> bool:
    return not _is_sequence(value) and not isinstance(value, dict) and (pd.isna(value) or value == "")


def _short(text: str, quote: bool = True) -> str:
    """The first words of a text, for labels and messages."""
    words = text.split()
    short = " ".join(words[:LABEL_WORDS]) + ("…" if len(words) > LABEL_WORDS else "")
    return repr(short) if quote else short
