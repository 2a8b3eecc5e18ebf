r"""RELAX: the score function, with a network of the relaxed draw as its control variate.

As :class:`REBAR`, with a network :math:`r_\rho` in the place of the relaxed integrand,

.. math::
    g = (f(b) - r_\rho(\tilde\zeta))\,\nabla\log q(b) + \nabla r_\rho(\zeta)
    - \nabla r_\rho(\tilde\zeta), \qquad
    \zeta = \sigma_\tau(z),\; \tilde\zeta = \sigma_\tau(\tilde z)

so that f is asked at the draw alone and may be any function, of which nothing is known but its
values. The mean is exact whatever the network is. It is trained by the variance: the gradient of
:math:`\|g\|^2`, g in the log odds or logits of the law, is that of the variance, as the mean of g
does not depend on :math:`\rho`. It is a term of the step of value 0, which weighs what the
expectation weighs in the objective, whatever its sign.

With ``relaxed=True`` the network corrects the relaxed integrand, :math:`c = f + r_\rho`, which is
asked at the draw and at both relaxations, as by REBAR; at :math:`r = 0` it is that.

Source: Grathwohl, Choi, Wu, Roeder and Duvenaud, Backpropagation through the Void (2018), eq. 8,
algorithm 2; with the relaxed integrand section 3.3, eq. 12.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.axes import sum_event
from ancestral.core.errors import OptionError, ShapeError
from ancestral.core.slope import slope
from ancestral.estimators.base import Estimator, check_temperature
from ancestral.estimators.baselines import charged


@dataclass(frozen=True, init=False)
class RELAX(Estimator):
    r"""The score function less a network of the relaxed draw, trained by the variance; unbiased.

    The player who trains the law trains the network; a frozen one is used as it is.

    Args:
        net: Of relaxed draws, rows first; returns one number for each, shape ``(B,)`` or
            ``(B, 1)``; twice differentiable (``nn.Tanh``, ``nn.Softplus``; no ``nn.ReLU``, whose
            slope would have no slope).
        temperature: Of the relaxation, positive.
        relaxed: Whether the control variate has the relaxed integrand, too, which must then be a
            function of relaxed values (see :class:`REBAR`).
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: If the network is none, or the temperature is no positive number; in a loss,
            if the law has no relaxation.
        ShapeError: If the network returns anything else than one number for each row.
        SupportError: At the first batch, if ``relaxed`` and the loss asks for the density of a
            relaxed value by a law that has none between its own values.

    Example:
        >>> from ancestral.distributions import Bernoulli
        >>> from ancestral.losses import E, Function, values
        >>> q = Bernoulli(logits=nn.Parameter(torch.zeros(2)), var=["z"], name="q")
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> count = Function(lambda z: (z.sum(1) > 1).float(), name="count")(values("z"))
        >>> loss = E(q, count).estimate({q: RELAX(net)})
        >>> print(str(loss.program()).splitlines()[-3].split("= ")[1].split("  ")[0])
        t3 at the draw, with RELAX gradient by t1
    """

    how: ClassVar[str] = "versions"
    count: ClassVar[int | None] = 1
    discrete: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    called: ClassVar[tuple[str, str]] = ("the draw", "log q and the network")
    net: nn.Module = field(default_factory=nn.Module)  # always given
    temperature: float = 1.0
    relaxed: bool = False

    def __init__(
        self,
        net: nn.Module,
        temperature: float = 1.0,
        draws: int | None = None,
        *,
        relaxed: bool = False,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise OptionError(
                f"RELAX({net!r}): give the network as an nn.Module, whose parameters are trained, "
                "e.g. nn.Sequential(nn.Linear(20, 50), nn.Tanh(), nn.Linear(50, 1))."
            )
        given = {"net": net, "temperature": temperature, "draws": draws, "relaxed": relaxed}
        for key, value in given.items():
            object.__setattr__(self, key, value)
        if relaxed:  # three versions of the integrand, as REBAR has
            told = ("the draw and its relaxations", "log q and the network")
            for key, value in {"count": 3, "relaxes": True, "called": told}.items():
                object.__setattr__(self, key, value)
        self.__post_init__()
        check_temperature(self)

    def __repr__(self) -> str:
        """The estimator with what changes its variance."""
        options = "" if self.draws is None else f", draws={self.draws}"
        options += ", relaxed=True" if self.relaxed else ""
        return f"RELAX({type(self.net).__name__}, temperature={self.temperature}{options})"

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The control variate."""
        return (self.net,)

    def serves(self, moves: type) -> bool:
        """Whether it is for laws with these moves."""
        return hasattr(moves, "relaxed_given")

    def moves(self, moves: type) -> type:
        """By which the draw is made: those of the law."""
        return moves

    def versions(
        self, moves: Any, params: dict[str, Any], axes: int, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""The draw b, and what the gradient and its square are made of.

        Args:
            moves: Those of the law.
            params: Its parameters.
            axes: How many axes stand before the event.
            noise: Its noise, shape ``(*axes, *event)``.

        Returns:
            Shapes ``(1, *axes, *event)`` and ``(6, *axes)``: :math:`\log q(b)`; 0 with the
            gradient of :math:`r(\zeta) - r(\tilde\zeta)`; r; and with the score s and that
            gradient k in the log odds :math:`\langle s, k\rangle, \|k\|^2, \|s\|^2`. With the
            relaxed integrand ``(3, *axes, *event)`` and ``(3, *axes)``: what :class:`REBAR` has,
            but for zeros that the network's part of the gradient is told its weight by.
        """
        if self.relaxed:
            return self._beside(moves, params, axes, noise)
        hard = moves.draw(noise, **params).detach()
        soft = moves.relaxed(noise, self.temperature, **params)
        given = moves.relaxed_given(noise, self.temperature, **params)
        log_q = sum_event(moves.log_density(hard, **params), axes)
        lead, event = log_q.shape, hard.shape[axes:]
        rows = soft.detach().reshape(-1, *event)
        r = self._at(rows).reshape(lead)
        by_soft = slope(self._at, (rows,), 0).reshape(soft.shape)
        path = sum_event(by_soft.detach() * (soft - given), axes)
        with torch.no_grad():
            pi = torch.as_tensor(moves.mean_of(**params), dtype=hard.dtype, device=hard.device)
            score = hard - pi
        k = _by_log_odds(by_soft, soft.detach(), hard, pi, self.temperature, moves.value_dims)
        parts = (score * k, k.square(), score.square())
        squares = [sum_event(v.expand(hard.shape), axes) for v in parts]
        return hard[None], torch.stack([log_q, path, r, *squares])

    def _beside(
        self, moves: Any, params: dict[str, Any], axes: int, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The versions of the draw, and weights, where the network stands beside the integrand."""
        logits = _log_odds(params, noise, moves.value_dims)
        with torch.no_grad():
            hard = moves.draw(noise, **params)
            soft = moves.relaxed(noise, self.temperature, logits=logits)
            pi = moves.mean_of(logits=logits)
        rows = soft.reshape(-1, *hard.shape[axes:])
        r = self._at(rows).reshape(hard.shape[:axes] + (1,) * (hard.dim() - axes))
        by_soft = slope(self._at, (rows,), 0).reshape(soft.shape)
        k = _by_log_odds(by_soft, soft, hard, pi, self.temperature, moves.value_dims)
        logits, unit = _Corrected.apply(logits, k - r * (hard - pi))  # type: ignore[no-untyped-call]
        soft = moves.relaxed(noise, self.temperature, logits=logits)
        given = moves.relaxed_given(noise, self.temperature, logits=logits)
        log_q = sum_event(moves.log_density(hard, logits=logits), axes)
        told = sum_event(unit, axes)
        return torch.stack([hard, soft, given]), torch.stack([log_q, told, log_q])

    def _at(self, rows: Tensor) -> Tensor:
        out: Tensor = self.net(rows)
        if out.dim() == 0 or out.shape[0] != rows.shape[0] or out.numel() != rows.shape[0]:
            raise ShapeError(
                f"{self}: the network returned {tuple(out.shape)} for {rows.shape[0]} rows. It "
                f"must return one number for each, ({rows.shape[0]},) or ({rows.shape[0]}, 1)."
            )
        return out.reshape(-1)

    def weigh(self, f: Tensor, weights: Tensor, axis: int) -> Tensor:
        """The integrand at the draw with the gradient of the estimator, and that of its square.

        Args:
            f: The integrand at the draw.
            weights: What :meth:`versions` has returned, broadcastable to ``f``.
            axis: The dimension in which both stand.
        """
        if self.relaxed:
            draw, soft, given = f.unbind(axis)
            by_draw, told, _ = weights.unbind(axis)
            term = (draw - given).detach() * by_draw + told + soft - given
            return draw + (term - term.detach())
        hard = f.select(axis, 0)
        log_q, path, r, cross, own, score = weights.unbind(axis)
        gain = hard.detach() - r
        term = gain.detach() * log_q + path
        variance = gain.square() * score.detach() + 2.0 * gain * cross + own
        return hard + (term - term.detach()) + charged(variance.expand(hard.shape))


def _by_log_odds(
    slope_of_r: Tensor, soft: Tensor, hard: Tensor, pi: Tensor, temperature: float, vector: int
) -> Tensor:
    r"""The gradient of :math:`r(\zeta) - r(\tilde\zeta)` in the log odds, or logits, of the law.

    Args:
        slope_of_r: Of r in :math:`\zeta`.
        soft: :math:`\zeta`.
        hard: The draw.
        pi: The probabilities of 1, or of the categories.
        temperature: Of the relaxation.
        vector: 1 if values are one-hot vectors, 0 if they are components.
    """
    if not vector:
        z = temperature * torch.logit(soft).abs()
        own = torch.where(hard > 0, pi, 1.0 - pi)
        rate = soft * (1.0 - soft) / temperature
        return slope_of_r * rate * (1.0 + own * torch.expm1(-z))
    centred = slope_of_r - (soft * slope_of_r).sum(-1, keepdim=True)
    waits = (soft / soft.amax(-1, keepdim=True)) ** temperature  # the first arrival to each
    by_log_pi = soft * centred / temperature * waits
    return by_log_pi - pi * by_log_pi.sum(-1, keepdim=True)


def _log_odds(params: dict[str, Any], noise: Tensor, vector: int) -> Tensor:
    """The log odds, or logits, of a law at each draw."""
    probs, logits = params.get("probs"), params.get("logits")
    found = torch.as_tensor(probs if logits is None else logits, dtype=noise.dtype).to(noise)
    if logits is None:
        found = found.log() if vector else torch.logit(found)
    return found.expand(noise.shape)


class _Corrected(torch.autograd.Function):
    r"""Log odds, and zeros; on the way back the network's part K of the gradient is added.

    The zeros are told the weight u of the draw in the objective. The log odds get :math:`g + u K`,
    and K the derivative of :math:`|u| \|g / u + K\|^2`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        return logits.clone(), torch.zeros_like(part)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (part,) = ctx.saved_tensors
        g, weight = gradients
        total = g + weight * part
        return total, 2.0 * weight.sign() * total
