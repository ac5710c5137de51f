"""What memories say of themselves while they sleep: their recalls, other wordings of these, and lessons made of both.

No text is read from a store. Each memory recalls itself greedily with its own gate alone open; what it says at the next
likeliest first words of each sentence is another wording, kept if it names nothing else. *Not in the paper.*
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from memsci import prompts
from memsci.adapters import study
from memsci.adapters.lora import Adapter, stack
from memsci.adapters.mixture import mixture
from memsci.memory import LABEL_WORDS
from memsci.models import conversation, generate
from memsci.models.base import Base
from memsci.store.record import Remembered
from memsci.words import stretch, words

_FACT = re.compile(r"(?<=[a-z,;\-] )[A-Z][\w’'-]*\w|\d[\d,.:]*\d|\d")  # names within sentences, and numbers


def cues(records: Sequence[Remembered]) -> dict[str, str]:
    """What each memory is asked for by, by its id: its label, and its id too if another has the same label."""
    labels = {one.id: one.label.rstrip("…") for one in records}
    count = Counter(label.casefold() for label in labels.values())
    return {id: label + f" ({id})" * (count[label.casefold()] > 1) for id, label in labels.items()}


def starts(texts: Sequence[str]) -> list[str]:
    """The first words of each of these different texts: `LABEL_WORDS`, and as many more as tell it from the others."""
    most, many = [len(words(text)) for text in texts], [LABEL_WORDS] * len(texts)
    while True:
        first = [stretch(text, 0, n) for text, n in zip(texts, many)]
        count = Counter(first)
        longer = [k for k, one in enumerate(first) if count[one] > 1 and many[k] < most[k]]
        if not longer:
            return first
        for k in longer:
            many[k] += 1


def by_cue(cue: str) -> prompts.Messages:
    """The recall prompt with a cue in it."""
    return prompts.recall(study.ABOUT[0].format(cue))


def asking(mind: Any, cue: str, shared: bool) -> prompts.Messages:
    """What a memory is asked to recall itself with: what it was encoded with if its adapter is its own, else its cue."""
    return by_cue(cue) if shared or mind.encoding.study != "text" else prompts.encoding(mind.encoding.prompt)


def said(base: Base, adapter: Adapter, turns: Sequence[prompts.Messages], most: int) -> list[str]:
    """What follows each conversation with this adapter alone."""
    own = stack([adapter]).to(base.device, base.dtype)
    return conversation.say(base, turns, most, lambda rows: mixture(base.model, own, torch.ones(1, 1), passes=most))


def recalls(mind: Any, asked: Mapping[str, str], most: int) -> dict[str, str]:
    """What each memory says with its own gate alone open, by id."""
    turns = [asking(mind, asked[one.id], bool(one.shared)) for one in _records(mind, asked)]
    gate = mind.gate_by_hand([{id: 1.0} for id in asked])
    within = mind.within([*asked.values()], turns, gate=gate)
    return dict(zip(asked, conversation.say(mind.base, turns, most, within), strict=True))


def wordings(
    mind: Any, asked: Mapping[str, str], told: Mapping[str, str], k: int, progress: bool = False
) -> dict[str, list[str]]:
    """Up to k other wordings of each sentence of a recall, by id: whole texts, from the branches where it begins."""
    found: dict[str, list[str]] = {}
    records = _records(mind, asked)
    for record in tqdm(records, desc="recalling in other words", unit="memory", disable=not progress or not k):
        id, text = record.id, told[record.id]
        parts, said, most = study.sentences(text), [], 2 * len(mind.base.reply(text))
        prompt = asking(mind, asked[id], bool(record.shared))
        with mind.within([asked[id]], [prompt], gate=mind.gate_by_hand([{id: 1.0}]))([0]):
            for place in range(len(parts) if k else 0):
                start = " ".join(parts[:place])
                before = mind.base.chat(prompt) + (mind.base.reply(start, end=False) if start else [])
                room = min(most, mind.base.max_length - len(before))
                others = generate.branches(mind.base, before, k + 1, room) if room > 1 else []
                said += [f"{start} {other.lstrip()}" for other in others]
        said = [one.strip() for one in said]
        found[id] = [one for one in dict.fromkeys(said) if one != text and alike(one, text)]
    return found


def _records(mind: Any, asked: Mapping[str, str]) -> list[Remembered]:
    """The records of these memories, in their order."""
    known = {one.id: one for one in mind.store.records}
    return [known[id] for id in asked]


def alike(one: str, other: str) -> bool:
    """Whether each of two texts has all names and numbers of the other; a name that begins a sentence may be any word.

    >>> alike("On 3 May Nora hid it.", "Nora hid it on 3 May."), alike("Nora hid it on 3 May.", "Nora hid it in May.")
    (True, False)
    """
    return all(set(_FACT.findall(x)) <= set(re.findall(r"\w[\w’'.,:-]*\w|\w", y)) for x, y in ((one, other), (other, one)))


def share(said: str, text: str) -> float:
    """Share of the words of a text that are said in its order, of as many words as the longer of the two has.

    >>> share("Nora hid the letter", "Nora hid the red letter")
    0.8
    """
    one, other = words(said), words(text)
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(len(one), len(other), 1)
