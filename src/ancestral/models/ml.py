"""Maximum likelihood as a ready-made model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.models.model import Model
from ancestral.models.parameters import several


class ML(Model):
    r"""Minimises :math:`-\log p(x)`, averaged over rows.

    Args:
        p: The law of the data.
        other_distributions: Further laws to train.
        optimizer, optimizer_params, clip_grad_norm, clip_grad_value, retain_graph, compile:
            As in :class:`Model`.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], loc=torch.nn.Parameter(torch.zeros(())), scale=1.0)
        >>> print(ML(p).loss)
        -mean(log p(x))
    """

    def __init__(
        self,
        p: Distribution,
        other_distributions: Sequence[Any] = (),
        optimizer: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
        compile: bool | str = False,
    ) -> None:
        super().__init__(
            loss=-p.log_prob().mean(),
            distributions=[p, *several(other_distributions)],
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            clip_grad_norm=clip_grad_norm,
            clip_grad_value=clip_grad_value,
            retain_graph=retain_graph,
            compile=compile,
        )
