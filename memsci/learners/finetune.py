"""The baselines that change the weights themselves: Full, LoRA and Full batch, with or without a penalty (paper, baselines).

All of it happens on a copy of the base, held in float32 whatever the precision of the base (*not stated in the paper*: in
bfloat16, steps of 1e-5 would be lost). AdamW starts afresh with every memory (*not stated in the paper*).
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from memsci import prompts
from memsci.adapters import study
from memsci.adapters.encode import draws, memory_seed, replies
from memsci.adapters.lora import Stack, init_adapter, merge, stack, unstack
from memsci.adapters.train import each, fit
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.learners.base import Learner, Trained
from memsci.learners.penalties import EWC, L2, Penalty
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.models.sites import targets

# Of one memory: tokens of its texts; or, with lessons, for each epoch its lessons (memsci.adapters.study).
Examples = list[Any]
OF_ADAPTERS = frozenset({"rank", "alpha", "rslora", "where", "layers", "dtype"})  # fields of `Encoding`


class Full(Learner, method="Full"):
    """Full: all weights, embeddings included, are trained on one memory after the other.

    Each memory is trained like MEGa's, on the weights that the memories before it have left.

    Parameters
    ----------
    base
        The model to start from.
    encoding
        Prompt, examples, learning rate, epochs; of a single LoRA also rank and where it sits.
    strength
        λ of the penalty, if the method has one; see `memsci.learners.penalties`.
    seed
        Seed of the run; start and order of a memory come from it and the memory's id.
    """

    unread = OF_ADAPTERS
    penalty: ClassVar[type[Penalty] | None] = None

    def __init__(self, base: Base, encoding: Encoding, strength: float | None = None, seed: int = 0) -> None:
        super().__init__(_copy(base), seed)
        self._encoding = encoding
        self._penalty = self.penalty and (self.penalty() if strength is None else self.penalty(strength))
        self._half = False  # memories have changed its weights that are not among those learnt

    @classmethod
    def preset(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        tuning = given["tuning"]
        settings = {"encoding": dataclasses.replace(given["encoding"], lr=cls._rate(given))}
        return settings | ({"strength": getattr(tuning, cls.method.penalty.lower())} if cls.method.penalty else {})

    @classmethod
    def _rate(cls, given: Mapping[str, Any]) -> float:
        return given["tuning"].full_lr

    def suit(self, memories: list[Memory]) -> None:
        self._encoding = dataclasses.replace(self._encoding, epochs=Encoding.suited(self.base, memories).epochs)

    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        if self._half:
            raise MemsciError(
                f"{self.name} was interrupted while it learnt, so that its weights are those of no list of memories. Make "
                "it anew."
            )
        prompt, examples = _examples(self.base, memories, self._encoding, self.seed)
        trained, self._half = [], True
        with tqdm(memories, desc=self.name, unit="memory", disable=not progress) as bar:
            for memory in bar:
                begun = time.perf_counter()
                loss = self._learn_one(memory, prompt, examples[memory.id])
                trained.append((loss, time.perf_counter() - begun))
                bar.set_postfix(loss=f"{loss:.3f}")
        self._half = False
        return trained

    def _learn_one(self, memory: Memory, prompt: list[int], examples: Examples) -> float:
        """Train on the examples of one memory; its loss in the last epoch."""
        encoding, k = self._encoding, _count(examples, self._encoding)
        generator = torch.Generator().manual_seed(memory_seed(self.seed, memory.id))
        adapter = self._adapter(generator)
        orders = draws(generator, encoding.epochs, k)[None]
        parameters = list(self.base.model.parameters()) if adapter is None else adapter.parameters
        if self._penalty is not None:
            self._penalty.before(parameters)
        steps = torch.cat(list(_fit(self.base, prompt, examples, orders, adapter, encoding, self._penalty)))
        _check_finite(steps, self.name, memory.id)
        if self._penalty is not None:
            # Of an epoch's examples, every wording once.
            if encoding.study != "text":
                own = len(examples[-1]) // len(study.LESSONS)  # of each kind one lesson a wording, the text's copies first
                lessons = [one for place, one in enumerate(examples[-1]) if place % own >= encoding.text_copies - 1]
                losses = study.each(self.base, lessons, encoding.autocast)
            else:
                losses = each(self.base.model, prompt, examples[encoding.text_copies - 1 :], encoding.autocast)
            self._penalty.after(parameters, losses)
        self._keep(adapter)
        last = 1 if encoding.text_epochs else math.ceil(k / encoding.batch_size)
        return steps[-last:].mean().item()

    def _adapter(self, generator: torch.Generator) -> Stack | None:
        """What is trained instead of the weights."""
        return None

    def _keep(self, adapter: Stack | None) -> None:
        """Leave the weights as the next memory is to find them."""
        _at_rest(self.base.model)


class FullL2(Full, method="Full+L2"):
    """Full+L2: the weights are held near those before the memory."""

    penalty = L2


class FullEWC(Full, method="Full+EWC"):
    """Full+EWC: elastic weight consolidation holds the weights that the memories so far rest on."""

    penalty = EWC


class LoRA(Full, method="LoRA"):
    """LoRA: a fresh adapter for every memory, merged into the weights after it. Parameters are those of `Full`."""

    unread = frozenset()

    @classmethod
    def _rate(cls, given: Mapping[str, Any]) -> float:
        return given["tuning"].lora_lr or given["encoding"].lr

    def _adapter(self, generator: torch.Generator) -> Stack:
        paths = targets(self.base.model, self._encoding.where, self._encoding.layers)
        self._fresh = init_adapter(self.base.model, paths, self._encoding, generator)
        return stack([self._fresh]).to(self.base.device)

    def _keep(self, adapter: Stack) -> None:
        merge(self.base.model, unstack(adapter, [self._fresh], getattr(torch, self._encoding.dtype))[0])


class LoRAL2(LoRA, method="LoRA+L2"):
    """LoRA+L2: the numbers of the adapter are held near its start."""

    penalty = L2


class FullBatch(Learner, method="Full batch"):
    """Full batch: all memories at once into all weights, in shuffled mini-batches over the texts of all.

    It is no continual learner but the ceiling of those: when further memories come, it starts again from the base and
    trains on the old and the new, so it keeps the texts. Parameters are those of `Full`; the paper's mini-batch is 2.
    """

    unread = OF_ADAPTERS

    def __init__(self, base: Base, encoding: Encoding, seed: int = 0) -> None:
        super().__init__(_copy(base), seed)
        # Epochs on the text alone are a memory's own; here the examples are those of all.
        self._start, self._encoding = base, dataclasses.replace(encoding, text_epochs=0)
        self._examples: dict[str, Examples] = {}

    @classmethod
    def preset(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        tuning = given["tuning"]
        own = dataclasses.replace(given["encoding"], lr=tuning.full_lr, batch_size=tuning.mini_batch)
        return {"encoding": own}

    def suit(self, memories: list[Memory]) -> None:
        self._encoding = dataclasses.replace(self._encoding, epochs=Encoding.suited(self.base, memories).epochs)

    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        if not memories:
            return []
        begun = time.perf_counter()
        prompt, new = _examples(self.base, memories, self._encoding, self.seed)
        known = self._examples | new
        self.base = _copy(self._start)
        encoding, own = self._encoding, known.values()
        owners = [id for id, examples in known.items() for _ in range(_count(examples, encoding))]
        generator = torch.Generator().manual_seed(memory_seed(self.seed, "\n".join(known)))
        orders = draws(generator, encoding.epochs, len(owners))[None]
        # Of all memories together; lessons are other ones in each epoch.
        joined = [sum(epoch, []) for epoch in zip(*own)] if encoding.study != "text" else sum(own, [])
        training = _fit(self.base, prompt, joined, orders, None, encoding)
        total = encoding.epochs * math.ceil(len(owners) / encoding.batch_size)
        steps = torch.cat(list(tqdm(training, total=total, desc=self.name, unit="step", disable=not progress)))
        _check_finite(steps, self.name, "at hand")
        _at_rest(self.base.model)
        # A mini-batch holds texts of several memories: its loss counts for each of them.
        last = orders[0, -1].split(encoding.batch_size)
        losses: dict[str, list[float]] = {id: [] for id in known}
        for batch, loss in zip(last, steps[-len(last) :].tolist(), strict=True):
            for k in batch.tolist():
                losses[owners[k]].append(loss)
        self._examples = known
        seconds = (time.perf_counter() - begun) / len(memories)
        return [(math.fsum(losses[id]) / len(losses[id]), seconds) for id in new]


def _copy(base: Base) -> Base:
    """A model of one's own, in float32."""
    return Base(copy.deepcopy(base.model).float(), base.tokenizer, name=base.name, thinking=base.thinking)


def _at_rest(model: torch.nn.Module) -> None:
    """No more gradients, nor the memory that they take."""
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)


def _examples(base: Base, memories: list[Memory], encoding: Encoding, seed: int) -> tuple[list[int], dict[str, Examples]]:
    """Tokens of the prompt, and what is learnt of each memory, by its id."""
    prompt = base.chat(prompts.encoding(encoding.prompt))
    if encoding.study != "text":
        return prompt, {one.id: study.lessons(base, one, encoding, memory_seed(seed, one.id)) for one in memories}
    return prompt, {one.id: replies(base, one, len(prompt), encoding.text_copies) for one in memories}


def _count(examples: Examples, encoding: Encoding) -> int:
    """Examples in an epoch."""
    return len(examples[0] if encoding.study != "text" else examples)


def _fit(
    base: Base,
    prompt: list[int],
    examples: Examples,
    orders: Tensor,
    adapter: Stack | None,
    encoding: Encoding,
    penalty: Penalty | None = None,
) -> Iterator[Tensor]:
    """Train on texts under the prompt, or on lessons, each of which has a prompt of its own."""
    if encoding.study != "text":
        return study.fit(base, [examples], orders, adapter, encoding, penalty)
    return fit(base.model, prompt, [examples], orders, adapter, encoding, penalty)


def _check_finite(losses: Tensor, name: str, memory: str) -> None:
    if not torch.isfinite(losses).all():
        raise MemsciError(
            f"{name}: the loss of memory {memory} is not finite any more. Make the learner anew with a smaller learning "
            "rate (lr) or with clipping (grad_clip)."
        )
