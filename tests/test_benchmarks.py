"""What the benchmarks print can be trusted: medians and ranges, the floor, and commands that exist."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")
ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not in a source distribution", allow_module_level=True)

from benchmarks import common, encode  # noqa: E402
from memsci import provenance  # noqa: E402
from memsci.adapters.lora import init_adapter, numbers  # noqa: E402
from memsci.models.sites import targets  # noqa: E402

COMMANDS = re.findall(r"^\t\$\(BIN\)/python -m benchmarks\.(\w+) ?(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_a_ratio_is_the_median_of_rounds_and_has_their_range(monkeypatch):
    taken = iter([1.0, 3.0, 2.0, 4.0, 1.0, 5.0])  # ours and theirs, round after round
    monkeypatch.setattr(common, "seconds", lambda run: run() or next(taken))
    calls = []
    table = common.compare({"ours": lambda: calls.append("o"), "theirs": lambda: calls.append("t")}, "ours", 3)
    ours, theirs = (table.set_index("side").loc[name] for name in ("ours", "theirs"))
    assert calls == list("ot" * 4)  # one of each to warm up
    assert (ours["seconds"], ours["ratio"], ours["low"], ours["high"]) == (1, 1, 1, 1)
    assert (theirs["seconds"], theirs["ratio"], theirs["low"], theirs["high"], theirs["rounds"]) == (4, 3, 2, 5, 3)


def test_the_floor_counts_every_matrix_product(model):
    """Against what a counter of torch sees: forward, and backward to the adapter alone."""
    from torch.utils.flop_counter import FlopCounterMode

    from memsci.adapters.lora import stack
    from memsci.adapters.mixture import alone
    from memsci.adapters.train import losses
    from memsci.config import Encoding

    paths, prompt, length = targets(model), 3, 9
    encoding = Encoding(rank=4)
    stacked = stack([init_adapter(model, paths, encoding, torch.Generator().manual_seed(0))])
    for tensor in stacked.parameters:
        tensor.requires_grad_(True)
    with FlopCounterMode(display=False) as counter, alone(model, stacked):
        text = torch.ones(1, 1, length, dtype=int)
        once = torch.ones(1, dtype=int)
        losses(model, torch.zeros(1, prompt, dtype=int), text, torch.tensor([[length]]), once).sum().backward()
    seen = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    products = sum(count for name, count in seen.items() if "attention" not in name)
    counted = encode.flop(model, numbers(model, paths, 4), prompt, length)
    # Less by the products with the input of the first adapted layer, before which nothing learns.
    assert 0.8 * counted <= products <= counted


@pytest.mark.parametrize("study", ["text", "parts"])
def test_other_sides_take_the_same_steps(base, study):
    """What PEFT is given has the loss that memsci's own loop finds before its first steps, example by example."""
    from memsci.adapters.study import losses
    from memsci.config import Encoding
    from memsci.memory import Memory

    memory = Memory("Ada hid a red kite. It was found in the piano.", paraphrases=("Ada's kite was in the piano.",))
    encoding = Encoding(rank=4, epochs=2, batch_size=1, text_epochs=1, study=study)
    batches, steps = encode.examples(base, memory, encoding), encode.prepared(base, memory, encoding)
    assert len(batches) == len(steps) == (2 * 2 if study == "text" else 2 * 4) + 1
    for batch, step in zip(batches, steps):
        assert base.model(**step).loss.item() == pytest.approx(losses(base, [batch]).item(), rel=1e-4)


@pytest.mark.parametrize(("module", "words"), COMMANDS, ids=lambda value: value or "-")
def test_the_commands_of_make_benchmarks_are_understood(module, words):
    made = importlib.import_module(f"benchmarks.{module}")
    if module != "page":
        assert made.parser().parse_args(shlex.split(words))


def test_all_benchmarks_are_run_by_make():
    assert {name for name, _ in COMMANDS} == {
        path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in ("__init__", "common", "test_parts")
    }


def test_results_say_how_they_were_made(tmp_path, monkeypatch):
    import pandas as pd

    monkeypatch.setattr(common, "RESULTS", tmp_path / "benchmarks" / "results")
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(
        "sys.orig_argv", ["/somewhere/python", "-m", "benchmarks.encode", "--epochs", "1", "--store", "/home/ada/st"]
    )
    common.keep("one", pd.DataFrame({"ratio": [1.0]}), "A table", memories=3)
    about = json.loads((tmp_path / "benchmarks" / "results" / "one.json").read_text())
    assert about["command"] == "python -m benchmarks.encode --epochs 1 --store st" and about["memories"] == 3
    assert about["commit"] == provenance.commit("memsci", "benchmarks/*.py") and about["versions"]["memsci"]
