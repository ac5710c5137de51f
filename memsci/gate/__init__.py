"""The gate: f embeds texts, and g = softmax(β f(q)ᵀK) opens memories."""

from __future__ import annotations

from memsci.gate.activation import strengthen
from memsci.gate.embed import Embedder, embedder, embedders, weighted
from memsci.gate.softmax import Gate, gate, holding, nucleus, top_k

__all__ = ["Embedder", "Gate", "embedder", "embedders", "gate", "holding", "nucleus", "strengthen", "top_k", "weighted"]
