"""The closed set of nodes, functions: a network at a point, its derivatives, a norm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.core.names import subscripted
from ancestral.distributions.ema import averaged
from ancestral.distributions.net_of_weights import NetOfWeights
from ancestral.losses.node import Node, as_node
from ancestral.nn.detached import Detached


@dataclass(frozen=True, eq=False)
class Function:
    """A network or any callable, to be applied to nodes: ``f = Function(net, name="f")``.

    Args:
        net: Takes tensors with one batch axis in front, returns one tensor with the same.
        name: How it prints.

    Example:
        >>> import torch
        >>> from ancestral.losses import values
        >>> x = values("x")
        >>> str(Function(torch.square, name="f")(x))
        'f(x)'
    """

    net: Callable[..., Tensor]
    name: str = "f"

    @property
    def is_detached(self) -> bool:
        """Whether its parameters are cut."""
        return isinstance(self.net, Detached)

    def __call__(self, *args: Any) -> "Apply":
        """The function at these nodes."""
        return Apply(self, tuple(as_node(a) for a in args))

    def detach(self) -> "Function":
        r"""The function with its parameters cut, :math:`f_{\mathrm{sg}[\theta]}`, as it is at each
        call: a gradient reaches its arguments alone. ``f(x).detach()`` cuts both.
        """
        if not isinstance(self.net, nn.Module):
            raise OptionError(
                f"{self.name}.detach(): what it calls is no nn.Module, so its weights are not "
                f"known. Give Function(net) the module itself, or cut all, {self.name}(x).detach()."
            )
        if isinstance(self.net, NetOfWeights):
            raise OptionError(
                f"{self.name}.detach(): its weights are a variable, not parameters. Detach the law "
                "of the weights, q.detach(), or the value."
            )
        return self if self.is_detached else Function(Detached(self.net), self.name)

    def ema(self, decay: float, name: str | None = None) -> "Function":
        r"""The function of weights averaged over training steps, :math:`f_{\theta^-}`.

        A model moves and saves them; no gradient reaches them.

        Args:
            decay: The share of the average that a step keeps.
            name: How it prints; by default ``f_{ema}``.
        """
        if not isinstance(self.net, nn.Module):
            raise OptionError(
                f"{self.name}.ema({decay}): what it calls is no nn.Module, so its weights are not "
                "known. Give Function(net) the module itself."
            )
        named = subscripted(self.name, "ema") if name is None else name
        return Function(averaged(self.net, decay, self.name), named)

    def grad(self, *args: Any, wrt: int = 0) -> "Grad":
        r"""The derivative of a scalar function at a point, :math:`\nabla_x f(x, \dots)`.

        Args:
            args: The point.
            wrt: The argument that it is taken with respect to.
        """
        return Grad(self, tuple(as_node(a) for a in args), wrt)

    def jvp(self, args: Sequence[Any], along: Sequence[Any]) -> "Jvp":
        r"""The derivative of the function along a direction, :math:`\partial f(x)\,v`.

        Args:
            args: The point, one entry per argument.
            along: The direction, likewise; a number stands for a constant one.
        """
        return Jvp(self, tuple(as_node(a) for a in args), tuple(as_node(a) for a in along))


@dataclass(frozen=True, eq=False)
class BatchFunction(Function):
    """A function of all rows at once, such as a distance of two batches of draws.

    Args:
        net: Takes tensors of shape ``(rows, *event)``, returns one number per row, in each the
            distance of the whole batches. It has no trained parameters.
        name: How it prints.

    Example:
        >>> import torch
        >>> from ancestral.losses import values
        >>> def gap(x, y):
        ...     return (x.mean() - y.mean()).abs().expand(len(x))
        >>> d = BatchFunction(gap, name="d")
        >>> d(*values("x y")).eval({"x": torch.tensor([1.0, 3.0]), "y": torch.tensor([0.0, 8.0])})
        tensor([2., 2.])
    """


@dataclass(frozen=True, eq=False, repr=False)
class Apply(Node):
    """A function at a point."""

    fn: Function
    args: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.args:
            raise OptionError(f"{self.fn.name}() needs at least one argument.")


@dataclass(frozen=True, eq=False, repr=False)
class Grad(Node):
    """The derivative of a scalar function at a point, with respect to one argument."""

    fn: Function
    args: tuple[Node, ...]
    wrt: int

    def __post_init__(self) -> None:
        if not 0 <= self.wrt < len(self.args):
            raise OptionError(
                f"{self.fn.name}.grad(wrt={self.wrt}): it has {len(self.args)} arguments, counted "
                "from 0."
            )


@dataclass(frozen=True, eq=False, repr=False)
class Jvp(Node):
    """The derivative of a function at a point along a direction."""

    fn: Function
    args: tuple[Node, ...]
    along: tuple[Node, ...]

    def __post_init__(self) -> None:
        if len(self.args) != len(self.along):
            raise OptionError(
                f"{self.fn.name}.jvp: {len(self.args)} arguments, but a direction with "
                f"{len(self.along)} entries. Give one per argument; 0 for those that are held "
                "fixed."
            )


@dataclass(frozen=True, eq=False, repr=False)
class Norm(Node):
    """The Euclidean norm of an event, or its square."""

    arg: Node
    squared: bool = False

    def __post_init__(self) -> None:
        self._coerce("arg")


def norm(arg: Any) -> Norm:
    r"""The Euclidean norm :math:`\lVert x \rVert` over event axes.

    Example:
        >>> import torch
        >>> from ancestral.losses import values
        >>> norm(values("x")).eval({"x": torch.tensor([[3.0, 4.0]])})
        tensor([5.])
    """
    return Norm(arg)


def sqnorm(arg: Any) -> Norm:
    r"""The squared Euclidean norm :math:`\lVert x \rVert^2` over event axes.

    Example:
        >>> import torch
        >>> from ancestral.losses import values
        >>> sqnorm(values("x")).eval({"x": torch.tensor([[3.0, 4.0]])})
        tensor([25.])
    """
    return Norm(arg, squared=True)
