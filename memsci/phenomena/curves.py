"""What free recalls look like: serial position, first recall, transitions in time and between categories.

Events are those of psifr: a row per studied and recalled item with subject, list, position (in the list, or among the
recalls), trial_type ("study", "recall") and item. A subject is one person or, of a model, one draw of material; it may have
any number of lists. Values agree with psifr's functions of the same purpose on the same events (tests).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from memsci.errors import MemsciError, check_columns

EVENTS = ("subject", "list", "position", "trial_type", "item")  # of psifr


def check_events(events: pd.DataFrame) -> None:
    """Raise unless the table is in psifr's form, each list's items studied once."""
    check_columns("The table of events", EVENTS, events.columns)
    if unknown := sorted(set(events["trial_type"]) - {"study", "recall"}):
        raise MemsciError(f"trial_type must be 'study' or 'recall'; {unknown[0]!r} was given.")
    studied = events[events["trial_type"] == "study"]
    if studied.empty:
        raise MemsciError("The events have no studied items (trial_type 'study').")
    if (twice := studied.duplicated(["subject", "list", "item"])).any():
        where = studied.loc[twice, ["subject", "list", "item"]].iloc[0].to_dict()
        raise MemsciError(f"An item was studied twice in one list: {where}. Give repetitions names of their own.")


def sequences(events: pd.DataFrame) -> pd.DataFrame:
    """One row per list: subject, list, items (tuple, in the order of study), recalls (tuple of places, from 0).

    A recall that was not in the list is −1; what is recalled again has its place again.
    """
    check_events(events)
    ordered = events.sort_values(["subject", "list", "position"], kind="stable")
    study, recall = (ordered[ordered["trial_type"] == kind] for kind in ("study", "recall"))
    rows = study.groupby(["subject", "list"])["item"].agg(tuple).rename("items").reset_index()
    said = recall.groupby(["subject", "list"])["item"].agg(tuple).to_dict()
    places = [{item: place for place, item in enumerate(items)} for items in rows["items"]]
    rows["recalls"] = [
        tuple(place.get(item, -1) for item in said.get((subject, one), ()))
        for subject, one, place in zip(rows["subject"], rows["list"], places)
    ]
    return rows


def opportunities(events: pd.DataFrame) -> pd.DataFrame:
    """Every transition from one recall to the next, with all that could have come instead: a row per possible target.

    A transition counts if both recalls are of the list and come for the first time; possible is what was not recalled yet.

    Returns
    -------
    pandas.DataFrame
        subject, list, output (of the first of the two, from 1), source and target (items), lag (of their positions), actual
        (whether it came next), and same_category if events have a column category.
    """
    rows = sequences(events)
    parts = []
    for subject, one, items, recalls in rows.itertuples(index=False):
        free = np.ones(len(items), dtype=bool)
        for output, (here, there) in enumerate(zip(recalls, recalls[1:]), start=1):
            fresh = here >= 0 and free[here]
            if here >= 0:
                free[here] = False
            if fresh and there >= 0 and free[there]:
                targets = np.flatnonzero(free)
                parts.append((subject, one, output, here, targets, targets == there, items))
    lengths = [len(part[4]) for part in parts]
    table = pd.DataFrame(
        {
            name: np.repeat(pd.Series([part[k] for part in parts]).to_numpy(), lengths)
            for k, name in enumerate(("subject", "list", "output"))
        }
    )
    targets = np.concatenate([part[4] for part in parts]) if parts else np.empty(0, int)
    table["source"] = np.repeat([part[6][part[3]] for part in parts], lengths)
    table["target"] = [part[6][place] for part in parts for place in part[4]]
    table["lag"] = targets - np.repeat([part[3] for part in parts], lengths) if parts else targets
    table["actual"] = np.concatenate([part[5] for part in parts]) if parts else np.empty(0, bool)
    if "category" in events:
        studied = events[events["trial_type"] == "study"].drop_duplicates(["subject", "list", "item"])
        category = studied.set_index(["subject", "list", "item"])["category"]
        side = lambda name: category.reindex(pd.MultiIndex.from_frame(table[["subject", "list", name]])).to_numpy()
        table["same_category"] = side("source") == side("target")
    return table


def serial_position(events: pd.DataFrame) -> pd.DataFrame:
    """Share of lists in which each position was recalled: subject, position (from 1), value, actual, possible."""
    rows = sequences(events)
    long = [
        (subject, place + 1, place in recalls)
        for subject, _, items, recalls in rows.itertuples(index=False)
        for place in range(len(items))
    ]
    return _share(pd.DataFrame(long, columns=["subject", "position", "actual"]), "position")


def first_recall(events: pd.DataFrame) -> pd.DataFrame:
    """Share of lists whose first recall of the list is of each position, of those that have one: as `serial_position`."""
    rows = sequences(events)
    long = [
        (subject, place + 1, place == first)
        for subject, _, items, recalls in rows.itertuples(index=False)
        for first in [next((place for place in recalls if place >= 0), None)]
        if first is not None
        for place in range(len(items))
    ]
    return _share(pd.DataFrame(long, columns=["subject", "position", "actual"]), "position")


def lag_crp(chances: pd.DataFrame) -> pd.DataFrame:
    """Chance of each lag where it was possible: subject, lag, value, actual, possible; of `opportunities`."""
    return _share(chances, "lag")


def temporal_factor(chances: pd.DataFrame) -> pd.Series:
    """How near in the list the next recall was, as a percentile of all possible ones, mean by subject; chance is .5."""
    return _percentile(chances, -chances["lag"].abs())


def semantic_factor(chances: pd.DataFrame, items: Sequence[str], scores: np.ndarray) -> pd.Series:
    """How like the last recall the next one was, as a percentile of all possible ones, mean by subject; chance is .5.

    `scores` [m, m] are the likenesses of `items`.
    """
    place = {item: k for k, item in enumerate(items)}
    source, target = (chances[name].map(place).to_numpy() for name in ("source", "target"))
    return _percentile(chances, pd.Series(np.asarray(scores)[source, target], index=chances.index))


def category_crp(chances: pd.DataFrame) -> pd.Series:
    """Chance that the next recall is of the same category, where one is left, by subject."""
    steps = chances.assign(hit=chances["actual"] & chances["same_category"]).groupby(["subject", "list", "output"])
    could = steps["same_category"].any()
    return steps["hit"].any()[could].groupby("subject").mean()


def clustering(events: pd.DataFrame) -> pd.Series:
    """Adjusted ratio of clustering by category, mean over lists by subject: 0 by chance, 1 at most (Roenker 1971).

    (R − E) / (N − k − E), with N recalls of k categories, R pairs of neighbours of one category, and E = Σ m_c² / N − 1 for
    m_c recalls of category c. Lists in which it is not defined are left out.
    """
    rows, values = sequences(events), []
    studied = events[events["trial_type"] == "study"]
    category = studied.set_index(["subject", "list", "item"])["category"].to_dict()
    for subject, one, items, recalls in rows.itertuples(index=False):
        said = [category[subject, one, items[place]] for place in dict.fromkeys(recalls) if place >= 0]
        if said:
            counts = pd.Series(said).value_counts()
            expected = (counts**2).sum() / len(said) - 1
            most = len(said) - len(counts)
            pairs = sum(a == b for a, b in zip(said, said[1:]))
            values.append((subject, (pairs - expected) / (most - expected) if most != expected else np.nan))
    return pd.DataFrame(values, columns=["subject", "arc"]).groupby("subject")["arc"].mean()


def recalls(events: pd.DataFrame) -> pd.DataFrame:
    """Recalls of the list and others, per list, by subject: columns recalls, intrusions."""
    rows = sequences(events)
    rows["correct"] = [len({place for place in said if place >= 0}) for said in rows["recalls"]]
    rows["intrusions"] = [said.count(-1) for said in rows["recalls"]]
    return rows.groupby("subject")[["correct", "intrusions"]].mean().rename(columns={"correct": "recalls"})


def _share(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    counts = rows.groupby(["subject", by])["actual"].agg(["sum", "size"]).reset_index()
    counts = counts.set_axis(["subject", by, "actual", "possible"], axis=1)
    return counts.assign(value=counts["actual"] / counts["possible"])


def _percentile(chances: pd.DataFrame, nearness: pd.Series) -> pd.Series:
    """Mean by subject of (rank − 1) / (m − 1) of what came, among m > 1 possible, ties sharing their rank."""
    steps = [chances[name] for name in ("subject", "list", "output")]
    groups = nearness.groupby(steps)
    share = (groups.rank() - 1) / (groups.transform("size") - 1)
    return share[chances["actual"] & np.isfinite(share)].groupby(chances["subject"]).mean()
