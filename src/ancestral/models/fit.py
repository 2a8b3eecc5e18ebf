"""A whole run: batches, progress, validation, history."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ancestral.core.errors import DataError, MissingVariableError
from ancestral.core.names import listing
from ancestral.losses.scope import inputs

if TYPE_CHECKING:
    from ancestral.models.model import Model

Batch = dict[str, Tensor]


@dataclass
class History:
    """What each epoch of a run gave: ``records[i]["loss"]``, ``["validation"]``, ``["seconds"]``."""

    records: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[Any]:
        """One quantity over epochs: ``history["loss"]``."""
        return [r[name] for r in self.records]

    def __len__(self) -> int:
        """The number of epochs."""
        return len(self.records)


@dataclass
class Fitting:
    """The loop of ``Model.fit``."""

    model: "Model"
    vars: Sequence[str] | None
    batch_size: int
    transform: Callable[[Batch], Batch] | None
    progress: bool
    callbacks: tuple[Callable[..., None], ...]
    scalars: Mapping[str, Any]

    def run(
        self, data: Any, epochs: int, shuffle: bool, validation: Any, generator: Any
    ) -> History:
        """Train; see :meth:`Model.fit`."""
        device = next(iter(self.model.trained)).device
        history = History()
        line = Line(self.progress, epochs)
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            total, rows = None, 0
            for batch in self.batches(data, shuffle, generator, device):
                batch = self.transform(batch) if self.transform else batch
                n = _rows(batch)
                loss = self.model.train(batch, **self.scalars)
                total = loss * n if total is None else total + loss * n
                rows += n
                line.step(epoch, rows, len_of(data))
            if total is None:
                raise DataError("fit: the data gave no batch; it is empty.")
            record: dict[str, Any] = {
                "epoch": epoch,
                "loss": float(total) / rows,
                "validation": self.evaluate(validation, device),
                "seconds": time.perf_counter() - start,
            }
            history.records.append(record)
            line.epoch(record)
            for callback in self.callbacks:
                callback(self.model, record)
        line.close()
        return history

    def evaluate(self, data: Any, device: torch.device) -> float | None:
        """The mean test loss over the rows of held-out data."""
        if data is None:
            return None
        total, rows = 0.0, 0
        for batch in self.batches(data, False, None, device):
            n = _rows(batch)
            total += float(self.model.test(batch, **self.scalars)) * n
            rows += n
        return total / rows

    def batches(
        self, data: Any, shuffle: bool, generator: Any, device: torch.device
    ) -> Iterator[Batch]:
        """Batches as dicts, on the laws' device."""
        for batch in self._raw(data, shuffle, generator):
            yield {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}

    def _raw(self, data: Any, shuffle: bool, generator: Any) -> Iterator[Batch]:
        if isinstance(data, Mapping) or (isinstance(data, (tuple, list)) and self.vars):
            tensors = self._named(data)
            sizes = {k: len(v) for k, v in tensors.items()}
            if len(set(sizes.values())) > 1:
                raise DataError(f"fit: the tensors have different numbers of rows: {sizes}.")
            size = next(iter(sizes.values()), 0)
            order = torch.randperm(size, generator=generator) if shuffle else None
            for i in range(0, size, self.batch_size):
                rows: Any = (
                    slice(i, i + self.batch_size)
                    if order is None
                    else order[i : i + self.batch_size]
                )
                yield {
                    k: v[rows.to(v.device) if isinstance(rows, Tensor) else rows]
                    for k, v in tensors.items()
                }
        elif isinstance(data, DataLoader) or (
            isinstance(data, Iterable) and not isinstance(data, (tuple, list, Tensor))
        ):
            for batch in data:
                yield self._named(batch)
        else:
            raise DataError(_forms(type(data).__name__, self.model))

    def _named(self, batch: Any) -> Batch:
        if isinstance(batch, Mapping):
            named = dict(batch)
        elif isinstance(batch, (tuple, list)) and self.vars:
            if len(batch) < len(self.vars):
                raise DataError(
                    f"fit: vars={tuple(self.vars)} names {len(self.vars)} tensors, got {len(batch)}."
                )
            named = dict(zip(self.vars, batch, strict=False))
        else:
            raise DataError(_forms(type(batch).__name__, self.model))
        needed = [n for n in inputs(self.model.loss) if n not in self.scalars]
        missing = [n for n in needed if n not in named]
        if missing:
            raise MissingVariableError(
                f"fit: {self.model.loss} needs {listing(missing)}; the data has {listing(list(named))}."
            )
        return {k: v for k, v in named.items() if isinstance(v, Tensor)}


def _forms(got: str, model: "Model") -> str:
    names = [*inputs(model.loss)] or ["x"]
    pairs = ", ".join(f"{n!r}: {n}" for n in names)
    return (
        f"fit: a batch must name its variables, got a {got}. Give fit({{{pairs}}}, ...), or "
        f"fit(({', '.join(names)}{',' if len(names) == 1 else ''}), ..., vars={tuple(names)})."
    )


def _rows(batch: Batch) -> int:
    return next((len(v) for v in batch.values() if v.dim()), 1)


def len_of(data: Any) -> int | None:
    """The number of rows of a data set, if it says."""
    if isinstance(data, Mapping):
        return len(next(iter(data.values())))
    if isinstance(data, (tuple, list)) and data:
        return len(data[0])
    inner: Any = getattr(data, "dataset", None)
    return len(inner) if hasattr(inner, "__len__") else None


class Line:
    """Progress on stderr: one line that is rewritten on a terminal, one line an epoch elsewhere."""

    def __init__(self, show: bool, epochs: int) -> None:
        self.show = show
        self.epochs = epochs
        self.live = show and sys.stderr.isatty()
        self.last = 0.0

    def step(self, epoch: int, rows: int, size: int | None) -> None:
        """Show how far the epoch is, a few times a second."""
        now = time.perf_counter()
        if self.live and now - self.last > 0.2:
            self.last = now
            of = f"/{size}" if size else ""
            sys.stderr.write(f"\r\x1b[Kepoch {epoch}/{self.epochs}  {rows}{of} rows")
            sys.stderr.flush()

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Show what an epoch gave, and how long the rest will take."""
        if not self.show:
            return
        left = (self.epochs - record["epoch"]) * record["seconds"]
        held = "" if record["validation"] is None else f"  validation {record['validation']:.4f}"
        text = (
            f"epoch {record['epoch']}/{self.epochs}  loss {record['loss']:.4f}{held}  "
            f"{record['seconds']:.1f} s"
        )
        eta = f"  {left:.0f} s left" if left >= 1 else ""
        sys.stderr.write(f"\r\x1b[K{text}{eta}" if self.live else f"{text}{eta}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if self.live:
            sys.stderr.write("\n")
            sys.stderr.flush()
