"""Checks of derivatives: of the moves, of draws, and at the edge of what parameters may be."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import SamplingError
from ancestral.distributions.constraints import identity
from ancestral.testing.case import (
    DRAWS,
    Check,
    LawCase,
    close,
    has_density,
    has_values,
    require,
    same,
)

MOMENTS = ("mean_of", "variance_of", "entropy_of")


def derivatives_of_moves(case: LawCase) -> None:
    """Autograd through density, moments and draws agrees with finite differences."""
    law, names = case.law(), list(case.params)
    x = law.sample(batch_n=2)[law.var[0]]
    moves: dict[str, Callable[..., Any]] = {
        which: getattr(law.moves, which) for which in MOMENTS if hasattr(law.moves, which)
    }
    moves["log_density"] = lambda **params: law.moves.log_density(x, **params)
    if case.family.reparametrised:
        noise = torch.rand(2, *x.shape[1:], dtype=torch.float64)  # inside every kind's range
        moves["draw"] = lambda **params: law.moves.draw(noise, **params)
    theta = [case.params[k].clone().requires_grad_() for k in names]
    for which, move in moves.items():

        def function(*tensors: Tensor, move: Callable[..., Any] = move) -> Any:
            return move(**dict(zip(names, tensors, strict=True)))

        right = torch.autograd.gradcheck(
            function, theta, atol=1e-5, rtol=1e-4, raise_exception=False
        )
        require(right, f"the derivative of {which} is not that of finite differences")


def gradient_of_draws(case: LawCase) -> None:
    r"""Draws carry the pathwise gradient, or refuse to.

    :math:`\nabla_\theta E[x]` and :math:`\nabla_\theta E[x^2]` over 20000 rows against the
    derivatives of the moments: an error of 3.5 % of the standard deviation of one row's gradient
    would be detected.
    """
    law, rows = case.bound(), case.rows(DRAWS)
    if not case.family.reparametrised:
        return _refuses_gradient(case)
    require(not law.sample(rows)[law.var[0]].requires_grad, "reparam=False keeps a gradient")
    given = {k: v.requires_grad_() for k, v in rows.items()}
    x = law.sample(given, reparam=True)[law.var[0]]
    theta = {k: v.clone().requires_grad_() for k, v in case.params.items()}
    mean, variance = law.moves.mean_of(**theta), law.moves.variance_of(**theta)
    for power, moment in ((1, mean), (2, variance + mean**2)):
        found, exact = _slopes((x**power).sum(), given), _slopes(moment.sum(), theta)
        for name, one, wanted in zip(theta, found, exact, strict=True):
            error = 5 * one.std(0) / DRAWS**0.5 + 1e-9
            require(
                ((one.mean(0) - wanted).abs() < error).all(),
                f"d E[x^{power}] / d {name} is {one.mean(0).tolist()}, should be "
                f"{wanted.tolist()} +- {error.tolist()}",
            )
    return None


def _slopes(value: Tensor, theta: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The derivatives of a number, zero where it does not depend on a tensor."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(t) for t in theta.values())
    tensors = list(theta.values())
    return torch.autograd.grad(value, tensors, retain_graph=True, materialize_grads=True)


def _refuses_gradient(case: LawCase) -> None:
    law = case.bound()
    try:
        law.sample(case.rows(1), reparam=True)
    except SamplingError as error:
        require(law.prob_text in str(error), "the refusal does not name the law")
    else:
        raise AssertionError("reparam=True is neither done nor refused")
    x = law.sample({k: v.requires_grad_() for k, v in case.rows(1).items()})[law.var[0]]
    require(not x.requires_grad, "a draw that is no function of the parameters has a gradient")


def extreme_parameters_are_finite(case: LawCase) -> None:
    """Densities, moments, draws and their gradients are finite far out, in single precision.

    Scales of 1e-6 and 1e6, locations of 1e4, probabilities of 1e-6, logits of 1e4.
    """
    size = (3,) + (4,) * case.family.param_dims
    waves = []
    for key in case.params:
        onto = case.family.domains[key].of_real or identity
        far = 1e4 if onto is identity else 14.0
        pattern = torch.tensor([-far, far, far / 2]).repeat(4**case.family.param_dims)
        waves.append([(key, onto(pattern.reshape(size))), (key, onto(-pattern.reshape(size)))])
    for choice in itertools.product(*waves):
        params = {k: v.clone().requires_grad_() for k, v in choice}
        law = case.bound()
        rows = {f"{k}_": v[None] for k, v in params.items()}
        x = law.sample(rows, return_all=False)
        found = {"draw": x[law.var[0]], "log density": law.get_log_prob({**rows, **x})}
        for which in MOMENTS:
            if hasattr(law.moves, which):
                found[which.removesuffix("_of")] = getattr(law.moves, which)(**params)
        middle = {k: v.float() for k, v in case.params.items()}
        for form in [
            law.moves.closed_kl[f] for f in law.moves.__mro__ if f in law.moves.closed_kl
        ]:
            found["KL to the middle"] = form(params, middle)
            found["KL from the middle"] = form(middle, params)
        for what, value in found.items():
            told = f"{what} at {[(k, v.tolist()) for k, v in params.items()]}"
            require(value.isfinite().all(), f"{told} is {value.tolist()}")
            if value.requires_grad:
                slopes = _slopes(value.sum(), params)
                require(all(s.isfinite().all() for s in slopes), f"the gradient of {told}")


def certain_outcomes(case: LawCase) -> None:
    """Probabilities of exactly 0 and 1: the log density is cut off at -100, gradients finite."""
    law, probs = case.law(torch.float32), case.params["probs"].float()
    best = probs.argmax(-1, keepdim=True) if case.family.param_dims else probs > 0.5
    if case.family.param_dims:
        probs = torch.zeros_like(probs).scatter(-1, best, 1.0)
    else:
        probs = best.float()
    law = case.law(torch.float32, probs=torch.nn.Parameter(probs))
    values = law.moves.values(probs.shape, probs)
    each = law.get_log_prob({law.var[0]: values}, sum_features=False)
    require(((each == 0) | (each == -100)).all(), f"log densities are {each.unique().tolist()}")
    require((each == 0).flatten(1).all(1).sum() == 1, "not one value is certain")
    each.sum().backward()
    grad = next(iter(torch.nn.Module.parameters(law))).grad
    require(grad is not None and grad.isfinite().all(), f"the gradient is {grad}")
    x = law.sample(batch_n=100)[law.var[0]]
    certain = values[(each == 0).flatten(1).all(1)]
    same(x, certain.expand_as(x), "a draw")
    require(law.get_entropy()[0] == 0, f"the entropy is {law.get_entropy().tolist()}")


def probabilities_and_logits_agree(case: LawCase) -> None:
    """Log densities of probs and of logits, which are at most 5, agree to 1e-5."""
    base = case.params["logits"].float()
    logits = 5 * base / base.abs().max()
    probs = case.family.domains["probs"].of_real
    assert probs is not None
    values = case.law().moves.values(logits.shape, logits)
    laws = [
        LawCase(case.family, {**case.options, **given}).build()
        for given in ({"logits": logits}, {"probs": probs(logits)})
    ]
    by_logits, by_probs = (q.get_log_prob({q.var[0]: values}, sum_features=False) for q in laws)
    close(by_probs, by_logits, "log density of probs", 1e-5)


CHECKS = (
    Check(derivatives_of_moves, has_density),
    Check(gradient_of_draws, has_density),
    Check(extreme_parameters_are_finite, has_density),
    Check(certain_outcomes, lambda case: has_values(case) and "probs" in case.params),
    Check(
        probabilities_and_logits_agree,
        lambda case: (
            has_values(case) and "logits" in case.params and "probs" in case.family.domains
        ),
    ),
)
