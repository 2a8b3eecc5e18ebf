"""metrics.jsonl: one JSON object per line, written through at once, so that a run can be watched.

Each line has an `event` ("epoch", "test", ...) and its numbers. A number that JSON does not know
(nan, inf) is written as null.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ancestral.core.errors import CheckpointError


class MetricsWriter:
    r"""Appends lines to a metrics file and flushes each; a context manager.

    Args:
        path: the file; it is made if it does not exist.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> with MetricsWriter(path) as metrics:
        ...     metrics.write("epoch", epoch=1, loss=float("nan"))
        >>> path.read_text()
        '{"event": "epoch", "epoch": 1, "loss": null}\n'
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def write(self, event: str, **numbers: Any) -> None:
        """Add one line; numbers are of JSON's kinds (float, int, str, bool, None, lists)."""
        record = {"event": event, **{key: _finite(value) for key, value in numbers.items()}}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a metrics file; a last line that a kill cut off is left out.

    Raises:
        CheckpointError: a line that is not the last is no JSON object.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):  # without its line end: cut off while it was written
                break
            record = None
        if not isinstance(record, Mapping):
            raise CheckpointError(f"{path}, line {number} is no JSON object: {line[:60]!r}")
        records.append(dict(record))
    return records


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
