"""Packages that are slow to import, and that answering a question does not need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """A package that is imported when something of it is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def later(package: str) -> Any:
    """A package, imported when something of it is first used; for modules on the way from the program to an answer.

    Examples
    --------
    >>> later("statistics").mean([1, 2, 3])
    2
    """
    return _Later(package)
