"""Adapters as files: PEFT's folder of `adapter_config.json` and `adapter_model.safetensors`, written and read."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from memsci.adapters.lora import Adapter
from memsci.errors import MemsciError
from memsci.files import as_path


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


# Settings of PEFT's LoRA that are read here, or that leave the function of the adapter as it is.
_READ = {
    "peft_type", "task_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version", "inference_mode", "r",
    "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "fan_in_fan_out",
    "lora_dropout", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size", "runtime_config",
    "ensure_weight_tying",
}  # fmt: skip
# Ways to start an adapter that leave the base's weights as they are; PiSSA, OLoRA and others change them.
_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def load_peft(folder: str | Path) -> Adapter:
    """Read an adapter that `save_peft`, or PEFT's `save_pretrained`, wrote.

    Where PEFT's `rank_pattern` and `alpha_pattern` give some maps another scale, B takes it up, so that the function is
    the same.
    """
    folder = as_path(folder)
    try:
        config = dict(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")))
        tensors = load_file(folder / "adapter_model.safetensors")
    except Exception as error:
        raise MemsciError(
            f"{folder} cannot be read as an adapter ({error}). It must hold adapter_config.json and "
            f"adapter_model.safetensors as PEFT writes them."
        ) from error
    if config.get("peft_type") != "LORA":
        raise MemsciError(f"{folder} holds a {config.get('peft_type')} adapter; memsci reads plain LoRA only.")
    if (start := config.get("init_lora_weights", True)) not in _STARTS:
        raise MemsciError(
            f"{folder}: init_lora_weights is {start!r}, which changes the base's own weights; memsci reads plain LoRA only. "
            "Let PEFT convert it: save_pretrained(..., path_initial_model_for_weight_conversion=...)."
        )
    for name, value in config.items():
        if name not in (*_READ, "init_lora_weights") and value not in (None, False, "none", [], {}):
            raise MemsciError(f"{folder}: {name} is {value!r}; memsci reads plain LoRA only, without that setting.")
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise MemsciError(f"{folder}: {key} is no lora_A or lora_B of a linear map; memsci reads plain LoRA only.")
        if tensor.ndim != 2 or not tensor.is_floating_point() or not tensor.float().isfinite().all():
            raise MemsciError(f"{folder}: {key} is no matrix of finite floating-point numbers; the file is damaged.")
        halves.setdefault(match[1], {})[match[2]] = tensor
    if not halves:
        raise MemsciError(f"{folder}: adapter_model.safetensors holds no linear map; the file is damaged.")
    try:
        return _adapter(folder, config, halves)
    except (KeyError, TypeError, AttributeError, ValueError, re.error) as error:
        if isinstance(error, MemsciError):
            raise
        raise MemsciError(
            f"{folder}: r, lora_alpha, rank_pattern or alpha_pattern in adapter_config.json cannot be read "
            f"({type(error).__name__}: {error}). Give them as PEFT writes them."
        ) from error


def _adapter(folder: Path, config: Mapping[str, Any], halves: Mapping[str, Mapping[str, Tensor]]) -> Adapter:
    """The adapter of these settings; halves: from the path of each linear map to its "A" and "B"."""
    rslora, transposed = bool(config.get("use_rslora")), bool(config.get("fan_in_fan_out"))
    whole = Adapter({}, config["r"], config["lora_alpha"], rslora, transposed)
    deltas = {}
    for path, pair in halves.items():
        rank = _by_pattern(config.get("rank_pattern"), path, whole.rank)
        if set(pair) != {"A", "B"} or pair["A"].shape[0] != rank or pair["B"].shape[1] != rank:
            raise MemsciError(f"{folder}: lora_A and lora_B of {path} do not both have rank {rank}; a file is damaged.")
        own = Adapter({}, rank, _by_pattern(config.get("alpha_pattern"), path, whole.alpha), rslora)
        if not math.isfinite(own.scale):
            raise ValueError(f"the scale of {path} is {own.scale}")
        same = math.isclose(own.scale, whole.scale, rel_tol=1e-12)  # always, in what save_peft wrote
        deltas[path] = (pair["A"], pair["B"] if same else pair["B"].float() * (own.scale / whole.scale))
    return dataclasses.replace(whole, deltas=deltas)


def _by_pattern(pattern: Mapping[str, Any] | None, path: str, default: Any) -> Any:
    """What PEFT's pattern says of a linear map: the first key that matches the end of its path, as PEFT matches."""
    matches = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", path))
    return next(matches, default)
