"""Evaluation: ask a learner, score its answers, measure gates."""

from __future__ import annotations

from memsci.evaluate.comprehension import comprehension
from memsci.evaluate.examine import examine, marks, marks_by_memory
from memsci.evaluate.gate_accuracy import gates
from memsci.evaluate.responses import QUESTIONS, RESPONSE, ask, ask_quiz, compositional_probes, probes
from memsci.evaluate.scores import score, summary
from memsci.measures.metrics import BETWEEN, KEYS

__all__ = [
    "BETWEEN", "KEYS", "QUESTIONS", "RESPONSE", "ask", "ask_quiz", "compositional_probes", "comprehension", "examine",
    "gates", "marks", "marks_by_memory", "probes", "score", "summary",
]  # fmt: skip
