"""Every bijection of ``ancestral.bijections`` keeps the contract of ``ancestral.testing``.

They are found by walking the modules: one in a new file is tested without a word here. Values far
out are compared with mpmath, from formulas that stand in ``tests/oracles/mp_bijections.py``.
"""

import importlib
import math
import pkgutil

import pytest
import torch
from mpmath import mp
from torch import nn

import ancestral.bijections as package
from ancestral.bijections import (
    Affine,
    AffineCoupling,
    Bijection,
    Chain,
    ConditionalAffine,
    Exp,
    Sigmoid,
    Softplus,
    Tanh,
)
from ancestral.core.errors import GradientError, OptionError, ParameterError, ShapeError
from ancestral.distributions import Normal, NormalizingFlow
from ancestral.losses import E
from ancestral.testing import BIJECTION_CHECKS, BijectionCase, check_bijection
from tests.oracles import mp_bijections as oracles


def members() -> list[type[Bijection]]:
    """The public classes of the package's modules."""
    found = []
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for thing in vars(importlib.import_module(info.name)).values():
            own = isinstance(thing, type) and thing.__module__ == info.name
            if own and issubclass(thing, Bijection) and thing is not Bijection:
                found.append(thing)
    return found


CASES = [BijectionCase(kind, example) for kind in members() for example in kind.examples()]


def test_members_are_found():
    assert {"Affine", "Chain", "ConditionalAffine", "Exp", "Inverse", "Sigmoid", "Tanh"} <= {
        kind.__name__ for kind in members()
    }


@pytest.mark.parametrize("check", BIJECTION_CHECKS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    BIJECTION_CHECKS[check](case)


# -- far out --------------------------------------------------------------------------------------
SIZES = [10.0**e for e in range(-6, 7)]


def compare(found: float, wanted: "mp.mpf", condition: "mp.mpf", dtype: torch.dtype) -> None:
    """Within the tolerance, or three bits in excess of what the condition number costs."""
    tolerance, eps = (1e-6, 2**-24) if dtype == torch.float32 else (1e-10, 2**-53)
    largest = torch.finfo(dtype).max
    if abs(wanted) > largest:
        assert abs(found) >= largest
        return
    bound = tolerance * max(1, abs(wanted))
    if condition > 10:
        bound = max(bound, 8 * eps * condition * abs(wanted))
    assert abs(mp.mpf(found) - wanted) <= bound, (found, mp.nstr(wanted, 12))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", oracles.BIJECTIONS)
def test_values_far_out_are_exact(name, dtype):
    """About 50 points from 1e-6 to 1e6 of either sign, and as near to the ends of the codomain."""
    f, oracle = getattr(package, name)(), oracles.BIJECTIONS[name]
    x = torch.tensor([s * v for v in SIZES for s in (1, -1)] + [0.0, 88.0, -88.0], dtype=dtype)
    low, high = f.codomain
    near = torch.tensor(SIZES, dtype=dtype)
    ends = [low + near] if math.isfinite(low) else []
    ends += [high - near] if math.isfinite(high) else []
    y = torch.cat(ends) if ends else x
    y = y[(y > low) & (y < high)]
    for moves, points, formulas in (
        (f.forward_and_log_det(x), x, (oracle.forward, oracle.log_slope)),
        (f.inverse_and_log_det(y), y, (oracle.inverse, oracle.inverse_log_slope)),
    ):
        for found, formula in zip(moves, formulas, strict=True):
            for value, point in zip(found.tolist(), points.tolist(), strict=True):
                at = mp.mpf(point)
                compare(value, formula(at), oracles.condition(formula, at), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("kind", [Tanh, Sigmoid])
def test_a_value_that_was_rounded_to_the_end_has_a_finite_inverse(kind, dtype):
    """tanh x is 1 to the last digit from x = 9.02 on; torch's transform gives NaN there."""
    f = kind()
    y = f(torch.tensor([-200.0, 200.0], dtype=dtype)).requires_grad_()
    x, log_det = f.inverse_and_log_det(y)
    assert torch.isfinite(x).all()
    assert torch.isfinite(log_det).all()
    (slope,) = torch.autograd.grad((x + log_det).sum(), y)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("kind", [Tanh, Sigmoid, Softplus])
def test_derivatives_far_out_are_finite(kind):
    x = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4], requires_grad=True)
    y, log_det = kind().forward_and_log_det(x)
    (slope,) = torch.autograd.grad((y + log_det).sum(), x)
    assert torch.isfinite(slope).all()


# -- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [0.0, torch.tensor([1.0, 0.0]), math.inf, math.nan])
def test_a_scale_without_inverse_is_refused(scale):
    with pytest.raises(ParameterError, match="the map would have no inverse"):
        Affine(scale=scale)


def test_a_constant_that_would_cut_a_gradient_is_refused():
    with pytest.raises(GradientError, match=r"loc\.detach\(\)"):
        Affine(loc=torch.ones(2, requires_grad=True) * 2)


def test_a_chain_takes_bijections_only():
    with pytest.raises(OptionError, match="got Tanh. Of a plain function no inverse is known"):
        Chain([Exp(), torch.nn.Tanh()])


class Vector(Bijection):
    """Couples the components: one log-determinant per vector."""

    event_dims = 1

    def forward_and_log_det(self, x):
        return torch.cat([x[..., :1], x[..., 1:] * x[..., :1].exp()], -1), x[..., 0] * 2

    def inverse_and_log_det(self, y):
        return torch.cat([y[..., :1], y[..., 1:] * (-y[..., :1]).exp()], -1), -y[..., 0] * 2


def test_log_determinants_of_vectors_and_of_components_add_up():
    chained = {"bijections": [Affine(0.1, 0.3), Vector(), Tanh()]}
    assert check_bijection(Vector) == check_bijection(Chain, [chained])


class Wrong(Tanh):
    """A sign that is wrong in one direction."""

    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x, -log_det


def test_a_wrong_sign_is_found():
    with pytest.raises(
        AssertionError, match=r"Wrong\(\): log determinant is that of the jacobian"
    ):
        check_bijection(Wrong)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: AffineCoupling(nn.Linear(1, 2), kept=0), OptionError, "kept=0 must be a whole"),
        (lambda: AffineCoupling(nn.Linear(1, 2))(torch.ones(4, 1)), ShapeError, "none is left"),
        (lambda: AffineCoupling(nn.Linear(1, 3))(torch.ones(4, 2)), ShapeError, "so 2 numbers"),
        (lambda: AffineCoupling(nn.Linear(3, 2), conditional=True)(torch.ones(4, 2)),
         OptionError, r"a map given a context, which is missing.*context=net"),
        (lambda: ConditionalAffine(nn.Linear(3, 4))(torch.ones(4, 3), torch.ones(4, 3)),
         ShapeError, r"returned \(4, 4\).*3 entries \(3,\).*shape \(4, 6\)"),
    ],
)  # fmt: skip
def test_mistakes_of_a_coupling_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("kind", "event"),
    [(AffineCoupling, e) for e in [(4,), (2, 3), (0,)]]
    + [(ConditionalAffine, e) for e in [(), (4,), (2, 3), (0,)]],
    ids=str,
)
def test_a_context_is_that_of_its_row_whatever_the_event(kind, event):
    """Of numbers, vectors, matrices, and of vectors without entries, which have nothing to move."""
    torch.manual_seed(0)
    size, width = math.prod(event), event[-1] if event else 1
    kept = (width + 1) // 2
    net = (
        (lambda c: torch.cat([c[..., :1].expand(*c.shape[:-1], size)] * 2, -1))
        if kind is ConditionalAffine
        else (lambda a: a[..., -1:].expand(*a.shape[:-1], 2 * (width - kept)))
    )
    f = kind(net) if kind is ConditionalAffine else kind(net, conditional=True)
    x, c = torch.randn(5, *event).double(), torch.randn(5, 2).double()
    y, log_det = f.forward_and_log_det(x, c)
    back, opposite = f.inverse_and_log_det(y, c)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(opposite, -log_det)
    for i in range(5):
        one, _ = f.forward_and_log_det(x[i : i + 1], c[i : i + 1])
        torch.testing.assert_close(one[0], y[i])


def test_a_flow_of_couplings_is_trained_and_has_its_density_with_the_draw():
    """Each network runs once in E(q, log p - log q): the flow's own draw is not inverted."""
    torch.manual_seed(0)
    nets = [nn.Linear(1, 2), nn.Linear(1, 2)]
    couplings = [AffineCoupling(net, flip=bool(i)) for i, net in enumerate(nets)]
    base = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4), name="q")
    q = NormalizingFlow(base, couplings, var=["z"], name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p")
    loss = -E(q, prior.log_prob() - q.log_prob()).mean()
    seen = []
    for net in nets:
        net.register_forward_hook(lambda *_: seen.append(1))
    loss.function()({"x": torch.ones(4, 3)}).backward()
    assert len(seen) == 2
    assert all(net.weight.grad.abs().sum() > 0 for net in nets)
