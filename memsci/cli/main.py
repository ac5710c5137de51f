"""The command-line program ``memsci``: what the Python interface does, for files and one question at a time.

Heavy packages are imported within the commands, so that ``memsci --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

import memsci
from memsci.config import ENERGY, FLOAT8, STORED
from memsci.errors import MemsciError

if TYPE_CHECKING:
    import pandas as pd

# Widths of tables follow the terminal; texts are never cut to them (soft_wrap), so that they can be piped on.
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class _Program(TyperGroup):
    """Commands whose `MemsciError` ends the program with its message and status 2, and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MemsciError as error:
            err.print(Text(f"Error: {error}", style="red"), soft_wrap=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Program,
    name="memsci",
    help="Memories in the weights of a language model, one gated adapter each.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)


class Preset(StrEnum):
    """Named encoding settings."""

    paper = "paper"
    embedded = "embedded"


class Setting(StrEnum):
    """The halves of the built-in world."""

    episodic = "episodic"
    semantic = "semantic"


STORE = Annotated[Path, typer.Argument(help="Folder of a store, as written by 'memsci encode'.", show_default=False)]
BASE = Annotated[
    str | None,
    typer.Option("--base", help="Base model: a name on the hub or a folder. Default: the one named in the store."),
]
BETA = Annotated[
    float | None,
    typer.Option("--beta", min=0.0, help="Sharpness of the gate: 0 is uniform, inf the best memory alone."),
]
EPSILON = Annotated[
    float | None,
    typer.Option(
        "--epsilon",
        min=0.0,
        max=1.0,
        help="Shut the memories that together weigh no more: quick, however many there are.",
    ),
]


@app.callback(invoke_without_command=True)
def _program(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        out.print(f"memsci {memsci.__version__}")
        raise typer.Exit


@app.command()
def demo(
    setting: Annotated[Setting, typer.Option(help="Which half of the built-in world.")] = Setting.episodic,
    partition: Annotated[int, typer.Option(min=0, max=19, help="Which of its 20 partitions.")] = 0,
    figures: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
) -> None:
    """Encode the 50 memories of a built-in partition, recall them, answer about them; a table, and figures."""
    from memsci import demo as demonstration

    tables = demonstration.demo(setting=setting.value, partition=partition, figures=figures)
    out.print(_table(tables["summary"], title=f"{setting.value}, partition {partition}"))
    out.print(_table(tables["gates"], title="Correct gate, by embedding"))
    out.print(f"Figures are in {figures}/.", soft_wrap=True, markup=False)


@app.command()
def encode(
    memories_file: Annotated[
        Path,
        typer.Argument(help="CSV, JSONL or Parquet with a column 'text'; optional: id, label, paraphrases, questions."),
    ],
    store: Annotated[Path, typer.Option(help="Folder of the store: a new one, or one to add to.")],
    base: Annotated[
        str | None, typer.Option(help="Base model: a name on the hub or a folder. Default: the shipped model.")
    ] = None,
    preset: Annotated[
        Preset | None, typer.Option(help="Encoding settings. Default: what suits the base.", show_default=False)
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of each adapter, instead of the preset's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, instead of the preset's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over each memory, instead of the preset's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Keep the texts in the store too.")] = False,
) -> None:
    """Turn the memories of a table into adapters, and keep them in a store; the same command again goes on with it."""
    memories = memsci.data.table(memories_file)
    model = memsci.load(base)
    changes = {name: value for name, value in {"rank": rank, "lr": lr, "epochs": epochs}.items() if value is not None}
    encoding = None
    if preset or changes:
        named = preset or (Preset.paper if base else Preset.embedded)
        encoding = dataclasses.replace(getattr(memsci.Encoding, named.value)(), **changes)
    mind = memsci.MEGa(model, store=store, encoding=encoding, seed=seed, keep_text=keep_text)
    encoded = mind.encode(memories)
    out.print(_table(encoded, title=f"{_memories(len(encoded))} encoded into {store}"))


@app.command()
def ask(
    store: STORE,
    question: Annotated[str, typer.Argument(help="What to ask; ample context helps the gate.", show_default=False)],
    via_recall: Annotated[
        bool, typer.Option("--via-recall", help="Recall the memory first, then answer from the recall (iRAG).")
    ] = False,
    recall: Annotated[bool, typer.Option("--recall", help="Tell the whole memory instead of answering.")] = False,
    beta: BETA = None,
    epsilon: EPSILON = None,
    base: BASE = None,
) -> None:
    """Answer a question from the memories in a store."""
    if recall and via_recall:
        raise MemsciError("--recall tells the memory, --via-recall answers from it: choose one of the two.")
    mind = _open(store, base, epsilon)
    reply = mind.recall(question, beta=beta) if recall else mind.answer(question, via_recall=via_recall, beta=beta)
    out.print(reply, soft_wrap=True, markup=False)


@app.command()
def gate(
    store: STORE,
    query: Annotated[str, typer.Argument(help="Any text.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many memories to show, best first.")] = 10,
    beta: BETA = None,
    epsilon: EPSILON = None,
    base: BASE = None,
) -> None:
    """Show which memories a query opens, and how far; with --epsilon only those that it may open."""
    mind = _open(store, base, epsilon)
    shown = mind.gate(query, beta=beta).frame().sort_values("rank").head(top).drop(columns="query")
    out.print(_table(shown, title=f"{len(shown)} of {_memories(len(mind))}"))


@app.command()
def probe(
    store: Annotated[
        Path | None, typer.Argument(help="Folder of a store. Default: encode 12 built-in memories.", show_default=False)
    ] = None,
    base: BASE = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 finds a free one.")] = 0,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MEMSCI_PROBE_TOKEN", help="What lets a browser in. Default: a new one.", show_default=False
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """See in the browser which memories a question opens, and answer with any gate; on this machine alone."""
    import webbrowser
    from threading import Thread

    from memsci.widgets.serve import serve

    def ready(address: str) -> None:
        out.print(f"The probe is at {address}\nCtrl+C ends it.", soft_wrap=True, markup=False)
        if browser:  # some browsers come back only when they are closed
            Thread(target=webbrowser.open, args=[address], daemon=True).start()

    serve(store, base, port, token, ready)


@app.command()
def compress(
    store: STORE,
    target: Annotated[Path, typer.Argument(help="Folder of the new store; nothing may be there.", show_default=False)],
    rank: Annotated[
        int | None,
        typer.Option(
            help="Largest rank on a linear map; fewer are kept where --energy needs fewer.", show_default=False
        ),
    ] = None,
    energy: Annotated[
        float,
        typer.Option(
            help="Share of each memory's squared singular values that is to be kept, also with --rank; 1 keeps all."
        ),
    ] = ENERGY,
    dtype: Annotated[str, typer.Option(help=f"Precision of the numbers: {', '.join(STORED)}.")] = FLOAT8,
) -> None:
    """Copy all memories of a store into a smaller one; the store itself stays as it is."""
    from memsci.store.compress import compress as smaller_store
    from memsci.store.store import Store

    opened = Store(store)
    smaller = smaller_store(opened, target, rank, energy, dtype)
    sizes = f"{opened.nbytes / 1e6:.1f} MB to {smaller.nbytes / 1e6:.1f} MB"
    out.print(f"{_memories(len(smaller))} compressed into {target}: {sizes}.", soft_wrap=True, markup=False)


@app.command()
def forget(
    store: STORE,
    id: Annotated[str, typer.Argument(help="Id of the memory, as 'memsci info STORE' shows it.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove one memory from a store, also a damaged one. It cannot be brought back."""
    from memsci.store.store import Store

    opened = Store(store)
    if not yes:
        typer.confirm(f"Forget {id!r} for good?", abort=True, err=True)
    opened.forget(id)
    out.print(f"Forgot {id}; left: {_memories(len(opened))}.", soft_wrap=True, markup=False)


@app.command()
def info(store: Annotated[Path | None, typer.Argument(help="Folder of a store.", show_default=False)] = None) -> None:
    """Show what a store holds; without one, the versions at work."""
    if store is None:
        _about()
        return
    import pandas as pd

    from memsci.store.store import Store

    opened = Store(store)
    columns = ["order", "id", "label", "loss", "created"]
    rows = [(r.order, r.id, r.label, r.losses[-1] if r.losses else math.nan, r.created) for r in opened.records]
    base = opened.header["base"]
    title = f"{_memories(len(opened))}, {opened.nbytes / 1e6:.1f} MB"
    out.print(_table(pd.DataFrame(rows, columns=columns), title=title))
    out.print(f"Base model: {base['name']} (fingerprint {base['fingerprint'][:12]})", soft_wrap=True, markup=False)
    for name in ("encoding", "embedding", "gate"):
        if settings := opened.header.get(name):
            text = ", ".join(f"{key} {value}" for key, value in settings.items())
            out.print(f"{name.capitalize()}: {text}", soft_wrap=True, markup=False)


@app.command()
def run(
    experiment: Annotated[
        str, typer.Argument(help="Name of an experiment ('memsci runs --experiments' lists them), or a TOML file.")
    ],
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="episodic, semantic, wiki, fictional or a table of your own; may be given several times."),
    ] = None,
    partitions: Annotated[str | None, typer.Option(help="Such as 0-19 or 0,3,7.", show_default=False)] = None,
    methods: Annotated[
        str | None, typer.Option(help="Only these, such as 'MEGa,RAG,Full+L2'.", show_default=False)
    ] = None,
    stops: Annotated[
        str | None, typer.Option(help="Ask after so many memories, such as 1,5,50.", show_default=False)
    ] = None,
    memories: Annotated[
        int | None, typer.Option(help="Only the first so many of each partition.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting for all methods that read it, such as autocast=true or rank=16; several times.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model: a name on the hub or a folder. Default: the shipped model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    quiz: Annotated[
        str, typer.Option(help="General knowledge: 'built-in', 'mmlu' (from the hub), or a folder with MMLU.")
    ] = "built-in",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Number type of the base's weights, such as bfloat16, on all workers. Default: float32 where this machine "
            "has no GPU, else the checkpoint's own.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    processes: Annotated[
        int | None,
        typer.Option(
            help="Cells at a time. Default: one per GPU, else one per core; for slurm, pbs and lsf say how many.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of each process. Default: cores / processes; on a cluster 1.", show_default=False),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Run on Dask: tcp://HOST:PORT, local, slurm, pbs or lsf.", show_default=False)
    ] = None,
    job: Annotated[
        list[str] | None,
        typer.Option(
            help="What a batch job asks for, such as memory=32GB, walltime=08:00:00 or "
            "job_extra_directives=--gres=gpu:1; several times."
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would take, and start nothing.")] = False,
) -> None:
    """Run an experiment, or go on with it: tables in a folder named after the content of the run."""
    from memsci import experiments, runs

    chosen = runs.choose(
        experiment,
        dataset,
        experiments.numbers(partitions) if partitions else None,
        _names(methods) if methods else None,
        experiments.numbers(stops) if stops else None,
        memories,
        "; ".join(settings or ()),
    )
    if plan:
        _plan(chosen, base, seed)
        return
    options = {}
    for text in job or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise MemsciError(f"--job takes NAME=VALUE, such as memory=32GB; {text!r} was given.")
        value = int(value) if value.isdigit() else value
        earlier = options.get(name)
        options[name] = value if earlier is None else [*(earlier if isinstance(earlier, list) else [earlier]), value]
    prepared = runs.prepare(chosen, base, seed, folder, quiz, dtype)
    if runs.status(prepared.folder) == "finished" and not prepared.left:
        out.print(f"{prepared.folder} is finished; nothing is left to do.", soft_wrap=True, markup=False)
        return
    path = runs.run(prepared, processes, threads, cluster, options)
    out.print(f"Tables are in {path}; 'memsci figures {path}' draws them.", soft_wrap=True, markup=False)


@app.command("runs")
def list_runs(
    folder: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    experiments: Annotated[bool, typer.Option("--experiments", help="Show the experiments instead.")] = False,
) -> None:
    """Show the runs in a folder and how far they are."""
    import pandas as pd

    from memsci import experiments as shipped

    if experiments:
        found = [shipped.load(name) for name in shipped.names()]
        rows = [(one.name, one.title, one.paper, len(one.cells())) for one in found]
        out.print(_table(pd.DataFrame(rows, columns=["name", "shows", "paper", "cells"]), title="Experiments"))
        return
    from memsci import runs

    out.print(_table(runs.find(folder), title=f"Runs in {folder}"))


@app.command()
def score(
    run: Annotated[
        str, typer.Argument(help="Folder of a run, or its name or the beginning of it.", show_default=False)
    ],
    judge: Annotated[
        str | None,
        typer.Option(
            help="Also ask this language model whether answers are right, such as o3-mini.", show_default=False
        ),
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint of the judge; questions and answers are sent there.")
    ] = "https://api.openai.com/v1",
    key_env: Annotated[
        str | None,
        typer.Option(
            help="Environment variable with the endpoint's key. Default: OPENAI_API_KEY for api.openai.com, else no key.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Score the answers of a run anew, without its model: after a change of the metrics, or with a further judge."""
    from memsci import runs
    from memsci.measures import judges as judging
    from memsci.runs.folder import locate

    path = locate(run, folder)
    runs.score(path, [judging.LLMJudge(judge, endpoint, key_env, path / "judged.jsonl")] if judge else [])
    out.print(f"Scores and curves in {path} are new.", soft_wrap=True, markup=False)


@app.command()
def ship(
    run: Annotated[
        str, typer.Argument(help="Folder of a finished run, or its name or the beginning of it.", show_default=False)
    ],
    to: Annotated[Path, typer.Argument(help="Folder to be filled.", show_default=False)],
    add: Annotated[bool, typer.Option("--add", help="Add its partitions to those of the run that lies there.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Put the figures of a finished run, and the tables that they follow from, into a folder for others."""
    from memsci import runs
    from memsci.runs.folder import locate

    shipped = runs.ship(locate(run, folder), to, add)
    out.print(f"{len(shipped)} files in {to}.", soft_wrap=True, markup=False)


@app.command()
def harness(
    store: Annotated[
        Path | None, typer.Argument(help="Folder of a store. Default: the base alone.", show_default=False)
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="Tasks of lm-evaluation-harness, with commas between: 'mmlu' is all 57 subjects.")
    ] = "mmlu",
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions of each task.", show_default=False)] = None,
    wording: Annotated[
        str, typer.Option(help="'harness', or 'paper': the same questions in the paper's words.")
    ] = "harness",
    include: Annotated[
        Path | None, typer.Option(help="Folder with task files of your own.", show_default=False)
    ] = None,
    to: Annotated[Path | None, typer.Option(help="CSV file for the table.", show_default=False)] = None,
    base: BASE = None,
) -> None:
    """General knowledge by lm-evaluation-harness, the gates open to each question; needs the extra 'harness'."""
    from memsci.evaluate.harness import mmlu
    from memsci.learners import BaseAlone

    learner = BaseAlone(memsci.load(base)) if store is None else _open(store, base)
    if to is not None:
        try:  # what cannot be written is said now, not after hours
            if to.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            to.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MemsciError(f"{to} cannot be written ({error.strerror or error}). Name a file elsewhere.") from None
    found = mmlu(learner, _names(tasks), limit, wording=wording, folder=include)
    average = f"{100 * found['accuracy'].mean():.1f} % of {found['n'].sum()} questions, macro average"
    out.print(_table(found[["subject", "n", "correct", "accuracy"]], title=f"{learner.name}: {average}"))
    if to is not None:
        found.to_csv(to, index=False)


@app.command()
def figures(
    run: Annotated[
        str, typer.Argument(help="Folder of a run, or its name or the beginning of it.", show_default=False)
    ],
    folder: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    to: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
) -> None:
    """Draw the figures of a run anew from its tables; no model is needed."""
    from memsci.runs.folder import locate
    from memsci.runs.report import draw

    for file in draw(locate(run, folder), to):
        out.print(str(file), soft_wrap=True, markup=False)


def _plan(experiment: Any, base: str | None, seed: int) -> None:
    """What a run would take."""
    from memsci.runs.plan import plan, size

    found = plan(experiment, base, seed)
    for name, value in found.facts.items():
        out.print(f"{name:<8} {value}", soft_wrap=True, markup=False)
    # Two tables: each fits 80 columns.
    training = ["method", "cells", "steps", "examples", "fisher", "core hours", "GPU hours"]
    out.print(_table(found.calls[training], title="Training, and estimated hours of all"))
    asking = ["method", *(name for name in found.calls if name not in training)]
    out.print(_table(found.calls[asking], title="Texts generated, weighed and embedded"))
    if found.adapter is not None:
        out.print(_table(found.adapter, title="Adapter of one memory: W + γ B A on each of these maps"))
    shown = found.memory.assign(RAM=found.memory["RAM"].map(size), VRAM=found.memory["VRAM"].map(size))
    out.print(_table(shown, title="The most that one process holds: processor in float32, GPU in bfloat16"))


def _about() -> None:
    """Versions, device and the shipped model."""
    import platform
    from importlib.metadata import version
    from importlib.resources import files

    import torch

    shipped = files("memsci") / "assets" / "base" / "model.safetensors"
    rows = {
        "memsci": memsci.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers")},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "processor",
        "shipped model": f"{shipped.stat().st_size / 1e6:.1f} MB" if shipped.is_file() else "none: run 'make base'",
    }
    for name, value in rows.items():
        out.print(f"{name:<14} {value}", soft_wrap=True, markup=False)


def _open(store: Path, base: str | None, epsilon: float | None = None) -> Any:
    """The mind of a store, on the base named or the store's own, with its gate's rule but for ε."""
    mind = memsci.open(store, base=None if base is None else memsci.load(base))
    if epsilon is not None:
        mind.rule = dataclasses.replace(mind.rule, epsilon=epsilon)
    return mind


def _names(text: str) -> list[str]:
    """The names in a list with commas between, spaces or none beside them."""
    return [name.strip() for name in text.split(",")]


def _memories(n: int) -> str:
    return f"{n} memor{'y' if n == 1 else 'ies'}"


def _table(frame: pd.DataFrame, title: str) -> Table:
    """A table for the terminal: numbers to the right with four digits, texts as they are."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    numeric = {name for name in frame.columns if frame[name].dtype.kind in "iuf"}
    for name in frame.columns:
        table.add_column(str(name), justify="right" if name in numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None or value != value:  # nothing to show: None and nan
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
