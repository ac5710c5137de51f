"""Correcting a memory: put a new one in its place, or keep both and let the newer win.

`update` leaves a mind that is one that learnt the new text in the first place, bit for bit where memories are trained one by
one: the old adapter and the old key are gone. A memory that *corrects* another (`memsci.MEGa.encode`) stands beside it,
linked to it in the store, and the gain of the gate's rule (`memsci.gate.newer`) says by how much it goes before. *Neither is
in the paper*, which names correction among what is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from memsci.errors import MemsciError
from memsci.later import later
from memsci.memory import Memory, check_id, short, text_hash
from memsci.store.record import Remembered
from memsci.store.store import Store

pd = later("pandas")


def update(mind: Any, id: str, text: str | Memory, questions: Sequence[Any] = (), progress: bool = True) -> pd.DataFrame:
    """Put a new text in the place of a memory's: the same id and place in the order, a new adapter and a new key.

    The new one is trained first and then put there in one step. Whatever interrupts this, the old one stands whole.

    Parameters
    ----------
    mind
        A `memsci.MEGa`.
    id
        The memory.
    text
        The new text; or a `Memory`, whose paraphrases, questions, extra columns and label are then the new ones (its id is
        not used). Of a text alone the extra columns of the old memory stay, as does its label unless that was made of the
        old text; its questions go, since their answers may have changed.
    questions
        About a new text that is given alone, as in `Memory`.
    progress
        As in `memsci.MEGa.encode`.

    Returns
    -------
    pandas.DataFrame
        As from `memsci.MEGa.encode`, one row.

    Notes
    -----
    What the old memory corrected the new one corrects too, and what corrects the old one corrects the new. A store that kept
    the old text keeps the new one.

    Raises
    ------
    MemsciError
        Others have an adapter that learnt from the memory, so that the old text would stay in there.
    """
    old = record(mind.store, id)
    if others := mind.store.sharers(id):
        raise MemsciError(
            f"Memory {id!r} shares its adapter with {len(others)} others, {others[0]!r} among them, or theirs learnt from "
            "it, and its old text would stay in there. Split the others off first, so that each has an adapter of its own, "
            f"or keep both: encode the new text as a memory with corrects={id!r}. Nothing was changed."
        )
    if isinstance(text, Memory):
        new = replace(text, id=id)
    else:
        # Was it made of the first words of the text?
        made = old.label.endswith("…") or text_hash(old.label) == old.text_hash
        made = made or (old.text is not None and old.label == short(old.text, quote=False))
        new = Memory(text, id, "" if made else old.label, questions=questions, extra=old.extra or {})
    corrects = chains([new], mind.store).get(id, old.corrects)
    kept = None if old.text is None else new.text

    def put(made: Remembered, adapter) -> None:
        mind.store.replace(replace(made, corrects=corrects, text=made.text or kept), adapter)

    return mind.write([new], put, progress)


def chains(memories: Iterable[Memory], store: Store) -> dict[str, tuple[str, ...]]:
    """By id of each memory that corrects another: the ids of that one, of what that one corrected, and so on.

    What a memory corrects must be stored, or stand before it among these memories. The whole chain is kept, so that what is
    left of it holds when a link is forgotten.
    """
    known: dict[str, tuple[str, ...]] = dict(store.corrections)
    found, before = {}, set()
    for memory in memories:
        old = memory.corrects
        if old is not None:
            if old not in before and old not in store:
                raise store.unknown(old)
            found[memory.id] = known[memory.id] = (old, *known.get(old, ()))
            if memory.id in known[memory.id]:
                raise MemsciError(
                    f"{old!r} corrects {memory.id!r} already, so {memory.id!r} cannot correct it. Leave out what it "
                    "corrects, or give it another id."
                )
        before.add(memory.id)
    return found


def superseded(store: Store) -> set[str]:
    """Ids of the memories that another one corrects: what their questions ask for is answered otherwise now."""
    return {id for older in store.corrections.values() for id in older}


def standing(store: Store) -> list[Remembered]:
    """What the store knows of the memories that no other corrects, in the order of adding."""
    gone = superseded(store)
    return [one for one in store.records if one.id not in gone]


def record(store: Store, id: str) -> Remembered:
    """What the store knows of one memory, its text and questions included, if they are kept."""
    check_id(id)
    if id not in store:
        raise store.unknown(id)
    return store.records[store.ids.index(id)]
