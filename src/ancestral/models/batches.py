"""Batches from what a user has: a dict of tensors, a tuple with names, or a loader of either."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ancestral.core.errors import DataError, MissingVariableError, OptionError, did_you_mean
from ancestral.core.names import as_names, listing
from ancestral.losses import Node
from ancestral.losses.scope import inputs

Batch = dict[str, Any]


class Batches:
    """The batches of one pass over the data, as dicts on one device; iterate once per epoch.

    Args:
        data: A dict of tensors, tensors in a tuple, or an iterable of such batches.
        loss: What is evaluated on them: it says which variables are needed.
        names: Names of the tensors of a tuple.
        scalars: Names that the caller gives apart.
        batch_size: Rows per batch, for tensors; an iterable brings its own.
        shuffle: Draw a new order of rows each time, for tensors.
        generator: Source of randomness of that order.
        device: Where the batches go.
        extras: Keep the entries that the loss does not need, for a transform.

    Raises:
        DataError: If the data is in no such form, is empty, or its rows do not fit.
        MissingVariableError: If a variable that the loss needs is not in it.
    """

    def __init__(
        self,
        data: Any,
        loss: Node,
        *,
        names: Sequence[str] | None,
        scalars: Iterable[str],
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        device: torch.device,
        extras: bool,
    ) -> None:
        self.loss, self.device, self.extras = loss, device, extras
        self.names = None if names is None else as_names(names, "vars")
        self.needed = [n for n in inputs(loss) if n not in set(scalars)]
        self.batch_size, self.shuffle, self.generator = batch_size, shuffle, generator
        self.tensors: Batch | None = None
        self.source: Iterable[Any] = ()
        self.rows: int | None = None
        if isinstance(data, Mapping) or (self.names and isinstance(data, (tuple, list))):
            self.tensors = self._named(data)
            self.rows = self._count(self.tensors)
        elif isinstance(data, Iterable) and not isinstance(data, (tuple, list, Tensor, Dataset)):
            self.source = data
            inner: Any = getattr(data, "dataset", None)
            self.rows = len(inner) if hasattr(inner, "__len__") else None
        else:
            raise DataError(self._forms(data))

    def __iter__(self) -> Iterator[Batch]:
        """Each batch as a dict."""
        found = False
        for batch in self._slices() if self.tensors is not None else map(self._named, self.source):
            found = True
            yield {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        if not found:
            raise DataError(
                "fit: the data gave no batch. It is empty, or an iterator that has been used up: "
                "give a DataLoader or a list in its place."
            )

    @staticmethod
    def size(batch: Mapping[str, Any]) -> int:
        """The number of rows of a batch: of the first variable of the loss that has rows.

        Raises:
            DataError: If it has none.
        """
        rows = next((r for v in batch.values() if (r := _rows(v)) is not None), 1)
        if not rows:
            raise DataError("fit: a batch has no rows. Leave it out, e.g. with drop_last=True.")
        return rows

    def require(self, batch: Any) -> Batch:
        """What the loss needs of a batch.

        Raises:
            MissingVariableError: If a variable is not there.
        """
        if not isinstance(batch, Mapping):
            raise DataError(
                "fit: transform must return the batch, a dict of tensors; it returned "
                f"{type(batch).__name__}."
            )
        missing = [n for n in self.needed if n not in batch]
        if missing:
            hint = did_you_mean(missing[0], list(batch))
            raise MissingVariableError(
                f"fit: {self.loss} needs {listing(missing)}; the data has "
                f"{listing(list(batch))}.{f' {hint}' if hint.startswith('did') else ''}"
            )
        return {n: _value(n, batch[n]) for n in self.needed}

    def _named(self, batch: Any) -> Batch:
        if isinstance(batch, Mapping):
            named = dict(batch)
        elif isinstance(batch, (tuple, list)) and self.names:
            if len(batch) < len(self.names):
                raise DataError(
                    f"fit: vars={self.names} names {len(self.names)} tensors, got {len(batch)}."
                )
            named = dict(zip(self.names, batch, strict=False))
        else:
            raise DataError(self._forms(batch))
        return named if self.extras else self.require(named)

    def _count(self, tensors: Batch) -> int:
        """The rows of tensors in memory; entries that the loss does not need have no say."""
        asked = [n for n in self.needed if n in tensors] or list(tensors)
        sizes = {n: rows for n in asked if (rows := _rows(tensors[n])) is not None}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{n} {rows}" for n, rows in sizes.items())
            raise DataError(
                f"fit: the tensors have different numbers of rows: {told}. Give them the same "
                "rows, or a DataLoader whose batches say which rows go together."
            )
        rows = next(iter(sizes.values()), 0)
        if not rows:
            raise DataError("fit: the data has no rows; it is empty.")
        return rows

    def _slices(self) -> Iterator[Batch]:
        assert self.tensors is not None
        assert self.rows is not None
        order = self._order() if self.shuffle else None
        for start in range(0, self.rows, self.batch_size):
            stop = start + self.batch_size
            yield {
                k: self._slice(v, slice(start, stop) if order is None else order[start:stop])
                for k, v in self.tensors.items()
            }

    def _order(self) -> Tensor:
        assert self.rows is not None
        device = "cpu" if self.generator is None else self.generator.device
        return torch.randperm(self.rows, generator=self.generator, device=device)

    def _slice(self, value: Any, rows: slice | Tensor) -> Any:
        if _rows(value) != self.rows:
            return value  # a number, or an entry that only a transform may read
        return value[rows.to(value.device) if isinstance(rows, Tensor) else rows]

    def _forms(self, got: Any) -> str:
        kind = type(got).__name__
        if isinstance(got, Dataset):
            return f"fit: got a {kind}. Wrap it: DataLoader(data, batch_size=128, shuffle=True)."
        names = self.needed or ["x"]
        pairs = ", ".join(f"{n!r}: {n}" for n in names)
        return (
            f"fit: a batch must name its variables, got a {kind}. Give fit({{{pairs}}}, ...), or "
            f"fit(({', '.join(names)}{',' if len(names) == 1 else ''}), ..., vars={tuple(names)})."
        )


def _rows(value: Any) -> int | None:
    return len(value) if isinstance(value, Tensor) and value.dim() else None


def _value(name: str, value: Any) -> Any:
    if isinstance(value, Tensor) or (
        isinstance(value, (int, float)) and not isinstance(value, bool)
    ):
        return value
    raise DataError(
        f"fit: {name} must be a tensor, got {type(value).__name__}. Wrap it in "
        "torch.as_tensor(...)."
    )


def whole(name: str, value: Any, least: int) -> int:
    """A whole number that an option was given.

    Raises:
        OptionError: If it is none, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"fit: {name}={value!r} must be a whole number >= {least}.")
    return value
