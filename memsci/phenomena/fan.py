"""The fan effect: the more facts share a person or a place, the weaker each of them is when both are named."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from memsci.figures.style import WIDTHS, look, style
from memsci.measures.methods import order as by_method
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import figures, materials
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, run
from memsci.phenomena.keys import FINDERS, finders
from memsci.phenomena.reference import human
from memsci.phenomena.result import SHARE, Claim, Phenomenon, about
from memsci.world import grammar, split, stories

NAME = "fan"
FANS = (1, 2, 3)
NODES = ((5, 1), (4, 2), (4, 3))  # so many persons, and so many places, of each fan: 25 facts
CELLS = [(person, place) for person in FANS for place in FANS]
PROTOCOL = (
    "25 stories, each of a person in a town, with 1 to 3 stories per person and per town (keys alone, nothing encoded). A "
    "probe names person and town, not the kind of event; foils pair a person and a town that were studied apart. strength: "
    "log of the highest weight of the gate."
)


def fan(base: Base, lists: Lists = 20, seed: int = 0, progress: bool = True) -> Phenomenon:
    """Is a fact weaker the more other facts share its person, or its place?

    Anderson's (1974) people verified "the doctor is in the park" more slowly the more places were learnt of the doctor and
    the more persons of the park. A gate has no reaction times: what is compared is the order of 18 cells (targets and
    foils, by fan of person and of place) between the strength of the memory that is opened most, log max g, and people's
    speed. With one cue named, g = 1/fan would be arithmetic; with both, one memory fits best, and the fan has to come from
    how much the others are like the probe: wherever keys tell persons, each further story of one adds to the sum by which
    the best is divided. Foils are slower than targets in people and weaker here, so that some agreement over the 18 cells
    needs no fan. The memory that is opened most need not be the target's own: see found.

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        strength (nats) by condition "target 2-3" (fan of person 2, of place 3) or "foil 2-3"; found: whether a target's own
        memory is opened most; agreement: Spearman's correlation of strength and people's speed over the 18 cells, per list;
        methods as in `memsci.phenomena.recognition`.
    """
    return run(NAME, base, lists, seed=seed, progress=progress)


def pairs(draw: random.Random) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Which person is in which place: facts, and foils for every cell, with all nine combinations of fans in both."""
    ends = [node for node, fan in enumerate(fan for count, fan in NODES for _ in range(count)) for _ in range(fan)]
    while True:
        facts = list(zip(ends, draw.sample(ends, len(ends))))
        if len(set(facts)) < len(facts) or not set(CELLS) <= set(map(_cell, facts)):
            continue
        apart = [pair for pair in itertools.product(set(ends), set(ends)) if pair not in set(facts)]
        counts = Counter(map(_cell, facts))
        by_cell = {cell: [pair for pair in apart if _cell(pair) == cell] for cell in CELLS}
        foils = [pair for cell, own in by_cell.items() for pair in draw.sample(own, min(len(own), counts[cell]))]
        if set(map(_cell, foils)) == set(CELLS):
            return facts, foils


def _cell(pair: tuple[int, int]) -> tuple[int, int]:
    fans = [fan for count, fan in NODES for _ in range(count)]
    return fans[pair[0]], fans[pair[1]]


@cache
def material(number: int) -> tuple[tuple[Memory, ...], pd.DataFrame]:
    """The memories of a list, and the probes: own (number of the memory, -1 for a foil), cell, text."""
    draw = materials.rng(NAME, number)
    nodes = sum(count for count, _ in NODES)
    people = draw.sample(split.characters(), nodes)
    places: list[str] = []
    while len(places) < nodes:
        if (town := stories.draw_value("town", draw)) not in places:
            places.append(town)
    facts, foils = pairs(draw)
    known = [kind for kind in grammar.kinds("episodic") if "town" in kind.slots.values()]
    memories = []
    for place, ((who, where), kind) in enumerate(zip(facts, draw.sample(known, len(facts)))):
        slot = next(slot for slot, pool in kind.slots.items() if pool == "town")
        event = stories.draw_event(kind, draw, people[who])
        event = stories.Event(kind, event.facts | {slot: places[where]}, people[who])
        id = f"{NAME}-{number:02d}-{place:02d}"
        memories.append(materials.told(event, id, id, 0))
    probes = [
        (own, "target" if own >= 0 else "foil", *_cell(pair), f"{people[pair[0]].name} in {places[pair[1]]}")
        for own, pair in [*enumerate(facts), *((-1, pair) for pair in foils)]
    ]
    return tuple(memories), pd.DataFrame(probes, columns=["own", "type", "person_fan", "place_fan", "text"])


def measured(probes: pd.DataFrame) -> pd.DataFrame:
    """Rows for the probes of a list by one method (columns strength and best, the number of the memory opened most)."""
    cell = probes["type"] + " " + probes["person_fan"].astype(str) + "-" + probes["place_fan"].astype(str)
    told = probes.assign(condition=cell, measure="strength", value=probes["strength"], item=probes["text"])
    told = told[["item", "condition", "measure", "value", "person_fan", "place_fan"]]
    targets = probes[probes["type"] == "target"]
    hit = (targets["best"] == targets["own"]).astype(int)
    found = told.loc[targets.index].assign(measure="found", value=hit, actual=hit, possible=1)
    speed = -human(NAME).set_index("condition")["value"]
    means = told.groupby("condition")["value"].mean()
    agreement = spearmanr(means.reindex(speed.index), speed).statistic
    whole = {"condition": "18 cells", "measure": "agreement", "value": agreement}
    by_fan = []
    for kind, side in itertools.product(("target", "foil"), ("person_fan", "place_fan")):
        rows = told[told["condition"].str.startswith(kind)]
        other = "place_fan" if side == "person_fan" else "person_fan"
        # Given the other fan: the mean over its three levels of the slope per fact.
        slopes = [np.polyfit(part[side], part["value"], 1)[0] for _, part in rows.groupby(other)]
        by_fan.append({"condition": f"{kind}, {side.removesuffix('_fan')}", "measure": "slope", "value": np.mean(slopes)})
    return pd.concat([told, found, pd.DataFrame([whole, *by_fan])], ignore_index=True)


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    memories, probes = material(number)
    tables = []
    for finder in finders(base):
        keys = finder.embed([memory.text for memory in memories])
        gate = finder.gate(finder.embed(probes["text"].tolist()), keys)
        logs = (gate.beta * gate.scores).log_softmax(dim=1)
        best = gate.scores.argmax(dim=1)
        strength = logs.gather(1, best[:, None])[:, 0]
        tables.append(measured(probes.assign(strength=strength.tolist(), best=best.tolist())).assign(method=finder.name))
    return pd.concat(tables, ignore_index=True)


def _draw(result: Phenomenon, size: str) -> Figure:
    """Strength by fan of person, a line per fan of place; people's times in axes of their own."""
    means = result.shown()
    means = means[means["measure"] == "strength"]
    methods = sorted(means["method"].unique(), key=by_method)
    people = result.human.rename(columns={"value": "mean"}).assign(low=np.nan, high=np.nan)
    shown = [(name, kind) for name in [*methods, "people"] for kind in ("target", "foil")]
    with style(size):
        figure, axes = figures.panels(len(shown), size, 10.4, 2.3, across=2, beside=4)
        for ax, (name, kind) in zip(axes, shown):
            rows = people if name == "people" else means[means["method"] == name]
            at = rows[rows["condition"].str.startswith(kind)]
            fans = at["condition"].str.removeprefix(f"{kind} ").str.split("-")
            at = at.assign(person=fans.str[0].astype(int), series=fans.str[1])
            color = "#000000" if name == "people" else look(name)["color"]
            looks = {
                f"{place}": {"color": color, "linestyle": line, "marker": mark}
                for place, line, mark in zip(FANS, ("-", "--", ":"), "os^")
            }
            figures.over(ax, at, "person", f"{name}: {kind}s", looks)
            ax.set_xticks(FANS)
            ax.set(xlabel="stories of the person", ylabel="seconds" if name == "people" else "log max g")
        joint = "; " if size in WIDTHS else "\n"
        figures.legend(axes[-1], None, f"stories of the place{joint}{figures.bars(means, within=True)}", size)
    return figure


def _claims(method: str) -> list[Claim]:
    sides = [(kind, side) for kind in ("target", "foil") for side in ("person", "place")]
    # These keys weigh a word less the more memories have it, so that their fan is arithmetic, and so is their agreement; but
    # of foils no memory has both words, and which way a commoner place works is open.
    words = method == "TF-IDF keys"
    return [
        Claim(f"{method}: {kind}s are weaker the more stories share their {side}", "slope",
              {"method": method, "condition": f"{kind}, {side}"}, 0.0, "less",
              by_construction=words and (kind, side) != ("foil", "place"))
        for kind, side in sides
    ] + [
        Claim(f"{method}: its order of 18 cells goes with people's", "agreement",
              {"method": method, "condition": "18 cells"}, 0.0, by_construction=words)
    ]  # fmt: skip


about(
    NAME,
    "The fan effect: persons in places",
    [claim for method in FINDERS for claim in _claims(method)],
    _draw,
    within=True,
    bounds={"found": SHARE, "strength": (-np.inf, 0.0)},
    note="Strength is the log of the highest weight, whichever memory has it; the agreement over 18 cells also counts that "
    "foils are weaker than targets. People: Anderson 1974, as given in the tutorial of ACT-R (seconds: higher is "
    "weaker).",
)
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=lambda number: material(number)[0], protocol=PROTOCOL,
    probes=50, encodes=False,
))  # fmt: skip
