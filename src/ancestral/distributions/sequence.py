r"""Laws of sequences: one law of a step, chained over time.

.. math::
    p(z_{1:T} | u_{1:T}) = \prod_{t=1}^{T} p(z_t | z_{t-1}, u_t), \qquad z_0 \text{ given.}

Time is the first event axis: a value of z has shape ``(rows, T, *event)``. T comes from the data,
and may be another one in each batch. What a network of the step feeds to no later step runs once,
on all rows and times together; only what a step waits for is a loop.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.core.names import as_names, listing
from ancestral.distributions import chains
from ancestral.distributions.base import Distribution
from ancestral.distributions.eager import parents_first
from ancestral.distributions.factor import Factor
from ancestral.distributions.law import Law
from ancestral.distributions.normal import Normal

Initial = float | Tensor | str


class Sequence(Law):
    r"""The law of a sequence by the law of its steps, :math:`\prod_t p(z_t | z_{t-1}, u_t)`.

    The law of a step is any law, or a product of some. What of the step before a step reads, it
    reads by a name of its own: ``carry={"z": "z_prev"}`` says that ``z_prev`` at time t is z at
    time t - 1. What is carried may be a variable of the step, or a sequence that is given. A
    deterministic factor of the step is a recurrent state.

    Log densities are sums over time of those of the random factors; states, which are functions of
    the other variables, need not be given. In ``sample``, values of its own variables are the
    first steps, and the others are drawn on from there: a prefix of any length, the same for all
    random variables. Where nothing that is given says how long a sequence is, ``length=`` does.

    Args:
        step: The law of one step.
        carry: What is carried on, and how the next step calls it.
        init: What is carried into the first step: a number, a tensor of the event's shape (an
            ``nn.Parameter`` is trained), or the name of a variable with one value for each row,
            drawn by another law (``Sequence(..., init="z_0") * p_0``) or given; a dict of these if
            several are carried.
        series: The conditions of the step that are sequences; others are the same in all steps.
        mask: Name of a variable, shape ``(rows, T)``: 1 for steps that exist. Others count neither
            in a likelihood nor in a divergence, and their data may be anything, NaN too.
        observed: Name of a variable, shape ``(rows, T)``: 1 for steps whose values were seen. The
            others are left out of the likelihood, but the sequence goes on through them.
        name: How it prints; as the step's law if not given.

    Raises:
        VariableError: If names do not fit those of the step.
        OptionError: If the step is no law that can be chained.

    Example:
        >>> from ancestral.distributions import Normal, Sequence
        >>> step = Normal(var=["z"], cond_var=["z_prev"], loc="z_prev", scale=1.0)
        >>> walk = Sequence(step, carry={"z": "z_prev"})
        >>> walk.sample(batch_n=4, length=10)["z"].shape
        torch.Size([4, 10])
        >>> print(walk.log_prob())
        Σ_t log p(z_t|z_{t-1})
    """

    several = True
    composite = True
    reparametrised = True
    by_steps: ClassVar[Any] = chains

    def __init__(
        self,
        step: Distribution,
        carry: Mapping[str, str] | None = None,
        init: Initial | Mapping[str, Initial] = 0.0,
        series: str | tuple[str, ...] | list[str] = (),
        mask: str | None = None,
        observed: str | None = None,
        name: str | None = None,
    ) -> None:
        _check_step(step)
        carry, series = dict(carry or {}), as_names(series, "series")
        _check_names(step, carry, series, mask, observed)
        first = _initials(carry, init)
        outer = [s for s in carry if s not in step.var]
        static = [c for c in step.cond_var if c not in (*carry.values(), *series)]
        named = [v for v in first.values() if isinstance(v, str)]
        masks = [m for m in (mask, observed) if m is not None]
        conditions = dict.fromkeys([*outer, *series, *static, *named, *masks])
        super().__init__(step.all_var, list(conditions), name or step.name, None, None, {})
        self.step_law = step
        self.carried = carry
        self.series = series
        self.mask, self.observed = mask, observed
        self.initial: dict[str, str] = {}  # of what is carried: a variable, or an attribute
        for i, (source, value) in enumerate(first.items()):
            if isinstance(value, str):
                self.initial[source] = value
                continue
            key = self.initial[source] = f"initial_{i}"
            if isinstance(value, nn.Parameter):
                self.register_parameter(key, value)
            else:
                kept = torch.as_tensor(value)
                kept = kept if kept.is_floating_point() else kept.to(torch.get_default_dtype())
                self.register_buffer(key, kept)
        random = [f for f in self.factors_of_step if f.law.is_random]
        states = [v for f in self.factors_of_step if not f.law.is_random for v in f.var]
        vars(self).update(  # of one law, not of the family
            is_random=bool(random),
            has_density=bool(random) and all(f.law.has_density for f in random),
            states=states,
            unread=self.masks,
        )

    @property
    def factors_of_step(self) -> list[Factor]:
        """The elementary laws of one step, each after those that draw its conditions."""
        return parents_first(self.step_law.factors)

    @property
    def names_before(self) -> dict[str, str]:
        """How a step calls what it reads of the step before: that name, and the variable's."""
        return {alias: source for source, alias in self.carried.items()}

    @property
    def masks(self) -> tuple[str, ...]:
        """The conditions that are masks."""
        return tuple(m for m in (self.mask, self.observed) if m is not None)

    @property
    def moves(self) -> type[Law]:
        """Those that say whether its draws are differentiable; the step has all others."""
        return type(self) if self.step_law.has_reparam else _ScoredMoves

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two driven walks of two steps, one of them from a number that is no 0."""
        u = torch.tensor([[[0.3], [-0.5]]])
        chain = {"carry": {"x": "x_prev"}, "series": ["u"], "name": "p", "given": {"u": u}}
        return [
            {"step": Normal(["x"], ["x_prev", "u"], features_shape=[1], net=_Drive(w)),
             "init": first, **chain}
            for w, first in (((0.8, 1.0, -0.4), 0.0), ((-0.4, 0.6, 0.1), 0.5))
        ]  # fmt: skip


class _Drive(nn.Module):
    """A linear step, x = a x_prev + b u + e^c noise; a step of the examples."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x_prev: Tensor, u: Tensor) -> dict[str, Tensor]:
        a, b, c = self.weights
        return {"loc": a * x_prev + b * u, "scale": c.exp().expand_as(u)}


class _ScoredMoves(Law):
    """Of sequences whose draws are not differentiable."""


def _check_step(step: object) -> None:
    if not isinstance(step, Distribution):
        raise OptionError(f"Sequence takes the law of a step, got {type(step).__name__}.")
    for f in step.factors:
        if isinstance(f.law, Sequence) or f.law.is_data or f.copies:
            raise OptionError(
                f"Sequence: {f.text} cannot be a part of a step: a step is made of laws of one "
                "time, not of sequences, data or copies. Multiply by it outside."
            )
    if step.integrated:
        raise OptionError(
            f"Sequence: {listing(step.integrated)} is integrated out in {step.prob_text}. Chain "
            "the joint law, and integrate the sequence: Sequence(...).marginalize_var(...)."
        )


def _check_names(
    step: Distribution,
    carry: Mapping[str, str],
    series: tuple[str, ...],
    mask: str | None,
    observed: str | None,
) -> None:
    """Raise if what is carried, or a series, is no condition of the step."""
    what = f"Sequence of {step.prob_text}"
    for option, names in (("carry", tuple(carry.values())), ("series", series)):
        for name in names:
            if name not in step.cond_var:
                raise VariableError(
                    f"{what}: {option} names {name!r}, which is no condition of the step; "
                    f"{did_you_mean(name, step.cond_var)}"
                )
    as_names(tuple(carry.values()), "carry")
    both = sorted({*carry.values()} & {*series})
    if both:
        raise VariableError(
            f"{what}: {listing(both)} is carried and a series. What is carried comes from the step "
            "before, a series from outside: leave it out of one."
        )
    taken = {*step.all_var, *step.cond_var}
    for option, given in (("mask", mask), ("observed", observed)):
        if given in taken:
            raise VariableError(
                f"{what}: {option}={given!r} is a variable of the step. A mask is a variable of "
                "its own."
            )


def _initials(
    carry: Mapping[str, str], init: Initial | Mapping[str, Initial]
) -> dict[str, Initial]:
    """What each carried variable is before the first step."""
    given = dict(init) if isinstance(init, Mapping) else dict.fromkeys(carry, init)
    for name in given:
        if name not in carry:
            raise VariableError(
                f"Sequence: init has {name!r}, which is not carried; {did_you_mean(name, carry)}"
            )
    for name, value in given.items():
        if isinstance(value, Distribution):
            raise OptionError(
                f"Sequence: init of {name!r} is a law, {value.prob_text}. Name its variable and "
                f"multiply by it: Sequence(..., init={value.var[0]!r}) * {value.name}."
            )
        if not isinstance(value, (int, float, str, Tensor)) or isinstance(value, bool):
            raise OptionError(
                f"Sequence: init of {name!r} is a number, a tensor or the name of a variable, got "
                f"{type(value).__name__}."
            )
    return {name: given.get(name, 0.0) for name in carry}
