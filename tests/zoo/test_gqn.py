"""The zoo's generative query network is its paper's bound, and does not see the order of views."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ancestral.data.scenes import LENGTH, NOISE, REACH, log_answer, scenes
from ancestral.evaluation import bound
from ancestral.zoo.gqn import gqn


@pytest.fixture(scope="module", autouse=True)
def _optimizers_are_imported():
    """What torch imports with its first optimizer takes seconds; no test is charged for it."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def test_formula_is_that_of_the_docstring():
    assert str(gqn().objective) == gqn.__doc__.partition("\n")[0].rstrip(".")


def test_the_order_of_views_is_not_seen():
    """r and the bound are the same to the bit, with views from one viewpoint and equal ones too."""
    torch.manual_seed(0)
    recipe, data, noise = gqn(), scenes(33), {"z": torch.randn(33, 4)}
    data["v"][0] = 0.5
    data["v"][1, 2], data["x"][1, 2] = data["v"][1, 1], data["x"][1, 1]
    f = recipe.model.distributions[0]
    r, value = (f.get_params(data)["r"], recipe.objective.eval(data, noise=noise))
    assert not torch.equal(r, f.get_params({**data, "v": data["v"].flip(1)})["r"])
    for order in permutations(range(4)):
        other = {**data, "x": data["x"][:, order], "v": data["v"][:, order]}
        assert torch.equal(f.get_params(other)["r"], r)
        assert torch.equal(recipe.objective.eval(other, noise=noise), value)


def test_the_exact_answer():
    """The difference of two joint log densities by scipy, to 1e-9."""
    torch.manual_seed(0)
    data = {name: value.double() for name, value in scenes(5, views=2).items()}
    found, alone = log_answer(data), log_answer(data, given=False)

    def log_p(v: torch.Tensor, x: torch.Tensor) -> float:
        at = (v[:, None].numpy() + np.linspace(-REACH, REACH, 3)).ravel()
        cov = np.exp(-((at[:, None] - at) ** 2) / (2 * LENGTH**2)) + NOISE**2 * np.eye(len(at))
        return multivariate_normal.logpdf(x.flatten().numpy(), cov=cov)

    for i in range(5):
        x, v, x_q, v_q = (data[n][i] for n in ("x", "v", "x_q", "v_q"))
        both = log_p(torch.cat([v_q, v[:, 0]]), torch.cat([x_q, x.flatten()]))
        assert float(found[i]) == pytest.approx(both - log_p(v[:, 0], x), abs=1e-9)
        assert float(alone[i]) == pytest.approx(log_p(v_q, x_q), abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_learns_from_views(seed):
    """The baseline, -2.6 nats, is exact without views; with them it is -0.3, the ceiling."""
    torch.manual_seed(seed)
    recipe, held = gqn(hidden=(64,), lr=3e-3), scenes(2000)
    recipe.model.fit(scenes(16_384), epochs=3, progress=False)
    found = bound(recipe.objective, held, laws=recipe.laws)
    best = log_answer(held)
    assert found.mean > float(log_answer(held, given=False).mean()) + 0.4
    assert found.mean < float(best.mean()) + 5 * float(best.std()) / math.sqrt(len(best))


def test_any_number_of_views_is_read():
    recipe = gqn()
    for views in (1, 3):
        data = scenes(6, views=views)
        del data["x_q"]
        assert recipe.generative.sample(data)["x_q"].shape == (6, 3)
