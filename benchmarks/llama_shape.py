"""Encoding and answering at the shape of a Llama with random weights, against PEFT.

``python -m benchmarks.llama_shape --shape 8b`` on a GPU, ``--shape 100m`` on a processor. Speed does not depend on what the
weights are; so the text is random tokens of the lengths of the paper's memories too.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Callable

import pandas as pd
import torch
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

from benchmarks.common import ROUNDS, compare, keep, peak
from benchmarks.encode import adapted, flop, peft_loop
from memsci.adapters.encode import TRAINING_BYTES, draws, side_by_side
from memsci.adapters.lora import init_adapter, numbers, stack
from memsci.adapters.mixture import mixture
from memsci.adapters.train import fit
from memsci.config import DTYPES, Encoding
from memsci.models.sites import targets
from memsci.runs.plan import KNOWN

SHAPES = {
    "8b": AutoConfig.for_model(**KNOWN["meta-llama/Llama-3.1-8B-Instruct"]),
    "100m": LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        vocab_size=16384,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    ),
}
PROMPT, STORY, EXAMPLES, EPOCHS = 25, 60, 10, 10  # tokens, tokens, a text and its paraphrases, as in the paper
QUERIES, QUESTION, REPLY = 32, 40, 8  # questions in one batch, tokens of each, and of its answer
OURS = "memsci, in parallel"


def random_model(shape: str, dtype: torch.dtype, device: str) -> LlamaForCausalLM:
    """A Llama of this shape; weights are made in their precision, on their device."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return LlamaForCausalLM(SHAPES[shape]).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def encoding_table(
    model: LlamaForCausalLM, encoding: Encoding, memories: int, sample: int, steps: int, repeats: int
) -> pd.DataFrame:
    """So many steps of `memories` at once (and a `sample` one by one), against PEFT's loop over the sample."""
    device, vocabulary = next(model.parameters()).device, model.config.vocab_size
    paths = targets(model)
    size = numbers(model, paths, encoding.rank)
    if device.type == "cuda":
        memories = min(memories, side_by_side(size, torch.cuda.mem_get_info(device)[0]))
    sample = min(sample, memories)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(vocabulary, (PROMPT,), generator=generator).tolist()
    lengths = torch.randint(STORY - 10, STORY + 11, (memories, EXAMPLES), generator=generator).tolist()
    texts = [[torch.randint(vocabulary, (k,), generator=generator).tolist() for k in row] for row in lengths]
    orders = torch.stack([draws(generator, EPOCHS, EXAMPLES) for _ in range(memories)])

    def ours(first: int, last: int, settings: Encoding = encoding) -> None:
        fresh = [init_adapter(model, paths, settings, generator) for _ in range(first, last)]
        training = fit(model, prompt, texts[first:last], orders[first:last], stack(fresh).to(device), settings)
        for _ in zip(range(steps), training, strict=False):
            pass

    batches = [
        [
            {
                "input_ids": torch.tensor([prompt + texts[i][k]], device=device),
                "attention_mask": torch.ones(1, PROMPT + lengths[i][k], dtype=torch.long, device=device),
                "labels": torch.tensor([[-100] * PROMPT + texts[i][k]], device=device),
            }
            for k in orders[i].flatten()[:steps].tolist()
        ]
        for i in range(sample)
    ]
    sides: dict[str, tuple[int, Callable[[], object]]] = {
        OURS: (memories, lambda: ours(0, memories)),
        "memsci, one by one": (sample, lambda: [ours(i, i + 1) for i in range(sample)]),
        "PEFT loop": (sample, lambda: peft_loop(model, batches, encoding)),
    }
    if model.dtype == torch.float32:
        halved = dataclasses.replace(encoding, autocast=True)
        sides["memsci, in parallel, bfloat16"] = (memories, lambda: ours(0, memories, halved))
        sides["PEFT loop, bfloat16"] = (sample, lambda: peft_loop(model, batches, halved))
    table = compare({side: run for side, (_, run) in sides.items()}, OURS, repeats)
    counts = table["side"].map({side: count for side, (count, _) in sides.items()})
    for column in ("ratio", "low", "high"):
        table[column] *= memories / counts
    per_step = table["seconds"] / counts / steps
    table["seconds"] = per_step * EPOCHS * EXAMPLES
    table.insert(1, "memories", counts)
    work = flop(model, size, PROMPT, STORY)
    table["GFLOP"] = work * EPOCHS * EXAMPLES / 1e9
    table["% of peak"] = 100 * work / per_step / peak(model.dtype, device)
    table["MB per adapter in flight"] = TRAINING_BYTES * size / 1e6
    return table.rename(columns={"seconds": "seconds per memory"})


@torch.no_grad()
def answering_table(model: LlamaForCausalLM, encoding: Encoding, repeats: int) -> pd.DataFrame:
    """Tokens per second: 32 queries, each with a memory of its own, in one batch; PEFT one query after the other."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    memories = [init_adapter(model, targets(model), encoding, generator) for _ in range(QUERIES)]
    stacked = stack(memories).to(device, model.dtype)
    questions = torch.randint(model.config.vocab_size, (QUERIES, QUESTION), generator=generator).to(device)
    how = {"max_new_tokens": REPLY, "min_new_tokens": REPLY, "do_sample": False, "pad_token_id": 0}

    def ours() -> None:
        with mixture(model, stacked, torch.eye(QUERIES)):
            model.generate(questions, attention_mask=torch.ones_like(questions), **how)

    def theirs() -> None:
        for name, question in zip(names, questions, strict=True):
            wrapped.set_adapter(name)
            wrapped.generate(input_ids=question[None], attention_mask=torch.ones_like(question[None]), **how)

    wrapped = adapted(copy.deepcopy(model), encoding).eval()
    names = ["default", *(f"m{i}" for i in range(1, QUERIES))]
    for name in names[1:]:
        wrapped.add_adapter(name, wrapped.peft_config["default"])
    sides = {"memsci, one batch of 32 gates": ours, "PEFT, one query after the other": theirs}
    table = compare(sides, "memsci, one batch of 32 gates", repeats)
    table["tokens per second"] = QUERIES * REPLY / table["seconds"]
    return table


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; by default bfloat16 on a GPU, else float32")
    parser.add_argument("--rank", type=int, nargs="+", default=(128, 16))
    parser.add_argument("--memories", type=int, default=50, help="trained at once")
    parser.add_argument("--sample", type=int, default=2, help="memories of each other side")
    parser.add_argument("--steps", type=int, default=EPOCHS * EXAMPLES, help="of the 100 per memory; scaled to all")
    parser.add_argument("--repeats", type=int, default=ROUNDS)
    return parser


def main(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, options.dtype or ("bfloat16" if device == "cuda" else "float32"))
    model = random_model(options.shape, dtype, device)
    parameters = sum(p.numel() for p in model.parameters())
    protocol = {"parameters": parameters, "precision": str(dtype).removeprefix("torch.")}
    encoded, answered = [], []
    for rank in options.rank:
        encoding = Encoding(rank=rank)
        found = encoding_table(model, encoding, options.memories, options.sample, options.steps, options.repeats)
        encoded.append(found.assign(rank=rank))
        answered.append(answering_table(model, encoding, options.repeats).assign(rank=rank))
    size = f"{parameters / 1e6:.0f} M parameters, random weights"
    keep(
        f"llama_shape_{options.shape}_encode",
        pd.concat(encoded),
        f"Encoding at the shape {options.shape}: {size}",
        scaled=f"{options.steps} of {EPOCHS * EXAMPLES} steps of each memory, scaled to all",
        peak=f"product of square matrices in {dtype}, measured in the same run",
        text=f"prompt {PROMPT} tokens, examples {STORY - 10} to {STORY + 10}, {EXAMPLES} of each memory, batch 1",
        **protocol,
    )
    keep(
        f"llama_shape_{options.shape}_answer",
        pd.concat(answered),
        f"Answering at the shape {options.shape}: {size}",
        text=f"{QUERIES} questions of {QUESTION} tokens, {REPLY} tokens of answer each, one memory open per question",
        **protocol,
    )


if __name__ == "__main__":
    main(parser().parse_args())
