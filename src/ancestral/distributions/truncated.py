r"""Laws on an interval, :math:`p(x) \propto g(x)\,[a \le x \le b]`, of any law of numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import ParameterError
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.constraints import Constraint
from ancestral.distributions.eager import params_of
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.gumbel import Gumbel
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal
from ancestral.distributions.truncated_moves import ENDS, truncated_moves

NEEDED = ("log_cdf", "log_sf", "icdf")


class Truncated(Law):
    r"""A law on an interval, :math:`\log p(x) = \log g(x) - \log(G(b) - G(a))` for
    :math:`a \le x \le b`, with independent components.

    It takes any law of numbers or counts that has a distribution function and its inverse; of
    counts both ends belong to it. Draws are quantiles, with the pathwise gradient if the law's
    have one. Of numbers, mean, variance and entropy are integrals, to 1e-10 where
    distribution functions have as many digits; counts have none. (Variances of more than 1e125, of
    log-normal laws with a scale from 15 on, count as infinite; an entropy is NaN where quantiles
    underflow.) For a normal law :class:`TruncatedNormal`
    is faster, and exact for intervals that are narrow too, where a difference of distribution
    functions loses digits.

    Args:
        law: The law g before truncation; its variable, conditions and network stay.
        low: Lower end a: a number, a tensor, an ``nn.Parameter``, or the name of a condition;
            none if not given.
        high: Upper end b > a, likewise.
        name: How it prints; as the law if not given.
        cond_var: Names of conditions that are ends.

    Raises:
        ParameterError: If the law has no distribution function or no inverse of it, or neither
            end is given.
        SupportError: If the ends are not in order.

    Example:
        >>> p = Truncated(Gumbel(loc=0.0, scale=1.0, name="g"), low=10.0, name="p")
        >>> str(p).splitlines()[1].strip()
        'p(x) ∝ g(x) [10 ≤ x ≤ inf]'
        >>> p.get_log_prob({"x": torch.tensor([10.0, 12.0])})
        tensor([-2.2700e-05, -2.0000e+00])
    """

    composite = True
    domains = ENDS
    increasing = ("lower", "upper")
    noise = "uniform"

    def __init__(
        self,
        law: Distribution,
        low: Parameter = None,
        high: Parameter = None,
        name: str | None = None,
        *,
        cond_var: Sequence[str] = (),
    ) -> None:
        factor = _truncatable(law)
        if low is None and high is None:
            raise ParameterError(
                f"Truncated({law.name}): give an end, low= or high=, or use {law.name} itself."
            )
        self._of = factor
        ends = {"lower": -torch.inf if low is None else low,
                "upper": torch.inf if high is None else high}  # fmt: skip
        names = list(dict.fromkeys([*factor.cond_var, *cond_var]))
        shape = factor.law.declared_shape
        super().__init__(factor.var, names, name or law.name, shape or None, None, ends)
        self.law = factor.law

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A normal law on an interval, and the upper tail of a Gumbel law from a condition on."""
        loc, scale = torch.tensor([[0.1, -2.0, 0.5], [0.8, 0.7, 0.5]], dtype=torch.float64)
        return [
            {"law": Normal(loc=loc, scale=scale), "low": -1.5, "high": 1.1},
            {
                "law": Gumbel(loc=loc, scale=scale),
                "low": "a",
                "cond_var": ["a"],
                "given": {"a": torch.tensor([[2.5, 1.8, -0.3]])},
            },
        ]

    @property
    def moves(self) -> type[Law]:
        """Those of the law, on the interval."""
        base: Any = self._of.law.moves
        return truncated_moves(base, _is_counting(self._of.law))

    @property
    def is_complete(self) -> bool:
        """Not: the law's parameters come from the law."""
        return False

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters of the law before truncation."""
        return params_of(self._of, [conditions[c] for c in self._of.cond_var])

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """The parameters of the law, and the ends."""
        local = dict(zip(self._cond_var, conditions, strict=True))
        out: Params = dict(self(**local))
        for key in ENDS:
            bound = self.bound.get(key)
            out[key] = local[bound] if bound else self.numbers.get(key, getattr(self, key, None))
        return out

    def support(self, params: Params) -> Constraint | None:
        """The interval, as far as the law reaches."""
        low, high = torch.as_tensor(params["lower"]), torch.as_tensor(params["upper"])
        own = {k: v for k, v in params.items() if k not in ENDS}
        inner = self._of.law.support(own)

        def holds(x: Tensor) -> Tensor:
            inside = (x >= low) & (x <= high)
            return inside if inner is None else inside & inner.holds(x)

        listed = None if inner is None or inner.listed is None else _listed(inner, low, high)
        return Constraint(
            "inside of the law's interval", holds, of_real=_onto(low, high), listed=listed
        )

    @property
    def formula(self) -> Formula:
        r""":math:`g(x) [a \\le x \\le b]`."""
        f = self._of
        ends = [self.bound.get(k, self.numbers.get(k, k)) for k in ENDS]
        return Formula(
            [Term([Atom(f.law.name, f.var, f.cond_var)])], True, (f.var[0], ends[0], ends[1])
        )


def _listed(inner: Constraint, low: Tensor, high: Tensor) -> Callable[[int, int], Tensor]:
    """The first values of a law of counts, those outside of all intervals left out."""
    every = inner.listed
    assert every is not None

    def listed(count: int, size: int) -> Tensor:
        found = every(count, size)
        return found[(found >= low.min()) & (found <= high.max())]

    return listed


def _onto(low: Tensor, high: Tensor) -> Callable[[Tensor], Tensor]:
    """A map of the real numbers onto an interval."""

    def onto(t: Tensor) -> Tensor:
        if bool(high.isinf().all()):
            return low + t.exp()
        if bool(low.isinf().all()):
            return high - t.exp()
        return low + (high - low) * t.sigmoid()

    return onto


def _is_counting(law: Law) -> bool:
    """Whether values are whole numbers."""
    support = law.support({key: 1.0 for key in law.moves.domains})
    return support is not None and support.listed is not None


def _truncatable(law: Distribution) -> Factor:
    single = isinstance(law, Distribution) and len(law.factors) == 1 and not law.integrated
    if not single or law.factors[0].copies or law.factors[0].law.pushforward is not None:
        told = law.prob_text if isinstance(law, Distribution) else type(law).__name__
        raise ParameterError(f"Truncated takes one law with a distribution function, not {told}.")
    factor = law.factors[0]
    moves = factor.law.moves
    missing = [which for which in NEEDED if not hasattr(moves, which)]
    if missing or moves.value_dims:
        raise ParameterError(
            f"Truncated({factor.text}): a {factor.law.distribution_name} has no "
            f"{' and no '.join(missing) or 'numbers as values'}, so that neither the mass of an "
            "interval nor its draws can be computed. Condition by rejection: draw, and keep what "
            "lies inside."
        )
    return factor
