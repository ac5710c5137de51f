"""What every phenomenon gives: a tidy table, people's values beside it, tests of the claims, a figure, plain files.

The unit of every test and interval is the list, a draw of material that was learnt and tested by itself; queries within a
list are averaged first (`memsci.measures.statistics`). Not in the paper.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from memsci.errors import MemsciError, check_columns, check_in
from memsci.files import appearing, as_path, read_json, write_json
from memsci.measures.statistics import FEWEST_UNITS, holm, mean_table, rank_agreement, sign_flip, unit_means, within_table
from memsci.phenomena import figures, reference

COLUMNS = (
    "phenomenon", "method", "list", "seed", "condition", "item", "measure", "value", "actual", "possible", "protocol",
)  # fmt: skip
EVENTS = ("subject", "list", "position", "trial_type", "item")  # of psifr
MARGIN = 0.05  # differences within it count as none
SHARE = (0.0, 1.0)  # between what a share lies
LEVEL = 0.05  # of all tests of a phenomenon together
_TEXT = (
    "phenomenon", "method", "condition", "item", "measure", "protocol", "studied", "question", "response",
)  # fmt: skip
_OF_RECALLS = ("recall", "recalled", "cued", "gain", "sourced")  # measures of a whole recall; the others are of an answer
_NUMBERS = ("value", "actual", "possible")


@dataclass(frozen=True)
class Claim:
    """A sentence that a test can refute: a mean over lists, against another or a number.

    Attributes
    ----------
    text : str
        The claim as a reader is told it.
    measure : str
        Of the rows compared.
    of : dict
        Which rows, by column: ``{"method": "MEGa", "condition": "RI"}``.
    over : dict or float
        What they are compared with: columns that differ from `of`, or a number. Of "ordered" the name of a measure, as
        ``{"measure": "false recall"}``.
    kind : {"more", "less", "equal", "ordered"}
        "equal" is shown by an interval within ± margin, never by p > .05. "ordered": lists that have more of one measure
        have more of the other, by Spearman's correlation over lists.
    margin : float
        For "equal", in units of the measure.
    by_construction : bool
        It follows from how the model, its material or the measure is made, so it checks the apparatus and says nothing about
        minds: it is tested, and kept out of the correction for the number of claims.
    """

    text: str
    measure: str
    of: Mapping[str, Any]
    over: Mapping[str, Any] | float = 0.0
    kind: str = "more"
    margin: float = MARGIN
    by_construction: bool = False

    def __post_init__(self) -> None:
        check_in("kind of a claim", self.kind, ("more", "less", "equal", "ordered"))


@dataclass(frozen=True)
class About:
    """What is known of a phenomenon before anything is run; `about` enters it.

    Attributes
    ----------
    name, title : str
        Of the phenomenon.
    claims : tuple of Claim
        What it claims.
    draw : callable, optional
        From the result and the size of the figure (a key of `memsci.figures.SIZES`) to the figure. Default: means by
        condition, people beside.
    within : bool
        Every list has every condition and these are compared, so that the figure's intervals are within lists.
    note : str
        What its caption tells besides: what is put in or follows from the scoring, where the values of people are from.
    bounds : dict
        Between what numbers a measure lies whatever is found (`SHARE`), so that no interval within lists passes these.
    unit : str
        What a reader is told that a list is, in the singular.
    drawn : tuple of str
        The measures that the figure shows, whose n its caption tells; none named: all.
    """

    name: str
    title: str
    claims: tuple[Claim, ...] = ()
    draw: Callable[[Phenomenon, str], Figure] | None = None
    within: bool = False
    note: str = ""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unit: str = "list"
    drawn: tuple[str, ...] = ()


ABOUT: dict[str, About] = {}


def about(
    name: str, title: str, claims: Iterable[Claim] = (), draw: Callable[[Phenomenon, str], Figure] | None = None, **how: Any
) -> About:
    """Enter a phenomenon: its title, what it claims, how it is drawn; `how`: other attributes of `About`."""
    ABOUT[name] = About(name, title, tuple(claims), draw, **how)
    return ABOUT[name]


def tidy(rows: pd.DataFrame | Sequence[Mapping[str, Any]], **constants: Any) -> pd.DataFrame:
    """A table with all of `COLUMNS` in their order, then any others; what a row lacks is missing.

    Parameters
    ----------
    rows
        At least list, measure and value (of each row, or in `constants`). ``value`` is a number or truth value; of a
        share of opportunities ``actual`` and ``possible`` are the counts behind it.
    **constants
        Columns that are the same in all rows.

    Examples
    --------
    >>> tidy([{"list": 0, "value": True}], phenomenon="cues", measure="gate")[["list", "measure", "value"]].values.tolist()
    [[0, 'gate', 1.0]]
    """
    table = pd.DataFrame(rows).assign(**constants)
    check_columns("The table", ("phenomenon", "list", "measure", "value"), table.columns)
    table = table.reindex(columns=[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)])
    table[list(_NUMBERS)] = table[list(_NUMBERS)].astype(float)
    table["condition"] = table["condition"].map(str, na_action="ignore")
    if not np.isfinite(table["value"]).all():
        raise MemsciError("Some rows have no finite value. Leave out on purpose what could not be measured.")
    return table


@dataclass(frozen=True, eq=False)
class Phenomenon:
    """What a phenomenon's experiment found.

    Attributes
    ----------
    name : str
        Of the phenomenon.
    table : pandas.DataFrame
        One row per list, method, condition, item and measure: the columns `COLUMNS`, then the phenomenon's own.
    events : pandas.DataFrame or None
        Studied and recalled items as psifr has them (`psifr.fr.merge_free_recall` takes them unchanged), method beside.
    protocol : dict
        All that decides the table: base, settings, seeds, materials.
    """

    name: str
    table: pd.DataFrame
    events: pd.DataFrame | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_in("phenomenon", self.name, ABOUT)
        if lacking := [name for name in COLUMNS if name not in self.table.columns]:
            raise MemsciError(f"The table of a phenomenon needs the column {lacking[0]!r}, which a tidy one has.")
        if self.events is not None:
            check_columns("The table of events", EVENTS, self.events.columns)

    def __repr__(self) -> str:
        methods = ", ".join(map(str, self.table["method"].dropna().unique()))
        return f"Phenomenon({self.name!r}, {self.table['list'].nunique()} lists, {methods})"

    @property
    def human(self) -> pd.DataFrame:
        """What people did, with its sources; nothing that was not checked. See `memsci.phenomena.reference.human`."""
        return reference.human(self.name)

    @property
    def trials(self) -> pd.DataFrame:
        """What was said to each cue: method, list, condition, studied (ids in their order), question, reply ("answer" or
        "recall") and response; without rows where nothing is said. A row of the table is a measure of one of them.
        """
        names = ["method", "list", "condition", "studied", "question", "reply", "response"]
        if not {"studied", "question", "response"} <= set(self.table.columns):
            return pd.DataFrame(columns=names)
        recalls = self.table["measure"].isin(_OF_RECALLS).map({True: "recall", False: "answer"})
        said = self.table.assign(reply=recalls).dropna(subset=["studied", "question", "response"])
        return said[names].drop_duplicates(ignore_index=True)

    def means(self, by: Sequence[str] = ("method", "condition", "measure"), confidence: float = 0.95) -> pd.DataFrame:
        """Mean over lists with its interval, a row per group; see `memsci.measures.statistics.mean_table`."""
        return mean_table(self.table, by, unit="list", confidence=confidence)

    def shown(self) -> pd.DataFrame:
        """The means that the figure shows, as `means` has them.

        Where conditions are compared within lists (`About.within`), the interval is that within lists
        (`memsci.measures.statistics.within_table`), but for a measure with a single condition; it is cut at the
        bounds of the measure (`About.bounds`).
        """
        means, known = self.means(), ABOUT[self.name]
        if not known.within:
            return means
        key = ["method", "condition", "measure"]
        for (_, measure), rows in self.table.groupby(["method", "measure"], sort=False):
            if rows["condition"].nunique() > 1 and rows["list"].nunique() >= FEWEST_UNITS:
                bounds = known.bounds.get(measure, (-np.inf, np.inf))
                own = within_table(rows, key, unit="list", bounds=bounds).set_index(key)[["low", "high"]]
                at = pd.MultiIndex.from_frame(means[key])
                means.loc[at.isin(own.index), ["low", "high"]] = own.reindex(at[at.isin(own.index)]).to_numpy()
        return means

    def test(self, claims: Iterable[Claim] | None = None) -> pd.DataFrame:
        """Each claim put to the test, over lists.

        With d_u the difference of both sides' means in list u: "more" and "less" by the exact sign-flip test of d, adjusted
        for all such claims of the call that do not hold by construction (Holm) and a 95 % interval; "equal" by whether the
        90 % interval of the mean of d lies within ± margin (two one-sided tests at 5 % each). Where d is the same in all
        lists, as at a floor or ceiling, that interval has no width and shows nothing: "open", unless it is so by
        construction. *Not stated in the paper.*

        Parameters
        ----------
        claims
            Default: those of the phenomenon.

        Returns
        -------
        pandas.DataFrame
            claim, estimate (mean of d; ρ of "ordered"), low, high, confidence (of the interval), n (lists), p, p_holm,
            verdict ("holds", "opposite" or, for "equal", "differs", "open", "not run") and by_construction.
        """
        claims = list(ABOUT[self.name].claims if claims is None else claims)
        rows = [self._tested(claim) for claim in claims]
        family = [k for k, row in enumerate(rows) if np.isfinite(row["p"]) and not row["by_construction"]]
        for k, adjusted in zip(family, holm([rows[k]["p"] for k in family])):
            rows[k]["p_holm"] = adjusted
        for claim, row in zip(claims, rows):
            row["verdict"] = _verdict(claim, row)
        order = "claim estimate low high confidence n p p_holm verdict by_construction".split()
        return pd.DataFrame(rows, columns=order)

    def _tested(self, claim: Claim) -> dict[str, Any]:
        confidence = 0.9 if claim.kind == "equal" else 0.95
        row = {"claim": claim.text, "confidence": confidence, "n": 0, "by_construction": claim.by_construction}
        row |= dict.fromkeys(("estimate", "low", "high", "p", "p_holm"), np.nan)
        one = self._side(claim.measure, claim.of)
        other = claim.over
        if isinstance(other, Mapping):
            which = {**claim.of, **other}
            other = self._side(which.pop("measure", claim.measure), which)
            if len(one) and len(other) and set(one.index) != set(other.index):
                raise MemsciError(
                    f"{claim.text!r} compares other lists on one side ({sorted(one.index)[:5]}…) than on the other "
                    f"({sorted(other.index)[:5]}…). Run both sides on the same lists."
                )
        if not len(one) or (isinstance(claim.over, Mapping) and not len(other)):
            return row
        if claim.kind == "ordered":
            found = rank_agreement(one, other.reindex(one.index), confidence)
            return row | dict(zip(("estimate", "low", "high", "p"), found)) | {"n": len(one)}
        d = one - other
        spread = mean_table(d.rename("value").reset_index(), [], unit="list", confidence=confidence).iloc[0]
        p = np.nan if claim.kind == "equal" else sign_flip(d)
        return row | {"estimate": spread["mean"], "low": spread["low"], "high": spread["high"], "n": len(d), "p": p}

    def _side(self, measure: str, which: Mapping[str, Any]) -> pd.Series:
        rows = self.table[self.table["measure"] == measure]
        for name, value in which.items():
            check_columns("The table", [name], rows.columns)
            rows = rows[rows[name].isin(value if isinstance(value, tuple) else (value,))]
        return (
            rows.groupby("list")["value"].mean()
            if rows.empty
            else unit_means(rows, [], unit="list").set_index("list")["value"]
        )

    def figure(self, size: str = "print") -> Figure:
        """The phenomenon's figure: 95 % intervals over lists, people in panels or marks of their own."""
        known = ABOUT[self.name]
        return (known.draw or figures.by_condition)(self, size)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a new folder, whole or not at all: table.csv, tests.csv, human.csv, events.csv and phenomenon.json."""
        path = as_path(path)
        with appearing(path) as folder:
            self.table.to_csv(folder / "table.csv", index=False)
            self.test().to_csv(folder / "tests.csv", index=False)
            self.human.to_csv(folder / "human.csv", index=False)
            if self.events is not None:
                self.events.to_csv(folder / "events.csv", index=False)
            write_json(folder / "phenomenon.json", {"phenomenon": self.name, "protocol": dict(self.protocol)})
        return path


def open(path: str | os.PathLike[str]) -> Phenomenon:
    """The result that `Phenomenon.save` wrote: its table, events and protocol; tests are made anew."""
    folder = as_path(path)
    header = read_json(folder / "phenomenon.json")
    if not isinstance(header, dict) or not {"phenomenon", "protocol"} <= set(header):
        raise MemsciError(f"{folder / 'phenomenon.json'} is not that of a phenomenon: it names none.")
    plain, events = {"keep_default_na": False, "na_values": [""]}, None
    try:
        table = pd.read_csv(folder / "table.csv", dtype=dict.fromkeys(_TEXT, object), **plain)
        if (folder / "events.csv").exists():
            events = pd.read_csv(folder / "events.csv", dtype={"item": object}, **plain)
    except (OSError, ValueError) as error:  # what pandas cannot parse is a ValueError
        raise MemsciError(f"{folder} is no whole result of a phenomenon ({error}). Run it anew, and save it.") from None
    return Phenomenon(header["phenomenon"], table, events, header["protocol"])


def told(row: Any) -> str:
    """The verdict of a row of `Phenomenon.test` as a reader is told it."""
    if not row.by_construction:
        return row.verdict
    return "holds, by construction" if row.verdict == "holds" else f"{row.verdict}, expected by construction"


def _verdict(claim: Claim, row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "not run"
    if claim.kind == "equal":
        if -claim.margin <= row["low"] and row["high"] <= claim.margin:
            return "holds" if claim.by_construction or row["low"] < row["high"] else "open"
        return "differs" if row["low"] > claim.margin or row["high"] < -claim.margin else "open"
    p = row["p"] if claim.by_construction else row["p_holm"]
    if not p <= LEVEL:
        return "open"
    return "holds" if (row["estimate"] > 0) == (claim.kind != "less") else "opposite"
