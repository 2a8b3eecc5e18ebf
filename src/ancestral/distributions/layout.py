"""Where the rows of a law's parameters end and the event begins.

Parameters from a network or a condition have rows in front, ``(*rows, *event)``; constants and
trained tensors have the event alone. A law whose values are vectors for the density (one-hot) has
them as the last axis of the event; one by index has that axis in its parameters only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions.pushforward import At

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
    law = law if law.pushforward is None else law.pushforward.base
    return key not in law.given or key in law.bound


def spanned(moves: "type[Law]", key: str, shape: Shape) -> Shape:
    """A parameter's shape with one last axis for each letter of the law's ``cores``.

    So that shapes of parameters broadcast where their last axes differ: of a covariance matrix
    ``(*event, D, D)`` it is ``(*event, D)``, as of the mean.

    Example:
        >>> from ancestral.distributions import Normal
        >>> class Law(Normal):
        ...     cores = {"loc": "d", "factor": "dr"}
        >>> spanned(Law, "loc", (5, 3)), spanned(Law, "factor", (3, 2))
        ((5, 3, 1), (3, 2))
    """
    core = moves.cores.get(key)
    if core is None:
        return shape
    sizes = dict(zip(reversed(core), reversed(shape), strict=False))
    letters = sorted(set("".join(moves.cores.values())))
    lead = max(len(shape) - len(core), 0)
    return (*shape[:lead], *(sizes.get(letter, 1) for letter in letters))


def declared_event(law: "Law", given: Sequence[int] | None) -> Shape | None:
    """The event shape of a value: as declared, or as a law's constants have it; or unknown.

    Raises:
        OptionError: If it is not given in whole numbers.
        ShapeError: If constants do not fit it, or one another.
    """
    fixed = [k for k in law.given if k not in law.bound]
    shapes = {k: tuple(getattr(law, k).shape) for k in fixed if getattr(law, k).dim()}
    found = _event_of_constants(law, shapes) if shapes else None
    if given is None or (found and not tuple(given)):
        alone = law.given and not law.bound and not law.cond_var
        numbers = law.moves.value_shape(()) if alone else None
        return found if found is not None else numbers
    shape = tuple(given)
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise OptionError(
            f"{law.prob_text}: features_shape={given!r} must be whole numbers, e.g. [64]."
        )
    if found is not None and not broadcasts_to(found, shape):
        raise ShapeError(
            f"{law.prob_text}: features_shape={list(shape)} does not fit its constants, "
            f"whose event shape is {list(found)}. Drop features_shape, or give numbers."
        )
    return shape


def _event_of_constants(law: "Law", shapes: Mapping[str, Shape]) -> Shape:
    spans = [spanned(law.moves, k, s) for k, s in shapes.items()]
    try:
        return law.moves.value_shape(tuple(torch.broadcast_shapes(*spans)))
    except RuntimeError:
        told = ", ".join(f"{k} {list(s)}" for k, s in shapes.items())
        raise ShapeError(f"{law.prob_text}: parameters do not fit one another: {told}.") from None


def span_shape(moves: "type[Law]", event: Shape) -> Shape:
    """The event shape that parameters span, as far as that of a value tells."""
    extra = moves.param_dims - moves.value_dims
    return event[: len(event) + extra] if extra < 0 else (*event, *(1,) * extra)


@dataclass(frozen=True)
class Layout:
    """The shape ``(*rows, *event)`` that a law's parameters span.

    Args:
        rows: The rows, with axes of draws in front.
        event: The event shape that the parameters span.
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
    moves = law.moves
    tensors = {
        k: spanned(moves, k, tuple(v.shape)) for k, v in params.items() if isinstance(v, Tensor)
    }
    ones = moves.param_dims - moves.value_dims
    for k, v in params.items():
        if isinstance(v, At):  # the context has the rows, and nothing of the event
            tensors[k] = (*v.context.shape[:-1], *(1,) * (v.event + ones))
    fixed = [shape for key, shape in tensors.items() if not has_rows(law, key)]
    following = [shape for key, shape in tensors.items() if has_rows(law, key)]
    event = _broadcast(factor, [*fixed, _span_event(law, tensors)])
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
    summed = len(event) - moves.param_dims
    return Layout(rows, event, moves.value_shape(event), summed)


def _span_event(law: "Law", spans: Mapping[str, Shape]) -> Shape:
    """What the declared event shape, and axes that a value lacks, tell of that of the span."""
    event = span_shape(law.moves, tuple(law.features_shape))
    extra = law.moves.param_dims - law.moves.value_dims
    tails = [shape[-extra:] for shape in spans.values() if shape] if extra > 0 else []
    return tuple(torch.broadcast_shapes(event, *tails))


def _broadcast(factor: "Factor", shapes: Sequence[Shape]) -> Shape:
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        told = ", ".join(str(shape) for shape in shapes)
        raise ShapeError(
            f"{factor.text}: its parameters have shapes that do not fit one another: {told}."
        ) from None
