"""The variational autoencoder as a ready-made model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.losses import Expectation
from ancestral.models.model import Model
from ancestral.models.parameters import several


class VAE(Model):
    r"""Minimises :math:`-E_{q(z|x)}[\log p(x|z)]` plus a regulariser, averaged over rows.

    Args:
        encoder: The law q(z|x).
        decoder: The law p(x|z).
        other_distributions: Further laws to train.
        regularizer: A loss to add, e.g. ``KullbackLeibler(encoder, prior)``.
        optimizer, optimizer_params, clip_grad_norm, clip_grad_value, retain_graph, compile:
            As in :class:`Model`.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014).

    Example:
        >>> from ancestral.distributions import Bernoulli, Normal
        >>> q = Normal(var=["z"], cond_var=["x"], net=torch.nn.Linear(6, 4), name="q")
        >>> p = Bernoulli(var=["x"], cond_var=["z"], net=torch.nn.Linear(2, 6))
        >>> print(VAE(q, p).loss)
        mean(-E_{q(z|x)}[log p(x|z)])
    """

    def __init__(
        self,
        encoder: Distribution,
        decoder: Distribution,
        other_distributions: Sequence[Any] = (),
        regularizer: Any = None,
        optimizer: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
        compile: bool | str = False,
    ) -> None:
        loss = -Expectation(encoder, decoder.log_prob())
        if regularizer is not None:
            loss = loss + regularizer
        super().__init__(
            loss=loss.mean(),
            distributions=[encoder, decoder, *several(other_distributions)],
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            clip_grad_norm=clip_grad_norm,
            clip_grad_value=clip_grad_value,
            retain_graph=retain_graph,
            compile=compile,
        )
