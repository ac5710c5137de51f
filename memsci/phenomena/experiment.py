"""A phenomenon as an experiment: what one learner makes of one list is a piece of work by itself, done alone or in a run.

`enter` makes a phenomenon known, `in_plain_english` once more with other words; `run` does all its lists here and now,
`measure` one of them (what `memsci run` does, on as many processes and machines as there are).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from memsci.config import SMALL
from memsci.errors import MemsciError, check_in, check_whole
from memsci.memory import Memory
from memsci.models.base import OWN, Base
from memsci.phenomena.controls import Report
from memsci.phenomena.result import ABOUT, Phenomenon, tidy

Measure = Callable[..., pd.DataFrame]
Lists = int | Sequence[int]
"""How many lists, or their numbers."""


@dataclass(frozen=True)
class Experiment:
    """How a phenomenon is run.

    Attributes
    ----------
    name : str
        Of the phenomenon.
    methods : tuple of str
        Learners that it is run with, see `memsci.phenomena.controls.LEARNERS`.
    measure : callable
        ``measure(method, base, number, seed, report, **settings)``: rows of the table for one list.
    material : callable
        ``material(number)``: all memories of one list; the number alone decides them.
    protocol : str
        How it was done, in a sentence or two; it goes into every row.
    probes, studies : int
        About how many questions are put to a learner in a list, and how many memories one learns whose weights remember
        the order of study: what a run is planned by.
    encodes : bool
        Whether memories are learnt and recalled at all; else keys and probes are only embedded.
    settings : tuple of str
        Names of the settings that `measure` takes by name after the others. Where "memories" is one of them, the size of a
        list, `material` takes it too.
    each : bool
        Whether `probes` and `studies` count for each memory of a list.
    again : int
        Lessons on each memory after it was encoded, where it sleeps.
    """

    name: str
    methods: tuple[str, ...]
    measure: Measure
    material: Callable[..., Sequence[Memory]]
    protocol: str
    probes: int
    studies: int = 0
    encodes: bool = True
    settings: tuple[str, ...] = ()
    each: bool = False
    again: int = 0


EXPERIMENTS: dict[str, Experiment] = {}
PLAIN = "_plain"


def enter(experiment: Experiment) -> None:
    """Make a phenomenon known as an experiment."""
    EXPERIMENTS[experiment.name] = experiment


def in_plain_english(name: str, protocol: str = "", **told: Any) -> None:
    """Make a phenomenon known once more, under a name that ends in `PLAIN`: its measure and material take ``plain=True``.

    The words of the shipped base's world, two sentences in ten wordings, are too much for small public models. In plain
    English an event is one sentence in one wording, which they learn, and answer about.

    Parameters
    ----------
    name
        Of the phenomenon.
    protocol
        If it is not that of the phenomenon itself.
    told
        What of the title, claims and caption is otherwise, such as ``note=`` (`memsci.phenomena.about`).
    """
    known, about = EXPERIMENTS[name], ABOUT[name]
    enter(replace(
        known, name=name + PLAIN, material=partial(known.material, plain=True), measure=partial(known.measure, plain=True),
        protocol=f"{protocol or known.protocol} In plain English: one sentence and one wording.",
    ))  # fmt: skip
    ABOUT[name + PLAIN] = replace(about, name=name + PLAIN, title=f"{about.title}, in plain English", **told)


def suited(name: str, base: Base) -> str:
    """The name under which a phenomenon has the material that suits a base: plain English, unless it is one of the package's
    or so small (below 20 million parameters) that it reads none."""
    return name if base.name in OWN or base.model.num_parameters() < SMALL else name + PLAIN


def numbered(lists: Lists) -> list[int]:
    """The numbers of the lists: each once, since a list is the unit of every test."""
    if not isinstance(lists, Sequence) or isinstance(lists, str):
        check_whole("lists", lists, 1)
        return list(range(lists))
    for number in lists:
        check_whole("the number of a list", number, 0)
    if not lists or len(set(lists)) < len(lists):
        raise MemsciError(f"lists must be how many, or numbers that each come once; {lists!r} was given.")
    return list(lists)


def material(name: str, number: int, memories: int | None = None) -> Sequence[Memory]:
    """All memories of one list; `memories` is its size where lists may have another than their own."""
    check_in("phenomenon", name, EXPERIMENTS)
    check_whole("list", number, 0)
    if memories is None:
        return EXPERIMENTS[name].material(number)
    if "memories" not in EXPERIMENTS[name].settings:
        raise MemsciError(f"The lists of {name} have a size of their own. Leave the number of memories out.")
    return EXPERIMENTS[name].material(number, memories)


def measure(
    name: str,
    method: str,
    base: Base,
    number: int,
    seed: int = 0,
    report: Report = lambda done, total: None,
    **settings: Any,
) -> pd.DataFrame:
    """What one learner makes of one list: rows of the phenomenon's table, list by its number."""
    check_in("phenomenon", name, EXPERIMENTS)
    known = EXPERIMENTS[name]
    check_in(f"a learner of {name}", method, known.methods)
    for setting in settings:
        check_in(f"a setting of {name}", setting, known.settings)
    rows = known.measure(method, base, number, seed, report, **settings)
    return tidy(rows, phenomenon=name, list=number, seed=seed, protocol=known.protocol)


def run(
    name: str,
    base: Base,
    lists: Lists,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> Phenomenon:
    """All lists of a phenomenon, one after another.

    Parameters
    ----------
    name
        Of the phenomenon.
    base
        From `memsci.load`; it stays as it is.
    lists
        How many lists, each a draw of material of its own and the unit of every test; or their numbers.
    methods
        Some of the phenomenon's learners; None for all.
    seed
        Of learning; what is learnt follows from the number of the list.
    progress
        Show a bar.
    settings
        Some of the phenomenon's own.

    Raises
    ------
    MemsciError
        The phenomenon is not run with that learner.
    """
    check_in("phenomenon", name, EXPERIMENTS)
    known = EXPERIMENTS[name]
    numbers = numbered(lists)
    methods = known.methods if methods is None else [methods] if isinstance(methods, str) else methods
    methods = list(dict.fromkeys(methods))
    if not methods:
        raise MemsciError(f"A learner of {name} is needed, such as {known.methods[-1]!r}; none was given.")
    for method in methods:
        check_in(f"a learner of {name}", method, known.methods)
    work = [(number, method) for number in numbers for method in methods]
    tables = []
    with tqdm(work, desc=name, unit="list", disable=not progress) as bar:
        for number, method in bar:
            bar.set_postfix_str(f"list {number}, {method}")
            tables.append(measure(name, method, base, number, seed, **settings))
    protocol = {"base": base.name, "fingerprint": base.fingerprint, "lists": numbers, "methods": methods, "seed": seed}
    protocol |= settings
    return Phenomenon(name, pd.concat(tables, ignore_index=True), protocol={**protocol, "how": known.protocol})
