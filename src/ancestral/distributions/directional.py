"""Laws of directions: unit vectors around a mean direction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.core.rng import Generator, blank, normal
from ancestral.distributions.constraints import Constraint, positive, unit_vector
from ancestral.distributions.implicit import attach
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise


class Directional(Law):
    r"""The base of laws of a unit vector with a mean direction :math:`\mu` and a concentration
    :math:`\kappa`. A draw is a height over the plane across the mean, and a direction in it.

    A family declares, beside what every law does, two static functions,

    * ``away(kappa, size, generator)``: draws of w, for which :math:`\mu^\top x = 1 - 2w`;
    * ``slope(w, kappa, size)``: the derivative of such a draw with respect to :math:`\kappa`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D)``.
        loc: Mean direction, a unit vector, shape ``(*event, D)``: a tensor, an ``nn.Parameter``,
            or a condition's name.
        concentration: Shape ``(*event)``: a number, or likewise.
        net: A network of the conditions that returns a dict of parameters.
    """

    has_density: ClassVar[bool] = False  # of the base itself
    domains = {"loc": unit_vector, "concentration": positive}
    cores = {"loc": "d", "concentration": ""}
    reparametrised = True
    noise = "a height and a direction"
    value_dims = 1
    param_dims = 1
    away: ClassVar[Callable[..., Tensor]]
    slope: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        concentration: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"loc": loc, "concentration": concentration}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Unit vectors."""
        return unit_vector

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three directions in space; none of the base."""
        if cls is Directional:
            return []
        rows = torch.tensor([[0.3, -1.0, 0.8], [-0.9, 0.5, 0.1], [0.2, 0.9, -1.4]]).double()
        kappa = torch.tensor([1.5, 4.0, 10.0], dtype=torch.float64)
        return [{"loc": direction(rows), "concentration": kappa}]

    @classmethod
    def noise_of(
        cls,
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        loc: Any,
        concentration: Any,
    ) -> Tensor:
        """Of a draw w, and its direction around the mean, D - 1 entries."""
        kappa = as_noise(concentration, shape[:-1], like)
        away = cls.away(kappa, shape[-1], generator).to(like.dtype)
        around = normal(blank((*shape[:-1], shape[-1] - 1), like), generator)
        return torch.cat([away.unsqueeze(-1), direction(around)], -1)

    @classmethod
    def draw(cls, noise: Tensor, loc: Any, concentration: Any) -> Tensor:
        r""":math:`(1-2w)\mu + 2\sqrt{w(1-w)}\,v` with v orthogonal to :math:`\mu`."""
        away, around = noise[..., 0], noise[..., 1:]
        if isinstance(concentration, Tensor) and concentration.requires_grad:
            kappa = as_noise(concentration, away.shape, away).double()
            slope = cls.slope(away.double(), kappa, noise.shape[-1])
            away = attach(away, (concentration, slope.to(away.dtype)))
        return away_from(direction(loc), away.unsqueeze(-1), around)


def direction(x: Tensor) -> Tensor:
    """A vector over its length."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def away_from(mu: Tensor, away: Tensor, around: Tensor) -> Tensor:
    r""":math:`(1-2w)\mu + 2\sqrt{w(1-w)}\,v` with v orthogonal to :math:`\mu`.

    Args:
        mu: A unit vector, shape ``(*event, D)``.
        away: w, shape ``(*event, 1)``.
        around: A unit vector of one entry less, which v is with :math:`\mu` as its first axis.
    """
    # a reflection takes the first axis to the mean, or to its opposite, whichever is farther
    sign = torch.where(mu[..., :1] < 0, -1.0, 1.0).to(mu.dtype)
    first = torch.cat([mu[..., :1] + sign, mu[..., 1:]], -1)
    flat = torch.cat([torch.zeros_like(away), around], -1)
    share = (first * flat).sum(-1, keepdim=True) / first.square().sum(-1, keepdim=True)
    return (1.0 - 2.0 * away) * mu + 2.0 * (away * (1.0 - away)).sqrt() * (
        flat - 2.0 * share * first
    )
