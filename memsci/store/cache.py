"""A cache bounded in bytes: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Whatever knows its size in bytes."""

    @property
    def nbytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class Cache(Generic[Kept]):
    """Values by key, at most so many bytes of them; a value larger than that is handed on and not kept.

    Parameters
    ----------
    limit
        Bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.nbytes = limit, 0
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The value of a key, made if it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            if key not in self._kept and value.nbytes <= self.limit:
                self._kept[key] = value
                self.nbytes += value.nbytes
            while self.nbytes > self.limit:
                self.nbytes -= self._kept.popitem(last=False)[1].nbytes
        return value

    def keep(self, wanted: Callable[[Hashable], bool]) -> None:
        """Let go of all keys but those that are wanted."""
        with self._lock:
            for key in [key for key in self._kept if not wanted(key)]:
                self.nbytes -= self._kept.pop(key).nbytes
