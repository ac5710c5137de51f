"""Memories as a graph: what connects them, and walks along it."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import pytest
from test_mind import SMALL

from memsci import figures
from memsci.config import Embedding, GateRule
from memsci.errors import MemsciError
from memsci.learners.mega import MEGa
from memsci.lifetime.graph import by_way_of, names, steps
from memsci.memory import Memory
from memsci.phenomena import along

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut off")

MEMORIES = [
    Memory("On Monday Nora Field hid a letter in the piano in Turku.", "letter", extra={"date": "2020-05-03"}),
    Memory("Omar found a red kite by the frozen lake. It was torn.", "kite", extra={"date": "2020-01-09"}),
    Memory("The piano tuner of Turku met Omar and slept.", "tuner", extra={"date": "2021-01-01"}),
    Memory("Nora sold a red boat to a stranger.", "boat", extra={"place": "harbour"}),
    Memory("Grass grows at night.", "grass", extra={"place": "harbour", "date": "2019-07-07"}),
    Memory("Nora sold a green boat to a stranger.", "boat-2", corrects="boat"),
]


@pytest.fixture
def mind(base, tmp_path, monkeypatch) -> MEGa:
    monkeypatch.setattr(MEGa, "recall_tokens", 6)
    rule = GateRule(beta=30.0, similarity="cosine")
    mind = MEGa(base, tmp_path / "store", SMALL, Embedding(kind="words"), rule, keep_text=True)
    mind.encode(MEMORIES, progress=False)
    return mind


def kinds(links: nx.Graph, kind: str) -> set[frozenset]:
    return {frozenset(pair) for *pair, about in links.edges(data=True) if kind in about["kinds"].split(", ")}


def pairs(*names: str) -> set[frozenset]:
    return {frozenset(one.split()) for one in names}


def test_names_are_what_capitals_say():
    found = names({memory.id: memory.text for memory in MEMORIES})
    assert found["letter"] == {"Nora Field", "Turku"} and found["tuner"] == {"Turku", "Omar"}
    said = {"a": "“Great work,” said Nora. (Later they left.) 'Then Omar ran.'"}
    assert names(said) == {"a": {"Nora", "Omar"}}
    assert found["kite"] == {"Omar"} and found["boat"] == {"Nora Field"} and found["grass"] == set()


def test_each_edge_says_what_it_is_for(mind):
    links = mind.graph(near=1)
    assert list(links) == [one.id for one in MEMORIES]
    assert links.nodes["kite"] == {"label": "Omar found a red kite by…", "order": 1, "date": "2020-01-09"}
    # Nora is in three of six, which is not more than half.
    assert kinds(links, "names") == pairs("letter tuner", "kite tuner", "letter boat", "letter boat-2", "boat boat-2")
    assert links.edges["letter", "tuner"]["names"] == "Turku"
    assert kinds(links, "time") == pairs("letter kite", "kite tuner", "tuner boat", "boat grass", "grass boat-2")
    assert kinds(links, "correction") == pairs("boat boat-2") and links.edges["boat", "boat-2"]["newer"] == "boat-2"
    cosines = links.edges["boat", "boat-2"]
    assert cosines["similarity"] == pytest.approx(0.6, abs=0.35) and "similar" in cosines["kinds"]
    assert cosines["weight"] == pytest.approx(cosines["similarity"] + 1 + 1)  # alike, the same name, a correction


def test_an_extra_column_order_is_kept(mind):
    mind.encode([Memory("A grey owl sat there.", "owl", extra={"order": 7})], progress=False)
    links = mind.graph()
    assert list(links)[-1] == "owl" and links.nodes["owl"]["order"] == 7
    assert "order" not in links.nodes["kite"]  # a place beside it would be taken for a value of that column


def test_time_may_be_a_column_and_equal_values_connect(mind):
    links = mind.graph(near=0, time="date", columns=["place"], weights={"correction": 0})
    assert kinds(links, "time") == pairs("grass kite", "kite letter", "letter tuner")
    assert frozenset(["boat", "grass"]) in kinds(links, "names") and not kinds(links, "correction")
    assert not kinds(links, "similar")
    assert links.edges["boat", "grass"]["names"] == "harbour"


def test_without_texts_no_edge_is_for_a_name(mind, base, tmp_path):
    silent = MEGa(base, tmp_path / "silent", SMALL, mind.embedding, mind.rule)
    silent.encode(MEMORIES, progress=False)
    assert not kinds(silent.graph(), "names") and kinds(silent.graph(MEMORIES), "names") == kinds(mind.graph(), "names")


def test_a_forgotten_link_of_a_chain_is_passed_over(mind):
    mind.encode([Memory("Nora sold a blue boat to a stranger.", "boat-3", corrects="boat-2")], progress=False)
    mind.forget("boat-2")
    assert kinds(mind.graph(), "correction") == pairs("boat boat-3")


def test_other_programs_can_read_it(mind, tmp_path):
    nx.write_graphml(mind.graph(), tmp_path / "g.graphml")
    read = nx.read_graphml(tmp_path / "g.graphml")
    assert dict(read.nodes(data=True)) == dict(mind.graph().nodes(data=True))
    assert {frozenset(pair): about for *pair, about in read.edges(data=True)} == {
        frozenset(pair): about for *pair, about in mind.graph().edges(data=True)
    }


def test_wrong_settings_are_told(mind):
    with pytest.raises(MemsciError, match="a kind of edge must be one of"):
        mind.graph(weights={"colour": 1})
    with pytest.raises(MemsciError, match="0 or more; 'time' has -1"):
        mind.graph(weights={"time": -1})
    with pytest.raises(MemsciError, match="an extra column"):
        mind.graph(time="day")
    with pytest.raises(MemsciError, match="near"):
        mind.graph(near=-1)


def test_a_mind_without_memories_has_an_empty_graph(base):
    links = MEGa(base).graph()
    assert not len(links) and along(links, 2) == [[], []]
    with pytest.raises(MemsciError, match="no memories"):
        figures.memory_graph(links)


def test_a_walk_goes_along_the_edges(mind):
    """Each step is drawn by weight; what is not connected comes when there is no way on."""
    links = nx.Graph([("a", "b"), ("b", "c"), ("c", "d")], weight=1.0)
    walks = along(links, 400, leap=1e-9, seed=1)
    assert all(sorted(one) == ["a", "b", "c", "d"] for one in walks)
    from_a = [one for one in walks if one[0] == "a"]
    assert len(from_a) > 50 and all(one == ["a", "b", "c", "d"] for one in from_a)
    links.edges["b", "c"]["weight"] = 3.0
    second = Counter(one[1] for one in along(links, 4000, leap=1e-9, seed=2) if one[0] == "b")
    assert second["c"] / (second["a"] + second["c"]) == pytest.approx(0.75, abs=0.05)
    assert along(links, 3, seed=5) == along(links, 3, seed=5)
    with pytest.raises(MemsciError, match="leap must be above 0"):
        along(links, leap=0)


def test_the_second_memory_is_a_neighbour_of_the_first(mind):
    question = "Where did Nora Field hide the letter, and what did Omar find by the frozen lake?"
    links = nx.Graph(mind.graph().edges)
    links.add_nodes_from(mind.ids)
    [first] = mind.gate([question]).top()
    links.remove_edges_from(list(links.edges(first)))
    assert steps(mind, links, [question])["second"].isna().all()
    links.add_edges_from([(first, "grass"), (first, "tuner")])
    other = max(("grass", "tuner"), key=lambda id: mind.gate(question).scores[0, mind.ids.index(id)])
    assert steps(mind, links, [question]).loc[0, ["first", "second"]].tolist() == [first, other]
    told = by_way_of(mind, links, [question, question])
    assert len(told) == 2 and told["recalled"].iloc[0] == "\n\n".join(
        mind.recall([question, question], gate=mind.true_gate([id, id]))[0] for id in (first, other)
    )
    assert isinstance(told["answer"].iloc[0], str)
    with pytest.raises(MemsciError, match="does not have the memory 'letter'"):
        steps(mind, nx.Graph(), [question])


def test_the_figure_shows_every_memory_and_each_kind_of_edge(mind):
    ax = figures.memory_graph(mind.graph())
    assert {text.get_text().replace("\n", " ") for text in ax.texts} == {one.label for one in MEMORIES}
    assert len(ax.get_legend().get_texts()) == 4
