"""What a loss can be asked and how losses combine: one-line methods that build nodes.

A loss is mathematics, frozen data. Each method here returns a new node, or hands the expression
to the floor that prints, lowers or runs it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor

if TYPE_CHECKING:
    from ancestral.distributions import Distribution
    from ancestral.losses.node import Node
    from ancestral.lowering.function import LossFunction
    from ancestral.program.instructions import Program

Operand = Any  # a loss, a number or a 0-d tensor


INSTEAD = {
    name: ": a loss is an equation, not a tensor. Its value is loss.eval({...}), a tensor with a "
    "gradient; Model(loss=loss).train({...}) makes a step."
    for name in ("backward", "item", "requires_grad", "grad", "shape", "dtype", "to", "numpy")
}


class Loss:
    """An expression of the Loss API."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            """Only words that a loss does not have come here: say where they are."""
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(f"{told}{INSTEAD.get(name, '')}")

    # -- arithmetic -----------------------------------------------------------------------------
    def __add__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Add(self, other)

    def __radd__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Add(other, self)

    def __sub__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Sub(self, other)

    def __rsub__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Sub(other, self)

    def __mul__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Mul(self, other)

    def __rmul__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Mul(other, self)

    def __truediv__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Div(self, other)

    def __rtruediv__(self: Any, other: Operand) -> "Node":
        from ancestral.losses import node

        return node.Div(other, self)

    def __pow__(self: Any, exponent: Operand) -> "Node":
        from ancestral.losses import node

        return node.Pow(self, exponent)

    def __neg__(self: Any) -> "Node":
        from ancestral.losses import node

        return node.Neg(self)

    # -- functions ------------------------------------------------------------------------------
    def abs(self: Any) -> "Node":
        """The absolute value."""
        from ancestral.losses import node

        return node.Unary("abs", self)

    def exp(self: Any) -> "Node":
        """The exponential."""
        from ancestral.losses import node

        return node.Unary("exp", self)

    def log(self: Any) -> "Node":
        """The natural logarithm."""
        from ancestral.losses import node

        return node.Unary("log", self)

    def sigmoid(self: Any) -> "Node":
        """The logistic function, a probability from its logit; its logarithm is stable."""
        from ancestral.losses import node

        return node.Unary("sigmoid", self)

    def clamp(self: Any, min: float | None = None, max: float | None = None) -> "Node":
        """The value, cut off below ``min`` and above ``max``."""
        from ancestral.losses import node

        return node.Clamp(self, min, max)

    def min(self: Any, other: Operand) -> "Node":
        """The smaller of two losses."""
        from ancestral.losses import node

        return node.Extremum("min", self, other)

    def max(self: Any, other: Operand) -> "Node":
        """The larger of two losses, e.g. free bits: ``kl.max(0.5)``."""
        from ancestral.losses import node

        return node.Extremum("max", self, other)

    def mean(self: Any, axis: str | None = None) -> "Node":
        """The mean over rows, or over a named axis such as ``"k"``."""
        from ancestral.losses import node

        return node.Reduce("mean", axis, self)

    def sum(self: Any, axis: str | None = None) -> "Node":
        """The sum over rows, or over a named axis such as ``"k"``."""
        from ancestral.losses import node

        return node.Reduce("sum", axis, self)

    def logsumexp(self: Any, axis: str | None = None) -> "Node":
        """The logarithm of a sum of exponentials over rows, or over a named axis; stable."""
        from ancestral.losses import over

        return over.log_sum_exp(self, axis)

    def over_rows(self: Any, *names: str) -> "Node":
        """The loss with variables from every row j of the batch, beside each row i: the rows that
        the next ``.mean()``, ``.sum()`` or ``.logsumexp()`` reduces.

        ``q.log_prob() - q.log_prob().over_rows("theta").logsumexp()`` has the batch as atoms.
        """
        from ancestral.losses import over

        return over.over_rows(self, names)

    def detach(self: Any) -> "Node":
        """The same value, with its gradient cut: ``sg[...]``."""
        from ancestral.losses import node

        return node.Detach(self)

    # -- expectations and substitution ----------------------------------------------------------
    def expectation(self: Any, law: "Distribution", sample_shape: Any = None) -> "Node":
        """The expectation of this loss under a law: ``E(law, self)``."""
        from ancestral.losses import prob

        return prob.Expectation(law, self, sample_shape=sample_shape)

    def estimate(self: Any, choices: Mapping[Any, Any]) -> "Node":
        """The same equation with a gradient estimator attached to laws: ``{q: Enumerate()}``."""
        from ancestral.losses import plan

        return plan.attach(self, choices)

    def replace_var(self: Any, **renaming: Any) -> "Node":
        r"""The same loss of other variables: free ones are renamed, bound ones are not.

        A value may stand in for a variable: ``p.log_prob().replace_var(x=x + u)`` is the log
        density at the sum, :math:`\log p(x + u)`.
        """
        from ancestral.losses import scope

        return scope.rename(self, renaming)

    def constant_var(self: Any, constants: Mapping[str, float]) -> "Node":
        """The same loss with free variables set to constants."""
        from ancestral.losses import scope

        return scope.fix(self, constants)

    def simplify(self: Any) -> "Node":
        """An equal expression with closed forms where they exist; print it to see what it made."""
        from ancestral.lowering.simplify import simplify

        return simplify(self)

    @property
    def input_var(self: Any) -> list[str]:
        """The variables whose values must be given to evaluate the loss."""
        from ancestral.losses import scope

        return list(scope.inputs(self))

    # -- running --------------------------------------------------------------------------------
    def eval(self: Any, x_dict: Mapping[str, Tensor] | None = None, **options: Any) -> Any:
        """The value at given data, differentiable; see :meth:`LossFunction.__call__`."""
        from ancestral.lowering import function

        return function.evaluate(self, x_dict, options)

    def function(self: Any, **options: Any) -> "LossFunction":
        """Lower once, call many times; the weights are live."""
        from ancestral.lowering import function

        return function.LossFunction(self, **options)

    def program(self: Any, **scalars: Any) -> "Program":
        """The flat list of steps that will run."""
        from ancestral.lowering import lower

        return lower.lower(self, frozenset(scalars))

    def source(self: Any, x_dict: Mapping[str, Tensor] | None = None, **options: Any) -> str:
        """The straight-line PyTorch that runs on data like this batch, as text."""
        from ancestral.lowering import function

        return function.source(self, x_dict, options)

    # -- how it reads ---------------------------------------------------------------------------
    def latex(self: Any) -> str:
        """The equation in LaTeX."""
        from ancestral.printing import loss

        return loss.latex(self)

    def mathml(self: Any) -> str:
        """The equation as presentation MathML, one ``math`` element."""
        from ancestral.printing import loss

        return loss.mathml(self)

    def graph(self: Any) -> str:
        """The graphical model as SVG: solid generative laws, dashed inference laws."""
        from ancestral.printing import graph

        return graph.of_losses({"": self})

    def __str__(self: Any) -> str:
        """The equation as text."""
        from ancestral.printing import loss

        return loss.text(self)

    def __repr__(self: Any) -> str:
        """The equation as text, with the kind of node."""
        from ancestral.printing import loss

        return f"<{type(self).__name__}: {loss.text(self)}>"

    def _repr_latex_(self: Any) -> str:
        from ancestral.printing import loss

        return f"${loss.latex(self)}$"

    def _repr_html_(self: Any) -> str:
        from ancestral.printing import notebook

        return notebook.of_loss(self)

    __iter__: Callable[..., Any] | None = None  # a loss is no sequence
