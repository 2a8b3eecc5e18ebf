"""A law with example arguments, as the contract checks see it, and how they compare."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions import Law
from ancestral.distributions.base import Distribution
from ancestral.distributions.noise import kinds
from ancestral.testing.fixed import Fixed

GIVEN = "given"  # of an example: the values of conditions
FALSE_ALARM = 6e-7  # of a statistical check: 5 standard errors
DRAWS = 20_000


@dataclass(frozen=True)
class LawCase:
    """A family of laws with one set of example arguments.

    Args:
        family: The class.
        example: What its constructor is given, parameters as tensors; and under ``given`` the
            values of its conditions, one row each.
        beside: Another example of the family, of values of the same shape.
    """

    family: type[Any]
    example: Mapping[str, Any]
    beside: Mapping[str, Any] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor is given."""
        return {k: v for k, v in self.example.items() if k != GIVEN}

    @property
    def composite(self) -> bool:
        """Whether it is made from laws, networks or functions that have its parameters."""
        return not issubclass(self.family, Law) or self.family.composite

    @property
    def params(self) -> dict[str, Tensor]:
        """The parameters among the arguments."""
        own = {} if self.composite else self.family.domains
        return {k: v for k, v in self.arguments.items() if k in own}

    @property
    def options(self) -> dict[str, Any]:
        """The other arguments."""
        return {k: v for k, v in self.arguments.items() if k not in self.params}

    def inputs(self, law: Distribution) -> dict[str, Tensor]:
        """Values of all that a law of the case must be given to be drawn from."""
        given, usual = self.example.get(GIVEN, {}), torch.linspace(-1.0, 1.0, 6).reshape(2, 3)
        return {name: given.get(name, usual) for name in law.input_var}

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
        given = copy.deepcopy(self.arguments) if self.composite else self.arguments
        law: Law = self.family(**{**given, **changes})
        return law

    def other(self) -> "LawCase":
        """Another law of the family, whose support holds that of the case."""
        if not self.composite:
            return LawCase(self.family, {**self.example, **another(self)})
        require(
            self.beside is not None,
            "a law that is made from laws is compared with another of its family: give it two "
            "examples at least, of values of one shape",
        )
        assert self.beside is not None
        return LawCase(self.family, self.beside, self.example)

    def law(self, dtype: torch.dtype = torch.float64, **changes: Any) -> Law:
        """The law with its parameters as constants of a dtype, its conditions fixed."""
        if self.composite:
            law = self.build(**changes)
            alone = not law.cond_var and law.density_net is None
            return (law if alone else Fixed(law, self.inputs(law))).to(dtype)
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


def cases_of(
    family: type[Any], examples: Iterable[Mapping[str, Any]] | None = None
) -> list[LawCase]:
    """The cases of a family, each beside the one before it.

    Args:
        family: The class.
        examples: Its examples; ``family.examples()`` if not given.

    Raises:
        AssertionError: If there are none: a law that is not tried would pass.
    """
    every = list(getattr(family, "examples", list)() if examples is None else examples)
    require(
        every,
        f"{family.__name__} has no examples to try: write the classmethod examples(), or give "
        "examples=[{...}], arguments of the constructor.",
    )
    alone = len(every) < 2
    return [LawCase(family, e, None if alone else every[i - 1]) for i, e in enumerate(every)]


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


def is_law(case: LawCase) -> bool:
    """Laws of one factor, which have moves of their own: no joint laws."""
    return issubclass(case.family, Law)


def has_density(case: LawCase) -> bool:
    """Laws with parameters and a density."""
    family = case.family
    return is_law(case) and family.has_density and (bool(family.domains) or family.composite)


def has_parameters(case: LawCase) -> bool:
    """Laws with a density whose parameters are arguments of their own, not those of other laws."""
    return has_density(case) and not case.composite


def has_parts(case: LawCase) -> bool:
    """Laws that are made from laws, networks or functions, which have their parameters."""
    return case.composite


def has_draws(case: LawCase) -> bool:
    """Laws that can be drawn from at once."""
    return not is_law(case) or case.build().density_net is None


def by_chains(case: LawCase) -> bool:
    """Laws that are drawn from by chains, whose draws are as good as their number of steps."""
    return is_law(case) and not has_draws(case) and case.family.by_steps is not None


def has_density_and_draws(case: LawCase) -> bool:
    """Laws with parameters and a density that can be drawn from."""
    return has_density(case) and has_draws(case)


def is_reparametrised(case: LawCase) -> bool:
    """Laws whose draws are differentiable in their parameters."""
    return has_draws(case) and case.build().has_reparam


def has_fixed_noise(case: LawCase) -> bool:
    """Laws whose draws are a function of their parameters and of noise of a fixed kind."""
    return has_draws(case) and all(
        bool(kinds(f.law.moves)) for f in case.build().factors if f.law.is_random
    )


def has_distribution_function(case: LawCase) -> bool:
    """Laws with a distribution function that can be evaluated."""
    return has_density(case) and hasattr(case.law().moves, "log_cdf")


def has_values(case: LawCase) -> bool:
    """Discrete laws, whose values can be listed."""
    return has_density(case) and hasattr(case.law().moves, "values")


def has_move(law: Distribution, which: str) -> bool:
    """Whether a law has a function, such as ``log_cdf``, that can be evaluated."""
    return isinstance(law, Law) and hasattr(law.moves, which)


def some_values(law: Law, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values of a law without conditions: draws, or numbers if it cannot be drawn from."""
    if law.moves.noise is not None:
        return law.sample(batch_n=count)[law.var[0]]
    size = law.features_shape.numel()
    steps = torch.linspace(-0.8, 1.1, count * size, dtype=dtype)
    return steps.reshape(count, *law.features_shape)


def slopes(value: Tensor, theta: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The derivatives of a number, zero where it does not depend on a tensor."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(t) for t in theta.values())
    tensors = list(theta.values())
    return torch.autograd.grad(value, tensors, retain_graph=True, materialize_grads=True)


def require(holds: object, message: str) -> None:
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
