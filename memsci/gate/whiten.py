"""Whitening fitted once per base, on a fixed reference text, so that keys never need to be made anew.

The last layers of a real model have a few directions in which all tokens vary alike and far; they drown what tells texts
apart. Whitening takes them out, and its mean and covariance need no memory's text: those of the built-in world's stories
and quiz do as well (docs/lab-notes.md). They are kept in the user's cache, one file per base and place. *Not in the paper.*
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memsci.data.builtin import builtin, quiz
from memsci.models import gguf
from memsci.models.base import Base

Moments = tuple[Tensor, Tensor]  # mean [d], and the root of the covariance [d, d]
Module = TypeVar("Module")

PER_SUBJECT = 25  # quiz questions of each of the four subjects


@cache
def world() -> tuple[str, ...]:
    """The reference text "world": 100 stories of the built-in world (partitions 19) and 100 quiz questions."""
    stories = [memory.text for setting in ("episodic", "semantic") for memory in builtin(setting, 19).memories]
    return (*stories, *(item.question for item in quiz("test", PER_SUBJECT)))


REFERENCES: dict[str, Callable[[], Sequence[str]]] = {"world": world}


def moments(
    base: Base,
    reference: str,
    modules: Mapping[str, Module],
    measure: Callable[[dict[str, Module], Sequence[str]], dict[str, Moments]],
) -> dict[str, Moments]:
    """Mean and root of the covariance of each module's input over the tokens of a reference text.

    Parameters
    ----------
    base
        The base model; its fingerprints name what is kept.
    reference
        A name in :data:`REFERENCES`.
    modules
        Modules by path.
    measure
        From some of the modules and the texts to their moments: called once, for those that are not kept or are damaged.
    """
    texts = REFERENCES[reference]()
    files = {path: _file(base, texts, path) for path in modules}
    found = {path: held for path, file in files.items() if (held := _read(file)) is not None}
    if missing := {path: module for path, module in modules.items() if path not in found}:
        for path, (mean, root) in measure(missing, texts).items():
            found[path] = mean, root
            _write(files[path], mean, root)
    return found


def _file(base: Base, texts: Sequence[str], path: str) -> Path:
    names = json.dumps([base.fingerprint, base.tokenizer_fingerprint, str(base.dtype), path, list(texts)])
    return gguf.cache() / "whiten" / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.safetensors"


def _read(file: Path) -> Moments | None:
    try:
        held = load_file(file)
        mean, root = held["mean"], held["root"]
    except (OSError, SafetensorError, KeyError):
        return None
    sound = mean.isfinite().all() and root.isfinite().all() and root.shape == (len(mean), len(mean))
    return (mean, root) if sound else None


def _write(file: Path, mean: Tensor, root: Tensor) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
    try:
        save_file({"mean": mean.contiguous(), "root": root.contiguous()}, unfinished)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
