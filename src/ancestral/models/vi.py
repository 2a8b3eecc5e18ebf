"""Variational inference as a ready-made model."""

from collections.abc import Sequence
from typing import Any

from ancestral.distributions import Distribution
from ancestral.models.model import Model
from ancestral.objectives.elbo import ELBO


class VI(Model):
    r"""Minimises :math:`-E_q[\log p(x,z) - \log q(z|x)]`, averaged over rows.

    Args:
        p: The joint law of data and latent variables.
        approximate_dist: The law q of the latent variables.
        other_distributions: Further laws to train.
        options: Those of :class:`Model`.
    """

    def __init__(
        self,
        p: Distribution,
        approximate_dist: Distribution,
        other_distributions: Sequence[Any] = (),
        **options: Any,
    ) -> None:
        loss = -ELBO(p, approximate_dist).mean()
        super().__init__(
            loss=loss, distributions=[p, approximate_dist, *other_distributions], **options
        )
