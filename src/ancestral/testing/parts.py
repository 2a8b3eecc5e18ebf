"""Checks of laws that are made from laws, networks or functions: derivatives in what these have.

Every tensor of a part is varied, wherever it stands in the law, so that a law made from others is
checked without a word of its own. What is exact is a difference: of the law's own density, which
:mod:`ancestral.testing.density` holds to integrals, or of those integrals.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ancestral.core.errors import SamplingError
from ancestral.distributions import Law
from ancestral.distributions.base import Distribution
from ancestral.distributions.constraints import (
    Constraint,
    lower_cholesky,
    positive_definite,
    simplex,
)
from ancestral.testing.case import (
    DRAWS,
    Check,
    LawCase,
    by_chains,
    has_density,
    has_density_and_draws,
    has_fixed_noise,
    has_parts,
    is_law,
    is_reparametrised,
    require,
    slopes,
    some_values,
)
from ancestral.testing.fixed import Fixed
from ancestral.testing.integral import Integral

BLOCKS = 250  # of draws: a mean over so many blocks is as good as normal
STEP = 1e-3  # of differences of integrals
MOMENTS = {"mean_of": "sample_mean", "variance_of": "sample_variance", "entropy_of": "get_entropy"}
OF_VALUES = {"log_density": "get_log_prob", "log_cdf": "get_log_cdf", "log_sf": "get_log_sf"}

Ask = Callable[[Any], Tensor]


class _Asked(nn.Module):
    """A law as a module that is called with a question: so its tensors can be replaced."""

    def __init__(self, law: Distribution) -> None:
        super().__init__()
        self.law = law

    def forward(self, ask: Ask) -> Tensor:
        return ask(self.law)


class Parts:
    """The tensors of a law that is made from parts, by name.

    Args:
        law: The law, in double precision.
    """

    def __init__(self, law: Distribution) -> None:
        self.asked = _Asked(law)
        named = [*self.asked.named_parameters(), *self.asked.named_buffers()]
        self.tensors = {
            name: tensor.detach().clone()
            for name, tensor in named
            if tensor.is_floating_point()
            and bool(tensor.isfinite().all())
            and not isinstance(self._owner(name), Fixed)  # conditions are no part
            and getattr(self._domain(name), "listed", None) is None  # whole numbers do not move
        }

    def _owner(self, name: str) -> nn.Module:
        return self.asked.get_submodule(name.rpartition(".")[0])

    def _domain(self, name: str) -> Constraint | None:
        owner = self._owner(name)
        return owner.domains.get(name.rpartition(".")[2]) if isinstance(owner, Law) else None

    @property
    def trained(self) -> dict[str, Tensor]:
        """Those that may be trained: not the constants that a law keeps beside its parameters."""
        held = dict(self.asked.named_parameters())
        return {
            name: tensor
            for name, tensor in self.tensors.items()
            if name in held
            or not isinstance(owner := self._owner(name), Law)
            or name.rpartition(".")[2] in owner.given
        }

    def ask(self, question: Ask, changed: Mapping[str, Tensor]) -> Tensor:
        """What the law answers when some tensors are replaced."""
        out: Tensor = functional_call(self.asked, dict(changed), (question,))
        return out

    def inside(self, name: str, value: Tensor) -> Tensor:
        """A tensor, or a direction in which it moves, as its domain asks for."""
        domain = self._domain(name)
        if domain is positive_definite:
            return 0.5 * (value + value.mT)
        return value.tril() if domain is lower_cholesky else value

    def along(self, name: str) -> Tensor:
        """A direction in which a tensor may move, of about its own size in each entry."""
        value = self.tensors[name]
        generator = torch.Generator().manual_seed(len(name))
        away = 0.5 + torch.rand(value.shape, generator=generator, dtype=value.dtype)
        away = away * torch.where(torch.arange(value.numel()).reshape(value.shape) % 3 == 1, -1, 1)
        if self._domain(name) is simplex:
            away = away - away.mean(-1, keepdim=True)
        return self.inside(name, away)


def _moves(law: Any) -> Iterator[tuple[str, Ask]]:
    """What can be asked of a law, each as a function of it."""
    if isinstance(law, Law):
        x = {law.var[0]: some_values(law, 2)}
        for which, method in OF_VALUES.items():
            if hasattr(law.moves, which):
                yield which, _asking(method, x, sum_features=False)
        for which, method in MOMENTS.items():
            if hasattr(law.moves, which):
                yield which, _asking(method)


def _asking(method: str, *given: Any, **options: Any) -> Ask:
    """The question that is a method of a law."""

    def ask(law: Any) -> Tensor:
        out: Tensor = getattr(law, method)(*given, **options)
        return out

    return ask


def derivatives_of_parts(case: LawCase) -> None:
    """Autograd agrees with finite differences in every tensor of the parts, along a direction.

    Of density, distribution functions and moments; and of draws, where these are a function of
    fixed noise. No tensor is without effect on all of them.
    """
    law: Any = case.law() if is_law(case) else case.build().double()
    parts, moves = Parts(law), dict(_moves(law))
    if is_reparametrised(case) and has_fixed_noise(case):
        inputs = {k: v.double() for k, v in case.inputs(law).items()}

        def draw(q: Any) -> Tensor:
            torch.manual_seed(5)
            out: Tensor = q.sample(inputs, sample_shape=[2], reparam=True)[q.var[0]]
            return out

        moves["draw"] = draw
    names = list(parts.tensors)
    theta = [v.clone().requires_grad_() for v in parts.tensors.values()]
    idle = set(parts.trained)
    if by_chains(case):  # what chains start from has a part in draws only
        idle = {name for name in idle if "start" not in name.split(".")}
    for which, move in moves.items():

        def function(*tensors: Tensor, move: Ask = move) -> Tensor:
            given = {n: parts.inside(n, t) for n, t in zip(names, tensors, strict=True)}
            out = parts.ask(move, given)
            return torch.where(out.isinf(), 0.0, out)  # log 0 has no slope

        right = torch.autograd.gradcheck(
            function, theta, atol=1e-5, rtol=1e-4, raise_exception=False, fast_mode=True
        )
        require(right, f"the derivative of {which} is not that of finite differences")
        out = function(*theta)
        weights = torch.linspace(0.3, 1.0, out.numel(), dtype=out.dtype).reshape(out.shape)
        found = slopes((out * weights).sum(), dict(zip(names, theta, strict=True)))
        idle -= {n for n, s in zip(names, found, strict=True) if bool((s != 0).any())}
    require(not idle, f"nothing depends on {sorted(idle)}: no gradient reaches it")


def gradient_of_draws_in_parts(case: LawCase) -> None:
    r"""Draws carry the pathwise gradient to all that may be trained, or refuse to.

    :math:`\nabla_\theta E[\tanh x + \tanh^2 x]` over 20000 draws against differences of integrals
    over the density, for each tensor along a direction: an error of 3.5 % of the standard
    deviation of one draw's gradient would be detected.
    """
    law = case.law()
    if not is_reparametrised(case):
        return _refuses_gradient(case)
    parts = Parts(law)
    theta = {name: v.clone().requires_grad_() for name, v in parts.trained.items()}

    def function(x: Tensor) -> Tensor:
        weights = torch.linspace(0.5, 1.0, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])
        return weights * (x.tanh() + x.tanh() ** 2)

    def draws(q: Law) -> Tensor:
        x = q.sample(batch_n=DRAWS // BLOCKS, reparam=True)[q.var[0]]
        return function(x).flatten(1).sum(1).mean()

    def exact(q: Law) -> Tensor:
        integral = Integral(q, points="coarse")
        return integral.mean(function(integral.x)).sum()

    every = [slopes(parts.ask(draws, theta), theta) for _ in range(BLOCKS)]
    for (name, value), found in zip(parts.trained.items(), zip(*every, strict=True), strict=True):
        away = parts.along(name)
        ends = [
            parts.ask(exact, {**parts.tensors, name: value + sign * STEP * away})
            for sign in (1, -1)
        ]
        wanted = (ends[0] - ends[1]) / (2 * STEP)
        each = torch.stack([(slope * away).sum() for slope in found])
        error = 5 * each.std() / BLOCKS**0.5 + 1e-5
        require(
            (each.mean() - wanted).abs() < error,
            f"d E[tanh x + tanh^2 x] / d {name.removeprefix('law.')} is {each.mean():.6f}, should "
            f"be {wanted:.6f} +- {error:.6f}",
        )
    return None


def _refuses_gradient(case: LawCase) -> None:
    law = case.build()
    try:
        law.sample(case.inputs(law), reparam=True)
    except SamplingError as error:
        require(law.prob_text in str(error), "the refusal does not name the law")
    else:
        raise AssertionError("reparam=True is neither done nor refused")
    for tensor in (*nn.Module.parameters(law), *law.buffers()):
        if tensor.is_floating_point():
            tensor.requires_grad_()
    x = law.sample(case.inputs(law))[law.var[0]]
    require(not x.requires_grad, "a draw that is no function of the parameters has a gradient")


CHECKS = (
    Check(
        derivatives_of_parts,
        lambda case: has_parts(case) and (has_density(case) or is_reparametrised(case)),
    ),
    Check(
        gradient_of_draws_in_parts,
        lambda case: has_parts(case) and has_density_and_draws(case),
    ),
)
