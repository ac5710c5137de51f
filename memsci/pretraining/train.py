"""Training of the base model from scratch: ``python -m memsci.pretraining.train OUT``.

One loop. Loss = weighted cross entropy on the corpus + a contrastive term on question-story pairs, taken exactly where
the paper takes its embedding f (mean over tokens of the input to the last layer's MLP, raw inner products): it gives a
small model the semantic gate that an 8B model brings along, calibrated for beta = 1.

The data of step s depend on (seed, s) alone and checkpoints are atomic, so a killed run resumes where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import trange
from transformers import LlamaConfig, LlamaForCausalLM

from ..errors import MemsciError
from ..models.base import fast_bfloat16, load
from ..models.untrained import untrained
from . import copying, corpus, vocabulary

SETTLING = 400  # most steps that are spent on tokens still alike at the end
SIZES = {  # width, layers, heads, MLP width
    "tiny": (64, 2, 2, 192),
    "small": (256, 5, 4, 768),
    "large": (512, 8, 8, 1536),
}


@dataclass(frozen=True)
class Recipe:
    """All that decides a run."""

    size: str = "small"
    steps: int = 4700
    rows: int = 14  # of corpus.ROW tokens
    lr: float = 2e-3  # matrices by Muon, scaled to AdamW's update size; embeddings and norms by AdamW
    warmup: int = 50
    decay: float = 0.45  # last share of the steps, linear to zero
    weight_decay: float = 0.05
    gate_every: int = 4  # steps between contrastive batches
    gate_pairs: int = 32
    gate_norm: float = 0.3  # the contrastive gradient is clipped to this norm, so that it never drowns the corpus's
    finish: int = 700  # further steps on the last phase of the corpus: a short warm-up, then linear decay to zero
    finish_lr: float = 1e-3
    seed: int = 0
    start: str = ""  # folder of a base to begin from; empty: from random weights

    @property
    def length(self) -> int:
        """All steps."""
        return self.steps + self.finish


class Batches(Dataset):
    """Step -> rows of the corpus, and question-story pairs on the steps that train the gate."""

    def __init__(self, recipe: Recipe, tokenizer):
        self.recipe, self.tokenizer = recipe, tokenizer

    def __len__(self):
        return self.recipe.length

    def __getitem__(self, step):
        rng = random.Random(f"{self.recipe.seed} {step}")
        tokens, weights = corpus.rows(self.tokenizer, rng, self.recipe.rows, step / self.recipe.steps)
        batch = tokens, *targets(tokens, weights)
        pairs = None
        if step % self.recipe.gate_every == 0:
            cues, texts = corpus.cue_pairs(self.tokenizer, rng, self.recipe.gate_pairs)
            pairs = padded(cues), padded(texts)
        return batch, pairs


def padded(texts: list[list[int]]):
    """Token ids and attention mask, both [b, longest]."""
    tokens = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for index, text in enumerate(texts):
        tokens[index, : len(text)] = torch.tensor(text)
        mask[index, : len(text)] = 1
    return tokens, mask


def targets(tokens, weights, share: float = 0.42):
    """Where the loss looks: flat positions, next tokens and weights, a fixed ``share`` of all so that shapes are static."""
    next_tokens, next_weights = tokens.roll(-1, 1).flatten(), weights.roll(-1, 1)
    next_weights[:, -1] = 0
    next_weights = next_weights.flatten()
    positions = next_weights.sign().argsort(descending=True, stable=True)[: int(share * tokens.numel())]
    return positions, next_tokens[positions], next_weights[positions]


def build_model(size: str, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights and tied embeddings."""
    width, layers, heads, inner = SIZES[size]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary.VOCABULARY,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",  # the fastest under torch.compile on a CPU at this size
    )
    return LlamaForCausalLM(config)


def begin_from(model, tokenizer, folder: Path) -> None:
    """Give the model another base's weights, of the same shape but for the vocabulary.

    A token that both vocabularies have keeps its embedding; another one starts at the mean embedding of the tokens by which
    the other base writes it.
    """
    other = load(str(folder), dtype="float32", device="cpu")
    weights, was = other.model.state_dict(), other.model.get_input_embeddings().weight.detach()
    old = other.tokenizer.backend_tokenizer
    rows = model.get_input_embeddings().weight.detach().clone()
    for index in range(len(rows)):
        token = tokenizer.id_to_token(index)
        same = old.token_to_id(token)
        pieces = [piece.id for piece in old.model.tokenize(token)] if same is None else [same]
        rows[index] = was[pieces].mean(0)
    weights["model.embed_tokens.weight"] = weights["lm_head.weight"] = rows
    model.load_state_dict(weights)


def corpus_loss(model, tokens, positions, next_tokens, weights):
    """Weighted mean of -log p(next token); logits are computed only where the loss looks."""
    hidden = model.model(tokens, use_cache=False).last_hidden_state.flatten(0, 1)[positions]
    losses = F.cross_entropy(model.lm_head(hidden).float(), next_tokens, reduction="none")
    return (losses * weights).sum() / weights.sum()


def embeddings(model, tokens, mask):
    """f of each text, [b, d]: the mean over its tokens of the input to the last layer's MLP."""
    seen = []
    hook = model.model.layers[-1].mlp.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        model.model(tokens, attention_mask=mask, use_cache=False)
    finally:
        hook.remove()
    weights = mask.unsqueeze(-1).float()
    return (seen[0].float() * weights).sum(1) / weights.sum(1)


def gate_loss(model, cues, texts):
    """-log of the gate's weight on the right story, and how often it is the largest."""
    scores = embeddings(model, *cues) @ embeddings(model, *texts).T
    right = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores, right), (scores.argmax(1) == right).float().mean()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Warm-up, constant, linear decay to zero; then the finishing steps."""
    if step < recipe.steps:
        left = (recipe.steps - step) / max(1, recipe.decay * recipe.steps)
        return recipe.lr * min(1.0, (step + 1) / max(1, recipe.warmup), left)
    begun = step - recipe.steps + 1
    return recipe.finish_lr * min(begun / max(1, recipe.warmup), (recipe.length - step) / max(1, recipe.finish))


class Muon(torch.optim.Muon):
    """torch's Muon with the iteration in float32: on a processor without bfloat16 that takes a fortieth of the time."""

    @torch.no_grad()
    def step(self):
        """One step: the momentum, orthogonalised by five Newton-Schulz iterations."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state, rate = self.state[parameter], group["momentum"]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - rate)
                update = parameter.grad.lerp(momentum, rate)
                tall = len(update) > update.shape[1]
                update = update.T if tall else update
                update = update / update.norm().clamp(min=group["eps"])
                a, b, c = group["ns_coefficients"]
                for _ in range(group["ns_steps"]):
                    gram = update @ update.T
                    update = a * update + (b * gram + c * gram @ gram) @ update
                size = 0.2 * max(parameter.shape) ** 0.5  # the size of AdamW's updates
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.T if tall else update, alpha=group["lr"] * size)


def optimisers(model, recipe: Recipe):
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    return [
        (torch.optim.Muon if fast_bfloat16(model.device) else Muon)(
            matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=recipe.lr, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
    ]


def train(out: Path, recipe: Recipe, checkpoint_minutes: float = 5.0, minutes: float | None = None) -> None:
    """Run the recipe, or what is left of it, and write the model to ``out / "model"``."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(os.cpu_count() or 1)
    # Kept with the run: were the world changed while it rests, a tokenizer built anew would number other tokens.
    words = out / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(words)) if words.exists() else vocabulary.build()
    tokenizer.save(str(words))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_model(recipe.size, recipe.seed).to(device)
    optims = optimisers(model, recipe)
    state_file = out / "checkpoint.pt"
    start, seconds = 0, 0.0
    said = torch.zeros(vocabulary.VOCABULARY, dtype=torch.long)  # how often each token was one to predict
    if state_file.exists():
        state = torch.load(state_file, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        for optim, saved in zip(optims, state["optimisers"]):
            optim.load_state_dict(saved)
        start, seconds, said = state["step"], state["seconds"], state["said"].cpu()
    elif recipe.start:
        begin_from(model, tokenizer, Path(recipe.start))
    began = last_save = time.monotonic()
    elapsed = lambda: seconds + time.monotonic() - began

    def save(step: int, finished: bool = False) -> None:
        state = {"model": model.state_dict(), "optimisers": [optim.state_dict() for optim in optims]}
        torch.save(state | {"step": step, "seconds": elapsed(), "said": said}, state_file.with_suffix(".new"))
        os.replace(state_file.with_suffix(".new"), state_file)
        export(model, tokenizer, out / "model", said if finished else None)

    autocast = partial(torch.autocast, device, torch.bfloat16, enabled=fast_bfloat16(device))
    loss_of = torch.compile(corpus_loss, dynamic=False)
    loader = DataLoader(Batches(recipe, tokenizer), batch_size=None, sampler=range(start, recipe.length), num_workers=1)
    log = open(out / "log.jsonl", "a")
    accuracy, step = float("nan"), start - 1
    with trange(start, recipe.length, initial=start, total=recipe.length, desc="training", mininterval=10) as bar:
        for step, (batch, pairs) in zip(bar, loader):
            for optim in optims:
                for group in optim.param_groups:
                    group["lr"] = learning_rate(recipe, step)
            if pairs is not None:
                with autocast():
                    contrast, accuracy = gate_loss(model, *(tuple(part.to(device) for part in side) for side in pairs))
                contrast.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gate_norm)
            with autocast():
                loss = loss_of(model, *(part.to(device) for part in batch))
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            said += torch.bincount(batch[2][batch[3] > 0], minlength=len(said))
            for optim in optims:
                optim.step()
                optim.zero_grad()
            if step % 20 == 0:
                row = dict(
                    step=step, loss=float(loss.detach()), gate=float(accuracy), norm=float(norm), seconds=round(elapsed(), 1)
                )
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix(loss=f"{row['loss']:.3f}", gate=f"{row['gate']:.2f}", refresh=False)
            if time.monotonic() - last_save > 60 * checkpoint_minutes:
                save(step + 1)
                last_save = time.monotonic()
            if minutes and time.monotonic() - began > 60 * minutes:
                break
    if step + 1 == recipe.length:
        said += settle(model, tokenizer, random.Random(f"{recipe.seed} settle"), recipe.rows)
    save(step + 1, finished=step + 1 == recipe.length)
    facts = asdict(recipe) | {
        "trained_steps": step + 1,
        "tokens": (step + 1) * recipe.rows * corpus.ROW,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(elapsed()),
        "hardware": torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    (out / "run.json").write_text(json.dumps(facts, indent=2) + "\n")


def settle(model, tokenizer, rng: random.Random, rows: int, most: int = SETTLING) -> torch.Tensor:
    """Train the embeddings of tokens that are still alike, and nothing else, on copies of just these tokens.

    A token that is rarely said is pushed into the direction of all rare ones more often than it is pulled out of it, all
    the more as the rate falls. Up to ``most`` steps of AdamW at 2e-3, ended when no token is dead.

    Returns
    -------
    torch.Tensor
        How often each token was said in these steps.
    """
    weight = model.get_input_embeddings().weight
    said = torch.zeros(len(weight), dtype=torch.long)
    optim = torch.optim.AdamW([weight], lr=2e-3, weight_decay=0.0, betas=(0.9, 0.95))
    chosen = torch.zeros(len(weight), 1, device=weight.device)
    for step in range(most):
        if step % 20 == 0:
            dead = dead_tokens(weight.detach().cpu())
            if not len(dead):
                break
            chosen[dead] = 1
        made = [corpus.Row(tokenizer) for _ in range(rows)]
        for row in made:
            copying.copy(row, rng, chosen.flatten().nonzero().flatten().tolist())
        tokens, weights = corpus.laid(made)
        batch = tokens, *targets(tokens, weights)
        loss = corpus_loss(model, *(part.to(weight.device) for part in batch))
        [grad] = torch.autograd.grad(loss, [weight])
        weight.grad = grad * chosen
        optim.step()
        said += torch.bincount(batch[2][batch[3] > 0], minlength=len(said))
    weight.grad = None
    return said


def dead_tokens(embedding: torch.Tensor, said: torch.Tensor | None = None) -> torch.Tensor:
    """Tokens that were never trained, [k]: by use, or by their embedding (`memsci.models.untrained`)."""
    dead = untrained(embedding)
    dead[: len(vocabulary.CONTROL)] = False  # of these, some open a turn and are never said
    if said is not None:
        dead |= (said == 0) & (torch.arange(len(said)) >= len(vocabulary.CONTROL))
    return dead.nonzero().flatten()


def export(model, tokenizer, folder: Path, said: torch.Tensor | None = None) -> None:
    """Write the model as the package ships it: bfloat16 safetensors, tokenizer and chat template.

    A finished model, for which it is known how often each token was ``said``, is refused if one of its tokens is dead.
    """
    if said is not None and len(dead := dead_tokens(model.get_input_embeddings().weight.cpu(), said)):
        some = ", ".join(repr(tokenizer.id_to_token(int(token))) for token in dead[:5])
        raise MemsciError(
            f"{len(dead)} of {len(said)} tokens were not trained, such as {some}; a base must have no dead token. Train "
            "longer, or on rows that contain them."
        )
    folder.mkdir(parents=True, exist_ok=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    vocabulary.for_transformers(tokenizer).save_pretrained(folder)


def main() -> None:
    """Command line: every field of the recipe is an option."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; the same command goes on later")
    for name, default in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = vars(parser.parse_args())
    out, minutes = options.pop("out"), options.pop("minutes")
    train(out, Recipe(**options), minutes=minutes)


if __name__ == "__main__":
    main()
