"""A widget that draws forgetting: what becomes of a memory as others are learnt, for the methods and partitions chosen."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import pandas as pd
from ipywidgets import HTML, Button, Checkbox, Dropdown, HBox, Layout, ToggleButton, ToggleButtons
from matplotlib.figure import Figure

from memsci import figures
from memsci.errors import MemsciError, check_columns, check_in
from memsci.measures import paper
from memsci.measures.forgetting import bin_lags
from memsci.measures.methods import METHODS
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import FEWEST_UNITS
from memsci.runs.folder import locate
from memsci.runs.folder import table as run_table
from memsci.runs.tables import GROUP, curves, per_partition
from memsci.widgets.panel import Panel, number, plain, row, styled, wide

# What a curve is over (see `memsci.runs.tables.per_partition`): the column of its axis, and how it is drawn.
OVER = {"first memory": ("stop", figures.forgetting_curve), "lag": ("lag", figures.retention_curve)}
_AXES = {"stop": "memories stored", "lag": "memories learnt since"}

_COLUMNS = (*GROUP, "stop", "metric", "partition", "value")
# Colours of a figure on white, and what stands for them on a page of any theme.
_THEMED = {
    "#000000": "currentColor",  # lettering, axes, RAG
    "#ffffff": "var(--jp-layout-color0, #fff)",  # hollow markers
    "#e3e3e3": "var(--memsci-grid, #e3e3e3)",
    "#555555": "var(--memsci-soft, #555555)",  # random pairs
    "#00406b": "var(--memsci-deep, #00406b)",  # Full+EWC, too dark on black
}
_STYLE = """
.memsci-panel { --memsci-grid: var(--jp-border-color2, #e3e3e3); }
[data-jp-theme-light="false"] .memsci-panel { --memsci-deep: #a9c6de; }
"""


class InterferenceExplorer(Panel):
    """Choose a dataset, a measure, methods and partitions; see how well memories are kept as more are learnt.

    A line is a mean over the partitions chosen, its band the 95 % interval of that mean (bootstrap, see
    `memsci.measures.statistics.mean_table`), computed anew for every choice. Fewer than five partitions have no interval.

    Parameters
    ----------
    run
        The folder of a finished run, as it is or as it was shipped; or its table "partitions"; or its table "scores".

    Examples
    --------
    ::

        explorer = InterferenceExplorer("figures/runs/main")
        explorer.metric = "recall cos"
        explorer.methods = ["MEGa", "Full", "LoRA"]
        explorer.partitions = explorer.all_partitions[:5]
        explorer.table                                     # the numbers drawn; the link below the figure saves them
        explorer                                           # shows it
    """

    def __init__(self, run: pd.DataFrame | str | os.PathLike[str]) -> None:
        given = _read(run)
        self._values = _followed(given)
        self._random_pairs = given[(given["over"] == "all memories") & (given["metric"] == "random pair cos")]
        self._table = pd.DataFrame()
        self._why = ""

        datasets = list(dict.fromkeys(self._values["dataset"]))
        self.dataset_box = Dropdown(options=datasets, description="Dataset", **wide("5rem"))
        self.metric_box = Dropdown(description="Measure", **wide("5rem"))
        self.over_box = ToggleButtons(
            options=[("first memory", "first memory"), ("by how many were learnt since", "lag")],
            tooltips=["The memory learnt first, as more are stored", "All memories, by how many were learnt since"],
            description="Show",
            layout=Layout(width="auto"),
            style={"description_width": "5rem", "button_width": "auto"},
        )
        # A box for all that was ever offered; the lists below say what is offered now.
        self.method_boxes: dict[str, Checkbox] = {}
        self.partition_boxes: dict[Any, Checkbox] = {}
        self._methods: list[str] = []
        self._partitions: list[Any] = []
        self._methods_row = self._choices("Methods", self.method_boxes)
        self._partitions_row = self._choices("Partitions", self.partition_boxes)
        self._figure, self._note, self._numbers = HTML(), HTML(), HTML(layout=Layout(display="none"))
        self._link = HTML()
        self.numbers_button = ToggleButton(False, description="Numbers", tooltip="Show the numbers that are drawn")
        super().__init__(
            [
                styled(_STYLE),
                row(self.dataset_box, self.metric_box),
                self.over_box,
                self._methods_row,
                self._partitions_row,
                self._figure,
                self._note,
                row(self.numbers_button, self._link),
                self._numbers,
            ]
        )
        for box in (self.dataset_box, self.metric_box, self.over_box):
            box.observe(self.handling(self._chosen), "value")
        self.numbers_button.observe(self.handling(self._numbers_wanted), "value")
        self._offer()
        self._draw()

    # From cells

    @property
    def dataset(self) -> str:
        """The dataset drawn."""
        return self.dataset_box.value

    @dataset.setter
    def dataset(self, name: str) -> None:
        check_in("dataset", name, self.dataset_box.options)
        self.dataset_box.value = name

    @property
    def metric(self) -> str:
        """The measure drawn, one of `all_metrics`."""
        return self.metric_box.value

    @metric.setter
    def metric(self, name: str) -> None:
        check_in("metric", name, self.all_metrics)
        self.metric_box.value = name

    @property
    def over(self) -> str:
        """What a curve follows: "first memory", or "lag", all memories by how many were learnt since."""
        return self.over_box.value

    @over.setter
    def over(self, name: str) -> None:
        check_in("over", name, OVER)
        self.over_box.value = name

    @property
    def methods(self) -> list[str]:
        """Labels of the methods drawn; some of `all_methods`."""
        return [name for name in self._methods if self.method_boxes[name].value]

    @methods.setter
    def methods(self, names: Iterable[str]) -> None:
        names = [names] if isinstance(names, str) else [*names]
        for name in names:
            check_in("method", name, self.all_methods)
        self._tick(self.method_boxes, names)

    @property
    def partitions(self) -> list[Any]:
        """The partitions that the means are over; some of `all_partitions`."""
        return [name for name in self._partitions if self.partition_boxes[name].value]

    @partitions.setter
    def partitions(self, names: Iterable[Any]) -> None:
        names = [*names]
        for name in names:
            check_in("partition", name, self.all_partitions)
        self._tick(self.partition_boxes, names)

    @property
    def all_metrics(self) -> list[str]:
        """The measures that the run has for memories of this dataset."""
        return [name for _, name in self.metric_box.options]

    @property
    def all_methods(self) -> list[str]:
        """The methods that have this measure."""
        return [*self._methods]

    @property
    def all_partitions(self) -> list[Any]:
        """The partitions of this dataset."""
        return [*self._partitions]

    @property
    def table(self) -> pd.DataFrame:
        """The numbers drawn: method, setting (where there are several), stop or lag, mean, low, high, n (partitions)."""
        return self._table.copy()

    @property
    def random(self) -> float | None:
        """Where the line for random pairs of memories is drawn, what recall of a wrong memory scores; None if it is not."""
        pairs = self._random_pairs
        pairs = pairs[(pairs["dataset"] == self.dataset) & pairs["partition"].isin(self.partitions)]
        if self.metric != "recall cos" or self.over != "first memory" or pairs.empty:
            return None
        # Of each partition once: what methods have learnt changes nothing of how alike its memories are.
        return float(pairs[pairs["stop"] == pairs["stop"].max()].groupby("partition")["value"].first().mean())

    def summary(self) -> str:
        """What is drawn, and its numbers; or why nothing is."""
        told = f"{self.dataset}, {METRICS[self.metric].label}, {self.over}, {_named(self.partitions)}"
        if self._table.empty:
            return f"{told}\n{self._why}"
        line = "" if self.random is None else f"\nrandom pair {number(self.random)}"
        return f"{told}\n{plain(self._table)}{line}"

    # Choosing

    def _tick(self, boxes: dict[Any, Checkbox], names: Sequence[Any]) -> None:
        """Tick these and no others, those of other measures and datasets included."""
        with self._silently():
            for name, box in boxes.items():
                box.value = name in names
        self._draw()

    def _chosen(self, change: Any) -> None:
        if self._quiet:
            return
        if change["owner"] in (self.dataset_box, self.metric_box):
            self._offer()
        self._draw()

    def _offer(self) -> None:
        """Show what can be chosen in this dataset, with what was chosen before as far as it is there."""
        there = self._values[self._values["dataset"] == self.dataset]
        metrics = [(one.label, name) for name, one in METRICS.items() if (there["metric"] == name).any()]
        metric = self.metric_box.value
        with self._silently():
            self.metric_box.options = metrics
            self.metric_box.value = metric if metric in self.all_metrics else metrics[0][1]
            labels = sorted(set(self._measured()["label"]), key=_order)
            self._methods = self._boxes(self.method_boxes, self._methods_row, labels, _by_default)
            partitions = sorted(set(there["partition"]))
            self._partitions = self._boxes(self.partition_boxes, self._partitions_row, partitions, lambda _: True)

    def _choices(self, title: str, boxes: dict[Any, Checkbox]) -> HBox:
        """A row for boxes, with what ticks all of them and what ticks none."""
        every, none = (Button(description=text, layout=Layout(width="auto")) for text in ("all", "none"))
        every.tooltip, none.tooltip = f"{title}: all", f"{title}: none"
        every.on_click(self.handling(lambda _: self._tick(boxes, [*boxes])))
        none.on_click(self.handling(lambda _: self._tick(boxes, [])))
        return row(HTML(f"<b>{title}</b>", layout=Layout(width="5rem")), every, none)

    def _boxes(self, boxes: dict[Any, Checkbox], place: HBox, names: Sequence[Any], wanted: Any) -> list[Any]:
        """Show a tick box for every name; those that were shown before, be it elsewhere, are as they were left."""
        for name in names:
            if name not in boxes:
                boxes[name] = Checkbox(wanted(name), description=str(name), indent=False, layout=Layout(width="auto"))
                boxes[name].observe(self.handling(self._chosen), "value")
        if not any(boxes[name].value for name in names):
            for name in names:
                boxes[name].value = wanted(name)
        title, *_, every, none = place.children
        place.children = [title, *(boxes[name] for name in names), every, none]
        return [*names]

    def _measured(self) -> pd.DataFrame:
        """The values of the measure; recall comes before the way of asking, so there each learner has one way."""
        rows = self._values[(self._values["dataset"] == self.dataset) & (self._values["metric"] == self.metric)]
        if self.metric in figures.WAYLESS:
            rows = rows[rows["way"] == "direct"]
        return rows.assign(label=paper.labels(rows))

    # Drawing

    def _numbers_wanted(self, _: Any) -> None:
        self._numbers.layout.display = None if self.numbers_button.value else "none"

    def _draw(self) -> None:
        self._why = ""
        self._table = pd.DataFrame()
        try:
            means = self._means()
            figure = self._drawn(means)
        except MemsciError as error:
            self._why = str(error)
            self._figure.value = self._note.value = self._numbers.value = self._link.value = ""
            self.say_error(error)
            return
        self.say("")
        at = {"first memory": ["stop"], "lag": ["lag", "until"]}[self.over]
        several = means["setting"].nunique() > 1
        columns = ["label", *(["setting"] if several else []), *at, "mean", "low", "high", "n"]
        self._table = means[columns].rename(columns={"label": "method"}).reset_index(drop=True)
        self._figure.value = figure
        self._note.value = f'<span class="memsci-soft">{_interval(self.partitions)}</span>'
        self._numbers.value = self._table.to_html(
            index=False, float_format=number, na_rep="–", border=0, classes="memsci-numbers"
        )
        self._link.value = self._saving()

    def _saving(self) -> str:
        """A link by which the browser saves the numbers drawn as a CSV file; the file is in the link itself."""
        parts = (self.dataset, self.metric, self.over, _named(self.partitions))
        name = "_".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
        content = base64.b64encode(self._table.to_csv(index=False, float_format="%.6g").encode()).decode()
        address = f"data:text/csv;charset=utf-8;base64,{content}"
        return f'<a download="{name[:100]}.csv" href="{address}">Save these numbers (CSV)</a>'

    def _means(self) -> pd.DataFrame:
        """Means over the partitions chosen, of the methods chosen."""
        if not self.methods:
            raise MemsciError("No method is chosen. Tick at least one.")
        if not self.partitions:
            raise MemsciError("No partition is chosen. Tick at least one.")
        values = self._measured()
        chosen = values["label"].isin(self.methods) & values["partition"].isin(self.partitions)
        values = values[chosen & (values["over"] == self.over)]
        if values.empty:
            raise MemsciError("None of the methods chosen was measured on a partition chosen. Tick others.")
        means = curves(bin_lags(values) if self.over == "lag" else values)
        means["place"] = means["label"].map(self._methods.index)
        return means.sort_values(["place", "setting", OVER[self.over][0]], ignore_index=True)

    def _drawn(self, means: pd.DataFrame) -> str:
        """The figure as an SVG in the colours of the page."""
        axis, draw = OVER[self.over]
        chance = {} if self.random is None else {"random": self.random}
        # Lettering stays text: it takes the page's colour, and can be searched and read out.
        plainly = {"svg.fonttype": "none", "svg.hashsalt": "memsci"}
        with mpl.rc_context(plainly), figures.style():
            ax = Figure(layout="constrained").subplots()
            draw(means, self.metric, ax, methods=self.methods, **chance)
            written = io.BytesIO()
            ax.figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
        drawn = written.getvalue().decode()
        drawn = drawn[drawn.index("<svg") :]
        for color, themed in _THEMED.items():
            drawn = drawn.replace(color, themed)
        told = f"{METRICS[self.metric].label} by {_AXES[axis]}: {', '.join(self.methods)}; see Numbers."
        return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(told)}" fill="currentColor" ', 1)


def _read(run: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
    """The value of every partition, see `memsci.runs.tables.per_partition`."""
    if not isinstance(run, pd.DataFrame):
        folder = locate(str(run))
        run = run_table(folder, "partitions")
        if run is None:
            raise MemsciError(f"The run in {folder} has no table of its partitions yet. Finish it with memsci run first.")
    # A single score is of a question; a value of a partition is over something.
    of_scores = "over" not in run and "question" in run
    needed = (*_COLUMNS, *(["position", "memory_id", "subject"] if of_scores else ["over", "lag"]))
    check_columns("The table", needed, run.columns)
    return per_partition(run) if of_scores else run


def _followed(values: pd.DataFrame) -> pd.DataFrame:
    """The values that make curves, of measures that belong to memories."""
    found = values[values["over"].isin(list(OVER)) & values["metric"].isin(list(METRICS))]
    if found.empty:
        raise MemsciError(
            "Memories were asked about at one number of memories only, so no forgetting can be seen. Give a run with "
            "several stops, such as one of the experiment main."
        )
    return found


def _by_default(label: str) -> bool:
    return not label.startswith("iRAG on ")


def _order(label: str) -> tuple[int, str]:
    """The paper's order of methods; iRAG on a learner after all."""
    return (METHODS.index(label), "") if label in METHODS else (len(METHODS), label)


def _named(partitions: Sequence[Any]) -> str:
    names = ", ".join(map(str, partitions))
    return f"partition{'' if len(partitions) == 1 else 's'} {names}" if partitions else "no partition"


def _interval(partitions: Sequence[Any]) -> str:
    if len(partitions) == 1:
        return "One partition: a single repetition has no interval."
    if len(partitions) < FEWEST_UNITS:
        return f"Fewer than {FEWEST_UNITS} partitions: no interval."
    return f"Bands: 95 % interval of the mean over {len(partitions)} partitions (bootstrap)."
