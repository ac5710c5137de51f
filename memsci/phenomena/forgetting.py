"""Forgetting: the gate's activation (`memsci.gate.activation`), a strength that falls with time, against a null.

    P(recall) = 1 / (1 + exp(−(β s_i + B_i − θ)))

is the weight of the one memory that is asked about under a rule with `activation` and `null` (`memsci.GateRule`). Times and
parameters are put in, not found. *Not in the paper.*
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.optimize import minimize
from scipy.special import expit

from memsci.figures.draw import per_cent
from memsci.figures.style import look, style
from memsci.gate.activation import activation
from memsci.measures.methods import order as by_method
from memsci.models.base import Base
from memsci.phenomena import figures
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, run
from memsci.phenomena.keys import FINDERS, finders
from memsci.phenomena.recognition import material
from memsci.phenomena.result import SHARE, Claim, Phenomenon, about

NAME = "forgetting"
DELAYS = {"20 min": 1 / 3, "1 h": 1.0, "9 h": 9.0, "1 d": 24.0, "2 d": 48.0, "6 d": 144.0, "31 d": 744.0}  # hours
WEIGHTS = (0.0, 1.0)  # w
DRAWS = 20  # times that each memory is asked for at each delay, to fit curves to
PROTOCOL = (
    "24 stories of one person (keys alone, nothing encoded), each asked for by one question after each delay, on the scale "
    "of Ebbinghaus. B = w ln t^-0.5, 0 at the first delay; the null lies half way between the median score of questions of "
    "stories and of lures. retained: P(recall). nats: mean log likelihood per recall of four curves, fitted to half of the "
    "memories, on the other half; 20 draws of each recall."
)
Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]
# P(recall) by time and parameters, unbounded: expit and exp bring them into their range.
CURVES: dict[str, tuple[Curve, int]] = {
    "power": (lambda t, x: expit(x[0]) * (1 + np.exp(x[1]) * t) ** -np.exp(x[2]), 3),
    "exponential": (lambda t, x: expit(x[0]) * np.exp(-np.exp(x[1]) * t), 2),
    "exponential, asymptote": (
        lambda t, x: expit(x[2]) + (1 - expit(x[2])) * expit(x[0]) * np.exp(-np.exp(x[1]) * t), 3,
    ),
    "ACT-R": (lambda t, x: expit(x[0] - np.exp(x[1]) * np.log(t)), 2),
}  # fmt: skip


def retained(scores: np.ndarray, strength: float | np.ndarray, null: float) -> np.ndarray:
    """P(recall) = 1 / (1 + exp(−(βs + B − θ))), of scores βs in nats."""
    return expit(np.asarray(scores) + strength - null)


def held_out(times: np.ndarray, recalled: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """How well each of `CURVES` describes memories that it was not fitted to.

    Parameters
    ----------
    times
        [m], hours.
    recalled
        [n, m], of draws of n memories at each time, the share recalled; times are the same for all.
    seed
        Of the halves into which the memories fall.

    Returns
    -------
    pandas.DataFrame
        function, nats: mean log likelihood per draw of the other half, each half being fitted in turn.
    """
    order = np.random.default_rng(seed).permutation(len(recalled))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    rows = []
    for name, (curve, count) in CURVES.items():
        nats = []
        for fitted, others in (halves, halves[::-1]):
            x = _fit(curve, count, times, recalled[fitted].mean(axis=0))
            nats.append(_likelihood(curve(times, x), recalled[others].mean(axis=0)))
        rows.append({"function": name, "nats": float(np.mean(nats))})
    return pd.DataFrame(rows)


def _likelihood(p: np.ndarray, share: np.ndarray) -> float:
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return float((share * np.log(p) + (1 - share) * np.log1p(-p)).mean())


def _fit(curve: Curve, count: int, times: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The parameters of greatest likelihood, from several starts."""
    starts = [np.array(one[:count]) for one in ((2.0, -3.0, -1.0), (2.0, 0.0, 0.0), (0.0, -5.0, -2.0), (3.0, -1.0, -1.0))]
    cost = lambda x: -_likelihood(curve(times, np.clip(x, -20, 20)), share)
    found = [minimize(cost, start, method="Nelder-Mead", options={"maxiter": 2000, "fatol": 1e-9}) for start in starts]
    return np.clip(min(found, key=lambda one: one.fun).x, -20, 20)


def forgetting(base: Base, lists: Lists = 20, seed: int = 0, progress: bool = True) -> Phenomenon:
    """What a strength that falls with time makes of the gate, and which curve the mean of many memories follows.

    Each memory by itself follows ACT-R's curve, a logistic function of log time: that is put in. The mean over memories of
    unlike scores need not, and fitting means has manufactured power laws before (Anderson and Tweney 1997), so that curves
    are compared on memories that they were not fitted to. At w = 0, the paper's gate, nothing is forgotten.

    Parameters are those of `memsci.phenomena.experiment.run`.

    Returns
    -------
    Phenomenon
        retained (share) by condition "w = 1, 20 min" …; nats by condition, the name of the curve ("power" …); loss,
        retained after the first delay less after the last, by condition "w = 0", "w = 1"; spacing, what ten days between two
        learnings win over a minute, thirty days after the second, by condition "d alike" and "d by activation"; methods as
        in `memsci.phenomena.recognition`.
    """
    return run(NAME, base, lists, seed=seed, progress=progress)


def measured(own: np.ndarray, lures: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Rows for one list, from the scores βs of questions with their stories, and the best scores of lures."""
    null = (np.median(own) + np.median(lures)) / 2
    times = np.array(list(DELAYS.values()))
    first = {w: activation([0.0], times[0], w) for w in WEIGHTS}
    rows = []
    for w in WEIGHTS:
        curves = np.stack([retained(own, activation([0.0], t, w) - first[w], null) for t in times], axis=1)
        means = curves.mean(axis=0)
        rows += [
            {"condition": f"w = {w:g}, {name}", "measure": "retained", "value": value} for name, value in zip(DELAYS, means)
        ]
        rows.append({"condition": f"w = {w:g}", "measure": "loss", "value": means[0] - means[-1]})
    drawn = np.random.default_rng(seed).binomial(DRAWS, curves) / DRAWS
    rows += [
        {"condition": one["function"], "measure": "nats", "value": one["nats"]}
        for one in held_out(times, drawn, seed).to_dict("records")
    ]
    for name, spacing in (("d alike", 0.0), ("d by activation", 0.25)):
        at = {gap: activation([0.0, gap], gap + 720.0, spacing=spacing) - first[1.0] for gap in (1 / 60, 240.0)}
        spaced, massed = (retained(own, at[gap], null).mean() for gap in (240.0, 1 / 60))
        rows.append({"condition": name, "measure": "spacing", "value": spaced - massed})
    return pd.DataFrame(rows)


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    studied, probes = material(number)
    asked = probes[probes["cue"] == "question"]
    tables = []
    for finder in finders(base):
        keys = finder.embed([memory.text for memory in studied])
        place = {memory.id: k for k, memory in enumerate(studied)}
        scores = {}
        for kind in ("old", "same kind"):
            rows = asked[asked["kind"] == kind]
            gate = finder.gate(finder.embed(rows["text"].tolist()), keys)
            found = (gate.beta * gate.scores).numpy()
            own = found[np.arange(len(rows)), [place[id] for id in rows["item"]]]
            scores[kind] = own if kind == "old" else found.max(axis=1)
        tables.append(measured(scores["old"], scores["same kind"], number).assign(method=finder.name))
    return pd.concat(tables, ignore_index=True)


def _draw(result: Phenomenon, size: str) -> Figure:
    """Retention against log time with and without decay, people's savings beside, and the four curves."""
    means = result.shown()
    methods = sorted(means["method"].unique(), key=by_method)
    kept = means[means["measure"] == "retained"]
    weight, delay = (kept["condition"].str.split(", ", n=1).str[k] for k in (0, 1))
    kept = kept.assign(series=kept["method"] + ", " + weight, hours=delay.map(DELAYS))
    looks = {
        f"{method}, w = {w:g}": look(method) | {"linestyle": line} for method in methods for w, line in zip(WEIGHTS, ":-")
    }
    with style(size):
        figure, axes = figures.panels(3, size, 10.5, 3.2)
        figures.over(axes[0], kept, "hours", "retained", looks)
        people = result.human
        axes[1].plot([DELAYS[name] for name in people["condition"]], people["value"], **figures.PEOPLE)
        for ax, title in zip(axes, ("retained (%)", "Ebbinghaus: savings (%)")):
            ax.set(xscale="log", xlabel="hours", title=title, ylim=(0, 1.02))
            ax.yaxis.set_major_formatter(per_cent)
        nats = means[means["measure"] == "nats"]
        figures.points(axes[2], nats, list(CURVES), "held out, nats per recall")
        named = [name.replace(", ", ",\n") for name in CURVES]
        axes[2].set_xticks(range(len(CURVES)), named, rotation=30, ha="right")
        figures.over_lists(axes[2], nats, size, axes[:1], within=True)
    return figure


_W1 = {"method": "MEGa", "condition": "ACT-R"}
about(
    NAME,
    "Forgetting by a strength that falls with time",
    [
        Claim("MEGa, w = 0: nothing is forgotten", "loss", {"method": "MEGa", "condition": "w = 0"}, 0.0, "equal",
              by_construction=True),
        Claim("MEGa, w = 1: less is retained after a month than after 20 minutes", "loss",
              {"method": "MEGa", "condition": "w = 1"}, by_construction=True),
        *(
            # Of each memory the curve is ACT-R's, put in; what is tested is only that the mean of unlike ones is like it.
            Claim(f"{method}: the mean follows ACT-R's curve better than {name}", "nats", {**_W1, "method": method},
                  {"condition": name}, by_construction=True)
            for method in FINDERS for name in ("exponential", "power")
        ),
        Claim("MEGa: with one decay for all, spacing wins nothing", "spacing", {"method": "MEGa", "condition": "d alike"},
              0.0, "equal", by_construction=True),
        Claim("MEGa: with decay by activation, spacing wins", "spacing", {"method": "MEGa", "condition": "d by activation"},
              by_construction=True),
    ],
    _draw,
    within=True,
    bounds={"retained": SHARE},
    note="Times, decay and null are put in. Ebbinghaus (1885): savings of one person, himself, in learning nonsense "
    "syllables again, which is another measure: compare the shape.",
)  # fmt: skip
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=lambda number: material(number)[0], protocol=PROTOCOL,
    probes=48, encodes=False,
))  # fmt: skip
