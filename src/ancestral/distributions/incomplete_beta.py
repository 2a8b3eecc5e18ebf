r"""The regularised incomplete beta functions in logarithms, exact in both tails.

With the log odds moved by w, :math:`\frac{t}{1-t} = \frac{x}{1-x} e^{w}`, the smaller tail of a
beta law is, for :math:`x \le a/(a+b)`,

.. math::
    I_x(a, b) = \frac{x^a (1-x)^b}{B(a, b)} \int_{-\infty}^0 e^{h(w)} dw, \qquad
    h(w) = a w - (a + b) \log(1 + x (e^w - 1)),

where h is concave and 0 at its highest point; beyond it is the mirror image. As for
:mod:`~ancestral.distributions.incomplete_gamma` the rule of Gauss and Legendre over what is above
:math:`e^{-40}` is exact to rounding, and so are derivatives. All functions here work in double
precision and return it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log1mexp
from ancestral.distributions.gamma_function import stirling_error
from ancestral.distributions.incomplete_gamma import DEPTH, halley
from ancestral.distributions.quadrature import integrals, integrate
from ancestral.distributions.saddle_point import depth

Share = tuple[Tensor, Tensor]  # a number in (0, 1), and its logarithm, since it may underflow
NODES = 64
SLOPE_NODES = 40  # exact to 2e-8
QUANTILE_STEPS = 10
STEPS = 6  # of Newton's rule for how far an integral reaches


def log_beta_tails(a: Tensor, b: Tensor, on: Share, off: Share) -> tuple[Tensor, Tensor]:
    r""":math:`\log I_x(a, b)` and :math:`\log I_{1-x}(b, a)`, for a, b > 0.

    Args:
        a: First parameters.
        b: Second parameters.
        on: x and its logarithm.
        off: 1 - x and its logarithm.

    Example:
        >>> a, b, x = torch.tensor([3.0, 1.0, 0.25], dtype=torch.float64)
        >>> log_beta_tails(a, b, (x, x.log()), (1 - x, (1 - x).log()))[0].exp()  # x^3
        tensor(0.0156, dtype=torch.float64)
    """
    a, b, x, log_x, y, log_y = torch.broadcast_tensors(a, b, *on, *off)
    inside = (log_x > -torch.inf) & (log_y > -torch.inf)
    x, log_x, y, log_y = (torch.where(inside, v, d) for v, d in (
        (x, 0.5), (log_x, -0.7), (y, 0.5), (log_y, -0.7)))  # fmt: skip
    front = _log_peak(a, b) - _depth(a, b, (x, log_x), (y, log_y))
    below, above = _tails(a, b, x, y, front)
    at_low, at_high = on[1] == -torch.inf, off[1] == -torch.inf
    below = torch.where(at_low, -torch.inf, torch.where(at_high, 0.0, below))
    return below, torch.where(at_high, -torch.inf, torch.where(at_low, 0.0, above))


def _tails(a: Tensor, b: Tensor, x: Tensor, y: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
    """Both, given the logarithm of what stands before the integral."""
    lower = x * b <= y * a
    # the mirror image has the other tail
    first, second = torch.where(lower, a, b), torch.where(lower, b, a)
    near, far = torch.where(lower, x, y), torch.where(lower, y, x)
    tail = (front + _log_integral(first, second, near, far)).clamp(max=-1e-300)
    other = log1mexp(-tail)
    return torch.where(lower, tail, other), torch.where(lower, other, tail)


def _log_peak(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`\log x^a(1-x)^b/B(a, b)` at its highest point, :math:`x = a/(a+b)`."""
    n = a + b
    halves = 0.5 * (a.log() + b.log() - n.log()) - HALF_LOG_TWO_PI
    return halves - stirling_error(a) - stirling_error(b) + stirling_error(n)


def _depth(a: Tensor, b: Tensor, on: Share, off: Share) -> Tensor:
    """How much lower its logarithm is at x."""
    n = a + b
    log_n = n.log()
    return depth(a, n * on[0], log_n + on[1]) + depth(b, n * off[0], log_n + off[1])


def _log_integral(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    r""":math:`\log\int_{-\infty}^0 e^{h(w)}dw`. By parts it is that of a + 1, which is not long
    where a is small: :math:`\frac1a + \frac{(a+b)x}{a}\int e^{h(w)}dw`, with a + 1 in h.
    """
    shape = a + 1.0
    with torch.no_grad():
        end = _reach(shape, b, x, y)
    inner = integrate(
        lambda w: torch.exp(_height(shape, b, x, y, w)), -end, torch.zeros_like(end), NODES
    )
    return ((a + b) * x * inner).log1p() - a.log()


def _height(a: Tensor, b: Tensor, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    r"""h at w, by the smaller of x and y: the other form is
    :math:`-b w - (a + b)\log(1 + y(e^{-w} - 1))`.
    """
    small = x <= y
    slope, side = torch.where(small, a, -b), torch.where(small, 1.0, -1.0)
    return slope * w - (a + b) * torch.log1p(torch.minimum(x, y) * torch.expm1(side * w))


def _reach(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """How far below 0 h is above -40, at most: h is concave, so that Newton's rule from beyond
    stays beyond.
    """
    n = a + b
    slope = (a - n * x).clamp(min=0.0)
    s = torch.minimum(DEPTH / slope, (DEPTH - n * y.log()) / a)
    curved = (2.0 * DEPTH * torch.e / (n * x * y)).sqrt()  # from h'' where w is at most 1
    s = torch.where(curved < 1.0, torch.minimum(s, curved), s)
    for _ in range(STEPS):
        tilted = x / (x + y * torch.exp(s))
        s = s + (_height(a, b, x, y, -s) + DEPTH) / (a - n * tilted)
    return s


@torch.no_grad()
def slopes_in_shapes(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\frac1{x(1-x)}\frac{dx}{da}` and the same for b, of a value that keeps its rank.

    They are minus the derivatives of :math:`I_x(a, b)`, by what stands before the integral.

    Args:
        a: First parameters.
        b: Second parameters.
        x: Values.
        y: 1 - x.
    """
    a, b, x, y = torch.broadcast_tensors(a, b, x.clamp(min=1e-300), y.clamp(min=1e-300))
    lower = x * b <= y * a
    first, second = torch.where(lower, a, b), torch.where(lower, b, a)
    near, far = torch.where(lower, x, y), torch.where(lower, y, x)
    n, shape = a + b, first + 1.0
    end = _reach(shape, second, near, far)

    def terms(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shift = torch.log1p(near * torch.expm1(w))
        value = torch.exp(_height(shape, second, near, far, w))
        return value, (w - shift) * value, -shift * value

    each = integrals(terms, -end, torch.zeros_like(end), SLOPE_NODES)
    total, by_first, by_second = (near * v / first for v in each)
    ratio, psi = 1.0 / first + n * total, n.digamma()
    one = ratio * (near.log() - shape.digamma() + psi) + total + n * by_first
    two = ratio * (far.log() - second.digamma() + psi) + total + n * by_second
    return torch.where(lower, -one, two), torch.where(lower, -two, one)


def log_odds_of_rank(a: Tensor, b: Tensor, rank: Tensor, rest: Tensor) -> Tensor:
    r""":math:`\log\frac{x}{1-x}` of the quantile, :math:`I_x(a, b) = rank`, by Halley's rule.

    Args:
        a: First parameters.
        b: Second parameters.
        rank: Probabilities.
        rest: 1 minus them, which a caller may know to more digits.
    """
    a, b, rank, rest = torch.broadcast_tensors(a, b, rank, rest)
    flip = rank > rest  # by the mirror image ranks are at most a half
    first, second = torch.where(flip, b, a), torch.where(flip, a, b)
    wanted = torch.minimum(rank, rest).log()
    some = wanted.clamp(min=-1e300)
    v, peak = _start(first, second, some), _log_peak(first, second)
    for _ in range(QUANTILE_STEPS):
        x, y = v.sigmoid(), (-v).sigmoid()
        front = peak - _depth(first, second, (x, F.logsigmoid(v)), (y, F.logsigmoid(-v)))
        log_p = _tails(first, second, x, y, front)[0]
        slope = torch.exp(front - log_p)
        v = v + halley(some - log_p, slope, first * y - second * x - slope)
    v = torch.where(wanted == -torch.inf, -torch.inf, v)
    return torch.where(flip, -v, v)


def _start(a: Tensor, b: Tensor, log_rank: Tensor) -> Tensor:
    """About where the log odds of a quantile are: of a normal law, or of the power at an end."""
    z = torch.special.ndtri(log_rank.exp().clamp(min=1e-300))
    p, q = 1.0 / (2.0 * a - 1.0).clamp(min=1.0), 1.0 / (2.0 * b - 1.0).clamp(min=1.0)
    h, third = 2.0 / (p + q), (z * z - 3.0) / 6.0
    # Abramowitz and Stegun 26.5.22
    w = z * (h + third).clamp(min=0.0).sqrt() / h
    w = w - (q - p) * (third + 5.0 / 6.0 - 2.0 / (3.0 * h))
    middle = a.log() - b.log() + 2.0 * w
    n = (a + b).log()
    low, high = a * (a.log() - n) - a.log(), b * (b.log() - n) - b.log()
    log_x = (a.log() + torch.logaddexp(low, high) + log_rank) / a
    edge = log_x - torch.log1p(-log_x.clamp(max=-1e-3).exp())
    return torch.where((a >= 1.0) & (b >= 1.0), middle, edge)
