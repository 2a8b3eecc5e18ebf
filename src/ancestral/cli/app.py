"""The commands and their options; what they do is in the files beside this one."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ancestral._version import __version__
from ancestral.cli.failures import user_errors

app = typer.Typer(
    name="ancestral",
    help="Deep generative models, written as their equations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback is for us: plain, and without local values
    context_settings={"help_option_names": ["-h", "--help"]},
)


class PixelsOption(StrEnum):
    """How grey pixels are read."""

    BINARY = "binary"
    DYNAMIC = "dynamic"
    GREY = "grey"


class DtypeOption(StrEnum):
    """Precision of weights and data."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


Model = Annotated[str, typer.Argument(help="A model of the zoo, for instance vae.")]
Run = Annotated[Path, typer.Argument(help="The folder of a run, for instance runs/vae-digits.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with the idx files of MNIST.", envvar="ANCESTRAL_DATA"),
]
Seed = Annotated[int, typer.Option(help="Seed of every random number.", min=0, max=2**32 - 1)]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, or auto.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ancestral {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Deep generative models, written as their equations."""


@app.command()
def train(
    model: Model,
    data: Annotated[str, typer.Option(help="digits or mnist.")] = "digits",
    data_dir: DataDir = None,
    pixels: Annotated[
        PixelsOption,
        typer.Option(help="Pixels: fixed binary, drawn anew at every batch, or grey means."),
    ] = PixelsOption.BINARY,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", min=1, show_default="per data set")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows per step.", min=1)] = 128,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Annotated[DtypeOption, typer.Option(help="Precision.")] = DtypeOption.FLOAT32,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, never overwritten.", show_default="runs/MODEL-DATA"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the folder only.")] = False,
    debug: Debug = False,
) -> None:
    """Train a model and leave a folder with weights, metrics, pictures and a report."""
    with user_errors(debug):
        from ancestral.cli.train import Options, train_run

        train_run(
            Options(
                model=model,
                data=data,
                data_dir=data_dir,
                pixels=pixels.value,
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                device=device,
                dtype=dtype.value,
                out=out,
                quiet=quiet,
            )
        )


@app.command()
def show(model: Model, debug: Debug = False) -> None:
    """Print a model's equation as text and LaTeX, its laws, and the program that will run."""
    with user_errors(debug):
        from ancestral.cli.show import show_model

        show_model(model)


@app.command()
def sample(
    run: Run,
    n: Annotated[int, typer.Option("-n", help="How many images.", min=1, max=10_000)] = 64,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(help="PNG file.", show_default="a free samples-N.png in the run"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw images from a trained model."""
    with user_errors(debug):
        from ancestral.cli.sample import sample_run

        sample_run(run, n=n, seed=seed, device=device, out=out)


@app.command()
def evaluate(
    run: Run,
    k: Annotated[
        int | None,
        typer.Option("-k", help="Draws per image.", min=1, show_default="per data set"),
    ] = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Estimate the test ELBO and the log-likelihood of a trained model."""
    with user_errors(debug):
        from ancestral.cli.evaluate import evaluate_run

        evaluate_run(run, k=k, data_dir=data_dir, seed=seed, device=device)


@app.command()
def reproduce(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Models of the zoo, for instance vae cvae.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that can be reproduced.")] = False,
    seeds: Annotated[int, typer.Option(help="How many seeds.", min=1, max=1000)] = 3,
    first: Annotated[int, typer.Option(help="The first of them.", min=0, max=2**31)] = 0,
    data_dir: DataDir = None,
    device: Device = "cpu",
    out: Annotated[
        Path,
        typer.Option(help="Folder of the records; the table is written beside it."),
    ] = Path("docs/zoo"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run again what ran with another package.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Write the table, train nothing.")
    ] = False,
    gallery: Annotated[
        bool, typer.Option("--gallery", help="Put all pictures on one sheet, gallery.png.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    debug: Debug = False,
) -> None:
    """Reproduce the numbers of the zoo over seeds; finished seeds are kept."""
    with user_errors(debug):
        from ancestral.cli.reproduce import Options, reproduce_run

        reproduce_run(
            Options(
                models=tuple(models or ()),
                every=every,
                seeds=seeds,
                first=first,
                data_dir=data_dir,
                device=device,
                out=out,
                fresh=fresh,
                table=table,
                gallery=gallery,
                quiet=quiet,
            )
        )


@app.command()
def zoo() -> None:
    """List the models that can be trained."""
    with user_errors(debug=False):
        from ancestral.cli.registry import zoo_summaries

        summaries = zoo_summaries()
        width = max(map(len, summaries))
        for name, summary in summaries.items():
            typer.echo(f"{name:<{width}}  {summary}")


def main() -> None:
    """The entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter still gets the rest
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="ancestral")
