"""A whole run: batches, progress, validation, history."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import DataError, OptionError, TrainingError, did_you_mean
from ancestral.losses.game import Game
from ancestral.losses.scope import inputs
from ancestral.models.batches import Batch, Batches, whole
from ancestral.models.progress import ProgressLine, spelled

if TYPE_CHECKING:
    from ancestral.models.model import Model

TAKEN = ("epoch", "loss", "validation", "seconds")  # what a record calls its own
MEANS = ("loss", "validation")
OPTIONS = (
    "vars", "batch_size", "shuffle", "validation", "transform", "progress", "generator",
    "callbacks",
)  # fmt: skip


@dataclass
class History:
    """What each epoch of a run gave.

    Args:
        records: One dict per epoch: ``epoch``, ``loss`` (mean over the rows, as they were
            trained), ``validation`` (mean over the rows, or ``None``), ``seconds``. With players
            these means are dicts, by the player's name; the objective of a discriminator whom the
            loss carries stands beside ``loss``, under its name.

    Example:
        >>> History([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5}])["loss"]
        [2.0, 1.5]
    """

    records: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[Any]:
        """One quantity over epochs: ``history["loss"]``, or a player's objective by its name."""
        return [r[name] if name in r else r["loss"][name] for r in self.records]

    def __len__(self) -> int:
        """The number of epochs."""
        return len(self.records)

    def __repr__(self) -> str:
        """The number of epochs, and what the last one gave."""
        if not self.records:
            return "History(no epochs)"
        last = self.records[-1]
        told = [f"{k} {spelled(last[k], '.4g')}" for k in MEANS if last.get(k) is not None]
        return f"History({len(self)} epochs, the last with {', '.join(told)})"


@dataclass(frozen=True)
class Fitting:
    """The loop of ``Model.fit``; its fields are the options there."""

    model: "Model"
    data: Any
    validation: Any
    vars: Sequence[str] | None
    batch_size: int
    shuffle: bool
    transform: Callable[[Batch], Batch] | None
    progress: bool
    generator: torch.Generator | None
    callbacks: tuple[Callable[..., None], ...]
    scalars: Mapping[str, Any]

    def run(self, epochs: int) -> History:
        """Train; the form of all data is checked before the first step."""
        whole("epochs", epochs, 0)
        whole("batch_size", self.batch_size, 1)
        self._check_scalars()
        for data in (self.data, self.validation):
            if isinstance(data, Iterator) and epochs > 1:
                raise DataError(
                    f"fit: a {type(data).__name__} gives its batches once, and there are {epochs} "
                    "epochs. Give a DataLoader."
                )
        train = self._batches(self.data, self.model.loss, training=True)
        held = None
        if self.validation is not None:
            held = self._batches(self.validation, self.model.test_loss, training=False)
        history = History()
        before = self.model.data_size
        self.model.data_size = train.rows if before is None else before
        line = ProgressLine(self.progress, epochs, train.rows)
        try:
            for epoch in range(1, epochs + 1):
                record = self._epoch(epoch, train, held, line)
                history.records.append(record)
                line.epoch(record)
                for callback in self.callbacks:
                    callback(self.model, record)
        finally:
            line.close()
            self.model.data_size = before
        return history

    def _epoch(
        self, epoch: int, train: Batches, held: Batches | None, line: ProgressLine
    ) -> dict[str, Any]:
        start, mean, rows = time.perf_counter(), Mean(), 0
        for batch in train:
            if self.transform is not None:
                batch = train.require(self.transform(batch))
            n = train.size(batch)
            mean.add(self._step(batch), n)
            rows += n
            line.step(epoch, rows)
        loss, inner = mean.value, {}
        if isinstance(loss, dict) and not isinstance(self.model.loss, Game):
            inner = {name: value for name, value in loss.items() if name}
            loss = loss.get("", math.nan)  # where only a discriminator has played
        return {
            "epoch": epoch,
            "loss": loss,
            "validation": None if held is None else self._evaluate(held),
            "seconds": time.perf_counter() - start,
            **inner,
        }

    def _step(self, batch: Batch) -> Any:
        """A step on a batch: of players who play in turn the next one's."""
        model, options = self.model, {"generator": self.generator, **self.scalars}
        if len(model.optimizers) == 1:
            return model.train(batch, **options)
        return model.play_next(batch, **options)

    def _evaluate(self, held: Batches) -> Any:
        """The mean test loss over the rows of held-out data."""
        scalars = {k: v for k, v in self.scalars.items() if k in inputs(self.model.test_loss)}
        mean = Mean()
        for batch in held:
            value = self.model.test(batch, generator=self.generator, **scalars)
            value = value[0] if isinstance(value, tuple) else value  # GAN: its own loss first
            if isinstance(value, Tensor) and value.dim():
                raise TrainingError(
                    f"{self.model.test_loss} has shape {tuple(value.shape)}; validation takes one "
                    "number. Write .mean() around it."
                )
            mean.add(value, held.size(batch))
        return mean.value

    def _batches(self, data: Any, loss: Any, *, training: bool) -> Batches:
        scheduled = {} if self.model.schedules is None else self.model.schedules.functions
        return Batches(
            data,
            loss,
            names=self.vars,
            scalars={**self.scalars, **scheduled},
            batch_size=self.batch_size,
            shuffle=self.shuffle and training,
            generator=self.generator,
            device=self.model.trained[0].device,
            extras=training and self.transform is not None,
        )

    def _check_scalars(self) -> None:
        known = dict.fromkeys([*inputs(self.model.loss), *inputs(self.model.test_loss)])
        for name in self.scalars:
            if name not in known:
                raise OptionError(
                    f"fit: {self.model.loss} has no parameter {name!r}, and fit no such option; "
                    f"{did_you_mean(name, [*known, *OPTIONS])}"
                )


class Mean:
    """The mean of values over rows; of dicts of values, of each entry over its rows."""

    def __init__(self) -> None:
        self._totals: dict[Any, Any] = {}  # stays on the device: no synchronisation per step
        self._rows: dict[Any, int] = {}

    def add(self, value: Any, rows: int) -> None:
        """A value of so many rows."""
        for name, v in value.items() if isinstance(value, dict) else [(None, value)]:
            self._totals[name] = self._totals.get(name, 0.0) + _wide(v) * rows
            self._rows[name] = self._rows.get(name, 0) + rows

    @property
    def value(self) -> Any:
        """The mean, a number or a dict of them."""
        means = {name: float(total) / self._rows[name] for name, total in self._totals.items()}
        return means[None] if None in means else means


def _wide(value: Tensor) -> Tensor:
    """At least single precision: a sum of many half precision numbers loses them."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
