"""The learners that a phenomenon is compared over, put in the place of a participant: they study lists and are asked.

What tells where an effect comes from (`attribute`): one that RAG shows too, and that is gone under the true gate, is the
gate's; one that stays under the true gate is in the weights; one of LoRA and not of MEGa comes from storage that memories
share; one of the context alone from attention.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch

from memsci.errors import MemsciError, check_in
from memsci.gate.softmax import Gate
from memsci.learners.base import Learner
from memsci.learners.by_name import make
from memsci.learners.mega import MEGa
from memsci.memory import Memory
from memsci.models.base import OWN, Base

LEARNERS = ("Base", "RAG", "In context", "LoRA", "Full", "MEGa")
# Of MEGa: what its gate opens, the right memory alone, all memories of the list alike. *None of the last is in the paper.*
GATES = {"MEGa": "own", "MEGa, true gate": "true", "MEGa, β = 0": "uniform"}
ORDERLESS = ("Base", "RAG", "MEGa")  # whatever the order of study, they are the same afterwards
SHIPPED_CONTEXT = 3  # stories that the shipped base can read: its training had rows of 256 tokens

# What the rows of a probe keep of it, and of what was learnt before.
ABOUT_IT = ("method", "condition", "item", "studied", "question")

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Probe:
    """What is asked after a list was studied.

    Attributes
    ----------
    item : str
        Its name in tables.
    question : str
        What is asked.
    options : mapping
        Replies by name, each of which is weighed: its log probability is taken.
    about : str, optional
        Id of the memory that the true gate opens; None opens none.
    """

    item: str
    question: str
    options: Mapping[str, str] = field(default_factory=dict)
    about: str | None = None


@dataclass(frozen=True)
class Session:
    """Memories studied in an order by a learner that knows no other, and the probes that follow."""

    condition: str
    study: tuple[Memory, ...]
    probes: tuple[Probe, ...]


def names(method: str) -> list[str]:
    """What tables call a learner: MEGa is asked under three gates."""
    return list(GATES) if method == "MEGa" else [method]


def ask(
    method: str,
    base: Base,
    sessions: Sequence[Session],
    seed: int = 0,
    recall: bool = True,
    report: Report = lambda done, total: None,
) -> pd.DataFrame:
    """What a learner makes of every session.

    MEGa encodes each memory once, and a session is a subset of its store: adapters do not depend on one another, and
    the gate is that of a store with these memories alone (`MEGa.gate`, ``only``). Learners that change their weights study
    every different order of memories anew, going on from what several orders have in common.

    Parameters
    ----------
    method
        One of `LEARNERS`.
    base
        The base; it stays as it is.
    sessions
        What is studied and asked.
    seed
        Seed of the run.
    recall
        Ask for whole memories too.
    report
        Called with the memories learnt and their number.

    Returns
    -------
    pandas.DataFrame
        A row per session, method and probe: session and place (their numbers, from 0), condition, method (one of `names`),
        item, studied (ids of the memories of the session in their order, with blanks between), question, answer, recalled
        (None where nothing is recalled), and for every option a column "logprob NAME", in nats.
    """
    check_in("learner", method, LEARNERS)
    if not all(session.probes for session in sessions):
        raise MemsciError("A session has no probes. Give each at least one.")
    asked = _ask_mega if method == "MEGa" else _ask_each
    table = asked(method, base, sessions, seed, recall, report)
    orders = [" ".join(memory.id for memory in session.study) for session in sessions]
    table["studied"] = table["session"].map(dict(enumerate(orders)))
    return table.sort_values(["session", "place"], kind="stable", ignore_index=True)


def learner(method: str, base: Base, seed: int = 0) -> Learner:
    """A learner with the settings that MEGa has on this base, as far as it reads them: RAG finds by MEGa's own embedding."""
    mind = MEGa(base, seed=seed)
    if method == "MEGa":
        return mind
    return make(method, base, embedding=mind.embedding, rule=mind.rule, seed=seed)


def fitting(base: Base) -> int | None:
    """How many stories the base can read at a time; None: as many as its context holds."""
    return SHIPPED_CONTEXT if base.name in OWN else None


def joined(gates: Sequence[Gate], ids: Sequence[str], labels: Sequence[str]) -> Gate:
    """Gates over some of the memories each, row under row, as one over all: what a gate does not name is closed."""
    place = {id: column for column, id in enumerate(ids)}
    rows = []
    for one in gates:
        columns = torch.tensor([place[id] for id in one.ids], dtype=torch.int64)
        rows.append(torch.zeros(len(one.weights), len(ids), dtype=torch.float64).index_copy(1, columns, one.weights))
    weights = torch.cat(rows)
    return Gate(weights, weights, tuple(ids), tuple(labels), float("nan"))


def attribute(means: pd.DataFrame, measure: str, condition: str) -> str:
    """A first reading of where an effect comes from: by which learners' intervals are above 0. *Not in the paper.*

    It compares no learners with each other: that one interval holds 0 and another does not is no difference between them.
    Before a conclusion, test that difference (`Phenomenon.test` with claims of your own).

    Parameters
    ----------
    means
        Columns method, measure, condition and low: of `Phenomenon.means`, or the table that is published with a figure.
    measure, condition
        Of the effect, such as "harm" and "RI".

    Returns
    -------
    str
        "gate", "weights", "shared storage", "attention", several of them with commas between, or "" where none is found. A
        place is named only where all learners that tell it were run.

    Examples
    --------
    >>> lows = {"MEGa": 0.4, "RAG": 0.3, "MEGa, true gate": 0.0, "In context": 0.2}
    >>> means = pd.DataFrame({"method": lows.keys(), "measure": "harm", "condition": "RI", "low": lows.values()})
    >>> attribute(means, "harm", "RI")
    'gate'
    """
    for name, value in (("measure", measure), ("condition", condition)):
        check_in(name, value, means[name].dropna().unique())
    rows = means[(means["measure"] == measure) & (means["condition"] == condition)].set_index("method")["low"] > 0
    shows, lacks = rows.index[rows], rows.index[~rows]
    found = {
        "gate": {"MEGa", "RAG"} <= set(shows) and "MEGa, true gate" in lacks,
        "weights": "MEGa, true gate" in shows,
        "shared storage": "MEGa" in lacks and not {"LoRA", "Full"}.isdisjoint(shows),
        "attention": "MEGa" in lacks and "In context" in shows,
    }
    return ", ".join(name for name, holds in found.items() if holds)


# MEGa: every memory is encoded once, and all sessions are asked at once


def _ask_mega(method: str, base: Base, sessions, seed: int, recall: bool, report: Report) -> pd.DataFrame:
    mind = learner(method, base, seed)
    memories = list({memory.id: memory for session in sessions for memory in session.study}.values())
    report(0, len(memories))
    mind.encode(memories, progress=False)
    report(len(memories), len(memories))
    gates: dict[tuple, Gate] = {}
    rows, asked = [], []
    for number, session in enumerate(sessions):
        only = [memory.id for memory in session.study]
        for name, how in GATES.items():
            for place, probe in enumerate(session.probes):
                key = probe.question, how, probe.about if how == "true" else frozenset(only)
                if key not in gates:
                    gates[key] = _opened(mind, probe, how, only)
                rows.append((number, session.condition, name, place, probe.item))
                asked.append((probe, key))
    return _table(rows, _respond(mind, asked, recall, gates))


def _opened(mind: MEGa, probe: Probe, how: str, only: Sequence[str]) -> Gate:
    if how == "true":
        return mind.gate_by_hand([{probe.about: 1.0} if probe.about else {}])
    return mind.gate([probe.question], 0.0 if how == "uniform" else None, only=only)


# All others: a learner per order of study


def _ask_each(method: str, base: Base, sessions, seed: int, recall: bool, report: Report) -> pd.DataFrame:
    def key(session: Session) -> tuple[str, ...]:
        ids = tuple(memory.id for memory in session.study)
        return () if method == "Base" else tuple(sorted(ids)) if method in ORDERLESS else ids

    asked: dict[tuple, list[int]] = {}
    for number, session in enumerate(sessions):
        asked.setdefault(key(session), []).append(number)
    orders = {order: sessions[numbers[0]].study if order else () for order, numbers in asked.items()}
    total, done, tables = sum(_lessons(list(orders))), 0, []
    report(0, total)
    for order, one in _studied(learner(method, base, seed), orders, 0):
        done += one.fresh
        report(min(done, total), total)
        probes = [(number, place, probe) for number in asked[order] for place, probe in enumerate(sessions[number].probes)]
        rows = [(number, sessions[number].condition, method, place, probe.item) for number, place, probe in probes]
        told = _respond(one.learner, [(probe, (probe.question,)) for _, _, probe in probes], recall)
        tables.append(_table(rows, told))
    return pd.concat(tables, ignore_index=True)


@dataclass
class _Student:
    learner: Learner
    fresh: int  # memories learnt since the last


def _studied(start: Learner, orders: Mapping[tuple, tuple[Memory, ...]], depth: int, fresh: int = 0):
    """A learner for each order of study; what several orders begin with is learnt once."""
    for order in [order for order, study in orders.items() if len(study) == depth]:
        yield order, _Student(start, fresh)
        fresh = 0
    longer = {order: study for order, study in orders.items() if len(study) > depth}
    branches: dict[str, dict] = {}
    for order, study in longer.items():
        branches.setdefault(study[depth].id, {})[order] = study
    for place, branch in enumerate(branches.values()):
        # The last branch may have the learner itself.
        one = start if place == len(branches) - 1 else copy.deepcopy(start)
        common = _common(list(branch.values()), depth)
        one.learn(next(iter(branch.values()))[depth:common], progress=False)
        yield from _studied(one, branch, common, fresh + common - depth)
        fresh = 0


def _common(studies: Sequence[tuple[Memory, ...]], depth: int) -> int:
    """To what depth these orders are the same."""
    while all(len(study) > depth and study[depth].id == studies[0][depth].id for study in studies):
        depth += 1
    return depth


def _lessons(orders: Sequence[tuple[str, ...]]) -> list[int]:
    """Memories that are learnt for each order beyond what earlier ones share with it."""
    seen: set[tuple] = set()
    counts = []
    for order in orders:
        prefixes = {order[:k] for k in range(1, len(order) + 1)}
        counts.append(len(prefixes - seen))
        seen |= prefixes
    return counts


def _table(rows: Sequence[tuple], told: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["session", "condition", "method", "place", "item"]).join(told)


def _respond(
    one: Learner, asked: Sequence[tuple[Probe, tuple]], recall: bool, gates: Mapping[tuple, Gate] | None = None
) -> pd.DataFrame:
    """question, answer, recalled and the log probability of every option, a row per probe.

    With each probe comes a key that begins with its question and names its gate in `gates`: the same question under the
    same gate has the same reply, and is put once.
    """
    ids, labels = (one.ids, one.store.labels) if gates else ((), ())
    under = lambda keys: joined([gates[key] for key in keys], ids, labels) if gates else None
    once = list(dict.fromkeys(key for _, key in asked))
    questions, gate = [key[0] for key in once], under(once)
    answers = dict(zip(once, one.answer(questions, gate=gate)))
    recalls = dict(zip(once, one.recall(questions, gate=gate))) if recall and one.recalls else {}
    rows = [{"question": key[0], "answer": answers[key], "recalled": recalls.get(key)} for _, key in asked]
    options: dict[tuple, dict[str, None]] = {}
    for probe, key in asked:
        if probe.options:
            options.setdefault(key, {}).update(dict.fromkeys(probe.options.values()))
    if options:
        keys, texts = list(options), [list(several) for several in options.values()]
        found = one.logprob([key[0] for key in keys], texts, gate=under(keys))["logprob"]
        values = dict(zip([(key, text) for key, several in zip(keys, texts) for text in several], found))
        for row, (probe, key) in zip(rows, asked):
            row |= {f"logprob {name}": values[key, text] for name, text in probe.options.items()}
    return pd.DataFrame(rows).astype({"recalled": object})
