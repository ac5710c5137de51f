"""False memory: lists and norms agree with what was published of them, and a lure in the middle of its list is found out."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_model, make_tokenizer
from scipy.stats import spearmanr

from memsci import phenomena
from memsci.config import Embedding, GateRule
from memsci.errors import MemsciError
from memsci.measures.statistics import rank_agreement
from memsci.models.base import SHIPPED, Base
from memsci.phenomena.keys import Finder
from memsci.phenomena.result import Claim, Phenomenon, tidy

matplotlib.use("Agg")
drm = sys.modules["memsci.phenomena.false_memory"]


def test_lists_and_norms_are_those_that_were_published():
    words, people = drm.words(), phenomena.human(drm.NAME)
    assert len(words) == drm.LISTS and all(len(set(some)) == 15 and own not in some for own, some in words.items())
    norms = people.pivot(index="condition", columns="measure", values="value")
    assert set(norms.index) == set(words) and (people["checked"] == "read").all()
    # The abstracts: false recall from .01 to .65, window and sleep .60 and more, king .10 and .27, r with association .73.
    assert norms["false recall"].agg(["min", "max"]).tolist() == [0.01, 0.65]
    assert (norms.loc[["window", "sleep"], "false recall"] >= 0.6).all()
    assert norms.loc["king", ["false recall", "false recognition"]].tolist() == [0.10, 0.27]
    assert round(norms["false recall"].corr(norms["association"]), 2) == 0.73
    assert round(norms["false recall"].corr(norms["association"], method="spearman"), 2) == 0.74  # the docstring


def test_probes_are_of_other_lists():
    for number in (0, 17, 54):
        lures, others = drm.probes(number)
        own = {drm.lure(number), *drm.words()[drm.lure(number)]}
        assert not own & {*lures, *others} and not set(others) & set(drm.words()) and len(others) == drm.OTHERS
    with pytest.raises(MemsciError, match="55 lists"):
        drm.lure(55)


def finder(vectors: dict[str, torch.Tensor]) -> Finder:
    draw = torch.Generator().manual_seed(0)
    other = {word: torch.randn(6, generator=draw) for some in drm.words().values() for word in some}
    other |= {word: torch.randn(6, generator=draw) for word in drm.words()} | vectors
    embed = lambda texts: torch.stack([other[text] for text in texts])
    return Finder("MEGa", embed, Embedding(kind="sentence"), GateRule(beta=20, similarity="cosine"))


@pytest.mark.parametrize("middle", [True, False])
def test_a_lure_in_the_middle_of_its_list_is_familiar_and_one_at_its_edge_is_not(middle):
    draw = torch.Generator().manual_seed(1)
    centre = torch.tensor([1.0, 0, 0, 0, 0, 0])
    own = {word: centre + 0.4 * torch.randn(6, generator=draw) for word in drm.words()["sleep"]}
    own["sleep"] = centre if middle else -centre
    number = list(drm.words()).index("sleep")
    found = drm.measured(finder(own), number).set_index(["measure", "condition"])["value"]
    above, left = found["above other lures", "list"], found["above left out", "list"]
    assert (above > 0.9 and left > 0.5) if middle else (above < 0.4 and left == 0)
    assert found["familiarity", "studied"] > found["familiarity", "lure"]
    assert found["false recall", "list"] == 0.61


def test_words_without_meanings_give_no_false_memory():
    from memsci.gate.embed import embedder

    bag = Embedding(kind="words")
    keys = Finder("TF-IDF keys", embedder(None, bag), bag, GateRule(beta=50, similarity="cosine"))
    found = drm.measured(keys, 0).set_index(["measure", "condition"])["value"]
    assert found["above left out", "list"] == 0.5 and abs(found["index", "list"]) < 0.05


def test_the_shipped_base_is_refused():
    base = Base(make_model(), make_tokenizer(), name=SHIPPED)
    with pytest.raises(MemsciError, match="does not know the meanings"):
        phenomena.false_memory(base, lists=1, progress=False)


# The order of lists


def test_the_correlation_is_spearmans_and_its_interval_covers_it():
    draw = np.random.default_rng(0)
    x = draw.normal(size=55)
    y = x + draw.normal(size=55)
    rho, low, high, p = rank_agreement(x, y)
    assert rho == pytest.approx(spearmanr(x, y).statistic) and low < rho < high and p < 0.01
    assert rank_agreement(x, -y)[0] == pytest.approx(-rho)
    assert rank_agreement(np.ones(6), np.arange(6.0))[0::3] == (0.0, 1.0)
    with pytest.raises(MemsciError, match="Two finite values"):
        rank_agreement([1.0, np.nan], [1.0, 2.0])


@pytest.mark.parametrize(("share", "verdict"), [(1.0, "holds"), (-1.0, "opposite"), (0.0, "open")])
def test_an_order_is_found_where_it_is_planted(share, verdict):
    draw = np.random.default_rng(2)
    norm = draw.uniform(size=55)
    index = share * norm + draw.normal(0, 0.3, 55)
    rows = pd.concat(
        [
            pd.DataFrame({"list": range(55), "measure": name, "value": value, "method": "MEGa"})
            for name, value in (("index", index), ("false recall", norm))
        ]
    )
    claim = Claim("ordered", "index", {"method": "MEGa"}, {"measure": "false recall"}, "ordered")
    row = Phenomenon(drm.NAME, tidy(rows, phenomenon=drm.NAME)).test([claim]).iloc[0]
    assert row["verdict"] == verdict and row["n"] == 55


def test_it_is_drawn_also_from_the_means_of_lists():
    made = pd.concat([drm.measured(finder({}), number).assign(list=number) for number in range(5)])
    found = Phenomenon(drm.NAME, tidy(made.assign(item=None), phenomenon=drm.NAME))
    levels, index, association = found.figure().axes
    people = phenomena.human(drm.NAME).query("measure == 'false recall'").set_index("condition")["value"]
    for ax in (index, association):
        assert ax.lines[0].get_ydata().tolist() == people[[drm.lure(k) for k in range(5)]].tolist()
    assert levels.get_title(loc="left") == "the lure is more familiar"


def test_an_order_that_is_none_is_seldom_found_and_one_of_half_nearly_always():
    draw = np.random.default_rng(3)
    shares = []
    for mixed in (0.0, 0.6):  # ρ = 0 and about .5
        found = 0
        for seed in range(100):
            x, y = draw.normal(size=(2, 55))
            found += rank_agreement(x, mixed * x + y, seed=seed)[3] <= 0.05
        shares.append(found / 100)
    assert shares[0] <= 0.1 and shares[1] >= 0.9
