"""The page of ``memsci probe``, made in this process on a tiny base."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from conftest import random_adapter
from test_widgets_panel import WAIT

pytest.importorskip("anywidget", reason="needs the extra notebooks")

import memsci
from memsci.config import Encoding
from memsci.learners.mega import MEGa
from memsci.memory import Memory, Question, text_hash
from memsci.models.sites import targets
from memsci.store.record import Remembered
from memsci.widgets import page as pages
from memsci.widgets.page import Page

N = 6


@pytest.fixture
def mind(base, tmp_path):
    """Memories that were not trained."""
    mind = MEGa(base, store=tmp_path / "store", encoding=Encoding(rank=2))
    for k in range(N):
        key = mind._embed([f"Story {k}."])[0]
        adapter = random_adapter(base.model, targets(base.model), seed=k)
        asked = (Question(f"Which is {k}?", f"{k}"), Question(f"And {k}?", f"{k}"))
        record = Remembered(f"s{k}", f"Story {k}", key, text_hash(f"Story {k}."), 0, (1.0,), questions=asked)
        mind.store.add(record, adapter)
    return mind


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """What the pages of a test have shown as HTML, in turn."""
    seen, place = [], pages.VBox

    def watched(*given, **named):
        box = place(*given, **named)
        note = lambda _: seen.extend(one.value for one in box.children if isinstance(one, pages.HTML))
        box.observe(note, "children")
        return box

    monkeypatch.setattr(pages, "VBox", watched)
    return seen


def made(store: str | None = "a-store") -> Page:
    page = Page(store)
    assert page.wait(WAIT) and page.probe is not None, page.status.value
    return page


@pytest.mark.parametrize("most", [N - 2, N])
def test_the_map_is_of_so_many_memories_and_says_what_is_left_out(mind, shown, monkeypatch, most):
    monkeypatch.setattr(memsci, "open", lambda *_, **__: mind)
    monkeypatch.setattr(pages, "ON_MAP", most)
    page = made()
    labels, asked = [f"Story {k}" for k in range(N)], [f"Which is {k}?" for k in range(N)]
    assert page.gate_map.rows == asked[:most] and page.gate_map.columns == labels[:most]
    assert page.gate_map.values == mind.gate(asked[:most]).weights[:, :most].tolist()
    assert page.probe._queries == [text for k in range(N) for text in (f"Which is {k}?", f"And {k}?")]
    assert len(page.probe.table) == N and page.probe.bars.marked == ["s0"]
    assert "--keep-text" in page.probe._why.value and "memories=" not in page.probe._why.value
    (said,) = shown  # and no bar: nothing is encoded
    assert (f"{N - most} left out" in said) == ("left out" in said) == (most < N)


def test_a_store_without_questions_offers_none_and_no_labels_in_their_place(base, tmp_path, monkeypatch):
    bare = MEGa(base, store=tmp_path / "bare", encoding=Encoding(rank=2))
    record = Remembered("s", "Story", bare._embed(["Story."])[0], text_hash("Story."), 0, (1.0,))
    bare.store.add(record, random_adapter(base.model, targets(base.model)))
    monkeypatch.setattr(memsci, "open", lambda *_, **__: bare)
    page = made()
    assert page.probe.query == "" and page.probe._pick.layout.display == "none" and page.gate_map is None
    page.probe.query = "Which?"
    assert page.wait(WAIT) and page.probe.wait(WAIT) and page.probe.bars.ids == ["s"]


def test_while_memories_are_encoded_a_bar_with_a_name_says_how_far(base, shown, monkeypatch):
    monkeypatch.setattr(memsci, "load", lambda _: base)
    quickly = Encoding(rank=2, epochs=2, text_epochs=1, batch_size=2)
    monkeypatch.setattr(memsci, "MEGa", lambda base: MEGa(base, encoding=quickly))
    memories = [Memory(f"Story {k}.", id=f"s{k}", questions=[("Which?", f"{k}")]) for k in range(2)]
    monkeypatch.setattr(memsci.data, "builtin", lambda *_: SimpleNamespace(memories=memories))
    page = made(None)
    assert re.search(r'<progress aria-label="Encoding"[^>]* value="0.000">', shown[0])
    assert 'value="1.000"' in page._progress.value and page._progress not in page._place.children
    assert page.gate_map.ids == ["s0", "s1"]
