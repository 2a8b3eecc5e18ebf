"""Laws of matrices: what they are of other laws, at shapes beyond those of the contract."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import ParameterError, ShapeError
from ancestral.distributions import MatrixNormal, MultivariateNormal, Normal
from ancestral.losses import E, KullbackLeibler

f64 = torch.float64


def triangle(size: int, seed: int) -> torch.Tensor:
    """A lower triangle with a positive diagonal."""
    made = torch.randn(size, size, dtype=f64, generator=torch.Generator().manual_seed(seed))
    return made.tril(-1) + torch.diag_embed(made.diagonal().exp())


ROW, COLUMN = triangle(2, 0), triangle(3, 1)
MEAN = torch.linspace(-1.3, 2.0, 6, dtype=f64).reshape(2, 3)


def weights(name="q", loc=MEAN, row=ROW, column=COLUMN, **others):
    return MatrixNormal(
        var=["w"], name=name, loc=loc, row_scale_tril=row, column_scale_tril=column, **others
    )


def as_vector(name="q", loc=MEAN, row=ROW, column=COLUMN):
    factor = torch.kron(row, column)  # of the entries, row by row
    return MultivariateNormal(var=["w"], name=name, loc=loc.flatten(), scale_tril=factor)


# -- matrix normal --------------------------------------------------------------------------------
def test_matrix_normal_is_the_law_of_its_entries():
    p, flat = weights(), as_vector()
    torch.manual_seed(0)
    w = p.sample(batch_n=4, sample_shape=[2])["w"]
    torch.manual_seed(0)
    v = flat.sample(batch_n=4, sample_shape=[2])["w"]
    assert w.shape == (2, 4, 2, 3)
    torch.testing.assert_close(w.flatten(-2), v)
    torch.testing.assert_close(p.get_log_prob({"w": w}), flat.get_log_prob({"w": v}))
    torch.testing.assert_close(p.get_entropy(), flat.get_entropy())
    torch.testing.assert_close(p.sample_variance().flatten(-2), flat.sample_variance())
    other, its = (f("p", -MEAN, triangle(2, 2), triangle(3, 3)) for f in (weights, as_vector))
    torch.testing.assert_close(KullbackLeibler(p, other).eval(), KullbackLeibler(flat, its).eval())


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 0.7), (-MEAN, MEAN.abs())], ids=["one", "each"])
def test_divergence_of_weights_from_a_factorised_prior(loc, scale):
    p = Normal(var=["w"], name="p", loc=loc, scale=scale, features_shape=[2, 3])
    flat = [torch.as_tensor(v, dtype=f64).expand(2, 3).flatten() for v in (loc, scale)]
    wanted = KullbackLeibler(as_vector(), Normal(var=["w"], name="p", loc=flat[0], scale=flat[1]))
    torch.testing.assert_close(KullbackLeibler(weights(), p).eval(), wanted.eval())


def test_rows_have_matrices_of_their_own():
    """A network of conditions; the generated text is the interpreter, and one graph."""
    net = nn.Linear(2, 6).double()
    q = MatrixNormal(
        var=["w"],
        cond_var=["x"],
        name="q",
        row_scale_tril=nn.Parameter(ROW.clone()),
        column_covariance=COLUMN @ COLUMN.mT,
        net=lambda x: {"loc": net(x).unflatten(-1, (2, 3))},
    )
    loss = (KullbackLeibler(q, weights("p")) + E(q, q.log_prob(), draws=3)).mean()
    x, noise = torch.randn(5, 2, dtype=f64), {"w": torch.randn(3, 5, 2, 3, dtype=f64)}
    function = loss.function()
    first = function({"x": x}, noise=noise)
    assert torch.equal(function({"x": x}, noise=noise), first)
    w = q.sample({"x": x}, sample_shape=[2])["w"]
    found = q.get_log_prob({"x": x, "w": w})
    for row in range(5):
        one = weights(loc=net(x[row]).detach().reshape(2, 3))
        torch.testing.assert_close(found[:, row], one.get_log_prob({"w": w[:, row]}))


def test_factors_must_fit_one_another():
    with pytest.raises(ShapeError, match="do not fit one another"):
        weights(row=COLUMN)
    with pytest.raises(ParameterError, match="takes one of them"):
        weights(row_covariance=ROW @ ROW.mT)


# -- all of them ----------------------------------------------------------------------------------
@pytest.mark.parametrize("law", [weights()], ids=lambda law: law.distribution_name)
def test_densities_are_one_graph(law):
    x = law.sample(batch_n=3)
    density = torch.compile(
        lambda x: law.moves.log_density(x, **law.params(())), fullgraph=True, backend="eager"
    )
    name = law.var[0]
    torch.testing.assert_close(density(x[name]), law.get_log_prob(x))
