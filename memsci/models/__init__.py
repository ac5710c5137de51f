"""Base models: loading them, where their layers are, what they say."""

from __future__ import annotations

from memsci.models.base import DTYPES, SHIPPED, Base, batches, load
from memsci.models.exclusive import exclusive

__all__ = ["Base", "DTYPES", "SHIPPED", "batches", "exclusive", "load"]
