r"""Sticking the landing: the path derivative alone, the score of the draw's own density left out.

With :math:`z = z(\epsilon, \phi)` the gradient of :math:`E_q[\log p(x, z) - \log q_\phi(z|x)]` is

.. math::
    E_\epsilon\left[\nabla_z (\log p - \log q)\, \frac{\partial z}{\partial \phi}\right]
    - E_q[\nabla_\phi \log q_\phi(z|x)]

whose last term is 0. A draw of it is not, and :class:`Pathwise` has it. Without it the gradient is
0 at every draw once q is the posterior: no noise is left at the optimum. Far from it the term may
lower the variance, so that the choice is one.

In a hierarchy :math:`q(z_1)\,q(z_2|z_1)` the parameters alone are cut in :math:`\log q(z_2|z_1)`,
and its path through :math:`z_1` is kept: the network runs once more, at weights that are cut.

Source: Roeder, Wu and Duvenaud, Sticking the Landing (2017), eq. 8.
"""

from dataclasses import dataclass
from typing import ClassVar

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class StickingTheLanding(Estimator):
    """Differentiate through the draw, with no parameters in the law's density there.

    Args:
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: In a loss, if the law has copies (there :class:`DReG` is right), if the
            integrand is not linear in the log density of the draw, or if the law is given a draw
            that passes a gradient on and its network cannot run twice: it has dropout, say, or does
            not hold all of the law's parameters.

    Example:
        >>> from ancestral.distributions import Normal
        >>> from ancestral.losses import E
        >>> q = Normal(var=["z"], loc=0.0, scale=1.0, name="q")
        >>> p = Normal(var=["z"], loc=1.0, scale=2.0, name="p")
        >>> loss = E(q, q.log_prob() - p.log_prob()).estimate({q: StickingTheLanding()})
        >>> "log sg[q](z)" in str(loss.program())
        True
    """

    cuts_own: ClassVar[bool] = True
