"""Memories as a graph: what connects them, drawn. A graph of networkx in, Axes out."""

from __future__ import annotations

import textwrap

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from memsci.errors import MemsciError
from memsci.figures import draw

LABELLED = 40  # so many memories have their labels beside them
LINKS = {  # by kind of edge; an edge of several kinds has a line for each
    "similar": {"color": "#8A8A8A", "linestyle": "-", "label": "similar"},
    "names": {"color": "#0072B2", "linestyle": "--", "label": "share a name"},
    "time": {"color": "#E69F00", "linestyle": ":", "label": "follow in time"},
    "correction": {"color": "#D55E00", "linestyle": "-", "label": "corrects (arrow to the older)"},
}


def memory_graph(graph: nx.Graph, ax: Axes | None = None, *, title: str = "", size: str = "print", seed: int = 0) -> Axes:
    """Draw what `memsci.MEGa.graph` gives: memories that much connects lie near one another.

    Parameters
    ----------
    graph
        Nodes with label; edges with kinds, weight and, of corrections, newer.
    ax, title, size
        As in `memsci.figures.method_bars`.
    seed
        Of the places (springs, Fruchterman and Reingold); the same gives the same figure.
    """
    if not len(graph):
        raise MemsciError("The graph has no memories. Encode some first.")
    places = nx.spring_layout(graph, seed=seed, weight="weight")
    drawn: dict[str, list[tuple[str, str]]] = {kind: [] for kind in LINKS}
    for one, other, about in graph.edges(data=True):
        for kind in about["kinds"].split(", "):
            newer = about.get("newer") if kind == "correction" else one
            drawn[kind].append((one, other) if newer == one else (other, one))
    with draw.canvas(ax, title, size, across=1.4, down=1.4) as ax:
        for (kind, edges), bend in zip(drawn.items(), (0.0, 0.12, -0.12, 0.25)):
            look = LINKS[kind]
            nx.draw_networkx_edges(
                nx.DiGraph(edges), places, edgelist=edges, ax=ax, edge_color=look["color"], style=look["linestyle"],
                arrowstyle="-|>" if kind == "correction" else "-", connectionstyle=f"arc3,rad={bend}", node_size=60,
            )  # fmt: skip
        nx.draw_networkx_nodes(graph, places, ax=ax, node_size=40, node_color="#333333")
        if len(graph) <= LABELLED:
            for id, (x, y) in places.items():
                told = textwrap.fill(str(graph.nodes[id].get("label", id)), 18)
                ax.annotate(told, (x, y), (0, 5), textcoords="offset points", ha="center", fontsize="x-small")
        shown = [Line2D([], [], **look) for kind, look in LINKS.items() if drawn[kind]]
        if shown:
            ax.legend(handles=shown, fontsize="x-small")
        ax.set_axis_off()
        ax.margins(0.15)
    return ax
