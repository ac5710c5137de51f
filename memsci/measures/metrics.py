"""How answers and recalls are scored (paper, section "Metrics"): every metric is declared once, beside what computes it.

First the metrics of a table of responses, by the names that tables of scores have; then the plain functions of texts,
vectors and tables that they rest on. The paper's judge is a language model. `judge` applies its two conditions as fixed
rules, so that a score needs no network and is the same tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from memsci.errors import MemsciError, check_columns, check_in
from memsci.later import later
from memsci.measures import methods
from memsci.measures.text_match import chooses, contains, offers, one_sentence, parts
from memsci.prompts import without_thoughts

pd = later("pandas")

KEYS = ("dataset", "partition", "method", "setting", "stop")  # what a row of a run's tables belongs to
BETWEEN = "\n\n"  # stands between the texts of several memories that a question is about
UNITS = ("share", "nats", "nats per token", "cosine")

Embed = Callable[[list[str]], Any]  # from b texts to vectors [b, d]
Measure = Callable[["pd.DataFrame", Embed], "pd.Series"]


@dataclass(frozen=True)
class Metric:
    """What the values of one metric in a table of scores are, and how they come about.

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
    measure
        From a table of responses (`memsci.evaluate.ask`, with the column method) and an embedding to values, indexed by the
        rows that are scored; of a quiz, from its table. None: the values come from a judge.
    of
        What a value belongs to: a "response", an item of the "quiz", or all responses of the same keys ("group").
    column
        Its column in `memsci.evaluate.summary`; "" for none.
    embeds
        Whether the protocol is to name the embedding.
    """

    label: str
    unit: str
    higher_is_better: bool
    protocol: str
    measure: Measure | None = None
    of: Literal["response", "quiz", "group"] = "response"
    column: str = ""
    embeds: bool = False

    @property
    def factor(self) -> int:
        """By what the summary multiplies: shares stand there in per cent."""
        return 100 if self.unit == "share" else 1


METRICS: dict[str, Metric] = {}  # in the order of the rows of a table of scores


def metric(name: str, **about: Any) -> Callable[[Measure], Measure]:
    """Enter the function below as a metric of this name; the parameters are those of `Metric`."""
    check_in(f"the unit of {name!r}", about.get("unit"), UNITS)

    def enter(measure: Measure) -> Measure:
        METRICS[name] = Metric(measure=measure, **about)
        return measure

    return enter


# The protocols stand in the tables of kept runs, so they keep the names that modules had when they were written:
# `memsci.metrics` is this module, `memsci.wording` is `memsci.measures.text_match`.
METRICS["qa"] = Metric(
    "QA accuracy", "share", True,
    "1 if the answer contains the true answer and is at most one sentence, both by rule (memsci.metrics.judge), else 0; "
    "to a question that names the true answer beside others (A or B?) it must choose (memsci.wording.chooses).",
    column="QA %",
)  # fmt: skip
METRICS["qa by model"] = Metric(
    "QA accuracy (language-model judge)", "share", True,
    "1 if a language model that reads article, question, true answer and answer finds that the answer contains the "
    "true answer and is at most one sentence, else 0 (paper, Metrics).",
    column="QA by model %",
)  # fmt: skip


@metric(
    "parts", label="parts of the answer", unit="share", higher_is_better=True, column="facts said %",
    protocol="Share of the items of a true answer to a question about several memories (A and B) that stand in the answer "
    "(memsci.wording.parts), however long it is.",
)  # fmt: skip
def _parts(rows: pd.DataFrame, embed: Embed) -> pd.Series:
    return _said(rows).map(np.mean)


@metric(
    "all parts", label="all parts of the answer", unit="share", higher_is_better=True, column="all facts %",
    protocol="1 if every item of a true answer to a question about several memories (A and B) stands in the answer "
    "(memsci.wording.parts), however long it is, else 0.",
)  # fmt: skip
def _all_parts(rows: pd.DataFrame, embed: Embed) -> pd.Series:
    return _said(rows).map(all).astype(float)


def _said(rows: pd.DataFrame) -> pd.Series:
    """Of each response to a question about several memories whose true answer is a list: which of its items were said."""
    joint = rows[_several(rows)]
    items = pd.Series([parts(*pair) for pair in zip(joint["answer"], joint["target"])], index=joint.index, dtype=object)
    return items[items.map(len) > 1]


@metric(
    "logprob", label="log prob of the answer", unit="nats", higher_is_better=True, column="log prob",
    protocol="Sum over the tokens of the true answer of their log probabilities after the prompt; the end of the turn does "
    "not count.",
)  # fmt: skip
def _logprob(rows: pd.DataFrame, embed: Embed) -> pd.Series:
    return rows["logprob"]


@metric(
    "logprob per token", label="log prob per token", unit="nats per token", higher_is_better=True,
    protocol="Mean over the tokens of the true answer of their log probabilities after the prompt; the end of the turn does "
    "not count.",
)  # fmt: skip
def _logprob_per_token(rows: pd.DataFrame, embed: Embed) -> pd.Series:
    return rows["logprob"] / rows["tokens"]


@metric(
    "recall cos", label="recall cosine", unit="cosine", higher_is_better=True, column="recall cos", embeds=True,
    protocol="Cosine between the embeddings of the recalled text and of the original memory, 0 for an empty recall; RAG, "
    "which recalls nothing, has 1 for a hit and the mean cosine of random pairs for a miss.",
)  # fmt: skip
def _recall_cosine(rows: pd.DataFrame, embed: Embed) -> pd.Series:
    """Of a method that recalls nothing: hit · 1 + (1 − hit) · c, with c the random-pair cosine of its data set and
    partition. It has none where a question is about several memories, of which it may have found one."""
    rows = rows[rows["original"].notna()]
    retrieved = ~rows["method"].map(methods.recalls).astype(bool)
    scored = ~(retrieved & _several(rows))
    recalling, cosines = rows[~retrieved], pd.Series(1.0, index=rows.index)
    texts, originals = recalling["recalled"].fillna("").tolist(), recalling["original"].tolist()
    cosines[~retrieved] = recall_cosine(texts, originals, embed)
    hits = _hits(rows).reindex(rows.index, fill_value=0.0)
    for world in _worlds(rows):
        missed = world.index[(retrieved & scored & (hits == 0))[world.index]]
        if len(missed):
            cosines[missed] = retrieval_cosine(hits[missed], random_pair_cosine(_memories(world), embed))
    return cosines[scored]


@metric(
    "correct gate", label="correct gate", unit="share", higher_is_better=True, column="correct gate %",
    protocol="1 if the memory with the highest gate (for RAG: the memory retrieved) is one that the question is about, else "
    "0.",
)  # fmt: skip
def _hits(rows: pd.DataFrame, embed: Embed | None = None) -> pd.Series:
    rows = rows[rows["top_id"].notna()]
    return pd.Series(correct_gate([ids.split() for ids in rows["memory_id"]], rows["top_id"]), rows.index).astype(float)


@metric(
    "random pair cos", label="random-pair cosine", unit="cosine", higher_is_better=False, of="group",
    protocol="Mean cosine over all pairs of different memories of the partition: what recall of a wrong memory scores.",
)  # fmt: skip
def _random_pairs(rows: pd.DataFrame, embed: Embed) -> pd.Series:
    """Of the memories asked about in each data set and partition, for each group there; missing with a single memory."""
    groups = []
    for world in _worlds(rows[rows["original"].notna()]):
        if len(texts := _memories(world)) > 1:
            owners = world[[name for name in KEYS if name in world]].drop_duplicates()
            groups.append(pd.Series(random_pair_cosine(texts, embed), index=owners.index))
    return pd.concat(groups) if groups else pd.Series(dtype=float)


_BY_LETTER = "the most probable next token among the option letters is the right one"
_BY_TEXT = "the option that is the most probable reply to the bare question (log p divided by its bytes) is the right one"


@metric(
    "knowledge", label="general knowledge", unit="share", higher_is_better=True, of="quiz", column="knowledge %",
    protocol=f"1 if {_BY_LETTER}, else 0; averaged within each subject, then over subjects.",
)  # fmt: skip
def _knowledge(quiz: pd.DataFrame, embed: Embed) -> pd.Series:
    return quiz["correct"]


def protocol_of(metric: Metric, table: pd.DataFrame) -> Any:
    """The protocol of a metric's values in a table: one text, or one a row where its quiz was put in several ways."""
    if metric.of != "quiz" or "by" not in table:
        return metric.protocol
    by_text = metric.protocol.replace(_BY_LETTER, _BY_TEXT)
    return table["by"].map({"text": by_text}).fillna(metric.protocol).to_numpy()


def _several(rows: pd.DataFrame) -> pd.Series:
    """Which responses are to questions about several memories."""
    return rows["memory_id"].str.contains(" ")


def _worlds(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The responses of each data set and partition."""
    names = [name for name in KEYS[:2] if name in rows]
    return [world for _, world in rows.groupby(names, sort=False, dropna=False)] if names else [rows]


def _memories(rows: pd.DataFrame) -> list[str]:
    """Texts of the single memories that were asked about."""
    alone = rows.loc[~_several(rows), "original"].unique().tolist()
    return alone or list(dict.fromkeys(text for joint in rows["original"] for text in joint.split(BETWEEN)))


# Plain functions


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

    Notes
    -----
    Paper, section "Metrics", where a language model judges by the same two conditions. A rule reads words, not
    meaning: a synonym counts as wrong, and a denial ("it was not Nora") or a list of guesses counts as right.

    Examples
    --------
    >>> judge("It took place on May 3rd.", "3 May"), judge("In May. It was warm.", "May")
    (True, False)
    """
    for what, text in (("answer", answer), ("true answer", truth), ("question", question)):
        if not isinstance(text, str):
            raise MemsciError(f"The {what} must be a text; {text!r} was given.")
    answer = sentence = without_thoughts(answer)
    if not one_sentence(truth):  # a name such as "Olympics Go! Paris 2024" ends no sentence
        sentence = answer.replace(truth.strip().rstrip(".!?"), "X")
    if not (contains(answer, truth) and one_sentence(sentence)):
        return False
    return chooses(answer, question) if offers(question, truth) else True


def recall_cosine(recalled: Sequence[str], originals: Sequence[str], embed: Embed) -> np.ndarray:
    """Cosine between the embeddings of each recalled text and its original, [b].

    Parameters
    ----------
    recalled, originals
        b texts each, in the same order. An empty recall scores 0 (not stated in the paper).
    embed
        Any function from a list of b texts to vectors [b, d]. The paper uses OpenAI text-embedding-3-large; scores of
        different embeddings cannot be compared.
    """
    if isinstance(recalled, str) or isinstance(originals, str) or len(recalled) != len(originals):
        given = f"{_count(recalled)} and {_count(originals)}"
        raise MemsciError(f"As many recalled texts as originals are needed, in two lists; given: {given}.")
    scores = np.zeros(len(recalled))
    rows = [row for row, text in enumerate(recalled) if text.strip()]
    if rows:
        a = _unit_vectors([recalled[row] for row in rows], embed)
        b = _unit_vectors([originals[row] for row in rows], embed)
        scores[rows] = (a * b).sum(axis=1)
    return scores


def random_pair_cosine(texts: Sequence[str], embed: Embed) -> float:
    """Mean cosine over all pairs of different texts: what recall of a wrong memory scores (c in the paper's RAG)."""
    if isinstance(texts, str) or len(texts) < 2:
        raise MemsciError(f"At least two texts are needed to make a pair; given: {_count(texts)}.")
    vectors = _unit_vectors(list(texts), embed)
    cosines = vectors @ vectors.T
    return float(cosines[~np.eye(len(texts), dtype=bool)].mean())


def retrieval_cosine(hits: Iterable[bool], random_pair: float) -> np.ndarray:
    """Recall cosine of RAG: hit · 1 + (1 − hit) · c, [b], with c from `random_pair_cosine` (paper, section "Metrics").

    What RAG retrieves is a stored text, so a hit is a perfect recall and a miss is another memory.

    Examples
    --------
    >>> retrieval_cosine([True, False], 0.5).tolist()
    [1.0, 0.5]
    """
    hit = np.array(list(hits), dtype=float)
    return hit + (1 - hit) * random_pair


def macro_accuracy(frame: pd.DataFrame) -> float:
    """Mean over subjects of the fraction of right answers, each subject counting alike whatever its size.

    Examples
    --------
    >>> macro_accuracy(pd.DataFrame({"subject": ["law", "law", "art"], "correct": [True, False, True]}))
    0.75
    """
    check_columns("The table of answers", ("subject", "correct"), frame.columns)
    if frame.empty or frame[["subject", "correct"]].isna().any(axis=None) or not frame["correct"].isin([0, 1]).all():
        raise MemsciError("The table of answers needs rows, each with a subject and a truth value `correct`.")
    return float(frame["correct"].astype(float).groupby(frame["subject"]).mean().mean())


def correct_gate(target_ids: Iterable[str | Sequence[str]], top_ids: Iterable[str]) -> np.ndarray:
    """For each query, whether the memory with the highest gate is the right one, or one of several that are, [b] of bool.

    The mean is the paper's correct-gate rate.

    Examples
    --------
    >>> correct_gate(["a", ["a", "b"], "c"], ["a", "b", "b"]).tolist()
    [True, True, False]
    """
    targets, tops = list(target_ids), list(top_ids)
    if len(targets) != len(tops):
        raise MemsciError(f"As many right ids as top ids are needed; given: {len(targets)} and {len(tops)}.")
    about = [[target] if isinstance(target, str) else target for target in targets]
    return np.array([top in several for several, top in zip(about, tops, strict=True)], dtype=bool)


def gate_confusion(target_ids: Iterable[str | Sequence[str]], top_ids: Iterable[str], ids: Sequence[str]) -> pd.DataFrame:
    """Which memory the gate opens most for questions about each memory: the gate's confusion matrix, [n, n].

    Parameters
    ----------
    target_ids, top_ids
        As in `correct_gate`; with several right ids the query counts in the row of each by equal parts (*not stated in the
        paper*).
    ids
        All n memories, in the order that rows and columns are to have.

    Returns
    -------
    pandas.DataFrame
        Fraction of the queries about the row's memory for which the column's memory had the highest gate (paper, Fig. 8). A
        row sums to 1, or is missing if no query is about its memory. The diagonal is the correct-gate rate by memory.

    Examples
    --------
    >>> gate_confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]).to_numpy().tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    targets, tops, known = list(target_ids), list(top_ids), list(ids)
    correct_gate(targets, tops)  # as many of both
    if len(set(known)) != len(known):
        raise MemsciError("The ids of a confusion matrix must be different; one is given twice.")
    counts = pd.DataFrame(0.0, pd.Index(known, name="memory_id"), pd.Index(known, name="top_id"))
    for target, top in zip(targets, tops):
        about = [target] if isinstance(target, str) else list(target)
        if unknown := [id for id in (*about, top) if id not in counts.index]:
            raise MemsciError(f"There is no memory {unknown[0]!r} among the {len(known)} ids: give the ids of all memories.")
        for id in about:
            counts.loc[id, top] += 1 / len(about)
    sums = counts.sum(axis=1)
    return counts.div(sums.where(sums > 0), axis=0)


def _unit_vectors(texts: list[str], embed: Embed) -> np.ndarray:
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
