"""Finished runs for others to have: figures, and the tables that they are drawn from, in a folder that holds no texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memsci import provenance
from memsci.errors import MemsciError
from memsci.experiments import dataset_name, show_numbers
from memsci.files import as_folder, content, make_folder, write_json
from memsci.runs import folder as files
from memsci.runs.tables import curves, together

TABLES = ("partitions", "confusion")


def publish(folder: Path, out: Path, add: bool = False) -> list[Path]:
    """Put what a reader of a finished run needs into a folder: figures, and the tables that they are drawn from.

    `memsci figures OUT` draws the same figures from it, and `memsci.runs.tables.curves` of its partitions.csv.gz are its
    curves. Texts, single scores and the cells stay behind, and so do the names of machines and folders. Each cell must come
    from code that others can have.

    Parameters
    ----------
    folder, out
        Folder of the run, and folder to be filled; figures that it holds already are replaced.
    add
        Add the partitions of this run to those of the run that `out` holds: the same experiment with the same settings, on
        other partitions, run elsewhere or at another time. Tables and figures are then those of one run of all of them.
    """
    from memsci.runs.report import draw

    out = as_folder(out)
    about, config = files.read_json(folder / "run.json"), files.read_json(folder / "config.json")
    if about["status"] != "finished":
        raise MemsciError(f"{folder} is {about['status']}. Only a finished run is published: run it to its end first.")
    about |= files.made(folder, [cell["id"] for cell in about["cells"]])
    _check_publishable(folder, config, about["commits"])
    for private in ("machine", "failed", "commit"):  # the commit is that of the folder; what counts are those of the cells
        about.pop(private, None)
    if (base := Path(about["base"]["name"])).is_absolute():
        about["base"]["name"] = base.name
    about["datasets"] = [dataset_name(dataset) for dataset in about["datasets"]]
    tables = {name: found for name in TABLES if (found := files.table(folder, name)) is not None}
    if add:
        earlier = files.read_json(out / "config.json")
        _check_alike(out, earlier, config)
        about = _both(files.read_json(out / "run.json"), about)
        config = _all_data(earlier, config)
        about |= _told(config)
        tables = {name: together([files.table(out, name), table]) for name, table in tables.items()}
    make_folder(out)
    for name, table in tables.items():
        files.write_table(out, name, table)
    made = ["run.json", "config.json", *map(files.file_name, tables)]
    if "partitions" in tables:
        # From the file, so that whoever has the file finds the same curves to the last digit.
        files.write_table(out, "curves", curves(files.table(out, "partitions")))
        made.append(files.file_name("curves"))
    write_json(out / "config.json", config)
    write_json(out / "run.json", about)
    return [out / name for name in made] + draw(out, out)


def _check_publishable(folder: Path, config: Mapping[str, Any], commits: list[str | None]) -> None:
    """Raise unless what this code would make of a run is what lies there, and others can have the code of its cells."""
    if (version := config.get("version")) != files.VERSION:
        raise MemsciError(
            f"{folder} holds tables of version {version}; this memsci makes version {files.VERSION}, whose numbers differ. "
            "Run the experiment anew."
        )
    if changed := [commit for commit in commits if commit and commit.endswith(provenance.CHANGED)]:
        raise MemsciError(
            f"Cells of {folder} were made, or scored, by code with uncommitted changes ({', '.join(changed)}). Commit "
            "them, and run the experiment anew in another folder of runs (--folder), where no such cell is taken over; if "
            "they were but scored by it, score them anew."
        )


def _check_alike(out: Path, earlier: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise unless the two runs differ in their partitions alone, and have none in common."""
    if "by count" in config["experiment"]["methods"]:
        raise MemsciError("This run measures all its partitions together, so others cannot be added. Run it on all of them.")
    sides = [_flat({key: value for key, value in one.items() if key != "data"}) for one in (earlier, config)]
    names = dict.fromkeys([*sides[0], *sides[1]])
    for name in sorted(names, key=lambda name: not name.startswith("experiment.")):  # which tells people most
        ours, theirs = (side.get(name, "nothing") for side in sides[::-1])
        if name not in ("experiment.partitions", "experiment.datasets") and ours != theirs:
            raise MemsciError(
                f"The run in {out} was made otherwise: its {name} is {theirs}, here it is {ours}. Only runs that differ in "
                "their partitions are put together; publish this one into a folder of its own."
            )
    if common := [name for name in config["data"] if name in earlier["data"]]:
        raise MemsciError(
            f"The run in {out} has {', '.join(common)} already. Give a run of other partitions, or publish all anew without "
            "adding."
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The values within values, each by its path: "experiment.stops"."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {path: one for key in value for path, one in _flat(value[key], f"{name}.{key}" if name else key).items()}


def _all_data(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the partitions of both, in the order in which one run would have them."""
    datasets = list(dict.fromkeys([*earlier["experiment"]["datasets"], *config["experiment"]["datasets"]]))
    numbers = sorted({*earlier["experiment"]["partitions"], *config["experiment"]["partitions"]})
    data = {**earlier["data"], **config["data"]}
    names = [name for dataset in datasets for number in numbers if (name := f"{dataset} {number}") in data]
    experiment = {**config["experiment"], "datasets": datasets, "partitions": numbers}
    return {**config, "experiment": experiment, "data": {name: data[name] for name in names}}


def _told(config: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of the data: datasets; partitions as text, by data set if they are not the same; their hash."""
    held: dict[str, list[int]] = {dataset: [] for dataset in config["experiment"]["datasets"]}
    for name in config["data"]:
        dataset, _, number = name.rpartition(" ")
        held[dataset].append(int(number))
    shown = {dataset: show_numbers(numbers) for dataset, numbers in held.items()}
    alike = len(set(shown.values())) == 1
    text = next(iter(shown.values())) if alike else "; ".join(f"{name} {numbers}" for name, numbers in shown.items())
    return {"datasets": list(held), "partitions": text, "data": content([*config["data"].values()])}


def _both(earlier: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of two runs that became one."""
    sides = (earlier, about)
    seconds = [side["processor_seconds"] for side in sides]
    distinct = lambda key: list(dict.fromkeys(one for side in sides for one in side[key]))
    joint = lambda key, mark: {
        name: mark.join(dict.fromkeys(side[key][name] for side in sides if name in side[key])) for name in distinct(key)
    }
    return {
        **about,
        "versions": joint("versions", ", "),
        "protocol": joint("protocol", " | "),
        "threads": about["threads"] if earlier["threads"] == about["threads"] else None,
        "begun": min(side["begun"] for side in sides),
        "seconds": round(sum(side["seconds"] for side in sides), 1),
        "processor_seconds": None if None in seconds else round(sum(seconds), 1),
        "cells": [*earlier["cells"], *about["cells"]],
        "commits": distinct("commits"),
    }
