"""Evaluation: ask a learner, score its answers, measure gates."""

from __future__ import annotations

from memsci.evaluate.responses import (
    BETWEEN,
    KEYS,
    QUESTIONS,
    QUIZ_PER_SUBJECT,
    RESPONSE,
    ask,
    ask_quiz,
    compositional_probes,
    demo,
    gates,
    probes,
    protocol,
    score,
    summary,
)

__all__ = [
    "BETWEEN", "KEYS", "QUESTIONS", "QUIZ_PER_SUBJECT", "RESPONSE", "ask", "ask_quiz", "compositional_probes",
    "demo", "gates", "probes", "protocol", "score", "summary",
]  # fmt: skip
