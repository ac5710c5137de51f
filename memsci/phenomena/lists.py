"""List length: what the memories that come later cost those that are there."""

from __future__ import annotations

import random
from functools import cache

import pandas as pd
import torch
from matplotlib.figure import Figure

from memsci.figures.draw import number_axis, per_cent
from memsci.figures.style import style
from memsci.measures import detection
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import figures, materials
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, run
from memsci.phenomena.keys import FINDERS, familiarity, finders, right
from memsci.phenomena.result import SHARE, Claim, Phenomenon, about
from memsci.world import grammar, stories

NAME = "list_length"
LENGTHS = (10, 25, 50, 100, 200)
PROTOCOL = (
    "Nested lists of 10 to 200 stories of one person, their kinds drawn with replacement, so that memories that come later "
    "are no more like the others than these are like one another (keys alone, nothing encoded). Probes are the same at "
    "every length: the four questions of each of the first ten stories, and of ten lures of their kinds. gate: the right "
    "memory has the highest weight. auc: familiarity of questions against lures."
)


def list_length(base: Base, lists: Lists = 20, seed: int = 0, progress: bool = True) -> Phenomenon:
    """Does a longer list harm finding a memory, and knowing that there is one?

    Finding chooses among all memories; recognition asks how familiar the cue is to all of them together. In people the
    effect of length on recognition is disputed: none once confounds are controlled (Kinnell and Dennis 2011), credible in a
    reanalysis (Annis et al. 2015). Here there is no delay, no fatigue and no rehearsal to be confounded with: the memories
    that are asked about are the same, and so are the probes. That recognition falls is what a sum over memories does, as in
    all models of global matching; what can be found is how much, with which keys.

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        gate (share), weight (of the right memory) and auc by condition, the number of memories as text; methods as in
        `memsci.phenomena.recognition`.
    """
    return run(NAME, base, lists, seed=seed, progress=progress)


@cache
def material(number: int) -> tuple[tuple[Memory, ...], pd.DataFrame]:
    """The memories of the longest list, and the probes: own (number of the memory asked about), kind, text."""
    draw, who = materials.rng(NAME, number), materials.person(number)
    known, memories, probes, texts = grammar.kinds("episodic"), [], [], set()
    while len(memories) < max(LENGTHS):
        event, id = stories.draw_event(draw.choice(known), draw, who), f"{NAME}-{number:02d}-{len(memories):03d}"
        memory = materials.told(event, id, id, 0)
        if memory.text in texts:
            continue
        texts.add(memory.text)
        if len(memories) < min(LENGTHS):
            for kind, one in (("old", event), ("lure", materials.lure(event, draw))):
                asked = stories.questions(one, random.Random(id))
                probes += [(len(memories), kind, question.text) for question in asked]
        memories.append(memory)
    return tuple(memories), pd.DataFrame(probes, columns=["own", "kind", "text"])


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    memories, probes = material(number)
    old = torch.tensor((probes["kind"] == "old").tolist())
    own = probes.loc[probes["kind"] == "old", "own"].tolist()
    rows = []
    for finder in finders(base):
        keys, cues = (finder.embed(texts) for texts in ([memory.text for memory in memories], probes["text"].tolist()))
        for length in LENGTHS:
            gate = finder.gate(cues, keys[:length])
            told = {"method": finder.name, "condition": str(length)}
            found = right(finder.gate(cues[old], keys[:length]), own)
            rows += [
                {**told, "item": memories[k].id, "measure": "gate", "value": hit, "actual": int(hit), "possible": 1}
                for k, hit in zip(own, found)
            ]
            weight = gate.weights[old].gather(1, gate.weights.new_tensor(own).long()[:, None]).mean().item()
            score = familiarity(gate)
            rows.append({**told, "measure": "weight", "value": weight})
            rows.append({**told, "measure": "auc", "value": detection.auc(score[old], score[~old])})
    return pd.DataFrame(rows)


def _draw(result: Phenomenon, size: str) -> Figure:
    """Finding and recognising against the number of memories."""
    means = result.shown()
    means["n memories"] = means["condition"].astype(int)
    with style(size):
        figure, axes = figures.panels(2, size, 7.5, 3)
        for ax, measure, title in zip(axes, ("gate", "auc"), ("right memory first", "recognition against lures (AUC)")):
            number_axis(ax, LENGTHS, "memories in the list")
            figures.over(ax, means[means["measure"] == measure], "n memories", title)
        axes[0].yaxis.set_major_formatter(per_cent)
        axes[0].set_ylabel("questions (%)")
        axes[1].set_ylabel("area (chance .5)")
        figures.over_lists(axes[-1], means, size, within=True)
    return figure


def _claims(method: str) -> list[Claim]:
    at = lambda length: {"method": method, "condition": str(length)}
    short = {"condition": "10"}
    return [  # lists are nested: a memory that comes later can only take finds away, and adds noise to a sum
        Claim(
            f"{method}: of 200 memories the right one is found less often than of 10",
            "gate",
            at(200),
            short,
            "less",
            by_construction=True,
        ),
        Claim(
            f"{method}: recognition is worse among 200 than among 10", "auc", at(200), short, "less", by_construction=True
        ),
        Claim(f"{method}: recognition among 50 is within .05 of that among 10", "auc", at(50), short, "equal"),
    ]


about(
    NAME,
    "List length: finding and recognising",
    [claim for method in FINDERS for claim in _claims(method)],
    _draw,
    within=True,
    bounds=dict.fromkeys(("gate", "weight", "auc"), SHARE),
    note="Familiarity is a sum over all memories, so that each further one adds noise to it. The axes do not begin at "
    "chance.",
)
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=lambda number: material(number)[0], protocol=PROTOCOL,
    probes=80, encodes=False,
))  # fmt: skip
