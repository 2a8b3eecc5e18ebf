"""Laws given by a log density: values, gradients, as a target, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, ParameterError, SamplingError, ShapeError
from ancestral.distributions import CustomProb, Normal
from ancestral.losses import KL, E


class Energy(nn.Module):
    """A trained energy of z given y."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, z, y):
        return self.layer(z + y).squeeze(-1)


def test_its_density_is_the_function():
    p = CustomProb(Energy(), var=["z"], cond_var=["y"], features_shape=[2])
    z, y = torch.randn(5, 4, 2), torch.randn(4, 2)
    found = p.get_log_prob({"z": z, "y": y})
    torch.testing.assert_close(found, p.energy.function(z, y))
    assert found.shape == (5, 4)
    each = CustomProb(lambda z: -z.square(), var=["z"])  # further axes are summed
    torch.testing.assert_close(each.get_log_prob({"z": y}), -y.square().sum(-1))
    assert "energy.function.layer.weight" in p.state_dict()
    twin = copy.deepcopy(p)
    assert twin.energy.function.layer.weight is not p.energy.function.layer.weight


def test_as_the_target_of_an_expectation():
    energy = Energy()
    p = CustomProb(energy, var=["z"], cond_var=["y"])
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="prior")
    q = Normal(var=["z"], cond_var=["y"], net=nn.Linear(2, 4), name="q")
    loss = (KL(q, p) - E(q, (p.log_prob() + prior.log_prob()))).mean()
    given, noise = {"y": torch.randn(4, 2)}, {"z": torch.randn(4, 2)}
    step = loss.function()
    first, second = (step(given, noise=noise) for _ in range(2))
    assert torch.equal(first, second)
    params = q.get_params(given)
    z = params["loc"] + params["scale"] * noise["z"]
    at = {"z": z, **given}
    wanted = q.get_log_prob(at) - 2 * energy(z, given["y"]) - prior.get_log_prob(at)
    torch.testing.assert_close(first, wanted.mean())
    weights = [energy.layer.weight, q.net.weight]
    for mine, hers in zip(
        torch.autograd.grad(second, weights),
        torch.autograd.grad(wanted.mean(), weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, hers)


def test_what_it_cannot_do_names_the_way_out():
    p = CustomProb(lambda z: -z.square().sum(-1), var=["z"])
    q = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="q")
    for ask in (p.sample, lambda: E(p, q.log_prob()), lambda: KL(p, q).mean().eval(batch_n=2)):
        with pytest.raises(SamplingError, match="Langevin or Hamiltonian"):
            ask()
    with pytest.raises(ParameterError, match="has no parameters"):
        p.get_params()
    with pytest.raises(OptionError, match=r"requires_grad_\(False\)"):
        E(q, p.detach().log_prob()).mean().eval(batch_n=2)
    with pytest.raises(ParameterError, match="got float"):
        CustomProb(1.0)
    with pytest.raises(ShapeError, match="one number per row"):
        CustomProb(lambda x: x.sum()).get_log_prob({"x": torch.zeros(3, 2)})
