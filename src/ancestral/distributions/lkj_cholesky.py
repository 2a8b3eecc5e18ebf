r"""The LKJ law of correlations, :math:`p(C) \propto |C|^{\eta-1}`, by their Cholesky factor."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.core.rng import Generator, blank, normal
from ancestral.distributions.constraints import Constraint, correlation_cholesky, positive
from ancestral.distributions.dirichlet import draw_dirichlet
from ancestral.distributions.gamma_function import (
    deviance,
    digamma_error,
    double,
    excess,
    log_beta,
    log_gamma_bregman,
    result_like,
    stirling_error,
)
from ancestral.distributions.implicit import attach
from ancestral.distributions.incomplete_beta import slopes_in_shapes
from ancestral.distributions.law import Law, Parameter, Params


class LKJCholesky(Law):
    r"""The law of the Cholesky factor L of a correlation matrix :math:`C = LL^\top` of D rows,
    whose density is proportional to :math:`|C|^{\eta-1}`. A density of the entries below the
    diagonal, it is a product over rows: with :math:`\beta_i = \eta + \frac{D-i}2`,

    .. math:: \log p(L) = \sum_{i=2}^D (2\beta_i - 2)\log L_{ii} - \tfrac{i-1}2\log\pi +
        \log\Gamma(\beta_i + \tfrac{i-1}2) - \log\Gamma(\beta_i).

    With :math:`\eta = 1` all correlation matrices are equally likely; with more, matrices near
    the identity are. Draws are those of the onion: the squared length of row i below the diagonal
    is a Beta variable, through which draws have their gradient, and its direction is uniform.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D, D)``.
        dim: D, unless ``features_shape`` tells it.
        concentration: :math:`\eta > 0`, shape ``(*event)``: a number, a tensor, an
            ``nn.Parameter``, or a condition's name.
        net: A network of the conditions; one output tensor is the concentration, through softplus.

    Raises:
        OptionError: If D is not given, is below 2, or is not that of ``features_shape``.

    Source: Lewandowski, Kurowicka, Joe, Generating random correlation matrices based on vines and
    extended onion method, 2009.

    Example:
        >>> p = LKJCholesky(dim=2, concentration=1.0)  # a correlation from -1 to 1
        >>> p.get_log_prob({"x": torch.eye(2)[None]}).exp()
        tensor([0.5000])
    """

    domains = {"concentration": positive}
    split = {"concentration": F.softplus}
    reparametrised = True
    noise = "a factor of correlations"
    value_dims = 2
    size: ClassVar[int] = 0  # D, of the moves

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        dim: int | None = None,
        concentration: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        found = tuple(features_shape or ())[-2:]
        dim = found[-1] if dim is None and found else dim
        if not isinstance(dim, int) or dim < 2 or found not in ((), (dim, dim)):
            told = "" if features_shape is None else f", features_shape={list(features_shape)}"
            raise OptionError(
                f"LKJCholesky: dim={dim}{told}: give the size of the matrix, at least 2, e.g. "
                "dim=3; features_shape, if given, ends in it twice."
            )
        self.dim = dim
        given = {"concentration": concentration}
        super().__init__(var, cond_var, name, features_shape, net, given)

    @property
    def moves(self) -> type["LKJCholesky"]:
        """Those of matrices of its size."""
        return _of_size(self.dim)

    def support(self, params: Params) -> Constraint | None:
        """Cholesky factors of correlation matrices."""
        return correlation_cholesky

    @classmethod
    def value_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """A matrix for each concentration."""
        return (*event, cls.size, cls.size)

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """A draw."""
        return cls.value_shape(event)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three factors of three rows."""
        return [{"dim": 3, "concentration": torch.tensor([2.0, 2.5, 4.0], dtype=torch.float64)}]

    @staticmethod
    def noise_of(
        shape: Sequence[int], like: Tensor, generator: Generator = None, *, concentration: Any
    ) -> Tensor:
        """A draw, without gradient."""
        size = shape[-1]
        above, half = _rows(concentration, size, like)
        above = above.expand(*shape[:-2], size - 1)
        square = draw_dirichlet(torch.stack([half.expand_as(above), above], -1), generator)
        below = normal(blank((*shape[:-2], size - 1, size), like), generator).tril()
        length = torch.linalg.vector_norm(below, dim=-1, keepdim=True)
        below = below * (square[..., :1].sqrt() / length)
        return _whole(below, square[..., 1].sqrt())

    @staticmethod
    def draw(noise: Tensor, concentration: Any) -> Tensor:
        """The draw with its derivative: of the length of each row, and of the diagonal."""
        eta = torch.as_tensor(concentration)
        if not eta.requires_grad:
            return noise
        above, half = _rows(eta, noise.shape[-1], noise)
        below, diagonal = _parts(noise)
        square, rest = below.square().sum(-1), diagonal.square()
        fixed, y, z = double(above.detach()).expand(rest.shape), double(square), double(rest)
        slope = (y * z * slopes_in_shapes(double(half), fixed, y, z)[1]).to(noise.dtype)
        square = attach(square, (above, slope)) / square
        return _whole(below * square.sqrt().unsqueeze(-1), attach(rest, (above, -slope)).sqrt())

    @staticmethod
    def log_density(x: Tensor, concentration: Any) -> Tensor:
        """The log density of each factor."""
        below, diagonal = _parts(double(x))
        above, half = _rows(concentration, x.shape[-1], diagonal)
        square = below.square().sum(-1)
        # what is small tells the logarithm of the diagonal: the row, or the diagonal itself
        short = square < 0.5
        log = torch.where(
            short,
            0.5 * (-torch.where(short, square, 0.0)).log1p(),
            torch.where(short, 1.0, diagonal).log(),
        )
        parts = (2.0 * above - 2.0) * log - _log_volume(above, half)
        return result_like(parts.sum(-1), x, concentration)

    @classmethod
    def mean_of(cls, concentration: Any) -> Any:
        r""":math:`E L_{ii} = \frac{B(\beta_i+\frac12, m_i)}{B(\beta_i, m_i)}` with :math:`m_i =
        \frac{i-1}2`; 0 below the diagonal.
        """
        above, half = _rows(concentration, cls.size, _anchor(concentration))
        mean = (0.5 * (above / (above + half)).log() + _bend(above) - _bend(above + half)).exp()
        below = torch.zeros_like(mean).unsqueeze(-1).expand(*mean.shape, cls.size)
        return result_like(_whole(below, mean), concentration)

    @classmethod
    def variance_of(cls, concentration: Any) -> Any:
        r""":math:`\frac1{2\eta+D-1}` below the diagonal; on it :math:`\frac{\beta_i}{\beta_i+m_i}
        - (E L_{ii})^2`, without its cancellation.
        """
        above, half = _rows(concentration, cls.size, _anchor(concentration))
        total = above + half
        own = -above / total * torch.expm1(2.0 * (_bend(above) - _bend(total)))
        below = (0.5 / total).unsqueeze(-1).expand(*own.shape, cls.size).tril()
        out = _whole(below, own)
        out = out * (1.0 - F.pad(out.new_ones(1, 1), (0, cls.size - 1, 0, cls.size - 1)))
        return result_like(out, concentration)

    @classmethod
    def entropy_of(cls, concentration: Any) -> Any:
        r""":math:`\sum_i (\beta_i-1)(\psi(\beta_i+m_i) - \psi(\beta_i))` and the logarithms of the
        normaliser.
        """
        above, half = _rows(concentration, cls.size, _anchor(concentration))
        total = above + half
        slope = (half / above).log1p() - 0.5 / total + 0.5 / above
        slope = slope + digamma_error(above) - digamma_error(total)
        parts = (above - 1.0) * slope + _log_volume(above, half)
        return result_like(parts.sum(-1), concentration)


@functools.cache
def _of_size(dim: int) -> type[LKJCholesky]:
    """The moves of matrices of D rows: those without a matrix need to know D."""

    def kl(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
        return kl_lkj(q, p, dim)

    moves: type[LKJCholesky] = type(LKJCholesky.__name__, (LKJCholesky,), {"size": dim})
    moves.closed_kl = {LKJCholesky: kl}
    return moves


def _anchor(concentration: Any) -> Tensor:
    return double(concentration).detach()


def _rows(concentration: Any, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\beta_i` and :math:`m_i` of the rows from the second on, last axis D - 1."""
    rows = torch.arange(1, size, dtype=like.dtype, device=like.device)
    eta = torch.as_tensor(concentration, dtype=like.dtype, device=like.device)
    return eta.unsqueeze(-1) + 0.5 * (size - 1.0 - rows), 0.5 * rows


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """What is below the diagonal, and on it, of all rows but the first."""
    below = x.tril(-1)[..., 1:, :]
    return below, x.diagonal(dim1=-2, dim2=-1)[..., 1:]


def _whole(below: Tensor, diagonal: Tensor) -> Tensor:
    """The matrix of these parts; its first row is that of the identity."""
    return F.pad(below, (0, 0, 1, 0)) + torch.diag_embed(F.pad(diagonal, (1, 0), value=1.0))


def _log_volume(above: Tensor, half: Tensor) -> Tensor:
    r""":math:`\log\int (1-|w|^2)^{\beta-1}dw = m\log\pi + \log B(\beta, m) - \log\Gamma(m)` over
    the ball of 2m entries.
    """
    return half * math.log(math.pi) + log_beta(above, half) - half.lgamma()


def _bend(b: Tensor) -> Tensor:
    r""":math:`\log\Gamma(b+\frac12) - \log\Gamma(b) - \frac12\log b`, about -1/8b."""
    return stirling_error(b + 0.5) - stirling_error(b) - b * excess(0.5 / b)


def kl_lkj(q: dict[str, Any], p: dict[str, Any], size: int) -> Tensor:
    r""":math:`\sum_i D(\beta^p_i, \beta^q_i) - D(\beta^p_i + m_i, \beta^q_i + m_i)`, with D the
    Bregman divergence of the log gamma function.
    """
    anchor = _anchor(q["concentration"])
    (mine, half), (other, _) = (_rows(law["concentration"], size, anchor) for law in (q, p))
    total, whole = other + half, mine + half
    scale = total / whole
    parts = log_gamma_bregman(other, mine, scale) - log_gamma_bregman(total, whole, scale)
    return result_like((parts + half * deviance(scale)).sum(-1), *q.values(), *p.values())
