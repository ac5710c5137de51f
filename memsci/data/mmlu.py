"""MMLU, by which the paper checks that general abilities survive (section "Metrics"; Hendrycks et al. 2021)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from memsci.errors import MemsciError, check_in
from memsci.memory import QuizItem

# The four subjects of the paper.
SUBJECTS = ("abstract_algebra", "anatomy", "astronomy", "business_ethics")
REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"  # of cais/mmlu on the hub
SPLITS = {"test": "test", "dev": "dev", "val": "validation"}  # here and in the original files: on the hub


def mmlu(subjects: Iterable[str] = SUBJECTS, split: str = "test", source: str | Path | None = None) -> list[QuizItem]:
    """Questions of MMLU.

    Parameters
    ----------
    subjects
        Names as in the original files. Default: the four subjects of the paper.
    split
        ``"test"``, ``"dev"`` or ``"val"``.
    source
        A folder in the original layout, ``<source>/test/anatomy_test.csv`` (no header; question, four options,
        letter), or ``"hub"`` for the dataset ``cais/mmlu`` at a fixed revision through the package datasets. Default:
        the folder ``mmlu`` in that of the environment variable ``MEMSCI_DATA`` if the variable is set, otherwise the
        hub.

    Returns
    -------
    list of QuizItem
        Subject by subject, in the order of the source.
    """
    if isinstance(subjects, str):
        raise MemsciError(f"subjects must be a list of names: write [{subjects!r}].")
    check_in("split", split, SPLITS)
    if source is None:
        data = os.environ.get("MEMSCI_DATA")
        source = Path(data) / "mmlu" if data else "hub"
    if source == "hub":
        return [item for subject in subjects for item in _hub(subject, split)]
    return [item for subject in subjects for item in _folder(subject, split, Path(source).expanduser())]


def _folder(subject: str, split: str, source: Path) -> list[QuizItem]:
    path = source / split / f"{subject}_{split}.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MemsciError(
            f"{path}: the file cannot be read ({error}). MMLU in its original layout has one file per "
            "subject, such as test/anatomy_test.csv; without a folder it comes from the hub."
        ) from None
    items = []
    for number, row in enumerate(rows, start=1):
        if len(row) != 6 or row[5] not in ("A", "B", "C", "D"):
            raise MemsciError(f"{path}: row {number} must hold a question, four options, a letter A to D, not {row}.")
        items.append(_item(f"{path}: row {number}", subject, row[0], row[1:5], "ABCD".index(row[5])))
    return items


def _hub(subject: str, split: str) -> list[QuizItem]:
    try:
        import datasets  # heavy, and needed only here
    except ImportError:
        raise MemsciError(
            "MMLU from the hub needs the package datasets: pip install datasets, or give source a folder."
        ) from None
    try:
        rows = datasets.load_dataset("cais/mmlu", subject, split=SPLITS[split], revision=REVISION)
    except Exception as error:  # the package raises many kinds: no network, no such subject, …
        raise MemsciError(
            f"cais/mmlu, subject {subject!r}, could not be had from the hub ({error}). Without network, "
            "give source a folder with the original CSV files."
        ) from None
    return [
        _item(f"cais/mmlu, {subject}, row {number}", subject, row["question"], row["choices"], row["answer"])
        for number, row in enumerate(rows, start=1)
    ]


def _item(where: str, subject: str, question: str, options: list[str], answer: int) -> QuizItem:
    try:
        return QuizItem(subject, question, tuple(options), answer)
    except MemsciError as error:
        raise MemsciError(f"{where}: {error}") from None
