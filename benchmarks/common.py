"""What all benchmarks share: both sides timed in turn in one process, ratios with intervals, hardware and versions.

A benchmark writes one table into ``benchmarks/results``; ``python -m benchmarks.page`` puts them all into
``docs/performance.md``.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import memsci

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """The machine in words: processor, cores and threads used, GPU if there is one."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{gpu}"


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock time of one call, waiting for the GPU before and after."""
    gc.collect()
    _wait()
    begun = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - begun


def compare(sides: Mapping[str, Callable[[], Any]], reference: str, repeats: int = 5, warmup: int = 1) -> pd.DataFrame:
    """Time several sides in turn: first each a few times to warm up, then `repeats` rounds of one call of each.

    Parameters
    ----------
    sides
        Name of each side and what it runs.
    reference
        The side that the others are compared with.
    repeats, warmup
        Rounds that count, and calls of each side before them.

    Returns
    -------
    pandas.DataFrame
        One row per side: side, seconds (median), ratio (median over rounds of side / reference: how many times longer it
        takes), low, high (95 % bootstrap interval of that median), rounds.
    """
    for run in sides.values():
        for _ in range(warmup):
            run()
    taken = pd.DataFrame([{name: seconds(run) for name, run in sides.items()} for _ in range(repeats)])
    generator = np.random.default_rng(0)
    rows = []
    for name in sides:
        ratios = (taken[name] / taken[reference]).to_numpy()
        drawn = np.median(generator.choice(ratios, (2000, len(ratios))), axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        rows.append((name, taken[name].median(), np.median(ratios), low, high, repeats))
    return pd.DataFrame(rows, columns=["side", "seconds", "ratio", "low", "high", "rounds"])


def peak(dtype: torch.dtype = torch.float32, size: int | None = None) -> float:
    """FLOP per second of a large square matrix product, the best of five: what the hardware gives, measured."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = size or (8192 if device == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(5))


def keep(name: str, table: pd.DataFrame, title: str, **protocol: Any) -> None:
    """Print a table and write it to ``benchmarks/results/NAME.csv``, with what decides its figures beside it as JSON."""
    RESULTS.mkdir(exist_ok=True)
    versions = {package: importlib.metadata.version(package) for package in ("torch", "transformers", "peft")}
    versions = {"memsci": memsci.__version__, **versions}
    about = {"title": title, "hardware": hardware(), "versions": versions, **protocol}
    table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
    (RESULTS / f"{name}.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{title}\n{about['hardware']}\n{table.to_string(index=False, float_format='{:.4g}'.format)}")


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
