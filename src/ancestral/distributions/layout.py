"""Where the rows of a law's parameters end and the event begins.

Parameters from a network or a condition have rows in front, ``(*rows, *event)``; constants and
trained tensors have the event alone. A law whose values are vectors for the density (one-hot) has
them as the last axis of the event; one by index has that axis in its parameters only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.core.errors import ShapeError

if TYPE_CHECKING:
    from ancestral.distributions.base import Factor
    from ancestral.distributions.law import Law, Params

Shape = tuple[int, ...]


def broadcasts_to(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a tensor of one shape can be expanded to another.

    Example:
        >>> broadcasts_to((1, 3), (5, 3)), broadcasts_to((5, 3), (3,))
        (True, False)
    """
    ones = [1] * (len(wanted) - len(shape))
    fits = zip([*ones, *shape], wanted, strict=False)
    return len(shape) <= len(wanted) and all(n in (1, m) for n, m in fits)


def together(a: Shape, b: Shape) -> bool:
    """Whether two values, one number per row each, may meet.

    Rows against rows may be one of them; rows behind axes of draws must be as many. So ``(B, 1)``
    never meets ``(B,)``, which torch would broadcast to ``(B, B)``.

    Example:
        >>> together((7, 5), (5,)), together((5, 1), (5,)), together((1,), (5,))
        (True, False, True)
    """
    short, long = sorted((a, b), key=len)
    if len(short) == len(long):
        return all(n == m or 1 in (n, m) for n, m in zip(short, long, strict=True))
    tail = long[len(long) - len(short) :]
    return all(n in (m, 1) for n, m in zip(short, tail, strict=True))


def has_rows(law: "Law", key: str) -> bool:
    """Whether a parameter follows the rows: it comes from the network or from a condition."""
    return key not in law.given or key in law.bound


@dataclass(frozen=True)
class Layout:
    """The shape ``(*rows, *event)`` that a law's parameters span.

    Args:
        rows: The rows, with axes of draws in front.
        event: The event shape of the parameters, which is that of a draw's noise.
        value: The event shape of a value.
        summed: The event axes of a log density, where vectors are reduced already.
    """

    rows: Shape
    event: Shape
    value: Shape
    summed: int


def layout(factor: "Factor", params: "Params", batch: Shape, lead: int | None = None) -> Layout:
    """The layout of a factor's parameters.

    Args:
        factor: The factor.
        params: Its parameters.
        batch: The rows, if no parameter follows them, or if they do as one row.
        lead: How many axes the rows take where the event shape is not declared; 1 if not given.

    Raises:
        ShapeError: If parameters do not fit one another or the declared event shape.
    """
    law = factor.law
    tensors = {k: tuple(v.shape) for k, v in params.items() if isinstance(v, Tensor)}
    fixed = [shape for key, shape in tensors.items() if not has_rows(law, key)]
    following = [shape for key, shape in tensors.items() if has_rows(law, key)]
    event = _broadcast(factor, [*fixed, law.noise_event(params)])
    rows = batch
    if following:
        span = _broadcast(factor, following)
        if not factor.cond_var:  # a network of nothing: its output is the event
            lead = 0
        elif law.declared_shape is not None:
            lead = max(len(span) - len(event), 0)
        elif lead is None:
            lead = min(len(span), 1)
        own = span[lead:]
        if law.declared_shape is not None and not broadcasts_to(own, event):
            raise ShapeError(
                f"{factor.text}: its parameters have shape {span}, but its event shape is "
                f"{event}: their last axes must be {event}, rows in front. Change the network's "
                "output, or features_shape."
            )
        event = _broadcast(factor, [own, event])
        if factor.cond_var:
            rows = batch if broadcasts_to(span[:lead], batch) and lead else span[:lead]
    reduced = law.moves.param_dims
    value = event[: len(event) - (reduced - law.moves.value_dims)]
    return Layout(rows, event, value, len(event) - reduced)


def _broadcast(factor: "Factor", shapes: Sequence[Shape]) -> Shape:
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        told = ", ".join(str(shape) for shape in shapes)
        raise ShapeError(
            f"{factor.text}: its parameters have shapes that do not fit one another: {told}."
        ) from None
