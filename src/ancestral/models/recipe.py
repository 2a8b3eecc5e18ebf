"""A recipe: a model of the zoo with what one needs to train, draw from and evaluate it."""

from dataclasses import dataclass

from ancestral.distributions import Distribution
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
