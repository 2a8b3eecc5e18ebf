"""Mistakes in plans, models and data, of the walk-through; see ``test_mistakes.py``."""

from typing import Any

import torch
from torch import nn

from ancestral.distributions import Categorical, EnergyModel, Normal
from ancestral.losses import (
    E,
    Enumerate,
    Function,
    KullbackLeibler,
    LeaveOneOut,
    Pathwise,
    PersistentCD,
    Score,
    values,
)
from ancestral.models import VAE, Model
from ancestral.samplers import Langevin


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
    w.elbo.estimate({w.q: Score(LeaveOneOut())}).mean().eval({"x": w.x[:1]})


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


def misspelt_option_of_a_model(w: Any) -> None:
    Model(loss=-w.elbo.mean(), optimiser=torch.optim.Adam)


def option_of_the_optimizer(w: Any) -> None:
    VAE(w.q, w.p, lr=1e-3)


def energy_without_a_choice(w: Any) -> None:
    p = EnergyModel(var=["x"], net=nn.Linear(6, 1))
    Model(loss=-p.log_prob().mean())


def energy_evaluated(w: Any) -> None:
    p = EnergyModel(var=["x"], net=nn.Linear(6, 1))
    ml = p.log_prob().mean().estimate({p: PersistentCD(Langevin(2), buffer=16)})
    Model(loss=-ml).test({"x": w.x})


def draws_of_a_trained_energy(w: Any) -> None:
    p = EnergyModel(var=["x"], net=nn.Linear(6, 1), features_shape=[6])
    score = Function(nn.Linear(6, 1), name="f")
    E(p, score(values("x"))).eval()
