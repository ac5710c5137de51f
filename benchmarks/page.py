"""docs/performance.md from the tables in benchmarks/results: ``python -m benchmarks.page``"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.common import RESULTS
from memsci.figures import style

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

INTRO = """# Performance

What memsci costs, beside what the same costs with PEFT alone. Every table was printed by a command of
`benchmarks/`. Those with a *ratio* run all their sides in one process, in turn, round after round: it is the
median over rounds of a side's time divided by the reference's (1 in the table), *low* and *high* are the least
and the greatest of the rounds. (With six rounds these hold the true median in 97 % of such measurements, with
three in 75 %.) Times are of the machine that each table names and say little about another; ratios say more.
This page is written by `python -m benchmarks.page`, and `make benchmarks` runs all that fits a laptop.
"""

SECTIONS = {
    "encode": (
        "Encoding",
        """`python -m benchmarks.encode`. One adapter after the other is how PEFT is used today; memsci trains many in one
pass, each as if it were alone, to rounding (`tests/test_encode.py`). The floor is the matrix products: 2 N
multiplications and additions per token forward, 2 N backward through frozen weights, whose own gradients nobody
needs, and those of the adapters. bfloat16: matrix products in bfloat16, weights and adapters in float32. `--base smollm2`
is a real model with everyday memories.""",
    ),
    "busy": (
        "Beside other busy processes",
        """`python -m benchmarks.busy`. Threads of OpenMP spin while they wait for one another, and go on spinning when one
of them has lost its core to another program. memsci lets them sleep soon (`GOMP_SPINCOUNT=1000`), unless the user has set
it; *passive* is `OMP_WAIT_POLICY=PASSIVE`. Three memories are encoded beside 0 to 3 processes that compute without
end.""",
    ),
    "llama_shape": (
        "Other shapes",
        """`python -m benchmarks.llama_shape --shape 8b` on a GPU, `--shape 100m` on a processor: random weights of that
shape. No GPU was at hand for the figures below.""",
    ),
    "ask": (
        "Asking 32 queries with 32 gates",
        """`python -m benchmarks.ask --part ask`. Sparse gates shut the memories that together weigh at most ε
(`memsci.gate.nucleus`), dense ones run all 50. PEFT can run a batch with an adapter of its own for each
row (`adapter_names`), but no mixture in it: that side has the best memory alone. Sides with the same gates were
seen to say the same words.
The floor: matrix products (`gflop`) and numbers read from memory (`gigabytes`: weights and adapters once per
pass of the model; passes of one token are bound by it).""",
    ),
    "rows": (
        "Row by row or together",
        """`python -m benchmarks.ask --part rows`. Each row of a batch with copies of its own memories, or all rows through
all memories: which is taken (`chosen`) is decided by `memsci.adapters.mixture.ROW_COST`, read off this table. A reply is a
pass over the prompt and then passes of a token.""",
    ),
    "fold": (
        "Folding one gate into the weights",
        """`python -m benchmarks.ask --part fold`. `chosen` is what `memsci.adapters.mixture.folding_pays` says.""",
    ),
    "twice": (
        "Recall first, then answer",
        """`python -m benchmarks.ask --part twice`. The second turn of iRAG goes on from the keys and values of the
first.""",
    ),
    "store": (
        "Opening and saving",
        """`python -m benchmarks.store`. The same folders for both sides, adapters with random numbers; memsci compares
every byte with its checksum. Saving a mind copies files that exist; a memory that is encoded is flushed to the disk
when it is finished, PEFT's files are not.""",
    ),
    "scale": (
        "From 50 to 100,000 memories",
        """`python -m benchmarks.scale`. Real keys: embeddings of stories of the built-in world.

![Gate, latency, memory and disk from 50 to 100,000 memories](images/scale.png)""",
    ),
    "size": (
        "Bytes per memory",
        """`python -m benchmarks.size`. What is left of recall and answers when adapters are kept smaller
(`memsci.store.compress`, `memsci compress`).

![Recall and answers against bytes per memory](images/size.png)""",
    ),
}

# Variants of `benchmarks.size` that differ in numbers alone, and what of their names is written at each point.
FAMILIES = {
    "rank 32, as encoded": r"(as encoded|bfloat16|float8)",
    "rank r in float8": r"rank (\d+), float8",
    "rank r in bfloat16": r"rank (\d+), bfloat16",
    "share e of the energy, in float8": r"energy ([\d.]+), float8",
    "common basis k, rank r, in float8": r"common basis (\d+), rank (\d+), float8",
}


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers with three or four digits."""
    text = table.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)).replace("nan", "–")
    lines = [" | ".join(map(str, table.columns)), " | ".join("---" for _ in table.columns)]
    return "\n".join(f"| {line} |" for line in [*lines, *text.agg(" | ".join, axis=1)])


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for name, (heading, prose) in SECTIONS.items():
        for stem in sorted(path.stem for path in RESULTS.glob(f"{name}*.csv")):
            about = json.loads((RESULTS / f"{stem}.json").read_text(encoding="utf-8"))
            if prose:
                parts.append(f"## {heading}\n\n{prose}\n")
                prose = ""
            title, machine, versions = (about.pop(key) for key in ("title", "hardware", "versions"))
            command, commit = about.pop("command", None), about.pop("commit", None)
            # Settings, which are mappings, stay in the file.
            single = {key: value for key, value in about.items() if not isinstance(value, dict)}
            more = [f"{key.replace('_', ' ')}: {_short(value)}" for key, value in single.items()]
            made = [f"`{command}`, commit {commit[:7]}{commit[40:]}"] if command and commit else []
            told = "; ".join([*made, machine, ", ".join(f"{k} {v}" for k, v in versions.items()), *more])
            parts.append(f"**{title}**\n\n{markdown(pd.read_csv(RESULTS / f'{stem}.csv'))}\n\n{told}.\n")
    return "\n".join(parts)


def draw() -> None:
    """docs/images/scale.png and size.png, from their tables."""
    with style():
        for name, make in (("scale", _scale), ("size", _size)):
            figure = make(pd.read_csv(RESULTS / f"{name}.csv"))
            title = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["title"]
            figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
            figure.savefig(PAGE.parent / "images" / f"{name}.png", dpi=120, metadata={"Software": None})
            plt.close(figure)


def _scale(table: pd.DataFrame) -> Figure:
    figure, panels = plt.subplots(2, 2, figsize=(7, 5), sharex=True, layout="constrained")
    gate, answer, memory, disk = panels.flat
    counts, ratio = table["memories"], table["to 50"]
    gate.plot(counts, table["correct gate %"], marker="o", clip_on=False)
    gate.set(ylabel="correct gate (%)", ylim=(0, 100))
    # Within one process, in turn: seconds of one process and of another differ by more than what is measured.
    answer.errorbar(counts, ratio, yerr=(ratio - table["low"], table["high"] - ratio), marker="o", capsize=3)
    answer.set(ylabel="time to answer, ratio to 50")
    answer.set_title("median of paired rounds, low to high", fontsize="small")
    memory.plot(counts, table["memory MB"], marker="o")
    memory.set(ylabel="RAM added to the process (MB)")
    disk.plot(counts, table["disk MB"], marker="o")
    disk.set(ylabel="disk (MB)", xscale="log", yscale="log")
    for axes in (answer, memory):
        axes.set_ylim(0, 1.05 * axes.dataLim.ymax)
    for axes in panels[1]:
        axes.set_xlabel("memories stored")
    return figure


def _size(table: pd.DataFrame) -> Figure:
    figure, panels = plt.subplots(2, figsize=(7, 6), sharex=True, layout="constrained")
    for axes, (column, name) in zip(panels, (("recall cos", "recall cosine"), ("QA %", "QA (%)"))):
        for (kind, pattern), marker, side in zip(FAMILIES.items(), "osD^v", (-1, 1, 1, -1, 1)):
            found = table["variant"].str.extract(f"^{pattern}$").dropna().agg(", ".join, axis=1)
            points = table.loc[found.index]
            axes.plot(points["kB"], points[column], marker, label=kind)
            for label, x, y in zip(found, points["kB"], points[column]):
                axes.annotate(
                    label.replace("as encoded", "float32"), (x, y), xytext=(0, 6 * side), textcoords="offset points",
                    ha="center", va="bottom" if side > 0 else "top", fontsize="small",
                )  # fmt: skip
        sixteenth = (table["kB"] / table["share of rank 128"]).iloc[0] / 16
        axes.axvline(sixteenth, color="0.6", linewidth=1, label="1/16 of the paper's rank 128 in float32")
        axes.set(xscale="log", ylabel=name)
        axes.margins(0.05, 0.12)
    panels[1].set_xlabel("kB per memory")
    panels[1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[1].xaxis.set_major_formatter("{x:.0f}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    draw()
