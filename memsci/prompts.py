"""The prompts of the protocol: the paper's own strings, and the chat messages made of them; and what of a reply was thought.

Every function of a prompt returns messages, ``[{"role": ..., "content": ...}, ...]``, for :meth:`memsci.models.Base.chat`.
Sections refer to Pan et al., "Memorization and Knowledge Injection in Gated LLMs" (arXiv 2504.21239v1).
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Sequence
from importlib import resources

from memsci.errors import MemsciError, check_in

# What the user "says" while a memory is learnt. The paper gives two wordings: its methods section, and its appendix B,
# which says that the second was used in all main experiments.
ENCODING_PROMPTS = {
    "methods": "Tell me a story that you memorized.",
    "appendix": "Please tell me a story that you memorized:",
}

# Prompts of six categories to learn memories under (Fig. 5), by category and name: "fact-1", ..., "special-characters-10".
# The paper gives the categories and how many prompts each has, not the prompts: those are ours.
FINE_TUNING_PROMPTS: dict[str, dict[str, str]] = {
    category: {f"{category.replace(' ', '-')}-{k}": text for k, text in enumerate(texts, start=1)}
    for category, texts in tomllib.loads(
        (resources.files("memsci") / "fine_tuning_prompts.toml").read_text(encoding="utf-8")
    ).items()
}
LITERAL = "text:"  # what stands before a prompt of the user's own

# Recall of the whole memory from a cue (Fig. 1).
RECALL = "{question} Reconstruct the entire story that is related to the above question."

# A short answer (Fig. 1); appendix E.5.2 prints it with a full stop after the question.
QA_PROMPTS = {
    "main": "{question} Answer should be no more than one sentence.",
    "appendix": "{question}. Answer should be no more than one sentence.",
}

# The second turn of iRAG, after the model's own recall: the plain QA prompt (Fig. 1) or section 3.3.2's wording.
IRAG_PROMPTS = {
    "qa": QA_PROMPTS["main"],
    "section": "Based on the reconstructed story, answer the following question: " + QA_PROMPTS["main"],
}

# RAG with the passage in the prompt. The paper does not state its wording: this one is ours.
RAG = "{passage}\n\n" + QA_PROMPTS["main"]

# MMLU: system turn, user turn, and the words put into the assistant's mouth before it names a letter.
MMLU_SYSTEM = (
    "The following are multiple choice questions (with answers) about {subject}. "
    "Only respond with the letter of the correct answer"
)
MMLU_USER = "Question: {question}\n\nChoose the correct answer from the following options:\n{options}"
MMLU_PREFIX = "The answer is"
MMLU_LETTERS = tuple(string.ascii_uppercase)  # MMLU has four options; other questions may have 2 to 26
# Without options, for a model that is at chance with letters: lm-evaluation-harness's cloze form, as a conversation.
CLOZE_SYSTEM = "The following are questions (with answers) about {subject}."
CLOZE_USER = "Question: {question}"
CLOZE_PREFIX = "Answer:"

# What models that think aloud write around their thoughts.
THOUGHTS = {"<think>": "</think>", "<thinking>": "</thinking>", "[THINK]": "[/THINK]"}

Messages = list[dict[str, str]]


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def encoding(name: str = "methods") -> Messages:
    """Prompt under which a memory is learnt: the x of the loss −log p(D | x).

    Parameters
    ----------
    name
        "methods" or "appendix", the paper's two wordings (:data:`ENCODING_PROMPTS`); a name such as "fact-3" in
        :data:`FINE_TUNING_PROMPTS`; or "text:" and the prompt itself.
    """
    return _user(encoding_text(name))


def encoding_text(name: str) -> str:
    """What the user "says" under this name; see :func:`encoding`."""
    if isinstance(name, str) and name.startswith(LITERAL) and name != LITERAL:
        return name.removeprefix(LITERAL)
    named = {**ENCODING_PROMPTS, **{key: text for texts in FINE_TUNING_PROMPTS.values() for key, text in texts.items()}}
    if name not in named:
        ranges = [f"'{next(iter(texts))}' to '{list(texts)[-1]}'" for texts in FINE_TUNING_PROMPTS.values()]
        raise MemsciError(
            f"prompt must be one of {', '.join(map(repr, ENCODING_PROMPTS))}, {', '.join(ranges)}, or '{LITERAL}' and the "
            f"prompt itself; {name!r} was given."
        )
    return named[name]


def recall(question: str) -> Messages:
    """Prompt that asks for the whole memory which the question is about (paper, Fig. 1)."""
    return _user(RECALL.format(question=question))


def qa(question: str, prompt: str = "main") -> Messages:
    """Prompt that asks for an answer of one sentence (paper, Fig. 1; "appendix": as appendix E.5.2 prints it)."""
    check_in("QA prompt", prompt, QA_PROMPTS)
    return _user(QA_PROMPTS[prompt].format(question=question))


def irag(question: str, recall: str, prompt: str = "qa") -> Messages:
    """Internal RAG: the recall prompt, the model's own recall as its turn, then the question (paper, 3.3.2).

    Parameters
    ----------
    question : str
    recall : str
        What the model answered to :func:`recall`, unaltered.
    prompt : {"qa", "section"}
        Wording of the second turn, see :data:`IRAG_PROMPTS`; the paper gives both.
    """
    check_in("iRAG prompt", prompt, IRAG_PROMPTS)
    return [
        *_user(RECALL.format(question=question)),
        {"role": "assistant", "content": recall},
        *_user(IRAG_PROMPTS[prompt].format(question=question)),
    ]


def rag(question: str, passage: str) -> Messages:
    """Retrieved passage, blank line, QA prompt. This wording is *not stated in the paper*: it is ours."""
    return _user(RAG.format(passage=passage, question=question))


def mmlu(subject: str, question: str, options: Sequence[str], *, labels: Sequence[str] = MMLU_LETTERS) -> Messages:
    """Multiple choice; ends in the assistant's "The answer is", so that the next token is the letter.

    Parameters
    ----------
    subject : str
        The subject as the data set names it; underscores become spaces, as in MMLU's own code
        (*not stated in the paper*).
    question : str
    options : sequence of 2 to 26 str
        Printed as ``A) ...``, ``B) ...`` and so on; MMLU has four.
    labels : sequence of str
        What stands before the options; other labels than the paper's letters serve to train a model on.
    """
    if not 2 <= len(options) <= len(labels):
        raise MemsciError(f"A quiz question has 2 to {len(labels)} options; {len(options)} were given.")
    lines = "\n".join(f"{letter}) {option}" for letter, option in zip(labels, options))
    return [
        {"role": "system", "content": MMLU_SYSTEM.format(subject=subject.replace("_", " "))},
        *_user(MMLU_USER.format(question=question, options=lines)),
        {"role": "assistant", "content": MMLU_PREFIX},
    ]


def cloze(subject: str, question: str) -> Messages:
    """A quiz question without its options; ends in the assistant's "Answer:", so that an option's text can follow."""
    return [
        {"role": "system", "content": CLOZE_SYSTEM.format(subject=subject.replace("_", " "))},
        *_user(CLOZE_USER.format(question=question)),
        {"role": "assistant", "content": CLOZE_PREFIX},
    ]


def without_thoughts(reply: str, opened: bool | None = None) -> str:
    """A reply without the think blocks at its head; nothing of one whose block does not end.

    Parameters
    ----------
    reply : str
    opened : bool, optional
        Whether the prompt began the first block. None: it is not known, and a block that ends without a beginning was begun.

    Examples
    --------
    >>> [without_thoughts(said) for said in ("<think>Who?</think>\\n\\nKarim.", "Who?</think>Karim.", "<think>Who")]
    ['Karim.', 'Karim.', '']
    >>> without_thoughts("Her <think> is silent.</think>", opened=False), without_thoughts("Who", opened=True)
    ('Her <think> is silent.</think>', '')
    """
    text = reply.strip()
    for tag, end in THOUGHTS.items():
        begun = opened or (opened is None and end in text.partition(tag)[0])
        while text.startswith(tag) or (begun and end in text):
            text, begun, opened = text.partition(end)[2].strip(), False, False
    return "" if opened else text
