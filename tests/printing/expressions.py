"""Losses to print: the well-known ones, hostile names, and random small trees."""

import functools
import random
from typing import Any

import torch

from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    EmpiricalDistribution,
    Normal,
)
from ancestral.losses import (
    KL,
    CrossEntropy,
    E,
    Entropy,
    Function,
    MaxLoss,
    MinLoss,
    Parameter,
    norm,
    sqnorm,
    values,
)

HOSTILE = [
    "<script>alert(1)</script>",
    "\"onload='alert(2)'",
    "a\nb\tc",
    "]]>",
    "--><!--",
    "x\u202eevil\u2066\u200f",
    "\x00\x07\x1b[31m\ud800\uffff",
    "\\frac{1}{0}",
    "&lt;b&gt;&amp;&#x3c;",
    "</title></svg></math><img src=x onerror=alert(3)>",
    "</mi><mi href='javascript:alert(4)'>",
    "שלום",
    "p_{prior}_{x}",
    "a_b_c",
    "_",
    "{}",
    "%s{{ 7*7 }}",
]


@functools.cache
def vae() -> tuple[Any, Any, Any]:
    """Prior, decoder and encoder."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0, name="p_{prior}")
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0, name="p")
    q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
    return prior, p, q


def m2() -> Any:
    """The semi-supervised bound of Kingma et al. (2014), labelled and unlabelled rows."""
    prior, _, _ = vae()
    p = Normal(var=["x"], cond_var=["z", "y"], loc="z", scale=1.0)
    p_y = Categorical(var=["y"], probs=torch.full((3,), 1 / 3), name="p")
    q = Normal(var=["z"], cond_var=["x", "y"], loc="x", scale=1.0, name="q")
    q_y = Categorical(var=["y"], cond_var=["x"], net=torch.nn.Linear(2, 3), name="q")
    joint = p * prior * p_y
    labelled = E(q, joint.log_prob() - q.log_prob())
    both = (q * q_y).replace_var(x="x_u", y="y_u", z="z_u")
    unlabelled = E(both, joint.replace_var(x="x_u", y="y_u", z="z_u").log_prob() - both.log_prob())
    return -(labelled.mean() + unlabelled.mean()) - 0.1 * q_y.log_prob().mean()


def known() -> dict[str, Any]:
    """Name -> loss."""
    prior, p, q = vae()
    joint = p * prior
    x, t, beta = *values("x t"), Parameter("beta")
    f = Function(torch.square, name="f")
    a, b = p.log_prob(), q.log_prob()
    many = q.iid(k=50)
    data = EmpiricalDistribution(["x"])
    s = Deterministic(var=["s"], cond_var=["x"], net=torch.nn.Identity(), name="h")
    p_s = Normal(var=["y"], cond_var=["s"], loc="s", scale=1.0)
    return {
        "vae": E(q, p.log_prob()) - KL(q, prior),
        "elbo": E(q, joint.log_prob() - q.log_prob()),
        "iwae": E(many, (joint.log_prob() - q.log_prob()).exp().mean("k").log()),
        "copies_summed": E(many, joint.log_prob().sum("k")),
        "m2": m2(),
        "beta": E(q, p.log_prob()) - beta * KL(q, prior).mean(),
        "detached": E(q, p.log_prob() - q.detach().log_prob()) - KL(q, prior).detach(),
        "joint_detached": E(q, joint.detach().log_prob()),
        "monte_carlo": KL(q, prior, analytical=False) + Entropy(q) + Entropy(q, analytical=False),
        "cross": CrossEntropy(q, prior) - CrossEntropy(q, prior, analytical=False),
        "fraction": (a - b) / (a + b) / a,
        "nested": a - (b - (a + b)) + -(-1 * a),
        "powers": (a + b) ** 2 - a**3 * b**-1 + (a * b) ** 0.5 + a * a,
        "small": 1e-05 * a - -2.5 * b,
        "precedence": (a + b) * (a - b) / (2 * a) - (-a) * b,
        "functions": a.exp() + b.log() - a.abs() + MaxLoss(a, 0.5) - MinLoss(a, b),
        "clamped": a.clamp(min=0.5, max=2.0) + a.clamp(max=-1.0),
        "flow": E(data, sqnorm(f((1 - t) * x, t) - x)).mean() + norm(x),
        "gradients": sqnorm(f.grad(x)) + f.grad(x, t, wrt=1) + f.jvp((x, t), (1, 0)),
        "renamed": (E(q, p.log_prob()) - KL(q, prior)).replace_var(x="x_u"),
        "constant": p.log_prob().constant_var({"z": 2.0}),
        "density": p.prob() * q.prob(),
        "marginal": E(joint.marginalize_var(["z"]), f(x)),
        "sufficient": E(s, p_s.log_prob()).sum(),
        "simplified": E(many, (joint.log_prob() - q.log_prob()).exp().mean("k").log()).simplify(),
    }


def laws() -> dict[str, Any]:
    """Name -> law."""
    prior, p, q = vae()
    return {
        "one": p,
        "joint": p * prior,
        "marginal": (p * prior).marginalize_var(["z"]),
        "detached": (p * prior).detach(),
        "renamed": (p * prior).replace_var(z="z_1", x="x_{t-1}"),
        "copies": q.iid(k=5),
    }


def hostile(name: str) -> Any:
    """A loss in which variables, laws, functions, axes and parameters have such a name."""
    prior = Normal(var=[name], loc=0.0, scale=1.0, name=f"p_{name}")
    p = Normal(var=["x"], cond_var=[name], loc=name, scale=1.0, name=name)
    q = Bernoulli(var=[name], cond_var=["x"], net=torch.nn.Linear(1, 1), name="q" + name)
    f = Function(torch.square, name=name)
    body = p.log_prob() + f(values([name])) - f.grad(values([name]))
    renamed = p.log_prob().replace_var(**{"x": name + "'"})
    return E(q.iid(**{name: 2}), body.mean(name)) - prior.log_prob() / p.prob() + renamed.detach()


def random_loss(rng: random.Random, depth: int = 4) -> Any:
    """A tree of all operators over a few laws; not all have a value, all can be printed."""
    prior, p, q = vae()
    if depth == 0 or rng.random() < 0.15:
        leaves = (
            lambda: p.log_prob(),
            lambda: (p * prior).log_prob(),
            lambda: q.detach().log_prob(),
            lambda: p.prob(),
            lambda: KL(q, prior),
            lambda: Entropy(q),
            lambda: CrossEntropy(q, prior),
            lambda: Parameter(rng.choice(["beta", "x", "z_t", "w_{1}"])),
            lambda: rng.choice([2.0, -0.5, 1e-5, 3]) * values("x"),
        )
        return rng.choice(leaves)()

    def sub() -> Any:
        return random_loss(rng, depth - 1)

    f = Function(torch.square, name="f_theta")
    inner = (
        lambda: sub() + sub(),
        lambda: sub() - sub(),
        lambda: sub() * sub(),
        lambda: sub() / sub(),
        lambda: sub() ** rng.choice([2, -1, 0.5]),
        lambda: -sub(),
        lambda: rng.choice([-2.0, 0.5]) * sub(),
        lambda: getattr(sub(), rng.choice(["exp", "log", "abs", "mean", "sum", "detach"]))(),
        lambda: sub().clamp(min=-1.0),
        lambda: MaxLoss(sub(), sub()),
        lambda: E(q, sub()),
        lambda: E(q.iid(k=5), sub().mean("k")),
        lambda: E(q.iid(k=5), sub().sum("k")),
        lambda: norm(sub()) + sqnorm(sub()),
        lambda: f(sub(), sub()),
        lambda: f.grad(sub(), sub()),
        lambda: f.jvp([sub()], [sub()]),
    )
    return rng.choice(inner)()
