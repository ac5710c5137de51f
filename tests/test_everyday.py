"""The everyday memories: every question has its answer in the text of its own memory, and there alone."""

from __future__ import annotations

import doctest
import importlib

import pytest

from memsci.data import everyday, unanswered
from memsci.measures.text_match import contains

PARTITION = everyday()


def test_there_are_24_of_one_wording_with_two_questions_each():
    assert len(PARTITION.memories) == 24
    assert all(len(m.questions) == 2 and not m.paraphrases for m in PARTITION.memories)
    assert all(30 <= len(m.text.split()) <= 50 for m in PARTITION.memories)
    assert len(unanswered()) == 2


@pytest.mark.parametrize("memory", PARTITION.memories, ids=lambda memory: memory.id)
def test_each_question_has_a_short_answer_in_its_own_memory(memory):
    for question in memory.questions:
        assert contains(memory.text, question.answer), question
        assert len(question.answer.split()) <= 9
        assert not contains(question.text, question.answer), question


def test_no_memory_answers_the_unanswered():
    for word in ("Fiona", "Mossholm", "Oakhurst", "chess"):
        assert not any(word in memory.text for memory in PARTITION.memories)


def test_examples():
    assert doctest.testmod(importlib.import_module("memsci.data.everyday")).failed == 0
