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


def check_whole(name: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise unless `value` is a whole number within the bounds that are given.

    Parameters
    ----------
    name
        What the value is called where the user wrote it.
    value
        What was given. True and False are no numbers here.
    least, most
        The bounds, themselves allowed; None for no bound. An upper one needs a lower one.

    Raises
    ------
    MemsciError
        Names the setting, the value given and the bounds.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and (least is None or value >= least) and (most is None or value <= most):
        return
    bounds = "" if least is None else f" from {least} up" if most is None else f" from {least} to {most}"
    raise MemsciError(f"{name} must be a whole number{bounds}; {value!r} was given.")
