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

As the mean does not depend on :math:`\eta`, that is trained by the variance. The gradient is linear
in it, :math:`g = A + \eta B`, so that

.. math::
    \frac{d}{d\eta}\mathrm{Var}[g] = 2\,E\left[\langle A + \eta B,\, B\rangle\right],\qquad
    B = -f(\tilde z)\,\nabla\log q(b) + \nabla f(\sigma_\tau(z)) - \nabla f(\sigma_\tau(\tilde z))

is read off on the way back, where the parts of g meet in the parameters of the law: nothing is
differentiated twice.

Source: Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, REBAR: Low-variance, unbiased gradient
estimates for discrete latent variable models (2017), eq. 4, section 3.2 and appendix 7.1.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

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
            values of the draw, less where the relaxed f is another function. An ``nn.Parameter``
            of one number is trained, by whoever trains the law: its gradient is that of the sum,
            over the draws of a step, of the variance of the gradient that passes through the draw,
            in the parameters of the law (log odds or logits, else probabilities).
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: If the temperature is no positive number, or eta is none and no
            parameter of one; in a loss, if the law has no relaxation.
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
        >>> eta = torch.nn.Parameter(torch.tensor(1.0))
        >>> rows = E(q, f(values("z"))).estimate({q: REBAR(0.5, eta)}).eval(batch_n=100)
        >>> rows.mean().backward()
        >>> bool(eta.grad > 0)  # less of it is better: f is curved
        True
    """

    how: ClassVar[str] = "versions"
    count: ClassVar[int | None] = 3
    discrete: ClassVar[bool] = True
    relaxes: ClassVar[bool] = True
    called: ClassVar[tuple[str, str]] = ("the draw and its relaxations", "log q")
    joint: ClassVar[bool] = True  # draws that one number reads have one version of all
    temperature: float = 1.0
    eta: float | nn.Parameter = 1.0
    trained: nn.ParameterList = field(default_factory=nn.ParameterList, compare=False)

    def __init__(
        self,
        temperature: float = 1.0,
        eta: float | nn.Parameter = 1.0,
        draws: int | None = None,
    ) -> None:
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "eta", eta)
        object.__setattr__(self, "draws", draws)
        self.__post_init__()
        check_temperature(self)
        given = eta if isinstance(eta, nn.Parameter) else None
        number = isinstance(eta, (int, float)) and not isinstance(eta, bool)
        if not number and (given is None or given.numel() != 1):
            raise OptionError(
                f"REBAR(eta={eta!r}): give a number, e.g. 1.0; or one that is trained, "
                "nn.Parameter(torch.tensor(1.0))."
            )
        object.__setattr__(self, "trained", nn.ParameterList([] if given is None else [given]))

    def __repr__(self) -> str:
        """The estimator with what changes its variance."""
        several = "" if self.draws is None else f", draws={self.draws}"
        eta = "trained" if self.trained else self.eta
        return f"REBAR(temperature={self.temperature}, eta={eta}{several})"

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The factor, if it is trained."""
        return (self.trained,) if self.trained else ()

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
            Shapes ``(3, *axes, *event)`` and ``(3, *axes)``, three times the same; but for what
            the gradient of a trained factor is made of.
        """
        hard = moves.draw(noise, **params).detach()
        by_draw = by_factor = by_path = params
        if self.trained:
            by_draw, by_factor, by_path = _apart(params, noise, self._factor())
        soft = moves.relaxed(noise, self.temperature, **by_path)
        given = moves.relaxed_given(noise, self.temperature, **by_path)
        log_q = sum_event(moves.log_density(hard, **by_draw), axes)
        weights = log_q.expand(3, *log_q.shape)
        if self.trained:
            other = sum_event(moves.log_density(hard, **by_factor), axes)
            weights = torch.stack([log_q, other, log_q])
        return torch.stack([hard, soft, given]), weights

    def _factor(self) -> Tensor:
        """The trained factor; where it is 0, a number that can be divided by."""
        eta = self.trained[0].reshape(())
        return torch.where(eta == 0, eta + 1e-12, eta)

    def weigh(self, f: Tensor, weights: Tensor, axis: int) -> Tensor:
        r""":math:`f(b)` with the gradient of the estimator.

        Args:
            f: The integrand at the versions.
            weights: :math:`\log q(b)`, broadcastable to ``f``.
            axis: The dimension of the versions.
        """
        hard, soft, given = f.unbind(axis)
        if self.trained:  # its gradient is made where the law's parts meet, not here
            by_draw, by_factor, _ = weights.unbind(axis)
            term = hard.detach() * by_draw - given.detach() * by_factor
            term = term + self._factor().detach() * (soft - given)
            return hard + (term - term.detach())
        gain = (hard - self.eta * given).detach()
        term = gain * weights.select(axis, 0) + self.eta * (soft - given)
        return hard + (term - term.detach())


def _apart(params: dict[str, Any], noise: Tensor, eta: Tensor) -> list[dict[str, Any]]:
    """The parameters of a law three times, for each part of the gradient, at each draw."""
    found: list[dict[str, Any]] = [{}, {}, {}]
    for key, value in params.items():
        parts = [value] * 3
        if isinstance(value, Tensor):  # at each draw: squares of one draw's gradient are summed
            parts = list(_Parts.apply(eta, value.expand(noise.shape)).unbind(0))  # type: ignore[no-untyped-call]
        for way, part in zip(found, parts, strict=True):
            way[key] = part
    return found


class _Parts(torch.autograd.Function):
    r"""A value three times; on the way back A, B without its path, and :math:`\eta` times that.

    The value gets :math:`g = A + \eta B`, and :math:`\eta` the derivative of
    :math:`\|g\|^2`, :math:`2\langle g, B\rangle`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(eta: Tensor, value: Tensor) -> Tensor:
        return torch.stack([value, value, value])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        (eta,) = ctx.saved_tensors
        by_draw, by_factor, by_path = gradients[0].unbind(0)
        b = by_factor + by_path / eta
        g = by_draw + eta * b
        slope = (2.0 * (g * b).sum()).to(eta) if ctx.needs_input_grad[0] else None
        return slope, g
