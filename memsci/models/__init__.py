"""Base models: loading them, where their layers are, what they say."""

from __future__ import annotations

from memsci.models.base import DTYPES, SHIPPED, SITES, Base, attention_input_path, batches, load, mlp_input_path, turn

__all__ = ["Base", "DTYPES", "SHIPPED", "SITES", "attention_input_path", "batches", "load", "mlp_input_path", "turn"]
