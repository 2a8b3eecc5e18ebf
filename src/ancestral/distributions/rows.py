r"""Laws of whole batches: which given rows a product reads, and which of its factors are copies.

A data law has no second draw of a row, so that two copies of it in one product,
:math:`p_{data}(x)\,p_{data}(x_1)`, are two *different* rows of the batch; so are two copies of an
aggregate posterior :math:`q(z) = \int q(z|x)\,p_{data}(x)\,dx`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.core.errors import ShapeError
from ancestral.distributions.factor import Factor

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution


def originals(factors: Sequence[Factor]) -> dict[int, Factor]:
    """For each data factor, by its identity, the one that it is a copy of: often itself.

    Of several factors of one law that which has the law's own names is the original, else the
    first; a law that says where its rows are given reads these under any name.
    """
    found: dict[int, Factor] = {}
    for f in factors:
        if not f.law.is_data:
            continue
        mine = [g for g in factors if g.law is f.law]
        own = (g for g in mine if (g.given or g.var) == tuple(f.law.var))
        found[id(f)] = next(own, mine[0])
    return found


def given_names(factors: Iterable[Factor]) -> list[str]:
    """The data that a product's empirical laws read, each name once, in order."""
    factors = list(factors)
    first = originals(factors)
    names: list[str] = []
    for f in factors:
        if id(f) in first:
            names += first[id(f)].given or first[id(f)].var
        elif f.law.rearranged is not None:
            names += given_names(f.law.rearranged.factors)
    return list(dict.fromkeys(names))


def is_batch_level(dist: "Distribution") -> bool:
    """Whether a law is one of whole batches: of data rows, or of a rearrangement of rows."""
    return any(f.law.is_data or f.law.rearranged is not None for f in dist.factors)


def given_rows(
    factor: Factor, factors: Sequence[Factor], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The values of a data law: the rows as given; of its copies, each row's next ones.

    Raises:
        ShapeError: If there are not as many rows as copies.
    """
    original = originals(factors)[id(factor)]
    level = [f for f in factors if f.law is factor.law].index(factor)
    level -= [f for f in factors if f.law is factor.law].index(original)
    names = zip(factor.var, original.given or original.var, strict=True)
    if not level:
        return {v: inputs[name] for v, name in names}
    found: dict[str, Tensor] = {}
    for v, name in names:
        rows = inputs[name].shape[0]
        if level % rows == 0:
            raise few_rows(factor, rows)
        found[v] = inputs[name].roll(-level, 0)
    return found


def few_rows(factor: Factor, rows: int) -> ShapeError:
    """The error of a batch that has no second row for a copy."""
    return ShapeError(
        f"{factor.text} is a copy of a law of given rows: copies are different rows, but the batch "
        f"has {rows}. Give more rows."
    )


def noise_shape(value: Tensor, dim: int, event: int, *, permuted: bool) -> tuple[int, ...]:
    """The shape of the uniform noise: one number for each row, or for each entry of it."""
    each = value.shape[value.dim() - event :].numel() if permuted else ()
    return (value.shape[dim], *((each,) if permuted else ()))


def taken_apart(value: Tensor, noise: Tensor, dim: int, event: int) -> Tensor:
    """Each entry of a row from another row.

    Args:
        value: The rows along ``dim``, the event in the last ``event`` dimensions.
        noise: Uniform numbers, of shape ``(rows,)`` for shifts that differ, or
            ``(rows, entries)`` for a permutation of each column.
        dim: The dimension of the rows.
        event: The number of event dimensions.

    Raises:
        ShapeError: If there are fewer rows than entries, and shifts cannot differ.

    Example:
        >>> rows = torch.arange(8.0).reshape(4, 2)
        >>> taken_apart(rows, torch.tensor([0.3, 0.1, 0.9, 0.8]), 0, 1)
        tensor([[2., 1.],
                [4., 3.],
                [6., 5.],
                [0., 7.]])
    """
    rows, shape = value.shape[dim], value.shape
    flat = value.flatten(value.dim() - event) if event else value.unsqueeze(-1)
    entries = flat.shape[-1]
    if noise.dim() > 1:
        index = noise.argsort(0)
    elif entries > rows:
        raise ShapeError(
            f"the entries of a factorised law come from different rows: {entries} entries need as "
            f"many rows, but the batch has {rows}. Give more rows, or choose .estimate({{law: "
            "Permuted()}), which is biased by the order of one over the rows."
        )
    else:
        at = torch.arange(rows, device=value.device)
        index = (at[:, None] + noise.argsort()[:entries]) % rows
    index = index.reshape(rows, *(1,) * (flat.dim() - dim - 2), entries)
    return flat.gather(dim, index.expand_as(flat)).reshape(shape)
