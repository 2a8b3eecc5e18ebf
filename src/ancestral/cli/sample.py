"""``ancestral sample RUN``."""

from pathlib import Path

import torch
import typer

from ancestral.cli.pictures import columns_for, image_shape, sample_means
from ancestral.cli.recall import find_device, recall
from ancestral.report import free_path, image_grid, png


def sample_run(run: Path, *, n: int, seed: int, device: str, out: Path | None) -> None:
    """Draw z ~ p(z) and write the means of p(x|z) as one picture, where no file is yet.

    Args:
        run: The folder of a run.
        n: How many images.
        seed: Of the draws.
        device: Where to compute.
        out: The PNG file; the next free `samples-2.png`, ... of the run when None.

    Raises:
        CheckpointError: It is not the folder of a run, or a file in it is damaged.
        DeviceError: There is no such device.
    """
    _, recipe = recall(run, find_device(device))
    torch.manual_seed(seed)
    means = sample_means(recipe, n)
    path = free_path(out if out is not None else run / "samples.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    images = means.reshape(n, *image_shape(means.shape[-1]))
    path.write_bytes(png(image_grid(images, columns=columns_for(n))))
    typer.echo(f"{n} images (means of p(x|z), z ~ p(z), seed {seed}): {path}")
