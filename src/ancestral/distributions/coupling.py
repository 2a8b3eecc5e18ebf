r"""Couplings of two laws over the rows of a batch, :math:`\pi(x_0, x_1)` with both as marginals.

Rows of the first are matched to rows of the second. The optimal matching moves as little as
possible, :math:`\min_\sigma \sum_i \lVert x_{0,\sigma(i)} - x_{1,i}\rVert^2`, so that paths between
matched rows hardly cross: what flow matching with minibatch optimal transport draws from.

Source: Tong et al., Improving and generalizing flow-based generative models with minibatch optimal
transport, 2024, section 3.2; the assignment: Jonker and Volgenant, A shortest augmenting path
algorithm, 1987.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ancestral.core.errors import OptionError, ShapeError, VariableError
from ancestral.distributions.law import Law

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution

Match = Callable[[Tensor, Tensor], Tensor]  # which row of the first goes to each row of the second


@dataclass(frozen=True)
class _Matching:
    """The rows of one value in the order in which they go with those of another."""

    match: Match
    text: str

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Rows of the first, shape ``(rows, *event)``, for those of the second."""
        if first.shape[0] != second.shape[0]:
            raise ShapeError(
                f"{self.text}: {first.shape[0]} rows are to be matched with {second.shape[0]}. "
                "Give as many."
            )
        with torch.no_grad():
            order = self.match(first, second)
        return first[order]


class _Coupled(Law):
    """The law of the rows of two independent laws, matched."""

    is_random = False
    has_density = False
    reparametrised = True
    several = True

    def __init__(self, inner: "Distribution", match: Match, name: str) -> None:
        super().__init__(inner.var, inner.cond_var, name, None, None, {})
        self.inner = inner
        self.match = match
        self.couple = _Matching(match, self.prob_text)

    @property
    def rearranged(self) -> "Distribution":  # type: ignore[override]
        """The laws whose rows are matched."""
        return self.inner


def Coupling(first: "Distribution", second: "Distribution", match: Match, name: str = "pi") -> Law:
    """The law of the rows of two laws that are matched by a function of the whole batch.

    Args:
        first: A law of one variable, whose rows are put into another order.
        second: A law of another variable, often of the data.
        match: Of values ``(rows, *event)`` of both, the index of the row of the first for each row
            of the second: a permutation. It runs without gradient.
        name: How it prints.

    Raises:
        VariableError: If a law is of several variables.
        OptionError: If the match is no function.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> noise = Normal(var=["x0"], loc=0.0, scale=1.0, features_shape=[2])
        >>> data = EmpiricalDistribution(["x1"])
        >>> by_first = lambda a, b: a[:, 0].argsort()[b[:, 0].argsort().argsort()]
        >>> pi = Coupling(noise, data, by_first)
        >>> pi.prob_text
        'pi(x0,x1)'
    """
    for law in (first, second):
        if len(law.var) != 1:
            raise VariableError(
                f"a coupling takes laws of one variable each; {law.prob_text} is one of "
                f"{len(law.var)}. Take a marginal, with marginalize_var(...)."
            )
    if not callable(match):
        raise OptionError(f"match={match!r} of a coupling must be a function of two values.")
    return _Coupled(first * second, match, name)


def OTCoupling(first: "Distribution", second: "Distribution", name: str = "pi") -> Law:
    r"""The coupling of two laws by optimal transport of the rows of each batch.

    Args:
        first: A law of one variable, e.g. of noise; its rows are put into the optimal order.
        second: A law of another variable of the same event shape, e.g. of the data.
        name: How it prints.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution
        >>> p_a, p_b = EmpiricalDistribution(["a"], "p_a"), EmpiricalDistribution(["b"], "p_b")
        >>> pi = OTCoupling(p_a, p_b)
        >>> a, b = torch.tensor([[5.0], [0.0], [9.0]]), torch.tensor([[1.0], [8.0], [4.0]])
        >>> pi.sample({"a": a, "b": b})["a"].flatten()
        tensor([0., 9., 5.])
    """
    return Coupling(first, second, optimal, name)


def optimal(first: Tensor, second: Tensor) -> Tensor:
    """For each row of the second, the row of the first that the optimal assignment gives it."""
    a, b = (v.detach().flatten(1).double().cpu() for v in (first, second))
    cost = torch.cdist(b, a).square().numpy()
    return torch.from_numpy(assignment(cost)).to(first.device)


def assignment(cost: np.ndarray) -> np.ndarray:
    """The column of each row in the assignment of least total cost.

    Args:
        cost: Shape ``(n, n)``.

    Example:
        >>> assignment(np.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]]))
        array([1, 0, 2])
    """
    n = len(cost)
    u, v = np.zeros(n + 1), np.zeros(n + 1)  # of rows, of columns; the last column is a stand-in
    row_of = np.full(n + 1, -1)
    for row in range(n):
        row_of[n], column = row, n
        least, come_from = np.full(n, np.inf), np.full(n, n)
        done = np.zeros(n + 1, dtype=bool)
        while row_of[column] >= 0:  # grow the tree of shortest paths until a column is free
            done[column], here = True, row_of[column]
            reduced = cost[here] - u[here] - v[:n]
            better = ~done[:n] & (reduced < least)
            least[better], come_from[better] = reduced[better], column
            open_ = np.where(done[:n], np.inf, least)
            nearest = int(open_.argmin())
            step = open_[nearest]
            u[row_of[done]] += step
            v[done] -= step
            least[~done[:n]] -= step
            column = nearest
        while column != n:  # turn the path around
            row_of[column] = row_of[come_from[column]]
            column = int(come_from[column])
    found = np.empty(n, dtype=np.int64)
    found[row_of[:n]] = np.arange(n)
    return found
