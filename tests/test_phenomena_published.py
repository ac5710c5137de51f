"""What is told of the fits is what the published table says."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from memsci.measures.statistics import paired

ROOT = Path(__file__).parents[1]
if not (ROOT / "docs").is_dir():
    pytest.skip("documents and figures are not in a source distribution", allow_module_level=True)

FITS = pd.read_csv(ROOT / "figures" / "phenomena" / "peers_fits.csv")
NOTE = (ROOT / "docs" / "notes" / "phenomena.md").read_text(encoding="utf-8").split("The gate's context, fitted")[1]


def test_nats_of_each_model_are_those_of_the_table():
    rows = re.findall(r"^\| (uniform|item|context|both)[^|]*\| \d+ \| ([\d.]+) \| ([\d.]+),", NOTE, re.MULTILINE)
    means = FITS.groupby("model")[["fitted", "held_out"]].mean().round(2)
    assert {(model, float(a), float(b)) for model, a, b in rows} == set(means.itertuples(name=None))


def test_how_many_people_are_better_with_items_is_what_the_table_says():
    row = paired(FITS, "both", "context", value="held_out", unit="subject", column="model").iloc[0]
    assert f"better for {row['losses']} of {row['n']}\n  people, worse for {row['wins']}" in NOTE
    assert f"{row['difference']:.2f} nats a list".replace("-", "−") in NOTE and row["p"] < 1e-4
