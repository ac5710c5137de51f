"""Base models: loading them, where their layers are, what they say."""

from __future__ import annotations

from memsci.models.base import DTYPES, SHIPPED, Base, batches, load, turn

__all__ = ["Base", "DTYPES", "SHIPPED", "batches", "load", "turn"]
