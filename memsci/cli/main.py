"""The command-line program ``memsci``: what the Python interface does, for files and one question at a time.

Heavy packages are imported within the commands, so that ``memsci --help`` answers at once.
"""

from __future__ import annotations

import gc
import re
import warnings
from typing import Annotated, Any

import typer
from typer import Option
from typer.core import TyperGroup

import memsci
from memsci.cli import asking, experiments, memories, terminal
from memsci.errors import MemsciError

_PAIR = re.compile(r"'([^']*)': '([^']*)'")


def in_options(message: str) -> str:
    """A message in the terms of the command line: a setting of Python, ``sep=';'``, is an option there, ``--sep ';'``."""
    pairs = lambda found: " ".join(f"--column '{name}={meaning}'" for name, meaning in _PAIR.findall(found[1]))
    message = re.sub(r"columns=\{([^}]*)\}", pairs, message)
    message = message.replace("again=True", "--again")
    return re.sub(r"(?<![\w.(])([a-z_]+)=('[^']*')", lambda found: f"--{found[1].replace('_', '-')} {found[2]}", message)


class _Program(TyperGroup):
    """Commands whose `MemsciError` ends the program with its message and status 2, and no traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        # To import torch and transformers makes a million objects that stay: to look for garbage among them each time a few
        # hundred are new takes a quarter of the time to an answer.
        gc.set_threshold(100_000)
        terminal.replace_what_cannot_be_shown()
        with warnings.catch_warnings():
            warnings.showwarning = terminal.note_warnings
            return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MemsciError as error:
            terminal.say_error(in_options(str(error)))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            terminal.note("\nStopped.")
            raise typer.Exit(130) from None


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


_QUESTION = '"Who filmed Olivia at the talent show in Bergen?"'
EXAMPLES = {
    memories.demo: ("memsci demo", "memsci demo --setting semantic --partition 3"),
    memories.encode: (
        "memsci encode memories.csv --store my-memories",
        "memsci encode memories.xlsx --store my-memories --base meta-llama/Llama-3.1-8B-Instruct --keep-text",
    ),
    memories.update: ('memsci update my-memories talent-show "Aunt Vera, not Olivia, sang at the talent show in Bergen."',),
    memories.questions: (
        "memsci questions my-memories questions.csv",
        "memsci questions my-memories fragen.csv --column Frage=question --column Antwort=answer",
    ),
    asking.ask: (
        f"memsci ask my-memories {_QUESTION}",
        f"memsci ask my-memories {_QUESTION} --via-recall",
        'memsci ask my-memories "Who filmed the talent show, and what did Nora lose?" --via-recall --k 2',
        f'memsci ask my-memories {_QUESTION} --unknown "I do not remember."',
        "memsci ask my-memories - < questions.txt > answers.txt",
    ),
    asking.recall: ('memsci recall my-memories "the talent show"', "memsci recall my-memories - < cues.txt"),
    asking.gate: (f"memsci gate my-memories {_QUESTION} --top 5",),
    asking.test: (
        "memsci test my-memories",
        "memsci test my-memories --method MEGa,iRAG,Base --out answers.csv",
        "memsci test my-memories --by condition",
        "memsci test my-memories --table memories.csv --method RAG",
    ),
    memories.probe: ("memsci probe", "memsci probe my-memories --port 8866 --no-browser"),
    memories.compress: ("memsci compress my-memories small-memories", "memsci compress my-memories small --rank 8"),
    memories.forget: ("memsci forget my-memories talent-show",),
    memories.info: ("memsci info", "memsci info my-memories", "memsci info --base meta-llama/Llama-3.2-1B-Instruct"),
    experiments.run: (
        "memsci run main --partitions 0-1 --plan",
        "memsci run prompts --memories 10",
        "memsci run main --dataset memories.csv --partitions 0 --methods MEGa,RAG,Base",
        "memsci run main --set autocast=true --cluster slurm --processes 8",
    ),
    experiments.list_runs: ("memsci runs", "memsci runs --experiments"),
    experiments.score: ("memsci score main-01", "memsci score main-01 --judge o3-mini"),
    experiments.publish: ("memsci publish main-01 figures/runs/main",),
    experiments.harness: ("memsci harness --tasks mmlu_law,mmlu_art --limit 50", "memsci harness my-memories --to mmlu.csv"),
    experiments.figures: ("memsci figures main-01 --to figures", "memsci figures main-01 --to figures --size column"),
}
for _command, _lines in EXAMPLES.items():
    # "\b": lines are kept as they are
    _shown = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in _lines)
    app.command("runs" if _command is experiments.list_runs else None, epilog=_shown)(_command)
