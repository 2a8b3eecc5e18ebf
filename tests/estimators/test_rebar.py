"""REBAR: unbiased by quadrature over its noise, and within 5 standard errors of several latents."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, SupportError
from ancestral.distributions import Bernoulli, Categorical, Multinomial, Normal
from ancestral.losses import (
    REBAR,
    RELAX,
    E,
    Enumerate,
    Function,
    Score,
    values,
)
from ancestral.models import Model
from tests.contracts.outcomes import PROBLEMS
from tests.estimators.quadrature import coin_rule, f64

z, w, a = values("z w a")


def curve(z):
    """No sum of functions of each component."""
    s = (z * torch.linspace(0.5, 1.5, z.shape[-1], dtype=f64)).sum(-1)
    return 0.3 * s**2 - 0.8 * s + (1.1 * s).sin()


f = Function(curve, name="f")


def coins(*eta):
    return Bernoulli(logits=nn.Parameter(torch.tensor(eta, dtype=f64)), var=["z"], name="q")


def mean(q, body, plan, noise, weights):
    """The mean value, gradient, and gradient of each row, by a rule for the noise."""
    function = E(q, w * body).estimate({q: plan}).sum().function()
    for _ in range(2):  # the interpreter, then the generated step
        value = function({"w": weights}, noise={"z": noise})
        (slope,) = torch.autograd.grad(value, q.logits)
    return value, slope


def exact(q, body):
    """The same by a sum over all values."""
    value = E(q, body).estimate({q: Enumerate()}).mean().eval(batch_n=1)
    return value, torch.autograd.grad(value, q.logits)[0]


def free(eta):
    """A factor that is trained."""
    return nn.Parameter(torch.tensor(eta, dtype=f64))


PLANS = [REBAR(0.5), REBAR(0.3, 0.7), REBAR(2.0, -1.3), REBAR(0.5, free(0.6))]


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@pytest.mark.parametrize("eta", [(0.4,), (-2.5,)], ids=str)
def test_of_one_coin_the_mean_is_exact(eta, plan):
    """By quadrature of its noise on either side of the jump, to 1e-10."""
    q, p = coins(*eta), Bernoulli(logits=torch.tensor([0.8], dtype=f64), var=["z"], name="p")
    for body in (f(z), f(z) * p.log_prob() - 0.7 * q.log_prob()):
        noise, weights = coin_rule(q.logits.sigmoid().tolist())
        found, wanted = mean(q, body, plan, noise, weights), exact(q, body)
        torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(found[1], wanted[1], rtol=0, atol=1e-10)


def test_of_two_coins_the_mean_is_exact():
    q = coins(0.4, -0.9)
    noise, weights = coin_rule(q.logits.sigmoid().tolist(), step=1 / 8)
    found, wanted = mean(q, f(z), REBAR(0.6, 0.8), noise, weights), exact(q, f(z))
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], wanted[1], rtol=0, atol=1e-10)


def choice_rule(probs, step=1 / 14):
    """Exponential noise of three rates: which comes first, and how long the others wait after it,
    in units of its time; its logarithm, and weights.
    """
    k = torch.arange(-round(3.8 / step), round(3.8 / step) + 1, dtype=f64) * step
    ratio = (0.5 * math.pi * k.sinh()).exp()  # the exp-sinh rule on (0, infinity)
    weight = ratio * 0.5 * math.pi * k.cosh() * step
    r, s = (m.flatten() for m in torch.meshgrid(ratio, ratio, indexing="ij"))
    each = (weight[:, None] * weight).flatten() * 2 / (1 + r + s) ** 3
    noise, weights = [], []
    for first in range(3):
        times = probs.expand(len(r), 3).clone()
        other = [k for k in range(3) if k != first]
        times[:, other] += torch.stack([r, s], -1)
        noise.append(times.log())
        weights.append(probs[first] * each)
    return torch.cat(noise), torch.cat(weights)


@pytest.mark.parametrize("plan", [REBAR(0.5), REBAR(1.0, 0.6), REBAR(0.5, free(0.6))], ids=repr)
def test_of_one_choice_the_mean_is_exact(plan):
    """Of three categories: quadrature in two dimensions."""
    logits = nn.Parameter(torch.tensor([0.3, -1.0, 0.8], dtype=f64))
    q = Categorical(logits=logits, var=["z"], name="q")
    noise, weights = choice_rule(logits.detach().softmax(-1))
    for body in (f(z), f(z) - 0.7 * q.log_prob()):
        found, wanted = mean(q, body, plan, noise, weights), exact(q, body)
        torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-9)
        torch.testing.assert_close(found[1], wanted[1], rtol=0, atol=1e-9)


# -- several latents ------------------------------------------------------
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "by_index"])
def test_of_several_latents_the_mean_is_within_five_standard_errors(name):
    """Of 100 batches of 500 rows: a bias of 5 standard errors would be seen, about 2 % here."""
    torch.manual_seed(0)
    problem = PROBLEMS[name]()
    plan = dict.fromkeys(problem.laws, REBAR(0.5, 0.8))
    function = problem.loss.estimate(plan).mean().function()
    batch, found = {"x": torch.ones(500, 1, dtype=f64)}, []
    for _ in range(100):
        value = function(batch)
        slopes = torch.autograd.grad(value, problem.parameters)
        found.append(torch.cat([value[None].detach(), *(s.flatten() for s in slopes)]))
    each, (value, wanted) = torch.stack(found), problem.exact()
    wanted = torch.cat([value[None].detach(), *(s.flatten() for s in wanted)])
    error = each.std(0) / math.sqrt(len(each))
    assert ((each.mean(0) - wanted).abs() < 5 * error + 1e-12).all()
    assert (error < 0.05 * wanted.abs().max()).all()


def test_copies_of_a_law_are_relaxed_together():
    """A bound of two copies of one coin: the rule of two coins."""
    q, p = coins(0.4), Bernoulli(logits=torch.tensor([0.8], dtype=f64), var=["z"], name="p")
    log_w = p.log_prob() + f(z) - q.log_prob()
    body = log_w.exp().mean("k").log()
    noise, weights = coin_rule([q.logits.sigmoid().item()] * 2, step=1 / 8)
    loss = E(q.iid(k=2), w * body).estimate({q: REBAR(0.6, 0.8)}).sum()
    value = loss.eval({"w": weights}, noise={"z": noise.mT[..., None]})
    (slope,) = torch.autograd.grad(value, q.logits)
    values_, log_q = torch.tensor([[0.0], [1.0]], dtype=f64), q.logits
    log_q = torch.stack([-torch.nn.functional.softplus(s * log_q[0]) for s in (1, -1)])
    each = p.get_log_prob({"z": values_}) + curve(values_) - log_q
    bound = torch.logaddexp(each[:, None], each) - math.log(2.0)
    wanted = ((log_q[:, None] + log_q).exp() * bound).sum()
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-12)
    exact_slope = torch.autograd.grad(wanted, q.logits)[0]
    torch.testing.assert_close(slope, exact_slope, rtol=0, atol=1e-10)


# -- a factor that is trained ------------------------------------------------------
def law(kind):
    """A law of rows with the parameter h, h, and the rule of its noise."""
    if kind == "choice":
        h = torch.tensor([0.3, -1.0, 0.8], dtype=f64)
        q = Categorical(logits="h", cond_var=["h"], var=["z"], name="q")
        return q, h, choice_rule(h.softmax(-1))
    probs = torch.tensor([0.6, 0.3], dtype=f64)
    options = {"probs": "h"} if kind == "probabilities" else {"logits": "h"}
    q = Bernoulli(**options, cond_var=["h"], var=["z"], name="q")
    return q, probs if "probs" in options else probs.logit(), coin_rule(probs.tolist(), step=1 / 8)


def of_rows(q, h, plan, noise, weights, sign=1.0):
    """The estimate of each row with its weight, and the parameters of the rows."""
    rows = h.expand(len(noise), -1).clone().requires_grad_()
    batch = {"h": rows, "w": weights}
    return (sign * E(q, w * f(z))).estimate({q: plan}).eval(batch, noise={"z": noise}), rows


def variance(q, h, eta, noise, weights):
    out, rows = of_rows(q, h, REBAR(0.6, eta), noise, torch.ones_like(weights))
    g = torch.autograd.grad(out.sum(), rows)[0]
    mean_ = (weights[:, None] * g).sum(0)
    return (weights[:, None] * (g - mean_) ** 2).sum().item()


@pytest.mark.parametrize("kind", ["log odds", "probabilities", "choice"])
def test_a_trained_factor_has_the_derivative_of_the_variance(kind):
    """By quadrature. The variance is a parabola in eta: its difference quotient is exact."""
    q, h, (noise, weights) = law(kind)
    by_eta = {eta: variance(q, h, eta, noise, weights) for eta in (-1.0, 0.0, 1.0, 2.0)}
    bend = (by_eta[1.0] + by_eta[-1.0]) / 2 - by_eta[0.0]
    lean = (by_eta[1.0] - by_eta[-1.0]) / 2
    assert by_eta[2.0] == pytest.approx(by_eta[0.0] + 2 * lean + 4 * bend, rel=1e-9)
    for at, sign in ((0.7, 1.0), (-0.4, -1.0), (0.0, 1.0)):
        eta = free(at)
        # the square of a row's gradient weighs the square of what the row does
        out, rows = of_rows(q, h, REBAR(0.6, eta), noise, weights.sqrt(), sign)
        slope, g = torch.autograd.grad(out.sum(), (eta, rows))
        assert slope.item() == pytest.approx(lean + 2 * at * bend, rel=1e-9, abs=1e-11)
        out, rows = of_rows(q, h, REBAR(0.6, at), noise, weights.sqrt(), sign)
        torch.testing.assert_close(g, torch.autograd.grad(out.sum(), rows)[0], atol=1e-11, rtol=0)


def test_whoever_trains_the_law_trains_the_factor():
    """It ends at the bottom of the parabola, which quadrature has; frozen it stays."""
    q, h, (noise, weights) = law("log odds")
    ends = [variance(q, h, eta, noise, weights) for eta in (-1.0, 0.0, 1.0)]
    best = (ends[0] - ends[2]) / 2 / (ends[0] + ends[2] - 2 * ends[1])
    torch.manual_seed(0)
    for learns in (True, False):
        coin, eta = coins(*h.tolist()), free(0.0).requires_grad_(learns)
        model = Model(
            loss=-E(coin, f(z)).estimate({coin: REBAR(0.6, eta)}).mean(),
            distributions=[coin],
            optimizer=torch.optim.Adam,
            optimizer_params={"lr": 0.05},
        )
        for _ in range(80):
            model.train(batch_n=1000)
            with torch.no_grad():  # the law stays: the factor alone is compared
                coin.logits.copy_(h)
        if not learns:
            assert eta.item() == 0.0
            continue
        assert abs(best) > 0.3
        assert eta.item() == pytest.approx(best, abs=0.05)
        spread = variance(q, h, eta.item(), noise, weights)
        assert spread == pytest.approx(variance(q, h, best, noise, weights), rel=0.02)
        assert spread < ends[1]


# -- what it costs, what it brings ------------------------------------------------------
def rows(q, plan, noise):
    """The gradient of each row's estimate."""
    toy = Function(lambda z: 3.0 + z[:, 0] + 0.3 * z[:, 0] ** 2, name="f")(z)
    batch = {"w": torch.ones(len(noise), dtype=f64)}
    out = E(q, w * toy).estimate({q: plan}).eval(batch, noise={"z": noise})
    eye = torch.eye(len(noise), dtype=f64)
    return torch.autograd.grad(out, q.logits, eye, is_grads_batched=True)[0]


def test_the_variance_is_below_that_of_the_score():
    """Of a function that is close to linear, from whose mean it is far."""
    q = coins(0.4)
    noise, weights = coin_rule(q.logits.sigmoid().tolist())
    spread = {}
    for plan in (Score(), REBAR(0.5, 0.0), REBAR(0.5), REBAR(0.5, 0.5)):
        each = rows(q, plan, noise)[:, 0]
        mean_ = (weights * each).sum()
        spread[repr(plan)] = (weights * (each - mean_) ** 2).sum().item()
    plain, without, full, half = spread.values()
    assert without == pytest.approx(plain, rel=1e-12)  # eta = 0 is the score function
    assert full < 0.05 * plain
    assert half < 0.4 * plain


def test_the_parameters_of_the_integrand_see_the_draw_alone():
    """z and its conditional twin are one value, so that their terms cancel."""
    torch.manual_seed(1)
    q, net = (
        coins(0.4, -1.0, 0.2),
        nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double(),
    )
    g = Function(lambda z: net(z)[:, 0], name="g")
    noise, weights = torch.rand(20, 3, dtype=f64), torch.rand(20, dtype=f64)
    found = []
    for plan in (Score(), REBAR(0.5)):
        loss = E(q, w * g(z)).estimate({q: plan}).sum()
        value = loss.eval({"w": weights}, noise={"z": noise})
        found.append((value, *torch.autograd.grad(value, net.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_the_value_is_that_of_the_draw_and_other_terms_stand_beside_it():
    q = coins(0.4, -1.0)
    noise = torch.rand(7, 2, dtype=f64)
    body = f(z) + values("a")
    batch = {"a": torch.rand(7, dtype=f64)}
    found = E(q, body).estimate({q: REBAR()}).eval(batch, noise={"z": noise})
    plain = E(q.detach(), body).eval(batch, noise={"z": noise})
    assert torch.equal(found, plain)


def test_terms_without_a_path_are_at_the_draw_too():
    q = coins(0.4, -1.0)
    noise = torch.rand(7, 2, dtype=f64)
    found = []
    for body in (f(z).detach(), f(z) + f(z).detach() * 2.0, f(z)):
        value = E(q, body).estimate({q: REBAR()}).mean().eval(batch_n=7, noise={"z": noise})
        found.append(value.item())
    assert found[0] == pytest.approx(found[2])
    assert found[1] == pytest.approx(3 * found[2])


@pytest.mark.parametrize("plan", [REBAR(0.5), RELAX(nn.Linear(1, 1).double())], ids=repr)
def test_a_term_that_is_cut_has_no_gradient_by_the_draw(plan):
    """Without a derivative it has no control variate: half of the estimator would be biased."""
    q, p = coins(0.4), Bernoulli(var=["a"], cond_var=["z"], net=nn.Linear(1, 1).double(), name="p")
    noise, batch = torch.rand(9, 1, dtype=f64), {"a": torch.ones(9, 1, dtype=f64)}
    found, rest = [], Function(lambda a: a[:, 0], name="rest")(a)
    for term in (0.0, 2.0 * f(z).detach(), p.detach().log_prob()):
        function = E(q, f(z) + term + rest).estimate({q: plan}).sum().function()
        for _ in range(2):
            value = function(batch, noise={"z": noise})
            found.append(torch.autograd.grad(value, q.logits)[0])
    for slope in found[1:]:
        torch.testing.assert_close(slope, found[0], rtol=0, atol=1e-12)


def test_a_term_that_is_cut_in_part_is_refused():
    q, told = coins(0.4), r"REBAR.* for q\(z\): .* reads z in .*detach\(\), too"
    for body in (f(z) * f(z).detach(), f(z) + (f(z) - 0.5 * f(z).detach()).exp()):
        with pytest.raises(OptionError, match=told):
            E(q, body).estimate({q: REBAR()}).program()
        value = E(q, body).estimate({q: RELAX(nn.Linear(1, 1).double())}).mean().eval(batch_n=2)
        assert value.requires_grad


def test_a_detached_law_shares_the_draw():
    """E of q and E of sg[q] are one draw; the second sees the draw itself, without gradient."""
    q = coins(0.4)
    both = E(q, f(z)) + E(q.detach(), 2.0 * f(z))
    program = both.estimate({q: REBAR(0.5)}).program()
    assert list(program.draws) == ["z"]
    noise = torch.tensor([[0.3], [0.9]], dtype=f64)
    found = both.estimate({q: REBAR(0.5)}).eval(batch_n=2, noise={"z": noise})
    one = E(q, f(z)).estimate({q: REBAR(0.5)}).eval(batch_n=2, noise={"z": noise})
    assert found.item() == pytest.approx(3.0 * one.item())
    slopes = [torch.autograd.grad(v, q.logits)[0] for v in (found, one)]
    torch.testing.assert_close(*slopes)


# -- what is refused ------------------------------------------------------
def test_refusals():
    body = Function(lambda z: z.flatten(1)[:, 0], name="f")(z)
    index = Categorical(logits=torch.zeros(3), onehot=False, var=["z"], name="q")
    for law in (Normal(loc=0.0, scale=1.0, var=["z"], name="q"), index):
        with pytest.raises(OptionError, match=r"REBAR\(\) for .* has no relaxation"):
            E(law, body).estimate({law: REBAR()}).program()
    q = Categorical(logits=nn.Parameter(torch.zeros(3)), var=["z"], name="q")
    p = Multinomial(total_count=1, probs=torch.ones(3) / 3, var=["z"], name="p")
    with pytest.raises(SupportError, match=r"(?s)relaxed values in the place of z.*use Score"):
        E(q, p.log_prob()).estimate({q: REBAR()}).eval(batch_n=2)
    for options, told in (
        ({"temperature": 0.0}, "temperature=0.0.*positive"),
        ({"eta": "big"}, "eta='big'.*give a number"),
        ({"eta": nn.Parameter(torch.ones(2))}, "(?s)eta=Parameter.*one that is trained"),
        ({"draws": 0}, "draws=0"),
    ):
        with pytest.raises(OptionError, match=told):
            REBAR(**options)
