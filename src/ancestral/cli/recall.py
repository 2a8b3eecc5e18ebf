"""A model by its recipe: on a device, or rebuilt from the folder of a run."""

from pathlib import Path

import torch
from torch import Tensor

from ancestral.cli.registry import build, check_data
from ancestral.core.errors import CheckpointError, DeviceError
from ancestral.models import Recipe
from ancestral.report import RunConfig, read_config


def find_device(name: str) -> torch.device:
    """The torch device of a name, after a check that it is there.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto" for the accelerator if there is one.

    Raises:
        DeviceError: torch does not know the name, or this machine has no such device.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # "meta" has no values: it fails here
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(
            f"--device {name}: {reason}. Use cpu, or auto for what this machine has."
        ) from error
    return device


def place(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None:
    """Move the laws of a recipe, in place."""
    for law in (recipe.generative, recipe.posterior):
        if law is not None:
            law.to(device=device, dtype=dtype)


def place_data(
    data: dict[str, Tensor], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The same data on a device; only floating point tensors change their precision."""
    return {
        name: value.to(device, dtype if value.is_floating_point() else value.dtype)
        for name, value in data.items()
    }


def recall(run: Path, device: torch.device) -> tuple[RunConfig, Recipe]:
    """The configuration and the trained model of a run; nothing is unpickled.

    Args:
        run: The folder of the run.
        device: Where the model goes.

    Raises:
        CheckpointError: It is not the folder of a run, or a file in it is damaged or does not
            fit the model.
    """
    if not run.is_dir():
        raise CheckpointError(f"there is no folder {run}: name the folder that a run has left")
    config = read_config(run / "config.json")
    check_data(config.data.name)
    recipe = build(config.model.name, config.model.arguments)
    place(recipe, torch.device("cpu"), getattr(torch, config.training.dtype))
    recipe.model.load(run)
    place(recipe, device, getattr(torch, config.training.dtype))
    return config, recipe
