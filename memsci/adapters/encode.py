"""Encoding: memories in, one trained adapter each out, and the base left as it was."""

from __future__ import annotations

import hashlib
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from tqdm.auto import tqdm

from memsci import prompts
from memsci.adapters import study
from memsci.adapters.lora import Adapter, init_adapter, numbers, stack, unstack
from memsci.adapters.train import fit
from memsci.config import Encoding
from memsci.errors import MemsciError, check_whole
from memsci.memory import Memory, check_memories
from memsci.models.base import Base
from memsci.models.sites import targets

# Tokens of one training pass. On a processor larger passes are no faster: their logits leave its cache (measured, see
# docs/lab-notes.md).
PASS_TOKENS = {"cpu": 1024, "cuda": 8192}
# A number in training is held four times in float32: itself, its gradient and AdamW's two moments.
TRAINING_BYTES = 16


@dataclass(frozen=True, eq=False)
class Encoded:
    """What encoding one memory gave.

    Parameters
    ----------
    memory_id
        Which memory.
    adapter
        Its adapter; None if it failed.
    losses
        Mean loss of each epoch, in nats per token; those before the failure if it failed.
    seed
        Seed of the run.
    seconds
        Its share of the time of the pass in which it was trained.
    error
        Why it failed; empty if it did not.
    """

    memory_id: str
    adapter: Adapter | None
    losses: tuple[float, ...]
    seed: int
    seconds: float
    error: str = ""


class EncodingError(MemsciError):
    """Some memories could not be encoded; `encoded` holds the outcome of all, finished ones included."""

    def __init__(self, encoded: list[Encoded]):
        self.encoded = encoded
        failed = [one for one in encoded if one.error]
        super().__init__(
            f"{len(failed)} of {len(encoded)} memories could not be encoded: "
            + "; ".join(f"{one.memory_id}: {one.error}" for one in failed)
            + ". The others are finished. A smaller learning rate (lr) or clipping (grad_clip) usually helps."
        )


def encode(
    base: Base,
    memories: Sequence[Memory],
    encoding: Encoding,
    seed: int = 0,
    *,
    parallel: int | None = None,
    progress: bool = True,
    on_done: Callable[[Encoded], None] | None = None,
    on_loss: Callable[[Mapping[str, float]], None] | None = None,
) -> list[Encoded]:
    """Train one adapter per memory, many at once, each exactly as if alone (paper, Methods; appendix B).

    Memory i minimises −log p(D_i | x) over the tokens of its text and paraphrases, each answering the prompt x and
    ended by the model's end of turn; the other memories play no part. Start and order come from (seed, memory id), so
    a memory's adapter does not depend on which others are encoded with it, save for rounding.

    Parameters
    ----------
    base
        The base model; it is frozen, and the same afterwards.
    memories
        What to encode. Ids and texts must differ.
    encoding
        The settings.
    seed
        Seed of the run.
    parallel
        Most memories to train in one pass; None means as many as fill `PASS_TOKENS`. On a GPU the first pass then takes no
        more than leave half of its free memory to all else, and the next as many as fit by what was measured to be used.
    progress
        Show a progress bar.
    on_done
        Called with each memory that is finished, as soon as it is.
    on_loss
        Called after each epoch with its mean loss, as in `Encoded.losses`, for every memory of the pass, by id. An
        exception that it raises stops the encoding; memories of earlier passes are finished.

    Returns
    -------
    list of Encoded
        In the order of `memories`.

    Raises
    ------
    EncodingError
        The loss or an adapter of some memories was not finite: those alone are stopped, and the error comes when the
        others are finished.
    MemsciError
        A text is too long for the model, or the model has no linear maps that are known.
    """
    memories = check_memories(memories)
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is within
        return _encode_all(base, memories, encoding, seed, parallel, progress, on_done, on_loss)


def _encode_all(base, memories, encoding, seed, parallel, progress, on_done, on_loss) -> list[Encoded]:
    if parallel is not None:
        check_whole("parallel", parallel, 1)
    prompt = base.chat(prompts.encoding(encoding.prompt))
    examples = {memory.id: replies(base, memory, len(prompt), encoding.text_copies) for memory in memories}
    taught = {}
    if encoding.study != "text":
        taught = {one.id: study.lessons(base, one, encoding, memory_seed(seed, one.id)) for one in memories}
    paths = targets(base.model, encoding.where, encoding.layers)
    room = PASS_TOKENS.get(base.device.type, PASS_TOKENS["cpu"]) if parallel is None else math.inf
    measure = parallel is None and base.device.type == "cuda"
    if measure:
        parallel = side_by_side(numbers(base.model, paths, encoding.rank), torch.cuda.mem_get_info(base.device)[0])
    done: dict[str, Encoded] = {}
    epochs = encoding.epochs + encoding.text_epochs
    with tqdm(total=len(memories) * epochs, desc="encoding", unit="epoch", disable=not progress) as bar:
        while waiting := {i: texts for i, texts in examples.items() if i not in done}:
            ids = _next_pass(waiting, len(prompt), encoding.batch_size, parallel, room)
            if measure:
                torch.cuda.reset_peak_memory_stats(base.device)
                held = torch.cuda.memory_allocated(base.device)
            chosen = {i: examples[i] for i in ids}
            for one in _encode_pass(base, prompt, chosen, taught, paths, encoding, seed, bar, on_loss):
                done[one.memory_id] = one
                if on_done is not None and not one.error:
                    on_done(one)
            if measure:
                used = torch.cuda.max_memory_allocated(base.device) - held
                unused = torch.cuda.memory_reserved(base.device) - torch.cuda.memory_allocated(base.device)
                parallel = as_measured(used, len(ids), torch.cuda.mem_get_info(base.device)[0] + unused)
    encoded = [done[memory.id] for memory in memories]
    if any(one.error for one in encoded):
        raise EncodingError(encoded)
    return encoded


def side_by_side(size: int, free: float) -> int:
    """How many adapters of so many numbers each can be trained at once within half of the bytes that are free."""
    return max(1, int(free / 2 / (TRAINING_BYTES * size)))


def as_measured(used: float, n: int, free: float) -> int:
    """How many memories fit into the bytes that are free, if n were measured to take `used` at their most.

    A fifth stays free, for longer texts and for what the allocator cannot join.
    """
    return max(1, int(0.8 * free * n / used))


def memory_seed(seed: int, memory_id: str) -> int:
    """Seed of one memory in a run: 63 bits of SHA-256 of both, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{memory_id}".encode()).digest()[:8]) >> 1


def draws(generator: torch.Generator, epochs: int, k: int) -> torch.Tensor:
    """In which order a memory sees its k examples in each epoch, [epochs, k]."""
    return torch.stack([torch.randperm(k, generator=generator) for _ in range(epochs)])


def replies(base: Base, memory: Memory, prompt_length: int, copies: int = 1) -> list[list[int]]:
    """What is learnt of a memory: tokens of its text, so many times, and of each paraphrase, each with the end of turn."""
    texts = [base.reply(text) for text in (*[memory.text] * copies, *memory.paraphrases)]
    base.check_length(prompt_length + max(map(len, texts)), f"Memory {memory.id} with its prompt")
    return texts


def _next_pass(
    waiting: dict[str, list[list[int]]], prompt_length: int, batch_size: int, parallel: int | None, room: float
) -> list[str]:
    """Memories that train together next: the first, so that they finish in the order given, with equally many examples."""
    chosen: list[str] = []
    longest = 0
    for memory_id, texts in waiting.items():
        longest = max(longest, *map(len, texts))
        tokens = prompt_length + min(len(texts), batch_size) * longest
        full = (len(chosen) + 1) * tokens > room or len(chosen) == parallel
        if chosen and (full or len(texts) != len(waiting[chosen[0]])):
            break
        chosen.append(memory_id)
    return chosen


def _encode_pass(
    base: Base,
    prompt: list[int],
    examples: dict[str, list[list[int]]],
    taught: dict[str, list[list[study.Lesson]]],
    paths: list[str],
    encoding: Encoding,
    seed: int,
    bar: tqdm,
    on_loss: Callable[[Mapping[str, float]], None] | None,
) -> Iterator[Encoded]:
    """Train the memories of one pass; all have the same number of examples, or of lessons if there are any."""
    begun = time.perf_counter()
    k = len(taught[next(iter(examples))][0] if taught else next(iter(examples.values())))
    generators = [torch.Generator().manual_seed(memory_seed(seed, i)) for i in examples]
    fresh = [init_adapter(base.model, paths, encoding, generator) for generator in generators]
    orders = torch.stack([draws(generator, encoding.epochs, k) for generator in generators])
    stacked = stack(fresh).to(base.device)

    # After how many steps each epoch ends, and at which step the one that ends there begins.
    ends = list(accumulate([-(-k // encoding.batch_size)] * encoding.epochs + [1] * encoding.text_epochs))
    begins = dict(zip(ends, [0, *ends]))
    errors = [""] * len(examples)
    history = []  # per step, [n]
    if taught:
        steps = study.fit(base, [taught[i] for i in examples], orders, stacked, encoding)
    else:
        steps = fit(base.model, prompt, list(examples.values()), orders, stacked, encoding)
    for step, loss in enumerate(steps):
        history.append(loss.cpu())
        for row in (~torch.isfinite(history[-1])).nonzero().flatten().tolist():
            errors[row] = errors[row] or f"the loss became {history[-1][row]} in epoch {bisect_right(ends, step) + 1}"
        if step + 1 in ends:
            bar.update(len(examples))
            bar.set_postfix(loss=f"{history[-1].nanmean():.3f}")
            if on_loss is not None:
                epoch = torch.stack(history[begins[step + 1] :])
                on_loss({memory_id: float(epoch[:, row].mean()) for row, memory_id in enumerate(examples)})
        if all(errors):
            break

    seconds = (time.perf_counter() - begun) / len(examples)
    adapters = unstack(stacked, fresh, getattr(torch, encoding.dtype))
    epochs = [torch.stack(history[start:end]) for start, end in pairwise([0, *ends]) if start < len(history)]
    for row, (memory_id, adapter) in enumerate(zip(examples, adapters, strict=True)):
        if not errors[row] and not all(t.isfinite().all() for pair in adapter.deltas.values() for t in pair):
            errors[row] = "its adapter is not finite after the last step"
        curve = [float(epoch[:, row].mean()) for epoch in epochs]
        if errors[row]:
            curve = [loss for loss in curve if torch.isfinite(torch.tensor(loss))]
        yield Encoded(memory_id, None if errors[row] else adapter, tuple(curve), seed, seconds, errors[row])
