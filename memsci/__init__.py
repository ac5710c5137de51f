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

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import data as data
    from . import phenomena as phenomena
    from .config import Embedding as Embedding
    from .config import Encoding as Encoding
    from .config import GateRule as GateRule
    from .errors import MemsciError as MemsciError
    from .experiments.design import Design as Design
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
    "Design": "experiments.design",
    "MemsciError": "errors",
}

_ROOMS = ("data", "phenomena")

__all__ = [*_HOMES, *_ROOMS, "__version__"]

SPIN = "1000"  # turns for which a waiting thread of OpenMP spins before it sleeps: benchmarks/busy.py


def _be_gentle() -> None:
    """Let OpenMP's waiting threads sleep soon, so that other programs on the same cores cost little.

    A setting of the user's own stands. OpenMP reads it when torch is loaded, and processes that are started inherit it.
    """
    if any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        return
    if "torch" in sys.modules and sys.platform == "linux":
        warnings.warn(
            "torch was imported before memsci, so its threads will spin while they wait, and other programs on this "
            f"machine slow it down more than they need to. Import memsci first, or set GOMP_SPINCOUNT={SPIN} in the "
            "environment.",
            stacklevel=3,
        )
    os.environ["GOMP_SPINCOUNT"] = SPIN


_be_gentle()


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"memsci.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'memsci' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    value = globals()[name] = getattr(import_module(f"memsci.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
