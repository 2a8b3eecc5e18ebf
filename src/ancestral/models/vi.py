"""Variational inference as a ready-made model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.models.model import Model
from ancestral.models.parameters import several
from ancestral.objectives.elbo import ELBO


class VI(Model):
    r"""Minimises :math:`-E_q[\log p(x,z) - \log q(z|x)]`, averaged over rows.

    Args:
        p: The joint law of data and latent variables.
        approximate_dist: The law q of the latent variables.
        other_distributions: Further laws to train.
        optimizer, optimizer_params, clip_grad_norm, clip_grad_value, retain_graph, compile:
            As in :class:`Model`.

    Example:
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
        >>> p = Normal(var=["x"], cond_var=["z"], net=torch.nn.Linear(2, 6)) * prior
        >>> q = Normal(var=["z"], cond_var=["x"], net=torch.nn.Linear(3, 4), name="q")
        >>> print(VI(p, q).loss)
        -mean(E_{q(z|x)}[log p(x,z) - log q(z|x)])
    """

    def __init__(
        self,
        p: Distribution,
        approximate_dist: Distribution,
        other_distributions: Sequence[Any] = (),
        optimizer: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
        compile: bool | str = False,
    ) -> None:
        super().__init__(
            loss=-ELBO(p, approximate_dist).mean(),
            distributions=[p, approximate_dist, *several(other_distributions)],
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            clip_grad_norm=clip_grad_norm,
            clip_grad_value=clip_grad_value,
            retain_graph=retain_graph,
            compile=compile,
        )
