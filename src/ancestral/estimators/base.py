"""What an estimator is: how a draw is made, and the term that gives its gradient."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ancestral.core.errors import OptionError


@dataclass(frozen=True)
class Estimator:
    """How the gradient to a law's parameters is found.

    ``how`` says how a draw is made: ``path`` (a differentiable function of the parameters),
    ``cut`` (its gradient is cut, and :meth:`surrogate` gives it back), ``table`` (every value
    stands once, weighted by its probability), ``through`` (a discrete value with the gradient
    of its relaxation, which is biased), ``relaxed`` (the relaxation in its place, biased, too) or
    ``versions`` (several values along an axis: the first is the draw, the estimator weighs all).
    """

    how: ClassVar[str] = "path"
    biased: ClassVar[bool] = False  # whether its mean is another gradient, and prints so
    cuts_own: ClassVar[bool] = False  # whether the density of its own draw has no parameters
    discrete: ClassVar[bool] = False  # whether its versions are those of discrete laws
    relaxes: ClassVar[bool] = False  # whether the integrand sees values between the law's own
    over_copies: ClassVar[bool] = False  # whether it sees the log weight of each copy of a bound
    draws: int | None = None

    def __post_init__(self) -> None:
        """Raise if the number of draws is none."""
        number = isinstance(self.draws, int) and not isinstance(self.draws, bool)
        if self.draws is not None and not (number and self.draws > 0):
            raise OptionError(
                f"{type(self).__name__}(draws={self.draws!r}): give a whole number >= 1."
            )

    def serves(self, moves: type) -> bool:
        """Whether it has versions of the draws of laws with these moves."""
        return False

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks that it trains: whoever trains the law trains them."""
        return ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The variables that it names."""
        return ()

    def surrogate(self, f: Tensor, log_q: Tensor, axis: int | None) -> Tensor:
        """A tensor with the value of ``f`` and the estimator's gradient.

        Args:
            f: The integrand at the draws.
            log_q: The log density of the draws, differentiable, broadcastable to ``f``.
            axis: The dimension of ``f`` that counts draws, or ``None`` for a single one.
        """
        return f


def check_temperature(estimator: Any) -> None:
    """Raise if the temperature of a relaxation is no positive number."""
    found = estimator.temperature
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not number or not 0 < found < math.inf:
        raise OptionError(
            f"{type(estimator).__name__}(temperature={found!r}): give a positive number, e.g. 0.5."
        )
