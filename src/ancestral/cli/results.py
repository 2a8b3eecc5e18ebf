"""The numbers that a run reports, from its model and the test part of its data."""

import time
from collections.abc import Callable, Iterator

import torch
import typer

from ancestral.cli.recall import place_data
from ancestral.data import ImageData
from ancestral.evaluation import Estimate, bound, log_likelihood
from ancestral.models import Recipe
from ancestral.report import Result

NOT_A_LIKELIHOOD = (
    "not a likelihood: the pixels are grey values used as means of Bernoulli variables, so no "
    "log-likelihood is reported; the objective can only be compared with others on grey pixels"
)
BOUND_DRAWS = 10


def held_out_results(
    recipe: Recipe,
    data: ImageData,
    *,
    k: int,
    device: torch.device,
    dtype: torch.dtype,
    quiet: bool,
) -> Iterator[Result]:
    """The objective and, if pixels are observations, the importance-sampled log-likelihood.

    Args:
        recipe: A trained model.
        data: Its test part is used.
        k: Draws per row of the log-likelihood.
        device: Where the model is.
        dtype: Its precision.
        quiet: Do not say on standard error what takes long.
    """
    test = place_data(data.test, device, dtype)
    posterior = recipe.posterior
    laws = tuple(law for law in (recipe.generative, posterior) if law is not None)
    name = "test ELBO" if data.is_likelihood else "test objective, not a likelihood"
    yield _timed(name, lambda: bound(recipe.objective, test, laws=laws, draws=BOUND_DRAWS))
    if data.is_likelihood and posterior is not None:
        if not quiet:
            typer.echo(f"estimating log p(x) from {k} draws for each test image ...", err=True)
        yield _timed(
            "test log-likelihood",
            lambda: log_likelihood(recipe.generative, posterior, test, k=k),
        )


def result_line(result: Result) -> str:
    """One line of the terminal: the quantity, its value, and how it was found.

    Example:
        >>> result_line(Result("test ELBO", -18.25, 0.31, "Monte Carlo", 10, "297 images", 0.2))
        'test ELBO            -18.25 ± 0.31 nats   (Monte Carlo, K = 10, 297 images, 0.2 s)'
    """
    how = f"{result.estimator}, K = {result.k}, {result.rows}, {result.time}"
    return f"{result.quantity:<20} {result.text}   ({how})"


def _timed(quantity: str, estimate: Callable[[], Estimate]) -> Result:
    start = time.perf_counter()
    found = estimate()
    return Result(
        quantity=quantity,
        value=found.mean,
        standard_error=found.standard_error,
        estimator=found.estimator,
        k=found.k,
        rows=f"{found.rows} test images",
        seconds=time.perf_counter() - start,
    )
