"""Contract checks: what every law and bijection must satisfy; shipped, so that you can test yours.

.. code-block:: python

    from ancestral.testing import check_distribution

    def test_my_law():
        check_distribution(MyLaw)

Densities are compared with integrals over their support, draws with their density, closed forms
with integrals and with draws. A statistical check fails by chance with a probability of at most
6e-7 for each number compared (5 standard errors); it says what discrepancy it would detect. Seeds
are fixed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ancestral.bijections import Bijection
from ancestral.distributions import Distribution
from ancestral.testing import axes, density, gradients, joint, objects, parts
from ancestral.testing.bijections import BIJECTION_CHECKS, BijectionCase
from ancestral.testing.case import Check, LawCase, cases_of

__all__ = [
    "BIJECTION_CHECKS",
    "LAW_CHECKS",
    "BijectionCase",
    "Check",
    "LawCase",
    "cases_of",
    "check_bijection",
    "check_distribution",
]

LAW_CHECKS: Mapping[str, Check] = {
    check.name: check
    for module in (density, gradients, parts, axes, objects, joint)
    for check in module.CHECKS
}


def check_distribution(
    family: type[Distribution],
    examples: Iterable[Mapping[str, Any]] | None = None,
    only: Iterable[str] | None = None,
) -> list[str]:
    """Run the contract checks on a family of laws.

    Args:
        family: The class.
        examples: Arguments of its constructor to try; ``family.examples()`` if not given. Of a law
            with conditions ``given`` has their values, one row each; of laws that are made from
            laws there are two or more, of values of one shape.
        only: Names of the checks to run; all of ``LAW_CHECKS`` if not given.

    Returns:
        The names of the checks that were run: those that can be asked of such a law.

    Raises:
        AssertionError: If one fails; it names the law, the check and both values.

    Example:
        >>> from ancestral.distributions import Normal
        >>> check_distribution(Normal, only=["density integrates to one"])
        ['density integrates to one']
    """
    names = list(LAW_CHECKS if only is None else only)
    run: dict[str, None] = {}
    for case in cases_of(family, examples):
        for name in names:
            check = LAW_CHECKS[name]
            if not check.applies(case):
                continue
            torch.manual_seed(0)
            try:
                check.run(case)
            except AssertionError as error:
                raise AssertionError(f"{case}: {name}: {error}") from error
            run[name] = None
    return list(run)


def check_bijection(
    kind: type[Bijection],
    examples: Iterable[Mapping[str, Any]] | None = None,
    only: Iterable[str] | None = None,
) -> list[str]:
    """Run the contract checks on a kind of bijection.

    Args:
        kind: The class.
        examples: Arguments of its constructor to try; ``kind.examples()`` if not given.
        only: Names of the checks to run; all of ``BIJECTION_CHECKS`` if not given.

    Returns:
        The names of the checks that were run.

    Raises:
        AssertionError: If one fails; it names the bijection, the check and both values.

    Example:
        >>> from ancestral.bijections import Exp
        >>> check_bijection(Exp, only=["inverse undoes forward"])
        ['inverse undoes forward']
    """
    names = list(BIJECTION_CHECKS if only is None else only)
    for example in kind.examples() if examples is None else examples:
        case = BijectionCase(kind, example)
        for name in names:
            torch.manual_seed(0)
            try:
                BIJECTION_CHECKS[name](case)
            except AssertionError as error:
                raise AssertionError(f"{case}: {name}: {error}") from error
    return names
