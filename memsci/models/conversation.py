"""Conversations in, words out: what every learner says, in batches of like length, whatever its weights do meanwhile.

Shapes do not appear here: a conversation is a list of messages (`memsci.prompts`), and a result stands where its
conversation stood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, pairwise
from typing import Any

from memsci import prompts
from memsci.errors import MemsciError
from memsci.later import later
from memsci.memory import QuizItem
from memsci.models import generate
from memsci.models.base import Base, batches
from memsci.prompts import Messages

pd = later("pandas")

BATCH = 32  # conversations answered in one pass
RECALL_TOKENS, ANSWER_TOKENS = 128, 48  # longest replies

# What the model runs within while the conversations of these numbers are its batch: MEGa gives their mixture.
Within = Callable[[list[int]], AbstractContextManager]


def as_it_is(rows: list[int]) -> AbstractContextManager:
    """The model as it is."""
    return nullcontext()


def say(base: Base, turns: Sequence[Messages], max_new_tokens: int, within: Within = as_it_is) -> list[str]:
    """What the model says next in each conversation: greedily, up to the end of its turn (paper: greedy decoding).

    Parameters
    ----------
    base
        The model that speaks.
    turns
        b conversations.
    max_new_tokens
        Longest reply, in tokens.
    within
        From the numbers of the conversations of one batch, in their order in it, to the context in which they run.
        Default: the model as it is.

    Returns
    -------
    list of b str
    """
    rows = [base.chat(turn) for turn in turns]
    return _in_batches(rows, within, lambda k: generate.generate(base, _take(rows, k), max_new_tokens))


def say_twice(
    base: Base,
    turns: Sequence[Messages],
    follow: Callable[[int, str], Messages],
    max_new_tokens: tuple[int, int],
    within: Within = as_it_is,
) -> list[tuple[str, str]]:
    """What the model says next in each conversation, and then in the one that `follow` makes of its number and the reply.

    What both conversations begin with is read once, so both turns run in the same context. Otherwise as `say`, twice.
    """
    rows = [base.chat(turn) for turn in turns]

    def run(group: list[int]) -> list[tuple[str, str]]:
        longer = lambda k, told: base.chat(follow(group[k], told))
        return generate.converse(base, _take(rows, group), longer, max_new_tokens)

    return _in_batches(rows, within, run)


def logprob(
    base: Base, turns: Sequence[Messages], answers: Sequence[str | Sequence[str]], within: Within = as_it_is
) -> pd.DataFrame:
    """Log probability of given replies to each conversation: Σ_j log p(y_j | conversation, y_<j), in nats.

    Parameters
    ----------
    base, turns, within
        As in `say`.
    answers
        A reply for each conversation, or a list of several, which reads it once for all of them; the end of the turn is not
        part of them.

    Returns
    -------
    pandas.DataFrame
        A row per reply, in their order: logprob (the sum), tokens (their number); logprob / tokens is the mean per token.
    """
    if len(answers) != len(turns):
        raise MemsciError(f"{len(turns)} questions and {len(answers)} answers were given; give one answer each.")
    rows = [base.chat(turn) for turn in turns]
    replies = [[base.reply(one, end=False) for one in ([some] if isinstance(some, str) else some)] for some in answers]
    if all(len(some) == 1 for some in replies):
        run = lambda k: [[total] for total in generate.logprob(base, _take(rows, k), [replies[i][0] for i in k])[0].tolist()]
    else:
        run = lambda k: generate.alternatives(base, _take(rows, k), _take(replies, k))
    scored = _in_batches(rows, within, run)
    return pd.DataFrame(
        [(total, len(reply)) for sums, some in zip(scored, replies) for total, reply in zip(sums, some, strict=True)],
        columns=["logprob", "tokens"],
    )


def choose(
    base: Base, turns: Sequence[Messages], within: Within = as_it_is, options: Sequence[int] | None = None
) -> list[int]:
    """Index of the letter that comes next in each conversation of `memsci.prompts.mmlu` (paper, MMLU protocol); `options`
    are the numbers of options to choose from, four each if not given."""
    rows, options = [base.chat(turn) for turn in turns], options or [4] * len(turns)
    chosen = [0] * len(rows)
    for n in sorted(set(options)):
        alike = [k for k, number in enumerate(options) if number == n]
        run = lambda group: generate.choose(base, _take(rows, _take(alike, group)), prompts.MMLU_LETTERS[:n])  # noqa: B023
        inside = lambda group: within(_take(alike, group))  # noqa: B023
        for k, letter in zip(alike, _in_batches(_take(rows, alike), inside, run), strict=True):
            chosen[k] = letter
    return chosen


def choose_text(base: Base, items: Sequence[QuizItem], within: Within = as_it_is, normalised: bool = True) -> list[int]:
    """Index of the option whose text is the likeliest answer to each question, for models at chance with letters.

    Each option is read as the reply to `memsci.prompts.cloze`, and the one of the greatest log p is chosen; `normalised`:
    of the greatest log p divided by the bytes of its text in UTF-8 (lm-evaluation-harness: nearly acc_norm, which counts
    characters; else acc).

    Parameters
    ----------
    base, within
        As in `say`.
    items
        b questions.
    normalised
        Divide by length, so that long options are not at a loss.
    """
    turns = [prompts.cloze(item.subject, item.question) for item in items]
    texts = [[f" {option}" for option in item.options] for item in items]
    scores = logprob(base, turns, texts, within)["logprob"].to_numpy()
    if normalised:
        scores = scores / [len(option.encode()) for item in items for option in item.options]
    ends = list(accumulate(len(item.options) for item in items))
    return [int(scores[start:end].argmax()) for start, end in pairwise([0, *ends])]


def _in_batches(rows: list[list[int]], within: Within, run: Callable[[list[int]], Iterable]) -> list:
    """`run` on batches of prompts of like length, each in its context; results in the order of the prompts."""
    results: list[Any] = [None] * len(rows)
    for group in batches([len(row) for row in rows], BATCH):
        with within(group):
            for k, result in zip(group, run(group), strict=True):
                results[k] = result
    return results


def _take(values: Sequence, indices: Sequence[int]) -> list:
    return [values[k] for k in indices]
