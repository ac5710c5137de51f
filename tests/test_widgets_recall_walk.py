"""The walk of a free recall: every step is that of the gate, and the curves are those of its walks."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("ipywidgets")

from memsci import phenomena
from memsci.errors import MemsciError
from memsci.memory import Memory
from memsci.phenomena import context, fit
from memsci.phenomena.context import Parameters, Study, stopping, walk
from memsci.phenomena.curves import EVENTS
from memsci.widgets import RecallWalk
from memsci.widgets.recall_walk import NOW, PEOPLE, WALKS, ZERO

N = 16
ITEMS = [f"w{k}" for k in range(N)]
KEYS = torch.nn.functional.normalize(
    torch.randn(N, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1
)
SCORES = KEYS @ KEYS.T
GIVEN = Parameters(beta=3.0, tau=4.25)


@pytest.fixture
def shown():
    made = RecallWalk(ITEMS, SCORES, GIVEN, seed=5)
    yield made
    assert made.wait(60)


def own(curves: pd.DataFrame, source: str, measure: str) -> pd.Series:
    rows = curves[(curves["source"] == source) & (curves["measure"] == measure)]
    return rows.set_index("condition")["value"]


def test_each_step_is_the_gate_of_what_is_left(shown):
    order, study = [ITEMS.index(item) for item in shown.recalled], Study(N, GIVEN)
    assert order == [k for k in walk(SCORES.expand(WALKS, N, N), GIVEN, 5)[0].tolist() if k >= 0]
    c = study.cue[None]
    for o in range(len(order) + 1):
        shown.step = o
        if o:
            c = study.after(c, torch.tensor([order[o - 1]]))
            cue = KEYS[[order[o - 1]]]
        else:
            cue = torch.zeros(1, 6, dtype=torch.float64)  # nothing is the first cue
        weights = context.gate(cue, KEYS, GIVEN, c, study).weights[0].clone()
        weights[order[:o]] = 0
        table = shown.table
        np.testing.assert_allclose(table["gate"], weights / weights.sum(), atol=1e-12)
        np.testing.assert_allclose(table["context"], c[0, 1:], atol=1e-12)
        assert shown.stop == stopping(N, GIVEN)[o]
        assert table["recalled"].dropna().tolist() == list(pd.Series(range(1, o + 1))[np.argsort(order[:o])])
        assert shown.gate_bars.weights == table["gate"].tolist()
        assert shown.context_bars.weights[1:] == table["context"].tolist()
        assert shown.gate_bars.marked == [ITEMS[k] for k in order[o : o + 1]]
        assert shown.context_bars.marked == ([ITEMS[order[o - 1]]] if o else [])
    assert "it stopped" in shown._said.value and not shown.gate_bars.editable


def test_the_buttons_go_on_and_back_and_no_further(shown):
    last = len(shown.recalled)
    shown.back_button.click()
    assert shown.step == 0
    shown.next_button.click()
    shown.next_button.click()
    assert shown.step == 2 and f"{shown.items.index(shown.recalled[1]) + 1} {shown.recalled[1]}" in shown._said.value
    assert sum("(recall " in label for label in shown.gate_bars.labels) == 2
    shown.back_button.click()
    assert shown.step == 1
    shown.whole_button.click()
    shown.next_button.click()
    assert shown.step == last and not shown.status.value
    with pytest.raises(MemsciError, match=f"from 0 to {last}"):
        shown.step = last + 1
    shown.change(stop=1.0)
    assert shown.step == 0 and shown.recalled == [] and shown.stop == pytest.approx(1, abs=1e-5)
    assert set(own(shown.curves, NOW, "spc")) == {0.0} and not shown.status.value  # nobody says anything
    shown.change(stop=0.0, growth=0.0)
    shown.whole()
    assert sorted(shown.recalled) == sorted(ITEMS) and set(shown.gate_bars.weights) == {0.0}
    assert "all were recalled" in shown._said.value


def test_sliders_and_cells_say_the_same(shown):
    assert shown.parameters == GIVEN
    before = shown.table["gate"].tolist()
    shown.dials["tau"].value = 0.0
    assert shown.parameters == GIVEN.without_context() and shown.table["gate"].tolist() == [1 / N] * N != before
    shown.change(encode=0.4321, beta=2.0)
    assert shown.dials["encode"].value == 0.4321 and "0.432" in dict(shown.dials["encode"].options)
    shown.first_button.click()
    assert shown.parameters == GIVEN and shown.table["gate"].tolist() == before
    walks = {tuple(shown.recalled)}
    for shown.seed in (1, 2):
        walks.add(tuple(shown.recalled))
    assert len(walks) == 3
    with pytest.raises(MemsciError, match="parameter must be one of"):
        shown.change(gamma=0.5)
    with pytest.raises(MemsciError, match="encode must be from 0 to 1"):
        shown.change(encode=2.0)
    assert shown.parameters == GIVEN


@pytest.mark.parametrize("tau", [4.25, 0.0])
def test_the_curves_are_those_of_the_walks_with_and_without_a_context(shown, tau):
    shown.change(tau=tau)
    curves = shown.curves
    assert set(curves["source"]) == ({NOW, ZERO, PEOPLE} if tau else {ZERO, PEOPLE})
    for source, parameters in ((NOW, GIVEN), (ZERO, GIVEN.without_context())):
        if source == NOW and not tau:
            continue
        drawn = walk(SCORES.expand(WALKS, N, N), parameters, 5).numpy()
        said = [(drawn == k).any(axis=1).mean() for k in range(N)]
        np.testing.assert_allclose(own(curves, source, "spc"), said)
        began = drawn[drawn[:, 0] >= 0, 0]
        np.testing.assert_allclose(own(curves, source, "pfr"), np.bincount(began, minlength=N) / len(began))
    people = phenomena.human("free_recall")
    for measure in ("spc", "pfr", "lag crp"):
        theirs = people[people["measure"] == measure].set_index("condition")["value"]
        assert own(curves, PEOPLE, measure).to_dict() == {int(name): value for name, value in theirs.items()}
    if tau:
        lag = own(curves, NOW, "lag crp")
        assert lag[1] > lag[4] and lag[1] > own(curves, ZERO, "lag crp")[1]


def test_what_is_put_in_is_named_so_wherever_curves_are_drawn(shown):
    shown.wait(60)
    root = ElementTree.fromstring(f"<div>{shown._charts.value}</div>")
    pictures = [one for one in root.iter("svg") if one.get("role") == "img"]
    assert len(pictures) == 3 and len(root.findall(".//svg[@aria-hidden='true']")) == 3
    for one in pictures:
        told = one.get("aria-label")
        assert "τ = 0: keys alone" in told and "τ = 4.25: order put in by τ" in told and "people" in told
        assert len(one.findall("polyline")) == (6 if "lag" in told else 3)  # a line of lags has no step of 0
    assert "put in by τ" in "".join(root.find("div").itertext()) and "put in by τ" in repr(shown)
    for fixed in ("black", "white", "#000"):
        assert fixed not in shown._charts.value
    shown.change(tau=0.0)
    shown.wait(60)
    assert "put in by" not in shown._charts.value and "τ = 0: keys alone" in shown._charts.value


def test_of_many_changes_the_last_is_drawn(shown):
    for tau in (1.0, 2.0, 3.0, 0.5):
        shown.change(tau=tau)
    np.testing.assert_allclose(
        own(shown.curves, NOW, "spc"),
        [(walk(SCORES.expand(WALKS, N, N), replace(GIVEN, tau=0.5), 5) == k).any(dim=1).double().mean() for k in range(N)],
    )
    assert "τ = 0.5: " in shown._charts.value and "memsci-stale" not in shown._charts._dom_classes


def test_the_button_shows_the_numbers(shown):
    shown.wait(60)
    assert shown._numbers.layout.display == "none"
    shown.numbers_button.value = True
    assert shown._numbers.layout.display is None
    table = shown._numbers.value
    assert table.count("<tr") == 1 + 2 * N + 10 and f"{own(shown.curves, PEOPLE, 'spc')[1]:.4f}" in table


def test_as_text(shown):
    shown.step = 2
    lines = shown._repr_mimebundle_()["text/plain"].splitlines()
    assert lines[0].startswith("16 items, seed 5; β 3, τ 4.25, β_enc 0.76")
    assert lines[1].startswith("Step 2 of") and "P(stop) = " in lines[2]
    assert lines[3].split() == ["position", "item", "recalled", "gate", "context"]
    assert lines[4].split()[:2] == ["1", "w0"] and lines[4].split()[3] == f"{shown.table['gate'][0]:.4f}"
    assert sum(line.startswith("spc 1 to 16") for line in lines) == 3 and "PEERS" in lines[-1]
    assert repr(shown) == repr(shown)


def recalls(n: int, lists: int = 3) -> pd.DataFrame:
    rows = [(7, one, k, "study", f"v{k}") for one in range(lists) for k in range(1, n + 1)]
    rows += [(7, one, k, "recall", f"v{place}") for one in range(lists) for k, place in enumerate((n, 1, 2), start=1)]
    return pd.DataFrame(rows, columns=EVENTS)


def test_people_of_lists_of_another_length_are_not_drawn_beside():
    short = RecallWalk(ITEMS[:6], SCORES[:6, :6], GIVEN)
    assert set(short.curves["source"]) == {NOW, ZERO}
    assert "lists of 10, 15, 16, 20, 30, 40 words, this list has 6" in short._note.value and "none are drawn" in repr(short)
    ten = RecallWalk(ITEMS[:10], SCORES[:10, :10], GIVEN)
    people = phenomena.human("free_recall").query("measure == 'pfr, 10 words'")
    assert own(ten.curves, PEOPLE, "pfr").tolist() == people["value"].tolist() and "Murdock 1962" in repr(ten)
    mine = RecallWalk(ITEMS[:6], SCORES[:6, :6], GIVEN, people=recalls(6))
    assert own(mine.curves, PEOPLE, "pfr").tolist() == [0, 0, 0, 0, 0, 1]
    assert own(mine.curves, PEOPLE, "spc").tolist() == [1, 1, 0, 0, 0, 1] and "1 of the data given" in repr(mine)
    with pytest.raises(MemsciError, match=r"lists have \[5\] items, this list has 6"):
        RecallWalk(ITEMS[:6], SCORES[:6, :6], GIVEN, people=recalls(5))


def test_a_persons_list_and_fit():
    keys = pd.DataFrame(KEYS[:6].numpy(), index=[f"v{k}" for k in range(1, 7)])
    fits = fit.free_recall(recalls(6, 4), keys, ("item", "context", "both"), progress=False)
    mine = RecallWalk.of(fits, 7, 1)
    assert mine.items == keys.index.tolist() and mine.parameters == fits.parameters("both", 7)
    np.testing.assert_allclose(mine.scores, KEYS[:6] @ KEYS[:6].T)
    assert own(mine.curves, PEOPLE, "pfr")[6] == 1 and own(mine.curves, NOW, "pfr")[6] > 0.5
    assert RecallWalk.of(fits, 7, model="item").parameters.tau == 0
    with pytest.raises(MemsciError, match="subject must be one of"):
        RecallWalk.of(fits, 8)
    with pytest.raises(MemsciError, match="studied 4 lists"):
        RecallWalk.of(fits, 7, 4)


def test_words_and_memories_are_read_once(monkeypatch):
    read = []

    def embed(texts):
        read.append(list(texts))
        return KEYS[: len(texts)].float()

    monkeypatch.setattr("memsci.widgets.recall_walk.embedder", lambda base, embedding: embed)
    memories = [Memory(f"Text {k} <b>.", f"m{k}", label) for k, label in enumerate(("a <b>", "a <b>", "c"))]
    made = RecallWalk(memories)
    made.next()
    made.change(tau=1.0)
    assert read == [["Text 0 <b>.", "Text 1 <b>.", "Text 2 <b>."]] and made.items == ["m0", "m1", "m2"]
    assert made.context_bars.labels[0] == "start of the list" and made.gate_bars.labels[2].startswith("3 c")
    assert "<b>" not in made._said.value and set(made.recalled) <= set(made.items)
    spread = SCORES[:3, :3][~torch.eye(3, dtype=torch.bool)].std().item()
    assert RecallWalk(ITEMS[:3]).parameters.beta == pytest.approx(4.02 * 0.0845 / spread, rel=1e-5)
    assert RecallWalk(ITEMS[:2]).parameters.beta == 4.02  # two likenesses that do not vary
    assert made.wait(60)


def test_what_cannot_be_walked_is_refused():
    for items in (["a"], ["a", "a"], []):
        with pytest.raises(MemsciError, match="at least two different items"):
            RecallWalk(items, SCORES[: len(items), : len(items)])
    with pytest.raises(MemsciError, match="16 × 16"):
        RecallWalk(ITEMS, SCORES[:3])
    with pytest.raises(MemsciError, match="no null"):
        RecallWalk(ITEMS, SCORES, replace(GIVEN, null=1.0))
    with pytest.raises(MemsciError, match="finite"):
        RecallWalk(ITEMS, SCORES, replace(GIVEN, beta=math.inf))


def test_every_slider_is_named_and_explained(shown):
    assert len({dial.description for dial in shown.dials.values()}) == len(shown.dials) == 10
    page = "".join(re.findall(r'memsci-soft">(.*?)</span>', "".join(
        widget.value for widget in _all(shown) if isinstance(getattr(widget, "value", None), str))))  # fmt: skip
    for dial in shown.dials.values():
        assert f"{dial.description}: {dial.tooltip}" in page


def _all(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)
