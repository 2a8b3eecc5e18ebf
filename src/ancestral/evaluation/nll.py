r"""The log-likelihood of a latent variable model by importance sampling.

.. math::
    \log p(x) \approx \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)},
    \qquad z_k \sim q(z|x)

Its mean is a lower bound of :math:`\log p(x)` that rises to it with K: the bias is about
:math:`-\frac{1}{2K} \operatorname{Var}[w]/\operatorname{E}[w]^2` for weights w, so a value says K.

Source: Rezende, Mohamed, Wierstra, "Stochastic backpropagation", 2014, appendix E; Burda, Grosse,
Salakhutdinov, "Importance weighted autoencoders", 2016, equation 8.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.distributions.base import Distribution
from ancestral.evaluation.estimate import Estimate, evaluation_mode, placed, rows_of
from ancestral.losses import E, Node


def importance_bound(joint: Distribution, posterior: Distribution, k: int) -> Node:
    """E_{z_1..z_K ~ q}[log (1/K) sum_k p(x,z_k)/q(z_k|x)], one value per row.

    Args:
        joint: p(x,z).
        posterior: q(z|x), over the latent variables of the joint.
        k: K.
    """
    log_weight = joint.log_prob() - posterior.log_prob()
    return E(posterior.iid(k=k), log_weight.exp().mean("k").log())


@torch.no_grad()
def log_likelihood(
    joint: Distribution,
    posterior: Distribution,
    data: Mapping[str, Tensor],
    *,
    k: int = 1000,
    chunk: int = 16_384,
) -> Estimate:
    """Estimate log p(x) for every row of a data set, in bounded memory.

    The K draws are taken in parts; parts of K_j draws with values v_j combine exactly,
    log sum_j K_j exp(v_j) - log K.

    Args:
        joint: p(x,z).
        posterior: q(z|x), the proposal.
        data: {"x": (N, ...)}; other keys are ignored.
        k: K, draws per row.
        chunk: The most rows x draws that are in memory at once.

    Returns:
        One value per row, in nats.

    Raises:
        OptionError: If k or chunk is below one.
        MissingVariableError: If the data lacks an observed variable.
        DataError: If the data has no rows, or unequal numbers of them.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[1])
        >>> p = Normal(loc="z", scale=1.0, var=["x"], cond_var=["z"])
        >>> exact = Normal(loc=0.5, scale=0.5**0.5, var=["z"], features_shape=[1], name="q")
        >>> log_likelihood(p * prior, exact, {"x": torch.ones(2, 1)}, k=3).values
        tensor([-1.5155, -1.5155], dtype=torch.float64)
    """
    if k < 1 or chunk < 1:
        raise OptionError(f"k={k}, chunk={chunk}: both count draws and must be at least 1")
    observed = [name for name in joint.var if name not in posterior.var]
    chosen = rows_of(data, list(dict.fromkeys(observed + posterior.cond_var)))
    copies = min(k, chunk)
    parts = [copies] * (k // copies) + ([k % copies] if k % copies else [])
    run = {part: importance_bound(joint, posterior, part).function() for part in set(parts)}
    size = max(1, chunk // copies)
    total = len(next(iter(chosen.values())))
    values: list[Tensor] = []
    with evaluation_mode(joint, posterior):
        for first in range(0, total, size):
            rows = {name: value[first : first + size] for name, value in chosen.items()}
            rows = placed(rows, (joint, posterior))
            logs = [run[part](rows).double().cpu() + math.log(part) for part in parts]
            values.append(torch.stack(logs).logsumexp(0) - math.log(k))  # (rows,)
    return Estimate(torch.cat(values), "importance sampling", k)
