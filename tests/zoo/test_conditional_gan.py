"""The zoo's conditional GAN projects on the class, and its draws are of theirs."""

import pytest
import torch

from ancestral.data import digits
from ancestral.zoo.conditional_gan import Projection, conditional_gan


def test_the_logit_is_linear_in_the_class():
    """d(x,y) - d(x,y') is the inner product of the features with the difference of rows of V."""
    torch.manual_seed(0)
    net, x, eye = Projection(6, 3, 8).eval().double(), torch.rand(5, 6).double(), torch.eye(3)
    each = [net(x, eye[[k]].double().expand(5, -1)) for k in range(3)]
    v = net.v.weight.T  # (classes, hidden)
    torch.testing.assert_close((each[1] - each[2])[:, 0], net.phi(x) @ (v[1] - v[2]))
    assert each[0].shape == (5, 1)


def test_no_layer_of_the_discriminator_stretches():
    torch.manual_seed(0)
    net = Projection(64, 10, 32)
    for _ in range(50):  # a pass in training mode is a step of the power iteration
        net(torch.rand(2, 64), torch.eye(10)[:2])
    for layer in (net.phi[0], net.phi[2], net.psi, net.v):
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(
            1.0, abs=0.02
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_draws_what_it_is_asked_for(seed):
    """The baseline is .1, a generator that ignores the class; the floor of the judge is .99.

    A draw is of the class of the training image that is nearest to it.
    """
    torch.manual_seed(seed)
    data = digits("grey")
    recipe = conditional_gan()
    rows = {"x": data.train["x"], "y": torch.eye(10)[data.train["label"]]}
    recipe.model.fit(rows, epochs=50, batch_size=64, progress=False)
    drawn = recipe.generative.sample(batch_n=500)
    near = data.train["label"][torch.cdist(drawn["x"], data.train["x"]).argmin(1)]
    assert float((near == drawn["y"].argmax(1)).double().mean()) > 0.6
