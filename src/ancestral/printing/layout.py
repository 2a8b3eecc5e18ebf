"""Where the variables of a graphical model stand: layers from parents to children, in plates.

Every plate of rows is a block of its own, and blocks stand side by side, so that a plate's frame
holds its members and no other variable. Inside a block each layer is centred. Copies k stand where
they fall if a frame around them holds nothing else; otherwise they get columns of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

RADIUS = 22.0
GAP = 40.0  # between neighbours in a layer
DEPTH = 96.0  # from a layer to the next
PAD, LABEL = 16.0, 18.0  # around a plate's members, and below them for its label
LETTER = 6.2  # width of a letter of a label
BLOCKS = 44.0  # between blocks


@dataclass
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two have a point in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def around(self, pad: float, below: float = 0.0) -> "Box":
        """A larger one."""
        return Box(self.left - pad, self.top - pad, self.right + pad, self.bottom + pad + below)


def hull(boxes: Sequence[Box]) -> Box:
    """The rectangle of some rectangles."""
    return Box(
        min(b.left for b in boxes),
        min(b.top for b in boxes),
        max(b.right for b in boxes),
        max(b.bottom for b in boxes),
    )


@dataclass(frozen=True)
class Frame:
    """A plate as it is drawn: its rectangle and the axis and size on it."""

    box: Box
    axis: str
    size: str

    @property
    def label(self) -> str:
        """What stands in its corner, ``k = 1…50``."""
        return label(self.axis, self.size)


def label(axis: str, size: str) -> str:
    """An axis and its size, cut if they are long."""
    text = f"{axis} = 1…{size}"
    return text if len(text) <= 24 else text[:23] + "…"


@dataclass
class Layout:
    """Centres and half-widths of the variables, and the plates around them."""

    place: dict[Any, tuple[float, float]] = field(default_factory=dict)
    half: Mapping[Any, float] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)

    def box(self, v: Any) -> Box:
        """The rectangle of a variable."""
        (x, y), half = self.place[v], self.half[v]
        return Box(x - half, y - RADIUS, x + half, y + RADIUS)

    def hull(self, members: Sequence[Any]) -> Box:
        """The rectangle of some variables."""
        return hull([self.box(v) for v in members])


def arrange(graph: Any, half: Mapping[Any, float]) -> Layout:
    """A place for every variable, and a frame for every plate.

    Args:
        graph: What :func:`ancestral.printing.graph.build` returns.
        half: Half the width of each variable.
    """
    out = Layout(half=half)
    depth = layers(graph)
    plates = sorted({graph.nodes[v]["plate"] for v in graph} - {None})
    right = 0.0
    for plate in (None, *plates):
        members = [v for v in graph if graph.nodes[v]["plate"] == plate]
        if not members:
            continue
        width = _block(graph, out, members, depth, right)
        if plate is not None:
            letter = "nmlij"[plates.index(plate)] if len(plates) <= 5 else f"n_{plate + 1}"
            inner = [f.box for f in out.frames if f.box.left >= right - PAD]
            box = hull([out.hull(members), *inner]).around(PAD, LABEL)
            out.frames.append(Frame(box, letter, letter.upper()))
            width = box.right - PAD - right
        right += width + 2 * PAD + BLOCKS
    return out


def layers(graph: Any) -> dict[Any, int]:
    """The layer of each variable: below its parents in the generative model.

    A variable that only inference has, such as an auxiliary one, stands beside its last condition.
    """
    solid = nx.DiGraph()
    solid.add_nodes_from(graph)
    solid.add_edges_from((a, b) for a, b, dashed in graph.edges(data="inference") if not dashed)
    depth: dict[Any, int] = {}
    for v in nx.topological_sort(solid):
        depth[v] = max((depth[p] + 1 for p in solid.predecessors(v)), default=0)
    for v in graph:
        if solid.degree(v) == 0:
            depth[v] = max((depth[p] for p in graph.predecessors(v)), default=0)
        elif solid.in_degree(v) == 0:  # a root stands right above its first child
            depth[v] = min(depth[s] for s in solid.successors(v)) - 1
    return depth


def _block(
    graph: Any, out: Layout, members: list[Any], depth: Mapping[Any, int], left: float
) -> float:
    """Place the members of one plate, from ``left`` on; return the width."""
    rows = _ordered(graph, members, depth)
    axes = list(dict.fromkeys(c for v in members if (c := graph.nodes[v]["copies"])))
    copies = {c: [v for v in members if graph.nodes[v]["copies"] == c] for c in axes}
    bands = [members]
    width = _columns(out, rows, bands, left)
    if not all(_alone(out, c, copied, members) for c, copied in copies.items()):
        bands = [[v for v in members if not graph.nodes[v]["copies"]], *copies.values()]
        width = _columns(out, rows, [band for band in bands if band], left)
    for (axis, size), copied in copies.items():
        out.frames.append(Frame(_framed(out, copied, (axis, size)), axis, str(size)))
    return width


def _framed(out: Layout, copied: Sequence[Any], copies: tuple[str, int]) -> Box:
    """The frame of copies: wide enough for its label to stand clear of the arrows below."""
    box = out.hull(copied).around(PAD - 4, LABEL)
    middle = max(out.place[v][0] for v in copied)
    box.right = max(box.right, middle + 26 + LETTER * len(label(copies[0], str(copies[1]))))
    return box


def _columns(
    out: Layout, rows: Sequence[Sequence[Any]], bands: Sequence[Sequence[Any]], left: float
) -> float:
    """Place each band of variables in columns of its own, its layers centred."""
    start = left
    for band in bands:
        inside = [[v for v in row if v in band] for row in rows]
        widths = [sum(2 * out.half[v] + GAP for v in row) - GAP for row in inside]
        widest = max(widths)
        for number, (row, width) in enumerate(zip(inside, widths, strict=True)):
            x = start + (widest - width) / 2
            for v in row:
                out.place[v] = (x + out.half[v], number * DEPTH)
                x += 2 * out.half[v] + GAP
        start += widest + GAP + (LETTER * 12 if len(bands) > 1 else 0)  # room for a label
    return start - GAP - left


def _alone(
    out: Layout, copies: tuple[str, int], copied: Sequence[Any], members: Sequence[Any]
) -> bool:
    """Whether a frame around copies would hold nothing else."""
    frame = _framed(out, copied, copies).around(4)
    return not any(frame.meets(out.box(v)) for v in members if v not in copied)


def _ordered(graph: Any, members: Sequence[Any], depth: Mapping[Any, int]) -> list[list[Any]]:
    """The layers, each in the order that keeps neighbours near (barycentres, four sweeps)."""
    rows: list[list[Any]] = [[] for _ in range(max(depth.values()) + 1)]
    for v in members:
        rows[depth[v]].append(v)
    for sweep in range(4):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            at = {v: i - (len(r) - 1) / 2 for r in rows for i, v in enumerate(r)}

            def middle(v: Any, at: Mapping[Any, float] = at) -> float:
                near = [at[u] for u in nx.all_neighbors(graph, v) if u in at]
                return sum(near) / len(near) if near else at[v]

            row.sort(key=middle)
    return rows
