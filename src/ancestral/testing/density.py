"""Checks of a density: it integrates to one, and moments, draws and closed forms are its own."""

import torch
from torch import Tensor

from ancestral.distributions import Law
from ancestral.distributions.closed_forms import closed_entropy
from ancestral.losses import Entropy, KullbackLeibler
from ancestral.testing.case import DRAWS, FALSE_ALARM, Check, LawCase, close, has_density, require

GRID = torch.linspace(-30.0, 30.0, 60_001, dtype=torch.float64)


class Integral:
    """Expectations under a law of constants: a sum over all values, or the rule of trapezoids.

    Discrete values are those of the whole event; of continuous laws each component is integrated
    by itself, over a grid that the law's support (or sinh, for all real numbers) spreads out.
    """

    def __init__(self, law: Law) -> None:
        self.params = law.params(())
        tensors = [v for v in self.params.values() if isinstance(v, Tensor)]
        event = torch.broadcast_shapes(*(v.shape for v in tensors))
        self.discrete = hasattr(law.moves, "values")
        if self.discrete:
            self.x = law.moves.values(event, tensors[0])
            self.mass = self.log_density(law).exp()
            return
        support = law.support(self.params)
        onto = torch.sinh if support is None else support.of_real
        if onto is None:
            raise AssertionError(f"no map onto the support of {law.prob_text}: give it of_real")
        grid = GRID.clone().requires_grad_()
        points = onto(grid)
        (slope,) = torch.autograd.grad(points.sum(), grid)
        lift = (-1,) + (1,) * len(event)
        self.x = points.detach().reshape(lift).expand(-1, *event)
        self.mass = self.log_density(law).exp() * (slope * (GRID[1] - GRID[0])).reshape(lift)

    def log_density(self, law: Law) -> Tensor:
        """A law's log density at the points: of the event, or of each component."""
        out = law.moves.log_density(self.x, **law.params(()))
        return out.flatten(1).sum(-1) if self.discrete else out

    def mean(self, f: Tensor) -> Tensor:
        """The expectation of a function that is given at the points."""
        mass = self.mass.reshape(self.mass.shape + (1,) * (f.dim() - self.mass.dim()))
        return torch.where(mass > 0, mass * f, 0.0).sum(0)


def density_integrates_to_one(case: LawCase) -> None:
    """The density sums or integrates to one, in every component."""
    total = Integral(case.law()).mass.sum(0)
    close(total, torch.ones_like(total), "the integral of the density")


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

    Kolmogorov-Smirnov, or chi-square over all values of the event, on 20000 rows: a difference
    of 0.04 between distribution functions, or a correlation of 0.07, would be detected.
    """
    law = case.law(torch.float32)
    x = law.sample(batch_n=DRAWS)[law.var[0]].double()
    integral = Integral(case.law())
    if integral.discrete:
        hits = (x[:, None] == integral.x[None]).flatten(2).all(-1)
        require(hits.any(1).all(), "a draw is not among the values of the law")
        _chi_square(hits.sum(0), integral.mass)
    else:
        _kolmogorov(x, integral)
        _uncorrelated(x.flatten(1))


def _chi_square(counts: Tensor, mass: Tensor) -> None:
    expected = mass * counts.sum()
    rare = expected < 5
    found = torch.cat([counts[~rare].double(), counts[rare].double().sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum().clamp(min=1e-9)[None]])
    statistic = ((found - wanted) ** 2 / wanted).sum()
    freedom = (~rare).sum().double() - 1 + rare.any()
    chance = torch.special.gammaincc(freedom / 2, statistic / 2)
    require(chance > FALSE_ALARM, f"chi-square of the draws is {statistic:.1f}, p = {chance:.1e}")


def _kolmogorov(x: Tensor, integral: Integral) -> None:
    limit = (torch.tensor(2 / FALSE_ALARM).log() / (2 * len(x))).sqrt()  # Massart's bound
    columns = zip(x.flatten(1).T, integral.x.flatten(1).T, integral.mass.flatten(1).T, strict=True)
    for draws, points, mass in columns:
        below = mass.cumsum(0) - mass / 2  # trapezoids: up to a point, half of its own mass
        draws = draws.sort().values
        place = torch.searchsorted(points.contiguous(), draws).clamp(1, len(points) - 1)
        left, right = points[place - 1], points[place]
        share = ((draws - left) / (right - left)).clamp(0, 1)
        u = below[place - 1] + share * (below[place] - below[place - 1])
        steps = torch.arange(len(x) + 1, dtype=u.dtype) / len(x)
        distance = torch.maximum((steps[1:] - u).abs(), (u - steps[:-1]).abs()).max()
        require(distance < limit, f"draws are {distance:.4f} from the distribution function")


def _uncorrelated(x: Tensor) -> None:
    table = torch.corrcoef(torch.cat([x[1:], x[:-1]], 1).T)
    most = (table - torch.eye(len(table))).abs().max()
    require(most < 5 / DRAWS**0.5, f"components or successive rows are correlated: {most:.4f}")


# -- closed forms ---------------------------------------------------------------------------------
def _relatives(case: LawCase) -> list[LawCase]:
    """The case itself, and all families to which the divergence has a closed form."""
    mine = case.law().moves
    found = [case]
    for other in mine.closed_kl:
        if not issubclass(mine, other):
            found += [LawCase(other, example) for example in other.examples()]
        elif issubclass(case.family, other):
            found += [LawCase(other, e) for e in other.examples() if set(e) != set(case.arguments)]
    return [c for c in found if c.options == case.options]


def divergences_are_integrals(case: LawCase) -> None:
    """Closed forms of KL[q || p] are the integrals, never negative, and zero for q = p."""
    q, integral = case.law(), Integral(case.law())
    for other in _relatives(case):
        p = other.build(name="p2", **{k: v.roll(1, 0) for k, v in other.params.items()})
        found = KullbackLeibler(q, p).eval()
        wanted = integral.mean(integral.log_density(q) - integral.log_density(p)).sum()
        close(found, wanted, f"KL[q || {other}]")
        require(found > 0, f"KL of different laws is {found}")
    zero = KullbackLeibler(q, case.law(name="p2")).eval()
    require(zero.abs() < 1e-9, f"KL[q || q] is {zero}, should be 0")


def closed_forms_are_means(case: LawCase) -> None:
    """Closed KL and entropy are what draws give: 20000, within 5 standard errors.

    An error of 3.5 % of the standard deviation of log q - log p would be detected.
    """
    q = case.law()
    p = case.build(name="p2", **{k: v.roll(1, 0) for k, v in case.params.items()})
    x = q.sample(batch_n=DRAWS)
    log_q, log_p = q.get_log_prob(x), p.get_log_prob(x)
    for what, found, sampled in (
        ("KL", KullbackLeibler(q, p).eval(), log_q - log_p),
        ("entropy", Entropy(q).eval(), -log_q),
    ):
        error = 5 * sampled.std() / DRAWS**0.5 + 1e-9
        require(
            (found - sampled.mean()).abs() < error,
            f"{what} is {found:.6f}, but {sampled.mean():.6f} +- {error:.6f} by draws",
        )


def _has_divergence(case: LawCase) -> bool:
    return has_density(case) and bool(case.law().moves.closed_kl)


CHECKS = (
    Check(density_integrates_to_one, has_density),
    Check(moments_are_integrals, has_density),
    Check(draws_follow_the_density, has_density),
    Check(divergences_are_integrals, _has_divergence),
    Check(closed_forms_are_means, _has_divergence),
)
