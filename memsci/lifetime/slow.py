"""One adapter for many memories: learnt from what they say of themselves, and added to a copy of the base.

Shapes: A [r, in], B [out, r], as in `memsci.adapters.lora`.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from memsci import prompts
from memsci.adapters import study
from memsci.adapters.encode import draws
from memsci.adapters.lora import Adapter, init_adapter, merge, stack, unstack
from memsci.adapters.truncate import truncate
from memsci.config import Encoding, Settings
from memsci.errors import MemsciError, check_in, check_whole
from memsci.files import appearing
from memsci.models.base import Base
from memsci.models.sites import targets

SHARE = 12  # of how many ranks of separate adapters the shared one has one
LATE = 0.8  # of the epochs teach wordings; the rest the recall alone


@dataclass(frozen=True, kw_only=True)
class Sleep(Settings):
    """How memories are brought into one adapter. *Not in the paper*; its defaults: docs/notes/lifetime.md.

    Parameters
    ----------
    rank
        Of the shared adapter; None gives one rank for `SHARE` that its memories have, or had, on their own.
    epochs
        Passes over the lessons; each has two of every memory (`lessons`).
    lr
        Learning rate of AdamW at its start; it falls to 0. None: that of the mind's encoding.
    batch_size
        Lessons per step.
    wordings
        Other wordings of each sentence that a memory is asked for; 0 for its recall alone.
    most
        Memories that share one adapter at most. While all that sleep and slept are no more, they have one; beyond that
        what slept keeps the adapter that it has, and the others get new ones. None: one adapter for all that ever slept.
    interleave
        Where what slept shares the one adapter: whether it recalls itself too and is learnt anew with the others.
    least
        Share of the words of a memory's own recall that the shared adapter must say for the memory to change over.
    seed
        Of its start and of the order and cues of lessons.
    """

    rank: int | None = None
    epochs: int = 60
    lr: float | None = None
    batch_size: int = 4
    wordings: int = 3
    most: int | None = 12
    interleave: bool = True
    least: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("wordings", "seed"):
            check_whole(name, getattr(self, name), least=0)
        for name in ("rank", "most"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=1)
        if self.lr is not None and not (isfinite(self.lr) and self.lr > 0):
            raise MemsciError(f"lr must be a finite number above 0; {self.lr!r} was given.")
        check_in("interleave", self.interleave, (False, True))
        if not 0 <= self.least <= 1:
            raise MemsciError(f"least must be a number from 0 to 1; {self.least!r} was given.")


def lessons(
    base: Base, told: Mapping[str, Sequence[str]], asked: Mapping[str, str], settings: Sleep
) -> list[list[study.Lesson]]:
    """For each epoch two lessons of every memory, both under the recall prompt.

    The first asks with the memory's cue, or a few words of a wording, for its recall; the second with a few words of a
    wording for any wording, in the last epochs for the recall too.

    Parameters
    ----------
    told
        Of each memory its recall first, then other wordings.
    asked
        The cue of each.
    """
    rng = random.Random(settings.seed)
    drawn: list[list[study.Lesson]] = []
    for epoch in range(settings.epochs):
        late, row = epoch >= LATE * settings.epochs, []
        for id, texts in told.items():
            by_cue = prompts.recall(study.ABOUT[0].format(asked[id])), texts[0]
            by_words = study.recall_lesson(rng.choice(texts), rng)[0], texts[0]
            freely = study.recall_lesson(rng.choice(texts), rng)[0], texts[0] if late else rng.choice(texts)
            row += [by_words if epoch % 2 else by_cue, freely]
        drawn.append([(base.chat(question), base.reply(text)) for question, text in row])
    base.check_length(max(len(q) + len(r) for epoch in drawn for q, r in epoch), "A recall with its prompt")
    return drawn


def learn(
    base: Base,
    encoding: Encoding,
    told: Mapping[str, Sequence[str]],
    asked: Mapping[str, str],
    settings: Sleep,
    start: Adapter | None = None,
    progress: bool = True,
) -> Adapter:
    """Train one adapter on the lessons of many memories.

    Parameters
    ----------
    encoding
        Of the mind: where the adapter sits, and what of AdamW `settings` does not name.
    told, asked
        As in `lessons`.
    start
        The adapter to go on from; None starts from the base. It gets more ranks if it has fewer than it is to have.
    """
    ranks = len(told) * encoding.rank
    rank = settings.rank or max(1, ranks // SHARE, start.rank if start else 0)
    how = replace(
        encoding, rank=rank, alpha=None, lr=settings.lr or encoding.lr, epochs=settings.epochs,
        batch_size=settings.batch_size, schedule="linear", study="parts", text_epochs=0, text_copies=1,
    )  # fmt: skip
    taught = lessons(base, told, asked, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.inference_mode(False), torch.enable_grad():
        fresh = init_adapter(base.model, targets(base.model, how.where, how.layers), how, generator)
        fresh = fresh if start is None else _widened(truncate(start, rank), fresh)
        orders = draws(generator, how.epochs, len(taught[0]))[None]
        trained = stack([fresh]).to(base.device)
        steps = how.epochs * ceil(len(taught[0]) / how.batch_size)
        with tqdm(total=steps, desc="sleeping", unit="step", disable=not progress) as bar:
            for loss in study.fit(base, [taught], orders, trained, how):
                bar.update()
                if not torch.isfinite(loss).all():
                    raise MemsciError(
                        "The loss of the shared adapter is not finite any more; nothing was changed. Give a smaller "
                        "learning rate (lr)."
                    )
    return unstack(trained, [fresh], getattr(torch, how.dtype))[0]


def _widened(start: Adapter, fresh: Adapter) -> Adapter:
    """What `start` does, with as many ranks as `fresh` and its scale; the further ranks start as those of `fresh` do."""
    deltas = {}
    for path, (A, B) in fresh.deltas.items():
        A, B = A.clone(), B.clone()
        if path in start.deltas:
            old_A, old_B = start.deltas[path]
            rank = len(old_A)
            A[:rank] = old_A
            B[:, :rank] = old_B * (start.scale / fresh.scale)
        deltas[path] = (A, B)
    return replace(fresh, deltas=deltas)


def fold(mind: Any, path: str | os.PathLike[str]) -> Path:
    """Save a copy of the base with the adapter that most memories share added to its weights; `memsci.load` loads it.

    The mind and its base stay as they are. The copy has no gate: what slept in it is always open.
    """
    name = largest(mind)
    if name is None:
        raise MemsciError("No memories share an adapter yet, so there is nothing to add to the base. Let some sleep first.")
    adapter = mind.store.adapter(next(one.id for one in mind.store.records if one.shared == name))
    model = copy.deepcopy(mind.base.model)
    merge(model, adapter)
    with appearing(path) as unfinished:
        model.save_pretrained(unfinished)
        mind.base.tokenizer.save_pretrained(unfinished)
    return Path(path)


def largest(mind: Any) -> str | None:
    """Name of the adapter that most memories share; None if there is none."""
    names = [one.shared for one in mind.store.records if one.shared]
    return max(dict.fromkeys(names), key=names.count, default=None)
