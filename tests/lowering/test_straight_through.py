"""The straight-through estimator: hard values, and to the bit the gradient written by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import OptionError
from ancestral.distributions import Bernoulli, Categorical, Law, Normal
from ancestral.losses import E, Function, StraightThrough, values

T = 0.7


def by_hand(family, h, noise):
    """The draw, and log q at it."""
    if family is Categorical:
        soft = ((h.log_softmax(-1) - noise) / T).softmax(-1)
        hard = F.one_hot(soft.argmax(-1), h.shape[-1]).to(h.dtype)
        z = hard + soft - soft.detach()
        return z, (z * h.log_softmax(-1)).sum(-1)
    soft = ((h - (noise / (1 - noise)).log()) / T).sigmoid()
    z = (noise < h.sigmoid()).to(h.dtype) + soft - soft.detach()
    log_q = z * F.logsigmoid(h) + (1 - z) * F.logsigmoid(-h)
    return z, log_q.sum(-1)


@pytest.mark.parametrize("family", [Categorical, Bernoulli])
@pytest.mark.parametrize("how", ["probs", "logits"])
def test_gradient_is_that_of_the_relaxation(family, how):
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(3, 4).double(), nn.Linear(4, 1).double()

    class Q(family):
        def forward(self, x):
            h = encoder(x)
            link = h.softmax(-1) if family is Categorical else h.sigmoid()
            return {"logits": h} if how == "logits" else {"probs": link}

    q = Q(var=["z"], cond_var=["x"], name="q")
    f = Function(lambda z: decoder(z).squeeze(-1), name="f")
    loss = E(q, f(values("z")) - q.log_prob()).mean().estimate({q: StraightThrough(T)})
    x, noise = torch.randn(5, 3).double(), torch.rand(5, 4).double()
    if family is Categorical:
        noise = (-noise.log()).log()  # Gumbel noise with its sign turned
    run = loss.function()
    z, log_q = by_hand(family, encoder(x), noise)
    wanted = (decoder(z).squeeze(-1) - log_q).mean()
    exact = torch.autograd.grad(wanted, [*encoder.parameters(), *decoder.parameters()])
    for _ in range(2):  # the interpreter, then the generated step
        value = run({"x": x}, noise={"z": noise})
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-14)
        found = torch.autograd.grad(value, [*encoder.parameters(), *decoder.parameters()])
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("family", [Categorical, Bernoulli])
def test_values_are_hard(family):
    q = family(logits=nn.Parameter(torch.linspace(-1, 1, 4)), var=["z"], name="q")
    seen = []
    f = Function(lambda z: seen.append(z.detach()) or z[:, 0], name="f")
    loss = E(q, f(values("z"))).estimate({q: StraightThrough(0.1, draws=50)})
    for _ in range(2):
        loss.mean().eval(batch_n=3)
    assert all(bool(((z == 0) | (z == 1)).all()) for z in seen)


def test_two_temperatures_are_two_draws():
    q = Bernoulli(logits=nn.Parameter(torch.zeros(2)), var=["z"], name="q")
    f = Function(lambda z: z[:, 0], name="f")(values("z"))
    loss = E(q, f).estimate({q: StraightThrough(0.5)}) + E(q, f).estimate({q: StraightThrough(1)})
    assert len(loss.program().draws) == 2


@pytest.mark.parametrize(
    "law",
    [
        Normal(loc=0.0, scale=1.0, var=["z"], name="q"),
        Categorical(logits=torch.zeros(3), onehot=False, var=["z"], name="q"),
    ],
    ids=["normal", "index"],
)
def test_laws_without_a_relaxation_refuse(law: Law):
    f = Function(lambda z: z.flatten(1)[:, 0], name="f")(values("z"))
    with pytest.raises(OptionError, match=r"StraightThrough\(\) for .* has no relaxation"):
        E(law, f).estimate({law: StraightThrough()}).program()


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), "low", True])
def test_temperature_is_a_positive_number(temperature):
    with pytest.raises(OptionError, match="give a positive number"):
        StraightThrough(temperature)
