r"""The unadjusted Langevin step: its stationary law on a normal target is known exactly.

With E = x^2 / 2 s^2 a step is linear, x' = a x + b n with a = 1 - e / 2 s^2 and b = sqrt(e), so
that its stationary variance is b^2 / (1 - a^2) = s^2 / (1 - e / 4 s^2).
"""

import pytest
import torch

from ancestral.samplers import MALA, Langevin, Sampler, Target, run

f64 = torch.float64


def normal(scale):
    return Target.of(lambda x: -0.5 * (x / scale).square().sum(-1))


def moved(sampler, x, eps, target):
    state = sampler.init(torch.tensor([[x]], dtype=f64), target)
    return sampler.step(state, {"": torch.tensor([[eps]], dtype=f64)}, target)[0].position.item()


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("step_size", [0.01, 0.3, 0.9])
def test_its_stationary_variance_to_rounding(scale, step_size):
    sampler, target = Langevin(steps=1, step_size=step_size), normal(scale)
    a, b = moved(sampler, 1.0, 0.0, target), moved(sampler, 0.0, 1.0, target)
    assert b**2 / (1 - a**2) == pytest.approx(
        scale**2 / (1 - step_size / (4 * scale**2)), rel=1e-12
    )


def test_its_stationary_variance_by_chains():
    """5 standard errors of 50000 chains: a variance off by 3.2 % would be seen; N(0, 1) has one
    that is smaller by 12.5 %.
    """
    sampler, chains = Langevin(steps=40, step_size=0.5), 50_000
    generator = torch.Generator().manual_seed(0)
    start = torch.zeros(chains, 1)
    noise = sampler.draw_noise((chains,), (1,), start, generator)
    found = run(sampler, start, noise, normal(1.0)).double().var().item()
    wanted = 1 / (1 - 0.5 / 4)
    assert abs(found - wanted) < 5 * wanted * (2 / chains) ** 0.5


def test_the_metropolis_rule_by_hand():
    """The probability of a move, from the two densities and the two laws of the proposal."""
    e, x, eps = 0.8, 0.7, -1.1
    target = Target.of(lambda v: -v.pow(4).sum(-1) / 4)
    y = x - e / 2 * x**3 + e**0.5 * eps

    def log_g(to, at):
        return -((to - at + e / 2 * at**3) ** 2) / (2 * e)

    ratio = -(y**4) / 4 + x**4 / 4 + log_g(x, y) - log_g(y, x)
    wanted = min(1.0, float(torch.tensor(ratio, dtype=f64).exp()))
    sampler = MALA(steps=1, step_size=e)
    state = sampler.init(torch.tensor([[x]], dtype=f64), target)
    for u, taken in ((wanted - 1e-9, True), (min(wanted + 1e-9, 1.0), False)):
        noise = {"": torch.tensor([[eps]], dtype=f64), "accept": torch.tensor([u], dtype=f64)}
        after, info = sampler.step(state, noise, target)
        assert info.acceptance.item() == pytest.approx(wanted, rel=1e-12)
        assert wanted < 1.0
        assert bool(info.accepted) == taken
        assert after.position.item() == pytest.approx(y if taken else x, rel=1e-14)
        assert after.energy.item() == pytest.approx(after.position.item() ** 4 / 4, rel=1e-12)


def test_a_proposal_without_a_finite_energy_is_not_taken():
    target = Target.of(lambda v: torch.where(v.abs() < 1, 0.0, -torch.inf).sum(-1) + 0 * v.sum(-1))
    sampler = MALA(steps=1, step_size=1.0)
    state = sampler.init(torch.zeros(1, 1), target)
    noise = {"": torch.full((1, 1), 5.0), "accept": torch.full((1,), 1e-6)}
    assert sampler.step(state, noise, target)[0].position.item() == 0.0


def test_a_sampler_without_its_step_is_told_so():
    class Half(Sampler):
        def init(self, position, target):
            return position

    with pytest.raises(TypeError, match="abstract method step"):
        Half(steps=3)
