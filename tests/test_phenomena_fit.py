"""Fits of free recall: known parameters are found again, and lists that were not fitted decide between models."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from memsci.errors import MemsciError
from memsci.phenomena import fit
from memsci.phenomena.context import Parameters, walk
from memsci.phenomena.curves import EVENTS

matplotlib.use("Agg")
N, LISTS = 10, 40
TRUE = Parameters(
    beta=1.5, tau=6.0, encode=0.7, recall=0.8, start=0.3, bound=0.5, primacy=1.0, decay=1.0, stop=0.02, growth=0.3
)
NAMES = [f"w{k}" for k in range(30)]


@pytest.fixture(scope="module")
def keys() -> pd.DataFrame:
    drawn = np.random.default_rng(0).normal(size=(30, 3))
    return pd.DataFrame(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), index=NAMES)


def recalled(keys: pd.DataFrame, people: dict[int, Parameters], lists: int = LISTS, seed: int = 0) -> pd.DataFrame:
    """Recalls of people whose parameters are known."""
    rng, rows = np.random.default_rng(seed), []
    for subject, parameters in people.items():
        studied = [rng.permutation(NAMES)[:N].tolist() for _ in range(lists)]
        vectors = torch.tensor(np.array([keys.loc[one].to_numpy() for one in studied]))
        for one, (items, said) in enumerate(zip(studied, walk(vectors @ vectors.mT, parameters, seed=subject).tolist()), 1):
            rows += [(subject, one, k, "study", item) for k, item in enumerate(items, 1)]
            rows += [(subject, one, k, "recall", items[place]) for k, place in enumerate(said, 1) if place >= 0]
    return pd.DataFrame(rows, columns=EVENTS)


@pytest.fixture(scope="module")
def fits(keys) -> fit.Fits:
    return fit.free_recall(recalled(keys, {1: TRUE, 2: replace(TRUE, tau=3.0)}), keys, progress=False)


def test_larger_models_fit_better_and_never_worse_than_the_truth(fits, keys):
    nats = fits.table.pivot(index="subject", columns="model", values="fitted")
    assert (nats["both"] < nats[["context", "item"]].min(axis=1)).all()
    assert (nats[["context", "item"]].max(axis=1) < nats["uniform"]).all()
    where = np.flatnonzero(fits.material.rows["subject"] == 1)[::2]
    assert nats.loc[1, "both"] <= fits.material.nats(where, TRUE, "both").mean()


def test_lists_that_were_not_fitted_tell_the_true_model(fits):
    assert fits.score == "held_out"
    held_out = fits.table.pivot(index="subject", columns="model", values="held_out")
    assert (held_out.idxmin(axis=1) == "both").all()
    row = fits.compare("both", "item").iloc[0]
    assert row["n"] == 2 and row["losses"] == 2 and row["p"] == 0.5
    again = fits.parameters("both", 1)
    turn = np.flatnonzero(fits.material.rows["subject"] == 1)[1::2]
    assert fits.material.nats(turn, again, "both").mean() == pytest.approx(held_out.loc[1, "both"])


def test_one_who_recalled_nothing_ends_nobodys_fit(keys):
    events = recalled(keys, {1: TRUE, 2: TRUE}, lists=3)
    silent = events[(events["subject"] == 1) | (events["trial_type"] == "study")]
    found = fit.free_recall(silent, keys, ("context",), held_out=False, progress=False)
    assert found.parameters("context", 2) == replace(found.parameters("context", 2), tau=fit.START.tau)
    assert found.parameters("context", 1).tau != fit.START.tau


def test_a_pooled_fit_is_recovered(keys):
    events = recalled(keys, {1: TRUE, 2: TRUE}, lists=2)
    found = fit.free_recall(events, keys, ("item",), pooled=True, held_out=False, progress=False)
    table = found.recovery("item", progress=False)
    assert set(table["subject"]) == {fit.POOLED} and set(table["parameter"]) == {"beta", *fit.STOPPING}


def test_likelihood_is_that_of_each_recall_in_turn(fits, keys):
    row = fits.material.rows.iloc[0]
    p, vectors, total, left = TRUE, keys.loc[list(row["items"])].to_numpy(), 0.0, set(range(N))
    only_items = replace(p, tau=0.0)
    for k, place in enumerate(row["recalls"]):
        likeness = vectors @ vectors[row["recalls"][k - 1]] if k else np.zeros(N)
        support = {i: np.exp(p.beta * likeness[i]) for i in left}
        total += np.log(support[place] / sum(support.values()))
        total += np.log1p(-p.stop * np.exp(p.growth * k))
        left.remove(place)
    if len(row["recalls"]) < N:
        total += np.log(p.stop * np.exp(p.growth * len(row["recalls"])))
    assert fits.material.nats(np.array([0]), only_items, "item")[0] == pytest.approx(-total)


def test_parameters_are_recovered(keys):
    found = fit.free_recall(recalled(keys, {1: TRUE}, 300), keys, ("both",), held_out=False, progress=False)
    got = found.parameters("both", 1)
    for name, near in {"beta": 0.5, "tau": 1.0, "encode": 0.08, "recall": 0.1, "stop": 0.01, "growth": 0.06}.items():
        assert getattr(got, name) == pytest.approx(getattr(TRUE, name), abs=near), name


def test_simulated_people_look_like_those_fitted_and_fit_as_they_were(fits):
    checks = fits.checks(["uniform", "both"], copies=3)
    means = checks[checks["condition"] == "all"].groupby(["measure", "source"])["value"].mean()
    assert means["temporal factor", "both"] == pytest.approx(means["temporal factor", "people"], abs=0.03)
    assert means["temporal factor", "uniform"] == pytest.approx(0.5, abs=0.03)
    assert means["recalls", "both"] == pytest.approx(means["recalls", "people"], abs=0.4)
    found = fits.recovery("item", progress=False)
    assert found["parameter"].tolist() == ["beta"] * 2 + ["stop"] * 2 + ["growth"] * 2
    beta = found[found["parameter"] == "beta"]
    assert np.abs(beta["true"] - beta["recovered"]).max() < 1.0
    pd.testing.assert_frame_equal(fits.simulate("both"), fits.simulate("both"))
    assert fits.simulate("both", copies=2).groupby("subject")["list"].nunique().tolist() == [2 * LISTS] * 2


def test_a_figure_has_people_and_what_has_no_context_beside_every_model(fits):
    for models, alone in ((("item", "both"), "item"), (("both",), "both, τ = 0")):
        drawn = fits.figure(models, copies=1)
        assert len(drawn.axes) == 3
        for ax in drawn.axes:
            assert set(ax.get_legend_handles_labels()[1]) == {alone, "both", "people"}
        lags = dict(zip(drawn.axes[2].get_legend_handles_labels()[1], drawn.axes[2].lines))
        height = {name: dict(zip(*line.get_data()))[1] for name, line in lags.items()}
        assert height[alone] < height["both"] and height[alone] < height["people"]  # next recall at lag +1
    with pytest.raises(MemsciError, match="None of these models"):
        fits.figure(("mine",))


def test_one_fit_for_all(keys):
    events = recalled(keys, {1: TRUE, 2: TRUE}, 10)
    pooled = fit.free_recall(events, keys, ("uniform", "item"), pooled=True, progress=False)
    assert pooled.table["subject"].tolist() == [fit.POOLED] * 2 and pooled.table["lists"].tolist() == [10, 10]
    assert set(pooled.simulate("item")["subject"]) == {1, 2}


def test_what_cannot_be_fitted_is_refused(keys):
    events = recalled(keys, {1: TRUE}, 1)
    with pytest.raises(MemsciError, match="one list"):
        fit.free_recall(events, keys, progress=False)
    with pytest.raises(MemsciError, match="items has no row"):
        fit.free_recall(events, keys.iloc[:3], progress=False)
    with pytest.raises(MemsciError, match="model must be one of"):
        fit.free_recall(events, keys, ("mine",), progress=False)


def test_people_are_fitted_better_with_both(request):
    pytest.importorskip("psifr", reason="psifr is not installed")
    from memsci.phenomena.people import people

    events = people("PEERS")
    events = events[events["subject"].isin(events["subject"].unique()[:5])]
    nats = fit.free_recall(events, progress=False).summary()["held_out"]
    assert nats["both"] < nats["context"] < nats["item"] < nats["uniform"]
