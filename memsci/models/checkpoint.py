"""What can be wrong with a checkpoint and the device it is for: refused with the remedy."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from memsci.errors import MemsciError

# Constants that old versions of transformers saved beside the weights (GPT-2, GPT-NeoX, Llama).
_CONSTANTS = ("inv_freq", "masked_bias", "attn.bias", "attention.bias")


def as_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, if this machine has it; by default CUDA if it is there, else the CPU."""
    try:
        found = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else torch.device(device)
        torch.empty(1, device=found)
        if found.type == "meta" or (found.type == "cpu" and found.index):
            raise RuntimeError("it holds no numbers" if found.type == "meta" else "there is one CPU")
    except Exception as error:  # torch has many for it: AssertionError, ModuleNotFoundError, ...
        reason = str(error).partition("\n")[0]
        raise MemsciError(
            f"device {str(device)!r} is none of this machine ({reason}). Give {_devices()}, or leave it out."
        ) from None
    return found


def _devices() -> str:
    """The devices that this machine has, as they are given."""
    found = ["'cpu'", *(f"'cuda:{k}'" for k in range(torch.cuda.device_count()))]
    return " or ".join(found + ["'mps'"] * torch.backends.mps.is_available())


def check_pointers(folder: Path) -> None:
    """Refuse files that stand for others: a clone of a hub's repository without git-lfs holds such pointers."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.is_file():
            with open(file, "rb") as stream:
                head = stream.read(40)
            if head.startswith(b"version https://git-lfs"):
                raise MemsciError(
                    f"{file} is a git-lfs pointer, not the file itself. Run 'git lfs pull' in that folder, or load the "
                    "model by its name on the hub."
                )


def check_report(name: str, model: nn.Module, report: Mapping[str, Any]) -> None:
    """Refuse weights that leave part of the model at random, or hold more of its layers than the model has.

    Weights of other parts (a head for another task, a vision tower) are told in a warning.
    """
    missing = sorted(report.get("missing_keys", ()))
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ()))
    unused = sorted(key for key in report.get("unexpected_keys", ()) if not key.endswith(_CONSTANTS))
    stacks = {_stack(key) for key, _ in model.named_parameters()} - {None}
    within = [key for key in unused if _stack(key) in stacks]
    remedy = "Give all files of one checkpoint, with the config.json that belongs to them."
    if absent := missing + mismatched:
        more = f" It holds others that the model has no place for ({_few(unused)})." if unused else ""
        raise MemsciError(
            f"The weights of {name} lack {len(absent)} tensors of the model, or have them in another shape: {_few(absent)}."
            f"{more} {remedy}"
        )
    if within:
        raise MemsciError(
            f"The weights of {name} hold {len(within)} tensors of layers for which config.json has no place: "
            f"{_few(within)}. {remedy}"
        )
    if unused:
        warnings.warn(f"{name} holds {len(unused)} tensors that the model does not use ({_few(unused)}).", stacklevel=3)


def check_finite(name: str, model: nn.Module) -> None:
    """Refuse weights with inf or nan, after which no loss, key or gate means anything."""
    damaged = [key for key, tensor in model.named_parameters() if not tensor.isfinite().all()]
    if damaged:
        raise MemsciError(
            f"{len(damaged)} tensors of {name} hold inf or nan: {_few(damaged)}. The file is damaged, or float16 is too "
            "narrow for it. Get it again, or give dtype='bfloat16'."
        )


def _stack(key: str) -> str | None:
    """The list of layers that a tensor belongs to: "model.layers" of "model.layers.0.mlp.up_proj.weight"."""
    match = re.match(r"(.+?)\.\d+\.", key)
    return match and match[1]


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
