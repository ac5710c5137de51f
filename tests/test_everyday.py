"""The everyday memories: every question has its answer in the text of its own memory, and there alone."""

from __future__ import annotations

import dataclasses
import doctest
import importlib

import pytest

from memsci.data import everyday, unanswered
from memsci.measures.text_match import contains
from memsci.memory import Partition
from memsci.models import gguf

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


@pytest.mark.skipif(gguf.smollm2() is None, reason="SmolLM2 is not installed (make does it)")
def test_the_demo_on_smollm2_recalls_finds_and_closes(tmp_path):
    from memsci import demo
    from memsci.learners import BaseAlone
    from memsci.models import load

    material, base = demo.everyday(), load(gguf.SMOLLM2)
    assert max(len(base.reply(memory.text)) for memory in material.memories) <= demo.EVERYDAY_TOKENS
    few = Partition("everyday", material.memories.memories[7:10])
    tables = demo.demo(dataclasses.replace(material, memories=few), tmp_path, base)
    summary = tables["summary"].set_index("method")
    assert summary.loc["MEGa", "correct gate %"] == 100
    assert summary.loc["MEGa", "recall cos"] > 0.9 > summary.loc["Base", "recall cos"]
    assert summary.loc["Base", "contained %"] == 0 < summary.loc["iRAG", "contained %"]
    assert tables["unanswered"]["gate"].tolist() == ["closed", "closed"]
    assert tables["unanswered"]["answer"].tolist() == BaseAlone(base).answer(list(material.unanswered))
    assert {"demo_gate.png", "demo_recall.md", "demo_unanswered.csv"} <= {path.name for path in tmp_path.iterdir()}
