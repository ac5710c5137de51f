"""Memories that somebody might write down: short texts of invented events, one wording each."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from memsci.memory import Memory, Partition, Question


@cache
def everyday() -> Partition:
    """24 memories in plain English with two questions each: eight of one's life, eight of the news, eight facts.

    They are invented and written for this package, so no model was trained on them. None has a paraphrase.

    Examples
    --------
    >>> memory = everyday().memories[0]
    >>> memory.label, memory.questions[1].answer
    ('my first bicycle', 'bright orange')
    """
    memories = tuple(
        Memory(one["text"], one["id"], one["label"], questions=tuple(Question(*both) for both in one["questions"]))
        for one in _content()["memory"]
    )
    return Partition("everyday", memories)


def unanswered() -> tuple[str, ...]:
    """Questions like those of :func:`everyday` that none of its memories answers."""
    return tuple(_content()["unanswered"])


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads((resources.files("memsci") / "data" / "everyday.toml").read_text(encoding="utf-8"))
