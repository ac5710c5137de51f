"""One family of errors, and the policy for all of memsci.

Whatever a user gives that cannot be used raises `MemsciError`, at the border and before costly work begins. The message
names what was given, what is allowed and what to do. Errors of other libraries and of the operating system are turned into
it where they are the user's to mend. Docstrings have a section ``Raises`` only where the condition is not obvious.
"""

from __future__ import annotations

from collections.abc import Iterable


class MemsciError(ValueError):
    """Something given to memsci cannot be used as it is; the message says why and what to do instead."""


def check_in(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise unless `value` is one of `allowed`; `name` is what the user calls it."""
    options = list(allowed)
    if value not in options:
        raise MemsciError(f"{name} must be one of {', '.join(map(repr, options))}; {value!r} was given.")


def check_whole(name: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise unless `value` is a whole number, no bool, from `least` to `most`; an upper bound needs a lower one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and (least is None or value >= least) and (most is None or value <= most):
        return
    bounds = "" if least is None else f" from {least} up" if most is None else f" from {least} to {most}"
    raise MemsciError(f"{name} must be a whole number{bounds}; {value!r} was given.")
