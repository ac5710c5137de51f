"""Recognition: is a probe old or new, by how familiar it is to the gate?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import ndtri

from memsci.figures.draw import per_cent
from memsci.figures.style import REFERENCE, look, style
from memsci.measures import detection
from memsci.measures.methods import order as by_method
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import figures, materials
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, run
from memsci.phenomena.keys import FINDERS, Finder, familiarity, finders
from memsci.phenomena.result import SHARE, Claim, Phenomenon, about
from memsci.world import stories

NAME = "recognition"
STUDIED = 24  # memories of a list
CRITERIA = 5
# Old probes and the new ones that they are told from: by a question about a fact, or by the story in other words.
COMPARED = {
    "question, same kind": ("question", "same kind"), "question, other kind": ("question", "other kind"),
    "story, modified": ("story", "modified"), "story, same kind": ("story", "same kind"),
    "story, other kind": ("story", "other kind"),
}  # fmt: skip
ACCEPTED = 0.94  # of the old stories, at the criterion by which new ones are accepted
PROTOCOL = (
    f"{STUDIED} stories of one person studied (keys alone, nothing encoded), probed by a question of each and by each in "
    "other words; new: one fact changed (modified), all facts changed (same kind), a kind that was not studied (other "
    "kind). Familiarity: log sum exp(beta s), in nats. accepted: share above the criterion that 94 % of old stories pass."
)


def recognition(base: Base, lists: Lists = 20, seed: int = 0, progress: bool = True) -> Phenomenon:
    """How well does the gate tell what was learnt from what was not, and by what spread of familiarity?

    Familiarity is log Σ exp(β s) over all memories: how much the cue is like anything learnt. Probes are questions, or
    stories in other words: probes to the letter would be at the ceiling, and the gate's weights, which sum to 1, would call
    everything old. People's recognition of words has σ_new/σ_old near 0.8 (Ratcliff, Sheu and Gronlund 1992), with
    new words that are unrelated to the old ones; here the ratio depends on the lures, so look at all comparisons. In a
    diary study people accepted 94 % of their own entries, 50 % of modified and 23 % of novel ones (Barclay and Wellman
    1986, as told in the Handbook of Psychology 4). Compare the order of these, not their levels.

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        Methods are MEGa (the gate of this base) and the same gate with MiniLM and TF-IDF keys. By comparison: auc, distance
        (d_a), slope (σ_new/σ_old), hit and false alarm at five criteria (condition "question, same kind 1" is the
        strictest); accepted by kind of story; familiarity of each probe (nats).

    Examples
    --------
    >>> import memsci
    >>> found = recognition(memsci.load(), lists=1, progress=False)
    >>> found.table.query("measure == 'auc' and method == 'MEGa'")["value"].between(0.5, 1).all().item()
    True
    """
    return run(NAME, base, lists, seed=seed, progress=progress)


@cache
def material(number: int) -> tuple[tuple[Memory, ...], pd.DataFrame]:
    """The memories of a list, and its probes: item, cue ("question", "story"), kind ("old", "modified" …), text."""
    draw, who = materials.rng(NAME, number), materials.person(number)
    chosen = materials.kinds(draw, 2 * STUDIED)
    studied, probes = [], []
    for place, (kind, unlike) in enumerate(zip(chosen[:STUDIED], chosen[STUDIED:])):
        old = stories.draw_event(kind, draw, who)
        asked = draw.randrange(len(kind.questions))
        changed = materials.twin(old, draw.choice(list(kind.slots)), draw)
        events = {"old": old, "modified": changed, "same kind": materials.lure(old, draw),
                  "other kind": stories.draw_event(unlike, draw, who)}  # fmt: skip
        id = f"{NAME}-{number:02d}-{place}"
        studied.append(materials.told(old, id, id))
        for name, event in events.items():
            story = materials.told(event, id, id, 1).paraphrases[0]
            probes.append((id, "story", name, story))
            if name != "modified":  # the question might not tell the difference
                which = asked if name != "other kind" else draw.randrange(len(unlike.questions))
                probes.append((id, "question", name, stories.ask(event, which, random.Random(id)).text))
    return tuple(studied), pd.DataFrame(probes, columns=["item", "cue", "kind", "text"])


def measured(known: pd.DataFrame) -> pd.DataFrame:
    """Rows for the probes of a list by one method, from their familiarity (column value)."""
    rows = [
        known.assign(measure="familiarity", condition=known["cue"] + ", " + known["kind"])[
            ["item", "condition", "measure", "value"]
        ]
    ]
    scores = {key: part["value"].to_numpy() for key, part in known.groupby(["cue", "kind"])}
    told = []
    for condition, (cue, kind) in COMPARED.items():
        old, new = scores[cue, "old"], scores[cue, kind]
        for name, value in (("auc", detection.auc), ("distance", detection.distance), ("slope", detection.slope)):
            told.append({"condition": condition, "measure": name, "value": value(old, new)})
        for k, (hit, alarm) in enumerate(detection.operating_points(old, new, CRITERIA), start=1):
            counts = (("hit", hit, len(old)), ("false alarm", alarm, len(new)))
            told += [
                {"condition": f"{condition} {k}", "measure": name, "value": share, "actual": round(share * n), "possible": n}
                for name, share, n in counts
            ]
    criterion = np.quantile(scores["story", "old"], 1 - ACCEPTED)
    for kind in ("old", "modified", "same kind", "other kind"):
        told.append({"condition": kind, "measure": "accepted", "value": (scores["story", kind] >= criterion).mean()})
    return pd.concat([*rows, pd.DataFrame(told)], ignore_index=True)


def _known(finder: Finder, studied: Sequence[Memory], probes: pd.DataFrame) -> pd.DataFrame:
    keys = finder.embed([memory.text for memory in studied])
    gate = finder.gate(finder.embed(probes["text"].tolist()), keys)
    return probes.assign(value=familiarity(gate).tolist())


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    studied, probes = material(number)
    tables = [measured(_known(one, studied, probes)).assign(method=one.name) for one in finders(base)]
    return pd.concat(tables, ignore_index=True)


def _draw(result: Phenomenon, size: str) -> Figure:
    """ROC and zROC of questions against both sorts of lures; beside them which stories are accepted."""
    means = result.shown()
    with style(size):
        figure, axes = figures.panels(4, size, 12, 3.2, across=2)
        for method in sorted(means["method"].unique(), key=by_method):
            for condition, line in (("question, same kind", "-"), ("question, other kind", ":")):
                rows = means[(means["method"] == method) & means["condition"].str.fullmatch(f"{condition} \\d")]
                points = rows.pivot(index="condition", columns="measure", values="mean")
                x, y = points["false alarm"], points["hit"]
                shown = look(method) | {"linestyle": line, "markersize": 3}
                axes[0].plot([0, *x, 1], [0, *y, 1], **shown, label=f"{method}: {condition.split(', ')[1]}")
                inside = x.between(0, 1, "neither") & y.between(0, 1, "neither")
                axes[1].plot(ndtri(x[inside]), ndtri(y[inside]), **shown)
        for ax, (low, high), title in zip(axes, ((0, 1), (-2.5, 2.5)), ("ROC of questions", "zROC of questions")):
            ax.plot([low, high], [low, high], **REFERENCE)
            ax.set(xlabel="false alarms", ylabel="hits", title=title, aspect="equal")
        axes[0].set(xlabel="false alarms (%)", ylabel="hits (%)")
        axes[1].set(xlabel="false alarms (z)", ylabel="hits (z)")
        for axis in (axes[0].xaxis, axes[0].yaxis):
            axis.set_major_formatter(per_cent)
        accepted = means[means["measure"] == "accepted"]
        figures.points(axes[2], accepted, ["old", "modified", "same kind", "other kind"], "stories accepted (%)")
        axes[2].yaxis.set_major_formatter(per_cent)
        axes[3].yaxis.set_major_formatter(per_cent)
        people = result.human.query("measure == 'accepted'")
        axes[3].plot(range(len(people)), people["value"], **figures.PEOPLE | {"linestyle": ""})
        axes[3].set_xticks(range(len(people)), people["condition"])
        axes[3].set_title("people: diary (%)")
        axes[3].margins(x=0.2)
        axes[3].set_ylim(axes[2].get_ylim())
        for ax in axes[2:]:
            figures.apart(ax)
        figures.over_lists(axes[3], means, size, axes[:1], within=True)
    return figure


def _claims(method: str) -> list[Claim]:
    of = lambda condition: {"method": method, "condition": condition}
    same, other = "question, same kind", "question, other kind"
    return [  # that what shares more words with a studied text is more familiar is what any likeness of texts gives
        Claim(f"{method}: lures of a studied kind are harder to tell", "auc", of(same), {"condition": other}, "less",
              by_construction=True),
        Claim(f"{method}: stories with one fact changed are harder than with all", "auc", of("story, modified"),
              {"condition": "story, same kind"}, "less", by_construction=True),
        Claim(f"{method}: new items are less spread than old (slope below 1)", "slope", of(same), 1.0, "less"),
    ]  # fmt: skip


about(
    NAME,
    "Recognition by the familiarity of the gate",
    [claim for method in FINDERS for claim in _claims(method)],
    _draw,
    within=True,
    bounds=dict.fromkeys(("auc", "hit", "false alarm", "accepted"), SHARE),
    note="Of the old stories as many are accepted as the criterion lets pass, in every list. People: a small group of "
    "adults and their own diaries, over delays of up to two and a half years (Barclay and Wellman 1986, as told in a "
    "handbook): compare the order, not levels.",
)
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=lambda number: material(number)[0], protocol=PROTOCOL,
    probes=7 * STUDIED, encodes=False,
))  # fmt: skip
