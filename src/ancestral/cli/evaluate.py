"""``ancestral evaluate RUN``."""

from pathlib import Path

import torch
import typer

from ancestral.cli.recall import find_device, recall
from ancestral.cli.registry import check_data, load_data
from ancestral.cli.results import NOT_A_LIKELIHOOD, held_out_results, result_line


def evaluate_run(
    run: Path, *, k: int | None, data_dir: Path | None, seed: int, device: str
) -> None:
    """Print the test ELBO and the importance-sampled log-likelihood of a run's model.

    Args:
        run: The folder of a run.
        k: Draws per image; the data set's own number when None.
        data_dir: Where the files of MNIST are.
        seed: Of the draws.
        device: Where to compute.

    Raises:
        CheckpointError: It is not the folder of a run, or a file in it is damaged.
        DataError: The data is missing or damaged.
        DeviceError: There is no such device.
    """
    place = find_device(device)
    config, recipe = recall(run, place)
    data = load_data(config.data.name, pixels=config.data.pixels, data_dir=data_dir)
    typer.echo(f"{config.model.name} on {data.name}: {data.description}")
    if not data.is_likelihood:
        typer.echo(NOT_A_LIKELIHOOD)
    torch.manual_seed(seed)
    draws = k if k is not None else check_data(data.name).k
    dtype = getattr(torch, config.training.dtype)
    for result in held_out_results(recipe, data, k=draws, device=place, dtype=dtype, quiet=False):
        typer.echo(result_line(result))
