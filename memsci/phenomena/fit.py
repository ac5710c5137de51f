"""The gate's context fitted to people's free recall, person by person, and put to the test on lists that were not fitted.

Four models, each within the next but one: "uniform" (any item not recalled yet), "item" (β), "context" (τ and what moves the
context: localist CMR), "both". When recall ends is fitted to each in the same way, see `memsci.phenomena.context`.
Repetitions and items that were not in the list are left out of the sequences. *Not in the paper.*
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.optimize import minimize
from torch import Tensor
from tqdm.auto import tqdm

from memsci.config import Embedding
from memsci.errors import MemsciError, check_in
from memsci.figures.style import WIDTHS, look, style, variant
from memsci.gate import Embedder, embedder
from memsci.measures.statistics import mean_table, paired
from memsci.phenomena import curves, figures
from memsci.phenomena.context import Parameters, log_likelihood, log_stopping, walk

CONTEXT = ("tau", "encode", "recall", "start", "bound", "primacy", "decay")
MODELS = {"uniform": (), "item": ("beta",), "context": CONTEXT, "both": ("beta", *CONTEXT)}
STOPPING = ("stop", "growth")
BOUNDS = {
    "beta": (0, 100), "tau": (0, 100), "encode": (0.01, 0.999), "recall": (0.01, 0.999), "start": (0.01, 0.999),
    "bound": (0, 1), "primacy": (0, 100), "decay": (0.01, 10), "stop": (1e-6, 1), "growth": (-1, 5),
}  # fmt: skip
START = Parameters(beta=1.0, tau=4.0)
OTHER_START = {"encode": 0.4, "recall": 0.9, "start": 0.2, "bound": 0.7, "primacy": 1.0, "tau": 8.0}
POOLED = "all"  # the one subject of a pooled fit


def free_recall(
    events: pd.DataFrame,
    items: pd.DataFrame | Embedder | None = None,
    models: Sequence[str] = tuple(MODELS),
    pooled: bool = False,
    held_out: bool = True,
    progress: bool = True,
) -> Fits:
    """Fit models of the gate to free recalls.

    Parameters
    ----------
    events
        In psifr's form; every list studied at least two items.
    items
        Keys of the items, which the item term compares (inner product): a table indexed by item, or a function from texts to
        vectors (`memsci.gate.embedder`). Default: MiniLM of the items' names. Read by "item" and "both" alone.
    models
        Some of `MODELS`.
    pooled
        One fit for all people instead of one each.
    held_out
        Fit the first, third, … list of each person and test the others; otherwise fit all.
    progress
        Show a progress bar.

    Returns
    -------
    Fits

    Examples
    --------
    ::

        fits = memsci.phenomena.fit.free_recall(memsci.phenomena.people("PEERS"))
        fits.summary()                    # nats a list, of lists that were not fitted
        fits.compare("both", "context")   # over people, with an exact test
    """
    for model in models:
        check_in("model", model, MODELS)
    material = Material.of(events, items if {"item", "both"} & set(models) else _NOTHING)
    people = [POOLED] if pooled else list(dict.fromkeys(material.rows["subject"]))
    rows = []
    for person in tqdm(people, desc="fitting", disable=not progress):
        own = np.arange(len(material.rows)) if pooled else np.flatnonzero(material.rows["subject"] == person)
        turn = material.rows.iloc[own].groupby("subject").cumcount().to_numpy() % 2
        fitted, tested = (own[turn == 0], own[turn == 1]) if held_out else (own, own[:0])
        if held_out and not len(tested):
            raise MemsciError(f"Subject {person!r} has one list; held_out needs two. Fit all with held_out=False.")
        known: dict[str, Parameters] = {}
        for model in sorted(models, key=list(MODELS).index):
            known[model] = _fit(material, fitted, model, known)
            nats = {"fitted": material.nats(fitted, known[model], model).mean(), "held_out": np.nan}
            if held_out:
                nats["held_out"] = material.nats(tested, known[model], model).mean()
            given = {name: float(getattr(known[model], name)) for name in (*MODELS[model], *STOPPING)}
            rows.append({"subject": person, "model": model, **nats, "lists": len(tested) or len(fitted), **given})
    names = ["subject", "model", "fitted", "held_out", "lists", *MODELS["both"], *STOPPING]
    return Fits(pd.DataFrame(rows).reindex(columns=names), events, material)


@dataclass(frozen=True, eq=False)
class Fits:
    """Fitted models, from :func:`free_recall`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per subject and model: fitted and held_out (mean of −log p, nats a list), lists (how many were tested), then
        the parameters of `memsci.phenomena.context.Parameters`, missing where a model has none.
    events : pandas.DataFrame
        What was fitted.
    material : Material
        The same as numbers.
    """

    table: pd.DataFrame
    events: pd.DataFrame
    material: Material

    def __repr__(self) -> str:
        return f"Fits of {self.table['subject'].nunique()} subjects\n{self.summary().round(3)}"

    @property
    def score(self) -> str:
        """The column by which models are compared: held_out, or fitted where nothing was held out."""
        return "held_out" if self.table["held_out"].notna().all() else "fitted"

    def summary(self) -> pd.DataFrame:
        """Nats a list and parameters of each model, mean over subjects."""
        rows = self.table.drop(columns=["subject", "lists"])
        return rows.groupby("model", sort=False).mean().dropna(axis=1, how="all")

    def compare(self, model: str = "both", against: str = "context") -> pd.DataFrame:
        """Difference in nats a list over subjects, with interval and exact test: `memsci.measures.statistics.paired`.

        Fewer nats are better; "losses" are subjects with fewer.
        """
        return paired(self.table, model, against, value=self.score, unit="subject", column="model")

    def parameters(self, model: str, subject: object = None) -> Parameters:
        """Those of a subject, or (None) the means over all."""
        rows = self.table[self.table["model"] == model]
        check_in("model", model, self.table["model"].unique())
        if subject is not None:
            check_in("subject", subject, rows["subject"].tolist())
            rows = rows[rows["subject"] == subject]
        own = rows[[*MODELS[model], *STOPPING]].mean().to_dict()
        return Parameters(**{"beta": 0.0, "tau": 0.0, **own})

    def simulate(self, model: str, seed: int = 0, copies: int = 1, **changes: float) -> pd.DataFrame:
        """Recalls of the same lists by each subject's own fit, in psifr's form; `changes` sets parameters by hand."""
        rows = self.material.rows
        walks: list[Tensor] = [torch.empty(0)] * len(rows)
        for k, (subject, own) in enumerate(rows.groupby("subject", sort=False).indices.items()):
            given = self.parameters(model, POOLED if self.table["subject"].iloc[0] == POOLED else subject)
            for places, _, scores in self.material.batches(own):
                drawn = walk(scores.repeat(copies, 1, 1), replace(given, **changes), seed=hash((seed, k, scores.shape[1])))
                for place, said in zip(places, drawn.reshape(copies, len(places), -1).transpose(0, 1)):
                    walks[place] = said
        return events_of(rows, walks)

    def checks(self, models: Sequence[str] | None = None, seed: int = 0, copies: int = 1) -> pd.DataFrame:
        """Predictive checks: what the models' recalls look like, beside people's, a row per subject, measure and condition.

        Columns source ("people" or a model), subject, measure, condition, value; see :func:`looks`.
        """
        models = list(self.table["model"].unique()) if models is None else models
        made = {"people": self.events, **{model: self.simulate(model, seed, copies) for model in models}}
        return pd.concat([looks(events).assign(source=source) for source, events in made.items()], ignore_index=True)

    def figure(
        self, models: Sequence[str] = ("item", "context", "both"), seed: int = 0, copies: int = 5, size: str = "print"
    ) -> Figure:
        """The models' serial position, first recalls and steps in time beside people's; bands over subjects.

        Models recall the very lists that the people recalled, so that all stand on one axis.

        What has no context (τ = 0) is always among them: "item", or else the last of the models with τ set to 0.
        """
        models = [name for name in models if name in set(self.table["model"])]
        if not models:
            raise MemsciError(f"None of these models was fitted; there are {list(self.table['model'].unique())}.")
        shown = self.checks(models, seed, copies)
        alone = "item" if "item" in models else f"{models[-1]}, τ = 0"
        if alone not in models:
            without = looks(self.simulate(models[-1], seed, copies, tau=0.0)).assign(source=alone)
            shown = pd.concat([shown, without], ignore_index=True)
        means = mean_table(shown, ["source", "measure", "condition"], unit="subject").rename(columns={"source": "series"})
        drawn = [name for name in models if name != alone]
        looked = {alone: look("MEGa")} | {
            name: variant(look("MEGa"), k, len(drawn) + 1) | {"marker": "s^Do"[k - 1]} for k, name in enumerate(drawn, 1)
        }
        with style(size):
            width, height = mpl.rcParams["figure.figsize"]
            figure, axes = figures.panels(3, size, 2 * width, height)
            figures.recall_curves(axes, means, looked | {"people": figures.PEOPLE})
            figures.over_lists(axes[-1], means, size, unit="person")
            if size not in WIDTHS:
                figure.suptitle("Free recall of people, and of models fitted to each", x=0.01, ha="left")
        return figure

    def recovery(self, model: str = "both", seed: int = 0, progress: bool = True) -> pd.DataFrame:
        """Fit what each subject's own fit says: a row per subject and parameter, with true and recovered value."""
        pooled = self.table["subject"].iloc[0] == POOLED
        how = {"pooled": pooled, "held_out": False, "progress": progress}
        again = free_recall(self.simulate(model, seed), self.material.keys, (model,), **how).table
        names = [*MODELS[model], *STOPPING]
        both = [
            rows[rows["model"] == model].melt("subject", names, "parameter", side)
            for rows, side in ((self.table, "true"), (again, "recovered"))
        ]
        return both[0].merge(both[1], on=["subject", "parameter"])


def looks(events: pd.DataFrame, lags: int = 5) -> pd.DataFrame:
    """What recalls look like: subject, measure, condition, value, actual and possible.

    Measures: spc, pfr (condition: position), lag crp (lag, to ± `lags`), temporal factor, recalls, intrusions.
    """
    chances = curves.opportunities(events)
    crp = curves.lag_crp(chances)
    parts = [
        curves.serial_position(events).rename(columns={"position": "condition"}).assign(measure="spc"),
        curves.first_recall(events).rename(columns={"position": "condition"}).assign(measure="pfr"),
        crp[crp["lag"].abs() <= lags].rename(columns={"lag": "condition"}).assign(measure="lag crp"),
    ]
    counts = curves.recalls(events)
    singles = {"temporal factor": curves.temporal_factor(chances), **{name: counts[name] for name in counts}}
    parts += [one.rename("value").reset_index().assign(measure=name, condition="all") for name, one in singles.items()]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(condition=table["condition"].astype(str))


@dataclass(frozen=True, eq=False)
class Material:
    """Lists as numbers: who studied what, what was recalled in turn, and how like each item is to each.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row per list: subject, list, items, recalls (places without repetitions and intrusions).
    keys : pandas.DataFrame or None
        Vectors, indexed by item.
    """

    rows: pd.DataFrame
    keys: pd.DataFrame | None

    @classmethod
    def of(cls, events: pd.DataFrame, items: pd.DataFrame | Embedder | None) -> Material:
        """Sequences, and keys of all studied items."""
        rows = curves.sequences(events)
        rows["recalls"] = [tuple(dict.fromkeys(k for k in said if k >= 0)) for said in rows["recalls"]]
        names = sorted({item for one in rows["items"] for item in one})
        if items is _NOTHING:
            return cls(rows, None)
        if isinstance(items, pd.DataFrame):
            if lacking := [name for name in names if name not in items.index]:
                raise MemsciError(f"items has no row for the studied item {lacking[0]!r}; {len(lacking)} are missing.")
            return cls(rows, items.loc[names])
        embed = items or embedder(None, Embedding(kind="sentence"))
        return cls(rows, pd.DataFrame(embed([str(name) for name in names]).numpy(), index=names))

    @cached_property
    def _numbers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Of each list: recalls [t], and likenesses [n, n]."""
        vectors = None if self.keys is None else torch.tensor(self.keys.to_numpy(), dtype=torch.float64)
        place = {} if self.keys is None else {item: k for k, item in enumerate(self.keys.index)}
        scores = []
        for items in self.rows["items"]:
            if vectors is None:
                scores.append(torch.zeros(len(items), len(items), dtype=torch.float64))
            else:
                own = vectors[[place[item] for item in items]]
                scores.append(own @ own.T)
        return [torch.tensor(said, dtype=torch.int64) for said in self.rows["recalls"]], scores

    def batches(self, which: np.ndarray) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Lists of one length together: their numbers, recalls [b, t] (then −1) and likenesses [b, n, n]."""
        recalls, scores = self._numbers
        lengths: dict[int, list[int]] = {}
        for k in which.tolist():
            lengths.setdefault(len(scores[k]), []).append(k)
        for places in lengths.values():
            padded = torch.nn.utils.rnn.pad_sequence([recalls[k] for k in places], batch_first=True, padding_value=-1)
            yield places, padded, torch.stack([scores[k] for k in places])

    def nats(self, which: np.ndarray, parameters: Parameters, model: str) -> np.ndarray:
        """−log p of each of these lists, what was recalled and that it ended there."""
        found = np.empty(len(which))
        at = {k: i for i, k in enumerate(which.tolist())}
        with torch.no_grad():
            for places, recalled, scores in self.batches(which):
                log_p = log_likelihood(recalled, scores, parameters, uniform=model == "uniform")
                log_p = log_p + log_stopping((recalled >= 0).sum(dim=1), scores.shape[1], parameters)
                found[[at[k] for k in places]] = -log_p.numpy()
        return found


_NOTHING = lambda texts: torch.zeros(len(texts), 0)  # no keys are needed


def _fit(material: Material, which: np.ndarray, model: str, known: dict[str, Parameters]) -> Parameters:
    """Parameters of greatest likelihood; those of smaller models are where larger ones begin."""
    batches = list(material.batches(which))
    counts = [((recalled >= 0).sum(dim=1), scores.shape[1]) for _, recalled, scores in batches]
    start = replace(
        START, beta=START.beta if "beta" in MODELS[model] else 0.0, tau=START.tau if "tau" in MODELS[model] else 0.0
    )
    if known:  # when recall ends does not depend on what is recalled
        one = next(iter(known.values()))
        start = replace(start, stop=one.stop, growth=one.growth)
    else:
        start = _greatest(start, STOPPING, lambda p: sum(log_stopping(k, n, p).sum() for k, n in counts))
    if not MODELS[model] or not any(recalled.shape[1] for _, recalled, _ in batches):  # who recalled nothing tells nothing
        return start
    starts = [start]
    if "tau" in MODELS[model]:  # the likelihood has several tops
        starts.append(replace(start, **OTHER_START))
    if model == "both":
        beta = known["item"].beta if "item" in known else start.beta
        starts = [replace(one, beta=beta) for one in starts]
        if "context" in known:
            starts[1] = replace(known["context"], beta=beta)
    likely = lambda p: sum(log_likelihood(recalled, scores, p).sum() for _, recalled, scores in batches)
    return max((_greatest(one, MODELS[model], likely) for one in starts), key=lambda p: float(likely(p)))


def _greatest(start: Parameters, names: Sequence[str], likely: Callable[[Parameters], Tensor]) -> Parameters:
    """L-BFGS within bounds, gradients by automatic differentiation."""

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        nats = -likely(replace(start, **dict(zip(names, value))))
        (gradient,) = torch.autograd.grad(nats, value)
        return nats.item(), gradient.numpy()

    first = np.clip([float(getattr(start, name)) for name in names], *np.array([BOUNDS[name] for name in names]).T)
    found = minimize(cost, first, jac=True, method="L-BFGS-B", bounds=[BOUNDS[name] for name in names])
    if not np.isfinite(found.fun):
        warnings.warn(f"The fit of {', '.join(names)} has no finite likelihood.", stacklevel=2)
    return replace(start, **dict(zip(names, found.x.tolist())))


def events_of(rows: pd.DataFrame, walks: Sequence[Tensor]) -> pd.DataFrame:
    """Lists (rows with subject, list and items) and walks through each, [copies, n], in psifr's form.

    Several walks of a list are lists of their own, numbered on.
    """
    made = []
    for (subject, one, items), walked in zip(rows[["subject", "list", "items"]].itertuples(index=False), walks):
        for copy, said in enumerate(walked.tolist()):
            name = one if len(walked) == 1 else f"{one}.{copy + 1}"
            made += [(subject, name, k, "study", item) for k, item in enumerate(items, start=1)]
            said = [place for place in said if place >= 0]
            made += [(subject, name, k, "recall", items[place]) for k, place in enumerate(said, start=1)]
    return pd.DataFrame(made, columns=curves.EVENTS)
