"""Adapters in the forward pass: W x + Σ_i g_i γ_i B_i A_i x, and the base given back untouched.

This is the only module that alters a forward: hooks add to the output of linear maps, or other weights stand in the place of
theirs, until the `with` block ends, whatever ended it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from memsci.adapters.lora import Stack
from memsci.errors import MemsciError
from memsci.models.exclusive import exclusive
from memsci.models.sites import is_transposed

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]

# What costs as much as how many multiplications of a large matrix product; docs/performance.md has the measurements.
ROW_COST = 6  # a multiplication in one of many small products
TOKEN_COST = 20  # a multiplication in a pass of one token, which waits for memory
COPY_COST = 32  # a number of a weight matrix, read and written
HOOK_COST = 500_000  # two products of their own beside that of the weights
ROW_BYTES = 2**30  # most that copies of adapters for each row may take


@contextmanager
def mixture(model: nn.Module, stack: Stack, weights: Tensor, passes: int = 0) -> Iterator[None]:
    """Inside the block, each row of a batch runs with its own mixture of memories.

    y = W x + Σ_i g_i γ_i B_i A_i x (paper, Methods): one g per row, the same for all layers and tokens.
    A memory whose gate is exactly 0 in every row is left out, so a one-hot gate is that memory alone, and all-zero
    gates are the base bit for bit. Sums run in the precision of the activations.

    How it is computed follows from the gates, and changes nothing but rounding. Rows that open few of the memories each
    run with copies of their own adapters, O(k) for k open ones, as long as the copies stay below `ROW_BYTES`; other rows
    run through all memories that are open in any of them, O(n).
    Where all rows share one gate and the block is to last, its update is added to a copy of the weights.

    Parameters
    ----------
    model
        The base model.
    stack
        Adapters of n memories.
    weights
        g, [b, n]: one row per row of the batch, or [1, n] for every row alike.
    passes
        About how many times the model will run inside the block: a reply of t tokens takes t passes. From it, see
        `folding_pays`, follows whether folding a shared gate into the weights pays; 0 never folds.
    """
    if weights.ndim != 2 or weights.shape[1] != len(stack):
        raise MemsciError(
            f"The gates have shape {list(weights.shape)}; [b, {len(stack)}] is needed, a row per query and a column "
            f"per memory."
        )
    if not torch.isfinite(weights).all():
        raise MemsciError("A gate is not a finite number. Look at the keys and queries it was computed from.")
    rows = len(weights)
    if rows > 1 and (weights == weights[:1]).all():
        weights = weights[:1]
    open_ = weights.ne(0)
    most, any_ = int(open_.sum(dim=1).max()) if open_.numel() else 0, open_.any(dim=0)
    if not most:
        block = _hooked(model, {})
    elif len(weights) > 1 and ROW_COST * most < int(any_.sum()) and rows * most * stack.nbytes / len(stack) <= ROW_BYTES:
        # Each row's open memories first; what fills up the shorter rows has gate 0.
        which = open_.byte().argsort(dim=1, descending=True, stable=True)[:, :most].to(stack.scales.device)  # [b, k]
        gains = weights.to(stack.scales).gather(1, which) * stack.scales[which]  # [b, k]
        block = _hooked(model, {path: _by_row(path, stack.A[path], stack.B[path], which, gains) for path in stack.A})
    else:
        # Taking all memories is the usual case and needs no copy.
        chosen = (lambda tensor: tensor) if any_.all() else (lambda tensor: tensor[any_.to(tensor.device)])
        pairs = {path: (chosen(stack.A[path]).flatten(0, 1), chosen(stack.B[path]).flatten(0, 1)) for path in stack.A}
        gains = chosen(weights.to(stack.scales).T).T * chosen(stack.scales)  # [b, n]
        if len(weights) == 1 and _exact(model) and folding_pays(pairs, passes):
            block = _folded(model, pairs, gains[0], rows)
        else:
            block = _hooked(model, {path: _shared(path, *pair, gains, rows) for path, pair in pairs.items()})
    with block:
        yield


def _shared(path: str, A: Tensor, B: Tensor, gains: Tensor, rows: int) -> Hook:
    """Hook that adds Σ_i gains_i B_i A_i x for all memories at once; A [n·r, in], B [n·r, out], gains [b, n].

    `rows` is the number of gates that were given; b is 1 if they are all alike.
    """
    gains = gains.repeat_interleave(len(A) // gains.shape[1], dim=1)[:, None]  # [b, 1, n·r]

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nonlocal A, B, gains
        x = args[0]  # [b, t, in]
        _check_rows(path, len(x), rows)
        A, B, gains = A.to(x), B.to(x), gains.to(x)
        return output + (x @ A.T * gains) @ B

    return hook


def _by_row(path: str, A: Tensor, B: Tensor, which: Tensor, gains: Tensor) -> Hook:
    """Hook that adds to each row its own memories alone; A [n, r, in], B [n, r, out], which and gains [b, k]."""
    gains = gains.repeat_interleave(A.shape[1], dim=1)[:, None]  # [b, 1, k·r]
    A, B = A[which].flatten(1, 2), B[which].flatten(1, 2)  # [b, k·r, in], [b, k·r, out]

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nonlocal A, B, gains
        x = args[0]  # [b, t, in]
        _check_rows(path, len(x), len(gains))
        A, B, gains = A.to(x), B.to(x), gains.to(x)
        return torch.baddbmm(output, torch.bmm(x, A.mT) * gains, B)

    return hook


def _check_rows(path: str, rows: int, gates: int) -> None:
    if gates not in (1, rows):
        raise MemsciError(
            f"The batch has {rows} rows and the gates have {gates} at {path}. Give one row of gates per row of the "
            f"batch, or a single row for all."
        )


def folding_pays(pairs: Mapping[str, tuple[Tensor, Tensor]], passes: int) -> bool:
    """Whether adding Σ_i gains_i B_i A_i to a copy of the weights costs less than carrying it beside them.

    Both are counted in multiplications of a large product: R·in·out and `COPY_COST` for each number copied, against, per
    pass of one token, `TOKEN_COST`·R·(in + out) and `HOOK_COST` for the two more products. Passes of more tokens make
    folding pay all the more.

    Parameters
    ----------
    pairs
        A [R, in] and B [R, out] of each linear map, all memories laid together.
    passes
        Times that the model will run.
    """
    sizes = [(A.shape[0], A.shape[1], B.shape[1]) for A, B in pairs.values()]
    fold = sum((rank + COPY_COST) * wide * out for rank, wide, out in sizes)
    carry = sum(TOKEN_COST * rank * (wide + out) + HOOK_COST for rank, wide, out in sizes)
    return passes * carry > fold


def _exact(model: nn.Module) -> bool:
    """Whether the weights are precise enough to take in an update: in half precision most of it would be rounded away."""
    return next(model.parameters()).dtype in (torch.float32, torch.float64)


@contextmanager
def _folded(model: nn.Module, pairs: Mapping[str, tuple[Tensor, Tensor]], gains: Tensor, rows: int) -> Iterator[None]:
    """The model with W + Σ_i gains_i B_i A_i in the place of each W, whose own numbers are put back untouched."""
    with _hooked(model, {path: _checked(path, rows) for path in pairs}):  # locks the model, lets no other block in
        own: dict[nn.Module, Tensor] = {}
        try:
            for path, (A, B) in pairs.items():
                module = model.get_submodule(path)
                weight = module.weight.data
                A, B = A.to(weight), B.to(weight)
                B = B * gains.to(weight).repeat_interleave(len(A) // len(gains))[:, None]
                folded = torch.addmm(weight, A.T, B) if is_transposed(module) else torch.addmm(weight, B.T, A)
                own[module], module.weight.data = weight, folded
            yield
        finally:
            for module, weight in own.items():
                module.weight.data = weight


def _checked(path: str, rows: int) -> Hook:
    """Hook that changes nothing."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        _check_rows(path, len(args[0]), rows)

    return hook


@contextmanager
def alone(model: nn.Module, stack: Stack, weights: Mapping[nn.Module, nn.Parameter] | None = None) -> Iterator[None]:
    """Inside the block, the rows of a batch belong to the memories in turn, each running with its adapter alone.

    With n memories and m rows each, row k runs with adapter k // m, at gate 1. Gradients reach the tensors of the
    stack, and those of one memory come from its own rows only: this is how memories are trained together, yet apart.

    Parameters
    ----------
    model
        The base model.
    stack
        Adapters of n memories, of any precision; they are cast to that of the activations.
    weights
        What stands in the place of the weights of some maps meanwhile, see `in_bfloat16`.
    """
    hooks = {path: _grouped(path, stack.A[path], stack.B[path], stack.scales) for path in stack.A}
    weights = weights or {}
    with _hooked(model, hooks):  # locks the model
        own = {module: module.weight for module in weights}
        try:
            for module, weight in weights.items():
                module.weight = weight
            yield
        finally:
            for module, weight in own.items():
                module.weight = weight


def in_bfloat16(model: nn.Module) -> dict[nn.Module, nn.Parameter]:
    """Copies of the frozen float32 weights of all linear maps, for steps under autocast, by map.

    Autocast makes the same copies of weights without gradients anew in every pass: a third of the time of one of a hundred
    tokens.
    """
    return {
        module: nn.Parameter(module.weight.to(torch.bfloat16), requires_grad=False)
        for module in model.modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and type(module.weight) is nn.Parameter
        and module.weight.dtype == torch.float32
        and not module.weight.requires_grad
    }


def _grouped(path: str, A: Tensor, B: Tensor, scales: Tensor) -> Hook:
    """Hook that adds γ_i B_i A_i x to the rows of memory i; A [n, r, in], B [n, r, out], scales [n]."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if len(args[0]) % len(A):
            raise MemsciError(f"{path} was given {len(args[0])} rows; {len(A)} memories cannot share them equally.")
        x = args[0].reshape(len(A), -1, args[0].shape[-1])  # [n, m·t, in]
        low = torch.bmm(x, A.to(x).mT) * scales.to(x)[:, None, None]  # [n, m·t, r]
        return torch.baddbmm(output.reshape(len(A), -1, output.shape[-1]), low, B.to(x)).view_as(output)

    return hook


@contextmanager
def logits_at(model: nn.Module, positions: Tensor) -> Iterator[None]:
    """Inside the block, the model gives logits only where `positions` [b, t] is true: [1, number of them, vocabulary].

    The output layer is most of the work of a small model, and padding need not pass it.
    """

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
        return args[0][positions][None]

    with model.get_output_embeddings().register_forward_pre_hook(hook):
        yield


@contextmanager
def _hooked(model: nn.Module, hooks: dict[str, Hook]) -> Iterator[None]:
    with exclusive(model), ExitStack() as handles:
        for path, hook in hooks.items():
            try:
                module = model.get_submodule(path)
            except AttributeError:
                raise MemsciError(
                    f"{type(model).__name__} has no {path}: the memories belong to another base. Load the base they "
                    f"were encoded on, or encode them again."
                ) from None
            if any(getattr(other, "of_memsci", False) for other in module._forward_hooks.values()):
                raise MemsciError(
                    f"{path} already runs with memories: the model is inside another block. Leave that one first, or "
                    f"put all memories in one mixture."
                )
            hook.of_memsci = True
            handles.enter_context(module.register_forward_hook(hook))
        yield
