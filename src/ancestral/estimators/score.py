r"""The score-function estimator (REINFORCE),
:math:`\nabla E_q[f] = E_q[(f - b)\,\nabla\log q + \nabla f]`.

Of the integrand the score of a draw multiplies only the terms that read the draw, or others drawn
given it: the rest has the mean 0 beside it, and is left out. And where the density of the draw
itself is a term, times a number, its gradient is left out, :math:`E_q[\nabla\log q] = 0`: of a
divergence the gradient is 0 at every draw once q is p.

Sources: Williams (1992); the graph: Schulman, Heess, Weber and Abbeel, Gradient estimation using
stochastic computation graphs (2015), theorem 1; the leave-one-out baseline: Kool, van Hoof and
Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free! (2019), eq. 8.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.estimators.base import Estimator
from ancestral.estimators.baselines import Learned, MovingAverage, charged


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


Baseline = LeaveOneOut | MovingAverage | Learned


@dataclass(frozen=True)
class Score(Estimator):
    """The score function of the law, with or without a baseline; for any law with a density.

    Args:
        baseline: ``LeaveOneOut()``, ``MovingAverage()``, ``Learned(net)`` or ``None``.
        draws: How many draws estimate the expectation.
    """

    how: ClassVar[str] = "cut"
    baseline: Baseline | None = None
    draws: int | None = None

    def __init__(self, baseline: Baseline | None = None, draws: int | None = None) -> None:
        object.__setattr__(self, "baseline", baseline)
        object.__setattr__(self, "draws", draws)
        object.__setattr__(self, "biased", getattr(baseline, "normalise", False))
        self.__post_init__()
        if baseline is not None and not isinstance(baseline, Baseline):
            raise OptionError(
                f"Score(baseline={baseline!r}): use LeaveOneOut(), MovingAverage(), Learned(net) "
                "or None."
            )

    def __repr__(self) -> str:
        """The options that are given."""
        told = [] if self.baseline is None else [repr(self.baseline)]
        told += [] if self.draws is None else [f"draws={self.draws}"]
        return f"Score({', '.join(told)})"

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The network of its baseline."""
        return (self.baseline.net,) if isinstance(self.baseline, Learned) else ()

    @property
    def reads(self) -> tuple[str, ...]:
        """What its baseline is told to see."""
        return (self.baseline.cond_var or ()) if isinstance(self.baseline, Learned) else ()

    def surrogate(self, f: Tensor, log_q: Tensor, axis: int | None) -> Tensor:
        r"""``f`` with the gradient of :math:`(f - b)\log q` added, and its value left alone."""
        gain = f.detach()
        if isinstance(self.baseline, LeaveOneOut):
            gain = gain - self.baseline(gain, axis)
        term = gain * log_q
        return f + (term - term.detach())

    def with_moments(
        self, f: Tensor, log_q: Tensor, moments: Tensor, learned: Tensor | None
    ) -> Tensor:
        """The same with a baseline that steps hand on.

        Args:
            f: The integrand at the draws.
            log_q: The log density of the draws, differentiable, broadcastable to ``f``.
            moments: What the steps before have left.
            learned: What the network says, broadcastable to ``f``; its cost is added, as a zero.
        """
        assert isinstance(self.baseline, MovingAverage | Learned)
        left = self.baseline.left(self.baseline.signal(f, learned), moments)
        term = left.detach() * log_q
        out = f + (term - term.detach())
        return out if learned is None else out + charged(left.square())
