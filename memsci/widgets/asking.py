"""The three ways in which a widget has a mind speak, and what they are called on its buttons."""

from __future__ import annotations

from memsci import prompts
from memsci.gate.softmax import Gate
from memsci.learners.mega import MEGa

SPOKEN = {"answer": "Answer", "recall": "Recall", "irag": "Recall, then answer"}
TIPS = {
    "answer": "One sentence, from the memories in the weights",
    "recall": "The whole memory that the question is about, in the model's own words",
    "irag": "iRAG: recall the memory first, then answer from the recall",
}


def say(mind: MEGa, kind: str, question: str, gate: Gate | None, recalled: str | None = None) -> str:
    """What a mind says to a question.

    Parameters
    ----------
    mind
        Who speaks.
    kind
        One of `SPOKEN`.
    question
        What is asked.
    gate
        Through which it is said, in iRAG by the answer's turn too; None for what the mind's own rule opens.
    recalled
        What iRAG answers from; None for a recall through the same gate.
    """
    if kind == "recall":
        return mind.recall(question, gate=gate)
    if kind == "irag":
        return mind.answer(question, via_recall=True, gate=gate, recalled=None if recalled is None else [recalled])
    return mind.answer(question, gate=gate)


def ask(mind: MEGa, kind: str, question: str) -> tuple[str, Gate]:
    """What a mind says to a question by its own rule, and the gate that opened for it.

    In iRAG that is the gate of the recall: the turn that answers may have another.
    """
    turn = prompts.qa(question) if kind == "answer" else prompts.recall(question)
    gate = mind.gate([question if mind.rule.cue == "question" else turn[-1]["content"]])
    if kind != "irag":
        return say(mind, kind, question, gate), gate
    return say(mind, kind, question, None, say(mind, "recall", question, gate)), gate
