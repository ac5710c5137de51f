"""Sources of memories: tables of one's own, the published files, MMLU."""

from __future__ import annotations

import doctest
import hashlib
import json
import os
import pickle
import struct
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest
from conftest import DATA

from memsci.data import mmlu, published, table
from memsci.data.published import CHECKSUMS, COMMIT, FOLDERS, file_name, read_pickle
from memsci.errors import MemsciError
from memsci.memory import Memory, Partition, Question, QuizItem, to_frame

needs_data = pytest.mark.skipif(not (DATA / "mega").is_dir(), reason="no published data: set MEMSCI_DATA")


# ------------------------------------------------------------------------------------------------------------- tables

MEMORIES = [
    Memory('Nora hid the letter,\nin the "old" piano.', "one", "letter", ("Another.",), (Question("Who?", "Nora"),)),
    Memory("NA"),  # a text, not a missing value
    Memory("Ünï — cödé"),
]


def write(path: Path, memories=MEMORIES) -> Path:
    frame = to_frame(memories)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame["paraphrases"] = frame["paraphrases"].map(json.dumps)
        frame["questions"] = frame["questions"].map(json.dumps)
        frame.to_csv(path, index=False)
    else:
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")) + "\n\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.CSV", "m.jsonl", "m.ndjson", "m.parquet"])
def test_a_table_gives_back_the_memories(tmp_path, name):
    path = write(tmp_path / name.lower()).rename(tmp_path / name)
    assert table(path) == table(str(path)) == MEMORIES


def test_only_the_text_is_needed(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes('\ufefftext\r\nA.\r\n\r\n"B, b."\r\n'.encode())
    assert table(path) == [Memory("A."), Memory("B, b.")]
    path = tmp_path / "m.jsonl"
    path.write_text('{"text": "A.", "id": 7}\n{"text": "B.", "questions": [["Who?", "Nora"]]}')
    assert table(path) == [Memory("A.", "7"), Memory("B.", questions=(Question("Who?", "Nora"),))]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.csv", b"", "the file is empty"),
        ("m.csv", b"text\n", "the table has no rows"),
        ("m.csv", b"txt\nA.\n", "no column 'text' (found: txt)"),
        ("m.csv", b"text,tokens\nA.,fine\n", "column 'tokens', which is the name of another one"),
        ("m.csv", b"text,text\nA.,B.\n", "more than one column 'text'"),
        ("m.csv", b"text,id\nA.,a\n,b\n", "Row 3, column 'text': the cell is empty"),
        ("m.csv", b"text,id\nA.,a\n  ,b\n", "Row 3, column 'text'"),
        ("m.csv", b"text,id\nA.,a\nB.,a\n", "Row 2 and Row 3 have the same id 'a'"),
        ("m.csv", b"text\nA.\nB.\nA.\n", "Row 2 and Row 4 have the same text"),
        ("m.csv", b'text,id\n"A\na.",a\nB, b.,b\n', "Row 3 (it ends on line 4) has 3 cells where the header has 2"),
        ("m.csv", b"text,id\nA.,a\nB.\n", "Row 3 (it ends on line 3) has 1 cells"),
        ("m.csv", b'text\n"A.\n', "not a well-formed CSV"),
        ("m.csv", b"text\nA\xff.\n", "not valid UTF-8 text (byte 6)"),
        ("m.csv", b"text,questions\nA.,Who?\n", "Row 2, column 'questions': not a JSON list"),
        ("m.jsonl", b"", "the file is empty"),
        ("m.jsonl", b'{"text": "A."}\n{"text": \n', "line 2: not valid JSON"),
        ("m.jsonl", b'{"text": "A."}\n"B."\n', "line 2: an object"),
        ("m.jsonl", b'{"text": "A."}\n{"txt": "B."}\n', "Line 2, column 'text': the cell is empty"),
        ("m.jsonl", b'{"text": "A."}\n{"id": "b"}\n', "Line 2, column 'text': the cell is empty"),
        ("m.jsonl", b'{"text": "A."}\n{"text": ["B."]}\n', "Line 2, column 'text': a string is needed"),
        ("m.parquet", b"no parquet", "not a well-formed Parquet file"),
        ("m.csv", b"text,,\nA.,,\nB.,,x\n", "Column 3 has no name and holds 'x'"),
        ("m.jsonl", b'{"text": "A.", "text": "B."}\n', "line 1: 'text' stands twice"),
        ("m.jsonl", b'{"text": "A.", "label": "\\ud800"}\n', "Line 1, column 'label': the label holds"),
        ("m.csv", b"text,id\nA\0.,a\n", "Row 2, column 'text'"),
        ("m.ods", b"", "must end in .csv, .tsv, .txt, .xlsx, .xlsm, .jsonl, .ndjson, .parquet"),
        ("m.xlsx", b"no workbook", "not a well-formed Excel workbook"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_row(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MemsciError) as caught:
        table(path)
    assert says in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "source", [{"nora": "Nora hid the letter."}, {"text": ["A."], "id": ["a"]}, {"A.", "B."}, frozenset(), b"A.", {}.keys()]
)
def test_what_is_no_list_of_texts_is_refused(source):
    with pytest.raises(MemsciError, match=f"not {type(source).__name__}.*DataFrame with the columns text and id"):
        table(source)


def test_a_csv_holds_texts_of_any_length(tmp_path):
    path, long = tmp_path / "m.csv", "Nora hid it. " * 20_000
    path.write_text(f"text,id\nA.,a\n{long},b\n")
    assert [one.text for one in table(path)] == ["A.", long]
    path.write_text(f'text,id\nA.,a\n"B.,b\n{long},c\n')  # a quote that nothing closes
    with pytest.raises(MemsciError, match="m.csv: line 3: not a well-formed CSV file"):
        table(path)


def test_empty_columns_and_rows_of_a_spreadsheet_are_passed_over(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("text,id,,\nA.,a,,\n,,,\nB.,b,,\n,,,\n")
    assert table(path) == [Memory("A.", "a"), Memory("B.", "b")]


def test_ids_in_the_index_of_a_parquet_file_are_kept(tmp_path):
    to_frame(MEMORIES).set_index("id").to_parquet(tmp_path / "m.parquet")
    assert table(tmp_path / "m.parquet") == MEMORIES


def test_the_home_folder_and_relative_paths_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "m.csv")
    assert table("~/m.csv") == table(Path("~/m.csv")) == table("m.csv") == MEMORIES
    quiz_folder(tmp_path / "quiz" / "mmlu", "What?,1,2,3,4,A\n")
    assert mmlu(["anatomy"], source="~/quiz/mmlu") == mmlu(["anatomy"], source=Path("quiz/mmlu"))
    for folder in ("~/nowhere", tmp_path / "m.csv"):
        with pytest.raises(MemsciError, match=str(tmp_path)):
            published("wiki", 11, folder)
    monkeypatch.setenv("MEMSCI_DATA", "~/quiz")
    assert len(mmlu(["anatomy"])) == 1


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl", "none.parquet"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(MemsciError, match="cannot be read"):
        table(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(MemsciError):
        table(tmp_path / name)


# --------------------------------------------------------------------------------------------------------- partitions


def test_a_partition_checks_its_compositional_questions():
    a, b = Memory("A.", "a"), Memory("B.", "b")
    partition = Partition("p", [a, b], [Question("Both?", "yes", ("a", "b"))])
    assert partition.memories == (a, b) and partition.compositional[0].about == ("a", "b")
    for about in ((), ("a",), ("a", "a"), ("a", "c")):
        with pytest.raises(MemsciError, match="at least two of its memories"):
            Partition("p", [a, b], [Question("Both?", "yes", about)])
    with pytest.raises(MemsciError, match="same id"):
        Partition("p", [a, Memory("C.", "a")])


def wiki_frame(rows: int = 3, order: str = "C") -> pd.DataFrame:
    cells = np.empty((rows, 4), dtype=object, order=order)
    for k in range(rows):
        cells[k] = [f"Theme {k}", f"Passage {k}.", [[f"Who {k}?", "Nora"]], [f"Paraphrase {k}."]]
    return pd.DataFrame(cells, dtype=object, columns=pd.Index(["Theme", "Passage", "QA", "Paraphrases"], dtype=object))


def plain(frame: pd.DataFrame) -> dict[str, list]:
    return {column: list(frame[column]) for column in frame.columns}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_frames_and_lists_are_read(order, protocol):
    frame = wiki_frame(order=order)
    assert read_pickle(pickle.dumps(["a", "b"], protocol)) == ["a", "b"]
    assert read_pickle(pickle.dumps(frame, protocol)) == plain(frame)


def test_a_local_folder_is_read(tmp_path, monkeypatch):
    # Partition 10: no checksum is known, so that a file of our own can stand in.
    for setting, content in (("wiki", wiki_frame()), ("fictional", ["Story one.", "Story two."])):
        folder = tmp_path / "mega" / FOLDERS[setting]
        folder.mkdir(parents=True)
        (folder / file_name(setting, 10)).write_bytes(pickle.dumps(content, 4))
    monkeypatch.setenv("MEMSCI_DATA", str(tmp_path))
    partition = published("wiki", 10)
    assert partition == published("wiki", 10, tmp_path) and partition.name == "wiki-10"
    question = Question("Who 2?", "Nora")
    assert partition.memories[2] == Memory("Passage 2.", "wiki-10-02", "Theme 2", ("Paraphrase 2.",), (question,))
    assert [m.text for m in published("fictional", 10).memories] == ["Story one.", "Story two."]
    assert partition.compositional == ()
    with pytest.raises(MemsciError, match="there is no such file"):
        published("wiki", 11)
    (tmp_path / "mega/wiki" / file_name("wiki", 0)).write_bytes(pickle.dumps(wiki_frame(), 4))
    with pytest.raises(MemsciError, match="not the published file"):
        published("wiki", 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [(["a", 3], "must be a string"), ({"Theme": []}, "columns Theme, Passage"), (["a"], "columns Theme, Passage")],
)
def test_a_file_of_other_content_is_refused(tmp_path, content, says):
    setting = "fictional" if content == ["a", 3] else "wiki"
    path = tmp_path / "mega" / FOLDERS[setting] / file_name(setting, 10)
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(MemsciError) as caught:
        published(setting, 10, tmp_path)
    assert says in str(caught.value) and path.name in str(caught.value)


@pytest.mark.parametrize(("setting", "partition"), [("wikipedia", 0), ("wiki", 20), ("wiki", -1), ("wiki", "0")])
def test_partitions_that_do_not_exist(setting, partition):
    with pytest.raises(MemsciError, match="must be one of"):
        published(setting, partition)


@pytest.mark.parametrize(("setting", "partition", "known"), [("wiki", 3, True), ("fictional", 19, False)])
def test_a_download_is_checked_against_its_checksum(monkeypatch, tmp_path, setting, partition, known):
    calls = {}

    def retrieve(url, known_hash, path, fname):
        calls.update(url=url, known_hash=known_hash)
        target = tmp_path / fname
        target.write_bytes(pickle.dumps(wiki_frame() if setting == "wiki" else ["A story."], 4))
        return str(target)

    monkeypatch.delenv("MEMSCI_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    if known:
        published(setting, partition)
        assert calls["known_hash"] == f"sha256:{CHECKSUMS[setting][partition]}"
    else:
        with pytest.warns(UserWarning, match="No checksum is recorded"):
            published(setting, partition)
        assert calls["known_hash"] is None
    assert f"/xup5/MEGA/{COMMIT}/dataset/" in calls["url"] and calls["url"].endswith(file_name(setting, partition))


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def retrieve(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.delenv("MEMSCI_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(MemsciError, match="no route to host.*MEMSCI_DATA"):
        published("wiki", 0)


# -------------------------------------------------------------------------------------------------- hostile pickles


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def call(module: str, name: str, *args: str) -> bytes:
    """A protocol 4 pickle that looks up module.name and calls it with strings."""
    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + b"".join(map(text, args)) + b"tR."


class Reduced:
    def __init__(self, function, *args):
        self.how = function, args

    def __reduce__(self):
        return self.how


HOSTILE = {
    "os.system": lambda cmd: pickle.dumps(Reduced(os.system, cmd)),
    "os.system in a list": lambda cmd: pickle.dumps(["a story", Reduced(os.system, cmd)]),
    "eval": lambda cmd: pickle.dumps(Reduced(eval, f"__import__('os').system({cmd!r})")),
    "exec": lambda cmd: pickle.dumps(Reduced(exec, f"import os; os.system({cmd!r})")),
    "protocol 0 GLOBAL": lambda cmd: b"cos\nsystem\n(S'" + cmd.encode() + b"'\ntR.",
    "protocol 0 INST": lambda cmd: b"(S'" + cmd.encode() + b"'\nios\nsystem\n.",
    "OBJ": lambda cmd: b"(cos\nsystem\nS'" + cmd.encode() + b"'\no.",
    "posix": lambda cmd: call("posix", "system", cmd),
    "subprocess": lambda cmd: call("subprocess", "getoutput", cmd),
    "getattr": lambda cmd: call("builtins", "getattr", "os", "system"),
    "import": lambda cmd: call("builtins", "__import__", "os"),
    "partial": lambda cmd: call("functools", "partial", cmd),
    "pickle in a pickle": lambda cmd: call("pickle", "loads", cmd),
    "a name with dots": lambda cmd: call("numpy", "ndarray.tofile", cmd),
    "dots to globals": lambda cmd: call("pandas.core.frame", "DataFrame.__init__.__globals__.__getitem__", "sys"),
    "dots in an allowed function": lambda cmd: call("pandas.core.indexes.base", "_new_Index.__globals__.get", "os"),
    "a module reached through another": lambda cmd: call("pandas.core.frame", "sys.modules.get", "os"),
    "another of an allowed module": lambda cmd: call("numpy", "load", cmd),
    "pandas' own way in": lambda cmd: call("pandas.core.frame", "DataFrame.query", cmd),
    "another of builtins": lambda cmd: call("builtins", "open", cmd.split()[-1], "w"),
    "numpy's scalar": lambda cmd: call("numpy._core.multiarray", "scalar", cmd),
    "a persistent id": lambda cmd: b"\x80\x04" + text(cmd) + b"Q.",
    "an extension code": lambda cmd: b"\x80\x04\x82\x01.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_runs_nothing(kind, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    content = HOSTILE[kind](f"touch {trace}")
    with pytest.raises(MemsciError) as caught:
        read_pickle(content)
    assert not trace.exists()
    if kind not in ("a persistent id", "an extension code"):
        assert "refused" in str(caught.value) and "Do not trust this file" in str(caught.value)
    # The same through the door that users take.
    path = tmp_path / "mega" / "wiki" / file_name("wiki", 10)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(MemsciError, match=r"wiki_length_200_300_10\.pkl"):
        published("wiki", 10, tmp_path)
    assert not trace.exists()


def test_these_pickles_do_run_elsewhere(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(HOSTILE["os.system"](f"touch {trace}"))
    assert trace.exists(), "the test above would prove nothing"


def test_the_refusal_names_the_class():
    with pytest.raises(MemsciError, match=r"asks for posix\.system"):
        read_pickle(call("posix", "system", "true"))


def test_a_file_cannot_change_pandas():
    # BUILD on a class sets its attributes: DataFrame.__len__ = slice, if the class were the real one.
    name = text("pandas.core.frame") + text("DataFrame") + b"\x93"
    state = b"N}" + text("__len__") + text("builtins") + text("slice") + b"\x93s\x86"
    with pytest.raises(MemsciError):
        read_pickle(b"\x80\x04" + name + state + b"b)\x81.")
    assert len(pd.DataFrame({"a": [1, 2]})) == 2
    assert read_pickle(pickle.dumps(wiki_frame(), 4)) == plain(wiki_frame())


def test_raw_memory_is_not_taken_for_objects():
    array = np.frombuffer(struct.pack("<4q", 1, 2, 3, 4), dtype="<i8").reshape(2, 2)
    with pytest.raises(MemsciError, match="Python objects"):
        read_pickle(pickle.dumps(pd.DataFrame(array, columns=pd.Index(["a", "b"], dtype=object)), 4))


def test_damaged_files_are_refused():
    content = pickle.dumps(wiki_frame(), 4)
    for damaged in (b"", b"\x80", content[:-1], content[: len(content) // 2], b"plain text", content[::-1]):
        with pytest.raises(MemsciError, match="not a readable pickle|refused"):
            read_pickle(damaged)


# -------------------------------------------------------------------------------------------------- the authors' files


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("partition", [0, 5, 9])
def test_the_published_wiki_is_read_exactly(partition):
    path = DATA / "mega" / "wiki" / file_name("wiki", partition)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == CHECKSUMS["wiki"][partition]
    oracle = pd.read_pickle(path)  # known bytes
    memories = published("wiki", partition, DATA).memories
    assert len(memories) == 50 and [m.id for m in memories][:2] == [f"wiki-{partition}-00", f"wiki-{partition}-01"]
    assert [m.text for m in memories] == list(oracle["Passage"])
    assert [m.label for m in memories] == list(oracle["Theme"].str.strip())
    assert [list(m.paraphrases) for m in memories] == list(oracle["Paraphrases"])
    assert [[[q.text, q.answer] for q in m.questions] for m in memories] == list(oracle["QA"])
    assert {len(m.paraphrases) for m in memories} == {9} and {len(m.questions) for m in memories} == {3}


@pytest.mark.data
@needs_data
def test_all_partitions_that_are_there_are_read():
    found = 0
    for setting, folder in FOLDERS.items():
        for partition in range(20):
            if (DATA / "mega" / folder / file_name(setting, partition)).exists():
                found += 1
                assert len(published(setting, partition, DATA).memories) == 50
    assert found >= 20


@pytest.mark.data
@needs_data
def test_judge_finds_every_published_answer_in_itself_and_most_in_the_passage():
    from memsci.measures.metrics import judge
    from memsci.measures.text_match import contains

    pairs = [(q.answer, m.text) for m in published("wiki", 0, DATA).memories for q in m.questions]
    assert all(judge(answer, answer) for answer, _ in pairs)
    assert np.mean([contains(passage, answer) for answer, passage in pairs]) > 0.85


@pytest.mark.data
@needs_data
def test_the_right_memory_is_found_with_sentence_embeddings_and_cosine():
    from memsci.config import Embedding
    from memsci.gate.embed import embedder
    from memsci.gate.softmax import gate
    from memsci.measures.metrics import correct_gate

    embed = embedder(None, Embedding(kind="sentence"))
    rates = []
    for partition in (0, 1, 2):
        memories = published("wiki", partition, DATA).memories
        asked = [(question.text, memory.id) for memory in memories for question in memory.questions]
        found = gate(
            embed([question for question, _ in asked]),
            embed([m.text for m in memories]),
            similarity="cosine",
            ids=[m.id for m in memories],
        )
        rates.append(correct_gate([target for _, target in asked], found.top()).mean())
    print(f"correct gate, MiniLM and cosine: {[f'{rate:.1%}' for rate in rates]}, mean {np.mean(rates):.2%}")
    assert np.mean(rates) >= 0.99


# --------------------------------------------------------------------------------------------------------------- mmlu


def quiz_folder(folder: Path, content: str) -> Path:
    (folder / "test").mkdir(parents=True)
    (folder / "test" / "anatomy_test.csv").write_text(content, encoding="utf-8")
    return folder


def test_mmlu_from_a_folder(tmp_path, monkeypatch):
    folder = quiz_folder(tmp_path / "mmlu", '"Which, ""so""?",None,"b, c",3,NA,C\nWhat?,1,2,3,4,A\n')
    first = QuizItem("anatomy", 'Which, "so"?', ("None", "b, c", "3", "NA"), 2)
    items = [first, QuizItem("anatomy", "What?", tuple("1234"), 0)]
    assert mmlu(["anatomy"], source=folder) == mmlu(["anatomy"], source=str(folder)) == items
    monkeypatch.setenv("MEMSCI_DATA", str(tmp_path))
    assert mmlu(["anatomy"]) == items


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("What?,1,2,3,4,A\nWhat?,1,2,3,B\n", "row 2 must hold"),
        ("What?,1,2,3,4,E\n", "row 1 must hold"),
        ("What?,1,2,3,4,AB\n", "row 1 must hold"),
        (",1,2,3,4,A\n", "row 1: the text of a quiz question is empty"),
    ],
)
def test_mmlu_names_the_row_that_is_wrong(tmp_path, content, says):
    with pytest.raises(MemsciError) as caught:
        mmlu(["anatomy"], source=quiz_folder(tmp_path, content))
    assert says in str(caught.value) and "anatomy_test.csv" in str(caught.value)


def test_mmlu_refuses_what_is_not_there(tmp_path):
    with pytest.raises(MemsciError, match="cannot be read"):
        mmlu(["anatomy"], source=tmp_path)
    with pytest.raises(MemsciError, match=r"write \['anatomy'\]"):
        mmlu("anatomy", source=tmp_path)
    with pytest.raises(MemsciError, match="split must be one of"):
        mmlu(split="train", source=tmp_path)


def test_mmlu_from_the_hub(monkeypatch):
    def load_dataset(name, subject, split, revision):
        assert (name, split) == ("cais/mmlu", "validation") and len(revision) == 40
        if subject == "nothing":
            raise ConnectionError("no network")
        return [{"question": "What?", "choices": ["1", "2", "3", "4"], "answer": 3}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert mmlu(["anatomy"], split="val", source="hub") == [QuizItem("anatomy", "What?", tuple("1234"), 3)]
    with pytest.raises(MemsciError, match="no network"):
        mmlu(["nothing"], split="val", source="hub")


@pytest.mark.parametrize(
    "values",
    [
        ("s", "Q?", ("1",), 0),
        ("s", "Q?", tuple("1234"), 4),
        ("s", "Q?", tuple("1234"), True),
        ("s", "", tuple("1234"), 0),
        ("s", "Q?", ("1", "2", "3", ""), 0),
    ],
)
def test_a_quiz_item_is_checked(values):
    with pytest.raises(MemsciError):
        QuizItem(*values)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "mmlu").is_dir(), reason="the MMLU files are not there: set MEMSCI_DATA")
def test_the_four_subjects_of_the_paper():
    items = mmlu(source=DATA / "mmlu")
    counts = Counter(item.subject for item in items)
    assert counts == {"abstract_algebra": 100, "anatomy": 135, "astronomy": 152, "business_ethics": 100}
    assert len(mmlu(split="dev", source=DATA / "mmlu")) == 20


def test_examples():
    from memsci.data import tables

    assert doctest.testmod(tables).failed == 0
