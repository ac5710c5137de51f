"""List strength: lists are what they say, planted effects are found, and keys that do not change give a ratio of 1."""

from __future__ import annotations

import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_model, make_tokenizer

from memsci.config import Encoding
from memsci.learners.mega import MEGa
from memsci.measures.text_match import contains
from memsci.models.base import Base
from memsci.phenomena import controls
from memsci.phenomena.result import Phenomenon, tidy

matplotlib.use("Agg")
strength = sys.modules["memsci.phenomena.strength"]


def test_each_memory_is_weak_and_strong_once_in_mixed_lists_and_in_pure_ones():
    lists = strength.mixtures(8)
    where = pd.DataFrame(strength.cells(lists), columns=["list", "cell", "place"])
    assert (where.groupby(["cell", "place"]).size() == 1).all() and set(where["cell"]) == set(strength.CELLS)
    assert [set(how) for how in lists.values()] == [{"weak"}, {"strong"}, {"weak", "strong"}, {"weak", "strong"}]
    assert lists["mixed 1"].count("weak") == lists["mixed 2"].count("weak") == 4


def test_other_answers_are_answers_to_no_question_of_the_memory():
    studied, weighed = strength.material(3)
    assert len(studied) == strength.STUDIED and len({memory.label for memory in studied}) == strength.STUDIED
    for memory, pairs in zip(studied, weighed):
        assert [true for true, _ in pairs] == [one.answer for one in memory.questions] and len(pairs) == 4
        assert not any(contains(memory.text, false) for _, false in pairs)


def test_in_plain_english_whole_sentences_are_weighed_that_differ_in_the_answer():
    for memory, pairs in zip(*strength.material(3, plain=True)):
        assert not memory.paraphrases and {true for true, _ in pairs} == {memory.text}
        for one, (true, false) in zip(memory.questions, pairs):
            assert contains(true, one.answer) and not contains(false, one.answer)
            same = [word for word in true.split() if word in false.split()]
            assert len(true.split()) - len(same) <= len(one.answer.split()) + 1  # and the article before it


def planted(mixed_strong: float, mixed_weak: float = 0.5, n: int = 100) -> pd.DataFrame:
    """Questions of which given shares are answered in mixed lists, and .8 and .5 of strong and weak ones in pure lists."""
    rows = []
    for cell, share in zip(strength.CELLS, (0.5, 0.8, mixed_weak, mixed_strong)):
        right = np.arange(n) < share * n
        rows.append(pd.DataFrame({"cell": cell, "right": right, "true": right * 1.0, "false": np.linspace(-1, 0, n)}))
    return pd.concat(rows, ignore_index=True)


def ratios(plain: pd.DataFrame, active: pd.DataFrame, scores: torch.Tensor) -> pd.Series:
    told = {"weak": np.full(8, 0.6), "strong": np.ones(8)}
    rows = strength.measured(plain, active, told, scores)
    return rows[rows["measure"] == "ratio of ratios"].set_index("condition")["value"]


SCORES = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_an_effect_of_strength_is_told_from_one_of_the_list():
    found = ratios(planted(0.8), planted(0.9, 0.4), SCORES)
    assert found["cued recall"] == found["recognition"] == 1
    assert found["cued recall, w = 1"] == pytest.approx((90.5 / 40.5) / (80.5 / 50.5))
    assert found["free recall, w = 0"] == pytest.approx(1, abs=1e-9) and found["free recall, w = 1"] > 1.03


def test_without_activation_a_walk_does_not_know_what_is_strong():
    lists = strength.mixtures(8)
    same = [strength.visits(SCORES, how, 0.0) for how in lists.values()]
    assert all(np.array_equal(one, same[0]) for one in same) and 0.5 < same[0].mean() < 1
    mixed = strength.visits(SCORES, lists["mixed 1"], 1.0)
    assert mixed[1::2].mean() - mixed[::2].mean() > 0.03  # every second memory is strong
    pure = strength.visits(SCORES, lists["pure strong"], 1.0)
    assert np.allclose(pure, same[0])


@pytest.mark.parametrize(("planted_ratio", "verdict"), [(1.3, "holds"), (1.0, "open")])
def test_the_claim_is_found_where_it_is_planted_and_not_where_it_is_not(planted_ratio, verdict):
    draw = np.random.default_rng(0)
    rows = [
        {"list": k, "method": "MEGa", "condition": "free recall, w = 1", "measure": "ratio of ratios", "value": value}
        for k, value in enumerate(planted_ratio + draw.normal(0, 0.1, 20))
    ]
    found = Phenomenon(strength.NAME, tidy(rows, phenomenon=strength.NAME)).test().set_index("claim")["verdict"]
    assert found["MEGa with activation: one in free recall"] == verdict
    assert found["MEGa: no list-strength effect in cued recall"] == "not run"


def test_both_strengths_are_in_one_store_with_the_same_keys(monkeypatch):
    studied, weighed = (part[:3] for part in strength.material(0))
    studied = tuple(replace(memory, paraphrases=memory.paraphrases[:1]) for memory in studied)
    quick = Encoding(rank=2, epochs=1, lr=1e-3)
    monkeypatch.setattr(controls, "learner", lambda method, base, seed: MEGa(base, encoding=quick, seed=seed))
    monkeypatch.setattr(Encoding, "suited", classmethod(lambda cls, base, memories=(): quick))
    monkeypatch.setattr(strength, "material", lambda number, plain: (studied, weighed))
    # What a model of random weights says is long and nothing.
    monkeypatch.setattr(MEGa, "answer", lambda self, texts, gate: ["It was so."] * len(texts))
    monkeypatch.setattr(MEGa, "recall", lambda self, texts, gate: [studied[0].text] * len(texts))
    base = Base(make_model(), make_tokenizer(), name="tiny")
    mind = strength.learn(base, studied)
    assert mind.ids == tuple(f"{memory.id}-{how}" for how in ("strong", "weak") for memory in studied)
    keys = mind.store.keys()
    assert torch.equal(keys[:3], keys[3:])
    told = strength.facts(mind, studied)
    assert told["weak"][0] == told["strong"][0] == 1 > told["weak"][1:].max()
    table = strength._measure("MEGa", base, 0, 0, lambda done, total: None)
    assert set(strength.TASKS) <= set(table["measure"]) and np.isfinite(table["value"]).all()


def test_the_figure_is_drawn():
    rows = []
    for number in range(5):
        for task in strength.TASKS:
            rows += [{"condition": cell, "measure": task, "value": 0.5 + 0.1 * number} for cell in strength.CELLS]
            rows.append({"condition": task, "measure": "ratio of ratios", "value": 1.0 + 0.01 * number})
        rows = [{"list": number, **row} for row in rows]
    table = tidy(pd.DataFrame(rows).drop_duplicates(), phenomenon=strength.NAME, method="MEGa")
    figure = Phenomenon(strength.NAME, table).figure()
    assert [ax.get_title(loc="left") for ax in figure.axes][-1] == "ratio of ratios"
