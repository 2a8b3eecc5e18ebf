r"""What a flow is made of: a base law, a bijection, its context, the variables side by side.

A law over several variables that is no product, :math:`p(x,z)`, is one of the vector in which they
stand side by side.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ancestral.bijections.base import Bijection, moved
from ancestral.core.errors import SamplingError, ShapeError
from ancestral.core.names import listing
from ancestral.nn.detached import without_gradient

if TYPE_CHECKING:
    from ancestral.distributions.law import Law


class Pushforward(NamedTuple):
    """The parts of a flow.

    Args:
        base: The law that is moved.
        bijection: What moves it.
        context: The network of the conditions that the bijection reads; ``None`` if it reads none.
        pieces: The variables side by side; ``None`` of one variable.
    """

    base: "Law"
    bijection: Bijection
    context: Callable[..., Tensor] | None
    pieces: "Pieces | None"


class At(Bijection):
    """A conditional bijection at a context; rows of points and of the context are broadcast.

    Args:
        bijection: The conditional bijection.
        context: Shape ``(*rows, C)``.
        event: How many last axes of a point are no rows.
    """

    def __init__(self, bijection: Bijection, context: Tensor, event: int) -> None:
        super().__init__()
        self.bijection, self.context, self.event = bijection, context, event
        self.event_dims = bijection.event_dims
        self.domain, self.codomain = bijection.domain, bijection.codomain

    def at(self, context: Tensor) -> "At":
        """The same bijection at another context."""
        return At(self.bijection, context, self.event)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The value and the log-determinant."""
        return moved(self.bijection, *self._meet(x), inverse=False)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse and the log-determinant."""
        return moved(self.bijection, *self._meet(y), inverse=True)

    def sign(self) -> float | Tensor:
        """That of the bijection."""
        return self.bijection.sign()

    def _meet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A point and the context, with the same rows."""
        lead = max(x.dim() - self.event, 0)
        rows = torch.broadcast_shapes(x.shape[:lead], self.context.shape[:-1])
        return x.expand(*rows, *x.shape[lead:]), self.context.expand(*rows, -1)


class Direction(nn.Module):
    """A bijection, or its inverse, as a module's forward, with parameters that may be cut.

    Args:
        bijection: The bijection.
        inverse: Whether it is the inverse that is wanted.
    """

    def __init__(self, bijection: Bijection, *, inverse: bool) -> None:
        super().__init__()
        self.bijection, self.inverse = bijection, inverse

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The value and the log-determinant."""
        return moved(self.bijection, x, context, inverse=self.inverse)

    def cut(self, *point: Tensor) -> tuple[Tensor, Tensor]:
        """The same, where no gradient reaches the parameters, though one reaches the point."""
        out: tuple[Tensor, Tensor] = without_gradient(self, *point)
        return out


class Cut(Bijection):
    """A bijection with its parameters as they are, but without their gradient."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.ways = [Direction(bijection, inverse=inverse) for inverse in (False, True)]
        self.event_dims, self.takes_context = bijection.event_dims, bijection.takes_context
        self.domain, self.codomain = bijection.domain, bijection.codomain

    def forward_and_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The value and the log-determinant."""
        return self.ways[0].cut(*_point(x, context))

    def inverse_and_log_det(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inverse and the log-determinant."""
        return self.ways[1].cut(*_point(y, context))

    def sign(self) -> float | Tensor:
        """That of the bijection."""
        return self.ways[0].bijection.sign()


def _point(x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
    return (x,) if context is None else (x, context)


class Pieces:
    """Several variables side by side in one vector.

    Args:
        var: Their names.
        sizes: How many entries each has, which a draw is split by; ``None`` if not known.
        text: How messages call the law.
    """

    def __init__(self, var: Sequence[str], sizes: Sequence[int] | None, text: str) -> None:
        self.var, self.sizes, self.text = tuple(var), sizes, text
        self.parts: list[Callable[[Tensor], Tensor]] = []  # each the same object at every call
        if sizes is not None:
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            self.parts = [_Part(end - size, end) for size, end in zip(sizes, ends, strict=True)]

    def __call__(self, *values: Tensor) -> Tensor:
        """The vector of all, shape ``(*rows, D)``; one variable is expanded to another's rows.

        Raises:
            ShapeError: If a value is no vector, or has another number of entries than was said.
        """
        for i, (name, value) in enumerate(zip(self.var, values, strict=True)):
            size = None if self.sizes is None else self.sizes[i]
            if value.dim() < 2 or size not in (None, value.shape[-1]):
                told = "entries" if size is None else f"{size} entries, as sizes= says,"
                raise ShapeError(
                    f"{self.text}: {name} has shape {tuple(value.shape)}, but the law is over "
                    f"vectors: {name} must have {told} in its last axis, rows in front."
                )
        if len({v.shape[:-1] for v in values}) > 1:
            rows = torch.broadcast_shapes(*(v.shape[:-1] for v in values))
            values = tuple(v.expand(*rows, v.shape[-1]) for v in values)
        return torch.cat(values, -1)

    def apart(self) -> list[Callable[[Tensor], Tensor]]:
        """What takes each variable out of the vector.

        Raises:
            SamplingError: If the sizes are not known.
        """
        if self.sizes is None:
            raise SamplingError(
                f"{self.text}: a draw is one vector of {listing(list(self.var))}, and how many "
                "entries each has is not known. Say it: NormalizingFlow(..., sizes=[...])."
            )
        return self.parts


class _Part:
    """Some entries of a vector."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    def __call__(self, whole: Tensor) -> Tensor:
        return whole[..., self.start : self.end]


class ByName(nn.Module):
    """A network that is called with its arguments in order, and takes them by name."""

    def __init__(self, net: Callable[..., Tensor], names: Sequence[str]) -> None:
        super().__init__()
        self.net, self.names = net, tuple(names)

    def forward(self, *conditions: Tensor) -> Tensor:
        """What the network returns."""
        out: Tensor = self.net(**dict(zip(self.names, conditions, strict=True)))
        return out


def beside(*conditions: Tensor) -> Tensor:
    """The conditions side by side, numbers as vectors of one entry: the context without a network.

    Example:
        >>> beside(torch.ones(2, 3), torch.zeros(2)).shape
        torch.Size([2, 4])
    """
    vectors = [c[..., None] if c.dim() < 2 else c for c in conditions]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, -1)


def joined(law: "Law", values: Sequence[Tensor]) -> Tensor:
    """The value of a law from those of its variables."""
    parts = law.pushforward
    return values[0] if parts is None or parts.pieces is None else parts.pieces(*values)


def parted(law: "Law", value: Tensor) -> list[Tensor]:
    """The values of a law's variables from its value."""
    parts = law.pushforward
    if parts is None or parts.pieces is None:
        return [value]
    return [take(value) for take in parts.pieces.apart()]


def cut(value: Any) -> Any:
    """A parameter without its gradient; of a bijection, without that of its weights."""
    if isinstance(value, At):
        return At(Cut(value.bijection), value.context.detach(), value.event)
    if isinstance(value, Bijection):
        return Cut(value)
    return value.detach() if isinstance(value, Tensor) else value


def with_rows(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A parameter whose rows are arranged in another way; what has none as it is."""
    if isinstance(value, At):
        return value.at(change(value.context))
    return change(value) if isinstance(value, Tensor) else value
