"""What the program prints: plain lines, tables as wide as the terminal, errors in red."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memsci.errors import MemsciError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def replace_what_cannot_be_shown() -> None:
    """Print "?" for a character that the terminal's encoding lacks, such as a Hebrew letter in cp1252."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def say(text: object, style: str | None = None) -> None:
    """A line that is never cut to the terminal's width, so that it can be piped on."""
    out.print(str(text), soft_wrap=True, markup=False, style=style)


def note(text: str) -> None:
    """A line beside the output proper, on the standard error."""
    err.print(text, soft_wrap=True, markup=False)


def make_room(file: Path | None) -> None:
    """Make the folder of a file to be written: what cannot be is said now, not after hours."""
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
        except OSError as error:
            raise MemsciError(f"{file} cannot be written ({error.strerror or error}). Name a file elsewhere.") from None


@contextmanager
def stoppable(tell: Callable[[], str]) -> Iterator[None]:
    """Within the block Ctrl-C ends the program with a line that says what is kept; its status is then 130."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"\nStopped, {tell()}; the same command goes on.")
        raise typer.Exit(130) from None


def note_warnings(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Show a warning of ours as a line, without the place in the code; those of other packages are for developers."""
    if category is UserWarning:
        note(f"Note: {message}")


def say_error(message: str) -> None:
    """An error as one line in red."""
    err.print(Text(f"Error: {message}", style="red"), soft_wrap=True)


def show(frame: pd.DataFrame, title: str) -> None:
    """A table: numbers to the right with four digits, texts as they are."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for name in frame.columns:
        numeric = frame[name].dtype.kind in "iuf"
        table.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(_cell(value)) for value in row))
    out.print(table)


def memories(n: int) -> str:
    """A number of memories in words."""
    return f"{n} memor{'y' if n == 1 else 'ies'}"


def _cell(value: object) -> str:
    if value is None or value != value:  # nothing to show: None and nan
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
