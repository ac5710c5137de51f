"""Which parts of which models can carry adapters: as a whole, or refused with what is missing."""

from __future__ import annotations

import pytest
import torch
import transformers
from conftest import make_model, make_tokenizer

from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.learners.mega import MEGa
from memsci.models.base import Base
from memsci.models.sites import attention_input_path, coverage, mlp_input_path, targets

SIZE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
LATENT = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
    "moe_intermediate_size": 16, "intermediate_size": 48,
}  # fmt: skip
WIDE = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 64}
MODELS = {
    "Phi3": ("Phi3", SIZE | {"intermediate_size": 48, "pad_token_id": 0}),
    "Glm4": ("Glm4", SIZE | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}),
    "Mixtral": ("Mixtral", SIZE | EXPERTS | {"intermediate_size": 48, "num_key_value_heads": 2}),
    "DeepseekV3": ("DeepseekV3", SIZE | LATENT),
    "Falcon": ("Falcon", SIZE),
    "Bloom": ("Bloom", {"hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": 64}),
    "Mpt": ("Mpt", {"d_model": 32, "n_heads": 4, "n_layers": 3, "vocab_size": 64}),
    "GPTJ": ("GPTJ", WIDE | {"rotary_dim": 4}),
    "CodeGen": ("CodeGen", WIDE | {"rotary_dim": 4}),
    "Phi": ("Phi", SIZE | {"intermediate_size": 48}),
    "Qwen3": ("Qwen3", SIZE | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}),
}


def built(name):
    family, settings = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    kind = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    return getattr(transformers, f"{family}{kind}")(config).eval()


@pytest.mark.parametrize("name", ["Falcon", "Bloom", "Mpt", "GPTJ", "CodeGen", "Phi", "Qwen3"])
def test_covered_as_a_whole(name):
    model = built(name)
    covered = coverage(model).set_index("part")
    assert (covered["covered"] == 3).all() and (covered["missing"] == "").all()
    mlp, attention, both = (targets(model, where) for where in ("mlp", "attention", "all"))
    assert len(mlp) == 6 and set(mlp) | set(attention) == set(both) and not set(mlp) & set(attention)
    linear = {path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    left = {path for path in linear - set(both) if "gate_proj" not in path and "head" not in path}
    assert not left  # every linear map of the layers but the gate's
    model.get_submodule(mlp_input_path(model)), model.get_submodule(attention_input_path(model))


@pytest.mark.parametrize(
    ("name", "part", "why"),
    [
        ("Phi3", "mlp", "gate and up-projection are one linear map"),
        ("Glm4", "mlp", "gate and up-projection are one linear map"),
        ("Mixtral", "mlp", "made of experts"),
        ("DeepseekV3", "mlp", r"layers 1 to 2: the MLP is made of experts"),
    ],
)
def test_covered_in_part_is_refused(name, part, why):
    model = built(name)
    for where in (part, "all"):
        with pytest.raises(MemsciError, match=f"into the {part} of {MODELS[name][0]}ForCausalLM.*{why}"):
            targets(model, where)
    assert coverage(model).set_index("part").loc[part, "covered"] < 3
    assert len({path.split(".layers.")[1][0] for path in targets(model, "attention")}) == 3


def test_a_mind_on_such_a_base_is_refused_when_it_is_made(tmp_path):
    base = Base(transformers.Phi3ForCausalLM(transformers.Phi3Config(**SIZE | {"vocab_size": 262, "pad_token_id": 0})),
                make_tokenizer())  # fmt: skip
    with pytest.raises(MemsciError, match="gate and up-projection are one linear map"):
        MEGa(base, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert len(MEGa(base, encoding=Encoding(where="attention"))) == 0


def test_layers_that_can_carry_adapters_may_be_chosen():
    model = built("DeepseekV3")
    assert [path.rsplit(".", 1)[1] for path in targets(model, layers=[0])] == ["up_proj", "down_proj"]
    latent = {path.rsplit(".", 1)[1] for path in targets(model, "attention")}
    assert latent == {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}


def test_the_papers_choice_leaves_the_gate_projection_out():
    names = {path.rsplit(".", 1)[1] for path in targets(make_model("Llama"))}
    assert names == {"up_proj", "down_proj"}
