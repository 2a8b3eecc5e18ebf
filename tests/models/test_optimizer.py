"""The optimizer: torch's own, in each of the ways that it may be given."""

import functools

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, TrainingError
from ancestral.losses import Function, sqnorm, values
from ancestral.models import Model
from tests.models.parts import draws, parts, same, weights


class Own(torch.optim.SGD):
    """An optimizer of the user's."""


GIVEN = {
    "a class and its options": (torch.optim.AdamW, {"lr": 0.02}),
    "a partial": (functools.partial(torch.optim.AdamW, lr=0.02), None),
    "a partial with options": (functools.partial(torch.optim.AdamW, lr=7.0), {"lr": 0.02}),
    "a function": (lambda ps: torch.optim.AdamW(ps, lr=0.02), None),
    "a function with options": (lambda ps, rate: torch.optim.AdamW(ps, lr=rate), {"rate": 0.02}),
}


@pytest.mark.parametrize("name", GIVEN)
def test_ways_to_give_it(name):
    optimizer, options = GIVEN[name]
    w = parts()
    model = w.model(optimizer=optimizer, optimizer_params=options)
    assert type(model.optimizer) is torch.optim.AdamW
    assert model.optimizer.param_groups[0]["lr"] == 0.02
    before = weights(w.q)
    model.train({"x": w.x})
    assert not same(before, weights(w.q))


def test_one_that_is_built_already():
    w = parts()
    optimizer = torch.optim.SGD([{"params": w.p.parameters()}, {"params": w.q.parameters()}])
    model = w.model(optimizer=optimizer)
    assert model.optimizer is optimizer
    with pytest.raises(OptionError, match="give the class, optimizer=SGD"):
        w.model(optimizer=optimizer, optimizer_params={"lr": 0.1})


def test_groups_with_rates_of_their_own():
    w = parts()

    def groups(parameters):
        return torch.optim.SGD(
            [{"params": w.p.parameters(), "lr": 0.0}, {"params": w.q.parameters()}], lr=0.1
        )

    model = w.model(optimizer=groups)
    p, q = weights(w.p), weights(w.q)
    model.train({"x": w.x})
    assert same(p, weights(w.p))
    assert not same(q, weights(w.q))


def test_one_that_forgets_a_parameter():
    w = parts()
    with pytest.raises(TrainingError, match=r"optimizer does not hold fc1\.weight of q\(z\|x\)"):
        w.model(optimizer=lambda ps: torch.optim.Adam(w.p.parameters()))


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_fused_where_torch_has_it(cls):
    assert parts().model(optimizer=cls).optimizer.defaults["fused"] is True


@pytest.mark.parametrize(
    ("optimizer", "options", "fused"),
    [
        (torch.optim.Adam, {"fused": False}, False),
        (torch.optim.Adam, {"foreach": True}, None),
        (torch.optim.Adam, {"foreach": False}, None),
        (torch.optim.Adam, {"differentiable": True}, None),
        (functools.partial(torch.optim.Adam, fused=False), {}, False),
        (functools.partial(functools.partial(torch.optim.Adam, foreach=True), lr=1.0), {}, None),
        (functools.partial(torch.optim.Adam, lr=1.0), {}, True),
        (lambda ps, fused=None: torch.optim.Adam(ps, fused=fused), {}, None),
    ],
)
def test_the_users_choice_of_an_implementation(optimizer, options, fused):
    model = parts().model(optimizer=optimizer, optimizer_params=options)
    assert model.optimizer.defaults["fused"] is fused


def test_without_a_fused_implementation():
    model = parts().model(optimizer=torch.optim.Rprop)
    assert type(model.optimizer) is torch.optim.Rprop


def test_parameters_that_no_fused_kernel_takes():
    class Phase(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn = nn.Parameter(torch.ones(3, dtype=torch.complex64))

        def forward(self, x):
            return (x * self.turn).abs()

    net, x = Phase(), values("x")
    model = Model(loss=sqnorm(Function(net, name="f")(x)).mean())
    assert model.optimizer.defaults["fused"] is None
    before = weights(net)
    model.train({"x": torch.randn(4, 3)})
    assert not torch.equal(before["turn"], net.turn)


def test_a_frozen_parameter_has_no_say():
    w = parts()
    w.p.register_parameter("count", nn.Parameter(torch.zeros(2, dtype=torch.long), False))
    model = w.model()
    assert model.optimizer.defaults["fused"] is True
    model.train({"x": w.x})
    assert w.p.count.tolist() == [0, 0]


def test_sparse_gradients():
    net = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(3, 1))
    x = values("x")
    model = Model(
        loss=(Function(net, name="f")(x) ** 2).mean(),
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.1},
    )
    before = weights(net)
    model.train({"x": torch.tensor([[0], [1]])})
    assert net[0].weight.grad.is_sparse
    assert not same(before, weights(net))


def test_the_function_gets_each_parameter_once():
    w = parts()
    given = []

    def make(parameters):
        given.extend(parameters)
        return Own(given, lr=0.1)

    model = Model(loss=w.loss, distributions=[w.p, w.q, w.p], optimizer=make)
    assert len(given) == len({id(p) for p in given}) == 8
    assert type(model.optimizer) is Own


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (torch.optim.Adam, {"learning_rate": 1.0}, r"Adam has no such option; known: lr, betas"),
        (torch.optim.Adam, {"beta": 1.0}, r"Adam has no such option; did you mean 'betas'"),
        (functools.partial(torch.optim.Adam, lr=1.0), {"ep": 1.0}, "did you mean 'eps'"),
        ("Adam", {}, r"takes a class such as torch\.optim\.Adam.*got str"),
        (None, {}, "got NoneType"),
        (lambda ps: None, {}, "it returned NoneType"),
        (torch.optim.LBFGS, {}, "LBFGS: it evaluates the loss several times"),
    ],
)
def test_mistakes(optimizer, options, message):
    with pytest.raises(OptionError, match=message):
        parts().model(optimizer=optimizer, optimizer_params=options)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, functools.partial(Own, momentum=0.9)])
def test_laws_that_are_converted_after_a_step(optimizer):
    w = parts()
    model = w.model(optimizer=optimizer, optimizer_params={"lr": 0.01})
    model.train({"x": w.x})
    for law in (w.p, w.q, w.prior):
        law.double()
    message = r"of p\(x\|z\) is torch.float64 on cpu by now, .* is torch.float32 on cpu. Convert"
    with pytest.raises(TrainingError, match=message):
        model.train({"x": w.x.double()})
    model.optimizer.load_state_dict(model.optimizer.state_dict())  # as the message says
    losses = [model.train({"x": w.x.double()}) for _ in range(2)]
    assert all(loss.dtype == torch.float64 for loss in losses)


def test_other_failures_of_a_step_are_those_of_the_optimizer():
    class Broken(Own):
        def step(self, closure=None):
            raise RuntimeError("out of order")

    w = parts(torch.float64)
    with pytest.raises(RuntimeError, match="out of order"):
        w.model(optimizer=Broken, optimizer_params={"lr": 0.01}).train({"x": w.x})


def test_torchs_own_complaints_are_heard():
    with pytest.raises(ValueError, match="Invalid learning rate"):
        parts().model(optimizer_params={"lr": -1.0})


def test_a_schedule_of_torch():
    w = parts()
    model = w.model(optimizer=torch.optim.SGD, optimizer_params={"lr": 0.1})
    schedule = torch.optim.lr_scheduler.StepLR(model.optimizer, 1, gamma=0.0)
    model.train({"x": w.x})
    schedule.step()
    before = weights(w.q)
    model.train({"x": w.x}, noise={"z": draws(1, w)[0]})
    assert same(before, weights(w.q)), "the learning rate is 0 now"
