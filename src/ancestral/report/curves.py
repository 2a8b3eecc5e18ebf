"""Training curves as one inline SVG: no library, no script, sharp at every size."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Curve = Sequence[tuple[float, float]]  # (epoch, value)

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 136, 16, 44


def curves_svg(curves: Mapping[str, Curve], *, y_label: str) -> str:
    """Named curves over epochs; the epochs are on a log scale once there are twenty.

    A log scale shows the steep beginning and the flat end in one picture. Values that are not
    finite are left out.

    Args:
        curves: name -> points (epoch >= 1, value), in the order of the legend.
        y_label: what the values are.

    Returns:
        the text of an <svg> element; names are escaped; colours are classes `curve-0`, `curve-1`.

    Example:
        >>> curves_svg({"train": [(1, 3.0), (2, 2.0)]}, y_label="nats")[:4]
        '<svg'
    """
    finite = {
        name: [point for point in curve if math.isfinite(point[1])]
        for name, curve in curves.items()
    }
    points = [point for curve in finite.values() for point in curve]
    if not points:
        return "<p>No epoch was recorded.</p>"
    last = max(epoch for epoch, _ in points)
    logarithmic = last >= 20
    ticks = _ticks(min(v for _, v in points), max(v for _, v in points))
    low, high = ticks[0], ticks[-1]

    def place(epoch: float, value: float) -> tuple[float, float]:
        share = math.log(epoch) / math.log(last) if logarithmic else (epoch - 1) / max(last - 1, 1)
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        return x, TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'aria-label="{escape(y_label)} over epochs">'
    ]
    for tick in ticks:
        _, y = place(last, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/>')  # fmt: skip
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" '
                     f'text-anchor="end">{tick:g}</text>')  # fmt: skip
    for epoch in _epochs(int(last), logarithmic):
        x, _ = place(epoch, low)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                     f'text-anchor="middle">{epoch}</text>')  # fmt: skip
    scale = " (log scale)" if logarithmic else ""
    parts.append(f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" '
                 f'text-anchor="middle">epoch{scale}</text>')  # fmt: skip
    parts.append(f'<text class="label" transform="rotate(-90)" x="{-(TOP + HEIGHT - BOTTOM) / 2}" '
                 f'y="14" text-anchor="middle">{escape(y_label)}</text>')  # fmt: skip
    parts += _lines({n: [place(*p) for p in c] for n, c in finite.items() if c}, finite)
    return "\n".join(parts) + "\n</svg>"


def _lines(placed: Mapping[str, Curve], finite: Mapping[str, Curve]) -> list[str]:
    """The curves, and at the end of each its name and last value, kept 15 units apart."""
    parts: list[str] = []
    free = -math.inf
    for number, curve in enumerate(placed.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in curve)
        parts.append(f'<polyline class="curve curve-{number}" points="{path}"/>')
        if len(curve) == 1:  # a line of one point is invisible
            (x, y), *_ = curve
            parts.append(f'<circle class="dot-{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    for name in sorted(placed, key=lambda name: placed[name][-1][1]):
        x, y = placed[name][-1]
        free = max(y + 4, free + 15)
        value = finite[name][-1][1]
        parts.append(f'<text class="name name-{list(placed).index(name)}" x="{x + 8:.1f}" '
                     f'y="{free:.1f}">{escape(name)} {value:.2f}</text>')  # fmt: skip
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round values that enclose [low, high]."""
    span = (high - low) or abs(high) or 1.0
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if raw <= power * m * (1 + 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _epochs(last: int, logarithmic: bool) -> list[int]:
    if logarithmic:
        marks = [m * 10**e for e in range(len(str(last))) for m in (1, 2, 5)]
        return [mark for mark in marks if mark <= last]
    step = max(1, -(-last // 8))
    return list(range(1, last + 1, step))
