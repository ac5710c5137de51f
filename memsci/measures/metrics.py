"""How answers and recalls are scored: plain functions of texts, vectors and tables (paper, section "Metrics").

The paper's judge is a language model. `judge` applies its two conditions as fixed rules, so that a score needs no
network and is the same tomorrow: the answer contains the true answer, and it is at most one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from memsci.errors import MemsciError
from memsci.measures.text_match import chooses, contains, offers, one_sentence

__all__ = [
    "METRICS",
    "Metric",
    "contains",
    "correct_gate",
    "gate_confusion",
    "judge",
    "macro_accuracy",
    "one_sentence",
    "random_pair_cosine",
    "recall_cosine",
    "retrieval_cosine",
]


@dataclass(frozen=True)
class Metric:
    """What the values of one metric in a table of scores are.

    Parameters
    ----------
    label
        What a figure writes at its axis.
    unit
        Unit of a single value: "share" (0 to 1), "nats", "nats per token" or "cosine".
    higher_is_better
        Whether a greater value is a better one.
    protocol
        How a value is obtained, in one sentence.
    """

    label: str
    unit: str
    higher_is_better: bool
    protocol: str


# Every metric that a table of scores may hold, by the name that it has there.
METRICS: dict[str, Metric] = {
    "qa": Metric(
        "QA accuracy", "share", True,
        "1 if the answer contains the true answer and is at most one sentence, both by rule (memsci.metrics.judge), else 0; "
        "to a question that names the true answer beside others (A or B?) it must choose (memsci.wording.chooses).",
    ),
    "parts": Metric(
        "parts of the answer", "share", True,
        "Share of the items of a true answer to a question about several memories (A and B) that stand in the answer "
        "(memsci.wording.parts), however long it is.",
    ),
    "qa by model": Metric(
        "QA accuracy (language-model judge)", "share", True,
        "1 if a language model that reads article, question, true answer and answer finds that the answer contains the "
        "true answer and is at most one sentence, else 0 (paper, Metrics).",
    ),
    "logprob": Metric(
        "log prob of the answer", "nats", True,
        "Sum over the tokens of the true answer of their log probabilities after the prompt; the end of the turn does not "
        "count.",
    ),
    "logprob per token": Metric(
        "log prob per token", "nats per token", True,
        "Mean over the tokens of the true answer of their log probabilities after the prompt; the end of the turn does not "
        "count.",
    ),
    "recall cos": Metric(
        "recall cosine", "cosine", True,
        "Cosine between the embeddings of the recalled text and of the original memory, 0 for an empty recall; RAG, which "
        "recalls nothing, has 1 for a hit and the mean cosine of random pairs for a miss.",
    ),
    "random pair cos": Metric(
        "random-pair cosine", "cosine", False,
        "Mean cosine over all pairs of different memories of the partition: what recall of a wrong memory scores.",
    ),
    "correct gate": Metric(
        "correct gate", "share", True,
        "1 if the memory with the highest gate (for RAG: the memory retrieved) is one that the question is about, else 0.",
    ),
    "knowledge": Metric(
        "general knowledge", "share", True,
        "1 if the most probable next token among the option letters is the right one, else 0; averaged within each subject, "
        "then over subjects.",
    ),
}  # fmt: skip


def judge(answer: str, truth: str, question: str = "") -> bool:
    """Whether an answer counts as right: it contains the true answer and is at most one sentence.

    Both texts are brought to one form first: letter case, accents, punctuation, articles; numbers in digits or words
    (twenty-five, 850,000, 3 million) and ordinals (31st, thirty-first); dates (14 March, March 14th, 2024-03-14) and
    ranges of days; currency, percent and common units ($240, 240 dollars; 5 km, five kilometres). Then the words of
    the truth must stand in the answer whole and in order; a list ("A, B" or "A and B") may stand there item by item.

    Parameters
    ----------
    answer
        What the model said.
    truth
        The true answer, a few words.
    question
        What was asked. If it names the truth beside others ("Which came first, the mural or the play?"), an answer must
        choose: it has no "or", and where the order in time is asked for no word that the question has not. Any sentence
        about the mural would contain the truth, whatever it says (*not in the paper*, whose judge reads meaning).

    Returns
    -------
    bool

    Raises
    ------
    MemsciError
        If the truth has no word in it.

    Notes
    -----
    Paper, section "Metrics", where a language model judges by the same two conditions. A rule reads words, not
    meaning: a synonym counts as wrong, and a denial ("it was not Nora") or a list of guesses counts as right.
    """
    answer = re.sub(r"^\s*<think>.*?(</think>|\Z)", "", answer, flags=re.DOTALL)  # a thought is no part of an answer
    said = answer
    if not one_sentence(truth):  # a name such as "Olympics Go! Paris 2024" ends no sentence
        said = answer.replace(truth.strip().rstrip(".!?"), "X")
    if not (contains(answer, truth) and one_sentence(said)):
        return False
    return chooses(answer, question) if offers(question, truth) else True


def recall_cosine(recalled: Sequence[str], originals: Sequence[str], embed: Callable[[list[str]], Any]) -> np.ndarray:
    """Cosine between the embeddings of each recalled text and its original, [b].

    Parameters
    ----------
    recalled, originals
        b texts each, in the same order. An empty recall scores 0 (not stated in the paper).
    embed
        Any function from a list of b texts to vectors [b, d]. The paper uses OpenAI text-embedding-3-large; scores of
        different embeddings cannot be compared.

    Raises
    ------
    MemsciError
        If the lists differ in length, or `embed` does not give one finite vector per text.
    """
    if isinstance(recalled, str) or isinstance(originals, str) or len(recalled) != len(originals):
        raise MemsciError(
            "As many recalled texts as originals are needed, in two lists; given: "
            f"{_count(recalled)} and {_count(originals)}."
        )
    scores = np.zeros(len(recalled))
    rows = [row for row, text in enumerate(recalled) if text.strip()]
    if rows:
        a = _unit_vectors([recalled[row] for row in rows], embed)
        b = _unit_vectors([originals[row] for row in rows], embed)
        scores[rows] = (a * b).sum(axis=1)
    return scores


def random_pair_cosine(texts: Sequence[str], embed: Callable[[list[str]], Any]) -> float:
    """Mean cosine over all pairs of different texts: what recall of a wrong memory scores (c in the paper's RAG)."""
    if isinstance(texts, str) or len(texts) < 2:
        raise MemsciError(f"At least two texts are needed to make a pair; given: {_count(texts)}.")
    vectors = _unit_vectors(list(texts), embed)
    cosines = vectors @ vectors.T
    return float(cosines[~np.eye(len(texts), dtype=bool)].mean())


def retrieval_cosine(hits: Iterable[bool], random_pair: float) -> np.ndarray:
    """Recall cosine of RAG: hit · 1 + (1 − hit) · c, [b]; the mean is the paper's formula with the hit rate.

    Parameters
    ----------
    hits
        For each of b questions, whether the right memory was retrieved.
    random_pair
        c, from `random_pair_cosine`.

    Notes
    -----
    Paper, section "Metrics": what RAG retrieves is a stored text, so a hit is a perfect recall and a miss is another memory.
    """
    hit = np.array(list(hits), dtype=float)
    return hit + (1 - hit) * random_pair


def macro_accuracy(frame: pd.DataFrame) -> float:
    """Mean over subjects of the share of right answers, each subject counting alike whatever its size.

    Parameters
    ----------
    frame
        One row per question: columns ``subject`` and ``correct`` (truth values).

    Raises
    ------
    MemsciError
        If a column or a value is missing, there are no rows, or ``correct`` holds anything but truth values (or 0 and
        1).
    """
    if missing := [column for column in ("subject", "correct") if column not in frame.columns]:
        raise MemsciError(f"The table of answers needs the column {missing[0]!r}; it has {list(frame.columns)}.")
    if frame.empty or frame[["subject", "correct"]].isna().any(axis=None) or not frame["correct"].isin([0, 1]).all():
        raise MemsciError("The table of answers needs rows, each with a subject and a truth value `correct`.")
    return float(frame["correct"].astype(float).groupby(frame["subject"]).mean().mean())


def correct_gate(target_ids: Iterable[str | Sequence[str]], top_ids: Iterable[str]) -> np.ndarray:
    """For each query, whether the memory with the highest gate is the right one, [b] of bool.

    The mean is the paper's correct-gate rate.

    Parameters
    ----------
    target_ids
        The id of the right memory of each query, or several ids of which any will do (compositional questions).
    top_ids
        The id with the highest gate for each query.

    Raises
    ------
    MemsciError
        If there are not as many of the one as of the other.
    """
    targets, tops = list(target_ids), list(top_ids)
    if len(targets) != len(tops):
        raise MemsciError(f"As many right ids as top ids are needed; given: {len(targets)} and {len(tops)}.")
    return np.array(
        [
            top == target if isinstance(target, str) else top in target
            for target, top in zip(targets, tops, strict=True)
        ],
        dtype=bool,
    )


def gate_confusion(
    target_ids: Iterable[str | Sequence[str]], top_ids: Iterable[str], ids: Sequence[str]
) -> pd.DataFrame:
    """Which memory the gate opens most for questions about each memory: the gate's confusion matrix, [n, n].

    Parameters
    ----------
    target_ids
        The id of the right memory of each query, or several ids; a query with several counts by equal shares in the rows
        of all of them.
    top_ids
        The id with the highest gate for each query.
    ids
        All n memories, in the order that rows and columns are to have.

    Returns
    -------
    pandas.DataFrame
        Share of the queries about the row's memory for which the column's memory had the highest gate. A row sums to 1;
        the row of a memory that no query is about is missing values. The diagonal is the correct-gate rate by memory.

    Raises
    ------
    MemsciError
        If there are not as many right ids as top ids, or an id is not among `ids`, or one stands there twice.

    Notes
    -----
    Paper, Fig. 8. How queries about two memories are counted is *not stated in the paper*.
    """
    targets, tops, known = list(target_ids), list(top_ids), list(ids)
    if len(targets) != len(tops):
        raise MemsciError(f"As many right ids as top ids are needed; given: {len(targets)} and {len(tops)}.")
    place = {id: position for position, id in enumerate(known)}
    if len(place) != len(known):
        raise MemsciError("The ids of a confusion matrix must be different; one is given twice.")
    counts = np.zeros((len(known), len(known)))
    for target, top in zip(targets, tops, strict=True):
        about = [target] if isinstance(target, str) else list(target)
        if unknown := [id for id in (*about, top) if id not in place]:
            raise MemsciError(
                f"There is no memory {unknown[0]!r} among the {len(known)} ids: give the ids of all memories."
            )
        for id in about:
            counts[place[id], place[top]] += 1 / len(about)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.full_like(counts, np.nan), where=sums > 0)
    return pd.DataFrame(shares, index=pd.Index(known, name="memory_id"), columns=pd.Index(known, name="top_id"))


def _unit_vectors(texts: list[str], embed: Callable[[list[str]], Any]) -> np.ndarray:
    vectors = np.asarray(embed(texts), dtype=float)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise MemsciError(
            f"embed must give one finite vector for each of {len(texts)} texts; it gave shape "
            f"{vectors.shape}{'' if np.isfinite(vectors).all() else ' with values that are not finite'}."
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def _count(texts: Sequence[str]) -> str:
    return "one string" if isinstance(texts, str) else str(len(texts))
