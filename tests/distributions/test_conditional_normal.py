"""A multivariate normal law given some of its entries: p(x_B | x_A) = p(x) / p(x_A)."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, ParameterError, ShapeError
from ancestral.distributions import ConditionalNormal, MultivariateNormal, Normal

f64 = torch.float64
LOC = torch.tensor([0.3, -1.0, 0.7, 2.0], dtype=f64)
ROOT = torch.tensor(
    [[1.0, 0, 0, 0], [0.6, 0.8, 0, 0], [-0.3, 0.5, 1.2, 0], [0.1, -0.9, 0.4, 0.5]], dtype=f64
)
SIGMA = ROOT @ ROOT.mT
FORMS = {
    "scale_tril": ROOT,
    "covariance_matrix": SIGMA,
    "precision_matrix": torch.linalg.inv(SIGMA),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("index", [[0], [2, 0], [3, 1, 2]])
def test_it_is_the_textbook_law(form, index):
    p = MultivariateNormal(loc=LOC, **{form: FORMS[form]})
    q = ConditionalNormal(p, index, "y")
    y = torch.randn(5, len(index), dtype=f64, generator=torch.Generator().manual_seed(0))
    rest = [i for i in range(4) if i not in index]
    gain = SIGMA[rest][:, index] @ torch.linalg.inv(SIGMA[index][:, index])
    found = q.get_params({"y": y})
    torch.testing.assert_close(found["loc"], LOC[rest] + (y - LOC[index]) @ gain.mT)
    covariance = SIGMA[rest][:, rest] - gain @ SIGMA[index][:, rest]
    torch.testing.assert_close(found["scale_tril"] @ found["scale_tril"].mT, covariance)
    x = torch.zeros(5, 4, dtype=f64)
    x[:, index], x[:, rest] = y, q.sample({"y": y})["x"]
    part = MultivariateNormal(loc=LOC[index], covariance_matrix=SIGMA[index][:, index])
    wanted = p.get_log_prob({"x": x}) - part.get_log_prob({"x": y})
    torch.testing.assert_close(q.get_log_prob({"x": x[:, rest], "y": y}), wanted)


def test_what_is_given_may_be_constant_and_the_law_trained():
    loc = nn.Parameter(LOC.clone())
    p = MultivariateNormal(loc=loc, scale_tril=ROOT)
    q = ConditionalNormal(p, 1, torch.tensor([0.5], dtype=f64), name="q")
    assert q.prob_text == "q(x)"
    assert q.features_shape == (3,)
    assert q.sample(batch_n=6)["x"].shape == (6, 3)
    q.get_log_prob({"x": torch.zeros(2, 3, dtype=f64)}).sum().backward()
    assert (loc.grad != 0).all()
    twin = copy.deepcopy(q)
    assert set(q.state_dict()) == {"value", "law.loc", "law.scale_tril"}
    twin.load_state_dict(q.state_dict())
    assert torch.equal(twin.get_params()["loc"], q.get_params()["loc"])


def test_a_law_with_a_network_keeps_its_rows():
    p = MultivariateNormal(var=["x"], cond_var=["c"], net=nn.Linear(2, 9))
    q = ConditionalNormal(p, [2], "y")
    at = {"c": torch.randn(4, 2), "y": torch.randn(4, 1)}
    assert q.prob_text == "p(x|y,c)"
    assert q.sample(at, sample_shape=[3])["x"].shape == (3, 4, 2)
    one = q.get_params({k: v[:1] for k, v in at.items()})
    torch.testing.assert_close(q.get_params(at)["loc"][:1], one["loc"])


def test_what_does_not_fit_is_refused():
    p = MultivariateNormal(loc=LOC, scale_tril=ROOT)
    with pytest.raises(ParameterError, match=r"conditions a MultivariateNormal law .* got p\(x\)"):
        ConditionalNormal(Normal(loc=LOC, scale=1.0), [0], "y")
    for index in ([], [0, 0], [-1], [0.5]):
        with pytest.raises(OptionError, match="whole numbers from 0, each once"):
            ConditionalNormal(p, index, "y")
    for index in ([4], [0, 1, 2, 3]):
        with pytest.raises(OptionError, match="must name some of 0 to 3, and leave some"):
            ConditionalNormal(p, index, "y")
    with pytest.raises(ShapeError, match="its last axis must have 2"):
        ConditionalNormal(p, [0, 1], "y").get_params({"y": torch.ones(5, 3, dtype=f64)})
