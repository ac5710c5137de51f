"""Evaluation: ask a learner, score its answers, measure gates."""

from __future__ import annotations

from memsci.evaluate.gate_accuracy import gates
from memsci.evaluate.responses import QUESTIONS, RESPONSE, ask, ask_quiz, compositional_probes, probes
from memsci.evaluate.scores import score, summary
from memsci.measures.metrics import BETWEEN, KEYS

__all__ = [
    "BETWEEN", "KEYS", "QUESTIONS", "RESPONSE", "ask", "ask_quiz", "compositional_probes", "gates", "probes", "score",
    "summary",
]  # fmt: skip
