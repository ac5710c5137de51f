"""Memories in the weights: gated LoRA adapters on a frozen language model (an open implementation of MEGa).

    import memsci

    base = memsci.load()                               # the shipped model, or the name of any causal LM of the hub
    mind = memsci.MEGa(base)
    mind.encode(memsci.data.builtin("episodic", 0))    # one adapter and one key for every memory
    mind.gate("Who filmed the talent show?")           # which memories the question opens, and how far
    mind.answer("Who filmed the talent show?")         # mind.recall(...) tells the whole memory

Names are loaded when first used, so that ``import memsci`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import data as data
    from .config import Embedding as Embedding
    from .config import Encoding as Encoding
    from .config import GateRule as GateRule
    from .errors import MemsciError as MemsciError
    from .learners.mega import MEGa as MEGa
    from .learners.mega import open as open
    from .memory import Memory as Memory
    from .memory import Question as Question
    from .models import load as load

_HOMES = {
    "load": "models",
    "MEGa": "learners",
    "open": "learners",
    "Memory": "memory",
    "Question": "memory",
    "Encoding": "config",
    "Embedding": "config",
    "GateRule": "config",
    "MemsciError": "errors",
}

__all__ = [*_HOMES, "data", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "data":
        return import_module("memsci.data")
    if name not in _HOMES:
        raise AttributeError(f"module 'memsci' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    value = globals()[name] = getattr(import_module(f"memsci.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
