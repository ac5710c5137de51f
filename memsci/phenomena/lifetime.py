"""A lifetime: memories come day by day, are asked about, corrected, forgotten, and sleep. What is left of them, by age?

Nothing of it is in the paper, whose Discussion leaves it open. Days are an order of events and nothing else: no memory
changes unless something is done to it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from memsci import data, evaluate
from memsci.errors import check_in, check_whole
from memsci.evaluate.gate_accuracy import unify_names
from memsci.figures.draw import per_cent, whiskers
from memsci.figures.style import style
from memsci.gate.activation import activation
from memsci.learners import make
from memsci.learners.base import Learner
from memsci.learners.mega import MEGa
from memsci.lifetime import Chosen, Oldest, Sleep, conflict
from memsci.lifetime.correct import standing, superseded
from memsci.measures.metrics import macro_accuracy
from memsci.measures.text_match import contains
from memsci.memory import Memory, Question
from memsci.models.base import Base
from memsci.phenomena import figures, materials
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, run
from memsci.phenomena.result import Claim, Phenomenon, about

NAME = "lifetime"
PARTITIONS = 4  # of the built-in world, one after another, two days each
LIVES = 5  # as many as 20 partitions give
SIZE = 50  # memories of a partition
DAYS = 2 * PARTITIONS
LAST = f"day {DAYS}"
# How the memories of a life sleep, by the setting "sleep", and what the learner is then called.
SLEEPS = {
    "never": "MEGa", "groups": "MEGa, slept in groups", "texts": "MEGa, slept from texts", "recalls": "MEGa, slept",
    "merged": "MEGa, merged",
}  # fmt: skip
PERSONS = ("own", "one")
SCORED = ("qa", "logprob per token", "recall cos", "correct gate")
ITEMS = 10, 50  # of general knowledge, per subject: between, and on the last day
PROTOCOL = (
    f"{PARTITIONS} built-in partitions, each learnt in two days; on the first of the two also an event that is told anew "
    "with one fact changed on the second. From the second day on the least active of the memories with adapters of their "
    "own is forgotten (B = ln Σ (t − t_j)^-0.5 over the days it was learnt and opened by a question). After each second "
    "day all but the day's memories sleep, and one question of each living memory is asked, three on the last day; general "
    f"knowledge: {ITEMS[0]} items of each subject, {ITEMS[1]} on the last day. 'merged': the mean of the adapters, once, in "
    "the last night. Full batch and LoRA learn all, and forget nothing."
)


@dataclass(frozen=True)
class Day:
    """What comes on one day.

    Attributes
    ----------
    learn : tuple of Memory
        In this order; a correction names what it corrects.
    night : bool
        Whether memories may sleep afterwards, and questions are asked to measure.
    """

    learn: tuple[Memory, ...]
    night: bool


def lifetime(
    base: Base,
    lists: Lists = LIVES,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = True,
    memories: int | None = None,
    sleep: str = "groups",
    persons: str = "own",
) -> Phenomenon:
    """What a mind knows after days of learning, correcting, forgetting and sleeping.

    Parameters
    ----------
    base, lists, methods, seed, progress
        As in `memsci.phenomena.experiment.run`; a list is a life, of which there are five.
    memories
        Only the first so many of each of the four partitions; None: all 50.
    sleep
        What happens after each second day to all memories but those of that day: "never", nothing; "groups", they sleep (
        `memsci.MEGa.sleep`); "texts", the same from their true texts; "recalls", into one adapter for all that ever slept,
        learnt anew each time in half the passes ("MEGa, slept" in the table); "merged", in the last night they get one
        adapter, the mean of theirs. Learners other than MEGa do not sleep.
    persons
        "own": each partition is about a person of its own; "one": all are about one and the same.

    Returns
    -------
    Phenomenon
        By condition "day 2" … "day 8" over all living memories, and by "age 0" … "age 7", the days since a memory was
        learnt, on the last day: qa and recalled qa (after a recall), correct gate (shares), logprob per token (nats), recall
        cos. On each measured day also correct gate awake (of what has an adapter of its own), slow qa (of what slept, its
        shared adapter alone open), slept (share of memories), knowledge, MB (of adapters and keys), share of bytes (of what
        an adapter for each would take), seconds (of learning and sleeping so far), new and old (of corrected facts, the
        share answered in the new and in the old way), recalled new and recalled old, and forgotten (of questions about
        forgotten memories, the share still answered).
    """
    return run(NAME, base, lists, methods, seed, progress, memories=memories, sleep=sleep, persons=persons)


def days(number: int, memories: int | None = None, persons: str = "own") -> list[Day]:
    """The days of a life: partitions in sequence, an event in each that is corrected a day later.

    Parameters
    ----------
    number
        Of the life, 0 to 4.
    memories, persons
        As in `lifetime`.
    """
    size = SIZE if memories is None else memories
    check_whole("list", number, 0)
    check_in("list", number, range(LIVES))
    check_whole("memories", size, 2, SIZE)
    check_in("persons", persons, PERSONS)
    told = {k: _told(k, size) for k in range(PARTITIONS * number, PARTITIONS * (number + 1))}
    if persons == "one":
        told = unify_names(told)
    made = []
    for part in told.values():
        *plain, event, correction = part
        half = (len(plain) + 1) // 2
        made += [Day((*plain[:half], event), False), Day((*plain[half:], correction), True)]
    return made


def _told(partition: int, size: int) -> list[Memory]:
    """The first memories of a partition, then an event and its correction."""
    [pair] = materials.pairs(partition, 1, name=NAME)
    event, correction = (
        replace(one, questions=(Question(pair.cue, answer),)) for one, answer in zip(pair.twins, pair.answers)
    )
    return [*data.builtin("episodic", partition).first(size), event, replace(correction, corrects=event.id)]


@dataclass
class Life:
    """A mind as its days go by.

    Attributes
    ----------
    mind : MEGa
        Whose they are.
    sleeps : str
        One of `SLEEPS`.
    known : dict
        Every memory that ever came, by id.
    times : dict
        When each was learnt, and opened by a question since; in days.
    forgotten : list of str
        Ids.
    seconds : float
        That learning and sleeping took so far.
    """

    mind: MEGa
    sleeps: str
    rng: random.Random
    settings: Sleep = field(default_factory=Sleep)
    known: dict[str, Memory] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def live(self, today: Day, now: int, last: bool) -> None:
        """One day: memories are learnt, one is forgotten, some are asked about, and the night."""
        begun = time.perf_counter()
        self.mind.encode(list(today.learn), progress=False)
        for one in today.learn:
            self.known[one.id], self.times[one.id] = one, [float(now)]
        self.seconds += time.perf_counter() - begun
        if now > 1:
            self.forget(now)
        asked = self.rng.sample(self.living(), min(len(today.learn), len(self.living())))
        questions = [self.rng.choice(one.questions).text for one in asked]
        for id in self.mind.gate(questions).top():
            self.times[id].append(now + 0.5)
        if today.night and self.sleeps != "never":
            begun = time.perf_counter()
            self.night(len(today.learn), last)
            self.seconds += time.perf_counter() - begun

    def living(self) -> list[Memory]:
        """What a question may ask for: all that was neither forgotten nor corrected."""
        return [self.known[one.id] for one in standing(self.mind.store)]

    def forget(self, now: int) -> None:
        """Forget the least active of those that have an adapter of their own, were not learnt today and correct nothing."""
        linked = {*superseded(self.mind.store), *self.mind.store.corrections}
        able = [one.id for one in self.mind.store.records if not one.shared and one.id not in linked]
        able = [id for id in able if self.times[id][0] < now]
        if able:
            id = min(able, key=lambda one: activation(self.times[one], now + 1))
            self.mind.forget(id)
            self.forgotten.append(id)

    def night(self, awake: int, last: bool) -> None:
        """What was not learnt today sleeps; what was corrected does not: twins would recall each other."""
        gone = superseded(self.mind.store)
        ids = [id for id in Oldest(awake=awake).choose(self.mind) if id not in gone]
        if self.sleeps == "merged":
            if last and len(ids) > 1:
                self.mind.merge(ids, by="mean", settings=replace(self.settings, least=0.0), progress=False)
            return
        settings = self.settings
        if self.sleeps == "recalls":  # all are learnt again every night, so half the passes
            settings = replace(settings, most=None, epochs=max(1, settings.epochs // 2))
        texts = list(self.known.values()) if self.sleeps == "texts" else None
        self.mind.sleep(Chosen(ids), settings, memories=texts, progress=False)


def _measure(
    method: str,
    base: Base,
    number: int,
    seed: int,
    report: Report,
    memories: int | None = None,
    sleep: str = "never",
    persons: str = "own",
) -> pd.DataFrame:
    check_in("sleep", sleep, SLEEPS)
    plan = days(number, memories, persons)
    name = SLEEPS[sleep] if method == "MEGa" else method
    name += ", one person" * (persons == "one")
    born = {one.id: now for now, today in enumerate(plan, 1) for one in today.learn}
    if method != "MEGa":
        return _at_the_end(make(method, base, seed=seed), plan, born, report).assign(method=name)
    life, tables = Life(MEGa(base, seed=seed), sleep, materials.rng(NAME, number)), []
    for now, today in enumerate(plan, 1):
        report(now - 1, len(plan))
        life.live(today, now, now == len(plan))
        if today.night and (sleep != "merged" or now == len(plan)):
            tables.append(_of_mind(life, now, born))
    return pd.concat(tables, ignore_index=True).assign(method=name)


def _at_the_end(learner: Learner, plan: Sequence[Day], born: Mapping[str, int], report: Report) -> pd.DataFrame:
    """A learner without adapters of its own: one that learns jointly has only what was not corrected."""
    every = [one for today in plan for one in today.learn]
    corrected = {one.corrects: one.id for one in every}
    report(0, 1)
    begun = time.perf_counter()
    jointly = [one for one in every if one.id not in corrected]
    learner.learn(jointly if learner.method.jointly else every, progress=False)
    spent = time.perf_counter() - begun
    asked = _answered(learner, jointly, DAYS, born)
    return pd.concat([asked, _about(learner, every), _day(DAYS, seconds=spent)], ignore_index=True)


def _of_mind(life: Life, now: int, born: Mapping[str, int]) -> pd.DataFrame:
    """All that is measured of a mind on one day."""
    mind, living = life.mind, life.living()
    tables = [_answered(mind, living, now, born), _about(mind, [life.known[id] for id in mind.ids], now)]
    records = list(mind.store.records)
    slept = {one.id for one in records if one.shared}
    own = max(one.nbytes for one in records if not one.shared)
    size = mind.store.nbytes
    of_day = tables[0][(tables[0]["measure"] == "correct gate") & (tables[0]["condition"] == _name(now))]
    awake = of_day[~of_day["item"].isin(slept)].assign(measure="correct gate awake")
    if slept:
        some = [one for one in living if one.id in slept]
        alone = evaluate.ask(mind, some, ("direct",), _questions(now), gate="true")
        right = [contains(*row) for row in zip(alone["answer"], alone["target"])]
        tables.append(_rows(now, "slow qa", alone["memory_id"], right))
    if life.forgotten:
        gone = evaluate.probes([life.known[id] for id in life.forgotten], 1)
        right = [contains(*row) for row in zip(mind.answer(gone["question"].tolist()), gone["target"])]
        tables.append(_rows(now, "forgotten", gone["memory_id"], right))
    told = {"slept": len(slept) / len(records), "MB": size / 1e6, "share of bytes": size / (own * len(records))}
    return pd.concat([*tables, awake, _day(now, seconds=life.seconds, **told)], ignore_index=True)


def _questions(now: int) -> int:
    """How many are asked of each memory on a day."""
    return evaluate.QUESTIONS if now == DAYS else 1


def _answered(learner: Learner, living: Sequence[Memory], now: int, born: Mapping[str, int]) -> pd.DataFrame:
    """What is answered about the living memories: rows of the day and, on the last, of their ages; and knowledge."""
    responses = evaluate.ask(learner, list(living), per_memory=_questions(now)).assign(method=learner.name)
    scores = evaluate.score(responses)
    direct = scores["way"] == "direct"
    found = scores[direct & scores["metric"].isin(SCORED)].assign(measure=lambda rows: rows["metric"])
    first = scores[~direct & (scores["metric"] == "qa")].assign(measure="recalled qa")
    rows = pd.concat([found, first])[["memory_id", "measure", "value"]].rename(columns={"memory_id": "item"})
    tables = [rows.assign(condition=_name(now))]
    if now == DAYS:
        tables.append(rows.assign(condition=[f"age {now - born[id]}" for id in rows["item"]]))
    quiz = evaluate.ask_quiz(learner, data.quiz("test", ITEMS[now == DAYS]))
    return pd.concat([*tables, _day(now, knowledge=macro_accuracy(quiz))], ignore_index=True)


def _about(learner: Learner, stored: Sequence[Memory], now: int = DAYS) -> pd.DataFrame:
    """The facts that were corrected: in which way they are answered."""
    known = {one.id: one for one in stored}
    pairs = [(one, known[one.corrects]) for one in stored if one.corrects in known]
    probes = pd.DataFrame(
        [(new.id, *_fact(new), _fact(old)[1]) for new, old in pairs], columns=["item", "question", "new", "old"]
    )
    tables = []
    for mark, first in (("", False), ("recalled ", True)) if len(pairs) else ():
        said = conflict.said(learner, probes, via_recall=first)
        tables += [_rows(now, f"{mark}{name}", said["item"], said[f"says {name}"]) for name in ("new", "old")]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _fact(memory: Memory) -> tuple[str, str]:
    return memory.questions[0].text, memory.questions[0].answer


def _name(now: int) -> str:
    return f"day {now}"


def _rows(now: int, measure: str, items: Sequence[str], values: Sequence[Any]) -> pd.DataFrame:
    rows = {"condition": _name(now), "measure": measure, "item": list(items), "value": [float(one) for one in values]}
    return pd.DataFrame(rows)


def _day(now: int, **values: float) -> pd.DataFrame:
    return pd.DataFrame([{"condition": _name(now), "measure": name, "value": one} for name, one in values.items()])


# By day, and by age on the last


def _draw(result: Phenomenon, size: str) -> Figure:
    """QA and bytes as days go by; on the last day QA by age, direct, after a recall, and of the slow adapter alone."""
    means = result.means(["method", "measure", "condition"])
    means = means.assign(at=means["condition"].str.split().str[1].astype(int), by=means["condition"].str.split().str[0])
    methods = sorted(means["method"].unique(), key=_order)
    panels = [
        ("day", "qa", "QA, direct"), ("day", "recalled qa", "QA after a recall"),
        ("day", "slow qa", "QA, slow adapter alone"),
        ("age", "qa", "QA, direct, last day"), ("age", "recalled qa", "QA after a recall, last day"),
        ("age", "correct gate", "right memory opens most, last day"),
        ("day", "share of bytes", "bytes, of an adapter each"), ("day", "knowledge", "general knowledge"),
        ("day", "seconds", "seconds, learning and sleeping"),
    ]  # fmt: skip
    with style(size):
        figure, axes = figures.panels(len(panels), size, 10.5, 2.8, beside=3)
        for ax, (by, measure, title) in zip(axes, panels):
            rows = means[(means["by"] == by) & (means["measure"] == measure)]
            for k, method in enumerate(methods):
                own = rows[rows["method"] == method].sort_values("at")
                if len(own):
                    ax.errorbar(own["at"], own["mean"], **whiskers(own, "y"), **_look(k), label=method)
            ax.set(title=title, xlabel="day" if by == "day" else "days since it was learnt")
            ax.set_ylabel("seconds" if measure == "seconds" else "%")
            if measure != "seconds":
                ax.set_ylim(-0.02, 1.04)
                ax.yaxis.set_major_formatter(per_cent)
            ax.set_xticks(sorted(rows["at"].unique()))
            ax.grid(True, axis="y")
        figures.over_lists(axes[2], means, size, axes, unit="life")
    return figure


def _order(method: str) -> tuple[int, str]:
    names = [*SLEEPS.values(), "LoRA", "Full batch"]
    name = method.removesuffix(", one person")
    return (names.index(name) if name in names else len(names)), method


def _look(place: int) -> dict[str, Any]:
    """Colours and marks in the order of methods, told apart without colour too."""
    colors = ("#000000", "#0072B2", "#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#999999")
    return {"color": colors[place % len(colors)], "marker": "osD^vPXh"[place % 8], "linestyle": ("-", "--")[place % 2]}


_SLEPT, _END = {"method": SLEEPS["groups"], "condition": LAST}, {"method": SLEEPS["never"]}
about(
    NAME,
    "A lifetime of memories: corrected, forgotten, slept",
    [
        Claim("Slept: QA within 5 points of never asleep", "qa", _SLEPT, _END, "equal"),
        Claim("Slept: QA after a recall within 5 points of never asleep", "recalled qa", _SLEPT, _END, "equal"),
        Claim("Slept: less than a quarter of the bytes of an adapter each", "share of bytes", _SLEPT, 0.25, "less"),
        Claim("Slept: knowledge within 1 point of never asleep", "knowledge", _SLEPT, _END, "equal", margin=0.01),
        Claim("Slept: the gate is as often right about what is awake as without sleep", "correct gate awake", _SLEPT,
              {"method": SLEEPS["never"]}, "equal"),
        Claim("Slept from recalls: QA within 5 points of slept from texts", "qa", _SLEPT, {"method": SLEEPS["texts"]},
              "equal"),
        Claim("Slept in groups: QA above one adapter for all", "qa", _SLEPT, {"method": SLEEPS["recalls"]}),
        Claim("Slept in groups: knowledge above one adapter for all", "knowledge", _SLEPT, {"method": SLEEPS["recalls"]}),
        Claim("Slept: QA above the mean of the adapters", "qa", _SLEPT, {"method": SLEEPS["merged"]}),
        Claim("Slept: QA above one LoRA after another", "qa", _SLEPT, {"method": "LoRA"}),
        Claim("Slept: QA against all texts at once (Full batch)", "qa", _SLEPT, {"method": "Full batch"}),
        Claim("Slept: the slow adapter alone answers at least half", "slow qa", _SLEPT, 0.5),
        Claim("Slept: corrected facts are answered in the new way, nine in ten", "recalled new", _SLEPT, 0.9),
        Claim("Slept: the old way is still said, one in twenty at most", "recalled old", _SLEPT, 0.05, "less"),
        Claim("Slept: one in five questions about forgotten memories at most is answered", "forgotten", _SLEPT, 0.2, "less"),
    ],
    _draw,
    unit="life",
)  # fmt: skip
enter(
    Experiment(
        name=NAME,
        methods=("LoRA", "Full batch", "MEGa"),
        measure=_measure,
        material=lambda number, memories=None: [one for today in days(number, memories) for one in today.learn],
        protocol=PROTOCOL,
        probes=3,
        studies=1,
        settings=("sleep", "persons", "memories"),
        each=True,
        again=2 * Sleep().epochs * 5 // 4,  # some sleep once more
    )
)
