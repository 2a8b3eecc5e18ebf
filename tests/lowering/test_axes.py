"""Axes: rows that are kept and rows that are averaged, copies k, plates, draws of the plan."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, ScopeError, ShapeError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    EmpiricalDistribution,
    Normal,
)
from ancestral.losses import KL, E, Enumerate, Function, Parameter, ValueLoss, norm, sqnorm, values
from tests.lowering.reading import axes, draws, program, twice

x, z, u = values("x z u")
f64 = torch.float64


def prior(**options):
    return Normal(var=["z"], loc=0.0, scale=1.0, **options)


def likelihood():
    return Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)


def posterior():
    return Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")


def result_axes(loss, **scalars):
    return [str(a) for a in program(loss, **scalars).result.axes]


# -- rows ------------------------------------------------------------
def test_an_expression_has_the_axes_of_its_free_variables():
    q, p = posterior(), likelihood()
    assert result_axes(E(q, p.log_prob())) == ["n"]
    assert result_axes(E(prior(), p.log_prob())) == ["n"]  # x is free
    assert result_axes(E(p * prior(), x * z)) == []
    assert result_axes(KL(q, prior())) == ["n"]
    assert result_axes(KL(prior(name="q"), prior(name="p"))) == []
    assert result_axes(E(EmpiricalDistribution(["x"]), x)) == []
    assert result_axes(E(q, p.log_prob()).mean()) == []
    assert result_axes(x * Parameter("beta"), beta=0.5) == ["n"]
    assert result_axes(Parameter("beta") * 2, beta=0.5) == []
    assert result_axes(0 * x + 1) == ["n"]
    assert result_axes(x - x) == ["n"]


def test_rows_that_cancel_are_still_rows():
    rows = {"x": torch.ones(4)}
    assert (x - x + 1).sum().eval(rows).item() == 4.0
    assert (0 * x + 2).eval(rows).tolist() == [2.0] * 4
    assert (0.0 * E(posterior(), z) + 1).sum().eval(rows).item() == 4.0


def test_mean_and_sum_are_over_rows():
    batch = {"x": torch.tensor([1.0, 2.0, 6.0])}
    assert twice(x.mean(), batch).item() == 3.0
    assert twice(x.sum(), batch).item() == 9.0
    assert twice(x.mean().sum().mean(), batch).item() == 3.0  # nothing is left to reduce
    assert twice(x - x.mean(), batch).tolist() == [-2.0, -1.0, 3.0]
    assert ValueLoss(2.0).mean().eval().item() == 2.0


def test_events_are_summed_and_rows_are_not():
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3, 2])
    batch = {"x": torch.randn(5, 3, 2, dtype=f64)}
    by_hand = (-0.5 * batch["x"] ** 2 - 0.5 * math.log(2 * math.pi)).sum((1, 2))
    torch.testing.assert_close(twice(p.log_prob(), batch), by_hand)


def test_a_draw_from_a_prior_is_made_for_each_row():
    p = Normal(var=["x"], cond_var=["z"], net=nn.Linear(2, 6), name="p")
    loss = E(prior(features_shape=[2]), p.log_prob())
    value, found = loss.function()({"x": torch.randn(7, 3)}, return_dict=True)
    assert value.shape == (7,)
    assert found["z"].shape == (7, 2)
    assert found["z"].unique().numel() == 14


def test_an_expectation_that_leaves_nothing_free_is_drawn_on_as_many_rows_as_the_batch():
    g = Deterministic(var=["x"], cond_var=["z"], net=lambda z: 2 * z, name="g")
    fake = (g * prior()).marginalize_var("z")
    loss = E(fake, x**2) - E(EmpiricalDistribution(["x"]), x)
    for rows in (3, 11):
        noise = torch.randn(rows)
        value = twice(loss, {"x": torch.ones(rows)}, noise={"z": noise})
        torch.testing.assert_close(value, (4 * noise**2).mean() - 1)
    alone = E(fake, x**2)
    noise = torch.randn(6)
    torch.testing.assert_close(twice(alone, batch_n=6, noise={"z": noise}), (4 * noise**2).mean())
    assert alone.eval().shape == ()


def test_one_joint_zips_its_rows():
    data = EmpiricalDistribution(["x"])
    fake = prior().replace_var(z="u")
    loss = E(data * fake, x * u)
    noise = torch.randn(5)
    value = twice(loss, {"x": torch.arange(5.0)}, noise={"u": noise})
    torch.testing.assert_close(value, (torch.arange(5.0) * noise).mean())


def test_inner_expectations_keep_the_rows_of_outer_draws():
    q2 = Normal(var=["u"], cond_var=["z"], loc="z", scale=1.0, name="q2")
    loss = E(prior(), E(q2, u) ** 2)
    assert axes(loss) == {"z": [("n", None)], "u": [("n", None)], "u#2": [("n", None)]}
    noise = {"z": torch.randn(4), "u": torch.randn(4), "u#2": torch.randn(4)}
    by_hand = ((noise["z"] + noise["u"]) * (noise["z"] + noise["u#2"])).mean()
    torch.testing.assert_close(twice(loss, batch_n=4, noise=noise), by_hand)


def test_inner_expectations_keep_the_rows_of_enumerated_draws():
    """A value of a table stands once for all rows; the expectation under it still has them."""
    net = nn.Linear(1, 2).double()
    q_y = Categorical(var=["y"], cond_var=["x"], name="q_y", net=lambda x: net(x[:, None]))
    q_z = Normal(
        var=["z"], cond_var=["y"], name="q_z", net=lambda y: {"loc": y[:, 0], "scale": 1.0}
    )
    loss = E(q_y, E(q_z, z * z)).estimate({q_y: Enumerate()})
    assert result_axes(loss) == ["n"]
    x_, noise = torch.randn(3, dtype=f64), torch.randn(2, 3, dtype=f64)
    pi = net(x_[:, None]).softmax(-1)
    by_hand = pi[:, 0] * (1 + noise[0]) ** 2 + pi[:, 1] * noise[1] ** 2
    torch.testing.assert_close(twice(loss, {"x": x_}, noise={"z": noise}), by_hand)


def test_a_bound_name_hides_data_of_the_same_name():
    loss = E(posterior(), z) + z
    batch = {"x": torch.zeros(2), "z": torch.tensor([5.0, 7.0])}
    value = twice(loss, batch, noise={"z": torch.ones(2)})
    assert value.tolist() == [6.0, 8.0]
    assert E(prior(), z).input_var == []


def test_a_hidden_variable_keeps_its_outer_meaning():
    p_x = (likelihood() * prior()).marginalize_var("z")
    loss = E(p_x, x * z)  # z is data here: the integrated one is not seen
    assert loss.input_var == ["z"]
    noise = {"z": torch.tensor([1.0]), "x": torch.tensor([0.5])}
    assert twice(loss, {"z": torch.tensor([10.0])}, noise=noise).tolist() == [15.0]


def test_noise_of_a_wrong_shape_is_refused():
    loss = E(posterior(), z).mean()
    function = loss.function()
    for _ in range(2):
        function({"x": torch.zeros(4)}, noise={"z": torch.zeros(4)})
    for wrong in (torch.zeros(()), torch.zeros(1), torch.zeros(3, 4), torch.zeros(4, 1)):
        with pytest.raises(ShapeError, match=r"noise=\{'z': ...\} has shape .* takes \(4,\)"):
            function({"x": torch.zeros(4)}, noise={"z": wrong})
    with pytest.raises(OptionError, match="did you mean 'z'"):
        loss.eval({"x": torch.zeros(4)}, noise={"Z": torch.zeros(4)})


# -- copies ------------------------------------------------------------
def test_importance_weighted_bound_of_the_oracle():
    """z ~ N(0,1), x|z ~ N(z,1), q = N(0,1), x = 1; log p(x) = -1.515512."""
    q, p = prior(name="q"), likelihood()
    w = (p * prior(name="p")).log_prob() - q.log_prob()
    exact = {1: -1.918939, 2: -1.6526, 5: -1.5577, 10: -1.5353, 50: -1.5194}
    slack = {1: 1e-6, 2: 1e-3, 5: 5e-4, 10: 3e-4, 50: 3e-4}  # how well the values are known
    for k, value in exact.items():
        rows = 400_000 // k
        bound = E(q.iid(k=k), w.exp().mean("k").log()).eval({"x": torch.ones(rows)})
        error = bound.std().item() / math.sqrt(rows)
        # without -log K a bound would be off by log 2 or more; a K off by one by 0.02 or more
        assert abs(bound.double().mean().item() - value) < 5 * error + slack[k]
        assert error < 0.003


def test_one_copy_is_the_elbo():
    q, p = posterior(), likelihood()
    w = (p * prior()).log_prob() - q.log_prob()
    bound, elbo = E(q.iid(k=1), w.exp().mean("k").log()), E(q, w)
    noise, batch = torch.randn(6, dtype=f64), {"x": torch.randn(6, dtype=f64)}
    one = twice(bound, batch, noise={"z": noise[None]})
    torch.testing.assert_close(one, elbo.eval(batch, noise={"z": noise}), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        (lambda: z.mean("k"), lambda v: v.mean(0)),
        (lambda: z.sum("k"), lambda v: v.sum(0)),
        (lambda: z.exp().mean("k").log(), lambda v: v.logsumexp(0) - math.log(4)),
        (lambda: z.exp().sum("k").log(), lambda v: v.logsumexp(0)),
        (lambda: (z - z.mean("k")) ** 2, None),
        (lambda: ((z - z.mean("k")) ** 2).sum("k") / 3, lambda v: v.var(0)),
        (lambda: (z.exp() * x.exp()).mean("k").log(), lambda v: v.logsumexp(0) - math.log(4)),
        (lambda: ValueLoss(3.0).sum("k"), lambda v: torch.full(v.shape[1:], 12.0)),
        (lambda: x.exp().mean("k").log(), lambda v: torch.zeros(v.shape[1:])),
        (lambda: x.exp().sum("k").log(), lambda v: torch.full(v.shape[1:], math.log(4))),
        (lambda: (z.exp() / z.exp().sum("k") * z).sum("k"), lambda v: (v.softmax(0) * v).sum(0)),
    ],
)
def test_reductions_over_copies(loss, by_hand):
    q = posterior()
    whole = E(q.iid(k=4), loss())
    if by_hand is None:
        with pytest.raises(ScopeError, match="'k' of its copies is left free"):
            whole.program()
        return
    noise, batch = torch.randn(4, 5, dtype=f64), {"x": torch.zeros(5, dtype=f64)}
    value = twice(whole, batch, noise={"z": noise})
    torch.testing.assert_close(value.expand(5), by_hand(noise).to(f64))


def test_a_log_of_a_mean_of_exponentials_does_not_overflow():
    whole = E(posterior().iid(k=3), (1000 * z).exp().mean("k").log())
    value = twice(whole, {"x": torch.ones(1)}, noise={"z": torch.zeros(3, 1)})
    assert value.item() == pytest.approx(1000.0)


def test_copies_left_free_and_copies_that_nobody_binds():
    q = posterior()
    for loose in (z, z.exp(), z - z.mean("k"), z * x):
        with pytest.raises(ScopeError, match="left free"):
            E(q.iid(k=3), loose).program()
    with pytest.raises(ScopeError, match="nothing binds the axis 'k'"):
        E(q, z.mean("k")).program()
    with pytest.raises(ScopeError, match="did you mean 'k'"):
        E(q.iid(k=3), z.mean("K")).program()


def test_copies_within_draws():
    q = posterior()
    loss = E(q.iid(k=3), z.exp().mean("k").log(), sample_shape=[2])
    assert axes(loss) == {"z": [("draws", 2), ("k", 3), ("n", None)]}
    noise, batch = torch.randn(2, 3, 5, dtype=f64), {"x": torch.zeros(5, dtype=f64)}
    value = twice(loss, batch, noise={"z": noise})
    torch.testing.assert_close(value, (noise.logsumexp(1) - math.log(3)).mean(0))


def test_networks_see_all_axes_as_one():
    seen = []
    net = nn.Linear(2, 6).double()
    net.register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))
    p = Normal(var=["x"], cond_var=["z"], net=net, name="p")
    q = Normal(var=["z"], cond_var=["x"], name="q", net=lambda x: {"loc": x[:, :2], "scale": 1.0})
    loss = E(q.iid(k=3), p.log_prob().mean("k"), sample_shape=[2])
    batch = {"x": torch.randn(5, 3, dtype=f64)}
    noise = torch.randn(2, 3, 5, 2, dtype=f64)
    value = twice(loss, batch, noise={"z": noise})
    assert seen == [(30, 2)] * 2
    loc, scale = net(batch["x"][:, :2] + noise).chunk(2, -1)
    law = torch.distributions.Normal(loc, nn.functional.softplus(scale))
    torch.testing.assert_close(value, law.log_prob(batch["x"]).sum(-1).mean((0, 1)))


# -- plates ------------------------------------------------------------
def test_two_plates_meet_after_they_are_reduced():
    q, p = posterior(), likelihood()
    term = E(q, p.log_prob()) - KL(q, prior())
    loss = term.mean() + 2 * term.replace_var(x="u").sum()
    noise = {"z": torch.randn(3, dtype=f64), "z#2": torch.randn(5, dtype=f64)}
    batch = {"x": torch.randn(3, dtype=f64), "u": torch.randn(5, dtype=f64)}
    value = twice(loss, batch, noise=noise)
    one = term.eval({"x": batch["x"]}, noise={"z": noise["z"]}).mean()
    two = term.eval({"x": batch["u"]}, noise={"z": noise["z#2"]}).sum()
    torch.testing.assert_close(value, one + 2 * two)


def test_two_plates_that_meet_unreduced_are_an_error():
    loss = x * values("u")
    twice(loss, {"x": torch.ones(3), "u": torch.ones(3)})
    with pytest.raises(ShapeError, match=r"u has 5 rows and x has 3, but they meet"):
        loss.eval({"x": torch.ones(3), "u": torch.ones(5)})
    function = loss.function()
    for _ in range(2):
        function({"x": torch.ones(3), "u": torch.ones(3)})
    for rows in (5, 1):  # one row would broadcast without a word
        with pytest.raises(ShapeError, match="they meet in one term"):
            function({"x": torch.ones(3), "u": torch.ones(rows)})
    with pytest.raises(ShapeError, match="they meet in one term"):
        (E(posterior(), z) + u).mean().eval({"x": torch.ones(3), "u": torch.ones(5)})


def test_expectations_over_data_are_plates_of_their_own():
    labelled, unlabelled = EmpiricalDistribution(["x"]), EmpiricalDistribution(["u"], name="p_u")
    loss = E(labelled, x) - E(unlabelled, u**2)
    value = twice(loss, {"x": torch.tensor([1.0, 3.0]), "u": torch.ones(5)})
    assert value.item() == 1.0
    together = E(labelled * unlabelled, x * u)
    with pytest.raises(ShapeError, match="they meet in one term"):
        together.eval({"x": torch.ones(3), "u": torch.ones(5)})


def test_a_plate_is_known_through_renaming():
    q = posterior()
    first, second = E(q, z).replace_var(x="a"), E(q, z).replace_var(x="b")
    batch = {"a": torch.zeros(2), "b": torch.zeros(3)}
    assert (first.mean() + second.mean()).eval(batch).shape == ()
    with pytest.raises(ShapeError, match="they meet in one term"):
        (first + second).mean().eval(batch)


def test_an_unconditional_draw_between_two_plates_names_them():
    loss = x.mean() + u.mean() + E(prior(), z**2)
    with pytest.raises(ScopeError, match=r"either of two data sets.*rows_of='x' or rows_of='u'"):
        loss.program()
    shared = E(prior(), (x * z).mean() + (u * z).mean())  # one draw joins the rows of both
    with pytest.raises(ShapeError, match="they meet in one term"):
        shared.eval({"x": torch.ones(3), "u": torch.ones(5)})


def test_weights_have_no_rows():
    beta = Parameter("beta")
    loss = (beta * KL(posterior(), prior())).mean()
    batch = {"x": torch.ones(3)}
    for given in ({"beta": 2.0}, {"beta": torch.tensor(2.0)}):
        assert twice(loss, batch, **given).item() == pytest.approx(1.0)
    assert loss.eval({**batch, "beta": torch.tensor([0.0, 2.0, 4.0])}).item() == pytest.approx(1.0)


# -- events beside numbers ------------------------------------------------------------
def test_a_number_per_row_times_an_event():
    t = values("t")
    path = (1 - t) * x + t * u
    batch = {
        "t": torch.rand(4, dtype=f64),
        "x": torch.randn(4, 3, dtype=f64),
        "u": torch.randn(4, 3, dtype=f64),
    }
    s = batch["t"][:, None]
    by_hand = (1 - s) * batch["x"] + s * batch["u"]
    torch.testing.assert_close(twice(sqnorm(path), batch), (by_hand**2).sum(-1))
    torch.testing.assert_close(twice(norm(path), batch), by_hand.norm(dim=-1))
    unit = sqnorm(x / norm(x) + u * norm(u))
    a, b = batch["x"], batch["u"]
    by_hand = a / a.norm(dim=-1, keepdim=True) + b * b.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(twice(unit, batch), (by_hand**2).sum(-1))


def test_an_event_beside_a_loss_is_refused():
    elbo = KL(posterior(), prior())
    batch = {"x": torch.ones(3), "u": torch.ones(3, 1)}
    for loss in (u * elbo, elbo + u, elbo.max(u), elbo / u, u - elbo, u.mean()):
        with pytest.raises(ShapeError, match=r"u has shape \(3, 1\)"):
            loss.mean().eval(batch)
    with pytest.raises(ShapeError, match="event shapes do not fit"):
        sqnorm(x + u).eval({"x": torch.ones(3, 2), "u": torch.ones(3, 4)})


def test_a_function_may_return_a_column():
    head = Function(nn.Linear(2, 1), name="d")
    loss = (head(x) * E(Bernoulli(var=["z"], cond_var=["x"], probs=0.5), 1.0)).mean()
    assert twice(loss, {"x": torch.randn(4, 2)}).shape == ()
    with pytest.raises(ShapeError, match=r"d\(x\) has shape \(4, 2\)"):
        Function(nn.Identity(), name="d")(x).mean().eval({"x": torch.randn(4, 2)})
    with pytest.raises(ShapeError, match="first axis is the rows"):
        Function(torch.sum, name="d")(x).mean().eval({"x": torch.randn(4, 2)})


def test_draws_of_equal_size_in_two_terms_are_averaged_apart():
    q = posterior()
    loss = E(q, z, sample_shape=[3]) * E(q, z, sample_shape=[3])
    assert draws(loss) == ["z", "z#2"]
    a, b = torch.randn(3, 2, dtype=f64), torch.randn(3, 2, dtype=f64)
    value = twice(loss, {"x": torch.zeros(2, dtype=f64)}, noise={"z": a, "z#2": b})
    torch.testing.assert_close(value, a.mean(0) * b.mean(0))
