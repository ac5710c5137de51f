"""MEGa: a base model with memories. Encode, gate, recall, answer, forget, save (paper, Fig. 1 and Methods).

It is put together from the modules below it: keys from `gate.embed`, adapters from `adapters.encode`, both kept in a
`store`, opened by `gate`, mixed by `adapters.mixture`. How it is asked is the contract of all learners, `learners.base`.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import compress
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memsci import lifetime, prompts
from memsci.adapters import study
from memsci.adapters.encode import Encoded, encode
from memsci.adapters.lora import Adapter, Stack, stack
from memsci.adapters.mixture import mixture
from memsci.config import SMALL, Embedding, Encoding, GateRule, check_k
from memsci.data import Asked, table
from memsci.data import questions as read_questions
from memsci.data import quiz as builtin_quiz
from memsci.errors import MemsciError
from memsci.files import appearing, as_path
from memsci.gate import activation, newer, null, softmax
from memsci.gate import calibrate as calibration
from memsci.gate.embed import Embedder, embedder, weighted
from memsci.gate.softmax import Gate
from memsci.later import later
from memsci.learners.base import Learner, Trained, check_base, check_gate, several
from memsci.lifetime import correct
from memsci.measures.text_match import check_truth
from memsci.memory import LABEL_WORDS, Memory, Question, short, text_hash
from memsci.models import generate
from memsci.models.base import OWN, Base
from memsci.models.conversation import Within
from memsci.models.sites import targets
from memsci.models.untrained import unwritable
from memsci.store.record import Remembered
from memsci.store.store import Store
from memsci.words import stretch, words

pd = later("pandas")

if TYPE_CHECKING:
    import networkx as nx

RESIDENT = 1024  # memories whose adapters all stay in memory, if they fit into the store's cache


class MEGa(Learner, method="MEGa"):
    """A base model that has memories of its own, each in a gated adapter; the base itself never changes.

    Parameters
    ----------
    base
        From `memsci.load`.
    store
        Folder in which the memories are kept from the moment each is finished; an existing store is gone on with.
        None keeps them in a temporary folder until `save`.
    encoding
        How memories are written. Default: that of the store if it exists, else what suits the base: `Encoding.embedded`
        for the shipped model, `Encoding.suited` to the first memories for any other of 20 M parameters or more, else
        `Encoding.paper`.
    embedding, gate
        f and the gate's rule. Default: the store's, else the paper's; if neither is given, `practical` for a base other
        than the shipped one of 20 M parameters or more.
    seed
        Seed of the run, from which and the memory's id each memory's own seed comes. Default: the store's, else 0.
    keep_text
        Keep the texts in the store too. By default a memory is in its weights alone.
    keep_questions
        Keep the questions about the memories in the store, so that whoever opens it can ask them:
        ``memsci.evaluate.ask(mind, mind.store.records)``.

    Examples
    --------
    ::

        mind = memsci.MEGa(memsci.load())
        mind.encode(memsci.data.builtin("episodic", 0))
        mind.gate("Who filmed the talent show?").frame()
        mind.answer("Who filmed the talent show?", via_recall=True)
    """

    def __init__(
        self,
        base: Base,
        store: str | os.PathLike[str] | None = None,
        encoding: Encoding | None = None,
        embedding: Embedding | None = None,
        gate: GateRule | None = None,
        seed: int | None = None,
        keep_text: bool = False,
        keep_questions: bool = True,
    ) -> None:
        check_base(base)
        self.keep_text, self.keep_questions = keep_text, keep_questions
        self._temporary = tempfile.TemporaryDirectory(prefix="memsci-") if store is None else None
        path = Path(self._temporary.name) / "store" if store is None else as_path(store)
        kept: dict[str, Any] = {}
        if (path / "store.json").exists():
            self.store = Store.open(path)
            self.store.check(base.fingerprint, base.name, base.model)
            kept = self.store.header
        super().__init__(base, kept.get("seed", 0) if seed is None else seed)
        real = base.name not in OWN and base.model.num_parameters() >= SMALL
        suited = Encoding.suited(base) if real else Encoding.embedded() if base.name in OWN else Encoding.paper()
        practical = real and embedding is None and gate is None and not kept
        self.encoding = encoding or _kept(Encoding, kept, "encoding") or suited
        usual = Embedding.practical() if practical else Embedding.paper()
        self.embedding = embedding or _kept(Embedding, kept, "embedding") or usual
        usual = GateRule.practical() if practical else GateRule.paper()
        self.rule = gate or _kept(GateRule, kept, "gate") or usual
        for what, kind in (("encoding", Encoding), ("embedding", Embedding)):
            given, stored = getattr(self, what), _kept(kind, kept, what)  # settings that it lacks have their default
            if stored not in (None, given):
                changed = ", ".join(
                    f"{name} {value} there, {getattr(given, name)} given"
                    for name, value in vars(stored).items()
                    if getattr(given, name) != value
                )
                raise MemsciError(
                    f"The memories in {path} were made with another {what} ({changed}), and a store holds memories of one "
                    f"kind. Leave the {what} out to go on with the store's, or encode into a new store."
                )
        self._embed: Embedder = embedder(base, self.embedding)
        self.suits = encoding is None and real and not kept
        if not kept:
            targets(base.model, self.encoding.where, self.encoding.layers)  # refused now, not when memories come
            self.store = Store.create(path, self._header())
            self.store.check(base.fingerprint, base.name, base.model)
        self._stack: tuple[list[str], Stack] | None = None  # names of adapters, and these

    @classmethod
    def build(cls, base: Base, seed: int, **settings: Any) -> MEGa:
        return cls(base, gate=settings.pop("rule"), seed=seed, **settings)

    def __repr__(self) -> str:
        return f"MEGa({self.base.name!r}, {len(self)} memories, {self.store.nbytes / 1e6:.1f} MB)"

    def __len__(self) -> int:
        return len(self.store)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the memories, in the order of encoding."""
        return self.store.ids

    @property
    def learnt(self) -> list[str]:
        """Ids of the memories as a list: what the store holds counts as learnt."""
        return list(self.ids)

    @property
    def _longest_memory(self) -> int:
        return self.store.tokens

    # Writing

    def _learn(self, memories: list[Memory], progress: bool) -> Trained:
        return list(self.encode(memories, progress)[["loss", "seconds"]].itertuples(index=False, name=None))

    @property
    def memories(self) -> pd.DataFrame:
        """What is stored, a row each: id, label, loss and learnt as from `encode` (missing where not known), corrects if
        any corrects another, and the extra columns."""
        rows = [
            {"id": one.id, "label": one.label, "loss": one.losses[-1] if one.losses else None, "learnt": one.learnt}
            | ({"corrects": one.corrects[0]} if one.corrects else {})
            | (one.extra or {})
            for one in self.store.records
        ]
        columns = dict.fromkeys(["id", "label", "loss", "learnt", *(name for row in rows for name in row)])
        return pd.DataFrame(rows, columns=list(columns)).astype({"loss": float, "learnt": "boolean"})

    def encode(
        self,
        memories: Any,
        progress: bool = True,
        parallel: int | None = None,
        on_loss: Callable[[Mapping[str, float]], None] | None = None,
        corrects: str | None = None,
    ) -> pd.DataFrame:
        """Write memories into adapters of their own; each is in the store as soon as it is finished.

        Memories that the store holds already, with the same text, are passed over: an interrupted call resumes.

        Parameters
        ----------
        memories
            `Memory` objects, a `Partition`, texts, a DataFrame or a file: whatever `memsci.data.table` takes.
        progress
            Show a progress bar, and warn of words that the base cannot write and of memories that were not learnt.
        parallel
            Most memories to train in one pass, see `memsci.adapters.encode.encode`.
        on_loss
            Called after each epoch with the mean loss of every memory in training, by id; see there.
        corrects
            Id of a memory that these correct: both are kept, and the newer goes before the older at the gate, by the
            `gain` of its rule. A table says it memory by memory, in the column ``corrects``. `update` puts a text in the
            place of another.

        Returns
        -------
        pandas.DataFrame
            One row per memory encoded by this call: id, label, loss (nats per token in the last epoch), learnt, seconds.

        Notes
        -----
        A memory is learnt if, asked for by its first words, its own adapter's first choice is right for every token of its
        text, each given those before: the greedy recall is then the text, and one pass tells it. Of 112 memories, trained
        from too little to enough on the shipped base and on SmolLM2, none that was called learnt was recalled in less than
        nine words of ten, and 11 of the 39 that were not called so were, if not to the letter (docs/notes/encoding.md).
        What helps a memory that was not learnt is more steps: ``MEGa(base, encoding=Encoding(epochs=…))`` and a new store.
        *Not stated in the paper.*
        """
        memories = table(memories)
        if corrects is not None:
            memories = [replace(memory, corrects=corrects) for memory in memories]
        new: dict[str, Memory] = {}
        for memory in memories:
            other = self.store.taken_by(memory.id)
            if other is None:
                self.store.check_uncorrected(memory.id)
                new[memory.id] = memory
            elif other != memory.id or self.store.text_hash(other) != text_hash(memory.text):
                alike = "" if other == memory.id else f", from which letter case alone does not tell {memory.id!r}"
                raise MemsciError(
                    f"The store holds another memory called {other!r}{alike}. Give the new one another id, or forget "
                    f"{other!r} first."
                )
            elif memory.corrects not in (None, *self.store.corrections.get(other, ())[:1]):
                raise MemsciError(
                    f"Memory {other!r} is stored already, and not as a correction of {memory.corrects!r}. Forget it and "
                    "encode it anew, or leave out what it corrects."
                )
        chains = correct.chains(new.values(), self.store)
        if self.suits and new and not len(self):
            self.suit(list(new.values()))
        return self.write(
            list(new.values()),
            lambda record, adapter: self.store.add(replace(record, corrects=chains.get(record.id, ())), adapter),
            progress, parallel, on_loss,
        )  # fmt: skip

    def write(
        self,
        memories: Sequence[Memory],
        put: Callable[[Remembered, Adapter], Any],
        progress: bool = True,
        parallel: int | None = None,
        on_loss: Callable[[Mapping[str, float]], None] | None = None,
    ) -> pd.DataFrame:
        """Train adapters for memories, and hand each with its record to `put` as soon as it is finished.

        What `encode` and `update` have in common, for operations of your own on a store; parameters and table are those of
        `encode`.
        """
        for memory in memories if self.keep_questions else ():
            check_answers(f"Memory {memory.id!r}", memory.questions)
        if progress:
            self._warn_of_words(list(memories))
        new = {memory.id: memory for memory in memories}
        rows: dict[str, dict[str, Any]] = {}
        keys = dict(zip(new, self._embed([memory.text for memory in new.values()]), strict=True)) if new else {}

        def keep(one: Encoded) -> None:
            memory = new[one.memory_id]
            record = Remembered(
                id=memory.id,
                label=memory.label,
                key=keys[memory.id],
                text_hash=text_hash(memory.text),
                seed=one.seed,
                losses=one.losses,
                text=memory.text if self.keep_text else None,
                tokens=len(self.base.reply(memory.text)),
                extra=memory.extra or None,
                questions=memory.questions if self.keep_questions else (),
                learnt=self._is_learnt(memory, one.adapter),
            )
            put(record, one.adapter)
            told = {"loss": one.losses[-1], "learnt": record.learnt, "seconds": one.seconds}
            rows[memory.id] = {"id": memory.id, "label": memory.label, **told}

        self._stack = None
        if new:
            encode(
                self.base, list(new.values()), self.encoding, self.seed,
                parallel=parallel, progress=progress, on_done=keep, on_loss=on_loss,
            )  # fmt: skip
        columns = ["id", "label", "loss", "learnt", "seconds"]
        encoded = pd.DataFrame([rows[id] for id in new], columns=columns).astype({"learnt": "boolean"})
        lacking = encoded.loc[~encoded["learnt"].fillna(True), "label"].tolist()
        if lacking and progress:
            epochs = self.encoding.epochs
            warnings.warn(
                f"{len(lacking)} of {len(encoded)} memories were not learnt word for word: {_some(lacking)}. Encode them "
                f"anew, into a new store, with more epochs ({2 * epochs} instead of {epochs}); short texts in common "
                "words take the fewest.",
                stacklevel=3,
            )
        return encoded

    def _is_learnt(self, memory: Memory, adapter: Adapter) -> bool | None:
        """Whether an adapter gives the text of its memory, see `encode`; None where the two are too long for one pass."""
        text, many = memory.text, len(words(memory.text))
        first = stretch(text, 0, LABEL_WORDS if many > LABEL_WORDS else many // 2) or text[: len(text) // 2]
        cue = study.ABOUT[0].format(first)
        asked, told = self.base.chat(prompts.recall(cue)), self.base.reply(memory.text)
        if len(asked) + len(told) > self.base.max_length:
            return None
        own = stack([adapter]).to(self.base.device, self.base.dtype)
        with mixture(self.base.model, own, torch.ones(1, 1)):
            [share] = generate.first_choices(self.base, [asked], [told]).tolist()
        return share == 1

    def _warn_of_words(self, memories: list[Memory]) -> None:
        found = unwritable(self.base, [memory.text for memory in memories])
        if words := list(dict.fromkeys(word for some in found for word in some)):
            count = sum(map(bool, found))
            warnings.warn(
                f"{self.base.name} cannot write {len(words)} {'word' if len(words) == 1 else 'words'} of {count} of these "
                f"{len(memories)} memories, and no recall will have them: {_some(words)}. Use other words, or another base, "
                "such as smollm2.",
                stacklevel=4,
            )

    def suit(self, memories: list[Memory]) -> None:
        self.encoding = replace(self.encoding, epochs=Encoding.suited(self.base, memories).epochs)
        self.store.note(encoding=self.encoding.to_dict())
        self.store.check(self.base.fingerprint, self.base.name, self.base.model)

    def update(self, id: str, text: str | Memory, questions: Sequence[Any] = (), progress: bool = True) -> pd.DataFrame:
        """Put a new text in the place of a memory's; see `memsci.lifetime.correct.update`."""
        return correct.update(self, id, text, questions, progress)

    def add_questions(self, questions: Any, again: bool = False) -> pd.DataFrame:
        """Keep questions about memories that are stored already, so that `memsci test` and the probe ask them.

        All are kept, or, if one cannot be, none. Questions that are kept already, with the same answer, are passed over.

        Parameters
        ----------
        questions
            A file or DataFrame with the columns question and answer, and id, or text to the letter, of the memory; or what
            `memsci.data.questions` made of one.
        again
            Put them in the place of all questions of these memories that are kept, instead of beside them.

        Returns
        -------
        pandas.DataFrame
            One row per memory of the table: id, new (how many of its questions were not kept before), questions (kept now).
        """
        asked = check_asked(questions if isinstance(questions, list) else read_questions(questions))
        new = self.store.add_questions(asked, again)
        kept = {one.id: len(one.questions) for one in self.store.records if one.id in new}
        return pd.DataFrame([(id, count, kept[id]) for id, count in new.items()], columns=["id", "new", "questions"])

    def graph(self, memories: Any = None, **how: Any) -> nx.Graph:
        """What connects the memories, as a graph of networkx; see `memsci.lifetime.graph.graph`."""
        from memsci.lifetime import graph  # networkx is slow to import

        return graph.graph(self, memories, **how)

    def forget(self, id: str) -> None:
        """Remove one memory, adapter and key. The others are not affected.

        One that shares its adapter with others is refused: its content would stay in there. Let `split` give the others
        adapters of their own first; the shared one then goes with it.
        """
        self.store.forget(id)
        self._stack = None

    def sleep(
        self, policy: Any, settings: lifetime.Sleep | None = None, memories: Any = None, progress: bool = True
    ) -> pd.DataFrame:
        """Let the memories that a policy chooses be learnt by one adapter that they then share: `memsci.lifetime.sleep`."""
        return lifetime.sleep(self, policy, settings, memories, progress)

    def merge(
        self,
        ids: Iterable[str],
        rank: int | None = None,
        by: str = "distil",
        settings: lifetime.Sleep | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Bring some memories into one adapter of a given rank that they then share: `memsci.lifetime.merge`."""
        return lifetime.merge(self, ids, rank, by, settings, progress=progress)

    def split(self, ids: Iterable[str], settings: lifetime.Sleep | None = None, progress: bool = True) -> pd.DataFrame:
        """Give memories that share an adapter their own again: `memsci.lifetime.split`."""
        return lifetime.split(self, ids, settings, progress)

    def fold(self, path: str | os.PathLike[str]) -> Path:
        """Save a copy of the base with the adapter that most memories share in its weights: `memsci.lifetime.fold`."""
        return lifetime.fold(self, path)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Copy the memories into a new folder, whole or not at all; `memsci.open` opens it.

        What a store keeps to open quickly is not copied: the first opening reads every memory once (minutes for 100,000).
        """
        path = as_path(path)
        with appearing(path) as unfinished:
            shutil.copytree(self.store.path, unfinished, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        return path

    # Gating

    def gate(
        self,
        query: str | Sequence[str],
        beta: float | None = None,
        only: Iterable[str] | None = None,
        ages: Mapping[str, Sequence[float]] | None = None,
    ) -> Gate:
        """How far one query, or each of several, opens each memory: g = softmax(β f(q)ᵀK) (paper, Methods).

        Parameters
        ----------
        query
            One text or b of them, embedded as they are.
        beta
            Instead of the rule's β.
        only
            Ids of some memories: the gate is that of a mind that has learnt these alone, so that many lists can be asked
            about after one encoding. All of them are compared, also under a sparse rule.
        ages
            Under a rule with `activation`: how many hours ago each memory was learnt, by id, once or several times. Of what
            is left out, the time since it was stored counts. A gate made so can be handed to `recall` and `answer`.

        Returns
        -------
        Gate
            A memory that corrects another goes before it, by the rule's `gain` (`memsci.gate.newer`). Strengths and null of
            a rule that has them come after that (`memsci.gate.activation`): scores are then s + B/β.
            Over all memories, or those of `only`, in the order of encoding; under a rule with `top_k` or `epsilon` (unless
            the embedding counts words, whose weights need all keys) over candidates alone, so that `ids` are some of the
            memories: all that any query of the call may open. All others are closed. With `epsilon` the weights of a query
            sum to 1 over the candidates but for what is closed among them, and so depend slightly, within ε, on what else
            is asked in the same call.
        """
        cues, beta = self._embed(several(query)), self.rule.beta if beta is None else beta
        # The keys of words are weighed by how many of all memories have a word: all of them must be looked at.
        searched = self.rule.sparse and not self.embedding.counts_words and len(self) > 0 and only is None
        if ages is not None and not self.rule.activation:
            raise MemsciError("Ages count only under a rule with activation, as of GateRule(activation=1.0).")
        searched = searched and not self.rule.strengthened  # what is found by its key alone may be weak
        links = self.store.corrections if self.rule.gain is not None and len(self) else {}
        if searched:
            # What is linked is always looked at: a correction may open by what is like the memory that it corrects.
            linked = {*links, *(id for ids in links.values() for id in ids)}.intersection(self.ids) if links else set()
            places = self._candidates(cues, beta, len(linked))
            if linked:
                places = torch.cat([places, self._places(linked)]).unique()
        else:
            places = None if only is None else self._places(only)
        gate = self._compare(cues, places, beta)
        if links:
            gate = newer.prefer(gate, links, self.rule.gain)
        found = gate
        if self.rule.strengthened:
            null_ = -math.inf if self.rule.null is None else self.rule.null
            gate = activation.strengthen(gate, self._strengths(gate.ids, ages or {}), null_)
        if self.rule.top_k is not None:
            gate = softmax.top_k(gate, self.rule.top_k)
        if self.rule.epsilon:
            gate = softmax.nucleus(gate, self.rule.epsilon / 2)
        return gate if self.rule.closes is None else null.close(gate, self.rule.closes, found)

    def calibrate(self, memories: Any, closes: bool = True, keep: bool = True) -> pd.DataFrame:
        """Fit the gate's β, and the score below which it closes, on cues whose memory is known; no question is needed.

        Cues are the paraphrases of the memories, or both halves of a text without any. For the threshold each cue is also
        compared with all other memories, as if its own were missing, and so are the questions of the built-in quiz. The
        fitted rule is `rule` from then on.

        Parameters
        ----------
        memories
            Stored memories with their texts, in any form that `encode` takes.
        closes
            Fit the threshold too; else the gate closes as before.
        keep
            Keep the rule in the store, for those who open it later.

        Returns
        -------
        pandas.DataFrame
            What was done, a row per setting: setting, before, after, cues (their number), measure and its value before
            and after: mean −log g of the right memory (nats) for β, false opens (of 1) for the threshold.
        """
        memories = table(memories)
        texts, owners = calibration.cues(memories)
        place = {id: column for column, id in enumerate(self.ids)}
        for memory in memories:
            if memory.id not in place:
                raise self.store.unknown(memory.id)
            if self.store.text_hash(memory.id) != text_hash(memory.text):
                raise MemsciError(
                    f"Memory {memory.id!r} has another text in the store, so that its keys do not belong to this one. Give "
                    "the texts as they were encoded."
                )
        if len(self) < 2:
            raise MemsciError(f"To fit a gate takes two memories or more; {len(self)} are stored. Encode others first.")
        if not texts:
            raise MemsciError("No memory was given to fit a gate by. Give stored memories with their texts.")
        scores = self._compare(self._embed(texts), None, 1.0).scores
        own = torch.tensor([place[id] for id in owners])
        beta = calibration.fit_beta(scores, own)
        before, after = (calibration.surprise(scores, own, one) for one in (self.rule.beta, beta))
        rows = [("beta", self.rule.beta, beta, len(own), "surprise", before, after)]
        rule = replace(self.rule, beta=beta)
        if closes:
            foreign = scores.scatter(1, own[:, None], -torch.inf).max(dim=1).values
            quiz = self._compare(self._embed([item.question for item in builtin_quiz()]), None, 1.0).scores
            others = torch.cat([foreign, quiz.max(dim=1).values])
            least = null.threshold(scores.gather(1, own[:, None])[:, 0], others)
            opens = [1.0 if one is None else (others >= one).double().mean().item() for one in (rule.closes, least)]
            rows.append(("closes", rule.closes, least, len(own) + len(quiz), "false opens", *opens))
            rule = replace(rule, closes=least)
        self.rule = rule
        if keep:
            self.store.note(gate=rule.to_dict())
        return pd.DataFrame(
            rows, columns=["setting", "before", "after", "cues", "measure", "measure_before", "measure_after"]
        )

    def _candidates(self, cues: torch.Tensor, beta: float, linked: int = 0) -> torch.Tensor:
        """Places of the memories that any of the cues may open by the rule: with `epsilon`, all but those that together
        weigh no more than a quarter of it. To leave them out moves the gate by twice as much, since it sums to 1; the
        other half is `softmax.nucleus`'s. Memories that are linked may lose their places to others, or so much of their
        weight that all of them weigh what one did."""
        if self.rule.top_k is not None:
            return self.store.nearest(cues, self.rule.top_k + linked, self.rule.similarity)[1].unique()
        scores, error = self.store.similarities(cues, self.rule.similarity)
        return softmax.holding(scores, beta, 1 - self.rule.epsilon / (4 * max(1, linked)), error)

    def _strengths(self, ids: Sequence[str], ages: Mapping[str, Sequence[float]]) -> torch.Tensor:
        """B of these memories in nats, [n], by the rule; see `gate`."""
        if unknown := sorted(set(ages).difference(self.ids)):
            raise self.store.unknown(unknown[0])
        if not self.rule.activation:
            return torch.zeros(len(ids))
        numbers = lambda hours: [isinstance(x, Real) and 0 < x < math.inf for x in hours]
        if wrong := [
            id for id, hours in ages.items()
            if isinstance(hours, str) or not isinstance(hours, Iterable) or not numbers(hours) or not all(numbers(hours))
        ]:  # fmt: skip
            raise MemsciError(
                f"Ages are hours since a memory was learnt, above 0, at least one of each; {ages[wrong[0]]!r} were given "
                f"for {wrong[0]!r}."
            )
        now, missing = datetime.now(UTC), not set(ids) <= set(ages)
        stored = {one.id: one.created for one in self.store.records} if missing else {}
        strengths = []
        for id in ids:
            # The store knows seconds: what is younger counts as one second old.
            hours = ages[id] if id in ages else [max((now - datetime.fromisoformat(stored[id])).total_seconds(), 1) / 3600]
            learnt = sorted(-float(x) for x in hours)
            strengths.append(activation.activation(learnt, 0.0, self.rule.activation, self.rule.decay, self.rule.spacing))
        return torch.tensor(strengths, dtype=torch.float64)

    def _places(self, ids: Iterable[str]) -> torch.Tensor:
        """Places of the memories of these ids, in the order of encoding."""
        wanted = set(ids)
        if unknown := sorted(wanted.difference(self.ids)):
            raise self.store.unknown(unknown[0])
        return torch.tensor([place for place, id in enumerate(self.ids) if id in wanted], dtype=torch.int64)

    def _compare(self, cues: torch.Tensor, places: torch.Tensor | None, beta: float) -> Gate:
        """The gate over the memories at these places, in the order of encoding; None for all."""
        if places is None:
            keys = self.store.keys() if len(self) else torch.empty(0, cues.shape[1])
            ids, labels = self.ids, self.store.labels
        else:
            keys, named = self.store.keys(places.tolist()), self.store.named(places.tolist())
            ids, labels = [id for id, _ in named], [label for _, label in named]
        return softmax.gate(*weighted(self.embedding, cues, keys), beta, self.rule.similarity, ids, labels)

    def gate_by_hand(self, weights: Sequence[Mapping[str, float]]) -> Gate:
        """A gate with given weights, one mapping from id to weight per query; ids left out are closed.

        With one id and weight 1 it is the *true gate* of that memory. The weights need not sum to 1.
        """
        ids, labels = self.ids, self.store.labels
        place = {id: column for column, id in enumerate(ids)}
        if isinstance(weights, Mapping):
            raise MemsciError("A gate by hand is a list of mappings, one a question: put [ and ] around this one.")
        rows = torch.zeros(len(weights), len(ids), dtype=torch.float64)
        for row, given in enumerate(weights):
            for id, weight in given.items():
                if id not in place:
                    raise self.store.unknown(id)
                if not (isinstance(weight, Real) and math.isfinite(weight)):
                    raise MemsciError(f"The weight of {id!r} must be a finite number; {weight!r} was given.")
                rows[row, place[id]] = weight
        return Gate(rows, rows, ids, labels, float("nan"))

    def true_gate(self, ids: Sequence[str | Sequence[str]]) -> Gate:
        """The gate of an oracle: for each question the memory of that id alone; several ids share it equally (*not stated in
        the paper*)."""
        about = [several(one, "id") for one in ([ids] if isinstance(ids, str) else ids)]
        if empty := [number for number, one in enumerate(about, 1) if not one]:
            raise MemsciError(
                f"A true gate opens one memory or more; question {empty[0]} names none. Of a question about one memory give "
                "the id of its owner."
            )
        return self.gate_by_hand([dict.fromkeys(one, 1 / len(set(one))) for one in about])

    def top(self, query: str | Sequence[str]) -> list[str | None]:
        return self.gate(several(query)).top() if len(self) else super().top(query)

    # Speaking: what the base runs within

    def within(
        self,
        query: Sequence[str],
        turns: Sequence[prompts.Messages],
        beta: float | None = None,
        gate: Gate | None = None,
        recalled: Sequence[str] | None = None,
        passes: int = 0,
    ) -> Within:
        return self._mixed(self._opened(several(query), list(turns), beta, gate, recalled), passes)

    def closed(
        self, query: Sequence[str], recalling: bool = False, beta: float | None = None, gate: Gate | None = None
    ) -> list[bool]:
        queries = several(query)
        if gate is None and self.rule.closes is None and len(self):
            return [False] * len(queries)
        turns = [(prompts.recall if recalling else prompts.qa)(text) for text in queries]
        return self._opened(queries, turns, beta, gate, None).closed.tolist()

    def _unless_closed(self, queries, unknown: str, recalling: bool, beta, gate, tell) -> list[str]:
        if gate is None and self.rule.closes is None and len(self):
            raise MemsciError(
                "This gate never closes, so no question is unknown to it. Fit it to the memories first (calibrate), with "
                "the table that was encoded."
            )
        return super()._unless_closed(queries, unknown, recalling, beta, gate, tell)

    def _opened(self, queries, turns, beta, gate: Gate | None, recalled) -> Gate:
        """The gate given, or the one that the queries open by the rule's `cue` and, after a recall, its `second_turn`."""
        check_gate(gate)
        if gate is not None:
            opened = compress(gate.ids, gate.weights.ne(0).any(dim=0).tolist())
            if len(gate.weights) != len(queries) or not all(id in self.store for id in opened):
                raise MemsciError(
                    f"The gate given has {len(gate.weights)} rows over {len(gate.ids)} memories; {len(queries)} rows over "
                    f"memories that are stored are needed, of which there are {len(self)}. Make it anew with gate or "
                    "gate_by_hand."
                )
        if recalled is not None and self.rule.second_turn == "closed":
            return self.gate_by_hand([{}] * len(queries))
        if gate is not None:
            return gate
        if recalled is not None and self.rule.second_turn == "recall":
            # An empty recall is no cue; its question is.
            return self.gate([recall or text for text, recall in zip(queries, recalled, strict=True)], beta)
        if recalled is not None and self.rule.second_turn == "conversation":
            return self.gate(["\n".join(message["content"] for message in turn) for turn in turns], beta)
        if self.rule.cue == "question":
            return self.gate(queries, beta)
        # The last turn may be words put into the assistant's mouth.
        return self.gate([next(m["content"] for m in reversed(turn) if m["role"] == "user") for turn in turns], beta)

    def _apart(self, queries, turns, beta, gate: Gate | None, k) -> tuple[list[int], Gate] | None:
        k = self.rule.k if k is None else k
        check_k("k", k)
        if k == 1:
            return None
        found = self._opened(queries, turns, beta, gate, None)
        meant = gate is not None or self.rule.sparse or math.isinf(found.beta)  # else a weight of 0 is a very small one
        each = [ids or [None] for ids in softmax.best(found, k, closed=meant)]  # where all are closed, the base speaks once
        alone = self.gate_by_hand([{} if id is None else {id: 1.0} for ids in each for id in ids])
        return [row for row, ids in enumerate(each) for _ in ids], alone

    def _one_gate(self, gate: Gate | None, k: int | float | None) -> bool:
        if self.rule.second_turn == "closed" or (self.rule.k if k is None else k) != 1:
            return False
        return gate is not None or self.rule.second_turn == self.rule.cue == "question"

    def _mixed(self, gate: Gate, passes: int = 0) -> Within:
        """The context in which the queries of a batch run: the memories, mixed by each query's own row of the gate."""

        def within(rows: list[int]) -> AbstractContextManager:
            weights, ids = gate.weights[rows].float(), gate.ids
            many = len(self) > RESIDENT or self.store.nbytes > self.store.cache_bytes
            if many or ids != self.ids:  # else all stay in memory; here those that this batch opens are fetched
                open_ = weights.ne(0).any(dim=0)
                weights, ids = weights[:, open_], tuple(compress(ids, open_.tolist()))
            if self.store.shared:  # what is given to memories that share an adapter adds up on it
                names = self.store.adapter_names(ids)
                place = {name: index for index, name in enumerate(dict.fromkeys(names))}
                owners = torch.tensor([place[name] for name in names], dtype=torch.int64)  # also of none
                weights = weights.new_zeros(len(weights), len(place)).index_add(1, owners, weights)
            return mixture(self.base.model, self._adapters(ids), weights, passes)

        return within

    def _adapters(self, ids: tuple[str, ...]) -> Stack:
        """The adapters of these memories on the base's device, kept until others are asked for or memories come or go.

        One that several share is there once, in the place of the first.
        """
        names = self.store.adapter_names(ids)
        asked, owners = list(dict.fromkeys(names)), dict(zip(reversed(names), reversed(ids), strict=True))
        kept = self._stack  # looked at once: another thread may ask for others, or forget, at any moment
        if kept is None or kept[0] != asked:
            kept = self._stack = None  # room first
            own = [owners[name] for name in asked]
            kept = asked, stack(self.store.adapters(own)).to(self.base.device, self.base.dtype)
            self._stack = kept
        return kept[1]

    def _header(self) -> dict[str, Any]:
        return {
            "base": {"name": self.base.name, "fingerprint": self.base.fingerprint},
            "encoding": self.encoding.to_dict(),
            "embedding": self.embedding.to_dict(),
            "gate": self.rule.to_dict(),
            "seed": self.seed,
        }


def open(path: str | os.PathLike[str], base: Base | None = None) -> MEGa:
    """The memories saved in a folder, with the base and settings that they were made with.

    Parameters
    ----------
    path
        Folder that `MEGa.save` wrote, or that was given to `MEGa` as its store.
    base
        The base model, if it is loaded already; None loads the one whose name the store holds.
    """
    stored = Store.open(path)
    return MEGa(base or stored.load_base(), store=path)


def check_asked(asked: list[Any]) -> list[Asked]:
    """Refuse questions for `MEGa.add_questions` that are not as `memsci.data.questions` makes them, or cannot be judged."""
    for place, one in enumerate(asked, start=1):
        if not isinstance(one, Asked):
            raise MemsciError(
                f"Entry {place} of the questions is {one!r}, which does not say what memory it is about. Give a file or a "
                "DataFrame with the columns id, question and answer."
            )
        check_answers(one.where, one.questions)
    return asked


def check_answers(whose: str, questions: Iterable[Question]) -> None:
    """Refuse a question, to be kept in a store, whose answer nothing can be judged by; `whose` begins the message."""
    for question in questions:
        try:
            check_truth(question.answer)
        except MemsciError as error:
            raise MemsciError(
                f"{whose}, question {short(question.text)}: {error} Give it another answer, or leave the question out: the "
                "store would keep it, to be asked and judged."
            ) from None


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _kept(settings: type, header: dict[str, Any], name: str):
    return settings.from_dict(header[name]) if name in header else None
