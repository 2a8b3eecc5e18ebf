"""A law with example arguments, as the contract checks see it, and how they compare."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions import Law

FALSE_ALARM = 6e-7  # of a statistical check: 5 standard errors
DRAWS = 20_000


@dataclass(frozen=True)
class LawCase:
    """A family of laws with one set of example arguments.

    Args:
        family: The class.
        arguments: What its constructor is given; parameters as tensors.
    """

    family: type[Law]
    arguments: Mapping[str, Any]

    @property
    def params(self) -> dict[str, Tensor]:
        """The parameters among the arguments."""
        own = {} if self.family.composite else self.family.domains
        return {k: v for k, v in self.arguments.items() if k in own}

    @property
    def options(self) -> dict[str, Any]:
        """The other arguments."""
        return {k: v for k, v in self.arguments.items() if k not in self.params}

    def core(self, key: str) -> int:
        """How many last axes of a parameter the density reduces."""
        cores = self.family.cores
        return len(cores[key]) if key in cores else self.family.param_dims

    @property
    def smooth(self) -> list[str]:
        """The parameters that are no whole numbers."""
        return [k for k in self.params if self.family.domains[k].listed is None]

    def build(self, **changes: Any) -> Law:
        """The law with some arguments changed."""
        make: Any = self.family
        given = copy.deepcopy(self.arguments) if self.family.composite else self.arguments
        law: Law = make(**{**given, **changes})
        return law

    def other(self) -> "LawCase":
        """Another law of the family, whose support holds that of the case."""
        if not self.family.composite:
            return LawCase(self.family, {**self.arguments, **another(self)})
        every = self.family.examples()
        mine = next(i for i, e in enumerate(every) if set(e) == set(self.arguments))
        return LawCase(self.family, every[mine - 1])

    def law(self, dtype: torch.dtype = torch.float64, **changes: Any) -> Law:
        """The law with its parameters as constants of a dtype."""
        if self.family.composite:
            return self.build(**changes).to(dtype)
        return self.build(**{**{k: v.to(dtype) for k, v in self.params.items()}, **changes})

    def bound(self) -> Law:
        """The law with its parameters as conditions: ``loc`` is the value of ``loc_``."""
        names = {k: f"{k}_" for k in self.params}
        return self.build(cond_var=list(names.values()), **names)

    def rows(self, count: int) -> dict[str, Tensor]:
        """Values for :meth:`bound`: the parameters in each of ``count`` rows."""
        return {f"{k}_": v.expand(count, *v.shape).clone() for k, v in self.params.items()}

    def __str__(self) -> str:
        """The law and the names of its arguments."""
        plain = (bool, int, float, str)
        given = [f"{k}={v}" if isinstance(v, plain) else k for k, v in self.arguments.items()]
        return f"{self.family.__name__}({', '.join(given)})"


@dataclass(frozen=True)
class Check:
    """One check of the contract.

    Args:
        run: Raises an ``AssertionError`` if a case does not pass.
        applies: Whether it can be asked of a case.
    """

    run: Callable[[LawCase], None]
    applies: Callable[[LawCase], bool]

    @property
    def name(self) -> str:
        """What it checks, in words: ``density integrates to one``."""
        return self.run.__name__.replace("_", " ")


def another(case: LawCase) -> dict[str, Tensor]:
    """Other parameters of the family, whose support holds that of the case.

    Those of other components, one of them twice: with each of them once, a term of the form
    f(p) - f(q) would cancel in the sum over components, whatever its sign.
    """
    params = {k: v[_others(len(v))] for k, v in case.params.items()}
    if case.family.increasing:  # ends of an interval: a longer one
        low, high = case.family.increasing[0], case.family.increasing[-1]
        params |= {low: case.params[low] - 0.5, high: case.params[high] + 0.7}
    return params


def _others(count: int) -> Tensor:
    index = torch.arange(count).roll(1)
    index[-1] = index[0]
    return index


def always(case: LawCase) -> bool:
    """Every law."""
    return True


def has_density(case: LawCase) -> bool:
    """Laws with parameters and a density."""
    return case.family.has_density and (bool(case.family.domains) or case.family.composite)


def has_parameters(case: LawCase) -> bool:
    """Laws with a density whose parameters are arguments of their own, not those of other laws."""
    return has_density(case) and not case.family.composite


def has_distribution_function(case: LawCase) -> bool:
    """Laws with a distribution function that can be evaluated."""
    return has_density(case) and hasattr(case.law().moves, "log_cdf")


def has_values(case: LawCase) -> bool:
    """Discrete laws, whose values can be listed."""
    return has_density(case) and hasattr(case.law().moves, "values")


def require(holds: bool | Tensor, message: str) -> None:
    """Raise if a condition does not hold."""
    if not bool(holds):
        raise AssertionError(message)


def close(found: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-6) -> None:
    """Raise if two tensors of one shape differ by more than rounding."""
    require(
        found.shape == wanted.shape,
        f"{what} has shape {tuple(found.shape)}, should be {tuple(wanted.shape)}",
    )
    if torch.allclose(found.double(), wanted.double(), rtol=tolerance, atol=tolerance):
        return
    gap = (found.double() - wanted.double()).abs().nan_to_num(torch.inf, torch.inf).flatten()
    pairs = [f"{found.flatten()[i]:.9g}, should be {wanted.flatten()[i]:.9g}"
             for i in gap.argsort(descending=True)[:3]]  # fmt: skip
    raise AssertionError(f"{what} of shape {tuple(found.shape)}: {'; '.join(pairs)}")


def same(found: Tensor, wanted: Tensor, what: str) -> None:
    """Raise if two tensors are not equal to the bit."""
    require(torch.equal(found, wanted), f"{what}: {found.tolist()}, should be {wanted.tolist()}")


def shaped(value: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Raise if a tensor has another shape."""
    require(tuple(value.shape) == shape, f"{what} has shape {tuple(value.shape)}, not {shape}")
