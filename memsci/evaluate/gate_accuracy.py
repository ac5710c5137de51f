"""What decides the gate: how often the right memory comes first, by embedding, by layer, by number of memories.

Nothing is learnt here and nothing spoken: every passage and every question is embedded, and the best memory of each
question is noted (paper, Figs 7 to 9). The three experiments give tables of one form; `correct_rate` makes rates of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd
from torch import Tensor

from memsci.config import Embedding
from memsci.data import table as as_memories
from memsci.errors import MemsciError, check_columns, check_whole
from memsci.gate.embed import embedders, weighted
from memsci.gate.softmax import gate
from memsci.measures.metrics import correct_gate, gate_confusion
from memsci.measures.statistics import mean_table, unit_means
from memsci.memory import Memory
from memsci.models.base import Base

COLUMNS = ("n", "embedding", "layer", "site", "pooling", "similarity", "memory_id", "question", "top_id")
QUERIES = 512  # compared with all keys at once

# Embeddings by which a gate can be driven, each with its similarity; the paper's first.
EMBEDDINGS: dict[str, tuple[Embedding, str]] = {
    "own (the paper's)": (Embedding.paper(), "inner"),
    "own, cosine": (Embedding.paper(), "cosine"),
    "own, by surprisal, cosine": (Embedding(pooling="surprisal"), "cosine"),
    "own, by IDF, cosine": (Embedding(pooling="idf"), "cosine"),
    "own, by IDF, whitened, cosine": (Embedding(pooling="idf", whiten=True), "cosine"),
    "own first layer, by IDF, whitened, cosine":
        (Embedding(layer=0, site="attention", pooling="idf", whiten=True), "cosine"),
    "own first layer, both sites, by root IDF, whitened, cosine":
        (Embedding(layer=0, site="both", pooling="idf^0.5", whiten=True), "cosine"),
    "MiniLM-L6": (Embedding(kind="sentence"), "cosine"),
    "TF-IDF": (Embedding(kind="words"), "cosine"),
    "MiniLM-L6 + TF-IDF": (Embedding(kind="hybrid"), "cosine"),
}  # fmt: skip

# Who a set of stories is about once its names are unified.
PERSON = "Alex Whitlam"
_WORD = re.compile(r"[^\W\d_]\w*")

Embeddings = Mapping[str, tuple[Embedding, str]]


def by_embedding(base: Base | None, memories: Sequence[Memory], embeddings: Embeddings = EMBEDDINGS) -> pd.DataFrame:
    """Which memory each embedding puts first for every question about these memories (paper, Figs 8 and 9).

    Parameters
    ----------
    base
        Whose activations are read; None will do if no embedding is of kind "activations".
    memories
        Stored all together: what depends on all that is stored (IDF, whitening) is fitted to them.
    embeddings
        By the name in the table: the embedding, and the similarity ("inner" or "cosine") of question and passage.

    Returns
    -------
    pandas.DataFrame
        A row per embedding and question: n (memories stored), embedding, layer (from 0), site, pooling (these three missing
        where it is not of the base's activations), similarity, memory_id (asked about), question, top_id (the highest gate).
    """
    memories = as_memories(memories)
    asked = questions(memories)
    vectors = _vectors(base, memories, asked, embeddings)
    return pd.concat(
        [_best(base, name, *embeddings[name], *vectors[name], memories, asked) for name in embeddings], ignore_index=True
    )


def gates(base: Base, memories: Sequence[Memory], embeddings: Embeddings = EMBEDDINGS) -> pd.DataFrame:
    """How often each embedding puts the right memory first: columns embedding, correct gate %, n (questions)."""
    table = by_embedding(base, memories, embeddings)
    hits = table.assign(hit=correct_gate(table["memory_id"], table["top_id"])).groupby("embedding", sort=False)["hit"]
    return pd.DataFrame({"correct gate %": 100 * hits.mean(), "n": hits.size()}).reset_index()


def by_layer(
    base: Base,
    memories: Sequence[Memory],
    sites: Sequence[str] = ("mlp", "attention"),
    poolings: Sequence[str] = ("mean",),
    similarities: Sequence[str] = ("inner",),
    whiten: Sequence[bool] = (False,),
) -> pd.DataFrame:
    """Which memory comes first by the activations of every layer, in one pass over each text (paper, Fig. 7).

    Parameters
    ----------
    base, memories
        As for `by_embedding`, whose table comes for every combination of what follows; embedding is "own".
    sites, poolings, whiten
        See `memsci.config.Embedding`; the paper compares the sites "mlp" and "attention", with pooling "mean".
    similarities
        "inner" (the paper's) or "cosine".
    """
    layers = range(base.model.config.get_text_config().num_hidden_layers)
    embeddings = {
        str(one): (Embedding(whiten=one[0], layer=one[1], site=one[2], pooling=one[3]), one[4])
        for one in product(whiten, layers, sites, poolings, similarities)
    }
    return by_embedding(base, memories, embeddings).assign(embedding="own")


def by_count(
    base: Base | None,
    partitions: Mapping[Hashable, Sequence[Memory]],
    ns: Iterable[int] | None = None,
    embeddings: Embeddings = EMBEDDINGS,
) -> pd.DataFrame:
    """Which memory comes first as more and more are stored together, up to all partitions (paper, Fig. 9).

    The memories of all partitions stand in one row (paper) and are cut into sets of n neighbours (*not stated in the
    paper*); each question is asked of the set that its memory is in, so that every n is measured on the same questions.
    If n does not divide the number of memories, the last set takes its missing memories from the set before it.

    Parameters
    ----------
    base, embeddings
        As for `by_embedding`.
    partitions
        By the name in the table. Unify names first (`unify_names`) where they would tell the partitions apart.
    ns
        Numbers of memories. Default: as many as are in the first 1, 2, 4, 8, ... partitions, and all.

    Returns
    -------
    pandas.DataFrame
        As `by_embedding`, behind a column partition: that of the memory asked about.
    """
    memories = as_memories(memory for part in partitions.values() for memory in part)
    owner = {memory.id: name for name, part in partitions.items() for memory in part}
    ns = _doubling([len(part) for part in partitions.values()]) if ns is None else list(ns)
    for n in ns:
        check_whole("n", n, 1, len(memories))
    asked = questions(memories)
    # What is fitted to the texts stored is made anew for every set, from activations that are read once; all else once.
    kept: dict[str, dict[str, Tensor]] = {}
    fitted = {name for name, (embedding, _) in embeddings.items() if embedding.fitted}
    once = _vectors(base, memories, asked, {name: embeddings[name] for name in embeddings if name not in fitted})
    tables = []
    for n in ns:
        for end in range(n, len(memories) + n, n):
            end = min(end, len(memories))
            stored = slice(end - n, end)
            new = {memory.id for memory in memories[(end - 1) // n * n : end]}
            here = asked[asked["memory_id"].isin(new)]
            if here.empty:
                continue
            anew = _vectors(base, memories[stored], here, {name: embeddings[name] for name in fitted}, kept)
            for name, (embedding, similarity) in embeddings.items():
                cues, keys = anew[name] if name in fitted else (once[name][0][here.index], once[name][1][stored])
                tables.append(_best(base, name, embedding, similarity, cues, keys, memories[stored], here))
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "partition", table["memory_id"].map(owner))
    return table


def unify_names(partitions: Mapping[Hashable, Sequence[Memory]], person: str = PERSON) -> dict[Hashable, list[Memory]]:
    """The same partitions, each about one and the same person (paper, Fig. 9, fictional set).

    A partition's person is the name that most of its memories have, in text or questions, and the capitalised word that
    follows it most often ("Nora", "Blake"). Both are replaced in all texts by those of `person`, first and last name;
    pronouns stay. How the paper unifies the names is *not stated in the paper*.
    """
    if len(person.split()) != 2:
        raise MemsciError(f"person must be a first and a last name; {person!r} was given.")
    return {name: _renamed(name, part, person) for name, part in partitions.items()}


def partition_rates(gates: pd.DataFrame) -> pd.DataFrame:
    """Share of questions for which the right memory comes first, in every partition.

    From tables of this module, with a column partition and any others in front, such as dataset, to a row per group and
    partition: the columns that are not of one question (n is called stop, as in all curves), metric ("correct gate"),
    partition, value.
    """
    # Without the words of the question, which no rate needs, a table may come from a file.
    check_columns("The table of gates", ["partition", *COLUMNS], [*gates.columns, "question"])
    single = ("partition", "memory_id", "question", "top_id", "value")
    scores = gates.rename(columns={"n": "stop"}).assign(
        layer=gates["layer"].astype("Int64"),  # from a file, where some are missing, they come as 4.0
        metric="correct gate",
        value=correct_gate(gates["memory_id"], gates["top_id"]),
    )
    return unit_means(scores, [name for name in scores.columns if name not in single])


def correct_rate(gates: pd.DataFrame) -> pd.DataFrame:
    """The means of `partition_rates` over partitions, as `mean_table` of `memsci.measures.statistics` (Figs 7 and 9)."""
    return mean_table(partition_rates(gates))


def confusions(gates: pd.DataFrame) -> pd.DataFrame:
    """Which memory each embedding puts first for the questions about each, in the first partition (paper, Fig. 8).

    From tables as for `partition_rates`, with a column dataset, to columns dataset, partition, embedding, memory_id, top_id,
    share: the pairs that occur, see `gate_confusion`.
    """
    parts = []
    for dataset, rows in gates.groupby("dataset", sort=False):
        rows = rows[rows["partition"] == rows["partition"].iloc[0]]
        ids = list(dict.fromkeys([*rows["memory_id"], *rows["top_id"]]))
        for embedding, own in rows.groupby("embedding", sort=False):
            shares = gate_confusion(own["memory_id"], own["top_id"], ids).stack().rename("share").reset_index()
            where = {"dataset": dataset, "partition": rows["partition"].iloc[0], "embedding": embedding}
            parts.append(shares[shares["share"] > 0].assign(**where))
    table = pd.concat(parts, ignore_index=True)
    return table[["dataset", "partition", "embedding", "memory_id", "top_id", "share"]]


def questions(memories: Sequence[Memory]) -> pd.DataFrame:
    """Every question of every memory: columns memory_id, question."""
    rows = [(memory.id, question.text) for memory in memories for question in memory.questions]
    if not rows:
        raise MemsciError(f"None of the {len(memories)} memories has a question. Give memories with questions.")
    return pd.DataFrame(rows, columns=["memory_id", "question"])


def _vectors(
    base: Base | None,
    memories: Sequence[Memory],
    asked: pd.DataFrame,
    embeddings: Embeddings,
    kept: dict[str, dict[str, Tensor]] | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Cues [q, d] of the questions and keys [n, d] of the memories, by name of the embedding."""
    settings = dict.fromkeys(embedding for embedding, _ in embeddings.values())
    texts = [memory.text for memory in memories]
    embed = embedders(base, list(settings), stored=texts, kept=kept)
    embedded = zip(settings, embed(asked["question"].tolist()), embed(texts), strict=True)
    vectors = {embedding: (cues, keys) for embedding, cues, keys in embedded}
    return {name: vectors[embedding] for name, (embedding, _) in embeddings.items()}


def _best(
    base: Base | None,
    name: str,
    embedding: Embedding,
    similarity: str,
    cues: Tensor,
    keys: Tensor,
    memories: Sequence[Memory],
    asked: pd.DataFrame,
) -> pd.DataFrame:
    """The best memory of each question, as rows of the table."""
    ids = [memory.id for memory in memories]
    top: list[str] = []
    for part in cues.split(QUERIES):
        top += gate(*weighted(embedding, part, keys), similarity=similarity, ids=ids).top()
    own = embedding.kind == "activations"
    layer = embedding.layer % base.model.config.get_text_config().num_hidden_layers if own else pd.NA
    table = pd.DataFrame({"n": len(ids), "embedding": name, "layer": layer}, index=range(len(asked)))
    table["layer"] = table["layer"].astype("Int64")
    pooling = embedding.pooling + (", whitened" if embedding.whiten else "")
    table["site"], table["pooling"] = (embedding.site, pooling) if own else (None, None)
    table["similarity"] = similarity
    return table.assign(memory_id=asked["memory_id"].tolist(), question=asked["question"].tolist(), top_id=top)


def _doubling(sizes: Sequence[int]) -> list[int]:
    counts = [2**k for k in range(len(sizes).bit_length()) if 2**k < len(sizes)]
    return [sum(sizes[:count]) for count in (*counts, len(sizes))]


def _renamed(partition: Hashable, memories: Sequence[Memory], person: str) -> list[Memory]:
    written = [_WORD.findall("\n".join(_texts(memory))) for memory in memories]
    every = Counter(word for words in written for word in words)
    # A name has a capital everywhere, unlike the first word of a sentence.
    named = Counter(word for words in written for word in set(words) if word[0].isupper() and word.lower() not in every)
    first = max(every, key=lambda word: (named[word], every[word]), default="")
    if 2 * named[first] < len(memories) or not first:
        raise MemsciError(
            f"Partition {partition!r} is not about one person: no name stands in half of its {len(memories)} memories. "
            "Unify names only in sets of stories about one person each."
        )
    follows = re.compile(rf"\b{first} ([A-Z]\w+)")
    last = Counter(name for memory in memories for text in _texts(memory) for name in follows.findall(text))
    old = (first, *(name for name, _ in last.most_common(1)))
    new = dict(zip(old, person.split()))
    pattern = re.compile(rf"\b({'|'.join(old)})\b")
    swap = lambda text: pattern.sub(lambda match: new[match.group()], text)
    return [
        replace(
            memory,
            text=swap(memory.text),
            label=swap(memory.label),
            paraphrases=tuple(map(swap, memory.paraphrases)),
            questions=tuple(replace(q, text=swap(q.text), answer=swap(q.answer)) for q in memory.questions),
        )
        for memory in memories
    ]


def _texts(memory: Memory) -> list[str]:
    return [memory.text, *(question.text for question in memory.questions)]
