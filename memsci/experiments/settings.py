"""Settings as text: "strength=0.1; where=attention", numbers such as "0-3,7", and what they say to a learner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from memsci.errors import MemsciError, check_in
from memsci.prompts import FINE_TUNING_PROMPTS

MOST = 100_000  # numbers of a range

# Shares of the depth: layers 1–10, 10–21 and 21–32 of 32 (paper, Table 3).
REGIONS = {"early": (1, 10), "middle": (10, 21), "late": (21, 32)}
OF_DATA = ("paraphrases", "questions")  # settings that change what is learnt or asked, not the learner
_WORDS = {"true": True, "false": False, "none": None}


def parse(setting: str) -> dict[str, Any]:
    """Names and values in a setting. Values are whole numbers, numbers, true, false, none, or else text; commas make tuples.

    Examples
    --------
    >>> parse("strength=0.1; where=attention; layers=0,2")
    {'strength': 0.1, 'where': 'attention', 'layers': (0, 2)}
    """
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in setting.split(";"))):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not name or name in values:
            raise MemsciError(f"A setting is written 'name=value; name=value', each name once; {setting!r} was given.")
        read = tuple(_value(piece.strip()) for piece in text.split(",") if piece.strip())
        values[name] = read if "," in text else read[0] if read else ""
    return values


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def of_learner(setting: str, layers: int) -> dict[str, Any]:
    """What a setting changes of a learner whose base has so many layers; regions become numbers of layers."""
    values = {name: value for name, value in parse(setting).items() if name not in OF_DATA}
    if isinstance(values.get("layers"), str):
        values["layers"] = region(values["layers"], layers)
    elif isinstance(values.get("layers"), int):
        values["layers"] = (values["layers"],)
    return values


def region(name: str, layers: int) -> tuple[int, ...]:
    """Layers, counted from 0, of the "early", "middle" or "late" part of a model with so many.

    Examples
    --------
    >>> region("early", 5)
    (0, 1)
    """
    check_in("layers", name, REGIONS)
    first, last = (max(1, round(edge * layers / 32)) for edge in REGIONS[name])
    return tuple(range(first - 1, last))


def prompt_categories() -> dict[str, str]:
    """The category of each fine-tuning prompt, by the name that `Encoding.prompt` takes."""
    return {name: category for category, named in FINE_TUNING_PROMPTS.items() for name in named}


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from a text such as "0-3,7"."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise MemsciError(f"Numbers are written like '0-3,7'; {text!r} was given.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise MemsciError(f"A range must rise; {part!r} was given.")
        if last - first >= MOST:
            raise MemsciError(f"A range may have {MOST} numbers at most; {part!r} was given.")
        found += range(first, last + 1)
    if not found or len(set(found)) < len(found):
        raise MemsciError(f"Each number must come once; {text!r} was given.")
    return tuple(found)


def show_numbers(values: Sequence[int]) -> str:
    """The shortest text that `numbers` reads as these values."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][-1] + 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
