"""Whatever learns memories and speaks, under one contract: MEGa and every baseline of the paper (Table 1).

Each learner is given memories in turn, and can be asked at any time. The base handed in is never changed: what changes
weights works on a copy. iRAG is no learner but a way of asking: any learner that recalls can answer from its recall.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from memsci import prompts
from memsci.adapters.encode import draws, memory_seed, replies
from memsci.adapters.lora import init_adapter, merge, stack, unstack
from memsci.adapters.train import each, fit
from memsci.config import Embedding, Encoding, GateRule, Settings, Tuning
from memsci.errors import MemsciError, check_in, check_whole
from memsci.gate.embed import embedder, weighted
from memsci.gate.softmax import Gate, gate
from memsci.learners.mega import MEGa
from memsci.learners.penalties import EWC, L2, Penalty
from memsci.memory import Memory, QuizItem, check_memories
from memsci.models import conversation as speak
from memsci.models.base import SHIPPED, Base
from memsci.models.conversation import ANSWER_TOKENS, RECALL_TOKENS
from memsci.models.sites import targets

About = Sequence[str | Sequence[str]]  # for each question, the id of the memory that it is about, or several ids


class Learner(ABC):
    """Something that learns memories one after another and speaks.

    Attributes
    ----------
    name : str
        What tables call it, see `LEARNERS`.
    learnt : list of str
        Ids of the memories learnt so far, in their order.
    recalls : bool
        Whether it can tell a memory, and so be asked "recall first".
    gated : bool
        Whether it has a gate that can be opened by hand, see `about`.

    Notes
    -----
    Unless a subclass says otherwise, it speaks as one model: `_speaker` answers the paper's prompts as it is.
    """

    name: str
    recalls = True
    gated = False

    def __init__(self, speaker: Base) -> None:
        self._speaker = speaker
        self.learnt: list[str] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.learnt)} memories)"

    def learn(self, memories: Iterable[Memory], progress: bool = True) -> pd.DataFrame:
        """Learn memories in their order, after those that were learnt before.

        Parameters
        ----------
        memories
            `Memory` objects, or a `Partition`.
        progress
            Show a progress bar.

        Returns
        -------
        pandas.DataFrame
            One row per memory of this call: memory_id, position (its place in the order of learning, from 1), loss (nats
            per token in the last epoch; missing for learners that do not train), seconds.

        Raises
        ------
        MemsciError
            Two memories cannot be told apart, one was learnt before, a text is too long, or a loss was not finite (the
            learner must then be made anew).
        """
        memories = check_memories(memories)
        for memory in memories:
            if memory.id in self.learnt:
                raise MemsciError(f"{self.name} has learnt {memory.id!r} already. Give further memories only.")
        first = len(self.learnt) + 1
        found = self._learn(memories, progress)
        self.learnt += [memory.id for memory in memories]
        return pd.DataFrame(
            {
                "memory_id": [memory.id for memory in memories],
                "position": range(first, first + len(memories)),
                "loss": [loss for loss, _ in found],
                "seconds": [seconds for _, seconds in found],
            }
        )

    @abstractmethod
    def _learn(self, memories: list[Memory], progress: bool) -> list[tuple[float, float]]:
        """Loss and seconds of each memory."""

    def recall(
        self, questions: Sequence[str], about: About | None = None, max_new_tokens: int = RECALL_TOKENS
    ) -> list[str | None]:
        """The whole memory that each question is about, in the model's own words; None from those that recall nothing.

        Parameters
        ----------
        questions
            b questions.
        about
            The *true gate*: an oracle that opens the memories with these ids and no others. None: the learner's own
            gate. Learners without a gate take no notice of it.
        max_new_tokens
            Longest reply, in tokens.
        """
        return speak.say(self._speaker, [prompts.recall(text) for text in questions], max_new_tokens)

    def answer(
        self,
        questions: Sequence[str],
        recalled: Sequence[str] | None = None,
        about: About | None = None,
        max_new_tokens: int = ANSWER_TOKENS,
    ) -> list[str]:
        """A short answer to each question.

        Parameters
        ----------
        questions, about, max_new_tokens
            As in `recall`.
        recalled
            What `recall` gave: the answer is then given after it (iRAG; paper, 3.3.2). None: asked directly.
        """
        return speak.say(self._speaker, self._turns(questions, recalled), max_new_tokens)

    def logprob(
        self,
        questions: Sequence[str],
        targets: Sequence[str],
        recalled: Sequence[str] | None = None,
        about: About | None = None,
    ) -> pd.DataFrame:
        """Log probability of a given answer to each question: columns logprob (sum, in nats) and tokens."""
        return speak.logprob(self._speaker, self._turns(questions, recalled), targets)

    def choose(self, items: Sequence[QuizItem]) -> list[int]:
        """Index of the option that it picks for each multiple-choice question (paper, MMLU protocol)."""
        return speak.choose(self._speaker, [prompts.mmlu(i.subject, i.question, i.options) for i in items])

    def found(self, questions: Sequence[str]) -> list[str | None]:
        """Id of the memory that each question opens most, or retrieves; None without gate or memories."""
        return [None] * len(questions)

    @property
    def speaker(self) -> Base:
        """The model that speaks, as it is now: for conversations in other words than the paper's (`memsci.harness`)."""
        return self._speaker

    def within(self, questions: Sequence[str], turns: Sequence[prompts.Messages]) -> speak.Within:
        """What the speaker runs within while it reads conversations of one's own, see `memsci.MEGa.within`.

        Learners without a gate read them as they are; so does RAG, which puts nothing into them.
        """
        return speak.as_it_is

    def _turns(self, questions: Sequence[str], recalled: Sequence[str] | None) -> list[prompts.Messages]:
        """The conversations that end in each question."""
        if recalled is None:
            return [prompts.qa(text) for text in questions]
        return [prompts.irag(text, told) for text, told in zip(questions, recalled, strict=True)]


class Untrained(Learner):
    """Base: the base model, which learns nothing."""

    name = "Base"

    def _learn(self, memories: list[Memory], progress: bool) -> list[tuple[float, float]]:
        return [(math.nan, 0.0)] * len(memories)


class Retrieval(Learner):
    """RAG: the base model with the stored texts that are nearest to the question in its prompt (paper, baselines).

    The quiz of general knowledge is put to the base alone, as in the paper, where RAG's score is Base's. With no
    memories stored it is the base.

    Parameters
    ----------
    base
        The model that reads and answers.
    embedding
        f of texts and questions: the paper's RAG retrieves by the f of MEGa.
    similarity
        "inner" product (the paper's) or "cosine".
    k
        How many texts are put into the prompt, the best first, with blank lines between: 1 in the paper.
    """

    name = "RAG"
    recalls = False

    def __init__(self, base: Base, embedding: Embedding | None = None, similarity: str = "inner", k: int = 1) -> None:
        super().__init__(base)
        check_whole("k", k, 1)
        self._embedding = embedding or Embedding.paper()
        self._embed = embedder(base, self._embedding)
        self._similarity, self._k = similarity, k
        self._texts: list[str] = []
        self._keys = torch.empty(0)

    def _learn(self, memories: list[Memory], progress: bool) -> list[tuple[float, float]]:
        begun = time.perf_counter()
        if texts := [memory.text for memory in memories]:
            keys = self._embed(texts)
            self._keys = torch.cat([self._keys, keys]) if self._texts else keys
            self._texts += texts
        return [(math.nan, (time.perf_counter() - begun) / len(texts)) for _ in texts]

    def recall(
        self, questions: Sequence[str], about: About | None = None, max_new_tokens: int = RECALL_TOKENS
    ) -> list[str | None]:
        """It recalls nothing: None for each question."""
        return [None] * len(questions)

    def found(self, questions: Sequence[str]) -> list[str | None]:
        return self._open(questions).top() if self._texts else super().found(questions)

    def _open(self, questions: Sequence[str]) -> Gate:
        compared = weighted(self._embedding, self._embed(list(questions)), self._keys)
        return gate(*compared, similarity=self._similarity, ids=self.learnt)

    def _turns(self, questions: Sequence[str], recalled: Sequence[str] | None) -> list[prompts.Messages]:
        if recalled is not None:
            raise MemsciError("RAG recalls nothing, so it cannot answer from a recall. Ask it directly.")
        if not self._texts:
            return super()._turns(questions, None)
        best = self._open(questions).scores.argsort(dim=1, descending=True, stable=True)[:, : self._k].tolist()
        return [
            prompts.rag(text, "\n\n".join(self._texts[i] for i in row))
            for text, row in zip(questions, best, strict=True)
        ]


class Gated(Learner):
    """MEGa: every memory in a gated adapter of its own (paper, Methods).

    Parameters
    ----------
    mind
        The mind that is to learn and speak; what it has stored counts as learnt.
    """

    name = "MEGa"
    gated = True

    def __init__(self, mind: MEGa) -> None:
        super().__init__(mind.base)
        self.mind = mind
        self.learnt = list(mind.ids)

    def _learn(self, memories: list[Memory], progress: bool) -> list[tuple[float, float]]:
        done = self.mind.encode(memories, progress=progress)
        return list(done[["loss", "seconds"]].itertuples(index=False, name=None))

    def recall(
        self, questions: Sequence[str], about: About | None = None, max_new_tokens: int = RECALL_TOKENS
    ) -> list[str | None]:
        return self.mind.recall(list(questions), gate=self._by_hand(about), max_new_tokens=max_new_tokens)

    def answer(
        self,
        questions: Sequence[str],
        recalled: Sequence[str] | None = None,
        about: About | None = None,
        max_new_tokens: int = ANSWER_TOKENS,
    ) -> list[str]:
        how = {"via_recall": recalled is not None, "recalled": recalled, "gate": self._by_hand(about)}
        return self.mind.answer(list(questions), max_new_tokens=max_new_tokens, **how)

    def logprob(
        self,
        questions: Sequence[str],
        targets: Sequence[str],
        recalled: Sequence[str] | None = None,
        about: About | None = None,
    ) -> pd.DataFrame:
        how = {"via_recall": recalled is not None, "recalled": recalled, "gate": self._by_hand(about)}
        return self.mind.logprob(list(questions), list(targets), **how)

    def choose(self, items: Sequence[QuizItem]) -> list[int]:
        return self.mind.choose(items)

    def found(self, questions: Sequence[str]) -> list[str | None]:
        return self.mind.gate(list(questions)).top() if self.learnt else super().found(questions)

    def within(self, questions: Sequence[str], turns: Sequence[prompts.Messages]) -> speak.Within:
        return self.mind.within(questions, turns)

    def _by_hand(self, about: About | None) -> Gate | None:
        """The true gate; several memories share it equally (*not stated in the paper*)."""
        if about is None:
            return None
        several = [[ids] if isinstance(ids, str) else list(ids) for ids in about]
        return self.mind.gate_by_hand([{id: 1 / len(ids) for id in ids} for ids in several])


class Tuned(Learner):
    """Full and LoRA: one memory after the other into the weights themselves (paper, baselines).

    Each memory is trained like MEGa's, on the weights that the memories before it have left. All of it happens on a copy
    of the base, held in float32 whatever the precision of the base (*not stated in the paper*: in bfloat16, steps of 1e-5
    would be lost). AdamW starts afresh with every memory (*not stated in the paper*).

    Parameters
    ----------
    base
        The model to start from.
    encoding
        Prompt, examples, learning rate, epochs; for "lora" also rank and place.
    what
        "full": all weights of the model, embeddings included. "lora": a fresh adapter for every memory, merged into the
        weights after it.
    penalty
        What holds the weights, see `memsci.penalties`.
    seed
        Seed of the run; start and order of a memory come from it and the memory's id.

    Raises
    ------
    MemsciError
        `what` is unknown, or elastic weight consolidation is asked of adapters, which do not last from memory to memory.
    """

    def __init__(
        self, base: Base, encoding: Encoding, what: str = "full", penalty: Penalty | None = None, seed: int = 0
    ) -> None:
        check_in("what", what, ("full", "lora"))
        if what == "lora" and isinstance(penalty, EWC):
            raise MemsciError(
                "EWC holds weights that last from memory to memory, and an adapter is merged after each. Use it with "
                "what='full', or L2 here."
            )
        super().__init__(_copy(base))
        self.name = {"full": "Full", "lora": "LoRA"}[what] + (f"+{type(penalty).__name__}" if penalty else "")
        self._what, self._encoding, self._penalty, self._seed = what, encoding, penalty, seed

    def _learn(self, memories: list[Memory], progress: bool) -> list[tuple[float, float]]:
        prompt, texts = _examples(self._speaker, memories, self._encoding)
        found = []
        with tqdm(memories, desc=self.name, unit="memory", disable=not progress) as bar:
            for memory in bar:
                begun = time.perf_counter()
                loss = self._learn_one(memory, prompt, texts[memory.id])
                found.append((loss, time.perf_counter() - begun))
                bar.set_postfix(loss=f"{loss:.3f}")
        return found

    def _learn_one(self, memory: Memory, prompt: list[int], texts: list[list[int]]) -> float:
        """Train on the texts of one memory; its loss in the last epoch."""
        model, encoding = self._speaker.model, self._encoding
        generator = torch.Generator().manual_seed(memory_seed(self._seed, memory.id))
        fresh = stacked = None
        if self._what == "lora":
            fresh = init_adapter(model, targets(model, encoding.where, encoding.layers), encoding, generator)
            stacked = stack([fresh]).to(self._speaker.device)
        orders = draws(generator, encoding.epochs, len(texts))[None]
        parameters = list(model.parameters()) if stacked is None else stacked.parameters
        if self._penalty is not None:
            self._penalty.before(parameters)
        steps = torch.cat(list(fit(model, prompt, [texts], orders, stacked, encoding, self._penalty)))
        _check_finite(steps, self.name, memory.id)
        if self._penalty is not None:
            # Of an epoch's examples, every wording once.
            losses = each(model, prompt, texts[encoding.text_copies - 1 :], encoding.autocast)
            self._penalty.after(parameters, losses)
        if stacked is None:
            _at_rest(model)
        else:
            merge(model, unstack(stacked, [fresh], getattr(torch, encoding.dtype))[0])
        last = 1 if encoding.text_epochs else math.ceil(len(texts) / encoding.batch_size)
        return steps[-last:].mean().item()


class Batch(Learner):
    """Full batch: all memories at once into all weights, in shuffled mini-batches over the texts of all (paper, baselines).

    It is no continual learner but the ceiling of those: when further memories come, it starts again from the base and
    trains on the old and the new, so it keeps the texts.

    Parameters
    ----------
    base, encoding, seed
        As in `Tuned`; the mini-batch of the paper is 2.
    """

    name = "Full batch"

    def __init__(self, base: Base, encoding: Encoding, seed: int = 0) -> None:
        super().__init__(_copy(base))
        # Epochs on the text alone are a memory's own; here the examples are those of all.
        self._base, self._encoding, self._seed = base, dataclasses.replace(encoding, text_epochs=0), seed
        self._texts: dict[str, list[list[int]]] = {}

    def _learn(self, memories: list[Memory], progress: bool) -> list[tuple[float, float]]:
        if not memories:
            return []
        begun = time.perf_counter()
        prompt, texts = _examples(self._speaker, memories, self._encoding)
        self._texts |= texts
        self._speaker = _copy(self._base)
        encoding, owners = self._encoding, [id for id, own in self._texts.items() for _ in own]
        generator = torch.Generator().manual_seed(memory_seed(self._seed, "\n".join(self._texts)))
        orders = draws(generator, encoding.epochs, len(owners))[None]
        flat = [tokens for own in self._texts.values() for tokens in own]
        training = fit(self._speaker.model, prompt, [flat], orders, None, encoding)
        total = encoding.epochs * math.ceil(len(flat) / encoding.batch_size)
        steps = torch.cat(list(tqdm(training, total=total, desc=self.name, unit="step", disable=not progress)))
        _check_finite(steps, self.name, "at hand")
        _at_rest(self._speaker.model)
        # A mini-batch holds texts of several memories: its loss counts for each of them.
        last = orders[0, -1].split(encoding.batch_size)
        shared: dict[str, list[float]] = {id: [] for id in self._texts}
        for batch, loss in zip(last, steps[-len(last) :].tolist(), strict=True):
            for k in batch.tolist():
                shared[owners[k]].append(loss)
        seconds = (time.perf_counter() - begun) / len(memories)
        return [(math.fsum(shared[id]) / len(shared[id]), seconds) for id in texts]


def _copy(base: Base) -> Base:
    """A model of one's own, in float32."""
    return Base(copy.deepcopy(base.model).float(), base.tokenizer, name=base.name)


def _at_rest(model: torch.nn.Module) -> None:
    """No more gradients, nor the memory that they take."""
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)


def _examples(base: Base, memories: list[Memory], encoding: Encoding) -> tuple[list[int], dict[str, list[list[int]]]]:
    """Tokens of the prompt, and of the examples of each memory by its id."""
    prompt = base.chat(prompts.encoding(encoding.prompt))
    return prompt, {memory.id: replies(base, memory, len(prompt), encoding.text_copies) for memory in memories}


def _check_finite(losses: Tensor, name: str, memory: str) -> None:
    if not torch.isfinite(losses).all():
        raise MemsciError(
            f"{name}: the loss of memory {memory} is not finite any more. Make the learner anew with a smaller learning "
            "rate (lr) or with clipping (grad_clip)."
        )


# ---------------------------------------------------------------------------------------------------------------------
# By name


@dataclass(frozen=True, kw_only=True)
class Given:
    """The settings of one learner, every default filled in; None where it reads no such setting.

    Parameters
    ----------
    name
        Name of the learner.
    encoding, embedding, rule
        As for `memsci.MEGa`.
    similarity, k
        Of `Retrieval`.
    strength
        λ of the penalty.
    seed
        Seed of the run.
    """

    name: str
    encoding: Encoding | None = None
    embedding: Embedding | None = None
    rule: GateRule | None = None
    similarity: str | None = None
    k: int | None = None
    strength: float | None = None
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values, those that the learner does not read left out."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        return {name: value.to_dict() if isinstance(value, Settings) else value for name, value in values.items()}


def _full(base: Base, given: Given, penalty: Penalty | None = None) -> Learner:
    return Tuned(base, given.encoding, "full", penalty, given.seed)


def _lora(base: Base, given: Given, penalty: Penalty | None = None) -> Learner:
    return Tuned(base, given.encoding, "lora", penalty, given.seed)


def _mega(base: Base, given: Given) -> Learner:
    return Gated(MEGa(base, None, given.encoding, given.embedding, given.rule, given.seed))


LEARNERS: dict[str, Callable[[Base, Given], Learner]] = {
    "Base": lambda base, given: Untrained(base),
    "RAG": lambda base, given: Retrieval(base, given.embedding, given.similarity, given.k),
    "MEGa": _mega,
    "Full": _full,
    "Full+L2": lambda base, given: _full(base, given, L2(given.strength)),
    "Full+EWC": lambda base, given: _full(base, given, EWC(given.strength)),
    "LoRA": _lora,
    "LoRA+L2": lambda base, given: _lora(base, given, L2(given.strength)),
    "Full batch": lambda base, given: Batch(base, given.encoding, given.seed),
}

# Fields of `Encoding` that mean nothing where there is no adapter.
_OF_ADAPTERS = {"rank", "alpha", "rslora", "where", "layers", "dtype"}


def resolve(
    name: str,
    base_name: str,
    encoding: Encoding | None = None,
    embedding: Embedding | None = None,
    rule: GateRule | None = None,
    seed: int = 0,
    *,
    tuning: Tuning | None = None,
    **overrides: Any,
) -> Given:
    """The settings that a learner will have; no model is needed.

    Parameters
    ----------
    name
        Name of the learner, a key of `LEARNERS`.
    base_name
        Name of the base: what is not given is `embedded()` for the shipped model and `paper()` for any other.
    encoding
        How memories are trained. Whole-model tuning takes its learning rate, and Full batch its mini-batch, from
        `tuning`, and so does LoRA if there is one for it.
    embedding, rule
        f and the gate of MEGa; RAG takes f and the similarity.
    seed
        Seed of the run.
    tuning
        What the baselines do otherwise than `encoding`.
    overrides
        Single values in place of those: any field of the settings that the learner reads (``lr``, ``rank``, ``beta``,
        ``layer``, ...), ``strength`` of a penalty, ``k`` of RAG. They come last.

    Raises
    ------
    MemsciError
        No learner has this name, or it has no such setting, or a value is not allowed.
    """
    check_in("learner", name, LEARNERS)
    shipped = base_name == SHIPPED
    encoding = encoding or (Encoding.embedded() if shipped else Encoding.paper())
    embedding, rule = embedding or Embedding.paper(), rule or GateRule.paper()
    tuning = tuning or (Tuning.embedded() if shipped else Tuning.paper())
    parts = _parts(name, encoding, embedding, rule, tuning)
    owners = _owners(name, parts)
    for option, value in overrides.items():
        if not owners:
            raise MemsciError(f"{name} has no settings; {option!r} was given.")
        check_in(f"a setting of {name}", option, owners)
        part = owners[option]
        parts[part] = value if option == part else dataclasses.replace(parts[part], **{option: value})
    return Given(name=name, seed=seed, **parts)


def settings(name: str) -> list[str]:
    """Names of all settings that the learner of this name reads, each of which `resolve` and `make` take by name.

    Raises
    ------
    MemsciError
        No learner has this name.
    """
    check_in("learner", name, LEARNERS)
    return [*_owners(name, _parts(name, Encoding(), Embedding(), GateRule(), Tuning()))]


def _parts(name: str, encoding: Encoding, embedding: Embedding, rule: GateRule, tuning: Tuning) -> dict[str, Any]:
    """What the learner takes of these, by its name in `Given`."""
    parts: dict[str, Any] = {}
    if name == "MEGa":
        parts = {"encoding": encoding, "embedding": embedding, "rule": rule}
    elif name == "RAG":
        parts = {"embedding": embedding, "similarity": rule.similarity, "k": 1}
    elif name.startswith("LoRA"):
        parts = {"encoding": dataclasses.replace(encoding, lr=tuning.lora_lr or encoding.lr)}
    elif name.startswith("Full"):
        batch_size = tuning.mini_batch if name == "Full batch" else encoding.batch_size
        parts = {"encoding": dataclasses.replace(encoding, lr=tuning.full_lr, batch_size=batch_size)}
    if "+" in name:
        parts["strength"] = tuning.l2 if name.endswith("L2") else tuning.ewc
    return parts


def _owners(name: str, parts: Mapping[str, Any]) -> dict[str, str]:
    """Of each value that may be overridden, the part that it belongs to."""
    owners: dict[str, str] = {}
    for part, value in parts.items():
        fields = [field.name for field in dataclasses.fields(value)] if isinstance(value, Settings) else [part]
        owners |= {field: part for field in fields if not (name.startswith("Full") and field in _OF_ADAPTERS)}
    return owners


def make(
    name: str,
    base: Base,
    encoding: Encoding | None = None,
    embedding: Embedding | None = None,
    rule: GateRule | None = None,
    seed: int = 0,
    *,
    tuning: Tuning | None = None,
    **overrides: Any,
) -> Learner:
    """The learner of this name on this base, which it never changes; parameters and errors are those of `resolve`.

    Examples
    --------
    ::

        learner = make("Full+L2", memsci.load(), strength=1.0)
        learner.learn(memsci.data.builtin("episodic", 0))
        learner.answer(["Who filmed the talent show?"])
    """
    given = resolve(name, base.name, encoding, embedding, rule, seed, tuning=tuning, **overrides)
    return LEARNERS[name](base, given)
