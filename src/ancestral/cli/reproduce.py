"""``ancestral reproduce``: the numbers of the zoo over seeds, kept as they are finished."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import typer

from ancestral.cli.recall import find_device
from ancestral.cli.records import (
    Record,
    model_digest,
    package_digest,
    picture_path,
    read_record,
    record_path,
    write_record,
    write_whole,
)
from ancestral.cli.registry import check_model, reproducing
from ancestral.cli.table import write_table
from ancestral.core.errors import AncestralError, OptionError
from ancestral.evaluation import Reproduction
from ancestral.report import environment

FAILED = 2


@dataclass(frozen=True)
class Options:
    """The options of the command, as the user gave them."""

    models: tuple[str, ...]
    every: bool
    seeds: int
    first: int
    data_dir: Path | None
    device: str
    out: Path
    fresh: bool
    table: bool
    gallery: bool
    quiet: bool


def reproduce_run(options: Options) -> None:
    """Run what is asked for and not finished, then write the table.

    Raises:
        OptionError: Nothing is asked for, or a model has nothing to reproduce.
        AncestralError: A run of one model failed; of several, the others go on.
    """
    models = chosen(options)
    try:
        failed = [name for name in models if not attempt(name, options, alone=len(models) == 1)]
    finally:  # also after an interruption: the table says what is there
        table = write_table(options.out)
    if options.gallery:
        from ancestral.cli.gallery import write_gallery

        typer.echo(str(write_gallery(options.out)))
    typer.echo(str(table))
    if failed:
        typer.echo(f"Error: not run to the end: {', '.join(failed)}", err=True)
        raise typer.Exit(FAILED)


def chosen(options: Options) -> list[str]:
    """The models that are asked for, checked.

    Raises:
        OptionError: None is, or one has nothing to reproduce.
    """
    able = reproducing()
    if options.every:
        if options.models:
            raise OptionError(f"--all and {' '.join(options.models)}: name models, or take all")
        return able
    for name in options.models:
        if check_model(name) not in able:
            raise OptionError(
                f"{name} has no function reproduce() yet; these have: {', '.join(able)}"
            )
    if not options.models and not (options.table or options.gallery):
        raise OptionError(
            "name a model, or say --all (or --table, which trains nothing); there are: "
            + ", ".join(able)
        )
    return list(dict.fromkeys(options.models))


def attempt(name: str, options: Options, *, alone: bool) -> bool:
    """Whether all seeds of a model are finished; a failure is told, and raised of one alone."""
    try:
        reproduce_model(name, options)
    except AncestralError as error:
        if alone:
            raise
        typer.echo(f"{name}: {error}", err=True)
        return False
    return True


def reproduce_model(name: str, options: Options) -> None:
    """Run the seeds of a model that are not finished."""
    say: Callable[[str], None] = (lambda text: None) if options.quiet else typer.echo
    device = str(find_device(options.device))
    seeds = range(options.first, options.first + options.seeds)
    left = unfinished(name, seeds, options.out, fresh=options.fresh)
    if len(left) < options.seeds:
        say(f"{name}: {options.seeds - len(left)} of {options.seeds} seeds are kept")
    for seed in left:
        say(f"{name}, seed {seed}")
        code, package = model_digest(name), package_digest()  # of what runs, not of what will be
        start = time.perf_counter()
        found = function_of(name)(
            seed=seed, data_dir=options.data_dir, progress=not options.quiet, device=device
        )
        record = Record(
            model=name,
            seed=seed,
            code=code,
            package=package,
            seconds=round(time.perf_counter() - start, 1),
            environment=environment(device),
            measurements=found.measurements,
            caption=found.caption,
        )
        if seed == seeds[0]:
            write_whole(picture_path(options.out, name), found.picture)
        write_record(record, options.out)
        say(f"{found}\n{record.seconds:.1f} s")


def unfinished(name: str, seeds: Iterable[int], folder: Path, *, fresh: bool) -> Sequence[int]:
    """The seeds that have no record of this code.

    Args:
        name: A model.
        seeds: Those that are asked for.
        folder: Where records are.
        fresh: A record of another state of the package does not count.
    """
    code, package = model_digest(name), package_digest()

    def counts(seed: int) -> bool:
        path = record_path(folder, name, seed)
        if not path.is_file():
            return False
        record = read_record(path)
        return record.code == code and (not fresh or record.package == package)

    return [seed for seed in seeds if not counts(seed)]


def function_of(name: str) -> Callable[..., Reproduction]:
    """The function ``reproduce`` of a model's file."""
    found: Callable[..., Reproduction] = import_module(f"ancestral.zoo.{name}").reproduce
    return found
