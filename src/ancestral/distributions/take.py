"""Entries of sequences at times that are variables themselves."""

import re

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions.deterministic import Deterministic


def Take(name: str = "take", **entries: str) -> Deterministic:
    r"""The law of :math:`b_1 = b_{t_1},\ x_2 = x_{t_2}, \dots`: what sequences have at given times.

    Args:
        name: How it prints.
        entries: Each variable and where it comes from: ``b1="b[t1]"`` is the entry of b, shape
            ``(rows, T, *event)``, at the time t1 of the row, shape ``(rows,)``, counted from 0.

    Raises:
        OptionError: If an entry is not written so, or there is none.

    Example:
        >>> at = Take(x1="x[t1]", x2="x[t2]")
        >>> at.prob_text
        'take(x1,x2|x,t1,t2)'
        >>> x, t = torch.arange(12.0).reshape(2, 6), torch.tensor([0.0, 5.0])
        >>> at.sample({"x": x, "t1": t, "t2": t})["x1"]
        tensor([ 0., 11.])
    """
    found = {
        v: re.fullmatch(r"\s*([^\[\]]+?)\s*\[\s*([^\[\]]+?)\s*\]\s*", e)
        for v, e in entries.items()
    }
    wrong = [f"{v}={entries[v]!r}" for v, match in found.items() if match is None]
    if wrong or not found:
        raise OptionError(
            f"Take({', '.join(wrong)}): write each variable as the entry of a sequence at a time, "
            "e.g. Take(b1='b[t1]')."
        )
    places = {v: (match[1], match[2]) for v, match in found.items() if match is not None}
    sequences, times = zip(*places.values(), strict=True)
    conditions = list(dict.fromkeys((*sequences, *times)))
    return Deterministic(list(places), conditions, name, net=_Entries(places, conditions))


class _Entries(nn.Module):
    """The entries, by the names of their variables."""

    def __init__(self, places: dict[str, tuple[str, str]], conditions: list[str]) -> None:
        super().__init__()
        self.places, self.conditions = places, conditions

    def forward(self, *values: Tensor) -> dict[str, Tensor]:
        given = dict(zip(self.conditions, values, strict=True))
        return {v: entry(given[of], given[t], of, t) for v, (of, t) in self.places.items()}


def entry(x: Tensor, t: Tensor, name: str = "x", time: str = "t") -> Tensor:
    """The entry of each row at its own time.

    Args:
        x: Shape ``(rows, T, *event)``.
        t: Whole numbers, counted from 0, shape ``(rows,)``.
        name: How a message calls the sequence.
        time: How it calls the time.

    Returns:
        Shape ``(rows, *event)``.

    Raises:
        ShapeError: If the times are not one number for each row.
    """
    if t.dim() != 1 or x.dim() < 2:
        raise ShapeError(
            f"{name}[{time}]: {name} has shape {tuple(x.shape)} and {time} {tuple(t.shape)}. A "
            "sequence has the shape (rows, T, ...), and its time is one number for each row."
        )
    return x[torch.arange(len(x), device=x.device), t.long()]
