"""Tables as people have them: every quirk of files and frames, alone and in pairs, loads right or says what to do."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from memsci.data import questions, table
from memsci.errors import MemsciError
from memsci.files import content
from memsci.memory import RESERVED, Memory, Question, to_frame

# ------------------------------------------------------------------------------------------------- a generator of tables

NAMES = ["Nora", "NA", "Łucja", "José", "null", "Zoë", "Ann", "Ben"]
PLACES = ["Bergen", "Kraków", "the “old” mill", "Neuß", "Lyon; France", "a shed, by the lake", "Graz", "Porto"]
CONDITIONS = ["near", "far"]


@dataclass
class Odd:
    """A table in the making: what it should give, and how it is written."""

    memories: list[Memory]
    rng: random.Random
    kind: str = "csv"
    sep: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    options: dict = field(default_factory=dict)
    form: str = "json"  # of the questions
    decimal: str = "."
    rename: dict = field(default_factory=dict)
    before: list = field(default_factory=list)  # lines above the header
    blank: bool = False
    index: bool = False
    twice: str = ""
    unnamed: bool = False
    broken: str = ""  # what a message must name, if it cannot load
    means: dict = field(default_factory=dict)  # what is said of headers

    def cells(self) -> tuple[list[str], list[list]]:
        header = ["id", "text", "label", "condition", "list", "rating"]
        forms = {"json": ["questions"], "long": ["question", "answer"], "ids": ["question", "answer"],
                 "wide": ["question_1", "answer_1", "question_2", "answer_2"]}  # fmt: skip
        rows = []
        for one in self.memories:
            known = [one.id, one.text, one.label, *(one.extra.get(name) for name in ("condition", "list", "rating"))]
            asked = [(q.text, q.answer) for q in one.questions]
            if self.form == "json":
                rows.append([*known, json.dumps(asked, ensure_ascii=False)])
            elif self.form == "wide":
                rows.append([*known, *(cell for pair in asked for cell in pair)])
            else:
                for k, pair in enumerate(asked):
                    rows.append([*(known if self.form == "long" or k == 0 else [one.id, None, None, *known[3:]]), *pair])
        return [*header, *forms[self.form]], rows

    def write(self, folder: Path):
        header, rows = self.cells()
        header = [self.rename.get(name, name) for name in header]
        self.means = {name: meaning for name, meaning in self.means.items() if name in header[self.index :]}
        if self.twice:
            header = [*header, self.twice]
            rows = [[*row, "again"] for row in rows]
        if self.unnamed:
            header = [*header, "", ""]
            rows = [[*row, None, None] for row in rows]
        if self.kind == "frame":
            frame = pd.DataFrame(rows, columns=header, dtype=object)
            return frame.set_index(header[0]).rename_axis(None) if self.index else frame
        if self.blank:
            rows = [one for row in rows for one in (row, [None] * len(header))]
        path = folder / f"memories.{self.kind}"
        if self.kind == "xlsx":
            frame = pd.DataFrame([*self.before, header, *rows], dtype=object)
            with pd.ExcelWriter(path) as writer:
                frame.to_excel(writer, header=False, index=False)
                if self.options.get("sheet"):
                    frame.to_excel(writer, header=False, index=False, sheet_name="other")
            return path
        if self.kind in ("jsonl", "parquet"):
            frame = pd.DataFrame(rows, columns=header, dtype=object)
            if self.kind == "parquet":
                frame.astype({name: str for name in header if name == "id"}).to_parquet(path)
            else:
                path.write_text("".join(json.dumps(dict(zip(header, row))) + self.newline for row in rows), "utf-8")
            return path
        text = io.StringIO()
        quoting = csv.QUOTE_ALL if self.newline == "\r" else csv.QUOTE_MINIMAL  # by which it would leave \n as it is
        writer = csv.writer(text, delimiter=self.sep, lineterminator=self.newline, quoting=quoting)
        for row in [*self.before, header, *rows]:
            write = lambda cell: str(cell).replace(".", self.decimal) if isinstance(cell, float) else cell
            gap = self.options.get("R") and any(row) and "rating"  # as R writes a missing number
            writer.writerow(["NA" if cell is None and gap == name else write(cell) for name, cell in zip(header, row)])
        path.write_bytes(text.getvalue().encode(self.encoding))
        return path


def clean(rng: random.Random) -> list[Memory]:
    memories = []
    for k in range(rng.randint(2, 5)):
        name, place, year = NAMES[k], rng.choice(PLACES), rng.randint(1950, 2020)
        questions = [(f"Who met a fox near {place} in {year}, case {k}?", name), (f"When was case {k}?", str(year))]
        extra = {"condition": CONDITIONS[k % 2], "list": f"{k:03}", "rating": rng.randint(1, 6) + 0.5}
        memories.append(Memory(f"{name} met a fox near {place} in {year}.", f"m0{k}", name, (), questions, extra))
    return memories


def newline_in_cell(odd: Odd) -> None:
    first = odd.memories[0]
    odd.memories[0] = Memory(first.text + "\nIt was wet.", first.id, first.label, (), first.questions, first.extra)


def missing_rating(odd: Odd) -> None:
    del odd.memories[1].extra["rating"]
    odd.options["R"] = odd.kind in ("csv", "tsv") and odd.form in ("json", "long", "wide")


def no_text(odd: Odd) -> None:
    odd.form = "json"
    odd.rename["text"] = "story"
    odd.broken = "no column 'text'"


def of(**values):
    return lambda odd: odd.__dict__.update(values)


def renamed(**names):
    return lambda odd: odd.rename.update(names)


def german(odd: Odd) -> None:
    """Said what they mean, headers may be any."""
    names = {"text": "Gedächtnis", "question": "Frage", "answer": "Antwort", "questions": "Fragen", "id": "Kürzel"}
    names |= {f"{name}_{k}": f"{names[name]} {k}" for name in ("question", "answer") for k in (1, 2)}
    odd.rename |= {name: own for name, own in names.items() if name not in odd.rename}
    odd.means = {own: name for name, own in names.items()}


QUIRKS = {
    "semicolons and decimal commas": of(sep=";", decimal=","),
    "tabs": of(sep="\t"),
    "bars": of(sep="|"),
    "UTF-8 with its mark": of(encoding="utf-8-sig"),
    "UTF-16": of(encoding="utf-16"),
    "cp1250": of(encoding="cp1250", broken="not valid UTF-8"),
    "CRLF": of(newline="\r\n"),
    "CR": of(newline="\r"),
    "newlines in cells": newline_in_cell,
    "blank rows": of(blank=True),
    "columns without a name": of(unnamed=True),
    "capitals and spaces": renamed(text=" Text", id="ID ", label="LABEL"),
    "long form": of(form="long"),
    "long form by ids": of(form="ids"),
    "numbered questions": of(form="wide"),
    "a missing rating": missing_rating,
    "Excel": of(kind="xlsx"),
    "a DataFrame": of(kind="frame"),
    "ids as the index": of(kind="frame", index=True),
    "JSON Lines": of(kind="jsonl"),
    "Parquet": of(kind="parquet"),
    "a header twice": of(twice="condition", broken="more than one column 'condition'"),
    "a header in German": of(twice="Frage 2", broken="columns={'Frage 2': 'question_2'}"),
    "all headers in German": german,
    "a slip in a header": of(twice="paraphrase", broken="did you mean 'paraphrases'"),
    "a name that responses have": of(twice="position", broken="rename it"),
    "a title above": of(before=[["My items"] + [""] * 6], broken="looks like the header"),
    "no text": no_text,
}
# Kinds of file that have no such thing.
OF_TEXT = {"semicolons and decimal commas", "tabs", "bars", "UTF-8 with its mark", "UTF-16", "cp1250", "CR", "CRLF"}
WITHOUT_LINES = {"blank rows", "a title above", "columns without a name"}
BINARY = {"Excel", "a DataFrame", "ids as the index", "JSON Lines", "Parquet"}
ONE_OF = [
    {"long form", "long form by ids", "numbered questions", "no text"},
    {"a header twice", "a header in German", "all headers in German", "a slip in a header", "a name that responses have"},
    {"semicolons and decimal commas", "tabs", "bars"},
    {"UTF-8 with its mark", "UTF-16", "cp1250"},
    {"CR", "CRLF"},
    BINARY,
]


def possible(*quirks: str) -> bool:
    given = set(quirks)
    if any(len(given & few) > 1 for few in ONE_OF) or (given & BINARY and given & OF_TEXT):
        return False
    if given & (BINARY - {"Excel"}) and given & WITHOUT_LINES:
        return False
    # A frame and an object have each name once; Excel's title needs as many cells.
    return not ("a header twice" in given and given & {"JSON Lines", "Parquet"})


ALONE = [(one,) for one in QUIRKS]
PAIRS = [pair for pair in itertools.combinations(QUIRKS, 2) if possible(*pair)]


@pytest.mark.parametrize("quirks", [*ALONE, *PAIRS], ids=" + ".join)
def test_odd_tables_load_right_or_say_what_to_do(tmp_path, quirks):
    rng = random.Random(" ".join(quirks))
    odd = Odd(clean(rng), rng)
    said = []
    for name in quirks:
        odd.broken = ""
        QUIRKS[name](odd)
        said += [odd.broken] * bool(odd.broken)
    source = odd.write(tmp_path)
    if "cp1250" in quirks and source.read_bytes().isascii():
        said.remove(QUIRKS["cp1250"](odd) or odd.broken)
    if "a title above" in quirks:
        said.append("has no name")  # where no header is found below the title
    if said:
        with pytest.raises(MemsciError) as caught:
            table(source, columns=odd.means or None)
        assert any(one in str(caught.value) for one in said)
    else:
        found = table(source, columns=odd.means or None)
        assert found == odd.memories
        assert [list(map(type, one.extra.values())) for one in found] == [
            list(map(type, one.extra.values())) for one in odd.memories
        ]


def test_there_are_enough_odd_tables():
    assert len(ALONE) + len(PAIRS) >= 200


# ---------------------------------------------------------------------------------------------------------- one by one


def file(tmp_path, content: str | bytes, name: str = "m.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text;rating\nA.;1,234.5\n", "Row 2, column 'rating', has '1,234.5': is it a decimal comma"),
        ('text,rating\nA.,"1,234"\n', "decimal=','"),
        ("text;rating\nA.;1.5\nB.;2,5\n", "Row 3, column 'rating', has '2,5' and Row 2 '1.5'"),
        ("text,id\nA.,a\n\n,b\n,c\n", "Row 4, row 5, column 'text': the cell is empty"),
        ("text,question,answer\nA.,Who?,\n", "Row 2, column 'answer': the cell is empty"),
        ("text,question\nA.,Who?\n", "column 'question' and no column 'answer'"),
        ("text,question,answer\nA.,Who?,Ann\n,When?,May\n", "Row 3 has neither text nor id"),
        ("text,id,question,answer\nA.,a,Who?,Ann\nB.,a,When?,May\n", "Row 2 and Row 3 are about one memory, and differ"),
        ("text,question,answer\nA.,Who?,Ann\nA.,Who?,Ann\n", "not once for every participant"),
        ("text,question,answer\nA.,,\nA.,,\n", "Row 2, row 3 are about one memory and ask nothing"),
        ("text,question_1,answer_1\nA.,Who?,\n", "Row 2, column 'answer_1': the cell is empty"),
        ("text,question,answer,question,answer\nA.,Who?,Ann,When?,May\n", "answer_1, answer_2"),
        ("text:id\nA.:a\n", "such as sep=';'"),
        ("A.\nB.\n", "The first row names the columns"),
        ('text,id\nHe said "no",a\n"A" b,b\n', "line 3: not a well-formed CSV file"),
        ("A.\x00B\x00".join("text\n"), "encoding='utf-16-le'"),
    ],
)
def test_what_cannot_be_read_names_row_and_remedy(tmp_path, content, says):
    with pytest.raises(MemsciError) as caught:
        table(file(tmp_path, content))
    assert says in str(caught.value) and "m.csv" in str(caught.value)


def test_what_was_not_recognised_can_be_said(tmp_path):
    assert table(file(tmp_path, "text:id\nA.:a\n"), sep=":") == [Memory("A.", "a")]
    assert table(file(tmp_path, "text\nNeuß.\n", encoding="cp1252"), encoding="cp1252") == [Memory("Neuß.")]
    path = file(tmp_path, 'text,rating\nA.,"1,234"\n')
    assert table(path, decimal=",")[0].extra == {"rating": 1.234}
    with pytest.raises(MemsciError, match="rating"):
        table(path, decimal=".")
    for wrong in ({"sep": ", "}, {"encoding": "utf-9"}, {"decimal": ";"}):
        with pytest.raises(MemsciError):
            table(path, **wrong)
    for name, value in (("sep", ";"), ("encoding", "utf-8"), ("sheet", "one")):
        with pytest.raises(MemsciError, match=f"{name} says how to read a file"):
            table(["A."], **{name: value})


def test_columns_of_other_names_are_said_to_mean_something(tmp_path):
    """The message says how; by that, the table loads, whatever the letter case and the space around."""
    path = file(tmp_path, "Gedächtnis ;Frage;Antwort;Bedingung\nNora traf Omar.;Wen traf Nora?;Omar;nah\n")
    with pytest.raises(MemsciError) as said:
        table(path)
    means = {"Gedächtnis": "text", "Frage": "question", "Antwort": "answer"}
    assert f"columns={means}" in str(said.value)
    (one,) = table(path, columns={**means, "bedingung": "condition"})
    assert one.text == "Nora traf Omar." and one.extra == {"condition": "nah"}
    assert [(question.text, question.answer) for question in one.questions] == [("Wen traf Nora?", "Omar")]
    assert table(pd.DataFrame({"Story": ["A."], "rating": [3]}), columns={"Story": "text"})[0].extra == {"rating": 3}
    with pytest.raises(MemsciError, match=r"no column 'text' \(found: Story\).*columns=\{'Story': 'text'\}"):
        table(pd.DataFrame({"Story": ["A."]}))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"Txt": "text"}, r"no column 'Txt', which was said to mean 'text' \(found: Story, rating\)"),
        ({"text": "Story"}, r"Its own name comes first: columns=\{'Story': 'text'\}"),
        ({"Story": "text", "rating": "text"}, "more than one column 'text'"),
        ({"Story": 3}, r"such as columns=\{'Frage': 'question'\}; \{'Story': 3\} was given"),
        (["text"], "columns says what each name means"),
    ],
)
def test_what_columns_mean_must_be_so(columns, says):
    with pytest.raises(MemsciError, match=says):
        table(pd.DataFrame({"Story": ["A."], "rating": [3]}), columns=columns)
    with pytest.raises(MemsciError, match="list is none"):
        table(["A."], columns={"Story": "text"})


def test_questions_are_read_by_id_or_by_text(tmp_path):
    path = file(tmp_path, "id,question,answer,list\nnora,Who?,Nora,1\nnora,Where?,here,2\nben,Who?,Ben,1\n")
    nora, ben = questions(path)
    assert (nora.id, nora.text, nora.where, len(nora.questions)) == ("nora", None, "Row 2", 2)
    assert nora.questions[1].extra == {"list": 2} and ben.questions[0].answer == "Ben"
    frame = pd.DataFrame({"Geschichte": ["A.", "B."], "question_1": ["Who?", None], "answer_1": ["A", None]})
    (one,) = questions(frame, columns={"Geschichte": "text"})
    assert (one.id, one.text) == (None, "A.")
    for given, says in (
        (pd.DataFrame({"question": ["Who?"], "answer": ["A"]}), "no column 'id' and none 'text'.*'question': 'id'"),
        (pd.DataFrame({"id": ["a", None], "question_1": ["W?"] * 2, "answer_1": ["A"] * 2}), "Row 2.*neither id nor text"),
        (pd.DataFrame({"id": ["a"], "question": ["Who?"], "answer": [None]}), "Row 1.*a question needs its answer"),
        (pd.DataFrame({"id": ["a"], "text": ["A."]}), "The table asks nothing"),
        (["Who?"], "a file or a DataFrame, not list"),
    ):
        with pytest.raises(MemsciError, match=says):
            questions(given)


def test_a_line_for_excel_names_the_separator(tmp_path):
    assert table(file(tmp_path, "sep=;\r\ntext;id\r\nA, a.;a\r\n")) == [Memory("A, a.", "a")]


def test_cells_of_excel(tmp_path):
    """Numbers as ids, formulas without a value, dates, merged cells and sheets."""
    frame = pd.DataFrame(
        {"id": [7, 8], "text": ["A.\r\nB.", "NA"], "day": pd.to_datetime(["2024-05-01", None]), "seen": [True, None]}
    )
    frame.to_excel(tmp_path / "m.xlsx", index=False)
    one, two = table(tmp_path / "m.xlsx")
    assert (one.id, one.text, one.extra) == ("7", "A.\nB.", {"day": "2024-05-01", "seen": True})
    assert (two.id, two.text, two.extra) == ("8", "NA", {})
    with pd.ExcelWriter(tmp_path / "two.xlsx") as writer:
        frame.to_excel(writer, sheet_name="items", index=False)
        frame.to_excel(writer, sheet_name="old", index=False)
    with pytest.raises(MemsciError, match="2 sheets that are not empty: 'items', 'old'"):
        table(tmp_path / "two.xlsx")
    assert table(tmp_path / "two.xlsx", sheet="old") == table(tmp_path / "m.xlsx")
    with pytest.raises(MemsciError, match="sheet must be one of 'items', 'old'"):
        table(tmp_path / "two.xlsx", sheet="new")
    frame.assign(text=["A.", None]).to_excel(tmp_path / "gap.xlsx", index=False)
    with pytest.raises(MemsciError, match="Row 3, column 'text'"):
        table(tmp_path / "gap.xlsx")


def test_texts_alone_are_memories():
    texts = ["Nora hid the letter.", "Ben lost his hat."]
    expected = [Memory(text) for text in texts]
    assert table(texts) == table(tuple(texts)) == table(pd.Series(texts)) == table(np.array(texts)) == expected
    assert table(pd.Series(texts, index=["a", "b"])) == [Memory(texts[0], "a"), Memory(texts[1], "b")]
    assert table(iter(expected)) == expected
    for wrong in (3, None, Memory("A."), [3], [{"text": "A."}]):
        with pytest.raises(MemsciError):
            table(wrong)


def test_extra_columns_of_questions_and_of_memories(tmp_path):
    """What differs within a memory is of its questions, in all memories; the rest is of the memories."""
    content = "id,text,condition,kind,question,answer\na,A.,near,cue,Who?,Ann\na,,near,free,When?,May\n"
    one, two = table(file(tmp_path, content + "b,B.,far,cue,Who?,Ben\n"))
    assert one == Memory(
        "A.", "a", questions=[Question("Who?", "Ann", (), {"kind": "cue"}), Question("When?", "May", (), {"kind": "free"})],
        extra={"condition": "near"},
    )  # fmt: skip
    assert two.extra == {"condition": "far"} and two.questions[0].extra == {"kind": "cue"}
    # A row of the memory itself, and rows of its questions.
    content = "id,text,condition,question,answer\na,A.,near,,\na,,,Who?,Ann\na,,,When?,May\n"
    [one] = table(file(tmp_path, content))
    assert one.extra == {"condition": "near"} and [q.extra for q in one.questions] == [{}, {}]
    questions = '[{""question"": ""Who?"", ""answer"": ""Ann"", ""kind"": ""cue""}]'
    [one] = table(file(tmp_path, f'text,questions\nA.,"{questions}"\n'))
    assert one.questions[0].extra == {"kind": "cue"}


def test_other_wordings_in_columns(tmp_path):
    [one] = table(file(tmp_path, "text,Paraphrase 10,paraphrase2,paraphrase_1\nA.,D.,C.,\n"))
    assert one.paraphrases == ("C.", "D.")


def test_columns_of_numbers(tmp_path):
    content = "text,n,x,code,name,na\nA.,1,1e-3,007,3b,NA\nB.,NA,.5,12,4,NA\nC.,-2,,3,5,NA\n"
    assert [one.extra for one in table(file(tmp_path, content))] == [
        {"n": 1, "x": 0.001, "code": "007", "name": "3b", "na": "NA"},
        {"x": 0.5, "code": "12", "name": "4", "na": "NA"},
        {"n": -2, "code": "3", "name": "5", "na": "NA"},
    ]


MEMORIES = [
    Memory("A.", "a", questions=[Question("Who?", "Ann", (), {"kind": "cue"})], extra={"list": 1, "rating": 2.5}),
    Memory("B.", "b", questions=[Question("Who?", "Ben")], extra={"list": 2}),
]


@pytest.mark.parametrize("way", ["frame", "jsonl", "parquet"])
def test_extra_columns_come_back(tmp_path, way):
    frame = to_frame(MEMORIES)
    assert list(frame.columns) == ["text", "id", "label", "paraphrases", "questions", "list", "rating"]
    if way == "jsonl":
        frame.to_json(tmp_path / "m.jsonl", orient="records", lines=True)
    elif way == "parquet":
        frame.to_parquet(tmp_path / "m.parquet")
    assert table(frame if way == "frame" else tmp_path / f"m.{way}") == MEMORIES


@pytest.mark.parametrize("name", sorted(RESERVED | {"text", "questions"}))
def test_names_of_other_columns_are_refused(name):
    with pytest.raises(MemsciError, match="rename it"):
        Memory("A.", extra={name: 1})


@pytest.mark.parametrize("value", [[1], {"a": 1}, float("inf"), b"x", "a\0", object()])
def test_an_extra_value_is_a_text_a_number_or_a_truth_value(value):
    with pytest.raises(MemsciError, match="extra column 'x'"):
        Memory("A.", extra={"x": value})
    assert Memory("A.", extra={"x": np.int64(3), "y": None, "z": float("nan"), "w": " "}).extra == {"x": 3}


def test_identities_of_memories_without_extra_columns_are_what_they_were():
    assert content(Memory("A.", "a", questions=[("Who?", "Ann")])) == (
        "e774b8b5b0b7bb4324f9c921f654642f30881802d6efbe9ada2e6a262be23366"
    )
    assert content(MEMORIES[0]) != content(Memory("A.", "a", questions=[("Who?", "Ann")]))
    assert hash(MEMORIES[0]) == hash(Memory("A.", "a", questions=[("Who?", "Ann")]))


# ---------------------------------------------------------------------------------- through stores, responses and scores


@pytest.fixture
def mind(base, tmp_path, monkeypatch):
    from memsci.config import Encoding, GateRule
    from memsci.learners.mega import MEGa

    monkeypatch.setattr(MEGa, "recall_tokens", 4)
    return MEGa(base, store=tmp_path / "store", encoding=Encoding(rank=2, epochs=1), gate=GateRule())


FRAME = pd.DataFrame(
    {
        "text": ["Ann ran.", "Ben sat.", "Ann ran."],
        "id": ["a", "b", "a"],
        "condition": ["near", "far", "near"],
        "rating": [1, np.nan, 1],
        "kind": ["cue", "cue", "free"],
        "question": ["Who ran?", "Who sat?", "What did Ann?"],
        "answer": ["Ann", "Ben", "run"],
    }
)


def test_extra_columns_come_through_the_store(mind, tmp_path):
    from memsci.store.store import Store

    mind.encode(FRAME, progress=False)
    plain = mind.encode(["Cal swam."], progress=False)["id"][0]
    assert mind.encode(FRAME, progress=False).empty  # the same memories
    with pytest.raises(MemsciError, match=r'goes into a list: \["…"\]'):
        mind.encode("Cal swam.", progress=False)
    for _ in range(2):
        records = {one.id: one.extra for one in Store.open(tmp_path / "store").records}
        assert records == {"a": {"condition": "near", "rating": 1}, "b": {"condition": "far"}, plain: None}
        for catalogue in (tmp_path / "store").glob(".catalogue*"):  # made anew from the memories' own folders
            for one in catalogue.iterdir():
                one.unlink()
            catalogue.rmdir()
    told = json.loads((tmp_path / "store" / "memories" / plain / "memory.json").read_text())
    assert "extra" not in told and json.loads((tmp_path / "store" / "memories" / "b" / "memory.json").read_text())["extra"]


def test_extra_columns_come_to_responses_and_scores(mind):
    from memsci import evaluate

    mind.encode(FRAME, progress=False)
    said = evaluate.ask(mind, FRAME)
    assert list(said) == [*evaluate.RESPONSE, "condition", "rating", "kind"]
    assert said["condition"].tolist() == ["near", "near", "far"] * 2 and said["kind"].tolist() == ["cue", "free", "cue"] * 2
    assert said.equals(evaluate.ask(mind, evaluate.probes(table(FRAME))))
    scores = evaluate.score(said.assign(method="MEGa"), embed=lambda texts: [[1.0, len(text)] for text in texts])
    logprob = scores[scores["metric"] == "logprob"]
    assert logprob["condition"].tolist() == said["condition"].tolist() and logprob["kind"].tolist() == said["kind"].tolist()
    assert len(evaluate.summary(scores)) == 2


def test_names_of_responses_and_scores_are_reserved():
    from memsci import evaluate

    row = dict.fromkeys(evaluate.RESPONSE, ["a"]) | {"position": 1, "logprob": 0.0, "tokens": 1, "method": "MEGa"}
    scores = evaluate.score(pd.DataFrame({**row, "way": "direct", "gate": "own"}), embed=lambda texts: [[1.0]] * len(texts))
    assert RESERVED >= {*evaluate.RESPONSE, *evaluate.KEYS, *scores}


def test_learners_and_gates_take_what_a_table_is_made_of(base):
    from memsci import evaluate, learners

    learner = learners.make("Base", base)
    assert learner.learn(FRAME)["memory_id"].tolist() == ["a", "b"]
    words = {"words": evaluate.gate_accuracy.EMBEDDINGS["TF-IDF"]}
    assert len(evaluate.gates(None, FRAME, words)) == 1


def test_compositional_questions_have_what_their_memories_share():
    from memsci import evaluate
    from memsci.memory import Partition

    one, two = (Memory(text, text[0], extra={"list": 1, "condition": text[0]}) for text in ("A.", "B."))
    world = Partition("p", (one, two), (Question("Both?", "yes", ("A", "B"), {"kind": "joint"}),))
    asked = evaluate.compositional_probes(world)
    assert asked.to_dict("records")[0].items() >= {"list": 1, "kind": "joint"}.items() and "condition" not in asked


def test_numbered_questions_stand_in_any_row_of_their_memory_and_own_columns_may_begin_alike(tmp_path):
    rows = ["id,text,question,answer,question_1,answer_1,question_type,answer_rt"]
    rows += ["n,Nora hid it.,Where?,Here,,,place,310", "n,,When?,Now,Who?,Nora,time,420"]
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    [memory] = table(tmp_path / "t.csv")
    assert {one.text: one.answer for one in memory.questions} == {"Where?": "Here", "When?": "Now", "Who?": "Nora"}
    of = {one.text: one.extra for one in memory.questions}
    assert of["When?"] == {"question_type": "time", "answer_rt": 420} and of["Where?"]["answer_rt"] == 310
