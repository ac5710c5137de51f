"""memsci against PEFT, an independent implementation of the same adapters and of their files."""

from __future__ import annotations

import dataclasses
import json

import peft
import pytest
import torch
from conftest import make_model, random_adapter
from safetensors.torch import load_file, save_file

from memsci.adapters.lora import stack, unstack
from memsci.adapters.mixture import mixture
from memsci.adapters.peft_format import load_peft, save_peft
from memsci.errors import MemsciError
from memsci.models.sites import targets

IDS = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def gap(a, b) -> float:
    return (a - b).abs().max().item()


def save(adapter, folder):
    folder.mkdir()
    save_peft(adapter, folder, "tiny")
    return folder


@pytest.mark.parametrize("rslora", [True, False])
@pytest.mark.parametrize(
    ("architecture", "where"), [("Llama", "mlp"), ("Llama", "all"), ("GPT2", "mlp"), ("GPTNeoX", "all")]
)
def test_mixture_equals_pefts_active_adapters(tmp_path, architecture, where, rslora):
    model, gates = make_model(architecture), [0.5, 0.0, 0.3, 0.2]
    adapters = [
        random_adapter(model, targets(model, where), alpha=6, rslora=rslora, seed=seed) for seed in range(len(gates))
    ]
    plain = logits(model)
    with mixture(model, stack(adapters), torch.tensor([gates])):
        ours = logits(model)

    folders = [save(adapter, tmp_path / f"m{i}") for i, adapter in enumerate(adapters)]
    oracle = peft.PeftModel.from_pretrained(make_model(architecture), folders[0], adapter_name="m0")
    for i in range(1, len(gates)):
        oracle.load_adapter(folders[i], f"m{i}")
    oracle.base_model.set_adapter([f"m{i}" for i in range(len(gates))])
    layers = [m for m in oracle.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    assert len(layers) == len(targets(model, where))
    for layer in layers:
        for i, gate in enumerate(gates):
            layer.set_scale(f"m{i}", gate)
    assert gap(ours, plain) > 0.1
    assert gap(ours, logits(oracle)) < 1e-5


@pytest.mark.parametrize("rslora", [True, False])
@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_peft_opens_our_folder(tmp_path, architecture, rslora, recwarn):
    model = make_model(architecture)
    adapter = random_adapter(model, targets(model), alpha=6, rslora=rslora)
    save(adapter, tmp_path / "m")
    with mixture(model, stack([adapter]), torch.ones(1, 1)):
        ours = logits(model)
    oracle = peft.PeftModel.from_pretrained(model, tmp_path / "m")
    assert gap(ours, logits(oracle)) < 1e-5
    # Merged as well: fan_in_fan_out is right.
    assert gap(ours, logits(oracle.merge_and_unload())) < 1e-4
    assert not [str(w.message) for w in recwarn if "fan_in" in str(w.message)]


def saved_by_peft(folder, model, *targets: str, **config):
    """A model of PEFT's with a LoRA of rank 4 and α 6 that is not zero, and the LoRA in a folder."""
    told = {"r": 4, "lora_alpha": 6, "init_lora_weights": False, "task_type": "CAUSAL_LM", "target_modules": [*targets]}
    oracle = peft.get_peft_model(model, peft.LoraConfig(**told, **config))
    oracle.save_pretrained(folder)
    return oracle


@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_we_open_pefts_folder(tmp_path, architecture):
    gpt2 = architecture == "GPT2"
    names = ["c_fc", "mlp.c_proj"] if gpt2 else ["up_proj", "down_proj"]
    oracle = saved_by_peft(tmp_path, make_model(architecture), *names, use_rslora=True, fan_in_fan_out=gpt2)
    adapter, model = load_peft(tmp_path), make_model(architecture)
    assert (adapter.rank, adapter.alpha, adapter.scale) == (4, 6, 3)
    assert set(adapter.deltas) == set(targets(model))
    with mixture(model, stack([adapter]), torch.ones(1, 1)):
        assert gap(logits(model), logits(oracle)) < 1e-5


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match")
@pytest.mark.parametrize("rslora", [True, False])
def test_we_open_pefts_folder_with_a_rank_and_an_alpha_for_each_map(tmp_path, rslora):
    """Patterns match the end of a path, the first one that does wins, and α may do without a rank."""
    oracle = saved_by_peft(
        tmp_path, make_model(), "up_proj", "down_proj", "q_proj", use_rslora=rslora,
        rank_pattern={"0.mlp.up_proj": 2, "up_proj": 3, "p_proj": 9},
        alpha_pattern={"down_proj": 1.5, r"layers\.1\.self_attn\.[qk]_proj": 24},
    )  # fmt: skip
    adapter, model = load_peft(tmp_path), make_model()
    assert [len(A) for path, (A, _) in adapter.deltas.items() if "up_proj" in path] == [2, 3]
    with mixture(model, stack([adapter]), torch.ones(1, 1)):
        assert gap(logits(model), logits(oracle)) < 1e-5


@pytest.mark.parametrize("rslora", [True, False])
@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_peft_opens_our_folder_of_several_ranks(tmp_path, architecture, rslora):
    model = make_model(architecture)
    adapter = random_adapter(model, targets(model), alpha=6, rslora=rslora)
    for rank, (path, (A, B)) in enumerate(adapter.deltas.items(), start=1):
        adapter.deltas[path] = (A[:rank].clone(), B[:, :rank].clone())
    again = load_peft(save(adapter, tmp_path / "m"))
    assert (again.rank, again.alpha) == (4, 6)
    assert all(torch.equal(B, again.deltas[path][1]) for path, (_, B) in adapter.deltas.items())
    with mixture(model, stack([adapter]), torch.ones(1, 1)):
        ours = logits(model)
    oracle = peft.PeftModel.from_pretrained(model, tmp_path / "m")
    assert gap(ours, logits(oracle)) < 1e-5
    assert gap(ours, logits(oracle.merge_and_unload())) < 1e-4


def test_a_stack_gives_back_adapters_of_several_ranks():
    model = make_model()
    whole = random_adapter(model, targets(model))
    cut = {path: (A[:rank], B[:, :rank]) for rank, (path, (A, B)) in enumerate(whole.deltas.items(), start=1)}
    adapters = [dataclasses.replace(whole, deltas=cut), whole]
    for mine, again in zip(adapters, unstack(stack(adapters), adapters), strict=True):
        for path, pair in mine.deltas.items():
            assert all(map(torch.equal, again.deltas[path], pair))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_there_and_back_is_bitwise(tmp_path, dtype):
    model = make_model("GPT2")
    adapter = random_adapter(model, targets(model), alpha=2.5, rslora=False)
    for path, (A, B) in adapter.deltas.items():
        adapter.deltas[path] = (A.to(dtype), B.to(dtype))
    again = load_peft(save(adapter, tmp_path / "m"))
    assert (again.rank, again.alpha, again.rslora, again.transposed) == (4, 2.5, False, True)
    for path, (A, B) in adapter.deltas.items():
        assert again.deltas[path][0].dtype == dtype
        assert torch.equal(A, again.deltas[path][0]) and torch.equal(B, again.deltas[path][1])


def _set(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _lose(folder, name):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != name}))


def _change(folder, change):
    path = folder / "adapter_model.safetensors"
    save_file({key: change(tensor) for key, tensor in load_file(path).items()}, path)


def _drop(folder):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors[next(key for key in tensors if "lora_B" in key)]
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _set(f, use_dora=True), "use_dora is True; memsci reads plain LoRA only"),
        (lambda f: _set(f, rank_pattern={"up_proj": 2}), "up_proj do not both have rank 2"),
        (lambda f: _set(f, peft_type="IA3"), "IA3 adapter"),
        (lambda f: _set(f, r=3), "do not both have rank 3"),
        (_drop, "do not both have rank 4"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"torn"), "cannot be read as an adapter"),
        (lambda f: (f / "adapter_config.json").unlink(), "cannot be read as an adapter"),
        (lambda f: (f / "adapter_config.json").write_text("[1]"), "cannot be read as an adapter"),
        *[
            (lambda f, values=values: _set(f, **values), r"in adapter_config\.json cannot be read .*Give them as PEFT")
            for values in (
                {"lora_alpha": None}, {"lora_alpha": float("nan")}, {"rank_pattern": {"(": 2}}, {"rank_pattern": [1]},
                {"alpha_pattern": {"up_proj": "x"}},
            )
        ],
        (lambda f: _lose(f, "r"), "KeyError: 'r'"),
        (lambda f: _lose(f, "lora_alpha"), "KeyError: 'lora_alpha'"),
        (lambda f: _change(f, lambda tensor: tensor.flatten()), "is no matrix of finite floating-point numbers"),
        (lambda f: _change(f, lambda tensor: tensor[..., None]), "is no matrix of finite floating-point numbers"),
        (lambda f: _change(f, lambda tensor: tensor.to(torch.int8)), "is no matrix of finite floating-point numbers"),
        (lambda f: _change(f, lambda tensor: tensor / 0), "is no matrix of finite floating-point numbers"),
        (lambda f: save_file({}, f / "adapter_model.safetensors"), "holds no linear map"),
    ],
)  # fmt: skip
def test_other_adapters_and_damaged_files_are_refused(tmp_path, model, damage, message):
    folder = save(random_adapter(model, targets(model)), tmp_path / "m")
    damage(folder)
    with pytest.raises(MemsciError, match=message):
        load_peft(folder)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("init_lora_weights", "pissa"), ("init_lora_weights", "olora"), ("init_lora_weights", "pissa_niter_4"),
        ("alora_invocation_tokens", [5, 6]), ("use_dora", True), ("use_qalora", True), ("lora_bias", True),
        ("layer_replication", [[0, 2]]), ("trainable_token_indices", [1]), ("target_parameters", ["w"]),
        ("arrow_config", {"top_k": 3}), ("a_setting_of_tomorrow", 3),
    ],
)  # fmt: skip
def test_settings_of_peft_are_allowed_by_list(tmp_path, model, setting, value):
    save_peft(random_adapter(model, targets(model)), tmp_path, "b")
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {setting: value}))
    with pytest.raises(MemsciError, match=f"{setting} is .*plain LoRA only"):
        load_peft(tmp_path)


@pytest.mark.parametrize("setting", ["init_lora_weights", "lora_bias", "a_setting_of_tomorrow", "megatron_config"])
def test_settings_of_peft_that_are_not_used_do_not_matter(tmp_path, model, setting):
    save_peft(random_adapter(model, targets(model)), tmp_path, "b")
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {setting: None if "config" in setting else False}))
    assert load_peft(tmp_path).deltas
