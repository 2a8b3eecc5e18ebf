r"""Penalties on the slope of a critic.

.. math::
    E_{p(x)\,q(x')\,U(u)}\big[(\lVert \nabla f(u x + (1-u) x') \rVert - 1)^2\big], \qquad
    \tfrac12 E_{p(x)}\big[\lVert \nabla f(x) \rVert^2\big]

A term of the critic's objective. The first holds the slope at 1 on the lines between draws of two
laws, where a critic of the Wasserstein distance has it; the second (R1) makes the game converge.

Source: Gulrajani et al., Improved Training of Wasserstein GANs (2017), equation 3; Mescheder,
Geiger and Nowozin, Which Training Methods for GANs do actually Converge? (2018), equation 9.
"""

from ancestral.core.errors import OptionError, VariableError
from ancestral.distributions import Distribution, Uniform
from ancestral.losses import E, Function, Node, Value, norm, sqnorm


def GradientPenalty(p: Distribution, q: Distribution, f: Function) -> Node:
    """The squared distance from 1 of the critic's slope between the draws of two laws.

    Args:
        p: A law of one variable x.
        q: A law of one variable; of the same name, or of another if both stand beside draws that
            they are to share.
        f: The critic, of one argument.

    Raises:
        VariableError: If a law is over several variables.
        OptionError: If the critic is no ``Function``.

    Example:
        >>> import torch
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> q = Normal(var=["x_f"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0, name="q")
        >>> f = Function(torch.nn.Linear(2, 1), name="f")
        >>> print(GradientPenalty(EmpiricalDistribution(["x"]), q, f))
        E_{p_{data}(x)q(x_f)p(u_x)}[(||∇f(u_x x + (1 - u_x) x_f)|| - 1)^2]
    """
    _check(f, p, q)
    x = p.var[0]
    if q.var[0] == x:
        q = q.replace_var(**{x: f"{x}'"})
    u = Uniform(low=0.0, high=1.0, var=[f"u_{x}"], name="p")
    share = Value(u.var[0])
    between = share * Value(x) + (1 - share) * Value(q.var[0])
    return E(p * q * u, (norm(f.grad(between)) - 1) ** 2)


def R1(p: Distribution, f: Function) -> Node:
    """Half the squared slope of the critic at draws of a law.

    Args:
        p: A law of one variable, the data.
        f: The critic, of one argument.

    Raises:
        VariableError: If the law is over several variables.
        OptionError: If the critic is no ``Function``.

    Example:
        >>> import torch
        >>> from ancestral.distributions import EmpiricalDistribution
        >>> print(R1(EmpiricalDistribution(["x"]), Function(torch.nn.Linear(2, 1), name="f")))
        0.5 E_{p_{data}(x)}[||∇f(x)||^2]
    """
    _check(f, p)
    return 0.5 * E(p, sqnorm(f.grad(Value(p.var[0]))))


def _check(f: Function, *laws: Distribution) -> None:
    if not isinstance(f, Function):
        raise OptionError(
            f"the critic is a Function(net), whose slope is known; got {type(f).__name__}."
        )
    for law in laws:
        if len(law.var) != 1:
            raise VariableError(
                f"{law.prob_text}: the slope is taken at one variable, but it draws "
                f"{len(law.var)}. Join them in the network of the critic."
            )
