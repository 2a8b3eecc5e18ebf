"""Programs as text: each draw by name, its axes, and who reads it.

The texts are golden: ``python -m tests.printing.test_program`` rewrites
``tests/golden/programs.txt`` after a change that is meant; read the difference before it is
committed.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ancestral.distributions import Categorical, Deterministic, EmpiricalDistribution, Normal
from ancestral.losses import (
    KL,
    E,
    Entropy,
    Enumerate,
    Function,
    LeaveOneOut,
    Parameter,
    Score,
    sqnorm,
    values,
)
from tests.printing import expressions

GOLDEN = Path(__file__).parent.parent / "golden" / "programs.txt"
x, y, z = values("x y z")


def losses() -> dict[str, Any]:
    """Name -> loss."""
    prior, p, q = expressions.vae()
    ratio = (p * prior).log_prob() - q.log_prob()
    q_y = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(2, 3), name="q")
    q_z = Normal(var=["z"], cond_var=["x", "y"], loc="x", scale=1.0, name="q")
    p_x = Normal(var=["x"], cond_var=["y", "z"], loc="z", scale=1.0)
    bound = E(q_z, p_x.log_prob() - q_z.log_prob())
    m2 = bound.mean() + (E(q_y, bound) + Entropy(q_y)).replace_var(x="x_u").mean()
    f = Function(torch.square, name="f")
    h = Deterministic(var=["s"], cond_var=["x"], net=nn.Linear(2, 2), name="h")
    p_s = Normal(var=["y"], cond_var=["s"], loc="s", scale=1.0)
    data = EmpiricalDistribution(["x"])
    generator = Deterministic(var=["u"], cond_var=["z"], net=nn.Linear(2, 2), name="G")
    fake = (generator * prior).marginalize_var("z")
    return {
        "vae": -(E(q, p.log_prob()) - KL(q, prior)).mean(),
        "iwae": E(q.iid(k=5), ratio.exp().mean("k").log()).mean(),
        "m2": m2.estimate({q_y: Enumerate()}),
        "detach": E(q, p.log_prob()) + E(q.detach(), q.detach().log_prob()).detach(),
        "score": E(q_y, f(y)).estimate({q_y: Score(LeaveOneOut(), draws=4)}),
        "variance": E(q, (z - E(q, z)) ** 2),
        "nested draws": E(q, E(p.replace_var(x="u"), values("u"), sample_shape=[4]), [3]),
        "plug-in": E(q, z, sample_shape=[2]).exp() * Parameter("beta"),
        "deterministic": E(h, p_s.log_prob().clamp(min=-10.0)),
        "constant": p.log_prob().constant_var({"x": 1.0}),
        "critic": E(fake, f(values("u"))) - E(data, f(x)) + sqnorm(f.grad(x)).mean(),
    }


def listing() -> dict[str, str]:
    """Name -> program."""
    return {
        k: str(v.program(**({"beta": 1.0} if k == "plug-in" else {}))) for k, v in losses().items()
    }


def golden() -> dict[str, str]:
    parts = GOLDEN.read_text(encoding="utf-8").strip("\n").split("\n\n")
    return {p.split("\n", 1)[0].strip("[]"): p.split("\n", 1)[1] for p in parts}


@pytest.mark.parametrize("name", losses())
def test_program(name: str) -> None:
    assert listing()[name] == golden()[name]


def test_names_of_draws_are_the_names_of_their_noise() -> None:
    for loss in losses().values():
        program = loss.program()
        drawn = [line.split()[0] for line in str(program).splitlines() if " ~ " in line]
        assert drawn == list(program.draws)


def test_every_line_reads_what_stands_above() -> None:
    for text in listing().values():
        *steps, last = text.splitlines()
        names = [line.split()[0] for line in steps]
        assert len(set(names)) == len(names)
        assert last == f"return {names[-1]}"
        for i, line in enumerate(steps):
            if "->" in line:
                readers = line.split("->")[1].replace(" ", "").split(",")
                assert set(readers) <= {*names[i + 1 :], "nobody"}


def test_hostile_names_keep_to_their_line() -> None:
    for name in expressions.HOSTILE:
        text = str(expressions.hostile(name).estimate({}).program())
        assert text.count("\n") == len(expressions.hostile(name).program().steps)
        assert all(line.isprintable() for line in text.splitlines())


if __name__ == "__main__":
    out = "\n\n".join(f"[{name}]\n{text}" for name, text in listing().items())
    GOLDEN.write_text(out + "\n", encoding="utf-8")
    sys.stdout.write(out + "\n")
