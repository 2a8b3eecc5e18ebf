"""Attaching gradient estimators to laws: the equation stays, the plan changes."""

from collections.abc import Mapping
from typing import Any

from ancestral.core.errors import OptionError, did_you_mean
from ancestral.distributions import Distribution, EnergyModel
from ancestral.losses.node import Node, Planned
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)


def drawn_factors(node: Any) -> list[Any]:
    """The factors of all laws that the loss draws from; the constant of an energy is an
    expectation, too.
    """
    found: list[Any] = []
    if isinstance(node, Expectation):
        found += node.law.factors
        inner = (f.law.rearranged for f in node.law.factors)
        found += [f for law in inner if law is not None for f in law.factors]
    elif isinstance(node, (LogProb, Prob)):
        found += _energies(node.law)
    elif isinstance(node, (KullbackLeibler, CrossEntropy)):
        found += [*node.q.factors, *_energies(node.p)]
    elif isinstance(node, Entropy):
        found += node.q.factors
    for child in node.children:
        found += drawn_factors(child)
    return found


def _energies(law: Distribution) -> list[Any]:
    return [f for f in law.factors if isinstance(f.law, EnergyModel)]


def attach(node: Any, choices: Mapping[Any, Any]) -> Node:
    """The loss with the estimators attached; keys are laws, or names that one law draws."""
    if not isinstance(choices, Mapping):
        raise OptionError(
            f"estimate takes a dict of laws and estimators, e.g. estimate({{q: Enumerate()}}); got "
            f"{choices!r}."
        )
    factors = drawn_factors(node)
    by_law: list[tuple[Any, Any]] = []
    for key, choice in choices.items():
        if isinstance(choice, type) and hasattr(choice, "how"):
            raise OptionError(
                f"estimate: {choice.__name__} is a class; write {choice.__name__}(), with its "
                "options in the brackets."
            )
        if not hasattr(choice, "how"):
            raise OptionError(
                f"estimate: {choice!r} is no estimator; use Pathwise(), Score(...) or Enumerate()."
            )
        if isinstance(key, Distribution):
            wanted = {id(f.law): f.law for f in key.factors}
            if not any(id(f.law) in wanted for f in factors):
                raise OptionError(f"estimate: the loss draws nothing from {key.prob_text}.")
        else:
            wanted = {id(f.law): f.law for f in factors if key in f.var}
            if not wanted:
                names = [v for f in factors for v in f.var]
                raise OptionError(
                    f"estimate: nothing draws {key!r}; {did_you_mean(str(key), names)}"
                )
            if len(wanted) > 1:
                told = ", ".join(law.prob_text for law in wanted.values())
                raise OptionError(f"estimate: {key!r} is drawn by {told}. Give the law instead.")
        by_law += [(law, choice) for law in wanted.values()]
    return Planned(node, tuple(by_law))
