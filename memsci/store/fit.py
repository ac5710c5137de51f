"""Whether an adapter fits the base: one of another base would make every question fail."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace

from torch import nn

from memsci.adapters.lora import Adapter
from memsci.models.sites import is_linear
from memsci.store.record import Widths, widths

_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Fit:
    """What is known of the linear maps of the base.

    Parameters
    ----------
    known
        Those that are known.
    whole
        They are all that the base has.
    every_layer
        Each memory of the store changes every layer, so that the layers of `known` are all.
    """

    known: Widths | None = None
    whole: bool = False
    every_layer: bool = False

    @classmethod
    def to_model(cls, model: nn.Module) -> Fit:
        """Of the base model itself."""
        modules = {path: module for path, module in model.named_modules() if is_linear(module)}
        # GPT-2's Conv1D keeps its weight as [in, out]. What quantisation has packed tells its widths all the same.
        return cls({path: (m.in_features, m.out_features) if isinstance(m, nn.Linear) else tuple(m.weight.shape)
                    for path, m in modules.items()}, whole=True)  # fmt: skip

    def known_or(self, known: Widths) -> Fit:
        """The same, with widths from memories if nothing is known of the base."""
        return self if self.known else replace(self, known=known)

    def misfit(self, id: str, found: Widths) -> str | None:
        """Why a memory with linear maps of these widths cannot be one of this base; None if it can."""
        known = self.known or {}
        layers = {layer for path in known for layer in _LAYER.findall(path)}
        for path, (width_in, width_out) in found.items():
            if path in known and known[path] != (width_in, width_out):
                ours = "{} inputs and {} outputs".format(*known[path])
                what = f"has {width_in} inputs and {width_out} outputs at {path}, the base {ours}"
            elif path not in known and (self.whole or (self.every_layer and layers.isdisjoint(_LAYER.findall(path)))):
                what = f"changes {path}, which the base has not"
            else:
                continue
            return (
                f"Memory {id!r} does not fit the base of this store: its adapter {what}. It was made on another base: use "
                f"it with that one, or forget it if it is stored, and encode it again."
            )
        return None

    def or_nothing(self, id: str, adapter: Adapter) -> Adapter:
        """The adapter; if it does not fit, one that changes nothing, after a warning."""
        if self.known is None or (problem := self.misfit(id, widths(adapter))) is None:
            return adapter
        warnings.warn(f"{problem} It is passed over.", stacklevel=4)
        return Adapter({}, rank=1, alpha=1)
