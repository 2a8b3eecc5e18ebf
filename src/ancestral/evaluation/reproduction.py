r"""What a model of the zoo reproduces: numbers beside what they are held against, and a picture.

Each file of the zoo that has one gives a function ``reproduce``, which trains with the paper's
settings and measures on held-out rows::

    def reproduce(
        *, seed: int = 0, data_dir: str | Path | None = None, progress: bool = True,
        device: str = "cpu",
    ) -> Reproduction: ...

All of it follows from the seed. ``ancestral reproduce NAME`` runs it over seeds and writes the
table. A :class:`Measurement` has a direction: it is reached where its mean over seeds is at most,
or at least, what is written; an exact value with a tolerance is both.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from ancestral.core.errors import OptionError
from ancestral.evaluation.estimate import Estimate

Kind = Literal["exact", "literature", "baseline"]


@dataclass(frozen=True)
class Reference:
    """A value from elsewhere, in the unit of the measurement.

    Args:
        value: The number.
        source: Where it stands, or how it was computed.
        kind: "exact" (computed in closed form), "literature" (somebody's run), or "baseline" (what
            a simpler model reaches on the same rows).
    """

    value: float
    source: str
    kind: Kind


@dataclass(frozen=True)
class Measurement:
    """One number of one run, with what it takes to read it.

    Args:
        quantity: What was measured, and on what rows ("mean test loss").
        value: The number.
        unit: Of the value, the standard error and the reference; "" for a pure number.
        estimator: How it was estimated, in words.
        reference: What it stands beside.
        at_most: It is reached at or below this value.
        at_least: It is reached at or above this value.
        standard_error: Of the value over rows; None where rows are not what it is a mean of.
        k: Draws per row; None where nothing is drawn.
        rows: How many rows it is a mean of.

    Raises:
        OptionError: If there is nothing that the number could miss.

    Example:
        >>> chance = Reference(0.9, "guessing", "baseline")
        >>> error = Measurement("error", 0.05, "", "argmax", chance, at_most=0.9, rows=297)
        >>> print(error)
        error 0.05 (argmax, 297 rows); baseline 0.9: guessing
    """

    quantity: str
    value: float
    unit: str
    estimator: str
    reference: Reference
    at_most: float | None = None
    at_least: float | None = None
    standard_error: float | None = None
    k: int | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.at_most is None and self.at_least is None:
            raise OptionError(
                f"{self.quantity}: say when it is reached, at_most= or at_least= a value (both, "
                "around an exact one)"
            )

    @classmethod
    def of(cls, estimate: Estimate, quantity: str, *, sign: float = 1.0, **others: Any) -> Self:
        """The mean of an estimate over its rows, with its standard error.

        Args:
            estimate: What :func:`bound` or :func:`log_likelihood` returns.
            quantity: What it is.
            sign: -1 where a loss is reported and a bound was estimated.
            others: `reference`, `at_most` or `at_least`, and what is to differ: `unit` if it is
                not nats, `estimator` and `k` where a value per row is exact.
        """
        found: dict[str, Any] = {
            "unit": "nats",
            "estimator": estimate.estimator,
            "standard_error": estimate.standard_error,
            "k": estimate.k,
            "rows": estimate.rows,
        }
        return cls(quantity=quantity, value=sign * estimate.mean, **(found | others))

    @property
    def missed_by(self) -> float:
        """How far the value is from where it should be; 0 where it is there, inf if it is nan."""
        above = -math.inf if self.at_most is None else self.value - self.at_most
        below = -math.inf if self.at_least is None else self.at_least - self.value
        return max(0.0, above, below) if math.isfinite(self.value) else math.inf

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        drawn = "" if self.k is None else f", K = {self.k}"
        rows = "" if self.rows is None else f", {self.rows} rows"
        reference = f"{self.reference.kind} {self.reference.value:.5g}: {self.reference.source}"
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.quantity} {self.value:.5g}{error}{unit} ({self.estimator}{drawn}{rows}); "
            f"{reference}"
        )


@dataclass(frozen=True)
class Reproduction:
    """What one run of a zoo file's ``reproduce`` leaves.

    Args:
        measurements: Its numbers, the paper's headline first.
        picture: The bytes of a PNG: what the paper would show.
        caption: One sentence on what the picture shows.
    """

    measurements: tuple[Measurement, ...]
    picture: bytes
    caption: str

    def __str__(self) -> str:
        return "\n".join(map(str, self.measurements))
