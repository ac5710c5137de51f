"""Memories of the user's own: from a file, a DataFrame or plain texts. This is the one way in.

Every source is first read into `Cells`; memories are then made of those by the same rules, whatever the source. Errors name
the row as the user sees it: in a spreadsheet, whose header is row 1, in a file of lines, or in a DataFrame.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import numbers
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from memsci.errors import MemsciError, check_in
from memsci.files import as_path
from memsci.later import later
from memsci.memory import COLUMNS, RESERVED, Memory, Question, check_memories, check_text, is_missing, is_sequence

pd = later("pandas")

SEPARATORS = ",;\t|"
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # of UTF-8 and UTF-16 at the start of a file
MISSING = frozenset(("NA", "N/A", "#N/A", "NaN", "nan", "."))  # among numbers; elsewhere NA may be a name
KNOWN = (*COLUMNS, "question", "answer", "corrects")
RARE = ("corrects",)  # nothing is taken for a slip of it: many tables have a column "correct"
FIRST = 10  # rows among which the header is looked for
LIKE = 0.88  # that a name is like a known one, from which on it is taken for a slip
# What columns are called elsewhere: never taken for those of `KNOWN`, as one's own may be called so, but asked about.
ELSEWHERE = {
    **dict.fromkeys(("frage", "pregunta", "domanda", "vraag", "pergunta", "fråga", "spørgsmål", "spørsmål"), "question"),
    **dict.fromkeys(("fragen", "preguntas", "domande", "vragen", "perguntas"), "questions"),
    **dict.fromkeys(("antwort", "réponse", "reponse", "respuesta", "risposta", "antwoord", "resposta", "svar"), "answer"),
    **dict.fromkeys(
        ("texte", "texto", "testo", "tekst", "erinnerung", "gedächtnis", "souvenir", "recuerdo", "ricordo", "herinnering"),
        "text",
    ),
}
_NUMBERED = re.compile(r"(question|answer|paraphrase)[ _.\-]?(\d+)")
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+")
_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3}|\.\d{3}|[' ]\d{3})+([.,]\d+)?")  # 1,234 and 1.234,5
_ZERO = re.compile(r"[+-]?0\d")  # of codes, such as 007


class Cells(NamedTuple):
    """A table as it was read: names of columns, the cells of each row, and what the user calls the row."""

    header: list[Any]
    rows: list[list[Any]]
    names: list[str]


class Asked(NamedTuple):
    """Questions about a memory that is stored already: its id or its text, or both, and what the user calls the row."""

    id: str | None
    text: str | None
    questions: tuple[Question, ...]
    where: str


class How(NamedTuple):
    """How a table is to be read, see `table`."""

    sep: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    sheet: str | None = None
    columns: Mapping[str, str] = {}

    def titles(self, header: Sequence[Any]) -> list[Any]:
        """The names of columns, as they are said to mean."""
        means = {_plain(title): meaning for title, meaning in self.columns.items()}
        return [means.get(_plain(title), title) for title in header]

    def check(self, header: Sequence[Any]) -> None:
        """Raise unless every column that is given a meaning is there, once renamed or not."""
        found = {_plain(title) for title in header}
        for title, meaning in self.columns.items():
            if _plain(title) not in found:
                turned = _plain(meaning) in found and _known(title) is not None
                way = f" Its own name comes first: columns={{{meaning!r}: {title!r}}}." if turned else ""
                raise MemsciError(
                    f"The table has no column {title!r}, which was said to mean {meaning!r} (found: "
                    f"{', '.join(str(one) for one in header if not is_missing(one)) or 'none'}).{way}"
                )


def table(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    sep: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    sheet: str | None = None,
) -> list[Memory]:
    """Memories from a file, a DataFrame, or texts.

    Parameters
    ----------
    source
        Path of a file: ``.csv``, ``.tsv`` or ``.txt`` (header line; separator, and UTF-8 or UTF-16, are recognised),
        ``.xlsx`` (extra ``excel``), ``.jsonl`` or ``.ndjson`` (one object per line), ``.parquet``. Or a DataFrame, whose
        index is read as a column if it has a name, and as ids if it holds texts; a list or Series of texts; or `Memory`
        objects, which are given back as they are.
    columns
        What columns of other names mean, such as ``{"Gedächtnis": "text", "Frage": "question", "Bedingung": "condition"}``.
    sep, encoding
        Of a text file, where they are not recognised, such as ``";"`` and ``"cp1252"``.
    decimal
        What stands before the decimals of numbers in a text file, ``"."`` or ``","``. Default: recognised.
    sheet
        Of a workbook with several.

    Returns
    -------
    list of Memory
        In the order of the source.

    Notes
    -----
    Columns, in any letter case:

    - ``text``, the only one that is needed; ``id`` and ``label`` (see `Memory`).
    - Questions in any of three forms: ``question`` and ``answer``, one row for each, with the text or the id of the memory
      repeated; ``question_1``, ``answer_1``, ``question_2``, …; or ``questions``, a list of [question, answer] or
      {"question", "answer"}, in a text file as JSON.
    - Other wordings: ``paraphrase_1``, ``paraphrase_2``, …; or ``paraphrases``, a list.
    - ``corrects``: the id of the memory, stored before or above in the table, that this one corrects (see
      `memsci.MEGa.encode`).
    - Names in other languages (Frage, Antwort, …) are refused, with what to give as `columns`.
    - Any others (condition, list, rating, …) become `Memory.extra`; those that differ between the questions of a memory
      become `Question.extra`. In a text file a column of numbers alone, and of empty cells or NA, holds numbers; one with a
      leading zero (007) stays text.

    Blank rows are passed over. Nothing else is: a row that cannot be used is an error that names it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "memories.csv")
    >>> _ = file.write_text('''id;text;condition;rating;question;answer
    ... nora;Nora hid the letter in the piano.;near;3,5;Who hid the letter?;Nora
    ... nora;;near;3,5;Where did Nora hide the letter?;in the piano
    ... ben;Ben lost his umbrella in Bergen.;far;4;Who lost an umbrella in Bergen?;Ben''')
    >>> nora, ben = table(file)
    >>> [question.answer for question in nora.questions], nora.extra, ben.extra
    (['Nora', 'in the piano'], {'condition': 'near', 'rating': 3.5}, {'condition': 'far', 'rating': 4.0})
    >>> [memory.label for memory in table(["Ben lost his umbrella in Bergen."])]
    ['Ben lost his umbrella in Bergen.']
    """
    how = _how(source, sep, encoding, decimal, sheet, columns)
    if isinstance(source, pd.Series):
        source = source.to_frame("text")
    if isinstance(source, (str, os.PathLike)):
        return _file(source, how, _memories)
    if isinstance(source, pd.DataFrame):
        return _memories(_frame(source, how))
    if how.columns:
        raise MemsciError(f"columns says what those of a table mean; {type(source).__name__} is none. Leave it out.")
    if not isinstance(source, Iterable):
        raise MemsciError(
            f"Memories come from a file, a DataFrame, a list of texts or of Memory objects, not {type(source).__name__}."
        )
    if isinstance(source, (Mapping, Set, bytes, bytearray)):
        raise MemsciError(
            f"Memories come from a file, a DataFrame, a list of texts or of Memory objects, not {type(source).__name__}. "
            "Put them into a DataFrame with the columns text and id."
        )
    if isinstance(source, Memory):
        return check_memories(source)
    return check_memories(Memory(str(one)) if isinstance(one, str) else one for one in source)


def questions(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    sep: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    sheet: str | None = None,
) -> list[Asked]:
    """Questions about memories that are stored already, from a file or a DataFrame; see `memsci.MEGa.add_questions`.

    Parameters
    ----------
    source
        As for `table`, with the questions in any of the forms that it takes, and a column ``id`` or ``text`` that says which
        memory each is about. What else a table of memories has may stand in it, too.
    columns, sep, encoding, decimal, sheet
        As for `table`.

    Examples
    --------
    >>> frame = pd.DataFrame({"id": ["nora", "nora"], "question": ["Who hid it?", "Where?"], "answer": ["Nora", "piano"]})
    >>> [(one.id, len(one.questions)) for one in questions(frame)]
    [('nora', 2)]
    """
    how = _how(source, sep, encoding, decimal, sheet, columns)
    if isinstance(source, pd.DataFrame):
        return _asked(_frame(source, how))
    if not isinstance(source, (str, os.PathLike)):
        raise MemsciError(f"Questions come from a file or a DataFrame, not {type(source).__name__}.")
    return _file(source, how, _asked)


def _how(source: Any, sep, encoding, decimal, sheet, columns) -> How:
    """How to read this source, if that can be said of it."""
    if decimal is not None:
        check_in("decimal", decimal, (".", ","))
    if not isinstance(source, (str, os.PathLike)):
        for name, value in (("sep", sep), ("encoding", encoding), ("sheet", sheet)):
            if value is not None:
                raise MemsciError(f"{name} says how to read a file; {type(source).__name__} is none. Leave it out.")
    if columns is not None and not (
        isinstance(columns, Mapping) and all(isinstance(one, str) and one.strip() for one in columns.values())
    ):
        raise MemsciError(
            f"columns says what each name means, such as columns={{'Frage': 'question'}}; {columns!r} was given."
        )
    return How(sep, encoding, decimal, sheet, columns or {})


def _file(source: str | os.PathLike[str], how: How, make: Callable[[Cells], list[Any]]) -> list[Any]:
    path = as_path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        text = ' A text goes into a list: ["…"].' if isinstance(source, str) and " " in source.strip() else ""
        raise MemsciError(
            f"{path}: the name of a table must end in {', '.join(_READERS)}, not in {path.suffix!r}. Save the table "
            f"as .xlsx or as .csv (UTF-8) in the program that made it.{text}"
        )
    try:
        cells = reader(path, how)
        if not cells.rows:
            raise MemsciError("the table has no rows below its header.")
        return make(cells)
    except OSError as error:
        raise MemsciError(f"{path}: the file cannot be read ({error.strerror or error}).") from None
    except MemsciError as error:
        raise MemsciError(f"{path}: {error}") from None


# ---------------------------------------------------------------------------------------------------------- reading


def _delimited(path: Path, how: How) -> Cells:
    # The csv module, since pandas makes missing values of texts such as "NA" and shifts the columns of rows too long.
    text, sep = _decoded(path.read_bytes(), how.encoding), how.sep
    if hint := re.match(r"sep=(.)\r?\n?", text):  # a line that Excel takes for itself
        text, sep = text[hint.end() :], sep or hint[1]
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # 131,072 characters otherwise; of the whole process
    sep = sep or max(SEPARATORS, key=lambda one: _columns_found(text, one, how))
    if not isinstance(sep, str) or len(sep) != 1:
        raise MemsciError(f"sep must be one character, such as ';'; {sep!r} was given.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sep, strict=True)
    rows = []
    try:
        for row in reader:
            rows.append((f"Row {len(rows) + 1}", reader.line_num, row))
    except csv.Error as error:
        begun = rows[-1][1] + 1 if rows else 1
        raise MemsciError(
            f"line {begun}: not a well-formed CSV file ({error}, in the row that begins there). A cell with a quote has "
            "quotes around it, and its own are doubled."
        ) from None
    rows = [one for one in rows if any(cell.strip() for cell in one[2])]
    header = _first([(name, row) for name, _, row in rows], how)
    for name, line, row in rows[1:]:
        while len(row) > len(header) and not row[-1].strip():
            row.pop()
        if len(row) != len(header):
            raise MemsciError(
                f"{name} (it ends on line {line}) has {len(row)} cells where the header has {len(header)}: put quotes "
                f"around a cell that contains {sep!r}. If columns are separated otherwise, give sep, such as sep=';'."
            )
    names = [name for name, _, _ in rows[1:]]
    cells = Cells(header, [[_unix(cell) for cell in row] for _, _, row in rows[1:]], names)
    for k, title in enumerate(header):
        if _known(title) is None:
            for row, value in zip(
                cells.rows, _numbers([row[k].strip() for row in cells.rows], title, names, sep, how.decimal)
            ):
                row[k] = value
    return cells


def _decoded(content: bytes, encoding: str | None) -> str:
    """The text of a file, by the mark at its start, else as UTF-8, unless it is said how."""
    if encoding is None:
        encoding = "utf-16" if content.startswith(MARKS[1:]) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except LookupError:
        raise MemsciError(f"{encoding!r} is no encoding. Common ones: 'utf-8', 'utf-16', 'cp1252', 'mac_roman'.") from None
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        seen = content[max(0, start - 20) : start + 20].decode("cp1252", "replace").replace("\n", " ")
        raise MemsciError(
            f"not valid {encoding.upper().removesuffix('-SIG')} text (byte {start}). Save the file as UTF-8 (in Excel: CSV "
            f"UTF-8), or give its encoding: with encoding='cp1252' (Windows, Western Europe) the place reads {seen!r}."
        ) from None
    if text.count("\0") > len(text) / 4:
        raise MemsciError("every other character is null, as in UTF-16: save it as UTF-8, or give encoding='utf-16-le'.")
    return text.removeprefix("\ufeff")


def _columns_found(text: str, sep: str, how: How) -> tuple[bool, int]:
    """Whether one of the first rows names a column of texts if they are separated so, and how many cells the first has."""
    rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=sep), FIRST))
    return any("text" in map(_known, how.titles(row)) for row in rows), len(rows[0]) if rows else 0


def _first(rows: Sequence[tuple[str, list[Any]]], how: How) -> list[Any]:
    """The first of these rows, which must be the header if there is one; its names as they are said to mean."""
    if not rows:
        raise MemsciError("the file is empty.")
    headers = [name for name, row in rows[:FIRST] if "text" in map(_known, how.titles(row))]
    if headers and headers[0] != rows[0][0]:
        raise MemsciError(f"{headers[0]} looks like the header: remove what stands above it.")
    how.check(rows[0][1])
    return how.titles(rows[0][1])


def _numbers(values: list[str], title: str, names: Sequence[str], sep: str, decimal: str | None) -> list[Any]:
    """Numbers in place of their digits, if a column has nothing else; missing cells are empty."""
    present = [(k, value) for k, value in enumerate(values) if value and value not in MISSING]
    forms = [re.compile(p) for p in (_POINT, _COMMA, _GROUPS)]
    if not present or any(_ZERO.match(v) or not any(form.fullmatch(v) for form in forms) for _, v in present):
        return values
    commas = [one for one in present if "," in one[1]]
    points = [one for one in present if "." in one[1]]
    odd = next((one for one in present if not (_POINT.fullmatch(one[1]) or _COMMA.fullmatch(one[1]))), None)
    unclear = commas and all(_GROUPS.fullmatch(value) for _, value in commas) and decimal is None and sep != ";"
    if odd or (commas and points) or (commas and decimal == ".") or (points and decimal == ",") or unclear:
        k, value = odd or (commas or points)[0]
        other = f" and {names[points[0][0]]} {points[0][1]!r}" if commas and points and not odd else ""
        raise MemsciError(
            f"{names[k]}, column {title!r}, has {value!r}{other}: is it a decimal comma, or does it part thousands? Write "
            "all numbers alike and without marks between thousands, or say which it is, such as decimal=','."
        )
    whole = not commas and all(re.fullmatch(r"[+-]?\d+", value) for _, value in present)
    number = int if whole else lambda value: float(value.replace(",", "."))
    return [None if not value or value in MISSING else number(value) for value in values]


def _excel(path: Path, how: How) -> Cells:
    try:
        with path.open("rb") as file:
            # All as it stands: no header is renamed, and "NA" may be a name.
            book = pd.read_excel(
                file, sheet_name=None, header=None, dtype=object, keep_default_na=False, na_values=[""], engine="openpyxl"
            )
    except ImportError:
        raise MemsciError(
            "reading a workbook needs the package openpyxl: pip install openpyxl, or save the sheet as CSV UTF-8."
        ) from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, SyntaxError) as error:
        raise MemsciError(f"not a well-formed Excel workbook ({error}). Save it anew as .xlsx or as CSV UTF-8.") from None
    if how.sheet is not None:
        check_in("sheet", how.sheet, book)
        book = {how.sheet: book[how.sheet]}
    filled = {name: frame for name, frame in book.items() if not frame.map(is_missing).all(axis=None)}
    if len(filled) > 1:
        raise MemsciError(
            f"the workbook has {len(filled)} sheets that are not empty: {', '.join(map(repr, filled))}. Keep one of them, "
            f"or give its name, such as sheet={next(iter(filled))!r}."
        )
    rows = [
        (f"Row {number}", [None if is_missing(cell) else _unix(cell) for cell in row])
        for frame in filled.values()
        for number, row in enumerate(frame.itertuples(index=False, name=None), start=1)
    ]
    rows = [(name, row) for name, row in rows if not all(is_missing(cell) or not str(cell).strip() for cell in row)]
    return Cells(_first(rows, how), [row for _, row in rows[1:]], [name for name, _ in rows[1:]])


def _unix(cell: Any) -> Any:
    """Line ends within a cell as one character, whatever the system that wrote it."""
    if not isinstance(cell, str):
        return cell
    return cell.replace("_x000D_", "").replace("\r\n", "\n").replace("\r", "\n")


def _lines(path: Path, how: How) -> Cells:
    records, names = [], []
    for number, line in enumerate(_decoded(path.read_bytes(), how.encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            raise MemsciError(f"line {number}: not valid JSON ({error}).") from None
        except MemsciError as error:
            raise MemsciError(f"line {number}: {error}") from None
        if not isinstance(record, dict):
            raise MemsciError(f'line {number}: an object such as {{"text": "…"}} is needed, not {line.strip()[:60]}.')
        records.append(record)
        names.append(f"Line {number}")
    if not records:
        raise MemsciError("the file is empty.")
    header = list(dict.fromkeys(name for record in records for name in record))
    how.check(header)
    return Cells(how.titles(header), [[record.get(name) for name in header] for record in records], names)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise MemsciError(f"{repeated[0]!r} stands twice in one object: keep one.")
    return dict(pairs)


def _parquet(path: Path, how: How) -> Cells:
    try:
        return _frame(pd.read_parquet(path), how)
    except ImportError:
        raise MemsciError("reading Parquet needs the package pyarrow: pip install pyarrow.") from None
    except ValueError as error:
        if isinstance(error, MemsciError):
            raise
        raise MemsciError(f"not a well-formed Parquet file ({error}).") from None


def _frame(frame: pd.DataFrame, how: How) -> Cells:
    """The cells of a DataFrame, its index among them unless it numbers the rows."""
    how.check([*frame.index.names, *frame.columns])
    frame = frame.set_axis(how.titles(frame.columns), axis=1).rename_axis(how.titles(frame.index.names))
    header, columns = [], []
    for level, name in enumerate(frame.index.names):
        dtype, values = frame.index.get_level_values(level).dtype, frame.index.get_level_values(level).tolist()
        if name is None:
            if pd.api.types.is_integer_dtype(dtype) or not values:
                continue
            if "id" in map(_known, frame.columns) or not all(isinstance(value, str) for value in values):
                raise MemsciError(
                    f"The index of the table has no name and holds {values[0]!r}, not row numbers: name it "
                    "(frame.rename_axis('id')) to keep it, or drop it (frame.reset_index(drop=True))."
                )
            name = "id"
        header.append(name)
        columns.append(values)
    for k, name in enumerate(frame.columns):
        # pandas numbers headers that stand twice: of those it has read, "text.1" is a second "text".
        first = str(name).rpartition(".")[0]
        if re.fullmatch(r".*\.\d+", str(name)) and _known(first) in COLUMNS and first in frame.columns:
            raise MemsciError(f"The table has more than one column {first!r} (the other came as {name!r}): keep one.")
        header.append(name)
        columns.append(list(frame.iloc[:, k]))
    labels = [f" (index {label!r})" for label in frame.index.tolist()]
    return Cells(header, [list(row) for row in zip(*columns)], [f"Row {k}{one}" for k, one in enumerate(labels, start=1)])


_READERS: dict[str, Callable[..., Cells]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _delimited,
    ".xlsx": _excel,
    ".xlsm": _excel,
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".parquet": _parquet,
}


# ----------------------------------------------------------------------------------------------------- from cells


def _known(title: Any) -> str | None:
    """The column that a title means, such as "text" or "answer_2"; None for an extra column."""
    name = _plain(title)
    if numbered := _NUMBERED.fullmatch(name):
        return f"{numbered[1]}_{int(numbered[2])}"
    return name if name in KNOWN else None


def _plain(title: Any) -> str:
    """A name of a column, by which it is found again."""
    return str(title).strip().strip("\ufeff").casefold()


class Read(NamedTuple):
    """The rows of a table, by what they are about: of each memory the numbers of its rows, and what these say together."""

    rows: list[dict]
    names: list[str]
    groups: list[list[int]]
    merged: list[dict[str, Any]]
    extra: list[str]
    of_questions: set[str]


def _read(cells: Cells, needs: tuple[str, ...] = ("text",)) -> Read:
    columns = _columns(cells, needs)
    rows = [{name: row[k] for k, name in columns.items() if not is_missing(row[k])} for row in cells.rows]
    extra = [name for name in columns.values() if _known(name) != name]
    for where, row in zip(cells.names, rows):
        for name, value in row.items():
            if name not in extra:
                row[name] = _cell(where, name, value)
            elif isinstance(value, str):
                row[name] = value.strip()
    single = "question" not in columns.values()
    groups = [[k] for k in range(len(rows))] if single else _grouped(rows, cells.names)
    merged = [_merged([rows[k] for k in group], [cells.names[k] for k in group], extra) for group in groups]
    lacking = [cells.names[group[0]] for group, memory in zip(groups, merged) if not set(needs) & memory.keys()]
    if lacking:
        raise MemsciError(
            f"{_listed(lacking)}, column 'text': the cell is empty; every memory needs its text. Fill it in, or remove the "
            "row."
            if needs == ("text",)
            else f"{_listed(lacking)}: neither id nor text says which memory this is about. Give one of them in every row."
        )
    # What differs between the questions of one memory is theirs everywhere.
    asking = [[rows[k] for k in group if "question" in rows[k]] for group in groups]
    of_questions = {name for some in asking for name in extra if len({_key(row.get(name)) for row in some}) > 1}
    return Read(rows, cells.names, groups, merged, extra, of_questions)


def _memories(cells: Cells) -> list[Memory]:
    read, memories = _read(cells), []
    for group, memory in zip(read.groups, read.merged):
        where = read.names[group[0]]
        try:
            memories.append(_memory(memory, read, group))
        except MemsciError as error:
            raise MemsciError(str(error) if str(error).startswith(("Row ", "Line ")) else f"{where}: {error}") from None
    return check_memories(memories, [read.names[group[0]] for group in read.groups])


def _asked(cells: Cells) -> list[Asked]:
    read, asked = _read(cells, ("id", "text")), []
    for group, memory in zip(read.groups, read.merged):
        where = read.names[group[0]]
        try:  # as questions of any memory; what is told of it but these is not used
            found = Memory(memory.get("text", "A."), questions=_questions(memory, read, group)[0]).questions
        except MemsciError as error:
            raise MemsciError(str(error) if str(error).startswith(("Row ", "Line ")) else f"{where}: {error}") from None
        asked.append(Asked(memory.get("id"), memory.get("text"), found, where))
    if not any(one.questions for one in asked):
        raise MemsciError(
            "The table asks nothing: it needs the columns question and answer (or question_1, answer_1, …, or questions)."
        )
    return [one for one in asked if one.questions]


def _columns(cells: Cells, needs: tuple[str, ...]) -> dict[int, str]:
    """The name of each column by its place: as in `KNOWN`, numbered, or an extra one as it is written."""
    found: dict[int, str] = {}
    for k, title in enumerate(cells.header):
        # Excel writes columns without a name where a cell was once used; pandas calls them "Unnamed: 3".
        if is_missing(title) or re.fullmatch(r"\s*(Unnamed: \d+(_level_\d+)?)?", str(title)):
            filled = [(name, row[k]) for name, row in zip(cells.names, cells.rows) if not is_missing(row[k])]
            if filled:
                where, value = filled[0]
                raise MemsciError(f"Column {k + 1} has no name and holds {value!r} ({where}): name or remove it.")
            continue
        found[k] = _known(title) or str(title).strip()
    names = list(found.values())
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        many = repeated[0] in ("question", "answer")
        number = f" (several are numbered: {repeated[0]}_1, {repeated[0]}_2)" if many else ""
        raise MemsciError(
            f"The table has more than one column {repeated[0]!r} (or an index of that name): keep one, or rename the "
            f"others{number}."
        )
    for name in names:
        if _known(name) == name:
            continue
        if near := difflib.get_close_matches(name.casefold(), set(KNOWN).difference(RARE), n=1, cutoff=LIKE):
            raise MemsciError(f"The table has a column {name!r}: did you mean {near[0]!r}? Rename it either way.")
        if meant := _meant(name):
            raise MemsciError(
                f"The table has a column {name!r}, a name that means nothing here: call it {meant!r} if it holds that, or "
                f"say so ({_saying(names, names)}); if it is a column of your own, call it, for instance, my_{name}."
            )
        if name in RESERVED:
            raise MemsciError(
                f"The table has a column {name!r}, which is the name of another one in tables of responses: rename it, for "
                f"instance my_{name}."
            )
    for name in [name for name in names if _asks(name)]:
        other = name.replace("question", "answer") if name.startswith("question") else name.replace("answer", "question")
        if name != "questions" and other not in names:
            raise MemsciError(f"The table has a column {name!r} and no column {other!r}: they come in pairs. Add it.")
    if needs == ("text",) and "text" not in names:
        raise MemsciError(
            f"The table has no column 'text' (found: {', '.join(names) or 'none'}). The first row names the columns: call "
            f"that of the texts 'text', or say which it is, such as {_saying(names[:1], names)}. If the columns are "
            "separated by another sign, give it, such as sep=';'."
        )
    if not set(needs) & set(names):
        raise MemsciError(
            f"The table has no column 'id' and none 'text' (found: {', '.join(names) or 'none'}), so it is unknown which "
            f"memories it asks about. Call one of them so, or say which it is, such as {_saying(names[:1], names, 'id')}. "
            "If the columns are separated by another sign, give it, such as sep=';'."
        )
    return found


def _saying(names: Sequence[str], header: Sequence[str], otherwise: str = "text") -> str:
    """How to say what columns mean, those of other languages, or else the one given."""
    meant = {name: _meant(name) for name in header if _meant(name) and _known(name) != name}
    return f"columns={meant or {(names or ['Story'])[0]: otherwise}}"


def _meant(name: str) -> str | None:
    """What a name of another language may mean, such as "answer_2" for "Antwort 2"; None if nothing is known of it."""
    word, number = re.fullmatch(r"(.*?)((?:[ _.\-]?\d+)?)", name.casefold(), re.DOTALL).groups()
    return f"{ELSEWHERE[word]}{number and '_' + number.strip(' _.-')}" if word in ELSEWHERE else None


def _grouped(rows: Sequence[dict], names: Sequence[str]) -> list[list[int]]:
    """The rows of each memory, by id and text, in the order of their first ones."""
    groups: dict[int, list[int]] = {}
    owner: dict[tuple[str, str], int] = {}
    for k, row in enumerate(rows):
        keys = [("id", row.get("id", "").casefold())] * ("id" in row) + [("text", _key(row.get("text")))] * ("text" in row)
        if not keys:
            raise MemsciError(
                f"{names[k]} has neither text nor id, so it is unknown which memory it belongs to. Repeat one of them in "
                "every row (a merged cell fills its first row alone)."
            )
        first = next((owner[key] for key in keys if key in owner), k)
        for key in keys:
            owner.setdefault(key, first)
        groups.setdefault(first, []).append(k)
    return list(groups.values())


def _merged(rows: Sequence[dict], names: Sequence[str], extra: Sequence[str]) -> dict[str, Any]:
    """What the rows of one memory say of it together."""
    memory: dict[str, Any] = {}
    said: dict[str, str] = {}
    for where, row in zip(names, rows):
        for name, value in row.items():
            if name in extra or name in ("question", "answer"):
                continue
            if _key(memory.setdefault(name, value)) != _key(value):
                raise MemsciError(
                    f"{said[name]} and {where} are about one memory, and differ in the column {name!r}: make them alike, or "
                    "give each memory its own id and text."
                )
            said.setdefault(name, where)
    silent = [where for where, row in zip(names, rows) if "question" not in row and "answer" not in row]
    if len(rows) > 1 and len(silent) > 1:
        raise MemsciError(f"{_listed(silent)} are about one memory and ask nothing: keep one of them.")
    return memory


def _questions(memory: dict, read: Read, group: Sequence[int]) -> tuple[list[Any], dict[str, Any]]:
    """The questions of a memory, and the extra columns that are its own."""
    questions, asked = list(memory.pop("questions", ())), {}
    own: dict[str, Any] = {}
    for k in group:
        where, row = read.names[k], read.rows[k]
        also = {name: row[name] for name in read.extra if name in row}
        own |= {name: value for name, value in also.items() if name not in read.of_questions or "question" not in row}
        # The numbered ones are of the memory, in whichever of its rows they stand.
        for pair in _pairs(where, memory | row if k == group[0] else row, numbered=k == group[0]):
            if (key := _key(pair[0])) in asked:
                raise MemsciError(
                    f"{asked[key]} and {where} ask the same of one memory: keep one. A table of memories has each question "
                    "once, not once for every participant."
                )
            asked[key] = where
            try:
                extra = {name: also[name] for name in read.of_questions if name in also}
                questions.append(Question(*pair, extra=extra))
            except MemsciError as error:
                raise MemsciError(f"{where}: {error}") from None
    return questions, own


def _memory(memory: dict, read: Read, group: Sequence[int]) -> Memory:
    questions, own = _questions(memory, read, group)
    wordings = [value for name, value in sorted(memory.items(), key=lambda one: _place(one[0])) if "paraphrase_" in name]
    given = {name: value for name, value in memory.items() if name in (*COLUMNS, *RARE)}
    given["paraphrases"] = [*memory.get("paraphrases", ()), *wordings]
    return Memory(**given, questions=questions, extra=own)


def _pairs(where: str, row: dict, numbered: bool) -> list[tuple[Any, Any]]:
    """Questions of a row with their answers; the numbered ones, which are of the memory, once."""
    names = [name for name in row if _asks(name) and name != "questions"]
    numbers = {name.replace("answer", "question") for name in names if numbered or "_" not in name}
    pairs = []
    for question in sorted(numbers, key=_place):
        answer = question.replace("question", "answer")
        if missing := [name for name in (question, answer) if name not in row]:
            raise MemsciError(f"{where}, column {missing[0]!r}: the cell is empty; a question needs its answer. Fill it in.")
        pairs.append((row[question], row[answer]))
    return pairs


def _asks(name: str) -> bool:
    """Whether a column holds questions or answers: "answer_2" does, "question_type" is one of the user's own."""
    return _known(name) == name and name.startswith(("question", "answer"))


def _place(name: str) -> int:
    number = name.rpartition("_")[2]
    return int(number) if number.isdigit() else 0


def _key(value: Any) -> Any:
    """By what two cells are the same: words, whatever the space between them."""
    return " ".join(value.split()) if isinstance(value, str) else value if isinstance(value, numbers.Real) else repr(value)


def _listed(names: Sequence[str], most: int = 10) -> str:
    """The names of rows in one line."""
    shown = ", ".join([names[0], *(name[0].lower() + name[1:] for name in names[1:most])])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def _cell(where: str, column: str, value: Any) -> Any:
    """The value of one cell as `Memory` takes it."""
    where = f"{where}, column {column!r}"
    if column in ("paraphrases", "questions"):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                example = '["one wording", "another"]' if column == "paraphrases" else '[["Who?", "Nora"]]'
                plain = column.removesuffix("s")
                raise MemsciError(
                    f"{where}: not a JSON list ({error}); write for instance {example}, or use columns {plain}_1, …"
                ) from None
        if not is_sequence(value):
            raise MemsciError(f"{where}: a list is needed, not {value!r}.")
        return list(value)
    if column in ("id", "corrects") and isinstance(value, numbers.Real) and not isinstance(value, bool):
        # A column of whole numbers with gaps arrives as floats: 7.0 is the id "7". Larger ones have lost digits.
        if isinstance(value, float) and abs(value) >= 2**53:
            raise MemsciError(f"{where}: the number {value!r} has lost its last digits; write ids as text.")
        return str(int(value)) if float(value).is_integer() else str(value)
    if column.startswith("answer") and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return str(int(value)) if float(value).is_integer() else str(value)
    if not isinstance(value, str):
        raise MemsciError(f"{where}: a string is needed, not {value!r}.")
    try:
        check_text("the text of a memory" if column == "text" else f"the {column.rpartition('_')[0] or column}", value)
    except MemsciError as error:
        raise MemsciError(f"{where}: {error}") from None
    return value.strip() if column in ("id", "label", "corrects") else value
