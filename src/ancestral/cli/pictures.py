"""The three pictures of a run: samples, reconstructions, the latent space."""

import math

import torch
from torch import Tensor

from ancestral.cli.recall import place_data
from ancestral.core.errors import DataError
from ancestral.data import ImageData
from ancestral.evaluation.estimate import evaluation_mode
from ancestral.models import Recipe
from ancestral.report import Picture, image_grid, latent_picture, png

COLUMNS = 16
LATENT_ROWS = 2000  # more points only hide each other


@torch.no_grad()
def sample_means(recipe: Recipe, n: int) -> Tensor:
    """The means of p(x|z) for n draws of z ~ p(z), shape (n, D)."""
    with evaluation_mode(recipe.generative):
        z = recipe.generative.marginalize_var(recipe.observed).sample(batch_n=n)
        return recipe.decoder.sample_mean(z)


def image_shape(dimension: int) -> tuple[int, int, int]:
    """The shape of a square image with one channel.

    Raises:
        DataError: The dimension is no square.

    Example:
        >>> image_shape(784)
        (1, 28, 28)
    """
    side = math.isqrt(dimension)
    if side * side != dimension:
        raise DataError(f"rows of {dimension} values are no square images: there is no picture")
    return (1, side, side)


def columns_for(n: int) -> int:
    """Images per line: 16, or as many as there are.

    Example:
        >>> columns_for(64), columns_for(5)
        (16, 5)
    """
    return min(n, COLUMNS)


@torch.no_grad()
def run_pictures(
    recipe: Recipe, data: ImageData, device: torch.device, dtype: torch.dtype
) -> dict[str, Picture]:
    """File name -> picture, of a trained model with a posterior.

    Args:
        recipe: A trained model.
        data: Its test part is shown.
        device: Where the model is.
        dtype: Its precision.
    """
    test = place_data(data.test, device, dtype)
    samples = sample_means(recipe, 4 * COLUMNS).reshape(-1, *data.shape)
    pictures = {
        "samples.png": Picture(
            "Samples",
            "Means of p(x|z) for 64 draws z ~ p(z).",
            png(image_grid(samples, columns=COLUMNS)),
        )
    }
    posterior = recipe.posterior
    if posterior is None:
        return pictures
    x = test[recipe.observed][:LATENT_ROWS]
    with evaluation_mode(recipe.generative, posterior):
        means = posterior.sample_mean({recipe.observed: x})
        again = recipe.decoder.sample_mean({recipe.latent: means[: 2 * COLUMNS]})
    lines = [part[first:][:COLUMNS] for first in (0, COLUMNS) for part in (x, again)]
    pictures["reconstructions.png"] = Picture(
        "Reconstructions",
        "Pairs of lines: test images above, below them the mean of p(x|z) at the mean of q(z|x).",
        png(image_grid(torch.cat(lines).reshape(-1, *data.shape), columns=COLUMNS)),
    )
    pictures["latent.png"] = Picture(
        "Latent space",
        f"Means of q(z|x) of {len(x)} test images, projected to their first two principal "
        "components and coloured by digit, which the model has never been told. "
        "A number stands at the mean of its digit.",
        latent_picture(means, data.test["label"][:LATENT_ROWS], title="Means of q(z|x)"),
    )
    return pictures
