"""Misinformation: does a misleading report about an event harm the memory of it, or only the answer?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pandas as pd
from matplotlib.figure import Figure

from memsci.figures.draw import per_cent
from memsci.figures.style import REFERENCE, style
from memsci.measures.text_match import contains
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import controls, figures, materials
from memsci.phenomena.controls import ABOUT_IT, Probe, Report, Session
from memsci.phenomena.experiment import Experiment, Lists, enter, in_plain_english, run, suited
from memsci.phenomena.materials import Pair
from memsci.phenomena.result import Claim, Phenomenon, about

NAME = "misinformation"
PAIRS = 4  # events of a list
MISLED, CONTROL, NO_SOURCE = "misled", "control", ", no source"
PROTOCOL = (
    f"{PAIRS} events a list, then a report of each in the same words but for one fact, with its source before it "
    "(misled) or without one, or a report of another event (control) with or without one. standard test: log p(fact) > "
    "log p(reported fact); modified: log p(fact) > log p(a new one). loss: control less misled, of reports alike in having "
    "a source. A base of short context reads each event with its report by itself."
)


def misinformation(
    base: Base, lists: Lists = 20, methods: Sequence[str] | None = None, seed: int = 0, progress: bool = True
) -> Phenomenon:
    """Is a memory overwritten by a misleading report, or does the report compete with it?

    People who read a misleading report of what they saw choose the right answer less often against the reported one, the
    standard test (Loftus, Miller and Burns 1978). Against an answer that is new to them they choose it as often as those who
    read none, so that the memory need not be impaired (the modified test of McCloskey and Zaragoza 1985; that some
    impairment plays a part was held against it, as by Loftus and Hoffman 1989). The standard test alone cannot tell
    overwriting from competition; both together can. Of two facts that are stored alike one is chosen by chance, which is
    half of the standard test lost with no harm to a memory. MEGa's adapters cannot overwrite one another: under the true
    gate it cannot lose.

    The events are in the words of the built-in world on the shipped bases, in plain English on others (`memsci run
    misinformation_plain`).

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        standard, modified, answer, reported (shares) and logprob (of the fact, nats) by condition "misled" (the report
        begins "According to …"), "control" (so does one of another event), and both without a source; loss by test
        ("standard", "modified", "answer", and the same with ", no source"), per list. Where something is recalled also
        sourced: of recalls that tell the reported fact, those that name its source (lists without any such recall have no
        row).
    """
    return run(suited(NAME, base), base, lists, methods, seed, progress)


@cache
def material(number: int, plain: bool = False) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The events of a list, each with its report and another event; and the sources of the reports.

    Of the twins of a pair the first is the event, the second the misleading report; which was drawn first takes turns.
    """
    draw = materials.rng(NAME, "sources", number)
    made, sources = [], []
    for place, pair in enumerate(materials.pairs(number, PAIRS, NAME, plain)):
        texts = " ".join(memory.text for memory in (*pair.twins, pair.other))
        source = _source(draw, texts, sources)
        turn = (lambda two: two[::-1]) if (place + number) % 2 else (lambda two: two)
        telling = (*turn(pair.told[:2]), pair.told[2])
        made.append(replace(pair, twins=turn(pair.twins), answers=turn(pair.answers), told=telling))
        sources.append(source)
    return tuple(made), tuple(sources)


def _source(draw: random.Random, texts: str, taken: Sequence[str]) -> str:
    while True:
        name = materials.stories.draw_person(draw).name
        if name not in taken and not any(contains(texts, part) for part in name.split()):
            return name


def reported(memory: Memory, source: str) -> Memory:
    """The same memory, as somebody's report."""
    texts = [f"According to {source}: {text}" for text in (memory.text, *memory.paraphrases)]
    return replace(memory, id=f"{memory.id}-told", text=texts[0], paraphrases=tuple(texts[1:]))


def sessions(pairs: Sequence[Pair], sources: Sequence[str], plain: bool = False) -> list[Session]:
    """Events, then reports of them with and without their source, or reports of other events.

    What is weighed are the bare facts, in plain English whole sentences that differ in the fact alone.
    """
    events = tuple(pair.twins[0] for pair in pairs)
    weighed = [pair.told if plain else (*pair.answers, pair.foil) for pair in pairs]
    options = [dict(zip(("fact", "reported", "new"), texts)) for texts in weighed]
    probes = tuple(Probe(one.id, pair.cue, told, one.id) for one, pair, told in zip(events, pairs, options))
    misleading = tuple(pair.twins[1] for pair in pairs)
    others = tuple(pair.other for pair in pairs)
    told, told_others = (tuple(map(reported, many, sources)) for many in (misleading, others))
    reports = {MISLED: told, MISLED + NO_SOURCE: misleading, CONTROL: told_others, CONTROL + NO_SOURCE: others}
    return [Session(condition, events + study, probes) for condition, study in reports.items()]


def _studied(number: int, plain: bool = False) -> list[Memory]:
    return list({memory.id: memory for one in sessions(*material(number, plain)) for memory in one.study}.values())


def measured(responses: pd.DataFrame) -> pd.DataFrame:
    """Rows of every probe, and from them the loss of the list; responses have fact, reported and source too."""
    rows = []
    for one in responses.to_dict("records"):
        right, other = (contains(one["answer"], one[name]) for name in ("fact", "reported"))
        values = {
            "standard": one["logprob fact"] > one["logprob reported"],
            "modified": one["logprob fact"] > one["logprob new"],
            "answer": right and not other,
            "reported": other and not right,
        }
        if isinstance(one["recalled"], str) and one["condition"] == MISLED and contains(one["recalled"], one["reported"]):
            values["sourced"] = contains(one["recalled"], one["source"])
        told = {name: one[name] for name in ABOUT_IT}
        rows += [
            {
                **told,
                "measure": name,
                "value": value,
                "actual": int(value),
                "possible": 1,
                "response": one["recalled" if name == "sourced" else "answer"],
            }
            for name, value in values.items()
        ]
        rows.append({**told, "measure": "logprob", "value": one["logprob fact"]})
    table = pd.DataFrame(rows)
    means = table.astype({"value": float}).groupby(["method", "measure", "condition"])["value"].mean().unstack()
    losses = [
        {"method": method, "condition": f"{test}{mark}", "measure": "loss", "value": at[CONTROL + mark] - at[MISLED + mark]}
        for (method, test), at in means.iterrows()
        if test in ("standard", "modified", "answer")
        for mark in ("", NO_SOURCE)
    ]
    return pd.concat([table, pd.DataFrame(losses)], ignore_index=True)


def _measure(method: str, base: Base, number: int, seed: int, report: Report, plain: bool = False) -> pd.DataFrame:
    pairs, sources = material(number, plain)
    facts = pd.DataFrame(
        [(p.twins[0].id, *p.answers, s) for p, s in zip(pairs, sources)], columns=["item", "fact", "reported", "source"]
    )
    alone = method == "In context" and (plain or controls.fitting(base))
    groups = [([pair], [source]) for pair, source in zip(pairs, sources)] if alone else [(pairs, sources)]
    asked = [controls.ask(method, base, sessions(*group, plain), seed, report=report) for group in groups]
    return measured(pd.concat(asked, ignore_index=True).merge(facts, on="item"))


def _draw(result: Phenomenon, size: str) -> Figure:
    """What a report costs in each test, a mark per learner."""
    means = result.means(["method", "measure", "condition"])
    means = means[means["measure"] == "loss"]
    tests = ["standard", "modified"]
    with style(size):
        figure, axes = figures.panels(2, size, 8.5, 3.2)
        axes[1].sharey(axes[0])
        for ax, mark, title in zip(axes, ("", NO_SOURCE), ("report with its source", "report without a source")):
            rows = means[means["condition"].isin([f"{test}{mark}" for test in tests])]
            figures.points(ax, rows, [f"{test}{mark}" for test in tests], title)
            ax.set_xticks(range(2), [f"{test} test" for test in tests])
            ax.axhline(0, **REFERENCE)
            ax.yaxis.set_major_formatter(per_cent)
        axes[0].set_ylabel("loss: control less misled (points)")
        figures.over_lists(axes[1], means, size)
    return figure


def _loss(text: str, method: str, test: str, kind: str = "more", **more) -> Claim:
    return Claim(text, "loss", {"method": method, "condition": test}, 0.0, kind, **more)


about(
    NAME,
    "Misinformation: standard and modified test",
    [
        _loss("MEGa: a report costs in the standard test", "MEGa", "standard"),
        # Two texts that are alike but for one fact are stored alike, and chosen between by chance.
        _loss("MEGa: a report without its source costs in the standard test", "MEGa", "standard, no source",
              by_construction=True),
        _loss("MEGa: a report costs nothing in the modified test", "MEGa", "modified", "equal"),
        _loss("MEGa: nor does one without its source", "MEGa", "modified, no source", "equal"),
        _loss("MEGa, true gate: a report costs nothing", "MEGa, true gate", "standard, no source", "equal",
              by_construction=True),
        _loss("Full: a report costs in the standard test", "Full", "standard"),
        _loss("Full: a report costs in the modified test", "Full", "modified"),
        _loss("LoRA: a report costs in the modified test", "LoRA", "modified"),
        _loss("In context: a report costs nothing in the modified test", "In context", "modified", "equal"),
    ],
    _draw,
    drawn=("loss",),
    note="Of two facts that are stored alike one is chosen by chance, which is half of the standard test lost. The true "
    "gate loses nothing by construction: every event has an adapter of its own.",
)  # fmt: skip
enter(Experiment(
    name=NAME, methods=controls.LEARNERS, measure=_measure, material=_studied, protocol=PROTOCOL,
    probes=4 * PAIRS, studies=5 * PAIRS,
))  # fmt: skip
in_plain_english(
    NAME,
    PROTOCOL.replace("A base of short context reads each event with its report by itself.",
                     "log p: of the whole sentence with the fact. Other events are another person's. In context each event "
                     "is read with its report by itself."),
)  # fmt: skip
