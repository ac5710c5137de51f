"""Learners and measures of other packages: what they name as entry points of the group "memsci" is loaded."""

from __future__ import annotations

from importlib.metadata import entry_points

_loaded: set[str] = set()


def load() -> None:
    """Import every entry point once, so that its learners and measures are known, also in the processes of a run."""
    for point in entry_points(group="memsci"):
        if point.value not in _loaded:
            _loaded.add(point.value)  # first: the module itself may ask what is known
            point.load()
