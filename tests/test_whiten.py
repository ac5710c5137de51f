"""Whitening on a fixed reference text: fitted once per base, kept, and the same as fitting to those texts."""

from __future__ import annotations

import pytest
import torch

import memsci
from memsci.config import Embedding, GateRule
from memsci.errors import MemsciError
from memsci.gate import embed, whiten
from memsci.gate.embed import embedder, embedders

TEXTS = ("Nora hid the letter.", "Tom went to sea at noon.", "Which bird stole the key?", "It rained on 4 May.")
SETTINGS = Embedding.whitened()


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMSCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(whiten.REFERENCES, "world", lambda: TEXTS)
    return tmp_path / "cache" / "whiten"


@pytest.mark.parametrize("site", ["mlp", "attention", "both"])
def test_it_is_whitening_fitted_to_the_reference(base, site):
    fixed = Embedding.whitened(0, site=site)
    fitted = Embedding(layer=0, site=site, pooling="surprisal", whiten=True)
    (expected,) = embedders(base, [fitted], stored=TEXTS)(["A crow stole it."])
    assert torch.equal(embedder(base, fixed)(["A crow stole it."]), expected)


def test_both_kinds_stand_side_by_side(base):
    fitted = Embedding(pooling="surprisal", whiten=True)
    one, other = embedders(base, [SETTINGS, fitted], stored=["Other texts.", "Two of them."])(["A crow."])
    assert torch.equal(one, embedder(base, SETTINGS)(["A crow."])) and not torch.allclose(one, other)


def test_the_reference_is_read_once_per_base_and_again_if_damaged(base, small, monkeypatch):
    first = embedder(base, SETTINGS)(["A crow."])
    measured = []
    spreads = embed._spreads
    monkeypatch.setattr(embed, "_spreads", lambda *args: measured.append(args[2]) or spreads(*args))
    assert torch.equal(embedder(base, SETTINGS)(["A crow."]), first) and not measured
    (file,) = small.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert torch.equal(embedder(base, SETTINGS)(["A crow."]), first) and len(measured) == 1
    assert embedder(base, Embedding.whitened(0))(["A crow."]).shape == first.shape and len(measured) == 2
    assert len(list(small.iterdir())) == 2


def test_mega_takes_it_and_old_keys_stay(base):
    mind = memsci.MEGa(
        base, embedding=SETTINGS, gate=GateRule(similarity="cosine", beta=30), encoding=memsci.Encoding(rank=2, epochs=1)
    )
    mind.encode([memsci.Memory("Nora hid the letter.", "a")], progress=False)
    before = mind.store.keys().clone()
    mind.encode([memsci.Memory("A crow stole the only key.", "b")], progress=False)
    assert torch.equal(mind.store.keys()[:1], before)
    assert mind.gate("A crow stole the only key.").top() == ["b"]


def test_a_reference_belongs_to_whitening():
    with pytest.raises(MemsciError, match="reference must be one of None; 'world' was given"):
        Embedding(reference="world")
    assert not SETTINGS.fitted and "reference" not in Embedding(whiten=True).to_dict()
    assert Embedding.from_dict(SETTINGS.to_dict()) == SETTINGS


def test_the_world_is_100_stories_and_100_questions():
    assert len(whiten.world()) == 200 == len(set(whiten.world()))


def test_several_layers_give_the_mean_of_their_cosines(base):
    texts = ["A crow stole it.", "Tom sold a boat.", "Why?"]
    both, first, last = (embedder(base, Embedding.whitened(*layers))(texts) for layers in ((0, 1), (0,), ()))
    cosine = lambda x: torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(x, dim=1).T
    torch.testing.assert_close(both @ both.T, (cosine(first) + cosine(last)) / 2)
    assert Embedding.from_dict(Embedding.whitened(0, 1).to_dict()) == Embedding.whitened(0, 1)
    assert "layers" not in Embedding.whitened(0).to_dict()
    with pytest.raises(MemsciError, match="layers must be None or at least one"):
        Embedding(layers=())
    with pytest.raises(MemsciError, match="Layer 9 was asked for"):
        embedder(base, Embedding.whitened(0, 9))
