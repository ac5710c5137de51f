"""Encoding: memsci, many memories at once and one by one, against a PEFT loop and PEFT with the Trainer of transformers.

``python -m benchmarks.encode``. All sides take the same steps: the same prompts, tokens, mini-batches in the same order,
loss on the tokens of the reply alone, and AdamW. With ``--base smollm2`` it is that model, the everyday memories and the
lessons that suit it.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
from collections.abc import Callable, Sequence

import pandas as pd
import peft
import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainingArguments

import memsci
from benchmarks.common import ROUNDS, compare, keep, peak
from memsci import prompts
from memsci.adapters import study
from memsci.adapters.encode import draws, encode, memory_seed, replies
from memsci.adapters.lora import numbers
from memsci.adapters.train import precision
from memsci.config import Encoding
from memsci.memory import Memory
from memsci.models.base import Base, fast_bfloat16
from memsci.models.sites import targets

OURS = "memsci, in parallel"
Steps = list[dict[str, torch.Tensor]]  # the mini-batches of one memory, as a model of transformers takes them


def examples(base: Base, memory: Memory, encoding: Encoding) -> list[list[study.Lesson]]:
    """The mini-batches of a memory as memsci takes them: prompt and reply of each example."""
    if encoding.study == "text":
        prompt = base.chat(prompts.encoding(encoding.prompt))
        texts = [(prompt, reply) for reply in replies(base, memory, len(prompt), encoding.text_copies)]
        taught = [texts] * encoding.epochs
    else:
        taught = study.lessons(base, memory, encoding, memory_seed(0, memory.id))
    orders = draws(torch.Generator().manual_seed(memory_seed(0, memory.id)), encoding.epochs, len(taught[0]))
    batches = [
        [epoch[i] for i in batch.tolist()]
        for epoch, order in zip(taught, orders)
        for batch in order.split(encoding.batch_size)
    ]
    return batches + [[taught[0][0]]] * encoding.text_epochs


def prepared(base: Base, memory: Memory, encoding: Encoding) -> Steps:
    """The mini-batches of a memory, padded and labelled as one does for PEFT."""
    steps = []
    for batch in examples(base, memory, encoding):
        ids, mask = base.pad([asked + told for asked, told in batch])
        labels = ids.masked_fill(mask == 0, -100)
        for row, (asked, _) in zip(labels, batch):
            row[: len(asked)] = -100
        steps.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return steps


def adapted(model: nn.Module, encoding: Encoding) -> peft.PeftModel:
    """The model with one fresh adapter of PEFT; `unload` gives the model back."""
    config = peft.LoraConfig(
        r=encoding.rank,
        lora_alpha=encoding.rank if encoding.alpha is None else encoding.alpha,
        use_rslora=encoding.rslora,
        target_modules=targets(model, encoding.where, encoding.layers),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, config)


def peft_loop(model: nn.Module, memories: Sequence[Steps], encoding: Encoding) -> list[float]:
    """One adapter after the other, as the documentation of PEFT shows it; the last loss of each memory."""
    last, device = [], next(model.parameters()).device
    for steps in memories:
        wrapped = adapted(model, encoding).train()
        learnt = [p for p in wrapped.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(learnt, lr=encoding.lr, weight_decay=encoding.weight_decay)
        for batch in steps:
            with precision(device, encoding.autocast):
                loss = wrapped(**batch).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        last.append(loss.item())
        wrapped.unload()
    return last


def peft_trainer(model: nn.Module, memories: Sequence[Steps], encoding: Encoding) -> None:
    """The same by the Trainer, without logging, saving, evaluation and workers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=1,  # an item is a mini-batch
            train_sampling_strategy="sequential",
            learning_rate=encoding.lr,
            weight_decay=encoding.weight_decay,
            lr_scheduler_type="constant",
            max_grad_norm=0,
            optim="adamw_torch",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            use_cpu=next(model.parameters()).device.type == "cpu",
        )
        for steps in memories:
            wrapped = adapted(model, encoding)
            trainer = Trainer(wrapped, settings, train_dataset=steps, data_collator=lambda rows: rows[0])
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            wrapped.unload()


def flop(model: nn.Module, adapter: int, prompt: int, length: int) -> float:
    """FLOP of a step on one example of so many tokens after a prompt, for an adapter of so many numbers.

    Forward 2 per weight and token; backward 2 through a frozen weight, which gets no gradient, and 4 through a number of
    the adapter. The output layer is counted for the tokens of the reply alone; attention proper, padding and all that
    is no matrix product are not counted, and each example has its prompt before it.
    """
    head = model.get_output_embeddings()
    body = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)
    return (4 * body + 6 * adapter) * (prompt + length - 1) + 4 * head.weight.numel() * length


def work(base: Base, memories: Sequence[Memory], encoding: Encoding) -> float:
    """FLOP that encoding one of the memories takes: a mean."""
    adapter = numbers(base.model, targets(base.model, encoding.where, encoding.layers), encoding.rank)
    each = [one for memory in memories for batch in examples(base, memory, encoding) for one in batch]
    return sum(flop(base.model, adapter, len(asked), len(told)) for asked, told in each) / len(memories)


def table(
    base: Base,
    memories: Sequence[Memory],
    full: Encoding,
    encoding: Encoding,
    sample: int,
    repeats: int,
    trainer: bool = True,
) -> pd.DataFrame:
    """Seconds per memory, ratio to memsci in parallel, FLOP and share of the measured peak, a row per side.

    Sides that take fewer memories, of other lengths, are scaled by FLOP.

    Parameters
    ----------
    full, encoding
        The settings, and the same with fewer epochs, from which seconds are scaled to the whole.
    sample
        Memories that every side but the first takes.
    """
    model = copy.deepcopy(base.model)  # PEFT puts its modules into the model that it is given
    few, halved = memories[:sample], dataclasses.replace(encoding, autocast=True)
    steps = [prepared(base, memory, encoding) for memory in few]
    sides: dict[str, tuple[int, Callable[[], object]]] = {
        OURS: (len(memories), lambda: encode(base, memories, encoding, progress=False)),
        "memsci, in parallel, bfloat16": (len(memories), lambda: encode(base, memories, halved, progress=False)),
        "memsci, one by one": (len(few), lambda: encode(base, few, encoding, parallel=1, progress=False)),
        "PEFT loop": (len(few), lambda: peft_loop(model, steps, encoding)),
        "PEFT loop, bfloat16": (len(few), lambda: peft_loop(model, steps, halved)),
    }
    if trainer:
        sides["PEFT with the Trainer"] = (len(few), lambda: peft_trainer(model, steps, encoding))
    timed = compare({side: run for side, (_, run) in sides.items()}, OURS, repeats)
    counts = timed["side"].map({side: count for side, (count, _) in sides.items()})
    done = counts.map({count: count * work(base, memories[:count], encoding) for count in set(counts)})
    for column in ("ratio", "low", "high"):
        timed[column] *= done[0] / done
    whole, reached = work(base, memories, full), done / timed["seconds"]
    timed["seconds"] = whole / reached
    timed.insert(1, "memories", counts)
    timed["GFLOP"] = whole / 1e9
    timed["% of peak"] = 100 * reached / peak(base.dtype, base.device)
    return timed.rename(columns={"seconds": "seconds per memory"})


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=50, help="memories that memsci encodes in parallel")
    parser.add_argument("--sample", type=int, default=5, help="memories of each other side")
    parser.add_argument("--epochs", type=int, help="at most so many epochs, scaled to the whole")
    parser.add_argument("--repeats", type=int, default=ROUNDS)
    parser.add_argument("--preset", nargs="+", choices=("paper", "embedded"), default=("paper", "embedded"))
    parser.add_argument("--base", help="another model than the shipped one, with the settings that suit it")
    return parser


def suited(options: argparse.Namespace) -> None:
    """A real model, the everyday memories in their one wording, and the lessons that suit both."""
    base, memories = memsci.load(options.base), memsci.data.everyday().memories[: options.memories]
    full = Encoding.suited(base, memories)
    encoding = dataclasses.replace(full, epochs=min(full.epochs, options.epochs or full.epochs))
    keep(
        f"encode_{base.name}",
        table(base, memories, full, encoding, options.sample, options.repeats, trainer=False),
        f"Encoding: memsci and PEFT, {base.name}, the settings that suit it",
        memories=f"{len(memories)} everyday memories, one wording each",
        scaled=f"{encoding.epochs} of {full.epochs} epochs of two lessons, scaled to the whole by FLOP, as are the sides "
        "that take fewer memories; seconds are those of a memory of mean length",
        bfloat16="in hardware" if fast_bfloat16(base.device) else "not in hardware: float32 is taken instead",
        peak="float32 product of 2048 x 2048 matrices, measured in the same run",
    )


def main(options: argparse.Namespace) -> None:
    if options.base is not None:
        return suited(options)
    base = memsci.load()
    memories = memsci.data.builtin("episodic", 10).memories[: options.memories]
    for preset in options.preset:
        full = getattr(Encoding, preset)()
        encoding = dataclasses.replace(full, epochs=min(full.epochs, options.epochs or full.epochs))
        keep(
            f"encode_{preset}",
            table(base, memories, full, encoding, options.sample, options.repeats),
            f"Encoding: memsci and PEFT, the shipped model, settings {preset!r}",
            memories="builtin episodic partition 10",
            scaled=f"{encoding.epochs} of {full.epochs} epochs (and all {full.text_epochs} on the text alone), scaled to "
            "the whole by FLOP, as are the sides that take fewer memories; seconds are those of a memory of mean length",
            peak="float32 product of 2048 x 2048 matrices, measured in the same run",
        )


if __name__ == "__main__":
    main(parser().parse_args())
