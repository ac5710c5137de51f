"""Which memory comes first: against the gate of each embedding alone, and against counting by hand."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from conftest import DATA, random_adapter

from memsci import data
from memsci.config import Embedding, GateRule
from memsci.errors import MemsciError
from memsci.evaluate import gate_accuracy as gating
from memsci.gate import embed
from memsci.gate.embed import embedder, embedders, weighted
from memsci.gate.softmax import gate
from memsci.learners import RAG
from memsci.learners.mega import MEGa
from memsci.memory import Memory, text_hash
from memsci.store.record import Remembered

OWN = {name: pair for name, pair in gating.EMBEDDINGS.items() if pair[0].kind in ("activations", "words")}
PAPER = {"paper": gating.EMBEDDINGS["own (the paper's)"]}


def memory(k: int, who: str = "Nora Blake") -> Memory:
    thing = ["letter", "ring", "clock", "boot", "lamp", "kite", "violin", "map", "coin", "scarf", "drum", "jar"][k]
    place = ["piano", "well", "cellar", "oven", "garden", "attic", "barn", "tower", "chapel", "mill", "cave", "shed"][k]
    first = who.split()[0]
    return Memory(
        f"On {k + 2} May {who} hid a {thing} in the {place}. {first} told nobody.",
        id=f"{first}-{k}",
        paraphrases=(f"{first} put a {thing} into the {place}.",),
        questions=[(f"Where is the {thing} of {who}?", place), (f"What did {first} hide in the {place}?", f"a {thing}")],
    )


MEMORIES = [memory(k) for k in range(5)]


def tops(base, memories, embedding, similarity) -> list[str]:
    """By plain calls of f and the gate, one embedding alone."""
    texts = [one.text for one in memories]
    f = lambda given: embedders(base, [embedding], stored=texts)(given)[0]
    cues = f([question.text for one in memories for question in one.questions])
    return gate(*weighted(embedding, cues, f(texts)), similarity=similarity, ids=[one.id for one in memories]).top()


def test_by_embedding_is_each_gate_alone(base):
    table = gating.by_embedding(base, MEMORIES, OWN)
    assert list(table) == list(gating.COLUMNS)
    assert table["embedding"].unique().tolist() == list(OWN)
    for name, rows in table.groupby("embedding", sort=False):
        assert rows["top_id"].tolist() == tops(base, MEMORIES, *OWN[name])
        assert rows["memory_id"].tolist() == [one.id for one in MEMORIES for _ in one.questions]
        assert rows["question"].tolist() == [question.text for one in MEMORIES for question in one.questions]
        assert (rows["n"] == 5).all() and (rows["similarity"] == OWN[name][1]).all()
    columns = ["embedding", "layer", "site", "pooling"]
    own = table.loc[table["embedding"] != "TF-IDF", columns].drop_duplicates()
    assert list(own.itertuples(index=False, name=None)) == [
        ("own (the paper's)", 1, "mlp", "mean"),  # the last of two
        ("own, cosine", 1, "mlp", "mean"),
        ("own, by surprisal, cosine", 1, "mlp", "surprisal"),
        ("own, by IDF, cosine", 1, "mlp", "idf"),
        ("own, by IDF, whitened, cosine", 1, "mlp", "idf, whitened"),
        ("own first layer, by IDF, whitened, cosine", 0, "attention", "idf, whitened"),
        ("own first layer, both sites, by root IDF, whitened, cosine", 0, "both", "idf^0.5, whitened"),
    ]
    lexical = table[table["embedding"] == "TF-IDF"]
    assert lexical[["layer", "site", "pooling"]].isna().all(axis=None)
    assert (lexical["top_id"] == lexical["memory_id"]).all()


def test_words_need_no_base():
    assert len(gating.by_embedding(None, MEMORIES, {"TF-IDF": OWN["TF-IDF"]})) == 10


@pytest.mark.parametrize("kind", ["words", "activations"])
def test_minds_and_retrieval_open_the_same_memories(base, tmp_path, kind):
    embedding = Embedding(kind=kind)
    mind = MEGa(base, store=tmp_path / "store", embedding=embedding, gate=GateRule(similarity="cosine", beta=30))
    rag = RAG(base, embedding, "cosine")
    for one in MEMORIES:  # one after the other: what is stored later must not spoil the keys of the earlier ones
        key = embedder(base, embedding)([one.text])[0]
        adapter = random_adapter(base.model, ["model.layers.0.mlp.up_proj"])
        mind.store.add(Remembered(one.id, one.label, key, text_hash(one.text)), adapter)
        rag.learn([one], progress=False)
    table = gating.by_embedding(base, MEMORIES, {"f": (embedding, "cosine")})
    assert mind.gate(table["question"].tolist()).top() == table["top_id"].tolist()
    assert rag.top(table["question"].tolist()) == table["top_id"].tolist()


def test_by_layer_is_every_embedding_alone_in_one_pass(base):
    poolings, similarities = ("mean", "surprisal", "idf", "last"), ("inner", "cosine")
    passes = []
    base.model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    table = gating.by_layer(base, MEMORIES, poolings=poolings, similarities=similarities)
    assert len(passes) == 2  # the questions, the passages
    settings = ["layer", "site", "pooling", "similarity"]
    groups = table.groupby(settings, sort=False)
    assert len(groups) == 2 * 2 * 4 * 2 and (table["embedding"] == "own").all()
    for (layer, site, pooling, similarity), rows in groups:
        embedding = Embedding(layer=int(layer), site=site, pooling=pooling)
        assert rows["top_id"].tolist() == tops(base, MEMORIES, embedding, similarity)
    both = gating.by_layer(base, MEMORIES, sites=["mlp"], whiten=(False, True))
    assert both["pooling"].unique().tolist() == ["mean", "mean, whitened"]
    for layer, rows in both[both["pooling"] == "mean, whitened"].groupby("layer"):
        assert rows["top_id"].tolist() == tops(base, MEMORIES, Embedding(layer=int(layer), whiten=True), "inner")
    assert list(gating.by_layer(base, MEMORIES)[settings].drop_duplicates().itertuples(index=False, name=None)) == [
        (layer, site, "mean", "inner") for layer in (0, 1) for site in ("mlp", "attention")
    ]


def test_by_count_asks_each_question_once_at_every_n(base):
    parts = {"a": [memory(k) for k in range(5)], "b": [memory(k) for k in range(5, 10)], "c": [memory(10), memory(11)]}
    whole = [one for part in parts.values() for one in part]
    table = gating.by_count(base, parts, ns=[5, 8, 12], embeddings=OWN)
    assert list(table) == ["partition", *gating.COLUMNS]
    for (n, name), rows in table.groupby(["n", "embedding"]):
        assert rows["memory_id"].tolist() == [one.id for one in whole for _ in one.questions]
        assert rows["partition"].tolist() == ["a"] * 10 + ["b"] * 10 + ["c"] * 4
        # 5: 0-4, 5-9, then 7-11 for the last two; 8: 0-7, then 4-11 for the last four.
        sets = {5: [(0, 5, 0), (5, 10, 5), (7, 12, 10)], 8: [(0, 8, 0), (4, 12, 8)], 12: [(0, 12, 0)]}[n]
        expected = []
        for start, end, new in sets:
            found = tops(base, whole[start:end], *OWN[name])
            expected += found[2 * (new - start) :]
        assert rows["top_id"].tolist() == expected


def test_by_count_reads_each_text_once_for_all_that_is_fitted(base, monkeypatch):
    parts = {"a": [memory(k) for k in range(5)], "b": [memory(k) for k in range(5, 10)]}
    fitted = {name: OWN[name] for name in OWN if OWN[name][0].fitted}
    assert len(fitted) == 4
    read, passes = [], embed._passes
    monkeypatch.setattr(embed, "_passes", lambda b, m, texts, s: read.extend(texts) or passes(b, m, texts, s))
    gating.by_count(base, parts, ns=[2, 5, 10], embeddings=fitted)
    whole = [one for part in parts.values() for one in part]
    assert sorted(read) == sorted([*(one.text for one in whole), *(q.text for one in whole for q in one.questions)])


def test_numbers_of_memories_double_up_to_all(base):
    parts = {k: [memory(2 * k), memory(2 * k + 1)] for k in range(5)}
    assert gating.by_count(base, parts, embeddings=PAPER)["n"].unique().tolist() == [2, 4, 8, 10]
    assert gating.by_count(base, {0: MEMORIES}, embeddings=PAPER)["n"].unique().tolist() == [5]


def test_rates_by_hand():
    rows = [
        {"dataset": "wiki", "partition": partition, "n": n, "embedding": name, "layer": layer, "site": site,
         "pooling": site and "mean", "similarity": "cosine", "memory_id": "m", "question": "?", "top_id": top}
        for name, layer, site in (("own", 1, "mlp"), ("TF-IDF", pd.NA, None))
        for partition, n, hits in ((0, 50, "mm"), (1, 50, "mx"), (0, 100, "xx"), (1, 100, "xm"))
        for top in hits
    ]  # fmt: skip
    curves = gating.correct_rate(pd.DataFrame(rows))
    assert list(curves)[:8] == ["dataset", "stop", "embedding", "layer", "site", "pooling", "similarity", "metric"]
    assert curves["stop"].tolist() == [50, 100, 50, 100]
    assert curves["mean"].tolist() == [0.75, 0.25, 0.75, 0.25]
    assert curves["n"].tolist() == [2] * 4 and set(curves["metric"]) == {"correct gate"}
    assert curves["sd"].tolist() == pytest.approx([0.5**1.5] * 4)
    with pytest.raises(MemsciError, match="no column 'top_id'"):
        gating.correct_rate(pd.DataFrame(rows).drop(columns="top_id"))


def test_rates_and_confusions_of_partitions(base):
    gates = pd.concat(
        [
            gating.by_embedding(base, [memory(5 * p + k) for k in range(5)], OWN).assign(dataset="d", partition=p)
            for p in range(2)
        ]
    )
    rates = gating.partition_rates(gates.drop(columns="question"))
    right = gates.assign(right=gates["memory_id"] == gates["top_id"]).groupby(["embedding", "partition"])["right"].mean()
    assert rates.set_index(["embedding", "partition"])["value"].to_dict() == pytest.approx(right.to_dict())
    found = gating.confusions(gates)
    assert list(found) == ["dataset", "partition", "embedding", "memory_id", "top_id", "share"]
    assert set(found["partition"]) == {0} and set(found["embedding"]) == set(OWN)
    diagonal = found[found["memory_id"] == found["top_id"]].groupby("embedding")["share"].sum() / 5
    assert diagonal.reindex(list(OWN), fill_value=0).to_dict() == pytest.approx({one: right[one, 0] for one in OWN})
    assert found.groupby(["embedding", "memory_id"])["share"].sum().to_numpy() == pytest.approx(1)


def test_unified_names():
    parts = {0: [memory(k) for k in range(3)], 1: [memory(k, "Tom Ashby") for k in range(3, 6)]}
    unified = gating.unify_names(parts)
    for name, part in parts.items():
        for old, new in zip(part, unified[name], strict=True):
            assert (new.id, len(new.questions)) == (old.id, 2)
            told = "\n".join([new.text, new.label, *new.paraphrases, *(q.text for q in new.questions)])
            assert not {"Nora", "Blake", "Tom", "Ashby"} & set(told.replace(".", " ").replace("?", " ").split())
            assert new.text.replace("Alex Whitlam", "Nora Blake").replace("Alex", "Nora") == old.text.replace(
                "Tom Ashby", "Nora Blake"
            ).replace("Tom", "Nora")
    assert parts[0] == [memory(k) for k in range(3)]
    assert "Ann Lee hid" in gating.unify_names(parts, "Ann Lee")[1][0].text


@pytest.mark.parametrize("partition", [0, 7])
def test_the_person_of_a_built_in_partition_is_found(partition):
    (part,) = gating.unify_names({partition: data.builtin("episodic", partition)}).values()
    assert sum("Alex Whitlam" in one.questions[0].text + one.text for one in part) > 40


def test_refusals(base):
    with pytest.raises(MemsciError, match="None of the 1 memories has a question"):
        gating.by_embedding(base, [Memory("A story.")])
    for n in (0, 6, 2.0, True):
        with pytest.raises(MemsciError, match="n must be a whole number from 1 to 5"):
            gating.by_count(base, {0: MEMORIES}, ns=[n])
    with pytest.raises(MemsciError, match="same text"):
        gating.by_count(base, {0: MEMORIES, 1: MEMORIES})
    with pytest.raises(MemsciError, match="not about one person"):
        gating.unify_names({0: [Memory("The sea rose."), Memory("It snowed in Oslo."), Memory("Rain fell.")]})
    with pytest.raises(MemsciError, match="a first and a last name"):
        gating.unify_names({0: MEMORIES}, "Alex")


@pytest.fixture(scope="module")
def wiki():
    if not (DATA / "mega").is_dir():
        pytest.skip("no published data: set MEMSCI_DATA")
    return {k: data.published("wiki", k, DATA) for k in range(10)}


def rates(table: pd.DataFrame) -> dict[int, float]:
    curves = gating.correct_rate(table)
    return dict(zip(curves["stop"], curves["mean"], strict=True))


@pytest.mark.data
def test_words_on_the_papers_wikipedia_set(wiki):
    found = rates(gating.by_count(None, wiki, ns=[50, 500], embeddings={"TF-IDF": OWN["TF-IDF"]}))
    assert found[50] >= 0.99 and found[500] >= 0.97


@pytest.mark.data
def test_the_hybrid_on_the_papers_wikipedia_set(wiki):
    name = "MiniLM-L6 + TF-IDF"
    two = {k: wiki[k] for k in range(2)}
    found = rates(gating.by_count(None, two, embeddings={name: gating.EMBEDDINGS[name]}))
    assert found[50] >= 0.995 and found[100] >= 0.98


def test_long_tables_are_compared_in_parts(base, monkeypatch):
    whole = gating.by_embedding(base, MEMORIES, OWN)
    monkeypatch.setattr(gating, "QUERIES", 3)
    pd.testing.assert_frame_equal(gating.by_embedding(base, MEMORIES, OWN), whole)
    assert torch.is_grad_enabled()
