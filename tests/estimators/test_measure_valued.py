"""Measure-valued gradients: exact by quadrature, of integrands that jump, too."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError
from ancestral.distributions import Bernoulli, Laplace, Normal
from ancestral.losses import REBAR, E, Enumerate, Function, MeasureValued, Score, values
from tests.estimators.quadrature import couple_rule, f64, unit_rule

z, w, a = values("z w a")
LOC, SCALE = 0.4, 0.7


def law(*loc, scale=SCALE):
    return Normal(
        loc=nn.Parameter(torch.tensor(loc, dtype=f64)),
        scale=nn.Parameter(torch.tensor(scale, dtype=f64).expand(len(loc)).clone()),
        var=["z"],
        name="q",
    )


def mean(q, body, eps, gap, weights):
    """The mean value and gradients, by a rule for both noises."""
    function = E(q, w * body).estimate({q: MeasureValued()}).sum().function()
    noise = {"z": eps[:, None], "z.gap": gap[:, None]}
    for _ in range(2):  # the interpreter, then the generated step
        value = function({"w": weights}, noise=noise)
        slopes = torch.autograd.grad(value, [q.loc, q.scale])
    return value, *slopes


def test_of_a_smooth_function_the_mean_is_exact():
    """E[z^3 - 2 z^2] = m^3 + 3 m s^2 - 2 m^2 - 2 s^2, to 1e-10."""
    q = law(LOC)
    cube = Function(lambda z: z[:, 0] ** 3 - 2 * z[:, 0] ** 2, name="f")(z)
    found = mean(q, cube, *couple_rule())
    m, s = LOC, SCALE
    wanted = (
        m**3 + 3 * m * s**2 - 2 * m**2 - 2 * s**2,
        3 * m**2 + 3 * s**2 - 4 * m,
        6 * m * s - 4 * s,
    )
    for one, other in zip(found, wanted, strict=True):
        assert one.item() == pytest.approx(other, abs=1e-10)


def test_of_a_density_of_the_law_itself_the_mean_is_exact():
    """E[log q] = -log s - (1 + log 2 pi) / 2: the parameters in the integrand have their share."""
    q = law(LOC)
    value, by_loc, by_scale = mean(q, q.log_prob(), *couple_rule())
    assert value.item() == pytest.approx(-math.log(SCALE) - 0.5 - 0.5 * math.log(2 * math.pi))
    assert by_loc.item() == pytest.approx(0.0, abs=1e-10)
    assert by_scale.item() == pytest.approx(-1 / SCALE, abs=1e-10)


@pytest.mark.parametrize("at", [0.9, -0.8])
def test_of_a_step_the_mean_is_exact(at):
    """P(z > c), whose slopes are the density at c and that times the standard distance; to 1e-10.

    The path has no derivative there, and loses all of it.
    """
    q = law(LOC)
    step = Function(lambda z: (z[:, 0] > at).to(f64), name="step")(z)
    c = (at - LOC) / SCALE
    density = math.exp(-c * c / 2) / math.sqrt(2 * math.pi) / SCALE
    value, _, by_scale = mean(q, step, *couple_rule(jump=c))
    assert value.item() == pytest.approx(0.5 * math.erfc(c / math.sqrt(2)), abs=1e-10)
    assert by_scale.item() == pytest.approx(density * c, abs=1e-10)
    # by the location, the noise of the draw does not matter: a rule for sqrt(2 e), which jumps
    parts = [unit_rule(0.0, abs(c)), unit_rule(abs(c), 9.0)]
    r, v = (torch.cat(pair) for pair in zip(*parts, strict=True))
    weights = v * r * (-r * r / 2).exp()
    _, by_loc, _ = mean(q, step, torch.zeros_like(r), r * r / 2, weights)
    assert by_loc.item() == pytest.approx(density, abs=1e-10)


def test_of_several_components_the_mean_is_within_five_standard_errors():
    """A jump where all three are positive and a product; a bias of 0.03 would be seen."""
    torch.manual_seed(0)
    q = law(0.3, -0.2, 0.5)

    def corner(z):
        return (z > 0).all(-1).to(f64) + z[:, 0] * z[:, 1] ** 2

    function = E(q, Function(corner, name="f")(z)).estimate({q: MeasureValued()}).mean().function()
    found = []
    for _ in range(100):
        value = function(batch_n=1000)
        slopes = torch.autograd.grad(value, [q.loc, q.scale])
        found.append(torch.cat([value.detach()[None], *slopes]))
    each = torch.stack(found)
    loc, scale = (v.detach().clone().requires_grad_() for v in (q.loc, q.scale))
    on = 0.5 * torch.erfc(-loc / scale / math.sqrt(2))
    exact = on.prod() + loc[0] * (loc[1] ** 2 + scale[1] ** 2)
    wanted = torch.cat([exact.detach()[None], *torch.autograd.grad(exact, [loc, scale])])
    error = each.std(0) / math.sqrt(len(each))
    assert ((each.mean(0) - wanted).abs() < 5 * error).all()
    assert (error < 0.006).all()


def test_beside_other_laws_and_with_several_draws():
    """A coin given the draw is enumerated, one before it is relaxed: all agree on the mean."""
    torch.manual_seed(1)
    q = law(0.3, -0.2)
    first = Bernoulli(logits=nn.Parameter(torch.zeros(1, dtype=f64)), var=["b"], name="r")
    last = Bernoulli(logits="z", cond_var=["z"], var=["a"], name="p")
    body = Function(lambda a, b: a[:, 0] * (1.0 + b[:, 0]) - a[:, 1], name="f")(a, values("b"))
    plan = {q: MeasureValued(draws=3), first: REBAR(0.5), last: Enumerate()}
    function = E(first * q * last, body).estimate(plan).mean().function()
    parameters, found = [q.loc, q.scale, first.logits], []
    for _ in range(60):
        slopes = torch.autograd.grad(function(batch_n=300), parameters)
        found.append(torch.cat(slopes))
    each = torch.stack(found)
    x, weights = unit_rule(-9.0, 9.0)
    weights = weights * (-x * x / 2).exp() / math.sqrt(2 * math.pi)
    on = ((q.loc + q.scale * x[:, None]).sigmoid() * weights[:, None]).sum(0)
    exact = on[0] * (1.0 + first.logits[0].sigmoid()) - on[1]
    wanted = torch.cat(torch.autograd.grad(exact, parameters))
    error = each.std(0) / math.sqrt(len(each))
    assert ((each.mean(0) - wanted).abs() < 5 * error).all()
    assert (error < 0.02).all()


def test_the_variance_is_below_that_of_the_score():
    """Of a smooth function far from 0, by the location, at the same number of draws."""
    torch.manual_seed(2)
    q = law(LOC)
    body = Function(lambda z: 3.0 + (z[:, 0] - 1.0) ** 2, name="f")(z)
    spread = []
    for plan in (Score(), MeasureValued()):
        ones = torch.ones(2000, dtype=f64)
        rows = E(q, w * body).estimate({q: plan}).eval({"w": ones})
        eye = torch.eye(2000, dtype=f64)
        each = torch.autograd.grad(rows, q.loc, eye, is_grads_batched=True)[0]
        spread.append(each.var().item())
    assert spread[1] < 0.2 * spread[0]


def test_refusals():
    one = Function(lambda z: z.flatten(1)[:, 0], name="f")(z)
    plan = r"MeasureValued\(\) for .*it is for Normal laws.*"
    p = Laplace(loc=0.0, scale=1.0, var=["z"], name="p")
    with pytest.raises(OptionError, match=plan + r"Use Pathwise\(\)"):
        E(p, one).estimate({p: MeasureValued()}).program()
    b = Bernoulli(probs=0.5, var=["z"], name="p")
    with pytest.raises(OptionError, match=plan + "Use Score"):
        E(b, one).estimate({b: MeasureValued()}).program()
    q = law(LOC)
    with pytest.raises(OptionError, match=r"(?s)one number of the integrand reads its draws of k"):
        E(q.iid(k=2), one.exp().mean("k").log()).estimate({q: MeasureValued()}).program()
