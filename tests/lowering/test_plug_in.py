"""Plug-in estimates: each non-linear function of a Monte Carlo expectation warns, naming ways out.

Warnings are errors in these tests, so what is not expected to warn must not.
"""

import pytest
import torch
from torch import nn

from ancestral.core.errors import PlugInWarning
from ancestral.distributions import Bernoulli, Categorical, EmpiricalDistribution, Normal
from ancestral.losses import (
    KL,
    CrossEntropy,
    E,
    Entropy,
    Enumerate,
    Function,
    MaxLoss,
    Parameter,
    Pathwise,
    Score,
    norm,
    sqnorm,
    values,
)
from ancestral.models import Model

x, y, z = values("x y z")
q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
p_0 = Normal(var=["z"], loc=0.0, scale=1.0, name="p_0")
q_y = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(2, 2), name="q_y")
bit = Bernoulli(var=["y"], probs=0.5, name="b")
g = Function(lambda v: v.flatten(1).sum(-1), name="g")
e = E(q, z)
WAYS_OUT = r"closed form.*simplify.*Enumerate\(\).*q\.iid\(k=10\).*sample_shape=\[1\]"

CURVED = {
    "log": e.log(),
    "exp": e.exp(),
    "abs": e.abs(),
    "clamp": e.clamp(min=0.0),
    "max": e.max(0.5),
    "max of two": MaxLoss(e, KL(q, p_0)),
    "min": e.min(x),
    "division by it": x / e,
    "a number by it": 1 / e,
    "a root": e**0.5,
    "a negative power": e**-1,
    "norm": norm(e),
    "squared norm": sqnorm(e),
    "a function": Function(torch.sin, name="s")(e),
    "a gradient": sqnorm(g.grad(e)),
    "log of a density's mean": E(q, p.prob()).log(),
    "of a sum": (2 * e + x).exp(),
    "of a mean over rows": e.mean().log(),
    "of its square": (e**2).exp(),
    "of a detached one": e.detach().exp(),
    "Monte Carlo KL": KL(q, p_0, analytical=False).max(0.1),
    "Monte Carlo entropy": Entropy(q, analytical=False).abs(),
    "Monte Carlo cross-entropy": CrossEntropy(q, p_0, analytical=False).exp(),
    "inside an expectation": E(p_0, E(q, z).exp()),
    "log-mean-exp around it": E(
        p_0.replace_var(z="u").iid(k=2), (e + values("u")).exp().mean("k").log()
    ),
    "of data": E(EmpiricalDistribution(["x"]), x).log(),
    "a scored law": E(q_y, g(y)).estimate({q_y: Score()}).exp(),
    "one of two laws enumerated": E(q_y * q, g(y) * z).estimate({q_y: Enumerate()}).exp(),
    "renamed": e.replace_var(x="u").exp(),
    "weighted": Parameter("beta") * e.exp(),
}


@pytest.mark.parametrize("name", CURVED)
def test_it_warns_when_it_is_built(name):
    with pytest.warns(PlugInWarning, match=WAYS_OUT) as found:
        CURVED[name].function()
    assert len(found) == (2 if name == "a gradient" else 1)  # its norm is another function of it
    assert "non-linear function of the Monte Carlo estimate of E_" in str(found[0].message)


STRAIGHT = {
    "sums": e + 2 * e - e / 3,
    "products": e * E(q, z**2) * x,
    "whole powers": e**3 + (e + x) ** 2,
    "numerators": e / (1 + x**2),
    "reductions": e.mean() + e.sum(),
    "detached": e - e.detach(),
    "closed forms": KL(q, p_0).max(0.5) + Entropy(q).exp() + CrossEntropy(q, p_0).log(),
    "a hierarchy's closed form": E(p_0.replace_var(z="x"), KL(q, p_0).max(0.5)),
    "inside the expectation": E(q, z.exp().log() + z.abs() / (z**2 + 1)),
    "copies inside": E(q.iid(k=5), p.prob().mean("k").log()),
    "log of a density": p_0.prob().log(),
    "the log undone": (e.exp()).log(),
    "written draws": E(q, z, sample_shape=[1]).exp() + E(q, z, sample_shape=[9]).abs(),
    "written draws of a KL": KL(q, p_0, analytical=False, sample_shape=4).max(0.1),
    "enumerated": E(q_y, g(y)).estimate({q_y: Enumerate()}).exp(),
    "enumerated by name": E(bit, y).estimate({"y": Enumerate()}).log(),
    "draws of an estimator": e.estimate({q: Pathwise(draws=3)}).exp(),
    "simplified": KL(q, p_0).simplify().exp(),
    "functions of values": (x.exp() + norm(x)).log(),
}


@pytest.mark.parametrize("name", STRAIGHT)
def test_it_does_not_warn(name):
    STRAIGHT[name].function()


def test_it_warns_once_per_function_and_names_both():
    loss = e.exp() + E(q, z**2).log()
    with pytest.warns(PlugInWarning) as found:
        loss.function()
    texts = [str(w.message) for w in found]
    assert len(texts) == 2
    assert {w.filename for w in found} == {__file__}  # the user's line, not one of the package
    assert texts[0].startswith("exp(E_{q(z|x)}[z]) is a non-linear function of the Monte Carlo")
    assert texts[1].startswith("log(E_{q(z|x)}[z^2]) is")
    assert "estimate of E_{q(z|x)}[z^2]:" in texts[1]


def test_it_warns_at_the_model_and_at_the_first_eval_but_not_when_printed():
    loss = e.exp()
    str(loss), loss.latex(), loss.program(), repr(loss), loss.input_var
    with pytest.warns(PlugInWarning):
        loss.eval({"x": torch.ones(2)})
    trained = Normal(var=["z"], cond_var=["x"], net=nn.Linear(1, 2), name="q")
    with pytest.warns(PlugInWarning):
        Model(loss=E(trained, g(z)).exp().mean())
    function = E(q, z, sample_shape=[1]).exp().function()
    for _ in range(3):
        function({"x": torch.ones(2)})


def test_the_program_marks_plug_in_lines_meant_or_not():
    def marked(loss):
        return [line.split()[0] for line in str(loss.program()).splitlines() if "plug-in" in line]

    assert marked(E(q, z, sample_shape=[4]).exp() + x.exp()) == ["t3"]
    assert len(marked(e.max(0.5))) == 1
    for name in CURVED:
        assert len(marked(CURVED[name])) == (2 if name == "a gradient" else 1), name
    for name in STRAIGHT:
        if "written" not in name and name != "draws of an estimator":
            assert marked(STRAIGHT[name]) == [], name
