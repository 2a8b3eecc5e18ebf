"""docs/zoo.md: what the zoo reproduces, from the records alone.

Each number is a mean over seeds with its standard error, beside what it is held against. What has
missed says by how much; what has not been run says so.
"""

import ast
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ancestral.cli import registry
from ancestral.cli.records import (
    Record,
    model_digest,
    package_digest,
    picture_path,
    read_records,
    write_whole,
)
from ancestral.evaluation import Measurement

OLDER, CHANGED = "†", "‡"
HEAD = """# What the zoo reproduces

Each model of `ancestral.zoo` that states a number is trained with the settings of its source and
measured on rows that were held out. A value is the mean over seeds with its standard error over
seeds; one seed has the standard error over rows, in brackets. A reference is exact (computed in
closed form), from the literature (somebody's run), or a baseline (a simpler model on the same
rows). Time is wall time for one seed.

    ancestral reproduce --all --data-dir PATH    # runs what is missing, then writes this page
    ancestral reproduce --table                  # writes this page, trains nothing

"""
COLUMNS = (
    "| model | number | value | has to reach | reference | seeds | time | verdict |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Entry:
    """A model with what was found: its row, and its section.

    Args:
        name: Of its file.
        title: The first line of the file.
        equation: What it maximises, the first line of its function.
        source: Its paper.
        records: Finished seeds.
        mark: "" where the records are of this code, else a sign of the table's notes.
    """

    name: str
    title: str
    equation: str
    source: str
    records: Sequence[Record]
    mark: str


def write_table(folder: Path) -> Path:
    """Write the page beside the folder of records, under its name, and return its path.

    Args:
        folder: Where records and pictures are, docs/zoo for docs/zoo.md.
    """
    path = folder.with_name(folder.name + ".md")
    write_whole(path, page(entries(folder), folder).encode("utf-8"))
    return path


def entries(folder: Path) -> list[Entry]:
    """The models that can be reproduced, with their records."""
    names = registry.reproducing()
    records = read_records(folder, names)
    return [entry(name, records[name]) for name in names]


def entry(name: str, records: Sequence[Record]) -> Entry:
    """A model by the text of its file, which is not run."""
    tree = ast.parse((registry.ZOO / f"{name}.py").read_text(encoding="utf-8"))
    document = ast.get_docstring(tree) or ""
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    formula = ast.get_docstring(functions[name]) if name in functions else None
    source = re.search(r"^Sources?: (.*?)(?:\n\n|\Z)", document, re.S | re.M)
    code, mark = model_digest(name), ""
    if records and not any(r.code == code for r in records):
        code, mark = records[0].code, CHANGED
    records = [r for r in records if r.code == code]  # two codes have no mean
    if not mark and any(r.package != package_digest() for r in records):
        mark = OLDER
    return Entry(
        name=name,
        title=document.partition("\n")[0],
        equation=(formula or "").partition("\n")[0].removesuffix("."),
        source=" ".join((source.group(1) if source else "").split()),
        records=records,
        mark=mark,
    )


def page(models: Sequence[Entry], folder: Path) -> str:
    """The whole text."""
    parts = [HEAD, COLUMNS, *(row for model in models for row in rows(model)), "\n"]
    marks = {model.mark for model in models}
    if OLDER in marks:
        parts.append(f"{OLDER} The package has changed since, the model's own file has not.\n")
    if CHANGED in marks:
        parts.append(f"{CHANGED} The model's file has changed since: run it again.\n")
    able = {model.name for model in models}
    silent = [f"`{name}`" for name in registry.zoo_names() if name not in able]
    if silent:
        parts.append(f"\nNo number yet: {', '.join(silent)}.\n")
    return "".join(parts) + "".join(section(model, folder) for model in models)


def rows(model: Entry) -> list[str]:
    """The lines of the table: one for each number."""
    head = f"[{model.name}](#{model.name})"
    if not model.records:
        return [f"| {head} | | | | | 0 | | not run |\n"]
    lines = []
    for measured in zip(*(r.measurements for r in model.records), strict=True):
        mean = averaged(measured)
        seconds = statistics.fmean(r.seconds for r in model.records)
        reference = mean.reference
        cells = (
            head + model.mark,
            mean.quantity,
            value(mean),
            wanted(mean),
            f"{reference.value:.5g}, {reference.kind}: {reference.source}",
            str(len(measured)),
            duration(seconds),
            verdict(mean),
        )
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n")
    return lines


def averaged(measured: Sequence[Measurement]) -> Measurement:
    """The mean of one number over seeds: its standard error is over seeds, of one seed over rows.

    What a baseline reaches may differ by seed; its mean stands beside the mean.
    """
    one, values = measured[0], [m.value for m in measured]
    error = one.standard_error
    if len(values) > 1:
        error = statistics.stdev(values) / len(values) ** 0.5
    return replace(
        one,
        value=statistics.fmean(values),
        standard_error=error,
        rows=None if len(values) > 1 else one.rows,
        at_most=mean_of([m.at_most for m in measured]),
        at_least=mean_of([m.at_least for m in measured]),
        reference=replace(
            one.reference, value=statistics.fmean(m.reference.value for m in measured)
        ),
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is missing."""
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def value(mean: Measurement) -> str:
    """A mean and its standard error, to two digits of the error; over rows in brackets.

    Example:
        >>> from ancestral.evaluation import Reference
        >>> loss = Measurement("loss", 97.92671, "nats", "", Reference(1.0, "", "exact"), 2.0)
        >>> value(replace(loss, standard_error=0.0497))
        '97.927 ± 0.050 nats'
        >>> value(loss)
        '97.927 nats'
    """
    unit, error = f" {mean.unit}" if mean.unit else "", mean.standard_error
    if error is None:
        return f"{mean.value:.5g}{unit}"
    spread = f"± {rounded(error, error)}"
    return f"{rounded(mean.value, error)} {spread if mean.rows is None else f'({spread})'}{unit}"


def rounded(number: float, error: float) -> str:
    """A number to the second digit of its error.

    Example:
        >>> rounded(97.9266, 0.0497), rounded(0.05, 0.0), rounded(1234.5, 23.0)
        ('97.927', '0.05', '1234')
    """
    if not 0 < error < float("inf"):
        return f"{number:.5g}"
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{number:.{digits}f}"


def wanted(mean: Measurement) -> str:
    """Where the mean should be.

    Example:
        >>> from ancestral.evaluation import Reference
        >>> one = Reference(1.0, "", "exact")
        >>> wanted(Measurement("slope", 1.02, "", "", one, at_least=0.9, at_most=1.1))
        '≥ 0.9, ≤ 1.1'
    """
    bounds = (("≥", mean.at_least), ("≤", mean.at_most))
    return ", ".join(f"{sign} {bound:.5g}" for sign, bound in bounds if bound is not None)


def verdict(mean: Measurement) -> str:
    """Whether the mean is where it should be, or by how much it is not."""
    gap = mean.missed_by
    if gap == float("inf"):
        return "missed: not finite"
    return f"missed by {gap:.2g}" if gap else "reached"


def duration(seconds: float) -> str:
    """Wall time in words.

    Example:
        >>> duration(4.26), duration(151.0)
        ('4 s', '2.5 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def section(model: Entry, folder: Path) -> str:
    """Its title, equation and paper, how it was measured, and the picture."""
    parts = [f"\n## {model.name}\n\n{model.title}\n\n    {model.equation}\n\n{model.source}\n"]
    if model.records:
        first = model.records[0]
        for one in first.measurements:
            drawn = "" if one.k is None else f", K = {one.k}"
            over = "" if one.rows is None else f", mean over {one.rows} held-out rows"
            parts.append(f"\nIts {one.quantity}: {one.estimator}{drawn}{over}.")
        where = first.environment
        parts.append(
            f"\nSeeds {', '.join(str(r.seed) for r in model.records)}; torch "
            f"{where['torch']}, {where['threads']} thread(s), {where['device']}.\n"
        )
        if picture_path(folder, model.name).is_file():
            path = f"{folder.name}/{model.name}.png"
            parts.append(f"\n![{first.caption}]({path})\n\n{first.caption}\n")
    return "".join(parts)
