"""Free recall: a walk of the gate, each memory recalled being the cue of the next, with and without a context.

A list is sixteen events of one life, four of each of four kinds, in an order that means nothing. What keys alone do is in
the method "MEGa": the paper's gate, which knows no order. "MEGa, context" adds the context as it was fitted to people
(`memsci.phenomena.fit`), so that its serial position and its steps in time are put in, not found; they are always shown
beside the other. When recall ends is people's in both. *Not in the paper.*
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError, check_whole
from memsci.figures.draw import whiskers
from memsci.figures.style import REFERENCE, WIDTHS, look, style, variant
from memsci.gate import Embedder, embedder, gate, weighted
from memsci.learners.mega import MEGa
from memsci.measures.text_match import tokens
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import curves, materials
from memsci.phenomena.context import Parameters, walk
from memsci.phenomena.controls import Report
from memsci.phenomena.experiment import Experiment, Lists, enter, numbered
from memsci.phenomena.figures import PEOPLE as PEOPLES_LOOK
from memsci.phenomena.figures import over_lists, recall_curves
from memsci.phenomena.fit import looks
from memsci.phenomena.result import Claim, Phenomenon, about, tidy
from memsci.world import stories

if TYPE_CHECKING:
    import networkx as nx

# One fit to all 126 people of PEERS, keys by MiniLM, and by how many nats the likeness of two words of a list varied in it.
PEOPLE = Parameters(beta=4.02, tau=4.27)
SPREAD = 4.02 * 0.0845
KEYS, CONTEXT, SHUFFLED = "MEGa", "MEGa, context", "MEGa, shuffled keys"
FIRST_CUE = "What do you remember?"
LEAP = 0.01  # what a memory without an edge weighs in a walk along a graph
TOLD = 0.5  # share of a memory's words that its recall must have
NAME = "free_recall"
WALKS = 20
PROTOCOL = (
    "Lists of 16 stories of one person, four of each of four kinds, in an order that means nothing; 20 walks of the gate "
    "over each (keys alone, nothing encoded), ended as people end theirs. MEGa: the paper's gate; the key of the memory "
    "recalled is the next cue. MEGa, context: the context fitted to people's recall of words. MEGa, shuffled keys: each "
    "memory has the key of another."
)


def studied(number: int, n: int = 16, categories: int = 4, seed: int = 0) -> tuple[Memory, ...]:
    """The memories of one list: events of one person, as many of each kind, in the order of study.

    Their labels are their kinds. The person is the held-out character of that number; kinds, facts and order are drawn anew.
    """
    check_whole("n", n, 2)
    check_whole("categories", categories, 1, n)
    draw, who = materials.rng("free recall", seed, number, n, categories), materials.person(number)
    chosen, events = materials.kinds(draw, categories), []
    while len(events) < n:
        event = stories.draw_event(chosen[len(events) % categories], draw, who)
        if all(event.facts != other.facts for other in events):
            events.append(event)
    draw.shuffle(events)
    id = f"recall-{seed}-{number:02d}"
    return tuple(materials.told(event, f"{id}-{place:03d}", f"{id} {place}") for place, event in enumerate(events))


def likeness(memories: Sequence[Memory], embed: Embedder, embedding: Embedding, similarity: str = "inner") -> Tensor:
    """f(k_j)·k_i of each memory as the cue, [n, n], as the gate has them."""
    keys = embed([memory.text for memory in memories])
    return gate(*weighted(embedding, keys, keys), similarity=similarity).scores


def free_recall(
    base: Base,
    lists: Lists = 20,
    n: int = 16,
    categories: int = 4,
    walks: int = WALKS,
    spoken: bool = False,
    context: Parameters | None = None,
    embedding: Embedding | None = None,
    rule: GateRule | None = None,
    encoding: Encoding | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Phenomenon:
    """Free recall of lists of memories, by their keys or by what is said.

    Parameters
    ----------
    base
        From `memsci.load`. By keys alone nothing is encoded, and it takes seconds.
    lists
        How many lists, each a draw of material of its own and the unit of every test; or their numbers.
    n, categories
        Memories of a list, and kinds among them.
    walks
        Recalls of each list, which differ in their draws from the gate.
    spoken
        Encode each list, say each memory that is opened, and take what was said as the next cue; the tables hold what was
        said. Without it the key of the memory is the cue.
    context
        Parameters of the method "MEGa, context". Default: those fitted to people, `PEOPLE`, with β such that likenesses
        vary as much, in nats, as those of words in that fit.
    embedding, rule, encoding
        f, the gate's rule, and how memories are written if they are spoken. Default: MEGa's own for that base.
    seed
        Of material, encoding and draws.
    progress
        Show a bar.

    Returns
    -------
    Phenomenon
        Measures: spc, pfr (condition: position), lag crp (lag), temporal factor, semantic factor, category crp, arc,
        recalls, intrusions, late first (share of walks that begin in the last quarter). In ``events`` each list and method
        is a subject and each walk a list, with the columns category, text, method and material (number of the list).
    """
    numbers = numbered(lists)
    check_whole("walks", walks, 1)
    mind = MEGa(base, embedding=embedding, gate=rule, seed=seed)
    rule = mind.rule
    if math.isinf(rule.beta):
        raise MemsciError("The walk draws from the gate, so the rule's beta must be finite. Give a large number instead.")
    tables, recalls = [], []
    for place, number in enumerate(tqdm(numbers, desc="free recall", unit="list", disable=not progress)):
        memories = studied(number, n, categories, seed)
        says = Speaker(MEGa(base, None, encoding, mind.embedding, rule, seed), memories, walks) if spoken else None
        table, events = _walked(mind, memories, number, walks, context, says)
        tables.append(table.assign(list=number))
        recalls.append(events.assign(subject=events["subject"] + place * events["subject"].nunique()))
    how = "spoken" if spoken else "by keys"
    protocol = {
        "base": base.name, "fingerprint": base.fingerprint, "lists": numbers, "n": n, "categories": categories,
        "walks": walks, "how": how, "embedding": mind.embedding.to_dict(), "rule": rule.to_dict(), "seed": seed,
        "context": "people's" if context is None else asdict(context),
    }  # fmt: skip
    line = f"{n} memories of {categories} kinds, {walks} walks {how}, recall ends as people's"
    table = tidy(pd.concat(tables, ignore_index=True), phenomenon=NAME, seed=seed, protocol=line)
    return Phenomenon(NAME, table, pd.concat(recalls, ignore_index=True), protocol)


def along(
    links: nx.Graph,
    walks: int = 1,
    parameters: Parameters | None = None,
    leap: float = LEAP,
    seed: int = 0,
    stops: bool = False,
) -> list[list[str]]:
    """Recall by walking a graph of memories: the gate's own (`memsci.phenomena.context.walk`), led by edges, not keys.

    From memory j the next is i with probability ∝ (w_ij + ε)^β, w the weight of their edge, 0 without one; none comes twice.

    Parameters
    ----------
    links
        From `memsci.MEGa.graph`, or a graph of your own; an edge without weight has 1.
    walks
        How many.
    parameters
        Of the walk: β, the context, and when recall ends. Default: β = 1 and no context, so that the edges alone lead.
    leap
        ε, above 0: what a memory without an edge has, so that a walk that came to an end goes on elsewhere.
    seed
        Of the draws.
    stops
        End as people do; without it, when all are recalled.

    Returns
    -------
    list of list of str
        Ids in the order of recall, of each walk.
    """
    if not leap > 0:
        raise MemsciError(f"leap must be above 0, so that a walk can go on; {leap!r} was given.")
    ids = list(links)
    if not ids:
        return [[] for _ in range(walks)]
    weights = torch.zeros(len(ids), len(ids), dtype=torch.float64)
    place = {id: k for k, id in enumerate(ids)}
    for one, other, weight in links.edges(data="weight", default=1.0):
        weights[place[one], place[other]] = weights[place[other], place[one]] = weight
    scores = (weights + leap).log()
    parameters = parameters or Parameters().without_context()
    went = walk(scores.expand(walks, -1, -1), parameters, seed, stops=stops)
    return [[ids[k] for k in row if k >= 0] for row in went.tolist()]


def _walked(
    mind: MEGa,
    memories: Sequence[Memory],
    number: int,
    walks: int = WALKS,
    context: Parameters | None = None,
    says: Speaker | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measures of one list by each method, and its recalls, of which each method is a subject."""
    n = len(memories)
    scores = likeness(memories, embedder(mind.base, mind.embedding), mind.embedding, mind.rule.similarity)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(number))
    given = context or peoples(scores)
    plain = replace(given, beta=mind.rule.beta).without_context()
    tables, recalls = [], []
    for subject, (method, parameters, own) in enumerate(
        ((KEYS, plain, scores), (CONTEXT, given, scores), (SHUFFLED, plain, scores[order][:, order])), start=1
    ):
        if says and method != SHUFFLED:
            says.restart()
            walk(says, parameters, seed=number, shape=(walks, n))
            said = says.said
        else:
            said = _ids(memories, walk(own.expand(walks, n, n), parameters, seed=number))
        recalls.append(_events(memories, said, subject).assign(method=method, material=number))
        tables.append(_measured(recalls[-1], memories, scores).assign(method=method))
    return pd.concat(tables, ignore_index=True), pd.concat(recalls, ignore_index=True)


def _measure(method: str, base: Base, number: int, seed: int, report: Report) -> pd.DataFrame:
    return _walked(MEGa(base, seed=seed), studied(number), number)[0]


def capacity(
    base: Base,
    sizes: Sequence[int] = (8, 16, 32, 64, 128),
    lists: int = 20,
    categories: int = 8,
    embedding: Embedding | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How many of M memories a walk without noise comes through before it goes in circles, beside the law √(3πM/2).

    From each memory it goes to the one most like it, but for the one that it came from; the law is that of likenesses that
    are drawn at random (Naim et al. 2020).

    Returns
    -------
    pandas.DataFrame
        list, size (M), recalls (mean over all first memories), law.
    """
    mind = MEGa(base, embedding=embedding, seed=seed)
    embed, rows = embedder(base, mind.embedding), []
    for size in sizes:
        for number in range(lists):
            memories = studied(number, size, min(categories, size), seed)
            scores = likeness(memories, embed, mind.embedding, mind.rule.similarity).numpy()
            found = np.mean([circle(scores, first) for first in range(size)])
            rows.append({"list": number, "size": size, "recalls": found, "law": math.sqrt(3 * math.pi * size / 2)})
    return pd.DataFrame(rows)


def circle(scores: np.ndarray, first: int) -> int:
    """How many memories a walk to the most similar one, never straight back, visits before it repeats itself.

    Examples
    --------
    >>> circle(np.array([[0, 3, 1, 0], [3, 0, 2, 0], [1, 2, 0, 0], [0, 0, 1, 0]]), first=3)
    4
    """
    near = np.argsort(-(scores - np.diag(np.full(len(scores), np.inf))), axis=1)[:, :2]
    before, here, seen = -1, first, set()
    while (before, here) not in seen:
        seen.add((before, here))
        nearest, second = near[here]
        before, here = here, int(second if nearest == before else nearest)
    return len({place for _, place in seen})


class Speaker:
    """Says each memory that a walk opens, and scores what was said as the next cue; its list is encoded once."""

    def __init__(self, mind: MEGa, memories: Sequence[Memory], walks: int) -> None:
        self.mind, self.memories, self.walks = mind, memories, walks
        mind.encode(memories, progress=False)
        self.embed = embedder(mind.base, mind.embedding)
        self.keys = self.embed([memory.text for memory in memories])
        self.restart()

    def restart(self) -> None:
        """Begin new walks."""
        self.said: list[list[str]] = [[] for _ in range(self.walks)]
        self.cues = [FIRST_CUE] * self.walks

    def __call__(self, opened: Tensor, going: Tensor) -> Tensor:
        ids = [self.memories[k].id for k in opened.tolist()]
        texts = self.mind.recall(self.cues, gate=self.mind.true_gate(ids))
        # A broken model may say what is no text, or nothing.
        self.cues = ["".join(sign for sign in text if sign.isprintable()).strip() or FIRST_CUE for text in texts]
        for said, cue, goes in zip(self.said, self.cues, going.tolist()):
            if goes:
                said.append(told(cue, self.memories))
        cues, keys = weighted(self.mind.embedding, self.embed(self.cues), self.keys)
        return gate(cues, keys, similarity=self.mind.rule.similarity).scores


def told(text: str, memories: Sequence[Memory]) -> str:
    """Id of the memory that a recall tells: the one most of whose words it has, `TOLD` at least; else "intrusion"."""
    words = set(tokens(text))
    shares = [len(words & set(tokens(memory.text))) / len(set(tokens(memory.text))) for memory in memories]
    best = int(np.argmax(shares))
    return memories[best].id if shares[best] >= TOLD else "intrusion"


def peoples(scores: Tensor) -> Parameters:
    """`PEOPLE`, with β such that these likenesses [n, n] of different memories vary as much, in nats, as words' did."""
    spread = scores[~torch.eye(len(scores), dtype=torch.bool)].std().item()
    return replace(PEOPLE, beta=SPREAD / spread) if spread > 0 else PEOPLE


def _ids(memories: Sequence[Memory], walks: Tensor) -> list[list[str]]:
    return [[memories[k].id for k in row if k >= 0] for row in walks.tolist()]


def _events(memories: Sequence[Memory], said: Sequence[Sequence[str]], subject: int) -> pd.DataFrame:
    label, text = ({memory.id: getattr(memory, name) for memory in memories} for name in ("label", "text"))
    rows = [
        (subject, one, place, kind, item, label.get(item), text.get(item))
        for one, recalled in enumerate(said, start=1)
        for kind, items in (("study", label), ("recall", recalled))
        for place, item in enumerate(items, start=1)
    ]
    return pd.DataFrame(rows, columns=[*curves.EVENTS, "category", "text"])


def _measured(events: pd.DataFrame, memories: Sequence[Memory], scores: Tensor) -> pd.DataFrame:
    """All measures of the walks through one list."""
    chances, ids = curves.opportunities(events), [memory.id for memory in memories]
    more = {
        "semantic factor": curves.semantic_factor(chances, ids, scores.numpy()),
        "category crp": curves.category_crp(chances),
        "arc": curves.clustering(events),
    }
    first = curves.first_recall(events)
    more["late first"] = first.loc[first["position"] > 0.75 * len(memories), ["value"]].sum()  # of the last quarter
    rows = [{"measure": name, "condition": "all", "value": float(of.iloc[0])} for name, of in more.items() if len(of)]
    table = pd.concat([looks(events), pd.DataFrame(rows)], ignore_index=True).drop(columns="subject")
    return table[np.isfinite(table["value"])]


def draw(result: Phenomenon, size: str = "print") -> Figure:
    """Serial position, first recall, steps in time and clustering of the gate, and beside or below them people's.

    People's panels have scales of their own: they recalled words, the gate stories, so that shapes can be compared, not
    levels.
    """
    looked = {
        KEYS: look(KEYS), CONTEXT: variant(look(KEYS), 1, 2) | {"marker": "s"}, SHUFFLED: REFERENCE | {"marker": "x"},
    }  # fmt: skip
    own = result.means().rename(columns={"method": "series"})
    people = result.human.rename(columns={"value": "mean"}).assign(series="people", low=np.nan, high=np.nan)
    with style(size):
        width, height = mpl.rcParams["figure.figsize"]
        width *= 1 if size in WIDTHS else 1.9
        tall, narrow = {"column": 5.4, "page": 3.7}.get(size, 1.45 * height), size == "column"
        figure, grid = plt.subplots(*((4, 2) if narrow else (2, 4)), layout="constrained", figsize=(width, tall))
        sides = grid.T if narrow else grid
        for axes, rows, looks_, who in (
            (sides[0], own, looked, "MEGa, stories"),
            (sides[1], people, {"people": PEOPLES_LOOK}, "people, words"),
        ):
            recall_curves(axes, rows, {name: how for name, how in looks_.items() if name != SHUFFLED})
            for ax in axes[:3]:
                ax.set(title=who, ylabel=ax.get_title(loc="left"))
            _clustering(axes[3], rows, looks_)
            axes[3].set_title(who)
        for one, other in zip(*sides):  # the same places, each side's own height
            other.set_xlim(one.get_xlim())
        over_lists(grid.flat[-1], own, size, sides[0][3:])
        if size not in WIDTHS:
            figure.suptitle("Free recall: the gate's of events, people's of words", x=0.01, ha="left")
    return figure


def _clustering(ax: Axes, rows: pd.DataFrame, looked: Mapping[str, Mapping[str, Any]]) -> None:
    """Temporal and semantic factor and ARC of each series, with chance."""
    names = ["temporal factor", "semantic factor", "arc"]
    for k, (name, how) in enumerate(looked.items()):
        own = rows[rows["series"] == name].drop_duplicates("measure").set_index("measure").reindex(names)
        place = np.arange(3) + 0.16 * (k - (len(looked) - 1) / 2)
        ax.errorbar(place, own["mean"], **whiskers(own, "y"), **how | {"linestyle": ""}, label=name)
    ax.plot([-0.4, 1.4, np.nan, 1.6, 2.4], [0.5, 0.5, np.nan, 0, 0], **REFERENCE, label="chance")
    ax.set_xticks(range(3), ["time", "meaning", "kinds"])
    ax.set(xlabel="clustered in", ylabel="factor, ARC", ylim=(-0.12, 1.06))


_KEYS, _CONTEXT, _SHUFFLED = ({"method": method} for method in (KEYS, CONTEXT, SHUFFLED))
CLAIMS = (
    Claim("Without a context recall knows no order in time", "temporal factor", _KEYS, 0.5, "equal", 0.02, True),
    Claim(
        "Without a context kinds come together, more than with shuffled keys",
        "arc",
        _KEYS,
        _SHUFFLED,
        by_construction=True,  # events of a kind are alike, and how far that shows is β
    ),
    Claim(
        "Without a context like follows like, more than with shuffled keys",
        "semantic factor",
        _KEYS,
        _SHUFFLED,
        by_construction=True,  # the measure is made of the very likenesses that lead the walk
    ),
    Claim("People's context brings neighbours in time together", "temporal factor", _CONTEXT, 0.5, by_construction=True),
    Claim("People's context begins late in the list", "late first", _CONTEXT, 0.25, by_construction=True),
    Claim("Kinds come together in people's context, too", "arc", _CONTEXT, by_construction=True),
)
about(
    NAME,
    "Free recall",
    CLAIMS,
    draw,
    note="How many are recalled is people's, put in; so is all order in time of the context, which was fitted to the same "
    "people. People: immediate free recall of lists of 16 words (PEERS, n = 126), and of lists of 24 words of three "
    "categories for ARC (Morton et al. 2013, n = 40), both from psifr 0.10.1 (without clustering in meaning); the "
    "model's items are stories: compare shapes, not levels.",
)
enter(Experiment(NAME, ("MEGa",), _measure, studied, PROTOCOL, probes=16, encodes=False))
