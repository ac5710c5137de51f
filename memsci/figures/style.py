"""How figures look: style sheets, the colour, marker and line of every method, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from memsci.errors import check_in
from memsci.files import make_folder
from memsci.measures.methods import learner_of

COLORS = 256  # of a PNG, chosen for it: no difference is seen, and it takes a third of the bytes

SIZES = {
    "print": ("memsci.mplstyle",),
    "slide": ("memsci.mplstyle", "memsci-slide.mplstyle"),
    "column": ("memsci.mplstyle", "memsci-column.mplstyle"),
    "page": ("memsci.mplstyle", "memsci-page.mplstyle"),
}
WIDTHS = {"column": 90, "page": 190}  # mm, of figures for a journal: no title inside, 300 dots per inch
INCH = 25.4  # mm

# Okabe and Ito's colours, two of them darkened; no two methods share a marker, so that none is known by its colour alone.
METHODS_STYLE: dict[str, dict[str, Any]] = {
    "Base": {"color": "#8A8A8A", "marker": "x", "linestyle": ":"},
    "RAG": {"color": "#000000", "marker": "D", "linestyle": "--"},
    "Full": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "Full+L2": {"color": "#56B4E9", "marker": "s", "linestyle": "--"},
    "Full+EWC": {"color": "#00406B", "marker": "^", "linestyle": "-."},
    "Full batch": {"color": "#009E73", "marker": "P", "linestyle": "--"},
    "LoRA": {"color": "#E69F00", "marker": "v", "linestyle": "-"},
    "LoRA+L2": {"color": "#8C6100", "marker": "<", "linestyle": "--"},
    "MEGa": {"color": "#D55E00", "marker": "X", "linestyle": "-"},
    "iRAG": {"color": "#CC79A7", "marker": "h", "linestyle": "-"},
    "In context": {"color": "#6A3D9A", "marker": "+", "linestyle": "-."},
}
_OTHER_COLORS = ("#332288", "#44AA99", "#999933", "#882255", "#AA4499", "#661100")  # Paul Tol's "muted"
_OTHER_MARKERS = ("p", "*", "H", "d", ">")
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = "osD^vPXh<>"
REFERENCE = {"color": "#555555", "linestyle": (0, (1, 1.5)), "linewidth": 1.2}  # lines that are no method


@contextmanager
def style(size: str = "print") -> Iterator[None]:
    """The style sheets of all figures, for a ``with`` block: size "print", "slide", "column" (90 mm) or "page" (190 mm)."""
    check_in("size", size, SIZES)
    with plt.style.context([str(resources.files("memsci.figures") / name) for name in SIZES[size]]):
        yield
        # Jupyter's backend is loaded at the first figure and makes matplotlib interactive, which must outlast the style.
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)


def look(label: str) -> dict[str, Any]:
    """Colour, marker and line of a method by its label (`memsci.measures.methods.label`).

    "iRAG on X" and "X, true gate" have X's, with hollow markers and a dotted line. A method that is not in `METHODS_STYLE`
    has a look that follows from its name, the same in every figure and on every machine.

    Examples
    --------
    >>> look("Full")
    {'color': '#0072B2', 'marker': 'o', 'linestyle': '-'}
    >>> look("iRAG on Full")
    {'color': '#0072B2', 'marker': 'o', 'linestyle': ':', 'markerfacecolor': 'white'}
    >>> look("Mine")
    {'color': '#44AA99', 'marker': 'H', 'linestyle': '-'}
    """
    name = learner_of(label)
    code = crc32(name.encode())
    color, marker = _OTHER_COLORS[code % len(_OTHER_COLORS)], _OTHER_MARKERS[code % len(_OTHER_MARKERS)]
    base = METHODS_STYLE.get(name, {"color": color, "marker": marker, "linestyle": "-"})
    return dict(base) if name == label else {**base, "linestyle": ":", "markerfacecolor": "white"}


def variant(base: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """The look of one of several variants: lighter, dashed otherwise, hollow unless it is the first."""
    color = paler(base["color"], 0.45 * index / max(count - 1, 1))
    varied = {**base, "color": color, "linestyle": _DASHES[index % len(_DASHES)]}
    return varied if index == 0 else {**varied, "markerfacecolor": "white"}


def paler(color: str, white: float) -> str:
    """A colour mixed with this fraction of white.

    Examples
    --------
    >>> paler("#000000", 0.5)
    '#808080'
    """
    return to_hex(np.array(to_rgb(color)) * (1 - white) + white)


def cycle(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A look for each name, in the order of the style's colours."""
    colors = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    kinds = {"color": colors, "marker": _MARKERS, "linestyle": _DASHES}
    return {name: {kind: of[i % len(of)] for kind, of in kinds.items()} for i, name in enumerate(names)}


def save(
    ax: Axes | Figure, stem: str | Path, table: pd.DataFrame | None = None, *, size: str = "print", caption: str = ""
) -> list[Path]:
    """Write a figure as PNG and PDF, with the table it was drawn from and its caption beside it; the figure is closed.

    Parameters
    ----------
    ax
        The figure, or any axes of it.
    stem
        Path without an ending, e.g. ``figures/demo_gate``.
    table
        The numbers of the figure, for a CSV file. The same numbers give the same bytes.
    size
        "column" and "page" make it 90 and 190 mm wide, at 300 dots per inch, without a title inside, as journals take
        it: draw it in that size, too, so that its letters have theirs. Others leave it as it is drawn.
    caption
        What stands under it (`memsci.figures.caption`), for a text file: with n and the test.

    Returns
    -------
    list of pathlib.Path
        The files: .png, .pdf, and as far as they were asked for .csv and .txt.
    """
    check_in("size", size, SIZES)
    figure = ax if isinstance(ax, Figure) else ax.figure
    folder, name = make_folder(Path(stem).parent), Path(stem).name
    png, pdf, csv, txt = (folder / f"{name}.{ending}" for ending in ("png", "pdf", "csv", "txt"))
    with style(size):
        if size in WIDTHS:
            _without_title(figure)
            figure.set_size_inches(WIDTHS[size] / INCH, figure.get_figheight())
        figure.savefig(drawn := BytesIO(), format="png")
        picture = Image.open(drawn)
        flat = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        flat.save(png, optimize=True, dpi=picture.info["dpi"])
        figure.savefig(pdf, metadata={"CreationDate": None})  # the same numbers give the same bytes
    plt.close(figure)
    files = [png, pdf]
    if table is not None:
        table.to_csv(csv, index=False, float_format="%.6g")
        files.append(csv)
    if caption:
        txt.write_text(caption.strip() + "\n", encoding="utf-8")
        files.append(txt)
    return files


def _without_title(figure: Figure) -> None:
    """Take away the title of a figure; those of its panels, where there are several, stay."""
    if figure.get_suptitle():
        figure.suptitle("")
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    for where in ("left", "center", "right") if len(panels) < 2 else ():
        for ax in panels:
            ax.set_title("", loc=where)
