"""What a model says: greedy text, log probability of given texts, choice of a letter.

Prompts are token ids, as :meth:`memsci.models.Base.chat` gives them. Nothing here knows of memories: every function
runs the model as it is, within whatever context it is called. Inside a mixture with a gate of its own for each row,
leave `batch_size` out: all prompts then run as one batch, in their order. Shapes: b prompts, t tokens.
"""

from __future__ import annotations

import inspect
import os.path
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from memsci.errors import MemsciError
from memsci.models.base import Base, batches
from memsci.models.exclusive import exclusive

Prompts = Sequence[Sequence[int]]


@torch.no_grad()
def generate(base: Base, prompts: Prompts, max_new_tokens: int, batch_size: int | None = None) -> list[str]:
    """Greedy continuation of each prompt, up to a stop token (paper: greedy decoding).

    Nothing of the model's own generation settings is used: hub models come with sampling or penalties.

    Parameters
    ----------
    base : Base
    prompts : list of b lists of int
    max_new_tokens : int
    batch_size : int, optional
        Prompts per forward pass, those of like length together; None for all at once, in order.

    Returns
    -------
    list of b str
        Without special tokens and without white space at the ends.
    """
    _check(base, prompts, max_new_tokens)
    texts = [""] * len(prompts)
    for group in batches([len(prompt) for prompt in prompts], batch_size):
        ids, mask = base.pad([prompts[k] for k in group], left=True)
        replies, _ = _greedy(base, ids, mask, max_new_tokens)
        for k, reply in zip(group, replies, strict=True):
            texts[k] = base.said(reply)
    return texts


@torch.no_grad()
def converse(
    base: Base, prompts: Prompts, follow: Callable[[int, str], Sequence[int]], max_new_tokens: tuple[int, int]
) -> list[tuple[str, str]]:
    """Two greedy replies: to each prompt, and to the longer prompt that `follow` makes of it and the first reply.

    What the second prompt has in common with the first and its reply is not read again: its keys and values are at hand.
    The replies are those of two calls of :func:`generate`, save for rounding. All prompts run as one batch, in their order.

    Parameters
    ----------
    base : Base
    prompts : list of b lists of int
    follow : callable
        From the number of a prompt and the reply to it to the second prompt.
    max_new_tokens : (int, int)
        Of the first reply and the second.

    Returns
    -------
    list of b (str, str)
        As :func:`generate` gives them.
    """
    if not prompts:
        return []
    _check(base, prompts, max_new_tokens[0])
    ids, mask = base.pad(prompts, left=True)
    replies, cache = _greedy(base, ids, mask, max_new_tokens[0])
    first = [base.said(reply) for reply in replies]
    longer = [follow(k, text) for k, text in enumerate(first)]
    _check(base, longer, max_new_tokens[1])
    if not _can_be_hidden(base, cache):
        return list(zip(first, generate(base, longer, max_new_tokens[1])))
    # Columns of the cache: the padding, the prompt, and all of the reply but its last token, which was never read.
    width, columns = cache.get_seq_length(), ids.shape[1]
    common = []
    for prompt, reply, second in zip(prompts, replies, longer, strict=True):
        read = [*prompt, *reply][: len(prompt) + width - columns]
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(read, second[:-1]))  # one token at least is left to read
        common.append(sum(1 for _ in pairs))
    rest, rest_mask = base.pad([second[n:] for second, n in zip(longer, common)], left=True)
    # Columns that are hidden count there too, and in a sliding window.
    if width + rest.shape[1] + max_new_tokens[1] > min(base.max_length, base.window):
        return list(zip(first, generate(base, longer, max_new_tokens[1])))
    seen = torch.zeros(len(prompts), width, dtype=mask.dtype, device=mask.device)
    for row, (prompt, n) in enumerate(zip(prompts, common)):
        seen[row, columns - len(prompt) : columns - len(prompt) + n] = 1
    # The model is shown where it has read, not what: columns of the cache may hold any token here.
    ids = torch.cat([torch.full_like(seen, base.pad_id), rest], dim=1)
    replies, _ = _greedy(base, ids, torch.cat([seen, rest_mask], dim=1), max_new_tokens[1], cache)
    return [(told, base.said(reply)) for told, reply in zip(first, replies, strict=True)]


@torch.no_grad()
def branches(base: Base, prompt: Sequence[int], k: int, max_new_tokens: int) -> list[str]:
    """The k likeliest first tokens of a reply, each continued greedily: what a model can say besides its first choice.

    Parameters
    ----------
    base : Base
    prompt : list of int
        It may end within a reply, after what is already said; that is not repeated.
    k : int
    max_new_tokens : int

    Returns
    -------
    list of k str
        The likeliest first token first, which :func:`generate` would say too; with the white space that they begin with.
    """
    _check(base, [prompt], max_new_tokens)
    starts = _logits(base, [prompt], len(prompt))[0, -1].topk(k).indices.tolist()
    ids, mask = base.pad([[*prompt, start] for start in starts], left=True)
    replies, _ = _greedy(base, ids, mask, max_new_tokens - 1)
    stops = set(base.stop_ids)
    said = [[] if start in stops else [start, *reply] for start, reply in zip(starts, replies, strict=True)]
    return [base.text(reply).rstrip() for reply in said]


@torch.no_grad()
def logprob(base: Base, prompts: Prompts, targets: Prompts, batch_size: int | None = None) -> tuple[Tensor, Tensor]:
    """Log probability of each target after its prompt: Σ_j log p(y_j | prompt, y_<j), in nats.

    Parameters
    ----------
    base : Base
    prompts, targets : lists of b lists of int
        Token ids; a target is ``base.reply(text)``, or ``base.tokens(text, bos=False)`` without the end of turn.
    batch_size : int, optional
        As in :func:`generate`.

    Returns
    -------
    sums : Tensor [b]
        float32, on the CPU.
    counts : Tensor [b]
        Number of tokens in each target; sums / counts is the mean per token.
    """
    if len(prompts) != len(targets):
        raise MemsciError(f"{len(prompts)} prompts and {len(targets)} targets were given; give one target per prompt.")
    _check(base, prompts, max(map(len, targets), default=0))
    sums = torch.zeros(len(prompts))
    for group in batches([len(p) + len(y) for p, y in zip(prompts, targets, strict=True)], batch_size):
        first = min(len(prompts[k]) for k in group)
        logits = _logits(base, [[*prompts[k], *targets[k]] for k in group], first)
        for row, k in enumerate(group):
            start = len(prompts[k]) - first
            scores = logits[row, start : start + len(targets[k])].float().log_softmax(dim=-1)  # [t, v]
            chosen = torch.tensor(targets[k], dtype=torch.long, device=scores.device)
            sums[k] = scores.gather(1, chosen[:, None]).sum()
    return sums, torch.tensor([len(target) for target in targets], dtype=torch.long)


@torch.no_grad()
def alternatives(base: Base, prompts: Prompts, targets: Sequence[Prompts]) -> list[list[float]]:
    """Log probability of each of several targets after its prompt, which is read once: that of :func:`logprob`, in nats.

    All prompts run as one batch, in their order, and then once for each target of the prompt that has most. A model whose
    cache cannot take that (see `_can_be_hidden`) reads a prompt again for each of its targets.

    Parameters
    ----------
    base : Base
    prompts : list of b lists of int
    targets : list of b lists of lists of int
        For each prompt its targets, any number of them.

    Returns
    -------
    list of b lists of float
    """
    if len(prompts) != len(targets):
        raise MemsciError(f"{len(prompts)} prompts and {len(targets)} lists of targets were given; give one per prompt.")
    most, longest = (max(map(size, targets), default=0) for size in (len, lambda some: max(map(len, some), default=0)))
    _check(base, prompts, longest)
    found: list[list[float]] = [[] for _ in prompts]
    if not most:
        return found
    ids, mask = base.pad(prompts, left=True)
    with exclusive(base.model):
        read = base.model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1, **_positions(base, mask))
    cache = getattr(read, "past_key_values", None)  # a recurrent model has another
    first = read.logits[:, -1].float().log_softmax(dim=-1)
    kept = _can_be_hidden(base, cache) and ids.shape[1] + longest <= base.window
    for place in range(most):
        now = [several[place] if place < len(several) else [] for several in targets]
        if kept:
            sums = _after(base, cache, mask, first, now)
            if added := cache.get_seq_length() - ids.shape[1]:
                cache.crop(-added)
        else:
            sums = logprob(base, prompts, now)[0].tolist()
        for several, own, total in zip(targets, found, sums, strict=True):
            if place < len(several):
                own.append(total)
    return found


def _after(base: Base, cache: Any, mask: Tensor, first: Tensor, targets: Prompts) -> list[float]:
    """Log probability of a target for each row of a cache; `first` are the log probabilities of what follows it, [b, v]."""
    sums = torch.stack([row[target[0]] if target else row.new_zeros(()) for row, target in zip(first, targets)])
    if max(map(len, targets)) > 1:
        ids, more = base.pad([target[:-1] or [base.pad_id] for target in targets])
        seen = torch.cat([mask, more], dim=1)
        where = {name: value[:, -ids.shape[1] :] for name, value in _positions(base, seen).items()}
        with exclusive(base.model):
            output = base.model(input_ids=ids, attention_mask=seen, past_key_values=cache, use_cache=True, **where)
        for row, target in enumerate(targets):
            rest = torch.tensor(target[1:], dtype=torch.long, device=ids.device)
            scores = output.logits[row, : len(rest)].float().log_softmax(dim=-1)  # [t, v]
            sums[row] += scores.gather(1, rest[:, None]).sum()
    return sums.tolist()


def _positions(base: Base, mask: Tensor) -> dict[str, Tensor]:
    """Positions that do not count padding, where the model takes them."""
    if "position_ids" not in inspect.signature(base.model.forward).parameters:
        return {}
    return {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}


@torch.no_grad()
def first_choices(base: Base, prompts: Prompts, targets: Prompts) -> Tensor:
    """Share of the tokens of each target that are the model's first choice after its prompt and those before, float32 [b].

    Where it is 1, and the last token ends the turn, a greedy reply is the target. Parameters are those of :func:`logprob`.
    """
    _check(base, prompts, max(map(len, targets), default=0))
    shares = torch.zeros(len(prompts))
    for group in batches([len(p) + len(y) for p, y in zip(prompts, targets, strict=True)], None):
        first = min(len(prompts[k]) for k in group)
        chosen = _logits(base, [[*prompts[k], *targets[k]] for k in group], first).argmax(dim=-1).cpu()
        for row, k in enumerate(group):
            start = len(prompts[k]) - first
            shares[k] = (chosen[row, start : start + len(targets[k])] == torch.tensor(targets[k])).float().mean()
    return shares


@torch.no_grad()
def weigh(
    base: Base, prompts: Prompts, targets: Sequence[Prompts], batch_size: int | None = None
) -> list[list[tuple[float, bool]]]:
    """Log probability of several targets after each prompt, all read off one pass: Σ_j log p(y_j | prompt, y_<j), in nats.

    Parameters
    ----------
    base : Base
    prompts : list of b lists of int
    targets : list of b lists of lists of int
        For each prompt its targets. They differ in nothing but their last token, as the letters of a question do.
    batch_size : int, optional
        As in :func:`generate`.

    Returns
    -------
    list of b lists of (float, bool)
        For each target its log probability, and whether it is the greedy continuation: what :func:`generate` would say.
    """
    if len(prompts) != len(targets):
        raise MemsciError(f"{len(prompts)} prompts and {len(targets)} lists of targets were given; give one per prompt.")
    heads = []
    for k, several in enumerate(targets):
        shared = {tuple(target[:-1]) for target in several}
        if len(shared) != 1 or not all(map(len, several)):
            raise MemsciError(
                f"Prompt {k} needs targets of at least one token that differ in their last token alone. Give targets that "
                "differ before it a prompt each."
            )
        heads.append(shared.pop())
    rows = [[*prompt, *head] for prompt, head in zip(prompts, heads, strict=True)]
    for texts in (prompts, rows):
        _check(base, texts, 0)
    found: list[list[tuple[float, bool]]] = [[] for _ in rows]
    for group in batches([len(row) for row in rows], batch_size):
        first = min(len(prompts[k]) for k in group)
        logits = _logits(base, [rows[k] for k in group], first)
        for row, k in enumerate(group):
            start = len(prompts[k]) - first
            scores = logits[row, start : start + len(heads[k]) + 1].float().log_softmax(dim=-1)  # [t, v]
            ids = torch.tensor(targets[k], dtype=torch.long, device=scores.device)  # [targets, t]
            sums = scores[torch.arange(ids.shape[1], device=ids.device), ids].sum(dim=1)
            greedy = (scores.argmax(dim=-1) == ids).all(dim=1)
            found[k] = list(zip(sums.tolist(), greedy.tolist(), strict=True))
    return found


@torch.no_grad()
def choose(
    base: Base, prompts: Prompts, letters: Sequence[str] = ("A", "B", "C", "D"), batch_size: int | None = None
) -> list[int]:
    """Which letter comes next: the most probable of the letters' tokens in one step (paper, MMLU protocol).

    Where a tokenizer writes the space before a letter as a token of its own, that token is added to the prompt.

    Parameters
    ----------
    base : Base
    prompts : list of b lists of int
        Ending in words that a letter follows, such as "The answer is" of :func:`memsci.prompts.mmlu`.
    letters : sequence of str
    batch_size : int, optional
        As in :func:`generate`.

    Returns
    -------
    list of b int
        Index into `letters`.
    """
    # A letter's tokens are those that it adds to a word before it.
    word = base.tokens("is", bos=False)
    endings = [base.tokens(f"is {letter}", bos=False)[len(word) :] for letter in letters]
    common = os.path.commonprefix(endings)
    tokens = [ending[len(common)] for ending in endings if len(ending) > len(common)]
    if len(set(tokens)) < len(letters):
        raise MemsciError(f"{', '.join(map(repr, letters))} do not differ in their first token. Use single letters.")
    _check(base, prompts, len(common))
    chosen = [0] * len(prompts)
    rows = [[*prompt, *common] for prompt in prompts]
    for group in batches([len(row) for row in rows], batch_size):
        first = min(len(rows[k]) for k in group)
        logits = _logits(base, [rows[k] for k in group], first)
        for row, k in enumerate(group):
            chosen[k] = int(logits[row, len(rows[k]) - first, tokens].argmax())
    return chosen


def _logits(base: Base, rows: Prompts, first: int) -> Tensor:
    """Logits that predict token `first` of each row and those after it, [b, t, v].

    Rows are padded on the right, where causal attention cannot see it.
    """
    ids, mask = base.pad(rows)
    keep = ids.shape[1] - first + 1  # the last so many: one before each token that is predicted
    with exclusive(base.model):
        return base.model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits


def _greedy(base: Base, ids: Tensor, mask: Tensor, max_new_tokens: int, cache=None) -> tuple[list[list[int]], Any]:
    """Tokens of the reply to each row before its stop token, and the keys and values of all that was read.

    Rows are padded on the left; the cache holds the first columns of `ids` and `mask`, if it is given.
    """
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(base.stop_ids) or None,
        pad_token_id=base.pad_id,
        return_dict_in_generate=True,
    )
    past = {} if cache is None else {"past_key_values": cache}
    with exclusive(base.model), _own_settings_aside(base.model):
        output = base.model.generate(input_ids=ids, attention_mask=mask, generation_config=settings, **past)
    stops = set(base.stop_ids)
    replies = [
        list(takewhile(lambda token: token not in stops, row)) for row in output.sequences[:, ids.shape[1] :].tolist()
    ]
    return replies, output.past_key_values


def _can_be_hidden(base: Base, cache: Any) -> bool:
    """Whether columns of a cache can be hidden without a trace.

    A recurrent layer (Mamba, Jamba) keeps a sum of all that it read, and a model without ``position_ids`` (MPT) counts
    columns, whether they are hidden or not.
    """
    layers = getattr(cache, "layers", None) or [None]
    attention = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return attention and "position_ids" in inspect.signature(base.model.forward).parameters


def _check(base: Base, prompts: Prompts, more: int) -> None:
    for k, prompt in enumerate(prompts):
        if not prompt:
            raise MemsciError(f"Prompt {k} is empty. Make prompts with base.chat(messages).")
        base.check_length(len(prompt) + more, f"Prompt {k} of {len(prompt)} tokens with {more} more")


@contextmanager
def _own_settings_aside(model) -> Iterator[None]:
    """The model without its generation settings: `generate` fills up from them whatever its caller left open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
