"""report.html: one run on one page that opens offline, mails and archives well.

Equations are MathML, the graphical model and the curves inline SVG, pictures data URIs; there is
no script, and a content security policy keeps the browser from asking for anything. Every text is
escaped by jinja2 (autoescape); markup of our own making says so by its type.
"""

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ancestral.report.curves import Curve, curves_svg


@dataclass(frozen=True)
class Result:
    """One reported number with what it takes to read it.

    Args:
        quantity: what was estimated ("log-likelihood log p(x)").
        value: its mean over the rows, in nats unless `unit` says otherwise.
        standard_error: of that mean over the rows.
        estimator: how it was estimated ("importance sampling").
        k: draws per row; None where the estimator has none.
        rows: how many rows were used, and of which part ("297 test images").
        seconds: wall time of the estimate.
        unit: of value and standard error.

    Example:
        >>> Result("ELBO", -18.25, 0.31, "1 draw of z per row", 1, "297 test images", 0.2).text
        '-18.25 ± 0.31 nats'
    """

    quantity: str
    value: float
    standard_error: float
    estimator: str
    k: int | None
    rows: str
    seconds: float
    unit: str = "nats"

    @property
    def text(self) -> str:
        """Value ± standard error and unit, to two decimals."""
        return f"{self.value:.2f} ± {self.standard_error:.2f} {self.unit}"

    @property
    def time(self) -> str:
        """The wall time in seconds, to a tenth."""
        return f"{self.seconds:.1f} s" if self.seconds >= 0.1 else "< 0.1 s"


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its heading, what it shows, and the bytes of a PNG."""

    title: str
    caption: str
    content: bytes

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + b64encode(self.content).decode("ascii")


@dataclass(frozen=True)
class Page:
    """Everything that stands on the page, in its order.

    Args:
        title: heading, for instance "vae on digits".
        data: one sentence about the data: source, pixels, split.
        date: day of the run, ISO.
        equation: the objective as text.
        latex: the objective as LaTeX.
        program: the lowered program.
        model: the printed laws and their networks.
        results: reported numbers.
        notes: sentences a reader must not miss ("not a likelihood").
        curves: name -> points (epoch, value).
        curves_label: what the curves show.
        pictures: samples, reconstructions, latent space.
        settings: section -> name -> value, from the configuration.
        files: name -> what it holds.
        mathml: the objective as MathML; `equation` stands in its place if there is none.
        laws: the laws' equations as MathML.
        graph: the objective's graphical model as SVG.
        source: the straight-line PyTorch that ran.

    Equations and graph are markup, `Markup(objective.mathml())`: a plain string is shown as text.
    """

    title: str
    data: str
    date: str
    equation: str
    latex: str
    program: str
    model: str = ""
    results: Sequence[Result] = ()
    notes: Sequence[str] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    curves_label: str = "nats"
    pictures: Sequence[Picture] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    mathml: str | Markup = ""
    laws: Sequence[str | Markup] = ()
    graph: str | Markup = ""
    source: str = ""


def write_page(page: Page, path: Path) -> None:
    """Write the page as one UTF-8 file; a reader sees the whole file or none.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_page(Page("<b>", "data", "2026-01-01", "E[f]", "E", "program"), path)
        >>> "<b>" in path.read_text(encoding="utf-8")
        False
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html").render(
        page=page,
        # our own SVG: its texts are escaped where they are written
        curves=Markup(curves_svg(page.curves, y_label=page.curves_label)),
    )
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text + "\n", encoding="utf-8")
    os.replace(unfinished, path)
