"""People's free recalls, and forms in which recalls go out: for psifr, for language models of choices, for R.

psifr (GPL, extra ``phenomena``) is asked for the data that it brings; nothing of it is in memsci.
"""

from __future__ import annotations

import pandas as pd

from memsci.errors import MemsciError, check_in
from memsci.phenomena import curves
from memsci.phenomena.experiment import material
from memsci.phenomena.result import Phenomenon

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


def psych101(said: pd.DataFrame | Phenomenon, experiment: str | None = None) -> pd.DataFrame:
    """Transcripts in the form of Psych-101, one row per participant: text, experiment, participant.

    What a participant said stands between << and >>, as models of choices in that form (Centaur, say) read it.

    Parameters
    ----------
    said
        Free recalls in psifr's form, a participant for each subject; or the result of a phenomenon in which something is
        said (free_recall, interference, misinformation, cues), a participant for each method and list.
    experiment
        What it is called. Default: "free recall", or the name of the phenomenon.

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
    if isinstance(said, Phenomenon):
        name = experiment or said.name.replace("_", " ")
        return _of_trials(said, name) if said.events is None else _of_recalls(said.events, name)
    return _of_recalls(said, experiment or "free recall")


def _of_recalls(events: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Of lists that are recalled: items as they are called, or as the column text has them, one a line."""
    rows, told = curves.sequences(events), lambda items: f" {', '.join(items)}."
    if "text" in events:
        items = events.dropna(subset=["text"]).drop_duplicates("item").set_index("item")["text"].to_dict()
        told = lambda items: ":" + "".join(f"\n- {item}" for item in items)
    else:
        items = {}
    recalls = events[events["trial_type"] == "recall"].sort_values("position", kind="stable")
    recalled = recalls.groupby(["subject", "list"])["item"].agg(list).to_dict()
    named = {}
    if {"method", "material"} <= set(events.columns):
        each = events.drop_duplicates("subject").set_index("subject")
        named = (each["method"] + ", list " + each["material"].astype(str)).to_dict()
    first = "You study lists of items. After each list you recall as many of its items as you can, in any order.\n\n"
    called = lambda item: str(items.get(item, item))
    texts = []
    for subject, part in rows.groupby("subject", sort=False):
        lists = []
        for one, studied in zip(part["list"], part["items"]):
            recall = [_choice(called(item)) for item in recalled.get((subject, one), ())] or ["<<nothing>>"]
            lists.append(f"You study{told(map(called, studied))}\nYou recall{told(recall)}")
        text = first + "\n\n".join(lists)
        texts.append({"text": text, "experiment": experiment, "participant": named.get(subject, subject)})
    return pd.DataFrame(texts)


def _of_trials(result: Phenomenon, experiment: str) -> pd.DataFrame:
    """Of cues that are answered: what was learnt before them, then cue by cue what was said."""
    trials = result.trials
    if trials.empty:
        raise MemsciError(
            f"Nothing is said in {result.name}, so it has no transcripts: its measures are of scores. They are in its table."
        )
    texts = []
    for (method, number), own in trials.groupby(["method", "list"], sort=False):
        memories = {memory.id: memory.text for memory in material(result.name, int(number))}
        parts = ["You learn short texts. Then you are asked about them: you answer, or tell the whole text that is meant."]
        for studied, asked in own.groupby("studied", sort=False):
            learnt = "\n".join(f"- {memories[id]}" for id in studied.split())
            said = [f"{one.question}\nYou {one.reply} {_choice(one.response)}." for one in asked.itertuples(index=False)]
            parts.append(f"You learn:\n{learnt}\n\n" + "\n\n".join(said))
        text = "\n\n".join(parts)
        texts.append({"text": text, "experiment": experiment, "participant": f"{method}, list {number}"})
    return pd.DataFrame(texts)


def _choice(said: str) -> str:
    """What was said, in the marks of a choice, which it may not have within it."""
    return f"<<{said.replace('<<', '<').replace('>>', '>')}>>"


def long(events: pd.DataFrame) -> pd.DataFrame:
    """A row per recall, for mixed models (lme4, brms).

    Columns: subject, list, output, item, position (of study; missing for what was not in the list), length, lag (from the
    recall before, where both are of the list and come for the first time, as in the lag-CRP), repeat, intrusion.
    """
    rows = []
    said = events[events["trial_type"] == "recall"].sort_values("position", kind="stable")
    names = said.groupby(["subject", "list"])["item"].agg(list).to_dict()
    for subject, one, items, recalls in curves.sequences(events).itertuples(index=False):
        for k, place in enumerate(recalls):
            before, repeat = recalls[k - 1] if k else -1, place >= 0 and place in recalls[:k]
            fresh = min(place, before) >= 0 and not repeat and before not in recalls[: k - 1]
            rows.append(
                {
                    "subject": subject, "list": one, "output": k + 1, "item": names[subject, one][k],
                    "position": place + 1 if place >= 0 else None, "length": len(items),
                    "lag": place - before if fresh else None, "repeat": repeat, "intrusion": place < 0,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
