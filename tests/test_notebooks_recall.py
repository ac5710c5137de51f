"""What notebooks 09 and 10 say of free recall is what their tables show, and the published ones."""

from __future__ import annotations

import ast
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "notebooks").is_dir() or not (ROOT / "figures").is_dir():
    pytest.skip("notebooks or figures are not in this distribution", allow_module_level=True)


class Notebook:
    """Prose and what the cells show, by the ids of the cells."""

    def __init__(self, name: str) -> None:
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        self.cells: dict[str, dict[str, Any]] = {cell["id"]: cell for cell in cells}
        prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        self.prose = re.sub(r"\s+", " ", " ".join(prose))

    def printed(self, id: str) -> str:
        """What a cell printed."""
        return "".join("".join(one.get("text", "")) for one in self.cells[id]["outputs"])

    def table(self, id: str) -> pd.DataFrame:
        """The numbers of the table that a cell shows, by the first column of its index."""
        (html,) = ("".join(one["data"]["text/html"]) for one in self.cells[id]["outputs"] if "text/html" in one["data"])
        cell = re.compile(r"<t([hd])[^>]*>(.*?)</t[hd]>", re.DOTALL)
        rows = [cell.findall(row) for row in html.split("<tr")[1:]]
        body = [row for row in rows if any(kind == "d" for kind, _ in row)]
        values = [[float(text) for kind, text in row if kind == "d"] for row in body]
        head = [unescape(text) for _, text in rows[0]][-len(values[0]) :]
        return pd.DataFrame(values, columns=head, index=[unescape(row[0][1]) for row in body])

    def told(self, pattern: str) -> list[float]:
        """The numbers of a sentence; the pattern has a group for each."""
        found = re.search(pattern, self.prose)
        assert found, pattern
        return [float(number) for number in found.groups()]


STORY, DATA = Notebook("09-free-recall"), Notebook("10-your-recall-data")
RUN = pd.read_csv(ROOT / "figures" / "runs" / "free_recall" / "free-recall.csv")
FITS = pd.read_csv(ROOT / "figures" / "phenomena" / "peers_fits.csv")


def better() -> int:
    """People of PEERS whose lists held out are predicted better by both terms than by the context alone."""
    nats = FITS.pivot(index="subject", columns="model", values="held_out")
    return int((nats["both"] < nats["context"]).sum())


def test_the_story_tells_what_its_tables_show():
    means = STORY.table("c04")
    arc, factor = STORY.told(r"ARC ([\d.]+)\), and order in time is at chance \(temporal factor ([\d.]+)\)")
    assert means.loc["arc", "MEGa"] == arc and means.loc["temporal factor", "MEGa"] == factor
    assert means.loc["late first", "MEGa, context"] > 0.5 > means.loc["late first", "MEGa"]
    published = RUN.set_index(["method", "measure", "condition"])["mean"]
    assert published["MEGa, context", "lag crp", "1"] > published["MEGa, context", "lag crp", "-1"]
    for measure in ("arc", "temporal factor"):  # the run that is published is the one that is told
        assert published["MEGa", measure, "all"] == pytest.approx(means.loc[measure, "MEGa"], abs=0.006)
    assert STORY.told(r"better than the context alone for (\d+) of (\d+) people") == [better(), FITS["subject"].nunique()]
    assert f"better with items for {better()} of {FITS['subject'].nunique()} people" in STORY.printed("c12")


def test_the_story_walks_through_one_kind_after_another_without_a_context():
    assert "the walk runs through one kind of event after another" in STORY.prose
    labels = ast.literal_eval(STORY.printed("c08b"))
    changes = sum(one != other for one, other in zip(labels, labels[1:]))
    assert len(labels) > 6 and changes == len(set(labels)) - 1


def test_what_is_told_of_the_models_is_what_their_table_shows():
    rows = DATA.table("c09")
    people, nats = DATA.told(r"\*context\* is better than \*item\* for all (\d+) people, by ([\d.]+) nats")
    assert rows.loc["context", ["losses", "n"]].tolist() == [people] * 2 and -rows.loc["context", "difference"] == nats
    assert DATA.told(r"better than \*context\* for (\d) of them and worse for (\d)") == [
        *rows.loc["both", ["losses", "wins"]]
    ]
    assert DATA.told(r"With (\d) people p cannot fall below ([\d.]+)\.") == [people, 2 / 2**people]
    held_out = DATA.table("c08")
    assert len(held_out) == people
    assert DATA.told(r"Of all (\d+) people of PEERS it is better for (\d+)") == [FITS["subject"].nunique(), better()]


def test_what_is_told_of_the_curves_is_what_their_table_shows():
    rows = DATA.table("c13")
    told = DATA.told(
        r"temporal factor is ([\d.]+)\. That of the gate alone is ([\d.]+), which is chance; with a context it is ([\d.]+), "
        r"with both terms ([\d.]+)\."
    )
    assert rows.loc["temporal factor"].tolist() == told
    assert (rows.loc["recalls"] - rows.loc["recalls", "people"]).abs().max() < 0.05
    assert (rows.loc["intrusions", ["item", "context", "both"]] == 0).all()
    assert (rows.loc["lag crp", ["item", "context", "both"]] < rows.loc["lag crp", "people"]).all()
    (thirteenth,) = DATA.told(r"begin with item 13 in (\d+) % of lists")
    assert round(100 * rows.loc["pfr", "people"]) == thirteenth and rows.loc["pfr"].iloc[1:].max() < 0.1


def test_who_lies_at_a_bound_is_who_is_named():
    tau, recall = DATA.told(r"τ of person (\d+) lies at the end of its range, and so does the β_rec of person (\d+)")
    printed = dict(re.findall(r"(\w+) at the end of its range, [\d.]+: (.*)", DATA.printed("c16")))
    assert printed == {"beta": "nobody", "tau": f"[{tau:.0f}]", "encode": "nobody", "recall": f"[{recall:.0f}]"}
    note = (ROOT / "docs" / "notes" / "phenomena.md").read_text(encoding="utf-8")
    recovered = dict(re.findall(r"(τ|β) (\.\d+)", note.split("**Recovery**")[1].split("median bias")[0]))
    assert DATA.told(r"true and recovered values is ([.\d]+) for τ and ([.\d]+) for β") == [
        float(recovered["τ"]), float(recovered["β"]),
    ]  # fmt: skip


def test_what_is_told_of_ones_own_list_is_what_is_shown():
    rows = DATA.table("c21")
    first, last = DATA.told(r"the first event in (\d+) % of walks and with the last in (\d+) %")
    assert (rows["these parameters"].iloc[[0, -1]] * 100).round().tolist() == [first, last]
    assert rows["τ = 0"].between(0.08, 0.19).all()  # about one in eight each
    for line in DATA.printed("c22").splitlines():
        if "→" in line:
            order = re.findall(r"\d", line)
            assert abs(order.index("2") - order.index("6")) == 1, line


@pytest.mark.parametrize("notebook", [STORY, DATA], ids=["09", "10"])
def test_each_says_what_it_means_and_what_it_does_not(notebook):
    assert "## What this means, and what it does not" in notebook.prose
    assert "put in by τ" in notebook.prose
    shown = [one.get("data", {}) for cell in notebook.cells.values() for one in cell.get("outputs", ())]
    assert sum("application/vnd.jupyter.widget-view+json" in data for data in shown) >= 1
    for cell in notebook.cells.values():
        pictures = sum("image/png" in one.get("data", {}) for one in cell.get("outputs", ()))
        assert pictures == len(cell["metadata"].get("alt", ())), "every figure is told in words"
