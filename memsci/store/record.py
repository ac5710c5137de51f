"""One memory as a folder: PEFT's two files, the key, and a description by which every byte can be checked.

::

    adapter_config.json, adapter_model.safetensors    the adapter, as PEFT writes it
    key.safetensors                                   the context key K_i = f(D_i), [d] float32
    memory.json                                       id, label, order, hash of the text, seed, losses, base model,
                                                      questions, ids that it corrects, size and SHA-256 of each
                                                      file, and a checksum of all this

The files are safetensors and JSON: nothing is ever unpickled. The store decides which folder is written when.

A memory may share its adapter with others: PEFT's two files then lie in ``shared/<name>/`` of the store instead, once for
all of them, and memory.json has the name. The key is its own always.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from memsci.adapters.lora import Adapter
from memsci.adapters.peft_format import load_peft, save_peft
from memsci.errors import MemsciError
from memsci.files import as_json, flush, sha256, write_json
from memsci.files import content as hashed
from memsci.memory import Question, check_id, check_text

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_FILES = (*_ADAPTER_FILES, "key.safetensors")
# Fields that stand in memory.json as they are.
_GIVEN = ("id", "label", "order", "created", "text_hash", "seed", "losses")
_OPTIONAL = ("text", "tokens", "extra", "learnt", "shared")  # fields that stand there if they are known
_OF_QUESTIONS = ("about", "extra")  # fields of a question that stand there if there are any

_SHARED = re.compile("[0-9a-f]{16}")  # names of shared adapters: the first digits of their checksum

Widths = Mapping[str, tuple[int, int]]  # path of each linear map to its numbers of inputs and outputs


@dataclass(frozen=True, eq=False)
class Remembered:
    """A memory as the store keeps it, without its adapter.

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
    extra
        Its extra columns, see `memsci.memory.Memory`; None if it has none.
    questions
        What can be asked about it, with the true answers, given only if the store is to keep them.
    learnt
        Whether its adapter gives its text to the letter, see `memsci.MEGa.encode`; None if that is not known.
    corrects
        Ids of the memories that it corrects: the one named when it was encoded, then what that one corrected, and so on.
    shared
        Name of the adapter that it shares with other memories, see `memsci.store.Store.share`; None if it has its own.
    created, order, files, checksum
        Given by the store: ISO time (UTC); position in the order of adding: 0, 1, …; size in bytes and SHA-256 of each
        file by name, if they were read; checksum of all of these, so that equal checksums mean the same memory.
    """

    id: str
    label: str
    key: torch.Tensor
    text_hash: str
    seed: int | None = None
    losses: tuple[float, ...] = ()
    text: str | None = None
    tokens: int | None = None
    extra: dict[str, Any] | None = None
    questions: tuple[Question, ...] = ()
    learnt: bool | None = None
    corrects: tuple[str, ...] = ()
    shared: str | None = None
    created: str = ""
    order: int | None = None
    files: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    checksum: str = ""

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
        object.__setattr__(self, "questions", tuple(self.questions))
        object.__setattr__(self, "corrects", tuple(self.corrects))
        object.__setattr__(self, "seed", None if self.seed is None else int(self.seed))

    def __repr__(self) -> str:
        return f"Remembered(id={self.id!r}, label={self.label!r}, order={self.order}, key=[{len(self.key)}])"

    @property
    def nbytes(self) -> int:
        """Bytes of its key and its own adapter on disk, if the files were read."""
        own = (file for name, file in self.files.items() if not self.shared or name not in _ADAPTER_FILES)
        return sum(file["bytes"] for file in own)


def check_new(record: Remembered, adapter: Adapter) -> None:
    """Refuse a memory that could not be written, or would spoil the answers to every question."""
    check_text(f"the label of memory {record.id!r}", record.label)
    check_text(f"the hash of the text of memory {record.id!r}", record.text_hash)
    if record.text is not None:
        check_text(f"the text of memory {record.id!r}", record.text)
    as_json(record.extra)  # refuses what the file could not hold
    wrong = "changes no linear map" if not adapter.deltas else None
    if not (adapter.rank >= 1 and math.isfinite(adapter.alpha)):
        wrong = f"has rank {adapter.rank} and alpha {adapter.alpha}"
    for path, (A, B) in adapter.deltas.items():
        if A.ndim != 2 or B.ndim != 2 or len(A) != B.shape[1] or not 1 <= len(A) <= adapter.rank:
            wrong = f"has A {list(A.shape)} and B {list(B.shape)} on {path} where [r, in] and [out, r] are needed"
        elif not (A.float().isfinite().all() and B.float().isfinite().all()):
            wrong = f"holds inf or nan on {path}"
    if wrong:
        raise MemsciError(f"The adapter of memory {record.id!r} {wrong}. Encode it again; nothing was changed.")


def widths(adapter: Adapter) -> dict[str, tuple[int, int]]:
    """Numbers of inputs and outputs of each linear map that an adapter changes."""
    return {path: (A.shape[1], B.shape[0]) for path, (A, B) in adapter.deltas.items()}


def write_memory(
    record: Remembered, adapter: Adapter | None, folder: Path, base: Mapping[str, str], durable: bool = True
) -> Remembered:
    """Write all files of a memory into an existing folder; what `read_memory` would then give.

    Parameters
    ----------
    adapter
        None if it is the shared one that the record names, which is there already.
    base
        Name and fingerprint of the base model.
    durable
        Force each file to the disk.
    """
    if adapter is not None:
        save_peft(adapter, folder, base["name"])
    (folder / "key.safetensors").write_bytes(safetensors.torch.save({"key": record.key}))
    shared = [shared_folder(folder, record.shared) / name for name in _ADAPTER_FILES] if adapter is None else []
    files = {}
    for file in sorted([*folder.iterdir(), *shared]):
        if durable:
            flush(file)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    if shared and _named([files[name]["sha256"] for name in _ADAPTER_FILES]) != record.shared:
        raise damage(folder, shared[-1], "is not as it was written")
    content = {name: getattr(record, name) for name in _GIVEN} | {"losses": list(record.losses)}
    content |= {"base": base["fingerprint"], "files": files}
    content |= {name: value for name in _OPTIONAL if (value := getattr(record, name)) is not None}
    if record.questions:
        content["questions"] = [
            {"question": one.text, "answer": one.answer}
            | {name: value for name in _OF_QUESTIONS if (value := getattr(one, name))}
            for one in record.questions
        ]
    if record.corrects:
        content["corrects"] = list(record.corrects)
    content["checksum"] = _checksum(content)
    write_json(folder / "memory.json", content, durable)
    if durable:
        flush(folder)
    return replace(record, files=files, checksum=content["checksum"])


def read_memory(folder: Path, base: Mapping[str, str]) -> Remembered:
    """Read a memory but for its adapter, of whose files only the sizes are compared here.

    Parameters
    ----------
    base
        Name and fingerprint of the base model that the memory must belong to.
    """
    manifest = folder / "memory.json"
    if not manifest.is_file():
        raise damage(folder, "memory.json", "is missing (in Python, add_peft takes a PEFT folder in)")
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
            place = folder
            if (shared := content.get("shared")) is not None and name in _ADAPTER_FILES:
                place = shared_folder(folder, shared)
            _check_file(folder, name, files[name], whole=name == "key.safetensors", place=place)
        key = safetensors.torch.load((folder / "key.safetensors").read_bytes())["key"]
        given = {name: content[name] for name in _GIVEN} | {name: content.get(name) for name in _OPTIONAL}
        asked = (
            Question(q["question"], q["answer"], **{name: q[name] for name in _OF_QUESTIONS if name in q})
            for q in content.get("questions", ())
        )
        corrects = tuple(content.get("corrects", ()))
        return Remembered(key=key, files=files, checksum=checksum, questions=tuple(asked), corrects=corrects, **given)
    except _Damage:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise damage(folder, "memory.json", f"is truncated or altered ({type(error).__name__}: {error})") from None


def write_shared(adapter: Adapter, folder: Path, base: Mapping[str, str]) -> str:
    """Write an adapter that memories share into an existing folder; returns the name that it is to have."""
    save_peft(adapter, folder, base["name"])
    for name in _ADAPTER_FILES:
        flush(folder / name)
    flush(folder)
    return _named([sha256(folder / name) for name in _ADAPTER_FILES])


def _named(checksums: Sequence[str]) -> str:
    """The name of a shared adapter whose files have these checksums."""
    return hashed(checksums)[:16]


def shared_folder(folder: Path, name: str) -> Path:
    """Where the shared adapter of this name lies, seen from the folder of a memory."""
    if not isinstance(name, str) or not _SHARED.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a shared adapter")
    return folder.parent.parent / "shared" / name


def read_adapter(folder: Path, record: Remembered, every_file: bool = False) -> Adapter:
    """Read the adapter of a memory after comparing its files (or every file of the memory) with their checksums.

    Parameters
    ----------
    folder, record
        The memory, as `read_memory` gave it.
    """
    place = shared_folder(folder, record.shared) if record.shared else folder
    for name in record.files if every_file else _ADAPTER_FILES:
        _check_file(folder, name, record.files[name], place=place if name in _ADAPTER_FILES else folder)
    try:
        return load_peft(place)
    except MemsciError as error:
        raise damage(folder, place / "adapter_config.json", f"cannot be used ({error})") from error


class _Damage(MemsciError):
    """A `MemsciError` that names memory and file already."""


def damage(folder: Path, name: str | Path, what: str) -> MemsciError:
    """The error for one damaged memory: which, what is wrong with which file, and what to do."""
    return _Damage(
        f"Memory {folder.name!r} is damaged: {folder / name} {what}. Restore the folder from a copy, or forget "
        f"{folder.name!r} and encode the memory again; the other memories are not affected."
    )


def _check_file(folder: Path, name: str, expected: Mapping[str, Any], whole: bool = True, place: Path | None = None) -> None:
    """Compare one file with what memory.json says of it; `whole` = with its checksum, not its size alone.

    It lies in the memory's folder, or in another `place`.
    """
    file = (place or folder) / name
    if Path(name).name != name or not file.is_file():
        raise damage(folder, file, "is missing")
    if (size := file.stat().st_size) != expected["bytes"]:
        raise damage(folder, file, f"has {size} bytes instead of {expected['bytes']}")
    if whole and sha256(file) != expected["sha256"]:
        raise damage(folder, file, "was altered (its SHA-256 is not the recorded one)")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
