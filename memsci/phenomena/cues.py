"""Cues: how little of a memory brings it back, and what sort of it does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pandas as pd
from matplotlib.figure import Figure

from memsci.figures.draw import per_cent
from memsci.figures.style import REFERENCE, style
from memsci.learners.mega import MEGa
from memsci.measures.text_match import contains
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import figures, materials
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, in_plain_english, run, suited
from memsci.phenomena.keys import FINDERS, finders, right
from memsci.phenomena.result import SHARE, Claim, Phenomenon, about
from memsci.world import stories

NAME = "cues"
STUDIED = 12  # memories of a list
SHARES = (1.0, 0.6, 0.4, 0.2)  # of the words of a story in other words
# Sorts of fact, by the pools of their values; "what" is the name of the kind of event.
SLOTS = {
    "who": ("friend", "bride"),
    "where": ("town", "venue", "island", "country", "river", "road", "station", "museum", "mountain"),
    "when": ("date", "month", "year", "weekday"),
}
PROTOCOL = (
    f"{STUDIED} stories of one person, each of its own kind. Cues: a share of the words of each in other words, drawn at "
    "random and kept in their order; or one fact alone (what: the name of the kind; who, where, when), of facts that one "
    "story of the list has. gate: the right memory has the highest weight. recalled: share of the facts that are not in the "
    "cue but in the recall. gain: share of all facts in the recall less that in the cue."
)


def cues(base: Base, lists: Lists = 20, seed: int = 0, progress: bool = True) -> Phenomenon:
    """How much of a memory is completed from a part of it, and which fact is the best cue?

    Completion is what makes a memory more than a copy: from a few words comes the rest. Wagenaar (1986), who noted
    an event a day for six years, was reminded best by what had happened, less by who and where, and least by when;
    some of that is how many events share a date, so that here only facts count that one story of the list has.

    The events are in the words of the built-in world on the shipped bases, in plain English on others (`memsci run
    cues_plain`).

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        gate by condition ("1.0" … "0.2" of the words; "what", "who", "where", "when"), for MEGa and for MiniLM and TF-IDF
        keys; recalled and gain for MEGa under its own gate and under the true one, which tells what the weights complete
        once the memory is found; cued, the share of facts in the cue.
    """
    return run(suited(NAME, base), base, lists, seed=seed, progress=progress)


@cache
def material(number: int, plain: bool = False) -> tuple[tuple[Memory, ...], pd.DataFrame, tuple[tuple[str, ...], ...]]:
    """The memories of a list, its cues (own: number of the memory, condition, text), and the facts of each memory."""
    draw, who = materials.rng(NAME, number), materials.person(number)
    memories, events, probes = [], [], []
    for place, kind in enumerate(materials.kinds(draw, STUDIED, plain)):
        id = f"{NAME}-{number:02d}-{place:02d}"
        events.append(stories.draw_event(kind, draw, who))
        memories.append(materials.told(events[-1], id, id, 1 if plain else materials.PARAPHRASES))
    for own, (memory, event) in enumerate(zip(memories, events)):
        words = memory.paraphrases[0].split()
        probes += [(own, str(share), _part(words, share, draw)) for share in SHARES]
        single = [("what", event.kind.label)]
        for slot, pool in event.kind.slots.items():
            single += [(sort, event.facts[slot]) for sort, pools in SLOTS.items() if pool in pools]
        # Only what belongs to one memory: an overloaded cue cannot tell.
        probes += [(own, *cue) for cue in single if sum(contains(one.text, cue[1]) for one in memories) == 1]
    facts = tuple(tuple(event.facts.values()) for event in events)
    return tuple(memories), pd.DataFrame(probes, columns=["own", "condition", "text"]), facts


def _part(words: Sequence[str], share: float, draw: random.Random) -> str:
    kept = sorted(draw.sample(range(len(words)), max(1, round(share * len(words)))))
    return " ".join(words[k] for k in kept)


def measured(probes: pd.DataFrame, facts: Sequence[Sequence[str]], recalled: Sequence[str]) -> pd.DataFrame:
    """Rows for the recalls of the cues that are parts of a story."""
    rows = []
    for (own, condition, text), recall in zip(probes[["own", "condition", "text"]].itertuples(index=False), recalled):
        cued = [contains(text, fact) for fact in facts[own]]
        said = [contains(recall, fact) for fact in facts[own]]
        others = [hit for hit, given in zip(said, cued) if not given]
        known = {"cued": sum(cued) / len(cued), "gain": (sum(said) - sum(cued)) / len(cued)}
        said_so = {"condition": condition, "question": text, "response": recall}
        rows += [{**said_so, "measure": name, "value": value} for name, value in known.items()]
        if others:
            counts = {"actual": sum(others), "possible": len(others)}
            rows.append({**said_so, "measure": "recalled", "value": sum(others) / len(others), **counts})
    return pd.DataFrame(rows)


def _studied(number: int, plain: bool = False) -> list[Memory]:
    """The memories as they are learnt: in plain English without the other wording, which is for cues alone."""
    memories = material(number, plain)[0]
    return [replace(memory, paraphrases=()) for memory in memories] if plain else list(memories)


def _measure(method: str, base: Base, number: int, seed: int, report: Report, plain: bool = False) -> pd.DataFrame:
    memories, (_, probes, facts) = _studied(number, plain), material(number, plain)
    own, texts = probes["own"].tolist(), probes["text"].tolist()
    tables = []
    for finder in finders(base):
        keys = finder.embed([memory.text for memory in memories])
        hits = right(finder.gate(finder.embed(texts), keys), own)
        tables.append(probes[["condition"]].assign(
            method=finder.name, measure="gate", value=hits, actual=[int(hit) for hit in hits], possible=1,
            item=[memories[k].id for k in own],
        ))  # fmt: skip
    mind = MEGa(base, seed=seed)
    report(0, len(memories))
    mind.encode(memories, progress=False)
    report(len(memories), len(memories))
    parts = probes[probes["condition"].isin(map(str, SHARES))]
    asked, ids = parts["text"].tolist(), [memories[k].id for k in parts["own"]]
    for name, gate in (("MEGa", None), ("MEGa, true gate", mind.true_gate(ids))):
        told = measured(parts, facts, mind.recall(asked, gate=gate))
        tables.append(told.assign(method=name, studied=" ".join(memory.id for memory in memories)))
    return pd.concat(tables, ignore_index=True)


def _draw(result: Phenomenon, size: str) -> Figure:
    """What is found and completed by the share of words, and what single facts find."""
    means = result.shown()
    with style(size):
        figure, axes = figures.panels(3, size, 10.5, 3.2)
        for ax, measure, title in zip(
            axes, ("gate", "recalled"), ("right memory first (%)", "recalled of what the cue lacks (%)")
        ):
            rows = means[(means["measure"] == measure) & means["condition"].isin(map(str, SHARES))]
            figures.over(ax, rows.assign(share=rows["condition"].astype(float)), "share", title)
            ax.set(xlabel="share of the words in the cue (%)", ylim=(-0.03, 1.03))
            ax.xaxis.set_major_formatter(per_cent)
            ax.yaxis.set_major_formatter(per_cent)
        cued = means[(means["measure"] == "cued") & (means["method"] == "MEGa")]
        axes[1].plot(cued["condition"].astype(float), cued["mean"], **REFERENCE, label="facts in the cue")
        sorts = ["what", *SLOTS]
        single = means[(means["measure"] == "gate") & means["condition"].isin(sorts)]
        figures.points(axes[2], single, sorts, "right memory first, by one fact (%)")
        axes[2].yaxis.set_major_formatter(per_cent)
        figures.apart(axes[2])
        figures.over_lists(axes[2], means, size, axes[:2], within=True)
    return figure


_OF = {"method": "MEGa"}


def _claims(trained: bool) -> list[Claim]:
    """The claims; `trained`: the base was trained to find these events by the name of their kind, which is "what"."""
    return [
        *(
            # Whatever retrieves whole texts gives more than the part that it found them by, as long as it finds them often.
            Claim(f"Of {share} of the words MEGa recalls more facts than they hold", "gain", {**_OF, "condition": share},
                  by_construction=True)
            for share in ("0.4", "0.2")
        ),
        *(
            Claim(f"{method}: what happened is a better cue than {sort}", "gate", {"method": method, "condition": "what"},
                  {"condition": sort}, by_construction=trained and method == "MEGa")
            for method in FINDERS for sort in SLOTS
        ),
        *(
            Claim(f"{method}: {sort} is a better cue than when", "gate", {"method": method, "condition": sort},
                  {"condition": "when"})
            for method in FINDERS for sort in ("who", "where")
        ),
    ]  # fmt: skip


about(
    NAME,
    "Cues: completion from a part, and from single facts",
    _claims(trained=True),
    _draw,
    within=True,
    bounds=dict.fromkeys(("gate", "recalled", "cued"), SHARE),
    note='"What" is the name of the kind of event, each of which a list has once, and which the shipped base was trained to '
    "find events by. Its cues have about two words, of where 1.7, when 1.2, who one. A word that one story has finds it by "
    "TF-IDF whatever it tells, so that these keys can show no order.",
)  # fmt: skip
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=_studied, protocol=PROTOCOL, probes=8 * STUDIED,
))  # fmt: skip
in_plain_english(
    NAME,
    PROTOCOL.replace("in other words", "with its clauses in another order"),
    claims=tuple(_claims(trained=False)),
    note='"What" is a phrase of the sentence that names the kind of event, of two words; cues of where have 1.6, when '
    "1.4, who one. A word that one sentence has finds it by TF-IDF whatever it tells, so that these keys can show no order. "
    "Under the true gate an adapter tells its sentence whatever the cue.",
)
