"""Mistakes: the walk-through with one line changed, and what the user reads.

Each text is golden: ``python -m tests.errors.test_mistakes`` rewrites the file
``tests/golden/mistakes.txt`` after a change that is meant; read the difference first.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import AncestralError
from ancestral.distributions import Bernoulli, Categorical, Deterministic, Normal, NormalMixture
from ancestral.losses import (
    KL,
    E,
    Enumerate,
    KullbackLeibler,
    LeaveOneOut,
    Parameter,
    Pathwise,
    Score,
    values,
)
from ancestral.models import Model

GOLDEN = Path(__file__).parent.parent / "golden" / "mistakes.txt"


class Inference(Normal):
    """q(z|x) of the walk-through, small."""

    def __init__(self) -> None:
        super().__init__(cond_var=["x"], var=["z"], name="q")
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        loc, scale = self.fc(x).chunk(2, -1)
        return {"loc": loc, "scale": F.softplus(scale)}


class Generator(Bernoulli):
    """p(x|z) of the walk-through, small."""

    def __init__(self) -> None:
        super().__init__(cond_var=["z"], var=["x"], name="p")
        self.fc = nn.Linear(2, 6)

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        return {"probs": torch.sigmoid(self.fc(z))}


def walk() -> SimpleNamespace:
    """The walk-through's objects."""
    torch.manual_seed(0)
    p, q = Generator(), Inference()
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p_{prior}")
    elbo = E(q, p.log_prob()) - KullbackLeibler(q, prior)
    x = (torch.arange(48.0).reshape(8, 6) % 5 > 2).float()
    return SimpleNamespace(p=p, q=q, prior=prior, elbo=elbo, x=x)


# -- laws -----------------------------------------------------------------------------------------
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


# -- losses ---------------------------------------------------------------------------------------
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


# -- plans and models -----------------------------------------------------------------------------
def categorical_under_pathwise(w: Any) -> None:
    c = Categorical(var=["z"], cond_var=["x"], net=nn.Linear(6, 2), name="q")
    Model(loss=-E(c, w.p.log_prob()).mean())


def log_of_an_expectation(w: Any) -> None:
    Model(loss=-E(w.prior, w.p.prob()).log().mean(), distributions=[w.p])


def law_that_nobody_trains(w: Any) -> None:
    Model(loss=-w.elbo.mean(), distributions=[w.p])


def loss_that_is_no_number(w: Any) -> None:
    Model(loss=-w.elbo, distributions=[w.p, w.q])


def nothing_to_train(w: Any) -> None:
    Model(loss=-w.prior.log_prob().mean())


def layer_that_is_not_used(w: Any) -> None:
    w.q.spare = nn.Linear(2, 2)
    Model(loss=-w.elbo.mean()).train({"x": w.x})


def tuple_in_fit(w: Any) -> None:
    Model(loss=-w.elbo.mean()).fit((w.x,), epochs=1, progress=False)


def estimator_for_nobody(w: Any) -> None:
    w.elbo.estimate({"y": Score()})


def rows_against_batch_n(w: Any) -> None:
    w.q.sample({"x": w.x}, batch_n=4)


def log_prob_of_another_width(w: Any) -> None:
    w.prior.get_log_prob({"z": torch.zeros(8, 3)})


def integrate_out_everything(w: Any) -> None:
    w.prior.marginalize_var("z")


def copies_of_no_size(w: Any) -> None:
    w.q.iid(k=0)


def enumerate_a_continuous_law(w: Any) -> None:
    w.elbo.estimate({w.q: Enumerate()}).mean().eval({"x": w.x})


def pathwise_of_a_discrete_law(w: Any) -> None:
    c = Categorical(var=["z"], cond_var=["x"], net=nn.Linear(6, 2), name="c")
    E(c, w.p.log_prob()).estimate({c: Pathwise()}).mean().eval({"x": w.x})


def baseline_from_one_draw(w: Any) -> None:
    w.elbo.estimate({w.q: Score(LeaveOneOut())}).mean().eval({"x": w.x})


def axis_by_number(w: Any) -> None:
    w.elbo.mean(0)


def power_of_a_loss(w: Any) -> None:
    w.elbo**w.elbo


def clamp_without_bounds(w: Any) -> None:
    w.elbo.clamp()


def noise_of_nobody(w: Any) -> None:
    w.elbo.mean().eval({"x": w.x}, noise={"eps": torch.zeros(8, 2)})


def free_variable_that_is_not(w: Any) -> None:
    w.elbo.replace_var(z="u")


def batch_that_is_no_dict(w: Any) -> None:
    Model(loss=-w.elbo.mean()).train(w.x)


def unequal_rows_in_fit(w: Any) -> None:
    loss = -(values("r") * w.elbo).mean()
    Model(loss=loss).fit({"x": w.x, "r": torch.ones(4)}, epochs=1, progress=False)


def folder_that_is_no_model(w: Any) -> None:
    Model(loss=-w.elbo.mean()).load("nowhere")


def network_of_another_width(w: Any) -> None:
    w.elbo.mean().eval({"x": torch.ones(8, 5)})


def backend_that_is_none(w: Any) -> None:
    w.elbo.mean().function(compile="fast")


def number_where_a_vector_is_meant(w: Any) -> None:
    """A prior without features_shape, and as many rows as the decoder is wide."""
    prior = Normal(loc=0.0, scale=1.0, var=["z"], name="p_{prior}")
    (w.p * prior).sample(batch_n=2)


def value_of_a_term(w: Any) -> None:
    w.prior.log_prob(torch.zeros(8, 2))


def copies_without_an_axis(w: Any) -> None:
    w.q.iid(5)


def rows_as_inputs(w: Any) -> None:
    w.prior.sample(64)


def kl_with_the_likelihood(w: Any) -> None:
    KullbackLeibler(w.q, w.p)


def number_with_a_laws_word(w: Any) -> None:
    w.q.noise = 0.1


def labels_of_one_axis(w: Any) -> None:
    c = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(6, 3), name="c")
    c.log_prob().eval({"x": w.x, "y": torch.arange(8) % 3})


def one_layer_for_two_conditions(w: Any) -> None:
    Normal(var=["z"], cond_var=["x", "y"], net=nn.Linear(6, 4))


def parameters_of_unequal_width(w: Any) -> None:
    q = Normal(
        var=["z"], cond_var=["x"], name="q", net=lambda x: {"loc": x[:, :2], "scale": x.exp()}
    )
    E(q, w.p.log_prob()).eval({"x": w.x})


def backward_of_a_loss(w: Any) -> None:
    w.elbo.mean().backward()


def module_word_of_a_model(w: Any) -> None:
    Model(loss=-w.elbo.mean()).to("cpu")


MISTAKES: dict[str, Callable[[Any], None]] = {
    name: f
    for name, f in list(globals().items())
    if isinstance(f, FunctionType) and f.__module__ == __name__ and f is not walk
}


def message(mistake: Callable[[Any], None]) -> str:
    """What the user reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            mistake(walk())
        except (AncestralError, UserWarning, TypeError, AttributeError) as error:
            return f"{type(error).__name__}: {error}"
    return "nothing"


def sections() -> dict[str, str]:
    """The golden file by mistake."""
    parts = GOLDEN.read_text(encoding="utf-8").split("\n\n")
    return {
        p.split("\n", 1)[0].strip("[]"): p.split("\n", 1)[1].strip() for p in parts if p.strip()
    }


@pytest.mark.parametrize("name", MISTAKES)
def test_message(name: str) -> None:
    assert message(MISTAKES[name]) == sections()[name]


def test_each_message_says_what_to_do() -> None:
    texts = sections()
    assert len(texts) == len(MISTAKES) >= 45
    assert len(set(texts.values())) == len(texts)
    assert "nothing" not in texts.values()


if __name__ == "__main__":
    out = "\n\n".join(f"[{name}]\n{message(f)}" for name, f in MISTAKES.items())
    GOLDEN.write_text(out + "\n", encoding="utf-8")
    sys.stdout.write(out + "\n")
