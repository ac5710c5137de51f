"""One family of errors, and the policy for all of memsci.

Whatever a user gives that cannot be used raises `MemsciError`, at the border and before costly work begins. The message
names what was given, what is allowed and what to do. Errors of other libraries and of the operating system are turned into
it where they are the user's to mend. Docstrings have a section ``Raises`` only where the condition is not obvious.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MemsciError(ValueError):
    """Something given to memsci cannot be used as it is; the message says why and what to do instead."""


def check_in(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise unless `value` is one of `allowed`; `name` is what the user calls it."""
    options = list(allowed)
    if value not in options:
        shown = ", ".join(map(repr, options))
        raise MemsciError(f"{name} must be one of {shown}; {value!r} was given.{meant(value, options)}")


def check_columns(what: str, names: Iterable[object], there: Iterable[object]) -> None:
    """Raise unless a table, which the user calls `what`, has the columns `names` among those that are `there`."""
    there = list(there)
    for name in names:
        if name not in there:
            shown = ", ".join(map(str, there))
            raise MemsciError(f"{what} has no column {name!r}; it has: {shown}.{meant(name, there)}")


def meant(value: object, allowed: Iterable[object]) -> str:
    """The end of a message: which of the names that there are is nearly the one given; empty if none is.

    Examples
    --------
    >>> meant("Mega", ["Base", "RAG", "MEGa"]), meant("Full", ["RAG"])
    (" Did you mean 'MEGa'?", '')
    """
    names = {one.casefold(): one for one in allowed if isinstance(one, str)}
    near = difflib.get_close_matches(value.casefold(), names, n=1) if isinstance(value, str) else []
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def check_whole(name: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise unless `value` is a whole number, no bool, from `least` to `most`; an upper bound needs a lower one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and (least is None or value >= least) and (most is None or value <= most):
        return
    bounds = "" if least is None else f" from {least} up" if most is None else f" from {least} to {most}"
    raise MemsciError(f"{name} must be a whole number{bounds}; {value!r} was given.")
