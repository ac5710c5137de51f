"""From scores to curves: what the figures of a run are drawn from. No torch here.

Tables of a run (KEYS: dataset, partition, method, setting, stop; see `memsci.evaluate` for the rest):

- responses: KEYS, memory_id, position, way, question, target, original, recalled, answer, logprob, tokens, top_id, gate
- quiz: KEYS, subject, item, question, chosen, answer, correct
- training: KEYS less stop, memory_id, position, loss (last epoch)
- trials: dataset, and the columns of `memsci.phenomena.tidy`
- gates: dataset, partition, comparison, and what `memsci.evaluate.gate_accuracy` gives
- scores: KEYS, memory_id, position, way, gate, question, subject, metric, value, protocol, higher_is_better
- partitions: see `per_partition`; of gates, see `memsci.evaluate.gate_accuracy.partition_rates`
- confusion: see `memsci.evaluate.gate_accuracy.confusions`
- curves: see `curves`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from memsci.measures import forgetting
from memsci.measures.statistics import mean_table, unit_means

GROUP = ["dataset", "method", "setting", "way", "gate"]
FIRST = ["over", "category", *GROUP, "stop", "lag", "metric"]


def per_partition(scores: pd.DataFrame, categories: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The value of every partition, the table from which `curves` takes all its means.

    Parameters
    ----------
    scores
        Scores of a run.
    categories
        Category of each fine-tuning prompt, where the settings are prompts.

    Returns
    -------
    pandas.DataFrame
        Columns over, category, dataset, method, setting, way, gate, stop, lag, metric, partition, value. `over` says what a
        row is over, and which columns it leaves empty:

        - "all memories": every memory that was asked about at this stop, each counting alike; the quiz, each subject
          counting alike
        - "first memory": the questions of the first memory (paper, Figs 2, 3 and 6)
        - "lag": all memories that were learnt so many memories ago (`lag` instead of `stop`)
        - "backward transfer": last score less that after learning
        - "category": all prompts of a category together (`category` instead of `setting`)
    """
    keys = [*GROUP, "stop", "metric"]
    within = ["memory_id", "subject"]
    parts = [unit_means(scores, keys, within=within).assign(over="all memories")]
    if categories:
        named = scores.assign(category=scores["setting"].str.removeprefix("prompt=").map(categories))
        per_category = ["category", *[name for name in keys if name != "setting"]]
        # Each prompt counts alike.
        averaged = unit_means(named, per_category, within=["setting", "memory_id"])
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
                parts.append(unit_means(found, [*GROUP, *at, "metric"]).assign(over=over))
    return _counted(pd.concat(parts, ignore_index=True).reindex(columns=[*FIRST, "partition", "value"]))


def per_list(trials: pd.DataFrame) -> pd.DataFrame:
    """The value of every list of a phenomenon: over ("list"), dataset, method, condition, measure, partition (its number),
    value. All tests and figures of phenomena can be made of it."""
    values = unit_means(trials, ["dataset", "method", "condition", "measure"], unit="list")
    return values.rename(columns={"list": "partition"}).assign(over="list")


def curves(partitions: pd.DataFrame) -> pd.DataFrame:
    """Means over partitions, with spread and interval (`memsci.measures.statistics.mean_table`).

    The table is that of `per_partition` or `memsci.evaluate.gate_accuracy.partition_rates`, also once it was written and
    read; its columns less partition and value, then mean, sd, low, high, n come out.
    """
    return _counted(mean_table(partitions))


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of runs that differ in their partitions alone, as one run would have given them.

    What is measured over the same stands together ("all memories", "first memory" ...), within it groups of values in the
    order of their first rows, and within each the partitions by number. Tables without values are confusions, which a run
    has of the first partition of each data set alone.
    """
    found = pd.concat(tables, ignore_index=True)
    if "value" not in found:
        return found[found["partition"] == found.groupby("dataset")["partition"].transform("min")].reset_index(drop=True)
    group = found.groupby([name for name in found if name not in ("partition", "value")], sort=False, dropna=False).ngroup()
    over = pd.factorize(found["over"])[0] if "over" in found else group
    return _counted(found.iloc[np.lexsort([found["partition"], group, over])].reset_index(drop=True))


def _counted(table: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers as such, also where some are missing."""
    return table.astype({name: "Int64" for name in ("stop", "lag", "layer") if name in table})
