r"""Contract checks of products of laws, :math:`p(x,z) = p(x|z)\,p(z)`, and of their marginals.

The density is the product of the factors', draws are made factor by factor, parents first, and
density and draws belong together by Stein's identity.
"""

import torch
from torch import Tensor

from ancestral.distributions.base import Distribution
from ancestral.distributions.eager import parents_first
from ancestral.testing.case import (
    DRAWS,
    Check,
    LawCase,
    has_draws,
    is_law,
    is_reparametrised,
    require,
    same,
)


def has_joint_density(case: LawCase) -> bool:
    """Products of laws with densities, none of whose variables is integrated out."""
    law = case.build()
    return not is_law(case) and not law.integrated and all(f.law.has_density for f in law.factors)


def is_product(case: LawCase) -> bool:
    """Laws of several factors that can be drawn from."""
    return not is_law(case) and len(case.build().factors) > 1


def _drawn(law: Distribution, inputs: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = law.sample(inputs, batch_n=_rows(inputs, count))
    return found


def _rows(inputs: dict[str, Tensor], count: int) -> int:
    """The rows of the conditions; as many as that, where there are none."""
    return len(next(iter(inputs.values()))) if inputs else count


def density_is_the_product_of_the_factors(case: LawCase) -> None:
    """The log density is the sum of the factors', each at its own variables."""
    law = case.build()
    values = _drawn(law, case.inputs(law), 5)
    terms = [
        f.law.get_log_prob(
            {
                own: values[name]
                for own, name in zip(
                    (*f.law.var, *f.law.cond_var), (*f.var, *f.cond_var), strict=True
                )
            }
        )
        for f in law.factors
    ]
    same(law.get_log_prob(values), sum(terms, torch.zeros(())), "the log density")


def draws_are_made_parents_first(case: LawCase) -> None:
    """A draw is one of each factor in turn, at what its parents have drawn; hidden ones too."""
    law = case.build()
    inputs = case.inputs(law)
    torch.manual_seed(3)
    found = _drawn(law, inputs, 7)
    wanted = set(law.var) | set(inputs)
    require(set(found) == wanted, f"a draw has {sorted(found)}, should have {sorted(wanted)}")
    torch.manual_seed(3)
    values, rows = dict(inputs), _rows(inputs, 7)
    for f in parents_first(law.factors):
        given = {own: values[name] for own, name in zip(f.law.cond_var, f.cond_var, strict=True)}
        drawn = f.law.sample(given, batch_n=rows)
        values |= {name: drawn[own] for own, name in zip(f.law.var, f.var, strict=True)}
    for name in law.var:
        same(found[name], values[name], f"the draw of {name}")


def density_and_draws_belong_together(case: LawCase) -> None:
    r"""Stein's identity :math:`E[\nabla_v \log p\,(v' - c)] = -1[v = v']`, all pairs of entries.

    Over 20000 draws, within 5 standard errors: a factor that is drawn at other conditions than its
    density has shows as soon as it moves an entry of the identity by 0.04 standard deviations of
    the product.
    """
    law = case.build().double()
    values = {k: v.double().requires_grad_() for k, v in _drawn(law, {}, DRAWS).items()}
    names = list(law.var)
    slopes = torch.autograd.grad(law.get_log_prob(values).sum(), [values[n] for n in names])
    score = torch.cat([s.flatten(1) for s in slopes], 1)
    at = torch.cat([values[n].detach().flatten(1) for n in names], 1)
    products = score[:, :, None] * (at - at.mean(0))[:, None, :]
    error = products.mean(0) + torch.eye(at.shape[1], dtype=at.dtype)
    bound = 5 * products.std(0) / DRAWS**0.5
    worst = (error.abs() / bound).max().item()
    require(worst < 1, f"Stein's identity is off by {5 * worst:.1f} standard errors")


def _has_free_real_draws(case: LawCase) -> bool:
    return has_joint_density(case) and is_reparametrised(case) and not case.build().input_var


CHECKS = (
    Check(density_is_the_product_of_the_factors, has_joint_density),
    Check(draws_are_made_parents_first, lambda case: is_product(case) and has_draws(case)),
    Check(density_and_draws_belong_together, _has_free_real_draws),
)
