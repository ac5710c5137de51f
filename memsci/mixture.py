"""Adapters in the forward pass: W x + Σ_i g_i γ_i B_i A_i x, and the base given back untouched.

This is the only module that alters a forward. Nothing of the model is replaced: forward hooks add to the output of its
linear maps and are gone when the `with` block ends, whatever ended it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from memsci.errors import MemsciError
from memsci.lora import Stack
from memsci.models import turn

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


@contextmanager
def mixture(model: nn.Module, stack: Stack, weights: Tensor) -> Iterator[None]:
    """Inside the block, each row of a batch runs with its own mixture of memories.

    y = W x + Σ_i g_i γ_i B_i A_i x (paper, Methods): one g per row, the same for all layers and tokens.
    A memory whose gate is exactly 0 in every row is left out, so a one-hot gate is that memory alone, and all-zero
    gates are the base bit for bit. Sums run in the precision of the activations.

    Parameters
    ----------
    model
        The base model.
    stack
        Adapters of n memories.
    weights
        g, [b, n]: one row per row of the batch, or [1, n] for every row alike.

    Raises
    ------
    MemsciError
        The shape of the gates is not [b, n], a gate is not finite, the model is inside another block already, it lacks
        a linear map of the adapters, or a batch has neither b rows nor the gates one row.
    """
    if weights.ndim != 2 or weights.shape[1] != len(stack):
        raise MemsciError(
            f"The gates have shape {list(weights.shape)}; [b, {len(stack)}] is needed, a row per query and a column "
            f"per memory."
        )
    if not torch.isfinite(weights).all():
        raise MemsciError("A gate is not a finite number. Look at the keys and queries it was computed from.")
    open_ = weights.ne(0).any(dim=0)
    paths = stack.A if open_.any() else ()
    # Taking all memories is the usual case and needs no copy.
    chosen = (lambda tensor: tensor) if open_.all() else (lambda tensor: tensor[open_.to(tensor.device)])
    gains = weights[:, open_].to(stack.scales) * stack.scales[open_.to(stack.scales.device)]  # [b, n]
    with _hooked(model, {path: _mixed(path, chosen(stack.A[path]), chosen(stack.B[path]), gains) for path in paths}):
        yield


def _mixed(path: str, A: Tensor, B: Tensor, gains: Tensor) -> Hook:
    """Hook that adds Σ_i gains_i B_i A_i x; A [n, r, in], B [n, r, out], gains [b, n]."""
    gains = gains.repeat_interleave(A.shape[1], dim=1)[:, None]  # [b, 1, n·r]
    A, B = A.flatten(0, 1), B.flatten(0, 1)  # [n·r, in], [n·r, out]

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nonlocal A, B, gains
        x = args[0]  # [b, t, in]
        if len(gains) not in (1, len(x)):
            raise MemsciError(
                f"The batch has {len(x)} rows and the gates have {len(gains)} at {path}. Give one row of gates per row "
                f"of the batch, or a single row for all."
            )
        A, B, gains = A.to(x), B.to(x), gains.to(x)
        return output + (x @ A.T * gains) @ B

    return hook


@contextmanager
def alone(model: nn.Module, stack: Stack) -> Iterator[None]:
    """Inside the block, the rows of a batch belong to the memories in turn, each running with its adapter alone.

    With n memories and m rows each, row k runs with adapter k // m, at gate 1. Gradients reach the tensors of the
    stack, and those of one memory come from its own rows only: this is how memories are trained together, yet apart.

    Parameters
    ----------
    model
        The base model.
    stack
        Adapters of n memories, of any precision; they are cast to that of the activations.

    Raises
    ------
    MemsciError
        The rows of a batch are not a multiple of n, the model is inside another block, or it lacks a linear map.
    """
    with _hooked(model, {path: _grouped(path, stack.A[path], stack.B[path], stack.scales) for path in stack.A}):
        yield


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
    with turn(model), ExitStack() as handles:
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
