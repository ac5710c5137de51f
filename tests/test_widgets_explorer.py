"""The interference explorer: its numbers are those of the run's curves, whatever is ticked."""

from __future__ import annotations

import base64
import io
import itertools
import json
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ipywidgets")

from matplotlib import pyplot as plt

from memsci.errors import MemsciError
from memsci.measures.forgetting import bin_lags
from memsci.runs.folder import write_table
from memsci.runs.tables import curves, per_partition
from memsci.widgets.explorer import InterferenceExplorer

STOPS = {1: (1,), 2: (1, 2), 4: (1, 3, 4)}  # positions asked about at each
NUMBERS = ["mean", "low", "high"]


def scores(datasets=("episodic",), partitions=6, methods=("Base", "RAG", "Full", "Full+EWC", "MEGa"), setting=("",)):
    rng = np.random.default_rng(0)
    rows = []
    for dataset, partition, method, tried in itertools.product(datasets, range(partitions), methods, setting):
        for stop, positions in STOPS.items():
            key = {"dataset": dataset, "partition": partition, "method": method, "setting": tried, "stop": stop}
            rows.append({**key, "metric": "random pair cos", "value": 0.3 + partition / 50})
            rows.append({**key, "metric": "knowledge", "subject": "sums", "question": "1 + 1?", "value": 1.0})
            gates = ("own", "true") if method == "MEGa" and stop == 4 else ("own",)
            for position, way, gate in itertools.product(positions, ("direct", "recall first"), gates):
                about = {**key, "memory_id": f"m{position}", "position": position, "way": way, "gate": gate}
                for metric in ("qa", "recall cos", *(["correct gate"] if method == "MEGa" else [])):
                    value = rng.random() if metric == "recall cos" else float(rng.random() < 0.5)
                    rows.append({**about, "question": "who?", "metric": metric, "value": value})
    frame = pd.DataFrame(rows)
    texts = ["memory_id", "way", "gate", "question", "subject"]
    return frame.assign(protocol="", higher_is_better=True).fillna(dict.fromkeys(texts, ""))


def expected(frame, metric, labels, over="first memory", partitions=None):
    """The rows of a run's own table of curves; lags in bins, as figures show them."""
    frame = frame if partitions is None else frame[frame["partition"].isin(partitions)]
    values = per_partition(frame)
    values = values[(values["over"] == over) & (values["metric"] == metric)]
    table = curves(values if over == "first memory" else bin_lags(values))
    at = ["stop"] if over == "first memory" else ["lag", "until"]
    parts = []
    for label in labels:
        method, way = ("MEGa", "recall first") if label == "iRAG" else (label, "direct")
        if label.startswith("iRAG on "):
            method, way = label.removeprefix("iRAG on "), "recall first"
        parts.append(table[(table["method"] == method) & (table["way"] == way)].assign(method=label).sort_values(at))
    return pd.concat(parts)[["method", *at, *NUMBERS, "n"]].reset_index(drop=True)


def same(explorer, frame, over="first memory", **kwargs):
    right = expected(frame, explorer.metric, explorer.methods, over, **kwargs)
    pd.testing.assert_frame_equal(explorer.table, right, check_dtype=False, rtol=0, atol=1e-12)
    return True


def svg(explorer):
    return ElementTree.fromstring(explorer._figure.value)


def texts(explorer):
    return ["".join(one.itertext()) for one in svg(explorer).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def frame():
    return scores()


@pytest.fixture
def explorer(frame):
    return InterferenceExplorer(frame)


def test_what_is_offered(explorer):
    assert explorer.all_metrics == ["qa", "recall cos", "correct gate"] and explorer.metric == "qa"
    iragged = [f"iRAG on {name}" for name in ("Base", "Full", "Full+EWC", "RAG")]
    assert explorer.all_methods == ["Base", "RAG", "Full", "Full+EWC", "MEGa", "iRAG", *iragged]
    assert explorer.methods == ["Base", "RAG", "Full", "Full+EWC", "MEGa", "iRAG"]
    assert explorer.partitions == explorer.all_partitions == [*range(6)] and explorer.over == "first memory"
    explorer.metric = "correct gate"
    assert explorer.all_methods == ["MEGa"]  # it alone has gates, and they are the same for both ways
    explorer.metric = "recall cos"
    assert explorer.all_methods == ["Base", "RAG", "Full", "Full+EWC", "MEGa"]
    explorer.metric = "qa"
    assert "iRAG" in explorer.all_methods


@pytest.mark.parametrize("metric", ["qa", "recall cos", "correct gate"])
@pytest.mark.parametrize("over", ["first memory", "lag"])
def test_the_numbers_are_those_of_the_runs_table_of_curves(explorer, frame, metric, over):
    explorer.metric, explorer.over = metric, over
    assert same(explorer, frame, over)


def test_partitions_and_methods_chosen(explorer, frame):
    explorer.metric = "recall cos"
    explorer.partitions = [5, 2, 3, 0, 1]
    assert explorer.partitions == [0, 1, 2, 3, 5] and same(explorer, frame, partitions=[0, 1, 2, 3, 5])
    assert "over 5 partitions" in explorer._note.value
    explorer.methods = ["MEGa", "Full"]
    assert set(explorer.table["method"]) == {"Full", "MEGa"} and same(explorer, frame, partitions=[0, 1, 2, 3, 5])
    assert {"Full", "MEGa"} <= set(texts(explorer)) and "Base" not in texts(explorer)
    explorer.methods = "MEGa"
    explorer.partitions = [1]
    assert explorer.table[["low", "high"]].isna().all(axis=None) and set(explorer.table["n"]) == {1}
    assert "no interval" in explorer._note.value
    explorer.partitions = [0, 1, 2, 3]
    assert explorer.table[["low", "high"]].isna().all(axis=None) and "Fewer than 5" in explorer._note.value
    explorer.partitions = [1]
    explorer.metric = "qa"  # what was chosen stays
    assert explorer.methods == ["MEGa"] and explorer.partitions == [1]
    explorer.methods = ["MEGa", "iRAG"]
    explorer.metric = "recall cos"
    assert explorer.methods == ["MEGa"]
    explorer.metric = "qa"
    assert explorer.methods == ["MEGa", "iRAG"]


def test_ticking_by_hand_is_the_same_as_choosing_from_a_cell(explorer, frame):
    explorer.method_boxes["Base"].value = False
    explorer.partition_boxes[4].value = False
    assert "Base" not in explorer.methods and same(explorer, frame, partitions=[0, 1, 2, 3, 5])
    explorer.over_box.value = "lag"
    explorer.metric_box.value = "recall cos"
    assert same(explorer, frame, "lag", partitions=[0, 1, 2, 3, 5])
    *_, every, none = explorer._partitions_row.children
    none.click()
    assert explorer.partitions == [] and "No partition" in explorer.status.value
    every.click()
    assert explorer.partitions == [*range(6)] and not explorer.status.value and same(explorer, frame, "lag")


def test_the_buttons_for_all_and_none_stay_the_same(explorer):
    buttons = lambda: [row.children[-2:] for row in (explorer._methods_row, explorer._partitions_row)]
    before = buttons()
    explorer.metric = "recall cos"
    explorer.metric = "qa"
    assert buttons() == before and explorer._methods_row.children[1] is explorer.method_boxes["Base"]


def test_the_button_shows_the_numbers_and_they_stay(explorer):
    assert explorer._numbers.layout.display == "none"
    explorer.numbers_button.value = True
    explorer.metric, explorer.methods = "recall cos", ["MEGa"]
    assert explorer._numbers.layout.display is None
    cells = [cell.text for cell in ElementTree.fromstring(explorer._numbers.value).iter("td")]
    row = explorer.table.iloc[0]
    assert cells[:6] == ["MEGa", "1", *(f"{row[name]:.4f}" for name in NUMBERS), "6"] and len(cells) == 18
    explorer.numbers_button.value = False
    assert explorer._numbers.layout.display == "none"


def test_a_link_saves_the_numbers_as_a_csv_file(explorer):
    explorer.metric, explorer.methods, explorer.partitions = "recall cos", ["MEGa", "Full+EWC"], [0, 2]
    link = ElementTree.fromstring(explorer._link.value)
    assert link.text == "Save these numbers (CSV)" and "first-memory_partitions-0-2.csv" in link.get("download")
    kind, _, content = link.get("href").partition(";base64,")
    saved = pd.read_csv(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:text/csv;charset=utf-8"
    pd.testing.assert_frame_equal(saved, explorer.table, check_dtype=False, rtol=1e-5)
    explorer.methods = []
    assert explorer._link.value == ""


def test_one_choice_is_drawn_once(explorer, monkeypatch):
    drawn = []
    monkeypatch.setattr(explorer, "_draw", lambda: drawn.append(1))
    explorer.partitions = [0]
    explorer.methods = ["MEGa", "RAG"]
    explorer.metric = "recall cos"
    assert len(drawn) == 3


def test_as_text(explorer):
    explorer.metric, explorer.methods, explorer.partitions = "recall cos", ["MEGa"], [0, 1, 2, 3, 5]
    lines = explorer._repr_mimebundle_()["text/plain"].splitlines()
    assert lines[0] == "episodic, recall cosine, first memory, partitions 0, 1, 2, 3, 5"
    assert lines[1].split() == ["method", "stop", *NUMBERS, "n"]
    row = explorer.table.iloc[0]
    assert lines[2].split() == ["MEGa", "1", *(f"{row[name]:.4f}" for name in NUMBERS), "5"]
    assert len(lines) == 6 and lines[-1] == "random pair 0.3440"
    explorer.over = "lag"
    assert "random" not in repr(explorer)
    explorer.partitions = [0]
    assert repr(explorer).splitlines()[0].endswith("lag, partition 0") and "–" in repr(explorer)


def test_the_figure_follows_the_theme_and_is_told_in_words(explorer, frame):
    explorer.metric = "recall cos"
    written = explorer._figure.value
    root = svg(explorer)
    told = root.get("aria-label")
    assert root.get("role") == "img" and "MEGa" in told and "memories stored" in told
    assert {"random pair", "memories stored", "recall cosine", "MEGa", "RAG"} <= set(texts(explorer))
    for fixed in ("#000000", "#ffffff", "#FFFFFF", "fill: black", "fill: white"):
        assert fixed not in written
    assert "stroke: currentColor" in written and "var(--memsci-grid, #e3e3e3)" in written
    assert "#d55e00" in written and "var(--memsci-deep, #00406b)" in written
    assert InterferenceExplorer(frame)._figure.value != written
    again = InterferenceExplorer(frame)
    again.metric = "recall cos"
    assert again._figure.value == written


def test_drawing_leaves_matplotlib_as_it_was(frame):
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    InterferenceExplorer(frame).over = "lag"
    assert dict(mpl.rcParams) == before and plt.get_fignums() == figures


def test_several_datasets_and_settings():
    frame = scores(("episodic", "semantic"), 2, ("Full+L2", "MEGa"), ("", "strength=0.1"))
    explorer = InterferenceExplorer(frame[(frame["dataset"] == "episodic") | (frame["partition"] == 0)])
    assert list(explorer.table.columns) == ["method", "setting", "stop", *NUMBERS, "n"]
    assert "Full+L2, λ = 0.1" in texts(explorer)
    explorer.dataset = "semantic"
    assert explorer.partitions == explorer.all_partitions == [0] and repr(explorer).startswith("semantic, ")
    assert set(explorer.table["n"]) == {1}


def test_from_a_run_on_disk_and_from_its_tables(tmp_path, frame):
    (tmp_path / "run.json").write_text(json.dumps({"experiment": "main"}))
    with pytest.raises(MemsciError, match="no table of its partitions"):
        InterferenceExplorer(tmp_path)
    values = per_partition(frame)
    write_table(tmp_path, "partitions", values)
    explorer = InterferenceExplorer(str(tmp_path))
    assert same(explorer, frame) and explorer.all_partitions == [*range(6)]
    explorer.metric = "recall cos"
    for given in (frame, values):
        other = InterferenceExplorer(given)
        other.metric = "recall cos"
        assert repr(explorer) == repr(other) and "random pair 0.3500" in repr(other)
    with pytest.raises(MemsciError, match="no run is called"):
        InterferenceExplorer(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [("metric", "knowledge"), ("dataset", "wiki"), ("over", "stop"), ("methods", ["Fulll"]), ("partitions", [7])],
)
def test_what_is_not_there_cannot_be_chosen(explorer, name, value):
    before = repr(explorer)
    with pytest.raises(MemsciError, match=repr(value[0] if isinstance(value, list) else value)):
        setattr(explorer, name, value)
    assert repr(explorer) == before


def test_a_method_that_was_not_measured_on_the_partition_chosen_is_said_so(frame):
    explorer = InterferenceExplorer(frame[(frame["method"] != "RAG") | (frame["partition"] == 0)])
    explorer.methods, explorer.partitions = ["RAG"], [1]
    assert "Tick others" in repr(explorer) and "Tick others" in explorer.status.value and not explorer._figure.value
    explorer.partitions = [0]
    assert not explorer.status.value and set(explorer.table["method"]) == {"RAG"}
    explorer.methods = []
    assert explorer.table.empty and "No method is chosen" in repr(explorer)


def test_tables_that_cannot_show_forgetting_are_refused(frame):
    with pytest.raises(MemsciError, match="one number of memories only"):
        InterferenceExplorer(frame[frame["stop"] == 4])
    for lacking in ("way", "position"):
        with pytest.raises(MemsciError, match=f"'{lacking}'"):
            InterferenceExplorer(frame.drop(columns=lacking))
    with pytest.raises(MemsciError, match="'partition'"):
        InterferenceExplorer(curves(per_partition(frame)))
