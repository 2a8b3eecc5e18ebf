"""Checks of derivatives: of the moves, of draws, and at the edge of what parameters may be."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import SamplingError, SupportError
from ancestral.distributions import Law
from ancestral.distributions.constraints import (
    identity,
    lower_cholesky,
    ordered,
    positive_definite,
)
from ancestral.distributions.layout import spanned
from ancestral.distributions.noise import Noise, draw_noise, own_noise
from ancestral.testing.case import (
    DRAWS,
    Check,
    LawCase,
    close,
    has_distribution_function,
    has_parameters,
    has_values,
    require,
    same,
    slopes,
)
from ancestral.testing.integral import Integral

MOMENTS = ("mean_of", "variance_of", "entropy_of")

MOVES_OF_VALUES = ("log_density", "log_cdf", "log_sf")


def derivatives_of_moves(case: LawCase) -> None:
    """Autograd through density, moments and draws agrees with finite differences."""
    law, names = case.law(), case.smooth
    fixed = {k: v for k, v in case.params.items() if k not in names}
    x = law.sample(batch_n=2)[law.var[0]]
    moves: dict[str, Callable[..., Any]] = {
        which: getattr(law.moves, which) for which in MOMENTS if hasattr(law.moves, which)
    }
    moves |= {
        which: partial(getattr(law.moves, which), x)
        for which in MOVES_OF_VALUES
        if hasattr(law.moves, which)
    }
    if case.family.reparametrised and own_noise(law) is None:
        # inside every kind's range
        noise = torch.rand(2, *_noise(law, case.params).shape, dtype=torch.float64)
        moves["draw"] = lambda **params: law.moves.draw(noise, **params)
    theta = [case.params[k].clone().requires_grad_() for k in names]
    for which, move in moves.items():

        def function(*tensors: Tensor, move: Callable[..., Any] = move) -> Any:
            given = zip(names, tensors, strict=True)
            out = move(**{k: _symmetric(case, k, v) for k, v in given}, **fixed)
            return torch.where(out.isinf(), 0.0, out)  # log 0 beyond the last value has no slope

        right = torch.autograd.gradcheck(
            function, theta, atol=1e-5, rtol=1e-4, raise_exception=False
        )
        require(right, f"the derivative of {which} is not that of finite differences")


def _symmetric(case: LawCase, key: str, value: Tensor) -> Tensor:
    """A matrix that must be symmetric stays so when one entry is moved."""
    if case.family.domains[key] is not positive_definite:
        return value
    return 0.5 * (value + value.mT)


def derivatives_of_draws_are_implicit(case: LawCase) -> None:
    r"""Draws whose noise depends on parameters keep their rank when these move.

    :math:`dz/d\theta = -(\partial F/\partial\theta) / p` by differences of the law's own
    distribution function, to 0.2 % of the largest.
    """
    law, step = case.law(), 1e-5
    theta = {k: v.expand(50, *v.shape).clone().requires_grad_() for k, v in case.params.items()}
    fixed = {k: v.detach() for k, v in theta.items()}
    z = law.moves.draw(_noise(law, fixed), **theta)
    found, at = slopes(z.sum(), theta), z.detach()
    density = law.moves.log_density(at, **fixed).exp()
    for (name, value), slope in zip(fixed.items(), found, strict=True):
        ranks = [
            law.moves.log_cdf(at, **{**fixed, name: value + sign * step * value.abs()}).exp()
            for sign in (1, -1)
        ]
        wanted = -(ranks[0] - ranks[1]) / (2 * step * value.abs() * density)
        error = (slope - wanted).abs().max() / wanted.abs().max()
        require(error < 2e-3, f"d draw / d {name} is off by {error:.1e} of the largest")


def _noise(law: Law, params: Mapping[str, Tensor]) -> Noise:
    """Noise for one draw at each entry of parameters."""
    shapes = (spanned(law.moves, k, tuple(v.shape)) for k, v in params.items())
    event = tuple(torch.broadcast_shapes(*shapes))
    return draw_noise(law, params, (), event, next(iter(params.values())))


def _to(noise: Noise, dtype: torch.dtype) -> Noise:
    """Noise of another dtype, each of its parts."""
    if isinstance(noise, Tensor):
        return noise.to(dtype)
    return {part: value.to(dtype) for part, value in noise.items()}


def gradient_of_draws(case: LawCase) -> None:
    r"""Draws carry the pathwise gradient, or refuse to.

    :math:`\nabla_\theta E[x]` and :math:`\nabla_\theta E[x^2]` over 20000 rows against the
    derivatives of the moments, of laws without moments those of tanh x against integrals over
    their density: an error of 3.5 % of the standard deviation of one row's gradient would be
    detected.
    """
    law, rows = case.bound(), case.rows(DRAWS)
    if not case.family.reparametrised:
        return _refuses_gradient(case)
    require(not law.sample(rows)[law.var[0]].requires_grad, "reparam=False keeps a gradient")
    given = {k: v.requires_grad_() for k, v in rows.items()}
    x = law.sample(given, reparam=True)[law.var[0]]
    theta = {k: v.clone().requires_grad_() for k, v in case.params.items()}
    f: Callable[[Tensor], Tensor] = torch.tanh
    if hasattr(law.moves, "mean_of") and hasattr(law.moves, "variance_of"):
        f = identity
        mean = law.moves.mean_of(**theta)
        means = (mean, law.moves.variance_of(**theta) + mean**2)
    else:
        integral = Integral(case.law())
        mass = law.moves.log_density(integral.x, **theta).exp() * integral.cells
        mass = mass.reshape(mass.shape + (1,) * (integral.x.dim() - mass.dim()))
        means = ((f(integral.x) * mass).sum(0), (f(integral.x) ** 2 * mass).sum(0))
    for power, moment in enumerate(means, 1):
        found, exact = slopes((f(x) ** power).sum(), given), slopes(moment.sum(), theta)
        for name, one, wanted in zip(theta, found, exact, strict=True):
            error = 5 * one.std(0) / DRAWS**0.5 + 1e-9
            require(
                ((one.mean(0) - wanted).abs() < error).all(),
                f"d E[{f.__name__}(x)^{power}] / d {name} is {one.mean(0).tolist()}, should be "
                f"{wanted.tolist()} +- {error.tolist()}",
            )
    return None


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

    Scales of 1e-6 and 1e6, locations of 1e4, probabilities of 1e-6, logits of 1e4. What double
    precision finds to be beyond the numbers of single precision may be infinite.
    """
    waves = [[(k, _far(case, k, 1.0)), (k, _far(case, k, -1.0))] for k in case.params]
    for choice in itertools.product(*waves):
        if not _is_law(case.family, dict(choice)):
            continue
        noise = _noise(case.bound(), dict(choice))
        x = case.law().moves.draw(noise, **dict(choice))
        single = _far_out(case, dict(choice), noise, x)
        double = _far_out(case, {k: v.double() for k, v in choice}, noise, x)
        for what, (value, found) in single.items():
            exact, exact_slopes = double[what]
            told = f"{what} at {[(k, v.tolist()) for k, v in choice]}"
            undefined = exact.isnan() if what in ("mean", "variance") else None
            if undefined is not None and bool(undefined.any()):
                require((value.isnan() == undefined).all(), f"{told} is {value.tolist()}")
                continue
            require(_is_finite(value, exact), f"{told} is {value.tolist()}")
            for slope, wanted in zip(found, exact_slopes, strict=True):
                require(_is_finite(slope, wanted), f"the gradient of {told} is {slope.tolist()}")


def _is_law(family: type[Law], params: Mapping[str, Tensor]) -> bool:
    """Whether parameters fit one another."""
    try:
        family.check_together(params, "")
    except SupportError:
        return False
    return True


def _far(case: LawCase, key: str, sign: float) -> Tensor:
    """A parameter far out, in other ways in each of three components."""
    onto = case.family.domains[key].of_real or identity
    far = sign * (1e4 if onto is identity else 14.0)
    pattern, like = torch.tensor([-far, far, far / 2]), case.params[key]
    if case.family.domains[key] in (ordered, lower_cholesky, positive_definite):
        width = like.shape[-1]  # far, but inside the domain when it is rounded
        base = torch.linspace(-1, 1, width) if case.core(key) == 1 else torch.eye(width)
        return pattern.exp().reshape(-1, *(1,) * base.dim()) * base
    repeated = pattern.repeat(like.numel() // 3)
    return onto(repeated.reshape(like.shape))


def _is_finite(value: Tensor, exact: Tensor) -> Tensor:
    """Whether each number is finite, or beyond single precision."""
    beyond = ~(exact.abs() < torch.finfo(torch.float32).max)
    return (value.isfinite() | (beyond & ~value.isnan())).all()


def _far_out(
    case: LawCase, given: Mapping[str, Tensor], noise: Noise, x: Tensor
) -> dict[str, tuple[Tensor, tuple[Tensor, ...]]]:
    """What a law computes of parameters, each with its gradient."""
    params = {k: v.clone().requires_grad_() for k, v in given.items()}
    dtype = next(iter(params.values())).dtype
    moves = case.law().moves
    found = {"draw": moves.draw(_to(noise, dtype), **params)}
    if bool(x.isfinite().all()):
        x = x.to(dtype) if x.is_floating_point() else x
        found["log density"] = moves.log_density(x, **params)
    for which in MOMENTS:
        if hasattr(moves, which):
            found[which.removesuffix("_of")] = getattr(moves, which)(**params)
    middle = {k: v.to(dtype) for k, v in case.params.items()}
    for form in [moves.closed_kl[f] for f in moves.__mro__ if f in moves.closed_kl]:
        found["KL to the middle"] = form(params, middle)
        found["KL from the middle"] = form(middle, params)
    return {k: (v.detach(), slopes(v.sum(), params)) for k, v in found.items()}


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
    Check(derivatives_of_moves, has_parameters),
    Check(
        derivatives_of_draws_are_implicit,
        lambda case: (
            has_distribution_function(case)
            and has_parameters(case)
            and case.family.reparametrised
            and own_noise(case.law()) is not None
        ),
    ),
    Check(gradient_of_draws, has_parameters),
    Check(extreme_parameters_are_finite, has_parameters),
    Check(
        certain_outcomes,
        lambda case: has_values(case) and "probs" in case.params and not case.family.cores,
    ),
    Check(
        probabilities_and_logits_agree,
        lambda case: (
            has_values(case)
            and "logits" in case.params
            and "probs" in case.family.domains
            and not case.family.cores
        ),
    ),
)
