r"""The score-function estimator (REINFORCE),
:math:`\nabla E_q[f] = E_q[(f - b)\,\nabla\log q + \nabla f]`.

Sources: Williams (1992); the leave-one-out baseline: Kool, van Hoof and Welling, Buy 4 REINFORCE
Samples, Get a Baseline for Free! (2019), eq. 8.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class LeaveOneOut:
    r"""The mean of the other draws as baseline, :math:`b_i = \frac{1}{K-1}\sum_{j \ne i} f_j`.

    The others are those of the same row, with ``Score(LeaveOneOut(), draws=K)``; of one draw in
    each row, those of the other rows, where no row's integrand reads another's draw.
    """

    def __call__(self, f: Tensor, axis: int | None) -> Tensor:
        """The baseline of each draw."""
        draws = 1 if axis is None else f.shape[axis]
        if draws < 2:
            raise OptionError(
                "LeaveOneOut() needs at least two draws of the law: Score(LeaveOneOut(), draws=4), "
                "or a batch of at least two rows that do not read each other's draws."
            )
        assert axis is not None
        return (f.sum(axis, keepdim=True) - f) / (draws - 1)


@dataclass(frozen=True)
class Score(Estimator):
    """The score function of the law, with or without a baseline; for any law with a density.

    Args:
        baseline: ``LeaveOneOut()``, or ``None``.
        draws: How many draws estimate the expectation.
    """

    how: ClassVar[str] = "cut"
    baseline: LeaveOneOut | None = None
    draws: int | None = None

    def __init__(self, baseline: LeaveOneOut | None = None, draws: int | None = None) -> None:
        object.__setattr__(self, "baseline", baseline)
        object.__setattr__(self, "draws", draws)
        self.__post_init__()
        if baseline is not None and not isinstance(baseline, LeaveOneOut):
            raise OptionError(f"Score(baseline={baseline!r}): use LeaveOneOut() or None.")

    def surrogate(self, f: Tensor, log_q: Tensor, axis: int | None) -> Tensor:
        r"""``f`` with the gradient of :math:`(f - b)\log q` added, and its value left alone."""
        gain = f.detach()
        if self.baseline is not None:
            gain = gain - self.baseline(gain, axis)
        term = gain * log_q
        return f + (term - term.detach())
