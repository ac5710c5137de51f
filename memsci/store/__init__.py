"""The store: one folder per memory, atomic, checked by checksums, tied to its base."""

from __future__ import annotations

from memsci.store.record import Remembered
from memsci.store.store import Store

__all__ = ["Remembered", "Store"]
