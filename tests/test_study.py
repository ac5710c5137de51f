"""Lessons made of a memory's own parts: what they hold, and that training on them is training on plain sequences."""

from __future__ import annotations

import dataclasses
import doctest
import random

import pytest
import torch

from memsci.adapters import study
from memsci.adapters.encode import draws, encode, memory_seed
from memsci.adapters.lora import init_adapter, stack
from memsci.adapters.mixture import alone
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.memory import Memory
from memsci.models.sites import targets

SETTINGS = Encoding(rank=4, lr=2e-3, epochs=3, study="parts")
MEMORIES = [
    Memory("Nora hid the letter in the piano. Tom saw it on 4 May 1921.", id="a"),
    Memory("A crow stole the only key.", id="b"),
    Memory("Word", id="c"),
]


def gap(a, b) -> float:
    return max((x - y).abs().max().item() for p in a.deltas for x, y in zip(a.deltas[p], b.deltas[p], strict=True))


def test_a_recall_lesson_asks_for_the_whole_text_by_some_of_its_words():
    text = MEMORIES[0].text
    for seed in range(30):
        (turn,), told = study.recall_lesson(text, random.Random(seed))
        assert told == text
        assert turn["content"].endswith("Reconstruct the entire story that is related to the above question.")
        assert any(word in turn["content"] for word in text.replace(".", "").split())


def test_a_gap_lesson_asks_for_one_sentence_with_something_left_out():
    text = MEMORIES[0].text
    asked = set()
    for seed in range(60):
        (turn,), told = study.gap_lesson(text, random.Random(seed))
        question = turn["content"].removesuffix(" Answer should be no more than one sentence.")
        before, after = question.split(study.GAP)
        assert told in study.sentences(text) and told.startswith(before) and told.endswith(after)
        asked.add(told)
    assert asked == set(study.sentences(text))


def test_a_gap_lesson_leaves_words_out_whatever_stands_between_them():
    text = "nora  hid\nthe letter \n in\tthe piano."
    for seed in range(60):
        (turn,), told = study.gap_lesson(text, random.Random(seed))
        (plain,), _ = study.gap_lesson(" ".join(text.split()), random.Random(seed))
        assert told == text and study.GAP in turn["content"]
        assert turn["content"].split() == plain["content"].split()  # the same words as with single blanks


def test_lessons_come_from_the_seed_alone_and_differ_between_epochs(base):
    first, again, other = (study.lessons(base, MEMORIES[0], SETTINGS, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 3 and all(len(epoch) == 2 for epoch in first)
    assert first[0] != first[1]
    copies = study.lessons(base, MEMORIES[0], dataclasses.replace(SETTINGS, text_copies=3), 1)
    assert len(copies[0]) == 6


def test_a_lesson_too_long_for_the_model_is_refused(base):
    with pytest.raises(MemsciError, match="Memory long with its prompt takes"):
        encode(base, [Memory("word " * 200, id="long")], SETTINGS, progress=False)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_equals_training_on_whole_sequences_one_by_one(base, batch_size):
    encoding = dataclasses.replace(SETTINGS, batch_size=batch_size, text_epochs=1)
    memory = MEMORIES[0]
    generator = torch.Generator().manual_seed(memory_seed(0, memory.id))
    stacked = stack([init_adapter(base.model, targets(base.model), encoding, generator)])
    order = draws(generator, 3, 2)
    taught = study.lessons(base, memory, encoding, memory_seed(0, memory.id))
    for tensor in stacked.parameters:
        tensor.requires_grad_(True)
    optimiser = torch.optim.AdamW(stacked.parameters, lr=encoding.lr, weight_decay=encoding.weight_decay)
    batches = [[taught[e][k] for k in rows] for e in range(3) for rows in order[e].split(batch_size)] + [[taught[0][0]]]
    expected = []
    for batch in batches:
        total, tokens = 0.0, 0
        for asked, told in batch:
            with alone(base.model, stacked):
                logits = base.model(torch.tensor([asked + told])).logits[0, len(asked) - 1 : -1]
            total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(told), reduction="sum")
            tokens += len(told)
        loss = total / tokens
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        expected.append(loss.item())
    per_epoch = -(-2 // batch_size)
    means = [sum(expected[k : k + per_epoch]) / per_epoch for k in range(0, 3 * per_epoch, per_epoch)] + expected[-1:]
    (one,) = encode(base, [memory], encoding, progress=False)
    assert one.losses == pytest.approx(means, abs=1e-5)
    for path, (A, B) in one.adapter.deltas.items():
        assert (A - stacked.A[path][0]).abs().max() < 1e-5 and (B - stacked.B[path][0].T).abs().max() < 1e-5


def test_many_at_once_equal_each_alone(base):
    together = encode(base, MEMORIES, SETTINGS, progress=False)
    for memory, one in zip(MEMORIES, together, strict=True):
        (single,) = encode(base, [memory], SETTINGS, progress=False)
        assert gap(one.adapter, single.adapter) < 1e-5 and one.losses == pytest.approx(single.losses, abs=1e-5)


def test_settings_without_lessons_are_written_as_before():
    assert "study" not in Encoding().to_dict() and Encoding(study="parts").to_dict()["study"] == "parts"
    with pytest.raises(MemsciError, match="study must be one of 'text', 'parts'"):
        Encoding(study="all")


def test_examples():
    assert doctest.testmod(study).failed == 0
