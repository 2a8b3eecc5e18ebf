r"""Baselines that are learned from the steps before: a moving mean, and a network.

What is subtracted from the learning signal of a draw leaves the mean of the gradient
:math:`E_q[(f - b)\,\nabla\log q]` alone as long as it does not depend on that draw. So the moving
mean is that of the steps *before* this one, which takes it and gives back the next; and the network
sees what stands before the draw.

With the share :math:`\beta` that a step keeps and :math:`w_t = \beta w_{t-1} + 1 - \beta`, the mean
of the signals :math:`s_t` and their variance are

.. math::
    r_t = \frac{1 - \beta}{w_t}, \qquad
    m_t = m_{t-1} + r_t \overline{(s_t - m_{t-1})}, \qquad
    v_t = (1 - r_t)\, v_{t-1} + r_t \overline{(s_t - m_{t-1})^2} - (m_t - m_{t-1})^2

the weighted averages themselves: that of one step is its mean, not :math:`1 - \beta` of it.

Sources: Williams (1992); Mnih and Gregor, Neural variational inference and learning in belief
networks (2014), section 2.3 and algorithm 1, where the mean of a step includes its own signals: a
small bias that this one does not have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError


@dataclass(frozen=True)
class MovingAverage:
    """The mean of the signals of all rows and draws of the steps before, as baseline.

    It is state: a model keeps it between steps, saves it with its weights, and has it in
    ``model.state``: its weight, then the mean.

    Args:
        decay: The share of the average that a step keeps.

    Raises:
        OptionError: If ``decay`` is no share; in a loss over time, which has no such state.

    Example:
        >>> from ancestral.distributions import Bernoulli
        >>> from ancestral.losses import E, Score
        >>> from ancestral.models import Model
        >>> q = Bernoulli(var=["z"], logits=nn.Parameter(torch.zeros(3)), name="q")
        >>> p = Bernoulli(var=["z"], probs=torch.tensor([0.1, 0.5, 0.7]), name="p")
        >>> loss = E(q, q.log_prob() - p.log_prob()).mean()
        >>> model = Model(loss=loss.estimate({q: Score(MovingAverage())}))
        >>> value = model.train(batch_n=100)
        >>> bool((model.state["q(z).baseline"][1] - value).abs() < 1e-5)
        True
    """

    decay: float = 0.8
    keeps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise if the share is none."""
        check_decay(self, self.decay)

    @property
    def moments(self) -> int:
        """How many numbers are kept: the weight, the mean."""
        return 2

    def signal(self, f: Tensor, learned: Tensor | None) -> Tensor:
        """What the mean is of: the integrand."""
        return f.detach()

    def left(self, signal: Tensor, moments: Tensor) -> Tensor:
        """What is left of a signal, less the mean."""
        return signal - moments[1]

    def moved(self, moments: Tensor, f: Tensor, learned: Tensor | None) -> Tensor:
        """The moments after a step with these signals."""
        return moved(moments, self.signal(f, learned), self.decay)


@dataclass(frozen=True, init=False)
class Learned:
    r"""A network of the law's conditions as baseline, :math:`b_\psi(x) + m`, trained beside it.

    It minimises :math:`(f - b_\psi(x) - m)^2`. That is a term of the step whose value is 0 and
    whose gradient reaches the network alone; it weighs what the expectation weighs in the
    objective, whatever its sign. The player who trains the law trains the network. What the network
    leaves is centred by a moving mean m, which is state as that of :class:`MovingAverage`.

    With ``normalise=True`` this is NVIL: what is left is divided by its moving deviation, if that
    is above 1. The gradient by the draws has then another scale than the rest, and is marked
    biased.

    Args:
        net: Takes the values of ``cond_var``, rows first; returns one number for each,
            shape ``(B,)`` or ``(B, 1)``.
        cond_var: What it sees: data, or draws that stand before this one; the law's conditions if
            not given.
        decay: The share of the moving average that a step keeps.
        normalise: Whether to divide by the moving deviation.

    Raises:
        OptionError: If an option has no meaning; in a loss if the law has no conditions and
            ``cond_var`` is not given, if the network would see the draw itself, or over time.
        ShapeError: If the network returns anything else than one number for each row.

    Example:
        >>> from ancestral.distributions import Bernoulli
        >>> from ancestral.losses import E, Score
        >>> q = Bernoulli(var=["z"], cond_var=["x"], net=nn.Linear(3, 2), name="q")
        >>> p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 3), name="p")
        >>> loss = E(q, p.log_prob()).estimate({q: Score(Learned(nn.Linear(3, 1)))})
        >>> step = next(t for t in str(loss.program()).splitlines() if t.startswith("t6"))
        >>> step.split("=")[1].split("  ")[0]
        ' t1 with Score(Learned(Linear)) gradient by t2, and 0 with that of (t1 - t4 - m)² by t4'
    """

    net: nn.Module
    cond_var: tuple[str, ...] | None = None
    decay: float = 0.8
    normalise: bool = False
    keeps: ClassVar[bool] = True

    def __init__(
        self,
        net: nn.Module,
        *,
        cond_var: Iterable[str] | None = None,
        decay: float = 0.8,
        normalise: bool = False,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise OptionError(
                f"Learned({net!r}): give the network as an nn.Module, whose parameters are "
                "trained, e.g. nn.Sequential(nn.Linear(784, 100), nn.Tanh(), nn.Linear(100, 1))."
            )
        if isinstance(cond_var, str) or (cond_var is not None and not list(cond_var)):
            raise OptionError(
                f"Learned(net, cond_var={cond_var!r}): a list of names, e.g. cond_var=['x']."
            )
        names = None if cond_var is None else tuple(cond_var)
        given = {"net": net, "cond_var": names, "decay": decay, "normalise": bool(normalise)}
        for key, value in given.items():
            object.__setattr__(self, key, value)
        check_decay(self, decay)

    def __repr__(self) -> str:
        """The options that differ from their defaults."""
        told = [type(self.net).__name__]
        if self.cond_var is not None:
            told.append(f"cond_var={list(self.cond_var)}")
        if self.decay != 0.8:
            told.append(f"decay={self.decay!r}")
        return f"Learned({', '.join([*told, *(['normalise=True'] if self.normalise else [])])})"

    @property
    def moments(self) -> int:
        """How many numbers are kept: the weight, the mean, and if it is needed the variance."""
        return 3 if self.normalise else 2

    def signal(self, f: Tensor, learned: Tensor | None) -> Tensor:
        """What the mean is of: what the network leaves of the integrand."""
        assert learned is not None
        return f.detach() - learned

    def left(self, signal: Tensor, moments: Tensor) -> Tensor:
        """What is left of a signal, less the mean, and in units of the deviation."""
        left = signal - moments[1]
        return left / moments[2].sqrt().clamp(min=1.0) if self.normalise else left

    def moved(self, moments: Tensor, f: Tensor, learned: Tensor | None) -> Tensor:
        """The moments after a step with these signals."""
        return moved(moments, self.signal(f, learned).detach(), self.decay)


def check_decay(baseline: Any, decay: Any) -> None:
    """Raise if a decay is no share."""
    number = isinstance(decay, (int, float)) and not isinstance(decay, bool)
    if not number or not 0.0 <= decay < 1.0:
        raise OptionError(
            f"{type(baseline).__name__}(decay={decay!r}): the share of the average that a step "
            "keeps, at least 0 and below 1, e.g. 0.8."
        )


def moved(moments: Tensor, signal: Tensor, decay: float) -> Tensor:
    """The weight, the mean and, if there are three, the variance after some signals more.

    Example:
        >>> moved(torch.zeros(3), torch.tensor([1.0, 3.0]), 0.8)
        tensor([0.2000, 2.0000, 1.0000])
    """
    weight = decay * moments[0] + (1.0 - decay)
    rate = (1.0 - decay) / weight
    gap = signal - moments[1]
    shift = rate * gap.mean()
    found = [weight, moments[1] + shift]
    if len(moments) > 2:
        found.append((1.0 - rate) * moments[2] + rate * gap.square().mean() - shift.square())
    return torch.stack([v.to(moments) for v in found])


def charged(cost: Tensor) -> Tensor:
    """Zeros with the gradient of a cost, which is minimised whatever the sign that they get.

    Example:
        >>> b = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> (-3.0 * charged(b**2)).sum().backward()
        >>> b.grad
        tensor([ 6., 12.])
    """
    found: Tensor = _Charged.apply(cost)  # type: ignore[no-untyped-call]
    return found


class _Charged(torch.autograd.Function):
    """Zeros; on the way back the weight of each, without its sign."""

    generate_vmap_rule = True

    @staticmethod
    def forward(cost: Tensor) -> Tensor:
        return torch.zeros_like(cost)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].abs()
