"""Walk through a free recall step by step: what the gate opens, where the context stands, and the curves that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from html import escape

import numpy as np
import pandas as pd
import torch
from ipywidgets import HTML, Accordion, BoundedIntText, Button, Layout, SelectionSlider, ToggleButton, VBox
from torch import Tensor

from memsci.config import Embedding
from memsci.errors import MemsciError, check_in
from memsci.gate import embedder
from memsci.memory import Memory
from memsci.phenomena import reference
from memsci.phenomena.context import Parameters, steps, stopping, walk
from memsci.phenomena.fit import Fits, events_of, looks
from memsci.phenomena.recall import peoples
from memsci.widgets.bars import GateBars
from memsci.widgets.chart import Look, chart, sample
from memsci.widgets.panel import Panel, number, plain, row, styled

WALKS = 200  # that the curves are of
NOW, ZERO, PEOPLE = "these parameters", "τ = 0", "people"  # sources of curves
MEASURES = {"spc": "recalled, by position", "pfr": "recalled first, by position", "lag crp": "next recall, by lag"}
# By how many words a list has, whose curves stand beside it: names of measures of `reference.human("free_recall")`.
OF_LENGTH = {16: "{}", **{n: f"{{}}, {n} words" for n in (10, 15, 20, 30, 40)}}

_START = "start of the list"
# Symbol, what it does, and the values of its slider.
_SHARES = tuple(k / 20 for k in range(21))
_MAIN = {
    "beta": ("β", "weight of what memories are like", (0.0, *(2.0 ** (k / 2) for k in range(-12, 14)))),
    "tau": ("τ", "weight of the context; 0: the paper's gate", (*(k / 4 for k in range(41)), 12.0, 16.0, 24.0, 32.0)),
    "encode": ("β_enc", "how far the context moves with each memory studied", _SHARES),
    "recall": ("β_rec", "how far the context moves with each memory recalled", _SHARES),
}
_MORE = {
    "start": ("β_start", "how far the context goes back to the start of the list before the first recall", _SHARES),
    "bound": ("γ", "what a recall brings back: 0 its own direction alone, 1 the whole context of its study", _SHARES),
    "primacy": ("φ_s", "how much more the first memory counts", tuple(k / 4 for k in range(41))),
    "decay": ("φ_d", "how fast that fades with position", tuple(k / 4 for k in range(41))),
    "stop": ("X₁", "probability of recalling nothing at all", (0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)),
    "growth": ("X₂", "how fast stopping grows with each recall", tuple(k / 20 for k in range(-20, 41))),
}
_DIALS = _MAIN | _MORE
_LOOKS = {
    ZERO: Look("#d55e00", "cross", "3 2"), NOW: Look("var(--memsci-now, #0072b2)"),
    PEOPLE: Look("currentColor", "ring"),
}  # fmt: skip
_STYLE = """
[data-jp-theme-light="false"] .memsci-walk { --memsci-now: #56b4e9; }
.memsci-walk .memsci-walk-bars {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 4px 24px; overflow: visible;
}
.memsci-walk .memsci-walk-bars > *, .memsci-walk .memsci-walk-bars .widget-vbox { overflow: visible; }
.memsci-walk .memsci-bar { grid-template-columns: minmax(6rem, 13rem) minmax(6rem, 1fr) 3.8rem; }
.memsci-walk .memsci-charts { display: flex; flex-flow: row wrap; gap: 4px 18px; }
.memsci-walk .memsci-legend { display: flex; flex-flow: row wrap; gap: 2px 18px; margin: 2px 0; }
.memsci-walk .memsci-stale { opacity: 0.4; }
.memsci-walk h3 { margin: 4px 0 0; font-size: inherit; font-weight: 600; }
"""


@dataclass(frozen=True)
class _Walk:
    """One free recall: numbers of the memories in turn; of every step weights, context and the probability to stop."""

    order: list[int]
    weights: Tensor  # [t + 1, n]
    contexts: Tensor  # [t + 1, n + 1]
    stop: Tensor  # [t + 1]


class RecallWalk(Panel):
    """One free recall of a list, a step at a time, and the curves of many; everything follows the sliders at once.

    Before each recall it shows how far the gate opens each memory (what was recalled is shut), where the context stands, as
    its share in the direction of every memory and of the start of the list, and the probability to end here. Below are the
    serial position curve, the first recalls and the steps in time of `WALKS` walks with these parameters, the same with
    τ = 0, which is the paper's gate and knows no order, and people's. What lies between the first two is put in by τ, not
    found. It needs no model: likenesses are computed once.

    Parameters
    ----------
    items
        The list in the order of study: words or sentences, or memories.
    scores
        f(k_j)·k_i of cue j and memory i, [n, n]. Default: inner products of their MiniLM embeddings.
        `memsci.phenomena.recall.likeness` has those of a mind.
    parameters
        To begin with, of `memsci.phenomena.context`, without a null. Default: those fitted to people, with β such that
        likenesses vary as much as words' (`memsci.phenomena.recall.peoples`).
    people
        Recalls in psifr's form, of lists as long as this one, whose curves are drawn beside. Default: those of PEERS for
        lists of 16, those of Murdock (1962) for lists of 10, 15, 20, 30 and 40, none for others.
    seed
        Of the draws.

    Attributes
    ----------
    gate_bars, context_bars : GateBars
        The weights g and the context c at the step shown.

    Examples
    --------
    ::

        shown = RecallWalk(["PIE", "CAKE", "KITE", "BONE", "GUARDIAN", "THIMBLE"])
        shown.next()                      # as the button does
        shown.change(tau=0.0)             # the paper's gate
        shown.table                       # the numbers of this step
        shown.curves                      # of many walks, and of people
        RecallWalk.of(fits, subject=63)   # a person's list, and the fit to this person
    """

    def __init__(
        self,
        items: Sequence[str | Memory],
        scores: Tensor | np.ndarray | None = None,
        parameters: Parameters | None = None,
        people: pd.DataFrame | None = None,
        seed: int = 0,
    ) -> None:
        texts = [one.text if isinstance(one, Memory) else str(one) for one in items]
        self.items = [one.id if isinstance(one, Memory) else str(one) for one in items]
        self._labels = [one.label if isinstance(one, Memory) else str(one) for one in items]
        n = len(self.items)
        if n < 2 or len(set(self.items)) < n:
            raise MemsciError(f"A list has at least two different items; {n} were given, {len(set(self.items))} different.")
        if scores is None:
            keys = embedder(None, Embedding(kind="sentence"))(texts).double()
            scores = keys @ keys.T
        self.scores = torch.as_tensor(scores, dtype=torch.float64)
        if self.scores.shape != (n, n):
            raise MemsciError(
                f"scores must be {n} × {n}, one row and column per item; {tuple(self.scores.shape)} were given."
            )
        self._people, self._who = _curves_of_people(people, n)
        self._first = self._checked(parameters or peoples(self.scores))
        self._step = 0
        self._curves = pd.DataFrame()
        self._make_controls(seed)
        super().__init__([styled(_STYLE), *self._arranged()])
        self.add_class("memsci-walk")
        self._walk_anew()

    @classmethod
    def of(cls, fits: Fits, subject: object, number: int = 0, model: str = "both", seed: int = 0) -> RecallWalk:
        """The walk through a list that a person studied, by the model fitted to this person, beside the person's curves.

        Parameters
        ----------
        fits
            From `memsci.phenomena.fit.free_recall`.
        subject
            Whose fit: of a pooled one "all".
        number
            Which of the subject's lists, from 0.
        model
            Which of the models.
        """
        parameters = fits.parameters(model, subject)
        mine = fits.material.rows
        own = np.arange(len(mine)) if subject not in set(mine["subject"]) else np.flatnonzero(mine["subject"] == subject)
        if not 0 <= number < len(own):
            raise MemsciError(f"Subject {subject!r} studied {len(own)} lists, counted from 0; number {number} was given.")
        ((_, _, scores),) = fits.material.batches(own[[number]])
        events = fits.events[fits.events["subject"].isin(mine["subject"].iloc[own])]
        return cls(mine["items"].iloc[own[number]], scores[0], parameters, events, seed)

    # Controls

    def _make_controls(self, seed: int) -> None:
        self.dials: dict[str, SelectionSlider] = {}
        for name, (symbol, does, values) in _DIALS.items():
            value = getattr(self._first, name)
            self.dials[name] = SelectionSlider(
                options=_options(values, value), value=value, description=symbol, tooltip=does, continuous_update=True,
                layout=Layout(width="28rem", max_width="98%"), style={"description_width": "3.6rem"},
            )  # fmt: skip
            self.dials[name].observe(self.handling(self._turned), "value")
        small = {"layout": Layout(width="auto")}
        self.back_button = Button(description="Back", tooltip="One recall back", **small)
        self.next_button = Button(description="Next", button_style="primary", tooltip="One recall on", **small)
        self.whole_button = Button(description="Whole walk", tooltip="To the end of this recall", **small)
        self.first_button = Button(
            description="First parameters", tooltip="All sliders as they were at the beginning", **small
        )
        self.seed_box = BoundedIntText(
            seed, min=0, max=2**31 - 1, description="Seed", tooltip="Another seed is another recall of the same list",
            layout=Layout(width="9rem"), style={"description_width": "2.6rem"},
        )  # fmt: skip
        self.gate_bars = GateBars(
            title="Gate: probability that a memory comes next", editable=False, mark="comes next in this walk"
        )
        self.context_bars = GateBars(
            title="Context: its share in the direction of each memory", editable=False, mark="recalled last: the cue"
        )
        self._said, self._charts, self._note = HTML(), HTML(), HTML()
        self.numbers_button = ToggleButton(False, description="Numbers", tooltip="Show the numbers that are drawn")
        self._numbers = HTML(layout=Layout(display="none"))
        self.back_button.on_click(self.handling(lambda _: self.back()))
        self.next_button.on_click(self.handling(lambda _: self.next()))
        self.whole_button.on_click(self.handling(lambda _: self.whole()))
        self.first_button.on_click(self.handling(lambda _: setattr(self, "parameters", self._first)))
        self.seed_box.observe(self.handling(self._turned), "value")
        self.numbers_button.observe(self.handling(self._numbers_wanted), "value")

    def _arranged(self) -> list:
        does = lambda dials: HTML(
            f'<span class="memsci-soft">{"; ".join(f"{symbol}: {does}" for symbol, does, _ in dials.values())}.</span>'
        )
        bars = row(
            VBox([HTML("<h3>Gate: what may come next</h3>"), self.gate_bars]),
            VBox([HTML("<h3>Context: where in the list it stands</h3>"), self.context_bars]),
        )
        bars.remove_class("memsci-row")
        bars.add_class("memsci-walk-bars")
        more = Accordion([VBox([*(row(self.dials[name]) for name in _MORE), does(_MORE)])], titles=["Advanced"])
        return [
            row(*(self.dials[name] for name in _MAIN)),
            does(_MAIN),
            row(self.back_button, self.next_button, self.whole_button, self.seed_box, self.first_button),
            self._said,
            bars,
            self._charts,
            self._note,
            row(self.numbers_button),
            self._numbers,
            more,
        ]

    # From cells

    @property
    def parameters(self) -> Parameters:
        """What the sliders say. A value that is not on a slider is put on it."""
        return Parameters(**{name: float(dial.value) for name, dial in self.dials.items()})

    @parameters.setter
    def parameters(self, given: Parameters) -> None:
        given = self._checked(given)
        with self._silently():
            for name, dial in self.dials.items():
                value = getattr(given, name)
                if value not in dict(dial.options).values():
                    dial.options = _options(_DIALS[name][2], value, getattr(self._first, name))
                dial.value = value
        self._walk_anew()

    def change(self, **values: float) -> None:
        """Set some of the parameters: ``change(tau=0.0)``."""
        for name in values:
            check_in("parameter", name, _DIALS)
        self.parameters = replace(self.parameters, **values)

    @property
    def seed(self) -> int:
        """Of the draws; another seed is another recall of the same list."""
        return self.seed_box.value

    @seed.setter
    def seed(self, value: int) -> None:
        self.seed_box.value = value

    @property
    def step(self) -> int:
        """How many recalls are behind, from 0 to as many as there are in this walk."""
        return self._step

    @step.setter
    def step(self, value: int) -> None:
        last = len(self._walk.order)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= last:
            raise MemsciError(
                f"step must be a whole number from 0 to {last}, the recalls of this walk; {value!r} was given."
            )
        self._step = value
        self._draw_step()

    def next(self) -> None:
        """One recall on, as far as the walk goes."""
        self.step = min(self._step + 1, len(self._walk.order))

    def back(self) -> None:
        """One recall back."""
        self.step = max(self._step - 1, 0)

    def whole(self) -> None:
        """To the end of the walk."""
        self.step = len(self._walk.order)

    @property
    def recalled(self) -> list[str]:
        """The items of the whole walk in the order of their recall: ids, where memories were given."""
        return [self.items[k] for k in self._walk.order]

    @property
    def stop(self) -> float:
        """Probability that recall ends at this step."""
        return self._walk.stop[self._step].item()

    @property
    def table(self) -> pd.DataFrame:
        """The step shown: position, item, recalled (its number among the recalls so far), gate and context."""
        done = {k: o for o, k in enumerate(self._walk.order[: self._step], start=1)}
        return pd.DataFrame(
            {
                "position": range(1, len(self.items) + 1),
                "item": self.items,
                "recalled": pd.array([done.get(k) for k in range(len(self.items))], dtype="Int64"),
                "gate": self._walk.weights[self._step].tolist(),
                "context": self._walk.contexts[self._step, 1:].tolist(),
            }
        )

    @property
    def curves(self) -> pd.DataFrame:
        """The curves drawn: source ("these parameters", "τ = 0", "people"), measure, condition, value."""
        self.wait()
        return self._curves.copy()

    def summary(self) -> str:
        """Parameters, the step shown, and the curves."""
        given = self.parameters
        told = ", ".join(f"{symbol} {getattr(given, name):.4g}" for name, (symbol, _, _) in _DIALS.items())
        table = self.table.assign(item=self._labels)
        table["recalled"] = table["recalled"].astype(object).where(table["recalled"].notna(), "–")
        lines = [f"{len(self.items)} items, seed {self.seed}; {told}", *self._told(), plain(table)]
        lines.append(f"{_START} in the context {number(self._walk.contexts[self._step, 0].item())}")
        lines.append(f"curves of {WALKS} walks; what differs from τ = 0 is put in by τ")
        for (measure, source), own in self.curves.groupby(["measure", "source"], sort=False):
            first, last = own["condition"].iloc[[0, -1]]
            lines.append(f"{measure} {first} to {last}, {source}: {' '.join(map(number, own['value']))}")
        return "\n".join([*lines, self._who])

    # What follows a change

    def _checked(self, given: Parameters) -> Parameters:
        values = {one.name: float(getattr(given, one.name)) for one in fields(given)}
        if values.pop("null") != -np.inf:
            raise MemsciError("The walk has no null: give parameters with null=-math.inf.")
        if not all(map(np.isfinite, values.values())):
            raise MemsciError("Walks draw from the gate, so all parameters must be finite: give a large number instead.")
        return Parameters(**values)

    def _turned(self, _: object) -> None:
        if not self._quiet:
            self._walk_anew()

    def _walk_anew(self) -> None:
        """One walk at once; the curves of many in the background, of the newest parameters only."""
        given, seed, n = self.parameters, self.seed, len(self.items)
        drawn = walk(self.scores.expand(WALKS, n, n), given, seed)
        order = [k for k in drawn[0].tolist() if k >= 0]
        shown = torch.tensor([[*order, -1]])
        log_g, contexts = steps(shown, self.scores[None], given)
        # When all were recalled nothing is left to open.
        weights = log_g[0].exp().nan_to_num(0.0)
        self._walk = _Walk(order, weights, contexts[0], stopping(n, given)[: len(order) + 1])
        self._step = min(self._step, len(order))
        self._draw_step()
        self._charts.add_class("memsci-stale")
        self.run(lambda: self._many(drawn, given, seed), self._draw_curves, key="curves")

    def _many(self, drawn: Tensor, given: Parameters, seed: int) -> tuple[Parameters, pd.DataFrame]:
        walks = {NOW: drawn} if given.tau else {}
        n = len(self.items)
        walks[ZERO] = walk(self.scores.expand(WALKS, n, n), given.without_context(), seed) if given.tau else drawn
        rows = pd.DataFrame({"subject": [*walks], "list": 1, "items": [tuple(self.items)] * len(walks)})
        made = looks(events_of(rows, [*walks.values()])).rename(columns={"subject": "source"})
        table = pd.concat([made, self._people], ignore_index=True)
        table = table[table["measure"].isin(list(MEASURES))].assign(condition=lambda rows: rows["condition"].astype(int))
        place = {name: k for k, name in enumerate((*MEASURES, *_LOOKS))}
        by = [table["measure"].map(place), table["source"].map(place), table["condition"]]
        order = np.lexsort([one.to_numpy() for one in by[::-1]])
        return given, table.iloc[order][["source", "measure", "condition", "value"]].reset_index(drop=True)

    # Drawing

    def _numbers_wanted(self, _: object) -> None:
        self._numbers.layout.display = None if self.numbers_button.value else "none"

    def _name(self, k: int) -> str:
        return f"{k + 1} {self._labels[k]}"

    def _told(self) -> list[str]:
        """The step in words."""
        order, step, n = self._walk.order, self._step, len(self.items)
        so_far = ", ".join(map(self._name, order[:step])) or "nothing yet"
        lines = [f"Step {step} of {len(order)}. Recalled so far: {so_far}."]
        ends = f"P(stop) = {number(self.stop)}"
        if step < len(order):
            come, share = self._name(order[step]), number(self._walk.weights[step, order[step]].item())
            lines.append(f"It may end here: {ends}. In this walk {come} comes next (gate {share}).")
        elif step == n:
            lines.append("The walk is over: all were recalled.")
        else:
            lines.append(f"The walk is over: here it stopped ({ends}).")
        return lines

    def _draw_step(self) -> None:
        now, done = self._walk, {k: o for o, k in enumerate(self._walk.order[: self._step], start=1)}
        names = [self._name(k) + (f" (recall {done[k]})" if k in done else "") for k in range(len(self.items))]
        coming = now.order[self._step : self._step + 1]
        last = now.order[max(self._step - 1, 0) : self._step]
        with self.gate_bars.hold_sync():
            self.gate_bars.ids, self.gate_bars.labels = self.items, names
            self.gate_bars.weights = now.weights[self._step].tolist()
            self.gate_bars.marked = [self.items[k] for k in coming]
            self.gate_bars.rest = f"to end here: P(stop) = {number(self.stop)}"
        with self.context_bars.hold_sync():
            self.context_bars.ids, self.context_bars.labels = ["", *self.items], [_START, *names]
            self.context_bars.weights = now.contexts[self._step].tolist()
            self.context_bars.marked = [self.items[k] for k in last]
        self._said.value = f'<div role="status" aria-live="polite">{escape(" ".join(self._told()))}</div>'

    def _draw_curves(self, found: tuple[Parameters, pd.DataFrame]) -> None:
        given, table = found
        self._curves = table
        names = {ZERO: "τ = 0: keys alone, no order", NOW: f"τ = {given.tau:.3g}: order put in by τ", PEOPLE: PEOPLE}
        shown = [name for name in _LOOKS if name in set(table["source"])]
        legend = "".join(f"<span>{sample(_LOOKS[name])} {escape(names[name])}</span>" for name in shown)
        charts = []
        for measure, title in MEASURES.items():
            part = table[table["measure"] == measure]
            lines = {
                name: list(zip(own["condition"], own["value"])) for name in shown
                if len(own := part[part["source"] == name])
            }  # fmt: skip
            if lines:
                told = f"{title[0].upper()}{title[1:]}: {'; '.join(names[name] for name in lines)}. See Numbers."
                axis = "lag in the list" if measure == "lag crp" else "position in the list"
                charts.append(chart(title, lines, _LOOKS, axis, told))
        self._charts.value = f'<div class="memsci-legend">{legend}</div><div class="memsci-charts">{"".join(charts)}</div>'
        about = f"Curves of {WALKS} walks through this list. {self._who}"
        self._note.value = f'<span class="memsci-soft">{escape(about)}</span>'
        wide = table.pivot(index=["measure", "condition"], columns="source", values="value")
        wide = wide.reindex(index=pd.MultiIndex.from_frame(table[["measure", "condition"]].drop_duplicates()))
        self._numbers.value = (
            wide[shown]
            .reset_index()
            .rename_axis(columns=None)
            .to_html(index=False, float_format=number, na_rep="–", border=0, classes="memsci-numbers")
        )
        self._charts.remove_class("memsci-stale")


def _curves_of_people(events: pd.DataFrame | None, n: int) -> tuple[pd.DataFrame, str]:
    """Means over people of what is drawn, and whose they are; nothing where their lists are of another length."""
    columns = ["source", "measure", "condition", "value"]
    if events is None:
        found = reference.human("free_recall")
        names = {OF_LENGTH[n].format(measure): measure for measure in MEASURES} if n in OF_LENGTH else {}
        found = found[found["measure"].isin(list(names))].assign(source=PEOPLE)
        found["measure"] = found["measure"].map(names)
        if found.empty:
            told = f"People's curves are of lists of {', '.join(map(str, sorted(OF_LENGTH)))} words, this list has {n}"
            return found[columns], f"{told}: none are drawn."
        many = f"{found['n'].iloc[0]:.0f}" + (f" {found['unit'].iloc[0]}" if found["unit"].notna().all() else "")
        return found[columns], f"People: {many}, lists of {n} words ({found['citation'].iloc[0]})."
    lengths = events[events["trial_type"] == "study"].groupby(["subject", "list"]).size()
    if set(lengths) != {n}:
        raise MemsciError(
            f"The people's lists have {sorted(set(lengths))} items, this list has {n}. Give recalls of lists as long."
        )
    found = looks(events).groupby(["measure", "condition"], sort=False)["value"].mean().reset_index()
    who = events["subject"].nunique()
    return found.assign(source=PEOPLE)[columns], f"People: {who} of the data given, {len(lengths)} lists of {n}."


def _options(values: Sequence[float], *more: float) -> list[tuple[str, float]]:
    return [(f"{value:.3g}", value) for value in sorted({*map(float, values), *map(float, more)})]
