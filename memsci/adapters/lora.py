"""The adapter of one memory, γ B A on a few linear maps: where it sits, how it starts, how it is stacked and saved.

Shapes: n memories, r rank, in/out widths of a linear map. A is [r, in], B is [out, r], for every kind of linear map
(also GPT-2's `Conv1D`, whose own weight is [in, out]), and their file form is PEFT's.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from memsci.config import PLACES, Encoding
from memsci.errors import MemsciError, check_in

# Names inside one layer. The gate projection of a gated MLP is left out, as in the paper.
NAMES = {
    "mlp": (
        "mlp.up_proj",
        "mlp.down_proj",  # Llama, Qwen, Gemma, Mistral, SmolLM, OLMo
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",  # GPT-NeoX, Pythia
        "mlp.c_fc",
        "mlp.c_proj",  # GPT-2
        "mlp.fc1",
        "mlp.fc2",  # Phi
    ),
    "attention": (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "self_attn.dense",
        "attention.query_key_value",
        "attention.dense",
        "attn.c_attn",
        "attn.c_proj",
    ),
}
NAMES["all"] = NAMES["mlp"] + NAMES["attention"]
_LAYER = re.compile(r"(?!.*vision)(?:.*\.)?(?:layers|h)\.(\d+)\.(.+)")


def targets(model: nn.Module, where: str = "mlp", layers: Sequence[int] | None = None) -> list[str]:
    """Paths of the linear maps that carry an adapter, in the model's own order.

    Parameters
    ----------
    model
        A causal language model of transformers.
    where
        "mlp": up- and down-projection, never the gate projection (the paper's choice, Methods); "attention": all its
        projections; "all": both.
    layers
        Layers counted from 0; None means every layer.

    Raises
    ------
    MemsciError
        The architecture is not known, or a layer does not exist.
    """
    check_in("where", where, PLACES)
    found: dict[str, int] = {}
    linear: list[str] = []
    for path, module in model.named_modules():
        match = _LAYER.fullmatch(path)
        if match and is_linear(module):
            linear.append(match[2])
            if match[2] in NAMES[where]:
                found[path] = int(match[1])
    if not found:
        raise MemsciError(
            f"No {where} projection is known in {type(model).__name__}. Known names: {', '.join(NAMES[where])}; "
            f"linear maps in its layers: {', '.join(dict.fromkeys(linear)) or 'none'}. "
            f"Use a model of a known architecture, or add its names to memsci.lora.NAMES."
        )
    if layers is None:
        return list(found)
    for layer in layers:
        check_in(f"a layer of {type(model).__name__}", layer, sorted(set(found.values())))
    return [path for path, layer in found.items() if layer in layers]


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map that can carry an adapter: `nn.Linear`, or GPT-2's `Conv1D`."""
    return isinstance(module, nn.Linear) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether the module keeps its weight as [in, out]: GPT-2's `Conv1D`."""
    return type(module).__name__ == "Conv1D"


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
        A = (torch.rand(encoding.rank, width_in, generator=generator) * 2 - 1) / math.sqrt(width_in)
        deltas[path] = (A, torch.zeros(width_out, encoding.rank))
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

    Raises
    ------
    MemsciError
        Two adapters do not fit one base: the same linear map with different widths.
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


def save_peft(adapter: Adapter, folder: str | Path, base_name: str) -> None:
    """Write an adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors` in `folder`.

    `peft.PeftModel.from_pretrained(base, folder)` opens it. The folder must exist. PEFT scales each map by its own rank;
    where that is not the adapter's, `rank_pattern` holds it, and `alpha_pattern` the α that keeps the scale.

    Parameters
    ----------
    base_name
        Name of the base model; PEFT shows it and does not check it.
    """
    folder = Path(folder)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "use_rslora": adapter.rslora,
        "target_modules": list(adapter.deltas),
        "fan_in_fan_out": adapter.transposed,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }
    if smaller := {path: len(A) for path, (A, _) in adapter.deltas.items() if len(A) != adapter.rank}:
        config["rank_pattern"] = smaller
        config["alpha_pattern"] = {
            path: adapter.scale * (math.sqrt(rank) if adapter.rslora else rank) for path, rank in smaller.items()
        }
    tensors = {}
    for path, (A, B) in adapter.deltas.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = A.contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = B.contiguous()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


# What PEFT can add to a plain LoRA, with the value that means "not used".
_PLAIN = {"use_dora": False, "bias": "none", "modules_to_save": None}
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def load_peft(folder: str | Path) -> Adapter:
    """Read an adapter that `save_peft`, or PEFT's `save_pretrained`, wrote.

    Where PEFT's `rank_pattern` and `alpha_pattern` give some maps another scale, B takes it up, so that the function is
    the same.

    Raises
    ------
    MemsciError
        A file is missing or damaged, or the adapter is not a plain LoRA.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except Exception as error:
        raise MemsciError(
            f"{folder} cannot be read as an adapter ({error}). It must hold adapter_config.json and "
            f"adapter_model.safetensors as PEFT writes them."
        ) from error
    if config.get("peft_type") != "LORA":
        raise MemsciError(f"{folder} holds a {config.get('peft_type')} adapter; memsci reads plain LoRA only.")
    for name, plain in _PLAIN.items():
        if (config.get(name) or plain) != plain:
            raise MemsciError(f"{folder}: {name} is {config[name]!r}; memsci reads plain LoRA only ({plain!r}).")
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise MemsciError(f"{folder}: {key} is no lora_A or lora_B of a linear map; memsci reads plain LoRA only.")
        halves.setdefault(match[1], {})[match[2]] = tensor
    rslora, transposed = bool(config.get("use_rslora")), bool(config.get("fan_in_fan_out"))
    whole = Adapter({}, config["r"], config["lora_alpha"], rslora, transposed)
    deltas = {}
    for path, pair in halves.items():
        rank = _by_pattern(config.get("rank_pattern"), path, whole.rank)
        if set(pair) != {"A", "B"} or pair["A"].shape[0] != rank or pair["B"].shape[1] != rank:
            raise MemsciError(f"{folder}: lora_A and lora_B of {path} do not both have rank {rank}; a file is damaged.")
        own = Adapter({}, rank, _by_pattern(config.get("alpha_pattern"), path, whole.alpha), rslora)
        same = math.isclose(own.scale, whole.scale, rel_tol=1e-12)  # always, in what save_peft wrote
        deltas[path] = (pair["A"], pair["B"] if same else pair["B"].float() * (own.scale / whole.scale))
    return dataclasses.replace(whole, deltas=deltas)


def _by_pattern(pattern: Mapping[str, Any] | None, path: str, default: Any) -> Any:
    """What PEFT's pattern says of a linear map: the first key that matches the end of its path, as PEFT matches."""
    matches = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", path))
    return next(matches, default)
