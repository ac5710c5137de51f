"""The methods that are compared, by name, without torch: what each can do, its place in tables, and its label.

A method is a learner (`memsci.learners`), which refers to its entry here, or the name of a prompting mode (iRAG). A learner
from elsewhere brings its own entry: see docs/extending.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memsci.errors import MemsciError, check_in
from memsci.later import later
from memsci.measures import plugins

pd = later("pandas")

WAYS = ("direct", "recall first")  # prompting modes: the question alone, or after the learner's own recall (iRAG)
IN_PARTS = tuple(f"{way}, in parts" for way in WAYS)  # the same, each part of a question put by itself (*not in the paper*)
CHOICES = ("letter", "text")  # how a quiz is put: its options by letters (the paper), or each as the text of a reply
GATES = ("own", "true")  # what the learner's gate opens, or the right memory alone


@dataclass(frozen=True, kw_only=True)
class Method:
    """What can be known of a method without a model.

    Parameters
    ----------
    name
        Its name in tables and experiments.
    reads
        The settings that it takes: "encoding", "embedding", "rule" (classes of `memsci.config`), or single values of its
        own, such as "k" of RAG and "strength" (λ) of a penalty.
    trains
        What learning changes: nothing (""), "memories" (an adapter for each, which is kept), "adapter" (one for each
        memory, which is merged into the weights) or "weights" (all of them).
    penalty
        What holds the weights meanwhile: "L2", "EWC" or nothing ("").
    jointly
        Whether it trains on all memories together, anew whenever some are added.
    recalls
        Whether it can recall a memory, and so be asked "recall first".
    gated
        Whether it has a gate that can be set from outside, and so a true gate.
    oracle
        Whether questions that need several memories are put to it with the right ones opened alone, not with its own choice.
    is_method
        Whether it is a learner; False for a prompting mode that has a name of its own.
    """

    name: str
    reads: tuple[str, ...] = ()
    trains: Literal["", "memories", "adapter", "weights"] = ""
    penalty: str = ""
    jointly: bool = False
    recalls: bool = True
    gated: bool = False
    oracle: bool = False
    is_method: bool = True

    @property
    def order(self) -> int:
        """Its place in every table and figure, from 0."""
        return list(_METHODS).index(self.name)


_METHODS: dict[str, Method] = {}


def add(method: Method) -> Method:
    """Enter a method; the same one may be entered again.

    Examples
    --------
    >>> add(Method(name="RAG", reads=("k",)))
    Traceback (most recent call last):
    ...
    memsci.errors.MemsciError: There is another method called 'RAG'. Give yours a name of its own.
    """
    if _METHODS.setdefault(method.name, method) != method:
        raise MemsciError(f"There is another method called {method.name!r}. Give yours a name of its own.")
    return method


def names() -> list[str]:
    """Names of all learners, in the order of tables.

    Examples
    --------
    >>> names()
    ['Base', 'RAG', 'Full', 'Full+L2', 'Full+EWC', 'Full batch', 'LoRA', 'LoRA+L2', 'MEGa', 'In context']
    """
    plugins.load()
    return [method.name for method in _METHODS.values() if method.is_method]


def get(name: str) -> Method:
    """The method of this name.

    Examples
    --------
    >>> get("RAG").recalls, get("MEGa").gated, get("iRAG").is_method
    (False, True, False)
    """
    if name not in _METHODS:
        plugins.load()
        check_in("method", name, _METHODS)
    return _METHODS[name]


def recalls(name: str) -> bool:
    """Whether a method can recall a memory; of a name that is not known it is taken for granted."""
    return name not in _METHODS or _METHODS[name].recalls


def order(label: str) -> tuple[int, str]:
    """What methods are sorted by: "iRAG on X", "X, in parts", "X, true gate" stand with X, unknown names last, by letters.

    Examples
    --------
    >>> sorted(["iRAG", "Mine", "MEGa, true gate", "Base"], key=order)
    ['Base', 'MEGa, true gate', 'iRAG', 'Mine']
    """
    for name in (label, learner_of(label)):
        if name in _METHODS:
            return _METHODS[name].order, ""
    return len(_METHODS), label


def learner_of(label: str) -> str:
    """The name in a label without prompting mode and gate.

    Examples
    --------
    >>> learner_of("iRAG on Full"), learner_of("MEGa, in parts, true gate"), learner_of("iRAG, true gate")
    ('Full', 'MEGa', 'iRAG')
    """
    return label.removesuffix(", true gate").removesuffix(", in parts").removeprefix("iRAG on ")


def label(method: str, way: str = "direct", gate: str = "own") -> str:
    """What a method is called in tables and figures: the learner, its prompting mode and its gate.

    Parameters
    ----------
    method
        Name of a learner.
    way
        The prompting mode, one of `WAYS` or `IN_PARTS`; "recall first" is "iRAG" of MEGa and "iRAG on X" of any other
        learner X.
    gate
        One of `GATES`.

    Examples
    --------
    >>> label("MEGa", "recall first"), label("Full", "recall first"), label("MEGa", gate="true")
    ('iRAG', 'iRAG on Full', 'MEGa, true gate')
    >>> label("MEGa", "recall first, in parts", "true")
    'iRAG, in parts, true gate'
    """
    check_in("way", way, (*WAYS, *IN_PARTS))
    check_in("gate", gate, GATES)
    whole, comma, parts = way.partition(",")
    if whole == "recall first":
        method = "iRAG" if method == "MEGa" else f"iRAG on {method}"
    method = f"{method}{comma}{parts}"
    return f"{method}, true gate" if gate == "true" else method


def labels(frame: pd.DataFrame) -> pd.Series:
    """The `label` of every row of a table with a column method; way and gate are read where it has them."""
    ways, gates = (
        frame[name].fillna(default).replace("", default) if name in frame else pd.Series(default, index=frame.index)
        for name, default in (("way", "direct"), ("gate", "own"))
    )
    return pd.Series([label(*row) for row in zip(frame["method"], ways, gates)], index=frame.index, dtype=object)


# In the order of the paper's Table 1.
_ENCODED = ("encoding",)
for _method in (
    Method(name="Base"),
    Method(name="RAG", reads=("embedding", "similarity", "k"), recalls=False),
    Method(name="Full", reads=_ENCODED, trains="weights"),
    Method(name="Full+L2", reads=(*_ENCODED, "strength"), trains="weights", penalty="L2"),
    Method(name="Full+EWC", reads=(*_ENCODED, "strength"), trains="weights", penalty="EWC"),
    Method(name="Full batch", reads=_ENCODED, trains="weights", jointly=True),
    Method(name="LoRA", reads=_ENCODED, trains="adapter"),
    Method(name="LoRA+L2", reads=(*_ENCODED, "strength"), trains="adapter", penalty="L2"),
    Method(name="MEGa", reads=("encoding", "embedding", "rule"), trains="memories", gated=True),
    Method(name="iRAG", is_method=False, gated=True),
    Method(name="In context", reads=("newest",), recalls=False, oracle=True),  # not in the paper
):
    add(_method)
METHODS = tuple(_METHODS)
