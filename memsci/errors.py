"""One family of errors: each says what was given, what is allowed, and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class MemsciError(ValueError):
    """Something given to memsci cannot be used as it is; the message says why and what to do instead."""


def check_in(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise unless `value` is one of `allowed`.

    Parameters
    ----------
    name
        What the value is called where the user wrote it.
    value
        What was given.
    allowed
        Every value that is accepted, in the order to be shown.

    Raises
    ------
    MemsciError
        Names the setting, the value given and all allowed values.
    """
    options = list(allowed)
    if value not in options:
        raise MemsciError(f"{name} must be one of {', '.join(map(repr, options))}; {value!r} was given.")
