"""Sleep: chosen memories recall themselves, one adapter learns from them, and those that it recalls change over to it.

Recalls are held in memory only, and each memory changes over in one step of the store: whatever ends a sleep, every memory
has either its own adapter or the shared one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from memsci.adapters.lora import Adapter
from memsci.data import table
from memsci.errors import MemsciError
from memsci.later import later
from memsci.lifetime import rehearse, slow

pd = later("pandas")

COLUMNS = ["id", "label", "slept", "words", "bytes_before", "bytes_after", "seconds"]


def sleep(
    mind: Any, policy: Any, settings: slow.Sleep | None = None, memories: Any = None, progress: bool = True
) -> pd.DataFrame:
    """Let memories sleep: what they recall of themselves is learnt by an adapter that they then share.

    1. The memories that the policy chooses recall themselves, each with its own gate alone open, and say what they can
       in other words; no text is read.
    2. One adapter learns from what they said (`memsci.lifetime.Sleep`), going on from the one that memories share
       already; these recall themselves too and are learnt with the others. Where that would be more memories than
       ``settings.most``, new adapters learn instead, in groups of at most so many in the order of encoding.
    3. Each memory is asked of it alone, by its label and by the first words of its recall. If it says 90 % of the words
       of the memory's own recall at the worse of the two, the memory changes over and its own adapter goes; others stay
       as they were, and may sleep again another time.

    With ``Sleep(most=None)`` there is one adapter for all, as consolidation is usually drawn: the more memories it is to
    hold, the smaller the part that it holds, and the more of what the base knew is lost (docs/notes/lifetime.md).

    Keys stay, so the gate still opens each memory by itself; what it gives to those that share an adapter adds up on it.
    A sleep that was interrupted is gone on with by the same call. *Not in the paper.*

    Parameters
    ----------
    mind
        A `memsci.MEGa`.
    policy
        Who sleeps: `Oldest`, `Used`, `Extra`, `Alike`, `Chosen`, or any object with ``choose(mind) -> ids``.
    settings
        Default: ``Sleep()``.
    memories
        The true texts of all that take part, with paraphrases, to be learnt instead of their recalls: a control, whatever
        `memsci.data.table` takes.
    progress
        Show progress bars.

    Returns
    -------
    pandas.DataFrame
        A row for each memory that took part: id, label, slept (whether it now shares the new adapter), words (share of
        the words of its own recall that the shared adapter alone says), bytes_before and bytes_after (of the numbers of its
        adapter; of a shared one its part), seconds (of the whole, an equal part).
    """
    settings = settings or slow.Sleep()
    if not hasattr(policy, "choose"):
        raise MemsciError(f"Who sleeps is told by a policy, such as Oldest(10) or Chosen([id, …]); {policy!r} was given.")
    new = list(dict.fromkeys(policy.choose(mind)))
    records = {one.id: one for one in mind.store.records}
    for id in new:
        if id not in records:
            raise mind.store.unknown(id)
    new = [id for id in new if not records[id].shared]
    earlier = [id for id, one in records.items() if one.shared]
    together = settings.most is None or len(earlier) + len(new) <= settings.most
    earlier = earlier if together and settings.interleave else []
    if not new:
        return pd.DataFrame(columns=COLUMNS)
    begun, before = time.perf_counter(), sizes(mind)
    asked, told = recollected(mind, [id for id in records if id in {*new, *earlier}], settings, memories, progress)
    name = slow.largest(mind) if together else None
    had = [id for id, one in records.items() if name and one.shared == name]
    start = mind.store.adapter(had[0]) if had else None
    words: dict[str, float] = {}
    for group in [list(told)] if together else groups(list(told), settings.most):
        texts = {id: told[id] for id in group}
        adapter = slow.learn(mind.base, mind.encoding, texts, asked, settings, start, progress)
        words |= change_over(mind, adapter, texts, asked, settings.least, had)
    return changes(mind, words, settings.least, before, begun)


def groups(ids: Sequence[str], most: int) -> list[list[str]]:
    """The ids in their order in as few groups as have at most so many, of as equal sizes as can be.

    >>> groups(list("abcde"), 3)
    [['a', 'b'], ['c', 'd', 'e']]
    """
    number = ceil(len(ids) / most)
    ends = [k * len(ids) // number for k in range(number + 1)]
    return [list(ids[start:end]) for start, end in zip(ends, ends[1:])]


def recollected(
    mind: Any, ids: Sequence[str], settings: slow.Sleep, memories: Any, progress: bool
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The cue of each memory, and what it says of itself: its recall, then other wordings; or the true texts."""
    cues = rehearse.cues(list(mind.store.records))
    asked = {id: cues[id] for id in ids}
    if memories is not None:
        given = {one.id: one for one in table(memories)}
        if lacking := [id for id in ids if id not in given]:
            raise MemsciError(
                f"The texts of {len(lacking)} memories that take part are not among those given: {lacking[0]!r} is the "
                "first. Give those of all."
            )
        return asked, {id: [given[id].text, *given[id].paraphrases] for id in ids}
    told = rehearse.recalls(mind, asked, mind.recall_tokens)
    if silent := [id for id, text in told.items() if not text.strip()]:
        raise MemsciError(
            f"The memory {silent[0]!r} recalls nothing of itself, so that nothing could be learnt from it. Leave it out."
        )
    of: dict[str, str] = {}
    for id, text in told.items():
        if (other := of.setdefault(text, id)) != id:
            raise MemsciError(
                f"The memories {other!r} and {id!r} recall the same text, so that they could not be told apart afterwards. "
                "Leave one of them out."
            )
    others = rehearse.wordings(mind, asked, told, settings.wordings, progress)
    return asked, {id: [text, *others[id]] for id, text in told.items()}


def change_over(
    mind: Any,
    adapter: Adapter,
    told: Mapping[str, Sequence[str]],
    asked: Mapping[str, str],
    least: float,
    before: Sequence[str] = (),
) -> dict[str, float]:
    """Let the memories that an adapter recalls share it; share of words that it says of each, at the worse of two cues.

    `before`: ids of memories that share the adapter which it went on from.
    """
    most = max(mind.recall_tokens, *(len(mind.base.reply(texts[0])) for texts in told.values()))
    starts = rehearse.starts([texts[0] for texts in told.values()])
    turns = [rehearse.by_cue(cue) for cue in [*(asked[id] for id in told), *starts]]
    said = rehearse.said(mind.base, adapter, turns, most)
    words = {
        id: min(rehearse.share(one, texts[0]) for one in both)
        for (id, texts), both in zip(told.items(), zip(said[: len(told)], said[len(told) :]), strict=True)
    }
    if kept := [id for id, share in words.items() if share >= least]:
        mind.store.share(adapter, kept, mind.store.learnt_from([*told, *before]))
    return words


def changes(mind: Any, words: Mapping[str, float], least: float, before: Mapping[str, float], begun: float) -> pd.DataFrame:
    """The table of what was done, see `sleep`."""
    after = sizes(mind)
    labels = {one.id: one.label for one in mind.store.records}
    seconds = (time.perf_counter() - begun) / len(words)
    rows = [(id, labels[id], share >= least, share, before[id], after[id], seconds) for id, share in words.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def sizes(mind: Any) -> dict[str, float]:
    """Bytes of the numbers of each memory's adapter, a shared one divided equally among those that share it."""
    records = list(mind.store.records)
    count = Counter(one.shared for one in records)
    return {one.id: mind.store.adapter(one.id).nbytes / (count[one.shared] if one.shared else 1) for one in records}
