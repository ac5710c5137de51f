"""Several memories into one adapter, by their weights or by what they recall; and each into its own again.

Shapes: A [r, in], B [out, r], as in `memsci.adapters.lora`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from memsci.adapters.encode import Encoded, encode
from memsci.adapters.lora import Adapter
from memsci.adapters.truncate import truncate
from memsci.errors import MemsciError, check_in, check_whole
from memsci.later import later
from memsci.lifetime import rehearse
from memsci.lifetime.slow import SHARE, Sleep, learn
from memsci.lifetime.transfer import change_over, changes, recollected, sizes
from memsci.memory import Memory

pd = later("pandas")

BY = ("distil", "sum", "mean")


def combined(adapters: Sequence[Adapter], weight: float, rank: int) -> Adapter:
    """The adapter of this rank nearest to the weighted sum of others: Σ_i w γ_i B_i A_i on each linear map, by its SVD.

    The sum is never formed: [w γ_1 B_1 … w γ_n B_n] and [A_1; …; A_n] are its factors, see `truncate`.
    """
    deltas = {}
    for path in dict.fromkeys(path for one in adapters for path in one.deltas):
        pairs = [(one.scale, *one.deltas[path]) for one in adapters if path in one.deltas]
        A = torch.cat([A.float() for _, A, _ in pairs])
        B = torch.cat([weight * scale * B.float() for scale, _, B in pairs], dim=1)
        deltas[path] = (A, B)
    whole = max(len(A) for A, _ in deltas.values())
    return truncate(Adapter(deltas, whole, math.sqrt(whole), True, adapters[0].transposed), rank)


def merge(
    mind: Any,
    ids: Iterable[str],
    rank: int | None = None,
    by: str = "distil",
    settings: Sleep | None = None,
    memories: Any = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Bring memories into one adapter that they share; their keys stay, so the gate sees as many keys for it.

    Parameters
    ----------
    mind
        A `memsci.MEGa`.
    ids
        Two memories or more.
    rank
        Of the shared adapter; None as in `Sleep`.
    by
        "distil": one adapter learns from what all of them recall, as in a sleep. "sum" or "mean": the best approximation
        of the sum, or mean, of their adapters; nothing is trained. In the sum each acts at the strength that it has alone,
        and all of them act at once; in the mean each acts at 1/n of it.
    settings
        See `Sleep`; `least` is what each must still recall to change over, whatever `by`: those that do not stay as they
        were.
    memories
        As in `memsci.lifetime.sleep`, for "distil".
    progress
        Show progress bars.

    Returns
    -------
    pandas.DataFrame
        As from `memsci.lifetime.sleep`, a row for each of `ids`.
    """
    check_in("by", by, BY)
    if rank is not None:
        check_whole("rank", rank, least=1)
    settings = replace(settings or Sleep(), rank=rank or (settings and settings.rank))
    ids = _known(mind, ids)
    if len(ids) < 2:
        raise MemsciError(f"Two memories or more are merged; {len(ids)} were given.")
    begun, before = time.perf_counter(), sizes(mind)
    if by != "distil":
        settings = replace(settings, wordings=0)
    asked, told = recollected(mind, ids, settings, memories, progress)
    if by == "distil":
        adapter = learn(mind.base, mind.encoding, told, asked, settings, None, progress)
    else:
        named = dict(zip(mind.store.adapter_names(ids), ids, strict=True))  # one that some share counts once
        adapters = [mind.store.adapter(id) for id in named.values()]
        few = settings.rank or max(1, len(ids) * mind.encoding.rank // SHARE)
        adapter = combined(adapters, 1.0 if by == "sum" else 1 / len(adapters), few)
    return changes(mind, change_over(mind, adapter, told, asked, settings.least), settings.least, before, begun)


def split(mind: Any, ids: Iterable[str], settings: Sleep | None = None, progress: bool = True) -> pd.DataFrame:
    """Give memories that share an adapter their own again, learnt from what each recalls of itself.

    Each is encoded as the mind encodes memories, its recall as the text and its other wordings as paraphrases. One whose
    new adapter does not give the recall back stays with the shared one. A shared adapter that nobody has any more goes;
    while others have it, what it learnt of a memory that was split off stays in there, and that memory cannot be
    forgotten.

    Parameters
    ----------
    mind
        A `memsci.MEGa`.
    ids
        Those that have an adapter of their own are passed over.
    settings
        See `Sleep`; `wordings` and `least` count.
    progress
        Show progress bars.

    Returns
    -------
    pandas.DataFrame
        As from `memsci.lifetime.sleep`, with the column split (whether it has its own adapter now) instead of slept; words
        is the share of the words of the shared recall that its own adapter says.
    """
    settings = settings or Sleep()
    records = {one.id: one for one in mind.store.records}
    ids = [id for id in _known(mind, ids) if records[id].shared]
    if not ids:
        return pd.DataFrame(columns=["id", "label", "split", "words", "bytes_before", "bytes_after", "seconds"])
    begun, before = time.perf_counter(), sizes(mind)
    asked, told = recollected(mind, ids, settings, None, progress)
    texts = [Memory(told[id][0], id, paraphrases=told[id][1:]) for id in ids]
    words: dict[str, float] = {}

    def put(one: Encoded) -> None:
        id = one.memory_id
        text = told[id][0]
        most = max(mind.recall_tokens, len(mind.base.reply(text)))
        [said] = rehearse.said(mind.base, one.adapter, [rehearse.asking(mind, asked[id], shared=False)], most)
        words[id] = rehearse.share(said, text)
        if words[id] >= settings.least:
            mind.store.replace(replace(records[id], seed=one.seed, losses=one.losses, learnt=None), one.adapter)

    encode(mind.base, texts, mind.encoding, mind.seed, progress=progress, on_done=put)
    return changes(mind, words, settings.least, before, begun).rename(columns={"slept": "split"})


def curve(minds: Iterable[Any], examine: Callable[[Any], pd.DataFrame]) -> pd.DataFrame:
    """What minds with the same memories in more or fewer adapters still know, against their bytes.

    Parameters
    ----------
    minds
        Copies of one mind, merged and slept as you like; each is examined when its turn comes.
    examine
        From a mind to a table with a row per method, such as ``lambda mind: memsci.evaluate.marks(memsci.evaluate.examine(
        mind))``.

    Returns
    -------
    pandas.DataFrame
        The rows of `examine`, with adapters (their number), bytes (of the numbers of all adapters) and memories before.
    """
    found = []
    for mind in minds:
        names = mind.store.adapter_names(mind.ids)
        own = {name: mind.store.adapter(id).nbytes for name, id in zip(names, mind.ids)}
        rows = examine(mind).drop(columns="memories", errors="ignore")
        for column, value in (("memories", len(mind)), ("bytes", sum(own.values())), ("adapters", len(own))):
            rows.insert(0, column, value)
        found.append(rows)
    return pd.concat(found, ignore_index=True)


def _known(mind: Any, ids: Iterable[str]) -> list[str]:
    """The ids as a list, each once, if all are stored."""
    if isinstance(ids, str):
        raise MemsciError(f"A list of ids is needed; the text {ids!r} was given. Put it in a list.")
    ids = list(dict.fromkeys(ids))
    for id in ids:
        if id not in mind.store:
            raise mind.store.unknown(id)
    return ids
