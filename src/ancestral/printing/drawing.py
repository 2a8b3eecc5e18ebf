"""Graphical models as SVG: no library, no script, sharp at every size.

Observed variables are shaded, latent ones white, deterministic ones have a double outline. Laws of
the generative model are solid arrows, laws of inference dashed ones. A rounded frame is a plate,
its axis and size in the corner. Attributes carry the look, so that a page's style sheet may change
it by class (``node``, ``observed``, ``edge``, ``plate``, ``variable``, ``remark``). Nothing has an
id, so that many may stand on one page.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ancestral.printing.dialect import GREEK, name_parts
from ancestral.printing.layout import RADIUS, Box, Frame, Layout, arrange, hull
from ancestral.printing.mathml import inert

INK, LINE, SHADE, SOFT = "#26292e", "#5f6773", "#d5dbe5", "#6b727c"
FONT = "'STIX Two Math','Latin Modern Math','Cambria Math','DejaVu Math TeX Gyre',serif"
SIZE = 18  # of a variable's letter
LONGEST = 14  # letters of a name that are drawn; the whole name is in the tooltip
MARGIN, BETWEEN, TITLE, LEGEND = 14.0, 56.0, 30.0, 30.0

Point = tuple[float, float]
Curve = tuple[Point, Point, Point]  # a quadratic Bezier curve
Names = Sequence[str]


def draw(graphs: Mapping[str, Any]) -> str:
    """The graphs under their titles, side by side, as one ``svg`` element."""
    parts: list[str] = []
    left, bottom = MARGIN, 0.0
    top = MARGIN + (TITLE if any(graphs) else 0.0)
    for title, graph in graphs.items():
        body, box = _drawn(graph)
        legend, length = _legend(graph)
        width = max(box.right - box.left, length, _width(title, SIZE) if title else 0.0)
        shift = left - box.left + (width - (box.right - box.left)) / 2
        parts.append(f'<g transform="translate({shift:.1f} {top - box.top:.1f})">{body}</g>')
        height = top + box.bottom - box.top
        if title:
            parts.append(_text(title, left + width / 2, MARGIN + 14, 15, "remark", "middle"))
        if legend:
            x, y = left + (width - length) / 2, height + LEGEND - 6
            parts.append(f'<g transform="translate({x:.1f} {y:.1f})">{legend}</g>')
            height += LEGEND
        left += width + BETWEEN
        bottom = max(bottom, height)
    width, height = max(left - BETWEEN, 0.0) + MARGIN, bottom + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="graphical model" '
        f'class="graph" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" '
        f'style="max-width:100%;height:auto">{"".join(parts)}</svg>'
    )


def _drawn(graph: Any) -> tuple[str, Box]:
    """One graph, and the rectangle that holds it."""
    half = {v: max(RADIUS, _width(_label(v), SIZE) / 2 + 9) for v in graph}
    layout = arrange(graph, half)
    lines: list[str] = []
    reach = [layout.hull(list(graph))] if len(graph) else [Box(0, 0, 0, 0)]
    reach += [frame.box for frame in layout.frames]
    for source, target, dashed in graph.edges(data="inference"):
        if source != target:
            curve = _route(graph, layout, source, target, dashed=dashed)
            xs, ys = zip(*(_at(curve, i / 24) for i in range(25)), strict=True)
            reach.append(Box(min(xs) - 4, min(ys) - 4, max(xs) + 4, max(ys) + 4))
            lines.append(_arrow(curve, f"{_title(source)} → {_title(target)}", dashed=dashed))
    frames = [_frame(frame) for frame in layout.frames]
    nodes = [_node(v, layout, graph.nodes[v]) for v in graph]
    return "".join([*frames, *lines, *nodes]), hull(reach)


# -- variables and plates ------------------------------------------------------------------------


def _node(v: Any, layout: Layout, data: Mapping[str, Any]) -> str:
    (x, y), half = layout.place[v], layout.half[v]
    fill = SHADE if data["observed"] else "#ffffff"
    kind = "observed" if data["observed"] else "latent"
    twice = data["deterministic"]
    shape = f'cx="{x:.1f}" cy="{y:.1f}" stroke="{INK}"'
    inner = (
        f'<ellipse {shape} rx="{half - 4:.1f}" ry="{RADIUS - 4:.1f}" fill="none"/>'
        if twice
        else ""
    )
    return (
        f'<g class="node {kind}{" deterministic" if twice else ""}">'
        f"<title>{_title(v)}: {kind}{', deterministic' if twice else ''}</title>"
        f'<ellipse {shape} rx="{half:.1f}" ry="{RADIUS:.1f}" fill="{fill}" stroke-width="1.3"/>'
        f"{inner}{_text(_short(v.name), x, y + 6, SIZE, 'variable', 'middle', v.value)}</g>"
    )


def _frame(frame: Frame) -> str:
    box = frame.box
    return (
        f'<rect class="plate" x="{box.left:.1f}" y="{box.top:.1f}" '
        f'width="{box.right - box.left:.1f}" height="{box.bottom - box.top:.1f}" rx="9" '
        f'fill="none" stroke="{SOFT}" stroke-width="1"/>'
        + _text(frame.label, box.right - 8, box.bottom - 7, 12, "remark", "end")
    )


def _title(v: Any) -> str:
    return inert(f"{v.name} = {v.value}" if v.value else v.name)


def _label(v: Any) -> str:
    return _short(v.name) + (f" = {v.value}" if v.value else "")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _width(name: str, size: float) -> float:
    """About how wide a name is drawn."""
    head, *tail = name_parts(name)
    sub = ",".join(GREEK.get(part, part) for part in tail)
    return size * (0.66 * len(GREEK.get(head, head)) + 0.46 * len(sub))


def _text(
    name: str, x: float, y: float, size: float, kind: str, anchor: str, value: str = ""
) -> str:
    """A name: letters italic, words upright, what follows an underscore a subscript."""
    head, *tail = name_parts(name)
    fill = INK if kind == "variable" else SOFT
    spans = _span(head)
    if tail:
        below = ",".join(GREEK.get(part, part) for part in tail)
        spans += _span(below, f' dy="{size * 0.22:.1f}" font-size="{size * 0.7:.1f}"')
    if value:
        spans += _span(f" = {value}", f' dy="{-size * 0.22:.1f}"' if tail else "")
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}" '
        f'text-anchor="{anchor}" unicode-bidi="isolate">{spans}</text>'
    )


def _span(text: str, extra: str = "") -> str:
    sign = GREEK.get(text, text)
    style = ' font-style="italic"' if len(sign) == 1 and sign.isalpha() else ""
    return f"<tspan{style}{extra}>{inert(sign)}</tspan>"


# -- arrows --------------------------------------------------------------------------------------


def _route(graph: Any, layout: Layout, source: Any, target: Any, *, dashed: bool) -> Curve:
    """The straightest curve that keeps clear of other variables and of the arrow back."""
    a, b = layout.place[source], layout.place[target]
    others = [layout.box(v).around(7) for v in layout.place if v not in (source, target)]
    double = graph.has_edge(target, source) or graph.number_of_edges(source, target) > 1
    bends = [0.0, 0.16, -0.16, 0.3, -0.3, 0.45, -0.45, 0.6, -0.6, 0.8, -0.8]
    if double and dashed:  # to the left of a column: labels are on the right
        bends = [-0.3 if a[1] >= b[1] else 0.3, *(t for t in bends if abs(t) >= 0.3)]
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    best: tuple[int, Curve] | None = None
    for bend in bends:
        offset = 2 * bend * min(length, 180.0) / length
        middle = (
            (a[0] + b[0]) / 2 - offset * (b[1] - a[1]) / 2,
            (a[1] + b[1]) / 2 + offset * (b[0] - a[0]) / 2,
        )
        curve = (a, middle, b)
        points = [_at(curve, i / 24) for i in range(25)]
        hits = sum(_inside(p, box) for p in points for box in others)
        if best is None or hits < best[0]:
            best = (hits, curve)
        if hits == 0:
            break
    assert best is not None
    return _between(best[1], layout.box(source), layout.box(target).around(2))


def _inside(p: Point, box: Box) -> bool:
    """Whether a point is in the ellipse that a rectangle holds."""
    x = (2 * p[0] - box.left - box.right) / (box.right - box.left)
    y = (2 * p[1] - box.top - box.bottom) / (box.bottom - box.top)
    return x * x + y * y < 1


def _at(curve: Curve, t: float) -> Point:
    """A point of the curve, from 0 to 1."""
    a, m, b = curve
    u = 1 - t
    return (
        u * u * a[0] + 2 * u * t * m[0] + t * t * b[0],
        u * u * a[1] + 2 * u * t * m[1] + t * t * b[1],
    )


def _between(curve: Curve, first: Box, last: Box) -> Curve:
    """The piece of the curve that is outside of both ellipses."""
    ts = [i / 200 for i in range(201)]
    start = next((t for t in ts if not _inside(_at(curve, t), first)), 0.0)
    end = next((t for t in reversed(ts) if not _inside(_at(curve, t), last)), 1.0)
    a, m, b = curve

    def blossom(s: float, t: float) -> Point:
        return (
            (1 - s) * (1 - t) * a[0] + (s + t - 2 * s * t) * m[0] + s * t * b[0],
            (1 - s) * (1 - t) * a[1] + (s + t - 2 * s * t) * m[1] + s * t * b[1],
        )

    return blossom(start, start), blossom(start, end), blossom(end, end)


def _arrow(curve: Curve, title: str, *, dashed: bool) -> str:
    a, m, b = curve
    dx, dy = b[0] - m[0], b[1] - m[1]
    norm = math.hypot(dx, dy) or 1.0
    dx, dy = dx / norm, dy / norm
    neck = (b[0] - 7 * dx, b[1] - 7 * dy)
    head = [b, (neck[0] - 3.4 * dy - dx, neck[1] + 3.4 * dx - dy), neck,
            (neck[0] + 3.4 * dy - dx, neck[1] - 3.4 * dx - dy)]  # fmt: skip
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in head)
    kind = "inference" if dashed else "generative"
    dash = ' stroke-dasharray="5 3.5"' if dashed else ""
    return (
        f'<g class="edge {kind}"><title>{title}</title>'
        f'<path d="M{a[0]:.1f} {a[1]:.1f}Q{m[0]:.1f} {m[1]:.1f} {neck[0]:.1f} {neck[1]:.1f}" '
        f'fill="none" stroke="{LINE}" stroke-width="1.3"{dash}/>'
        f'<polygon points="{points}" fill="{LINE}"/></g>'
    )


def _legend(graph: Any) -> tuple[str, float]:
    """Which laws are solid and which dashed, where there are both; and its length."""
    if not graph.graph["inference"]:
        return "", 0.0
    x, parts = 0.0, []
    for kind, dash in (("generative", ""), ("inference", ' stroke-dasharray="5 3.5"')):
        names: Names = graph.graph[kind]
        parts.append(
            f'<line x1="{x:.1f}" x2="{x + 26:.1f}" y1="-4" y2="-4" stroke="{LINE}" '
            f'stroke-width="1.3"{dash}/>'
        )
        x += 32
        shown = [_short(n) for n in names[:5]] + (["…"] if len(names) > 5 else [])
        for name in shown:
            parts.append(_text(name, x, 0, 14, "remark", "start"))
            x += _width(name, 14) + 9
        x += 12
    return "".join(parts), x - 21
