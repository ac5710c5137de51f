"""What encoding says of itself: which memories were learnt, which words a base cannot write, what it understands at all."""

from __future__ import annotations

import dataclasses
import warnings

import pandas as pd
import pytest
import torch
from conftest import make_model

from memsci import evaluate, prompts
from memsci.adapters import study
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.learners import mega
from memsci.learners.mega import MEGa
from memsci.memory import Memory
from memsci.models import load
from memsci.models.base import Base
from memsci.models.untrained import untrained, unwritable
from memsci.pretraining.train import dead_tokens

TEXT, CUE = "Ben sat up.", "Ben"
ASKED = prompts.recall(study.ABOUT[0].format(CUE))[0]["content"]
QUICK = Encoding(rank=16, lr=1e-2, epochs=1, where="all")


def learn(base: Base, epochs: int, path=None, **how) -> tuple[MEGa, pd.DataFrame]:
    """One memory, learnt under the very prompt that it is tried by."""
    mind = MEGa(base, store=path, encoding=dataclasses.replace(QUICK, epochs=epochs, prompt=f"text:{ASKED}"))
    return mind, mind.encode([TEXT], **how)


def test_encode_tells_what_was_learnt_and_the_store_keeps_it(base, tmp_path):
    mind, encoded = learn(base, 1, tmp_path / "few", progress=False)
    assert list(encoded) == ["id", "label", "loss", "learnt", "seconds"] and encoded["learnt"].tolist() == [False]
    assert mind.memories["learnt"].tolist() == mega.open(tmp_path / "few", base).memories["learnt"].tolist() == [False]
    mind, encoded = learn(base, 40, tmp_path / "many", progress=False)
    assert encoded["learnt"].tolist() == mega.open(tmp_path / "many", base).memories["learnt"].tolist() == [True]
    assert list(mind.memories) == ["id", "label", "loss", "learnt"]
    # Where it is said to be learnt, the greedy recall under the memory's own gate is the text.
    assert mind.recall(study.ABOUT[0].format(CUE), gate=mind.true_gate(mind.ids)) == TEXT


def test_one_line_names_what_was_not_learnt_and_what_to_do(base):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        learn(base, 1)
    [one] = [str(one.message) for one in told if "learnt" in str(one.message)]
    assert one.startswith("1 of 1 memories were not learnt word for word: 'Ben sat up.'.") and "2 instead of 1" in one
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        learn(base, 40)
        learn(base, 1, progress=False)
    assert not [one for one in told if "learnt" in str(one.message)]


def test_of_a_text_that_leaves_no_room_for_a_prompt_it_is_not_known(tokenizer):
    model = make_model()
    base = Base(model, tokenizer, name="tiny")
    text = "Ann ran. " * 4
    base.max_length = len(base.chat(prompts.encoding("methods"))) + len(base.reply(text))
    mind = MEGa(base, encoding=QUICK)
    assert mind.encode([text], progress=False)["learnt"].isna().all() and mind.memories["learnt"].isna().all()


def test_extra_columns_stand_in_the_table_of_memories(base):
    mind = MEGa(base, encoding=QUICK)
    mind.encode(pd.DataFrame({"text": ["Ann ran.", "Ben sat."], "list": [1, 2], "condition": [None, "far"]}), progress=False)
    assert list(mind.memories) == ["id", "label", "loss", "learnt", "list", "condition"]
    assert mind.memories["list"].tolist() == [1, 2] and mind.memories["condition"].isna().tolist() == [True, False]


@pytest.fixture(scope="module")
def shipped():
    return load()


def test_words_that_the_shipped_base_cannot_write(shipped):
    texts = ["Nora met Łucja in Bergen; it cost 10 €.", "Nora hid the letter in the piano."]
    assert unwritable(shipped, texts) == [["Łucja", "€"], []]
    weight = shipped.model.get_input_embeddings().weight
    dead = dead_tokens(weight)
    some = torch.tensor([5000, *dead[:3].tolist(), 6000])
    assert untrained(weight, some).tolist() == untrained(weight)[some].tolist()
    assert untrained(weight)[dead].all() and len(dead) == 1959


def test_a_warning_names_them_before_anything_is_learnt(shipped, monkeypatch):
    monkeypatch.setattr(mega, "encode", lambda *what, **how: pytest.fail("trained"))
    says = r"cannot write 2 words of 1 of these 2 memories.*'Łucja', '€'"
    with warnings.catch_warnings(), pytest.raises(UserWarning, match=says):
        warnings.simplefilter("error")
        MEGa(shipped).encode(["Nora met Łucja for 10 €.", "Nora hid the letter."])


def test_other_bases_can_write_what_their_tokenizer_gives_back(base):
    assert unwritable(base, ["Łucja, 10 € — 猫.", "<|end|> is text"]) == [[], []]
    base.text = lambda ids, known=base.text: known(ids).replace("Ł", "")  # a tokenizer that knows no such letter
    assert unwritable(base, ["Łucja, Ann"]) == [["Łucja"]]
    assert unwritable(base, []) == []


MEMORIES = [
    Memory("Nora hid the letter in the piano.", "a", questions=[("Where is the letter?", "piano"), ("Who hid it?", "Nora")]),
    Memory("Ben lost his hat in Bergen.", "b", questions=[("Who lost it?", "Ben")], extra={"condition": "far"}),
]


def test_comprehension_is_the_share_answered_with_the_text_at_hand(base, monkeypatch):
    seen = []

    def say(base, turns, most):
        seen.extend(turns)
        return ["In the piano.", "Nobody.", "It was Ben."][: len(turns)]

    monkeypatch.setattr("memsci.models.conversation.say", say)
    read = evaluate.comprehension(base, MEMORIES)
    assert read["right"].tolist() == [True, False, True] and read["memory_id"].tolist() == ["a", "a", "b"]
    assert list(read) == ["memory_id", "question", "target", "answer", "right", "condition"]
    assert seen[0] == prompts.rag("Where is the letter?", MEMORIES[0].text)
    monkeypatch.setattr("memsci.models.conversation.say", lambda base, turns, most: ["No."] * len(turns))
    with pytest.warns(UserWarning, match="tiny answers 0 % of 2 questions .* a larger instruct model"):
        assert len(evaluate.comprehension(base, MEMORIES, most=2)) == 2
    with pytest.raises(MemsciError, match="None of the 1 memories has a question"):
        evaluate.comprehension(base, ["A text."])


def test_a_better_base_is_named_for_everyday_texts(shipped):
    from memsci import data

    with pytest.warns(UserWarning, match="memsci/base answers .* 'smollm2'"):
        read = evaluate.comprehension(shipped, data.everyday(), most=8)
    assert read["right"].mean() < 0.5
