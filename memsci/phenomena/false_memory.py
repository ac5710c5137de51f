"""False memory: a word that was not studied seems familiar, since all the words that were are associates of it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from memsci.config import Embedding, GateRule
from memsci.errors import MemsciError
from memsci.figures.draw import per_cent
from memsci.figures.style import REFERENCE, look, style
from memsci.gate.embed import embedder
from memsci.measures.statistics import rank_agreement
from memsci.memory import Memory
from memsci.models.base import OWN, Base
from memsci.phenomena import figures, materials, reference
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, enter, run
from memsci.phenomena.keys import Finder, familiarity, finders
from memsci.phenomena.result import Claim, Phenomenon, about

NAME = "false_memory"
LISTS = 55
OTHERS = 30  # words of other lists that a list is probed with
PAPERS = "paper's keys"  # the base's own activations, compared as in the paper
METHODS = ("MEGa", PAPERS, "MiniLM keys", "TF-IDF keys")
NORMS = ("false recall", "false recognition")
PROTOCOL = (
    "Fifteen words, each a memory (keys alone, nothing encoded), probed by themselves, by their critical lure, by the lures "
    f"of all other lists and by {OTHERS} words of these. Familiarity: log sum exp(beta s), in nats. above other lures: "
    "share of these that are less familiar than the list's own. above left out: share of the list's words that are less "
    "familiar to the other fourteen than the lure is. index: familiarity of the lure, 0 as of other lures, 1 as of studied "
    "words."
)


def false_memory(base: Base, lists: int | Sequence[int] = LISTS, seed: int = 0, progress: bool = True) -> Phenomenon:
    """Does a word seem familiar that was not studied, but is associated with all that were?

    After lists such as bed, rest, awake, tired, dream people recall and recognise sleep, which was not among them (Deese
    1959; Roediger and McDermott 1995), and some lists do it far more than others: window in 65 % of people, mutton in 1 %
    (Roediger, Watson, McDermott and Gallo 2001, whose 55 lists and rates these are). That the lure is more familiar than a
    word of another list is what any embedding of meanings gives; the tests are whether it is more familiar than the
    list's own words left out, and whether the lists are ordered as people's false recall is. What predicts that best is
    how often the words call the lure to mind in free association (ρ = .74 over these lists, table `human`).

    Parameters
    ----------
    base, lists, seed, progress
        As in `memsci.phenomena.experiment.run`; there are 55 lists, of which the number says which, in the order of
        their lures. The shipped base is refused: it does not know these meanings.

    Returns
    -------
    Phenomenon
        familiarity (nats) by condition "studied", "lure", "other lure" and "other word"; above other lures, above left out
        (shares, .5 by chance) and index; false recall and false recognition, people's, of the same list. Methods are
        MEGa (its own gate on this base), the paper's embedding of the same base ("paper's keys"), MiniLM and TF-IDF keys.

    Raises
    ------
    MemsciError
        The base is the shipped one, or there is no list of that number.
    """
    return run(NAME, base, lists, seed=seed, progress=progress)


@cache
def words() -> dict[str, tuple[str, ...]]:
    """The fifteen words of each list, by its critical lure.

    Examples
    --------
    >>> len(words()), words()["sleep"][:5]
    (55, ('bed', 'rest', 'awake', 'tired', 'dream'))
    """
    text = (resources.files("memsci.phenomena") / "drm.toml").read_text(encoding="utf-8")
    return {lure: tuple(line.split(", ")) for lure, line in tomllib.loads(text).items()}


def lure(number: int) -> str:
    """The critical lure of a list."""
    if not 0 <= number < LISTS:
        raise MemsciError(f"There are {LISTS} lists of words, counted from 0; number {number} was asked for.")
    return list(words())[number]


def material(number: int) -> tuple[Memory, ...]:
    """The words of a list, a memory each."""
    return tuple(Memory(word, f"{NAME}-{number:02d}-{place:02d}") for place, word in enumerate(words()[lure(number)]))


def probes(number: int) -> tuple[list[str], list[str]]:
    """Lures of the other lists, and words of them: none is in the list, or is its lure."""
    own = lure(number)
    taken = {own, *words()[own]}
    lures = [one for one in words() if one not in taken]
    others = sorted({word for one, some in words().items() if one != own for word in some}.difference(taken, words()))
    return lures, materials.rng(NAME, number).sample(others, OTHERS)


def measured(finder: Finder, number: int) -> pd.DataFrame:
    """Rows of one list by one kind of keys."""
    own, studied = lure(number), list(words()[lure(number)])
    lures, others = probes(number)
    keys = finder.embed(studied)
    cues = {
        "studied": keys,
        "lure": finder.embed([own]),
        "other lure": finder.embed(lures),
        "other word": finder.embed(others),
    }
    known = {kind: familiarity(finder.gate(some, keys)).numpy() for kind, some in cues.items()}
    rows = [{"condition": kind, "measure": "familiarity", "value": some.mean()} for kind, some in known.items()]
    beats = lambda one, some: float(np.mean((some < one) + 0.5 * (some == one)))
    left = []
    for place in range(len(studied)):
        rest = keys[[k for k in range(len(studied)) if k != place]]
        both = [familiarity(finder.gate(cue, rest)).item() for cue in (cues["lure"], keys[place : place + 1])]
        left.append(beats(both[0], np.array(both[1:])))
    low, high = known["other lure"].mean(), known["studied"].mean()
    values = {
        "above other lures": beats(known["lure"][0], known["other lure"]),
        "above left out": float(np.mean(left)),
        "index": (known["lure"][0] - low) / (high - low),
    }
    people = reference.human(NAME)
    for norm in NORMS:
        at = people[(people["measure"] == norm) & (people["condition"] == own)]
        values[norm] = at["value"].item()
    rows += [{"condition": "list", "item": own, "measure": name, "value": value} for name, value in values.items()]
    return pd.DataFrame(rows).assign(method=finder.name)


def check(base: Base) -> None:
    """Refuse a base that does not know these words."""
    if base.name in OWN:
        raise MemsciError(
            f"{NAME} needs a base that reads ordinary English: the shipped one does not know the meanings of these words. "
            "Name another, such as smollm2."
        )


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    check(base)
    paper = Embedding.paper()
    made = [*finders(base), Finder(PAPERS, embedder(base, paper), paper, GateRule.paper())]
    return pd.concat([measured(finder, number) for finder in made], ignore_index=True)


def _draw(result: Phenomenon, size: str) -> Figure:
    """The lure against other words by each kind of keys; people's false recall against its index and against association."""
    means = result.means(["method", "measure", "condition"])
    shares = means[means["measure"].isin(["above other lures", "above left out"])]
    own = (
        result.table[(result.table["method"] == "MEGa") & (result.table["measure"] == "index")]
        .groupby("list")["value"]
        .mean()
    )
    norms = result.human.pivot(index="condition", columns="measure", values="value")
    dots = norms.loc[[lure(int(number)) for number in own.index]].assign(index=own.to_numpy())
    with style(size):
        figure, axes = figures.panels(3, size, 11, 3.4)
        figures.points(
            axes[0], shares.assign(condition=shares["measure"]), ["above other lures", "above left out"],
            "the lure is more familiar",
        )  # fmt: skip
        axes[0].set_xticks(range(2), ["than other\nlists' lures", "than its list's\nwords left out"])
        axes[0].axhline(0.5, **REFERENCE)
        axes[0].set_ylim(0, 1.05)
        drawn = (
            (axes[1], "index", look("MEGa"), "MEGa", "familiarity: 0 other lures, 1 studied"),
            (axes[2], "association", figures.PEOPLE, "people: association", "chance that a word calls the lure up"),
        )
        for ax, column, how, title, label in drawn:
            ax.plot(dots[column], dots["false recall"], **how | {"linestyle": ""}, markersize=3)
            for name in sorted({"window", "sleep", "king", "mutton", "car"}.intersection(dots.index)):
                ax.annotate(name, dots.loc[name, [column, "false recall"]], fontsize="x-small")
            rho = rank_agreement(dots[column], dots["false recall"])[0]
            ax.set(title=f"{title}, ρ = {rho:.2f}", xlabel=label, ylabel="people's false recall")
        for ax in axes:
            ax.yaxis.set_major_formatter(per_cent)
        figures.over_lists(axes[2], means, size, axes[:1])
    return figure


def _claims(method: str) -> list[Claim]:
    of = {"method": method}
    # A list is made of what is associated with its lure, which is near in meaning: so it must be to keys that know meanings.
    meaning = method in ("MEGa", "MiniLM keys")
    return [
        Claim(
            f"{method}: the lure is more familiar than other lists' lures",
            "above other lures",
            of,
            0.5,
            by_construction=meaning,
        ),
        Claim(f"{method}: and than the list's own words left out", "above left out", of, 0.5, by_construction=meaning),
        Claim(f"{method}: lists are ordered as people's false recall", "index", of, {"measure": "false recall"}, "ordered"),
        Claim(f"{method}: and as people's false recognition", "index", of, {"measure": "false recognition"}, "ordered"),
    ]


about(
    NAME,
    "False memory of words that were not studied",
    [one for method in METHODS for one in _claims(method)],
    _draw,
    note="MEGa's gate on a public base has MiniLM's keys beside those of words, so that its points and MiniLM's are nearly "
    "one test. People: Roediger, Watson, McDermott and Gallo 2001, appendices, as transcribed.",
)
enter(Experiment(
    name=NAME, methods=("MEGa",), measure=_measure, material=material, protocol=PROTOCOL, probes=100, encodes=False,
))  # fmt: skip
