"""Where things lie in a causal language model: its layers, what f reads, and the linear maps that can carry an adapter.

One table, `SITES`, names the layers of each family of models; everything else is found from the modules themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from memsci.config import PLACES
from memsci.errors import MemsciError, check_in
from memsci.later import later

pd = later("pandas")

# Where the blocks are, and what a block calls its MLP (or the first map of it) and its attention.
SITES = (
    ("model.layers", "mlp", "self_attn"),  # Llama, Mistral, Qwen2, Qwen3, Gemma, Phi, OLMo
    ("model.language_model.layers", "mlp", "self_attn"),  # Gemma 3 and others with a vision part
    ("gpt_neox.layers", "mlp", "attention"),
    ("transformer.h", "mlp", "attn"),  # GPT-2, GPT-J, CodeGen
    ("transformer.h", "mlp", "self_attention"),  # Falcon, Bloom
    ("transformer.blocks", "ffn", "attn"),  # MPT
)
# The map into an MLP and the map out of it, by the last part of their names. The gate projection of a gated MLP is left
# out, as in the paper.
UP = ("up_proj", "dense_h_to_4h", "c_fc", "fc1", "fc_in")
DOWN = ("down_proj", "dense_4h_to_h", "c_proj", "fc2", "fc_out")
_LAYER = re.compile(r"(?!.*vision)(?:.*\.)?(?:layers|h|blocks)\.(\d+)\.(.+)")


def mlp_input_path(model: nn.Module, layer: int = -1) -> str:
    """Path of the module whose *input* is f's site: the MLP of a layer (paper, section on the context key).

    Parameters
    ----------
    model : transformers.PreTrainedModel
    layer : int
        Index of the layer; negative counts from the last, which is the paper's choice.
    """
    return _site(model, layer, 1)


def attention_input_path(model: nn.Module, layer: int = -1) -> str:
    """Path of the attention module of a layer; as `mlp_input_path` (paper, Fig. 7)."""
    return _site(model, layer, 2)


def targets(model: nn.Module, where: str = "mlp", layers: Sequence[int] | None = None) -> list[str]:
    """Paths of the linear maps that carry an adapter, in the model's own order.

    Parameters
    ----------
    model
        A causal language model of transformers.
    where
        "mlp": up- and down-projection, never the gate projection (the paper's choice, Methods); "attention": all its
        projections; "all": both.
    layers
        Layers counted from 0; None means every layer.
    """
    found = _maps(model)
    if not found:
        raise MemsciError(
            f"No layers with linear maps were found in {type(model).__name__}; memsci knows {', '.join(_names())}. "
            "Use a model of a known architecture, or add a row to SITES in memsci/models/sites.py."
        )
    for layer in layers or ():
        check_in(f"a layer of {type(model).__name__}", layer, sorted(found))
    for part in _parts(where):
        if lacking := [k for k in found if (layers is None or k in layers) and _missing(found[k], part)]:
            names = ", ".join(dict.fromkeys(name for k in lacking for name in found[k])) or "none"
            raise MemsciError(
                f"memsci cannot put adapters into the {part} of {type(model).__name__}, layers "
                f"{lacking[0]} to {lacking[-1]}: {_missing(found[lacking[0]], part)}; linear maps there: {names}. Use "
                "another base, another place (where), or layers that can carry adapters."
            )
    wanted = [path for k, maps in found.items() if layers is None or k in layers for path in _chosen(maps, where)]
    order = {path: place for place, (path, _) in enumerate(model.named_modules())}
    return sorted(wanted, key=order.__getitem__)


def coverage(model: nn.Module) -> pd.DataFrame:
    """What of a model can carry adapters: a row per part ("mlp", "attention").

    Returns
    -------
    pandas.DataFrame
        Columns part, layers (all), covered (layers whose part can carry adapters as a whole), maps (names of the linear
        maps), missing (why a layer is not covered; empty if all are).
    """
    found, rows = _maps(model), []
    for part in _parts("all"):
        missing = {k: _missing(maps, part) for k, maps in found.items()}
        rows.append(
            {
                "part": part,
                "layers": len(found),
                "covered": sum(not why for why in missing.values()),
                "maps": ", ".join(dict.fromkeys(n for maps in found.values() for n in _chosen(maps, part).values())),
                "missing": "; ".join(dict.fromkeys(filter(None, missing.values()))),
            }
        )
    return pd.DataFrame(rows)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map that can carry an adapter: `nn.Linear`, or GPT-2's `Conv1D`."""
    return isinstance(module, nn.Linear) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether the module keeps its weight as [in, out]: GPT-2's `Conv1D`."""
    return type(module).__name__ == "Conv1D"


def _parts(where: str) -> tuple[str, ...]:
    check_in("where", where, PLACES)
    return ("mlp", "attention") if where == "all" else (where,)


def _maps(model: nn.Module) -> dict[int, dict[str, str]]:
    """Of each layer its linear maps: from path to name within the layer."""
    found: dict[int, dict[str, str]] = {}
    for path, module in model.named_modules():
        if (match := _LAYER.fullmatch(path)) and is_linear(module):
            found.setdefault(int(match[1]), {})[path] = match[2]
    return found


def _in_attention(name: str) -> bool:
    return "att" in name.split(".")[0]


def _chosen(maps: dict[str, str], where: str) -> dict[str, str]:
    """The maps of a layer that carry adapters."""
    known = {
        path: name
        for path, name in maps.items()
        if _in_attention(name) or (name.count(".") <= 1 and name.rsplit(".", 1)[-1] in UP + DOWN)  # no expert of several
    }
    wanted = lambda name: where == "all" or (where == "attention") == _in_attention(name)
    return {path: name for path, name in known.items() if wanted(name)}


def _missing(maps: dict[str, str], part: str) -> str:
    """What hinders the part of a layer from carrying adapters; empty if nothing does."""
    names = {name.rsplit(".", 1)[-1] for name in _chosen(maps, part).values()}
    if part == "attention":
        return "" if names else "no attention is known there"
    if names & set(UP) and names & set(DOWN):
        return ""
    if any("gate_up" in name for name in maps.values()):
        return "gate and up-projection are one linear map"
    return "the MLP is made of experts" if names or _all_attention(maps) else "its MLP has other names"


def _all_attention(maps: dict[str, str]) -> bool:
    """Whether a layer has no linear maps beside its attention but those of experts."""
    others = [name for name in maps.values() if not _in_attention(name)]
    return all("expert" in name or name.rsplit(".", 1)[-1] in ("gate", "router") for name in others)


def _names() -> list[str]:
    return list(dict.fromkeys(row[0] for row in SITES))


def _site(model: nn.Module, layer: int, column: int) -> str:
    modules = dict(model.named_modules())
    for row in SITES:
        if all(f"{row[0]}.0.{name}" in modules for name in row[1:]):
            count = len(modules[row[0]])
            if not -count <= layer < count:
                raise MemsciError(
                    f"Layer {layer} was asked for; this model has layers 0 to {count - 1}, or -1 for the last."
                )
            return f"{row[0]}.{layer % count}.{row[column]}"
    raise MemsciError(
        f"The layers of a {type(model).__name__} are not known; memsci knows {', '.join(_names())}. "
        "Add a row to SITES in memsci/models/sites.py."
    )
