"""Settings of the method: how memories are encoded, what their keys are, and how the gate reads a query.

Each is a frozen value with a JSON form (`to_dict`, `from_dict`) and the paper's values (`paper()`). Where the paper gives
none, the default is ours and the docstring says *not stated in the paper*.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

from memsci.errors import MemsciError, check_in, check_whole
from memsci.prompts import encoding_text
from memsci.words import words

PLACES = ("mlp", "attention", "all")
DTYPES = ("float32", "bfloat16", "float16")
FLOAT8 = "float8_e4m3fn"  # one byte: a sign, four bits of exponent, three binary places
STORED = (*DTYPES, FLOAT8)  # of an adapter once it is compressed
ENERGY = 0.9  # that compression keeps by default, see `memsci.adapters.truncate`
KINDS = ("activations", "sentence", "words", "hybrid")
SITES = ("mlp", "attention", "both")
POOLINGS = ("mean", "surprisal", "idf", "last")
SIMILARITIES = ("inner", "cosine")
SCHEDULES = ("constant", "linear")
STUDIES = ("text", "parts")
SMALL, LARGE = 20_000_000, 1_000_000_000  # parameters of a base, see `Encoding.suited`
GAIN = 5.0  # nats by which a correction goes before what it corrects
STEPS, WORDS_A_STEP = 20, 4  # with rank 16 and lr 1e-3, see there


# Marks a setting that is younger than results stored under a hash of the settings: at its default it is not written, so
# that the hash stays the same.
_LATER = {"later": True}


class Settings:
    """The JSON form that all settings share."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values (tuples become lists; infinity becomes the text "inf")."""
        return {
            field.name: _plain(value)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default or not field.metadata.get("later")
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the settings from what `to_dict` gave; names left out take their default."""
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            check_in(f"a setting of {cls.__name__}", name, names)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return "inf" if value == math.inf else value


@dataclass(frozen=True, kw_only=True)
class Encoding(Settings):
    """How one memory is written into its adapter (paper, Methods; appendix B).

    The adapter adds γ B A to a linear map, γ = alpha/√rank if `rslora` else alpha/rank, and is trained by AdamW on
    −log p(memory | prompt), the mean over the memory's own tokens in each mini-batch.

    Parameters
    ----------
    rank
        r, the rank of each adapter.
    alpha
        α; None means α = rank, the paper's choice.
    rslora
        Rank-stabilised scale γ = α/√r (the paper's) instead of α/r.
    lr
        Learning rate of AdamW, its peak where there is a schedule.
    epochs
        Passes over the memory's examples (its text and its paraphrases).
    text_copies
        How often an epoch has the text itself, beside each paraphrase once: 1 in the paper. More copies make the recall
        use the memory's own words rather than those of a paraphrase.
    text_epochs
        Further epochs on the text alone, one step each: 0 in the paper. They do more for the memory's own words than
        copies do.
    batch_size
        Examples per step. *Not stated in the paper.*
    weight_decay, betas
        AdamW's; torch's defaults. *Not stated in the paper.*
    where
        Linear maps that carry the adapter: "mlp" (up- and down-projection, never the gate projection: the paper's),
        "attention" (all its projections) or "all" (both).
    layers
        Layers that carry it, counted from 0; None means every layer, the paper's choice.
    prompt
        What the memory answers: "methods" or "appendix", the paper's two wordings; the name of one of the 70 prompts of
        `memsci.prompts.FINE_TUNING_PROMPTS`, such as "fact-3"; or "text:" and a prompt of your own.
    dtype
        Precision in which the finished adapter is saved. It is trained in float32: a bfloat16 weight near 0.01 would not
        move under steps of 3e-5. *Not stated in the paper.*
    autocast
        Compute the matrix products of training in bfloat16 where the base is float32, if the hardware has such products:
        they are faster there. The adapter, AdamW and the loss stay float32. *Not stated in the paper.*
    study
        What is learnt: "text", the wordings under `prompt` (the paper's); or "parts", lessons made of each wording: the
        whole of it under the recall prompt with a few of its words as the cue, and one of its sentences under the question
        prompt with a gap in it. `prompt` is not used then, and an epoch has twice as many steps (see
        `memsci.adapters.study`). *The last is not in the paper.*
    grad_clip
        Largest norm of a memory's own gradient; None means no clipping. *Not stated in the paper.*
    schedule
        "constant", or "linear" decay to 0 at the last step. *Not stated in the paper.*
    warmup
        Steps over which the learning rate rises linearly to its peak. *Not stated in the paper.*
    """

    rank: int = 128
    alpha: float | None = None
    rslora: bool = True
    lr: float = 3e-5
    epochs: int = 10
    text_copies: int = 1
    text_epochs: int = 0
    batch_size: int = 1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    where: str = "mlp"
    layers: tuple[int, ...] | None = None
    prompt: str = "methods"
    dtype: str = "float32"
    autocast: bool = dataclasses.field(default=False, metadata=_LATER)
    study: str = dataclasses.field(default="text", metadata=_LATER)
    grad_clip: float | None = None
    schedule: str = "constant"
    warmup: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "text_copies", "batch_size"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("text_epochs", "warmup"):
            check_whole(name, getattr(self, name), least=0)
        for name in ("lr", "alpha", "grad_clip"):
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, lambda x: x > 0 and math.isfinite(x), "a finite number above 0")
        _check_number("weight_decay", self.weight_decay, lambda x: x >= 0, "a number from 0 up")
        two = isinstance(self.betas, (tuple, list)) and len(self.betas) == 2
        _check("betas", self.betas, two, "two numbers in [0, 1)")
        object.__setattr__(self, "betas", tuple(self.betas))
        for beta in self.betas:
            _check_number("betas", beta, lambda x: 0 <= x < 1, "two numbers in [0, 1)")
        check_in("where", self.where, PLACES)
        encoding_text(self.prompt)
        check_in("dtype", self.dtype, DTYPES)
        check_in("autocast", self.autocast, (False, True))
        check_in("schedule", self.schedule, SCHEDULES)
        check_in("study", self.study, STUDIES)
        if self.layers is not None:
            object.__setattr__(self, "layers", _layers(self.layers, "None (every layer)", least=0))

    @property
    def scale(self) -> float:
        """γ, the number that multiplies B A: α/√r if `rslora` else α/r."""
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @classmethod
    def paper(cls) -> Self:
        """The paper's encoding: r 128, α = r, γ = √128, lr 3e-5, 10 epochs, every MLP (Methods; appendix B).

        The prompt is that of appendix B, by which all main experiments used it; the Methods section words it otherwise.
        Batch size 1, weight decay 0.01, no clipping, no warm-up and a constant rate are *not stated in the paper*.
        """
        return cls(prompt="appendix")

    @classmethod
    def embedded(cls) -> Self:
        """The encoding tuned for the small base model that memsci ships. *Not stated in the paper.*

        Chosen on episodic partition 10 (see docs/lab-notes.md), which is not the one that `memsci demo --world` shows.
        """
        return cls(rank=32, lr=2e-3, epochs=8, text_copies=4, text_epochs=3, batch_size=13)

    @classmethod
    def suited(cls, base: Any, memories: Iterable[Any] = ()) -> Self:
        """The encoding that suits a base by its size, and the memories by their wordings and length.

        `embedded` below `SMALL` parameters, `paper` from `LARGE` on. Between them, lessons of the memories' own parts with
        so many steps as a text of its length takes (`STEPS`, and one more for every `WORDS_A_STEP` words), whatever the
        number of its wordings: on a real model steps decide, not epochs. *Not stated in the paper*; found on SmolLM2-135M
        with Wiki partition 9 (docs/lab-notes.md).

        Parameters
        ----------
        base
            A `memsci.models.Base`, or the number of its parameters.
        memories
            Those to be encoded; without any, a single wording of 40 words is taken for granted.
        """
        size = base if isinstance(base, int) else base.model.num_parameters()
        if size < SMALL or size >= LARGE:
            return cls.embedded() if size < SMALL else cls.paper()
        memories = list(memories)
        wordings = max((1 + len(one.paraphrases) for one in memories), default=1)
        longest = max((len(words(one.text)) for one in memories), default=40)
        steps = STEPS + longest / WORDS_A_STEP
        return cls(rank=16, lr=1e-3, epochs=math.ceil(steps / (2 * wordings)), study="parts", autocast=True)


@dataclass(frozen=True, kw_only=True)
class Embedding(Settings):
    """f, which turns the text of a memory into its key and a query into its cue (paper, Methods).

    Parameters
    ----------
    kind
        "activations" (the paper's: of the base model without adapters), "sentence" (an embedding model of its own),
        "words" (TF-IDF: words and word pairs, each weighted by how few of the memories stored have it) or "hybrid" (the
        last two side by side). All but the first have unit length, so their inner products are cosines, and a softmax at
        β = 1 is nearly flat: use β from 30 to 100 with them.
    layer
        Layer whose activations are read; negative counts from the last. The paper reads the last (−1).
    site
        Input to that layer's "mlp" (the paper's) or "attention" (compared in the paper's figure 7), or "both" side by side,
        each brought to the same length. *The last is not in the paper.*
    pooling
        Over real tokens: "mean" (the paper's), "surprisal" (weights −log p(token | context)), "idf" (weights by how few
        of the memories have the token) or "last" token. The weights of "surprisal" and "idf" may be raised to a power:
        "idf^0.5". Key and cue are both weighted, so that with the square root their product has each weight once.
    whiten
        Remove from the activations what all tokens have in common: over the tokens of the memories they get mean 0 and
        covariance 1 (see `memsci.gate.embedders`). *Not in the paper.*
    reference
        Over whose tokens whitening is fitted: None, those of the memories; or "world", the built-in stories and quiz, once
        for each base (see `memsci.gate.whiten`), so that no text need be kept and no key made anew.
    layers
        Several layers instead of `layer`, side by side and each brought to the same length, so that an inner product is the
        mean of their cosines. *Not in the paper.*
    model
        Name of the embedding model of kinds "sentence" and "hybrid". *Not stated in the paper.*

    Notes
    -----
    Pooling "idf", and whitening without a reference, are fitted to the texts of all memories, so that each new memory
    would change the keys of the others. They serve to compare gates (`memsci.evaluate.gate_accuracy`); `memsci.MEGa`,
    which keeps no texts, refuses them.
    """

    kind: str = "activations"
    layer: int = -1
    site: str = "mlp"
    pooling: str = "mean"
    whiten: bool = False
    reference: str | None = dataclasses.field(default=None, metadata=_LATER)
    layers: tuple[int, ...] | None = dataclasses.field(default=None, metadata=_LATER)
    model: str = "sentence-transformers/all-MiniLM-L6-v2"

    def __post_init__(self) -> None:
        check_in("kind", self.kind, KINDS)
        check_whole("layer", self.layer)
        if self.layers is not None:
            object.__setattr__(self, "layers", _layers(self.layers))
        check_in("site", self.site, SITES)
        kind, caret, power = str(self.pooling).partition("^")
        check_in("pooling", kind, POOLINGS)
        if caret:
            holds = kind in ("surprisal", "idf") and re.fullmatch(r"\d*\.?\d+", power) and float(power) > 0
            _check("pooling", self.pooling, bool(holds), "'surprisal' or 'idf' to a power above 0, such as 'idf^0.5'")
        check_in("whiten", self.whiten, (False, True))
        check_in("reference", self.reference, (None, "world") if self.whiten else (None,))

    @property
    def weighting(self) -> tuple[str, float]:
        """What tokens are weighted by, one of `POOLINGS`, and the power that the weights are raised to."""
        kind, _, power = self.pooling.partition("^")
        return kind, float(power or 1)

    @property
    def fitted(self) -> bool:
        """Whether f depends on the texts of all memories: pooling "idf", and whitening without a reference."""
        return self.kind == "activations" and (self.weighting[0] == "idf" or self.whiten and self.reference is None)

    @property
    def counts_words(self) -> bool:
        """Whether words are counted: kinds "words" and "hybrid". What each weighs depends on all keys stored."""
        return self.kind in ("words", "hybrid")

    @classmethod
    def paper(cls) -> Self:
        """The paper's f: the mean over tokens of the input to the last layer's MLP (Methods)."""
        return cls()

    @classmethod
    def practical(cls) -> Self:
        """A sentence embedding and a bag of words side by side: the default of `memsci.MEGa` for real models.

        *Not in the paper*, whose own embedding finds one memory in seven on a small real model; this one finds nearly all.
        """
        return cls(kind="hybrid")

    @classmethod
    def whitened(cls, *layers: int, site: str = "mlp") -> Self:
        """A base's own activations, weighted by surprisal and whitened on the built-in world; compare them by cosine.

        Of the last layer, the paper's, if none is given; of several side by side otherwise. *Not in the paper.* On a small
        real model the plain mean of the last layer finds one memory in seven, this one 96 of 100.
        """
        one, several = (layers[0] if len(layers) == 1 else -1), (layers if len(layers) > 1 else None)
        return cls(layer=one, layers=several, site=site, pooling="surprisal", whiten=True, reference="world")


@dataclass(frozen=True, kw_only=True)
class GateRule(Settings):
    """How a query opens the gates: g = softmax(β · similarity(f(q), K)) (paper, Methods).

    Parameters
    ----------
    beta
        β, inverse temperature: 1 in the paper's main experiments, 0.1 for compositional questions; 0 is uniform,
        infinity (or "inf") opens the best memory alone.
    similarity
        "inner" product, not normalised (the paper's), or "cosine".
    cue
        Which text of a query is embedded: the bare "question", or the whole "prompt" of the turn.
        *Not stated in the paper.*
    second_turn
        What gates the second turn of iRAG: the "question" again, the "recall" of the first turn, the whole
        "conversation", or "closed", all gates shut: the base alone reads the recall. *Not stated in the paper.*
    top_k
        The number of memories that open, the best ones; the others are closed (weight 0), see `memsci.gate.top_k`. None
        means all, as in the paper.
    epsilon
        The memories of least weight that together weigh at most ε are closed, see `memsci.gate.nucleus`. 0 means none, as
        in the paper.
    closes
        Where no memory's score (before β) reaches this, all are closed and the base speaks alone, see `memsci.gate.null`;
        None never closes, as in the paper.
    k
        How many memories are recalled before an answer. 1, the paper's: one recall, in which all that is open speaks
        together. From 2 on: the k best that are open, each recalled alone, one after another. A number between 0 and 1: as
        many as hold this share of the gate, each alone. *Only 1 is in the paper.*
    gain
        λ in nats by which a memory that corrects another (`memsci.MEGa.encode`) goes before it: it opens at least e^λ times
        as wide, whatever the cue, see `memsci.gate.newer`. None: both open by their keys alone. Without corrections it
        changes nothing. *Not in the paper.*
    activation
        w, how much the time since a memory was learnt counts: B = w ln Σ_j (t − t_j)^−d nats are added to β times its score,
        see `memsci.gate.activation` and, for the times, `memsci.MEGa.gate`. 0: nothing is forgotten, as in the paper.
    decay, spacing
        d, of what was learnt once; and by how much more what was still active when it was learnt again decays (0: all decay
        alike). They count only with `activation`. *Not in the paper.*
    null
        θ in nats, the strength of a rival that opens nothing: the weights of a query then sum to less than 1. None: there is
        none, as in the paper.

    Notes
    -----
    With `top_k` or `epsilon` a query costs as much as the memories that it opens, however many are stored. The gate then
    holds candidates alone, see `memsci.MEGa.gate`; but with `activation` or `null` all memories are compared.
    """

    beta: float = 1.0
    similarity: str = "inner"
    cue: str = "question"
    second_turn: str = "question"
    top_k: int | None = dataclasses.field(default=None, metadata=_LATER)
    epsilon: float = dataclasses.field(default=0.0, metadata=_LATER)
    closes: float | None = dataclasses.field(default=None, metadata=_LATER)
    k: int | float = dataclasses.field(default=1, metadata=_LATER)
    gain: float | None = dataclasses.field(default=GAIN, metadata=_LATER)
    activation: float = dataclasses.field(default=0.0, metadata=_LATER)
    decay: float = dataclasses.field(default=0.5, metadata=_LATER)
    spacing: float = dataclasses.field(default=0.0, metadata=_LATER)
    null: float | None = dataclasses.field(default=None, metadata=_LATER)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "beta", float(self.beta))
        except (TypeError, ValueError):
            raise MemsciError(f"beta must be a number from 0 up, or 'inf'; {self.beta!r} was given.") from None
        _check("beta", self.beta, self.beta >= 0, "a number from 0 up, or 'inf'")
        check_in("similarity", self.similarity, SIMILARITIES)
        check_in("cue", self.cue, ("question", "prompt"))
        check_in("second_turn", self.second_turn, ("question", "recall", "conversation", "closed"))
        if self.top_k is not None:
            check_whole("top_k", self.top_k, least=1)
        _check_number("epsilon", self.epsilon, lambda x: 0 <= x < 1, "a number from 0 up to, but not, 1")
        if self.closes is not None:
            _check_number("closes", self.closes, math.isfinite, "None or a finite number")
        check_k("k", self.k)
        if self.gain is not None:
            _check_number("gain", self.gain, lambda x: 0 <= x < math.inf, "None or a finite number from 0 up")
        for name in ("activation", "decay", "spacing"):
            _check_number(name, getattr(self, name), lambda x: 0 <= x < math.inf, "a finite number from 0 up")
        if self.null is not None:
            _check_number("null", self.null, math.isfinite, "None or a finite number")
        if self.strengthened and math.isinf(self.beta):
            raise MemsciError("With activation or a null, beta must be finite: give a large number instead.")

    @property
    def sparse(self) -> bool:
        """Whether some memories are closed, so that not all need be looked at."""
        return self.top_k is not None or self.epsilon > 0

    @property
    def strengthened(self) -> bool:
        """Whether more than the cue decides what opens: a strength of each memory, or a null."""
        return self.activation > 0 or self.null is not None

    @classmethod
    def paper(cls) -> Self:
        """The paper's gate: β = 1 and plain inner products (Methods)."""
        return cls()

    @classmethod
    def practical(cls) -> Self:
        """Cosines at β = 30, for embeddings of unit length (`memsci.MEGa.calibrate` fits β), and a second turn of iRAG in
        which the base reads the recall alone: adapters that recalled a text go on reciting it. *Not in the paper.*"""
        return cls(beta=30.0, similarity="cosine", second_turn="closed")


@dataclass(frozen=True, kw_only=True)
class Tuning(Settings):
    """How the baselines that change the weights themselves are trained, where it differs from `Encoding` (appendix B).

    Prompt, epochs, examples, rank and all else are those of the memories' encoding, so that every learner sees the same.

    Parameters
    ----------
    full_lr
        Learning rate of whole-model fine-tuning (Full, Full+L2, Full+EWC, Full batch).
    lora_lr
        Learning rate of the single LoRA that is merged after every memory; None means that of the encoding, as in the
        paper.
    mini_batch
        Examples per step of Full batch, drawn from all memories.
    l2
        λ of the distance to the weights before the current memory (Full+L2, LoRA+L2).
    ewc
        λ of elastic weight consolidation (Full+EWC).
    """

    full_lr: float = 1e-5
    lora_lr: float | None = None
    mini_batch: int = 2
    l2: float = 0.1
    ewc: float = 1.0

    def __post_init__(self) -> None:
        for name in ("full_lr", "lora_lr"):
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, lambda x: x > 0 and math.isfinite(x), "a finite number above 0")
        check_whole("mini_batch", self.mini_batch, least=1)
        for name in ("l2", "ewc"):
            value = getattr(self, name)
            _check_number(name, value, lambda x: x >= 0 and math.isfinite(x), "a finite number from 0 up")

    @classmethod
    def paper(cls) -> Self:
        """The paper's: lr 1e-5 for the whole model, mini-batch 2, λ 0.1 for L2 and 1 for EWC (appendix B)."""
        return cls()

    @classmethod
    def embedded(cls) -> Self:
        """The values for the small base model that comes with memsci. *Not stated in the paper.*

        The learning rates were the best of three for Full and for LoRA on ten memories of episodic partition 10
        (docs/lab-notes.md).
        """
        return cls(full_lr=3e-4, lora_lr=5e-4)


def _layers(layers: object, none: str = "None", least: int | None = None) -> tuple[int, ...]:
    _check("layers", layers, isinstance(layers, Iterable), "None or layer numbers")
    numbers = tuple(layers)
    _check("layers", numbers, len(numbers) > 0, f"{none} or at least one layer number")
    for layer in numbers:
        check_whole("layers", layer, least=least)
    return numbers


def check_k(name: str, k: object) -> None:
    """Refuse what does not say how many memories are recalled: a whole number from 1 up, or a share between 0 and 1."""
    whole = isinstance(k, int) and k >= 1
    _check_number(name, k, lambda x: whole or 0 < x < 1, "a whole number from 1 up, or a share between 0 and 1")


def _check_number(name: str, value: object, holds: Callable[[float], bool], allowed: str) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    _check(name, value, number and holds(value), allowed)


def _check(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise MemsciError(f"{name} must be {allowed}; {value!r} was given.")
