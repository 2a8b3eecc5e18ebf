"""Mistakes with laws, of the walk-through; see ``test_mistakes.py``."""

from typing import Any

import torch
from torch import Tensor, nn

from ancestral.distributions import Deterministic, Normal, NormalMixture
from tests.errors.walk import Inference


def duplicate_variable(w: Any) -> None:
    w.p * Normal(loc=0.0, scale=1.0, var=["x"])


def cycle(w: Any) -> None:
    w.p * w.q


def own_condition(w: Any) -> None:
    Normal(var=["z"], cond_var=["z"], loc="z", scale=1.0)


def wrong_forward_argument(w: Any) -> None:
    class Wrong(Inference):
        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return super().forward(image)

    Wrong()


def some_of_the_conditions(w: Any) -> None:
    def net(x: Tensor, label: Tensor) -> Tensor:
        return x + label

    Normal(var=["z"], cond_var=["x", "y"], net=net)


def layer_with_a_laws_word(w: Any) -> None:
    class Taken(Inference):
        def __init__(self) -> None:
            super().__init__()
            self.noise = nn.Linear(6, 4)

    Taken()


def unbound_parameter(w: Any) -> None:
    Normal(var=["x"], cond_var=["z"], loc="y", scale=1.0)


def unknown_option_of_sample(w: Any) -> None:
    w.prior.sample(batch_size=64)


def misspelt_option_of_a_law(w: Any) -> None:
    Normal(mean=0.0, scale=1.0, var=["z"])


def misspelt_parameter_of_a_law(w: Any) -> None:
    Normal(var=["x"], loc=0.0, scal=1.0)


def misspelt_parameter_of_a_base(w: Any) -> None:
    class Decoder(Normal):
        def __init__(self) -> None:
            super().__init__(var=["x"], cond_vars=["z"])

    Decoder()


def misspelt_word_of_your_law(w: Any) -> None:
    class Decoder(Normal):
        def __init__(self, hidden: int) -> None:
            super().__init__(var=["x"], cond_var=["z"])

    Decoder(hiden=3)  # type: ignore[call-arg]


def misspelt_parameter_of_a_mixture(w: Any) -> None:
    NormalMixture(weight=torch.tensor([0.5, 0.5]), loc=0.0, scale=1.0)


def missing_condition(w: Any) -> None:
    w.q.sample({"y": w.x})


def rename_unknown(w: Any) -> None:
    w.p.replace_var(y="z")


def rename_onto_used(w: Any) -> None:
    (w.p * w.prior).replace_var(z="x")


def returned_twice(w: Any) -> None:
    class Twice(Normal):
        def __init__(self) -> None:
            super().__init__(var=["z"], cond_var=["x"], scale=1.0, name="q")

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"loc": x, "scale": x.exp()}

    Twice().sample({"x": w.x})


def misspelt_parameter(w: Any) -> None:
    class Misspelt(Inference):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"loc": x, "scael": x.exp()}

    Misspelt().sample({"x": w.x})


def output_does_not_split(w: Any) -> None:
    Normal(var=["z"], cond_var=["x"], net=nn.Linear(6, 5), name="q").sample({"x": w.x})


def reparam_of_discrete(w: Any) -> None:
    w.p.sample({"z": torch.zeros(8, 2)}, reparam=True)


def log_prob_of_marginal(w: Any) -> None:
    (w.p * w.prior).marginalize_var("z").log_prob()


def log_prob_of_deterministic(w: Any) -> None:
    Deterministic(var=["x"], cond_var=["z"], net=nn.Linear(2, 6), name="g").log_prob()
