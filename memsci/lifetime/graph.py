"""Memories as a graph: nodes memories, edges what connects two of them. Walking it recalls one memory by way of another.

    w_ij = a · max(0, cos(k_i, k_j)) + b · |N_i ∩ N_j| / |N_i ∪ N_j| + c · [next in time] + d · [one corrects the other]

k are keys, N the names that the texts have; cosines count between a memory and those nearest to it alone. The graph is
networkx's, its attributes are plain values, and `networkx.write_graphml` writes it for Gephi, Cytoscape, yEd or igraph in R.
*Not in the paper*, which names such a graph among what is open. `memsci.phenomena.along` walks it at random.

Shapes: n memories, d width of the keys.
"""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from torch.nn.functional import normalize

from memsci.data import table
from memsci.errors import MemsciError, check_in, check_whole
from memsci.gate.embed import weighted

KINDS = ("similar", "names", "time", "correction")
COMMON = 0.5  # a name that more than this share of the memories has connects nothing
ROWS = 1024  # keys compared with all others at a time
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+|\n+")
_WORD = re.compile(r"[^\W\d_][\w'’-]*|[^\w\s]")
_CALENDAR = frozenset(name.casefold() for name in (*calendar.day_name, *calendar.month_name) if name)
_POSSESSIVE = re.compile(r"['’]s?$")


def graph(
    mind: Any,
    memories: Any = None,
    near: int = 3,
    time: str | None = None,
    columns: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
) -> nx.Graph:
    """What connects the memories of a mind.

    Parameters
    ----------
    mind
        A `memsci.MEGa`.
    memories
        Their texts, in any form that `memsci.MEGa.encode` takes, for the names that they share. Default: the texts that the
        store keeps; without texts no edge is for a name.
    near
        How many of the nearest memories, by the cosine of the keys, each is connected with.
    time
        Extra column by which memories follow one another: numbers, or dates as ISO text; those without it are left out.
        Default: the order of encoding.
    columns
        Extra columns whose equal values connect, like a shared name: person, place, …
    weights
        a, b, c, d by kind of edge, "similar", "names", "time", "correction"; 1 by default, 0 for none of that kind.

    Returns
    -------
    networkx.Graph
        Nodes are ids, in the order of encoding, with label, order (from 0; not where an extra column has that name) and the
        extra columns. Edges have weight (w), kinds ("similar, names", …), and what they are for: similarity (cosine), names
        ("Nora Field; Turku"), newer (the id of the one that corrects the other).

    Notes
    -----
    Names are words with capitals that do not merely begin a sentence, in English or a language that writes them so; days and
    months are none. "Nora" is "Nora Field" where only one longer name has it. What more than half of the memories have, and
    more than two, such as the one person of all stories, connects nothing.

    Examples
    --------
    ::

        links = mind.graph(memories)
        networkx.write_graphml(links, "memories.graphml")
        memsci.figures.memory_graph(links)
    """
    given = dict(weights or {})
    for kind, value in given.items():
        check_in("a kind of edge", kind, KINDS)
        if not value >= 0:
            raise MemsciError(f"The weight of a kind of edge must be 0 or more; {kind!r} has {value!r}.")
    check_whole("near", near, 0)
    share = {kind: float(given.get(kind, 1)) for kind in KINDS}
    records = list(mind.store.records)
    made = nx.Graph()
    ordered = any("order" in (one.extra or {}) for one in records)
    for place, one in enumerate(records):
        made.add_node(one.id, **{"label": one.label, **({} if ordered else {"order": place}), **(one.extra or {})})
    for column in [*columns, *([time] if time else [])]:
        check_in("an extra column", column, list(dict.fromkeys(name for one in records for name in one.extra or {})))
    if share["similar"] and near and len(records) > 1:
        for one, other, cosine in _nearest(mind, near):
            _connect(made, one, other, "similar", share["similar"] * max(0.0, cosine), similarity=cosine)
    if share["names"]:
        texts = {one.id: one.text for one in (records if memories is None else table(memories)) if one.text is not None}
        shared = names({id: text for id, text in texts.items() if id in made})
        for one in records:
            own = {str(one.extra[column]) for column in columns if column in (one.extra or {})}
            shared[one.id] = shared.get(one.id, frozenset()) | own
        for one, other, both, either in _sharing(shared):
            _connect(made, one, other, "names", share["names"] * len(both) / either, names="; ".join(sorted(both)))
    if share["time"]:
        for one, other in pairwise(_in_time(records, time)):
            _connect(made, one, other, "time", share["time"])
    if share["correction"]:
        for newer, olds in mind.store.corrections.items():
            if old := next((old for old in olds if old in made), None):
                _connect(made, newer, old, "correction", share["correction"], newer=newer)
    return made


def names(texts: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The names that each text has, by id; see the notes of `graph`.

    Examples
    --------
    >>> found = names({"a": "On Monday Nora Field hid it in Turku. She ran.", "b": "Later Nora's aunt saw it."})
    >>> sorted(found["a"]), sorted(found["b"])
    (['Nora Field', 'Turku'], ['Nora Field'])
    """
    runs = {id: list(_runs(text)) for id, text in texts.items()}
    within = {name for found in runs.values() for name, initial in found if not initial}
    words = {word for name in within for word in name.split()}

    def plain(name: str) -> str:
        """Without a first word that only the start of its sentence gave a capital."""
        first, _, rest = name.partition(" ")
        return rest if first not in words and any(rest == one or one.startswith(f"{rest} ") for one in within) else name

    found = {
        id: [plain(name) if initial else name for name, initial in own if not initial or " " in name or name in words]
        for id, own in runs.items()
    }
    longer: dict[str, set[str]] = {}
    for name in {name for own in found.values() for name in own}:
        for word in name.split() if " " in name else ():
            longer.setdefault(word, set()).add(name)
    full = lambda name: next(iter(longer[name])) if len(longer.get(name, ())) == 1 else name
    return {id: frozenset(map(full, own)) for id, own in found.items()}


def by_way_of(mind: Any, links: nx.Graph, questions: Sequence[str]) -> pd.DataFrame:
    """Answers to questions that need two memories: the first as the gate finds it, the second among its neighbours.

    The first is the memory that the question opens most, the second that neighbour of the first which the question opens
    most. Each is recalled under its own gate alone; the answer follows both recalls (iRAG), under both gates alike, unless
    the rule closes the second turn.

    Parameters
    ----------
    mind
        A `memsci.MEGa`.
    links
        From `graph`.
    questions
        As many as you like.

    Returns
    -------
    pandas.DataFrame
        A row per question: question, first, second (ids; no second where the first has no neighbour), recalled (both, a
        blank line between), answer.
    """
    questions = list(questions)
    pairs = steps(mind, links, questions)
    told = [mind.recall(questions, gate=mind.true_gate(pairs["first"].tolist()))]
    second = pairs["second"].fillna(pairs["first"]).tolist()
    told.append(mind.recall(questions, gate=mind.true_gate(second)))
    recalled = [
        one if one_id == other_id else f"{one}\n\n{other}"
        for one, other, one_id, other_id in zip(*told, pairs["first"], second)
    ]
    both = [list(dict.fromkeys(ids)) for ids in zip(pairs["first"], second)]
    answers = mind.answer(questions, recalled=recalled, gate=mind.true_gate(both))
    return pairs.assign(recalled=recalled, answer=answers)


def steps(mind: Any, links: nx.Graph, questions: Sequence[str]) -> pd.DataFrame:
    """Which two memories `by_way_of` goes to: question, first, second. By keys alone, nothing is said."""
    if lacking := [id for id in mind.ids if id not in links]:
        raise MemsciError(f"The graph does not have the memory {lacking[0]!r}. Make it anew from this mind.")
    opened = mind.gate(list(questions), only=mind.ids)
    rows, place = [], {id: column for column, id in enumerate(opened.ids)}
    for question, first, scores in zip(questions, opened.top(), opened.scores.tolist()):
        near = sorted((id for id in links[first] if id in place), key=place.get)
        rows.append((question, first, max(near, key=lambda id: scores[place[id]], default=None)))
    return pd.DataFrame(rows, columns=["question", "first", "second"])


def _connect(made: nx.Graph, one: str, other: str, kind: str, weight: float, **about: Any) -> None:
    edge = made.get_edge_data(one, other) or {"weight": 0.0, "kinds": ""}
    kinds = f"{edge['kinds']}, {kind}" if edge["kinds"] else kind
    made.add_edge(one, other, **{**edge, **about, "weight": float(edge["weight"] + weight), "kinds": kinds})


def _nearest(mind: Any, near: int) -> Iterator[tuple[str, str, float]]:
    """Each pair of which one is among the nearest of the other, once, with its cosine."""
    stored = mind.store.keys()
    cues, keys = (normalize(vectors.double(), dim=1) for vectors in weighted(mind.embedding, stored, stored))
    ids, seen = mind.ids, set()
    for start in range(0, len(ids), ROWS):
        scores = cues[start : start + ROWS] @ keys.T
        scores[range(len(scores)), range(start, start + len(scores))] = -2.0  # not itself
        best, places = scores.topk(min(near, len(ids) - 1), dim=1)
        for row, (cosines, others) in enumerate(zip(best.tolist(), places.tolist()), start=start):
            for cosine, other in zip(cosines, others):
                pair = min(row, other), max(row, other)
                if pair not in seen:
                    seen.add(pair)
                    yield ids[pair[0]], ids[pair[1]], cosine


def _sharing(shared: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str, frozenset[str], int]]:
    """Pairs of memories with the names that both have, and how many either has."""
    counts = Counter(name for own in shared.values() for name in own)
    most = max(2, COMMON * len(shared))
    telling = {id: frozenset(name for name in own if counts[name] <= most) for id, own in shared.items()}
    holders: dict[str, list[str]] = {}
    for id, own in telling.items():
        for name in own:
            holders.setdefault(name, []).append(id)
    pairs = dict.fromkeys(pair for name in sorted(holders) for pair in combinations(holders[name], 2))
    for one, other in pairs:
        yield one, other, telling[one] & telling[other], len(telling[one] | telling[other])


def _in_time(records: Sequence[Any], column: str | None) -> list[str]:
    if column is None:
        return [one.id for one in records]
    dated = [(one.extra[column], one.id) for one in records if column in (one.extra or {})]
    if len({isinstance(value, str) for value, _ in dated}) > 1:
        raise MemsciError(f"The column {column!r} holds both numbers and texts: write all of one kind.")
    return [id for _, id in sorted(dated, key=lambda one: one[0])]


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Words with capitals that follow one another, and whether they begin a sentence."""
    for sentence in _SENTENCE.split(text):
        run: list[str] = []
        start = 0
        place = -1  # of the words; marks before the first count for none
        for word in [*_WORD.findall(sentence), "."]:
            place += word[0].isalpha()
            plain = _POSSESSIVE.sub("", word)
            low = plain.casefold()
            if word[0].isupper() and low not in ENGLISH_STOP_WORDS and low not in _CALENDAR:
                start = start if run else place
                run.append(plain)
                if plain == word:
                    continue
            if run:
                yield " ".join(run), start == 0
            run = []
