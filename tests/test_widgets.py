"""The gate probe, its bars and the heat map: what they show is what the mind does, whoever moves the controls."""

from __future__ import annotations

import math
import sys
import threading
from functools import partialmethod

import numpy as np
import pytest
import torch
from conftest import random_adapter
from test_widgets_panel import WAIT

pytest.importorskip("anywidget", reason="needs the extra notebooks")

from ipywidgets.widgets.widget import _instances  # noqa: E402
from traitlets import TraitError  # noqa: E402

from memsci import widgets  # noqa: E402
from memsci.config import Embedding, Encoding, GateRule  # noqa: E402
from memsci.errors import MemsciError  # noqa: E402
from memsci.gate.embed import embedder, embedders, weighted  # noqa: E402
from memsci.gate.softmax import gate, top_k  # noqa: E402
from memsci.learners.mega import MEGa  # noqa: E402
from memsci.memory import Memory, text_hash  # noqa: E402
from memsci.models import conversation
from memsci.models.sites import targets  # noqa: E402
from memsci.store.record import Remembered  # noqa: E402
from memsci.store.store import Store  # noqa: E402
from memsci.widgets import GateBars, GateProbe, HeatMap  # noqa: E402
from memsci.widgets.gate_probe import BARS  # noqa: E402
from memsci.widgets.gates import Gates  # noqa: E402

MEMORIES = [
    Memory("Nora hid the letter in the piano.", id="m", label="Nora & the letter", questions=[("Where is it?", "Piano")]),
    Memory("On 3 May Omar found a red kite.", id="c", label="Omar's kite", questions=[("What did Omar find?", "Kite")]),
    Memory("Ada sang twice.", id="x", label="Ada <sings>", questions=[("Who sang?", "Ada")]),
]
MANY = [Memory(f"Story {k}: {'ab' * k}.", id=f"s{k}") for k in range(BARS + 3)]


pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off")  # a random model finds no end of its own


def moved(bars: GateBars, by_hand: dict[str, float], **others) -> None:
    """What a browser sends when a bar is moved."""
    bars.set_state({"by_hand": by_hand, "of": bars.round, **others})


@pytest.fixture(autouse=True)
def short_replies(monkeypatch):
    """A random model finds no end of its own."""
    monkeypatch.setattr(MEGa, "recall_tokens", 8)
    monkeypatch.setattr(MEGa, "answer", partialmethod(MEGa.answer, max_new_tokens=5))


def add(mind: MEGa, memories=MEMORIES, text: bool = False) -> None:
    for memory in memories:
        key = mind._embed([memory.text])[0]
        kept = Remembered(
            memory.id, memory.label, key, text_hash(memory.text), 0, (1.0,), text=memory.text if text else None
        )
        mind.store.add(kept, random_adapter(mind.base.model, targets(mind.base.model), seed=len(memory.text)))


@pytest.fixture
def mind(base, tmp_path) -> MEGa:
    """A mind whose adapters were not trained but drawn; its gates are soft."""
    mind = MEGa(base, store=tmp_path / "store", encoding=Encoding(rank=4), gate=GateRule(beta=0.5))
    add(mind)
    return mind


@pytest.fixture
def probe(mind) -> GateProbe:
    probe = GateProbe(mind, memories=MEMORIES)
    assert probe.wait(WAIT)
    return probe


@pytest.fixture
def held(monkeypatch):
    """A model that starts to speak and goes on only when it is let: (has started, let it go on)."""
    started, go = threading.Event(), threading.Event()
    say = conversation.say

    def slow(*args, **kwargs):
        started.set()
        assert go.wait(WAIT)
        return say(*args, **kwargs)

    monkeypatch.setattr("memsci.models.conversation.say", slow)
    yield started, go
    go.set()


def press(probe: GateProbe, name: str) -> None:
    """Press a button, as a browser does."""
    next(button for button in probe._buttons.values() if button.description == name).click()


def shown(probe: GateProbe) -> dict[str, float]:
    return dict(zip(probe.bars.ids, probe.bars.weights, strict=True))


# The package


def test_names_are_loaded_when_they_are_used():
    assert dir(widgets) == sorted(widgets.__all__)
    assert {"GateProbe", "HeatMap", "GateBars", "MemoryEditor", "InterferenceExplorer", "RecallWalk"} == set(widgets.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Dial'"):
        widgets.Dial  # noqa: B018


@pytest.mark.parametrize("package", ["ipywidgets", "anywidget"])
def test_a_missing_package_is_named_with_what_to_do(package, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("memsci.widgets.") or name == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(vars(widgets), "GateProbe", raising=False)
    with pytest.raises(MemsciError, match=rf'needs the package {package}.*pip install "memsci\[notebooks\]"'):
        widgets.GateProbe  # noqa: B018


# Bars


def test_bars_are_what_they_show():
    bars = GateBars(ids=["a", "b"], labels=["Ann", "Bob"], weights=[0.25, 0.75], rest="the other 3: 0.0000 together")
    assert repr(bars) == "Ann  0.2500\nBob  0.7500\nthe other 3: 0.0000 together"
    assert bars._repr_mimebundle_()[0]["text/plain"] == repr(bars)
    assert bars.by_hand == {} and repr(GateBars()) == "no bars"


@pytest.mark.parametrize("kind", [GateBars, HeatMap])
def test_scripts_come_with_the_package_and_fetch_nothing(kind):
    script, style = str(kind._esm), str(kind._css)
    assert "export default" in script and ".memsci-" in style
    for text in (script, style):
        assert "http" not in text and "import " not in text and "innerHTML" not in text


# Heat map


def test_the_map_of_a_mind_is_its_gates(mind):
    queries = ["Where is it?", "Who sang?"]
    found = mind.gate(queries)
    for made in (HeatMap.of(mind, queries), HeatMap.of(found, queries)):
        assert np.array_equal(made.values, found.weights.numpy())
        assert made.rows == queries and made.ids == list(mind.ids) and made.columns == list(found.labels)
        assert made.table["id"].tolist() == found.top() and made.table["query"].tolist() == queries
        ordered = found.weights.sort(dim=1, descending=True).values
        assert made.table["weight"].tolist() == ordered[:, 0].tolist()
        assert made.table["margin"].tolist() == (ordered[:, 0] - ordered[:, 1]).tolist()
    before = len(_instances)
    softer = HeatMap.of(mind, "Who sang?", beta=0.0, title="flat")
    assert len(_instances) == before + 2  # the map and its layout, and nothing that stays behind
    assert softer.values == [[1 / 3] * 3] and softer.title == "flat" and softer.rows == ["Who sang?"]


def test_the_map_as_text():
    made = HeatMap([[0.25, 0.75], [1.0, 0.0]], ["Who?", "Where?"], ["Ann", "Bob"])
    assert repr(made) == (
        "2 queries, 2 memories\n query label  weight  margin\n  Who?   Bob  0.7500  0.5000\nWhere?   Ann  1.0000  1.0000"
    )
    made.selected = [1, 0]
    assert repr(made).endswith("\nselected: Where? / Ann")
    assert made._repr_mimebundle_()[0]["text/plain"] == repr(made)
    assert repr(HeatMap([], [], ["Ann"])) == "0 queries, 1 memories"
    assert repr(HeatMap([[]], ["Who?"], [])) == "1 queries, 0 memories"
    assert HeatMap([[0.5]], ["Who?"], ["Ann"]).table["margin"].tolist() == [0.5]


def test_the_map_has_the_colours_of_the_figures():
    colours = HeatMap([[0.0]], ["a"], ["b"]).colours
    light = [sum(w * int(c[k : k + 2], 16) for w, k in zip((0.2126, 0.7152, 0.0722), (1, 3, 5))) for c in colours]
    assert len(colours) == 64 and light == sorted(light) and light[-1] - light[0] > 150


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([[0.1, 0.2, 0.3]], ["a"], ["b", "c"]), "1 rows, 2 columns and 2 ids, but 3 values"),
        (([[0.1]], ["a"], ["b"], ["i", "j"]), "1 columns and 2 ids"),
        (([[1.5]], ["a"], ["b"]), "from 0 to 1"),
        (([[math.nan]], ["a"], ["b"]), "from 0 to 1"),
    ],
)
def test_the_map_refuses(given, message):
    with pytest.raises(MemsciError, match=message):
        HeatMap(*given)


def test_the_map_of_refuses(mind):
    with pytest.raises(MemsciError, match="1 rows, and 2 queries"):
        HeatMap.of(mind.gate("Who?"), ["Who?", "Where?"])
    with pytest.raises(MemsciError, match="leave beta = 2 out"):
        HeatMap.of(mind.gate("Who?"), ["Who?"], beta=2)
    made = HeatMap([[0.5, 0.5]], ["a"], ["b", "c"])
    for cell in ([1, 0], [0, 2], [-1, 0], [0], [0.0, 1.0]):
        with pytest.raises(TraitError, match="1 × 2 cells"):
            made.selected = cell


# Gates


def test_each_text_is_read_once(mind, monkeypatch):
    read = []
    monkeypatch.setattr(
        "memsci.widgets.gates.embedders",
        lambda base, settings, stored=None: (
            lambda texts, f=embedders(base, settings, stored): read.append(list(texts)) or f(texts)
        ),
    )
    gates = Gates(mind, MEMORIES)
    paper, last = Embedding.paper(), Embedding(pooling="last")
    for _ in range(2):
        for beta in (0.1, 2.0):
            gates.gate("Who?", paper, "inner", beta)
            gates.gate("Who?", last, "cosine", beta)
            gates.gate("Why?", Embedding(layer=1), "inner", beta)  # the same as the paper's in two layers
    assert read == [["Who?"], [m.text for m in MEMORIES], ["Who?"], ["Why?"]]
    assert gates.ready("Why?", paper) and not gates.ready("Why?", last) and not gates.ready("What?", paper)


def test_the_records_are_read_when_the_store_changes_and_not_at_each_move(mind, monkeypatch):
    probe = GateProbe(mind, memories=MEMORIES)
    assert probe.wait(WAIT)
    read, records = [], Store.records
    monkeypatch.setattr(Store, "records", property(lambda store: read.append(1) or records.fget(store)))
    for beta in (1.0, 2.0, 4.0):
        probe.beta = beta
    assert not read and len(probe.table) == 3
    mind.forget("m")
    probe.refresh()
    assert probe.wait(WAIT) and len(probe.table) == 2 and len(read) == 1
    add(mind, [Memory("Another text.", id="m")])  # the same ids as before
    assert "Another text." in probe.table["label"].tolist()
    assert probe._gates.names["m"][1] == text_hash("Another text.") and len(read) == 2


@pytest.mark.parametrize(
    "embedding",
    [
        Embedding(layer=0, site="attention", pooling="surprisal"),
        Embedding(pooling="idf", whiten=True),
        Embedding(pooling="last"),
        Embedding(kind="words"),
    ],
    ids=str,
)
def test_another_embedding_is_made_of_the_texts(mind, embedding):
    texts = [memory.text for memory in MEMORIES]
    f = embedders(mind.base, [embedding], stored=texts)
    expected = gate(*weighted(embedding, f(["Who sang?"])[0], f(texts)[0]), 3.0, "cosine")
    found = Gates(mind, MEMORIES).gate("Who sang?", embedding, "cosine", 3.0)
    torch.testing.assert_close(found.weights, expected.weights, atol=1e-6, rtol=0)
    assert found.ids == mind.ids


def test_texts_come_from_the_store_or_from_the_memories(base, tmp_path, mind):
    keeping = MEGa(base, store=tmp_path / "keeping", encoding=Encoding(rank=4))
    add(keeping, MEMORIES[:2], text=True)
    assert Gates(keeping).lacking == "" == Gates(mind, MEMORIES).lacking
    assert "texts of 3 of the 3 memories" in Gates(mind).lacking
    assert "the text of a memory is" in Gates(mind, [*MEMORIES[:2], Memory("Ada sang.", id="x")]).lacking
    with pytest.raises(MemsciError, match="texts of 3"):
        Gates(mind).gate("Who?", Embedding(pooling="last"), "inner", 1.0)


# The probe: its gate


def test_the_probe_shows_the_gate_of_the_mind(mind, probe):
    assert probe.query == "Where is it?" and probe.beta == 0.5
    frame = mind.gate("Where is it?").frame().drop(columns="query")
    assert probe.table.equals(frame)
    assert probe.entropy == mind.gate("Where is it?").entropy().item()
    assert probe.margin == frame["weight"][0] - frame["weight"][1]
    assert shown(probe) == dict(zip(frame["id"], frame["weight"]))
    assert probe.bars.labels == frame["label"].tolist()
    assert probe.bars.marked == ["m"] and probe.bars.by_hand == {} and probe.bars.rest == ""

    probe.query = " Who sang? "
    assert probe.table.equals(mind.gate("Who sang?").frame().drop(columns="query")) and probe.wait(WAIT)
    assert probe.bars.marked == ["x"] and probe._pick.value == "Who sang?"
    probe.query = "Who else?"
    assert probe.wait(WAIT) and probe.bars.marked == [] and probe._pick.value == ""
    probe._pick.value = "Where is it?"
    assert probe.wait(WAIT) and probe.query == "Where is it?" and shown(probe) == dict(zip(frame["id"], frame["weight"]))


@pytest.mark.parametrize("beta", [0.0, 2**-3.25, 1.0, 128.0, math.inf, 0.3])
def test_beta_moves_the_gate_at_once(mind, probe, beta):
    probe.beta = beta
    assert probe.beta == beta and probe._beta.value == beta
    assert probe.table.equals(mind.gate("Where is it?", beta).frame().drop(columns="query"))
    assert sorted(shown(probe).items()) == sorted(probe.weights.items())


@pytest.mark.parametrize("beta", [1.0, 0.1, 30.0, math.inf])
def test_the_rules_beta_is_on_the_slider(mind, beta):
    mind.rule = GateRule(beta=beta)
    probe = GateProbe(mind)
    values = [value for _, value in probe._beta.options]
    assert probe.beta == beta and beta in values and values == sorted(set(values))
    assert {0.0, 2.0**-4, 1.0, 2.0**7, math.inf} <= set(values)


def test_top_k_similarity_and_embedding(mind, probe):
    probe.top_k = 2
    expected = top_k(mind.gate("Where is it?"), 2)
    assert torch.equal(probe.gate.weights, expected.weights)
    probe.top_k, probe.similarity = 0, "cosine"
    f = embedder(mind.base, Embedding.paper())
    assert torch.equal(probe.gate.weights, gate(f(["Where is it?"]), mind.store.keys(), 0.5, "cosine").weights)
    probe.embedding = Embedding(kind="words")
    assert probe.embedding == Embedding(kind="words") and probe._layer.disabled and not probe._kind.disabled
    assert probe.gate.scores.max() <= 1
    probe.embedding = Embedding(layer=-2, site="attention", pooling="last", whiten=True)
    assert probe.embedding == Embedding(layer=0, site="attention", pooling="last", whiten=True)
    assert (probe._layer.value, probe._site.value, probe._whiten.value) == (0, "attention", True)
    probe.embedding, probe.similarity = Embedding.paper(), "inner"
    assert torch.equal(probe.gate.weights, mind.gate("Where is it?").weights)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta", -1.0, "beta must be"),
        ("beta", "warm", "beta must be"),
        ("top_k", 4, "from 0 .all. to 3; 4 was given"),
        ("top_k", 1.0, "whole number"),
        ("similarity", "dot", "'inner', 'cosine'"),
        ("embedding", Embedding(layer=2), "layer must be from 0 to 1"),
        ("weights", {"z": 1.0}, "no memory 'z'"),
        ("weights", {"m": 1.5}, "from 0 to 1"),
        ("weights", {"m": math.nan}, "from 0 to 1"),
    ],
)
def test_the_probe_refuses_and_stays_as_it_was(probe, name, value, message):
    before = probe.summary()
    with pytest.raises(MemsciError, match=message):
        setattr(probe, name, value)
    assert probe.summary() == before


def test_without_texts_the_embedding_is_the_stores_and_the_probe_says_why(mind):
    probe = GateProbe(mind, ["Who sang?"])
    closed = (probe._kind, probe._layer, probe._site, probe._pooling, probe._whiten)
    assert all(control.disabled for control in closed) and not probe._similarity.disabled
    assert "texts of 3 of the 3 memories" in probe._why.value
    with pytest.raises(MemsciError, match="texts of 3"):
        probe.embedding = Embedding(kind="words")
    assert torch.equal(probe.gate.weights, mind.gate("Who sang?").weights)


def test_the_largest_weights_have_bars_and_the_others_a_sum(base, tmp_path):
    mind = MEGa(base, store=tmp_path / "many", encoding=Encoding(rank=4), gate=GateRule(beta=0.01))
    add(mind, MANY)
    probe = GateProbe(mind, ["Story 3?"])
    table = probe.table
    assert probe.wait(WAIT) and probe.bars.ids == table["id"][:BARS].tolist()
    assert probe.bars.rest == f"the other 3: {table['weight'][BARS:].sum():.4f} together"
    assert f"\n{probe.bars.rest}\n" in probe.summary()
    last = table["id"].iloc[-1]
    assert [value for _, value in probe._more.options[1:]] == [i for i in mind.ids if i not in probe.bars.ids]
    probe._more.value = last
    assert probe.bars.ids == [*table["id"][:BARS], last] and probe.bars.rest.startswith("the other 2:")
    before = probe.bars.ids
    moved(probe.bars, {last: 0.5})
    assert probe.bars.ids == before and shown(probe)[last] == 0.5
    probe.weights = {last: 1.0}
    assert probe.bars.ids[0] == last and len(probe.bars.ids) == BARS


# The probe: as text, and its errors


def test_text_plain_is_the_numbers(mind, probe):
    probe.ask("answer")
    table = probe.table
    text = probe._repr_mimebundle_()["text/plain"]
    assert text == repr(probe) == probe.summary()
    lines = text.splitlines()
    assert lines[:2] == [
        "question: Where is it?",
        "gate: β 0.5, inner product, own activations, layer 1, input of the MLP, mean",
    ]
    for line, row in zip(lines[3:6], table.itertuples(), strict=True):
        assert line.strip() == f"{row.label} {row.score:.4f}  {row.weight:.4f}"
    assert lines[6].startswith(f"Most open: {table['label'][0]} ({table['weight'][0]:.4f}), ahead of {table['label'][1]}")
    assert lines[6].endswith(f" by {probe.margin:.4f}.")
    assert lines[7] == f"Entropy {probe.entropy:.4f} nats (0: one memory alone; 1.0986: all alike)."
    assert lines[8] == "Sum of weights 1.0000."
    assert lines[9].startswith("Answer: ")
    again = GateProbe(mind, memories=MEMORIES)
    again.ask("answer")
    assert again.summary() == text


def test_what_is_shown_is_escaped(mind, probe, monkeypatch):
    monkeypatch.setattr(MEGa, "answer", lambda self, query, **_: "<script>")
    probe.weights = {"x": 1.0}
    probe.ask("answer")
    assert "<script>" not in probe._replies.value and "&lt;script&gt;" in probe._replies.value
    assert "Ada &lt;sings&gt;" in probe._facts.value and "Ada <sings>" in probe.summary()


def test_errors_stand_in_the_widget(probe):
    probe.query = "long " * 200
    assert probe.wait(WAIT)
    assert 'role="alert"' in probe.status.value and "at most 512" in probe.status.value
    assert probe.bars.ids == [] and "no gate: Text 0" in probe.summary()
    with pytest.raises(MemsciError, match="at most 512"):
        probe.ask()
    probe.query = "Who sang?"
    assert probe.wait(WAIT) and probe.status.value == "" and len(probe.bars.ids) == 3


def test_without_a_question(mind):
    probe = GateProbe(mind)
    assert probe.summary() == "no question yet; 3 memories" and probe.bars.ids == []
    press(probe, "Answer")
    assert probe.wait(WAIT) and "There is no question yet" in probe.status.value
    for use in (probe.ask, lambda: probe.table, lambda: probe.gate):
        with pytest.raises(MemsciError, match="no question yet"):
            use()
    with pytest.raises(MemsciError, match="A list of queries"):
        GateProbe(mind, "Who?")
    with pytest.raises(MemsciError, match="'answer', 'recall', 'irag'"):
        probe.ask("sing")


def test_memories_come_and_go(mind, probe):
    probe.weights = {"m": 0.5, "x": 0.25}
    mind.forget("x")
    probe.refresh()
    assert probe.wait(WAIT) and probe.weights == {"m": 0.5, "c": 0.0} and probe._top_k.max == 2
    probe.own_gate()
    assert probe.table.equals(mind.gate("Where is it?").frame().drop(columns="query"))
    probe.ask("recall")
    for id in ("m", "c"):
        mind.forget(id)
    probe.refresh()
    assert probe.wait(WAIT) and probe.bars.ids == [] and "No memories" in probe._facts.value
    assert "no memories stored" in probe.summary()
    assert probe.ask("answer") == mind.answer("Where is it?")
    assert probe.replies["kind"].tolist() == ["answer", "recall"]  # the base alone, which had been asked before
    assert probe.replies["gated"].tolist() == probe.replies["base"].tolist()


def test_a_gate_by_hand_outlives_a_top_k_that_memories_no_longer_suffice_for(mind, probe):
    probe.top_k = 3
    probe.weights = {"m": 0.5, "c": 0.25}
    mind.forget("x")
    probe.refresh()
    assert probe.wait(WAIT) and probe.top_k == 2
    assert probe.weights == {"m": 0.5, "c": 0.25} == shown(probe) and "Set by hand" in probe._facts.value


def test_a_reply_is_known_by_the_memories_of_its_gate_whatever_is_stored_by_now(mind, probe):
    gate = mind.gate("Where is it?")
    weights = gate.weights[0].tolist()
    before = probe._key("answer", "Where is it?", gate)[2:]
    assert [(name[0], weight) for name, weight in before] == [*zip("mcx", weights)]
    mind.forget("m")
    assert probe._key("answer", "Where is it?", gate)[3:] == before[1:]


@pytest.mark.parametrize("move", ["_beta", "bars", "_question", "refresh"])
def test_what_goes_wrong_in_a_handler_stands_in_the_widget(probe, monkeypatch, move):
    def fail(*_):
        raise ZeroDivisionError("over")

    monkeypatch.setattr(Gates, "gate", fail)
    {
        "_beta": lambda: setattr(probe._beta, "value", 1.0),
        "bars": lambda: setattr(probe.bars, "by_hand", {"m": 0.5}),
        "_question": lambda: setattr(probe._question, "value", "Who?"),
        "refresh": probe.refresh,
    }[move]()
    assert probe.wait(WAIT) and 'role="alert"' in probe.status.value and "ZeroDivisionError: over" in probe.status.value


# The probe: by hand, and what the model says


def test_a_moved_bar_sets_the_gate_by_hand(mind, probe, opened):
    own, order = probe.weights, probe.bars.ids
    moved(probe.bars, {"c": 0.4})
    assert probe.weights == {**own, "c": 0.4} == shown(probe) and probe.bars.ids == order
    assert math.isnan(probe.gate.beta) and probe.bars.by_hand == {"c": 0.4}
    assert "Set by hand" in probe._facts.value and "gate: set by hand" in probe.summary() and not probe._own.disabled
    moved(probe.bars, {"c": 0.4, "x": 0.0})
    assert probe.weights == {**own, "c": 0.4, "x": 0.0} and probe.bars.ids == order
    probe.ask("answer")
    expected = torch.tensor([[probe.weights[id] for id in mind.ids]])
    assert torch.equal(opened[0], expected) and torch.equal(opened[1], torch.zeros(1, 3))
    assert probe.replies["gated"].tolist() == [mind.answer("Where is it?", gate=probe.gate)]

    probe.query = "Who sang?"  # the gate stays, for another question
    assert probe.weights == {**own, "c": 0.4, "x": 0.0}
    probe._own.click()
    assert probe.table.equals(mind.gate("Who sang?").frame().drop(columns="query"))
    assert probe.bars.by_hand == {} and probe._own.disabled


def test_a_move_that_comes_after_it_was_undone_has_no_effect(probe):
    """A browser holds moves back while the kernel is busy; a click of a button is never held back."""
    own = probe.weights
    moved(probe.bars, {"c": 0.4})
    sent = probe.bars.round
    probe._own.click()
    moved(probe.bars, {"c": 0.5}, weights=[0.5, 0.5, 0.5], of=sent)
    assert probe.weights == own == shown(probe) and probe.bars.by_hand == {} and probe._own.disabled
    moved(probe.bars, {"c": 0.3})
    assert probe.weights == {**own, "c": 0.3} == shown(probe)


def test_the_controls_of_the_gate_end_a_gate_by_hand(mind, probe):
    for change in ({"beta": 2.0}, {"top_k": 2}, {"similarity": "cosine"}, {"embedding": Embedding(pooling="last")}):
        probe.weights = {"m": 1.0}
        assert probe.weights == {"m": 1.0, "c": 0.0, "x": 0.0} and probe.entropy == 0 and probe.margin == 1
        for name, value in change.items():
            setattr(probe, name, value)
        assert sum(probe.weights.values()) == pytest.approx(1) and not math.isnan(probe.gate.beta)


def test_the_weights_of_a_mixture_need_not_sum_to_one(probe):
    probe.weights = {"m": 0.5, "c": 0.5}
    assert probe.entropy == pytest.approx(math.log(2)) and probe.margin == 0
    probe.weights = {"m": 1.0, "c": 1.0}
    assert probe.entropy == pytest.approx(math.log(2)) and "Sum of weights 2.0000." in probe.summary()
    probe.weights = {}
    assert probe.entropy == 0 and "All gates are shut" in probe.summary()


@pytest.mark.parametrize("kind", ["answer", "recall", "irag"])
def test_what_is_said_is_said_through_this_gate(mind, probe, kind):
    speak_ = {
        "answer": lambda gate: mind.answer("Where is it?", gate=gate),
        "recall": lambda gate: mind.recall("Where is it?", gate=gate),
        "irag": lambda gate: mind.answer("Where is it?", via_recall=True, gate=gate),
    }[kind]
    probe.beta = 0.0625
    said = probe.ask(kind)
    shut = mind.gate_by_hand([{}])
    assert said == speak_(mind.gate("Where is it?", 0.0625))
    assert probe.replies["kind"].tolist() == (["recall", "irag"] if kind == "irag" else [kind])
    assert probe.replies.iloc[-1].tolist() == [kind, said, speak_(shut)]
    name = {"answer": "Answer", "recall": "Recall", "irag": "Recall, then answer"}[kind]
    assert f"{name}: {said}" in probe.summary() and f"<h2>{name}</h2>" in probe._replies.value


def test_what_was_said_is_kept_with_its_gate(probe, opened):
    for _ in range(2):
        probe.ask("recall"), probe.ask("irag"), probe.ask("answer")
    assert len(opened) == 6  # iRAG takes the recall that was made; each also by the base alone
    probe.beta = 0.25
    assert probe.replies.empty and probe._replies.value == ""
    probe.ask("answer")
    assert len(opened) == 7  # the base alone is the same under every gate
    probe.beta = 0.5
    assert probe.replies["kind"].tolist() == ["answer", "recall", "irag"] and probe._replies.value.count("<h2>") == 3
    probe.query = "Who sang?"
    assert probe.replies.empty
    press(probe, "Answer")
    assert probe.wait(WAIT) and probe.replies["kind"].tolist() == ["answer"] and len(opened) == 9


# The probe: while the model speaks


def test_controls_answer_while_the_model_speaks(mind, probe, held):
    started, go = held
    press(probe, "Recall")
    assert started.wait(WAIT) and probe.busy and "the model speaks" in probe.status.value
    probe.beta = 0.0
    assert shown(probe) == dict.fromkeys(probe.bars.ids, 1 / 3)
    moved(probe.bars, {"m": 0.75})
    assert shown(probe)["m"] == 0.75 and "Set by hand" in probe._facts.value and probe.busy
    assert "the model speaks" in probe.status.value
    go.set()
    assert probe.wait(WAIT) and probe.replies.empty  # what it said was said through another gate
    probe.beta = 0.5
    assert probe.replies["gated"].tolist() == [mind.recall("Where is it?")]


def test_until_a_question_is_read_what_is_shown_is_grey_and_cannot_be_moved(probe, held):
    started, go = held
    parts = (probe.bars, probe._facts, probe._replies)
    grey = lambda: {("memsci-stale" in part._dom_classes) for part in parts}
    press(probe, "Answer")
    assert started.wait(WAIT) and grey() == {False} and probe.bars.editable
    before = probe.bars.ids
    probe.query = "Who sang?"
    assert grey() == {True} and not probe.bars.editable and probe.bars.ids == before
    probe.query = "Where is it?"
    assert grey() == {False} and probe.bars.editable
    probe.query = "Who sang?"
    go.set()
    assert probe.wait(WAIT) and grey() == {False} and probe.bars.editable and probe.bars.marked == ["x"]
    probe.query = "long " * 200
    assert probe.wait(WAIT) and grey() == {False} and probe.bars.ids == []


def test_of_waiting_questions_the_last_is_read(probe, held, monkeypatch):
    started, go = held
    read = []
    own = Gates.gate
    monkeypatch.setattr(Gates, "gate", lambda self, query, *rest: read.append(query) or own(self, query, *rest))
    press(probe, "Answer")
    assert started.wait(WAIT)
    read.clear()
    for query in ("Who?", "Why?", "When?"):
        probe.query = query
    press(probe, "Answer")
    go.set()
    assert probe.wait(WAIT) and not {"Who?", "Why?"} & set(read)
    assert probe.replies["kind"].tolist() == ["answer"] and probe.query == "When?"


# Both


def test_a_cell_opens_in_the_probe(mind, probe):
    queries = ["Who sang?", "What did Omar find?", "And then?"]
    gate_map = HeatMap.of(mind, queries)
    probe.follow(gate_map)
    probe.weights = {"m": 1.0}
    gate_map.selected = [2, 1]
    assert probe.query == "And then?"
    assert probe.table.equals(mind.gate("And then?").frame().drop(columns="query"))
    probe.query = "Who sang?"
    gate_map.selections += 1  # the same cell again
    assert probe.query == "And then?"
    probe.weights = {"m": 1.0}
    before = probe.bars.round
    with gate_map.hold_trait_notifications():  # as a browser tells it: the cell, and that it was selected once more
        gate_map.selected, gate_map.selections = [0, 0], gate_map.selections + 1
    assert probe.query == "Who sang?" and probe.bars.round == before + 1  # what is moved after the first of both stays
    gate_map.selected = [2, 1]
    gate_map.selected = []
    assert probe.query == "And then?" and probe.wait(WAIT) and set(probe.bars.ids) == set(mind.ids)
