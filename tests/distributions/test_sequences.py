"""The autoregressive normal law: long sequences, against a loop and the law of all their steps."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, SupportError
from ancestral.distributions import AutoregressiveNormal, MultivariateNormal
from ancestral.losses import E, Entropy, KullbackLeibler

f64, STEPS = torch.float64, 11
STATIONARY = {"drift": 0.3, "coefficient": -0.8, "scale": 0.6}
WALK = {"drift": -0.1, "coefficient": 1.0, "scale": 1.7, "initial_loc": 2.0, "initial_scale": 0.4}
FAST = {"drift": 1.1, "coefficient": 1e-5, "scale": 0.2}
FORMS = pytest.mark.parametrize(
    "form", [STATIONARY, WALK, FAST], ids=["stationary", "walk", "fast"]
)


def sequence(form, name="q", **others):
    given = {k: torch.tensor(v, dtype=f64) for k, v in form.items()}
    return AutoregressiveNormal(var=["x"], name=name, **{"steps": STEPS, **given, **others})


def dense(form, name="q"):
    """The law of all steps at once, by a loop."""
    c, phi, sigma = (form[k] for k in ("drift", "coefficient", "scale"))
    mean = [form["initial_loc"] if "initial_loc" in form else c / (1 - phi)]
    factor = torch.zeros(STEPS, STEPS, dtype=f64)
    first = form["initial_scale"] if "initial_scale" in form else sigma / (1 - phi**2) ** 0.5
    factor[0, 0] = first
    for t in range(1, STEPS):
        mean.append(c + phi * mean[-1])
        factor[t] = phi * factor[t - 1]
        factor[t, t] = sigma
    return MultivariateNormal(
        var=["x"], name=name, loc=torch.tensor(mean, dtype=f64), scale_tril=factor
    )


@FORMS
def test_a_sequence_is_the_law_of_all_its_steps(form):
    p, flat = sequence(form), dense(form)
    draws = []
    for law in (p, flat):
        torch.manual_seed(0)
        draws.append(law.sample(batch_n=4, sample_shape=[2]))
    torch.testing.assert_close(*[d["x"] for d in draws], rtol=1e-12, atol=1e-12)
    x = {"x": 3.0 * draws[0]["x"]}
    torch.testing.assert_close(p.get_log_prob(x), flat.get_log_prob(x))
    torch.testing.assert_close(p.get_entropy(), flat.get_entropy())
    torch.testing.assert_close(p.sample_mean(), flat.sample_mean())
    torch.testing.assert_close(p.sample_variance(), flat.sample_variance())


@FORMS
@pytest.mark.parametrize("other", [STATIONARY, WALK], ids=["stationary", "walk"])
def test_divergences_of_sequences_are_those_of_all_steps(form, other):
    found = KullbackLeibler(sequence(form), sequence(other, "p")).eval()
    wanted = KullbackLeibler(dense(form), dense(other, "p")).eval()
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_one_step_is_the_initial_law():
    p = sequence(STATIONARY, steps=1)
    x = torch.tensor([[0.7]], dtype=f64)
    wanted = torch.distributions.Normal(0.3 / 1.8, 0.6 / (1 - 0.64) ** 0.5)
    torch.testing.assert_close(p.get_log_prob({"x": x}), wanted.log_prob(x).sum(-1))
    torch.testing.assert_close(p.get_entropy(), wanted.entropy()[None].double())


def test_numbers_and_many_sequences():
    """Each of four sequences of a row, with one set of numbers, or with numbers of their own."""
    p = AutoregressiveNormal(features_shape=[4, STEPS], **STATIONARY)
    q = AutoregressiveNormal(features_shape=[4, STEPS], name="q", **WALK)
    one = AutoregressiveNormal(steps=STEPS, **STATIONARY)
    x = p.sample(batch_n=3)["x"]
    assert x.shape == (3, 4, STEPS)
    each = sum(one.get_log_prob({"x": x[:, i]}) for i in range(4))
    torch.testing.assert_close(p.get_log_prob({"x": x}), each)
    torch.testing.assert_close(p.get_entropy(), 4 * one.get_entropy())
    loss = KullbackLeibler(q, p) + Entropy(q)
    function = loss.function()
    values = [function({}) for _ in range(2)]  # the interpreter, then the generated text
    assert torch.equal(*values)
    whole = dense(WALK)
    wanted = 4 * (KullbackLeibler(whole, dense(STATIONARY, "p")) + Entropy(whole)).eval()
    torch.testing.assert_close(values[0].double(), wanted, rtol=1e-6, atol=0)
    own = sequence({**STATIONARY, "coefficient": [0.1, 0.2, 0.3, 0.4]})
    assert own.features_shape == (4, STEPS)


def test_a_network_gives_each_row_its_dynamics():
    net = nn.Linear(2, 3)
    q = AutoregressiveNormal(var=["x"], cond_var=["y"], name="q", features_shape=[1, 50], net=net)
    prior = AutoregressiveNormal(var=["x"], name="p", features_shape=[1, 50], **STATIONARY)
    y = torch.randn(5, 2)
    loss = (KullbackLeibler(q, prior) + E(q, q.log_prob(), draws=3)).mean()
    loss.eval({"y": y}).backward()
    assert net.weight.grad.isfinite().all()
    assert (net.weight.grad != 0).all()
    x = q.sample({"y": y}, sample_shape=[2])["x"]
    assert x.shape == (2, 5, 1, 50)
    assert q.get_log_prob({"x": x, "y": y}).shape == (2, 5)


def test_a_stationary_sequence_has_a_small_coefficient():
    with pytest.raises(SupportError, match="between -1 and 1, got -1.5. Give initial_loc"):
        sequence({**STATIONARY, "coefficient": -1.5})
    q = AutoregressiveNormal(
        var=["x"], cond_var=["phi"], steps=4, drift=0.0, scale=1.0, coefficient="phi"
    )
    loss = q.log_prob().mean()
    data = {"x": torch.zeros(3, 4), "phi": torch.tensor([0.5, -0.2, 0.99])}
    assert loss.eval(data).isfinite()
    with pytest.raises(SupportError, match="stationary"):
        loss.eval({**data, "phi": torch.tensor([0.5, 1.0, 0.1])})
    for wrong in ({"steps": 0}, {"steps": None}, {"features_shape": [4]}):
        with pytest.raises(OptionError, match="give the number of steps"):
            sequence(STATIONARY, **wrong)
