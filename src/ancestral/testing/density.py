"""Checks of a density: it integrates to one, and moments, draws and closed forms are its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ancestral.distributions import Law
from ancestral.distributions.closed_forms import closed_entropy, closed_kl
from ancestral.losses import Entropy, KullbackLeibler
from ancestral.testing.case import (
    DRAWS,
    FALSE_ALARM,
    Check,
    LawCase,
    cases_of,
    close,
    has_density,
    has_density_and_draws,
    has_distribution_function,
    has_move,
    require,
)
from ancestral.testing.integral import Integral


def density_integrates_to_one(case: LawCase) -> None:
    """The density sums or integrates to one, in every component."""
    total = Integral(case.law()).mass.sum(0)
    close(total, torch.ones_like(total), "the integral of the density")


def distribution_functions_are_integrals(case: LawCase) -> None:
    """``log_cdf`` and ``log_sf`` are integrals of the density; ``icdf`` is their inverse.

    Between points of a grid, by the rule of Gauss and Legendre: an error of 1e-13 of P(X <= x) or
    P(X > x) would be detected, as far out as they are 1e-12, beyond what the rounding of x may
    change them by. The two have sum 1, and quantiles their rank, to the same.
    """
    law, integral = case.law(), Integral(case.law())
    x, mass = integral.shares(law)
    density = law.moves.log_density(x, **integral.params).exp()
    slack = torch.where(density.isfinite(), x.abs() * density, torch.inf) + 1e-12
    slack = torch.zeros_like(slack) + 1e-12 if integral.countable else slack
    found: dict[str, Tensor] = {}
    if hasattr(law.moves, "log_cdf"):
        found["log_cdf"] = below = law.moves.log_cdf(x, **integral.params).exp()
        gap = (below[1:] - below[0] - mass.cumsum(0)).abs() / (below + slack)[1:]
        _require_small(gap, x[1:], law, "log_cdf")
    if hasattr(law.moves, "log_sf"):
        found["log_sf"] = above = law.moves.log_sf(x, **integral.params).exp()
        gap = (above[:-1] - above[-1] - mass.flip(0).cumsum(0).flip(0)).abs()
        _require_small(gap / (above + slack)[:-1], x[:-1], law, "log_sf")
    if len(found) == 2:
        gap = (found["log_cdf"] + found["log_sf"] - 1.0).abs()
        _require_small(gap / (1.0 + slack), x, law, "the sum of log_cdf and log_sf")
    if hasattr(law.moves, "icdf") and "log_cdf" in found:
        _quantiles(law, integral, found["log_cdf"], x)


def distribution_functions_reach_both_ends(case: LawCase) -> None:
    """Far below all values P(X <= x) is 0, far above it is 1, also outside of the support."""
    law, far = case.law(), 1e30
    params, shape = law.params(()), tuple(law.features_shape)
    for name, none, all_ in (("log_cdf", -far, far), ("log_sf", far, -far)):
        move = getattr(law.moves, name, None)
        if move is None:
            continue
        low = move(torch.full(shape, none, dtype=torch.float64), **params)
        high = move(torch.full(shape, all_, dtype=torch.float64), **params)
        require((low < -5.0).all(), f"{name} at {none:g} is {low.max()}, not far below 0")
        require((high.abs() < 1e-3).all(), f"{name} at {all_:g} is {high.tolist()}, not 0")


def _require_small(gap: Tensor, x: Tensor, law: Law, what: str) -> None:
    """Raise if a relative error exceeds 1e-13."""
    gap = gap.nan_to_num(torch.inf, torch.inf)
    at = x.expand_as(gap).flatten()[gap.argmax()]
    require(gap.max() < 1e-13, f"{law.prob_text}: {what} is off by {gap.max():.1e} at {at}")


def _quantiles(law: Law, integral: Integral, below: Tensor, x: Tensor) -> None:
    """A quantile has its rank; of whole numbers it is the first whose rank is not smaller."""
    if integral.countable:
        inner = (integral.mass.sort(0, descending=True).values[0] > 0) & (below < 1.0 - 1e-9)
        inner = inner & (below > 0)
        for shift, wanted in ((-1e-12, x), (1e-12, x + 1.0)):
            found = law.moves.icdf(below * (1.0 + shift), **integral.params)
            require(
                ((found == wanted) | ~inner).all(), f"icdf is no inverse of log_cdf at {x[inner]}"
            )
        return
    tails = torch.logspace(-20, -0.31, 60, dtype=torch.float64)
    u = torch.cat([tails, 1.0 - tails[20:]])
    u = u.reshape((-1,) + (1,) * (x.dim() - 1)).expand(-1, *x.shape[1:])
    x = law.moves.icdf(u, **integral.params)
    rank = law.moves.log_cdf(x, **integral.params).exp()
    slack = x.abs() * law.moves.log_density(x, **integral.params).exp()
    _require_small((rank - u).abs() / (u + slack), x, law, "the rank of a quantile")


def moments_are_integrals(case: LawCase) -> None:
    """Mean, variance and entropy are those of the density."""
    law, integral = case.law(), Integral(case.law())
    mean = integral.mean(integral.x)
    if hasattr(law.moves, "mean_of"):
        close(law.sample_mean()[0], mean, "mean")
    if hasattr(law.moves, "variance_of"):
        close(law.sample_variance()[0], integral.mean((integral.x - mean) ** 2), "variance")
    if closed_entropy(law) is not None:
        wanted = -integral.mean(integral.log_density(law)).sum()
        close(law.get_entropy()[0], wanted, "entropy")


def draws_follow_the_density(case: LawCase) -> None:
    """Draws have the distribution of the density; rows and components are independent.

    Kolmogorov-Smirnov, or chi-square over the values, on 20000 rows: a difference of 0.04 between
    distribution functions, or a correlation of 0.07, would be detected; of vectors a difference
    of 0.05 between characteristic functions.
    """
    law = case.law(torch.float32)
    x = law.sample(batch_n=DRAWS)[law.var[0]].double()
    integral = Integral(case.law(), points="waves")
    if integral.discrete:
        hits = (x[:, None] == integral.x[None]).flatten(2).all(-1)
        require(hits.any(1).all(), "a draw is not among the values of the law")
        _chi_square(hits.sum(0), integral.mass)
        return
    core = x.shape[x.dim() - integral.core :]
    masses = integral.mass.reshape(len(integral.mass), -1).unbind(1)
    parts = [t.reshape(len(t), -1, *core).unbind(1) for t in (x, integral.x)]
    for draws, points, mass in zip(*parts, masses, strict=True):
        if integral.countable:
            _counted(draws, points, mass)
        elif integral.core:
            _waves(draws.flatten(1), points.flatten(1), mass)
        else:
            _kolmogorov(draws, points, mass)
    _uncorrelated([part.reshape(len(part), -1) for part in parts[0]])


def _counted(draws: Tensor, points: Tensor, mass: Tensor) -> None:
    """Draws of one component against its values; those that are not listed are rare."""
    draws, points = draws.reshape(len(draws), -1), points.reshape(len(points), -1)
    base = torch.cat([draws, points]).amax().long() + 1
    weights = base ** torch.arange(draws.shape[1])
    keys, order = (points.long() @ weights).sort()
    found = draws.long() @ weights
    require((draws == draws.round()).all(), "a draw is not a whole number")
    place = torch.searchsorted(keys, found).clamp(max=len(keys) - 1)
    require((keys[place] == found).all(), "a draw is not among the values of the law")
    _chi_square(torch.bincount(place, minlength=len(keys)), mass[order])


def _waves(draws: Tensor, points: Tensor, mass: Tensor) -> None:
    """Means of sines and cosines of projections of a vector, which are exact on its grid.

    In standard deviations, with frequencies that the grid resolves.
    """
    size = draws.shape[1]
    steps = torch.arange(2.0 * size, dtype=draws.dtype).reshape(2, size)
    along = torch.cat([torch.eye(size, dtype=draws.dtype), (1.0 + 2.3 * steps).sin()])
    along = along / (draws @ along.T).std(0).clamp(min=1e-6).unsqueeze(-1)
    for frequency in (0.5, 1.0, 2.0, 4.0):
        for wave in (torch.sin, torch.cos):
            found = wave(frequency * draws @ along.T)
            wanted = mass @ wave(frequency * points @ along.T) / mass.sum()
            error = (found.mean(0) - wanted).abs() / (found.std(0) / DRAWS**0.5 + 1e-9)
            require(
                (error < 5).all(),
                f"means of {wave.__name__}({frequency} projection) of draws are {found.mean(0)}, "
                f"should be {wanted}: {error.max():.1f} standard errors",
            )


def _chi_square(counts: Tensor, mass: Tensor) -> None:
    expected = mass * counts.sum()
    rare = expected < 5
    found = torch.cat([counts[~rare].double(), counts[rare].double().sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum().clamp(min=1e-9)[None]])
    statistic = ((found - wanted) ** 2 / wanted).sum()
    freedom = (~rare).sum().double() - 1 + rare.any()
    chance = torch.special.gammaincc(freedom / 2, statistic / 2)
    require(chance > FALSE_ALARM, f"chi-square of the draws is {statistic:.1f}, p = {chance:.1e}")


def _kolmogorov(draws: Tensor, points: Tensor, mass: Tensor) -> None:
    limit = (torch.tensor(2 / FALSE_ALARM).log() / (2 * len(draws))).sqrt()  # Massart's bound
    below = mass.cumsum(0) - mass / 2  # trapezoids: up to a point, half of its own mass
    draws = draws.sort().values
    place = torch.searchsorted(points.contiguous(), draws).clamp(1, len(points) - 1)
    left, right = points[place - 1], points[place]
    share = ((draws - left) / (right - left).clamp(min=1e-300)).clamp(0, 1)
    u = below[place - 1] + share * (below[place] - below[place - 1])
    steps = torch.arange(len(draws) + 1, dtype=u.dtype) / len(draws)
    distance = torch.maximum((steps[1:] - u).abs(), (u - steps[:-1]).abs()).max()
    require(distance < limit, f"draws are {distance:.4f} from the distribution function")


def _uncorrelated(parts: Sequence[Tensor]) -> None:
    """Components, each ``(rows, size)``, with one another and with the row before."""
    x = torch.cat(list(parts), 1)
    owner = torch.cat([torch.full((p.shape[1],), i) for i, p in enumerate(parts)])
    table = torch.corrcoef(torch.cat([x[1:], x[:-1]], 1).T).nan_to_num()
    now = torch.cat([torch.zeros(len(owner)), torch.ones(len(owner))])
    own = torch.cat([owner, owner])
    apart = (own[:, None] != own[None]) | (now[:, None] != now[None])
    most = (table * apart).abs().max()
    require(most < 5 / DRAWS**0.5, f"components or successive rows are correlated: {most:.4f}")


# -- closed forms ---------------------------------------------------------------------------------
def _relatives(case: LawCase) -> list[LawCase]:
    """The families to which the divergence has a closed form, the case itself among them."""
    mine = case.law().moves
    found = [case] if closed_kl(case.law(), case.law()) is not None else []
    for other in mine.closed_kl:
        if other.param_dims != mine.param_dims:
            continue  # its examples have other event shapes
        if not issubclass(mine, other):
            found += cases_of(other)
        elif issubclass(case.family, other):
            found += [c for c in cases_of(other) if set(c.arguments) != set(case.arguments)]
    return [c for c in found if c.options == case.options]


def divergences_are_integrals(case: LawCase) -> None:
    """Closed forms of KL[q || p] are the integrals, never negative, and zero for q = p."""
    q, integral = case.law(), Integral(case.law())
    log_q = integral.log_density(q)
    for other in _relatives(case):
        p = other.other().law(name="p2")
        found = KullbackLeibler(q, p).eval()
        wanted = integral.mean(log_q - integral.log_density(p)).sum()
        close(found, wanted, f"KL[q || {other}]")
        require(found > 0, f"KL of different laws is {found}")
    if closed_kl(q, q) is not None:
        zero = KullbackLeibler(q, case.law(name="p2")).eval()
        require(zero.abs() < 1e-9, f"KL[q || q] is {zero}, should be 0")


def closed_forms_are_means(case: LawCase) -> None:
    """Closed KL and entropy are what draws give: 20000, within 5 standard errors.

    An error of 3.5 % of the standard deviation of log q - log p would be detected.
    """
    q = case.law()
    p = case.other().law(name="p2")
    x = q.sample(batch_n=DRAWS)
    log_q = q.get_log_prob(x)
    forms = [("entropy", Entropy(q).eval(), -log_q)] if closed_entropy(q) is not None else []
    if closed_kl(q, p) is not None:
        forms.append(("KL", KullbackLeibler(q, p).eval(), log_q - p.get_log_prob(x)))
    for what, found, sampled in forms:
        error = 5 * sampled.std() / DRAWS**0.5 + 1e-9
        require(
            (found - sampled.mean()).abs() < error,
            f"{what} is {found:.6f}, but {sampled.mean():.6f} +- {error:.6f} by draws",
        )


def _has_moment(case: LawCase) -> bool:
    law = case.law() if has_density(case) else None
    return law is not None and any(
        has_move(law, which) for which in ("mean_of", "variance_of", "entropy_of")
    )


def _has_divergence(case: LawCase) -> bool:
    return has_density(case) and bool(case.law().moves.closed_kl)


def _has_closed_form(case: LawCase) -> bool:
    return _has_divergence(case) or (has_density(case) and closed_entropy(case.law()) is not None)


CHECKS = (
    Check(density_integrates_to_one, has_density),
    Check(distribution_functions_are_integrals, has_distribution_function),
    Check(distribution_functions_reach_both_ends, has_distribution_function),
    Check(moments_are_integrals, _has_moment),
    Check(draws_follow_the_density, has_density_and_draws),
    Check(divergences_are_integrals, _has_divergence),
    Check(closed_forms_are_means, _has_closed_form),
)
