r"""The continuous Bernoulli law, :math:`p(x) \propto \lambda^x(1-\lambda)^{1-x}` on [0, 1]."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_exponential, kl_to_normal
from ancestral.distributions.constraints import Constraint, identity, real, unit_interval
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.gamma_function import result_like
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal

# B_{2k} / (2k)!: the odd series of the mean around 1/2
_MEAN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)


class ContinuousBernoulli(Law):
    r"""The continuous Bernoulli law with independent components (Loaiza-Ganem and
    Cunningham, 2019), :math:`\log p(x) = \eta x + \log\frac{\eta}{e^\eta - 1}` with
    :math:`\eta = \log\frac{\lambda}{1-\lambda}`: a likelihood for grey pixels.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        probs: :math:`\lambda`, which is not the mean: a number, a tensor, an ``nn.Parameter``, or
            a condition's name.
        logits: :math:`\eta` in place of it; exact everywhere.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> ContinuousBernoulli(logits=0.0).get_cdf({"x": torch.tensor([0.3])})
        tensor([0.3000])
    """

    domains = {"logits": real, "probs": unit_interval}
    split = {"logits": identity}
    parametrisations = (("logits",), ("probs",))
    reparametrised = True
    noise = "uniform"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        probs: Parameter = None,
        logits: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Numbers from 0 to 1."""
        return unit_interval

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The inverse of the distribution function at uniform noise."""
        return _quantile(noise, _eta(probs, logits, noise))

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each component; -inf outside."""
        eta = _eta(probs, logits, x)
        small = eta.abs() < 0.5
        near = torch.where(small, eta, 0.0)
        size = torch.where(small, 1.0, eta.abs())
        short = torch.where(eta < 0, x, 1.0 - x)  # far from the end where the mass is
        away = size.log() - size * short - torch.log(-torch.expm1(-size))
        out = torch.where(small, near * (x - 0.5) - _bend(near), away)
        return torch.where((x >= 0) & (x <= 1), out, -torch.inf)

    @staticmethod
    def log_cdf(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log\frac{e^{\eta x} - 1}{e^\eta - 1}`."""
        x = x.clamp(0.0, 1.0)
        return _log_below(x, 1.0 - x, _eta(probs, logits, x))

    @staticmethod
    def log_sf(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The distribution function of the mirror image."""
        x = x.clamp(0.0, 1.0)
        return _log_below(1.0 - x, x, -_eta(probs, logits, x))

    @staticmethod
    def icdf(u: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\frac1\eta\log(1 + u(e^\eta - 1))`."""
        return _quantile(u, _eta(probs, logits, u))

    @staticmethod
    def mean_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\frac{1}{1 - e^{-\eta}} - \frac1\eta`."""
        return 0.5 + _lean(_eta(probs, logits))

    @staticmethod
    def variance_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\frac{1}{\eta^2} - \frac{1}{4\sinh^2(\eta/2)}`."""
        eta = _eta(probs, logits)
        small = eta.abs() < 0.5
        near, size = torch.where(small, eta, 0.0), torch.where(small, 1.0, eta.abs())
        away = size**-2 - torch.exp(-size) / torch.expm1(-size) ** 2
        odd = tuple((2 * k + 1) * c for k, c in enumerate(_MEAN))
        return torch.where(small, _polynomial(odd, near * near), away)

    @staticmethod
    def entropy_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`g(\eta) - \eta(m - \frac12)` with the mean m and
        :math:`g = \log\frac{\sinh(\eta/2)}{\eta/2}`.
        """
        eta = _eta(probs, logits)
        small = eta.abs() < 0.5
        near, size = torch.where(small, eta, 0.0), torch.where(small, 1.0, eta.abs())
        full = -torch.expm1(-size)  # of a truncated exponential law
        away = 1.0 - size.log() + full.log() - size * torch.exp(-size) / full
        return torch.where(small, _bend(near) - near * _lean(near), away)


def _eta(probs: Any, logits: Any, like: Tensor | None = None) -> Tensor:
    """The natural parameter; of probabilities exactly 0 or 1, the nearest that is finite."""
    given = probs if logits is None else logits
    if not isinstance(given, Tensor):
        dtype = torch.float64 if like is None else like.dtype
        given = torch.tensor(given, dtype=dtype, device=None if like is None else like.device)
    if logits is not None:
        return given
    ends = torch.finfo(given.dtype)
    p = given.clamp(ends.tiny, 1.0 - 0.5 * ends.eps)
    middle = (p - 0.5).abs() < 0.25
    near, far = torch.where(middle, p, 0.5), torch.where(middle, 0.5, p)
    return torch.where(
        middle, torch.log1p((2.0 * near - 1.0) / (1.0 - near)), far.log() - torch.log1p(-far)
    )


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _bend(eta: Tensor) -> Tensor:
    r""":math:`g(\eta) = \log\frac{\sinh(\eta/2)}{\eta/2}`, for small :math:`\eta`."""
    even = tuple(c / (2 * k + 2) for k, c in enumerate(_MEAN))
    return eta * eta * _polynomial(even, eta * eta)


def _gap(eta: Tensor) -> Tensor:
    r""":math:`g(\eta)`."""
    small = eta.abs() < 0.5
    near, size = torch.where(small, eta, 0.0), torch.where(small, 1.0, eta.abs())
    away = 0.5 * size - size.log() + torch.log(-torch.expm1(-size))
    return torch.where(small, _bend(near), away)


def _lean(eta: Tensor) -> Tensor:
    r"""The mean minus a half, :math:`\frac12\coth\frac\eta2 - \frac1\eta`."""
    small = eta.abs() < 0.5
    near, size = torch.where(small, eta, 0.0), torch.where(small, 1.0, eta)
    away = 0.5 / torch.tanh(0.5 * size) - 1.0 / size
    return torch.where(small, near * _polynomial(_MEAN, near * near), away)


def _log_ratio(v: Tensor) -> Tensor:
    r""":math:`\log\frac{1 - e^{-v}}{v}` for :math:`v \ge 0`."""
    small = v < 0.5
    near, far = torch.where(small, v, 0.0), torch.where(small, 1.0, v)
    return torch.where(small, _bend(near) - 0.5 * near, torch.log(-torch.expm1(-far)) - far.log())


def _log_below(x: Tensor, rest: Tensor, eta: Tensor) -> Tensor:
    """The log distribution function: of the part of the mass that the nearer end holds."""
    size = eta.abs()
    out = x.log() + _log_ratio(size * x) - _log_ratio(size)
    return torch.where(eta > 0, out - eta * rest, out)


def _quantile(u: Tensor, eta: Tensor) -> Tensor:
    small = eta.abs() < 2e-3
    near, size = torch.where(small, eta, 0.0), torch.where(small, 1.0, eta.abs())
    square = u * u
    third = u / 24 - 7 * square / 24 + square * u / 2 - square * square / 4
    second = u / 6 - square / 2 + square * u / 3
    middle = u + near * (0.5 * (u - square) + near * (second + near * third))
    rank = torch.where(eta < 0, u, 1.0 - u)
    short = -torch.log1p(rank * torch.expm1(-size)) / size
    # near the end with little mass, the logarithm of u (e^eta - 1)
    log_odds = size + u.clamp(min=torch.finfo(u.dtype).tiny).log()
    low = torch.log1p(log_odds.clamp(max=0.0).exp() * -torch.expm1(-size)) / size
    far = torch.where(log_odds < 0, low, 1.0 - short)
    return torch.where(small, middle, torch.where(eta < 0, short, far)).clamp(0.0, 1.0)


def kl_continuous_bernoulli(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`(\eta_q-\eta_p)(m_q-\frac12) - g(\eta_q) + g(\eta_p)`.

    Away from 0 these are numbers as large as :math:`\eta`, and what is left of them is of a
    truncated exponential law: with :math:`a = |\eta_q|`, :math:`b = \pm\eta_p` of the sign that
    the same turn gives it, and :math:`r(v) = \log\frac{1-e^{-v}}v`,
    :math:`\max(0, -b) + \frac{b-a}a - \frac{b-a}{e^a-1} + r(|b|) - r(a)`.
    """
    eta_q, eta_p = (_eta(**_both(law)).double() for law in (q, p))
    small = eta_q.abs() < 0.5
    near, far = torch.where(small, eta_q, 0.0), torch.where(small, 1.0, eta_q)
    middle = (near - eta_p) * _lean(near) - _gap(near) + _gap(eta_p)
    a, b = far.abs(), far.sign() * eta_p
    gap = (b - a) / a + (b - a) * torch.exp(-a) / torch.expm1(-a)
    away = (-b).clamp(min=0.0) + gap + _log_ratio(b.abs()) - _log_ratio(a)
    return result_like(torch.where(small, middle, away), *q.values(), *p.values())


def _both(params: dict[str, Any]) -> dict[str, Any]:
    return {"probs": params.get("probs"), "logits": params.get("logits")}


ContinuousBernoulli.closed_kl = {
    ContinuousBernoulli: kl_continuous_bernoulli,
    Normal: kl_to_normal(ContinuousBernoulli),
    Exponential: kl_to_exponential(ContinuousBernoulli),
}
