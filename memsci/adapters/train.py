"""The training loop: adapters of many memories in one pass, each exactly as if it were alone, or a whole model.

`descend` is the only loop: MEGa, single adapters and whole-model fine-tuning differ in the numbers that it moves.
Shapes: n memories, k examples of each, m of them in a mini-batch, p tokens of the prompt, t tokens of an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import pad_sequence

from memsci.adapters.lora import Stack
from memsci.adapters.mixture import alone, in_bfloat16, logits_at
from memsci.config import Encoding
from memsci.models.base import fast_bfloat16

Penalty = Callable[[Sequence[Tensor]], Tensor]  # from the parameters to a scalar that is added to the loss
Batch = TypeVar("Batch")


def fit(
    model: nn.Module,
    prompt: Sequence[int],
    examples: Sequence[Sequence[Sequence[int]]],
    orders: Tensor,
    stack: Stack | None,
    encoding: Encoding,
    penalty: Penalty | None = None,
) -> Iterator[Tensor]:
    """Train the tensors of `stack`, or the model itself, in place, a step each time the iterator is advanced.

    Each memory minimises −log p(D_i | x), the mean over its own tokens in its mini-batch (paper, Methods), by AdamW.
    The losses are summed over memories; as no tensor is shared, and AdamW works number by number, no memory touches
    another. With a stack no gradient is taken with respect to the model. Between steps the model carries no hooks.

    Parameters
    ----------
    model
        The model, on the device of `stack`, in eval mode.
    prompt
        Tokens of x, the same for all.
    examples
        Tokens of the texts, each with its end-of-turn token: n lists of k lists, the memory's own text first.
    orders
        [n, epochs, k]: in which order each memory sees its examples in each epoch; after these come the encoding's
        `text_epochs`.
    stack
        Float32 tensors of n adapters; they are set to require gradients. None: there are no adapters, n is 1, and all
        weights of the model are trained.
    encoding
        Learning rate and what else belongs to AdamW.
    penalty
        See `descend`.

    Returns
    -------
    iterator of Tensor
        [n] for each step, the loss of each memory before it, without the penalty.
    """
    n, epochs, k = orders.shape
    device = next(model.parameters()).device if stack is None else stack.scales.device
    flat = [torch.tensor(tokens) for texts in examples for tokens in texts]
    lengths = torch.tensor([len(tokens) for tokens in flat]).view(n, k)
    ids = pad_sequence(flat, batch_first=True).view(n, k, -1)  # [n, k, t]
    prefix = torch.tensor([list(prompt)], device=device)
    rows = torch.arange(n)[:, None]
    alike = torch.tensor([[texts.index(tokens) for tokens in texts] for texts in map(list, examples)])  # [n, k]
    step = of_a_step(model, stack, encoding.autocast)

    def loss(chosen: Tensor) -> Tensor:  # [n, m] -> [n]
        chosen, counts = _once(chosen, alike)
        longest = int(lengths[rows, chosen].max())
        texts, sizes = ids[rows, chosen, :longest].to(device), lengths[rows, chosen].to(device)
        with step():
            return losses(model, prefix, texts, sizes, counts.to(device))

    parameters = list(model.parameters()) if stack is None else stack.parameters
    batches = [batch for epoch in range(epochs) for batch in orders[:, epoch].split(encoding.batch_size, dim=1)]
    batches += [torch.zeros(n, 1, dtype=torch.long)] * encoding.text_epochs
    return descend(parameters, batches, loss, encoding, penalty, apart=stack is not None)


def _once(chosen: Tensor, alike: Tensor) -> tuple[Tensor, Tensor]:
    """A mini-batch with equal texts read once: which examples [n, m'], and how often each counts [m'].

    Where the memories of a pass do not have the same texts twice, all are read, [n, m].

    Parameters
    ----------
    chosen
        [n, m]: the examples of each memory.
    alike
        [n, k]: the first of each memory's examples that has the same text.
    """
    kinds = alike.gather(1, chosen).sort(dim=1).values
    if (kinds == kinds[:1]).all():
        distinct, counts = kinds[0].unique(return_counts=True)
        if len(distinct) < chosen.shape[1]:
            return distinct.expand(len(chosen), -1), counts
    return chosen, torch.ones(chosen.shape[1], dtype=torch.long)


def descend(
    parameters: Sequence[Tensor],
    batches: Sequence[Batch],
    loss: Callable[[Batch], Tensor],
    encoding: Encoding,
    penalty: Penalty | None = None,
    apart: bool = False,
) -> Iterator[Tensor]:
    """The loop: a step of AdamW for each batch, each time the iterator is advanced.

    Parameters
    ----------
    parameters
        The tensors to move; they are set to require gradients.
    batches
        What `loss` is given, step by step.
    loss
        From a batch to the losses of its memories, [n]; a step descends on their sum.
    encoding
        Learning rate, schedule, clipping and what else belongs to AdamW.
    penalty
        A scalar of the parameters that is added to the sum, see `memsci.learners.penalties`.
    apart
        The first dimension of every tensor counts n memories that share nothing: gradients are clipped one by one.

    Yields
    ------
    Tensor
        [n], the losses before the step, without the penalty.
    """
    for tensor in parameters:
        tensor.requires_grad_(True)
    # Fused, a step reads and writes every number once.
    optimiser = torch.optim.AdamW(
        parameters, lr=encoding.lr, betas=encoding.betas, weight_decay=encoding.weight_decay, fused=True
    )
    for step, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = encoding.lr * rate(step, len(batches), encoding)
        optimiser.zero_grad()
        with torch.enable_grad():
            found = loss(batch)
            total = found.sum() if penalty is None else found.sum() + penalty(parameters)
            total.backward()
        if encoding.grad_clip is not None:
            clip(parameters, encoding.grad_clip, apart)
        optimiser.step()
        yield found.detach()


def of_a_step(model: nn.Module, stack: Stack | None, autocast: bool) -> Callable[[], AbstractContextManager]:
    """What each step of a training runs in: with its adapters, if there are any, and in its precision."""
    device = next(model.parameters()).device
    copies = in_bfloat16(model) if stack is not None and autocast and fast_bfloat16(device) else {}

    @contextmanager
    def block() -> Iterator[None]:
        with ExitStack() as entered:
            if stack is not None:
                entered.enter_context(alone(model, stack, copies))
            entered.enter_context(precision(device, autocast))
            yield

    return block


@contextmanager
def precision(device: torch.device, autocast: bool) -> Iterator[None]:
    """Inside the block, matrix products are taken in bfloat16 if `autocast`, where the hardware has such products.

    A processor without them is far slower in bfloat16 than in float32; there the block changes nothing.
    """
    with ExitStack() as stack:
        if autocast and fast_bfloat16(device):
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            if device.type == "cpu":  # its flash attention goes back through bfloat16 more slowly than through float32
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def losses(model: nn.Module, prefix: Tensor, ids: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """The loss of each memory, [n]: −log p(text | prompt), the mean over all tokens of its m texts.

    Where a memory has several texts, the prompt runs once and its cache is shared by them. Padding is on the right, where
    causal attention never looks back from, so no mask is needed.

    Parameters
    ----------
    prefix
        Tokens of the prompt, [1, p].
    ids
        Tokens of the texts, padded, [n, m, t].
    lengths
        Their true lengths, [n, m].
    counts
        As how many texts each counts, [m].
    """
    n, m, t = ids.shape
    ids = ids.flatten(0, 1)  # [n·m, t]
    real = torch.arange(t, device=ids.device) < lengths.flatten()[:, None]  # [n·m, t]
    owner = torch.arange(n, device=ids.device).repeat_interleave(m)  # [n·m]
    prompt = prefix.expand(n, -1)
    if m == 1:
        asked = torch.cat([torch.zeros_like(prompt[:, 1:], dtype=torch.bool), real], dim=1)
        with logits_at(model, asked):
            whole = model(torch.cat([prompt, ids[:, :-1]], dim=1), use_cache=False)
        nll = surprisal(whole.logits[0], ids[real])
        summed = nll.new_zeros(n).index_add(0, owner[real.nonzero()[:, 0]], nll) * counts  # [n]
    else:
        head = model(prompt, use_cache=True, logits_to_keep=1)
        cache = head.past_key_values
        cache.batch_repeat_interleave(m)
        later = real[:, 1:]  # all but first tokens
        with logits_at(model, later):
            body = model(ids[:, :-1], past_key_values=cache, use_cache=True)
        first = surprisal(head.logits[:, -1][owner], ids[:, 0])  # [n·m]
        text = later.nonzero()[:, 0]  # of each token
        rest = surprisal(body.logits[0], ids[:, 1:][later]) * counts.repeat(n)[text]
        summed = (first.view(n, m) * counts).sum(dim=1).index_add(0, owner[text], rest)  # [n]
    return summed / (lengths * counts).sum(dim=1)


def surprisal(logits: Tensor, targets: Tensor) -> Tensor:
    """−log p of each target, [k], in float32; logits [k, vocabulary]."""
    return _Surprisal.apply(logits, targets)


class _Surprisal(torch.autograd.Function):
    """Cross-entropy whose gradient, p minus the target's indicator, is made beside the loss, some rows at a time.

    So the logits are gone through once, while they are in the cache, and not once for each step of the formula.
    """

    NUMBERS = 2**20  # of the rows that are worked on at a time: 4 MB

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor) -> Tensor:
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        rows = max(1, _Surprisal.NUMBERS // logits.shape[-1])
        found = []
        for start in range(0, len(logits), rows):
            log_p = F.log_softmax(logits[start : start + rows].float(), dim=-1)
            chosen = targets[start : start + rows, None]
            found.append(-log_p.gather(1, chosen)[:, 0])
            if gradient is not None:
                p = log_p.exp_()
                gradient[start : start + rows] = p.scatter_add_(1, chosen, p.new_full(chosen.shape, -1))
        ctx.save_for_backward(gradient)
        return torch.cat(found)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient)[:, None], None


def each(
    model: nn.Module, prompt: Sequence[int], examples: Sequence[Sequence[int]], autocast: bool = False
) -> Iterator[Tensor]:
    """The loss of one example after the other, scalars with their graph; made as the iterator is advanced.

    Parameters
    ----------
    model, prompt
        As in `fit`.
    examples
        Tokens of the texts.
    autocast
        As in `memsci.config.Encoding`.
    """
    device = next(model.parameters()).device
    prefix, once = torch.tensor([list(prompt)], device=device), torch.ones(1, dtype=torch.long, device=device)
    for tokens in examples:
        ids, length = torch.tensor([[list(tokens)]], device=device), torch.tensor([[len(tokens)]], device=device)
        with torch.enable_grad(), precision(device, autocast):
            found = losses(model, prefix, ids, length, once).sum()
        yield found


def rate(step: int, steps: int, encoding: Encoding) -> float:
    """Learning rate of a step (counted from 0) as a share of its peak.

    Rises linearly over `warmup` steps; then stays, or falls linearly so as to reach 0 when all steps are done.
    """
    if step < encoding.warmup:
        return (step + 1) / encoding.warmup
    return 1.0 if encoding.schedule == "constant" else (steps - step) / (steps - encoding.warmup)


def clip(parameters: Sequence[Tensor], limit: float, apart: bool = False) -> None:
    """Scale down the gradient whose norm over all numbers is above `limit`; `apart`: that of each memory, row by row.

    A tensor without a gradient (an output layer that no example reached) is passed over.
    """
    gradients = [tensor.grad if apart else tensor.grad[None] for tensor in parameters if tensor.grad is not None]
    norms = sum(gradient.flatten(1).square().sum(dim=1) for gradient in gradients).sqrt()  # [n] or [1]
    share = (limit / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(share.view(-1, *[1] * (gradient.ndim - 1)))
