"""RELAX: unbiased whatever its network is, which is trained by the variance of the gradient."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import REBAR, RELAX, E, Enumerate, Function, Score, values
from ancestral.models import Model
from tests.estimators.quadrature import coin_rule, f64
from tests.estimators.test_rebar import choice_rule, coins, curve

z, w = values("z w")
f = Function(curve, name="f")
jump = Function(lambda z: 1.0 + (z > 0.5).to(f64).sum(-1), name="jump")


def network(inputs):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def law(family):
    """A law with the log odds, or logits, h of each row."""
    return family(logits="h", cond_var=["h"], var=["z"], name="q")


def at(logits, rows):
    return torch.tensor(logits, dtype=f64).expand(rows, -1).clone().requires_grad_()


def each(q, body, plan, logits, noise):
    """The value and the gradient of each row."""
    h = at(logits, len(noise))
    rows = E(q, body).estimate({q: plan}).eval({"h": h}, noise={"z": noise})
    return rows.detach(), torch.autograd.grad(rows.sum(), h)[0]


def exact(q, body, logits):
    h = at(logits, 1)
    value = E(q, body).estimate({q: Enumerate()}).eval({"h": h})
    return value.detach()[0], torch.autograd.grad(value.sum(), h)[0][0]


def close(q, body, plan, logits, noise, weights, within=1e-10):
    value, slope = each(q, body, plan, logits, noise)
    found = (weights * value).sum(), (weights[:, None] * slope).sum(0)
    for one, other in zip(found, exact(q, body, logits), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=within)


@pytest.mark.parametrize("logits", [(0.4,), (0.4, -0.9)], ids=len)
def test_of_coins_the_mean_is_exact(logits):
    """By quadrature on either side of each jump, to 1e-10; of an integrand that jumps, too."""
    q, probs = law(Bernoulli), torch.tensor(logits, dtype=f64).sigmoid().tolist()
    noise, weights = coin_rule(probs, step=1 / 24 if len(logits) == 1 else 1 / 8)
    for body in (f(z) - 0.7 * q.log_prob(), jump(z)):
        close(q, body, RELAX(network(len(logits)), 0.6), logits, noise, weights)
    body = f(z) - 0.7 * q.log_prob()
    close(q, body, RELAX(network(len(logits)), 0.6, relaxed=True), logits, noise, weights)


def test_of_one_choice_the_mean_is_exact():
    logits, q = (0.3, -1.0, 0.8), law(Categorical)
    noise, weights = choice_rule(torch.tensor(logits, dtype=f64).softmax(-1))
    for beside in (False, True):
        plan = RELAX(network(3), 0.7, relaxed=beside)
        close(q, f(z), plan, logits, noise, weights, 1e-9)


@pytest.mark.parametrize("how", ["logits", "probs"])
@pytest.mark.parametrize("family", [Bernoulli, Categorical])
def test_a_network_of_zeros_beside_the_integrand_is_rebar(family, how):
    torch.manual_seed(0)
    q = family(**{how: "h"}, cond_var=["h"], var=["z"], name="q")
    net, probs = network(3), [0.5, 0.2, 0.3]
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    logits = probs if how == "probs" else torch.tensor(probs, dtype=f64).logit().tolist()
    noise = torch.rand(50, 3, dtype=f64)
    noise = noise if family is Bernoulli else (-noise.log()).log()
    plans = RELAX(net, 0.6, relaxed=True), REBAR(0.6)
    for one, other in zip(*(each(q, f(z), p, logits, noise) for p in plans), strict=True):
        if how == "probs" and family is Categorical:  # along the simplex
            one, other = (v - v.mean(-1, keepdim=True) if v.dim() > 1 else v for v in (one, other))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", [Bernoulli, Categorical])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
def test_the_network_has_the_gradient_of_the_variance(family, sign, beside):
    """Against central differences of the mean square, whatever the sign of the loss."""
    torch.manual_seed(0)
    q, logits = law(family), (0.4, -0.9) if family is Bernoulli else (0.3, -1.0, 0.8)
    noise = torch.rand(50, len(logits), dtype=f64)
    noise = noise if family is Bernoulli else (-noise.log()).log()
    plan = RELAX(network(len(logits)), 0.6, relaxed=beside)
    loss = (sign * E(q, f(z))).estimate({q: plan}).mean()
    value = loss.eval({"h": at(logits, 50)}, noise={"z": noise})
    parameters = list(plan.net.parameters())
    found = torch.autograd.grad(value, parameters)
    for p, slope in zip(parameters, found, strict=True):
        flat = p.data.view(-1)
        for i in range(0, len(flat), 5):
            here, ends = flat[i].item(), []
            for by in (1e-5, -1e-5):
                flat[i] = here + by
                square = each(q, f(z), plan, logits, noise)[1].square().sum(-1)
                ends.append(square.mean().item())
            flat[i] = here
            wanted = (ends[0] - ends[1]) / 2e-5
            assert slope.reshape(-1)[i].item() == pytest.approx(wanted, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
@pytest.mark.parametrize("family", [Bernoulli, Categorical])
def test_the_player_of_the_law_trains_the_network(family, beside):
    """150 steps beside a law that hardly moves: less variance than the score, by the same noise."""
    torch.manual_seed(0)
    size = 2 if family is Bernoulli else 3
    net = nn.Linear(1, size).double()
    q = family(cond_var=["h"], var=["z"], net=net, name="q")
    plan, body = RELAX(network(size), 0.5, relaxed=beside), 2.0 + f(z)
    frozen = [p.detach().clone() for p in net.parameters()]
    model = Model(
        loss=-E(q, body).estimate({q: plan}).mean(),
        distributions=[q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": 0.02},
    )
    for _ in range(150):
        model.train({"h": torch.ones(200, 1, dtype=f64)})
        with torch.no_grad():  # the law stays: its network alone is compared
            for p, before in zip(net.parameters(), frozen, strict=True):
                p.copy_(before)
    logits = net(torch.ones(1, 1, dtype=f64))[0].tolist()
    noise = torch.rand(20000, size, dtype=f64)
    noise = noise if family is Bernoulli else (-noise.log()).log()
    spread = [each(law(family), body, p, logits, noise)[1].var(0).sum() for p in (plan, Score())]
    assert spread[0] < 0.2 * spread[1]


def test_refusals():
    body = Function(lambda z: z.flatten(1)[:, 0], name="f")(z)
    index = Categorical(logits=torch.zeros(3), onehot=False, var=["z"], name="q")
    for law in (Normal(loc=0.0, scale=1.0, var=["z"], name="q"), index):
        with pytest.raises(OptionError, match=r"RELAX\(\) for .* has no relaxation"):
            E(law, body).estimate({law: RELAX(network(1))}).program()
    with pytest.raises(OptionError, match="give the network as an nn.Module"):
        RELAX(lambda z: z)
    with pytest.raises(OptionError, match="temperature=0"):
        RELAX(network(1), 0)
    q = coins(0.4)
    with pytest.raises(ShapeError, match="one number for each"):
        E(q, f(z)).estimate({q: RELAX(nn.Linear(1, 2).double())}).eval(batch_n=3)
