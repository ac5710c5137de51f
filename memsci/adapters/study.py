"""Lessons made of a memory's own parts, so that one wording is enough to be recalled and asked about.

Learnt under one prompt alone, a memory is recited whenever its gate is open, whatever is asked. With lessons the adapter
learns two things from the text itself, and no other model is needed: to tell the whole memory when a part of it is named
under the recall prompt, and to answer in one sentence under the prompt of questions. *Not in the paper.*

Shapes: n memories, k lessons in an epoch, m of them in a mini-batch, t tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from memsci import prompts
from memsci.adapters.lora import Stack
from memsci.adapters.mixture import logits_at
from memsci.adapters.train import Penalty, descend, of_a_step, precision, surprisal
from memsci.config import Encoding
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.words import stretch, words

Lesson = tuple[list[int], list[int]]  # tokens of the prompt, and of the reply that is learnt

ABOUT = ("What do you know about {}?", "What happened with {}?", "Who or what is {}?", "Tell me about {}.")
GAP = "___"
# What a question may ask for: names and numbers within a sentence.
_NAMES = re.compile(r"(?<=[ (\"“])(?:[A-Z][\w'’-]*(?: (?:of |the |de )?[A-Z][\w'’-]*)*|\d[\d,.:]*\d|\d)(?: [a-z]+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“])|(?<=[。！？])\s*(?![」』”’）])")
_ABBREVIATED = re.compile(r"(?:^|[ (.])(?:Mrs?|Ms|Dr|St|Sr|Jr|Prof|Gen|vs|No|[A-Z])\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text.

    >>> sentences("It rained. Tom stayed, e.g. at home! Mrs. Gray did not.")
    ['It rained.', 'Tom stayed, e.g. at home!', 'Mrs. Gray did not.']
    """
    found: list[str] = []
    for part in filter(None, _SENTENCE_END.split(text.strip())):
        if found and _ABBREVIATED.search(found[-1]):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def recall_lesson(text: str, rng: random.Random) -> tuple[prompts.Messages, str]:
    """The whole text, asked for under the recall prompt by a few words of it."""
    return prompts.recall(rng.choice(ABOUT).format(_span(text, rng, 2, 6))), text


def gap_lesson(text: str, rng: random.Random) -> tuple[prompts.Messages, str]:
    """One sentence, asked for under the question prompt by itself with a name, a number or some words left out."""
    sentence = rng.choice(sentences(text))
    names = _NAMES.findall(sentence)
    left_out = rng.choice(names) if names and rng.random() < 0.7 else _span(sentence, rng, 1, 4)
    if left_out not in sentence:  # more than one blank, or the end of a line, stands between its words
        left_out = re.search(r"\s+".join(map(re.escape, left_out.split())), sentence)[0]
    return prompts.qa(sentence.replace(left_out, GAP, 1)), sentence


LESSONS = (recall_lesson, gap_lesson)  # of every wording in every epoch


def lessons(base: Base, memory: Memory, encoding: Encoding, seed: int) -> list[list[Lesson]]:
    """What is learnt of a memory: for each epoch the `LESSONS` of each wording, a recall first.

    The text counts as `text_copies` wordings. Cues and gaps are drawn anew in every epoch, from the seed alone.
    """
    rng = random.Random(seed)
    wordings = [memory.text] * encoding.text_copies + list(memory.paraphrases)
    drawn = [[make(text, rng) for make in LESSONS for text in wordings] for _ in range(encoding.epochs)]
    found = [[(base.chat(asked), base.reply(told)) for asked, told in epoch] for epoch in drawn]
    longest = max(len(asked) + len(told) for epoch in found for asked, told in epoch)
    base.check_length(longest, f"Memory {memory.id} with its prompt")
    return found


def fit(
    base: Base,
    taught: Sequence[Sequence[Sequence[Lesson]]],
    orders: Tensor,
    stack: Stack | None,
    encoding: Encoding,
    penalty: Penalty | None = None,
) -> Iterator[Tensor]:
    """`memsci.adapters.train.fit` on lessons: each row has a prompt of its own.

    Parameters
    ----------
    base
        The base; its model is in eval mode.
    taught
        Of n memories, for each epoch, k lessons.
    orders
        [n, epochs, k], see `memsci.adapters.train.fit`. The `text_epochs` after them repeat the first lesson, a recall.
    stack
        Float32 tensors of n adapters. None: there are no adapters, n is 1, and all weights of the base are trained.
    encoding
        Learning rate and what else belongs to AdamW.
    penalty
        See `memsci.adapters.train.descend`.

    Returns
    -------
    iterator of Tensor
        [n] for each step, the loss of each memory before it.
    """
    n, epochs, _ = orders.shape
    batches = [
        [[taught[i][epoch][k] for k in row] for i, row in enumerate(chosen.tolist())]
        for epoch in range(epochs)
        for chosen in orders[:, epoch].split(encoding.batch_size, dim=1)
    ]
    batches += [[[one[0][0]] for one in taught]] * encoding.text_epochs

    step = of_a_step(base.model, stack, encoding.autocast)

    def loss(batch: list[list[Lesson]]) -> Tensor:
        with step():
            return losses(base, batch)

    parameters = list(base.model.parameters()) if stack is None else stack.parameters
    return descend(parameters, batches, loss, encoding, penalty, apart=stack is not None)


def each(base: Base, taught: Sequence[Lesson], autocast: bool = False) -> Iterator[Tensor]:
    """`memsci.adapters.train.each` on lessons: the loss of one after the other, scalars with their graph."""
    for lesson in taught:
        with torch.enable_grad(), precision(base.device, autocast):
            found = losses(base, [[lesson]]).sum()
        yield found


def losses(base: Base, batch: Sequence[Sequence[Lesson]]) -> Tensor:
    """−log p(reply | prompt) of each memory's m lessons, the mean over all tokens of its replies, [n]."""
    rows = [lesson for several in batch for lesson in several]
    ids, _ = base.pad([asked + told[:-1] for asked, told in rows])  # on the right, where causal attention never looks
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    for row, (asked, told) in enumerate(rows):
        wanted[row, len(asked) - 1 : len(asked) + len(told) - 1] = True
    with logits_at(base.model, wanted):
        logits = base.model(ids, use_cache=False).logits[0]
    nll = surprisal(logits, torch.tensor([token for _, told in rows for token in told], device=ids.device))
    owner = torch.arange(len(rows), device=ids.device)[:, None].expand_as(ids)[wanted] // len(batch[0])
    counts = owner.bincount(minlength=len(batch))
    return nll.new_zeros(len(batch)).index_add(0, owner, nll) / counts


def _span(text: str, rng: random.Random, least: int, most: int) -> str:
    many = len(words(text))
    length = min(many, rng.randint(least, most))
    start = rng.randrange(many - length + 1)
    return stretch(text, start, start + length).strip(" ,.;:，。；：、") or text
