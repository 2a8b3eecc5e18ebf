"""Renaming and fixing variables of a loss, without capture; detaching; what is an input."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import MissingVariableError, OptionError, VariableError
from ancestral.distributions import Bernoulli, Categorical, EmpiricalDistribution, Normal
from ancestral.losses import KL, E, Entropy, Function, Parameter, sqnorm, values
from ancestral.losses.scope import value_names
from tests.lowering.reading import draws, twice

x, z, beta = values("x z beta")
f64 = torch.float64


def posterior():
    return Normal(var=["z"], cond_var=["x"], loc="x", scale=0.5, name="q")


def likelihood():
    return Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)


def prior():
    return Normal(var=["z"], loc=0.0, scale=1.0)


def elbo():
    return E(posterior(), likelihood().log_prob()) - KL(posterior(), prior())


def test_renamed_losses_read_other_data():
    batch = {"x": torch.randn(4, dtype=f64), "u": torch.randn(4, dtype=f64)}
    noise = {"z": torch.randn(4, dtype=f64)}
    renamed = elbo().replace_var(x="u")
    assert renamed.input_var == ["u"]
    expected = elbo().eval({"x": batch["u"]}, noise=noise)
    assert torch.equal(twice(renamed, batch, noise=noise), expected)
    back = renamed.replace_var(u="x")
    assert torch.equal(back.eval({"x": batch["u"]}, noise=noise), expected)


def test_bound_variables_are_not_renamed():
    with pytest.raises(VariableError, match="no free variable 'z'"):
        elbo().replace_var(z="u")
    loss = elbo() + z  # z is bound in one term, data in the other
    renamed = loss.replace_var(z="w")
    assert sorted(renamed.input_var) == ["w", "x"]
    noise = {"z": torch.randn(3, dtype=f64)}
    batch = {"x": torch.ones(3, dtype=f64), "w": torch.full((3,), 5.0, dtype=f64)}
    expected = elbo().eval(batch, noise=noise) + 5
    torch.testing.assert_close(twice(renamed, batch, noise=noise), expected)


def test_a_bound_variable_of_the_new_name_does_not_capture():
    """x becomes z, and the z that E binds is another one."""
    inner = E(posterior(), (x - z) ** 2 + likelihood().log_prob())
    renamed = inner.replace_var(x="z")
    assert renamed.input_var == ["z"]
    batch, noise = torch.randn(4, dtype=f64), torch.randn(4, dtype=f64)
    expected = inner.eval({"x": batch}, noise={"z": noise})
    found = twice(renamed, {"z": batch}, noise={"z": noise})
    assert torch.equal(found, expected)
    shifted = renamed + z
    torch.testing.assert_close(twice(shifted, {"z": batch}, noise={"z": noise}), expected + batch)


def test_names_may_be_swapped_at_once():
    a, b = values("a b")
    loss = a - 2 * b
    batch = {"a": torch.tensor([1.0]), "b": torch.tensor([10.0])}
    assert twice(loss.replace_var(a="b", b="a"), batch).item() == 10 - 2
    assert twice(loss.replace_var(a="b"), {"b": torch.tensor([3.0])}).item() == -3.0
    assert (
        twice(loss.replace_var(a="b").replace_var(b="a"), {"a": torch.tensor([3.0])}).item() == -3
    )


def test_a_renaming_reaches_into_everything():
    f = Function(lambda v: v.sin(), name="f")
    q_y = Categorical(var=["y"], cond_var=["x"], name="q", net=nn.Linear(3, 2).double())
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3])
    terms = [
        p.log_prob() * p.prob(),
        sqnorm(f(x)).clamp(max=2.0).max(0.1) / sqnorm(x),
        Entropy(q_y) + KL(q_y, q_y.replace_var(y="y").detach()),
        sqnorm(x.detach()) + E(p, sqnorm(x)),
    ]
    batch = torch.randn(4, 3, dtype=f64)
    for term in terms:
        renamed = term.replace_var(x="u")
        assert renamed.input_var == ["u"]
        found, expected = (twice(t, {n: batch}) for t, n in ((renamed, "u"), (term, "x")))
        if term is not terms[3]:  # where x is drawn, too
            assert torch.equal(found, expected)


def test_constants_replace_free_variables():
    batch = {"x": torch.tensor([1.0, -2.0], dtype=f64)}
    loss = beta * x**2 + beta
    assert loss.constant_var({"beta": 0.1}).input_var == ["x"]
    by_hand = 0.1 * batch["x"] ** 2 + 0.1
    torch.testing.assert_close(twice(loss.constant_var({"beta": 0.1}), batch), by_hand)
    fixed = loss.constant_var({"x": -3.0}).constant_var({"beta": 2.0})
    assert fixed.eval().item() == 20.0
    with pytest.raises(VariableError, match="no free variable 'z'"):
        elbo().constant_var({"z": 0.0})
    with pytest.raises(VariableError, match="did you mean 'beta'"):
        loss.constant_var({"bet": 0.0})


@pytest.mark.parametrize("event", [(), (3,)])
def test_a_constant_as_the_value_of_a_law_stands_for_its_event(event):
    p = Normal(var=["y"], cond_var=["x"], loc="x", scale=0.3, name="p")
    batch = {"x": torch.randn(4, *event, dtype=f64)}
    y = torch.full((4, *event), 0.7, dtype=f64)
    expected = p.log_prob().eval({**batch, "y": y})
    assert torch.equal(twice(p.log_prob().constant_var({"y": 0.7}), batch), expected)
    p_0 = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=list(event))
    found = p_0.log_prob().constant_var({"z": 1.0}).eval()
    size = math.prod(event)
    assert found.item() == pytest.approx(-size * (0.5 + 0.5 * math.log(2 * math.pi)))


def test_a_constant_class_label():
    d = Bernoulli(var=["r"], cond_var=["x"], name="d", net=nn.Linear(2, 1).double())
    batch = torch.randn(5, 2, dtype=f64)
    logits = d.net(batch)[:, 0]
    for r in (0, 1):
        found = twice(d.log_prob().constant_var({"r": r}), {"x": batch})
        expected = nn.functional.logsigmoid(logits if r else -logits)
        torch.testing.assert_close(found, expected)
    c = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(2, 3).double(), onehot=False)
    found = twice(c.log_prob().constant_var({"y": 2}), {"x": batch})
    torch.testing.assert_close(found, c.net(batch).log_softmax(-1)[:, 2])


def test_a_constant_condition():
    loss = E(posterior(), z).constant_var({"x": 2.0})
    assert loss.input_var == []
    value = twice(loss, noise={"z": torch.tensor([1.0, 3.0, 5.0])}, batch_n=3)
    assert value.item() == pytest.approx(2 + 0.5 * 3)
    net = nn.Linear(1, 2)
    q = Normal(var=["z"], cond_var=["x"], net=lambda x: net(x[:, None]), name="q")
    loss = KL(q, prior()).constant_var({"x": 2.0})
    torch.testing.assert_close(loss.eval(), KL(q, prior()).eval({"x": torch.tensor([2.0])})[0])


def test_data_that_an_empirical_law_draws_is_bound():
    data = EmpiricalDistribution(["x"])
    loss = E(data, x) + likelihood().log_prob().mean()
    assert sorted(loss.input_var) == ["x", "z"]
    renamed = loss.replace_var(x="u")  # the free x; that of the law stays
    assert sorted(renamed.input_var) == ["u", "x", "z"]
    batch = {"x": torch.ones(3), "u": torch.zeros(2), "z": torch.zeros(2)}
    expected = 1 - 0.5 * math.log(2 * math.pi)
    assert twice(renamed, batch).item() == pytest.approx(expected)
    with pytest.raises(VariableError, match=r"an empirical law draws 'x'.*law\.replace_var"):
        E(data, x).replace_var(x="u")
    other = E(data.replace_var(x="u"), values("u"))
    assert other.input_var == ["u"]


def test_inputs_are_the_free_variables_in_order():
    assert elbo().input_var == ["x"]
    assert (beta * elbo() + values("y")).input_var == ["beta", "x", "y"]
    assert E(posterior(), z).mean().input_var == ["x"]
    assert KL(posterior(), prior()).input_var == ["x"]
    assert likelihood().log_prob().input_var == ["x", "z"]
    with pytest.raises(MissingVariableError, match="needs a value for x. Given: X"):
        elbo().eval({"X": torch.ones(3)})


def test_detach_cuts_and_keeps_the_value():
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(2, 4).double(), name="q")
    weight = q.net.weight
    batch = {"x": torch.randn(3, 2, dtype=f64)}
    p = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    loss = KL(q, p)
    value = twice(loss.detach(), batch)
    assert not value.requires_grad
    assert torch.equal(value, loss.eval(batch))
    half = (loss * loss.detach()).sum().eval(batch)
    whole = (loss**2).sum().eval(batch)
    (a,), (b,) = (torch.autograd.grad(v, weight) for v in (half, whole))
    torch.testing.assert_close(2 * a, b)
    cut = KL(q.detach(), p).eval(batch)
    assert torch.equal(cut, loss.eval(batch))
    assert not cut.requires_grad
    density = E(q, q.detach().log_prob()).mean()
    assert draws(density) == ["z"]
    noise = {"z": torch.randn(3, 2, dtype=f64)}
    (found,) = torch.autograd.grad(density.eval(batch, noise=noise), weight)
    loc, raw = q.net(batch["x"]).chunk(2, -1)
    scale = nn.functional.softplus(raw)
    drawn = loc + scale * noise["z"]
    fixed = torch.distributions.Normal(loc.detach(), scale.detach())
    (by_hand,) = torch.autograd.grad(fixed.log_prob(drawn).sum(-1).mean(), weight)
    torch.testing.assert_close(found, by_hand)


def test_substitution_inside_an_expectation_reads_the_draw():
    f = E(posterior(), (values("y") + z).replace_var(y="z"))
    assert f.input_var == ["x"]
    value = twice(f, {"x": torch.zeros(2)}, noise={"z": torch.tensor([1.0, 2.0])})
    assert value.tolist() == [1.0, 2.0]
    weight = Parameter("beta")
    g = E(posterior(), (weight * z).constant_var({"beta": 3.0}))
    assert twice(g, {"x": torch.zeros(1)}, noise={"z": torch.ones(1)}).item() == 1.5


# -- a value in place of a variable ---------------------------------------------------------------
u = values("u")


def noise_law():
    return Normal(var=["u"], cond_var=["x"], net=nn.Linear(2, 4).double(), name="q")


def at_the_sum():
    p = Normal(var=["x"], loc=nn.Parameter(torch.ones(2, dtype=f64)), scale=2.0, name="p")
    q = noise_law()
    return p, q, E(q, p.log_prob().replace_var(x=x + u) - q.log_prob())


def test_a_density_at_a_computed_value_prints_and_reads_both():
    _, _, loss = at_the_sum()
    assert str(loss) == "E_{q(u|x)}[log p(x + u) - log q(u|x)]"
    assert loss.latex().endswith(r"\left[\log p(x + u) - \log q(u|x) \right]")
    assert loss.input_var == ["x"]
    assert "x + u" in loss.graph()


def test_a_density_at_a_computed_value_is_differentiated_through_it():
    p, q, loss = at_the_sum()
    data, eps = torch.randn(4, 2, dtype=f64), torch.randn(4, 2, dtype=f64)
    loc, raw = q.net(data).chunk(2, -1)
    scale = nn.functional.softplus(raw)
    drawn = loc + scale * eps
    by_hand = torch.distributions.Normal(p.loc, 2.0).log_prob(data + drawn).sum(-1)
    by_hand = by_hand - torch.distributions.Normal(loc, scale).log_prob(drawn).sum(-1)
    found = twice(loss.mean(), {"x": data}, noise={"u": eps})
    torch.testing.assert_close(found, by_hand.mean())
    wanted = torch.autograd.grad(by_hand.mean(), [p.loc, q.net.weight])
    for one, two in zip(torch.autograd.grad(found, [p.loc, q.net.weight]), wanted, strict=True):
        torch.testing.assert_close(one, two)


def test_a_computed_value_stands_for_a_condition_and_is_shared():
    f = Function(torch.tanh, name="f")
    p = Normal(var=["y"], cond_var=["z"], loc="z", scale=1.0)
    loss = p.log_prob().replace_var(z=f(x)) + sqnorm(f(x))
    assert str(loss) == "log p(y|f(x)) + ||f(x)||^2"
    assert sorted(loss.input_var) == ["x", "y"]
    assert [str(s.text) for s in loss.program().steps if type(s).__name__ == "Call"] == ["f(x)"]
    a, b = torch.randn(3, 2, dtype=f64), torch.randn(3, 2, dtype=f64)
    by_hand = torch.distributions.Normal(a.tanh(), 1.0).log_prob(b).sum(
        -1
    ) + a.tanh().square().sum(-1)
    torch.testing.assert_close(twice(loss, {"x": a, "y": b}), by_hand)


def test_a_computed_value_is_not_captured():
    """The u outside is another one than that which E binds, and they do not print alike."""
    q = Normal(var=["u"], loc=0.0, scale=1.0, name="q")
    inner = E(q, (x - u) ** 2)
    outside = inner.replace_var(x=2 * u)
    assert outside.input_var == ["u"]
    assert str(outside) == "E_{q(u')}[(2 u - u')^2]"
    data, eps = torch.randn(3, dtype=f64), torch.randn(3, dtype=f64)
    found = twice(outside, {"u": data}, noise={"u": eps})
    torch.testing.assert_close(found, (2 * data - eps) ** 2)


def test_what_a_computed_value_is_made_of_is_data():
    """No weight of a term, such as beta: it has rows."""
    p = Normal(var=["x"], loc=0.0, scale=1.0)
    loss = (beta * p.log_prob()).replace_var(x=values("y") + 1)
    assert value_names(loss) == {"beta"}


def test_what_cannot_stand_in_for_a_variable_is_refused():
    with pytest.raises(OptionError, match=r"a variable stands for another.*constant_var"):
        posterior().log_prob().replace_var(x=3.0)
    with pytest.raises(OptionError, match=r"takes a name, got a Add.*log_prob\(\)\.replace_var"):
        posterior().replace_var(x=x + u)
