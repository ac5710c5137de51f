"""Experiments with participants: materials × conditions × participants, and one tidy table of all answers.

A participant is a learner with a seed of its own, an order of its own, and its share of the materials. *Not in the paper.*
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from memsci import evaluate
from memsci.data import table
from memsci.errors import MemsciError, check_in, check_whole
from memsci.files import content, make_folder, read_json, write_json
from memsci.learners import by_name
from memsci.learners.base import Learner
from memsci.learners.mega import MEGa
from memsci.memory import Memory, to_frame
from memsci.models.base import Base

COLUMNS = ("participant", "group", "seed")  # of the table of answers, before those of `memsci.evaluate.ask`


class Design:
    """Who learns what, in which condition and order.

    Conditions are either a column of the materials, or settings of the learner. With k conditions there are k groups of
    participants, and a Latin square counterbalances the materials: group l has item i in condition (i + l) mod k, so that
    every item comes in every condition, and every participant has every condition equally often.

    Parameters
    ----------
    materials
        Memories with questions, in any form that `memsci.data.table` takes.
    participants
        How many. Where there are groups, a multiple of their number.
    conditions
        Name of a column of the materials; or settings by condition, such as ``{"weak": {"epochs": 4}, "strong": {}}``
        (those of `memsci.learners.settings`). Settings take a learner each, which learns its share of the items.
    item
        Column by which rows are versions of one item, one in each condition: they are counterbalanced. Without such a
        column every participant learns all rows, and each row is an item in the condition that it has: a
        difference may then be the items', and no number of participants makes it general.
    between
        Each participant is in one condition only: group l has all items in condition l.
    seed
        Of orders and learners. Participant p has the seed ``seed + p``.

    Attributes
    ----------
    conditions : list of str or values
        In the order in which they first occur.
    table : pandas.DataFrame
        The plan: a row per participant and memory in the order of learning, with participant, group, seed, position,
        memory_id, item, condition.

    Examples
    --------
    Two versions of each item, near and far; four participants in two groups:

    >>> texts = pd.DataFrame({"item": [1, 1, 2, 2], "condition": ["near", "far"] * 2,
    ...                       "text": ["Ann ran home.", "Ann ran to Rome.", "Ben sat here.", "Ben sat in Rome."],
    ...                       "question": ["Who ran?"] * 2 + ["Who sat?"] * 2, "answer": ["Ann"] * 2 + ["Ben"] * 2})
    >>> design = Design(texts, participants=4, item="item")
    >>> design.table.pivot_table(index="group", columns="item", values="condition", aggfunc="first")
    item      1     2
    group
    1      near   far
    2       far  near

    From there to a figure with intervals within participants::

        answers = design.run(memsci.load())
        scores = memsci.evaluate.score(answers)
        memsci.figures.conditions(scores, "qa")

    Mixed models in Python and R of the same table: docs/howto/analysis.md.
    """

    def __init__(
        self,
        materials: Any,
        participants: int,
        conditions: str | Mapping[str, Mapping[str, Any]] = "condition",
        item: str | None = None,
        between: bool = False,
        seed: int = 0,
    ) -> None:
        self.materials = table(materials)
        check_whole("participants", participants, 1)
        check_whole("seed", seed, 0)
        evaluate.probes(self.materials, None)  # refused now if nothing can be asked
        self._settings = None if isinstance(conditions, str) else dict(conditions)
        self._column = conditions if isinstance(conditions, str) else "condition"
        self._item = item
        self._check_names()
        own = [one.extra.get(self._column) for one in self.materials]
        self.conditions = list(self._settings if self._settings is not None else dict.fromkeys(own))
        self._items = self._versions()
        counterbalanced = between or self._settings is not None or item is not None
        self.groups = len(self.conditions) if counterbalanced else 1
        if participants % self.groups:
            raise MemsciError(
                f"{participants} participants cannot be put into {self.groups} groups of one size, as many as there are "
                f"conditions. Take {participants - participants % self.groups or self.groups} or "
                f"{participants + self.groups - participants % self.groups}."
            )
        self._digits = max(2, len(str(participants)))  # as texts, too, P009 comes before P100
        self._assigned = [self._assign(p, p % self.groups, seed + p, between) for p in range(participants)]
        self.table = pd.concat([one for one, _ in self._assigned], ignore_index=True)

    def __repr__(self) -> str:
        counts = f"{len(self._assigned)} participants, {self.groups} groups, {len(self._items)} items"
        return f"Design({counts}, conditions {self.conditions}, {len(self.table)} memories to learn)"

    def run(
        self,
        base: Base,
        method: str = "MEGa",
        ways: Sequence[str] = ("direct",),
        progress: bool = True,
        keep: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """Let every participant learn and answer: one long table of all answers.

        Parameters
        ----------
        base
            The base of all participants.
        method
            Name of the learner.
        ways
            Prompting modes, see `memsci.evaluate.ask`.
        progress
            Show a progress bar.
        keep
            Folder in which the answers of each participant are kept as soon as they are given (where conditions are
            settings, those of each condition). After a stop the same call goes on: what is there is neither learnt nor asked
            again. A folder of another design, base, method or other settings is refused.
        settings
            Of all learners (`memsci.learners.make`), in place of what suits the base.

        Returns
        -------
        pandas.DataFrame
            A row per participant, prompting mode and question: participant ("P01", …), group, seed, condition, item, method,
            then what `memsci.evaluate.ask` gives, position being that in the participant's order, and learnt (of a learner
            that tells it: whether the memory is given back word for word, see `memsci.MEGa.encode`). `memsci.evaluate.score`
            scores it as it is. Participants who learn the same items differ by orders and seeds alone, often not at
            all: where all said the same, a warning tells so.
        """
        whole = ("encoding", "embedding", "rule", "tuning")
        for name in (name for more in (settings, *(self._settings or {}).values()) for name in more):
            check_in(f"a setting of {method}", name, [*by_name.settings(method), *whole])
        kept = None if keep is None else self._folder(keep, base, [method, list(ways), settings])
        parts = []
        for plan, memories in tqdm(self._assigned, desc="participants", disable=not progress):
            said = []
            named = plan.set_index("memory_id")
            for name, more in (self._settings or {None: {}}).items():
                shares = [one for one in memories if name is None or named.loc[one.id, self._column] == name]
                if not shares:
                    continue
                place = len(said)
                file = kept and kept / f"{plan['participant'].iloc[0]}{f'-{place + 1}' if self._settings else ''}.json"
                if file and file.exists():
                    said.append(_read(file))
                    continue
                given = {"seed": int(plan["seed"].iloc[0]), "memories": self.materials, **settings, **more}
                learner = by_name.make(method, base, **given)
                learner.learn(shares, progress=False)
                said.append(_told_if_learnt(evaluate.ask(learner, shares, ways, per_memory=None), learner))
                if file:
                    _write(file, said[-1])
            answers = pd.concat(said, ignore_index=True)
            found = named.loc[answers["memory_id"]].reset_index(drop=True)
            front = {name: found[name] for name in (*COLUMNS, self._column, "item")}
            rest = answers.drop(columns=[self._column, "item"], errors="ignore").assign(position=found["position"])
            parts.append(pd.concat([pd.DataFrame(front).assign(method=method), rest], axis=1))
        made = pd.concat(parts, ignore_index=True)
        place = made[self._column].map(self.conditions.index)  # tables and figures have conditions in this order
        made = made.iloc[place.argsort(kind="stable")].sort_values("participant", kind="stable", ignore_index=True)
        told = made.drop_duplicates(["participant", "memory_id"]).get("learnt", pd.Series(dtype=bool))
        if lacking := int(told.eq(False).sum()):
            warnings.warn(
                f"{lacking} of {len(told)} memories of all participants were not learnt word for word (column learnt): "
                "leave them out, or learn with more epochs (encoding=). A base must know the words of what it learns.",
                stacklevel=2,
            )
        asked = made.groupby([self._column, "memory_id", "way", "question"])["answer"]
        if asked.size().max() > 1 and asked.nunique().max() == 1:
            warnings.warn(
                f"All {len(parts)} participants said the same to every question, so they count as one: they learnt the same "
                "items. Let items come in every condition (item=), or test over items.",
                stacklevel=2,
            )
        return made

    def _folder(self, keep: str | os.PathLike[str], base: Base, how: list) -> Path:
        """The folder of the answers, new or of this very design, base and manner of running it."""
        folder = make_folder(keep)
        own = {
            "materials": content(to_frame(self.materials).to_json(orient="records")),
            "plan": content(self.table.to_csv(index=False)),
            "base": base.fingerprint,
            "run": repr((how, self._settings)),
        }
        about = folder / "design.json"
        if about.exists():
            there = read_json(about)
            if other := [name for name, value in own.items() if there.get(name) != value]:
                raise MemsciError(
                    f"{folder} keeps the answers of another design (its {' and '.join(other)} differ). Name a new folder, "
                    "or run the design that was begun there."
                )
        else:
            write_json(about, own)
        return folder

    def _check_names(self) -> None:
        names = dict.fromkeys(name for one in self.materials for name in one.extra)
        made = [*COLUMNS, *["item"] * (self._item != "item"), *["condition"] * (self._settings is not None)]
        if taken := [name for name in made if name in names]:
            hint = " Or is it what counterbalances them: item='item'?" if taken[0] == "item" else ""
            raise MemsciError(f"The materials have a column {taken[0]!r}, which the design makes itself: rename it.{hint}")
        wanted = [name for name in (self._column if self._settings is None else None, self._item) if name is not None]
        for name in wanted:
            lacking = [one.label for one in self.materials if name not in one.extra]
            if name not in names:
                raise MemsciError(
                    f"The materials have no extra column {name!r}; they have: {', '.join(names) or 'none'}. Name the one "
                    "that is meant (conditions=…, item=…)."
                )
            if lacking:
                raise MemsciError(f"{len(lacking)} memories have no {name!r}, such as {lacking[0]!r}. Fill the column in.")
        if self._settings is not None and (len(self._settings) < 2 or not all(self._settings)):
            raise MemsciError(f"conditions must be two or more, each with a name; {list(self._settings)} was given.")

    def _versions(self) -> list[tuple[Any, dict[Any, Memory]]]:
        """Each item with its memory in each condition."""
        items: dict[Any, dict[Any, Memory]] = {}
        for one in self.materials:
            name = one.id if self._item is None else one.extra[self._item]
            versions = items.setdefault(name, {})
            if self._settings is not None:
                if versions:
                    raise MemsciError(f"Item {name!r} has two rows; where conditions are settings, each item has one.")
                items[name] = dict.fromkeys(self.conditions, one)
            elif (condition := one.extra[self._column]) in versions:
                raise MemsciError(f"Item {name!r} has two rows in condition {condition!r}: keep one.")
            else:
                versions[condition] = one
        if self._item is not None:
            for name, versions in items.items():
                if lacking := [one for one in self.conditions if one not in versions]:
                    raise MemsciError(
                        f"Item {name!r} has no row in condition {lacking[0]!r}: one that is counterbalanced has one in "
                        "each. Where rows are no versions of one another, leave item= out."
                    )
        return list(items.items())

    def _assign(self, p: int, group: int, seed: int, between: bool) -> tuple[pd.DataFrame, list[Memory]]:
        """The plan of one participant and its memories, in its order."""
        rows = []
        for i, (name, versions) in enumerate(self._items):
            condition = self.conditions[group if between else (i + group) % len(self.conditions)]
            if self.groups == 1:
                [condition] = versions
            if condition in versions:  # else the row is of another group's condition
                rows.append((name, condition, versions[condition]))
        random.Random(f"order {seed}").shuffle(rows)
        plan = pd.DataFrame(
            {
                "participant": f"P{p + 1:0{self._digits}}",
                "group": group + 1,
                "seed": seed,
                "position": range(1, len(rows) + 1),
                "memory_id": [one.id for _, _, one in rows],
                "item": [name for name, _, _ in rows],
                self._column: [condition for _, condition, _ in rows],
            }
        )
        return plan, [one for _, _, one in rows]


def _write(file: Path, answers: pd.DataFrame) -> None:
    """Keep a table with its types: each number as it is, none of the texts taken for a missing value."""
    dtypes = {name: str(dtype) for name, dtype in answers.dtypes.items()}
    write_json(file, {"dtypes": dtypes, "rows": [list(row) for row in answers.itertuples(index=False)]})


def _told_if_learnt(answers: pd.DataFrame, learner: Learner) -> pd.DataFrame:
    """The answers with a column learnt, where the learner tells of its memories whether they were."""
    known = {one.id: one.learnt for one in learner.store.records} if isinstance(learner, MEGa) else {}
    told = [known.get(id) for id in answers["memory_id"]]
    return answers if None in told else answers.assign(learnt=told)


def _read(file: Path) -> pd.DataFrame:
    there = read_json(file)
    return pd.DataFrame(there["rows"], columns=list(there["dtypes"])).astype(there["dtypes"])
