"""The command-line program ``memsci``: what the Python interface does, for files and one question at a time.

Heavy packages are imported within the commands, so that ``memsci --help`` answers at once.
"""

from __future__ import annotations

import gc
import re
from typing import Annotated, Any

import typer
from typer import Option
from typer.core import TyperGroup

import memsci
from memsci.cli import asking, experiments, memories, terminal
from memsci.errors import MemsciError


def in_options(message: str) -> str:
    """A message in the terms of the command line: a setting of Python, ``sep=';'``, is an option there, ``--sep ';'``."""
    return re.sub(r"(?<![\w.(])([a-z_]+)=('[^']*')", lambda found: f"--{found[1].replace('_', '-')} {found[2]}", message)


class _Program(TyperGroup):
    """Commands whose `MemsciError` ends the program with its message and status 2, and no traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        # To import torch and transformers makes a million objects that stay: to look for garbage among them each time a few
        # hundred are new takes a quarter of the time to an answer.
        gc.set_threshold(100_000)
        terminal.replace_what_cannot_be_shown()
        return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MemsciError as error:
            terminal.say_error(in_options(str(error)))
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Program,
    name="memsci",
    help="Memories in the weights of a language model, one gated adapter each.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)


@app.callback(invoke_without_command=True)
def _program(version: Annotated[bool, Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        terminal.say(f"memsci {memsci.__version__}")
        raise typer.Exit


for _command in (
    memories.demo, memories.encode, asking.ask, asking.recall, asking.gate, asking.test, memories.probe,
    memories.compress, memories.forget, memories.info, experiments.run, experiments.score, experiments.publish,
    experiments.harness, experiments.figures,
):  # fmt: skip
    app.command()(_command)
app.command("runs")(experiments.list_runs)
