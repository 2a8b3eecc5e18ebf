"""Faults that random expressions have found, each in its smallest form."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.axes import PLAN, Axis, union
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import E, Enumerate, Function, Score, sqnorm, values
from tests.expressions.run import double_precision


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    with double_precision():
        yield


def column(x: Tensor) -> Tensor:
    """A function that returns one number per row with an axis of its own."""
    return x.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    "combine",
    [
        lambda f, x: f(x) - values("beta"),
        lambda f, x: 0.5 * (values("beta") * f(x)),
        lambda f, x: f(x) + sqnorm(x),
        lambda f, x: f(x).replace_var(x="y"),
        lambda f, x: (f(x) - values("beta")).constant_var({"beta": 0.5}),
    ],
)
def test_a_column_beside_numbers_is_one_number_per_row(combine: Any) -> None:
    given = {"x": torch.ones(3, 2), "y": torch.ones(3, 2), "beta": torch.tensor(0.5)}
    loss = combine(Function(column), values("x"))
    assert loss.eval({k: given[k] for k in loss.input_var}).shape == (3,)


def test_rows_of_a_conditional_draw_are_its_conditions() -> None:
    """Another data set inside has lost its rows: there is nothing to choose between."""
    q = Normal(var=["z"], cond_var=["w"], loc="w", scale=1.0)
    loss = E(q, sqnorm(values("z")) + sqnorm(values("h")).mean())
    data = {"w": torch.zeros(3, 1), "h": torch.ones(5, 2)}
    assert loss.eval(data).shape == (3,)


def test_draws_that_weigh_a_table_are_averaged() -> None:
    """The integrand reads b alone, whose probabilities read the draws of y."""
    y = Categorical(var=["y"], probs=torch.tensor([0.3, 0.7]), name="p_y")
    b = Bernoulli(var=["b"], cond_var=["y", "x"], net=lambda y, x: y[..., :1] + x, name="p_b")
    loss = E(b * y, sqnorm(values("b"))).estimate({b: Enumerate(), y: Score(draws=3)})
    assert loss.eval({"x": torch.zeros(2, 1)}).shape == (2,)


def test_axes_of_draws_have_one_order() -> None:
    axes = [Axis("draws", PLAN, n) for n in (2, 3, 4, 5, 6, 7)]
    assert union(set(axes)) == union(axes) == tuple(axes)


def test_a_table_meets_parameters_with_rows_in_the_text() -> None:
    """The fused Bernoulli density does not broadcast: the text has to."""
    torch.manual_seed(0)
    b = Bernoulli(var=["b"], cond_var=["x"], net=nn.Linear(2, 1), name="p_b")
    other = Bernoulli(var=["b"], cond_var=["x"], net=nn.Linear(2, 1), name="q_b")
    f = E(b, other.log_prob()).estimate({b: Enumerate()}).function()
    data = {"x": torch.randn(3, 2)}
    assert torch.equal(f(data), f(data))
