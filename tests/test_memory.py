"""Memories as values and as tables."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json

import numpy as np
import pandas as pd
import pytest

from memsci.data import table
from memsci.errors import MemsciError
from memsci.memory import Memory, Partition, Question, QuizItem, check_memories, text_hash, to_frame

TEXT = "Nora hid the letter in the old piano on 3 May. Nobody saw her."


def test_defaults_come_from_the_text():
    memory = Memory(TEXT)
    assert memory.id == hashlib.sha256(TEXT.encode()).hexdigest()[:12] == text_hash(TEXT)[:12]
    assert memory.label == "Nora hid the letter in the…"
    assert Memory("Three short words").label == "Three short words"
    assert memory.paraphrases == () and memory.questions == ()


def test_given_values_are_kept_and_frozen():
    question = Question("Where is the letter?", "In the piano", about=["a", "b"])
    memory = Memory(TEXT, id="letter-1", label="the letter", paraphrases=["Another wording."], questions=[question])
    assert (memory.id, memory.label, memory.paraphrases) == ("letter-1", "the letter", ("Another wording.",))
    assert memory.questions == (question,) and question.about == ("a", "b")
    assert hash(memory) == hash(dataclasses.replace(memory))
    with pytest.raises(dataclasses.FrozenInstanceError):
        memory.text = "x"


@pytest.mark.parametrize(
    "form",
    [
        ["Who?", "Nora"],
        ("Who?", "Nora"),
        np.array(["Who?", "Nora"], object),
        {"question": "Who?", "answer": "Nora"},
        Question("Who?", "Nora"),
    ],
)
def test_questions_in_every_form(form):
    assert Memory(TEXT, questions=[form]).questions == (Question("Who?", "Nora"),)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Memory(""), "text of a memory is empty"),
        (lambda: Memory(" \n\t"), "text of a memory is empty"),
        (lambda: Memory(None), "must be a string, not None"),
        (lambda: Memory(7), "must be a string, not 7"),
        (lambda: Memory("a\ud800b"), "not valid Unicode"),
        (lambda: Memory(TEXT, id=7), "must be strings"),
        (lambda: Memory(TEXT, id="../up"), "cannot be the id"),
        (lambda: Memory(TEXT, id="a/b"), "cannot be the id"),
        (lambda: Memory(TEXT, id=".."), "cannot be the id"),
        (lambda: Memory(TEXT, id=".hidden"), "cannot be the id"),
        (lambda: Memory(TEXT, id="ends."), "cannot be the id"),
        (lambda: Memory(TEXT, id="a\n"), "cannot be the id"),
        (lambda: Memory(TEXT, id="x" * 101), "cannot be the id"),
        (lambda: Memory(TEXT, paraphrases="one string"), "must be a list of strings"),
        (lambda: Memory(TEXT, paraphrases=["good", " "]), "is empty"),
        (lambda: Memory(TEXT, questions="Who?"), "must be a list"),
        (lambda: Memory(TEXT, questions=["ab"]), "must be [question, answer]"),
        (lambda: Memory(TEXT, questions=[["Who?"]]), "must be [question, answer]"),
        (lambda: Memory(TEXT, questions=[{"question": "Who?", "answr": "Nora"}]), "must be [question, answer]"),
        (lambda: Question("Who?", ""), "answer to the question 'Who?' is empty"),
        (lambda: Question("", "Nora"), "text of a question is empty"),
        (lambda: Question("Who?", "Nora", about="m1"), "must be a list of strings"),
    ],
)
def test_bad_values_are_refused_with_the_reason(make, says):
    with pytest.raises(MemsciError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("memories", "says"),
    [
        ([Memory("A."), Memory("B."), Memory("A.")], "Memories 1 and 3 have the same text"),
        ([Memory("A b."), Memory("A  b.\n", id="other")], "Memories 1 and 2 have the same text"),
        ([Memory("A.", id="x"), Memory("B.", id="X")], "Memories 1 and 2 have the same id 'X'"),
        ([Memory("A."), "B."], "Memory 2 is a str"),
        (Memory("A."), "put it in a list"),
        ("A.", "put it in a list"),
    ],
)
def test_memories_that_cannot_be_told_apart(memories, says):
    with pytest.raises(MemsciError) as caught:
        check_memories(memories)
    assert says in str(caught.value)


def test_check_takes_any_iterable():
    assert check_memories(Memory(t) for t in "ab") == [Memory("a"), Memory("b")]
    assert check_memories([]) == []


MEMORIES = [
    Memory(
        TEXT,
        "one",
        "letter",
        ('P 1, with "quotes".', "P\n2"),
        (Question("Who?", "Nora", ("one", "two")), Question("Ünï?", "é")),
    ),
    Memory("Second text."),
]


@pytest.mark.parametrize("way", ["frame", "csv", "jsonl", "parquet"])
def test_round_trip(way):
    frame = to_frame(MEMORIES)
    assert list(frame.columns) == ["text", "id", "label", "paraphrases", "questions"]
    if way == "csv":
        for column in ("paraphrases", "questions"):
            frame[column] = frame[column].map(json.dumps)
        frame = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    elif way == "jsonl":
        frame = pd.read_json(io.StringIO(frame.to_json(orient="records", lines=True)), lines=True)
    elif way == "parquet":
        frame = pd.read_parquet(io.BytesIO(frame.to_parquet()))
    assert table(frame) == MEMORIES
    assert to_frame([]).empty and table(to_frame([])) == []


def test_missing_optional_cells_mean_not_given():
    frame = pd.DataFrame(
        {
            "text": ["A.", "B.", "C."],
            "id": [7.0, None, float("nan")],
            "label": ["x", pd.NA, ""],
            "paraphrases": [["A!"], None, "[]"],
        }
    )
    assert table(frame) == [Memory("A.", id="7", label="x", paraphrases=("A!",)), Memory("B."), Memory("C.")]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"txt": ["A."]}, "no column 'text' (found: txt)"),
        ({"text": ["A."], "paraphrase": [["B."]]}, "'paraphrase': did you mean 'paraphrases'?"),
        ({"text": ["A."], "position": [1]}, "column 'position', which is the name of another one"),
        ({"text": ["A.", ""]}, "Row 2 (index 1), column 'text': the cell is empty"),
        ({"text": ["A.", None]}, "Row 2 (index 1), column 'text': the cell is empty"),
        ({"text": ["A.", "  "]}, "Row 2 (index 1), column 'text': the text of a memory is empty"),
        ({"text": ["A.", 3]}, "Row 2 (index 1), column 'text': a string is needed"),
        ({"text": ["A.", "B."], "paraphrases": ["[]", "plain"]}, "Row 2 (index 1), column 'paraphrases': not a JSON list"),
        ({"text": ["A.", "B."], "questions": ["[]", "{}"]}, "Row 2 (index 1), column 'questions': a list is needed"),
        ({"text": ["A.", "B."], "questions": [[], [["Who?"]]]}, "Row 2 (index 1): a question must be [question, answer]"),
        ({"text": ["A.", "B."], "id": ["a", "a/b"]}, "Row 2 (index 1): 'a/b' cannot be the id"),
        ({"text": ["A.", "B."], "label": ["a", ["b"]]}, "Row 2 (index 1), column 'label': a string is needed"),
        ({"text": ["A.", "B.", "A."]}, "Row 1 (index 0) and Row 3 (index 2) have the same text"),
    ],
)
def test_table_errors_name_row_and_column(columns, says):
    with pytest.raises(MemsciError) as caught:
        table(pd.DataFrame(columns))
    assert says in str(caught.value)


SAME = [Memory("A.", "a"), Memory("B.", "b")]
TABLE = pd.DataFrame({"text": ["A.", "B."], "id": ["a", "b"]})


@pytest.mark.parametrize(
    "frame",
    [
        TABLE.set_index("id"),
        TABLE.set_index("id").rename_axis(None),
        TABLE.rename(columns={"text": "Text ", "id": "ID"}),
        TABLE.set_index("id")["text"],
        TABLE.set_index("text"),
        TABLE.set_index(["id", "text"]),
        TABLE.iloc[::-1][::-1].set_axis([7, 3]),  # row numbers of a larger table
        pd.read_parquet(io.BytesIO(TABLE.set_index("id").to_parquet())),
        TABLE.assign(**{"Unnamed: 2": None, "": ""}),
    ],
)
def test_an_index_of_a_known_name_is_a_column(frame):
    assert table(frame) == SAME


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (TABLE.set_axis(["a", "b"]), "index of the table has no name and holds 'a'"),
        (TABLE.set_axis([0.5, 1.5]), "index of the table has no name and holds 0.5"),
        (pd.DataFrame([["A.", "B."]], columns=["text", "text.1"]), "more than one column 'text'"),
        (TABLE.set_index("id", drop=False), "more than one column 'id'"),
        (TABLE.assign(**{"Unnamed: 2": [None, "x"]}), "Column 3 has no name and holds 'x'"),
        (TABLE.assign(id=[2.0**60, 1.0]), "lost its last digits"),
        (3, "a list of texts or of Memory objects, not int"),
        ("a text.", 'A text goes into a list: ["…"]'),
    ],
)
def test_what_would_be_lost_is_refused(frame, says):
    with pytest.raises(MemsciError) as caught:
        table(frame)
    assert says in str(caught.value)


UNWRITABLE = ["a\ud800b", "\udcff", "a\0b", "\0"]


@pytest.mark.parametrize("bad", UNWRITABLE)
@pytest.mark.parametrize(
    "make",
    [
        lambda bad: Memory(bad),
        lambda bad: Memory(TEXT, label=bad),
        lambda bad: Memory(TEXT, id=bad),
        lambda bad: Memory(TEXT, paraphrases=["P.", bad]),
        lambda bad: Memory(TEXT, questions=[[bad, "Nora"]]),
        lambda bad: Memory(TEXT, questions=[{"question": "Who?", "answer": bad}]),
        lambda bad: Question("Who?", "Nora", (bad,)),
        lambda bad: Partition(bad, [Memory(TEXT)]),
        lambda bad: QuizItem(bad, "Who?", ("a", "b", "c", "d"), 0),
        lambda bad: QuizItem("s", bad, ("a", "b", "c", "d"), 0),
        lambda bad: QuizItem("s", "Who?", ("a", "b", "c", bad), 0),
        lambda bad: table(pd.DataFrame({"text": [TEXT], "label": [bad]}, dtype=object)),
        lambda bad: table(pd.DataFrame({"text": [TEXT], "questions": [json.dumps([["Who?", bad]])]})),
    ],
)
def test_text_that_cannot_be_written_is_refused_wherever_it_comes_in(make, bad):
    with pytest.raises(MemsciError, match="Unicode|cannot be the id"):
        make(bad)


@pytest.mark.parametrize("bad", [3, None, b"Who?", ["Who?"], float("nan")])
@pytest.mark.parametrize(
    "make",
    [
        lambda bad: Memory(bad),
        lambda bad: Memory(TEXT, label=bad),
        lambda bad: Memory(TEXT, id=bad),
        lambda bad: Memory(TEXT, paraphrases=bad if isinstance(bad, (bytes, float)) else [bad]),
        lambda bad: Memory(TEXT, questions=[[bad, "Nora"]]),
        lambda bad: Memory(TEXT, questions=[["Who?", bad]]),
        lambda bad: Question(bad, "Nora"),
        lambda bad: Question("Who?", "Nora", [bad]),
        lambda bad: Partition("p", [Memory(TEXT)], bad),
        lambda bad: Partition("p", [Memory(TEXT)], [bad]),
    ],
)
def test_what_is_no_text_is_refused_wherever_it_comes_in(make, bad):
    with pytest.raises(MemsciError):
        make(bad)


def test_a_repeated_column_is_refused():
    with pytest.raises(MemsciError, match="more than one column 'text'"):
        table(pd.DataFrame([["A.", "B."]], columns=["text", "text"]))


@pytest.mark.parametrize("unit", ["ns", "us", "s", "D"])
def test_a_date_of_numpy_is_a_date_whatever_its_unit(unit):
    days = {"day": np.datetime64("2024-01-02", unit), "none": np.datetime64("NaT", unit)}
    assert Memory(TEXT, extra=days).extra == {"day": "2024-01-02"}
    if unit != "D":
        assert Memory(TEXT, extra={"time": np.datetime64("2024-01-02T03:04", unit)}).extra == {"time": "2024-01-02T03:04:00"}
    with pytest.raises(MemsciError, match="'lag' of memory .* must hold texts, numbers or truth values"):
        Memory(TEXT, extra={"lag": np.timedelta64(5, unit)})
