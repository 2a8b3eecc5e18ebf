"""Maximum likelihood as a ready-made model."""

from collections.abc import Sequence
from typing import Any

from ancestral.distributions import Distribution
from ancestral.models.model import Model


class ML(Model):
    r"""Minimises :math:`-\log p(x)`, averaged over rows.

    Args:
        p: The law of the data.
        other_distributions: Further laws to train.
        options: Those of :class:`Model`.
    """

    def __init__(
        self, p: Distribution, other_distributions: Sequence[Any] = (), **options: Any
    ) -> None:
        super().__init__(
            loss=-p.log_prob().mean(), distributions=[p, *other_distributions], **options
        )
