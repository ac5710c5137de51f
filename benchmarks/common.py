"""What all benchmarks share: all sides timed in turn in one process, ratios with their range, hardware and versions.

A benchmark writes one table into ``benchmarks/results``; ``python -m benchmarks.page`` puts them all into
``docs/performance.md``.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import memsci  # noqa: F401  # isort: skip  (before torch, whose threads then wait as it says)
import pandas as pd
import torch

from memsci import files, provenance

RESULTS = Path(__file__).parent / "results"
ROUNDS = 6


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


def load() -> str:
    """How busy the machine is, this process included: how many processes computed or waited for a core, on average."""
    return f"{os.getloadavg()[2]:.1f} processes over the last quarter of an hour" if hasattr(os, "getloadavg") else "unknown"


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock time of one call, waiting for the GPU before and after."""
    gc.collect()
    _wait()
    begun = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - begun


def compare(sides: Mapping[str, Callable[[], Any]], reference: str, repeats: int = ROUNDS, warmup: int = 1) -> pd.DataFrame:
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
        takes), low, high (the least and the greatest of the rounds: with six, they hold the true median in 97 % of such
        measurements), rounds.
    """
    for run in sides.values():
        for _ in range(warmup):
            run()
    taken = pd.DataFrame([{name: seconds(run) for name, run in sides.items()} for _ in range(repeats)])
    rows = []
    for name in sides:
        ratios = taken[name] / taken[reference]
        rows.append((name, taken[name].median(), ratios.median(), ratios.min(), ratios.max(), repeats))
    return pd.DataFrame(rows, columns=["side", "seconds", "ratio", "low", "high", "rounds"])


def peak(dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> float:
    """FLOP per second of a large square matrix product, the best of ten: what the hardware gives, measured."""
    size = 8192 if torch.device(device).type == "cuda" else 2048
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(10))


def keep(name: str, table: pd.DataFrame, title: str, **protocol: Any) -> None:
    """Print a table and write it to ``benchmarks/results/NAME.csv``, with what decides its figures beside it as JSON.

    That is the command, the commit (with a + where files were changed since), hardware, versions, load and `protocol`.
    """
    RESULTS.mkdir(exist_ok=True)
    versions = provenance.versions(("torch", "transformers", "peft"))
    commit = provenance.commit("memsci", "benchmarks/*.py")
    # Of a folder of this machine only its name is of use to others.
    words = [Path(word).name if os.path.isabs(word) else word for word in sys.orig_argv[2:]]
    command = " ".join(["python -m", *words]) if sys.orig_argv[1:2] == ["-m"] else None
    about = {"title": title, "command": command, "commit": commit, "hardware": hardware(), "versions": versions}
    about |= {"load": load(), **protocol}
    table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
    files.write_json(RESULTS / f"{name}.json", about)
    print(f"{title}\n{about['hardware']}\n{table.to_string(index=False, float_format='{:.4g}'.format)}")


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
