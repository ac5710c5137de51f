"""The runs that the repository ships: every figure's numbers follow from the tables that lie beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from memsci.experiments import PHENOMENA, names
from memsci.measures.metrics import METRICS
from memsci.runs import folder as files
from memsci.runs import report
from memsci.runs.tables import curves

FOLDER = Path(__file__).parents[1] / "figures" / "runs"
SHIPPED = sorted(path.parent for path in FOLDER.glob("*/run.json"))
TABLES = {"run.json", "config.json", "curves.csv", "confusion.csv", "partitions.csv.gz"}
LARGEST = 4 * 2**20  # bytes of the tables of a run

if not FOLDER.is_dir():
    pytest.skip("the figures are not in a source distribution", allow_module_level=True)

each = pytest.mark.parametrize("run", SHIPPED, ids=lambda run: run.name)


def test_some_are_shipped():
    assert SHIPPED and {path.name for path in FOLDER.iterdir()} == {run.name for run in SHIPPED}


@each
def test_figures_follow_from_the_tables(run, tmp_path, monkeypatch):
    """Only the numbers: that the same numbers give the same picture is tested in test_figures."""

    captions = {}

    def numbers(ax, stem, table, caption, **_):
        plt.close(ax.figure)
        captions[stem.name] = caption + "\n"
        table.to_csv(path := stem.with_name(f"{stem.name}.csv"), index=False, float_format="%.6g")
        return [path]

    monkeypatch.setattr(report, "save", numbers)
    drawn = {path.name for path in report.draw(run, tmp_path)}
    assert drawn == {path.name for path in run.glob("*.csv")} - TABLES
    for name in drawn:
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes(), name
    pictures = {path.stem for path in run.glob("*.png")}
    assert pictures == {path.stem for path in run.glob("*.pdf")}
    assert pictures <= {Path(name).stem for name in drawn} and pictures
    assert captions == {path.stem: path.read_text(encoding="utf-8") for path in run.glob("*.txt")}


@each
def test_curves_follow_from_the_values_of_partitions(run):
    values = files.table(run, "partitions")
    assert files.csv(curves(values)) == (run / "curves.csv").read_bytes()
    assert values["value"].notna().all()


@each
def test_what_is_shipped_says_how_it_was_made(run):
    about = files.read_json(run / "run.json")
    assert about["status"] == "finished" and about["experiment"] in names() and about["seconds"] > 0
    assert run.name.startswith(about["experiment"])
    assert {"base", "datasets", "partitions", "data", "seed", "versions", "begun", "cells"} <= about.keys()
    curves = files.table(run, "curves")
    known = set(curves["metric" if "metric" in curves else "dataset"])
    assert about["protocol"].keys() == known <= {*METRICS, *PHENOMENA} and all(about["protocol"].values())


@each
def test_what_is_shipped_was_made_by_code_that_all_can_have(run):
    commits = files.read_json(run / "run.json")["commits"]
    assert commits and all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits)


@each
def test_nothing_of_the_place_where_it_was_made_is_shipped(run):
    allowed = TABLES | {path.name for path in run.glob("*.*") if path.suffix in (".png", ".pdf", ".csv", ".txt")}
    assert {path.name for path in run.iterdir()} <= allowed
    assert sum((run / name).stat().st_size for name in TABLES if (run / name).is_file()) <= LARGEST
    about = files.read_json(run / "run.json")
    assert not {"machine", "failed"} & about.keys()
    told = json.dumps(about) + (run / "config.json").read_text(encoding="utf-8")
    assert not re.search(r'"(/|~|[A-Z]:\\\\)|/(home|root|tmp|work|Users|mnt|scratch)/', told)
    columns = pd.read_csv(run / "partitions.csv.gz", nrows=1).columns
    assert not {"question", "target", "answer", "recalled", "original"} & set(columns)
