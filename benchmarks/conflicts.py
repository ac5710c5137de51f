"""Memories against what a model knows of the world: at what strength do they win, and what is lost elsewhere?

    python -m benchmarks.conflicts [--base NAME] [--facts N] [--store FOLDER]

The facts of ``memsci/lifetime/conflicts.toml`` are encoded, each a memory of a sentence or two, and asked for under the
mind's own gate, its weights multiplied by each strength; 0 is the base alone. Facts that are encoded already stay in
FOLDER, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

import memsci
from benchmarks.common import RESULTS, keep
from memsci.figures.draw import per_cent
from memsci.figures.style import REFERENCE, style
from memsci.lifetime import conflict

PICTURES = Path(__file__).parents[1] / "docs" / "images"
STRENGTHS = (0.0, *conflict.STRENGTHS)
GRADES = {"novel": "nothing known", "weak": "known weakly", "strong": "known firmly", "elsewhere": "other facts"}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of the questions of each grade and strength that are answered by the memory, and as known."""
    rows = table.assign(**{name: table[name].astype(float) for name in ("says new", "says old")})
    groups = rows.groupby(["grade", "strength"], sort=False)
    made = groups.agg(
        n=("question", "size"),
        new=("says new", "mean"),
        old=("says old", "mean"),
        nats_new=("nats new", "mean"),
        nats_old=("nats old", "mean"),
    ).reset_index()
    made[["new", "old"]] *= 100
    order = made["grade"].map(list(GRADES).index)
    made = made.iloc[order.argsort(kind="stable")].assign(grade=lambda one: one["grade"].map(GRADES))
    names = {"new": "memory's answer %", "old": "known answer %", "nats_new": "memory's, nats", "nats_old": "known, nats"}
    return made.rename(columns=names).reset_index(drop=True)


def draw(made: pd.DataFrame) -> Figure:
    """By strength, how often the memory and what is known are answered, a panel per grade."""
    with style("print"):
        figure, axes = plt.subplots(1, len(GRADES), figsize=(10.5, 2.8), sharey=True, layout="constrained")
        for ax, grade in zip(axes, GRADES.values()):
            rows = made[made["grade"] == grade]
            for column, color, marker in (("memory's answer %", "#D55E00", "o"), ("known answer %", "#0072B2", "s")):
                if rows[column].notna().any():
                    ax.plot(rows["strength"], rows[column] / 100, color=color, marker=marker, label=column[:-2])
            ax.axvline(1, **REFERENCE)
            ax.set(title=f"{grade} (n = {rows['n'].iloc[0]})", xlabel="strength of the gate", ylim=(-0.03, 1.05))
            ax.yaxis.set_major_formatter(per_cent)
        axes[0].set_ylabel("answered (%)")
        axes[3].legend(*axes[1].get_legend_handles_labels())
    return figure


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--base", default="smollm2")
    made.add_argument("--facts", type=int, default=len(conflict.facts()), help="only the first so many")
    made.add_argument("--store", type=Path, help="folder for the memories, gone on with")
    made.add_argument("--name", default="conflicts")
    return made


def main() -> None:
    given = parser().parse_args()
    mind = memsci.MEGa(memsci.load(given.base), given.store)
    facts = conflict.facts()[: given.facts]
    for one in facts:  # one by one: each is kept as soon as it is learnt
        mind.encode([one.memory], progress=False)
        print(f"{len(mind)} of {len(facts)} encoded", flush=True)
    table = conflict.conflicts(mind, facts, strengths=STRENGTHS, progress=False)
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / f"{given.name}_answers.csv", index=False, float_format="%.4g", lineterminator="\n")
    won = conflict.winning(table)
    print(won.to_string(index=False))
    made = summary(table)
    draw(made).savefig(PICTURES / f"{given.name}.png", dpi=120, metadata={"Software": None})
    keep(
        given.name,
        made,
        f"What {len(facts)} memories say against what {given.base} knows, by the strength of their gate",
        encoding=mind.encoding.to_dict(),
        gate=mind.rule.to_dict(),
        embedding=mind.embedding.to_dict(),
    )


if __name__ == "__main__":
    main()
