"""A widget in which memories are written, watched while they are learnt, asked about, and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from threading import Event
from typing import Any

import pandas as pd
from ipywidgets import HTML, Button, Combobox, Layout, Select, Text, Textarea
from traitlets import Tuple

from memsci.errors import MemsciError, check_in
from memsci.learners.mega import MEGa
from memsci.memory import Memory, Question, short
from memsci.widgets.asking import SPOKEN, TIPS, ask
from memsci.widgets.chart import ceiling
from memsci.widgets.panel import Panel, number, plain, row, wide

REPLIES = 5  # that stay readable

_NAME = "6.5rem"  # room for the names of the fields
_FORGET = "Forget"
_BAR = "|"  # between a test question and its answer


class MemoryEditor(Panel):
    """Write a memory with its test questions, see its loss fall, see which memories there are, ask about them, forget one.

    Everything can be done with the keyboard: Tab goes from field to field, Enter in the question asks it, and forgetting
    takes two presses. Training and answering go on in the background, and *Stop* ends a training without storing anything.

    Test questions are kept in the store beside their memory (unless the mind keeps none): they are offered once the memory
    is chosen in the list, the right answer stands below each reply to one, and ``memsci test`` asks and scores them all.

    Parameters
    ----------
    mind
        Whose memories. Its encoding says how they are written.

    Attributes
    ----------
    ids
        Ids of the memories in the list, in the order of encoding; may be observed.

    Examples
    --------
    ::

        editor = MemoryEditor(memsci.MEGa(memsci.load()))
        id = editor.add("Nora hid the letter in the piano.", paraphrases=["The letter went into Nora's piano."],
                        questions=[("Where did Nora hide the letter?", "in the piano")])
        editor.ask("Where did Nora hide the letter?")
        editor.forget(id)
        editor                                             # shows it
    """

    ids = Tuple()

    def __init__(self, mind: MEGa) -> None:
        self.mind = mind
        self._stopped = Event()
        self._replies: list[dict[str, Any]] = []
        self._to_forget: str | None = None

        self.text_box = Textarea(
            description="Text", rows=3, placeholder="A short paragraph: who did what, where and when.", **wide(_NAME)
        )
        self.label_box = Text(description="Label", placeholder="its name in lists; may be left out", **wide(_NAME))
        self.paraphrases_box = Textarea(
            description="Paraphrases", rows=3, placeholder="The same in other words, one wording a line", **wide(_NAME)
        )
        self.questions_box = Textarea(
            description="Test questions",
            rows=3,
            placeholder=f"Question {_BAR} answer, one pair a line; nothing is learnt from them"
            if mind.keep_questions
            else "not kept: these memories are encoded without questions",
            disabled=not mind.keep_questions,
            **wide(_NAME),
        )
        self.encode_button = Button(
            description="Encode", button_style="primary", icon="pencil", tooltip="Train an adapter on this text"
        )
        self.stop_button = Button(description="Stop", disabled=True, tooltip="End the training; nothing is stored")
        self._chart = HTML()
        self.memories_box = Select(description="Memories", rows=5, **wide(_NAME))
        self.forget_button = Button(description=_FORGET, disabled=True, layout=Layout(width="auto", max_width="100%"))
        self.keep_button = Button(description="Keep it", layout=Layout(display="none"))
        self.question_box = Combobox(
            description="Question", placeholder="about one of the memories", ensure_option=False, **wide(_NAME)
        )
        self.ask_buttons = {
            kind: Button(description=name, tooltip=TIPS[kind], layout=Layout(width="auto")) for kind, name in SPOKEN.items()
        }
        self._said = HTML()
        super().__init__(
            [
                self.text_box,
                self.label_box,
                self.paraphrases_box,
                HTML('<span class="memsci-soft">Facts told in several wordings are easier to ask about.</span>'),
                self.questions_box,
                row(self.encode_button, self.stop_button),
                self._chart,
                self.memories_box,
                row(self.forget_button, self.keep_button),
                self.question_box,
                row(*self.ask_buttons.values()),
                self._said,
            ]
        )
        self.refresh()

        self.encode_button.on_click(self.handling(lambda _: self._encode_written()))
        self.stop_button.on_click(self.handling(lambda _: self._stopped.set()))
        self.forget_button.on_click(self.handling(lambda _: self._press_forget()))
        self.keep_button.on_click(self.handling(lambda _: self._spare()))
        for kind, button in self.ask_buttons.items():
            button.on_click(self.handling(lambda _, kind=kind: self._ask(self.question_box.value, kind)))
        self.question_box.on_msg(self.handling(self._entered))
        self.memories_box.observe(self.handling(self._selected), "value")
        self.observe(self.handling(lambda _: self._permit()), "busy")

    # From cells

    def add(
        self, text: str, label: str = "", paraphrases: Sequence[str] = (), id: str = "", questions: Sequence[Any] = ()
    ) -> str:
        """Write a memory, as *Encode* does, and wait until it is stored.

        Parameters
        ----------
        text, label, paraphrases, id, questions
            See `memsci.Memory`.

        Returns
        -------
        str
            The id of the memory.
        """
        job = self._encode(lambda: Memory(text, id, label, paraphrases, questions))
        try:
            return job.result()
        except KeyboardInterrupt:
            self._stopped.set()
            raise

    def ask(self, question: str, kind: str = "answer") -> str:
        """Ask, as the buttons do, and wait for the reply.

        Parameters
        ----------
        question
            What to ask.
        kind
            "answer", "recall" (the whole memory) or "irag" (recall first, then answer).
        """
        return self._ask(question, kind).result()["reply"]

    def forget(self, id: str) -> None:
        """Forget a memory at once, without asking."""
        self._forget(id).result()

    @property
    def table(self) -> pd.DataFrame:
        """The memories: id, label, epochs (of training) and loss (in the last of them, nats per token)."""
        rows = [
            (one.id, one.label, len(one.losses), one.losses[-1] if one.losses else float("nan"))
            for one in self.mind.store.records
        ]
        return pd.DataFrame(rows, columns=["id", "label", "epochs", "loss"])

    def refresh(self) -> None:
        """Show what the mind holds now, if it was changed by other means than this editor."""
        with self._lock:
            options = [(one.label, one.id) for one in self.mind.store.records]
            if [*self.memories_box.options] != options:
                chosen = self.memories_box.value
                self.memories_box.options = options
                self.memories_box.value = chosen if chosen in [id for _, id in options] else None
            self._offer()
            self._permit()
        self.ids = self.mind.ids  # observed by who may wait for the worker, who draws under the lock

    def summary(self) -> str:
        """The memories with their last loss, and the last replies, oldest first, each with the memory that opened widest."""
        table = self.table
        lines = [f"{len(table)} {'memory' if len(table) == 1 else 'memories'}"]
        if len(table):
            # Training adds up what machines round differently: two decimals are the same on all.
            lines.append(plain(table.assign(loss=[f"{loss:.2f}" for loss in table["loss"]])))
        for one in self._replies:
            lines += ["", f"{SPOKEN[one['kind']]}: {one['question']}", one["reply"], _opened(one)]
        return "\n".join(lines)

    # Encoding

    def _encode_written(self) -> None:
        text, label = self.text_box.value, self.label_box.value
        wordings = [line.strip() for line in self.paraphrases_box.value.splitlines() if line.strip()]
        asked = questions_of(self.questions_box.value)
        self._encode(lambda: Memory(text.strip(), "", label, wordings, asked), written=True)

    def _encode(self, make: Any, written: bool = False) -> Any:
        self._spare()
        self._stopped.clear()
        return self.run(lambda: self._learn(make()), lambda id: self._learnt(id, written), "Encoding …")

    def _learn(self, memory: Memory) -> str:
        """Train one memory, with its loss shown after every epoch."""
        epochs = self.mind.encoding.epochs + self.mind.encoding.text_epochs
        told: list[float] = []

        def show(losses: Mapping[str, float]) -> None:
            if self._stopped.is_set():
                raise MemsciError(f"Stopped: {memory.label!r} was not stored.")
            told.append(losses[memory.id])
            self._chart.value = loss_chart(told, epochs, memory.label)
            self.say(f"Encoding “{memory.label}”: epoch {len(told)} of {epochs}, loss {told[-1]:.2f} nats per token.")

        self.stop_button.disabled = False
        try:
            self.mind.encode([memory], progress=False, on_loss=show)
        finally:
            self.stop_button.disabled = True
        return memory.id

    def _learnt(self, id: str, written: bool) -> None:
        self.refresh()
        with self._lock:
            self.memories_box.value = id
        if written:
            for box in (self.text_box, self.label_box, self.paraphrases_box, self.questions_box):
                box.value = ""

    # The list

    def _selected(self, _: Any) -> None:
        with self._lock:
            self._spare()
            self._offer()
            self._permit()
            for one in self.mind.store.records:
                if one.id == self.memories_box.value:
                    self._chart.value = loss_chart(one.losses, len(one.losses), one.label) if one.losses else ""

    def _offer(self) -> None:
        """The test questions of the memory chosen, or of all where none is, to be picked in the field of the question."""
        chosen = self.memories_box.value
        records = [one for one in self.mind.store.records if chosen in (None, one.id)]
        self.question_box.options = list(dict.fromkeys(q.text for one in records for q in one.questions))

    def _press_forget(self) -> None:
        id = self.memories_box.value
        if id not in self.mind.ids:
            self.refresh()
            raise MemsciError(f"{id!r} was forgotten elsewhere. The list shows what there is now.")
        if self._to_forget != id:
            self._to_forget = id
            label = next(label for label, value in self.memories_box.options if value == id)
            self.forget_button.description = f"Really forget “{label}”? Press again."
            self.forget_button.button_style = "danger"
            self.keep_button.layout.display = None
        else:
            self._forget(id)

    def _spare(self) -> None:
        """Back to where forgetting needs two presses."""
        self._to_forget = None
        self.forget_button.description, self.forget_button.button_style = _FORGET, ""
        self.keep_button.layout.display = "none"

    def _forget(self, id: str) -> Any:
        self._spare()
        return self.run(lambda: self.mind.forget(id), lambda _: self._forgotten())

    def _forgotten(self) -> None:
        self.refresh()
        self._chart.value = ""

    # Asking

    def _entered(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        if content.get("event") == "submit" and not self.busy:  # the Enter key
            self._ask(self.question_box.value, "answer")

    def _ask(self, question: str, kind: str) -> Any:
        self._spare()
        return self.run(lambda: self._reply(question.strip(), kind), self._show, "Thinking …")

    def _reply(self, question: str, kind: str) -> dict[str, Any]:
        check_in("kind", kind, SPOKEN)
        if not question:
            raise MemsciError("The question is empty. Write one, with enough context to tell which memory is meant.")
        reply, gate = ask(self.mind, kind, question)
        known = [q.answer for one in self.mind.store.records for q in one.questions if q.text == question]
        found = {"kind": kind, "question": question, "reply": reply, "opened": "", "weight": 0.0, "right": known[:1]}
        found["closed"] = bool(gate.ids) and bool(gate.closed.all())
        if gate.ids and not found["closed"]:
            best = gate.frame().iloc[0]
            found.update(opened=best["label"], weight=float(best["weight"]))
        return found

    def _show(self, reply: dict[str, Any]) -> None:
        self._replies = [*self._replies, reply][-REPLIES:]
        self._said.value = "".join(
            f"<p><b>{SPOKEN[one['kind']]}: {escape(one['question'])}</b></p>"
            f'<p class="memsci-said">{escape(one["reply"])}</p><p class="memsci-soft">{escape(_opened(one))}</p>'
            for one in reversed(self._replies)
        )

    def _permit(self) -> None:
        """One thing at a time: no button can be pressed while something is under way."""
        with self._lock:
            for button in (self.encode_button, *self.ask_buttons.values()):
                button.disabled = self.busy
            self.forget_button.disabled = self.busy or self.memories_box.value is None

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        self.refresh()
        return bundle


def loss_chart(losses: Sequence[float], epochs: int, label: str = "") -> str:
    """The loss of each epoch so far, as an SVG in the colours of the page around it.

    Parameters
    ----------
    losses
        In nats per token, at least one.
    epochs
        How many there will be.
    label
        Of the memory.
    """
    left, right, top, bottom = 44, 430, 22, 120
    highest = ceiling(max(losses))
    across = lambda epoch: left + (right - left) * (epoch - 1) / max(epochs - 1, 1)
    down = lambda loss: bottom - (bottom - top) * loss / highest
    points = [(across(epoch), down(loss)) for epoch, loss in enumerate(losses, start=1)]
    told = f"Loss of {label!r} in nats per token after each epoch: {', '.join(f'{loss:.2f}' for loss in losses)}."
    grid = "".join(
        f'<path d="M{left} {down(level):.1f}H{right}" stroke="currentColor" opacity="0.25"/>'
        f'<text x="{left - 6}" y="{down(level) + 4:.1f}" text-anchor="end">{level:g}</text>'
        for level in (0, highest / 2, highest)
    )
    # Above the line, where it does not run into it as it falls.
    x, y = points[-1]
    written = f'<text x="{x + 7:.1f}" y="{y - 7:.1f}" font-weight="600">{losses[-1]:.2f}</text>'
    return (
        f'<svg viewBox="0 0 480 158" width="480" role="img" aria-label="{escape(told)}" fill="currentColor" '
        'font-family="sans-serif" font-size="11">'
        f'<text x="4" y="11">loss (nats per token): {escape(label)}</text>{grid}'
        f'<text x="{left}" y="136" text-anchor="middle">1</text>'
        f'<text x="{right}" y="136" text-anchor="middle">{epochs if epochs > 1 else ""}</text>'
        f'<text x="{(left + right) / 2}" y="150" text-anchor="middle">epoch</text>'
        f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" fill="none" '
        'stroke="var(--memsci-focus, #0072b2)" stroke-width="2.5"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--memsci-focus, #0072b2)"/>{written}</svg>'
    )


def questions_of(written: str) -> list[Question]:
    """The questions of a text that has one a line, with a bar before its answer; empty lines are passed over."""
    found = []
    for line in filter(str.strip, written.splitlines()):
        question, _, answer = (part.strip() for part in line.rpartition(_BAR))
        if not (question and answer):
            raise MemsciError(
                f"The test question {short(line)} has no answer. Write both in one line: Who hid the letter? {_BAR} Nora"
            )
        found.append(Question(question, answer))
    return found


def _opened(reply: Mapping[str, Any]) -> str:
    right = "".join(f"Right answer: {answer}. " for answer in reply["right"])
    if reply["closed"]:
        return f"{right}The gate is closed: no memory is like this question, and the base spoke alone."
    if not reply["opened"]:
        return f"{right}There was no memory to open."
    return f"{right}Opened widest: {reply['opened']} (gate {number(reply['weight'])})"
