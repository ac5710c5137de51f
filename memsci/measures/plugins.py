"""Learners and measures of other packages: what they name as entry points of the group "memsci" is loaded."""

from __future__ import annotations

from importlib.metadata import entry_points

from memsci.errors import MemsciError

_begun = False


def load() -> None:
    """Import all entry points, once, so that their learners and measures are known, also in the processes of a run."""
    global _begun
    if _begun:
        return
    _begun = True  # first: the modules themselves may ask what is known
    for point in entry_points(group="memsci"):
        try:
            point.load()
        except Exception as error:  # whatever a module of others raises
            raise MemsciError(
                f"{point.value}, the entry point {point.name!r} of the group memsci, cannot be loaded ({error}). Mend its "
                "package, or uninstall it."
            ) from error
