"""One memory as a folder: PEFT's two files, the key, and a description by which every byte can be checked.

::

    adapter_config.json, adapter_model.safetensors    the adapter, as PEFT writes it
    key.safetensors                                   the context key K_i = f(D_i), [d] float32
    memory.json                                       id, label, order, hash of the text, seed, losses, base model,
                                                      size and SHA-256 of each file, and a checksum of all this

The files are safetensors and JSON: nothing is ever unpickled. Which folder is written when is the store's affair.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from memsci.adapters.lora import Adapter
from memsci.adapters.peft_format import load_peft, save_peft
from memsci.errors import MemsciError

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_FILES = (*_ADAPTER_FILES, "key.safetensors")
# The rule of `memsci.memory.Memory`, needed again here because an id read from anywhere becomes a path.
_ID = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")


@dataclass(frozen=True, eq=False)
class Remembered:
    """What the store knows of one memory besides its adapter.

    Parameters
    ----------
    id
        Its name, and that of its folder.
    label
        What figures and tables show.
    key
        Context key K_i = f(D_i) [d], kept in float32 on the CPU (paper, Methods).
    text_hash
        SHA-256 of the text, by which a memory is recognised without its text.
    seed
        Seed of the run that encoded it; None for an adapter from elsewhere.
    losses
        Mean loss of each epoch, in nats per token.
    text
        The text itself, given only if the store is to keep it. Default: it is not kept.
    tokens
        Length of the text as the base writes it, by which a recall is known to be long enough; None if it is not known.
    created
        ISO time (UTC), given by the store.
    order
        Position in the sequence of memories, given by the store: 0, 1, … in the order of adding.

    Raises
    ------
    MemsciError
        If the id is not a valid name, the key is not one finite row of numbers, or a loss is not finite.
    """

    id: str
    label: str
    key: torch.Tensor
    text_hash: str
    seed: int | None = None
    losses: tuple[float, ...] = ()
    text: str | None = None
    tokens: int | None = None
    created: str = ""
    order: int | None = None

    def __post_init__(self) -> None:
        check_id(self.id)
        key = torch.as_tensor(self.key).detach().to("cpu", torch.float32, copy=True).contiguous()
        if key.ndim != 1 or not key.numel() or not key.isfinite().all():
            raise MemsciError(
                f"The key of memory {self.id!r} must be one row of finite numbers [d]; its shape is {list(key.shape)}"
                f"{'' if key.isfinite().all() else ' and it holds inf or nan'}."
            )
        losses = tuple(float(loss) for loss in self.losses)
        if not all(map(math.isfinite, losses)):
            raise MemsciError(f"The losses of memory {self.id!r} are not all finite: {losses}. Encode it again.")
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "seed", None if self.seed is None else int(self.seed))

    def __repr__(self) -> str:
        return f"Remembered(id={self.id!r}, label={self.label!r}, order={self.order}, key=[{len(self.key)}])"


@dataclass(frozen=True, eq=False)
class Entry:
    """A memory as its folder holds it.

    Parameters
    ----------
    record
        The memory.
    files
        Size in bytes and SHA-256 of each file, by name.
    checksum
        Of the whole description, that of the files within: two memories of one checksum are the same memory.
    mtime, size
        Of memory.json: as long as both are the same, it need not be read again.
    """

    record: Remembered
    files: dict[str, dict[str, Any]]
    checksum: str
    mtime: int
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the adapter and the key on disk."""
        return sum(file["bytes"] for file in self.files.values())


def write_memory(
    record: Remembered, adapter: Adapter, folder: Path, base: dict[str, str], durable: bool = True
) -> Entry:
    """Write all files of a memory into an existing folder; what `read_memory` would then give.

    Parameters
    ----------
    base
        Name and fingerprint of the base model.
    durable
        Force each file to the disk.
    """
    save_peft(adapter, folder, base["name"])
    (folder / "key.safetensors").write_bytes(safetensors.torch.save({"key": record.key}))
    files = {}
    for file in sorted(folder.iterdir()):
        if durable:
            flush(file)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
    content = {
        "id": record.id,
        "label": record.label,
        "order": record.order,
        "created": record.created,
        "text_hash": record.text_hash,
        "seed": record.seed,
        "losses": list(record.losses),
        "base": base["fingerprint"],
        "files": files,
    }
    if record.text is not None:
        content["text"] = record.text
    if record.tokens is not None:
        content["tokens"] = record.tokens
    manifest, checksum = folder / "memory.json", _checksum(content)
    write_json(manifest, {**content, "checksum": checksum}, durable)
    if durable:
        flush(folder)
    stat = manifest.stat()
    return Entry(record, files, checksum, stat.st_mtime_ns, stat.st_size)


def read_memory(folder: Path, base: dict[str, str]) -> Entry:
    """Read a memory but for its adapter, of whose files only the sizes are compared here.

    Parameters
    ----------
    base
        Name and fingerprint of the base model that the memory must belong to.

    Raises
    ------
    MemsciError
        Naming memory, file and remedy, if a file is missing, truncated or altered, or the base is another.
    """
    manifest = folder / "memory.json"
    try:
        stat = manifest.stat()
    except OSError:
        what = "is missing (a PEFT folder from elsewhere comes in by store.add_peft)"
        raise damage(folder, "memory.json", what) from None
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
        if checksum != _checksum(content):
            raise ValueError("its checksum is not the recorded one")
        files = content["files"]
        if content["id"] != folder.name or not set(_FILES) <= set(files):
            raise ValueError(f"it describes memory {content['id']!r} with the files {', '.join(files)}")
        if content["base"] != base["fingerprint"]:
            raise ValueError(f"the memory belongs to another base model than {base['name']!r}")
        for name in files:
            check_file(folder, name, files[name], whole=name == "key.safetensors")
        key = safetensors.torch.load((folder / "key.safetensors").read_bytes())["key"]
        fields = ("id", "label", "text_hash", "seed", "losses", "created", "order")
        kept = {name: content.get(name) for name in ("text", "tokens")} | {name: content[name] for name in fields}
        record = Remembered(key=key, **kept)
    except _Damage:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise damage(folder, "memory.json", f"is truncated or altered ({type(error).__name__}: {error})") from None
    return Entry(record, files, checksum, stat.st_mtime_ns, stat.st_size)


def read_adapter(folder: Path, files: dict[str, dict[str, Any]], every_file: bool = False) -> Adapter:
    """Read the adapter of a memory after comparing its files (or every file of the memory) with their checksums.

    Raises
    ------
    MemsciError
        Naming memory, file and remedy.
    """
    for name in files if every_file else _ADAPTER_FILES:
        check_file(folder, name, files[name])
    try:
        return load_peft(folder)
    except MemsciError as error:
        raise damage(folder, "adapter_config.json", f"cannot be used ({error})") from error


def check_file(folder: Path, name: str, expected: dict[str, Any], whole: bool = True) -> None:
    """Compare one file with what memory.json says of it; `whole` = with its checksum, not its size alone."""
    file = folder / name
    if Path(name).name != name or not file.is_file():
        raise damage(folder, name, "is missing")
    if (size := file.stat().st_size) != expected["bytes"]:
        raise damage(folder, name, f"has {size} bytes instead of {expected['bytes']}")
    if whole and _sha256(file) != expected["sha256"]:
        raise damage(folder, name, "was altered (its SHA-256 is not the recorded one)")


class _Damage(MemsciError):
    """A `MemsciError` that names memory and file already."""


def damage(folder: Path, name: str, what: str) -> MemsciError:
    """The error for one damaged memory: which, what is wrong with which file, and what to do."""
    return _Damage(
        f"Memory {folder.name!r} is damaged: {folder / name} {what}. Restore the folder from a copy, or call "
        f"store.forget({folder.name!r}) and encode the memory again; the other memories are not affected."
    )


def check_id(id: object) -> None:
    """Refuse an id that cannot be the name of a folder, or would be a path out of the store."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise MemsciError(
            f"{id!r} cannot be the id of a memory: it also names a folder, so use 1 to 100 letters, digits, '_', '-' "
            "or '.', with no '.' at either end."
        )


def write_json(file: Path, content: dict[str, Any], durable: bool = True) -> None:
    """Write a file of JSON and, if it is to be `durable`, force it to the disk."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    if durable:
        flush(file)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A hidden path for a folder, which appears at its own path when the block ends, and nowhere if that raises.

    Raises
    ------
    MemsciError
        Something is at the path already.
    """
    if path.exists():
        raise MemsciError(f"{path} exists already. Give a path where nothing is.")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def flush(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk; Windows cannot open folders and needs no such call."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
