"""Retroactive and proactive interference: two facts learnt to one cue, A–B and then A–C."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from memsci.figures.draw import displace, per_cent, whiskers
from memsci.figures.style import REFERENCE, look, style
from memsci.measures.methods import order as by_method
from memsci.measures.text_match import contains
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import controls, figures, materials
from memsci.phenomena.controls import ABOUT_IT, Probe, Report, Session
from memsci.phenomena.experiment import Experiment, Lists, enter, in_plain_english, run, suited
from memsci.phenomena.materials import Pair
from memsci.phenomena.result import Claim, Phenomenon, about

NAME = "interference"
PAIRS = 4  # of a list
LEAST = 0.2  # of its cues a learner must answer in the controls for harm to be seen
HARM = {"answer": "harm", "recall": "harm, recall", "logprob": "harm, nats", "known": "harm, foil"}
PROTOCOL = (
    f"{PAIRS} pairs A–B, A–C a list, learnt as all A–B and then all A–C, against A–B then D–E (for B) and D–E then A–C (for "
    "C); each pair in both orders; one reply per cue; twins differ in the fact asked for alone. answer, recall: the fact "
    "stands in it, the other does not (recall: it stands there). known: log p(fact) > log p(foil). harm: control less A–B, "
    "A–C. A base of short context reads each pair by itself."
)  # fmt: skip


def interference(
    base: Base, lists: Lists = 20, methods: Sequence[str] | None = None, seed: int = 0, progress: bool = True
) -> Phenomenon:
    """Does later learning harm what was learnt before, or earlier learning what comes after?

    A list has pairs of facts to one cue, A–B and A–C. Retroactive interference is what learning A–C afterwards costs B,
    proactive interference what learning A–B before costs C, each against a control that learnt something unrelated, D–E,
    instead:

        RI = p(B | A–B, D–E) − p(B | A–B, A–C),    PI = p(C | D–E, A–C) − p(C | A–B, A–C)

    Without the control all forgetting would count as interference. One reply is asked for per cue (the test of Underwood
    1948, not the two replies of Barnes and Underwood 1959), so of two facts that are known equally well each loses half
    of its replies; whether a fact is still known is seen against a foil that was never studied ("known"). Every pair is
    learnt in both orders.

    MEGa's adapters and keys do not know the order, so its RI and PI are one number: a check of the apparatus. RAG's are too.
    That MEGa has none under the true gate is another, since its adapters are trained one by one. A base of short context
    reads two texts at a time where the others hold all of a list: compare the sides of one learner, not learners.

    The events are in the words of the built-in world on the shipped bases, in plain English on others (`memsci run
    interference_plain`).

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        Measures answer, recall, known (shares), logprob (of the fact, nats), intrusion (the other fact instead) and both by
        condition ("A–B, A–C", "A–B, D–E", "D–E, A–C") and fact asked for (column asked); harm by condition RI and PI,
        per list: of answers ("harm"), recalls, log probabilities and choices against the foil.

    Examples
    --------
    ::

        found = memsci.phenomena.interference(memsci.load(), lists=2, methods=["MEGa", "In context"])
        found.means(["method", "condition", "measure"]).query("measure == 'harm'")
    """
    return run(suited(NAME, base), base, lists, methods, seed, progress)


def sessions(pairs: Sequence[Pair], plain: bool = False) -> tuple[list[Session], pd.DataFrame]:
    """Every pair in both orders, and both controls; and of every probe which fact is asked for.

    Parameters
    ----------
    pairs
        Of a list.
    plain
        What is weighed are whole sentences that differ in the fact alone, as memories in plain English are learnt to be told
        as a whole; otherwise the bare facts.

    Returns
    -------
    list of Session, pandas.DataFrame
        The table has a row per probe: session, place, order, asked, target, rival.
    """
    made, about_probes = [], []
    for order in (0, 1):
        first = tuple(pair.twins[order] for pair in pairs)
        second = tuple(pair.twins[1 - order] for pair in pairs)
        others = tuple(pair.other for pair in pairs)
        for condition, study, asked in (
            ("A–B, A–C", first + second, "BC"),
            ("A–B, D–E", first + others, "B"),
            ("D–E, A–C", others + second, "C"),
        ):
            probes = []
            for pair in pairs:
                facts = {"B": pair.answers[order], "C": pair.answers[1 - order], "D": pair.foil}
                options = dict(zip("BCD", (pair.told[order], pair.told[1 - order], pair.told[2]))) if plain else facts
                for fact in asked:
                    twin, rival = (pair.twins[order], "C") if fact == "B" else (pair.twins[1 - order], "B")
                    about_probes.append((len(made), len(probes), order, fact, facts[fact], facts[rival]))
                    probes.append(Probe(pair.twins[0].id, pair.cue, options, twin.id))
            made.append(Session(condition, study, tuple(probes)))
    return made, pd.DataFrame(about_probes, columns=["session", "place", "order", "asked", "target", "rival"])


def measured(responses: pd.DataFrame) -> pd.DataFrame:
    """Rows of every probe, and from them the harm of the list.

    Parameters
    ----------
    responses
        Of `controls.ask`, with order, asked, target and rival.
    """
    rows = []
    for one in responses.to_dict("records"):
        right, other = (contains(one["answer"], one[fact]) for fact in ("target", "rival"))
        values = {"answer": right and not other}
        if one["condition"] == "A–B, A–C":
            values |= {"intrusion": other and not right, "both": right and other}
        if isinstance(one["recalled"], str):
            values["recall"] = contains(one["recalled"], one["target"])
        values["logprob"] = one[f"logprob {one['asked']}"]
        values["known"] = values["logprob"] > one["logprob D"]
        about_it = {name: one[name] for name in (*ABOUT_IT, "order", "asked")}
        for measure, value in values.items():
            said = one["recalled"] if measure == "recall" else one["answer"]
            counts = {} if measure == "logprob" else {"actual": int(value), "possible": 1}
            rows.append({**about_it, "measure": measure, "value": value, **counts, "response": said})
    table = pd.DataFrame(rows)
    means = table.astype({"value": float}).groupby(["method", "measure", "asked", "condition"])["value"].mean()
    harms = []
    for (method, measure), part in means.groupby(["method", "measure"], sort=False):
        if measure not in HARM:
            continue
        for condition, asked, control in (("RI", "B", "A–B, D–E"), ("PI", "C", "D–E, A–C")):
            level = part[method, measure, asked]
            harm = {"measure": HARM[measure], "value": level[control] - level["A–B, A–C"]}
            harms.append({"method": method, "condition": condition, "asked": asked, **harm})
    return pd.concat([table, pd.DataFrame(harms)], ignore_index=True)


def _studied(number: int, plain: bool = False) -> list[Memory]:
    return [one for pair in materials.pairs(number, PAIRS, NAME, plain) for one in (*pair.twins, pair.other)]


def _measure(method: str, base: Base, number: int, seed: int, report: Report, plain: bool = False) -> pd.DataFrame:
    pairs, alone = (
        materials.pairs(number, PAIRS, NAME, plain),
        method == "In context" and (plain or controls.fitting(base)),
    )
    parts = []
    for group in [[pair] for pair in pairs] if alone else [pairs]:
        made, asked = sessions(group, plain)
        parts.append(controls.ask(method, base, made, seed, report=report).merge(asked, on=["session", "place"]))
    return measured(pd.concat(parts, ignore_index=True))


def _with_something_to_lose(result: Phenomenon) -> list[str]:
    """The learners that answer `LEAST` of the cues or more where nothing competes."""
    means = result.means(["method", "condition", "measure"])
    alone = means[(means["measure"] == "answer") & (means["condition"] != "A–B, A–C")]
    level = alone.groupby("method")["mean"].mean()
    return level.index[level >= LEAST].tolist()


def _plane(result: Phenomenon, size: str) -> Figure:
    """PI against RI, a point per method: above the diagonal what is learnt later does the harm."""
    answers = _with_something_to_lose(result)
    with style(size):
        figure, axes = figures.panels(2, size, 7.2, 3.2, across=2)
        for ax, measure, title in zip(axes, ("harm", "harm, foil"), ("one reply per cue", "fact against a foil")):
            means = result.means(["method", "condition", "measure"])
            means = means[(means["measure"] == measure) & means["method"].isin(answers)]
            ends = means[["mean", "low", "high"]].stack()
            reach = min(-0.1, ends.min()) * 1.1, max(0.1, ends.max()) * 1.1
            ax.plot(reach, reach, zorder=1, **REFERENCE)
            at: list[tuple[float, float]] = []
            for method in sorted(means["method"].unique(), key=by_method):
                rows = means[means["method"] == method].set_index("condition")
                bars = whiskers(rows.loc[["PI"]], "x") | whiskers(rows.loc[["RI"]], "y")
                at.append((rows.loc["PI", "mean"], rows.loc["RI", "mean"]))
                # One that lies on others stands beside them, as far from the diagonal.
                step = 6 * sum(np.hypot(*np.subtract(at[-1], other)) < 0.02 * np.ptp(reach) for other in at[:-1])
                shown = ax.errorbar(*at[-1], **bars, **look(method) | {"linestyle": ""}, label=method)
                for part in shown.get_children() if step else ():
                    displace(part, step, step)
            ax.set(xlim=reach, ylim=reach, aspect="equal", title=title)
            ax.set_xlabel("harm by earlier learning" + ("\n" if size == "column" else " ") + "(points)")
            ax.xaxis.set_major_formatter(per_cent)
            ax.yaxis.set_major_formatter(per_cent)
        axes[0].set_ylabel("harm by later learning" + ("\n" if size == "column" else " ") + "(points)")
        figures.over_lists(axes[1], means, size)
    return figure


def _claim(text: str, method: str, kind: str, measure: str = "harm", **more) -> Claim:
    return Claim(text, measure, {"method": method, "condition": "RI"}, {"condition": "PI"}, kind, **more)


about(
    NAME,
    "Interference: A–B, then A–C",
    [
        _claim("MEGa: RI is PI", "MEGa", "equal", by_construction=True),
        _claim("RAG: RI is PI", "RAG", "equal", by_construction=True),
        Claim("MEGa, true gate: no RI", "harm", {"method": "MEGa, true gate", "condition": "RI"}, 0.0, "equal",
              by_construction=True),
        _claim("Full: RI above PI", "Full", "more"),
        _claim("LoRA: RI above PI", "LoRA", "more"),
        _claim("In context: PI above RI", "In context", "less"),
        _claim("In context: PI above RI, in nats", "In context", "less", "harm, nats"),
        Claim("MEGa knows B against a foil after A–C as after D–E", "harm, foil", {"method": "MEGa", "condition": "RI"},
              0.0, "equal"),
        Claim("Full knows B against a foil less after A–C than after D–E", "harm, foil",
              {"method": "Full", "condition": "RI"}, 0.0, "more"),
    ],
    _plane,
    drawn=("harm", "harm, foil"),
    note="One reply cannot give two facts, so that two that are known alike lose half of their replies by the scoring. "
    f"MEGa and RAG lie on the diagonal, and the true gate at 0, by construction. Learners that answer less than {LEAST:.0%} "
    "where nothing competes are left out: they have nothing to lose.",
)  # fmt: skip
enter(Experiment(
    name=NAME, methods=controls.LEARNERS, measure=_measure, protocol=PROTOCOL, probes=8 * PAIRS, studies=9 * PAIRS,
    material=_studied,
))  # fmt: skip
in_plain_english(
    NAME,
    PROTOCOL.replace("A base of short context reads each pair by itself.", "log p: of the whole sentence with the fact. D–E "
                     "is about another person. In context each pair is read by itself."),
)  # fmt: skip
