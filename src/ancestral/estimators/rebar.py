r"""REBAR: the score function, with the relaxed draw as its control variate.

A discrete draw :math:`b = H(z)` is a jump of a continuous one, :math:`z = \log\pi + g`. Of a
relaxation :math:`\sigma_\tau(z)` of the jump, :math:`c(z) = \eta f(\sigma_\tau(z))` follows
:math:`f(b)` closely; its mean has a pathwise derivative, and one by the law of b and the law of z
given b. Taking one of the two off and adding the other leaves the mean alone:

.. math::
    \nabla E[f(b)] = E\left[(f(b) - c(\tilde z))\,\nabla\log q(b) + \nabla c(z)
    - \nabla c(\tilde z)\right], \qquad \tilde z \sim q(z|b)

for any number :math:`\eta` and any :math:`\tau > 0`; with :math:`\eta = 0` it is the plain score
function. :math:`z` and :math:`\tilde z` share their noise: that of :math:`\tilde z` is the one with
which :math:`\tilde z(b, \tilde\epsilon, \pi) = z`, so that both are one value with two derivatives
(that of :math:`\tilde z` lets the law move while b stands still). So the three terms of the
parameters of f itself cancel to the one at b, and no other noise is drawn than for b.

The integrand is evaluated at three versions of the draw in one pass: b, z and :math:`\tilde z`.

Source: Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, REBAR: Low-variance, unbiased gradient
estimates for discrete latent variable models (2017), eq. 4 and appendix 7.1.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.core.axes import sum_event
from ancestral.core.errors import OptionError
from ancestral.estimators.base import Estimator, check_temperature


@dataclass(frozen=True)
class REBAR(Estimator):
    r"""The score function less a control variate that is relaxed; unbiased.

    The integrand must be a function of relaxed values, too: a network, or densities of Bernoulli
    and one-hot categorical laws, which are linear between their values.

    Args:
        temperature: Of the relaxation, positive; it changes the variance alone.
        eta: The factor of the control variate, likewise: 1 where f is close to linear between the
            values of the draw, less where the relaxed f is another function.
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: If the temperature is no positive number, or eta is none; in a loss, if the
            law has no relaxation.
        SupportError: At the first batch, if the loss asks for the density of a relaxed value by a
            law that has none between its own values.

    Example:
        >>> from ancestral.distributions import Bernoulli
        >>> from ancestral.losses import E, Function, values
        >>> q = Bernoulli(logits=torch.nn.Parameter(torch.zeros(1)), var=["z"], name="q")
        >>> f = Function(lambda z: (z[:, 0] - 0.45) ** 2, name="f")
        >>> print(E(q, f(values("z"))).estimate({q: REBAR(0.5)}).program())
        θ_q        = parameters of q(z)
        z.versions ~ q(z), for REBAR(temperature=0.5, eta=1.0)  (versions,n)  -> z, t1
        z          = the draw and its relaxations of z.versions  (versions,n)
        t1         = log q of z.versions                        (versions,n)
        t2         = f(z)                                       (versions,n)
        t3         = t2, one number per row                     (versions,n)
        t4         = t3 at the draw, with REBAR gradient by t1  (n)
        t5         = mean over n of t4
        return t5
    """

    how: ClassVar[str] = "versions"
    count: ClassVar[int | None] = 3
    discrete: ClassVar[bool] = True
    relaxes: ClassVar[bool] = True
    called: ClassVar[tuple[str, str]] = ("the draw and its relaxations", "log q")
    joint: ClassVar[bool] = True  # draws that one number reads have one version of all
    temperature: float = 1.0
    eta: float = 1.0

    def __init__(
        self, temperature: float = 1.0, eta: float = 1.0, draws: int | None = None
    ) -> None:
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "eta", eta)
        object.__setattr__(self, "draws", draws)
        self.__post_init__()
        check_temperature(self)
        if not isinstance(eta, (int, float)) or isinstance(eta, bool):
            raise OptionError(f"REBAR(eta={eta!r}): give a number, e.g. 1.0.")

    def __repr__(self) -> str:
        """The estimator with what changes its variance."""
        several = "" if self.draws is None else f", draws={self.draws}"
        return f"REBAR(temperature={self.temperature}, eta={self.eta}{several})"

    def serves(self, moves: type) -> bool:
        """Whether it is for laws with these moves."""
        return hasattr(moves, "relaxed_given")

    def moves(self, moves: type) -> type:
        """By which the draw is made: those of the law."""
        return moves

    def versions(
        self, moves: Any, params: dict[str, Any], axes: int, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""b, :math:`\sigma_\tau(z)` and :math:`\sigma_\tau(\tilde z)`, and :math:`\log q(b)`.

        Args:
            moves: Those of the law.
            params: Its parameters.
            axes: How many axes stand before the event.
            noise: Its noise, shape ``(*axes, *event)``.

        Returns:
            Shapes ``(3, *axes, *event)`` and ``(3, *axes)``, three times the same.
        """
        hard = moves.draw(noise, **params).detach()
        soft = moves.relaxed(noise, self.temperature, **params)
        given = moves.relaxed_given(noise, self.temperature, **params)
        log_q = sum_event(moves.log_density(hard, **params), axes)
        return torch.stack([hard, soft, given]), log_q.expand(3, *log_q.shape)

    def weigh(self, f: Tensor, weights: Tensor, axis: int) -> Tensor:
        r""":math:`f(b)` with the gradient of the estimator.

        Args:
            f: The integrand at the versions.
            weights: :math:`\log q(b)`, broadcastable to ``f``.
            axis: The dimension of the versions.
        """
        hard, soft, given = f.unbind(axis)
        gain = (hard - self.eta * given).detach()
        term = gain * weights.select(axis, 0) + self.eta * (soft - given)
        return hard + (term - term.detach())
