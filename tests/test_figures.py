"""Figures: what is drawn is the table, the files are the same bytes each time, and no model is needed."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

mpl.use("Agg")

import matplotlib.pyplot as plt

from memsci import figures
from memsci.errors import MemsciError
from memsci.figures.series import swept
from memsci.measures import paper
from memsci.measures.methods import METHODS

IDS = ["m", "c", "x"]  # in the order of encoding, which is not that of the alphabet
LABELS = {"m": "Nora and the letter", "c": "The kite", "x": "Ada sings"}
WEIGHTS = np.array([[0.75, 0.25, 0.0], [0.125, 0.5, 0.375]])


def table(order=((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 0))) -> pd.DataFrame:
    """The weights as a gate's table has them: by query, the best memory first."""
    rows = [(q, IDS[i], LABELS[IDS[i]], float(i), WEIGHTS[q, i], rank % 3 + 1) for rank, (q, i) in enumerate(order)]
    return pd.DataFrame(rows, columns=["query", "id", "label", "score", "weight", "rank"])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(ax) -> np.ndarray:
    return np.asarray(ax.collections[0].get_array()).reshape(WEIGHTS.shape)


def names(ax) -> list[str]:
    return [tick.get_text() for tick in ax.get_xticklabels()]


def test_the_map_shows_the_weights_with_memories_in_their_order():
    frame = table()
    ax = figures.gate_map(frame)
    assert_array_equal(drawn(ax), WEIGHTS)
    assert_array_equal(drawn(ax), frame.pivot(index="query", columns="id", values="weight")[IDS])
    assert names(ax) == ["Nora and the letter 1", "The kite 2", "Ada sings 3"]
    assert names_of(ax) == ["1", "2"]
    assert ax.collections[0].get_clim() == (0, 1)  # so that figures can be compared
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first query is on top
    assert ax.figure.axes[1].get_ylabel() == "gate g"
    assert "memory" in ax.get_xlabel() and "question" in ax.get_ylabel() and ax.get_title(loc="left")


def test_the_order_of_the_memories_can_be_given():
    """A gate's table starts with the best memory of the first query; the mind knows the order of encoding."""
    frame = table(((0, 2), (0, 0), (0, 1), (1, 1), (1, 2), (1, 0)))
    assert names(figures.gate_map(frame)) == ["Ada sings 1", "Nora and the letter 2", "The kite 3"]
    ax = figures.gate_map(frame, ids=IDS)
    assert_array_equal(drawn(ax), WEIGHTS)
    assert names(ax) == ["Nora and the letter 1", "The kite 2", "Ada sings 3"]


def test_many_memories_are_numbered_alike_at_both_axes_of_both_maps():
    ids = [f"m{k}" for k in range(50)]
    rows = [(q, ids[k], "a story", float(q == k)) for q in range(50) for k in range(50)]
    ax = figures.gate_map(pd.DataFrame(rows, columns=["query", "id", "label", "weight"]))
    assert names(ax) == names_of(ax) == ["1", "10", "20", "30", "40", "50"]
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == [0.5, 9.5, 19.5, 29.5, 39.5, 49.5]  # amid their cells
    shares = pd.DataFrame({"memory_id": ids, "top_id": ids, "share": 1.0})
    assert names(figures.confusion(shares)) == names(ax)


def test_memories_of_one_label_stay_apart():
    ax = figures.gate_map(table().assign(label="a story"))
    assert_array_equal(drawn(ax), WEIGHTS)
    assert names(ax) == ["a story 1", "a story 2", "a story 3"]


def test_a_map_is_drawn_into_given_axes_and_leaves_no_settings_behind():
    before = dict(mpl.rcParams)
    _, (left, right) = plt.subplots(1, 2)
    assert figures.gate_map(table(), ax=right) is right
    assert not left.collections and right.collections and len(plt.get_fignums()) == 1
    assert dict(mpl.rcParams) == before


def test_matplotlib_stays_interactive_if_its_backend_becomes_so_within_the_style():
    """As Jupyter's does at the first figure; else no figure after it would be shown."""
    with plt.ioff():
        with figures.style():
            mpl.interactive(True)
        assert mpl.is_interactive()


def test_saving_gives_the_same_bytes_and_the_table(tmp_path):
    frame = table()
    first = figures.save(figures.gate_map(frame), tmp_path / "a" / "gate_0.5", frame)
    assert [path.name for path in first] == ["gate_0.5.png", "gate_0.5.pdf", "gate_0.5.csv"]
    assert plt.get_fignums() == []
    second = figures.save(figures.gate_map(frame), tmp_path / "b" / "gate_0.5", frame)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(b"\x89PNG") and first[1].read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(first[2]), frame, check_dtype=False)


@pytest.mark.parametrize(("size", "width"), [("column", 90), ("page", 190)])
def test_a_journal_gets_its_width_its_dots_no_title_and_a_caption_beside(tmp_path, size, width):
    frame = results()
    ax = figures.forgetting_curve(frame, title="A title", size=size)
    assert ax.get_title() == ax.get_title(loc="left") == ""
    files = figures.save(ax.figure, tmp_path / "one", frame, size=size, caption="What it shows. n = 20.")
    assert [path.suffix for path in files] == [".png", ".pdf", ".csv", ".txt"]
    picture = Image.open(files[0])
    assert picture.size[0] == pytest.approx(width / 25.4 * 300, abs=2)
    assert picture.info["dpi"][0] == pytest.approx(300, abs=1)
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", files[1].read_bytes())
    assert float(box[1]) == pytest.approx(width / 25.4 * 72, abs=0.5)  # the vector file has the same width
    assert files[3].read_text() == "What it shows. n = 20.\n"
    # Drawn for print, it still comes out as wide, without its titles.
    figure, axes = plt.subplots(layout="constrained")
    axes.set_title("Inside", loc="left")
    figure.suptitle("Above")
    made = figures.save(figure, tmp_path / "two", size=size)
    assert [path.name for path in made] == ["two.png", "two.pdf"] and axes.get_title(loc="left") == ""
    assert figure.get_suptitle() == "" and Image.open(made[0]).size[0] == picture.size[0]


def test_in_a_column_the_legend_stands_below(tmp_path):
    ax = figures.forgetting_curve(results(), size="column")
    ax.figure.draw_without_rendering()
    [legend] = ax.figure.legends
    assert legend.get_window_extent().y1 < ax.xaxis.label.get_window_extent().y0
    assert legend.get_window_extent().x1 <= ax.figure.bbox.x1
    assert ax.get_window_extent().height > 0.4 * mpl.rcParams["figure.dpi"] * 2.2  # the legend leaves it its room


def test_a_caption_says_n_the_interval_the_test_and_what_is_saturated():
    means = pd.DataFrame({"method": ["RAG", "Full", "Base"], "mean": [1, 0.4, 0], "low": 0.1, "high": 1, "n": [5, 8, 8]})
    said = figures.caption("Answers.", means, "qa", unit="list")
    assert said.startswith("Answers. Means over n = 5–8 lists; bars or bands: 95 % interval")
    assert said.endswith("No test is shown. At 0 % throughout: Base. At 100 % throughout: RAG.")
    flat = figures.caption("Gates", means.assign(mean=1.0), "correct gate", test="t(7) = 2.1")
    assert flat.endswith("t(7) = 2.1. Every value is 100 %: no difference can be seen here.")
    few = figures.caption("Few", means.assign(low=np.nan, n=1), "logprob")
    assert "Means over n = 1 partition: too few for an interval" in few
    single = pd.DataFrame({"partition": [0, 1, 1], "mean": [1, 0.5, 0.2]})
    assert figures.caption("Each", single, "correct gate") == "Each. A point is one partition, n = 2. No test is shown."
    assert figures.caption("Cells", pd.DataFrame({"share": [1]})) == "Cells. No means and no test are shown."
    tests = pd.DataFrame({"difference": [0.1, 0.2], "low": 0.0, "high": 1.0, "p adjusted": [0.001, 0.04], "n": 12})
    assert "on the same partitions, p after Holm's correction 0.001 to 0.04." in figures.caption("D", tests, "qa")


def test_log_probabilities_have_points_and_no_bars():
    frame = pd.DataFrame({"method": ["Full", "MEGa"], "metric": "logprob", "mean": -2.0, "sd": 0.1, "n": 20})
    frame = frame.assign(low=-2.5, high=-1.5)
    ax = figures.method_bars(frame, "logprob")
    assert len(ax.patches) == 0 and all(line.get_xdata()[0] == -2 for line in ax.lines if len(line.get_xdata()) == 1)
    assert len(figures.method_bars(frame.assign(metric="qa", mean=0.5, low=0.4, high=0.6), "qa").patches) == 2


def test_a_figure_is_drawn_again_from_its_table_without_torch(tmp_path):
    """In another process too, byte for byte."""
    frame = table()
    files = figures.save(figures.gate_map(frame), tmp_path / "gate", frame)
    program = (
        "import sys, pandas as pd; from memsci import figures; frame = pd.read_csv(sys.argv[1]);"
        "figures.save(figures.gate_map(frame), sys.argv[2], frame);"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    again = subprocess.run(
        [sys.executable, "-c", program, files[2], tmp_path / "again"], capture_output=True, text=True, check=True
    )
    assert again.stdout.strip() == "set()"
    assert all(path.read_bytes() == path.with_stem("again").read_bytes() for path in files)


# Figures of results. The numbers are made up: test data, of no model.

STOPS = (1, 2, 5, 10)
ENDS = {"Base": 0.1, "RAG": 0.95, "Full+EWC": 0.2, "MEGa": 0.8}  # QA of each method at the last stop


def point(mean: float, **key) -> dict:
    return {**key, "mean": mean, "sd": 0.04, "low": mean - 0.02, "high": mean + 0.03, "n": 5}


def results(over: str = "first memory") -> pd.DataFrame:
    """Curves of four methods as a run has them, MEGa asked in both ways; unlike orders of rows and of methods."""
    rows = []
    for method, end in sorted(ENDS.items(), reverse=True):
        for way in ("direct", "recall first") if method == "MEGa" else ("direct",):
            key = {"over": over, "category": "", "dataset": "episodic", "method": method, "setting": ""}
            for metric in ("qa", "recall cos"):
                means = [end + 0.02 * (way != "direct") + (0.9 - end) / stop for stop in STOPS]
                rows += [point(m, **key, way=way, gate="own", stop=s, metric=metric) for s, m in zip(STOPS, means)]
        rows += [point(0.5 - end / s, **key, way="", gate="", stop=s, metric="knowledge") for s in STOPS]
    return pd.DataFrame(rows)


def lines(ax) -> dict[str, object]:
    """The lines that stand in the legend, in its order."""
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


TOLD = "95 % interval\nover 5 partitions"
COINCIDE = "lines that coincide\nare drawn apart"


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_forgetting_curve_is_its_table():
    frame = results()
    ax = figures.forgetting_curve(frame, "qa")
    assert legend(ax) == ["Base", "RAG", "Full+EWC", "MEGa", "iRAG", TOLD]  # the paper's order, whatever the table's
    for name, line in lines(ax).items():
        method, way = ("MEGa", "recall first") if name == "iRAG" else (name, "direct")
        rows = frame[(frame["metric"] == "qa") & (frame["method"] == method) & (frame["way"] == way)]
        assert_array_equal(line.get_xydata(), rows[["stop", "mean"]])
        assert line.get_color() == figures.METHODS_STYLE[name]["color"]
        assert line.get_marker() == figures.METHODS_STYLE[name]["marker"]
    band = ax.collections[0].get_paths()[0].vertices  # of the first method
    rows = frame[(frame["metric"] == "qa") & (frame["method"] == "Base")]
    assert {*rows["low"], *rows["high"]} <= set(band[:, 1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("memories stored", "QA accuracy (%)")
    assert ax.yaxis.get_major_formatter()(0.875) == "87.5"
    assert ax.get_yticks().tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_lines_that_no_way_of_asking_changes_stand_there_once():
    frame = results()
    assert legend(figures.forgetting_curve(frame, "recall cos")) == ["Base", "RAG", "Full+EWC", "MEGa", TOLD]
    ax = figures.knowledge_curve(frame)
    assert legend(ax) == ["Base", "RAG", "Full+EWC", "MEGa", "chance", TOLD]
    assert set(lines(ax)["chance"].get_ydata()) == {0.25} and ax.get_ylim()[0] < 0.25 < ax.get_ylim()[1]
    assert legend(figures.knowledge_curve(frame, methods=["MEGa"], chance=None)) == ["MEGa", TOLD]
    known = pd.concat([frame, frame[frame["method"] == "MEGa"].assign(gate="true")])
    labels = ["Base", "RAG", "Full+EWC", "MEGa", "MEGa, true gate"]
    assert legend(figures.forgetting_curve(known, "recall cos"))[:5] == labels


def up(ax, line) -> float:
    """How many points a line is drawn above where it is."""
    shift = line.get_transform().transform((0, 0)) - ax.transData.transform((0, 0))
    return float(shift[1] * 72 / ax.figure.dpi)


def test_lines_that_coincide_are_drawn_apart():
    """At their own values, some points up or down; lines that meet at single points are left alone."""
    means = {
        "Base": [0, 0.3, 0, 0.2],
        "Full": [1, 0.5, 0, 0],
        "LoRA": [1, 0.5, 0, 0],
        "MEGa": [1, 0.5, 0.1, 0.1],
        "RAG": [1, 0.9, 0.8, 0.7],
    }
    key = {"metric": "qa", "way": "direct"}
    frame = pd.DataFrame([point(m, **key, method=name, stop=t) for name in means for t, m in zip(STOPS, means[name])])
    frame = pd.concat([frame, pd.DataFrame([point(0, **key, method="Full batch", stop=10)])])
    ax = figures.forgetting_curve(frame, "qa")
    shown = lines(ax)
    assert all(shown[name].get_ydata().tolist() == means[name] for name in means)
    apart = {name: up(ax, line) for name, line in shown.items()}
    assert apart == pytest.approx(
        {"Base": 0, "RAG": 0, "Full": figures.APART, "LoRA": 0, "MEGa": -figures.APART, "Full batch": 0}, abs=1e-6
    )
    assert legend(ax)[-2:] == [COINCIDE, TOLD] and figures.displaced(ax.figure) == ["Full", "MEGa"]
    said = figures.caption("Answers", frame, "qa", displaced=figures.displaced(ax.figure))
    assert said.endswith("Drawn a little beside their places, as they coincide with others: Full, MEGa.")
    # Many stay near where they are.
    many = [point(1.0, **key, method=f"Mine {k}", stop=t) for k in range(9) for t in STOPS]
    crowded = figures.forgetting_curve(pd.DataFrame(many), "qa")
    steps = sorted(up(crowded, line) for line in lines(crowded).values())
    assert steps[-1] == pytest.approx(7.5) and np.diff(steps) == pytest.approx(1.875)


def test_an_axis_of_shares_begins_near_the_lowest_where_none_is_low():
    frame = results()
    high = frame.assign(**{name: 0.9 + frame[name] / 20 for name in ("mean", "low", "high")})
    ax = figures.knowledge_curve(high)
    assert 0.7 < ax.get_ylim()[0] < 0.8 < 1 < ax.get_ylim()[1] and "chance: 25 %, below" in legend(ax)
    assert ax.get_yticks().tolist() == pytest.approx([0.8, 0.85, 0.9, 0.95, 1])
    assert figures.forgetting_curve(frame, "qa").get_ylim()[0] < 0


def test_the_line_of_random_pairs_is_given_or_the_tables():
    frame = results()
    assert set(lines(figures.forgetting_curve(frame, random=0.4))["random pair"].get_ydata()) == {0.4}
    pair = pd.DataFrame([point(0.3, method="Base", stop=10, metric="random pair cos")])
    ax = figures.forgetting_curve(pd.concat([frame, pair]))
    assert set(lines(ax)["random pair"].get_ydata()) == {0.3}
    assert "random pair" not in legend(figures.forgetting_curve(pd.concat([frame, pair]), "qa"))


def test_retention_is_drawn_by_lag():
    frame = results("lag").rename(columns={"stop": "lag"})
    ax = figures.retention_curve(frame, methods=["MEGa"])
    assert ax.get_xlabel() == "memories learnt since" and lines(ax)["MEGa"].get_xdata().tolist() == list(STOPS)


def test_each_method_is_known_without_its_colour():
    styles = figures.METHODS_STYLE
    assert tuple(styles) == METHODS
    for kind in ("color", "marker"):
        assert len({one[kind] for one in styles.values()}) == len(styles)
    assert figures.look("Full") == styles["Full"]
    told, true = figures.look("iRAG on Full"), figures.look("iRAG, true gate")
    assert told["color"] == styles["Full"]["color"] and told["markerfacecolor"] == "white"
    assert true["marker"] == styles["iRAG"]["marker"] and true["linestyle"] != styles["iRAG"]["linestyle"]


def test_a_learner_from_elsewhere_has_a_look_of_its_own():
    known = figures.METHODS_STYLE.values()
    mine, yours = figures.look("Mine"), figures.look("Yours")
    assert mine == figures.look("Mine") and mine != yours and figures.look("iRAG on Mine")["color"] == mine["color"]
    for kind in ("color", "marker"):
        assert {mine[kind], yours[kind]}.isdisjoint({one[kind] for one in known})


def test_settings_of_a_method_have_lines_of_their_own():
    key = {"metric": "qa", "method": "Full+L2"}
    frame = pd.DataFrame([point(0.3 * s, **key, setting=f"strength={s}", stop=t) for s in (0.1, 1.0) for t in STOPS])
    both = lines(figures.forgetting_curve(pd.concat([frame, frame.assign(method="LoRA+L2", setting="")]).iloc[:12], "qa"))
    assert list(both) == ["Full+L2, λ = 0.1", "Full+L2, λ = 1.0", "LoRA+L2"]
    alone = lines(figures.forgetting_curve(frame, "qa"))
    assert list(alone) == ["λ = 0.1", "λ = 1.0"]
    assert alone["λ = 0.1"].get_linestyle() != alone["λ = 1.0"].get_linestyle()


def test_bars_are_their_table_with_the_papers_figures_beside_them():
    frame = results("all memories").query("stop == 10 and metric == 'qa'")
    ax = figures.method_bars(paper.beside(frame), "qa")
    assert names_of(ax) == ["Base", "RAG", "Full+EWC", "MEGa", "iRAG"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first method is on top
    wanted = frame.set_index(paper.labels(frame)).loc[names_of(ax)]
    assert [bar.get_width() for bar in ax.patches] == wanted["mean"].tolist()
    ends = np.array([segment[:, 0] for segment in ax.containers[-1].lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, wanted[["low", "high"]])
    (theirs,) = (line for line in ax.get_lines() if line.get_marker() == "D")
    assert theirs.get_xdata().tolist() == [0.0013, 0.8257, 0.141, 0.7253, 0.8067]
    printed = ["18.0 ± 4.0", "94.5 ± 4.0", "27.0 ± 4.0", "81.0 ± 4.0", "83.0 ± 4.0", "mean ± SD"]
    assert [text.get_text() for text in ax.texts] == printed
    assert legend(ax) == ["95 % interval over 5 partitions", "the paper's value (Llama-3.1-8B)"]
    assert not theirs.get_clip_on() and ax.get_xlim() == (0, 1)


def names_of(ax) -> list[str]:
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_one_partition_has_a_bar_and_no_interval_and_the_figure_says_so():
    frame = results("all memories").query("stop == 10").assign(sd=np.nan, low=np.nan, high=np.nan, n=1)
    ax = figures.method_bars(frame, "qa")
    assert ax.texts[1].get_text() == "94.5" and not ax.containers[-1].get_label().startswith("95")
    assert legend(ax) == ["one partition: no interval"]
    ax = figures.forgetting_curve(frame, "qa")
    ax.figure.canvas.draw()
    assert legend(ax)[-1] == "one partition:\nno interval"
    assert legend(figures.forgetting_curve(frame.drop(columns="n"), "qa"))[-1] == "iRAG"
    some = figures.forgetting_curve(frame.assign(low=0, high=1, n=[1] * 4 + [12] * (len(frame) - 4)), "qa")
    assert legend(some)[-1] == "95 % interval\nover 1–12 partitions"


def pairs_of(metric: str = "qa", n: int = 5) -> pd.DataFrame:
    """What `memsci.paper.tested` gives; the paper has RAG above MEGa and iRAG, those above Full, Full above LoRA."""
    pairs = [("RAG", "MEGa", 0.1), ("RAG", "iRAG", -0.02), ("iRAG", "MEGa", 0.12), ("MEGa", "Full", 0.7),
             ("iRAG", "Full", 0.82), ("Full", "LoRA", -0.1)]  # fmt: skip
    rows = [(metric, *pair, pair[2] - 0.01, pair[2] + 0.03, n) for pair in pairs]
    return pd.DataFrame(rows, columns=["metric", "better", "worse", "difference", "low", "high", "n"])


def test_differences_are_from_the_method_at_the_axis():
    ax = figures.differences(pairs_of())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["RAG", "Full"] and legend(ax) == ["MEGa", "iRAG", TOLD]
    mega, irag = (container.lines for container in ax.containers)
    np.testing.assert_allclose(mega[0].get_xdata(orig=False), [-0.1, 0.7])
    np.testing.assert_allclose(irag[0].get_xdata(orig=False), [0.02, 0.82])
    ends = [segment[:, 0] for segment in mega[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[-0.13, -0.09], [0.69, 0.73]])  # turned with the difference
    assert ax.get_xlabel() == "QA accuracy: MEGa and iRAG less this method (points)"
    # Where the way of asking changes nothing, iRAG is no method of its own.
    ax = figures.differences(pairs_of("recall cos"), "recall cos")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["RAG", "Full"] and legend(ax) == ["MEGa", TOLD]
    ax = figures.differences(pairs_of(), methods=["LoRA"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Full"]
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xdata(orig=False), [0.1])


def test_differences_that_cannot_be_drawn():
    with pytest.raises(MemsciError, match="None of the methods .'Base'. was tested"):
        figures.differences(pairs_of(), methods=["Base"])
    with pytest.raises(MemsciError, match="metric must be one of 'qa'"):
        figures.differences(pairs_of(), "knowledge")
    with pytest.raises(MemsciError, match="more than one row for"):
        figures.differences(pd.concat([pairs_of()] * 2))
    with pytest.raises(MemsciError, match="no column 'low'"):
        figures.differences(pairs_of().drop(columns="low"))


def test_a_sweep_stands_at_its_numbers():
    values = ["3", "inf", "0.1", "1", "0"]
    rows = [point(0.1 * k, method="MEGa", setting=f"beta={v}", metric="qa") for k, v in enumerate(values)]
    rows += [point(0.2, method="MEGa", setting=f"beta={v}; questions=compositional", metric="qa") for v in values]
    rows += [point(0.9, method="MEGa", setting="", metric="qa")]
    ax = figures.sweep(pd.DataFrame(rows), "beta")
    assert names(ax) == ["0", "0.1", "1", "3", "∞"]
    first, second = lines(ax).values()
    np.testing.assert_allclose(first.get_ydata(), [0.4, 0.2, 0.3, 0.0, 0.1])
    places = first.get_xdata()
    assert ax.get_xscale() == "log" and places[1:4].tolist() == [0.1, 1, 3] == ax.get_xticks()[1:4].tolist()
    assert 0 < places[0] < 0.1 and 3 < places[4] < 30
    breaks = [text for text in ax.texts if text.get_text() == "//"]
    assert [places[0] < breaks[0].xy[0] < 0.1, 3 < breaks[1].xy[0] < places[4]] == [True, True]
    assert list(lines(ax)) == ["MEGa", "MEGa, two memories asked about"] and second.get_linestyle() == "--"
    assert ax.get_xlabel() == "inverse temperature β of the gate"
    # Few numbers, none of them far from the others, stand on a plain axis, 0 among them.
    few = [point(0.1 * k, method="MEGa", setting=f"paraphrases={k}", metric="qa") for k in (0, 1, 3, 9)]
    ax = figures.sweep(pd.DataFrame(few), "paraphrases")
    assert ax.get_xscale() == "linear" and ax.get_xticks().tolist() == [0, 1, 3, 9]
    assert names(ax) == ["0", "1", "3", "9"] and not ax.texts
    with pytest.raises(MemsciError, match="No row has the setting 'rank'"):
        figures.sweep(pd.DataFrame(rows), "rank")
    assert names(figures.sweep(pd.DataFrame([point(0.1, method="MEGa", setting="beta=inf", metric="qa")]), "beta")) == ["∞"]
    parts = [point(0.1, method="MEGa", setting=f"where={where};rank=2", metric="qa") for where in ("mlp", "all")]
    with pytest.raises(MemsciError, match="'where' is not a number in all rows, such as 'mlp'"):
        figures.sweep(pd.DataFrame(parts), "where")


def test_a_swept_setting_takes_three_numbers_and_no_words():
    settings = ["rank=2;beta=1", "rank=4; beta=1", "rank=8; beta=1; where=mlp", "where=2", "where=3", ""]
    assert swept(settings) == ["rank"] and swept(settings[:2]) == []


def test_the_heading_of_the_means_stands_clear_of_the_title():
    frame = results("all memories").query("stop == 10 and metric == 'qa'")
    ax = figures.method_bars(frame, "qa", title="A title that is as long as the figure is wide, and then some more words")
    ax.figure.draw_without_rendering()
    heading = next(text for text in ax.texts if text.get_text() == "mean ± SD")
    assert not heading.get_window_extent().overlaps(ax._left_title.get_window_extent())


def test_prompts_stand_by_category():
    rows = []
    for category, means in (("fact", [0.9, 0.7]), ("fake", [0.4])):
        rows += [point(mean, category=category, prompt=f"{category}-{k}", metric="qa") for k, mean in enumerate(means)]
        rows.append(point(np.mean(means), category=category, prompt="", metric="qa"))
    ax = figures.prompt_categories(pd.DataFrame(rows))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["fact\n(2)", "fake\n(1)"]
    dots = [line.get_ydata().tolist() for line in ax.get_lines() if line.get_marker() == "o"]
    assert dots == [[0.7, 0.9], [0.4]]
    with pytest.raises(MemsciError, match="needs a row with an empty prompt"):
        figures.prompt_categories(pd.DataFrame(rows[:-1]))


def test_the_gate_by_layer_by_embedding_and_by_count():
    rows = [
        point(0.5 + layer / 10, metric="correct gate", layer=layer, site=site, pooling="mean", similarity=rule)
        for site in ("attention", "mlp") for layer in (1, 0) for rule in ("inner", "cosine")
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    ax = figures.gate_by_layer(frame[frame["similarity"] == "inner"])
    assert legend(ax) == ["MLP input", "attention input", COINCIDE, TOLD]
    assert lines(ax)["MLP input"].get_xydata().tolist() == [[0, 0.5], [1, 0.6]]
    assert legend(figures.gate_by_layer(frame)) == [
        "MLP input, inner", "MLP input, cosine", "attention input, inner", "attention input, cosine", COINCIDE, TOLD
    ]  # fmt: skip
    counts = pd.DataFrame([point(0.9, metric="correct gate", embedding=e, stop=n) for e in "ba" for n in (1000, 50)])
    ax = figures.embedding_curve(counts)
    assert legend(ax)[:2] == ["b", "a"] and lines(ax)["b"].get_xdata().tolist() == [50, 1000]
    rates = pd.DataFrame({"embedding": ["b", "b", "a"], "partition": [0, 1, 0], "mean": [0.5, 0.7, 1.0]})
    ax = figures.gate_per_partition(rates)
    assert names_of(ax) == ["b", "a"] and sorted(ax.get_lines()[0].get_xdata()) == [0.5, 0.7]
    assert ax.collections[0].get_segments()[0][0][0] == pytest.approx(0.6)
    assert ax.get_xlim() == (0.4, 1) and not ax.get_lines()[0].get_clip_on()


def test_the_confusion_of_the_gate():
    shares = pd.DataFrame([("x", "x", 1.0), ("m", "x", 0.25), ("m", "m", 0.75)], columns=["memory_id", "top_id", "share"])
    drawn = lambda ax: np.asarray(ax.images[0].get_array())
    assert_array_equal(drawn(figures.confusion(shares, ids=["m", "x", "c"])), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])
    assert_array_equal(drawn(figures.confusion(shares)), [[1, 0], [0.25, 0.75]])
    with pytest.raises(MemsciError, match="'x' is not among the 1 given"):
        figures.confusion(shares, ids=["m"])


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda frame: figures.forgetting_curve(frame, "score"), "metric must be one of 'qa'"),
        (lambda frame: figures.forgetting_curve(frame, "logprob"), "The table has no metric 'logprob'"),
        (lambda frame: figures.forgetting_curve(frame, methods=["LoRA"]), "None of the methods"),
        (lambda frame: figures.forgetting_curve(frame, size="wall"), "size must be one of 'print', 'slide'"),
        (lambda frame: figures.forgetting_curve(pd.concat([frame] * 2)), "more than one row for"),
        (lambda frame: figures.method_bars(frame), "more than one row for {'series': 'RAG'}"),
        (lambda frame: figures.forgetting_curve(frame.drop(columns="low")), "no column 'low'"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused(draw, says):
    with pytest.raises(MemsciError, match=says):
        draw(results())


def test_slides_are_larger_and_leave_no_settings_behind():
    before = dict(mpl.rcParams)
    small, large = (figures.forgetting_curve(results(), size=size) for size in ("print", "slide"))
    assert large.figure.get_size_inches()[0] > small.figure.get_size_inches()[0]
    assert large.xaxis.label.get_size() > small.xaxis.label.get_size()
    assert dict(mpl.rcParams) == before


def test_an_axis_of_cosines_is_not_drawn_out():
    curves = pd.DataFrame({"dataset": "episodic", "method": "MEGa", "setting": [f"rank={k}" for k in (1, 2, 4)],
                           "way": "direct", "gate": "true", "stop": 5, "metric": "recall cos", "mean": [0.97, 0.971, 0.984],
                           "sd": np.nan, "low": np.nan, "high": np.nan, "n": 1})  # fmt: skip
    low, high = figures.sweep(curves, "rank", "recall cos").get_ylim()
    assert high - low == pytest.approx(figures.COSINES) and low < 0.97 and high > 0.984
    wide = figures.sweep(curves.assign(**{"mean": [0.4, 0.6, 0.9]}), "rank", "recall cos").get_ylim()
    assert wide[0] < 0.4 and wide[1] > 0.9


@pytest.mark.parametrize("name", ["figures.draw", "figures.series", "figures.style", "runs.report"])
def test_examples_are_right(name):
    found = doctest.testmod(importlib.import_module(f"memsci.{name}"))
    assert found.attempted and not found.failed
