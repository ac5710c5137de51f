"""A model for one thread at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_MAKING = Lock()


def exclusive(model: nn.Module) -> AbstractContextManager:
    """The lock of a model: `with exclusive(model): ...`, again within itself if need be.

    A mixture changes what a forward pass gives, also for other threads. So whoever runs a model holds its lock, and a
    widget that speaks in the background and a cell that asks meanwhile wait for one another.
    """
    with _MAKING:
        return _LOCKS.setdefault(model, RLock())
