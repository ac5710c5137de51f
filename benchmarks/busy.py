"""Encoding beside other busy processes: ``python -m benchmarks.busy``

OpenMP's threads spin while they wait for one another, and keep spinning when one of them has lost its core to another
program. Each side is a process of its own with its own setting, started once; all take turns under each load, so that one
run compares them. Only the encoding is timed, not the start of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import pandas as pd

from benchmarks.common import keep

SIDES = {  # environment of each
    "as OpenMP comes": {"GOMP_SPINCOUNT": "300000"},  # its own default
    "memsci": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
BUSY = "x = 1.0\nwhile True: x = x * 1.0000001 % 3"  # one core, little memory

WORKER = """
import sys, time, memsci
from memsci.adapters.encode import encode
from memsci.config import Encoding
base = memsci.load()
memories = memsci.data.builtin("episodic", 0).memories[:int(sys.argv[1])]
encode(base, memories[:1], Encoding.embedded(), progress=False)
print("ready", flush=True)
for _ in sys.stdin:
    begun = time.perf_counter()
    encode(base, memories, Encoding.embedded(), progress=False)
    print(time.perf_counter() - begun, flush=True)
"""


class Side:
    """A process that encodes when it is told to."""

    def __init__(self, settings: dict[str, str], memories: int) -> None:
        clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(memories)],
            env=clean | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout.readline().strip() == "ready"

    def seconds(self) -> float:
        """Of one encode."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        """Let it go."""
        self._process.kill()
        self._process.wait()


def measure(sides: dict[str, dict[str, str]], loads: list[int], rounds: int, memories: int) -> pd.DataFrame:
    """A row per side and load: median seconds, and how many times its own quiet time and the first side's that is."""
    started = {name: Side(settings, memories) for name, settings in sides.items()}
    rows = []
    try:
        for k in range(rounds):
            for load in loads:
                others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(load)]
                time.sleep(1.0)
                try:
                    rows += [(k, load, name, side.seconds()) for name, side in started.items()]
                finally:
                    for other in others:
                        other.kill()
                        other.wait()
            print(f"round {k + 1} of {rounds}", flush=True)
    finally:
        for side in started.values():
            side.end()
    taken = pd.DataFrame(rows, columns=["round", "busy", "side", "seconds"])
    table = taken.groupby(["side", "busy"], sort=False)["seconds"].agg(["median", "min", "max"]).reset_index()
    median = table.set_index(["side", "busy"])["median"]
    table["times its quiet"] = [row.median / median[row.side, 0] for row in table.itertuples()]
    first = next(iter(sides))
    table["times the first side"] = [row.median / median[first, row.busy] for row in table.itertuples()]
    return table.rename(columns={"median": "seconds", "min": "low", "max": "high"})


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--memories", type=int, default=3)
    parser.add_argument("--loads", type=int, nargs="+", default=[0, 1, 2, 3], help="busy processes beside it; 0 comes first")
    parser.add_argument("--sides", type=json.loads, default=SIDES, help="JSON: name and environment of each side")
    parser.add_argument("--name", default="busy")
    return parser


def main() -> None:
    """Command line."""
    options = parser().parse_args()
    table = measure(options.sides, options.loads, options.rounds, options.memories)
    keep(options.name, table, "Encoding beside busy processes", rounds=options.rounds, memories=options.memories)


if __name__ == "__main__":
    main()
