"""Commands that put questions to a store: ask, recall, gate, test."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

import memsci
from memsci.cli import terminal
from memsci.cli.options import (
    BASE,
    BETA,
    COLUMN,
    DECIMAL,
    ENCODING,
    EPSILON,
    FILE,
    SEP,
    SHEET,
    STORE,
    UNKNOWN,
    K,
    how_to_read,
    names,
    read,
)
from memsci.config import check_k
from memsci.errors import MemsciError, check_in

if TYPE_CHECKING:
    import pandas as pd

    from memsci.learners.mega import MEGa
    from memsci.memory import Memory
    from memsci.store.record import Remembered
    from memsci.store.store import Store

_FROM_INPUT = "'-' reads them from the standard input, one a line."


def ask(
    store: STORE,
    question: Annotated[list[str], Argument(help=f"Questions; more context helps the gate. {_FROM_INPUT}")],
    via_recall: Annotated[bool, Option("--via-recall", help="Recall first, then answer from the recall (iRAG).")] = False,
    k: K = None,
    in_parts: Annotated[
        bool, Option("--in-parts", help="Put each part of a question ('Who …, and what …?') by itself; join the answers.")
    ] = False,
    unknown: UNKNOWN = None,
    beta: BETA = None,
    epsilon: EPSILON = None,
    base: BASE = None,
) -> None:
    """Answer questions from the memories in a store."""
    asked = _lines(question)
    if k is not None and not via_recall:
        raise MemsciError("--k says how many memories are recalled before the answer. Give it together with --via-recall.")
    mind = open_store(store, base, beta, epsilon, k)
    said = {} if unknown is None else {"unknown": unknown}
    reply = lambda some: mind.answer(some, via_recall=via_recall, in_parts=in_parts, **said)
    _say_each(asked, reply, None if said else _shut(mind, store, via_recall))


def recall(
    store: STORE,
    cue: Annotated[list[str], Argument(help=f"Questions or other cues. {_FROM_INPUT}")],
    tokens: Annotated[
        int | None, Option(min=1, help="Longest recall, in tokens. Default: as long as the longest memory.")
    ] = None,
    k: K = None,
    unknown: UNKNOWN = None,
    beta: BETA = None,
    epsilon: EPSILON = None,
    base: BASE = None,
) -> None:
    """Recall the whole memory that a cue is about, in the model's own words."""
    asked = _lines(cue)
    mind = open_store(store, base, beta, epsilon, k)
    said = {} if unknown is None else {"unknown": unknown}
    reply = lambda some: mind.recall(some, max_new_tokens=tokens, **said)
    _say_each(asked, reply, None if said else _shut(mind, store, True))


def gate(
    store: STORE,
    query: Annotated[str, Argument(help="Any text.")],
    top: Annotated[int, Option(min=1, help="How many memories to show, best first.")] = 10,
    beta: BETA = None,
    epsilon: EPSILON = None,
    base: BASE = None,
) -> None:
    """Show which memories a query opens, and how far; with --epsilon only those that stay open."""
    mind = open_store(store, base, beta, epsilon)
    found = mind.gate(query)
    shown = found.frame().sort_values("rank").head(top).drop(columns="query")
    terminal.show(shown, title=f"{len(shown)} of {terminal.memories(len(mind))}")
    if len(mind) and found.closed.all():
        terminal.say("The gate is closed: no memory is like this text, and the base speaks alone.")


def test(
    store: STORE,
    method: Annotated[
        str, Option(help="Who answers: MEGa (directly), iRAG (after its own recall), Base, RAG; commas between.")
    ] = "MEGa,iRAG",
    table: Annotated[
        Path | None, Option(help="Table with the questions and texts, instead of what the store keeps.", **FILE)
    ] = None,
    sep: SEP = None,
    encoding: ENCODING = None,
    decimal: DECIMAL = None,
    sheet: SHEET = None,
    column: COLUMN = None,
    by: Annotated[
        str | None, Option(help="An extra column of the memories or questions, such as condition: scores by its values.")
    ] = None,
    out: Annotated[Path | None, Option(help="CSV file for all questions, answers and scores.", **FILE)] = None,
    k: K = None,
    beta: BETA = None,
    epsilon: EPSILON = None,
    base: BASE = None,
) -> None:
    """Ask all questions that the store keeps, and score the answers: in all, and memory by memory.

    Memories that others correct are left out; a table has all its rows asked, and the file a column superseded.
    """
    from memsci import evaluate
    from memsci.evaluate.examine import METHODS, extra_columns
    from memsci.store.store import Store

    for name in (asked := names(method)):
        check_in("--method", name, METHODS)
    if out is not None and out.suffix.lower() == ".json":
        raise MemsciError(f"{out} is where the settings are written to. Name the table of the answers otherwise: x.csv.")
    for file in (out, out and out.with_suffix(".json")):
        terminal.make_room(file)
    how = how_to_read(sep, encoding, decimal, sheet, column)
    memories = _with_questions(Store(store), table, lambda: read(table, how))
    if by is not None:
        if not (columns := extra_columns(memories)):
            raise MemsciError("Neither these memories nor their questions have an extra column. Leave --by out.")
        check_in("--by", by, columns)
    mind = open_store(store, base, beta, epsilon, k)
    found = evaluate.examine(mind, memories, asked)
    marks, by_memory = evaluate.marks(found), evaluate.marks_by_memory(found)
    if out is not None:
        found.to_csv(out, index=False, float_format="%.6g")
        rows = lambda table: json.loads(table.to_json(orient="records"))  # what is missing is null
        about = {**mind.store.header, "gate": mind.rule.to_dict(), "judge": "by rule", "marks": rows(marks)}
        if by is not None:
            about[f"marks by {by}"] = rows(evaluate.marks(found, by))
        out.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    terminal.show(by_memory, title="Questions answered right, of each memory")
    if table is None and (gone := len(mind) - len(memories)):
        terminal.note(
            f"{terminal.memories(gone)} corrected by others, not asked about; --table with them asks for them too."
        )
    counted = "each counts alike; 95 % interval over memories; n questions"
    if by is not None:
        terminal.show(_shown(evaluate.marks(found, by), memories=True), title=f"By {by}: memories, {counted}")
    terminal.show(_shown(marks), title=f"{terminal.memories(len(by_memory))}, {counted}")
    if told := _recited(found):
        terminal.note(told)
    if out is not None:
        terminal.say(f"Answers and scores are in {out}, how they were made in {out.with_suffix('.json').name}.")


def open_store(
    store: Path, base: str | None, beta: float | None = None, epsilon: float | None = None, k: float | None = None
) -> MEGa:
    """The mind of a store, on the base named or the store's own; β, ε and k, if given, replace those of the gate's rule."""
    if k is not None:
        k = int(k) if k.is_integer() else k
        check_k("--k", k)
    mind = memsci.open(store, base=None if base is None else memsci.load(base))
    given = {"beta": beta, "epsilon": epsilon, "k": k}
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        mind.rule = dataclasses.replace(mind.rule, **changes)
    return mind


def _shown(marks: pd.DataFrame, memories: bool = False) -> pd.DataFrame:
    """Marks with their interval in one column, and the number of memories where tables differ in it."""
    marks = marks.copy()
    interval = [f"{low:.0f}–{high:.0f}" for low, high in zip(marks["low"], marks["high"])]
    marks.insert(marks.columns.get_loc("low"), "95 %", interval)
    left_out = ["low", "high", *([] if memories else ["memories"])]
    return marks.drop(columns=left_out).rename(columns={"questions": "n"})


def _lines(given: Sequence[str]) -> list[str]:
    """The texts given, with the lines of the standard input in the place of "-"."""
    if "-" in given and sys.stdin.isatty():
        terminal.note("One question a line; Ctrl+D ends.")
    lines = [line for one in given for line in (sys.stdin if one == "-" else [one])]
    if not (asked := [line.strip() for line in lines if line.strip()]):
        raise MemsciError("No question was given. Write it in quotes, or '-' to read questions from the standard input.")
    return asked


def _say_each(
    asked: Sequence[str],
    reply: Callable[[Sequence[str]], list[str]],
    closed: Callable[[Sequence[str]], Sequence[bool]] | None,
) -> None:
    """Replies in the order of the questions: each below its question on a terminal, else one a line.

    A line beside them tells of each question that the gate is closed to, so that the base speaks alone.
    """
    from memsci.memory import short
    from memsci.models.conversation import BATCH

    several = len(asked) > 1
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        shut = closed(some) if closed else [False] * len(some)
        for question, said, alone in zip(some, reply(some), shut, strict=True):
            if several and terminal.out.is_terminal:
                terminal.say(question, style="bold")
            terminal.say(" ".join(said.split("\n")) if several else said)
            if alone:
                terminal.note(f"The gate is closed to {short(question)}: no memory is like it, and the base speaks alone.")
        if several and start + BATCH < len(asked):
            terminal.note(f"{start + len(some)} of {len(asked)} …")


def _shut(mind: memsci.MEGa, store: Path, recalling: bool) -> Callable[[Sequence[str]], Sequence[bool]] | None:
    """What tells to which questions the gate is closed; of a store without memories that is told now, and not of each."""
    if len(mind):
        return lambda some: mind.closed(some, recalling)
    terminal.note(f"No memory is in {store} yet: the base speaks alone. 'memsci encode TABLE --store {store}' writes some.")
    return None


def _recited(found: pd.DataFrame) -> str:
    """What is to be said of answers that tell the whole memory instead of answering, as far as recalls are there."""
    if not {"MEGa", "iRAG"} <= set(found["method"]):
        return ""
    said = found.pivot_table(["answer", "recalled"], ["memory_id", "question"], "method", aggfunc="first")
    whole = said["recalled", "iRAG"].str.strip()
    count = int(((said["answer", "MEGa"].str.strip() == whole) & whole.ne("")).sum())
    few = f"{count} of {len(said)} direct answers" if count > 1 else f"1 of {len(said)} direct answers"
    return f"{few} recite the whole memory, right or wrong: look at the answers (--out)." if count else ""


def _with_questions(store: Store, table: Path | None, read: Callable[[], list[Memory]]) -> Sequence[Memory | Remembered]:
    """The memories with their questions: of a table, which must be those of the store, or what the store keeps."""
    if table is None:
        from memsci.lifetime.correct import standing

        records = standing(store)
        if not any(one.questions for one in records):
            raise MemsciError(
                f"{store.path} keeps no questions: its memories had none, or were encoded with --no-questions or by an "
                f"earlier version. Keep those of a table, 'memsci questions {store.path} questions.csv', or ask those of "
                "the table that was encoded: --table memories.csv."
            )
        return records
    from memsci.memory import text_hash

    memories = read()
    for memory in memories:
        if (known := store.text_hash(memory.id)) is None:
            raise store.unknown(memory.id)
        if known != text_hash(memory.text):
            raise MemsciError(
                f"Memory {memory.id!r} of {table} has another text than in {store.path}. Give the table that was encoded."
            )
    return memories
