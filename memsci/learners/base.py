"""The contract of all learners: they learn memories one after another, and can be asked at any time (paper, Table 1).

The base handed in is never changed: what changes weights works on a copy. iRAG is no learner but a prompting mode: any
learner that recalls can answer from its recall.
"""

from __future__ import annotations

import math
import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, ClassVar

from memsci import prompts
from memsci.config import check_k
from memsci.data import table
from memsci.errors import MemsciError, check_in, check_whole
from memsci.gate.softmax import Gate
from memsci.later import later
from memsci.learners.parts import Parts, join
from memsci.measures import methods
from memsci.measures.methods import CHOICES, Method
from memsci.measures.metrics import BETWEEN
from memsci.memory import Memory, QuizItem, check_text
from memsci.models import conversation
from memsci.models.base import Base
from memsci.models.conversation import ANSWER_TOKENS, RECALL_TOKENS, Within

pd = later("pandas")

LEARNERS: dict[str, type[Learner]] = {}
Trained = list[tuple[float, float]]  # loss in nats per token of the last epoch, and seconds, of each memory


class Learner(ABC):
    """Something that learns memories one after another and speaks.

    A subclass names its method, ``class Mine(Learner, method=Method(name="Mine", ...))``, and is then found by name
    (`memsci.learners.make`); a method that is entered already may be given by its name. It must define `_learn`. If nothing
    else is redefined, it speaks as one model: `base` answers the paper's prompts as it is. A learner that puts something
    into its prompts redefines `_turns`; one that alters what `base` computes redefines `within`. See docs/extending.md.

    Parameters
    ----------
    base
        The model that speaks.
    seed
        Seed of the run.

    Attributes
    ----------
    name : str
        What tables call it.
    recalls, gated : bool
        Whether it can recall a memory, and whether it has a gate that can be set; see `memsci.measures.methods.Method`.
    base : Base
        The model that speaks, as it is now.
    """

    method: ClassVar[Method]
    name: ClassVar[str]
    recalls: ClassVar[bool]
    gated: ClassVar[bool]
    unread: ClassVar[frozenset[str]] = frozenset()  # fields of its settings that mean nothing to it

    def __init_subclass__(cls, method: Method | str | None = None, **how: Any) -> None:
        super().__init_subclass__(**how)
        if method is not None:
            cls.method = methods.get(method) if isinstance(method, str) else methods.add(method)
            cls.name, cls.recalls, cls.gated = cls.method.name, cls.method.recalls, cls.method.gated
            LEARNERS[cls.name] = cls

    def __init__(self, base: Base, seed: int = 0) -> None:
        check_base(base)
        self.base, self.seed = base, seed
        self.suits = False  # its encoding is still to be fitted to the memories that are learnt first
        self._learnt: list[str] = []
        self._longest = 0  # tokens of the longest memory learnt

    @classmethod
    def preset(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the settings that it reads, by their names, from what all learners are given: encoding, embedding, rule
        and tuning (classes of `memsci.config`)."""
        return {part: given[part] for part in cls.method.reads}

    @classmethod
    def build(cls, base: Base, seed: int, **settings: Any) -> Learner:
        """The learner with these settings, which are those of `preset`."""
        return cls(base, **settings, seed=seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.learnt)} memories)"

    @property
    def learnt(self) -> list[str]:
        """Ids of the memories learnt so far, in their order."""
        return self._learnt

    # Learning

    def learn(self, memories: Any, progress: bool = True) -> pd.DataFrame:
        """Learn memories in their order, after those that were learnt before.

        Parameters
        ----------
        memories
            `Memory` objects, a `Partition`, texts, a DataFrame or a file: whatever `memsci.data.table` takes.
        progress
            Show a progress bar.

        Returns
        -------
        pandas.DataFrame
            One row per memory of this call: memory_id, position (in the order of learning, from 1), loss (nats per token in
            the last epoch; missing for learners that do not train), seconds.
        """
        memories, known = table(memories), set(self.learnt)
        for memory in memories:
            if memory.id in known:
                raise MemsciError(f"{self.name} has learnt {memory.id!r} already. Give further memories only.")
        first = len(known) + 1
        if self.suits and memories and not known:
            self.suit(memories)
        trained = self._learn(memories, progress)
        self._learnt += [memory.id for memory in memories]
        self._longest = max([self._longest, *(len(self.base.reply(memory.text)) for memory in memories)])
        return pd.DataFrame(
            {
                "memory_id": [memory.id for memory in memories],
                "position": range(first, first + len(memories)),
                "loss": [loss for loss, _ in trained],
                "seconds": [seconds for _, seconds in trained],
            }
        )

    def suit(self, memories: list[Memory]) -> None:  # noqa: B027 (what has no encoding has none to fit)
        """Fit the encoding, if there is one, to the memories that are learnt first."""

    @abstractmethod
    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        """Learn, and give loss and seconds of each memory."""

    # Speaking

    @property
    def _longest_memory(self) -> int:
        """Tokens of the longest memory learnt."""
        return self._longest

    @property
    def recall_tokens(self) -> int:
        """Longest recall, in tokens: as long as the longest memory learnt, and at least `RECALL_TOKENS`."""
        return max(RECALL_TOKENS, self._longest_memory)

    def recall(
        self,
        query: str | Sequence[str],
        beta: float | None = None,
        gate: Gate | None = None,
        max_new_tokens: int | None = None,
        k: int | float | None = None,
        unknown: str | None = None,
    ) -> Any:
        """The whole memory that a question is about, in the model's own words.

        Parameters
        ----------
        query
            One question or several.
        beta
            Instead of the β of the gate's rule; only for learners with a gate.
        gate
            Instead of the gate that the questions open: one of `true_gate` or `gate_by_hand`; only for learners with a gate.
        max_new_tokens
            Longest recall, in tokens. Default: `recall_tokens`; a warning then tells how many recalls were cut off.
        k
            Instead of the k of the gate's rule: from 2 on so many memories are recalled, each alone, or as many as hold a
            share of the gate (between 0 and 1). Only for learners with a gate. *Not in the paper.*
        unknown
            What stands for the reply where the gate is closed, since no memory applies, such as ``"I do not remember."``.
            Default: the base speaks alone. Only for learners with a gate that can close. *Not in the paper.*

        Returns
        -------
        str or list of str
            As many as were asked for; None in their place from a learner that recalls nothing (RAG). Several recalls for
            one question are one text, the memory that is most open first, with blank lines between.
        """
        queries = several(query)
        if max_new_tokens is not None:
            check_whole("max_new_tokens", max_new_tokens, 1)
        if not self.recalls:
            return _like(query, [None] * len(queries))
        if unknown is not None:
            tell = lambda rows, gate: self.recall([queries[row] for row in rows], beta, gate, max_new_tokens, k)
            return _like(query, self._unless_closed(queries, unknown, True, beta, gate, tell))
        return _like(query, self._recalled(queries, beta, gate, k, max_new_tokens))

    def answer(
        self,
        query: str | Sequence[str],
        via_recall: bool | int | float = False,
        beta: float | None = None,
        gate: Gate | None = None,
        recalled: str | Sequence[str] | None = None,
        max_new_tokens: int = ANSWER_TOKENS,
        in_parts: bool = False,
        unknown: str | None = None,
    ) -> Any:
        """Answer a question from the memories, in one sentence.

        Parameters
        ----------
        query, beta, gate
            As in `recall`. The second turn of iRAG has a gate of its own, from what the rule's `second_turn` names.
        via_recall
            iRAG: recall the memory first, keep the recall as the assistant's turn, then answer (paper, 3.3.2). A number
            is the k of `recall`: ``via_recall=2`` answers from the recalls of the two best memories.
        recalled
            iRAG from recalls that were made before, one per query.
        max_new_tokens
            Longest answer, in tokens.
        in_parts
            Put each part of a question ("Who …, and what …?") by itself, with a gate and a recall of its own, and join the
            answers; see `memsci.learners.parts`. *Not in the paper.*
        unknown
            As in `recall`. After a recall it is the gate of the recall that counts.

        Returns
        -------
        str or list of str
            As many as were asked for.
        """
        queries = several(query)
        check_whole("max_new_tokens", max_new_tokens, 1)
        if in_parts:
            parts, recalled = Parts(queries), _recalls(recalled, queries)
            how = (via_recall, beta, parts.gate(gate), parts.each(recalled), max_new_tokens)
            told = self.answer(parts.questions, *how, unknown=unknown)
            return _like(query, [join(some) for some in parts.by_question(told)])
        if unknown is not None:
            made = _recalls(recalled, queries)
            tell = lambda rows, gate: self.answer(
                [queries[row] for row in rows], via_recall, beta, gate, made and [made[row] for row in rows], max_new_tokens
            )
            after = bool(via_recall) or recalled is not None
            return _like(query, self._unless_closed(queries, unknown, after, beta, gate, tell))
        if via_recall and recalled is None and self.recalls and self._one_gate(gate, _k(via_recall)):
            turns = [prompts.recall(text) for text in queries]
            most = self._recall_length(turns), max_new_tokens
            follow = lambda k, recall: prompts.irag(queries[k], recall)
            within = self.within(queries, turns, beta, gate, passes=sum(most))
            both = conversation.say_twice(self.base, turns, follow, most, within)
            self._warn_if_cut([recall for recall, _ in both], most[0])
            return _like(query, [answer for _, answer in both])
        turns, within = self._asked(queries, via_recall, beta, gate, recalled, max_new_tokens)
        return _like(query, conversation.say(self.base, turns, max_new_tokens, within))

    def logprob(
        self,
        query: str | Sequence[str],
        answers: str | Sequence[str] | Sequence[Sequence[str]],
        via_recall: bool | int | float = False,
        beta: float | None = None,
        gate: Gate | None = None,
        recalled: str | Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Log probability of given answers: Σ_j log p(y_j | prompt, y_<j), in nats.

        Parameters
        ----------
        query, answers
            As many questions as answers; the end of the turn is not part of an answer. In the place of an answer may stand a
            list of several, which all are weighed after one reading of the question.
        via_recall, beta, gate, recalled
            As in `answer`.

        Returns
        -------
        pandas.DataFrame
            A row per answer: logprob (the sum), tokens (their number); logprob / tokens is the mean per token.
        """
        given = [answers] if isinstance(answers, str) else answers
        if isinstance(given, Sequence) and any(isinstance(one, (list, tuple)) for one in given):
            given = [several(one, "answer") for one in given]
        else:
            given = several(answers, "answer")
        turns, within = self._asked(several(query), via_recall, beta, gate, recalled)
        return conversation.logprob(self.base, turns, given, within)

    def choose(
        self, items: Sequence[QuizItem], beta: float | None = None, gate: Gate | None = None, by: str = "letter"
    ) -> list[int]:
        """Index of the option that it picks for each multiple-choice question (paper, MMLU protocol).

        With by="letter" that of the likeliest letter, the paper's; with by="text" that of the likeliest text by length (see
        `memsci.models.conversation.choose_text`), for models that are at chance with letters. *The last is not in the
        paper.*
        """
        check_in("by", by, CHOICES)
        turns = [
            prompts.cloze(item.subject, item.question)
            if by == "text"
            else prompts.mmlu(item.subject, item.question, item.options)
            for item in items
        ]
        within = self.within([item.question for item in items], turns, beta, gate)
        if by == "text":
            return conversation.choose_text(self.base, items, within)
        return conversation.choose(self.base, turns, within, [len(item.options) for item in items])

    def closed(
        self, query: Sequence[str], recalling: bool = False, beta: float | None = None, gate: Gate | None = None
    ) -> list[bool]:
        """Whether each question finds the gate closed, so that the base speaks alone (*not in the paper*).

        Parameters
        ----------
        query, beta, gate
            As in `recall`.
        recalling
            Whether it is put as a cue to recall; else as a question to answer. Only a gate that is opened by the whole
            prompt (`memsci.GateRule(cue="prompt")`) tells the two apart.
        """
        raise MemsciError(f"{self.name} has no gate that could be closed to a question. Leave out `unknown`.")

    def within(
        self,
        query: Sequence[str],
        turns: Sequence[prompts.Messages],
        beta: float | None = None,
        gate: Gate | None = None,
        recalled: Sequence[str] | None = None,
        passes: int = 0,
    ) -> Within:
        """What `base` runs within while it reads conversations: for the functions of `memsci.models.conversation`.

        Parameters
        ----------
        query
            The question in each conversation: what opens the gate, unless the gate's rule says otherwise.
        turns
            As many conversations.
        beta, gate
            As in `recall`.
        recalled
            The recall that stands in each conversation, if one does.
        passes
            About how many tokens will be said; it decides how, not what, is computed.

        Returns
        -------
        callable
            From the numbers of the conversations of a batch to the context in which it runs. Learners without a gate read
            conversations as they are; so does RAG, which puts nothing into them.
        """
        if beta is not None or gate is not None:
            raise MemsciError(f"{self.name} has no gate that could be opened by hand. Leave out beta and gate.")
        return conversation.as_it_is

    # What was opened or retrieved

    def top(self, query: str | Sequence[str]) -> list[str | None]:
        """Id of the memory that each question opens most, or retrieves; None without gate or memories."""
        return [None] * len(several(query))

    def true_gate(self, ids: Sequence[str | Sequence[str]]) -> Gate:
        """The gate of an oracle: for each question it opens the memory of that id alone; several ids share it equally."""
        raise MemsciError(f"{self.name} has no gate that could be opened by hand. Ask it with its own (gate='own').")

    def _turns(self, queries: list[str], recalled: list[str] | None) -> list[prompts.Messages]:
        """The conversations that end in each question."""
        if recalled is None:
            return [prompts.qa(text) for text in queries]
        return [prompts.irag(text, recall) for text, recall in zip(queries, recalled, strict=True)]

    def _asked(self, queries, via_recall, beta, gate, recalled, passes: int = 0) -> tuple[list[prompts.Messages], Within]:
        """The conversations that end in each question, and what they run within."""
        if (via_recall or recalled is not None) and not self.recalls:
            raise MemsciError(f"{self.name} recalls nothing, so it cannot answer from a recall. Ask it directly.")
        if via_recall and recalled is None:
            recalled = self._recalled(queries, beta, gate, _k(via_recall), then=passes or ANSWER_TOKENS)
        recalled = _recalls(recalled, queries)
        turns = self._turns(queries, recalled)
        return turns, self.within(queries, turns, beta, gate, recalled, passes)

    def _recalled(self, queries, beta, gate, k=None, max_new_tokens: int | None = None, then: int = 0) -> list[str]:
        """The recalls for each question, as one text; `then`: tokens of the answer that is to follow them, if one is."""
        turns = [prompts.recall(text) for text in queries]
        most = max_new_tokens or self._recall_length(turns)
        owners = range(len(queries))
        if (apart := self._apart(queries, turns, beta, gate, k)) is not None:
            owners, gate = apart
            for row, count in Counter(owners).items() if then else ():
                what = f"A question, with {count} recalls of up to {self._longest_memory} tokens and the answer,"
                asked = self.base.chat(prompts.irag(queries[row], "-"))
                self.base.check_length(len(asked) + count * self._longest_memory + then, what)
        asked, turns = [queries[row] for row in owners], [turns[row] for row in owners]
        recalled = conversation.say(self.base, turns, most, self.within(asked, turns, beta, gate, passes=most))
        if max_new_tokens is None:
            self._warn_if_cut(recalled, most, level=4)
        told: list[list[str]] = [[] for _ in queries]
        for row, recall in zip(owners, recalled, strict=True):
            told[row].append(recall)
        return [BETWEEN.join(some) for some in told]

    def _apart(self, queries, turns, beta, gate, k) -> tuple[list[int], Gate] | None:
        """Where memories are recalled each alone: of which query each recall is, and its gate, a row for each recall."""
        if k not in (None, 1):
            raise MemsciError(
                f"{self.name} has no gate that could open several memories one by one; k={k!r} was given. Leave it out."
            )
        return None

    def _unless_closed(self, queries, unknown: str, recalling: bool, beta, gate, tell) -> list[str]:
        """What is told of the questions at some places under their rows of a gate, and what is said of all others."""
        shut = self.closed(queries, recalling, beta, gate)
        open_ = [k for k, one in enumerate(shut) if not one]
        rows = gate and replace(gate, scores=gate.scores[open_], weights=gate.weights[open_])
        told = iter(tell(open_, rows) if open_ else ())
        return [unknown if one else next(told) for one in shut]

    def _one_gate(self, gate: Gate | None, k: int | float | None) -> bool:
        """Whether both turns of iRAG run under one gate, so that the second need not read the first again."""
        return k in (None, 1)

    def _recall_length(self, turns: Sequence[prompts.Messages]) -> int:
        """`recall_tokens`, or what the model has room for; `RECALL_TOKENS` at least."""
        if self.recall_tokens <= RECALL_TOKENS:
            return self.recall_tokens
        room = self.base.max_length - max((len(self.base.chat(turn)) for turn in turns), default=0)
        return max(RECALL_TOKENS, min(self.recall_tokens, room))

    def _warn_if_cut(self, recalled: Sequence[str], most: int, level: int = 3) -> None:
        if cut := sum(len(self.base.reply(text, end=False)) >= most for text in recalled):
            warnings.warn(
                f"{cut} of {len(recalled)} recalls of {self.name} were cut off at {most} tokens. If the memories "
                "are longer, allow a recall more tokens.",
                stacklevel=level,
            )


class BaseAlone(Learner, method="Base"):
    """Base: the base model alone, which learns nothing."""

    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        return [(math.nan, 0.0)] * len(memories)


def check_base(base: Any) -> None:
    """Refuse the name of a base, or nothing, where the base itself is needed."""
    if base is None or isinstance(base, (str, os.PathLike)):
        raise MemsciError(
            f"A base is needed, not {base!r}: load it first, with memsci.load({'' if base is None else 'name'})."
        )


def several(texts: str | Iterable[str], what: str = "question") -> list[str]:
    """A list of texts, also of one, checked once: each a text that can be written to every file. `what` the user calls them.

    A recall or an answer may be empty or hold null characters, since models say such things; a question or an id may not.
    """
    if isinstance(texts, (bytes, Mapping, Set)) or not isinstance(texts, Iterable):
        raise MemsciError(f"A {what} is a text, and several are a list of texts; {texts!r} was given.")
    found = [texts] if isinstance(texts, str) else list(texts)
    for number, one in enumerate(found, start=1):
        said = what in ("recall", "answer") and isinstance(one, str)
        name = f"the {what}" if isinstance(texts, str) else f"{what} {number}"
        check_text(name, one.replace("\0", "").strip() or "-" if said else one)
    return found


def check_gate(gate: Gate | None) -> None:
    """A gate that is given is one, and not the weights that it is made of."""
    if gate is not None and not isinstance(gate, Gate):
        raise MemsciError(
            f"A gate is what `gate`, `true_gate` and `gate_by_hand` give; {gate!r} was given. Make one of weights with "
            "gate_by_hand([{id: weight, …}]), a mapping for each question."
        )


def _recalls(recalled: str | Sequence[str] | None, queries: Sequence[str]) -> list[str] | None:
    """Recalls that were made before, one per query."""
    if recalled is None:
        return None
    if len(recalled := several(recalled, "recall")) != len(queries):
        raise MemsciError(f"{len(recalled)} recalls were given for {len(queries)} questions; give one each.")
    return recalled


def _k(via_recall: bool | int | float) -> int | float | None:
    """The number that stands for `via_recall`, checked; None for True."""
    if isinstance(via_recall, bool):
        return None
    check_k("via_recall, if not True or False,", via_recall)
    return via_recall


def _like(query: str | Sequence[str], replies: list) -> Any:
    return replies[0] if isinstance(query, str) else replies
