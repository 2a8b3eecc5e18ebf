r"""The Dirichlet-multinomial law: counts with probabilities from a Dirichlet law."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.constraints import Constraint, counts, positive, whole
from ancestral.distributions.dirichlet import draw_dirichlet
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.multinomial import draw_multinomial
from ancestral.distributions.noise import as_noise, per_vector
from ancestral.distributions.saddle_point import log_negative_binomial


class DirichletMultinomial(Law):
    r"""The Dirichlet-multinomial law (Pólya's urn) of a vector of K counts with sum n:
    :math:`P(x) = \frac{n!\,\Gamma(A)}{\Gamma(n+A)}
    \prod_k\frac{\Gamma(x_k+\alpha_k)}{x_k!\,\Gamma(\alpha_k)}`, where
    :math:`A = \sum_k\alpha_k`. With K = 2 its first count is beta-binomial.

    Its draws are whole numbers, so that they have no pathwise gradient: choose an estimator. Its
    entropy is a sum over all counts from 0 to n, which ``get_entropy`` refuses; in a loss it is
    estimated by draws.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, K)``.
        total_count: Number n of draws: a whole number, a tensor of them of shape ``(*event)``, or
            a condition's name.
        concentration: :math:`\alpha > 0`, shape ``(*event, K)``: a tensor, an ``nn.Parameter``, or
            a condition's name.
        net: A network of the conditions; one output tensor is the concentration, through softplus.

    Example:
        >>> p = DirichletMultinomial(total_count=2, concentration=torch.ones(2))
        >>> p.get_log_prob({"x": torch.tensor([[1.0, 1.0], [0.0, 2.0]])}).exp()
        tensor([0.3333, 0.3333])
    """

    domains = {"total_count": whole, "concentration": positive}
    split = {"concentration": F.softplus}
    cores = {"total_count": "", "concentration": "k"}
    noise = "counts"
    value_dims = 1
    param_dims = 1

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        total_count: Parameter = None,
        concentration: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"total_count": total_count, "concentration": concentration}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Vectors of whole numbers with sum n."""
        return counts(params["total_count"])

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Small numbers of draws from four categories."""
        totals = torch.tensor([5.0, 1.0, 8.0], dtype=torch.float64)
        return [{**super().examples()[0], "total_count": totals}]

    @staticmethod
    def noise_of(
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        total_count: Any,
        concentration: Any,
    ) -> Tensor:
        """A draw: of a multinomial law whose probabilities are drawn from a Dirichlet law."""
        pi = draw_dirichlet(as_noise(concentration, shape, like), generator)
        return draw_multinomial(as_noise(total_count, shape[:-1], like), pi, generator)

    @staticmethod
    def draw(noise: Tensor, total_count: Any, concentration: Any) -> Tensor:
        """The counts that were drawn given the parameters."""
        return noise

    @staticmethod
    def log_density(x: Tensor, total_count: Any, concentration: Any) -> Tensor:
        r"""The log probability of each vector, a quotient of negative binomial laws of any
        common :math:`\pi`; -inf where the sum is not n.
        """
        n, count, alpha = double(total_count).detach(), double(x), double(concentration)
        total = alpha.sum(-1)
        # the probability at which sums of n are most likely: no factor is far from 1 then
        on, off = (n / (n + total)).detach(), (total / (n + total)).detach()
        log_on = torch.where(n > 0, on, 1.0).log()
        whole_law = log_negative_binomial(n, total, (on, log_on), (off, off.log()))
        on, log_on, off = on.unsqueeze(-1), log_on.unsqueeze(-1), off.unsqueeze(-1)
        inside = torch.where(count >= 0, count, 0.0)
        each = log_negative_binomial(inside, alpha, (on, log_on), (off, off.log()))
        fits = (count.sum(-1) == n) & (count >= 0).all(-1)
        out = torch.where(fits, each.sum(-1) - whole_law, -torch.inf)
        return result_like(out, x, total_count, concentration)

    @staticmethod
    def mean_of(total_count: Any, concentration: Any) -> Any:
        r""":math:`n\alpha_k/A`."""
        share = concentration / concentration.sum(-1, keepdim=True)
        return per_vector(total_count, share) * share

    @staticmethod
    def variance_of(total_count: Any, concentration: Any) -> Any:
        r""":math:`n m_k(1-m_k)\frac{n+A}{1+A}` with :math:`m_k = \alpha_k/A`."""
        alpha = double(concentration)  # 1 - m_k has digits where one category has all the mass
        total = alpha.sum(-1, keepdim=True)
        share, n = alpha / total, per_vector(double(total_count), total)
        out = n * share * (1.0 - share) * (n + total) / (1.0 + total)
        return result_like(out, total_count, concentration)
