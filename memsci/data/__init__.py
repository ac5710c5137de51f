"""Where memories come from: a table of your own, everyday ones, the paper's published files, MMLU, and the
built-in world.

Every source gives the same plain values (`memsci.memory`): lists of `Memory`, a `Partition`, or a list of `QuizItem`.
"""

from __future__ import annotations

from memsci.data.builtin import builtin, quiz
from memsci.data.everyday import everyday, unanswered
from memsci.data.mmlu import mmlu
from memsci.data.published import published
from memsci.data.tables import Asked, questions, table
from memsci.memory import Memory, Partition, Question, QuizItem

__all__ = [
    "Asked",
    "Memory",
    "Partition",
    "Question",
    "QuizItem",
    "builtin",
    "everyday",
    "mmlu",
    "published",
    "questions",
    "quiz",
    "table",
    "unanswered",
]
