r"""Plans for laws of whole batches: which rows an expectation over several of them pairs.

:math:`E_{p(x)p(x_1)}[k(x, x_1)]` over data, or over draws of one batch, is estimated by
:math:`\frac{1}{n(n-1)}\sum_{i\ne j} k(x_i, x_j)`, the U-statistic, or by the mean over disjoint
pairs. Both are unbiased; the pairs i = j would make it biased.

Source: Gretton et al., A kernel two-sample test (2012), lemma 6.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class RowPlan:
    """A choice of rows, attached to a law by ``loss.estimate({law: ...})``."""

    how: ClassVar[str] = "rows"
    draws: ClassVar[None] = None


@dataclass(frozen=True)
class Pairs(RowPlan):
    r"""All pairs of rows in an expectation over several laws, where it leaves no row free.

    Copies of the law, made by ``replace_var``, are one draw at different rows, i != j. An
    independent law beside it is paired with it in all ways. Without this plan copies of data are
    paired so, and other laws are drawn anew, row by row.

    Args:
        disjoint: Copies are taken from n/2 pairs of rows that share none: less work, more noise.

    Example:
        >>> import torch
        >>> from ancestral.distributions import EmpiricalDistribution
        >>> from ancestral.losses import E, values
        >>> data = EmpiricalDistribution(["x"])
        >>> loss = E(data * data.replace_var(x="x1"), (values("x") - values("x1")) ** 2 / 2)
        >>> x = torch.tensor([1.0, 2.0, 4.0, 9.0])
        >>> loss.eval({"x": x}), x.var()
        (tensor(12.6667), tensor(12.6667))
        >>> loss.estimate({data: Pairs(disjoint=True)}).eval({"x": x})
        tensor(14.5000)
    """

    disjoint: bool = False


@dataclass(frozen=True)
class Permuted(RowPlan):
    """Each column of a factorised law from a permutation of the rows of its own.

    It may take several columns from one row: its bias is of the order of one over the rows. It is
    that of Kim and Mnih, Disentangling by factorising (2018), algorithm 1.
    """
