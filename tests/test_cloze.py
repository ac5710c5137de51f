"""Multiple choice by the likelihood of the option's text, as lm-evaluation-harness scores it."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

import memsci
from memsci import evaluate, learners, prompts
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.experiments import Experiment
from memsci.files import content
from memsci.measures import metrics
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


MANY = [
    QuizItem("sums", "Is two more than one?", ("no", "yes"), 1),
    *ITEMS,
    QuizItem("letters", "Which letter comes last?", tuple("abcdefghijklmnopqrstuvwxyz"), 25),
]


@pytest.mark.parametrize("by", ["letter", "text"])
def test_questions_have_any_number_of_options(base, by):
    learner = learners.make("Base", base)
    chosen = learner.choose(MANY, by=by)
    assert chosen == [learner.choose([item], by=by)[0] for item in MANY]
    if by == "text":
        assert chosen == [by_hand(base, item, True) for item in MANY]
    for options, answer in ((("yes",), 0), (("a",) * 27, 0), (("no", "yes"), 2)):
        with pytest.raises(MemsciError, match="2 to 26 are needed|must be the index 0 to 1"):
            QuizItem("sums", "Is it so?", options, answer)


def test_a_quiz_by_text_says_so_in_its_table_and_its_scores(base):
    learner = learners.make("Base", base)
    table = evaluate.ask_quiz(learner, MANY, by="text")
    assert table["chosen"].tolist() == learner.choose(MANY, by="text") and set(table["by"]) == {"text"}
    letters = evaluate.ask_quiz(learner, MANY)
    protocols = [metrics.protocol_of(metrics.METRICS["knowledge"], one) for one in (letters, table)]
    assert protocols[0] == metrics.METRICS["knowledge"].protocol and "letter" in protocols[0]
    assert "reply" in protocols[1][0] and "letter" not in protocols[1][0]
    both = metrics.protocol_of(metrics.METRICS["knowledge"], pd.concat([table, letters], ignore_index=True))
    assert list(both) == [*protocols[1], *[protocols[0]] * len(MANY)]


def test_an_experiment_names_how_its_quiz_is_put_and_old_cells_keep_their_names():
    old = Experiment(name="mine", title="t", measure="continual", methods=("Base",), partitions=(0,))
    new = dataclasses.replace(old, quiz_by="text")
    assert "quiz_by" not in old.to_dict() and new.to_dict()["quiz_by"] == "text"
    assert new.cells()[0].quiz_by == "text" and content(old.cells()) != content(new.cells())
    told = {name: value for name, value in dataclasses.asdict(old.cells()[0]).items() if name != "quiz_by"}
    assert content(old.cells()[0]) == content(told)
    with pytest.raises(MemsciError, match="quiz_by must be one of 'letter', 'text'"):
        dataclasses.replace(old, quiz_by="number")


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
    opened.clear()  # to see what was learnt, each was asked for
    given = mind.gate_by_hand([{"a": 1.0}, {"b": 0.5}])
    assert len(mind.choose(ITEMS, gate=given, by="text")) == 2
    rows = torch.cat(opened)
    assert sorted(rows.tolist()) == [[0.0, 0.5], [1.0, 0.0]]  # each question is read once for all of its options
    assert mind.choose(ITEMS, gate=mind.gate_by_hand([{}, {}]), by="text") == speak.choose_text(base, ITEMS)
    with pytest.raises(MemsciError, match="by must be one of 'letter', 'text'"):
        mind.choose(ITEMS, by="number")
