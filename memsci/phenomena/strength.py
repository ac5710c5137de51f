"""List strength: what memories that were learnt well cost those of the same list that were not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from memsci.config import Encoding
from memsci.figures.draw import APART, displace
from memsci.figures.style import REFERENCE, style
from memsci.gate.activation import activation
from memsci.gate.embed import embedder
from memsci.learners.mega import MEGa
from memsci.measures import detection
from memsci.measures.text_match import contains
from memsci.memory import Memory
from memsci.models.base import OWN, Base
from memsci.phenomena import controls, figures, materials
from memsci.phenomena.context import walk
from memsci.phenomena.controls import Report, joined
from memsci.phenomena.experiment import Experiment, enter, in_plain_english, run, suited
from memsci.phenomena.recall import FIRST_CUE, likeness, peoples
from memsci.phenomena.result import Claim, Phenomenon, about
from memsci.world import stories

NAME = "list_strength"
STUDIED = 8  # memories of a list
WALKS = 100
WEIGHT = 1.0  # w, where the gate has activation
LEARNT = {"weak": 1, "strong": 4}  # times, an hour ago, that activation counts
TASKS = ("recognition", "cued recall", "cued recall, w = 1", "free recall, w = 0", "free recall, w = 1")
CELLS = ("pure weak", "pure strong", "mixed weak", "mixed strong")
PROTOCOL = (
    f"{STUDIED} stories of one person, no two of a kind, each learnt twice over: weakly (its text alone, half the epochs) "
    "and strongly (with nine paraphrases). Pure lists, and two mixed ones in which each half is strong once; lists are "
    "subsets of one store. recognition: d_a of log p(answer) of the true and of another answer to each of the four "
    "questions. cued recall: share of the questions answered. free recall: share of the facts told by the memories that a "
    f"walk comes by, {WALKS} walks by keys, their likeness on people's scale, ended as people's. w = 1: activation in the "
    "gate, of strong memories as if learnt four times. Ratios are of shares with (hits + .5) / (n + 1)."
)


def list_strength(base: Base, lists: int | Sequence[int] = 20, seed: int = 0, progress: bool = True) -> Phenomenon:
    """Do memories that are learnt well harm the others of their list?

    Some memories of a mixed list are strong, the others weak; the same memories are learnt in lists that are all strong or
    all weak. If the strong ones win at the cost of the weak, the ratio of strong to weak is greater in mixed than in pure
    lists: the ratio of ratios is above 1. In people it is above 1 in free recall, near 1 in cued recall, and near or below
    1 in recognition (Ratcliff, Clark and Shiffrin 1990; Dennis, List strength effect tutorial, Noetica 6). The gate of MEGa
    compares keys, and keys do not get stronger, so in recognition and cued recall it must give 1. Free recall has a ratio
    above 1 only where strength has a part in the gate: activation (`memsci.gate.activation`), which is put in. Strong
    memories have more steps and more wordings than weak ones. Recognition is here of the answer, not of the item.

    Parameters
    ----------
    base, lists, seed, progress
        As in `memsci.phenomena.experiment.run`. The events are in the words of the built-in world on the shipped bases, in
        plain English on others (`memsci run list_strength_plain`), where strong is the whole of the lessons and weak half.

    Returns
    -------
    Phenomenon
        recognition, cued recall, free recall (the last two with w = 0 and 1) by condition "pure weak", "pure strong", "mixed
        weak" and "mixed strong"; ratio of ratios by condition, the name of the task.
    """
    return run(suited(NAME, base), base, lists, seed=seed, progress=progress)


Weighed = tuple[tuple[str, str], ...]  # of each question of a memory the true and a false text


@cache
def material(number: int, plain: bool = False) -> tuple[tuple[Memory, ...], tuple[Weighed, ...]]:
    """The memories of a list, and for each question of each of them the true and a false text that are weighed.

    These are the answer and another value; in plain English the whole sentence with the one and with the other.
    """
    draw, who = materials.rng(NAME, number), materials.person(number)
    studied, weighed = [], []
    for place, kind in enumerate(materials.kinds(draw, STUDIED, plain)):
        event, id = stories.draw_event(kind, draw, who), f"{NAME}-{number:02d}-{place:02d}"
        studied.append(materials.told(event, id, id, 0 if plain else materials.PARAPHRASES))
        slots = {event.facts[slot]: slot for slot in event.kind.slots}
        pairs = []
        for one in studied[-1].questions:
            other = materials.other_value(event, slots[one.answer], draw)
            false = materials.with_fact(event, slots[one.answer], other, id) if plain else other
            pairs.append((studied[-1].text if plain else one.answer, false))
        weighed.append(tuple(pairs))
    return tuple(studied), tuple(weighed)


def named(memory: Memory, strength: str) -> str:
    """Id of a memory as it was learnt weakly or strongly."""
    return f"{memory.id}-{strength}"


def mixtures(number: int = STUDIED) -> dict[str, tuple[str, ...]]:
    """The lists: how each memory of them was learnt, in the order of the memories."""
    turn = tuple("strong" if place % 2 else "weak" for place in range(number))
    back = tuple("weak" if place % 2 else "strong" for place in range(number))
    return {"pure weak": ("weak",) * number, "pure strong": ("strong",) * number, "mixed 1": turn, "mixed 2": back}


def cells(lists: Mapping[str, Sequence[str]]) -> list[tuple[str, str, int]]:
    """Every memory of every list: the list, the cell ("mixed weak" …), its place."""
    return [
        (name, f"{name.split()[0]} {strength}", place)
        for name, strengths in lists.items()
        for place, strength in enumerate(strengths)
    ]


def learn(base: Base, studied: Sequence[Memory], seed: int = 0) -> MEGa:
    """A mind that holds each memory twice, learnt strongly and learnt weakly."""
    mind = controls.learner("MEGa", base, seed)
    mind.encode([replace(memory, id=named(memory, "strong")) for memory in studied], progress=False)
    weak = [replace(memory, id=named(memory, "weak"), paraphrases=()) for memory in studied]
    full = mind.encoding if base.name in OWN else Encoding.suited(base, weak)
    half = replace(full, epochs=math.ceil(full.epochs / 2), text_epochs=0)
    MEGa(base, encoding=half, seed=seed).write(weak, mind.store.add, progress=False)
    return mind


def asked(
    mind: MEGa,
    studied: Sequence[Memory],
    weighed: Sequence[Weighed],
    lists: Mapping[str, Sequence[str]],
    weight: float = 0.0,
) -> pd.DataFrame:
    """The questions of lists: cell, text, answer, right, true and false (log p of the true and of the false text).

    With a weight w the gate has activation; true and false are then left out.
    """
    rule, gates = mind.rule, []
    try:
        mind.rule = replace(rule, activation=weight)
        for strengths in lists.values():
            only = [named(memory, strength) for memory, strength in zip(studied, strengths)]
            ages = {id: [1.0] * LEARNT[strength] for id, strength in zip(only, strengths)} if weight else None
            gates.append(mind.gate([one.text for memory in studied for one in memory.questions], only=only, ages=ages))
    finally:
        mind.rule = rule
    rows = [
        {"cell": cell, "text": one.text, "answer": one.answer, "texts": list(texts)}
        for _, cell, place in cells(lists)
        for one, texts in zip(studied[place].questions, weighed[place])
    ]
    table, gate = pd.DataFrame(rows), joined(gates, mind.ids, mind.store.labels)
    said = mind.answer(table["text"].tolist(), gate=gate)
    table["right"] = [contains(told, answer) for told, answer in zip(said, table["answer"])]
    if not weight:
        found = mind.logprob(table["text"].tolist(), table["texts"].tolist(), gate=gate)["logprob"]
        table["true"], table["false"] = found[::2].to_numpy(), found[1::2].to_numpy()
    return table


def facts(mind: MEGa, studied: Sequence[Memory]) -> dict[str, np.ndarray]:
    """By strength, which share of its facts each memory tells when it alone is open, [n]."""
    told = {}
    for strength in LEARNT:
        gate = mind.true_gate([named(memory, strength) for memory in studied])
        said = mind.recall([FIRST_CUE] * len(studied), gate=gate)
        told[strength] = np.array(
            [np.mean([contains(text, one.answer) for one in memory.questions]) for text, memory in zip(said, studied)]
        )
    return told


def visits(scores: torch.Tensor, strengths: Sequence[str], weight: float, seed: int = 0) -> np.ndarray:
    """Of walks through a list by keys, the share that comes by each memory, [n]; scores are f(k_j)·k_i, [n, n]."""
    n = len(scores)
    parameters = peoples(scores).without_context()
    own = torch.tensor([activation([0.0] * LEARNT[strength], 1.0, weight) for strength in strengths])
    went = walk(scores.expand(WALKS, n, n), parameters, seed, strengths=own).numpy()
    return np.array([(went == place).any(axis=1).mean() for place in range(n)])


def measured(
    plain: pd.DataFrame, active: pd.DataFrame, told: Mapping[str, np.ndarray], scores: torch.Tensor, seed: int = 0
) -> pd.DataFrame:
    """Rows for one list: the tasks by cell, and their ratios of ratios; see `asked` and `facts`."""
    values: dict[tuple[str, str], tuple[float, float]] = {}  # hits and their possible number, or a value and nothing
    for cell, rows in plain.groupby("cell"):
        values["recognition", cell] = detection.distance(rows["true"].to_numpy(), rows["false"].to_numpy()), math.nan
    for task, table in zip(("cued recall", "cued recall, w = 1"), (plain, active)):
        for cell, rows in table.groupby("cell"):
            values[task, cell] = rows["right"].sum(), len(rows)
    lists = mixtures(len(scores))
    for weight in (0.0, WEIGHT):
        recalled = {name: visits(scores, strengths, weight, seed) for name, strengths in lists.items()}
        for cell in CELLS:
            own = [(name, place) for name, one, place in cells(lists) if one == cell]
            hits = sum(recalled[name][place] * told[cell.split()[1]][place] for name, place in own)
            values[f"free recall, w = {weight:g}", cell] = hits, len(own)
    rows = [
        {"condition": cell, "measure": task, "value": hits if math.isnan(n) else hits / n, "actual": None if math.isnan(n)
         else hits, "possible": None if math.isnan(n) else n}
        for (task, cell), (hits, n) in values.items()
    ]  # fmt: skip
    for task in TASKS:
        weak, strong, mixed_weak, mixed_strong = (
            hits if math.isnan(n) else (hits + 0.5) / (n + 1) for hits, n in (values[task, cell] for cell in CELLS)
        )
        if min(weak, strong, mixed_weak, mixed_strong) > 0:  # a d_a below chance has no ratio
            ratio = (mixed_strong / mixed_weak) / (strong / weak)
            rows.append({"condition": task, "measure": "ratio of ratios", "value": ratio})
    return pd.DataFrame(rows)


def _studied(number: int, plain: bool = False) -> list[Memory]:
    return list(material(number, plain)[0])


def _measure(method: str, base: Base, number: int, seed: int, report: Report, plain: bool = False) -> pd.DataFrame:
    studied, weighed = material(number, plain)
    report(0, 2 * len(studied))
    mind = learn(base, studied, seed)
    report(2 * len(studied), 2 * len(studied))
    scores = likeness(studied, embedder(base, mind.embedding), mind.embedding, mind.rule.similarity)
    lists = mixtures(len(studied))
    plain = asked(mind, studied, weighed, lists)
    mixed = asked(mind, studied, weighed, {name: how for name, how in lists.items() if "mixed" in name}, WEIGHT)
    # Where all are as strong, activation adds the same to all: the gate is the same.
    active = pd.concat([plain[plain["cell"].str.startswith("pure")], mixed], ignore_index=True)
    return measured(plain, active, facts(mind, studied), scores, number).assign(method="MEGa")


def _draw(result: Phenomenon, size: str) -> Figure:
    """Weak and strong memories in pure and mixed lists by task, and the ratios of ratios."""
    means = result.means(["method", "measure", "condition"]).set_index(["measure", "condition"])
    with style(size):
        figure, axes = figures.panels(4, size, 12, 3.2, across=2)
        for ax, task in zip(axes, ("recognition", "cued recall", "free recall, w = 1")):
            for kind, line in (("pure", "-"), ("mixed", "--")):
                rows = means.loc[task].loc[[f"{kind} weak", f"{kind} strong"]]
                spread = None if rows["low"].isna().any() else [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
                drawn = ax.errorbar((0, 1), rows["mean"], yerr=spread, color="#000000", linestyle=line, marker="o",
                                    capsize=2, label=f"{kind} lists")  # fmt: skip
                # Where the gate is the same in both, so is the line.
                for part in drawn.get_children() if kind == "mixed" and _alike(means.loc[task]) else ():
                    displace(part, 0, APART)
            ax.set(title=task, xlim=(-0.3, 1.3), ylabel="d_a" if task == "recognition" else "share")
            ax.set_xticks((0, 1), ("weak", "strong"))
        axes[2].legend(loc="lower right")
        rows = means.loc["ratio of ratios"].reset_index().assign(method="MEGa")
        figures.points(axes[3], rows, list(TASKS), "ratio of ratios")
        axes[3].axhline(1, **REFERENCE)
        figures.apart(axes[3])
        figures.over_lists(axes[3], rows, size)
    return figure


def _alike(rows: pd.DataFrame) -> bool:
    """Whether pure and mixed lists have the same means, weak and strong, as far as a figure shows it."""
    pure, mixed = (rows["mean"].reindex([f"{kind} weak", f"{kind} strong"]) for kind in ("pure", "mixed"))
    return bool(np.allclose(pure, mixed, rtol=0.01))


def _claims() -> list[Claim]:
    strong = [
        Claim(f"MEGa: in pure lists strong memories are above weak ones, {task}", task,
              {"method": "MEGa", "condition": "pure strong"}, {"condition": "pure weak"})
        for task in ("recognition", "cued recall", "free recall, w = 0")
    ]  # fmt: skip
    ratio = lambda task: ("ratio of ratios", {"method": "MEGa", "condition": task}, 1.0)
    return [
        *strong,
        Claim("MEGa: no list-strength effect in recognition", *ratio("recognition"), "equal", by_construction=True),
        Claim("MEGa: no list-strength effect in cued recall", *ratio("cued recall"), "equal", by_construction=True),
        # No two memories of a list are of a kind: no strength that is put in can cross the margins between their keys.
        Claim(
            "MEGa with activation: none in cued recall either", *ratio("cued recall, w = 1"), "equal", by_construction=True
        ),
        Claim("MEGa: no list-strength effect in free recall", *ratio("free recall, w = 0"), "equal", by_construction=True),
        Claim("MEGa with activation: one in free recall", *ratio("free recall, w = 1"), by_construction=True),
    ]


about(
    NAME,
    "List strength: pure and mixed lists",
    _claims(),
    _draw,
    note="Strong memories had more steps and nine more wordings. Recognition is of the answer to a question (the true one "
    "against another), not of the memory. Activation (w = 1) is put in.",
)
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=_studied, protocol=PROTOCOL,
    probes=2 * 4 * STUDIED,
))  # fmt: skip
in_plain_english(
    NAME,
    PROTOCOL.replace("weakly (its text alone, half the epochs) and strongly (with nine paraphrases)",
                     "weakly (half the epochs) and strongly (all of them)")
    .replace("log p(answer) of the true and of another answer to", "log p of the sentence, true and with another answer to"),
    note="Strong memories had twice the steps. Recognition is of the answer to a question (the true one against another), "
    "not of the memory. Activation (w = 1) is put in.",
)  # fmt: skip
