"""People's own questions: what do those who read a passage know of it afterwards, and what does a model that learnt it?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr, wasserstein_distance

from memsci.adapters.study import sentences
from memsci.data.readings import Reading, answers, readings
from memsci.errors import MemsciError
from memsci.figures.draw import per_cent
from memsci.figures.style import REFERENCE, style
from memsci.memory import Memory
from memsci.models.base import OWN, Base
from memsci.phenomena import controls, figures
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, run
from memsci.phenomena.result import Claim, Phenomenon, about

NAME = "human_qa"
KINDS = ("factual", "narrative")
OF_A_KIND = 10  # lists 0 to 9 are the factual passages, 10 to 19 the narrative ones
WORDS = 80  # of a memory at least: a passage of some 600 words is learnt in about six
CHANCE = 0.25
AFTER_RECALL, MEAN = "MEGa, after recall", "People's mean"
PROTOCOL = (
    f"A passage of 600 words, learnt as memories of whole sentences of {WORDS} words or more, and people's ten questions "
    "about it. correct: of four options the text of the right one is the likeliest, in mean log probability per token. "
    "agreement: Spearman's correlation, over the questions, of the right option's lead and the share of people who chose it."
)


def human_qa(
    base: Base, lists: Lists = 20, methods: Sequence[str] | None = None, seed: int = 0, progress: bool = True
) -> Phenomenon:
    """Does a model that learnt a passage know what people know who read it, and are the same questions hard?

    Some fifty people read a Wikipedia passage and a story each, and answered ten questions about either from memory (arXiv
    2605.25680): 71 % and 78 % right. A list is one passage, and a learner knows no other, as they did. Levels can be
    compared with care only: people choose among four letters, a small model weighs the four texts.

    Parameters are those of `memsci.phenomena.experiment.run`. The shipped base is refused: it reads no ordinary English.

    Returns
    -------
    Phenomenon
        correct (share; a row per question) and agreement by condition "factual" and "narrative"; methods are those of
        `memsci.phenomena.controls` and MEGa once more, asked after it has recalled ("MEGa, after recall").

    Raises
    ------
    MemsciError
        People's answers are not there: see `memsci.data.readings`.
    """
    return run(NAME, base, lists, methods, seed, progress)


@cache
def _passages() -> tuple[Reading, ...]:
    return tuple(one for kind in KINDS for one in readings(kind))


def material(number: int) -> tuple[Memory, ...]:
    """The memories of one passage: its sentences in their order, `WORDS` words or more in each."""
    if number >= len(_passages()):
        raise MemsciError(f"There are {len(_passages())} passages, counted from 0; number {number} was asked for.")
    parts: list[list[str]] = [[]]
    for sentence in (one for line in _passages()[number].text.splitlines() for one in sentences(line)):
        if sum(len(one.split()) for one in parts[-1]) >= WORDS:
            parts.append([])
        parts[-1].append(sentence)
    if len(parts) > 1 and sum(len(one.split()) for one in parts[-1]) < WORDS / 2:
        rest = parts.pop()
        parts[-1] += rest
    return tuple(Memory(" ".join(part), f"{NAME}-{number:02d}-{k:02d}") for k, part in enumerate(parts))


@cache
def shares(number: int) -> tuple[float, ...]:
    """Of the people who were asked about this passage, the share that was right on each question."""
    given = answers(KINDS[number // OF_A_KIND])
    asked = given[given["reading"] == number % OF_A_KIND].groupby("item")["correct"].mean()
    return tuple(float(asked.get(item, np.nan)) for item in range(len(_passages()[number].items)))


def measured(leads: Sequence[float], number: int) -> list[dict]:
    """Rows of one passage by one method, from the lead of the right option in each question (nats per token)."""
    kind, people = KINDS[number // OF_A_KIND], np.array(shares(number))
    rows = [
        {"condition": kind, "item": f"{number}-{item}", "measure": "correct", "value": lead > 0, "actual": int(lead > 0),
         "possible": 1}
        for item, lead in enumerate(leads)
    ]  # fmt: skip
    known = ~np.isnan(people)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all people right on all questions: there is no order to agree with
        found = spearmanr(np.array(leads)[known], people[known]).statistic if known.sum() > 2 else np.nan
    if np.isfinite(found):
        rows.append({"condition": kind, "measure": "agreement", "value": float(found)})
    return rows


def humanlikeness(table: pd.DataFrame) -> pd.DataFrame:
    """How alike scores are distributed: 1 − W₁ of people's and a method's shares of right answers (arXiv 2605.25680).

    A person read one passage of a kind, a method all: its spread is over passages, people's over people and passages.
    "People's mean" is what a reader has who scores their mean on every passage: the value to beat.

    Parameters
    ----------
    table
        That of a result, or `partitions.csv.gz` of a run.

    Returns
    -------
    pandas.DataFrame
        method, condition, humanlikeness; 1 if passages give a method the scores that persons have.
    """
    right = table[table["measure"] == "correct"].rename(columns={"partition": "list"})
    scores = right.groupby(["method", "condition", "list"])["value"].mean()
    rows = []
    for (method, kind), own in scores.groupby(["method", "condition"]):
        people = answers(kind).groupby("participant")["correct"].mean()
        rows.append((method, kind, 1 - wasserstein_distance(people, own)))
        if not any(row[:2] == (MEAN, kind) for row in rows):
            rows.append((MEAN, kind, 1 - wasserstein_distance(people, [people.mean()])))
    return pd.DataFrame(rows, columns=["method", "condition", "humanlikeness"])


def _leads(learner, items, **how) -> list[float]:
    """The right option's mean log probability per token less that of the best other one, for each question."""
    found = learner.logprob([item.question for item in items], [list(item.options) for item in items], **how)
    weighed = iter(found["logprob"] / found["tokens"])
    leads = []
    for item in items:
        own = [next(weighed) for _ in item.options]
        leads.append(own[item.answer] - max(value for place, value in enumerate(own) if place != item.answer))
    return leads


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    if base.name in OWN:
        raise MemsciError(
            f"{NAME} needs a base that reads ordinary English, which the shipped one does not. Name another, such as "
            "smollm2."
        )
    memories, items = material(number), _passages()[number].items
    learner = controls.learner(method, base, seed)
    report(0, len(memories))
    learner.learn(memories, progress=False)
    report(len(memories), len(memories))
    rows = [row | {"method": method} for row in measured(_leads(learner, items), number)]
    if method == "MEGa":
        recalled = learner.recall([item.question for item in items])
        rows += [row | {"method": AFTER_RECALL} for row in measured(_leads(learner, items, recalled=recalled), number)]
    return pd.DataFrame(rows)


def _draw(result: Phenomenon, size: str) -> Figure:
    """What is right, people as a line; beside it how far the same questions are hard."""
    means, people = result.means(["method", "measure", "condition"]), result.human
    with style(size):
        figure, axes = figures.panels(2, size, 8.5, 3.2)
        for ax, measure in zip(axes, ("correct", "agreement")):
            figures.points(ax, means[means["measure"] == measure], list(KINDS), measure)
            theirs = people[people["measure"] == measure].set_index("condition")["value"]
            if measure == "agreement":  # of one half with the other; with all of them most would be, by Spearman and Brown
                theirs = (2 * theirs / (1 + theirs)) ** 0.5
            ax.plot(range(2), theirs[list(KINDS)], **figures.PEOPLE | {"linestyle": ""}, label="people")
        axes[0].axhline(CHANCE, **REFERENCE)
        axes[0].yaxis.set_major_formatter(per_cent)
        axes[0].set_ylabel("right answers (%)")
        axes[1].axhline(0, **REFERENCE)
        axes[1].set_ylabel("correlation with people's share\n(people: the most that is possible)")
        figures.over_lists(axes[1], means, size, axes[:1])
    return figure


def _claims() -> list[Claim]:
    at = lambda method, kind: {"method": method, "condition": kind}
    claims = []
    for kind in KINDS:
        claims += [
            Claim(f"MEGa knows more of {kind} passages than the base", "correct", at("MEGa", kind), {"method": "Base"}),
            Claim(f"MEGa knows more of {kind} passages after it has recalled", "correct", at(AFTER_RECALL, kind),
                  {"method": "MEGa"}),
            Claim(f"In context: more is right of {kind} passages than MEGa has right", "correct", at("In context", kind),
                  {"method": "MEGa"}),
            Claim(f"MEGa: questions of {kind} passages are hard that are for people, more so than for the base", "agreement",
                  at("MEGa", kind), {"method": "Base"}),
        ]  # fmt: skip
    return claims


about(
    NAME,
    "People's questions about what they read",
    _claims(),
    _draw,
    note="People (arXiv 2605.25680, some fifty) chose among four letters, models weigh the texts of the four options: "
    "compare the order, not levels. Some five people answered each question: one half of them agrees with the other by .30 "
    "(factual) and .24 (narrative), so that by Spearman and Brown a model that knew how hard questions are for people would "
    "agree with all of them by .68 and .62. People's marks in that panel are these.",
)
enter(Experiment(
    name=NAME, methods=controls.LEARNERS, measure=_measure, material=material, protocol=PROTOCOL, probes=40, studies=7,
))  # fmt: skip
