"""Figures: what is drawn is the table, the files are the same bytes each time, and no model is needed."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

mpl.use("Agg")

import matplotlib.pyplot as plt

from memsci import figures

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
    assert names(ax) == [LABELS[id] for id in IDS]
    assert ax.collections[0].get_clim() == (0, 1)  # so that figures can be compared
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first query is on top
    assert ax.figure.axes[1].get_ylabel() == "gate g"
    assert "memory" in ax.get_xlabel() and "question" in ax.get_ylabel() and ax.get_title(loc="left")


def test_the_order_of_the_memories_can_be_given():
    """A gate's table starts with the best memory of the first query; the mind knows the order of encoding."""
    frame = table(((0, 2), (0, 0), (0, 1), (1, 1), (1, 2), (1, 0)))
    assert names(figures.gate_map(frame)) == [LABELS[id] for id in ("x", "m", "c")]
    ax = figures.gate_map(frame, ids=IDS)
    assert_array_equal(drawn(ax), WEIGHTS)
    assert names(ax) == [LABELS[id] for id in IDS]


def test_memories_of_one_label_stay_apart():
    ax = figures.gate_map(table().assign(label="a story"))
    assert_array_equal(drawn(ax), WEIGHTS)
    assert names(ax) == ["a story"] * 3


def test_a_map_is_drawn_into_given_axes_and_leaves_no_settings_behind():
    before = dict(mpl.rcParams)
    _, (left, right) = plt.subplots(1, 2)
    assert figures.gate_map(table(), ax=right) is right
    assert not left.collections and right.collections and len(plt.get_fignums()) == 1
    assert dict(mpl.rcParams) == before


def test_saving_gives_the_same_bytes_and_the_table(tmp_path):
    frame = table()
    first = figures.save(figures.gate_map(frame), tmp_path / "a" / "gate_0.5", frame)
    assert [path.name for path in first] == ["gate_0.5.png", "gate_0.5.pdf", "gate_0.5.csv"]
    assert plt.get_fignums() == []
    second = figures.save(figures.gate_map(frame), tmp_path / "b" / "gate_0.5", frame)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(b"\x89PNG") and first[1].read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(first[2]), frame, check_dtype=False)


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
