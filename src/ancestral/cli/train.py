"""``ancestral train MODEL``: from the data to a folder with everything that the run has found."""

import datetime
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from markupsafe import Markup

from ancestral._version import __version__
from ancestral.cli.failures import INTERRUPTED
from ancestral.cli.pictures import run_pictures
from ancestral.cli.recall import find_device, place, place_data
from ancestral.cli.registry import build, check_data, check_model, load_data, resolved
from ancestral.cli.results import NOT_A_LIKELIHOOD, held_out_results, result_line
from ancestral.cli.show import indented, readings
from ancestral.core.errors import OptionError
from ancestral.core.names import listing
from ancestral.data import ImageData
from ancestral.models import Recipe
from ancestral.report import (
    MetricsWriter,
    Page,
    Picture,
    Result,
    RunConfig,
    create_folder,
    environment,
    read_metrics,
    require_matplotlib,
    write_config,
    write_page,
)
from ancestral.report.config import DataConfig, ModelConfig, TrainingConfig

FILES = {
    "config.json": "what was run: model, data, training, versions",
    "metrics.jsonl": "one line per epoch and per result",
    "weights.safetensors": "the trained weights",
    "model.json": "the digest of the weights, the loss they were trained on",
    "samples.png": "images drawn from the model",
    "reconstructions.png": "test images and what the model makes of them",
    "latent.png": "the latent space in two dimensions, coloured by digit",
    "report.html": "all of it on one page",
}


@dataclass(frozen=True)
class Options:
    """The options of the command, as the user gave them."""

    model: str
    data: str
    data_dir: Path | None
    pixels: str
    epochs: int | None
    batch_size: int
    seed: int
    device: str
    dtype: str
    out: Path | None
    quiet: bool


def train_run(options: Options) -> Path:
    """Train, evaluate, and leave a folder whose path is returned (and printed).

    Raises:
        AncestralError: Of the kind that says what the user can do about it.
    """
    say: Callable[[str], None] = (lambda text: None) if options.quiet else typer.echo
    check_model(options.model)
    check_data(options.data)
    require_matplotlib()  # now, not after the training
    device = find_device(options.device)
    dtype = getattr(torch, options.dtype)
    data = load_data(options.data, pixels=options.pixels, data_dir=options.data_dir)
    torch.manual_seed(options.seed)
    config = run_config(options, data, device)
    recipe = build(config.model.name, config.model.arguments)
    check_inputs(recipe, options.model)
    place(recipe, device, dtype)
    folder = create_folder(options.out or Path("runs") / f"{options.model}-{options.data}")
    write_config(config, folder / "config.json")
    introduce(recipe, data, config, say)

    try:
        train_model(recipe, data, config, folder, progress=not options.quiet)
    except KeyboardInterrupt:
        recipe.model.save(folder)
        typer.echo(
            f"\nInterrupted. {folder} holds the weights and metrics so far: "
            f"ancestral evaluate {folder}",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    results = report_results(recipe, data, config, folder, quiet=options.quiet)
    pictures = run_pictures(recipe, data, device, dtype)
    for name, picture in pictures.items():
        (folder / name).write_bytes(picture.content)
    write_page(run_page(recipe, data, config, results, pictures, folder), folder / "report.html")
    if options.quiet:
        typer.echo(str(folder))
        return folder
    say("")
    width = max(map(len, FILES))
    for name, holds in FILES.items():
        say(f"{os.fspath(folder / name):<{len(str(folder)) + 1 + width}}  {holds}")
    return folder


def check_inputs(recipe: Recipe, name: str) -> None:
    """Raise if a model learns from more than images: the command has nothing else to give it.

    Raises:
        OptionError: It needs other variables.
    """
    needed = [n for n in recipe.model.loss.input_var if n != recipe.observed]
    if needed:
        raise OptionError(
            f"{name} learns from {listing(needed)} too, and this command reads images alone. See "
            f"how it is trained at the end of its file: python -m ancestral.zoo.{name}"
        )


def run_config(options: Options, data: ImageData, device: torch.device) -> RunConfig:
    """The resolved configuration: the defaults of the data set, then what the user said."""
    settings = check_data(options.data)
    arguments = resolved(
        options.model,
        {"pixels": data.dimension, **settings.arguments, "grey": not data.is_likelihood},
    )
    return RunConfig(
        model=ModelConfig(name=options.model, arguments=arguments),
        data=DataConfig(name=data.name, pixels=data.pixels),
        training=TrainingConfig(
            seed=options.seed,
            epochs=options.epochs or settings.epochs,
            batch_size=options.batch_size,
            device=str(device),
            dtype=options.dtype,  # type: ignore[arg-type]  # the schema checks it
        ),
        environment=environment(str(device)),
    )


def introduce(
    recipe: Recipe, data: ImageData, config: RunConfig, say: Callable[[str], None]
) -> None:
    """Print what is about to run."""
    texts = readings(recipe)
    training = config.training
    say(f"Ancestral {__version__}: {config.model.name} on {data.name}")
    say(f"  {data.description}")
    say(f"  {training.epochs} epochs, batches of {training.batch_size}, seed {training.seed}, "
        f"{training.dtype} on {training.device}")  # fmt: skip
    if not data.is_likelihood:
        say(f"  {NOT_A_LIKELIHOOD}")
    say(f"\nEquation\n{indented(texts['Equation'])}")
    say(f"\nProgram\n{indented(texts['Program'])}\n")


def train_model(
    recipe: Recipe, data: ImageData, config: RunConfig, folder: Path, *, progress: bool
) -> None:
    """Fit, writing each epoch's metrics at once, and save the weights."""
    device = torch.device(config.training.device)
    dtype = getattr(torch, config.training.dtype)
    start = time.perf_counter()
    with MetricsWriter(folder / "metrics.jsonl") as metrics:

        def record_epoch(model: Any, record: dict[str, Any]) -> None:
            metrics.write("epoch", **record)

        recipe.model.fit(
            place_data({recipe.observed: data.train["x"]}, device, dtype),
            epochs=config.training.epochs,
            batch_size=config.training.batch_size,
            validation=place_data({recipe.observed: data.validation["x"]}, device, dtype),
            transform=data.transform,
            progress=progress,
            callbacks=(record_epoch,),
        )
        metrics.write("trained", seconds=time.perf_counter() - start)
    recipe.model.save(folder)


def report_results(
    recipe: Recipe,
    data: ImageData,
    config: RunConfig,
    folder: Path,
    *,
    quiet: bool,
) -> list[Result]:
    """Estimate the test results; print each and add it to the metrics."""
    results: list[Result] = []
    device = torch.device(config.training.device)
    dtype = getattr(torch, config.training.dtype)
    k = check_data(data.name).k
    with MetricsWriter(folder / "metrics.jsonl") as metrics:
        for result in held_out_results(recipe, data, k=k, device=device, dtype=dtype, quiet=quiet):
            if not quiet:
                typer.echo(result_line(result))
            numbers = {**vars(result), "split": "test", "seed": config.training.seed}
            metrics.write("test", **numbers)
            results.append(result)
    return results


def run_page(
    recipe: Recipe,
    data: ImageData,
    config: RunConfig,
    results: list[Result],
    pictures: dict[str, Picture],
    folder: Path,
) -> Page:
    """The report's content."""
    texts = readings(recipe)
    laws = [law for law in (recipe.generative, recipe.posterior) if law is not None]
    epochs = [line for line in read_metrics(folder / "metrics.jsonl") if line["event"] == "epoch"]
    seconds = [line["seconds"] for line in read_metrics(folder / "metrics.jsonl")
               if line["event"] == "trained"]  # fmt: skip
    curves = {
        label: [(line["epoch"], line[key]) for line in epochs if line.get(key) is not None]
        for label, key in (("train", "loss"), ("validation", "validation"))
    }
    training = {
        **config.training.model_dump(),
        "wall time": f"{sum(seconds):.1f} s",
        "data": f"{data.name}, {data.pixels} pixels",
    }
    return Page(
        title=f"{config.model.name} on {data.name}",
        data=data.description,
        date=datetime.date.today().isoformat(),
        equation=texts["Equation"],
        latex=texts["LaTeX"],
        program=texts["Program"],
        model=texts["Laws"],
        results=results,
        notes=[] if data.is_likelihood else [NOT_A_LIKELIHOOD[0].upper() + NOT_A_LIKELIHOOD[1:]],
        curves=curves,
        curves_label="loss (nats per image)",
        pictures=list(pictures.values()),
        settings={
            "Model": config.model.arguments,
            "Training": training,
            "Environment": config.environment,
        },
        files=FILES,
        mathml=Markup(recipe.objective.mathml()),
        laws=[Markup(law.mathml()) for law in laws if len(law.factors) > 1],
        graph=Markup(recipe.objective.graph()),
        source=step_source(recipe, data, config),
    )


def step_source(recipe: Recipe, data: ImageData, config: RunConfig) -> str:
    """The text of the training step, as it is generated for two rows of the data."""
    device, dtype = torch.device(config.training.device), getattr(torch, config.training.dtype)
    batch = place_data({recipe.observed: data.test["x"][:2]}, device, dtype)
    return recipe.model.loss.source(batch)
