"""The adapter of one memory, γ B A on a few linear maps: how it starts, how several are stacked, how one is merged.

Shapes: n memories, r rank, in/out widths of a linear map. A is [r, in], B is [out, r], for every kind of linear map
(also GPT-2's `Conv1D`, whose own weight is [in, out]), and their file form is PEFT's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.models.sites import is_transposed


def _widths(module: nn.Module) -> tuple[int, int]:
    rows, columns = module.weight.shape
    return (rows, columns) if is_transposed(module) else (columns, rows)


@dataclass(frozen=True, eq=False)
class Adapter:
    """One memory's change of the weights: W + γ B A on each of its linear maps (paper, Methods).

    Parameters
    ----------
    deltas
        Path of each linear map to its A [r, in] and B [out, r]; r may be smaller on some maps than on others.
    rank
        The largest r; the scale is the same on every map, whatever its own r.
    alpha
        α of the scale γ.
    rslora
        γ = α/√r (the paper's, with α = r) instead of α/r.
    transposed
        The linear maps are GPT-2's `Conv1D`; only PEFT's file form needs to know.
    """

    deltas: Mapping[str, tuple[Tensor, Tensor]]
    rank: int
    alpha: float
    rslora: bool = True
    transposed: bool = False

    @property
    def scale(self) -> float:
        """γ: α/√r if `rslora` else α/r."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def nbytes(self) -> int:
        """Bytes its numbers take."""
        return sum(tensor.nbytes for pair in self.deltas.values() for tensor in pair)


def numbers(model: nn.Module, paths: Sequence[str], rank: int) -> int:
    """How many numbers an adapter of this rank has on the linear maps at these paths: r (in + out) for each."""
    return rank * sum(sum(model.get_submodule(path).weight.shape) for path in paths)


def init_adapter(model: nn.Module, paths: Sequence[str], encoding: Encoding, generator: torch.Generator) -> Adapter:
    """A fresh adapter as PEFT starts it: A uniform in ±1/√in (Kaiming, a = √5), B zero, both float32 on the CPU.

    B A is zero, so a memory starts from the base exactly. The start is *not stated in the paper*.
    """
    deltas = {}
    for path in paths:
        width_in, width_out = _widths(model.get_submodule(path))
        A = (torch.rand(encoding.rank, width_in, generator=generator, dtype=torch.float32) * 2 - 1) / math.sqrt(width_in)
        deltas[path] = (A, torch.zeros(width_out, encoding.rank, dtype=torch.float32))
    transposed = all(is_transposed(model.get_submodule(path)) for path in paths)
    alpha = encoding.rank if encoding.alpha is None else encoding.alpha
    return Adapter(deltas, encoding.rank, alpha, encoding.rslora, transposed)


@dataclass(frozen=True, eq=False)
class Stack:
    """Adapters of n memories laid together, one pair of tensors per linear map.

    Parameters
    ----------
    A
        Path to [n, r, in].
    B
        Path to [n, r, out]: transposed, so that all memories together are one [n·r, out] matrix without a copy.
    scales
        γ of each memory, [n].
    """

    A: Mapping[str, Tensor]
    B: Mapping[str, Tensor]
    scales: Tensor

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def parameters(self) -> list[Tensor]:
        """All tensors that training changes."""
        return [*self.A.values(), *self.B.values()]

    @property
    def nbytes(self) -> int:
        """Size of all of these, in bytes."""
        return sum(tensor.nbytes for tensor in self.parameters)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Stack:
        """The same stack on another device or in another precision (scales stay float32)."""
        return Stack(
            {path: A.to(device, dtype) for path, A in self.A.items()},
            {path: B.to(device, dtype) for path, B in self.B.items()},
            self.scales.to(device),
        )


def stack(adapters: Sequence[Adapter]) -> Stack:
    """Lay adapters together in the given order.

    Smaller ranks, and linear maps that an adapter lacks, are filled with zeros, which add nothing. Adapters kept in
    float8 become bfloat16, which holds all its numbers: torch neither mixes nor multiplies float8.
    """
    paths = list(dict.fromkeys(path for adapter in adapters for path in adapter.deltas))
    stacked_A, stacked_B = {}, {}
    for path in paths:
        pairs = [_workable(adapter.deltas.get(path)) for adapter in adapters]
        widths = {(A.shape[1], B.shape[0]) for A, B in filter(None, pairs)}
        if len(widths) > 1:
            raise MemsciError(
                f"The adapters do not fit the same base: {path} has (in, out) widths {sorted(widths)}. "
                f"Stack only memories encoded on one base."
            )
        width_in, width_out = widths.pop()
        rank = max(A.shape[0] for A, _ in filter(None, pairs))
        pairs = [pair or (torch.zeros(0, width_in), torch.zeros(width_out, 0)) for pair in pairs]
        stacked_A[path] = torch.stack([F.pad(A, (0, 0, 0, rank - A.shape[0])) for A, _ in pairs])
        stacked_B[path] = torch.stack([F.pad(B.T, (0, 0, 0, rank - B.shape[1])) for _, B in pairs])
    return Stack(stacked_A, stacked_B, torch.tensor([adapter.scale for adapter in adapters]))


def _workable(pair: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
    return pair and tuple(half.bfloat16() if half.itemsize == 1 else half for half in pair)


def unstack(stacked: Stack, like: Sequence[Adapter], dtype: torch.dtype = torch.float32) -> list[Adapter]:
    """The adapters of a stack, each with the settings and linear maps of its fellow in `like`, as copies on the CPU."""
    return [
        dataclasses.replace(
            one,
            deltas={
                path: tuple(
                    half.detach().to("cpu", dtype).clone(memory_format=torch.contiguous_format)
                    for half in (stacked.A[path][i, : len(A)], stacked.B[path][i, : len(A)].T)
                )
                for path, (A, _) in one.deltas.items()
            },
        )
        for i, one in enumerate(like)
    ]


@torch.no_grad()
def merge(model: nn.Module, adapter: Adapter) -> None:
    """Add an adapter to the weights for good: W ← W + γ B A in each of its linear maps, as PEFT merges.

    The product is taken in float32, whatever the precision of the weights.
    """
    for path, (A, B) in adapter.deltas.items():
        module = model.get_submodule(path)
        update = adapter.scale * B.float() @ A.float()  # [out, in]
        module.weight += (update.T if is_transposed(module) else update).to(module.weight)
