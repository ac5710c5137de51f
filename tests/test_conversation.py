"""What is said in batches is what would be said one by one, within the context of each batch."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from memsci import prompts
from memsci.errors import MemsciError
from memsci.models import conversation, generate

QUESTIONS = ["Where is it?", "Who sang?", "What did Omar find by the lake?"]
ANSWERS = ["In the piano", "Ada", "A red kite"]
TURNS = [prompts.qa(text) for text in QUESTIONS]
QUIZ = [prompts.mmlu("sums", f"{text} 1 + 1?", ("1", "2", "3", "4")) for text in QUESTIONS]


@pytest.fixture(params=[32, 2])
def within(request, monkeypatch):
    """A context that notes which conversations run in it, and whether it is open."""
    monkeypatch.setattr(conversation, "BATCH", request.param)

    @contextmanager
    def noted(rows):
        noted.batches.append(list(rows))
        noted.open += 1
        yield
        noted.open -= 1

    noted.batches, noted.open, noted.size = [], 0, request.param
    return noted


def expected_batches(rows, size):
    order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
    return [order[k : k + size] for k in range(0, len(order), size)]


def test_say(base, within):
    rows = [base.chat(turn) for turn in TURNS]
    said = conversation.say(base, TURNS, 6, within)
    assert said == [generate.generate(base, [row], 6)[0] for row in rows]
    assert within.batches == expected_batches(rows, within.size) and within.open == 0
    assert said == conversation.say(base, TURNS, 6) and conversation.say(base, [], 6) == []


def test_logprob(base, within):
    found = conversation.logprob(base, TURNS, ANSWERS, within)
    assert list(found) == ["logprob", "tokens"] and found["tokens"].tolist() == [len(answer) for answer in ANSWERS]
    for k, (turn, answer) in enumerate(zip(TURNS, ANSWERS)):
        sums, _ = generate.logprob(base, [base.chat(turn)], [base.tokens(answer, bos=False)])
        assert found["logprob"][k] == pytest.approx(sums.item(), abs=1e-3)
    assert sorted(k for batch in within.batches for k in batch) == [0, 1, 2]
    assert list(conversation.logprob(base, [], [])) == ["logprob", "tokens"]
    with pytest.raises(MemsciError, match="3 questions and 1 answers"):
        conversation.logprob(base, TURNS, ["Ada"])


def test_choose(base, within):
    rows = [base.chat(turn) for turn in QUIZ]
    assert conversation.choose(base, QUIZ, within) == [generate.choose(base, [row])[0] for row in rows]
    assert within.batches == expected_batches(rows, within.size)


def test_a_context_is_left_whatever_happens(base):
    left = []

    @contextmanager
    def within(rows):
        try:
            yield
        finally:
            left.append(rows)

    with pytest.raises(MemsciError):
        conversation.say(base, [prompts.qa("why " * 200)], 6, within)
    assert left == [[0]]
