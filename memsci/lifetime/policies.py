"""Which memories sleep: by age, use, salience or likeness. A policy is a plain value with ``choose(mind) -> ids``.

Any object with that method is one. All but `Chosen` pass over memories that share an adapter already. Ids come in the order
of encoding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from memsci.errors import MemsciError, check_in, check_whole
from memsci.store.record import Remembered


@dataclass(frozen=True)
class Chosen:
    """The memories of these ids."""

    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.ids, str):
            raise MemsciError(f"Chosen takes a list of ids; the text {self.ids!r} was given. Put it in a list.")
        object.__setattr__(self, "ids", tuple(self.ids))

    def choose(self, mind: Any) -> list[str]:
        """The ids, if all are stored."""
        for id in self.ids:
            if id not in mind.store:
                raise mind.store.unknown(id)
        return _in_order(mind, self.ids)


@dataclass(frozen=True)
class Oldest:
    """The memories that were encoded first.

    Parameters
    ----------
    n
        How many; None for all that have an adapter of their own.
    awake
        So many of the newest are passed over.
    """

    n: int | None = None
    awake: int = 0

    def __post_init__(self) -> None:
        if self.n is not None:
            check_whole("n", self.n, least=1)
        check_whole("awake", self.awake, least=0)

    def choose(self, mind: Any) -> list[str]:
        """The first ids."""
        found = [one.id for one in _separate(mind)]
        return found[: max(0, len(found) - self.awake)][: self.n]


@dataclass(frozen=True)
class Used:
    """The memories used least, or most.

    Parameters
    ----------
    times
        How often each was used, by id, as you counted it (of `Gate.top`, for instance); those left out 0 times.
    n
        How many.
    most
        Those used most instead.
    """

    times: Mapping[str, float] = dataclasses.field(hash=False)
    n: int
    most: bool = False

    def __post_init__(self) -> None:
        check_whole("n", self.n, least=1)
        check_in("most", self.most, (False, True))

    def choose(self, mind: Any) -> list[str]:
        """The ids; of equals the older."""
        sign = -1 if self.most else 1
        found = sorted((one.id for one in _separate(mind)), key=lambda id: sign * self.times.get(id, 0))
        return _in_order(mind, found[: self.n])


@dataclass(frozen=True)
class Extra:
    """The memories with the lowest, or highest, value of an extra column, such as their salience.

    Parameters
    ----------
    column
        One of `memsci.memory.Memory.extra`, of numbers; memories without a value are passed over.
    n
        How many.
    highest
        Those with the highest instead.
    """

    column: str
    n: int
    highest: bool = False

    def __post_init__(self) -> None:
        check_whole("n", self.n, least=1)
        check_in("highest", self.highest, (False, True))

    def choose(self, mind: Any) -> list[str]:
        """The ids; of equals the older."""
        values = {one.id: (one.extra or {}).get(self.column) for one in _separate(mind)}
        values = {id: value for id, value in values.items() if value is not None}
        if not values or not all(isinstance(value, (int, float)) for value in values.values()):
            known = sorted({name for one in mind.store.records for name in one.extra or {}})
            raise MemsciError(
                f"No memory with an adapter of its own has a number in the extra column {self.column!r}; there are the "
                f"columns: {', '.join(map(repr, known)) or 'none'}. Encode memories with such a column, or choose otherwise."
            )
        sign = -1 if self.highest else 1
        return _in_order(mind, sorted(values, key=lambda id: sign * values[id])[: self.n])


@dataclass(frozen=True)
class Alike:
    """The memories most like another one, by the cosine of their keys.

    Parameters
    ----------
    n
        How many.
    """

    n: int

    def __post_init__(self) -> None:
        check_whole("n", self.n, least=1)

    def choose(self, mind: Any) -> list[str]:
        """The ids of those whose nearest neighbour is nearest."""
        found = [one.id for one in _separate(mind)]
        if len(found) < 2:
            return []
        keys = torch.nn.functional.normalize(torch.stack([one.key for one in _separate(mind)]), dim=1)
        nearest = (keys @ keys.T).fill_diagonal_(-torch.inf).max(dim=1).values
        return _in_order(mind, [found[i] for i in nearest.argsort(descending=True, stable=True)[: self.n]])


def _separate(mind: Any) -> list[Remembered]:
    """The memories that have an adapter of their own."""
    return [one for one in mind.store.records if not one.shared]


def _in_order(mind: Any, ids: Iterable[str]) -> list[str]:
    wanted = set(ids)
    return [id for id in mind.ids if id in wanted]
