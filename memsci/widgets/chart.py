"""Small line charts in the colours of the page around them, drawn without matplotlib: a worker may draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 300, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 292, 26, 158


@dataclass(frozen=True)
class Look:
    """How a line is drawn: a CSS colour, dashes (of SVG), and a marker, "dot", "ring" or "cross"."""

    color: str
    marker: str = "dot"
    dashes: str = ""


def chart(
    title: str, lines: Mapping[str, Sequence[tuple[float, float]]], looks: Mapping[str, Look], axis: str, told: str
) -> str:
    """A chart of lines from 0 up, as an SVG.

    Parameters
    ----------
    title
        Stands above it.
    lines
        Points (x, y) of each line, at least one; a line is broken where x leaps by more than 1.
    looks
        Of each line, by its name.
    axis
        Name of the x axis.
    told
        The chart in words, for who listens.
    """
    points = [point for line in lines.values() for point in line]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    top = ceiling(max(y for _, y in points))
    across = lambda x: _LEFT + (_RIGHT - _LEFT) * (x - low) / max(high - low, 1)
    down = lambda y: _BOTTOM - (_BOTTOM - _TOP) * y / top
    grid = "".join(
        f'<path d="M{_LEFT} {down(level):.1f}H{_RIGHT}" stroke="currentColor" opacity="0.25"/>'
        f'<text x="{_LEFT - 5}" y="{down(level) + 4:.1f}" text-anchor="end">{level:g}</text>'
        for level in (0, top / 2, top)
    )
    step = max(1, -(-int(high - low) // 8))
    ticks = "".join(
        f'<text x="{across(x):.1f}" y="{_BOTTOM + 14}" text-anchor="middle">{_signed(x, low)}</text>'
        for x in range(int(low), int(high) + 1, step)
    )
    drawn = "".join(
        _line([(across(x), down(y)) for x, y in piece], looks[name])
        for name, line in lines.items()
        for piece in _pieces(line)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{escape(told)}" '
        f'fill="currentColor" font-family="sans-serif" font-size="11"><text x="4" y="13" font-weight="600">'
        f'{escape(title)}</text>{grid}{ticks}<text x="{(_LEFT + _RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(axis)}</text>{drawn}</svg>"
    )


def sample(look: Look) -> str:
    """A piece of a line as it is drawn, for a legend; it is nothing to who listens."""
    line = _line([(2, 5), (17, 5), (32, 5)], look)
    return f'<svg viewBox="0 0 34 10" width="34" height="10" aria-hidden="true">{line}</svg>'


def ceiling(value: float) -> float:
    """A round number that is not below the value, for the top of an axis."""
    steps = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 4, 6, 8)]
    return next((step for step in steps if step >= value), value)


def _signed(x: int, low: float) -> str:
    return f"{x:+d}".replace("-", "−") if low < 0 and x else str(x)


def _pieces(line: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = []
    for point in sorted(line):
        if not pieces or point[0] - pieces[-1][-1][0] > 1:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def _line(points: Sequence[tuple[float, float]], look: Look) -> str:
    dashes = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="{look.color}" stroke-width="2"{dashes}/>'
    return line + "".join(_marker(x, y, look) for x, y in points)


def _marker(x: float, y: float, look: Look) -> str:
    if look.marker == "cross":
        cross = f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"
        return f'<path d="{cross}" fill="none" stroke="{look.color}" stroke-width="2"/>'
    fill = look.color if look.marker == "dot" else "var(--jp-layout-color0, #fff)"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}" stroke="{look.color}" stroke-width="1.5"/>'
