"""Terms with a gradient and no value: where they may stand, what is said of them.

A rule of lowering is replaced by one that marks its result, so that nothing here depends on which
plans have no value.
"""

import pytest
import torch
from torch import nn

from ancestral.core.errors import GradientError, GradientOnlyError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import E, Function, Score, values
from ancestral.losses.prob import LogProb
from ancestral.lowering import laws
from ancestral.lowering.lower import RULES
from ancestral.models import Model


@pytest.fixture(autouse=True)
def marked(monkeypatch):
    """Every log density has a gradient alone."""

    def rule(lw, node, scope):
        found = laws.log_prob(lw, node, scope)
        told = dict.fromkeys(found.terms, "the gap")
        lw.gradient_only.update(told)
        return found

    monkeypatch.setitem(RULES, LogProb, rule)


@pytest.fixture
def p():
    return Normal(var=["x"], loc=nn.Parameter(torch.zeros(())), scale=1.0)


x, w = values("x w")
BATCH = {"x": torch.ones(4), "w": torch.ones(4)}


def test_it_is_marked_with_all_that_is_made_of_it(p):
    loss = -(2.0 * w * p.log_prob() / w + x).mean()
    lines = [line.split() for line in str(loss.program()).splitlines()]
    marked = [line[0] for line in lines if line[-1] == "gradient-only"]
    assert len(marked) == 5  # the term, times w, by w, in the sum, their mean
    assert lines[-1] == ["return", f"{marked[-1]},", "gradient-only:", "the", "gap"]
    assert not any("gradient-only" in line for line in str(x.mean().program()).splitlines())


def test_no_value_is_given_away(p):
    loss = -p.log_prob().mean()
    for ask in (
        lambda: loss.eval(BATCH),
        lambda: loss.function()(BATCH),
        lambda: loss.eval(BATCH, return_dict=True),
        lambda: Model(loss=loss).test(BATCH),
    ):
        with pytest.raises(GradientOnlyError, match=r"computes is the gap\. Model"):
            ask()


def test_steps_are_made_and_the_test_loss_is_another(p):
    model = Model(loss=-p.log_prob().mean(), test_loss=x.mean(), optimizer_params={"lr": 0.1})
    for _ in range(3):  # the interpreter, the generated step, the short way in
        model.train(BATCH)
        with pytest.raises(GradientOnlyError):
            model.loss.eval(BATCH)
    assert 0.2 < p.loc.item() <= 0.3  # three of Adam's steps
    assert model.test(BATCH) == 1.0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda term: term.exp(), "exp"),
        (lambda term: term * term, "a product"),
        (lambda term: Function(nn.Linear(1, 1))(x) * term, "a product"),
        (lambda term: x / term, "pow|a quotient"),
        (lambda term: term.abs(), "abs"),
        (lambda term: term - term.detach(), r"\.detach\(\)"),
        (
            lambda term: E(
                Bernoulli(var=["b"], logits=nn.Parameter(torch.zeros(()))), values("b") * term
            ).estimate({"b": Score()}),
            "an expectation with Score",
        ),
    ],
)
def test_what_reads_the_value_is_refused(p, make, told):
    with pytest.raises(GradientError, match=rf"is the gap\. It stands in ({told})"):
        make(p.log_prob()).program()


def test_a_frozen_weight_is_a_number(p):
    net = nn.Linear(1, 1).requires_grad_(False)
    assert (Function(net)(x) * p.log_prob()).program().gradient_only
