"""People's free recalls, and forms in which recalls go out: for psifr, for language models of choices, for R.

psifr (GPL, extra ``phenomena``) is asked for the data that it brings; nothing of it is in memsci.
"""

from __future__ import annotations

import pandas as pd

from memsci.errors import MemsciError, check_in
from memsci.phenomena import curves

SAMPLES = {"PEERS": "peers_notask", "Morton 2013": "Morton2013"}


def people(study: str = "PEERS") -> pd.DataFrame:
    """Free recalls of lists of words, in psifr's form.

    Parameters
    ----------
    study : {"PEERS", "Morton 2013"}
        126 people with 28 lists of 16 words each; 40 people with 48 lists of 24 words from one category or three (columns
        category, list_type).

    Raises
    ------
    MemsciError
        Without psifr, which brings the data.
    """
    check_in("study", study, SAMPLES)
    try:
        from psifr import fr
    except ImportError:
        raise MemsciError(
            f"The recalls of {study} come with the package psifr, which is not installed. Install the extra: "
            "pip install 'memsci[phenomena]'."
        ) from None
    return fr.sample_data(SAMPLES[study])


def psych101(events: pd.DataFrame, experiment: str = "free recall") -> pd.DataFrame:
    """Recalls as transcripts in the form of Psych-101, one row per subject: text, experiment, participant.

    What a subject said stands between << and >>, as models of choices in that form (Centaur, say) read it.

    Examples
    --------
    >>> events = pd.DataFrame(
    ...     [(7, 1, 1, "study", "oar"), (7, 1, 2, "study", "ink"), (7, 1, 1, "recall", "ink")], columns=curves.EVENTS
    ... )
    >>> print(psych101(events)["text"].item())
    You study lists of items. After each list you recall as many of its items as you can, in any order.
    <BLANKLINE>
    You study oar, ink.
    You recall <<ink>>.
    """
    rows = curves.sequences(events)
    said = events[events["trial_type"] == "recall"].sort_values("position", kind="stable")
    recalled = said.groupby(["subject", "list"])["item"].agg(list).to_dict()
    first = "You study lists of items. After each list you recall as many of its items as you can, in any order.\n\n"
    texts = []
    for subject, part in rows.groupby("subject", sort=False):
        lists = []
        for one, items in zip(part["list"], part["items"]):
            recall = ", ".join(f"<<{item}>>" for item in recalled.get((subject, one), ())) or "<<nothing>>"
            lists.append(f"You study {', '.join(map(str, items))}.\nYou recall {recall}.")
        texts.append({"text": first + "\n\n".join(lists), "experiment": experiment, "participant": subject})
    return pd.DataFrame(texts)


def long(events: pd.DataFrame) -> pd.DataFrame:
    """A row per recall, for mixed models (lme4, brms).

    Columns: subject, list, output, item, position (of study; missing for what was not in the list), length, lag (from the
    recall before, where both have a position), repeat, intrusion.
    """
    rows = []
    said = events[events["trial_type"] == "recall"].sort_values("position", kind="stable")
    names = said.groupby(["subject", "list"])["item"].agg(list).to_dict()
    for subject, one, items, recalls in curves.sequences(events).itertuples(index=False):
        for k, place in enumerate(recalls):
            before = recalls[k - 1] if k else -1
            rows.append(
                {
                    "subject": subject, "list": one, "output": k + 1, "item": names[subject, one][k],
                    "position": place + 1 if place >= 0 else None, "length": len(items),
                    "lag": place - before if min(place, before) >= 0 else None,
                    "repeat": place >= 0 and place in recalls[:k], "intrusion": place < 0,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
