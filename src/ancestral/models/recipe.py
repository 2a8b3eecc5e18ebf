"""A recipe: a model of the zoo with what one needs to train, draw from and evaluate it."""

from dataclasses import dataclass
from typing import Self

import torch

from ancestral.distributions import Distribution, Joint
from ancestral.losses import Node
from ancestral.models.model import Model


@dataclass(frozen=True)
class Recipe:
    """What a file of the zoo returns.

    Args:
        model: The loss with its laws and optimizer.
        objective: The equation that is maximised, one value per row, e.g. the ELBO.
        generative: The joint law of data and latent variables.
        posterior: The law of the latent variables given data, if there is one.
        observed: Name of the data variable.
        latent: Name of the latent variable.
    """

    model: Model
    objective: Node
    generative: Distribution
    posterior: Distribution | None = None
    observed: str = "x"
    latent: str = "z"

    @property
    def laws(self) -> tuple[Distribution, ...]:
        """The generative law, and the posterior if there is one."""
        return tuple(law for law in (self.generative, self.posterior) if law is not None)

    @property
    def decoder(self) -> Joint:
        """p(x|z): the factors of the generative law that draw the observed variable."""
        return Joint([f for f in self.generative.factors if self.observed in f.var])

    def to(self, device: str | torch.device) -> Self:
        """The same recipe, with every law and network of it moved to a device, in place.

        Args:
            device: "cpu", "cuda", ...
        """
        for part in (self.model._state, *self.laws):
            part.to(device)
        return self
