"""Adapters: one LoRA per memory, mixed in the forward pass, trained each as if alone."""

from __future__ import annotations
