"""What keeps the weights near where they were while the next memory is learnt (paper, baselines)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from memsci.errors import MemsciError


class Penalty(ABC):
    """A scalar that is added to the loss at every step, a function of the parameters that changes from memory to memory.

    Parameters
    ----------
    strength
        λ, from 0 up.
    """

    def __init__(self, strength: float) -> None:
        if not (strength >= 0 and math.isfinite(strength)):
            raise MemsciError(f"strength must be a finite number from 0 up; {strength!r} was given.")
        self.strength = float(strength)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(strength={self.strength:g})"

    def before(self, parameters: Sequence[Tensor]) -> None:  # noqa: B027 (nothing is kept unless a penalty says so)
        """Note the parameters as they are before the next memory is learnt."""

    @abstractmethod
    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        """The scalar that is added to the loss, in float32."""

    def after(self, parameters: Sequence[Tensor], losses: Iterator[Tensor]) -> None:  # noqa: B027
        """Note the parameters as they are after the memory, and the loss of each of its examples, made when asked for."""


class L2(Penalty):
    """λ ‖θ − θ'‖², with θ' the parameters before the current memory (paper, baselines: λ 0.1).

    For a single LoRA θ are the numbers of A and B themselves. As each memory starts with a fresh pair that is merged
    after it, θ' is that start: A at random, B zero, which is the merged model as the memory finds it. That the distance
    is taken from the start rather than from zero is *not stated in the paper*, nor whether there is a factor ½: there is
    none here.
    """

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__(strength)
        self._start: list[Tensor] = []

    def before(self, parameters: Sequence[Tensor]) -> None:
        self._start = _copies(parameters)

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        return self.strength * _weighted(parameters, self._start)


class EWC(Penalty):
    """Elastic weight consolidation: λ/2 Σ_j F_j (θ_j − θ*_j)² (paper, baselines: λ 1; Kirkpatrick et al., 2017).

    θ* are the parameters after the previous memory, and F is the diagonal Fisher information, added up over all memories
    so far; before there are any, the penalty is 0. For a memory with e examples (its text and paraphrases, each once)

        F_j = 1/e Σ_x (∂ℓ(x)/∂θ_j)²

    with ℓ the loss that the memory was trained on, of one example by itself, taken at the weights after the memory.

    *Not stated in the paper*: the factor ½ and the sum over memories with one anchor (as in online EWC), and that ℓ is
    the mean over the tokens of an example rather than their sum, which makes F smaller by the square of their number.
    """

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        self.fisher: list[Tensor] = []
        self._anchor: list[Tensor] = []

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        if not self.fisher:
            return torch.zeros((), device=parameters[0].device)
        return self.strength / 2 * _weighted(parameters, self._anchor, self.fisher)

    def after(self, parameters: Sequence[Tensor], losses: Iterator[Tensor]) -> None:
        fisher, count = [torch.zeros_like(tensor) for tensor in parameters], 0
        for loss in losses:
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            for total, gradient in zip(fisher, gradients, strict=True):
                total += gradient.square()
            count += 1
        for total in fisher:
            total /= count
        self.fisher = [old.add_(new) for old, new in zip(self.fisher, fisher, strict=True)] if self.fisher else fisher
        self._anchor = _copies(parameters)


def _copies(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in parameters]


def _weighted(parameters: Sequence[Tensor], origin: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
    """Σ_j w_j (θ_j − θ'_j)²; weights of 1 if none are given."""
    total = torch.zeros((), device=parameters[0].device)
    for k, (tensor, start) in enumerate(zip(parameters, origin, strict=True)):
        moved = (tensor - start).square()
        total = total + (moved if weights is None else weights[k] * moved).sum()
    return total
