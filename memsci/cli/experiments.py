"""Commands for experiments and their runs: run, score, publish, draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

import memsci
from memsci.cli import terminal
from memsci.cli.asking import open_store
from memsci.cli.options import (
    BASE,
    COLUMN,
    DECIMAL,
    ENCODING,
    FILE,
    FOLDER,
    RUN,
    RUN_BASE,
    RUNS,
    SEED,
    SEP,
    SHEET,
    how_to_read,
    names,
    read,
)
from memsci.errors import MemsciError

if TYPE_CHECKING:
    from memsci.experiments import Experiment

_NUMBERS = ("cores", "processes", "death_timeout", "ncpus", "mem", "job_cpu")  # of dask-jobqueue; all else is text
_SEVERAL = ("job_extra_directives", "job_directives_skip", "job_script_prologue", "worker_extra_args")


def run(
    experiment: Annotated[str, Argument(help="An experiment of 'memsci runs --experiments', or a TOML file.")],
    dataset: Annotated[
        list[str] | None, Option(help="episodic, semantic, wiki, fictional or a table of yours; repeatable.")
    ] = None,
    partitions: Annotated[str | None, Option(help="Such as 0-19 or 0,3,7.")] = None,
    methods: Annotated[str | None, Option(help="Only these, such as 'MEGa,RAG,Full+L2'.")] = None,
    stops: Annotated[str | None, Option(help="Ask after so many memories, such as 1,5,50.")] = None,
    memories: Annotated[int | None, Option(help="Only the first so many of each partition.")] = None,
    settings: Annotated[
        list[str] | None, Option("--set", help="A setting of all methods that read it, such as rank=16; repeatable.")
    ] = None,
    base: RUN_BASE = None,
    seed: SEED = 0,
    quiz: Annotated[
        str, Option(help="General knowledge: 'built-in', 'mmlu' (from the hub), or a folder with it.")
    ] = "built-in",
    dtype: Annotated[
        str | None, Option(help="Number type of weights. Default: float32 without a GPU, else the checkpoint's.")
    ] = None,
    folder: RUNS = Path("runs"),
    processes: Annotated[
        int | None, Option(help="Cells at a time. Default: one per GPU or core; required on a cluster.")
    ] = None,
    threads: Annotated[int | None, Option(help="Threads of a process. Default: cores / processes; on a cluster 1.")] = None,
    cluster: Annotated[str | None, Option(help="Run on Dask: tcp://HOST:PORT, local, slurm, pbs or lsf.")] = None,
    job: Annotated[
        list[str] | None,
        Option(help="What a batch job asks for, such as memory=32GB or job_extra_directives=--gres=gpu:1; repeatable."),
    ] = None,
    sep: SEP = None,
    encoding: ENCODING = None,
    decimal: DECIMAL = None,
    sheet: SHEET = None,
    column: COLUMN = None,
    plan: Annotated[bool, Option("--plan", help="Show what the run would take, and start nothing.")] = False,
) -> None:
    """Run an experiment, or resume it: tables in a folder named after the content of the run."""
    from memsci import experiments, runs
    from memsci.runs.cluster import QUEUES, check_name

    how = how_to_read(sep, encoding, decimal, sheet, column)
    chosen = runs.choose(
        experiment,
        _plain_tables(dataset or (), folder, how) if how else dataset,
        None if partitions is None else experiments.numbers(partitions),
        None if methods is None else names(methods),
        None if stops is None else experiments.numbers(stops),
        memories,
        "; ".join(settings or ()),
    )
    options = _job_options(job or ())
    if options and cluster not in QUEUES:
        raise MemsciError(f"--job says what a batch job asks for: give it together with --cluster {', '.join(QUEUES)}.")
    if cluster:
        check_name(cluster)  # a plan needs nothing of it
    _say_what_suits(chosen, base or chosen.base)
    if plan:
        _plan(chosen, base, seed)
        return
    runs.check_workers(processes, threads, cluster)  # said now, not when a model has been read
    prepared = runs.prepare(chosen, base, seed, folder, quiz, dtype)
    if runs.status(prepared.folder) == "finished" and not prepared.left:
        terminal.say(f"{prepared.folder} is finished; nothing is left to do.")
        return
    done = lambda: f"{len(prepared.jobs) - len(prepared.left)} of {len(prepared.jobs)} cells"
    if len(prepared.left) < len(prepared.jobs):
        terminal.note(f"{done()} are finished already in {prepared.folder}; {len(prepared.left)} to go.")
    with terminal.stoppable(lambda: f"{done()} kept in {prepared.folder}"):
        path = runs.run(prepared, processes, threads, cluster, options)
    terminal.say(f"Tables are in {path}; 'memsci figures {path}' draws them.")


def _say_what_suits(chosen: Any, base: str | None) -> None:
    """That there is an experiment with material for public models, where one of the built-in world's words was chosen."""
    from memsci.experiments import PHENOMENA
    from memsci.models.base import OWN
    from memsci.phenomena.experiment import PLAIN

    plain = [name + PLAIN for name in chosen.datasets if name + PLAIN in PHENOMENA]
    if plain and base not in (None, *OWN):
        terminal.note(
            f"{chosen.name} tells its events in the words of the built-in world, which small public models hardly learn or "
            f"answer about. {plain[0]} is the same in plain English."
        )


def list_runs(
    folder: RUNS = Path("runs"),
    experiments: Annotated[bool, Option("--experiments", help="Show the experiments instead.")] = False,
) -> None:
    """Show the runs in a folder and how far they are."""
    import pandas as pd

    from memsci import experiments as shipped
    from memsci import runs

    if experiments:
        rows = [(one.name, one.title, one.paper, len(one.cells())) for one in map(shipped.load, shipped.names())]
        terminal.show(pd.DataFrame(rows, columns=["name", "shows", "paper", "cells"]), title="Experiments")
    else:
        terminal.show(runs.find(folder), title=f"Runs in {folder}")


def score(
    run: RUN,
    judge: Annotated[str | None, Option(help="A language model that judges the answers too, such as o3-mini.")] = None,
    endpoint: Annotated[
        str, Option(help="OpenAI-compatible endpoint that gets questions and answers.")
    ] = "https://api.openai.com/v1",
    key_env: Annotated[
        str | None, Option(help="Variable with the key. Default: OPENAI_API_KEY for api.openai.com, else none.")
    ] = None,
    folder: RUNS = Path("runs"),
) -> None:
    """Score the answers of a run again, without its model: after a change of the metrics, or with another judge."""
    from memsci import runs
    from memsci.measures import judges as judging
    from memsci.runs.folder import locate

    path = locate(run, folder)
    runs.score(path, [judging.LLMJudge(judge, endpoint, key_env, path / "judged.jsonl")] if judge else [])
    terminal.say(f"Scores and curves in {path} are new.")


def publish(
    run: RUN,
    to: Annotated[Path, Argument(help="Folder to be filled.", **FOLDER)],
    add: Annotated[bool, Option("--add", help="Add its partitions to those of the run that lies there.")] = False,
    folder: RUNS = Path("runs"),
) -> None:
    """Copy the figures of a finished run, and the tables behind them, into a folder for others."""
    from memsci import runs
    from memsci.runs.folder import locate

    written = runs.publish(locate(run, folder), to, add)
    terminal.say(f"{len(written)} files in {to}.")


def harness(
    store: Annotated[Path | None, Argument(help="Folder of a store. Default: the base alone.", **FOLDER)] = None,
    tasks: Annotated[str, Option(help="Tasks of the harness, such as mmlu_law,mmlu_art; 'mmlu' is all 57.")] = "mmlu",
    limit: Annotated[int | None, Option(min=1, help="Most questions of each task.")] = None,
    wording: Annotated[str, Option(help="'harness', or 'paper': the same questions in the paper's words.")] = "harness",
    include: Annotated[Path | None, Option(help="Folder with task files of your own.", **FOLDER)] = None,
    to: Annotated[Path | None, Option(help="CSV file for the table.", **FILE)] = None,
    base: BASE = None,
) -> None:
    """General knowledge by lm-evaluation-harness, the gates open to each question; needs the extra 'harness'."""
    from memsci.evaluate.harness import mmlu
    from memsci.learners import BaseAlone

    learner = BaseAlone(memsci.load(base)) if store is None else open_store(store, base)
    terminal.make_room(to)
    found = mmlu(learner, names(tasks), limit, wording=wording, folder=include)
    average = f"{100 * found['accuracy'].mean():.1f} % of {found['n'].sum()} questions, macro average"
    terminal.show(found[["subject", "n", "correct", "accuracy"]], title=f"{learner.name}: {average}")
    if to is not None:
        found.to_csv(to, index=False)


def figures(
    run: RUN,
    folder: RUNS = Path("runs"),
    to: Annotated[Path, Option(help="Folder for the figures.", **FOLDER)] = Path("figures"),
    size: Annotated[
        str, Option(help="print, slide; for a journal column (90 mm) or page (190 mm), with a caption beside each figure.")
    ] = "print",
) -> None:
    """Draw the figures of a run again from its tables; no model is needed."""
    from memsci.runs.folder import locate
    from memsci.runs.report import draw

    for file in draw(locate(run, folder), to, size):
        terminal.say(file)


def _plain_tables(datasets: Sequence[str], folder: Path, how: dict[str, Any]) -> list[str]:
    """The data sets, with each table that is read as these options say written as JSON Lines beside the runs: that is read
    alike by every process, and when the run goes on."""
    from memsci.files import make_folder
    from memsci.memory import to_frame

    found = []
    for one in datasets:
        if Path(one).suffix:
            frame = to_frame(read(Path(one).expanduser(), how))
            plain = make_folder(folder / "tables") / f"{Path(one).stem}.jsonl"
            frame.to_json(plain, orient="records", lines=True, force_ascii=False, double_precision=15)
            one = str(plain)
        found.append(one)
    if found == list(datasets):
        raise MemsciError(
            "--column, --sep, --encoding, --decimal and --sheet say how a table is read: name one with --dataset."
        )
    return found


def _job_options(given: list[str]) -> dict[str, Any]:
    """Options of a batch job from texts NAME=VALUE: a value is text unless its name stands for a number."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise MemsciError(f"--job takes NAME=VALUE, such as memory=32GB; {text!r} was given.")
        if name in _SEVERAL:
            options.setdefault(name, []).append(value)
        elif name in options:
            raise MemsciError(f"--job {name} was given twice. Only {', '.join(_SEVERAL)} may be.")
        else:
            options[name] = int(value) if name in _NUMBERS and value.isdecimal() else value
    return options


def _plan(experiment: Experiment, base: str | None, seed: int) -> None:
    """What a run would take."""
    from memsci.runs.plan import plan, size, time

    found = plan(experiment, base, seed)
    for name, value in found.facts.items():
        terminal.say(f"{name:<8} {value}")
    # Two tables: each fits 80 columns.
    training = ["method", "cells", "steps", "examples", "fisher"]
    times = {"one core": found.calls["core hours"].map(time), "one GPU": found.calls["GPU hours"].map(time)}
    title = "Training, and time of all (within a factor of two)"
    terminal.show(found.calls[training].assign(**times), title=title)
    asking = ["method", *(name for name in found.calls if name not in (*training, "core hours", "GPU hours"))]
    terminal.show(found.calls[asking], title="Texts generated, weighed and embedded")
    if found.adapter is not None:
        terminal.show(found.adapter, title="Adapter of one memory: W + γ B A on each of these maps")
    sizes = found.memory.assign(RAM=found.memory["RAM"].map(size), VRAM=found.memory["VRAM"].map(size))
    terminal.show(sizes, title="Most memory of one process: processor in float32, GPU in bfloat16")
