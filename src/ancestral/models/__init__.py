"""The Model API: how a loss is trained."""

from ancestral.models.fit import History
from ancestral.models.gan import GAN
from ancestral.models.ml import ML
from ancestral.models.model import Model
from ancestral.models.player import Player
from ancestral.models.recipe import Recipe
from ancestral.models.vae import VAE
from ancestral.models.vi import VI

__all__ = ["GAN", "ML", "VAE", "VI", "History", "Model", "Player", "Recipe"]
