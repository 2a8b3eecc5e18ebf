"""Progress on stderr: a line that is rewritten on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Mapping
from typing import Any

REFRESH = 0.2  # seconds between two looks at a terminal
PIPED = 2.0  # seconds between two lines in a file


def spelled(value: Any, form: str) -> str:
    """A number, or those of several players: ``0.5``, ``d 0.5, g 1.2``.

    Example:
        >>> spelled(0.51, ".1f"), spelled({"d": 0.51, "g": 1.2}, ".1f")
        ('0.5', 'd 0.5, g 1.2')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number:{form}}" for name, number in value.items())
    return f"{value:{form}}"


class ProgressLine:
    """What a run shows while it goes.

    Args:
        show: Whether it shows anything.
        epochs: How many epochs the run has.
        rows: How many rows an epoch has, if that is known.
    """

    def __init__(self, show: bool, epochs: int, rows: int | None) -> None:
        self._out = sys.stderr if show else None  # sys.stderr may be None itself: no console
        self._live = self._out is not None and self._out.isatty()
        self._epochs = epochs
        self._of = f"/{rows}" if rows else ""
        self._last = 0.0
        self._open = False

    def step(self, epoch: int, rows: int) -> None:
        """Show how far the epoch is, a few times a second."""
        if not self._live:
            return
        now = time.perf_counter()
        if now - self._last > REFRESH:
            self._last = now
            self._write(f"epoch {epoch}/{self._epochs}  {rows}{self._of} rows")

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Show what an epoch gave, and how long the rest will take."""
        if self._out is None:
            return
        now, ends = time.perf_counter(), record["epoch"] in (1, self._epochs)
        if not self._live and not ends and now - self._last < PIPED:
            return
        self._last = now
        left = (self._epochs - record["epoch"]) * record["seconds"]
        held = record["validation"]
        told = "" if held is None else f"  validation {spelled(held, '.4f')}"
        eta = f"  {left:.0f} s left" if left >= 1 else ""
        self._write(
            f"epoch {record['epoch']}/{self._epochs}  loss {spelled(record['loss'], '.4f')}{told}  "
            f"{record['seconds']:.1f} s{eta}"
        )

    def close(self) -> None:
        """End the line, so that what follows begins on one of its own."""
        if self._out is not None and self._open:
            self._out.write("\n")
            self._out.flush()
            self._open = False

    def _write(self, text: str) -> None:
        assert self._out is not None
        self._out.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._out.flush()
        self._open = self._live
