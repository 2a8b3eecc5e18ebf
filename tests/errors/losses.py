"""Mistakes in losses, of the walk-through; see ``test_mistakes.py``."""

from typing import Any

import torch
from torch import Tensor, nn

from ancestral.distributions import Categorical, Normal
from ancestral.losses import (
    KL,
    E,
    Parameter,
    values,
)
from tests.errors.walk import Inference


def divergence_over_different_variables(w: Any) -> None:
    KL(w.q, Normal(loc=0.0, scale=1.0, var=["u"], features_shape=[2], name="p_{prior}"))


def missing_variable(w: Any) -> None:
    w.elbo.mean().eval({"X": w.x})


def unknown_option_of_eval(w: Any) -> None:
    (Parameter("beta") * w.elbo).mean().eval({"x": w.x}, beat=1.0)


def tensor_in_a_loss(w: Any) -> None:
    w.elbo * torch.ones(8)


def law_in_a_loss(w: Any) -> None:
    E(w.q, w.p)


def free_copies(w: Any) -> None:
    E(w.q.iid(k=5), w.p.log_prob()).mean().eval({"x": w.x})


def unbound_axis(w: Any) -> None:
    E(w.q, w.p.log_prob().mean("k")).mean().eval({"x": w.x})


def column_against_row(w: Any) -> None:
    (values("r") * w.elbo).mean().eval({"x": w.x, "r": torch.ones(8, 1)})


def wrong_event_shape(w: Any) -> None:
    w.prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[3], name="p_{prior}")
    (E(w.q, w.p.log_prob()) - KL(w.q, w.prior)).mean().eval({"x": w.x})


def data_of_another_width(w: Any) -> None:
    E(w.prior, w.p.log_prob()).mean().eval({"x": w.x[:, :1]})


def column_parameters(w: Any) -> None:
    class Column(Normal):
        def __init__(self) -> None:
            super().__init__(var=["z"], cond_var=["x"], name="q")

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"loc": x[:, :1], "scale": x[:, 0].exp()}

    KL(Column(), Normal(loc=0.0, scale=1.0, var=["z"])).mean().eval({"x": w.x})


def rows_that_do_not_meet(w: Any) -> None:
    (values("r") * w.elbo).mean().eval({"x": w.x, "r": torch.ones(4)})


def nan_in_data(w: Any) -> None:
    w.x[3, 2] = float("nan")
    w.elbo.mean().eval({"x": w.x})


def negative_scale(w: Any) -> None:
    class Negative(Inference):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            loc, scale = self.fc(x).chunk(2, -1)
            return {"loc": loc, "scale": scale * 0 - 1}

    q = Negative()
    E(q, w.p.log_prob()).mean().eval({"x": w.x})


def data_outside_the_support(w: Any) -> None:
    w.elbo.mean().eval({"x": 2 * w.x})


def labels_for_one_hot(w: Any) -> None:
    c = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(6, 3), name="c")
    c.log_prob().mean().eval({"x": w.x, "y": torch.full((8, 3), 2.0)})


def two_laws_of_one_name(w: Any) -> None:
    other = Normal(loc=1.0, scale=1.0, var=["z"], features_shape=[2], name="p_{prior}")
    (KL(w.q, w.prior) + KL(w.q, other)).mean().eval({"x": w.x})
