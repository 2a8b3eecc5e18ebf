"""Products of normal experts: precisions add, missing experts drop out, nothing is kept."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    MissingVariableError,
    ParameterError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    ElementWiseProductOfNormal,
    Laplace,
    Normal,
    ProductOfNormal,
)
from ancestral.losses import KL, E
from ancestral.models import Model

X, Y = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[4.0, 0.0], [-1.0, 1.0]])


def expert(cond: str, scale: float = 1.0, **options: object) -> Normal:
    """q(z|cond), with its condition as the mean."""
    return Normal(var=["z"], cond_var=[cond], loc=cond, scale=scale, name="q", **options)


def encoder(cond: str, width: int = 2) -> Normal:
    """q(z|cond), with a network."""
    return Normal(var=["z"], cond_var=[cond], net=nn.Linear(width, 4), name="q")


def by_hand(*experts: tuple[torch.Tensor, float]) -> tuple[torch.Tensor, float]:
    """Mean and standard deviation of a product with the standard prior."""
    precision = 1.0 + sum(s**-2 for _, s in experts)
    return sum(m * s**-2 for m, s in experts) / precision, precision**-0.5


def test_parity_precisions_add_with_the_prior_expert():
    q = ProductOfNormal([expert("x", 0.5), expert("y", 2.0)], name="q")
    loc, scale = by_hand((X, 0.5), (Y, 2.0))
    found = q.get_params({"x": X, "y": Y})
    torch.testing.assert_close(found["loc"], loc)
    torch.testing.assert_close(found["scale"], torch.full((2, 2), scale))
    assert scale**-2 == pytest.approx(1 + 4 + 0.25)


def test_parity_omitting_an_input_drops_its_expert():
    q = ProductOfNormal([expert("x", 0.5), expert("y", 2.0)], name="q", features_shape=[2])
    loc, scale = by_hand((Y, 2.0))
    found = q.get_params({"y": Y})
    torch.testing.assert_close(found["loc"], loc)
    torch.testing.assert_close(found["scale"], torch.full((2, 2), scale))
    alone = Normal(var=["z"], loc=loc, scale=scale, features_shape=[2, 2])
    at = torch.ones(2, 2)
    each = alone.get_log_prob({"z": at}, feature_dims=[-1])
    torch.testing.assert_close(q.get_log_prob({"y": Y, "z": at}), each)
    drawn = q.sample({"y": Y}, sample_shape=[3])
    assert set(drawn) == {"y", "z"}
    assert drawn["z"].shape == (3, 2, 2)
    assert q.get_entropy({"x": X}).shape == (2,)
    torch.testing.assert_close(q.get_params({})["scale"], torch.ones(()))
    assert q.sample(batch_n=4)["z"].shape == (4, 2)


def test_without_all_experts_the_prior_is_left():
    prior = Normal(var=["z"], loc=3.0, scale=2.0, name="p")
    q = ProductOfNormal([expert("x")], prior=prior, weight_modalities=[4.0, 1.0])
    found = q.get_params({})
    assert found["loc"].item() == 3.0
    assert found["scale"].item() == pytest.approx(1.0)  # the fourth power of its density


def test_an_expert_in_a_product_is_dropped_by_its_outer_name():
    q = ProductOfNormal([expert("x"), expert("y")]).replace_var(y="w", z="h")
    p = Normal(var=["o"], cond_var=["h"], loc="h", scale=1.0)
    drawn = (p * q).sample({"w": Y})
    assert set(drawn) == {"w", "h", "o"}
    with pytest.raises(MissingVariableError, match="needs 2 values"):
        (p * q).sample([X])


def test_a_mask_drops_experts_row_by_row():
    q = ProductOfNormal([expert("x", 0.5), expert("y", 2.0)], mask="S")
    mask = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]])
    x, y = X[:1].expand(4, 2), Y[:1].expand(4, 2)
    found = q.get_params({"x": x, "y": y, "S": mask})
    for row, present in enumerate(mask.tolist()):
        given = [e for e, m in zip([(X[0], 0.5), (Y[0], 2.0)], present, strict=True) if m]
        loc, scale = by_hand(*given)
        torch.testing.assert_close(found["loc"][row], loc + torch.zeros(2))
        torch.testing.assert_close(found["scale"][row], torch.full((2,), scale))
    only = q.get_params({"y": y, "S": mask})
    torch.testing.assert_close(only["scale"][0], torch.ones(2))  # x is not given at all
    torch.testing.assert_close(only["scale"][2], found["scale"][2])


def test_what_stands_in_a_missing_row_reaches_nothing():
    """A NaN there would reach the gradient through a single ``where``."""
    laws = [encoder("x"), encoder("y")]
    q = ProductOfNormal(laws, mask="S", name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    torn = torch.stack([torch.full((2,), torch.nan), Y[1]])
    loss = (E(q, prior.log_prob()) + KL(q, prior)).mean()
    noise = {"z": torch.zeros(2, 2)}
    found = []
    for y in (torn, Y):
        q.zero_grad()
        value = loss.eval({"x": X, "y": y, "S": mask}, noise=noise)
        value.backward()
        found.append((value.detach(), laws[1].net.weight.grad.clone()))
    assert found[0][0].isfinite()
    assert found[0][1].isfinite().all()
    for torn_part, whole_part in zip(*found, strict=True):
        torch.testing.assert_close(torn_part, whole_part)
    q.zero_grad()
    loss.eval({"x": X, "y": torn * torch.nan, "S": torch.tensor([[1, 0], [1, 0]])}).backward()
    assert torch.equal(laws[1].net.weight.grad, torch.zeros(4, 2))


def test_a_nan_without_a_mask_is_refused():
    q = ProductOfNormal([encoder("x"), encoder("y")], name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    with pytest.raises(ValueError, match="the data y is NaN at index"):
        KL(q, prior).mean().eval({"x": X, "y": Y * torch.nan})


def test_weights_are_exponents():
    prior = Normal(var=["z"], loc=1.0, scale=2.0, features_shape=[2])
    law = expert("x", 0.5, features_shape=[2])
    q = ProductOfNormal([law], weight_modalities=[0.3], prior=prior)
    at = {"x": X[:1].expand(6, 2), "z": torch.linspace(-1, 1, 6)[:, None].expand(6, 2)}
    apart = q.get_log_prob(at) - 0.3 * law.get_log_prob(at) - prior.get_log_prob(at)
    torch.testing.assert_close(apart, apart[:1].expand(6))  # what normalises it
    assert "weight_modalities" in q.state_dict()
    assert q.latex() == r"p(z|x) \propto p(z)q(z|x)^{0.3}"


def test_g6_new_weights_give_new_parameters():
    """Pixyz keeps parameters by the identity of the inputs: stale after a step."""
    law = encoder("x")
    q = ProductOfNormal([law, encoder("y")])
    before = q.get_params({"x": X, "y": Y})["loc"]
    with torch.no_grad():
        law.net.weight.add_(1.0)
    assert not torch.allclose(q.get_params({"x": X, "y": Y})["loc"], before)


def test_extreme_scales_neither_overflow_nor_vanish():
    q = ProductOfNormal([expert("x", 1e-30), expert("y", 1e30)])
    found = q.get_params({"x": X, "y": Y})
    torch.testing.assert_close(found["loc"], X)
    torch.testing.assert_close(found["scale"], torch.full((2, 2), 1e-30))


def test_one_pass_of_each_encoder_trains_both():
    calls = []
    laws = [encoder("x"), encoder("y")]
    for law in laws:
        law.register_forward_hook(lambda law, *_: calls.append(law))
    q = ProductOfNormal(laws, name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    p_x = Normal(var=["x"], cond_var=["z"], net=nn.Linear(2, 4))
    model = Model(
        loss=-(E(q, p_x.log_prob()) - KL(q, prior)).mean(),
        distributions=[q, p_x],
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.1},
    )
    before = [law.net.weight.clone() for law in laws]
    model.train({"x": X, "y": Y})
    assert len(calls) == 2
    assert not any(torch.equal(law.net.weight, w) for law, w in zip(laws, before, strict=True))
    first = model.train({"x": X, "y": Y})
    assert all(model.train({"x": X, "y": Y}).isfinite() for _ in range(3))
    assert first.isfinite()


def test_closed_divergence_and_text_agree_with_the_interpreter():
    q = ProductOfNormal([encoder("x"), expert("y", 0.7)], mask="S", name="q")
    prior = Normal(var=["z"], loc=0.5, scale=2.0, features_shape=[2])
    loss = (KL(q, prior) - E(q, prior.log_prob())).mean()
    given = {"x": X, "y": Y, "S": torch.tensor([[1, 1], [0, 1]])}
    step = loss.function()
    noise = {"z": torch.randn(2, 2)}
    first, second = (step(given, noise=noise) for _ in range(2))  # the interpreter, then the text
    assert torch.equal(first, second)
    params = q.get_params(given)
    own = torch.distributions.Normal(params["loc"], params["scale"])
    wanted = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.5, 2.0)).sum(-1)
    torch.testing.assert_close(KL(q, prior).eval(given), wanted)


def test_prints_as_pixyz_does():
    q = ProductOfNormal([expert("x"), expert("y").replace_var(y="y_u")], name="q")
    assert q.latex() == r"q(z|x,y_{u}) \propto p(z)q(z|x)q(z|y_{u})"
    assert str(q).splitlines()[1] == "  q(z|x,y_u) ∝ p(z)q(z|x)q(z|y_u)"
    assert "∝" in q.mathml()
    masked = ProductOfNormal([expert("x"), expert("y")], mask="S", name="q")
    assert masked.latex() == r"q(z|x,y,S) \propto p(z)q(z|x)^{S_{1}}q(z|y)^{S_{2}}"
    entries = ElementWiseProductOfNormal(expert("x"), name="q")
    assert entries.latex() == r"q(z|x) \propto p(z)\prod_{j} q(z|x_{j})"


def test_copies_share_nothing():
    q = ProductOfNormal([encoder("x")], weight_modalities=[0.5])
    for twin in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        torch.testing.assert_close(twin.get_params([X]), q.get_params([X]))
        assert twin._every[0].law is twin.experts[1]
        assert twin.experts[1].net.weight is not q.experts[1].net.weight


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ProductOfNormal([]), ParameterError, "needs at least one expert"),
        (
            lambda: ProductOfNormal([Laplace(var=["z"], loc=0.0, scale=1.0)]),
            ParameterError,
            "Laplace",
        ),
        (lambda: ProductOfNormal(["x"]), ParameterError, "got str"),
        (
            lambda: ProductOfNormal([expert("x"), expert("y").replace_var(z="w")]),
            VariableError,
            "different variables",
        ),
        (
            lambda: ProductOfNormal([expert("x")], prior=Normal(loc=0.0, scale=1.0)),
            VariableError,
            r"prior=p.replace_var\(x='z'\)",
        ),
        (
            lambda: ProductOfNormal([expert("x")], weight_modalities=[1.0, 1.0, 1.0]),
            ParameterError,
            "give 1 or 2 numbers",
        ),
        (
            lambda: ProductOfNormal([expert("x")], weight_modalities=[-1.0]),
            ParameterError,
            "0 or more",
        ),
        (
            lambda: ProductOfNormal([expert("x")], mask="S").get_params(
                {"x": X, "S": torch.ones(2)}
            ),
            ShapeError,
            "one entry for each of the 1 experts",
        ),
        (
            lambda: ElementWiseProductOfNormal(Normal(var=["z"], loc=0.0, scale=1.0)),
            ParameterError,
            "one condition",
        ),
    ],
)
def test_mistakes_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_d4_each_entry_is_an_expert():
    """Pixyz's class fails on every input."""
    p = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4), name="q")
    q = ElementWiseProductOfNormal(p, name="q")
    x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    found = q.get_params({"x": x})
    each = [p.get_params({"x": torch.eye(3)[j : j + 1] * x[:1]}) for j in (0, 2)]
    precision = 1.0 + sum(e["scale"] ** -2 for e in each)
    loc = sum(e["loc"] * e["scale"] ** -2 for e in each) / precision
    torch.testing.assert_close(found["loc"][:1], loc)
    torch.testing.assert_close(found["scale"][:1], precision**-0.5)
    torch.testing.assert_close(found["scale"][1], torch.ones(2))  # all missing: the prior
    calls = []
    p.register_forward_hook(lambda *_: calls.append(1))
    assert q.sample({"x": x}, sample_shape=[4])["z"].shape == (4, 2, 2)
    assert len(calls) == 1
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    KL(q, prior).mean().eval({"x": x}).backward()
    assert p.net.weight.grad.isfinite().all()


def test_a_mask_makes_zero_a_value():
    p = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4), name="q")
    q = ElementWiseProductOfNormal(p, mask="S")
    x = torch.tensor([[1.0, 0.0, torch.nan]])
    found = q.get_params({"x": x, "S": torch.tensor([[1, 1, 0]])})
    each = [p.get_params({"x": v}) for v in (torch.eye(3)[:1], torch.zeros(1, 3))]
    precision = 1.0 + sum(e["scale"] ** -2 for e in each)
    torch.testing.assert_close(found["scale"], precision**-0.5)


def test_it_is_compiled_as_one_graph(caplog):
    """Constants of the experts are read inside the graph, where no number may be looked at."""
    q = ProductOfNormal([expert("x", 0.5), encoder("y")], name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    loss = E(q, prior.log_prob()).mean()
    given, noise = {"x": X, "y": Y}, {"z": torch.zeros(2, 2)}
    compiled, eager = loss.function(compile="aot_eager"), loss.function()
    for _ in range(2):
        torch.testing.assert_close(compiled(given, noise=noise), eager(given, noise=noise))
    assert "without compilation" not in caplog.text
