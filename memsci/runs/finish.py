"""The tables of a run, made from its finished cells; and their scores, made anew from the answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from memsci import experiments, provenance
from memsci.errors import MemsciError
from memsci.files import write_json
from memsci.measures.metrics import METRICS
from memsci.runs import folder as files
from memsci.runs.tables import curves, per_list, per_partition
from memsci.runs.worker import scored


def finish(folder: Path, about: dict[str, Any] | None = None) -> None:
    """Make the tables of a run from its finished cells, and write down how far it is; one runner does so at a time."""
    with FileLock(folder / ".finish.lock"):
        _finish(folder, about or files.read_json(folder / "run.json"))


def _finish(folder: Path, about: dict[str, Any]) -> None:
    cells = [(cell["id"], cell["label"]) for cell in about["cells"]]
    done = files.gather(folder, [cell_id for cell_id, _ in cells])
    # The protocol of each of a million scores would be most of the table.
    scores, gates = (files.table(folder, "scores", without=["protocol"]), files.table(folder, "gates", without=["question"]))
    if scores is not None:
        told = files.distinct(folder, "scores", ["metric", "protocol"]).groupby("metric", sort=False, observed=True)
        about["protocol"] = {metric: " | ".join(several) for metric, several in told["protocol"]}
        prompts = scores["setting"].str.startswith("prompt=").all()
        values = per_partition(scores, experiments.prompt_categories() if prompts else None)
        files.write_table(folder, "partitions", values)
    if gates is not None:
        from memsci.evaluate import gate_accuracy

        about["protocol"] = {"correct gate": METRICS["correct gate"].protocol}
        files.write_table(folder, "partitions", gate_accuracy.partition_rates(gates))
        if (compared := gates["comparison"] == "by embedding").any():
            files.write_table(folder, "confusion", gate_accuracy.confusions(gates[compared]))
    if (trials := files.table(folder, "trials")) is not None:
        about["protocol"] = dict(trials[["dataset", "protocol"]].drop_duplicates().itertuples(index=False, name=None))
        files.write_table(folder, "partitions", per_list(trials))
    if (values := files.table(folder, "partitions")) is not None:
        # From the file, so that whoever has the file finds the same curves to the last digit.
        files.write_table(folder, "curves", curves(values))
    seconds = [files.about_cell(folder, one)["seconds"] if one in done else None for one, _ in cells]
    table = pd.DataFrame(cells, columns=["cell", "label"]).assign(finished=lambda t: t["cell"].isin(done), seconds=seconds)
    files.write_table(folder, "cells", table)
    about["seconds"] = round(float(table["seconds"].sum()), 1)
    about["status"] = "finished" if table["finished"].all() else "unfinished"
    if about["status"] == "finished":
        files.sweep(folder)
        about |= files.made(folder, [cell["id"] for cell in about["cells"]])
    write_json(folder / "run.json", about)


def score(folder: Path, judges: Sequence[Any] = (), embed: Any = None) -> None:
    """Score the responses of a run anew, without any model: with judges (`memsci.measures.judges`) beside the rule judge, or
    another embedding (see `memsci.evaluate.score`)."""
    ids = [cell["id"] for cell in files.read_json(folder / "run.json")["cells"]]
    if not any((folder / "cells" / cell_id / "responses.csv.gz").is_file() for cell_id in ids):
        raise MemsciError(f"{folder} holds no responses to score. Give the folder of a run that asked questions.")
    if lacking := sum(not files.finished(folder, cell_id) for cell_id in ids):
        raise MemsciError(f"{lacking} of {len(ids)} cells of {folder} are not finished. Run it to its end first.")
    for cell_id in ids:
        score_cell(folder, cell_id, judges, embed)
    finish(folder)


def score_cell(folder: Path, cell_id: str, judges: Sequence[Any] = (), embed: Any = None) -> None:
    """Replace the scores of one finished cell."""
    kept = {name: files.cell_table(folder, cell_id, name) for name in ("responses", "quiz")}
    made = scored({name: table for name, table in kept.items() if table is not None}, judges, embed)
    if "scores" in made:
        files.write_cell_table(folder, cell_id, "scores", made["scores"])
        by = {"commit": provenance.commit(), "versions": provenance.versions(), "at": provenance.now()}
        files.note(folder, cell_id, {"scored": by})
