"""Every sampler of ``ancestral.samplers``: its steps leave a known target as it is.

Samplers are found by walking the modules: one in a new file is tested without a word here. Chains
start at exact draws of a correlated normal law and of one with two modes. Where steps leave the
target as it is, the moments after them are those before; where they do so only nearly, the error
falls in proportion to the length of a step.
"""

import importlib
import pkgutil
from typing import Any

import pytest
import torch
from torch import Tensor

import ancestral.samplers as package
from ancestral.core.errors import OptionError
from ancestral.samplers import Sampler, Target, run

CHAINS = 100_000
SCALE_TRIL = torch.tensor([[1.0, 0.0], [0.6, 0.5]])


def members() -> list[type[Sampler]]:
    """The public samplers of the package's modules."""
    found = []
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for thing in vars(importlib.import_module(info.name)).values():
            own = isinstance(thing, type) and thing.__module__ == info.name
            if own and issubclass(thing, Sampler) and thing is not Sampler:
                found.append(thing)
    return found


ALL = members()
each = pytest.mark.parametrize("family", ALL, ids=lambda family: family.__name__)


def normal(generator: torch.Generator) -> tuple[Target, Tensor]:
    """N(0, L L'), and draws of it."""
    precision = torch.linalg.inv(SCALE_TRIL @ SCALE_TRIL.T)
    eps = torch.randn(CHAINS, 2, generator=generator)
    return Target.of(lambda x: -0.5 * ((x @ precision) * x).sum(-1)), eps @ SCALE_TRIL.T


def two_modes(generator: torch.Generator) -> tuple[Target, Tensor]:
    """(N(-1, 0.7^2) + N(1, 0.7^2)) / 2 for each of two entries, and draws of it."""
    sign = torch.randint(0, 2, (CHAINS, 2), generator=generator) * 2.0 - 1.0
    eps = torch.randn(CHAINS, 2, generator=generator)

    def log_density(x: Tensor) -> Tensor:
        away = torch.stack([(x - 1) / 0.7, (x + 1) / 0.7])
        return (-0.5 * away.square()).logsumexp(0).sum(-1)

    return Target.of(log_density), sign + 0.7 * eps


def moments(x: Tensor) -> Tensor:
    """Per chain: squares, the product of the entries, fourth powers, a bounded function."""
    a, b = x.double().unbind(-1)
    return torch.stack([a, b, a * a, b * b, a * b, a**4, torch.cos(2 * a)], -1)


def shift(family: type[Any], make: Any, step_size: float, steps: int) -> tuple[Tensor, Tensor]:
    """What steps do to the means of moments, in all, and its standard error."""
    generator = torch.Generator().manual_seed(0)
    target, start = make(generator)
    sampler = family(steps=steps, step_size=step_size)
    noise = sampler.draw_noise((CHAINS,), (2,), start, generator)
    moved = moments(run(sampler, start, noise, target)) - moments(start)  # paired: less noise
    return moved.mean(0), moved.std(0) / CHAINS**0.5


def test_samplers_are_found() -> None:
    assert {"Langevin", "MALA"} <= {family.__name__ for family in ALL}
    assert any(family.exact for family in ALL)


@each
@pytest.mark.parametrize("make", [normal, two_modes])
def test_a_known_target_is_left_as_it_is(family: Any, make: Any) -> None:
    """5 standard errors of 100000 chains: the variance off by 2 % would be seen."""
    size = 0.3
    found, error = shift(family, make, size, 4)
    if family.exact:
        assert (found.abs() < 5 * error).all(), (found, error)
        return
    half, half_error = shift(family, make, size / 2, 8)  # as long a way by smaller steps
    assert (found.abs() > 5 * error).any(), "it is exact: say so, exact = True"
    smaller = half.abs() < 0.7 * found.abs() + 5 * (half_error + error)
    assert smaller.all(), (half, found)


@each
def test_chains_are_a_function_of_their_noise(family: Any) -> None:
    """To the bit; a chain knows nothing of others, and a second run nothing of the first."""
    generator = torch.Generator().manual_seed(1)
    target, start = normal(generator)
    start, sampler = start[:6].double(), family(steps=5, step_size=0.2)
    precision = torch.eye(2, dtype=torch.float64)
    target = Target.of(lambda x: -0.5 * ((x @ precision) * x).sum(-1))
    noise = sampler.draw_noise((6,), (2,), start, generator)
    before = {k: v.clone() for k, v in noise.items()}
    found = run(sampler, start, noise, target)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert torch.equal(found, run(sampler, start, noise, target))
    some = run(sampler, start[2:4], {k: v[:, 2:4] for k, v in noise.items()}, target)
    torch.testing.assert_close(found[2:4], some, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in noise.items())
    other = sampler.draw_noise((6,), (2,), start, generator)
    assert not torch.equal(found, run(sampler, start, other, target))


@each
def test_steps_are_pure_and_no_gradient_passes(family: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    target = Target.of(lambda x: -(weight * x.square()).sum(-1))
    sampler, start = family(steps=1, step_size=0.1), torch.ones(3, 2)
    state = sampler.init(start, target)
    noise = {k: v[0] for k, v in sampler.draw_noise((3,), (2,), start, generator).items()}
    first, info = sampler.step(state, noise, target)
    again, _ = sampler.step(state, noise, target)
    assert torch.equal(first.position, again.position)
    assert torch.equal(start, torch.ones(3, 2))
    assert type(first) is type(state)
    assert all(hasattr(thing, "_fields") for thing in (first, info))  # named tuples
    run(sampler, start, {k: v[None] for k, v in noise.items()}, target)
    assert weight.grad is None


@each
def test_mistakes_in_options(family: Any) -> None:
    for options in ({"steps": 0}, {"steps": 1.5}, {"steps": True}, {"step_size": 0.0}):
        with pytest.raises(OptionError, match=family.__name__):
            family(**options)
    for size in (-1.0, float("nan"), float("inf"), "0.1"):
        with pytest.raises(OptionError, match="positive number"):
            family(step_size=size)
