"""The variational autoencoder as a ready-made model."""

from collections.abc import Sequence
from typing import Any

from ancestral.distributions import Distribution
from ancestral.losses import Expectation
from ancestral.models.model import Model


class VAE(Model):
    r"""Minimises :math:`-E_{q(z|x)}[\log p(x|z)]` plus a regulariser, averaged over rows.

    Args:
        encoder: The law q(z|x).
        decoder: The law p(x|z).
        other_distributions: Further laws to train.
        regularizer: A loss to add, e.g. ``KullbackLeibler(encoder, prior)``.
        options: Those of :class:`Model`.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014).
    """

    def __init__(
        self,
        encoder: Distribution,
        decoder: Distribution,
        other_distributions: Sequence[Any] = (),
        regularizer: Any = None,
        **options: Any,
    ) -> None:
        loss = -Expectation(encoder, decoder.log_prob())
        if regularizer is not None:
            loss = loss + regularizer
        super().__init__(
            loss=loss.mean(), distributions=[encoder, decoder, *other_distributions], **options
        )
