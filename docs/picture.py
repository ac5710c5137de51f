"""The picture of the front page, from a real mind: ``python -m docs.picture``; with the folder of a store it asks anew.

python -m docs.picture                # draws docs/images/one-question.png from one-question.json
python -m docs.picture my-memories    # first asks the mind in this store (24 everyday memories, SmolLM2)
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from memsci.figures import style

QUESTION = "Who found my wedding ring in October?"
STEM = Path(__file__).parent / "images" / "one-question"
OPEN, SHUT, INK = "#D55E00", "#B8C4CE", "#222222"


def ask(store: str) -> dict:
    """What the mind in a store makes of the question."""
    import memsci

    mind = memsci.open(store)
    gate = mind.gate(QUESTION).frame().sort_values("rank")
    told = {"question": QUESTION, "base": mind.base.name, "recall": mind.recall(QUESTION)}
    return told | {"memories": gate[["label", "score", "weight"]].round(6).to_dict("records")}


def draw(told: dict) -> Figure:
    """Question, likeness of every memory to it, and what is recalled."""
    memories = pd.DataFrame(told["memories"])[::-1].reset_index(drop=True)
    best = len(memories) - 1
    figure, axes = plt.subplots(figsize=(9, 4.6))
    figure.subplots_adjust(left=0.4, right=0.66, top=0.86, bottom=0.07)
    axes.barh(memories.index, memories["score"], color=[OPEN if row == best else SHUT for row in memories.index])
    axes.set_yticks(memories.index, memories["label"], fontsize=7)
    axes.get_yticklabels()[best].set(color=OPEN, weight="bold")
    axes.set_title("2  It is compared with 24 memories", fontsize=10, loc="left", x=-0.5, color=INK)
    axes.set_xticks([])
    axes.set_xlabel("likeness of question and memory (cosine)", fontsize=7, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    box = {"boxstyle": "round,pad=0.6", "facecolor": "white", "linewidth": 1.4}
    write = lambda x, y, text, width, edge: figure.text(
        x, y, textwrap.fill(text, width), fontsize=10, va="center", color=INK, bbox={**box, "edgecolor": edge}
    )  # fmt: skip
    figure.text(0.02, 0.88, "1  A question", fontsize=10, color=INK)
    write(0.025, 0.79, told["question"], 18, INK)
    figure.text(0.7, 0.88, "3  One opens, and is recalled", fontsize=10, color=INK)
    write(0.715, 0.66, told["recall"], 32, OPEN)
    weight = memories["weight"][best]
    figure.text(0.705, 0.42, f"open by {weight:.3f}, all others together by {1 - weight:.3f}", fontsize=8, color=INK)
    arrow = {"arrowstyle": "->", "color": INK, "linewidth": 1.2}
    axes.annotate("", (-0.62, best - 1), (-0.76, best - 1), xycoords=axes.get_yaxis_transform(), arrowprops=arrow)
    axes.annotate("", (1.12, best), (1.02, best), xycoords=axes.get_yaxis_transform(), arrowprops={**arrow, "color": OPEN})
    return figure


if __name__ == "__main__":
    if sys.argv[1:]:
        text = json.dumps(ask(sys.argv[1]), indent=1, ensure_ascii=False)
        STEM.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    with style():
        figure = draw(json.loads(STEM.with_suffix(".json").read_text(encoding="utf-8")))
        figure.savefig(STEM.with_suffix(".png"), dpi=150, metadata={"Software": None})
