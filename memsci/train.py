"""The training loop: many memories in one pass, each exactly as if it were alone.

Shapes: n memories, k examples of each, m of them in a mini-batch, t tokens, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from memsci.config import Encoding
from memsci.lora import Stack
from memsci.mixture import alone, logits_at


def fit(
    model: nn.Module,
    prompt: Sequence[int],
    examples: Sequence[Sequence[Sequence[int]]],
    orders: Tensor,
    stack: Stack,
    encoding: Encoding,
) -> Iterator[Tensor]:
    """Train the tensors of `stack` in place, a step each time the iterator is advanced.

    Each memory minimises −log p(D_i | x), the mean over its own tokens in its mini-batch (paper, Methods), by AdamW.
    The losses are summed over memories; as no tensor is shared, and AdamW works number by number, no memory touches
    another. No gradient is taken with respect to the base. Between steps the model carries no hooks.

    Parameters
    ----------
    model
        The base model, on the device of `stack`, with frozen weights.
    prompt
        Tokens of x, the same for all.
    examples
        Tokens of the texts, each with its end-of-turn token: n lists of k lists.
    orders
        [n, epochs, k]: in which order each memory sees its examples in each epoch.
    stack
        Float32 tensors of n adapters; they are set to require gradients.
    encoding
        Learning rate and what else belongs to AdamW.

    Yields
    ------
    Tensor
        [n], the loss of each memory before the step.
    """
    n, epochs, k = orders.shape
    device = stack.scales.device
    flat = [torch.tensor(tokens) for texts in examples for tokens in texts]
    lengths = torch.tensor([len(tokens) for tokens in flat]).view(n, k)
    ids = pad_sequence(flat, batch_first=True).view(n, k, -1)  # [n, k, t]
    prefix = torch.tensor([list(prompt)], device=device)
    rows = torch.arange(n)[:, None]

    for tensor in stack.parameters:
        tensor.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        stack.parameters, lr=encoding.lr, betas=encoding.betas, weight_decay=encoding.weight_decay
    )
    starts = range(0, k, encoding.batch_size)
    for step in range(epochs * len(starts)):
        epoch, batch = divmod(step, len(starts))
        chosen = orders[:, epoch, starts[batch] : starts[batch] + encoding.batch_size]  # [n, m]
        longest = int(lengths[rows, chosen].max())
        for group in optimiser.param_groups:
            group["lr"] = encoding.lr * rate(step, epochs * len(starts), encoding)
        with torch.enable_grad():
            loss = losses(
                model, prefix, ids[rows, chosen, :longest].to(device), lengths[rows, chosen].to(device), stack
            )
            optimiser.zero_grad()
            loss.sum().backward()
        if encoding.grad_clip is not None:
            clip(stack, encoding.grad_clip)
        optimiser.step()
        yield loss.detach()


def losses(model: nn.Module, prefix: Tensor, ids: Tensor, lengths: Tensor, stack: Stack) -> Tensor:
    """The loss of each memory, [n]: −log p(text | prompt), the mean over all tokens of its m texts.

    The prompt runs once per memory and its cache is shared by that memory's texts. Padding is on the right, where
    causal attention never looks back from, so no mask is needed.

    Parameters
    ----------
    prefix
        Tokens of the prompt, [1, p].
    ids
        Tokens of the texts, padded, [n, m, t].
    lengths
        Their true lengths, [n, m].
    """
    n, m, t = ids.shape
    ids = ids.flatten(0, 1)  # [n·m, t]
    owner = torch.arange(n, device=ids.device).repeat_interleave(m)  # [n·m]
    later = torch.arange(1, t, device=ids.device) < lengths.flatten()[:, None]  # [n·m, t-1]: all but first tokens
    with alone(model, stack):
        head = model(prefix.expand(n, -1), use_cache=True, logits_to_keep=1)
        cache = head.past_key_values
        cache.batch_repeat_interleave(m)
        with logits_at(model, later):
            body = model(ids[:, :-1], past_key_values=cache, use_cache=True)
    first = F.log_softmax(head.logits[:, -1].float(), dim=-1)[owner, ids[:, 0]]  # [n·m]
    rest = F.cross_entropy(body.logits[0].float(), ids[:, 1:][later], reduction="none")
    nll = (-first).view(n, m).sum(dim=1).index_add(0, owner[later.nonzero()[:, 0]], rest)  # [n]
    return nll / lengths.sum(dim=1)


def rate(step: int, steps: int, encoding: Encoding) -> float:
    """Learning rate of a step (counted from 0) as a share of its peak.

    Rises linearly over `warmup` steps; then stays, or falls linearly so as to reach 0 when all steps are done.
    """
    if step < encoding.warmup:
        return (step + 1) / encoding.warmup
    return 1.0 if encoding.schedule == "constant" else (steps - step) / (steps - encoding.warmup)


def clip(stack: Stack, limit: float) -> None:
    """Scale down, memory by memory, gradients whose norm over all of that memory's numbers is above `limit`."""
    gradients = [tensor.grad for tensor in stack.parameters]
    norms = sum(gradient.square().sum(dim=(1, 2)) for gradient in gradients).sqrt()  # [n]
    share = (limit / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(share[:, None, None])
