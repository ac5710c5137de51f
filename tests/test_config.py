"""Settings as plain values: written, read back, and the same in the eyes of what was kept before."""

from __future__ import annotations

import dataclasses
import math

import pytest

from memsci.config import KINDS, Embedding, Encoding, GateRule, Tuning
from memsci.errors import MemsciError, check_whole
from memsci.memory import Memory

ALL = (
    Encoding.paper(), Encoding.embedded(), Encoding(autocast=True, layers=(0, 2)), Embedding.paper(), GateRule.paper(),
    GateRule(beta=math.inf), GateRule(top_k=3, epsilon=0.01), Tuning.paper(), Tuning.embedded(),
)  # fmt: skip


@pytest.mark.parametrize("settings", ALL, ids=repr)
def test_what_is_written_reads_back(settings):
    assert type(settings).from_dict(settings.to_dict()) == settings


def test_settings_that_came_later_are_written_when_they_are_used():
    """Runs and stores from before them go by the hash of what is written."""
    assert not {"top_k", "epsilon"} & GateRule().to_dict().keys() and "autocast" not in Encoding().to_dict()
    assert GateRule(top_k=3).to_dict()["top_k"] == 3 and GateRule(epsilon=0.1).to_dict()["epsilon"] == 0.1
    assert Encoding(autocast=True).to_dict()["autocast"] is True
    early = [field.name for field in dataclasses.fields(Encoding) if not field.metadata.get("later")]
    assert list(Encoding().to_dict()) == early


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_k": 0}, "top_k must be a whole number from 1 up; 0"),
        ({"top_k": True}, "top_k must be a whole number"),
        ({"epsilon": 1.0}, "epsilon must be a number from 0 up to, but not, 1; 1.0"),
        ({"epsilon": -0.1}, "epsilon must be"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(given, message):
    with pytest.raises(MemsciError, match=message):
        GateRule(**given)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Encoding, {"lr": "fast"}, "lr must be a finite number above 0; 'fast' was given"),
        (Encoding, {"lr": (0, 1)}, "lr must be a finite number above 0"),
        (Encoding, {"lr": math.inf}, "lr must be"),
        (Encoding, {"weight_decay": "x"}, "weight_decay must be a number from 0 up"),
        (Encoding, {"betas": 0.9}, "betas must be two numbers"),
        (Encoding, {"betas": (0.9, 1)}, "betas must be two numbers"),
        (Encoding, {"betas": (0.9, "x")}, "betas must be two numbers"),
        (Encoding, {"layers": 2}, "layers must be None or layer numbers; 2"),
        (Embedding, {"pooling": 1}, "pooling must be one of"),
        (GateRule, {"epsilon": "little"}, "epsilon must be a number"),
        (Tuning, {"full_lr": "x"}, "full_lr must be a finite number above 0"),
        (Tuning, {"ewc": None}, "ewc must be a finite number from 0 up; None"),
    ],
)
def test_what_is_no_number_is_told_so(kind, given, message):
    with pytest.raises(MemsciError, match=message):
        kind(**given)


def test_words_are_counted_by_two_kinds_of_embedding():
    assert [kind for kind in KINDS if Embedding(kind=kind).counts_words] == ["words", "hybrid"]


def test_a_rule_is_sparse_when_it_shuts_some():
    assert not GateRule().sparse and GateRule(top_k=1).sparse and GateRule(epsilon=1e-9).sparse


@pytest.mark.parametrize(
    ("bounds", "value", "message"),
    [
        ((), 1.0, "k must be a whole number; 1.0 was given"),
        ((), True, "k must be a whole number; True was given"),
        ((1,), 0, "k must be a whole number from 1 up; 0 was given"),
        ((1,), None, "k must be a whole number from 1 up; None was given"),
        ((0, 2), 3, "k must be a whole number from 0 to 2; 3 was given"),
        ((0, 2), "1", "k must be a whole number from 0 to 2; '1' was given"),
    ],
)
def test_a_whole_number_is_one_within_its_bounds(bounds, value, message):
    with pytest.raises(MemsciError) as told:
        check_whole("k", value, *bounds)
    assert str(told.value) == f"{message}."
    for allowed in (*bounds, 1):
        check_whole("k", allowed, *bounds)


class Sized:
    """A base of so many parameters."""

    def __init__(self, size):
        self.size, self.model = size, self

    def num_parameters(self):
        return self.size


def test_what_suits_follows_from_size_wordings_and_length():
    others = lambda count: tuple(f"other {k}" for k in range(count))
    memory = lambda words, paraphrases=0: Memory("word " * words, paraphrases=others(paraphrases))
    assert Encoding.suited(Sized(6_400_000)) == Encoding.embedded()
    assert Encoding.suited(Sized(8_000_000_000)) == Encoding.paper()
    real = Encoding.suited(Sized(135_000_000), [memory(40)])
    assert real == Encoding.suited(Sized(135_000_000)) and real.study == "parts" and real.autocast
    steps = lambda encoding, wordings: encoding.epochs * 2 * wordings
    assert steps(real, 1) == 30
    assert steps(Encoding.suited(Sized(135_000_000), [memory(40, 9)]), 10) == 40
    assert Encoding.suited(Sized(135_000_000), [memory(200)]).epochs > real.epochs


def test_betas_may_come_as_a_list():
    assert Encoding(betas=[0.9, 0.999]) == Encoding()
