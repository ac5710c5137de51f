"""Ask a mind and look on: which memories a question opens, how far, and what the model says through just that gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import Any

import pandas as pd
from ipywidgets import HTML, Accordion, BoundedIntText, Button, Checkbox, Dropdown, Layout, SelectionSlider, Text, VBox

from memsci.config import KINDS, POOLINGS, SIMILARITIES, Embedding
from memsci.errors import MemsciError, check_in
from memsci.gate.softmax import Gate, top_k
from memsci.learners.mega import MEGa
from memsci.memory import Memory
from memsci.widgets.asking import SPOKEN, TIPS, say
from memsci.widgets.bars import GateBars
from memsci.widgets.gates import Gates
from memsci.widgets.heatmap import HeatMap
from memsci.widgets.panel import Panel, number, plain, row, styled, wide

BARS = 12
BETAS = (0.0, *(2 ** (k / 4) for k in range(-16, 29)), math.inf)

_READING = "Reading the question …"
_NAME = "5.2rem"  # room for the names of the controls
_KINDS = {
    "activations": "own activations",
    "sentence": "sentence model",
    "words": "words (TF-IDF)",
    "hybrid": "sentence + words",
}
_SITES = {"mlp": "input of the MLP", "attention": "input of attention"}
_POOLINGS = {"mean": "mean", "surprisal": "by surprisal", "idf": "by rarity (IDF)", "last": "last token"}
_SIMILARITIES = {"inner": "inner product", "cosine": "cosine"}
_STYLE = """
.memsci-probe .memsci-replies {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(max(16rem, 40%), 1fr)); gap: 4px 18px;
}
.memsci-probe .memsci-replies h2 { grid-column: 1 / -1; margin: 6px 0 0; font-size: inherit; font-weight: 600; }
.memsci-probe .memsci-stale { opacity: 0.4; }
"""


@dataclass(frozen=True)
class _Setting:
    """All that decides a gate, as the controls stand."""

    query: str
    embedding: Embedding
    similarity: str
    beta: float
    top_k: int  # 0: all
    hand: tuple[tuple[str, float], ...] | None  # id and weight of the memories that are open, if set by hand


class GateProbe(Panel):
    """Type or pick a question, see its gate as bars, change it, and hear the model speak through it.

    β, top-k and the embedding change the gate at once. Dragging a bar, or moving it by the arrow keys, sets a gate by hand,
    which then stays, also for other questions, until *Own gate* is pressed or β, top-k or the embedding is changed.
    *Answer*, *Recall* and *Recall, then answer* (iRAG) speak with exactly the gate shown, both turns of the last too; beside
    it stands what the base says to the same prompt with all gates shut. What was said once is kept.

    Parameters
    ----------
    mind
        Memories may be added and forgotten later; `refresh` shows it.
    queries
        Questions to pick from. Default: those of `memories`, else those that the store keeps. The first one is asked.
    memories
        The memories with their texts, for embeddings other than the store's, unless the store keeps its texts. The memory
        that a question was written about is marked with a dot.
    remedy
        What a closed control says is to be done about texts that are not at hand.

    Attributes
    ----------
    bars : GateBars
        The bars of the largest weights.

    Notes
    -----
    The question is embedded as it is, as by `memsci.MEGa.gate`, whatever the rule's `cue`.

    Examples
    --------
    ::

        probe = GateProbe(mind, memories=world)
        probe.query = "Who filmed Olivia at the talent show in Bergen?"
        probe.beta = 0.125
        probe.table                                    # the gate
        probe.ask("answer")                            # what the model says through it
        probe.weights = {"talent": 0.5, "play": 0.5}   # a mixture of two memories
        probe.ask("recall")
    """

    def __init__(
        self,
        mind: MEGa,
        queries: Sequence[str] = (),
        memories: Iterable[Memory] | None = None,
        remedy: str = "Give them as memories=…, or encode with keep_text=True.",
    ) -> None:
        if isinstance(queries, str):
            raise MemsciError(f"A list of queries is needed; the text {queries[:40]!r} was given. Put it into a list.")
        memories = list(memories or ())
        self.mind = mind
        self._gates = Gates(mind, memories, remedy)
        asked = memories if any(memory.questions for memory in memories) else list(mind.store.records)
        self._about = {question.text: memory.id for memory in asked for question in memory.questions}
        self._queries = list(dict.fromkeys(queries or self._about))
        self._hand: dict[str, float] | None = None
        self._added: list[str] = []  # memories that have a bar whatever their weight
        self._told: dict[tuple, str] = {}
        self._make_controls()
        super().__init__([styled(_STYLE), *self._arranged()])
        self.add_class("memsci-probe")
        self._show()

    # Controls

    def _make_controls(self) -> None:
        first = self._queries[0] if self._queries else ""
        self._question = Text(
            first, description="Question", placeholder="Type a question and press Enter", continuous_update=False,
            **wide(_NAME),
        )  # fmt: skip
        self._pick = Dropdown(
            options=[(f"one of {len(self._queries)} questions", ""), *((text, text) for text in self._queries)],
            value=first, description="or pick", **wide(_NAME),
        )  # fmt: skip
        self._pick.layout.display = None if self._queries else "none"
        rule = self.mind.rule
        self._beta = SelectionSlider(
            options=_betas(rule.beta), value=rule.beta, description="β", continuous_update=True,
            layout=Layout(width="30rem", max_width="98%"), style={"description_width": _NAME},
            tooltip="Inverse temperature of the gate: 0 opens all memories alike, ∞ the best alone",
        )  # fmt: skip
        self._top_k = BoundedIntText(
            0, min=0, max=max(len(self.mind), 1), description="top-k (0: all)", layout=Layout(width="11rem"),
            style={"description_width": "6rem"}, tooltip="Only so many memories stay open, their weights scaled up",
        )  # fmt: skip
        embedding = self._gates.stored
        shared = {"layout": Layout(width="17rem"), "style": {"description_width": _NAME}}
        last = self._gates.layers - 1
        layers = [(f"{k} (last)" if k == last else f"{k}", k) for k in range(last + 1)]
        on_layer = embedding.layer if embedding.kind == "activations" else last
        self._kind = Dropdown(options=_pairs(_KINDS, KINDS), value=embedding.kind, description="Embedding", **shared)
        self._layer = Dropdown(options=layers, value=on_layer, description="Layer", **shared)
        self._site = Dropdown(options=_pairs(_SITES), value=embedding.site, description="Point", **shared)
        self._pooling = Dropdown(
            options=_pairs(_POOLINGS, POOLINGS), value=embedding.pooling, description="Pooling", **shared
        )
        self._whiten = Checkbox(embedding.whiten, description="whitened", indent=False, layout=Layout(width="7rem"))
        self._similarity = Dropdown(
            options=_pairs(_SIMILARITIES, SIMILARITIES), value=rule.similarity, description="Similarity", **shared
        )
        self._why = HTML()
        self.bars = GateBars(title="Gate: how far each memory is open, from 0 to 1")
        self._more = Dropdown(options=[("for another memory …", "")], description="Bar", layout=Layout(width="22rem"),
                              style={"description_width": "2rem"})  # fmt: skip
        self._own = Button(description="Own gate", tooltip="Back to the gate that the question itself opens")
        self._facts = HTML()
        self._buttons = {
            kind: Button(description=name, tooltip=TIPS[kind], layout=Layout(width="auto")) for kind, name in SPOKEN.items()
        }
        self._replies = HTML()

        self._question.observe(self.handling(self._query_changed), "value")
        self._pick.observe(self.handling(self._picked), "value")
        for control in (
            self._beta, self._top_k, self._kind, self._layer, self._site, self._pooling, self._whiten, self._similarity,
        ):  # fmt: skip
            control.observe(self.handling(self._gate_changed), "value")
        self._more.observe(self.handling(self._bar_added), "value")
        self.bars.observe(self.handling(self._bar_moved), "by_hand")
        self._own.on_click(self.handling(lambda _: self.own_gate()))
        for kind, button in self._buttons.items():
            button.on_click(self.handling(lambda _, kind=kind: self._speak(kind)))

    def _arranged(self) -> list:
        compared = row(self._kind, self._layer, self._site, self._pooling, self._similarity, self._whiten)
        return [
            self._question,
            self._pick,
            row(*self._buttons.values()),  # before the bars, each of which is a stop of the Tab key
            row(self._beta, self._top_k),
            VBox([self.bars, self._facts]),
            row(self._own, self._more),
            self._replies,
            Accordion([VBox([compared, self._why])], titles=["Advanced: how questions and memories are compared"]),
        ]

    # What can be set and read from a cell

    @property
    def query(self) -> str:
        """The question; setting it asks for its gate."""
        return self._question.value.strip()

    @query.setter
    def query(self, text: str) -> None:
        self._question.value = text

    @property
    def beta(self) -> float:
        """β, from 0 up, or infinity; a value that is not on the slider is put on it."""
        return self._beta.value

    @beta.setter
    def beta(self, value: float) -> None:
        value = replace(self.mind.rule, beta=value).beta  # checked there
        if value not in dict(self._beta.options).values():
            with self._silently():  # new options move the slider to the first one
                self._beta.options = _betas(self.mind.rule.beta, value)
                self._beta.value = value
            self._gate_changed()
        self._beta.value = value

    @property
    def top_k(self) -> int:
        """How many memories stay open; 0 for all."""
        return self._top_k.value

    @top_k.setter
    def top_k(self, k: int) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= self._top_k.max:
            raise MemsciError(f"top_k must be a whole number from 0 (all) to {self._top_k.max}; {k!r} was given.")
        self._top_k.value = k

    @property
    def embedding(self) -> Embedding:
        """f, by which questions and memories are compared."""
        stored = self._gates.stored
        model = stored.model if stored.kind in ("sentence", "hybrid") else Embedding().model
        return self._gates.settled(
            Embedding(
                kind=self._kind.value,
                layer=self._layer.value,
                site=self._site.value,
                pooling=self._pooling.value,
                whiten=self._whiten.value,
                model=model,
            )
        )

    @embedding.setter
    def embedding(self, embedding: Embedding) -> None:
        settled, layers = self._gates.settled(embedding), self._gates.layers
        if settled != self._gates.stored and self._gates.lacking:
            raise MemsciError(self._gates.lacking)
        if settled.kind == "activations" and not -layers <= embedding.layer < layers:
            raise MemsciError(f"layer must be from 0 to {layers - 1}, or negative; {embedding.layer} was given.")
        with self._silently():
            self._kind.value = settled.kind
            if settled.kind == "activations":
                self._layer.value, self._site.value = settled.layer, settled.site
                self._pooling.value, self._whiten.value = settled.pooling, settled.whiten
        self._gate_changed()

    @property
    def similarity(self) -> str:
        """ "inner" product or "cosine"."""
        return self._similarity.value

    @similarity.setter
    def similarity(self, name: str) -> None:
        check_in("similarity", name, SIMILARITIES)
        self._similarity.value = name

    @property
    def gate(self) -> Gate:
        """The gate shown: scores are those of the question, also where the weights are set by hand (β is then nan)."""
        setting = self._setting()
        if not setting.query:
            raise MemsciError("There is no question yet. Set the probe's query.")
        if self._gates.ready(setting.query, setting.embedding):
            return self._gate_of(setting)
        return self.run(lambda: self._gate_of(setting), saying=_READING).result()

    @property
    def table(self) -> pd.DataFrame:
        """The gate as a table, the most open memory first: id, label, score, weight, rank (1 = most open)."""
        return _table(self.gate)

    @property
    def weights(self) -> dict[str, float]:
        """How far each memory is open, by id. Setting it sets a gate by hand; ids left out are shut."""
        gate = self.gate
        return dict(zip(gate.ids, gate.weights[0].tolist()))

    @weights.setter
    def weights(self, weights: Mapping[str, float]) -> None:
        for id, weight in weights.items():
            if not 0 <= weight <= 1:
                raise MemsciError(f"The weight of {id!r} must be a number from 0 to 1; {weight!r} was given.")
        self.mind.gate_by_hand([weights])  # refuses ids that are not stored
        with self._lock:
            self._undo_hand()
            self._hand = {id: float(weight) for id, weight in weights.items()}
            self._added = [id for id in weights if weights[id]]
        self._show()

    @property
    def entropy(self) -> float:
        """Entropy in nats of how the weights are shared: 0 = one memory alone is open, ln n = all alike."""
        return _entropy(self.gate)

    @property
    def margin(self) -> float:
        """How much further the most open memory is open than the next."""
        return _margin(_table(self.gate))

    @property
    def replies(self) -> pd.DataFrame:
        """What was said through the gate shown: columns kind, gated (the reply), base (with all gates shut)."""
        gate = self.gate
        rows = [(kind, *said) for kind, said in self._said(self.query, gate).items()]
        return pd.DataFrame(rows, columns=["kind", "gated", "base"])

    def ask(self, kind: str = "answer") -> str:
        """Have the model speak through the gate shown, and wait for it; the same as pressing a button.

        Parameters
        ----------
        kind : {"answer", "recall", "irag"}
        """
        check_in("kind", kind, SPOKEN)
        if not self.query:
            raise MemsciError("There is no question yet. Set the probe's query.")
        return self._speak(kind).result()

    def own_gate(self) -> None:
        """Go back from a gate set by hand to the one that the question opens."""
        with self._lock:
            self._undo_hand()
        self._show()

    def refresh(self) -> None:
        """Look at the mind anew, after memories were added or forgotten."""
        self._show()

    def follow(self, gate_map: HeatMap) -> None:
        """Open the query of each cell that is selected in a map, and give its memory a bar."""

        def opened(_) -> None:
            if not gate_map.selected:
                return
            i, j = gate_map.selected
            with self._silently():
                # One selection may be told twice, and a bar be moved in the browser before the second time comes.
                if (self.query, self._hand, self._added) == (gate_map.rows[i].strip(), None, [gate_map.ids[j]]):
                    return
                self._undo_hand()
                self._added = [gate_map.ids[j]]
                self._question.value = gate_map.rows[i]
            self._show()

        gate_map.observe(self.handling(opened), ["selected", "selections"])

    def summary(self) -> str:
        """The question, the gate and what was said through it, as plain text."""
        setting = self._setting()
        if not setting.query:
            return f"no question yet; {len(self.mind)} memories"
        try:
            gate = self.gate
        except Exception as error:
            return f"question: {setting.query}\nno gate: {error}"
        shown, rest = self._shown(gate)
        lines = [f"question: {setting.query}", f"gate: {_rule(setting)}"]
        if gate.ids:
            lines += [plain(shown[["label", "score", "weight"]]), *([rest] if rest else []), *_facts(gate)]
        else:
            lines.append("no memories stored")
        for kind, (gated, base) in self._said(setting.query, gate).items():
            lines += [f"{SPOKEN[kind]}: {gated}", f"  base alone: {'…' if base is None else base}"]
        return "\n".join(lines)

    # What follows a change

    def _query_changed(self, _: Any) -> None:
        with self._lock:
            if self._quiet:
                return
            self._added = [] if self._hand is None else self._added
        self._show()

    def _picked(self, change: Any) -> None:
        with self._lock:
            if self._quiet or not change["new"]:
                return
        self._question.value = change["new"]

    def _gate_changed(self, _: Any = None) -> None:
        with self._lock:
            if self._quiet:
                return
            if self._hand is not None:
                self._undo_hand()
        self._show()

    def _bar_added(self, change: Any) -> None:
        with self._lock:
            if self._quiet or not change["new"]:
                return
            self._added = [*self._added, change["new"]]
        self._show()

    def _undo_hand(self) -> None:
        """Forget what was set by hand, moves of it that are still on their way included."""
        self._hand, self._added = None, []
        self.bars.round += 1

    def _bar_moved(self, change: Any) -> None:
        with self._lock:
            # What a probe sets itself is what it knows already.
            moved = {id: w for id, w in change["new"].items() if (self._hand or {}).get(id) != w}
            setting = self._setting()
            if not moved or self._quiet or not self._gates.ready(setting.query, setting.embedding):
                return
            if self.bars.of == self.bars.round:  # else it was undone before it came: the bars go back
                gate = self._gate_of(setting)
                if self._hand is None:
                    self._hand = dict(zip(gate.ids, gate.weights[0].tolist()))
                    self._added = list(self.bars.ids)  # bars stay where they are while one is moved
                self._hand.update({id: w for id, w in moved.items() if id in gate.ids})
        self._show()

    def _setting(self) -> _Setting:
        hand = None if self._hand is None else tuple(self._hand.items())
        return _Setting(self.query, self.embedding, self.similarity, self.beta, self.top_k, hand)

    def _gate_of(self, setting: _Setting) -> Gate:
        """The gate of a setting; the model is needed unless the question was read before."""
        gate = self._gates.gate(setting.query, setting.embedding, setting.similarity, setting.beta)
        if setting.hand is not None:
            # Memories may have been forgotten since.
            hand = {id: weight for id, weight in setting.hand if id in gate.ids}
            return replace(gate, weights=self.mind.gate_by_hand([hand]).weights, beta=math.nan)
        return top_k(gate, setting.top_k) if setting.top_k else gate

    # Drawing

    def _show(self) -> None:
        """Draw the gate of the controls as they stand: at once if the question was read before, else when it is."""
        with self._lock:
            try:
                self._enable()
                setting = self._setting()
                unread = bool(setting.query) and not self._gates.ready(setting.query, setting.embedding)
                if unread:
                    self._grey(True)
                else:
                    if not self.busy:
                        self.say("")
                    self._draw(setting)
            except Exception as error:
                self._draw_nothing()
                self.say_error(error)
                return
        if unread:  # without the lock: who observes `busy` may wait for the worker, who draws
            self.run(partial(self._read, setting), self._draw_read, saying=_READING, key="gate")

    def _read(self, setting: _Setting) -> None:
        try:
            self._gate_of(setting)
        except Exception:
            with self._lock:
                if self._setting() == setting:
                    self._draw_nothing()
            raise

    def _draw_read(self, _: Any = None) -> None:
        """Draw what the controls ask for by now, unless its question is still to be read."""
        with self._lock:
            setting = self._setting()
            if self._gates.ready(setting.query, setting.embedding):
                self._draw(setting)

    def _enable(self) -> None:
        """Close the controls that have no effect, and say why."""
        lacking = self._gates.lacking
        own = self._kind.value == "activations"
        self._kind.disabled = bool(lacking)
        for control in (self._layer, self._site, self._pooling, self._whiten):
            control.disabled = bool(lacking) or not own
        self._why.value = f'<span class="memsci-soft">{escape(lacking)}</span>' if lacking else ""
        self._why.layout.display = None if lacking else "none"
        with self._silently():  # it may take its value along, which is no choice of anybody's
            self._top_k.max = max(len(self.mind), 1)

    def _grey(self, grey: bool) -> None:
        """Whether what is shown belongs to another gate than the one asked for, whose question is still to be read."""
        self.bars.editable = not grey
        for part in (self.bars, self._facts, self._replies):
            (part.add_class if grey else part.remove_class)("memsci-stale")

    def _draw_nothing(self) -> None:
        self._grey(False)
        with self.bars.hold_sync():
            self.bars.ids, self.bars.labels, self.bars.weights = [], [], []
            self.bars.marked, self.bars.rest, self.bars.by_hand = [], "", {}
        self._facts.value = self._replies.value = ""
        self._own.disabled = True

    def _draw(self, setting: _Setting) -> None:
        with self._silently():
            self._grey(False)
            self._pick.value = setting.query if setting.query in self._queries else ""
            if not setting.query:
                self._draw_nothing()
                return
            gate = self._gate_of(setting)
            if not gate.ids:
                self._draw_nothing()
                self._facts.value = "No memories are stored yet: the base speaks alone."
                self._draw_replies(setting.query, gate)
                return
            shown, rest = self._shown(gate)
            hand = {}
            if setting.hand is not None:
                own = _table(self._gate_of(replace(setting, hand=None))).set_index("id")["weight"]
                hand = {id: weight for id, weight in zip(shown["id"], shown["weight"]) if weight != own[id]}
            with self.bars.hold_sync():
                self.bars.ids, self.bars.labels = shown["id"].tolist(), shown["label"].tolist()
                self.bars.weights, self.bars.by_hand = shown["weight"].tolist(), hand
                self.bars.marked = [self._about[setting.query]] if setting.query in self._about else []
                self.bars.rest = rest
            hidden = [(label, id) for id, label in zip(gate.ids, gate.labels) if id not in self.bars.ids]
            self._more.options = [("for another memory …", ""), *hidden]
            self._more.layout.display = None if hidden else "none"
            self._own.disabled = setting.hand is None
            by_hand = "" if setting.hand is None else "<b>Set by hand</b>, not opened by the question. "
            self._facts.value = by_hand + escape(" ".join(_facts(gate)))
            self._draw_replies(setting.query, gate)

    def _shown(self, gate: Gate) -> tuple[pd.DataFrame, str]:
        """The rows of the table that have a bar, and what is to be said of the others."""
        table = _table(gate)
        added = [id for id in self._added if id in gate.ids]
        if self._hand is None:
            largest = table["id"][:BARS].tolist()
            ids = [*largest, *(id for id in added if id not in largest)]
        else:
            others = [id for id in table["id"] if id not in added]
            ids = [*added, *others[: max(BARS - len(added), 0)]]
        others = table[~table["id"].isin(ids)]
        rest = f"the other {len(others)}: {number(others['weight'].sum())} together" if len(others) else ""
        return table.set_index("id", drop=False).loc[ids].reset_index(drop=True), rest

    # Speaking

    def _speak(self, kind: str) -> Future:
        setting = self._setting()

        def speak() -> str:
            if not setting.query:
                raise MemsciError("There is no question yet. Type one, or pick one.")
            said = self._reply(kind, setting.query, self._gate_of(setting))
            self._draw_said()  # the base's own reply takes as long again
            self._reply(kind, setting.query, self.mind.gate_by_hand([{}]))
            return said

        return self.run(speak, self._draw_said, saying=f"{SPOKEN[kind]}: the model speaks …", key=f"say {kind}")

    def _reply(self, kind: str, query: str, gate: Gate) -> str:
        key = self._key(kind, query, gate)
        if key not in self._told:
            recalled = self._reply("recall", query, gate) if kind == "irag" else None
            self._told[key] = say(self.mind, kind, query, gate, recalled)
        return self._told[key]

    def _key(self, kind: str, query: str, gate: Gate) -> tuple:
        """By what a reply is known again: memories that are shut have no part in it."""
        names = self._gates.names
        opened = [(names.get(id), weight) for id, weight in zip(gate.ids, gate.weights[0].tolist()) if weight]
        return kind, query, *opened

    def _said(self, query: str, gate: Gate) -> dict[str, tuple[str, str | None]]:
        """By kind: what was said through this gate, and by the base alone (None while it speaks)."""
        shut = replace(gate, weights=gate.weights * 0)
        return {
            kind: (self._told[key], self._told.get(self._key(kind, query, shut)))
            for kind in SPOKEN
            if (key := self._key(kind, query, gate)) in self._told
        }

    def _draw_said(self, _: Any = None) -> None:
        with self._lock:
            setting = self._setting()
            if setting.query and self._gates.ready(setting.query, setting.embedding):
                self._draw_replies(setting.query, self._gate_of(setting))

    def _draw_replies(self, query: str, gate: Gate) -> None:
        parts = []
        for kind, (gated, base) in self._said(query, gate).items():
            parts.append(f"<h2>{SPOKEN[kind]}</h2>")
            for who, text in (("with this gate", gated), ("base alone, all gates shut", base)):
                said = "…" if base is None and text is None else escape(text) or "<i>(nothing)</i>"
                parts.append(f'<div><div class="memsci-soft">{who}</div><div class="memsci-said">{said}</div></div>')
        self._replies.value = f'<div class="memsci-replies" aria-live="polite">{"".join(parts)}</div>' if parts else ""


def _table(gate: Gate) -> pd.DataFrame:
    table = pd.DataFrame(
        {"id": gate.ids, "label": gate.labels, "score": gate.scores[0].tolist(), "weight": gate.weights[0].tolist()}
    )
    table = table.sort_values(["weight", "score"], ascending=False, kind="stable", ignore_index=True)
    return table.assign(rank=range(1, len(table) + 1))


def _entropy(gate: Gate) -> float:
    """Of the shares that the memories have in all that is open; a gate set by hand need not sum to 1."""
    total = gate.weights.sum()
    return replace(gate, weights=gate.weights / total).entropy().item() if total > 0 else 0.0


def _margin(table: pd.DataFrame) -> float:
    weights = [*table["weight"], 0.0, 0.0]
    return weights[0] - weights[1]


def _facts(gate: Gate) -> list[str]:
    table = _table(gate)
    total = gate.weights.sum().item()
    if total == 0:
        return ["All gates are shut: the base speaks alone."]
    ahead = f", ahead of {table['label'][1]} by {number(_margin(table))}" if len(table) > 1 else ""
    return [
        f"Most open: {table['label'][0]} ({number(table['weight'][0])}){ahead}.",
        f"Entropy {number(_entropy(gate))} nats (0: one memory alone; {number(math.log(len(table)))}: all alike).",
        f"Sum of weights {number(total)}.",
    ]


def _rule(setting: _Setting) -> str:
    if setting.hand is not None:
        return "set by hand"
    embedding = setting.embedding
    parts = [f"β {_written(setting.beta)}", _SIMILARITIES[setting.similarity], _KINDS[embedding.kind]]
    if embedding.kind == "activations":
        parts += [f"layer {embedding.layer}", _SITES[embedding.site], _POOLINGS[embedding.pooling]]
        parts += ["whitened"] if embedding.whiten else []
    return ", ".join([*parts, *([f"top {setting.top_k}"] if setting.top_k else [])])


def _betas(*more: float) -> list[tuple[str, float]]:
    return [(_written(beta), beta) for beta in sorted({*BETAS, *more})]


def _written(beta: float) -> str:
    return "∞" if math.isinf(beta) else f"{beta:.4g}"


def _pairs(names: Mapping[str, str], order: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """Options of a menu: what is read, and the value."""
    return [(names[value], value) for value in order or names]
