"""Multiple choice by the likelihood of the option's text, as lm-evaluation-harness scores it."""

from __future__ import annotations

import pytest
import torch

import memsci
from memsci import prompts
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.memory import QuizItem
from memsci.models import conversation as speak

ITEMS = [
    QuizItem("world_capitals", "What is the capital of France?", ("Rome", "Paris", "A town called Lyon", "Bern"), 1),
    QuizItem("sums", "What is two and two?", ("one", "twenty-two", "four", "five and a half of them"), 2),
]


def by_hand(base, item, normalised):
    """Log p of each option in a plain pass, one at a time."""
    scores = []
    for option in item.options:
        asked = base.chat(prompts.cloze(item.subject, item.question))
        told = base.tokens(" " + option, bos=False)
        logits = base.model(torch.tensor([asked + told])).logits[0, len(asked) - 1 : -1].log_softmax(dim=-1)
        total = sum(row[token].item() for row, token in zip(logits, told, strict=True))
        scores.append(total / len(option.encode()) if normalised else total)
    return scores.index(max(scores))


@pytest.mark.parametrize("normalised", [True, False])
def test_the_likeliest_text_is_chosen(base, normalised):
    expected = [by_hand(base, item, normalised) for item in ITEMS]
    assert speak.choose_text(base, ITEMS, normalised=normalised) == expected


def test_the_prompt_tells_no_option():
    asked = prompts.cloze("world_capitals", "What is the capital of France?")
    assert asked[0]["content"] == "The following are questions (with answers) about world capitals."
    assert asked[1]["content"] == "Question: What is the capital of France?"
    assert asked[-1] == {"role": "assistant", "content": "Answer:"}


def test_each_question_has_its_own_gate(base, opened):
    mind = memsci.MEGa(base, encoding=Encoding(rank=2, epochs=1))
    mind.encode([memsci.Memory("Nora hid it.", "a"), memsci.Memory("Tom sold it.", "b")], progress=False)
    given = mind.gate_by_hand([{"a": 1.0}, {"b": 0.5}])
    assert len(mind.choose(ITEMS, gate=given, by="text")) == 2
    rows = torch.cat(opened)
    assert rows.shape == (8, 2) and sorted(rows.tolist()) == [[0.0, 0.5]] * 4 + [[1.0, 0.0]] * 4
    assert mind.choose(ITEMS, gate=mind.gate_by_hand([{}, {}]), by="text") == speak.choose_text(base, ITEMS)
    with pytest.raises(MemsciError, match="by must be one of 'letter', 'text'"):
        mind.choose(ITEMS, by="number")
