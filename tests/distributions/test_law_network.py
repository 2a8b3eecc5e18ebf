"""The network of a law: how it takes the conditions, and what it may return."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ParameterError, ShapeError, VariableError
from ancestral.distributions import Normal


class Named(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y.exp()], -1)


def plain(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a, b.exp()], -1)


def swapped(y: Tensor, x: Tensor) -> Tensor:
    return torch.cat([x, y.exp()], -1)


def only_positions(x: Tensor, y: Tensor, /) -> Tensor:
    return plain(x, y)


def only_names(*, x: Tensor, y: Tensor) -> Tensor:
    return plain(x, y)


def everything(*args: Tensor, **kwargs: Tensor) -> Tensor:
    assert not kwargs
    return plain(*args)


def names_only(**kwargs: Tensor) -> Tensor:
    return plain(kwargs["x"], kwargs["y"])


def one_and_rest(x: Tensor, **rest: Tensor) -> Tensor:
    return plain(x, rest["y"])


def with_default(x: Tensor, y: Tensor, factor: float = 1.0) -> Tensor:
    return plain(x, y * factor)


NETWORKS = [
    Named(), plain, swapped, only_positions, only_names, everything, names_only, one_and_rest,
    with_default,
]  # fmt: skip


@pytest.mark.parametrize("net", NETWORKS, ids=lambda n: getattr(n, "__name__", type(n).__name__))
def test_network_takes_conditions_by_name_or_in_order(net):
    q = Normal(
        var=["z"],
        cond_var=["x", "y"],
        net=lambda x, y: {"loc": net_call(x, y)[0], "scale": net_call(x, y)[1]},
    )

    def net_call(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, F.softplus(y.exp())

    p = Normal(var=["z"], cond_var=["x", "y"], net=net)
    given = {"y": torch.randn(4, 2), "x": torch.randn(4, 2)}
    for key, wanted in q.get_params(given).items():
        assert torch.equal(p.get_params(given)[key], wanted)


@pytest.mark.parametrize(
    "net",
    [
        lambda x: x,
        lambda x, h: x,
        lambda x, y, h: x,
        lambda a: a,
        lambda a, b, c: a,
        lambda a, b, *, c: a,
        lambda: 0,
    ],
    ids=["one", "one of two", "too many", "no room", "too much room", "keyword", "nothing"],
)
def test_network_that_cannot_take_the_conditions(net):
    with pytest.raises(VariableError, match=r"net takes \(.*but the conditions are \(x, y\)"):
        Normal(var=["z"], cond_var=["x", "y"], net=net)


def test_positions_and_other_names():
    def net(h: Tensor, /, **rest: Tensor) -> Tensor:
        assert not rest
        return torch.cat([h, h], -1)

    p = Normal(var=["z"], cond_var=["h"], net=net)
    assert p.sample({"h": torch.zeros(2, 3)})["z"].shape == (2, 3)
    with pytest.raises(VariableError, match="but the conditions are"):
        Normal(var=["z"], cond_var=["h", "g"], net=net)


def test_own_forward_takes_conditions_by_name():
    class Wrong(Normal):
        def forward(self, a: Tensor) -> dict[str, Tensor]:
            return {"loc": a, "scale": a}

    with pytest.raises(VariableError, match=r"Wrong.forward takes \(a\)"):
        Wrong(var=["z"], cond_var=["x"])
    assert Wrong(var=["z"], cond_var=["a"]).sample({"a": torch.ones(2, 3)})["z"].shape == (2, 3)
    with pytest.raises(OptionError, match="has a forward of its own"):
        Wrong(var=["z"], cond_var=["a"], net=nn.Linear(1, 1))


def test_network_with_nothing_to_give():
    with pytest.raises(ParameterError, match="net has nothing to return"):
        Normal(var=["z"], cond_var=["x"], loc=0.0, scale=1.0, net=nn.Linear(2, 2))
    p = Normal(var=["z"], cond_var=["x"], scale=1.0, net=nn.Linear(2, 3))
    assert p.get_params({"x": torch.zeros(4, 2)})["loc"].shape == (4, 3)


def test_network_of_no_conditions():
    p = Normal(var=["z"], net=lambda: torch.zeros(4), name="p")
    assert p.sample(batch_n=5, sample_shape=[2])["z"].shape == (2, 5, 2)
    assert p.get_log_prob({"z": torch.zeros(5, 2)}).shape == (5,)
    assert p.sample_mean().shape == (1, 2)


@pytest.mark.parametrize(
    ("net", "error", "told"),
    [
        (lambda x: {"loc": x}, ParameterError, r"needs \(loc, scale\)"),
        (lambda x: {"loc": x, "scal": x}, ParameterError, "did you mean 'scale'"),
        (lambda x: (x, x), ParameterError, "must return a dict of parameters or one tensor"),
        (lambda x: x[:, :3], ShapeError, "does not split into loc, scale"),
    ],
)
def test_wrong_output(net, error, told):
    with pytest.raises(error, match=told):
        Normal(var=["z"], cond_var=["x"], net=net).sample({"x": torch.ones(2, 4)})


def test_hooks_of_the_law_run():
    p, seen = Normal(var=["z"], cond_var=["x"], net=nn.Linear(2, 4)), []
    p.register_forward_hook(lambda module, args, out: seen.append(set(out)))
    p.sample({"x": torch.zeros(1, 2)})
    assert seen == [{"loc", "scale"}]
