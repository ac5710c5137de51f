"""Recognition, list length and fan: closed forms, planted effects, and materials that are what they say."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_model, make_tokenizer
from scipy.stats import norm

from memsci import phenomena
from memsci.config import Embedding, GateRule
from memsci.errors import MemsciError
from memsci.gate.embed import embedder
from memsci.measures import detection
from memsci.measures.text_match import contains
from memsci.models.base import Base
from memsci.phenomena import keys
from memsci.phenomena.experiment import EXPERIMENTS
from memsci.phenomena.fan import CELLS, pairs
from memsci.phenomena.fan import material as of_fan
from memsci.phenomena.fan import measured as fan_measured
from memsci.phenomena.lists import LENGTHS
from memsci.phenomena.lists import material as of_lengths
from memsci.phenomena.materials import rng
from memsci.phenomena.recognition import COMPARED
from memsci.phenomena.recognition import material as of_recognition
from memsci.phenomena.recognition import measured as recognised

matplotlib.use("Agg")
NAMES = ("recognition", "list_length", "fan")


@pytest.fixture
def words(monkeypatch) -> Base:
    """A bag of words in the place of MEGa's embedding: no model is read."""
    rule, bag = GateRule(beta=50, similarity="cosine"), Embedding(kind="words")
    found = [keys.Finder("MEGa", embedder(None, bag), bag, rule)]
    for name in ("recognition", "lists", "fan"):
        monkeypatch.setattr(f"memsci.phenomena.{name}.finders", lambda base: found, raising=True)
    return Base(make_model(), make_tokenizer(), name="tiny")


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """Functions of the package bear the names of its modules; here the modules are wanted."""
    import sys

    for name in ("recognition", "fan"):
        monkeypatch.setattr(phenomena, name, sys.modules[f"memsci.phenomena.{name}"])


def run(name: str, base: Base, lists: int) -> phenomena.Phenomenon:
    from memsci.phenomena.experiment import run as do

    return do(name, base, lists, progress=False)


# Detection


@pytest.mark.parametrize(("d", "spread"), [(0.0, 1.0), (1.0, 1.0), (2.0, 0.8)])
def test_measures_of_normal_scores_are_those_of_the_closed_form(d, spread):
    draw = np.random.default_rng(0)
    old, new = draw.normal(d, 1.0, 40_000), draw.normal(0.0, spread, 40_000)
    both = np.sqrt((1 + spread**2) / 2)
    assert detection.auc(old, new) == pytest.approx(norm.cdf(d / np.sqrt(1 + spread**2)), abs=0.005)
    assert detection.distance(old, new) == pytest.approx(d / both, abs=0.02)
    assert detection.slope(old, new) == pytest.approx(spread, abs=0.01)
    points = detection.operating_points(old, new)
    assert (np.diff(points, axis=0) > 0).all()
    z = norm.ppf(points)
    assert np.polyfit(z[:, 1], z[:, 0], 1)[0] == pytest.approx(spread, abs=0.02)


def test_ties_count_half_and_too_few_scores_are_refused():
    assert detection.auc([1, 1], [1, 1]) == 0.5 and detection.auc([2, 3], [0, 1]) == 1.0
    with pytest.raises(MemsciError, match="two finite scores"):
        detection.auc([1.0], [0.0, 1.0])
    with pytest.raises(MemsciError, match="two finite scores"):
        detection.slope([1.0, np.nan], [0.0, 1.0])


# Finding


def test_familiarity_tells_what_the_weights_cannot():
    gate = keys.softmax.gate(torch.eye(2), torch.tensor([[1.0, 0.0]]), beta=2.0)
    assert gate.weights.tolist() == [[1.0], [1.0]] and keys.familiarity(gate).tolist() == [2.0, 0.0]
    assert keys.right(gate, [0, 0]) == [True, True] and keys.right(gate, [0, 1]) == [True, False]


# Materials


def test_probes_of_recognition_differ_as_they_say():
    memories, probes = of_recognition(5)
    assert len(memories) == 24 and len({memory.label for memory in memories}) == 24
    stories = probes[probes["cue"] == "story"].pivot(index="item", columns="kind", values="text")
    for memory in memories:
        texts = stories.loc[memory.id]
        assert memory.text not in set(texts)  # never to the letter
        facts = [question.answer for question in memory.questions]
        kept = {name: sum(contains(texts[name], fact) for fact in facts) for name in texts.index}
        assert kept["old"] == len(facts) and kept["modified"] >= len(facts) - 1 and kept["same kind"] == 0
    assert set(probes[probes["cue"] == "question"]["kind"]) == {"old", "same kind", "other kind"}


def test_lists_of_all_lengths_are_nested_and_probed_alike():
    memories, probes = of_lengths(2)
    assert len(memories) == max(LENGTHS) and len({memory.text for memory in memories}) == len(memories)
    assert probes.groupby("kind").size().to_dict() == {"lure": 40, "old": 40}
    for _, own, _, text in probes[probes["kind"] == "old"].itertuples():
        assert text.endswith("?") and own < min(LENGTHS)


@pytest.mark.parametrize("number", range(4))
def test_fans_are_counted_right(number):
    memories, probes = of_fan(number)
    people = {probe: sum(probe.split(" in ")[0] in memory.text for memory in memories) for probe in probes["text"]}
    places = {probe: sum(probe.split(" in ")[1] in memory.text for memory in memories) for probe in probes["text"]}
    for row in probes.itertuples():
        assert people[row.text] == row.person_fan and places[row.text] >= row.place_fan
        both = [all(name in memory.text for name in row.text.split(" in ")) for memory in memories]
        assert both == [k == row.own for k in range(len(memories))]
    for _, part in probes.groupby("type"):
        assert set(zip(part["person_fan"], part["place_fan"])) == set(CELLS)


def test_a_graph_of_facts_has_no_fact_twice():
    facts, foils = pairs(rng("x"))
    assert len(set(facts)) == len(facts) == 25 and not set(facts) & set(foils)


# Measures


def test_planted_familiarity_is_found():
    _, probes = of_recognition(0)
    level = {"old": 3.0, "modified": 2.0, "same kind": 1.0, "other kind": 0.0}
    noise = np.random.default_rng(0).normal(0, 0.01, len(probes))
    table = recognised(probes.assign(value=probes["kind"].map(level) + noise)).set_index(["measure", "condition"])["value"]
    assert table["auc"].eq(1).all() and set(table["auc"].index) == set(COMPARED)
    assert table["accepted", "old"] == pytest.approx(0.94, abs=0.03) and table["accepted", "modified"] == 0
    flat = recognised(probes.assign(value=noise)).set_index(["measure", "condition"])["value"]
    assert flat["auc"].between(0.25, 0.75).all()


@pytest.mark.parametrize(("person", "place"), [(-0.5, 0.0), (0.0, -0.2), (0.0, 0.0)])
def test_a_planted_fan_effect_is_found_on_its_side(person, place):
    _, probes = of_fan(1)
    strength = person * probes["person_fan"] + place * probes["place_fan"]
    table = fan_measured(probes.assign(strength=strength, best=0)).set_index(["measure", "condition"])["value"]
    for kind, (side, slope) in itertools.product(("target", "foil"), (("person", person), ("place", place))):
        assert table["slope", f"{kind}, {side}"] == pytest.approx(slope, abs=1e-9)


def test_the_order_of_cells_of_people_agrees_with_itself():
    _, probes = of_fan(1)
    seconds = phenomena.human("fan").set_index("condition")["value"]
    cell = probes["type"] + " " + probes["person_fan"].astype(str) + "-" + probes["place_fan"].astype(str)
    table = fan_measured(probes.assign(strength=-cell.map(seconds), best=0)).set_index("measure")["value"]
    assert table["agreement"] == pytest.approx(1.0)


# Whole


@pytest.mark.parametrize("name", NAMES)
def test_each_runs_is_tested_and_drawn(words, name):
    found = run(name, words, 2)
    assert found.table["list"].nunique() == 2 and set(found.table["method"]) == {"MEGa"}
    assert found.table["protocol"].eq(EXPERIMENTS[name].protocol).all()
    tests = found.test()
    assert tests["claim"].str.startswith("MEGa").sum() >= 3 and set(tests["verdict"]) == {"open", "not run"}
    assert len(found.figure().axes) >= 2
    again = run(name, words, 2)
    pd.testing.assert_frame_equal(found.table, again.table)
