"""Passages that people read and were asked about, with what each of them answered.

From nickatomlin/simulating-memory (arXiv 2605.25680), data under CC BY 4.0: ten Wikipedia passages and ten stories of some
600 words, ten questions with four options about each; every person read one passage and one story, and answered from memory.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from memsci.errors import MemsciError, check_in
from memsci.files import as_path
from memsci.memory import QuizItem

COMMIT = "431474a92c1993c7d10e1e4ac4034f6a26be8903"
KINDS = {"factual": "wikipedia_10docs_questions.json", "narrative": "narrative_QA.json"}
_FIELDS = {  # where each file has its passages: list, text and options
    "factual": ("results", "excerpt_first_600_words_plus_sentence", "choices"),
    "narrative": ("items", "story_text", "options"),
}


@dataclass(frozen=True)
class Reading:
    """One passage, and what was asked about it.

    Attributes
    ----------
    title, text : str
        The passage.
    items : tuple of QuizItem
        Ten questions with four options each; the subject of each is the title.
    """

    title: str
    text: str
    items: tuple[QuizItem, ...]


def readings(kind: str = "factual", folder: str | Path | None = None) -> list[Reading]:
    """The ten passages of a kind.

    Parameters
    ----------
    kind
        "factual" (from Wikipedia) or "narrative" (stories written by a language model).
    folder
        Where ``human/materials`` lies. Default: that of the environment variable ``MEMSCI_DATA``.
    """
    check_in("kind", kind, KINDS)
    path = _folder(folder) / "materials" / KINDS[kind]
    within, text, options = _FIELDS[kind]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        passages = content[within]
        return [
            Reading(title, one[text].strip(), tuple(_item(title, asked, options) for asked in one["questions"]))
            for one in passages
            for title in [one["title"]]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MemsciError(f"{path} does not hold the passages ({type(error).__name__}: {error}). {_HELP}") from None


def answers(kind: str = "factual", folder: str | Path | None = None) -> pd.DataFrame:
    """What people answered: a row per person and question.

    Answers to questions that none of the passages has are left out (48 of 520 about stories).

    Parameters
    ----------
    kind, folder
        As in `readings`.

    Returns
    -------
    pandas.DataFrame
        participant, reading (its number in `readings`), item (number of the question, from 0), correct (0 or 1).
    """
    check_in("kind", kind, KINDS)
    path = _folder(folder) / f"{kind}_qa.csv"
    asked = {
        _plain(item.question): (number, place)
        for number, one in enumerate(readings(kind, folder))
        for place, item in enumerate(one.items)
    }
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        found = rows["question"].map(lambda text: asked.get(_plain(text)))
        rows, found = rows[found.notna()], found.dropna().tolist()
        return pd.DataFrame(
            {
                "participant": rows["participant"].tolist(),
                "reading": [number for number, _ in found],
                "item": [place for _, place in found],
                "correct": rows["correct"].astype(int).tolist(),
            }
        )
    except (OSError, ValueError, KeyError) as error:
        raise MemsciError(f"{path} does not hold people's answers ({type(error).__name__}: {error}). {_HELP}") from None


_HELP = (
    f"The files are tables made from github.com/nickatomlin/simulating-memory at commit {COMMIT[:7]}: put them into a "
    "folder human, and name the folder above it in the environment variable MEMSCI_DATA."
)


def _folder(folder: str | Path | None) -> Path:
    folder = folder or os.environ.get("MEMSCI_DATA")
    if not folder:
        raise MemsciError(f"People's answers do not come with the package. {_HELP}")
    return as_path(folder) / "human"


def _item(title: str, asked: dict, options: str) -> QuizItem:
    letters = sorted(asked[options])
    return QuizItem(title, asked["question"], tuple(asked[options][one] for one in letters), letters.index(asked["answer"]))


def _plain(question: str) -> str:
    return re.sub(r"\W+", " ", question).strip().lower()
