r"""The regularised incomplete gamma functions in logarithms, exact in both tails.

With :math:`t = x e^w` the tail of a gamma law that is smaller is

.. math::
    Q(a, x) = \frac{x^a e^{-x}}{\Gamma(a)} \int_0^\infty e^{h(w)} dw, \qquad
    P(a, x) = \frac{x^a e^{-x}}{\Gamma(a)} \int_{-\infty}^0 e^{h(w)} dw, \qquad
    h(w) = a w - x (e^w - 1),

the upper one for :math:`x \ge a`, the lower one for :math:`x < a`: there h is concave, 0 at its
highest point, and so smooth that the rule of Gauss and Legendre over what is above :math:`e^{-40}`
of it is exact to rounding. All terms are positive, so that no digits cancel, and derivatives, in
the shape a too, are those of the integral. Series and continued fractions would need thousands of
terms where a is large, and other formulas there.

All functions here work in double precision and return it.
"""

import torch
from torch import Tensor

from ancestral.distributions.elementary import log1mexp
from ancestral.distributions.quadrature import integrals, integrate
from ancestral.distributions.saddle_point import depth, log_peak, log_poisson

DEPTH = 40.0  # what is below e^-40 of the highest point does not count
NODES = 40
SLOPE_NODES = 24  # exact to 2e-9
QUANTILE_STEPS = 6


def log_of(value: Tensor) -> Tensor:
    """The logarithm of a number of at least 0, whose derivative at 0 is 0."""
    return torch.where(value > 0, torch.where(value > 0, value, 1.0).log(), -torch.inf)


def log_gamma_tails(a: Tensor, x: Tensor, log_x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\log P(a, x)` and :math:`\log Q(a, x)`, for a > 0 and x >= 0.

    Args:
        a: Shapes.
        x: Values of a gamma law of rate 1.
        log_x: Their logarithms; values may underflow.

    Example:
        >>> one = torch.ones((), dtype=torch.float64)
        >>> round(float(log_gamma_tails(one, 50.0 * one, (50.0 * one).log())[1]), 9)  # e^-50
        -50.0
    """
    empty, full = log_x == -torch.inf, x == torch.inf
    y, log_y = torch.where(full, 1.0, x), torch.where(empty | full, 0.0, log_x)
    y = torch.where(empty, 1.0, y.clamp(min=1e-300))  # if it underflows, log x counts
    a, y = torch.broadcast_tensors(a, y)
    below, above = _tails(a, y, log_poisson(a, y, log_y))
    below = torch.where(empty, -torch.inf, torch.where(full, 0.0, below))
    return below, torch.where(full, -torch.inf, torch.where(empty, 0.0, above))


def _tails(a: Tensor, y: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
    r"""Both, given :math:`\log y^a e^{-y}/\Gamma(a+1)`."""
    lower = y < a
    with torch.no_grad():
        end = torch.where(lower, -_reach_below(a + 1.0, y), _reach_above(a, y))
    shape = torch.where(lower, a + 1.0, a)
    total = integrate(
        lambda w: torch.exp(shape * w - y * torch.expm1(w)), torch.zeros_like(end), end, NODES
    ).abs()
    # by parts: of the lower tail of a from that of a + 1, which is not long where a is small
    part = torch.where(lower, (y * total).log1p(), a.log() + torch.where(lower, 1.0, total).log())
    tail = (front + part).clamp(max=-1e-300)  # of a tail of 1 the other is none
    other = log1mexp(-tail)
    return torch.where(lower, tail, other), torch.where(lower, other, tail)


def _reach_below(a: Tensor, x: Tensor) -> Tensor:
    r"""How far below 0 h is above -40, at most: since :math:`e^{-s} - 1 + s \ge s^2/(2+s)`."""
    b = 2.0 * (a - x) - DEPTH
    root = (b * b + 8.0 * DEPTH * a).sqrt()
    return torch.where(b > 0, 4.0 * DEPTH / (b.clamp(min=0.0) + root), 0.5 * (root - b) / a)


def _reach_above(a: Tensor, x: Tensor) -> Tensor:
    r"""How far above 0, at most: since :math:`e^s - 1 - s` is at least :math:`s^2/2`, and at least
    :math:`e^s/2 - 1`.
    """
    gap = (x - a).clamp(min=0.0)
    near = 2.0 * DEPTH / (gap + (gap * gap + 2.0 * DEPTH * x).sqrt())
    return torch.minimum(near, (2.0 + 2.0 * DEPTH / x).log())


@torch.no_grad()
def slope_in_shape(a: Tensor, x: Tensor) -> Tensor:
    r""":math:`dx/da = -\frac{\partial P(a, x)/\partial a}{p(x)}` of a value that keeps its rank.

    As a multiple of x it is :math:`J\,(\log x - \psi(a)) + J'` with :math:`J = \int e^h dw` over
    the upper tail, and :math:`J' = \int w e^h dw`; of the lower tail it is minus that, and J by
    parts.
    """
    a, x = torch.broadcast_tensors(a, x)
    lower = x < a
    shape = torch.where(lower, a + 1.0, a)
    end = torch.where(lower, -_reach_below(a + 1.0, x), _reach_above(a, x))

    def terms(w: Tensor) -> tuple[Tensor, Tensor]:
        value = torch.exp(shape * w - x * torch.expm1(w))
        return value, w * value

    total, first = (
        v * end.sign() for v in integrals(terms, torch.zeros_like(end), end, SLOPE_NODES)
    )
    total, first = (torch.where(lower, x * v, v) for v in (total, first))
    total = torch.where(lower, 1.0 + total, total)
    out = x * (total * (x.log() - shape.digamma()) + first)
    return torch.where(lower, -out / a, out)


def log_of_rank(a: Tensor, rank: Tensor, rest: Tensor) -> Tensor:
    r""":math:`\log x` of the quantile, :math:`P(a, x) = rank`, by Halley's rule.

    Args:
        a: Shapes.
        rank: Probabilities.
        rest: 1 minus them.
    """
    a, rank, rest = torch.broadcast_tensors(a, rank, rest)
    lower = rank <= rest
    log_rank, log_rest = rank.log().clamp(min=-1e300), rest.log().clamp(min=-1e300)
    wanted = torch.where(lower, log_rank, log_rest)
    w, peak = _start(a, rank, rest, log_rank), log_peak(a)
    by_value = ~lower & (a < 1.0)  # there log Q is convex in x, not concave in log x
    for _ in range(QUANTILE_STEPS):
        x = w.exp()
        front = peak - depth(a, x, w)
        below, above = _tails(a, x.clamp(min=1e-300), front)
        found = torch.where(lower, below, above)
        size = a * torch.exp(front - found)
        slope = torch.where(lower, size, -size)
        step = halley(wanted - found, slope, a - x - slope)
        straight = (found - wanted) / size  # x + (log Q - wanted) / hazard
        w = w + torch.where(by_value, straight.clamp(min=-0.9).log1p(), step)
    w = torch.where(rank <= 0, -torch.inf, w)
    return torch.where(rest <= 0, torch.inf, w)


def halley(gap: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """A step of Halley's rule to where a function is larger by a gap.

    Args:
        gap: How much is missing.
        slope: The derivative.
        bend: The second derivative by the first.
    """
    newton = gap / slope
    return newton / (1.0 + 0.5 * newton * bend).clamp(0.5, 2.0)


def _start(a: Tensor, rank: Tensor, rest: Tensor, log_rank: Tensor) -> Tensor:
    """About where the logarithm of a quantile is: by Wilson and Hilferty, or the power at 0."""
    power = (log_rank + torch.lgamma(a + 1.0)) / a  # never above
    z = torch.special.ndtri(rank.clamp(min=1e-300))
    z = torch.where(rank <= rest, z, -torch.special.ndtri(rest.clamp(min=1e-300)))
    root = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * a.sqrt())
    middle = a.log() + 3.0 * root.clamp(min=1e-3).log()
    return torch.where(a < 1.0, power, torch.maximum(power, middle))
