"""Whether a base can read a table of memories at all: what it does not understand with the text before it, no memory of the
text will answer."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd

from memsci import prompts
from memsci.data import table
from memsci.errors import check_whole
from memsci.evaluate.responses import probes
from memsci.measures.text_match import contains
from memsci.models import conversation
from memsci.models.base import OWN, Base

UNDERSTOOD = 0.5  # of the answers, from which on a base is good enough for a table


def comprehension(base: Base, memories: Any, most: int | None = None) -> pd.DataFrame:
    """What a base answers to each question about memories, with the right text before it (RAG that never misses).

    This is what answers from memories can reach at best. A warning tells if the base answers less than half, and which
    base might do better. *Not in the paper.*

    Parameters
    ----------
    base
        From `memsci.load`.
    memories
        Memories with questions, in any form that `memsci.data.table` takes.
    most
        Put so many questions only, spread evenly over all. Default: all.

    Returns
    -------
    pandas.DataFrame
        A row per question: memory_id, question, target, answer, right (the answer contains the target, see
        `memsci.measures.text_match.contains`), and the extra columns.

    Examples
    --------
    >>> import memsci
    >>> read = comprehension(memsci.load(), memsci.data.builtin("episodic", 0), most=5)
    >>> float(read["right"].mean())
    1.0
    """
    asked = probes(table(memories), per_memory=None)
    if most is not None:
        check_whole("most", most, 1)
        step = max(len(asked) / most, 1)
        asked = asked.iloc[[int(k * step) for k in range(min(most, len(asked)))]].reset_index(drop=True)
    turns = [prompts.rag(*pair) for pair in zip(asked["question"], asked["original"])]
    answers = conversation.say(base, turns, conversation.ANSWER_TOKENS)
    right = [contains(*pair) for pair in zip(answers, asked["target"])]
    read = asked.drop(columns="original")
    read.insert(3, "answer", answers)
    read.insert(4, "right", right)
    if (share := read["right"].mean()) < UNDERSTOOD:
        better = "'smollm2', or a larger instruct model" if base.name in OWN else "a larger instruct model"
        warnings.warn(
            f"{base.name} answers {100 * share:.0f} % of {len(read)} questions with the right text before it; from memories "
            f"it will hardly answer more. Take {better}, or questions whose answers stand in the texts word for word.",
            stacklevel=2,
        )
    return read
