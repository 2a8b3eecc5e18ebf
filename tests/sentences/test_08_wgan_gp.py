"""Sentence 8: WGAN-GP; the slope of a critic on the lines between data and draws."""

import pytest
import torch
from torch import nn

from ancestral.distributions import EmpiricalDistribution, Implicit, Uniform
from ancestral.losses import E, Function, GradientPenalty, norm, values
from ancestral.models import Model, Player
from tests.models.games import calls_of


class World:
    """A WGAN-GP as sentence 8 writes it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = nn.Linear(2, 3).double()
        self.critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.p_g = Implicit(self.generator, var=["x_f"], noise=[2], name="p_g").double()
        self.data = EmpiricalDistribution(["x"])
        self.f = Function(self.critic, name="f")
        self.x = torch.randn(6, 3, dtype=torch.float64)

    def gap(self):
        x, xf = values("x x_f")
        return E(self.p_g, self.f(xf)) - E(self.data, self.f(x))

    def model(self, penalty, **options) -> Model:
        fooled = -E(self.p_g, self.f(values("x_f")))
        players = [
            Player("f", minimise=self.gap() + 10.0 * penalty, over=[self.f], steps=5),
            Player("g", minimise=fooled, over=[self.p_g]),
        ]
        return Model(players=players, **options)


def sentence_8(w: World):
    """The penalty as the sentence writes it."""
    x, xf, u = values("x x_f u")
    p_u = Uniform(low=0.0, high=1.0, var=["u"], name="p").double()
    between = u * x + (1 - u) * xf
    return E(w.data * w.p_g * p_u, (norm(w.f.grad(between)) - 1) ** 2)


def test_sentence_8_prints():
    w = World()
    assert str(w.model(sentence_8(w)).loss) == (
        "f: min E_{p_g(x_f)}[f(x_f)] - E_{p_{data}(x)}[f(x)] + "
        "10 E_{p_{data}(x)p_g(x_f)p(u)}[(||∇f(u x + (1 - u) x_f)|| - 1)^2];  "
        "g: min -E_{p_g(x_f)}[f(x_f)]"
    )
    assert w.model(sentence_8(w)).loss.latex() == (
        r"f: \; \min \; \mathbb{E}_{p_{g}(x_{f})} \left[f(x_{f}) \right] - "
        r"\mathbb{E}_{p_{data}(x)} \left[f(x) \right] + "
        r"10 \mathbb{E}_{p_{data}(x)p_{g}(x_{f})p(u)} \left[\left(\left\lVert "
        r"\nabla f(u x + \left(1 - u \right) x_{f}) \right\rVert - 1 \right)^{2} \right]; "
        r"\quad g: \; \min \; - \mathbb{E}_{p_{g}(x_{f})} "
        r"\left[f(x_{f}) \right]"
    )


@pytest.mark.parametrize("written", [True, False])
def test_sentence_8_passes_and_draws(written):
    """Five turns of f: one fake batch without a graph, f at 3n rows; then G once with a graph."""
    w = World()
    penalty = sentence_8(w) if written else GradientPenalty(w.data, w.p_g, w.f)
    model = w.model(penalty)
    for _ in range(2):
        found = calls_of(w, lambda: model.train({"x": w.x}))
        of_f = [c for c in found if c[0] == "D"]
        of_g = [c for c in found if c[0] == "G"]
        assert of_g == [("G", 6, False)] * 5 + [("G", 6, True)]
        assert of_f == [("D", 6, True)] * 16
    program = model._steps.of(model._turns[0]).program()
    assert len(program.draws) == 2  # the noise of the generator, and u


def test_the_critics_objective_by_hand():
    """Value and gradient, which is one of a gradient."""
    w = World()
    penalty = GradientPenalty(w.data, w.p_g, w.f)
    noise = {"noise_x_f": torch.randn(6, 2).double(), "u_x": torch.rand(6).double()}
    found = (w.gap() + 10.0 * penalty).eval({"x": w.x}, noise=noise)
    fake = w.generator(noise["noise_x_f"]).detach()
    u = noise["u_x"][:, None]
    between = (u * w.x + (1 - u) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(w.critic(between).sum(), between, create_graph=True)
    wanted = w.critic(fake).mean() - w.critic(w.x).mean()
    wanted = wanted + 10.0 * (slope.norm(dim=1) - 1).square().mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    weights = list(w.critic.parameters())
    ours = torch.autograd.grad(found, weights, allow_unused=True)
    theirs = torch.autograd.grad(wanted, weights, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
