"""From scores to curves: what the figures of a run are drawn from. No torch here.

Tables of a run (KEYS: dataset, partition, method, setting, stop; see `memsci.evaluate` for the rest):

- responses: KEYS, memory_id, position, way, question, target, original, recalled, answer, logprob, tokens, top_id, gate
- quiz: KEYS, subject, item, question, chosen, answer, correct
- training: KEYS less stop, memory_id, position, loss (last epoch)
- gates: dataset, partition, comparison, and what `memsci.gating` gives
- scores: KEYS, memory_id, position, way, gate, question, subject, metric, value, protocol, higher_is_better
- curves: see `curves`
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from memsci import forgetting
from memsci.statistics import mean_table

GROUP = ["dataset", "method", "setting", "way", "gate"]
FIRST = ["over", "category", *GROUP, "stop", "lag", "metric"]


def curves(scores: pd.DataFrame, categories: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Means over partitions, with spread and interval (`memsci.statistics.mean_table`).

    Parameters
    ----------
    scores
        Scores of a run.
    categories
        Category of each fine-tuning prompt, where the settings are prompts.

    Returns
    -------
    pandas.DataFrame
        Columns over, category, dataset, method, setting, way, gate, stop, lag, metric, mean, sd, low, high, n. `over` says
        what a row is over, and which columns it leaves empty:

        - "all memories": every memory that was asked about at this stop, each counting alike; the quiz, each subject
          counting alike
        - "first memory": the questions of the first memory (paper, Figs 2, 3 and 6)
        - "lag": all memories that were learnt so many memories ago (`lag` instead of `stop`)
        - "backward transfer": last score less that after learning
        - "category": all prompts of a category together (`category` instead of `setting`)
    """
    keys = [*GROUP, "stop", "metric"]
    within = ["memory_id", "subject"]
    parts = [mean_table(scores, keys, within=within).assign(over="all memories")]
    if categories:
        named = scores.assign(category=scores["setting"].str.removeprefix("prompt=").map(categories))
        per_category = ["category", *[name for name in keys if name != "setting"]]
        # Each prompt counts alike.
        averaged = mean_table(named, per_category, within=["setting", "memory_id"])
        parts.append(averaged.assign(over="category", setting=""))
        parts[0]["category"] = parts[0]["setting"].str.removeprefix("prompt=").map(categories)
    several = scores.groupby(["dataset", "partition", "method", "setting"])["stop"].transform("nunique") > 1
    followed = scores[several & (scores["gate"] == "own")]
    if len(followed):
        for over, measure in (
            ("first memory", forgetting.first_memory_curve),
            ("lag", forgetting.retention_by_lag),
            ("backward transfer", forgetting.backward_transfer),
        ):
            found = forgetting.over_groups(followed, measure)
            at = [name for name in ("stop", "lag") if name in found]
            found = found[np.isfinite(found["value"])]
            if len(found):
                parts.append(mean_table(found, [*GROUP, *at, "metric"]).assign(over=over))
    table = pd.concat(parts, ignore_index=True)
    numbers = ["mean", "sd", "low", "high", "n"]
    table = table.reindex(columns=[*FIRST, *numbers])
    for name in ("stop", "lag"):
        table[name] = table[name].astype("Int64")
    return table
