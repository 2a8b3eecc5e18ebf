"""Axes: the words for what a tensor's leading dimensions mean.

In memory a value is laid out as ``(plan axes, newest first; copies k; rows n; time t; event)``.
A value carries only the axes that it depends on; the rest of its dimensions is its event. The
equation names rows, copies and time; the plan adds draws and enumerated values.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

PLAN, COPY, ROW, TIME = range(4)


@dataclass(frozen=True)
class Axis:
    """One named leading dimension.

    Args:
        name: What the program prints: ``n``, ``k``, ``draw z``.
        kind: ``PLAN``, ``COPY``, ``ROW`` or ``TIME``: the order in memory.
        size: The number of entries where the equation or the plan fixes it (rows: ``None``).
        age: Order of creation among plan axes; the newest stands first.
        like: Another axis that it has the entries of: rows seen a second time.
        parts: It has one part of so many equal ones of them.
    """

    name: str
    kind: int
    size: int | None = None
    age: int = 0
    like: "Axis | None" = None
    parts: int = 1

    def __str__(self) -> str:
        return self.name


Axes = tuple[Axis, ...]


def union(*axes: Iterable[Axis]) -> Axes:
    """All axes of several values, each once, in the order of memory.

    Example:
        >>> n, k = Axis("n", ROW), Axis("k", COPY, 5)
        >>> [str(axis) for axis in union((n,), (k,))]
        ['k', 'n']
    """
    every = {axis for group in axes for axis in group}
    return tuple(sorted(every, key=lambda a: (a.kind, -a.age, a.name, a.size or 0)))


def align(value: torch.Tensor, have: Axes, want: Axes) -> torch.Tensor:
    """``value`` with a dimension of size 1 wherever it lacks an axis of ``want``.

    Args:
        value: Shape ``(*have, *event)``.
        have: The axes that the value carries.
        want: Axes that include them.
    """
    if have == want or not have:
        return value  # a value without axes broadcasts from the left by itself
    if want[len(want) - len(have) :] == have:
        lead = len(want) - len(have)
        return value.reshape((1,) * lead + value.shape)
    sizes = dict(zip(have, value.shape, strict=False))
    return value.reshape(tuple(sizes.get(a, 1) for a in want) + tuple(value.shape[len(have) :]))


def fold(values: Sequence[torch.Tensor], axes: Sequence[Axes], want: Axes) -> list[torch.Tensor]:
    """Values flattened over ``want`` into one batch axis, as a network sees them.

    A value that lacks an axis is expanded to it; without any axis the batch axis has size 1.
    """
    sizes: list[int] = []
    for axis in want:
        known = [v.shape[a.index(axis)] for v, a in zip(values, axes, strict=True) if axis in a]
        sizes.append(max(known) if known else (axis.size or 1))
    out = []
    for value, have in zip(values, axes, strict=True):
        event = tuple(value.shape[len(have) :])
        if have != want:
            if not have:
                value = value.reshape((1,) * len(want) + event)
            value = align(value, have, want) if have else value
            value = value.expand(*sizes, *event)
        out.append(value if len(want) == 1 else value.reshape(-1, *event))
    return out


def unfold(value: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The inverse of :func:`fold` for an output: one batch axis back into several."""
    if len(sizes) == 1:
        return value
    return value.reshape(*sizes, *value.shape[1:])


def sum_event(value: torch.Tensor, axes: int) -> torch.Tensor:
    """Sum over all dimensions behind the first ``axes`` ones."""
    if value.dim() <= axes:
        return value
    return value.sum(dim=tuple(range(axes, value.dim())))


def lift(value: torch.Tensor, axes: int, event: int) -> torch.Tensor:
    """An event scalar ``(*axes)`` as ``(*axes, 1, ..., 1)``, to meet an event."""
    missing = axes + event - value.dim()
    return value.reshape(*value.shape, *(1,) * missing) if missing > 0 else value
